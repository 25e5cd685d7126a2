//! The kinds of value a setting can have: how each is read from text and written back.

use std::fmt;
use std::marker::PhantomData;
use std::path::PathBuf;
use std::time::Duration;

use maru_core::Secret;

/// Whether clients must encrypt.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum TlsRequired {
    #[default]
    Off,
    /// Those that come from another machine.
    Remote,
    /// All but those on the Unix socket.
    All,
}

/// How a log line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    Text,
    Json,
}

/// One kind of value. `show` writes what `parse` reads.
pub(super) trait Kind {
    type Value;
    const SHAPE: &'static str;
    const QUOTED: bool = true;
    const SECRET: bool = false;

    /// Reads a value; the error says what is expected, as the end of a sentence.
    fn parse(text: &str) -> Result<Self::Value, String>;

    /// Writes a value; `None` if it is not set.
    fn show(value: &Self::Value) -> Option<String>;
}

pub(super) struct Directory;

impl Kind for Directory {
    type Value = PathBuf;
    const SHAPE: &'static str = "DIR";

    fn parse(text: &str) -> Result<PathBuf, String> {
        if text.is_empty() {
            return Err("a directory was expected".to_owned());
        }
        Ok(PathBuf::from(text))
    }

    fn show(value: &PathBuf) -> Option<String> {
        Some(value.display().to_string())
    }
}

/// A file or a folder that need not be named.
pub(super) struct Place;

impl Kind for Place {
    type Value = Option<PathBuf>;
    const SHAPE: &'static str = "PATH";

    fn parse(text: &str) -> Result<Option<PathBuf>, String> {
        if text.is_empty() {
            return Err("a path was expected".to_owned());
        }
        Ok(Some(PathBuf::from(text)))
    }

    fn show(value: &Option<PathBuf>) -> Option<String> {
        value.as_ref().map(|path| path.display().to_string())
    }
}

pub(super) struct Address;

impl Kind for Address {
    type Value = String;
    const SHAPE: &'static str = "HOST:PORT";

    fn parse(text: &str) -> Result<String, String> {
        let expected = || "host:port was expected, e.g. 127.0.0.1:5433 or [::1]:5433".to_owned();
        let (host, port) = text.rsplit_once(':').ok_or_else(expected)?;
        let bare_v6 = host.contains(':') && !(host.starts_with('[') && host.ends_with(']'));
        if host.is_empty() || bare_v6 || port.parse::<u16>().is_err() {
            return Err(expected());
        }
        Ok(text.to_owned())
    }

    fn show(value: &String) -> Option<String> {
        Some(value.clone())
    }
}

pub(super) struct Text;

impl Kind for Text {
    type Value = String;
    const SHAPE: &'static str = "TEXT";

    fn parse(text: &str) -> Result<String, String> {
        Ok(text.to_owned())
    }

    fn show(value: &String) -> Option<String> {
        Some(value.clone())
    }
}

pub(super) struct Password;

impl Kind for Password {
    type Value = Option<Secret>;
    const SHAPE: &'static str = "PASSWORD";
    const SECRET: bool = true;

    fn parse(text: &str) -> Result<Option<Secret>, String> {
        if text.is_empty() {
            return Err("a password that is not empty was expected".to_owned());
        }
        Ok(Some(Secret::new(text)))
    }

    fn show(value: &Option<Secret>) -> Option<String> {
        value.as_ref().map(ToString::to_string)
    }
}

pub(super) struct Format;

impl Kind for Format {
    type Value = LogFormat;
    const SHAPE: &'static str = "text|json";

    fn parse(text: &str) -> Result<LogFormat, String> {
        match text {
            "text" => Ok(LogFormat::Text),
            "json" => Ok(LogFormat::Json),
            _ => Err("text or json was expected".to_owned()),
        }
    }

    fn show(value: &LogFormat) -> Option<String> {
        Some(match value {
            LogFormat::Text => "text".to_owned(),
            LogFormat::Json => "json".to_owned(),
        })
    }
}

pub(super) struct Requirement;

impl Kind for Requirement {
    type Value = TlsRequired;
    const SHAPE: &'static str = "off|remote|all";

    fn parse(text: &str) -> Result<TlsRequired, String> {
        match text {
            "off" => Ok(TlsRequired::Off),
            "remote" => Ok(TlsRequired::Remote),
            "all" => Ok(TlsRequired::All),
            _ => Err("off, remote or all was expected".to_owned()),
        }
    }

    fn show(value: &TlsRequired) -> Option<String> {
        let word = match value {
            TlsRequired::Off => "off",
            TlsRequired::Remote => "remote",
            TlsRequired::All => "all",
        };
        Some(word.to_owned())
    }
}

/// A whole number, zero too.
pub(super) struct Count<T>(PhantomData<T>);

impl<T: TryFrom<u64> + fmt::Display> Kind for Count<T> {
    type Value = T;
    const SHAPE: &'static str = "NUMBER";
    const QUOTED: bool = false;

