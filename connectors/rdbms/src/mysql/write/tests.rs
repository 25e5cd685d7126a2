//! Writes to a real server, `MARU_TEST_MYSQL`.

use arrow::array::{ArrayRef, Int32Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::prelude::SessionContext;
use maru_connect::{Overwritten, ScanRequest, Source, SourceTable, TableChange};
use sqlx::mysql::MySqlConnection;
use sqlx::{Connection, Executor, Row};

use super::*;
use crate::mysql::MySqlConnector;
use crate::testing::{
    batches, change, context, eventually, open, options_of, read, remote, request, seen, service,
    write,
};

struct Place {
    url: url::Url,
    schema: &'static str,
    source: Arc<dyn Source>,
}

async fn place(schema: &'static str, ddl: &str) -> Option<Place> {
    let mut url = service("MARU_TEST_MYSQL")?;
    url.set_path("");
    let source = open(&MySqlConnector, &options_of(&url, &[])).await.unwrap();
    let place = Place { url, schema, source };
    let mut connection = MySqlConnection::connect(place.url.as_str()).await.unwrap();
    let sql =
        format!("DROP DATABASE IF EXISTS {schema}; CREATE DATABASE {schema} CHARACTER SET utf8mb4");
    connection.execute(AssertSqlSafe(sql)).await.unwrap();
    place.run(ddl).await;
    Some(place)
}

impl Place {
    async fn run(&self, sql: &str) {
        let mut connection = MySqlConnection::connect(self.url.as_str()).await.unwrap();
        let sql = format!("USE {}; SET time_zone = '+00:00'; {sql}", self.schema);
        connection.execute(AssertSqlSafe(sql)).await.unwrap();
        connection.close().await.unwrap();
    }

    /// A source that inserts rows by statements, as for servers that take no data of clients.
    fn by_statements(&self) -> Arc<dyn Source> {
        let context = context(&MySqlConnector, &options_of(&self.url, &[])).unwrap();
        let mut source = crate::mysql::MySqlSource::new(&context).unwrap();
        source.loader.off();
        Arc::new(source)
    }

    /// The first column of all rows.
    async fn ask(&self, sql: &str) -> Vec<String> {
        let mut connection = MySqlConnection::connect(self.url.as_str()).await.unwrap();
        let used = format!("USE {}", self.schema);
        connection.execute(AssertSqlSafe(used)).await.unwrap();
        let rows =
            sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).fetch_all(&mut connection).await.unwrap();
        connection.close().await.unwrap();
        rows.iter().map(|row| row.try_get_unchecked::<String, _>(0).unwrap()).collect()
    }

    async fn put(&self, table: &str, mode: WriteMode, rows: RecordBatch) -> Result<Committed> {
        let request = request(self.schema, table, mode, &rows.schema());
        write(self.source.as_ref(), request, vec![rows]).await
    }

    async fn end(self) {
        let left = "SELECT table_name FROM information_schema.tables WHERE table_schema = DATABASE() \
                    AND table_name LIKE 'maru_write%'";
        assert_eq!(self.ask(left).await, Vec::<String>::new());
        let marks = "SELECT work FROM maru_commits WHERE work LIKE 'attempt%'";
        let has = self.ask("SHOW TABLES LIKE 'maru_commits'").await;
        if !has.is_empty() {
            assert_eq!(self.ask(marks).await, Vec::<String>::new());
        }
        self.source.close().await;
        self.run(&format!("DROP DATABASE {}", self.schema)).await;
    }
}

fn ids(values: &[(i32, Option<&str>)]) -> RecordBatch {
    let (ids, names): (Vec<_>, Vec<_>) = values.iter().copied().unzip();
    let columns: [(&str, ArrayRef); 2] =
        [("id", Arc::new(Int32Array::from(ids))), ("name", Arc::new(StringArray::from(names)))];
    RecordBatch::try_from_iter_with_nullable(columns.map(|(name, array)| (name, array, true)))
        .unwrap()
}

const ITEMS: &str = "CREATE TABLE item (id int PRIMARY KEY, name varchar(5) NOT NULL DEFAULT 'none', \
    n int AS (id * 2) STORED, CONSTRAINT positive CHECK (id > 0)); INSERT INTO item (id, name) VALUES (1, 'one')";

