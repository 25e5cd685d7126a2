//! How a client proves who it is.

use std::num::NonZeroU32;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use maru_core::{Error, ErrorKind, Result, ResultExt, Secret};
use ring::pbkdf2;
use serde::{Deserialize, Serialize};

use crate::store::random;

/// What the engine keeps of a password: PBKDF2-HMAC-SHA-256 as in RFC 5802, enough to check a password and to run
/// SCRAM, encrypted at rest since SCRAM servers of our kind need the salted password itself.
#[derive(Debug, Clone)]
pub struct Verifier {
    pub user: String,
    pub salt: Vec<u8>,
    pub iterations: u32,
    /// Base64 of the 32 bytes.
    pub salted_password: Secret,
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

/// The stored form of a verifier.
#[derive(Serialize, Deserialize)]
struct StoredVerifier {
    salt: String,
    iterations: u32,
    salted_password: String,
}

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
    let salted = STANDARD
        .decode(verifier.salted_password.reveal())
        .or_error(ErrorKind::DataCorrupted, || "a stored password is damaged".to_owned())?;
    pbkdf2::verify(
        pbkdf2::PBKDF2_HMAC_SHA256,
        rounds(verifier.iterations),
        &verifier.salt,
        password.reveal().as_bytes(),
        &salted,
    )
    .map_err(|_| refused())
}

/// Makes what is kept of a password.
pub(crate) fn verifier_of(user: &str, password: &Secret) -> Result<Verifier> {
    let salt = random(16)?;
    let mut salted = [0; 32];
    pbkdf2::derive(
        pbkdf2::PBKDF2_HMAC_SHA256,
        rounds(ITERATIONS),
        &salt,
        password.reveal().as_bytes(),
        &mut salted,
    );
    Ok(Verifier {
        user: user.to_owned(),
        salt,
        iterations: ITERATIONS,
        salted_password: Secret::new(STANDARD.encode(salted)),
    })
}

fn rounds(iterations: u32) -> NonZeroU32 {
    NonZeroU32::new(iterations).unwrap_or(NonZeroU32::MIN)
}

impl Verifier {
    /// Returns the form that is kept, encrypted.
    pub(super) fn encode(&self) -> Result<Secret> {
        let stored = StoredVerifier {
            salt: STANDARD.encode(&self.salt),
            iterations: self.iterations,
            salted_password: self.salted_password.reveal().to_owned(),
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
        Ok(Self {
            user: user.to_owned(),
            salt: STANDARD.decode(&stored.salt).or_error(ErrorKind::DataCorrupted, damaged)?,
            iterations: stored.iterations,
            salted_password: Secret::new(stored.salted_password),
        })
    }
}
