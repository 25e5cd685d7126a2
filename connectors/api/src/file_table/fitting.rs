//! Which types in files may stand for which of a table's, and how their values become its.
//!
//! Arrow casts more than a table may: 1.7 to 1, a timestamp to a count of microseconds, a number to a list of one, times to a
//! text that SQL would not give them. A type is taken here only if each of its values goes without loss, or is an error. Only
//! `double precision` takes numbers to the nearest value, and text of bytes is what they spell, as Hive has it.

use std::fmt;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef};
use arrow::compute::kernels::cmp::not_distinct;
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, FieldRef, Fields, IntervalUnit, Schema, TimeUnit};
use maru_core::{Error, ErrorKind, Result};

use super::column_names::names_in_file;
use super::type_name;
use crate::value_text::{Zone, has_text, texts};

/// How values of one type become those of another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Way {
    /// As Arrow casts them: it keeps every value, or is an error.
    Cast,
    /// Arrow would lose something, or write it otherwise.
    Own,
}

/// A type, or a part of one, that cannot become what is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mismatch {
    /// Where it is within its column: `.city`, `[]`.
    below: String,
    from: DataType,
    to: DataType,
}

impl Mismatch {
    fn of(from: &DataType, to: &DataType) -> Self {
        Self { below: String::new(), from: from.clone(), to: to.clone() }
    }

    fn inside(mut self, part: impl fmt::Display) -> Self {
        self.below = format!("{part}{}", self.below);
        self
    }

    /// Tells of a column of this name; `file` says which file.
    pub(super) fn error(&self, column: &str, file: &str) -> Error {
        Error::new(
            ErrorKind::TypeMismatch,
            format!(
                "column \"{column}{}\" is declared {}, {file} has {}",
                self.below,
                type_name(&self.to),
                type_name(&self.from)
            ),
        )
        .with_detail("Not every value of the file would stay what it is.")
        .with_hint(
            "Declare the type that the file has, and cast it in a view, or leave the columns out.",
        )
    }
}

/// Returns how values of a file's type become those of a table's.
///
/// # Errors
/// The part whose values might not stay what they are.
pub(super) fn way(from: &DataType, to: &DataType) -> Result<Way, Mismatch> {
    use DataType as T;
    if from == to {
        return Ok(Way::Cast);
    }
    match (from, to) {
        (T::Dictionary(_, value), to) => return way(value, to),
        (from, T::Dictionary(_, value)) => return way(from, value),
        (T::Struct(a), T::Struct(b)) => {
            return members(a, b).ok_or_else(|| Mismatch::of(from, to))?;
        }
        (T::Map(a, _), T::Map(b, _)) => return entries(a, b),
        _ => {}
    }
    if let (Some(a), Some(b)) = (item(from), item(to)) {
        let same = std::mem::discriminant(from) == std::mem::discriminant(to);
        let inside = way(a.data_type(), b.data_type()).map_err(|found| found.inside("[]"))?;
        return Ok(if same { inside } else { Way::Own });
    }
    leaf(from, to).ok_or_else(|| Mismatch::of(from, to))
}

fn leaf(from: &DataType, to: &DataType) -> Option<Way> {
    use DataType as T;
    let cast = |may: bool| may.then_some(Way::Cast);
    match (from, to) {
        (T::Null, _) => Some(Way::Cast),
        (from, to) if is_text(from) => cast(is_text(to) || is_bytes(to)),
        (T::FixedSizeBinary(_), to) => cast(is_bytes(to)),
        (from, to) if is_bytes(from) => cast(is_text(to) || is_bytes(to)),
        (from, to) if is_text(to) => (!from.is_nested() && has_text(from)).then_some(Way::Own),
        (from, to) if from.is_integer() && to.is_integer() => Some(Way::Cast),
        (T::Int8 | T::UInt8 | T::Int16 | T::UInt16, T::Float32) => Some(Way::Cast),
        (from, T::Float64) if from.is_numeric() => Some(Way::Cast),
        (T::Float16, T::Float32) => Some(Way::Cast),
        (from, to) if from.is_integer() => cast(scale(to).is_some_and(|scale| scale >= 0)),
        (from, to) if scale(from).is_some() => match (scale(from)?, scale(to)) {
            (before, Some(after)) if after >= before => Some(Way::Cast),
            (_, Some(_)) => Some(Way::Own),
            (_, None) => to.is_integer().then_some(Way::Own),
        },
        (T::Date32 | T::Date64, T::Date32 | T::Date64 | T::Timestamp(_, None)) => Some(Way::Cast),
        (T::Timestamp(a, _), T::Timestamp(b, _)) => Some(finer(*a, *b)),
        (T::Time32(a) | T::Time64(a), T::Time32(b) | T::Time64(b)) => Some(finer(*a, *b)),
        (T::Interval(_) | T::Duration(_), T::Interval(IntervalUnit::MonthDayNano)) => {
            Some(Way::Cast)
        }
        _ => None,
    }
}

/// Finer parts than microseconds are cut off wherever the engine reads times; of coarser units a value must be whole.
fn finer(from: TimeUnit, to: TimeUnit) -> Way {
    use TimeUnit::{Microsecond, Millisecond, Nanosecond, Second};
    match (from, to) {
        (_, Nanosecond | Microsecond) | (Second, _) | (Millisecond, Millisecond) => Way::Cast,
        _ => Way::Own,
    }
}

