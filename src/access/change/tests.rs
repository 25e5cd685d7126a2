//! Grants that go on and end, circles, names that come back, roles with duties.

use std::sync::Arc;

use super::super::rules::Role;
use super::*;

fn rules() -> Rules {
    let mut rules = Rules::default();
    for name in ["maru", "a", "b", "c"] {
        let superuser = name == "maru";
        rules.roles.insert(name.to_owned(), Role { superuser, ..Role::default() });
    }
    rules
}

fn rights(rules: &Rules, role: &str) -> Rights {
    Rights::new(Arc::new(rules.clone()), role)
}

fn select(table: &Object, to: &str, option: bool) -> Granting {
    Granting {
        object: table.clone(),
        privileges: vec![(Privilege::Select, None)],
        grantees: vec![Some(to.to_owned())],
        option,
    }
}

#[test]
fn a_grant_goes_on_with_the_option_and_ends_with_it() {
    let mut rules = rules();
    let table = Object::table("crm", "public", "t");
    let refused = rules.clone().grant(&rights(&rules, "a"), &select(&table, "b", false));
    assert_eq!(refused.unwrap_err().sqlstate(), "42501");
    rules.grant(&rights(&rules.clone(), "maru"), &select(&table, "a", true)).unwrap();
    rules.grant(&rights(&rules.clone(), "a"), &select(&table, "b", false)).unwrap();
    assert!(rights(&rules, "b").may(Privilege::Select, &table));
    let refused = rules.clone().grant(&rights(&rules, "b"), &select(&table, "c", false));
    assert_eq!(refused.unwrap_err().sqlstate(), "42501");
    let maru = rights(&rules, "maru");
    let refused = rules.clone().revoke(&maru, &select(&table, "a", false), false);
    assert_eq!(refused.unwrap_err().sqlstate(), "2BP01");
    rules.revoke(&maru, &select(&table, "a", false), true).unwrap();
    assert!(rules.grants.is_empty());
}

#[test]
fn circles_of_membership_are_refused() {
    let mut rules = rules();
    let maru = rights(&rules, "maru");
    rules.add_member(&maru, "a", "b", None, None).unwrap();
    rules.add_member(&maru, "b", "c", None, None).unwrap();
    for (role, member) in [("a", "a"), ("c", "a"), ("c", "b")] {
        let refused = rules.add_member(&maru, role, member, None, None);
        assert_eq!(refused.unwrap_err().sqlstate(), "0LP01", "{role} {member}");
    }
    let other = rights(&rules, "c");
    let refused = rules.add_member(&other, "a", "c", None, None);
    assert_eq!(refused.unwrap_err().sqlstate(), "42501");
}

#[test]
fn a_new_object_inherits_nothing_from_an_old_one_of_its_name() {
    let mut rules = rules();
    let table = Object::table("maru", "demo", "t");
    let other = Object::table("maru", "demo", "u");
    let maru = rights(&rules, "maru");
    rules.grant(&maru, &select(&table, "a", false)).unwrap();
    rules.grant(&maru, &select(&other, "a", false)).unwrap();
    let default = DefaultGrant {
        creator: "b".to_owned(),
        within: Some(Object::schema("maru", "demo")),
        kind: "table",
        privilege: Privilege::Select,
        grantee: Some("c".to_owned()),
    };
    rules.change_default(default, Some(false));
    rules.created(&table, "b");
    assert_eq!(rules.owner(&table), "b");
    assert!(!rights(&rules, "a").may(Privilege::Select, &table));
    assert!(rights(&rules, "c").may(Privilege::Select, &table));
    assert!(rights(&rules, "a").may(Privilege::Select, &other));
    rules.forget(&Object::schema("maru", "demo"));
    assert!(rules.grants.is_empty() && rules.owners.is_empty() && rules.defaults.is_empty());
}

#[test]
fn who_replaces_what_somebody_else_owns_owns_it() {
    let mut rules = rules();
    let view = Object::table("maru", "demo", "v");
    // Without an owner it was the superuser's, and is told so from then on.
    rules.replaced(&view, "maru");
    assert_eq!(rules.owners.get(&view).map(String::as_str), Some("maru"));
    rules.replaced(&view, "b");
    assert_eq!(rules.owner(&view), "b");
    rules.replaced(&view, "maru");
    assert_eq!(rules.owner(&view), "b");
}

#[test]
fn renaming_takes_everything_along() {
    let mut rules = rules();
    let table = Object::table("crm", "public", "t");
    let maru = rights(&rules, "maru");
    rules.grant(&maru, &select(&table, "a", false)).unwrap();
    rules.rename_object(&Object::catalog("crm"), &Object::catalog("erp"));
    rules.rename_role("a", "z");
    let renamed = Object::table("erp", "public", "t");
    assert!(rights(&rules, "z").may(Privilege::Select, &renamed));
    assert!(!rights(&rules, "a").may(Privilege::Select, &renamed));
    let facts = rules.facts().unwrap();
    let again = Rules::from_facts(&facts).unwrap();
    assert_eq!(again.facts().unwrap(), facts);
    assert_eq!(again.grants, rules.grants);
}

#[test]
fn a_role_with_duties_stays() {
    let mut rules = rules();
    rules.created(&Object::schema("maru", "demo"), "a");
    assert_eq!(rules.drop_role("a").unwrap_err().sqlstate(), "2BP01");
    rules.reassign(&["a".to_owned()], Some("b"));
    assert_eq!(rules.owner(&Object::schema("maru", "demo")), "b");
    rules.drop_role("a").unwrap();
    rules.reassign(&["b".to_owned()], None);
    rules.drop_role("b").unwrap();
    assert_eq!(rules.drop_role("b").unwrap_err().sqlstate(), "42704");
}
