//! Views: what the metastore keeps of them, as text and names for the engine.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hive_metastore::Table;
use maru_connect::{ForeignView, ViewLanguage};
use maru_core::{Error, Result};

use crate::table;

/// What the texts of views of Presto and Trino begin with; their own kind of view is packed behind it.
const PRESTO: &str = "/* Presto ";

/// Settings of Spark that a view remembers and that change what its text means, each with the value that does.
const UNFOLLOWED: &[(&str, &str)] = &[
    ("spark.sql.ansi.doubleQuotedIdentifiers", "true"),
    ("spark.sql.ansi.enforceReservedKeywords", "true"),
    ("spark.sql.caseSensitive", "true"),
    ("spark.sql.groupByOrdinal", "false"),
    ("spark.sql.orderByOrdinal", "false"),
    ("spark.sql.parser.escapedStringLiterals", "true"),
    ("spark.sql.parser.quotedRegexColumnNames", "true"),
    ("spark.sql.timestampType", "TIMESTAMP_NTZ"),
];

/// Reads a view's description.
///
/// # Errors
/// 0A000 for views of Presto and Trino, for settings of Spark that are not followed, and for a view without a text;
/// HV004 for a declared type that Maru does not have.
pub(crate) fn open(table: &Table) -> Result<ForeignView> {
    let database = table.db_name.as_deref().unwrap_or_default();
    let name = table.table_name.as_deref().unwrap_or_default();
    let parameter = |key: &str| {
        let parameters = table.parameters.as_ref();
        parameters.and_then(|all| all.get(key)).map(|value| value.as_str())
    };
    let original = table.view_original_text.as_deref().unwrap_or_default();
    let refused = |what: &str, text: &str| {
        Error::unsupported(format!("\"{database}\".\"{name}\" {what}"))
            .with_detail(format!("Its query is: {}.", one_line(text)))
            .with_hint("Make a view of that query in Maru: CREATE VIEW … AS SELECT ….")
    };
    if parameter("presto_view").is_some() || original.starts_with(PRESTO) {
        let query = presto_query(original).unwrap_or_else(|| original.to_owned());
        return Err(refused("is a view of Presto or Trino", &query));
    }
    let expanded = table.view_expanded_text.as_deref().unwrap_or_default();
    let text = if expanded.trim().is_empty() { original } else { expanded };
    if text.trim().is_empty() {
        return Err(Error::unsupported(format!("view \"{database}\".\"{name}\" has no text")));
    }
    for (setting, value) in table.parameters.iter().flatten() {
        let Some(setting) = setting.strip_prefix("view.sqlConfig.") else { continue };
        let legacy = setting.starts_with("spark.sql.legacy.") && value.eq_ignore_ascii_case("true");
        let known = UNFOLLOWED
            .iter()
            .any(|(known, changes)| *known == setting && value.eq_ignore_ascii_case(changes));
        if legacy || known {
            return Err(refused(&format!("was made with {setting} = {value}"), text));
        }
    }
    let storage = table.sd.as_ref().and_then(|storage| storage.cols.as_deref());
    let of_view = |error: Error| error.with_context("table", format!("{database}.{name}"));
    let schema = table::schema(storage.unwrap_or_default()).map_err(of_view)?;
    let by_spark =
        ["view.catalogAndNamespace.numParts", "view.default.database", "spark.sql.create.version"]
            .iter()
            .any(|key| parameter(key).is_some());
    if !by_spark {
        return Ok(ForeignView {
            language: ViewLanguage::Hive,
            text: text.to_owned(),
            search_schema: database.to_owned(),
            query_columns: Vec::new(),
            schema: Arc::new(schema),
        });
    }
    for key in ["view.referredTempViewNames", "view.referredTempFunctionsNames"] {
        if let Some(names) = parameter(key).filter(|names| !matches!(*names, "" | "[]")) {
            return Err(refused(
                &format!("reads what only one session of Spark had: {names}"),
                text,
            ));
        }
    }
    let search_schema = parameter("view.catalogAndNamespace.part.1")
        .or_else(|| parameter("view.default.database"))
        .unwrap_or(database);
    let n_columns = parameter("view.query.out.numCols").and_then(|n| n.parse::<usize>().ok());
    let columns = (0..n_columns.unwrap_or_default())
        .map_while(|i| parameter(&format!("view.query.out.col.{i}")).map(str::to_owned));
    Ok(ForeignView {
        language: ViewLanguage::Spark,
        text: text.to_owned(),
        search_schema: search_schema.to_owned(),
        query_columns: columns.collect(),
        schema: Arc::new(schema),
    })
}

/// Unpacks the query of a view of Presto, for the message.
fn presto_query(text: &str) -> Option<String> {
    let packed = text.split_once(": ")?.1.strip_suffix("*/")?.trim();
    let json = STANDARD.decode(packed).ok()?;
    let view = serde_json::from_slice::<serde_json::Value>(&json).ok()?;
    Some(view.get("originalSql")?.as_str()?.to_owned())
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests;
