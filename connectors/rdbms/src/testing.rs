//! Help for the tests of all three databases: services, a catalog by options, and the same question asked three ways.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, Int8Array, Int64Array, RecordBatch, StringArray, UInt32Array,
};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};
use arrow::util::pretty::pretty_format_batches;
use datafusion::prelude::{SessionConfig, SessionContext};
use futures::TryStreamExt;
use futures::future::BoxFuture;
use maru_connect::{
    Attempt, Committed, Connector, FederatedTable, OpenContext, OpenedStore, RemoteTable, RowOp,
    ScanRequest, Source, SourceTable, StoreOpener, WriteMode, WriteRequest, batch_stream,
};
use maru_core::{Error, Options, Result};
use url::Url;

/// Returns the address of a service, or `None` after saying that the test is left out.
///
/// With `MARU_TEST_SERVICES=required` a missing service fails the test.
pub(crate) fn service(variable: &str) -> Option<Url> {
    match std::env::var(variable) {
        Ok(text) => Some(Url::parse(&text).unwrap()),
        Err(_) => {
            let required = std::env::var("MARU_TEST_SERVICES").is_ok_and(|word| word == "required");
            assert!(!required, "{variable} is not set, and services are required");
            eprintln!("left out: {variable} is not set");
            None
        }
    }
}

/// The options that reach `service`, password apart from the URL, and more.
pub(crate) fn options_of(service: &Url, more: &[(&str, &str)]) -> Vec<(String, String)> {
    let mut bare = service.clone();
    bare.set_password(None).unwrap();
    let mut options = vec![
        ("url".to_owned(), bare.to_string()),
        ("password".to_owned(), service.password().unwrap_or_default().to_owned()),
    ];
    for (name, value) in more {
        options.retain(|(other, _)| other != name);
        options.push(((*name).to_owned(), (*value).to_owned()));
    }
    options
}

/// Opens a source as `CREATE CATALOG` would.
pub(crate) async fn open(
    connector: &dyn Connector,
    options: &[(String, String)],
) -> Result<Arc<dyn Source>> {
    connector.open(context(connector, options)?).await
}

/// What a connector gets to open a source.
pub(crate) fn context(
    connector: &dyn Connector,
    options: &[(String, String)],
) -> Result<OpenContext> {
    let raw = options.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let options = Options::check("connector", connector.spec().options, raw)?;
    Ok(OpenContext {
        catalog: "crm".into(),
        instance: "crm1".into(),
        options,
        stores: Arc::new(NoStores),
    })
}

pub(crate) fn no_stores() -> Arc<dyn StoreOpener> {
    Arc::new(NoStores)
}

#[derive(Debug)]
struct NoStores;

impl StoreOpener for NoStores {
    fn open_store<'a>(
        &'a self,
        _: &'a str,
        _: &'a Url,
        _: &'a Options,
    ) -> BoxFuture<'a, Result<OpenedStore>> {
        Box::pin(async { Err(Error::unsupported("no stores here")) })
    }
}

/// Opens a table that must be there.
pub(crate) async fn remote(source: &dyn Source, schema: &str, name: &str) -> SourceTable {
    source.table(schema, name).await.unwrap().unwrap()
}

/// Reads a whole request.
pub(crate) async fn read(table: &SourceTable, request: ScanRequest) -> Result<Vec<RecordBatch>> {
    let SourceTable::Remote(table) = table else { panic!("not a remote table") };
    table.read(request).try_collect().await
}

/// Returns a session with the table as `t`: pushed down, as `u`: not, and as `m`: copied into memory, evaluated locally.
pub(crate) async fn three_ways(table: &SourceTable) -> SessionContext {
    let context = SessionContext::new_with_config(SessionConfig::new().with_target_partitions(2));
    let pushed = FederatedTable::new("crm", table.clone());
    let unpushed = FederatedTable::new("crm", table.clone()).with_pushdown(false);
    context.register_table("t", Arc::new(pushed)).unwrap();
    context.register_table("u", Arc::new(unpushed)).unwrap();
    let rows = context.sql("SELECT * FROM u").await.unwrap().collect().await.unwrap();
    let memory = datafusion::datasource::MemTable::try_new(table.schema(), vec![rows]).unwrap();
    context.register_table("m", Arc::new(memory)).unwrap();
    context
}

/// Returns a session with the table as `t`: pushed down, and as `u`: not. For tables whose rows cannot all be read.
pub(crate) async fn two_ways(table: &SourceTable) -> SessionContext {
    let context = SessionContext::new();
    for (name, pushdown) in [("t", true), ("u", false)] {
        let federated = FederatedTable::new("crm", table.clone()).with_pushdown(pushdown);
        context.register_table(name, Arc::new(federated)).unwrap();
    }
    context
}

/// Runs SQL and prints the rows.
pub(crate) async fn rows(context: &SessionContext, sql: &str) -> Result<String> {
    let batches = context.sql(sql).await?.collect().await?;
    Ok(pretty_format_batches(&batches)?.to_string())
}

