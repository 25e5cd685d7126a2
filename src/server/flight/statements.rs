//! What a session has prepared, and results on their way to it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::ipc::CompressionType;
use arrow::ipc::writer::IpcWriteOptions;
use arrow_flight::FlightData;
use arrow_flight::encode::{DictionaryHandling, FlightDataEncoderBuilder};
use arrow_flight::error::FlightError;
use bytes::Bytes;
use datafusion::common::ScalarValue;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use maru_core::{Error, ErrorKind, Result, limits};
use maru_sql::MaruDialect;
use maru_sql::tokenizer::{Token, Tokenizer};
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;
use tonic::Status;

use super::endpoints::{Handed, Run};
use super::given::plain;
use super::schema::{Dictionaries, convert, outgoing, outgoing_type};
use super::sessions::FlightSession;
use super::status::status;
use crate::output::{Body, Output};
use crate::session::{Prepared, Session, StatementText};

/// Tickets of one result at most.
const TICKETS_MAX: usize = 64;

/// A statement the server holds for its client, known by a handle.
#[derive(Debug)]
pub(super) struct Held {
    pub handle: Bytes,
    pub prepared: Prepared,
    /// What the client is told and sent; without columns for a command.
    pub schema: SchemaRef,
    /// Rows of parameters bound last, of the statement's types.
    parameters: Mutex<Vec<RecordBatch>>,
    /// Ends what runs under this handle.
    cancel: Mutex<CancellationToken>,
    /// The run that tickets share, if there are several.
    run: tokio::sync::Mutex<Option<Run>>,
    /// What a write has told of its rows, until its ticket is used.
    told: Mutex<Option<Vec<Output>>>,
}

/// The statements of one session.
#[derive(Debug)]
pub(super) struct Statements {
    /// Tells its handles from those of other sessions.
    of: u128,
    held: Mutex<BTreeMap<u64, Arc<Held>>>,
    next: AtomicU64,
}

impl Default for Statements {
    fn default() -> Self {
        Self { of: rand::random(), held: Mutex::default(), next: AtomicU64::default() }
    }
}

impl Statements {
    /// Keeps a statement. The oldest goes if there are too many: clients that never close theirs do not fill memory.
    fn keep(&self, prepared: Prepared, dictionaries: Dictionaries) -> Arc<Held> {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let schema = prepared
            .schema
            .as_ref()
            .map_or_else(|| Arc::new(Schema::empty()), |schema| outgoing(schema, dictionaries));
        let statement = Arc::new(Held {
            handle: Bytes::from(format!("statement {:032x} {id}", self.of)),
            prepared,
            schema,
            parameters: Mutex::new(Vec::new()),
            cancel: Mutex::new(CancellationToken::new()),
            run: tokio::sync::Mutex::new(None),
            told: Mutex::new(None),
        });
        let mut held = self.held.lock();
        held.insert(id, statement.clone());
        if held.len() > limits::FLIGHT_STATEMENTS_MAX {
            held.pop_first();
        }
        statement
    }

    fn id(&self, handle: &[u8]) -> Option<u64> {
        let text = std::str::from_utf8(handle).ok()?.strip_prefix("statement ")?;
        let (of, id) = text.split(" ticket ").next()?.split_once(' ')?;
        (u128::from_str_radix(of, 16).ok()? == self.of).then(|| id.parse().ok())?
    }

    /// Returns the number of the ticket and of how many, that a handle of [`Held::tickets`] says.
    pub(super) fn ticket(handle: &[u8]) -> Option<(usize, usize)> {
        let text = std::str::from_utf8(handle).ok()?;
        let (ticket, of) = text.split_once(" ticket ")?.1.split_once(" of ")?;
        let (ticket, of) = (ticket.parse().ok()?, of.parse().ok()?);
        (ticket < of && of <= TICKETS_MAX).then_some((ticket, of))
    }

