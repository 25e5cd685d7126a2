//! Statements on users, roles and rights.

use maru_core::Secret;

use super::Name;

/// How a statement names a role.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RoleName {
    Named(String),
    /// `CURRENT_USER`, `CURRENT_ROLE`
    Current,
    /// `SESSION_USER`
    Session,
    /// Everyone, those who come later too.
    Public,
}

impl std::fmt::Display for RoleName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Named(name) => f.write_str(&maru_core::quote_ident(name)),
            Self::Current => f.write_str("CURRENT_USER"),
            Self::Session => f.write_str("SESSION_USER"),
            Self::Public => f.write_str("PUBLIC"),
        }
    }
}

/// What `CREATE ROLE` and `ALTER ROLE` say of a role; `None` where they say nothing.
#[derive(Debug, Clone, Default)]
pub struct RoleOptions {
    pub superuser: Option<bool>,
    pub login: Option<bool>,
    pub inherit: Option<bool>,
    pub create_role: Option<bool>,
    pub create_catalog: Option<bool>,
    pub bypass_rls: Option<bool>,
    /// -1: no limit.
    pub connection_limit: Option<i32>,
    /// `Some(None)` is `PASSWORD NULL`: the role cannot log in with a password.
    pub password: Option<Option<Secret>>,
    /// As text; the engine reads it as a timestamp with time zone.
    pub valid_until: Option<String>,
}

/// `CREATE { ROLE | USER } [IF NOT EXISTS] name [WITH] option …`
#[derive(Debug, Clone)]
pub struct CreateRole {
    pub name: String,
    pub options: RoleOptions,
    pub if_not_exists: bool,
    /// `IN ROLE`: roles the new one becomes a member of.
    pub in_roles: Vec<String>,
    /// `ROLE`: members of the new one.
    pub members: Vec<String>,
    /// `ADMIN`: members who may make others members.
    pub admins: Vec<String>,
}

/// `ALTER { ROLE | USER } name { [WITH] option … | RENAME TO name | SET setting = value | RESET setting | SET ATTRIBUTE … |
/// RESET ATTRIBUTE … }`
#[derive(Debug, Clone)]
pub struct AlterRole {
    pub role: RoleName,
    pub change: RoleChange,
}

#[derive(Debug, Clone)]
pub enum RoleChange {
    Options(RoleOptions),
    Rename(String),
    /// `SET ATTRIBUTE name = 'value'`, `RESET ATTRIBUTE name` (`None`)
    Attribute {
        name: String,
        value: Option<String>,
    },
    /// `SET name = value`, `RESET name` (`None`): what sessions of the user begin with.
    Setting {
        name: String,
        value: Option<String>,
    },
    /// `RESET ALL`
    ResetSettings,
}

/// `DROP { ROLE | USER } [IF EXISTS] name, …`
#[derive(Debug, Clone)]
pub struct DropRole {
    pub names: Vec<String>,
    pub if_exists: bool,
}

/// `GRANT role, … TO role, … [WITH ADMIN OPTION]`, `REVOKE [ADMIN OPTION FOR] role, … FROM role, …`
#[derive(Debug, Clone)]
pub struct GrantRole {
    pub is_grant: bool,
    pub roles: Vec<String>,
    pub members: Vec<RoleName>,
    /// Of a grant: what `WITH ADMIN` says. Of a revocation: only the option is taken.
    pub admin: Option<bool>,
    /// What `WITH INHERIT` says.
    pub inherit: Option<bool>,
}

/// `GRANT privileges ON objects TO role, … [WITH GRANT OPTION]`,
/// `REVOKE [GRANT OPTION FOR] privileges ON objects FROM role, … [CASCADE]`
#[derive(Debug, Clone)]
pub struct GrantPrivileges {
    pub is_grant: bool,
    /// Empty: all that the kind of object has.
    pub privileges: Vec<PrivilegeName>,
    pub target: GrantTarget,
    pub grantees: Vec<RoleName>,
    /// Of a grant: with the option to grant. Of a revocation: only the option is taken.
    pub option: bool,
    pub cascade: bool,
}

