//! Messages of the protocol, each read from its own bytes alone.
//!
//! pgwire looks for the zero byte behind a text wherever it may be, in the next message if need be, and replaces what is no UTF-8. Here a
//! message is cut off by its length first: what is wrong with it is an error of that message, and the next one is read as usual.

use bytes::BytesMut;
use pgwire::api::{ClientInfo, PgWireConnectionState};
use pgwire::error::PgWireError;
use pgwire::messages::{PgWireBackendMessage, PgWireFrontendMessage, ProtocolVersion};
use pgwire::tokio::server::PgWireMessageServerCodec;
use tokio_util::codec::{Decoder, Encoder};

use super::errors::WireError;

/// A letter and the length, which counts itself.
const HEADER_BYTES: usize = 5;

/// A message whose bytes are not what its letter promises.
#[derive(Debug)]
pub(super) struct Malformed {
    /// Whether it belongs to the extended protocol, where what follows is skipped up to the next Sync.
    pub(super) extended: bool,
    /// Where it ends is not known either, so that nothing can be read after it.
    pub(super) fatal: bool,
    pub(super) error: WireError,
}

/// Messages that clients send once they have started. `F` calls a function by its number.
const LETTERS: &[u8] = b"BCDEFHPQSXcdfp";

/// pgwire's codec, held to one message at a time.
#[derive(Debug)]
pub(super) struct Codec {
    inner: PgWireMessageServerCodec<()>,
    /// Past the start-up, whose messages have no letter.
    lettered: bool,
}

impl Codec {
    pub(super) fn new(inner: PgWireMessageServerCodec<()>) -> Self {
        Self { inner, lettered: false }
    }

    pub(super) fn set_state(&mut self, state: PgWireConnectionState) {
        self.lettered = !matches!(
            state,
            PgWireConnectionState::AwaitingSslRequest | PgWireConnectionState::AwaitingStartup
        );
        self.inner.client_info.set_state(state);
    }

    pub(super) fn set_version(&mut self, version: ProtocolVersion) {
        self.inner.client_info.set_protocol_version(version);
    }

    pub(super) fn address(&self) -> std::net::SocketAddr {
        self.inner.client_info.socket_addr
    }
}

impl Decoder for Codec {
    type Item = Result<PgWireFrontendMessage, Malformed>;
    type Error = PgWireError;

    fn decode(&mut self, src: &mut BytesMut) -> Result<Option<Self::Item>, PgWireError> {
        if !self.lettered {
            return Ok(self.inner.decode(src)?.map(Ok));
        }
        let header = src.first_chunk::<HEADER_BYTES>().copied();
        let Some([letter, length @ ..]) = header else { return Ok(None) };
        let length = usize::try_from(i32::from_be_bytes(length)).unwrap_or(0);
        let lost = match (LETTERS.contains(&letter), length < HEADER_BYTES - 1) {
            (false, _) => Some(format!("invalid frontend message type {letter}")),
            (true, true) => Some("invalid message length".to_owned()),
            (true, false) => None,
        };
        if let Some(text) = lost {
            src.clear();
            let error = WireError::new("08P01", text);
            return Ok(Some(Err(Malformed { extended: false, fatal: true, error })));
        }
        // Lengths that are too long, and messages that have not come, are pgwire's.
        if src.len() < 1 + length {
            return Ok(self.inner.decode(src)?.map(Ok));
        }
        let mut message = src.split_to(1 + length);
        let malformed = |sqlstate, text: &str| {
            let extended = matches!(letter, b'P' | b'B' | b'D' | b'E' | b'C' | b'H' | b'S');
            let error = WireError::new(sqlstate, text);
            Ok(Some(Err(Malformed { extended, fatal: false, error })))
        };
        if letter == b'F' {
            return malformed("0A000", "function calls are taken in SELECT alone");
        }
        let body = &message[HEADER_BYTES..];
        // pgwire reads on where a body is too short.
        if Body(body).read(letter).is_none() {
            return malformed("08P01", "invalid message format");
        }
        if texts(letter, body).is_some_and(|text| std::str::from_utf8(text).is_err()) {
            return malformed("22021", "invalid byte sequence for encoding \"UTF8\"");
        }
        match self.inner.decode(&mut message) {
            Ok(Some(decoded)) => Ok(Some(Ok(decoded))),
            Ok(None)
            | Err(PgWireError::InvalidElementCount(..) | PgWireError::InvalidTargetType(_)) => {
                malformed("08P01", "invalid message format")
            }
            Err(error) => Err(error),
        }
    }
}

/// What has not been read of a message.
struct Body<'a>(&'a [u8]);

