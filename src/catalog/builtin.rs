//! The catalog `maru`: schemas, views and external tables made by SQL, kept in the engine's metadata.

use std::sync::{Arc, Weak};
use std::time::Duration;

use futures::future::BoxFuture;
use maru_connect::{
    Leftover, Source, SourceTable, TableChange, TableCommit, TableEntry, TableKind, TableVersion,
    WriteJob, WriteRequest, literal_url,
};
use maru_core::{Error, ErrorKind, Result};
use maru_files::{LocationTable, check_location_table, open_location_table, split_pattern};
use maru_sql::READ_OPTIONS;
use url::Url;

use super::definition::{Definition, ExternalTableDefinition};
use super::warehouse::Warehouse;
use super::{BUILTIN, Catalogs};
use crate::access::Rights;
use crate::store::{RelationKind, Store};

/// The built-in catalog as a source like any other. It reads the metadata each time, so what one session makes is
/// there for all.
#[derive(Debug)]
pub struct BuiltinSource {
    store: Store,
    catalogs: Weak<Catalogs>,
    warehouse: Warehouse,
}

impl BuiltinSource {
    pub(super) fn new(store: Store, catalogs: Weak<Catalogs>, warehouse: Warehouse) -> Self {
        Self { store, catalogs, warehouse }
    }

    async fn open(
        &self,
        schema: &str,
        name: &str,
        version: Option<TableVersion>,
    ) -> Result<Option<SourceTable>> {
        let mut relations = self.store.relations().await?.into_iter();
        let found = relations.find(|relation| relation.schema == schema && relation.name == name);
        let Some(relation) = found else { return Ok(None) };
        match Definition::decode(&relation.definition)? {
            Definition::View(_) if version.is_some() => {
                Err(Error::unsupported(format!("view \"{name}\" has no versions"))
                    .with_hint("Only Delta Lake tables can be read as they were."))
            }
            Definition::View(view) => Ok(Some(SourceTable::View {
                schema: view.schema.decode()?,
                sql: relation.definition,
            })),
            Definition::Table(table) => self.warehouse.open(&table, version).await.map(Some),
            Definition::ExternalTable(table) => {
                let catalogs = self.catalogs.upgrade().ok_or_else(|| {
                    Error::new(ErrorKind::ShuttingDown, "the engine is shutting down")
                })?;
                open_external_table(&catalogs, &table, true, version).await.map(Some)
            }
        }
    }
}

impl Source for BuiltinSource {
    fn check(&self) -> BoxFuture<'_, Result<String>> {
        Box::pin(async {
            self.store.ping().await?;
            Ok("built-in catalog".to_owned())
        })
    }

    fn schemas(&self) -> BoxFuture<'_, Result<Vec<String>>> {
        Box::pin(async {
            Ok(self.store.schemas().await?.into_iter().map(|(name, _)| name).collect())
        })
    }

    fn tables<'a>(&'a self, schema: &'a str) -> BoxFuture<'a, Result<Vec<TableEntry>>> {
        Box::pin(async move {
            let relations = self.store.relations().await?.into_iter();
            Ok(relations
                .filter(|relation| relation.schema == schema)
                .map(|relation| TableEntry {
                    name: relation.name,
                    kind: match relation.kind {
                        RelationKind::View => TableKind::View,
                        RelationKind::ExternalTable | RelationKind::Table => TableKind::Table,
                    },
                    comment: relation.comment,
                })
                .collect())
        })
    }

    fn table<'a>(
        &'a self,
        schema: &'a str,
        name: &'a str,
    ) -> BoxFuture<'a, Result<Option<SourceTable>>> {
        Box::pin(self.open(schema, name, None))
    }

    fn table_at<'a>(
        &'a self,
        schema: &'a str,
        name: &'a str,
        version: TableVersion,
    ) -> BoxFuture<'a, Result<Option<SourceTable>>> {
        Box::pin(self.open(schema, name, Some(version)))
    }

    fn keeps_work(&self) -> bool {
        true
    }

    fn begin_write(&self, request: WriteRequest) -> BoxFuture<'_, Result<Arc<dyn WriteJob>>> {
        Box::pin(self.warehouse.begin(request))
    }

    fn change_table<'a>(
        &'a self,
        schema: &'a str,
        table: &'a str,
        change: TableChange,
    ) -> BoxFuture<'a, Result<()>> {
        Box::pin(self.warehouse.change(schema, table, change))
    }

    fn leftovers<'a>(
        &'a self,
        schema: &'a str,
        table: &'a str,
    ) -> BoxFuture<'a, Result<Vec<Leftover>>> {
        Box::pin(self.warehouse.leftovers(schema, table))
    }

    fn vacuum<'a>(
        &'a self,
        schema: &'a str,
        table: &'a str,
        retain: Duration,
        dry_run: bool,
    ) -> BoxFuture<'a, Result<Vec<Leftover>>> {
        Box::pin(self.warehouse.vacuum(schema, table, retain, dry_run))
    }

    fn scattered<'a>(
        &'a self,
        schema: &'a str,
        table: &'a str,
    ) -> BoxFuture<'a, Result<SourceTable>> {
        Box::pin(self.warehouse.scattered(schema, table))
    }

    fn history<'a>(
        &'a self,
        schema: &'a str,
        table: &'a str,
    ) -> BoxFuture<'a, Result<Vec<TableCommit>>> {
        Box::pin(self.warehouse.history(schema, table))
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(std::future::ready(()))
    }
}

