//! Which MySQL type becomes which Arrow type, and how it leaves the database.
//!
//! Types with a plain binary form are decoded from it. What is known to have none (geometry, vectors, types to come) is
//! turned into text by the server, so that every column of every table can be read.

use arrow::datatypes::{DataType, TimeUnit};

/// How a value's binary form is read.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Kind {
    /// 0 or 1.
    Bool,
    /// `BIT(1)`.
    Flag,
    /// Up to 63 bits, or `wide` for 64.
    Bits {
        wide: bool,
    },
    /// Tiny and small numbers.
    Int2 {
        unsigned: bool,
    },
    Int4 {
        unsigned: bool,
    },
    Int8 {
        unsigned: bool,
    },
    Year,
    Float,
    Double,
    /// Exact decimals; `declared` is false if the scale is Maru's choice and not the column's.
    Decimal {
        precision: u8,
        scale: i8,
        declared: bool,
    },
    Text,
    Bytes,
    Date,
    Time,
    Datetime,
    /// In UTC, as the session's time zone is.
    Timestamp,
}

impl Kind {
    pub fn arrow(self) -> DataType {
        match self {
            Self::Bool | Self::Flag => DataType::Boolean,
            Self::Int2 { unsigned: false } => DataType::Int16,
            Self::Int2 { unsigned: true } | Self::Int4 { unsigned: false } | Self::Year => {
                DataType::Int32
            }
            Self::Int4 { unsigned: true }
            | Self::Int8 { unsigned: false }
            | Self::Bits { wide: false } => DataType::Int64,
            Self::Int8 { unsigned: true } | Self::Bits { wide: true } => {
                DataType::Decimal128(20, 0)
            }
            Self::Float => DataType::Float32,
            Self::Double => DataType::Float64,
            Self::Decimal { precision, scale, .. } => DataType::Decimal128(precision, scale),
            Self::Text => DataType::Utf8,
            Self::Bytes => DataType::Binary,
            Self::Date => DataType::Date32,
            Self::Time => DataType::Time64(TimeUnit::Nanosecond),
            Self::Datetime => DataType::Timestamp(TimeUnit::Microsecond, None),
            Self::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        }
    }

    /// Returns whether a value of this kind may arrive as the type that the driver calls `name`. The table may have
    /// been altered since it was described, and the bytes alone do not tell.
    pub fn arrives_as(self, name: &str) -> bool {
        let integer = |unsigned: bool, names: &[&str]| {
            let (bare, is_unsigned) = match name.strip_suffix(" UNSIGNED") {
                Some(bare) => (bare, true),
                None => (name, false),
            };
            // `BOOLEAN` is any tinyint of display width 1, and does not tell its sign.
            names.contains(&bare) && (bare == "BOOLEAN" || is_unsigned == unsigned)
        };
        match self {
            Self::Bool => matches!(name, "BOOLEAN" | "TINYINT" | "TINYINT UNSIGNED"),
            Self::Flag | Self::Bits { .. } => name == "BIT",
            Self::Int2 { unsigned } => integer(unsigned, &["BOOLEAN", "TINYINT", "SMALLINT"]),
            Self::Int4 { unsigned } => integer(unsigned, &["SMALLINT", "MEDIUMINT", "INT"]),
            Self::Int8 { unsigned } => integer(unsigned, &["MEDIUMINT", "INT", "BIGINT"]),
            Self::Year => name == "YEAR",
            Self::Float => name == "FLOAT",
            Self::Double => matches!(name, "FLOAT" | "DOUBLE"),
            Self::Decimal { .. } => name == "DECIMAL",
            Self::Text | Self::Bytes => {
                ["CHAR", "TEXT", "BINARY", "BLOB"].iter().any(|end| name.ends_with(end))
                    || matches!(name, "ENUM" | "SET" | "JSON" | "NULL")
            }
            Self::Date => name == "DATE",
            Self::Time => name == "TIME",
            Self::Datetime => name == "DATETIME",
            Self::Timestamp => name == "TIMESTAMP",
        }
    }
}

/// How a column's values compare, which decides what may be filtered in the database.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Comparison {
    /// As in Arrow, with what [`super::conditions`] knows of the kind.
    Same,
    /// Text, byte by byte. `index` says for which literals the column's own collation may be asked as well, so that an
    /// index can be used.
    Text { index: Index },
    /// Only `IS NULL`.
    None,
}

/// Literals that a column's own character set holds, without a doubt.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Index {
    Any,
    Ascii,
    Never,
}

