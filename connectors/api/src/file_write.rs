//! Rows into files of any store: Parquet, CSV, JSON lines and Hive's text. Beside `file_table`, which reads them.
//!
//! [`FileMaking`] says how the files of one write are made, [`Files`] puts one stream of rows into files of one partition each,
//! [`OpenFile`] is one of them. A file gets its name when it is published, so that whoever dies before leaves none that is whole.

mod ahead;
mod encode;
mod open_file;
mod partition;
mod stream_files;
mod text;

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion::execution::memory_pool::MemoryPool;
use maru_core::Result;
use object_store::ObjectStore;
use object_store::path::Path;
use parking_lot::Mutex;
use parquet::basic::{Compression, ZstdLevel};

use crate::LazyText;

pub use ahead::Ahead;
pub use open_file::OpenFile;
pub use partition::{partition_directory, partition_text};
pub use stream_files::{Files, WrittenFile};
pub use text::check_text_type;

/// Bytes after which a file is ended and the next one begun, unless told otherwise.
pub const FILE_BYTES: u64 = 256 * 1024 * 1024;

/// Rows of a row group of Parquet, unless told otherwise.
pub const ROW_GROUP_ROWS: usize = 1024 * 1024;

/// How rows are laid out in a file.
#[derive(Debug, Clone)]
pub enum RowFormat {
    Parquet {
        compression: Compression,
        row_group_rows: usize,
    },
    /// Fields that hold the delimiter, a quote or a line end are quoted; NULL is an empty field, the empty text `""`.
    Csv {
        header: bool,
        delimiter: u8,
        null: String,
    },
    /// One object in a line. NULL is there as `null`.
    Json,
    /// Hive's LazySimpleSerDe.
    LazyText {
        layout: LazyText,
        /// Whether an escaped `n` or `r` is a line end (`serialization.escape.crlf`).
        escapes_line_ends: bool,
    },
}

impl RowFormat {
    /// Returns what the name of a file ends with, packing aside.
    pub fn extension(&self) -> &'static str {
        match self {
            Self::Parquet { .. } => ".parquet",
            Self::Csv { .. } => ".csv",
            Self::Json => ".json",
            Self::LazyText { .. } => "",
        }
    }
}

/// How the bytes of a text file are packed as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packing {
    None,
    Gzip,
    Zstd,
}

impl Packing {
    pub fn extension(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Gzip => ".gz",
            Self::Zstd => ".zst",
        }
    }
}

/// Returns the packing of Parquet's pages of this name; `None` for a name that is none.
pub fn parquet_compression(name: &str) -> Option<Compression> {
    Some(match name {
        "zstd" => Compression::ZSTD(ZstdLevel::try_new(3).ok()?),
        "lz4" => Compression::LZ4_RAW,
        "gzip" => Compression::GZIP(Default::default()),
        "none" | "uncompressed" => Compression::UNCOMPRESSED,
        "snappy" => Compression::SNAPPY,
        _ => return None,
    })
}

/// How the files of one write are made.
#[derive(Debug)]
pub struct FileMaking {
    pub store: Arc<dyn ObjectStore>,
    pub format: RowFormat,
    pub packing: Packing,
    /// Columns in the files. Of text: types that [`check_text_type`] takes.
    pub schema: SchemaRef,
    /// Bytes after which a file is ended; `u64::MAX` for one file however large.
    pub file_bytes: u64,
    /// Where the bytes that are held back are accounted for.
    pub memory: Option<Arc<dyn MemoryPool>>,
    /// Every file that was begun, to be removed if the write fails.
    pub begun: Mutex<Vec<Path>>,
}

impl FileMaking {
    /// Begins a file, which will be at `path` once it is published.
    pub fn begin(&self, path: Path) -> Result<OpenFile> {
        self.begun.lock().push(path.clone());
        OpenFile::begin(self, path)
    }

    /// Removes the files that were published. What cannot be removed is logged.
    pub async fn remove(&self) {
        use object_store::ObjectStoreExt;
        let begun = std::mem::take(&mut *self.begun.lock());
        for path in begun {
            match self.store.delete(&path).await {
                Ok(()) | Err(object_store::Error::NotFound { .. }) => {}
                Err(error) => {
                    tracing::warn!(%path, %error, "could not remove a file of a write that came to nothing");
                }
            }
        }
    }
}

/// Removes files, several at once. One that is not there is removed already.
pub async fn remove_files(store: &Arc<dyn ObjectStore>, paths: Vec<Path>) -> Result<()> {
    use futures::StreamExt;
    let paths = futures::stream::iter(paths.into_iter().map(Ok)).boxed();
    let mut removed = store.delete_stream(paths);
    while let Some(path) = removed.next().await {
        match path {
            Ok(_) | Err(object_store::Error::NotFound { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}
