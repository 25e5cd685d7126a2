//! What there is to tell of a column besides its name, in its name: the way through the library that makes `pg_attribute`, which takes
//! nothing else of it.

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Field, IntervalUnit, Schema, TimeUnit};

use crate::access::{Columns, Object, Rights, acl};

/// Between the parts. Nobody has it in a name.
const BETWEEN: char = '\u{1}';
/// Between the lines of an access control list.
const LINES: char = '\u{2}';

/// Returns the columns of a table that show, with what is told of each in its name.
pub(super) fn pack(schema: &Schema, columns: &Columns, rights: &Rights, table: &Object) -> Schema {
    let shown = schema.fields().iter().filter(|field| match columns {
        Columns::All => true,
        Columns::Some(columns) => columns.contains(field.name()),
    });
    let packed = shown.map(|field| {
        let Typed { type_oid, modifier, dimensions } = Typed::of(field.data_type());
        let type_oid = type_oid.map_or_else(String::new, |oid| oid.to_string());
        let list = acl::granted(rights, table, Some(field.name())).join(&LINES.to_string());
        let parts =
            [field.name().clone(), type_oid, modifier.to_string(), dimensions.to_string(), list];
        field.as_ref().clone().with_name(parts.join(&BETWEEN.to_string()))
    });
    Schema::new(packed.collect::<Vec<Field>>())
}

/// The type of a column, as `pg_attribute` tells it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Typed {
    /// `None`: as the library finds it.
    pub(super) type_oid: Option<i32>,
    pub(super) modifier: i32,
    pub(super) dimensions: i32,
}

impl Typed {
    fn of(data_type: &DataType) -> Self {
        use DataType as D;
        let plain = |type_oid| Self { type_oid, modifier: -1, dimensions: 0 };
        match data_type {
            D::Decimal32(p, s) | D::Decimal64(p, s) | D::Decimal128(p, s) | D::Decimal256(p, s) => {
                // A scale below zero has no place in it.
                let scale = u8::try_from(*s).ok();
                let modifier = scale.map_or(-1, |s| ((i32::from(*p) << 16) | i32::from(s)) + 4);
                Self { modifier, ..plain(Some(1700)) }
            }
            D::UInt64 => plain(Some(1700)),
            D::Timestamp(unit, zone) => {
                let type_oid = if zone.is_some() { 1184 } else { 1114 };
                let modifier = match unit {
                    TimeUnit::Second => 0,
                    TimeUnit::Millisecond => 3,
                    TimeUnit::Microsecond | TimeUnit::Nanosecond => -1,
                };
                Self { modifier, ..plain(Some(type_oid)) }
            }
            D::Interval(
                IntervalUnit::YearMonth | IntervalUnit::DayTime | IntervalUnit::MonthDayNano,
            )
            | D::Duration(_) => plain(Some(1186)),
            D::Struct(_) | D::Map(_, _) => plain(Some(114)),
            D::Dictionary(_, value) => Self::of(value),
            D::List(item)
            | D::LargeList(item)
            | D::FixedSizeList(item, _)
            | D::ListView(item)
            | D::LargeListView(item) => {
                if item.data_type().is_nested() {
                    return plain(Some(114));
                }
                let Self { modifier, .. } = Self::of(item.data_type());
                Self { type_oid: array_of(item.data_type()), modifier, dimensions: 1 }
            }
            _ => plain(None),
        }
    }
}

/// The number of the type of arrays of a type.
fn array_of(item: &DataType) -> Option<i32> {
    use DataType as D;
    Some(match item {
        D::Boolean => 1000,
        D::Binary | D::LargeBinary | D::BinaryView | D::FixedSizeBinary(_) => 1001,
        D::Int8 | D::UInt8 | D::Int16 => 1005,
        D::UInt16 | D::Int32 => 1007,
        D::Utf8 | D::LargeUtf8 | D::Utf8View => 1009,
        D::UInt32 | D::Int64 => 1016,
        D::Float16 | D::Float32 => 1021,
        D::Float64 => 1022,
        D::Timestamp(_, None) => 1115,
        D::Timestamp(_, Some(_)) => 1185,
        D::Date32 | D::Date64 => 1182,
        D::Time32(_) | D::Time64(_) => 1183,
        D::Interval(_) | D::Duration(_) => 1187,
        D::UInt64 | D::Decimal32(..) | D::Decimal64(..) | D::Decimal128(..) | D::Decimal256(..) => {
            1231
        }
        _ => return None,
    })
}

/// What has travelled in the name of a column.
pub(super) struct Packed(String);

impl Packed {
    /// Reads a column of names.
    pub(super) fn of_column(batch: &RecordBatch, column: &str) -> Vec<Self> {
        let Some(names) = batch.column_by_name(column) else { return Vec::new() };
        let names = names.as_string::<i32>();
        (0..names.len()).map(|row| Self(names.value(row).to_owned())).collect()
    }

    fn part(&self, at: usize) -> Option<&str> {
        self.0.split(BETWEEN).nth(at)
    }

    pub(super) fn name(&self) -> &str {
        self.part(0).unwrap_or_default()
    }

    pub(super) fn typed(&self) -> Option<Typed> {
        Some(Typed {
            type_oid: self.part(1)?.parse().ok(),
            modifier: self.part(2)?.parse().ok()?,
            dimensions: self.part(3)?.parse().ok()?,
        })
    }

    /// The bytes of a value, where the library does not know the type.
    pub(super) fn length(&self) -> Option<i16> {
        (self.typed()?.type_oid? == 1186).then_some(16)
    }

    pub(super) fn acl(&self) -> Vec<String> {
        let list = self.part(4).unwrap_or_default();
        list.split(LINES).filter(|line| !line.is_empty()).map(str::to_owned).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn types_are_told_with_what_they_hold() {
        let told = |data_type: DataType| {
            let Typed { type_oid, modifier, dimensions } = Typed::of(&data_type);
            (type_oid, modifier, dimensions)
        };
        let list = |item| DataType::List(Arc::new(Field::new_list_field(item, true)));
        assert_eq!(told(DataType::Decimal128(12, 2)), (Some(1700), 786_438, 0));
        assert_eq!(told(DataType::Int32), (None, -1, 0));
        assert_eq!(told(list(DataType::Decimal128(5, 1))), (Some(1231), 327_685, 1));
        assert_eq!(told(list(DataType::Utf8)), (Some(1009), -1, 1));
        assert_eq!(told(DataType::Timestamp(TimeUnit::Millisecond, None)), (Some(1114), 3, 0));
    }

    #[test]
    fn what_travels_arrives() {
        let packed = Packed("a b\u{1}1700\u{1}786438\u{1}0\u{1}x=r/maru\u{2}=w/maru".to_owned());
        assert_eq!(packed.name(), "a b");
        let typed = Typed { type_oid: Some(1700), modifier: 786_438, dimensions: 0 };
        assert_eq!(packed.typed(), Some(typed));
        assert_eq!(packed.acl(), ["x=r/maru", "=w/maru"]);
        // A name that nothing has been told of.
        assert_eq!(Packed("plain".to_owned()).typed(), None);
    }
}
