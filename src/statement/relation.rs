//! `CREATE SCHEMA`, `CREATE EXTERNAL TABLE`, `CREATE VIEW`: objects of the built-in catalog.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema};
use maru_connect::{LENGTH_KEY, SourceTable};
use maru_core::{Error, ErrorKind, Result, quote_ident};
use maru_sql::ast;
use maru_sql::{CreateExternalTable, CreateSchema, CreateView, Name};

use super::{builtin_relation, too_many_parts};
use crate::access::{Object, Privilege};
use crate::catalog::BUILTIN;
use crate::catalog::builtin::{check_external_table, location_url, open_external_table};
use crate::catalog::definition::{
    Definition, EncodedSchema, ExternalTableDefinition, ViewDefinition,
};
use crate::output::Output;
use crate::session::{Session, declared_type, length_of};
use crate::store::{RelationKind, StoredRelation};
use crate::system::VIRTUAL_SCHEMAS;

pub(super) async fn create_schema(session: &Arc<Session>, create: &CreateSchema) -> Result<Output> {
    let (catalog, name) = match create.name.0.as_slice() {
        [name] => (session.catalog(), name),
        [catalog, name] => (catalog.clone(), name),
        _ => return Err(too_many_parts(&create.name)),
    };
    if catalog != BUILTIN {
        return crate::session::create_schema(session, &catalog, name, create.if_not_exists).await;
    }
    session.rights().require(Privilege::Create, &Object::catalog(&catalog))?;
    if name.starts_with("pg_") {
        return Err(Error::new(
            ErrorKind::NotAllowed,
            format!("unacceptable schema name \"{name}\""),
        )
        .with_detail("The prefix \"pg_\" is reserved for system schemas."));
    }
    let store = &session.engine().inner.store;
    let exists = VIRTUAL_SCHEMAS.contains(&name.as_str())
        || store.schemas().await?.iter().any(|(schema, _)| schema == name);
    if exists {
        if create.if_not_exists {
            return Ok(Output::command("CREATE SCHEMA")
                .with_notice(format!("schema \"{name}\" already exists, skipping")));
        }
        return Err(Error::new(
            ErrorKind::DuplicateSchema,
            format!("schema \"{name}\" already exists"),
        ));
    }
    created(session, Object::schema(&catalog, name)).await?;
    store.put_schema(name, None).await?;
    Ok(Output::command("CREATE SCHEMA"))
}

pub(super) async fn create_external_table(
    session: &Arc<Session>,
    create: &CreateExternalTable,
) -> Result<Output> {
    let tag = "CREATE EXTERNAL TABLE";
    let (schema, name) = builtin_relation(session, &create.name)?;
    if let Some(output) =
        existing(session, &schema, &name, create.if_not_exists, create.or_replace, tag).await?
    {
        return Ok(output);
    }
    let mut columns = Vec::new();
    for column in &create.columns {
        columns.push(declared_field(session, column).await?);
    }
    let mut partition_columns = Vec::new();
    for (name, data_type) in &create.partitioned_by {
        // One without a type has that of the declared column, else it is found from the directories.
        partition_columns.push(match data_type {
            Some(data_type) => typed_field(session, name, data_type, true).await?,
            None => Field::new(name, DataType::Null, true),
        });
    }
    let url = location_url(&create.location)?;
    // Whoever may read the table later reads with the rights of whoever made it.
    // What all can read is a catalog of all: one's own, made from a template, would not do.
    session.catalogs().store_for(&url).await?;
    session.catalogs().store_for_reader(&url, &session.rights()).await?;
    let mut definition = ExternalTableDefinition {
        format: create.format.to_lowercase(),
        location: url.to_string(),
        options: create.options.0.iter().cloned().collect(),
        columns: EncodedSchema::new(&Schema::new(columns))?,
        partition_columns: EncodedSchema::new(&Schema::new(partition_columns))?,
    };
    let in_location = |error: Error| error.with_context("location", create.location.clone());
    // What was inferred is kept, so that a table does not change its columns with its files.
    let opened = open_external_table(session.catalogs(), &definition, false, None)
        .await
        .map_err(in_location)?;
    let SourceTable::Files(files) = opened else {
        return Err(Error::internal("a location was opened as something else than files"));
    };
    let missing =
        check_external_table(session.catalogs(), &definition).await.map_err(in_location)?;
    // The log of a Delta Lake table says at each version what its columns are.
    if definition.format != "delta" {
        let partition_columns = Schema::new(files.partition_columns.clone());
        let lengths = files.files.text_lengths().unwrap_or_default();
        definition.columns = EncodedSchema::new(&lengths.told_in(&files.file_schema))?;
        definition.partition_columns = EncodedSchema::new(&lengths.told_in(&partition_columns))?;
    }
    let relation = StoredRelation {
        schema,
        name,
        kind: RelationKind::ExternalTable,
        definition: Definition::ExternalTable(definition).encode()?,
        comment: None,
    };
    put(session, &relation, create.or_replace).await?;
    let output = Output::command(tag);
    Ok(match missing.as_slice() {
        [] => output,
        [one] => output.with_notice(format!("no file has column \"{one}\": it is NULL")),
        several => {
            let names = several.iter().map(|name| quote_ident(name)).collect::<Vec<_>>();
            output.with_notice(format!("no file has columns {}: they are NULL", names.join(", ")))
        }
    })
}

