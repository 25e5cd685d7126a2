//! The binary form of `COPY … TO STDOUT (FORMAT BINARY)`, straight into Arrow arrays.
//!
//! A row is a 16-bit field count, then for each field a 32-bit length (-1 for NULL) and its bytes, all big-endian.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryBuilder, BooleanBuilder, Date32Builder, Decimal128Builder, Float32Builder,
    Float64Builder, Int16Builder, Int32Builder, Int64Builder, IntervalMonthDayNanoBuilder,
    ListArray, RecordBatch, StringBuilder, Time64NanosecondBuilder, TimestampMicrosecondBuilder,
};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::{Field, IntervalMonthDayNano, SchemaRef};
use maru_core::{Error, ErrorKind, Result};

use super::types::Kind;
use crate::values::{BATCH_BYTES, Misfit, scaled, scaled_short};

const SIGNATURE: &[u8] = b"PGCOPY\n\xff\r\n\0";
/// Days from 1970-01-01 to 2000-01-01, where PostgreSQL counts from.
const EPOCH_DAYS: i32 = 10_957;
const EPOCH_MICROS: i64 = EPOCH_DAYS as i64 * 86_400_000_000;

/// Turns the bytes of one COPY into batches.
pub(crate) struct Decoder {
    schema: SchemaRef,
    table: String,
    kinds: Vec<Kind>,
    columns: Vec<Builder>,
    batch_rows: usize,
    rows: usize,
    bytes: usize,
    /// The beginning of a row whose end has not come yet.
    rest: Vec<u8>,
    started: bool,
    ended: bool,
}

impl Decoder {
    /// `table` is for messages; `kinds` belong to the fields of `schema`.
    pub fn new(
        schema: SchemaRef,
        table: String,
        kinds: impl Iterator<Item = Kind>,
        batch_rows: usize,
    ) -> Self {
        let kinds = kinds.collect::<Vec<_>>();
        let columns = kinds.iter().map(|kind| Builder::new(kind, batch_rows)).collect();
        let batch_rows = batch_rows.max(1);
        Self {
            schema,
            table,
            kinds,
            columns,
            batch_rows,
            rows: 0,
            bytes: 0,
            rest: Vec::new(),
            started: false,
            ended: false,
        }
    }

    /// Takes the next bytes and returns the batches they complete.
    ///
    /// # Errors
    /// 22003, 22007, 22P02 with the column's name for a value that Arrow cannot hold; XX001 for bytes that are not COPY's.
    pub fn take(&mut self, bytes: &[u8]) -> Result<Vec<RecordBatch>> {
        let mut batches = Vec::new();
        if self.rest.is_empty() {
            let used = self.parse(bytes, &mut batches)?;
            self.rest.extend_from_slice(&bytes[used..]);
        } else {
            let mut whole = std::mem::take(&mut self.rest);
            whole.extend_from_slice(bytes);
            let used = self.parse(&whole, &mut batches)?;
            whole.drain(..used);
            self.rest = whole;
        }
        Ok(batches)
    }

    /// Returns the last rows.
    ///
    /// # Errors
    /// HV00N if the end mark has not come: a result that stops early is not a result.
    pub fn finish(mut self) -> Result<Option<RecordBatch>> {
        if !self.ended || !self.rest.is_empty() {
            return Err(Error::new(
                ErrorKind::RemoteUnavailable,
                format!("the rows of {} ended in the middle", self.table),
            ));
        }
        if self.rows == 0 { Ok(None) } else { self.batch().map(Some) }
    }

    /// Parses whole rows and returns how many bytes they took.
    fn parse(&mut self, bytes: &[u8], batches: &mut Vec<RecordBatch>) -> Result<usize> {
        let mut at = 0;
        if !self.started {
            let Some(header) = header_length(bytes)? else { return Ok(0) };
            self.started = true;
            at = header;
        }
        while let Some(row) = row_end(&bytes[at..])? {
            if self.ended {
                return Err(corrupted("bytes after the end"));
            }
            match row {
                RowEnd::Trailer => {
                    self.ended = true;
                    at += 2;
                }
                RowEnd::At(length) => {
                    self.append(&bytes[at..at + length])?;
                    at += length;
                    if self.rows >= self.batch_rows || self.bytes >= BATCH_BYTES {
                        batches.push(self.batch()?);
                        let builders =
                            self.kinds.iter().map(|kind| Builder::new(kind, self.batch_rows));
                        self.columns = builders.collect();
                    }
                }
            }
        }
        Ok(at)
    }

