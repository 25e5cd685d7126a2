//! Temporary tables and views: relations of the built-in catalog in a schema of the session's own, which goes with it.
//!
//! As in PostgreSQL a bare name means one of them first, whatever the search path and the catalog of the session; other
//! sessions do not see them. Their rows lie in the warehouse like those of other tables. What a process that was killed left
//! of them is removed when the next one starts.

use std::collections::BTreeSet;
use std::sync::Arc;

use maru_core::{Error, ErrorKind, Result};
use maru_sql::ast::{self, Visit};
use maru_sql::{CreateView, Name, ObjectKind, Statement, WriteAction};

use super::Session;
use crate::access::Object;
use crate::catalog::BUILTIN;
use crate::catalog::definition::Definition;
use crate::catalog::resolve::TEMPORARY;
use crate::engine::Engine;

/// What the names of their schemas begin with; the number of the session follows.
const PREFIX: &str = "pg_temp_";

/// Returns whether a schema holds what is some session's alone: temporary relations, what a transaction block writes.
pub(crate) fn is_temporary_schema(name: &str) -> bool {
    let temporary = name.strip_prefix(PREFIX).is_some_and(|id| id.parse::<i32>().is_ok());
    temporary || name.starts_with(super::copies::PREFIX)
}

/// Returns whether a table that is written to goes with its session, or is the copy of such a one.
pub(super) fn is_written_as_temporary(schema: &str) -> bool {
    let copied = schema.strip_prefix(super::copies::PREFIX).and_then(|rest| rest.split_once('_'));
    is_temporary_schema(copied.map_or(schema, |(_, original)| original))
}

impl Session {
    pub(crate) fn temporary_schema(&self) -> String {
        format!("{PREFIX}{}", self.id)
    }

    /// Returns whether the session has made a temporary relation of this name; it may have been undone since.
    fn may_be_temporary(&self, name: &str) -> bool {
        self.temporary.lock().contains(name)
    }

    /// Keeps that a relation has this name now, if it is a temporary one.
    pub(crate) fn note_temporary(&self, schema: &str, name: &str) {
        if schema == self.temporary_schema() {
            self.temporary.lock().insert(name.to_owned());
        }
    }

    /// Returns catalog and schema of every place where a bare name is looked up, in order.
    pub(crate) fn bare_places(&self) -> Vec<(String, String)> {
        let catalog = self.catalog();
        let mut places = Vec::new();
        if !self.temporary.lock().is_empty() {
            places.push((BUILTIN.to_owned(), self.temporary_schema()));
        }
        places.extend(self.search_path().into_iter().map(|schema| (catalog.clone(), schema)));
        places
    }

    /// Gives the temporary relations that a statement makes, changes or drops their full names.
    ///
    /// # Errors
    /// 42601 for a temporary relation in a named schema.
    pub(super) async fn name_temporary(self: &Arc<Self>, statement: &mut Statement) -> Result<()> {
        if let Some(name) = made(statement) {
            *name = self.enter_temporary(name).await?;
        }
        if let Statement::CreateView(create) = statement {
            self.name_read(create).await?;
        }
        for name in targets(statement) {
            let own = match name.0.as_slice() {
                [schema, _] => schema == TEMPORARY,
                [relation] => self.may_be_temporary(relation) && self.is_there(relation).await?,
                _ => false,
            };
            if own {
                *name = self.temporary_name(name)?;
            }
        }
        Ok(())
    }

    /// Gives the temporary relations that a view reads their full names: it is planned by the place where it was made.
    ///
    /// # Errors
    /// 0A000 for a view that would outlive them.
    async fn name_read(&self, create: &mut CreateView) -> Result<()> {
        let mut bare = BTreeSet::new();
        let mut named = Named::default();
        let _ = create.query.visit(&mut named);
        for name in named.read.difference(&named.given) {
            if self.may_be_temporary(name) && self.is_there(name).await? {
                bare.insert(name.clone());
            }
        }
        let Some(first) = bare.first() else { return Ok(()) };
        if !create.temporary {
            let view = create.name.0.join(".");
            return Err(Error::unsupported(format!(
                "view \"{view}\" reads \"{first}\", which is temporary"
            ))
            .with_hint("CREATE TEMP VIEW makes one that goes with it."));
        }
        let schema = self.temporary_schema();
        let _ = ast::visit_relations_mut(&mut create.query, |name| {
            if let Some(own) = bare_name(name).filter(|own| bare.contains(own)) {
                let parts = [BUILTIN, &schema, &own].map(|part| ast::Ident::with_quote('"', part));
                *name = ast::ObjectName::from(parts.to_vec());
            }
            std::ops::ControlFlow::<()>::Continue(())
        });
        Ok(())
    }

    /// Makes room for a temporary relation; returns its full name.
    ///
    /// # Errors
    /// 42601 for one in a named schema.
    pub(super) async fn enter_temporary(self: &Arc<Self>, name: &Name) -> Result<Name> {
        let name = self.temporary_name(name)?;
        self.open_temporary().await?;
        if let Some(relation) = name.0.last() {
            self.temporary.lock().insert(relation.clone());
        }
        Ok(name)
    }

    fn temporary_name(&self, name: &Name) -> Result<Name> {
        let schema = self.temporary_schema();
        let relation = match name.0.as_slice() {
            [relation] => relation,
            [given, relation] if *given == TEMPORARY || *given == schema => relation,
            _ => {
                return Err(Error::new(
                    ErrorKind::Syntax,
                    "cannot create temporary relation in non-temporary schema",
                )
                .with_hint("Give it a name without a schema."));
            }
        };
        Ok(Name(vec![BUILTIN.to_owned(), schema, relation.clone()]))
    }

