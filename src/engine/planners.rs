//! Threads that large statements are planned on, one for each.
//!
//! Planning computes without giving way, for a large statement for seconds. On a thread of its own it takes its share of the
//! processors and keeps nobody else waiting; on the threads that statements run on, a few of them would keep all others from
//! being served.
//!
//! A plan that nobody waits for any more cannot be ended from outside. It looks itself, between two rules and wherever it waits
//! ([`go_on`]). Until then it computes for nothing, so that another one begins only while few do: of its user, so that nobody
//! keeps others out, and of all together.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use maru_core::{Error, Result};
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::task::JoinError;
use tokio_util::sync::CancellationToken;

use super::executor::Threads;

/// Plans of one user that may compute for nobody while another one begins.
const OF_USER_MAX: usize = 4;

/// The same, of all users.
const ALL_MAX: usize = 32;

thread_local! {
    /// What this thread plans.
    static NOW: RefCell<Option<Arc<Plan>>> = const { RefCell::new(None) };
}

/// The threads; they end with the engine.
#[derive(Debug)]
pub(crate) struct Planners {
    threads: Threads,
    given_up: Arc<GivenUp>,
}

/// Plans that nobody waits for and that still compute.
#[derive(Debug, Default)]
struct GivenUp {
    counts: Mutex<Counts>,
    fewer: Notify,
}

#[derive(Debug, Default)]
struct Counts {
    all: usize,
    /// Only of users who have some.
    of_users: BTreeMap<String, usize>,
}

/// One that is being made.
#[derive(Debug)]
struct Plan {
    user: String,
    given_up: Arc<GivenUp>,
    is_given_up: AtomicBool,
    stop: CancellationToken,
    phase: Mutex<Phase>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    WaitedFor,
    GivenUp,
    Ended,
}

/// Whoever waits for a plan; gives it up on drop.
struct Waiting(Arc<Plan>);

/// Whoever makes it; it has ended on drop.
struct Making(Arc<Plan>);

/// Makes a plan that of this thread until it is dropped, also by a panic.
struct Here;

/// To be asked between two steps of planning.
///
/// # Errors
/// 57014 on the thread of a plan that nobody waits for any more.
pub(crate) fn go_on() -> Result<()> {
    let is_given_up = NOW.with_borrow(|plan| {
        plan.as_ref().is_some_and(|plan| plan.is_given_up.load(Ordering::Relaxed))
    });
    if is_given_up { Err(Error::cancelled()) } else { Ok(()) }
}

/// Returns whether this thread is one of those that plan.
pub(crate) fn is_here() -> bool {
    NOW.with_borrow(Option::is_some)
}

impl Planners {
    /// # Errors
    /// 58030 if the system gives no threads.
    pub(crate) fn new(partitions: usize) -> Result<Self> {
        Ok(Self { threads: Threads::new("maru-plan", partitions)?, given_up: Arc::default() })
    }

    /// Does some planning for a user on a thread of its own.
    ///
    /// # Errors
    /// A panic of the work.
    /// # Cancel
    /// By dropping the future; the work ends at its next step.
    pub(crate) async fn run<F, T>(
        &self,
        user: &str,
        work: F,
    ) -> std::result::Result<Result<T>, JoinError>
    where
        F: Future<Output = Result<T>> + Send + 'static,
        T: Send + 'static,
    {
        self.given_up.few(user).await;
        let plan = Arc::new(Plan {
            user: user.to_owned(),
            given_up: Arc::clone(&self.given_up),
            is_given_up: AtomicBool::new(false),
            stop: CancellationToken::new(),
            phase: Mutex::new(Phase::WaitedFor),
        });
        let _waiting = Waiting(Arc::clone(&plan));
        let making = Making(plan);
        let handle = self.threads.handle.clone();
        self.threads.handle.spawn_blocking(move || making.run(&handle, work)).await
    }
}

impl Making {
    fn run<F, T>(self, handle: &Handle, work: F) -> Result<T>
    where
        F: Future<Output = Result<T>>,
    {
        let _here = Here::new(&self.0);
        let stop = self.0.stop.clone();
        handle.block_on(async move {
            tokio::select! {
                biased;
                () = stop.cancelled() => Err(Error::cancelled()),
                result = work => result,
            }
        })
    }
}

impl Here {
    fn new(plan: &Arc<Plan>) -> Self {
        NOW.set(Some(Arc::clone(plan)));
        Self
    }
}

impl Drop for Here {
    fn drop(&mut self) {
        NOW.set(None);
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let plan = &self.0;
        {
            let mut phase = plan.phase.lock();
            if *phase != Phase::WaitedFor {
                return;
            }
            *phase = Phase::GivenUp;
            plan.given_up.add(&plan.user);
        }
        plan.is_given_up.store(true, Ordering::Relaxed);
        plan.stop.cancel();
    }
}

