//! `CREATE CATALOG`, `ALTER CATALOG`.

use std::collections::BTreeMap;
use std::sync::Arc;

use maru_connect::Connector;
use maru_core::{Error, ErrorKind, Result, Secret};
use maru_sql::{AlterCatalog, CatalogChange, CreateCatalog, OptionList};

use super::relation::created;
use crate::access::{Object, Privilege, Rights};
use crate::catalog::BUILTIN;
use crate::output::Output;
use crate::registry;
use crate::session::Session;
use crate::store::StoredCatalog;

pub(super) async fn create(session: &Arc<Session>, create: &CreateCatalog) -> Result<Output> {
    let catalogs = session.catalogs();
    let rights = session.rights();
    rights.require_create_catalog()?;
    refuse_reserved(&create.name)?;
    super::template::refuse_name(&rights, &create.name)?;
    let exists = catalogs.get(&create.name).is_some();
    if exists && create.if_not_exists {
        return Ok(Output::command("CREATE CATALOG")
            .with_notice(format!("catalog \"{}\" already exists, skipping", create.name)));
    }
    if exists && !create.or_replace {
        return Err(already_exists(&create.name));
    }
    if exists {
        rights.require_owner(&Object::catalog(&create.name))?;
    }
    let connector = registry::require_connector(&create.connector)?;
    check_local(&rights, connector)?;
    check_secret(&rights, &create.options)?;
    let stored = StoredCatalog {
        name: create.name.clone(),
        connector: connector.spec().name.to_owned(),
        options: merge(BTreeMap::new(), &create.options)?,
        comment: None,
    };
    if !exists {
        created(session, Object::catalog(&create.name)).await?;
    }
    let said = catalogs.put(stored, exists.then_some(create.name.as_str())).await?;
    Ok(Output::command("CREATE CATALOG").with_notice(said))
}

pub(super) async fn alter(session: &Arc<Session>, alter: &AlterCatalog) -> Result<Output> {
    let catalogs = session.catalogs();
    super::template::refuse_made(session, &alter.name, "CREATE OR REPLACE CATALOG TEMPLATE")?;
    session.require_catalog(&alter.name)?;
    let rights = session.rights();
    rights.require_owner(&Object::catalog(&alter.name))?;
    let Some(mut stored) = catalogs.stored(&alter.name).await? else {
        return Err(built_in(&alter.name));
    };
    match &alter.change {
        CatalogChange::Set(options) => {
            check_local(&rights, registry::require_connector(&stored.connector)?)?;
            check_secret(&rights, options)?;
            stored.options = merge(stored.options, options)?;
        }
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
            super::template::refuse_name(&rights, new)?;
            if catalogs.get(new).is_some() {
                return Err(already_exists(new));
            }
            stored.name.clone_from(new);
        }
    }
    let said = catalogs.put(stored, Some(&alter.name)).await?;
    if let CatalogChange::Rename(new) = &alter.change {
        let (old, new) = (Object::catalog(&alter.name), Object::catalog(new));
        let authority = &session.engine().inner.authority;
        authority
            .change(|rules| {
                rules.rename_object(&old, &new);
                Ok(())
            })
            .await?;
    }
    Ok(Output::command("ALTER CATALOG").with_notice(said))
}

/// Checks that whoever attaches the server's own files may read them.
pub(super) fn check_local(rights: &Rights, connector: &'static dyn Connector) -> Result<()> {
    if !connector.reads_server_files() || rights.has_role("pg_read_server_files") {
        return Ok(());
    }
    let name = connector.spec().name;
    Err(Error::new(ErrorKind::NotAllowed, format!("permission denied for connector \"{name}\""))
        .with_hint("It reads files of the server: for members of role pg_read_server_files."))
}

/// Checks that the secret that a catalog is to use may be used.
pub(super) fn check_secret(rights: &Rights, options: &OptionList) -> Result<()> {
    let named = options.0.iter().find(|(name, _)| name.eq_ignore_ascii_case("secret"));
    match named {
        Some((_, secret)) if !rights.may(Privilege::Usage, &Object::secret(secret)) => Err(
            Error::new(ErrorKind::UndefinedObject, format!("secret \"{secret}\" does not exist"))
                .with_hint("CREATE SECRET makes one, SHOW SECRETS lists them."),
        ),
        _ => Ok(()),
    }
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

pub(super) fn refuse_reserved(name: &str) -> Result<()> {
    if name == BUILTIN {
        return Err(built_in(name));
    }
    Ok(())
}

fn built_in(name: &str) -> Error {
    Error::new(ErrorKind::NotAllowed, format!("catalog \"{name}\" is built in"))
        .with_hint("It cannot be created, changed or dropped.")
}

pub(super) fn already_exists(name: &str) -> Error {
    Error::new(ErrorKind::DuplicateObject, format!("catalog \"{name}\" already exists")).with_hint(
        "Use CREATE OR REPLACE CATALOG to replace it, or ALTER CATALOG to change options.",
    )
}