    /// # Errors
    /// 42704 for a handle that was closed, has expired, or is of another session.
    pub(super) fn get(&self, handle: &[u8]) -> Result<Arc<Held>> {
        self.id(handle).and_then(|id| self.held.lock().get(&id).cloned()).ok_or_else(|| {
            Error::new(ErrorKind::UndefinedObject, "the prepared statement does not exist")
                .with_hint("It was closed or has expired. Prepare it again.")
        })
    }

    pub(super) fn close(&self, handle: &[u8]) {
        if let Some(id) = self.id(handle) {
            self.held.lock().remove(&id);
        }
    }
}

impl Held {
    /// Returns the handles of the tickets that the rows are handed out by: as many as the session asks for, if the rows are in
    /// no order and come from tables; or one.
    pub(super) fn tickets(&self, session: &FlightSession) -> Vec<Bytes> {
        let asked = session.session.setting("flight_endpoints");
        let asked = asked.and_then(|n| n.parse::<usize>().ok()).unwrap_or(1).min(TICKETS_MAX);
        let writes = self.prepared.writes();
        if asked <= 1 || writes || !self.prepared.is_large_and_unordered() {
            return vec![self.handle.clone()];
        }
        let own = String::from_utf8_lossy(&self.handle);
        (0..asked).map(|n| Bytes::from(format!("{own} ticket {n} of {asked}"))).collect()
    }

    /// The schema of the parameters, `$1` first; text where the statement does not tell a type.
    pub(super) fn parameter_schema(&self) -> Schema {
        let fields = self.prepared.parameters.iter().enumerate().map(|(i, data_type)| {
            let data_type = data_type.as_ref().map_or(DataType::Utf8, outgoing_type);
            Field::new(format!("${}", i + 1), data_type, true)
        });
        Schema::new(fields.collect::<Vec<_>>())
    }

    /// Sets the parameters of the next run: each row of the batches is one run.
    ///
    /// # Errors
    /// 08P01 for a wrong number of columns; 22P02, 22003 or 42846 for values that do not fit.
    pub(super) fn bind(&self, batches: &[RecordBatch]) -> Result<()> {
        let types = &self.prepared.parameters;
        let options = CastOptions { safe: false, ..CastOptions::default() };
        let mut bound = Vec::new();
        for batch in batches {
            if batch.num_columns() != types.len() {
                return Err(Error::new(
                    ErrorKind::ProtocolViolation,
                    format!(
                        "{} parameters were bound but the statement has {}",
                        batch.num_columns(),
                        types.len()
                    ),
                ));
            }
            let batch = plain(batch.clone())?;
            let columns =
                batch.columns().iter().zip(types).map(|(column, data_type)| match data_type {
                    Some(to) if to != column.data_type() => {
                        cast_with_options(column, to, &options).map_err(Error::from)
                    }
                    _ => Ok(Arc::clone(column)),
                });
            let columns = columns.collect::<Result<Vec<_>>>()?;
            let fields = columns.iter().enumerate().map(|(i, column)| {
                Field::new(format!("${}", i + 1), column.data_type().clone(), true)
            });
            let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
            let rows = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
            bound.push(RecordBatch::try_new_with_options(schema, columns, &rows)?);
        }
        *self.parameters.lock() = bound;
        Ok(())
    }

    /// Returns the values of each run.
    ///
    /// # Errors
    /// Those of values that there is no scalar of.
    fn runs(&self) -> Result<Vec<Vec<ScalarValue>>> {
        if self.prepared.parameters.is_empty() {
            return Ok(vec![Vec::new()]);
        }
        let mut runs = Vec::new();
        for batch in self.parameters.lock().iter() {
            for row in 0..batch.num_rows() {
                let values = batch.columns().iter().map(|c| ScalarValue::try_from_array(c, row));
                runs.push(values.collect::<Result<Vec<_>, _>>()?);
            }
        }
        Ok(runs)
    }

    /// Returns the bound batches, if they hold several rows of the same types.
    fn several(&self) -> Option<Vec<RecordBatch>> {
        let bound = self.parameters.lock();
        let schema = bound.first()?.schema();
        let n_rows = bound.iter().map(RecordBatch::num_rows).sum::<usize>();
        let alike = bound.iter().all(|batch| batch.schema() == schema);
        (n_rows > 1 && alike && !schema.fields().is_empty()).then(|| bound.clone())
    }

