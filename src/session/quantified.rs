//! `x = ANY (array)`, `x <> ALL (array)` and their like.
//!
//! The engine underneath makes `array_has` of the first, which is false where PostgreSQL says NULL: for
//! `3 = ANY (ARRAY[1, NULL])`. And it takes neither the text of an array nor a parameter without a type on the right.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, ListArray, UInt32Array};
use arrow::compute::kernels::cmp;
use arrow::compute::take;
use arrow::datatypes::{DataType, Field, Float32Type, Float64Type};
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::error::Result as DfResult;
use datafusion::execution::{FunctionRegistry, SessionState};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::simplify::{ExprSimplifyResult, SimplifyContext};
use datafusion::logical_expr::type_coercion::binary::comparison_coercion;
use datafusion::logical_expr::{
    ColumnarValue, Expr, ExprSchemable, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    Volatility, in_list, lit,
};
use maru_core::{Error, ErrorKind, Result};

/// `op_any('=', x, array)`; a fourth argument says that the array is written as a literal of text.
pub(super) const ANY: &str = "op_any";
/// The same of `ALL`.
pub(super) const ALL: &str = "op_all";

/// The operators there are.
pub(super) const OPERATORS: &[&str] = &["=", "<>", "<", "<=", ">", ">="];

pub(super) fn register(state: &mut SessionState) -> Result<()> {
    for all in [false, true] {
        let signature = Signature::user_defined(Volatility::Immutable);
        state.register_udf(Arc::new(ScalarUDF::from(Quantified { all, signature })))?;
    }
    Ok(())
}

/// Returns the parameter that such a call compares with something whose type is known, and its own type: an array on the right,
/// an element on the left.
pub(super) fn parameter_type(
    call: &ScalarFunction,
    schema: &DFSchema,
) -> Option<(String, DataType)> {
    if ![ANY, ALL].contains(&call.name()) {
        return None;
    }
    let [_, value, array, ..] = call.args.as_slice() else { return None };
    let known = |expr: &Expr| expr.get_type(schema).ok().filter(|known| !known.is_null());
    match (value, array) {
        (_, Expr::Placeholder(placeholder)) if placeholder.field.is_none() => {
            let item = Field::new("item", plain(&known(value)?), true);
            Some((placeholder.id.clone(), DataType::List(Arc::new(item))))
        }
        (Expr::Placeholder(placeholder), array) if placeholder.field.is_none() => {
            Some((placeholder.id.clone(), plain(&item_type(&known(array)?)?)))
        }
        _ => None,
    }
}

/// A type as parameters have it.
fn plain(data_type: &DataType) -> DataType {
    match data_type {
        DataType::Dictionary(_, value) => plain(value),
        DataType::Utf8View | DataType::LargeUtf8 => DataType::Utf8,
        DataType::BinaryView | DataType::LargeBinary => DataType::Binary,
        other => other.clone(),
    }
}

