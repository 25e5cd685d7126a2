//! The command line: its subcommands, their flags, and what each starts.
//!
//! Flags of settings come from the one list in `config/settings.rs`; only what belongs to a single subcommand is
//! written here.

mod demo;
mod logging;
mod options;
mod run;
mod serve;
mod setup;
mod sql;

use std::process::ExitCode;

use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use maru_core::{Error, ErrorKind, Result};

/// Reads the command line, does what it asks for, and returns the exit code.
pub fn main() -> ExitCode {
    let matches = match command().try_get_matches() {
        Ok(matches) => matches,
        Err(error) => {
            let code = u8::try_from(error.exit_code()).unwrap_or(2);
            // Help is not an error; what cannot be printed cannot be reported either.
            let _ = error.print();
            return ExitCode::from(code);
        }
    };
    match dispatch(&matches) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("{}", error.report());
            ExitCode::FAILURE
        }
    }
}

fn dispatch(matches: &ArgMatches) -> Result<ExitCode> {
    let Some((name, matches)) = matches.subcommand() else {
        return Ok(ExitCode::FAILURE);
    };
    if name == "reference" {
        print!("{}", crate::reference::connectors());
        return Ok(ExitCode::SUCCESS);
    }
    let settings = matches.subcommand().map_or(matches, |(_, inner)| inner);
    let loaded = crate::config::load(&options::layers(settings))?;
    if name == "serve" && matches.get_flag("print-config") {
        print!("{}", loaded.print());
        return Ok(ExitCode::SUCCESS);
    }
    logging::start(&loaded, name == "serve")?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_stack_size(crate::engine::executor::STACK_BYTES)
        .build()
        .map_err(|cause| Error::new(ErrorKind::Io, "cannot start threads").with_cause(cause))?;
    let code = match name {
        "serve" => runtime.block_on(serve::run(loaded.config)),
        "sql" => runtime.block_on(sql::run(loaded.config, matches)),
        "run" => runtime.block_on(run::run(loaded.config, matches)),
        "setup" => setup::run(&loaded.config, matches),
        _ => runtime.block_on(demo::run(loaded.config, matches)),
    };
    // A thread that waits for a line of the terminal must not keep the process.
    runtime.shutdown_background();
    code
}

/// Returns the command line as clap reads it.
pub fn command() -> Command {
    Command::new("maru")
        .version(env!("CARGO_PKG_VERSION"))
        .about("One SQL engine in front of all the data of a company")
        .after_help(
            "Start with:\n  \
             maru demo                              sample data, catalogs and a tour of queries\n  \
             maru sql                               a shell on the engine\n  \
             maru serve                             a server for psql, drivers and Flight SQL\n  \
             maru run daily.sql --var day=2026-11-22  a script, for a shell or a timer\n\n\
             Every setting is a flag, a MARU_… variable and a key of maru.toml; see \"maru serve --help\".",
        )
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(serve_command())
        .subcommand(sql_command())
        .subcommand(run::command())
        .subcommand(demo_command())
        .subcommand(setup::command())
        .subcommand(
            Command::new("reference")
                .about("Print the reference of connectors: options, types, what is left to sources")
                .after_help("Example:\n  maru reference > docs/connectors/reference.md"),
        )
}

fn serve_command() -> Command {
    let command = Command::new("serve")
        .about("Start a server: PostgreSQL wire, Arrow Flight SQL, HTTP health and metrics")
        .after_help(
            "Examples:\n  \
             maru serve\n  \
             maru serve --pg-listen 127.0.0.1:0           any free port; the one in use is printed\n  \
             maru serve --print-config                    every setting and where its value comes from\n  \
             MARU_INITIAL_PASSWORD=… maru serve           choose the superuser's first password\n\n\
             The addresses in use stand in endpoints.json in the data directory while the server runs. SIGTERM\n\
             and Ctrl-C stop it once running statements have ended; a second one stops it at once.",
        )
        .arg(
            Arg::new("print-config")
                .long("print-config")
                .action(ArgAction::SetTrue)
                .help("Print the resolved configuration as a maru.toml and exit"),
        );
    options::with_settings(command, true)
}

