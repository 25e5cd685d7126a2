//! Cursors of `DECLARE`: a query that is read as it is fetched, forwards only.
//!
//! A cursor holds its place among the running statements, its connections and its memory until it is closed or its
//! transaction ends; nothing is kept of the rows that have been given.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

use arrow::array::RecordBatch;
use arrow::datatypes::{Schema, SchemaRef};
use datafusion::common::ScalarValue;
use futures::StreamExt;
use maru_core::{Error, ErrorKind, Result};
use maru_sql::{DeclareCursor, Direction, Fetch};
use tokio::sync::{Mutex, OwnedMutexGuard};

use super::{Prepared, Session};
use crate::engine::query::{Query, State};
use crate::engine::run::{Ending, deadline, timed_out};
use crate::output::{Body, Output, Rows};

/// An open cursor.
#[derive(Debug)]
pub struct Cursor {
    pub name: String,
    /// The text of `DECLARE`.
    pub text: String,
    pub schema: SchemaRef,
    /// Simple queries get its rows in binary.
    pub binary: bool,
    pub hold: bool,
    pub opened: SystemTime,
    /// Whether the transaction that opened it has not ended.
    young: AtomicBool,
    /// Savepoints there were when it was opened.
    savepoints: usize,
    place: Arc<Mutex<Place>>,
}

/// How far a cursor has been read.
#[derive(Debug)]
struct Place {
    rows: Option<Rows>,
    batch: RecordBatch,
    /// The next row of the batch.
    next: usize,
    /// Rows given so far; one more at the end.
    position: u64,
    ended: bool,
}

impl Place {
    /// Reads up to `limit` rows, at most a batch; none at the end.
    async fn read(&mut self, limit: u64) -> Result<Option<RecordBatch>> {
        while self.next == self.batch.num_rows() {
            let Some(rows) = &mut self.rows else {
                self.ended = true;
                return Ok(None);
            };
            match rows.stream.next().await {
                Some(batch) => {
                    self.batch = batch?;
                    self.next = 0;
                }
                None => {
                    self.rows = None;
                    self.ended = true;
                    return Ok(None);
                }
            }
        }
        let left = self.batch.num_rows() - self.next;
        let taken = usize::try_from(limit).unwrap_or(usize::MAX).min(left);
        let batch = self.batch.slice(self.next, taken);
        self.next += taken;
        self.position += taken as u64;
        Ok(Some(batch))
    }

    /// Whether a row has been given and is the current one.
    fn is_on_row(&self) -> bool {
        self.position > 0 && !self.ended
    }
}

impl Session {
    /// Returns the cursor of this name.
    ///
    /// # Errors
    /// 34000.
    pub fn cursor(&self, name: &str) -> Result<Arc<Cursor>> {
        self.cursors.lock().get(name).cloned().ok_or_else(|| {
            Error::new(ErrorKind::UndefinedCursor, format!("cursor \"{name}\" does not exist"))
        })
    }

    /// Returns all cursors, by name.
    pub(crate) fn all_cursors(&self) -> Vec<Arc<Cursor>> {
        self.cursors.lock().values().cloned().collect()
    }

    /// Closes one cursor, or all; returns whether there was one.
    pub fn close_cursor(&self, name: Option<&str>) -> bool {
        let mut cursors = self.cursors.lock();
        match name {
            Some(name) => cursors.remove(name).is_some(),
            None => {
                cursors.clear();
                true
            }
        }
    }

    /// Closes what does not outlive its transaction.
    pub(super) fn end_cursors(&self, committed: bool) {
        self.cursors.lock().retain(|_, cursor| {
            let young = cursor.young.swap(false, Ordering::Relaxed);
            cursor.hold && (committed || !young)
        });
    }

    /// Closes what was opened after so many savepoints.
    pub(super) fn end_cursors_since(&self, savepoints: usize) {
        self.cursors.lock().retain(|_, cursor| {
            !cursor.young.load(Ordering::Relaxed) || cursor.savepoints < savepoints
        });
    }

    /// Opens a cursor.
    ///
    /// # Errors
    /// 25P01 outside of a transaction, unless it is to be held; 42P03 if the name is taken; 0A000 for one that scrolls.
    pub(super) async fn declare(
        self: &Arc<Self>,
        declare: &DeclareCursor,
        inner: &Prepared,
        text: &str,
        parameters: Vec<ScalarValue>,
    ) -> Result<Output> {
        if !declare.hold && !self.in_transaction() {
            let message = "DECLARE CURSOR can only be used in transaction blocks";
            return Err(Error::new(ErrorKind::NoTransaction, message)
                .with_hint("BEGIN first, or declare it WITH HOLD."));
        }
        if declare.scroll {
            return Err(Error::unsupported("cursors do not scroll")
                .with_detail("Rows that have been given are not kept.")
                .with_hint("Declare it with NO SCROLL, and read forwards."));
        }
        let taken = || {
            let message = format!("cursor \"{}\" already exists", declare.name);
            Error::new(ErrorKind::DuplicateCursor, message)
        };
        if self.cursors.lock().contains_key(&declare.name) {
            return Err(taken());
        }
        let output = self.execute_kept(inner.clone(), parameters).await?;
        let Body::Rows(rows) = output.body else {
            return Err(Error::internal("a cursor's query gave no rows"));
        };
        let schema = Arc::clone(&rows.schema);
        let place = Place {
            rows: Some(rows),
            batch: RecordBatch::new_empty(Arc::clone(&schema)),
            next: 0,
            position: 0,
            ended: false,
        };
        let cursor = Cursor {
            name: declare.name.clone(),
            text: text.to_owned(),
            schema,
            binary: declare.binary,
            hold: declare.hold,
            opened: SystemTime::now(),
            young: AtomicBool::new(self.in_transaction()),
            savepoints: self.savepoints(),
            place: Arc::new(Mutex::new(place)),
        };
        self.cursors.lock().insert(declare.name.clone(), Arc::new(cursor));
        Ok(Output::command("DECLARE CURSOR"))
    }

