//! From declared types to Arrow's.
//!
//! | declared | in Maru |
//! |---|---|
//! | contains `INT` | bigint |
//! | `BOOLEAN`, `BOOL` | boolean |
//! | contains `CHAR`, `CLOB`, `TEXT` | text |
//! | contains `REAL`, `FLOA`, `DOUB` | double precision |
//! | `DECIMAL(p,s)`, `NUMERIC(p,s)` | numeric(p,s) |
//! | `DATE` | date, from text |
//! | `DATETIME`, `TIMESTAMP` | timestamp, from text |
//! | contains `BLOB` | bytea |
//! | anything else, or nothing | text, as SQLite's CAST writes it |

use arrow::datatypes::{DataType, TimeUnit};

/// How a column is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mapping {
    Integer,
    Boolean,
    Text,
    Float,
    Decimal(u8, i8),
    Date,
    Timestamp,
    Blob,
    /// Without a type to hold values to: whatever is there, as text.
    AsText,
}

impl Mapping {
    pub(super) fn data_type(self) -> DataType {
        match self {
            Self::Integer => DataType::Int64,
            Self::Boolean => DataType::Boolean,
            Self::Text | Self::AsText => DataType::Utf8,
            Self::Float => DataType::Float64,
            Self::Decimal(precision, scale) => DataType::Decimal128(precision, scale),
            Self::Date => DataType::Date32,
            Self::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, None),
            Self::Blob => DataType::Binary,
        }
    }

    /// Returns what is selected for the column.
    pub(super) fn selected(self, quoted: &str) -> String {
        match self {
            Self::AsText => format!("CAST({quoted} AS TEXT)"),
            _ => quoted.to_owned(),
        }
    }
}

/// Reads a declared type, by SQLite's rules of affinity with the three words of dates and times before them.
pub(super) fn mapping(declared: &str) -> Mapping {
    let upper = declared.trim().to_uppercase();
    let word = upper.split('(').next().unwrap_or_default().trim();
    match word {
        "BOOLEAN" | "BOOL" => return Mapping::Boolean,
        "DATE" => return Mapping::Date,
        "DATETIME" | "TIMESTAMP" => return Mapping::Timestamp,
        "DECIMAL" | "NUMERIC" => {
            return match precision_scale(&upper) {
                Some((precision, scale)) => Mapping::Decimal(precision, scale),
                None => Mapping::AsText,
            };
        }
        _ => {}
    }
    let has = |part: &str| upper.contains(part);
    if has("INT") {
        Mapping::Integer
    } else if has("CHAR") || has("CLOB") || has("TEXT") {
        Mapping::Text
    } else if has("BLOB") {
        Mapping::Blob
    } else if has("REAL") || has("FLOA") || has("DOUB") {
        Mapping::Float
    } else {
        Mapping::AsText
    }
}

fn precision_scale(upper: &str) -> Option<(u8, i8)> {
    let (_, inside) = upper.split_once('(')?;
    let inside = inside.split(')').next()?;
    let mut numbers = inside.split(',').map(|number| number.trim().parse::<u8>().ok());
    let precision = numbers.next().flatten()?;
    let scale = numbers.next().unwrap_or(Some(0))?;
    let fits = (1..=38).contains(&precision) && scale <= precision;
    fits.then_some((precision, i8::try_from(scale).ok()?))
}
