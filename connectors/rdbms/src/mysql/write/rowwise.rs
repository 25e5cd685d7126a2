//! Rows changed one by one: how they are found again, and the SQL that changes them.
//!
//! A row is found by a unique key without NULLs, and is the same as when it was read if a hash of all its columns is.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema};
use maru_connect::{ColumnEstimate, RowIdentity};

use super::target::{Column, Target, list};
use crate::mysql::catalog::{MyColumn, Relation, quoted};
use crate::mysql::types::{Comparison, Kind, Mapping, Selected};
use crate::write::{is_defaulted, is_given};

/// What the columns before a table's own are called.
const KEY: &str = "maru_key_";
const ROW: &str = "maru_row";

const PLAIN_TEXT: Mapping =
    Mapping { kind: Kind::Text, selected: Selected::Plain, comparison: Comparison::None };

/// Returns a hash of all columns of a row, each of them quoted so that no two rows look alike.
fn hash<'a>(alias: &str, names: impl Iterator<Item = &'a str>) -> String {
    let values = names.map(|name| format!("QUOTE({alias}{name})")).collect::<Vec<_>>();
    format!("SHA2(CONCAT_WS(',', {}), 256)", values.join(", "))
}

impl Relation {
    /// Returns the table with a key and a hash of its rows before its own columns.
    pub fn with_key(&self) -> Option<(RowIdentity, Self)> {
        let key = self.row_key()?;
        let ours = |field: &Arc<Field>| field.name().starts_with("maru_");
        if self.schema.fields().iter().any(ours) {
            return None;
        }
        let mut columns = Vec::new();
        let mut fields = Vec::new();
        for (number, index) in key.iter().enumerate() {
            let column = self.columns.get(*index)?;
            let data_type = column.mapping.kind.arrow();
            fields.push(Arc::new(Field::new(format!("{KEY}{number}"), data_type, false)));
            columns.push(column.clone());
        }
        let all = self.columns.iter().map(|column| column.quoted.as_str());
        fields.push(Arc::new(Field::new(ROW, DataType::Utf8, true)));
        columns.push(MyColumn { quoted: hash("", all), nullable: true, mapping: PLAIN_TEXT });
        let shift = columns.len();
        let identity = Arc::new(Schema::new(fields.clone()));
        columns.extend(self.columns.iter().cloned());
        fields.extend(self.schema.fields().iter().cloned());
        let mut estimates = vec![ColumnEstimate::default(); shift];
        estimates.extend(self.estimates.iter().cloned());
        let shifted = |key: &Vec<usize>| key.iter().map(|column| column + shift).collect();
        let relation = Self {
            columns,
            unique: self.unique.iter().map(shifted).collect(),
            schema: Arc::new(Schema::new(fields)),
            estimates,
            ..self.clone()
        };
        Some((RowIdentity { columns: identity }, relation))
    }
}

/// The statements that carry changes out.
pub(super) struct Changes {
    /// A row if one is to be changed twice.
    pub twice: String,
    /// The rows that are to be changed, and those of them that are still what they were, which it locks.
    pub wanted: String,
    pub found: String,
    /// The rows that would set what the table computes itself.
    pub miscomputed: Option<String>,
    pub statements: Vec<String>,
}

impl Target {
    /// Returns the columns that come before the table's own.
    pub fn leading(&self) -> Vec<Column> {
        let mut leading = self.key.clone();
        let more = |name: &str, kind| Column {
            name: name.to_owned(),
            sql_type: String::new(),
            mapping: Mapping { kind, ..PLAIN_TEXT },
            places: 6,
            is_computed: false,
        };
        leading.push(more(ROW, Kind::Text));
        leading.push(more("op", Kind::Int2 { unsigned: false }));
        leading
    }

    /// Returns these columns as the staging table has them.
    pub fn leading_names(&self) -> Vec<(String, Mapping)> {
        let key = self.key.iter().enumerate();
        let mut names =
            key.map(|(number, column)| (format!("k_{number}"), column.mapping)).collect::<Vec<_>>();
        names.push(("place".to_owned(), PLAIN_TEXT));
        let op = Kind::Int2 { unsigned: false };
        names.push(("op".to_owned(), Mapping { kind: op, ..PLAIN_TEXT }));
        names
    }

