//! Whether a remembered definition of a table is still the database's.
//!
//! The engine remembers tables for a while. A database that refuses a read may do so because the table is another one by now, so
//! the refusal marks what was remembered, and the next statement describes the table anew.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use maru_core::{Error, ErrorKind, Result};

/// The marks of the tables that a table is derived from, or its own.
#[derive(Debug, Clone)]
pub(crate) struct Outdated(Vec<Arc<AtomicBool>>);

impl Default for Outdated {
    fn default() -> Self {
        Self(vec![Arc::default()])
    }
}

impl Outdated {
    /// Returns the marks of both.
    pub fn and(&self, other: &Self) -> Self {
        Self(self.0.iter().chain(&other.0).map(Arc::clone).collect())
    }

    pub fn is_set(&self) -> bool {
        self.0.iter().any(|mark| mark.load(Ordering::Relaxed))
    }

    /// Reads, and sets the marks if the database refuses for a reason that another definition would explain.
    pub async fn learn(self, read: impl Future<Output = Result<()>>) -> Result<()> {
        let result = read.await;
        if let Err(error) = &result
            && matches!(error.kind(), ErrorKind::RemoteFailed | ErrorKind::RemoteTableNotFound)
        {
            self.0.iter().for_each(|mark| mark.store(true, Ordering::Relaxed));
        }
        result
    }
}

/// The error for a table that is not what it was described as.
pub(crate) fn changed(table: &str) -> Error {
    let what = format!("columns of {table} were changed in the database just now");
    Error::new(ErrorKind::RemoteFailed, what).with_hint("Run the statement again.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_a_refusal_by_the_database_is_told_to_all_tables() {
        let (one, other) = (Outdated::default(), Outdated::default());
        let both = one.and(&other);
        let lost = async || Err(Error::new(ErrorKind::RemoteUnavailable, "lost"));
        assert!(both.clone().learn(lost()).await.is_err() && !both.is_set());
        assert!(both.clone().learn(async { Err(changed("t")) }).await.is_err());
        assert!(one.is_set() && other.is_set() && !Outdated::default().is_set());
    }
}
