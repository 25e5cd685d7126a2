//! The keys of one side of a join: collected by its partitions, told when the last of them is done.

use std::cmp::Ordering;
use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{Array, ArrayRef};
use arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use datafusion::error::Result as DfResult;
use datafusion::functions_aggregate::min_max::{MaxAccumulator, MinAccumulator};
use datafusion::logical_expr::Accumulator;
use parking_lot::Mutex;
use tokio::sync::watch;

/// Different keys that are kept; beyond them only the least and the greatest.
pub(super) const KEYS_MAX: usize = 1000;
/// Bytes that the kept keys of one column may have together.
pub(super) const KEY_BYTES_MAX: usize = 1 << 18;
/// Rows that are looked at one by one; a side with more is not small.
const ROWS_MAX: usize = 1 << 18;
/// How long a scan waits for partitions of the other side that have not been read yet. They are all read at the same
/// time, so this ends a wait only where somebody reads one partition of a plan and not the others.
const WAIT_MAX: Duration = Duration::from_millis(if cfg!(test) { 300 } else { 10_000 });

/// The keys of a side that has been read.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum KeySet {
    Unknown,
    /// All of them without NULL, in no order; none if no row can match.
    OneOf(Vec<ScalarValue>),
    Between(ScalarValue, ScalarValue),
}

impl KeySet {
    fn joined(self, other: Self) -> Self {
        match (self, other) {
            (Self::Unknown, _) | (_, Self::Unknown) => Self::Unknown,
            (Self::OneOf(none), set) | (set, Self::OneOf(none)) if none.is_empty() => set,
            (Self::OneOf(a), Self::OneOf(b)) => {
                let all = a.into_iter().chain(b).collect::<HashSet<_>>();
                Self::OneOf(all.into_iter().collect()).bounded()
            }
            (a, b) => match (a.ends(), b.ends()) {
                (Some((low_a, high_a)), Some((low_b, high_b))) => {
                    match (low_a.partial_cmp(&low_b), high_a.partial_cmp(&high_b)) {
                        (Some(low), Some(high)) => Self::Between(
                            if low == Ordering::Greater { low_b } else { low_a },
                            if high == Ordering::Less { high_b } else { high_a },
                        ),
                        _ => Self::Unknown,
                    }
                }
                _ => Self::Unknown,
            },
        }
    }

    fn bounded(self) -> Self {
        match &self {
            Self::OneOf(values)
                if values.len() > KEYS_MAX
                    || values.iter().map(ScalarValue::size).sum::<usize>() > KEY_BYTES_MAX =>
            {
                match self.ends() {
                    Some((low, high)) => Self::Between(low, high),
                    None => Self::Unknown,
                }
            }
            _ => self,
        }
    }

    /// Returns the least and the greatest key.
    fn ends(&self) -> Option<(ScalarValue, ScalarValue)> {
        match self {
            Self::Unknown => None,
            Self::Between(low, high) => Some((low.clone(), high.clone())),
            Self::OneOf(values) => {
                let order = |a: &&ScalarValue, b: &&ScalarValue| {
                    a.partial_cmp(b).unwrap_or(Ordering::Equal)
                };
                let low = values.iter().min_by(order)?;
                Some((low.clone(), values.iter().max_by(order)?.clone()))
            }
        }
    }
}

/// Collects the keys of one column.
#[derive(Debug)]
pub(super) struct Collector {
    values: HashSet<ScalarValue>,
    n_bytes: usize,
    n_rows: usize,
    /// Taken up once there are too many keys.
    range: Option<(MinAccumulator, MaxAccumulator)>,
}

impl Collector {
    pub(super) fn new() -> Self {
        Self { values: HashSet::new(), n_bytes: 0, n_rows: 0, range: None }
    }

    /// Returns the bytes held.
    pub(super) fn n_bytes(&self) -> usize {
        self.n_bytes
    }

    pub(super) fn add(&mut self, keys: &ArrayRef) -> DfResult<()> {
        self.n_rows += keys.len();
        if self.range.is_none() && self.n_rows <= ROWS_MAX {
            for row in 0..keys.len() {
                if keys.is_valid(row) {
                    let key = ScalarValue::try_from_array(keys, row)?;
                    let size = key.size();
                    if self.values.insert(key) {
                        self.n_bytes += size;
                    }
                }
                if self.values.len() > KEYS_MAX || self.n_bytes > KEY_BYTES_MAX {
                    break;
                }
            }
            if self.values.len() <= KEYS_MAX && self.n_bytes <= KEY_BYTES_MAX {
                return Ok(());
            }
        }
        let (low, high) = self.range(keys.data_type())?;
        low.update_batch(std::slice::from_ref(keys))?;
        high.update_batch(std::slice::from_ref(keys))
    }

    fn range(&mut self, data_type: &DataType) -> DfResult<&mut (MinAccumulator, MaxAccumulator)> {
        if self.range.is_none() {
            let mut range =
                (MinAccumulator::try_new(data_type)?, MaxAccumulator::try_new(data_type)?);
            if !self.values.is_empty() {
                let values = ScalarValue::iter_to_array(std::mem::take(&mut self.values))?;
                range.0.update_batch(std::slice::from_ref(&values))?;
                range.1.update_batch(std::slice::from_ref(&values))?;
            }
            self.n_bytes = 0;
            self.range = Some(range);
        }
        self.range.as_mut().ok_or_else(|| {
            datafusion::error::DataFusionError::Internal("no range was made".to_owned())
        })
    }

