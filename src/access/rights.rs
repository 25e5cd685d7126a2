//! What one role may do: the question that every other room asks.

use std::collections::BTreeSet;
use std::sync::Arc;

use maru_core::{Error, ErrorKind, Result};

use super::kinds::{Object, Privilege};
use super::rules::Rules;

/// The rights of one role at one moment. Cheap to ask, made for each statement.
#[derive(Debug, Clone)]
pub struct Rights {
    rules: Arc<Rules>,
    role: String,
    /// Who sees the catalogs that were made for one user alone.
    user: String,
    /// The roles whose privileges it has.
    powers: BTreeSet<String>,
    is_superuser: bool,
}

/// The columns of a table that a privilege covers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Columns {
    All,
    Some(BTreeSet<String>),
}

impl Rights {
    pub fn new(rules: Arc<Rules>, role: &str) -> Self {
        let powers = rules.powers(role);
        let is_superuser = rules.is_superuser(role);
        Self { rules, role: role.to_owned(), user: role.to_owned(), powers, is_superuser }
    }

    /// Returns the same rights in the hands of a user: catalogs made from templates are those of the user.
    #[must_use]
    pub fn of_user(mut self, user: &str) -> Self {
        user.clone_into(&mut self.user);
        self
    }

    pub fn user(&self) -> &str {
        &self.user
    }

    pub fn rules(&self) -> &Arc<Rules> {
        &self.rules
    }

    /// Returns the role as which statements run.
    pub fn role(&self) -> &str {
        &self.role
    }

    pub fn is_superuser(&self) -> bool {
        self.is_superuser
    }

    /// Returns whether it has what `role` has.
    pub fn has_role(&self, role: &str) -> bool {
        self.is_superuser || self.powers.contains(role)
    }

    /// Returns whether an object, or what holds it, is its own.
    pub fn owns(&self, object: &Object) -> bool {
        if self.is_superuser {
            return true;
        }
        let mut at = Some(object.clone());
        while let Some(object) = at {
            if self.powers.contains(self.rules.owner(&object)) {
                return true;
            }
            at = object.holder();
        }
        false
    }

    /// Returns whether it has a privilege on a whole object.
    pub fn may(&self, privilege: Privilege, object: &Object) -> bool {
        if self.owns(object) || self.reads_all(privilege) {
            return true;
        }
        let of_public = object.spec().is_some_and(|kind| kind.of_public.contains(&privilege));
        if of_public && !self.rules.closed.contains(object) {
            return true;
        }
        self.granted(object, |grant_privilege, column| {
            grant_privilege == privilege && column.is_none()
        })
    }

    /// Returns whether it may give a privilege on an object to others.
    pub fn may_grant(&self, privilege: Privilege, object: &Object) -> bool {
        let mut at = Some(object.clone());
        while let Some(object) = at {
            let found = self.rules.grants_on(&object).any(|(grant, option)| {
                option
                    && grant.privilege == privilege
                    && grant.column.is_none()
                    && self.is_meant(&grant.grantee)
            });
            if found {
                return true;
            }
            at = object.holder();
        }
        self.owns(object)
    }

    /// Returns the columns of a table on which it has a privilege; `None` if there are none.
    pub fn columns(&self, privilege: Privilege, table: &Object) -> Option<Columns> {
        if self.may(privilege, table) {
            return Some(Columns::All);
        }
        let columns = self
            .rules
            .grants_on(table)
            .filter(|(grant, _)| grant.privilege == privilege && self.is_meant(&grant.grantee))
            .filter_map(|(grant, _)| grant.column.clone())
            .collect::<BTreeSet<_>>();
        (!columns.is_empty()).then_some(Columns::Some(columns))
    }

    /// Returns whether an object shows to it: in lists, in errors, in hints. What does not show is as if it were not there.
    pub fn sees(&self, object: &Object) -> bool {
        if self.owns(object) {
            return true;
        }
        if let Some(holder) = object.holder()
            && !self.sees(&holder)
        {
            return false;
        }
        let is_leaf =
            object.spec().is_some_and(|kind| !kind.privileges.contains(&Privilege::Usage));
        match is_leaf {
            // Any privilege will do: one cannot work with a table one does not see.
            true => {
                let kind_has = |privilege| {
                    object.spec().is_some_and(|kind| kind.privileges.contains(&privilege))
                };
                self.reads_all(Privilege::Select)
                    || self.may(Privilege::Execute, object)
                    || self.granted(object, |privilege, _| kind_has(privilege))
            }
            // What is in it may be worked with.
            false => {
                self.may(Privilege::Usage, object)
                    || self.granted(object, |privilege, _| privilege.flows_down())
            }
        }
    }

