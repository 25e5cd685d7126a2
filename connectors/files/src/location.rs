//! A table out of a place: a file, or a directory with files, possibly below `key=value` directories.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use futures::TryStreamExt;
use maru_connect::{
    FileFormatSpec, FileLister, FileTable, OpenedStore, SourceTable, TableVersion, infer_schema,
};
use maru_core::limits::INFER_FILES_MAX;
use maru_core::{Error, ErrorKind, Options, Result};
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt};

use crate::delta;
use crate::formats::{Format, is_hidden};
use crate::glob::Glob;
use crate::lister::{DirectoryFiles, OneFile};
use crate::partitions::{self, TypeGuess};

pub use crate::options::LOCATION_OPTIONS;

/// What is known of a table besides its place.
#[derive(Debug, Clone, Default)]
pub struct LocationTable {
    /// The word after `STORED AS`; empty goes by the ends of the files' names.
    pub format: String,
    /// By the names of [`LOCATION_OPTIONS`].
    pub options: BTreeMap<String, String>,
    /// The declared columns, with or without the partition columns; `None` infers them from the files.
    pub columns: Option<SchemaRef>,
    /// The partition columns in the order of the directories; a type NULL is found from the directories' values.
    /// `None` finds the columns too.
    pub partition_columns: Option<SchemaRef>,
    /// Below the place, only files whose path matches: `*` and `?` within a name, `**` across directories.
    pub pattern: Option<String>,
    /// The version to read, of a table that keeps versions; `None` reads the newest.
    pub version: Option<TableVersion>,
}

/// Opens the table that lies at `store.path`.
///
/// Without a declared format the files must all be of one, told by their names; files whose names say nothing are left
/// out. With one, every visible file counts.
///
/// # Errors
/// As a Delta Lake table's log demands (`delta`); HV00D or HV024 for a wrong option, 0A000 for an unknown format, HV00R if nothing lies there, 22P04 for mixed formats, files outside of partition directories, or columns that
/// cannot be inferred; XX001 for a corrupt Parquet file.
///
/// # Cancel
/// Dropping the future stops the listing and the reading.
pub async fn open_location_table(
    catalog: &str,
    store: OpenedStore,
    spec: LocationTable,
) -> Result<SourceTable> {
    if let Some(table) = delta_table(catalog, &store, &spec).await? {
        return Ok(table);
    }
    let declared = (!spec.format.is_empty()).then(|| Format::of_word(&spec.format)).transpose()?;
    let given = spec.options.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let options = Options::check("an external table", LOCATION_OPTIONS, given)?;
    let pattern = spec.pattern.as_deref().map(|text| Glob::new(&store.path, text)).transpose()?;
    let single = if pattern.is_none() { single_file(&store).await? } else { None };
    let found = match single {
        Some(meta) => Found::one(meta),
        None => look(&store.store, &store.path, declared, pattern.as_ref()).await?,
    };
    let format = decide_format(&store.path, declared, &found)?;
    let example = &found.files.first().ok_or_else(|| nothing_at(&store.path))?.location;
    let format_spec = format.spec(&options, example)?;
    let partition_columns = partition_columns(&spec, &found)?;
    let file_schema =
        file_schema(&store.store, &spec, &found.files, &format_spec, &partition_columns).await?;
    let files: Arc<dyn FileLister> = if found.single {
        Arc::new(OneFile { store: Arc::clone(&store.store), path: store.path.clone() })
    } else {
        Arc::new(DirectoryFiles {
            store: Arc::clone(&store.store),
            root: store.path.clone(),
            partition_columns: partition_columns.clone(),
            only: declared.is_none().then_some(format),
            pattern,
        })
    };
    Ok(SourceTable::Files(Arc::new(FileTable {
        catalog: catalog.to_owned(),
        store: store.store,
        store_url: store.url,
        format: format_spec,
        file_schema,
        partition_columns,
        files,
    })))
}

