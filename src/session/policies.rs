//! What of a table a role sees: policies on rows and masks on columns, planned as a view that nothing reaches under.
//!
//! A condition of the query that may fail would tell of rows that the policies hide: `WHERE 1 / (salary - 5000) > 0` fails
//! if somebody earns 5000. So the view ends in a [`PolicyBarrier`] that no rule moves work through, but for comparisons
//! of plain columns with constants, which cannot fail ([`SafeThroughPolicies`]); those still reach the source.

use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::common::tree_node::{Transformed, TreeNodeRecursion};
use datafusion::common::{DFSchemaRef, Result as DfResult};
use datafusion::execution::context::QueryPlanner;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::utils::{conjunction, split_conjunction_owned};
use datafusion::logical_expr::{
    Expr, Extension, Filter, LogicalPlan, Operator, UserDefinedLogicalNode,
    UserDefinedLogicalNodeCore,
};
use datafusion::optimizer::{ApplyOrder, OptimizerConfig, OptimizerRule};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties};
use datafusion::physical_planner::{DefaultPhysicalPlanner, ExtensionPlanner, PhysicalPlanner};
use maru_core::{Result, quote_ident};

use super::Session;
use crate::access::{Object, Policies};

tokio::task_local! {
    /// The table whose policies are being planned.
    static UNDER: Object;

    /// Plans that stand under names which nobody knows, while a statement over them is planned.
    static STAND_INS: Vec<(String, LogicalPlan)>;
}

/// Returns whether `table` is read by its own policies.
pub(crate) fn is_under_policies(table: &Object) -> bool {
    UNDER.try_with(|under| under == table).unwrap_or(false)
}

/// Returns the plan that stands under a name.
pub(crate) fn stand_in(name: &str) -> Option<LogicalPlan> {
    let found = STAND_INS.try_with(|plans| {
        plans.iter().find(|(known, _)| known == name).map(|(_, plan)| plan.clone())
    });
    found.ok().flatten()
}

/// Plans something while plans stand under names, which must be such that nobody can write them.
pub(super) async fn with_stand_ins<T>(
    plans: Vec<(String, LogicalPlan)>,
    planning: impl Future<Output = T>,
) -> T {
    STAND_INS.scope(plans, planning).await
}

/// Keeps rules of the planner from moving anything through a plan.
pub(super) fn barrier(input: LogicalPlan) -> LogicalPlan {
    let node = PolicyBarrier { input, masked: BTreeSet::new(), hides: true };
    LogicalPlan::Extension(Extension { node: Arc::new(node) })
}

/// The same where nothing is hidden from whoever runs the plan.
pub(super) fn fence(input: LogicalPlan) -> LogicalPlan {
    let node = PolicyBarrier { input, masked: BTreeSet::new(), hides: false };
    LogicalPlan::Extension(Extension { node: Arc::new(node) })
}

pub(super) fn is_barrier(plan: &LogicalPlan) -> bool {
    barrier_of(plan).is_some()
}

fn barrier_of(plan: &LogicalPlan) -> Option<&PolicyBarrier> {
    match plan {
        LogicalPlan::Extension(extension) => extension.node.as_any().downcast_ref(),
        _ => None,
    }
}

impl Session {
    /// Plans a query in which a table is what it is, whatever its policies. `plans` stand under names of their own.
    pub(super) async fn plan_under(
        self: &Arc<Self>,
        table: &Object,
        sql: &str,
        plans: Vec<(String, LogicalPlan)>,
    ) -> Result<LogicalPlan> {
        let planning = with_stand_ins(plans, Box::pin(self.plan_view(sql, None)));
        let planned = UNDER.scope(table.clone(), planning).await;
        planned.map_err(|error| error.or_context("policies of", table.name()))
    }

