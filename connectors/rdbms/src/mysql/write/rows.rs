//! The rows of one stream: written as statements in a task of their own, sent one after the other.

use std::sync::Arc;

use arrow::datatypes::DataType;
use futures::{StreamExt, stream};
use maru_connect::{BatchStream, WriteMode, Written, batch_stream};
use maru_core::{Error, Result};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::session::Session;
use super::target::Column;
use super::{Plan, literal};
use crate::mysql::types::Kind;
use crate::outgoing::columns_as;
use crate::values::Misfit;
use crate::write::misfit;

/// Bytes of one statement, about. Servers take 16 MiB, or 1 MiB at the least if somebody set it so; one row may be longer.
const STATEMENT_BYTES: usize = 512 * 1024;
/// Statements that wait to be sent.
const WAITING: usize = 3;

struct Statement {
    sql: String,
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
    let (sender, mut statements) = mpsc::channel(WAITING);
    // Ends with this future.
    let mut encoding = JoinSet::new();
    let encoder = Encoder::new(plan);
    encoding.spawn(async move { encoder.run(rows, sender).await });
    let mut written = Written::default();
    while let Some(Statement { sql, n_rows }) = statements.recv().await {
        let before = session.n_rows;
        let n_bytes = sql.len() as u64;
        let done = session.execute(plan, sql).await?;
        done.map_err(|refused| refused.error(before))?;
        session.n_rows += n_rows;
        written.n_rows += n_rows;
        written.n_bytes += n_bytes;
    }
    match encoding.join_next().await {
        Some(Ok(result)) => result.map(|()| written),
        _ => Err(Error::internal("the encoder of rows to write ended without a word")),
    }
}

struct Encoder {
    table: String,
    /// What a statement begins with.
    start: String,
    columns: Vec<Column>,
    types: Vec<DataType>,
    n_rows: u64,
}

impl Encoder {
    fn new(plan: &Plan) -> Self {
        let mut columns = plan.target.columns.clone();
        let mut start = plan.target.insert(&plan.filled());
        if plan.request.mode == WriteMode::Change {
            columns = plan.target.leading();
            columns.extend(plan.target.columns.iter().cloned());
            start = format!("INSERT INTO {} VALUES ", plan.filled());
        }
        Self {
            table: plan.target.shown(),
            start,
            types: columns.iter().map(Column::arrow).collect(),
            columns,
            n_rows: 0,
        }
    }

    async fn run(mut self, mut rows: BatchStream, to: mpsc::Sender<Statement>) -> Result<()> {
        let mut sql = self.start.clone();
        let mut n_rows = 0;
        while let Some(batch) = rows.next().await {
            let batch = batch?;
            let arrays = columns_as(&batch, &self.table, &self.types, self.n_rows)?;
            for row in 0..batch.num_rows() {
                self.n_rows += 1;
                sql.push_str(if n_rows == 0 { "(" } else { ",(" });
                for (index, (array, column)) in arrays.iter().zip(&self.columns).enumerate() {
                    if index > 0 {
                        sql.push(',');
                    }
                    let from = sql.len();
                    let value = literal::write(array, &column.mapping, row, &mut sql)?;
                    value
                        .and_then(|()| column.keeps(&sql[from..]))
                        .map_err(|what| misfit(what, &self.table, &column.name, self.n_rows))?;
                }
                sql.push(')');
                n_rows += 1;
                if sql.len() >= STATEMENT_BYTES {
                    let sql = std::mem::replace(&mut sql, self.start.clone());
                    if to.send(Statement { sql, n_rows }).await.is_err() {
                        return Ok(());
                    }
                    n_rows = 0;
                }
            }
        }
        if n_rows > 0 {
            let _ = to.send(Statement { sql, n_rows }).await;
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