pub(super) async fn create_view(session: &Arc<Session>, create: &CreateView) -> Result<Output> {
    let tag = "CREATE VIEW";
    let (schema, name) = builtin_relation(session, &create.name)?;
    if let Some(output) =
        existing(session, &schema, &name, create.if_not_exists, create.or_replace, tag).await?
    {
        return Ok(output);
    }
    let query = create.query.to_string();
    // Names are checked the way a query's are, which gives the same errors and hints.
    let text = crate::session::StatementText::one(query.clone());
    let prepared = Box::pin(session.prepare(&text, &[])).await?;
    if prepared.writes() {
        return Err(Error::new(ErrorKind::Syntax, "a view needs a query"));
    }
    let Some(result) = prepared.schema else {
        return Err(Error::new(ErrorKind::Syntax, "a view needs a query"));
    };
    if !prepared.parameters.is_empty() {
        return Err(Error::new(
            ErrorKind::UndefinedParameter,
            "a view cannot have parameters such as $1",
        ));
    }
    let mut names = result.fields().iter().map(|field| field.name().clone()).collect::<Vec<_>>();
    if create.columns.len() > names.len() {
        return Err(Error::new(
            ErrorKind::Syntax,
            format!(
                "CREATE VIEW names {} columns, its query has {}",
                create.columns.len(),
                names.len()
            ),
        ));
    }
    for (name, given) in names.iter_mut().zip(&create.columns) {
        name.clone_from(given);
    }
    let mut sorted = names.clone();
    sorted.sort_unstable();
    if let Some(twice) = sorted.windows(2).find(|pair| pair[0] == pair[1]) {
        return Err(Error::new(
            ErrorKind::DuplicateColumn,
            format!("column \"{}\" specified more than once", twice[0]),
        )
        .with_hint("Give the columns of a view different names with AS."));
    }
    let sql = if create.columns.is_empty() {
        query
    } else {
        let list = names.iter().map(|name| quote_ident(name)).collect::<Vec<_>>().join(", ");
        format!("SELECT * FROM ({query}) AS v ({list})")
    };
    let fields = result
        .fields()
        .iter()
        .zip(&names)
        .map(|(field, name)| Field::new(name, field.data_type().clone(), true))
        .collect::<Vec<_>>();
    let definition = ViewDefinition {
        sql,
        catalog: session.catalog(),
        search_path: super::default_schema(session),
        schema: EncodedSchema::new(&Schema::new(fields))?,
        owned: true,
    };
    let relation = StoredRelation {
        schema,
        name,
        kind: RelationKind::View,
        definition: Definition::View(definition).encode()?,
        comment: None,
    };
    put(session, &relation, create.or_replace).await?;
    Ok(Output::command(tag))
}