/// Opens a Delta Lake table, if the place is one: its log says which of its files count, and what its columns are.
async fn delta_table(
    catalog: &str,
    store: &OpenedStore,
    spec: &LocationTable,
) -> Result<Option<SourceTable>> {
    let declared = spec.format.eq_ignore_ascii_case("delta");
    let is_delta = spec.pattern.is_none() && delta::is_delta(store).await?;
    let declares_columns = [&spec.columns, &spec.partition_columns]
        .into_iter()
        .any(|schema| schema.as_ref().is_some_and(|schema| !schema.fields().is_empty()));
    match (declared, is_delta) {
        (false, false) if spec.version.is_some() => {
            Err(Error::unsupported(format!("\"{}\" has no versions", store.path))
                .with_hint("Only Delta Lake tables can be read as they were."))
        }
        (false, false) => Ok(None),
        (true, _) if declares_columns => {
            Err(Error::unsupported("columns of a Delta Lake table cannot be declared")
                .with_hint("Leave them out: the table's log tells them."))
        }
        (false, true) if !spec.format.is_empty() => Err(Error::unsupported(format!(
            "\"{}\" is a Delta Lake table and cannot be read as {}",
            store.path, spec.format
        ))
        .with_detail("Not every file in its directory belongs to the table.")
        .with_hint("Write STORED AS DELTA.")),
        _ => delta::open(catalog, store.clone(), spec.version.as_ref()).await.map(Some),
    }
}

/// What a first look at the place shows.
#[derive(Debug, Default)]
struct Found {
    /// The first files in order of their names, to infer from.
    files: Vec<ObjectMeta>,
    /// Formats that names say, each with the first file of it.
    formats: BTreeMap<&'static str, (Format, Path)>,
    /// Keys of partition directories in order, with what their values allow.
    keys: Vec<(String, TypeGuess)>,
    /// The file that `keys` were taken from.
    keys_from: Option<Path>,
    single: bool,
}

impl Found {
    fn one(meta: ObjectMeta) -> Self {
        let mut found = Self { single: true, ..Self::default() };
        found.note_format(&meta.location);
        found.files.push(meta);
        found
    }

    fn note_format(&mut self, path: &Path) -> Option<Format> {
        let named = path.filename().and_then(Format::of_name)?;
        self.formats.entry(named.format.name()).or_insert_with(|| (named.format, path.clone()));
        Some(named.format)
    }
}

