//! Rows of two classes by their scores: sorted once, walked for whatever is asked of them.

use super::Point;

/// Rows from which on both classes are sorted at once.
const ROWS_PARALLEL: usize = 100_000;

/// The scores of both classes, each from the greatest on.
#[derive(Debug, Clone)]
pub struct Ranked {
    positive: Vec<f64>,
    negative: Vec<f64>,
}

/// Rows of one score.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Same {
    pub(crate) score: f64,
    pub(crate) n_rows: usize,
    pub(crate) n_positive: usize,
}

/// Sorts from the greatest on, as whole numbers of the same order.
fn sort(scores: Vec<f64>) -> Vec<f64> {
    const SIGN: u64 = 1 << 63;
    let key = |score: f64| {
        // One zero: the two are one score.
        let bits = (score + 0.0).to_bits();
        !(if bits & SIGN == 0 { bits | SIGN } else { !bits })
    };
    let mut keys = scores.into_iter().map(key).collect::<Vec<u64>>();
    keys.sort_unstable();
    let score = |key: u64| {
        let bits = !key;
        f64::from_bits(if bits & SIGN == 0 { !bits } else { bits & !SIGN })
    };
    keys.into_iter().map(score).collect()
}

impl Ranked {
    pub fn new(scores: &[f64], positive: impl Fn(usize) -> bool) -> Self {
        let (mut of_positive, mut of_negative) = (Vec::new(), Vec::new());
        for (row, score) in scores.iter().enumerate() {
            if positive(row) { &mut of_positive } else { &mut of_negative }.push(*score);
        }
        if of_positive.len().min(of_negative.len()) < ROWS_PARALLEL {
            return Self { positive: sort(of_positive), negative: sort(of_negative) };
        }
        std::thread::scope(|scope| {
            let other = scope.spawn(|| sort(of_positive));
            let negative = sort(of_negative);
            match other.join() {
                Ok(positive) => Self { positive, negative },
                Err(panic) => std::panic::resume_unwind(panic),
            }
        })
    }

    /// Returns whether there are rows of both classes.
    pub fn has_both(&self) -> bool {
        !self.positive.is_empty() && !self.negative.is_empty()
    }

    pub(crate) fn n_rows(&self) -> usize {
        self.positive.len() + self.negative.len()
    }

    /// Walks the scores, from the greatest on.
    pub(crate) fn scores(&self) -> impl Iterator<Item = Same> + '_ {
        let (mut p, mut n) = (0, 0);
        std::iter::from_fn(move || {
            let score = match (self.positive.get(p), self.negative.get(n)) {
                (Some(a), Some(b)) => a.max(*b),
                (Some(one), None) | (None, Some(one)) => *one,
                (None, None) => return None,
            };
            let (first_p, first_n) = (p, n);
            while self.positive.get(p).is_some_and(|s| *s >= score || s.is_nan()) {
                p += 1;
            }
            while self.negative.get(n).is_some_and(|s| *s >= score || s.is_nan()) {
                n += 1;
            }
            let (n_positive, n_negative) = (p - first_p, n - first_n);
            // What compares with nothing must not stop the walk.
            if n_positive + n_negative == 0 {
                return None;
            }
            Some(Same { score, n_rows: n_positive + n_negative, n_positive })
        })
    }

    /// Walks the points of the curve: one that no row reaches, then one for each score, from the greatest on.
    pub fn points(&self) -> impl Iterator<Item = Point> + '_ {
        let mut point = Point {
            threshold: f64::INFINITY,
            true_positives: 0,
            false_positives: 0,
            true_negatives: self.negative.len() as u64,
            false_negatives: self.positive.len() as u64,
        };
        let first = point;
        std::iter::once(first).chain(self.scores().map(move |same| {
            let (positive, negative) =
                (same.n_positive as u64, (same.n_rows - same.n_positive) as u64);
            point.threshold = same.score;
            point.true_positives += positive;
            point.false_negatives -= positive;
            point.false_positives += negative;
            point.true_negatives -= negative;
            point
        }))
    }

    /// The area under the curve of recall over the false positive rate: the chance that a positive row has the higher score.
    pub fn roc_auc(&self) -> f64 {
        let mut last: Option<Point> = None;
        let mut area = 0.0;
        for point in self.points() {
            if let Some(last) = last {
                let width = point.false_positive_rate() - last.false_positive_rate();
                area += width * (last.recall() + point.recall()) * 0.5;
            }
            last = Some(point);
        }
        area
    }

    /// The average precision: precision weighted by the gain in recall.
    pub fn average_precision(&self) -> f64 {
        let mut recall = 0.0;
        let gain = |point: Point| {
            let gain = (point.recall() - recall) * point.precision();
            recall = point.recall();
            gain
        };
        self.points().map(gain).sum()
    }
}
