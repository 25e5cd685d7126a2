//! `CHECK` and `DEFAULT` in statements that make and change tables. They are planned once, to see what is wrong with them, and kept as
//! they are written.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::Arc;

use arrow::datatypes::{DataType, FieldRef, Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use datafusion::common::DFSchema;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::logical_expr::{EmptyRelation, LogicalPlan};
use maru_core::{Error, ErrorKind, Result, quote_ident};
use maru_sql::ast::{self, visit_expressions};
use maru_sql::{Check, CreateTable, Name};

use super::assign::assignable;
use super::condition::{has_subquery, read};
use super::{literals, moments};
use crate::access::Object;
use crate::output::Body;
use crate::session::Session;
use crate::system::types::sql_name;

/// Returns what a column holds where a row is given no value for it, in the type of the column.
pub(super) fn value_of(text: &str, column: &FieldRef) -> Result<ast::Expr> {
    Ok(literals::of_type(read(&format!("SELECT {text}"))?, column))
}

/// Reads the constraints and the defaults of a new table.
///
/// # Errors
/// 42710 for a name of two constraints; those of [`read_check`] and [`read_default`].
pub(super) async fn of_new(
    session: &Arc<Session>,
    create: &CreateTable,
    object: &Object,
    columns: &SchemaRef,
) -> Result<(Vec<(String, String)>, Vec<(String, String)>)> {
    let relation = create.name.0.last().map_or("", String::as_str);
    let mut checks: Vec<(String, String)> = Vec::new();
    for check in &create.checks {
        let condition = read_check(session, object, relation, columns, &check.condition).await?;
        let taken = checks.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
        let name = name_for(check, relation, columns, &taken);
        if taken.contains(&name) {
            return Err(Error::new(
                ErrorKind::DuplicateObject,
                format!("check constraint \"{name}\" already exists"),
            ));
        }
        checks.push((name, condition));
    }
    let mut defaults = Vec::new();
    for (name, value) in &create.defaults {
        let column = columns.fields().iter().find(|field| field.name() == name);
        let column = column.ok_or_else(|| Error::internal("a column that is not there"))?;
        let value = read_default(session, column, value).await?;
        defaults.extend(value.map(|value| (name.clone(), value)));
    }
    Ok((checks, defaults))
}

/// Reads a condition on the columns of a table.
///
/// # Errors
/// 42804 for one that is neither true nor false; 42703; 0A000 and 42803 for what looks at more than a row.
pub(crate) async fn read_check(
    session: &Arc<Session>,
    object: &Object,
    relation: &str,
    columns: &SchemaRef,
    condition: &ast::Expr,
) -> Result<String> {
    if has_subquery(condition) {
        return Err(Error::unsupported("cannot use subquery in check constraint"));
    }
    let mut condition = condition.clone();
    moments::unqualify(&mut condition, relation, columns);
    moments::fix_in(session, &mut condition, columns).await?;
    let text = condition.to_string();
    let schema = Arc::new(DFSchema::try_from(Arc::clone(columns))?);
    let none = LogicalPlan::EmptyRelation(EmptyRelation { produce_one_row: false, schema });
    let items = [format!("({text}) AS x")];
    let plan = session.plan_over(object, relation, none, &items).await;
    let plan = plan.map_err(Error::without_place)?;
    refuse_beyond_a_row(&plan, "check constraints")?;
    session.check_functions(&plan)?;
    match plan.schema().field(0).data_type() {
        DataType::Boolean | DataType::Null => Ok(text),
        other => Err(Error::new(
            ErrorKind::TypeMismatch,
            format!("argument of CHECK must be type boolean, not type {}", sql_name(other)),
        )),
    }
}

/// Reads what a column holds where a row is given no value for it; `None` for NULL.
///
/// # Errors
/// 42804 for another type; 0A000 and 42803 for what looks at rows.
pub(crate) async fn read_default(
    session: &Arc<Session>,
    column: &FieldRef,
    value: &ast::Expr,
) -> Result<Option<String>> {
    if matches!(value, ast::Expr::Value(value) if matches!(value.value, ast::Value::Null)) {
        return Ok(None);
    }
    if has_subquery(value) {
        return Err(Error::unsupported("cannot use subquery in DEFAULT expression"));
    }
    let mut typed = value.clone();
    literals::cast_to(&mut typed, column);
    let sql = format!("SELECT ({typed}) AS x");
    let plan =
        Box::pin(session.plan_view(&sql, None)).await.map_err(|error| match error.kind() {
            ErrorKind::UndefinedColumn | ErrorKind::UndefinedTable => {
                Error::unsupported("cannot use column reference in DEFAULT expression")
            }
            _ => error.without_place(),
        })?;
    refuse_beyond_a_row(&plan, "DEFAULT expressions")?;
    session.check_functions(&plan)?;
    let found = plan.schema().field(0).data_type();
    if found != column.data_type() && !assignable(found, column.data_type()) {
        return Err(Error::new(
            ErrorKind::TypeMismatch,
            format!(
                "column \"{}\" is of type {} but default expression is of type {}",
                column.name(),
                sql_name(column.data_type()),
                sql_name(found)
            ),
        )
        .with_hint("You will need to rewrite or cast the expression."));
    }
    if let Some(fixed) = moments::fixed_default(session, column, value).await? {
        return Ok(Some(fixed));
    }
    // A literal is read now: later every INSERT would fail.
    if typed != *value && !column.data_type().is_string() {
        rows_of(session, &sql).await?;
    }
    Ok(Some(value.to_string()))
}

/// # Errors
/// 42803 for aggregate and window functions, 0A000 for functions that give rows, 42P02 for parameters.
fn refuse_beyond_a_row(plan: &LogicalPlan, place: &str) -> Result<()> {
    let mut refused = None;
    plan.apply_with_subqueries(|node| {
        refused = match node {
            LogicalPlan::Aggregate(_) => Some((ErrorKind::Grouping, "aggregate")),
            LogicalPlan::Window(_) => Some((ErrorKind::Grouping, "window")),
            LogicalPlan::Unnest(_) => Some((ErrorKind::Unsupported, "set-returning")),
            _ => return Ok(TreeNodeRecursion::Continue),
        };
        Ok(TreeNodeRecursion::Stop)
    })?;
    if let Some((kind, what)) = refused {
        return Err(Error::new(kind, format!("{what} functions are not allowed in {place}")));
    }
    if let Some(name) = plan.get_parameter_names()?.into_iter().next() {
        let message = format!("there is no parameter {name}");
        return Err(Error::new(ErrorKind::UndefinedParameter, message));
    }
    Ok(())
}

/// Returns the name of a constraint: its own, or one by its table and the one column that it is about.
pub(crate) fn name_for(
    check: &Check,
    relation: &str,
    columns: &Schema,
    taken: &[String],
) -> String {
    if let Some(name) = &check.name {
        return name.clone();
    }
    let about = columns_in(&check.condition, columns);
    let base = match about.first().filter(|_| about.len() == 1) {
        Some(column) => format!("{relation}_{column}_check"),
        None => format!("{relation}_check"),
    };
    let mut name = base.clone();
    let mut number = 0;
    while taken.contains(&name) {
        number += 1;
        name = format!("{base}{number}");
    }
    name
}

/// Returns the columns that a condition names.
fn columns_in(condition: &ast::Expr, columns: &Schema) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let _ = visit_expressions(condition, |expr| {
        let named = match expr {
            ast::Expr::Identifier(ident) => Some(ident),
            ast::Expr::CompoundIdentifier(parts) => parts.last(),
            _ => None,
        };
        if let Some(ident) = named {
            let name = moments::folded(ident);
            if columns.field_with_name(&name).is_ok() {
                found.insert(name);
            }
        }
        ControlFlow::<()>::Continue(())
    });
    found
}

