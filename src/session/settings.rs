//! The settings of a session: one list, from which `SET`, `SHOW`, `system.settings` and the reference are made.

use std::collections::BTreeMap;
use std::time::Duration;

use datafusion::prelude::SessionConfig;
use maru_connect::{JoinOrderOptions, RuntimeFilterOptions, Verify};
use maru_core::{Error, ErrorKind, Result, did_you_mean, limits};

use crate::access::{Login, Role};
use crate::config::Config;

/// One setting.
#[derive(Debug)]
pub struct SettingSpec {
    pub name: &'static str,
    pub kind: Kind,
    /// One sentence.
    pub doc: &'static str,
}

/// What values a setting takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Boolean,
    /// A whole number from one to this.
    Integer(i64),
    /// Milliseconds, or a number with a unit: `30s`, `5min`.
    Duration,
    /// Bytes, or a number with a unit: `512MB`.
    Bytes,
    Text,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// Kept and shown, without effect: clients send it at start.
    Accepted,
    /// Can be shown and not set.
    Fixed,
}

impl Kind {
    pub fn name(self) -> &'static str {
        match self {
            Self::Boolean => "boolean",
            Self::Integer(_) => "integer",
            Self::Duration => "duration",
            Self::Bytes => "bytes",
            Self::Text => "text",
            Self::Choice(_) => "choice",
            Self::Accepted => "text, without effect",
            Self::Fixed => "fixed",
        }
    }
}

macro_rules! settings {
    ($($name:literal, $kind:expr, $doc:literal;)*) => {
        /// Every setting, in alphabetical order.
        pub const SETTINGS: &[SettingSpec] =
            &[$(SettingSpec { name: $name, kind: $kind, doc: $doc },)*];
    };
}

settings! {
    "application_name", Kind::Text, "Name of the client program, shown in system.sessions.";
    "batch_size", Kind::Integer(1 << 20), "Rows that travel together inside of the engine.";
    "bytea_output", Kind::Accepted, "Binary values are shown in hexadecimal; escape is refused.";
    "catalog", Kind::Text, "Catalog that names of one or two parts are looked up in.";
    "client_encoding", Kind::Accepted, "Text is always UTF-8.";
    "client_min_messages", Kind::Accepted, "Notices are always sent.";
    "datestyle", Kind::Accepted, "Dates are always written as ISO 8601 has them; styles that write them otherwise, or put the day first, are refused.";
    "default_transaction_isolation", Kind::Accepted, "Every statement commits by itself.";
    "default_transaction_read_only", Kind::Boolean, "Whether transactions refuse to write unless they say READ WRITE.";
    "extra_float_digits", Kind::Accepted, "Floats are always written exactly.";
    "flight_compression", Kind::Choice(&["none", "lz4", "zstd"]), "How rows are packed on their way over Flight SQL: none, lz4, or zstd.";
    "flight_dictionaries", Kind::Choice(&["none", "keep", "text"]), "Which columns of a result travel as dictionaries over Flight SQL: none, those that are dictionaries in its source (keep), or those and all of text.";
    "flight_endpoints", Kind::Integer(64), "Tickets by which the rows of a result in no order are handed out over Flight SQL, so that a client can read over several connections at once.";
    "idle_in_transaction_session_timeout", Kind::Duration, "Time after which a connection that says nothing inside of a transaction block is closed; 0 means none.";
    "idle_session_timeout", Kind::Duration, "Time after which a connection that says nothing is closed; 0 means none.";
    "integer_datetimes", Kind::Fixed, "Times are whole microseconds on the wire.";
    "intervalstyle", Kind::Accepted, "Intervals are always written in PostgreSQL's style; others are refused.";
    "jit", Kind::Accepted, "Statements are not compiled.";
    "join_reorder", Kind::Boolean, "Whether inner joins are put in the order that is estimated to make the fewest rows; off keeps the order in which they are written.";
    "lc_collate", Kind::Fixed, "Texts are ordered by their bytes.";
    "lc_ctype", Kind::Fixed, "Which characters are letters is Unicode's to say, in every language.";
    "lock_timeout", Kind::Duration, "Time after which a statement that waits for an advisory lock is cancelled; 0 means none.";
    "maintenance_work_mem", Kind::Accepted, "Memory is query_memory_limit's to say.";
    "max_identifier_length", Kind::Fixed, "Bytes of a name.";
    "pushdown", Kind::Boolean, "Whether sources evaluate filters, limits, groups, orders and joins; off gives the same rows.";
    "query_memory_limit", Kind::Bytes, "Bytes that one statement may hold in memory before it spills or fails.";
    "runtime_filters", Kind::Boolean, "Whether a side of a join, or a subquery's value, narrows what other sources are asked for; off gives the same rows.";
    "search_path", Kind::Text, "Schemas that bare names are looked up in, in order.";
    "server_encoding", Kind::Fixed, "Text is always UTF-8.";
    "server_version", Kind::Fixed, "Version of PostgreSQL whose dialect and protocol are spoken.";
    "server_version_num", Kind::Fixed, "The same as a number.";
    "standard_conforming_strings", Kind::Accepted, "Backslashes in plain quotes are ordinary characters.";
    "statement_timeout", Kind::Duration, "Time after which a statement is cancelled; 0 means none.";
    "target_partitions", Kind::Integer(1024), "Threads that work on one statement.";
    "timezone", Kind::Text, "Time zone that timestamps with time zone are shown in, such as Asia/Seoul.";
    "transaction_isolation", Kind::Fixed, "Every statement reads what is there when it starts.";
    "transaction_read_only", Kind::Boolean, "Whether this transaction refuses to write; it ends with it.";
    "vacuum_retention_check", Kind::Boolean, "Whether VACUUM refuses to remove files that were needed less than seven days ago.";
    "verify_pushdown", Kind::Choice(&["off", "sample", "all"]), "Whether the engine computes what sources are asked as well, and fails the statement if the rows differ: off, all, or sample for one statement in ten.";
    "work_mem", Kind::Accepted, "Memory is query_memory_limit's to say.";
}