/// What stands in the SELECT list.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Selected {
    Plain,
    /// Well-known text of a geometry.
    WellKnownText,
    AsText,
}

/// The plan for one column.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Mapping {
    pub kind: Kind,
    pub selected: Selected,
    pub comparison: Comparison,
}

impl Mapping {
    fn same(kind: Kind) -> Self {
        Self { kind, selected: Selected::Plain, comparison: Comparison::Same }
    }

    fn opaque(kind: Kind) -> Self {
        Self { comparison: Comparison::None, ..Self::same(kind) }
    }

    fn text(index: Index) -> Self {
        Self { comparison: Comparison::Text { index }, ..Self::same(Kind::Text) }
    }

    /// Returns the plan for text that a query computes.
    pub fn derived_text() -> Self {
        Self::text(Index::Never)
    }

    /// Returns what is selected for the column.
    pub fn select(&self, quoted: &str) -> String {
        match self.selected {
            Selected::Plain => quoted.to_owned(),
            Selected::WellKnownText => format!("ST_AsText({quoted})"),
            Selected::AsText => format!("CAST({quoted} AS CHAR)"),
        }
    }
}

/// What the catalog's options say about types.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Choices {
    /// Whether `TINYINT(1)` is a boolean.
    pub booleans: bool,
    /// Decimal places where the server does not tell.
    pub numeric_scale: i8,
}

/// A row of information_schema.columns, as far as it matters.
#[derive(Debug, Clone, Default)]
pub(crate) struct TypeRow {
    /// `int`
    pub data_type: String,
    /// `int(10) unsigned`
    pub column_type: String,
    pub precision: Option<u64>,
    pub scale: Option<u64>,
    pub charset: Option<String>,
}

/// Returns how to read a column of a table.
pub(crate) fn mapping(row: &TypeRow, choices: Choices) -> Mapping {
    let column_type = row.column_type.to_lowercase();
    let unsigned = column_type.contains("unsigned");
    match row.data_type.to_lowercase().as_str() {
        "tinyint" if choices.booleans && column_type == "tinyint(1)" => Mapping::same(Kind::Bool),
        "tinyint" | "smallint" => Mapping::same(Kind::Int2 { unsigned }),
        "mediumint" | "int" | "integer" => Mapping::same(Kind::Int4 { unsigned }),
        "bigint" => Mapping::same(Kind::Int8 { unsigned }),
        "bit" => Mapping::opaque(match row.precision {
            Some(1) => Kind::Flag,
            bits => Kind::Bits { wide: bits.is_none_or(|bits| bits > 63) },
        }),
        "year" => Mapping::same(Kind::Year),
        // A float is compared as the double it is widened to, but so is the literal: it stays here.
        "float" => Mapping::opaque(Kind::Float),
        "double" => Mapping::same(Kind::Double),
        "decimal" => decimal(row.precision, row.scale),
        "char" | "varchar" | "tinytext" | "text" | "mediumtext" | "longtext" => {
            Mapping::text(match row.charset.as_deref() {
                Some("utf8mb4") => Index::Any,
                Some("utf8" | "utf8mb3" | "latin1" | "ascii") => Index::Ascii,
                _ => Index::Never,
            })
        }
        "enum" | "set" | "uuid" | "inet4" | "inet6" => Mapping::text(Index::Never),
        "json" => Mapping::opaque(Kind::Text),
        "binary" | "varbinary" | "tinyblob" | "blob" | "mediumblob" | "longblob" => {
            Mapping::opaque(Kind::Bytes)
        }
        "date" => Mapping::same(Kind::Date),
        "time" => Mapping::same(Kind::Time),
        "datetime" => Mapping::same(Kind::Datetime),
        "timestamp" => Mapping::same(Kind::Timestamp),
        "geometry" | "point" | "linestring" | "polygon" | "multipoint" | "multilinestring"
        | "multipolygon" | "geometrycollection" | "geomcollection" => {
            Mapping { selected: Selected::WellKnownText, ..Mapping::opaque(Kind::Text) }
        }
        _ => Mapping { selected: Selected::AsText, ..Mapping::opaque(Kind::Text) },
    }
}

