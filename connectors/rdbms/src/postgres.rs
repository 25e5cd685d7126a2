//! `postgres`: catalogs that are PostgreSQL databases.
//!
//! Listing and describing (`catalog`) asks pg_catalog. Rows travel as `COPY (SELECT …) TO STDOUT (FORMAT BINARY)`
//! (`read`), which is the fastest way out of PostgreSQL and streams with back-pressure; `decode` turns the bytes into
//! Arrow, `types` says which type becomes which, `conditions` which filters are sent,
//! `fragments` which groups, orders and joins.

mod catalog;
mod conditions;
mod decode;
mod estimates;
mod fragments;
mod keys;
mod parallel;
mod read;
mod table;
mod types;
mod unheld;
mod write;

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use maru_connect::{
    Capabilities, Connector, ConnectorSpec, OpenContext, Source, SourceTable, TableChange,
    TableEntry, TableKey, TypeSpec, WriteJob, WriteRequest,
};
use maru_core::{Error, ErrorKind, OptionKind, OptionSpec, Result};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions, PgSslMode};
use sqlx::{Connection, PgConnection, Postgres, Row};

use crate::failure::Peer;
use crate::native::one_select_wanted;
use crate::network::{self, Address, Tls};
use crate::pool::Connections;
use crate::values::numeric_scale;
use crate::write::{READ_ONLY, is_ours, read_only, refused};
use table::PostgresTable;

const SPEC: ConnectorSpec = ConnectorSpec {
    name: "postgres",
    doc: "A PostgreSQL database, version 11 or later.",
    options: &[
        OptionSpec::new(
            "url",
            OptionKind::Text,
            "The database's address, e.g. 'postgres://db.example:5432/shop'.",
        )
        .required(),
        network::USER,
        network::PASSWORD,
        network::TLS,
        network::CA_FILE,
        network::MAX_CONNECTIONS,
        OptionSpec::new(
            "parallel_reads",
            OptionKind::Integer,
            "Connections over which one large table is read at most, each a range of its pages, all in one snapshot; 1 for one.",
        )
        .default("4"),
        network::MAX_QUERIES_PER_SECOND,
        network::CONNECT_TIMEOUT,
        OptionSpec::new(
            "numeric_scale",
            OptionKind::Integer,
            "Decimal places kept of numeric columns declared without precision; a value with more is an error.",
        )
        .default("10"),
        READ_ONLY,
    ],
    table_options: &[],
    types: &[
        TypeSpec::new(
            "smallint, integer, bigint",
            "the same",
            "filter, group, min and max, order, join, sum",
        ),
        TypeSpec::new(
            "numeric(p,s)",
            "the same, up to 38 digits; with more places text",
            "filter, group, min and max, order, join, sum",
        ),
        TypeSpec::new(
            "numeric",
            "numeric(38, numeric_scale)",
            "filter, group, min and max, order, join, sum",
        ),
        TypeSpec::new(
            "real, double precision",
            "the same",
            "filter, not with 0, NaN or infinity",
        ),
        TypeSpec::new(
            "boolean",
            "the same",
            "filter, group, order, join",
        ),
        TypeSpec::new(
            "date, time, timestamp",
            "the same",
            "filter, group, min and max, order, join",
        ),
        TypeSpec::new(
            "timestamp with time zone",
            "the same, in UTC",
            "filter, group, min and max, order, join",
        ),
        TypeSpec::new(
            "interval",
            "the same",
            "IS NULL",
        ),
        TypeSpec::new(
            "text, varchar",
            "text",
            "filter, group, min and max, order, join; by bytes, whatever the collation",
        ),
        TypeSpec::new(
            "char(n)",
            "text, without the blanks at its end",
            "filter, group, min and max, order, join; by bytes",
        ),
        TypeSpec::new(
            "enums, uuid",
            "text",
            "filter, group, order, join",
        ),
        TypeSpec::new(
            "bytea",
            "the same",
            "IS NULL",
        ),
        TypeSpec::new(
            "json, jsonb",
            "text",
            "IS NULL",
        ),
        TypeSpec::new(
            "arrays of one dimension",
            "lists",
            "IS NULL",
        ),
        TypeSpec::new(
            "arrays declared with more dimensions",
            "text, as PostgreSQL writes it",
            "filter, group, order, join; as text",
        ),
        TypeSpec::new(
            "anything else: inet, ranges, money, composite types, …",
            "text, as PostgreSQL writes it",
            "filter, group, order, join; as text",
        ),
        TypeSpec::new(
            "NaN in numeric, infinity in dates, 24:00, more dimensions than declared, arrays that do not begin at 1",
            "an error that names the column",
            "–",
        ),
    ],
    capabilities: Capabilities {
        projection: true,
        filter: true,
        limit: true,
        aggregate: true,
        top_n: true,
        join: true,
        files: false,
        write: true,
    },
    example: "CREATE CATALOG crm USING postgres WITH (url = 'postgres://db.example:5432/crm', \
              user = 'reader', password = '…')",
};

