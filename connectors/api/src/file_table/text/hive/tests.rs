//! Hive's text, cut at every byte.

use arrow::datatypes::{DataType, Field, Fields, Schema};
use arrow::util::pretty::pretty_format_batches;

use super::*;
use crate::LazyText;
use crate::file_table::text::trimmed::Trimmed;

fn read(format: &FileFormatSpec, fields: Vec<Field>, text: &str) -> Result<Vec<String>> {
    let schema = Arc::new(Schema::new(fields));
    let wanted = (0..schema.fields().len()).collect::<Vec<_>>();
    let mut known = None;
    for piece in [1, 3, text.len().max(1)] {
        let (n_header, n_footer, inner) = match format {
            FileFormatSpec::Trimmed { header, footer, rows } => (*header, *footer, rows.as_ref()),
            other => (0, 0, other),
        };
        let decoder = HiveDecoder::of(inner, &schema, &wanted, 2, &Path::from("f"))?.unwrap();
        let mut decoder = Trimmed::new(Box::new(decoder), n_header, n_footer, &Path::from("f"));
        let mut batches = Vec::new();
        for bytes in text.as_bytes().chunks(piece) {
            batches.extend(decoder.push(bytes, false)?);
        }
        batches.extend(decoder.push(&[], true)?);
        let shown = pretty_format_batches(&batches)?.to_string();
        let rows = shown.lines().skip(3).filter(|line| line.starts_with('|'));
        let rows = rows.map(|line| {
            let cells = line.trim_matches('|').split('|').map(str::trim).collect::<Vec<_>>();
            cells.join("|")
        });
        let rows = rows.collect::<Vec<_>>();
        assert_eq!(known.get_or_insert_with(|| rows.clone()), &rows, "in pieces of {piece}");
    }
    Ok(known.unwrap_or_default())
}

fn lazy(separators: &[u8], escape: Option<u8>) -> FileFormatSpec {
    FileFormatSpec::LazyText(LazyText {
        separators: separators.to_vec(),
        n_columns: None,
        escape,
        null: "\\N".to_owned(),
    })
}

fn text(name: &str) -> Field {
    Field::new(name, DataType::Utf8, true)
}

fn list(name: &str, item: DataType) -> Field {
    Field::new(name, DataType::List(Arc::new(Field::new_list_field(item, true))), true)
}

#[test]
fn reads_lines_however_they_end() {
    let fields = || vec![text("a"), Field::new("b", DataType::Int32, true)];
    let rows = read(&lazy(b",", None), fields(), "x,1\r\ny,2\rz\n\n\\N,x,9\nlast,3").unwrap();
    assert_eq!(rows, ["x|1", "y|2", "z|", "|", "|", "last|3"]);
    assert!(read(&lazy(b",", None), fields(), "").unwrap().is_empty());
}

#[test]
fn takes_escapes_out_of_texts_only_where_they_stand() {
    let fields = vec![text("a"), list("b", DataType::Utf8), text("c")];
    // The line feed of the last column shows as a row of its own.
    let line = "a\\,b\\\\,x\\;y;\\N;;z,\\n\\q\\";
    let rows = read(&lazy(b",;", Some(b'\\')), fields, line).unwrap();
    assert_eq!(rows, ["a,b\\|[x;y, , , z]|", "||q\\"]);
}

#[test]
fn reads_nested_values_level_by_level() {
    let entry = Fields::from(vec![
        Field::new("key", DataType::Utf8, false),
        Field::new("value", DataType::Int32, true),
    ]);
    let entries = Arc::new(Field::new("entries", DataType::Struct(entry), false));
    let inner = DataType::Struct(Fields::from(vec![text("p"), list("q", DataType::Int32)]));
    let fields = vec![
        Field::new("m", DataType::Map(entries, false), true),
        Field::new("s", inner.clone(), true),
        list("l", inner),
    ];
    let rows =
        read(&lazy(b",;:#%", None), fields, "a:1;b:x;a:3;c,p;1:2,x:1#2;\\N;y\n\\N,,\n").unwrap();
    assert_eq!(rows[0], "{a: 1, b: , c: }|{p: p, q: [1, 2]}|[{p: x, q: [1, 2]}, , {p: y, q: }]");
    assert_eq!(rows[1], "|{p: , q: }|[]");
}

#[test]
fn drops_lines_at_both_ends() {
    let trimmed = |header, footer| FileFormatSpec::Trimmed {
        header,
        footer,
        rows: Box::new(lazy(b",", None)),
    };
    let read = |header, footer, lines: &str| {
        read(&trimmed(header, footer), vec![text("a")], lines).unwrap().join(" ")
    };
    assert_eq!(read(2, 1, "h1\nh2\na\nb\nend\n"), "a b");
    assert_eq!(read(0, 2, "a\nb\nend\nend"), "a b");
    assert_eq!(read(3, 0, "h1\nh2"), "");
    assert_eq!(read(1, 5, "h\na\nb\n"), "");
}

#[test]
fn says_the_line_of_what_it_cannot_read() {
    let format = FileFormatSpec::Trimmed {
        header: 2,
        footer: 0,
        rows: Box::new(FileFormatSpec::HiveJson { raw_fractions: true }),
    };
    let fields = || vec![Field::new("n", DataType::Int8, true), text("t")];
    let error = read(&format, fields(), "#\n#\n{\"N\": 1}\n{\"n\": 300}\n").unwrap_err();
    assert_eq!(error.sqlstate(), "22P04");
    assert!(error.primary().contains("line 4: 300 is no Int8"), "{}", error.primary());
    let rows =
        read(&format, fields(), "\n\n{\"N\":7,\"_col1\":1.50,\"x\":[]}\n{\"t\":\"한\"}").unwrap();
    assert_eq!(rows, ["7|1.50", "|한"]);
}

#[test]
fn reads_groups_of_a_pattern() {
    let format = FileFormatSpec::Pattern { pattern: r"(\S*) (\d*)".to_owned(), ignore_case: false };
    let fields = vec![text("a"), Field::new("b", DataType::Int32, true)];
    assert_eq!(read(&format, fields, "x 1\nnothing\n y\n 2\n").unwrap(), ["x|1", "|", "|", "|2"]);
}
