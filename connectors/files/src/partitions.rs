//! `key=value` directories.

use arrow::datatypes::DataType;
use chrono::NaiveDate;
use datafusion::common::ScalarValue;
use maru_core::{Error, ErrorKind, Result};

/// What Hive writes for NULL.
const HIVE_NULL: &str = "__HIVE_DEFAULT_PARTITION__";

/// Splits the name of a directory; the value has its percent escapes resolved and is `None` for NULL.
pub(crate) fn split(name: &str) -> Option<(&str, Option<String>)> {
    let (key, value) = name.split_once('=')?;
    if key.is_empty() {
        return None;
    }
    let value = unescape(value);
    Some((key, (value != HIVE_NULL && !value.is_empty()).then_some(value)))
}

/// Resolves `%XX`, which Hive and Spark write for characters that a name cannot hold; what is no escape stays.
fn unescape(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut plain = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let escaped = (bytes[at] == b'%')
            .then(|| bytes.get(at + 1..at + 3))
            .flatten()
            .and_then(|hex| std::str::from_utf8(hex).ok())
            .and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match escaped {
            Some(byte) => {
                plain.push(byte);
                at += 3;
            }
            None => {
                plain.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8(plain).unwrap_or_else(|_| text.to_owned())
}

/// Collects the values of one key to find their type.
#[derive(Debug, Clone)]
pub(crate) struct TypeGuess {
    integer: bool,
    date: bool,
    any: bool,
}

impl TypeGuess {
    fn new() -> Self {
        Self { integer: true, date: true, any: false }
    }

    pub(crate) fn of(value: Option<&str>) -> Self {
        let mut guess = Self::new();
        if let Some(value) = value {
            guess.add(value);
        }
        guess
    }

    pub(crate) fn add(&mut self, value: &str) {
        self.any = true;
        self.integer &= is_integer(value);
        self.date &= is_date(value);
    }

    /// Returns a 64-bit integer if all values are plain numbers, a date if all are, else text. `07` is text: as a
    /// number it would be another directory.
    pub(crate) fn data_type(&self) -> DataType {
        match self {
            Self { any: true, integer: true, .. } => DataType::Int64,
            Self { any: true, date: true, .. } => DataType::Date32,
            _ => DataType::Utf8,
        }
    }
}

fn is_integer(value: &str) -> bool {
    value.parse::<i64>().is_ok_and(|number| number.to_string() == value)
}

fn is_date(value: &str) -> bool {
    value.len() == 10 && NaiveDate::parse_from_str(value, "%Y-%m-%d").is_ok()
}

/// Returns a directory's value in the column's type.
///
/// # Errors
/// 22P02 if it does not fit; names the directory or file.
pub(crate) fn value(
    text: Option<&str>,
    data_type: &DataType,
    directory: &str,
) -> Result<ScalarValue> {
    let Some(text) = text else { return Ok(ScalarValue::try_new_null(data_type)?) };
    ScalarValue::try_from_string(text.to_owned(), data_type).map_err(|_| {
        Error::new(
            ErrorKind::InvalidText,
            format!(
                "\"{directory}\": partition value \"{text}\" is not of type {}",
                maru_connect::type_name(data_type)
            ),
        )
        .with_hint("Declare the partition column as text, or rename the directory.")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splits_names() {
        assert_eq!(split("day=2024-01-01"), Some(("day", Some("2024-01-01".into()))));
        assert_eq!(split("r=a%2Fb%3Dc d"), Some(("r", Some("a/b=c d".into()))));
        assert_eq!(split("r=100%"), Some(("r", Some("100%".into()))));
        assert_eq!(split("r=__HIVE_DEFAULT_PARTITION__"), Some(("r", None)));
        assert_eq!(split("plain"), None);
        assert_eq!(split("=x"), None);
    }

    #[test]
    fn finds_types() {
        let guess = |values: &[&str]| {
            let mut guess = TypeGuess::new();
            values.iter().for_each(|value| guess.add(value));
            guess.data_type()
        };
        assert_eq!(guess(&["1", "-20"]), DataType::Int64);
        assert_eq!(guess(&["01", "2"]), DataType::Utf8);
        assert_eq!(guess(&["2024-01-31"]), DataType::Date32);
        assert_eq!(guess(&["2024-01-31", "2"]), DataType::Utf8);
        assert_eq!(guess(&[]), DataType::Utf8);
    }
}
