//! Tables that are files: what a connector says about them. How they are read stands in `file_table/scan.rs`.

mod believed;
mod calendar;
mod column_names;
mod details;
mod file_error;
mod fitted;
mod fitting;
mod footers;
mod infer;
mod known;
mod label;
mod lengths;
mod metadata_cache;
mod named_source;
mod nan;
mod old_dates;
mod one_nan;
mod orc;
mod parquet;
mod pinned_store;
mod read_ahead;
pub(crate) mod scan;
mod shape;
mod text;
mod type_name;

use std::collections::{HashMap, HashSet};
use std::fmt::Debug;
use std::sync::Arc;

use arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion::common::ScalarValue;
use datafusion::execution::object_store::ObjectStoreUrl;
use futures::future::BoxFuture;
use maru_core::Result;
use object_store::{ObjectMeta, ObjectStore};

use crate::{ColumnEstimate, Predicate};

pub use details::{ColumnBounds, FileDetails};
pub use infer::{check_schema, infer_schema};
pub use label::{PartitionsRead, partitions_read};
pub use lengths::TextLengths;
pub use one_nan::one_nan;
pub use text::read_nested;
pub use type_name::type_name;

/// A table over files of one format in one store.
#[derive(Debug)]
pub struct FileTable {
    /// The catalog, for `EXPLAIN`, metrics and messages.
    pub catalog: String,
    pub store: Arc<dyn ObjectStore>,
    /// The private address of the store, see [`OpenedStore`](crate::OpenedStore).
    pub store_url: ObjectStoreUrl,
    pub format: FileFormatSpec,
    /// The columns inside the files. Parquet, ORC and Avro are read by name: the very name, else the only one that differs in case
    /// alone (Hive knows no case). JSON is read by the very name. A column that a file lacks is NULL.
    pub file_schema: SchemaRef,
    /// Columns whose values come from the path or the metastore, the same for all rows of a file.
    pub partition_columns: Vec<Arc<Field>>,
    pub files: Arc<dyn FileLister>,
}

impl FileTable {
    /// Returns the columns as a user sees them.
    pub fn user_schema(&self) -> SchemaRef {
        let schema = self.table_schema();
        let Some(order) = self.files.column_order() else { return schema };
        let fields = order.iter().filter_map(|index| schema.fields().get(*index).cloned());
        Arc::new(Schema::new(fields.collect::<Vec<_>>()))
    }

    /// Returns file columns and then partition columns.
    pub fn table_schema(&self) -> SchemaRef {
        let mut fields = self.file_schema.fields().to_vec();
        fields.extend(self.partition_columns.iter().cloned());
        Arc::new(Schema::new(fields))
    }

    /// Returns the table as it is where its files have another layout.
    fn laid_out(&self, layout: &FileLayout) -> Self {
        Self {
            catalog: self.catalog.clone(),
            store: Arc::clone(&layout.store),
            store_url: layout.store_url.clone(),
            format: layout.format.clone(),
            file_schema: Arc::clone(&self.file_schema),
            partition_columns: self.partition_columns.clone(),
            files: Arc::clone(&self.files),
        }
    }
}

/// How the bytes are laid out.
#[derive(Debug, Clone, PartialEq)]
pub enum FileFormatSpec {
    Parquet,
    /// Apache ORC 0.11 and 0.12.
    Orc,
    /// Delimited text as RFC 4180 has it; also Hive's text format with its own delimiter, escape and NULL mark.
    Csv {
        has_header: bool,
        delimiter: u8,
        /// `None`: a quote is a character like any other (Hive's LazySimpleSerDe).
        quote: Option<u8>,
        /// Takes away the meaning of the character after it. Without a quote it does so anywhere in a line, and then,
        /// as Hive has it, an escaped `n` and `r` are a line feed and a carriage return.
        escape: Option<u8>,
        /// The text that stands for NULL, besides the empty field of a column that is not text.
        null: Option<String>,
        /// Hive fills columns that a line lacks with NULL and drops fields it has too many; CSV proper refuses both.
        lenient: bool,
    },
    /// One JSON object per line.
    Json,
    /// Object container files; the codec stands in each file.
    Avro,
    /// The same; dates and times as Hive writes them, whose calendar stands in the head of each file.
    HiveAvro,
    /// Hive's default text: no quotes, and nested values by further delimiters. A value that does not fit is NULL.
    LazyText(LazyText),
    /// One JSON object per line as Hive reads it: names without regard to case, values of the columns' types.
    HiveJson {
        /// A number with a fraction in a column of text is given as it is written; else it is refused.
        raw_fractions: bool,
    },
    /// Lines that a pattern of Java's matches whole, each column a group of it. A line that does not match is NULL.
    Pattern {
        pattern: String,
        ignore_case: bool,
    },
    /// Text whose first and last lines are no rows, in each file.
    Trimmed {
        header: usize,
        footer: usize,
        rows: Box<FileFormatSpec>,
    },
}

/// The delimiters of Hive's text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LazyText {
    /// One for each level: between columns, between items, between keys and values, and so on inwards.
    pub separators: Vec<u8>,
    /// Columns that the files have; those behind them are NULL whatever a line holds.
    pub n_columns: Option<usize>,
    /// Takes away the meaning of the byte after it.
    pub escape: Option<u8>,
    /// What stands for NULL, as it is in the file.
    pub null: String,
}

