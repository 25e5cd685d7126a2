//! `date_trunc` where DataFusion's own is another: of moments that nanoseconds do not count it fails, and where midnight comes twice it
//! takes the one before the moment, so that one day has two beginnings.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, TimestampMicrosecondArray};
use arrow::compute::cast;
use arrow::datatypes::{
    DataType, FieldRef, TimeUnit, TimestampMicrosecondType, TimestampNanosecondType,
};
use chrono::{DateTime, Datelike, NaiveDate, NaiveDateTime, NaiveTime, TimeDelta, Timelike};
use datafusion::common::ScalarValue;
use datafusion::error::Result as DfResult;
use datafusion::execution::{FunctionRegistry, SessionState};
use datafusion::logical_expr::sort_properties::{ExprProperties, SortProperties};
use datafusion::logical_expr::{
    ColumnarValue, Documentation, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl,
    Signature,
};
use maru_core::Result;

use crate::session::timezone::{instants, may_change, walls};

/// Puts the function in the place of DataFusion's.
pub(super) fn register(state: &mut SessionState) -> Result<()> {
    let inner = state.udf("date_trunc")?;
    state.register_udf(Arc::new(ScalarUDF::from(DateTrunc { inner })))?;
    Ok(())
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct DateTrunc {
    inner: Arc<ScalarUDF>,
}

impl ScalarUDFImpl for DateTrunc {
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

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> DfResult<FieldRef> {
        self.inner.return_field_from_args(args)
    }

    fn return_type(&self, types: &[DataType]) -> DfResult<DataType> {
        self.inner.return_type(types)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        if let Some(cut) = of_days(&args.args)? {
            return Ok(cut);
        }
        let far = far_moments(&args.args);
        match (self.inner.invoke_with_args(args), far) {
            (Err(error), Some((part, moments))) => truncated(&part, &moments).ok_or(error),
            (result, _) => result,
        }
    }

    fn output_ordering(&self, input: &[ExprProperties]) -> DfResult<SortProperties> {
        self.inner.inner().output_ordering(input)
    }
}

/// Cuts instants to days and longer parts as the clocks of their zone show them; of a midnight that comes twice the second is meant.
/// `None` for others.
fn of_days(args: &[ColumnarValue]) -> DfResult<Option<ColumnarValue>> {
    let [ColumnarValue::Scalar(part), moments] = args else { return Ok(None) };
    let target = moments.data_type();
    let DataType::Timestamp(_, Some(zone)) = &target else { return Ok(None) };
    let part = part.try_as_str().flatten().map(str::to_lowercase);
    let is_long = |part: &String| ["day", "week", "month", "quarter", "year"].contains(&&**part);
    let Some(part) = part.filter(is_long).filter(|_| may_change(zone)) else { return Ok(None) };
    let wall = DataType::Timestamp(TimeUnit::Microsecond, None);
    let cut = |array: &ArrayRef| -> DfResult<Option<ArrayRef>> {
        let micros: ArrayRef = match array.data_type() {
            DataType::Timestamp(TimeUnit::Nanosecond, _) => {
                // A cast would round up what is before 1970.
                let nanos = array.as_primitive::<TimestampNanosecondType>();
                let micros = |nanos: i64| nanos.div_euclid(1_000);
                Arc::new(nanos.unary::<_, TimestampMicrosecondType>(micros))
            }
            _ => cast(array, &DataType::Timestamp(TimeUnit::Microsecond, Some(Arc::clone(zone))))?,
        };
        let shown = walls(&micros, &wall, zone, false)?;
        match truncated(&part, &ColumnarValue::Array(shown)) {
            Some(ColumnarValue::Array(cut)) => Ok(Some(instants(&cut, &target, false)?)),
            _ => Ok(None),
        }
    };
    Ok(match moments {
        ColumnarValue::Array(array) => cut(array)?.map(ColumnarValue::Array),
        ColumnarValue::Scalar(value) => match cut(&value.to_array()?)? {
            Some(cut) => Some(ColumnarValue::Scalar(ScalarValue::try_from_array(&cut, 0)?)),
            None => None,
        },
    })
}

/// What has to be cut if DataFusion cannot: a part that is known, and moments in microseconds without a zone.
fn far_moments(args: &[ColumnarValue]) -> Option<(String, ColumnarValue)> {
    let [ColumnarValue::Scalar(part), moments] = args else { return None };
    let is_wall = matches!(moments.data_type(), DataType::Timestamp(TimeUnit::Microsecond, None));
    let part = part.try_as_str().flatten().map(str::to_lowercase);
    part.filter(|_| is_wall).map(|part| (part, moments.clone()))
}

fn truncated(part: &str, moments: &ColumnarValue) -> Option<ColumnarValue> {
    let cut = |array: &ArrayRef| -> Option<ArrayRef> {
        let array = array.as_primitive::<TimestampMicrosecondType>();
        let mut cut = TimestampMicrosecondArray::builder(array.len());
        for row in 0..array.len() {
            if array.is_null(row) {
                cut.append_null();
                continue;
            }
            let moment = DateTime::from_timestamp_micros(array.value(row))?.naive_utc();
            cut.append_value(of_part(part, moment)?.and_utc().timestamp_micros());
        }
        Some(Arc::new(cut.finish()))
    };
    match moments {
        ColumnarValue::Array(array) => cut(array).map(ColumnarValue::Array),
        ColumnarValue::Scalar(value) => {
            let cut = cut(&value.to_array().ok()?)?;
            ScalarValue::try_from_array(&cut, 0).ok().map(ColumnarValue::Scalar)
        }
    }
}

/// Cuts off what is smaller than a part; `None` for a part that there is none of.
fn of_part(part: &str, moment: NaiveDateTime) -> Option<NaiveDateTime> {
    let date = moment.date();
    let of_day = |date: NaiveDate| Some(date.and_time(NaiveTime::MIN));
    let of_year = |year: i32| of_day(NaiveDate::from_ymd_opt(year, 1, 1)?);
    let time = moment.time();
    match part {
        "microsecond" => Some(moment),
        "millisecond" => moment.with_nanosecond(time.nanosecond() / 1_000_000 * 1_000_000),
        "second" => moment.with_nanosecond(0),
        "minute" => moment.with_nanosecond(0)?.with_second(0),
        "hour" => moment.with_nanosecond(0)?.with_second(0)?.with_minute(0),
        "day" => of_day(date),
        "week" => {
            let monday = i64::from(date.weekday().num_days_from_monday());
            of_day(date.checked_sub_signed(TimeDelta::days(monday))?)
        }
        "month" => of_day(date.with_day(1)?),
        "quarter" => of_day(date.with_day(1)?.with_month0(date.month0() / 3 * 3)?),
        "year" => of_year(date.year()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cuts_as_postgresql_does() {
        let moment = NaiveDate::from_ymd_opt(9999, 12, 31)
            .and_then(|date| date.and_hms_micro_opt(23, 59, 58, 123_456))
            .unwrap_or_default();
        for (part, wanted) in [
            ("microsecond", "9999-12-31 23:59:58.123456"),
            ("millisecond", "9999-12-31 23:59:58.123"),
            ("second", "9999-12-31 23:59:58"),
            ("minute", "9999-12-31 23:59:00"),
            ("hour", "9999-12-31 23:00:00"),
            ("day", "9999-12-31 00:00:00"),
            ("week", "9999-12-27 00:00:00"),
            ("month", "9999-12-01 00:00:00"),
            ("quarter", "9999-10-01 00:00:00"),
            ("year", "9999-01-01 00:00:00"),
        ] {
            assert_eq!(of_part(part, moment).map(|cut| cut.to_string()).as_deref(), Some(wanted));
        }
        assert_eq!(of_part("fortnight", moment), None);
    }

    #[test]
    fn a_day_begins_once() {
        let zone: Arc<str> = "America/Havana".into();
        // In the first hour of 2 November 2025, in the same hour once more, and in the morning.
        let moments = TimestampMicrosecondArray::from(vec![
            Some(1_762_057_800_000_000),
            Some(1_762_061_400_000_000),
            Some(1_762_097_400_000_000),
            None,
        ]);
        let moments: ArrayRef = Arc::new(moments.with_timezone(Arc::clone(&zone)));
        let part = ColumnarValue::Scalar(ScalarValue::from("DAY"));
        let cut = of_days(&[part.clone(), ColumnarValue::Array(moments)]).unwrap().unwrap();
        let cut = cut.into_array(4).unwrap();
        let day = Some(1_762_059_600_000_000);
        let wanted = TimestampMicrosecondArray::from(vec![day, day, day, None]);
        assert_eq!(*cut, wanted.with_timezone(zone));
        let hour = ColumnarValue::Scalar(ScalarValue::from("hour"));
        let moment = |zone: Option<&str>| {
            ColumnarValue::Scalar(ScalarValue::TimestampNanosecond(Some(1), zone.map(Arc::from)))
        };
        assert!(of_days(&[hour, moment(Some("Asia/Seoul"))]).unwrap().is_none());
        assert!(of_days(&[part.clone(), moment(None)]).unwrap().is_none());
        let cut = of_days(&[part, moment(Some("Asia/Seoul"))]).unwrap().unwrap();
        assert_eq!(cut.data_type(), moment(Some("Asia/Seoul")).data_type());
    }
}
