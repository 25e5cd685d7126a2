//! Which MySQL type a column of a new table gets.

use arrow::datatypes::{DataType, Field};
use maru_core::Result;

use crate::mysql::types::{Comparison, Kind, Mapping, Selected};
use crate::write::{Declared, declared, no_type};

/// Characters of text that is part of a primary key: an index has room for 3072 bytes.
const KEY_CHARS: usize = 768;

/// Text is the same if its bytes are, as in Maru.
const UTF8: &str = "CHARACTER SET utf8mb4 COLLATE utf8mb4_bin";

/// Returns the type as SQL writes it, and how its values are written. `n_keys` is the number of columns of the primary key that the
/// column belongs to; none: it does not.
///
/// # Errors
/// 22023 for a type that MySQL has no place for.
pub(super) fn created(field: &Field, n_keys: usize) -> Result<(String, Mapping)> {
    let sql = match declared(field) {
        Declared::Nothing | Declared::Uuid => {
            return by_type(field.name(), field.data_type(), n_keys);
        }
        Declared::Varchar(length) => format!("VARCHAR({length}) {UTF8}"),
        Declared::Char(length) => format!("CHAR({length}) {UTF8}"),
        Declared::Json | Declared::Jsonb => "JSON".to_owned(),
    };
    Ok((sql, plain(Kind::Text)))
}

fn plain(kind: Kind) -> Mapping {
    Mapping { kind, selected: Selected::Plain, comparison: Comparison::None }
}

fn by_type(column: &str, data_type: &DataType, n_keys: usize) -> Result<(String, Mapping)> {
    let (sql, kind) = match data_type {
        DataType::Boolean => ("BOOLEAN".to_owned(), Kind::Bool),
        DataType::Int8 | DataType::Int16 | DataType::UInt8 => {
            ("SMALLINT".to_owned(), Kind::Int2 { unsigned: false })
        }
        DataType::Int32 | DataType::UInt16 => ("INT".to_owned(), Kind::Int4 { unsigned: false }),
        DataType::Int64 | DataType::UInt32 => ("BIGINT".to_owned(), Kind::Int8 { unsigned: false }),
        DataType::UInt64 => ("BIGINT UNSIGNED".to_owned(), Kind::Int8 { unsigned: true }),
        DataType::Float16 | DataType::Float32 => ("FLOAT".to_owned(), Kind::Float),
        DataType::Float64 => ("DOUBLE".to_owned(), Kind::Double),
        DataType::Decimal32(precision, scale)
        | DataType::Decimal64(precision, scale)
        | DataType::Decimal128(precision, scale) => {
            let (precision, scale) = match u8::try_from(*scale) {
                Ok(scale) => (*precision, scale),
                Err(_) => (precision.saturating_add(scale.unsigned_abs()), 0),
            };
            if precision > 38 {
                return Err(no_type("MySQL", column, data_type));
            }
            let kind = Kind::Decimal { precision, scale: scale.cast_signed(), declared: true };
            (format!("DECIMAL({precision},{scale})"), kind)
        }
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View | DataType::Null => {
            let sql = match n_keys {
                0 => "LONGTEXT".to_owned(),
                n => format!("VARCHAR({})", KEY_CHARS / n),
            };
            (format!("{sql} {UTF8}"), Kind::Text)
        }
        DataType::Binary
        | DataType::LargeBinary
        | DataType::BinaryView
        | DataType::FixedSizeBinary(_) => {
            let sql = match n_keys {
                0 => "LONGBLOB".to_owned(),
                n => format!("VARBINARY({})", KEY_CHARS / n),
            };
            (sql, Kind::Bytes)
        }
        DataType::Date32 | DataType::Date64 => ("DATE".to_owned(), Kind::Date),
        DataType::Time32(_) | DataType::Time64(_) => ("TIME(6)".to_owned(), Kind::Time),
        DataType::Timestamp(_, None) => ("DATETIME(6)".to_owned(), Kind::Datetime),
        DataType::Timestamp(_, Some(_)) => ("TIMESTAMP(6)".to_owned(), Kind::Timestamp),
        DataType::Dictionary(_, values) => return by_type(column, values, n_keys),
        _ => return Err(no_type("MySQL", column, data_type)),
    };
    Ok((sql, plain(kind)))
}
