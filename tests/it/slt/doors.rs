//! Three ways to the same engine.

use std::sync::Arc;
use std::time::Duration;

use arrow_flight::error::FlightError;
use arrow_flight::sql::client::FlightSqlServiceClient;
use async_trait::async_trait;
use futures::StreamExt;
use maru::access::Login;
use maru::config::Config;
use maru::engine::Engine;
use maru::output::{Body, Output};
use maru::server::Servers;
use maru::session::Session;
use maru_core::{Error, Secret};
use sqllogictest::{AsyncDB, DBOutput, DefaultColumnType};
use tokio_postgres::types::{Kind, Type};
use tokio_postgres::{NoTls, SimpleQueryMessage};
use tonic::transport::{Channel, Endpoint};

use super::text;

const PASSWORD: &str = "slt-password";

/// A fresh engine with its servers.
pub(super) struct Place {
    dir: tempfile::TempDir,
    engine: Engine,
    servers: Servers,
}

impl Place {
    pub(super) async fn open() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let any = || "127.0.0.1:0".to_owned();
        let config = Config {
            data_dir: dir.path().join("data"),
            pg_listen: any(),
            flight_listen: any(),
            http_listen: any(),
            initial_password: Some(Secret::new(PASSWORD)),
            target_partitions: 2,
            ..Config::default()
        };
        let engine = Engine::open(config.clone()).await.unwrap();
        let servers = Servers::start(engine.clone(), &config).await.unwrap();
        Self { dir, engine, servers }
    }

    pub(super) fn dir(&self) -> &std::path::Path {
        self.dir.path()
    }

    pub(super) async fn close(&self) {
        self.servers.shutdown(Duration::from_secs(1)).await;
        self.engine.close(Duration::from_secs(1)).await;
    }
}

/// A door that a runner can knock at.
pub(super) trait Door: Sized {
    const NAME: &'static str;
    async fn connect(place: &Place) -> Self;
}

/// A failure as every door reports it: SQLSTATE, and text for the files to match.
#[derive(Debug)]
pub(super) struct Failure {
    sqlstate: String,
    text: String,
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Failure {}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self { sqlstate: error.sqlstate().to_owned(), text: error.report() }
    }
}

/// No server in between.
pub(super) struct Embedded(Arc<Session>);

impl Door for Embedded {
    const NAME: &'static str = "embedded";

    async fn connect(place: &Place) -> Self {
        Self(place.engine.session(Login::embedded()).await.unwrap())
    }
}

impl Embedded {
    async fn output(&self, sql: &str) -> Result<DBOutput<DefaultColumnType>, Error> {
        let mut last = DBOutput::StatementComplete(0);
        for statement in Session::split(sql)? {
            let Output { body, .. } = self.0.run(&statement).await?;
            last = match body {
                Body::Copy { .. } => panic!("a copy goes over the wire only"),
                Body::Command { tag } => {
                    let count = tag.rsplit(' ').next().and_then(|word| word.parse().ok());
                    DBOutput::StatementComplete(count.unwrap_or(0))
                }
                Body::Rows(rows) => {
                    let types = rows.schema.fields().iter().map(|f| text::letter(f.data_type()));
                    let types = types.collect();
                    let batches = rows.collect().await?;
                    DBOutput::Rows { types, rows: batches.iter().flat_map(text::rows).collect() }
                }
            };
        }
        Ok(last)
    }
}

#[async_trait]
impl AsyncDB for Embedded {
    type Error = Failure;
    type ColumnType = DefaultColumnType;

    async fn run(&mut self, sql: &str) -> Result<DBOutput<DefaultColumnType>, Failure> {
        Ok(self.output(sql).await?)
    }

    async fn shutdown(&mut self) {}

    fn engine_name(&self) -> &str {
        Self::NAME
    }

    async fn sleep(duration: Duration) {
        tokio::time::sleep(duration).await;
    }

    fn error_sql_state(error: &Failure) -> Option<String> {
        Some(error.sqlstate.clone())
    }
}

/// tokio-postgres: text over the simple protocol, types by preparing.
pub(super) struct Postgres(tokio_postgres::Client);

impl Door for Postgres {
    const NAME: &'static str = "postgres";

    async fn connect(place: &Place) -> Self {
        let (host, port) = place
            .servers
            .endpoints()
            .pg
            .rsplit_once(':')
            .map(|(h, p)| (h.to_owned(), p.parse().unwrap()))
            .unwrap();
        let (client, connection) = tokio_postgres::Config::new()
            .host(&host)
            .port(port)
            .user("maru")
            .password(PASSWORD)
            .dbname("maru")
            .connect(NoTls)
            .await
            .unwrap();
        tokio::spawn(connection);
        Self(client)
    }
}

#[async_trait]
impl AsyncDB for Postgres {
    type Error = Failure;
    type ColumnType = DefaultColumnType;

    async fn run(&mut self, sql: &str) -> Result<DBOutput<DefaultColumnType>, Failure> {
        let types = match self.0.prepare(sql).await {
            Ok(statement) => statement.columns().iter().map(|c| pg_letter(c.type_())).collect(),
            // Several statements at once cannot be prepared; the simple protocol tells what is really wrong.
            Err(_) => Vec::new(),
        };
        let messages = self.0.simple_query(sql).await.map_err(pg_failure)?;
        let mut output = DBOutput::StatementComplete(0);
        for message in messages {
            match message {
                SimpleQueryMessage::RowDescription(_) => {
                    output = DBOutput::Rows { types: types.clone(), rows: Vec::new() };
                }
                SimpleQueryMessage::Row(row) => {
                    if let DBOutput::Rows { rows, .. } = &mut output {
                        rows.push((0..row.len()).map(|i| text::shown(row.get(i))).collect());
                    }
                }
                SimpleQueryMessage::CommandComplete(count) => {
                    if let DBOutput::StatementComplete(known) = &mut output {
                        *known = count;
                    }
                }
                _ => {}
            }
        }
        Ok(output)
    }

