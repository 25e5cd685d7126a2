//! Streams of batches whose producer is a task that holds the connection.
//!
//! A connection that is dropped in the middle of a result cannot be used again, and ending the remote query needs
//! awaiting, which a destructor cannot. So the connection lives in a task: when the reader goes away, the task learns
//! of it, stops the database and closes the connection.

use std::future::Future;
use std::sync::Arc;

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::datatypes::Schema;
use futures::stream;
use maru_connect::{BatchStream, batch_stream};
use maru_core::{Error, Result};
use tokio::sync::mpsc;

/// Batches that may wait for the reader, besides the one being made: enough to overlap, little enough to bound memory.
const WAITING_BATCHES: usize = 1;

enum Message {
    Batch(RecordBatch),
    Failed(Error),
    /// Only a result that says it is complete is complete. Nothing behind it is read.
    Complete,
}

/// The producer's end.
#[derive(Clone)]
pub(crate) struct Sink(mpsc::Sender<Message>);

impl Sink {
    /// Hands over a batch and waits while the reader is busy. Without a reader the batch is lost, and
    /// [`Sink::abandoned`] is ready.
    pub async fn send(&self, batch: RecordBatch) {
        let _ = self.0.send(Message::Batch(batch)).await;
    }

    /// Hands over `n_rows` rows without columns, in batches of `batch_rows` at most.
    pub async fn send_empty(&self, n_rows: usize, batch_rows: usize) -> Result<()> {
        let mut left = n_rows;
        while left > 0 {
            let rows = left.min(batch_rows.max(1));
            let options = RecordBatchOptions::new().with_row_count(Some(rows));
            let schema = Arc::new(Schema::empty());
            self.send(RecordBatch::try_new_with_options(schema, vec![], &options)?).await;
            left -= rows;
        }
        Ok(())
    }

    /// Says that all rows have been sent, before the producer has ended: what it still does to its connection, its reader
    /// need not wait for. The reader goes away then, as if it had enough.
    pub async fn complete(&self) {
        let _ = self.0.send(Message::Complete).await;
    }

    /// Is ready once nobody reads any more.
    pub async fn abandoned(&self) {
        self.0.closed().await;
    }
}

/// Returns the stream of what `produce` sends. It starts at the first poll, in a task of its own, and must end by itself
/// soon after [`Sink::abandoned`].
pub(crate) fn produced<F, P>(produce: F) -> BatchStream
where
    F: FnOnce(Sink) -> P + Send + 'static,
    P: Future<Output = Result<()>> + Send + 'static,
{
    enum State<F> {
        Idle(F),
        Running(mpsc::Receiver<Message>),
        Ended,
    }
    batch_stream(stream::unfold(State::Idle(produce), |state| async move {
        let mut receiver = match state {
            State::Idle(produce) => {
                let (sender, receiver) = mpsc::channel(WAITING_BATCHES);
                tokio::spawn(async move {
                    let last = match produce(Sink(sender.clone())).await {
                        Ok(()) => Message::Complete,
                        Err(error) => Message::Failed(error),
                    };
                    let _ = sender.send(last).await;
                });
                receiver
            }
            State::Running(receiver) => receiver,
            State::Ended => return None,
        };
        match receiver.recv().await {
            Some(Message::Batch(batch)) => Some((Ok(batch), State::Running(receiver))),
            Some(Message::Failed(error)) => Some((Err(error), State::Ended)),
            Some(Message::Complete) => None,
            None => Some((
                Err(Error::internal("the reader of a remote table ended without a word")),
                State::Ended,
            )),
        }
    }))
}

#[cfg(test)]
mod tests {
    use futures::StreamExt;

    use super::*;

    fn batch() -> RecordBatch {
        let options = RecordBatchOptions::new().with_row_count(Some(1));
        RecordBatch::try_new_with_options(Arc::new(Schema::empty()), vec![], &options).unwrap()
    }

    #[tokio::test]
    async fn a_producer_that_dies_is_an_error_and_not_a_short_result() {
        let rows = produced(|sink| async move {
            sink.send(batch()).await;
            std::panic::panic_any("died");
        });
        let rows = rows.collect::<Vec<_>>().await;
        assert_eq!(rows.len(), 2);
        assert!(rows[1].is_err());
    }

    #[tokio::test]
    async fn a_reader_does_not_wait_for_what_comes_after_the_rows() {
        let (told, hears) = tokio::sync::oneshot::channel::<()>();
        let rows = produced(|sink| async move {
            sink.send(batch()).await;
            sink.complete().await;
            hears.await.unwrap();
            Err(Error::internal("nobody is told"))
        });
        assert!(rows.map(|batch| batch.is_ok()).collect::<Vec<_>>().await == [true]);
        told.send(()).unwrap();
    }

    #[tokio::test]
    async fn dropping_the_stream_reaches_the_producer() {
        let (told, hears) = tokio::sync::oneshot::channel();
        let mut rows = produced(|sink| async move {
            sink.send(batch()).await;
            sink.abandoned().await;
            told.send(()).unwrap();
            Ok(())
        });
        rows.next().await.unwrap().unwrap();
        drop(rows);
        hears.await.unwrap();
    }
}
