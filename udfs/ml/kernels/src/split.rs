//! Which rows train and which evaluate. What decides is the row's hash, so that the order of the rows does not.

use maru_core::Result;

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

/// Numbers the fold of each row, from 0 to below `n_folds`.
pub fn folds(hashes: &[u64], n_folds: usize, seed: u64) -> Result<Vec<usize>> {
    let fold =
        |hash: &u64| (unit(hash_with(hash_with(0xf01d, seed), *hash)) * n_folds as f64) as usize;
    Ok(hashes.iter().map(fold).collect())
}