    async fn shutdown(&mut self) {}

    fn engine_name(&self) -> &str {
        Self::NAME
    }

    async fn sleep(duration: Duration) {
        tokio::time::sleep(duration).await;
    }

    fn error_sql_state(error: &Failure) -> Option<String> {
        Some(error.sqlstate.clone())
    }
}

fn pg_letter(data_type: &Type) -> DefaultColumnType {
    match *data_type {
        Type::INT2 | Type::INT4 | Type::INT8 | Type::OID => DefaultColumnType::Integer,
        Type::FLOAT4 | Type::FLOAT8 | Type::NUMERIC => DefaultColumnType::FloatingPoint,
        _ => match data_type.kind() {
            Kind::Simple | Kind::Array(_) => DefaultColumnType::Text,
            _ => DefaultColumnType::Any,
        },
    }
}

fn pg_failure(error: tokio_postgres::Error) -> Failure {
    let Some(db) = error.as_db_error() else {
        return Failure { sqlstate: "08006".to_owned(), text: error.to_string() };
    };
    let sqlstate = db.code().code().to_owned();
    let mut text = format!("ERROR:  {sqlstate}: {}", db.message());
    if let Some(detail) = db.detail() {
        text.push_str(&format!("\nDETAIL:  {detail}"));
    }
    if let Some(hint) = db.hint() {
        text.push_str(&format!("\nHINT:  {hint}"));
    }
    Failure { sqlstate, text }
}

/// Arrow Flight SQL.
pub(super) struct Flight(FlightSqlServiceClient<Channel>);

impl Door for Flight {
    const NAME: &'static str = "flight";

    async fn connect(place: &Place) -> Self {
        let address = format!("http://{}", place.servers.endpoints().flight);
        let channel = Endpoint::new(address).unwrap().connect().await.unwrap();
        let mut client = FlightSqlServiceClient::new(channel);
        client.handshake("maru", PASSWORD).await.unwrap();
        Self(client)
    }
}

impl Flight {
    async fn output(
        &mut self,
        sql: &str,
    ) -> Result<DBOutput<DefaultColumnType>, Box<dyn std::error::Error + Send + Sync>> {
        let mut last = DBOutput::StatementComplete(0);
        let pieces = Session::split(sql).map_or_else(
            |_| vec![sql.to_owned()],
            |pieces| pieces.into_iter().map(|piece| piece.text).collect(),
        );
        for piece in pieces {
            if is_update(&piece) {
                let count = self.0.execute_update(piece, None).await?;
                last = DBOutput::StatementComplete(u64::try_from(count).unwrap_or(0));
                continue;
            }
            let info = self.0.execute(piece, None).await?;
            for endpoint in info.endpoint {
                let Some(ticket) = endpoint.ticket else { continue };
                let mut stream = self.0.do_get(ticket).await?;
                let mut rows = Vec::new();
                let mut types = Vec::new();
                let mut batches = Vec::new();
                while let Some(batch) = stream.next().await {
                    batches.push(batch?);
                }
                if let Some(schema) = stream.schema() {
                    types = schema.fields().iter().map(|f| text::letter(f.data_type())).collect();
                }
                for batch in &batches {
                    rows.extend(text::rows(batch));
                }
                last = if types.is_empty() {
                    DBOutput::StatementComplete(0)
                } else {
                    DBOutput::Rows { types, rows }
                };
            }
        }
        Ok(last)
    }
}

/// Returns whether a client would send a statement as an update.
/// A write that tells of its rows is asked as a query: as an update, they are counted alone.
fn is_update(sql: &str) -> bool {
    let words = sql.to_lowercase();
    let words = words.trim_start();
    if words.contains(" returning ") {
        return false;
    }
    ["insert", "update", "delete", "merge", "create table", "create or replace table"]
        .iter()
        .any(|first| words.starts_with(first))
        || words.starts_with("with ") && words.contains(") insert into ")
}

#[async_trait]
impl AsyncDB for Flight {
    type Error = Failure;
    type ColumnType = DefaultColumnType;

    async fn run(&mut self, sql: &str) -> Result<DBOutput<DefaultColumnType>, Failure> {
        self.output(sql).await.map_err(|error| flight_failure(error.as_ref()))
    }

    async fn shutdown(&mut self) {
        let _ = self.0.close().await;
    }

    fn engine_name(&self) -> &str {
        Self::NAME
    }

    async fn sleep(duration: Duration) {
        tokio::time::sleep(duration).await;
    }

    fn error_sql_state(error: &Failure) -> Option<String> {
        Some(error.sqlstate.clone())
    }
}

/// Reads `SQLSTATE: message` out of the gRPC status at the bottom of an error.
fn flight_failure(error: &(dyn std::error::Error + 'static)) -> Failure {
    let mut cause = Some(error);
    let mut text = error.to_string();
    while let Some(error) = cause {
        if let Some(FlightError::Tonic(status)) = error.downcast_ref::<FlightError>() {
            text = status.message().to_owned();
            break;
        }
        cause = error.source();
    }
    let sqlstate = text.chars().take(5).collect::<String>();
    Failure { sqlstate, text: format!("ERROR:  {text}") }
}