#[tokio::test]
async fn rows_are_appended_replaced_and_merged_by_key() {
    let Some(place) = place("maru_w_modes", ITEMS).await else { return };
    let all = "SELECT CONCAT_WS(',', id, name, n) FROM item ORDER BY id";
    let done = place.put("item", WriteMode::Append, ids(&[(2, Some("two")), (3, Some(""))])).await;
    assert_eq!(done.unwrap().n_rows, 2);
    assert_eq!(place.ask(all).await, ["1,one,2", "2,two,4", "3,,6"]);
    let upsert = |replaced: &[&str]| WriteMode::Upsert {
        keys: vec!["id".into()],
        replaced: replaced.iter().map(|name| (*name).to_owned()).collect(),
        computed: Vec::new(),
    };
    let rows = ids(&[(3, Some("drei")), (4, Some("vier"))]);
    assert_eq!(place.put("item", upsert(&["name"]), rows.clone()).await.unwrap().n_rows, 2);
    assert_eq!(place.put("item", upsert(&["name"]), rows).await.unwrap().n_rows, 2);
    assert_eq!(place.put("item", upsert(&[]), ids(&[(4, Some("x"))])).await.unwrap().n_rows, 0);
    assert_eq!(place.ask(all).await, ["1,one,2", "2,two,4", "3,drei,6", "4,vier,8"]);
    let twice = ids(&[(9, Some("a")), (9, Some("b"))]);
    let error = place.put("item", upsert(&["name"]), twice).await.unwrap_err();
    assert_eq!(error.sqlstate(), "21000", "{error:?}");
    let overwrite = || WriteMode::Overwrite(Overwritten::Table);
    place.put("item", overwrite(), ids(&[(7, Some("new"))])).await.unwrap();
    assert_eq!(place.ask(all).await, ["7,new,14"]);
    let only = ids(&[(8, None)]).project(&[0]).unwrap();
    place.put("item", WriteMode::Append, only).await.unwrap();
    assert_eq!(place.ask("SELECT name FROM item WHERE id = 8").await, ["none"]);
    place.put("item", overwrite(), ids(&[])).await.unwrap();
    assert_eq!(place.ask(all).await, Vec::<String>::new());
    place.end().await;
}

