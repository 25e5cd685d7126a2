//! What drivers ask about the server: catalogs, schemas, tables, types, abilities.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow_flight::flight_service_server::FlightService;
use arrow_flight::sql::metadata::{
    SqlInfoData, SqlInfoDataBuilder, XdbcTypeInfo, XdbcTypeInfoData, XdbcTypeInfoDataBuilder,
};
use arrow_flight::sql::{
    CommandGetCatalogs, CommandGetDbSchemas, CommandGetSqlInfo, CommandGetTableTypes,
    CommandGetTables, CommandGetXdbcTypeInfo, Nullable, Searchable, SqlInfo, XdbcDataType,
    XdbcDatetimeSubcode,
};
use datafusion::catalog::TableProvider;
use maru_connect::{FederatedTable, SourceTable};
use maru_core::{Error, Result, limits};
use tonic::{Response, Status};

use super::schema::outgoing;
use super::service::Service;
use super::sessions::FlightSession;
use super::statements::{dictionaries, encode, rows};
use super::status::status;
use crate::access::{Columns, Object, Privilege};
use crate::session::StatementText;
use crate::system::INFORMATION_SCHEMA;

pub(super) fn reply(
    batch: Result<RecordBatch>,
) -> Result<Response<<Service as FlightService>::DoGetStream>, Status> {
    let batch = batch.map_err(status)?;
    Ok(Response::new(encode(batch.schema(), futures::stream::iter([Ok(batch)]), None)))
}

fn flight(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::internal("could not build the answer").with_cause(error)
}

