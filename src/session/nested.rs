//! Statements that hold another one: `PREPARE`, `DECLARE`, `COPY`.

use std::sync::Arc;

use arrow::datatypes::{DataType, SchemaRef};
use futures::FutureExt;
use futures::future::BoxFuture;
use maru_core::{Error, ErrorKind, Result};
use maru_sql::{ForceQuote, Inner, Statement};

use super::cursors::schema_of;
use super::{Kind, Prepared, Session, StatementText};
use crate::access::Protocol;
use crate::opaque::Opaque;

impl Session {
    /// Prepares what stands inside of a command.
    pub(super) async fn prepare_command(
        self: &Arc<Self>,
        command: Statement,
        text: &StatementText,
        declared: &[Option<DataType>],
    ) -> Result<(Option<SchemaRef>, Vec<Option<DataType>>, Kind)> {
        let within =
            |inner: Inner| StatementText { text: inner.text, offset: text.offset + inner.offset };
        Ok(match command {
            Statement::Prepare(prepare) => {
                let mut declared = Vec::new();
                for data_type in &prepare.types {
                    declared.push(self.arrow_type(data_type).await?);
                }
                let inner = self.prepare_boxed(within(prepare.statement), declared.clone());
                let (name, inner) = (prepare.name, Box::new(inner.await?));
                (None, Vec::new(), Kind::Prepare { name, inner, declared })
            }
            Statement::DeclareCursor(mut declare) => {
                let inner =
                    std::mem::replace(&mut declare.query, Inner { text: String::new(), offset: 0 });
                let inner = self.prepare_boxed(within(inner), declared.to_vec()).await?;
                let is_query = matches!(&inner.kind, Kind::Query { tag, .. } if *tag != "EXPLAIN");
                if !is_query || inner.writes() {
                    let message = "a cursor needs a query";
                    return Err(Error::new(ErrorKind::Syntax, message));
                }
                let parameters = inner.parameters.clone();
                let (declare, inner) = (Arc::new(declare), Box::new(inner));
                (None, parameters, Kind::Declare { declare, inner })
            }
            Statement::Fetch(fetch) => (schema_of(self, &fetch), Vec::new(), Kind::Fetch(fetch)),
            Statement::Copy(copy) => {
                if copy.from && copy.file.is_none() {
                    let kind = Kind::Incoming(self.prepare_copy_in(*copy).await?);
                    return Ok((None, Vec::new(), kind));
                }
                if copy.from {
                    return Err(Error::unsupported("COPY FROM a file is not supported yet")
                        .with_hint("Attach the files as a catalog and INSERT from them, or use FROM STDIN."));
                }
                if self.login.protocol != Protocol::Postgres || copy.file.is_some() {
                    return Err(Error::unsupported("COPY goes over the PostgreSQL wire only")
                        .with_hint("COPY … TO STDOUT by psql or a PostgreSQL driver."));
                }
                let statement = Statement::Query { statement: copy.query, tag: "COPY" };
                let inner = self.prepare_parsed(statement, text.clone(), Vec::new()).await?;
                if !inner.parameters.is_empty() {
                    let message = "COPY takes no parameters";
                    return Err(Error::new(ErrorKind::UndefinedParameter, message));
                }
                if let ForceQuote::Columns(names) = &copy.options.force_quote {
                    let schema = inner.schema.as_ref();
                    let missing = names
                        .iter()
                        .find(|name| schema.is_none_or(|schema| schema.index_of(name).is_err()));
                    if let Some(name) = missing {
                        let message = format!("column \"{name}\" does not exist");
                        return Err(Error::new(ErrorKind::UndefinedColumn, message));
                    }
                }
                let (options, inner) = (Arc::new(copy.options), Box::new(inner));
                (None, Vec::new(), Kind::Copy { options, inner })
            }
            command => {
                // Text, unless the client says what it sends.
                let types = (0..crate::pipelines::n_values(&command)?)
                    .map(|at| declared.get(at).cloned().flatten().or(Some(DataType::Utf8)));
                (None, types.collect(), Kind::Command(Opaque::new(command)))
            }
        })
    }

    /// Prepares a statement that stands in another one.
    pub(super) fn prepare_boxed(
        self: &Arc<Self>,
        text: StatementText,
        declared: Vec<Option<DataType>>,
    ) -> BoxFuture<'static, Result<Prepared>> {
        let session = Arc::clone(self);
        async move {
            let statement = session.parse(&text.text)?;
            session.prepare_statement(statement, &text, &declared).await
        }
        .boxed()
    }

    fn prepare_parsed(
        self: &Arc<Self>,
        statement: Statement,
        text: StatementText,
        declared: Vec<Option<DataType>>,
    ) -> BoxFuture<'static, Result<Prepared>> {
        let session = Arc::clone(self);
        // The text is not that of the statement.
        async move { session.prepare_once(statement, &text, &declared).await }.boxed()
    }

    /// Asks the planner what the name of a type means; `None` for `unknown`.
    async fn arrow_type(
        self: &Arc<Self>,
        data_type: &maru_sql::ast::DataType,
    ) -> Result<Option<DataType>> {
        let name = data_type.to_string();
        if name.eq_ignore_ascii_case("unknown") {
            return Ok(None);
        }
        let plan = self.plan_view(&format!("SELECT CAST(NULL AS {name})"), None).await?;
        Ok(Some(plan.schema().field(0).data_type().clone()))
    }
}
