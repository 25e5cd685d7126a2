//! The conversation with one client: which message is answered how, simple queries, and what follows an error.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures::{SinkExt, StreamExt};
use maru_core::{Error, ErrorKind, limits};
use pgwire::messages::response::{
    CommandComplete, EmptyQueryResponse, ReadyForQuery, TransactionStatus as WireStatus,
};
use pgwire::messages::startup::ParameterStatus;
use pgwire::messages::{PgWireBackendMessage, PgWireFrontendMessage};

use super::Socket;
use super::errors::{Failure, Step, WireError, notice};
use super::extended::{Portal, Statement};
use super::rows::{Running, watched};
use super::types::row_description;
use crate::output::Body;
use crate::server::Life;
use crate::session::{Session, StatementText, TransactionStatus};
use crate::value_text::Zone;

/// Settings whose changes clients are told, and what they are where the session has no such setting.
const REPORTED: &[(&str, &str)] = &[
    ("TimeZone", "UTC"),
    ("DateStyle", "ISO, MDY"),
    ("IntervalStyle", "postgres"),
    ("client_encoding", "UTF8"),
    ("standard_conforming_strings", "on"),
    ("default_transaction_read_only", "off"),
    ("application_name", ""),
    ("search_path", "public"),
];

/// One logged-in client.
pub(super) struct Connection {
    pub(super) socket: Socket,
    pub(super) session: Arc<Session>,
    life: Life,
    pub(super) statements: HashMap<String, Arc<Statement>>,
    pub(super) portals: HashMap<String, Portal>,
    /// After an error the rest of an extended batch is skipped.
    skipping: bool,
    /// Between the first message of an extended batch and its Sync.
    in_batch: bool,
    reported: Vec<String>,
}

impl Connection {
    pub(super) fn new(socket: Socket, session: Arc<Session>, life: Life) -> Self {
        Self {
            socket,
            session,
            life,
            statements: HashMap::new(),
            portals: HashMap::new(),
            skipping: false,
            in_batch: false,
            reported: vec![String::new(); REPORTED.len()],
        }
    }

    /// Talks to the client until one of the two ends it.
    pub(super) async fn serve(mut self) {
        let abort = self.life.abort.clone();
        let end = tokio::select! {
            biased;
            () = abort.cancelled() => Failure::Fatal(stopping()),
            end = self.converse() => end,
        };
        // What runs is cancelled before the client hears of it.
        self.portals.clear();
        if let Failure::Fatal(error) | Failure::Statement(error) = end {
            let response = PgWireBackendMessage::ErrorResponse(error.response("FATAL"));
            let farewell = async {
                self.socket.send(response).await?;
                self.socket.close().await
            };
            let _ = tokio::time::timeout(Duration::from_secs(2), farewell).await;
        }
        self.session.close();
    }

    async fn converse(&mut self) -> Failure {
        if let Err(end) = self.ready().await {
            return end;
        }
        loop {
            let idle = !self.in_batch;
            let message = tokio::select! {
                biased;
                () = self.life.stop.cancelled(), if idle => return Failure::Fatal(stopping()),
                message = self.socket.next() => message,
            };
            let message = match message {
                Some(Ok(PgWireFrontendMessage::Terminate(_))) | None => return Failure::Gone,
                Some(Ok(message)) => message,
                Some(Err(error)) => return error.into(),
            };
            if let Err(end) = self.answer(message).await {
                return end;
            }
        }
    }

    /// Answers one message. Errors of a statement are told to the client in here; what comes out ends the connection.
    async fn answer(&mut self, message: PgWireFrontendMessage) -> Step {
        use PgWireFrontendMessage as M;
        if self.skipping && !matches!(message, M::Sync(_)) {
            return Ok(());
        }
        self.in_batch = message.is_extended_query();
        let extended = self.in_batch;
        let step = match message {
            M::Query(query) => self.simple_query(&query.query).await,
            M::Parse(parse) => self.parse(parse).await,
            M::Bind(bind) => self.bind(bind).await,
            M::Describe(describe) => self.describe(describe).await,
            M::Execute(execute) => self.execute(execute).await,
            M::Close(close) => self.close(close).await,
            M::Flush(_) => Ok(self.socket.flush().await?),
            M::Sync(_) => {
                self.skipping = false;
                self.in_batch = false;
                return self.ready().await;
            }
            // Left over from a COPY that was refused.
            M::CopyData(_) | M::CopyDone(_) | M::CopyFail(_) => return Ok(()),
            _ => {
                let message = "unexpected message from the client";
                return Err(Failure::Fatal(WireError::new("08P01", message)));
            }
        };
        match step {
            Ok(()) if extended => Ok(()),
            Ok(()) => self.ready().await,
            Err(Failure::Statement(error)) => {
                self.portals.clear();
                self.session.fail_transaction();
                let response = PgWireBackendMessage::ErrorResponse(error.response("ERROR"));
                self.socket.feed(response).await?;
                if extended {
                    self.skipping = true;
                    Ok(self.socket.flush().await?)
                } else {
                    self.ready().await
                }
            }
            Err(end) => Err(end),
        }
    }

