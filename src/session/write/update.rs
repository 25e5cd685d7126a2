//! `DELETE`, `UPDATE`, `MERGE INTO` on tables that are written anew: a query gives every row of the table as it is to be, with
//! what was done to it. Which files that replaces is the source's business.

use std::ops::ControlFlow;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, Schema};
use datafusion::common::Column;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, cast, lit, when};
use maru_connect::{RowOp, SourceTable, WriteMode};
use maru_core::{Error, ErrorKind, Options, Result, quote_ident};
use maru_sql::ast::{self, visit_expressions};
use maru_sql::{Delete, Merge, MergeAction, MergeWhen, Name, Update};

use super::assign::assign_one;
use super::insert::fields_of;
use super::node::{Writing, node};
use super::target::{Target, find};
use super::{Outcome, literals};
use crate::access::Privilege;
use crate::session::Session;

/// Names of columns that no table has.
const HIT: &str = "$hit";
const ROW: &str = "$row";
const ACT: &str = "$act";
const THERE: &str = "$there";
const OP: &str = "$op";

/// What becomes of rows that an action is for.
struct Action {
    op: RowOp,
    /// Columns with their new values.
    sets: Vec<(FieldRef, ast::Expr)>,
}

/// How the rows of a statement are found.
struct Changes {
    /// What the target is called in the query.
    alias: String,
    /// After `FROM`.
    from: String,
    /// The number of the action for a row, from 1; NULL for none.
    act: String,
    actions: Vec<Action>,
    /// Whether the target's rows have numbers, and rows of the source stand beside them.
    joined: bool,
}

impl Session {
    pub(super) async fn plan_delete(self: &Arc<Self>, delete: Delete) -> Result<Outcome> {
        let target = find(self, &delete.table, "delete from").await?;
        self.may_change(&target, Privilege::Delete, &[])?;
        let changes = Changes {
            from: hits(&target, &delete.table, &delete.alias, delete.selection.as_ref()),
            act: act_of_hits(&delete.alias),
            alias: delete.alias,
            actions: vec![Action { op: RowOp::Delete, sets: Vec::new() }],
            joined: false,
        };
        Ok(Outcome::Plan(self.plan_changes(target, changes).await?, "DELETE"))
    }

    pub(super) async fn plan_update(self: &Arc<Self>, update: Update) -> Result<Outcome> {
        let target = find(self, &update.table, "update").await?;
        let sets = sets(&target, update.sets)?;
        let names = sets.iter().map(|(field, _)| field.name().clone()).collect::<Vec<_>>();
        self.may_change(&target, Privilege::Update, &names)?;
        let changes = Changes {
            from: hits(&target, &update.table, &update.alias, update.selection.as_ref()),
            act: act_of_hits(&update.alias),
            alias: update.alias,
            actions: vec![Action { op: RowOp::Update, sets }],
            joined: false,
        };
        Ok(Outcome::Plan(self.plan_changes(target, changes).await?, "UPDATE"))
    }

    pub(super) async fn plan_merge(self: &Arc<Self>, merge: Merge) -> Result<Outcome> {
        let target = find(self, &merge.table, "merge into").await?;
        let schema = target.columns();
        let mut actions = Vec::new();
        let mut act = "CASE".to_owned();
        let alias = quote_ident(&merge.alias);
        let row = format!("{alias}.{}", quote_ident(ROW));
        let there = quote_ident(THERE);
        let mut inserts = false;
        for clause in merge.clauses {
            let when = match clause.when {
                MergeWhen::Matched => format!("{row} IS NOT NULL AND {there}"),
                MergeWhen::NotMatchedByTarget => format!("{row} IS NULL"),
                MergeWhen::NotMatchedBySource => format!("{row} IS NOT NULL AND {there} IS NULL"),
            };
            let condition = match &clause.condition {
                Some(condition) => format!("{when} AND ({condition})"),
                None => when,
            };
            let action = match clause.action {
                MergeAction::Nothing => None,
                MergeAction::Delete => {
                    self.may_change(&target, Privilege::Delete, &[])?;
                    Some(Action { op: RowOp::Delete, sets: Vec::new() })
                }
                MergeAction::Update(given) => {
                    let sets = sets(&target, given)?;
                    let names = sets.iter().map(|(f, _)| f.name().clone()).collect::<Vec<_>>();
                    self.may_change(&target, Privilege::Update, &names)?;
                    Some(Action { op: RowOp::Update, sets })
                }
                MergeAction::Insert { columns, values } => {
                    let names = match columns.is_empty() {
                        true => schema.fields().iter().map(|f| f.name().clone()).collect(),
                        false => columns,
                    };
                    if names.len() != values.len() {
                        return Err(Error::new(
                            ErrorKind::Syntax,
                            "INSERT of MERGE has another number of values than of columns",
                        ));
                    }
                    self.may_change(&target, Privilege::Insert, &names)?;
                    inserts = true;
                    let fields = fields_of(&target, &schema, &names)?;
                    let sets = fields.into_iter().zip(values).collect();
                    Some(Action { op: RowOp::Insert, sets })
                }
            };
            let number = match action {
                None => 0,
                Some(action) => {
                    actions.push(action);
                    actions.len()
                }
            };
            act.push_str(&format!(" WHEN {condition} THEN {number}"));
        }
        act.push_str(" END");
        let join = if inserts { "FULL" } else { "LEFT" };
        let from = format!(
            "(SELECT {alias}.*, row_number() OVER () AS {} FROM {} AS {alias}) AS {alias} {join} JOIN \
             (SELECT *, TRUE AS {there} FROM {}) AS {} ON {}",
            quote_ident(ROW),
            merge.table,
            merge.source,
            quote_ident(&merge.source_alias),
            merge.on,
        );
        let changes = Changes { alias: merge.alias, from, act, actions, joined: true };
        Ok(Outcome::Plan(self.plan_changes(target, changes).await?, "MERGE"))
    }

