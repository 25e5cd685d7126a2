//! Tests against a real server, `MARU_TEST_MYSQL`.

mod filters;
mod values;

use futures::StreamExt;
use maru_connect::{ScanRequest, TableKind, conformance};
use sqlx::AssertSqlSafe;

use super::*;
use crate::testing::{
    eventually, open, options_of, read, remote, rows, service, three_ways, two_ways,
};

/// A database of its own for each test, so that tests run side by side.
struct Place {
    url: url::Url,
    schema: &'static str,
    source: Arc<dyn Source>,
}

async fn run(url: &url::Url, sql: String) {
    let mut connection = MySqlConnection::connect(url.as_str()).await.unwrap();
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
}

/// The server without a database in its address.
fn server() -> Option<url::Url> {
    let mut url = service("MARU_TEST_MYSQL")?;
    url.set_path("");
    Some(url)
}

/// Makes the database afresh with `ddl`; `None` without a server.
async fn place(schema: &'static str, ddl: &'static str) -> Option<Place> {
    let url = server()?;
    let sql = format!(
        "DROP DATABASE IF EXISTS {schema}; CREATE DATABASE {schema} CHARACTER SET utf8mb4; \
         USE {schema}; SET sql_mode = ''; SET time_zone = '+00:00'; {ddl}"
    );
    run(&url, sql).await;
    let source = open(&MySqlConnector, &options_of(&url, &[])).await.unwrap();
    Some(Place { url, schema, source })
}

impl Place {
    async fn table(&self, name: &str) -> SourceTable {
        remote(self.source.as_ref(), self.schema, name).await
    }

    /// Connections other than the one that asks.
    async fn count(&self, condition: &str) -> i64 {
        let mut connection = MySqlConnection::connect(self.url.as_str()).await.unwrap();
        let sql = format!(
            "SELECT COUNT(*) FROM information_schema.processlist \
             WHERE id <> CONNECTION_ID() AND {condition}"
        );
        let n = sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(&mut connection).await.unwrap();
        connection.close().await.unwrap();
        n
    }

    async fn end(self) {
        self.source.close().await;
        run(&self.url, format!("DROP DATABASE {}", self.schema)).await;
    }
}

const NAMES: &str = "
CREATE TABLE `Odd ``Name``` (`Select` int, `from` text) COMMENT 'odd indeed';
INSERT INTO `Odd ``Name``` VALUES (1, 'x');
CREATE VIEW seen AS SELECT * FROM `Odd ``Name```;
CREATE TABLE plain (id int);
CREATE TABLE Plain (ID int, more int);
INSERT INTO plain VALUES (1);
";

#[tokio::test]
async fn lists_what_a_user_wants_to_see() {
    let Some(place) = place("maru_names", NAMES).await else { return };
    let source = &place.source;
    let schemas = source.schemas().await.unwrap();
    assert!(schemas.iter().any(|name| name == "maru_names"), "{schemas:?}");
    for hidden in ["information_schema", "mysql", "performance_schema", "sys"] {
        assert!(!schemas.iter().any(|name| name == hidden), "{schemas:?}");
    }
    let tables = source.tables("maru_names").await.unwrap();
    let names = tables.iter().map(|table| table.name.as_str()).collect::<Vec<_>>();
    assert_eq!(names, ["Odd `Name`", "Plain", "plain", "seen"]);
    assert_eq!((tables[0].kind, tables[3].kind), (TableKind::Table, TableKind::View));
    assert_eq!(tables[0].comment.as_deref(), Some("odd indeed"));
    assert_eq!((&tables[2].comment, &tables[3].comment), (&None, &None));
    for schema in ["no_such", "MARU_NAMES", "maru_names "] {
        assert!(source.tables(schema).await.unwrap().is_empty(), "{schema}");
        assert!(source.table(schema, "plain").await.unwrap().is_none(), "{schema}");
    }
    for table in ["no_such", "SEEN", "seen "] {
        assert!(source.table("maru_names", table).await.unwrap().is_none(), "{table}");
    }
    assert_eq!(place.table("plain").await.schema().fields().len(), 1);
    assert_eq!(place.table("Plain").await.schema().fields().len(), 2);
    for name in ["Odd `Name`", "seen", "plain"] {
        let table = place.table(name).await;
        let batches = read(&table, ScanRequest::all(&table.schema())).await.unwrap();
        assert_eq!(batches.iter().map(|batch| batch.num_rows()).sum::<usize>(), 1, "{name}");
    }
    place.end().await;
}

