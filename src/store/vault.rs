//! Encryption at rest: AES-256-GCM under a key that lies beside the database, readable by the owner alone.
//!
//! Whoever copies `maru.db` without `master.key` reads no password. The name of the object is authenticated too, so a
//! sealed value cannot be moved to another object's row.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use maru_core::{Error, ErrorKind, Result, ResultExt, Secret};
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::rand::{SecureRandom, SystemRandom};

/// First byte of every sealed value; a new layout gets a new number.
const LAYOUT: u8 = 1;

/// Seals and opens secrets with the data directory's key.
#[derive(Clone)]
pub struct Vault {
    key: Arc<LessSafeKey>,
}

impl std::fmt::Debug for Vault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Vault(********)")
    }
}

impl Vault {
    /// Reads `master.key`, or makes it (mode 0600) if the directory is new.
    ///
    /// # Errors
    /// 58030 if the key cannot be read or written; XX001 if it is not 32 bytes.
    pub fn open(data_dir: &Path) -> Result<Self> {
        let path = data_dir.join("master.key");
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                if data_dir.join("maru.db").exists() {
                    return Err(Error::new(
                        ErrorKind::DataCorrupted,
                        "master.key is missing, so stored secrets cannot be read",
                    )
                    .with_hint("Put master.key back from a backup of the data directory."));
                }
                let bytes = random(32)?;
                write_private(&path, &bytes)?;
                bytes
            }
            Err(error) => {
                return Err(error)
                    .or_error(ErrorKind::Io, || format!("could not read {}", path.display()));
            }
        };
        let key = UnboundKey::new(&AES_256_GCM, &bytes).map_err(|_| {
            Error::new(ErrorKind::DataCorrupted, "master.key is damaged: it must have 32 bytes")
        })?;
        Ok(Self { key: Arc::new(LessSafeKey::new(key)) })
    }

    /// Encrypts `value` for the object `name`.
    pub fn seal(&self, name: &str, value: &Secret) -> Result<Vec<u8>> {
        let nonce = random(NONCE_LEN)?;
        let mut sealed = value.reveal().as_bytes().to_vec();
        self.key
            .seal_in_place_append_tag(unique(&nonce)?, Aad::from(name.as_bytes()), &mut sealed)
            .map_err(|_| Error::internal("could not seal a secret"))?;
        Ok([&[LAYOUT], nonce.as_slice(), &sealed].concat())
    }

    /// Decrypts what [`Vault::seal`] made for the same `name`.
    ///
    /// # Errors
    /// XX001 if it was altered or sealed with another key.
    pub fn open_sealed(&self, name: &str, sealed: &[u8]) -> Result<Secret> {
        let damaged = || {
            Error::new(ErrorKind::DataCorrupted, format!("the stored secret of {name} is damaged"))
                .with_hint("It was changed outside of Maru, or master.key is another one.")
        };
        let (layout, rest) = sealed.split_first().ok_or_else(damaged)?;
        if *layout != LAYOUT || rest.len() < NONCE_LEN {
            return Err(damaged());
        }
        let (nonce, body) = rest.split_at(NONCE_LEN);
        let mut body = body.to_vec();
        let plain = self
            .key
            .open_in_place(unique(nonce)?, Aad::from(name.as_bytes()), &mut body)
            .map_err(|_| damaged())?;
        let text = std::str::from_utf8(plain).map_err(|_| damaged())?;
        Ok(Secret::new(text))
    }
}

fn unique(nonce: &[u8]) -> Result<Nonce> {
    Nonce::try_assume_unique_for_key(nonce).map_err(|_| Error::internal("nonce has a wrong length"))
}

/// Returns bytes from the operating system's generator.
pub(crate) fn random(n_bytes: usize) -> Result<Vec<u8>> {
    let mut bytes = vec![0; n_bytes];
    SystemRandom::new()
        .fill(&mut bytes)
        .map_err(|_| Error::new(ErrorKind::Io, "the system gave no random bytes"))?;
    Ok(bytes)
}

/// Writes a new file that only its owner may read; it appears whole or not at all.
pub(crate) fn write_private(path: &Path, bytes: &[u8]) -> Result<()> {
    let write = || -> std::io::Result<()> {
        let temporary = path.with_extension("new");
        let mut options = std::fs::OpenOptions::new();
        options.write(true).create(true).truncate(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.open(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&temporary, path)
    };
    write().or_error(ErrorKind::Io, || format!("could not write {}", path.display()))
}