impl Body<'_> {
    /// Reads over the parts of a message. `None`: they are not all there, or something is behind them.
    fn read(mut self, letter: u8) -> Option<()> {
        match letter {
            b'Q' | b'f' => self.text()?,
            b'P' => {
                self.text()?;
                self.text()?;
                let types = self.count()?;
                self.skip(types * 4)?;
            }
            b'B' => {
                self.text()?;
                self.text()?;
                let formats = self.count()?;
                self.skip(formats * 2)?;
                for _ in 0..self.count()? {
                    self.value()?;
                }
                let formats = self.count()?;
                self.skip(formats * 2)?;
            }
            b'D' | b'C' => {
                self.skip(1)?;
                self.text()?;
            }
            b'E' => {
                self.text()?;
                self.skip(4)?;
            }
            b'H' | b'S' | b'X' | b'c' => {}
            // Bytes as they are, or letters that pgwire refuses.
            _ => return Some(()),
        }
        self.0.is_empty().then_some(())
    }

    fn skip(&mut self, bytes: usize) -> Option<()> {
        self.0 = self.0.get(bytes..)?;
        Some(())
    }

    fn text(&mut self) -> Option<()> {
        let end = memchr::memchr(0, self.0)?;
        self.skip(end + 1)
    }

    fn count(&mut self) -> Option<usize> {
        let (count, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(usize::from(u16::from_be_bytes(*count)))
    }

    /// A parameter behind its length, which is -1 for NULL.
    fn value(&mut self) -> Option<()> {
        let (length, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        match i32::from_be_bytes(*length) {
            -1 => Some(()),
            length => self.skip(usize::try_from(length).ok()?),
        }
    }
}

/// Returns the bytes of a message that are text.
fn texts(letter: u8, body: &[u8]) -> Option<&[u8]> {
    match letter {
        b'Q' => Some(body),
        // The name and the statement.
        b'P' => {
            let name = body.iter().position(|byte| *byte == 0)? + 1;
            let statement = body[name..].iter().position(|byte| *byte == 0)?;
            Some(&body[..name + statement])
        }
        _ => None,
    }
}

impl Encoder<PgWireBackendMessage> for Codec {
    type Error = std::io::Error;

    fn encode(&mut self, item: PgWireBackendMessage, out: &mut BytesMut) -> std::io::Result<()> {
        self.inner.encode(item, out)
    }
}

#[cfg(test)]
mod tests {
    use pgwire::api::DefaultClient;

    use super::*;

    fn codec() -> Codec {
        let nowhere = std::net::SocketAddr::from(([0, 0, 0, 0], 0));
        let mut codec =
            Codec::new(PgWireMessageServerCodec::new(DefaultClient::new(nowhere, false)));
        codec.set_state(PgWireConnectionState::ReadyForQuery);
        codec
    }

    fn message(letter: u8, body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(body.len() + 4).unwrap();
        [&[letter][..], &length.to_be_bytes(), body].concat()
    }

    #[test]
    fn nothing_is_read_after_a_message_without_an_end() {
        for (bytes, text) in [
            (&b"Q\0\0\0\x03"[..], "invalid message length"),
            (b"S\0\0\0\0", "invalid message length"),
            (b"Q\xff\xff\xff\xff", "invalid message length"),
            (b"y\0\0\0\x04", "invalid frontend message type 121"),
        ] {
            let mut bytes = BytesMut::from(&[bytes, &message(b'Q', b"SELECT 2\0")].concat()[..]);
            let mut codec = codec();
            let error = codec.decode(&mut bytes).unwrap().unwrap().unwrap_err();
            assert!(error.fatal && error.error.sqlstate == "08P01");
            assert_eq!(error.error.message, text);
            assert!(codec.decode(&mut bytes).unwrap().is_none());
        }
        let mut bytes = BytesMut::from(&message(b'F', b"any")[..]);
        let error = codec().decode(&mut bytes).unwrap().unwrap().unwrap_err();
        assert!(!error.fatal && !error.extended && error.error.sqlstate == "0A000");
    }

    #[test]
    fn a_message_ends_where_its_length_says() {
        let good = message(b'Q', b"SELECT 2\0");
        for (letter, body, sqlstate) in [
            (b'Q', &b"SELECT 1"[..], "08P01"),
            (b'Q', b"SELECT 1\0more\0", "08P01"),
            (b'Q', b"SELECT '\xff'\0", "22021"),
            (b'P', b"name\0SELECT 1", "08P01"),
            (b'P', b"\0SELECT '\xff'\0\0\0", "22021"),
            (b'P', b"\0SELECT 1\0", "08P01"),
            (b'P', b"\0SELECT 1\0\0\x02\0\0\0\x17", "08P01"),
            (b'B', b"\0\0\0\0\0\x01\0\0\0\x05abc\0\0", "08P01"),
            (b'B', b"\0\0\0\0\0\x01\xff\xff\xff\xfe\0\0", "08P01"),
            (b'D', b"S", "08P01"),
            (b'D', b"", "08P01"),
            (b'E', b"portal\0\0\0", "08P01"),
            (b'C', b"Sname", "08P01"),
            (b'S', b"more", "08P01"),
        ] {
            let mut bytes = BytesMut::from(&[message(letter, body), good.clone()].concat()[..]);
            let mut codec = codec();
            let error = codec.decode(&mut bytes).unwrap().unwrap().unwrap_err();
            assert_eq!((error.error.sqlstate, error.extended), (sqlstate, letter != b'Q'));
            let next = codec.decode(&mut bytes).unwrap().unwrap().unwrap();
            assert!(
                matches!(next, PgWireFrontendMessage::Query(query) if query.query == "SELECT 2")
            );
        }
        let mut half = BytesMut::from(&good[..7]);
        assert!(codec().decode(&mut half).unwrap().is_none());
    }
}
