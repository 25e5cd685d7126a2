//! `CREATE TABLE`, with and without a query.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use maru_connect::{Committed, LENGTH_KEY, NewTable, SourceTable, WriteMode, WriteWatch};
use maru_core::{Error, ErrorKind, Options, Result};
use maru_sql::{CreateTable, OptionList, ast};

use super::node::{Watch, Writing, node};
use super::target::{keeps_what_is_given, place};
use super::{Outcome, assign, declared};
use crate::access::{Object, Privilege};
use crate::catalog::{Attached, BUILTIN};
use crate::output::Output;
use crate::registry;
use crate::session::{Session, Style};

/// Where a table is made, and what is there.
pub(super) struct Place {
    attached: Arc<Attached>,
    schema: String,
    table: String,
    /// Whether it takes the place of another one.
    replaces: bool,
}

/// Checks that a table may be made.
///
/// # Errors
/// 42P07 if it is there and not to be replaced; 42501; `Ok(None)` if there is nothing to do.
pub(super) async fn new_place(
    session: &Arc<Session>,
    create: &CreateTable,
) -> Result<Option<Place>> {
    let (attached, schema, table) = place(session, &create.name).await?;
    let rights = session.rights();
    let object = Object::table(&attached.name, &schema, &table);
    let holder = Object::schema(&attached.name, &schema);
    let there = attached.table(&schema, &table).await?.filter(|_| rights.sees(&object));
    let Some(there) = there else {
        rights.require(Privilege::Create, &holder)?;
        return Ok(Some(Place { attached, schema, table, replaces: false }));
    };
    if create.if_not_exists {
        return Ok(None);
    }
    let is_view = matches!(there, SourceTable::View { .. } | SourceTable::ForeignView(_));
    if create.or_replace && !is_view {
        rights.require_owner(&object)?;
        let copy = match attached.name == BUILTIN {
            true => session.own_copy(&schema, &table).await?,
            false => None,
        };
        let schema = copy.unwrap_or(schema);
        return Ok(Some(Place { attached, schema, table, replaces: true }));
    }
    let kind = if is_view { "view" } else { "table" };
    Err(Error::new(
        ErrorKind::DuplicateTable,
        format!("{kind} \"{schema}.{table}\" already exists"),
    )
    .with_hint("Use OR REPLACE, IF NOT EXISTS, or another name."))
}

impl Session {
    pub(super) async fn plan_create_as(self: &Arc<Self>, create: CreateTable) -> Result<Outcome> {
        let Some(place) = new_place(self, &create).await? else {
            let notice = format!("\"{}\" already exists, skipping", create.name);
            return Ok(Outcome::Done { tag: "CREATE TABLE AS", notice });
        };
        let Some(query) = create.query.clone() else {
            return Err(Error::internal("CREATE TABLE AS without a query"));
        };
        let plan = self.plan_source(query).await?;
        let fields = plan.schema().fields().iter().map(|field| {
            // What has no type yet is text, as in PostgreSQL.
            let data_type = match field.data_type() {
                DataType::Null => DataType::Utf8,
                other => other.clone(),
            };
            let shown = super::super::rewrite::shown(field.name());
            let extension = field.metadata().iter().filter(|(key, _)| key.starts_with("ARROW:"));
            let metadata = extension.map(|(key, value)| (key.clone(), value.clone())).collect();
            Arc::new(Field::new(shown, data_type, true).with_metadata(metadata))
        });
        let fields = fields.collect::<Vec<FieldRef>>();
        let columns = Arc::new(Schema::new(fields));
        let zone = self.setting("timezone").unwrap_or_default();
        let writing = writing(self, create, place, Arc::clone(&columns))?;
        let plan = assign::assign(plan, columns.fields(), Vec::new(), &zone)?;
        Ok(Outcome::Plan(node(plan, writing)?, "SELECT"))
    }
}

