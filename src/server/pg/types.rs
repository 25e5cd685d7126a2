//! Which PostgreSQL type an Arrow type is on the wire, and back.

use arrow::compute::can_cast_types;
use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use pgwire::api::Type;
use pgwire::messages::data::{FieldDescription, RowDescription};
use postgres_types::Kind;

use crate::session::{Style, style_of};

/// How a column travels: its PostgreSQL type, and the Arrow type its values are brought to before they are written.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Wire {
    pub pg: Type,
    pub modifier: i32,
    /// `None`: no PostgreSQL type fits; the values travel as JSON if that is the type, or as Arrow's own text.
    pub arrow: Option<DataType>,
}

/// Names an `Int32` column that is an object id: set by the system tables that answer `pg_catalog`.
const OID_ALIAS_KEY: &str = "pg.oid_alias";
const EXTENSION_KEY: &str = "ARROW:extension:name";

impl Wire {
    pub(super) fn of(field: &Field) -> Self {
        let extension = field.metadata().get(EXTENSION_KEY).map(String::as_str);
        match (field.data_type(), extension) {
            (DataType::FixedSizeBinary(16), Some("arrow.uuid")) => {
                return Self::new(Type::UUID, DataType::FixedSizeBinary(16));
            }
            (DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View, Some("arrow.json")) => {
                let is_jsonb = style_of(field) == Some(Style::Jsonb);
                let pg = if is_jsonb { Type::JSONB } else { Type::JSON };
                return Self::new(pg, DataType::Utf8);
            }
            (DataType::Int32, _)
                if field.metadata().get(OID_ALIAS_KEY).is_some_and(|kind| kind == "oid") =>
            {
                return Self::new(Type::OID, DataType::Int32);
            }
            (DataType::List(item), _)
                if field.metadata().get(OID_ALIAS_KEY).is_some_and(|kind| kind == "oidvector")
                    && Self::of(item).pg == Type::OID =>
            {
                return Self::new(Type::OID_VECTOR, field.data_type().clone());
            }
            _ => {}
        }
        Self::of_type(field.data_type())
    }

    fn new(pg: Type, arrow: DataType) -> Self {
        Self { pg, modifier: -1, arrow: Some(arrow) }
    }

    pub(super) fn of_type(data_type: &DataType) -> Self {
        use DataType as D;
        let (pg, arrow) = match data_type {
            D::Null => (Type::TEXT, D::Null),
            D::Boolean => (Type::BOOL, D::Boolean),
            D::Int8 | D::Int16 | D::UInt8 => (Type::INT2, D::Int16),
            D::Int32 | D::UInt16 => (Type::INT4, D::Int32),
            D::Int64 | D::UInt32 => (Type::INT8, D::Int64),
            D::UInt64 => (Type::NUMERIC, D::UInt64),
            D::Float16 | D::Float32 => (Type::FLOAT4, D::Float32),
            D::Float64 => (Type::FLOAT8, D::Float64),
            D::Decimal32(p, s) | D::Decimal64(p, s) => {
                return Self::numeric(*p, *s, D::Decimal128(*p, *s));
            }
            D::Decimal128(p, s) | D::Decimal256(p, s) => {
                return Self::numeric(*p, *s, data_type.clone());
            }
            D::Utf8 | D::LargeUtf8 | D::Utf8View => (Type::TEXT, data_type.clone()),
            D::Binary | D::LargeBinary | D::BinaryView | D::FixedSizeBinary(_) => {
                (Type::BYTEA, data_type.clone())
            }
            D::Date32 | D::Date64 => (Type::DATE, D::Date32),
            D::Time32(_) | D::Time64(_) => (Type::TIME, D::Time64(TimeUnit::Nanosecond)),
            D::Timestamp(_, None) => (Type::TIMESTAMP, data_type.clone()),
            D::Timestamp(_, Some(_)) => (Type::TIMESTAMPTZ, data_type.clone()),
            D::Interval(_) | D::Duration(_) => (Type::INTERVAL, data_type.clone()),
            D::Dictionary(_, value) => return Self::flattened(data_type, value),
            D::RunEndEncoded(_, value) => return Self::flattened(data_type, value.data_type()),
            D::List(item)
            | D::LargeList(item)
            | D::FixedSizeList(item, _)
            | D::ListView(item)
            | D::LargeListView(item) => return Self::array(data_type, item),
            D::Struct(_) | D::Map(_, _) => return Self::json(),
            D::Union(_, _) => return Self::text(),
        };
        Self::new(pg, arrow)
    }

