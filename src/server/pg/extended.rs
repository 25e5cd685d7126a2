//! The extended protocol: Parse, Bind, Describe, Execute, Close.

use std::sync::Arc;
use std::time::SystemTime;

use arrow::datatypes::SchemaRef;
use datafusion::common::ScalarValue;
use futures::SinkExt;
use maru_core::{Error, ErrorKind};
use maru_sql::{Direction, Statement};
use pgwire::api::Type;
use pgwire::messages::PgWireBackendMessage;
use pgwire::messages::data::{NoData, ParameterDescription};
use pgwire::messages::extendedquery::{
    Bind, BindComplete, Close, CloseComplete, Describe, Execute, Parse, ParseComplete,
    PortalSuspended,
};
use pgwire::messages::response::EmptyQueryResponse;

use super::connection::{Connection, check_size};
use super::errors::{Step, WireError};
use super::params::{Target, decode};
use super::rows::Running;
use super::types::{Wire, parameter_type, row_description};
use crate::output::Body;
use crate::session::{Named, Session, StatementText};

/// A statement with its parameters, and how far it has run.
#[derive(Debug)]
pub(super) struct Portal {
    statement: Arc<Named>,
    parameters: Vec<ScalarValue>,
    formats: Vec<i16>,
    state: PortalState,
}

#[derive(Debug)]
enum PortalState {
    Bound,
    Running(Box<Running>),
    /// All rows have been given; what its tag was.
    AtEnd(String),
    /// What it does is done, once and for all.
    Done,
}

const STATEMENT: u8 = b'S';
const PORTAL: u8 = b'P';

fn violation(message: impl Into<String>) -> WireError {
    WireError::new("08P01", message)
}

fn no_portal(name: &str) -> WireError {
    WireError::new("34000", format!("portal \"{name}\" does not exist"))
}

/// One format code for each of `count` values: none sent means text, one sent is for all.
fn formats(codes: &[i16], count: usize, what: What) -> Result<Vec<i16>, WireError> {
    if let Some(code) = codes.iter().find(|code| !(0..=1).contains(*code)) {
        return Err(WireError::new("22023", format!("unsupported format code: {code}")));
    }
    match codes {
        [] => Ok(vec![0; count]),
        [code] => Ok(vec![*code; count]),
        codes if codes.len() == count => Ok(codes.to_vec()),
        codes => Err(violation(match what {
            What::Parameters => {
                format!("bind message has {} parameter formats but {count} parameters", codes.len())
            }
            What::Columns => {
                let n_codes = codes.len();
                format!("bind message has {n_codes} result formats but query has {count} columns")
            }
        })),
    }
}

/// What has formats.
#[derive(Debug, Clone, Copy)]
enum What {
    Parameters,
    Columns,
}

/// Refuses what is neither a statement nor a portal.
fn is_statement(target: u8, message: &str) -> Result<bool, WireError> {
    match target {
        STATEMENT => Ok(true),
        PORTAL => Ok(false),
        other => Err(violation(format!("invalid {message} message subtype {other}"))),
    }
}

impl Connection {
    pub(super) async fn parse(&mut self, message: Parse) -> Step {
        let name = message.name.unwrap_or_default();
        if name.is_empty() {
            self.session.forget_named("");
        }
        check_size(&message.query)?;
        let statement = self.plan(&message.query, &message.type_oids).await?;
        self.session.keep_named(&name, statement)?;
        let complete = PgWireBackendMessage::ParseComplete(ParseComplete::new());
        Ok(self.socket.feed(complete).await?)
    }

    async fn plan(&mut self, text: &str, oids: &[u32]) -> Step<Named> {
        let named = |prepared, types| Named {
            prepared,
            declared: oids.to_vec(),
            types,
            text: text.to_owned(),
            prepared_at: SystemTime::now(),
            from_sql: false,
        };
        let mut texts = Session::split(text)?.into_iter();
        let Some(first) = texts.next() else { return Ok(named(None, Vec::new())) };
        if let Some(second) = texts.next() {
            let message = "cannot insert multiple commands into a prepared statement";
            return Err(Error::new(ErrorKind::Syntax, message)
                .with_position(second.offset + 1)
                .with_hint("Send one statement at a time, or all of them as a simple query.")
                .into());
        }
        let declared = oids.iter().map(|oid| declared(*oid)).collect::<Result<Vec<_>, _>>()?;
        let types: Vec<_> =
            declared.iter().map(|pg| pg.as_ref().and_then(parameter_type)).collect();
        let session = self.session.clone();
        let planned = self.socket.watched(session.prepare(&first, &types)).await?;
        Ok(named(Some(planned?), types))
    }

