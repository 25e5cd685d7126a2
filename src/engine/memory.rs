//! Memory: one budget for the process, one limit per statement, and an error that names the limit.
//!
//! Inside of one statement a [`FairSpillPool`] divides the statement's limit among the operators that can spill; what
//! any statement holds is booked with the [`Governor`] first, so that all of them together stay below `memory_limit`.
//!
//! A statement that comes late must not fail because an early one has filled the budget with what it could have spilled:
//! the last quarter of a budget is kept for whoever holds less than their share, and for what cannot be spilled.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use datafusion::error::{DataFusionError, Result as DfResult};
use datafusion::execution::memory_pool::{
    FairSpillPool, MemoryConsumer, MemoryLimit, MemoryPool, MemoryReservation,
};
use maru_core::{Error, ErrorKind};

/// A statement that holds less is not counted among those that share a budget: small ones come and go by the hundred.
const HOLDER_BYTES_MIN: usize = 1 << 20;

/// A budget: the process's, or that of a resource group within another one.
#[derive(Debug)]
pub struct Governor {
    /// What is named if it is used up.
    group: Option<String>,
    limit: AtomicUsize,
    used: AtomicUsize,
    /// Statements that hold at least [`HOLDER_BYTES_MIN`].
    holders: AtomicUsize,
    around: Option<Arc<Governor>>,
}

/// What a statement asks for.
#[derive(Debug, Clone, Copy)]
struct Request {
    bytes: usize,
    /// What the statement will hold then.
    held_bytes: usize,
    /// Whether a refusal makes the operator spill.
    can_spill: bool,
}

impl Governor {
    pub fn new(limit_bytes: usize) -> Arc<Self> {
        Arc::new(Self {
            group: None,
            limit: AtomicUsize::new(limit_bytes),
            used: AtomicUsize::new(0),
            holders: AtomicUsize::new(0),
            around: None,
        })
    }

    /// Makes the budget of a resource group, which is a part of another one.
    pub fn within(around: Arc<Self>, group: &str, limit_bytes: usize) -> Arc<Self> {
        Arc::new(Self {
            group: Some(group.to_owned()),
            limit: AtomicUsize::new(limit_bytes),
            used: AtomicUsize::new(0),
            holders: AtomicUsize::new(0),
            around: Some(around),
        })
    }

    pub fn set_limit(&self, limit_bytes: usize) {
        self.limit.store(limit_bytes, Ordering::Relaxed);
    }

    pub fn used_bytes(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    pub fn limit_bytes(&self) -> usize {
        self.limit.load(Ordering::Relaxed)
    }

    /// Returns the least of its limit and those around it.
    fn least_limit(&self) -> usize {
        let around = self.around.as_ref().map_or(usize::MAX, |around| around.least_limit());
        self.limit_bytes().min(around)
    }

    /// Says which limit it is.
    fn name(&self) -> String {
        match &self.group {
            Some(group) => format!("memory of resource group \"{group}\""),
            None => "memory_limit".to_owned(),
        }
    }

    /// Takes of this budget and those around it, or of none.
    ///
    /// # Errors
    /// The budget that is used up.
    fn try_take(&self, request: Request) -> Result<(), &Self> {
        let Request { bytes, .. } = request;
        let limit = self.bound(request);
        self.used
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
                used.checked_add(bytes).filter(|used| *used <= limit)
            })
            .map_err(|_| self)?;
        match self.around.as_ref().map_or(Ok(()), |around| around.try_take(request)) {
            Ok(()) => Ok(()),
            Err(full) => {
                self.used.fetch_sub(bytes, Ordering::Relaxed);
                Err(full)
            }
        }
    }

    /// Returns how full the budget may be after a request: what could be spilled leaves a quarter to those that hold less
    /// than their share. There is always one share more than statements, so that another one can begin.
    fn bound(&self, request: Request) -> usize {
        let limit = self.limit_bytes();
        let share = limit / (self.holders.load(Ordering::Relaxed) + 1);
        match request.can_spill && request.held_bytes > share {
            true => limit - limit / 4,
            false => limit,
        }
    }

    /// Counts a statement as one that holds memory, or no longer.
    fn count_holder(&self, holds: bool) {
        match holds {
            true => self.holders.fetch_add(1, Ordering::Relaxed),
            false => self.holders.fetch_sub(1, Ordering::Relaxed),
        };
        self.around.iter().for_each(|around| around.count_holder(holds));
    }

    fn take(&self, bytes: usize) {
        self.used.fetch_add(bytes, Ordering::Relaxed);
        self.around.iter().for_each(|around| around.take(bytes));
    }

    fn give(&self, bytes: usize) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
        self.around.iter().for_each(|around| around.give(bytes));
    }
}

/// The pool of one statement.
#[derive(Debug)]
pub struct QueryPool {
    governor: Arc<Governor>,
    inner: FairSpillPool,
    limit: usize,
    used: AtomicUsize,
    peak: AtomicUsize,
}

impl QueryPool {
    pub fn new(governor: Arc<Governor>, limit_bytes: usize) -> Arc<Self> {
        Arc::new(Self {
            governor,
            inner: FairSpillPool::new(limit_bytes),
            limit: limit_bytes,
            used: AtomicUsize::new(0),
            peak: AtomicUsize::new(0),
        })
    }

