//! Tables of `pg_catalog` that tell of sessions: `pg_stat_activity`, `pg_prepared_statements`, `pg_cursors`, `pg_settings`.

use std::sync::Arc;

use arrow::datatypes::DataType;
use chrono::Offset;
use chrono_tz::{OffsetComponents, OffsetName};
use datafusion::common::ScalarValue;
use futures::FutureExt;
use maru_core::Result;

use super::ColumnKind::{Boolean, Integer, Oid, Text, TextList, Timestamp};
use super::engine_tables::watches;
use super::types::regtype_name;
use super::{Row, TableSpec, boolean, integer, oid, role_tables, text, text_or_null, timestamp};
use crate::access::role_oid;
use crate::engine::history::micros;
use crate::engine::locks::{Number, Shown};
use crate::engine::query::State;
use crate::session::{SETTINGS as SETTING_LIST, Session, TransactionStatus};

pub(super) static TABLES: &[&TableSpec] = &[
    &ACTIVITY,
    &CURSORS,
    &LOCKS,
    &PREPARED,
    &SETTINGS,
    &TIMEZONE_ABBREVS,
    &TIMEZONE_NAMES,
    &role_tables::MEMBERS,
    &role_tables::ROLES,
];

static ACTIVITY: TableSpec = TableSpec {
    name: "pg_stat_activity",
    doc: "Open sessions and their last statement.",
    columns: &[
        ("datid", Oid),
        ("datname", Text),
        ("pid", Integer),
        ("leader_pid", Integer),
        ("usesysid", Oid),
        ("usename", Text),
        ("application_name", Text),
        ("client_addr", Text),
        ("client_hostname", Text),
        ("client_port", Integer),
        ("backend_start", Timestamp),
        ("xact_start", Timestamp),
        ("query_start", Timestamp),
        ("state_change", Timestamp),
        ("wait_event_type", Text),
        ("wait_event", Text),
        ("state", Text),
        ("backend_xid", Text),
        ("backend_xmin", Text),
        ("query_id", Integer),
        ("query", Text),
        ("backend_type", Text),
    ],
    rows: |session, _| async { Ok(activity(session)) }.boxed(),
};

static CURSORS: TableSpec = TableSpec {
    name: "pg_cursors",
    doc: "Cursors of this session.",
    columns: &[
        ("name", Text),
        ("statement", Text),
        ("is_holdable", Boolean),
        ("is_binary", Boolean),
        ("is_scrollable", Boolean),
        ("creation_time", Timestamp),
    ],
    rows: |session, _| async { Ok(cursors(session)) }.boxed(),
};

static LOCKS: TableSpec = TableSpec {
    name: "pg_locks",
    doc: "Advisory locks: which sessions have or want which.",
    columns: &[
        ("locktype", Text),
        ("database", Integer),
        ("relation", Integer),
        ("page", Integer),
        ("tuple", Integer),
        ("virtualxid", Text),
        ("transactionid", Text),
        ("classid", Integer),
        ("objid", Integer),
        ("objsubid", Integer),
        ("virtualtransaction", Text),
        ("pid", Integer),
        ("mode", Text),
        ("granted", Boolean),
        ("fastpath", Boolean),
        ("waitstart", Timestamp),
    ],
    rows: |session, _| async { Ok(locks(session)) }.boxed(),
};

static TIMEZONE_ABBREVS: TableSpec = TableSpec {
    name: "pg_timezone_abbrevs",
    doc: "Abbreviations of time zones that a setting takes.",
    columns: &[("abbrev", Text), ("utc_offset", Text), ("is_dst", Boolean)],
    rows: |_, _| async { Ok(vec![vec![text("UTC"), text("00:00:00"), boolean(false)]]) }.boxed(),
};

static TIMEZONE_NAMES: TableSpec = TableSpec {
    name: "pg_timezone_names",
    doc: "Names of time zones, with what holds in them now.",
    columns: &[("name", Text), ("abbrev", Text), ("utc_offset", Text), ("is_dst", Boolean)],
    rows: |_, _| async { Ok(timezone_names()) }.boxed(),
};

static PREPARED: TableSpec = TableSpec {
    name: "pg_prepared_statements",
    doc: "Prepared statements of this session, those of PREPARE and those of its driver.",
    columns: &[
        ("name", Text),
        ("statement", Text),
        ("prepare_time", Timestamp),
        ("parameter_types", TextList),
        ("result_types", TextList),
        ("from_sql", Boolean),
        ("generic_plans", Integer),
        ("custom_plans", Integer),
    ],
    rows: |session, _| async { prepared(session) }.boxed(),
};