    pub(super) fn finish(mut self) -> DfResult<KeySet> {
        let Some((low, high)) = &mut self.range else {
            return Ok(KeySet::OneOf(self.values.into_iter().collect()));
        };
        let (low, high) = (low.evaluate()?, high.evaluate()?);
        Ok(match low.is_null() || high.is_null() {
            // No row but NULLs, which match nothing.
            true => KeySet::OneOf(Vec::new()),
            false => KeySet::Between(low, high),
        })
    }
}

#[derive(Debug, Clone)]
enum Told {
    NotYet,
    Never,
    Sets(Arc<[KeySet]>),
}

/// Where a side's partitions leave their keys, and where scans wait for them.
pub(super) struct JoinKeys {
    gathering: Mutex<Gathering>,
    told: watch::Sender<Told>,
}

struct Gathering {
    /// Which partitions have been started.
    started: Vec<bool>,
    n_left: usize,
    sets: Option<Vec<KeySet>>,
}

impl fmt::Debug for JoinKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JoinKeys({:?})", *self.told.borrow())
    }
}

impl JoinKeys {
    pub(super) fn new(n_partitions: usize) -> Arc<Self> {
        let gathering =
            Gathering { started: vec![false; n_partitions], n_left: n_partitions, sets: None };
        Arc::new(Self { gathering: Mutex::new(gathering), told: watch::channel(Told::NotYet).0 })
    }

    /// Notes that a partition is being read; `false` if it has been before, and then its keys are not wanted.
    pub(super) fn start(&self, partition: usize) -> bool {
        let mut gathering = self.gathering.lock();
        match gathering.started.get_mut(partition) {
            Some(started) if !*started => {
                *started = true;
                true
            }
            _ => false,
        }
    }

    /// Takes the keys of a partition that has been read to its end.
    pub(super) fn finish(&self, sets: Vec<KeySet>) {
        let mut gathering = self.gathering.lock();
        let joined = match gathering.sets.take() {
            None => sets,
            Some(before) => before.into_iter().zip(sets).map(|(a, b)| a.joined(b)).collect(),
        };
        gathering.n_left = gathering.n_left.saturating_sub(1);
        if gathering.n_left > 0 {
            gathering.sets = Some(joined);
            return;
        }
        self.tell(Told::Sets(joined.into()));
    }

    /// Says that there will be no keys: a partition broke off.
    pub(super) fn give_up(&self) {
        self.tell(Told::Never);
    }

    fn tell(&self, news: Told) {
        self.told.send_if_modified(|told| {
            let first = matches!(told, Told::NotYet);
            if first {
                *told = news;
            }
            first
        });
    }

    /// Waits until the side is read; `None` if its keys are not to be had.
    pub(super) async fn wait(&self) -> Option<Arc<[KeySet]>> {
        let mut told = self.told.subscribe();
        let news = told.wait_for(|told| !matches!(told, Told::NotYet));
        match tokio::time::timeout(WAIT_MAX, news).await {
            Ok(Ok(news)) => match &*news {
                Told::Sets(sets) => Some(Arc::clone(sets)),
                Told::NotYet | Told::Never => None,
            },
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::Int64Array;

    use super::*;

    fn collected(values: impl Iterator<Item = Option<i64>>) -> KeySet {
        let mut collector = Collector::new();
        let values = values.collect::<Vec<_>>();
        for chunk in values.chunks(700) {
            collector.add(&(Arc::new(Int64Array::from(chunk.to_vec())) as ArrayRef)).unwrap();
        }
        collector.finish().unwrap()
    }

    fn number(n: i64) -> ScalarValue {
        ScalarValue::Int64(Some(n))
    }

    #[test]
    fn beyond_the_bound_only_the_ends_are_kept() {
        let KeySet::OneOf(few) = collected([Some(3), None, Some(3), Some(1)].into_iter()) else {
            panic!("a list is wanted")
        };
        assert_eq!(few.len(), 2);
        assert_eq!(collected([None, None].into_iter()), KeySet::OneOf(vec![]));
        let many = collected((0..5000).map(Some));
        assert_eq!(many, KeySet::Between(number(0), number(4999)));
        let list = KeySet::OneOf((0..KEYS_MAX as i64).map(number).collect());
        let more = KeySet::OneOf(vec![number(-5)]);
        assert_eq!(list.joined(more), KeySet::Between(number(-5), number(KEYS_MAX as i64 - 1)));
        assert_eq!(KeySet::OneOf(vec![]).joined(many.clone()), many);
    }

    #[tokio::test]
    async fn keys_are_told_when_the_last_partition_is_done() {
        let keys = JoinKeys::new(2);
        assert!(keys.start(0) && keys.start(1) && !keys.start(1));
        keys.finish(vec![KeySet::OneOf(vec![number(1)])]);
        let early = tokio::time::timeout(Duration::from_millis(20), keys.wait()).await;
        assert!(early.is_err());
        keys.finish(vec![KeySet::OneOf(vec![number(1)])]);
        assert_eq!(keys.wait().await.unwrap()[0], KeySet::OneOf(vec![number(1)]));
        let broken = JoinKeys::new(1);
        broken.give_up();
        assert!(broken.wait().await.is_none());
    }
    #[tokio::test]
    async fn a_side_that_is_never_read_is_not_waited_for_without_end() {
        let keys = JoinKeys::new(2);
        assert!(keys.start(0));
        keys.finish(vec![KeySet::OneOf(vec![number(1)])]);
        let start = std::time::Instant::now();
        assert!(keys.wait().await.is_none());
        assert!(start.elapsed() >= WAIT_MAX && start.elapsed() < WAIT_MAX * 20);
        // What comes later still counts for those who ask then.
        assert!(keys.start(1));
        keys.finish(vec![KeySet::OneOf(vec![number(2)])]);
        assert!(matches!(&keys.wait().await.unwrap()[0], KeySet::OneOf(both) if both.len() == 2));
    }
}
