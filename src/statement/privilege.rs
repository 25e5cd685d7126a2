//! `GRANT`, `REVOKE`, `ALTER DEFAULT PRIVILEGES`, `ALTER … OWNER TO`.

use std::sync::Arc;

use datafusion::execution::FunctionRegistry;
use maru_core::{Error, ErrorKind, Result};
use maru_sql::{
    AlterDefaultPrivileges, AlterOwner, GrantPrivileges, GrantTarget, Name, PrivilegeName, RoleName,
};

use super::role::{change, named};
use super::{locate_relation, too_many_parts};
use crate::access::kinds::{self, Kind};
use crate::access::{DefaultGrant, Granting, Object, Privilege, Rules};
use crate::catalog::BUILTIN;
use crate::output::Output;
use crate::session::Session;

pub(super) async fn grant(session: &Arc<Session>, grant: &GrantPrivileges) -> Result<Output> {
    let (kind, objects) = match &grant.target {
        GrantTarget::Objects { kind, names } => {
            let kind = kinds::kind(kind)?;
            let mut objects = Vec::new();
            for name in names {
                objects.push(object(session, kind, name).await?);
            }
            (kind, objects)
        }
        GrantTarget::AllInSchemas { kinds, schemas } => {
            let kind = kinds::kind_of_several(kinds)?;
            let mut objects = Vec::new();
            for schema in schemas {
                objects.extend(all_in(session, kind, schema).await?);
            }
            (kind, objects)
        }
    };
    let privileges = privileges(kind, &grant.privileges)?;
    let grantees = grantees(session, &grant.grantees)?;
    for (_, column) in &privileges {
        if let Some(column) = column {
            for object in &objects {
                require_column(session, object, column).await?;
            }
        }
    }
    let actor = session.rights();
    change(session, |rules| {
        require_roles(rules, &grantees)?;
        for object in objects {
            let granting = Granting {
                object,
                privileges: privileges.clone(),
                grantees: grantees.clone(),
                option: grant.option,
            };
            match grant.is_grant {
                true => rules.grant(&actor, &granting)?,
                false => rules.revoke(&actor, &granting, grant.cascade)?,
            }
        }
        Ok(())
    })
    .await?;
    Ok(Output::command(if grant.is_grant { "GRANT" } else { "REVOKE" }))
}

pub(super) async fn default(
    session: &Arc<Session>,
    alter: &AlterDefaultPrivileges,
) -> Result<Output> {
    let kind = kinds::kind_of_several(&alter.kinds)?;
    let privileges = privileges(kind, &alter.privileges)?;
    if privileges.iter().any(|(_, column)| column.is_some()) {
        return Err(Error::new(
            ErrorKind::InvalidStatement,
            "default privileges cannot be set for columns",
        ));
    }
    let grantees = grantees(session, &alter.grantees)?;
    let creators = match alter.roles.as_slice() {
        [] => vec![session.role()],
        roles => roles.iter().map(|name| named(session, name)).collect::<Result<_>>()?,
    };
    let mut places = Vec::new();
    for schema in &alter.schemas {
        let schema_kind = kinds::kind("schema")?;
        places.push(Some(object(session, schema_kind, schema).await?));
    }
    if places.is_empty() {
        places.push(None);
    }
    let actor = session.rights();
    change(session, |rules| {
        require_roles(rules, &grantees)?;
        for creator in &creators {
            rules.role(creator)?;
            if !actor.has_role(creator) {
                return Err(Error::new(
                    ErrorKind::NotAllowed,
                    "permission denied to change default privileges",
                )
                .with_detail(format!("It takes the privileges of role \"{creator}\".")));
            }
            for within in &places {
                for (privilege, _) in &privileges {
                    for grantee in &grantees {
                        let default = DefaultGrant {
                            creator: creator.clone(),
                            within: within.clone(),
                            kind: kind.word,
                            privilege: *privilege,
                            grantee: grantee.clone(),
                        };
                        rules.change_default(default, alter.is_grant.then_some(alter.option));
                    }
                }
            }
        }
        Ok(())
    })
    .await?;
    Ok(Output::command("ALTER DEFAULT PRIVILEGES"))
}