/// Settings that may be other for one catalog: `SET crm.pushdown = off`.
const PER_CATALOG: &[&str] = &["pushdown", "verify_pushdown"];

/// The values of one session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    values: BTreeMap<&'static str, String>,
    /// By catalog and setting.
    catalogs: BTreeMap<(String, &'static str), String>,
    /// Those that a client has thought of, `my.setting`: they are kept for it and mean nothing here.
    own: BTreeMap<String, String>,
}

impl Settings {
    pub fn new(config: &Config, login: &Login) -> Self {
        let version = crate::POSTGRES_VERSION;
        let values = BTreeMap::from([
            ("application_name", login.application_name.clone().unwrap_or_default()),
            ("batch_size", limits::BATCH_ROWS.to_string()),
            ("bytea_output", "hex".to_owned()),
            ("client_encoding", "UTF8".to_owned()),
            ("client_min_messages", "notice".to_owned()),
            ("datestyle", "ISO, MDY".to_owned()),
            ("default_transaction_isolation", "read committed".to_owned()),
            ("default_transaction_read_only", "off".to_owned()),
            ("extra_float_digits", "1".to_owned()),
            ("flight_compression", "none".to_owned()),
            ("flight_dictionaries", "none".to_owned()),
            ("flight_endpoints", "1".to_owned()),
            ("idle_in_transaction_session_timeout", "0".to_owned()),
            ("idle_session_timeout", "0".to_owned()),
            ("integer_datetimes", "on".to_owned()),
            ("intervalstyle", "postgres".to_owned()),
            ("jit", "off".to_owned()),
            ("join_reorder", "on".to_owned()),
            ("lc_collate", "C".to_owned()),
            ("lc_ctype", "C.UTF-8".to_owned()),
            ("lock_timeout", "0".to_owned()),
            ("maintenance_work_mem", "64MB".to_owned()),
            ("max_identifier_length", "63".to_owned()),
            ("pushdown", "on".to_owned()),
            ("query_memory_limit", config.query_memory_limit_bytes.to_string()),
            ("runtime_filters", "on".to_owned()),
            ("search_path", "public".to_owned()),
            ("server_encoding", "UTF8".to_owned()),
            ("server_version", version.to_owned()),
            ("server_version_num", "160000".to_owned()),
            ("standard_conforming_strings", "on".to_owned()),
            ("statement_timeout", config.statement_timeout.as_millis().to_string()),
            ("target_partitions", config.target_partitions.to_string()),
            ("timezone", "UTC".to_owned()),
            ("transaction_isolation", "read committed".to_owned()),
            ("transaction_read_only", "off".to_owned()),
            ("vacuum_retention_check", "on".to_owned()),
            ("verify_pushdown", "off".to_owned()),
            ("work_mem", "4MB".to_owned()),
        ]);
        Self { values, catalogs: BTreeMap::new(), own: BTreeMap::new() }
    }

