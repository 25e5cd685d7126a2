//! `CREATE CATALOG TEMPLATE`, and what else is said of templates and the attributes that fill them in.

use std::collections::BTreeMap;
use std::sync::Arc;

use maru_connect::ConnectorSpec;
use maru_core::{Error, ErrorKind, OptionKind, Options, Result, Secret};
use maru_sql::{CreateCatalogTemplate, Name, OptionList};

use super::catalog::{already_exists, check_local, check_secret, merge, refuse_reserved};
use super::role::change;
use super::too_many_parts;
use crate::access::{Grant, Object, Privilege, Rights, Template, USER_ATTRIBUTE};
use crate::output::Output;
use crate::registry;
use crate::session::Session;

/// What members of the role may do with their catalogs from the start.
const FIRST_PRIVILEGES: [Privilege; 2] = [Privilege::Usage, Privilege::Select];

pub(super) async fn create(
    session: &Arc<Session>,
    create: &CreateCatalogTemplate,
) -> Result<Output> {
    let rights = session.rights();
    let name = &create.name;
    rights.require_create_catalog()?;
    refuse_reserved(name)?;
    let exists = rights.rules().templates.contains_key(name);
    let output = Output::command("CREATE CATALOG TEMPLATE");
    if exists && create.if_not_exists {
        return Ok(output.with_notice(format!("template \"{name}\" already exists, skipping")));
    }
    if exists && !create.or_replace {
        return Err(Error::new(
            ErrorKind::DuplicateObject,
            format!("catalog template \"{name}\" already exists"),
        )
        .with_hint("Use CREATE OR REPLACE CATALOG TEMPLATE to replace it."));
    }
    if session.catalogs().get(name).is_some() {
        return Err(already_exists(name));
    }
    let object = Object::catalog(name);
    if exists {
        rights.require_owner(&object)?;
    }
    require_role(&rights, &create.role)?;
    let connector = registry::require_connector(&create.connector)?;
    check_local(&rights, connector)?;
    let options = merge(BTreeMap::new(), &create.options)?;
    check_options(session, connector.spec(), &options, &create.options).await?;
    let template = Template {
        role: create.role.clone(),
        connector: connector.spec().name.to_owned(),
        options,
        allow: allowed(&create.allow)?,
        comment: rights.rules().templates.get(name).and_then(|old| old.comment.clone()),
    };
    change(session, |rules| {
        rules.role(&create.role)?;
        if !exists {
            rules.created(&object, rights.role());
        }
        let old = rules.templates.insert(name.clone(), template);
        // What was given to the role by the template goes with it; what somebody has revoked stays revoked.
        let old = old.map(|old| old.role);
        if old.as_ref() != Some(&create.role) {
            for privilege in FIRST_PRIVILEGES {
                let grant = |role: &str| Grant {
                    object: object.clone(),
                    column: None,
                    privilege,
                    grantee: Some(role.to_owned()),
                    grantor: rules.owners.get(&object).cloned().unwrap_or_default(),
                };
                let (new, gone) = (grant(&create.role), old.as_deref().map(grant));
                gone.map(|gone| rules.grants.remove(&gone));
                rules.grants.insert(new, false);
            }
        }
        Ok(())
    })
    .await?;
    let rules = session.engine().inner.authority.rules();
    let waiting = session.catalogs().own_states(&rules, |_| true).into_iter();
    let waiting = waiting.filter(|own| own.template == *name && own.state.starts_with("failed"));
    Ok(waiting
        .map(|own| format!("user \"{}\": {}", own.user, own.state.trim_start_matches("failed: ")))
        .fold(output, Output::with_notice))
}

pub(super) async fn drop(session: &Arc<Session>, name: &Name) -> Result<()> {
    let (name, object) = owned(session, name)?;
    change(session, |rules| {
        rules.templates.remove(&name);
        rules.forget(&object);
        Ok(())
    })
    .await
}

pub(super) async fn comment(session: &Arc<Session>, name: &Name, text: Option<&str>) -> Result<()> {
    let (name, _) = owned(session, name)?;
    change(session, |rules| {
        if let Some(template) = rules.templates.get_mut(&name) {
            template.comment = text.map(str::to_owned);
        }
        Ok(())
    })
    .await
}

fn owned(session: &Arc<Session>, name: &Name) -> Result<(String, Object)> {
    let [name] = name.0.as_slice() else { return Err(too_many_parts(name)) };
    let rights = session.rights();
    let object = Object::catalog(name);
    if !rights.rules().templates.contains_key(name) || !rights.sees(&object) {
        let message = format!("catalog template \"{name}\" does not exist");
        return Err(Error::new(ErrorKind::UndefinedObject, message)
            .with_hint("SHOW CATALOG TEMPLATES lists them."));
    }
    rights.require_owner(&object)?;
    Ok((name.clone(), object))
}

