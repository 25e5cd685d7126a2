//! A limit of queries per second. Who comes too early waits; nobody is turned away.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use maru_core::Result;
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep_until};

const SECOND: Duration = Duration::from_secs(1);

/// When queries of one catalog may begin.
#[derive(Debug)]
pub(crate) struct Pace {
    /// Queries that may begin within any second; always more than none.
    per_second: usize,
    /// When the last ones began. Who holds the lock is next: the lock is handed on in the order in which it was asked for.
    begun: Mutex<VecDeque<Instant>>,
    waited_micros: AtomicU64,
}

impl Pace {
    pub fn new(per_second: u32) -> Self {
        let per_second = usize::try_from(per_second).unwrap_or(usize::MAX).max(1);
        Self { per_second, begun: Mutex::default(), waited_micros: AtomicU64::new(0) }
    }

    /// Waits for a turn, then does `first`, with which the query begins. What is behind waits for both, so that queries which
    /// had their turns do not begin all at once later.
    ///
    /// # Cancel
    /// Safe: the turn goes to the next.
    pub async fn turn<T>(&self, first: impl Future<Output = Result<T>>) -> Result<T> {
        let came = Instant::now();
        let mut begun = self.begun.lock().await;
        if let Some(earliest) = begun.front().filter(|_| begun.len() >= self.per_second) {
            sleep_until(*earliest + SECOND).await;
        }
        let waited = u64::try_from(came.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.waited_micros.fetch_add(waited, Ordering::Relaxed);
        let done = first.await?;
        while begun.len() >= self.per_second {
            begun.pop_front();
        }
        begun.push_back(Instant::now());
        Ok(done)
    }

    /// Returns how long queries have waited so far, all together.
    pub fn waited(&self) -> Duration {
        Duration::from_micros(self.waited_micros.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use futures::future::join_all;

    use super::*;

    #[tokio::test]
    async fn no_second_has_more_than_its_share_and_all_come_in_order() {
        let pace = Pace::new(4);
        let began = join_all((0..11).map(|_| pace.turn(async { Ok(Instant::now()) }))).await;
        let began = began.into_iter().map(Result::unwrap).collect::<Vec<_>>();
        assert!(began.is_sorted());
        for five in began.windows(5) {
            assert!(five[4] - five[0] >= SECOND, "{five:?}");
        }
        // Two seconds and what the machine takes; one in each second would be ten.
        assert!(began[10] - began[0] < 6 * SECOND);
        assert!(pace.waited() > SECOND);
    }

    #[tokio::test]
    async fn who_leaves_takes_no_turn() {
        let pace = Pace::new(1);
        pace.turn(async { Ok(()) }).await.unwrap();
        // As many as would take a minute.
        let wait = Duration::from_millis(10);
        let left = (0..60).map(|_| tokio::time::timeout(wait, pace.turn(async { Ok(()) })));
        assert_eq!(join_all(left).await.iter().flatten().count(), 0);
        let came = Instant::now();
        pace.turn(async { Ok(()) }).await.unwrap();
        assert!(came.elapsed() < 20 * SECOND);
    }
}