/// Gives a table or view of the built-in catalog another name. Its rows, remarks, owner and privileges stay; views that read it by its
/// old name do not follow.
///
/// # Errors
/// 42P01 if it is not there, 42P07 if the new name is taken, 42501.
pub(super) async fn rename(session: &Arc<Session>, name: &Name, to: &Name) -> Result<()> {
    let [to] = to.0.as_slice() else { return Err(super::table::within_schema()) };
    let (schema, from) = builtin_relation(session, name)?;
    let store = &session.engine().inner.store;
    let rights = session.rights();
    let (object, new) =
        (Object::table(BUILTIN, &schema, &from), Object::table(BUILTIN, &schema, to));
    let relations = store.relations().await?;
    let is_there = |name: &str| relations.iter().any(|r| r.schema == schema && r.name == name);
    if !is_there(&from) || !rights.sees(&object) {
        let message = format!("table \"{name}\" does not exist");
        return Err(Error::new(ErrorKind::UndefinedTable, message));
    }
    rights.require_owner(&object)?;
    rights.require(Privilege::Create, &Object::schema(BUILTIN, &schema))?;
    if session.copy_of(&schema, &from).is_some() {
        return Err(Error::new(
            ErrorKind::InTransaction,
            format!("table \"{from}\" cannot be renamed by the transaction that has written to it"),
        )
        .with_hint("COMMIT first, or rename it before."));
    }
    let taken = || {
        let message = format!("table \"{schema}.{to}\" already exists");
        Error::new(ErrorKind::DuplicateTable, message)
    };
    if is_there(to) {
        return Err(taken());
    }
    // A statement that makes a table of this name holds it.
    let making = &session.engine().inner.making;
    if !making.lock().insert(new.clone()) {
        return Err(taken());
    }
    let authority = &session.engine().inner.authority;
    let work = async {
        authority
            .change(|rules| {
                rules.forget(&new);
                rules.rename_object(&object, &new);
                Ok(())
            })
            .await?;
        if store.rename_relation(BUILTIN, &schema, &from, to).await? {
            return Ok(());
        }
        authority
            .change(|rules| {
                rules.rename_object(&new, &object);
                Ok(())
            })
            .await?;
        Err(taken())
    };
    let done = work.await;
    making.lock().remove(&new);
    let attached = session.require_catalog(BUILTIN)?;
    attached.forget(&schema, &from);
    attached.forget(&schema, to);
    session.note_temporary(&schema, to);
    done
}

/// Keeps a table or view. One that is replaced keeps its privileges, and its owner if that is who replaces it.
async fn put(session: &Arc<Session>, relation: &StoredRelation, or_replace: bool) -> Result<()> {
    let inner = &session.engine().inner;
    // Its query or its files were looked at meanwhile: what was there, and whose it was, must still be so.
    let _held = inner.owning.lock().await;
    if !inner.store.schemas().await?.iter().any(|(known, _)| *known == relation.schema) {
        let message = format!("schema \"{}\" does not exist", relation.schema);
        return Err(Error::new(ErrorKind::UndefinedSchema, message));
    }
    let object = Object::table(BUILTIN, &relation.schema, &relation.name);
    let relations = inner.store.relations().await?;
    let found = relations
        .iter()
        .find(|known| known.schema == relation.schema && known.name == relation.name);
    match found {
        None => created(session, object).await?,
        Some(found) if or_replace && found.kind == relation.kind => {
            replaced(session, &object).await?;
        }
        Some(found) => {
            let (kind, schema, name) = (found.kind.name(), &relation.schema, &relation.name);
            let message = format!("{kind} \"{schema}.{name}\" already exists");
            return Err(Error::new(ErrorKind::DuplicateTable, message));
        }
    }
    inner.store.put_relation(relation).await
}