#[tokio::test]
async fn a_database_in_the_address_is_the_only_schema() {
    let Some(place) = place("maru_only", "CREATE TABLE t (id int)").await else { return };
    let mut url = place.url.clone();
    url.set_path("maru_only");
    let source = open(&MySqlConnector, &options_of(&url, &[])).await.unwrap();
    assert!(source.check().await.unwrap().ends_with("/maru_only"));
    assert_eq!(source.schemas().await.unwrap(), ["maru_only"]);
    assert!(source.table("maru_only", "t").await.unwrap().is_some());
    assert!(source.tables("mysql").await.unwrap().is_empty());
    assert!(source.table("mysql", "user").await.unwrap().is_none());
    // It is the default of native queries.
    assert!(source.native_query("SELECT id FROM t").await.is_ok());
    source.close().await;
    url.set_path("information_schema");
    let source = open(&MySqlConnector, &options_of(&url, &[])).await.unwrap();
    assert_eq!(source.schemas().await.unwrap(), ["information_schema"]);
    let table = remote(source.as_ref(), "information_schema", "SCHEMATA").await;
    assert!(!read(&table, ScanRequest::all(&table.schema())).await.unwrap().is_empty());
    source.close().await;
    place.end().await;
}

#[tokio::test]
async fn says_exactly_what_is_wrong() {
    let Some(url) = server() else { return };
    let source = open(&MySqlConnector, &options_of(&url, &[])).await.unwrap();
    let text = source.check().await.unwrap();
    assert!(text.starts_with("MariaDB 1") || text.starts_with("MySQL "), "{text}");
    assert!(text.contains(" at 127.0.0.1:"), "{text}");
    let mut elsewhere = url.clone();
    elsewhere.set_password(None).unwrap();
    elsewhere.set_port(Some(1)).unwrap();
    let mut no_database = elsewhere.clone();
    no_database.set_port(url.port()).unwrap();
    no_database.set_path("no_such_database");
    for (more, sqlstate, says) in [
        (("password", "wrong"), "HV00L", "Access denied"),
        (("url", elsewhere.as_str()), "HV00N", "cannot reach MySQL at 127.0.0.1:1"),
        (("url", no_database.as_str()), "HV024", "no_such_database"),
        (("url", "mysql://u@no-such-host.invalid/d"), "HV00N", "no-such-host.invalid"),
        (("tls", "require"), "HV00N", "TLS"),
    ] {
        let source = open(&MySqlConnector, &options_of(&url, &[more])).await.unwrap();
        let started = std::time::Instant::now();
        let error = source.check().await.unwrap_err();
        assert_eq!(error.sqlstate(), sqlstate, "{error:?}");
        assert!(error.report().contains(says), "{error:?}");
        assert!(!error.report().contains("tester-secret"), "{error:?}");
        // A query learns the same, and at once.
        assert_eq!(source.schemas().await.unwrap_err().sqlstate(), sqlstate);
        assert!(started.elapsed().as_secs() < 8, "{more:?} took {:?}", started.elapsed());
        source.close().await;
    }
    let nobody = [("url".to_owned(), "mysql://127.0.0.1/shop".to_owned())];
    assert_eq!(open(&MySqlConnector, &nobody).await.unwrap_err().sqlstate(), "HV024");
}

