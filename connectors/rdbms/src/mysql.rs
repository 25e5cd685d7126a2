//! `mysql`: catalogs that are MySQL or MariaDB servers; their databases are schemas.
//!
//! Listing and describing (`catalog`) asks information_schema. Rows travel in the binary form of prepared statements
//! (`read`), since there a row can never be taken for the end of the result; `decode` turns values into Arrow, `types`
//! says which type becomes which, `conditions` which filters are sent.

mod catalog;
mod conditions;
mod decode;
mod fragments;
mod keys;
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
use sqlx::mysql::{MySqlConnectOptions, MySqlConnection, MySqlPoolOptions, MySqlSslMode};
use sqlx::{ConnectOptions, Connection, MySql, Row};

use crate::failure::Peer;
use crate::native::one_select_wanted;
use crate::network::{self, Address, Tls};
use crate::pool::Connections;
use crate::values::numeric_scale;
use crate::write::{READ_ONLY, is_ours, read_only, refused};
use table::MySqlTable;
use types::Choices;

const SPEC: ConnectorSpec = ConnectorSpec {
    name: "mysql",
    doc: "A MySQL (5.7 or later) or MariaDB (10.3 or later) server.",
    options: &[
        OptionSpec::new(
            "url",
            OptionKind::Text,
            "The server's address, e.g. 'mysql://db.example:3306'; with a database at its end the catalog has only that.",
        )
        .required(),
        network::USER,
        network::PASSWORD,
        network::TLS,
        network::CA_FILE,
        network::MAX_CONNECTIONS,
        network::MAX_QUERIES_PER_SECOND,
        network::CONNECT_TIMEOUT,
        OptionSpec::new(
            "tinyint1",
            OptionKind::OneOf(&["boolean", "integer"]),
            "What a column declared TINYINT(1) or BOOLEAN is; as a boolean, a value other than 0 and 1 is an error.",
        )
        .default("boolean"),
        OptionSpec::new(
            "numeric_scale",
            OptionKind::Integer,
            "Decimal places kept of decimals in native queries, which do not tell theirs; a value with more is an error.",
        )
        .default("10"),
        READ_ONLY,
    ],
    table_options: &[],
    types: &[
        TypeSpec::new(
            "TINYINT(1), BOOLEAN",
            "boolean, or integer as option tinyint1 says; 2 is an error (22003)",
            "= and <>",
        ),
        TypeSpec::new(
            "BIT(1)",
            "boolean",
            "IS NULL",
        ),
        TypeSpec::new(
            "TINYINT, SMALLINT",
            "smallint; unsigned integer",
            "filter, group, min and max, order, join, sum",
        ),
        TypeSpec::new(
            "MEDIUMINT, INT",
            "integer; unsigned bigint",
            "filter, group, min and max, order, join, sum",
        ),
        TypeSpec::new(
            "BIGINT",
            "bigint; unsigned numeric(20,0)",
            "filter, group, min and max, order, join, sum",
        ),
        TypeSpec::new(
            "BIT(2) to BIT(63), BIT(64)",
            "bigint, numeric(20,0)",
            "IS NULL",
        ),
        TypeSpec::new(
            "DECIMAL(p,s)",
            "numeric(p,s); of more than 38 digits numeric(38,s), and a value with more is an error (22003)",
            "filter, group, min and max, order, join, sum",
        ),
        TypeSpec::new(
            "FLOAT",
            "real",
            "IS NULL",
        ),
        TypeSpec::new(
            "DOUBLE",
            "double precision",
            "filter, not with 0, NaN or infinity",
        ),
        TypeSpec::new(
            "CHAR, VARCHAR, TEXT",
            "text; CHAR without the blanks at its end",
            "filter, group, order; by bytes; = and IN find an index if the character set is plain",
        ),
        TypeSpec::new(
            "ENUM, SET, UUID, INET4, INET6",
            "text",
            "filter, group, order; by bytes",
        ),
        TypeSpec::new(
            "JSON",
            "text",
            "IS NULL",
        ),
        TypeSpec::new(
            "BINARY, VARBINARY, BLOB",
            "bytea",
            "IS NULL",
        ),
        TypeSpec::new(
            "DATE, DATETIME",
            "date, timestamp; 0000-00-00 and 2024-02-00 are errors (22007)",
            "filter, group, min and max, order, join",
        ),
        TypeSpec::new(
            "TIMESTAMP",
            "timestamp with time zone, in UTC",
            "filter, group, min and max, order, join",
        ),
        TypeSpec::new(
            "TIME",
            "time; negative ones and those of a day or more are errors (22007)",
            "filter, group, min and max, order, join",
        ),
        TypeSpec::new(
            "YEAR",
            "integer",
            "filter",
        ),
        TypeSpec::new(
            "geometries",
            "text: POINT(1 2)",
            "IS NULL",
        ),
        TypeSpec::new(
            "anything else",
            "text, as MySQL writes it",
            "IS NULL",
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
    example: "CREATE CATALOG crm USING mysql WITH (url = 'mysql://db.example:3306/crm', \
              user = 'reader', password = '…')",
};

/// Opens MySQL and MariaDB servers.
#[derive(Debug)]
pub(crate) struct MySqlConnector;

impl Connector for MySqlConnector {
    fn spec(&self) -> &'static ConnectorSpec {
        const { &SPEC }
    }

    fn open(&self, context: OpenContext) -> BoxFuture<'static, Result<Arc<dyn Source>>> {
        Box::pin(async move { Ok(Arc::new(MySqlSource::new(&context)?) as Arc<dyn Source>) })
    }
}

