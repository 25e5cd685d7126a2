//! Resource groups: how much of the engine whose statements may take.

use std::collections::BTreeSet;

use maru_core::{Error, ErrorKind, OptionKind, OptionSpec, Options, Result};
use serde::{Deserialize, Serialize};

use super::rules::Rules;

/// The group of statements that no other group is for. It is there without being made.
pub const DEFAULT_GROUP: &str = "default";

/// Groups within groups at most.
const DEPTH_MAX: usize = 8;

/// A group as created; what is `None` is limited by the group around it alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResourceGroup {
    pub parent: Option<String>,
    /// Statements at once.
    pub concurrency: Option<usize>,
    /// Statements that wait.
    pub queue: Option<usize>,
    /// Bytes that its statements hold together.
    pub memory: Option<u64>,
    /// Milliseconds from admission.
    pub run_time: Option<u64>,
    /// Its share beside the other groups within the same one.
    pub weight: u32,
    /// Of each list that is not empty one has to fit.
    pub users: BTreeSet<String>,
    pub roles: BTreeSet<String>,
    /// `*` stands for anything.
    pub applications: BTreeSet<String>,
    pub comment: Option<String>,
}

/// The options of `WITH (…)`.
pub static GROUP_OPTIONS: &[OptionSpec] = &[
    OptionSpec::new("concurrency", OptionKind::Integer, "Statements that run at once."),
    OptionSpec::new(
        "queue",
        OptionKind::Integer,
        "Statements that wait; one more is refused with 53000.",
    ),
    OptionSpec::new(
        "memory",
        OptionKind::Text,
        "Bytes that its statements hold together, such as 4GB.",
    ),
    OptionSpec::new(
        "run_time",
        OptionKind::Duration,
        "Time after which a statement is cancelled, from its admission on.",
    ),
    OptionSpec::new(
        "weight",
        OptionKind::Integer,
        "Share beside the other groups within the same one.",
    )
    .default("1"),
    OptionSpec::new(
        "parent",
        OptionKind::Text,
        "The group around it, whose limits hold for it too.",
    ),
    OptionSpec::new(
        "users",
        OptionKind::Text,
        "Users whose statements it is for, parted by commas.",
    ),
    OptionSpec::new("roles", OptionKind::Text, "Roles for whose members it is, parted by commas."),
    OptionSpec::new(
        "applications",
        OptionKind::Text,
        "Names of client programs, parted by commas, * for anything.",
    ),
];

impl ResourceGroup {
    /// Reads options.
    ///
    /// # Errors
    /// HV00D and HV024 for names and values, 42704 for a user, role or group that does not exist.
    pub fn from_options(name: &str, written: &[(String, String)], rules: &Rules) -> Result<Self> {
        let owner = format!("resource group \"{name}\"");
        let written = written.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let options = Options::check(&owner, GROUP_OPTIONS, written)?;
        let count = |option: &str, least: i64| match options.integer(option) {
            None => Ok(None),
            Some(n) if n >= least => Ok(usize::try_from(n).ok()),
            Some(n) => Err(invalid(option, &n.to_string(), &format!("Give {least} or more."))),
        };
        let memory = options.text("memory").map(|text| {
            crate::session::bytes(text).ok_or_else(|| {
                invalid("memory", text, "Give bytes, or a number with a unit: kB, MB, GB, TB.")
            })
        });
        let run_time = options.duration("run_time").filter(|time| !time.is_zero());
        let group = Self {
            parent: options.text("parent").map(str::to_owned),
            concurrency: count("concurrency", 1)?,
            queue: count("queue", 0)?,
            memory: memory.transpose()?,
            run_time: run_time.map(|time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX)),
            weight: count("weight", 1)?.and_then(|n| u32::try_from(n).ok()).unwrap_or(1),
            users: list(options.text("users")),
            roles: list(options.text("roles")),
            applications: list(options.text("applications")),
            comment: None,
        };
        group.users.iter().chain(&group.roles).try_for_each(|role| rules.role(role).map(|_| ()))?;
        group.check_parents(name, rules)?;
        Ok(group)
    }

    fn check_parents(&self, name: &str, rules: &Rules) -> Result<()> {
        let mut parent = self.parent.as_deref();
        let mut depth = 1;
        while let Some(at) = parent {
            depth += 1;
            if at == name || depth > DEPTH_MAX {
                return Err(invalid(
                    "parent",
                    at,
                    &format!("A group lies in no circle, and at most {DEPTH_MAX} deep."),
                ));
            }
            parent = rules.group(at)?.parent.as_deref();
        }
        Ok(())
    }

    /// Returns how well it fits a statement: users before programs before roles; `None` if it is not for it.
    fn fit(&self, user: &str, roles: &BTreeSet<String>, application: &str) -> Option<u32> {
        let by_user = self.users.is_empty() || self.users.contains(user);
        let by_role = self.roles.is_empty() || self.roles.iter().any(|role| roles.contains(role));
        let by_application = self.applications.is_empty()
            || self
                .applications
                .iter()
                .any(|pattern| is_like(&application.to_lowercase(), &pattern.to_lowercase()));
        let score = u32::from(!self.users.is_empty()) * 4
            + u32::from(!self.applications.is_empty()) * 2
            + u32::from(!self.roles.is_empty());
        (by_user && by_role && by_application && score > 0).then_some(score)
    }

    /// Returns the options as they would be written.
    pub fn written(&self) -> Vec<(String, String)> {
        let joined = |set: &BTreeSet<String>| {
            (!set.is_empty()).then(|| set.iter().cloned().collect::<Vec<_>>().join(", "))
        };
        let all = [
            ("concurrency", self.concurrency.map(|n| n.to_string())),
            ("queue", self.queue.map(|n| n.to_string())),
            ("memory", self.memory.map(|n| n.to_string())),
            ("run_time", self.run_time.map(|ms| format!("{ms}ms"))),
            ("weight", Some(self.weight.to_string())),
            ("parent", self.parent.clone()),
            ("users", joined(&self.users)),
            ("roles", joined(&self.roles)),
            ("applications", joined(&self.applications)),
        ];
        let set = all.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
        set.collect()
    }
}

