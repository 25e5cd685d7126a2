//! Transactions that only read: which one is, and what it refuses. The mode ends with its transaction, a change of it with its
//! savepoint.

use maru_core::{Error, ErrorKind, Result};

use super::{Session, TransactionStatus};

impl Session {
    /// Returns whether what runs now writes nothing but temporary tables: the transaction says so, or else the default of the
    /// session, by which a statement alone goes.
    pub(crate) fn is_read_only(&self) -> bool {
        let chosen = self.block.lock().read_only;
        chosen.unwrap_or_else(|| self.settings.read().is_read_only())
    }

    /// Sets the mode of the transaction; a statement alone has ended before anybody could write.
    ///
    /// # Errors
    /// 25001 for leave to write in a transaction that has begun to read without, or below a savepoint.
    pub(crate) fn set_read_only(&self, read_only: bool) -> Result<()> {
        if !self.in_transaction() {
            return Ok(());
        }
        let was = self.is_read_only();
        let mut block = self.block.lock();
        if was && !read_only {
            let why = match (block.has_savepoints(), block.queried) {
                (true, _) => {
                    "cannot set transaction read-write mode inside a read-only transaction"
                }
                (false, true) => "transaction read-write mode must be set before any query",
                (false, false) => "",
            };
            if !why.is_empty() {
                return Err(Error::new(ErrorKind::InTransaction, why));
            }
        }
        block.read_only = Some(read_only);
        Ok(())
    }

    /// Keeps that the transaction, if there is one, has run a query: from then on its mode only gets stricter.
    pub(super) fn note_query(&self) {
        let mut block = self.block.lock();
        if block.is_several() || block.status != TransactionStatus::Idle {
            block.queried = true;
        }
    }

    /// Refuses a statement that writes where nothing may be written.
    ///
    /// # Errors
    /// 25006.
    pub(super) fn refuse_when_read_only(&self, statement: &str) -> Result<()> {
        if !self.is_read_only() {
            return Ok(());
        }
        let message = format!("cannot execute {statement} in a read-only transaction");
        Err(Error::new(ErrorKind::ReadOnly, message))
    }
}
