//! Options of connectors, tables and secrets: declared once, checked once, documented from the same list.

use std::collections::BTreeMap;

use crate::{Error, ErrorKind, Result, Secret, did_you_mean};

/// What values an option takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OptionKind {
    Text,
    /// Text that is a secret: stored encrypted, never shown, allowed in `CREATE SECRET`.
    Secret,
    Integer,
    Boolean,
    /// A length of time such as `10s`, `500ms`, `2min`.
    Duration,
    /// One of a fixed list of words.
    OneOf(&'static [&'static str]),
}

impl OptionKind {
    /// Returns the values in words, for the reference.
    pub fn words(self) -> String {
        match self {
            Self::Text => "text".to_owned(),
            Self::Secret => "secret".to_owned(),
            Self::Integer => "integer".to_owned(),
            Self::Boolean => "boolean".to_owned(),
            Self::Duration => "duration".to_owned(),
            Self::OneOf(words) => words.join(" | "),
        }
    }
}

/// One option as declared by a connector.
#[derive(Debug, Clone, Copy)]
pub struct OptionSpec {
    pub name: &'static str,
    pub kind: OptionKind,
    pub required: bool,
    /// The default as the user would write it.
    pub default: Option<&'static str>,
    /// One sentence, with an example where that helps.
    pub doc: &'static str,
}

impl OptionSpec {
    pub const fn new(name: &'static str, kind: OptionKind, doc: &'static str) -> Self {
        Self { name, kind, required: false, default: None, doc }
    }

    pub const fn required(mut self) -> Self {
        self.required = true;
        self
    }

    pub const fn default(mut self, default: &'static str) -> Self {
        self.default = Some(default);
        self
    }
}

/// The value of an option: text that may be shown, or a secret that may not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OptionValue {
    Text(String),
    Secret(Secret),
}

impl OptionValue {
    /// Returns the text of either kind; for a source's client library only.
    pub fn reveal(&self) -> &str {
        match self {
            Self::Text(text) => text,
            Self::Secret(secret) => secret.reveal(),
        }
    }
}

/// Checked options: every name is declared, every value fits its kind, required ones are there.
#[derive(Debug, Clone, Default)]
pub struct Options {
    values: BTreeMap<&'static str, OptionValue>,
}

impl Options {
    /// Checks `raw` against `specs`. `owner` names who declared them (`connector "s3"`).
    ///
    /// # Errors
    /// HV00D for a name that is not declared, with the list of options; HV024 for a value that does not fit, or a
    /// required option that is missing.
    pub fn check<'a>(
        owner: &str,
        specs: &[OptionSpec],
        raw: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Self> {
        let mut values = BTreeMap::new();
        for (name, text) in raw {
            let spec = specs
                .iter()
                .find(|spec| spec.name.eq_ignore_ascii_case(name))
                .ok_or_else(|| unknown_option(owner, specs, name))?;
            let text = check_value(owner, spec, text)?;
            let value = match spec.kind {
                OptionKind::Secret => OptionValue::Secret(Secret::new(text)),
                _ => OptionValue::Text(text),
            };
            if values.insert(spec.name, value).is_some() {
                return Err(Error::new(
                    ErrorKind::InvalidOption,
                    format!("option \"{}\" is given twice", spec.name),
                ));
            }
        }
        for spec in specs {
            if values.contains_key(spec.name) {
                continue;
            }
            if let Some(default) = spec.default {
                values.insert(spec.name, OptionValue::Text(default.to_owned()));
            } else if spec.required {
                return Err(Error::new(
                    ErrorKind::InvalidOption,
                    format!("{owner} requires option \"{}\"", spec.name),
                )
                .with_detail(spec.doc)
                .with_hint(format!("Add it: WITH ({} = '…', …).", spec.name)));
            }
        }
        Ok(Self { values })
    }

    /// Returns the text of an option that is not a secret.
    pub fn text(&self, name: &str) -> Option<&str> {
        match self.values.get(name) {
            Some(OptionValue::Text(text)) => Some(text),
            _ => None,
        }
    }

    pub fn secret(&self, name: &str) -> Option<&Secret> {
        match self.values.get(name) {
            Some(OptionValue::Secret(secret)) => Some(secret),
            _ => None,
        }
    }

    /// Returns an option that [`Options::check`] guarantees to be there (required, or with a default).
    pub fn require_text(&self, name: &str) -> Result<&str> {
        self.text(name).ok_or_else(|| {
            Error::new(ErrorKind::InvalidOption, format!("option \"{name}\" is missing"))
        })
    }

    pub fn integer(&self, name: &str) -> Option<i64> {
        self.text(name).and_then(|text| text.parse().ok())
    }

    pub fn boolean(&self, name: &str) -> Option<bool> {
        self.text(name).map(|text| text == "true")
    }

