//! `maru demo`: reads its flags; the demo itself is in `src/demo.rs`.

use std::process::ExitCode;

use clap::ArgMatches;
use maru_core::Result;

use crate::config::Config;
use crate::demo;

pub(super) async fn run(config: Config, matches: &ArgMatches) -> Result<ExitCode> {
    let rows = matches.get_one::<u64>("rows").copied().unwrap_or(demo::ROWS);
    demo::run(config, rows).await?;
    Ok(ExitCode::SUCCESS)
}
