//! The little of MySQL's protocol that `LOAD DATA LOCAL INFILE` needs, which the driver does not speak: log in, run statements in
//! their text form, and send the rows that a server asks for.

use std::io;
use std::sync::Arc;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use ring::digest;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::client::danger::{
    HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier,
};
use tokio_rustls::rustls::crypto::{CryptoProvider, ring as provider};
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};

use maru_core::Secret;

/// `LONG_PASSWORD | LONG_FLAG | LOCAL_FILES | PROTOCOL_41 | TRANSACTIONS | SECURE_CONNECTION | PLUGIN_AUTH`
const CAPABILITIES: u32 = 0x1 | 0x4 | 0x80 | 0x200 | 0x2000 | 0x8000 | 0x8_0000;
const SSL: u32 = 0x800;
/// utf8mb4_general_ci
const CHARSET: u8 = 45;
const PACKET_MAX: usize = 0xff_ffff;
/// An answer of statements about tables and of few rows.
const ANSWER_MAX: usize = 1 << 20;

/// Why a statement did not succeed.
#[derive(Debug)]
pub(super) enum Failure {
    /// The server's number and words.
    Told(u16, String),
    Lost(io::Error),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Lost(error)
    }
}

type Result<T, E = Failure> = std::result::Result<T, E>;

trait Stream: AsyncRead + AsyncWrite + Send + Sync + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Sync + Unpin> Stream for T {}

/// A session of a server.
pub(super) struct Wire {
    stream: BufReader<Box<dyn Stream>>,
    sequence: u8,
}

impl std::fmt::Debug for Wire {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Wire")
    }
}

/// What a statement did.
#[derive(Debug, Default)]
pub(super) struct Done {
    pub n_rows: u64,
    pub n_warnings: u16,
    /// Rows of text, for statements that give some.
    pub rows: Vec<Vec<Option<Bytes>>>,
}

impl Wire {
    /// Logs in.
    ///
    /// # Errors
    /// What the server says, and a way of logging in that is not known here.
    pub async fn connect(
        (host, port): (&str, u16),
        user: &str,
        password: Option<&Secret>,
        tls: bool,
    ) -> Result<Self> {
        let socket = TcpStream::connect((host, port)).await?;
        socket.set_nodelay(true)?;
        let mut wire = Self { stream: BufReader::new(Box::new(socket)), sequence: 0 };
        let hello = Hello::read(wire.packet().await?)?;
        let capabilities = CAPABILITIES | if tls { SSL } else { 0 };
        let mut answer = BytesMut::new();
        answer.put_u32_le(capabilities);
        answer.put_u32_le(1 << 24);
        answer.put_u8(CHARSET);
        answer.put_bytes(0, 23);
        if tls {
            wire.send(&answer).await?;
            let name = ServerName::try_from(host.to_owned())
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
            let connector = TlsConnector::from(Arc::new(unchecked()?));
            let stream = connector.connect(name, wire.stream.into_inner()).await?;
            wire.stream = BufReader::new(Box::new(stream));
        }
        let password = password.map_or("", |password| password.reveal());
        let proof = proof(&hello.plugin, password, &hello.seed)?;
        answer.put_slice(user.as_bytes());
        answer.put_u8(0);
        answer.put_u8(proof.len() as u8);
        answer.put_slice(&proof);
        answer.put_slice(hello.plugin.as_bytes());
        answer.put_u8(0);
        wire.send(&answer).await?;
        wire.log_in(password, tls).await?;
        Ok(wire)
    }

    async fn log_in(&mut self, password: &str, tls: bool) -> Result<()> {
        loop {
            let mut packet = self.packet().await?;
            match packet.first() {
                Some(0x00) => return Ok(()),
                Some(0xff) => return Err(told(packet)),
                // Another way of logging in.
                Some(0xfe) => {
                    packet.advance(1);
                    let plugin = text_until_zero(&mut packet)?;
                    let seed = packet.strip_suffix(&[0]).unwrap_or(&packet).to_vec();
                    let proof = proof(&plugin, password, &seed)?;
                    self.send(&proof).await?;
                }
                // The server knows the password's proof, or wants the password itself.
                Some(0x01) if packet.get(1) == Some(&3) => {}
                Some(0x01) if packet.get(1) == Some(&4) && tls => {
                    let mut whole = password.as_bytes().to_vec();
                    whole.push(0);
                    self.send(&whole).await?;
                }
                _ => return Err(unknown("a way of logging in that is not known here")),
            }
        }
    }

