//! SCRAM-SHA-256: the client proves that it knows the password without sending it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures::SinkExt;
use maru_core::{Error, ErrorKind};
use pgwire::api::auth::Password;
use pgwire::api::auth::sasl::scram::{SCRAM_ITERATIONS, ScramServerAuth};
use pgwire::api::auth::sasl::{SCRAM_SHA_256_METHOD, SCRAM_SHA_256_PLUS_METHOD};
use pgwire::error::PgWireError;
use pgwire::messages::startup::{Authentication, PasswordMessageFamily};
use pgwire::messages::{PgWireBackendMessage, PgWireFrontendMessage};
use ring::hmac;

use super::Socket;
use super::errors::{Failure, Step, WireError};
use crate::access::{SUPERUSER, Verifier};
use crate::engine::Engine;

/// Answers for users that do not exist, so that a client cannot learn who does: the same salt for the same name each
/// time, and a password nobody knows.
#[derive(Debug)]
pub(super) struct FakeUsers {
    key: [u8; 32],
}

/// What SCRAM needs of one user.
struct Expected {
    salt: Vec<u8>,
    iterations: usize,
    salted_password: Vec<u8>,
}

impl FakeUsers {
    pub(super) fn new() -> Self {
        Self { key: rand::random() }
    }

    /// `like` is an existing user: its secret makes the salts last over a restart, its salt tells their length.
    fn expected(&self, user: &str, like: Option<&Verifier>) -> Expected {
        let secret = like.map(|verifier| verifier.salted_password.reveal().as_bytes());
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret.unwrap_or(&self.key));
        let tag = hmac::sign(&key, format!("salt of {user}").as_bytes());
        let length = like.map_or(16, |verifier| verifier.salt.len()).min(tag.as_ref().len());
        Expected {
            salt: tag.as_ref()[..length].to_vec(),
            iterations: like.map_or(SCRAM_ITERATIONS, |verifier| verifier.iterations as usize),
            salted_password: rand::random::<[u8; 32]>().to_vec(),
        }
    }
}

async fn expected(engine: &Engine, fake: &FakeUsers, user: &str) -> Step<Expected> {
    // Both are looked up in every case, so that both cases take as long.
    let like = engine.verifier(SUPERUSER).await.map_err(fatal)?;
    let Some(verifier) = engine.verifier(user).await.map_err(fatal)? else {
        return Ok(fake.expected(user, like.as_ref()));
    };
    let salted_password = STANDARD
        .decode(verifier.salted_password.reveal())
        .map_err(|_| fatal(Error::internal("a stored password cannot be read")))?;
    Ok(Expected { salt: verifier.salt, iterations: verifier.iterations as usize, salted_password })
}

fn fatal(error: Error) -> Failure {
    Failure::Fatal(error.into())
}

fn refused(user: &str) -> Failure {
    fatal(Error::new(
        ErrorKind::NotAuthenticated,
        format!("password authentication failed for user \"{user}\""),
    ))
}

/// Runs the exchange. Afterwards the client is known to be `user`.
///
/// # Errors
/// 28P01, the same for an unknown user and a wrong password; 08P01 for a client that does not keep to the protocol.
pub(super) async fn authenticate(
    socket: &mut Socket,
    engine: &Engine,
    fake: &FakeUsers,
    user: &str,
    certificate: Option<&[u8]>,
) -> Step {
    let binding = certificate.map(|_| SCRAM_SHA_256_PLUS_METHOD);
    let methods = binding.into_iter().chain([SCRAM_SHA_256_METHOD]);
    let methods = methods.map(str::to_owned).collect::<Vec<_>>();
    ask(socket, Authentication::SASL(methods.clone())).await?;
    let first = answer(socket).await?.into_sasl_initial_response()?;
    if !methods.contains(&first.auth_method) {
        let message = "the client chose an authentication method that was not offered";
        return Err(Failure::Fatal(WireError::new("08P01", message)));
    }
    let data = first.data.unwrap_or_default();
    // `p`: bound to the certificate; `y`: the client could, and believes that the server cannot, which somebody in
    // between has told it; `n`: the client cannot.
    let binds = data.first() == Some(&b'p');
    let misled = data.first() == Some(&b'y') && certificate.is_some();
    if binds != (first.auth_method == SCRAM_SHA_256_PLUS_METHOD) || misled {
        let message = "the client's channel binding does not fit the offered methods";
        return Err(Failure::Fatal(WireError::new("28000", message)));
    }
    let expected = expected(engine, fake, user).await?;
    let mut server = ScramServerAuth::new();
    server.set_iterations(expected.iterations);
    if let Some(certificate) = certificate {
        server.configure_certificate(certificate)?;
    }
    let password = Password::new(Some(expected.salt), expected.salted_password);
    let (challenge, waiting) = server.on_client_first_message(&data, password)?;
    ask(socket, Authentication::SASLContinue(challenge.into())).await?;

    let proof = answer(socket).await?.into_sasl_response()?;
    let signature = waiting.on_client_final_message(&proof.data).map_err(|error| match error {
        PgWireError::InvalidPassword(_) => refused(user),
        error => error.into(),
    })?;
    ask(socket, Authentication::SASLFinal(signature.into())).await
}

async fn ask(socket: &mut Socket, message: Authentication) -> Step {
    Ok(socket.send(PgWireBackendMessage::Authentication(message)).await?)
}

async fn answer(socket: &mut Socket) -> Step<PasswordMessageFamily> {
    match socket.next().await {
        Some(Ok(PgWireFrontendMessage::PasswordMessageFamily(message))) => Ok(message),
        Some(Ok(PgWireFrontendMessage::Terminate(_))) | None => Err(Failure::Gone),
        Some(Ok(_)) => {
            Err(Failure::Fatal(WireError::new("08P01", "expected an answer to authentication")))
        }
        Some(Err(error)) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_user_looks_the_same_each_time() {
        let like = Verifier {
            user: "maru".to_owned(),
            salt: vec![1; 24],
            iterations: 5000,
            salted_password: maru_core::Secret::new("c2VjcmV0"),
        };
        let (a, b) = (FakeUsers::new(), FakeUsers::new());
        let first = a.expected("nobody", Some(&like));
        // Another process: the salt is the same, the password is not.
        let again = b.expected("nobody", Some(&like));
        assert_eq!(first.salt, again.salt);
        assert_eq!((first.salt.len(), first.iterations), (24, 5000));
        assert_ne!(first.salted_password, again.salted_password);
        assert_ne!(first.salt, a.expected("somebody", Some(&like)).salt);
    }
}
