//! Options of databases that are reached over the network: the address, who asks, and how safely.

use std::path::{Path, PathBuf};
use std::time::Duration;

use maru_core::limits::{CONNECT_TIMEOUT_S, SOURCE_CONNECTIONS_MAX};
use maru_core::{Error, ErrorKind, OptionKind, OptionSpec, Options, Result, Secret};
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use url::Url;

use crate::failure::Given;

pub(crate) const USER: OptionSpec = OptionSpec::new(
    "user",
    OptionKind::Text,
    "The database user; taken from `url` if it stands there.",
);
pub(crate) const PASSWORD: OptionSpec = OptionSpec::new(
    "password",
    OptionKind::Secret,
    "The user's password. It may not stand in `url`, which everybody may see.",
);
pub(crate) const TLS: OptionSpec = OptionSpec::new(
    "tls",
    OptionKind::OneOf(&["disable", "prefer", "require", "verify-ca", "verify-full"]),
    "Whether to encrypt, and what is checked of the server's certificate.",
)
.default("prefer");
pub(crate) const CA_FILE: OptionSpec = OptionSpec::new(
    "ca_file",
    OptionKind::Text,
    "A PEM file with the certificates to trust besides the system's, for tls = 'verify-ca' and 'verify-full'.",
);
pub(crate) const MAX_CONNECTIONS: OptionSpec = OptionSpec::new(
    "max_connections",
    OptionKind::Integer,
    "Connections that the catalog keeps open at most; one more query waits.",
)
.default("8");
pub(crate) const MAX_QUERIES_PER_SECOND: OptionSpec = OptionSpec::new(
    "max_queries_per_second",
    OptionKind::Integer,
    "Queries that the catalog begins within a second at most; one more waits. Without it there is no such limit.",
);
pub(crate) const CONNECT_TIMEOUT: OptionSpec = OptionSpec::new(
    "connect_timeout",
    OptionKind::Duration,
    "How long to wait for a connection, e.g. '10s'.",
)
.default("10s");

/// How far TLS goes, as `tls` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tls {
    Disable,
    Prefer,
    Require,
    VerifyCa,
    VerifyFull,
}

/// Where a database is and how to log in.
#[derive(Debug, Clone)]
pub(crate) struct Address {
    pub host: String,
    pub port: u16,
    /// Empty if the URL names none.
    pub database: String,
    pub user: Option<String>,
    pub password: Option<Secret>,
    pub tls: Tls,
    pub ca_file: Option<PathBuf>,
    pub max_connections: u32,
    pub max_queries_per_second: Option<u32>,
    pub connect_timeout: Duration,
}

impl Address {
    /// Reads checked options. `schemes` are those `url` may have, the usual one first.
    ///
    /// # Errors
    /// HV024 for a URL that is not one, has another scheme, a password, parameters or no host; for two different
    /// users; for numbers out of range; for a `ca_file` that is not there, holds no
    /// certificates or would not be looked at.
    pub fn read(options: &Options, schemes: &[&str], default_port: u16) -> Result<Self> {
        let url = parse_url(options.require_text("url")?, schemes)?;
        let form = format!("Write url = '{}://host:{default_port}/database'.", schemes[0]);
        let host = match url.host_str().map(percent_decoded) {
            Some(host) if !host.is_empty() => host.trim_matches(['[', ']']).to_owned(),
            _ => return Err(invalid("option \"url\" names no host").with_hint(form)),
        };
        let database = percent_decoded(url.path().trim_start_matches('/'));
        if database.contains('/') {
            return Err(
                invalid("option \"url\" has more than a database after the host").with_hint(form)
            );
        }
        let in_url = Some(percent_decoded(url.username())).filter(|user| !user.is_empty());
        let given = options.text("user").filter(|user| !user.is_empty()).map(str::to_owned);
        let user = match (in_url, given) {
            (Some(one), Some(other)) if one != other => {
                return Err(invalid(format!(
                    "options \"url\" and \"user\" name two users, \"{one}\" and \"{other}\""
                )));
            }
            (in_url, given) => given.or(in_url),
        };
        let max_connections = options
            .integer("max_connections")
            .map_or(Ok(SOURCE_CONNECTIONS_MAX), |n| u32::try_from(n).map_err(|_| n))
            .ok()
            .filter(|n| (1..=1000).contains(n))
            .ok_or_else(|| {
                invalid("option \"max_connections\" is out of range")
                    .with_hint("Give a number from 1 to 1000.")
            })?;
        let max_queries_per_second = match options.integer("max_queries_per_second") {
            None => None,
            Some(n) => {
                let n = u32::try_from(n).ok().filter(|n| (1..=10_000).contains(n));
                Some(n.ok_or_else(|| {
                    invalid("option \"max_queries_per_second\" is out of range")
                        .with_hint("Give a number from 1 to 10000, or leave it out for no limit.")
                })?)
            }
        };
        let connect_timeout = options
            .duration("connect_timeout")
            .unwrap_or(Duration::from_secs(CONNECT_TIMEOUT_S))
            .max(Duration::from_millis(1));
        let tls = match options.text("tls") {
            Some("disable") => Tls::Disable,
            Some("require") => Tls::Require,
            Some("verify-ca") => Tls::VerifyCa,
            Some("verify-full") => Tls::VerifyFull,
            _ => Tls::Prefer,
        };
        let ca_file = options.text("ca_file").map(PathBuf::from);
        if let Some(file) = &ca_file {
            check_ca_file(file, tls)?;
        }
        Ok(Self {
            host,
            port: url.port().unwrap_or(default_port),
            database,
            user,
            password: options.secret("password").cloned(),
            tls,
            ca_file,
            max_connections,
            max_queries_per_second,
            connect_timeout,
        })
    }