    /// Asks for a privilege on rows that are read to be written again.
    fn may_change(&self, target: &Target, privilege: Privilege, columns: &[String]) -> Result<()> {
        let rights = self.rights();
        target.require(&rights, privilege, columns)?;
        let object = target.object();
        if rights.policies(&object).is_some() {
            return Err(Error::new(
                ErrorKind::NotAllowed,
                format!("columns of {object} are masked, and its rows cannot be written again"),
            )
            .with_hint("Write as its owner."));
        }
        match &target.table {
            SourceTable::Files(_) => Ok(()),
            _ => Err(Error::unsupported(format!("rows of {object} cannot be changed yet"))
                .with_hint("Change them in the source.")),
        }
    }

    async fn plan_changes(
        self: &Arc<Self>,
        target: Target,
        changes: Changes,
    ) -> Result<LogicalPlan> {
        let schema = target.columns();
        let Changes { alias, from, act, actions, joined } = changes;
        let alias = quote_ident(&alias);
        let mut items = schema
            .fields()
            .iter()
            .map(|field| format!("{alias}.{}", quote_ident(field.name())))
            .collect::<Vec<_>>();
        if joined {
            items.push(format!("{alias}.{}", quote_ident(ROW)));
        }
        items.push(format!("({act}) AS {}", quote_ident(ACT)));
        for (index, action) in actions.iter().enumerate() {
            for (field, value) in &action.sets {
                let mut value = value.clone();
                literals::cast_to(&mut value, field);
                let name = quote_ident(&value_name(index + 1, field));
                items.push(format!(
                    "CASE WHEN ({act}) = {} THEN ({value}) END AS {name}",
                    index + 1
                ));
            }
        }
        // Rows of the source that no clause is for are nowhere.
        let filter = match joined {
            true => format!(" WHERE {alias}.{} IS NOT NULL OR ({act}) > 0", quote_ident(ROW)),
            false => String::new(),
        };
        let sql = format!("SELECT {} FROM {from}{filter}", items.join(", "));
        let maru_sql::Statement::Query { statement, .. } = maru_sql::parse(&sql)? else {
            return Err(Error::internal("a query is none"));
        };
        let plan = match *statement {
            datafusion::sql::parser::Statement::Statement(inner) => match *inner {
                ast::Statement::Query(query) => self.plan_source(query).await?,
                _ => return Err(Error::internal("a query is none")),
            },
            _ => return Err(Error::internal("a query is none")),
        };
        let zone = self.setting("timezone").unwrap_or_default();
        let plan = settled(plan, &schema, &actions, joined, &zone)?;
        let mut fields = schema.fields().to_vec();
        if joined {
            fields.push(Arc::new(Field::new(ROW, DataType::UInt64, true)));
        }
        fields.push(Arc::new(Field::new(OP, DataType::Int8, true)));
        let moved = match &target.table {
            SourceTable::Files(files) => actions
                .iter()
                .filter(|action| action.op == RowOp::Update)
                .flat_map(|action| &action.sets)
                .any(|(set, _)| files.partition_columns.iter().any(|p| p.name() == set.name())),
            _ => true,
        };
        node(
            plan,
            Writing {
                session: Arc::downgrade(self),
                attached: target.attached,
                schema: target.schema,
                table: target.name,
                mode: WriteMode::Rewrite { numbered: joined, moved },
                columns: Arc::new(Schema::new(fields)),
                options: Options::default(),
                owner: None,
            },
        )
    }
}

