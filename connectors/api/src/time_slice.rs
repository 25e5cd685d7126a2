//! Lets other work through every few milliseconds.
//!
//! The engine's operators give way after a number of batches, which may be a hundred milliseconds of work: too long for
//! whoever waits for the thread with a question that takes one.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures::Stream;

/// How long a stream gives batches before the thread is for others.
const SLICE: Duration = Duration::from_millis(5);

/// A stream that gives way.
#[derive(Debug)]
pub struct TimeSliced<S> {
    inner: S,
    /// Since when it has given batches without a pause.
    since: Option<Instant>,
}

/// Wraps a stream.
pub fn time_sliced<S>(inner: S) -> TimeSliced<S> {
    TimeSliced { inner, since: None }
}

impl<S: Stream + Unpin> Stream for TimeSliced<S> {
    type Item = S::Item;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<S::Item>> {
        let this = self.get_mut();
        if this.since.get_or_insert_with(Instant::now).elapsed() >= SLICE {
            this.since = None;
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        let polled = Pin::new(&mut this.inner).poll_next(context);
        if polled.is_pending() {
            this.since = None;
        }
        polled
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.inner.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use futures::StreamExt;

    use super::*;

    #[tokio::test]
    async fn gives_way_after_its_slice_and_loses_nothing() {
        let work = futures::stream::iter(0..20).inspect(|_| std::thread::sleep(SLICE / 2));
        let mut stream = time_sliced(work);
        let (mut items, mut pauses) = (0, 0);
        loop {
            match futures::poll!(stream.next()) {
                Poll::Ready(None) => break,
                Poll::Ready(Some(_)) => items += 1,
                Poll::Pending => pauses += 1,
            }
        }
        assert_eq!(items, 20);
        assert!((5..=20).contains(&pauses), "{pauses}");
    }
}
