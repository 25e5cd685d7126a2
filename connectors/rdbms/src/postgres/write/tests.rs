//! Writes to a real server, `MARU_TEST_PG`.

use arrow::array::{ArrayRef, Int32Array, RecordBatch, StringArray};
use arrow::datatypes::{Field, SchemaRef};
use datafusion::prelude::SessionContext;
use maru_connect::{Overwritten, Source, SourceTable, TableChange};
use sqlx::{Connection, Executor, PgConnection};

use super::*;
use crate::postgres::PostgresConnector;
use crate::testing::{
    batches, change, eventually, open, options_of, read, remote, request, seen, service, write,
};

struct Place {
    url: url::Url,
    schema: &'static str,
    source: Arc<dyn Source>,
}

async fn place(schema: &'static str, ddl: &str) -> Option<Place> {
    let url = service("MARU_TEST_PG")?;
    let source = open(&PostgresConnector, &options_of(&url, &[])).await.unwrap();
    let place = Place { url, schema, source };
    let drop = format!("DROP SCHEMA IF EXISTS {schema} CASCADE; CREATE SCHEMA {schema}");
    place.run(&drop).await;
    place.run(ddl).await;
    Some(place)
}

impl Place {
    async fn run(&self, sql: &str) {
        let mut connection = PgConnection::connect(self.url.as_str()).await.unwrap();
        let sql = format!("SET search_path = {}; {sql}", self.schema);
        connection.execute(AssertSqlSafe(sql)).await.unwrap();
    }

    /// The first column of the first row, as text.
    async fn ask(&self, sql: &str) -> String {
        let mut connection = PgConnection::connect(self.url.as_str()).await.unwrap();
        let path = format!("SET search_path = {}", self.schema);
        connection.execute(AssertSqlSafe(path)).await.unwrap();
        let sql = format!("SELECT string_agg(x::text, '; ') FROM ({sql}) AS x");
        let text: Option<String> =
            sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(&mut connection).await.unwrap();
        text.unwrap_or_default()
    }

    async fn put(&self, table: &str, mode: WriteMode, rows: RecordBatch) -> Result<Committed> {
        let request = request(self.schema, table, mode, &rows.schema());
        write(self.source.as_ref(), request, vec![rows]).await
    }

