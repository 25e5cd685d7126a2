//! Completion: keywords of the language, and the names of catalogs, schemas, tables and columns.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt;
use maru_core::{quote_ident, quote_literal};
use parking_lot::Mutex;
use reedline::{Completer, CompletionOrigin, CompletionResult, CompletionStatus, Span, Suggestion};

use super::backend::{Backend, Reply};
use super::meta;
use crate::session::StatementText;

/// Words that are offered and coloured. Only for comfort: the shell understands none of them.
pub(super) const KEYWORDS: &[&str] = &[
    "ALTER",
    "ANALYZE",
    "AND",
    "AS",
    "ASC",
    "BETWEEN",
    "BY",
    "CANCEL",
    "CASE",
    "CAST",
    "CATALOG",
    "CATALOGS",
    "COMMENT",
    "CREATE",
    "CROSS",
    "DELETE",
    "DESC",
    "DESCRIBE",
    "DISTINCT",
    "DROP",
    "ELSE",
    "END",
    "EXCEPT",
    "EXISTS",
    "EXPLAIN",
    "EXTERNAL",
    "FALSE",
    "FILTER",
    "FROM",
    "FULL",
    "FUNCTIONS",
    "GROUP",
    "HAVING",
    "IF",
    "ILIKE",
    "IN",
    "INNER",
    "INSERT",
    "INTERSECT",
    "INTERVAL",
    "INTO",
    "IS",
    "JOIN",
    "LATERAL",
    "LEFT",
    "LIKE",
    "LIMIT",
    "LOCATION",
    "NOT",
    "NULL",
    "OFFSET",
    "ON",
    "OR",
    "ORDER",
    "OUTER",
    "OVER",
    "PARTITION",
    "PARTITIONED",
    "PREVIEW",
    "QUERY",
    "REPLACE",
    "RIGHT",
    "SCHEMA",
    "SCHEMAS",
    "SECRET",
    "SELECT",
    "SET",
    "SHOW",
    "STORED",
    "TABLE",
    "TABLES",
    "THEN",
    "TRUE",
    "UNION",
    "UPDATE",
    "USING",
    "VALUES",
    "VIEW",
    "WHEN",
    "WHERE",
    "WITH",
];

/// How long a list of names is believed.
const FRESH: Duration = Duration::from_secs(30);

/// How long one question about names may take; a slow source gives no names rather than a slow Tab.
const PATIENCE: Duration = Duration::from_secs(5);

/// Lists of names, asked for when they are needed and kept for a while.
pub(super) struct Names {
    backend: Arc<dyn Backend>,
    lists: Mutex<HashMap<String, List>>,
    runtime: tokio::runtime::Handle,
}

struct List {
    names: Arc<Vec<String>>,
    asked: Instant,
    arrived: bool,
}

impl Names {
    pub(super) fn new(backend: Arc<dyn Backend>) -> Self {
        Self {
            backend,
            lists: Mutex::new(HashMap::new()),
            runtime: tokio::runtime::Handle::current(),
        }
    }

    /// Lets all lists be asked for again.
    pub(super) fn forget(&self) {
        self.lists.lock().clear();
    }

    /// Returns the first column of a query, `None` while it is under way.
    fn list(self: &Arc<Self>, query: String) -> Option<Arc<Vec<String>>> {
        let mut lists = self.lists.lock();
        if let Some(list) = lists.get(&query)
            && list.asked.elapsed() < FRESH
        {
            return list.arrived.then(|| Arc::clone(&list.names));
        }
        let empty = List { names: Arc::default(), asked: Instant::now(), arrived: false };
        lists.insert(query.clone(), empty);
        drop(lists);
        let this = Arc::clone(self);
        self.runtime.spawn(async move {
            let found = tokio::time::timeout(PATIENCE, this.ask(&query)).await;
            let names = Arc::new(found.unwrap_or_default());
            let list = List { names, asked: Instant::now(), arrived: true };
            this.lists.lock().insert(query, list);
        });
        None
    }

    async fn ask(&self, query: &str) -> Vec<String> {
        let statement = StatementText { text: query.to_owned(), offset: 0 };
        let mut names = Vec::new();
        if let Ok(Reply::Rows(mut result)) = self.backend.run(&statement, false).await {
            while let Some(Ok(rows)) = result.rows.next().await {
                names.extend(rows.into_iter().filter_map(|row| row.into_iter().next().flatten()));
            }
        }
        names
    }

    fn is_waiting(&self) -> bool {
        self.lists.lock().values().any(|list| !list.arrived)
    }
}

