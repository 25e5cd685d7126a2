//! What there is of roles and privileges, and the questions that are asked of it.

use std::collections::{BTreeMap, BTreeSet};

use maru_core::{Error, ErrorKind, Result, Secret, did_you_mean};
use serde::{Deserialize, Serialize};

use super::groups::ResourceGroup;
use super::kinds::{Object, Privilege};
use super::login::{SUPERUSER, Verifier};
use super::policies::Policy;
use super::templates::Template;

/// Roles whose members may do what no grant on an object says, as PostgreSQL has them (chapter 22.5).
pub const PREDEFINED: &[(&str, &str)] = &[
    ("pg_monitor", "sees the statements and sessions of all"),
    ("pg_read_all_data", "reads all tables"),
    ("pg_read_server_files", "reads files of the server's machine"),
    ("pg_signal_backend", "cancels statements of others"),
    ("pg_write_server_files", "writes files of the server's machine"),
];

/// A role. One that may log in is called a user.
#[derive(Debug, Clone)]
pub struct Role {
    pub superuser: bool,
    pub login: bool,
    /// Whether a membership made from now on gives the privileges without `SET ROLE`.
    pub inherit: bool,
    pub create_role: bool,
    pub create_catalog: bool,
    pub bypass_rls: bool,
    /// Sessions at once; -1 for no limit.
    pub connection_limit: i32,
    /// Microseconds since 1970 UTC from which on the password is void.
    pub valid_until_us: Option<i64>,
    pub verifier: Option<Verifier>,
    pub comment: Option<String>,
    /// What sessions of the user begin with, by the name of the setting.
    pub settings: BTreeMap<String, String>,
}

impl Default for Role {
    fn default() -> Self {
        Self {
            superuser: false,
            login: false,
            inherit: true,
            create_role: false,
            create_catalog: false,
            bypass_rls: false,
            connection_limit: -1,
            valid_until_us: None,
            verifier: None,
            comment: None,
            settings: BTreeMap::new(),
        }
    }
}

/// That a role is a member of another one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Membership {
    /// Whether the member may make others members.
    pub admin: bool,
    /// Whether the member has the role's privileges without `SET ROLE`.
    pub inherit: bool,
    pub grantor: String,
}

/// Names one privilege that was granted.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Grant {
    pub object: Object,
    /// `None`: the whole object.
    pub column: Option<String>,
    pub privilege: Privilege,
    /// `None`: everyone.
    pub grantee: Option<String>,
    pub grantor: String,
}

/// Names one privilege that objects will have from the start.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct DefaultGrant {
    /// The role that makes the object.
    pub creator: String,
    /// The object that is to hold it; `None`: any.
    pub within: Option<Object>,
    pub kind: &'static str,
    pub privilege: Privilege,
    pub grantee: Option<String>,
}

/// That policies are in force on a table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RowSecurity {
    /// For its owner too.
    pub forced: bool,
}

/// Everything there is. A change makes a new one, so that a statement sees one state from its start to its end.
#[derive(Debug, Clone, Default)]
pub struct Rules {
    pub roles: BTreeMap<String, Role>,
    /// By role and member.
    pub members: BTreeMap<(String, String), Membership>,
    /// Objects without one belong to the superuser.
    pub owners: BTreeMap<Object, String>,
    /// With the option to grant it on.
    pub grants: BTreeMap<Grant, bool>,
    pub defaults: BTreeMap<DefaultGrant, bool>,
    /// Objects whose kind gives something to everyone, from which that has been taken.
    pub closed: BTreeSet<Object>,
    /// By table and name.
    pub policies: BTreeMap<(Object, String), Policy>,
    /// Tables on which policies are in force.
    pub row_security: BTreeMap<Object, RowSecurity>,
    /// By table and column: SQL over the table's columns that is shown in its place.
    pub masks: BTreeMap<(Object, String), String>,
    /// What is known of a role besides its rights, by role and name.
    pub attributes: BTreeMap<(String, String), String>,
    /// Catalogs that members of a role find made for them, by the catalog's name.
    pub templates: BTreeMap<String, Template>,
    pub groups: BTreeMap<String, ResourceGroup>,
}

impl Rules {
    /// # Errors
    /// 42704 with the nearest name.
    pub fn role(&self, name: &str) -> Result<&Role> {
        self.roles.get(name).ok_or_else(|| {
            let error =
                Error::new(ErrorKind::UndefinedObject, format!("role \"{name}\" does not exist"));
            match did_you_mean(name, self.roles.keys().map(String::as_str)) {
                Some(near) => error.with_hint(format!("Did you mean \"{near}\"?")),
                None => error.with_hint("SELECT name FROM system.roles lists them."),
            }
        })
    }

    pub fn is_superuser(&self, role: &str) -> bool {
        self.roles.get(role).is_some_and(|role| role.superuser)
    }

    /// Returns the roles whose privileges `role` has, itself among them.
    pub fn powers(&self, role: &str) -> BTreeSet<String> {
        self.closure(role, |membership| membership.inherit)
    }

