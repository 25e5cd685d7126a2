//! What an `ORDER BY` reads of the rows beneath the columns that are shown.
//!
//! A name that stands alone is a result's column; in an expression it is one of what is read (PostgreSQL 16, section 7.5): `SELECT price AS id
//! FROM o ORDER BY id + 0` is in the order of `o.id`. The planner takes it for the result's (DataFusion 55.2). What the rows read do
//! not have stays the result's column, which PostgreSQL refuses. A subquery may look up columns that are not shown, which the planner does not
//! hand up to it. Here such columns go along, and are left out above the order.

use std::sync::Arc;

use datafusion::common::Column;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion};
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::expr::Sort as SortExpr;
use datafusion::logical_expr::{Expr, LogicalPlan, Projection, Sort};

use super::dependent::{Names, inside, looked_up, subquery_of};

/// Gives orders the columns that they mean.
///
/// # Errors
/// 42703 for one that is not there, and what the planner says of the plan it is given.
pub(super) fn of_rows_read(plan: LogicalPlan) -> DfResult<LogicalPlan> {
    plan.transform_up_with_subqueries(|node| {
        let LogicalPlan::Sort(sort) = &node else { return Ok(Transformed::no(node)) };
        // The planner lets a column of nothing pass, and it is missed when the statement runs.
        for key in &sort.expr {
            for column in key.expr.column_refs() {
                sort.input.schema().index_of_column(column)?;
            }
        }
        let LogicalPlan::Projection(shown) = sort.input.as_ref() else {
            return Ok(Transformed::no(node));
        };
        let mut hidden = Hidden::default();
        let mut keys = Vec::with_capacity(sort.expr.len());
        for key in &sort.expr {
            let expr = hidden.meant(key.expr.clone(), shown)?;
            keys.push(SortExpr::new(expr, key.asc, key.nulls_first));
        }
        if hidden.columns.is_empty() {
            return Ok(Transformed::no(node));
        }
        let named = hidden.columns.iter().enumerate();
        let named = named.map(|(at, column)| Expr::Column(column.clone()).alias(name(at).name));
        let exprs = shown.expr.iter().cloned().chain(named).collect();
        let rows = LogicalPlan::Projection(Projection::try_new(exprs, Arc::clone(&shown.input))?);
        let sorted =
            LogicalPlan::Sort(Sort { expr: keys, input: Arc::new(rows), fetch: sort.fetch });
        let columns = shown.schema.columns().into_iter().map(Expr::Column).collect();
        let plan = Projection::try_new(columns, Arc::new(sorted))?;
        Ok(Transformed::yes(LogicalPlan::Projection(plan)))
    })
    .data()
}

/// The columns of the rows read that go along.
#[derive(Default)]
struct Hidden {
    columns: Vec<Column>,
}

/// The name of one. No other column has it.
fn name(at: usize) -> Column {
    Column::new_unqualified(format!("column {at} of the order"))
}

impl Names for Hidden {
    fn renamed(&self, column: &Column) -> Option<Column> {
        self.columns.iter().position(|one| one == column).map(name)
    }
}

impl Hidden {
    fn add(&mut self, column: Column) -> Column {
        let known = self.columns.iter().position(|one| *one == column);
        name(known.unwrap_or_else(|| {
            self.columns.push(column);
            self.columns.len() - 1
        }))
    }

    /// Returns a key with columns of the rows read where it means them.
    fn meant(&mut self, key: Expr, shown: &Projection) -> DfResult<Expr> {
        key.apply(|part| {
            if let Some(subquery) = subquery_of(part) {
                for one in looked_up(&subquery.subquery)? {
                    if let Expr::OuterReferenceColumn(_, column) = one
                        && shown.schema.maybe_index_of_column(&column).is_none()
                        && shown.input.schema().maybe_index_of_column(&column).is_some()
                    {
                        self.add(column);
                    }
                }
            }
            Ok(TreeNodeRecursion::Continue)
        })?;
        let key = match self.columns.is_empty() {
            true => key,
            false => inside(&*self, key, &[Arc::clone(&shown.schema)])?,
        };
        if is_alone(&key) {
            return Ok(key);
        }
        key.transform_up(|part| {
            let Expr::Column(column) = &part else { return Ok(Transformed::no(part)) };
            Ok(match read(column, shown) {
                Some(column) => Transformed::yes(Expr::Column(self.add(column))),
                None => Transformed::no(part),
            })
        })
        .data()
    }
}

fn is_alone(key: &Expr) -> bool {
    match key {
        Expr::Alias(alias) => is_alone(&alias.expr),
        other => matches!(other, Expr::Column(_)),
    }
}

/// Returns the column of the rows read that has the name of a column which is shown; `None` if that is the same, or there is not one such.
fn read(column: &Column, shown: &Projection) -> Option<Column> {
    if column.relation.is_some() {
        return None;
    }
    let made = shown.expr.get(shown.schema.maybe_index_of_column(column)?)?;
    let mut found = shown.input.schema().columns_with_unqualified_name(&column.name);
    let one = found.pop().filter(|_| found.is_empty())?;
    let is_same = matches!(made.clone().unalias(), Expr::Column(of) if of == one);
    (!is_same).then_some(one)
}
