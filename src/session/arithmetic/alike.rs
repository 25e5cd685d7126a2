//! Floats that are one value and have two patterns of bits: 0 and -0, and NaN of either sign.
//!
//! The engine underneath takes 0 and -0 for the same where it compares with operators, joins and groups. It goes by the bits where it looks a
//! value up: in `IN` lists, branches of `CASE x WHEN`, `nullif`, arrays, and arguments of `DISTINCT` aggregates (DataFusion 55.2). A list of
//! constants gets both zeros, so that conditions on columns stay what they are; everywhere else what is looked up loses its sign.

use std::sync::{Arc, LazyLock};

use arrow::compute::kernels::cmp;
use arrow::compute::nullif;
use arrow::datatypes::DataType;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::expr::{InList, ScalarFunction};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::{
    ColumnarValue, Expr, LogicalPlan, Operator, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl,
    Signature, Volatility,
};
use datafusion::optimizer::{ApplyOrder, OptimizerConfig, OptimizerRule};
use maru_core::Error;

use super::contained;
use super::moments::constant;
use super::type_of;
use super::zeros::{holds_float, unsigned, without_sign};

/// Functions that look for a value in an array.
const MEMBERS: &[&str] = &[
    "array_has",
    "array_has_all",
    "array_has_any",
    "array_position",
    "array_positions",
    "array_remove",
    "array_remove_all",
    "array_remove_n",
    "array_replace",
    "array_replace_all",
    "array_replace_n",
];

/// Changes one expression, whose types are settled.
pub(super) fn by_value(mut expr: Expr, schema: &DFSchema) -> Transformed<Expr> {
    let changed = match &mut expr {
        Expr::InList(list) => within(list, schema),
        Expr::Case(case) => match &mut case.expr {
            Some(base) => {
                let mut changed = without_sign(base, schema);
                for (when, _) in &mut case.when_then_expr {
                    changed |= without_sign(when, schema);
                }
                changed
            }
            None => false,
        },
        Expr::AggregateFunction(call) if call.params.distinct => all(&mut call.params.args, schema),
        Expr::WindowFunction(call) if call.params.distinct => all(&mut call.params.args, schema),
        Expr::BinaryExpr(compared) if is_comparison(compared.op) => {
            let are_arrays = [&compared.left, &compared.right]
                .into_iter()
                .all(|side| type_of(side, schema).is_ok_and(|side| is_array(&side)));
            are_arrays && {
                let left = without_sign(&mut compared.left, schema);
                without_sign(&mut compared.right, schema) || left
            }
        }
        Expr::ScalarFunction(call) if MEMBERS.contains(&call.name()) && !is_list(call) => {
            let changed = all(&mut call.args, schema);
            contained::settle(call) || changed
        }
        Expr::ScalarFunction(call) if call.name() == NULLIF => {
            let are_floats =
                call.args.iter().all(|arg| type_of(arg, schema).is_ok_and(|arg| holds_float(&arg)));
            let changed = are_floats && !Arc::ptr_eq(&call.func, &NULL_IF_EQUAL);
            if changed {
                call.func = Arc::clone(&NULL_IF_EQUAL);
            }
            changed
        }
        _ => false,
    };
    if changed { Transformed::yes(expr) } else { Transformed::no(expr) }
}

fn all(args: &mut [Expr], schema: &DFSchema) -> bool {
    let mut changed = false;
    for arg in args {
        changed |= without_sign(arg, schema);
    }
    changed
}

fn is_comparison(op: Operator) -> bool {
    use Operator::{Eq, Gt, GtEq, IsDistinctFrom, IsNotDistinctFrom, Lt, LtEq, NotEq};
    matches!(op, Eq | NotEq | Lt | LtEq | Gt | GtEq | IsDistinctFrom | IsNotDistinctFrom)
}

fn is_array(data_type: &DataType) -> bool {
    matches!(data_type, DataType::List(_) | DataType::LargeList(_)) && holds_float(data_type)
}

