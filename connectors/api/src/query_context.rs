//! What a scan may know about the statement it serves.

use std::sync::Arc;

use datafusion::catalog::Session;
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::prelude::SessionConfig;

/// Facts of the running statement, carried as an extension of DataFusion's session configuration.
#[derive(Debug, Clone, Default)]
pub struct QueryContext {
    /// The id in `system.queries`; 0 outside of a statement.
    pub query_id: u64,
    /// Whether the plan is told (`EXPLAIN`), so that what nobody else needs is found out as well.
    pub explained: bool,
    /// The statement's own memory pool and list of stores. The state that it is planned with is kept for the statements
    /// that follow, so that they cannot be the state's.
    runtime: Option<Arc<RuntimeEnv>>,
}

impl QueryContext {
    pub fn new(query_id: u64, runtime: Arc<RuntimeEnv>) -> Self {
        Self { query_id, explained: false, runtime: Some(runtime) }
    }

    /// The same, of a statement whose plan is told.
    #[must_use]
    pub fn explained(self) -> Self {
        Self { explained: true, ..self }
    }

    /// Returns the context of the session's statement, or the default outside of one.
    pub fn of(config: &SessionConfig) -> Arc<Self> {
        config.get_extension::<Self>().unwrap_or_default()
    }

    /// Returns the runtime that a scan counts its memory in and registers its store with: the statement's, or the state's
    /// outside of one.
    pub fn runtime(state: &dyn Session) -> Arc<RuntimeEnv> {
        let own = Self::of(state.config()).runtime.clone();
        own.unwrap_or_else(|| Arc::clone(state.runtime_env()))
    }
}
