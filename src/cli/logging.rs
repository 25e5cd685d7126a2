//! Where log lines go: standard error, as text or JSON.

use std::io::IsTerminal;

use maru_core::{Error, ErrorKind, Result};
use tracing_subscriber::EnvFilter;

use crate::config::{Loaded, LogFormat, Origin};

/// Starts logging. A server tells what it does; a tool speaks only when something is wrong.
pub(super) fn start(loaded: &Loaded, serves: bool) -> Result<()> {
    let config = &loaded.config;
    let asked = loaded.origin("log") != Origin::Default;
    let text = match (asked, serves) {
        (true, _) => config.log.as_str(),
        (false, true) => "info,sqlx=warn,h2=warn,hyper=warn",
        (false, false) => "warn",
    };
    let filter = EnvFilter::try_new(text).map_err(|cause| {
        Error::new(ErrorKind::ConfigInvalid, format!("bad value for \"log\": \"{text}\""))
            .with_cause(cause)
            .with_hint("Write a level such as info, or a list such as info,maru=debug.")
    })?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let started = match config.log_format {
        LogFormat::Json => builder.json().try_init(),
        LogFormat::Text => builder.with_ansi(std::io::stderr().is_terminal()).try_init(),
    };
    started.map_err(|cause| Error::internal("cannot start logging").with_cause(cause))
}
