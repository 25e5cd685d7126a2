//! What the values of a column look like, and how far another lot of values has gone away from that.

use std::collections::HashMap;

use arrow::array::Array;
use serde::{Deserialize, Serialize};

use crate::frame::Column;
use crate::transform::finite_moments;

/// Bins of numbers, each with as many rows of training: the distance between distributions is known to one in as many.
const BINS: usize = 200;
/// Bins that PSI and Jensen-Shannon are computed over.
const GROUPS: usize = 10;
/// Categories that are kept by name.
const CATEGORIES: usize = 100;

/// What the values of a column look like. The form is part of what is kept: fields are added with a default, never changed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Profile {
    pub name: String,
    pub n_rows: u64,
    pub n_null: u64,
    pub values: Values,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Values {
    Numbers {
        min: f64,
        max: f64,
        mean: f64,
        stddev: f64,
        median: f64,
        n_zero: u64,
        n_distinct: u64,
        /// Where bins end; the last one has no end.
        ends: Vec<f64>,
        counts: Vec<u64>,
    },
    Texts {
        /// The most frequent first.
        categories: Vec<(String, u64)>,
        others: u64,
        n_distinct: u64,
        mean_length: f64,
    },
}

/// How far values have gone away. All are 0 for the same distribution.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Drift {
    /// The population stability index; above 0.25 it is called a shift.
    pub psi: f64,
    /// The greatest difference between the distribution functions (Kolmogorov and Smirnov); numbers only.
    pub ks: Option<f64>,
    /// The Jensen-Shannon divergence, in bits: from 0 to 1.
    pub jensen_shannon: f64,
    /// The greatest difference between the shares of a category; text only.
    pub l_infinity: Option<f64>,
}

fn known(values: &[f64]) -> Vec<f64> {
    values.iter().copied().filter(|value| value.is_finite()).collect()
}

fn counted(values: &[f64], ends: &[f64]) -> Vec<u64> {
    let mut counts = vec![0; ends.len() + 1];
    for value in values.iter().filter(|value| !value.is_nan()) {
        counts[ends.partition_point(|end| end < value)] += 1;
    }
    counts
}

impl Profile {
    /// Looks at a column.
    pub fn of(name: &str, column: &Column) -> Self {
        match column {
            Column::Number(values) => {
                let mut sorted = known(values);
                sorted.sort_unstable_by(f64::total_cmp);
                let last = sorted.len().saturating_sub(1);
                let mut ends = (1..BINS)
                    .filter_map(|bin| sorted.get(bin * last / BINS).copied())
                    .collect::<Vec<_>>();
                ends.dedup();
                Self::numbers(name, values, ends, &sorted)
            }
            Column::Text(values) => {
                let mut counts = HashMap::<&str, u64>::new();
                values.iter().flatten().for_each(|text| *counts.entry(text).or_default() += 1);
                let n_distinct = counts.len() as u64;
                let mut all = counts.into_iter().collect::<Vec<_>>();
                all.sort_by(|(a, n), (b, m)| m.cmp(n).then_with(|| a.cmp(b)));
                let others = all.iter().skip(CATEGORIES).map(|(_, n)| n).sum();
                all.truncate(CATEGORIES);
                let categories = all.into_iter().map(|(text, n)| (text.to_owned(), n)).collect();
                Self::texts(name, values, categories, others, n_distinct)
            }
        }
    }

    /// Looks at another lot of values by the bins and categories of this one.
    pub fn like(&self, column: &Column) -> Option<Self> {
        match (&self.values, column) {
            (Values::Numbers { ends, .. }, Column::Number(values)) => {
                let mut sorted = known(values);
                sorted.sort_unstable_by(f64::total_cmp);
                Some(Self::numbers(&self.name, values, ends.clone(), &sorted))
            }
            (Values::Texts { categories, .. }, Column::Text(values)) => {
                let mut counts = HashMap::<&str, u64>::new();
                values.iter().flatten().for_each(|text| *counts.entry(text).or_default() += 1);
                let n_distinct = counts.len() as u64;
                let mine = |(text, _): &(String, u64)| {
                    (text.clone(), counts.get(text.as_str()).copied().unwrap_or(0))
                };
                let kept = categories.iter().map(mine).collect::<Vec<_>>();
                let others =
                    counts.values().sum::<u64>() - kept.iter().map(|(_, n)| n).sum::<u64>();
                Some(Self::texts(&self.name, values, kept, others, n_distinct))
            }
            _ => None,
        }
    }

    fn numbers(name: &str, values: &[f64], ends: Vec<f64>, sorted: &[f64]) -> Self {
        let (n, mean, squares) = finite_moments(sorted);
        let distinct = sorted.chunk_by(|a, b| a == b).count();
        // Of an even number the middle between the two in the middle.
        let middle = |at: usize| sorted.get(at).copied().unwrap_or(0.0);
        let (low, high) = (middle(sorted.len().saturating_sub(1) / 2), middle(sorted.len() / 2));
        let median = low + (high - low) * 0.5;
        Self {
            name: name.to_owned(),
            n_rows: values.len() as u64,
            n_null: values.iter().filter(|value| value.is_nan()).count() as u64,
            values: Values::Numbers {
                min: sorted.first().copied().unwrap_or(0.0),
                max: sorted.last().copied().unwrap_or(0.0),
                mean,
                stddev: if n > 1.0 { (squares / (n - 1.0)).sqrt() } else { 0.0 },
                median,
                n_zero: sorted.iter().filter(|value| **value == 0.0).count() as u64,
                n_distinct: distinct as u64,
                counts: counted(values, &ends),
                ends,
            },
        }
    }