    /// Values of a type PostgreSQL has no like of, as text.
    fn text() -> Self {
        Self { pg: Type::TEXT, modifier: -1, arrow: None }
    }

    /// Rows, maps, and arrays of them or of arrays: drivers read them as objects and arrays.
    fn json() -> Self {
        Self { pg: Type::JSON, modifier: -1, arrow: None }
    }

    fn numeric(precision: u8, scale: i8, arrow: DataType) -> Self {
        // Negative scales have no place in the modifier before PostgreSQL 15.
        let modifier = match u8::try_from(scale) {
            Ok(scale) => ((i32::from(precision) << 16) | i32::from(scale)) + 4,
            Err(_) => -1,
        };
        Self { pg: Type::NUMERIC, modifier, arrow: Some(arrow) }
    }

    fn flattened(data_type: &DataType, value: &DataType) -> Self {
        let wire = Self::of_type(value);
        match &wire.arrow {
            Some(arrow) if can_cast_types(data_type, arrow) => wire,
            _ => Self::text(),
        }
    }

    fn array(data_type: &DataType, item: &Field) -> Self {
        // Arrays of arrays need not be of one length, as PostgreSQL's have to be.
        if item.data_type().is_nested() && !matches!(item.data_type(), DataType::Union(_, _)) {
            return Self::json();
        }
        // Of what an item is besides its type, object ids alone are told.
        let is_oid = Self::of(item).pg == Type::OID;
        let element = if is_oid { Self::of(item) } else { Self::of_type(item.data_type()) };
        let (Some(pg), Some(arrow)) = (array_of(&element.pg), element.arrow) else {
            return Self::text();
        };
        let mut told = Field::new("item", arrow, true);
        if is_oid {
            told.set_metadata(item.metadata().clone());
        }
        let list = DataType::List(std::sync::Arc::new(told));
        if can_cast_types(data_type, &list) { Self::new(pg, list) } else { Self::text() }
    }
}

/// Pairs of an element type and its array type.
const ARRAYS: &[(Type, Type)] = &[
    (Type::BOOL, Type::BOOL_ARRAY),
    (Type::INT2, Type::INT2_ARRAY),
    (Type::INT4, Type::INT4_ARRAY),
    (Type::INT8, Type::INT8_ARRAY),
    (Type::OID, Type::OID_ARRAY),
    (Type::FLOAT4, Type::FLOAT4_ARRAY),
    (Type::FLOAT8, Type::FLOAT8_ARRAY),
    (Type::NUMERIC, Type::NUMERIC_ARRAY),
    (Type::TEXT, Type::TEXT_ARRAY),
    (Type::BYTEA, Type::BYTEA_ARRAY),
    (Type::DATE, Type::DATE_ARRAY),
    (Type::TIME, Type::TIME_ARRAY),
    (Type::TIMESTAMP, Type::TIMESTAMP_ARRAY),
    (Type::TIMESTAMPTZ, Type::TIMESTAMPTZ_ARRAY),
    (Type::INTERVAL, Type::INTERVAL_ARRAY),
];

fn array_of(element: &Type) -> Option<Type> {
    ARRAYS.iter().find(|(item, _)| item == element).map(|(_, array)| array.clone())
}

/// Returns the element type of an array type.
pub(super) fn element_of(pg: &Type) -> Option<&Type> {
    match pg.kind() {
        Kind::Array(element) => Some(element),
        _ => None,
    }
}

