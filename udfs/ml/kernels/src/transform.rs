//! Transforms: what is learnt from columns at training and applied the same way at prediction.
//!
//! A transform is named in SQL (`ML.MIN_MAX_SCALER`), takes columns and literals, learns with [`fit`] and gives columns with
//! [`Transform::apply`]. The list is [`TRANSFORMS`].

mod encode;
mod impute;
mod outlier;
mod pca;
mod polynomial;
mod quantile;
mod scale;
mod text;

use maru_core::{Error, ErrorKind, Result, did_you_mean};
use serde::{Deserialize, Serialize};

use crate::frame::{Column, Frame, Matrix};
use crate::task::Task;

pub use encode::{Encode, Encoding, Unseen};
pub use impute::{Fill, Impute};
pub use outlier::{
    Outlier, deviations, forest::IsolationForest, mean_and_deviation, median_and_deviation,
    quartiles, ranges_beyond,
};
pub use pca::Pca;
pub use polynomial::{Cross, Polynomial};
pub use quantile::{Bucketize, quantiles};
pub(crate) use scale::moments;
pub use scale::{Normalize, Scale};
pub use scale::{extremes, finite_moments};
pub use text::{Named, Ngrams, Words};

/// A literal argument.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Literal {
    Null,
    Boolean(bool),
    Number(f64),
    Text(String),
    List(Vec<Literal>),
}

/// The literals of a call: by place, and by name.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Arguments {
    pub positional: Vec<Literal>,
    pub named: Vec<(String, Literal)>,
}

/// What a transform is called and takes.
#[derive(Debug)]
pub struct TransformSpec {
    /// As in SQL, after `ML.`, in lower case.
    pub name: &'static str,
    /// The names of its arguments after the column.
    pub arguments: &'static [&'static str],
    /// One sentence.
    pub doc: &'static str,
}

macro_rules! transforms {
    ($($name:literal ($($argument:literal),*) $doc:literal;)*) => {
        /// Every transform, in alphabetical order.
        pub const TRANSFORMS: &[TransformSpec] =
            &[$(TransformSpec { name: $name, arguments: &[$($argument),*], doc: $doc },)*];
    };
}

transforms! {
    "bag_of_words" ("top_k", "frequency_threshold") "Gives a column for each word with how often it stands in the text.";
    "bucketize" ("split_points") "Puts numbers into buckets between the points given; the bucket's number from 1 on, NULL is 0.";
    "date_parts" ("parts") "Gives numbers of a date or timestamp: year, quarter, month, week, day, dow, doy, hour, minute, second.";
    "feature_cross" ("separator") "Joins columns into one category.";
    "frequency_encoder" () "Gives the share of rows that have the value; 0 for what training did not see.";
    "hash_bucketize" ("n_buckets") "Puts text into one of n buckets by its hash; NULL is 0.";
    "imputer" ("strategy", "fill_value", "add_indicator") "Puts a value in the place of NULL: mean, median, most_frequent (mode) or constant.";
    "label_encoder" ("top_k", "frequency_threshold") "Numbers categories from 1 on in their order; NULL and unknown ones are 0.";
    "max_abs_scaler" () "Divides by the greatest absolute value.";
    "min_max_scaler" () "Maps the least value to 0 and the greatest to 1.";
    "ngrams" ("range", "separator") "Gives runs of words of the text as tokens for ML.TF_IDF and ML.BAG_OF_WORDS: ARRAY[least, most] words.";
    "normalizer" ("p") "Divides each row by its norm: 1, 2 (the default) or 'inf'.";
    "one_hot_encoder" ("drop", "top_k", "frequency_threshold") "Gives a column of 0 and 1 for each category; drop is 'none' or 'most_frequent'.";
    "ordinal_encoder" ("top_k", "frequency_threshold") "Numbers categories from 1 on in their order; NULL and unknown ones are 0.";
    "outlier_score" ("method", "seed", "n_trees", "sample_size") "Tells how far out a row lies: isolation_forest (0 to 1), z_score, mad, iqr, mahalanobis or pca.";
    "pca" ("n_components", "whiten") "Gives the principal components: a number of them, or the share of the variance they explain.";
    "polynomial_expand" ("degree") "Gives all products of columns up to a degree.";
    "quantile_bucketize" ("n_buckets") "Puts numbers into buckets of as many rows; the bucket's number from 1 on, NULL is 0.";
    "robust_scaler" ("quantile_low", "quantile_high") "Subtracts the median and divides by the range between quantiles, given in percent (25 and 75).";
    "standard_scaler" () "Subtracts the mean and divides by the standard deviation.";
    "target_encoder" ("smoothing", "n_folds") "Gives the mean of the label among rows of the category, smoothed towards that of all; cross-fitted in training.";
    "tf_idf" ("top_k", "frequency_threshold") "Gives a column for each word, its count in the text weighted by how few texts have it; rows of length 1.";
}