/// One server, or one database of it.
#[derive(Debug)]
struct MySqlSource {
    connections: Arc<Connections<MySql>>,
    /// The only schema there is, if the options name one.
    database: Option<String>,
    choices: Choices,
    read_only: bool,
    loader: write::Loader,
}

impl MySqlSource {
    fn new(context: &OpenContext) -> Result<Self> {
        let options = &context.options;
        let address = Address::read(options, &["mysql", "mariadb"], 3306)?;
        let user = address.user.clone().ok_or_else(|| {
            Error::new(ErrorKind::InvalidOption, "option \"user\" is missing")
                .with_hint("Give it as an option, in a secret or in \"url\".")
        })?;
        let choices = Choices {
            numeric_scale: numeric_scale(options)?,
            booleans: options.text("tinyint1") != Some("integer"),
        };
        let peer =
            Peer { product: "MySQL", address: address.shown(), classify, given: address.given() };
        let mut connect = MySqlConnectOptions::new()
            .host(&address.host)
            .port(address.port)
            .username(&user)
            .statement_cache_capacity(2 * read::KEPT_STATEMENTS)
            // The session is set up whole before each read.
            .pipes_as_concat(false)
            .no_engine_substitution(false)
            // Statements hold values, and no value belongs into a log.
            .disable_statement_logging()
            .ssl_mode(match address.tls {
                Tls::Disable => MySqlSslMode::Disabled,
                Tls::Prefer => MySqlSslMode::Preferred,
                Tls::Require => MySqlSslMode::Required,
                Tls::VerifyCa => MySqlSslMode::VerifyCa,
                Tls::VerifyFull => MySqlSslMode::VerifyIdentity,
            });
        if let Some(password) = &address.password {
            connect = connect.password(password.reveal());
        }
        if let Some(file) = &address.ca_file {
            connect = connect.ssl_ca(file);
        }
        let database = Some(address.database.clone()).filter(|name| !name.is_empty());
        if let Some(name) = &database {
            connect = connect.database(name);
        }
        let loader = write::Loader::new(&address, &user);
        let connections = Connections::remote(&address, peer, connect, MySqlPoolOptions::new());
        let read_only = read_only(options);
        Ok(Self { connections: Arc::new(connections), database, choices, read_only, loader })
    }

    /// Runs a query on information_schema with a pooled connection.
    async fn ask<T>(
        &self,
        question: impl AsyncFnOnce(&mut MySqlConnection) -> Result<T, sqlx::Error>,
    ) -> Result<T> {
        let mut lease = self.connections.lease().await?;
        question(&mut lease.connection)
            .await
            .map_err(|error| self.connections.peer.query_error(error))
    }

    /// Returns whether the catalog has this schema, if the server does.
    fn covers(&self, schema: &str) -> bool {
        self.database.as_ref().is_none_or(|only| only == schema)
    }

    fn writable(&self, schema: &str, table: &str) -> Result<()> {
        if self.read_only {
            return Err(refused(&format!("{schema}.{table}")));
        }
        if !self.covers(schema) {
            return Err(write::no_table(schema, table));
        }
        Ok(())
    }

    fn opened(&self, relation: catalog::Relation) -> SourceTable {
        SourceTable::Remote(Arc::new(MySqlTable::new(Arc::clone(&self.connections), relation)))
    }
}

