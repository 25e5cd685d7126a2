//! What the engine keeps to for tables of files: columns that a statement gives no value for get their `DEFAULT`, and rows are checked
//! against `CHECK` constraints on their way. `row_check.rs` looks at the answers, `declared.rs` reads both from the words of a statement.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::datatypes::FieldRef;
use datafusion::logical_expr::LogicalPlan;
use maru_connect::{RowOp, SourceTable};
use maru_core::{Error, Result, quote_ident};
use maru_sql::ast;

use super::declared::value_of;
use super::policed::{name_of, unknown_name};
use super::row_check::{RowCheck, Rule};
use super::target::Target;
use super::update::OP;
use super::{assign, literals};
use crate::access::{Columns, Object, Privilege};
use crate::session::Session;
use crate::session::policies::{fence, with_stand_ins};

/// The beginning of names that no column has.
const HOLDS: &str = "$holds";

impl Target {
    /// Returns the `CHECK` constraints by name, in its order.
    pub(crate) fn checks(&self) -> Vec<(String, String)> {
        match &self.table {
            SourceTable::Files(table) => table.files.checks(),
            _ => Vec::new(),
        }
    }

    /// Returns what columns hold where a row is given no value for them.
    fn defaults(&self) -> Vec<(String, String)> {
        match &self.table {
            SourceTable::Files(table) => table.files.defaults(),
            _ => Vec::new(),
        }
    }

    /// Returns what a column holds where a row is given no value for it: NULL, unless something else was said.
    pub(super) fn default_of(&self, column: &FieldRef) -> Result<ast::Expr> {
        match self.defaults().into_iter().find(|(name, _)| name == column.name()) {
            Some((_, text)) => value_of(&text, column),
            None => Ok(ast::Expr::value(ast::Value::Null)),
        }
    }

    /// Returns the columns that have defaults, besides those with these names.
    pub(super) fn other_defaults(&self, given: &[String]) -> Result<Vec<(FieldRef, ast::Expr)>> {
        let defaults = self.defaults();
        let schema = self.columns();
        let columns = schema.fields().iter().filter(|field| !given.contains(field.name()));
        let found = columns.filter_map(|field| {
            let (_, text) = defaults.iter().find(|(name, _)| name == field.name())?;
            Some(value_of(text, field).map(|value| (Arc::clone(field), value)))
        });
        found.collect()
    }
}

impl Session {
    /// Adds the columns that a statement gives no values for, where one of them has a default, or rows are checked: they are
    /// checked as they will be. `columns` are those of the rows.
    pub(super) async fn completed(
        self: &Arc<Self>,
        target: &Target,
        rows: LogicalPlan,
        mut columns: Vec<FieldRef>,
    ) -> Result<(LogicalPlan, Vec<FieldRef>)> {
        let names = columns.iter().map(|field| field.name().clone()).collect::<Vec<_>>();
        let schema = target.columns();
        let omitted = schema.fields().iter().filter(|field| !names.contains(field.name()));
        let omitted = omitted.cloned().collect::<Vec<_>>();
        let has_default = !target.other_defaults(&names)?.is_empty();
        if omitted.is_empty() || !has_default && target.checks().is_empty() {
            return Ok((rows, columns));
        }
        let mut items = names.iter().map(|name| quote_ident(name)).collect::<Vec<_>>();
        for field in &omitted {
            let value = target.default_of(field)?;
            items.push(format!("({value}) AS {}", quote_ident(field.name())));
        }
        let rows = self.plan_over(&target.object(), &target.name, rows, &items).await;
        let rows = rows.map_err(Error::without_place)?;
        columns.extend(omitted);
        let zone = self.setting("timezone").unwrap_or_default();
        let rows = assign::assign(rows, &columns, Vec::new(), &zone)?;
        Ok((rows, columns))
    }

