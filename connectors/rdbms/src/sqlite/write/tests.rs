//! Writes to a file.

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::prelude::SessionContext;
use maru_connect::{NewTable, Overwritten, ScanRequest, Source, SourceTable, TableChange};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection};

use super::*;
use crate::sqlite::SqliteConnector;
use crate::testing::{batches, change, open, read, remote, request, seen, write};

struct Place {
    path: std::path::PathBuf,
    source: Arc<dyn Source>,
    _dir: tempfile::TempDir,
}

async fn place(ddl: &str) -> Place {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("t.db");
    let options = SqliteConnectOptions::new().filename(&path).create_if_missing(true);
    let mut connection = options.connect().await.unwrap();
    sqlx::raw_sql(AssertSqlSafe(ddl.to_owned())).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    let options = [("path".to_owned(), path.display().to_string())];
    let source = open(&SqliteConnector, &options).await.unwrap();
    Place { path, source, _dir: dir }
}

impl Place {
    async fn connect(&self) -> SqliteConnection {
        SqliteConnectOptions::new().filename(&self.path).connect().await.unwrap()
    }

    async fn ask(&self, sql: &str) -> Vec<String> {
        let mut connection = self.connect().await;
        let rows =
            sqlx::query(AssertSqlSafe(sql.to_owned())).fetch_all(&mut connection).await.unwrap();
        connection.close().await.unwrap();
        rows.iter().map(|row| row.get_unchecked::<String, _>(0)).collect()
    }

    async fn put(&self, table: &str, mode: WriteMode, rows: RecordBatch) -> Result<Committed> {
        let request = request("main", table, mode, &rows.schema());
        write(self.source.as_ref(), request, vec![rows]).await
    }
}

fn ids(values: &[(i64, Option<&str>)]) -> RecordBatch {
    let (ids, names): (Vec<_>, Vec<_>) = values.iter().copied().unzip();
    let columns: [(&str, ArrayRef); 2] =
        [("id", Arc::new(Int64Array::from(ids))), ("name", Arc::new(StringArray::from(names)))];
    RecordBatch::try_from_iter_with_nullable(columns.map(|(name, array)| (name, array, true)))
        .unwrap()
}

const ITEMS: &str = "CREATE TABLE item (id INTEGER PRIMARY KEY, name TEXT NOT NULL DEFAULT 'none', \
    n INT AS (id * 2), CONSTRAINT positive CHECK (id > 0)); INSERT INTO item (id, name) VALUES (1, 'one'); \
    CREATE TABLE part (item INTEGER REFERENCES item (id)); CREATE VIEW seen AS SELECT id, name FROM item";

#[tokio::test]
async fn rows_are_appended_replaced_and_merged_by_key() {
    let place = place(ITEMS).await;
    let all = "SELECT id || ',' || name || ',' || n FROM item ORDER BY id";
    let done = place.put("item", WriteMode::Append, ids(&[(2, Some("two")), (3, Some(""))])).await;
    assert_eq!(done.unwrap().n_rows, 2);
    assert_eq!(place.ask(all).await, ["1,one,2", "2,two,4", "3,,6"]);
    let upsert = |replaced: &[&str]| WriteMode::Upsert {
        keys: vec!["id".into()],
        replaced: replaced.iter().map(|name| (*name).to_owned()).collect(),
        computed: Vec::new(),
    };
    let rows = ids(&[(3, Some("drei")), (4, Some("vier"))]);
    assert_eq!(place.put("item", upsert(&["name"]), rows).await.unwrap().n_rows, 2);
    assert_eq!(place.put("item", upsert(&[]), ids(&[(4, Some("x"))])).await.unwrap().n_rows, 0);
    assert_eq!(place.ask(all).await, ["1,one,2", "2,two,4", "3,drei,6", "4,vier,8"]);
    let any_key = WriteMode::Upsert { keys: vec![], replaced: vec![], computed: vec![] };
    let rows = ids(&[(4, Some("x")), (5, Some("five")), (5, Some("y"))]);
    assert_eq!(place.put("item", any_key, rows).await.unwrap().n_rows, 1);
    assert_eq!(place.ask("SELECT name FROM item WHERE id > 3 ORDER BY id").await, ["vier", "five"]);
    let twice = ids(&[(9, Some("a")), (9, Some("b"))]);
    assert_eq!(place.put("item", upsert(&["name"]), twice).await.unwrap_err().sqlstate(), "21000");
    let overwrite = || WriteMode::Overwrite(Overwritten::Table);
    place.put("item", overwrite(), ids(&[(7, Some("new"))])).await.unwrap();
    assert_eq!(place.ask(all).await, ["7,new,14"]);
    let only = ids(&[(8, None)]).project(&[0]).unwrap();
    place.put("item", WriteMode::Append, only).await.unwrap();
    assert_eq!(place.ask("SELECT name FROM item WHERE id = 8").await, ["none"]);
    place.put("item", overwrite(), ids(&[])).await.unwrap();
    assert_eq!(place.ask(all).await, Vec::<String>::new());
}

