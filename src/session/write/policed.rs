//! Rows that are written under policies: none is changed or deleted that they hide, none is written that they forbid.
//!
//! What is written passes a [`RowCheck`] on its way. The condition is computed over a barrier, so that it is asked of the very
//! values that are written, and the check is no filter that a rule could move or leave out.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion::common::ScalarValue;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, lit};
use maru_connect::RowOp;
use maru_core::{Error, ErrorKind, Result, quote_ident};
use maru_sql::Name;
use uuid::Uuid;

use super::condition::plan_is_volatile;
use super::row_check::{RowCheck, Rule};
use super::target::Target;
use crate::access::{Command, Object, Policies, WritePolicies};
use crate::session::Session;
use crate::session::policies::{barrier, is_barrier};

/// A name that no column has.
const HOLDS: &str = "$holds";

/// Rows on their way, and the columns that the policies look at.
pub(super) struct Checked {
    pub(super) plan: LogicalPlan,
    pub(super) columns: Vec<String>,
}

/// Rows of a table that is changed, under names that nobody knows.
pub(super) struct Parts {
    /// Rows that may be changed.
    pub(super) seen: Name,
    /// The others, where they have to be written again.
    pub(super) hidden: Option<Name>,
    pub(super) plans: Vec<(String, LogicalPlan)>,
}

impl Session {
    /// Has rows checked that are inserted, if policies are in force.
    ///
    /// # Errors
    /// 42501 if the policies look at a column that the statement gives no value for: its source may give it one.
    pub(super) async fn check_inserted(
        self: &Arc<Self>,
        target: &Target,
        rows: LogicalPlan,
    ) -> Result<Checked> {
        match self.rights().write_policies(&target.object(), Command::Insert) {
            None => Ok(Checked { plan: rows, columns: Vec::new() }),
            Some(policies) => self.check_rows(target, rows, &policies.new, None).await,
        }
    }

    /// Has rows checked; with `op` those that have this number in column `op.0` alone.
    pub(super) async fn check_rows(
        self: &Arc<Self>,
        target: &Target,
        rows: LogicalPlan,
        condition: &str,
        op: Option<(&str, RowOp)>,
    ) -> Result<Checked> {
        let object = target.object();
        let given = Arc::clone(rows.schema().inner());
        let is_given = |name: &str| given.fields().iter().any(|field| field.name() == name);
        let columns = target.columns();
        let omitted = columns.fields().iter().filter(|field| !is_given(field.name()));
        let omitted = omitted.collect::<Vec<_>>();
        // Names are bound as in the whole table, whatever the statement gives.
        let mut exprs = rows.schema().columns().into_iter().map(Expr::Column).collect::<Vec<_>>();
        for field in &omitted {
            exprs.push(lit(ScalarValue::try_new_null(field.data_type())?).alias(field.name()));
        }
        let whole = barrier(LogicalPlanBuilder::from(rows).project(exprs)?.build()?);
        let name = unknown_name();
        let from = format!("{} AS {}", place(&object, &name), quote_ident(&target.name));
        let stand_ins = vec![(name, whole)];

        let sql = format!("SELECT ({condition}) AS x FROM {from}");
        let alone = self.plan_under(&object, &sql, stand_ins.clone()).await?;
        let looked_at = looked_at(&columns, condition, &alone)?;
        if let Some(field) = omitted.iter().find(|field| looked_at.contains(field.name())) {
            return Err(Error::new(
                ErrorKind::NotAllowed,
                format!(
                    "policies of {object} look at column \"{}\", which has no value",
                    field.name()
                ),
            )
            .with_hint(
                "Give it one in the statement: what its source fills in cannot be checked.",
            ));
        }

        let mut items =
            given.fields().iter().map(|field| quote_ident(field.name())).collect::<Vec<_>>();
        let holds = quote_ident(HOLDS);
        items.push(match op {
            None => format!("({condition}) AS {holds}"),
            Some((column, op)) => format!(
                "CASE WHEN {} = {} THEN ({condition}) ELSE TRUE END AS {holds}",
                quote_ident(column),
                op as i8
            ),
        });
        let sql = format!("SELECT {} FROM {from}", items.join(", "));
        let plan = self.plan_under(&object, &sql, stand_ins).await?;
        let rule = Rule::Policies(object.to_string());
        Ok(Checked {
            plan: RowCheck::over(plan, &given, rule)?,
            columns: looked_at.into_iter().collect(),
        })
    }

