//! HDFS as a store of objects.
//!
//! Where the blocks of a file lie is asked once and kept for the next ranges of the same version. So all ranges are of
//! the version that was listed, even if the file is replaced meanwhile, and a scan goes on while no NameNode answers.

use std::collections::HashMap;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{StreamExt, stream};
use hdfs_native::Client;
use hdfs_native::file::FileReader;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload,
    ObjectMeta, ObjectStore, PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult,
    RenameOptions, RenameTargetMode, Result,
};
use parking_lot::Mutex;

use super::errors::{changed, silent, store_error};
use super::listing::{absolute, level, meta, tree};
use super::write::{Unnamed, Upload};

/// Files whose blocks are kept in mind.
const OPENED_MAX: usize = 256;

/// How long they are: DataNodes come and go, and so do the rights to read.
const OPENED_FOR: Duration = Duration::from_secs(60);

/// Files removed at once.
const CONCURRENT_DELETES: usize = 8;

/// Times that a file is opened again because it changed just then.
const OPENINGS: usize = 3;

#[derive(Debug)]
pub(super) struct HdfsStore {
    client: Client,
    /// How long a server may be silent.
    limit: Duration,
    opened: Arc<Mutex<HashMap<Path, Arc<Opened>>>>,
}

/// A version of a file, and where its blocks lie.
struct Opened {
    meta: ObjectMeta,
    reader: FileReader,
    at: Instant,
}

impl fmt::Debug for Opened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Opened").field("meta", &self.meta).finish_non_exhaustive()
    }
}

impl HdfsStore {
    pub(super) fn new(client: Client, limit: Duration) -> Self {
        Self { client, limit, opened: Arc::default() }
    }

    fn handle(&self) -> Self {
        Self { client: self.client.clone(), limit: self.limit, opened: Arc::clone(&self.opened) }
    }

    async fn in_time<T>(
        &self,
        path: &Path,
        call: impl Future<Output = hdfs_native::Result<T>>,
    ) -> Result<T> {
        match tokio::time::timeout(self.limit, call).await {
            Err(_) => Err(silent(path, "the NameNode", self.limit.as_secs_f64())),
            Ok(answer) => answer.map_err(|error| store_error(path, &error)),
        }
    }

    async fn head(&self, path: &Path) -> Result<ObjectMeta> {
        let status = self.in_time(path, self.client.get_file_info(&absolute(path))).await?;
        if status.isdir {
            let source = "it is a directory".into();
            return Err(Error::NotFound { path: path.to_string(), source });
        }
        meta(&status)
    }

    /// Opens a file, or the version with `mark` only, which may be known already.
    async fn open(&self, path: &Path, mark: Option<&str>) -> Result<Arc<Opened>> {
        if let Some(mark) = mark
            && let Some(known) = self.opened.lock().get(path)
            && known.meta.e_tag.as_deref() == Some(mark)
            && known.at.elapsed() < OPENED_FOR
        {
            return Ok(Arc::clone(known));
        }
        for _ in 0..OPENINGS {
            let at = Instant::now();
            let reader = self.in_time(path, self.client.read(&absolute(path))).await?;
            // In this order: blocks that were there before are those of the version with the mark.
            let meta = self.head(path).await?;
            if mark.is_some() && meta.e_tag.as_deref() != mark {
                return Err(changed(path));
            }
            if reader.file_length() as u64 == meta.size {
                let opened = Arc::new(Opened { meta, reader, at });
                self.keep(path, &opened);
                return Ok(opened);
            }
        }
        Err(changed(path))
    }

    fn keep(&self, path: &Path, opened: &Arc<Opened>) {
        let mut known = self.opened.lock();
        if known.len() >= OPENED_MAX {
            known.retain(|_, opened| opened.at.elapsed() < OPENED_FOR);
        }
        if known.len() >= OPENED_MAX {
            let oldest = known.iter().min_by_key(|(_, opened)| opened.at);
            if let Some(oldest) = oldest.map(|(path, _)| path.clone()) {
                known.remove(&oldest);
            }
        }
        known.insert(path.clone(), Arc::clone(opened));
    }

    fn forget(&self, path: &Path) {
        self.opened.lock().remove(path);
    }

    /// Returns the bytes of a range. Where DataNodes fail, the NameNode is asked once more where the blocks lie.
    fn bytes(self, opened: &Arc<Opened>, range: Range<u64>) -> BoxStream<'static, Result<Bytes>> {
        let state = Reading {
            blocks: blocks(opened, &range),
            meta: opened.meta.clone(),
            left: range,
            again: true,
            store: self,
        };
        stream::try_unfold(state, |mut reading| async move {
            Ok(reading.next().await?.map(|bytes| (bytes, reading)))
        })
        .boxed()
    }
}