    async fn end(self) {
        assert_eq!(
            self.ask(&format!(
                "SELECT relname FROM pg_class WHERE relname LIKE 'maru_write%' AND relnamespace = '{}'::regnamespace",
                self.schema
            ))
            .await,
            ""
        );
        self.source.close().await;
        self.run(&format!("DROP SCHEMA {} CASCADE", self.schema)).await;
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
    n int GENERATED ALWAYS AS (id * 2) STORED, made timestamptz NOT NULL DEFAULT now(), \
    CONSTRAINT positive CHECK (id > 0)); INSERT INTO item (id, name) VALUES (1, 'one')";

#[tokio::test]
async fn rows_are_appended_replaced_and_merged_by_key() {
    let Some(place) = place("maru_w_modes", ITEMS).await else { return };
    let all = "SELECT id, name, n FROM item ORDER BY id";
    let done = place.put("item", WriteMode::Append, ids(&[(2, Some("two")), (3, Some(""))])).await;
    assert_eq!(done.unwrap().n_rows, 2);
    assert_eq!(place.ask(all).await, "(1,one,2); (2,two,4); (3,\"\",6)");
    let upsert = |replaced: &[&str]| WriteMode::Upsert {
        keys: vec!["id".into()],
        replaced: replaced.iter().map(|name| (*name).to_owned()).collect(),
        computed: Vec::new(),
    };
    let rows = ids(&[(3, Some("drei")), (4, Some("vier"))]);
    assert_eq!(place.put("item", upsert(&["name"]), rows.clone()).await.unwrap().n_rows, 2);
    assert_eq!(place.put("item", upsert(&[]), ids(&[(4, Some("x"))])).await.unwrap().n_rows, 0);
    assert_eq!(place.ask(all).await, "(1,one,2); (2,two,4); (3,drei,6); (4,vier,8)");
    let any_key = WriteMode::Upsert { keys: vec![], replaced: vec![], computed: vec![] };
    let rows = ids(&[(4, Some("x")), (5, Some("five")), (5, Some("y"))]);
    assert_eq!(place.put("item", any_key, rows).await.unwrap().n_rows, 1);
    assert_eq!(place.ask("SELECT name FROM item WHERE id > 3 ORDER BY id").await, "(vier); (five)");
    let twice = ids(&[(9, Some("a")), (9, Some("b"))]);
    let error = place.put("item", upsert(&["name"]), twice).await.unwrap_err();
    assert_eq!(error.sqlstate(), "21000", "{error:?}");
    let done =
        place.put("item", WriteMode::Overwrite(Overwritten::Table), ids(&[(7, Some("new"))]));
    assert_eq!(done.await.unwrap().n_rows, 1);
    assert_eq!(place.ask(all).await, "(7,new,14)");
    // A column that is left out gets the table's default.
    let only = ids(&[(8, None)]).project(&[0]).unwrap();
    place.put("item", WriteMode::Append, only).await.unwrap();
    assert_eq!(place.ask("SELECT name FROM item WHERE id = 8").await, "(none)");
    // No rows at all are a write, too.
    let none = ids(&[]);
    place.put("item", WriteMode::Overwrite(Overwritten::Table), none).await.unwrap();
    assert_eq!(place.ask("SELECT count(*) FROM item").await, "(0)");
    place.end().await;
}

#[tokio::test]
async fn what_the_table_refuses_comes_back_with_code_column_and_row() {
    let ddl = format!(
        "{ITEMS}; CREATE TABLE part (item int REFERENCES item, u uuid, t text); \
         CREATE TABLE always (id int GENERATED ALWAYS AS IDENTITY, name text); \
         CREATE TABLE booked (r int4range, EXCLUDE USING gist (r WITH &&))"
    );
    let Some(place) = place("maru_w_refusals", &ddl).await else { return };
    let append = || WriteMode::Append;
    for (rows, sqlstate, told) in [
        (ids(&[(5, Some("a")), (1, Some("b"))]), "23505", "Key (id)=(1)"),
        (ids(&[(5, Some("a")), (6, None)]), "23502", "column=name"),
        (ids(&[(0, Some("a"))]), "23514", "constraint=positive"),
        (ids(&[(5, Some("a")), (6, Some("b")), (7, Some("toolong"))]), "22001", "row=3"),
        (ids(&[(5, Some("a")), (6, Some("b\0"))]), "22P02", "row=2"),
    ] {
        let error = place.put("item", append(), rows).await.unwrap_err();
        assert_eq!(error.sqlstate(), sqlstate, "{error:?}");
        assert!(error.report().contains(told), "{error:?}");
    }
    assert_eq!(place.ask("SELECT id FROM item").await, "(1)");
    let parts = |item, uuid: &str| {
        let columns: [(&str, ArrayRef); 2] = [
            ("item", Arc::new(Int32Array::from(vec![1, item]))),
            ("u", Arc::new(StringArray::from(vec![None, Some(uuid)]))),
        ];
        RecordBatch::try_from_iter(columns).unwrap()
    };
    let error =
        place.put("part", append(), parts(99, "1ec9414c-232a-6b00-b3c8-9e6bdeced846")).await;
    assert_eq!(error.unwrap_err().sqlstate(), "23503");
    let error = place.put("part", append(), parts(1, "no uuid")).await.unwrap_err();
    assert_eq!(error.sqlstate(), "22P02");
    assert!(error.report().contains("row=2"), "{error:?}");
    assert_eq!(place.ask("SELECT count(*) FROM part").await, "(0)");
    let ranges: [(&str, ArrayRef); 1] =
        [("r", Arc::new(StringArray::from(vec!["[1,5)", "[4,9)"])))];
    let ranges = RecordBatch::try_from_iter(ranges).unwrap();
    let error = place.put("booked", append(), ranges).await.unwrap_err();
    assert_eq!(error.sqlstate(), "23000", "{error:?}");
    // Before the first row.
    let begin = async |table: &str, mode: WriteMode, names: &[&str]| {
        let fields =
            names.iter().map(|name| Field::new(*name, arrow::datatypes::DataType::Int32, true));
        let schema: SchemaRef = Arc::new(arrow::datatypes::Schema::new(fields.collect::<Vec<_>>()));
        let begun = place.source.begin_write(request(place.schema, table, mode, &schema)).await;
        begun.map(|_| ()).unwrap_err().sqlstate()
    };
    assert_eq!(begin("item", append(), &["id", "nmae"]).await, "42703");
    assert_eq!(begin("item", append(), &["n"]).await, "428C9");
    assert_eq!(begin("always", append(), &["id"]).await, "428C9");
    assert_eq!(begin("nope", append(), &["id"]).await, "42P01");
    assert_eq!(begin("item", WriteMode::Create(NewTable::default()), &["id"]).await, "42P07");
    let unkeyed =
        WriteMode::Upsert { keys: vec!["name".into()], replaced: vec![], computed: vec![] };
    assert_eq!(begin("item", unkeyed, &["id", "name"]).await, "42000");
    let partitions = Overwritten::Partitions { fixed: vec![], dynamic: true };
    assert_eq!(begin("item", WriteMode::Overwrite(partitions), &["id"]).await, "0A000");
    place.end().await;
}

#[tokio::test]
async fn rights_and_the_option_read_only_hold() {
    let ddl = "CREATE TABLE t (id int); DROP ROLE IF EXISTS maru_w_guest; \
        CREATE ROLE maru_w_guest LOGIN PASSWORD 'guest'; GRANT USAGE ON SCHEMA maru_w_rights TO maru_w_guest; \
        GRANT SELECT ON t TO maru_w_guest";
    let Some(place) = place("maru_w_rights", ddl).await else { return };
    let mut url = place.url.clone();
    url.set_username("maru_w_guest").unwrap();
    url.set_password(Some("guest")).unwrap();
    let guest = open(&PostgresConnector, &options_of(&url, &[])).await.unwrap();
    let rows = ids(&[(1, None)]).project(&[0]).unwrap();
    let request = |mode| request("maru_w_rights", "t", mode, &rows.schema());
    for mode in [WriteMode::Append, WriteMode::Overwrite(Overwritten::Table)] {
        let error = guest.begin_write(request(mode)).await.unwrap_err();
        assert_eq!(error.sqlstate(), "42501", "{error:?}");
    }
    let error = guest.change_table("maru_w_rights", "t", TableChange::Truncate).await.unwrap_err();
    assert_eq!(error.sqlstate(), "42501");
    guest.close().await;
    let frozen = options_of(&place.url, &[("read_only", "true")]);
    let frozen = open(&PostgresConnector, &frozen).await.unwrap();
    let error = frozen.begin_write(request(WriteMode::Append)).await.unwrap_err();
    assert_eq!(error.sqlstate(), "25006");
    assert_eq!(frozen.create_schema("maru_w_x").await.unwrap_err().sqlstate(), "25006");
    let drop = frozen.change_table("maru_w_rights", "t", TableChange::Drop).await;
    assert_eq!(drop.unwrap_err().sqlstate(), "25006");
    frozen.close().await;
    let url = place.url.clone();
    place.end().await;
    let mut connection = PgConnection::connect(url.as_str()).await.unwrap();
    connection.execute("DROP ROLE maru_w_guest").await.unwrap();
}

/// What a table holds goes into another of the same columns, and is the same there.
#[tokio::test]
async fn every_type_goes_out_as_it_came() {
    const COLUMNS: &str = "(id int PRIMARY KEY, i2 smallint, i8 bigint, f4 real, f8 double precision, n numeric(12,2), \
        big numeric(38,10), wide numeric(38,0), nfree numeric, b boolean, t text, v varchar(10), c char(5), d date, tm time, \
        ts timestamp, tz timestamptz, iv interval, u uuid, j json, jb jsonb, bin bytea, ia int[], ta text[], na numeric(5,1)[], \
        m mood, p price, ip inet, mo money, r int4range, nm name, ca char(3)[], o oid, ma mood[], cube int[][], bits varbit(9))";
    let ddl = format!(
        "CREATE TYPE mood AS ENUM ('sad', 'ok'); CREATE DOMAIN price AS numeric(8,3) CHECK (VALUE >= 0);
         CREATE TABLE a {COLUMNS}; CREATE TABLE b {COLUMNS};
         INSERT INTO a (id) VALUES (1);
         INSERT INTO a VALUES (2, -32768, -9223372036854775808, 'NaN', '-Infinity', -9999999999.99,
           -9999999999999999999999999999.9999999999, -99999999999999999999999999999999999999, -0.0000000001,
           false, '', '한글😀', 'ab', '4713-01-01 BC', '00:00', '4713-01-01 00:00 BC', '0001-01-01 00:00+00', '-1 mon 2 days -00:00:00.000001',
           '00000000-0000-0000-0000-000000000000', '{{\"a\": 1}}', '{{\"a\":1}}', '', '{{}}', '{{a,NULL,\"b c\",\"\"}}', '{{1.5,NULL,-0.1}}',
           'ok', 1.5, '10.0.0.1/8', 12.34, '[1,5)', 'nm', '{{ab,c}}', 4294967295, '{{ok,NULL}}', '{{{{1,NULL}},{{3,4}}}}', B'101');
         INSERT INTO a VALUES (3, 32767, 9223372036854775807, 3.4028235e38, 'Infinity', 9999999999.99,
           0.0000000001, 99999999999999999999999999999999999999, 9999999999999999999999999999.0123456789, true, E'a\\\\b\\n\\t\\'\"', 'x', 'abcde', '9999-12-31', '23:59:59.999999',
           '9999-12-31 23:59:59.999999', '2024-01-01 09:00+09', '178000000 years', 'ffffffff-ffff-ffff-ffff-ffffffffffff',
           'null', '[]', '\\x00ff', '{{1,NULL,3}}', '{{}}', '{{}}', 'sad', 0, '::1', -1, 'empty', '', '{{}}', 0, '{{}}', '{{}}', B'');
         INSERT INTO a (id, f4, f8, n, d, ts) VALUES (4, 1e-45, 5e-324, 0, '5874897-12-31', '294246-12-31 23:59:59.999999')"
    );
    let Some(place) = place("maru_w_types", &ddl).await else { return };
    let table = remote(place.source.as_ref(), place.schema, "a").await;
    let all = maru_connect::ScanRequest::all(&table.schema());
    let rows = read(&table, all).await.unwrap();
    let append = request(place.schema, "b", WriteMode::Append, &table.schema());
    let done = write(place.source.as_ref(), append, rows.clone()).await.unwrap();
    assert_eq!(done.n_rows, 4);
    let differ = "SELECT * FROM (SELECT whole::text FROM a AS whole EXCEPT ALL SELECT whole::text FROM b AS whole) AS x";
    assert_eq!(place.ask(differ).await, "");
    // The same columns, as far as they are Arrow's, in a new table.
    let create =
        request(place.schema, "made", WriteMode::Create(NewTable::default()), &table.schema());
    write(place.source.as_ref(), create, rows.clone()).await.unwrap();
    let made = remote(place.source.as_ref(), place.schema, "made").await;
    let back = read(&made, maru_connect::ScanRequest::all(&made.schema())).await.unwrap();
    let text = |batches: &[RecordBatch]| {
        arrow::util::pretty::pretty_format_batches(batches).unwrap().to_string()
    };
    assert_eq!(text(&back), text(&rows));
    place.end().await;
}

#[tokio::test]
async fn new_tables_hold_what_arrow_holds_or_refuse_it() {
    let Some(place) = place("maru_w_create", "SELECT 1").await else { return };
    let context = SessionContext::new();
    let rows = batches(
        &context,
        "SELECT arrow_cast(255, 'UInt8') AS a, arrow_cast(18446744073709551615, 'UInt64') AS b, \
         arrow_cast('x', 'Utf8View') AS c, arrow_cast('y', 'Dictionary(Int32, Utf8)') AS d, \
         arrow_cast('2024-02-29T12:00:00.000001', 'Timestamp(Nanosecond, None)') AS e, [1, NULL] AS f, \
         arrow_cast(-8, 'Int8') AS g, NULL AS h, arrow_cast(1.5, 'Float16') AS i",
    )
    .await;
    let new = NewTable {
        primary_key: vec!["a".into()],
        comment: Some("it's".into()),
        ..NewTable::default()
    };
    let create = WriteMode::Create(new);
    place.put("t", create, rows[0].clone()).await.unwrap();
    assert_eq!(
        place.ask("SELECT a, b, c, d, e, f, g, h, i FROM t").await,
        "(255,18446744073709551615,x,y,\"2024-02-29 12:00:00.000001\",\"{1,NULL}\",-8,,1.5)"
    );
    assert_eq!(place.ask("SELECT obj_description('t'::regclass)").await, "(it's)");
    let again = WriteMode::Create(NewTable {
        replace: true,
        primary_key: vec!["id".into()],
        ..NewTable::default()
    });
    place.put("t", again, ids(&[(1, Some("x"))])).await.unwrap();
    assert_eq!(place.ask("SELECT * FROM t").await, "(1,x)");
    assert_eq!(
        place.ask("SELECT indexrelid::regclass FROM pg_index WHERE indrelid = 't'::regclass").await,
        "(t_pkey)"
    );
    for (sql, sqlstate) in [
        ("SELECT struct(1) AS s", "22023"),
        ("SELECT [[1]] AS s", "22023"),
        (
            "SELECT arrow_cast('2024-02-29T12:00:00.0000001', 'Timestamp(Nanosecond, None)') AS s",
            "22007",
        ),
        ("SELECT arrow_cast(-9223372036854775807, 'Timestamp(Microsecond, None)') AS s", "22007"),
    ] {
        let rows = batches(&context, sql).await;
        let error = place.put("u", WriteMode::Create(NewTable::default()), rows[0].clone()).await;
        let error = error.unwrap_err();
        assert_eq!(error.sqlstate(), sqlstate, "{sql}: {error:?}");
        assert!(error.report().contains("\"s\""), "{error:?}");
    }
    assert_eq!(place.ask("SELECT to_regclass('u')").await, "()");
    place.end().await;
}

#[tokio::test]
async fn rows_are_changed_as_they_were_read_or_not_at_all() {
    let ddl = format!(
        "{ITEMS}; INSERT INTO item (id, name) VALUES (2, 'two'), (3, 'three'); \
         CREATE TABLE parted (id int, name text) PARTITION BY LIST (id); \
         CREATE TABLE parted_1 PARTITION OF parted FOR VALUES IN (1); \
         CREATE TABLE parted_2 PARTITION OF parted DEFAULT; INSERT INTO parted VALUES (1, 'a'), (2, 'b'); \
         CREATE VIEW seen AS SELECT * FROM item"
    );
    let Some(place) = place("maru_w_change", &ddl).await else { return };
    let item = (place.schema, "item");
    let source = place.source.as_ref();
    let rows = seen(source, item.0, item.1).await;
    let changes = [(1, None), (2, Some("zwei")), (9, Some("neun"))];
    assert_eq!(change(source, item, &rows, &changes).await.unwrap().n_rows, 3);
    let all = "SELECT id, name, n FROM item ORDER BY id";
    assert_eq!(place.ask(all).await, "(2,zwei,4); (3,three,6); (9,neun,18)");
    // Changed by another since; gone since; changed twice; refused by the table.
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
        assert_eq!(place.ask(all).await, "(2,zwei,4); (3,drei,6)");
    }
    let parted = (place.schema, "parted");
    let rows = seen(source, parted.0, parted.1).await;
    change(source, parted, &rows, &[(1, Some("A")), (2, None), (5, Some("e"))]).await.unwrap();
    assert_eq!(place.ask("SELECT * FROM parted ORDER BY id").await, "(1,A); (5,e)");
    let SourceTable::Remote(view) = remote(source, place.schema, "seen").await else { panic!() };
    assert!(view.with_row_identity().is_none());
    place.end().await;
}

