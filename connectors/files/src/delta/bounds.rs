//! What the log tells of a file's values: bounds that prune it, and the number of its rows.

use std::ops::Range;
use std::sync::Arc;

use arrow::datatypes::{DataType, TimeUnit};
use datafusion::common::ScalarValue;
use maru_connect::{ColumnBounds, FileDetails};
use serde_json::Value;

use super::schema::Column;

/// Writers cut times to milliseconds.
const MILLISECOND_US: i64 = 1000;

/// Reads the statistics of a file. What is not there or not understood is not known; bounds need not be tight.
pub(super) fn details(
    statistics: Option<&str>,
    columns: &[Column],
    deleted: Option<Arc<Vec<Range<u64>>>>,
) -> FileDetails {
    let known = statistics.and_then(|text| serde_json::from_str::<Value>(text).ok());
    let of = |kind: &str, column: &Column| {
        known.as_ref().and_then(|known| known.get(kind)?.get(&column.physical))
    };
    let n_rows = known.as_ref().and_then(|known| known.get("numRecords")?.as_u64());
    // Rows that were deleted since still count in the number of NULLs.
    let is_whole = deleted.is_none();
    let bounds = columns.iter().map(|column| {
        let data_type = column.field.data_type();
        let n_nulls = of("nullCount", column).and_then(Value::as_u64);
        ColumnBounds {
            min: of("minValues", column).and_then(|value| bound(value, data_type, false)),
            max: of("maxValues", column).and_then(|value| bound(value, data_type, true)),
            n_nulls: n_nulls.filter(|_| is_whole).and_then(|n| usize::try_from(n).ok()),
        }
    });
    FileDetails {
        n_rows: n_rows.and_then(|n| usize::try_from(n).ok()),
        bounds: bounds.collect(),
        deleted,
    }
}

/// Reads a bound of a type whose bounds can be believed. Those of floating point do not tell of NaN, which is greater than
/// all numbers, and decimals are not exact in JSON.
fn bound(value: &Value, data_type: &DataType, upper: bool) -> Option<ScalarValue> {
    match data_type {
        DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::Int64 => {
            ScalarValue::Int64(Some(value.as_i64()?)).cast_to(data_type).ok()
        }
        DataType::Utf8View => Some(ScalarValue::Utf8View(Some(value.as_str()?.to_owned()))),
        DataType::Date32 => {
            ScalarValue::try_from_string(value.as_str()?.to_owned(), data_type).ok()
        }
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            match ScalarValue::try_from_string(value.as_str()?.to_owned(), data_type).ok()? {
                ScalarValue::TimestampMicrosecond(Some(at), zone) => {
                    let by = if upper { MILLISECOND_US } else { -MILLISECOND_US };
                    Some(ScalarValue::TimestampMicrosecond(Some(at.checked_add(by)?), zone))
                }
                _ => None,
            }
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::Field;

    use super::*;

    fn column(name: &str, data_type: DataType) -> Column {
        Column {
            field: Arc::new(Field::new(name, data_type, true)),
            physical: format!("col-{name}"),
        }
    }

    #[test]
    fn reads_what_can_be_believed() {
        let columns = [
            column("n", DataType::Int32),
            column("f", DataType::Float64),
            column("t", DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))),
        ];
        let text = r#"{"numRecords": 3, "minValues": {"col-n": -5, "col-f": 0.5},
            "maxValues": {"col-n": 99999999999, "col-t": "1970-01-01T00:00:01.000Z"}, "nullCount": {"col-n": 1}}"#;
        let details = super::details(Some(text), &columns, None);
        assert_eq!(details.n_rows, Some(3));
        assert_eq!(details.bounds[0].min, Some(ScalarValue::Int32(Some(-5))));
        assert_eq!(details.bounds[0].max, None);
        assert_eq!(details.bounds[0].n_nulls, Some(1));
        assert_eq!(details.bounds[1].min, None);
        let late = ScalarValue::TimestampMicrosecond(Some(1_001_000), Some("UTC".into()));
        assert_eq!(details.bounds[2].max, Some(late));
        assert_eq!(super::details(Some("{"), &columns, None).n_rows, None);
        let cut = super::details(Some(text), &columns, Some(Arc::new(vec![0..1, 2..3])));
        assert_eq!(cut.bounds[0].n_nulls, None);
    }
}
