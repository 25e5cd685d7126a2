//! Rows out of bytes, whatever pieces the bytes come in.

use arrow::array::{Array, AsArray};
use arrow::datatypes::{DataType, Field, Schema};
use arrow::util::display::{ArrayFormatter, FormatOptions};

use super::*;

fn csv() -> FileFormatSpec {
    FileFormatSpec::Csv {
        has_header: false,
        delimiter: b',',
        quote: Some(b'"'),
        escape: None,
        null: Some(String::new()),
        lenient: false,
    }
}

fn hive() -> FileFormatSpec {
    FileFormatSpec::Csv {
        has_header: false,
        delimiter: 1,
        quote: None,
        escape: Some(b'\\'),
        null: Some("\\N".to_owned()),
        lenient: true,
    }
}

fn schema(columns: &[(&str, DataType)]) -> SchemaRef {
    let fields = columns.iter().map(|(name, t)| Field::new(*name, t.clone(), true));
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

/// Decodes `text` in pieces of `piece` bytes; rows as `a|b`, NULL as `∅`.
fn decode(
    format: &FileFormatSpec,
    schema: &SchemaRef,
    text: &[u8],
    piece: usize,
) -> Result<Vec<String>> {
    let all = (0..schema.fields().len()).collect::<Vec<_>>();
    let path = Path::from("f");
    let schema = Arc::clone(schema);
    let mut decoder: Box<dyn Decoder> = match Dialect::of(format) {
        Some(dialect) => Box::new(CsvDecoder::new(dialect, schema, &all, 3, path)?),
        None => Box::new(JsonDecoder::new(&schema, &all, 3, path)?),
    };
    let mut batches = Vec::new();
    for piece in text.chunks(piece) {
        batches.extend(decoder.push(piece, false)?);
    }
    batches.extend(decoder.push(&[], true)?);
    let options = FormatOptions::default().with_null("∅");
    let mut rows = Vec::new();
    for batch in batches {
        assert!(batch.num_rows() <= 3);
        let columns = batch
            .columns()
            .iter()
            .map(|column| ArrayFormatter::try_new(column, &options).unwrap())
            .collect::<Vec<_>>();
        for row in 0..batch.num_rows() {
            let cells = columns.iter().map(|column| column.value(row).to_string());
            rows.push(cells.collect::<Vec<_>>().join("|"));
        }
    }
    Ok(rows)
}

/// Decodes in pieces of every size, which must make no difference.
fn decode_all(format: &FileFormatSpec, schema: &SchemaRef, text: &str) -> Result<Vec<String>> {
    let whole = decode(format, schema, text.as_bytes(), text.len().max(1));
    for piece in 1..text.len() {
        let other = decode(format, schema, text.as_bytes(), piece);
        assert_eq!(
            whole.as_ref().map_err(Error::report),
            other.as_ref().map_err(Error::report),
            "pieces of {piece} bytes"
        );
    }
    whole
}

#[test]
fn csv_as_rfc_4180_has_it() {
    let schema = schema(&[("a", DataType::Utf8), ("b", DataType::Utf8)]);
    let text = "1,x\r\n\"a,\"\"q\"\"\r\nb\",\"\"\n\n,plain \"quote\"\n한글,\"끝\"z";
    assert_eq!(
        decode_all(&csv(), &schema, text).unwrap(),
        ["1|x", "a,\"q\"\r\nb|", "∅|plain \"quote\"", "한글|끝z"]
    );
    assert_eq!(decode_all(&csv(), &schema, "").unwrap(), Vec::<String>::new());
    assert_eq!(decode_all(&csv(), &schema, "a,").unwrap(), ["a|∅"]);
}

#[test]
fn a_blank_line_is_a_row_where_there_is_one_field() {
    let text = schema(&[("a", DataType::Utf8)]);
    assert_eq!(decode_all(&csv(), &text, "a\n\n\"\"\nb\n").unwrap(), ["a", "∅", "", "b"]);
    assert_eq!(decode_all(&csv(), &text, "\na\r\n\r\n").unwrap(), ["∅", "a", "∅"]);
    assert_eq!(decode_all(&csv(), &text, "a\n").unwrap(), ["a"]);
    let number = schema(&[("a", DataType::Int64)]);
    assert_eq!(decode_all(&csv(), &number, "1\n\n2").unwrap(), ["1", "∅", "2"]);
    let FileFormatSpec::Csv { delimiter, quote, escape, lenient, .. } = csv() else {
        unreachable!()
    };
    let null = Some("nil".to_owned());
    let headed = FileFormatSpec::Csv { has_header: true, delimiter, quote, escape, null, lenient };
    assert_eq!(decode_all(&headed, &text, "\na\nnil\n\nb\n").unwrap(), ["∅", "", "b"]);
    let both = schema(&[("a", DataType::Utf8), ("b", DataType::Utf8)]);
    assert_eq!(decode_all(&csv(), &both, "a,b\n\nc,d\n").unwrap(), ["a|b", "c|d"]);
}

#[test]
fn a_field_is_what_its_type_makes_of_it() {
    let list = DataType::new_list(DataType::Utf8, true);
    let numbers = DataType::new_list(DataType::Int32, true);
    let moment = DataType::Timestamp(arrow::datatypes::TimeUnit::Microsecond, None);
    let table = [
        (DataType::Binary, "\\x00ff", "00ff"),
        (DataType::Binary, "a\\001b", "610162"),
        (list.clone(), "\"{a,NULL,\"\"b c\"\"}\"", "[a, ∅, b c]"),
        (list.clone(), "\"[\"\"a\"\",null]\"", "[a, ∅]"),
        (list.clone(), "{}", "[]"),
        (numbers.clone(), "\"[1:2]={1,2}\"", "[1, 2]"),
        (moment.clone(), "2024-03-10 02:30:00+09", "2024-03-10T02:30:00"),
        (moment.clone(), "2024-03-10T02:30:00Z", "2024-03-10T02:30:00"),
        (moment, "2024-03-10 02:30:00.5 Asia/Seoul", "2024-03-10T02:30:00.500"),
        (DataType::Float64, "Infinity", "inf"),
        (DataType::Float64, "15e-1", "1.5"),
    ];
    for (data_type, text, wanted) in table {
        let schema = schema(&[("a", data_type)]);
        assert_eq!(decode_all(&csv(), &schema, text).unwrap(), [wanted], "{text}");
    }
    for (data_type, text, sqlstate) in [
        (DataType::Float64, "1\n1e400\n", "22003"),
        (DataType::Float32, "1\n-1e39\n", "22003"),
        (DataType::Binary, "a\n\\x0\n", "22P04"),
        (list, "{a}\n{{b}}\n", "22P04"),
        (numbers, "{1}\n{x}\n", "22P04"),
    ] {
        let error = decode_all(&csv(), &schema(&[("a", data_type)]), text).unwrap_err();
        assert_eq!(error.sqlstate(), sqlstate, "{text}: {error}");
        assert!(error.message().starts_with("file \"f\" line 2: column \"a\": "), "{error}");
    }
}

#[test]
fn csv_errors_tell_the_line() {
    let schema = schema(&[("a", DataType::Int64), ("b", DataType::Utf8)]);
    let table = [
        ("1,x\n2,\"y\n\ny\"\n3\n", "file \"f\" line 5: 1 field where 2 are expected"),
        ("1,x\n\n2,y,z\n", "file \"f\" line 3: 3 fields where 2 are expected"),
        ("1,x\n2,\"y\n3,z\n", "file \"f\" line 2: the quoted field that begins here has no end"),
    ];
    for (text, wanted) in table {
        let error = decode_all(&csv(), &schema, text).unwrap_err();
        assert_eq!((error.sqlstate(), error.message().as_str()), ("22P04", wanted));
    }
    let error = decode_all(&csv(), &schema, "1,\"x\ny\"\n4,q\nzwei,z\n").unwrap_err();
    assert!(error.message().starts_with("file \"f\" line 4: column \"a\": "), "{error}");
    let error = decode(&csv(), &schema, b"1,ok\n2,\xff\xfe\n", 100).unwrap_err();
    assert_eq!(error.message(), "file \"f\" line 2: column \"b\" is not valid UTF-8");
}

#[test]
fn hive_text_as_hive_has_it() {
    let schema = schema(&[("a", DataType::Utf8), ("n", DataType::Int32), ("c", DataType::Utf8)]);
    let text = "x\u{1}1\u{1}y\n\\N\u{1}\\N\u{1}\\\\N\nshort\nlong\u{1}2\u{1}z\u{1}more\u{1}still\n\na\\\u{1}b\u{1}no number\u{1}l\\nf \"q\"\n";
    assert_eq!(
        decode_all(&hive(), &schema, text).unwrap(),
        ["x|1|y", "∅|∅|\\N", "short|∅|∅", "long|2|z", "|∅|∅", "a\u{1}b|∅|l\nf \"q\""]
    );
}

#[test]
fn hive_knows_columns_by_place_even_under_a_header() {
    let FileFormatSpec::Csv { delimiter, quote, escape, null, lenient, .. } = hive() else {
        unreachable!()
    };
    let format = FileFormatSpec::Csv { has_header: true, delimiter, quote, escape, null, lenient };
    let schema = schema(&[("a", DataType::Utf8), ("b", DataType::Utf8)]);
    assert_eq!(decode_all(&format, &schema, "b\u{1}a\n1\u{1}2\n").unwrap(), ["1|2"]);
}

#[test]
fn no_column_still_counts_rows() {
    let schema = schema(&[("a", DataType::Utf8), ("b", DataType::Utf8)]);
    let dialect = Dialect::of(&csv()).unwrap();
    let mut decoder = CsvDecoder::new(dialect, schema, &[], 100, Path::from("f")).unwrap();
    let batches = decoder.push(b"1,2\n3,4\n", true).unwrap();
    assert_eq!(batches.iter().map(RecordBatch::num_rows).sum::<usize>(), 2);
}

#[test]
fn json_lines_in_any_pieces() {
    let schema = schema(&[("a", DataType::Int64), ("b", DataType::Utf8)]);
    let text = "{\"a\": 1, \"b\": \"x\\ny\"}\n\n{\"b\": null, \"c\": [1]}\r\n{\"a\": 3}\n{\"a\": 4}\n{\"a\": 5}";
    let rows = decode_all(&FileFormatSpec::Json, &schema, text).unwrap();
    assert_eq!(rows, ["1|x\ny", "∅|∅", "3|∅", "4|∅", "5|∅"]);
    for (text, line, state) in [
        ("{\"a\": 1}\n{\"a\": \"x\"}\n{\"a\": 2}\n", 2, "22P02"),
        ("{\"a\": 1}\n{\"a\": 2}\n\n{\"a\":\n3}\n", 4, "22P04"),
        ("{\"a\": 1}\nnonsense\n", 2, "22P04"),
        ("{\"a\": 1}\n{\"a\": 1", 2, "22P04"),
    ] {
        let error = decode_all(&FileFormatSpec::Json, &schema, text).unwrap_err();
        assert_eq!(error.sqlstate(), state);
        let wanted = format!("file \"f\" line {line}: ");
        assert!(error.message().starts_with(&wanted), "{text}: {error}");
    }
}

#[test]
fn json_nested_values_keep_their_types() {
    let tags = DataType::List(Arc::new(Field::new_list_field(DataType::Utf8, true)));
    let schema = schema(&[("tags", tags)]);
    let dialect = Dialect::of(&FileFormatSpec::Json);
    assert!(dialect.is_none());
    let mut decoder = JsonDecoder::new(&schema, &[0], 100, Path::from("f")).unwrap();
    let batches = decoder.push(b"{\"tags\": [\"p\", null]}\n{}\n", true).unwrap();
    let list = batches[0].column(0).as_list::<i32>();
    assert_eq!(list.value(0).as_string::<i32>().value(0), "p");
    assert!(list.value(0).is_null(1) && list.is_null(1));
}

/// What one value of JSON becomes in a column: the row, or the SQLSTATE.
fn json_value(data_type: DataType, value: &str) -> String {
    let schema = schema(&[("v", data_type)]);
    let text = format!("{{\"v\": {value}}}\n");
    match decode(&FileFormatSpec::Json, &schema, text.as_bytes(), text.len()) {
        Ok(rows) => rows.join(";"),
        Err(error) => {
            assert!(error.message().starts_with("file \"f\" line 1: "), "{error}");
            error.sqlstate().to_owned()
        }
    }
}

#[test]
fn json_values_are_exactly_what_is_written_or_refused() {
    let numeric = DataType::Decimal128(5, 2);
    let instant = DataType::Timestamp(arrow::datatypes::TimeUnit::Microsecond, None);
    let table = [
        (DataType::Int64, "15197.5", "22P02"),
        (DataType::Int64, "15197.0", "15197"),
        (DataType::Int64, "1e3", "1000"),
        (DataType::Int64, "\" 7 \"", "7"),
        (DataType::Int64, "\"7.5\"", "22P02"),
        (DataType::Int64, "9223372036854775808", "22003"),
        (DataType::Int64, "true", "22P02"),
        (DataType::Int64, "[1]", "22P02"),
        (DataType::Int64, "null", "∅"),
        (DataType::Int16, "32768", "22003"),
        (DataType::Int16, "-32768", "-32768"),
        (DataType::UInt8, "-1", "22003"),
        (numeric.clone(), "1.50", "1.50"),
        (numeric.clone(), "1.505", "22P02"),
        (numeric.clone(), "\"12.3\"", "12.30"),
        (numeric, "1000", "22003"),
        (DataType::Float64, "0.1", "0.1"),
        (DataType::Float64, "1e999", "22003"),
        (DataType::Float64, "\"NaN\"", "NaN"),
        (DataType::Float64, "NaN", "22P04"),
        (DataType::Float64, "\"nano\"", "22P02"),
        (DataType::Float64, "9007199254740993", "9007199254740992.0"),
        (DataType::Float32, "1e39", "22003"),
        (DataType::Boolean, "true", "true"),
        (DataType::Boolean, "\"off\"", "false"),
        (DataType::Boolean, "1", "22P02"),
        (DataType::Utf8, "15197.50", "15197.50"),
        (DataType::Utf8, "false", "false"),
        (DataType::Utf8View, "{\"a\": [1, 2.0]}", "{\"a\": [1, 2.0]}"),
        (DataType::Utf8, "\"\\u00e9\"", "é"),
        (DataType::Date32, "\"2026-02-28\"", "2026-02-28"),
        (DataType::Date32, "\"2026-02-29\"", "22008"),
        (DataType::Date32, "20000", "22P02"),
        (instant.clone(), "\"2026-02-28T01:02:03.5\"", "2026-02-28T01:02:03.500"),
        (instant.clone(), "\"2026-02-28T01:02:03+09:00\"", "2026-02-28T01:02:03"),
        (instant, "1700000000", "22P02"),
        (DataType::Binary, "\"\\\\x00ff\"", "00ff"),
        (DataType::Binary, "\"abc\"", "22P02"),
    ];
    for (data_type, value, wanted) in table {
        assert_eq!(json_value(data_type.clone(), value), wanted, "{data_type} {value}");
    }
}

#[test]
fn json_keys_twice_deep_and_unknown() {
    let schema = schema(&[("a", DataType::Int64)]);
    let rows = decode_all(
        &FileFormatSpec::Json,
        &schema,
        "{\"a\": 1, \"x\": [{}], \"a\": 2}\n{\"b\": {\"a\": 9}}\n",
    );
    assert_eq!(rows.unwrap(), ["2", "∅"]);
    for bad in ["[1,]", "{\"b\": 1,}", "[1 2]", &"[".repeat(5000), "01", "\"\u{1}\""] {
        let text = format!("{{\"a\": 1}}\n{{\"x\": {bad}}}\n");
        let error = decode(&FileFormatSpec::Json, &schema, text.as_bytes(), 7).unwrap_err();
        assert_eq!(error.sqlstate(), "22P04", "{bad:.20}");
        assert!(error.message().starts_with("file \"f\" line 2: "), "{error}");
    }
}

#[test]
fn json_tells_the_line_and_the_column() {
    let schema = schema(&[("n", DataType::Int64), ("d", DataType::Date32)]);
    let error =
        |text: &str| decode_all(&FileFormatSpec::Json, &schema, text).unwrap_err().message();
    assert_eq!(
        error("{\"n\": 1}\n{\"n\": 1.5}\n"),
        "file \"f\" line 2: column \"n\": 1.5 is no whole number (type bigint)"
    );
    assert_eq!(
        error("{}\n\n{\"d\": \"2026-13-01\"}\n{}\n"),
        "file \"f\" line 3: column \"d\": date/time field value out of range: \"2026-13-01\""
    );
}