    /// Tells changed settings and that the next statement may come.
    async fn ready(&mut self) -> Step {
        let status = match self.session.transaction_status() {
            TransactionStatus::Idle => {
                // Portals live as long as their transaction.
                self.portals.clear();
                WireStatus::Idle
            }
            TransactionStatus::Open => WireStatus::Transaction,
            TransactionStatus::Failed => WireStatus::Error,
        };
        for ((name, default), last) in REPORTED.iter().zip(&mut self.reported) {
            let value = self.session.setting(name).unwrap_or_else(|| (*default).to_owned());
            if value != *last || last.is_empty() {
                last.clone_from(&value);
                let status = ParameterStatus::new((*name).to_owned(), value);
                self.socket.feed(PgWireBackendMessage::ParameterStatus(status)).await?;
            }
        }
        let ready = PgWireBackendMessage::ReadyForQuery(ReadyForQuery::new(status));
        Ok(self.socket.send(ready).await?)
    }

    /// Runs the statements of a text one after the other, up to the first error.
    async fn simple_query(&mut self, text: &str) -> Step {
        // A simple query ends what is unnamed.
        self.statements.remove("");
        self.portals.remove("");
        check_size(text)?;
        let statements = Session::split(text)?;
        if statements.is_empty() {
            let empty = PgWireBackendMessage::EmptyQueryResponse(EmptyQueryResponse::new());
            return Ok(self.socket.feed(empty).await?);
        }
        for statement in statements {
            if let Some(tag) = self.forget(&statement.text) {
                self.complete(tag).await?;
                continue;
            }
            check_copy(&statement)?;
            let session = self.session.clone();
            let output = watched(&mut self.socket, session.run(&statement)).await??;
            self.notices(&output.notices).await?;
            match output.body {
                Body::Command { tag } => self.complete(&tag).await?,
                Body::Rows(rows) => {
                    let schema = rows.schema.clone();
                    let description = row_description(&schema, &[]);
                    let message = PgWireBackendMessage::RowDescription(description);
                    self.socket.feed(message).await?;
                    let mut running = Running::new(rows, &schema, &[], self.zone());
                    if let Some(tag) = running.send(&mut self.socket, 0).await? {
                        self.socket.feed(PgWireBackendMessage::CommandComplete(tag)).await?;
                    }
                }
            }
        }
        Ok(())
    }

    pub(super) async fn complete(&mut self, tag: &str) -> Step {
        let complete = PgWireBackendMessage::CommandComplete(CommandComplete::new(tag.to_owned()));
        Ok(self.socket.feed(complete).await?)
    }

    pub(super) async fn notices(&mut self, notices: &[String]) -> Step {
        for text in notices {
            let message = PgWireBackendMessage::NoticeResponse(notice(text));
            self.socket.feed(message).await?;
        }
        Ok(())
    }

    pub(super) fn zone(&self) -> Zone {
        Zone::parse(&self.session.setting("timezone").unwrap_or_default())
    }

    /// Statements prepared on the wire are known to the connection only, so `DEALLOCATE` and `DISCARD ALL`, which
    /// drivers send as SQL, are taken care of here. Returns the tag if nothing is left to do.
    pub(super) fn forget(&mut self, text: &str) -> Option<&'static str> {
        let mut words = text.split_whitespace();
        let mut word = || words.next().unwrap_or("");
        let first = word();
        if first.eq_ignore_ascii_case("DISCARD") && word().eq_ignore_ascii_case("ALL") {
            self.statements.clear();
            return None;
        }
        if !first.eq_ignore_ascii_case("DEALLOCATE") {
            return None;
        }
        let mut name = word();
        if name.eq_ignore_ascii_case("PREPARE") {
            name = word();
        }
        if name.eq_ignore_ascii_case("ALL") {
            self.statements.clear();
            return Some("DEALLOCATE ALL");
        }
        let quoted = name.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
        let name = quoted.map_or_else(|| name.to_lowercase(), |name| name.replace("\"\"", "\""));
        self.statements.remove(&name).map(|_| "DEALLOCATE")
    }
}

fn stopping() -> WireError {
    let message = "terminating connection due to administrator command";
    Error::new(ErrorKind::ShuttingDown, message).into()
}

pub(super) fn check_size(text: &str) -> Result<(), Error> {
    if text.len() <= limits::STATEMENT_BYTES_MAX {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::LimitExceeded,
        format!("statement of {} bytes is too long", text.len()),
    )
    .with_detail(format!("The limit statement_bytes_max is {}.", limits::STATEMENT_BYTES_MAX)))
}

/// Refuses a COPY that would turn the conversation into a stream of data.
pub(super) fn check_copy(statement: &StatementText) -> Result<(), Error> {
    let mut words = statement.text.split(|c: char| !c.is_alphanumeric() && c != '_');
    let is_copy = words.next().is_some_and(|word| word.eq_ignore_ascii_case("COPY"));
    let mut over_wire = statement.text.split_whitespace().filter(|word| {
        let word = word.trim_end_matches([';', ')']);
        word.eq_ignore_ascii_case("STDIN") || word.eq_ignore_ascii_case("STDOUT")
    });
    if is_copy && over_wire.next().is_some() {
        return Err(Error::unsupported("cannot COPY over the connection")
            .with_hint("Read with SELECT, or write to a file or an object store with COPY … TO."));
    }
    Ok(())
}
