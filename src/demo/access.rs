//! The web access log: a week of requests to a shop, skewed as real ones are.

use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, Int32Builder, Int64Builder, RecordBatch, StringBuilder, TimestampMillisecondBuilder,
};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use maru_core::{ErrorKind, Result, ResultExt};

use super::data::{Part, Sizes, chunks, cut};
use super::random::Random;

const TABLE: u64 = 1;

const PARTS: u64 = 8;

/// 2026-11-01 00:00 UTC, in milliseconds.
pub(super) const START_MS: i64 = 1_793_491_200_000;

pub(super) const DAY_MS: i64 = 86_400_000;

const DAYS: i64 = 7;

/// Products, each with a page.
const PRODUCTS: u64 = 2_000;

const SECTIONS: &[&str] = &["products", "deals", "reviews", "guides"];
const METHODS: &[&str] = &["GET", "GET", "GET", "GET", "POST", "HEAD"];
const STATUSES: &[i32] = &[200, 200, 200, 200, 200, 304, 302, 404, 500, 503];
const REFERRERS: &[&str] = &[
    "https://search.example.com/",
    "https://portal.example.kr/",
    "https://social.example.com/feed",
    "https://news.example.kr/it",
];
const AGENTS: &[&str] = &[
    "Mozilla/5.0 (Linux; Android 16) Mobile",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 19_0)",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64)",
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 15_0)",
    "curl/8.10.1",
    "crawler/2.1 (+https://crawler.example.com)",
];

/// Returns the address of a page; the few popular ones are asked for most.
pub(super) fn url(random: &mut Random) -> String {
    let product = random.skewed(PRODUCTS);
    let section = SECTIONS[(product % SECTIONS.len() as u64) as usize];
    format!("/{section}/{product:05}")
}

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("ts", DataType::Timestamp(TimeUnit::Millisecond, None), false),
        Field::new("client_ip", DataType::Utf8, false),
        Field::new("method", DataType::Utf8, false),
        Field::new("url", DataType::Utf8, false),
        Field::new("status", DataType::Int32, false),
        Field::new("bytes", DataType::Int64, true),
        Field::new("response_ms", DataType::Int32, false),
        Field::new("referrer", DataType::Utf8, true),
        Field::new("user_agent", DataType::Utf8, false),
    ]))
}

/// Returns the files of the log. Each holds a stretch of time.
pub(super) fn parts(sizes: Sizes) -> Vec<Part> {
    let rows = sizes.access;
    cut(rows, PARTS)
        .zip(0..)
        .map(|((first, part_rows), number)| {
            let mut random = Random::new(TABLE, number);
            let schema = schema();
            Part {
                path: PathBuf::from(format!("bucket/access/part-{number:02}.parquet")),
                batches: Box::new(chunks(part_rows).map(move |(start, count)| {
                    batch(&schema, &mut random, first + start, count, rows)
                })),
            }
        })
        .collect()
}

fn batch(
    schema: &SchemaRef,
    random: &mut Random,
    first: u64,
    count: u64,
    of: u64,
) -> Result<RecordBatch> {
    let mut times = TimestampMillisecondBuilder::new();
    let mut clients = StringBuilder::new();
    let mut methods = StringBuilder::new();
    let mut urls = StringBuilder::new();
    let mut statuses = Int32Builder::new();
    let mut sizes = Int64Builder::new();
    let mut durations = Int32Builder::new();
    let mut referrers = StringBuilder::new();
    let mut agents = StringBuilder::new();
    for row in first..first + count {
        let step = (DAYS * DAY_MS) as f64 / of as f64;
        times.append_value(START_MS + ((row as f64 + random.unit()) * step) as i64);
        let client = random.skewed(65_536);
        clients.append_value(format!("10.{}.{}.{}", 20 + client % 4, client / 256, client % 256));
        methods.append_value(METHODS[random.below(METHODS.len() as u64) as usize]);
        urls.append_value(url(random));
        let status = *random.pick(STATUSES);
        statuses.append_value(status);
        // An answer without a body has no size.
        sizes.append_option((status == 200).then(|| 400 + random.skewed(200_000) as i64));
        let slow = if status >= 500 { 2_000 } else { 0 };
        durations.append_value(slow + 3 + random.skewed(900) as i32);
        referrers.append_option((!random.once_in(3)).then(|| *random.pick(REFERRERS)));
        agents.append_value(random.pick(AGENTS));
    }
    let columns: Vec<ArrayRef> = vec![
        Arc::new(times.finish()),
        Arc::new(clients.finish()),
        Arc::new(methods.finish()),
        Arc::new(urls.finish()),
        Arc::new(statuses.finish()),
        Arc::new(sizes.finish()),
        Arc::new(durations.finish()),
        Arc::new(referrers.finish()),
        Arc::new(agents.finish()),
    ];
    RecordBatch::try_new(Arc::clone(schema), columns)
        .or_error(ErrorKind::Internal, || "sample rows do not fit their schema".to_owned())
}