    async fn is_there(&self, relation: &str) -> Result<bool> {
        let schema = self.temporary_schema();
        let relations = self.engine.inner.store.relations().await?;
        Ok(relations.iter().any(|one| one.schema == schema && one.name == relation))
    }

    /// Makes the schema, unless it is there. It takes no privilege, as in PostgreSQL, where everyone may by default.
    async fn open_temporary(self: &Arc<Self>) -> Result<()> {
        let schema = self.temporary_schema();
        let store = &self.engine.inner.store;
        if store.schemas().await?.iter().any(|(known, _)| *known == schema) {
            return Ok(());
        }
        let owner = self.role();
        let object = Object::schema(BUILTIN, &schema);
        let made = self.engine.inner.authority.change(|rules| {
            rules.created(&object, &owner);
            Ok(())
        });
        made.await?;
        store.put_schema(&schema, None).await
    }

    /// Drops what there is, for `DISCARD`.
    pub(crate) async fn drop_temporary(&self) -> Result<()> {
        let names = std::mem::take(&mut *self.temporary.lock());
        match names.is_empty() {
            true => Ok(()),
            false => drop_schema(&self.engine, &self.temporary_schema()).await,
        }
    }

    /// Has what there is dropped when the session is gone.
    pub(super) fn leave_temporary(&self) {
        if self.temporary.lock().is_empty() {
            return;
        }
        let (engine, schema) = (self.engine.clone(), self.temporary_schema());
        // Without a runtime the process ends: the next start removes it.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                if let Err(error) = drop_schema(&engine, &schema).await {
                    tracing::warn!(%schema, %error, "could not drop temporary tables");
                }
            });
        }
    }
}

/// Removes a schema of temporary relations with what is in it.
pub(super) async fn drop_schema(engine: &Engine, schema: &str) -> Result<()> {
    let inner = &engine.inner;
    let relations = inner.store.relations().await?;
    inner.store.delete_schema(schema).await?;
    for relation in relations.into_iter().filter(|relation| relation.schema == schema) {
        if let Ok(Definition::Table(table)) = Definition::decode(&relation.definition) {
            inner.catalogs.warehouse().remove(&table).await;
        }
    }
    let object = Object::schema(BUILTIN, schema);
    let forgotten = inner.authority.change(|rules| {
        rules.forget(&object);
        Ok(())
    });
    forgotten.await
}

/// Removes what sessions of a process before this one have left.
pub(crate) async fn drop_left(engine: &Engine) -> Result<()> {
    for (schema, _) in engine.inner.store.schemas().await? {
        if is_temporary_schema(&schema) {
            drop_schema(engine, &schema).await?;
        }
    }
    Ok(())
}

/// The bare names that a query reads, and those that it gives itself.
#[derive(Default)]
struct Named {
    read: BTreeSet<String>,
    given: BTreeSet<String>,
}

impl ast::Visitor for Named {
    type Break = ();

    fn pre_visit_relation(&mut self, name: &ast::ObjectName) -> std::ops::ControlFlow<()> {
        self.read.extend(bare_name(name));
        std::ops::ControlFlow::Continue(())
    }

    fn pre_visit_query(&mut self, query: &ast::Query) -> std::ops::ControlFlow<()> {
        let tables = query.with.iter().flat_map(|with| &with.cte_tables);
        self.given.extend(tables.map(|table| fold(&table.alias.name)));
        std::ops::ControlFlow::Continue(())
    }
}

fn fold(ident: &ast::Ident) -> String {
    match ident.quote_style {
        Some(_) => ident.value.clone(),
        None => ident.value.to_lowercase(),
    }
}

fn bare_name(name: &ast::ObjectName) -> Option<String> {
    match name.0.as_slice() {
        [part] => part.as_ident().map(fold),
        _ => None,
    }
}

/// Returns the name of the temporary relation that a statement makes.
fn made(statement: &mut Statement) -> Option<&mut Name> {
    match statement {
        Statement::CreateTable(create) if create.temporary => Some(&mut create.name),
        Statement::CreateView(create) if create.temporary => Some(&mut create.name),
        Statement::Write(write) => match &mut write.action {
            WriteAction::CreateTableAs(create) if create.temporary => Some(&mut create.name),
            _ => None,
        },
        _ => None,
    }
}

/// Returns the names of the relations that a statement changes or drops. What it reads is looked up when it is planned.
fn targets(statement: &mut Statement) -> Vec<&mut Name> {
    match statement {
        Statement::Truncate(truncate) => truncate.tables.iter_mut().collect(),
        Statement::AlterTable(alter) => vec![&mut alter.table],
        Statement::CreateIndex(create) => vec![&mut create.table],
        Statement::Vacuum(vacuum) => vec![&mut vacuum.table],
        Statement::Drop(drop) if matches!(drop.kind, ObjectKind::Table | ObjectKind::View) => {
            drop.names.iter_mut().collect()
        }
        Statement::ShowCreateView(name) => vec![name],
        Statement::Copy(copy) if copy.from => copy.table.iter_mut().collect(),
        Statement::Write(write) => match &mut write.action {
            WriteAction::Insert(insert) | WriteAction::CopyFrom(insert) => vec![&mut insert.table],
            WriteAction::Delete(delete) => vec![&mut delete.table],
            WriteAction::Update(update) => vec![&mut update.table],
            WriteAction::Merge(merge) => vec![&mut merge.table],
            WriteAction::Optimize(table) => vec![table],
            WriteAction::CreateTableAs(_) | WriteAction::CopyTo(_) => Vec::new(),
        },
        _ => Vec::new(),
    }
}
