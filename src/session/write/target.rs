//! The table that a statement writes to, as far as the role may.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion::common::TableReference;
use maru_connect::SourceTable;
use maru_core::{Error, ErrorKind, Result};
use maru_sql::Name;

use crate::access::{Columns, Object, Privilege, Rights};
use crate::catalog::resolve::require_table;
use crate::catalog::{Attached, BUILTIN};
use crate::session::Session;
use crate::system::VIRTUAL_SCHEMAS;

/// A table that is there and shows to the session.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub(crate) attached: Arc<Attached>,
    pub(crate) schema: String,
    pub(crate) name: String,
    pub(crate) table: SourceTable,
    /// The schema of the table that a block's copy stands for.
    pub(crate) original: Option<String>,
}

impl Target {
    pub(crate) fn object(&self) -> Object {
        let schema = self.original.as_ref().unwrap_or(&self.schema);
        Object::table(&self.attached.name, schema, &self.name)
    }

    /// Returns whether its rows become what is sent: nothing there has defaults but those that the engine itself puts in.
    pub(crate) fn keeps_what_is_given(&self) -> bool {
        keeps_what_is_given(&self.attached)
    }

    /// Returns the columns, in order.
    pub(crate) fn columns(&self) -> SchemaRef {
        self.table.schema()
    }

    /// Asks for a privilege on columns of the table, for a statement that asks no policies.
    ///
    /// # Errors
    /// 42501; also for a role whose rows are chosen by policies.
    pub(crate) fn require(
        &self,
        rights: &Rights,
        privilege: Privilege,
        columns: &[String],
    ) -> Result<()> {
        self.require_privilege(rights, privilege, columns)?;
        let object = self.object();
        if rights.policies(&object).is_some_and(|policies| policies.filter.is_some()) {
            return Err(Error::new(
                ErrorKind::NotAllowed,
                format!("policies of {object} choose its rows, and are not asked by this statement"),
            )
            .with_hint("INSERT, UPDATE and DELETE ask them. Or write as its owner, or as a role with BYPASSRLS."));
        }
        Ok(())
    }

    /// Checks columns that a statement names: what does not show is as if it were not there.
    ///
    /// # Errors
    /// 42703; 42501 if the role may do nothing of the kind.
    pub(crate) fn require_shown<'a>(
        &self,
        rights: &Rights,
        privilege: Privilege,
        names: impl IntoIterator<Item = &'a String>,
    ) -> Result<()> {
        let object = self.object();
        let mut names = names.into_iter();
        let Some(hidden) = names.find(|name| !rights.sees_column(&object, name)) else {
            return Ok(());
        };
        if rights.columns(privilege, &object).is_none() {
            return Err(rights.denied(privilege, &object));
        }
        let message = format!("column \"{hidden}\" of relation \"{}\" does not exist", self.name);
        Err(Error::new(ErrorKind::UndefinedColumn, message)
            .with_hint(format!("DESCRIBE {} lists its columns.", object.name())))
    }

    /// Asks for a privilege on columns of the table, whatever its policies.
    ///
    /// # Errors
    /// 42501
    pub(crate) fn require_privilege(
        &self,
        rights: &Rights,
        privilege: Privilege,
        columns: &[String],
    ) -> Result<()> {
        let object = self.object();
        match rights.columns(privilege, &object) {
            Some(Columns::All) => {}
            Some(Columns::Some(granted)) if columns.iter().all(|one| granted.contains(one)) => {}
            _ => return Err(rights.denied(privilege, &object)),
        }
        Ok(())
    }
}

/// Returns whether rows of a catalog's tables become what is sent, but for what the engine itself sees to.
pub(super) fn keeps_what_is_given(attached: &Attached) -> bool {
    matches!(attached.connector, BUILTIN | "file" | "s3" | "hdfs")
}

/// Finds the table that a name means.
///
/// # Errors
/// 42P01 and the like, as a query that reads it; 42809 for a view; 42501 for what is the engine's own.
pub(crate) async fn find(session: &Arc<Session>, name: &Name, verb: &str) -> Result<Target> {
    let (catalog, schemas, table) = match name.0.as_slice() {
        [table] => (session.catalog(), session.search_path(), table),
        [schema, table] => (session.catalog(), vec![schema.clone()], table),
        [catalog, schema, table] => (catalog.clone(), vec![schema.clone()], table),
        _ => return Err(too_many_parts(name)),
    };
    let attached = session.require_catalog(&catalog)?;
    let rights = session.rights();
    for schema in schemas {
        if VIRTUAL_SCHEMAS.contains(&schema.as_str()) {
            return Err(of_the_engine(&schema));
        }
        if !rights.sees(&Object::table(&catalog, &schema, table)) {
            continue;
        }
        let Some(found) = attached.table(&schema, table).await? else { continue };
        if matches!(found, SourceTable::View { .. } | SourceTable::ForeignView(_)) {
            return Err(Error::new(
                ErrorKind::WrongObjectType,
                format!("cannot {verb} view \"{table}\""),
            )
            .with_hint("Write to the tables that it reads."));
        }
        let name = table.clone();
        if catalog == BUILTIN && !["drop", "vacuum"].contains(&verb) {
            // What a block writes to a table goes into a copy.
            if let Some(place) = session.own_copy(&schema, &name).await?
                && let Some(found) = attached.table(&place, &name).await?
            {
                let original = Some(schema);
                return Ok(Target { attached, schema: place, name, table: found, original });
            }
        }
        return Ok(Target { attached, schema, name, table: found, original: None });
    }
    let reference = match name.0.as_slice() {
        [table] => TableReference::bare(table.as_str()),
        [schema, table] => TableReference::partial(schema.as_str(), table.as_str()),
        _ => TableReference::full(catalog.as_str(), name.0[1].as_str(), table.as_str()),
    };
    // Says what exactly is missing, and what is near.
    require_table(session, &reference).await?;
    Err(Error::new(ErrorKind::UndefinedTable, format!("table \"{name}\" does not exist")))
}

/// Where something new comes to lie: the first schema of the search path that is there, or the one that is named.
///
/// # Errors
/// 3D000; 42501 for schemas of the engine.
pub(crate) async fn place(
    session: &Arc<Session>,
    name: &Name,
) -> Result<(Arc<Attached>, String, String)> {
    let (catalog, schema, table) = match name.0.as_slice() {
        [table] => (session.catalog(), None, table),
        [schema, table] => (session.catalog(), Some(schema.clone()), table),
        [catalog, schema, table] => (catalog.clone(), Some(schema.clone()), table),
        _ => return Err(too_many_parts(name)),
    };
    let attached = session.require_catalog(&catalog)?;
    let schema = match schema {
        Some(schema) => schema,
        None => {
            let path = session.search_path();
            let known = attached.schemas().await?;
            let found = path.iter().find(|schema| known.contains(schema)).or(path.first());
            found.cloned().unwrap_or_else(|| "public".to_owned())
        }
    };
    if VIRTUAL_SCHEMAS.contains(&schema.as_str()) {
        return Err(of_the_engine(&schema));
    }
    if catalog == BUILTIN || !table.is_empty() {
        return Ok((attached, schema, table.clone()));
    }
    Err(Error::new(ErrorKind::Syntax, "a table needs a name"))
}

fn of_the_engine(schema: &str) -> Error {
    Error::new(ErrorKind::NotAllowed, format!("schema \"{schema}\" belongs to the engine"))
}

fn too_many_parts(name: &Name) -> Error {
    Error::new(
        ErrorKind::Syntax,
        format!("improper qualified name (wrong number of parts): {name}"),
    )
}