/// Finds a transform by its name.
///
/// # Errors
/// 42883 with the nearest name.
pub fn spec(name: &str) -> Result<&'static TransformSpec> {
    TRANSFORMS.iter().find(|spec| spec.name == name).ok_or_else(|| {
        let error = Error::new(
            ErrorKind::UndefinedFunction,
            format!("transform ML.{} does not exist", name.to_uppercase()),
        );
        let names = TRANSFORMS.iter().map(|spec| spec.name);
        match did_you_mean(name, names.clone()) {
            Some(near) => error.with_hint(format!("Did you mean ML.{}?", near.to_uppercase())),
            None => error.with_hint(format!(
                "There are {}.",
                names.map(|n| format!("ML.{}", n.to_uppercase())).collect::<Vec<_>>().join(", ")
            )),
        }
    })
}

/// What learning may look at besides the columns.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    pub task: &'a Task,
    pub seed: u64,
    /// The label as numbers, for encoders that use it.
    pub target: Option<&'a [f64]>,
}

/// A transform that has learnt.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "transform", rename_all = "snake_case")]
pub enum Transform {
    Impute(Impute),
    Scale(Scale),
    Normalize(Normalize),
    Encode(Encode),
    Bucketize(Bucketize),
    Polynomial(Polynomial),
    Cross(Cross),
    Pca(Pca),
    Outlier(Outlier),
    Words(Words),
    Ngrams(Ngrams),
    Named(Named),
}

/// What each kind of transform does.
pub trait Apply {
    /// Gives the columns that come of `input`, which has as many columns, of the same kind, as the transform has learnt from.
    fn apply(&self, input: &Frame, task: &Task) -> Result<Frame>;

    /// The same of columns that may be changed in place, where nobody else holds them.
    fn apply_owned(&self, input: Frame, task: &Task) -> Result<Frame> {
        self.apply(&input, task)
    }
}

impl Transform {
    fn inner(&self) -> &dyn Apply {
        match self {
            Self::Impute(one) => one,
            Self::Scale(one) => one,
            Self::Normalize(one) => one,
            Self::Encode(one) => one,
            Self::Bucketize(one) => one,
            Self::Polynomial(one) => one,
            Self::Cross(one) => one,
            Self::Pca(one) => one,
            Self::Outlier(one) => one,
            Self::Words(one) => one,
            Self::Ngrams(one) => one,
            Self::Named(one) => one,
        }
    }

    pub fn apply(&self, input: &Frame, task: &Task) -> Result<Frame> {
        task.check()?;
        self.inner().apply(input, task)
    }

    /// The same of columns that may be changed in place, where nobody else holds them.
    pub fn apply_owned(&self, input: Frame, task: &Task) -> Result<Frame> {
        task.check()?;
        self.inner().apply_owned(input, task)
    }
}

/// Learns the transform `name` from columns and gives what it makes of them. That is [`Transform::apply`] of the same columns, but
/// for encoders that use the label, which give each row what the other rows say.
///
/// # Errors
/// 42883 for a name that is none, 22023 for arguments it cannot take, 42804 for text where it takes numbers.
pub fn fit(
    name: &str,
    arguments: &Arguments,
    input: Frame,
    context: &Context<'_>,
) -> Result<(Transform, Frame)> {
    let spec = spec(name)?;
    let given = Given::new(spec, arguments)?;
    if input.columns.is_empty() {
        return Err(given.invalid("it takes a column"));
    }
    let learnt = &input;
    let transform = match spec.name {
        "imputer" => Transform::Impute(Impute::fit(&given, learnt, context)?),
        "min_max_scaler" | "standard_scaler" | "max_abs_scaler" | "robust_scaler" => {
            Transform::Scale(Scale::fit(&given, &numbers(spec.name, learnt)?, context)?)
        }
        "normalizer" => Transform::Normalize(Normalize::fit(&given, &numbers(spec.name, learnt)?)?),
        "pca" => Transform::Pca(Pca::fit(&given, &numbers(spec.name, learnt)?, context)?),
        "outlier_score" => {
            Transform::Outlier(Outlier::fit(&given, &numbers(spec.name, learnt)?, context)?)
        }
        "bucketize" | "quantile_bucketize" => {
            Transform::Bucketize(Bucketize::fit(&given, &numbers(spec.name, learnt)?, context)?)
        }
        "polynomial_expand" => {
            Transform::Polynomial(Polynomial::fit(&given, &numbers(spec.name, learnt)?)?)
        }
        "feature_cross" => Transform::Cross(Cross::fit(&given, learnt)?),
        "tf_idf" | "bag_of_words" => Transform::Words(Words::fit(&given, learnt, context)?),
        "ngrams" => Transform::Ngrams(Ngrams::fit(&given)?),
        "date_parts" => Transform::Named(Named::fit(&given, learnt)?),
        "target_encoder" => {
            let (encode, frame) = Encode::fit_target(&given, learnt, context)?;
            return Ok((Transform::Encode(encode), frame));
        }
        _ => Transform::Encode(Encode::fit(&given, learnt, context)?),
    };
    let output = transform.apply_owned(input, context.task)?;
    Ok((transform, output))
}

