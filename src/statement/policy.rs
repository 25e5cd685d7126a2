//! `CREATE | DROP POLICY`, `ALTER TABLE … ROW LEVEL SECURITY`, `ALTER TABLE … MASK FOR COLUMN`.

use std::sync::Arc;

use arrow::datatypes::DataType;
use maru_core::{Error, ErrorKind, QualifiedName, Result, quote_ident};
use maru_sql::{AlterTableSecurity, CreatePolicy, DropPolicy, Name, RoleName, SecurityChange};

use super::locate_relation;
use super::role::{change, named};
use crate::access::{Object, Policy, RowSecurity};
use crate::output::Output;
use crate::session::Session;

pub(super) async fn create(session: &Arc<Session>, create: &CreatePolicy) -> Result<Output> {
    let (place, object) = own(session, &create.table).await?;
    let found = type_of(session, &place, &create.using).await?;
    if found != DataType::Boolean {
        return Err(Error::new(ErrorKind::TypeMismatch, "argument of USING must be type boolean")
            .with_detail(format!("It is {}.", crate::system::types::sql_name(&found))));
    }
    let roles = match create.roles.as_slice() {
        [] => vec![None],
        roles => roles
            .iter()
            .map(|role| match role {
                RoleName::Public => Ok(None),
                role => named(session, role).map(Some),
            })
            .collect::<Result<_>>()?,
    };
    let policy = Policy { permissive: create.permissive, roles, using: create.using.clone() };
    let in_force = change(session, |rules| {
        policy.roles.iter().flatten().try_for_each(|role| rules.role(role).map(|_| ()))?;
        let key = (object.clone(), create.name.clone());
        if rules.policies.contains_key(&key) {
            return Err(Error::new(
                ErrorKind::DuplicateObject,
                format!("policy \"{}\" for {object} already exists", create.name),
            ));
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

pub(super) async fn drop(session: &Arc<Session>, drop: &DropPolicy) -> Result<Output> {
    let (_, object) = own(session, &drop.table).await?;
    let output = Output::command("DROP POLICY");
    let key = (object.clone(), drop.name.clone());
    let found = change(session, |rules| Ok(rules.policies.remove(&key).is_some())).await?;
    let missing = format!("policy \"{}\" for {object} does not exist", drop.name);
    match (found, drop.if_exists) {
        (true, _) => Ok(output),
        (false, true) => Ok(output.with_notice(format!("{missing}, skipping"))),
        (false, false) => Err(Error::new(ErrorKind::UndefinedObject, missing)),
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