    fn append(&mut self, row: &[u8]) -> Result<()> {
        let mut reader = Reader(row);
        let fields = reader.i16()?;
        if usize::try_from(fields).ok() != Some(self.columns.len()) {
            return Err(corrupted("another number of columns"));
        }
        for (index, column) in self.columns.iter_mut().enumerate() {
            let appended = match reader.field()? {
                Some(value) => column.append(value),
                None if self.schema.field(index).is_nullable() => {
                    column.append_null();
                    Ok(())
                }
                None => Err(Misfit::new(
                    ErrorKind::RemoteFailed,
                    "is NULL, although the column is declared NOT NULL",
                )),
            };
            appended.map_err(|misfit| misfit.of(&self.table, self.schema.field(index).name()))?;
        }
        self.rows += 1;
        self.bytes += row.len();
        Ok(())
    }

    fn batch(&mut self) -> Result<RecordBatch> {
        self.rows = 0;
        self.bytes = 0;
        let arrays = self.columns.iter_mut().map(Builder::finish).collect();
        Ok(RecordBatch::try_new(Arc::clone(&self.schema), arrays)?)
    }
}

/// Returns the length of signature, flags and extension, once they are all there.
fn header_length(bytes: &[u8]) -> Result<Option<usize>> {
    let fixed = SIGNATURE.len() + 8;
    if bytes.len() < fixed {
        return Ok(None);
    }
    if !bytes.starts_with(SIGNATURE) {
        return Err(corrupted("no COPY signature"));
    }
    let extension = Reader(&bytes[SIGNATURE.len() + 4..fixed]).i32()?;
    let length = fixed + usize::try_from(extension).map_err(|_| corrupted("a negative length"))?;
    Ok((bytes.len() >= length).then_some(length))
}

enum RowEnd {
    At(usize),
    Trailer,
}

/// Finds the end of the first row; `None` if it is not complete.
fn row_end(bytes: &[u8]) -> Result<Option<RowEnd>> {
    let mut reader = Reader(bytes);
    let Ok(fields) = reader.i16() else { return Ok(None) };
    if fields == -1 {
        return Ok(Some(RowEnd::Trailer));
    }
    let mut at = 2_usize;
    for _ in 0..fields {
        let Some(length) = bytes.get(at..at + 4) else { return Ok(None) };
        let length = Reader(length).i32()?;
        at += 4;
        match length {
            -1 => {}
            length => {
                at += usize::try_from(length).map_err(|_| corrupted("a negative length"))?;
            }
        }
    }
    Ok((bytes.len() >= at).then_some(RowEnd::At(at)))
}

fn corrupted(what: &str) -> Error {
    Error::new(ErrorKind::DataCorrupted, format!("PostgreSQL sent a malformed COPY stream: {what}"))
}

/// Big-endian numbers off the front of a slice.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn bytes(&mut self, n: usize) -> Result<&'a [u8]> {
        let (head, tail) = self.0.split_at_checked(n).ok_or_else(|| corrupted("too short"))?;
        self.0 = tail;
        Ok(head)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        self.bytes(N)?.try_into().map_err(|_| corrupted("too short"))
    }

    fn i16(&mut self) -> Result<i16> {
        Ok(i16::from_be_bytes(self.array()?))
    }

    fn i32(&mut self) -> Result<i32> {
        Ok(i32::from_be_bytes(self.array()?))
    }

    /// Returns the bytes of a value, or `None` for NULL.
    fn field(&mut self) -> Result<Option<&'a [u8]>> {
        match self.i32()? {
            -1 => Ok(None),
            n => {
                let n = usize::try_from(n).map_err(|_| corrupted("a negative length"))?;
                self.bytes(n).map(Some)
            }
        }
    }
}

/// An Arrow builder for one [`Kind`].
enum Builder {
    Bool(BooleanBuilder),
    Int2(Int16Builder),
    Int4(Int32Builder),
    Int8(Int64Builder),
    Oid(Int64Builder),
    Float4(Float32Builder),
    Float8(Float64Builder),
    Numeric { values: Decimal128Builder, precision: u8, scale: i8, declared: bool },
    Text(StringBuilder),
    Jsonb(StringBuilder),
    Uuid(StringBuilder),
    Bytea(BinaryBuilder),
    Date(Date32Builder),
    Time(Time64NanosecondBuilder),
    Timestamp(TimestampMicrosecondBuilder),
    Interval(IntervalMonthDayNanoBuilder),
    List { items: Box<Builder>, item: Kind, offsets: Vec<i32>, valid: Vec<bool> },
}

