//! The binary form of MySQL's values, into Arrow arrays.
//!
//! The driver would read `0000-00-00` as NULL, so the bytes are decoded here: numbers are little-endian, dates and times
//! begin with their length and leave out zeros at the end, everything else is text or bytes.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryBuilder, BooleanBuilder, Date32Builder, Decimal128Builder, Float32Builder,
    Float64Builder, Int16Builder, Int32Builder, Int64Builder, RecordBatch, StringBuilder,
    Time64NanosecondBuilder, TimestampMicrosecondBuilder,
};
use arrow::datatypes::SchemaRef;
use chrono::{NaiveDate, NaiveDateTime, NaiveTime};
use maru_core::{ErrorKind, Result};
use sqlx::mysql::{MySqlRow, MySqlValueRef};
use sqlx::{Column, Decode, MySql, Row, TypeInfo};

use super::types::Kind;
use crate::outdated::changed;
use crate::values::{BATCH_BYTES, Misfit, parse_decimal, shortened};

/// Turns the rows of one result into batches.
pub(crate) struct Decoder {
    schema: SchemaRef,
    table: String,
    columns: Vec<(Kind, Builder)>,
    batch_rows: usize,
    rows: usize,
    bytes: usize,
    checked: bool,
}

impl Decoder {
    /// `table` is for messages; `kinds` belong to the fields of `schema`.
    pub fn new(
        schema: SchemaRef,
        table: String,
        kinds: impl Iterator<Item = Kind>,
        batch_rows: usize,
    ) -> Self {
        let columns = kinds.map(|kind| (kind, Builder::new(kind, batch_rows))).collect();
        let batch_rows = batch_rows.max(1);
        Self { schema, table, columns, batch_rows, rows: 0, bytes: 0, checked: false }
    }

    /// Takes a row and returns the batch it completes.
    ///
    /// # Errors
    /// 22003, 22007, 22P02 with the column's name for a value that Arrow cannot hold; HV000 for a column that is not of
    /// the type it was described with.
    pub fn take(&mut self, row: &MySqlRow) -> Result<Option<RecordBatch>> {
        if !self.checked {
            self.check(row)?;
            self.checked = true;
        }
        for (index, (kind, builder)) in self.columns.iter_mut().enumerate() {
            let field = self.schema.field(index);
            let raw = row.try_get_raw(index).map_err(|_| changed(&self.table))?;
            let appended = match bytes_of(raw) {
                Some(bytes) => {
                    self.bytes += bytes.len();
                    builder.append(*kind, bytes)
                }
                None if field.is_nullable() => {
                    builder.append_null();
                    Ok(())
                }
                None => Err(Misfit::new(
                    ErrorKind::RemoteFailed,
                    "is NULL, although the column is declared NOT NULL",
                )),
            };
            appended.map_err(|misfit| misfit.of(&self.table, field.name()))?;
        }
        self.rows += 1;
        if self.rows < self.batch_rows && self.bytes < BATCH_BYTES {
            return Ok(None);
        }
        let batch = self.batch()?;
        for (kind, builder) in &mut self.columns {
            *builder = Builder::new(*kind, self.batch_rows);
        }
        Ok(Some(batch))
    }

    /// Returns the last rows.
    pub fn finish(mut self) -> Result<Option<RecordBatch>> {
        if self.rows == 0 { Ok(None) } else { self.batch().map(Some) }
    }

    fn check(&self, row: &MySqlRow) -> Result<()> {
        let columns = row.columns();
        let same = columns.len() == self.columns.len()
            && columns
                .iter()
                .zip(&self.columns)
                .all(|(column, (kind, _))| kind.arrives_as(column.type_info().name()));
        if same { Ok(()) } else { Err(changed(&self.table)) }
    }

    fn batch(&mut self) -> Result<RecordBatch> {
        self.rows = 0;
        self.bytes = 0;
        let arrays = self.columns.iter_mut().map(|(_, builder)| builder.finish()).collect();
        Ok(RecordBatch::try_new(Arc::clone(&self.schema), arrays)?)
    }
}

/// Returns the bytes of a value, `None` for NULL. `is_null` would say so of zero dates, too.
fn bytes_of(raw: MySqlValueRef<'_>) -> Option<&[u8]> {
    <&[u8] as Decode<MySql>>::decode(raw).ok()
}

