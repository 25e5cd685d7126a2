//! `JOIN … USING (column, …)`: one column of two, which the planner takes to be that of the left side, whatever the join.
//!
//! In SQL (ISO/IEC 9075-2, 7.10) it is the left side's of an inner or left join, the right side's of a right join, and whichever is not
//! NULL of a full one; it stands first among the columns of `*`, and is meant by its bare name everywhere. The join gets its condition
//! written out, bare names and `*` become what they mean.

use std::collections::BTreeMap;

use maru_core::{Error, Result};
use maru_sql::ast::{
    BinaryOperator, ExcludeSelectItem, Expr, Ident, Join, JoinConstraint, JoinOperator, ObjectName,
    OrderByKind, Query, Select, SelectItem, SelectItemQualifiedWildcardKind, SetExpr, TableFactor,
    TableWithJoins, VisitMut, WildcardAdditionalOptions,
};

use super::folded;
use super::literals::call;
use super::outside::outside_of_queries;

/// Changes joins and all that names their columns.
///
/// # Errors
/// 0A000 for right and full joins whose columns cannot be told from the text.
pub(super) fn select(select: &mut Select) -> Result<()> {
    if let Some(merged) = Merged::of(&mut select.from)? {
        merged.select(select);
    }
    Ok(())
}

/// Changes what rows are ordered by, before their query is: columns that it gives are meant first.
///
/// # Errors
/// As [`select`].
pub(super) fn order(query: &mut Query) -> Result<()> {
    let SetExpr::Select(select) = query.body.as_ref() else { return Ok(()) };
    let Some(order) = &mut query.order_by else { return Ok(()) };
    let OrderByKind::Expressions(keys) = &mut order.kind else { return Ok(()) };
    let Some(mut merged) = Merged::of(&mut select.from.clone())? else { return Ok(()) };
    for item in &select.projection {
        match item {
            SelectItem::ExprWithAlias { alias, .. } => merged.forget(alias),
            SelectItem::UnnamedExpr(Expr::Identifier(name)) => merged.forget(name),
            SelectItem::UnnamedExpr(Expr::CompoundIdentifier(parts)) => {
                parts.last().into_iter().for_each(|name| merged.forget(name));
            }
            SelectItem::Wildcard(_) | SelectItem::QualifiedWildcard(..) => return Ok(()),
            _ => {}
        }
    }
    keys.iter_mut().for_each(|key| merged.replace(&mut key.expr));
    Ok(())
}

/// Says what kind of join it is, if it makes one column of two.
fn merges(join: &Join) -> Option<(Side, &JoinConstraint)> {
    let (side, constraint) = match &join.join_operator {
        JoinOperator::Join(on) | JoinOperator::Inner(on) => (Side::Left, on),
        JoinOperator::Left(on) | JoinOperator::LeftOuter(on) => (Side::Left, on),
        JoinOperator::Right(on) | JoinOperator::RightOuter(on) => (Side::Right, on),
        JoinOperator::FullOuter(on) => (Side::Both, on),
        _ => return None,
    };
    matches!(constraint, JoinConstraint::Using(_) | JoinConstraint::Natural)
        .then_some((side, constraint))
}

fn constraint_mut(join: &mut Join) -> Option<&mut JoinConstraint> {
    match &mut join.join_operator {
        JoinOperator::Join(on)
        | JoinOperator::Inner(on)
        | JoinOperator::Left(on)
        | JoinOperator::LeftOuter(on)
        | JoinOperator::Right(on)
        | JoinOperator::RightOuter(on)
        | JoinOperator::FullOuter(on) => Some(on),
        _ => None,
    }
}

/// Whose column the one of two is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Left,
    Right,
    Both,
}

/// The columns that joins have made of several.
#[derive(Default)]
struct Merged {
    /// What each is, by name.
    known: BTreeMap<String, Expr>,
    /// The tables that each is made of.
    members: BTreeMap<String, Vec<usize>>,
    /// Those of `*`: names in order, and the tables with the names that are left out of each.
    first: Vec<String>,
    tables: Vec<(Ident, Vec<String>)>,
    /// Whether a table has no name, or a column is not known: `*` stays as it is then.
    unclear: bool,
}