#[tokio::test]
async fn work_is_done_once() {
    let Some(place) = place("maru_w_once", "CREATE TABLE t (id int, name text)").await else {
        return;
    };
    let rows = ids(&[(1, None)]);
    for (number, already, n) in
        [(1, false, "(1)"), (1, true, "(1)"), (2, false, "(2)"), (1, true, "(2)")]
    {
        let mut request = request(place.schema, "t", WriteMode::Append, &rows.schema());
        request.attempt.once = Some(("daily.publish".into(), number));
        let done = write(place.source.as_ref(), request, vec![rows.clone()]).await.unwrap();
        assert_eq!(done.already, already);
        assert_eq!(place.ask("SELECT count(*) FROM t").await, n);
    }
    // Where the work fails, it is not marked.
    let mut failing = request(place.schema, "t", WriteMode::Append, &rows.schema());
    failing.attempt.once = Some(("other".into(), 1));
    let bad = ids(&[(1, Some("\0"))]);
    write(place.source.as_ref(), failing, vec![bad]).await.unwrap_err();
    assert_eq!(place.ask("SELECT work, number FROM maru_commits").await, "(daily.publish,2)");
    let listed = place.source.tables(place.schema).await.unwrap();
    assert_eq!(listed.len(), 1, "{listed:?}");
    place.end().await;
}

