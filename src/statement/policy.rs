//! `CREATE | ALTER | DROP POLICY`, `ALTER TABLE … ROW LEVEL SECURITY`, `ALTER TABLE … MASK FOR COLUMN`.

use std::sync::Arc;

use arrow::datatypes::DataType;
use maru_core::{Error, ErrorKind, QualifiedName, Result, quote_ident};
use maru_sql::{
    AlterPolicy, AlterTableSecurity, CreatePolicy, DropPolicy, Name, PolicyChange, PolicyCommand,
    RoleName, SecurityChange,
};

use super::locate_relation;
use super::role::{change, named};
use crate::access::{Command, Object, Policy, RowSecurity};
use crate::output::Output;
use crate::session::Session;

pub(super) async fn create(session: &Arc<Session>, create: &CreatePolicy) -> Result<Output> {
    let (place, object) = own(session, &create.table).await?;
    let command = command_of(create.command);
    let (using, check) = (create.using.clone(), create.check.clone());
    conditions(session, &place, command, using.as_deref(), check.as_deref()).await?;
    let roles = match create.roles.as_slice() {
        [] => vec![None],
        roles => roles_of(session, roles)?,
    };
    let policy = Policy { permissive: create.permissive, command, roles, using, check };
    let in_force = change(session, |rules| {
        policy.roles.iter().flatten().try_for_each(|role| rules.role(role).map(|_| ()))?;
        let key = (object.clone(), create.name.clone());
        if rules.policies.contains_key(&key) {
            return Err(exists_already(&create.name, &object));
        }
        rules.policies.insert(key, policy);
        Ok(rules.row_security.contains_key(&object))
    })
    .await?;
    let output = Output::command("CREATE POLICY");
    Ok(match in_force {
        true => output,
        false => output.with_notice(format!(
            "it is not in force before ALTER TABLE {} ENABLE ROW LEVEL SECURITY",
            object.name()
        )),
    })
}

pub(super) async fn change_policy(session: &Arc<Session>, alter: &AlterPolicy) -> Result<Output> {
    let (place, object) = own(session, &alter.table).await?;
    let key = (object.clone(), alter.name.clone());
    let known = session.rights().rules().policies.get(&key).map(|policy| policy.command);
    let command = known.ok_or_else(|| no_policy(&alter.name, &object))?;
    let roles = match &alter.change {
        PolicyChange::Set { roles: Some(roles), using, check } => {
            conditions(session, &place, command, using.as_deref(), check.as_deref()).await?;
            Some(roles_of(session, roles)?)
        }
        PolicyChange::Set { roles: None, using, check } => {
            conditions(session, &place, command, using.as_deref(), check.as_deref()).await?;
            None
        }
        PolicyChange::Rename(_) => None,
    };
    change(session, |rules| {
        roles.iter().flatten().flatten().try_for_each(|role| rules.role(role).map(|_| ()))?;
        let Some(mut policy) = rules.policies.get(&key).filter(|p| p.command == command).cloned()
        else {
            return Err(no_policy(&alter.name, &object));
        };
        match &alter.change {
            PolicyChange::Rename(name) => {
                let renamed = (object.clone(), name.clone());
                if rules.policies.contains_key(&renamed) {
                    return Err(exists_already(name, &object));
                }
                rules.policies.remove(&key);
                rules.policies.insert(renamed, policy);
            }
            PolicyChange::Set { using, check, .. } => {
                policy.roles = roles.clone().unwrap_or(policy.roles);
                policy.using = using.clone().or(policy.using);
                policy.check = check.clone().or(policy.check);
                rules.policies.insert(key.clone(), policy);
            }
        }
        Ok(())
    })
    .await?;
    Ok(Output::command("ALTER POLICY"))
}

fn command_of(command: PolicyCommand) -> Command {
    match command {
        PolicyCommand::All => Command::All,
        PolicyCommand::Select => Command::Select,
        PolicyCommand::Insert => Command::Insert,
        PolicyCommand::Update => Command::Update,
        PolicyCommand::Delete => Command::Delete,
    }
}

