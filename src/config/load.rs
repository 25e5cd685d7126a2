//! Putting the layers over one another: default, file, environment, flag.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use maru_core::{Error, ErrorKind, Result, did_you_mean};
use toml::de::{DeTable, DeValue};

use super::{Config, SETTINGS, Setting, setting};

/// The name of the file that is looked for if none is named.
const FILE_NAME: &str = "maru.toml";

/// What the command line and the environment say, before it is understood.
#[derive(Debug, Default)]
pub struct Layers {
    /// `--config` or `MARU_CONFIG`: this file and no other.
    pub file: Option<PathBuf>,
    /// Values by setting name.
    pub flags: BTreeMap<&'static str, String>,
    pub environment: BTreeMap<&'static str, String>,
}

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    Default,
    File(PathBuf, usize),
    Environment(String),
    Flag(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(path, line) => write!(f, "file {} line {line}", path.display()),
            Self::Environment(variable) => write!(f, "environment {variable}"),
            Self::Flag(flag) => write!(f, "flag --{flag}"),
        }
    }
}

/// A configuration and where each of its values came from.
#[derive(Debug)]
pub struct Loaded {
    pub config: Config,
    origins: BTreeMap<&'static str, Origin>,
}

impl Loaded {
    /// Returns where the value of a setting came from.
    pub fn origin(&self, name: &str) -> Origin {
        self.origins.get(name).cloned().unwrap_or(Origin::Default)
    }

    /// Returns every setting as a line of `maru.toml` with its origin behind it; secrets as stars, unset ones as
    /// comments.
    pub fn print(&self) -> String {
        let lines = SETTINGS.iter().map(|setting| match setting.toml_value(&self.config) {
            Some(value) => format!("{} = {value}", setting.name),
            None => format!("# {} is not set", setting.name),
        });
        let lines: Vec<_> = lines.collect();
        let width = lines.iter().map(|line| line.chars().count()).max().unwrap_or(0);
        let mut text = String::new();
        for (line, setting) in lines.iter().zip(SETTINGS) {
            text.push_str(&format!("{line:width$}  # {}\n", self.origin(setting.name)));
        }
        text
    }
}

/// Resolves the configuration: a flag beats the environment, that the file, that the default.
///
/// # Errors
/// F0000 for a file that cannot be read or parsed, an unknown key (with the line and the likeliest name) and a value
/// its setting cannot take.
pub fn load(layers: &Layers) -> Result<Loaded> {
    let mut loaded = Loaded { config: Config::default(), origins: BTreeMap::new() };
    // The file may lie in the data directory, so that one has to be known first.
    let named_data_dir =
        layers.flags.get("data_dir").or_else(|| layers.environment.get("data_dir"));
    let data_dir = named_data_dir.map_or_else(|| loaded.config.data_dir.clone(), PathBuf::from);
    if let Some(file) = find_file(layers.file.as_deref(), &data_dir)? {
        for (setting, value, line) in read_file(&file)? {
            loaded.set(setting, &value, Origin::File(file.clone(), line))?;
        }
        let inside = layers.file.is_none() && file.parent() == Some(data_dir.as_path());
        if inside && matches!(loaded.origin("data_dir"), Origin::File(..)) {
            return Err(invalid("\"data_dir\" cannot be set in the file of that directory")
                .with_context("file", file.display().to_string())
                .with_hint("Set it with --data-dir or MARU_DATA_DIR, or move the file."));
        }
    }
    for setting in SETTINGS {
        if let Some(value) = layers.environment.get(setting.name) {
            loaded.set(setting, value, Origin::Environment(setting.variable()))?;
        }
        if let Some(value) = layers.flags.get(setting.name) {
            loaded.set(setting, value, Origin::Flag(setting.flag()))?;
        }
    }
    Ok(loaded)
}

impl Loaded {
    fn set(&mut self, setting: &'static Setting, value: &str, origin: Origin) -> Result<()> {
        (setting.set)(&mut self.config, value).map_err(|expected| {
            let message = match setting.secret {
                true => format!("bad value for \"{}\"", setting.name),
                false => format!("bad value for \"{}\": \"{value}\"", setting.name),
            };
            let mut expected = expected;
            if let Some(first) = expected.get_mut(..1) {
                first.make_ascii_uppercase();
            }
            invalid(message)
                .with_detail(format!("{expected}."))
                .with_context("source", origin.to_string())
        })?;
        self.origins.insert(setting.name, origin);
        Ok(())
    }
}

fn find_file(named: Option<&Path>, data_dir: &Path) -> Result<Option<PathBuf>> {
    if let Some(path) = named {
        return Ok(Some(path.to_owned()));
    }
    let candidates = [data_dir.join(FILE_NAME), PathBuf::from(FILE_NAME)];
    Ok(candidates.into_iter().find(|path| path.is_file()))
}

/// Reads a file into settings, their values as text, and their lines.
fn read_file(path: &Path) -> Result<Vec<(&'static Setting, String, usize)>> {
    let in_file = |error: Error| error.with_context("file", path.display().to_string());
    let text = std::fs::read_to_string(path).map_err(|cause| {
        in_file(invalid("cannot read the configuration file").with_cause(cause))
    })?;
    let line_of = |offset: usize| 1 + text.bytes().take(offset).filter(|b| *b == b'\n').count();
    let table = DeTable::parse(&text).map_err(|error| {
        let line = error.span().map_or(1, |span| line_of(span.start));
        let message = error.message().lines().next().unwrap_or_default();
        in_file(invalid(format!("the configuration file is not TOML: {message}")))
            .with_context("line", line.to_string())
    })?;
    let mut values = Vec::new();
    for (key, value) in table.get_ref() {
        let line = line_of(key.span().start);
        let at_line = |error: Error| in_file(error).with_context("line", line.to_string());
        let name = key.get_ref().as_ref();
        let setting = setting(name).ok_or_else(|| {
            let likely = did_you_mean(name, SETTINGS.iter().map(|setting| setting.name));
            let hint = likely.map_or_else(
                || "Run \"maru serve --print-config\" to see every setting.".to_owned(),
                |likely| format!("Did you mean \"{likely}\"?"),
            );
            at_line(invalid(format!("unknown setting \"{name}\"")).with_hint(hint))
        })?;
        let value = match value.get_ref() {
            DeValue::String(text) => text.to_string(),
            DeValue::Integer(number) => number.to_string(),
            DeValue::Float(number) => number.to_string(),
            DeValue::Boolean(value) => value.to_string(),
            DeValue::Datetime(_) | DeValue::Array(_) | DeValue::Table(_) => {
                return Err(at_line(invalid(format!("\"{name}\" must be one value"))));
            }
        };
        values.push((setting, value, line));
    }
    Ok(values)
}

fn invalid(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::ConfigInvalid, message)
}