/// Rows that come slowly and for ever.
fn endless(started: tokio::sync::mpsc::Sender<()>) -> BatchStream {
    maru_connect::batch_stream(futures::stream::unfold(0, move |n: i32| {
        let started = started.clone();
        async move {
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
            if n == 20 {
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
    let busy = "SELECT 1 FROM pg_stat_activity WHERE query LIKE '%maru_w_cancel%' AND pid <> pg_backend_pid() \
                AND state <> 'idle'";
    for aborted in [true, false] {
        let rows = ids(&[]);
        let append = request(place.schema, "t", WriteMode::Append, &rows.schema());
        let job = place.source.begin_write(append).await.unwrap();
        let (sender, mut started) = tokio::sync::mpsc::channel(1);
        let task = tokio::spawn(Arc::clone(&job).write(endless(sender)));
        started.recv().await.unwrap();
        assert_ne!(place.ask(busy).await, "");
        task.abort();
        let _ = task.await;
        if aborted {
            job.abort().await;
        } else {
            drop(job);
        }
        eventually("the server has nothing to do", async || place.ask(busy).await.is_empty()).await;
        assert_eq!(place.ask("SELECT count(*) FROM t").await, "(0)");
    }
    // A server that ends the session fails the write; it does not hang.
    let rows = ids(&[]);
    let append = request(place.schema, "t", WriteMode::Append, &rows.schema());
    let job = place.source.begin_write(append).await.unwrap();
    let (sender, mut started) = tokio::sync::mpsc::channel(1);
    let task = tokio::spawn(Arc::clone(&job).write(endless(sender)));
    started.recv().await.unwrap();
    place.ask(&busy.replace("SELECT 1", "SELECT pg_terminate_backend(pid)")).await;
    let error = task.await.unwrap().unwrap_err();
    assert_eq!(error.sqlstate(), "HV00N", "{error:?}");
    job.abort().await;
    place.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_that_replace_all_rows_come_one_after_the_other() {
    let Some(place) = place("maru_w_two", "CREATE TABLE t (id int, name text)").await else {
        return;
    };
    for _ in 0..5 {
        let overwrite = |name: &'static str| {
            let rows = ids(&(0..2000).map(|id| (id, Some(name))).collect::<Vec<_>>());
            place.put("t", WriteMode::Overwrite(Overwritten::Table), rows)
        };
        let (one, other) = tokio::join!(overwrite("one"), overwrite("other"));
        assert!(one.is_ok() && other.is_ok(), "{one:?} {other:?}");
        assert_eq!(place.ask("SELECT count(*), count(DISTINCT name) FROM t").await, "(2000,1)");
    }
    place.end().await;
}

#[tokio::test]
async fn tables_are_changed_as_a_whole() {
    let ddl = "CREATE TABLE t (id int, name text); INSERT INTO t VALUES (1, 'x'); CREATE VIEW v AS SELECT name FROM t";
    let Some(place) = place("maru_w_ddl", ddl).await else { return };
    let change = async |table: &str, change: TableChange| {
        place
            .source
            .change_table(place.schema, table, change)
            .await
            .map_err(|error| error.sqlstate())
    };
    let column = |name: &str, data_type| -> SchemaRef {
        Arc::new(arrow::datatypes::Schema::new(vec![Field::new(name, data_type, true)]))
    };
    use arrow::datatypes::DataType;
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
    assert_eq!(change("t", TableChange::DropColumns(vec!["name".into()])).await, Err("2BP01"));
    assert_eq!(change("t", TableChange::Drop).await, Err("2BP01"));
    assert_eq!(change("t", TableChange::Truncate).await, Ok(()));
    assert_eq!(place.ask("SELECT count(*) FROM t").await, "(0)");
    assert_eq!(change("t", TableChange::RenameTable("u".into())).await, Ok(()));
    assert_eq!(change("t", TableChange::Drop).await, Err("42P01"));
    assert_eq!(change("u", TableChange::DropColumns(vec!["m".into()])).await, Ok(()));
    assert_eq!(place.ask("SELECT * FROM u").await, "");
    assert_eq!(place.source.create_schema(place.schema).await.unwrap_err().sqlstate(), "42P06");
    place.source.create_schema("maru_w_ddl_2").await.unwrap();
    place.run("DROP SCHEMA maru_w_ddl_2").await;
    place.end().await;
}
