//! A store that can be closed, and whose errors are fit to be read.
//!
//! Tables that are remembered and plans that run hold stores: `close` takes the client away from all of them
//! at once, so that `DROP CATALOG` frees its connections.

use std::fmt;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{StreamExt, stream};
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload,
    ObjectMeta, ObjectStore, PutMultipartOptions, PutOptions, PutPayload, PutResult, RenameOptions,
    Result,
};
use parking_lot::RwLock;
use tokio::runtime::{Builder, Handle, Runtime};
use tokio_util::sync::CancellationToken;

/// For clients that need threads of their own: they move bytes, and check sums over them.
const THREADS: usize = 2;

/// Rewrites the errors of one kind of store.
pub(crate) type Rewrite = fn(Error) -> Error;

#[derive(Debug)]
pub(crate) struct Gate {
    inner: RwLock<Option<Inner>>,
    closed: CancellationToken,
    rewrite: Rewrite,
}

#[derive(Debug, Clone)]
struct Inner {
    store: Arc<dyn ObjectStore>,
    /// Whoever calls the store holds its threads too.
    _threads: Option<Arc<Threads>>,
}

/// The threads of a client whose tasks outlive it: they end here, and what they held is free.
#[derive(Debug)]
pub(crate) struct Threads(Option<Runtime>);

impl Threads {
    /// Starts some, and returns where the client puts its tasks.
    pub(crate) fn start(name: &str) -> io::Result<(Self, Handle)> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(THREADS)
            .thread_name(name)
            .enable_all()
            .build()?;
        let handle = runtime.handle().clone();
        Ok((Self(Some(runtime)), handle))
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        // A runtime must not wait for its tasks where other tasks run.
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

impl Gate {
    pub(crate) fn new(store: Arc<dyn ObjectStore>, rewrite: Rewrite) -> Arc<Self> {
        Self::with_threads(store, None, rewrite)
    }

    /// A gate to a client that has threads of its own.
    pub(crate) fn with_threads(
        store: Arc<dyn ObjectStore>,
        threads: Option<Threads>,
        rewrite: Rewrite,
    ) -> Arc<Self> {
        let closed = CancellationToken::new();
        let inner = Inner { store, _threads: threads.map(Arc::new) };
        Arc::new(Self { inner: RwLock::new(Some(inner)), closed, rewrite })
    }

    /// Lets the client go; what is still being read ends with an error.
    pub(crate) fn close(&self) {
        self.closed.cancel();
        drop(self.inner.write().take());
    }

    fn open(&self) -> Result<Inner> {
        self.inner.read().clone().ok_or_else(closed)
    }

    fn rewritten<T>(&self, result: Result<T>) -> Result<T> {
        result.map_err(self.rewrite)
    }

    /// Ends a stream with an error once the gate is closed.
    fn guard<T: Send + 'static>(
        &self,
        stream: BoxStream<'static, Result<T>>,
    ) -> BoxStream<'static, Result<T>> {
        let (token, rewrite) = (self.closed.clone(), self.rewrite);
        let state = Some((stream, token));
        stream::unfold(state, move |state| async move {
            let (mut stream, token) = state?;
            tokio::select! {
                biased;
                () = token.cancelled() => Some((Err(closed()), None)),
                item = stream.next() => Some((item?.map_err(rewrite), Some((stream, token)))),
            }
        })
        .boxed()
    }

    fn failed<T: Send + 'static>(error: Error) -> BoxStream<'static, Result<T>> {
        stream::once(async move { Err(error) }).boxed()
    }
}

fn closed() -> Error {
    Error::Generic { store: "catalog", source: "the catalog was closed".into() }
}

impl fmt::Display for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.inner.read() {
            Some(inner) => inner.store.fmt(f),
            None => f.write_str("closed"),
        }
    }
}

#[async_trait]
impl ObjectStore for Gate {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> Result<PutResult> {
        let inner = self.open()?;
        self.rewritten(inner.store.put_opts(location, payload, options).await)
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        let inner = self.open()?;
        self.rewritten(inner.store.put_multipart_opts(location, options).await)
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let inner = self.open()?;
        let mut got = self.rewritten(inner.store.get_opts(location, options).await)?;
        if let GetResultPayload::Stream(stream) = got.payload {
            got.payload = GetResultPayload::Stream(self.guard(stream));
        }
        Ok(got)
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        let read = self.open()?;
        tokio::select! {
            biased;
            () = self.closed.cancelled() => Err(closed()),
            bytes = read.store.get_ranges(location, ranges) => self.rewritten(bytes),
        }
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        match self.open() {
            Ok(inner) => self.guard(inner.store.delete_stream(locations)),
            Err(error) => Self::failed(error),
        }
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        match self.open() {
            Ok(inner) => self.guard(inner.store.list(prefix)),
            Err(error) => Self::failed(error),
        }
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        match self.open() {
            Ok(inner) => self.guard(inner.store.list_with_offset(prefix, offset)),
            Err(error) => Self::failed(error),
        }
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        let inner = self.open()?;
        self.rewritten(inner.store.list_with_delimiter(prefix).await)
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        let inner = self.open()?;
        self.rewritten(inner.store.copy_opts(from, to, options).await)
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        let inner = self.open()?;
        self.rewritten(inner.store.rename_opts(from, to, options).await)
    }
}