    /// Returns the roles that `role` may become by `SET ROLE`, itself among them.
    pub fn memberships(&self, role: &str) -> BTreeSet<String> {
        self.closure(role, |_| true)
    }

    fn closure(&self, role: &str, follows: impl Fn(&Membership) -> bool) -> BTreeSet<String> {
        let mut found = BTreeSet::from([role.to_owned()]);
        let mut open = vec![role.to_owned()];
        while let Some(member) = open.pop() {
            for ((group, of), membership) in &self.members {
                if *of == member && follows(membership) && found.insert(group.clone()) {
                    open.push(group.clone());
                }
            }
        }
        found
    }

    /// Returns whether `role` may make others members of `group`.
    pub fn administers(&self, role: &str, group: &str) -> bool {
        if self.is_superuser(role) {
            return true;
        }
        let powers = self.memberships(role);
        self.members.iter().any(|((of, member), membership)| {
            of == group && membership.admin && powers.contains(member)
        })
    }

    /// Returns who owns an object: whoever made it, or else the superuser.
    pub fn owner(&self, object: &Object) -> &str {
        self.owners.get(object).map_or(SUPERUSER, String::as_str)
    }

    /// Returns the grants on an object itself.
    pub fn grants_on<'a>(
        &'a self,
        object: &'a Object,
    ) -> impl Iterator<Item = (&'a Grant, bool)> + 'a {
        // Grants are sorted by object first.
        let first = Grant {
            object: object.clone(),
            column: None,
            privilege: Privilege::Select,
            grantee: None,
            grantor: String::new(),
        };
        self.grants
            .range(first..)
            .take_while(move |(grant, _)| grant.object == *object)
            .map(|(grant, option)| (grant, *option))
    }

    /// Returns the verifier of a role that may log in.
    ///
    /// # Errors
    /// 28P01 where the password is void by now.
    pub fn verifier(&self, login: &str, now_us: i64) -> Option<Verifier> {
        let role = self.roles.get(login)?;
        let valid = role.valid_until_us.is_none_or(|until| now_us < until);
        role.verifier.clone().filter(|_| role.login && valid)
    }

    /// Returns the stored form: one row for each fact.
    pub(crate) fn facts(&self) -> Result<BTreeMap<(String, String), Fact>> {
        let mut facts = BTreeMap::new();
        for (name, role) in &self.roles {
            let body = StoredRole {
                superuser: role.superuser,
                login: role.login,
                inherit: role.inherit,
                create_role: role.create_role,
                create_catalog: role.create_catalog,
                bypass_rls: role.bypass_rls,
                connection_limit: role.connection_limit,
                valid_until_us: role.valid_until_us,
                comment: role.comment.clone(),
                settings: role.settings.clone(),
            };
            let sealed = role.verifier.as_ref().map(Verifier::encode).transpose()?;
            facts.insert(("role".to_owned(), name.clone()), Fact::new(&body, sealed)?);
        }
        for (key, membership) in &self.members {
            facts.insert(("member".to_owned(), text(key)?), Fact::new(membership, None)?);
        }
        for (object, owner) in &self.owners {
            let key = text(&(object.kind, &object.path))?;
            facts.insert(("owner".to_owned(), key), Fact::new(owner, None)?);
        }
        for (grant, option) in &self.grants {
            let key = text(&(
                grant.object.kind,
                &grant.object.path,
                &grant.column,
                grant.privilege.word(),
                &grant.grantee,
                &grant.grantor,
            ))?;
            facts.insert(("grant".to_owned(), key), Fact::new(option, None)?);
        }
        for (default, option) in &self.defaults {
            let within = default.within.as_ref().map(|object| (object.kind, &object.path));
            let key = text(&(
                &default.creator,
                within,
                default.kind,
                default.privilege.word(),
                &default.grantee,
            ))?;
            facts.insert(("default".to_owned(), key), Fact::new(option, None)?);
        }
        for object in &self.closed {
            let key = text(&(object.kind, &object.path))?;
            facts.insert(("closed".to_owned(), key), Fact::new(&true, None)?);
        }
        for ((object, name), policy) in &self.policies {
            let key = text(&(object.kind, &object.path, name))?;
            facts.insert(("policy".to_owned(), key), Fact::new(policy, None)?);
        }
        for (object, security) in &self.row_security {
            let key = text(&(object.kind, &object.path))?;
            facts.insert(("row security".to_owned(), key), Fact::new(security, None)?);
        }
        for ((object, column), mask) in &self.masks {
            let key = text(&(object.kind, &object.path, column))?;
            facts.insert(("mask".to_owned(), key), Fact::new(mask, None)?);
        }
        for (key, value) in &self.attributes {
            facts.insert(("attribute".to_owned(), text(key)?), Fact::new(value, None)?);
        }
        for (name, template) in &self.templates {
            let (body, options) = template.stored()?;
            let key = ("catalog template".to_owned(), name.clone());
            facts.insert(key, Fact::new(&body, Some(options))?);
        }
        for (name, group) in &self.groups {
            facts.insert(("resource group".to_owned(), name.clone()), Fact::new(group, None)?);
        }
        Ok(facts)
    }

    /// Reads the stored form.
    ///
    /// # Errors
    /// XX001 for a row that cannot be read: privileges are never guessed.
    pub(super) fn from_facts(facts: &BTreeMap<(String, String), Fact>) -> Result<Self> {
        let mut rules = Self::default();
        for ((kind, key), fact) in facts {
            match kind.as_str() {
                "role" => {
                    let stored: StoredRole = read(&fact.body)?;
                    let verifier =
                        fact.sealed.as_ref().map(|text| Verifier::decode(key, text)).transpose()?;
                    rules.roles.insert(key.clone(), stored.role(verifier));
                }
                "member" => {
                    rules.members.insert(read(key)?, read(&fact.body)?);
                }
                "owner" => {
                    rules.owners.insert(object(read(key)?)?, read(&fact.body)?);
                }
                "grant" => {
                    let (kind, path, column, privilege, grantee, grantor): GrantKey = read(key)?;
                    let object = object((kind, path))?;
                    let privilege = Privilege::parse(&privilege).ok_or_else(damaged)?;
                    let grant = Grant { object, column, privilege, grantee, grantor };
                    rules.grants.insert(grant, read(&fact.body)?);
                }
                "default" => {
                    let (creator, within, kind, privilege, grantee): DefaultKey = read(key)?;
                    let default = DefaultGrant {
                        creator,
                        within: within.map(object).transpose()?,
                        kind: super::kinds::kind(&kind).map_err(|_| damaged())?.word,
                        privilege: Privilege::parse(&privilege).ok_or_else(damaged)?,
                        grantee,
                    };
                    rules.defaults.insert(default, read(&fact.body)?);
                }
                "closed" => {
                    rules.closed.insert(object(read(key)?)?);
                }
                "policy" => {
                    let (kind, path, name): (String, Vec<String>, String) = read(key)?;
                    rules.policies.insert((object((kind, path))?, name), read(&fact.body)?);
                }
                "row security" => {
                    rules.row_security.insert(object(read(key)?)?, read(&fact.body)?);
                }
                "mask" => {
                    let (kind, path, column): (String, Vec<String>, String) = read(key)?;
                    rules.masks.insert((object((kind, path))?, column), read(&fact.body)?);
                }
                "attribute" => {
                    rules.attributes.insert(read(key)?, read(&fact.body)?);
                }
                "catalog template" => {
                    let options = fact.sealed.as_ref().ok_or_else(damaged)?;
                    let template = Template::from_stored(read(&fact.body)?, options);
                    rules.templates.insert(key.clone(), template.ok_or_else(damaged)?);
                }
                "resource group" => {
                    rules.groups.insert(key.clone(), read(&fact.body)?);
                }
                _ => return Err(damaged()),
            }
        }
        Ok(rules)
    }
}

