//! Each format on values that need care.

use super::*;

fn column(name: &str, kind: ColumnKind) -> Column {
    Column { name: name.to_owned(), kind }
}

fn some(values: &[&str]) -> Row {
    values.iter().map(|value| Some((*value).to_owned())).collect()
}

fn print(format: Format, expanded: bool, rows: Vec<Row>) -> String {
    let columns = vec![
        column("city", ColumnKind::Text),
        column("n", ColumnKind::Number),
        column("ok", ColumnKind::Boolean),
    ];
    let style = Style { format, expanded, null: String::new(), tuples_only: false };
    let mut printer = Printer::new(style, columns);
    let mut out = Vec::new();
    for row in rows {
        printer.rows(vec![row], &mut out).unwrap();
    }
    printer.finish(&mut out).unwrap();
    String::from_utf8(out).unwrap()
}

fn sample() -> Vec<Row> {
    vec![
        some(&["서울", "12", "t"]),
        vec![None, Some("-3.5".to_owned()), None],
        some(&["a\nb", "NaN", "f"]),
    ]
}

#[test]
fn a_table_aligns_wide_characters_numbers_and_lines() {
    let expected = [
        " city |  n   | ok",
        "------+------+----",
        " 서울 |   12 | t",
        "      | -3.5 |",
        " a   +|  NaN | f",
        " b    |      |",
        "(3 rows)",
        "",
    ];
    let printed = print(Format::Table, false, sample());
    let printed: Vec<_> = printed.lines().map(str::trim_end).collect();
    assert_eq!(printed, expected);
}

#[test]
fn an_empty_table_still_has_its_head() {
    let printed = print(Format::Table, false, Vec::new());
    assert!(printed.starts_with(" city | n | ok \n------+---+----\n(0 rows)\n"), "{printed}");
}

#[test]
fn a_cell_cannot_control_the_terminal() {
    let printed = print(Format::Table, false, vec![some(&["\u{1b}[31mred\u{7}", "1", "t"])]);
    assert!(printed.contains("\\x1B[31mred\\x07"), "{printed}");
    assert!(!printed.contains('\u{1b}'));
}

#[test]
fn expanded_rows_have_a_line_for_each_value() {
    let printed = print(Format::Table, true, sample());
    assert!(
        printed.starts_with("-[ RECORD 1 ]\ncity | 서울\nn    | 12\nok   | t\n-[ RECORD 2 ]\n"),
        "{printed}"
    );
}

#[test]
fn csv_quotes_what_needs_it_and_tells_null_from_empty() {
    let rows = vec![
        some(&["a,b", "1", "t"]),
        some(&["say \"hi\"", "2", "f"]),
        some(&["", "3", "t"]),
        vec![None, None, None],
    ];
    let expected = "city,n,ok\n\"a,b\",1,t\n\"say \"\"hi\"\"\",2,f\n\"\",3,t\n,,\n";
    assert_eq!(print(Format::Csv, false, rows), expected);
}

#[test]
fn json_is_json_with_types() {
    let printed = print(Format::Json, false, sample());
    let value: serde_json::Value = serde_json::from_str(&printed).unwrap();
    let expected = serde_json::json!([
        {"city": "서울", "n": 12, "ok": true},
        {"city": null, "n": -3.5, "ok": null},
        {"city": "a\nb", "n": "NaN", "ok": false},
    ]);
    assert_eq!(value, expected);
    let empty: serde_json::Value =
        serde_json::from_str(&print(Format::Json, false, Vec::new())).unwrap();
    assert_eq!(empty, serde_json::json!([]));
}

#[test]
fn json_keys_stay_apart_when_names_repeat() {
    let columns = vec![column("id", ColumnKind::Number), column("id", ColumnKind::Number)];
    let style =
        Style { format: Format::Json, expanded: false, null: String::new(), tuples_only: false };
    let mut printer = Printer::new(style, columns);
    let mut out = Vec::new();
    printer.rows(vec![some(&["1", "2"])], &mut out).unwrap();
    printer.finish(&mut out).unwrap();
    assert_eq!(String::from_utf8(out).unwrap(), "[\n{\"id\":1,\"id_2\":2}\n]\n");
}

#[test]
fn markdown_escapes_bars_and_line_breaks() {
    let printed = print(Format::Markdown, false, vec![some(&["a|b\nc", "1", "t"])]);
    assert_eq!(printed, "| city | n | ok |\n| --- | ---: | --- |\n| a\\|b<br>c | 1 | t |\n");
}
