//! Products of columns, and categories made of several.

use arrow::array::StringArray;
use maru_core::{Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};

use super::{Apply, Given, frame, numbers};
use crate::frame::{Column, Frame, Matrix};
use crate::task::Task;

/// All products up to a degree, in the order of scikit-learn's `PolynomialFeatures` without the constant.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Polynomial {
    /// For each product, its columns.
    pub products: Vec<Vec<usize>>,
}

/// More columns than this are a mistake.
const PRODUCTS_MAX: usize = 10_000;

impl Polynomial {
    pub(super) fn fit(given: &Given<'_>, x: &Matrix) -> Result<Self> {
        let degree = given.count("degree", 1..=5)?.unwrap_or(2);
        let mut products: Vec<Vec<usize>> = Vec::new();
        let mut last: Vec<Vec<usize>> = vec![Vec::new()];
        for _ in 0..degree {
            let more = |product: &Vec<usize>| {
                let from = product.last().copied().unwrap_or(0);
                let product = product.clone();
                (from..x.n_columns()).map(move |next| [product.clone(), vec![next]].concat())
            };
            last = last.iter().flat_map(more).collect();
            products.extend(last.iter().cloned());
            if products.len() > PRODUCTS_MAX {
                return Err(Error::new(
                    ErrorKind::LimitExceeded,
                    "too many products for ML.POLYNOMIAL_EXPAND",
                )
                .with_detail(format!("The limit is {PRODUCTS_MAX} columns."))
                .with_hint("Give it fewer columns or a lower degree."));
            }
        }
        Ok(Self { products })
    }
}

impl Apply for Polynomial {
    fn apply(&self, input: &Frame, task: &Task) -> Result<Frame> {
        let x = numbers("polynomial_expand", input)?;
        task.claim(self.products.len() * x.n_rows * 8)?;
        let columns = task.map(self.products.len(), |index| {
            let product = &self.products[index];
            let mut values = vec![1.0; x.n_rows];
            for column in product {
                let factors = values.iter_mut().zip(x.columns[*column].iter());
                factors.for_each(|(value, factor)| *value *= factor);
            }
            let names = product.iter().map(|column| x.names[*column].as_str());
            Ok((names.collect::<Vec<_>>().join("_x_"), values))
        })?;
        Ok(frame(input.n_rows, columns))
    }
}

/// One category of several columns; NULL if one of them is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Cross {
    pub separator: String,
}

/// What stands between the parts where nothing is named: the first that no value holds.
const SEPARATORS: &[&str] = &["_", "|", "\u{1f}"];

/// Returns at how many places a text has another one, those that overlap among them.
fn places(text: &str, of: &str) -> usize {
    (0..text.len()).filter(|at| text.get(*at..).is_some_and(|rest| rest.starts_with(of))).count()
}

impl Cross {
    /// `a_b` and `c` must not become what `a` and `b_c` become: a text in which the separator stands once between two parts, and
    /// nowhere else, can be taken apart in one way only. What prediction meets later and holds the separator is unlike all of these.
    pub(super) fn fit(given: &Given<'_>, input: &Frame) -> Result<Self> {
        let named = given.text("separator")?;
        let tried = match &named {
            Some(separator) => vec![separator.as_str()],
            None => SEPARATORS.to_vec(),
        };
        let n_between = input.columns.len().saturating_sub(1);
        let tells_apart = |separator: &str| {
            let mut joined = (0..input.n_rows).filter_map(|row| join(input, row, separator));
            n_between == 0
                || (!separator.is_empty()
                    && joined.all(|text| places(&text, separator) == n_between))
        };
        match tried.iter().find(|&&separator| tells_apart(separator)) {
            Some(separator) => Ok(Self { separator: (*separator).to_owned() }),
            None => Err(Error::new(
                ErrorKind::InvalidParameter,
                "the values of ML.FEATURE_CROSS hold its separator",
            )
            .with_detail("Of other values the same category could be made.")
            .with_hint(
                "Name one that none of them holds: ML.FEATURE_CROSS(ARRAY[…], ' | ') OVER ().",
            )),
        }
    }
}

/// Joins the values of a row; `None` if one of them is NULL.
fn join(input: &Frame, row: usize, separator: &str) -> Option<String> {
    let parts = input.columns.iter().map(|(_, column)| column.text(row));
    Some(parts.collect::<Option<Vec<_>>>()?.join(separator))
}

impl Apply for Cross {
    fn apply(&self, input: &Frame, _: &Task) -> Result<Frame> {
        let crossed = (0..input.n_rows).map(|row| join(input, row, &self.separator));
        let names = input.columns.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>();
        let column = Column::Text(StringArray::from_iter(crossed));
        Ok(Frame { n_rows: input.n_rows, columns: vec![(names.join("_x_"), column)] })
    }
}