static SETTINGS: TableSpec = TableSpec {
    name: "pg_settings",
    doc: "Settings of this session, and limits that drivers of PostgreSQL ask for.",
    columns: &[
        ("name", Text),
        ("setting", Text),
        ("unit", Text),
        ("category", Text),
        ("short_desc", Text),
        ("extra_desc", Text),
        ("context", Text),
        ("vartype", Text),
        ("source", Text),
        ("min_val", Text),
        ("max_val", Text),
        ("enumvals", Text),
        ("boot_val", Text),
        ("reset_val", Text),
        ("sourcefile", Text),
        ("sourceline", Integer),
        ("pending_restart", Boolean),
    ],
    rows: |session, _| async { Ok(settings(session)) }.boxed(),
};

/// What PostgreSQL has compiled in; drivers size their questions by it.
const PRESETS: &[(&str, &str, &str)] = &[
    ("max_function_args", "100", "Arguments of a function."),
    ("max_identifier_length", "63", "Bytes of a name; longer ones are taken as well."),
    ("max_index_keys", "32", "Columns of an index; there are no indexes."),
    ("standard_conforming_strings", "on", "Backslashes in literals are ordinary."),
];

fn settings(session: &Arc<Session>) -> Vec<Row> {
    let row = |name: &str, value: Option<String>, doc: &str, context: &str, kind: &str| {
        let none = || text_or_null(None::<String>);
        let mut row = vec![text(name), text_or_null(value), none(), text("Maru"), text(doc)];
        row.extend([
            none(),
            text(context),
            text(kind),
            none(),
            none(),
            none(),
            none(),
            none(),
            none(),
        ]);
        row.extend([none(), ScalarValue::Int64(None), boolean(false)]);
        row
    };
    let own = SETTING_LIST.iter().map(|setting| {
        let (context, kind) = match setting.kind.name() {
            "boolean" => ("user", "bool"),
            "integer" => ("user", "integer"),
            "choice" => ("user", "enum"),
            "fixed" => ("internal", "string"),
            _ => ("user", "string"),
        };
        row(setting.name, session.setting(setting.name), setting.doc, context, kind)
    });
    let known = |name: &str| SETTING_LIST.iter().any(|setting| setting.name == name);
    let presets = PRESETS
        .iter()
        .filter(|(name, ..)| !known(name))
        .map(|(name, value, doc)| row(name, Some((*value).to_owned()), doc, "internal", "string"));
    own.chain(presets).collect()
}

fn timezone_names() -> Vec<Row> {
    let now = chrono::Utc::now();
    let row = |zone: &chrono_tz::Tz| {
        let local = now.with_timezone(zone);
        let offset = local.offset();
        let seconds = offset.fix().local_minus_utc();
        let sign = if seconds < 0 { "-" } else { "" };
        let minutes = seconds.abs() / 60;
        let shown = format!("{sign}{:02}:{:02}:00", minutes / 60, minutes % 60);
        let in_summer = offset.dst_offset() != chrono::TimeDelta::zero();
        let abbreviation = offset.abbreviation().unwrap_or_default();
        vec![text(zone.name()), text(abbreviation), text(shown), boolean(in_summer)]
    };
    chrono_tz::TZ_VARIANTS.iter().map(row).collect()
}

