//! From text to a plan: parse, check names, plan, and point at what is wrong.

use std::any::Any;
use std::borrow::Cow;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, LazyLock};

use arrow::datatypes::DataType;
use chrono::{DateTime, Utc};
use datafusion::common::ScalarValue;
use datafusion::execution::SessionState;
use datafusion::logical_expr::LogicalPlan;
use datafusion::sql::parser::Statement as DfStatement;
use datafusion_pg_catalog::sql::PostgresCompatibilityParser;
use futures::FutureExt;
use maru_core::{Error, ErrorKind, Result};
use maru_sql::{PipelineStatement, Statement};
use tokio::task::JoinError;

use super::advisory;
use super::meaning::as_meant;
use super::membership::refuse_lost_nulls;
use super::missing_table;
use super::models::scored;
use super::parameters::{parameter_types, settle};
use super::planning::{Planning, is_large_text};
use super::postgres_text::{as_read_by_rules, policies_of_table, speaks_of_postgres};
use super::prepared::Believed;
use super::rewrite::{self, rewrite};
use super::{Kind, Planned, Prepared, Session, StatementText, explain};
use crate::catalog::builtin::open_path;
use crate::catalog::definition::Definition;
use crate::catalog::resolve::require_table;
use crate::catalog::{believing, doubting};
use crate::engine::run::{deadline, timed_out};
use crate::opaque::Opaque;
use crate::{statement, system};

/// Views on views deeper than this are taken for a circle.
const VIEW_DEPTH_MAX: usize = 32;

tokio::task_local! {
    /// Values of parameters that are arguments of table functions.
    pub(super) static ARGUMENTS: Arc<[ScalarValue]>;
    static VIEW_DEPTH: usize;
    /// When the planning of a statement began, its views and their tables included.
    static BEGAN: DateTime<Utc>;
    /// Whose rights hold while a view is planned, and whose catalogs made from templates it reads.
    static VIEW_OWNER: (String, String);
}

/// What a statement reads.
#[derive(Debug)]
pub(super) enum Reads {
    /// Nothing, or only such tables of sources as are remembered.
    Believed(Vec<Believed>),
    /// Only what the engine knows about itself, so that an operator can look at a full queue.
    Engine,
    Tables,
}

/// Returns what `now()` is where it has to be known for a plan to be made.
pub(super) fn began() -> DateTime<Utc> {
    BEGAN.try_with(|began| *began).unwrap_or_else(|_| Utc::now())
}

/// Returns the owner of the view that is being planned, and the user whose own catalogs it means.
pub(super) fn view_owner() -> Option<(String, String)> {
    VIEW_OWNER.try_with(Clone::clone).ok()
}

/// Does some planning with the rights of a view's owner.
pub(crate) async fn as_owner<T>(owner: &str, work: impl Future<Output = T>) -> T {
    as_owner_for(owner, owner, work).await
}

/// The same, of a view in a catalog that may be one user's own.
pub(crate) async fn as_owner_for<T>(owner: &str, user: &str, work: impl Future<Output = T>) -> T {
    VIEW_OWNER.scope((owner.to_owned(), user.to_owned()), work).await
}

/// Writes a query that has arrays in it anew, so that the compatibility rules, which split their text at commas, find none.
fn protected(statement: &DfStatement) -> Option<String> {
    let DfStatement::Statement(inner) = statement else { return None };
    let mut inner = inner.as_ref().clone();
    rewrite::protect(&mut inner).then(|| inner.to_string())
}

/// Rewrites what psql and BI tools ask of `pg_catalog` into what the planner can read.
static COMPATIBILITY: LazyLock<PostgresCompatibilityParser> =
    LazyLock::new(PostgresCompatibilityParser::new);

