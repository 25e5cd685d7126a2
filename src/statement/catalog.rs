//! `CREATE CATALOG`, `ALTER CATALOG`.

use std::collections::BTreeMap;
use std::sync::Arc;

use maru_core::{Error, ErrorKind, Result, Secret};
use maru_sql::{AlterCatalog, CatalogChange, CreateCatalog, OptionList};

use crate::catalog::BUILTIN;
use crate::output::Output;
use crate::registry;
use crate::session::Session;
use crate::store::StoredCatalog;

pub(super) async fn create(session: &Arc<Session>, create: &CreateCatalog) -> Result<Output> {
    let catalogs = session.catalogs();
    refuse_reserved(&create.name)?;
    let exists = catalogs.get(&create.name).is_some();
    if exists && create.if_not_exists {
        return Ok(Output::command("CREATE CATALOG")
            .with_notice(format!("catalog \"{}\" already exists, skipping", create.name)));
    }
    if exists && !create.or_replace {
        return Err(already_exists(&create.name));
    }
    let connector = registry::require_connector(&create.connector)?;
    let stored = StoredCatalog {
        name: create.name.clone(),
        connector: connector.spec().name.to_owned(),
        options: merge(BTreeMap::new(), &create.options)?,
        comment: None,
    };
    let said = catalogs.put(stored, exists.then_some(create.name.as_str())).await?;
    Ok(Output::command("CREATE CATALOG").with_notice(said))
}

pub(super) async fn alter(session: &Arc<Session>, alter: &AlterCatalog) -> Result<Output> {
    let catalogs = session.catalogs();
    catalogs.require(&alter.name)?;
    let Some(mut stored) = catalogs.stored(&alter.name).await? else {
        return Err(built_in(&alter.name));
    };
    match &alter.change {
        CatalogChange::Set(options) => stored.options = merge(stored.options, options)?,
        CatalogChange::Reset(names) => {
            for name in names {
                if stored.options.remove(name).is_none() {
                    return Err(Error::new(
                        ErrorKind::UnknownOption,
                        format!("catalog \"{}\" has no option \"{name}\" set", alter.name),
                    ));
                }
            }
        }
        CatalogChange::Rename(new) => {
            refuse_reserved(new)?;
            if catalogs.get(new).is_some() {
                return Err(already_exists(new));
            }
            stored.name.clone_from(new);
        }
    }
    let said = catalogs.put(stored, Some(&alter.name)).await?;
    Ok(Output::command("ALTER CATALOG").with_notice(said))
}

/// Adds options to those there are; a name given twice in one statement is a mistake.
pub(super) fn merge(
    mut into: BTreeMap<String, Secret>,
    options: &OptionList,
) -> Result<BTreeMap<String, Secret>> {
    let mut seen = Vec::new();
    for (name, value) in &options.0 {
        let name = name.to_lowercase();
        if seen.contains(&name) {
            return Err(Error::new(
                ErrorKind::InvalidOption,
                format!("option \"{name}\" is given twice"),
            ));
        }
        into.insert(name.clone(), Secret::new(value.as_str()));
        seen.push(name);
    }
    Ok(into)
}

fn refuse_reserved(name: &str) -> Result<()> {
    if name == BUILTIN {
        return Err(built_in(name));
    }
    Ok(())
}

fn built_in(name: &str) -> Error {
    Error::new(ErrorKind::NotAllowed, format!("catalog \"{name}\" is built in"))
        .with_hint("It cannot be created, changed or dropped.")
}

fn already_exists(name: &str) -> Error {
    Error::new(ErrorKind::DuplicateObject, format!("catalog \"{name}\" already exists")).with_hint(
        "Use CREATE OR REPLACE CATALOG to replace it, or ALTER CATALOG to change options.",
    )
}