fn item_type(array: &DataType) -> Option<DataType> {
    match array {
        DataType::List(item)
        | DataType::LargeList(item)
        | DataType::FixedSizeList(item, _)
        | DataType::ListView(item)
        | DataType::LargeListView(item) => Some(item.data_type().clone()),
        _ => None,
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Quantified {
    all: bool,
    signature: Signature,
}

impl Quantified {
    fn word(&self) -> &'static str {
        if self.all { "ALL" } else { "ANY" }
    }

    /// Answers for one row after the other.
    fn answer(&self, op: &str, values: &ArrayRef, lists: &ListArray) -> Result<BooleanArray> {
        let offsets = lists.value_offsets();
        let (first, last) = (offsets[0] as usize, offsets[lists.len()] as usize);
        let items = lists.values().slice(first, last - first);
        let rows = offsets.windows(2).enumerate();
        let rows = rows.flat_map(|(row, ends)| (ends[0]..ends[1]).map(move |_| row as u32));
        let values = take(values, &UInt32Array::from_iter_values(rows), None)?;
        let (left, right) = (as_compared(&values), as_compared(&items));
        let outcomes = match op {
            "=" => cmp::eq(&left, &right),
            "<>" => cmp::neq(&left, &right),
            "<" => cmp::lt(&left, &right),
            "<=" => cmp::lt_eq(&left, &right),
            ">" => cmp::gt(&left, &right),
            ">=" => cmp::gt_eq(&left, &right),
            other => return Err(Error::internal(format!("no operator {other}"))),
        }?;
        let decisive = !self.all;
        let answer = |row: usize| {
            if lists.is_null(row) {
                return None;
            }
            let mut unknown = false;
            for at in offsets[row] as usize - first..offsets[row + 1] as usize - first {
                if outcomes.is_null(at) {
                    unknown = true;
                } else if outcomes.value(at) == decisive {
                    return Some(decisive);
                }
            }
            (!unknown).then_some(self.all)
        };
        Ok((0..lists.len()).map(answer).collect())
    }
}

/// Returns the type in which a value and the items of an array are compared.
fn common(value: &DataType, item: &DataType) -> Option<DataType> {
    match (plain(value), plain(item)) {
        (value, item) if value == item => Some(value),
        (DataType::Null, other) | (other, DataType::Null) => Some(other),
        (a, b) if a.is_numeric() && b.is_numeric() && (a.is_floating() || b.is_floating()) => {
            Some(DataType::Float64)
        }
        (a, b) if a.is_string() != b.is_string() => None,
        (a, b) => comparison_coercion(&a, &b),
    }
}

/// Zero is zero, with and without a sign, and one NaN is as another.
fn as_compared(values: &ArrayRef) -> ArrayRef {
    match values.data_type() {
        DataType::Float32 => {
            let one = |x: f32| if x.is_nan() { f32::NAN } else { x + 0.0 };
            Arc::new(values.as_primitive::<Float32Type>().unary::<_, Float32Type>(one))
        }
        DataType::Float64 => {
            let one = |x: f64| if x.is_nan() { f64::NAN } else { x + 0.0 };
            Arc::new(values.as_primitive::<Float64Type>().unary::<_, Float64Type>(one))
        }
        _ => Arc::clone(values),
    }
}

impl ScalarUDFImpl for Quantified {
    fn name(&self) -> &str {
        if self.all { ALL } else { ANY }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    /// What is wrong with the types is said here: of a failed coercion the planner keeps the text alone.
    fn return_type(&self, types: &[DataType]) -> DfResult<DataType> {
        let [_, value, array, ..] = types else {
            return Err(Error::internal("op_any takes three or four arguments").into());
        };
        match item_type(array) {
            Some(item) if item == *value => Ok(DataType::Boolean),
            Some(item) => {
                let name = crate::system::types::sql_name;
                let message = format!("{} and {} cannot be compared", name(value), name(&item));
                Err(Error::new(ErrorKind::TypeMismatch, message)
                    .with_hint(format!("CAST one side of {}.", self.word()))
                    .into())
            }
            None => {
                let message = format!("op {} (array) requires array on right side", self.word());
                Err(Error::new(ErrorKind::WrongObjectType, message)
                    .with_hint("An array is written ARRAY[1, 2] or '{1,2}'.")
                    .into())
            }
        }
    }

    fn coerce_types(&self, types: &[DataType]) -> DfResult<Vec<DataType>> {
        let ([op, value, array] | [op, value, array, _]) = types else {
            return Err(Error::internal("op_any takes three or four arguments").into());
        };
        let item = match array {
            DataType::Null => plain(value),
            // The text of an array, whose elements are what they are compared with.
            text if text.is_string() && types.len() == 4 => plain(value),
            array => match item_type(array) {
                Some(item) => item,
                None => return Ok(types.to_vec()),
            },
        };
        let common = match common(value, &item) {
            // A parameter on both sides, or NULL.
            Some(DataType::Null) => DataType::Utf8,
            Some(common) => common,
            None => return Ok(types.to_vec()),
        };
        let list = DataType::List(Arc::new(Field::new("item", common.clone(), true)));
        let mut coerced = vec![op.clone(), common, list];
        coerced.extend(types.get(3).cloned());
        Ok(coerced)
    }

    /// Membership in a constant array is `IN`, which sources and statistics know.
    fn simplify(&self, args: Vec<Expr>, _: &SimplifyContext) -> DfResult<ExprSimplifyResult> {
        let [Expr::Literal(op, _), value, Expr::Literal(array, _), ..] = args.as_slice() else {
            return Ok(ExprSimplifyResult::Original(args));
        };
        if array.is_null() {
            let unknown = lit(ScalarValue::Boolean(None));
            return Ok(ExprSimplifyResult::Simplified(unknown));
        }
        let is_membership = match op.try_as_str().flatten() {
            Some("=") => !self.all,
            Some("<>") => self.all,
            _ => false,
        };
        let ScalarValue::List(list) = array else { return Ok(ExprSimplifyResult::Original(args)) };
        if !is_membership {
            return Ok(ExprSimplifyResult::Original(args));
        }
        let items = list.value(0);
        let items = (0..items.len()).map(|at| ScalarValue::try_from_array(&items, at).map(lit));
        let items = items.collect::<DfResult<Vec<_>>>()?;
        if items.is_empty() {
            return Ok(ExprSimplifyResult::Simplified(lit(self.all)));
        }
        // A NULL stands beside the list: the simplifier takes it for a value where two lists meet.
        let is_null = |item: &Expr| matches!(item, Expr::Literal(value, _) if value.is_null());
        let (nulls, items): (Vec<_>, Vec<_>) = items.into_iter().partition(is_null);
        let unknown = lit(ScalarValue::Boolean(None));
        if items.is_empty() {
            return Ok(ExprSimplifyResult::Simplified(unknown));
        }
        let among = in_list(value.clone(), items, self.all);
        Ok(ExprSimplifyResult::Simplified(match (nulls.is_empty(), self.all) {
            (true, _) => among,
            (false, true) => among.and(unknown),
            (false, false) => among.or(unknown),
        }))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        let [ColumnarValue::Scalar(op), value, array, ..] = args.args.as_slice() else {
            return Err(Error::internal("op_any takes an operator").into());
        };
        let is_scalar =
            matches!((value, array), (ColumnarValue::Scalar(_), ColumnarValue::Scalar(_)));
        let n_rows = if is_scalar { 1 } else { args.number_rows };
        let (values, lists) = (value.to_array(n_rows)?, array.to_array(n_rows)?);
        let Some(lists) = lists.as_list_opt::<i32>() else {
            return Err(Error::internal(format!("{} is no array", lists.data_type())).into());
        };
        let op = op.try_as_str().flatten().unwrap_or_default();
        let answer = self.answer(op, &values, lists)?;
        Ok(match is_scalar {
            true => ColumnarValue::Scalar(ScalarValue::try_from_array(&answer, 0)?),
            false => ColumnarValue::Array(Arc::new(answer)),
        })
    }
}
