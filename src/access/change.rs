//! How roles and privileges change. Each function checks that `actor` may, then changes the rules or leaves them alone.

use maru_core::{Error, ErrorKind, Result};

use super::kinds::{Kind, Object, Privilege};
use super::rights::Rights;
use super::rules::{DefaultGrant, Grant, Membership, PREDEFINED, Rules};

/// Privileges on one object for some roles.
#[derive(Debug, Clone)]
pub struct Granting {
    pub object: Object,
    /// With the column, where it is for one.
    pub privileges: Vec<(Privilege, Option<String>)>,
    /// `None`: everyone.
    pub grantees: Vec<Option<String>>,
    pub option: bool,
}

impl Rules {
    /// # Errors
    /// 42501 if the actor neither owns the object nor may grant it on.
    pub fn grant(&mut self, actor: &Rights, granting: &Granting) -> Result<()> {
        for (privilege, column) in &granting.privileges {
            let grantor = self.grantor(actor, &granting.object, *privilege)?;
            for grantee in &granting.grantees {
                if granting.option && grantee.is_none() {
                    return Err(Error::new(
                        ErrorKind::InvalidStatement,
                        "grant options can only be granted to roles",
                    ));
                }
                let grant = Grant {
                    object: granting.object.clone(),
                    column: column.clone(),
                    privilege: *privilege,
                    grantee: grantee.clone(),
                    grantor: grantor.clone(),
                };
                let option = self.grants.entry(grant).or_default();
                *option |= granting.option;
                if grantee.is_none() && gives_to_public(&granting.object, *privilege) {
                    self.closed.remove(&granting.object);
                }
            }
        }
        Ok(())
    }

    /// Takes privileges, or with `granting.option` only the option to grant them on. The owner takes what anyone has
    /// granted, others what they have.
    ///
    /// # Errors
    /// 2BP01 if others have it through a role that loses the option, unless `cascade`.
    pub fn revoke(&mut self, actor: &Rights, granting: &Granting, cascade: bool) -> Result<()> {
        let owns = actor.owns(&granting.object);
        if !owns {
            for (privilege, _) in &granting.privileges {
                self.grantor(actor, &granting.object, *privilege)?;
            }
        }
        for (privilege, column) in &granting.privileges {
            for grantee in &granting.grantees {
                let gone = self
                    .grants_on(&granting.object)
                    .map(|(grant, _)| grant.clone())
                    .filter(|grant| {
                        let of_actor = owns || actor.has_role(&grant.grantor);
                        // Taking a privilege on the table takes it on its columns too.
                        let column_meant = column.is_none() || grant.column == *column;
                        grant.privilege == *privilege
                            && grant.grantee == *grantee
                            && of_actor
                            && column_meant
                    })
                    .collect::<Vec<_>>();
                for grant in gone {
                    self.take(&grant, granting.option, cascade)?;
                }
                if grantee.is_none() && gives_to_public(&granting.object, *privilege) {
                    self.closed.insert(granting.object.clone());
                }
            }
        }
        Ok(())
    }

    fn take(&mut self, grant: &Grant, only_option: bool, cascade: bool) -> Result<()> {
        let had_option = match only_option {
            true => self.grants.get_mut(grant).is_some_and(std::mem::take),
            false => self.grants.remove(grant).unwrap_or_default(),
        };
        let Some(role) = grant.grantee.clone().filter(|_| had_option) else { return Ok(()) };
        // Somebody else may have given the role the same option.
        let still = self.grants_on(&grant.object).any(|(other, option)| {
            option && other.privilege == grant.privilege && other.grantee.as_ref() == Some(&role)
        });
        if still {
            return Ok(());
        }
        let dependent = self
            .grants_on(&grant.object)
            .map(|(other, _)| other.clone())
            .filter(|other| other.privilege == grant.privilege && other.grantor == role)
            .collect::<Vec<_>>();
        if !dependent.is_empty() && !cascade {
            return Err(Error::new(ErrorKind::DependentObjects, "dependent privileges exist")
                .with_detail(format!("Role \"{role}\" has granted them on."))
                .with_hint("Use CASCADE to revoke them too."));
        }
        dependent.iter().try_for_each(|other| self.take(other, false, cascade))
    }

