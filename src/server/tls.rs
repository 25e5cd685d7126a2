//! Encryption of the doors: certificate and key from files, read again when they change.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use maru_core::{Error, ErrorKind, Result, ResultExt};
use parking_lot::RwLock;
use pgwire::api::auth::sasl::scram::ScramServerAuth;
use pgwire::tokio::TlsAcceptor;
use pgwire::tokio::tokio_rustls::rustls;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};

use crate::config::{Config, TlsRequired};

/// The protocols' names for clients that begin with TLS at once.
const PG_ALPN: &[u8] = b"postgresql";
const FLIGHT_ALPN: &[u8] = b"h2";

/// The files, and what was read from them last.
#[derive(Debug)]
pub(super) struct Tls {
    files: Files,
    loaded: RwLock<Loaded>,
}

#[derive(Debug)]
struct Files {
    certificate: PathBuf,
    key: PathBuf,
    /// Who signs the certificates of clients.
    client_ca: Option<PathBuf>,
}

/// What connections are encrypted with.
#[derive(Clone)]
pub(super) struct Loaded {
    pub(super) pg: TlsAcceptor,
    pub(super) flight: TlsAcceptor,
    /// The server's own certificate, which SCRAM binds to; `None` if it is signed in a way that has no binding.
    pub(super) certificate: Option<Arc<Vec<u8>>>,
    changed: Vec<Option<SystemTime>>,
}

impl std::fmt::Debug for Loaded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Loaded").field("changed", &self.changed).finish_non_exhaustive()
    }
}

impl Tls {
    /// Reads the files that the configuration names; `None` if it names none.
    ///
    /// # Errors
    /// F0000 if one of certificate and key is missing, or if a file cannot be used.
    pub(super) fn open(config: &Config) -> Result<Option<Arc<Self>>> {
        let files = match (&config.tls_certificate, &config.tls_key) {
            (Some(certificate), Some(key)) => Files {
                certificate: certificate.clone(),
                key: key.clone(),
                client_ca: config.tls_client_ca.clone(),
            },
            (None, None) if config.tls_client_ca.is_none() => {
                if config.tls_required == TlsRequired::Off {
                    return Ok(None);
                }
                return Err(Error::new(
                    ErrorKind::ConfigInvalid,
                    "tls_required needs tls_certificate and tls_key",
                ));
            }
            _ => {
                return Err(Error::new(
                    ErrorKind::ConfigInvalid,
                    "encryption needs both tls_certificate and tls_key",
                ));
            }
        };
        let loaded = RwLock::new(files.load()?);
        Ok(Some(Arc::new(Self { files, loaded })))
    }

    /// Returns what a new connection is encrypted with. Files that have changed are read again; if they cannot be used, the old
    /// ones stay.
    pub(super) fn current(&self) -> Loaded {
        let changed = self.files.changed();
        if changed != self.loaded.read().changed {
            match self.files.load() {
                Ok(loaded) => {
                    tracing::info!("read the TLS certificate again");
                    *self.loaded.write() = loaded;
                }
                Err(error) => {
                    tracing::warn!(%error, "the changed TLS certificate cannot be used, the old one stays");
                    // Said once for each change.
                    self.loaded.write().changed = changed;
                }
            }
        }
        self.loaded.read().clone()
    }
}

impl Files {
    fn changed(&self) -> Vec<Option<SystemTime>> {
        let files = [Some(&self.certificate), Some(&self.key), self.client_ca.as_ref()];
        let time = |path: &PathBuf| fs::metadata(path).and_then(|file| file.modified()).ok();
        files.into_iter().flatten().map(time).collect()
    }

    fn load(&self) -> Result<Loaded> {
        let changed = self.changed();
        let pem = read(&self.certificate)?;
        let chain = certificates(&pem, &self.certificate)?;
        let key = PrivateKeyDer::from_pem_slice(&read(&self.key)?)
            .or_error(ErrorKind::ConfigInvalid, || unusable(&self.key))?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .or_error(ErrorKind::Internal, || "TLS has no protocol version".to_owned())?;
        let builder = match &self.client_ca {
            None => builder.with_no_client_auth(),
            Some(path) => {
                let mut roots = RootCertStore::empty();
                for certificate in certificates(&read(path)?, path)? {
                    roots.add(certificate).or_error(ErrorKind::ConfigInvalid, || unusable(path))?;
                }
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                        .allow_unauthenticated()
                        .build()
                        .or_error(ErrorKind::ConfigInvalid, || unusable(path))?;
                builder.with_client_cert_verifier(verifier)
            }
        };
        let config = builder
            .with_single_cert(chain, key)
            .or_error(ErrorKind::ConfigInvalid, || unusable(&self.certificate))?;
        let acceptor = |protocol: &[u8]| {
            let mut config = config.clone();
            config.alpn_protocols = vec![protocol.to_vec()];
            TlsAcceptor::from(Arc::new(config))
        };
        let (pg, flight) = (acceptor(PG_ALPN), acceptor(FLIGHT_ALPN));
        let binds = ScramServerAuth::new().configure_certificate(&pem).is_ok();
        let certificate = binds.then(|| Arc::new(pem));
        Ok(Loaded { pg, flight, certificate, changed })
    }
}

fn certificates(pem: &[u8], path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let found = CertificateDer::pem_slice_iter(pem).collect::<std::result::Result<Vec<_>, _>>();
    let found = found.or_error(ErrorKind::ConfigInvalid, || unusable(path))?;
    if found.is_empty() {
        let message = format!("{} holds no certificate", path.display());
        return Err(Error::new(ErrorKind::ConfigInvalid, message));
    }
    Ok(found)
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).or_error(ErrorKind::ConfigInvalid, || format!("cannot read {}", path.display()))
}

fn unusable(path: &Path) -> String {
    format!("cannot use {} for TLS", path.display())
}

/// Returns whether a client must have encrypted.
pub(super) fn must_encrypt(required: TlsRequired, address: Option<SocketAddr>) -> bool {
    match required {
        TlsRequired::Off => false,
        TlsRequired::Remote => {
            !address.is_some_and(|address| address.ip().to_canonical().is_loopback())
        }
        TlsRequired::All => true,
    }
}

/// Returns the error for a client that has not.
pub(super) fn not_encrypted() -> Error {
    Error::new(ErrorKind::NotAuthenticated, "this server takes encrypted connections only")
        .with_hint("Connect with TLS: sslmode=require for PostgreSQL's clients, grpc+tls:// for Flight SQL.")
}

/// Returns the common name of a certificate.
pub(super) fn common_name(certificate: &[u8]) -> Option<String> {
    x509_certificate::X509Certificate::from_der(certificate).ok()?.subject_common_name()
}
