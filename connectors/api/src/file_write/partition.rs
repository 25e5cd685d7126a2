//! Partitions by the names of their directories.

use arrow::datatypes::{Decimal128Type, DecimalType};
use datafusion::common::ScalarValue;
use maru_core::{Error, ErrorKind, Result};

use super::text::{Style, day_text, time_text};

/// What stands in a name for NULL.
const NO_VALUE: &str = "__HIVE_DEFAULT_PARTITION__";

/// Returns the text of a value in a partition's name; `None` is NULL.
///
/// # Errors
/// 22023 for the empty text and for what a name without a value is called, which no reader could tell from NULL; 0A000 for a type
/// that is no good as a name.
pub fn partition_text(column: &str, value: &ScalarValue) -> Result<Option<String>> {
    if value.is_null() {
        return Ok(None);
    }
    let text = match value {
        ScalarValue::Utf8(Some(text))
        | ScalarValue::LargeUtf8(Some(text))
        | ScalarValue::Utf8View(Some(text)) => {
            if text.is_empty() || text == NO_VALUE {
                return Err(Error::new(
                    ErrorKind::InvalidParameter,
                    format!("text \"{text}\" cannot be the value of partition column \"{column}\""),
                )
                .with_detail("In the name of a directory it cannot be told from NULL.")
                .with_hint("Write NULL or another text."));
            }
            text.clone()
        }
        ScalarValue::Date32(Some(days)) => day_text(*days)?,
        ScalarValue::TimestampMicrosecond(Some(micros), zone) => {
            time_text(*micros, zone.is_some(), Style::Hive)?
        }
        ScalarValue::Boolean(Some(value)) => value.to_string(),
        ScalarValue::Decimal128(Some(value), precision, scale) => {
            Decimal128Type::format_decimal(*value, *precision, *scale)
        }
        other if other.data_type().is_integer() => other.to_string(),
        other => {
            return Err(Error::unsupported(format!(
                "column \"{column}\" of type {} cannot name partitions",
                other.data_type()
            ))
            .with_hint("Partition by whole numbers, dates, timestamps, booleans or text."));
        }
    };
    Ok(Some(text))
}

/// Returns the directories of a partition, as Hive names them: `day=2026-01-02/kind=a%2Fb`.
pub fn partition_directory(keys: &[String], values: &[Option<String>]) -> String {
    let parts = keys.iter().zip(values).map(|(key, value)| {
        let value = value.as_deref().map_or_else(|| NO_VALUE.to_owned(), escape);
        format!("{}={value}", escape(key))
    });
    parts.collect::<Vec<_>>().join("/")
}

/// Escapes what Hive does in the names of directories.
fn escape(text: &str) -> String {
    let mut name = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\u{1}'..='\u{1f}'
            | '\u{7f}'
            | '"'
            | '#'
            | '%'
            | '\''
            | '*'
            | '/'
            | ':'
            | '='
            | '?'
            | '\\'
            | '{'
            | '['
            | ']'
            | '^' => name.push_str(&format!("%{:02X}", u32::from(c))),
            other => name.push(other),
        }
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_are_named_as_hive_does() {
        let keys = ["d".to_owned(), "k".to_owned()];
        let values = [Some("a/b c%한=".to_owned()), None];
        let name = partition_directory(&keys, &values);
        assert_eq!(name, "d=a%2Fb c%25한%3D/k=__HIVE_DEFAULT_PARTITION__");
    }

    #[test]
    fn names_of_partitions_can_be_told_apart() {
        let text = |value| partition_text("p", &value);
        assert_eq!(text(ScalarValue::from("a/b")).unwrap(), Some("a/b".to_owned()));
        assert_eq!(text(ScalarValue::Utf8(None)).unwrap(), None);
        assert_eq!(text(ScalarValue::Int32(Some(-3))).unwrap(), Some("-3".to_owned()));
        assert_eq!(text(ScalarValue::from("")).unwrap_err().sqlstate(), "22023");
        assert_eq!(text(ScalarValue::from(1.5)).unwrap_err().sqlstate(), "0A000");
    }
}