    /// Returns the settings with those that a role was given. One that a later version does not know is passed over: nobody
    /// could log in to mend it.
    pub fn with_role(mut self, role: Option<&Role>) -> Self {
        for (name, value) in role.into_iter().flat_map(|role| &role.settings) {
            if let Err(error) = self.set(name, value) {
                tracing::warn!(setting = %name, error = %error, "a setting of a role is passed over");
            }
        }
        self
    }

    /// Returns name and value as they are kept for a role.
    ///
    /// # Errors
    /// As [`Self::set`]; 42501 for the catalog, which is said when one connects.
    pub fn of_role(name: &str, value: &str) -> Result<(String, String)> {
        if let Some((catalog, spec)) = of_catalog(name) {
            return Ok((format!("{catalog}.{}", spec.name), check(spec, value)?));
        }
        if let Some(own) = own(name) {
            return Ok((own, value.to_owned()));
        }
        let spec = spec(name)?;
        if spec.name == "catalog" {
            return Err(Error::new(ErrorKind::NotAllowed, "the catalog is not kept for a role")
                .with_hint("Clients name it as the database that they connect to."));
        }
        Ok((spec.name.to_owned(), check(spec, value)?))
    }

    pub fn get(&self, name: &str) -> Option<String> {
        if let Some((catalog, spec)) = of_catalog(name) {
            return Some(self.of(&catalog, spec.name).to_owned());
        }
        let known = self.values.get(bare(name).to_lowercase().as_str());
        known.or_else(|| self.own.get(&own(name)?)).cloned()
    }

    /// # Errors
    /// 42704 for an unknown name, 22023 for a value that does not fit, 42501 for what cannot be set.
    pub fn set(&mut self, name: &str, value: &str) -> Result<()> {
        if let Some((catalog, spec)) = of_catalog(name) {
            let value = check(spec, value)?;
            self.catalogs.insert((catalog, spec.name), value);
            return Ok(());
        }
        if let Some(own) = own(name) {
            self.own.insert(own, value.to_owned());
            return Ok(());
        }
        let spec = spec(name)?;
        let value = check(spec, value)?;
        self.values.insert(spec.name, value);
        Ok(())
    }

    pub fn reset(&mut self, name: &str, defaults: &Self) -> Result<()> {
        if let Some((catalog, spec)) = of_catalog(name) {
            self.catalogs.remove(&(catalog, spec.name));
            return Ok(());
        }
        if let Some(own) = own(name) {
            let default = defaults.own.get(&own).cloned().unwrap_or_default();
            let value = self.own.get_mut(&own).ok_or_else(|| unknown(name))?;
            *value = default;
            return Ok(());
        }
        let spec = spec(name)?;
        if let Some(value) = defaults.values.get(spec.name) {
            self.values.insert(spec.name, value.clone());
        }
        Ok(())
    }

    pub fn search_path(&self) -> Vec<String> {
        self.text("search_path")
            .split(',')
            .map(|name| name.trim().trim_matches('"').to_owned())
            .filter(|name| !name.is_empty() && name != "$user")
            .collect()
    }

    /// Returns whether the source of a catalog is asked for more than rows.
    pub fn pushdown(&self, catalog: &str) -> bool {
        self.of(catalog, "pushdown") == "on"
    }