    /// Runs a statement. Rows that it asks for come from `file`.
    pub async fn run(
        &mut self,
        sql: &str,
        mut file: Option<mpsc::Receiver<Bytes>>,
    ) -> Result<Done> {
        self.sequence = 0;
        let mut command = BytesMut::with_capacity(sql.len() + 1);
        command.put_u8(3);
        command.put_slice(sql.as_bytes());
        self.send(&command).await?;
        let mut packet = self.packet().await?;
        if packet.first() == Some(&0xfb) {
            // Whatever name the server has for it, it gets these rows and nothing else.
            if let Some(file) = &mut file {
                while let Some(piece) = file.recv().await {
                    self.send(&piece).await?;
                }
            }
            self.send(&[]).await?;
            packet = self.packet().await?;
        }
        match packet.first() {
            Some(0x00) => {
                packet.advance(1);
                let n_rows = number(&mut packet)?.unwrap_or_default();
                number(&mut packet)?;
                if packet.len() < 4 {
                    return Err(unknown("a short answer"));
                }
                packet.advance(2);
                Ok(Done { n_rows, n_warnings: packet.get_u16_le(), rows: Vec::new() })
            }
            Some(0xff) => Err(told(packet)),
            Some(_) => self.rows(packet).await,
            None => Err(unknown("an empty answer")),
        }
    }

    async fn rows(&mut self, mut head: Bytes) -> Result<Done> {
        let n_columns = number(&mut head)?.unwrap_or_default();
        for _ in 0..n_columns {
            self.packet().await?;
        }
        let mut done = Done::default();
        // The end of the columns.
        self.packet().await?;
        loop {
            let mut packet = self.packet().await?;
            match packet.first() {
                Some(0xfe) if packet.len() < 9 => return Ok(done),
                Some(0xff) => return Err(told(packet)),
                _ => {}
            }
            let mut row = Vec::new();
            for _ in 0..n_columns {
                row.push(match number(&mut packet)? {
                    None => None,
                    Some(length) => {
                        let length = usize::try_from(length).unwrap_or(usize::MAX);
                        if length > packet.len() {
                            return Err(unknown("a short row"));
                        }
                        Some(packet.split_to(length))
                    }
                });
            }
            done.rows.push(row);
        }
    }

    /// Says farewell.
    pub async fn close(mut self) {
        self.sequence = 0;
        let _ = self.send(&[1]).await;
        let _ = self.stream.get_mut().shutdown().await;
    }

    /// Sends one packet; what does not fit one is sent as several.
    async fn send(&mut self, mut payload: &[u8]) -> io::Result<()> {
        loop {
            let (now, rest) = payload.split_at(payload.len().min(PACKET_MAX));
            let mut head = (now.len() as u32).to_le_bytes();
            head[3] = self.sequence;
            self.sequence = self.sequence.wrapping_add(1);
            let stream = self.stream.get_mut();
            stream.write_all(&head).await?;
            stream.write_all(now).await?;
            if now.len() < PACKET_MAX {
                break stream.flush().await;
            }
            payload = rest;
        }
    }

    async fn packet(&mut self) -> Result<Bytes> {
        let head = self.stream.read_u32_le().await?;
        let length = (head & 0xff_ffff) as usize;
        self.sequence = ((head >> 24) as u8).wrapping_add(1);
        if length > ANSWER_MAX {
            return Err(unknown("an answer that is too long"));
        }
        let mut packet = vec![0; length];
        self.stream.read_exact(&mut packet).await?;
        Ok(packet.into())
    }
}

/// What a server says first.
struct Hello {
    seed: Vec<u8>,
    plugin: String,
}

