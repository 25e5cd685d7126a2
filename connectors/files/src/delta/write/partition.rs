//! Values of partition columns as the log writes them, and the directories of their files.

use arrow::array::ArrayRef;
use arrow::datatypes::{DataType, TimeUnit};
use chrono::DateTime;
use datafusion::common::ScalarValue;
use maru_core::{Error, ErrorKind, Result};

/// Characters of a directory's name at most; longer values are kept in the log alone.
const NAME_MAX: usize = 150;

/// Returns a value as the log writes it; `None` is NULL.
///
/// # Errors
/// 22023 for the empty text, which no reader could tell from NULL.
pub(super) fn text_of(column: &str, value: &ScalarValue) -> Result<Option<String>> {
    if value.is_null() {
        return Ok(None);
    }
    Ok(Some(match value {
        ScalarValue::Utf8(Some(text))
        | ScalarValue::LargeUtf8(Some(text))
        | ScalarValue::Utf8View(Some(text)) => {
            if text.is_empty() {
                return Err(Error::new(
                    ErrorKind::InvalidParameter,
                    format!("an empty text cannot be the value of partition column \"{column}\""),
                )
                .with_detail("A Delta Lake table cannot tell it from NULL.")
                .with_hint("Write NULL or another text."));
            }
            text.clone()
        }
        ScalarValue::TimestampMicrosecond(Some(micros), zone) => {
            let time = DateTime::from_timestamp_micros(*micros).ok_or_else(|| {
                Error::new(
                    ErrorKind::OutOfRange,
                    format!("timestamp of column \"{column}\" out of range"),
                )
            })?;
            match zone {
                Some(_) => time.format("%Y-%m-%dT%H:%M:%S%.6fZ").to_string(),
                None => time.format("%Y-%m-%d %H:%M:%S%.6f").to_string(),
            }
        }
        other => {
            let text = other.cast_to(&DataType::Utf8)?;
            match text {
                ScalarValue::Utf8(Some(text)) => text,
                _ => return Err(Error::internal("a value has no text")),
            }
        }
    }))
}

/// Returns the value of one row.
pub(super) fn value_at(values: &ArrayRef, row: usize) -> Result<ScalarValue> {
    Ok(ScalarValue::try_from_array(values, row)?)
}

/// # Errors
/// 0A000 for a type that is no good as a name.
pub(super) fn check_type(column: &str, data_type: &DataType) -> Result<()> {
    let good = matches!(
        data_type,
        DataType::Boolean
            | DataType::Date32
            | DataType::Decimal128(..)
            | DataType::Timestamp(TimeUnit::Microsecond, _)
    ) || data_type.is_integer()
        || data_type.is_string();
    if good {
        return Ok(());
    }
    Err(Error::unsupported(format!(
        "a table cannot be partitioned by column \"{column}\" of its type"
    ))
    .with_hint("Partition by whole numbers, dates, timestamps, booleans or text."))
}

/// Returns the directories of a partition, as Hive names them; none if a name would be too long.
pub(super) fn directory(columns: &[String], values: &[Option<String>]) -> String {
    let parts = columns.iter().zip(values).map(|(column, value)| {
        let value =
            value.as_deref().map_or_else(|| "__HIVE_DEFAULT_PARTITION__".to_owned(), escape);
        format!("{}={value}/", escape(column))
    });
    let parts = parts.collect::<Vec<_>>();
    match parts.iter().any(|part| part.len() > NAME_MAX) {
        true => String::new(),
        false => parts.concat(),
    }
}

/// Escapes what a directory's name had better not hold: all but letters, digits and `-_.` of ASCII.
fn escape(text: &str) -> String {
    let mut name = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' => name.push(char::from(byte)),
            b'.' if !name.is_empty() => name.push('.'),
            other => name.push_str(&format!("%{other:02X}")),
        }
    }
    name
}

/// Returns a path of the table as the log writes it.
pub(super) fn encoded(path: &str) -> String {
    // What `escape` and the names of files leave is safe in a URL but for its own sign.
    path.replace('%', "%25")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_hold_nothing_strange() {
        let columns = ["d".to_owned(), "k".to_owned()];
        let values = [Some("2026-11-26".to_owned()), Some("a/b c%한".to_owned())];
        let directory = directory(&columns, &values);
        assert_eq!(directory, "d=2026-11-26/k=a%2Fb%20c%25%ED%95%9C/");
        assert_eq!(encoded("k=a%2Fb/x"), "k=a%252Fb/x");
        assert_eq!(super::directory(&columns[..1], &[None]), "d=__HIVE_DEFAULT_PARTITION__/");
        assert_eq!(super::directory(&columns[..1], &[Some("x".repeat(200))]), "");
    }

    #[test]
    fn values_are_written_as_the_protocol_says() {
        let text = |value: ScalarValue| text_of("c", &value).unwrap().unwrap();
        assert_eq!(text(ScalarValue::Date32(Some(0))), "1970-01-01");
        assert_eq!(text(ScalarValue::Int32(Some(-5))), "-5");
        assert_eq!(text(ScalarValue::Boolean(Some(true))), "true");
        assert_eq!(text(ScalarValue::Decimal128(Some(-1250), 6, 2)), "-12.50");
        let utc = Some("UTC".into());
        let at = ScalarValue::TimestampMicrosecond(Some(1_000_001), utc);
        assert_eq!(text(at), "1970-01-01T00:00:01.000001Z");
        assert_eq!(
            text(ScalarValue::TimestampMicrosecond(Some(0), None)),
            "1970-01-01 00:00:00.000000"
        );
        assert_eq!(text_of("c", &ScalarValue::Utf8(None)).unwrap(), None);
        assert_eq!(text_of("c", &ScalarValue::from("")).unwrap_err().sqlstate(), "22023");
    }
}
