//! A table of a database file, and what is asked of it.

use std::any::Any;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use maru_connect::{
    BatchStream, ColumnEstimate, CompareOp, Join, Predicate, RemoteTable, RowIdentity, ScanRequest,
    Step, TableStatistics,
};
use maru_core::{Result, quote_literal};

use super::described::{Certainty, Described};
use super::file::File;
use super::types::Mapping;
use crate::fragments::{Derived, Fragments};
use crate::outdated::Outdated;
use crate::render::{Conditions, columns, integer_of, negation, text_of};
use crate::stream::produced;

/// A column as SQLite and as the engine know it.
#[derive(Debug, Clone)]
pub(super) struct Column {
    pub(super) name: String,
    /// As [`super::named`] writes it.
    pub(super) quoted: String,
    pub(super) mapping: Mapping,
    pub(super) certainty: Certainty,
}

/// A table or view that is read, and what [`super::described::description`] said of it.
#[derive(Debug, Clone)]
pub(super) struct Base {
    pub(super) name: String,
    pub(super) described: Vec<Described>,
}

#[derive(Debug)]
pub(super) struct SqliteTable {
    pub(super) file: File,
    /// For messages.
    pub(super) name: String,
    /// What must still be as it was described when rows are read; none below a query in SQLite's own words.
    pub(super) bases: Vec<Base>,
    pub(super) outdated: Outdated,
    /// What stands in FROM.
    pub(super) from: String,
    /// Sets of columns in which rows differ.
    pub(super) unique: Vec<Vec<usize>>,
    pub(super) columns: Arc<Vec<Column>>,
    pub(super) schema: SchemaRef,
    pub(super) statistics: TableStatistics,
    /// What is believed of the columns; may be shorter than they are.
    pub(super) estimates: Vec<ColumnEstimate>,
    /// Whether its rows have numbers.
    pub(super) has_row_id: bool,
}

impl SqliteTable {
    fn over(
        &self,
        derived: Derived<Column>,
        bases: Vec<Base>,
        outdated: Outdated,
    ) -> Arc<dyn RemoteTable> {
        Arc::new(Self {
            file: self.file.clone(),
            name: self.name.clone(),
            bases,
            outdated,
            from: derived.from,
            unique: derived.unique,
            columns: Arc::new(derived.columns),
            schema: derived.schema,
            statistics: derived.statistics,
            estimates: Vec::new(),
            has_row_id: false,
        })
    }

    /// Returns the table with the place of its rows before its own columns: their number, and all values as SQLite quotes them.
    fn with_place(&self) -> Option<(RowIdentity, Self)> {
        let ours = |column: &Column| {
            ["maru_row", "_rowid_"].contains(&column.name.to_lowercase().as_str())
        };
        if !self.has_row_id || self.columns.iter().any(ours) {
            return None;
        }
        let place = Field::new("maru_row", DataType::Utf8, false);
        let names = self.columns.iter().map(|column| column.quoted.as_str());
        let column = Column {
            name: "maru_row".to_owned(),
            quoted: super::write::place("", names),
            mapping: Mapping::Text,
            certainty: Certainty::Proven,
        };
        let columns = [column].into_iter().chain(self.columns.iter().cloned()).collect();
        let fields =
            [Arc::new(place.clone())].into_iter().chain(self.schema.fields().iter().cloned());
        let shifted = |key: &Vec<usize>| key.iter().map(|column| column + 1).collect();
        let table = Self {
            file: self.file.clone(),
            name: self.name.clone(),
            bases: self.bases.clone(),
            outdated: self.outdated.clone(),
            from: self.from.clone(),
            unique: self.unique.iter().map(shifted).collect(),
            columns: Arc::new(columns),
            schema: Arc::new(Schema::new(fields.collect::<Vec<_>>())),
            statistics: self.statistics,
            estimates: Vec::new(),
            has_row_id: false,
        };
        Some((RowIdentity { columns: Arc::new(Schema::new(vec![place])) }, table))
    }

    fn select(&self, request: &ScanRequest) -> Result<String> {
        let mut columns =
            columns(&self.columns, request, |column| column.mapping.selected(&column.quoted))?;
        if columns.is_empty() {
            // Rows are counted here: nothing travels.
            columns.push("1".to_owned());
        }
        Conditions::select(self, &self.from, &columns, request)
    }
}