/// `SELECT (a, b)`; no columns means all of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PrivilegeName {
    /// In lower case.
    pub word: String,
    pub columns: Vec<String>,
}

/// Which objects. The engine knows the kinds; here they are words in lower case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GrantTarget {
    Objects {
        kind: String,
        names: Vec<Name>,
    },
    /// `ALL TABLES IN SCHEMA a, b`: those there are now.
    AllInSchemas {
        kinds: String,
        schemas: Vec<Name>,
    },
}

/// `ALTER DEFAULT PRIVILEGES [FOR ROLE role, …] [IN SCHEMA schema, …] GRANT | REVOKE …`
#[derive(Debug, Clone)]
pub struct AlterDefaultPrivileges {
    pub roles: Vec<RoleName>,
    pub schemas: Vec<Name>,
    pub is_grant: bool,
    pub privileges: Vec<PrivilegeName>,
    /// `TABLES`, `SCHEMAS`, …
    pub kinds: String,
    pub grantees: Vec<RoleName>,
    pub option: bool,
}

/// `CREATE POLICY name ON table [AS PERMISSIVE | RESTRICTIVE] [FOR ALL | SELECT | INSERT | UPDATE | DELETE] [TO role, …]
/// [USING (condition)] [WITH CHECK (condition)]`
#[derive(Debug, Clone)]
pub struct CreatePolicy {
    pub name: String,
    pub table: Name,
    pub permissive: bool,
    pub command: PolicyCommand,
    /// Empty: everyone.
    pub roles: Vec<RoleName>,
    /// Which rows that are there it lets through, as SQL.
    pub using: Option<String>,
    /// Which new rows it lets through, as SQL; `None`: those of `using`.
    pub check: Option<String>,
}

/// The statements that a policy is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PolicyCommand {
    All,
    Select,
    Insert,
    Update,
    Delete,
}

/// `ALTER POLICY name ON table …`
#[derive(Debug, Clone)]
pub struct AlterPolicy {
    pub name: String,
    pub table: Name,
    pub change: PolicyChange,
}

#[derive(Debug, Clone)]
pub enum PolicyChange {
    /// `RENAME TO name`
    Rename(String),
    /// `[TO role, …] [USING (condition)] [WITH CHECK (condition)]`; `None` leaves it as it is.
    Set { roles: Option<Vec<RoleName>>, using: Option<String>, check: Option<String> },
}

/// `DROP POLICY [IF EXISTS] name ON table`
#[derive(Debug, Clone)]
pub struct DropPolicy {
    pub name: String,
    pub table: Name,
    pub if_exists: bool,
}

/// `ALTER TABLE name …` where it is about what of the table shows to whom.
#[derive(Debug, Clone)]
pub struct AlterTableSecurity {
    pub table: Name,
    pub change: SecurityChange,
}

#[derive(Debug, Clone)]
pub enum SecurityChange {
    /// `ENABLE | DISABLE ROW LEVEL SECURITY`
    Enable(bool),
    /// `FORCE | NO FORCE ROW LEVEL SECURITY`
    Force(bool),
    /// `SET MASK FOR COLUMN column USING (expression)`, as SQL.
    SetMask { column: String, using: String },
    /// `DROP MASK FOR COLUMN column`
    DropMask { column: String },
}

/// `ALTER kind name OWNER TO role`
#[derive(Debug, Clone)]
pub struct AlterOwner {
    pub kind: String,
    pub name: Name,
    pub owner: RoleName,
}

/// `REASSIGN OWNED BY role, … TO role` and `DROP OWNED BY role, …`
#[derive(Debug, Clone)]
pub struct Owned {
    pub roles: Vec<RoleName>,
    /// `None`: what they own is left to the superuser and their rights are taken.
    pub to: Option<RoleName>,
}
