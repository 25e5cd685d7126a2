//! The search for the best parameters: a grid, at random, or guided by what the trials so far have shown.

use std::collections::BTreeMap;

use maru_core::{Error, ErrorKind, Result};

use crate::random::Random;
use crate::transform::Literal;

/// Trials that are chosen at once. What a trial is given depends on the rounds before its own, never on how many run at a
/// time, so that the search finds the same whatever the parallelism.
pub const ROUND: usize = 6;

/// What a parameter may be.
#[derive(Debug, Clone, PartialEq)]
pub enum Range {
    Between { low: f64, high: f64, whole: bool },
    Among(Vec<Literal>),
}

/// How to search.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    Grid,
    Random,
    /// At random, first on few rows: a third of the trials goes on to three times as many (Jamieson and Talwalkar, 2016).
    Halving,
    /// Tree-structured Parzen estimators (Bergstra and others, 2011).
    Tpe,
}

/// A trial that is over: what it was given, and how good it was; more is better. `None`: it failed.
#[derive(Debug, Clone, PartialEq)]
pub struct Seen {
    pub parameters: BTreeMap<String, Literal>,
    pub goodness: Option<f64>,
}

/// The parameters to be found, in order, and the seed.
#[derive(Debug, Clone, PartialEq)]
pub struct Search {
    pub space: Vec<(String, Range)>,
    pub algorithm: Algorithm,
    pub n_trials: usize,
    pub seed: u64,
}

impl Search {
    /// Returns what the next trials are given, all that can be known by now; none when the search is over.
    ///
    /// # Errors
    /// 22023 for a grid over a range that has no steps.
    pub fn next(&self, seen: &[Seen]) -> Result<Vec<BTreeMap<String, Literal>>> {
        let first = seen.len();
        if first >= self.n_trials {
            return Ok(Vec::new());
        }
        match self.algorithm {
            Algorithm::Grid => {
                let all = self.grid()?;
                Ok(all.into_iter().take(self.n_trials).skip(first).collect())
            }
            Algorithm::Random | Algorithm::Halving => {
                Ok((first..self.n_trials).map(|trial| self.random(trial)).collect())
            }
            Algorithm::Tpe => {
                let round = first..self.n_trials.min((first / ROUND + 1) * ROUND);
                // The first rounds have nothing to go by.
                if first < 2 * ROUND {
                    return Ok(round.map(|trial| self.random(trial)).collect());
                }
                Ok(round.map(|trial| self.guided(trial, seen)).collect())
            }
        }
    }

    /// Returns the shares of the rows that trials learn from, one after the other; but for successive halving all at once.
    pub fn shares(&self) -> Vec<f64> {
        match (self.algorithm, self.n_trials) {
            (Algorithm::Halving, 9..) => vec![1.0 / 9.0, 1.0 / 3.0, 1.0],
            (Algorithm::Halving, 3..) => vec![1.0 / 3.0, 1.0],
            _ => vec![1.0],
        }
    }

    fn grid(&self) -> Result<Vec<BTreeMap<String, Literal>>> {
        let mut all = vec![BTreeMap::new()];
        for (name, range) in &self.space {
            let values = match range {
                Range::Among(values) => values.clone(),
                Range::Between { low, high, whole: true } if high - low < 1000.0 => {
                    (*low as i64..=*high as i64).map(|v| Literal::Number(v as f64)).collect()
                }
                Range::Between { .. } => {
                    return Err(Error::new(
                        ErrorKind::InvalidParameter,
                        format!("a grid needs HPARAM_CANDIDATES for {name}, not a range"),
                    )
                    .with_hint(
                        "Use hparam_tuning_algorithm = 'tpe' or 'random_search' with ranges.",
                    ));
                }
            };
            let with = |one: &BTreeMap<String, Literal>, value: &Literal| {
                let mut one = one.clone();
                one.insert(name.clone(), value.clone());
                one
            };
            all = all
                .iter()
                .flat_map(|one| values.iter().map(move |value| with(one, value)))
                .collect();
            if all.len() > 10_000 {
                all.truncate(10_000);
            }
        }
        Ok(all)
    }

    fn random(&self, trial: usize) -> BTreeMap<String, Literal> {
        let mut random = Random::new(self.seed, 0x7000 + trial as u64);
        let one = |(name, range): &(String, Range)| {
            let value = match range {
                Range::Among(values) => values[random.below(values.len())].clone(),
                Range::Between { low, high, whole } => {
                    let drawn =
                        low + random.next_f64() * (high - low + f64::from(u8::from(*whole)));
                    let value = if *whole { drawn.floor() } else { drawn };
                    Literal::Number(value.clamp(*low, *high))
                }
            };
            (name.clone(), value)
        };
        self.space.iter().map(one).collect()
    }