#[tokio::test]
async fn what_the_table_refuses_comes_back_with_code_column_and_row() {
    let ddl = format!(
        "{ITEMS}; CREATE TABLE part (item int, FOREIGN KEY (item) REFERENCES item (id)); \
         CREATE TABLE loose (id int) ENGINE = MyISAM; CREATE VIEW seen AS SELECT id FROM item; \
         CREATE TABLE at0 (at datetime, d decimal(5,2), t tinyint unsigned, c char(3) CHARACTER SET latin1)"
    );
    let Some(place) = place("maru_w_refusals", &ddl).await else { return };
    let append = || WriteMode::Append;
    for (rows, sqlstate, told) in [
        (ids(&[(5, Some("a")), (1, Some("b"))]), "23505", "constraint=PRIMARY"),
        (ids(&[(5, Some("a")), (6, None)]), "23502", "column=name"),
        (ids(&[(0, Some("a"))]), "23514", "positive"),
        (ids(&[(5, Some("a")), (6, Some("b")), (7, Some("toolong"))]), "22001", "row=3"),
    ] {
        let error = place.put("item", append(), rows).await.unwrap_err();
        assert_eq!(error.sqlstate(), sqlstate, "{error:?}");
        assert!(error.report().contains(told), "{error:?}");
    }
    assert_eq!(place.ask("SELECT id FROM item").await, ["1"]);
    let statements = place.by_statements();
    for (rows, sqlstate, told) in [
        (ids(&[(5, Some("a")), (1, Some("b"))]), "23505", "constraint=PRIMARY"),
        (ids(&[(5, Some("a")), (6, None)]), "23502", "column=name"),
        (ids(&[(5, Some("a")), (6, Some("b")), (7, Some("toolong"))]), "22001", "row=3"),
    ] {
        let append = request(place.schema, "item", append(), &rows.schema());
        let error = write(statements.as_ref(), append, vec![rows]).await.unwrap_err();
        assert_eq!(error.sqlstate(), sqlstate, "{error:?}");
        assert!(error.report().contains(told), "{error:?}");
    }
    statements.close().await;
    assert_eq!(place.ask("SELECT id FROM item").await, ["1"]);
    let context = SessionContext::new();
    for (sql, table, sqlstate) in [
        ("SELECT arrow_cast(99, 'Int32') AS item", "part", "23503"),
        (
            "SELECT arrow_cast('2024-01-01T00:00:00.5', 'Timestamp(Microsecond, None)') AS at",
            "at0",
            "22007",
        ),
        (
            "SELECT arrow_cast('9999-12-31T23:59:59', 'Timestamp(Second, None)') + interval '1 second' AS at",
            "at0",
            "22007",
        ),
        ("SELECT arrow_cast(-1, 'Int32') AS t", "at0", "22003"),
        ("SELECT 1000.00 AS d", "at0", "22003"),
        ("SELECT '한글' AS c", "at0", "22P02"),
    ] {
        let rows = batches(&context, sql).await;
        let error = place.put(table, append(), rows[0].clone()).await.unwrap_err();
        assert_eq!(error.sqlstate(), sqlstate, "{sql}: {error:?}");
    }
    assert_eq!(place.ask("SELECT COUNT(*) FROM at0").await, ["0"]);
    let begin = async |table: &str, mode: WriteMode, names: &[&str]| {
        let fields = names.iter().map(|name| Field::new(*name, DataType::Int32, true));
        let schema: SchemaRef = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        let begun = place.source.begin_write(request(place.schema, table, mode, &schema)).await;
        begun.map(|_| ()).unwrap_err().sqlstate()
    };
    assert_eq!(begin("item", append(), &["id", "nmae"]).await, "42703");
    assert_eq!(begin("item", append(), &["id", "n"]).await, "428C9");
    assert_eq!(begin("nope", append(), &["id"]).await, "42P01");
    assert_eq!(begin("loose", append(), &["id"]).await, "0A000");
    assert_eq!(begin("seen", append(), &["id"]).await, "42809");
    assert_eq!(begin("item", WriteMode::Create(NewTable::default()), &["id"]).await, "42P07");
    let unkeyed =
        WriteMode::Upsert { keys: vec!["name".into()], replaced: vec![], computed: vec![] };
    assert_eq!(begin("item", unkeyed, &["id", "name"]).await, "42000");
    let any_key = WriteMode::Upsert { keys: vec![], replaced: vec![], computed: vec![] };
    assert_eq!(begin("item", any_key, &["id", "name"]).await, "0A000");
    place.end().await;
}

#[tokio::test]
async fn rights_and_the_option_read_only_hold() {
    let ddl = "CREATE TABLE t (id int); DROP USER IF EXISTS maru_w_guest@'127.0.0.1'; \
        CREATE USER maru_w_guest@'127.0.0.1' IDENTIFIED BY 'guest'; GRANT SELECT ON maru_w_rights.* TO maru_w_guest@'127.0.0.1'";
    let Some(place) = place("maru_w_rights", ddl).await else { return };
    let mut url = place.url.clone();
    url.set_username("maru_w_guest").unwrap();
    url.set_password(Some("guest")).unwrap();
    let guest = open(&MySqlConnector, &options_of(&url, &[])).await.unwrap();
    let rows = ids(&[(1, None)]).project(&[0]).unwrap();
    let request = |mode| request("maru_w_rights", "t", mode, &rows.schema());
    for mode in [WriteMode::Append, WriteMode::Overwrite(Overwritten::Table)] {
        let error = guest.begin_write(request(mode)).await.unwrap_err();
        assert_eq!(error.sqlstate(), "42501", "{error:?}");
    }
    let error = guest.change_table("maru_w_rights", "t", TableChange::Truncate).await.unwrap_err();
    assert_eq!(error.sqlstate(), "42501");
    // Who may insert and no more writes without a mark.
    place.run("GRANT INSERT ON maru_w_rights.t TO maru_w_guest@'127.0.0.1'").await;
    let done = write(guest.as_ref(), request(WriteMode::Append), vec![rows.clone()]).await;
    assert_eq!(done.unwrap().n_rows, 1);
    guest.close().await;
    let frozen = options_of(&place.url, &[("read_only", "true")]);
    let frozen = open(&MySqlConnector, &frozen).await.unwrap();
    let error = frozen.begin_write(request(WriteMode::Append)).await.unwrap_err();
    assert_eq!(error.sqlstate(), "25006");
    frozen.close().await;
    place.run("DROP USER maru_w_guest@'127.0.0.1'").await;
    place.end().await;
}

