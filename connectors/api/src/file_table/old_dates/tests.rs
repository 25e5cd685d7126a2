//! Footers of several writers, with dates of several ages.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, Date32Array, Int32Array, ListArray, RecordBatch, StructArray,
    TimestampMicrosecondArray,
};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{Field, TimestampMicrosecondType};
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

/// Returns the rule of the only column, and whether it has lost its bounds.
fn rule(metadata: &ParquetMetaData) -> Option<Rule> {
    let marked = mark(metadata).unwrap()?;
    assert!(marked.row_group(0).column(0).statistics().is_none());
    assert_eq!(marked.row_group(0).num_rows(), metadata.row_group(0).num_rows());
    let schema = parquet_to_arrow_schema(
        marked.file_metadata().schema_descr(),
        marked.file_metadata().key_value_metadata(),
    );
    let old = Old::of(&schema.unwrap()).unwrap();
    assert!(old.is_in("d") && !old.is_in("da"));
    old.columns.get("d").copied()
}

const JAVA: &str = "parquet-mr version 1.13.1 (build db4183109d5b734ec5930d870cdae161e408ddba)";

#[test]
fn marks_only_what_may_be_wrong() {
    const RECOUNT: Option<Rule> = Some(Rule::Recount);
    const REFUSE: Option<Rule> = Some(Rule::Refuse);
    let spark = ("org.apache.spark.version", "3.5.9");
    let legacy = ("org.apache.spark.legacyDateTime", "");
    type Case<'a> = (&'a str, &'a [(&'a str, &'a str)], &'a [i32], bool, Option<Rule>);
    let table: &[Case<'_>] = &[
        ("parquet-rs version 59", &[], &[OLD], true, None),
        (JAVA, &[], &[MODERN, FIRST_GREGORIAN as i32], true, None),
        (JAVA, &[], &[MODERN, OLD], true, REFUSE),
        (JAVA, &[], &[OLD], false, REFUSE),
        (JAVA, &[spark], &[OLD], true, None),
        (JAVA, &[spark, legacy], &[OLD], true, RECOUNT),
        (JAVA, &[spark, legacy], &[MODERN], true, None),
        (JAVA, &[spark, legacy], &[MODERN], false, RECOUNT),
        (JAVA, &[("org.apache.spark.version", "2.4.8")], &[OLD], true, RECOUNT),
        (JAVA, &[("writer.date.proleptic", "true")], &[OLD], true, None),
        (JAVA, &[("writer.date.proleptic", "false")], &[OLD], true, RECOUNT),
    ];
    for (by, pairs, values, bounds, wanted) in table {
        let footer = footer(days(values), by, pairs, *bounds);
        assert_eq!(rule(&footer), *wanted, "{by} {pairs:?} {values:?}");
    }
}

#[test]
fn looks_at_times_and_at_nothing_else() {
    let legacy = [("org.apache.spark.version", "3.5.9"), ("org.apache.spark.legacyDateTime", "")];
    let micros = |days: i64, zone: Option<&str>| {
        let times = TimestampMicrosecondArray::from(vec![days * SECONDS_OF_DAY * 1_000_000]);
        Arc::new(times.with_timezone_opt(zone)) as ArrayRef
    };
    let marked =
        |column: ArrayRef, pairs: &[_]| mark(&footer(column, JAVA, pairs, true)).unwrap().is_some();
    assert!(marked(micros(YEAR_1900 - 1, Some("UTC")), &legacy));
    assert!(!marked(micros(YEAR_1900, Some("UTC")), &legacy));
    // Spark counts those anew only that are instants.
    assert!(!marked(micros(YEAR_1900 - 1, None), &legacy));
    assert!(!marked(micros(YEAR_1900 - 1, None), &[("writer.date.proleptic", "false")]));
    assert!(marked(micros(FIRST_GREGORIAN - 1, None), &[]));
    assert!(!marked(Arc::new(Int32Array::from(vec![OLD])), &legacy));
    assert!(!marked(Arc::new(Date32Array::from(vec![None::<i32>])), &legacy));
}

