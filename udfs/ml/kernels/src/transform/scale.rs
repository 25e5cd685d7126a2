//! Scalers: each column minus something, divided by something; and the normaliser of rows.

use std::sync::Arc;

use maru_core::Result;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use super::quantile::quantiles;
use super::{Apply, Context, Given, Literal, frame, numbers};
use crate::frame::{Column, Frame, Matrix};
use crate::task::Task;

/// `(x − center) / scale`. A column without spread is divided by 1, as in scikit-learn. NULL stays NULL.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Scale {
    pub center: Vec<f64>,
    pub scale: Vec<f64>,
}

impl Scale {
    pub(super) fn fit(given: &Given<'_>, x: &Matrix, context: &Context<'_>) -> Result<Self> {
        let percent = |name, default| -> Result<f64> {
            let value = given.number(name)?.unwrap_or(default);
            if !(0.0..=100.0).contains(&value) {
                return Err(given.invalid(&format!("{name} is a percentage")));
            }
            Ok(value / 100.0)
        };
        let robust = given.name() == "robust_scaler";
        let (low, high) = match robust {
            true => (percent("quantile_low", 25.0)?, percent("quantile_high", 75.0)?),
            false => (0.0, 1.0),
        };
        if low >= high {
            return Err(given.invalid("quantile_low is below quantile_high"));
        }
        let learnt = context.task.map(x.n_columns(), |index| {
            let known = || x.columns[index].iter().copied().filter(|value| value.is_finite());
            Ok(match given.name() {
                "min_max_scaler" => {
                    let (least, most) = extremes(&x.columns[index], f64::is_finite);
                    (least, most - least)
                }
                "max_abs_scaler" => {
                    let (least, most) = extremes(&x.columns[index], f64::is_finite);
                    (0.0, most.max(-least).max(0.0))
                }
                "standard_scaler" => {
                    let (n, mean, squares) = finite_moments(&x.columns[index]);
                    (mean, if n > 0.0 { (squares / n).sqrt() } else { 0.0 })
                }
                _ => {
                    let at = quantiles(known().collect(), &[low, 0.5, high]);
                    (at[1], at[2] - at[0])
                }
            })
        })?;
        let fixed = learnt.into_iter().map(|(center, scale): (f64, f64)| {
            let center = if center.is_finite() { center } else { 0.0 };
            // Rounding leaves a constant column a spread of a few units in the last place.
            let spread = scale.is_finite() && scale > 10.0 * f64::EPSILON * center.abs();
            (center, if spread && scale > 0.0 { scale } else { 1.0 })
        });
        let (center, scale) = fixed.unzip();
        Ok(Self { center, scale })
    }

    /// Learns mean and deviation.
    pub fn standard(x: &Matrix, task: &Task) -> Result<Self> {
        let arguments = super::Arguments::default();
        let given = Given::new(super::spec("standard_scaler")?, &arguments)?;
        Self::fit(&given, x, &Context { task, seed: 0, target: None })
    }
}

/// Returns the count, the mean and the sum of squares around it.
pub(crate) fn moments(values: impl Iterator<Item = f64>) -> (f64, f64, f64) {
    let (mut n, mut mean, mut squares) = (0.0, 0.0, 0.0);
    for value in values {
        n += 1.0;
        let off = value - mean;
        mean += off / n;
        squares += off * (value - mean);
    }
    (n, mean, squares)
}

/// Adds up two things in eight lanes each, which the compiler keeps in vector registers, and in blocks, so that a long column
/// costs no digits.
fn in_lanes(values: &[f64], add: impl Fn(f64) -> (f64, f64)) -> (f64, f64) {
    let (chunks, rest) = values.as_chunks::<8>();
    let (mut first, mut second) = (0.0, 0.0);
    for block in chunks.chunks(128) {
        let (mut lanes, mut others) = ([0.0; 8], [0.0; 8]);
        for chunk in block {
            for lane in 0..8 {
                let (one, other) = add(chunk[lane]);
                lanes[lane] += one;
                others[lane] += other;
            }
        }
        first += lanes.iter().sum::<f64>();
        second += others.iter().sum::<f64>();
    }
    for value in rest {
        let (one, other) = add(*value);
        first += one;
        second += other;
    }
    (first, second)
}