#[tokio::test]
async fn what_the_table_refuses_comes_back_with_its_code() {
    let place = place(ITEMS).await;
    let append = || WriteMode::Append;
    for (rows, sqlstate, told) in [
        (ids(&[(5, Some("a")), (1, Some("b"))]), "23505", "column=id"),
        (ids(&[(5, Some("a")), (6, None)]), "23502", "column=name"),
        (ids(&[(0, Some("a"))]), "23514", "constraint=positive"),
    ] {
        let error = place.put("item", append(), rows).await.unwrap_err();
        assert_eq!(error.sqlstate(), sqlstate, "{error:?}");
        assert!(error.report().contains(told), "{error:?}");
    }
    assert_eq!(place.ask("SELECT id FROM item").await, ["1"]);
    let item: [(&str, ArrayRef); 1] = [("item", Arc::new(Int64Array::from(vec![99])))];
    let error = place.put("part", append(), RecordBatch::try_from_iter(item).unwrap()).await;
    assert_eq!(error.unwrap_err().sqlstate(), "23503");
    let begin = async |table: &str, mode: WriteMode, names: &[&str]| {
        let fields = names.iter().map(|name| Field::new(*name, DataType::Int64, true));
        let schema: SchemaRef = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        let begun = place.source.begin_write(request("main", table, mode, &schema)).await;
        begun.map(|_| ()).unwrap_err().sqlstate()
    };
    assert_eq!(begin("item", append(), &["id", "nmae"]).await, "42703");
    assert_eq!(begin("item", append(), &["n"]).await, "428C9");
    assert_eq!(begin("nope", append(), &["id"]).await, "42P01");
    assert_eq!(begin("seen", append(), &["id"]).await, "42809");
    assert_eq!(begin("item", WriteMode::Create(NewTable::default()), &["id"]).await, "42P07");
    let unkeyed =
        WriteMode::Upsert { keys: vec!["name".into()], replaced: vec![], computed: vec![] };
    assert_eq!(begin("item", unkeyed, &["id", "name"]).await, "42000");
    let frozen = [
        ("path".to_owned(), place.path.display().to_string()),
        ("read_only".into(), "true".into()),
    ];
    let frozen = open(&SqliteConnector, &frozen).await.unwrap();
    let write = request("main", "item", append(), &ids(&[]).schema());
    assert_eq!(frozen.begin_write(write).await.unwrap_err().sqlstate(), "25006");
}

#[tokio::test]
async fn values_come_back_as_they_went() {
    const COLUMNS: &str = "(id INTEGER PRIMARY KEY, name TEXT, ok BOOLEAN, price DECIMAL(15,2), ratio REAL, born DATE, \
        at TIMESTAMP, raw BLOB, any)";
    let place = place(&format!(
        "CREATE TABLE a {COLUMNS}; CREATE TABLE b {COLUMNS}; INSERT INTO a (id) VALUES (1);
         INSERT INTO a VALUES (2, '', 0, -9999999999999.99, -1e308, '0001-01-01', '0001-01-01 00:00:00.000001', x'', '');
         INSERT INTO a VALUES (9223372036854775807, '한글😀''', 1, 0.1, 9e999, '9999-12-31', '9999-12-31 23:59:59.999999', x'00ff', '0123')"
    ))
    .await;
    let table = remote(place.source.as_ref(), "main", "a").await;
    let rows = read(&table, ScanRequest::all(&table.schema())).await.unwrap();
    let append = request("main", "b", WriteMode::Append, &table.schema());
    assert_eq!(write(place.source.as_ref(), append, rows.clone()).await.unwrap().n_rows, 3);
    let text = |batches: &[RecordBatch]| {
        arrow::util::pretty::pretty_format_batches(batches).unwrap().to_string()
    };
    let other = remote(place.source.as_ref(), "main", "b").await;
    let back = read(&other, ScanRequest::all(&other.schema())).await.unwrap();
    assert_eq!(text(&back), text(&rows));
    let create = request("main", "made", WriteMode::Create(NewTable::default()), &table.schema());
    write(place.source.as_ref(), create, rows.clone()).await.unwrap();
    let made = remote(place.source.as_ref(), "main", "made").await;
    let back = read(&made, ScanRequest::all(&made.schema())).await.unwrap();
    assert_eq!(text(&back), text(&rows));
    // A zero byte is a byte like any other.
    place.put("b", WriteMode::Append, ids(&[(5, Some("a\0b"))])).await.unwrap();
    let context = SessionContext::new();
    for (sql, sqlstate) in [
        ("SELECT [1] AS s", "22023"),
        ("SELECT arrow_cast(1, 'Decimal128(38, 2)') AS s", "22023"),
        ("SELECT arrow_cast(1, 'UInt64') AS s", "22023"),
        ("SELECT arrow_cast('NaN', 'Float64') AS s", "22003"),
        (
            "SELECT arrow_cast('2039-01-01T00:00:00', 'Timestamp(Microsecond, Some(\"UTC\"))') AS s",
            "22023",
        ),
    ] {
        let rows = batches(&context, sql).await;
        let error = place.put("u", WriteMode::Create(NewTable::default()), rows[0].clone()).await;
        assert_eq!(error.unwrap_err().sqlstate(), sqlstate, "{sql}");
    }
    assert_eq!(
        place.ask("SELECT name FROM sqlite_master WHERE name = 'u'").await,
        Vec::<String>::new()
    );
}