impl Session {
    /// Parses and plans one statement. `parameters` are types the client declared (`None`: not declared).
    ///
    /// # Errors
    /// Everything that is wrong with a statement before it runs, with its position in the whole text.
    pub async fn prepare(
        self: &Arc<Self>,
        statement: &StatementText,
        parameters: &[Option<DataType>],
    ) -> Result<Prepared> {
        self.engine.refuse_when_closing()?;
        let token = self.new_token();
        let timeout = self.statement_timeout();
        let start = tokio::time::Instant::now();
        let planning = Planning::new(self, statement);
        let work = async {
            if is_large_text(statement) {
                let (session, statement) = (Arc::clone(self), statement.clone());
                let parameters = parameters.to_vec();
                let work = async move {
                    let parsed = session.parse(&statement.text)?;
                    session.prepare_statement(parsed, &statement, &parameters).await
                };
                return self.planned(true, work).await;
            }
            let parsed = self.parse(&statement.text)?;
            // Only planning takes long enough to disturb others.
            if !matches!(
                parsed,
                Statement::Query { .. }
                    | Statement::Write(_)
                    | Statement::Describe(_)
                    | Statement::DescribeHistory(_)
                    | Statement::DescribeModel(_)
                    | Statement::ShowCreateView(_)
                    | Statement::Preview(_)
                    | Statement::Prepare(_)
                    | Statement::ExecutePrepared(_)
                    | Statement::ExplainExecute(_)
                    | Statement::DeclareCursor(_)
                    | Statement::Copy(_)
            ) {
                return self.prepare_statement(parsed, statement, parameters).await;
            }
            let work = self.engine.inner.executor.spawn({
                let (session, statement) = (Arc::clone(self), statement.clone());
                let parameters = parameters.to_vec();
                async move { session.prepare_statement(parsed, &statement, &parameters).await }
            });
            work.await.unwrap_or_else(|end| Err(broken_off(end)))
        };
        let work = AssertUnwindSafe(work).catch_unwind();
        let result = tokio::select! {
            biased;
            () = token.cancelled() => Err(Error::cancelled()),
            () = deadline(start, timeout) => Err(timed_out(timeout)),
            error = planning.stopped() => Err(error),
            result = work => result.unwrap_or_else(|panic| Err(panicked(panic.as_ref()))),
        };
        match result {
            Ok(prepared) => {
                planning.succeed();
                Ok(prepared)
            }
            Err(error) => {
                let error = locate(self.suggest_function(error), &statement.text)
                    .locate(&statement.text, statement.offset);
                planning.fail(&error);
                Err(error)
            }
        }
    }

    pub(super) async fn prepare_statement(
        self: &Arc<Self>,
        statement: Statement,
        text: &StatementText,
        declared: &[Option<DataType>],
    ) -> Result<Prepared> {
        // Boxed: all that holds this future, up to the connection, would have room for it.
        let planned = Box::pin(self.prepare_once(statement, text, declared));
        let planned = BEGAN.scope(Utc::now(), planned);
        let (planned, may_doubt) = believing(planned).await;
        match planned {
            Err(error) if may_doubt && error.kind() == ErrorKind::UndefinedColumn => {
                doubting(self.prepare_boxed(text.clone(), declared.to_vec())).await
            }
            planned => planned,
        }
    }