    /// Plans what of a table shows. `written` is its name with the version that is asked for; `columns` are those that may be
    /// read.
    ///
    /// # Errors
    /// Whatever is wrong with a policy by now, a column that is gone say: nothing is shown then.
    pub(crate) async fn plan_policies(
        self: &Arc<Self>,
        table: &Object,
        written: &str,
        columns: &[String],
        policies: &Policies,
    ) -> Result<LogicalPlan> {
        let shown = columns.iter().map(|column| match policies.masks.get(column) {
            Some(mask) => format!("({mask}) AS {}", quote_ident(column)),
            None => quote_ident(column),
        });
        let shown = shown.collect::<Vec<_>>().join(", ");
        let mut place = table.clone();
        let name = place.path.pop().unwrap_or_default();
        let filter = policies.filter.as_deref().unwrap_or("TRUE");
        let sql = format!(
            "SELECT {shown} FROM {}.{} AS {} WHERE {filter}",
            place.name(),
            quote_ident(written),
            quote_ident(&name)
        );
        let input = self.plan_under(table, &sql, Vec::new()).await?;
        let masked = policies.masks.keys().cloned().collect();
        let barrier = PolicyBarrier { input, masked, hides: true };
        Ok(LogicalPlan::Extension(Extension { node: Arc::new(barrier) }))
    }
}

/// Passes rows on as they are, and nothing down.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct PolicyBarrier {
    input: LogicalPlan,
    /// Columns that are not what is stored.
    masked: BTreeSet<String>,
    /// Whether it keeps something from whoever runs the plan.
    hides: bool,
}

impl PartialOrd for PolicyBarrier {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        self.masked.partial_cmp(&other.masked).filter(|order| order.is_ne())
    }
}

impl UserDefinedLogicalNodeCore for PolicyBarrier {
    fn name(&self) -> &str {
        "Policies"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.input]
    }

    fn schema(&self) -> &DFSchemaRef {
        self.input.schema()
    }

    fn expressions(&self) -> Vec<Expr> {
        Vec::new()
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.hides { "Policies" } else { "Barrier" })
    }

    fn with_exprs_and_inputs(&self, _: Vec<Expr>, mut inputs: Vec<LogicalPlan>) -> DfResult<Self> {
        let input = inputs.pop().ok_or_else(|| {
            datafusion::error::DataFusionError::Internal("policies without a table".to_owned())
        })?;
        Ok(Self { input, masked: self.masked.clone(), hides: self.hides })
    }

    fn necessary_children_exprs(&self, output_columns: &[usize]) -> Option<Vec<Vec<usize>>> {
        Some(vec![output_columns.to_vec()])
    }
}

/// Lets conditions under a [`PolicyBarrier`] that cannot fail, whatever the row.
#[derive(Debug)]
pub(super) struct SafeThroughPolicies;

impl OptimizerRule for SafeThroughPolicies {
    fn name(&self) -> &str {
        "safe_through_policies"
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        Some(ApplyOrder::TopDown)
    }

    fn rewrite(
        &self,
        plan: LogicalPlan,
        _: &dyn OptimizerConfig,
    ) -> DfResult<Transformed<LogicalPlan>> {
        let LogicalPlan::Filter(filter) = &plan else { return Ok(Transformed::no(plan)) };
        let LogicalPlan::Extension(extension) = filter.input.as_ref() else {
            return Ok(Transformed::no(plan));
        };
        let Some(barrier) = extension.node.as_any().downcast_ref::<PolicyBarrier>() else {
            return Ok(Transformed::no(plan));
        };
        let (safe, rest): (Vec<_>, Vec<_>) = split_conjunction_owned(filter.predicate.clone())
            .into_iter()
            .partition(|condition| cannot_fail(condition, &barrier.masked));
        let Some(safe) = conjunction(safe) else { return Ok(Transformed::no(plan)) };
        let under = Filter::try_new(safe, Arc::new(barrier.input.clone()))?;
        let node = PolicyBarrier {
            input: LogicalPlan::Filter(under),
            masked: barrier.masked.clone(),
            hides: barrier.hides,
        };
        let node: Arc<dyn UserDefinedLogicalNode> = Arc::new(node);
        let barrier = LogicalPlan::Extension(Extension { node });
        Ok(Transformed::yes(match conjunction(rest) {
            Some(rest) => LogicalPlan::Filter(Filter::try_new(rest, Arc::new(barrier))?),
            None => barrier,
        }))
    }
}