#[tokio::test]
async fn a_server_without_a_free_connection_says_so() {
    let Some(url) = server() else { return };
    let user = "'maru_one'@'127.0.0.1'";
    run(
        &url,
        format!(
            "CREATE OR REPLACE USER {user} IDENTIFIED BY 'one' WITH MAX_USER_CONNECTIONS 1; \
             GRANT SELECT ON *.* TO {user}"
        ),
    )
    .await;
    let mut one = url.clone();
    one.set_username("maru_one").unwrap();
    one.set_password(Some("one")).unwrap();
    let held = MySqlConnection::connect(one.as_str()).await.unwrap();
    let source = open(&MySqlConnector, &options_of(&one, &[])).await.unwrap();
    assert_eq!(source.check().await.unwrap_err().sqlstate(), "53300");
    assert_eq!(source.schemas().await.unwrap_err().sqlstate(), "53300");
    held.close().await.unwrap();
    eventually("a connection is free", async || source.check().await.is_ok()).await;
    source.close().await;
    run(&url, format!("DROP USER {user}")).await;
}

#[tokio::test]
async fn what_is_no_such_server_is_given_up() {
    // One accepts and says nothing, one says it is full before it greets, one speaks another language.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let full = answering(b"\x19\x00\x00\x00\xff\x10\x04Too many connections!!").await;
    let other = answering(b"SSH-2.0-OpenSSH_9.2\r\n").await;
    for (address, sqlstate) in
        [(silent.local_addr().unwrap(), "HV00N"), (full, "53300"), (other, "HV00N")]
    {
        let options = [
            ("url".to_owned(), format!("mysql://u@{address}/d")),
            ("connect_timeout".to_owned(), "1s".to_owned()),
        ];
        let source = open(&MySqlConnector, &options).await.unwrap();
        let started = std::time::Instant::now();
        let error = source.check().await.unwrap_err();
        assert_eq!(error.sqlstate(), sqlstate, "{error:?}");
        assert_eq!(source.schemas().await.unwrap_err().sqlstate(), sqlstate);
        // By default it would be ten seconds for each.
        assert!(started.elapsed().as_secs() < 8);
    }
}

/// A server that says one thing to everybody and hangs up.
async fn answering(greeting: &'static [u8]) -> std::net::SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut socket, _) = listener.accept().await.unwrap();
            let _ = tokio::io::AsyncWriteExt::write_all(&mut socket, greeting).await;
        }
    });
    address
}

const LONG: &str =
    "CREATE VIEW endless AS SELECT seq AS id, REPEAT('x', 100) AS filler FROM seq_1_to_100000000;
    CREATE VIEW silent AS SELECT SLEEP(600) AS filler;
    CREATE TABLE wide AS SELECT seq AS id, REPEAT('x', 100) AS filler FROM seq_1_to_50000;";

#[tokio::test]
async fn dropping_the_stream_ends_the_remote_query() {
    let Some(place) = place("maru_long", LONG).await else { return };
    for name in ["endless", "silent"] {
        let SourceTable::Remote(table) = place.table(name).await else { panic!() };
        let mut stream = table.read(ScanRequest::all(&table.schema()));
        let running = format!("info LIKE 'SELECT %maru_long`.`{name}`%'");
        if name == "endless" {
            stream.next().await.unwrap().unwrap();
        } else {
            let runs = eventually("the query runs", async || place.count(&running).await == 1);
            tokio::select! {
                row = stream.next() => panic!("a row came: {row:?}"),
                () = runs => {}
            }
        }
        assert_eq!(place.count(&running).await, 1);
        drop(stream);
        eventually("the server is idle", async || place.count(&running).await == 0).await;
    }
    place.end().await;
}