#[tokio::test]
async fn every_type_goes_out_as_it_came() {
    const COLUMNS: &str = "(id int PRIMARY KEY, b boolean, i1 tinyint, u1 tinyint unsigned, i2 smallint, u2 smallint unsigned, \
        i3 mediumint, u3 mediumint unsigned, i4 int, u4 int unsigned, i8 bigint, u8 bigint unsigned, bit1 bit(1), bits bit(9), \
        wide bit(64), f float, d double, n decimal(12,2), big decimal(38,10), t text, c char(5), v varchar(9), lt longtext, \
        e enum('a','b'), s set('x','y'), j json, bin varbinary(9), bl blob, da date, dt datetime(6), dt0 datetime, ts timestamp(6) NULL, \
        tm time(6), y year, g point)";
    let ddl = format!(
        "CREATE TABLE a {COLUMNS}; CREATE TABLE b {COLUMNS}; INSERT INTO a (id) VALUES (1);
         INSERT INTO a VALUES (2, 0, -128, 0, -32768, 0, -8388608, 0, -2147483648, 0, -9223372036854775808, 0, b'0', b'0', 0,
           -3.40282e38, -1.7976931348623157e308, -9999999999.99, -9999999999999999999999999999.9999999999, '', '', '', 'it''s \\\\ \\0 \\n 한글😀',
           'a', '', '{{}}', '', '', '0001-01-01', '0001-01-01', '1000-01-01', '1970-01-01 00:00:01', '00:00:00', 1901, ST_GeomFromText('POINT(1 2)'));
         INSERT INTO a VALUES (3, 1, 127, 255, 32767, 65535, 8388607, 16777215, 2147483647, 4294967295, 9223372036854775807,
           18446744073709551615, b'1', b'101', 18446744073709551615, 1e-38, 5e-324, 9999999999.99, 0.0000000001, 'x', 'abcde', 'ab ', 'y', 'b', 'x,y', '[1]',
           x'00ff27', x'5c00', '9999-12-31', '9999-12-31 23:59:59.999999', '9999-12-31 23:59:59', '2038-01-19 03:14:07.999999', '23:59:59.999999', 2155, NULL)"
    );
    let Some(place) = place("maru_w_types", &ddl).await else { return };
    let table = remote(place.source.as_ref(), place.schema, "a").await;
    let rows = read(&table, ScanRequest::all(&table.schema())).await.unwrap();
    let names = table.schema();
    let names = names.fields().iter().map(|field| format!("HEX({})", field.name()));
    let names = names.map(|name| format!("COALESCE({name}, '-')")).collect::<Vec<_>>().join(", ");
    let all = |table: &str| format!("SELECT CONCAT_WS('|', {names}) FROM {table} ORDER BY id");
    let statements = place.by_statements();
    for (source, how) in [(&place.source, "LOAD DATA"), (&statements, "INSERT")] {
        place.run("DELETE FROM b").await;
        let append = request(place.schema, "b", WriteMode::Append, &table.schema());
        let job = source.begin_write(append.clone()).await.unwrap();
        assert!(job.describe().starts_with(how), "{}", job.describe());
        assert_eq!(write(source.as_ref(), append, rows.clone()).await.unwrap().n_rows, 3);
        assert_eq!(place.ask(&all("a")).await, place.ask(&all("b")).await, "{how}");
    }
    statements.close().await;
    let create =
        request(place.schema, "made", WriteMode::Create(NewTable::default()), &table.schema());
    write(place.source.as_ref(), create, rows.clone()).await.unwrap();
    let made = remote(place.source.as_ref(), place.schema, "made").await;
    let back = read(&made, ScanRequest::all(&made.schema())).await.unwrap();
    let text = |batches: &[RecordBatch]| {
        arrow::util::pretty::pretty_format_batches(batches).unwrap().to_string()
    };
    assert_eq!(text(&back), text(&rows));
    place.end().await;
}