impl Builder {
    fn new(kind: &Kind, rows: usize) -> Self {
        let text = || StringBuilder::with_capacity(rows, rows * 16);
        match kind {
            Kind::Bool => Self::Bool(BooleanBuilder::with_capacity(rows)),
            Kind::Int2 => Self::Int2(Int16Builder::with_capacity(rows)),
            Kind::Int4 => Self::Int4(Int32Builder::with_capacity(rows)),
            Kind::Int8 => Self::Int8(Int64Builder::with_capacity(rows)),
            Kind::Oid => Self::Oid(Int64Builder::with_capacity(rows)),
            Kind::Float4 => Self::Float4(Float32Builder::with_capacity(rows)),
            Kind::Float8 => Self::Float8(Float64Builder::with_capacity(rows)),
            Kind::Numeric { precision, scale, declared } => Self::Numeric {
                values: Decimal128Builder::with_capacity(rows).with_data_type(kind.arrow()),
                precision: *precision,
                scale: *scale,
                declared: *declared,
            },
            Kind::Text => Self::Text(text()),
            Kind::Jsonb => Self::Jsonb(text()),
            Kind::Uuid => Self::Uuid(text()),
            Kind::Bytea => Self::Bytea(BinaryBuilder::with_capacity(rows, rows * 16)),
            Kind::Date => Self::Date(Date32Builder::with_capacity(rows)),
            Kind::Time => Self::Time(Time64NanosecondBuilder::with_capacity(rows)),
            Kind::Timestamp | Kind::Timestamptz => Self::Timestamp(
                TimestampMicrosecondBuilder::with_capacity(rows).with_data_type(kind.arrow()),
            ),
            Kind::Interval => Self::Interval(IntervalMonthDayNanoBuilder::with_capacity(rows)),
            Kind::List(item) => Self::List {
                items: Box::new(Self::new(item, rows)),
                item: (**item).clone(),
                offsets: vec![0],
                valid: Vec::new(),
            },
        }
    }

    fn append_null(&mut self) {
        match self {
            Self::Bool(b) => b.append_null(),
            Self::Int2(b) => b.append_null(),
            Self::Int4(b) => b.append_null(),
            Self::Int8(b) | Self::Oid(b) => b.append_null(),
            Self::Float4(b) => b.append_null(),
            Self::Float8(b) => b.append_null(),
            Self::Numeric { values, .. } => values.append_null(),
            Self::Text(b) | Self::Jsonb(b) | Self::Uuid(b) => b.append_null(),
            Self::Bytea(b) => b.append_null(),
            Self::Date(b) => b.append_null(),
            Self::Time(b) => b.append_null(),
            Self::Timestamp(b) => b.append_null(),
            Self::Interval(b) => b.append_null(),
            Self::List { offsets, valid, .. } => {
                offsets.push(offsets.last().copied().unwrap_or_default());
                valid.push(false);
            }
        }
    }

    fn append(&mut self, bytes: &[u8]) -> Result<(), Misfit> {
        match self {
            Self::Bool(b) => b.append_value(fixed::<1>(bytes)? != [0]),
            Self::Int2(b) => b.append_value(i16::from_be_bytes(fixed(bytes)?)),
            Self::Int4(b) => b.append_value(i32::from_be_bytes(fixed(bytes)?)),
            Self::Int8(b) => b.append_value(i64::from_be_bytes(fixed(bytes)?)),
            Self::Oid(b) => b.append_value(i64::from(u32::from_be_bytes(fixed(bytes)?))),
            Self::Float4(b) => {
                let n = f32::from_be_bytes(fixed(bytes)?);
                // PostgreSQL knows one NaN, above all numbers; so does Arrow only if the bits are these.
                b.append_value(if n.is_nan() { f32::NAN } else { n });
            }
            Self::Float8(b) => {
                let n = f64::from_be_bytes(fixed(bytes)?);
                b.append_value(if n.is_nan() { f64::NAN } else { n });
            }
            Self::Numeric { values, precision, scale, declared } => {
                let value = numeric(bytes, *precision, *scale)
                    .map_err(|misfit| too_long(misfit, bytes, (*precision, *scale), *declared))?;
                values.append_value(value);
            }
            Self::Text(b) => b.append_value(utf8(bytes)?),
            Self::Jsonb(b) => match bytes.split_first() {
                Some((1, text)) => b.append_value(utf8(text)?),
                _ => return Err(Misfit::malformed("has an unknown version of jsonb")),
            },
            Self::Uuid(b) => {
                let uuid = uuid::Uuid::from_bytes(fixed(bytes)?);
                let mut text = [0; uuid::fmt::Hyphenated::LENGTH];
                b.append_value(uuid.hyphenated().encode_lower(&mut text));
            }
            Self::Bytea(b) => b.append_value(bytes),
            Self::Date(b) => match i32::from_be_bytes(fixed(bytes)?) {
                i32::MIN | i32::MAX => return Err(infinite()),
                days => b.append_value(days.checked_add(EPOCH_DAYS).ok_or_else(infinite)?),
            },
            Self::Time(b) => match i64::from_be_bytes(fixed(bytes)?) {
                micros if (0..86_400_000_000).contains(&micros) => b.append_value(micros * 1000),
                _ => return Err(of_24_hours()),
            },
            Self::Timestamp(b) => match i64::from_be_bytes(fixed(bytes)?) {
                i64::MIN | i64::MAX => return Err(infinite()),
                micros => b.append_value(micros.checked_add(EPOCH_MICROS).ok_or_else(infinite)?),
            },
            Self::Interval(b) => b.append_value(interval(fixed(bytes)?)?),
            Self::List { items, offsets, valid, .. } => {
                let count = append_items(items, bytes)?;
                let end = offsets.last().copied().unwrap_or_default().checked_add(count);
                offsets.push(end.ok_or_else(|| Misfit::out_of_range("is too long"))?);
                valid.push(true);
            }
        }
        Ok(())
    }

