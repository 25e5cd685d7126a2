//! The rows of one stream: encoded in a task of their own, as statements or as lines of a file, sent one after the other.

use std::sync::Arc;

use arrow::datatypes::DataType;
use bytes::Bytes;
use futures::{StreamExt, stream};
use maru_connect::{BatchStream, WriteMode, Written, batch_stream};
use maru_core::{Error, ErrorKind, Result};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::Plan;
use super::bulk::pieces;
use super::failure::Refused;
use super::literal::{self, Style};
use super::session::Session;
use super::target::Column;
use crate::mysql::types::Kind;
use crate::outgoing::columns_as;
use crate::values::Misfit;
use crate::write::misfit;

/// Bytes of one statement, about. Servers take 16 MiB, or 1 MiB at the least if somebody set it so; one row may be longer.
const STATEMENT_BYTES: usize = 512 * 1024;
/// Bytes of lines that are handed over at once, and of one file, about: a server tells what it does not take at the end of a file.
const LINES_BYTES: usize = 256 * 1024;
const FILE_BYTES: u64 = 32 * 1024 * 1024;
/// Chunks that wait to be sent.
const WAITING: usize = 3;

/// A statement, or some lines.
struct Chunk {
    text: String,
    n_rows: u64,
}

/// Writes all of `rows`; begins the transaction with the first of them.
pub(super) async fn write(
    plan: &Arc<Plan>,
    session: &mut Option<Session>,
    mut rows: BatchStream,
) -> Result<Written> {
    let Some(first) = rows.next().await else { return Ok(Written::default()) };
    let rows = batch_stream(stream::iter([first]).chain(rows));
    let session = match session {
        Some(session) => session,
        None => session.insert(Session::begin(plan).await?),
    };
    if session.already {
        return Ok(Written::default());
    }
    let style = if session.bulk.is_some() { Style::Field } else { Style::Literal };
    let (sender, mut chunks) = mpsc::channel(WAITING);
    // Ends with this future.
    let mut encoding = JoinSet::new();
    let encoder = Encoder::new(plan, style);
    encoding.spawn(async move { encoder.run(rows, sender).await });
    let written = match style {
        Style::Field => load(plan, session, &mut chunks).await?,
        Style::Literal => insert(plan, session, &mut chunks).await?,
    };
    match encoding.join_next().await {
        Some(Ok(result)) => result.map(|()| written),
        _ => Err(Error::internal("the encoder of rows to write ended without a word")),
    }
}

async fn insert(
    plan: &Plan,
    session: &mut Session,
    chunks: &mut mpsc::Receiver<Chunk>,
) -> Result<Written> {
    let mut written = Written::default();
    while let Some(Chunk { text, n_rows }) = chunks.recv().await {
        let before = session.n_rows;
        let n_bytes = text.len() as u64;
        let done = session.execute(plan, text).await?;
        done.map_err(|refused| told(plan, refused, before))?;
        session.n_rows += n_rows;
        written.n_rows += n_rows;
        written.n_bytes += n_bytes;
    }
    Ok(written)
}

async fn load(
    plan: &Plan,
    session: &mut Session,
    chunks: &mut mpsc::Receiver<Chunk>,
) -> Result<Written> {
    let mut written = Written::default();
    let mut next = chunks.recv().await;
    while let Some(first) = next.take() {
        let before = session.n_rows;
        let bulk = session.bulk.as_mut().ok_or_else(|| Error::internal("no connection"))?;
        let (to_server, from_here) = mpsc::channel(1);
        let feed = feed(first, chunks, to_server);
        let (taken, (sent, rest)) = tokio::join!(bulk.load(plan, from_here), feed);
        let taken = taken.map_err(|refused| told(plan, refused, before))?;
        if taken != sent.n_rows {
            return Err(Error::new(
                ErrorKind::RemoteFailed,
                format!("MySQL took {taken} of {} rows without a word", sent.n_rows),
            ));
        }
        next = rest;
        session.n_rows += sent.n_rows;
        written.n_rows += sent.n_rows;
        written.n_bytes += sent.n_bytes;
    }
    Ok(written)
}

/// Names the column as the target does, and tells text that is too long from a value that is none.
fn told(plan: &Plan, refused: Refused, before: u64) -> Error {
    let is_staged = plan.request.mode == WriteMode::Change;
    let found = refused.column().and_then(|name| match name.strip_prefix("c_") {
        Some(number) if is_staged => plan.target.columns.get(number.parse::<usize>().ok()?),
        _ => plan.target.columns.iter().find(|column| column.name == name),
    });
    let is_text = found.is_some_and(|column| {
        let sql_type = column.sql_type.to_lowercase();
        ["char", "text", "binary", "blob"].iter().any(|word| {
            let end = sql_type.find(['(', ' ']).unwrap_or(sql_type.len());
            sql_type[..end].ends_with(word)
        })
    });
    let is_cut = refused.is_cut() && is_text;
    let error = refused.error(before);
    if is_cut { error.with_kind(ErrorKind::TextTooLong) } else { error }
}

