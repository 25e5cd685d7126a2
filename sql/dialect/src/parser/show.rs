//! `SHOW` and `DESCRIBE`: each list is a query over a table of schema `system`.

use maru_core::{Error, ErrorKind, Result, did_you_mean, quote_literal};

use sqlparser::tokenizer::Token;

use super::{Words, parse_query};
use crate::statement::*;

/// The lists: the words after SHOW, the query, the column that LIKE and the order work on.
const LISTS: &[(&str, &str, &str)] = &[
    ("catalogs", "SELECT name, connector, state, comment FROM system.catalogs", "name"),
    (
        "catalog templates",
        "SELECT name, role, connector, comment FROM system.catalog_templates",
        "name",
    ),
    (
        "connector options",
        "SELECT connector, name, type, required, default_value, description \
         FROM system.connector_options",
        "connector",
    ),
    (
        "connector types",
        "SELECT connector, source_type, type, pushdown FROM system.connector_types",
        "connector",
    ),
    ("connectors", "SELECT name, description, example FROM system.connectors", "name"),
    ("databases", "SELECT name, connector, state, comment FROM system.catalogs", "name"),
    ("functions", "SELECT name, kind, signature, description FROM system.functions", "name"),
    (
        "models",
        "SELECT schema, name, model_type, default_version, n_versions, owner, comment \
         FROM system.models",
        "name",
    ),
    (
        "pipelines",
        "SELECT schema, name, schedule, time_zone, paused, next_run, last_run_id, last_state, owner \
         FROM system.pipelines",
        "name",
    ),
    (
        "queries",
        "SELECT query_id, user_name, state, elapsed_ms, n_rows, sql FROM system.queries",
        "query_id",
    ),
    (
        "resource groups",
        "SELECT name, parent, concurrency, running, queued, memory_bytes FROM system.resource_groups",
        "name",
    ),
    (
        "run steps",
        "SELECT run_id, step, state, attempt, n_rows, elapsed_ms, error FROM system.run_steps",
        "run_id",
    ),
    (
        "runs",
        "SELECT run_id, schema, pipeline, trigger, interval_start, state, started, elapsed_ms, error \
         FROM system.runs",
        "run_id",
    ),
    ("secrets", "SELECT name, options, comment FROM system.secrets", "name"),
    (
        "sessions",
        "SELECT session_id, user_name, protocol, client_address, state, sql FROM system.sessions",
        "session_id",
    ),
    ("settings", "SELECT name, value, description FROM system.settings", "name"),
    (
        "training jobs",
        "SELECT job_id, schema, model, state, trials_done, trials, started, elapsed_ms, error \
         FROM system.training_jobs",
        "job_id",
    ),
    ("statements", "SELECT name, syntax, description, example FROM system.statements", "name"),
];