    fn finish(&mut self) -> ArrayRef {
        match self {
            Self::Bool(b) => Arc::new(b.finish()),
            Self::Int2(b) => Arc::new(b.finish()),
            Self::Int4(b) => Arc::new(b.finish()),
            Self::Int8(b) | Self::Oid(b) => Arc::new(b.finish()),
            Self::Float4(b) => Arc::new(b.finish()),
            Self::Float8(b) => Arc::new(b.finish()),
            Self::Numeric { values, .. } => Arc::new(values.finish()),
            Self::Text(b) | Self::Jsonb(b) | Self::Uuid(b) => Arc::new(b.finish()),
            Self::Bytea(b) => Arc::new(b.finish()),
            Self::Date(b) => Arc::new(b.finish()),
            Self::Time(b) => Arc::new(b.finish()),
            Self::Timestamp(b) => Arc::new(b.finish()),
            Self::Interval(b) => Arc::new(b.finish()),
            Self::List { items, item, offsets, valid } => {
                let offsets = std::mem::replace(offsets, vec![0]);
                let nulls = NullBuffer::from(std::mem::take(valid));
                Arc::new(ListArray::new(
                    Arc::new(Field::new_list_field(item.arrow(), true)),
                    OffsetBuffer::new(offsets.into()),
                    items.finish(),
                    Some(nulls),
                ))
            }
        }
    }
}

/// Reads the items of an array and returns how many there are.
fn append_items(items: &mut Builder, bytes: &[u8]) -> Result<i32, Misfit> {
    let short = |_| Misfit::malformed("is a malformed array");
    let mut reader = Reader(bytes);
    let dimensions = reader.i32().map_err(short)?;
    reader.bytes(8).map_err(short)?;
    let count = match dimensions {
        0 => return Ok(0),
        1 => reader.i32().map_err(short)?,
        n => {
            return Err(Misfit::new(
                ErrorKind::RemoteTypeUnsupported,
                format!("is an array of {n} dimensions, where one can be read"),
            )
            .with_hint(
                "Declare the column with its dimensions, such as integer[][], or read column::text in a view of the database.",
            ));
        }
    };
    let first = reader.i32().map_err(short)?;
    if first != 1 {
        return Err(Misfit::new(
            ErrorKind::RemoteTypeUnsupported,
            format!("is an array that begins at {first}, where those that begin at 1 can be read"),
        )
        .with_hint("Read column::text in a view of the database, or write the array there without its bounds."));
    }
    for _ in 0..count {
        match reader.field().map_err(short)? {
            Some(item) => items.append(item)?,
            None => items.append_null(),
        }
    }
    Ok(count)
}

fn fixed<const N: usize>(bytes: &[u8]) -> Result<[u8; N], Misfit> {
    bytes
        .try_into()
        .map_err(|_| Misfit::malformed(format!("has {} bytes where {N} are due", bytes.len())))
}

fn utf8(bytes: &[u8]) -> Result<&str, Misfit> {
    std::str::from_utf8(bytes).map_err(|_| Misfit::malformed("is not valid UTF-8"))
}

pub(super) fn of_24_hours() -> Misfit {
    Misfit::datetime("is 24:00:00, which is not a time of day here")
}