/// Notes who makes an object, before it is there: what was granted on an earlier one of its name must not hold for it.
pub(super) async fn created(session: &Arc<Session>, object: Object) -> Result<()> {
    let creator = session.role();
    let authority = &session.engine().inner.authority;
    authority
        .change(|rules| {
            rules.created(&object, &creator);
            Ok(())
        })
        .await
}

/// Notes who gives an object other contents, before it has them: nobody's text works with the rights of somebody else.
///
/// # Errors
/// 42501 for what somebody else owns.
pub(super) async fn replaced(session: &Arc<Session>, object: &Object) -> Result<()> {
    session.rights().require_owner(object)?;
    let by = session.role();
    let authority = &session.engine().inner.authority;
    authority
        .change(|rules| {
            rules.replaced(object, &by);
            Ok(())
        })
        .await
}

/// Checks that the schema is there and the name is free; gives the output of a statement that has nothing to do.
async fn existing(
    session: &Arc<Session>,
    schema: &str,
    name: &str,
    if_not_exists: bool,
    or_replace: bool,
    tag: &'static str,
) -> Result<Option<Output>> {
    let store = &session.engine().inner.store;
    if VIRTUAL_SCHEMAS.contains(&schema) {
        return Err(Error::new(
            ErrorKind::NotAllowed,
            format!("schema \"{schema}\" belongs to the engine"),
        ));
    }
    let rights = session.rights();
    let place = Object::schema(BUILTIN, schema);
    if !store.schemas().await?.iter().any(|(known, _)| known == schema) || !rights.sees(&place) {
        return Err(Error::new(
            ErrorKind::UndefinedSchema,
            format!("schema \"{schema}\" does not exist"),
        )
        .with_hint(format!("Make it first: CREATE SCHEMA {}.", quote_ident(schema))));
    }
    let relations = store.relations().await?;
    let found = relations.iter().find(|found| found.schema == schema && found.name == name);
    // Who may make nothing here does not learn which names are taken.
    let owns = found.is_some() && rights.owns(&Object::table(BUILTIN, schema, name));
    if !owns {
        rights.require(Privilege::Create, &place)?;
    }
    let Some(found) = found else { return Ok(None) };
    if if_not_exists {
        return Ok(Some(
            Output::command(tag).with_notice(format!("\"{name}\" already exists, skipping")),
        ));
    }
    let made = if tag == "CREATE VIEW" { RelationKind::View } else { RelationKind::ExternalTable };
    if or_replace && found.kind == made {
        rights.require_owner(&Object::table(BUILTIN, schema, name))?;
        return Ok(None);
    }
    Err(Error::new(
        ErrorKind::DuplicateTable,
        format!("{} \"{schema}.{name}\" already exists", found.kind.name()),
    )
    .with_hint("Use OR REPLACE, IF NOT EXISTS, or another name."))
}

async fn declared_field(session: &Arc<Session>, column: &ast::ColumnDef) -> Result<Field> {
    let mut nullable = true;
    for option in &column.options {
        match &option.option {
            ast::ColumnOption::NotNull => nullable = false,
            ast::ColumnOption::Null => {}
            other => {
                return Err(Error::unsupported(format!(
                    "columns of external tables have no {other}"
                )));
            }
        }
    }
    let name = match column.name.quote_style {
        Some(_) => column.name.value.clone(),
        None => column.name.value.to_lowercase(),
    };
    typed_field(session, &name, &column.data_type, nullable).await
}

/// Asks the planner what a type's name means.
async fn typed_field(
    session: &Arc<Session>,
    name: &str,
    data_type: &ast::DataType,
    nullable: bool,
) -> Result<Field> {
    let mut field = Field::new(name, declared_type(session, data_type).await?, nullable);
    if let Some(length) = length_of(data_type) {
        field.metadata_mut().insert(LENGTH_KEY.to_owned(), length);
    }
    Ok(field)
}