/// Returns the write that makes the table.
pub(super) fn writing(
    session: &Arc<Session>,
    create: CreateTable,
    place: Place,
    columns: SchemaRef,
) -> Result<Writing> {
    let names = columns.fields().iter().map(|field| field.name()).collect::<Vec<_>>();
    for (index, name) in names.iter().enumerate() {
        if names[..index].contains(name) {
            return Err(Error::new(
                ErrorKind::DuplicateColumn,
                format!("column \"{name}\" specified more than once"),
            )
            .with_hint("Give the columns of a table different names with AS."));
        }
    }
    for name in create.partitioned_by.iter().chain(&create.primary_key) {
        if !names.contains(&name) {
            return Err(Error::new(
                ErrorKind::UndefinedColumn,
                format!("column \"{name}\" named in PARTITIONED BY or PRIMARY KEY does not exist"),
            ));
        }
    }
    let options = table_options(&place.attached, &create.options)?;
    let new = NewTable {
        replace: create.or_replace,
        partitioned_by: create.partitioned_by,
        primary_key: create.primary_key,
        comment: None,
        checks: Vec::new(),
        defaults: Vec::new(),
    };
    Ok(Writing {
        session: Arc::downgrade(session),
        attached: place.attached,
        schema: place.schema,
        table: place.table,
        mode: WriteMode::Create(new),
        columns,
        options,
        owner: (!place.replaces).then(|| session.role()),
        checked: Vec::new(),
        checks: Vec::new(),
    })
}

fn table_options(attached: &Attached, given: &OptionList) -> Result<Options> {
    let specs = match attached.connector {
        BUILTIN => maru_files::TABLE_OPTIONS,
        connector => registry::require_connector(connector)?.spec().table_options,
    };
    let given = given.0.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    Options::check(&format!("a table of catalog \"{}\"", attached.name), specs, given)
}

/// Runs `CREATE TABLE` without a query: a write without rows.
pub(crate) async fn create_table(session: &Arc<Session>, create: &CreateTable) -> Result<Output> {
    let tag = "CREATE TABLE";
    let Some(place) = new_place(session, create).await? else {
        return Ok(Output::command(tag)
            .with_notice(format!("\"{}\" already exists, skipping", create.name)));
    };
    let mut fields = Vec::with_capacity(create.columns.len());
    for column in &create.columns {
        let mut field = declared_column(session, column).await?;
        if create.primary_key.contains(field.name()) {
            field = field.with_nullable(false);
        }
        fields.push(field);
    }
    let columns = Arc::new(Schema::new(fields));
    let (checks, defaults) = match create.checks.is_empty() && create.defaults.is_empty() {
        true => Default::default(),
        false => {
            require_rules(&place, create)?;
            let object = Object::table(&place.attached.name, &place.schema, &place.table);
            Box::pin(declared::of_new(session, create, &object, &columns)).await?
        }
    };
    let mut writing = writing(session, create.clone(), place, columns)?;
    if let WriteMode::Create(new) = &mut writing.mode {
        (new.checks, new.defaults) = (checks, defaults);
    }
    let writing = Arc::new(writing);
    let memory = Arc::new(datafusion::execution::memory_pool::UnboundedMemoryPool::default());
    let job = writing.attached.begin_write(writing.request(0, memory)).await?;
    let watch = Watch::new(session.engine().clone(), 0, writing);
    watch.committing().await?;
    // It goes on to its end, whoever still waits for it.
    let commit = tokio::spawn(async move {
        let outcome: Result<Committed> = job.commit().await;
        watch.committed(&outcome).await;
        outcome
    });
    commit.await.map_err(|error| Error::internal("a commit broke off").with_cause(error))??;
    Ok(Output::command(tag))
}

/// # Errors
/// 0A000 for constraints and defaults where the engine does not see to them.
fn require_rules(place: &Place, create: &CreateTable) -> Result<()> {
    if keeps_what_is_given(&place.attached) {
        return Ok(());
    }
    match create.defaults.first() {
        Some((column, _)) => Err(no_default(column)),
        None => Err(Error::unsupported(format!(
            "a table of catalog \"{}\" cannot have CHECK constraints",
            place.attached.name
        ))
        .with_hint("Make the table in its system.")),
    }
}

