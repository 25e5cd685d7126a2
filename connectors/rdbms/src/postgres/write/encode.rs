//! Arrow arrays as the binary form of `COPY … FROM STDIN (FORMAT BINARY)`: what `decode` reads, the other way.

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BooleanArray, Date32Array, Decimal128Array,
    Float32Array, Float64Array, Int16Array, Int32Array, Int64Array, IntervalMonthDayNanoArray,
    ListArray, StringArray, Time64NanosecondArray, TimestampMicrosecondArray,
};
use arrow::datatypes::{
    Date32Type, Decimal128Type, Float32Type, Float64Type, Int16Type, Int32Type, Int64Type,
    IntervalMonthDayNanoType, Time64NanosecondType, TimestampMicrosecondType,
};
use maru_core::{Error, ErrorKind, Result};

use crate::postgres::types::Kind;
use crate::values::{Misfit, shortened};

/// What a binary COPY begins with: signature, flags, no extension.
pub(super) const HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
/// What it ends with.
pub(super) const TRAILER: &[u8] = &[0xff, 0xff];

/// Days from 1970-01-01 to 2000-01-01, where PostgreSQL counts from.
const EPOCH_DAYS: i64 = 10_957;
const EPOCH_MICROS: i64 = EPOCH_DAYS * 86_400_000_000;
/// What PostgreSQL's dates and timestamps reach, in days and microseconds since 2000: 4713 BC to 5874897 and 294276.
const DAYS: std::ops::Range<i64> = -2_451_545..2_145_031_949;
const MICROS: std::ops::Range<i64> = -211_813_488_000_000_000..9_223_371_331_200_000_000;

/// How one column is written.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Wire {
    pub kind: Kind,
    /// The oid of the items of an array, otherwise 0.
    pub item: u32,
}

