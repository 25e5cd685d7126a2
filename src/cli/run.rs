//! `maru run`: a script of statements, on the engine of this process or on a server.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use maru_core::Result;

use super::options;
use super::sql::{Opened, opened};
use crate::config::Config;
use crate::shell::format::Style;
use crate::shell::{Batch, Exit, Format, run_batch, variable};

pub(super) fn command() -> Command {
    let command = Command::new("run")
        .about("Run a script of SQL statements with variables, progress and an exit code")
        .after_help(
            "Examples:\n  \
             maru run daily.sql --var day=2026-11-22\n  \
             maru run load.sql --on-error continue --connect postgres://maru@db.local:5433/maru\n  \
             maru run report.sql --format csv > report.csv\n  \
             maru run daily.sql --var day=$(date -d yesterday +%F) || mail -s failed ops < /dev/null\n\n\
             Variables: --var day=2026-11-22 puts the text '2026-11-22' where :day stands outside of quotes; a plain number stays\n\
             a number. All variables are looked for before the first statement runs.\n\
             Output: rows go to standard output; statements, what they did and errors to standard error.\n\
             Errors: each statement is a transaction of its own. With --on-error stop the script ends at the first error; with\n\
             continue the rest is run, too.\n\
             Exit codes: 0 all went well; 1 nothing was run (no such file, a variable without a value); 2 no connection, or a lost\n\
             one; 3 a statement failed.\n\
             If a server owns the data directory, the statements are sent to it. What is to run every night, with retries, is a\n\
             pipeline: see CREATE PIPELINE.",
        )
        .arg(
            Arg::new("script")
                .value_name("FILE")
                .value_parser(value_parser!(PathBuf))
                .required(true)
                .help("The script; - is standard input"),
        )
        .arg(
            Arg::new("var")
                .long("var")
                .short('v')
                .value_name("NAME=VALUE")
                .action(ArgAction::Append)
                .help("Value of a variable; may be repeated"),
        )
        .arg(
            Arg::new("on-error")
                .long("on-error")
                .value_name("WHAT")
                .value_parser(["stop", "continue"])
                .default_value("stop")
                .help("What becomes of the statements behind one that fails"),
        )
        .arg(
            Arg::new("connect")
                .long("connect")
                .value_name("URL")
                .help("Talk to a server: postgres://user@host:port/catalog"),
        )
        .arg(
            Arg::new("format")
                .long("format")
                .value_name("FORMAT")
                .value_parser(value_parser!(Format))
                .default_value("table")
                .help("How rows are written"),
        )
        .arg(
            Arg::new("progress")
                .long("progress")
                .action(ArgAction::SetTrue)
                .help("Tell how far a statement is even if standard error is no terminal"),
        )
        .arg(
            Arg::new("quiet")
                .short('q')
                .long("quiet")
                .action(ArgAction::SetTrue)
                .help("Print rows and errors only"),
        );
    options::with_settings(command, false)
}

pub(super) async fn run(config: Config, matches: &ArgMatches) -> Result<ExitCode> {
    let given = matches.get_many::<String>("var").into_iter().flatten();
    let batch = Batch {
        file: matches.get_one::<PathBuf>("script").cloned().unwrap_or_default(),
        variables: given.map(|text| variable(text)).collect::<Result<_>>()?,
        goes_on: matches.get_one::<String>("on-error").is_some_and(|what| what == "continue"),
        style: Style {
            format: matches.get_one::<Format>("format").copied().unwrap_or(Format::Table),
            expanded: false,
            null: String::new(),
            tuples_only: false,
        },
        quiet: matches.get_flag("quiet"),
        tells: matches.get_flag("progress"),
    };
    let connect = matches.get_one::<String>("connect").map(String::as_str);
    let exit = match opened(config, connect, |_, _| {}).await? {
        Ok(Opened { backend, engine }) => {
            let exit = run_batch(backend, batch).await;
            if let Some(engine) = engine {
                engine.close(super::sql::CLOSE_GRACE).await;
            }
            exit
        }
        Err(failure) => {
            eprintln!("{failure}");
            Exit::Connection
        }
    };
    Ok(ExitCode::from(exit as u8))
}