/// Returns whether a pattern of Java's can be followed.
///
/// # Errors
/// 0A000 with what cannot.
pub fn check_pattern(pattern: &str, ignore_case: bool) -> Result<()> {
    text::hive::compile_pattern(pattern, ignore_case).map(|_| ())
}

/// One file and the values of its partition columns.
#[derive(Debug, Clone)]
pub struct FileEntry {
    pub meta: ObjectMeta,
    /// One value per partition column, of the column's type.
    pub partition_values: Vec<ScalarValue>,
    /// What the table's own log tells of the file, if it keeps one.
    pub details: Option<Arc<FileDetails>>,
    /// Where and how it lies, if otherwise than the table.
    pub layout: Option<Arc<FileLayout>>,
    /// How many rows it may have, for the order of joins; never used to answer.
    pub n_rows: Option<usize>,
}

impl FileEntry {
    /// Returns a file that lies as its table does, and of which nothing else is known.
    pub fn new(meta: ObjectMeta, partition_values: Vec<ScalarValue>) -> Self {
        Self { meta, partition_values, details: None, layout: None, n_rows: None }
    }
}

/// A store and a format: what files of one table may have different (Hive's partitions).
#[derive(Debug, Clone)]
pub struct FileLayout {
    pub store: Arc<dyn ObjectStore>,
    pub store_url: ObjectStoreUrl,
    pub format: FileFormatSpec,
}

impl FileLayout {
    /// Returns whether files of both may be read in one scan.
    fn is_like(&self, other: &Self) -> bool {
        self.store_url == other.store_url && self.format == other.format
    }
}

/// Finds the files of a table.
pub trait FileLister: Send + Sync + Debug {
    /// Lists the files whose partition values may satisfy all of `filters`. Column indexes of the filters count in
    /// [`FileTable::partition_columns`]. Hidden files (`_…`, `.…`) and empty files are left out.
    ///
    /// # Cancel
    /// Dropping the future stops the listing, also in the middle of a million files.
    fn list<'a>(&'a self, filters: &'a [Predicate]) -> BoxFuture<'a, Result<Vec<FileEntry>>>;

    /// As [`FileLister::list`], for the statement with this number ([`QueryContext`](crate::QueryContext)): a table with
    /// versions gives all scans of a statement the files of one.
    fn list_in<'a>(
        &'a self,
        statement: u64,
        filters: &'a [Predicate],
    ) -> BoxFuture<'a, Result<Vec<FileEntry>>> {
        let _ = statement;
        self.list(filters)
    }

    /// Returns which version of the table [`FileLister::list_in`] gives the statement, for `EXPLAIN`; `None` if it has none.
    fn version_in(&self, statement: u64) -> BoxFuture<'_, Option<u64>> {
        let _ = statement;
        Box::pin(std::future::ready(None))
    }

    /// Returns how many partitions the table has by what [`FileLister::list_in`] gives the statement without filters; `None` if
    /// that would take a listing of too many. Asked for `EXPLAIN` alone.
    fn n_partitions(&self, statement: u64) -> BoxFuture<'_, Option<usize>> {
        let _ = statement;
        Box::pin(std::future::ready(None))
    }

    /// Returns what is believed of the columns, one for each of [`FileTable::table_schema`]; `None` if nothing is. Asked when a
    /// scan is planned, after the list of files, so an answer is to be kept with the table; an error counts as `None`.
    fn column_estimates(&self) -> BoxFuture<'_, Option<Arc<Vec<ColumnEstimate>>>> {
        Box::pin(std::future::ready(None))
    }

    /// Returns whether the table has other columns by now, so that it must be opened again.
    fn changed(&self) -> BoxFuture<'_, Result<bool>> {
        Box::pin(std::future::ready(Ok(false)))
    }

    /// Returns the columns in the order of the user's, as indexes into [`FileTable::table_schema`]; `None` if it is the same.
    fn column_order(&self) -> Option<Vec<usize>> {
        None
    }

    /// Returns the columns that those who write the table keep free of NULL. They are told to whoever asks for the columns; plans
    /// do not rest on them, for files are read as they are.
    fn not_null(&self) -> HashSet<String> {
        HashSet::new()
    }

    /// Returns the columns whose texts were declared with a length, each with its type in the words of the source. There such a
    /// text may be another one than the files hold: filled up with spaces, or cut off.
    fn declared_lengths(&self) -> Vec<(String, String)> {
        Vec::new()
    }

    /// Returns the columns whose texts are brought to a length as they are read; `None` if there are none.
    fn text_lengths(&self) -> Option<Arc<TextLengths>> {
        None
    }

    /// Returns the conditions that rows are checked against before they are written, by name.
    fn checks(&self) -> Vec<(String, String)> {
        Vec::new()
    }

    /// Returns what columns hold where a row that is written is given no value for them.
    fn defaults(&self) -> Vec<(String, String)> {
        Vec::new()
    }

    /// Returns what the files call each column, where a column's name is not the one in the files; then no other name in
    /// a file counts.
    fn names_in_files(&self) -> Option<Arc<HashMap<String, String>>> {
        None
    }
}
