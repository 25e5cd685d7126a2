//! The conversation with one client: which message is answered how, simple queries, and what follows an error.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::SinkExt;
use maru_core::{Error, ErrorKind, limits};
use pgwire::messages::response::{
    CommandComplete, EmptyQueryResponse, NotificationResponse, ReadyForQuery,
    TransactionStatus as WireStatus,
};
use pgwire::messages::startup::ParameterStatus;
use pgwire::messages::{PgWireBackendMessage, PgWireFrontendMessage};

use super::Socket;
use super::codec::Malformed;
use super::errors::{Failure, Step, WireError, notice};
use super::extended::Portal;
use super::rows::Running;
use super::socket::Broken;
use super::types::row_description;
use crate::engine::channels::Notification;
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
    pub(super) portals: HashMap<String, Portal>,
    /// After an error the rest of an extended batch is skipped.
    skipping: bool,
    /// Between the first message of an extended batch and its Sync.
    in_batch: bool,
    /// Whether the batch has several statements, which are one transaction.
    together: bool,
    reported: Vec<String>,
}

impl Connection {
    pub(super) fn new(mut socket: Socket, session: Arc<Session>, life: Life) -> Self {
        socket.end_with(session.termination());
        Self {
            socket,
            session,
            life,
            portals: HashMap::new(),
            skipping: false,
            in_batch: false,
            together: false,
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
        let undone = match self.session.transaction_status() {
            TransactionStatus::Idle if self.together => self.session.end_several(false).await,
            TransactionStatus::Idle => Ok(()),
            TransactionStatus::Open | TransactionStatus::Failed => {
                self.session.close_block(false, false).await.map(|_| ())
            }
        };
        if let Err(error) = undone {
            tracing::warn!(%error, "could not undo the transaction of a client that has gone");
        }
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
        let mut silent_since = Instant::now();
        loop {
            let idle = !self.in_batch;
            let (limit, too_long) = self.idle_limit();
            // What others send does not make the client a busy one.
            let left = limit.saturating_sub(silent_since.elapsed());
            let session = Arc::clone(&self.session);
            let is_free = idle && session.transaction_status() == TransactionStatus::Idle;
            let message = tokio::select! {
                biased;
                () = self.life.stop.cancelled(), if idle => return Failure::Fatal(stopping()),
                () = session.terminated() => return Failure::Fatal(stopping()),
                message = self.socket.next() => message,
                () = tokio::time::sleep(left), if idle && !limit.is_zero() => {
                    return Failure::Fatal(too_long);
                }
                () = session.notified(), if is_free => match self.tell_notifications(true).await {
                    Ok(()) => continue,
                    Err(end) => return end,
                },
            };
            let message = match message {
                Some(Ok(PgWireFrontendMessage::Terminate(_))) | None => return Failure::Gone,
                Some(Ok(message)) => message,
                Some(Err(Broken::Message(malformed))) => {
                    if let Err(end) = self.refuse(malformed).await {
                        return end;
                    }
                    silent_since = Instant::now();
                    continue;
                }
                Some(Err(error)) => return error.into(),
            };
            if let Err(end) = self.answer(message).await {
                return end;
            }
            silent_since = Instant::now();
        }
    }

    /// Returns how long the client may say nothing, and what it is told then.
    fn idle_limit(&self) -> (Duration, WireError) {
        let (setting, sqlstate, message) = match self.session.transaction_status() {
            TransactionStatus::Idle => (
                "idle_session_timeout",
                "57P05",
                "terminating connection due to idle-session timeout",
            ),
            _ => (
                "idle_in_transaction_session_timeout",
                "25P03",
                "terminating connection due to idle-in-transaction timeout",
            ),
        };
        (self.session.duration(setting), WireError::new(sqlstate, message))
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
            M::Execute(execute) => {
                self.begin_batch();
                self.execute(execute).await
            }
            M::Close(close) => self.close(close).await,
            M::Flush(_) => Ok(self.socket.flush().await?),
            M::Sync(_) => {
                let succeeded = !std::mem::take(&mut self.skipping);
                self.in_batch = false;
                return match self.end_batch(succeeded).await {
                    Ok(()) => self.ready().await,
                    Err(error) => self.tell(error.into(), false).await,
                };
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
            Err(Failure::Statement(_)) if self.session.is_terminated() => {
                Err(Failure::Fatal(stopping()))
            }
            Err(Failure::Statement(error)) => self.tell(error, extended).await,
            Err(end) => Err(end),
        }
    }

    /// Makes one transaction of the statements up to the next Sync, unless it is that of one statement alone: then the Sync has
    /// come with it. Source: PostgreSQL 16, section 55.2.4 "Pipelining".
    fn begin_batch(&mut self) {
        let idle = self.session.transaction_status() == TransactionStatus::Idle;
        if idle && !self.together && !self.socket.is_sync_next() {
            self.session.begin_several();
            self.together = true;
        }
    }

    async fn end_batch(&mut self, succeeded: bool) -> Result<(), Error> {
        match std::mem::take(&mut self.together) {
            true => self.session.end_several(succeeded).await,
            false => Ok(()),
        }
    }

    /// Tells the client an error. After one in the extended protocol the rest of the batch is skipped.
    async fn tell(&mut self, error: WireError, extended: bool) -> Step {
        self.portals.clear();
        self.session.forget_said();
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

    /// Answers a message that could not be read.
    async fn refuse(&mut self, malformed: Malformed) -> Step {
        if malformed.fatal {
            return Err(Failure::Fatal(malformed.error));
        }
        if self.skipping {
            return Ok(());
        }
        self.in_batch = malformed.extended;
        self.tell(malformed.error, malformed.extended).await
    }

    /// Tells changed settings and that the next statement may come.
    async fn ready(&mut self) -> Step {
        let status = match self.session.transaction_status() {
            TransactionStatus::Idle => {
                // Portals live as long as their transaction.
                self.portals.clear();
                self.session.publish_ended();
                self.tell_notifications(false).await?;
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

    /// Tells what has come by channels: before the next statement, or at once. A client that does not read can be terminated
    /// meanwhile: what waits for it keeps others from sending.
    async fn tell_notifications(&mut self, at_once: bool) -> Step {
        let session = Arc::clone(&self.session);
        let telling = async {
            for Notification { sender, text } in session.notifications() {
                let (channel, payload) = (text.channel.clone(), text.payload.clone());
                let told = NotificationResponse::new(sender, channel, payload);
                self.socket.feed(PgWireBackendMessage::NotificationResponse(told)).await?;
            }
            if at_once {
                self.socket.flush().await?;
            }
            Ok::<(), Failure>(())
        };
        tokio::select! {
            biased;
            told = telling => told,
            () = session.terminated() => Err(Failure::Fatal(stopping())),
        }
    }

    /// Runs the statements of a text one after the other, up to the first error.
    async fn simple_query(&mut self, text: &str) -> Step {
        // A simple query ends what is unnamed.
        self.session.forget_named("");
        self.portals.remove("");
        check_size(text)?;
        let statements = Session::split(text)?;
        if statements.is_empty() {
            let empty = PgWireBackendMessage::EmptyQueryResponse(EmptyQueryResponse::new());
            return Ok(self.socket.feed(empty).await?);
        }
        if statements.len() == 1 {
            return self.run_statements(statements).await;
        }
        // Together they are one transaction.
        self.session.begin_several();
        let result = self.run_statements(statements).await;
        if result.is_err() {
            self.session.fail_transaction();
        }
        let ended = self.session.end_several(result.is_ok()).await;
        result?;
        Ok(ended?)
    }

    async fn run_statements(&mut self, statements: Vec<StatementText>) -> Step {
        for statement in statements {
            let session = self.session.clone();
            if self.move_portal(&statement).await? {
                continue;
            }
            let arrived = Instant::now();
            let prepared = self.socket.watched(session.prepare(&statement, &[])).await??;
            if !prepared.parameters.is_empty() {
                let error = Error::new(ErrorKind::UndefinedParameter, "there is no parameter $1");
                return Err(error.with_hint("Send the values with the statement.").into());
            }
            if let Some((prepared, incoming)) = session.incoming(&prepared).await? {
                self.copy_in(prepared, incoming, false).await?;
                continue;
            }
            let run = async {
                let binary = session.is_binary(&prepared);
                let output = session.execute_since(&prepared, Vec::new(), arrived).await?;
                Ok::<_, Error>((output, binary))
            };
            let (output, binary) = self.socket.watched(run).await??;
            self.notices(&output.notices).await?;
            match output.body {
                Body::Command { tag } => self.complete(&tag).await?,
                Body::Copy { rows, options } => self.copy_out(rows, &options).await?,
                Body::Rows(rows) => {
                    let schema = rows.schema.clone();
                    let formats = vec![i16::from(binary); schema.fields().len()];
                    let description = row_description(&schema, &formats);
                    let message = PgWireBackendMessage::RowDescription(description);
                    self.socket.feed(message).await?;
                    let mut running = Running::new(rows, &schema, &formats, self.zone());
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
}

pub(super) fn stopping() -> WireError {
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
