//! Views that Hive or Spark made: their text planned as a query of Maru's, and cast to what they were declared to be.
//!
//! `maru_sql::hive` reads the text and lets only through what means the same there and here, as far as words tell;
//! `types.rs` looks at what depends on types, `lengths.rs` at texts of a declared length. The rest is refused with the text, never
//! guessed.

mod lengths;
mod types;

use std::sync::Arc;

use arrow::datatypes::Schema;
use datafusion::common::{Column, ExprSchema};
use datafusion::logical_expr::expr::Cast;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder};
use datafusion::sql::parser::Statement as DfStatement;
use maru_connect::{ForeignView, ViewLanguage};
use maru_core::{Error, Result};
use maru_sql::ast;
use maru_sql::hive::{Writer, view_query};

use super::Session;
use super::open_texts::left_alone;

impl Session {
    /// Plans a view of another system, whose names are looked up in `catalog`.
    ///
    /// # Errors
    /// 0A000 with the text for what in it cannot be read, 54000 for views that read themselves, and those of planning.
    pub(crate) async fn plan_foreign_view(
        self: &Arc<Self>,
        catalog: &str,
        name: &str,
        view: &ForeignView,
    ) -> Result<LogicalPlan> {
        let refused = |error: Error| refuse(error, name, &view.text);
        let writer = match view.language {
            ViewLanguage::Hive => Writer::Hive,
            ViewLanguage::Spark => Writer::Spark,
        };
        let query = view_query(&view.text, writer).map_err(refused)?;
        let statement = DfStatement::Statement(Box::new(ast::Statement::Query(query.query)));
        let place = Some((catalog, view.search_schema.as_str()));
        let settle = |plan: LogicalPlan| {
            lengths::check(&plan)?;
            types::settle(plan)
        };
        let plan = left_alone(self.plan_view_statement(statement, place, settle)).await;
        let plan = plan.map_err(refused)?;
        let columns = columns(&plan, view, query.has_wildcard).map_err(refused)?;
        let plan = declared(plan, &columns, &view.schema).map_err(refused)?;
        Ok(plan)
    }
}

/// Tells which view it is that cannot be read, and shows its text. An error that already speaks of a view within stays.
fn refuse(error: Error, name: &str, text: &str) -> Error {
    const HINT: &str = "Make a view of what its query means in Maru: CREATE VIEW … AS SELECT ….";
    if error.sqlstate() != "0A000" || error.hint() == Some(HINT) {
        return error;
    }
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let more = error.detail().map(|detail| format!("{detail} ")).unwrap_or_default();
    Error::unsupported(format!("view \"{name}\" cannot be read: {}", error.primary()))
        .with_detail(format!("{more}Its query is: {line}."))
        .with_hint(HINT)
}

/// Returns which columns of the query are those of the view.
fn columns(plan: &LogicalPlan, view: &ForeignView, has_wildcard: bool) -> Result<Vec<Column>> {
    let all = plan.schema().columns();
    let n_declared = view.schema.fields().len();
    let named = view.query_columns.iter().map(|name| {
        let mut same = all.iter().filter(|column| column.name.eq_ignore_ascii_case(name));
        same.next().filter(|_| same.next().is_none()).cloned()
    });
    let named = named.collect::<Option<Vec<_>>>();
    if let Some(named) = named.filter(|named| named.len() == n_declared && n_declared > 0) {
        return Ok(named);
    }
    // A name that Spark made up for an expression is none here. Then the place tells, if a table with more columns than it had
    // cannot have moved it.
    let by_place = view.language == ViewLanguage::Hive || !has_wildcard;
    if by_place && all.len() == n_declared {
        return Ok(all);
    }
    Err(Error::unsupported(format!(
        "its query has {} columns which are not the {n_declared} it was declared with",
        all.len()
    )))
}

fn declared(plan: LogicalPlan, columns: &[Column], schema: &Schema) -> Result<LogicalPlan> {
    let mut exprs = Vec::with_capacity(columns.len());
    for (column, field) in columns.iter().zip(schema.fields()) {
        let given = plan.schema().field_from_column(column)?.data_type().clone();
        let expr = Expr::Column(column.clone());
        let expr = if &given == field.data_type() {
            expr
        } else {
            types::check_cast(&given, field.data_type()).map_err(|error| {
                let text = format!("column \"{}\": {}", field.name(), error.primary());
                Error::unsupported(text)
            })?;
            Expr::Cast(Cast::new(Box::new(expr), field.data_type().clone()))
        };
        exprs.push(expr.alias(field.name()));
    }
    Ok(LogicalPlanBuilder::from(plan).project(exprs)?.build()?)
}
