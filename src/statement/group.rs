//! `CREATE RESOURCE GROUP`, `ALTER RESOURCE GROUP`.

use std::sync::Arc;

use maru_core::{Error, ErrorKind, Result};
use maru_sql::{AlterResourceGroup, CatalogChange, CreateResourceGroup, Name};

use super::role::change;
use super::too_many_parts;
use crate::access::{DEFAULT_GROUP, ResourceGroup, Rules};
use crate::output::Output;
use crate::session::Session;

pub(super) async fn create(session: &Arc<Session>, create: &CreateResourceGroup) -> Result<Output> {
    session.rights().require_superuser("make resource groups")?;
    let name = &create.name;
    refuse_default(name)?;
    let skipped = change(session, |rules| {
        let old = rules.groups.get(name);
        if old.is_some() && create.if_not_exists {
            return Ok(true);
        }
        if old.is_some() && !create.or_replace {
            return Err(Error::new(
                ErrorKind::DuplicateObject,
                format!("resource group \"{name}\" already exists"),
            )
            .with_hint("Use ALTER RESOURCE GROUP to change it."));
        }
        let mut group = ResourceGroup::from_options(name, &create.options.0, rules)?;
        if let Some(old) = old {
            refuse_move(name, &old.parent, &group.parent)?;
            group.comment.clone_from(&old.comment);
        }
        rules.groups.insert(name.clone(), group);
        Ok(false)
    })
    .await?;
    follow(session);
    let output = Output::command("CREATE RESOURCE GROUP");
    Ok(match skipped {
        true => output.with_notice(format!("resource group \"{name}\" already exists, skipping")),
        false => output,
    })
}

pub(super) async fn alter(session: &Arc<Session>, alter: &AlterResourceGroup) -> Result<Output> {
    session.rights().require_superuser("change resource groups")?;
    let name = &alter.name;
    refuse_default(name)?;
    change(session, |rules| {
        let group = rules.group(name)?.clone();
        match &alter.change {
            CatalogChange::Rename(new) => {
                refuse_default(new)?;
                if rules.groups.contains_key(new) {
                    return Err(Error::new(
                        ErrorKind::DuplicateObject,
                        format!("resource group \"{new}\" already exists"),
                    ));
                }
                rules.groups.remove(name);
                rules.groups.insert(new.clone(), group);
                let parents = rules.groups.values_mut().filter_map(|group| group.parent.as_mut());
                parents.filter(|parent| *parent == name).for_each(|parent| parent.clone_from(new));
                Ok(())
            }
            CatalogChange::Set(options) => {
                let mut written = group.written();
                written.retain(|(option, _)| {
                    !options.0.iter().any(|(set, _)| set.eq_ignore_ascii_case(option))
                });
                written.extend(options.0.iter().cloned());
                replace(rules, name, &group, &written)
            }
            CatalogChange::Reset(names) => {
                let mut written = group.written();
                for reset in names {
                    let before = written.len();
                    written.retain(|(option, _)| !option.eq_ignore_ascii_case(reset));
                    if written.len() == before {
                        return Err(Error::new(
                            ErrorKind::UnknownOption,
                            format!("resource group \"{name}\" has no option \"{reset}\" set"),
                        ));
                    }
                }
                replace(rules, name, &group, &written)
            }
        }
    })
    .await?;
    follow(session);
    Ok(Output::command("ALTER RESOURCE GROUP"))
}

pub(super) async fn drop(session: &Arc<Session>, name: &Name) -> Result<()> {
    let name = single(session, name, "drop resource groups")?;
    change(session, |rules| {
        rules.group(&name)?;
        let within = rules.groups.iter().filter(|(_, group)| group.parent.as_ref() == Some(&name));
        let within = within.map(|(name, _)| name.clone()).collect::<Vec<_>>();
        if !within.is_empty() {
            return Err(Error::new(
                ErrorKind::DependentObjects,
                format!("cannot drop resource group \"{name}\" because others are within it"),
            )
            .with_detail(format!("Groups: {}.", within.join(", "))));
        }
        rules.groups.remove(&name);
        Ok(())
    })
    .await?;
    follow(session);
    Ok(())
}

pub(super) async fn comment(session: &Arc<Session>, name: &Name, text: Option<&str>) -> Result<()> {
    let name = single(session, name, "change resource groups")?;
    change(session, |rules| {
        rules.group(&name)?;
        if let Some(group) = rules.groups.get_mut(&name) {
            group.comment = text.map(str::to_owned);
        }
        Ok(())
    })
    .await
}

fn replace(
    rules: &mut Rules,
    name: &str,
    old: &ResourceGroup,
    written: &[(String, String)],
) -> Result<()> {
    let mut group = ResourceGroup::from_options(name, written, rules)?;
    refuse_move(name, &old.parent, &group.parent)?;
    group.comment.clone_from(&old.comment);
    rules.groups.insert(name.to_owned(), group);
    Ok(())
}

/// What runs and waits is counted with the groups around, which therefore stay.
fn refuse_move(name: &str, old: &Option<String>, new: &Option<String>) -> Result<()> {
    if old == new {
        return Ok(());
    }
    let message = format!("resource group \"{name}\" cannot be put into another one");
    Err(Error::unsupported(message).with_hint("Drop it and make it anew."))
}

fn single(session: &Arc<Session>, name: &Name, what: &str) -> Result<String> {
    session.rights().require_superuser(what)?;
    let [name] = name.0.as_slice() else { return Err(too_many_parts(name)) };
    refuse_default(name)?;
    Ok(name.clone())
}

fn refuse_default(name: &str) -> Result<()> {
    if name != DEFAULT_GROUP {
        return Ok(());
    }
    Err(Error::new(ErrorKind::ReservedName, format!("resource group \"{name}\" is built in"))
        .with_hint("Its limits are the settings concurrent_queries_max and queued_queries_max of the server."))
}

/// Lets those that wait know.
fn follow(session: &Arc<Session>) {
    let inner = &session.engine().inner;
    inner.admission.follow(&inner.authority.rules());
}
