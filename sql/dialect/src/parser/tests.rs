//! What each statement reads, and where errors point.

use super::*;

#[test]
fn reads_create_catalog() {
    let sql = "CREATE CATALOG IF NOT EXISTS Crm USING postgres \
               WITH (url = 'postgres://h/d', max_connections = 4)";
    let Statement::CreateCatalog(create) = parse(sql).unwrap() else { panic!("not a catalog") };
    assert_eq!((create.name.as_str(), create.connector.as_str()), ("crm", "postgres"));
    assert_eq!(create.options.0[1], ("max_connections".to_owned(), "4".to_owned()));
    assert!(create.if_not_exists && !create.or_replace);
}

#[test]
fn option_values_are_not_printed() {
    let statement = parse("CREATE SECRET s WITH (password = 'hunter2')").unwrap();
    assert!(!format!("{statement:?}").contains("hunter2"));
}

#[test]
fn reads_external_tables_with_clauses_in_any_order() {
    for sql in [
        "CREATE EXTERNAL TABLE demo.t STORED AS PARQUET LOCATION 's3://b/x/'",
        "CREATE OR REPLACE EXTERNAL TABLE demo.t (a int, b text) STORED AS CSV \
         WITH (header = true) LOCATION 's3://b/x/'",
        "CREATE EXTERNAL TABLE IF NOT EXISTS demo.t LOCATION 's3://b/x/' \
         PARTITIONED BY (dt date, h) STORED AS json",
    ] {
        assert!(matches!(parse(sql).unwrap(), Statement::CreateExternalTable(_)), "{sql}");
    }
}

#[test]
fn points_at_the_wrong_word() {
    let error = parse("CREATE CATALOG crm USNG postgres").unwrap_err().locate("x", 0);
    assert_eq!(error.sqlstate(), "42601");
    assert_eq!(error.position(), Some(20));
    let sql = "SELECT 1 FORM t WHER";
    let error = parse(sql).unwrap_err().locate(sql, 0);
    assert_eq!((error.sqlstate(), error.position().is_some()), ("42601", true));
}

#[test]
fn refuses_what_it_does_not_have() {
    for sql in ["CREATE SEQUENCE s", "LOCK TABLE t", "CREATE UNIQUE INDEX i ON t (a)"] {
        assert_eq!(parse(sql).unwrap_err().sqlstate(), "0A000", "{sql}");
    }
}

#[test]
fn lists_become_queries() {
    for sql in [
        "SHOW CATALOGS",
        "SHOW TABLES FROM crm.public LIKE 'c%'",
        "SHOW CONNECTOR OPTIONS",
        "SHOW SCHEMAS FROM crm",
    ] {
        assert!(matches!(parse(sql).unwrap(), Statement::Query { tag: "SHOW", .. }), "{sql}");
    }
    let zone = parse("SHOW TIME ZONE").unwrap();
    assert!(matches!(zone, Statement::ShowVariable(name) if name == "timezone"));
    assert!(matches!(parse("DESCRIBE crm.public.t").unwrap(), Statement::Describe(_)));
    let Statement::Preview(preview) = parse("PREVIEW 's3://b/*.csv' LIMIT 3").unwrap() else {
        panic!()
    };
    assert_eq!((preview.name.0, preview.limit), (vec!["s3://b/*.csv".to_owned()], Some(3)));
    assert!(matches!(parse("preview crm.t").unwrap(), Statement::Preview(_)));
    assert_eq!(parse("PREVIEW t LIMIT x").unwrap_err().sqlstate(), "42601");
}

#[test]
fn reads_settings() {
    let Statement::Set(set) = parse("SET statement_timeout TO '30s'").unwrap() else { panic!() };
    assert_eq!((set.name.as_str(), set.value.as_deref()), ("statement_timeout", Some("30s")));
    let Statement::Set(set) = parse("SET search_path = a, \"B\"").unwrap() else { panic!() };
    assert_eq!(set.value.as_deref(), Some("a, B"));
    for (text, name) in [
        ("Crm.Pushdown", "crm.pushdown"),
        ("\"Crm\".\"Pushdown\"", "Crm.pushdown"),
        ("\"TimeZone\"", "timezone"),
    ] {
        let Statement::Set(set) = parse(&format!("SET {text} = off")).unwrap() else { panic!() };
        assert_eq!(set.name, name);
        let Statement::Reset(reset) = parse(&format!("RESET {text}")).unwrap() else { panic!() };
        assert_eq!(reset.as_deref(), Some(name));
        let Statement::ShowVariable(shown) = parse(&format!("SHOW {text}")).unwrap() else {
            panic!()
        };
        assert_eq!(shown, name);
    }
}

#[test]
fn every_example_of_the_reference_parses() {
    for spec in STATEMENTS {
        let example = spec.example.replace('…', "x");
        assert!(parse(&example).is_ok(), "{}: {:?}", spec.example, parse(&example));
    }
}

#[test]
fn texts_in_two_lines_are_one() {
    for (sql, expected) in
        [("SELECT 'a'\n'b'", "SELECT 'ab'"), ("SELECT E'a' -- more\n  'b'\n'c'", "SELECT E'abc'")]
    {
        let Statement::Query { statement, .. } = parse(sql).unwrap() else { panic!("{sql}") };
        assert_eq!(statement.to_string(), expected);
    }
    for sql in ["SELECT 'a' 'b'", "SELECT 'a' /* more\n */ 'b'", "SELECT 1, E'a'\n'\\n'"] {
        assert_eq!(parse(sql).unwrap_err().sqlstate(), "42601", "{sql}");
    }
}

#[test]
fn a_select_into_a_table_is_a_create_table_as() {
    let sql = "WITH q AS (SELECT 1 AS x) SELECT * INTO TEMPORARY TABLE t FROM q LIMIT 1";
    let Statement::Write(write) = parse(sql).unwrap() else { panic!("{sql}") };
    let crate::WriteAction::CreateTableAs(create) = write.action else { panic!("{sql}") };
    assert!(create.temporary);
    assert_eq!(create.name.0, ["t"]);
    let query = create.query.unwrap().to_string();
    assert_eq!(query, "WITH q AS (SELECT 1 AS x) SELECT * FROM q LIMIT 1");
}
