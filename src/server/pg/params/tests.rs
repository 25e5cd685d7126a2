//! Parameters as drivers send them.

use super::*;
use arrow::datatypes::TimeUnit;

fn to(pg: Type) -> Target {
    Target { pg, arrow: None }
}

fn text(pg: Type, value: &str) -> Result<ScalarValue, WireError> {
    decode(1, &to(pg), false, Some(value.as_bytes()), &Zone::parse("UTC"))
}

fn binary(pg: Type, value: &[u8]) -> Result<ScalarValue, WireError> {
    decode(1, &to(pg), true, Some(value), &Zone::parse("UTC"))
}

#[test]
fn text_values() {
    assert_eq!(text(Type::BOOL, "t").unwrap(), ScalarValue::Boolean(Some(true)));
    assert_eq!(text(Type::INT4, " -7 ").unwrap(), ScalarValue::Int32(Some(-7)));
    assert_eq!(
        text(Type::FLOAT8, "-Infinity").unwrap(),
        ScalarValue::Float64(Some(f64::NEG_INFINITY))
    );
    assert_eq!(
        text(Type::NUMERIC, "-12.340").unwrap(),
        ScalarValue::Decimal128(Some(-12_340), 5, 3)
    );
    assert_eq!(text(Type::NUMERIC, "1e3").unwrap(), ScalarValue::Decimal128(Some(1000), 4, 0));
    assert_eq!(text(Type::NUMERIC, "0.01").unwrap(), ScalarValue::Decimal128(Some(1), 2, 2));
    assert_eq!(text(Type::BYTEA, "\\x00fF").unwrap(), ScalarValue::Binary(Some(vec![0, 255])));
    assert_eq!(
        text(Type::BYTEA, "a\\\\\\001").unwrap(),
        ScalarValue::Binary(Some(vec![b'a', b'\\', 1]))
    );
    assert_eq!(text(Type::DATE, "2026-11-23").unwrap(), ScalarValue::Date32(Some(20_780)));
    let uuid = "0f8fad5b-d9cb-469f-a165-70867728950e";
    assert_eq!(text(Type::UUID, uuid).unwrap(), ScalarValue::Utf8(Some(uuid.to_owned())));
    assert_eq!(text(Type::UUID, "x").unwrap_err().sqlstate, "22P02");
    assert_eq!(
        text(Type::TIMESTAMP, "1970-01-01 00:00:01.5").unwrap(),
        ScalarValue::TimestampMicrosecond(Some(1_500_000), None)
    );
    let utc = |micros| ScalarValue::TimestampMicrosecond(Some(micros), Some("UTC".into()));
    assert_eq!(text(Type::TIMESTAMPTZ, "1970-01-01 09:00:00+09").unwrap(), utc(0));
    let seoul = Zone::parse("Asia/Seoul");
    assert_eq!(
        decode(1, &to(Type::TIMESTAMPTZ), false, Some(b"1970-01-01 09:00:00"), &seoul).unwrap(),
        utc(0)
    );
}

#[test]
fn intervals_as_drivers_write_them() {
    let of = |months, days, nanos| {
        ScalarValue::IntervalMonthDayNano(Some(IntervalMonthDayNano::new(months, days, nanos)))
    };
    for (word, expected) in [
        ("1 day 0:00:03", of(0, 1, 3_000_000_000)),
        ("1 year 2 mons -3 days -04:05:06.5", of(14, -3, -14_706_500_000_000)),
        ("00:00:00", of(0, 0, 0)),
        ("2 hours", of(0, 0, 7_200_000_000_000)),
        ("100", of(0, 0, 100_000_000_000)),
        ("1-2", of(14, 0, 0)),
    ] {
        assert_eq!(text(Type::INTERVAL, word).unwrap(), expected, "{word}");
    }
    assert_eq!(text(Type::INTERVAL, "soon").unwrap_err().sqlstate, "22007");
    assert_eq!(text(Type::TIME, "2359").unwrap(), text(Type::TIME, "23:59:00").unwrap());
    assert_eq!(text(Type::TIME, "10").unwrap_err().sqlstate, "22007");
}

#[test]
fn binary_values() {
    assert_eq!(binary(Type::INT2, &[0xff, 0xfe]).unwrap(), ScalarValue::Int16(Some(-2)));
    assert_eq!(
        binary(Type::DATE, &0_i32.to_be_bytes()).unwrap(),
        ScalarValue::Date32(Some(10_957))
    );
    assert_eq!(
        binary(Type::TIMESTAMP, &0_i64.to_be_bytes()).unwrap(),
        ScalarValue::TimestampMicrosecond(Some(946_684_800_000_000), None)
    );
    let mut number = bytes::BytesMut::new();
    super::super::numeric::numeric_binary("-0.0100", &mut number);
    assert_eq!(binary(Type::NUMERIC, &number).unwrap(), ScalarValue::Decimal128(Some(-100), 4, 4));
    let uuid = uuid::Uuid::from_u128(0x1234);
    assert_eq!(
        binary(Type::UUID, uuid.as_bytes()).unwrap(),
        ScalarValue::Utf8(Some(uuid.to_string()))
    );
    assert_eq!(binary(Type::JSONB, b"\x01{}").unwrap(), ScalarValue::Utf8(Some("{}".to_owned())));
}

