//! One client's conversation with the engine.

use std::sync::Arc;

use arrow::datatypes::{DataType, SchemaRef};
use datafusion::common::ScalarValue;
use maru_core::{Error, Result};

use crate::output::Output;

/// Settings, prepared statements and the running statement of one client.
///
/// A session runs one statement at a time; protocols call it from one task, [`Session::cancel`] from anywhere.
#[derive(Debug)]
pub struct Session {
    id: i32,
}

/// One statement of a text that may hold several.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatementText {
    /// Without the semicolon.
    pub text: String,
    /// Characters before it in the whole text; error positions count from the start of the whole text.
    pub offset: usize,
}

/// Whether a transaction block is open, as PostgreSQL tells its clients. Maru's blocks are read-only: every statement
/// commits by itself, `BEGIN`/`COMMIT` only keep drivers content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TransactionStatus {
    Idle,
    Open,
    Failed,
}

/// A statement that has been parsed and planned, to be executed any number of times.
#[derive(Debug, Clone)]
pub struct Prepared {
    /// Columns of the result; `None` for a command without rows.
    pub schema: Option<SchemaRef>,
    /// Types of `$1`, `$2`, …; `None` where the statement does not tell.
    pub parameters: Vec<Option<DataType>>,
    pub text: StatementText,
}

impl Session {
    /// Splits a text at its top-level semicolons. Comments and empty statements are left out.
    ///
    /// # Errors
    /// 42601 for text that has no tokens' shape (an open quote), with its position.
    pub fn split(sql: &str) -> Result<Vec<StatementText>> {
        Ok(vec![StatementText { text: sql.to_owned(), offset: 0 }])
    }

    /// Returns the number by which `system.sessions` and `CANCEL QUERY` know the session.
    pub fn id(&self) -> i32 {
        self.id
    }

    /// Returns the secret that a cancel request must bring.
    pub fn cancel_secret(&self) -> i32 {
        0
    }

    pub fn user(&self) -> &str {
        ""
    }

    /// Returns the current value of a setting, as `SHOW` prints it.
    pub fn setting(&self, _name: &str) -> Option<String> {
        None
    }

    /// Sets a setting from outside SQL (start-up parameters of a protocol).
    ///
    /// # Errors
    /// 42704 for an unknown name, 22023 for a value it cannot take.
    pub fn set(&self, _name: &str, _value: &str) -> Result<()> {
        Ok(())
    }

    pub fn transaction_status(&self) -> TransactionStatus {
        TransactionStatus::Idle
    }

    /// Marks an open transaction block as failed after an error, as PostgreSQL does.
    pub fn fail_transaction(&self) {}

    /// Parses and plans one statement. `parameters` are types the client declared (`None`: not declared).
    ///
    /// # Errors
    /// Everything that is wrong with a statement before it runs, with its position in the whole text.
    pub async fn prepare(
        &self,
        statement: &StatementText,
        _parameters: &[Option<DataType>],
    ) -> Result<Prepared> {
        Err(Error::unsupported(statement.text.clone()))
    }

    /// Runs a prepared statement. Waits in the queue if too many run already.
    ///
    /// # Cancel
    /// By [`Session::cancel`], by dropping the future, by dropping the output's stream.
    pub async fn execute(
        &self,
        prepared: &Prepared,
        _parameters: Vec<ScalarValue>,
    ) -> Result<Output> {
        Err(Error::unsupported(prepared.text.text.clone()))
    }

    /// Prepares and runs one statement.
    pub async fn run(&self, statement: &StatementText) -> Result<Output> {
        let prepared = self.prepare(statement, &[]).await?;
        self.execute(&prepared, Vec::new()).await
    }

    /// Cancels the running statement, wherever it is; the next one runs as usual.
    pub fn cancel(&self) {}

    /// Ends the session: cancels what runs and forgets it in `system.sessions`. Dropping does the same.
    pub fn close(self: Arc<Self>) {}
}
