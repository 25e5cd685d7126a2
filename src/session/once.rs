//! What costs much is computed once for each row.
//!
//! The planner moves conditions, and parts of rows that are asked for, below the query that makes them, and puts what makes a
//! column in the place of the column's name as often as it stands there. `(l).url` and `(l).status` of a line that was taken apart
//! as `l` would then take it apart twice, and a condition on it once more. A call of the pack of cleaning, or of a model, inside of
//! a query goes through [`Once`], which gives its argument back and, since it is said to be volatile, stays where it is. One of
//! columns of a table's partitions does not: a condition on it is to reach them.

use std::sync::LazyLock;

use arrow::datatypes::{DataType, FieldRef};
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::{
    ColumnarValue, Expr, LogicalPlan, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF,
    ScalarUDFImpl, Signature, TableProviderFilterPushDown as Pushdown, TableScan, Volatility,
};
use datafusion::optimizer::AnalyzerRule;
use maru_core::Error;

/// The rule; it comes when types are settled.
#[derive(Debug)]
pub(super) struct ComputeOnce;

impl AnalyzerRule for ComputeOnce {
    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> DfResult<LogicalPlan> {
        below(plan, false)
    }

    fn name(&self) -> &str {
        "compute_once"
    }
}

/// Changes the queries under `plan`, and `plan` itself if its columns are `used` above.
fn below(plan: LogicalPlan, used: bool) -> DfResult<LogicalPlan> {
    // What only renames or shows its input uses no column twice.
    let uses = match &plan {
        LogicalPlan::SubqueryAlias(_) | LogicalPlan::Explain(_) | LogicalPlan::Analyze(_) => used,
        _ => true,
    };
    let plan = plan.map_children(|child| Ok(Transformed::yes(below(child, uses)?)))?.data;
    let plan = plan.map_subqueries(|inner| Ok(Transformed::yes(below(inner, used)?)))?.data;
    let LogicalPlan::Projection(columns) = &plan else { return Ok(plan) };
    if !used {
        return Ok(plan);
    }
    let scan = scanned(&columns.input).cloned();
    let names = NamePreserver::new(&plan);
    let changed = plan.map_expressions(|expr| {
        let name = names.save(&expr);
        let changed = expr.transform_down(|part| {
            let Expr::ScalarFunction(call) = &part else { return Ok(Transformed::no(part)) };
            if call.name() == ONCE.name() {
                return Ok(Transformed::new(part, false, TreeNodeRecursion::Jump));
            }
            let is_costly = COSTLY.contains(call.name()) || call.name().starts_with("ml_");
            let is_costly = is_costly && !is_decided_by(scan.as_ref(), &part);
            let part = if is_costly { ONCE.call(vec![part]) } else { part };
            let next =
                if is_costly { TreeNodeRecursion::Jump } else { TreeNodeRecursion::Continue };
            Ok(Transformed::new(part, is_costly, next))
        })?;
        Ok(changed.update_data(|expr| name.restore(expr)))
    })?;
    Ok(changed.data)
}

/// Returns the table that a query's rows come from, if nothing has changed them.
fn scanned(plan: &LogicalPlan) -> Option<&TableScan> {
    match plan {
        LogicalPlan::TableScan(scan) => Some(scan),
        LogicalPlan::SubqueryAlias(alias) => scanned(&alias.input),
        LogicalPlan::Filter(filter) => scanned(&filter.input),
        _ => None,
    }
}

/// Returns whether a scan checks conditions on what is called itself: on columns of its partitions they spare it whole files.
fn is_decided_by(scan: Option<&TableScan>, call: &Expr) -> bool {
    let condition = call.clone().is_not_null();
    let answer = scan.map(|scan| scan.source.supports_filters_pushdown(&[&condition]));
    matches!(answer.as_ref().map(|answer| answer.as_deref()), Some(Ok([Pushdown::Exact])))
}

/// Functions that read texts; those of models go by the version, and are known by how they are called.
static COSTLY: LazyLock<std::collections::HashSet<String>> = LazyLock::new(|| {
    maru_clean::functions().iter().map(|function| function.name().to_owned()).collect()
});

static ONCE: LazyLock<ScalarUDF> =
    LazyLock::new(|| ScalarUDF::from(Once { signature: Signature::any(1, Volatility::Volatile) }));

/// Gives its argument back.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Once {
    signature: Signature,
}

impl ScalarUDFImpl for Once {
    fn name(&self) -> &str {
        "once"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> DfResult<DataType> {
        types.first().cloned().ok_or_else(|| Error::internal("once of nothing").into())
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> DfResult<FieldRef> {
        args.arg_fields.first().cloned().ok_or_else(|| Error::internal("once of nothing").into())
    }

    fn invoke_with_args(&self, mut args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        args.args.pop().ok_or_else(|| Error::internal("once of nothing").into())
    }
}
