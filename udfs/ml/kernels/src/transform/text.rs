//! Text as numbers: words and n-grams counted, or weighted by how few texts have them (TF-IDF).

use std::collections::HashMap;

use arrow::array::{Array, StringArray};
use maru_core::{Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};

use super::{Apply, Context, Given, Literal, frame};
use crate::frame::{Column, Frame};
use crate::task::Task;

/// Stands before each of the tokens that [`Ngrams`] gives: such text is not cut into words again.
const MARK: char = '\u{1f}';
/// More different tokens than this are not counted.
const TOKENS_MAX: usize = 2_000_000;

/// Cuts text into words: letters, digits and `_` in lower case, as scikit-learn's `\w+`; or at the marks of [`Ngrams`].
fn tokens(text: &str) -> Vec<String> {
    if let Some(rest) = text.strip_prefix(MARK) {
        return rest.split(MARK).map(str::to_owned).collect();
    }
    let words = text.split(|c: char| !(c.is_alphanumeric() || c == '_'));
    words.filter(|word| !word.is_empty()).map(str::to_lowercase).collect()
}

fn text_of<'a>(given: &str, name: &str, column: &'a Column) -> Result<&'a StringArray> {
    match column {
        Column::Text(values) => Ok(values),
        Column::Number(_) => Err(Error::new(
            ErrorKind::TypeMismatch,
            format!("ML.{} takes text, \"{name}\" is a number", given.to_uppercase()),
        )),
    }
}

/// How often each of the known tokens stands in a text.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Words {
    /// For each column, in their order.
    pub tokens: Vec<Vec<String>>,
    /// For TF-IDF the weight of each token: `ln((1 + n) / (1 + texts that have it)) + 1`; rows are then divided by their length.
    pub weights: Option<Vec<Vec<f64>>>,
}

impl Words {
    pub(super) fn fit(given: &Given<'_>, input: &Frame, context: &Context<'_>) -> Result<Self> {
        let top = given.count("top_k", 1..=10_000)?.unwrap_or(1000);
        let threshold = given.count("frequency_threshold", 0..=usize::MAX >> 12)?.unwrap_or(1);
        let mut all = Vec::new();
        let mut weights = Vec::new();
        for (name, column) in &input.columns {
            let texts = text_of(given.name(), name, column)?;
            // For each token how often it stands anywhere, in how many texts, and the last text that was counted.
            let mut counts = HashMap::<String, (usize, usize, usize)>::new();
            for row in 0..texts.len() {
                if row % 1024 == 0 {
                    context.task.check()?;
                }
                if texts.is_null(row) {
                    continue;
                }
                for token in tokens(texts.value(row)) {
                    let count = counts.entry(token).or_insert((0, 0, usize::MAX));
                    count.0 += 1;
                    if count.2 != row {
                        (count.1, count.2) = (count.1 + 1, row);
                    }
                }
                if counts.len() > TOKENS_MAX {
                    return Err(Error::new(
                        ErrorKind::LimitExceeded,
                        format!("column \"{name}\" has more than {TOKENS_MAX} different tokens"),
                    )
                    .with_hint("Train on a sample of the rows, or use shorter n-grams."));
                }
            }
            let mut kept = counts.into_iter().filter(|(_, c)| c.1 >= threshold).collect::<Vec<_>>();
            kept.sort_by(|(a, n), (b, m)| m.0.cmp(&n.0).then_with(|| a.cmp(b)));
            kept.truncate(top);
            if kept.is_empty() {
                return Err(Error::new(
                    ErrorKind::InvalidParameter,
                    format!("column \"{name}\" has no words to learn from"),
                )
                .with_hint("Leave the column out, or lower frequency_threshold."));
            }
            kept.sort_by(|(a, _), (b, _)| a.cmp(b));
            let n = input.n_rows as f64;
            let weight =
                |count: &(usize, usize, usize)| ((1.0 + n) / (1.0 + count.1 as f64)).ln() + 1.0;
            weights.push(kept.iter().map(|(_, count)| weight(count)).collect());
            all.push(kept.into_iter().map(|(token, _)| token).collect());
        }
        let weights = (given.name() == "tf_idf").then_some(weights);
        Ok(Self { tokens: all, weights })
    }
}

