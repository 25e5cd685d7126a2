//! The flags and environment variables of all settings, made from their list.

use std::path::PathBuf;

use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Command, value_parser};

use crate::config::{Config, Layers, SETTINGS, Scope};

const FILE_VARIABLE: &str = "MARU_CONFIG";

/// Adds `--config` and a flag for each setting. Those of no use to the subcommand are accepted but not shown, so that
/// one set of flags can be given to all.
pub(super) fn with_settings(command: Command, serves: bool) -> Command {
    let defaults = Config::default();
    let file = Arg::new("config")
        .long("config")
        .value_name("FILE")
        .env(FILE_VARIABLE)
        .hide_env_values(true)
        .value_parser(value_parser!(PathBuf))
        .help_heading("Settings")
        .help("Read settings from this file [default: maru.toml in the data or working directory]");
    SETTINGS.iter().fold(command.arg(file), |command, setting| {
        let default = match (setting.default_note, setting.toml_value(&defaults)) {
            (Some(note), _) => note.replace('`', ""),
            (None, Some(value)) => value.trim_matches('"').to_owned(),
            (None, None) => "not set".to_owned(),
        };
        let doc = setting.doc.trim_end_matches('.').replace('`', "");
        // clap wants names that live as long as the process; they are made once.
        command.arg(
            Arg::new(setting.name)
                .long(&*setting.flag().leak())
                .value_name(setting.shape)
                .env(&*setting.variable().leak())
                .hide_env_values(true)
                .help_heading("Settings")
                .hide(!serves && setting.scope == Scope::Serve)
                .help(format!("{doc} [default: {default}]")),
        )
    })
}

/// Returns what was given on the command line and in the environment. An empty variable counts as not set.
pub(super) fn layers(matches: &ArgMatches) -> Layers {
    let mut layers = Layers::default();
    if let Some(file) = matches.get_one::<PathBuf>("config")
        && !file.as_os_str().is_empty()
    {
        layers.file = Some(file.clone());
    }
    for setting in SETTINGS {
        let Some(value) = matches.get_one::<String>(setting.name) else { continue };
        match matches.value_source(setting.name) {
            Some(ValueSource::EnvVariable) if value.is_empty() => {}
            Some(ValueSource::EnvVariable) => {
                layers.environment.insert(setting.name, value.clone());
            }
            _ => {
                layers.flags.insert(setting.name, value.clone());
            }
        }
    }
    layers
}
