//! From a physical plan to a stream of rows that can be cancelled, timed out, counted, and that survives a panic.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, SchemaRef};
use arrow::error::ArrowError;
use datafusion::datasource::physical_plan::FileScanConfig;
use datafusion::datasource::source::DataSourceExec;
use datafusion::execution::TaskContext;
use datafusion::physical_plan::{ExecutionPlan, execute_stream};
use futures::{FutureExt, StreamExt};
use maru_connect::RemoteScanExec;
use maru_core::{Error, ErrorKind, Result};
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

use super::Engine;
use super::admission::Permit;
use super::history::{PastQuery, micros};
use super::query::{Query, State};
use crate::access::audit::What;
use crate::output::Rows;
use crate::session::is_guard;
use crate::statement::without_passwords;

/// Batches that wait for the client at most.
const BATCHES_AHEAD: usize = 2;

/// Ends a statement exactly once, however it ends: read to the end, failed, or dropped. The first of several that end the
/// same statement counts.
pub(crate) struct Ending {
    engine: Engine,
    query: Arc<Query>,
}

impl Ending {
    pub(crate) fn new(engine: Engine, query: Arc<Query>) -> Self {
        Self { engine, query }
    }

    pub(crate) fn succeed(self) {
        self.end(State::Finished, None);
    }

    pub(crate) fn fail(self, error: &Error) {
        self.end(state_of(error), Some(error));
    }

    /// Takes a statement that was planned off the list, without a place in the history: what runs then is listed itself.
    pub(crate) fn forget(self) {
        if !self.query.ended.swap(true, Ordering::SeqCst) {
            self.engine.inner.queries.end(self.query.id);
        }
    }

    fn end(&self, state: State, error: Option<&Error>) {
        let query = &self.query;
        if query.ended.swap(true, Ordering::SeqCst) {
            return;
        }
        query.set_state(state);
        query.leave_lane();
        if let Some(error) = error.filter(|error| error.kind() == ErrorKind::NotAllowed) {
            self.engine.audit_statement(query, What::Denied, Some(error));
        }
        let figures = query.plan().map(|plan| figures(&self.engine, &plan)).unwrap_or_default();
        let past = past_query(query, state, error, &figures);
        let metrics = &self.engine.inner.metrics;
        metrics.queries.with_label_values(&[state.name()]).inc();
        metrics.query_seconds.observe(query.clock.elapsed().as_secs_f64());
        metrics.rows.inc_by(query.n_rows.load(Ordering::Relaxed));
        metrics.spilled_bytes.inc_by(figures.spilled_bytes);
        let told = figures.sources.iter().map(|(catalog, (_, bytes))| (catalog, bytes));
        for (catalog, bytes) in told.chain(&figures.hidden) {
            metrics.source_bytes.with_label_values(&[catalog.as_str()]).inc_by(*bytes);
        }
        tracing::debug!(
            query_id = query.id,
            state = state.name(),
            elapsed_ms = past.elapsed_ms,
            n_rows = past.n_rows,
            "ended query"
        );
        let session = self.engine.session_of(query.session_id);
        if let Some(work) = session.and_then(|session| session.work()) {
            work.ended(&past, figures.written_bytes);
        }
        self.engine.inner.history.record(past);
        self.engine.inner.queries.end(query.id);
    }
}

/// A statement that is stopped while it starts is dropped by whoever waits for it: it has ended as it was stopped.
impl Drop for Ending {
    fn drop(&mut self) {
        let error = self.query.why_cancelled();
        self.end(state_of(&error), Some(&error));
    }
}

/// How a statement has ended that ended with an error.
fn state_of(error: &Error) -> State {
    match error.kind() {
        ErrorKind::Cancelled => State::Cancelled,
        _ => State::Failed,
    }
}

/// How the rows of a statement go to whoever asked for them.
pub(crate) struct Delivery {
    /// What they were promised to be.
    pub(crate) schema: SchemaRef,
    pub(crate) tag: &'static str,
    pub(crate) timeout: Duration,
    /// Whether to come back with the first rows: what is a few rows is read to its end on the threads of the statement, and goes
    /// to the client without another change of threads.
    pub(crate) ahead: bool,
}