fn no_default(column: &str) -> Error {
    Error::unsupported(format!("column \"{column}\" cannot have a DEFAULT"))
        .with_hint("Give the value in each INSERT.")
}

/// Reads the definition of a column.
///
/// # Errors
/// 0A000 for defaults and constraints but NOT NULL and PRIMARY KEY.
pub(crate) async fn declared_column(
    session: &Arc<Session>,
    column: &ast::ColumnDef,
) -> Result<Field> {
    let name = match column.name.quote_style {
        Some(_) => column.name.value.clone(),
        None => column.name.value.to_lowercase(),
    };
    let mut nullable = true;
    for option in &column.options {
        match &option.option {
            ast::ColumnOption::NotNull | ast::ColumnOption::PrimaryKey(_) => nullable = false,
            ast::ColumnOption::Null => {}
            ast::ColumnOption::Default(_) => {
                return Err(no_default(&name));
            }
            other => {
                return Err(Error::unsupported(format!("column \"{name}\" cannot have {other}")));
            }
        }
    }
    let field = Field::new(name, declared_type(session, &column.data_type).await?, nullable);
    let mut metadata = std::collections::HashMap::new();
    if let Some(length) = length_of(&column.data_type) {
        metadata.insert(LENGTH_KEY.to_owned(), length);
    }
    if let ast::DataType::Uuid = column.data_type {
        metadata.insert("ARROW:extension:name".to_owned(), "arrow.uuid".to_owned());
    }
    match column.data_type {
        ast::DataType::JSON => metadata.extend(crate::session::mark(Style::Json)),
        ast::DataType::JSONB => metadata.extend(crate::session::mark(Style::Jsonb)),
        _ => {}
    }
    Ok(field.with_metadata(metadata))
}

/// Asks the planner what the name of a type means.
pub(crate) async fn declared_type(
    session: &Arc<Session>,
    data_type: &ast::DataType,
) -> Result<DataType> {
    let sql = format!("SELECT CAST(NULL AS {data_type})");
    let plan = Box::pin(session.plan_view(&sql, None)).await?;
    Ok(plan.schema().field(0).data_type().clone())
}

/// Returns the length in `varchar(10)`, `char(10)`, as it is written with its kind: `varchar:10`.
pub(crate) fn length_of(data_type: &ast::DataType) -> Option<String> {
    use ast::DataType as T;
    let (kind, length) = match data_type {
        T::Varchar(length) | T::CharacterVarying(length) | T::CharVarying(length) => {
            ("varchar", length.as_ref()?)
        }
        T::Character(length) | T::Char(length) => ("char", length.as_ref()?),
        _ => return None,
    };
    match length {
        ast::CharacterLength::IntegerLength { length, .. } => Some(format!("{kind}:{length}")),
        ast::CharacterLength::Max => None,
    }
}

/// Makes a schema in a catalog other than the built-in one.
pub(crate) async fn create_schema(
    session: &Arc<Session>,
    catalog: &str,
    schema: &str,
    if_not_exists: bool,
) -> Result<Output> {
    let attached = session.require_catalog(catalog)?;
    session.rights().require(Privilege::Create, &Object::catalog(catalog))?;
    let there = attached.schemas().await?.iter().any(|known| known == schema);
    let outcome = match there {
        true => Err(Error::new(
            ErrorKind::DuplicateSchema,
            format!("schema \"{schema}\" already exists"),
        )),
        false => attached.create_schema(schema).await,
    };
    match outcome {
        Err(error) if error.kind() == ErrorKind::DuplicateSchema && if_not_exists => {
            Ok(Output::command("CREATE SCHEMA")
                .with_notice(format!("schema \"{schema}\" already exists, skipping")))
        }
        Err(error) => Err(error),
        Ok(()) => {
            let object = Object::schema(catalog, schema);
            let creator = session.role();
            let authority = &session.engine().inner.authority;
            authority
                .change(|rules| {
                    rules.created(&object, &creator);
                    Ok(())
                })
                .await?;
            Ok(Output::command("CREATE SCHEMA"))
        }
    }
}
