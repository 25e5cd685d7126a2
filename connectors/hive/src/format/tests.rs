//! Pins what each SerDe comes to.

use super::*;
use crate::testkit::{Storage, TableDef};

fn table(storage: Storage) -> Table {
    TableDef::new("db", "t", "file:///t", storage).column("a", "int").into_table()
}

fn read(storage: Storage) -> Result<FileFormatSpec> {
    let table = table(storage);
    of(&table, table.sd.as_ref().unwrap())
}

fn text(parameters: &[(&str, &str)]) -> Result<FileFormatSpec> {
    read(Storage::text(parameters))
}

fn lazy(first: [u8; 3], escape: Option<u8>, null: &str) -> FileFormatSpec {
    let separators = first.into_iter().chain(4..=8).collect();
    FileFormatSpec::LazyText(LazyText {
        separators,
        n_columns: None,
        escape,
        null: null.to_owned(),
    })
}

#[test]
fn text_has_hives_own_defaults() {
    let wanted = lazy([1, 2, 3], None, "\\N");
    assert_eq!(text(&[]).unwrap(), wanted);
    assert_eq!(text(&[("serialization.format", "1")]).unwrap(), wanted);
}

#[test]
fn text_follows_its_parameters() {
    let parameters = [
        ("field.delim", "|"),
        ("serialization.format", "|"),
        ("colelction.delim", ","),
        ("mapkey.delim", ":"),
        ("escape.delim", "\\"),
        ("serialization.null.format", "NIL"),
        ("line.delim", "\n"),
    ];
    let wanted = lazy([b'|', b',', b':'], Some(b'\\'), "NIL");
    assert_eq!(text(&parameters).unwrap(), wanted);
    assert_eq!(
        text(&[("collection.delim", ";"), ("colelction.delim", ",")]).unwrap(),
        lazy([1, b';', 3], None, "\\N")
    );
    let trimmed =
        text(&[("skip.header.line.count", "2"), ("skip.footer.line.count", " 1 ")]).unwrap();
    let rows = Box::new(text(&[]).unwrap());
    assert_eq!(trimmed, FileFormatSpec::Trimmed { header: 2, footer: 1, rows });
}

#[test]
fn a_delimiter_may_be_the_number_of_a_byte() {
    for (given, wanted) in [("9", 9), ("124", b'|'), ("\t", 9), ("||", b'|'), ("x1", b'x'), ("", 1)]
    {
        match text(&[("field.delim", given)]).unwrap() {
            FileFormatSpec::LazyText(layout) => {
                assert_eq!(layout.separators[0], wanted, "{given:?}");
            }
            other => panic!("{other:?}"),
        }
    }
    for given in ["-2", "é", "힣"] {
        assert_eq!(text(&[("field.delim", given)]).unwrap_err().sqlstate(), "0A000", "{given}");
    }
}

#[test]
fn csv_has_its_own_marks() {
    let csv = |separator: &str, quote: &str, escape: &str| {
        read(Storage::open_csv(&[
            ("separatorChar", separator),
            ("quoteChar", quote),
            ("escapeChar", escape),
        ]))
    };
    let wanted = |delimiter: u8, quote: u8, escape: u8| FileFormatSpec::Csv {
        has_header: false,
        delimiter,
        quote: Some(quote),
        escape: Some(escape),
        null: None,
        lenient: true,
    };
    assert_eq!(read(Storage::open_csv(&[])).unwrap(), wanted(b',', b'"', b'\\'));
    assert_eq!(csv(";", "'", "^").unwrap(), wanted(b';', b'\'', b'^'));
    assert_eq!(csv("ab", "'", "^").unwrap_err().sqlstate(), "0A000");
}

#[test]
fn csv_columns_are_strings() {
    let table = table(Storage::open_csv(&[]));
    let format = of(&table, table.sd.as_ref().unwrap()).unwrap();
    let declared = Schema::new(vec![arrow::datatypes::Field::new("a", DataType::Int32, true)]);
    let columns = columns(&format, declared).unwrap();
    assert_eq!(columns.field(0).data_type(), &DataType::Utf8);
}

