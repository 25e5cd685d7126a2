//! From the engine's columns to the log's own words for them.

use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use maru_connect::LENGTH_KEY;
use maru_core::{Error, ErrorKind, Result};
use serde_json::{Value, json};

/// Characters that other readers of such tables do not take in a column's name.
const FORBIDDEN: &[char] = &[' ', ',', ';', '{', '}', '(', ')', '\n', '\t', '='];

/// Returns the schema of a table with these columns, as the log has it.
///
/// # Errors
/// 0A000 for a type that such tables do not have, 22023 for a name.
pub(super) fn schema_of(columns: &Schema) -> Result<Value> {
    let mut seen = Vec::new();
    for field in columns.fields() {
        let name = field.name();
        check_name(name)?;
        let folded = name.to_lowercase();
        if seen.contains(&folded) {
            return Err(Error::new(
                ErrorKind::DuplicateColumn,
                format!("columns \"{name}\" of a Delta Lake table differ in case alone"),
            )
            .with_hint("Give one of them another name with AS."));
        }
        seen.push(folded);
    }
    let fields = columns.fields().iter().map(|field| field_of(field));
    Ok(json!({"type": "struct", "fields": fields.collect::<Result<Vec<_>>>()?}))
}

/// # Errors
/// 22023.
pub(super) fn check_name(name: &str) -> Result<()> {
    if name.is_empty() || name.contains(FORBIDDEN) {
        return Err(Error::new(
            ErrorKind::InvalidParameter,
            format!("\"{name}\" cannot be the name of a column of a Delta Lake table"),
        )
        .with_detail("Spaces and the characters ,;{}()= have no place in it.")
        .with_hint("Give the column another name with AS."));
    }
    Ok(())
}

/// Returns a column as the log has it.
pub(super) fn field_of(field: &Field) -> Result<Value> {
    let name = field.name();
    if let Some(length) = field.metadata().get(LENGTH_KEY) {
        let shown = length.replacen(':', "(", 1);
        return Err(Error::unsupported(format!(
            "column \"{name}\": a Delta Lake table has no type {shown})"
        ))
        .with_hint("Declare it as text."));
    }
    let extension = field.metadata().get("ARROW:extension:name").map(String::as_str);
    if extension == Some("arrow.uuid") {
        return Err(Error::unsupported(format!(
            "column \"{name}\": a Delta Lake table has no type uuid"
        ))
        .with_hint("Write it as text: CAST(… AS text)."));
    }
    let data_type = type_of(name, field.data_type())?;
    Ok(json!({"name": name, "type": data_type, "nullable": field.is_nullable(), "metadata": {}}))
}

pub(super) fn type_of(column: &str, data_type: &DataType) -> Result<Value> {
    use DataType as D;
    let refused = |what: &str| {
        Error::unsupported(format!("column \"{column}\": a Delta Lake table has no type {what}"))
    };
    Ok(match data_type {
        D::Boolean => "boolean".into(),
        D::Int8 => "byte".into(),
        D::Int16 | D::UInt8 => "short".into(),
        D::Int32 | D::UInt16 => "integer".into(),
        D::Int64 | D::UInt32 => "long".into(),
        D::UInt64 => "decimal(20,0)".into(),
        D::Float16 | D::Float32 => "float".into(),
        D::Float64 => "double".into(),
        D::Decimal32(p, s) | D::Decimal64(p, s) | D::Decimal128(p, s) | D::Decimal256(p, s) => {
            let scale = u8::try_from(*s).ok().filter(|scale| scale <= p && *p <= 38);
            let scale = scale.ok_or_else(|| {
                refused(&format!("numeric({p},{s})"))
                    .with_hint("It holds 38 digits: CAST to numeric(38, n) or to text.")
            })?;
            format!("decimal({p},{scale})").into()
        }
        D::Utf8 | D::LargeUtf8 | D::Utf8View => "string".into(),
        D::Binary | D::LargeBinary | D::BinaryView | D::FixedSizeBinary(_) => "binary".into(),
        D::Date32 | D::Date64 => "date".into(),
        D::Timestamp(_, Some(_)) => "timestamp".into(),
        D::Timestamp(_, None) => "timestamp_ntz".into(),
        D::Dictionary(_, value) => type_of(column, value)?,
        D::List(item)
        | D::LargeList(item)
        | D::ListView(item)
        | D::LargeListView(item)
        | D::FixedSizeList(item, _) => json!({
            "type": "array", "elementType": type_of(column, item.data_type())?, "containsNull": true,
        }),
        D::Struct(fields) => {
            let fields = fields.iter().map(|field| {
                check_name(field.name())?;
                let data_type = type_of(column, field.data_type())?;
                Ok(json!({
                    "name": field.name(), "type": data_type, "nullable": true, "metadata": {},
                }))
            });
            json!({"type": "struct", "fields": fields.collect::<Result<Vec<_>>>()?})
        }
        D::Map(entries, _) => match entries.data_type() {
            D::Struct(parts) if parts.len() == 2 => json!({
                "type": "map",
                "keyType": type_of(column, parts[0].data_type())?,
                "valueType": type_of(column, parts[1].data_type())?,
                "valueContainsNull": true,
            }),
            _ => return Err(refused("map of this kind")),
        },
        D::Time32(_) | D::Time64(_) => {
            return Err(refused("time").with_hint("Write it as text: CAST(… AS text)."));
        }
        D::Interval(_) | D::Duration(_) => {
            return Err(refused("interval").with_hint("Write it as text: CAST(… AS text)."));
        }
        other => return Err(refused(&other.to_string())),
    })
}

/// Returns whether a column holds times without a zone, which older readers do not know.
pub(super) fn has_local_times(data_type: &DataType) -> bool {
    match data_type {
        DataType::Timestamp(_, None) => true,
        DataType::List(item)
        | DataType::LargeList(item)
        | DataType::ListView(item)
        | DataType::LargeListView(item)
        | DataType::FixedSizeList(item, _) => has_local_times(item.data_type()),
        DataType::Map(entries, _) => has_local_times(entries.data_type()),
        DataType::Struct(fields) => fields.iter().any(|field| has_local_times(field.data_type())),
        DataType::Dictionary(_, value) => has_local_times(value),
        _ => false,
    }
}

/// Returns whether every value of a type is one of the other, for `ALTER COLUMN … TYPE`.
pub(super) fn widens(from: &DataType, to: &DataType) -> bool {
    use DataType as D;
    match (from, to) {
        (D::Int8, D::Int16 | D::Int32 | D::Int64 | D::Float64) => true,
        (D::Int16, D::Int32 | D::Int64 | D::Float64) => true,
        (D::Int32, D::Int64 | D::Float64) => true,
        (D::Float32, D::Float64) => true,
        (D::Date32, D::Timestamp(TimeUnit::Microsecond, None)) => true,
        (D::Decimal128(p, s), D::Decimal128(q, t)) => {
            t >= s && i16::from(*q) - i16::from(*t) >= i16::from(*p) - i16::from(*s)
        }
        _ => false,
    }
}
