//! The shell's own commands, which start with a backslash. Most are short for a statement.

use std::ops::ControlFlow;
use std::path::PathBuf;

use maru_core::{Error, ErrorKind, did_you_mean, quote_literal};

use super::backend::Failure;
use super::format::Format;
use super::output::Output;
use super::{Shell, Stop};
use crate::session::StatementText;

/// One command, for help and completion.
pub(super) struct MetaCommand {
    pub(super) name: &'static str,
    arguments: &'static str,
    doc: &'static str,
}

macro_rules! commands {
    ($($name:literal $arguments:literal $doc:literal;)*) => {
        /// Every command of the shell.
        pub(super) const COMMANDS: &[MetaCommand] =
            &[$(MetaCommand { name: $name, arguments: $arguments, doc: $doc },)*];
    };
}

commands! {
    "\\d" "[NAME]" "list tables and views, or describe one";
    "\\dt" "[PATTERN]" "list tables, e.g. crm.*.cust*";
    "\\dn" "[PATTERN]" "list schemas";
    "\\df" "[PATTERN]" "list functions";
    "\\l" "" "list catalogs";
    "\\x" "" "switch between a line for each row and a line for each value";
    "\\t" "" "switch headers and footers off or on";
    "\\timing" "" "switch the time of each statement on or off";
    "\\pset" "format|null VALUE" "set the format (table, csv, json, markdown) or what stands for NULL";
    "\\i" "FILE" "run a file";
    "\\o" "[FILE]" "send results to a file, or to the screen again";
    "\\conninfo" "" "show who is connected to what";
    "\\h" "[STATEMENT]" "list the statements of the language, or show the syntax of one";
    "\\?" "" "show this help";
    "\\q" "" "leave";
}

/// Runs one line that starts with a backslash.
pub(super) async fn run(shell: &mut Shell, line: &str) -> Result<ControlFlow<()>, Stop> {
    let line = line.trim_end().trim_end_matches(';');
    let (name, argument) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    let argument = argument.trim();
    let query = match name {
        "\\q" | "\\quit" => return Ok(ControlFlow::Break(())),
        "\\?" => {
            for command in COMMANDS {
                let left = format!("{} {}", command.name, command.arguments);
                shell.print_line(&format!("  {left:24} {}", command.doc));
            }
            shell.print_line("\nA statement ends with a semicolon and may span lines. Ctrl-C cancels it, Ctrl-D leaves.");
            return Ok(ControlFlow::Continue(()));
        }
        "\\x" => {
            shell.style.expanded = switched(shell.style.expanded, argument);
            return said(shell, "Expanded display", shell.style.expanded);
        }
        "\\t" => {
            shell.style.tuples_only = switched(shell.style.tuples_only, argument);
            return said(shell, "Tuples only", shell.style.tuples_only);
        }
        "\\timing" => {
            shell.timing = switched(shell.timing, argument);
            return said(shell, "Timing", shell.timing);
        }
        "\\conninfo" => {
            shell.print_line(&shell.backend.describe());
            return Ok(ControlFlow::Continue(()));
        }
        "\\pset" => return set(shell, argument),
        "\\i" | "\\include" => {
            if argument.is_empty() {
                return refuse("\\i needs the name of a file");
            }
            return Box::pin(shell.file(&PathBuf::from(unquoted(argument)))).await;
        }
        "\\o" => {
            let opened = match argument {
                "" => Ok(Output::Stdout),
                path => Output::to_file(&PathBuf::from(unquoted(path))),
            };
            return match opened {
                Ok(output) => {
                    shell.output = output;
                    Ok(ControlFlow::Continue(()))
                }
                Err(cause) => refuse_with(
                    Error::new(ErrorKind::Io, format!("cannot write \"{argument}\""))
                        .with_cause(cause),
                ),
            };
        }
        "\\l" => "SHOW CATALOGS".to_owned(),
        "\\dn" => schemas(argument),
        "\\dt" => tables(argument),
        "\\d" if argument.is_empty() => tables(""),
        "\\d" => format!("DESCRIBE {argument}"),
        "\\df" => functions(argument),
        "\\h" | "\\help" => statements(argument),
        _ => {
            let likely = did_you_mean(name, COMMANDS.iter().map(|command| command.name));
            let hint = likely
                .map_or_else(|| "Try \\? for help.".to_owned(), |l| format!("Did you mean {l}?"));
            return refuse_with(
                Error::new(ErrorKind::Syntax, format!("invalid command {name}")).with_hint(hint),
            );
        }
    };
    let statement = StatementText { text: query.clone(), offset: 0 };
    match shell.statement(&statement).await {
        Ok(()) => Ok(ControlFlow::Continue(())),
        Err(failure) => {
            // The place is in our statement, not in what the user typed.
            let failure = Failure { position: None, ..failure };
            eprint!("{}", failure.report(&query, 1));
            Err(if failure.lost { Stop::Lost } else { Stop::Failed })
        }
    }
}