pub(super) fn not_a_number(what: &str) -> Misfit {
    Misfit::out_of_range(format!("is {what}, which a decimal cannot hold"))
        .with_hint("Leave such rows out in a view of the database, or cast the column there.")
}

pub(super) fn infinite() -> Misfit {
    Misfit::datetime("is infinite").with_hint(
        "Leave such rows out in a view of the database, or turn the value into NULL there.",
    )
}

fn interval(bytes: [u8; 16]) -> Result<IntervalMonthDayNano, Misfit> {
    let (micros, rest) = bytes.split_at(8);
    let (days, months) = rest.split_at(4);
    let micros = i64::from_be_bytes(fixed(micros)?);
    let nanos = micros
        .checked_mul(1000)
        .ok_or_else(|| Misfit::out_of_range("is an interval of more than 292 years of hours"))?;
    Ok(IntervalMonthDayNano {
        months: i32::from_be_bytes(fixed(months)?),
        days: i32::from_be_bytes(fixed(days)?),
        nanoseconds: nanos,
    })
}

/// Adds what to do about a number that is too long for its column's type here.
fn too_long(misfit: Misfit, bytes: &[u8], (precision, scale): (u8, i8), declared: bool) -> Misfit {
    if misfit.hint.is_some() || misfit.kind != ErrorKind::OutOfRange {
        return misfit;
    }
    // Behind the number of groups stands the weight of the first one, and that one behind sign and scale.
    let [_, _, w0, w1, _, _, _, _, f0, f1, ..] = *bytes else { return misfit };
    let (weight, first) = (i16::from_be_bytes([w0, w1]), u16::from_be_bytes([f0, f1]));
    let whole = i32::from(weight) * 4 + i32::try_from(first.to_string().len()).unwrap_or(4);
    let is_wide = whole > i32::from(precision) - i32::from(scale);
    misfit.with_hint(if declared || is_wide { TOO_WIDE } else { TOO_MANY_PLACES })
}

pub(super) const TOO_WIDE: &str = "The engine holds 38 digits, decimal places among them: read it as text (column::text) by query() or in a view of the database, or lower the catalog's option \"numeric_scale\" if the column is declared without digits.";
pub(super) const TOO_MANY_PLACES: &str = "Raise the catalog's option \"numeric_scale\" (ALTER CATALOG), or round the column or read it as text (column::text) by query() or in a view of the database.";

/// Reads `numeric`: groups of four decimal digits, the weight of the first, a sign.
fn numeric(bytes: &[u8], precision: u8, scale: i8) -> Result<i128, Misfit> {
    let short = |_| Misfit::malformed("is a malformed numeric");
    let mut reader = Reader(bytes);
    let groups = reader.i16().map_err(short)?;
    let weight = reader.i16().map_err(short)?;
    let sign = u16::from_be_bytes(reader.array().map_err(short)?);
    reader.bytes(2).map_err(short)?;
    let negative = match sign {
        0x0000 => false,
        0x4000 => true,
        _ => {
            let what = if sign == 0xC000 { "NaN" } else { "infinite" };
            return Err(not_a_number(what));
        }
    };
    // Four groups have sixteen digits at most.
    if let (0..=4, true) = (groups, reader.0.len() == 2 * usize::from(groups.unsigned_abs())) {
        let mut digits = 0_u64;
        for group in reader.0.chunks_exact(2) {
            let group = u16::from_be_bytes([group[0], group[1]]);
            digits = digits * 10_000 + u64::from(group);
        }
        let exponent = (i32::from(weight) - i32::from(groups) + 1) * 4;
        if let Some(value) = scaled_short(digits, exponent, precision, scale) {
            return Ok(if negative { -value } else { value });
        }
    }
    let mut digits = 0_i128;
    let mut exponent = (i32::from(weight) - i32::from(groups) + 1) * 4;
    for index in 0..groups {
        let mut group = i128::from(reader.i16().map_err(short)?);
        let mut base = 10_000;
        if index + 1 == groups {
            // Zeros at the end of the last group would need room they do not have in the value.
            while group % 10 == 0 && base > 1 {
                group /= 10;
                base /= 10;
                exponent += 1;
            }
        }
        digits = digits.checked_mul(base).and_then(|digits| digits.checked_add(group)).ok_or_else(
            || Misfit::out_of_range(format!("does not fit decimal({precision},{scale})")),
        )?;
    }
    scaled(if negative { -digits } else { digits }, exponent, precision, scale)
}

#[cfg(test)]
#[path = "decode_tests.rs"]
mod tests;
