//! How a client proves who it is.

use std::num::NonZeroU32;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use maru_core::{Error, ErrorKind, Result, ResultExt, Secret};
use ring::{digest, hmac, pbkdf2};
use serde::{Deserialize, Serialize};

use crate::store::random;

/// What the engine keeps of a password: the keys of SCRAM-SHA-256 (RFC 5802), enough to check a password and not to log in
/// with, encrypted at rest.
#[derive(Debug, Clone)]
pub struct Verifier {
    pub user: String,
    pub salt: Vec<u8>,
    pub iterations: u32,
    /// Base64 of the 32 bytes, as is the next one.
    pub stored_key: Secret,
    pub server_key: Secret,
}

/// Who opens a session, from where.
#[derive(Debug, Clone)]
pub struct Login {
    pub user: String,
    pub protocol: Protocol,
    /// `host:port` of the client, if it came over a network.
    pub client_address: Option<String>,
    pub application_name: Option<String>,
    /// The catalog named at connect (PostgreSQL's database); `None` means `maru`.
    pub database: Option<String>,
}

impl Login {
    /// Returns the login of the process itself: the embedded shell, the demo, tests.
    pub fn embedded() -> Self {
        Self {
            user: SUPERUSER.to_owned(),
            protocol: Protocol::Embedded,
            client_address: None,
            application_name: None,
            database: None,
        }
    }
}

/// The superuser that is there from the first start.
pub const SUPERUSER: &str = "maru";

/// By which door a session came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    Embedded,
    Postgres,
    FlightSql,
    Http,
}

impl Protocol {
    pub fn name(self) -> &'static str {
        match self {
            Self::Embedded => "embedded",
            Self::Postgres => "postgres",
            Self::FlightSql => "flightsql",
            Self::Http => "http",
        }
    }
}

/// The login by which `maru sql` of the same machine and user reaches a running server; its password is the owner
/// file's token.
pub const LOCAL_LOGIN: &str = "maru@local";

/// Rounds of PBKDF2, as many as PostgreSQL 16 takes.
const ITERATIONS: u32 = 4096;

/// Rounds that a given verifier may ask for: each login of the user takes them.
const ITERATIONS_MAX: u32 = 10_000_000;

/// The stored form of a verifier. Earlier ones have the salted password, from which the keys are made.
#[derive(Serialize, Deserialize)]
struct StoredVerifier {
    salt: String,
    iterations: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    salted_password: Option<String>,
    #[serde(default)]
    stored_key: String,
    #[serde(default)]
    server_key: String,
}

/// How PostgreSQL writes a verifier.
const SCRAM_PREFIX: &str = "SCRAM-SHA-256$";

/// Checks a password. An unknown user costs as much time as a known one.
///
/// # Errors
/// 28P01.
pub fn check(user: &str, verifier: Option<Verifier>, password: &Secret) -> Result<()> {
    let refused = || {
        Error::new(
            ErrorKind::NotAuthenticated,
            format!("password authentication failed for user \"{user}\""),
        )
    };
    let Some(verifier) = verifier else {
        verifier_of(user, password)?;
        return Err(refused());
    };
    let keys = Keys::of(&salted(password, &verifier.salt, verifier.iterations));
    verifier.proves(keys.client_key.as_ref()).then_some(()).ok_or_else(refused)
}

/// Makes what is kept of a password.
pub(crate) fn verifier_of(user: &str, password: &Secret) -> Result<Verifier> {
    let salt = random(16)?;
    let keys = Keys::of(&salted(password, &salt, ITERATIONS));
    Ok(keys.verifier(user, salt, ITERATIONS))
}

/// The keys that SCRAM makes of a salted password.
struct Keys {
    client_key: hmac::Tag,
    server_key: hmac::Tag,
}

impl Keys {
    fn of(salted: &[u8]) -> Self {
        let key = hmac::Key::new(hmac::HMAC_SHA256, salted);
        Self {
            client_key: hmac::sign(&key, b"Client Key"),
            server_key: hmac::sign(&key, b"Server Key"),
        }
    }

    fn verifier(&self, user: &str, salt: Vec<u8>, iterations: u32) -> Verifier {
        let stored_key = digest::digest(&digest::SHA256, self.client_key.as_ref());
        Verifier {
            user: user.to_owned(),
            salt,
            iterations,
            stored_key: Secret::new(STANDARD.encode(stored_key)),
            server_key: Secret::new(STANDARD.encode(self.server_key.as_ref())),
        }
    }
}

/// Salts a password. Clients prepare it first (RFC 4013), and take it as it is where that cannot be done.
fn salted(password: &Secret, salt: &[u8], iterations: u32) -> [u8; 32] {
    let prepared = stringprep::saslprep(password.reveal());
    let prepared = prepared.unwrap_or(std::borrow::Cow::Borrowed(password.reveal()));
    let mut salted = [0; 32];
    let algorithm = pbkdf2::PBKDF2_HMAC_SHA256;
    pbkdf2::derive(algorithm, rounds(iterations), salt, prepared.as_bytes(), &mut salted);
    salted
}