impl Hello {
    fn read(mut packet: Bytes) -> Result<Self> {
        match packet.first() {
            Some(10) => packet.advance(1),
            Some(0xff) => return Err(told(packet)),
            _ => return Err(unknown("another protocol")),
        }
        text_until_zero(&mut packet)?;
        // Thread, 8 bytes of the seed, zero, capabilities, character set, status, more capabilities, length of the seed, 10 reserved.
        const FIXED: usize = 4 + 8 + 1 + 2 + 1 + 2 + 2 + 1 + 10;
        if packet.len() < FIXED {
            return Err(unknown("a short greeting"));
        }
        let mut seed = packet[4..12].to_vec();
        let whole = usize::from(packet[FIXED - 11]);
        packet.advance(FIXED);
        let rest = whole.saturating_sub(8).max(13).min(packet.len());
        let rest = packet.split_to(rest);
        seed.extend_from_slice(rest.strip_suffix(&[0]).unwrap_or(&rest));
        let plugin = text_until_zero(&mut packet).unwrap_or_default();
        Ok(Self { seed, plugin })
    }
}

/// Proves that the password is known without telling it.
fn proof(plugin: &str, password: &str, seed: &[u8]) -> Result<Vec<u8>> {
    if password.is_empty() {
        return Ok(Vec::new());
    }
    let xor = |one: &[u8], other: &[u8]| one.iter().zip(other).map(|(a, b)| a ^ b).collect();
    match plugin {
        "mysql_native_password" => {
            let hash = |parts: &[&[u8]]| {
                let mut context = digest::Context::new(&digest::SHA1_FOR_LEGACY_USE_ONLY);
                parts.iter().for_each(|part| context.update(part));
                context.finish()
            };
            let once = hash(&[password.as_bytes()]);
            let twice = hash(&[once.as_ref()]);
            Ok(xor(once.as_ref(), hash(&[seed, twice.as_ref()]).as_ref()))
        }
        "caching_sha2_password" => {
            let hash = |parts: &[&[u8]]| {
                let mut context = digest::Context::new(&digest::SHA256);
                parts.iter().for_each(|part| context.update(part));
                context.finish()
            };
            let once = hash(&[password.as_bytes()]);
            let twice = hash(&[once.as_ref()]);
            Ok(xor(once.as_ref(), hash(&[twice.as_ref(), seed]).as_ref()))
        }
        _ => Err(unknown("a way of logging in that is not known here")),
    }
}

fn unknown(what: &str) -> Failure {
    Failure::Lost(io::Error::new(io::ErrorKind::InvalidData, format!("the server sent {what}")))
}

/// Reads an error: number, SQLSTATE, words.
fn told(mut packet: Bytes) -> Failure {
    if packet.len() < 3 {
        return unknown("a short error");
    }
    packet.advance(1);
    let number = packet.get_u16_le();
    if packet.first() == Some(&b'#') {
        packet.advance(packet.len().min(6));
    }
    Failure::Told(number, String::from_utf8_lossy(&packet).into_owned())
}

fn text_until_zero(packet: &mut Bytes) -> Result<String> {
    let end = packet.iter().position(|byte| *byte == 0).unwrap_or(packet.len());
    let text = packet.split_to(end);
    if !packet.is_empty() {
        packet.advance(1);
    }
    String::from_utf8(text.to_vec()).map_err(|_| unknown("a name that is no text"))
}

/// Reads a number of one to nine bytes; `None` for NULL.
fn number(packet: &mut Bytes) -> Result<Option<u64>> {
    let short = || unknown("a short number");
    if packet.is_empty() {
        return Err(short());
    }
    let n_bytes = match packet.get_u8() {
        0xfb => return Ok(None),
        0xfc => 2,
        0xfd => 3,
        0xfe => 8,
        small => return Ok(Some(small.into())),
    };
    if packet.len() < n_bytes {
        return Err(short());
    }
    Ok(Some(packet.get_uint_le(n_bytes)))
}

/// TLS as the options `prefer` and `require` have it: encrypted, to whoever answers.
fn unchecked() -> io::Result<ClientConfig> {
    let crypto = Arc::new(provider::default_provider());
    let config = ClientConfig::builder_with_provider(Arc::clone(&crypto))
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?;
    let config = config.dangerous().with_custom_certificate_verifier(Arc::new(Anybody(crypto)));
    Ok(config.with_no_client_auth())
}

#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, tokio_rustls::rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, tokio_rustls::rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        tokio_rustls::rustls::crypto::verify_tls12_signature(message, cert, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, tokio_rustls::rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        tokio_rustls::rustls::crypto::verify_tls13_signature(message, cert, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