/// Opens the files of an external table. `known` takes the columns from the definition, otherwise empty ones are
/// inferred from the files.
pub async fn open_external_table(
    catalogs: &Catalogs,
    table: &ExternalTableDefinition,
    known: bool,
    version: Option<TableVersion>,
) -> Result<SourceTable> {
    let store = catalogs.store_for(&stored_url(table)?).await?;
    open_location_table(BUILTIN, store, location_table(table, known, version)?).await
}

/// Holds the declared columns of an external table against its files, and returns those that no file looked at has.
///
/// # Errors
/// Those of [`check_location_table`].
pub async fn check_external_table(
    catalogs: &Catalogs,
    table: &ExternalTableDefinition,
) -> Result<Vec<String>> {
    let store = catalogs.store_for(&stored_url(table)?).await?;
    check_location_table(&store, &location_table(table, false, None)?).await
}

fn location_table(
    table: &ExternalTableDefinition,
    known: bool,
    version: Option<TableVersion>,
) -> Result<LocationTable> {
    let columns = table.columns.decode()?;
    let partition_columns = table.partition_columns.decode()?;
    Ok(LocationTable {
        format: table.format.clone(),
        options: table.options.clone(),
        columns: (known || !columns.fields().is_empty()).then_some(columns),
        partition_columns: (known || !partition_columns.fields().is_empty())
            .then_some(partition_columns),
        pattern: None,
        version,
        as_written: false,
    })
}

/// Opens what lies at a path as a table: a file, a directory, or the files that match a pattern. The ends of their names
/// say the format, their contents the columns.
///
/// # Errors
/// 22023 for a text that is no location, 42704 if no catalog serves it that may be read, 42501 for a file of the server,
/// and those of [`open_location_table`].
pub async fn open_path(
    catalogs: &Catalogs,
    location: &str,
    version: Option<TableVersion>,
    rights: &Rights,
) -> Result<SourceTable> {
    // `COPY … FROM` says how files are read, behind their place.
    let mut parts = location.split(READ_OPTIONS);
    let (place, pattern) = split_pattern(parts.next().unwrap_or_default());
    let mut spec = LocationTable { version, ..LocationTable::default() };
    for part in parts {
        let Some((name, value)) = part.split_once('=') else {
            spec.as_written = true;
            continue;
        };
        match name {
            "format" => value.clone_into(&mut spec.format),
            name => {
                spec.options.insert(name.to_owned(), value.to_owned());
            }
        }
    }
    let store = catalogs.store_for_reader(&location_url(place)?, rights).await?;
    spec.pattern = pattern.map(str::to_owned);
    open_location_table(BUILTIN, store, spec).await
}

/// Reads a location as a user writes it: a URL, or a local path. What stands behind the bucket or the host is the path as it is:
/// `a%20b` is no `a b`.
///
/// # Errors
/// 22023 for a text that is neither, or a path with `.` and `..` in a store where those are names.
pub fn location_url(location: &str) -> Result<Url> {
    let local = location.strip_prefix("file://").unwrap_or(location);
    if local.starts_with('/') {
        return Url::from_file_path(local).map_err(|()| invalid_location(location));
    }
    let is_s3 = ["s3://", "s3a://", "s3n://"].iter().any(|scheme| location.starts_with(scheme));
    if is_s3 && location.split('/').any(|part| part == "." || part == "..") {
        return Err(invalid_location(location).with_hint("Write the key without . and .. parts."));
    }
    literal_url(location).map_err(|_| invalid_location(location))
}

/// Returns the URL that a definition keeps. There it is written as URLs are, with percent escapes.
fn stored_url(table: &ExternalTableDefinition) -> Result<Url> {
    Url::parse(&table.location).map_err(|_| invalid_location(&table.location))
}

fn invalid_location(location: &str) -> Error {
    Error::new(ErrorKind::InvalidParameter, format!("invalid location \"{location}\"")).with_hint(
        "Give a URL such as s3://bucket/folder/, hdfs://host:port/path/ or an absolute local path.",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_location_is_taken_as_it_is_written() {
        for (location, wanted) in [
            ("s3://b/names/a%20b.csv", "s3://b/names/a%2520b.csv"),
            ("s3://b/a#b?.csv", "s3://b/a%23b%3F.csv"),
            ("file:///x/a%20b", "file:///x/a%2520b"),
            ("/x/a%20b#c", "file:///x/a%2520b%23c"),
            ("hdfs://nn:9000/p=x%2Fy", "hdfs://nn:9000/p=x%252Fy"),
        ] {
            let url = location_url(location).unwrap();
            assert_eq!(url.as_str(), wanted);
            // What is kept is read as it was.
            assert_eq!(Url::parse(url.as_str()).unwrap(), url);
        }
        for location in ["a.csv", "s3://b/a/../b.csv"] {
            assert_eq!(location_url(location).unwrap_err().sqlstate(), "22023", "{location}");
        }
    }
}