#[tokio::test]
async fn reads_stream_and_do_not_pile_up() {
    let Some(place) = place("maru_streamed", LONG).await else { return };
    let SourceTable::Remote(table) = place.table("endless").await else { panic!() };
    // The view has a hundred million rows: without back-pressure this would not end.
    let mut stream =
        table.read(ScanRequest { batch_rows: 1000, ..ScanRequest::all(&table.schema()) });
    for _ in 0..3 {
        assert_eq!(stream.next().await.unwrap().unwrap().num_rows(), 1000);
    }
    drop(stream);
    let wide = place.table("wide").await;
    let batches = read(&wide, ScanRequest { batch_rows: 1000, ..ScanRequest::all(&wide.schema()) });
    let batches = batches.await.unwrap();
    assert_eq!(batches.len(), 50);
    assert!(batches.iter().all(|batch| batch.num_rows() == 1000));
    let request = ScanRequest { projection: vec![], ..ScanRequest::all(&wide.schema()) };
    let counted = read(&wide, request.clone()).await.unwrap();
    assert_eq!(counted.iter().map(|batch| batch.num_rows()).sum::<usize>(), 50_000);
    let counted = read(&wide, ScanRequest { limit: Some(7), ..request }).await.unwrap();
    assert_eq!(counted.iter().map(|batch| batch.num_rows()).sum::<usize>(), 7);
    place.end().await;
}

#[tokio::test]
async fn closing_frees_every_connection_and_ends_readers() {
    let Some(place) = place("maru_closed", LONG).await else { return };
    // A user of its own, so that other tests do not count.
    let user = "'maru_closing'@'127.0.0.1'";
    let sql =
        format!("CREATE OR REPLACE USER {user} IDENTIFIED BY 'it'; GRANT SELECT ON *.* TO {user}");
    run(&place.url, sql).await;
    let mut url = place.url.clone();
    url.set_username("maru_closing").unwrap();
    url.set_password(Some("it")).unwrap();
    let source = open(&MySqlConnector, &options_of(&url, &[])).await.unwrap();
    let mine = "user = 'maru_closing'";
    let table = remote(source.as_ref(), place.schema, "endless").await;
    let SourceTable::Remote(table) = table else { panic!() };
    let mut one = table.read(ScanRequest::all(&table.schema()));
    let mut two = table.read(ScanRequest::all(&table.schema()));
    one.next().await.unwrap().unwrap();
    two.next().await.unwrap().unwrap();
    assert!(place.count(mine).await >= 2);
    source.close().await;
    eventually("no connection is left", async || place.count(mine).await == 0).await;
    let mut last = None;
    while let Some(batch) = one.next().await {
        last = Some(batch);
    }
    assert_eq!(last.unwrap().unwrap_err().sqlstate(), "HV00N");
    assert_eq!(source.schemas().await.unwrap_err().sqlstate(), "HV00N");
    run(&place.url, format!("DROP USER {user}")).await;
    place.end().await;
}

#[tokio::test]
async fn a_connection_that_dies_is_an_error_that_names_the_source() {
    let Some(place) = place("maru_dies", LONG).await else { return };
    let SourceTable::Remote(table) = place.table("endless").await else { panic!() };
    for how in ["KILL", "KILL QUERY"] {
        let mut stream = table.read(ScanRequest::all(&table.schema()));
        stream.next().await.unwrap().unwrap();
        let mut connection = MySqlConnection::connect(place.url.as_str()).await.unwrap();
        let id: u64 = sqlx::query(
            "SELECT id FROM information_schema.processlist
             WHERE info LIKE 'SELECT%maru_dies`.`endless`%' AND id <> CONNECTION_ID()",
        )
        .fetch_one(&mut connection)
        .await
        .and_then(|row| row.try_get_unchecked(0))
        .unwrap();
        let kill = AssertSqlSafe(format!("{how} {id}"));
        sqlx::raw_sql(kill).execute(&mut connection).await.unwrap();
        let mut last = None;
        while let Some(batch) = stream.next().await {
            last = Some(batch);
        }
        let error = last.unwrap().unwrap_err();
        let expected = if how == "KILL" { "HV00N" } else { "HV000" };
        assert_eq!(error.sqlstate(), expected, "{error:?}");
        assert!(error.primary().contains("MySQL at 127.0.0.1:"), "{error:?}");
        // The next query finds a new connection.
        assert!(place.source.schemas().await.is_ok());
    }
    place.end().await;
}