/// A struct takes the members of another by name; those that are not there are NULL. `None` if they have none in common.
fn members(from: &Fields, to: &Fields) -> Option<Result<Way, Mismatch>> {
    let names = from.iter().map(|field| field.name().as_str()).collect::<Vec<_>>();
    let found = names_in_file(&Schema::new(to.clone()), &names);
    if found.iter().all(Option::is_none) && !to.is_empty() && !from.is_empty() {
        return None;
    }
    let alike =
        from.len() == to.len() && from.iter().zip(to).all(|(from, to)| from.name() == to.name());
    let mut worst = if alike { Way::Cast } else { Way::Own };
    for (to, name) in to.iter().zip(found) {
        let Some((_, from)) = name.and_then(|name| from.find(name)) else { continue };
        match way(from.data_type(), to.data_type()) {
            Ok(way) => worst = worst.max(way),
            Err(found) => return Some(Err(found.inside(format_args!(".{}", to.name())))),
        }
    }
    Some(Ok(worst))
}

/// Keys and values go by their place: writers call them what they like.
fn entries(from: &FieldRef, to: &FieldRef) -> Result<Way, Mismatch> {
    let (DataType::Struct(a), DataType::Struct(b)) = (from.data_type(), to.data_type()) else {
        return Err(Mismatch::of(from.data_type(), to.data_type()));
    };
    let parts = a.iter().zip(b).zip(["key", "value"]);
    let ways = parts.map(|((from, to), part)| {
        way(from.data_type(), to.data_type()).map_err(|found| found.inside(format_args!(".{part}")))
    });
    Ok(ways.collect::<Result<Vec<_>, _>>()?.into_iter().max().unwrap_or(Way::Cast))
}

/// Returns the items of a list, however it is laid out.
pub(super) fn item(data_type: &DataType) -> Option<&FieldRef> {
    use DataType as T;
    match data_type {
        T::List(item)
        | T::LargeList(item)
        | T::ListView(item)
        | T::LargeListView(item)
        | T::FixedSizeList(item, _) => Some(item),
        _ => None,
    }
}

/// Returns whether rows in the order of one type are so in that of the other.
pub(super) fn keeps_order(from: &DataType, to: &DataType) -> bool {
    from == to
        || is_text(from) && is_text(to)
        || is_bytes(from) && is_bytes(to)
        || from.is_integer() && to.is_integer()
        || are_instants_alike(from, to)
}

/// Which zone a type names changes nothing but what a clock shows.
fn are_instants_alike(from: &DataType, to: &DataType) -> bool {
    match (from, to) {
        (DataType::Timestamp(a, Some(_)), DataType::Timestamp(b, Some(_))) => a == b,
        _ => false,
    }
}

/// Brings values that are not nested into a type of the table.
///
/// # Errors
/// 22003 for a number out of range, 22P02 for one that would lose digits, 42804 for a type that may not become the wanted one.
pub(super) fn values(array: &ArrayRef, to: &DataType) -> Result<ArrayRef> {
    let from = array.data_type();
    if from == to {
        return Ok(array.clone());
    }
    if let DataType::Dictionary(_, value) = from {
        return values(&cast(array, value)?, to);
    }
    if let DataType::Dictionary(_, value) = to {
        return cast(&values(array, value)?, to);
    }
    match way(from, to).map_err(|found| found.error("", "a file"))? {
        Way::Cast => cast(array, to),
        Way::Own if is_text(to) => {
            let texts: ArrayRef = Arc::new(texts(array, &Zone::parse("UTC"), false)?);
            cast(&texts, to)
        }
        Way::Own => exactly(array, to),
    }
}

/// Casts values that come back as they were.
fn exactly(array: &ArrayRef, to: &DataType) -> Result<ArrayRef> {
    let changed = cast(array, to)?;
    let safe = CastOptions { safe: true, ..CastOptions::default() };
    let back = cast_with_options(&changed, array.data_type(), &safe)?;
    let same = not_distinct(array, &back)?;
    let Some(row) = (0..same.len()).find(|row| !same.value(*row)) else { return Ok(changed) };
    let shown = texts(&array.slice(row, 1), &Zone::parse("UTC"), false)?;
    Err(Error::new(
        ErrorKind::InvalidText,
        format!("{} cannot become {} without loss", shown.value(0), type_name(to)),
    )
    .with_hint("Declare a type that holds the value, and round it in a view."))
}

/// Casts as Arrow does; what does not fit is an error.
pub(super) fn cast(array: &ArrayRef, to: &DataType) -> Result<ArrayRef> {
    let options = CastOptions { safe: false, ..CastOptions::default() };
    Ok(cast_with_options(array, to, &options)?)
}

fn is_text(data_type: &DataType) -> bool {
    data_type.is_string()
}

fn is_bytes(data_type: &DataType) -> bool {
    use DataType as T;
    matches!(data_type, T::Binary | T::LargeBinary | T::BinaryView)
}

fn scale(data_type: &DataType) -> Option<i8> {
    use DataType as T;
    match data_type {
        T::Decimal32(_, scale)
        | T::Decimal64(_, scale)
        | T::Decimal128(_, scale)
        | T::Decimal256(_, scale) => Some(*scale),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