    fn texts(
        name: &str,
        values: &arrow::array::StringArray,
        categories: Vec<(String, u64)>,
        others: u64,
        n_distinct: u64,
    ) -> Self {
        let n = values.len() - values.null_count();
        let length = values.iter().flatten().map(|text| text.chars().count()).sum::<usize>();
        Self {
            name: name.to_owned(),
            n_rows: values.len() as u64,
            n_null: values.null_count() as u64,
            values: Values::Texts {
                categories,
                others,
                n_distinct,
                mean_length: if n > 0 { length as f64 / n as f64 } else { 0.0 },
            },
        }
    }

    /// Returns how far `other`, which [`Profile::like`] has given, has gone away from this one; `None` if one of them has no
    /// rows. NULL counts as a value of its own.
    pub fn drift(&self, other: &Self) -> Option<Drift> {
        if self.n_rows == 0 || other.n_rows == 0 {
            return None;
        }
        let (n, m) = (self.n_rows as f64, other.n_rows as f64);
        let nulls = (self.n_null as f64 / n, other.n_null as f64 / m);
        match (&self.values, &other.values) {
            (Values::Numbers { counts: a, .. }, Values::Numbers { counts: b, .. }) => {
                let (a, b) = (shares(a, n), shares(b, m));
                let (mut below_a, mut below_b, mut ks) = (0.0, 0.0, 0.0_f64);
                let (whole_a, whole_b) = (a.iter().sum::<f64>(), b.iter().sum::<f64>());
                for (a, b) in a.iter().zip(&b) {
                    (below_a, below_b) = (below_a + a, below_b + b);
                    let (a, b) = (below_a / whole_a, below_b / whole_b);
                    ks = ks.max(if a.is_nan() || b.is_nan() { 0.0 } else { (a - b).abs() });
                }
                // Neighbours together, as many rows of training in each group.
                let (mut groups_a, mut groups_b) = (vec![nulls.0], vec![nulls.1]);
                let (mut sum_a, mut sum_b, mut done) = (0.0, 0.0, 0.0);
                for (a, b) in a.iter().zip(&b) {
                    (sum_a, sum_b, done) = (sum_a + a, sum_b + b, done + a);
                    if done >= whole_a * groups_a.len() as f64 / GROUPS as f64 - 1e-12 {
                        groups_a.push(sum_a);
                        groups_b.push(sum_b);
                        (sum_a, sum_b) = (0.0, 0.0);
                    }
                }
                groups_a.push(sum_a);
                groups_b.push(sum_b);
                Some(Drift {
                    psi: psi(&groups_a, &groups_b),
                    ks: Some(ks),
                    jensen_shannon: jensen_shannon(&groups_a, &groups_b),
                    l_infinity: None,
                })
            }
            (
                Values::Texts { categories: a, others: more_a, .. },
                Values::Texts { categories: b, others: more_b, .. },
            ) => {
                let list = |categories: &[(String, u64)], others: u64, n: f64, null: f64| {
                    let counts = categories.iter().map(|(_, n)| *n).chain([others]);
                    let mut all = shares(&counts.collect::<Vec<_>>(), n);
                    all.push(null);
                    all
                };
                let (a, b) = (list(a, *more_a, n, nulls.0), list(b, *more_b, m, nulls.1));
                let most = a.iter().zip(&b).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
                Some(Drift {
                    psi: psi(&a, &b),
                    ks: None,
                    jensen_shannon: jensen_shannon(&a, &b),
                    l_infinity: Some(most),
                })
            }
            _ => None,
        }
    }
}

fn shares(counts: &[u64], n: f64) -> Vec<f64> {
    counts.iter().map(|count| *count as f64 / n).collect()
}

/// Shares of nothing count as one in ten thousand, or the index would have no end.
fn psi(a: &[f64], b: &[f64]) -> f64 {
    let one = |(a, b): (&f64, &f64)| match *a == 0.0 && *b == 0.0 {
        true => 0.0,
        false => (b.max(1e-4) - a.max(1e-4)) * (b.max(1e-4) / a.max(1e-4)).ln(),
    };
    a.iter().zip(b).map(one).sum()
}

fn jensen_shannon(a: &[f64], b: &[f64]) -> f64 {
    let part = |p: f64, m: f64| if p > 0.0 { p * (p / m).log2() } else { 0.0 };
    let one = |(a, b): (&f64, &f64)| {
        let middle = 0.5 * (a + b);
        0.5 * part(*a, middle) + 0.5 * part(*b, middle)
    };
    a.iter().zip(b).map(one).sum::<f64>().max(0.0)
}
