//! Time series by Holt and Winters: a level, a trend and a season, each smoothed, and what they come to.

mod steps;

use maru_core::{Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};

use crate::random::Random;
use crate::task::Task;

pub use steps::{Forecasts, Series, Step, TimeUnit};

/// How the season joins the level.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Season {
    None,
    Additive,
    Multiplicative,
}

/// What is to be learnt.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Shape {
    pub trend: bool,
    pub damped: bool,
    pub season: Season,
    /// Steps of a season.
    pub period: usize,
}

/// A series that has been learnt: the equations of statsmodels' `ExponentialSmoothing`, started from the first seasons.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HoltWinters {
    pub alpha: f64,
    pub beta: f64,
    pub gamma: f64,
    pub phi: f64,
    pub season: Season,
    pub period: usize,
    /// After the last value.
    pub level: f64,
    pub trend: f64,
    /// Of the next steps.
    pub seasons: Vec<f64>,
    /// Of the errors of one step; with a multiplicative season as a share of the value.
    pub deviation: f64,
    /// Sum of squared errors, their number, and Akaike's criterion.
    pub squares: f64,
    pub n_values: usize,
    pub aic: f64,
}

/// A step ahead, with the deviation of its error.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ahead {
    pub value: f64,
    pub deviation: f64,
}

struct Run {
    level: f64,
    trend: f64,
    seasons: Vec<f64>,
    squares: f64,
    /// The same relative to what was expected.
    relative: f64,
}

/// Level, trend and season that a series starts from.
fn start(y: &[f64], shape: &Shape) -> (f64, f64, Vec<f64>) {
    let m = if shape.season == Season::None { 1 } else { shape.period };
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len().max(1) as f64;
    let level = mean(&y[..m]);
    let trend = match shape.trend {
        true => (mean(&y[m..2 * m]) - level) / m as f64,
        false => 0.0,
    };
    let seasons = match shape.season {
        Season::None => vec![0.0],
        Season::Additive => y[..m].iter().map(|v| v - level).collect(),
        Season::Multiplicative => y[..m].iter().map(|v| v / level).collect(),
    };
    (level, trend, seasons)
}

/// Goes through a series.
fn run(y: &[f64], shape: &Shape, [alpha, beta, gamma, phi]: [f64; 4]) -> Run {
    let (mut level, mut trend, mut seasons) = start(y, shape);
    let (mut squares, mut relative) = (0.0, 0.0);
    let m = seasons.len();
    for (at, value) in y.iter().enumerate() {
        let base = level + phi * trend;
        if shape.season == Season::Multiplicative && base <= 0.0 {
            // Values are above 0: a level that is not has gone astray, and shares of it mean nothing.
            squares = f64::INFINITY;
            break;
        }
        let season = &mut seasons[at % m];
        let (expected, own) = match shape.season {
            Season::None => (base, *value),
            Season::Additive => (base + *season, value - *season),
            Season::Multiplicative => (base * *season, value / *season),
        };
        let error = value - expected;
        squares += error * error;
        relative += (error / expected) * (error / expected);
        let next = alpha * own + (1.0 - alpha) * base;
        trend = if shape.trend { beta * (next - level) + (1.0 - beta) * phi * trend } else { 0.0 };
        level = next;
        match shape.season {
            Season::None => {}
            Season::Additive => *season = gamma * (value - base) + (1.0 - gamma) * *season,
            Season::Multiplicative => *season = gamma * (value / base) + (1.0 - gamma) * *season,
        }
    }
    seasons.rotate_left(y.len() % m);
    Run { level, trend, seasons, squares, relative }
}