pub(super) async fn owner(session: &Arc<Session>, alter: &AlterOwner) -> Result<Output> {
    let kind = kinds::kind(&alter.kind)?;
    let object = object(session, kind, &alter.name).await?;
    let owner = named(session, &alter.owner)?;
    let actor = session.rights();
    change(session, |rules| {
        rules.role(&owner)?;
        actor.require_owner(&object)?;
        // Another one of that name, which somebody else has made meanwhile, is not meant.
        if rules.owner(&object) != actor.rules().owner(&object) {
            let message = format!("the owner of {object} was changed by somebody else meanwhile");
            return Err(Error::new(ErrorKind::Serialization, message).with_hint("Try it again."));
        }
        if !actor.is_superuser() && !rules.memberships(actor.role()).contains(&owner) {
            return Err(Error::new(
                ErrorKind::NotAllowed,
                format!("must be able to SET ROLE \"{owner}\""),
            ));
        }
        rules.owners.insert(object.clone(), owner.clone());
        Ok(())
    })
    .await?;
    Ok(Output::command(format!("ALTER {}", alter.kind.to_uppercase())))
}

/// Reads the words of a statement; none means all that the kind has.
fn privileges(kind: &Kind, words: &[PrivilegeName]) -> Result<Vec<(Privilege, Option<String>)>> {
    if words.is_empty() {
        return Ok(kind.privileges.iter().map(|privilege| (*privilege, None)).collect());
    }
    let mut found = Vec::new();
    for word in words {
        let upper = word.word.to_uppercase();
        let privilege = Privilege::parse(&word.word).ok_or_else(|| {
            Error::new(ErrorKind::Syntax, format!("unrecognized privilege type \"{upper}\""))
                .with_hint(format!("A {} has {}.", kind.word, list(kind.privileges)))
        })?;
        let allowed = if word.columns.is_empty() { kind.privileges } else { kind.of_columns };
        if !allowed.contains(&privilege) {
            let of = if word.columns.is_empty() { kind.word } else { "column" };
            let error = Error::new(
                ErrorKind::InvalidGrant,
                format!("invalid privilege type {upper} for {of}"),
            );
            return Err(match allowed {
                [] => error,
                allowed => error.with_hint(format!("A {of} has {}.", list(allowed))),
            });
        }
        match word.columns.as_slice() {
            [] => found.push((privilege, None)),
            columns => {
                found.extend(columns.iter().map(|column| (privilege, Some(column.clone()))));
            }
        }
    }
    Ok(found)
}

fn list(privileges: &[Privilege]) -> String {
    privileges.iter().map(|privilege| privilege.word()).collect::<Vec<_>>().join(", ")
}

fn grantees(session: &Arc<Session>, names: &[RoleName]) -> Result<Vec<Option<String>>> {
    names
        .iter()
        .map(|name| match name {
            RoleName::Public => Ok(None),
            name => named(session, name).map(Some),
        })
        .collect()
}

fn require_roles(rules: &Rules, grantees: &[Option<String>]) -> Result<()> {
    grantees.iter().flatten().try_for_each(|role| rules.role(role).map(|_| ()))
}

