//! Dense linear algebra on small symmetric matrices, and the sums over rows that make them.

use std::ops::Range;

use maru_core::{Error, ErrorKind, Result};
use ndarray::{Array2, ArrayView2, ShapeBuilder};

use crate::frame::Matrix;
use crate::task::{Task, blocks};

/// A square matrix, row by row.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Square {
    pub n: usize,
    pub values: Vec<f64>,
}

impl Square {
    pub(crate) fn zeros(n: usize) -> Self {
        Self { n, values: vec![0.0; n * n] }
    }

    pub(crate) fn at(&self, row: usize, column: usize) -> f64 {
        self.values[row * self.n + column]
    }

    pub(crate) fn at_mut(&mut self, row: usize, column: usize) -> &mut f64 {
        &mut self.values[row * self.n + column]
    }
}

/// Sums in eight lanes, which the compiler keeps in vector registers.
pub(crate) fn dot(left: &[f64], right: &[f64]) -> f64 {
    let mut lanes = [0.0; 8];
    let (left_chunks, left_rest) = left.as_chunks::<8>();
    let (right_chunks, right_rest) = right.as_chunks::<8>();
    for (l, r) in left_chunks.iter().zip(right_chunks) {
        for lane in 0..8 {
            lanes[lane] += l[lane] * r[lane];
        }
    }
    let rest = left_rest.iter().zip(right_rest).map(|(l, r)| l * r).sum::<f64>();
    lanes.iter().sum::<f64>() + rest
}

pub(crate) fn sum(values: &[f64]) -> f64 {
    let mut lanes = [0.0; 8];
    let (chunks, rest) = values.as_chunks::<8>();
    for chunk in chunks {
        for lane in 0..8 {
            lanes[lane] += chunk[lane];
        }
    }
    lanes.iter().sum::<f64>() + rest.iter().sum::<f64>()
}

/// `to += by * from`
pub(crate) fn add_scaled(to: &mut [f64], by: f64, from: &[f64]) {
    for (to, from) in to.iter_mut().zip(from) {
        *to += by * from;
    }
}

/// Returns the mean of each column, in two passes, so that large offsets cost no digits.
pub(crate) fn means(x: &Matrix, task: &Task) -> Result<Vec<f64>> {
    task.map(x.n_columns(), |index| {
        let values = &x.columns[index];
        let n = (values.len() as f64).max(1.0);
        let first = sum(values) / n;
        let rest = values.chunks(1024).map(|c| c.iter().map(|v| v - first).sum::<f64>());
        Ok(first + rest.sum::<f64>() / n)
    })
}

/// `Σ w·(x − center)(x − center)ᵀ`, block by block.
pub(crate) struct Products<'a> {
    x: &'a Matrix,
    center: &'a [f64],
    total: Array2<f64>,
    plain: Vec<f64>,
    weighted: Vec<f64>,
}

impl<'a> Products<'a> {
    pub(crate) fn new(x: &'a Matrix, center: &'a [f64]) -> Self {
        let d = x.n_columns();
        Self { x, center, total: Array2::zeros((d, d)), plain: Vec::new(), weighted: Vec::new() }
    }

    /// Adds the rows of a block; `weights` of `None` are ones.
    pub(crate) fn add(&mut self, block: Range<usize>, weights: Option<&[f64]>) -> Result<()> {
        let (n, d) = (block.len(), self.x.n_columns());
        self.plain.clear();
        for (column, center) in self.x.columns.iter().zip(self.center) {
            self.plain.extend(column[block.clone()].iter().map(|value| value - center));
        }
        let left = view(&self.plain, n, d)?;
        let Some(weights) = weights else {
            ndarray::linalg::general_mat_mul(1.0, &left.t(), &left, 1.0, &mut self.total);
            return Ok(());
        };
        self.weighted.clear();
        for column in self.plain.chunks(n) {
            self.weighted.extend(column.iter().zip(weights).map(|(x, w)| x * w));
        }
        let right = view(&self.weighted, n, d)?;
        ndarray::linalg::general_mat_mul(1.0, &left.t(), &right, 1.0, &mut self.total);
        Ok(())
    }

    pub(crate) fn into_total(self) -> Array2<f64> {
        self.total
    }
}

