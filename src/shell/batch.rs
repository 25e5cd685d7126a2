//! `maru run`: a stored script, statement by statement, with variables, progress and an exit code for the shell that called it.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal, Read};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt;
use maru_core::{Error, ErrorKind, Result, ResultExt, quote_ident, quote_literal};

use super::backend::{Backend, Failure, Reply, ResultSet};
use super::output::Output;
use super::script::words;
use super::{Exit, Shell, Style, interruptible};
use crate::pipelines::{Substituted, substitute};
use crate::session::{Session, StatementText, word_position};

/// Time between two looks at how far a statement is.
const TELL: Duration = Duration::from_secs(2);

/// Characters of a statement that are shown.
const SHOWN_CHARS: usize = 70;

/// What the command line asks for.
#[derive(Debug)]
pub struct Batch {
    /// `-` is standard input.
    pub file: PathBuf,
    pub variables: BTreeMap<String, String>,
    /// Whether the statements behind one that failed are run.
    pub goes_on: bool,
    pub style: Style,
    pub quiet: bool,
    /// Whether progress is told even if nobody sits there.
    pub tells: bool,
}

/// Reads `name=value`.
///
/// # Errors
/// 22023 for a text without a name.
pub fn variable(text: &str) -> Result<(String, String)> {
    let named = text.split_once('=').filter(|(name, _)| {
        let mut chars = name.chars();
        chars.next().is_some_and(|c| c.is_alphabetic() || c == '_')
            && chars.all(|c| c.is_alphanumeric() || c == '_')
    });
    let (name, value) = named.ok_or_else(|| {
        Error::new(ErrorKind::InvalidParameter, format!("--var \"{text}\" names no variable"))
            .with_hint("Write --var day=2026-11-22; it stands in the script as :day.")
    })?;
    Ok((name.to_lowercase(), value.to_owned()))
}

/// Returns a value as SQL: a plain number stays one, anything else is text.
fn literal(value: &str) -> String {
    let digits = value.strip_prefix('-').unwrap_or(value);
    let plain = digits.bytes().all(|b| b.is_ascii_digit() || b == b'.')
        && digits.parse::<f64>().is_ok()
        && !(digits.len() > 1 && digits.starts_with('0') && !digits.starts_with("0."))
        && !digits.starts_with('.')
        && !digits.ends_with('.');
    match plain {
        true if value.starts_with('-') => format!("({value})"),
        true => value.to_owned(),
        false => quote_literal(value),
    }
}

fn read(batch: &Batch) -> Result<String> {
    let mut text = String::new();
    let cannot = || format!("cannot read \"{}\"", batch.file.display());
    match batch.file.as_os_str() == "-" {
        true => {
            io::stdin().read_to_string(&mut text).or_error(ErrorKind::Io, cannot)?;
        }
        false => text = std::fs::read_to_string(&batch.file).or_error(ErrorKind::Io, cannot)?,
    }
    Ok(text)
}

/// Returns what stands in a script for each variable: `:name` its value, `:'name'` its value as text, `:"name"` a name of something.
fn values(variables: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let forms = |(name, value): (&String, &String)| {
        [
            (name.clone(), literal(value)),
            (format!("'{name}'"), quote_literal(value)),
            (format!("\"{name}\""), quote_ident(value)),
        ]
    };
    variables.iter().flat_map(forms).collect()
}

/// Returns whether a statement makes a pipeline, whose steps have parameters of their own; it may be one that cannot be read.
fn makes_pipeline(text: &str) -> bool {
    let words = words(text, 4);
    let words = words.iter().map(String::as_str).collect::<Vec<_>>();
    words.starts_with(&["create", "pipeline"])
        || words.starts_with(&["create", "or", "replace", "pipeline"])
}

/// Checks the whole script before its first statement: a variable that is missing at its end costs nothing then.
fn statements(text: &str, batch: &Batch) -> Result<Vec<(StatementText, Substituted)>> {
    let values = values(&batch.variables);
    let mut statements = Vec::new();
    for statement in Session::split(text)? {
        let filled = match makes_pipeline(&statement.text) {
            true => Ok(Substituted { text: statement.text.clone(), values: Vec::new() }),
            false => substitute(&statement.text, &values),
        };
        let filled = filled.map_err(|error| {
            let message = error.primary().replace("parameter", "variable");
            let kind = error.kind();
            let place = error.locate(&statement.text, statement.offset).position().unwrap_or(1);
            Error::new(kind, message)
                .with_hint("Give it a value: --var name=value.")
                .with_position(place)
        })?;
        // The rows would have to come from where the script comes from.
        if let Ok(maru_sql::Statement::Copy(copy)) = maru_sql::parse(&filled.text)
            && copy.file.is_none()
        {
            let what = if copy.from { "COPY … FROM STDIN" } else { "COPY … TO STDOUT" };
            let error = Error::unsupported(format!("a script cannot run {what}")).with_hint(
                "COPY reads and writes files, too: COPY table FROM 'path'. The rows of a query are printed, with --format csv as CSV.",
            );
            return Err(match word_position(&statement.text, "copy") {
                Some((line, column)) => {
                    error.with_line_column(line, column).locate(&statement.text, statement.offset)
                }
                None => error,
            });
        }
        statements.push((statement, filled));
    }
    Ok(statements)
}