    pub(super) async fn prepare_once(
        self: &Arc<Self>,
        mut statement: Statement,
        text: &StatementText,
        declared: &[Option<DataType>],
    ) -> Result<Prepared> {
        let _reading = self.engine.inner.catalogs.warehouse().begin_reading();
        self.refuse_in_failed_block(super::block::ends_failure(&statement))?;
        self.rights().rules().role(&self.role())?;
        self.name_temporary(&mut statement).await?;
        let mut notices = Vec::new();
        let statement = match statement {
            Statement::Preview(preview) => {
                let (query, facts) = self.preview(&preview).await?;
                notices = facts;
                query
            }
            Statement::Describe(name) => self.describe(&name).await?,
            Statement::DescribeHistory(name) => self.describe_history(&name).await?,
            Statement::DescribeModel(name) => self.describe_model(&name)?,
            Statement::ShowCreateView(name) => {
                shown(&Box::pin(statement::show_create_view(self, &name)).await?)?
            }
            Statement::Pipeline(pipeline) => match *pipeline {
                PipelineStatement::Explain(name) => {
                    match maru_sql::parse(&statement::explain_pipeline(self, &name)?)? {
                        Statement::Query { statement, .. } => {
                            Statement::Query { statement, tag: "EXPLAIN" }
                        }
                        other => other,
                    }
                }
                PipelineStatement::ShowCreate(name) => {
                    shown(&statement::show_create_pipeline(self, &name)?)?
                }
                other => Statement::Pipeline(Box::new(other)),
            },
            Statement::ShowVariable(name) => {
                let value = self.setting(&name).ok_or_else(|| super::settings::unknown(&name))?;
                let value = super::settings::shown(&name, value);
                let shown = maru_sql::parse(&format!(
                    "SELECT {} AS {}",
                    maru_core::quote_literal(&value),
                    maru_core::quote_ident(super::settings::column_name(&name))
                ))?;
                match shown {
                    Statement::Query { statement, .. } => {
                        Statement::Query { statement, tag: "SHOW" }
                    }
                    other => other,
                }
            }
            other => other,
        };
        let planned = Planned::now(self);
        match statement {
            Statement::Query { mut statement, tag } => {
                rewrite::declared::query(&mut statement, declared);
                rewrite(&mut statement)?;
                let state = self.statement_state();
                let reads = self.check_names(&state, &statement).await?;
                let monitors = matches!(reads, Reads::Engine);
                let reads_nothing = matches!(&reads, Reads::Believed(tables) if tables.is_empty());
                let planned = match reads {
                    Reads::Believed(tables) if !speaks_of_postgres(&text.text) => {
                        planned.lasting(self, tables)
                    }
                    _ => planned,
                };
                // What was asked by a cast is asked by a function now.
                let asked = match text.text.to_ascii_lowercase().contains("regclass") {
                    true => Cow::Owned(statement.to_string()),
                    false => Cow::Borrowed(text.text.as_str()),
                };
                self.learn_oids(&asked).await?;
                let values = ARGUMENTS.try_with(Clone::clone).ok();
                let arguments = rewrite::arguments::settle(&mut statement, values.as_deref())?;
                let state = match rewrite::keeps_order(&statement) {
                    true => with_orders(&state),
                    false => state,
                };
                let plan = state.statement_to_plan(*statement).await?;
                let plan = as_meant(plan)?;
                refuse_writes(&plan)?;
                refuse_lost_nulls(&plan)?;
                self.check_functions(&plan)?;
                let monitors = monitors || (reads_nothing && advisory::waits(&text.text, &plan)?);
                let mut parameters = parameter_types(&plan, declared)?;
                for (index, data_type) in &arguments {
                    parameters.resize(parameters.len().max(index + 1), None);
                    parameters[*index].get_or_insert_with(|| data_type.clone());
                }
                let arguments = arguments.into_iter().map(|(index, _)| index).collect();
                let (schema, parameters) = settle(&plan, parameters)?;
                let schema = explain::explained(&plan)
                    .map_or(schema, |(_, _, shape)| explain::schema(shape));
                Ok(Prepared {
                    schema: Some(schema),
                    parameters,
                    arguments,
                    text: text.clone(),
                    notices,
                    kind: Kind::Query { plan: Opaque::new(plan), tag, monitors },
                    planned,
                })
            }
            Statement::Write(write) => self.prepare_write(*write, text, declared).await,
            Statement::ExecutePrepared(execute) => self.prepare_execute(&execute, text).await,
            Statement::ExplainExecute(explain) => self.explain_execute(*explain, text).await,
            command => {
                let (schema, parameters, kind) =
                    self.prepare_command(command, text, declared).await?;
                let (arguments, text) = (Vec::new(), text.clone());
                Ok(Prepared { schema, parameters, arguments, text, notices, kind, planned })
            }
        }
    }

    /// Plans a statement without a place in the history: one that is kept to be run later.
    ///
    /// # Errors
    /// As [`Session::prepare`], with places in its own text.
    pub(crate) async fn try_out(self: &Arc<Self>, sql: &str) -> Result<Prepared> {
        let text = StatementText::one(sql);
        let result = self.prepare_boxed(text.clone(), Vec::new()).await;
        result.map_err(|error| locate(self.suggest_function(error), sql).locate(sql, 0))
    }