/// The whole text being edited. The editor shows its completer only what stands before the cursor, but the tables whose
/// columns are wanted stand behind it; the highlighter, which sees everything, keeps this up to date.
pub(super) type Edited = Arc<Mutex<String>>;

pub(super) struct SqlCompleter {
    names: Option<Arc<Names>>,
    edited: Edited,
    was_waiting: bool,
}

impl SqlCompleter {
    pub(super) fn new(names: Option<Arc<Names>>, edited: Edited) -> Self {
        Self { names, edited, was_waiting: false }
    }
}

impl Completer for SqlCompleter {
    fn complete(&mut self, line: &str, pos: usize) -> CompletionResult {
        let before = line.get(..pos).unwrap_or(line);
        let place = Place::find(before);
        let edited = self.edited.lock().clone();
        let whole = if edited.starts_with(before) { edited.as_str() } else { line };
        let mut found: Vec<String> = Vec::new();
        let mut waiting = false;
        if place.qualifiers.is_empty()
            && before.trim_start().starts_with('\\')
            && !before.contains(' ')
        {
            found.extend(meta::COMMANDS.iter().map(|command| command.name.to_owned()));
        } else if place.qualifiers.is_empty()
            && !place.word.is_empty()
            && !place.word.starts_with('"')
        {
            let lower = place.word.chars().all(|c| !c.is_uppercase());
            found.extend(
                KEYWORDS
                    .iter()
                    .map(|word| if lower { word.to_lowercase() } else { (*word).to_owned() }),
            );
        }
        if let Some(names) = &self.names {
            for query in queries(&place, whole) {
                match names.list(query) {
                    Some(list) => found.extend(list.iter().map(|name| quote_ident(name))),
                    None => waiting = true,
                }
            }
        }
        self.was_waiting |= waiting;
        let typed = place.word.to_lowercase();
        let mut suggestions: Vec<Suggestion> = found
            .into_iter()
            .filter(|name| name.to_lowercase().starts_with(&typed))
            .map(|value| Suggestion {
                value,
                span: Span { start: pos - place.word.len(), end: pos },
                ..Suggestion::default()
            })
            .collect();
        suggestions.sort_by(|a, b| a.value.cmp(&b.value));
        suggestions.dedup_by(|a, b| a.value == b.value);
        if waiting {
            let origin = CompletionOrigin::new(line, pos);
            return CompletionResult::stale_or_pending(suggestions.into(), origin);
        }
        CompletionResult::fresh(suggestions)
    }

    fn poll_completion(&mut self) -> CompletionStatus {
        let waiting = self.names.as_ref().is_some_and(|names| names.is_waiting());
        match (self.was_waiting, waiting) {
            (_, true) => CompletionStatus::Pending,
            (true, false) => {
                self.was_waiting = false;
                CompletionStatus::Ready
            }
            (false, false) => CompletionStatus::Idle,
        }
    }
}

/// Where the cursor is: `a.b.wo|` has the qualifiers `a` and `b` and the word `wo`.
#[derive(Debug, PartialEq, Eq)]
struct Place {
    qualifiers: Vec<String>,
    word: String,
    /// A relation is expected here rather than a column.
    relation: bool,
}

impl Place {
    fn find(before: &str) -> Self {
        let is_part = |c: char| c.is_alphanumeric() || matches!(c, '_' | '.' | '"' | '\\' | '?');
        let start = before
            .rfind(|c| !is_part(c))
            .map_or(0, |i| i + before[i..].chars().next().map_or(1, char::len_utf8));
        let mut parts: Vec<&str> = before[start..].split('.').collect();
        let word = parts.pop().unwrap_or_default().to_owned();
        let qualifiers = parts.iter().map(|part| unquoted(part)).collect();
        let previous = before[..start]
            .split(|c: char| !c.is_alphanumeric() && c != '_' && c != '\\')
            .rfind(|word| !word.is_empty())
            .unwrap_or_default()
            .to_lowercase();
        let relation = matches!(
            previous.as_str(),
            "from" | "join" | "into" | "update" | "table" | "describe" | "preview" | "view" | "\\d"
        );
        Self { qualifiers, word, relation }
    }
}

fn unquoted(part: &str) -> String {
    match part.strip_prefix('"') {
        Some(rest) => rest.trim_end_matches('"').to_owned(),
        None => part.to_lowercase(),
    }
}

