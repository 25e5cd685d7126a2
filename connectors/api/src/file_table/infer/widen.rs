//! The type that holds the values of two: what files of one table may disagree about.

use std::sync::Arc;

use arrow::datatypes::{
    DECIMAL128_MAX_PRECISION, DataType, Field, FieldRef, Fields, Schema, TimeUnit,
};

/// Whether columns may become text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Text {
    /// Types come from the files themselves: text beside another type makes text, nothing else does.
    Beside,
    /// Types are guesses from text, and what has nothing in common was text in the first place.
    Always,
}

/// Returns the narrowest type that holds every value of `a` and of `b`; of whole numbers beside floating point, to the
/// nearest value. NULL is the type of a column without a value and gives way to each other one.
pub(super) fn widen(a: &DataType, b: &DataType, text: Text) -> Option<DataType> {
    use DataType as T;
    let joined = match (a, b) {
        (a, b) if a == b => Some(a.clone()),
        (T::Null, other) | (other, T::Null) => Some(other.clone()),
        (T::Float16 | T::Float32, T::Float16 | T::Float32) => Some(T::Float32),
        (a, b) if a.is_numeric() && b.is_numeric() => Some(numbers(a, b)),
        (T::Date32 | T::Date64, T::Timestamp(unit, None))
        | (T::Timestamp(unit, None), T::Date32 | T::Date64) => Some(T::Timestamp(*unit, None)),
        (T::Date32 | T::Date64, T::Date32 | T::Date64) => Some(T::Date32),
        (T::Timestamp(a, zone), T::Timestamp(b, other)) if zone == other => {
            Some(T::Timestamp(finer(*a, *b), zone.clone()))
        }
        (a, b) if is_text(a) && is_text(b) => Some(T::Utf8),
        (a, b) if is_bytes(a) && is_bytes(b) => Some(T::Binary),
        (T::List(a), T::List(b)) => field(a, b, text).map(T::List),
        (T::Struct(a), T::Struct(b)) => fields(a, b, text).map(T::Struct),
        (T::Map(a, sorted), T::Map(b, also)) => {
            field(a, b, text).map(|entries| T::Map(entries, *sorted && *also))
        }
        (a, b) if (is_text(a) && !b.is_nested()) || (is_text(b) && !a.is_nested()) => {
            (!is_bytes(a) && !is_bytes(b)).then_some(T::Utf8)
        }
        _ => None,
    };
    joined.or_else(|| (text == Text::Always).then_some(T::Utf8))
}

/// Brings the columns of two files together: those of the first in their order, then the new ones of the second.
///
/// # Errors
/// The name of the column whose types have nothing in common, with both.
pub(super) fn join(
    a: &Schema,
    b: &Schema,
    text: Text,
) -> Result<Schema, (String, DataType, DataType)> {
    let mut joined = a.fields().to_vec();
    for other in b.fields() {
        let Some(at) = place(&joined, other.name()) else {
            joined.push(Arc::clone(other));
            continue;
        };
        let known = Arc::clone(&joined[at]);
        let data_type = widen(known.data_type(), other.data_type(), text).ok_or_else(|| {
            (known.name().clone(), known.data_type().clone(), other.data_type().clone())
        })?;
        joined[at] = Arc::new(Field::clone(&known).with_data_type(data_type));
    }
    Ok(Schema::new(joined))
}

/// Returns the column of that name: the very name, else the only one that differs in case alone, which is how files
/// are read.
fn place(fields: &[FieldRef], name: &str) -> Option<usize> {
    if let Some(at) = fields.iter().position(|field| field.name() == name) {
        return Some(at);
    }
    let lower = name.to_lowercase();
    let mut alike =
        fields.iter().enumerate().filter(|(_, field)| field.name().to_lowercase() == lower);
    match (alike.next(), alike.next()) {
        (Some((at, _)), None) => Some(at),
        _ => None,
    }
}

/// Turns columns that have no value anywhere into text, so that a later value can be read.
pub(super) fn without_null(data_type: &DataType) -> DataType {
    let inside = |field: &FieldRef| {
        Arc::new(Field::clone(field).with_data_type(without_null(field.data_type())))
    };
    match data_type {
        DataType::Null => DataType::Utf8,
        DataType::List(item) => DataType::List(inside(item)),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(inside).collect()),
        other => other.clone(),
    }
}

