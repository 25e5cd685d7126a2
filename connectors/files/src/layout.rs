//! How schemas and tables are named by a tree of directories.
//!
//! With `layout = 'schemas'`, the default:
//! - a directory at the root is a schema, unless it directly holds a `key=value` directory, or the log of a Delta Lake
//!   table: then it is a table of schema `public`;
//! - a file at the root whose name says its format is a table of `public`;
//! - in a schema each directory is a table, and each file whose name says its format.
//!
//! With `layout = 'tables'` every directory and file at the root is a table of `public`.
//!
//! A file's table is named without the ends that say format and packing (`a.csv.gz` is `a`). If two entries would have
//! one name, files keep their whole names. Hidden entries (`_…`, `.…`, `….tmp`) do not exist.

use std::collections::HashMap;
use std::sync::Arc;

use futures::{StreamExt, TryStreamExt, stream};
use maru_core::{Error, ErrorKind, Result};
use object_store::path::Path;
use object_store::{ListResult, ObjectStore, PutMode, PutOptions, PutPayload};

use crate::delta::LOG;
use crate::formats::{Format, is_hidden};
use crate::partitions;

/// The schema of tables that lie at the root.
pub(crate) const PUBLIC: &str = "public";

/// What a schema without tables holds.
const SCHEMA_FILE: &str = ".schema";

/// Directories at the root that are looked into at once.
const CONCURRENT_LISTINGS: usize = 16;

/// A tree of directories as schemas and tables.
#[derive(Debug, Clone)]
pub(crate) struct Layout {
    pub(crate) store: Arc<dyn ObjectStore>,
    pub(crate) root: Path,
    /// Whether directories at the root are tables.
    pub(crate) flat: bool,
}

/// A table by name and place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) name: String,
    pub(crate) path: Path,
}

impl Layout {
    /// Lists schemas in order of their names; `public` only if it has tables.
    pub(crate) async fn schemas(&self) -> Result<Vec<String>> {
        let (mut schemas, public) = self.root(None).await?;
        if !public.is_empty() && !schemas.iter().any(|schema| schema == PUBLIC) {
            schemas.push(PUBLIC.to_owned());
        }
        schemas.sort_unstable();
        Ok(schemas)
    }

    /// Lists the tables of a schema in order of their names; none if there is no such schema.
    pub(crate) async fn tables(&self, schema: &str) -> Result<Vec<Place>> {
        self.tables_like(schema, None).await
    }

    /// Finds one table by its name.
    pub(crate) async fn table(&self, schema: &str, name: &str) -> Result<Option<Place>> {
        let places = self.tables_like(schema, Some(name)).await?;
        Ok(places.into_iter().find(|place| place.name == name))
    }

    /// Returns where a new table comes to lie.
    ///
    /// # Errors
    /// 3F000 if there is no such schema, 22023 for a name that is none of a directory.
    pub(crate) async fn new_table(&self, schema: &str, name: &str) -> Result<Path> {
        check_name(name)?;
        if self.flat && schema != PUBLIC {
            return Err(no_schema(schema).with_hint("Tables of this catalog are in schema public."));
        }
        if schema == PUBLIC {
            return Ok(self.root.clone().join(name));
        }
        check_name(schema)?;
        let directory = self.root.clone().join(schema);
        let listed = self.store.list_with_delimiter(Some(&directory)).await;
        let is_there = match listed {
            Ok(listed) => !listed.objects.is_empty() || !listed.common_prefixes.is_empty(),
            Err(object_store::Error::NotFound { .. }) => false,
            Err(error) => return Err(error.into()),
        };
        if is_there {
            return Ok(directory.join(name));
        }
        Err(no_schema(schema)
            .with_hint(format!("Make it first: CREATE SCHEMA {}.", maru_core::quote_ident(schema))))
    }

    /// Makes a schema: a directory, with a hidden file in it where empty ones do not last.
    ///
    /// # Errors
    /// 42P06 if it is there, 22023 for a name that is none of a directory, 0A000 in a catalog without schemas.
    pub(crate) async fn create_schema(&self, schema: &str) -> Result<()> {
        check_name(schema)?;
        if self.flat {
            return Err(Error::unsupported("this catalog has no schemas but public"));
        }
        let there = || {
            Error::new(ErrorKind::DuplicateSchema, format!("schema \"{schema}\" already exists"))
        };
        if schema == PUBLIC {
            return Err(there());
        }
        let file = self.root.clone().join(schema).join(SCHEMA_FILE);
        let create = PutOptions::from(PutMode::Create);
        match self.store.put_opts(&file, PutPayload::from_static(b"schema\n"), create).await {
            Ok(_) => Ok(()),
            Err(object_store::Error::AlreadyExists { .. }) => Err(there()),
            Err(error) => Err(error.into()),
        }
    }