    /// Has rows checked against the constraints of the table. Of rows that say what is done with them, those that are inserted and
    /// updated are.
    ///
    /// # Errors
    /// 23514 as the rows come; those of conditions that cannot be computed.
    pub(super) async fn constrained(
        self: &Arc<Self>,
        target: &Target,
        rows: LogicalPlan,
        says_op: bool,
    ) -> Result<LogicalPlan> {
        let checks = target.checks();
        if checks.is_empty() {
            return Ok(rows);
        }
        let given = Arc::clone(rows.schema().inner());
        let names = given.fields().iter().map(|field| quote_ident(field.name()));
        let mut items = names.collect::<Vec<_>>();
        for (at, (_, condition)) in checks.iter().enumerate() {
            let holds = match says_op {
                false => format!("CAST(({condition}) AS boolean)"),
                true => format!(
                    "CASE WHEN {} IN ({}, {}) THEN CAST(({condition}) AS boolean) END",
                    quote_ident(OP),
                    RowOp::Insert as i8,
                    RowOp::Update as i8
                ),
            };
            items.push(format!("{holds} AS {}", quote_ident(&format!("{HOLDS} {at}"))));
        }
        let object = target.object();
        let plan = self.plan_over(&object, &target.name, rows, &items).await;
        let plan = plan.map_err(|error| not_understood(&object, error))?;
        let rights = self.rights();
        let may_tell = rights.policies(&object).is_none()
            && matches!(rights.columns(Privilege::Select, &object), Some(Columns::All));
        let told = match may_tell {
            true => {
                let columns = target.columns();
                let places = columns.fields().iter().map(|f| given.index_of(f.name()).ok());
                places.collect::<Option<Vec<_>>>().unwrap_or_default()
            }
            false => Vec::new(),
        };
        let not_null = match &target.table {
            SourceTable::Files(table) => table.files.not_null(),
            _ => HashSet::new(),
        };
        let required = given.fields().iter().enumerate();
        let required = required.filter(|(_, field)| not_null.contains(field.name()));
        let rule = Rule::Checks {
            relation: target.name.clone(),
            names: checks.into_iter().map(|(name, _)| name).collect(),
            required: required.map(|(at, field)| (at, field.name().clone())).collect(),
            op: if says_op { given.index_of(OP).ok() } else { None },
            told,
            zone: self.setting("timezone").unwrap_or_default(),
        };
        RowCheck::over(plan, &given, rule)
    }

    /// Plans expressions over rows, which they know as those of a table.
    pub(super) async fn plan_over(
        self: &Arc<Self>,
        object: &Object,
        relation: &str,
        rows: LogicalPlan,
        items: &[String],
    ) -> Result<LogicalPlan> {
        let name = unknown_name();
        let place = name_of(object, &name);
        let sql = format!("SELECT {} FROM {place} AS {}", items.join(", "), quote_ident(relation));
        let stand_ins = vec![(name, fence(rows))];
        with_stand_ins(stand_ins, Box::pin(self.plan_view(&sql, None))).await
    }
}

/// The error for a condition that cannot be planned: its place is none in the text of the statement.
fn not_understood(object: &Object, error: Error) -> Error {
    Error::unsupported(format!("a CHECK constraint of {object} is not understood here"))
        .with_detail(format!("{}.", error.message().trim_end_matches('.')))
        .with_hint("Write the table with the engine that made it.")
        .with_cause(error)
}

/// Writes the defaults of columns where `DEFAULT` is said.
pub(super) fn write_defaults(
    query: &mut ast::Query,
    target: &Target,
    columns: &[FieldRef],
) -> Result<()> {
    let ast::SetExpr::Values(values) = query.body.as_mut() else { return Ok(()) };
    for row in &mut values.rows {
        for (at, value) in row.iter_mut().enumerate() {
            if literals::is_default(value) {
                *value = match columns.get(at) {
                    Some(column) => target.default_of(column)?,
                    // There are too many values.
                    None => ast::Expr::value(ast::Value::Null),
                };
            }
        }
    }
    Ok(())
}