/// Opens PostgreSQL databases.
#[derive(Debug)]
pub(crate) struct PostgresConnector;

impl Connector for PostgresConnector {
    fn spec(&self) -> &'static ConnectorSpec {
        const { &SPEC }
    }

    fn open(&self, context: OpenContext) -> BoxFuture<'static, Result<Arc<dyn Source>>> {
        Box::pin(async move { Ok(Arc::new(PostgresSource::new(&context)?) as Arc<dyn Source>) })
    }
}

/// One database.
#[derive(Debug)]
struct PostgresSource {
    connections: Arc<Connections<Postgres>>,
    /// Decimal places of unconstrained `numeric`.
    numeric_scale: i8,
    /// Connections over which one large table is read at most.
    parallel_reads: usize,
    read_only: bool,
}

impl PostgresSource {
    fn new(context: &OpenContext) -> Result<Self> {
        let mut address = Address::read(&context.options, &["postgres", "postgresql"], 5432)?;
        let given = address.given();
        let user = address.user.clone().unwrap_or_else(|| "postgres".to_owned());
        if address.database.is_empty() {
            // As every PostgreSQL client does.
            address.database.clone_from(&user);
        }
        let numeric_scale = numeric_scale(&context.options)?;
        let parallel_reads = context.options.integer("parallel_reads").unwrap_or(1);
        let parallel_reads = usize::try_from(parallel_reads)
            .ok()
            .filter(|n| (1..=64).contains(n))
            .ok_or_else(|| {
                Error::new(ErrorKind::InvalidOption, "option \"parallel_reads\" is out of range")
                    .with_hint("Give a number from 1 to 64.")
            })?;
        let peer = Peer {
            product: "PostgreSQL",
            address: address.shown(),
            classify: classify_sqlstate,
            given,
        };
        let mut options = PgConnectOptions::new_without_pgpass()
            .host(&address.host)
            .port(address.port)
            .username(&user)
            // Always given, so that the environment of the process cannot lend its own.
            .password(address.password.as_ref().map_or("", |password| password.reveal()))
            .database(&address.database)
            .application_name("maru")
            .statement_cache_capacity(0)
            .ssl_mode(match address.tls {
                Tls::Disable => PgSslMode::Disable,
                Tls::Prefer => PgSslMode::Prefer,
                Tls::Require => PgSslMode::Require,
                Tls::VerifyCa => PgSslMode::VerifyCa,
                Tls::VerifyFull => PgSslMode::VerifyFull,
            });
        if let Some(file) = &address.ca_file {
            options = options.ssl_root_cert(file);
        }
        let connections = Connections::remote(&address, peer, options, PgPoolOptions::new());
        Ok(Self {
            connections: Arc::new(connections),
            numeric_scale,
            parallel_reads,
            read_only: read_only(&context.options),
        })
    }

    fn writable(&self, schema: &str, table: &str) -> Result<()> {
        if self.read_only { Err(refused(&format!("{schema}.{table}"))) } else { Ok(()) }
    }

    /// Runs a query on the catalog tables with a pooled connection.
    async fn ask<T>(
        &self,
        question: impl AsyncFnOnce(&mut PgConnection) -> Result<T, sqlx::Error>,
    ) -> Result<T> {
        let mut lease = self.connections.lease().await?;
        question(&mut lease.connection)
            .await
            .map_err(|error| self.connections.peer.query_error(error))
    }
}

