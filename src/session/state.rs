//! DataFusion's state that statements are planned with, kept from one to the next: some two thousand functions are listed in
//! it, whose copy would take longer than a small statement.

use std::collections::HashMap;
use std::sync::Arc;

use datafusion::execution::object_store::DefaultObjectStoreRegistry;
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::execution::{SessionState, TaskContext};
use maru_connect::QueryContext;

use super::{Session, Settings, functions};
use crate::engine::query::Query;
use crate::opaque::Opaque;

/// A state, and what of the session it was made for.
pub(super) struct Kept {
    /// Tells states apart that were made for different settings.
    number: u64,
    catalog: String,
    settings: Settings,
    state: Opaque<SessionState>,
}

impl Session {
    /// Returns the state to plan one statement with, by the session's settings as they are now.
    pub(crate) fn statement_state(&self) -> Opaque<SessionState> {
        self.state_for(QueryContext::default())
    }

    /// Returns the state to plan and run a query with, which has its memory pool and its own list of stores, so that a
    /// dropped catalog's client lives no longer than the statements that read from it. Caches and disk are shared.
    pub(super) fn query_state(&self, query: &Arc<Query>) -> Opaque<SessionState> {
        self.state_for(self.query_context(query))
    }

    /// The same, to tell of the plan.
    pub(super) fn explaining_state(&self, query: &Arc<Query>) -> Opaque<SessionState> {
        self.state_for(self.query_context(query).explained())
    }

    fn query_context(&self, query: &Arc<Query>) -> QueryContext {
        let shared = self.state.runtime_env();
        let runtime = RuntimeEnv {
            memory_pool: Arc::clone(&query.pool) as _,
            disk_manager: Arc::clone(&shared.disk_manager),
            cache_manager: Arc::clone(&shared.cache_manager),
            object_store_registry: Arc::new(DefaultObjectStoreRegistry::new()),
        };
        QueryContext::new(query.id, Arc::new(runtime))
    }

    /// Returns the number of the state that statements are planned with now; none if the next one gets another.
    pub(super) fn state_number(&self) -> Option<u64> {
        let catalog = self.catalog();
        let settings = self.settings.read();
        let kept = self.kept.lock();
        let same = |kept: &&Kept| kept.catalog == catalog && kept.settings == *settings;
        kept.as_ref().filter(same).map(|kept| kept.number)
    }

    fn state_for(&self, context: QueryContext) -> Opaque<SessionState> {
        let catalog = self.catalog();
        let settings = self.settings.read();
        let mut kept = self.kept.lock();
        if let Some(kept) = kept.as_mut()
            && kept.catalog == catalog
            && kept.settings == *settings
            // A statement inside of another one cannot have the state that the other one reads.
            && let Some(state) = kept.state.get_mut()
        {
            begin(state, context);
            return kept.state.clone();
        }
        let mut state = SessionState::clone(&self.state);
        settings.apply(state.config_mut());
        state.config_mut().options_mut().catalog.default_catalog.clone_from(&catalog);
        functions::follow_settings(&mut state);
        begin(&mut state, context);
        let state = Opaque::new(state);
        let number = match kept.as_ref() {
            Some(kept) if kept.catalog == catalog && kept.settings == *settings => kept.number,
            Some(kept) => kept.number + 1,
            None => 0,
        };
        let settings = settings.clone();
        *kept = Some(Kept { number, catalog, settings, state: state.clone() });
        state
    }
}

/// Makes a state that of a statement which begins now.
fn begin(state: &mut SessionState, context: QueryContext) {
    state.config_mut().set_extension(Arc::new(context));
    state.mark_start_execution();
}

/// Returns what operators run with. Functions stand in the plan itself: the lists of their names are for plans that are read
/// from elsewhere.
pub(super) fn task_context(state: &SessionState) -> Arc<TaskContext> {
    Arc::new(TaskContext::new(
        None,
        state.session_id().to_owned(),
        state.config().clone(),
        HashMap::new(),
        HashMap::new(),
        HashMap::new(),
        HashMap::new(),
        QueryContext::runtime(state),
    ))
}