fn rounds(iterations: u32) -> NonZeroU32 {
    NonZeroU32::new(iterations).unwrap_or(NonZeroU32::MIN)
}

impl Verifier {
    /// Returns whether a client key is that of the password, in constant time.
    pub fn proves(&self, client_key: &[u8]) -> bool {
        let stored_key = digest::digest(&digest::SHA256, client_key);
        STANDARD
            .decode(self.stored_key.reveal())
            .is_ok_and(|expected| is_same(&expected, stored_key.as_ref()))
    }

    /// Reads a verifier as PostgreSQL writes it: `SCRAM-SHA-256$4096:salt$StoredKey:ServerKey`.
    ///
    /// # Errors
    /// `None` if it is none; 22023 if it is broken, without a word of it.
    pub(crate) fn parse(user: &str, text: &str) -> Option<Result<Self>> {
        let rest = text.strip_prefix(SCRAM_PREFIX)?;
        let read = || {
            let (first, keys) = rest.split_once('$')?;
            let (iterations, salt) = first.split_once(':')?;
            let (stored_key, server_key) = keys.split_once(':')?;
            let is_key = |key: &str| STANDARD.decode(key).is_ok_and(|bytes| bytes.len() == 32);
            let iterations =
                iterations.parse().ok().filter(|n| (1..=ITERATIONS_MAX).contains(n))?;
            let salt = STANDARD.decode(salt).ok().filter(|salt| !salt.is_empty())?;
            (is_key(stored_key) && is_key(server_key)).then(|| Self {
                user: user.to_owned(),
                salt,
                iterations,
                stored_key: Secret::new(stored_key),
                server_key: Secret::new(server_key),
            })
        };
        Some(read().ok_or_else(|| {
            Error::new(ErrorKind::InvalidParameter, "invalid SCRAM-SHA-256 verifier")
                .with_hint("It looks like SCRAM-SHA-256$4096:salt$StoredKey:ServerKey, in base64.")
        }))
    }

    /// Returns the form that is kept, encrypted.
    pub(super) fn encode(&self) -> Result<Secret> {
        let stored = StoredVerifier {
            salt: STANDARD.encode(&self.salt),
            iterations: self.iterations,
            salted_password: None,
            stored_key: self.stored_key.reveal().to_owned(),
            server_key: self.server_key.reveal().to_owned(),
        };
        serde_json::to_string(&stored)
            .map(Secret::new)
            .or_error(ErrorKind::Internal, || "could not encode a verifier".to_owned())
    }

    /// # Errors
    /// XX001 if it is damaged.
    pub(super) fn decode(user: &str, stored: &Secret) -> Result<Self> {
        let damaged = || "a stored password is damaged".to_owned();
        let stored: StoredVerifier =
            serde_json::from_str(stored.reveal()).or_error(ErrorKind::DataCorrupted, damaged)?;
        let salt = STANDARD.decode(&stored.salt).or_error(ErrorKind::DataCorrupted, damaged)?;
        if let Some(salted) = stored.salted_password {
            let salted = STANDARD.decode(salted).or_error(ErrorKind::DataCorrupted, damaged)?;
            return Ok(Keys::of(&salted).verifier(user, salt, stored.iterations));
        }
        Ok(Self {
            user: user.to_owned(),
            salt,
            iterations: stored.iterations,
            stored_key: Secret::new(stored.stored_key),
            server_key: Secret::new(stored.server_key),
        })
    }
}

/// Compares in a time that does not depend on what is equal.
fn is_same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |differ, (a, b)| differ | (a ^ b)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of RFC 7677.
    const OF_PENCIL: &str = "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=";

    #[test]
    fn a_verifier_of_postgresql_checks_its_password() {
        let verifier = Verifier::parse("user", OF_PENCIL).unwrap().unwrap();
        check("user", Some(verifier.clone()), &Secret::new("pencil")).unwrap();
        let error = check("user", Some(verifier.clone()), &Secret::new("pencils")).unwrap_err();
        assert_eq!(error.sqlstate(), "28P01");
        let kept = Verifier::decode("user", &verifier.encode().unwrap()).unwrap();
        check("user", Some(kept), &Secret::new("pencil")).unwrap();
    }

    #[test]
    fn what_earlier_versions_kept_still_counts() {
        let salted = STANDARD.encode(salted(&Secret::new("p"), b"salt", 4096));
        let salt = STANDARD.encode("salt");
        let text = format!(r#"{{"salt":"{salt}","iterations":4096,"salted_password":"{salted}"}}"#);
        let verifier = Verifier::decode("user", &Secret::new(text)).unwrap();
        check("user", Some(verifier), &Secret::new("p")).unwrap();
    }

    #[test]
    fn broken_verifiers_are_refused_and_passwords_are_none() {
        assert!(Verifier::parse("user", "pencil").is_none());
        for broken in [
            "SCRAM-SHA-256$",
            "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d:wfPL",
            &OF_PENCIL.replace("4096", "0"),
            &OF_PENCIL.replace("4096", "100000000"),
        ] {
            let error = Verifier::parse("user", broken).unwrap().unwrap_err();
            assert_eq!(error.sqlstate(), "22023", "{broken}");
        }
    }
}
