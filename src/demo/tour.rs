//! Running the tour: each statement, its result as a table, rows and time.

use std::io::{IsTerminal, Write, stdout};
use std::path::Path;
use std::time::{Duration, Instant};

use futures::StreamExt;
use maru_core::{Error, ErrorKind, Result, ResultExt};
use url::Url;

use crate::shell::backend::{Backend, Failure, Reply};
use crate::shell::embedded::Embedded;
use crate::shell::format::{Format, Printer, Style};
use crate::shell::{Piece, pieces};

const SCRIPT: &str = include_str!("../../sql/scripts/demo.sql");

/// Turns what the shell prints into an error of ours; only its text goes on from here.
pub(super) fn as_error(failure: Failure) -> Error {
    let error = Error::new(ErrorKind::InvalidStatement, failure.message);
    match failure.hint {
        Some(hint) => error.with_hint(hint),
        None => error,
    }
}

/// Runs the whole tour and stops at the first error.
pub(super) async fn run(backend: &Embedded, directory: &Path) -> Result<()> {
    let script = script(directory)?;
    let mut spent = Duration::ZERO;
    let mut statements = 0;
    for piece in pieces(&script) {
        let Piece::Statements { text, first_line, statements: parts } = piece else { continue };
        println!("{}", shown(text.trim()));
        for statement in parts {
            let started = Instant::now();
            if let Err(failure) = show(backend, &statement).await {
                eprint!("{}", failure.report(&text, first_line));
                return Err(Error::new(ErrorKind::InvalidStatement, "the tour ended early"));
            }
            let elapsed = started.elapsed();
            println!("Time: {:.1} ms\n", elapsed.as_secs_f64() * 1000.0);
            spent += elapsed;
            statements += 1;
        }
    }
    let memory = peak_memory().map_or_else(String::new, |bytes| {
        format!(", at most {} of memory", indicatif::BinaryBytes(bytes))
    });
    println!("{statements} statements in {:.2} s{memory}.\n", spent.as_secs_f64());
    Ok(())
}

/// Returns the script with the places of the data filled in.
fn script(directory: &Path) -> Result<String> {
    let directory = directory
        .canonicalize()
        .or_error(ErrorKind::Io, || format!("cannot find \"{}\"", directory.display()))?;
    let bucket = Url::from_directory_path(directory.join("bucket/access"))
        .map_err(|()| Error::new(ErrorKind::Io, "the data directory is not an absolute path"))?;
    let literal = |text: &str| text.replace('\'', "''");
    let path = |part: &str| literal(&directory.join(part).display().to_string());
    Ok(SCRIPT
        .replace("${bucket}", &literal(bucket.as_str()))
        .replace("${dhp}", &path("dhp"))
        .replace("${crm}", &path("crm/customers.db")))
}

/// Makes the statement stand out from its result where colours can.
fn shown(text: &str) -> String {
    match stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none() {
        true => format!("\x1b[1m{text}\x1b[0m"),
        false => text.to_owned(),
    }
}

async fn show(
    backend: &Embedded,
    statement: &crate::session::StatementText,
) -> Result<(), Failure> {
    let written = |result: std::io::Result<()>| {
        result.map_err(|cause| {
            Failure::from(Error::new(ErrorKind::Io, "cannot write the result").with_cause(cause))
        })
    };
    match backend.run(statement, true).await? {
        Reply::Command(tag) => println!("{tag}"),
        Reply::Rows(mut result) => {
            let style = Style {
                format: Format::Table,
                expanded: false,
                null: "∅".to_owned(),
                tuples_only: false,
            };
            let mut printer = Printer::new(style, std::mem::take(&mut result.columns));
            let mut text = Vec::new();
            while let Some(rows) = result.rows.next().await {
                written(printer.rows(rows?, &mut text))?;
            }
            written(printer.finish(&mut text).map(drop))?;
            // The footer's blank line is kept for the time that follows.
            let text = text.strip_suffix(b"\n").unwrap_or(&text);
            written(stdout().write_all(text))?;
        }
    }
    for notice in backend.take_notices() {
        println!("NOTICE:  {notice}");
    }
    Ok(())
}

/// Returns the bytes of memory this process has held at most, where the system tells.
fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib * 1024)
}
