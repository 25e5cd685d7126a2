//! The bytes of a file, unpacked, in pieces.

use std::fs::File;
use std::io::{self, Read};
use std::sync::Arc;

use async_compression::tokio::bufread::{BzDecoder, GzipDecoder, XzDecoder, ZstdDecoder};
use bytes::{Buf, Bytes};
use datafusion::physical_plan::metrics::Count;
use flate2::{Decompress, FlushDecompress, Status};
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt, stream};
use maru_core::{Error, ErrorKind, Result};
use object_store::path::Path;
use object_store::{GetOptions, GetResultPayload, ObjectStore};
use tokio::io::AsyncRead;
use tokio_util::io::{ReaderStream, StreamReader};

use super::foreign;
use crate::file_table::file_error::{changed_meanwhile, in_file};

/// Bytes read from a local file or unpacked at once.
const PIECE_BYTES: usize = 1024 * 1024;

/// How a file is packed, told by the end of its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::file_table) enum Compression {
    None,
    Gzip,
    Bzip2,
    Zstd,
    Xz,
    /// Hadoop's `.deflate`: zlib.
    Deflate,
}

impl Compression {
    pub(in crate::file_table) fn of(path: &Path) -> Self {
        let name = path.filename().unwrap_or_default().to_ascii_lowercase();
        match name.rsplit_once('.') {
            Some((_, "gz")) => Self::Gzip,
            Some((_, "bz2")) => Self::Bzip2,
            Some((_, "zst" | "zstd")) => Self::Zstd,
            Some((_, "xz")) => Self::Xz,
            Some((_, "deflate")) => Self::Deflate,
            _ => Self::None,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::None => "plain",
            Self::Gzip => "gzip",
            Self::Bzip2 => "bzip2",
            Self::Zstd => "zstd",
            Self::Xz => "xz",
            Self::Deflate => "zlib",
        }
    }
}

/// What bytes are to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::file_table) enum Contents {
    /// Lines; what is none is refused.
    Text,
    /// Avro's, which are checked where they are read.
    Blocks,
}

/// Opens a file and returns its unpacked bytes. `scanned` counts them as they are stored. Dropping the stream stops
/// the read. A file that has grown since it had `listed` bytes is read to its end.
///
/// # Errors
/// 58P01 if the file is gone, XX001 if it has shrunk, 22P04 if packed bytes are cut off or are not of the kind that the name says,
/// or what should be text is none.
pub(in crate::file_table) async fn read(
    store: Arc<dyn ObjectStore>,
    path: Path,
    listed: u64,
    scanned: Count,
    contents: Contents,
) -> Result<BoxStream<'static, Result<Bytes>>> {
    let got = store
        .get_opts(&path, GetOptions::default())
        .await
        .map_err(|error| in_file(&path, error))?;
    let size = got.meta.size.max(listed);
    let raw: BoxStream<'static, io::Result<Bytes>> = match got.payload {
        GetResultPayload::File(file, _) => pieces_of(file, path.clone()).boxed(),
        GetResultPayload::Stream(stream) => stream.map_err(io::Error::other).boxed(),
    };
    let raw = raw.inspect_ok(move |piece| scanned.add(piece.len()));
    let raw = whole(raw.boxed(), size, path.clone());
    let compression = Compression::of(&path);
    let unpacked: BoxStream<'static, io::Result<Bytes>> = match compression {
        Compression::None => raw,
        Compression::Gzip => {
            let mut decoder = GzipDecoder::new(StreamReader::new(raw));
            decoder.multiple_members(true);
            unpack(decoder)
        }
        Compression::Bzip2 => {
            let mut decoder = BzDecoder::new(StreamReader::new(raw));
            decoder.multiple_members(true);
            unpack(decoder)
        }
        Compression::Zstd => {
            let mut decoder = ZstdDecoder::new(StreamReader::new(raw));
            decoder.multiple_members(true);
            unpack(decoder)
        }
        Compression::Xz => {
            let mut decoder = XzDecoder::new(StreamReader::new(raw));
            decoder.multiple_members(true);
            unpack(decoder)
        }
        Compression::Deflate => inflate(raw).boxed(),
    };
    let named = path.clone();
    let unpacked = unpacked.map_err(move |error| read_error(&named, compression, error)).boxed();
    Ok(match contents {
        Contents::Text => foreign::refused(unpacked, path),
        Contents::Blocks => unpacked,
    })
}

