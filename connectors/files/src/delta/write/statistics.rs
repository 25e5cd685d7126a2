//! What a commit tells of a file's values. Readers leave files out by it, so what is told holds for every row: bounds may be
//! wider than the values, never narrower.

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::{max, max_string_view, min, min_string_view};
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type,
    Int64Type, TimeUnit, TimestampMicrosecondType,
};
use chrono::{DateTime, Days, NaiveDate};
use serde_json::{Map, Number, Value};

/// Columns of which something is told, the first ones.
const COLUMNS: usize = 32;

/// Characters of a text's bound.
const CHARACTERS: usize = 32;

/// The most digits that a number in JSON keeps for every reader.
const DIGITS: u8 = 15;

/// Values of one column so far.
#[derive(Debug, Clone, Default)]
struct Column {
    n_nulls: u64,
    min: Option<Bound>,
    max: Option<Bound>,
    /// A value was seen that bounds do not tell of, NaN say.
    untold: bool,
}

#[derive(Debug, Clone, PartialEq, PartialOrd)]
enum Bound {
    Integer(i64),
    Float(f64),
    Decimal(i128, i8),
    Text(String),
    Date(i32),
    Time(i64, bool),
}

/// What is known of a file's rows.
#[derive(Debug)]
pub(super) struct Statistics {
    names: Vec<String>,
    n_rows: u64,
    columns: Vec<Column>,
}

impl Statistics {
    pub(super) fn new(names: &[String]) -> Self {
        let names = names.iter().take(COLUMNS).cloned().collect::<Vec<_>>();
        Self { n_rows: 0, columns: vec![Column::default(); names.len()], names }
    }

    pub(super) fn n_rows(&self) -> u64 {
        self.n_rows
    }

    pub(super) fn add(&mut self, batch: &RecordBatch) {
        self.n_rows += batch.num_rows() as u64;
        for (column, values) in self.columns.iter_mut().zip(batch.columns()) {
            column.n_nulls += values.logical_null_count() as u64;
            if values.logical_null_count() == values.len() {
                continue;
            }
            match bounds(values) {
                Some((low, high)) => {
                    let is_nan =
                        |bound: &Bound| matches!(bound, Bound::Float(value) if value.is_nan());
                    column.untold |= is_nan(&low) || is_nan(&high);
                    if column.min.as_ref().is_none_or(|min| low < *min) {
                        column.min = Some(low);
                    }
                    if column.max.as_ref().is_none_or(|max| high > *max) {
                        column.max = Some(high);
                    }
                }
                None => column.untold = true,
            }
        }
    }

    /// Returns the statistics as the log has them: JSON in a text.
    pub(super) fn json(&self) -> String {
        let (mut low, mut high, mut nulls) = (Map::new(), Map::new(), Map::new());
        for (name, column) in self.names.iter().zip(&self.columns) {
            nulls.insert(name.clone(), column.n_nulls.into());
            if column.untold {
                continue;
            }
            if let Some(bound) = column.min.as_ref().and_then(|bound| shown(bound, false)) {
                low.insert(name.clone(), bound);
            }
            if let Some(bound) = column.max.as_ref().and_then(|bound| shown(bound, true)) {
                high.insert(name.clone(), bound);
            }
        }
        serde_json::json!({
            "numRecords": self.n_rows, "minValues": low, "maxValues": high, "nullCount": nulls,
        })
        .to_string()
    }
}

fn bounds(values: &ArrayRef) -> Option<(Bound, Bound)> {
    macro_rules! of {
        ($kind:ty, $make:expr) => {{
            let values = values.as_primitive::<$kind>();
            Some(($make(min(values)?), $make(max(values)?)))
        }};
    }
    match values.data_type() {
        DataType::Int8 => of!(Int8Type, |v: i8| Bound::Integer(v.into())),
        DataType::Int16 => of!(Int16Type, |v: i16| Bound::Integer(v.into())),
        DataType::Int32 => of!(Int32Type, |v: i32| Bound::Integer(v.into())),
        DataType::Int64 => of!(Int64Type, Bound::Integer),
        DataType::Float32 => of!(Float32Type, |v: f32| Bound::Float(v.into())),
        DataType::Float64 => of!(Float64Type, Bound::Float),
        DataType::Decimal128(digits, scale) if *digits <= DIGITS => {
            of!(Decimal128Type, |v: i128| Bound::Decimal(v, *scale))
        }
        DataType::Date32 => of!(Date32Type, Bound::Date),
        DataType::Timestamp(TimeUnit::Microsecond, zone) => {
            of!(TimestampMicrosecondType, |v: i64| Bound::Time(v, zone.is_some()))
        }
        DataType::Utf8View => {
            let values = values.as_string_view();
            let text = |text: &str| Bound::Text(text.to_owned());
            Some((text(min_string_view(values)?), text(max_string_view(values)?)))
        }
        _ => None,
    }
}