/// Checks the conditions of a policy.
///
/// # Errors
/// 42601 for one that its statement has no use for, 42804 for one that is not boolean, and those of planning it.
async fn conditions(
    session: &Arc<Session>,
    place: &QualifiedName,
    command: Command,
    using: Option<&str>,
    check: Option<&str>,
) -> Result<()> {
    let useless = match command {
        Command::Insert => using.map(|_| "only WITH CHECK expression allowed for INSERT"),
        Command::Select | Command::Delete => {
            check.map(|_| "WITH CHECK cannot be applied to SELECT or DELETE")
        }
        Command::All | Command::Update => None,
    };
    if let Some(message) = useless {
        return Err(Error::new(ErrorKind::Syntax, message));
    }
    for (condition, words) in [(using, "USING"), (check, "WITH CHECK")] {
        let Some(condition) = condition else { continue };
        let found = type_of(session, place, condition).await?;
        if found != DataType::Boolean {
            let message = format!("argument of {words} must be type boolean");
            return Err(Error::new(ErrorKind::TypeMismatch, message)
                .with_detail(format!("It is {}.", crate::system::types::sql_name(&found))));
        }
    }
    Ok(())
}

fn roles_of(session: &Arc<Session>, roles: &[RoleName]) -> Result<Vec<Option<String>>> {
    let one = |role: &RoleName| match role {
        RoleName::Public => Ok(None),
        role => named(session, role).map(Some),
    };
    roles.iter().map(one).collect()
}

fn exists_already(name: &str, object: &Object) -> Error {
    Error::new(ErrorKind::DuplicateObject, format!("policy \"{name}\" for {object} already exists"))
}

fn no_policy(name: &str, object: &Object) -> Error {
    Error::new(ErrorKind::UndefinedObject, format!("policy \"{name}\" for {object} does not exist"))
}

pub(super) async fn drop(session: &Arc<Session>, drop: &DropPolicy) -> Result<Output> {
    let (_, object) = own(session, &drop.table).await?;
    let output = Output::command("DROP POLICY");
    let key = (object.clone(), drop.name.clone());
    let found = change(session, |rules| Ok(rules.policies.remove(&key).is_some())).await?;
    let missing = no_policy(&drop.name, &object);
    match (found, drop.if_exists) {
        (true, _) => Ok(output),
        (false, true) => Ok(output.with_notice(format!("{}, skipping", missing.primary()))),
        (false, false) => Err(missing),
    }
}

pub(super) async fn alter(session: &Arc<Session>, alter: &AlterTableSecurity) -> Result<Output> {
    let (place, object) = own(session, &alter.table).await?;
    if let SecurityChange::SetMask { column, using } = &alter.change {
        let wanted = type_of(session, &place, &quote_ident(column)).await?;
        let found = type_of(session, &place, using).await?;
        if found != wanted {
            let name = crate::system::types::sql_name;
            return Err(Error::new(
                ErrorKind::TypeMismatch,
                format!("the mask of column \"{column}\" must have the column's type"),
            )
            .with_detail(format!("It is {}, the column is {}.", name(&found), name(&wanted)))
            .with_hint(format!("Write USING (CAST(… AS {})).", name(&wanted))));
        }
    }
    change(session, |rules| {
        match &alter.change {
            SecurityChange::Enable(true) => {
                rules.row_security.entry(object.clone()).or_insert(RowSecurity { forced: false });
            }
            SecurityChange::Enable(false) => {
                rules.row_security.remove(&object);
            }
            SecurityChange::Force(forced) => match rules.row_security.get_mut(&object) {
                Some(security) => security.forced = *forced,
                None => {
                    return Err(Error::new(
                        ErrorKind::InvalidStatement,
                        format!("row level security is not enabled for {object}"),
                    )
                    .with_hint("ENABLE ROW LEVEL SECURITY comes first."));
                }
            },
            SecurityChange::SetMask { column, using } => {
                rules.masks.insert((object.clone(), column.clone()), using.clone());
            }
            SecurityChange::DropMask { column } => {
                if rules.masks.remove(&(object.clone(), column.clone())).is_none() {
                    return Err(Error::new(
                        ErrorKind::UndefinedObject,
                        format!("column \"{column}\" of {object} has no mask"),
                    ));
                }
            }
        }
        Ok(())
    })
    .await?;
    Ok(Output::command("ALTER TABLE"))
}

/// Finds a table that the session owns.
async fn own(session: &Arc<Session>, name: &Name) -> Result<(QualifiedName, Object)> {
    let place = locate_relation(session, name).await?;
    let object = Object::table(&place.catalog, &place.schema, &place.name);
    session.rights().require_owner(&object)?;
    Ok((place, object))
}

/// Returns the type of an expression over a table's columns.
async fn type_of(
    session: &Arc<Session>,
    place: &QualifiedName,
    expression: &str,
) -> Result<DataType> {
    let table = Object::table(&place.catalog, &place.schema, &place.name).name();
    let name = quote_ident(&place.name);
    let sql = format!("SELECT ({expression}) AS x FROM {table} AS {name}");
    let plan = session.plan_view(&sql, None).await?;
    Ok(plan.schema().field(0).data_type().clone())
}
