//! `CREATE | ALTER | DROP ROLE`, `GRANT role TO …`, `SET ROLE`, `REASSIGN OWNED`, `DROP OWNED`.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::AsArray;
use arrow::compute::cast;
use arrow::datatypes::{DataType, TimeUnit, TimestampMicrosecondType};
use datafusion::common::ScalarValue;
use maru_core::{Error, ErrorKind, Result, Secret};
use maru_sql::{
    AlterRole, CreateRole, DropRole, GrantRole, Owned, RoleChange, RoleName, RoleOptions,
};

use crate::access::{Rights, Role, Rules, SUPERUSER, Verifier, is_predefined, verifier_of};
use crate::output::Output;
use crate::session::{Session, Settings, setting_name};

pub(super) async fn create(session: &Arc<Session>, create: &CreateRole) -> Result<Output> {
    let actor = session.rights();
    require_create_role(&actor, "create")?;
    let made = MadeOptions::of(session, &create.options, &create.name)?;
    let skipped = change(session, |rules| {
        if rules.roles.contains_key(&create.name) && create.if_not_exists {
            return Ok(true);
        }
        rules.check_new_role(&create.name)?;
        let mut role = Role::default();
        made.apply(&actor, rules, &mut role)?;
        rules.roles.insert(create.name.clone(), role);
        // Who may make roles may manage those it has made, as in PostgreSQL 16.
        if !actor.is_superuser() {
            let membership = crate::access::Membership {
                admin: true,
                inherit: false,
                grantor: SUPERUSER.to_owned(),
            };
            rules.members.insert((create.name.clone(), actor.role().to_owned()), membership);
        }
        for group in &create.in_roles {
            rules.add_member(&actor, group, &create.name, None, None)?;
        }
        for (members, admin) in [(&create.members, None), (&create.admins, Some(true))] {
            for member in members {
                add_to_new(rules, &actor, &create.name, member, admin)?;
            }
        }
        Ok(false)
    })
    .await?;
    let output = Output::command("CREATE ROLE");
    Ok(match skipped {
        true => output.with_notice(format!("role \"{}\" already exists, skipping", create.name)),
        false => output,
    })
}

/// The one who makes a role has no admin option on it yet that [`Rules::add_member`] could see.
fn add_to_new(
    rules: &mut Rules,
    actor: &Rights,
    role: &str,
    member: &str,
    admin: Option<bool>,
) -> Result<()> {
    let superuser = Rights::new(Arc::new(rules.clone()), SUPERUSER);
    rules.add_member(&superuser, role, member, admin, None)?;
    if let Some(membership) = rules.members.get_mut(&(role.to_owned(), member.to_owned())) {
        actor.role().clone_into(&mut membership.grantor);
    }
    Ok(())
}

pub(super) async fn alter(session: &Arc<Session>, alter: &AlterRole) -> Result<Output> {
    let actor = session.rights();
    let name = named(session, &alter.role)?;
    let output = Output::command("ALTER ROLE");
    match &alter.change {
        RoleChange::Rename(new) => {
            change(session, |rules| {
                require_manage(&actor, rules, &name)?;
                if name == SUPERUSER || is_predefined(&name) {
                    return Err(Error::new(
                        ErrorKind::NotAllowed,
                        format!("role \"{name}\" is built in"),
                    )
                    .with_hint("It cannot be renamed or dropped."));
                }
                rules.check_new_role(new)?;
                rules.rename_role(&name, new);
                Ok(())
            })
            .await?;
            Ok(output)
        }
        RoleChange::Attribute { name: attribute, value } => {
            // They say where the engine goes with the secrets of others.
            actor.require_superuser("change attributes of roles")?;
            super::template::check_attribute(attribute)?;
            let was = change(session, |rules| {
                rules.role(&name)?;
                Ok(rules.set_attribute(&name, attribute, value.as_deref()))
            })
            .await?;
            Ok(match was || value.is_some() {
                true => output,
                false => output.with_notice(format!("attribute \"{attribute}\" was not set")),
            })
        }
        RoleChange::Setting { name: setting, value } => {
            let kept = match value {
                Some(value) => Settings::of_role(setting, value)?,
                // The value of a default fits nothing; the name is what is looked up.
                None => (setting_name(setting)?, String::new()),
            };
            settings_of(session, &actor, &name, |settings| {
                match value {
                    Some(_) => settings.insert(kept.0, kept.1),
                    None => settings.remove(&kept.0),
                };
            })
            .await?;
            Ok(output)
        }
        RoleChange::ResetSettings => {
            settings_of(session, &actor, &name, BTreeMap::clear).await?;
            Ok(output)
        }
        RoleChange::Options(options) => {
            let made = MadeOptions::of(session, options, &name)?;
            change(session, |rules| {
                // Everyone may change their own password.
                if !(name == session.user() && options_are_password_alone(options)) {
                    require_manage(&actor, rules, &name)?;
                }
                let mut role = rules.role(&name)?.clone();
                made.apply(&actor, rules, &mut role)?;
                if name == SUPERUSER && !(role.superuser && role.login) {
                    return Err(Error::new(
                        ErrorKind::NotAllowed,
                        format!("role \"{name}\" must stay a superuser that may log in"),
                    ));
                }
                rules.roles.insert(name.clone(), role);
                Ok(())
            })
            .await?;
            Ok(output)
        }
    }
}