#[tokio::test]
async fn new_tables_take_their_place_in_one_step() {
    let Some(place) = place("maru_w_create", "CREATE TABLE maru_write_dead (id int)").await else {
        return;
    };
    let create = |replace| {
        WriteMode::Create(NewTable {
            replace,
            primary_key: vec!["id".into()],
            comment: Some("it's".into()),
            ..NewTable::default()
        })
    };
    // What a killed write has left goes, too.
    place.put("t", create(false), ids(&[(1, Some("x"))])).await.unwrap();
    assert_eq!(place.ask("SELECT name FROM t").await, ["x"]);
    assert_eq!(
        place.ask("SELECT table_comment FROM information_schema.tables WHERE table_schema = DATABASE() AND table_name = 't'").await,
        ["it's"]
    );
    place.put("t", create(true), ids(&[(1, Some("y")), (2, Some("z"))])).await.unwrap();
    assert_eq!(place.ask("SELECT name FROM t ORDER BY id").await, ["y", "z"]);
    let twice = place.put("t", create(true), ids(&[(1, Some("a")), (1, Some("b"))])).await;
    assert_eq!(twice.unwrap_err().sqlstate(), "23505");
    assert_eq!(place.ask("SELECT name FROM t ORDER BY id").await, ["y", "z"]);
    let context = SessionContext::new();
    for (sql, sqlstate) in [
        ("SELECT [1] AS s", "22023"),
        ("SELECT interval '1 day' AS s", "22023"),
        ("SELECT arrow_cast('NaN', 'Float64') AS s", "22003"),
        (
            "SELECT arrow_cast('2039-01-01T00:00:00', 'Timestamp(Microsecond, Some(\"UTC\"))') AS s",
            "22003",
        ),
    ] {
        let rows = batches(&context, sql).await;
        let error = place.put("u", WriteMode::Create(NewTable::default()), rows[0].clone()).await;
        assert_eq!(error.unwrap_err().sqlstate(), sqlstate, "{sql}");
    }
    assert_eq!(place.ask("SHOW TABLES LIKE 'u'").await, Vec::<String>::new());
    place.end().await;
}

#[tokio::test]
async fn rows_are_changed_as_they_were_read_or_not_at_all() {
    let ddl = format!(
        "{ITEMS}; INSERT INTO item (id, name) VALUES (2, 'two'), (3, 'three'); CREATE TABLE loose (id int, name text)"
    );
    let Some(place) = place("maru_w_change", &ddl).await else { return };
    let item = (place.schema, "item");
    let source = place.source.as_ref();
    let rows = seen(source, item.0, item.1).await;
    let changes = [(1, None), (2, Some("zwei")), (9, Some("neun"))];
    assert_eq!(change(source, item, &rows, &changes).await.unwrap().n_rows, 3);
    let all = "SELECT CONCAT_WS(',', id, name, n) FROM item ORDER BY id";
    assert_eq!(place.ask(all).await, ["2,zwei,4", "3,three,6", "9,neun,18"]);
    let rows = seen(source, item.0, item.1).await;
    place.run("UPDATE item SET name = 'drei' WHERE id = 3; DELETE FROM item WHERE id = 9").await;
    for (changes, sqlstate) in [
        (vec![(3, Some("lost")), (10, Some("x"))], "40001"),
        (vec![(2, Some("ok")), (9, None)], "40001"),
        (vec![(2, Some("a")), (2, Some("b"))], "21000"),
        (vec![(2, Some("toolong"))], "22001"),
        (vec![(2, Some("ok")), (3_000, Some("new")), (3_000, Some("new"))], "23505"),
    ] {
        let error = change(source, item, &rows, &changes).await.unwrap_err();
        assert_eq!(error.sqlstate(), sqlstate, "{error:?}");
        assert_eq!(place.ask(all).await, ["2,zwei,4", "3,drei,6"]);
    }
    let SourceTable::Remote(loose) = remote(source, place.schema, "loose").await else { panic!() };
    assert!(loose.with_row_identity().is_none());
    place.end().await;
}

