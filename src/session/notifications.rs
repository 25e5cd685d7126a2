//! `LISTEN`, `UNLISTEN`, `NOTIFY` and `pg_notify`: what a transaction says of channels waits for its end.

use std::collections::VecDeque;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, Weak};

use arrow::array::{Array, AsArray, StringArray};
use arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use datafusion::error::Result as DfResult;
use datafusion::execution::{FunctionRegistry, SessionState};
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use maru_core::{Error, ErrorKind, Result, limits};
use maru_sql::Channel;

use super::{Session, TransactionStatus};
use crate::access::Protocol;
use crate::catalog::BUILTIN;
use crate::engine::channels::{Act, Notification};

/// Bytes from which on a name, or a text, is too long. Source: PostgreSQL 16, `NAMEDATALEN` and `NOTIFY_PAYLOAD_MAX_LENGTH`.
const NAME_BYTES: usize = 64;
const PAYLOAD_BYTES: usize = 8000;

impl Session {
    /// Keeps what a statement says of channels until its transaction ends; a statement alone is one.
    ///
    /// # Errors
    /// 0A000 for listening at a door that cannot tell, 22023 for what is too long, 54000 for too much.
    pub(crate) fn channel(&self, statement: &Channel) -> Result<()> {
        let act = match statement {
            Channel::Listen(_) if self.login.protocol != Protocol::Postgres => {
                return Err(Error::unsupported("LISTEN goes over the PostgreSQL wire only")
                    .with_hint("Listen by psql or a PostgreSQL driver."));
            }
            Channel::Listen(channel) => {
                check_name(channel)?;
                let count = self.engine.inner.channels.count(self.id);
                let is_listen = |act: &&Act| matches!(act, Act::Listen(_));
                let coming = self.block.lock().said.iter().filter(is_listen).count();
                if count + coming >= limits::CHANNELS_MAX {
                    let message = "the session listens to too many channels";
                    return Err(Error::new(ErrorKind::LimitExceeded, message)
                        .with_detail(format!("The limit is {}.", limits::CHANNELS_MAX))
                        .with_hint("UNLISTEN those that are not needed."));
                }
                Act::Listen(channel.clone())
            }
            Channel::Unlisten(channel) => Act::Unlisten(channel.clone()),
            Channel::Notify { channel, payload } => {
                return self.notify(channel, payload);
            }
        };
        self.block.lock().said.push(act);
        self.publish_alone();
        Ok(())
    }

    fn notify(&self, channel: &str, payload: &str) -> Result<()> {
        check_name(channel)?;
        if payload.len() >= PAYLOAD_BYTES {
            return Err(Error::new(ErrorKind::InvalidParameter, "payload string too long"));
        }
        // Texts end at a zero byte on the wire.
        if channel.contains('\0') || payload.contains('\0') {
            let message = "invalid byte sequence for encoding \"UTF8\": 0x00";
            return Err(Error::new(ErrorKind::BadEncoding, message));
        }
        // What a transaction sends twice is sent once, and counts once.
        let is_same = |act: &Act| match act {
            Act::Notify(sent) => sent.text.channel == channel && sent.text.payload == payload,
            Act::Listen(_) | Act::Unlisten(_) => false,
        };
        if self.block.lock().said.iter().any(is_same) {
            return Ok(());
        }
        if !self.engine.inner.channels.have_room(&self.own_database(), channel) {
            return Err(too_many().with_detail("Somebody who listens does not read."));
        }
        let text = self.engine.inner.channels.text(channel, payload);
        let text = text.ok_or_else(|| too_many().with_detail("Too many texts wait to be read."))?;
        {
            let mut block = self.block.lock();
            if block.said.len() >= limits::NOTIFICATIONS_MAX {
                return Err(too_many().with_hint("COMMIT sends those of this transaction."));
            }
            block.said.push(Act::Notify(Notification { sender: self.id, text }));
        }
        self.publish_alone();
        Ok(())
    }

    /// Publishes what a statement alone has said, where the door does not tell how it ends.
    fn publish_alone(&self) {
        if self.login.protocol != Protocol::Postgres && !self.in_transaction() {
            self.publish();
        }
    }

    /// Does what the transaction that has ended well has said of channels; nothing while one is open.
    pub(crate) fn publish_ended(&self) {
        if !self.in_transaction() {
            self.publish();
        }
    }

