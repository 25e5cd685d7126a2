//! `system.roles`, `role_members`, `privileges`, `privilege_kinds`, `audit`.

use datafusion::common::ScalarValue;
use futures::FutureExt;
use maru_core::Result;

use super::ColumnKind::{Boolean, Integer, Text, Timestamp};
use super::{Row, TableSpec, boolean, integer, text, text_or_null, timestamp};
use crate::access::kinds::KINDS;
use crate::access::{Command, Object, Rights, Role};

pub(super) static ROLES: TableSpec = TableSpec {
    name: "roles",
    doc: "Roles and users; passwords are never shown.",
    columns: &[
        ("name", Text),
        ("superuser", Boolean),
        ("login", Boolean),
        ("inherit", Boolean),
        ("create_role", Boolean),
        ("create_catalog", Boolean),
        ("bypass_rls", Boolean),
        ("connection_limit", Integer),
        ("has_password", Boolean),
        ("valid_until", Timestamp),
        ("comment", Text),
        ("settings", Text),
    ],
    rows: |session, _| {
        async {
            let rights = session.rights();
            Ok(rights
                .rules()
                .roles
                .iter()
                .map(|(name, role)| {
                    vec![
                        text(name.as_str()),
                        boolean(role.superuser),
                        boolean(role.login),
                        boolean(role.inherit),
                        boolean(role.create_role),
                        boolean(role.create_catalog),
                        boolean(role.bypass_rls),
                        integer(i64::from(role.connection_limit)),
                        boolean(role.verifier.is_some()),
                        role.valid_until_us.map_or_else(no_time, timestamp),
                        text_or_null(role.comment.clone()),
                        text_or_null(settings(role)),
                    ]
                })
                .collect())
        }
        .boxed()
    },
};

pub(super) static ROLE_MEMBERS: TableSpec = TableSpec {
    name: "role_members",
    doc: "Which role is a member of which.",
    columns: &[
        ("role", Text),
        ("member", Text),
        ("admin", Boolean),
        ("inherit", Boolean),
        ("grantor", Text),
    ],
    rows: |session, _| {
        async {
            let rights = session.rights();
            let members = rights.rules().members.iter();
            Ok(members
                .map(|((role, member), membership)| {
                    vec![
                        text(role.as_str()),
                        text(member.as_str()),
                        boolean(membership.admin),
                        boolean(membership.inherit),
                        text(membership.grantor.as_str()),
                    ]
                })
                .collect())
        }
        .boxed()
    },
};

pub(super) static PRIVILEGES: TableSpec = TableSpec {
    name: "privileges",
    doc: "What has been granted on objects that show, to whom; a grantee of NULL is everyone.",
    columns: &[
        ("kind", Text),
        ("object", Text),
        ("column", Text),
        ("privilege", Text),
        ("grantee", Text),
        ("grantable", Boolean),
        ("grantor", Text),
        ("owner", Text),
        ("catalog", Text),
        ("schema", Text),
        ("name", Text),
    ],
    rows: |session, _| async { Ok(privileges(&session.rights())) }.boxed(),
};

pub(super) static PRIVILEGE_KINDS: TableSpec = TableSpec {
    name: "privilege_kinds",
    doc: "Which privileges which kind of object has.",
    columns: &[
        ("kind", Text),
        ("privilege", Text),
        ("on_columns", Boolean),
        ("inherited", Boolean),
    ],
    rows: |_, _| {
        async {
            let of_kinds = KINDS.iter().flat_map(|kind| {
                kind.privileges.iter().map(|privilege| {
                    vec![
                        text(kind.word),
                        text(privilege.word()),
                        boolean(kind.of_columns.contains(privilege)),
                        boolean(privilege.flows_down() && kind.word != "table"),
                    ]
                })
            });
            Ok(of_kinds.collect())
        }
        .boxed()
    },
};

pub(super) static POLICIES: TableSpec = TableSpec {
    name: "policies",
    doc: "Policies on rows and masks on columns of tables that one owns; in_force tells of row level security.",
    columns: &[
        ("object", Text),
        ("kind", Text),
        ("name", Text),
        ("roles", Text),
        ("expression", Text),
        ("in_force", Boolean),
        ("command", Text),
        ("check_expression", Text),
        ("catalog", Text),
        ("schema", Text),
        ("table", Text),
    ],
    rows: |session, _| async { Ok(policies(&session.rights())) }.boxed(),
};

