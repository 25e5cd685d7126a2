//! Encoders: numbers for categories, with a place for NULL and for what training did not see.

use std::collections::{BTreeMap, HashMap};

use arrow::array::Array;
use maru_core::{Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};

use super::{Apply, Context, Given, frame};
use crate::frame::{Column, Frame};
use crate::random::{hash_text, hash_with, unit};
use crate::task::Task;

/// More categories than this are no categories.
const CATEGORIES_MAX: usize = 100_000;

/// How categories become numbers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Encoding {
    /// A column for each; `other` says whether there is one for NULL and the categories left out.
    OneHot { other: Vec<bool> },
    /// The category's number from 1 on, 0 for all others.
    Ordinal,
    /// A number for each category, and one for all others.
    Value { values: Vec<Vec<f64>>, other: Vec<f64> },
    /// The hash modulo a number, from 1 on; 0 for NULL.
    Hash { n_buckets: usize },
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Encode {
    /// For each column, in order: numbers by size, text by its bytes.
    pub categories: Vec<Vec<String>>,
    pub encoding: Encoding,
    /// For each column, whether training saw categories that are not among them. Empty: none of the columns.
    #[serde(default)]
    pub partial: Vec<bool>,
}

/// Rows with a category that training did not see.
#[derive(Debug, Clone, PartialEq)]
pub struct Unseen {
    pub rows: Vec<bool>,
    /// The column and the category of one of them.
    pub example: Option<(String, String)>,
}

struct Counted {
    categories: Vec<String>,
    counts: Vec<usize>,
    /// Whether rows are without one of the categories.
    others: bool,
    /// Whether categories were left out.
    partial: bool,
}

fn count(column: &Column, name: &str) -> Result<(BTreeMap<String, usize>, usize)> {
    let mut counts = HashMap::<String, usize>::new();
    let mut nulls = 0;
    for row in 0..column.len() {
        match column.text(row) {
            None => nulls += 1,
            Some(text) => match counts.get_mut(text.as_ref()) {
                Some(count) => *count += 1,
                None => {
                    counts.insert(text.into_owned(), 1);
                }
            },
        }
        if counts.len() > CATEGORIES_MAX {
            return Err(Error::new(
                ErrorKind::LimitExceeded,
                format!("column \"{name}\" has more than {CATEGORIES_MAX} categories"),
            )
            .with_hint("Use ML.HASH_BUCKETIZE, or leave the column out if it names single rows."));
        }
    }
    Ok((counts.into_iter().collect(), nulls))
}

/// Orders categories: numbers by size, text by its bytes.
pub(crate) fn sort_categories<T>(categories: &mut [T], text: impl Fn(&T) -> &str) {
    let numbers = categories.iter().all(|one| text(one).parse::<f64>().is_ok());
    match numbers {
        true => categories.sort_by(|a, b| {
            let number = |one| text(one).parse::<f64>().unwrap_or(f64::NAN);
            number(a).total_cmp(&number(b))
        }),
        false => categories.sort_by(|a, b| text(a).cmp(text(b))),
    }
}

impl Encode {
    pub(super) fn fit(given: &Given<'_>, input: &Frame, context: &Context<'_>) -> Result<Self> {
        if given.name() == "hash_bucketize" {
            let n_buckets = given.count("n_buckets", 1..=1_000_000)?;
            let n_buckets = n_buckets.ok_or_else(|| given.invalid("n_buckets is missing"))?;
            let categories = vec![Vec::new(); input.columns.len()];
            let encoding = Encoding::Hash { n_buckets };
            return Ok(Self { categories, encoding, partial: Vec::new() });
        }
        let counted = context.task.map(input.columns.len(), |index| {
            let (name, column) = &input.columns[index];
            let (counts, nulls) = count(column, name)?;
            Self::keep(given, counts, nulls)
        })?;
        let drop = given.name() == "one_hot_encoder"
            && match given.word("drop")?.as_deref() {
                None | Some("none") => false,
                Some("most_frequent") => true,
                Some(_) => return Err(given.invalid("drop is 'none' or 'most_frequent'")),
            };
        let encoding = match given.name() {
            "one_hot_encoder" => {
                Encoding::OneHot { other: counted.iter().map(|one| one.others).collect() }
            }
            "frequency_encoder" => {
                let n = (input.n_rows as f64).max(1.0);
                let share = |one: &Counted| one.counts.iter().map(|c| *c as f64 / n).collect();
                let values = counted.iter().map(share).collect();
                Encoding::Value { values, other: vec![0.0; input.columns.len()] }
            }
            _ => Encoding::Ordinal,
        };
        let partial = counted.iter().map(|one| drop || one.partial).collect();
        let categories = counted.into_iter().map(|mut one| {
            if drop {
                let most = one.counts.iter().enumerate().rev().max_by_key(|(_, count)| **count);
                if let Some((most, _)) = most {
                    one.categories.remove(most);
                }
            }
            one.categories
        });
        let categories = categories.collect::<Vec<_>>();
        let encoding = match encoding {
            // The dropped category is what is left when all others are 0: it has no place of its own.
            Encoding::OneHot { .. } if drop => {
                Encoding::OneHot { other: vec![false; categories.len()] }
            }
            other => other,
        };
        Ok(Self { categories, encoding, partial })
    }