/// Asks for the ids that satisfy each predicate three ways, and returns how many predicates were sent.
pub(crate) async fn same_three_ways(table: &SourceTable, predicates: &[&str]) -> usize {
    let context = three_ways(table).await;
    let mut sent = 0;
    for predicate in predicates {
        let ask = |name: &str| format!("SELECT id FROM {name} WHERE {predicate} ORDER BY id");
        let pushed =
            rows(&context, &ask("t")).await.unwrap_or_else(|e| panic!("{predicate}: {e:?}"));
        let unpushed = rows(&context, &ask("u")).await.unwrap();
        let local = rows(&context, &ask("m")).await.unwrap();
        let plan = rows(&context, &format!("EXPLAIN {}", ask("t"))).await.unwrap();
        assert_eq!(pushed, local, "pushed, {predicate}\n{plan}");
        assert_eq!(unpushed, local, "not pushed, {predicate}");
        let counted = format!("SELECT count(*) FROM t WHERE {predicate}");
        let local = format!("SELECT count(*) FROM m WHERE {predicate}");
        assert_eq!(
            rows(&context, &counted).await.unwrap(),
            rows(&context, &local).await.unwrap(),
            "count, {predicate}"
        );
        sent += usize::from(!plan.contains("FilterExec"));
    }
    sent
}

/// Waits until `condition` holds, at most a minute.
pub(crate) async fn eventually(what: &str, condition: impl AsyncFn() -> bool) {
    for _ in 0..1200 {
        if condition().await {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    panic!("not within a minute: {what}");
}

/// A write of one try.
pub(crate) fn request(
    schema: &str,
    table: &str,
    mode: WriteMode,
    columns: &SchemaRef,
) -> WriteRequest {
    WriteRequest {
        schema: schema.to_owned(),
        table: table.to_owned(),
        mode,
        columns: Arc::clone(columns),
        options: Options::default(),
        attempt: Attempt { id: uuid::Uuid::new_v4().to_string(), once: None },
        statement: 0,
        memory: None,
        checked: Vec::new(),
        checks: Vec::new(),
    }
}

/// Writes and commits rows as the engine does, or takes them back.
pub(crate) async fn write(
    source: &dyn Source,
    request: WriteRequest,
    rows: Vec<RecordBatch>,
) -> Result<Committed> {
    let job = source.begin_write(request).await?;
    assert!(!job.describe().is_empty() && job.max_streams() >= 1);
    let stream = batch_stream(futures::stream::iter(rows.into_iter().map(Ok)));
    match Arc::clone(&job).write(stream).await {
        Ok(_) => job.commit().await,
        Err(error) => {
            job.abort().await;
            Err(error)
        }
    }
}

/// Returns the rows of a query without tables, or of a session's.
pub(crate) async fn batches(context: &SessionContext, sql: &str) -> Vec<RecordBatch> {
    context.sql(sql).await.unwrap().collect().await.unwrap()
}

/// The rows of a table with columns `id` and `name` as they are now, to be changed later.
pub(crate) struct Seen {
    table: Arc<dyn RemoteTable>,
    identity: usize,
    rows: RecordBatch,
}

pub(crate) async fn seen(source: &dyn Source, schema: &str, name: &str) -> Seen {
    let SourceTable::Remote(table) = remote(source, schema, name).await else { panic!() };
    let (identity, table) = table.with_row_identity().unwrap();
    let found = SourceTable::Remote(Arc::clone(&table));
    let rows = read(&found, ScanRequest::all(&table.schema())).await.unwrap();
    let rows = arrow::compute::concat_batches(&table.schema(), &rows).unwrap();
    Seen { table, identity: identity.columns.fields().len(), rows }
}

/// Changes rows as they were seen: by `id`, with a new name, or without one to delete; those that were not seen are inserted.
pub(crate) async fn change(
    source: &dyn Source,
    (schema, name): (&str, &str),
    seen: &Seen,
    changes: &[(i64, Option<&str>)],
) -> Result<Committed> {
    let ids = seen.rows.column_by_name("id").unwrap();
    let ids = arrow::compute::cast(ids, &DataType::Int64).unwrap();
    let ids = ids.as_primitive::<Int64Type>();
    let places = changes
        .iter()
        .map(|(id, _)| ids.iter().position(|known| known == Some(*id)).map(|place| place as u32));
    let places = places.collect::<UInt32Array>();
    let ops =
        changes.iter().enumerate().map(|(row, (_, name))| match (places.is_null(row), name) {
            (true, _) => RowOp::Insert as i8,
            (false, Some(_)) => RowOp::Update as i8,
            (false, None) => RowOp::Delete as i8,
        });
    let ops: ArrayRef = Arc::new(Int8Array::from_iter_values(ops));
    let own = ["id", "name"].map(|name| seen.table.schema().index_of(name).unwrap());
    let schema_of = |index: usize| seen.table.schema().field(index).clone().with_nullable(true);
    let mut fields = (0..seen.identity).map(schema_of).collect::<Vec<_>>();
    let identity = (0..seen.identity).map(|index| seen.rows.column(index));
    let mut columns = identity
        .map(|column| arrow::compute::take(column, &places, None).unwrap())
        .collect::<Vec<_>>();
    fields.push(Field::new("op", DataType::Int8, false));
    columns.push(ops);
    let columns_own = Arc::new(Schema::new(own.map(schema_of).to_vec()));
    fields.extend(own.map(schema_of));
    let ids = changes.iter().map(|(id, _)| Some(*id)).collect::<Int64Array>();
    columns.push(arrow::compute::cast(&ids, columns_own.field(0).data_type()).unwrap());
    columns.push(Arc::new(changes.iter().map(|(_, name)| *name).collect::<StringArray>()));
    let rows = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap();
    write(source, request(schema, name, WriteMode::Change, &columns_own), vec![rows]).await
}
