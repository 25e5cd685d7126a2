//! Who calls: logins, bearer tokens, and the session behind each.
//!
//! A client logs in once by Handshake and gets a token, or sends its password with every call, or has a certificate. Calls with the same
//! token, or with the same user from the same address, share one session: its settings, its statements.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use maru_core::{Error, ErrorKind, Result, limits};
use parking_lot::Mutex;
use tonic::Request;
use tonic::metadata::MetadataMap;

use super::incoming::Peer;
use super::statements::Statements;
use crate::access::{Login, Protocol};
use crate::engine::Engine;
use crate::server::tls::not_encrypted;
use crate::session::Session;

/// One client's session with what it has prepared.
#[derive(Debug)]
pub(super) struct FlightSession {
    pub session: Arc<Session>,
    pub statements: Statements,
    used: Mutex<Instant>,
    /// Results that are being read.
    reading: AtomicUsize,
}

impl FlightSession {
    fn touch(&self) {
        *self.used.lock() = Instant::now();
    }

    /// Returns whether nobody has used the session for as long as it is kept, which `idle_session_timeout` may shorten.
    fn is_idle(&self) -> bool {
        let longest = Duration::from_secs(limits::FLIGHT_SESSION_IDLE_S);
        let kept = match self.session.duration("idle_session_timeout") {
            Duration::ZERO => longest,
            asked => asked.min(longest),
        };
        self.reading.load(Ordering::Relaxed) == 0 && self.used.lock().elapsed() > kept
    }

    /// Keeps the session alive while a result is read.
    pub(super) fn reading(self: &Arc<Self>) -> Reading {
        self.reading.fetch_add(1, Ordering::Relaxed);
        Reading(self.clone())
    }
}

/// Held by a result stream.
#[derive(Debug)]
pub(super) struct Reading(Arc<FlightSession>);

impl Drop for Reading {
    fn drop(&mut self) {
        self.0.reading.fetch_sub(1, Ordering::Relaxed);
        self.0.touch();
    }
}

/// By what a session is found again.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Key {
    Token(String),
    /// Calls that bring the password each time.
    Login {
        user: String,
        address: Option<IpAddr>,
    },
    /// Calls of a client whose certificate stands for the password.
    Certificate {
        user: String,
        address: Option<IpAddr>,
    },
}

/// All sessions of the door.
#[derive(Debug)]
pub(super) struct Sessions {
    engine: Engine,
    open: Mutex<HashMap<Key, Arc<FlightSession>>>,
}

/// Returns what is known of the connection that a call came over.
fn peer<T>(request: &Request<T>) -> Option<&Peer> {
    request.extensions().get::<Peer>()
}

/// Returns the user that the client's certificate stands for, where it gives no other proof.
fn certified<T>(request: &Request<T>) -> Option<&str> {
    peer(request)?.common_name.as_deref()
}

/// # Errors
/// 28P01 for a client that should have encrypted.
fn check_encrypted<T>(request: &Request<T>) -> Result<()> {
    match peer(request) {
        Some(peer) if peer.should_encrypt => Err(not_encrypted()),
        _ => Ok(()),
    }
}

/// Returns the client's address as texts name it.
fn address_of<T>(request: &Request<T>) -> String {
    peer(request).and_then(|peer| peer.address).map(|at| at.to_string()).unwrap_or_default()
}

enum Credentials {
    Basic { user: String, password: String },
    Bearer(String),
}

impl Sessions {
    pub(super) fn new(engine: Engine) -> Self {
        Self { engine, open: Mutex::new(HashMap::new()) }
    }

    /// Checks a user's password and returns a token for a new session.
    ///
    /// # Errors
    /// 28P01, the same for an unknown user and a wrong password.
    pub(super) async fn log_in<T>(
        &self,
        request: &Request<T>,
        user: &str,
        password: &str,
    ) -> Result<String> {
        check_encrypted(request)?;
        self.engine.check_password(user, password, &address_of(request)).await?;
        self.token(request, user).await
    }