#[tokio::test]
async fn a_column_that_was_altered_is_never_misread() {
    let ddl = "CREATE TABLE altered (id int, x int); INSERT INTO altered VALUES (1, 2);";
    let Some(place) = place("maru_altered", ddl).await else { return };
    let table = place.table("altered").await;
    let alter = "ALTER TABLE maru_altered.altered MODIFY x float, ADD y int";
    run(&place.url, alter.to_owned()).await;
    let SourceTable::Remote(remembered) = &table else { panic!() };
    assert!(!remembered.is_outdated());
    let error = read(&table, ScanRequest::all(&table.schema())).await.unwrap_err();
    assert_eq!(error.sqlstate(), "HV000", "{error:?}");
    assert!(remembered.is_outdated());
    // A column that is only compared would be compared as another type.
    let context = two_ways(&table).await;
    let error = rows(&context, "SELECT count(*) FROM t WHERE x > 1").await.unwrap_err();
    assert_eq!(error.sqlstate(), "HV000", "{error:?}");
    let anew = place.table("altered").await;
    assert_eq!(anew.schema().fields().len(), 3);
    assert_eq!(read(&anew, ScanRequest::all(&anew.schema())).await.unwrap()[0].num_rows(), 1);
    // More columns than were known do no harm.
    run(&place.url, "ALTER TABLE maru_altered.altered ADD z int".to_owned()).await;
    assert_eq!(read(&anew, ScanRequest::all(&anew.schema())).await.unwrap()[0].num_rows(), 1);
    place.end().await;
}

const NATIVE: &str = "CREATE TABLE n (id int, t text, d decimal(10,2), b boolean, e enum('x','y'), v varbinary(4));
    INSERT INTO n VALUES (1, 'a', 1.50, 1, 'x', 'q'), (2, 'b', 2.25, 0, 'y', NULL);
    CREATE SEQUENCE s;
    CREATE FUNCTION w() RETURNS int MODIFIES SQL DATA BEGIN INSERT INTO n (id) VALUES (9); RETURN 1; END;";

#[tokio::test]
async fn native_queries_are_described_and_cannot_write() {
    let Some(place) = place("maru_native", NATIVE).await else { return };
    let source = &place.source;
    let sql = "SELECT id, UPPER(t) AS big, d, b, e, v, SUM(d) OVER () AS total, '?' AS q \
               FROM maru_native.n -- all\n;";
    let table = source.native_query(sql).await.unwrap();
    let context = three_ways(&table).await;
    let text = rows(&context, "SELECT * FROM t WHERE big = 'B'").await.unwrap();
    let wanted = "| 2  | B   | 2.2500000000 | false | y |   | 3.7500000000 | ? |";
    assert!(text.contains(wanted), "{text}");
    let text = rows(&context, "EXPLAIN SELECT id FROM t WHERE big = 'B' LIMIT 1").await.unwrap();
    assert!(!text.contains("FilterExec") && text.contains("LIMIT 1"), "{text}");
    for (sql, sqlstate) in [
        ("DELETE FROM maru_native.n", "HV000"),
        ("SELECT 1 AS a) x; DROP TABLE maru_native.n; -- ", "42000"),
        ("SELECT 1 AS a) x; DROP TABLE maru_native.n; /*", "42000"),
        ("SELECT 1 AS a) x INTO OUTFILE '/tmp/maru_native_out' -- ", "42000"),
        ("SELECT 1 AS a) x INTO OUTFILE '/tmp/maru_native_out' /*", "42000"),
        ("SELECT 1 AS a INTO OUTFILE '/tmp/maru_native_out'", "HV000"),
        (
            "SELECT 1 AS a) x UNION SELECT * INTO OUTFILE '/tmp/maru_native_out' FROM (SELECT 1 AS a",
            "42000",
        ),
        ("SELECT 1 AS a) x UNION SELECT * INTO @v FROM (SELECT 1 AS a", "42000"),
        ("SELECT 1 AS a, 2 AS a", "42000"),
        ("SELECT ? AS a", "42000"),
        ("SELECT * FROM maru_native.no_such_table", "HV00R"),
    ] {
        let error = source.native_query(sql).await.unwrap_err();
        assert_eq!(error.sqlstate(), sqlstate, "{sql}: {error:?}");
    }
    for writes in ["SELECT maru_native.w() AS v", "SELECT NEXTVAL(maru_native.s) AS v"] {
        let table = source.native_query(writes).await.unwrap();
        let error = read(&table, ScanRequest::all(&table.schema())).await.unwrap_err();
        assert_eq!(error.sqlstate(), "25006", "{writes}: {error:?}");
    }
    let context = two_ways(&place.table("n").await).await;
    let text = rows(&context, "SELECT count(*) FROM t").await.unwrap();
    assert!(text.contains("| 2 "), "{text}");
    place.end().await;
}