type GrantKey = (String, Vec<String>, Option<String>, String, Option<String>, String);
type DefaultKey = (String, Option<(String, Vec<String>)>, String, String, Option<String>);

/// A row of the stored form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fact {
    /// JSON.
    pub(crate) body: String,
    /// What is encrypted at rest.
    pub(crate) sealed: Option<Secret>,
}

impl Fact {
    fn new(body: &impl Serialize, sealed: Option<Secret>) -> Result<Self> {
        Ok(Self { body: text(body)?, sealed })
    }
}

/// The stored form of a role; a new layout has a new name.
#[derive(Serialize, Deserialize)]
struct StoredRole {
    superuser: bool,
    login: bool,
    inherit: bool,
    create_role: bool,
    create_catalog: bool,
    bypass_rls: bool,
    connection_limit: i32,
    valid_until_us: Option<i64>,
    comment: Option<String>,
    /// Came with 2026-11.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    settings: BTreeMap<String, String>,
}

impl StoredRole {
    fn role(self, verifier: Option<Verifier>) -> Role {
        Role {
            superuser: self.superuser,
            login: self.login,
            inherit: self.inherit,
            create_role: self.create_role,
            create_catalog: self.create_catalog,
            bypass_rls: self.bypass_rls,
            connection_limit: self.connection_limit,
            valid_until_us: self.valid_until_us,
            verifier,
            comment: self.comment,
            settings: self.settings,
        }
    }
}

fn object((kind, path): (String, Vec<String>)) -> Result<Object> {
    let kind = super::kinds::kind(&kind).map_err(|_| damaged())?;
    Ok(Object::new(kind, path))
}

fn text(value: &impl Serialize) -> Result<String> {
    serde_json::to_string(value).map_err(|cause| {
        Error::new(ErrorKind::Internal, "could not encode a privilege").with_cause(cause)
    })
}

fn read<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T> {
    serde_json::from_str(text).map_err(|_| damaged())
}

fn damaged() -> Error {
    Error::new(ErrorKind::DataCorrupted, "a stored role or privilege is damaged")
}