/// Runs a script.
pub async fn run_batch(backend: Arc<dyn Backend>, batch: Batch) -> Exit {
    let text = match read(&batch) {
        Ok(text) => text,
        Err(error) => {
            eprintln!("{}", error.report());
            return Exit::Failure;
        }
    };
    let statements = match statements(&text, &batch) {
        Ok(statements) => statements,
        Err(error) => {
            eprint!("{}", Failure::from(error).report(&text, 1));
            return Exit::Failure;
        }
    };
    let mut shell = Shell {
        backend,
        style: batch.style.clone(),
        timing: false,
        paging: false,
        quiet: batch.quiet,
        interactive: false,
        output: Output::default(),
        depth: 0,
        ends: None,
    };
    let tells = batch.tells || (io::stderr().is_terminal() && !batch.quiet);
    let watcher = match tells {
        true => Watcher::open(&shell.backend).await,
        false => None,
    };
    let (total, mut n_failed) = (statements.len(), 0);
    let mut block = Block::default();
    for (number, (statement, filled)) in statements.into_iter().enumerate() {
        let started = Instant::now();
        if !batch.quiet {
            eprintln!("[{}/{total}] {}", number + 1, first_line(&statement.text));
        }
        let one = StatementText { text: filled.text.clone(), offset: statement.offset };
        let outcome = match &watcher {
            Some(watcher) => {
                tokio::select! {
                    outcome = shell.one(&one) => outcome,
                    () = watcher.tell() => Ok(None),
                }
            }
            None => shell.one(&one).await,
        };
        let undoes = block.ends_failed(&filled.text, outcome.is_err());
        match outcome {
            Ok(told) => {
                let told = if undoes { Some("ROLLBACK".to_owned()) } else { told };
                if let Some(told) = told.filter(|_| !batch.quiet) {
                    eprintln!("        {told}, {:.1} s", started.elapsed().as_secs_f64());
                }
            }
            Err(mut failure) => {
                // Places are those of the script, not of what stands there now.
                let before = statement.offset + 1;
                failure.position = failure
                    .position
                    .map(|place| before + filled.original(place.saturating_sub(before)));
                eprint!("{}", failure.report(&text, 1));
                n_failed += 1;
                if failure.lost {
                    return Exit::Connection;
                }
                if !batch.goes_on {
                    if number + 1 < total {
                        eprintln!(
                            "Stopped: {} of {total} statements were not run.",
                            total - number - 1
                        );
                    }
                    return Exit::Script;
                }
            }
        }
        if shell.ends.is_some() {
            break;
        }
    }
    if n_failed > 0 {
        eprintln!("{n_failed} of {total} statements failed.");
        return Exit::Script;
    }
    Exit::Success
}

/// A transaction block of the script. The server tells no more than that its end was run, so that what became of it is kept here.
#[derive(Debug, Default)]
struct Block {
    open: bool,
    /// A statement in it has failed: its COMMIT undoes it.
    failed: bool,
}

impl Block {
    /// Takes note of a statement that was run; returns whether it is the COMMIT of a block that has failed.
    fn ends_failed(&mut self, sql: &str, is_error: bool) -> bool {
        let words = words(sql, 3);
        let words = words.iter().map(String::as_str).collect::<Vec<_>>();
        if is_error {
            // A COMMIT that fails has ended it, too.
            self.open &= !matches!(words.first(), Some(&("commit" | "end")));
            self.failed = self.open;
            return false;
        }
        match words.as_slice() {
            ["begin", ..] | ["start", "transaction", ..] => {
                self.open = true;
                false
            }
            ["rollback", "to", ..] | ["rollback", _, "to"] => {
                self.failed = false;
                false
            }
            ["commit" | "end" | "rollback" | "abort", ..] => {
                let undoes = self.failed && matches!(words.first(), Some(&("commit" | "end")));
                *self = Self::default();
                undoes
            }
            _ => false,
        }
    }
}

fn first_line(text: &str) -> String {
    let is_remark = |line: &&str| line.trim().is_empty() || line.trim_start().starts_with("--");
    let shown = text.lines().skip_while(is_remark).flat_map(str::split_whitespace);
    let shown = shown.collect::<Vec<_>>().join(" ");
    match shown.char_indices().nth(SHOWN_CHARS) {
        Some((end, _)) => format!("{} …", &shown[..end]),
        None => shown,
    }
}