/// Changes what sessions of a user begin with. Everyone may change their own.
async fn settings_of(
    session: &Arc<Session>,
    actor: &Rights,
    name: &str,
    edit: impl FnOnce(&mut BTreeMap<String, String>),
) -> Result<()> {
    change(session, |rules| {
        if name != session.user() {
            require_manage(actor, rules, name)?;
        }
        rules.role(name)?;
        if let Some(role) = rules.roles.get_mut(name) {
            edit(&mut role.settings);
        }
        Ok(())
    })
    .await
}

pub(super) async fn drop(session: &Arc<Session>, drop: &DropRole) -> Result<Output> {
    let actor = session.rights();
    require_create_role(&actor, "drop")?;
    let missing = change(session, |rules| {
        let mut missing = Vec::new();
        for name in &drop.names {
            if !rules.roles.contains_key(name) && drop.if_exists {
                missing.push(name.clone());
                continue;
            }
            rules.role(name)?;
            require_manage(&actor, rules, name)?;
            if name == SUPERUSER || is_predefined(name) {
                return Err(Error::new(
                    ErrorKind::NotAllowed,
                    format!("role \"{name}\" is built in"),
                )
                .with_hint("It cannot be renamed or dropped."));
            }
            if name == session.user() || *name == session.role() {
                return Err(Error::new(ErrorKind::LockedObject, "current user cannot be dropped"));
            }
            rules.drop_role(name)?;
        }
        Ok(missing)
    })
    .await?;
    let mut output = Output::command("DROP ROLE");
    for name in missing {
        output = output.with_notice(format!("role \"{name}\" does not exist, skipping"));
    }
    Ok(output)
}

pub(super) async fn grant(session: &Arc<Session>, grant: &GrantRole) -> Result<Output> {
    let actor = session.rights();
    let members =
        grant.members.iter().map(|name| named(session, name)).collect::<Result<Vec<_>>>()?;
    let without = change(session, |rules| {
        let mut without = Vec::new();
        for role in &grant.roles {
            for member in &members {
                if grant.is_grant {
                    rules.add_member(&actor, role, member, grant.admin, grant.inherit)?;
                } else if !rules.remove_member(&actor, role, member, grant.admin.is_some())? {
                    without.push(format!(
                        "role \"{member}\" has not been granted membership in role \"{role}\""
                    ));
                }
            }
        }
        Ok(without)
    })
    .await?;
    let tag = if grant.is_grant { "GRANT ROLE" } else { "REVOKE ROLE" };
    Ok(without.into_iter().fold(Output::command(tag), Output::with_notice))
}