    /// Parts the rows of a table into those that may be changed and the others. `written` is its name in the query; `identity` are the
    /// columns by which a row is found again, in its place.
    ///
    /// # Errors
    /// 0A000 for policies that read other tables or call volatile functions, where the table is written anew: both parts are asked,
    /// and have to agree, or a row would be lost or doubled.
    pub(super) async fn part_rows(
        self: &Arc<Self>,
        target: &Target,
        written: &str,
        identity: Option<&SchemaRef>,
        policies: &WritePolicies,
    ) -> Result<Parts> {
        let object = target.object();
        let schema = target.columns();
        let fields = identity.iter().flat_map(|identity| identity.fields().iter());
        let fields = fields.chain(schema.fields().iter());
        let names = fields.map(|field| field.name().clone()).collect::<Vec<_>>();
        let only = |filter: String| Policies { filter: Some(filter), masks: Default::default() };
        let old = &policies.old;
        let seen = self.plan_policies(&object, written, &names, &only(old.clone())).await?;
        let mut parts =
            Parts { seen: name_of(&object, &unknown_name()), hidden: None, plans: Vec::new() };
        if identity.is_none() {
            if n_tables(&seen)? != 1 {
                return Err(Error::unsupported(format!(
                    "policies of {object} read other tables, and its rows cannot be changed under them"
                ))
                .with_hint("Change them as its owner, or as a role with BYPASSRLS."));
            }
            if plan_is_volatile(&seen)? {
                return Err(Error::unsupported(format!(
                    "policies of {object} call a function that answers anew each time, and its rows cannot be changed under them"
                ))
                .with_hint("Change them as its owner, or as a role with BYPASSRLS."));
            }
            let rest = only(format!("({old}) IS NOT TRUE"));
            let hidden = self.plan_policies(&object, written, &names, &rest).await?;
            let name = unknown_name();
            parts.hidden = Some(name_of(&object, &name));
            parts.plans.push((name, hidden));
        }
        parts.plans.extend(parts.seen.0.last().cloned().map(|name| (name, seen)));
        Ok(parts)
    }
}

/// Returns a name that nobody can write.
pub(super) fn unknown_name() -> String {
    format!("$rows {}", Uuid::new_v4())
}

pub(super) fn name_of(object: &Object, name: &str) -> Name {
    let mut path = object.path.clone();
    path.pop();
    path.push(name.to_owned());
    Name(path)
}

fn place(object: &Object, name: &str) -> String {
    name_of(object, name).to_string()
}

fn n_tables(plan: &LogicalPlan) -> Result<usize> {
    let mut n_tables = 0;
    plan.apply_with_subqueries(|node| {
        n_tables += usize::from(matches!(node, LogicalPlan::TableScan(_)));
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(n_tables)
}

/// Returns the columns that a condition may look at: those it names, and those its plan does.
fn looked_at(columns: &SchemaRef, condition: &str, plan: &LogicalPlan) -> Result<HashSet<String>> {
    let mut found = HashSet::new();
    plan.apply_with_subqueries(|node| {
        if is_barrier(node) {
            return Ok(TreeNodeRecursion::Jump);
        }
        node.apply_expressions(|expr| {
            expr.apply(|part| {
                if let Expr::Column(column) | Expr::OuterReferenceColumn(_, column) = part {
                    found.insert(column.name.clone());
                }
                Ok(TreeNodeRecursion::Continue)
            })
        })
    })?;
    let text = condition.to_lowercase();
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    let words = text.split(|c| !is_part(c)).collect::<HashSet<_>>();
    let is_named = |name: &str| {
        let name = name.to_lowercase();
        match name.chars().all(is_part) {
            true => words.contains(name.as_str()),
            false => text.contains(&name) || text.contains(&name.replace('"', "\"\"")),
        }
    };
    let names = columns.fields().iter().map(|field| field.name());
    Ok(names.filter(|name| found.contains(*name) || is_named(name)).cloned().collect())
}