/// Reads text columns of the engine's own tables; NULL is the empty text.
pub(super) async fn texts(session: &FlightSession, sql: String) -> Result<Vec<Vec<String>>> {
    let mut all = Vec::new();
    for batch in rows(session, sql).await? {
        let columns = batch.columns().iter().map(|column| cast(column, &DataType::Utf8));
        let columns = columns.collect::<Result<Vec<_>, _>>().map_err(Error::from)?;
        for row in 0..batch.num_rows() {
            let text = |column: &Arc<dyn Array>| match column.is_null(row) {
                true => String::new(),
                false => column.as_string::<i32>().value(row).to_owned(),
            };
            all.push(columns.iter().map(text).collect());
        }
    }
    Ok(all)
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

fn identifier(text: &str) -> String {
    format!("\"{}\"", text.replace('"', "\"\""))
}

/// `WHERE` of the conditions that are set.
fn conditions(parts: &[(&str, &str, &Option<String>)]) -> String {
    let parts = parts.iter().filter_map(|(column, operator, value)| {
        value.as_ref().map(|value| format!("{column} {operator} {}", quoted(value)))
    });
    let parts: Vec<_> = parts.collect();
    if parts.is_empty() { String::new() } else { format!(" WHERE {}", parts.join(" AND ")) }
}

pub(super) async fn catalogs(
    session: &FlightSession,
    query: CommandGetCatalogs,
) -> Result<RecordBatch> {
    let mut builder = query.into_builder();
    for row in texts(session, "SELECT name FROM system.catalogs".to_owned()).await? {
        row.into_iter().for_each(|name| builder.append(name));
    }
    builder.build().map_err(flight)
}

pub(super) async fn schemas(
    session: &FlightSession,
    query: CommandGetDbSchemas,
) -> Result<RecordBatch> {
    let filter = conditions(&[
        ("catalog", "=", &query.catalog),
        ("name", "LIKE", &query.db_schema_filter_pattern),
    ]);
    let mut builder = query.into_builder();
    for row in texts(session, format!("SELECT catalog, name FROM system.schemas{filter}")).await? {
        if let [catalog, name] = row.as_slice() {
            builder.append(catalog, name);
        }
    }
    builder.build().map_err(flight)
}

pub(super) async fn tables(
    session: &FlightSession,
    query: CommandGetTables,
) -> Result<RecordBatch> {
    let filter = conditions(&[
        ("catalog", "=", &query.catalog),
        ("schema", "LIKE", &query.db_schema_filter_pattern),
        ("name", "LIKE", &query.table_name_filter_pattern),
    ]);
    let with_columns = query.include_schema;
    let wanted = query.table_types.clone();
    let mut builder = query.into_builder();
    let sql = format!("SELECT catalog, schema, name, kind FROM system.tables{filter}");
    let mut opened = 0;
    // Views of the standard have the same columns in every catalog.
    let mut standard: HashMap<String, Schema> = HashMap::new();
    for row in texts(session, sql).await? {
        let [catalog, schema, name, kind] = row.as_slice() else { continue };
        let kind = table_type(kind);
        if !wanted.is_empty() && !wanted.contains(&kind) {
            continue;
        }
        // Columns that are not remembered need the table to be opened, at its source: as many as a metadata question may cost.
        let columns = match with_columns {
            false => Schema::empty(),
            true if schema == INFORMATION_SCHEMA => match standard.get(name) {
                Some(columns) => columns.clone(),
                None => {
                    let columns = table_columns(session, catalog, schema, name).await;
                    standard.insert(name.clone(), columns.clone());
                    columns
                }
            },
            true if is_remembered(session, catalog, schema, name) => {
                table_columns(session, catalog, schema, name).await
            }
            true if opened < limits::METADATA_TABLES_MAX => {
                opened += 1;
                table_columns(session, catalog, schema, name).await
            }
            true => Schema::empty(),
        };
        builder.append(catalog, schema, name, &kind, &columns).map_err(flight)?;
    }
    builder.build().map_err(flight)
}

/// JDBC's words for the kinds of tables.
fn table_type(kind: &str) -> String {
    kind.to_uppercase().replace('_', " ")
}

fn is_remembered(session: &FlightSession, catalog: &str, schema: &str, name: &str) -> bool {
    let attached = session.session.require_catalog(catalog);
    attached.is_ok_and(|attached| attached.believed(schema, name).is_some())
}

/// Returns the columns of a table that are known without planning a query of it, as far as they show; `None` for views.
async fn known_columns(
    session: &FlightSession,
    catalog: &str,
    schema: &str,
    name: &str,
) -> Option<Schema> {
    let rights = session.session.rights();
    let object = Object::table(catalog, schema, name);
    let shown = rights.columns(Privilege::Select, &object).filter(|_| rights.sees(&object))?;
    let attached = session.session.require_catalog(catalog).ok()?;
    let table = attached.table(schema, name).await.ok().flatten()?;
    if !matches!(table, SourceTable::Remote(_) | SourceTable::Files(_)) {
        return None;
    }
    let all = FederatedTable::new(catalog, table).schema();
    let fields = all.fields().iter().filter(|field| match &shown {
        Columns::All => true,
        Columns::Some(names) => names.contains(field.name()),
    });
    Some(Schema::new(fields.cloned().collect::<Vec<_>>()))
}

/// A table that cannot be opened is listed without columns: one broken source must not hide all the others.
async fn table_columns(session: &FlightSession, catalog: &str, schema: &str, name: &str) -> Schema {
    if let Some(columns) = known_columns(session, catalog, schema, name).await {
        return outgoing(&columns, dictionaries(session)).as_ref().clone();
    }
    let path = [catalog, schema, name].map(identifier).join(".");
    let text = StatementText::one(format!("SELECT * FROM {path}"));
    match session.session.prepare(&text, &[]).await {
        Ok(prepared) => {
            let dictionaries = dictionaries(session);
            let columns = prepared.schema.map(|schema| outgoing(&schema, dictionaries));
            columns.map_or_else(Schema::empty, |columns| columns.as_ref().clone())
        }
        Err(error) => {
            tracing::debug!(%error, table = path, "listed without columns");
            Schema::empty()
        }
    }
}

pub(super) async fn table_types(
    session: &FlightSession,
    query: CommandGetTableTypes,
) -> Result<RecordBatch> {
    let mut kinds: Vec<_> = ["table", "view"].map(table_type).to_vec();
    let sql = "SELECT DISTINCT kind FROM system.tables WHERE catalog = 'maru'".to_owned();
    kinds.extend(texts(session, sql).await?.into_iter().flatten().map(|kind| table_type(&kind)));
    kinds.sort();
    kinds.dedup();
    let mut builder = query.into_builder();
    kinds.into_iter().for_each(|kind| builder.append(kind));
    builder.build().map_err(flight)
}

pub(super) fn sql_info_schema() -> &'static Schema {
    SqlInfoDataBuilder::schema()
}

