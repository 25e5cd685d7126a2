//! A server as a backend of the shell, over the PostgreSQL wire.

use std::future::poll_fn;
use std::sync::Arc;

use async_trait::async_trait;
use futures::StreamExt;
use maru_core::{Error, ErrorKind, Secret};
use parking_lot::Mutex;
use tokio_postgres::error::ErrorPosition;
use tokio_postgres::types::Type;
use tokio_postgres::{AsyncMessage, Client, NoTls, SimpleQueryMessage};

use super::backend::{Backend, Column, ColumnKind, Failure, Reply, ResultSet, Row};
use super::script::words;
use crate::output::WARNING;
use crate::session::StatementText;

/// Rows that are handed to the printer at once.
const CHUNK_ROWS: usize = 512;

/// Words at the begin of a statement among which its tag is.
const TAG_WORDS: usize = 8;

/// Where and as whom to connect. The password is kept apart so that the rest can be shown.
#[derive(Debug, Clone)]
pub struct Target {
    config: tokio_postgres::Config,
    /// Host, port, user and catalog, as a sentence's end.
    shown: String,
}

impl Target {
    /// Reads `postgres://user[:password]@host:port/catalog`. User and catalog default to `maru`, the port to 5433.
    ///
    /// # Errors
    /// 22023 for text that is not such a URL. The password is not repeated.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let bad = |what: &str| {
            Error::new(ErrorKind::InvalidParameter, format!("bad connection URL: {what}"))
                .with_hint(
                    "Write postgres://user@host:port/catalog and the password in PGPASSWORD.",
                )
        };
        let url = url::Url::parse(text).map_err(|cause| bad(&cause.to_string()))?;
        if !matches!(url.scheme(), "postgres" | "postgresql") {
            return Err(bad("the scheme must be postgres"));
        }
        let mut config: tokio_postgres::Config =
            text.parse().map_err(|cause: tokio_postgres::Error| {
                bad(&std::error::Error::source(&cause)
                    .map_or_else(|| cause.to_string(), ToString::to_string))
            })?;
        let host = url.host_str().filter(|host| !host.is_empty()).unwrap_or("localhost");
        if config.get_hosts().is_empty() {
            config.host(host);
        }
        if url.port().is_none() {
            config.port(DEFAULT_PORT);
        }
        let user = config.get_user().unwrap_or("maru").to_owned();
        let catalog = config.get_dbname().unwrap_or("maru").to_owned();
        let port = url.port().unwrap_or(DEFAULT_PORT);
        config.user(&user).dbname(&catalog);
        config.application_name("maru sql");
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(std::time::Duration::from_secs(
                maru_core::limits::CONNECT_TIMEOUT_S,
            ));
        }
        let person = user.split('@').next().unwrap_or_default();
        let shown = format!("user \"{person}\" on server {host}:{port}, catalog \"{catalog}\"");
        Ok(Self { config, shown })
    }

    pub fn has_password(&self) -> bool {
        self.config.get_password().is_some()
    }

    pub fn user(&self) -> &str {
        self.config.get_user().unwrap_or_default()
    }

    pub fn set_password(&mut self, password: &Secret) {
        self.config.password(password.reveal());
    }
}

const DEFAULT_PORT: u16 = 5433;

/// One connection to a server.
pub struct Remote {
    target: Target,
    client: Client,
    notices: Arc<Mutex<Vec<String>>>,
}

impl Remote {
    /// Connects.
    pub async fn connect(target: Target) -> Result<Self, Failure> {
        let (client, mut connection) = target.config.connect(NoTls).await.map_err(|error| {
            let mut failure = failure(&error, 0);
            failure.lost = true;
            failure
        })?;
        let notices = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&notices);
        tokio::spawn(async move {
            while let Some(Ok(message)) = poll_fn(|cx| connection.poll_message(cx)).await {
                if let AsyncMessage::Notice(notice) = message {
                    let kind = if notice.severity() == "WARNING" { WARNING } else { "" };
                    sink.lock().push(format!("{kind}{}", notice.message()));
                }
            }
        });
        Ok(Self { target, client, notices })
    }

    async fn kinds(&self, statement: &StatementText) -> Result<Vec<ColumnKind>, Failure> {
        let prepared = self
            .client
            .prepare(&statement.text)
            .await
            .map_err(|error| failure(&error, statement.offset))?;
        Ok(prepared.columns().iter().map(|column| kind_of(column.type_())).collect())
    }
}

