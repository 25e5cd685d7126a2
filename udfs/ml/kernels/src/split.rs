//! Which rows train and which evaluate. What decides is the row's hash, so that the order of the rows does not.

use crate::random::{hash_with, unit};

/// How rows are split.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Split {
    /// All rows train, and evaluate too.
    None,
    /// This share of the rows evaluates.
    Random { share: f64, seed: u64 },
    /// Of each class this share.
    Stratified { share: f64, seed: u64 },
}

/// The numbers of the rows.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Parts {
    pub train: Vec<u32>,
    pub evaluate: Vec<u32>,
}

impl Split {
    /// Splits rows by their hashes; equal rows stay together. `classes` are their labels' numbers.
    pub fn parts(&self, hashes: &[u64], classes: Option<&[u32]>) -> Parts {
        let all = 0..hashes.len() as u32;
        let place =
            |row: u32, seed: u64| unit(hash_with(hash_with(0x5eed, seed), hashes[row as usize]));
        match (*self, classes) {
            (Self::None, _) => Parts { train: all.clone().collect(), evaluate: all.collect() },
            (Self::Random { share, seed }, _) | (Self::Stratified { share, seed }, None) => {
                let (evaluate, train) = all.partition(|row| place(*row, seed) < share);
                Parts { train, evaluate }
            }
            (Self::Stratified { share, seed }, Some(classes)) => {
                let mut order = all.collect::<Vec<_>>();
                order.sort_by(|a, b| {
                    let class = |row: u32| classes[row as usize];
                    class(*a).cmp(&class(*b)).then(place(*a, seed).total_cmp(&place(*b, seed)))
                });
                let mut parts = Parts::default();
                for class in order.chunk_by(|a, b| classes[*a as usize] == classes[*b as usize]) {
                    let n = (class.len() as f64 * share).round() as usize;
                    parts.evaluate.extend(&class[..n]);
                    parts.train.extend(&class[n..]);
                }
                parts.train.sort_unstable();
                parts.evaluate.sort_unstable();
                parts
            }
        }
    }
}

/// How rows are dealt out to folds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Folding {
    Random,
    /// Of each class as many rows to each fold.
    Stratified,
    /// Rows of one group to one fold.
    Group,
    /// In the order of a column: each fold is measured by what comes before it.
    Time,
}

/// Returns the folds. `classes` are wanted for [`Folding::Stratified`], `keys` for groups and time: rows of the same key are
/// of the same group, or of the same time. Folds without rows are left out.
pub fn fold_parts(
    how: Folding,
    n_folds: usize,
    seed: u64,
    hashes: &[u64],
    classes: Option<&[u32]>,
    keys: Option<&[f64]>,
) -> Vec<Parts> {
    let n = hashes.len();
    let all = 0..n as u32;
    let place = |row: u32| hash_with(hash_with(0xf01d, seed), hashes[row as usize]);
    let key = |row: u32| keys.map_or(0.0, |keys| keys[row as usize]);
    let mut fold = vec![0_usize; n];
    match how {
        Folding::Random => {
            let mut order = all.clone().collect::<Vec<_>>();
            order.sort_by_key(|row| (place(*row), *row));
            order.iter().enumerate().for_each(|(at, row)| fold[*row as usize] = at % n_folds);
        }
        Folding::Stratified => {
            let class = |row: u32| classes.map_or(0, |classes| classes[row as usize]);
            let mut order = all.clone().collect::<Vec<_>>();
            order.sort_by_key(|row| (class(*row), place(*row), *row));
            order.iter().enumerate().for_each(|(at, row)| fold[*row as usize] = at % n_folds);
        }
        Folding::Group => {
            // The largest groups first, each to the fold that has the fewest rows.
            let mut sizes = std::collections::HashMap::<u64, usize>::new();
            all.clone().for_each(|row| *sizes.entry(key(row).to_bits()).or_default() += 1);
            let mut groups = sizes.into_iter().collect::<Vec<_>>();
            groups.sort_by_key(|(group, size)| {
                (std::cmp::Reverse(*size), hash_with(seed, *group), *group)
            });
            let mut filled = vec![0_usize; n_folds];
            let mut own = std::collections::HashMap::new();
            for (group, size) in groups {
                let least = (0..n_folds).min_by_key(|fold| (filled[*fold], *fold)).unwrap_or(0);
                filled[least] += size;
                own.insert(group, least);
            }
            for row in all.clone() {
                fold[row as usize] = own.get(&key(row).to_bits()).copied().unwrap_or(0);
            }
        }
        Folding::Time => {
            let mut order = all.clone().collect::<Vec<_>>();
            order.sort_by(|a, b| key(*a).total_cmp(&key(*b)));
            // As many rows in each of one more part than there are folds; the first only trains. Times are not cut in two.
            let mut at = 0;
            for same in order.chunk_by(|a, b| key(*a) == key(*b)) {
                let part = at * (n_folds + 1) / n.max(1);
                same.iter().for_each(|row| fold[*row as usize] = part);
                at += same.len();
            }
            let parts = (1..=n_folds).map(|part| Parts {
                train: all.clone().filter(|row| fold[*row as usize] < part).collect(),
                evaluate: all.clone().filter(|row| fold[*row as usize] == part).collect(),
            });
            return parts.filter(|p| !p.train.is_empty() && !p.evaluate.is_empty()).collect();
        }
    }
    let parts = (0..n_folds).map(|part| {
        let (evaluate, train) = all.clone().partition(|row| fold[*row as usize] == part);
        Parts { train, evaluate }
    });
    parts.filter(|p| !p.train.is_empty() && !p.evaluate.is_empty()).collect()
}