pub(super) fn sql_info(query: CommandGetSqlInfo) -> Result<RecordBatch> {
    let data = abilities()?;
    query.into_builder(&data).build().map_err(flight)
}

/// What the server is and can do. Numbers are those of FlightSql.proto.
fn abilities() -> Result<SqlInfoData> {
    use SqlInfo as I;
    const NO_TRANSACTIONS: i32 = 0;
    const CASE_INSENSITIVE: i32 = 1;
    const CASE_SENSITIVE: i32 = 3;
    const NULLS_HIGH: i32 = 0;
    let mut info = SqlInfoDataBuilder::new();
    info.append(I::FlightSqlServerName, "Maru");
    info.append(I::FlightSqlServerVersion, env!("CARGO_PKG_VERSION"));
    info.append(I::FlightSqlServerArrowVersion, arrow::ARROW_VERSION);
    info.append(I::FlightSqlServerReadOnly, false);
    info.append(I::FlightSqlServerSql, true);
    info.append(I::FlightSqlServerSubstrait, false);
    info.append(I::FlightSqlServerTransaction, NO_TRANSACTIONS);
    info.append(I::FlightSqlServerCancel, true);
    info.append(I::FlightSqlServerBulkIngestion, true);
    info.append(I::FlightSqlServerIngestTransactionsSupported, false);
    info.append(I::FlightSqlServerStatementTimeout, 0_i32);
    info.append(I::FlightSqlServerTransactionTimeout, 0_i32);
    info.append(I::SqlDdlCatalog, true);
    info.append(I::SqlDdlSchema, true);
    info.append(I::SqlDdlTable, true);
    info.append(I::SqlIdentifierCase, CASE_INSENSITIVE);
    info.append(I::SqlQuotedIdentifierCase, CASE_SENSITIVE);
    info.append(I::SqlIdentifierQuoteChar, "\"");
    info.append(I::SqlAllTablesAreSelectable, true);
    info.append(I::SqlNullOrdering, NULLS_HIGH);
    info.append(I::SqlSearchStringEscape, "\\");
    info.append(I::SqlSupportsColumnAliasing, true);
    info.append(I::SqlNullPlusNullIsNull, true);
    info.append(I::SqlSupportsTableCorrelationNames, true);
    info.append(I::SqlSupportsExpressionsInOrderBy, true);
    info.append(I::SqlSupportsOrderByUnrelated, true);
    info.append(I::SqlSupportsLikeEscapeClause, true);
    info.append(I::SqlSchemaTerm, "schema");
    info.append(I::SqlCatalogTerm, "catalog");
    info.append(I::SqlCatalogAtStart, true);
    info.append(I::SqlCorrelatedSubqueriesSupported, true);
    info.append(I::SqlTransactionsSupported, false);
    info.append(I::SqlMaxStatementLength, limits::STATEMENT_BYTES_MAX as i64);
    info.build().map_err(flight)
}

pub(super) fn type_info(query: CommandGetXdbcTypeInfo) -> Result<RecordBatch> {
    let data = types()?;
    query.into_builder(&data).build().map_err(flight)
}