#[async_trait]
impl Backend for Remote {
    async fn run(&self, statement: &StatementText, typed: bool) -> Result<Reply, Failure> {
        let kinds = if typed { self.kinds(statement).await? } else { Vec::new() };
        let offset = statement.offset;
        let mut stream = Box::pin(
            self.client
                .simple_query_raw(&statement.text)
                .await
                .map_err(|error| failure(&error, offset))?,
        );
        // The answer starts with the columns, or it is a command.
        let columns = loop {
            match stream.next().await.transpose().map_err(|error| failure(&error, offset))? {
                Some(SimpleQueryMessage::RowDescription(columns)) => break columns,
                Some(SimpleQueryMessage::CommandComplete(rows)) => {
                    // The rest of the answer, up to "ready for query", may still bring an error.
                    while let Some(message) = stream.next().await {
                        message.map_err(|error| failure(&error, offset))?;
                    }
                    return Ok(Reply::Command(tag_of(&statement.text, rows)));
                }
                Some(_) => {}
                None => return Ok(Reply::Command(tag_of(&statement.text, 0))),
            }
        };
        let columns = columns.iter().enumerate().map(|(i, column)| Column {
            name: column.name().to_owned(),
            kind: kinds.get(i).copied().unwrap_or(ColumnKind::Text),
        });
        let columns: Vec<_> = columns.collect();
        let rows = stream
            .filter_map(move |message| async move {
                match message {
                    Ok(SimpleQueryMessage::Row(row)) => {
                        let row = (0..row.len()).map(|i| row.get(i).map(str::to_owned));
                        Some(Ok(row.collect::<Row>()))
                    }
                    Ok(_) => None,
                    Err(error) => Some(Err(failure(&error, offset))),
                }
            })
            .ready_chunks(CHUNK_ROWS)
            .flat_map(|chunk| {
                // Rows before an error are shown, then the error.
                let mut rows = Vec::with_capacity(chunk.len());
                let mut error = None;
                for row in chunk {
                    match row {
                        Ok(row) => rows.push(row),
                        Err(failure) => error = Some(Err(failure)),
                    }
                }
                futures::stream::iter([Some(Ok(rows)), error].into_iter().flatten())
            })
            .boxed();
        Ok(Reply::Rows(ResultSet { columns, rows }))
    }

    async fn cancel(&self) {
        if let Err(error) = self.client.cancel_token().cancel_query(NoTls).await {
            tracing::warn!(%error, "could not send the cancel request");
        }
    }

    fn take_notices(&self) -> Vec<String> {
        std::mem::take(&mut *self.notices.lock())
    }

    fn describe(&self) -> String {
        format!("You are {}.", self.target.shown)
    }

    async fn companion(&self) -> Result<Arc<dyn Backend>, Failure> {
        Ok(Arc::new(Self::connect(self.target.clone()).await?))
    }
}

fn kind_of(of: &Type) -> ColumnKind {
    const NUMBERS: &[Type] = &[
        Type::INT2,
        Type::INT4,
        Type::INT8,
        Type::FLOAT4,
        Type::FLOAT8,
        Type::NUMERIC,
        Type::OID,
        Type::MONEY,
    ];
    if *of == Type::BOOL {
        ColumnKind::Boolean
    } else if NUMBERS.contains(of) {
        ColumnKind::Number
    } else {
        ColumnKind::Text
    }
}

/// The client library tells only the number of rows: the words of the tag are those the statement begins with.
fn tag_of(statement: &str, rows: u64) -> String {
    let mut words = words(statement, TAG_WORDS).into_iter().map(|word| word.to_uppercase());
    let first = words.next().unwrap_or_default();
    match first.as_str() {
        "INSERT" => format!("INSERT 0 {rows}"),
        "UPDATE" | "DELETE" | "MERGE" | "COPY" => format!("{first} {rows}"),
        "CREATE" | "ALTER" | "DROP" | "COMMENT" | "CANCEL" => {
            let object =
                words.find(|word| !matches!(word.as_str(), "OR" | "REPLACE")).unwrap_or_default();
            let more = match object.as_str() {
                "EXTERNAL" => " TABLE",
                _ => "",
            };
            format!("{first} {object}{more}")
        }
        _ => first,
    }
}

/// Turns the client library's error into what the shell prints.
fn failure(error: &tokio_postgres::Error, offset: usize) -> Failure {
    if let Some(db) = error.as_db_error() {
        let position = match db.position() {
            Some(ErrorPosition::Original(position)) => Some(*position as usize + offset),
            _ => None,
        };
        return Failure {
            sqlstate: db.code().code().to_owned(),
            message: db.message().to_owned(),
            detail: db.detail().map(str::to_owned),
            hint: db.hint().map(str::to_owned),
            position,
            lost: matches!(db.severity(), "FATAL" | "PANIC"),
        };
    }
    // The library's own text is short ("db error", "error connecting to server"); what happened is in its causes.
    let mut message = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        let text = inner.to_string();
        if !message.contains(&text) {
            message.push_str(&format!(": {text}"));
        }
        cause = inner.source();
    }
    Failure {
        sqlstate: ErrorKind::ConnectionFailed.sqlstate().to_owned(),
        message,
        detail: None,
        hint: None,
        position: None,
        lost: true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_has_defaults_and_its_password_is_not_shown() {
        let target = Target::parse("postgres://maru:s3cret@db.local/lake").unwrap();
        assert_eq!(target.shown, "user \"maru\" on server db.local:5433, catalog \"lake\"");
        assert!(target.has_password());
        let target = Target::parse("postgres://localhost:6000").unwrap();
        assert_eq!(target.user(), "maru");
        assert!(!target.has_password());
        let error = Target::parse("mysql://a:s3cret@b").unwrap_err();
        assert_eq!(error.sqlstate(), "22023");
        assert!(!error.report().contains("s3cret"));
    }

    #[test]
    fn tags_are_those_of_the_statement() {
        assert_eq!(tag_of("create or replace view v as select 1", 0), "CREATE VIEW");
        assert_eq!(tag_of("CREATE EXTERNAL TABLE t STORED AS PARQUET", 0), "CREATE EXTERNAL TABLE");
        assert_eq!(tag_of("insert into t values (1)", 1), "INSERT 0 1");
        assert_eq!(tag_of("SET a = 1", 0), "SET");
    }
}