/// Finds the object that a name means.
///
/// # Errors
/// As for a statement that uses it, where there is none that shows.
async fn object(session: &Arc<Session>, kind: &'static Kind, name: &Name) -> Result<Object> {
    let rights = session.rights();
    match (kind.word, name.0.as_slice()) {
        ("catalog", [catalog]) => {
            // A template stands for the catalogs that are made of it.
            let template = rights.rules().templates.contains_key(catalog);
            if !(template && rights.owns(&Object::catalog(catalog))) {
                session.require_catalog(catalog)?;
            }
            Ok(Object::catalog(catalog))
        }
        ("schema", [.., schema]) if name.0.len() <= 2 => {
            let catalog = match name.0.as_slice() {
                [catalog, _] => catalog.clone(),
                _ => session.catalog(),
            };
            let object = Object::schema(&catalog, schema);
            let there = session.require_catalog(&catalog)?.schemas().await?.contains(schema);
            if !there || !rights.sees(&object) {
                return Err(Error::new(
                    ErrorKind::UndefinedSchema,
                    format!("schema \"{schema}\" does not exist"),
                ));
            }
            Ok(object)
        }
        ("table", _) => {
            let place = locate_relation(session, name).await?;
            Ok(Object::table(&place.catalog, &place.schema, &place.name))
        }
        ("model", _) => session.require_model(name).map(|(_, _, object)| object),
        ("pipeline", _) => super::pipeline::object(session, name),
        ("function", [.., function]) => canonical_function(session, function),
        ("secret", [secret]) => {
            let object = Object::secret(secret);
            let known = session.engine().inner.store.secret(secret).await?.is_some();
            if !known || !rights.sees(&object) {
                return Err(Error::new(
                    ErrorKind::UndefinedObject,
                    format!("secret \"{secret}\" does not exist"),
                ));
            }
            Ok(object)
        }
        _ => Err(too_many_parts(name)),
    }
}

/// Functions have aliases; privileges are on the one that they stand for.
fn canonical_function(session: &Arc<Session>, name: &str) -> Result<Object> {
    let state = session.statement_state();
    let found = state
        .udf(name)
        .map(|function| function.name().to_owned())
        .or_else(|_| state.udaf(name).map(|function| function.name().to_owned()))
        .or_else(|_| state.udwf(name).map(|function| function.name().to_owned()));
    found.map(|name| Object::function(&name)).map_err(|_| {
        Error::new(ErrorKind::UndefinedFunction, format!("function \"{name}\" does not exist"))
            .with_hint("Run SHOW FUNCTIONS to list them all.")
    })
}

/// Lists what of a kind is in a schema now.
async fn all_in(session: &Arc<Session>, kind: &'static Kind, schema: &Name) -> Result<Vec<Object>> {
    if !["table", "model", "pipeline"].contains(&kind.word) {
        return Err(Error::unsupported(format!("schemas hold no {}", kind.plural))
            .with_hint("ALL TABLES, ALL MODELS and ALL PIPELINES IN SCHEMA are what there is."));
    }
    let schema = object(session, kinds::kind("schema")?, schema).await?;
    let [catalog, name] = schema.path.as_slice() else { return Ok(Vec::new()) };
    let rights = session.rights();
    if kind.word == "model" {
        let models = session.engine().inner.models.names().into_iter();
        let models = models.filter(|(schema, _)| catalog == BUILTIN && schema == name);
        let objects = models.map(|(schema, model)| Object::model(catalog, &schema, &model));
        return Ok(objects.filter(|object| rights.sees(object)).collect());
    }
    if kind.word == "pipeline" {
        let pipelines = session.engine().inner.pipelines.names().into_iter();
        let pipelines = pipelines.filter(|(schema, _)| catalog == BUILTIN && schema == name);
        let objects = pipelines.map(|(schema, one)| Object::pipeline(catalog, &schema, &one));
        return Ok(objects.filter(|object| rights.sees(object)).collect());
    }
    let tables = session.require_catalog(catalog)?.tables(name).await?;
    let objects = tables.into_iter().map(|entry| Object::table(catalog, name, &entry.name));
    Ok(objects.filter(|object| rights.sees(object)).collect())
}

async fn require_column(session: &Arc<Session>, table: &Object, column: &str) -> Result<()> {
    let [catalog, schema, name] = table.path.as_slice() else { return Ok(()) };
    let found = session.require_catalog(catalog)?.table(schema, name).await?;
    let is_there = found.is_some_and(|table| table.schema().index_of(column).is_ok());
    // What does not show is as if it were not there.
    if is_there && session.rights().sees_column(table, column) {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::UndefinedColumn,
        format!("column \"{column}\" of relation \"{name}\" does not exist"),
    ))
}