    /// Ends what runs under this handle. Returns whether it was still to be used.
    pub(super) fn cancel(&self) {
        self.cancel.lock().cancel();
    }

    /// Cancelling ends one run, not the statement.
    fn token(&self) -> CancellationToken {
        let mut token = self.cancel.lock();
        if token.is_cancelled() {
            *token = CancellationToken::new();
        }
        token.clone()
    }
}

/// Parses and plans one statement and keeps it.
pub(super) async fn prepare(session: &FlightSession, sql: &str) -> Result<Arc<Held>> {
    let mut texts = Session::split(sql)?.into_iter();
    let mut text =
        texts.next().ok_or_else(|| Error::new(ErrorKind::Syntax, "the statement is empty"))?;
    if let Some(second) = texts.next() {
        return Err(Error::new(ErrorKind::Syntax, "more than one statement in one text")
            .with_position(second.offset + 1)
            .with_hint("Flight SQL runs one statement at a time."));
    }
    if let Some(numbered) = numbered(&text.text) {
        text.text = numbered;
    }
    let prepared = session.session.prepare(&text, &[]).await?;
    Ok(session.statements.keep(prepared, dictionaries(session)))
}

/// Writes `$1`, `$2`, … for the question marks that JDBC has for parameters; `None` if there are none, or numbers as well.
fn numbered(sql: &str) -> Option<String> {
    if !sql.contains('?') {
        return None;
    }
    let tokens = Tokenizer::new(&MaruDialect, sql).tokenize().ok()?;
    if tokens.iter().any(|token| matches!(token, Token::Placeholder(_))) {
        return None;
    }
    let mut count = 0;
    let texts = tokens.iter().map(|token| match token {
        Token::Question => {
            count += 1;
            format!("${count}")
        }
        other => other.to_string(),
    });
    let text = texts.collect::<String>();
    (count > 0).then_some(text)
}

/// Runs a command to its end and returns the number of rows it changed, -1 for a query, whose rows are not counted. A command that
/// changes no rows changes 0: the JDBC driver takes -1 for a query and runs it again.
pub(super) async fn run_command(session: &Arc<FlightSession>, held: &Held) -> Result<i64> {
    let _reading = session.reading();
    if let Some(batches) = held.several()
        && let Some(schema) = batches.first().map(RecordBatch::schema)
        && let Some((prepared, incoming)) = session.session.batched(&held.prepared, &schema).await?
    {
        incoming.give(futures::stream::iter(batches.into_iter().map(Ok)).boxed());
        let token = held.token();
        let output = tokio::select! {
            biased;
            output = session.session.execute(&prepared, Vec::new()) => output?,
            () = token.cancelled() => return Err(Error::cancelled()),
        };
        return match output.body {
            Body::Command { tag } => Ok(number_in(&tag).unwrap_or(-1)),
            _ => Err(Error::internal("an INSERT gave rows")),
        };
    }
    let mut changed = None;
    for parameters in held.runs()? {
        let output = run(session, held, parameters).await?;
        match output.body {
            Body::Command { tag } => {
                changed = Some(changed.unwrap_or(0) + number_in(&tag).unwrap_or(0));
            }
            Body::Copy { .. } => return Err(copied()),
            // A query run as an update: its rows are read and dropped. Those that a write tells of are those that it changed.
            Body::Rows(mut rows) => {
                let mut n_rows = 0;
                while let Some(batch) = rows.stream.next().await {
                    n_rows += batch?.num_rows();
                }
                if held.prepared.writes() {
                    let n_rows = i64::try_from(n_rows).unwrap_or(i64::MAX);
                    changed = Some(changed.unwrap_or(0).saturating_add(n_rows));
                }
            }
        }
    }
    Ok(changed.unwrap_or(-1))
}

