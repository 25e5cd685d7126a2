//! From an accepted socket to a session: encryption, who is there, settings, parameters, keys.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::SinkExt;
use maru_core::{Error, ErrorKind, limits};
use pgwire::api::{DefaultClient, PgWireConnectionState};
use pgwire::messages::startup::{
    Authentication, BackendKeyData, ParameterStatus, SecretKey, Startup,
};
use pgwire::messages::{PgWireBackendMessage, PgWireFrontendMessage};
use pgwire::tokio::server::{MaybeTls, PgWireMessageServerCodec, negotiate_tls};
use tokio::net::UnixStream;
use tokio_util::codec::Framed;

use super::connection::Connection;
use super::errors::{Failure, Step, WireError, notice};
use super::{Door, Incoming, Socket, scram};
use crate::access::{Login, Protocol};
use crate::server::tls::{common_name, must_encrypt, not_encrypted};
use crate::session::Session;

/// Bytes of rows that gather before they are sent.
const WRITE_BUFFER_BYTES: usize = 64 * 1024;

/// Serves one client from its first byte to its last.
pub(super) async fn welcome(door: Arc<Door>, stream: Incoming) {
    let time = Duration::from_secs(limits::LOGIN_TIMEOUT_S);
    let opened = tokio::select! {
        biased;
        () = door.life.stop.cancelled() => return,
        opened = tokio::time::timeout(time, open(&door, stream)) => opened,
    };
    // A client that does not finish to log in is not worth an answer.
    if let Ok(Some((connection, _permit))) = opened {
        connection.serve().await;
    }
}

/// Returns the connection of a client that may stay, with its place among the connections.
async fn open(
    door: &Arc<Door>,
    stream: Incoming,
) -> Option<(Connection, tokio::sync::OwnedSemaphorePermit)> {
    let (mut socket, proof) = negotiate(door, stream).await?;
    socket.set_backpressure_boundary(WRITE_BUFFER_BYTES);
    let startup = match socket.next().await? {
        Ok(PgWireFrontendMessage::Startup(startup)) => startup,
        Ok(PgWireFrontendMessage::CancelRequest(request)) => {
            if let Some(secret) = request.secret_key.as_i32() {
                door.engine.cancel(request.pid, secret);
            }
            // The client waits for the end of the connection, which TLS has to be told.
            let _ = socket.close().await;
            return None;
        }
        _ => return None,
    };
    match admit(door, &mut socket, startup, &proof).await {
        Ok((session, permit)) => {
            Some((Connection::new(socket, session, door.life.clone()), permit))
        }
        Err(Failure::Gone) => None,
        Err(Failure::Statement(error) | Failure::Fatal(error)) => {
            let response = PgWireBackendMessage::ErrorResponse(error.response("FATAL"));
            let _ = socket.send(response).await;
            let _ = socket.close().await;
            None
        }
    }
}

/// What is known of a client before it says who it is.
#[derive(Debug, Default)]
struct Proof {
    /// The name in a certificate that somebody we trust has signed.
    common_name: Option<String>,
    /// The server's certificate on an encrypted connection, if SCRAM can bind to it.
    certificate: Option<Arc<Vec<u8>>>,
    is_encrypted: bool,
    /// It came over the Unix socket.
    is_local: bool,
    /// It runs as the user that runs the server.
    is_local_owner: bool,
}

