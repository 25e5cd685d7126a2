//! Users and how they prove who they are.

use maru_core::Secret;

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

/// The one user that exists from the first start.
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