    /// Returns whether the engine computes what the source of a catalog is asked as well.
    pub fn verify_pushdown(&self, catalog: &str) -> Verify {
        match self.of(catalog, "verify_pushdown") {
            "all" => Verify::All,
            "sample" => Verify::Sample,
            _ => Verify::Off,
        }
    }

    fn of(&self, catalog: &str, name: &'static str) -> &str {
        let own = self.catalogs.get(&(catalog.to_owned(), name));
        own.map_or_else(|| self.text(name), String::as_str)
    }

    /// Returns whether transactions that say nothing of it refuse to write.
    pub fn is_read_only(&self) -> bool {
        self.text("default_transaction_read_only") == "on"
    }

    pub fn statement_timeout(&self) -> Duration {
        self.duration("statement_timeout")
    }

    pub fn duration(&self, name: &str) -> Duration {
        Duration::from_millis(self.number(name))
    }

    pub fn query_memory_limit(&self) -> usize {
        usize::try_from(self.number("query_memory_limit")).unwrap_or(usize::MAX)
    }

    /// Puts what DataFusion needs to know into its configuration.
    pub fn apply(&self, config: &mut SessionConfig) {
        let options = config.options_mut();
        if let Ok(rows) = self.text("batch_size").parse() {
            options.execution.batch_size = rows;
        }
        options.execution.target_partitions = self.number("target_partitions") as usize;
        options.execution.time_zone = Some(self.text("timezone").to_owned());
        let learns = self.text("pushdown") == "on" && self.text("runtime_filters") == "on";
        options.extensions.insert(RuntimeFilterOptions::with_enabled(learns));
        let reorders = self.text("join_reorder") == "on";
        options.extensions.insert(JoinOrderOptions::with_enabled(reorders));
    }

    fn text(&self, name: &str) -> &str {
        self.values.get(name).map(String::as_str).unwrap_or_default()
    }

    fn number(&self, name: &str) -> u64 {
        self.text(name).parse().unwrap_or_default()
    }
}

/// Takes the prefix off that PostgreSQL would want of a setting that is not its own: `maru.pushdown`.
pub(super) fn bare(name: &str) -> &str {
    match name.split_once('.') {
        Some((prefix, rest)) if prefix.eq_ignore_ascii_case("maru") => rest,
        _ => name,
    }
}

/// Returns whether a name means the catalog, which a session keeps beside its settings.
pub(super) fn is_catalog(name: &str) -> bool {
    bare(name).eq_ignore_ascii_case("catalog")
}

/// Returns the name of a setting of a client's own, as it is kept: one with a point, whose parts are names. One that misspells a
/// setting for a catalog, or begins with Maru's own name, is none.
fn own(name: &str) -> Option<String> {
    let (prefix, last) = name.rsplit_once('.')?;
    let is_name = |part: &str| {
        let mut letters = part.chars();
        letters.next().is_some_and(|first| first.is_alphabetic() || first == '_')
            && letters.all(|letter| letter.is_alphanumeric() || "_$".contains(letter))
    };
    let is_ours = prefix.eq_ignore_ascii_case("maru")
        || did_you_mean(last, PER_CATALOG.iter().copied()).is_some();
    (!is_ours && name.split('.').all(is_name)).then(|| name.to_lowercase())
}

/// The mode of the transaction, which its block keeps.
const MODE: &str = "transaction_read_only";

/// Returns whether a name means the mode of the transaction.
pub(super) fn is_mode(name: &str) -> bool {
    bare(name).eq_ignore_ascii_case(MODE)
}

/// Reads a value of that mode.
///
/// # Errors
/// 22023.
pub(super) fn mode(value: &str) -> Result<bool> {
    Ok(check(spec(MODE)?, value)? == "on")
}

/// Reads `crm.pushdown`.
fn of_catalog(name: &str) -> Option<(String, &'static SettingSpec)> {
    let (catalog, name) = name.rsplit_once('.')?;
    if catalog.eq_ignore_ascii_case("maru") {
        return None;
    }
    let name = PER_CATALOG.iter().find(|known| known.eq_ignore_ascii_case(name))?;
    Some((catalog.to_owned(), SETTINGS.iter().find(|spec| spec.name == *name)?))
}