/// Returns how to read a column of a native query, whose type the driver calls `name`. The server tells neither its
/// decimal places nor its character set; `text` is whether it has one.
pub(crate) fn native(name: &str, text: bool, choices: Choices) -> Mapping {
    let (bare, unsigned) = match name.strip_suffix(" UNSIGNED") {
        Some(bare) => (bare, true),
        None => (name, false),
    };
    match bare {
        "BOOLEAN" if choices.booleans => Mapping::same(Kind::Bool),
        "BOOLEAN" => Mapping::same(Kind::Int2 { unsigned: false }),
        "TINYINT" | "SMALLINT" => Mapping::same(Kind::Int2 { unsigned }),
        "MEDIUMINT" | "INT" => Mapping::same(Kind::Int4 { unsigned }),
        "BIGINT" => Mapping::same(Kind::Int8 { unsigned }),
        "BIT" => Mapping::opaque(Kind::Bits { wide: true }),
        "YEAR" => Mapping::same(Kind::Year),
        "FLOAT" => Mapping::opaque(Kind::Float),
        "DOUBLE" => Mapping::same(Kind::Double),
        "DECIMAL" => Mapping::same(Kind::Decimal {
            precision: 38,
            scale: choices.numeric_scale,
            declared: false,
        }),
        "DATE" => Mapping::same(Kind::Date),
        "TIME" => Mapping::same(Kind::Time),
        "DATETIME" => Mapping::same(Kind::Datetime),
        "TIMESTAMP" => Mapping::same(Kind::Timestamp),
        "GEOMETRY" => Mapping { selected: Selected::WellKnownText, ..Mapping::opaque(Kind::Text) },
        "ENUM" | "SET" => Mapping::text(Index::Never),
        "JSON" | "NULL" => Mapping::opaque(Kind::Text),
        _ if text => Mapping::text(Index::Never),
        _ => Mapping::opaque(Kind::Bytes),
    }
}

/// Returns the plan for `decimal(p,s)`. MySQL allows 65 digits, Arrow 38: values beyond that are errors when they come.
fn decimal(precision: Option<u64>, scale: Option<u64>) -> Mapping {
    let scale = scale.unwrap_or(0);
    let precision = precision.unwrap_or(65).clamp(1, 38);
    match (u8::try_from(precision), i8::try_from(scale)) {
        (Ok(precision), Ok(scale)) if scale <= 38 => {
            Mapping::same(Kind::Decimal { precision, scale, declared: true })
        }
        _ => Mapping { selected: Selected::AsText, ..Mapping::opaque(Kind::Text) },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHOICES: Choices = Choices { booleans: true, numeric_scale: 10 };

    fn of(data_type: &str, column_type: &str) -> DataType {
        let row = TypeRow {
            data_type: data_type.into(),
            column_type: column_type.into(),
            ..TypeRow::default()
        };
        mapping(&row, CHOICES).kind.arrow()
    }

    #[test]
    fn unsigned_numbers_fit() {
        assert_eq!(of("tinyint", "tinyint(1)"), DataType::Boolean);
        assert_eq!(of("tinyint", "tinyint(1) unsigned"), DataType::Int32);
        assert_eq!(of("tinyint", "tinyint(4)"), DataType::Int16);
        assert_eq!(of("smallint", "smallint unsigned"), DataType::Int32);
        assert_eq!(of("int", "int(10) unsigned zerofill"), DataType::Int64);
        assert_eq!(of("bigint", "bigint(20) unsigned"), DataType::Decimal128(20, 0));
        let whole = Choices { booleans: false, ..CHOICES };
        let row = TypeRow {
            data_type: "tinyint".into(),
            column_type: "tinyint(1)".into(),
            ..TypeRow::default()
        };
        assert_eq!(mapping(&row, whole).kind.arrow(), DataType::Int16);
    }

    #[test]
    fn a_type_that_was_altered_is_told_from_what_was_described() {
        assert!(Kind::Int4 { unsigned: false }.arrives_as("INT"));
        assert!(!Kind::Int4 { unsigned: false }.arrives_as("INT UNSIGNED"));
        assert!(!Kind::Int4 { unsigned: false }.arrives_as("FLOAT"));
        assert!(Kind::Int2 { unsigned: true }.arrives_as("BOOLEAN"));
        assert!(Kind::Text.arrives_as("MEDIUMTEXT") && Kind::Bytes.arrives_as("VARBINARY"));
        assert!(!Kind::Text.arrives_as("DATE") && !Kind::Datetime.arrives_as("TIMESTAMP"));
    }

    #[test]
    fn decimals_take_the_declared_places() {
        let of = |precision, scale| decimal(Some(precision), Some(scale)).kind.arrow();
        assert_eq!(of(12, 2), DataType::Decimal128(12, 2));
        assert_eq!(of(65, 30), DataType::Decimal128(38, 30));
    }
}