fn switched(now: bool, argument: &str) -> bool {
    match argument {
        "on" => true,
        "off" => false,
        _ => !now,
    }
}

fn said(shell: &Shell, what: &str, on: bool) -> Result<ControlFlow<()>, Stop> {
    if !shell.quiet {
        shell.print_line(&format!("{what} is {}.", if on { "on" } else { "off" }));
    }
    Ok(ControlFlow::Continue(()))
}

fn set(shell: &mut Shell, argument: &str) -> Result<ControlFlow<()>, Stop> {
    let (name, value) = argument.split_once(char::is_whitespace).unwrap_or((argument, ""));
    let value = value.trim();
    match name {
        "format" => match <Format as clap::ValueEnum>::from_str(value, true) {
            Ok(format) => shell.style.format = format,
            Err(_) => return refuse("\\pset format takes table, csv, json or markdown"),
        },
        "null" => shell.style.null = unquoted(value).to_owned(),
        _ => return refuse("\\pset takes format or null"),
    }
    Ok(ControlFlow::Continue(()))
}

fn refuse(message: &str) -> Result<ControlFlow<()>, Stop> {
    refuse_with(Error::new(ErrorKind::Syntax, message))
}

fn refuse_with(error: Error) -> Result<ControlFlow<()>, Stop> {
    eprintln!("{}", error.report());
    Err(Stop::Failed)
}

fn unquoted(text: &str) -> &str {
    text.strip_prefix('\'').and_then(|text| text.strip_suffix('\'')).unwrap_or(text)
}

/// Turns psql's `*` and `?` into LIKE's signs.
fn like(pattern: &str) -> String {
    let pattern = pattern.replace('\\', "\\\\").replace('_', "\\_").replace('%', "\\%");
    quote_literal(&pattern.replace('*', "%").replace('?', "_"))
}

fn schemas(pattern: &str) -> String {
    let condition = match pattern.split_once('.') {
        None if pattern.is_empty() => String::new(),
        None => format!("WHERE name LIKE {}", like(pattern)),
        Some((catalog, schema)) => {
            format!("WHERE catalog LIKE {} AND name LIKE {}", like(catalog), like(schema))
        }
    };
    format!("SELECT catalog, name FROM system.schemas {condition} ORDER BY 1, 2")
}

/// Without a pattern, Maru's own description of itself is left out.
fn tables(pattern: &str) -> String {
    let parts: Vec<_> = pattern.split('.').collect();
    let condition = match parts.as_slice() {
        [""] => "schema NOT IN ('system', 'information_schema', 'pg_catalog')".to_owned(),
        [table] => format!("name LIKE {}", like(table)),
        [schema, table] => {
            format!("schema LIKE {} AND name LIKE {}", like(schema), like(table))
        }
        [catalog, rest @ ..] => {
            let schema = rest.first().copied().unwrap_or("*");
            let table = rest[1..].join(".");
            format!(
                "catalog LIKE {} AND schema LIKE {} AND name LIKE {}",
                like(catalog),
                like(schema),
                like(&table)
            )
        }
        [] => "true".to_owned(),
    };
    format!(
        "SELECT catalog, schema, name, kind FROM system.tables WHERE {condition} ORDER BY 1, 2, 3"
    )
}

fn statements(name: &str) -> String {
    match name {
        "" => "SELECT name, description FROM system.statements ORDER BY 1".to_owned(),
        name => format!(
            "SELECT name, syntax, description, example FROM system.statements WHERE name ILIKE {} ORDER BY 1",
            like(&format!("{name}*"))
        ),
    }
}

fn functions(pattern: &str) -> String {
    let condition = match pattern {
        "" => String::new(),
        pattern => format!("WHERE name LIKE {}", like(pattern)),
    };
    format!("SELECT * FROM system.functions {condition} ORDER BY 1")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_become_conditions() {
        assert!(tables("").contains("NOT IN"));
        assert!(tables("c*").contains("name LIKE 'c%'"));
        assert!(
            tables("crm.*.cust?")
                .contains("catalog LIKE 'crm' AND schema LIKE '%' AND name LIKE 'cust_'")
        );
        assert!(like("a_b'c").contains("a\\_b''c"));
    }
}