#[tokio::test]
async fn rows_are_changed_as_they_were_read_or_not_at_all() {
    let place =
        place(&format!("{ITEMS}; INSERT INTO item (id, name) VALUES (2, 'two'), (3, 'three')"))
            .await;
    let item = ("main", "item");
    let source = place.source.as_ref();
    let rows = seen(source, item.0, item.1).await;
    let changes = [(1, None), (2, Some("zwei")), (9, Some("neun"))];
    assert_eq!(change(source, item, &rows, &changes).await.unwrap().n_rows, 3);
    let all = "SELECT id || ',' || name || ',' || n FROM item ORDER BY id";
    assert_eq!(place.ask(all).await, ["2,zwei,4", "3,three,6", "9,neun,18"]);
    let rows = seen(source, item.0, item.1).await;
    place.ask("UPDATE item SET name = 'drei' WHERE id = 3").await;
    place.ask("DELETE FROM item WHERE id = 9").await;
    for (changes, sqlstate) in [
        (vec![(3, Some("lost")), (10, Some("x"))], "40001"),
        (vec![(2, Some("ok")), (9, None)], "40001"),
        (vec![(2, Some("a")), (2, Some("b"))], "21000"),
        (vec![(2, Some("ok")), (3_000, Some("new")), (3_000, Some("new"))], "23505"),
    ] {
        let error = change(source, item, &rows, &changes).await.unwrap_err();
        assert_eq!(error.sqlstate(), sqlstate, "{error:?}");
        assert_eq!(place.ask(all).await, ["2,zwei,4", "3,drei,6"]);
    }
    let SourceTable::Remote(view) = remote(source, "main", "seen").await else { panic!() };
    assert!(view.with_row_identity().is_none());
}

#[tokio::test]
async fn a_busy_file_is_said_so_and_work_is_done_once() {
    let place = place("CREATE TABLE t (id INTEGER, name TEXT)").await;
    let rows = ids(&[(1, None)]);
    for (number, already, n) in [(1, false, "1"), (1, true, "1"), (2, false, "2"), (1, true, "2")] {
        let mut request = request("main", "t", WriteMode::Append, &rows.schema());
        request.attempt.once = Some(("daily.publish".into(), number));
        let done = write(place.source.as_ref(), request, vec![rows.clone()]).await.unwrap();
        assert_eq!(done.already, already);
        assert_eq!(place.ask("SELECT count(*) FROM t").await, [n]);
    }
    assert_eq!(place.source.tables("main").await.unwrap().len(), 1);
    let mut other = place.connect().await;
    sqlx::raw_sql("BEGIN IMMEDIATE").execute(&mut other).await.unwrap();
    let error = place.put("t", WriteMode::Append, rows.clone()).await.unwrap_err();
    assert_eq!(error.sqlstate(), "55P03", "{error:?}");
    sqlx::raw_sql("ROLLBACK").execute(&mut other).await.unwrap();
    place.put("t", WriteMode::Append, rows).await.unwrap();
}

#[tokio::test]
async fn tables_are_changed_as_a_whole() {
    let place =
        place("CREATE TABLE t (id INTEGER, name TEXT); CREATE VIEW v AS SELECT name FROM t").await;
    let change = async |table: &str, change: TableChange| {
        place.source.change_table("main", table, change).await.map_err(|error| error.sqlstate())
    };
    let column = |name: &str, data_type| -> SchemaRef {
        Arc::new(Schema::new(vec![Field::new(name, data_type, true)]))
    };
    assert_eq!(change("t", TableChange::AddColumns(column("n", DataType::Int64))).await, Ok(()));
    assert_eq!(
        change("t", TableChange::AddColumns(column("n", DataType::Int64))).await,
        Err("42701")
    );
    assert_eq!(
        change("t", TableChange::WidenColumn(column("n", DataType::Float64))).await,
        Err("0A000")
    );
    let rename =
        |from: &str, to: &str| TableChange::RenameColumn { from: from.into(), to: to.into() };
    assert_eq!(change("t", rename("n", "m")).await, Ok(()));
    assert_eq!(change("t", rename("n", "m")).await, Err("42703"));
    assert_eq!(change("t", TableChange::DropColumns(vec!["name".into()])).await, Err("2BP01"));
    assert_eq!(change("t", TableChange::Truncate).await, Ok(()));
    assert_eq!(change("t", TableChange::RenameTable("u".into())).await, Ok(()));
    assert_eq!(change("t", TableChange::Drop).await, Err("42P01"));
    assert_eq!(change("v", TableChange::Drop).await, Err("42809"));
    assert_eq!(change("u", TableChange::Drop).await, Ok(()));
    assert_eq!(place.source.create_schema("main").await.unwrap_err().sqlstate(), "42P06");
    assert_eq!(place.source.create_schema("other").await.unwrap_err().sqlstate(), "0A000");
}