/// Writes a value as `SHOW` does: times and sizes in the greatest unit that leaves no fraction.
pub(crate) fn shown(name: &str, value: String) -> String {
    const TIMES: &[(&str, u64)] =
        &[("d", 86_400_000), ("h", 3_600_000), ("min", 60_000), ("s", 1000), ("ms", 1)];
    const SIZES: &[(&str, u64)] = &[("GB", 1 << 30), ("MB", 1 << 20), ("kB", 1 << 10), ("B", 1)];
    let units = match spec(name).map(|spec| spec.kind) {
        Ok(Kind::Duration) => TIMES,
        Ok(Kind::Bytes) => SIZES,
        _ => return value,
    };
    let Some(number) = value.parse::<u64>().ok().filter(|number| *number > 0) else { return value };
    let unit = units.iter().find(|(_, size)| number.is_multiple_of(*size));
    unit.map_or(value, |(unit, size)| format!("{}{unit}", number / size))
}

/// Returns what a column that shows a setting is called.
pub(crate) fn column_name(name: &str) -> &str {
    match name {
        "datestyle" => "DateStyle",
        "intervalstyle" => "IntervalStyle",
        "timezone" => "TimeZone",
        name => name,
    }
}

/// Returns the catalog of a setting that is for one catalog.
pub(crate) fn catalog_of(name: &str) -> Option<String> {
    of_catalog(name).map(|(catalog, _)| catalog)
}

/// Returns the name of a setting as it is kept.
///
/// # Errors
/// 42704 for an unknown one.
pub(crate) fn setting_name(name: &str) -> Result<String> {
    match of_catalog(name) {
        Some((catalog, spec)) => Ok(format!("{catalog}.{}", spec.name)),
        None => match own(name) {
            Some(own) => Ok(own),
            None => spec(name).map(|spec| spec.name.to_owned()),
        },
    }
}

fn spec(name: &str) -> Result<&'static SettingSpec> {
    let name = bare(name);
    SETTINGS.iter().find(|spec| spec.name.eq_ignore_ascii_case(name)).ok_or_else(|| unknown(name))
}

/// Returns the error for a setting that does not exist.
pub(crate) fn unknown(name: &str) -> Error {
    let error = Error::new(
        ErrorKind::UndefinedObject,
        format!("unrecognized configuration parameter \"{name}\""),
    );
    match did_you_mean(name, SETTINGS.iter().map(|spec| spec.name)) {
        Some(near) => error.with_hint(format!("Did you mean \"{near}\"?")),
        None => error.with_hint("SHOW SETTINGS lists them all."),
    }
}

