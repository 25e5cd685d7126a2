//! What files tell about themselves while a scan is planned.

use datafusion::catalog::Session;
use maru_core::Result;
use object_store::ObjectMeta;

use super::parquet::{Footer, FooterReader};
use super::scan::FileScanRequest;
use super::{orc, parquet};
use crate::{FileFormatSpec, FileTable};

/// Reads the ends of files through the caches of the session's runtime.
pub(super) enum Footers {
    Parquet(FooterReader),
    Orc(orc::Tails),
    /// Other formats tell nothing.
    Silent,
}

impl Footers {
    pub(super) fn new(table: &FileTable, request: &FileScanRequest, state: &dyn Session) -> Self {
        match &table.format {
            FileFormatSpec::Parquet => Self::Parquet(parquet::FooterReader::new(table, state)),
            FileFormatSpec::Orc => Self::Orc(orc::Tails::new(table, request.bounds(), state)),
            _ => Self::Silent,
        }
    }

    pub(super) fn is_silent(&self) -> bool {
        matches!(self, Self::Silent)
    }

    /// Returns what is known of a file without reading it.
    pub(super) fn cached(&self, meta: &ObjectMeta) -> Option<Footer> {
        match self {
            Self::Parquet(footers) => footers.cached(meta),
            Self::Orc(tails) => tails.cached(meta),
            Self::Silent => None,
        }
    }

    /// # Errors
    /// XX001 if the file is not valid, 58P01 if it is gone; both name it.
    pub(super) async fn read(&self, meta: &ObjectMeta) -> Result<Option<Footer>> {
        match self {
            Self::Parquet(footers) => footers.read(meta).await.map(Some),
            Self::Orc(tails) => tails.read(meta).await.map(Some),
            Self::Silent => Ok(None),
        }
    }
}