pub(super) async fn owned(session: &Arc<Session>, owned: &Owned) -> Result<Output> {
    let actor = session.rights();
    let roles = owned.roles.iter().map(|name| named(session, name)).collect::<Result<Vec<_>>>()?;
    let to = owned.to.as_ref().map(|name| named(session, name)).transpose()?;
    change(session, |rules| {
        for role in roles.iter().chain(&to) {
            rules.role(role)?;
            if !actor.has_role(role) {
                return Err(Error::new(
                    ErrorKind::NotAllowed,
                    "permission denied to change what others own",
                )
                .with_detail(format!("It takes the privileges of role \"{role}\".")));
            }
        }
        if roles.iter().any(|role| role == SUPERUSER) {
            return Err(Error::new(
                ErrorKind::DependentObjects,
                format!("cannot take objects from role \"{SUPERUSER}\": the engine needs them"),
            ));
        }
        rules.reassign(&roles, to.as_deref());
        Ok(())
    })
    .await?;
    Ok(Output::command(if owned.to.is_some() { "REASSIGN OWNED" } else { "DROP OWNED" }))
}

pub(super) fn set_role(session: &Arc<Session>, role: Option<&RoleName>) -> Result<Output> {
    let Some(role) = role else {
        session.choose_role(None)?;
        return Ok(Output::command("SET"));
    };
    let name = named(session, role)?;
    let rules = session.engine().inner.authority.rules();
    rules.role(&name)?;
    // What the user may become does not depend on what it has become.
    if !rules.is_superuser(session.user()) && !rules.memberships(session.user()).contains(&name) {
        return Err(Error::new(
            ErrorKind::NotAllowed,
            format!("permission denied to set role \"{name}\""),
        )
        .with_hint(format!("SET ROLE takes a role that \"{}\" is a member of.", session.user())));
    }
    session.choose_role(Some(name))?;
    Ok(Output::command("SET"))
}

/// Returns the role that a statement names.
///
/// # Errors
/// 42704 for `PUBLIC`, which is no role.
pub(super) fn named(session: &Arc<Session>, name: &RoleName) -> Result<String> {
    match name {
        RoleName::Named(name) => Ok(name.clone()),
        RoleName::Current => Ok(session.role()),
        RoleName::Session => Ok(session.user().to_owned()),
        RoleName::Public => {
            Err(Error::new(ErrorKind::UndefinedObject, "role \"public\" does not exist")
                .with_detail("PUBLIC stands for everyone and can only be granted privileges."))
        }
    }
}

pub(super) async fn change<T>(
    session: &Arc<Session>,
    change: impl FnOnce(&mut Rules) -> Result<T>,
) -> Result<T> {
    session.engine().inner.authority.change(change).await
}

fn require_create_role(actor: &Rights, verb: &str) -> Result<()> {
    let may = actor.rules().roles.get(actor.role()).is_some_and(|role| role.create_role);
    if actor.is_superuser() || may {
        return Ok(());
    }
    Err(Error::new(ErrorKind::NotAllowed, format!("permission denied to {verb} role"))
        .with_hint(format!("A superuser says: ALTER ROLE {} CREATEROLE.", actor.role())))
}

/// Checks that the actor may change a role: a superuser all, who may make roles those it manages.
fn require_manage(actor: &Rights, rules: &Rules, name: &str) -> Result<()> {
    let role = rules.role(name)?;
    if actor.is_superuser() {
        return Ok(());
    }
    require_create_role(actor, "alter")?;
    if role.superuser || !rules.administers(actor.role(), name) {
        return Err(Error::new(ErrorKind::NotAllowed, "permission denied to alter role")
            .with_detail(format!("It takes the ADMIN option on role \"{name}\".")));
    }
    Ok(())
}

fn options_are_password_alone(options: &RoleOptions) -> bool {
    options.superuser.is_none()
        && options.login.is_none()
        && options.inherit.is_none()
        && options.create_role.is_none()
        && options.create_catalog.is_none()
        && options.bypass_rls.is_none()
        && options.connection_limit.is_none()
        && options.valid_until.is_none()
}

/// Options of a role with what takes time to make of them.
struct MadeOptions<'a> {
    options: &'a RoleOptions,
    verifier: Option<Option<Verifier>>,
    /// `Some(None)`: for ever.
    valid_until_us: Option<Option<i64>>,
}