/// Returns whether the optimizer will make an `IN` list of a call.
fn is_list(call: &ScalarFunction) -> bool {
    call.name() == "array_has" && matches!(call.args.first(), Some(Expr::Literal(..)))
}

fn within(list: &mut InList, schema: &DFSchema) -> bool {
    match type_of(&list.expr, schema) {
        Ok(data_type) if data_type.is_floating() => {
            if list.list.iter().all(|item| constant(item).is_some()) {
                return both_zeros(list);
            }
        }
        Ok(data_type) if holds_float(&data_type) => {}
        _ => return false,
    }
    let changed = without_sign(&mut list.expr, schema);
    all(&mut list.list, schema) || changed
}

/// Adds the other zero to a list that has one.
fn both_zeros(list: &mut InList) -> bool {
    let zeros = list.list.iter().filter_map(zero).collect::<Vec<_>>();
    let Some(Ok(other)) = zeros.first().map(ScalarValue::arithmetic_negate) else { return false };
    if zeros.contains(&other) {
        return false;
    }
    list.list.push(Expr::Literal(other, None));
    true
}

/// Returns the value of a constant if it is a float's zero.
fn zero(item: &Expr) -> Option<ScalarValue> {
    let value = constant(item).filter(|value| value.data_type().is_floating())?;
    let zero = ScalarValue::new_zero(&value.data_type()).ok()?;
    let negative = zero.arithmetic_negate().ok()?;
    (value == zero || value == negative).then_some(value)
}

/// Adds the other zero to the lists that the optimizer makes of `x = 0 OR x = 1 OR …` and of arrays.
#[derive(Debug)]
pub(in crate::session) struct BothZeros;

impl OptimizerRule for BothZeros {
    fn name(&self) -> &str {
        "both_zeros"
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        Some(ApplyOrder::TopDown)
    }

    fn rewrite(
        &self,
        plan: LogicalPlan,
        _: &dyn OptimizerConfig,
    ) -> DfResult<Transformed<LogicalPlan>> {
        // What a source is asked about is without zeros.
        if matches!(plan, LogicalPlan::TableScan(_)) {
            return Ok(Transformed::no(plan));
        }
        let preserver = NamePreserver::new(&plan);
        plan.map_expressions(|expr| {
            if !expr.exists(|part| Ok(matches!(part, Expr::InList(_))))? {
                return Ok(Transformed::no(expr));
            }
            let name = preserver.save(&expr);
            let changed = expr.transform_up(|mut part| {
                let changed = match &mut part {
                    Expr::InList(list) => both_zeros(list),
                    _ => false,
                };
                Ok(if changed { Transformed::yes(part) } else { Transformed::no(part) })
            })?;
            Ok(changed.update_data(|expr| name.restore(expr)))
        })
    }
}

const NULLIF: &str = "nullif";

static NULL_IF_EQUAL: LazyLock<Arc<ScalarUDF>> = LazyLock::new(|| {
    let signature = Signature::any(2, Volatility::Immutable);
    Arc::new(ScalarUDF::from(NullIfEqual { signature }))
});

/// `nullif` of floats: the first one as it is, or NULL if the second has its value.
#[derive(Debug, PartialEq, Eq, Hash)]
struct NullIfEqual {
    signature: Signature,
}

impl ScalarUDFImpl for NullIfEqual {
    fn name(&self) -> &str {
        NULLIF
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> DfResult<DataType> {
        Ok(types.first().cloned().unwrap_or(DataType::Float64))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        let is_scalar = args.args.iter().all(|arg| matches!(arg, ColumnarValue::Scalar(_)));
        let arrays = ColumnarValue::values_to_arrays(&args.args)?;
        let [value, other] = arrays.as_slice() else {
            return Err(Error::internal(format!("nullif of {} values", arrays.len())).into());
        };
        let equal = cmp::eq(&unsigned(value), &unsigned(other))?;
        let values = nullif(value, &equal)?;
        Ok(if is_scalar {
            ColumnarValue::Scalar(ScalarValue::try_from_array(&values, 0)?)
        } else {
            ColumnarValue::Array(values)
        })
    }
}
