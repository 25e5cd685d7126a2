//! `CHECK` and `DEFAULT` as the log keeps them: properties of the table.
//!
//! A condition is `delta.constraints.<name>`, to which every engine keeps that writes the table. Its words are Maru's, and in those of
//! another engine they may mean something else. So it stands once more under a name of Maru's own, and a table with a condition
//! that does not is not written. Defaults are properties of Maru alone: what others write has NULL there.

use std::collections::BTreeMap;

use maru_connect::NewTable;
use maru_core::{Error, ErrorKind, Result};

use super::action::Metadata;

const CHECK: &str = "delta.constraints.";
const OWN_CHECK: &str = "maru.constraints.";
const DEFAULT: &str = "maru.defaults.";

/// Properties of a table, by name.
pub(super) type Properties = BTreeMap<String, Option<String>>;

/// Returns the conditions by name, in its order.
pub(super) fn checks(metadata: &Metadata) -> Vec<(String, String)> {
    below(&metadata.configuration, CHECK)
}

/// Returns columns with what they hold where a row is given no value for them.
pub(super) fn defaults(metadata: &Metadata) -> Vec<(String, String)> {
    below(&metadata.configuration, DEFAULT)
}

/// Returns whether a condition is not one of Maru's.
pub(super) fn has_foreign(metadata: &Metadata) -> bool {
    let own = below(&metadata.configuration, OWN_CHECK);
    let n_all = metadata.configuration.keys().filter(|key| key.starts_with(CHECK)).count();
    let known = checks(metadata);
    n_all > known.len() || known.iter().any(|check| !own.contains(check))
}

fn below(properties: &Properties, prefix: &str) -> Vec<(String, String)> {
    let found = properties
        .iter()
        .filter_map(|(key, value)| Some((key.strip_prefix(prefix)?.to_owned(), value.clone()?)));
    found.collect()
}

/// Returns the properties of a new table.
pub(super) fn of_new(new: &NewTable) -> Properties {
    let mut properties = Properties::new();
    for (name, condition) in &new.checks {
        add_check(&mut properties, name, condition);
    }
    for (column, value) in &new.defaults {
        set_default(&mut properties, column, Some(value));
    }
    properties
}

pub(super) fn add_check(properties: &mut Properties, name: &str, condition: &str) {
    for prefix in [CHECK, OWN_CHECK] {
        properties.insert(format!("{prefix}{name}"), Some(condition.to_owned()));
    }
}

pub(super) fn drop_check(properties: &mut Properties, name: &str) {
    for prefix in [CHECK, OWN_CHECK] {
        properties.remove(&format!("{prefix}{name}"));
    }
}

pub(super) fn set_default(properties: &mut Properties, column: &str, value: Option<&String>) {
    let key = format!("{DEFAULT}{column}");
    match value {
        Some(value) => properties.insert(key, Some(value.clone())),
        None => properties.remove(&key),
    };
}

/// Checks that rows were looked at by the conditions that the table has by now.
///
/// # Errors
/// 40001
pub(super) fn require_kept(
    relation: &str,
    metadata: &Metadata,
    kept: &[(String, String)],
) -> Result<()> {
    if checks(metadata) == kept {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::Serialization,
        format!("constraints of table \"{relation}\" were changed while it was written"),
    )
    .with_hint("Run the statement again."))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metadata(properties: &Properties) -> Metadata {
        let metadata = serde_json::json!({
            "schemaString": "", "partitionColumns": [], "configuration": properties,
        });
        serde_json::from_value(metadata).unwrap()
    }

    #[test]
    fn conditions_of_other_engines_are_told_apart() {
        let new = NewTable {
            checks: vec![
                ("b".to_owned(), "x > 1".to_owned()),
                ("a".to_owned(), "x < 9".to_owned()),
            ],
            defaults: vec![("x".to_owned(), "5".to_owned())],
            ..NewTable::default()
        };
        let mut properties = of_new(&new);
        let table = metadata(&properties);
        let names = checks(&table).into_iter().map(|(name, _)| name).collect::<Vec<_>>();
        assert_eq!(names, ["a", "b"]);
        assert_eq!(defaults(&table), new.defaults);
        assert!(!has_foreign(&table));
        assert!(require_kept("t", &table, &checks(&table)).is_ok());
        let error = require_kept("t", &table, &[]).unwrap_err();
        assert_eq!(error.sqlstate(), "40001");

        properties.insert("delta.constraints.c".to_owned(), Some("x / 2 > 1".to_owned()));
        assert!(has_foreign(&metadata(&properties)));
        drop_check(&mut properties, "c");
        properties.insert("delta.constraints.a".to_owned(), Some("x < 10".to_owned()));
        assert!(has_foreign(&metadata(&properties)));
        drop_check(&mut properties, "a");
        set_default(&mut properties, "x", None);
        assert!(!has_foreign(&metadata(&properties)));
        assert!(defaults(&metadata(&properties)).is_empty());
    }
}
