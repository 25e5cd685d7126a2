//! Policies: what of a table's rows and values a role sees, and which rows it may write.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::kinds::Object;
use super::rights::Rights;

/// Which rows of a table some roles see and write (PostgreSQL's `CREATE POLICY`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// One of these has to be true; those that are not permissive all have to be.
    pub permissive: bool,
    /// The statements that it is for. Came with 2026-11, as `check` did: those of before let nobody write.
    #[serde(default)]
    pub command: Command,
    /// `None`: everyone.
    pub roles: Vec<Option<String>>,
    /// Rows that are there, as SQL over the table's columns.
    pub using: Option<String>,
    /// New rows, likewise; `None`: those of `using`.
    #[serde(default)]
    pub check: Option<String>,
}

/// The statements that a policy is for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Command {
    All,
    #[default]
    Select,
    Insert,
    Update,
    Delete,
}

impl Command {
    pub fn word(self) -> &'static str {
        match self {
            Self::All => "ALL",
            Self::Select => "SELECT",
            Self::Insert => "INSERT",
            Self::Update => "UPDATE",
            Self::Delete => "DELETE",
        }
    }

    /// Returns the letter of `pg_policy.polcmd`.
    pub fn letter(self) -> &'static str {
        match self {
            Self::All => "*",
            Self::Select => "r",
            Self::Insert => "a",
            Self::Update => "w",
            Self::Delete => "d",
        }
    }
}

/// What of a table a role sees, as SQL over its columns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policies {
    /// Rows for which it is true; `None`: all.
    pub filter: Option<String>,
    /// By column, what is shown in its place.
    pub masks: BTreeMap<String, String>,
}

/// Which rows of a table a role may write, as SQL over its columns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WritePolicies {
    /// Rows that are there and may be changed or deleted.
    pub old: String,
    /// Rows as they may be written.
    pub new: String,
}

impl Rights {
    /// Returns what of a table's rows and values the role sees; `None` if all of them.
    pub fn policies(&self, table: &Object) -> Option<Policies> {
        if self.passes_policies() {
            return None;
        }
        let owns = self.owns(table);
        let rules = self.rules();
        let filter = self.has_policies(table).then(|| self.using(table, Command::Select));
        let masks = rules
            .masks
            .range((table.clone(), String::new())..)
            .take_while(|((of, _), _)| of == table && !owns)
            .map(|((_, column), mask)| (column.clone(), mask.clone()))
            .collect::<BTreeMap<_, _>>();
        (filter.is_some() || !masks.is_empty()).then_some(Policies { filter, masks })
    }

    /// Returns which rows of a table the role may write by a statement; `None` if any. Whoever changes or deletes rows reads them, so
    /// they and what they become have to show as well.
    pub fn write_policies(&self, table: &Object, command: Command) -> Option<WritePolicies> {
        if self.passes_policies() || !self.has_policies(table) {
            return None;
        }
        let both = |one: String, other: String| format!("({one}) AND ({other})");
        let new = self
            .joined(table, command, |policy| policy.check.as_deref().or(policy.using.as_deref()));
        Some(match command {
            Command::Insert => WritePolicies { old: "FALSE".to_owned(), new },
            _ => {
                let seen = self.using(table, Command::Select);
                let old = both(seen.clone(), self.using(table, command));
                WritePolicies { old, new: both(new, seen) }
            }
        })
    }

    fn passes_policies(&self) -> bool {
        let role = self.rules().roles.get(self.role());
        self.is_superuser() || role.is_some_and(|role| role.bypass_rls)
    }

    /// Returns whether policies are in force for the role, some or none.
    fn has_policies(&self, table: &Object) -> bool {
        let security = self.rules().row_security.get(table);
        security.is_some_and(|security| security.forced || !self.owns(table))
    }

    fn using(&self, table: &Object, command: Command) -> String {
        self.joined(table, command, |policy| policy.using.as_deref())
    }