/// Returns the columns as numbers; NaN is NULL.
pub(crate) fn numbers(name: &str, input: &Frame) -> Result<Matrix> {
    let columns = input.columns.iter().map(|(column_name, column)| match column {
        Column::Number(values) => Ok(std::sync::Arc::clone(values)),
        Column::Text(_) => Err(Error::new(
            ErrorKind::TypeMismatch,
            format!("ML.{} takes numbers, \"{column_name}\" is text", name.to_uppercase()),
        )
        .with_hint("Encode text first: ML.ONE_HOT_ENCODER(column) OVER ().")),
    });
    let names = input.columns.iter().map(|(name, _)| name.clone()).collect();
    let columns = columns.collect::<Result<Vec<_>>>()?;
    Ok(Matrix { n_rows: input.n_rows, names, columns })
}

/// Makes a frame of one name and column for each.
fn frame(n_rows: usize, columns: Vec<(String, Vec<f64>)>) -> Frame {
    let columns = columns.into_iter().map(|(name, values)| (name, Column::number(values)));
    Frame { n_rows, columns: columns.collect() }
}

/// The arguments of one call, to be asked for by name.
pub(crate) struct Given<'a> {
    spec: &'static TransformSpec,
    arguments: &'a Arguments,
}

impl<'a> Given<'a> {
    fn new(spec: &'static TransformSpec, arguments: &'a Arguments) -> Result<Self> {
        let given = Self { spec, arguments };
        if arguments.positional.len() > spec.arguments.len() {
            return Err(given.invalid("it takes fewer arguments"));
        }
        for (name, _) in &arguments.named {
            if !spec.arguments.contains(&name.as_str()) {
                return Err(given.invalid(&format!("it has no argument \"{name}\"")));
            }
        }
        Ok(given)
    }

    pub(crate) fn name(&self) -> &'static str {
        self.spec.name
    }

    pub(crate) fn invalid(&self, why: &str) -> Error {
        let takes = self.spec.arguments.join(", ");
        let what = format!("invalid call of ML.{}: {why}", self.spec.name.to_uppercase());
        Error::new(ErrorKind::InvalidParameter, what).with_hint(match takes.is_empty() {
            true => "It takes a column, or ARRAY[column, …], and nothing else.".to_owned(),
            false => format!("After the column, or ARRAY[column, …], it takes: {takes}."),
        })
    }

    pub(crate) fn get(&self, name: &str) -> Option<&'a Literal> {
        let named = self.arguments.named.iter().find(|(given, _)| given == name);
        let place = self.spec.arguments.iter().position(|argument| *argument == name);
        let found = match named {
            Some((_, value)) => Some(value),
            None => place.and_then(|place| self.arguments.positional.get(place)),
        };
        found.filter(|value| **value != Literal::Null)
    }

    pub(crate) fn number(&self, name: &str) -> Result<Option<f64>> {
        match self.get(name) {
            None => Ok(None),
            Some(Literal::Number(number)) if number.is_finite() => Ok(Some(*number)),
            Some(_) => Err(self.invalid(&format!("{name} is a number"))),
        }
    }

    /// A whole number within a range.
    pub(crate) fn count(
        &self,
        name: &str,
        range: std::ops::RangeInclusive<usize>,
    ) -> Result<Option<usize>> {
        let Some(number) = self.number(name)? else { return Ok(None) };
        let count = number as usize;
        if count as f64 != number || !range.contains(&count) {
            let (least, most) = (range.start(), range.end());
            return Err(self.invalid(&format!("{name} is a whole number from {least} to {most}")));
        }
        Ok(Some(count))
    }

    /// A word of ours, in whatever case it is written.
    pub(crate) fn word(&self, name: &str) -> Result<Option<String>> {
        Ok(self.text(name)?.map(|text| text.to_lowercase()))
    }

    pub(crate) fn text(&self, name: &str) -> Result<Option<String>> {
        match self.get(name) {
            None => Ok(None),
            Some(Literal::Text(text)) => Ok(Some(text.clone())),
            Some(_) => Err(self.invalid(&format!("{name} is text"))),
        }
    }

    pub(crate) fn flag(&self, name: &str) -> Result<bool> {
        match self.get(name) {
            None => Ok(false),
            Some(Literal::Boolean(flag)) => Ok(*flag),
            Some(_) => Err(self.invalid(&format!("{name} is true or false"))),
        }
    }
}