    /// Returns in whose name the actor grants: the owner's, or that of a role with the option.
    fn grantor(&self, actor: &Rights, object: &Object, privilege: Privilege) -> Result<String> {
        if actor.owns(object) {
            return Ok(self.owner(object).to_owned());
        }
        let mut at = Some(object.clone());
        while let Some(object) = at {
            let found = self.grants_on(&object).find_map(|(grant, option)| {
                let role = grant.grantee.as_ref()?;
                let fits = option && grant.privilege == privilege && grant.column.is_none();
                (fits && actor.has_role(role)).then(|| role.clone())
            });
            if let Some(role) = found {
                return Ok(role);
            }
            at = object.holder();
        }
        Err(Error::new(ErrorKind::NotAllowed, format!("permission denied for {object}"))
            .with_detail(format!("It takes {} WITH GRANT OPTION.", privilege.word())))
    }

    /// Makes `member` a member of `role`.
    ///
    /// # Errors
    /// 42501 without the admin option, 0LP01 for a circle.
    pub fn add_member(
        &mut self,
        actor: &Rights,
        role: &str,
        member: &str,
        admin: Option<bool>,
        inherit: Option<bool>,
    ) -> Result<()> {
        self.require_admin(actor, role)?;
        let default_inherit = self.role(member)?.inherit;
        if self.memberships(role).contains(member) {
            return Err(Error::new(
                ErrorKind::InvalidGrant,
                format!("role \"{member}\" is a member of role \"{role}\""),
            )
            .with_detail("A role cannot be a member of itself, through others either."));
        }
        let key = (role.to_owned(), member.to_owned());
        let membership = self.members.entry(key).or_insert_with(|| Membership {
            admin: false,
            inherit: default_inherit,
            grantor: actor.role().to_owned(),
        });
        membership.admin = admin.unwrap_or(membership.admin);
        membership.inherit = inherit.unwrap_or(membership.inherit);
        Ok(())
    }

    /// Ends a membership, or takes its admin option alone. Returns whether there was one.
    ///
    /// # Errors
    /// 42501 without the admin option.
    pub fn remove_member(
        &mut self,
        actor: &Rights,
        role: &str,
        member: &str,
        only_admin: bool,
    ) -> Result<bool> {
        self.require_admin(actor, role)?;
        self.role(member)?;
        let key = (role.to_owned(), member.to_owned());
        if only_admin {
            return Ok(self.members.get_mut(&key).map(|m| m.admin = false).is_some());
        }
        Ok(self.members.remove(&key).is_some())
    }

