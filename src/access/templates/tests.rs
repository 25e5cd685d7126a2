//! What may take the place of an attribute, and what may not.

use super::super::rules::{Membership, Role};
use super::*;

fn rules(attributes: &[(&str, &str, &str)]) -> Rules {
    let mut rules = Rules::default();
    for name in ["maru", "dhp_user", "team_a", "team_b", "kim", "lee"] {
        rules.roles.insert(name.to_owned(), Role::default());
    }
    for role in ["dhp_user", "team_a"] {
        let membership = Membership { admin: false, inherit: true, grantor: "maru".to_owned() };
        rules.members.insert((role.to_owned(), "kim".to_owned()), membership);
    }
    for (role, name, value) in attributes {
        rules.set_attribute(role, name, Some(value));
    }
    rules
}

fn template(option: &str, allow: &[(&str, &str)]) -> Template {
    Template {
        role: "dhp_user".to_owned(),
        connector: "hive".to_owned(),
        options: BTreeMap::from([("metastore".to_owned(), Secret::new(option))]),
        allow: allow.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
        comment: None,
    }
}

fn filled(template: &Template, rules: &Rules, user: &str) -> Result<String> {
    let options = template.fill("hive", rules, user)?;
    Ok(options["metastore"].reveal().to_owned())
}

#[test]
fn attributes_of_the_user_come_before_those_of_roles() {
    let template = template("thrift://{host}:9083/{user}/{{x}}", &[]);
    let of_role = [("team_a", "host", "a.dhp")];
    assert_eq!(filled(&template, &rules(&of_role), "kim").unwrap(), "thrift://a.dhp:9083/kim/{x}");
    let both = [("team_a", "host", "a.dhp"), ("kim", "host", "k.dhp")];
    assert_eq!(filled(&template, &rules(&both), "kim").unwrap(), "thrift://k.dhp:9083/kim/{x}");
    let error = filled(&template, &rules(&[]), "kim").unwrap_err();
    assert_eq!(error.sqlstate(), "42704");
    assert!(error.hint().unwrap().contains("ALTER ROLE kim SET ATTRIBUTE host"));
    let two = [("team_a", "host", "a.dhp"), ("dhp_user", "host", "b.dhp")];
    assert_eq!(filled(&template, &rules(&two), "kim").unwrap_err().sqlstate(), "22023");
}

#[test]
fn a_value_stays_in_its_place() {
    let plain = template("thrift://{host}.dhp.example.com:9083", &[]);
    for bad in [
        "",
        "a/",
        "evil.com/",
        "evil.com:80",
        "u@evil.com",
        "a,thrift://b",
        "a b",
        "..",
        "a..b",
        ".a",
        "a.",
        "-a",
        "a?b",
        "a#b",
        "a%2f",
        "a\\b",
        "a'b",
        "a;b",
        "a\nb",
        "하",
        "a\u{2024}b",
        "{user}",
    ] {
        let error = filled(&plain, &rules(&[("kim", "host", bad)]), "kim").unwrap_err();
        assert_eq!(error.sqlstate(), "22023", "{bad}");
    }
    assert!(filled(&plain, &rules(&[("kim", "host", "dhp-7_a.b")]), "kim").is_ok());
}

#[test]
fn a_template_allows_what_it_says() {
    let hosts = template("thrift://{host}", &[("host", "*.dhp.local:9083 | 10.0.0.*:*")]);
    for (value, good) in [
        ("kim.dhp.local:9083", true),
        ("10.0.0.7:9084", true),
        ("kim.dhp.local", false),
        ("evil/.dhp.local:9083", false),
        ("kim.dhp.local:9083/x", false),
        ("10.0.0.7:90:84", false),
    ] {
        assert_eq!(
            filled(&hosts, &rules(&[("kim", "host", value)]), "kim").is_ok(),
            good,
            "{value}"
        );
    }
}

#[test]
fn braces_hold_names() {
    for bad in ["{", "}", "{}", "{A}", "{a b}", "{a", "a}", "{a}}"] {
        assert!(Template::attributes_of(bad).is_err(), "{bad}");
    }
    assert_eq!(Template::attributes_of("{{a}}").unwrap(), Vec::<&str>::new());
    assert_eq!(Template::with_all("x{a}y{b_1}", "1").unwrap(), "x1y1");
}

#[test]
fn only_members_have_it() {
    let mut rules = rules(&[]);
    rules.templates.insert("hive".to_owned(), template("x", &[]));
    assert!(rules.template_for("kim", "hive").is_some());
    assert!(rules.template_for("lee", "hive").is_none());
    assert!(rules.template_for("kim", "other").is_none());
}
