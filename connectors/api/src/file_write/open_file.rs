//! One file that is being written.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use arrow::array::RecordBatch;
use async_compression::tokio::write::{GzipEncoder, ZstdEncoder};
use maru_core::{Error, Result};
use object_store::buffered::BufWriter;
use object_store::path::Path;
use tokio::io::{AsyncWrite, AsyncWriteExt};

use super::encode::Encoder;
use super::{FileMaking, Packing};

/// Bytes of encoded rows that are kept before they are handed to the store.
const BUFFER_BYTES: usize = 1024 * 1024;

/// A file without a name yet: readers see it once it is [`OpenFile::publish`]ed.
pub struct OpenFile {
    pub path: Path,
    encoder: Encoder,
    sink: Sink,
    /// Bytes handed to the store.
    sent: Arc<AtomicU64>,
    n_rows: u64,
    sealed: bool,
}

impl fmt::Debug for OpenFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenFile").field("path", &self.path).finish_non_exhaustive()
    }
}

enum Sink {
    Plain(Counted),
    Gzip(GzipEncoder<Counted>),
    Zstd(ZstdEncoder<Counted>),
}

impl Sink {
    fn writer(&mut self) -> Pin<&mut (dyn AsyncWrite + Send + Unpin)> {
        match self {
            Self::Plain(inner) => Pin::new(inner as &mut (dyn AsyncWrite + Send + Unpin)),
            Self::Gzip(inner) => Pin::new(inner as &mut (dyn AsyncWrite + Send + Unpin)),
            Self::Zstd(inner) => Pin::new(inner as &mut (dyn AsyncWrite + Send + Unpin)),
        }
    }

    fn store_mut(&mut self) -> &mut BufWriter {
        match self {
            Self::Plain(inner) => &mut inner.inner,
            Self::Gzip(inner) => &mut inner.get_mut().inner,
            Self::Zstd(inner) => &mut inner.get_mut().inner,
        }
    }
}

/// Counts what is written.
struct Counted {
    inner: BufWriter,
    sent: Arc<AtomicU64>,
}

impl AsyncWrite for Counted {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.inner).poll_write(cx, bytes);
        if let Poll::Ready(Ok(n)) = &written {
            this.sent.fetch_add(*n as u64, Ordering::Relaxed);
        }
        written
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_shutdown(cx)
    }
}

/// The store's own error, which came out through the interface of streams.
fn failed(error: io::Error) -> Error {
    match error.downcast::<object_store::Error>() {
        Ok(error) => error.into(),
        Err(error) => object_store::Error::Generic { store: "store", source: error.into() }.into(),
    }
}

impl OpenFile {
    pub(super) fn begin(making: &FileMaking, path: Path) -> Result<Self> {
        let sent = Arc::new(AtomicU64::new(0));
        let inner = BufWriter::new(Arc::clone(&making.store), path.clone());
        let counted = Counted { inner, sent: Arc::clone(&sent) };
        let sink = match making.packing {
            Packing::None => Sink::Plain(counted),
            Packing::Gzip => Sink::Gzip(GzipEncoder::new(counted)),
            Packing::Zstd => Sink::Zstd(ZstdEncoder::new(counted)),
        };
        let encoder = Encoder::new(&making.format, &making.schema)?;
        Ok(Self { path, encoder, sink, sent, n_rows: 0, sealed: false })
    }

    /// Adds rows.
    ///
    /// # Errors
    /// 22023 for a value that the format cannot hold; what the store says.
    pub async fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        self.encoder.write(batch)?;
        self.n_rows += batch.num_rows() as u64;
        if self.encoder.buffered() >= BUFFER_BYTES {
            self.send().await?;
        }
        Ok(())
    }

    /// Returns the bytes of memory that it holds, about.
    pub fn held(&self) -> usize {
        self.encoder.held()
    }

    /// Returns the bytes that it has, about.
    pub fn n_bytes(&self) -> u64 {
        self.sent.load(Ordering::Relaxed) + self.encoder.in_progress() as u64
    }

    pub fn n_rows(&self) -> u64 {
        self.n_rows
    }

    /// Lets go of memory, as far as the format allows.
    pub async fn spill(&mut self) -> Result<()> {
        self.encoder.flush()?;
        self.send().await
    }

    async fn send(&mut self) -> Result<()> {
        let bytes = self.encoder.take();
        if bytes.is_empty() {
            return Ok(());
        }
        self.sink.writer().write_all(&bytes).await.map_err(failed)
    }

    /// Writes all that is left of the rows; the file is complete then but for its name.
    pub async fn seal(&mut self) -> Result<()> {
        if !self.sealed {
            self.sealed = true;
            self.encoder.finish()?;
            self.send().await?;
        }
        Ok(())
    }

    /// Gives the file its name, and returns its bytes.
    pub async fn publish(mut self) -> Result<u64> {
        self.seal().await?;
        self.sink.writer().shutdown().await.map_err(failed)?;
        Ok(self.sent.load(Ordering::Relaxed))
    }

    /// Gives it up. Whatever stays has no name that readers know.
    pub async fn abort(mut self) {
        if let Err(error) = self.sink.store_mut().abort().await {
            tracing::warn!(path = %self.path, %error, "could not give up an unfinished file");
        }
    }
}