    /// Returns a token for the user of the client's certificate.
    ///
    /// # Errors
    /// 28P01 if it has none, or if there is no such user.
    pub(super) async fn log_in_certified<T>(&self, request: &Request<T>) -> Result<String> {
        let user = self.certified_user(request).await?.to_owned();
        self.token(request, &user).await
    }

    async fn certified_user<'a, T>(&self, request: &'a Request<T>) -> Result<&'a str> {
        let missing = || {
            Error::new(ErrorKind::NotAuthenticated, "no user and password were given").with_hint(
                "Send them as basic authentication, or the token of a handshake as bearer.",
            )
        };
        let user = certified(request).ok_or_else(missing)?;
        match self.engine.verifier(user).await? {
            Some(_) => Ok(user),
            None => Err(missing()),
        }
    }

    async fn token<T>(&self, request: &Request<T>, user: &str) -> Result<String> {
        let token = URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>());
        self.open_session(Key::Token(token.clone()), user, request).await?;
        Ok(token)
    }

    /// Returns the session of a call.
    ///
    /// # Errors
    /// 28P01 if the call brings no password or token, a wrong one, or a token that has expired.
    pub(super) async fn of<T>(&self, request: &Request<T>) -> Result<Arc<FlightSession>> {
        check_encrypted(request)?;
        if request.metadata().get("authorization").is_none() && certified(request).is_some() {
            let user = self.certified_user(request).await?;
            let address = peer(request).and_then(|peer| peer.address).map(|at| at.ip());
            let key = Key::Certificate { user: user.to_owned(), address };
            let session = match self.kept(&key)? {
                Some(session) => session,
                None => self.open_session(key, user, request).await?,
            };
            session.touch();
            return Ok(session);
        }
        let session = match credentials(request.metadata())? {
            Credentials::Bearer(token) => self.kept(&Key::Token(token))?.ok_or_else(|| {
                Error::new(ErrorKind::NotAuthenticated, "the token is unknown or has expired")
                    .with_hint("Log in again with user and password.")
            })?,
            Credentials::Basic { user, password } => {
                self.engine.check_password(&user, &password, &address_of(request)).await?;
                let address = peer(request).and_then(|peer| peer.address).map(|at| at.ip());
                let key = Key::Login { user: user.clone(), address };
                match self.kept(&key)? {
                    Some(session) => session,
                    None => self.open_session(key, &user, request).await?,
                }
            }
        };
        session.touch();
        Ok(session)
    }

    /// Returns the session that is found by `key`, if it is still to be used.
    ///
    /// # Errors
    /// 57P01, once, for a session that `pg_terminate_backend` has ended.
    fn kept(&self, key: &Key) -> Result<Option<Arc<FlightSession>>> {
        let Some(session) = self.open.lock().get(key).cloned() else { return Ok(None) };
        if session.session.is_terminated() {
            self.close(&session);
            let message = "terminating connection due to administrator command";
            return Err(Error::new(ErrorKind::ShuttingDown, message)
                .with_hint("Log in again with user and password."));
        }
        if session.is_idle() {
            self.close(&session);
            return Ok(None);
        }
        Ok(Some(session))
    }

    async fn open_session<T>(
        &self,
        key: Key,
        user: &str,
        request: &Request<T>,
    ) -> Result<Arc<FlightSession>> {
        if self.open.lock().len() >= limits::FLIGHT_SESSIONS_MAX {
            self.sweep();
        }
        if self.open.lock().len() >= limits::FLIGHT_SESSIONS_MAX {
            return Err(Error::new(ErrorKind::TooManyConnections, "too many Flight SQL sessions")
                .with_detail(format!(
                    "The limit flight_sessions_max is {}.",
                    limits::FLIGHT_SESSIONS_MAX
                )));
        }
        let agent = request.metadata().get("user-agent").and_then(|agent| agent.to_str().ok());
        let session = self
            .engine
            .session(Login {
                user: user.to_owned(),
                protocol: Protocol::FlightSql,
                client_address: peer(request)
                    .and_then(|peer| peer.address)
                    .map(|at| at.to_string()),
                application_name: agent.map(str::to_owned),
                database: None,
            })
            .await?;
        let session = Arc::new(FlightSession {
            session,
            statements: Statements::default(),
            used: Mutex::new(Instant::now()),
            reading: AtomicUsize::new(0),
        });
        // Two first calls at once: one of the two sessions is taken, the other forgotten.
        Ok(self.open.lock().entry(key).or_insert(session).clone())
    }

    /// Ends a session; its token is worth nothing afterwards.
    pub(super) fn close(&self, session: &Arc<FlightSession>) {
        self.open.lock().retain(|_, open| !Arc::ptr_eq(open, session));
        session.session.clone().close();
    }

    /// Closes the sessions that nobody has used for long, and those that were ended from outside.
    pub(super) fn sweep(&self) {
        let mut closed = Vec::new();
        self.open.lock().retain(|_, session| {
            let over = session.is_idle() || session.session.is_terminated();
            if over {
                closed.push(session.clone());
            }
            !over
        });
        closed.into_iter().for_each(|session| session.session.clone().close());
    }

    pub(super) fn close_all(&self) {
        let all = std::mem::take(&mut *self.open.lock());
        all.into_values().for_each(|session| session.session.clone().close());
    }
}