    /// Returns whether it sees what a pipeline or a model is made of: the text of its statements, what became of them, and their
    /// errors, which may quote values. Whoever may run it does not for that.
    pub fn looks_into(&self, object: &Object) -> bool {
        self.owns(object) || self.has_role("pg_monitor")
    }

    /// Returns whether a table shows to it by its full name, and the column of that may be read.
    pub fn sees_named(&self, table: &str, column: Option<&str>) -> bool {
        let Some(path) = crate::session::name_parts(table).filter(|path| path.len() == 3) else {
            return false;
        };
        let object = Object { kind: "table", path };
        let may_read = |column: &str| match self.columns(Privilege::Select, &object) {
            Some(Columns::All) => true,
            Some(Columns::Some(columns)) => columns.contains(column),
            None => false,
        };
        self.sees(&object) && column.is_none_or(may_read)
    }

    /// Returns whether a column of a table shows to it, if it is there at all: whether it may do something with it.
    pub fn sees_column(&self, table: &Object, column: &str) -> bool {
        let privileges =
            [Privilege::Select, Privilege::Insert, Privilege::Update, Privilege::References];
        privileges.into_iter().any(|privilege| match self.columns(privilege, table) {
            Some(Columns::All) => true,
            Some(Columns::Some(columns)) => columns.contains(column),
            None => false,
        })
    }

    /// Returns whether it may cancel what a user runs, or end the user's sessions.
    pub fn may_signal(&self, user: &str) -> bool {
        let of_superuser = self.rules.is_superuser(user);
        self.has_role(user) || (self.has_role("pg_signal_backend") && !of_superuser)
    }

    /// # Errors
    /// 42501 `permission denied for table x`.
    pub fn require(&self, privilege: Privilege, object: &Object) -> Result<()> {
        if self.may(privilege, object) { Ok(()) } else { Err(self.denied(privilege, object)) }
    }

    /// # Errors
    /// 42501 `must be owner of table x`.
    pub fn require_owner(&self, object: &Object) -> Result<()> {
        if self.owns(object) {
            return Ok(());
        }
        Err(Error::new(ErrorKind::NotAllowed, format!("must be owner of {object}")))
    }

    /// # Errors
    /// 42501 with `what` it is that only a superuser does.
    pub fn require_superuser(&self, what: &str) -> Result<()> {
        if self.is_superuser {
            return Ok(());
        }
        Err(Error::new(ErrorKind::NotAllowed, format!("must be superuser to {what}")))
    }

    /// # Errors
    /// 42501 if the role may not make catalogs.
    pub fn require_create_catalog(&self) -> Result<()> {
        let may = self.rules.roles.get(&self.role).is_some_and(|role| role.create_catalog);
        if self.is_superuser || may {
            return Ok(());
        }
        Err(Error::new(ErrorKind::NotAllowed, "permission denied to create catalog")
            .with_hint(format!("A superuser says: ALTER ROLE {} CREATECATALOG.", self.role)))
    }

    /// Makes the error for a privilege that is missing on an object that shows.
    pub fn denied(&self, privilege: Privilege, object: &Object) -> Error {
        let grant = format!(
            "GRANT {} ON {} {} TO {}",
            privilege.word(),
            object.kind.to_uppercase(),
            object.name(),
            maru_core::quote_ident(&self.role)
        );
        Error::new(ErrorKind::NotAllowed, format!("permission denied for {object}"))
            .with_hint(format!("Its owner says: {grant}."))
    }

    /// Returns whether a grant to `grantee` is one to this role.
    pub(super) fn is_meant(&self, grantee: &Option<String>) -> bool {
        grantee.as_ref().is_none_or(|role| self.powers.contains(role))
    }

    fn reads_all(&self, privilege: Privilege) -> bool {
        matches!(privilege, Privilege::Select | Privilege::Usage)
            && self.powers.contains("pg_read_all_data")
    }

