//! Times Maru beside plain DataFusion on the same files and threads, and keeps the answers for comparison.
//!
//! `benches/run` generates the data, calls this program and compares the answers with DuckDB's. Every query is run once
//! to warm up and then `--repeats` times by each engine in turns, so that whatever else the machine does hits all of
//! them alike. One run goes from the text to the last batch.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow::ipc::writer::FileWriter;
use clap::Parser;
use datafusion::physical_plan::execute_stream;
use datafusion::prelude::{ParquetReadOptions, SessionConfig, SessionContext};
use futures::StreamExt;
use maru::access::Login;
use maru::config::Config;
use maru::engine::Engine;
use maru::output::Body;
use maru::session::{Session, StatementText};
use serde::Serialize;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// The name of the schema, and of the folder that the data lies in.
const SCHEMA: &str = "tpch";

#[derive(Debug, Parser)]
struct Arguments {
    /// The folder above `tpch/*.parquet`.
    #[arg(long)]
    data: PathBuf,
    /// The folder of the queries, one file each.
    #[arg(long, default_value = "benches/tpch")]
    queries: PathBuf,
    /// Where `times.json` and `answers/<engine>/<query>.arrow` go.
    #[arg(long, default_value = "target/benches")]
    out: PathBuf,
    #[arg(long, default_value_t = 2)]
    threads: usize,
    #[arg(long, default_value_t = 5)]
    repeats: usize,
    /// Names of queries; all by default.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
}

/// One way to run a query.
enum Contender {
    Maru(Arc<Session>),
    DataFusion(SessionContext),
}

/// Milliseconds of one run.
#[derive(Debug, Default, Clone, Copy, Serialize)]
struct Run {
    /// From the text to the logical plan.
    logical_ms: f64,
    /// Optimiser, listing of files, statistics, physical plan.
    physical_ms: f64,
    rows_ms: f64,
    total_ms: f64,
    /// CPU of all threads together; unlike the clock hardly disturbed by neighbours.
    cpu_ms: Option<f64>,
}