/// Hands the lines of one file over, and returns what begins the next one. A server that refuses does not ask for them: then the
/// other end is gone.
async fn feed(
    first: Chunk,
    chunks: &mut mpsc::Receiver<Chunk>,
    to_server: mpsc::Sender<Bytes>,
) -> (Written, Option<Chunk>) {
    let mut sent = Written::default();
    let mut next = Some(first);
    while let Some(Chunk { text, n_rows }) = next {
        sent.n_rows += n_rows;
        sent.n_bytes += text.len() as u64;
        for piece in pieces(text.into_bytes()) {
            if to_server.send(piece).await.is_err() {
                return (sent, None);
            }
        }
        // Whoever waits for rows that come slowly still hears of a server that has gone.
        next = tokio::select! {
            chunk = chunks.recv() => chunk,
            () = to_server.closed() => return (sent, None),
        };
        if sent.n_bytes >= FILE_BYTES {
            break;
        }
    }
    (sent, next)
}

struct Encoder {
    table: String,
    /// What stands before all rows, before, in and behind each.
    start: String,
    marks: [&'static str; 3],
    style: Style,
    columns: Vec<Column>,
    types: Vec<DataType>,
    n_rows: u64,
}

impl Encoder {
    fn new(plan: &Plan, style: Style) -> Self {
        let mut columns = plan.target.columns.clone();
        let mut start = plan.target.insert(&plan.filled());
        if plan.request.mode == WriteMode::Change {
            columns = plan.target.leading();
            columns.extend(plan.target.columns.iter().cloned());
            start = format!("INSERT INTO {} VALUES ", plan.filled());
        }
        let marks = match style {
            Style::Literal => ["(", ",", ")"],
            Style::Field => ["", "\t", "\n"],
        };
        if style == Style::Field {
            start.clear();
        }
        Self {
            table: plan.target.shown(),
            start,
            marks,
            style,
            types: columns.iter().map(Column::arrow).collect(),
            columns,
            n_rows: 0,
        }
    }

    async fn run(mut self, mut rows: BatchStream, to: mpsc::Sender<Chunk>) -> Result<()> {
        let is_statement = self.style == Style::Literal;
        let most = if is_statement { STATEMENT_BYTES } else { LINES_BYTES };
        let [before, between, behind] = self.marks;
        let mut text = self.start.clone();
        let mut n_rows = 0;
        while let Some(batch) = rows.next().await {
            let batch = batch?;
            let arrays = columns_as(&batch, &self.table, &self.types, self.n_rows)?;
            for row in 0..batch.num_rows() {
                self.n_rows += 1;
                text.push_str(if is_statement && n_rows > 0 { "," } else { "" });
                text.push_str(before);
                for (index, (array, column)) in arrays.iter().zip(&self.columns).enumerate() {
                    if index > 0 {
                        text.push_str(between);
                    }
                    let from = text.len();
                    let value = literal::write(array, &column.mapping, row, self.style, &mut text)?;
                    value
                        .and_then(|()| column.keeps(&text[from..]))
                        .map_err(|what| misfit(what, &self.table, &column.name, self.n_rows))?;
                }
                text.push_str(behind);
                n_rows += 1;
                if text.len() >= most {
                    let text = std::mem::replace(&mut text, self.start.clone());
                    if to.send(Chunk { text, n_rows }).await.is_err() {
                        return Ok(());
                    }
                    n_rows = 0;
                }
            }
        }
        if n_rows > 0 {
            let _ = to.send(Chunk { text, n_rows }).await;
        }
        Ok(())
    }
}

impl Column {
    /// MySQL would round a time to the places that its column has.
    fn keeps(&self, written: &str) -> Result<(), Misfit> {
        let is_time = matches!(self.mapping.kind, Kind::Time | Kind::Datetime | Kind::Timestamp);
        if !is_time || self.places >= 6 {
            return Ok(());
        }
        let Some((_, fraction)) = written.trim_end_matches('\'').rsplit_once('.') else {
            return Ok(());
        };
        if fraction.trim_end_matches('0').len() > usize::from(self.places) {
            return Err(Misfit::datetime(format!(
                "has more than {} places after the seconds, which is what its column keeps",
                self.places
            ))
            .with_hint("Cut them off with date_trunc('second', …)."));
        }
        Ok(())
    }
}