fn blocks(opened: &Opened, range: &Range<u64>) -> BoxStream<'static, hdfs_native::Result<Bytes>> {
    // The range lies within the file, and the file in what this machine can address.
    let (start, end) = (range.start as usize, range.end as usize);
    opened.reader.read_range_stream(start, end - start).boxed()
}

/// A range that is being read.
struct Reading {
    store: HdfsStore,
    meta: ObjectMeta,
    left: Range<u64>,
    blocks: BoxStream<'static, hdfs_native::Result<Bytes>>,
    again: bool,
}

impl Reading {
    async fn next(&mut self) -> Result<Option<Bytes>> {
        loop {
            if self.left.is_empty() {
                return Ok(None);
            }
            let path = &self.meta.location;
            let error = match self.blocks.next().await {
                Some(Ok(bytes)) => {
                    self.left.start += bytes.len() as u64;
                    return Ok(Some(bytes));
                }
                Some(Err(error)) => store_error(path, &error),
                None => changed(path),
            };
            self.store.forget(path);
            if !self.again {
                return Err(error);
            }
            self.again = false;
            let opened = self.store.open(path, self.meta.e_tag.as_deref()).await?;
            self.blocks = blocks(&opened, &self.left);
        }
    }
}

impl fmt::Display for HdfsStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HDFS")
    }
}

fn refused<T>(operation: &str) -> Result<T> {
    Err(Error::NotImplemented { operation: operation.to_owned(), implementer: "HDFS".to_owned() })
}

#[async_trait]
impl ObjectStore for HdfsStore {
    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let attributes = object_store::Attributes::default();
        if options.head {
            let meta = self.head(location).await?;
            options.check_preconditions(&meta)?;
            let payload = GetResultPayload::Stream(stream::empty().boxed());
            return Ok(GetResult { payload, meta, range: 0..0, attributes });
        }
        let opened = self.open(location, options.if_match.as_deref()).await?;
        options.check_preconditions(&opened.meta)?;
        let range = match &options.range {
            Some(range) => range
                .as_range(opened.meta.size)
                .map_err(|error| Error::Generic { store: "HDFS", source: error.into() })?,
            None => 0..opened.meta.size,
        };
        let bytes = self.handle().bytes(&opened, range.clone());
        let (payload, meta) = (GetResultPayload::Stream(bytes), opened.meta.clone());
        Ok(GetResult { payload, meta, range, attributes })
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        tree(self.client.clone(), prefix.cloned().unwrap_or_default(), self.limit)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        level(&self.client, &prefix.cloned().unwrap_or_default(), self.limit).await
    }

    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> Result<PutResult> {
        let overwrite = match options.mode {
            PutMode::Create => false,
            PutMode::Overwrite => true,
            PutMode::Update(_) => return refused("writing on condition of a version"),
        };
        // A look before spares the writing; the renaming decides.
        if !overwrite && self.head(location).await.is_ok() {
            let source = "the name is taken".into();
            return Err(Error::AlreadyExists { path: location.to_string(), source });
        }
        let mut file = Unnamed::create(&self.client, location, self.limit).await?;
        if let Err(error) = file.write(payload).await {
            file.remove().await;
            return Err(error);
        }
        file.finish(overwrite).await?;
        self.forget(location);
        Ok(PutResult { e_tag: None, version: None })
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        _: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        let file = Unnamed::create(&self.client, location, self.limit).await?;
        self.forget(location);
        Ok(Box::new(Upload::start(file)))
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        let store = self.handle();
        locations
            .map(move |location| {
                let store = store.handle();
                async move {
                    let path = location?;
                    store.forget(&path);
                    let whole = absolute(&path);
                    match store.in_time(&path, store.client.delete(&whole, false)).await? {
                        true => Ok(path),
                        false => {
                            let source = "there is no such file".into();
                            Err(Error::NotFound { path: path.to_string(), source })
                        }
                    }
                }
            })
            .buffered(CONCURRENT_DELETES)
            .boxed()
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        let overwrite = options.target_mode == RenameTargetMode::Overwrite;
        self.forget(from);
        self.forget(to);
        let (whole, end) = (absolute(from), absolute(to));
        self.in_time(from, self.client.rename(&whole, &end, overwrite)).await
    }

    async fn copy_opts(&self, _: &Path, _: &Path, _: CopyOptions) -> Result<()> {
        refused("copying")
    }
}