    pub fn used_bytes(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    pub fn peak_bytes(&self) -> usize {
        self.peak.load(Ordering::Relaxed)
    }

    fn count(&self, bytes: usize) {
        let before = self.used.fetch_add(bytes, Ordering::Relaxed);
        let used = before + bytes;
        self.peak.fetch_max(used, Ordering::Relaxed);
        if before < HOLDER_BYTES_MIN && used >= HOLDER_BYTES_MIN {
            self.governor.count_holder(true);
        }
    }
}

impl MemoryPool for QueryPool {
    fn name(&self) -> &str {
        "statement"
    }

    fn register(&self, consumer: &MemoryConsumer) {
        self.inner.register(consumer);
    }

    fn unregister(&self, consumer: &MemoryConsumer) {
        self.inner.unregister(consumer);
    }

    fn grow(&self, reservation: &MemoryReservation, additional: usize) {
        self.governor.take(additional);
        self.inner.grow(reservation, additional);
        self.count(additional);
    }

    fn shrink(&self, reservation: &MemoryReservation, shrink: usize) {
        self.inner.shrink(reservation, shrink);
        self.governor.give(shrink);
        let before = self.used.fetch_sub(shrink, Ordering::Relaxed);
        if before >= HOLDER_BYTES_MIN && before - shrink < HOLDER_BYTES_MIN {
            self.governor.count_holder(false);
        }
    }

    fn try_grow(&self, reservation: &MemoryReservation, additional: usize) -> DfResult<()> {
        let request = Request {
            bytes: additional,
            held_bytes: self.used_bytes().saturating_add(additional),
            can_spill: reservation.consumer().can_spill(),
        };
        if let Err(full) = self.governor.try_take(request) {
            return Err(self.exhausted(
                reservation,
                additional,
                &full.name(),
                full.limit_bytes(),
                full.used_bytes(),
            ));
        }
        if self.inner.try_grow(reservation, additional).is_err() {
            self.governor.give(additional);
            return Err(self.exhausted(
                reservation,
                additional,
                "query_memory_limit",
                self.limit,
                self.used_bytes(),
            ));
        }
        self.count(additional);
        Ok(())
    }

    fn reserved(&self) -> usize {
        self.used_bytes()
    }

    fn memory_limit(&self) -> MemoryLimit {
        MemoryLimit::Finite(self.limit.min(self.governor.least_limit()))
    }
}

impl QueryPool {
    /// A `ResourcesExhausted` at the root makes operators spill; what reaches the user carries the limit's name.
    fn exhausted(
        &self,
        reservation: &MemoryReservation,
        additional: usize,
        limit: &str,
        limit_bytes: usize,
        used_bytes: usize,
    ) -> DataFusionError {
        DataFusionError::ResourcesExhausted(format!(
            "{limit} of {} would be exceeded: {} in use, operator {} asks for {} more",
            human_bytes(limit_bytes),
            human_bytes(used_bytes),
            reservation.consumer().name(),
            human_bytes(additional)
        ))
    }
}

impl fmt::Display for QueryPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "statement(used: {}, limit: {})", self.used_bytes(), self.limit)
    }
}

/// Returns the error of a statement that outgrew a limit, from the text that [`QueryPool`] made.
pub fn out_of_memory(text: &str) -> Error {
    Error::new(ErrorKind::OutOfMemory, "out of memory").with_detail(text)
}

/// Writes bytes as people do: `1.5 GB`, binary steps.
pub fn human_bytes(bytes: usize) -> String {
    let units = ["B", "kB", "MB", "GB", "TB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < units.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{bytes} B") } else { format!("{value:.1} {}", units[unit]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_governor_stops_the_sum_and_the_pool_the_single_one() {
        let governor = Governor::new(1000);
        let one: Arc<dyn MemoryPool> = QueryPool::new(Arc::clone(&governor), 800);
        let two: Arc<dyn MemoryPool> = QueryPool::new(Arc::clone(&governor), 800);
        let first = MemoryConsumer::new("a").register(&one);
        let second = MemoryConsumer::new("b").register(&two);
        let error = first.try_grow(900).unwrap_err().to_string();
        assert!(error.contains("query_memory_limit of 800 B"), "{error}");
        first.try_grow(700).unwrap();
        let error = second.try_grow(400).unwrap_err().to_string();
        assert!(error.contains("memory_limit of 1000 B"), "{error}");
        drop(first);
        second.try_grow(400).unwrap();
        assert_eq!(governor.used_bytes(), 400);
        drop(second);
        assert_eq!(governor.used_bytes(), 0);
    }

    #[test]
    fn what_can_be_spilled_leaves_room_for_who_comes_late() {
        const MIB: usize = 1 << 20;
        let governor = Governor::new(100 * MIB);
        let pool = || -> Arc<dyn MemoryPool> { QueryPool::new(Arc::clone(&governor), 100 * MIB) };
        let (one, two) = (pool(), pool());
        let early = MemoryConsumer::new("early").with_can_spill(true).register(&one);
        let fixed = MemoryConsumer::new("fixed").register(&one);
        early.try_grow(75 * MIB).unwrap();
        early.try_grow(1).unwrap_err();
        // What cannot be spilled may have all.
        fixed.try_grow(5 * MIB).unwrap();
        let late = MemoryConsumer::new("late").with_can_spill(true).register(&two);
        late.try_grow(20 * MIB).unwrap();
        late.try_grow(1).unwrap_err();
        // The early one spills what is above its share, and takes no more of it.
        early.shrink(60 * MIB);
        late.try_grow(30 * MIB).unwrap();
        early.try_grow(20 * MIB).unwrap_err();
        early.try_grow(10 * MIB).unwrap();
        drop((early, fixed, late));
        assert_eq!((governor.used_bytes(), governor.holders.load(Ordering::Relaxed)), (0, 0));
    }
}
