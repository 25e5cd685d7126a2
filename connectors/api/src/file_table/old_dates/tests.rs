//! Footers of several writers, with dates of several ages.

use std::sync::Arc;

use arrow::array::{ArrayRef, Date32Array, Int32Array, RecordBatch, TimestampMicrosecondArray};
use bytes::Bytes;
use parquet::arrow::ArrowWriter;
use parquet::file::metadata::{KeyValue, ParquetMetaDataReader};
use parquet::file::properties::{EnabledStatistics, WriterProperties};

use super::*;

const MODERN: i32 = 20_000;
/// The last day of the Julian calendar.
const OLD: i32 = FIRST_GREGORIAN as i32 - 1;

fn footer(column: ArrayRef, by: &str, pairs: &[(&str, &str)], bounds: bool) -> ParquetMetaData {
    let batch = RecordBatch::try_from_iter_with_nullable([("d", column, true)]).unwrap();
    let pairs =
        pairs.iter().map(|(key, value)| KeyValue::new((*key).to_owned(), (*value).to_owned()));
    let level = if bounds { EnabledStatistics::Chunk } else { EnabledStatistics::None };
    let properties = WriterProperties::builder()
        .set_created_by(by.to_owned())
        .set_key_value_metadata(Some(pairs.collect()))
        .set_statistics_enabled(level)
        .build();
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, batch.schema(), Some(properties)).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    ParquetMetaDataReader::new().parse_and_finish(&Bytes::from(bytes)).unwrap()
}

fn days(days: &[i32]) -> ArrayRef {
    Arc::new(Date32Array::from(days.to_vec()))
}

#[test]
fn refuses_only_what_may_be_wrong() {
    const JAVA: &str = "parquet-mr version 1.13.1 (build db4183109d5b734ec5930d870cdae161e408ddba)";
    let spark = ("org.apache.spark.version", "3.5.9");
    let legacy = ("org.apache.spark.legacyDateTime", "");
    type Case<'a> = (&'a str, &'a [(&'a str, &'a str)], &'a [i32], bool, bool);
    let table: &[Case<'_>] = &[
        ("parquet-rs version 59", &[], &[OLD], true, true),
        (JAVA, &[], &[MODERN, FIRST_GREGORIAN as i32], true, true),
        (JAVA, &[], &[MODERN, OLD], true, false),
        (JAVA, &[], &[OLD], false, true),
        (JAVA, &[spark], &[OLD], true, true),
        (JAVA, &[spark, legacy], &[OLD], true, false),
        (JAVA, &[spark, legacy], &[MODERN], true, true),
        (JAVA, &[spark, legacy], &[MODERN], false, false),
        (JAVA, &[("org.apache.spark.version", "2.4.8")], &[OLD], true, false),
        (JAVA, &[("writer.date.proleptic", "true")], &[OLD], true, true),
        (JAVA, &[("writer.date.proleptic", "false")], &[OLD], true, false),
    ];
    for (by, pairs, values, bounds, read) in table {
        let footer = footer(days(values), by, pairs, *bounds);
        let result = check(&footer, &Path::from("t/a.parquet"));
        assert_eq!(result.is_ok(), *read, "{by} {pairs:?} {values:?}: {result:?}");
        if let Err(error) = result {
            assert_eq!(error.sqlstate(), "0A000");
            assert!(error.primary().contains("t/a.parquet"), "{error:?}");
        }
    }
}

#[test]
fn looks_at_times_and_at_nothing_else() {
    let legacy = [("org.apache.spark.version", "3.5.9"), ("org.apache.spark.legacyDateTime", "")];
    let micros = |days: i64| {
        Arc::new(TimestampMicrosecondArray::from(vec![days * SECONDS_OF_DAY * 1_000_000]))
            as ArrayRef
    };
    let refused = |column: ArrayRef| {
        check(&footer(column, "parquet-mr", &legacy, true), &Path::from("a")).is_err()
    };
    assert!(refused(micros(YEAR_1900 - 1)));
    assert!(!refused(micros(YEAR_1900)));
    assert!(!refused(Arc::new(Int32Array::from(vec![OLD]))));
    let none = Arc::new(Date32Array::from(vec![None::<i32>])) as ArrayRef;
    assert!(!refused(none));
}