/// Finds the least of a function by a simplex that creeps downhill (Nelder and Mead, 1965).
fn descend(start: Vec<f64>, f: &dyn Fn(&[f64]) -> f64, task: &Task) -> Result<(Vec<f64>, f64)> {
    let n = start.len();
    let mut simplex = vec![(f(&start), start.clone())];
    for index in 0..n {
        let mut corner = start.clone();
        corner[index] += 0.7;
        simplex.push((f(&corner), corner));
    }
    for _ in 0..400 * n {
        task.check()?;
        simplex.sort_by(|a, b| a.0.total_cmp(&b.0));
        let (best, worst) = (simplex[0].0, simplex[n].0);
        if (worst - best).abs() <= 1e-12 * (best.abs() + 1e-300) {
            break;
        }
        let middle = (0..n)
            .map(|index| simplex[..n].iter().map(|(_, c)| c[index]).sum::<f64>() / n as f64)
            .collect::<Vec<_>>();
        let along = |by: f64| {
            let pairs = middle.iter().zip(&simplex[n].1);
            let corner = pairs.map(|(m, w)| m + by * (m - w)).collect::<Vec<_>>();
            (f(&corner), corner)
        };
        let reflected = along(1.0);
        let next = if reflected.0 < best {
            let further = along(2.0);
            if further.0 < reflected.0 { further } else { reflected }
        } else if reflected.0 < simplex[n - 1].0 {
            reflected
        } else {
            let nearer = along(if reflected.0 < worst { 0.5 } else { -0.5 });
            if nearer.0 < worst.min(reflected.0) {
                nearer
            } else {
                let first = simplex[0].1.clone();
                for (value, corner) in simplex.iter_mut().skip(1) {
                    corner.iter_mut().zip(&first).for_each(|(c, b)| *c = b + 0.5 * (*c - b));
                    *value = f(corner);
                }
                continue;
            }
        };
        simplex[n] = next;
    }
    simplex.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (value, place) = simplex.swap_remove(0);
    Ok((place, value))
}

impl HoltWinters {
    /// Learns a series: values at equal steps.
    ///
    /// # Errors
    /// 22023 for too few values, values that are not finite, and values from 0 down with a multiplicative season.
    pub fn fit(y: &[f64], shape: &Shape, task: &Task) -> Result<Self> {
        let m = if shape.season == Season::None { 1 } else { shape.period };
        let invalid = |what: &str| Error::new(ErrorKind::InvalidParameter, what.to_owned());
        if m == 0 || y.len() < 2 * m || y.len() < 3 {
            return Err(invalid("the series is too short")
                .with_detail(format!(
                    "It has {} values; a season of {m} takes at least {}.",
                    y.len(),
                    (2 * m).max(3)
                ))
                .with_hint(match m {
                    1 => "Give it more rows.",
                    _ => "Name a shorter season: seasonality = 1 for none.",
                }));
        }
        if !y.iter().all(|value| value.is_finite()) {
            return Err(invalid("the series has values that are infinite or missing"));
        }
        if shape.season == Season::Multiplicative && y.iter().any(|value| *value <= 0.0) {
            return Err(invalid("a multiplicative season takes values above 0")
                .with_hint("Use season_type = 'additive'."));
        }
        let free = [true, shape.trend, shape.season != Season::None, shape.trend && shape.damped];
        let n_free = free.iter().filter(|free| **free).count();
        let unit = |u: f64| 1.0 / (1.0 + (-u).exp());
        let places = |u: &[f64]| {
            let mut u = u.iter();
            let mut next = |index: usize| if free[index] { u.next().copied() } else { None };
            [
                next(0).map_or(0.0, unit),
                next(1).map_or(0.0, unit),
                next(2).map_or(0.0, unit),
                // Damping below four fifths is no trend any more.
                next(3).map_or(1.0, |u| 0.8 + 0.198 * unit(u)),
            ]
        };
        let loss = |u: &[f64]| {
            let squares = run(y, shape, places(u)).squares;
            if squares.is_finite() { squares } else { f64::MAX }
        };
        let logit = |p: f64| (p / (1.0 - p)).ln();
        let mut starts = Vec::new();
        for alpha in [0.05, 0.3, 0.7] {
            for beta in [0.01, 0.2] {
                for gamma in [0.05, 0.4] {
                    let all = [logit(alpha), logit(beta), logit(gamma), 1.0];
                    let chosen = all.iter().zip(free).filter(|(_, free)| *free);
                    let u = chosen.map(|(u, _)| *u).collect::<Vec<_>>();
                    starts.push((loss(&u), u));
                }
            }
        }
        starts.sort_by(|a, b| a.0.total_cmp(&b.0));
        starts.dedup_by(|a, b| a.1 == b.1);
        let mut best: Option<(Vec<f64>, f64)> = None;
        for (_, u) in starts.into_iter().take(3) {
            let found = descend(u, &loss, task)?;
            if best.as_ref().is_none_or(|(_, least)| found.1 < *least) {
                best = Some(found);
            }
        }
        let (u, squares) = best.ok_or_else(|| Error::internal("a series was not started"))?;
        if shape.season == Season::Multiplicative && squares == f64::MAX {
            return Err(invalid("no multiplicative season fits the series")
                .with_detail("Its level falls to 0 whichever way it is smoothed.")
                .with_hint("Use season_type = 'additive', or trend = false."));
        }
        let [alpha, beta, gamma, phi] = places(&u);
        let end = run(y, shape, [alpha, beta, gamma, phi]);
        let n = y.len() as f64;
        let left = (n - n_free as f64).max(1.0);
        let deviation = match shape.season {
            Season::Multiplicative => (end.relative / left).sqrt(),
            _ => (end.squares / left).sqrt(),
        };
        let n_unknown = n_free + 1 + usize::from(shape.trend) + if m > 1 { m } else { 0 };
        Ok(Self {
            alpha,
            beta,
            gamma,
            phi,
            season: shape.season,
            period: m,
            level: end.level,
            trend: end.trend,
            seasons: end.seasons,
            deviation,
            squares,
            n_values: y.len(),
            aic: n * (squares / n).max(f64::MIN_POSITIVE).ln() + 2.0 * n_unknown as f64,
        })
    }