    pub fn given(&self) -> Given {
        Given { password: self.password.is_some(), database: !self.database.is_empty() }
    }

    /// Returns `host:port/database`, for people.
    pub fn shown(&self) -> String {
        let slash = if self.database.is_empty() { "" } else { "/" };
        format!("{}:{}{slash}{}", self.host, self.port, self.database)
    }
}

/// Refuses a file that holds no certificates, and one that would not be looked at.
fn check_ca_file(file: &Path, tls: Tls) -> Result<()> {
    if !matches!(tls, Tls::VerifyCa | Tls::VerifyFull) {
        return Err(invalid("option \"ca_file\" needs tls = 'verify-ca' or 'verify-full'")
            .with_hint("Otherwise no certificate is checked: set tls, or leave ca_file out."));
    }
    let shown = file.display();
    let mut certificates = CertificateDer::pem_file_iter(file).map_err(|error| {
        invalid(format!("option \"ca_file\": cannot read \"{shown}\"")).with_cause(error)
    })?;
    match certificates.next() {
        Some(Ok(_)) => Ok(()),
        _ => Err(invalid(format!("option \"ca_file\": no PEM certificates in \"{shown}\""))),
    }
}

/// Parses the URL. No message repeats it: it might hold a password.
fn parse_url(text: &str, schemes: &[&str]) -> Result<Url> {
    let form = format!("Write it as '{}://host:port/database'.", schemes[0]);
    let url = Url::parse(text).map_err(|error| {
        invalid(format!("option \"url\" is not a URL: {error}")).with_hint(form.clone())
    })?;
    if !schemes.contains(&url.scheme()) {
        return Err(invalid(format!(
            "option \"url\" has the scheme \"{}\", not \"{}\"",
            url.scheme(),
            schemes[0]
        ))
        .with_hint(form));
    }
    if url.password().is_some() {
        return Err(invalid("option \"url\" must not hold a password")
            .with_detail("URLs are shown in system.catalogs and in messages.")
            .with_hint(
                "Leave it out of the URL and use the option \"password\" or a secret (CREATE SECRET).",
            ));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(invalid("option \"url\" must not have parameters")
            .with_hint("Use the connector's own options, e.g. tls = 'require'."));
    }
    Ok(url)
}

/// Undoes `%20` and the like; what is not valid UTF-8 becomes the replacement mark and then is simply not found.
fn percent_decoded(text: &str) -> String {
    let pair = format!("v={}", text.replace('+', "%2B").replace('&', "%26"));
    url::form_urlencoded::parse(pair.as_bytes())
        .next()
        .map(|(_, value)| value.into_owned())
        .unwrap_or_default()
}

fn invalid(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidOption, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPECS: &[OptionSpec] = &[
        OptionSpec::new("url", OptionKind::Text, "The address.").required(),
        USER,
        PASSWORD,
        TLS,
        CA_FILE,
        MAX_CONNECTIONS,
        MAX_QUERIES_PER_SECOND,
        CONNECT_TIMEOUT,
    ];

    fn read(raw: &[(&str, &str)]) -> Result<Address> {
        let options = Options::check("connector \"postgres\"", SPECS, raw.iter().copied())?;
        Address::read(&options, &["postgres", "postgresql"], 5432)
    }

    #[test]
    fn reads_the_parts_of_a_url() {
        let address = read(&[("url", "postgresql://a%40b@db.example/my%20shop")]).unwrap();
        assert_eq!(address.user.as_deref(), Some("a@b"));
        assert_eq!(address.database, "my shop");
        assert_eq!(address.shown(), "db.example:5432/my shop");
        assert_eq!(address.max_connections, SOURCE_CONNECTIONS_MAX);
        assert_eq!(address.max_queries_per_second, None);
        assert_eq!(address.connect_timeout, Duration::from_secs(CONNECT_TIMEOUT_S));
    }

    #[test]
    fn never_takes_or_repeats_a_password_in_the_url() {
        let error = read(&[("url", "postgres://u:hunter2@h/d")]).unwrap_err();
        assert_eq!(error.sqlstate(), "HV024");
        assert!(!error.report().contains("hunter2"), "{}", error.report());
        let error = read(&[("url", "postgres://u:hunter2@h:notaport/d")]).unwrap_err();
        assert!(!error.report().contains("hunter2"), "{}", error.report());
    }

    #[test]
    fn refuses_what_does_not_go_together() {
        for raw in [
            &[("url", "mysql://h/d")][..],
            &[("url", "postgres:///d")],
            &[("url", "postgres://h/d?sslmode=disable")],
            &[("url", "postgres://a@h/d"), ("user", "b")],
            &[("url", "postgres://h/d"), ("max_connections", "0")],
            &[("url", "postgres://h/d"), ("max_connections", "-1")],
            &[("url", "postgres://h/d"), ("max_queries_per_second", "0")],
            &[("url", "postgres://h/d"), ("max_queries_per_second", "10001")],
            &[("url", "postgres://h/d"), ("ca_file", "/no/such/file.pem"), ("tls", "verify-ca")],
            // There, but it holds none.
            &[("url", "postgres://h/d"), ("ca_file", "Cargo.toml"), ("tls", "verify-full")],
            &[("url", "postgres://h/d"), ("ca_file", "Cargo.toml"), ("tls", "require")],
            &[("url", "postgres://h/d"), ("ca_file", "Cargo.toml")],
        ] {
            assert_eq!(read(raw).unwrap_err().sqlstate(), "HV024", "{raw:?}");
        }
    }
}