    /// Reads on in a cursor: the rows for `FETCH`, their number for `MOVE`.
    ///
    /// # Errors
    /// 34000 for an unknown name; 55000 for what would have to go back.
    pub(super) async fn fetch(
        self: &Arc<Self>,
        fetch: &Fetch,
        query: Arc<Query>,
        ending: Ending,
    ) -> Result<Output> {
        let start = async {
            let cursor = self.cursor(&fetch.name)?;
            // A portal that has been given some rows of an earlier FETCH may hold it.
            let mut place = Arc::clone(&cursor.place).try_lock_owned().map_err(|_| {
                let message = format!("cursor \"{}\" is already active", fetch.name);
                Error::new(ErrorKind::WrongState, message)
            })?;
            let count = approach(&mut place, fetch.direction).await?;
            Ok((cursor, place, count))
        };
        let (cursor, mut place, count) = match start.await {
            Ok(found) => found,
            Err(error) => {
                ending.fail(&error);
                return Err(error);
            }
        };
        query.set_state(State::Running);
        if fetch.moves {
            let moved = skip(&mut place, count).await;
            return match moved {
                Ok(n_rows) => {
                    ending.succeed();
                    Ok(Output::command(format!("MOVE {n_rows}")))
                }
                Err(error) => {
                    ending.fail(&error);
                    Err(error)
                }
            };
        }
        let timeout = self.statement_timeout();
        let schema = Arc::clone(&cursor.schema);
        let id = query.id;
        let reader = Reader { place, left: count, ending: Some(ending), query, timeout };
        let stream = futures::stream::unfold(reader, |mut reader| async move {
            let item = reader.next().await?;
            Some((item, reader))
        });
        let rows = Rows { query_id: id, tag: "FETCH", schema, stream: Box::pin(stream) };
        Ok(Output::rows(rows))
    }
}

/// Goes to where the rows that are meant begin; returns how many those are at most.
async fn approach(place: &mut OwnedMutexGuard<Place>, direction: Direction) -> Result<u64> {
    let backwards = || {
        Error::new(ErrorKind::WrongState, "cursor can only scan forward")
            .with_hint("Maru's cursors are NO SCROLL: declare it again to read from the start.")
    };
    let current = i64::try_from(place.position).unwrap_or(i64::MAX);
    let target = match direction {
        Direction::ForwardAll => return Ok(u64::MAX),
        Direction::Forward(0) if !place.is_on_row() => return Ok(0),
        Direction::Forward(count) if count > 0 => return Ok(count.unsigned_abs()),
        Direction::Forward(_) | Direction::Last | Direction::BackwardAll => return Err(backwards()),
        Direction::Relative(0) if !place.is_on_row() => return Ok(0),
        Direction::Relative(count) if count > 0 => current.saturating_add(count),
        Direction::Absolute(number) if number > current => number,
        Direction::Absolute(0) if place.position == 0 => return Ok(0),
        Direction::Relative(_) | Direction::Absolute(_) => return Err(backwards()),
    };
    skip(place, (target - 1 - current).unsigned_abs()).await?;
    Ok(1)
}

/// Reads rows and drops them; returns how many there were.
async fn skip(place: &mut OwnedMutexGuard<Place>, count: u64) -> Result<u64> {
    let mut left = count;
    while left > 0 {
        let Some(batch) = place.read(left).await? else { break };
        left -= batch.num_rows() as u64;
    }
    Ok(count - left)
}

/// The rows of one `FETCH`.
struct Reader {
    place: OwnedMutexGuard<Place>,
    left: u64,
    ending: Option<Ending>,
    query: Arc<Query>,
    timeout: std::time::Duration,
}

impl Reader {
    async fn next(&mut self) -> Option<Result<RecordBatch>> {
        self.ending.as_ref()?;
        if self.left == 0 {
            self.succeed();
            return None;
        }
        let item = tokio::select! {
            biased;
            () = self.query.token.cancelled() => Err(self.query.why_cancelled()),
            () = deadline(self.query.clock.into(), self.timeout) => Err(timed_out(self.timeout)),
            item = self.place.read(self.left) => item,
        };
        match item {
            Ok(Some(batch)) => {
                self.left -= batch.num_rows() as u64;
                self.query.n_rows.fetch_add(batch.num_rows() as u64, Ordering::Relaxed);
                Some(Ok(batch))
            }
            Ok(None) => {
                self.succeed();
                None
            }
            Err(error) => {
                if let Some(ending) = self.ending.take() {
                    ending.fail(&error);
                }
                Some(Err(error))
            }
        }
    }

    fn succeed(&mut self) {
        if let Some(ending) = self.ending.take() {
            ending.succeed();
        }
    }
}

/// Returns the columns that a client is told of a `FETCH`.
pub(super) fn schema_of(session: &Session, fetch: &Fetch) -> Option<SchemaRef> {
    if fetch.moves {
        return None;
    }
    let known = session.cursor(&fetch.name).ok();
    Some(known.map_or_else(|| Arc::new(Schema::empty()), |cursor| Arc::clone(&cursor.schema)))
}
