//! Who may do what: roles, their passwords, their privileges.
//!
//! `kinds.rs` lists the kinds of object and their privileges: a new kind is one entry there. `rules.rs` holds what has been
//! granted and answers questions, `change.rs` changes it, `authority.rs` keeps it over restarts, `rights.rs` is what one
//! statement may do, `policies.rs` on which rows, `templates.rs` makes catalogs of what is known of a user, `groups.rs` shares the engine among all, `login.rs` how a client proves who it is, `acl.rs` and `oids.rs` what PostgreSQL's catalog tells of it all, `audit.rs` what is kept of it all.

pub mod acl;
pub mod audit;
mod authority;
mod change;
mod groups;
pub mod kinds;
mod login;
mod oids;
mod policies;
mod rights;
mod rules;
mod templates;

pub use authority::Authority;
pub use change::{Granting, is_predefined};
pub use groups::{DEFAULT_GROUP, ResourceGroup};
pub use kinds::{Object, Privilege};
pub(crate) use login::verifier_of;
pub use login::{LOCAL_LOGIN, Login, Protocol, SUPERUSER, Verifier, check};
pub use oids::{role_of_oid, role_oid};
pub use policies::{Command, Policies, Policy, WritePolicies};
pub use rights::{Columns, Rights};
pub(crate) use rules::Fact;
pub use rules::{DefaultGrant, Grant, Membership, PREDEFINED, Role, RowSecurity, Rules};
pub use templates::{Template, USER_ATTRIBUTE};