    /// Forgets what a statement alone has said that failed. In a block, the block's end does.
    pub(crate) fn forget_said(&self) {
        if !self.in_transaction() {
            self.block.lock().said.clear();
        }
    }

    pub(super) fn publish(&self) {
        let said = std::mem::take(&mut self.block.lock().said);
        if !said.is_empty() {
            let database = self.own_database();
            self.engine.inner.channels.publish(self.id, &database, &self.mailbox, said);
        }
    }

    /// Listens to nothing any more, whatever becomes of the transaction.
    pub(crate) fn unlisten_all(&self) {
        let (database, acts) = (self.own_database(), vec![Act::Unlisten(None)]);
        self.engine.inner.channels.publish(self.id, &database, &self.mailbox, acts);
    }

    /// Takes what has come by the channels that the session listens to; nothing while a transaction is open.
    pub(crate) fn notifications(&self) -> VecDeque<Notification> {
        match self.transaction_status() {
            TransactionStatus::Idle => self.mailbox.take(),
            TransactionStatus::Open | TransactionStatus::Failed => VecDeque::new(),
        }
    }

    /// Returns once something has come by a channel.
    ///
    /// # Cancel
    /// Nothing is lost when the future is dropped.
    pub(crate) async fn notified(&self) {
        self.mailbox.rung().await;
    }

    fn own_database(&self) -> String {
        self.login.database.clone().unwrap_or_else(|| BUILTIN.to_owned())
    }
}

fn check_name(channel: &str) -> Result<()> {
    let message = match channel.len() {
        0 => "channel name cannot be empty",
        1..NAME_BYTES => return Ok(()),
        _ => "channel name too long",
    };
    Err(Error::new(ErrorKind::InvalidParameter, message))
}

fn too_many() -> Error {
    Error::new(ErrorKind::LimitExceeded, "too many notifications in the NOTIFY queue")
}

/// Registers `pg_notify` with the state of a session.
pub(super) fn register(state: &mut SessionState, session: &Weak<Session>) {
    let signature = Signature::exact(vec![DataType::Utf8, DataType::Utf8], Volatility::Volatile);
    let function = PgNotify { signature, session: Weak::clone(session) };
    // Registering cannot fail for scalar functions.
    if let Err(error) = state.register_udf(Arc::new(ScalarUDF::from(function))) {
        tracing::error!(%error, "could not register function");
    }
}

#[derive(Debug)]
struct PgNotify {
    signature: Signature,
    session: Weak<Session>,
}

impl PartialEq for PgNotify {
    fn eq(&self, other: &Self) -> bool {
        Weak::ptr_eq(&self.session, &other.session)
    }
}

impl Eq for PgNotify {}

impl Hash for PgNotify {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.session.as_ptr().hash(state);
    }
}

impl ScalarUDFImpl for PgNotify {
    fn name(&self) -> &str {
        "pg_notify"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    /// PostgreSQL's is `void`, which clients are shown as empty text.
    fn return_type(&self, _: &[DataType]) -> DfResult<DataType> {
        Ok(DataType::Utf8)
    }

    /// Sends one text for each row; NULL is the empty one.
    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        let session = self.session.upgrade();
        let session =
            session.ok_or_else(|| Error::new(ErrorKind::ShuttingDown, "the session has ended"))?;
        let [channels, payloads] = args.args.as_slice() else {
            return Err(Error::internal("pg_notify takes two texts").into());
        };
        let is_one =
            matches!((channels, payloads), (ColumnarValue::Scalar(_), ColumnarValue::Scalar(_)))
                && args.number_rows == 1;
        let channels = channels.to_array(args.number_rows)?;
        let payloads = payloads.to_array(args.number_rows)?;
        let text = |texts: &Arc<dyn Array>, row: usize| match texts.is_null(row) {
            true => String::new(),
            false => texts.as_string::<i32>().value(row).to_owned(),
        };
        for row in 0..args.number_rows {
            session.notify(&text(&channels, row), &text(&payloads, row))?;
        }
        if is_one {
            return Ok(ColumnarValue::Scalar(ScalarValue::Utf8(Some(String::new()))));
        }
        Ok(ColumnarValue::Array(Arc::new(StringArray::from(vec![""; args.number_rows]))))
    }
}