fn sql_command() -> Command {
    let command = Command::new("sql")
        .about("Run SQL: an interactive shell, statements, or a file")
        .after_help(
            "Examples:\n  \
             maru sql                                           a shell on the engine in this process\n  \
             maru sql -c 'SHOW CATALOGS'\n  \
             maru sql --format csv -f report.sql > report.csv\n  \
             maru sql --connect postgres://maru@db.local:5433/maru\n  \
             echo 'SELECT 1' | maru sql\n\n\
             If a server owns the data directory, the shell talks to that server.\n\n\
             Exit codes: 0 all went well; 1 a statement of -c failed, or the shell itself; 2 no connection, or a lost\n\
             one; 3 a statement of -f or of standard input failed. A script stops at its first error.\n\
             The password for --connect comes from PGPASSWORD or is asked for.",
        )
        .arg(
            Arg::new("command")
                .short('c')
                .long("command")
                .value_name("SQL")
                .action(ArgAction::Append)
                .help("Run these statements and exit; may be repeated"),
        )
        .arg(
            Arg::new("file")
                .short('f')
                .long("file")
                .value_name("FILE")
                .action(ArgAction::Append)
                .help("Run the statements of a file and exit; - is standard input"),
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
                .value_parser(value_parser!(crate::shell::Format))
                .default_value("table")
                .help("How results are written"),
        )
        .arg(
            Arg::new("quiet")
                .short('q')
                .long("quiet")
                .action(ArgAction::SetTrue)
                .help("Print results only: no tags, notices or greeting"),
        )
        .arg(
            Arg::new("tuples-only")
                .short('t')
                .long("tuples-only")
                .action(ArgAction::SetTrue)
                .help("Leave out headers and row counts"),
        )
        .arg(
            Arg::new("timing")
                .long("timing")
                .action(ArgAction::SetTrue)
                .help("Print the time of each statement"),
        )
        .arg(
            Arg::new("no-pager")
                .long("no-pager")
                .action(ArgAction::SetTrue)
                .help("Never use a pager for results larger than the terminal"),
        );
    options::with_settings(command, false)
}

fn demo_command() -> Command {
    let command = Command::new("demo")
        .about("Make sample data, attach it as catalogs and run a tour of queries over it")
        .after_help(
            "Examples:\n  \
             maru demo                      1,000,000 log lines, 300,000 calls, 20,000 customers\n  \
             maru demo --rows 10000         the same, smaller\n\n\
             The data lies in the directory demo of the data directory, is made once and always the same.",
        )
        .arg(
            Arg::new("rows")
                .long("rows")
                .value_name("NUMBER")
                .value_parser(value_parser!(u64).range(1000..=100_000_000))
                .default_value("1000000")
                .help("Log lines to make; calls and customers follow in proportion"),
        );
    options::with_settings(command, false)
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_command_line_is_consistent() {
        super::command().debug_assert();
    }

    #[test]
    fn every_subcommand_takes_every_setting() {
        for subcommand in ["serve", "sql", "demo", "run", "setup"] {
            let mut words = vec!["maru", subcommand];
            if subcommand == "setup" {
                words.push("onnx");
            }
            words.extend(["--data-dir", "/d", "--memory-limit", "1GB", "--pg-listen", "a:1"]);
            if subcommand == "run" {
                words.push("x.sql");
            }
            let matches = super::command().try_get_matches_from(words).unwrap();
            let (_, matches) = matches.subcommand().unwrap();
            let matches = matches.subcommand().map_or(matches, |(_, inner)| inner);
            let layers = super::options::layers(matches);
            assert_eq!(
                layers.flags.get("data_dir").map(String::as_str),
                Some("/d"),
                "{subcommand}"
            );
            assert_eq!(layers.flags.len(), 3, "{subcommand}");
        }
    }
}