    /// Plans and runs a statement inside of another one.
    ///
    /// # Errors
    /// Those of the statement, with places in its own text.
    pub(crate) async fn run_inner(self: &Arc<Self>, sql: &str) -> Result<crate::output::Output> {
        let prepared = self.prepare_boxed(StatementText::one(sql), Vec::new()).await?;
        self.execute_boxed(prepared, Vec::new()).await
    }

    /// Adds the nearest function to an error that misses one.
    pub(super) fn suggest_function(&self, error: Error) -> Error {
        let missing = error.kind() == ErrorKind::UndefinedFunction
            && error.primary().ends_with("\" does not exist");
        if !missing {
            return error;
        }
        let name = error.primary().split('"').nth(1).unwrap_or_default().to_owned();
        if self.state.window_functions().contains_key(&name) {
            let what = format!("window function {name} requires an OVER clause");
            return Error::new(ErrorKind::WrongObjectType, what);
        }
        if let Some(hint) = super::models::hint(&name) {
            return error.with_hint(hint);
        }
        let names = self
            .state
            .scalar_functions()
            .keys()
            .chain(self.state.aggregate_functions().keys())
            .chain(self.state.window_functions().keys())
            .chain(self.state.table_functions().keys());
        match maru_core::did_you_mean(&name, names.map(String::as_str)) {
            Some(near) => error.with_hint(format!("Did you mean \"{near}\"?")),
            None => error.with_hint("Run SHOW FUNCTIONS to list them all."),
        }
    }

    /// Parses; statements on PostgreSQL's catalog go through the compatibility rules.
    pub(super) fn parse(&self, sql: &str) -> Result<Statement> {
        let parsed = maru_sql::parse(sql);
        let about_postgres = speaks_of_postgres(sql);
        if about_postgres && let Some(instead) = policies_of_table(sql) {
            return maru_sql::parse(&instead);
        }
        if !about_postgres || !matches!(parsed, Ok(Statement::Query { .. }) | Err(_)) {
            return parsed;
        }
        let sql = match &parsed {
            Ok(Statement::Query { statement, .. }) => protected(statement),
            _ => None,
        }
        .map_or(Cow::Borrowed(sql), Cow::Owned);
        match COMPATIBILITY.parse(&as_read_by_rules(&sql)) {
            Ok(mut statements) if statements.len() == 1 => {
                let mut statement = statements.remove(0);
                rewrite::unalias(&mut statement);
                let statement = Box::new(DfStatement::Statement(Box::new(statement)));
                match *statement {
                    DfStatement::Statement(ref inner)
                        if matches!(**inner, maru_sql::ast::Statement::Query(_)) =>
                    {
                        Ok(Statement::Query { statement, tag: "SELECT" })
                    }
                    _ => parsed,
                }
            }
            _ => parsed,
        }
    }

    /// Checks every table name; returns what the statement reads.
    pub(super) async fn check_names(
        self: &Arc<Self>,
        state: &SessionState,
        statement: &DfStatement,
    ) -> Result<Reads> {
        let references = state.resolve_table_references(statement)?;
        if references.is_empty() {
            return Ok(Reads::Believed(Vec::new()));
        }
        let mut monitors = true;
        let mut believed = Some(Vec::with_capacity(references.len()));
        for reference in references {
            let is_function = reference.schema().is_none()
                && (super::models::is_function(reference.table())
                    || state.table_functions().contains_key(reference.table()));
            if is_function {
                monitors = false;
                believed = None;
                continue;
            }
            monitors &= reference.schema().is_some_and(|s| system::VIRTUAL_SCHEMAS.contains(&s));
            require_table(self, &reference).await?;
            let table = Believed::of(self, &reference);
            believed = believed.zip(table).map(|(mut all, table)| {
                all.push(table);
                all
            });
        }
        Ok(match believed {
            Some(tables) => Reads::Believed(tables),
            None if monitors => Reads::Engine,
            None => Reads::Tables,
        })
    }