/// Starts a physical plan. The permit is held until the rows are read or dropped.
pub(crate) async fn start(
    ending: Ending,
    plan: Arc<dyn ExecutionPlan>,
    context: Arc<TaskContext>,
    permit: Option<Permit>,
    delivery: Delivery,
) -> Result<Rows> {
    let Delivery { schema, tag, timeout, ahead } = delivery;
    let query = Arc::clone(&ending.query);
    query.set_plan(Arc::clone(&plan));
    query.set_state(State::Running);
    let watch = permit.as_ref().and_then(|permit| {
        let run_time = permit.run_time?;
        let (query, error) = (Arc::clone(&query), permit.ran_too_long(run_time));
        Some(AbortOnDropHandle::new(tokio::spawn(async move {
            tokio::time::sleep(run_time).await;
            query.stop(error);
        })))
    });
    let begun = async {
        let mut stream = execute_stream(plan, context)?;
        let ready = if ahead { read_ahead(&mut stream).await? } else { Ahead::default() };
        Ok::<_, Error>((stream, ready))
    };
    let (stream, ahead) = match begun.await {
        Ok(begun) => begun,
        Err(error) => {
            ending.fail(&error);
            return Err(error);
        }
    };
    let rest = match ahead.is_all {
        true => None,
        false => {
            let (sender, receiver) = mpsc::channel(BATCHES_AHEAD);
            let driver = query.spawn(drive(Arc::clone(&query), stream, sender, timeout));
            Some((receiver, driver.ok_or_else(|| query.why_cancelled())?))
        }
    };
    let reader = Reader {
        ready: ahead.batches,
        rest,
        ending: Some(ending),
        schema: Arc::clone(&schema),
        timeout,
        _permit: permit,
        _watch: watch,
    };
    let rows = futures::stream::unfold(reader, |mut reader| async move {
        let item = reader.next().await?;
        Some((item, reader))
    });
    Ok(Rows { query_id: query.id, tag, schema, stream: Box::pin(rows) })
}

/// The first rows of a statement.
#[derive(Default)]
struct Ahead {
    batches: VecDeque<RecordBatch>,
    /// Whether no more follow.
    is_all: bool,
}

/// Waits for the first batch, and takes those that are there at once with it.
async fn read_ahead(
    stream: &mut datafusion::execution::SendableRecordBatchStream,
) -> Result<Ahead> {
    let mut ahead = Ahead::default();
    let mut next = stream.next().await;
    loop {
        match next {
            Some(batch) => ahead.batches.push_back(batch?),
            None => {
                ahead.is_all = true;
                return Ok(ahead);
            }
        }
        if ahead.batches.len() >= BATCHES_AHEAD {
            return Ok(ahead);
        }
        match stream.next().now_or_never() {
            Some(item) => next = item,
            None => return Ok(ahead),
        }
    }
}

/// Reads the plan's stream into the channel until it ends, is cancelled, or its time is over.
async fn drive(
    query: Arc<Query>,
    mut stream: datafusion::execution::SendableRecordBatchStream,
    sender: mpsc::Sender<Result<RecordBatch>>,
    timeout: Duration,
) {
    let deadline = query.overdue(timeout);
    let work = async {
        while let Some(batch) = stream.next().await {
            let batch = batch.map_err(Error::from);
            let failed = batch.is_err();
            if sender.send(batch).await.is_err() || failed {
                break;
            }
        }
    };
    let interrupted = tokio::select! {
        biased;
        () = query.interrupted() => query.why_cancelled(),
        () = deadline => timed_out(timeout),
        () = work => return,
    };
    // Frees sources and memory before the client has to read the news.
    drop(stream);
    let _ = sender.send(Err(interrupted)).await;
}

/// Waits until `timeout` after `start`; forever if it is zero.
pub(crate) async fn deadline(start: tokio::time::Instant, timeout: Duration) {
    if timeout.is_zero() {
        std::future::pending::<()>().await;
    }
    tokio::time::sleep_until(start + timeout).await;
}

pub(crate) fn timed_out(timeout: Duration) -> Error {
    Error::new(ErrorKind::TimedOut, "canceling statement due to statement timeout")
        .with_detail(format!("statement_timeout is {} ms.", timeout.as_millis()))
        .with_hint("SET statement_timeout to a longer time, or to 0 for none.")
}