    /// Learns one column's categories for one-hot, all of them.
    pub fn one_hot(columns: &[(String, Column)]) -> Result<Self> {
        let mut categories = Vec::new();
        let mut other = Vec::new();
        for (name, column) in columns {
            let (counts, nulls) = count(column, name)?;
            let mut names = counts.into_keys().collect::<Vec<_>>();
            sort_categories(&mut names, String::as_str);
            categories.push(names);
            other.push(nulls > 0);
        }
        Ok(Self { categories, encoding: Encoding::OneHot { other }, partial: Vec::new() })
    }

    fn keep(given: &Given<'_>, counts: BTreeMap<String, usize>, nulls: usize) -> Result<Counted> {
        let mut kept = counts.into_iter().collect::<Vec<_>>();
        let n_all = kept.len();
        if matches!(given.name(), "one_hot_encoder" | "label_encoder" | "ordinal_encoder") {
            let threshold = given.count("frequency_threshold", 0..=usize::MAX >> 12)?.unwrap_or(0);
            kept.retain(|(_, count)| *count >= threshold);
            if let Some(top) = given.count("top_k", 1..=1_000_000)? {
                kept.sort_by(|(a, n), (b, m)| m.cmp(n).then_with(|| a.cmp(b)));
                kept.truncate(top);
            }
        }
        sort_categories(&mut kept, |(text, _)| text.as_str());
        let partial = kept.len() < n_all;
        let (categories, counts) = kept.into_iter().unzip();
        Ok(Counted { categories, counts, others: nulls > 0 || partial, partial })
    }

    /// Learns the label's mean by category, smoothed: `(Σy + s·m) / (n + s)` with the mean `m` of all. What is given back for
    /// the training rows comes from the other folds, or else the label would leak into the feature.
    pub(super) fn fit_target(
        given: &Given<'_>,
        input: &Frame,
        context: &Context<'_>,
    ) -> Result<(Self, Frame)> {
        let target = context.target.ok_or_else(|| {
            given.invalid("it needs a label that is a number, or one of two classes")
        })?;
        let smoothing = given.number("smoothing")?.unwrap_or(10.0).max(0.0);
        let n_folds = given.count("n_folds", 2..=100)?.unwrap_or(5);
        let hashes = input.hashes(context.task)?;
        let mut seen = HashMap::<u64, u64>::new();
        let fold_of = |hash: u64, seen: &mut HashMap<u64, u64>| {
            // Rows of one category go to different folds by their number within it.
            let nth = seen.entry(hash).or_default();
            *nth += 1;
            (unit(hash_with(hash_with(context.seed, hash), *nth)) * n_folds as f64) as usize
        };
        let folds = hashes.iter().map(|hash| fold_of(*hash, &mut seen)).collect::<Vec<_>>();
        let (mut categories, mut values, mut others, mut out) = (vec![], vec![], vec![], vec![]);
        for (name, column) in &input.columns {
            count(column, name)?;
            let mut sums = BTreeMap::<String, Vec<(f64, f64)>>::new();
            let mut total = vec![(0.0, 0.0); n_folds];
            for row in 0..input.n_rows {
                let (y, fold) = (target[row], folds[row]);
                total[fold].0 += y;
                total[fold].1 += 1.0;
                if let Some(text) = column.text(row) {
                    let entry = sums.entry(text.into_owned());
                    let entry = entry.or_insert_with(|| vec![(0.0, 0.0); n_folds]);
                    entry[fold].0 += y;
                    entry[fold].1 += 1.0;
                }
            }
            let without = |parts: &[(f64, f64)], fold: Option<usize>| {
                let kept = parts.iter().enumerate().filter(|(index, _)| Some(*index) != fold);
                kept.fold((0.0, 0.0), |sum, (_, part)| (sum.0 + part.0, sum.1 + part.1))
            };
            let mean = |fold| {
                let (sum, n) = without(&total, fold);
                if n > 0.0 { sum / n } else { 0.0 }
            };
            let smoothed = |parts: &[(f64, f64)], fold| {
                let (sum, n) = without(parts, fold);
                if n + smoothing == 0.0 {
                    mean(fold)
                } else {
                    (sum + smoothing * mean(fold)) / (n + smoothing)
                }
            };
            let crossed = (0..input.n_rows).map(|row| {
                let fold = Some(folds[row]);
                let parts = column.text(row).and_then(|text| sums.get(text.as_ref()));
                parts.map_or_else(|| mean(fold), |parts| smoothed(parts, fold))
            });
            out.push((name.clone(), crossed.collect::<Vec<_>>()));
            others.push(mean(None));
            values.push(sums.values().map(|parts| smoothed(parts, None)).collect::<Vec<_>>());
            categories.push(sums.into_keys().collect::<Vec<_>>());
        }
        let encoding = Encoding::Value { values, other: others };
        let encode = Self { categories, encoding, partial: Vec::new() };
        Ok((encode, frame(input.n_rows, out)))
    }

