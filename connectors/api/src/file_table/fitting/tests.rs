//! Which types of files may become which types of columns, and what the values are then.

use std::sync::Arc;

use arrow::array::*;
use arrow::datatypes::{Field, Fields};

use super::*;

fn list(item: DataType) -> DataType {
    DataType::List(Arc::new(Field::new_list_field(item, true)))
}

fn row(members: &[(&str, DataType)]) -> DataType {
    let fields = members.iter().map(|(name, t)| Field::new(*name, t.clone(), true));
    DataType::Struct(fields.collect::<Fields>())
}

#[test]
fn only_types_that_lose_nothing_are_taken() {
    use DataType::*;
    let time = |unit| Timestamp(unit, None);
    let micros = time(TimeUnit::Microsecond);
    let table = [
        (Int32, Int64, Some(Way::Cast)),
        (Int64, Int32, Some(Way::Cast)),
        (Int64, Decimal128(38, 9), Some(Way::Cast)),
        (Int64, Float64, Some(Way::Cast)),
        (Int64, Float32, None),
        (Int16, Float32, Some(Way::Cast)),
        (Float32, Float64, Some(Way::Cast)),
        (Float64, Float32, None),
        (Float64, Int32, None),
        (Float64, Decimal128(10, 2), None),
        (Decimal128(5, 2), Decimal128(10, 4), Some(Way::Cast)),
        (Decimal128(5, 2), Decimal128(5, 1), Some(Way::Own)),
        (Decimal128(10, 0), Int64, Some(Way::Own)),
        (Date32, micros.clone(), Some(Way::Cast)),
        (micros.clone(), Date32, None),
        (micros.clone(), Int64, None),
        (Date32, Int64, None),
        (Int64, micros.clone(), None),
        (micros.clone(), Decimal128(38, 9), None),
        (time(TimeUnit::Nanosecond), micros.clone(), Some(Way::Cast)),
        (micros.clone(), time(TimeUnit::Second), Some(Way::Own)),
        (Boolean, Int32, None),
        (Int32, Boolean, None),
        (Utf8, Int32, None),
        (Utf8, Date32, None),
        (Utf8, Binary, Some(Way::Cast)),
        (Binary, Utf8View, Some(Way::Cast)),
        (FixedSizeBinary(16), Utf8, None),
        (Int32, list(Int32), None),
        (Utf8, Dictionary(Box::new(Int32), Box::new(Utf8)), Some(Way::Cast)),
        (Dictionary(Box::new(Int32), Box::new(Utf8)), Utf8View, Some(Way::Cast)),
        (list(Int32), Utf8, None),
        (row(&[("a", Int32)]), Utf8, None),
        (list(Int32), list(Int64), Some(Way::Cast)),
        (list(Float64), list(Int64), None),
        (row(&[("a", Int32)]), row(&[("A", Int64), ("b", Utf8)]), Some(Way::Own)),
        (row(&[("a", Int32)]), row(&[("b", Utf8)]), None),
    ];
    for (from, to, wanted) in table {
        assert_eq!(way(&from, &to).ok(), wanted, "{from} {to}");
    }
    for from in [Boolean, Int64, Float32, Decimal128(5, 2), Date32, micros] {
        assert_eq!(way(&from, &Utf8View), Ok(Way::Own), "{from}");
    }
}

#[test]
fn a_refusal_names_the_part() {
    let from = list(row(&[("a", DataType::Float64)]));
    let to = list(row(&[("a", DataType::Int32)]));
    let error = way(&from, &to).unwrap_err().error("c", "the file");
    assert_eq!(error.sqlstate(), "42804");
    assert!(error.message().contains("\"c[].a\" is declared integer, the file has double"));
}

#[test]
fn text_is_what_a_cast_in_sql_gives() {
    let table: [(ArrayRef, &str); 6] = [
        (Arc::new(BooleanArray::from(vec![true])), "true"),
        (Arc::new(Float64Array::from(vec![1.0])), "1"),
        (Arc::new(Float32Array::from(vec![1e20])), "1e+20"),
        (Arc::new(Date32Array::from(vec![18_262])), "2020-01-01"),
        (
            Arc::new(TimestampMicrosecondArray::from(vec![1_577_854_800_120_000])),
            "2020-01-01 05:00:00.12",
        ),
        (
            Arc::new(
                TimestampMicrosecondArray::from(vec![1_577_854_800_000_000]).with_timezone("UTC"),
            ),
            "2020-01-01 05:00:00+00",
        ),
    ];
    for (array, wanted) in table {
        let text = values(&array, &DataType::Utf8).unwrap();
        assert_eq!(text.as_string::<i32>().value(0), wanted);
    }
}

#[test]
fn a_value_that_would_lose_digits_is_an_error() {
    let decimals = |values: Vec<Option<i128>>| -> ArrayRef {
        Arc::new(Decimal128Array::from(values).with_precision_and_scale(5, 2).unwrap())
    };
    let whole = values(&decimals(vec![Some(120), None]), &DataType::Decimal128(5, 1)).unwrap();
    assert_eq!(whole.as_primitive::<arrow::datatypes::Decimal128Type>().value(0), 12);
    let error = values(&decimals(vec![Some(125)]), &DataType::Decimal128(5, 1)).unwrap_err();
    assert_eq!(
        (error.sqlstate(), error.primary()),
        ("22P02", "1.25 cannot become numeric(5,1) without loss")
    );
    let error = values(&decimals(vec![Some(150)]), &DataType::Int32).unwrap_err();
    assert_eq!(error.sqlstate(), "22P02");
    let three = values(&decimals(vec![Some(300)]), &DataType::Int32).unwrap();
    assert_eq!(three.as_primitive::<arrow::datatypes::Int32Type>().value(0), 3);
    let long: ArrayRef = Arc::new(Int64Array::from(vec![3_000_000_000]));
    assert_eq!(values(&long, &DataType::Int32).unwrap_err().sqlstate(), "22003");
}