/// Adds up what parts of the rows have given, and makes it the same on both sides of the diagonal.
pub(crate) fn symmetric(d: usize, parts: impl IntoIterator<Item = Array2<f64>>) -> Square {
    let mut total = Array2::<f64>::zeros((d, d));
    parts.into_iter().for_each(|part| total += &part);
    let mut square = Square::zeros(d);
    for row in 0..d {
        for column in 0..d {
            *square.at_mut(row, column) = 0.5 * (total[(row, column)] + total[(column, row)]);
        }
    }
    square
}

/// Returns `Σ w·(x − center)(x − center)ᵀ` over the rows; `weights` of `None` are ones.
pub(crate) fn gram(
    x: &Matrix,
    center: &[f64],
    weights: Option<&[f64]>,
    task: &Task,
) -> Result<Square> {
    let d = x.n_columns();
    let parts = task.map_rows(x.n_rows, d * d * 8, |range| {
        let mut products = Products::new(x, center);
        for block in blocks(range) {
            task.check()?;
            let weights = weights.map(|weights| &weights[block.clone()]);
            products.add(block, weights)?;
        }
        Ok(products.into_total())
    })?;
    Ok(symmetric(d, parts))
}

fn view(values: &[f64], n: usize, d: usize) -> Result<ArrayView2<'_, f64>> {
    ArrayView2::from_shape((n, d).f(), values)
        .map_err(|error| Error::internal("a block has another shape").with_cause(error))
}

/// The lower triangle `L` of `A = L·Lᵀ`.
pub(crate) struct Cholesky {
    lower: Square,
    is_flat: bool,
}

/// A column of which the others leave less than this share is one of their sums.
const FLAT: f64 = 1e-9;

impl Cholesky {
    /// Factors a matrix that is positive but for rounding: directions in which it is flat get a little weight, which
    /// splits what equal columns have in common evenly among them.
    pub(crate) fn new(matrix: &Square) -> Result<Self> {
        let n = matrix.n;
        for damping in [0.0, 1e-13, 1e-11, 1e-9, 1e-7] {
            if let Some(lower) = Self::factor(matrix, damping) {
                let left = |row: usize| lower.at(row, row).powi(2) / matrix.at(row, row);
                let is_flat = (0..n).any(|row| left(row) < FLAT);
                return Ok(Self { lower, is_flat });
            }
        }
        Err(Error::new(ErrorKind::OutOfRange, "the features leave no unique solution")
            .with_detail(format!("The {n} × {n} matrix of their products is not positive."))
            .with_hint(
                "Leave out features that are sums of others, or give l2_reg a value above 0.",
            ))
    }

    fn factor(matrix: &Square, damping: f64) -> Option<Square> {
        let n = matrix.n;
        let mut lower = Square::zeros(n);
        for row in 0..n {
            for column in 0..=row {
                let (above, left) = lower.values.split_at(row * n);
                let done = match column == row {
                    true => dot(&left[..column], &left[..column]),
                    false => dot(&left[..column], &above[column * n..column * n + column]),
                };
                if column < row {
                    let value = (matrix.at(row, column) - done) / lower.at(column, column);
                    *lower.at_mut(row, column) = value;
                    continue;
                }
                let whole = matrix.at(row, row) * (1.0 + damping) + damping * f64::MIN_POSITIVE;
                let pivot = whole - done;
                // A constant zero column has no say.
                if whole == 0.0 && done == 0.0 {
                    *lower.at_mut(row, row) = 1.0;
                } else if pivot.is_finite() && pivot > whole * 1e-14 {
                    *lower.at_mut(row, row) = pivot.sqrt();
                } else {
                    return None;
                }
            }
        }
        Some(lower)
    }

    /// Returns the triangle, row by row; above the diagonal stand zeros.
    pub(crate) fn into_lower(self) -> Vec<f64> {
        self.lower.values
    }

    /// Whether a column is a sum of others but for rounding: what the inverse has on its diagonal means nothing then.
    pub(crate) fn is_flat(&self) -> bool {
        self.is_flat
    }