fn shown(bound: &Bound, upper: bool) -> Option<Value> {
    Some(match bound {
        Bound::Integer(value) => (*value).into(),
        // Zero has two signs, which readers compare differently.
        Bound::Float(value) if *value == 0.0 => {
            Number::from_f64(if upper { 0.0 } else { -0.0 })?.into()
        }
        Bound::Float(value) => Number::from_f64(*value)?.into(),
        Bound::Decimal(value, scale) => {
            let value = *value as f64 / 10_f64.powi(i32::from(*scale));
            Number::from_f64(value)?.into()
        }
        Bound::Text(text) => text_bound(text, upper)?.into(),
        Bound::Date(days) => {
            let first = NaiveDate::from_ymd_opt(1970, 1, 1)?;
            let by = Days::new(u64::from(days.unsigned_abs()));
            let date =
                if *days < 0 { first.checked_sub_days(by) } else { first.checked_add_days(by) };
            four_digits(date?.format("%Y-%m-%d").to_string())?.into()
        }
        // In milliseconds, as other writers have it; rounded away from the values.
        Bound::Time(micros, zoned) => {
            let millis = micros.div_euclid(1000) + i64::from(upper && micros.rem_euclid(1000) > 0);
            let time = DateTime::from_timestamp_millis(millis)?;
            let text = four_digits(time.format("%Y-%m-%dT%H:%M:%S%.3f").to_string())?;
            format!("{text}{}", if *zoned { "Z" } else { "" }).into()
        }
    })
}

/// Years outside of four digits are not told: readers disagree on how they are written.
fn four_digits(text: String) -> Option<String> {
    let digits = text.split('-').next().is_some_and(|year| year.len() == 4);
    digits.then_some(text)
}

/// Cuts a text; an upper bound must not come before what was cut.
fn text_bound(text: &str, upper: bool) -> Option<String> {
    let cut = text.chars().take(CHARACTERS).collect::<String>();
    if !upper || cut.len() == text.len() {
        return Some(cut);
    }
    // The last character with one after it that is one byte or more the greater.
    let mut characters = cut.chars().collect::<Vec<_>>();
    while let Some(last) = characters.pop() {
        let next = u32::from(last) + 1;
        // Not into the surrogates, between which and the rest UTF-8 and UTF-16 disagree in order.
        if let Some(next) = char::from_u32(next).filter(|next| u32::from(*next) < 0xD800) {
            characters.push(next);
            return Some(characters.into_iter().collect());
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{
        Date32Array, Decimal128Array, Float64Array, Int32Array, StringViewArray,
        TimestampMicrosecondArray,
    };

    use super::*;

    fn of(columns: Vec<(&str, ArrayRef)>) -> Value {
        let names = columns.iter().map(|(name, _)| (*name).to_owned()).collect::<Vec<_>>();
        let mut statistics = Statistics::new(&names);
        statistics.add(&RecordBatch::try_from_iter(columns).unwrap());
        serde_json::from_str(&statistics.json()).unwrap()
    }

    #[test]
    fn tells_what_every_row_keeps_to() {
        let long = format!("{}z", "é".repeat(40));
        let told = of(vec![
            ("n", Arc::new(Int32Array::from(vec![Some(3), None, Some(-2)]))),
            ("f", Arc::new(Float64Array::from(vec![1.0, f64::NAN, 2.0]))),
            ("t", Arc::new(StringViewArray::from(vec!["b", "a", long.as_str()]))),
            ("d", Arc::new(Date32Array::from(vec![0, -1, 3_000_000]))),
            (
                "p",
                Arc::new(
                    Decimal128Array::from(vec![1234, -5, 0])
                        .with_precision_and_scale(8, 2)
                        .unwrap(),
                ),
            ),
            (
                "s",
                Arc::new(
                    TimestampMicrosecondArray::from(vec![1_001, -1_001, 0]).with_timezone("UTC"),
                ),
            ),
        ]);
        assert_eq!(told["numRecords"], 3);
        assert_eq!((&told["minValues"]["n"], &told["maxValues"]["n"]), (&(-2).into(), &3.into()));
        assert_eq!(told["nullCount"]["n"], 1);
        assert!(told["minValues"].get("f").is_none() && told["maxValues"].get("f").is_none());
        assert_eq!(told["minValues"]["t"], "a");
        let bound = told["maxValues"]["t"].as_str().unwrap();
        assert!(bound > long.as_str() && bound.chars().count() == 32, "{bound}");
        assert_eq!(told["minValues"]["d"], "1969-12-31");
        assert!(told["maxValues"].get("d").is_none());
        assert_eq!(told["maxValues"]["p"], 12.34);
        assert_eq!(told["minValues"]["s"], "1969-12-31T23:59:59.998Z");
        assert_eq!(told["maxValues"]["s"], "1970-01-01T00:00:00.002Z");
    }
}
