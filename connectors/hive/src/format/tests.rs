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

#[test]
fn text_has_hives_own_defaults() {
    let wanted = FileFormatSpec::Csv {
        has_header: false,
        delimiter: 1,
        quote: None,
        escape: None,
        null: Some("\\N".into()),
        lenient: true,
    };
    assert_eq!(text(&[]).unwrap(), wanted);
    assert_eq!(text(&[("serialization.format", "1")]).unwrap(), wanted);
    // Two spellings are in use; neither matters while there are no collections.
    assert_eq!(text(&[("colelction.delim", ","), ("mapkey.delim", ":")]).unwrap(), wanted);
}

#[test]
fn text_follows_its_parameters() {
    let parameters = [
        ("field.delim", "|"),
        ("serialization.format", "|"),
        ("escape.delim", "\\"),
        ("serialization.null.format", "NIL"),
        ("skip.header.line.count", "1"),
        ("line.delim", "\n"),
    ];
    let wanted = FileFormatSpec::Csv {
        has_header: true,
        delimiter: b'|',
        quote: None,
        escape: Some(b'\\'),
        null: Some("NIL".into()),
        lenient: true,
    };
    assert_eq!(text(&parameters).unwrap(), wanted);
}

#[test]
fn a_delimiter_may_be_the_number_of_a_byte() {
    for (given, wanted) in [("9", 9), ("124", b'|'), ("\t", 9), ("||", b'|'), ("x1", b'x'), ("", 1)]
    {
        match text(&[("field.delim", given)]).unwrap() {
            FileFormatSpec::Csv { delimiter, .. } => assert_eq!(delimiter, wanted, "{given:?}"),
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
    let storage = table.sd.as_ref().unwrap();
    let format = of(&table, storage).unwrap();
    let declared = Schema::new(vec![arrow::datatypes::Field::new("a", DataType::Int32, true)]);
    let columns = columns(storage, &format, declared).unwrap();
    assert_eq!(columns.field(0).data_type(), &DataType::Utf8);
}

#[test]
fn refuses_by_name_what_it_cannot_read() {
    for (storage, name) in [
        (Storage::orc(), "ORC files cannot be read yet"),
        (Storage::avro(), "Avro files cannot be read yet"),
        (Storage::json(), "files of SerDe JsonSerDe cannot be read yet"),
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
        ("skip.header.line.count", "2"),
        ("skip.footer.line.count", "1"),
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
    assert_eq!(refuse_packed(&text, "t/000000_0.gz").unwrap_err().sqlstate(), "0A000");
    assert!(refuse_packed(&text, "t/000000_0").is_ok());
    assert!(refuse_packed(&FileFormatSpec::Parquet, "t/part-0.snappy").is_ok());
}
