//! `system.connectors`, `connector_options`, `connector_types`, `functions`, `settings`, `statements`: what there is, from the lists that
//! the program itself works by.

use std::sync::Arc;

use datafusion::logical_expr::{Documentation, Signature, TypeSignature};
use futures::FutureExt;
use maru_sql::STATEMENTS as STATEMENT_LIST;

use super::ColumnKind::{Boolean, Text};
use super::{Row, TableSpec, boolean, text, text_or_null};
use crate::registry;
use crate::session::{SETTINGS as SETTING_LIST, Session};

pub(super) static CONNECTORS: TableSpec = TableSpec {
    name: "connectors",
    doc: "Kinds of source that CREATE CATALOG takes.",
    columns: &[("name", Text), ("description", Text), ("pushdown", Text), ("example", Text)],
    rows: |_, _| async { Ok(connectors()) }.boxed(),
};

pub(super) static CONNECTOR_OPTIONS: TableSpec = TableSpec {
    name: "connector_options",
    doc: "Options of each connector.",
    columns: &[
        ("connector", Text),
        ("name", Text),
        ("type", Text),
        ("required", Boolean),
        ("default_value", Text),
        ("description", Text),
    ],
    rows: |_, _| async { Ok(connector_options()) }.boxed(),
};

pub(super) static CONNECTOR_TYPES: TableSpec = TableSpec {
    name: "connector_types",
    doc: "What the types of each connector become, and what sources compute on them.",
    columns: &[("connector", Text), ("source_type", Text), ("type", Text), ("pushdown", Text)],
    rows: |_, _| async { Ok(connector_types()) }.boxed(),
};

pub(super) static FUNCTIONS: TableSpec = TableSpec {
    name: "functions",
    doc: "Functions that a statement may call.",
    columns: &[("name", Text), ("kind", Text), ("signature", Text), ("description", Text)],
    rows: |session, _| async { Ok(functions(session)) }.boxed(),
};

pub(super) static SETTINGS: TableSpec = TableSpec {
    name: "settings",
    doc: "Settings of this session.",
    columns: &[("name", Text), ("value", Text), ("type", Text), ("description", Text)],
    rows: |session, _| {
        async {
            Ok(SETTING_LIST
                .iter()
                .map(|setting| {
                    vec![
                        text(setting.name),
                        text_or_null(session.setting(setting.name)),
                        text(setting.kind.name()),
                        text(setting.doc),
                    ]
                })
                .collect())
        }
        .boxed()
    },
};

pub(super) static STATEMENTS: TableSpec = TableSpec {
    name: "statements",
    doc: "Statements besides SELECT, with their syntax.",
    columns: &[("name", Text), ("syntax", Text), ("description", Text), ("example", Text)],
    rows: |_, _| {
        async {
            Ok(STATEMENT_LIST
                .iter()
                .map(|spec| {
                    vec![text(spec.name), text(spec.syntax), text(spec.doc), text(spec.example)]
                })
                .collect())
        }
        .boxed()
    },
};

fn connectors() -> Vec<Row> {
    registry::connectors()
        .map(|connector| {
            let spec = connector.spec();
            vec![
                text(spec.name),
                text(spec.doc),
                text(spec.capabilities.words().join(", ")),
                text(spec.example),
            ]
        })
        .collect()
}

fn connector_options() -> Vec<Row> {
    registry::connectors()
        .flat_map(|connector| {
            let spec = connector.spec();
            spec.options.iter().map(|option| {
                vec![
                    text(spec.name),
                    text(option.name),
                    text(option.kind.words()),
                    boolean(option.required),
                    text_or_null(option.default),
                    text(option.doc),
                ]
            })
        })
        .collect()
}

fn connector_types() -> Vec<Row> {
    registry::connectors()
        .flat_map(|connector| {
            let spec = connector.spec();
            spec.types.iter().map(|types| {
                vec![text(spec.name), text(types.source), text(types.maru), text(types.pushed)]
            })
        })
        .collect()
}

fn functions(session: &Arc<Session>) -> Vec<Row> {
    let state = session.statement_state();
    let mut rows = Vec::new();
    let mut add = |name: &str, kind: &str, doc: Option<&Documentation>, signature: &Signature| {
        let shown = match doc {
            Some(doc) => doc.syntax_example.clone(),
            None => format!("{name}({})", arguments(signature)),
        };
        let doc = doc.map(|doc| doc.description.clone());
        rows.push(vec![text(name), text(kind), text(shown), text_or_null(doc)]);
    };
    for (name, function) in state.scalar_functions() {
        add(name, "scalar", function.documentation(), function.signature());
    }
    for (name, function) in state.aggregate_functions() {
        add(name, "aggregate", function.documentation(), function.signature());
    }
    for (name, function) in state.window_functions() {
        add(name, "window", function.documentation(), function.signature());
    }
    for name in state.table_functions().keys() {
        rows.push(vec![
            text(name.as_str()),
            text("table"),
            text(format!("{name}(…)")),
            text_or_null(None::<String>),
        ]);
    }
    rows
}

fn arguments(signature: &Signature) -> String {
    match &signature.type_signature {
        TypeSignature::Nullary => String::new(),
        TypeSignature::Exact(types) => {
            types.iter().map(super::types::sql_name).collect::<Vec<_>>().join(", ")
        }
        TypeSignature::Any(n) => vec!["any"; *n].join(", "),
        _ => "…".to_owned(),
    }
}