    pub(super) async fn bind(&mut self, message: Bind) -> Step {
        let name = message.statement_name.unwrap_or_default();
        let statement = self.session.named(&name)?;
        let targets = targets(&statement)?;
        let (sent, wanted) = (message.parameters.len(), targets.len());
        if sent != wanted {
            return Err(violation(format!(
                "bind message supplies {sent} parameters, but prepared statement \"{name}\" requires {wanted}"
            ))
            .into());
        }
        let codes = formats(&message.parameter_format_codes, wanted, What::Parameters)?;
        let zone = self.zone();
        let parameters = targets
            .iter()
            .zip(&message.parameters)
            .zip(codes)
            .enumerate()
            .map(|(i, ((target, bytes), code))| {
                decode(i + 1, target, code == 1, bytes.as_deref(), &zone)
            })
            .collect::<Result<Vec<_>, _>>()?;
        let columns = self.columns(&statement).map_or(0, |schema| schema.fields().len());
        // Some drivers ask for binary results of commands that have none.
        let formats = match columns {
            0 => Vec::new(),
            columns => formats(&message.result_column_format_codes, columns, What::Columns)?,
        };
        let portal = Portal { statement, parameters, formats, state: PortalState::Bound };
        let name = message.portal_name.unwrap_or_default();
        let taken = self.portals.contains_key(&name) || self.session.cursor(&name).is_ok();
        if !name.is_empty() && taken {
            let message = format!("cursor \"{name}\" already exists");
            return Err(WireError::new("42P03", message).into());
        }
        self.portals.insert(name, portal);
        let complete = PgWireBackendMessage::BindComplete(BindComplete::new());
        Ok(self.socket.feed(complete).await?)
    }

    pub(super) async fn describe(&mut self, message: Describe) -> Step {
        let name = message.name.unwrap_or_default();
        let description = if is_statement(message.target_type, "DESCRIBE")? {
            let statement = self.session.named(&name)?;
            let types = targets(&statement)?.iter().map(|target| target.pg.oid()).collect();
            let parameters = ParameterDescription::new(types);
            let message = PgWireBackendMessage::ParameterDescription(parameters);
            self.socket.feed(message).await?;
            self.columns(&statement).map(|schema| row_description(&schema, &[]))
        } else if let Some(portal) = self.portals.get(&name) {
            let schema = self.columns(&portal.statement);
            schema.map(|schema| row_description(&schema, &portal.formats))
        } else {
            // Cursors of DECLARE are portals, too.
            let cursor = self.session.cursor(&name).map_err(|_| no_portal(&name))?;
            let formats = vec![i16::from(cursor.binary); cursor.schema.fields().len()];
            Some(row_description(&cursor.schema, &formats))
        };
        let message = match description {
            Some(description) => PgWireBackendMessage::RowDescription(description),
            None => PgWireBackendMessage::NoData(NoData::new()),
        };
        Ok(self.socket.feed(message).await?)
    }

    pub(super) async fn execute(&mut self, message: Execute) -> Step {
        let name = message.name.unwrap_or_default();
        // Out of the map while it runs: an error ends it.
        let mut portal = self.portals.remove(&name).ok_or_else(|| no_portal(&name))?;
        let limit = usize::try_from(message.max_rows).unwrap_or(0);
        if matches!(portal.state, PortalState::Done) {
            let message = format!("portal \"{name}\" cannot be run");
            return Err(WireError::new(ErrorKind::WrongState.sqlstate(), message).into());
        }
        self.advance(&mut portal, limit).await?;
        self.portals.insert(name, portal);
        Ok(())
    }

    /// Runs `MOVE` on a portal of the protocol, which drivers have for a cursor; returns whether it was that. Those of `DECLARE` are
    /// the session's.
    pub(super) async fn move_portal(&mut self, text: &StatementText) -> Step<bool> {
        let word = text.text.split_whitespace().next().unwrap_or_default();
        if self.portals.is_empty() || !word.eq_ignore_ascii_case("move") {
            return Ok(false);
        }
        let Ok(Statement::Fetch(fetch)) = maru_sql::parse(&text.text) else { return Ok(false) };
        let Some(mut portal) = self.portals.remove(&fetch.name) else { return Ok(false) };
        let count = match fetch.direction {
            Direction::Forward(count) if count >= 0 => count.unsigned_abs(),
            Direction::ForwardAll => u64::MAX,
            _ => {
                let error = Error::new(ErrorKind::WrongState, "cursor can only scan forward");
                return Err(error
                    .with_hint("Bind the statement again to read from the start.")
                    .into());
            }
        };
        if matches!(portal.state, PortalState::Bound) {
            let Some(prepared) = portal.statement.prepared.clone() else {
                return Err(no_portal(&fetch.name).into());
            };
            let session = self.session.clone();
            let run = session.execute(&prepared, portal.parameters.clone());
            let output = self.socket.watched(run).await??;
            self.notices(&output.notices).await?;
            let Body::Rows(rows) = output.body else {
                let message = format!("portal \"{}\" cannot be moved in", fetch.name);
                return Err(Error::new(ErrorKind::WrongState, message).into());
            };
            let described = rows.schema.clone();
            let running = Running::new(rows, &described, &portal.formats, self.zone());
            portal.state = PortalState::Running(Box::new(running));
        }
        let moved = match &mut portal.state {
            PortalState::Running(running) => running.skip(&mut self.socket, count).await?,
            _ => 0,
        };
        self.portals.insert(fetch.name, portal);
        self.complete(&format!("MOVE {moved}")).await?;
        Ok(true)
    }