#[test]
fn refuses_by_name_what_it_cannot_read() {
    for (storage, name) in [
        (
            Storage::class(
                "org.apache.hadoop.mapred.SequenceFileInputFormat",
                LAZY_SIMPLE_SERDES[0],
            ),
            "SequenceFile files cannot be read yet",
        ),
        // A text SerDe over Parquet files, and the other way round.
        (Storage::class(PARQUET_INPUTS[0], LAZY_SIMPLE_SERDES[0]), "SerDe LazySimpleSerDe"),
        (Storage::class("", ""), "files of SerDe (none)"),
    ] {
        let error = read(storage).unwrap_err();
        assert_eq!(error.sqlstate(), "0A000");
        assert!(error.primary().contains(name), "{error:?}");
    }
}

#[test]
fn refuses_parameters_it_does_not_follow() {
    for (name, value) in [
        ("line.delim", "\r"),
        ("skip.header.line.count", "-1"),
        ("skip.footer.line.count", "one"),
        ("serialization.encoding", "EUC-KR"),
        ("timestamp.formats", "yyyyMMdd"),
        ("textinputformat.record.delimiter", "\u{1}"),
        ("serialization.last.column.takes.rest", "TRUE"),
    ] {
        let error = text(&[(name, value)]).unwrap_err();
        assert_eq!(error.sqlstate(), "0A000");
        assert!(error.primary().contains(name), "{error:?}");
    }
    assert!(read(Storage::parquet(&[("parquet.column.index.access", "true")])).is_err());
    assert_eq!(read(Storage::parquet(&[])).unwrap(), FileFormatSpec::Parquet);
}

#[test]
fn refuses_packed_text_but_not_parquet() {
    let text = text(&[]).unwrap();
    assert_eq!(refuse_packed(&text, "t/000000_0.snappy").unwrap_err().sqlstate(), "0A000");
    assert!(refuse_packed(&text, "t/000000_0.gz").is_ok());
    assert!(refuse_packed(&text, "t/000000_0").is_ok());
    assert!(refuse_packed(&FileFormatSpec::Parquet, "t/part-0.snappy").is_ok());
}

#[test]
fn reads_avro_whose_files_say_everything() {
    let avro = |literal: &str| {
        let mut table = table(Storage::avro());
        let serde = table.sd.as_mut().unwrap().serde_info.as_mut().unwrap();
        let parameters = serde.parameters.as_mut().unwrap();
        parameters.insert("avro.schema.literal".into(), literal.to_owned().into());
        of(&table, table.sd.as_ref().unwrap())
    };
    assert_eq!(read(Storage::avro()).unwrap(), FileFormatSpec::HiveAvro);
    let field = |more: &str| {
        format!(r#"{{"type":"record","name":"r","fields":[{{"name":"a","type":"int"{more}}}]}}"#)
    };
    assert_eq!(avro(&field("")).unwrap(), FileFormatSpec::HiveAvro);
    assert_eq!(avro(&field(r#","default":null"#)).unwrap(), FileFormatSpec::HiveAvro);
    for more in [r#","default":7"#, r#","aliases":["b"]"#] {
        let error = avro(&field(more)).unwrap_err();
        assert!(error.primary().contains("field \"a\""), "{error:?}");
    }
}

#[test]
fn reads_json_and_patterns() {
    assert_eq!(read(Storage::json()).unwrap(), FileFormatSpec::HiveJson { raw_fractions: true });
    let regex = |pattern: &str| {
        read(Storage::class(TEXT_INPUT, REGEX_SERDES[0]).with(&[("input.regex", pattern)]))
    };
    let wanted = FileFormatSpec::Pattern { pattern: "(a)".into(), ignore_case: false };
    assert_eq!(regex("(a)").unwrap(), wanted);
    assert_eq!(regex(r"(a)\1").unwrap_err().sqlstate(), "0A000");
    let zoned = Schema::new(vec![arrow::datatypes::Field::new("b", DataType::Binary, true)]);
    assert!(columns(&wanted, zoned.clone()).unwrap_err().primary().contains("column \"b\""));
    assert!(columns(&text(&[]).unwrap(), zoned).is_ok());
}