impl Rules {
    /// # Errors
    /// 42704.
    pub fn group(&self, name: &str) -> Result<&ResourceGroup> {
        self.groups.get(name).ok_or_else(|| {
            Error::new(
                ErrorKind::UndefinedObject,
                format!("resource group \"{name}\" does not exist"),
            )
            .with_hint("SHOW RESOURCE GROUPS lists them.")
        })
    }

    /// Returns the group that is for a statement: the one that fits best, of equals the first by name.
    pub fn group_for(&self, user: &str, application: &str) -> &str {
        if self.groups.is_empty() {
            return DEFAULT_GROUP;
        }
        let roles = self.memberships(user);
        let fitting = self
            .groups
            .iter()
            .filter_map(|(name, group)| Some((group.fit(user, &roles, application)?, name)));
        let best = fitting.max_by(|(a, one), (b, other)| a.cmp(b).then(other.cmp(one)));
        best.map_or(DEFAULT_GROUP, |(_, name)| name)
    }
}

fn list(text: Option<&str>) -> BTreeSet<String> {
    let parts = text.into_iter().flat_map(|text| text.split(','));
    parts.map(|part| part.trim().to_owned()).filter(|part| !part.is_empty()).collect()
}

fn is_like(text: &str, pattern: &str) -> bool {
    match pattern.split_once('*') {
        None => text == pattern,
        Some((before, after)) => text.strip_prefix(before).is_some_and(|rest| {
            after.is_empty()
                || rest
                    .char_indices()
                    .map(|(at, _)| at)
                    .chain([rest.len()])
                    .any(|at| is_like(&rest[at..], after))
        }),
    }
}

fn invalid(option: &str, value: &str, hint: &str) -> Error {
    Error::new(
        ErrorKind::InvalidOption,
        format!("invalid value \"{value}\" for option \"{option}\" of a resource group"),
    )
    .with_hint(hint)
}

#[cfg(test)]
mod tests {
    use super::super::rules::{Membership, Role};
    use super::*;

    fn rules() -> Rules {
        let mut rules = Rules::default();
        for name in ["kim", "lee", "bi"] {
            rules.roles.insert(name.to_owned(), Role::default());
        }
        let membership = Membership { admin: false, inherit: true, grantor: "maru".to_owned() };
        rules.members.insert(("bi".to_owned(), "kim".to_owned()), membership);
        rules
    }

    fn add(rules: &mut Rules, name: &str, options: &[(&str, &str)]) -> Result<()> {
        let options = options.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
        let group = ResourceGroup::from_options(name, &options.collect::<Vec<_>>(), rules)?;
        rules.groups.insert(name.to_owned(), group);
        Ok(())
    }

    #[test]
    fn the_group_that_says_most_is_the_one() {
        let mut rules = rules();
        assert_eq!(rules.group_for("kim", ""), DEFAULT_GROUP);
        add(&mut rules, "roles", &[("roles", "bi")]).unwrap();
        add(&mut rules, "around", &[("concurrency", "3")]).unwrap();
        assert_eq!(rules.group_for("kim", "psql"), "roles");
        assert_eq!(rules.group_for("lee", "psql"), DEFAULT_GROUP);
        add(&mut rules, "tools", &[("applications", "*superset*, metabase"), ("parent", "around")])
            .unwrap();
        assert_eq!(rules.group_for("kim", "Apache Superset 6"), "tools");
        assert_eq!(rules.group_for("lee", "metabase 2"), DEFAULT_GROUP);
        add(&mut rules, "users", &[("users", "kim,lee")]).unwrap();
        assert_eq!(rules.group_for("kim", "metabase"), "users");
    }

    #[test]
    fn options_are_checked() {
        let mut rules = rules();
        for (options, sqlstate) in [
            (("concurency", "1"), "HV00D"),
            (("concurrency", "0"), "HV024"),
            (("memory", "much"), "HV024"),
            (("users", "nobody"), "42704"),
            (("parent", "nothing"), "42704"),
            (("parent", "g"), "HV024"),
        ] {
            let error = add(&mut rules, "g", &[options]).unwrap_err();
            assert_eq!(error.sqlstate(), sqlstate, "{options:?}");
        }
        add(&mut rules, "g", &[("memory", "2GB"), ("run_time", "5min"), ("queue", "0")]).unwrap();
        let group = rules.group("g").unwrap();
        assert_eq!(
            (group.memory, group.run_time, group.queue),
            (Some(2 << 30), Some(300_000), Some(0))
        );
        let again = ResourceGroup::from_options("g", &group.written(), &rules).unwrap();
        assert_eq!(&again, group);
    }
}