struct Reader {
    ready: VecDeque<RecordBatch>,
    /// What follows, and the task that reads it.
    rest: Option<(mpsc::Receiver<Result<RecordBatch>>, AbortOnDropHandle<()>)>,
    ending: Option<Ending>,
    schema: SchemaRef,
    timeout: Duration,
    _permit: Option<Permit>,
    _watch: Option<AbortOnDropHandle<()>>,
}

impl Reader {
    async fn next(&mut self) -> Option<Result<RecordBatch>> {
        let ending = self.ending.as_ref()?;
        let query = Arc::clone(&ending.query);
        let item = match (self.ready.pop_front(), &mut self.rest) {
            (Some(batch), _) => Some(Ok(batch)),
            (None, None) => None,
            // The driver hears of a cancel only between two steps of the plan, which may be long: the client hears at once.
            (None, Some((receiver, _))) => tokio::select! {
                biased;
                item = receiver.recv() => item,
                () = query.interrupted() => Some(Err(query.why_cancelled())),
                () = query.overdue(self.timeout) => Some(Err(timed_out(self.timeout))),
            },
        };
        let item = match item {
            Some(item) => item.and_then(|batch| conform(batch, &self.schema)),
            None => {
                let broken = match &mut self.rest {
                    Some((_, driver)) => driver.await.err(),
                    None => None,
                };
                match broken {
                    Some(error) => {
                        Err(Error::internal("the statement broke off").with_cause(error))
                    }
                    None => {
                        if let Some(ending) = self.ending.take() {
                            ending.succeed();
                        }
                        return None;
                    }
                }
            }
        };
        match &item {
            Ok(batch) => {
                query.n_rows.fetch_add(batch.num_rows() as u64, Ordering::Relaxed);
            }
            Err(error) => {
                if let Some(ending) = self.ending.take() {
                    ending.fail(error);
                }
                if let Some((_, driver)) = &self.rest {
                    driver.abort();
                }
            }
        }
        Some(item)
    }
}

/// Gives a batch the promised schema. Physical plans differ from it in nullability and metadata, and in how wide a value is kept
/// where a parameter's type was open: such columns are cast, if no value can lose anything.
pub(crate) fn conform(batch: RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
    let failed = |error: ArrowError| {
        Error::internal("a batch has other columns than were promised").with_cause(error)
    };
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    let mut columns = batch.columns().to_vec();
    if columns.len() == schema.fields().len() {
        for (column, field) in columns.iter_mut().zip(schema.fields()) {
            if widens(column.data_type(), field.data_type()) {
                *column = strict(column, field.data_type()).map_err(failed)?;
            } else if column.data_type().is_decimal() && field.data_type().is_decimal() {
                *column = of_places(column, field.data_type())?;
            }
        }
    }
    RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options).map_err(failed)
}

fn strict(column: &ArrayRef, to: &DataType) -> Result<ArrayRef, ArrowError> {
    cast_with_options(column, to, &CastOptions { safe: false, ..CastOptions::default() })
}

/// Brings numerics to the places that were promised: `coalesce(n, $1)` was told before the value of the parameter was known.
///
/// # Errors
/// 0A000 for values that would be rounded.
fn of_places(column: &ArrayRef, to: &DataType) -> Result<ArrayRef> {
    if column.data_type() == to {
        return Ok(Arc::clone(column));
    }
    let back = |cast: &ArrayRef| strict(cast, column.data_type());
    match strict(column, to) {
        Ok(cast) if back(&cast).is_ok_and(|back| back.to_data() == column.to_data()) => Ok(cast),
        _ => Err(Error::unsupported("a parameter has more digits than the type of its place")
            .with_detail("The client was told the type before it sent the value.")
            .with_hint("CAST the parameter: $1::numeric.")),
    }
}

/// Returns whether a type is another than the promised one, which holds all its values as they are.
fn widens(found: &DataType, promised: &DataType) -> bool {
    use DataType::{Binary, BinaryView, Decimal128, LargeBinary, LargeUtf8, Utf8, Utf8View};
    match (found, promised) {
        (Utf8 | LargeUtf8 | Utf8View, Utf8 | LargeUtf8 | Utf8View)
        | (Binary | LargeBinary | BinaryView, Binary | LargeBinary | BinaryView) => {
            found != promised
        }
        (Decimal128(precision, scale), Decimal128(wider, longer)) => {
            found != promised
                && longer >= scale
                && i16::from(*wider) - i16::from(*longer)
                    >= i16::from(*precision) - i16::from(*scale)
        }
        _ => false,
    }
}