/// Runs a write to its end, once for each bound row of parameters, and keeps what its rows tell of for its ticket. Clients are not
/// bound to fetch it, and what was asked for is done whether they do or not, and once however often they do.
pub(super) async fn run_write(session: &Arc<FlightSession>, held: &Held) -> Result<()> {
    let _reading = session.reading();
    if !held.prepared.parameters.is_empty() && held.parameters.lock().is_empty() {
        return Err(not_bound());
    }
    *held.told.lock() = None;
    let mut told = Vec::new();
    for parameters in held.runs()? {
        told.push(run(session, held, parameters).await?);
    }
    *held.told.lock() = Some(told);
    Ok(())
}

/// Returns what the rows of a write tell of, once for each run.
///
/// # Errors
/// 55000 if it has been handed out, or the statement was not run.
pub(super) fn hand_out_told(
    session: &Arc<FlightSession>,
    held: &Held,
    abort: CancellationToken,
) -> Result<Batches> {
    let told = held.told.lock().take().ok_or_else(|| {
        Error::new(ErrorKind::WrongState, "the rows of this statement have been handed out")
            .with_hint("Ask for its FlightInfo: that runs the statement, and its ticket is good for one DoGet.")
    })?;
    let reading = session.reading();
    let schema = held.schema.clone();
    let stream = futures::stream::iter(told).flat_map(batches).map(move |batch| {
        let _held = &reading;
        convert(&batch?, &schema)
    });
    Ok(until_cancelled(stream.boxed(), held.token(), abort).boxed())
}

fn not_bound() -> Error {
    Error::new(ErrorKind::ProtocolViolation, "no parameters were bound")
}

/// Returns the number of rows in the tag of a command.
fn number_in(tag: &str) -> Option<i64> {
    tag.rsplit(' ').next()?.parse().ok()
}

async fn run(session: &FlightSession, held: &Held, parameters: Vec<ScalarValue>) -> Result<Output> {
    let token = held.token();
    tokio::select! {
        biased;
        output = session.session.execute(&held.prepared, parameters) => output,
        () = token.cancelled() => Err(Error::cancelled()),
    }
}

/// Returns what a ticket hands out: rows of the run that other tickets have begun, or else of its own.
pub(super) async fn run_shared(
    session: Arc<FlightSession>,
    held: Arc<Held>,
    (ticket, of): (usize, usize),
    abort: CancellationToken,
) -> Result<Handed, Status> {
    let mut run = held.run.lock().await;
    if let Some(joined) = run.as_mut().and_then(|run| run.join(ticket)) {
        return joined;
    }
    match run_query(session, Arc::clone(&held), abort).await {
        Ok(batches) => {
            let (begun, handed) = Run::begin(batches.map_err(status).boxed(), ticket, of);
            *run = Some(begun);
            Ok(handed)
        }
        Err(error) => {
            let error = status(error);
            *run = Some(Run::failed(error.clone(), ticket, of));
            Err(error)
        }
    }
}

type Batches = BoxStream<'static, Result<RecordBatch>>;

/// Runs a query, once for each bound row of parameters, and returns its rows as they come. Dropping the stream
/// cancels it.
pub(super) async fn run_query(
    session: Arc<FlightSession>,
    held: Arc<Held>,
    abort: CancellationToken,
) -> Result<Batches> {
    let reading = session.reading();
    let token = held.token();
    let mut runs = held.runs()?.into_iter();
    let Some(parameters) = runs.next() else {
        if !held.prepared.parameters.is_empty() && held.parameters.lock().is_empty() {
            return Err(not_bound());
        }
        return Ok(futures::stream::empty().boxed());
    };
    // The first run starts here, so that what is wrong with it is the answer to the call.
    let first = batches(run(&session, &held, parameters).await?);
    let schema = held.schema.clone();
    let rest = futures::stream::iter(runs)
        .then(move |parameters| {
            let (session, held) = (session.clone(), held.clone());
            async move { Ok::<_, Error>(batches(run(&session, &held, parameters).await?)) }
        })
        .try_flatten();
    let stream = first.chain(rest).map(move |batch| {
        let _held = &reading;
        convert(&batch?, &schema)
    });
    Ok(until_cancelled(stream.boxed(), token, abort).boxed())
}

