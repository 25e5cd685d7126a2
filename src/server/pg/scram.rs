//! SCRAM-SHA-256: the client proves that it knows the password without sending it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures::SinkExt;
use maru_core::{Error, ErrorKind, Secret};
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

impl FakeUsers {
    pub(super) fn new() -> Self {
        Self { key: rand::random() }
    }

    /// `like` is an existing user: its secret makes the salts last over a restart, its salt tells their length.
    fn expected(&self, user: &str, like: Option<&Verifier>) -> Verifier {
        let secret = like.map(|verifier| verifier.stored_key.reveal().as_bytes());
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret.unwrap_or(&self.key));
        let tag = hmac::sign(&key, format!("salt of {user}").as_bytes());
        let length = like.map_or(16, |verifier| verifier.salt.len()).min(tag.as_ref().len());
        let nobody = || Secret::new(STANDARD.encode(rand::random::<[u8; 32]>()));
        Verifier {
            user: user.to_owned(),
            salt: tag.as_ref()[..length].to_vec(),
            iterations: like.map_or(SCRAM_ITERATIONS as u32, |verifier| verifier.iterations),
            stored_key: nobody(),
            server_key: nobody(),
        }
    }
}

async fn expected(engine: &Engine, fake: &FakeUsers, user: &str) -> Step<Verifier> {
    // Both are looked up in every case, so that both cases take as long.
    let like = engine.verifier(SUPERUSER).await.map_err(fatal)?;
    let known = engine.verifier(user).await.map_err(fatal)?;
    Ok(known.unwrap_or_else(|| fake.expected(user, like.as_ref())))
}

/// The messages that client and server have sent each other, which the client's proof signs.
struct Exchange<'a> {
    first: &'a str,
    challenge: &'a str,
    last: &'a str,
}

impl Exchange<'_> {
    /// Returns the server's signature, if the client's proof is one of the password.
    fn signature(&self, verifier: &Verifier) -> Option<String> {
        // client-first: gs2-cbind-flag "," [authzid] "," client-first-message-bare
        let bare = self.first.splitn(3, ',').nth(2)?;
        let (without_proof, proof) = self.last.rsplit_once(",p=")?;
        let nonce = |text: &str| {
            text.split(',').find_map(|part| part.strip_prefix("r=").map(str::to_owned))
        };
        if nonce(without_proof)? != nonce(self.challenge)? {
            return None;
        }
        let signed = format!("{bare},{},{without_proof}", self.challenge);
        let sign = |key: &Secret| {
            let key = STANDARD.decode(key.reveal()).ok()?;
            Some(hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &key), signed.as_bytes()))
        };
        let mut client_key = STANDARD.decode(proof).ok()?;
        let signature = sign(&verifier.stored_key)?;
        if client_key.len() != signature.as_ref().len() {
            return None;
        }
        client_key.iter_mut().zip(signature.as_ref()).for_each(|(byte, signed)| *byte ^= signed);
        let server = sign(&verifier.server_key)?;
        verifier.proves(&client_key).then(|| format!("v={}", STANDARD.encode(server.as_ref())))
    }
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
    server.set_iterations(expected.iterations as usize);
    if let Some(certificate) = certificate {
        server.configure_certificate(certificate)?;
    }
    // The library checks messages and binding; it would need the password for the proof, which is checked here.
    let password = Password::new(Some(expected.salt.clone()), Vec::new());
    let (challenge, waiting) = server.on_client_first_message(&data, password)?;
    ask(socket, Authentication::SASLContinue(challenge.clone().into())).await?;

    let last = answer(socket).await?.into_sasl_response()?.data;
    match waiting.on_client_final_message(&last) {
        Ok(_) | Err(PgWireError::InvalidPassword(_)) => {}
        Err(error) => return Err(error.into()),
    }
    let text = |bytes| std::str::from_utf8(bytes).map_err(|_| refused(user));
    let exchange = Exchange { first: text(&data)?, challenge: &challenge, last: text(&last)? };
    let signature = exchange.signature(&expected).ok_or_else(|| refused(user))?;
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

    /// RFC 7677, section 3.
    #[test]
    fn the_example_of_the_standard() {
        let verifier = crate::access::Verifier::parse(
            "user",
            "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=",
        );
        let verifier = verifier.unwrap().unwrap();
        let nonce = "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
        let last = format!("c=biws,{nonce},p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=");
        let challenge = format!("{nonce},s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096");
        let exchange = Exchange {
            first: "n,,n=user,r=rOprNGfwEbeRWgbNEkqO",
            challenge: &challenge,
            last: &last,
        };
        let signature = exchange.signature(&verifier).unwrap();
        assert_eq!(signature, "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
        let wrong = last.replace("p=dH", "p=eH");
        assert!(Exchange { last: &wrong, ..exchange }.signature(&verifier).is_none());
    }

    #[test]
    fn an_unknown_user_looks_the_same_each_time() {
        let like = Verifier {
            user: "maru".to_owned(),
            salt: vec![1; 24],
            iterations: 5000,
            stored_key: Secret::new("c2VjcmV0"),
            server_key: Secret::new("c2VjcmV0"),
        };
        let (a, b) = (FakeUsers::new(), FakeUsers::new());
        let first = a.expected("nobody", Some(&like));
        // Another process: the salt is the same, the password is not.
        let again = b.expected("nobody", Some(&like));
        assert_eq!(first.salt, again.salt);
        assert_eq!((first.salt.len(), first.iterations), (24, 5000));
        assert_ne!(first.stored_key, again.stored_key);
        assert_ne!(first.salt, a.expected("somebody", Some(&like)).salt);
    }
}