/// What a plan read and spilled.
#[derive(Debug, Default)]
pub(crate) struct Figures {
    /// Rows and bytes by catalog.
    pub(crate) sources: BTreeMap<String, (u64, u64)>,
    /// Bytes by catalog that were read under policies; how many would tell the user of hidden rows.
    hidden: BTreeMap<String, u64>,
    pub(crate) spilled_bytes: u64,
    pub(crate) written_rows: u64,
    pub(crate) written_bytes: u64,
}

pub(crate) fn figures(engine: &Engine, plan: &Arc<dyn ExecutionPlan>) -> Figures {
    let mut found = Figures::default();
    collect(engine, plan, false, &mut found);
    found
}

fn collect(engine: &Engine, plan: &Arc<dyn ExecutionPlan>, hidden: bool, found: &mut Figures) {
    let hidden = hidden || is_guard(plan);
    if let Some(metrics) = plan.metrics() {
        found.spilled_bytes += metrics.spilled_bytes().unwrap_or_default() as u64;
        let sum = |name: &str| metrics.sum_by_name(name).map_or(0, |value| value.as_usize()) as u64;
        found.written_rows += sum("rows_written");
        found.written_bytes += sum("bytes_written");
        let rows = metrics.output_rows().unwrap_or_default() as u64;
        let source = if let Some(scan) = plan.downcast_ref::<RemoteScanExec>() {
            Some((scan.catalog().to_owned(), sum("bytes_received")))
        } else {
            file_catalog(engine, plan).map(|catalog| (catalog, sum("bytes_scanned")))
        };
        match source {
            Some((catalog, bytes)) if hidden => {
                *found.hidden.entry(catalog).or_default() += bytes;
            }
            Some((catalog, bytes)) => {
                let entry = found.sources.entry(catalog).or_default();
                entry.0 += rows;
                entry.1 += bytes;
            }
            None => {}
        }
    }
    for child in plan.children() {
        collect(engine, child, hidden, found);
    }
}

/// Tells by the private store URL (`c3+s3://bucket/`) which catalog a file scan reads.
pub(crate) fn file_catalog(engine: &Engine, plan: &Arc<dyn ExecutionPlan>) -> Option<String> {
    let scan = plan.downcast_ref::<DataSourceExec>()?;
    let config = scan.data_source().downcast_ref::<FileScanConfig>()?;
    let url = config.object_store_url.as_str();
    let instance = url.split('+').next()?;
    let all = engine.inner.catalogs.every();
    all.iter().find(|attached| attached.instance == instance).map(|attached| attached.name.clone())
}

fn past_query(query: &Query, state: State, error: Option<&Error>, figures: &Figures) -> PastQuery {
    let signed = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
    let millis = |time: Duration| i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
    let sources = figures
        .sources
        .iter()
        .map(|(catalog, (rows, bytes))| {
            serde_json::json!({ "catalog": catalog, "rows": rows, "bytes": bytes })
        })
        .collect::<Vec<_>>();
    PastQuery {
        query_id: signed(query.id),
        user_name: query.user.clone(),
        protocol: query.protocol.name().to_owned(),
        session_id: i64::from(query.session_id),
        sql: query.sql.clone(),
        state: state.name().to_owned(),
        sqlstate: error.map(|error| error.sqlstate().to_owned()),
        error: error.map(|error| without_passwords(&error.to_string()).into_owned()),
        started_us: micros(query.started),
        queued_ms: millis(query.queued()),
        elapsed_ms: millis(query.clock.elapsed()),
        n_rows: signed(query.n_rows.load(Ordering::Relaxed)),
        source_rows: signed(figures.sources.values().map(|(rows, _)| rows).sum()),
        source_bytes: signed(figures.sources.values().map(|(_, bytes)| bytes).sum()),
        sources: serde_json::Value::Array(sources).to_string(),
        memory_peak_bytes: signed(query.pool.peak_bytes() as u64),
        spilled_bytes: signed(figures.spilled_bytes),
    }
}