    fn require_admin(&self, actor: &Rights, role: &str) -> Result<()> {
        self.role(role)?;
        if self.is_superuser(role) {
            actor.require_superuser("make members of a superuser")?;
        }
        if actor.is_superuser() || self.administers(actor.role(), role) {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::NotAllowed,
            format!("permission denied to grant role \"{role}\""),
        )
        .with_detail(format!("It takes the ADMIN option on role \"{role}\".")))
    }

    /// Removes a role that nothing depends on.
    ///
    /// # Errors
    /// 2BP01 with what it owns and has been granted.
    pub fn drop_role(&mut self, name: &str) -> Result<()> {
        self.role(name)?;
        let owned = self.owners.iter().filter(|(_, owner)| *owner == name);
        let mut uses = owned
            .map(|(object, _)| format!("owner of {} {}", object.kind, object.name()))
            .collect::<Vec<_>>();
        for grant in self.grants.keys() {
            if grant.grantee.as_deref() == Some(name) || grant.grantor == name {
                uses.push(format!("privileges for {} {}", grant.object.kind, grant.object.name()));
            }
        }
        for default in self.defaults.keys() {
            if default.creator == name || default.grantee.as_deref() == Some(name) {
                uses.push(format!("default privileges on {}", default.kind));
            }
        }
        for ((table, policy), _) in self
            .policies
            .iter()
            .filter(|(_, policy)| policy.roles.iter().flatten().any(|role| role == name))
        {
            uses.push(format!("target of policy {policy} on {} {}", table.kind, table.name()));
        }
        for (catalog, _) in self.templates.iter().filter(|(_, template)| template.role == name) {
            uses.push(format!("role of catalog template {catalog}"));
        }
        for (group, of) in &self.groups {
            if of.users.contains(name) || of.roles.contains(name) {
                uses.push(format!("named by resource group {group}"));
            }
        }
        uses.dedup();
        if !uses.is_empty() {
            let shown = uses.iter().take(10).cloned().collect::<Vec<_>>().join(", ");
            let more = if uses.len() > 10 {
                format!(" and {} more", uses.len() - 10)
            } else {
                String::new()
            };
            return Err(Error::new(
                ErrorKind::DependentObjects,
                format!("role \"{name}\" cannot be dropped because some objects depend on it"),
            )
            .with_detail(format!("{shown}{more}."))
            .with_hint("REASSIGN OWNED BY and DROP OWNED BY clear the way."));
        }
        self.members.retain(|(role, member), _| role != name && member != name);
        self.attributes.retain(|(role, _), _| role != name);
        self.roles.remove(name);
        Ok(())
    }

    /// Gives all that `roles` own to `to`, or, with `None`, back to the superuser, with all that they have been granted.
    pub fn reassign(&mut self, roles: &[String], to: Option<&str>) {
        let is_one = |name: &str| roles.iter().any(|role| role == name);
        match to {
            Some(to) => {
                for owner in self.owners.values_mut().filter(|owner| is_one(owner)) {
                    to.clone_into(owner);
                }
                // What owners granted goes on in the name of the new one.
                self.rename_grantor(&is_one, to);
            }
            None => {
                self.owners.retain(|_, owner| !is_one(owner));
                self.grants.retain(|grant, _| {
                    !grant.grantee.as_deref().is_some_and(is_one) && !is_one(&grant.grantor)
                });
                self.defaults.retain(|default, _| {
                    !is_one(&default.creator) && !default.grantee.as_deref().is_some_and(is_one)
                });
                // A policy without roles is for nobody: it allows nothing, and what restricts goes with them.
                for policy in self.policies.values_mut() {
                    policy.roles.retain(|role| !role.as_deref().is_some_and(is_one));
                }
                self.policies.retain(|_, policy| !policy.roles.is_empty());
            }
        }
    }

    fn rename_grantor(&mut self, is_one: &impl Fn(&str) -> bool, to: &str) {
        for (mut grant, option) in std::mem::take(&mut self.grants) {
            if is_one(&grant.grantor) {
                to.clone_into(&mut grant.grantor);
            }
            *self.grants.entry(grant).or_default() |= option;
        }
    }

    /// Gives a role another name, wherever it stands.
    pub fn rename_role(&mut self, old: &str, new: &str) {
        let renamed = |name: &mut String| {
            if name == old {
                new.clone_into(name);
            }
        };
        if let Some(role) = self.roles.remove(old) {
            self.roles.insert(new.to_owned(), role);
        }
        for ((mut role, mut member), mut membership) in std::mem::take(&mut self.members) {
            renamed(&mut role);
            renamed(&mut member);
            renamed(&mut membership.grantor);
            self.members.insert((role, member), membership);
        }
        self.owners.values_mut().for_each(renamed);
        for (mut grant, option) in std::mem::take(&mut self.grants) {
            renamed(&mut grant.grantor);
            grant.grantee.iter_mut().for_each(renamed);
            self.grants.insert(grant, option);
        }
        for (mut default, option) in std::mem::take(&mut self.defaults) {
            renamed(&mut default.creator);
            default.grantee.iter_mut().for_each(renamed);
            self.defaults.insert(default, option);
        }
        let named = self.policies.values_mut().flat_map(|policy| &mut policy.roles);
        named.flatten().for_each(renamed);
        for ((mut role, attribute), value) in std::mem::take(&mut self.attributes) {
            renamed(&mut role);
            self.attributes.insert((role, attribute), value);
        }
        self.templates.values_mut().for_each(|template| renamed(&mut template.role));
        let named = self.groups.values_mut().flat_map(|group| [&mut group.users, &mut group.roles]);
        for names in named {
            if names.remove(old) {
                names.insert(new.to_owned());
            }
        }
    }

    /// Notes that `creator` makes an object. What was granted on an earlier one of that name is void, and the default
    /// privileges are given.
    pub fn created(&mut self, object: &Object, creator: &str) {
        self.forget(object);
        self.owners.insert(object.clone(), creator.to_owned());
        let defaults = self
            .defaults
            .iter()
            .filter(|(default, _)| {
                default.creator == creator
                    && default.kind == object.kind
                    && default.within.as_ref().is_none_or(|within| object.is_within(within))
            })
            .map(|(default, option)| (default.clone(), *option))
            .collect::<Vec<_>>();
        for (default, option) in defaults {
            let grant = Grant {
                object: object.clone(),
                column: None,
                privilege: default.privilege,
                grantee: default.grantee,
                grantor: creator.to_owned(),
            };
            self.grants.insert(grant, option);
        }
    }

    /// Notes that `by` gives an object other contents, which work with the rights of its owner. Who may do so as the owner of what
    /// holds it, but does not have the rights of its owner, owns it from then on.
    pub fn replaced(&mut self, object: &Object, by: &str) {
        let owner = self.owner(object).to_owned();
        let keeps = self.is_superuser(by) || self.powers(by).contains(&owner);
        let owner = if keeps { owner } else { by.to_owned() };
        self.owners.insert(object.clone(), owner);
    }

    /// Forgets an object and what is in it.
    pub fn forget(&mut self, object: &Object) {
        self.owners.retain(|one, _| !one.is_within(object));
        self.grants.retain(|grant, _| !grant.object.is_within(object));
        self.closed.retain(|one| !one.is_within(object));
        self.defaults.retain(|d, _| d.within.as_ref().is_none_or(|one| !one.is_within(object)));
        self.policies.retain(|(one, _), _| !one.is_within(object));
        self.row_security.retain(|one, _| !one.is_within(object));
        self.masks.retain(|(one, _), _| !one.is_within(object));
    }

    /// Gives an object and what is in it another name; `object` and `new` have as many parts.
    pub fn rename_object(&mut self, object: &Object, new: &Object) {
        let moved = |one: &mut Object| {
            if one.is_within(object) {
                one.path.splice(..object.path.len(), new.path.iter().cloned());
            }
        };
        for (mut one, owner) in std::mem::take(&mut self.owners) {
            moved(&mut one);
            self.owners.insert(one, owner);
        }
        for (mut grant, option) in std::mem::take(&mut self.grants) {
            moved(&mut grant.object);
            self.grants.insert(grant, option);
        }
        for mut one in std::mem::take(&mut self.closed) {
            moved(&mut one);
            self.closed.insert(one);
        }
        for (mut default, option) in std::mem::take(&mut self.defaults) {
            default.within.iter_mut().for_each(moved);
            self.defaults.insert(default, option);
        }
        for ((mut one, name), policy) in std::mem::take(&mut self.policies) {
            moved(&mut one);
            self.policies.insert((one, name), policy);
        }
        for (mut one, security) in std::mem::take(&mut self.row_security) {
            moved(&mut one);
            self.row_security.insert(one, security);
        }
        for ((mut one, column), mask) in std::mem::take(&mut self.masks) {
            moved(&mut one);
            self.masks.insert((one, column), mask);
        }
    }

    /// Gives or takes default privileges of objects that `creator` will make.
    pub fn change_default(&mut self, default: DefaultGrant, given: Option<bool>) {
        match given {
            Some(option) => *self.defaults.entry(default).or_default() |= option,
            None => {
                self.defaults.remove(&default);
            }
        }
    }

    /// Checks the name of a role to be.
    ///
    /// # Errors
    /// 42939 for a reserved name, 42710 for one that is taken.
    pub fn check_new_role(&self, name: &str) -> Result<()> {
        let reserved = ["public", "none", "current_user", "current_role", "session_user"];
        if name.is_empty() || name.contains('@') {
            return Err(Error::new(
                ErrorKind::InvalidParameter,
                format!("a role cannot be named \"{name}\""),
            )
            .with_hint("The name must not be empty nor have an @ in it."));
        }
        if reserved.contains(&name) || (name.starts_with("pg_") && !is_predefined(name)) {
            return Err(Error::new(
                ErrorKind::ReservedName,
                format!("role name \"{name}\" is reserved"),
            ));
        }
        if self.roles.contains_key(name) {
            return Err(Error::new(
                ErrorKind::DuplicateObject,
                format!("role \"{name}\" already exists"),
            ));
        }
        Ok(())
    }
}

/// Returns whether a role is there from the start and stays.
pub fn is_predefined(name: &str) -> bool {
    PREDEFINED.iter().any(|(role, _)| *role == name)
}

fn gives_to_public(object: &Object, privilege: Privilege) -> bool {
    object.spec().is_some_and(|kind: &Kind| kind.of_public.contains(&privilege))
}

#[cfg(test)]
mod tests;
