//! Casts that lose digits, casts to text, casts of text to arrays, bytes, numbers, dates, times and intervals, and casts of what a clock shows to
//! instants, since the engine underneath refuses the hours that a clock shows twice or never.
//!
//! DataFusion cuts off what stands behind the point when it casts to an integer; PostgreSQL rounds, numerics away from zero
//! at the half and floats to the even. And DataFusion 55.2 compares `x::numeric(10,0) = 2` as `x = 2.00`, as if no cast could
//! lose a digit, and finds no row that holds 2.4. Behind a function the comparison stays what it is.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Float32Array, StringArray};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{
    DECIMAL128_MAX_PRECISION, DECIMAL256_MAX_PRECISION, DataType, Field, Float32Type, Float64Type,
    IntervalUnit, TimeUnit,
};
use datafusion::common::tree_node::Transformed;
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::{
    ColumnarValue, Expr, ExprSchemable, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    Volatility,
};
use maru_core::{Error, ErrorKind};

use super::{
    array_text, bytes_text, date_text, float_text, interval_text, numeric_text, time_text,
};
use crate::session::timezone;
use crate::value_text::{Zone, has_text, texts};

/// Puts a function in the place of a cast that may lose digits.
pub(super) fn lossy(expr: Expr, schema: &DFSchema, zone: &str) -> Transformed<Expr> {
    let changed = replace(expr, schema, zone, loses_digits);
    if changed.transformed || is_utc(zone) {
        return changed;
    }
    replace(changed.data, schema, zone, loses_zone)
}

fn is_utc(zone: &str) -> bool {
    zone.is_empty() || zone.eq_ignore_ascii_case("UTC")
}

/// A moment without a zone is what the session's clocks show at an instant; the engine underneath takes those of UTC.
fn loses_zone(source: &DataType, target: &DataType) -> bool {
    matches!((source, target), (DataType::Timestamp(_, Some(_)), DataType::Timestamp(_, None)))
}

/// Puts a function in the place of a cast of bytes to text that was written as such, before types are settled: what the
/// planner casts in order to compare stays bytes.
pub(super) fn bytes_to_text(expr: Expr, schema: &DFSchema) -> Transformed<Expr> {
    replace(expr, schema, "", |from, to| from.is_binary() && to.is_string())
}

/// The same for texts that become bytes. Those that are written in the statement have been read by then.
pub(super) fn text_to_bytes(expr: Expr, schema: &DFSchema) -> Transformed<Expr> {
    replace(expr, schema, "", |from, to| is_text(from) && to.is_binary())
}

fn replace(
    expr: Expr,
    schema: &DFSchema,
    zone: &str,
    is_meant: fn(&DataType, &DataType) -> bool,
) -> Transformed<Expr> {
    let (inner, target, try_cast) = match &expr {
        Expr::Cast(cast) => (&cast.expr, cast.field.data_type(), false),
        Expr::TryCast(cast) => (&cast.expr, cast.field.data_type(), true),
        _ => return Transformed::no(expr),
    };
    let Ok((_, field)) = inner.to_field(schema) else { return Transformed::no(expr) };
    // A date that is written in the statement becomes a value while it is planned.
    let is_written = matches!(**inner, Expr::Literal(..)) && is_text(field.data_type());
    if is_written && date_text::is_moment(target) {
        return Transformed::no(expr);
    }
    if !is_meant(field.data_type(), target) {
        return Transformed::no(expr);
    }
    let function = LossyCast {
        target: target.clone(),
        try_cast,
        zone: if shows_zone(field.data_type()) { zone.to_owned() } else { String::new() },
        column: None,
        is_uuid: field.metadata().get(EXTENSION_KEY).is_some_and(|name| name == "arrow.uuid"),
        signature: Signature::any(1, Volatility::Immutable),
    };
    let argument = vec![(**inner).clone()];
    let call = ScalarFunction::new_udf(Arc::new(ScalarUDF::from(function)), argument);
    Transformed::yes(Expr::ScalarFunction(call))
}

/// Brings a number to the type of the column it is for; one that does not fit is an error that names the column.
pub(in crate::session) fn assigned(
    expr: Expr,
    column: &Field,
    schema: &DFSchema,
    zone: &str,
) -> Expr {
    let _ = (schema, zone);
    let function = LossyCast {
        target: column.data_type().clone(),
        try_cast: false,
        zone: String::new(),
        is_uuid: false,
        column: Some(column.name().clone()),
        signature: Signature::any(1, Volatility::Immutable),
    };
    let call = ScalarFunction::new_udf(Arc::new(ScalarUDF::from(function)), vec![expr]);
    Expr::ScalarFunction(call)
}

/// Casts to a numeric, as a cast that was written does.
pub(super) fn to_numeric(values: &ArrayRef, target: &DataType) -> DfResult<ArrayRef> {
    let cast = LossyCast {
        target: target.clone(),
        try_cast: false,
        zone: String::new(),
        is_uuid: false,
        column: None,
        signature: Signature::any(1, Volatility::Immutable),
    };
    cast.cast(values)
}