impl Apply for Words {
    fn apply(&self, input: &Frame, task: &Task) -> Result<Frame> {
        let mut out = Vec::new();
        for (index, (name, column)) in input.columns.iter().enumerate() {
            let texts = text_of("tf_idf", name, column)?;
            let known = &self.tokens[index];
            task.claim(known.len() * input.n_rows * 8)?;
            let places = known.iter().enumerate().map(|(place, token)| (token.as_str(), place));
            let places = places.collect::<HashMap<_, _>>();
            let mut columns = vec![vec![0.0; input.n_rows]; known.len()];
            for row in 0..texts.len() {
                if row % 1024 == 0 {
                    task.check()?;
                }
                if texts.is_null(row) {
                    continue;
                }
                let mut seen = Vec::new();
                for token in tokens(texts.value(row)) {
                    if let Some(place) = places.get(token.as_str()) {
                        columns[*place][row] += 1.0;
                        seen.push(*place);
                    }
                }
                let Some(weights) = &self.weights else { continue };
                seen.sort_unstable();
                seen.dedup();
                seen.iter().for_each(|place| columns[*place][row] *= weights[index][*place]);
                let squares = seen.iter().map(|place| columns[*place][row].powi(2)).sum::<f64>();
                let length = squares.sqrt().max(f64::MIN_POSITIVE);
                seen.iter().for_each(|place| columns[*place][row] /= length);
            }
            let named = known.iter().map(|token| format!("{name}_{token}")).zip(columns);
            out.extend(named);
        }
        Ok(frame(input.n_rows, out))
    }
}

/// Runs of words, joined; what counts them takes each run for one token.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ngrams {
    pub least: usize,
    pub most: usize,
    pub separator: String,
}

impl Ngrams {
    pub(super) fn fit(given: &Given<'_>) -> Result<Self> {
        let wrong = || given.invalid("range is ARRAY[least, most] of whole numbers from 1 to 10");
        let whole = |literal: &Literal| match literal {
            Literal::Number(n) if n.fract() == 0.0 && (1.0..=10.0).contains(n) => Ok(*n as usize),
            _ => Err(wrong()),
        };
        let (least, most) = match given.get("range") {
            Some(Literal::List(pair)) if pair.len() == 2 => (whole(&pair[0])?, whole(&pair[1])?),
            Some(number @ Literal::Number(_)) => (whole(number)?, whole(number)?),
            _ => return Err(wrong()),
        };
        if least > most {
            return Err(wrong());
        }
        let separator = match given.get("separator") {
            None => " ".to_owned(),
            Some(Literal::Text(text)) => text.clone(),
            Some(_) => return Err(given.invalid("separator is text")),
        };
        Ok(Self { least, most, separator })
    }
}

impl Apply for Ngrams {
    fn apply(&self, input: &Frame, task: &Task) -> Result<Frame> {
        let columns = input.columns.iter().map(|(name, column)| {
            task.check()?;
            let texts = text_of("ngrams", name, column)?;
            let runs = |text: &str| {
                let words = tokens(text);
                let mut out = String::new();
                for width in self.least..=self.most {
                    for run in words.windows(width) {
                        out.push(MARK);
                        out.push_str(&run.join(&self.separator));
                    }
                }
                out
            };
            let made = texts.iter().map(|text| text.map(runs)).collect::<StringArray>();
            Ok((name.clone(), Column::Text(made)))
        });
        Ok(Frame { n_rows: input.n_rows, columns: columns.collect::<Result<Vec<_>>>()? })
    }
}

/// Columns under other names: the parts of dates, which the engine computes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Named {
    pub names: Vec<String>,
}

impl Named {
    pub(super) fn fit(given: &Given<'_>, input: &Frame) -> Result<Self> {
        let Some(Literal::List(parts)) = given.get("parts") else {
            return Err(given.invalid("parts is ARRAY['year', …]"));
        };
        let names = parts.iter().filter_map(|part| match part {
            Literal::Text(text) => Some(text.clone()),
            _ => None,
        });
        let names = names.collect::<Vec<_>>();
        if names.len() != input.columns.len() {
            return Err(given.invalid("it takes a column for each part"));
        }
        Ok(Self { names })
    }
}

impl Apply for Named {
    fn apply(&self, input: &Frame, _: &Task) -> Result<Frame> {
        let columns = input.columns.iter().zip(&self.names);
        let columns = columns.map(|((_, column), name)| (name.clone(), column.clone())).collect();
        Ok(Frame { n_rows: input.n_rows, columns })
    }
}