#[tokio::test]
async fn work_is_done_once() {
    let Some(place) = place("maru_w_once", "CREATE TABLE t (id int, name text)").await else {
        return;
    };
    let rows = ids(&[(1, None)]);
    for (number, already, n) in [(1, false, "1"), (1, true, "1"), (2, false, "2"), (1, true, "2")] {
        let mut request = request(place.schema, "t", WriteMode::Append, &rows.schema());
        request.attempt.once = Some(("daily.publish".into(), number));
        let done = write(place.source.as_ref(), request, vec![rows.clone()]).await.unwrap();
        assert_eq!(done.already, already);
        assert_eq!(place.ask("SELECT COUNT(*) FROM t").await, [n]);
    }
    let listed = place.source.tables(place.schema).await.unwrap();
    assert_eq!(listed.len(), 1, "{listed:?}");
    place.end().await;
}

fn endless(started: tokio::sync::mpsc::Sender<()>) -> BatchStream {
    maru_connect::batch_stream(futures::stream::unfold(0, move |n: i32| {
        let started = started.clone();
        async move {
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
            if n == 40 {
                let _ = started.send(()).await;
            }
            let rows = (0..5000).map(|row| (n * 5000 + row + 1, Some("x"))).collect::<Vec<_>>();
            Some((Ok(ids(&rows)), n + 1))
        }
    }))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_write_leaves_nothing_and_nobody_behind() {
    let Some(place) = place("maru_w_cancel", "CREATE TABLE t (id int, name text)").await else {
        return;
    };
    let busy = "SELECT id FROM information_schema.processlist WHERE info LIKE 'INSERT INTO `maru_w_cancel`%'";
    for (mode, table) in
        [(WriteMode::Append, "t"), (WriteMode::Create(NewTable::default()), "made")]
    {
        let append = request(place.schema, table, mode, &ids(&[]).schema());
        let job = place.source.begin_write(append).await.unwrap();
        let (sender, mut started) = tokio::sync::mpsc::channel(1);
        let task = tokio::spawn(Arc::clone(&job).write(endless(sender)));
        started.recv().await.unwrap();
        task.abort();
        let _ = task.await;
        job.abort().await;
        eventually("the server has nothing to do", async || place.ask(busy).await.is_empty()).await;
        assert_eq!(place.ask("SELECT COUNT(*) FROM t").await, ["0"]);
    }
    assert_eq!(place.ask("SHOW TABLES LIKE 'made'").await, Vec::<String>::new());
    place.end().await;
}

#[tokio::test]
async fn tables_are_changed_as_a_whole() {
    let Some(place) = place("maru_w_ddl", "CREATE TABLE t (id int, name text)").await else {
        return;
    };
    let change = async |table: &str, change: TableChange| {
        place
            .source
            .change_table(place.schema, table, change)
            .await
            .map_err(|error| error.sqlstate())
    };
    let column = |name: &str, data_type| -> SchemaRef {
        Arc::new(Schema::new(vec![Field::new(name, data_type, true)]))
    };
    assert_eq!(change("t", TableChange::AddColumns(column("n", DataType::Int32))).await, Ok(()));
    assert_eq!(
        change("t", TableChange::AddColumns(column("n", DataType::Int32))).await,
        Err("42701")
    );
    assert_eq!(change("t", TableChange::WidenColumn(column("n", DataType::Int64))).await, Ok(()));
    let rename =
        |from: &str, to: &str| TableChange::RenameColumn { from: from.into(), to: to.into() };
    assert_eq!(change("t", rename("n", "m")).await, Ok(()));
    assert_eq!(change("t", rename("n", "m")).await, Err("42703"));
    assert_eq!(change("t", TableChange::DropColumns(vec!["m".into()])).await, Ok(()));
    assert_eq!(change("t", TableChange::Truncate).await, Ok(()));
    assert_eq!(change("t", TableChange::RenameTable("u".into())).await, Ok(()));
    assert_eq!(change("t", TableChange::Drop).await, Err("42P01"));
    assert_eq!(change("u", TableChange::Drop).await, Ok(()));
    assert_eq!(place.source.create_schema(place.schema).await.unwrap_err().sqlstate(), "42P06");
    place.source.create_schema("maru_w_ddl_2").await.unwrap();
    place.run("DROP DATABASE maru_w_ddl_2").await;
    place.end().await;
}
