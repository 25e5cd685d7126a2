//! `CASE WHEN 1 THEN …`: a condition is of type boolean (42804). The planner takes every number but 0 for true (DataFusion 55.2).

use datafusion::common::DFSchema;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::{Case, Expr, ExprSchemable, LogicalPlan};
use maru_core::{Error, ErrorKind};

use crate::system::types::regtype_name;

/// Refuses conditions that are numbers, dates and times.
///
/// # Errors
/// 42804.
pub(super) fn refuse(plan: &LogicalPlan) -> DfResult<()> {
    plan.apply_with_subqueries(|node| {
        let mut schema: Option<DFSchema> = None;
        node.apply_expressions(|expr| {
            expr.apply(|part| {
                if let Expr::Case(Case { expr: None, when_then_expr, .. }) = part {
                    for (when, _) in when_then_expr {
                        if !is_plain(when) {
                            continue;
                        }
                        let schema = schema.get_or_insert_with(|| schema_below(node));
                        refuse_type_of(when, schema)?;
                    }
                }
                Ok(TreeNodeRecursion::Continue)
            })
        })
    })?;
    Ok(())
}

/// Returns whether an expression may be of another type than boolean: the types of long conditions take their time.
fn is_plain(expr: &Expr) -> bool {
    match expr {
        Expr::BinaryExpr(binary) => {
            !binary.op.supports_propagation() && !binary.op.is_logic_operator()
        }
        Expr::Alias(_)
        | Expr::Case(_)
        | Expr::Cast(_)
        | Expr::Column(_)
        | Expr::Literal(..)
        | Expr::Negative(_)
        | Expr::ScalarFunction(_)
        | Expr::ScalarSubquery(_) => true,
        _ => false,
    }
}

fn schema_below(node: &LogicalPlan) -> DFSchema {
    let mut schema = DFSchema::empty();
    for input in node.inputs() {
        schema.merge(input.schema());
    }
    schema
}

fn refuse_type_of(when: &Expr, schema: &DFSchema) -> DfResult<()> {
    let Ok(data_type) = when.get_type(schema) else { return Ok(()) };
    if !data_type.is_numeric() && !data_type.is_temporal() {
        return Ok(());
    }
    let name = regtype_name(&data_type);
    let what = format!("argument of CASE/WHEN must be type boolean, not type {name}");
    Err(Error::new(ErrorKind::TypeMismatch, what)
        .with_hint("Write a comparison: CASE WHEN n <> 0 THEN ….")
        .into())
}