fn unpack(decoder: impl AsyncRead + Send + 'static) -> BoxStream<'static, io::Result<Bytes>> {
    ReaderStream::with_capacity(Box::pin(decoder), PIECE_BYTES).boxed()
}

/// Unpacks zlib; what follows its end is not looked at.
fn inflate(
    raw: BoxStream<'static, io::Result<Bytes>>,
) -> impl futures::Stream<Item = io::Result<Bytes>> {
    let state = (raw, Bytes::new(), Decompress::new(true), false);
    stream::try_unfold(state, |(mut raw, mut packed, mut decoder, mut done)| async move {
        while !done {
            let mut ended = false;
            if packed.is_empty() {
                match raw.try_next().await? {
                    Some(piece) => packed = piece,
                    None => ended = true,
                }
            }
            let mut plain = Vec::with_capacity(PIECE_BYTES);
            let n_before = decoder.total_in();
            let status = decoder.decompress_vec(&packed, &mut plain, FlushDecompress::None)?;
            let n_read = usize::try_from(decoder.total_in() - n_before).unwrap_or(packed.len());
            packed.advance(n_read);
            done = status == Status::StreamEnd;
            if !plain.is_empty() {
                return Ok(Some((Bytes::from(plain), (raw, packed, decoder, done))));
            }
            if ended && !done {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            if n_read == 0 && !packed.is_empty() && !done {
                return Err(io::ErrorKind::InvalidData.into());
            }
        }
        Ok(None)
    })
}

/// Reads a local file off the async threads. One that is written over meanwhile ends with an error: what came before and
/// after may be of two writings. One that only grew was added to.
fn pieces_of(file: File, path: Path) -> impl futures::Stream<Item = io::Result<Bytes>> {
    stream::try_unfold((file, None), move |(file, opened)| {
        let path = path.clone();
        let task = tokio::task::spawn_blocking(move || {
            let written =
                |file: &File| file.metadata().map(|meta| (meta.modified().ok(), meta.len()));
            let opened = match opened {
                Some(opened) => opened,
                None => written(&file)?,
            };
            let mut piece = Vec::with_capacity(PIECE_BYTES);
            (&file).take(PIECE_BYTES as u64).read_to_end(&mut piece)?;
            // Before the piece is given on: it may be of two writings itself.
            let now = written(&file)?;
            if now.0 != opened.0 && now.1 <= opened.1 {
                return Err(io::Error::other(changed_meanwhile(&path)));
            }
            Ok((!piece.is_empty()).then(|| (Bytes::from(piece), (file, Some(opened)))))
        });
        async move { task.await.map_err(io::Error::other)? }
    })
}

/// Ends with an error where fewer bytes come than the file had when it was opened: it was cut off since.
fn whole(
    raw: BoxStream<'static, io::Result<Bytes>>,
    size: u64,
    path: Path,
) -> BoxStream<'static, io::Result<Bytes>> {
    stream::try_unfold((raw, 0_u64), move |(mut raw, n_read)| {
        let path = path.clone();
        async move {
            match raw.try_next().await? {
                Some(piece) => {
                    let n_read = n_read + piece.len() as u64;
                    Ok(Some((piece, (raw, n_read))))
                }
                None if n_read < size => Err(io::Error::other(changed_meanwhile(&path))),
                None => Ok(None),
            }
        }
    })
    .boxed()
}

fn read_error(path: &Path, compression: Compression, error: io::Error) -> Error {
    if let Some(ours) = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) {
        return ours.clone();
    }
    // What the store reported travels inside the io::Error; what is left comes from the unpacker.
    if let Some(inner) = error.get_ref()
        && let Some(store) = inner.downcast_ref::<object_store::Error>()
    {
        let text = store.to_string();
        if let Some(ours) =
            std::error::Error::source(store).and_then(|source| source.downcast_ref::<Error>())
        {
            return ours.clone();
        }
        return match store {
            object_store::Error::Precondition { .. } => changed_meanwhile(path),
            object_store::Error::NotFound { path: gone, source: _ } => {
                Error::new(ErrorKind::FileNotFound, format!("file \"{gone}\" does not exist"))
            }
            _ => Error::new(
                ErrorKind::RemoteUnavailable,
                format!("could not read file \"{path}\": {}", text.lines().next().unwrap_or("")),
            ),
        };
    }
    let name = compression.name();
    match (compression, error.kind()) {
        (Compression::None, _) => in_file(path, arrow::error::ArrowError::from(error)),
        (_, io::ErrorKind::UnexpectedEof) => Error::new(
            ErrorKind::BadFileFormat,
            format!("file \"{path}\" ends in the middle of its {name} data"),
        )
        .with_hint("The file was cut off while it was written or copied. Copy it again."),
        _ => Error::new(
            ErrorKind::BadFileFormat,
            format!("file \"{path}\" is not valid {name}: {error}"),
        )
        .with_hint("The end of the name says how the file is packed."),
    }
}