    async fn describe(self: &Arc<Self>, name: &maru_sql::Name) -> Result<Statement> {
        if let [path] = name.0.as_slice()
            && path.contains('/')
        {
            return self.describe_path(path).await;
        }
        let place = statement::locate_relation(self, name).await?;
        maru_sql::parse(&format!(
            "SELECT name, type, nullable, comment FROM system.columns WHERE catalog = {} \
             AND schema = {} AND \"table\" = {} ORDER BY position",
            maru_core::quote_literal(&place.catalog),
            maru_core::quote_literal(&place.schema),
            maru_core::quote_literal(&place.name)
        ))
    }

    async fn describe_history(self: &Arc<Self>, name: &maru_sql::Name) -> Result<Statement> {
        let place = statement::locate_relation(self, name).await?;
        maru_sql::parse(&format!(
            "SELECT version, committed, operation, parameters, metrics, writer FROM system.table_history \
             WHERE catalog = {} AND schema = {} AND \"table\" = {} ORDER BY version DESC",
            maru_core::quote_literal(&place.catalog),
            maru_core::quote_literal(&place.schema),
            maru_core::quote_literal(&place.name)
        ))
    }

    fn describe_model(&self, name: &maru_sql::Name) -> Result<Statement> {
        let (schema, model, _) = self.require_model(name)?;
        maru_sql::parse(&format!(
            "SELECT schema, version, is_default, aliases, model_type, state, metrics, features, options, n_rows, created, \
             sources, query FROM system.model_versions WHERE schema = {} AND model = {} ORDER BY version",
            maru_core::quote_literal(&schema),
            maru_core::quote_literal(&model)
        ))
    }

    /// Tells the columns of files, as `DESCRIBE` tells those of a table.
    async fn describe_path(self: &Arc<Self>, path: &str) -> Result<Statement> {
        let table = open_path(self.catalogs(), path, None, &self.rights()).await?;
        let schema = table.schema();
        let rows = schema.fields().iter().enumerate().map(|(position, field)| {
            let name = maru_core::quote_literal(field.name());
            let data_type = maru_core::quote_literal(&system::types::sql_name(field.data_type()));
            let nullable = field.is_nullable();
            format!("({position}, {name}, {data_type}, {nullable}, CAST(NULL AS text))")
        });
        maru_sql::parse(&format!(
            "SELECT name, type, nullable, comment FROM (VALUES {}) AS files (position, name, type, nullable, comment) \
             ORDER BY position",
            rows.collect::<Vec<_>>().join(", ")
        ))
    }

    /// Plans the query of a view; its bare names are looked up in `place` (catalog, search path), or else where the
    /// session is.
    pub(crate) async fn plan_view(
        self: &Arc<Self>,
        sql: &str,
        place: Option<(&str, &str)>,
    ) -> Result<LogicalPlan> {
        let Statement::Query { statement, .. } = maru_sql::parse(sql)? else {
            return Err(Error::internal("a view is not a query"));
        };
        self.plan_view_statement(*statement, place, Ok).await
    }

    /// Plans a view as [`Session::plan_view`] does. `settle` looks at the plan while its types are those of the text.
    pub(super) async fn plan_view_statement(
        self: &Arc<Self>,
        mut statement: DfStatement,
        place: Option<(&str, &str)>,
        settle: impl FnOnce(LogicalPlan) -> Result<LogicalPlan>,
    ) -> Result<LogicalPlan> {
        let depth = VIEW_DEPTH.try_with(|depth| *depth).unwrap_or(0);
        if depth >= VIEW_DEPTH_MAX {
            return Err(Error::new(ErrorKind::LimitExceeded, "views are nested too deeply")
                .with_detail(format!("The limit is {VIEW_DEPTH_MAX} levels (view_depth_max)."))
                .with_hint("A view probably reads itself through another one."));
        }
        let mut state = SessionState::clone(&self.statement_state());
        if let Some((catalog, schema)) = place {
            let options = state.config_mut().options_mut();
            options.catalog.default_catalog = catalog.to_owned();
            options.catalog.default_schema = schema.to_owned();
        }
        rewrite(&mut statement)?;
        let plan = VIEW_DEPTH.scope(depth + 1, state.statement_to_plan(statement)).await?;
        Ok(as_meant(settle(plan)?)?)
    }