#[test]
fn a_note_that_the_file_brings_along_counts_for_nothing() {
    let note = r#"{"zone":"UTC","columns":{"d":"Recount"}}"#;
    let footer = footer(days(&[OLD]), "another", &[(NOTE, note)], true);
    let marked = mark(&footer).unwrap().unwrap();
    let note = value(marked.file_metadata(), NOTE).unwrap();
    assert_eq!(note, r#"{"zone":"UTC","columns":{}}"#);
}

fn old(zone: &str, path: &str, rule: Rule) -> Old {
    Old { zone: zone.to_owned(), columns: [(path.to_owned(), rule)].into() }
}

#[test]
fn recounts_wherever_a_date_stands() {
    // 28 February 1500 and the day after, which only the old calendar has.
    let shown = days(&[-171_598, -171_597, MODERN]);
    let wanted = days(&[-171_607, -171_606, MODERN]);
    let recount = |values: &ArrayRef, path: &str| {
        old("UTC", path, Rule::Recount).recount(values, "c").unwrap()
    };
    assert_eq!(&recount(&shown, "c"), &wanted);
    assert_eq!(&recount(&shown, "another"), &shown);
    let nested = |days: &ArrayRef| {
        let field = Arc::new(Field::new("d", DataType::Date32, true));
        let of_one = OffsetBuffer::from_lengths([3]);
        let item = Arc::clone(&field);
        let list = Arc::new(ListArray::new(item, of_one, Arc::clone(days), None)) as ArrayRef;
        let field = Arc::new(Field::new("l", list.data_type().clone(), true));
        Arc::new(StructArray::from(vec![(field, list)])) as ArrayRef
    };
    assert_eq!(&recount(&nested(&shown), "c\0l\0*"), &nested(&wanted));
    assert_eq!(&recount(&nested(&shown), "c\0l"), &nested(&shown));
    let refused = old("UTC", "c\0l\0*", Rule::Refuse).recount(&nested(&shown), "c").unwrap_err();
    assert_eq!(refused.sqlstate(), "0A000");
    assert!(refused.detail().is_some_and(|detail| detail.contains("\"c\"")), "{refused:?}");
    assert!(old("UTC", "c", Rule::Refuse).recount(&days(&[MODERN]), "c").is_ok());
}

#[test]
fn recounts_times_by_the_clock_of_their_zone() {
    // Seconds, and how many are added: as Spark 3.5 has them in its table (`julian-gregorian-rebase-micros.json`).
    let table = [
        ("UTC", -12_219_292_801, -864_000),
        ("UTC", -12_219_292_800, 0),
        ("America/Los_Angeles", -14_825_779_200, -864_422),
        ("America/Los_Angeles", -12_219_264_000, -422),
        ("America/Los_Angeles", -2_717_640_000, 0),
        ("Asia/Seoul", -17_981_600_400, -775_672),
        ("Asia/Seoul", -12_219_325_200, 1_928),
        ("Africa/Casablanca", -12_219_292_800, 1_820),
        ("EST5EDT", -62_135_751_600, 172_800),
        ("GMT+9", -12_219_325_201, -864_000),
        ("Asia/Seoul", -2_208_988_800, 0),
    ];
    for (zone, second, wanted) in table {
        let time = second * 1_000_000 + 7;
        let times = Arc::new(TimestampMicrosecondArray::from(vec![Some(time), None])) as ArrayRef;
        let found = old(zone, "t", Rule::Recount).recount(&times, "t").unwrap();
        let found = found.as_primitive::<TimestampMicrosecondType>();
        assert_eq!(found.value(0) - time, wanted * 1_000_000, "{zone} {second}");
        assert!(found.is_null(1));
    }
    let times = Arc::new(TimestampMicrosecondArray::from(vec![i64::MIN / 2])) as ArrayRef;
    for zone in ["Mars/Olympus", "Asia/Manila"] {
        let unknown = old(zone, "t", Rule::Recount).recount(&times, "t").unwrap_err();
        assert_eq!(unknown.sqlstate(), "0A000");
    }
    assert!(old("UTC", "t", Rule::Recount).recount(&times, "t").is_ok());
}