fn credentials(metadata: &MetadataMap) -> Result<Credentials> {
    let missing = || {
        Error::new(ErrorKind::NotAuthenticated, "no user and password were given")
            .with_hint("Send them as basic authentication, or the token of a handshake as bearer.")
    };
    let header = metadata.get("authorization").ok_or_else(missing)?;
    let header = header.to_str().map_err(|_| missing())?;
    let (scheme, rest) = header.split_once(' ').ok_or_else(missing)?;
    if scheme.eq_ignore_ascii_case("bearer") {
        return Ok(Credentials::Bearer(rest.trim().to_owned()));
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return Err(missing());
    }
    let (user, password) = basic(rest).ok_or_else(missing)?;
    Ok(Credentials::Basic { user, password })
}

/// Reads `user:password`. Arrow's Go client leaves the padding out, others send it.
fn basic(text: &str) -> Option<(String, String)> {
    let text = text.trim().trim_end_matches('=');
    let text = String::from_utf8(STANDARD_NO_PAD.decode(text).ok()?).ok()?;
    let (user, password) = text.split_once(':')?;
    Some((user.to_owned(), password.to_owned()))
}

/// Returns user and password of a handshake call.
pub(super) fn basic_credentials(metadata: &MetadataMap) -> Option<(String, String)> {
    match credentials(metadata) {
        Ok(Credentials::Basic { user, password }) => Some((user, password)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metadata(header: &str) -> MetadataMap {
        let mut metadata = MetadataMap::new();
        metadata.insert("authorization", header.parse().unwrap());
        metadata
    }

    #[test]
    fn passwords_may_hold_colons_and_lack_padding() {
        // With and without the padding that a client may leave out.
        for encoded in ["bWFydTphOmI=", "bWFydTphOmI"] {
            let header = format!("Basic {encoded}");
            let (user, password) = basic_credentials(&metadata(&header)).unwrap();
            assert_eq!((user.as_str(), password.as_str()), ("maru", "a:b"));
        }
    }

    #[test]
    fn what_is_no_login_is_refused() {
        for header in ["", "Basic", "Basic !!", "Digest x"] {
            let error = credentials(&metadata(header)).err().unwrap();
            assert_eq!(error.sqlstate(), "28P01");
        }
        assert!(
            matches!(credentials(&metadata("bearer abc")), Ok(Credentials::Bearer(t)) if t == "abc")
        );
    }
}