pub(super) static AUDIT: TableSpec = TableSpec {
    name: "audit",
    doc: "Logins, refusals, changes of objects and rights, the newest first; for superusers and members of pg_monitor.",
    columns: &[
        ("at", Timestamp),
        ("event", Text),
        ("user_name", Text),
        ("role_name", Text),
        ("protocol", Text),
        ("client_address", Text),
        ("session_id", Integer),
        ("sql", Text),
        ("sqlstate", Text),
        ("message", Text),
    ],
    rows: |session, _| {
        async {
            if !session.rights().has_role("pg_monitor") {
                return Ok(Vec::new());
            }
            let past = session.engine().inner.audit.past().await?;
            Ok(past
                .into_iter()
                .map(|event| {
                    vec![
                        timestamp(event.at_us),
                        text(event.event),
                        text(event.user_name),
                        text_or_null(event.role_name),
                        text(event.protocol),
                        text_or_null(event.client_address),
                        ScalarValue::Int64(event.session_id),
                        text_or_null(event.sql),
                        text_or_null(event.sqlstate),
                        text_or_null(event.message),
                    ]
                })
                .collect::<Vec<Row>>())
        }
        .map(|rows: Result<_>| rows)
        .boxed()
    },
};

fn policies(rights: &Rights) -> Vec<Row> {
    let rules = rights.rules();
    let policies = rules.policies.iter().filter(|((table, _), _)| rights.owns(table));
    let masks = rules.masks.iter().filter(|((table, _), _)| rights.owns(table));
    let part = |table: &Object, at: usize| text_or_null(table.path.get(at).cloned());
    let policies = policies.map(|((table, name), policy)| {
        let roles = policy.roles.iter().map(|role| role.as_deref().unwrap_or("PUBLIC"));
        vec![
            text(table.name()),
            text(if policy.permissive { "permissive" } else { "restrictive" }),
            text(name.as_str()),
            text(roles.collect::<Vec<_>>().join(", ")),
            text_or_null(policy.using.clone()),
            boolean(rules.row_security.contains_key(table)),
            text(policy.command.word()),
            text_or_null(policy.check.clone()),
            part(table, 0),
            part(table, 1),
            part(table, 2),
        ]
    });
    let masks = masks.map(|((table, column), mask)| {
        vec![
            text(table.name()),
            text("mask"),
            text(column.as_str()),
            text("PUBLIC"),
            text(mask.as_str()),
            boolean(true),
            text(Command::Select.word()),
            text_or_null(None::<String>),
            part(table, 0),
            part(table, 1),
            part(table, 2),
        ]
    });
    policies.chain(masks).collect()
}

/// Shows what sessions of a user begin with; `None` where nothing was said.
fn settings(role: &Role) -> Option<String> {
    let pairs = role.settings.iter();
    let pairs = pairs.map(|(name, value)| format!("{name} = {}", maru_core::quote_literal(value)));
    let all = pairs.collect::<Vec<_>>().join(", ");
    (!all.is_empty()).then_some(all)
}

pub(super) fn no_time() -> ScalarValue {
    ScalarValue::TimestampMicrosecond(None, Some("UTC".into()))
}

fn privileges(rights: &Rights) -> Vec<Row> {
    let rules = rights.rules();
    let shows = |object: &Object| rights.sees(object);
    rules
        .grants
        .iter()
        .filter(|(grant, _)| shows(&grant.object))
        .map(|(grant, option)| {
            vec![
                text(grant.object.kind),
                text(grant.object.name()),
                text_or_null(grant.column.clone()),
                text(grant.privilege.word()),
                text_or_null(grant.grantee.clone()),
                boolean(*option),
                text(grant.grantor.as_str()),
                text(rules.owner(&grant.object)),
                text_or_null(grant.object.path.first().cloned()),
                text_or_null(grant.object.path.get(1).cloned()),
                text_or_null(grant.object.path.get(2).cloned()),
            ]
        })
        .collect()
}