/// Gives the instants in a type the zone that all instants have in the engine. Which zone a writer has named changes none of them, and a clock is
/// the session's.
pub(super) fn in_utc(data_type: &DataType) -> DataType {
    let inside =
        |field: &FieldRef| Arc::new(Field::clone(field).with_data_type(in_utc(field.data_type())));
    match data_type {
        DataType::Timestamp(unit, Some(_)) => DataType::Timestamp(*unit, Some("UTC".into())),
        DataType::List(item) => DataType::List(inside(item)),
        DataType::LargeList(item) => DataType::LargeList(inside(item)),
        DataType::FixedSizeList(item, n) => DataType::FixedSizeList(inside(item), *n),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(inside).collect()),
        DataType::Map(entries, sorted) => DataType::Map(inside(entries), *sorted),
        other => other.clone(),
    }
}

/// Makes bytes like any others of those that are all of one length, which functions and comparisons do not know.
pub(super) fn of_any_length(data_type: &DataType) -> DataType {
    let inside = |field: &FieldRef| {
        Arc::new(Field::clone(field).with_data_type(of_any_length(field.data_type())))
    };
    match data_type {
        DataType::FixedSizeBinary(_) => DataType::Binary,
        DataType::List(item) => DataType::List(inside(item)),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(inside).collect()),
        other => other.clone(),
    }
}

fn field(a: &FieldRef, b: &FieldRef, text: Text) -> Option<FieldRef> {
    let data_type = widen(a.data_type(), b.data_type(), text)?;
    let nullable = a.is_nullable() || b.is_nullable();
    Some(Arc::new(Field::clone(a).with_data_type(data_type).with_nullable(nullable)))
}

fn fields(a: &Fields, b: &Fields, text: Text) -> Option<Fields> {
    let mut joined = a.to_vec();
    for known in &mut joined {
        // A member that one of the files lacks is NULL there.
        if b.find(known.name()).is_none() {
            *known = Arc::new(Field::clone(known).with_nullable(true));
        }
    }
    for other in b {
        match joined.iter().position(|field| field.name() == other.name()) {
            Some(at) => joined[at] = field(&joined[at], other, text)?,
            None => joined.push(Arc::new(Field::clone(other).with_nullable(true))),
        }
    }
    Some(joined.into())
}

fn numbers(a: &DataType, b: &DataType) -> DataType {
    match (whole_digits(a), whole_digits(b)) {
        (Some((_, 0, _)), Some((_, 0, _))) if a.is_integer() && b.is_integer() => integers(a, b),
        (Some((digits, scale, _)), Some((other, other_scale, _))) => {
            let scale = scale.max(other_scale);
            let precision = digits.max(other) + scale;
            match (u8::try_from(precision), i8::try_from(scale)) {
                (Ok(precision), Ok(scale)) if precision <= DECIMAL128_MAX_PRECISION => {
                    DataType::Decimal128(precision, scale)
                }
                _ => DataType::Float64,
            }
        }
        _ => DataType::Float64,
    }
}

/// Returns the digits before and behind the point, and the bits, of a type of exact numbers.
fn whole_digits(data_type: &DataType) -> Option<(i32, i32, u8)> {
    use DataType as T;
    match data_type {
        T::Int8 | T::UInt8 => Some((3, 0, 8)),
        T::Int16 | T::UInt16 => Some((5, 0, 16)),
        T::Int32 | T::UInt32 => Some((10, 0, 32)),
        T::Int64 => Some((19, 0, 64)),
        T::UInt64 => Some((20, 0, 64)),
        T::Decimal32(precision, scale)
        | T::Decimal64(precision, scale)
        | T::Decimal128(precision, scale)
        | T::Decimal256(precision, scale) => {
            let (precision, scale) = (i32::from(*precision), i32::from(*scale));
            Some((precision - scale, scale.max(0), 128))
        }
        _ => None,
    }
}

/// Of two integers of one sign the wider; else a signed one with room for both.
fn integers(a: &DataType, b: &DataType) -> DataType {
    let bits = |data_type| whole_digits(data_type).map_or(64, |(.., bits)| bits);
    let wider = if bits(a) >= bits(b) { a } else { b };
    if a.is_unsigned_integer() == b.is_unsigned_integer() {
        return wider.clone();
    }
    let unsigned = if a.is_unsigned_integer() { a } else { b };
    match bits(a).max(bits(b)) {
        64 if bits(unsigned) < 64 => DataType::Int64,
        64 => DataType::Decimal128(20, 0),
        32 if bits(unsigned) < 32 => DataType::Int32,
        32 => DataType::Int64,
        16 if bits(unsigned) < 16 => DataType::Int16,
        16 => DataType::Int32,
        _ => DataType::Int16,
    }
}

fn finer(a: TimeUnit, b: TimeUnit) -> TimeUnit {
    use TimeUnit::{Microsecond, Millisecond, Nanosecond, Second};
    let order = |unit| match unit {
        Second => 0,
        Millisecond => 1,
        Microsecond => 2,
        Nanosecond => 3,
    };
    // Nanoseconds hold few centuries, and what is older must still be read.
    let both = if order(a) > order(b) { a } else { b };
    if both == Nanosecond && a != b { Microsecond } else { both }
}