    /// Lists the tables of a schema; with `wanted` at least the one of that name, if there is one.
    async fn tables_like(&self, schema: &str, wanted: Option<&str>) -> Result<Vec<Place>> {
        let mut places = Vec::new();
        if schema == PUBLIC {
            places = self.root(wanted).await?.1;
        }
        let usable = !schema.is_empty()
            && !is_hidden(schema)
            && !schema.contains('/')
            && partitions::split(schema).is_none();
        if usable && !self.flat {
            let directory = self.root.clone().join(schema);
            let listed = self.store.list_with_delimiter(Some(&directory)).await?;
            if !is_table(&listed) {
                places.extend(entries(&listed));
            }
        }
        Ok(named_apart(places))
    }

    /// Returns the schemas at the root and the tables of `public`. With `wanted` only those directories are looked into
    /// that decide about the table of that name.
    async fn root(&self, wanted: Option<&str>) -> Result<(Vec<String>, Vec<Place>)> {
        let root = Some(&self.root).filter(|root| !root.as_ref().is_empty());
        let listed = self.store.list_with_delimiter(root).await?;
        if self.flat {
            return Ok((Vec::new(), named_apart(entries(&listed).collect())));
        }
        let mut places = files(&listed).collect::<Vec<_>>();
        let decides = |place: &Place| {
            wanted.is_none_or(|wanted| {
                // A file takes its whole name where a directory has the short one.
                let stem = Format::of_name(wanted).map(|named| named.stem);
                place.name == wanted || stem == Some(place.name.as_str())
            })
        };
        let directories = directories(&listed).filter(decides).collect::<Vec<_>>();
        let looked = stream::iter(directories)
            .map(|place| async move {
                let inside = self.store.list_with_delimiter(Some(&place.path)).await?;
                Ok::<_, maru_core::Error>((is_table(&inside), place))
            })
            .boxed()
            .buffered(CONCURRENT_LISTINGS)
            .try_collect::<Vec<_>>()
            .await?;
        let mut schemas = Vec::new();
        for (partitioned, place) in looked {
            if partitioned {
                places.push(place);
            } else {
                schemas.push(place.name);
            }
        }
        Ok((schemas, named_apart(places)))
    }
}

fn no_schema(schema: &str) -> Error {
    Error::new(ErrorKind::UndefinedSchema, format!("schema \"{schema}\" does not exist"))
}

/// # Errors
/// 22023 for a name that no directory of the layout has.
fn check_name(name: &str) -> Result<()> {
    let is_good = !name.is_empty()
        && !is_hidden(name)
        && !name.contains(['/', '\\', '=', '%', ':'])
        && !name.chars().any(char::is_control)
        && Format::of_name(name).is_none()
        && name.len() <= 200;
    if is_good {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::InvalidParameter,
        format!("\"{name}\" cannot be the name of a directory"),
    )
    .with_detail("Tables and schemas of this catalog are directories: no /, =, %, :, no end of a file's name, no _ or . at the beginning."))
}

/// A directory with partitions or a log directly below it is a table.
fn is_table(listed: &ListResult) -> bool {
    let says = |name: &str| name == LOG || partitions::split(name).is_some();
    listed.common_prefixes.iter().any(|path| path.filename().is_some_and(says))
}

fn entries(listed: &ListResult) -> impl Iterator<Item = Place> {
    directories(listed).chain(files(listed))
}

fn directories(listed: &ListResult) -> impl Iterator<Item = Place> {
    listed.common_prefixes.iter().filter_map(|path| {
        let name = path.filename()?;
        let table = !is_hidden(name) && partitions::split(name).is_none();
        table.then(|| Place { name: name.to_owned(), path: path.clone() })
    })
}

fn files(listed: &ListResult) -> impl Iterator<Item = Place> {
    listed.objects.iter().filter_map(|meta| {
        let name = meta.location.filename()?;
        if is_hidden(name) || meta.size == 0 {
            return None;
        }
        let named = Format::of_name(name)?;
        Some(Place { name: named.stem.to_owned(), path: meta.location.clone() })
    })
}

/// Gives files their whole names where a short one would stand for more than one entry.
fn named_apart(mut places: Vec<Place>) -> Vec<Place> {
    let mut counts: HashMap<String, usize> = HashMap::new();
    for place in &places {
        *counts.entry(place.name.clone()).or_default() += 1;
    }
    for place in &mut places {
        if counts.get(&place.name).is_some_and(|count| *count > 1)
            && let Some(whole) = place.path.filename()
        {
            place.name = whole.to_owned();
        }
    }
    places.sort_by(|a, b| a.name.cmp(&b.name));
    places
}
