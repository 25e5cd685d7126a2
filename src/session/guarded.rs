//! Rules of DataFusion that are right only under a condition, which is looked at first.
//!
//! - `FilterPushdown` finds columns by their name. Above a join of two columns of one name it takes the wrong one, and rows
//!   are lost or made (apache/datafusion#25263, still there in 55.2).
//! - `SingleDistinctToGroupBy` sums sums. The sum of a numeric has more digits, so that the result has another type than
//!   was promised.
//! - `SimplifyExpressions` also changes filters that a source has taken over. `id IS NULL` becomes `false` where the source has
//!   no NULL, the source does not know `false`, and nobody filters any more (55.2).
//! - `ExtractLeafExpressions` and `PushDownLeafProjections` put `random()` in the place of a column as often as a part of it is
//!   asked for (55.2), so that parts of one row come from several; and what is computed once as often (`once.rs`). And
//!   `PushDownLeafProjections` fails where a column has the name of one below it: `SELECT a + f(id) AS a, b + f(id) AS b`
//!   within a query that takes a part of a row of both.
//! - `LimitAggregation` keeps the first groups only. Its groups are compared as floats are, so that every NaN is a group of its
//!   own, and then it panics (55.2).
//! - `ExtractEquijoinPredicate` and `EliminateCrossJoin` mix joins in which NULL equals NULL with others: `equal_nulls.rs`.

use std::collections::HashSet;
use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DataFusionError, Result};
use datafusion::execution::{SessionState, SessionStateBuilder};
use datafusion::logical_expr::{Expr, LogicalPlan};
use datafusion::optimizer::{ApplyOrder, OptimizerConfig, OptimizerRule};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::aggregates::AggregateExec;
use datafusion::physical_plan::{ExecutionPlan, replace_children_if_necessary};
use maru_connect::{JoinModes, JoinOrder};

use super::equal_nulls::{JoinsWithoutNulls, KeysWithNulls, KeysWithoutNulls};
use super::models::ScoresAboveFilters;

/// Puts the guarded rules in the place of DataFusion's, and the order of joins before their sides are chosen.
pub(super) fn register(state: SessionState) -> SessionStateBuilder {
    let mut physical: Vec<Arc<dyn PhysicalOptimizerRule + Send + Sync>> = Vec::new();
    for rule in state.physical_optimizers() {
        // It chooses the sides of joins, which have to be in their order by then.
        let chooses_sides = rule.name() == "join_selection";
        let moves_columns = rule.name() == "ProjectionPushdown";
        if chooses_sides {
            physical.push(Arc::new(JoinOrder));
        }
        let rule = Arc::clone(rule);
        physical.push(match rule.name() {
            name if name.starts_with("FilterPushdown") => Arc::new(WhereNamesAreUnique { rule }),
            "LimitAggregation" => Arc::new(WhereNoFloatIsAKey { rule }),
            _ => rule,
        });
        if chooses_sides {
            physical.push(Arc::new(JoinModes));
        }
        if moves_columns {
            physical.push(Arc::new(ScoresAboveFilters));
        }
    }
    let mut logical = state
        .optimizers()
        .iter()
        .map(|rule| -> Arc<dyn OptimizerRule + Send + Sync> {
            match rule.name() {
                "single_distinct_aggregation_to_group_by" => {
                    Arc::new(WhereTypesStay { rule: Arc::clone(rule) })
                }
                "simplify_expressions" => Arc::new(ButInScans { rule: Arc::clone(rule) }),
                "extract_leaf_expressions" | "push_down_leaf_projections" => {
                    Arc::new(WhereNothingVaries { rule: Arc::clone(rule) })
                }
                "extract_equijoin_predicate" => {
                    Arc::new(KeysWithoutNulls { rule: Arc::clone(rule) })
                }
                "eliminate_cross_join" => Arc::new(JoinsWithoutNulls { rule: Arc::clone(rule) }),
                _ => Arc::clone(rule),
            }
        })
        .collect::<Vec<_>>();
    logical.push(Arc::new(KeysWithNulls::default()));
    SessionStateBuilder::new_from_existing(state)
        .with_physical_optimizer_rules(physical)
        .with_optimizer_rules(logical)
}

