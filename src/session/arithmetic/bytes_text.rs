//! Texts that are read as bytes: `\x6162`, or letters with `\141` for what is none.
//!
//! Source: PostgreSQL 16, section 8.4.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, BinaryArray};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::DataType;
use maru_core::{Error, ErrorKind, Result};

/// Reads bytes as PostgreSQL reads those of a statement.
///
/// # Errors
/// 22023 for hexadecimal digits that are none, or too few of them; 22P02 for a backslash that says nothing.
pub(in crate::session) fn parse(text: &str) -> Result<Vec<u8>> {
    crate::session::bytea(text).ok_or_else(|| {
        let Some(hex) = text.strip_prefix("\\x") else {
            return Error::new(ErrorKind::InvalidText, "invalid input syntax for type bytea")
                .with_hint("Write bytes as \\x and hexadecimal digits; a backslash as \\\\.");
        };
        let odd = hex.chars().find(|digit| !digit.is_ascii_hexdigit() && !digit.is_whitespace());
        let what = match odd {
            Some(digit) => format!("invalid hexadecimal digit: \"{digit}\""),
            None => "invalid hexadecimal data: odd number of digits".to_owned(),
        };
        Error::new(ErrorKind::InvalidParameter, what)
    })
}

/// Reads texts as bytes. With `try_cast` those that are none are NULL.
///
/// # Errors
/// As [`parse`].
pub(super) fn read(texts: &ArrayRef, target: &DataType, try_cast: bool) -> Result<ArrayRef> {
    let options = CastOptions { safe: try_cast, ..CastOptions::default() };
    let texts = cast_with_options(texts, &DataType::Utf8, &options)?;
    let one = |text: Option<&str>| match text.map(parse).transpose() {
        Err(_) if try_cast => Ok(None),
        found => found,
    };
    let bytes = texts.as_string::<i32>().iter().map(one).collect::<Result<BinaryArray>>()?;
    let bytes: ArrayRef = Arc::new(bytes);
    Ok(cast_with_options(&bytes, target, &options)?)
}

#[cfg(test)]
mod tests {
    use arrow::array::StringArray;

    use super::*;

    #[test]
    fn bytes_are_read_as_postgresql_reads_them() {
        for (text, bytes) in [
            ("\\x61", "a"),
            ("\\x 61 62", "ab"),
            ("\\x", ""),
            ("abc", "abc"),
            ("\\141", "a"),
            ("a\\\\b", "a\\b"),
        ] {
            assert_eq!(parse(text).unwrap(), bytes.as_bytes(), "{text}");
        }
        for (text, sqlstate, message) in [
            ("\\xzz", "22023", "invalid hexadecimal digit: \"z\""),
            ("\\x6", "22023", "invalid hexadecimal data: odd number of digits"),
            ("a\\bc", "22P02", "invalid input syntax for type bytea"),
        ] {
            let error = parse(text).unwrap_err();
            assert_eq!((error.sqlstate(), error.primary()), (sqlstate, message), "{text}");
        }
    }

    #[test]
    fn columns_of_texts_are_read() {
        let texts: ArrayRef = Arc::new(StringArray::from(vec![Some("\\x61"), None, Some("\\xz")]));
        assert!(read(&texts, &DataType::Binary, false).is_err());
        let found = read(&texts, &DataType::Binary, true).unwrap();
        let found = found.as_binary::<i32>();
        assert_eq!(found.iter().collect::<Vec<_>>(), [Some(b"a".as_slice()), None, None]);
    }
}