async fn negotiate(door: &Door, stream: Incoming) -> Option<(Socket, Proof)> {
    match stream {
        Incoming::Unix(stream) => {
            let ours = UnixStream::pair().and_then(|(one, _)| one.peer_cred()).ok()?.uid();
            let is_local_owner = stream.peer_cred().is_ok_and(|peer| peer.uid() == ours);
            let nowhere = SocketAddr::from(([0, 0, 0, 0], 0));
            let codec = PgWireMessageServerCodec::new(DefaultClient::new(nowhere, false));
            let mut socket = Socket::new(Framed::new(MaybeTls::Unix(stream), codec));
            socket.set_state(PgWireConnectionState::AwaitingStartup);
            let proof = Proof { is_local: true, is_local_owner, ..Proof::default() };
            Some((socket, proof))
        }
        Incoming::Tcp(stream) => {
            let (acceptor, certificate) = match door.tls.as_ref().map(|tls| tls.current()) {
                Some(loaded) => (Some(loaded.pg), loaded.certificate),
                None => (None, None),
            };
            let framed = negotiate_tls(stream, acceptor).await.ok()??;
            let mut proof = Proof::default();
            if let MaybeTls::Tls(tls) = framed.get_ref() {
                proof.is_encrypted = true;
                proof.certificate = certificate;
                let certificates = tls.get_ref().1.peer_certificates();
                let first = certificates.and_then(|certificates| certificates.first());
                proof.common_name = first.and_then(|certificate| common_name(certificate));
            }
            Some((Socket::new(framed), proof))
        }
    }
}

async fn admit(
    door: &Arc<Door>,
    socket: &mut Socket,
    startup: Startup,
    proof: &Proof,
) -> Step<(Arc<Session>, tokio::sync::OwnedSemaphorePermit)> {
    socket.agree(&startup).await?;
    socket.set_state(PgWireConnectionState::AuthenticationInProgress);
    let parameter = |name: &str| startup.parameters.get(name).filter(|value| !value.is_empty());
    let user = parameter("user")
        .ok_or_else(|| WireError::new("28000", "no user name in the start-up message"))?;
    if parameter("replication")
        .is_some_and(|value| !["false", "off", "no", "0"].contains(&value.as_str()))
    {
        return Err(Error::unsupported("cannot serve replication connections").into());
    }
    let required = door.engine.config().tls_required;
    let is_open = !proof.is_encrypted && !proof.is_local;
    if is_open && must_encrypt(required, Some(socket.address())) {
        return Err(not_encrypted().into());
    }
    let permit = door.connections.clone().try_acquire_owned().map_err(|_| {
        Error::new(ErrorKind::TooManyConnections, "sorry, too many clients already").with_detail(
            format!("The limit pg_connections_max is {}.", door.engine.config().pg_connections_max),
        )
    })?;
    let address = socket.address().to_string();
    // What the machine or a certificate says of a client stands for a password, if there is such a user.
    let known = proof.is_local_owner || proof.common_name.as_ref() == Some(user);
    if !known || door.engine.verifier(user).await?.is_none() {
        let certificate = proof.certificate.as_deref().map(Vec::as_slice);
        door.engine.slow_login(user, &address).await;
        let proven = scram::authenticate(socket, &door.engine, &door.fake, user, certificate).await;
        if let Err(failure) = proven {
            if matches!(&failure, Failure::Fatal(error) if error.sqlstate == "28P01") {
                let error =
                    Error::new(ErrorKind::NotAuthenticated, "password authentication failed");
                door.engine.login_failed(user, &address, Protocol::Postgres, &error);
            }
            return Err(failure);
        }
    }

    let mut login = Login {
        user: user.clone(),
        protocol: Protocol::Postgres,
        client_address: (!proof.is_local).then(|| socket.address().to_string()),
        application_name: parameter("application_name").cloned(),
        database: parameter("database").cloned(),
    };
    let session = match door.engine.session(login.clone()).await {
        // Clients that name no database send the user's name.
        Err(error)
            if error.kind() == ErrorKind::UndefinedCatalog
                && login.database.as_ref() == Some(user) =>
        {
            login.database = None;
            door.engine.session(login).await?
        }
        session => session?,
    };
    if let Err(failure) = settle(socket, &session, &startup).await {
        session.close();
        return Err(failure);
    }
    socket.set_state(PgWireConnectionState::ReadyForQuery);
    Ok((session, permit))
}

/// Start-up parameters that are no settings.
const NOT_SETTINGS: &[&str] = &["user", "database", "replication", "options", "application_name"];

/// Settings that drivers send by habit and that change nothing here.
const IGNORED_SETTINGS: &[&str] = &["client_encoding", "extra_float_digits", "client_min_messages"];

