//! The row that a subquery looks at, as columns beside those of the subquery.

use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::common::{Column, DFSchema};
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder};

/// The columns of the row, under names that no column of the subquery has.
pub(super) struct OuterRow<'a> {
    schema: &'a DFSchema,
}

impl<'a> OuterRow<'a> {
    pub(super) fn new(schema: &'a DFSchema) -> Self {
        Self { schema }
    }

    fn name(at: usize) -> Column {
        Column::new_unqualified(format!("column {at} of the row"))
    }

    /// Renames the columns of the rows themselves.
    pub(super) fn renamed(&self, rows: LogicalPlan) -> DfResult<LogicalPlan> {
        let columns = self.schema.columns().into_iter().enumerate();
        let named = columns.map(|(at, column)| Expr::Column(column).alias(Self::name(at).name));
        LogicalPlanBuilder::from(rows).project(named)?.build()
    }

    /// The columns under the names they have here.
    pub(super) fn columns(&self) -> Vec<Expr> {
        (0..self.schema.fields().len()).map(|at| Expr::Column(Self::name(at))).collect()
    }

    /// The columns under the names they had.
    pub(super) fn restored(&self) -> Vec<Expr> {
        let columns = self.schema.columns().into_iter().enumerate();
        let restored = columns.map(|(at, column)| {
            Expr::Column(Self::name(at)).alias_qualified(column.relation, column.name)
        });
        restored.collect()
    }

    /// Makes plain columns of those that an expression looks up in the row. Those of a row further out stay as they are.
    pub(super) fn inside(&self, expr: Expr) -> DfResult<Expr> {
        expr.transform_up(|part| {
            Ok(match part {
                Expr::OuterReferenceColumn(field, column) => {
                    match self.schema.maybe_index_of_column(&column) {
                        Some(at) => Transformed::yes(Expr::Column(Self::name(at))),
                        None => Transformed::no(Expr::OuterReferenceColumn(field, column)),
                    }
                }
                other => Transformed::no(other),
            })
        })
        .data()
    }
}