fn value_name(action: usize, field: &Field) -> String {
    format!("${action} {}", field.name())
}

/// Chooses each column's value by the action, and tells the operation.
fn settled(
    plan: LogicalPlan,
    schema: &Schema,
    actions: &[Action],
    joined: bool,
    zone: &str,
) -> Result<LogicalPlan> {
    let named = |name: &str| -> Result<(Expr, Field)> {
        let (qualifier, field) = plan
            .schema()
            .iter()
            .find(|(_, field)| field.name() == name)
            .ok_or_else(|| Error::internal(format!("a query lost its column {name}")))?;
        Ok((Expr::Column(Column::new(qualifier.cloned(), field.name())), field.as_ref().clone()))
    };
    let (act, _) = named(ACT)?;
    let is = |number: usize| -> Result<Expr> {
        let number = i64::try_from(number).unwrap_or(i64::MAX);
        Ok(cast(act.clone(), DataType::Int64).eq(lit(number)))
    };
    let mut exprs = Vec::new();
    for (index, field) in schema.fields().iter().enumerate() {
        let (qualifier, old) = plan.schema().qualified_field(index);
        let old = Expr::Column(Column::new(qualifier.cloned(), old.name()));
        let mut choice = None;
        for (number, action) in actions.iter().enumerate() {
            let Some((set, _)) = action.sets.iter().find(|(set, _)| set.name() == field.name())
            else {
                continue;
            };
            let (value, from) = named(&value_name(number + 1, set))?;
            let value = assign_one(value, &from, set, &plan, zone)?;
            choice = Some(match choice {
                None => when(is(number + 1)?, value),
                Some(mut cases) => cases.when(is(number + 1)?, value),
            });
        }
        let value = match choice {
            None => old,
            Some(mut cases) => cases.otherwise(old)?,
        };
        exprs.push(value.alias(field.name()));
    }
    if joined {
        let (row, _) = named(ROW)?;
        exprs.push(cast(row, DataType::UInt64).alias(ROW));
    }
    let mut ops = None;
    for (number, action) in actions.iter().enumerate() {
        let op = lit(action.op as i8);
        ops = Some(match ops {
            None => when(is(number + 1)?, op),
            Some(mut cases) => cases.when(is(number + 1)?, op),
        });
    }
    let op = match ops {
        None => cast(lit(datafusion::common::ScalarValue::Null), DataType::Int8),
        Some(cases) => cases.end()?,
    };
    exprs.push(op.alias(OP));
    Ok(LogicalPlanBuilder::from(plan).project(exprs)?.build()?)
}

/// Returns the target with a column that says which rows a condition holds for, asked once for each row.
fn hits(target: &Target, table: &Name, alias: &str, condition: Option<&ast::Expr>) -> String {
    let _ = target;
    let (alias, hit) = (quote_ident(alias), quote_ident(HIT));
    let Some(condition) = condition else {
        return format!("(SELECT *, TRUE AS {hit} FROM {table} AS {alias}) AS {alias}");
    };
    if has_subquery(condition) {
        // Subqueries are planned where they filter.
        return format!(
            "(SELECT *, TRUE AS {hit} FROM {table} AS {alias} WHERE {condition} UNION ALL \
             SELECT *, FALSE AS {hit} FROM {table} AS {alias} WHERE ({condition}) IS NOT TRUE) AS {alias}"
        );
    }
    format!("(SELECT *, ({condition}) IS TRUE AS {hit} FROM {table} AS {alias}) AS {alias}")
}

fn act_of_hits(alias: &str) -> String {
    format!("CASE WHEN {}.{} THEN 1 END", quote_ident(alias), quote_ident(HIT))
}

fn has_subquery(expr: &ast::Expr) -> bool {
    let found = visit_expressions(expr, |expr| match expr {
        ast::Expr::Subquery(_) | ast::Expr::InSubquery { .. } | ast::Expr::Exists { .. } => {
            ControlFlow::Break(())
        }
        _ => ControlFlow::Continue(()),
    });
    found.is_break()
}

fn sets(target: &Target, given: Vec<(String, ast::Expr)>) -> Result<Vec<(FieldRef, ast::Expr)>> {
    let names = given.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
    let fields = fields_of(target, &target.columns(), &names)?;
    Ok(fields.into_iter().zip(given.into_iter().map(|(_, value)| value)).collect())
}
