//! Several tickets for the rows of one run, so that a client can read them over several connections at once.
//!
//! A ticket does not stand for a part that was cut beforehand: whoever asks gets the next batch. So a slow reader holds nobody
//! up, nothing waits in memory for a reader who comes late or never, and a client that reads only the first ticket, or one
//! after the other, gets every row all the same. What it costs is the order, so that a result that has one gets one ticket.

use std::sync::{Arc, Weak};

use arrow::array::RecordBatch;
use futures::StreamExt;
use futures::stream::BoxStream;
use maru_core::Error;
use parking_lot::Mutex;
use tonic::Status;

use super::status::status;

/// Batches as a ticket hands them out.
pub(super) type Handed = BoxStream<'static, Result<RecordBatch, Status>>;

/// One run of a statement, as its tickets know it.
#[derive(Debug)]
pub(super) struct Run {
    /// Tickets that have been used; one that comes again asks for another run.
    used: Vec<bool>,
    rows: Weak<Rows>,
    end: Arc<End>,
}

/// How a run has ended, if it has.
type End = Mutex<Option<Result<(), Status>>>;

struct Rows {
    /// Held for as long as one batch takes to come, never while a client takes it.
    batches: tokio::sync::Mutex<Handed>,
    end: Arc<End>,
}

impl std::fmt::Debug for Rows {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Rows")
    }
}

impl Run {
    /// Begins a run by the ticket number `ticket` of `n_tickets`; returns its rows too.
    pub(super) fn begin(rows: Handed, ticket: usize, n_tickets: usize) -> (Self, Handed) {
        let end = Arc::new(Mutex::new(None));
        // Each reader asks until it hears of the end itself.
        let batches = tokio::sync::Mutex::new(rows.fuse().boxed());
        let rows = Arc::new(Rows { batches, end: Arc::clone(&end) });
        let mut run = Self { used: vec![false; n_tickets], rows: Arc::downgrade(&rows), end };
        run.use_up(ticket);
        (run, hand_out(rows))
    }

    /// A run that could not even begin: the other tickets are not to try again.
    pub(super) fn failed(error: Status, ticket: usize, n_tickets: usize) -> Self {
        let end = Arc::new(Mutex::new(Some(Err(error))));
        let mut run = Self { used: vec![false; n_tickets], rows: Weak::new(), end };
        run.use_up(ticket);
        run
    }

    /// Returns what another ticket of the run hands out; none if the ticket has been used.
    ///
    /// # Errors
    /// The run's own. 57014 if those who read it have all gone away before its end.
    pub(super) fn join(&mut self, ticket: usize) -> Option<Result<Handed, Status>> {
        if !self.use_up(ticket) {
            return None;
        }
        if let Some(end) = self.end.lock().clone() {
            return Some(end.map(|()| futures::stream::empty().boxed()));
        }
        Some(match self.rows.upgrade() {
            Some(rows) => Ok(hand_out(rows)),
            None => Err(status(Error::cancelled())),
        })
    }

    fn use_up(&mut self, ticket: usize) -> bool {
        match self.used.get_mut(ticket) {
            Some(used) => !std::mem::replace(used, true),
            None => false,
        }
    }
}

/// Hands out batches until there are no more. The run is cancelled when the last of those who read it drops its stream.
fn hand_out(rows: Arc<Rows>) -> Handed {
    let next = |rows: Option<Arc<Rows>>| async {
        let rows = rows?;
        let item = rows.batches.lock().await.next().await;
        let item = match item {
            Some(item) => item,
            // The end, or another reader has met the error.
            None => match rows.end.lock().get_or_insert(Ok(())).clone() {
                Ok(()) => return None,
                Err(error) => Err(error),
            },
        };
        if let Err(error) = &item {
            rows.end.lock().get_or_insert_with(|| Err(error.clone()));
            return Some((item, None));
        }
        Some((item, Some(rows)))
    };
    futures::stream::unfold(Some(rows), next).boxed()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use arrow::array::{AsArray, Int64Array};
    use arrow::datatypes::Int64Type;

    use super::*;

    fn batch(n: i64) -> RecordBatch {
        let numbers = Arc::new(Int64Array::from(vec![n])) as _;
        RecordBatch::try_from_iter([("n", numbers)]).unwrap()
    }

    fn rows(n: i64) -> Handed {
        // Must not be asked again after its end, as those of a query must not.
        let next = move |at| async move { (at < n).then(|| (Ok(batch(at)), at + 1)) };
        futures::stream::unfold(0, next).boxed()
    }

    async fn numbers(handed: Handed) -> Vec<i64> {
        handed
            .map(|batch| batch.unwrap().column(0).as_primitive::<Int64Type>().value(0))
            .collect()
            .await
    }

    #[tokio::test]
    async fn tickets_read_side_by_side_give_each_row_once() {
        let (mut run, first) = Run::begin(rows(100), 0, 3);
        let others = [run.join(1).unwrap().unwrap(), run.join(2).unwrap().unwrap()];
        let [second, third] = others;
        let read = futures::join!(numbers(first), numbers(second), numbers(third));
        let all = [read.0, read.1, read.2].concat();
        assert_eq!(all.len(), 100);
        assert_eq!(all.into_iter().collect::<BTreeSet<_>>(), (0..100).collect());
    }

    #[tokio::test]
    async fn the_first_ticket_alone_gives_every_row_and_the_next_none() {
        let (mut run, first) = Run::begin(rows(5), 0, 2);
        assert_eq!(numbers(first).await, [0, 1, 2, 3, 4]);
        assert_eq!(numbers(run.join(1).unwrap().unwrap()).await, [0_i64; 0]);
        assert!(run.join(1).is_none());
        assert!(run.join(2).is_none());
    }

    #[tokio::test]
    async fn an_error_is_every_ticket_s() {
        let broken = futures::stream::iter([Ok(batch(1)), Err(Status::internal("broken"))]);
        let (mut run, mut first) = Run::begin(broken.boxed(), 0, 4);
        let mut second = run.join(1).unwrap().unwrap();
        assert!(second.next().await.unwrap().is_ok());
        assert_eq!(first.next().await.unwrap().unwrap_err().message(), "broken");
        assert!(first.next().await.is_none());
        assert_eq!(second.next().await.unwrap().unwrap_err().message(), "broken");
        assert_eq!(run.join(2).unwrap().err().unwrap().message(), "broken");
        let mut failed = Run::failed(Status::internal("no place"), 0, 2);
        assert_eq!(failed.join(1).unwrap().err().unwrap().message(), "no place");
    }

    #[tokio::test]
    async fn a_run_that_all_readers_left_is_cancelled() {
        let (mut run, mut first) = Run::begin(rows(5), 0, 3);
        assert!(first.next().await.unwrap().is_ok());
        let second = run.join(1).unwrap().unwrap();
        drop(first);
        assert_eq!(numbers(second).await, [1, 2, 3, 4]);
        let (mut run, first) = Run::begin(rows(5), 0, 2);
        drop(first);
        assert!(run.join(1).unwrap().is_err());
    }
}