    pub fn duration(&self, name: &str) -> Option<std::time::Duration> {
        self.text(name).and_then(parse_duration)
    }
}

fn unknown_option(owner: &str, specs: &[OptionSpec], name: &str) -> Error {
    let mut list = specs.iter().map(|spec| spec.name).collect::<Vec<_>>();
    list.sort_unstable();
    const IN_URL: &[&str] = &["host", "hostname", "server", "port", "database", "dbname", "db"];
    let in_url = specs
        .iter()
        .find(|spec| spec.name == "url")
        .filter(|_| IN_URL.contains(&name.to_lowercase().as_str()));
    let hint = match (in_url, did_you_mean(name, list.iter().copied())) {
        (Some(url), _) => format!("Say it in option \"url\". {}", url.doc),
        (None, Some(near)) => format!("Did you mean \"{near}\"?"),
        (None, None) if list.is_empty() => "It has no options.".to_owned(),
        (None, None) => "Use one of the options listed above.".to_owned(),
    };
    Error::new(ErrorKind::UnknownOption, format!("{owner} has no option \"{name}\""))
        .with_detail(format!("Options: {}.", list.join(", ")))
        .with_hint(hint)
}

fn check_value(owner: &str, spec: &OptionSpec, text: &str) -> Result<String> {
    let bad = |wanted: String| {
        // A secret never reaches a message, not even a wrong one.
        let shown = if spec.kind == OptionKind::Secret { "********" } else { text };
        Error::new(
            ErrorKind::InvalidOption,
            format!("invalid value \"{shown}\" for option \"{}\" of {owner}", spec.name),
        )
        .with_hint(wanted)
    };
    match spec.kind {
        OptionKind::Text | OptionKind::Secret => Ok(text.to_owned()),
        OptionKind::Integer => text
            .trim()
            .parse::<i64>()
            .map(|n| n.to_string())
            .map_err(|_| bad("Give a whole number.".to_owned())),
        OptionKind::Boolean => match text.trim().to_ascii_lowercase().as_str() {
            "true" | "on" | "yes" | "1" => Ok("true".to_owned()),
            "false" | "off" | "no" | "0" => Ok("false".to_owned()),
            _ => Err(bad("Give true or false.".to_owned())),
        },
        OptionKind::Duration => parse_duration(text)
            .map(|_| text.to_owned())
            .ok_or_else(|| bad("Give a number with a unit: ms, s, min or h.".to_owned())),
        OptionKind::OneOf(words) => words
            .iter()
            .find(|word| word.eq_ignore_ascii_case(text.trim()))
            .map(|word| (*word).to_owned())
            .ok_or_else(|| bad(format!("Give one of: {}.", words.join(", ")))),
    }
}

/// Reads `500ms`, `10s`, `2min`, `1h`, `1d`; a bare number is milliseconds, as PostgreSQL reads its timeouts.
fn parse_duration(text: &str) -> Option<std::time::Duration> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let number = text[..digits].parse::<u64>().ok()?;
    let factor_ms = match text[digits..].trim() {
        "" | "ms" => 1,
        "s" => 1000,
        "min" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    number.checked_mul(factor_ms).map(std::time::Duration::from_millis)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPECS: &[OptionSpec] = &[
        OptionSpec::new("bucket", OptionKind::Text, "The bucket.").required(),
        OptionSpec::new("timeout", OptionKind::Duration, "The wait.").default("10s"),
        OptionSpec::new("password", OptionKind::Secret, "The password."),
        OptionSpec::new("tls", OptionKind::OneOf(&["disable", "require"]), "TLS."),
    ];

    fn check(raw: &[(&str, &str)]) -> Result<Options> {
        Options::check("connector \"s3\"", SPECS, raw.iter().copied())
    }

    #[test]
    fn rejects_unknown_option_with_the_list() {
        let error = check(&[("buckt", "b")]).unwrap_err();
        assert_eq!(error.sqlstate(), "HV00D");
        assert_eq!(error.hint(), Some("Did you mean \"bucket\"?"));
        assert!(error.detail().unwrap().contains("bucket, password, timeout, tls"));
    }

    #[test]
    fn requires_what_is_required() {
        assert_eq!(check(&[]).unwrap_err().sqlstate(), "HV024");
    }

    #[test]
    fn reads_kinds_and_defaults() {
        let options = check(&[("bucket", "b"), ("tls", "REQUIRE")]).unwrap();
        assert_eq!(options.duration("timeout"), Some(std::time::Duration::from_secs(10)));
        assert_eq!(options.text("tls"), Some("require"));
    }

    #[test]
    fn never_shows_a_secret() {
        let options = check(&[("bucket", "b"), ("password", "hunter2")]).unwrap();
        assert!(!format!("{options:?}").contains("hunter2"));
        assert_eq!(options.secret("password").unwrap().reveal(), "hunter2");
        assert_eq!(options.text("password"), None);
    }
}