#[test]
fn wrong_values_are_told_apart() {
    let state = |result: Result<ScalarValue, WireError>| result.unwrap_err().sqlstate;
    assert_eq!(state(text(Type::INT4, "x")), "22P02");
    assert_eq!(state(text(Type::INT2, "40000")), "22003");
    assert_eq!(state(text(Type::DATE, "yesterday or so")), "22007");
    assert_eq!(state(binary(Type::INT4, &[1, 2])), "22P03");
    assert_eq!(state(binary(Type::TEXT, &[0xff])), "22021");
    for bytes in [&b"a\0b"[..], b"a\xe3(", b"\xff"] {
        assert_eq!(state(binary(Type::TEXT, bytes)), "22021");
    }
    assert_eq!(state(text(Type::INT4, "1\0")), "22021");
    let error = binary(Type::TEXT, b"a\xe3(").unwrap_err();
    assert_eq!(error.message, "invalid byte sequence for encoding \"UTF8\": 0xe3 0x28");
    assert_eq!(state(binary(Type::NUMERIC, &[0; 3])), "22P03");
    assert_eq!(state(text(Type::NUMERIC, "NaN")), "0A000");
    let error = text(Type::INT4, "x").unwrap_err();
    assert_eq!(error.message, "invalid input syntax for type integer: \"x\"");
    assert_eq!(error.detail.as_deref(), Some("It is parameter $1."));
}

#[test]
fn values_take_the_type_of_the_statement() {
    let target = Target { pg: Type::INT8, arrow: Some(DataType::Int16) };
    assert_eq!(
        decode(1, &target, false, Some(b"5"), &Zone::parse("UTC")).unwrap(),
        ScalarValue::Int16(Some(5))
    );
    assert_eq!(
        decode(1, &target, false, Some(b"70000"), &Zone::parse("UTC")).unwrap_err().sqlstate,
        "22003"
    );
    assert_eq!(
        decode(1, &target, false, None, &Zone::parse("UTC")).unwrap(),
        ScalarValue::Int16(None)
    );
    let unknown = Target { pg: Type::TEXT, arrow: None };
    assert_eq!(
        decode(1, &unknown, true, None, &Zone::parse("UTC")).unwrap(),
        ScalarValue::Utf8(None)
    );
    // A number keeps its digits, whatever scale was guessed for it.
    let guess = Target { pg: Type::NUMERIC, arrow: Some(DataType::Decimal128(12, 2)) };
    assert_eq!(
        decode(1, &guess, false, Some(b"0.005"), &Zone::parse("UTC")).unwrap(),
        ScalarValue::Decimal128(Some(5), 3, 3)
    );
    assert_eq!(
        decode(1, &guess, false, Some(b"0.5"), &Zone::parse("UTC")).unwrap(),
        ScalarValue::Decimal128(Some(50), 12, 2)
    );
}

#[test]
fn arrays_in_both_formats() {
    let items = [ScalarValue::Int64(Some(1)), ScalarValue::Int64(None)];
    let expected = ScalarValue::List(ScalarValue::new_list_nullable(&items, &DataType::Int64));
    assert_eq!(text(Type::INT8_ARRAY, "{1, NULL}").unwrap(), expected);
    let mut bytes = Vec::new();
    for word in [1, 1, 20, 2, 1, 8] {
        bytes.extend(i32::to_be_bytes(word));
    }
    bytes.extend(1_i64.to_be_bytes());
    bytes.extend((-1_i32).to_be_bytes());
    assert_eq!(binary(Type::INT8_ARRAY, &bytes).unwrap(), expected);
    bytes.pop();
    assert_eq!(binary(Type::INT8_ARRAY, &bytes).unwrap_err().sqlstate, "22P03");

    let words = ["a b", "null", "q\"\\"].map(|word| ScalarValue::Utf8(Some(word.to_owned())));
    assert_eq!(
        text(Type::TEXT_ARRAY, r#"{a b,"null","q\"\\"}"#).unwrap(),
        ScalarValue::List(ScalarValue::new_list_nullable(&words, &DataType::Utf8))
    );
    assert_eq!(text(Type::INT4_ARRAY, "{{1}}").unwrap_err().sqlstate, "0A000");
    assert_eq!(text(Type::INT4_ARRAY, "1").unwrap_err().sqlstate, "22P02");
    assert_eq!(
        text(Type::TIMESTAMP_ARRAY, "{}").unwrap().data_type(),
        DataType::List(Arc::new(arrow::datatypes::Field::new(
            "item",
            DataType::Timestamp(TimeUnit::Microsecond, None),
            true
        )))
    );
}