/// All runs of one query by one engine.
#[derive(Debug, Default, Serialize)]
struct Record {
    n_rows: usize,
    runs: Vec<Run>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

type Times = BTreeMap<String, BTreeMap<&'static str, Record>>;

fn main() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(arguments.threads)
        .enable_all()
        .build()?;
    let home = tempfile::tempdir()?;
    let data = arguments.data.canonicalize()?;
    // On a worker: the thread that blocks is one more, and its work would not be stolen.
    let times = runtime.block_on(async move {
        tokio::spawn(measure(arguments, data, home.path().to_owned())).await?
    })?;
    let failed = times.values().any(|engines| engines.values().any(|r| r.error.is_some()));
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

async fn measure(arguments: Arguments, data: PathBuf, home: PathBuf) -> Result<Times> {
    let config =
        Config { data_dir: home, target_partitions: arguments.threads, ..Config::default() };
    let engine = Engine::open(config).await?;
    let contenders = [
        ("maru", Contender::Maru(maru_session(&engine, &data).await?)),
        ("datafusion", Contender::DataFusion(datafusion(&arguments, &data, true).await?)),
        ("datafusion_defaults", Contender::DataFusion(datafusion(&arguments, &data, false).await?)),
    ];
    let mut times = Times::new();
    for (name, sql) in queries(&arguments)? {
        eprint!("{name}");
        let records = times.entry(name.clone()).or_default();
        for (round, (label, contender)) in turns(&contenders, arguments.repeats) {
            let record: &mut Record = records.entry(*label).or_default();
            if record.error.is_some() {
                continue;
            }
            match contender.run(&sql).await {
                Ok((_, schema, batches)) if round == 0 => {
                    record.n_rows = batches.iter().map(RecordBatch::num_rows).sum();
                    keep(&arguments.out, label, &name, &schema, &batches)?;
                }
                Ok((run, ..)) => record.runs.push(run),
                Err(error) => {
                    eprint!(" {label} FAILED: {error}");
                    record.error = Some(error.to_string());
                }
            }
        }
        for (label, record) in records.iter() {
            eprint!("  {label} {:.1} ms", median(record));
        }
        eprintln!();
    }
    engine.close(Duration::from_secs(5)).await;
    fs::create_dir_all(&arguments.out)?;
    fs::write(arguments.out.join("times.json"), serde_json::to_vec_pretty(&times)?)?;
    Ok(times)
}

/// Returns the contenders once for warming up and then for each repeat, each time another one first.
fn turns<T>(contenders: &[T], repeats: usize) -> impl Iterator<Item = (usize, &T)> {
    let n = contenders.len();
    (0..=repeats).flat_map(move |round| (0..n).map(move |i| (round, &contenders[(round + i) % n])))
}

async fn maru_session(engine: &Engine, data: &Path) -> Result<Arc<Session>> {
    let session = engine.session(Login::embedded()).await?;
    let path = data.display().to_string().replace('\'', "''");
    let create = format!("CREATE CATALOG tpch USING file WITH (path = '{path}')");
    session.run(&StatementText::one(create)).await?;
    session.set("catalog", "tpch")?;
    session.set("search_path", SCHEMA)?;
    Ok(session)
}

/// DataFusion with Maru's options for SQL text and, if `safe`, with the one that keeps join results right.
async fn datafusion(arguments: &Arguments, data: &Path, safe: bool) -> Result<SessionContext> {
    let mut config = SessionConfig::new().with_target_partitions(arguments.threads);
    let options = config.options_mut();
    options.sql_parser.dialect = datafusion::config::Dialect::PostgreSQL;
    options.sql_parser.parse_float_as_decimal = true;
    if safe {
        options.optimizer.enable_join_dynamic_filter_pushdown = false;
    }
    let context = SessionContext::new_with_config(config);
    for entry in fs::read_dir(data.join(SCHEMA))? {
        let path = entry?.path();
        if path.extension().is_none_or(|end| end != "parquet") {
            continue;
        }
        let table = path.file_stem().unwrap_or_default().to_string_lossy();
        let options = ParquetReadOptions::default();
        context.register_parquet(&*table, path.to_string_lossy(), options).await?;
    }
    Ok(context)
}

impl Contender {
    async fn run(&self, sql: &str) -> Result<(Run, SchemaRef, Vec<RecordBatch>)> {
        let cpu = cpu_ms();
        let start = Instant::now();
        let mut batches = Vec::new();
        let (schema, logical, physical) = match self {
            Self::Maru(session) => {
                let prepared = session.prepare(&StatementText::one(sql), &[]).await?;
                let logical = start.elapsed();
                let Body::Rows(mut rows) = session.execute(&prepared, Vec::new()).await?.body
                else {
                    return Err("the query gave no rows".into());
                };
                let physical = start.elapsed();
                while let Some(batch) = rows.stream.next().await {
                    batches.push(batch?);
                }
                (rows.schema, logical, physical)
            }
            Self::DataFusion(context) => {
                let state = context.state();
                let plan = state.create_logical_plan(sql).await?;
                let logical = start.elapsed();
                let plan = state.create_physical_plan(&plan).await?;
                let mut rows = execute_stream(plan, state.task_ctx())?;
                let physical = start.elapsed();
                while let Some(batch) = rows.next().await {
                    batches.push(batch?);
                }
                (rows.schema(), logical, physical)
            }
        };
        let total = start.elapsed();
        let run = Run {
            logical_ms: ms(logical),
            physical_ms: ms(physical - logical),
            rows_ms: ms(total - physical),
            total_ms: ms(total),
            cpu_ms: cpu.zip(cpu_ms()).map(|(before, after)| after - before),
        };
        Ok((run, schema, batches))
    }
}

fn queries(arguments: &Arguments) -> Result<Vec<(String, String)>> {
    let mut queries = Vec::new();
    for entry in fs::read_dir(&arguments.queries)? {
        let path = entry?.path();
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let is_query = path.extension().is_some_and(|end| end == "sql");
        if is_query && (arguments.only.is_empty() || arguments.only.contains(&name)) {
            queries.push((name, fs::read_to_string(&path)?));
        }
    }
    queries.sort();
    Ok(queries)
}

fn keep(
    out: &Path,
    label: &str,
    query: &str,
    schema: &SchemaRef,
    batches: &[RecordBatch],
) -> Result<()> {
    let folder = out.join("answers").join(label);
    fs::create_dir_all(&folder)?;
    let mut writer =
        FileWriter::try_new(File::create(folder.join(format!("{query}.arrow")))?, schema)?;
    for batch in batches {
        // Plans may differ from their schema in nullability; the file may not.
        let batch = RecordBatch::try_new(Arc::clone(schema), batch.columns().to_vec())?;
        writer.write(&batch)?;
    }
    Ok(writer.finish()?)
}

fn median(record: &Record) -> f64 {
    let mut totals = record.runs.iter().map(|run| run.total_ms).collect::<Vec<_>>();
    totals.sort_by(f64::total_cmp);
    totals.get(totals.len() / 2).copied().unwrap_or(f64::NAN)
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

/// Returns the CPU time of the process, where the system tells it; Linux counts it in hundredths of a second.
fn cpu_ms() -> Option<f64> {
    let text = fs::read_to_string("/proc/self/stat").ok()?;
    let (_, fields) = text.rsplit_once(')')?;
    let mut ticks = fields.split_whitespace().skip(11);
    let user: f64 = ticks.next()?.parse().ok()?;
    let system: f64 = ticks.next()?.parse().ok()?;
    Some((user + system) * 10.0)
}