impl Source for PostgresSource {
    fn check(&self) -> BoxFuture<'_, Result<String>> {
        Box::pin(async move {
            let mut connection = self.connections.connect().await?;
            let peer = &self.connections.peer;
            let version = sqlx::query("SELECT current_setting('server_version')")
                .persistent(false)
                .fetch_one(&mut connection)
                .await
                .and_then(|row| row.try_get::<String, _>(0))
                .map_err(|error| peer.query_error(error))?;
            let _ = connection.close().await;
            let version = version.split_whitespace().next().unwrap_or_default();
            Ok(format!("PostgreSQL {version} at {}", peer.address))
        })
    }

    fn schemas(&self) -> BoxFuture<'_, Result<Vec<String>>> {
        Box::pin(self.ask(async |connection| catalog::schemas(connection).await))
    }

    fn tables<'a>(&'a self, schema: &'a str) -> BoxFuture<'a, Result<Vec<TableEntry>>> {
        Box::pin(async move {
            let tables =
                self.ask(async move |connection| catalog::tables(connection, schema).await);
            Ok(tables.await?.into_iter().filter(|table| !is_ours(&table.name)).collect())
        })
    }

    fn keys<'a>(&'a self, schema: &'a str) -> BoxFuture<'a, Result<Vec<TableKey>>> {
        Box::pin(async move {
            let keys = self.ask(async move |connection| keys::keys(connection, schema).await);
            Ok(keys.await?.into_iter().filter(|key| !is_ours(&key.table)).collect())
        })
    }

    fn table<'a>(
        &'a self,
        schema: &'a str,
        name: &'a str,
    ) -> BoxFuture<'a, Result<Option<SourceTable>>> {
        Box::pin(async move {
            let scale = self.numeric_scale;
            let relation = self
                .ask(async move |connection| {
                    catalog::relation(connection, schema, name, scale).await
                })
                .await?;
            Ok(relation.map(|relation| {
                let table = PostgresTable::new(
                    Arc::clone(&self.connections),
                    relation,
                    self.parallel_reads,
                );
                SourceTable::Remote(Arc::new(table))
            }))
        })
    }

    fn native_query<'a>(&'a self, query: &'a str) -> BoxFuture<'a, Result<SourceTable>> {
        Box::pin(async move {
            let query = query.trim().trim_end_matches(';').to_owned();
            let scale = self.numeric_scale;
            // A connection of its own: it keeps the prepared statement until it closes.
            let connect = self.connections.connect();
            let mut connection = self.connections.turn(connect).await?;
            let described = catalog::query(&mut connection, &query, scale).await;
            let _ = connection.close().await;
            let relation = described.map_err(|error| {
                one_select_wanted(&query, self.connections.peer.query_error(error))
            })?;
            let table =
                PostgresTable::new(Arc::clone(&self.connections), relation, self.parallel_reads);
            Ok(SourceTable::Remote(Arc::new(table)))
        })
    }

    fn keeps_work(&self) -> bool {
        true
    }

    fn begin_write(&self, request: WriteRequest) -> BoxFuture<'_, Result<Arc<dyn WriteJob>>> {
        Box::pin(async move {
            self.writable(&request.schema, &request.table)?;
            write::begin(Arc::clone(&self.connections), request, self.numeric_scale).await
        })
    }

    fn change_table<'a>(
        &'a self,
        schema: &'a str,
        table: &'a str,
        change: TableChange,
    ) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            self.writable(schema, table)?;
            write::change_table(&self.connections, schema, table, change).await
        })
    }

    fn create_schema<'a>(&'a self, schema: &'a str) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            if self.read_only {
                return Err(refused(schema));
            }
            write::create_schema(&self.connections, schema).await
        })
    }

    fn waited(&self) -> Duration {
        self.connections.waited()
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.connections.close())
    }
}

/// Returns the kind of a SQLSTATE that the server sent.
fn classify_sqlstate(code: &str) -> Option<ErrorKind> {
    Some(match code {
        "28P01" | "28000" => ErrorKind::RemoteAuthentication,
        // The database that the options name.
        "3D000" => ErrorKind::InvalidOption,
        "53300" => ErrorKind::TooManyConnections,
        "57P01" | "57P02" | "57P03" => ErrorKind::RemoteUnavailable,
        "42501" => ErrorKind::NotAllowed,
        "42P01" => ErrorKind::RemoteTableNotFound,
        "25006" => ErrorKind::ReadOnly,
        _ if code.starts_with("08") => ErrorKind::RemoteUnavailable,
        _ => return None,
    })
}

#[cfg(test)]
mod tests;
