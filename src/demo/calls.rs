//! What known customers looked at (`log`) and the calls they made (`call`), both partitioned by day.
//!
//! The calls carry the dirt of a real source: blanks around values, mixed case, missing and impossible ones. The tour
//! cleanses them.

use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, Int32Builder, Int64Builder, RecordBatch, StringBuilder, TimestampMillisecondBuilder,
};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use maru_core::{ErrorKind, Result, ResultExt};

use super::access::{DAY_MS, START_MS, url};
use super::data::{Part, Sizes, chunks, cut};
use super::random::Random;

const LOG_TABLE: u64 = 2;
const CALL_TABLE: u64 = 3;

const LOG_DAYS: u64 = 7;
const CALL_DAYS: u64 = 14;

const DEVICES: &[&str] = &["phone", "tablet", "desktop", "tv"];
const CELLS: &[&str] = &[
    "SEL-01", "SEL-02", "BUS-01", "INC-01", "SEL-03", "DGU-01", "DJN-01", "GWJ-01", "SUW-01",
    "JEJ-01",
];
const RESULTS: &[&str] = &["completed", "completed", "completed", "no answer", "busy", "dropped"];

fn day(number: u64) -> String {
    format!("dt=2026-11-{:02}", number + 1)
}

/// Returns the files of `log`, one for each day.
pub(super) fn log_parts(sizes: Sizes) -> Vec<Part> {
    let schema = Arc::new(Schema::new(vec![
        Field::new("customer_id", DataType::Int64, false),
        Field::new("viewed_at", DataType::Timestamp(TimeUnit::Millisecond, None), false),
        Field::new("url", DataType::Utf8, false),
        Field::new("dwell_s", DataType::Int32, true),
        Field::new("device", DataType::Utf8, false),
    ]));
    cut(sizes.log, LOG_DAYS)
        .zip(0..)
        .map(|((_, rows), number)| {
            let mut random = Random::new(LOG_TABLE, number);
            let schema = Arc::clone(&schema);
            Part {
                path: PathBuf::from(format!("dhp/demo/log/{}/part-0.parquet", day(number))),
                batches: Box::new(chunks(rows).map(move |(_, count)| {
                    log_batch(&schema, &mut random, number, count, sizes.customers)
                })),
            }
        })
        .collect()
}

fn log_batch(
    schema: &SchemaRef,
    random: &mut Random,
    day: u64,
    count: u64,
    people: u64,
) -> Result<RecordBatch> {
    let mut customers = Int64Builder::new();
    let mut times = TimestampMillisecondBuilder::new();
    let mut urls = StringBuilder::new();
    let mut dwells = Int32Builder::new();
    let mut devices = StringBuilder::new();
    for _ in 0..count {
        customers.append_value(1 + random.skewed(people) as i64);
        times.append_value(moment(random, day));
        urls.append_value(url(random));
        dwells.append_option((!random.once_in(20)).then(|| 1 + random.skewed(600) as i32));
        devices.append_value(random.pick(DEVICES));
    }
    finish(
        schema,
        vec![
            Arc::new(customers.finish()),
            Arc::new(times.finish()),
            Arc::new(urls.finish()),
            Arc::new(dwells.finish()),
            Arc::new(devices.finish()),
        ],
    )
}

/// Returns the files of `call`, one for each day.
pub(super) fn call_parts(sizes: Sizes) -> Vec<Part> {
    let schema = Arc::new(Schema::new(vec![
        Field::new("call_id", DataType::Int64, false),
        Field::new("customer_id", DataType::Utf8, true),
        Field::new("started_at", DataType::Timestamp(TimeUnit::Millisecond, None), true),
        Field::new("duration_s", DataType::Int32, true),
        Field::new("cell", DataType::Utf8, true),
        Field::new("result", DataType::Utf8, true),
    ]));
    cut(sizes.calls, CALL_DAYS)
        .zip(0..)
        .map(|((first, rows), number)| {
            let mut random = Random::new(CALL_TABLE, number);
            let schema = Arc::clone(&schema);
            Part {
                path: PathBuf::from(format!("dhp/demo/call/{}/part-0.parquet", day(number))),
                batches: Box::new(chunks(rows).map(move |(start, count)| {
                    call_batch(&schema, &mut random, number, first + start, count, sizes.customers)
                })),
            }
        })
        .collect()
}

fn call_batch(
    schema: &SchemaRef,
    random: &mut Random,
    day: u64,
    first: u64,
    count: u64,
    people: u64,
) -> Result<RecordBatch> {
    let mut ids = Int64Builder::new();
    let mut customers = StringBuilder::new();
    let mut times = TimestampMillisecondBuilder::new();
    let mut durations = Int32Builder::new();
    let mut cells = StringBuilder::new();
    let mut results = StringBuilder::new();
    for row in first..first + count {
        ids.append_value(row as i64 + 1);
        let customer = 1 + random.skewed(people);
        match random.below(100) {
            0 => customers.append_null(),
            1 => customers.append_value(""),
            2 => customers.append_value("unknown"),
            3..=8 => customers.append_value(format!(" {customer} ")),
            // A customer that the CRM does not know.
            9 => customers.append_value((people + customer).to_string()),
            _ => customers.append_value(customer.to_string()),
        }
        times.append_option((!random.once_in(500)).then(|| moment(random, day)));
        match random.below(200) {
            0 | 1 => durations.append_null(),
            2 => durations.append_value(-1),
            // A counter that ran on after the call.
            3 => durations.append_value(86_400 + random.below(500_000) as i32),
            _ => durations.append_value(5 + random.skewed(1_200) as i32),
        }
        let cell = *random.pick(CELLS);
        match random.below(50) {
            0 => cells.append_null(),
            1..=5 => cells.append_value(format!("{} ", cell.to_lowercase())),
            _ => cells.append_value(cell),
        }
        // One cell drops more calls on one day: the tour finds it.
        let troubled = cell == "BUS-01" && day == 9 && random.below(3) > 0;
        let result = if troubled { "dropped" } else { *random.pick(RESULTS) };
        match random.below(50) {
            0 => results.append_null(),
            1 => results.append_value("N/A"),
            2..=6 => results.append_value(format!(" {}", result.to_uppercase())),
            _ => results.append_value(result),
        }
    }
    finish(
        schema,
        vec![
            Arc::new(ids.finish()),
            Arc::new(customers.finish()),
            Arc::new(times.finish()),
            Arc::new(durations.finish()),
            Arc::new(cells.finish()),
            Arc::new(results.finish()),
        ],
    )
}

/// Returns a time of a day, more often in the evening.
fn moment(random: &mut Random, day: u64) -> i64 {
    START_MS + day as i64 * DAY_MS + DAY_MS - 1 - random.skewed(DAY_MS as u64 - 1) as i64
}

fn finish(schema: &SchemaRef, columns: Vec<ArrayRef>) -> Result<RecordBatch> {
    RecordBatch::try_new(Arc::clone(schema), columns)
        .or_error(ErrorKind::Internal, || "sample rows do not fit their schema".to_owned())
}
