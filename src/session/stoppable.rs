//! Rules of the planner look, each time they begin, whether anybody waits for the plan.
//!
//! A large plan goes through some fifty rules, many of them at each of its nodes. Where its client has gone, has cancelled, or
//! has waited for long enough, the next rule is the end of it.

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::Transformed;
use datafusion::execution::SessionStateBuilder;
use datafusion::logical_expr::LogicalPlan;
use datafusion::optimizer::{AnalyzerRule, ApplyOrder, OptimizerConfig, OptimizerRule};
use datafusion::physical_optimizer::{PhysicalOptimizerContext, PhysicalOptimizerRule};
use datafusion::physical_plan::ExecutionPlan;

use crate::engine::planners::go_on;

type Analyze = dyn AnalyzerRule + Send + Sync;
type Optimize = dyn OptimizerRule + Send + Sync;
type OptimizePhysical = dyn PhysicalOptimizerRule + Send + Sync;

/// Wraps all rules that are there.
pub(super) fn register(builder: &mut SessionStateBuilder) {
    if let Some(analyzer) = builder.analyzer() {
        for rule in &mut analyzer.rules {
            *rule = Arc::new(Stoppable::<Analyze>(Arc::clone(rule)));
        }
    }
    if let Some(optimizer) = builder.optimizer() {
        for rule in &mut optimizer.rules {
            *rule = Arc::new(Stoppable::<Optimize>(Arc::clone(rule)));
        }
    }
    if let Some(optimizer) = builder.physical_optimizers() {
        for rule in &mut optimizer.rules {
            *rule = Arc::new(Stoppable::<OptimizePhysical>(Arc::clone(rule)));
        }
    }
}

/// A rule that is not applied for nobody.
#[derive(Debug)]
struct Stoppable<R: ?Sized>(Arc<R>);

impl AnalyzerRule for Stoppable<Analyze> {
    fn analyze(&self, plan: LogicalPlan, config: &ConfigOptions) -> Result<LogicalPlan> {
        go_on()?;
        self.0.analyze(plan, config)
    }

    fn name(&self) -> &str {
        self.0.name()
    }
}

impl OptimizerRule for Stoppable<Optimize> {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        self.0.apply_order()
    }

    fn rewrite(
        &self,
        plan: LogicalPlan,
        config: &dyn OptimizerConfig,
    ) -> Result<Transformed<LogicalPlan>> {
        go_on()?;
        self.0.rewrite(plan, config)
    }
}

impl PhysicalOptimizerRule for Stoppable<OptimizePhysical> {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        config: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        go_on()?;
        self.0.optimize(plan, config)
    }

    fn optimize_with_context(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        context: &dyn PhysicalOptimizerContext,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        go_on()?;
        self.0.optimize_with_context(plan, context)
    }

    fn name(&self) -> &str {
        self.0.name()
    }

    fn schema_check(&self) -> bool {
        self.0.schema_check()
    }
}