    /// Looks for a grant on an object or on what holds it.
    fn granted(&self, object: &Object, is: impl Fn(Privilege, Option<&str>) -> bool) -> bool {
        let mut at = Some(object.clone());
        let mut inner = true;
        while let Some(object) = at {
            let found = self.rules.grants_on(&object).any(|(grant, _)| {
                (inner || grant.privilege.flows_down())
                    && is(grant.privilege, grant.column.as_deref())
                    && self.is_meant(&grant.grantee)
            });
            if found {
                return true;
            }
            inner = false;
            at = object.holder();
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::super::rules::{Grant, Membership, Role};
    use super::*;

    fn rules() -> Rules {
        let mut rules = Rules::default();
        for name in ["maru", "owner", "analyst", "kim", "lee"] {
            rules.roles.insert(name.to_owned(), Role::default());
        }
        rules.members.insert(
            ("analyst".to_owned(), "kim".to_owned()),
            Membership { admin: false, inherit: true, grantor: "maru".to_owned() },
        );
        rules
    }

    fn grant(rules: &mut Rules, privilege: Privilege, object: Object, grantee: Option<&str>) {
        let grant = Grant {
            object,
            column: None,
            privilege,
            grantee: grantee.map(str::to_owned),
            grantor: "maru".to_owned(),
        };
        rules.grants.insert(grant, false);
    }

    fn rights(rules: &Rules, role: &str) -> Rights {
        Rights::new(Arc::new(rules.clone()), role)
    }

    #[test]
    fn nothing_is_allowed_that_was_not_granted() {
        let rules = rules();
        let table = Object::table("crm", "public", "t");
        let kim = rights(&rules, "kim");
        assert!(!kim.sees(&table) && !kim.owns(&table));
        assert_eq!(kim.columns(Privilege::Select, &table), None);
        assert!(!kim.sees(&Object::catalog("crm")));
        assert!(kim.may(Privilege::Execute, &Object::function("abs")));
    }

    #[test]
    fn privileges_come_from_memberships_and_hold_below() {
        let mut rules = rules();
        let table = Object::table("crm", "public", "t");
        grant(&mut rules, Privilege::Usage, Object::catalog("crm"), Some("analyst"));
        assert!(rights(&rules, "kim").sees(&Object::catalog("crm")));
        assert!(!rights(&rules, "kim").sees(&Object::schema("crm", "public")));
        grant(&mut rules, Privilege::Select, Object::schema("crm", "public"), Some("analyst"));
        assert!(rights(&rules, "kim").sees(&table));
        assert!(rights(&rules, "kim").may(Privilege::Select, &table));
        assert!(!rights(&rules, "lee").may(Privilege::Select, &table));
        let other = Object::table("crm", "hidden", "t");
        assert!(!rights(&rules, "kim").may(Privilege::Select, &other));
        // Making schemas in a catalog does not mean making tables in the schemas of others.
        grant(&mut rules, Privilege::Create, Object::catalog("crm"), Some("analyst"));
        assert!(!rights(&rules, "kim").may(Privilege::Create, &Object::schema("crm", "public")));
    }

    #[test]
    fn a_membership_without_inherit_gives_nothing_by_itself() {
        let mut rules = rules();
        grant(&mut rules, Privilege::Usage, Object::catalog("crm"), Some("analyst"));
        if let Some(membership) = rules.members.values_mut().next() {
            membership.inherit = false;
        }
        assert!(!rights(&rules, "kim").sees(&Object::catalog("crm")));
        assert!(rules.memberships("kim").contains("analyst"));
    }

    #[test]
    fn a_grant_on_columns_is_no_grant_on_the_table() {
        let mut rules = rules();
        let table = Object::table("crm", "public", "t");
        grant(&mut rules, Privilege::Usage, Object::catalog("crm"), None);
        grant(&mut rules, Privilege::Usage, Object::schema("crm", "public"), None);
        let column = Grant {
            object: table.clone(),
            column: Some("a".to_owned()),
            privilege: Privilege::Select,
            grantee: Some("lee".to_owned()),
            grantor: "maru".to_owned(),
        };
        rules.grants.insert(column, false);
        let lee = rights(&rules, "lee");
        assert!(lee.sees(&table) && !lee.may(Privilege::Select, &table));
        let columns = BTreeSet::from(["a".to_owned()]);
        assert_eq!(lee.columns(Privilege::Select, &table), Some(Columns::Some(columns)));
    }

    #[test]
    fn who_owns_a_schema_owns_what_is_in_it() {
        let mut rules = rules();
        rules.owners.insert(Object::schema("maru", "demo"), "owner".to_owned());
        let owner = rights(&rules, "owner");
        assert!(owner.owns(&Object::table("maru", "demo", "t")));
        assert!(!owner.owns(&Object::table("maru", "public", "t")));
        assert!(!owner.owns(&Object::catalog("maru")));
    }
}
