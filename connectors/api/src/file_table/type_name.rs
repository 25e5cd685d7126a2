//! PostgreSQL's names of types, for messages about files.

use arrow::datatypes::DataType;

/// Returns the name that a user would declare a column with.
pub fn type_name(data_type: &DataType) -> String {
    use DataType as T;
    match data_type {
        T::Boolean => "boolean".to_owned(),
        T::Int8 | T::UInt8 | T::Int16 => "smallint".to_owned(),
        T::UInt16 | T::Int32 => "integer".to_owned(),
        T::UInt32 | T::Int64 => "bigint".to_owned(),
        T::Float32 => "real".to_owned(),
        T::Float64 => "double precision".to_owned(),
        T::Decimal128(precision, scale) | T::Decimal256(precision, scale) => {
            format!("numeric({precision},{scale})")
        }
        T::Binary | T::LargeBinary | T::BinaryView | T::FixedSizeBinary(_) => "bytea".to_owned(),
        T::Date32 | T::Date64 => "date".to_owned(),
        T::Time32(_) | T::Time64(_) => "time".to_owned(),
        T::Timestamp(_, None) => "timestamp".to_owned(),
        T::Timestamp(_, Some(_)) => "timestamp with time zone".to_owned(),
        T::Interval(_) => "interval".to_owned(),
        T::List(field) => format!("{}[]", type_name(field.data_type())),
        T::Struct(_) => "struct".to_owned(),
        T::Map(..) => "map".to_owned(),
        T::Utf8 | T::LargeUtf8 | T::Utf8View => "text".to_owned(),
        other => other.to_string(),
    }
}