const CONFORMING: &str = "
CREATE TABLE held (id bigint NOT NULL PRIMARY KEY, t varchar(20), c char(6) CHARACTER SET latin1, f float, x double,
  n decimal(12,3), u bigint unsigned, b boolean, d date, ts datetime(6), z timestamp NULL, tm time(3), y year, e enum('a','B'),
  bin varbinary(8), KEY (t), KEY (c), KEY (d), KEY (ts), KEY (z));
INSERT INTO held VALUES
 (1, 'abc', 'abc', 1.5, 1.5, 1.5, 0, 1, '2024-02-29', '2024-02-29 12:00:00.000001', '2024-02-29 12:00', '10:00:00.5', 2024, 'a', x'00ff'),
 (2, 'ABC', 'ABC', -1.5, -1.5, -1.5, 18446744073709551615, 0, '1969-12-31', '1969-12-31 23:59:59', '1970-01-02 00:00:01', '00:00', 1901, 'B', ''),
 (3, 'abc ', 'abc ', 0.1, 0.1, 0.1, 1, NULL, '9999-12-31', '9999-12-31 23:59:59.999999', '2038-01-18 03:14:07', '23:59:59.999', 2155, 'a', 'x'),
 (4, '', '', 0, -0.0, 0, 2, 1, NULL, NULL, NULL, NULL, NULL, NULL, NULL),
 (5, NULL, NULL, NULL, NULL, NULL, NULL, NULL, '0001-01-01', '0001-01-01', NULL, '12:00', 0, 'B', 'y'),
 (6, '한글 😀', 'ä', 3.4e38, 1.7976931348623157e308, 999999999.999, 3, 0, '2024-03-01', '2024-03-01', NULL, '12:00', 2000, 'a', 'X'),
 (7, 'it''s \\\\ %_', 'it''s', 1e-38, 2.3e-308, -0.001, 4, 0, '2024-03-01', '2024-03-01', NULL, '12:00', 1999, 'a', 'X');
";

#[tokio::test]
async fn keeps_what_every_connector_promises() {
    let Some(place) = place("maru_held", CONFORMING).await else { return };
    let secret = place.url.password().unwrap().to_owned();
    let subject =
        conformance::Subject::new(&MySqlConnector, Arc::clone(&place.source), "maru_held", "held")
            .with_secrets(&[&secret]);
    let report = conformance::hold(subject).await.unwrap();
    eprintln!("{report:?}");
    assert!(report.pushed > 3 * report.kept, "{report:?}");
    place.end().await;
}
