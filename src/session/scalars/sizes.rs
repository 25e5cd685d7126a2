//! Functions whose answers may be far longer than what they are given: `repeat`, `lpad`, `rpad`, series, arrays of one value, and texts
//! in which something is replaced.
//!
//! Their answers are there before an operator counts them, so what they will need is reckoned first.

mod replaced;

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array};
use arrow::compute::kernels::length::length;
use arrow::compute::{cast, max, sum};
use arrow::datatypes::{
    DataType, Date32Type, Date64Type, FieldRef, Int64Type, IntervalMonthDayNano,
    IntervalMonthDayNanoType, IntervalUnit, TimeUnit,
};
use datafusion::error::Result as DfResult;
use datafusion::execution::{FunctionRegistry, SessionState};
use datafusion::logical_expr::simplify::{ExprSimplifyResult, SimplifyContext};
use datafusion::logical_expr::{
    ColumnarValue, Documentation, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF,
    ScalarUDFImpl, Signature,
};
use maru_core::{Error, ErrorKind, Result};

/// Bytes of one value, as in PostgreSQL.
const VALUE_MAX: i64 = 0x3fff_ffff;

/// Bytes of all values that are computed at a time.
const BATCH_MAX: i64 = 256 << 20;

/// Bytes of a character in UTF-8, and of an element of an array.
const CHARACTER: i64 = 4;
const ELEMENT: i64 = 8;

/// Microseconds of a day.
const DAY: i64 = 86_400_000_000;

const FUNCTIONS: &[&str] =
    &["repeat", "lpad", "rpad", "array_repeat", "array_resize", "generate_series", "range"];

/// Puts the functions in the place of DataFusion's.
pub(super) fn register(state: &mut SessionState) -> Result<()> {
    for name in FUNCTIONS.iter().chain(replaced::FUNCTIONS) {
        let inner = state.udf(name)?;
        state.register_udf(Arc::new(ScalarUDF::from(Reckoned { inner })))?;
    }
    Ok(())
}

/// A function that reckons first.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Reckoned {
    inner: Arc<ScalarUDF>,
}

impl ScalarUDFImpl for Reckoned {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn aliases(&self) -> &[String] {
        self.inner.aliases()
    }

    fn signature(&self) -> &Signature {
        self.inner.signature()
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.inner.documentation()
    }

    fn coerce_types(&self, types: &[DataType]) -> DfResult<Vec<DataType>> {
        self.inner.coerce_types(types)
    }

    fn return_type(&self, types: &[DataType]) -> DfResult<DataType> {
        self.inner.return_type(types)
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> DfResult<FieldRef> {
        self.inner.return_field_from_args(args)
    }

    fn simplify(&self, args: Vec<Expr>, info: &SimplifyContext) -> DfResult<ExprSimplifyResult> {
        self.inner.simplify(args, info)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        let is_scalar = args.args.iter().all(|arg| matches!(arg, ColumnarValue::Scalar(_)));
        let n_rows = if is_scalar { 1 } else { args.number_rows };
        if replaced::FUNCTIONS.contains(&self.name()) {
            replaced::check(self.name(), &args.args, n_rows)?;
            return self.inner.invoke_with_args(args);
        }
        let numbers = args.args.iter().enumerate();
        let numbers = numbers.map(|(at, argument)| numbers_of(self.name(), at, argument));
        let numbers = numbers.collect::<DfResult<Vec<_>>>()?;
        let mut all = 0_i64;
        for row in 0..n_rows {
            let known = numbers.iter().map(|numbers| numbers.at(row)).collect::<Vec<_>>();
            let bytes = reckoned(self.name(), &known).unwrap_or(0);
            all = all.saturating_add(bytes);
            if bytes > VALUE_MAX {
                return Err(too_large().into());
            }
            if all > BATCH_MAX {
                return Err(too_large_together(self.name()).into());
            }
        }
        self.inner.invoke_with_args(args)
    }
}

fn too_large() -> Error {
    Error::new(ErrorKind::LimitExceeded, "requested length too large")
}

fn too_large_together(name: &str) -> Error {
    let most = BATCH_MAX >> 20;
    too_large()
        .with_detail(format!("The values that {name} makes at a time may have {most} MB together."))
}

/// Returns the bytes that the answer will have at most; `None` if an argument is NULL or of another type.
fn reckoned(name: &str, arguments: &[Option<i64>]) -> Option<i64> {
    Some(match (name, arguments) {
        ("repeat", [text, count]) => (*text)?.saturating_mul((*count)?.max(0)),
        ("lpad" | "rpad", [_, characters, ..]) => (*characters)?.max(0).saturating_mul(CHARACTER),
        ("array_repeat", [element, count]) => {
            (*count)?.max(0).saturating_mul(element.unwrap_or_default().max(ELEMENT))
        }
        ("array_resize", [array, count, element @ ..]) => {
            let element = element.first().copied().flatten().unwrap_or_default().max(ELEMENT);
            (*count)?.max(0).saturating_mul(element).saturating_add((*array)?)
        }
        ("generate_series" | "range", [end]) => (*end)?.max(0).saturating_mul(ELEMENT),
        ("generate_series" | "range", [begin, end, step @ ..]) => {
            let step = match step {
                [step, ..] => (*step)?,
                [] => 1,
            };
            let steps = (*end)?.checked_sub((*begin)?).unwrap_or(i64::MAX).checked_div(step)?;
            steps.max(0).saturating_mul(ELEMENT)
        }
        _ => return None,
    })
}

/// Whole numbers, of texts their bytes, and of moments and steps between them their microseconds, row by row.
enum Numbers {
    One(Option<i64>),
    Each(Int64Array),
}

impl Numbers {
    fn at(&self, row: usize) -> Option<i64> {
        match self {
            Self::One(number) => *number,
            Self::Each(numbers) => numbers.is_valid(row).then(|| numbers.value(row)),
        }
    }

