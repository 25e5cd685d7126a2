//! `SET`, `CANCEL QUERY`, `DEALLOCATE`, `CLOSE`, `LISTEN`, `UNLISTEN`, `NOTIFY`.

use std::sync::Arc;

use maru_core::{Error, ErrorKind, Result};
use maru_sql::{CancelQuery, Channel, SetScope, SetVariable};

use crate::output::Output;
use crate::session::{Session, undefined_prepared};

pub(super) fn set(session: &Arc<Session>, set: &SetVariable) -> Result<Output> {
    let local = matches!(set.scope, SetScope::Local);
    if session.choose(&set.name, set.value.as_deref(), local)? {
        return Ok(Output::command("SET"));
    }
    Ok(Output::command("SET").with_notice("SET LOCAL can only be used in transaction blocks"))
}

pub(super) fn cancel_query(session: &Arc<Session>, cancel: &CancelQuery) -> Result<Output> {
    let rights = session.rights();
    let query = session.engine().inner.queries.get(cancel.query_id);
    let query = query.filter(|query| rights.may_signal(&query.user)).ok_or_else(|| {
        Error::new(ErrorKind::UndefinedObject, format!("query {} is not running", cancel.query_id))
            .with_hint("SELECT query_id, sql FROM system.queries WHERE state = 'running'.")
    })?;
    query.token.cancel();
    Ok(Output::command("CANCEL QUERY"))
}

pub(super) fn deallocate(session: &Arc<Session>, name: Option<&str>) -> Result<Output> {
    let Some(name) = name else {
        session.forget_all_named();
        return Ok(Output::command("DEALLOCATE ALL"));
    };
    if session.forget_named(name) {
        return Ok(Output::command("DEALLOCATE"));
    }
    Err(undefined_prepared(name))
}

pub(super) fn close_cursor(session: &Arc<Session>, name: Option<&str>) -> Result<Output> {
    if let Some(name) = name {
        session.cursor(name)?;
    }
    session.close_cursor(name);
    Ok(Output::command(if name.is_some() { "CLOSE CURSOR" } else { "CLOSE CURSOR ALL" }))
}

pub(super) fn channel(session: &Arc<Session>, channel: &Channel) -> Result<Output> {
    session.channel(channel)?;
    Ok(Output::command(match channel {
        Channel::Listen(_) => "LISTEN",
        Channel::Unlisten(_) => "UNLISTEN",
        Channel::Notify { .. } => "NOTIFY",
    }))
}
