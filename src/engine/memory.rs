//! Memory: one budget for the process, one limit per statement, and an error that names the limit.
//!
//! Inside of one statement a [`FairSpillPool`] divides the statement's limit among the operators that can spill; what
//! any statement holds is booked with the [`Governor`] first, so that all of them together stay below `memory_limit`.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use datafusion::error::{DataFusionError, Result as DfResult};
use datafusion::execution::memory_pool::{
    FairSpillPool, MemoryConsumer, MemoryLimit, MemoryPool, MemoryReservation,
};
use maru_core::{Error, ErrorKind};

/// A budget: the process's, or that of a resource group within another one.
#[derive(Debug)]
pub struct Governor {
    /// What is named if it is used up.
    group: Option<String>,
    limit: AtomicUsize,
    used: AtomicUsize,
    around: Option<Arc<Governor>>,
}

impl Governor {
    pub fn new(limit_bytes: usize) -> Arc<Self> {
        let (limit, used) = (AtomicUsize::new(limit_bytes), AtomicUsize::new(0));
        Arc::new(Self { group: None, limit, used, around: None })
    }

    /// Makes the budget of a resource group, which is a part of another one.
    pub fn within(around: Arc<Self>, group: &str, limit_bytes: usize) -> Arc<Self> {
        let (limit, used) = (AtomicUsize::new(limit_bytes), AtomicUsize::new(0));
        Arc::new(Self { group: Some(group.to_owned()), limit, used, around: Some(around) })
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
    fn try_take(&self, bytes: usize) -> Result<(), &Self> {
        let limit = self.limit_bytes();
        self.used
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
                used.checked_add(bytes).filter(|used| *used <= limit)
            })
            .map_err(|_| self)?;
        match self.around.as_ref().map_or(Ok(()), |around| around.try_take(bytes)) {
            Ok(()) => Ok(()),
            Err(full) => {
                self.used.fetch_sub(bytes, Ordering::Relaxed);
                Err(full)
            }
        }
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
        let used = self.used.fetch_add(bytes, Ordering::Relaxed) + bytes;
        self.peak.fetch_max(used, Ordering::Relaxed);
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
        self.used.fetch_sub(shrink, Ordering::Relaxed);
    }

    fn try_grow(&self, reservation: &MemoryReservation, additional: usize) -> DfResult<()> {
        if let Err(full) = self.governor.try_take(additional) {
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
}
