//! `system.catalog_templates`, `template_catalogs`, `role_attributes`.

use futures::FutureExt;

use super::ColumnKind::{Text, Timestamp};
use super::access_tables::no_time;
use super::{TableSpec, text, text_or_null, timestamp};
use crate::access::Object;
use crate::engine::history::micros;

pub(super) static CATALOG_TEMPLATES: TableSpec = TableSpec {
    name: "catalog_templates",
    doc: "Templates of catalogs; options show to the owner alone.",
    columns: &[
        ("name", Text),
        ("role", Text),
        ("connector", Text),
        ("options", Text),
        ("allow", Text),
        ("owner", Text),
        ("comment", Text),
    ],
    rows: |session, _| {
        async {
            let rights = session.rights();
            let rules = rights.rules();
            let shown =
                rules.templates.iter().filter(|(name, _)| rights.sees(&Object::catalog(name)));
            Ok(shown
                .map(|(name, template)| {
                    let object = Object::catalog(name);
                    let owns = rights.owns(&object);
                    let secret =
                        |option: &str| super::object_tables::is_secret(&template.connector, option);
                    let options = template.options.iter().map(|(option, value)| {
                        let value = if secret(option) { "********" } else { value.reveal() };
                        format!("{option} = {}", maru_core::quote_literal(value))
                    });
                    let options = options.collect::<Vec<_>>().join(", ");
                    let allow = template.allow.iter().map(|(name, patterns)| {
                        format!("{name} = {}", maru_core::quote_literal(patterns))
                    });
                    let allow = allow.collect::<Vec<_>>().join(", ");
                    vec![
                        text(name.as_str()),
                        text(template.role.as_str()),
                        text(template.connector.as_str()),
                        text_or_null(owns.then_some(options)),
                        text_or_null(owns.then_some(allow)),
                        text(rules.owner(&object)),
                        text_or_null(template.comment.clone()),
                    ]
                })
                .collect())
        }
        .boxed()
    },
};

pub(super) static TEMPLATE_CATALOGS: TableSpec = TableSpec {
    name: "template_catalogs",
    doc: "The catalogs that users have from templates and how they stand; one's own, or all for members of pg_monitor.",
    columns: &[("name", Text), ("user_name", Text), ("state", Text), ("used_at", Timestamp)],
    rows: |session, _| {
        async {
            let rights = session.rights();
            let all = rights.has_role("pg_monitor");
            let states =
                session.catalogs().own_states(rights.rules(), |user| all || rights.has_role(user));
            Ok(states
                .into_iter()
                .map(|own| {
                    vec![
                        text(own.template),
                        text(own.user),
                        text(own.state),
                        own.used_at.map_or_else(no_time, |at| timestamp(micros(at))),
                    ]
                })
                .collect())
        }
        .boxed()
    },
};

pub(super) static ROLE_ATTRIBUTES: TableSpec = TableSpec {
    name: "role_attributes",
    doc: "Attributes of roles that one is a member of; superusers see all.",
    columns: &[("role", Text), ("name", Text), ("value", Text)],
    rows: |session, _| {
        async {
            let rights = session.rights();
            let shown = rights.rules().attributes.iter();
            let shown = shown.filter(|((role, _), _)| rights.has_role(role));
            Ok(shown
                .map(|((role, name), value)| {
                    vec![text(role.as_str()), text(name.as_str()), text(value.as_str())]
                })
                .collect())
        }
        .boxed()
    },
};
