//! Texts in which something is replaced: how much longer they get.
//!
//! Most replacements are short, so that the lengths of a batch tell that all is well. Where they do not, the matches are counted.

use arrow::array::{Array, AsArray, StringViewArray};
use arrow::compute::cast;
use arrow::datatypes::DataType;
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::ColumnarValue;

use super::super::regexp::with_regex;
use super::{BATCH_MAX, VALUE_MAX, numbers_of, too_large, too_large_together};

pub(super) const FUNCTIONS: &[&str] = &["replace", "regexp_replace", "regexp_replace_from"];

/// Refuses what would need too much memory.
///
/// # Errors
/// 54000.
pub(super) fn check(name: &str, args: &[ColumnarValue], n_rows: usize) -> DfResult<()> {
    let [texts, pattern, put, rest @ ..] = args else { return Ok(()) };
    let all = numbers_of(name, 0, texts)?.all(n_rows);
    let longest = numbers_of(name, 2, put)?.most();
    // Between all characters, and in each the match once more for every two characters.
    let at_most = all.saturating_add(count(n_rows)).saturating_mul(longest).saturating_mul(2);
    if at_most <= BATCH_MAX {
        return Ok(());
    }
    let (texts, pattern, put) = (Texts::new(texts)?, Texts::new(pattern)?, Texts::new(put)?);
    // Numbers say which match is meant; all are counted then.
    let may_be_many = rest.iter().any(|arg| !arg.data_type().is_string());
    let flags = rest.last().filter(|arg| arg.data_type().is_string());
    let flags = flags.map(Texts::new).transpose()?;
    let (mut added_to_all, mut length_of_all) = (0_i64, 0_i64);
    for row in 0..n_rows {
        let (Some(text), Some(pattern), Some(put)) = (texts.at(row), pattern.at(row), put.at(row))
        else {
            continue;
        };
        let flags = flags.as_ref().map_or("", |flags| flags.at(row).unwrap_or_default());
        let is_once = !may_be_many && !flags.contains('g');
        let added = match name {
            "replace" => count(text.matches(pattern).count()).saturating_mul(count(put.len())),
            _ => added(text, pattern, put, flags, is_once),
        };
        let length = count(text.len());
        if added.saturating_add(length) > VALUE_MAX {
            return Err(too_large().into());
        }
        added_to_all = added_to_all.saturating_add(added);
        length_of_all = length_of_all.saturating_add(length);
        // Long texts that are cleaned are as long afterwards.
        if added_to_all > length_of_all.saturating_mul(2).saturating_add(BATCH_MAX) {
            let name = name.trim_end_matches("_from");
            return Err(too_large_together(name).into());
        }
    }
    Ok(())
}

/// Returns how many bytes replacements of a regular expression have at most; none for one that is refused when it is used.
fn added(text: &str, pattern: &str, put: &str, flags: &str, is_once: bool) -> i64 {
    let most = if is_once { 1 } else { usize::MAX };
    let found = with_regex(pattern, flags, |regex| {
        let lengths = regex.find_iter(text).take(most).map(|found| count(found.len()));
        Ok(lengths.fold((0_i64, 0_i64), |(n, bytes), length| (n + 1, bytes + length)))
    });
    let (n, bytes) = found.unwrap_or_default();
    // `\1` stands for a part of the match.
    let again = count(put.matches('\\').count());
    n.saturating_mul(count(put.len())).saturating_add(again.saturating_mul(bytes))
}

fn count(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// Texts row by row.
enum Texts<'a> {
    One(Option<&'a str>),
    Each(StringViewArray),
}

impl<'a> Texts<'a> {
    fn new(argument: &'a ColumnarValue) -> DfResult<Self> {
        Ok(match argument {
            ColumnarValue::Scalar(value) => Self::One(value.try_as_str().flatten()),
            ColumnarValue::Array(array) => {
                Self::Each(cast(array, &DataType::Utf8View)?.as_string_view().clone())
            }
        })
    }

    fn at(&self, row: usize) -> Option<&str> {
        match self {
            Self::One(text) => *text,
            Self::Each(texts) => texts.is_valid(row).then(|| texts.value(row)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::StringArray;
    use datafusion::common::ScalarValue;

    use super::*;

    fn one(text: &str) -> ColumnarValue {
        ColumnarValue::Scalar(ScalarValue::from(text))
    }

    fn is_refused(name: &str, args: &[ColumnarValue], n_rows: usize) -> bool {
        check(name, args, n_rows).is_err()
    }

    #[test]
    fn what_grows_too_large_is_refused() {
        let (many, long) = (one(&"a".repeat(20_000)), one(&"b".repeat(20_000)));
        let replace = [many.clone(), one("a"), long.clone()];
        assert!(is_refused("replace", &replace, 1));
        let global = [many.clone(), one("a"), long.clone(), one("g")];
        assert!(is_refused("regexp_replace", &global, 1));
        assert!(!is_refused("regexp_replace", &replace, 1));
        let again = [many, one("a+"), one(&"\\&".repeat(20_000))];
        assert!(is_refused("regexp_replace_from", &again, 1));
        let rare = [one(&"ab".repeat(10_000)), one("c"), long];
        assert!(!is_refused("replace", &rare, 1));
    }

    #[test]
    fn ordinary_texts_are_cleaned() {
        let texts = StringArray::from(vec!["some words. ".repeat(350); 8192]);
        let texts = ColumnarValue::Array(Arc::new(texts));
        let put = one("<a replacement of some length>");
        let args = [texts.clone(), one("some"), put.clone(), one("g")];
        assert!(!is_refused("regexp_replace", &args, 8192));
        assert!(!is_refused("replace", &[texts, one("words"), put], 8192));
    }
}
