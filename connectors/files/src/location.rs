//! A table out of a place: a file, or a directory with files, possibly below `key=value` directories.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use futures::{StreamExt, TryStreamExt, stream};
use maru_connect::{
    FileFormatSpec, FileLister, FileTable, LENGTH_KEY, OpenedStore, SourceTable, TableVersion,
    TextLengths, check_schema, in_place, infer_schema, root_of,
};
use maru_core::{Error, ErrorKind, Options, Result};
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt};

use crate::delta;
use crate::formats::{Format, is_hidden, refuse_packed};
use crate::glob::Glob;
use crate::lister::{DirectoryFiles, OneFile};
use crate::partitions::{self, TypeGuess};
use crate::sample::Sample;
use crate::seen::{Met, Seen};

pub use crate::options::LOCATION_OPTIONS;

/// Objects that a look at a place lists one after the other; where there are more, directories are looked into instead.
const LOOK_OBJECTS_MAX: usize = if cfg!(test) { 100 } else { 20_000 };

/// Directories of one level that such a look opens.
const LOOK_DIRECTORIES_MAX: usize = if cfg!(test) { 8 } else { 64 };

/// Directories listed at once.
const CONCURRENT_LISTINGS: usize = 16;

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
    /// Whether columns that are found in files of text, and in the names of their directories, are text, for one who reads the values
    /// by types of his own. Arrays and objects of JSON are given as they are written.
    pub as_written: bool,
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
    let (root, path) = (root_of(&store.url), store.path.clone());
    let opened = Box::pin(open(catalog, store, spec)).await;
    opened.map_err(|error| in_place(error, &root, &path))
}