impl Merged {
    /// Looks at the tables of a query, whose conditions it writes out; `None` if no columns are merged.
    fn of(from: &mut [TableWithJoins]) -> Result<Option<Self>> {
        let any = |from: &TableWithJoins| from.joins.iter().any(|join| merges(join).is_some());
        if !from.iter().any(any) {
            return Ok(None);
        }
        let mut merged = Self::default();
        for from in from {
            merged.join(from)?;
        }
        Ok(Some(merged))
    }

    fn forget(&mut self, name: &Ident) {
        self.known.remove(&folded(name));
    }

    fn join(&mut self, from: &mut TableWithJoins) -> Result<()> {
        let first = self.tables.len();
        self.table(&from.relation);
        // Of the tables of this part of FROM alone.
        let outside = std::mem::take(&mut self.known);
        self.members.clear();
        let mut is_plain = from.joins.iter().all(|join| {
            merges(join).is_none_or(|(side, on)| {
                side == Side::Left && !matches!(on, JoinConstraint::Natural)
            })
        });
        is_plain &= self.tables.len() > first;
        for index in 0..from.joins.len() {
            let join = &mut from.joins[index];
            let right = self.table(&join.relation);
            let Some((side, constraint)) = merges(join) else {
                // A later condition may name what an earlier join has merged.
                if let Some(JoinConstraint::On(on)) = constraint_mut(join) {
                    self.replace(on);
                }
                continue;
            };
            let JoinConstraint::Using(columns) = constraint else {
                if side != Side::Left {
                    return Err(unclear("NATURAL RIGHT and NATURAL FULL JOIN are not supported"));
                }
                self.unclear = true;
                continue;
            };
            let columns = columns.iter().filter_map(single).collect::<Vec<_>>();
            let left = (index == 0).then(|| self.tables.get(first).map(|(name, _)| name.clone()));
            let left = left.flatten();
            let mut conditions = Vec::with_capacity(columns.len());
            for name in &columns {
                let of_left = match (self.known.get(name), &left) {
                    (Some(known), _) => Some(known.clone()),
                    (None, Some(table)) => Some(column(table, name)),
                    (None, None) => None,
                };
                let of_right = right.as_ref().map(|table| column(table, name));
                let (Some(of_left), Some(of_right)) = (of_left, of_right) else {
                    if side != Side::Left || !is_plain {
                        return Err(unclear(&format!(
                            "it is not clear whose \"{name}\" USING means"
                        )));
                    }
                    self.unclear = true;
                    continue;
                };
                conditions.push(Expr::BinaryOp {
                    left: Box::new(of_left.clone()),
                    op: BinaryOperator::Eq,
                    right: Box::new(of_right.clone()),
                });
                let means = match side {
                    Side::Left => of_left,
                    Side::Right => of_right,
                    Side::Both => call("coalesce", vec![of_left, of_right]),
                };
                self.known.insert(name.clone(), means);
                let members = self.members.entry(name.clone()).or_insert_with(|| vec![first]);
                members.push(self.tables.len() - 1);
            }
            if conditions.len() < columns.len() {
                continue;
            }
            // The columns of the last USING come first.
            self.first.retain(|name| !columns.contains(name));
            self.first.splice(0..0, columns.iter().cloned());
            for name in &columns {
                for table in self.members.get(name).into_iter().flatten() {
                    self.tables[*table].1.push(name.clone());
                }
            }
            let on = conditions.into_iter().reduce(|left, right| Expr::BinaryOp {
                left: Box::new(left),
                op: BinaryOperator::And,
                right: Box::new(right),
            });
            if let (Some(constraint), Some(on), false) = (constraint_mut(join), on, is_plain) {
                *constraint = JoinConstraint::On(on);
            }
        }
        if first > 0 && !outside.is_empty() {
            // Two lists of joins side by side: what a bare name means in both is ambiguous.
            self.known.retain(|name, _| !outside.contains_key(name));
        }
        self.known.extend(outside);
        Ok(())
    }