impl RemoteTable for SqliteTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn statistics(&self) -> TableStatistics {
        self.statistics
    }

    fn column_estimate(&self, column: usize) -> ColumnEstimate {
        self.estimates.get(column).cloned().unwrap_or_default()
    }

    fn supports(&self, predicate: &Predicate) -> bool {
        self.condition(predicate).is_some()
    }

    fn with_row_identity(&self) -> Option<(RowIdentity, Arc<dyn RemoteTable>)> {
        let (identity, table) = self.with_place()?;
        Some((identity, Arc::new(table)))
    }

    fn unique_keys(&self) -> &[Vec<usize>] {
        &self.unique
    }

    fn derive(&self, input: &ScanRequest, step: &Step) -> Option<Arc<dyn RemoteTable>> {
        let derived = self.derived(&self.schema, input, step)?;
        Some(self.over(derived, self.bases.clone(), self.outdated.clone()))
    }

    fn join(
        &self,
        input: &ScanRequest,
        other: &dyn RemoteTable,
        other_input: &ScanRequest,
        join: &Join,
    ) -> Option<Arc<dyn RemoteTable>> {
        let other = (other as &dyn Any).downcast_ref::<Self>()?;
        if !Arc::ptr_eq(&self.file.closed, &other.file.closed) {
            return None;
        }
        // A row that is not looked up by a key is looked for in the whole table, again and again.
        let rights = join.on.iter().map(|(_, right)| *right).collect::<Vec<_>>();
        let is_key = |key: &Vec<usize>| key.iter().all(|column| rights.contains(column));
        if join.kind.keeps_left_only() && !other.unique.iter().any(is_key) {
            return None;
        }
        let schemas = (&self.schema, &other.schema);
        let derived = self.derived_join(schemas, input, other, other_input, join)?;
        let bases = self.bases.iter().chain(&other.bases).cloned().collect();
        Some(self.over(derived, bases, self.outdated.and(&other.outdated)))
    }

    fn is_outdated(&self) -> bool {
        self.outdated.is_set()
    }

    fn describe(&self, request: &ScanRequest) -> String {
        self.select(request).unwrap_or_else(|error| error.message())
    }

    fn read(&self, request: ScanRequest) -> BatchStream {
        let task = self.select(&request).and_then(|sql| {
            Ok(super::read::Read {
                sql,
                schema: request.projected(&self.schema)?,
                columns: Arc::clone(&self.columns),
                projection: request.projection,
                batch_rows: request.batch_rows.max(1),
                table: self.name.clone(),
                bases: self.bases.clone(),
                file: self.file.clone(),
            })
        });
        let outdated = self.outdated.clone();
        produced(move |sink| outdated.learn(async move { task?.run(sink).await }))
    }
}

/// Whole numbers compare alike everywhere. Text is compared byte by byte, whatever collation the column has. A value of another
/// type that satisfies a condition makes SQLite refuse the statement (`held`), as the engine would refuse the value. Values
/// that the engine reads out of text (dates, times, decimals) and floats stay in the engine.
impl Conditions for SqliteTable {
    fn compare(
        &self,
        column: usize,
        op: CompareOp,
        value: &datafusion::common::ScalarValue,
    ) -> Option<String> {
        let column = self.columns.get(column)?;
        let condition = format!("{} {} {}", column.quoted, op.sql(), literal(column, value)?);
        Some(self.guarded(column, condition, op == CompareOp::Eq))
    }

    fn within(
        &self,
        column: usize,
        values: &[datafusion::common::ScalarValue],
        negated: bool,
    ) -> Option<String> {
        let column = self.columns.get(column)?;
        // IN takes the collation of its left side, so that is where it is said.
        let side = match column.mapping {
            Mapping::Text => format!("{} COLLATE BINARY", column.quoted),
            _ => column.quoted.clone(),
        };
        let list = values
            .iter()
            .map(|value| plain_literal(column, value))
            .collect::<Option<Vec<_>>>()?
            .join(", ");
        let condition = format!("{side} {}IN ({list})", if negated { "NOT " } else { "" });
        Some(self.guarded(column, condition, !negated))
    }

    fn like(&self, _: usize, _: &str, _: bool) -> Option<String> {
        None
    }

    fn is_null(&self, column: usize, negated: bool) -> Option<String> {
        let column = self.columns.get(column)?;
        Some(format!("{} IS {}NULL", column.quoted, if negated { "NOT " } else { "" }))
    }

    /// Without `NOT`, so that the values which satisfy it are those that are looked at.
    fn not(&self, inner: &Predicate) -> Option<String> {
        self.condition(&negation(inner))
    }
}

fn literal(column: &Column, value: &datafusion::common::ScalarValue) -> Option<String> {
    let text = plain_literal(column, value)?;
    Some(match column.mapping {
        Mapping::Text => format!("{text} COLLATE BINARY"),
        _ => text,
    })
}

fn plain_literal(column: &Column, value: &datafusion::common::ScalarValue) -> Option<String> {
    match column.mapping {
        Mapping::Integer => integer_of(value).map(|number| number.to_string()),
        Mapping::Text => {
            let text = text_of(value)?;
            // A NUL ends SQLite's statement text.
            (!text.contains('\0')).then(|| quote_literal(text))
        }
        _ => None,
    }
}