async fn open(catalog: &str, store: OpenedStore, spec: LocationTable) -> Result<SourceTable> {
    if let Some(table) = delta_table(catalog, &store, &spec).await? {
        return Ok(table);
    }
    let Laid { found, declared, format, spec: format_spec, pattern } =
        laid(&store, &spec, is_known(&spec)).await?;
    let mut partition_columns = partition_columns(&spec, &found)?;
    if spec.as_written {
        partition_columns = as_written(&partition_columns, &format_spec);
    }
    let file_schema =
        file_schema(&store.store, &spec, &found.files, &format_spec, &partition_columns).await?;
    // Columns that are declared stay what they are.
    let seen = match &spec.columns {
        Some(_) => None,
        None => Seen::new(found.met, &store.store, &format_spec, &file_schema, &partition_columns),
    };
    let lengths = text_lengths(&spec, &file_schema, &partition_columns);
    let file_schema = if lengths.is_some() { without_lengths(&file_schema) } else { file_schema };
    let place = root_of(&store.url);
    let files: Arc<dyn FileLister> = if found.single {
        let (store, path) = (Arc::clone(&store.store), store.path.clone());
        Arc::new(OneFile { store, path, place, lengths, seen })
    } else {
        Arc::new(DirectoryFiles {
            store: Arc::clone(&store.store),
            root: store.path.clone(),
            place,
            partition_columns: partition_columns.clone(),
            declared,
            only: declared.is_none().then_some(format),
            pattern,
            lengths,
            seen,
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

/// Holds the declared columns of a table against the files that lie at `store.path`, and returns those that no file
/// looked at has: they are NULL in every row.
///
/// # Errors
/// 42804 for a column whose type in a file cannot become the declared one, 22P04 for a header that names another
/// column; else those of [`open_location_table`].
///
/// # Cancel
/// Dropping the future stops the listing and the reading.
pub async fn check_location_table(
    store: &OpenedStore,
    spec: &LocationTable,
) -> Result<Vec<String>> {
    let checked = Box::pin(check(store, spec)).await;
    checked.map_err(|error| in_place(error, &root_of(&store.url), &store.path))
}

async fn check(store: &OpenedStore, spec: &LocationTable) -> Result<Vec<String>> {
    let Some(columns) = &spec.columns else { return Ok(Vec::new()) };
    let laid = laid(store, spec, false).await?;
    let partition_columns = partition_columns(spec, &laid.found)?;
    let schema = without(columns, &partition_columns);
    check_schema(&store.store, &laid.found.files, &laid.spec, &schema).await
}

/// What lies at a place, and in which format.
struct Laid {
    found: Found,
    declared: Option<Format>,
    format: Format,
    spec: FileFormatSpec,
    pattern: Option<Glob>,
}

/// Returns whether the files need not tell anything.
fn is_known(spec: &LocationTable) -> bool {
    let typed =
        |schema: &SchemaRef| schema.fields().iter().all(|field| !field.data_type().is_null());
    !spec.format.is_empty()
        && spec.columns.is_some()
        && spec.partition_columns.as_ref().is_some_and(typed)
}

async fn laid(store: &OpenedStore, spec: &LocationTable, first_only: bool) -> Result<Laid> {
    let declared = (!spec.format.is_empty()).then(|| Format::of_word(&spec.format)).transpose()?;
    let given = spec.options.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let options = Options::check("an external table", LOCATION_OPTIONS, given)?;
    let pattern = spec.pattern.as_deref().map(|text| Glob::new(&store.path, text)).transpose()?;
    let single = if pattern.is_none() { single_file(store).await? } else { None };
    let found = match single {
        Some(meta) => {
            refuse_packed(&meta.location, declared)?;
            Found::one(meta)
        }
        None => look(&store.store, &store.path, declared, pattern.as_ref(), first_only).await?,
    };
    let format = decide_format(&store.path, declared, &found)?;
    let example = &found.files.first().ok_or_else(|| nothing_at(&store.path))?.location;
    let spec = format.spec(&options, example)?;
    Ok(Laid { found, declared, format, spec, pattern })
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
    /// A sample in order of their names, to infer from.
    files: Vec<ObjectMeta>,
    /// Formats that names say, each with the first file of it.
    formats: BTreeMap<&'static str, (Format, Path)>,
    /// Keys of partition directories in order, with what their values allow.
    keys: Vec<(String, TypeGuess)>,
    /// The file that `keys` were taken from.
    keys_from: Option<Path>,
    single: bool,
    /// All that count.
    met: Met,
}

impl Found {
    fn one(meta: ObjectMeta) -> Self {
        let mut found = Self { single: true, ..Self::default() };
        found.note_format(&meta.location);
        found.met.add(&meta);
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

/// Looks at a place, keeping only what inference needs; at its first file alone where nothing has to be inferred.
async fn look(
    store: &Arc<dyn ObjectStore>,
    root: &Path,
    declared: Option<Format>,
    pattern: Option<&Glob>,
    first_only: bool,
) -> Result<Found> {
    let mut look =
        Look { root, declared, pattern, found: Found::default(), sample: Sample::default() };
    let mut listed = store.list(Some(root));
    let (mut n_listed, mut nested) = (0, false);
    while let Some(meta) = listed.try_next().await? {
        n_listed += 1;
        nested |= meta.location.parts_count() > root.parts_count() + 1;
        let counts = look.note(meta)?;
        if counts && first_only {
            break;
        }
        if n_listed >= LOOK_OBJECTS_MAX && nested && pattern.is_none() {
            look.by_directories(store).await?;
            break;
        }
    }
    look.found.files = look.sample.files();
    Ok(look.found)
}

/// A look that is under way.
struct Look<'a> {
    root: &'a Path,
    declared: Option<Format>,
    pattern: Option<&'a Glob>,
    found: Found,
    sample: Sample,
}

impl Look<'_> {
    /// Takes notice of a file; returns whether it counts.
    fn note(&mut self, meta: ObjectMeta) -> Result<bool> {
        let Some(parts) = meta.location.prefix_match(self.root) else { return Ok(false) };
        let parts = parts.map(|part| part.as_ref().to_owned()).collect::<Vec<_>>();
        if meta.size == 0 || parts.iter().any(|part| is_hidden(part)) {
            return Ok(false);
        }
        if self.pattern.is_some_and(|pattern| !pattern.matches(&meta.location)) {
            return Ok(false);
        }
        refuse_packed(&meta.location, self.declared)?;
        if self.found.note_format(&meta.location).is_none() && self.declared.is_none() {
            return Ok(false);
        }
        let directories = parts.split_last().map_or(&[][..], |(_, directories)| directories);
        note_partitions(&mut self.found, directories, &meta.location)?;
        self.found.met.add(&meta);
        self.sample.add(meta);
        Ok(true)
    }

    /// Looks into the first and last directories of each level: a place may have more objects than can be listed for a
    /// look. All values of the first key are seen, of further keys those in the directories looked into.
    async fn by_directories(&mut self, store: &Arc<dyn ObjectStore>) -> Result<()> {
        let mut level = vec![self.root.clone()];
        while !level.is_empty() {
            let listed = stream::iter(level)
                .map(|directory| async move { store.list_with_delimiter(Some(&directory)).await })
                .boxed()
                .buffered(CONCURRENT_LISTINGS)
                .try_collect::<Vec<_>>()
                .await?;
            let mut below = Vec::new();
            for listing in listed {
                for meta in listing.objects {
                    self.note(meta)?;
                }
                let visible = |path: &Path| path.filename().is_some_and(|name| !is_hidden(name));
                below.extend(listing.common_prefixes.into_iter().filter(visible));
            }
            for directory in &below {
                self.note_value(directory);
            }
            below.sort();
            if below.len() > LOOK_DIRECTORIES_MAX {
                let half = LOOK_DIRECTORIES_MAX / 2;
                below.drain(half..below.len() - half);
            }
            level = below;
        }
        Ok(())
    }

    fn note_value(&mut self, directory: &Path) {
        let depth = directory.parts_count().saturating_sub(self.root.parts_count() + 1);
        let value = directory.filename().and_then(partitions::split);
        if let (Some((key, Some(value))), Some((known, guess))) =
            (value, self.found.keys.get_mut(depth))
            && key == known
        {
            guess.add(&value);
        }
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
    .with_hint("Check the location: upper and lower case matter. Without STORED AS, names must end in .parquet, .orc, .avro, .csv or .json.")
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
        None => {
            let found = infer_schema(store, files, format).await?;
            match spec.as_written {
                true => Arc::new(Schema::new(as_written(found.fields(), format))),
                false => found,
            }
        }
    };
    Ok(without(&schema, partition_columns))
}

/// Returns the lengths that columns are declared with, by the table's names for them.
fn text_lengths(
    spec: &LocationTable,
    file_schema: &Schema,
    partition_columns: &[Arc<Field>],
) -> Option<Arc<TextLengths>> {
    let declared = [&spec.partition_columns, &spec.columns].into_iter().flatten();
    let declared = declared.flat_map(|schema| schema.fields()).collect::<Vec<_>>();
    let of_partitions = partition_columns.iter().filter_map(|column| {
        let named = |field: &&&Arc<Field>| field.name().eq_ignore_ascii_case(column.name());
        let has_length = |field: &&&Arc<Field>| field.metadata().contains_key(LENGTH_KEY);
        let field: &Field = declared.iter().filter(named).find(has_length)?;
        Some((column.name().as_str(), field))
    });
    // What a file itself says of its columns is not declared.
    let in_files = file_schema.fields().iter().filter(|_| spec.columns.is_some());
    let in_files = in_files.map(|field| (field.name().as_str(), field.as_ref()));
    TextLengths::of(in_files.chain(of_partitions))
}

/// Leaves the lengths to those who read: what is made of the columns has none.
fn without_lengths(schema: &Schema) -> SchemaRef {
    let fields = schema.fields().iter().map(|field| {
        let mut field = Field::clone(field);
        field.metadata_mut().remove(LENGTH_KEY);
        field
    });
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

/// Makes columns of text of those that are found in text.
fn as_written(columns: &[Arc<Field>], format: &FileFormatSpec) -> Vec<Arc<Field>> {
    let is_text = matches!(format, FileFormatSpec::Csv { .. } | FileFormatSpec::Json);
    if !is_text {
        return columns.to_vec();
    }
    let column =
        |column: &Arc<Field>| Arc::new(Field::clone(column).with_data_type(DataType::Utf8));
    columns.iter().map(column).collect()
}

/// Leaves out the columns that are partitions'.
fn without(schema: &Schema, partition_columns: &[Arc<Field>]) -> SchemaRef {
    let is_partition = |field: &Field| {
        partition_columns.iter().any(|column| column.name().eq_ignore_ascii_case(field.name()))
    };
    let fields = schema.fields().iter().filter(|field| !is_partition(field)).cloned();
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}