impl Shell {
    /// Runs one statement, prints its rows, and says what it did.
    async fn one(&mut self, statement: &StatementText) -> Result<Option<String>, Failure> {
        let backend = Arc::clone(&self.backend);
        let reply = interruptible(backend.as_ref(), backend.run(statement, true)).await;
        let told = match reply {
            Ok(Ok(Reply::Rows(result))) => {
                let (result, n_rows) = counted(result);
                let printed = self.print(result).await;
                printed
                    .map(|()| format!("{} rows", n_rows.load(std::sync::atomic::Ordering::Relaxed)))
            }
            Ok(Ok(Reply::Command(tag))) => Ok(tag),
            Ok(Err(failure)) | Err(failure) => Err(failure),
        };
        self.print_notices();
        told.map(Some)
    }
}

fn counted(result: ResultSet) -> (ResultSet, Arc<std::sync::atomic::AtomicUsize>) {
    let n_rows = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counter = Arc::clone(&n_rows);
    let rows = result.rows.inspect(move |rows| {
        if let Ok(rows) = rows {
            counter.fetch_add(rows.len(), std::sync::atomic::Ordering::Relaxed);
        }
    });
    (ResultSet { columns: result.columns, rows: rows.boxed() }, n_rows)
}

/// A second session that looks at how far the first one's statement is.
struct Watcher {
    backend: Arc<dyn Backend>,
    session_id: String,
}

impl Watcher {
    async fn open(backend: &Arc<dyn Backend>) -> Option<Self> {
        let id = one_row(backend, "SELECT pg_backend_pid()").await?;
        let session_id = id.into_iter().next().flatten()?;
        Some(Self { backend: backend.companion().await.ok()?, session_id })
    }

    /// Tells every now and then; never ends.
    async fn tell(&self) {
        let sql = format!(
            "SELECT source_rows, n_rows FROM system.queries WHERE session_id = {} AND state = 'running'",
            self.session_id
        );
        loop {
            tokio::time::sleep(TELL).await;
            let Some(row) = one_row(&self.backend, &sql).await else { continue };
            let number = |at: usize| row.get(at).cloned().flatten().unwrap_or_default();
            eprintln!("        {} rows read, {} rows done", number(0), number(1));
        }
    }
}

async fn one_row(backend: &Arc<dyn Backend>, sql: &str) -> Option<Vec<Option<String>>> {
    let Ok(Reply::Rows(mut result)) = backend.run(&StatementText::one(sql), false).await else {
        return None;
    };
    let mut first = None;
    while let Some(Ok(rows)) = result.rows.next().await {
        first = first.or_else(|| rows.into_iter().next());
    }
    first
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_numbers_or_text() {
        for (value, expected) in [
            ("5", "5"),
            ("-1.5", "(-1.5)"),
            ("007", "'007'"),
            ("2026-11-22", "'2026-11-22'"),
            ("x' OR TRUE", "'x'' OR TRUE'"),
            ("", "''"),
            ("1e5", "'1e5'"),
            ("-", "'-'"),
        ] {
            assert_eq!(literal(value), expected, "{value}");
        }
        assert_eq!(variable("Day=a=b").unwrap(), ("day".to_owned(), "a=b".to_owned()));
        for text in ["day", "=x", "1a=2", "a-b=1"] {
            assert_eq!(variable(text).unwrap_err().sqlstate(), "22023", "{text}");
        }
        let values = values(&BTreeMap::from([("t".to_owned(), "A 7".to_owned())]));
        assert_eq!((values["t"].as_str(), values["\"t\""].as_str()), ("'A 7'", "\"A 7\""));
    }

    #[test]
    fn a_commit_of_a_failed_block_undoes_it() {
        let mut block = Block::default();
        let mut ran = |sql: &str, is_error| block.ends_failed(sql, is_error);
        assert!(!ran("SELECT 1/0", true) && !ran("COMMIT", false));
        assert!(!ran("BEGIN", false) && !ran("SELECT 1", false) && !ran("COMMIT", false));
        assert!(!ran("BEGIN", false) && !ran("SELECT 1/0", true) && ran("-- end\nCOMMIT", false));
        assert!(!ran("START TRANSACTION", false) && !ran("SELECT 1/0", true));
        assert!(!ran("ROLLBACK TO SAVEPOINT s", false) && !ran("END", false));
        assert!(
            !ran("BEGIN", false)
                && !ran("x", true)
                && !ran("ROLLBACK", false)
                && !ran("COMMIT", false)
        );
        assert!(
            !ran("BEGIN", false) && !ran("COMMIT", true) && !ran("x", true) && !ran("END", false)
        );
        assert_eq!(first_line("-- nightly\n\nSELECT  1\nFROM t"), "SELECT 1 FROM t");
    }

    #[test]
    fn pipelines_have_parameters_of_their_own() {
        for text in [
            "-- nightly\nCREATE OR REPLACE PIPELINE p AS BEGIN",
            "create pipeline p (a int) AS $$ STEP s AS SELECT :a; $$",
        ] {
            assert!(makes_pipeline(text), "{text}");
        }
        for text in
            ["RUN PIPELINE p (a => DATE :d)", "CREATE TABLE pipeline (a int)", "SELECT '", ""]
        {
            assert!(!makes_pipeline(text), "{text}");
        }
    }
}
