//! How a tree grows: values in at most 255 bins, sums by bin, the split that gains most.

use maru_core::Result;

use super::{LEAF, Tree};
use crate::frame::Matrix;
use crate::random::Random;
use crate::task::Task;

const BINS_MAX: usize = 255;
/// Rows that the bins are found from.
const SAMPLE_ROWS: usize = 200_000;
/// Nodes of fewer rows are not worth other threads.
const ROWS_PARALLEL: usize = 20_000;

/// Values as the numbers of bins.
pub(crate) struct Binned {
    pub(crate) codes: Vec<Vec<u8>>,
    /// For each feature, where a bin ends: half way to the next value.
    pub(crate) ends: Vec<Vec<f64>>,
}

impl Binned {
    pub(crate) fn new(x: &Matrix, task: &Task) -> Result<Self> {
        let done = task.map(x.n_columns(), |index| {
            let values = &x.columns[index];
            // Of many rows a part says where the bins end: rows are in the order of their hashes, the first ones are a sample.
            let mut sorted = values[..values.len().min(SAMPLE_ROWS)].to_vec();
            sorted.sort_unstable_by(f64::total_cmp);
            task.check()?;
            let mut distinct = sorted.clone();
            // What rounding alone tells apart is one value, or else the last digit of a sum would decide where a row goes.
            let span = sorted.last().zip(sorted.first()).map_or(0.0, |(last, first)| last - first);
            distinct.dedup_by(|next, value| *next - *value <= 1e-11 * span);
            let between = |low: f64, high: f64| {
                let middle = low + (high - low) * 0.5;
                if middle < high { middle } else { low }
            };
            let ends = if distinct.len() <= BINS_MAX {
                distinct.windows(2).map(|pair| between(pair[0], pair[1])).collect::<Vec<_>>()
            } else {
                // As many rows in each; a value is never cut in two.
                let at = |bin: usize| sorted[bin * sorted.len() / BINS_MAX];
                let mut cuts = (1..BINS_MAX).map(at).collect::<Vec<_>>();
                cuts.dedup();
                let end = |cut: &f64| {
                    let next = distinct.partition_point(|value| *value <= cut - 1e-11 * span);
                    (0 < next && next < distinct.len())
                        .then(|| between(distinct[next - 1], distinct[next]))
                };
                let mut ends = cuts.iter().filter_map(end).collect::<Vec<_>>();
                ends.dedup();
                ends
            };
            let code = |value: &f64| ends.partition_point(|end| end < value) as u8;
            Ok((values.iter().map(code).collect::<Vec<u8>>(), ends))
        })?;
        let (codes, ends) = done.into_iter().unzip();
        Ok(Self { codes, ends })
    }
}

/// Where growing stops.
pub(crate) struct Limits {
    pub(crate) depth: usize,
    /// Rows of a leaf at least.
    pub(crate) rows: usize,
    /// Sum of second derivatives of a leaf at least.
    pub(crate) weight: f64,
    pub(crate) gain: f64,
    pub(crate) l2: f64,
    /// Features that a split chooses from.
    pub(crate) features: usize,
}

/// What a tree grows from. Leaves say `Σ gradient / (Σ hessian + l2)`.
pub(crate) struct Grow<'a> {
    pub(crate) binned: &'a Binned,
    /// `n_outputs` for each row.
    pub(crate) gradients: &'a [f64],
    pub(crate) hessians: &'a [f64],
    pub(crate) n_outputs: usize,
    pub(crate) limits: &'a Limits,
    /// The features that the tree may use; `None`: all.
    pub(crate) columns: Option<&'a [usize]>,
    pub(crate) task: &'a Task,
}

#[derive(Clone, Copy)]
struct Split {
    gain: f64,
    feature: usize,
    bin: u8,
}

/// Cuts rows in two by the codes of a feature, without a branch that the processor would have to guess.
fn divide(rows: &[u32], codes: &[u8], bin: u8) -> (Vec<u32>, Vec<u32>) {
    let (mut low, mut high) = (vec![0; rows.len()], vec![0; rows.len()]);
    let (mut n_low, mut n_high) = (0, 0);
    for row in rows {
        let is_low = codes[*row as usize] <= bin;
        low[n_low] = *row;
        high[n_high] = *row;
        n_low += usize::from(is_low);
        n_high += usize::from(!is_low);
    }
    low.truncate(n_low);
    high.truncate(n_high);
    low.shrink_to_fit();
    high.shrink_to_fit();
    (low, high)
}