/// Returns whether a condition compares a column as it is stored with constants of its own type.
fn cannot_fail(condition: &Expr, masked: &BTreeSet<String>) -> bool {
    let plain =
        |expr: &Expr| matches!(expr, Expr::Column(column) if !masked.contains(column.name()));
    let constant = |expr: &Expr| matches!(expr, Expr::Literal(..));
    match condition {
        Expr::BinaryExpr(binary) => {
            let compares = matches!(
                binary.op,
                Operator::Eq
                    | Operator::NotEq
                    | Operator::Lt
                    | Operator::LtEq
                    | Operator::Gt
                    | Operator::GtEq
            );
            let (left, right) = (&binary.left, &binary.right);
            compares && (plain(left) && constant(right) || constant(left) && plain(right))
        }
        Expr::IsNull(inner) | Expr::IsNotNull(inner) => plain(inner),
        Expr::InList(list) => plain(&list.expr) && list.list.iter().all(constant),
        Expr::Between(between) => {
            plain(&between.expr) && constant(&between.low) && constant(&between.high)
        }
        _ => false,
    }
}

/// Plans barriers besides all that DataFusion plans, and refuses what it would not.
#[derive(Debug)]
pub(super) struct WithPolicies;

#[async_trait]
impl QueryPlanner for WithPolicies {
    async fn create_physical_plan(
        &self,
        plan: &LogicalPlan,
        state: &dyn datafusion::catalog::Session,
    ) -> DfResult<Arc<dyn ExecutionPlan>> {
        super::subqueries::refuse_left(plan)?;
        let planner = DefaultPhysicalPlanner::with_extension_planners(vec![
            Arc::new(Barriers),
            Arc::new(super::write::Writes),
        ]);
        planner.create_physical_plan(plan, state).await
    }
}

/// Returns whether policies or masks keep something of a plan's tables from whoever runs it.
pub(crate) fn hides_rows(plan: &LogicalPlan) -> bool {
    let mut hides = false;
    let looked = plan.apply_with_subqueries(|node| {
        hides |= barrier_of(node).is_some_and(|barrier| barrier.hides);
        Ok(if hides { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    });
    hides || looked.is_err()
}

/// Returns whether what lies below is read under policies or masks.
pub(crate) fn is_guard(plan: &Arc<dyn ExecutionPlan>) -> bool {
    plan.downcast_ref::<BarrierExec>().is_some_and(|barrier| barrier.hides)
}

struct Barriers;

#[async_trait]
impl ExtensionPlanner for Barriers {
    async fn plan_extension(
        &self,
        _: &dyn PhysicalPlanner,
        node: &dyn UserDefinedLogicalNode,
        _: &[&LogicalPlan],
        inputs: &[Arc<dyn ExecutionPlan>],
        _: &dyn datafusion::catalog::Session,
        _: &PhysicalPlanningContext,
    ) -> DfResult<Option<Arc<dyn ExecutionPlan>>> {
        let Some(barrier) = node.as_any().downcast_ref::<PolicyBarrier>() else { return Ok(None) };
        Ok(inputs.first().map(|input| {
            let (input, hides) = (Arc::clone(input), barrier.hides);
            Arc::new(BarrierExec { input, hides }) as Arc<dyn ExecutionPlan>
        }))
    }
}

/// The barrier at run time: physical rules do not know it and stop there. Its statistics are unknown, those of hidden rows
/// with them.
#[derive(Debug)]
struct BarrierExec {
    input: Arc<dyn ExecutionPlan>,
    hides: bool,
}

impl DisplayAs for BarrierExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl ExecutionPlan for BarrierExec {
    fn name(&self) -> &str {
        if self.hides { "PoliciesExec" } else { "BarrierExec" }
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.input.properties()
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> DfResult<TreeNodeRecursion>,
    ) -> DfResult<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![true]
    }

    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        vec![false]
    }

    fn with_new_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> DfResult<Arc<dyn ExecutionPlan>> {
        let input = children.pop().unwrap_or_else(|| Arc::clone(&self.input));
        Ok(Arc::new(Self { input, hides: self.hides }))
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> DfResult<SendableRecordBatchStream> {
        self.input.execute(partition, context)
    }
}