    /// Joins the conditions of the policies for a statement.
    fn joined<'a>(
        &'a self,
        table: &Object,
        command: Command,
        condition: impl Fn(&'a Policy) -> Option<&'a str>,
    ) -> String {
        let mine = self
            .rules()
            .policies
            .range((table.clone(), String::new())..)
            .take_while(|((of, _), _)| of == table)
            .map(|(_, policy)| policy)
            .filter(|policy| policy.command == Command::All || policy.command == command)
            .filter(|policy| policy.roles.iter().any(|role| self.is_meant(role)));
        let (permissive, restrictive): (Vec<_>, Vec<_>) =
            mine.partition(|policy| policy.permissive);
        // As in PostgreSQL, one without a condition neither allows nor forbids anything.
        let within =
            |policy: &&'a Policy| condition(policy).map(|condition| format!("({condition})"));
        let any = permissive.iter().filter_map(within).collect::<Vec<_>>();
        // Without a policy that allows something there is nothing to see.
        let any = if any.is_empty() { "FALSE".to_owned() } else { any.join(" OR ") };
        let all = restrictive.iter().filter_map(within);
        std::iter::once(format!("({any})")).chain(all).collect::<Vec<_>>().join(" AND ")
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::access::{Role, RowSecurity, Rules};

    fn rules() -> (Rules, Object) {
        let mut rules = Rules::default();
        for name in ["kim", "lee"] {
            rules.roles.insert(name.to_owned(), Role::default());
        }
        (rules, Object::table("maru", "public", "t"))
    }

    fn add(rules: &mut Rules, table: &Object, name: &str, policy: Policy) {
        rules.policies.insert((table.clone(), name.to_owned()), policy);
    }

    fn policy(command: Command, using: Option<&str>, check: Option<&str>) -> Policy {
        Policy {
            permissive: true,
            command,
            roles: vec![None],
            using: using.map(str::to_owned),
            check: check.map(str::to_owned),
        }
    }

    #[test]
    fn policies_add_up_as_in_postgresql() {
        let (mut rules, table) = rules();
        let rights = |rules: &Rules, role: &str| Rights::new(Arc::new(rules.clone()), role);
        assert_eq!(rights(&rules, "kim").policies(&table), None);
        rules.row_security.insert(table.clone(), RowSecurity { forced: false });
        let filter = |rules: &Rules, role: &str| {
            rights(rules, role).policies(&table).and_then(|policies| policies.filter)
        };
        assert_eq!(filter(&rules, "kim").as_deref(), Some("(FALSE)"));
        for (name, permissive, role, using) in [
            ("a", true, Some("kim"), "x = 1"),
            ("b", true, None, "x = 2"),
            ("c", false, None, "y"),
            ("d", true, Some("lee"), "z"),
        ] {
            let roles = vec![role.map(str::to_owned)];
            let policy = Policy { permissive, roles, ..policy(Command::All, Some(using), None) };
            add(&mut rules, &table, name, policy);
        }
        assert_eq!(filter(&rules, "kim").as_deref(), Some("((x = 1) OR (x = 2)) AND (y)"));
        assert_eq!(filter(&rules, "lee").as_deref(), Some("((x = 2) OR (z)) AND (y)"));
        rules.owners.insert(table.clone(), "kim".to_owned());
        assert_eq!(filter(&rules, "kim"), None);
        rules.row_security.insert(table.clone(), RowSecurity { forced: true });
        assert!(filter(&rules, "kim").is_some());
        let other = Object::table("maru", "public", "u");
        assert_eq!(rights(&rules, "kim").policies(&other), None);
    }

    #[test]
    fn each_statement_has_its_policies() {
        let (mut rules, table) = rules();
        rules.row_security.insert(table.clone(), RowSecurity { forced: false });
        add(&mut rules, &table, "a", policy(Command::Select, Some("s"), None));
        add(&mut rules, &table, "b", policy(Command::Insert, None, Some("i")));
        add(&mut rules, &table, "c", policy(Command::Update, Some("u"), Some("v")));
        let rights = Rights::new(Arc::new(rules.clone()), "kim");
        let seen = rights.policies(&table).and_then(|policies| policies.filter);
        assert_eq!(seen.as_deref(), Some("((s))"));
        let written = |command| rights.write_policies(&table, command).unwrap();
        assert_eq!(written(Command::Insert).new, "((i))");
        assert_eq!(written(Command::Update).old, "(((s))) AND (((u)))");
        assert_eq!(written(Command::Update).new, "(((v))) AND (((s)))");
        assert_eq!(written(Command::Delete).old, "(((s))) AND ((FALSE))");
        // What is for all statements is for each, and USING stands for WITH CHECK where there is none.
        add(&mut rules, &table, "d", policy(Command::All, Some("x"), None));
        let rights = Rights::new(Arc::new(rules), "kim");
        let written = rights.write_policies(&table, Command::Insert).unwrap();
        assert_eq!(written.new, "((i) OR (x))");
    }

    #[test]
    fn policies_of_before_are_read() {
        let text = r#"{"permissive":true,"roles":[null],"using":"x"}"#;
        let read: Policy = serde_json::from_str(text).unwrap();
        assert_eq!(read, policy(Command::Select, Some("x"), None));
    }
}