    /// Returns the sum.
    fn all(&self, n_rows: usize) -> i64 {
        match self {
            Self::One(number) => {
                let n_rows = i64::try_from(n_rows).unwrap_or(i64::MAX);
                number.unwrap_or_default().saturating_mul(n_rows)
            }
            Self::Each(numbers) => sum(numbers).unwrap_or_default(),
        }
    }

    /// Returns the largest.
    fn most(&self) -> i64 {
        match self {
            Self::One(number) => *number,
            Self::Each(numbers) => max(numbers),
        }
        .unwrap_or_default()
    }
}

fn numbers_of(name: &str, at: usize, argument: &ColumnarValue) -> DfResult<Numbers> {
    let is_element = matches!((name, at), ("array_repeat", 0) | ("array_resize", 0 | 2));
    Ok(match argument {
        ColumnarValue::Scalar(value) if value.data_type().is_string() => {
            let bytes = value.try_as_str().flatten().map(str::len);
            Numbers::One(bytes.and_then(|bytes| i64::try_from(bytes).ok()))
        }
        ColumnarValue::Scalar(value) => {
            let numbers = counted(&value.to_array()?, is_element)?.map(Numbers::Each);
            Numbers::One(numbers.and_then(|numbers| numbers.at(0)))
        }
        ColumnarValue::Array(array) => {
            counted(array, is_element)?.map_or(Numbers::One(None), Numbers::Each)
        }
    })
}

/// Returns what is known of values; `None` for those of other types.
fn counted(values: &ArrayRef, is_element: bool) -> DfResult<Option<Int64Array>> {
    if is_element {
        return sizes(values).map(Some);
    }
    let data_type = values.data_type();
    Ok(Some(match data_type {
        DataType::Timestamp(unit, _) => {
            let counted = cast(values, &DataType::Int64)?;
            let (times, parts) = match unit {
                TimeUnit::Second => (1_000_000, 1),
                TimeUnit::Millisecond => (1_000, 1),
                TimeUnit::Microsecond => (1, 1),
                TimeUnit::Nanosecond => (1, 1_000),
            };
            let micros = |number: i64| number.saturating_mul(times) / parts;
            counted.as_primitive::<Int64Type>().unary::<_, Int64Type>(micros)
        }
        DataType::Date32 => {
            let micros = |days: i32| i64::from(days).saturating_mul(DAY);
            values.as_primitive::<Date32Type>().unary::<_, Int64Type>(micros)
        }
        DataType::Date64 => {
            let micros = |millis: i64| millis.saturating_mul(1_000);
            values.as_primitive::<Date64Type>().unary::<_, Int64Type>(micros)
        }
        DataType::Interval(IntervalUnit::MonthDayNano) => {
            let steps = values.as_primitive::<IntervalMonthDayNanoType>();
            steps.unary::<_, Int64Type>(step)
        }
        _ if data_type.is_string() => lengths(values)?,
        _ if data_type.is_integer() => {
            cast(values, &DataType::Int64)?.as_primitive::<Int64Type>().clone()
        }
        _ => return Ok(None),
    }))
}

/// Returns about how many microseconds a step has. Smaller ones count as one.
fn step(step: IntervalMonthDayNano) -> i64 {
    let days = i64::from(step.months) * 30 + i64::from(step.days);
    let micros = days.saturating_mul(DAY).saturating_add(step.nanoseconds / 1_000);
    if micros == 0 { step.nanoseconds.signum() } else { micros }
}

/// Returns how many bytes values have; within lists each element counts as the mean of all.
fn sizes(values: &ArrayRef) -> DfResult<Int64Array> {
    let data_type = values.data_type();
    let an_element = match data_type {
        DataType::Utf8
        | DataType::LargeUtf8
        | DataType::Utf8View
        | DataType::Binary
        | DataType::LargeBinary
        | DataType::BinaryView => 1,
        DataType::List(_) => mean_size(values.as_list::<i32>().values())?,
        DataType::LargeList(_) => mean_size(values.as_list::<i64>().values())?,
        _ => {
            let size = data_type.primitive_width().unwrap_or_else(|| {
                let all = values.to_data().get_slice_memory_size();
                all.unwrap_or_default() / values.len().max(1)
            });
            let size = i64::try_from(size).unwrap_or(i64::MAX);
            return Ok(Int64Array::from_value(size, values.len()));
        }
    };
    Ok(lengths(values)?.unary::<_, Int64Type>(|length| length.saturating_mul(an_element)))
}

fn mean_size(values: &ArrayRef) -> DfResult<i64> {
    let all = sum(&sizes(values)?).unwrap_or_default();
    Ok(all / i64::try_from(values.len().max(1)).unwrap_or(i64::MAX))
}

/// Returns the bytes of texts, the elements of lists.
fn lengths(values: &ArrayRef) -> DfResult<Int64Array> {
    Ok(cast(&length(values)?, &DataType::Int64)?.as_primitive::<Int64Type>().clone())
}

#[cfg(test)]
mod tests {
    use datafusion::common::ScalarValue;