fn is_text(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View)
}

fn is_bytes(data_type: &DataType) -> bool {
    matches!(
        data_type,
        DataType::Binary
            | DataType::LargeBinary
            | DataType::BinaryView
            | DataType::FixedSizeBinary(_)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(item: DataType) -> DataType {
        DataType::List(Arc::new(Field::new_list_field(item, true)))
    }

    fn row(members: &[(&str, DataType)]) -> DataType {
        let fields = members.iter().map(|(name, t)| Field::new(*name, t.clone(), true));
        DataType::Struct(fields.collect())
    }

    #[test]
    fn two_types_become_the_narrowest_that_holds_both() {
        use DataType::*;
        let time = |unit| Timestamp(unit, None);
        let zone = Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
        let table = [
            (Int32, Int64, Some(Int64)),
            (Int8, UInt8, Some(Int16)),
            (Int64, UInt32, Some(Int64)),
            (Int32, UInt32, Some(Int64)),
            (Int64, UInt64, Some(Decimal128(20, 0))),
            (Int64, Float64, Some(Float64)),
            (Int32, Float32, Some(Float64)),
            (Float32, Float64, Some(Float64)),
            (Int64, Decimal128(10, 2), Some(Decimal128(21, 2))),
            (Decimal128(10, 2), Decimal128(8, 4), Some(Decimal128(12, 4))),
            (Int64, Decimal128(38, 30), Some(Float64)),
            (Decimal128(5, 1), Float64, Some(Float64)),
            (Date32, time(TimeUnit::Millisecond), Some(time(TimeUnit::Millisecond))),
            (
                time(TimeUnit::Second),
                time(TimeUnit::Microsecond),
                Some(time(TimeUnit::Microsecond)),
            ),
            (time(TimeUnit::Nanosecond), time(TimeUnit::Second), Some(time(TimeUnit::Microsecond))),
            (time(TimeUnit::Microsecond), zone, None),
            (Null, Date32, Some(Date32)),
            (Utf8, Int64, Some(Utf8)),
            (Boolean, Utf8View, Some(Utf8)),
            (Boolean, Int64, None),
            (Utf8, list(Int64), None),
            (Utf8, Binary, None),
            (list(Int32), list(Int64), Some(list(Int64))),
            (list(Null), list(Utf8), Some(list(Utf8))),
            (list(Int32), Int32, None),
            (
                row(&[("a", Int32), ("b", Utf8)]),
                row(&[("c", Date32), ("a", Float64)]),
                Some(row(&[("a", Float64), ("b", Utf8), ("c", Date32)])),
            ),
        ];
        for (a, b, wanted) in table {
            assert_eq!(widen(&a, &b, Text::Beside), wanted, "{a} {b}");
            let turned = widen(&b, &a, Text::Beside);
            assert_eq!(turned.is_some(), wanted.is_some(), "{b} {a}");
            if !a.is_nested() {
                assert_eq!(turned, wanted, "{b} {a}");
            }
            let guessed = widen(&a, &b, Text::Always);
            assert_eq!(guessed, Some(wanted.unwrap_or(Utf8)), "{a} {b}");
        }
    }

    #[test]
    fn bytes_are_of_any_length() {
        let list = |item| DataType::List(Arc::new(Field::new("item", item, true)));
        let fixed = DataType::FixedSizeBinary(2);
        assert_eq!(of_any_length(&list(fixed.clone())), list(DataType::Binary));
        assert_eq!(of_any_length(&fixed), DataType::Binary);
        assert_eq!(of_any_length(&DataType::Utf8), DataType::Utf8);
    }

    #[test]
    fn columns_come_together_by_name() {
        let schema = |columns: &[(&str, DataType)]| {
            let fields = columns.iter().map(|(name, t)| Field::new(*name, t.clone(), true));
            Schema::new(fields.collect::<Vec<_>>())
        };
        let a = schema(&[("id", DataType::Int32), ("v", DataType::Utf8)]);
        let b = schema(&[("w", DataType::Date32), ("ID", DataType::Int64)]);
        let wanted =
            schema(&[("id", DataType::Int64), ("v", DataType::Utf8), ("w", DataType::Date32)]);
        assert_eq!(join(&a, &b, Text::Beside), Ok(wanted));
        let c = schema(&[("v", list(DataType::Int8))]);
        let (column, ..) = join(&a, &c, Text::Beside).unwrap_err();
        assert_eq!(column, "v");
    }
}