/// An Arrow builder.
enum Builder {
    Bool(BooleanBuilder),
    Int16(Int16Builder),
    Int32(Int32Builder),
    Int64(Int64Builder),
    Decimal(Decimal128Builder),
    Float32(Float32Builder),
    Float64(Float64Builder),
    Text(StringBuilder),
    Bytes(BinaryBuilder),
    Date(Date32Builder),
    Time(Time64NanosecondBuilder),
    Timestamp(TimestampMicrosecondBuilder),
}

/// Does the same to whichever builder it is.
macro_rules! with_builder {
    ($builder:expr, $b:ident => $result:expr) => {
        match $builder {
            Builder::Bool($b) => $result,
            Builder::Int16($b) => $result,
            Builder::Int32($b) => $result,
            Builder::Int64($b) => $result,
            Builder::Decimal($b) => $result,
            Builder::Float32($b) => $result,
            Builder::Float64($b) => $result,
            Builder::Text($b) => $result,
            Builder::Bytes($b) => $result,
            Builder::Date($b) => $result,
            Builder::Time($b) => $result,
            Builder::Timestamp($b) => $result,
        }
    };
}

impl Builder {
    fn new(kind: Kind, rows: usize) -> Self {
        match kind {
            Kind::Bool | Kind::Flag => Self::Bool(BooleanBuilder::with_capacity(rows)),
            Kind::Int2 { unsigned: false } => Self::Int16(Int16Builder::with_capacity(rows)),
            Kind::Int2 { unsigned: true } | Kind::Int4 { unsigned: false } | Kind::Year => {
                Self::Int32(Int32Builder::with_capacity(rows))
            }
            Kind::Int4 { unsigned: true }
            | Kind::Int8 { unsigned: false }
            | Kind::Bits { wide: false } => Self::Int64(Int64Builder::with_capacity(rows)),
            Kind::Int8 { unsigned: true } | Kind::Bits { wide: true } | Kind::Decimal { .. } => {
                let builder = Decimal128Builder::with_capacity(rows).with_data_type(kind.arrow());
                Self::Decimal(builder)
            }
            Kind::Float => Self::Float32(Float32Builder::with_capacity(rows)),
            Kind::Double => Self::Float64(Float64Builder::with_capacity(rows)),
            Kind::Text => Self::Text(StringBuilder::with_capacity(rows, rows * 16)),
            Kind::Bytes => Self::Bytes(BinaryBuilder::with_capacity(rows, rows * 16)),
            Kind::Date => Self::Date(Date32Builder::with_capacity(rows)),
            Kind::Time => Self::Time(Time64NanosecondBuilder::with_capacity(rows)),
            Kind::Datetime | Kind::Timestamp => Self::Timestamp(
                TimestampMicrosecondBuilder::with_capacity(rows).with_data_type(kind.arrow()),
            ),
        }
    }

    fn append_null(&mut self) {
        with_builder!(self, b => b.append_null());
    }

    fn append(&mut self, kind: Kind, bytes: &[u8]) -> Result<(), Misfit> {
        match self {
            Self::Bool(b) => b.append_value(boolean(kind, bytes)?),
            Self::Int16(b) => b.append_value(narrowed(integer(kind, bytes)?)?),
            Self::Int32(b) => b.append_value(narrowed(integer(kind, bytes)?)?),
            Self::Int64(b) => b.append_value(narrowed(integer(kind, bytes)?)?),
            Self::Decimal(b) => b.append_value(match kind {
                Kind::Decimal { precision, scale, declared } => {
                    decimal(utf8(bytes)?, precision, scale, declared)?
                }
                _ => integer(kind, bytes)?,
            }),
            Self::Float32(b) => b.append_value(f32::from_le_bytes(fixed(bytes)?)),
            Self::Float64(b) => b.append_value(match bytes.len() {
                4 => f64::from(f32::from_le_bytes(fixed(bytes)?)),
                _ => f64::from_le_bytes(fixed(bytes)?),
            }),
            Self::Text(b) => b.append_value(utf8(bytes)?),
            Self::Bytes(b) => b.append_value(bytes),
            Self::Date(b) => b.append_value(date(part(bytes)?)?.to_epoch_days()),
            Self::Time(b) => b.append_value(time(part(bytes)?)?),
            Self::Timestamp(b) => {
                b.append_value(datetime(part(bytes)?)?.and_utc().timestamp_micros());
            }
        }
        Ok(())
    }