    pub(crate) fn solve(&self, right: &[f64]) -> Vec<f64> {
        let (lower, n) = (&self.lower, self.lower.n);
        let mut x = right.to_vec();
        for row in 0..n {
            let done = dot(&lower.values[row * n..row * n + row], &x[..row]);
            x[row] = (x[row] - done) / lower.at(row, row);
        }
        for row in (0..n).rev() {
            let done = (row + 1..n).map(|below| lower.at(below, row) * x[below]).sum::<f64>();
            x[row] = (x[row] - done) / lower.at(row, row);
        }
        x
    }

    /// Returns the diagonal of the inverse.
    pub(crate) fn inverse_diagonal(&self) -> Vec<f64> {
        let n = self.lower.n;
        let unit = |index| (0..n).map(|at| f64::from(u8::from(at == index))).collect::<Vec<_>>();
        (0..n).map(|index| self.solve(&unit(index))[index]).collect()
    }
}

/// Returns the eigenvalues of a symmetric matrix, the largest first, and their vectors (by row), by Jacobi's rotations, which
/// find small ones exactly too.
pub(crate) fn eigen(matrix: &Square, task: &Task) -> Result<(Vec<f64>, Vec<Vec<f64>>)> {
    let n = matrix.n;
    let mut a = matrix.clone();
    let mut vectors = Square::zeros(n);
    (0..n).for_each(|index| *vectors.at_mut(index, index) = 1.0);
    for _sweep in 0..60 {
        let mut rotated = false;
        for p in 0..n {
            task.check()?;
            for q in p + 1..n {
                let off = a.at(p, q);
                let bound = (a.at(p, p).abs() * a.at(q, q).abs()).sqrt();
                if off == 0.0 || off.abs() <= 1e-17 * bound {
                    continue;
                }
                rotated = true;
                let theta = (a.at(q, q) - a.at(p, p)) / (2.0 * off);
                let t = theta.signum() / (theta.abs() + theta.hypot(1.0));
                let t = if theta == 0.0 { 1.0 } else { t };
                let cos = 1.0 / t.hypot(1.0);
                let sin = t * cos;
                for k in 0..n {
                    let (x, y) = (a.at(k, p), a.at(k, q));
                    *a.at_mut(k, p) = cos * x - sin * y;
                    *a.at_mut(k, q) = sin * x + cos * y;
                }
                for k in 0..n {
                    let (x, y) = (a.at(p, k), a.at(q, k));
                    *a.at_mut(p, k) = cos * x - sin * y;
                    *a.at_mut(q, k) = sin * x + cos * y;
                    let (x, y) = (vectors.at(p, k), vectors.at(q, k));
                    *vectors.at_mut(p, k) = cos * x - sin * y;
                    *vectors.at_mut(q, k) = sin * x + cos * y;
                }
                *a.at_mut(p, q) = 0.0;
                *a.at_mut(q, p) = 0.0;
            }
        }
        if !rotated {
            break;
        }
    }
    let mut order = (0..n).collect::<Vec<_>>();
    order.sort_by(|l, r| a.at(*r, *r).total_cmp(&a.at(*l, *l)));
    let values = order.iter().map(|index| a.at(*index, *index)).collect();
    let rows = order.iter().map(|index| vectors.values[index * n..(index + 1) * n].to_vec());
    Ok((values, rows.collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn eigenvectors_multiply_back() {
        let matrix = Square { n: 3, values: vec![4.0, 1.0, 0.5, 1.0, 3.0, 0.2, 0.5, 0.2, 1e-9] };
        let (values, vectors) = eigen(&matrix, &Task::single()).unwrap();
        assert!(values[0] >= values[1] && values[1] >= values[2]);
        for row in 0..3 {
            for column in 0..3 {
                let back = (0..3).map(|k| values[k] * vectors[k][row] * vectors[k][column]);
                assert!((back.sum::<f64>() - matrix.at(row, column)).abs() < 1e-14);
            }
        }
    }

    #[test]
    fn equal_columns_share_what_they_have() {
        let matrix = Square { n: 2, values: vec![2.0, 2.0, 2.0, 2.0] };
        let solved = Cholesky::new(&matrix).unwrap().solve(&[2.0, 2.0]);
        assert!((solved[0] + solved[1] - 1.0).abs() < 1e-6, "{solved:?}");
    }
}