fn loses_digits(source: &DataType, target: &DataType) -> bool {
    use DataType::{Date32, Decimal128, Decimal256, Timestamp};
    match (source, target) {
        (Timestamp(_, None) | Date32, Timestamp(_, Some(zone))) if timezone::may_change(zone) => {
            true
        }
        (Decimal128(_, scale) | Decimal256(_, scale), Decimal128(_, to) | Decimal256(_, to)) => {
            to < scale
        }
        (Decimal128(..) | Decimal256(..), DataType::Float32) => true,
        (Decimal128(_, scale) | Decimal256(_, scale), to) => *scale > 0 && to.is_integer(),
        (Timestamp(unit, _), Timestamp(to, _)) => coarseness(to) > coarseness(unit),
        (from, to) if to.is_string() => is_written_otherwise(from),
        (from, to) if is_text(from) => {
            let is_number = is_numeric(to) || to.is_floating();
            let is_clock = time_text::is_time(to) || is_interval(to);
            array_text::is_array(to) || date_text::is_moment(to) || is_number || is_clock
        }
        (DataType::Float64, DataType::Float32) => true,
        (from, to) => from.is_floating() && (to.is_integer() || is_numeric(to)),
    }
}

fn is_numeric(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Decimal128(..) | DataType::Decimal256(..))
}

fn is_interval(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Interval(IntervalUnit::MonthDayNano))
}

fn is_text(data_type: &DataType) -> bool {
    match data_type {
        DataType::Dictionary(_, value) => value.is_string(),
        data_type => data_type.is_string(),
    }
}

/// Text has PostgreSQL's shape: `1` and not `1.0`, `2026-11-03 14:05:06` without a `T`, `{1,2}`.
fn is_written_otherwise(from: &DataType) -> bool {
    use DataType as D;
    match from {
        D::Dictionary(_, value) => is_written_otherwise(value),
        D::Date32
        | D::Date64
        | D::Time32(_)
        | D::Time64(_)
        | D::Timestamp(..)
        | D::Interval(_)
        | D::Duration(_) => true,
        D::List(_) | D::LargeList(_) | D::FixedSizeList(..) | D::ListView(_) => has_text(from),
        from => from.is_floating(),
    }
}

fn shows_zone(from: &DataType) -> bool {
    match from {
        DataType::Timestamp(_, zone) => zone.is_some(),
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            shows_zone(item.data_type())
        }
        _ => false,
    }
}

const EXTENSION_KEY: &str = "ARROW:extension:name";