    fn finish(&mut self) -> ArrayRef {
        with_builder!(self, b => Arc::new(b.finish()))
    }
}

fn boolean(kind: Kind, bytes: &[u8]) -> Result<bool, Misfit> {
    match integer(kind, bytes)? {
        0 => Ok(false),
        1 => Ok(true),
        n => Err(Misfit::out_of_range(format!("is {n} where 0 or 1 was declared")).with_hint(
            "Create the catalog with tinyint1 = 'integer' to read TINYINT(1) as numbers.",
        )),
    }
}

/// Reads whole numbers of any width. Bits are big-endian, as they stand in the column.
fn integer(kind: Kind, bytes: &[u8]) -> Result<i128, Misfit> {
    if bytes.is_empty() || bytes.len() > 8 {
        return Err(Misfit::malformed(format!("has {} bytes where a number is due", bytes.len())));
    }
    let unsigned = match kind {
        Kind::Flag | Kind::Bits { .. } => {
            return Ok(bytes.iter().fold(0, |n, byte| n << 8 | i128::from(*byte)));
        }
        Kind::Int2 { unsigned } | Kind::Int4 { unsigned } | Kind::Int8 { unsigned } => unsigned,
        Kind::Year => true,
        _ => false,
    };
    let mut whole = [0; 8];
    whole[..bytes.len()].copy_from_slice(bytes);
    let n = u64::from_le_bytes(whole);
    // A sign is moved to where it is one of 64 bits, and back.
    let shift = 64 - 8 * bytes.len();
    Ok(match unsigned {
        true => i128::from(n),
        false => i128::from((n << shift).cast_signed() >> shift),
    })
}

fn narrowed<T: TryFrom<i128>>(n: i128) -> Result<T, Misfit> {
    T::try_from(n).map_err(|_| Misfit::out_of_range(format!("is {n}, which its type cannot hold")))
}

fn decimal(text: &str, precision: u8, scale: i8, declared: bool) -> Result<i128, Misfit> {
    parse_decimal(text, precision, scale).map_err(|misfit| match declared {
        true if misfit.kind == ErrorKind::OutOfRange => misfit.with_hint(
            "The engine holds 38 digits: read it as text, CAST(column AS CHAR), by query() or in a view of the database.",
        ),
        true => misfit,
        false => misfit
            .with_hint("Raise the catalog's option \"numeric_scale\", or cast it in the query."),
    })
}

fn fixed<const N: usize>(bytes: &[u8]) -> Result<[u8; N], Misfit> {
    bytes
        .try_into()
        .map_err(|_| Misfit::malformed(format!("has {} bytes where {N} are due", bytes.len())))
}

fn utf8(bytes: &[u8]) -> Result<&str, Misfit> {
    std::str::from_utf8(bytes).map_err(|_| {
        Misfit::malformed(format!(
            "is not valid UTF-8: \"{}\"",
            shortened(&String::from_utf8_lossy(bytes))
        ))
    })
}

/// Returns what stands behind the length of a date or time.
fn part(bytes: &[u8]) -> Result<&[u8], Misfit> {
    match bytes.split_first() {
        Some((length, rest)) if usize::from(*length) == rest.len() => Ok(rest),
        _ => Err(Misfit::malformed("is a malformed date or time")),
    }
}

/// Year in two bytes, month, day; nothing at all for zeros.
fn date(part: &[u8]) -> Result<NaiveDate, Misfit> {
    let (year, month, day) = match part {
        [] => (0, 0, 0),
        [low, high, month, day, ..] => (u16::from_le_bytes([*low, *high]), *month, *day),
        _ => return Err(Misfit::malformed("is a malformed date")),
    };
    NaiveDate::from_ymd_opt(year.into(), month.into(), day.into()).ok_or_else(|| {
        Misfit::datetime(format!("is {year:04}-{month:02}-{day:02}, which is no date")).with_hint(
            "Make it NULL in the database, or read a view there that does: NULLIF(column, 0).",
        )
    })
}