fn check(spec: &SettingSpec, value: &str) -> Result<String> {
    let bad = |hint: &str| {
        Error::new(
            ErrorKind::InvalidParameter,
            format!("invalid value for parameter \"{}\": \"{value}\"", spec.name),
        )
        .with_hint(hint)
    };
    match spec.kind {
        Kind::Text if spec.name == "timezone" => super::timezone::of_setting(value)
            .ok_or_else(|| bad("Give a name such as Asia/Seoul or an offset such as +09:00.")),
        Kind::Text => Ok(value.to_owned()),
        Kind::Choice(words) => match words.iter().find(|word| word.eq_ignore_ascii_case(value)) {
            Some(word) => Ok((*word).to_owned()),
            None => Err(bad(&format!("Give one of {}.", words.join(", ")))),
        },
        Kind::Accepted if spec.name == "client_encoding" => {
            let plain = value.to_lowercase().replace(['-', '_'], "");
            if ["utf8", "unicode", "sqlascii"].contains(&plain.as_str()) {
                Ok("UTF8".to_owned())
            } else {
                Err(bad("Text is always UTF8."))
            }
        }
        Kind::Accepted if spec.name == "datestyle" => date_style(value, bad),
        Kind::Accepted if spec.name == "intervalstyle" => {
            const OTHERS: &[&str] = &["iso_8601", "postgres_verbose", "sql_standard"];
            one_word(spec.name, value, "postgres", OTHERS, bad)
        }
        Kind::Accepted if spec.name == "bytea_output" => {
            one_word(spec.name, value, "hex", &["escape"], bad)
        }
        Kind::Accepted => Ok(value.to_owned()),
        Kind::Fixed => Err(Error::new(
            ErrorKind::NotAllowed,
            format!("parameter \"{}\" cannot be changed", spec.name),
        )),
        Kind::Boolean => match value.to_lowercase().as_str() {
            "on" | "true" | "yes" | "1" | "t" => Ok("on".to_owned()),
            "off" | "false" | "no" | "0" | "f" => Ok("off".to_owned()),
            _ => Err(bad("Give on or off.")),
        },
        Kind::Integer(max) => match value.parse::<i64>() {
            Ok(number) if (1..=max).contains(&number) => Ok(number.to_string()),
            _ => Err(bad(&format!("Give a whole number from 1 to {max}."))),
        },
        Kind::Duration => scaled(
            value,
            &[("ms", 1), ("s", 1000), ("min", 60_000), ("h", 3_600_000), ("d", 86_400_000)],
        )
        .map(|ms| ms.to_string())
        .ok_or_else(|| bad("Give milliseconds, or a number with a unit: ms, s, min, h, d.")),
        Kind::Bytes => bytes(value)
            .map(|bytes| bytes.to_string())
            .ok_or_else(|| bad("Give bytes, or a number with a unit: kB, MB, GB, TB.")),
    }
}

/// Reads the value of a setting of which PostgreSQL has several and Maru one.
///
/// # Errors
/// 0A000 for another of PostgreSQL's, 22023 for what is none.
fn one_word(
    name: &str,
    value: &str,
    word: &str,
    others: &[&str],
    bad: impl Fn(&str) -> Error,
) -> Result<String> {
    let is = |known: &str| known.eq_ignore_ascii_case(value.trim());
    if is(word) {
        return Ok(word.to_owned());
    }
    let hint = format!("It is always {word}.");
    match others.iter().any(|other| is(other)) {
        true => Err(Error::unsupported(format!("{name} cannot be \"{value}\"")).with_hint(hint)),
        false => Err(bad(&hint)),
    }
}

/// Reads a style and an order of dates, either of which may be missing, as PostgreSQL shows them.
///
/// # Errors
/// 0A000 for a style that writes dates otherwise, or an order in which the day comes first; 22023 for what is none.
fn date_style(value: &str, bad: impl Fn(&str) -> Error) -> Result<String> {
    const HINT: &str = "Dates are written as ISO has them, and read with the month before the day.";
    let mut order = "MDY";
    let words = value.split([',', ' ', '\'', '"']).filter(|word| !word.is_empty());
    for word in words {
        match word.to_lowercase().as_str() {
            "iso" => {}
            "mdy" | "us" | "noneuro" | "noneuropean" => order = "MDY",
            "ymd" => order = "YMD",
            "dmy" | "euro" | "european" | "german" | "postgres" | "sql" => {
                return Err(
                    Error::unsupported(format!("datestyle cannot be \"{value}\"")).with_hint(HINT)
                );
            }
            _ => return Err(bad(HINT)),
        }
    }
    Ok(format!("ISO, {order}"))
}

/// Reads bytes with a unit: `512MB`.
pub(crate) fn bytes(text: &str) -> Option<u64> {
    scaled(text, BYTES).filter(|bytes| *bytes > 0)
}

const BYTES: &[(&str, u64)] =
    &[("b", 1), ("kb", 1 << 10), ("mb", 1 << 20), ("gb", 1 << 30), ("tb", 1 << 40)];

/// Reads a whole number with a unit; without one the first unit is meant.
fn scaled(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let number = text[..digits].parse::<u64>().ok()?;
    let unit = text[digits..].trim().to_lowercase();
    let (_, factor) = match unit.as_str() {
        "" => units.first()?,
        unit => units.iter().find(|(name, _)| *name == unit)?,
    };
    number.checked_mul(*factor)
}
