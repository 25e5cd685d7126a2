//! `DROP CATALOG | SECRET | SCHEMA | TABLE | VIEW`.

use std::sync::Arc;

use maru_connect::TableChange;
use maru_core::{Error, ErrorKind, Result};
use maru_sql::{DropObject, Name, ObjectKind};

use super::secret::catalogs_with;
use super::{builtin_relation, require_builtin, too_many_parts};
use crate::access::Object;
use crate::catalog::BUILTIN;
use crate::output::Output;
use crate::session::Session;
use crate::store::RelationKind;

pub(super) async fn execute(session: &Arc<Session>, drop: &DropObject) -> Result<Output> {
    let word = drop.kind.word();
    let mut output = Output::command(format!("DROP {}", word.to_uppercase()));
    for name in &drop.names {
        let done = match drop.kind {
            ObjectKind::Catalog => drop_catalog(session, name).await,
            ObjectKind::CatalogTemplate => super::template::drop(session, name).await,
            ObjectKind::ResourceGroup => super::group::drop(session, name).await,
            ObjectKind::Secret => drop_secret(session, name).await,
            ObjectKind::Schema => drop_schema(session, name, drop.cascade).await,
            ObjectKind::Table if is_elsewhere(session, name) => {
                super::table::drop_table(session, name).await
            }
            ObjectKind::Table => drop_relation(session, name, RelationKind::ExternalTable).await,
            ObjectKind::View => drop_relation(session, name, RelationKind::View).await,
        };
        match done {
            Ok(()) => {}
            Err(error) if drop.if_exists && is_missing(&error) => {
                output = output.with_notice(format!("{word} \"{name}\" does not exist, skipping"));
            }
            Err(error) => return Err(error),
        }
    }
    Ok(output)
}

/// Returns whether a statement does what no rollback brings back: to tables of attached catalogs, to models and pipelines.
pub(crate) fn is_final(session: &Session, statement: &maru_sql::Statement) -> bool {
    use maru_sql::Statement;
    match statement {
        Statement::CreateSchema(create) => match create.name.0.as_slice() {
            [catalog, _] => catalog != BUILTIN,
            _ => session.catalog() != BUILTIN,
        },
        Statement::CreateTable(create) => is_elsewhere(session, &create.name),
        // Rows and columns of tables of the built-in catalog are changed in copies.
        Statement::AlterTable(alter) => is_elsewhere(session, &alter.table),
        Statement::Truncate(truncate) => {
            truncate.tables.iter().any(|name| is_elsewhere(session, name))
        }
        Statement::Drop(drop) => match drop.kind {
            ObjectKind::Table => drop.names.iter().any(|name| is_elsewhere(session, name)),
            ObjectKind::Schema => {
                let inner = &session.engine().inner;
                let mut held = inner.models.names();
                held.extend(inner.pipelines.names());
                drop.names
                    .iter()
                    .any(|name| held.iter().any(|(schema, _)| Some(schema) == name.0.last()))
            }
            _ => false,
        },
        _ => false,
    }
}

/// Returns whether a name is one of an attached catalog.
pub(super) fn is_elsewhere(session: &Session, name: &Name) -> bool {
    match name.0.as_slice() {
        [catalog, _, _] => catalog != BUILTIN,
        _ => session.catalog() != BUILTIN,
    }
}

fn is_missing(error: &Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::UndefinedCatalog
            | ErrorKind::UndefinedObject
            | ErrorKind::UndefinedSchema
            | ErrorKind::UndefinedTable
    )
}

fn single(name: &Name) -> Result<&str> {
    match name.0.as_slice() {
        [one] => Ok(one),
        _ => Err(too_many_parts(name)),
    }
}

async fn drop_catalog(session: &Arc<Session>, name: &Name) -> Result<()> {
    let name = single(name)?;
    super::template::refuse_made(session, name, "DROP CATALOG TEMPLATE")?;
    session.require_catalog(name)?;
    let object = Object::catalog(name);
    if name == BUILTIN {
        return Err(Error::new(ErrorKind::NotAllowed, format!("catalog \"{name}\" is built in"))
            .with_hint("It cannot be created, changed or dropped."));
    }
    session.rights().require_owner(&object)?;
    session.catalogs().remove(name).await?;
    forget(session, &object).await
}

/// Forgets what was granted on an object that is gone.
pub(super) async fn forget(session: &Arc<Session>, object: &Object) -> Result<()> {
    let authority = &session.engine().inner.authority;
    authority
        .change(|rules| {
            rules.forget(object);
            Ok(())
        })
        .await
}

async fn drop_secret(session: &Arc<Session>, name: &Name) -> Result<()> {
    let name = single(name)?;
    let store = &session.engine().inner.store;
    let object = Object::secret(name);
    let _held = session.engine().inner.owning.lock().await;
    let rights = session.rights();
    if store.secret(name).await?.is_none() || !rights.sees(&object) {
        return Err(Error::new(
            ErrorKind::UndefinedObject,
            format!("secret \"{name}\" does not exist"),
        )
        .with_hint("SHOW SECRETS lists them."));
    }
    rights.require_owner(&object)?;
    let users = catalogs_with(session, name).await?;
    if !users.is_empty() {
        return Err(Error::new(
            ErrorKind::DependentObjects,
            format!("cannot drop secret \"{name}\" because catalogs use it"),
        )
        .with_detail(format!("Catalogs: {}.", users.join(", ")))
        .with_hint("Drop those catalogs first, or give them another secret."));
    }
    store.delete_secret(name).await?;
    forget(session, &object).await
}