    /// Notes a table of `FROM`; returns what it is called.
    fn table(&mut self, table: &TableFactor) -> Option<Ident> {
        let alias = match table {
            TableFactor::Table { alias, .. }
            | TableFactor::Derived { alias, .. }
            | TableFactor::TableFunction { alias, .. }
            | TableFactor::Function { alias, .. }
            | TableFactor::UNNEST { alias, .. } => alias.as_ref(),
            _ => None,
        };
        let name = match (alias, table) {
            (Some(alias), _) => Some(alias.name.clone()),
            (None, TableFactor::Table { name, args: None, .. }) => {
                name.0.last().and_then(|part| part.as_ident()).cloned()
            }
            _ => None,
        };
        match &name {
            Some(name) => self.tables.push((name.clone(), Vec::new())),
            None => self.unclear = true,
        }
        name
    }

    /// Puts what bare names mean in their places.
    fn replace(&self, part: &mut impl VisitMut) {
        outside_of_queries(part, |expr| {
            if let Expr::Identifier(name) = expr
                && let Some(means) = self.known.get(&folded(name))
            {
                *expr = means.clone();
            }
        });
    }

    fn select(&self, select: &mut Select) {
        let mut projection = Vec::with_capacity(select.projection.len());
        for mut item in std::mem::take(&mut select.projection) {
            match &mut item {
                SelectItem::Wildcard(options)
                    if !self.unclear && *options == WildcardAdditionalOptions::default() =>
                {
                    projection.extend(self.star());
                    continue;
                }
                SelectItem::UnnamedExpr(expr) => {
                    let name = match expr {
                        Expr::Identifier(name) => Some(name.clone()),
                        _ => None,
                    };
                    self.replace(expr);
                    if let (Some(alias), Expr::Function(_)) = (name, &*expr) {
                        item = SelectItem::ExprWithAlias { expr: expr.clone(), alias };
                    }
                }
                SelectItem::ExprWithAlias { expr, .. } => self.replace(expr),
                _ => {}
            }
            projection.push(item);
        }
        select.projection = projection;
        self.replace(&mut select.distinct);
        self.replace(&mut select.selection);
        self.replace(&mut select.group_by);
        self.replace(&mut select.having);
        self.replace(&mut select.named_window);
        self.replace(&mut select.qualify);
    }

    /// What `*` stands for.
    fn star(&self) -> Vec<SelectItem> {
        let merged = self.first.iter().filter_map(|name| {
            let expr = self.known.get(name)?.clone();
            Some(match expr {
                Expr::CompoundIdentifier(_) => SelectItem::UnnamedExpr(expr),
                _ => SelectItem::ExprWithAlias { expr, alias: Ident::with_quote('"', name) },
            })
        });
        let tables = self.tables.iter().map(|(table, left_out)| {
            let mut left_out = left_out.clone();
            left_out.sort_unstable();
            left_out.dedup();
            let names = left_out.iter().map(|name| ObjectName::from(Ident::with_quote('"', name)));
            let names = names.collect::<Vec<_>>();
            let opt_exclude = (!names.is_empty()).then_some(ExcludeSelectItem::Multiple(names));
            let options =
                WildcardAdditionalOptions { opt_exclude, ..WildcardAdditionalOptions::default() };
            let name = ObjectName::from(table.clone());
            let kind = SelectItemQualifiedWildcardKind::ObjectName(name);
            SelectItem::QualifiedWildcard(kind, options)
        });
        merged.chain(tables).collect()
    }
}

fn single(name: &ObjectName) -> Option<String> {
    match name.0.as_slice() {
        [part] => part.as_ident().map(folded),
        _ => None,
    }
}

fn column(table: &Ident, name: &str) -> Expr {
    Expr::CompoundIdentifier(vec![table.clone(), Ident::with_quote('"', name)])
}

fn unclear(what: &str) -> Error {
    Error::unsupported(what)
        .with_hint("Write ON with the columns, and coalesce(a.column, b.column).")
}
