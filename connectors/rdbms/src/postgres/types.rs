//! Which PostgreSQL type becomes which Arrow type, and how it leaves the database.
//!
//! Types with a plain binary form are decoded from it. Everything else (inet, ranges, tsvector, composite types,
//! money, …) is cast to `text` by the server, so that every column of every table can be read.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, IntervalUnit, TimeUnit};

/// How a value's binary form is read.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Kind {
    Bool,
    Int2,
    Int4,
    Int8,
    /// An unsigned number of 32 bits.
    Oid,
    Float4,
    Float8,
    /// Exact decimals; `declared` is false if the scale is Maru's choice and not the column's.
    Numeric {
        precision: u8,
        scale: i8,
        declared: bool,
    },
    Text,
    Jsonb,
    Bytea,
    Uuid,
    Date,
    Time,
    Timestamp,
    /// In UTC.
    Timestamptz,
    Interval,
    /// One dimension.
    List(Box<Kind>),
}

impl Kind {
    pub fn arrow(&self) -> DataType {
        match self {
            Self::Bool => DataType::Boolean,
            Self::Int2 => DataType::Int16,
            Self::Int4 => DataType::Int32,
            Self::Int8 | Self::Oid => DataType::Int64,
            Self::Float4 => DataType::Float32,
            Self::Float8 => DataType::Float64,
            Self::Numeric { precision, scale, .. } => DataType::Decimal128(*precision, *scale),
            Self::Text | Self::Jsonb | Self::Uuid => DataType::Utf8,
            Self::Bytea => DataType::Binary,
            Self::Date => DataType::Date32,
            Self::Time => DataType::Time64(TimeUnit::Nanosecond),
            Self::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, None),
            Self::Timestamptz => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
            Self::Interval => DataType::Interval(IntervalUnit::MonthDayNano),
            Self::List(item) => DataType::List(Arc::new(Field::new_list_field(item.arrow(), true))),
        }
    }
}

/// How a column's values compare, which decides what may be filtered in the database.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Comparison {
    /// As in Arrow.
    Same,
    /// Text. Equality is bytewise under a deterministic collation, order only under `C`.
    Text { deterministic: bool, c_order: bool },
    /// `char(n)`: blanks at the end do not count, and are not delivered.
    Padded { deterministic: bool },
    /// UUIDs, which are text in the engine.
    Uuid,
    /// The server's text form, bytewise.
    AsText,
    /// Only `IS NULL`.
    None,
}

/// The plan for one column.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Mapping {
    pub kind: Kind,
    /// The cast in the SELECT list, such as `::text`.
    pub cast: &'static str,
    pub comparison: Comparison,
}

impl Mapping {
    /// Returns the plan for a column that is declared with more dimensions than one: the array as text.
    pub fn of_dimensions(self) -> Self {
        match self.kind {
            Kind::List(_) => {
                Self { kind: Kind::Text, cast: "::text", comparison: Comparison::AsText }
            }
            _ => self,
        }
    }
}

/// A row of pg_type, as far as it matters.
#[derive(Debug, Clone)]
pub(crate) struct TypeRow {
    /// `b` base, `d` domain, `e` enum, …
    pub typtype: String,
    pub base: u32,
    pub base_typmod: i32,
    /// Element type of a true array, otherwise 0.
    pub element: u32,
}

/// The collation of a column.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Collation {
    pub deterministic: bool,
    pub c_order: bool,
}

/// Returns how to read a column of type `oid`. `types` holds every type that is not built in, domains' base types and
/// arrays' element types included; `scale` is the number of decimal places of unconstrained `numeric`.
pub(crate) fn mapping(
    oid: u32,
    typmod: i32,
    collation: Collation,
    types: &HashMap<u32, TypeRow>,
    scale: i8,
) -> Mapping {
    if let Some(mapping) = builtin(oid, typmod, collation, scale) {
        return mapping;
    }
    let as_text = Mapping { kind: Kind::Text, cast: "::text", comparison: Comparison::AsText };
    let Some(row) = types.get(&oid) else { return as_text };
    if row.typtype == "d" {
        // A domain over char(n) or numeric(p,s) carries the modifier itself.
        let typmod = if typmod == -1 { row.base_typmod } else { typmod };
        return mapping(row.base, typmod, collation, types, scale);
    }
    if row.typtype == "e" {
        return Mapping { cast: "", ..as_text };
    }
    if row.element != 0 {
        let item = mapping(row.element, typmod, collation, types, scale);
        return match item.kind {
            // Arrays of a domain over an array have no plain form.
            Kind::List(_) => as_text,
            kind => Mapping {
                kind: Kind::List(Box::new(kind)),
                cast: if item.cast.is_empty() { "" } else { "::text[]" },
                comparison: Comparison::None,
            },
        };
    }
    as_text
}