/// Returns the count, the mean and the sum of squares around it of the values that are finite. Two passes: around a mean that
/// is nearly right, sums of large offsets cost no digits.
pub fn finite_moments(values: &[f64]) -> (f64, f64, f64) {
    let known = |value: f64| value.abs() < f64::INFINITY;
    let (n, sum) = in_lanes(values, |value| if known(value) { (1.0, value) } else { (0.0, 0.0) });
    if n == 0.0 {
        return (0.0, 0.0, 0.0);
    }
    let first = sum / n;
    let (rest, squares) = in_lanes(values, |value| {
        let off = if known(value) { value - first } else { 0.0 };
        (off, off * off)
    });
    (n, first + rest / n, (squares - rest * (rest / n)).max(0.0))
}

/// Returns the least and the greatest of the values that are `known`, NaN aside, in lanes; infinities of the other sign if there is
/// none.
pub fn extremes(values: &[f64], known: impl Fn(f64) -> bool) -> (f64, f64) {
    let (mut least, mut most) = ([f64::INFINITY; 8], [f64::NEG_INFINITY; 8]);
    let mut look = |lane: usize, value: f64| {
        let known = known(value);
        least[lane] = if known && value < least[lane] { value } else { least[lane] };
        most[lane] = if known && value > most[lane] { value } else { most[lane] };
    };
    let (chunks, rest) = values.as_chunks::<8>();
    for chunk in chunks {
        for lane in 0..8 {
            look(lane, chunk[lane]);
        }
    }
    rest.iter().for_each(|value| look(0, *value));
    (
        least.into_iter().fold(f64::INFINITY, f64::min),
        most.into_iter().fold(-f64::INFINITY, f64::max),
    )
}

impl Apply for Scale {
    fn apply(&self, input: &Frame, task: &Task) -> Result<Frame> {
        self.apply_owned(input.clone(), task)
    }

    /// A column that nobody else holds is scaled where it lies: it is as large as the rows, and new memory costs more than the
    /// division.
    fn apply_owned(&self, input: Frame, task: &Task) -> Result<Frame> {
        let n_rows = input.n_rows;
        let Matrix { names, columns, .. } = numbers("scaler", &input)?;
        drop(input);
        let columns =
            columns.into_iter().map(|column| Mutex::new(Some(column))).collect::<Vec<_>>();
        let columns = task.map(columns.len(), |index| {
            let (center, scale) = (self.center[index], self.scale[index]);
            let mut column = columns[index].lock().take().unwrap_or_default();
            match Arc::get_mut(&mut column) {
                Some(own) => own.iter_mut().for_each(|value| *value = (*value - center) / scale),
                None => {
                    let scaled = column.iter().map(|value| (value - center) / scale);
                    column = Arc::new(scaled.collect());
                }
            }
            Ok((names[index].clone(), Column::Number(column)))
        })?;
        Ok(Frame { n_rows, columns })
    }
}

/// Divides each row by its norm.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Normalize {
    /// 1 or 2; `None` is the maximum norm.
    pub p: Option<f64>,
}

impl Normalize {
    pub(super) fn fit(given: &Given<'_>, _: &Matrix) -> Result<Self> {
        match given.get("p") {
            None => Ok(Self { p: Some(2.0) }),
            Some(Literal::Number(p)) if *p >= 1.0 && p.is_finite() => Ok(Self { p: Some(*p) }),
            Some(Literal::Text(text)) if text.eq_ignore_ascii_case("inf") => Ok(Self { p: None }),
            Some(_) => Err(given.invalid("p is a number from 1 on, or 'inf'")),
        }
    }
}

impl Apply for Normalize {
    fn apply(&self, input: &Frame, _: &Task) -> Result<Frame> {
        let x = numbers("normalizer", input)?;
        let mut columns =
            x.columns.iter().map(|column| column.as_ref().clone()).collect::<Vec<_>>();
        for row in 0..input.n_rows {
            // What is NULL counts as nothing, and stays NULL.
            let values = columns.iter().map(|column| column[row].abs());
            let values = values.filter(|value| !value.is_nan());
            let norm = match self.p {
                None => values.fold(0.0, f64::max),
                Some(2.0) => values.map(|value| value * value).sum::<f64>().sqrt(),
                Some(p) => values.map(|value| value.powf(p)).sum::<f64>().powf(1.0 / p),
            };
            if norm > 0.0 {
                columns.iter_mut().for_each(|column| column[row] /= norm);
            }
        }
        Ok(frame(input.n_rows, x.names.into_iter().zip(columns).collect()))
    }
}
