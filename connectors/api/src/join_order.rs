//! Joins in the order that makes the fewest rows.
//!
//! [`JoinOrder`] looks at trees of inner joins on equal columns: it takes them apart into relations and the columns they give
//! (`tree.rs`), finds which columns are equal, by what is written or by what follows (`classes.rs`), estimates the rows of each
//! relation (`estimate.rs`, `selectivity.rs`) and of any of them together (`graph.rs`), looks for the cheapest order
//! (`search.rs`) and puts the joins together again (`build.rs`). [`JoinModes`] then looks at each join by itself (`modes.rs`). It works on the physical plan: by then
//! sources have joined what they can join themselves, files are listed and pruned, and columns are known by index, so that no
//! two are mistaken for one another.
//!
//! Whatever else is in a plan is a relation as a whole: outer, semi and anti joins, cross joins, joins with conditions that
//! might fail or give another answer each time, aggregates, limits. Estimates decide the order and nothing else. Where one
//! relation's rows are not known, the order stays as it is written.

mod believed_exec;
mod build;
mod classes;
mod derived;
mod estimate;
mod graph;
mod modes;
mod search;
mod selectivity;
mod tree;

use std::sync::Arc;

use datafusion::common::config::{ConfigExtension, ConfigOptions};
use datafusion::common::extensions_options;
use datafusion::error::Result as DfResult;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::execution_plan::replace_children_if_necessary;

pub(crate) use believed_exec::BelievedExec;
pub(crate) use derived::of_plan;
pub(crate) use estimate::Estimate;
pub use modes::JoinModes;
pub(crate) use selectivity::Facts;
use tree::{Tree, leaves, with_leaves};

/// An order is changed only for one that is estimated to cost less than this share.
const WORTH_IT: f64 = 0.8;

extensions_options! {
    /// Whether joins are put in another order.
    pub struct JoinOrderOptions {
        /// `false` keeps the order in which they are written.
        pub enabled: bool, default = true
    }
}

impl ConfigExtension for JoinOrderOptions {
    const PREFIX: &'static str = "join_order";
}

impl JoinOrderOptions {
    /// Returns the options with the rule on or off.
    pub fn with_enabled(enabled: bool) -> Self {
        Self { enabled }
    }
}

/// The rule. It runs before sides of joins are chosen, [`JoinModes`] after that.
#[derive(Debug, Default)]
pub struct JoinOrder;

impl PhysicalOptimizerRule for JoinOrder {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        config: &ConfigOptions,
    ) -> DfResult<Arc<dyn ExecutionPlan>> {
        let options = config.extensions.get::<JoinOrderOptions>();
        match options.is_none_or(|options| options.enabled) {
            true => ordered(plan, config.execution.target_partitions),
            false => Ok(plan),
        }
    }

    fn name(&self) -> &str {
        "join_order"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

fn ordered(plan: Arc<dyn ExecutionPlan>, n_threads: usize) -> DfResult<Arc<dyn ExecutionPlan>> {
    let relations = leaves(&plan);
    if relations.len() < 2 {
        let children =
            plan.children().into_iter().map(|child| ordered(Arc::clone(child), n_threads));
        let children = children.collect::<DfResult<Vec<_>>>()?;
        return replace_children_if_necessary(plan, children);
    }
    let relations = relations.into_iter().map(|relation| ordered(relation, n_threads));
    let relations = relations.collect::<DfResult<Vec<_>>>()?;
    let plan = with_leaves(&plan, &mut relations.into_iter())?;
    Ok(reordered(&plan, n_threads)?.unwrap_or(plan))
}

/// Returns the same join in a better order; `None` if there is none, or nothing is known.
fn reordered(
    plan: &Arc<dyn ExecutionPlan>,
    n_threads: usize,
) -> DfResult<Option<Arc<dyn ExecutionPlan>>> {
    let Some(tree) = Tree::of(plan) else { return Ok(None) };
    if tree.relations.len() < 3 {
        return Ok(None);
    }
    let estimates = tree.relations.iter().map(estimate::of).collect::<Option<Vec<_>>>();
    let Some(estimates) = estimates else { return Ok(None) };
    let graph = graph::Graph::new(estimates, &tree.classes, n_threads);
    let Some(best) = graph.best() else { return Ok(None) };
    if graph.cost(&best) >= WORTH_IT * graph.cost(&tree.shape) {
        return Ok(None);
    }
    let built = build::build(&tree, &best, &graph)?;
    // Anything else would be another plan.
    Ok((built.schema() == plan.schema()).then_some(built))
}
