//! Joins in which NULL equals NULL, kept apart from all others.
//!
//! The optimizer makes such a join of `ON a.k IS NOT DISTINCT FROM b.k`: it says of all its keys at once that NULL equals NULL. Two of its rules
//! forget that (DataFusion 55.2):
//!
//! - `ExtractEquijoinPredicate` puts `a.x = b.x`, which a filter above has brought, among these keys: rows with NULL in both are found.
//! - `EliminateCrossJoin` takes inner joins apart and makes new ones, all with the equality of the uppermost: rows are lost or found.
//!
//! Here such joins are made after everything else, of conditions until then, and once made are left as they are.

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{JoinType, NullEquality, Result};
use datafusion::logical_expr::{BinaryExpr, Expr, LogicalPlan, Operator};
use datafusion::optimizer::extract_equijoin_predicate::ExtractEquijoinPredicate;
use datafusion::optimizer::{ApplyOrder, OptimizerConfig, OptimizerRule};

/// A rule of the optimizer.
type Rule = Arc<dyn OptimizerRule + Send + Sync>;

/// Finds keys of joins, but none yet for which NULL equals NULL.
#[derive(Debug)]
pub(super) struct KeysWithoutNulls {
    pub(super) rule: Rule,
}

impl OptimizerRule for KeysWithoutNulls {
    fn name(&self) -> &str {
        self.rule.name()
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        self.rule.apply_order()
    }

    fn rewrite(
        &self,
        plan: LogicalPlan,
        config: &dyn OptimizerConfig,
    ) -> Result<Transformed<LogicalPlan>> {
        if equals_nulls(&plan) {
            return Ok(Transformed::no(plan));
        }
        let is_open = match &plan {
            LogicalPlan::Join(join) => join.filter.as_ref().is_some_and(compares_nulls),
            _ => false,
        };
        if !is_open {
            return self.rule.rewrite(plan, config);
        }
        let rewritten = self.rule.rewrite(plan.clone(), config)?;
        let is_made = equals_nulls(&rewritten.data);
        Ok(if is_made { Transformed::no(plan) } else { rewritten })
    }
}

/// Makes keys of conditions for which NULL equals NULL, of joins that have no others. The last of the rules.
#[derive(Debug, Default)]
pub(super) struct KeysWithNulls {
    rule: ExtractEquijoinPredicate,
}

impl OptimizerRule for KeysWithNulls {
    fn name(&self) -> &str {
        "keys_with_nulls"
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        self.rule.apply_order()
    }

    fn rewrite(
        &self,
        plan: LogicalPlan,
        config: &dyn OptimizerConfig,
    ) -> Result<Transformed<LogicalPlan>> {
        match equals_nulls(&plan) {
            true => Ok(Transformed::no(plan)),
            false => self.rule.rewrite(plan, config),
        }
    }
}

/// Puts inner joins together anew, but not those that have one below them in which NULL equals NULL.
#[derive(Debug)]
pub(super) struct JoinsWithoutNulls {
    pub(super) rule: Rule,
}

impl OptimizerRule for JoinsWithoutNulls {
    fn name(&self) -> &str {
        self.rule.name()
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        self.rule.apply_order()
    }

    fn rewrite(
        &self,
        plan: LogicalPlan,
        config: &dyn OptimizerConfig,
    ) -> Result<Transformed<LogicalPlan>> {
        let mut found = false;
        plan.apply_with_subqueries(|node| {
            let is_inner =
                matches!(node, LogicalPlan::Join(join) if join.join_type == JoinType::Inner);
            found = is_inner && equals_nulls(node);
            Ok(if found { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
        })?;
        if !found {
            return self.rule.rewrite(plan, config);
        }
        let rewritten = plan
            .map_uncorrelated_subqueries(|query| self.rewrite(query, config))?
            .transform_sibling(|plan| plan.map_children(|input| self.rewrite(input, config)))?;
        match rewritten.transformed {
            true => rewritten.map_data(LogicalPlan::recompute_schema),
            false => Ok(rewritten),
        }
    }
}

fn equals_nulls(plan: &LogicalPlan) -> bool {
    matches!(plan, LogicalPlan::Join(join) if join.null_equality == NullEquality::NullEqualsNull)
}

fn compares_nulls(condition: &Expr) -> bool {
    let compares = |part: &Expr| {
        matches!(part, Expr::BinaryExpr(BinaryExpr { op: Operator::IsNotDistinctFrom, .. }))
    };
    condition.exists(|part| Ok(compares(part))).unwrap_or(true)
}
