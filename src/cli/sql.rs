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
pub(super) const CLOSE_GRACE: Duration = Duration::from_secs(2);

pub(super) async fn run(config: Config, matches: &ArgMatches) -> Result<ExitCode> {
    let options = options(&config, matches);
    let connect = matches.get_one::<String>("connect").map(String::as_str);
    let talks = options.inputs.is_empty();
    let greet = |notice: Option<String>, owner: Option<String>| {
        if let Some(notice) = notice.filter(|_| talks && stderr().is_terminal()) {
            eprintln!("{notice}");
        }
        if let Some(owner) = owner.filter(|_| talks && stdout().is_terminal()) {
            eprintln!("{owner}");
        }
    };
    let exit = match opened(config, connect, greet).await? {
        Ok(Opened { backend, engine }) => {
            let exit = shell::run(backend, options).await;
            if let Some(engine) = engine {
                engine.close(CLOSE_GRACE).await;
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

/// What statements are sent to.
pub(super) struct Opened {
    pub backend: Arc<dyn Backend>,
    /// The engine, if it lives in this process.
    pub engine: Option<Engine>,
}

/// Opens the engine of the data directory, or talks to the server that owns it, or to the one that is named. `greet` gets what a
/// person may want to know: the first password, and whom the data directory belongs to.
///
/// # Errors
/// Those of the engine. The inner ones are of the connection.
pub(super) async fn opened(
    config: Config,
    connect: Option<&str>,
    greet: impl FnOnce(Option<String>, Option<String>),
) -> Result<Result<Opened, Failure>> {
    if let Some(url) = connect {
        let mut target = Target::parse(url)?;
        if !target.has_password()
            && let Some(password) = password_for(&target)?
        {
            target.set_password(&password);
        }
        return Ok(connected(target).await);
    }
    let data_dir = config.data_dir.clone();
    match Engine::open(config).await {
        Ok(engine) => {
            greet(engine.initial_password_notice(), None);
            match Embedded::open(engine.clone()).await {
                Ok(backend) => Ok(Ok(Opened { backend: Arc::new(backend), engine: Some(engine) })),
                Err(failure) => {
                    engine.close(CLOSE_GRACE).await;
                    Ok(Err(failure))
                }
            }
        }
        Err(error) if error.kind() == ErrorKind::LockedDataDir => {
            let Some(owner) = Owner::read(&data_dir) else { return Err(error) };
            // Another shell or the demo serves nobody.
            let Some(address) = owner.pg else { return Err(error) };
            let told = format!(
                "The data directory belongs to process {}; talking to its server at {address}.",
                owner.pid
            );
            greet(None, Some(told));
            let mut target =
                Target::parse(&format!("postgres://{LOCAL_USER}@{}/maru", reachable(&address)))?;
            target.set_password(&Secret::new(owner.token));
            Ok(connected(target).await)
        }
        Err(error) => Err(error),
    }
}

async fn connected(target: Target) -> Result<Opened, Failure> {
    let backend = Remote::connect(target).await?;
    Ok(Opened { backend: Arc::new(backend), engine: None })
}

/// The user, in a URL, as whom the owner's token logs in: `maru@local`.
const LOCAL_USER: &str = "maru%40local";

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