impl Words<'_> {
    pub(super) fn show(&mut self) -> Result<Option<Statement>> {
        if self.take(&["describe", "model"]) || self.take(&["desc", "model"]) {
            return Ok(Some(Statement::DescribeModel(self.name()?)));
        }
        if self.take(&["describe", "history"]) || self.take(&["desc", "history"]) {
            return Ok(Some(Statement::DescribeHistory(self.name()?)));
        }
        if self.take(&["describe"]) || self.take(&["desc"]) {
            self.take(&["table"]);
            // A path is a name of one part.
            if let Ok(path) = self.string() {
                return Ok(Some(Statement::Describe(Name(vec![path]))));
            }
            return Ok(Some(Statement::Describe(self.name()?)));
        }
        self.expect(&["show"])?;
        if self.take(&["create"]) {
            return self.show_create().map(Some);
        }
        if self.take(&["all"]) {
            return Ok(Some(list("settings", None)?));
        }
        if self.take(&["schemas"]) {
            return self.schemas().map(Some);
        }
        if self.take(&["tables"]) {
            return self.tables().map(Some);
        }
        if self.take(&["columns"]) {
            if !self.take(&["from"]) {
                self.expect(&["in"])?;
            }
            return Ok(Some(Statement::Describe(self.name()?)));
        }
        for (words, _, _) in LISTS {
            if self.take(&words.split(' ').collect::<Vec<_>>()) {
                let like = self.like()?;
                return Ok(Some(list(words, like)?));
            }
        }
        if self.take(&["transaction", "isolation", "level"]) {
            return Ok(Some(Statement::ShowVariable("transaction_isolation".to_owned())));
        }
        let name = self.setting_name()?;
        Ok(Some(Statement::ShowVariable(name)))
    }

    /// Reads what follows `SHOW CREATE`; that of a pipeline is read with the other statements on pipelines.
    fn show_create(&mut self) -> Result<Statement> {
        if self.take(&["view"]) {
            return Ok(Statement::ShowCreateView(self.name()?));
        }
        if self.sees(&["table"]) {
            return Err(Error::unsupported("SHOW CREATE TABLE is not supported").with_hint(
                "DESCRIBE tells the columns of a table, SHOW CREATE VIEW the text of a view.",
            ));
        }
        Err(self.unexpected("VIEW or PIPELINE"))
    }

    pub(super) fn preview(&mut self) -> Result<Statement> {
        // A path is a name of one part.
        let name = match self.string() {
            Ok(path) => Name(vec![path]),
            Err(_) => self.name()?,
        };
        let limit = if self.take(&["limit"]) {
            let limit = match self.0.parser.peek_token().token {
                Token::Number(text, _) => text.parse().ok(),
                _ => None,
            };
            let limit = limit.ok_or_else(|| self.unexpected("a number of rows"))?;
            self.0.parser.next_token();
            Some(limit)
        } else {
            None
        };
        Ok(Statement::Preview(Preview { name, limit }))
    }

    fn like(&mut self) -> Result<Option<String>> {
        if self.take(&["like"]) { self.string().map(Some) } else { Ok(None) }
    }

    fn schemas(&mut self) -> Result<Statement> {
        let catalog = if self.take(&["from"]) || self.take(&["in"]) {
            quote_literal(&self.ident()?)
        } else {
            "current_database()".to_owned()
        };
        let like = self.like()?.map(|text| format!(" AND name LIKE {}", quote_literal(&text)));
        parse_query(
            &format!(
                "SELECT name, comment FROM system.schemas WHERE catalog = {catalog}{} ORDER BY name",
                like.unwrap_or_default()
            ),
            "SHOW",
        )
    }

    fn tables(&mut self) -> Result<Statement> {
        let clause = if self.take(&["from"]) || self.take(&["in"]) {
            let name = self.name()?;
            match name.0.as_slice() {
                // One word is a schema of the current catalog, or else a catalog as a whole.
                [one] => {
                    let one = quote_literal(one);
                    format!(
                        "((catalog = current_database() AND schema = {one}) OR catalog = {one})"
                    )
                }
                [catalog, schema] => format!(
                    "catalog = {} AND schema = {}",
                    quote_literal(catalog),
                    quote_literal(schema)
                ),
                _ => return Err(self.unexpected("catalog.schema")),
            }
        } else {
            "catalog = current_database()".to_owned()
        };
        let like = self.like()?.map(|text| format!(" AND name LIKE {}", quote_literal(&text)));
        parse_query(
            &format!(
                "SELECT schema, name, kind, comment FROM system.tables WHERE {clause}{} \
                 AND schema NOT IN ('system', 'information_schema', 'pg_catalog') \
                 ORDER BY schema, name",
                like.unwrap_or_default()
            ),
            "SHOW",
        )
    }
}

fn list(words: &str, like: Option<String>) -> Result<Statement> {
    let (_, query, key) =
        LISTS.iter().find(|(name, _, _)| *name == words).ok_or_else(|| unknown(words))?;
    let like = like.map(|pattern| format!(" WHERE {key} LIKE {}", quote_literal(&pattern)));
    parse_query(&format!("{query}{} ORDER BY {key}", like.unwrap_or_default()), "SHOW")
}

fn unknown(words: &str) -> Error {
    let near = did_you_mean(words, LISTS.iter().map(|(name, _, _)| *name));
    Error::new(ErrorKind::Syntax, format!("there is no list \"{words}\"")).with_hint(match near {
        Some(near) => format!("Did you mean SHOW {}?", near.to_uppercase()),
        None => "SHOW STATEMENTS tells what can be shown.".to_owned(),
    })
}