    pub(crate) async fn plan_stored_view(
        self: &Arc<Self>,
        definition: &str,
    ) -> Result<LogicalPlan> {
        let Definition::View(view) = Definition::decode(definition)? else {
            return Err(Error::internal("a view is not a view"));
        };
        let plan = self.plan_view(&view.sql, Some((&view.catalog, &view.search_path))).await?;
        Ok(scored(plan)?)
    }
}

/// Reads the query that a `SHOW` is.
fn shown(sql: &str) -> Result<Statement> {
    Ok(match maru_sql::parse(sql)? {
        Statement::Query { statement, .. } => Statement::Query { statement, tag: "SHOW" },
        other => other,
    })
}

/// The state to plan a statement with whose relation's order is kept.
fn with_orders(state: &SessionState) -> Opaque<SessionState> {
    let mut state = state.clone();
    state.config_mut().options_mut().sql_parser.enable_subquery_sort_elimination = false;
    Opaque::new(state)
}

pub(super) fn refuse_writes(plan: &LogicalPlan) -> Result<()> {
    let what = match plan {
        LogicalPlan::Dml(_) => "writing to tables",
        LogicalPlan::Ddl(_) => "this statement",
        LogicalPlan::Copy(_) => "COPY",
        LogicalPlan::Explain(explain) => return refuse_writes(&explain.plan),
        LogicalPlan::Analyze(analyze) => return refuse_writes(&analyze.input),
        _ => return Ok(()),
    };
    Err(Error::unsupported(format!("{what} is not supported yet")))
}

/// Returns the error for a task that gave no result.
pub(super) fn broken_off(end: JoinError) -> Error {
    match end.try_into_panic() {
        Ok(panic) => panicked(panic.as_ref()),
        Err(_) => Error::new(ErrorKind::ShuttingDown, "the engine is shutting down"),
    }
}

pub(super) fn panicked(panic: &(dyn Any + Send)) -> Error {
    let text = panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_default();
    tracing::error!(panic = %text, "planning panicked");
    Error::internal("the planner broke off").with_detail(format!("It said: {text}."))
}

/// Finds the place of errors that only carry a name: the first word of the text, outside of quotes, that is it.
pub(super) fn locate(error: Error, sql: &str) -> Error {
    let error = missing_table::named(error, sql);
    let by_name = matches!(
        error.kind(),
        ErrorKind::UndefinedTable
            | ErrorKind::UndefinedSchema
            | ErrorKind::UndefinedCatalog
            | ErrorKind::UndefinedFunction
            | ErrorKind::UndefinedColumn
            | ErrorKind::AmbiguousColumn
    );
    if !by_name || error.position().is_some() || error.has_line_column() {
        return error;
    }
    let name = error.primary().split('"').nth(1).unwrap_or_default().to_owned();
    match word_position(sql, &name) {
        Some((line, column)) => error.with_line_column(line, column),
        None => error,
    }
}

pub(crate) fn word_position(sql: &str, name: &str) -> Option<(usize, usize)> {
    use maru_sql::tokenizer::{Token, Tokenizer};
    let tokens = Tokenizer::new(&maru_sql::MaruDialect, sql).tokenize_with_location().ok()?;
    let words = name.split('.').map(|word| word.trim_matches('"')).collect::<Vec<_>>();
    let visible = tokens
        .iter()
        .filter(|token| !matches!(token.token, Token::Whitespace(_)))
        .collect::<Vec<_>>();
    let is = |index: usize, wanted: &str| {
        matches!(
            visible.get(index).map(|token| &token.token),
            Some(Token::Word(word)) if word.value.eq_ignore_ascii_case(wanted)
        )
    };
    let start = (0..visible.len())
        .find(|start| words.iter().enumerate().all(|(i, word)| is(start + 2 * i, word)))?;
    let place = visible[start].span.start;
    Some((place.line as usize, place.column as usize))
}
