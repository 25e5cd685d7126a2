//! The session that a function answers from. Functions are compared by it, so that one session's is never taken for another's.

use std::hash::{Hash, Hasher};
use std::sync::{Arc, Weak};

use datafusion::execution::{FunctionRegistry, SessionState};
use datafusion::logical_expr::{ScalarUDF, ScalarUDFImpl};
use maru_core::{Error, ErrorKind, Result};

use super::Session;

/// A session that may have ended.
#[derive(Debug, Clone)]
pub(super) struct OwnerSession(Weak<Session>);

impl OwnerSession {
    pub(super) fn new(session: &Weak<Session>) -> Self {
        Self(Weak::clone(session))
    }

    /// # Errors
    /// 57P01 if the session has ended.
    pub(super) fn get(&self) -> Result<Arc<Session>> {
        let session = self.0.upgrade();
        session.ok_or_else(|| Error::new(ErrorKind::ShuttingDown, "the session has ended"))
    }
}

impl PartialEq for OwnerSession {
    fn eq(&self, other: &Self) -> bool {
        Weak::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for OwnerSession {}

impl Hash for OwnerSession {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.as_ptr().hash(state);
    }
}

/// Adds a function to a session's state; what cannot be added is told to the log, and missing.
pub(super) fn add(state: &mut SessionState, function: impl ScalarUDFImpl + 'static) {
    if let Err(error) = state.register_udf(Arc::new(ScalarUDF::from(function))) {
        tracing::error!(error = %error, "could not register function");
    }
}