impl Source for MySqlSource {
    fn check(&self) -> BoxFuture<'_, Result<String>> {
        Box::pin(async move {
            let mut connection = self.connections.connect().await?;
            let peer = &self.connections.peer;
            let version = sqlx::query("SELECT VERSION()")
                .fetch_one(&mut connection)
                .await
                .and_then(|row| row.try_get_unchecked::<String, _>(0))
                .map_err(|error| peer.query_error(error))?;
            let _ = connection.close().await;
            Ok(format!("{} at {}", product(&version), peer.address))
        })
    }

    fn schemas(&self) -> BoxFuture<'_, Result<Vec<String>>> {
        let only = self.database.as_deref();
        Box::pin(self.ask(async move |connection| catalog::schemas(connection, only).await))
    }

    fn tables<'a>(&'a self, schema: &'a str) -> BoxFuture<'a, Result<Vec<TableEntry>>> {
        Box::pin(async move {
            if !self.covers(schema) {
                return Ok(Vec::new());
            }
            let tables = self.ask(async |connection| catalog::tables(connection, schema).await);
            Ok(tables.await?.into_iter().filter(|table| !is_ours(&table.name)).collect())
        })
    }

    fn keys<'a>(&'a self, schema: &'a str) -> BoxFuture<'a, Result<Vec<TableKey>>> {
        Box::pin(async move {
            if !self.covers(schema) {
                return Ok(Vec::new());
            }
            let keys = self.ask(async |connection| keys::keys(connection, schema).await);
            Ok(keys.await?.into_iter().filter(|key| !is_ours(&key.table)).collect())
        })
    }

    fn table<'a>(
        &'a self,
        schema: &'a str,
        name: &'a str,
    ) -> BoxFuture<'a, Result<Option<SourceTable>>> {
        Box::pin(async move {
            if !self.covers(schema) {
                return Ok(None);
            }
            let choices = self.choices;
            let relation = self
                .ask(async |connection| catalog::relation(connection, schema, name, choices).await)
                .await?;
            Ok(relation.map(|relation| self.opened(relation)))
        })
    }

    fn native_query<'a>(&'a self, query: &'a str) -> BoxFuture<'a, Result<SourceTable>> {
        Box::pin(async move {
            let query = query.trim().trim_end_matches(';');
            // A connection of its own: what the query does to its session ends with it.
            let connect = self.connections.connect();
            let mut connection = self.connections.turn(connect).await?;
            let described = catalog::query(&mut connection, query, self.choices).await;
            let _ = connection.close().await;
            let relation = described.map_err(|error| {
                one_select_wanted(query, self.connections.peer.query_error(error))
            })?;
            Ok(self.opened(relation))
        })
    }

    fn keeps_work(&self) -> bool {
        true
    }

    fn begin_write(&self, request: WriteRequest) -> BoxFuture<'_, Result<Arc<dyn WriteJob>>> {
        Box::pin(async move {
            self.writable(&request.schema, &request.table)?;
            write::begin(Arc::clone(&self.connections), request, self.choices, &self.loader).await
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
            if self.database.is_some() {
                return Err(Error::unsupported(format!(
                    "database \"{schema}\" cannot be made: the catalog has one database only"
                ))
                .with_hint("Leave the database out of the catalog's option \"url\"."));
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

/// Returns `MariaDB 10.11.6` for `10.11.6-MariaDB-0+deb12u1`, `MySQL 8.0.36` for `8.0.36-0ubuntu0.22.04.1`.
fn product(version: &str) -> String {
    // MariaDB up to 10.x pretends to be MySQL 5.5.5 before clients that would not know it.
    let number = version.strip_prefix("5.5.5-").unwrap_or(version);
    let number = number.split('-').next().unwrap_or_default();
    let name = if version.to_lowercase().contains("mariadb") { "MariaDB" } else { "MySQL" };
    format!("{name} {number}")
}

/// Returns the kind of an error number that the server sent. SQLSTATE says too little here: 42000 is a wrong
/// statement, an unknown database and a lack of privileges.
fn classify(number: &str) -> Option<ErrorKind> {
    Some(match number {
        // Wrong password, host not allowed, no login by socket from afar, expired password.
        "1045" | "1130" | "1698" | "1820" | "1862" => ErrorKind::RemoteAuthentication,
        // The database that the options name; a server that insists on TLS.
        "1049" | "3159" => ErrorKind::InvalidOption,
        "1040" | "1203" | "1226" => ErrorKind::TooManyConnections,
        "1044" | "1142" | "1143" | "1227" | "1370" => ErrorKind::NotAllowed,
        // Shutdown, host blocked, broken packets, connection killed.
        "1053" | "1077" | "1079" | "1129" | "1152" | "1153" | "1158" | "1159" | "1160" | "1161"
        | "1184" | "1927" | "3169" | "4031" => ErrorKind::RemoteUnavailable,
        "1146" => ErrorKind::RemoteTableNotFound,
        "1060" => ErrorKind::InvalidStatement,
        "1792" => ErrorKind::ReadOnly,
        _ => return None,
    })
}

#[cfg(test)]
mod tests;
