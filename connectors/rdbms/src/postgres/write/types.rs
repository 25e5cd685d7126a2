//! Which PostgreSQL type a column of a new table gets.

use arrow::datatypes::{DataType, Field, TimeUnit};
use maru_core::Result;

use super::encode::Wire;
use crate::postgres::types::Kind;
use crate::write::{Declared, declared, no_type};

/// Returns the type of a new column as SQL writes it, and how its values are written.
///
/// # Errors
/// 22023 for a type that PostgreSQL has no place for.
pub(super) fn created(field: &Field) -> Result<(String, Wire)> {
    let (sql, kind) = match declared(field) {
        Declared::Nothing => return by_type(field.name(), field.data_type()),
        Declared::Varchar(length) => (format!("varchar({length})"), Kind::Text),
        Declared::Char(length) => (format!("char({length})"), Kind::Text),
        Declared::Uuid => ("uuid".to_owned(), Kind::Uuid),
        Declared::Json => ("json".to_owned(), Kind::Text),
        Declared::Jsonb => ("jsonb".to_owned(), Kind::Jsonb),
    };
    Ok((sql, Wire { kind, item: 0 }))
}

fn by_type(column: &str, data_type: &DataType) -> Result<(String, Wire)> {
    let plain = |sql: &str, kind| Ok((sql.to_owned(), Wire { kind, item: 0 }));
    match data_type {
        DataType::Boolean => plain("boolean", Kind::Bool),
        DataType::Int8 | DataType::Int16 | DataType::UInt8 => plain("smallint", Kind::Int2),
        DataType::Int32 | DataType::UInt16 => plain("integer", Kind::Int4),
        DataType::Int64 | DataType::UInt32 => plain("bigint", Kind::Int8),
        DataType::UInt64 => decimal(20, 0),
        DataType::Float16 | DataType::Float32 => plain("real", Kind::Float4),
        DataType::Float64 => plain("double precision", Kind::Float8),
        DataType::Decimal32(precision, scale)
        | DataType::Decimal64(precision, scale)
        | DataType::Decimal128(precision, scale) => match u8::try_from(*scale) {
            Ok(scale) => decimal(*precision, scale),
            // Zeros before the point are digits, too.
            Err(_) => match precision.checked_add(scale.unsigned_abs()) {
                Some(precision) if precision <= 38 => decimal(precision, 0),
                _ => Err(no_type("PostgreSQL", column, data_type)),
            },
        },
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View | DataType::Null => {
            plain("text", Kind::Text)
        }
        DataType::Binary
        | DataType::LargeBinary
        | DataType::BinaryView
        | DataType::FixedSizeBinary(_) => plain("bytea", Kind::Bytea),
        DataType::Date32 | DataType::Date64 => plain("date", Kind::Date),
        DataType::Time32(_) | DataType::Time64(_) => plain("time", Kind::Time),
        DataType::Timestamp(_, None) => plain("timestamp", Kind::Timestamp),
        DataType::Timestamp(_, Some(_)) => plain("timestamp with time zone", Kind::Timestamptz),
        DataType::Interval(_) => plain("interval", Kind::Interval),
        DataType::Duration(TimeUnit::Second | TimeUnit::Millisecond | TimeUnit::Microsecond) => {
            plain("interval", Kind::Interval)
        }
        DataType::Dictionary(_, values) => by_type(column, values),
        DataType::List(item) | DataType::LargeList(item) | DataType::ListView(item) => {
            let (sql, wire) = by_type(column, item.data_type())?;
            match oid(&wire.kind) {
                Some(oid) => {
                    let kind = Kind::List(Box::new(wire.kind));
                    Ok((format!("{sql}[]"), Wire { kind, item: oid }))
                }
                None => Err(no_type("PostgreSQL", column, data_type)),
            }
        }
        _ => Err(no_type("PostgreSQL", column, data_type)),
    }
}

fn decimal(precision: u8, scale: u8) -> Result<(String, Wire)> {
    let kind = Kind::Numeric { precision, scale: scale.cast_signed(), declared: true };
    Ok((format!("numeric({precision},{scale})"), Wire { kind, item: 0 }))
}

/// Returns the oid of the type that [`by_type`] makes; `None` for lists, which have no lists in them here.
fn oid(kind: &Kind) -> Option<u32> {
    Some(match kind {
        Kind::Bool => 16,
        Kind::Int2 => 21,
        Kind::Int4 => 23,
        Kind::Int8 => 20,
        Kind::Oid => 26,
        Kind::Float4 => 700,
        Kind::Float8 => 701,
        Kind::Numeric { .. } => 1700,
        Kind::Text => 25,
        Kind::Jsonb => 3802,
        Kind::Bytea => 17,
        Kind::Uuid => 2950,
        Kind::Date => 1082,
        Kind::Time => 1083,
        Kind::Timestamp => 1114,
        Kind::Timestamptz => 1184,
        Kind::Interval => 1186,
        Kind::List(_) => return None,
    })
}