/// Refuses to make a catalog of the name of a template.
pub(super) fn refuse_name(rights: &Rights, name: &str) -> Result<()> {
    if !rights.rules().templates.contains_key(name) {
        return Ok(());
    }
    Err(Error::new(ErrorKind::DuplicateObject, format!("catalog \"{name}\" already exists"))
        .with_detail("There is a catalog template of that name."))
}

/// Refuses to change or drop a catalog that is made from a template.
pub(super) fn refuse_made(session: &Arc<Session>, name: &str, instead: &str) -> Result<()> {
    let rights = session.rights();
    if !rights.rules().templates.contains_key(name) || !rights.sees(&Object::catalog(name)) {
        return Ok(());
    }
    rights.require_owner(&Object::catalog(name))?;
    Err(Error::new(
        ErrorKind::WrongObjectType,
        format!("catalog \"{name}\" is made from a template"),
    )
    .with_hint(format!("Use {instead} {}.", maru_core::quote_ident(name))))
}

/// Checks the name of an attribute.
///
/// # Errors
/// 22023 for one that no placeholder could name; 42939 for `user`.
pub(super) fn check_attribute(name: &str) -> Result<()> {
    if name == USER_ATTRIBUTE {
        return Err(Error::new(
            ErrorKind::ReservedName,
            format!("attribute \"{name}\" is the user's name and cannot be set"),
        ));
    }
    if Template::attributes_of(&format!("{{{name}}}")).is_ok_and(|found| found == [name]) {
        return Ok(());
    }
    Err(Error::new(ErrorKind::InvalidParameter, format!("an attribute cannot be named \"{name}\""))
        .with_hint("Use small letters, digits and _, not a digit first."))
}

/// Checks that the actor may give catalogs to the members of a role.
fn require_role(rights: &Rights, role: &str) -> Result<()> {
    let rules = rights.rules();
    rules.role(role)?;
    if rights.is_superuser() || rules.administers(rights.role(), role) {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::NotAllowed,
        format!("permission denied to make catalogs for role \"{role}\""),
    )
    .with_detail(format!("It takes the ADMIN option on role \"{role}\".")))
}

fn allowed(list: &OptionList) -> Result<BTreeMap<String, String>> {
    for (name, _) in &list.0 {
        if name != USER_ATTRIBUTE {
            check_attribute(name)?;
        }
    }
    let merged = merge(BTreeMap::new(), list)?;
    Ok(merged.into_iter().map(|(name, value)| (name, value.reveal().to_owned())).collect())
}

/// Checks names and values of options as far as they are known before a user is.
async fn check_options(
    session: &Arc<Session>,
    spec: &'static ConnectorSpec,
    options: &BTreeMap<String, Secret>,
    written: &OptionList,
) -> Result<()> {
    let mut checked = BTreeMap::new();
    let mut secret_is_chosen = false;
    for (name, value) in options {
        let value = value.reveal();
        let is_open = !Template::attributes_of(value)?.is_empty();
        if name == "secret" {
            secret_is_chosen = is_open;
            continue;
        }
        let kind = spec.options.iter().find(|option| option.name.eq_ignore_ascii_case(name));
        let kind = kind.map(|option| option.kind);
        if is_open && kind == Some(OptionKind::Secret) {
            return Err(Error::new(
                ErrorKind::InvalidOption,
                format!("option \"{name}\" is secret, and attributes are not"),
            )
            .with_hint("Keep what is secret in a secret for each user: secret = '{user}_login'."));
        }
        let example = match kind {
            Some(OptionKind::OneOf(words)) => words.first().copied().unwrap_or("1"),
            _ => "1",
        };
        checked.insert(name.clone(), Template::with_all(value, example)?);
    }
    if secret_is_chosen {
        // What else is required may be in the secret.
        let known = |name: &str| spec.options.iter().any(|o| o.name.eq_ignore_ascii_case(name));
        checked.retain(|name, _| !known(name));
        if checked.is_empty() {
            return Ok(());
        }
    } else {
        check_secret(&session.rights(), written)?;
        if let Some(name) = options.get("secret") {
            let secret = session.engine().inner.store.secret(name.reveal()).await?;
            let secret = secret.ok_or_else(|| {
                let message = format!("secret \"{}\" does not exist", name.reveal());
                Error::new(ErrorKind::UndefinedObject, message)
                    .with_hint("CREATE SECRET makes one, SHOW SECRETS lists them.")
            })?;
            for (name, value) in secret.options {
                checked.entry(name).or_insert_with(|| value.reveal().to_owned());
            }
        }
    }
    let owner = format!("connector \"{}\"", spec.name);
    let values = checked.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    Options::check(&owner, spec.options, values).map(|_| ())
}