    /// Draws from where the better trials lie dense and the others do not, each parameter by itself.
    fn guided(&self, trial: usize, seen: &[Seen]) -> BTreeMap<String, Literal> {
        // What a round may know: the rounds before it.
        let known = &seen[..seen.len() / ROUND * ROUND];
        let mut ranked = known.iter().filter(|one| one.goodness.is_some()).collect::<Vec<_>>();
        ranked.sort_by(|a, b| {
            b.goodness.unwrap_or(f64::MIN).total_cmp(&a.goodness.unwrap_or(f64::MIN))
        });
        let n_good = (ranked.len() as f64 * 0.25).ceil() as usize;
        let (good, bad) = ranked.split_at(n_good.min(ranked.len()));
        let mut random = Random::new(self.seed, 0x7e00_0000 + trial as u64);
        let one = |(name, range): &(String, Range)| {
            let value = match range {
                Range::Among(values) => {
                    let weights = |side: &[&Seen]| {
                        let count = |value: &Literal| {
                            side.iter()
                                .filter(|one| one.parameters.get(name) == Some(value))
                                .count()
                        };
                        values.iter().map(|value| count(value) as f64 + 1.0).collect::<Vec<_>>()
                    };
                    let (good, bad) = (weights(good), weights(bad));
                    let total = good.iter().sum::<f64>();
                    let mut best: Option<(f64, usize)> = None;
                    for _ in 0..8 {
                        let mut left = random.next_f64() * total;
                        let drawn = good.iter().position(|weight| {
                            left -= weight;
                            left < 0.0
                        });
                        let drawn = drawn.unwrap_or(values.len() - 1);
                        let worth = good[drawn] / bad[drawn];
                        if best.is_none_or(|(most, _)| worth > most) {
                            best = Some((worth, drawn));
                        }
                    }
                    values[best.map_or(0, |(_, drawn)| drawn)].clone()
                }
                Range::Between { low, high, whole } => {
                    let places = |side: &[&Seen]| {
                        let place = |one: &&Seen| match one.parameters.get(name) {
                            Some(Literal::Number(value)) => Some(*value),
                            _ => None,
                        };
                        side.iter().filter_map(place).collect::<Vec<_>>()
                    };
                    let (good, bad) = (places(good), places(bad));
                    let width = (high - low).max(f64::MIN_POSITIVE);
                    let spread = |places: &[f64]| width / (1.0 + places.len() as f64).min(8.0);
                    let density = |places: &[f64], at: f64| {
                        let sigma = spread(places);
                        let kernel =
                            |place: &f64| (-0.5 * ((at - place) / sigma).powi(2)).exp() / sigma;
                        // One part in all spread over the whole range, so that no place is out of reach.
                        (places.iter().map(kernel).sum::<f64>() + 2.5 / width)
                            / (places.len() as f64 + 1.0)
                    };
                    let mut best: Option<(f64, f64)> = None;
                    for _ in 0..24 {
                        let pick = random.below(good.len() + 1);
                        let drawn = match good.get(pick) {
                            Some(place) => place + random.normal() * spread(&good),
                            None => low + random.next_f64() * width,
                        };
                        let drawn = drawn.clamp(*low, *high);
                        let worth = density(&good, drawn) / density(&bad, drawn);
                        if best.is_none_or(|(most, _)| worth > most) {
                            best = Some((worth, drawn));
                        }
                    }
                    let value = best.map_or(*low, |(_, value)| value);
                    Literal::Number(if *whole { value.round() } else { value })
                }
            };
            (name.clone(), value)
        };
        self.space.iter().map(one).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(algorithm: Algorithm, n_trials: usize) -> Vec<Seen> {
        let space = vec![
            ("a".to_owned(), Range::Between { low: 0.0, high: 10.0, whole: false }),
            ("b".to_owned(), Range::Among(vec![Literal::Number(0.0), Literal::Number(1.0)])),
        ];
        let search = Search { space, algorithm, n_trials, seed: 7 };
        let mut seen = Vec::new();
        loop {
            let next = search.next(&seen).unwrap();
            if next.is_empty() {
                return seen;
            }
            for parameters in next {
                let (Literal::Number(a), Literal::Number(b)) = (&parameters["a"], &parameters["b"])
                else {
                    panic!()
                };
                let goodness = Some(-(a - 3.0).abs() - (1.0 - b));
                seen.push(Seen { parameters, goodness });
            }
        }
    }

    #[test]
    fn the_guided_search_comes_nearer() {
        let best =
            |seen: Vec<Seen>| seen.iter().filter_map(|one| one.goodness).fold(f64::MIN, f64::max);
        assert_eq!(run(Algorithm::Tpe, 24).len(), 24);
        assert!(best(run(Algorithm::Tpe, 60)) > -0.1);
        let mean_late =
            |seen: Vec<Seen>| seen[30..].iter().filter_map(|one| one.goodness).sum::<f64>() / 30.0;
        assert!(mean_late(run(Algorithm::Tpe, 60)) > mean_late(run(Algorithm::Random, 60)) + 0.5);
    }

    #[test]
    fn a_grid_has_each_combination_once() {
        let space = vec![
            ("a".to_owned(), Range::Between { low: 1.0, high: 3.0, whole: true }),
            ("b".to_owned(), Range::Among(vec![Literal::Boolean(true), Literal::Boolean(false)])),
        ];
        let search = Search { space, algorithm: Algorithm::Grid, n_trials: 100, seed: 0 };
        assert_eq!(search.next(&[]).unwrap().len(), 6);
    }
}