async fn drop_schema(session: &Arc<Session>, name: &Name, cascade: bool) -> Result<()> {
    let (catalog, schema) = match name.0.as_slice() {
        [schema] => (session.catalog(), schema),
        [catalog, schema] => (catalog.clone(), schema),
        _ => return Err(too_many_parts(name)),
    };
    require_builtin(&catalog)?;
    let store = &session.engine().inner.store;
    let object = Object::schema(&catalog, schema);
    let rights = session.rights();
    let there = store.schemas().await?.iter().any(|(known, _)| known == schema);
    if !there || !rights.sees(&object) {
        return Err(Error::new(
            ErrorKind::UndefinedSchema,
            format!("schema \"{schema}\" does not exist"),
        ));
    }
    rights.require_owner(&object)?;
    let relations = store.relations().await?;
    let relations = relations.into_iter().filter(|r| r.schema == *schema).collect::<Vec<_>>();
    let models = session.engine().inner.models.names().into_iter();
    let models = models.filter(|(s, _)| s == schema).map(|(_, name)| name).collect::<Vec<_>>();
    let pipelines = session.engine().inner.pipelines.names().into_iter();
    let pipelines =
        pipelines.filter(|(s, _)| s == schema).map(|(_, name)| name).collect::<Vec<_>>();
    let inside = relations.iter().map(|r| r.name.as_str()).chain(models.iter().map(String::as_str));
    let inside = inside.chain(pipelines.iter().map(String::as_str));
    let inside = inside.collect::<Vec<_>>();
    if !inside.is_empty() && !cascade {
        return Err(Error::new(
            ErrorKind::DependentObjects,
            format!("cannot drop schema \"{schema}\" because other objects depend on it"),
        )
        .with_detail(format!("It holds: {}.", inside.join(", ")))
        .with_hint("Use DROP SCHEMA … CASCADE to drop them too."));
    }
    let attached = session.require_catalog(BUILTIN)?;
    for relation in relations {
        session.forget_copy(schema, &relation.name).await?;
        match relation.kind {
            RelationKind::Table if session.in_transaction() => {
                session.drop_at_end(schema, &relation.name).await?;
            }
            RelationKind::Table => {
                attached.change_table(schema, &relation.name, TableChange::Drop).await?;
            }
            _ => {}
        }
    }
    for model in models {
        session.engine().inner.models.drop_model(schema, &model).await?;
    }
    // Nobody makes a view or a pipeline here meanwhile, which would be left without an owner.
    let inner = &session.engine().inner;
    let _held = inner.owning.lock().await;
    let pipelines = inner.pipelines.names().into_iter().filter(|(s, _)| s == schema);
    for (_, pipeline) in pipelines.collect::<Vec<_>>() {
        if !cascade {
            let message = format!("pipeline \"{schema}.{pipeline}\" was made meanwhile");
            return Err(Error::new(ErrorKind::DependentObjects, message)
                .with_hint("Use DROP SCHEMA … CASCADE to drop it too."));
        }
        inner.pipelines.drop_pipeline(schema, &pipeline).await?;
    }
    store.delete_schema(schema).await?;
    forget(session, &object).await
}

async fn drop_relation(session: &Arc<Session>, name: &Name, kind: RelationKind) -> Result<()> {
    let (schema, relation) = builtin_relation(session, name)?;
    let store = &session.engine().inner.store;
    let held = session.engine().inner.owning.lock().await;
    let relations = store.relations().await?;
    let found = relations.iter().find(|found| found.schema == schema && found.name == relation);
    let object = Object::table(BUILTIN, &schema, &relation);
    let rights = session.rights();
    match found.filter(|_| rights.sees(&object)) {
        None => Err(Error::new(
            ErrorKind::UndefinedTable,
            format!("{} \"{name}\" does not exist", word(kind)),
        )),
        Some(found) if word(found.kind) != word(kind) => Err(Error::new(
            ErrorKind::WrongObjectType,
            format!("\"{name}\" is not a {}", word(kind)),
        )
        .with_hint(format!("Use DROP {} to remove it.", word(found.kind).to_uppercase()))),
        Some(found) => {
            rights.require_owner(&object)?;
            // The files of a table may take their time, and nobody reads by its owner's rights.
            let _held = Some(held).filter(|_| found.kind != RelationKind::Table);
            let attached = session.require_catalog(BUILTIN)?;
            session.forget_copy(&schema, &relation).await?;
            match found.kind {
                RelationKind::Table if session.in_transaction() => {
                    session.drop_at_end(&schema, &relation).await?;
                }
                RelationKind::Table => {
                    attached.change_table(&schema, &relation, TableChange::Drop).await?;
                }
                _ => store.delete_relation(&schema, &relation).await?,
            }
            forget(session, &object).await
        }
    }
}

fn word(kind: RelationKind) -> &'static str {
    match kind {
        RelationKind::ExternalTable | RelationKind::Table => "table",
        RelationKind::View => "view",
    }
}