    /// Returns what comes next. Deviations come of the errors that add up on the way: by their formula, or with a
    /// multiplicative season by going on a thousand times with errors drawn from `seed`. There, from where the level falls to 0 on,
    /// values are NaN: what a season takes of nothing or less is no forecast.
    pub fn ahead(&self, steps: usize, seed: u64, task: &Task) -> Result<Vec<Ahead>> {
        let mut out = Vec::with_capacity(steps);
        let (mut damping, mut sum) = (0.0, 0.0);
        let mut variance = self.deviation * self.deviation;
        for step in 1..=steps {
            damping += self.phi.powi(i32::try_from(step).unwrap_or(i32::MAX));
            let base = self.level + damping * self.trend;
            let season = self.seasons[(step - 1) % self.seasons.len()];
            let value = match self.season {
                Season::None => base,
                Season::Additive => base + season,
                Season::Multiplicative if base <= 0.0 => f64::NAN,
                Season::Multiplicative => base * season,
            };
            out.push(Ahead { value, deviation: variance.sqrt() });
            sum += self.phi.powi(i32::try_from(step).unwrap_or(i32::MAX));
            let mut weight = self.alpha + self.alpha * self.beta * sum;
            if self.season == Season::Additive && step % self.period == 0 {
                weight += self.gamma;
            }
            variance += self.deviation * self.deviation * weight * weight;
        }
        if self.season == Season::Multiplicative {
            const PATHS: usize = 1000;
            let mut squares = vec![0.0; steps];
            for path in 0..PATHS {
                task.check()?;
                // Each path draws from its own stream: how far ahead is asked for does not change the first steps.
                let mut random = Random::new(seed, 0x4017 + path as u64);
                let (mut level, mut trend) = (self.level, self.trend);
                let mut seasons = self.seasons.clone();
                for (step, squares) in squares.iter_mut().enumerate() {
                    let base = (level + self.phi * trend).max(0.0);
                    let at = step % seasons.len();
                    let share = (1.0 + self.deviation * random.normal()).max(0.0);
                    let off = base * seasons[at] * share - out[step].value;
                    *squares += off * off;
                    let next = self.alpha * base * share + (1.0 - self.alpha) * base;
                    trend = self.beta * (next - level) + (1.0 - self.beta) * self.phi * trend;
                    seasons[at] *= self.gamma * share + (1.0 - self.gamma);
                    level = next;
                }
            }
            for (step, (ahead, squares)) in out.iter_mut().zip(squares).enumerate() {
                ahead.deviation = match step {
                    // Of one step it is known.
                    0 => ahead.value.abs() * self.deviation,
                    _ => (squares / PATHS as f64).sqrt(),
                };
            }
        }
        Ok(out)
    }
}