/// Returns the Arrow type of a parameter that a client declares with a PostgreSQL type; `None` for types without a
/// counterpart. Types that are text to Maru (`uuid`, `json`, `inet`, …) are `Utf8`.
pub(super) fn parameter_type(pg: &Type) -> Option<DataType> {
    if let Some(element) = element_of(pg) {
        let item = Field::new("item", parameter_type(element)?, true);
        return Some(DataType::List(std::sync::Arc::new(item)));
    }
    Some(match *pg {
        Type::BOOL => DataType::Boolean,
        Type::INT2 => DataType::Int16,
        Type::INT4 => DataType::Int32,
        Type::INT8 | Type::OID => DataType::Int64,
        Type::FLOAT4 => DataType::Float32,
        Type::FLOAT8 => DataType::Float64,
        // Precision and scale are known with the value.
        Type::NUMERIC => DataType::Decimal128(38, 10),
        Type::BYTEA => DataType::Binary,
        Type::DATE => DataType::Date32,
        Type::TIME => DataType::Time64(TimeUnit::Microsecond),
        Type::TIMESTAMP => DataType::Timestamp(TimeUnit::Microsecond, None),
        Type::TIMESTAMPTZ => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        Type::INTERVAL => DataType::Interval(arrow::datatypes::IntervalUnit::MonthDayNano),
        Type::TEXT
        | Type::VARCHAR
        | Type::BPCHAR
        | Type::NAME
        | Type::UUID
        | Type::JSON
        | Type::JSONB
        | Type::XML
        | Type::INET
        | Type::CIDR
        | Type::MACADDR
        | Type::CHAR
        | Type::UNKNOWN => DataType::Utf8,
        _ => return None,
    })
}

/// Bytes of a value as `pg_type.typlen` tells them: -1 if they vary.
fn type_size(pg: &Type) -> i16 {
    match *pg {
        Type::BOOL => 1,
        Type::INT2 => 2,
        Type::INT4 | Type::FLOAT4 | Type::DATE | Type::OID => 4,
        Type::INT8 | Type::FLOAT8 | Type::TIME | Type::TIMESTAMP | Type::TIMESTAMPTZ => 8,
        Type::INTERVAL | Type::UUID => 16,
        _ => -1,
    }
}

/// Returns the wire types of all columns.
pub(super) fn wires(schema: &Schema) -> Vec<Wire> {
    schema.fields().iter().map(|field| Wire::of(field)).collect()
}

/// Describes the columns of a result. `formats` holds one code for each column.
pub(super) fn row_description(schema: &Schema, formats: &[i16]) -> RowDescription {
    let fields = schema.fields().iter().enumerate().map(|(i, field)| {
        let wire = Wire::of(field);
        FieldDescription::new(
            // A name with a zero byte would cut the message.
            field.name().replace('\0', "\u{fffd}"),
            0,
            0,
            wire.pg.oid(),
            type_size(&wire.pg),
            wire.modifier,
            formats.get(i).copied().unwrap_or(0),
        )
    });
    RowDescription::new(fields.collect())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn every_type_has_a_place_on_the_wire() {
        let list = |item| DataType::List(Arc::new(Field::new("item", item, true)));
        let cases = [
            (DataType::Null, Type::TEXT),
            (DataType::Int8, Type::INT2),
            (DataType::UInt64, Type::NUMERIC),
            (DataType::Float16, Type::FLOAT4),
            (DataType::Decimal256(76, 0), Type::NUMERIC),
            (DataType::Utf8View, Type::TEXT),
            (DataType::FixedSizeBinary(3), Type::BYTEA),
            (DataType::Duration(TimeUnit::Second), Type::INTERVAL),
            (DataType::Dictionary(Box::new(DataType::Int8), Box::new(DataType::Utf8)), Type::TEXT),
            (list(DataType::Int64), Type::INT8_ARRAY),
            (list(DataType::Utf8View), Type::TEXT_ARRAY),
            (list(list(DataType::Int64)), Type::JSON),
            (DataType::Struct(vec![Field::new("a", DataType::Int64, true)].into()), Type::JSON),
        ];
        for (arrow, pg) in cases {
            assert_eq!(Wire::of_type(&arrow).pg, pg, "{arrow}");
        }
    }

    #[test]
    fn numeric_tells_precision_and_scale() {
        assert_eq!(Wire::of_type(&DataType::Decimal128(12, 2)).modifier, ((12 << 16) | 2) + 4);
    }
}