    fn parse(text: &str) -> Result<T, String> {
        whole(text).ok_or_else(|| "a whole number was expected".to_owned())
    }

    fn show(value: &T) -> Option<String> {
        Some(value.to_string())
    }
}

/// A whole number from 1.
pub(super) struct Positive<T>(PhantomData<T>);

impl<T: TryFrom<u64> + fmt::Display + Default + PartialEq> Kind for Positive<T> {
    type Value = T;
    const SHAPE: &'static str = "NUMBER";
    const QUOTED: bool = false;

    fn parse(text: &str) -> Result<T, String> {
        whole(text)
            .filter(|number| *number != T::default())
            .ok_or_else(|| "a whole number from 1 was expected".to_owned())
    }

    fn show(value: &T) -> Option<String> {
        Some(value.to_string())
    }
}

fn whole<T: TryFrom<u64>>(text: &str) -> Option<T> {
    text.trim().replace('_', "").parse::<u64>().ok().and_then(|number| T::try_from(number).ok())
}

/// A number of bytes: `512MB` counts in thousands, `512MiB` in 1024s, a bare number is bytes.
pub(super) struct Bytes<T>(PhantomData<T>);

/// Powers of 1024 and of 1000, largest first: the order in which they are tried when a value is written.
const SIZE_UNITS: &[(&str, u64)] = &[
    ("TiB", 1 << 40),
    ("TB", 1_000_000_000_000),
    ("GiB", 1 << 30),
    ("GB", 1_000_000_000),
    ("MiB", 1 << 20),
    ("MB", 1_000_000),
    ("KiB", 1 << 10),
    ("kB", 1_000),
    ("B", 1),
];

impl<T: TryFrom<u64> + TryInto<u64> + Copy> Kind for Bytes<T> {
    type Value = T;
    const SHAPE: &'static str = "SIZE";

    fn parse(text: &str) -> Result<T, String> {
        let (number, unit) = number_and_unit(text);
        let factor = match unit {
            "" => Some(1),
            unit => SIZE_UNITS.iter().find(|(u, _)| u.eq_ignore_ascii_case(unit)).map(|(_, f)| *f),
        };
        number
            .zip(factor)
            .and_then(|(number, factor)| scale(number, factor))
            .filter(|bytes| *bytes > 0)
            .and_then(|bytes| T::try_from(bytes).ok())
            .ok_or_else(|| "a size was expected, e.g. 512MB or 2GiB".to_owned())
    }

    fn show(value: &T) -> Option<String> {
        let bytes: u64 = (*value).try_into().unwrap_or(u64::MAX);
        let unit =
            SIZE_UNITS.iter().find(|(_, factor)| bytes >= *factor && bytes.is_multiple_of(*factor));
        Some(unit.map_or_else(|| bytes.to_string(), |(unit, f)| format!("{}{unit}", bytes / f)))
    }
}

/// A length of time: `250ms`, `30s`, `5min`, `2h`, `1d`; a bare number is seconds.
pub(super) struct Span;

const TIME_UNITS: &[(&str, u64)] =
    &[("d", 86_400_000), ("h", 3_600_000), ("min", 60_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

impl Kind for Span {
    type Value = Duration;
    const SHAPE: &'static str = "DURATION";

    fn parse(text: &str) -> Result<Duration, String> {
        let (number, unit) = number_and_unit(text);
        let factor = match unit {
            "" => Some(1_000),
            unit => TIME_UNITS.iter().find(|(u, _)| *u == unit).map(|(_, factor)| *factor),
        };
        number
            .zip(factor)
            .and_then(|(number, factor)| scale(number, factor))
            .map(Duration::from_millis)
            .ok_or_else(|| "a duration was expected, e.g. 250ms, 30s, 5min or 2h".to_owned())
    }

    fn show(value: &Duration) -> Option<String> {
        let millis = u64::try_from(value.as_millis()).unwrap_or(u64::MAX);
        let unit = TIME_UNITS.iter().find(|(_, factor)| millis >= *factor && millis % factor == 0);
        Some(unit.map_or_else(|| "0s".to_owned(), |(unit, f)| format!("{}{unit}", millis / f)))
    }
}

/// Splits `1.5 GB` at the end of its digits; the number is `None` if there is none.
fn number_and_unit(text: &str) -> (Option<f64>, &str) {
    let text = text.trim();
    let end = text.find(|c: char| !matches!(c, '0'..='9' | '.' | '_')).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    (number.replace('_', "").parse().ok(), unit.trim())
}

fn scale(number: f64, factor: u64) -> Option<u64> {
    let scaled = number * factor as f64;
    // Above 2^53 a float no longer holds every whole number; no limit of a machine is that large.
    (scaled.is_finite() && scaled <= 9_007_199_254_740_992.0).then(|| scaled.round() as u64)
}