fn activity(session: &Arc<Session>) -> Vec<Row> {
    let running = session.engine().inner.queries.running();
    let one = |one: &Arc<Session>| {
        let mut queries = running.iter().rev().filter(|query| query.session_id == one.id());
        // A cursor that is open is no statement that runs.
        let query = queries.find(|query| !query.cursor);
        let (address, port) = match one.login().client_address.as_deref() {
            Some(address) => match address.rsplit_once(':') {
                Some((host, port)) => (Some(host.to_owned()), port.parse().ok()),
                None => (Some(address.to_owned()), None),
            },
            None => (None, None),
        };
        let state = match (query, one.transaction_status()) {
            (Some(_), _) => "active",
            (None, TransactionStatus::Idle) => "idle",
            (None, TransactionStatus::Open) => "idle in transaction",
            (None, TransactionStatus::Failed) => "idle in transaction (aborted)",
        };
        let waits = query.is_none_or(|query| query.state() == State::Queued);
        let (wait_type, wait) = match (query, waits) {
            (None, _) => (Some("Client"), Some("ClientRead")),
            (Some(_), true) => (Some("Lock"), Some("admission")),
            _ => (None, None),
        };
        let moment = |micros| ScalarValue::TimestampMicrosecond(micros, Some("UTC".into()));
        let none = || text_or_null(None::<String>);
        let started = query.map(|query| micros(query.started));
        vec![
            // The number of a catalog is one of those that look at it.
            ScalarValue::Int32(None),
            text(one.catalog()),
            integer(i64::from(one.id())),
            ScalarValue::Int64(None),
            oid(role_oid(one.user())),
            text(one.user()),
            text(one.setting("application_name").unwrap_or_default()),
            text_or_null(address),
            none(),
            ScalarValue::Int64(port),
            timestamp(micros(one.opened())),
            moment(None),
            moment(started),
            moment(started),
            text_or_null(wait_type),
            text_or_null(wait),
            text(state),
            none(),
            none(),
            ScalarValue::Int64(query.and_then(|query| i64::try_from(query.id).ok())),
            text(query.map(|query| query.sql.clone()).unwrap_or_default()),
            text("client backend"),
        ]
    };
    let rights = session.rights();
    let sessions = session.engine().sessions();
    sessions.iter().filter(|one| watches(&rights, one.user())).map(one).collect()
}

fn locks(session: &Arc<Session>) -> Vec<Row> {
    let one = |lock: Shown| {
        let none = || ScalarValue::Int64(None);
        let half = |bytes: [u8; 4]| integer(i64::from(u32::from_be_bytes(bytes)));
        let (class, object, part) = match lock.number {
            Number::One(number) => {
                let [a, b, c, d, e, f, g, h] = number.to_be_bytes();
                (half([a, b, c, d]), half([e, f, g, h]), 1)
            }
            Number::Two(first, second) => {
                (half(first.to_be_bytes()), half(second.to_be_bytes()), 2)
            }
        };
        vec![
            text("advisory"),
            none(),
            none(),
            none(),
            none(),
            text_or_null(None::<String>),
            text_or_null(None::<String>),
            class,
            object,
            integer(part),
            text_or_null(None::<String>),
            integer(i64::from(lock.session)),
            text(if lock.shared { "ShareLock" } else { "ExclusiveLock" }),
            boolean(lock.waits.is_none()),
            boolean(false),
            ScalarValue::TimestampMicrosecond(lock.waits.map(micros), Some("UTC".into())),
        ]
    };
    session.engine().inner.locks.all().into_iter().map(one).collect()
}

fn cursors(session: &Arc<Session>) -> Vec<Row> {
    let one = |cursor: Arc<crate::session::Cursor>| {
        vec![
            text(cursor.name.as_str()),
            text(cursor.text.as_str()),
            boolean(cursor.hold),
            boolean(cursor.binary),
            boolean(false),
            timestamp(micros(cursor.opened)),
        ]
    };
    session.all_cursors().into_iter().map(one).collect()
}

fn prepared(session: &Arc<Session>) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for (name, named) in session.all_named() {
        let types = named.prepared.iter().flat_map(|prepared| &prepared.parameters).enumerate();
        let types = types.map(|(i, found)| {
            // What was declared, or else what the statement takes.
            let declared = named.types.get(i).and_then(Option::as_ref);
            declared.or(found.as_ref()).map_or_else(|| "text".to_owned(), regtype_name)
        });
        let results = named.prepared.as_ref().and_then(|prepared| prepared.schema.clone());
        let results = results.map(|schema| {
            schema.fields().iter().map(|field| regtype_name(field.data_type())).collect::<Vec<_>>()
        });
        rows.push(vec![
            text(name),
            text(named.text.as_str()),
            timestamp(micros(named.prepared_at)),
            list(Some(types.collect())),
            list(results),
            boolean(named.from_sql),
            // How often a plan was good for another run is not counted.
            ScalarValue::Int64(None),
            ScalarValue::Int64(None),
        ]);
    }
    Ok(rows)
}

pub(super) fn list(names: Option<Vec<String>>) -> ScalarValue {
    match names {
        Some(names) => {
            let names = names.into_iter().map(text).collect::<Vec<_>>();
            ScalarValue::List(ScalarValue::new_list(&names, &DataType::Utf8, true))
        }
        None => ScalarValue::new_null_list(DataType::Utf8, true, 1),
    }
}
