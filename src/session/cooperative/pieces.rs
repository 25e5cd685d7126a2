//! Batches in pieces, as large as whoever asks for them is done with in a moment.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use arrow::array::RecordBatch;
use datafusion::common::Result;
use futures::Stream;
use maru_core::limits::BATCH_ROWS;

/// Rows of the first piece. Compared with a million rows, they take a fraction of a second.
const FIRST_ROWS: usize = 64;

/// Smaller ones cost more than they bring.
const ROWS_MIN: usize = 16;

/// A piece that was done with sooner is followed by a larger one.
const SHORT: Duration = Duration::from_millis(10);

/// A piece that took longer is followed by a smaller one.
const LONG: Duration = Duration::from_millis(50);

/// A stream of pieces.
pub(super) struct Pieces<S> {
    input: S,
    /// What is left of a batch.
    rest: Option<RecordBatch>,
    n_rows: usize,
    /// When the last piece was given.
    given: Option<Instant>,
}

impl<S> Pieces<S> {
    pub(super) fn new(input: S) -> Self {
        Self { input, rest: None, n_rows: FIRST_ROWS, given: None }
    }

    /// Chooses the size of the next piece by how long the last one took.
    fn adapt(&mut self) {
        let Some(took) = self.given.take().map(|given| given.elapsed()) else { return };
        if took < SHORT {
            self.n_rows = (self.n_rows * 2).min(BATCH_ROWS);
        } else if took > LONG {
            self.n_rows = (self.n_rows / 2).max(ROWS_MIN);
        }
    }
}

impl<S: Stream<Item = Result<RecordBatch>> + Unpin> Stream for Pieces<S> {
    type Item = Result<RecordBatch>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        this.adapt();
        let batch = match this.rest.take() {
            Some(rest) => rest,
            None => match Pin::new(&mut this.input).poll_next(context) {
                Poll::Ready(Some(Ok(batch))) => batch,
                other => return other,
            },
        };
        let (n_rows, n_piece) = (batch.num_rows(), this.n_rows);
        this.given = Some(Instant::now());
        if n_rows <= n_piece {
            return Poll::Ready(Some(Ok(batch)));
        }
        this.rest = Some(batch.slice(n_piece, n_rows - n_piece));
        Poll::Ready(Some(Ok(batch.slice(0, n_piece))))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, AsArray, Int64Array};
    use arrow::datatypes::Int64Type;
    use futures::StreamExt;

    use super::*;

    fn batch(numbers: std::ops::Range<i64>) -> RecordBatch {
        let column: ArrayRef = Arc::new(Int64Array::from_iter_values(numbers));
        RecordBatch::try_from_iter([("n", column)]).unwrap()
    }

    /// Reads all pieces, each of which takes `pause`; returns how many rows each has.
    async fn read(pause: Duration) -> Vec<usize> {
        let batches: Vec<Result<RecordBatch>> =
            vec![Ok(batch(0..100)), Ok(batch(100..100)), Ok(batch(100..400))];
        let mut pieces = Pieces::new(futures::stream::iter(batches));
        let (mut sizes, mut next) = (Vec::new(), 0);
        while let Some(piece) = pieces.next().await {
            let piece = piece.unwrap();
            for number in piece.column(0).as_primitive::<Int64Type>().values() {
                assert_eq!(*number, next);
                next += 1;
            }
            sizes.push(piece.num_rows());
            std::thread::sleep(pause);
        }
        assert_eq!(next, 400);
        sizes
    }

    #[tokio::test]
    async fn pieces_grow_while_they_take_no_time_and_shrink_while_they_take_long() {
        let quick = read(Duration::ZERO).await;
        assert!(quick.len() < 7 && quick.iter().any(|rows| *rows > FIRST_ROWS), "{quick:?}");
        let slow = read(LONG + Duration::from_millis(5)).await;
        assert!(slow.len() > 15 && slow.contains(&ROWS_MIN), "{slow:?}");
        assert!(slow.iter().all(|rows| *rows <= FIRST_ROWS), "{slow:?}");
    }
}
