//! `system.queries`, `sessions`: what runs now, and what ran.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use datafusion::common::ScalarValue;
use futures::FutureExt;
use futures::future::BoxFuture;
use maru_core::Result;

use super::ColumnKind::{Integer, Text, Timestamp};
use super::{Hints, Row, TableSpec, integer, text, text_or_null, timestamp};
use crate::access::Rights;
use crate::engine::history::micros;
use crate::engine::query::Query;
use crate::engine::run;
use crate::session::Session;

pub(super) static QUERIES: TableSpec = TableSpec {
    name: "queries",
    doc: "Statements that run or wait, and past ones; CANCEL QUERY takes a query_id.",
    columns: &[
        ("query_id", Integer),
        ("user_name", Text),
        ("protocol", Text),
        ("session_id", Integer),
        ("state", Text),
        ("sql", Text),
        ("started_at", Timestamp),
        ("queued_ms", Integer),
        ("elapsed_ms", Integer),
        ("n_rows", Integer),
        ("source_rows", Integer),
        ("source_bytes", Integer),
        ("sources", Text),
        ("memory_peak_bytes", Integer),
        ("spilled_bytes", Integer),
        ("sqlstate", Text),
        ("error", Text),
    ],
    rows: queries,
};

pub(super) static SESSIONS: TableSpec = TableSpec {
    name: "sessions",
    doc: "Open sessions and what they run.",
    columns: &[
        ("session_id", Integer),
        ("user_name", Text),
        ("protocol", Text),
        ("client_address", Text),
        ("application_name", Text),
        ("catalog", Text),
        ("opened_at", Timestamp),
        ("state", Text),
        ("query_id", Integer),
        ("sql", Text),
    ],
    rows: |session, _| async { Ok(sessions(session)) }.boxed(),
};

fn queries<'a>(session: &'a Arc<Session>, _: &'a Hints) -> BoxFuture<'a, Result<Vec<Row>>> {
    async move {
        let inner = &session.engine().inner;
        // Those that run first: a statement that ends in between is then found twice rather than not at all, since it is recorded
        // before it is no longer among them.
        let mut running = inner.queries.running();
        let mut past = inner.history.past().await?;
        let rights = session.rights();
        running.retain(|query| watches(&rights, &query.user));
        past.retain(|query| watches(&rights, &query.user_name));
        let mut rows =
            running.iter().rev().map(|query| running_row(session, query)).collect::<Vec<_>>();
        let is_running =
            |id: i64| running.iter().any(|query| i64::try_from(query.id).ok() == Some(id));
        rows.extend(past.into_iter().filter(|past| !is_running(past.query_id)).map(|past| {
            vec![
                integer(past.query_id),
                text(past.user_name),
                text(past.protocol),
                integer(past.session_id),
                text(past.state),
                text(past.sql),
                timestamp(past.started_us),
                integer(past.queued_ms),
                integer(past.elapsed_ms),
                integer(past.n_rows),
                integer(past.source_rows),
                integer(past.source_bytes),
                text(past.sources),
                integer(past.memory_peak_bytes),
                integer(past.spilled_bytes),
                text_or_null(past.sqlstate),
                text_or_null(past.error),
            ]
        }));
        Ok(rows)
    }
    .boxed()
}

/// Returns whether a role sees what a user does.
pub(super) fn watches(rights: &Rights, user: &str) -> bool {
    rights.has_role(user) || rights.has_role("pg_monitor")
}

fn running_row(session: &Arc<Session>, query: &Arc<Query>) -> Row {
    let figures =
        query.plan().map(|plan| run::figures(session.engine(), &plan)).unwrap_or_default();
    let signed = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
    let millis = |time: std::time::Duration| i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
    let sources = figures
        .sources
        .iter()
        .map(|(catalog, (rows, bytes))| {
            serde_json::json!({ "catalog": catalog, "rows": rows, "bytes": bytes })
        })
        .collect::<Vec<_>>();
    vec![
        integer(signed(query.id)),
        text(query.user.as_str()),
        text(query.protocol.name()),
        integer(i64::from(query.session_id)),
        text(query.state().name()),
        text(query.sql.as_str()),
        timestamp(micros(query.started)),
        integer(millis(query.queued())),
        integer(millis(query.clock.elapsed())),
        integer(signed(query.n_rows.load(Ordering::Relaxed))),
        integer(signed(figures.sources.values().map(|(rows, _)| rows).sum())),
        integer(signed(figures.sources.values().map(|(_, bytes)| bytes).sum())),
        text(serde_json::Value::Array(sources).to_string()),
        integer(signed(query.pool.peak_bytes() as u64)),
        integer(signed(figures.spilled_bytes)),
        ScalarValue::Utf8(None),
        ScalarValue::Utf8(None),
    ]
}

fn sessions(session: &Arc<Session>) -> Vec<Row> {
    let running = session.engine().inner.queries.running();
    let rights = session.rights();
    session
        .engine()
        .sessions()
        .iter()
        .filter(|one| watches(&rights, one.user()))
        .map(|one| {
            let query = running.iter().rev().find(|query| query.session_id == one.id());
            vec![
                integer(i64::from(one.id())),
                text(one.user()),
                text(one.login().protocol.name()),
                text_or_null(one.login().client_address.clone()),
                text_or_null(one.setting("application_name")),
                text(one.catalog()),
                timestamp(micros(one.opened())),
                text(query.map_or("idle", |query| query.state().name())),
                ScalarValue::Int64(query.and_then(|query| i64::try_from(query.id).ok())),
                text_or_null(query.map(|query| query.sql.clone())),
            ]
        })
        .collect()
}