/// One array, ready to be written value by value.
pub(super) enum Values<'a> {
    Bool(&'a BooleanArray),
    Int2(&'a Int16Array),
    Int4(&'a Int32Array),
    Int8(&'a Int64Array),
    Oid(&'a Int64Array),
    Float4(&'a Float32Array),
    Float8(&'a Float64Array),
    /// With the scale, and whether the column declares it.
    Numeric(&'a Decimal128Array, u8, bool),
    Text(&'a StringArray),
    Jsonb(&'a StringArray),
    Uuid(&'a StringArray),
    Bytea(&'a BinaryArray),
    Date(&'a Date32Array),
    Time(&'a Time64NanosecondArray),
    Timestamp(&'a TimestampMicrosecondArray),
    Interval(&'a IntervalMonthDayNanoArray),
    List(&'a ListArray, Box<Values<'a>>, u32),
}

impl<'a> Values<'a> {
    /// `array` has the type [`Kind::arrow`], but for a decimal's precision.
    ///
    /// # Errors
    /// XX000 if it has not.
    pub fn of(array: &'a ArrayRef, wire: &Wire) -> Result<Self> {
        let other = || Error::internal("a column to write has another type than was agreed");
        Ok(match &wire.kind {
            Kind::Bool => Self::Bool(array.as_boolean_opt().ok_or_else(other)?),
            Kind::Int2 => Self::Int2(array.as_primitive_opt::<Int16Type>().ok_or_else(other)?),
            Kind::Int4 => Self::Int4(array.as_primitive_opt::<Int32Type>().ok_or_else(other)?),
            Kind::Int8 => Self::Int8(array.as_primitive_opt::<Int64Type>().ok_or_else(other)?),
            Kind::Oid => Self::Oid(array.as_primitive_opt::<Int64Type>().ok_or_else(other)?),
            Kind::Float4 => {
                Self::Float4(array.as_primitive_opt::<Float32Type>().ok_or_else(other)?)
            }
            Kind::Float8 => {
                Self::Float8(array.as_primitive_opt::<Float64Type>().ok_or_else(other)?)
            }
            Kind::Numeric { declared, .. } => {
                let values = array.as_primitive_opt::<Decimal128Type>().ok_or_else(other)?;
                let scale = u8::try_from(values.scale()).map_err(|_| other())?;
                Self::Numeric(values, scale, *declared)
            }
            Kind::Text => Self::Text(array.as_string_opt::<i32>().ok_or_else(other)?),
            Kind::Jsonb => Self::Jsonb(array.as_string_opt::<i32>().ok_or_else(other)?),
            Kind::Uuid => Self::Uuid(array.as_string_opt::<i32>().ok_or_else(other)?),
            Kind::Bytea => Self::Bytea(array.as_binary_opt::<i32>().ok_or_else(other)?),
            Kind::Date => Self::Date(array.as_primitive_opt::<Date32Type>().ok_or_else(other)?),
            Kind::Time => {
                Self::Time(array.as_primitive_opt::<Time64NanosecondType>().ok_or_else(other)?)
            }
            Kind::Timestamp | Kind::Timestamptz => Self::Timestamp(
                array.as_primitive_opt::<TimestampMicrosecondType>().ok_or_else(other)?,
            ),
            Kind::Interval => Self::Interval(
                array.as_primitive_opt::<IntervalMonthDayNanoType>().ok_or_else(other)?,
            ),
            Kind::List(item) => {
                let list = array.as_list_opt::<i32>().ok_or_else(other)?;
                let items = Self::of(list.values(), &Wire { kind: (**item).clone(), item: 0 })?;
                Self::List(list, Box::new(items), wire.item)
            }
        })
    }

    fn is_null(&self, row: usize) -> bool {
        match self {
            Self::Bool(a) => a.is_null(row),
            Self::Int2(a) => a.is_null(row),
            Self::Int4(a) => a.is_null(row),
            Self::Int8(a) | Self::Oid(a) => a.is_null(row),
            Self::Float4(a) => a.is_null(row),
            Self::Float8(a) => a.is_null(row),
            Self::Numeric(a, ..) => a.is_null(row),
            Self::Text(a) | Self::Jsonb(a) | Self::Uuid(a) => a.is_null(row),
            Self::Bytea(a) => a.is_null(row),
            Self::Date(a) => a.is_null(row),
            Self::Time(a) => a.is_null(row),
            Self::Timestamp(a) => a.is_null(row),
            Self::Interval(a) => a.is_null(row),
            Self::List(a, ..) => a.is_null(row),
        }
    }

    /// Appends one field: its length in 32 bits and its bytes.
    ///
    /// # Errors
    /// What PostgreSQL cannot hold.
    pub fn write(&self, row: usize, out: &mut Vec<u8>) -> Result<(), Misfit> {
        if self.is_null(row) {
            out.extend_from_slice(&(-1_i32).to_be_bytes());
            return Ok(());
        }
        match self {
            Self::Bool(a) => field(out, &[u8::from(a.value(row))]),
            Self::Int2(a) => field(out, &a.value(row).to_be_bytes()),
            Self::Int4(a) => field(out, &a.value(row).to_be_bytes()),
            Self::Int8(a) => field(out, &a.value(row).to_be_bytes()),
            Self::Oid(a) => {
                let n = a.value(row);
                let oid = u32::try_from(n)
                    .map_err(|_| Misfit::out_of_range(format!("is {n}, which is no oid")))?;
                field(out, &oid.to_be_bytes());
            }
            Self::Float4(a) => field(out, &a.value(row).to_be_bytes()),
            Self::Float8(a) => field(out, &a.value(row).to_be_bytes()),
            Self::Numeric(a, scale, declared) => {
                numeric(out, a.value(row), *scale, *declared);
            }
            Self::Text(a) => text(out, a.value(row))?,
            Self::Jsonb(a) => {
                let json = a.value(row);
                let length = length(json.len() + 1)?;
                no_zero(json)?;
                out.extend_from_slice(&length);
                out.push(1);
                out.extend_from_slice(json.as_bytes());
            }
            Self::Uuid(a) => {
                let uuid = uuid::Uuid::try_parse(a.value(row)).map_err(|_| {
                    Misfit::malformed(format!("is no uuid: \"{}\"", shortened(a.value(row))))
                })?;
                field(out, uuid.as_bytes());
            }
            Self::Bytea(a) => {
                let bytes = a.value(row);
                let length = length(bytes.len())?;
                out.extend_from_slice(&length);
                out.extend_from_slice(bytes);
            }
            Self::Date(a) => {
                let days = i64::from(a.value(row)) - EPOCH_DAYS;
                let days = i32::try_from(days).ok().filter(|_| DAYS.contains(&days));
                let days = days
                    .ok_or_else(|| Misfit::datetime("is a date before 4713 BC or after 5874897"))?;
                field(out, &days.to_be_bytes());
            }
            Self::Time(a) => field(out, &time(a.value(row))?.to_be_bytes()),
            Self::Timestamp(a) => {
                let micros = a.value(row).checked_sub(EPOCH_MICROS);
                let micros = micros
                    .filter(|micros| MICROS.contains(micros))
                    .ok_or_else(|| Misfit::datetime("is a time before 4713 BC or after 294276"))?;
                field(out, &micros.to_be_bytes());
            }
            Self::Interval(a) => {
                let value = a.value(row);
                if value.nanoseconds % 1000 != 0 {
                    return Err(Misfit::datetime("has parts of a microsecond"));
                }
                out.extend_from_slice(&16_i32.to_be_bytes());
                out.extend_from_slice(&(value.nanoseconds / 1000).to_be_bytes());
                out.extend_from_slice(&value.days.to_be_bytes());
                out.extend_from_slice(&value.months.to_be_bytes());
            }
            Self::List(a, items, oid) => list(out, a, items, *oid, row)?,
        }
        Ok(())
    }
}

fn field(out: &mut Vec<u8>, bytes: &[u8]) {
    // What comes here has 16 bytes at most.
    out.extend_from_slice(&[0, 0, 0, bytes.len() as u8]);
    out.extend_from_slice(bytes);
}

fn length(n: usize) -> Result<[u8; 4], Misfit> {
    // A value of PostgreSQL ends before one GiB.
    const LONGEST: usize = 0x3fff_ffff;
    match i32::try_from(n) {
        Ok(length) if n < LONGEST => Ok(length.to_be_bytes()),
        _ => Err(Misfit::new(ErrorKind::TextTooLong, "has more than a GiB")),
    }
}

fn no_zero(text: &str) -> Result<(), Misfit> {
    if text.as_bytes().contains(&0) {
        return Err(Misfit::malformed("has a zero byte, which text in PostgreSQL cannot")
            .with_hint(
                "Write it into a bytea column, or take it out with replace(…, chr(0), '').",
            ));
    }
    Ok(())
}

fn text(out: &mut Vec<u8>, text: &str) -> Result<(), Misfit> {
    no_zero(text)?;
    out.extend_from_slice(&length(text.len())?);
    out.extend_from_slice(text.as_bytes());
    Ok(())
}

fn time(nanos: i64) -> Result<i64, Misfit> {
    if !(0..86_400_000_000_000).contains(&nanos) {
        return Err(Misfit::datetime("is no time of day"));
    }
    if nanos % 1000 != 0 {
        return Err(Misfit::datetime("has parts of a microsecond"));
    }
    Ok(nanos / 1000)
}

fn list(
    out: &mut Vec<u8>,
    array: &ListArray,
    items: &Values<'_>,
    oid: u32,
    row: usize,
) -> Result<(), Misfit> {
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    let offsets = array.value_offsets();
    let (from, to) = (offsets[row], offsets[row + 1]);
    let has_null = (from..to).any(|at| items.is_null(at as usize));
    out.extend_from_slice(&i32::from(to > from).to_be_bytes());
    out.extend_from_slice(&i32::from(has_null).to_be_bytes());
    out.extend_from_slice(&oid.to_be_bytes());
    if to > from {
        out.extend_from_slice(&(to - from).to_be_bytes());
        out.extend_from_slice(&1_i32.to_be_bytes());
    }
    for at in from..to {
        items.write(at as usize, out)?;
    }
    let length = length(out.len() - start - 4)?;
    out[start..start + 4].copy_from_slice(&length);
    Ok(())
}

/// Writes `digits · 10^-scale` in groups of four digits around the point. Zeros at the end are kept if the column declares them.
fn numeric(out: &mut Vec<u8>, value: i128, mut scale: u8, declared: bool) {
    let negative = value < 0;
    let mut digits = value.unsigned_abs();
    while !declared && scale > 0 && digits.is_multiple_of(10) {
        digits /= 10;
        scale -= 1;
    }
    // At most eleven groups: 38 digits, and up to three zeros before and behind.
    let mut groups = [0_u16; 12];
    let mut n = 0;
    let power = 10_u128.pow(u32::from(scale));
    let (mut whole, mut fraction) = (digits / power, digits % power);
    let fraction_groups = scale.div_ceil(4);
    // From the right. The last group of the fraction may have fewer digits than four.
    let mut places = u32::from(scale % 4);
    for _ in 0..fraction_groups {
        let in_group = if places == 0 { 4 } else { places };
        let base = 10_u128.pow(in_group);
        groups[n] = (fraction % base) as u16 * 10_u16.pow(4 - in_group);
        fraction /= base;
        places = 0;
        n += 1;
    }
    while whole > 0 {
        groups[n] = (whole % 10_000) as u16;
        whole /= 10_000;
        n += 1;
    }
    let mut weight = n as i16 - i16::from(fraction_groups) - 1;
    // Neither zeros before nor behind are stored.
    let mut stored = &groups[..n];
    while let [rest @ .., 0] = stored {
        stored = rest;
        weight -= 1;
    }
    while let [0, rest @ ..] = stored {
        stored = rest;
    }
    if stored.is_empty() {
        weight = 0;
    }
    let sign: u16 = if negative { 0x4000 } else { 0 };
    out.extend_from_slice(&(8 + 2 * stored.len() as i32).to_be_bytes());
    out.extend_from_slice(&(stored.len() as i16).to_be_bytes());
    out.extend_from_slice(&weight.to_be_bytes());
    out.extend_from_slice(&sign.to_be_bytes());
    out.extend_from_slice(&u16::from(scale).to_be_bytes());
    for group in stored.iter().rev() {
        out.extend_from_slice(&group.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn groups(value: i128, scale: u8, declared: bool) -> Vec<i16> {
        let mut out = Vec::new();
        numeric(&mut out, value, scale, declared);
        out[4..].chunks(2).map(|two| i16::from_be_bytes([two[0], two[1]])).collect()
    }

    #[test]
    fn numbers_are_groups_of_four_digits_around_the_point() {
        // Groups, weight, sign, places, then the groups.
        assert_eq!(groups(1_234_567, 2, true), [3, 1, 0, 2, 1, 2345, 6700]);
        assert_eq!(groups(-5, 2, true), [1, -1, 0x4000, 2, 500]);
        assert_eq!(groups(1, 10, true), [1, -3, 0, 10, 100]);
        assert_eq!(groups(0, 3, true), [0, 0, 0, 3]);
        assert_eq!(groups(100_000_000, 0, true), [1, 2, 0, 0, 1]);
        assert_eq!(groups(1_500, 3, true), [2, 0, 0, 3, 1, 5000]);
        assert_eq!(groups(1_500, 3, false), [2, 0, 0, 1, 1, 5000]);
        assert_eq!(groups(10_i128.pow(38) - 1, 37, true).len(), 4 + 11);
        assert_eq!(groups(10_i128.pow(38) - 1, 38, true)[..4], [10, -1, 0, 38]);
    }
}