fn batches(output: Output) -> Batches {
    match output.body {
        Body::Rows(rows) => rows.stream,
        Body::Command { .. } => futures::stream::empty().boxed(),
        Body::Copy { .. } => futures::stream::once(async { Err(copied()) }).boxed(),
    }
}

/// Ends a stream with an error when its client cancels it or the process stops.
fn until_cancelled(
    stream: Batches,
    token: CancellationToken,
    abort: CancellationToken,
) -> impl futures::Stream<Item = Result<RecordBatch>> {
    futures::stream::unfold(Some(stream), move |stream| {
        let (token, abort) = (token.clone(), abort.clone());
        async move {
            let mut stream = stream?;
            tokio::select! {
                biased;
                () = token.cancelled() => Some((Err(Error::cancelled()), None)),
                () = abort.cancelled() => {
                    let message = "terminating connection due to administrator command";
                    Some((Err(Error::new(ErrorKind::ShuttingDown, message)), None))
                }
                batch = stream.next() => match batch? {
                    Ok(batch) => Some((Ok(batch), Some(stream))),
                    Err(error) => Some((Err(error), None)),
                },
            }
        }
    })
}

/// Returns which columns of the session's results travel as dictionaries.
pub(super) fn dictionaries(session: &FlightSession) -> Dictionaries {
    match session.session.setting("flight_dictionaries").as_deref() {
        Some("keep") => Dictionaries::Keep,
        Some("text") => Dictionaries::Text,
        _ => Dictionaries::None,
    }
}

/// Returns how the session's rows are packed.
pub(super) fn packing(session: &FlightSession) -> Option<CompressionType> {
    match session.session.setting("flight_compression")?.as_str() {
        "lz4" => Some(CompressionType::LZ4_FRAME),
        "zstd" => Some(CompressionType::ZSTD),
        _ => None,
    }
}

/// Turns batches into Flight messages of a size that clients take.
pub(super) fn encode(
    schema: SchemaRef,
    batches: impl futures::Stream<Item = Result<RecordBatch, Status>> + Send + 'static,
    packing: Option<CompressionType>,
) -> BoxStream<'static, Result<FlightData, Status>> {
    let batches = batches.map_err(FlightError::from);
    let options = match IpcWriteOptions::default().try_with_compression(packing) {
        Ok(options) => options,
        Err(error) => {
            let error = status(Error::from(error));
            return futures::stream::once(async { Err(error) }).boxed();
        }
    };
    FlightDataEncoderBuilder::new()
        // Each batch has a dictionary of its own; a schema has some only for a client that asked for them.
        .with_dictionary_handling(DictionaryHandling::Resend)
        .with_schema(schema)
        .with_options(options)
        .build(batches)
        .map_err(|error| match error {
            FlightError::Tonic(status) => *status,
            error => status(Error::internal(error.to_string())),
        })
        .boxed()
}

/// Runs a statement of Maru's own and reads its rows.
pub(super) async fn rows(session: &FlightSession, sql: String) -> Result<Vec<RecordBatch>> {
    match session.session.run(&StatementText::one(sql)).await?.body {
        Body::Rows(rows) => rows.collect().await,
        Body::Command { .. } => Ok(Vec::new()),
        Body::Copy { .. } => Err(copied()),
    }
}

/// Sessions of this door are refused a COPY when it is prepared.
fn copied() -> Error {
    Error::internal("a COPY came to the wrong door")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn question_marks_are_numbered() {
        let text = "SELECT '?', \"a?\", ? + ? -- ?\nFROM t /* ? */ WHERE x = $$?$$";
        let shown = "SELECT '?', \"a?\", $1 + $2 -- ?\nFROM t /* ? */ WHERE x = $$?$$";
        assert_eq!(numbered(text).as_deref(), Some(shown));
        assert_eq!(numbered("SELECT '?'"), None);
        assert_eq!(numbered("SELECT ?, $1"), None);
        assert_eq!(numbered("SELECT a->'b?' FROM t"), None);
    }
}