/// Returns the plan for a type with an oid fixed by PostgreSQL.
fn builtin(oid: u32, typmod: i32, collation: Collation, scale: i8) -> Option<Mapping> {
    let Collation { deterministic, c_order } = collation;
    let (kind, cast, comparison) = match oid {
        16 => (Kind::Bool, "", Comparison::Same),
        21 => (Kind::Int2, "", Comparison::Same),
        23 => (Kind::Int4, "", Comparison::Same),
        20 => (Kind::Int8, "", Comparison::Same),
        26 => (Kind::Oid, "", Comparison::Same),
        700 => (Kind::Float4, "", Comparison::Same),
        701 => (Kind::Float8, "", Comparison::Same),
        1700 => numeric(typmod, scale),
        // text, varchar
        25 | 1043 => (Kind::Text, "", Comparison::Text { deterministic, c_order }),
        // name
        19 => (Kind::Text, "", Comparison::Text { deterministic: true, c_order: false }),
        // char(n)
        1042 => (Kind::Text, "::text", Comparison::Padded { deterministic }),
        // json
        114 => (Kind::Text, "", Comparison::None),
        3802 => (Kind::Jsonb, "", Comparison::None),
        17 => (Kind::Bytea, "", Comparison::None),
        2950 => (Kind::Uuid, "", Comparison::Uuid),
        1082 => (Kind::Date, "", Comparison::Same),
        1083 => (Kind::Time, "", Comparison::Same),
        1114 => (Kind::Timestamp, "", Comparison::Same),
        1184 => (Kind::Timestamptz, "", Comparison::Same),
        1186 => (Kind::Interval, "", Comparison::None),
        _ => return None,
    };
    Some(Mapping { kind, cast, comparison })
}

/// Returns the plan for `numeric(p,s)`. PostgreSQL allows 1000 digits and, since 15, negative scales and scales above the
/// precision; Arrow 38 digits. Values beyond that are errors when they come.
fn numeric(typmod: i32, default_scale: i8) -> (Kind, &'static str, Comparison) {
    const HEADER: i32 = 4;
    if typmod < HEADER {
        let kind = Kind::Numeric { precision: 38, scale: default_scale, declared: false };
        return (kind, "", Comparison::Same);
    }
    let precision = ((typmod - HEADER) >> 16) & 0xffff;
    // Eleven bits with sign.
    let scale = (((typmod - HEADER) & 0x7ff) ^ 1024) - 1024;
    let whole = (precision - scale).max(0);
    let places = scale.max(0);
    match (u8::try_from((whole + places).clamp(1, 38)), i8::try_from(places)) {
        (Ok(precision), Ok(scale)) if scale <= 38 => {
            (Kind::Numeric { precision, scale, declared: true }, "", Comparison::Same)
        }
        _ => (Kind::Text, "::text", Comparison::None),
    }
}

/// Returns whether [`mapping`] knows the type without a row of pg_type.
pub(crate) fn is_builtin(oid: u32) -> bool {
    builtin(oid, -1, Collation { deterministic: true, c_order: false }, 0).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    const C: Collation = Collation { deterministic: true, c_order: false };

    fn typmod(precision: i32, scale: i32) -> i32 {
        ((precision << 16) | (scale & 0x7ff)) + 4
    }

    fn decimal(precision: i32, scale: i32) -> DataType {
        mapping(1700, typmod(precision, scale), C, &HashMap::new(), 10).kind.arrow()
    }

    #[test]
    fn numeric_takes_the_declared_places() {
        assert_eq!(decimal(12, 2), DataType::Decimal128(12, 2));
        assert_eq!(decimal(3, -2), DataType::Decimal128(5, 0));
        assert_eq!(decimal(2, 5), DataType::Decimal128(5, 5));
        assert_eq!(decimal(60, 10), DataType::Decimal128(38, 10));
        assert_eq!(decimal(100, 60), DataType::Utf8);
        let free = mapping(1700, -1, C, &HashMap::new(), 10).kind.arrow();
        assert_eq!(free, DataType::Decimal128(38, 10));
    }

    #[test]
    fn domains_enums_and_arrays_follow_their_parts() {
        let row = |typtype: &str, base, base_typmod, element| TypeRow {
            typtype: typtype.into(),
            base,
            base_typmod,
            element,
        };
        let types = HashMap::from([
            (90_000, row("d", 1700, typmod(8, 3), 0)),
            (90_001, row("e", 0, -1, 0)),
            (1007, row("b", 0, -1, 23)),
            (90_002, row("b", 0, -1, 869)),
            (90_003, row("d", 1007, -1, 0)),
            (90_004, row("b", 0, -1, 90_003)),
        ]);
        let of = |oid| mapping(oid, -1, C, &types, 10);
        assert_eq!(of(90_000).kind.arrow(), DataType::Decimal128(8, 3));
        assert_eq!((of(90_001).kind, of(90_001).cast), (Kind::Text, ""));
        assert_eq!(of(1007).kind, Kind::List(Box::new(Kind::Int4)));
        assert_eq!(of(90_002).cast, "::text[]");
        assert_eq!((of(90_004).kind, of(90_004).cast), (Kind::Text, "::text"));
        assert_eq!((of(869).kind, of(869).cast), (Kind::Text, "::text"));
    }
}