/// Returns the questions whose answers can stand at a place.
fn queries(place: &Place, line: &str) -> Vec<String> {
    let text = |name: &str| quote_literal(name);
    match place.qualifiers.as_slice() {
        [] if place.relation => vec![
            "SELECT name FROM system.catalogs".to_owned(),
            "SELECT name FROM system.schemas WHERE catalog = 'maru'".to_owned(),
        ],
        [] if !place.word.is_empty() => relations_of(line)
            .into_iter()
            .filter_map(|relation| columns_of(&relation.parts))
            .collect(),
        [] => Vec::new(),
        [one] => {
            let mut queries = vec![
                format!("SELECT name FROM system.schemas WHERE catalog = {}", text(one)),
                format!(
                    "SELECT name FROM system.tables WHERE catalog = 'maru' AND schema = {}",
                    text(one)
                ),
            ];
            let aliased = relations_of(line).into_iter().filter(|relation| relation.is_called(one));
            let columns: Vec<_> =
                aliased.filter_map(|relation| columns_of(&relation.parts)).collect();
            if !columns.is_empty() {
                queries = columns;
            }
            queries
        }
        [catalog, schema] => vec![format!(
            "SELECT name FROM system.tables WHERE catalog = {} AND schema = {}",
            text(catalog),
            text(schema)
        )],
        _ => Vec::new(),
    }
}

fn columns_of(parts: &[String]) -> Option<String> {
    let (catalog, schema, table) = match parts {
        [table] => ("maru", "public", table.as_str()),
        [schema, table] => ("maru", schema.as_str(), table.as_str()),
        [catalog, schema, table] => (catalog.as_str(), schema.as_str(), table.as_str()),
        _ => return None,
    };
    Some(format!(
        "SELECT name FROM system.columns WHERE catalog = {} AND schema = {} AND \"table\" = {}",
        quote_literal(catalog),
        quote_literal(schema),
        quote_literal(table)
    ))
}

struct Relation {
    parts: Vec<String>,
    alias: Option<String>,
}

impl Relation {
    fn is_called(&self, name: &str) -> bool {
        match &self.alias {
            Some(alias) => alias == name,
            None => self.parts.last().is_some_and(|last| last == name),
        }
    }
}

/// Finds `FROM a.b x, c AS y JOIN d` by its words; good enough to offer columns.
fn relations_of(line: &str) -> Vec<Relation> {
    let spaced = line.replace(',', " , ").replace(['(', ')', ';'], " ; ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let is_keyword = |word: &str| KEYWORDS.iter().any(|k| k.eq_ignore_ascii_case(word));
    let mut relations = Vec::new();
    let mut in_from = false;
    let mut i = 0;
    while let Some(word) = words.get(i) {
        i += 1;
        let lower = word.to_lowercase();
        if matches!(lower.as_str(), "from" | "join") || (in_from && *word == ",") {
            in_from = true;
            let Some(name) = words.get(i).filter(|name| !is_keyword(name) && **name != ";") else {
                continue;
            };
            i += 1;
            if words.get(i).is_some_and(|word| word.eq_ignore_ascii_case("as")) {
                i += 1;
            }
            let alias =
                words.get(i).filter(|word| !is_keyword(word) && !matches!(**word, "," | ";"));
            relations.push(Relation {
                parts: name.split('.').map(unquoted).collect(),
                alias: alias.map(|alias| unquoted(alias)),
            });
        } else if is_keyword(word)
            && !matches!(lower.as_str(), "as" | "on" | "and" | "inner" | "left")
        {
            in_from = false;
        }
    }
    relations
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_place_of_the_cursor() {
        let place = Place::find("SELECT * FROM user_dhp_hive.\"De mo\".lo");
        assert_eq!(place.word, "lo");
        let place = Place::find("SELECT * FROM Hive.demo.lo");
        assert_eq!(place.qualifiers, ["hive", "demo"]);
        assert!(place.relation);
        let place = Place::find("SELECT 한");
        assert_eq!((place.word.as_str(), place.relation), ("한", false));
    }

    #[test]
    fn columns_are_those_of_the_alias() {
        let line = "SELECT a. FROM demo.parquet_sample a, hive.demo.log AS b WHERE 1";
        let place = Place::find("SELECT a.");
        let asked = queries(&place, line);
        assert_eq!(asked.len(), 1);
        assert!(asked[0].contains("'parquet_sample'"), "{asked:?}");
        let both = queries(
            &Place::find("SELECT u"),
            "SELECT u FROM demo.parquet_sample a JOIN hive.demo.log b",
        );
        assert_eq!(both.len(), 2);
        assert!(both[1].contains("catalog = 'hive'"), "{both:?}");
    }
}