/// A date, hour, minute, second, microseconds in four bytes.
fn datetime(part: &[u8]) -> Result<NaiveDateTime, Misfit> {
    let day = date(part)?;
    let time = match part.get(4..).unwrap_or_default() {
        [] => Some(NaiveTime::MIN),
        [hour, minute, second, rest @ ..] => clock(*hour, *minute, *second, rest),
        _ => None,
    };
    time.map(|time| day.and_time(time)).ok_or_else(|| Misfit::datetime("has a time that is none"))
}

fn clock(hour: u8, minute: u8, second: u8, micros: &[u8]) -> Option<NaiveTime> {
    let micros = match micros {
        [] => 0,
        micros => u32::from_le_bytes(micros.try_into().ok()?),
    };
    NaiveTime::from_hms_micro_opt(hour.into(), minute.into(), second.into(), micros)
}

/// Sign, days in four bytes, hour, minute, second, microseconds. Returns nanoseconds since midnight.
fn time(part: &[u8]) -> Result<i64, Misfit> {
    let hint = "TIME in MySQL is a length of time, too; read TIME_TO_SEC(column) in a view of the database.";
    match part {
        [] => Ok(0),
        [0, 0, 0, 0, 0, hour, minute, second, rest @ ..] => {
            let time = clock(*hour, *minute, *second, rest)
                .ok_or_else(|| Misfit::datetime("is a malformed time"))?;
            let nanos = time.signed_duration_since(NaiveTime::MIN).num_nanoseconds();
            nanos.ok_or_else(|| Misfit::datetime("is a malformed time"))
        }
        [sign, a, b, c, d, hour, minute, second, ..] => {
            let days = u32::from_le_bytes([*a, *b, *c, *d]);
            let hours = u64::from(days) * 24 + u64::from(*hour);
            let sign = if *sign == 0 { "" } else { "-" };
            let shown = format!("{sign}{hours:02}:{minute:02}:{second:02}");
            Err(Misfit::datetime(format!("is {shown}, which is no time of day")).with_hint(hint))
        }
        _ => Err(Misfit::malformed("is a malformed time")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_keep_their_sign() {
        let int = |unsigned, bytes: &[u8]| integer(Kind::Int8 { unsigned }, bytes).unwrap();
        assert_eq!(int(false, &[0xff]), -1);
        assert_eq!(int(true, &[0xff]), 255);
        assert_eq!(int(false, &[0, 0, 0x80]), -(1 << 23));
        assert_eq!(int(false, &[0xff, 0x7f]), 32_767);
        assert_eq!(int(false, &i64::MIN.to_le_bytes()), i128::from(i64::MIN));
        assert_eq!(int(true, &u64::MAX.to_le_bytes()), i128::from(u64::MAX));
        assert_eq!(integer(Kind::Bits { wide: true }, &[1, 0]).unwrap(), 256);
        assert!(integer(Kind::Year, &[]).is_err() && integer(Kind::Year, &[0; 9]).is_err());
        assert!(boolean(Kind::Bool, &[2]).unwrap_err().reason.contains("is 2"));
    }

    #[test]
    fn what_is_no_date_is_an_error_that_shows_it() {
        assert!(date(&[]).unwrap_err().reason.starts_with("is 0000-00-00"));
        assert!(date(&[0xe8, 7, 2, 0]).unwrap_err().reason.starts_with("is 2024-02-00"));
        assert!(datetime(&[0xe8, 7, 2, 29, 24, 0, 0]).is_err());
        let at = datetime(&[0xe8, 7, 2, 29, 23, 59, 59, 0x3f, 0x42, 0x0f, 0]).unwrap();
        assert_eq!(at.to_string(), "2024-02-29 23:59:59.999999");
        assert!(part(&[4, 0]).is_err() && part(&[]).is_err());
    }

    #[test]
    fn times_are_of_one_day() {
        assert_eq!(time(&[]), Ok(0));
        assert_eq!(time(&[0, 0, 0, 0, 0, 1, 0, 0]), Ok(3_600_000_000_000));
        assert!(time(&[1, 0, 0, 0, 0, 1, 0, 0]).unwrap_err().reason.starts_with("is -01:00:00"));
        assert!(time(&[0, 1, 0, 0, 0, 6, 0, 0]).unwrap_err().reason.starts_with("is 30:00:00"));
    }
}
