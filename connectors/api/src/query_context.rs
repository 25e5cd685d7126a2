//! What a scan may know about the statement it serves.

use std::sync::Arc;

use datafusion::prelude::SessionConfig;

/// Facts of the running statement, carried as an extension of DataFusion's session configuration.
#[derive(Debug, Clone, Default)]
pub struct QueryContext {
    /// The id in `system.queries`; 0 outside of a statement.
    pub query_id: u64,
}

impl QueryContext {
    /// Returns the context of the session's statement, or the default outside of one.
    pub fn of(config: &SessionConfig) -> Arc<Self> {
        config.get_extension::<Self>().unwrap_or_default()
    }
}