    async fn advance(&mut self, portal: &mut Portal, limit: usize) -> Step {
        if matches!(portal.state, PortalState::Bound) {
            portal.state = PortalState::Done;
            let Some(prepared) = &portal.statement.prepared else {
                portal.state = PortalState::Bound;
                let empty = PgWireBackendMessage::EmptyQueryResponse(EmptyQueryResponse::new());
                return Ok(self.socket.feed(empty).await?);
            };
            let session = self.session.clone();
            if let Some((prepared, incoming)) = session.incoming(prepared).await? {
                return self.copy_in(prepared, incoming, true).await;
            }
            let parameters = portal.parameters.clone();
            let run = session.execute(prepared, parameters);
            let output = self.socket.watched(run).await??;
            self.notices(&output.notices).await?;
            match output.body {
                Body::Command { tag } => return self.complete(&tag).await,
                Body::Copy { rows, options } => return self.copy_out(rows, &options).await,
                Body::Rows(rows) => {
                    let described = rows.schema.clone();
                    let running = Running::new(rows, &described, &portal.formats, self.zone());
                    portal.state = PortalState::Running(Box::new(running));
                }
            }
        }
        match &mut portal.state {
            PortalState::Running(running) => {
                let message = match running.send(&mut self.socket, limit).await? {
                    Some(complete) => {
                        portal.state = PortalState::AtEnd(complete.tag.clone());
                        PgWireBackendMessage::CommandComplete(complete)
                    }
                    None => PgWireBackendMessage::PortalSuspended(PortalSuspended::new()),
                };
                Ok(self.socket.feed(message).await?)
            }
            // What has run to its end gives no more rows.
            PortalState::AtEnd(tag) => {
                let tag = match tag.rsplit_once(' ') {
                    Some((words, count)) if count.parse::<u64>().is_ok() => format!("{words} 0"),
                    _ => tag.clone(),
                };
                self.complete(&tag).await
            }
            _ => self.complete("SELECT 0").await,
        }
    }

    pub(super) async fn close(&mut self, message: Close) -> Step {
        let name = message.name.unwrap_or_default();
        if is_statement(message.target_type, "CLOSE")? {
            self.session.forget_named(&name);
        } else if self.portals.remove(&name).is_none() && !name.is_empty() {
            self.session.close_cursor(Some(&name));
        }
        let complete = PgWireBackendMessage::CloseComplete(CloseComplete::new());
        Ok(self.socket.feed(complete).await?)
    }
}

impl Connection {
    fn columns(&self, statement: &Named) -> Option<SchemaRef> {
        self.session.columns(statement.prepared.as_ref()?)
    }
}

/// Returns what the parameters of a statement are: as they were declared, or as the statement takes them.
fn targets(statement: &Named) -> Result<Vec<Target>, WireError> {
    let types = statement.prepared.iter().flat_map(|prepared| &prepared.parameters);
    let types = types.collect::<Vec<_>>();
    let count = types.len().max(statement.declared.len());
    let target = |i: usize| {
        let arrow = types.get(i).copied().cloned().flatten();
        let oid = statement.declared.get(i).copied().unwrap_or(0);
        let pg = declared(oid)?.unwrap_or_else(|| {
            let wire = arrow.as_ref().map(Wire::of_type);
            // Types that cannot be parameters are sent as text and brought to their type by a cast.
            wire.map(|wire| wire.pg).filter(|pg| parameter_type(pg).is_some()).unwrap_or(Type::TEXT)
        });
        Ok(Target { pg, arrow })
    };
    (0..count).map(target).collect()
}

/// Returns the type of a declared parameter; `None` where the client leaves it to the statement.
fn declared(oid: u32) -> Result<Option<Type>, WireError> {
    if oid == 0 || oid == Type::UNKNOWN.oid() {
        return Ok(None);
    }
    match Type::from_oid(oid) {
        Some(pg) if parameter_type(&pg).is_some() => Ok(Some(pg)),
        Some(pg) => {
            Err(Error::unsupported(format!("cannot take a parameter of type {}", pg.name()))
                .with_hint("Send the value as text and CAST it in the statement.")
                .into())
        }
        None => Err(WireError::new("42704", format!("type with OID {oid} does not exist"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_spread_over_all_values() {
        let formats = |codes: &[i16], count| super::formats(codes, count, What::Columns);
        assert_eq!(formats(&[], 2).unwrap(), [0, 0]);
        assert_eq!(formats(&[1], 3).unwrap(), [1, 1, 1]);
        assert_eq!(formats(&[0, 1], 2).unwrap(), [0, 1]);
        assert_eq!(formats(&[0, 1], 3).unwrap_err().sqlstate, "08P01");
        assert_eq!(formats(&[7], 1).unwrap_err().sqlstate, "22023");
    }

    #[test]
    fn declared_types_are_checked_at_parse() {
        assert_eq!(declared(0).unwrap(), None);
        assert_eq!(declared(20).unwrap(), Some(Type::INT8));
        assert_eq!(declared(Type::POINT.oid()).unwrap_err().sqlstate, "0A000");
        assert_eq!(declared(3_999_999).unwrap_err().sqlstate, "42704");
    }
}
