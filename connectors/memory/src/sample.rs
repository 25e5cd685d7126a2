//! The data of schema `sample`.
//!
//! `numbers` has so many rows as option `rows` says: `n` counts from 0, `square` is n·n, `half` is n/2, `name` says
//! whether it is even; in every seventh row (n = 6, 13, …) `half` and `name` are NULL.
//!
//! `types` has a column for every ordinary type and four rows: NULL, the least value, the greatest value, and an
//! ordinary one.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryArray, BooleanArray, Date32Array, Decimal128Array, Float32Array, Float64Array,
    Int8Array, Int16Array, Int32Array, Int64Array, LargeStringArray, ListArray, RecordBatch,
    StringArray, StringViewArray, StructArray, Time64MicrosecondArray, TimestampMicrosecondArray,
    TimestampNanosecondArray, UInt8Array, UInt16Array, UInt32Array, UInt64Array,
};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{DataType, Field, Int32Type, Schema, SchemaRef};
use maru_core::Result;

/// Date 0001-01-01 in days from 1970.
const DATE_MIN: i32 = -719_162;
/// Date 9999-12-31 in days from 1970.
const DATE_MAX: i32 = 2_932_896;
const DAY_US: i64 = 86_400_000_000;

pub(crate) fn numbers_schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("n", DataType::Int64, false),
        Field::new("square", DataType::Int64, false),
        Field::new("half", DataType::Float64, true),
        Field::new("name", DataType::Utf8, true),
    ]))
}

/// Returns `rows` rows of `numbers` from row `start` on.
pub(crate) fn numbers(start: usize, rows: usize) -> Result<RecordBatch> {
    let n = || (start as i64)..(start + rows) as i64;
    let known = |n: i64| n % 7 != 6;
    let name = |n: i64| if n % 2 == 0 { "even" } else { "odd" };
    let columns: Vec<ArrayRef> = vec![
        Arc::new(n().collect::<Int64Array>()),
        Arc::new(n().map(|n| n * n).collect::<Int64Array>()),
        Arc::new(n().map(|n| known(n).then(|| n as f64 / 2.0)).collect::<Float64Array>()),
        Arc::new(n().map(|n| known(n).then(|| name(n))).collect::<StringArray>()),
    ];
    Ok(RecordBatch::try_new(numbers_schema(), columns)?)
}

/// Returns the whole table `types`.
pub(crate) fn types() -> Result<RecordBatch> {
    let text = [None, Some(""), Some("힣\u{10ffff}"), Some("it's 100%")];
    let pair_fields = vec![
        Arc::new(Field::new("id", DataType::Int32, true)),
        Arc::new(Field::new("name", DataType::Utf8, true)),
    ];
    let pairs: Vec<ArrayRef> = vec![
        Arc::new(Int32Array::from(vec![None, Some(i32::MIN), Some(i32::MAX), Some(7)])),
        Arc::new(StringArray::from(text.to_vec())),
    ];
    let present = NullBuffer::from(vec![false, true, true, true]);
    let pairs = StructArray::try_new(pair_fields.into(), pairs, Some(present))?;
    let timestamps = vec![
        None,
        Some(DATE_MIN as i64 * DAY_US),
        Some((DATE_MAX as i64 + 1) * DAY_US - 1),
        Some(1_792_400_645_123_456),
    ];

    macro_rules! four {
        ($array:ident, $ordinary:expr, $type:ty) => {
            Arc::new($array::from(vec![
                None,
                Some(<$type>::MIN),
                Some(<$type>::MAX),
                Some($ordinary),
            ]))
        };
    }
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("boolean", Arc::new(BooleanArray::from(vec![None, Some(false), Some(true), Some(true)]))),
        ("int8", four!(Int8Array, -7, i8)),
        ("int16", four!(Int16Array, -700, i16)),
        ("int32", four!(Int32Array, -70_000, i32)),
        ("int64", four!(Int64Array, -7_000_000_000, i64)),
        ("uint8", four!(UInt8Array, 7, u8)),
        ("uint16", four!(UInt16Array, 700, u16)),
        ("uint32", four!(UInt32Array, 70_000, u32)),
        ("uint64", four!(UInt64Array, 7_000_000_000, u64)),
        ("float32", four!(Float32Array, -0.5, f32)),
        ("float64", four!(Float64Array, 0.1, f64)),
        (
            "decimal",
            Arc::new(
                Decimal128Array::from(vec![
                    None,
                    Some(-(10_i128.pow(38) - 1)),
                    Some(10_i128.pow(38) - 1),
                    Some(1_230_000_000),
                ])
                .with_precision_and_scale(38, 9)?,
            ),
        ),
        ("text", Arc::new(StringArray::from(text.to_vec()))),
        ("large_text", Arc::new(LargeStringArray::from(text.to_vec()))),
        ("text_view", Arc::new(StringViewArray::from(text.to_vec()))),
        (
            "binary",
            Arc::new(BinaryArray::from_opt_vec(vec![
                None,
                Some(b""),
                Some(b"\xff\xff\xff"),
                Some(b"\x00maru"),
            ])),
        ),
        (
            "date",
            Arc::new(Date32Array::from(vec![None, Some(DATE_MIN), Some(DATE_MAX), Some(20_745)])),
        ),
        (
            "time",
            Arc::new(Time64MicrosecondArray::from(vec![
                None,
                Some(0),
                Some(DAY_US - 1),
                Some(45_045_123_456),
            ])),
        ),
        ("timestamp", Arc::new(TimestampMicrosecondArray::from(timestamps.clone()))),
        (
            "timestamp_utc",
            Arc::new(TimestampMicrosecondArray::from(timestamps).with_timezone("UTC")),
        ),
        // Nanoseconds in 64 bits reach from 1677 to 2262.
        ("timestamp_ns", four!(TimestampNanosecondArray, 1_792_400_645_123_456_789, i64)),
        (
            "list",
            Arc::new(ListArray::from_iter_primitive::<Int32Type, _, _>(vec![
                None,
                Some(vec![]),
                Some(vec![Some(i32::MAX), None]),
                Some(vec![Some(1), Some(2), Some(3)]),
            ])),
        ),
        ("struct", Arc::new(pairs)),
    ];
    Ok(RecordBatch::try_from_iter_with_nullable(
        columns.into_iter().map(|(name, column)| (name, column, true)),
    )?)
}
