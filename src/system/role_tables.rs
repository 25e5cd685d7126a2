//! Tables of `pg_catalog` that tell of roles: `pg_roles`, `pg_auth_members`. Views over them are in `information_schema.rs`.

use std::sync::Arc;

use datafusion::common::ScalarValue;
use futures::FutureExt;

use super::ColumnKind::{Boolean, Int4, Oid, Text, TextList, Timestamp};
use super::pg_tables::list;
use super::{Row, TableSpec, boolean, oid, text, text_or_null, timestamp};
use crate::access::role_oid;
use crate::session::Session;

pub(super) static ROLES: TableSpec = TableSpec {
    name: "pg_roles",
    doc: "Roles and users; passwords are never shown.",
    columns: &[
        ("rolname", Text),
        ("rolsuper", Boolean),
        ("rolinherit", Boolean),
        ("rolcreaterole", Boolean),
        ("rolcreatedb", Boolean),
        ("rolcanlogin", Boolean),
        ("rolreplication", Boolean),
        ("rolconnlimit", Int4),
        ("rolpassword", Text),
        ("rolvaliduntil", Timestamp),
        ("rolbypassrls", Boolean),
        ("rolconfig", TextList),
        ("oid", Oid),
    ],
    rows: |session, _| async { Ok(roles(session)) }.boxed(),
};

pub(super) static MEMBERS: TableSpec = TableSpec {
    name: "pg_auth_members",
    doc: "Which role is a member of which.",
    columns: &[
        ("oid", Oid),
        ("roleid", Oid),
        ("member", Oid),
        ("grantor", Oid),
        ("admin_option", Boolean),
        ("inherit_option", Boolean),
        ("set_option", Boolean),
    ],
    rows: |session, _| async { Ok(members(session)) }.boxed(),
};

fn roles(session: &Arc<Session>) -> Vec<Row> {
    let rights = session.rights();
    let row = |(name, role): (&String, &crate::access::Role)| {
        let settings = role.settings.iter().map(|(name, value)| format!("{name}={value}"));
        let settings = settings.collect::<Vec<_>>();
        vec![
            text(name.as_str()),
            boolean(role.superuser),
            boolean(role.inherit),
            boolean(role.create_role),
            boolean(role.create_catalog),
            boolean(role.login),
            boolean(false),
            ScalarValue::Int32(Some(role.connection_limit)),
            text_or_null(None::<String>),
            role.valid_until_us.map_or_else(
                || ScalarValue::TimestampMicrosecond(None, Some("UTC".into())),
                timestamp,
            ),
            boolean(role.bypass_rls),
            list((!settings.is_empty()).then_some(settings)),
            oid(role_oid(name)),
        ]
    };
    rights.rules().roles.iter().map(row).collect()
}

fn members(session: &Arc<Session>) -> Vec<Row> {
    let rights = session.rights();
    let members = rights.rules().members.iter().enumerate();
    let rows = members.map(|(at, ((role, member), membership))| {
        vec![
            oid(i32::try_from(at + 1).unwrap_or(0)),
            oid(role_oid(role)),
            oid(role_oid(member)),
            oid(role_oid(&membership.grantor)),
            boolean(membership.admin),
            boolean(membership.inherit),
            boolean(true),
        ]
    });
    rows.collect()
}
