//! Whether the role may call the functions of a plan.

use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::error::DataFusionError;
use datafusion::logical_expr::{Expr, LogicalPlan};
use maru_core::Result;

use super::Session;
use crate::access::{Object, Privilege};

impl Session {
    /// # Errors
    /// 42501 for a function that was taken from everyone and not given to the role.
    pub(super) fn check_functions(&self, plan: &LogicalPlan) -> Result<()> {
        let rights = self.rights();
        // Everyone may call everything until something is revoked, so nearly never is there anything to look for.
        if rights.is_superuser() || rights.rules().closed.is_empty() {
            return Ok(());
        }
        plan.apply_with_subqueries(|node| {
            node.apply_expressions(|expr| {
                expr.apply(|expr| {
                    let name = match expr {
                        Expr::ScalarFunction(call) => call.name().to_owned(),
                        Expr::AggregateFunction(call) => call.func.name().to_owned(),
                        Expr::WindowFunction(call) => call.fun.name().to_owned(),
                        _ => return Ok(TreeNodeRecursion::Continue),
                    };
                    let function = Object::function(&name);
                    rights.require(Privilege::Execute, &function).map_err(DataFusionError::from)?;
                    Ok(TreeNodeRecursion::Continue)
                })
            })
        })?;
        Ok(())
    }
}