/// Sums by bin of one feature: gradients by output, then hessian and count.
type Histogram = Vec<f64>;

impl Grow<'_> {
    fn width(&self) -> usize {
        self.n_outputs + 2
    }

    /// Grows a tree. `leaves` gets the rows of each leaf.
    pub(crate) fn tree(
        &self,
        rows: Vec<u32>,
        random: &mut Random,
        leaves: &mut Vec<(u32, Vec<u32>)>,
    ) -> Result<Tree> {
        let mut tree = Tree::default();
        let n_columns = self.binned.codes.len();
        let all = (0..n_columns).collect::<Vec<_>>();
        let columns = self.columns.unwrap_or(&all);
        // With all features at each split, the sums of one child are those of the node without the other's.
        let keeps = self.limits.features >= columns.len();
        self.node(&mut tree, rows, 0, columns, keeps, None, None, random, leaves)?;
        Ok(tree)
    }

    /// Adds up what the rows say: gradients by output, and hessians.
    fn sums(&self, rows: &[u32]) -> (Vec<f64>, f64) {
        let k = self.n_outputs;
        let (mut sums, mut weight) = (vec![0.0; k], 0.0);
        for row in rows {
            let row = *row as usize;
            for (sum, gradient) in sums.iter_mut().zip(&self.gradients[row * k..(row + 1) * k]) {
                *sum += gradient;
            }
            weight += self.hessians[row];
        }
        (sums, weight)
    }

    /// `known` are the sums by bin, `carried` those of the whole node, if its parent knows them. What a leaf says is always
    /// added up from its rows: differences of large sums would cost it digits.
    #[allow(clippy::too_many_arguments)]
    fn node(
        &self,
        tree: &mut Tree,
        rows: Vec<u32>,
        depth: usize,
        columns: &[usize],
        keeps: bool,
        known: Option<Vec<Histogram>>,
        carried: Option<(f64, f64)>,
        random: &mut Random,
        leaves: &mut Vec<(u32, Vec<u32>)>,
    ) -> Result<u32> {
        self.task.check()?;
        let k = self.n_outputs;
        let at = tree.feature.len();
        let ends =
            depth >= self.limits.depth || rows.len() < 2 * self.limits.rows || rows.len() < 2;
        let carried = carried.filter(|_| !ends && k == 1);
        let (sums, weight) = match carried {
            Some((sum, weight)) => (vec![sum], weight),
            None => self.sums(&rows),
        };
        let divisor = weight + self.limits.l2;
        tree.feature.push(LEAF);
        tree.threshold.push(0.0);
        tree.left.push(0);
        tree.right.push(0);
        tree.gain.push(0.0);
        tree.cover.push(weight);
        tree.value.extend(sums.iter().map(|sum| if divisor > 0.0 { sum / divisor } else { 0.0 }));
        if ends {
            leaves.push((at as u32, rows));
            return Ok(at as u32);
        }
        let chosen = match keeps {
            true => columns.to_vec(),
            false => {
                // All of them in a random order: those after the first few count if none of these can split.
                let order = random.sample(columns.len(), columns.len());
                order.into_iter().map(|index| columns[index]).collect()
            }
        };
        let task = if rows.len() * chosen.len() >= ROWS_PARALLEL * 4 {
            self.task.clone()
        } else {
            self.task.with_threads(1)
        };
        let parent = sums.iter().map(|sum| sum * sum).sum::<f64>() / divisor.max(f64::MIN_POSITIVE);
        let mut histograms = Vec::new();
        let mut best: Option<Split> = None;
        let better = |best: Option<Split>, found: Option<Split>| match (best, found) {
            (Some(best), Some(found)) if found.gain > best.gain => Some(found),
            (None, found) => found,
            (best, _) => best,
        };
        if keeps {
            histograms = match known {
                Some(known) => known,
                None => self.histograms(&rows, &chosen, &task)?,
            };
            for (nth, feature) in chosen.iter().enumerate() {
                best = better(
                    best,
                    self.best_split(&histograms[nth], *feature, &sums, weight, rows.len(), parent),
                );
            }
        } else {
            let few = self.limits.features;
            for (nth, feature) in chosen.iter().enumerate() {
                if nth >= few && best.is_some() {
                    break;
                }
                let histogram = self.histogram(&rows, *feature);
                best = better(
                    best,
                    self.best_split(&histogram, *feature, &sums, weight, rows.len(), parent),
                );
            }
        }
        let Some(split) = best else {
            if carried.is_some() {
                let (sums, weight) = self.sums(&rows);
                let divisor = weight + self.limits.l2;
                tree.cover[at] = weight;
                tree.value[at] = if divisor > 0.0 { sums[0] / divisor } else { 0.0 };
            }
            leaves.push((at as u32, rows));
            return Ok(at as u32);
        };
        let (low, high) = self.divided(&rows, split)?;
        drop(rows);
        let (mut low_known, mut high_known) = (None, None);
        let (mut low_carried, mut high_carried) = (None, None);
        let place = chosen.iter().position(|feature| *feature == split.feature);
        if let Some(whole) = place.and_then(|nth| histograms.get(nth)).filter(|_| k == 1) {
            let bins = &whole.as_chunks::<3>().0[..=split.bin as usize];
            let sum = bins.iter().map(|bin| bin[0]).sum::<f64>();
            let weight_low = bins.iter().map(|bin| bin[1]).sum::<f64>();
            low_carried = Some((sum, weight_low));
            high_carried = Some((sums[0] - sum, weight - weight_low));
        }
        if keeps && depth + 1 < self.limits.depth {
            let (small, small_is_low) =
                if low.len() <= high.len() { (&low, true) } else { (&high, false) };
            let made = self.histograms(small, &chosen, &task)?;
            for (whole, part) in histograms.iter_mut().zip(&made) {
                whole.iter_mut().zip(part).for_each(|(whole, part)| *whole -= part);
            }
            (low_known, high_known) = match small_is_low {
                true => (Some(made), Some(histograms)),
                false => (Some(histograms), Some(made)),
            };
        }
        tree.feature[at] = split.feature as u32;
        tree.threshold[at] = self.binned.ends[split.feature][split.bin as usize];
        tree.gain[at] = split.gain;
        let (deeper, low_sums, high_sums) = (depth + 1, low_carried, high_carried);
        let left =
            self.node(tree, low, deeper, columns, keeps, low_known, low_sums, random, leaves)?;
        let right =
            self.node(tree, high, deeper, columns, keeps, high_known, high_sums, random, leaves)?;
        tree.left[at] = left;
        tree.right[at] = right;
        Ok(at as u32)
    }

    /// Cuts the rows of a node in two, many of them on several threads; each part keeps its order.
    fn divided(&self, rows: &[u32], split: Split) -> Result<(Vec<u32>, Vec<u32>)> {
        let codes = &self.binned.codes[split.feature];
        let n_threads = self.task.n_threads();
        if rows.len() < ROWS_PARALLEL * 4 || n_threads == 1 {
            return Ok(divide(rows, codes, split.bin));
        }
        let parts = rows.chunks(rows.len().div_ceil(n_threads)).collect::<Vec<_>>();
        let parts = self.task.map(parts.len(), |part| Ok(divide(parts[part], codes, split.bin)))?;
        let (low, high) = parts.into_iter().unzip::<_, _, Vec<_>, Vec<_>>();
        Ok((low.concat(), high.concat()))
    }

    /// Sums by bin of the chosen features. What a row adds is gathered once, in the order of the rows.
    fn histograms(&self, rows: &[u32], chosen: &[usize], task: &Task) -> Result<Vec<Histogram>> {
        if self.n_outputs > 1 {
            return task.map(chosen.len(), |nth| Ok(self.histogram(rows, chosen[nth])));
        }
        let whole = rows.len() == self.hessians.len();
        let pair = |row: &u32| [self.gradients[*row as usize], self.hessians[*row as usize]];
        let added = match whole {
            // In the order of the rows, as they are.
            true => self.gradients.iter().zip(self.hessians).map(|(g, h)| [*g, *h]).collect(),
            false => rows.iter().map(pair).collect::<Vec<_>>(),
        };
        // Two features at once: what a row adds is read once for both.
        let pairs = chosen.chunks(2).collect::<Vec<_>>();
        let made = task.map(pairs.len(), |nth| {
            let first = pairs[nth][0];
            let second = pairs[nth].last().copied().unwrap_or(first);
            let (a, b) = (&self.binned.codes[first], &self.binned.codes[second]);
            // A place for each code that there can be: no bounds to check; four numbers each, as registers hold them.
            let mut sums = [[[0.0; 4]; 256]; 2];
            let [sums_a, sums_b] = &mut sums;
            let add = |sums: &mut [[f64; 4]; 256], code: u8, added: &[f64; 2]| {
                let sum = &mut sums[code as usize];
                let added = [added[0], added[1], 1.0, 0.0];
                for lane in 0..4 {
                    sum[lane] += added[lane];
                }
            };
            match (whole, first == second) {
                (true, true) => {
                    a.iter().zip(&added).for_each(|(code, added)| add(sums_a, *code, added));
                }
                (true, false) => {
                    for ((a, b), added) in a.iter().zip(b).zip(&added) {
                        add(sums_a, *a, added);
                        add(sums_b, *b, added);
                    }
                }
                (false, true) => {
                    for (row, added) in rows.iter().zip(&added) {
                        add(sums_a, a[*row as usize], added);
                    }
                }
                (false, false) => {
                    for (row, added) in rows.iter().zip(&added) {
                        add(sums_a, a[*row as usize], added);
                        add(sums_b, b[*row as usize], added);
                    }
                }
            }
            let flat = |(sums, feature): (&[[f64; 4]; 256], &usize)| {
                let n_bins = self.binned.ends[*feature].len() + 1;
                sums[..n_bins].iter().flat_map(|sum| [sum[0], sum[1], sum[2]]).collect::<Vec<_>>()
            };
            Ok(sums.iter().zip(pairs[nth]).map(flat).collect::<Vec<_>>())
        })?;
        Ok(made.into_iter().flatten().collect())
    }

    fn histogram(&self, rows: &[u32], feature: usize) -> Histogram {
        let (k, width) = (self.n_outputs, self.width());
        let codes = &self.binned.codes[feature];
        let mut histogram = vec![0.0; (self.binned.ends[feature].len() + 1) * width];
        for row in rows {
            let row = *row as usize;
            let at = codes[row] as usize * width;
            let sums = &mut histogram[at..at + width];
            for (sum, gradient) in sums.iter_mut().zip(&self.gradients[row * k..(row + 1) * k]) {
                *sum += gradient;
            }
            sums[k] += self.hessians[row];
            sums[k + 1] += 1.0;
        }
        histogram
    }

    fn best_split(
        &self,
        histogram: &[f64],
        feature: usize,
        sums: &[f64],
        weight: f64,
        n_rows: usize,
        parent: f64,
    ) -> Option<Split> {
        let (k, width, limits) = (self.n_outputs, self.width(), self.limits);
        let mut left = vec![0.0; width];
        let mut best: Option<Split> = None;
        let n_bins = histogram.len() / width;
        for bin in 0..n_bins.saturating_sub(1) {
            let added = &histogram[bin * width..(bin + 1) * width];
            if added[k + 1] < 0.5 {
                continue;
            }
            left.iter_mut().zip(added).for_each(|(left, added)| *left += added);
            let n_left = left[k + 1].round() as usize;
            let n_right = n_rows - n_left.min(n_rows);
            let right_weight = weight - left[k];
            if n_right < limits.rows.max(1) {
                break;
            }
            if n_left < limits.rows || left[k] < limits.weight || right_weight < limits.weight {
                continue;
            }
            let (low, high) = (left[k] + limits.l2, right_weight + limits.l2);
            if low <= 0.0 || high <= 0.0 {
                continue;
            }
            let mut gain = -parent;
            for (total, left) in sums.iter().zip(&left[..k]) {
                gain += left * left / low + (total - left) * (total - left) / high;
            }
            // Rounding alone gives gains this small.
            let least =
                best.map_or(limits.gain.max(1e-12 * (parent.abs() + 1e-300)), |best| best.gain);
            if gain > least {
                best = Some(Split { gain, feature, bin: bin as u8 });
            }
        }
        best
    }
}