    /// Returns the statement that makes a staging table for changes.
    pub fn stage_changes(&self, stage: &str) -> String {
        let keys = self.key.iter().enumerate();
        let mut parts = keys
            .map(|(number, column)| format!("k_{number} {} NULL", column.sql_type))
            .collect::<Vec<_>>();
        parts.push("place VARCHAR(64) CHARACTER SET utf8mb4 NULL".to_owned());
        parts.push("op TINYINT NOT NULL".to_owned());
        let own = self.columns.iter().enumerate();
        parts.extend(own.map(|(number, column)| format!("c_{number} {} NULL", column.sql_type)));
        let parts = parts.join(", ");
        format!("CREATE TEMPORARY TABLE {} ({parts}) ENGINE = InnoDB", self.beside(stage))
    }

    /// Returns what carries the staged changes out. Rows are inserted with the columns that they are given values for.
    pub fn changes(&self, stage: &str, given: &Schema) -> Changes {
        let (table, staged) = (self.quoted(), self.beside(stage));
        let on = self.key.iter().enumerate();
        let on = on.map(|(number, column)| format!("t.{} = s.k_{number}", quoted(&column.name)));
        let on = on.collect::<Vec<_>>().join(" AND ");
        let keys = (0..self.key.len()).map(|number| format!("k_{number}"));
        let keys = keys.collect::<Vec<_>>().join(", ");
        let all = self.all.iter().map(|name| quoted(name)).collect::<Vec<_>>();
        let same = format!("{} = s.place", hash("t.", all.iter().map(String::as_str)));
        let mut set = Vec::new();
        let (mut names, mut values) = (Vec::new(), Vec::new());
        let (mut updated, mut inserted) = (Vec::new(), Vec::new());
        for (number, column) in self.columns.iter().enumerate() {
            let name = quoted(&column.name);
            let defaulted = is_defaulted(given, &column.name);
            if defaulted {
                set.push(format!("t.{name} = DEFAULT"));
            }
            if column.is_computed {
                updated.push(format!("NOT (t.{name} <=> s.c_{number})"));
                inserted.push(format!("s.c_{number} IS NOT NULL"));
            } else {
                if !defaulted {
                    set.push(format!("t.{name} = s.c_{number}"));
                }
                if is_given(given, &column.name) {
                    names.push(column.name.clone());
                    values.push(format!("s.c_{number}"));
                }
            }
        }
        let miscomputed = (!updated.is_empty()).then(|| {
            format!(
                "SELECT COUNT(*) FROM {staged} s LEFT JOIN {table} t ON {on} \
                 WHERE (s.op = 1 AND ({})) OR (s.op = 0 AND ({}))",
                updated.join(" OR "),
                inserted.join(" OR ")
            )
        });
        let mut statements =
            vec![format!("DELETE t FROM {table} t JOIN {staged} s ON {on} WHERE s.op = 2")];
        if !set.is_empty() {
            let set = set.join(", ");
            statements
                .push(format!("UPDATE {table} t JOIN {staged} s ON {on} SET {set} WHERE s.op = 1"));
            statements.push(format!(
                "INSERT INTO {table} ({}) SELECT {} FROM {staged} s WHERE s.op = 0",
                list(&names),
                values.join(", ")
            ));
        }
        Changes {
            twice: format!(
                "SELECT 1 FROM {staged} WHERE op <> 0 GROUP BY {keys} HAVING COUNT(*) > 1 LIMIT 1"
            ),
            wanted: format!("SELECT COUNT(*) FROM {staged} WHERE op <> 0"),
            found: format!(
                "SELECT COUNT(*) FROM {table} t JOIN {staged} s ON {on} WHERE s.op <> 0 AND {same} FOR UPDATE"
            ),
            miscomputed,
            statements,
        }
    }
}