    /// Marks rows whose category training did not see. Where it left categories out nothing is known of the others.
    pub fn mark_unseen(&self, index: usize, name: &str, column: &Column, unseen: &mut Unseen) {
        let partial = self.partial.get(index).copied().unwrap_or(false);
        if partial
            || index >= self.categories.len()
            || matches!(self.encoding, Encoding::Hash { .. })
        {
            return;
        }
        let codes = self.codes(index, column);
        for (row, (code, unseen_row)) in codes.iter().zip(&mut unseen.rows).enumerate() {
            if *code > 0 {
                continue;
            }
            let Some(text) = column.text(row) else { continue };
            *unseen_row = true;
            if unseen.example.is_none() {
                unseen.example = Some((name.to_owned(), text.into_owned()));
            }
        }
    }

    /// Returns the number of each row's category from 1 on; 0 for NULL and unknown ones.
    fn codes(&self, index: usize, column: &Column) -> Vec<usize> {
        let numbered = self.categories[index].iter().enumerate();
        let by_text = numbered.map(|(code, text)| (text.as_str(), code + 1));
        let by_text = by_text.collect::<HashMap<_, _>>();
        match column {
            Column::Text(values) => (0..values.len())
                .map(|row| match values.is_valid(row) {
                    true => by_text.get(values.value(row)).copied().unwrap_or(0),
                    false => 0,
                })
                .collect(),
            Column::Number(_) => (0..column.len())
                .map(|row| {
                    let text = column.text(row);
                    text.and_then(|text| by_text.get(text.as_ref()).copied()).unwrap_or(0)
                })
                .collect(),
        }
    }
}

impl Apply for Encode {
    fn apply(&self, input: &Frame, task: &Task) -> Result<Frame> {
        let columns = task.map(input.columns.len(), |index| {
            let (name, column) = &input.columns[index];
            if let Encoding::Hash { n_buckets } = &self.encoding {
                let bucket = |row| {
                    column
                        .text(row)
                        .map_or(0.0, |text| (hash_text(&text) % *n_buckets as u64) as f64 + 1.0)
                };
                return Ok(vec![(name.clone(), (0..column.len()).map(bucket).collect())]);
            }
            if let Encoding::OneHot { other } = &self.encoding {
                let n_columns = self.categories[index].len() + usize::from(other[index]);
                task.claim(n_columns * input.n_rows * 8)?;
            }
            let codes = self.codes(index, column);
            Ok(match &self.encoding {
                Encoding::OneHot { other } => {
                    let one = |wanted: usize| {
                        codes.iter().map(|code| f64::from(u8::from(*code == wanted))).collect()
                    };
                    let numbered = self.categories[index].iter().enumerate();
                    let mut columns = numbered
                        .map(|(code, text)| (format!("{name}_{text}"), one(code + 1)))
                        .collect::<Vec<(String, Vec<f64>)>>();
                    if other[index] {
                        // A category may be called so too.
                        let mut others = "other".to_owned();
                        while self.categories[index].contains(&others) {
                            others.push('_');
                        }
                        columns.push((format!("{name}_{others}"), one(0)));
                    }
                    columns
                }
                Encoding::Value { values, other } => {
                    let value = |code: &usize| match code {
                        0 => other[index],
                        code => values[index][code - 1],
                    };
                    vec![(name.clone(), codes.iter().map(value).collect())]
                }
                _ => vec![(name.clone(), codes.iter().map(|code| *code as f64).collect())],
            })
        })?;
        Ok(frame(input.n_rows, columns.into_iter().flatten().collect()))
    }
}