fn coarseness(unit: &TimeUnit) -> u8 {
    match unit {
        TimeUnit::Nanosecond => 0,
        TimeUnit::Microsecond => 1,
        TimeUnit::Millisecond => 2,
        TimeUnit::Second => 3,
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct LossyCast {
    target: DataType,
    /// Gives NULL where a value does not fit.
    try_cast: bool,
    /// The session's time zone, in which text shows an instant.
    zone: String,
    is_uuid: bool,
    /// What the value is for, to be named in errors.
    column: Option<String>,
    signature: Signature,
}

impl LossyCast {
    fn cast(&self, values: &ArrayRef) -> DfResult<ArrayRef> {
        self.unnamed(values).map_err(|error| match &self.column {
            Some(column) => Error::from(error).or_context("column", column.clone()).into(),
            None => error,
        })
    }

    fn unnamed(&self, values: &ArrayRef) -> DfResult<ArrayRef> {
        let options = CastOptions { safe: self.try_cast, ..CastOptions::default() };
        if self.target.is_string() {
            let zone = Zone::parse(&self.zone);
            let texts: ArrayRef = Arc::new(texts(values, &zone, self.is_uuid)?);
            return Ok(cast_with_options(&texts, &self.target, &options)?);
        }
        if array_text::is_array(&self.target) {
            return Ok(array_text::arrays(values, &self.target, self.try_cast)?);
        }
        if self.target.is_binary() && is_text(values.data_type()) {
            return Ok(bytes_text::read(values, &self.target, self.try_cast)?);
        }
        if date_text::is_moment(&self.target) && is_text(values.data_type()) {
            return Ok(date_text::moments(values, &self.target, self.try_cast)?);
        }
        if is_numeric(&self.target) && is_text(values.data_type()) {
            if !self.try_cast {
                numeric_text::keeps_all(values, &self.target)?;
            }
            return Ok(numeric_text::numerics(values, &self.target, self.try_cast)?);
        }
        if time_text::is_time(&self.target) && is_text(values.data_type()) {
            return Ok(time_text::times(values, &self.target, self.try_cast)?);
        }
        if is_interval(&self.target) && is_text(values.data_type()) {
            return Ok(interval_text::intervals(values, &self.target, self.try_cast)?);
        }
        if self.target.is_floating() && is_text(values.data_type()) {
            return Ok(float_text::floats(values, &self.target, self.try_cast)?);
        }
        if is_numeric(&self.target) && values.data_type().is_floating() {
            let texts = digits(values, self.try_cast)?;
            return Ok(numeric_text::numerics(&texts, &self.target, self.try_cast)?);
        }
        if let (DataType::Float64, DataType::Float32) = (values.data_type(), &self.target) {
            return Ok(single(values, self.try_cast)?);
        }
        if is_numeric(values.data_type()) && self.target == DataType::Float32 {
            let doubles = cast_with_options(values, &DataType::Float64, &options)?;
            return Ok(single(&doubles, self.try_cast)?);
        }
        if let (DataType::Timestamp(_, None) | DataType::Date32, DataType::Timestamp(_, Some(_))) =
            (values.data_type(), &self.target)
        {
            return Ok(timezone::instants(values, &self.target, self.try_cast)?);
        }
        if loses_zone(values.data_type(), &self.target) && !is_utc(&self.zone) {
            return Ok(timezone::walls(values, &self.target, &self.zone, self.try_cast)?);
        }
        let rounded: ArrayRef = match values.data_type() {
            _ if !self.target.is_integer() => Arc::clone(values),
            // Casts between numerics round.
            DataType::Decimal128(..) => {
                let whole = DataType::Decimal128(DECIMAL128_MAX_PRECISION, 0);
                cast_with_options(values, &whole, &options)?
            }
            DataType::Decimal256(..) => {
                let whole = DataType::Decimal256(DECIMAL256_MAX_PRECISION, 0);
                cast_with_options(values, &whole, &options)?
            }
            DataType::Float64 => {
                let values = values.as_primitive::<Float64Type>();
                Arc::new(values.unary::<_, Float64Type>(f64::round_ties_even))
            }
            DataType::Float16 | DataType::Float32 => {
                let values = cast_with_options(values, &DataType::Float32, &options)?;
                let values = values.as_primitive::<Float32Type>();
                Arc::new(values.unary::<_, Float32Type>(f32::round_ties_even))
            }
            _ => Arc::clone(values),
        };
        Ok(cast_with_options(&rounded, &self.target, &options)?)
    }
}

/// Writes floats with the digits that PostgreSQL takes to be theirs when it makes numerics of them: 15, of a `real` 6.
///
/// # Errors
/// 0A000 for NaN and the infinities, which Maru's numerics do not have; NULL if the cast is only tried.
fn digits(values: &ArrayRef, try_cast: bool) -> Result<ArrayRef, Error> {
    let behind_first = if *values.data_type() == DataType::Float64 { 14 } else { 5 };
    let values = cast_with_options(values, &DataType::Float64, &CastOptions::default())?;
    let text = |value: Option<f64>| match value {
        Some(value) if value.is_finite() => Ok(Some(format!("{value:.behind_first$e}"))),
        Some(value) if !try_cast => {
            let value = if value.is_nan() { "NaN" } else { "infinity" };
            Err(Error::unsupported(format!("cannot convert {value} to numeric")))
        }
        _ => Ok(None),
    };
    let texts = values.as_primitive::<Float64Type>().iter().map(text);
    Ok(Arc::new(texts.collect::<Result<StringArray, _>>()?))
}

/// Makes a `real` of each float.
///
/// # Errors
/// 22003 for one that is beyond all of them; NULL if the cast is only tried.
fn single(values: &ArrayRef, try_cast: bool) -> Result<ArrayRef, Error> {
    let narrow = |value: Option<f64>| match value {
        Some(value) if value.is_finite() && (value as f32).is_infinite() => match try_cast {
            true => Ok(None),
            false => Err(Error::new(ErrorKind::OutOfRange, "value out of range: overflow")),
        },
        Some(value) if value != 0.0 && value as f32 == 0.0 => match try_cast {
            true => Ok(None),
            false => Err(Error::new(ErrorKind::OutOfRange, "value out of range: underflow")),
        },
        value => Ok(value.map(|value| value as f32)),
    };
    let narrowed = values.as_primitive::<Float64Type>().iter().map(narrow);
    Ok(Arc::new(narrowed.collect::<Result<Float32Array, _>>()?))
}

impl ScalarUDFImpl for LossyCast {
    fn name(&self) -> &str {
        if self.try_cast { "try_cast" } else { "cast" }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> DfResult<DataType> {
        Ok(self.target.clone())
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        match args.args.as_slice() {
            [ColumnarValue::Array(values)] => Ok(ColumnarValue::Array(self.cast(values)?)),
            [ColumnarValue::Scalar(value)] => {
                let cast = self.cast(&value.to_array()?)?;
                Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&cast, 0)?))
            }
            other => Err(Error::internal(format!("a cast of {} values", other.len())).into()),
        }
    }
}
