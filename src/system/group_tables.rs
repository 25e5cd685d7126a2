//! `system.resource_groups`.

use datafusion::common::ScalarValue;
use futures::FutureExt;

use super::ColumnKind::{Integer, Text};
use super::{TableSpec, integer, text, text_or_null};

pub(super) static RESOURCE_GROUPS: TableSpec = TableSpec {
    name: "resource_groups",
    doc: "Resource groups, what they allow and how they stand; one's own, or all for members of pg_monitor.",
    columns: &[
        ("name", Text),
        ("parent", Text),
        ("concurrency", Integer),
        ("queue", Integer),
        ("memory_limit_bytes", Integer),
        ("run_time_ms", Integer),
        ("weight", Integer),
        ("users", Text),
        ("roles", Text),
        ("applications", Text),
        ("running", Integer),
        ("queued", Integer),
        ("memory_bytes", Integer),
        ("comment", Text),
    ],
    rows: |session, _| {
        async {
            let rights = session.rights();
            let rules = rights.rules();
            let all = rights.has_role("pg_monitor");
            let application = session.setting("application_name").unwrap_or_default();
            let own = rules.group_for(session.user(), &application);
            let groups = session.engine().inner.admission.groups(rules);
            Ok(groups
                .into_iter()
                .filter(|group| all || group.name == own)
                .map(|state| {
                    let group = rules.groups.get(&state.name);
                    let written = group.map(|group| group.written()).unwrap_or_default();
                    let option = |name: &str| {
                        written
                            .iter()
                            .find(|(option, _)| option == name)
                            .map(|(_, value)| value.clone())
                    };
                    let number = |value: Option<u64>| {
                        ScalarValue::Int64(value.and_then(|n| i64::try_from(n).ok()))
                    };
                    let count = |n: usize| integer(i64::try_from(n).unwrap_or(i64::MAX));
                    vec![
                        text(state.name),
                        text_or_null(group.and_then(|group| group.parent.clone())),
                        number(group.and_then(|group| group.concurrency).map(|n| n as u64)),
                        number(group.and_then(|group| group.queue).map(|n| n as u64)),
                        number(group.and_then(|group| group.memory)),
                        number(group.and_then(|group| group.run_time)),
                        integer(group.map_or(1, |group| i64::from(group.weight))),
                        text_or_null(option("users")),
                        text_or_null(option("roles")),
                        text_or_null(option("applications")),
                        count(state.running),
                        count(state.queued),
                        count(state.memory_bytes),
                        text_or_null(group.and_then(|group| group.comment.clone())),
                    ]
                })
                .collect())
        }
        .boxed()
    },
};