/// Applies a rule to the greatest parts of a plan in which no node has two columns of one name.
#[derive(Debug)]
struct WhereNamesAreUnique {
    rule: Arc<dyn PhysicalOptimizerRule + Send + Sync>,
}

impl PhysicalOptimizerRule for WhereNamesAreUnique {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        config: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        if names_are_unique(&plan) {
            return self.rule.optimize(plan, config);
        }
        let children = plan
            .children()
            .into_iter()
            .map(|child| self.optimize(Arc::clone(child), config))
            .collect::<Result<Vec<_>>>()?;
        replace_children_if_necessary(plan, children)
    }

    fn name(&self) -> &str {
        self.rule.name()
    }

    fn schema_check(&self) -> bool {
        self.rule.schema_check()
    }
}

fn names_are_unique(plan: &Arc<dyn ExecutionPlan>) -> bool {
    let mut seen = HashSet::new();
    plan.schema().fields().iter().all(|field| seen.insert(field.name()))
        && plan.children().into_iter().all(names_are_unique)
}

/// Applies a rule to plans that group by no floating-point number.
#[derive(Debug)]
struct WhereNoFloatIsAKey {
    rule: Arc<dyn PhysicalOptimizerRule + Send + Sync>,
}

impl PhysicalOptimizerRule for WhereNoFloatIsAKey {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        config: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        match has_float_key(&plan) {
            true => Ok(plan),
            false => self.rule.optimize(plan, config),
        }
    }

    fn name(&self) -> &str {
        self.rule.name()
    }

    fn schema_check(&self) -> bool {
        self.rule.schema_check()
    }
}

fn has_float_key(plan: &Arc<dyn ExecutionPlan>) -> bool {
    let here = plan.downcast_ref::<AggregateExec>().is_some_and(|aggregate| {
        let n_keys = aggregate.group_expr().expr().len();
        aggregate.schema().fields().iter().take(n_keys).any(|key| key.data_type().is_floating())
    });
    here || plan.children().into_iter().any(has_float_key)
}

/// Takes a rule's answer only if its columns have the types they had.
#[derive(Debug)]
struct WhereTypesStay {
    rule: Arc<dyn OptimizerRule + Send + Sync>,
}

impl OptimizerRule for WhereTypesStay {
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
        if !matches!(plan, LogicalPlan::Aggregate(_)) {
            return self.rule.rewrite(plan, config);
        }
        let rewritten = self.rule.rewrite(plan.clone(), config)?;
        let types_stay = plan
            .schema()
            .fields()
            .iter()
            .zip(rewritten.data.schema().fields())
            .all(|(was, is)| was.data_type() == is.data_type());
        Ok(if types_stay { rewritten } else { Transformed::no(plan) })
    }
}

/// Applies a rule to everything but scans.
#[derive(Debug)]
struct ButInScans {
    rule: Arc<dyn OptimizerRule + Send + Sync>,
}

impl OptimizerRule for ButInScans {
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
        match plan {
            LogicalPlan::TableScan(_) => Ok(Transformed::no(plan)),
            other => self.rule.rewrite(other, config),
        }
    }
}

/// Applies a rule above queries whose columns are the same however often they are computed.
#[derive(Debug)]
struct WhereNothingVaries {
    rule: Arc<dyn OptimizerRule + Send + Sync>,
}

impl OptimizerRule for WhereNothingVaries {
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
        let varies = plan.exists(|node| match node {
            LogicalPlan::Projection(columns) => Ok(columns.expr.iter().any(Expr::is_volatile)),
            _ => Ok(false),
        })?;
        match varies {
            true => Ok(Transformed::no(plan)),
            false => match self.rule.rewrite(plan.clone(), config) {
                Err(error) if matches!(error.find_root(), DataFusionError::SchemaError(..)) => {
                    Ok(Transformed::no(plan))
                }
                rewritten => rewritten,
            },
        }
    }
}