    use super::*;

    #[test]
    fn what_will_be_needed_is_known_before() {
        let reckoned = |name, arguments: &[i64]| {
            reckoned(name, &arguments.iter().copied().map(Some).collect::<Vec<_>>())
        };
        assert_eq!(reckoned("repeat", &[3, 10]), Some(30));
        assert_eq!(reckoned("repeat", &[3, -10]), Some(0));
        assert_eq!(reckoned("lpad", &[1, 10, 1]), Some(40));
        assert_eq!(reckoned("generate_series", &[1, 11]), Some(80));
        assert_eq!(reckoned("generate_series", &[11, 1, -2]), Some(40));
        assert_eq!(reckoned("generate_series", &[1, 10, 0]), None);
        assert_eq!(reckoned("range", &[i64::MIN, i64::MAX]), Some(i64::MAX));
        assert_eq!(super::reckoned("repeat", &[Some(1), None]), None);
        assert_eq!(reckoned("array_repeat", &[1_000_000, 300]), Some(300_000_000));
        assert_eq!(super::reckoned("array_repeat", &[None, Some(3)]), Some(24));
        assert_eq!(reckoned("array_resize", &[8, 40_000_000, 4]), Some(320_000_008));
        assert_eq!(reckoned("array_resize", &[8, 10]), Some(88));
    }

    #[test]
    fn values_are_measured() {
        let known = |name, at, value: ScalarValue| {
            numbers_of(name, at, &ColumnarValue::Scalar(value)).unwrap().at(0)
        };
        let text = ScalarValue::from("four");
        let texts = ScalarValue::new_list(&[text.clone(), text.clone()], &DataType::Utf8, true);
        assert_eq!(known("array_repeat", 0, text), Some(4));
        assert_eq!(known("array_repeat", 0, ScalarValue::List(texts)), Some(8));
        assert_eq!(known("array_repeat", 0, ScalarValue::from(1_i32)), Some(4));
        assert_eq!(known("array_repeat", 1, ScalarValue::from(300_i32)), Some(300));
        let second = ScalarValue::TimestampNanosecond(Some(1_000_000_000), None);
        assert_eq!(known("range", 0, second), Some(1_000_000));
        assert_eq!(known("range", 0, ScalarValue::Date32(Some(2))), Some(2 * DAY));
        let of = |months, days, nanos| {
            let step = IntervalMonthDayNano::new(months, days, nanos);
            known("range", 2, ScalarValue::IntervalMonthDayNano(Some(step)))
        };
        assert_eq!(of(1, 1, 1_000), Some(31 * DAY + 1));
        assert_eq!(of(0, 0, -5), Some(-1));
        assert_eq!(of(0, 0, 0), Some(0));
    }
}