async fn single_file(store: &OpenedStore) -> Result<Option<ObjectMeta>> {
    if store.path.as_ref().is_empty() {
        return Ok(None);
    }
    match store.store.head(&store.path).await {
        Ok(meta) => Ok(Some(meta)),
        Err(object_store::Error::NotFound { .. }) => Ok(None),
        // A local directory cannot be opened as a file.
        Err(object_store::Error::Generic { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Walks through the whole place once, keeping only what inference needs.
async fn look(
    store: &Arc<dyn ObjectStore>,
    root: &Path,
    declared: Option<Format>,
    pattern: Option<&Glob>,
) -> Result<Found> {
    let mut found = Found::default();
    let mut listed = store.list(Some(root));
    while let Some(meta) = listed.try_next().await? {
        let Some(parts) = meta.location.prefix_match(root) else { continue };
        let parts = parts.map(|part| part.as_ref().to_owned()).collect::<Vec<_>>();
        if meta.size == 0 || parts.iter().any(|part| is_hidden(part)) {
            continue;
        }
        if pattern.is_some_and(|pattern| !pattern.matches(&meta.location)) {
            continue;
        }
        if found.note_format(&meta.location).is_none() && declared.is_none() {
            continue;
        }
        let directories = parts.split_last().map_or(&[][..], |(_, directories)| directories);
        note_partitions(&mut found, directories, &meta.location)?;
        keep_smallest(&mut found.files, meta);
    }
    Ok(found)
}

/// Keeps the files with the smallest names, so that inference does not depend on the order of the listing.
fn keep_smallest(files: &mut Vec<ObjectMeta>, meta: ObjectMeta) {
    let at = files.partition_point(|file| file.location < meta.location);
    if at < INFER_FILES_MAX {
        files.insert(at, meta);
        files.truncate(INFER_FILES_MAX);
    }
}

/// Notes the partition directories that a file lies in.
///
/// # Errors
/// 22P04 if another file lies in directories of other keys: one of them would lose its values.
fn note_partitions(found: &mut Found, directories: &[String], file: &Path) -> Result<()> {
    let pairs =
        directories.iter().map_while(|directory| partitions::split(directory)).collect::<Vec<_>>();
    let Some(other) = &found.keys_from else {
        found.keys = pairs
            .iter()
            .map(|(key, value)| ((*key).to_owned(), TypeGuess::of(value.as_deref())))
            .collect();
        found.keys_from = Some(file.clone());
        return Ok(());
    };
    let same = pairs.len() == found.keys.len()
        && found.keys.iter().zip(&pairs).all(|((key, _), (other, _))| key == other);
    if !same {
        let (a, b) = if file < other { (file, other) } else { (other, file) };
        return Err(Error::new(
            ErrorKind::BadFileFormat,
            format!("\"{a}\" and \"{b}\" lie in different partition directories"),
        )
        .with_hint(
            "Files of a table lie in key=value directories of the same keys in the same order.",
        ));
    }
    for ((_, guess), (_, value)) in found.keys.iter_mut().zip(&pairs) {
        if let Some(value) = value {
            guess.add(value);
        }
    }
    Ok(())
}

fn nothing_at(path: &Path) -> Error {
    Error::new(
        ErrorKind::RemoteTableNotFound,
        format!("no Parquet, ORC, CSV, JSON or Avro file lies at \"{path}\""),
    )
    .with_detail("Files whose names begin with _ or . and empty files do not count.")
    .with_hint("Check the location: upper and lower case matter. Without STORED AS, names must end in .parquet, .csv, .json or .avro.")
}

fn decide_format(root: &Path, declared: Option<Format>, found: &Found) -> Result<Format> {
    if let Some(declared) = declared {
        return Ok(declared);
    }
    let mut formats = found.formats.values();
    match (formats.next(), formats.next()) {
        (Some((format, _)), None) => Ok(*format),
        (Some((_, a)), Some((_, b))) => Err(Error::new(
            ErrorKind::BadFileFormat,
            format!("\"{root}\" holds files of more than one format: \"{a}\" and \"{b}\""),
        )
        .with_hint("Keep the files of a table in a directory of their own.")),
        (None, _) => Err(nothing_at(root)),
    }
}

fn partition_columns(spec: &LocationTable, found: &Found) -> Result<Vec<Arc<Field>>> {
    let column = |name: &str, data_type: DataType| Arc::new(Field::new(name, data_type, true));
    let declared_type = |name: &str| {
        let schema = spec.columns.as_ref()?;
        let field = schema.fields().iter().find(|field| field.name().eq_ignore_ascii_case(name))?;
        Some(field.data_type().clone())
    };
    let Some(wanted) = &spec.partition_columns else {
        let found = found.keys.iter().map(|(key, guess)| {
            column(key, declared_type(key).unwrap_or_else(|| guess.data_type()))
        });
        return Ok(found.collect());
    };
    let declared = wanted.fields().iter().enumerate();
    declared
        .map(|(index, wanted)| {
            let name = wanted.name();
            let guess = found.keys.get(index);
            if let Some((key, _)) = guess.filter(|(key, _)| !key.eq_ignore_ascii_case(name)) {
                return Err(Error::new(
                    ErrorKind::BadFileFormat,
                    format!(
                        "partition column \"{name}\" is declared where directories say \"{key}=…\""
                    ),
                )
                .with_hint("Declare partition columns in the order of the directories."));
            }
            let data_type = match wanted.data_type() {
                DataType::Null => declared_type(name)
                    .or_else(|| guess.map(|(_, guess)| guess.data_type()))
                    .unwrap_or(DataType::Utf8),
                declared => declared.clone(),
            };
            Ok(column(name, data_type))
        })
        .collect()
}

/// The columns inside the files: a column that is also a partition's is taken from the directory.
async fn file_schema(
    store: &Arc<dyn ObjectStore>,
    spec: &LocationTable,
    files: &[ObjectMeta],
    format: &FileFormatSpec,
    partition_columns: &[Arc<Field>],
) -> Result<SchemaRef> {
    let schema = match &spec.columns {
        Some(columns) => Arc::clone(columns),
        None => infer_schema(store, files, format).await?,
    };
    let is_partition = |field: &Field| {
        partition_columns.iter().any(|column| column.name().eq_ignore_ascii_case(field.name()))
    };
    let fields = schema.fields().iter().filter(|field| !is_partition(field)).cloned();
    Ok(Arc::new(Schema::new(fields.collect::<Vec<_>>())))
}