/// A type's SQL name, code, size, base of the size, quote of literals. Exact numbers count decimal digits, others bits.
type TypeInfo = (&'static str, XdbcDataType, i32, Option<i32>, Option<&'static str>);

const TYPES: &[TypeInfo] = &[
    ("bigint", XdbcDataType::XdbcBigint, 19, Some(10), None),
    ("boolean", XdbcDataType::XdbcBit, 1, None, None),
    ("bytea", XdbcDataType::XdbcVarbinary, i32::MAX, None, Some("'")),
    ("date", XdbcDataType::XdbcDate, 10, None, Some("'")),
    ("double precision", XdbcDataType::XdbcDouble, 53, Some(2), None),
    ("integer", XdbcDataType::XdbcInteger, 10, Some(10), None),
    ("numeric", XdbcDataType::XdbcDecimal, 38, Some(10), None),
    ("real", XdbcDataType::XdbcReal, 24, Some(2), None),
    ("smallint", XdbcDataType::XdbcSmallint, 5, Some(10), None),
    ("text", XdbcDataType::XdbcVarchar, i32::MAX, None, Some("'")),
    ("time", XdbcDataType::XdbcTime, 15, None, Some("'")),
    ("timestamp", XdbcDataType::XdbcTimestamp, 26, None, Some("'")),
];

pub(super) fn types() -> Result<XdbcTypeInfoData> {
    let mut builder = XdbcTypeInfoDataBuilder::new();
    for (name, code, size, radix, quote) in TYPES {
        let moment = match code {
            XdbcDataType::XdbcDate => Some(XdbcDatetimeSubcode::XdbcSubcodeYear),
            XdbcDataType::XdbcTime => Some(XdbcDatetimeSubcode::XdbcSubcodeTime),
            XdbcDataType::XdbcTimestamp => Some(XdbcDatetimeSubcode::XdbcSubcodeTimestamp),
            _ => None,
        };
        builder.append(XdbcTypeInfo {
            type_name: (*name).to_owned(),
            data_type: *code,
            column_size: Some(*size),
            literal_prefix: quote.map(str::to_owned),
            literal_suffix: quote.map(str::to_owned),
            nullable: Nullable::NullabilityNullable,
            case_sensitive: *code == XdbcDataType::XdbcVarchar,
            searchable: Searchable::Full,
            unsigned_attribute: radix.map(|_| false),
            local_type_name: Some((*name).to_owned()),
            sql_data_type: moment.map_or(*code, |_| XdbcDataType::XdbcDatetime),
            datetime_subcode: moment,
            num_prec_radix: *radix,
            ..Default::default()
        });
    }
    builder.build().map_err(flight)
}

fn text_field(name: &str, nullable: bool) -> Field {
    Field::new(name, DataType::Utf8, nullable)
}

/// The columns of primary keys.
pub(super) fn primary_keys() -> SchemaRef {
    Arc::new(Schema::new(vec![
        text_field("catalog_name", true),
        text_field("db_schema_name", true),
        text_field("table_name", false),
        text_field("column_name", false),
        Field::new("key_sequence", DataType::Int32, false),
        text_field("key_name", true),
    ]))
}

/// The columns of foreign keys.
pub(super) fn foreign_keys() -> SchemaRef {
    Arc::new(Schema::new(vec![
        text_field("pk_catalog_name", true),
        text_field("pk_db_schema_name", true),
        text_field("pk_table_name", false),
        text_field("pk_column_name", false),
        text_field("fk_catalog_name", true),
        text_field("fk_db_schema_name", true),
        text_field("fk_table_name", false),
        text_field("fk_column_name", false),
        Field::new("key_sequence", DataType::Int32, false),
        text_field("fk_key_name", true),
        text_field("pk_key_name", true),
        Field::new("update_rule", DataType::UInt8, false),
        Field::new("delete_rule", DataType::UInt8, false),
    ]))
}
