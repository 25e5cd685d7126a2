//! Partition names and values.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{Field, Schema};
use datafusion::common::ScalarValue;
use maru_connect::{Predicate, evaluate};
use maru_core::{Error, ErrorKind, Result};

/// What Hive writes for NULL.
pub(crate) const DEFAULT_PARTITION: &str = "__HIVE_DEFAULT_PARTITION__";

/// Returns the values in a partition's name: `day=2026-01-02/region=a%2Fb` has `2026-01-02` and `a/b`.
///
/// # Errors
/// HV000 if the name does not have exactly the keys of the table.
pub(crate) fn values_of(name: &str, keys: &[Arc<Field>]) -> Result<Vec<String>> {
    let parts = name.split('/').map(|part| part.split_once('=')).collect::<Option<Vec<_>>>();
    let fits = |parts: &Vec<(&str, &str)>| {
        let names = parts.iter().map(|(key, _)| unescape(key));
        parts.len() == keys.len()
            && names.zip(keys).all(|(name, key)| name.eq_ignore_ascii_case(key.name()))
    };
    match parts.filter(fits) {
        Some(parts) => Ok(parts.into_iter().map(|(_, value)| unescape(value)).collect()),
        None => Err(Error::new(
            ErrorKind::RemoteFailed,
            format!("partition name \"{name}\" does not fit the partition columns"),
        )),
    }
}

/// Takes back Hive's escapes: `%2F` is `/`. What is no escape stays.
fn unescape(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut plain = Vec::with_capacity(bytes.len());
    let mut i = 0;
    while i < bytes.len() {
        let code = bytes.get(i + 1..i + 3).filter(|_| bytes[i] == b'%').and_then(|hex| {
            std::str::from_utf8(hex).ok().and_then(|hex| u8::from_str_radix(hex, 16).ok())
        });
        match code {
            Some(code) => {
                plain.push(code);
                i += 3;
            }
            None => {
                plain.push(bytes[i]);
                i += 1;
            }
        }
    }
    // Hive escapes ASCII only, so what was UTF-8 still is.
    String::from_utf8_lossy(&plain).into_owned()
}

/// Gives texts the types of the partition columns.
///
/// # Errors
/// 22P02 if a text is no value of its column's type.
pub(crate) fn typed<S: AsRef<str>>(texts: &[S], keys: &[Arc<Field>]) -> Result<Vec<ScalarValue>> {
    if texts.len() != keys.len() {
        return Err(Error::new(
            ErrorKind::RemoteFailed,
            format!("a partition has {} values for {} columns", texts.len(), keys.len()),
        ));
    }
    let value = |(text, key): (&S, &Arc<Field>)| {
        let text = text.as_ref();
        if text == DEFAULT_PARTITION {
            return Ok(ScalarValue::try_from(key.data_type())?);
        }
        ScalarValue::try_from_string(text.to_owned(), key.data_type()).map_err(|_| {
            Error::new(
                ErrorKind::InvalidText,
                format!(
                    "partition value \"{text}\" of column \"{}\" is no {}",
                    key.name(),
                    key.data_type()
                ),
            )
        })
    };
    texts.iter().zip(keys).map(value).collect()
}

/// Puts rows of partition values into columns.
pub(crate) fn batch(rows: &[Vec<ScalarValue>], keys: &[Arc<Field>]) -> Result<RecordBatch> {
    let schema = Arc::new(Schema::new(keys.to_vec()));
    if rows.is_empty() {
        return Ok(RecordBatch::new_empty(schema));
    }
    let column = |i: usize| ScalarValue::iter_to_array(rows.iter().map(|row| row[i].clone()));
    let columns = (0..keys.len()).map(column).collect::<Result<Vec<_>, _>>()?;
    Ok(RecordBatch::try_new(schema, columns)?)
}

/// Returns which rows of partition values may satisfy all of `filters`.
pub(crate) fn keep(rows: &RecordBatch, filters: &[Predicate]) -> Result<Vec<bool>> {
    let mut keep = vec![true; rows.num_rows()];
    if rows.num_rows() == 0 {
        return Ok(keep);
    }
    for filter in filters {
        let holds = evaluate::rows(filter, rows)?;
        for (keep, holds) in keep.iter_mut().zip(&holds) {
            *keep &= holds == Some(true);
        }
    }
    Ok(keep)
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::DataType;
    use maru_connect::CompareOp;

    use super::*;

    fn keys() -> Vec<Arc<Field>> {
        vec![
            Arc::new(Field::new("d", DataType::Date32, true)),
            Arc::new(Field::new("region", DataType::Utf8, true)),
        ]
    }

    #[test]
    fn reads_names_as_hive_escapes_them() {
        let table = [
            ("d=2026-01-02/region=eu", "eu"),
            ("d=2026-01-02/region=a b%2Fc%3Dd", "a b/c=d"),
            ("d=2026-01-02/region=100%25%", "100%%"),
            ("D=2026-01-02/REGION=서울%3A%zz", "서울:%zz"),
        ];
        for (name, region) in table {
            assert_eq!(values_of(name, &keys()).unwrap(), vec!["2026-01-02", region], "{name}");
        }
        for name in ["d=1", "d=1/region=2/x=3", "region=2/d=1", "d/region=1", ""] {
            assert!(values_of(name, &keys()).is_err(), "{name}");
        }
    }

    #[test]
    fn gives_values_their_types() {
        let values = typed(&["2026-01-02", DEFAULT_PARTITION], &keys()).unwrap();
        assert_eq!(values, vec![ScalarValue::Date32(Some(20455)), ScalarValue::Utf8(None)]);
        let error = typed(&["yesterday", "eu"], &keys()).unwrap_err();
        assert_eq!(error.sqlstate(), "22P02");
        assert_eq!(error.primary(), "partition value \"yesterday\" of column \"d\" is no Date32");
        assert!(typed(&["2026-01-02"], &keys()).is_err());
        let types = [
            (DataType::Int32, "007", ScalarValue::Int32(Some(7))),
            (DataType::Boolean, "true", ScalarValue::Boolean(Some(true))),
            (DataType::Decimal128(5, 2), "1.5", ScalarValue::Decimal128(Some(150), 5, 2)),
        ];
        for (data_type, text, wanted) in types {
            let key = Arc::new(Field::new("k", data_type, true));
            assert_eq!(typed(&[text], &[key]).unwrap(), vec![wanted]);
        }
    }

    #[test]
    fn keeps_only_what_a_filter_is_true_of() {
        let region = |text: Option<&str>| ScalarValue::Utf8(text.map(str::to_owned));
        let day = |n| ScalarValue::Date32(Some(n));
        let rows = vec![
            vec![day(1), region(Some("eu"))],
            vec![day(2), region(None)],
            vec![day(3), region(Some("us"))],
        ];
        let rows = batch(&rows, &keys()).unwrap();
        let not_us =
            Predicate::Compare { column: 1, op: CompareOp::NotEq, value: region(Some("us")) };
        assert_eq!(keep(&rows, std::slice::from_ref(&not_us)).unwrap(), vec![true, false, false]);
        let late = Predicate::Compare { column: 0, op: CompareOp::Gt, value: day(1) };
        assert_eq!(keep(&rows, &[not_us, late]).unwrap(), vec![false; 3]);
        assert_eq!(keep(&rows, &[]).unwrap(), vec![true; 3]);
    }
}