impl<'a> MadeOptions<'a> {
    fn of(session: &Arc<Session>, options: &'a RoleOptions, name: &str) -> Result<Self> {
        let verifier = match &options.password {
            None => None,
            Some(None) => Some(None),
            Some(Some(password)) => {
                check_password(password)?;
                Some(Some(match Verifier::parse(name, password.reveal()) {
                    Some(ready) => ready?,
                    None => verifier_of(name, password)?,
                }))
            }
        };
        let valid_until_us =
            options.valid_until.as_deref().map(|text| instant(session, text)).transpose()?;
        Ok(Self { options, verifier, valid_until_us })
    }

    fn apply(&self, actor: &Rights, rules: &Rules, role: &mut Role) -> Result<()> {
        let options = self.options;
        let powers = [
            (options.superuser, "SUPERUSER", false),
            (options.bypass_rls, "BYPASSRLS", actor_has(actor, rules, |role| role.bypass_rls)),
            (
                options.create_catalog,
                "CREATECATALOG",
                actor_has(actor, rules, |r| r.create_catalog),
            ),
        ];
        for (wanted, word, may) in powers {
            if wanted.is_some() && !actor.is_superuser() && !may {
                return Err(Error::new(
                    ErrorKind::NotAllowed,
                    format!("must be superuser to give or take {word}"),
                ));
            }
        }
        let set = |flag: &mut bool, wanted: Option<bool>| *flag = wanted.unwrap_or(*flag);
        set(&mut role.superuser, options.superuser);
        set(&mut role.login, options.login);
        set(&mut role.inherit, options.inherit);
        set(&mut role.create_role, options.create_role);
        set(&mut role.create_catalog, options.create_catalog);
        set(&mut role.bypass_rls, options.bypass_rls);
        role.connection_limit = options.connection_limit.unwrap_or(role.connection_limit);
        if let Some(verifier) = &self.verifier {
            role.verifier.clone_from(verifier);
        }
        if let Some(valid_until_us) = self.valid_until_us {
            role.valid_until_us = valid_until_us;
        }
        Ok(())
    }
}

fn actor_has(actor: &Rights, rules: &Rules, is: impl Fn(&Role) -> bool) -> bool {
    rules.roles.get(actor.role()).is_some_and(is)
}

fn check_password(password: &Secret) -> Result<()> {
    let text = password.reveal();
    if text.is_empty() {
        return Err(Error::new(ErrorKind::InvalidParameter, "a password cannot be empty")
            .with_hint("PASSWORD NULL takes the password away."));
    }
    let is_hash = |c: char| c.is_ascii_hexdigit();
    if text.strip_prefix("md5").is_some_and(|hash| hash.len() == 32 && hash.chars().all(is_hash)) {
        return Err(Error::unsupported("cannot take a password that is hashed with MD5")
            .with_hint("Give the password itself, or its SCRAM-SHA-256 verifier."));
    }
    Ok(())
}

/// Reads a time as `timestamptz` does; `infinity` has no end.
fn instant(session: &Arc<Session>, text: &str) -> Result<Option<i64>> {
    if text.eq_ignore_ascii_case("infinity") {
        return Ok(None);
    }
    let zone = session.setting("timezone").unwrap_or_else(|| "UTC".to_owned());
    let data_type = DataType::Timestamp(TimeUnit::Microsecond, Some(zone.into()));
    let array = ScalarValue::Utf8(Some(text.to_owned())).to_array()?;
    let read = cast(&array, &data_type).map_err(|_| {
        Error::new(
            ErrorKind::InvalidDatetime,
            format!("invalid input syntax for type timestamp with time zone: \"{text}\""),
        )
    })?;
    let micros = read.as_primitive::<TimestampMicrosecondType>();
    match micros.iter().next().flatten() {
        Some(micros) => Ok(Some(micros)),
        None => Err(Error::new(
            ErrorKind::InvalidDatetime,
            format!("invalid input syntax for type timestamp with time zone: \"{text}\""),
        )),
    }
}
