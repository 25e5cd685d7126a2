//! A table of the engine out of a snapshot.

use std::sync::Arc;

use arrow::datatypes::Schema;
use futures::TryStreamExt;
use maru_connect::{FileFormatSpec, FileTable, OpenedStore, SourceTable, TableVersion};
use maru_core::Result;
use object_store::ObjectStoreExt;

use super::features::Mapping;
use super::lister::DeltaFiles;
use super::log::Log;
use super::{LOG, features, schema, travel};

/// Returns whether a table with a log lies at `opened.path`.
pub(crate) async fn is_delta(opened: &OpenedStore) -> Result<bool> {
    let folder = opened.path.clone().join(LOG);
    match opened.store.list(Some(&folder)).try_next().await {
        Ok(first) => Ok(first.is_some()),
        Err(object_store::Error::NotFound { .. }) => Ok(false),
        // Below a file there is nothing to list.
        Err(error) => match opened.store.head(&opened.path).await {
            Ok(_) => Ok(false),
            Err(_) => Err(error.into()),
        },
    }
}

/// Opens the table at `opened.path`, as it is or as it was.
///
/// # Errors
/// HV00R if there is none, 22023 for a version it does not have, 0A000 for one that demands more of a reader than
/// Maru does, XX001 for a log that is not valid.
///
/// # Cancel
/// Dropping the future stops the reading of the log.
pub(crate) async fn open(
    catalog: &str,
    opened: OpenedStore,
    version: Option<&TableVersion>,
) -> Result<SourceTable> {
    open_some(catalog, opened, version, false).await
}

/// Opens the files of a table that had better be fewer, as a table.
pub(crate) async fn open_scattered(catalog: &str, opened: OpenedStore) -> Result<SourceTable> {
    open_some(catalog, opened, None, true).await
}

async fn open_some(
    catalog: &str,
    opened: OpenedStore,
    version: Option<&TableVersion>,
    compacts: bool,
) -> Result<SourceTable> {
    let log = Log::of(&opened);
    let snapshot = match version {
        None => log.newest().await?,
        Some(TableVersion::Number(version)) => Arc::new(log.load(Some(*version)).await?),
        Some(TableVersion::Time(micros)) => {
            let newest = log.newest().await?;
            let version = travel::version_at(&log, &newest, *micros).await?;
            if version == newest.version {
                newest
            } else {
                Arc::new(log.load(Some(version)).await?)
            }
        }
    };
    let (protocol, metadata) = snapshot.shape()?;
    let mapping = features::check(&opened.path, protocol, metadata)?;
    let columns = schema::columns(&opened.path, metadata, mapping)?;
    let names = columns
        .in_files
        .iter()
        .map(|column| (column.field.name().clone(), column.physical.clone()));
    let names = (mapping == Mapping::Name).then(|| Arc::new(names.collect()));
    let fields = columns.in_files.iter().map(|column| Arc::clone(&column.field));
    let file_schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    let partition_columns =
        columns.partitions.iter().map(|column| Arc::clone(&column.field)).collect::<Vec<_>>();
    Ok(SourceTable::Files(Arc::new(FileTable {
        catalog: catalog.to_owned(),
        store: opened.store,
        store_url: opened.url,
        format: FileFormatSpec::Parquet,
        file_schema,
        partition_columns,
        files: Arc::new(DeltaFiles {
            log,
            opened: snapshot,
            fixed: version.is_some(),
            compacts,
            columns,
            names,
        }),
    })))
}