/// Looks for a row that breaks a condition. `table` is written as the statement names it.
///
/// # Errors
/// 23514 if there is one.
pub(crate) async fn require_of_all(
    session: &Arc<Session>,
    table: &Name,
    name: &str,
    condition: &str,
) -> Result<()> {
    let relation = table.0.last().map_or("", String::as_str);
    let sql = format!(
        "SELECT 1 AS x FROM {table} AS {} WHERE NOT ({condition}) LIMIT 1",
        quote_ident(relation)
    );
    let found = rows_of(session, &sql).await?;
    if found.iter().all(|batch| batch.num_rows() == 0) {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::CheckViolation,
        format!("check constraint \"{name}\" of relation \"{relation}\" is violated by some row"),
    ))
}

pub(super) async fn rows_of(session: &Arc<Session>, sql: &str) -> Result<Vec<RecordBatch>> {
    let (_, output) = Box::pin(session.read(sql)).await.map_err(Error::without_place)?;
    match output.body {
        Body::Rows(rows) => rows.collect().await,
        _ => Err(Error::internal("a query gave no rows")),
    }
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::Field;

    use super::*;

    fn named(name: Option<&str>, condition: &str, taken: &[&str]) -> String {
        let fields = ["a", "b", "C"].map(|name| Field::new(name, DataType::Int32, true));
        let condition = read(&format!("SELECT {condition}")).unwrap();
        let check = Check { name: name.map(str::to_owned), condition };
        let taken = taken.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        name_for(&check, "t", &Schema::new(fields.to_vec()), &taken)
    }

    #[test]
    fn constraints_without_a_name_get_one_as_in_postgresql() {
        assert_eq!(named(Some("x"), "a > 0", &[]), "x");
        assert_eq!(named(None, "a > 0 AND A <> 5", &[]), "t_a_check");
        assert_eq!(named(None, "t.\"C\" > 0", &[]), "t_C_check");
        assert_eq!(named(None, "a < b", &[]), "t_check");
        assert_eq!(named(None, "1 < 2", &["t_check", "t_check1"]), "t_check2");
    }
}
