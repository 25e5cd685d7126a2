//! `maru sql`: which engine the shell talks to.

use std::io::{IsTerminal, stderr, stdin, stdout};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::ArgMatches;
use console::Term;
use maru_core::{Error, ErrorKind, Result, Secret};

use super::serve::reachable;
use crate::config::Config;
use crate::engine::Engine;
use crate::owner::Owner;
use crate::shell::backend::{Backend, Failure};
use crate::shell::embedded::Embedded;
use crate::shell::format::Style;
use crate::shell::remote::{Remote, Target};
use crate::shell::{self, Exit, Format, Input, Options};

/// How long the shell's own engine may take to end.
const CLOSE_GRACE: Duration = Duration::from_secs(2);

pub(super) async fn run(config: Config, matches: &ArgMatches) -> Result<ExitCode> {
    let options = options(&config, matches);
    if let Some(url) = matches.get_one::<String>("connect") {
        let mut target = Target::parse(url)?;
        if !target.has_password()
            && let Some(password) = password_for(&target)?
        {
            target.set_password(&password);
        }
        return Ok(connected(Remote::connect(target).await, options).await);
    }
    let data_dir = config.data_dir.clone();
    match Engine::open(config).await {
        Ok(engine) => {
            if let Some(notice) = engine.initial_password_notice()
                && options.inputs.is_empty()
                && stderr().is_terminal()
            {
                eprintln!("{notice}");
            }
            let exit = match Embedded::open(engine.clone()).await {
                Ok(backend) => shell::run(Arc::new(backend), options).await,
                Err(failure) => {
                    eprintln!("{failure}");
                    Exit::Failure
                }
            };
            engine.close(CLOSE_GRACE).await;
            Ok(ExitCode::from(exit as u8))
        }
        Err(error) if error.kind() == ErrorKind::LockedDataDir => {
            let Some(owner) = Owner::read(&data_dir) else { return Err(error) };
            // Another shell or the demo serves nobody.
            let Some(address) = owner.pg else { return Err(error) };
            if options.inputs.is_empty() && stdout().is_terminal() {
                eprintln!(
                    "The data directory belongs to process {}; talking to its server at {}.",
                    owner.pid, address
                );
            }
            let mut target =
                Target::parse(&format!("postgres://{LOCAL_USER}@{}/maru", reachable(&address)))?;
            target.set_password(&Secret::new(owner.token));
            Ok(connected(Remote::connect(target).await, options).await)
        }
        Err(error) => Err(error),
    }
}

/// The user, in a URL, as whom the owner's token logs in: `maru@local`.
const LOCAL_USER: &str = "maru%40local";

async fn connected(remote: Result<Remote, Failure>, options: Options) -> ExitCode {
    let exit = match remote {
        Ok(remote) => {
            let backend: Arc<dyn Backend> = Arc::new(remote);
            shell::run(backend, options).await
        }
        Err(failure) => {
            eprintln!("{failure}");
            Exit::Connection
        }
    };
    ExitCode::from(exit as u8)
}

/// Returns the password from PGPASSWORD or from the person at the terminal.
fn password_for(target: &Target) -> Result<Option<Secret>> {
    if let Ok(password) = std::env::var("PGPASSWORD") {
        return Ok(Some(Secret::new(password)));
    }
    if !stdin().is_terminal() || !stderr().is_terminal() {
        return Ok(None);
    }
    eprint!("Password for user {}: ", target.user());
    let password = Term::stderr()
        .read_secure_line()
        .map_err(|cause| Error::new(ErrorKind::Io, "cannot read the password").with_cause(cause))?;
    Ok(Some(Secret::new(password)))
}

fn options(config: &Config, matches: &ArgMatches) -> Options {
    // In the order in which they stand on the command line.
    let texts =
        matches.get_many::<String>("command").into_iter().flatten().cloned().map(Input::Text);
    let files = matches
        .get_many::<String>("file")
        .into_iter()
        .flatten()
        .map(|f| Input::File(PathBuf::from(f)));
    let places = |name: &str| matches.indices_of(name).into_iter().flatten().collect::<Vec<_>>();
    let mut inputs: Vec<_> = places("command").into_iter().zip(texts).collect();
    inputs.extend(places("file").into_iter().zip(files));
    inputs.sort_by_key(|(place, _)| *place);
    let format = matches.get_one::<Format>("format").copied().unwrap_or(Format::Table);
    Options {
        inputs: inputs.into_iter().map(|(_, input)| input).collect(),
        style: Style {
            format,
            expanded: false,
            null: String::new(),
            tuples_only: matches.get_flag("tuples-only"),
        },
        timing: matches.get_flag("timing"),
        paging: !matches.get_flag("no-pager"),
        quiet: matches.get_flag("quiet"),
        history: Some(history(config)),
    }
}

/// The history belongs to the person: statements of one data directory are wanted in another, too.
fn history(config: &Config) -> PathBuf {
    match std::env::var_os("HOME").filter(|home| !home.is_empty()) {
        Some(home) => PathBuf::from(home).join(".maru_history"),
        None => config.data_dir.join("history"),
    }
}