impl Drop for Making {
    fn drop(&mut self) {
        let plan = &self.0;
        let was = std::mem::replace(&mut *plan.phase.lock(), Phase::Ended);
        if was == Phase::GivenUp {
            plan.given_up.remove(&plan.user);
        }
    }
}

impl GivenUp {
    /// Waits until few are left.
    async fn few(&self, user: &str) {
        loop {
            let fewer = self.fewer.notified();
            if self.counts.lock().are_few(user) {
                return;
            }
            fewer.await;
        }
    }

    fn add(&self, user: &str) {
        let mut counts = self.counts.lock();
        counts.all += 1;
        *counts.of_users.entry(user.to_owned()).or_default() += 1;
    }

    fn remove(&self, user: &str) {
        {
            let mut counts = self.counts.lock();
            counts.all = counts.all.saturating_sub(1);
            let left = counts.of_users.remove(user).unwrap_or_default().saturating_sub(1);
            if left > 0 {
                counts.of_users.insert(user.to_owned(), left);
            }
        }
        self.fewer.notify_waiters();
    }
}

impl Counts {
    fn are_few(&self, user: &str) -> bool {
        let of_user = self.of_users.get(user).copied().unwrap_or_default();
        of_user < OF_USER_MAX && self.all < ALL_MAX
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    /// Computes without a pause until it is told to end; `begun` is set when it has begun.
    async fn compute(begun: Arc<AtomicBool>) -> Result<()> {
        begun.store(true, Ordering::SeqCst);
        loop {
            go_on()?;
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    async fn broken(breaks: bool) -> Result<()> {
        assert!(!breaks, "it breaks");
        Ok(())
    }

    async fn until(what: impl Fn() -> bool) {
        let began = Instant::now();
        while !what() {
            assert!(began.elapsed() < Duration::from_secs(20));
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    #[tokio::test]
    async fn a_plan_that_computes_keeps_nobody_waiting_and_ends_when_it_is_given_up() {
        let planners = Arc::new(Planners::new(1).unwrap());
        let mut tasks = Vec::new();
        for _ in 0..2 * OF_USER_MAX {
            let begun = Arc::new(AtomicBool::new(false));
            let (planners, flag) = (Arc::clone(&planners), Arc::clone(&begun));
            tasks.push(tokio::spawn(async move { planners.run("ann", compute(flag)).await }));
            until(|| begun.load(Ordering::SeqCst)).await;
        }
        let answer = planners.run("ann", async { Ok(42) }).await.unwrap().unwrap();
        assert_eq!(answer, 42);
        tasks.iter().for_each(tokio::task::JoinHandle::abort);
        for task in tasks {
            assert!(task.await.unwrap_err().is_cancelled());
        }
        until(|| planners.given_up.counts.lock().all == 0).await;
        assert!(planners.given_up.counts.lock().of_users.is_empty());
    }

    #[tokio::test]
    async fn another_one_waits_while_many_compute_for_nobody() {
        let planners = Planners::new(1).unwrap();
        (0..OF_USER_MAX).for_each(|_| planners.given_up.add("ann"));
        let mut next = Box::pin(planners.run("ann", async { Ok(1) }));
        assert!(tokio::time::timeout(Duration::from_millis(50), &mut next).await.is_err());
        // Others are kept out only by many more.
        assert_eq!(planners.run("bob", async { Ok(2) }).await.unwrap().unwrap(), 2);
        (OF_USER_MAX..ALL_MAX).for_each(|user| planners.given_up.add(&user.to_string()));
        let other = planners.run("bob", async { Ok(3) });
        assert!(tokio::time::timeout(Duration::from_millis(50), other).await.is_err());
        planners.given_up.remove("ann");
        assert_eq!(next.await.unwrap().unwrap(), 1);
    }

    #[tokio::test]
    async fn a_thread_knows_that_it_plans() {
        let planners = Planners::new(1).unwrap();
        assert!(!is_here());
        assert!(planners.run("ann", async { Ok(is_here()) }).await.unwrap().unwrap());
        let plan = Arc::new(Plan {
            user: "ann".to_owned(),
            given_up: Arc::default(),
            is_given_up: AtomicBool::new(false),
            stop: CancellationToken::new(),
            phase: Mutex::new(Phase::WaitedFor),
        });
        let broken = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let _here = Here::new(&plan);
            assert!(!is_here(), "it breaks");
        }));
        assert!(broken.is_err() && !is_here());
    }

    #[tokio::test]
    async fn a_plan_that_waits_ends_at_once_and_a_panic_is_told() {
        let planners = Planners::new(1).unwrap();
        let silent = planners.run("ann", std::future::pending::<Result<()>>());
        assert!(tokio::time::timeout(Duration::from_millis(50), silent).await.is_err());
        until(|| planners.given_up.counts.lock().all == 0).await;
        assert!(planners.run("ann", broken(true)).await.unwrap_err().is_panic());
        assert!(planners.run("ann", broken(false)).await.unwrap().is_ok());
    }
}