async fn settle(socket: &mut Socket, session: &Session, startup: &Startup) -> Step {
    if let Some(encoding) = startup.parameters.get("client_encoding") {
        let name = encoding.to_ascii_uppercase().replace(['-', '_', '\'', '"'], "");
        if !["UTF8", "UNICODE", "SQLASCII", ""].contains(&name.as_str()) {
            return Err(Error::new(
                ErrorKind::InvalidParameter,
                format!("invalid value for parameter \"client_encoding\": \"{encoding}\""),
            )
            .with_hint("Maru speaks UTF8 only.")
            .into());
        }
    }
    for (name, value) in &startup.parameters {
        if !NOT_SETTINGS.contains(&name.as_str()) && !name.starts_with("_pq_.") {
            set(session, name, value)?;
        }
    }
    if let Some(options) = startup.parameters.get("options") {
        for (name, value) in command_line(options)? {
            set(session, &name, &value)?;
        }
    }
    socket.feed(PgWireBackendMessage::Authentication(Authentication::Ok)).await?;
    let version = format!("{} (Maru {})", crate::POSTGRES_VERSION, env!("CARGO_PKG_VERSION"));
    let fixed = [
        ("server_version", version.as_str()),
        ("server_encoding", "UTF8"),
        ("integer_datetimes", "on"),
        ("in_hot_standby", "off"),
        ("is_superuser", if session.rights().is_superuser() { "on" } else { "off" }),
        ("session_authorization", session.user()),
    ];
    for (name, value) in fixed {
        let status = ParameterStatus::new(name.to_owned(), value.to_owned());
        socket.feed(PgWireBackendMessage::ParameterStatus(status)).await?;
    }
    for text in session.login_notices() {
        socket.feed(PgWireBackendMessage::NoticeResponse(notice(&text))).await?;
    }
    let secret = SecretKey::I32(session.cancel_secret());
    let key = BackendKeyData::new(session.id(), secret);
    socket.feed(PgWireBackendMessage::BackendKeyData(key)).await?;
    Ok(())
}

fn set(session: &Session, name: &str, value: &str) -> Step {
    match session.set(name, value) {
        Err(_) if IGNORED_SETTINGS.contains(&name.to_ascii_lowercase().as_str()) => Ok(()),
        Err(error) => Err(error.into()),
        Ok(()) => Ok(()),
    }
}

/// Reads `-c name=value --name=value` as libpq's `options` holds it; a backslash keeps a space.
fn command_line(options: &str) -> Result<Vec<(String, String)>, WireError> {
    let mut words = vec![String::new()];
    let mut chars = options.chars();
    while let Some(c) = chars.next() {
        match (c, words.last_mut()) {
            ('\\', Some(word)) => word.extend(chars.next()),
            (c, _) if c.is_whitespace() => words.push(String::new()),
            (c, Some(word)) => word.push(c),
            _ => {}
        }
    }
    let mut words = words.into_iter().filter(|word| !word.is_empty());
    let mut settings = Vec::new();
    while let Some(word) = words.next() {
        let setting = match word.strip_prefix("--") {
            Some(setting) => Some(setting.replace('-', "_")),
            None if word == "-c" => words.next(),
            None => word.strip_prefix("-c").map(str::to_owned),
        };
        let pair = setting.as_deref().and_then(|setting| setting.split_once('='));
        let (name, value) = pair.ok_or_else(|| {
            WireError::new(
                "42601",
                format!("invalid command-line argument for server process: {word}"),
            )
        })?;
        settings.push((name.to_owned(), value.to_owned()));
    }
    Ok(settings)
}

#[cfg(test)]
mod tests {
    use super::command_line;

    #[test]
    fn options_are_read_as_libpq_writes_them() {
        let pairs =
            command_line("-c statement_timeout=5s  -csearch_path=a\\ b --time-zone=UTC").unwrap();
        let pairs: Vec<_> = pairs.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
        let expected = [("statement_timeout", "5s"), ("search_path", "a b"), ("time_zone", "UTC")];
        assert_eq!(pairs, expected);
        assert_eq!(command_line("-x").unwrap_err().sqlstate, "42601");
        assert!(command_line("  ").unwrap().is_empty());
    }
}
