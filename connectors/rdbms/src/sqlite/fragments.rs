//! Which groups, orders and joins SQLite computes as the engine does: those of whole numbers and text.
//!
//! A column holds values of any type. A value that is not of the declared one is an error when it is read, and so it is where SQLite
//! computes with it (`held`). Of decimals, dates and times only the engine can tell, so they are not even counted there.

use maru_connect::{Aggregate, AggregateFunction, SortBy, TableStatistics};

use super::described::Certainty;
use super::quoted;
use super::table::{Column, SqliteTable};
use super::types::Mapping;
use crate::fragments::{Computed, Filtered, Fragments};

impl Fragments for SqliteTable {
    type Column = Column;

    fn from(&self) -> &str {
        &self.from
    }

    fn columns(&self) -> &[Column] {
        &self.columns
    }

    fn statistics(&self) -> TableStatistics {
        self.statistics
    }

    fn quote(name: &str) -> String {
        quoted(name)
    }

    fn name(column: &Column) -> &str {
        &column.quoted
    }

    fn renamed(column: &Column, name: &str, quoted: String) -> Column {
        Column { name: name.to_owned(), quoted, ..column.clone() }
    }

    fn equal(&self, column: usize) -> Option<String> {
        let column = self.columns.get(column)?;
        (column.mapping == Mapping::Integer).then(|| column.quoted.clone())
    }

    fn key(&self, column: usize) -> Option<Computed<Column>> {
        let column = self.columns.get(column)?;
        let group = match column.mapping {
            Mapping::Integer => column.quoted.clone(),
            Mapping::Text => format!("{} COLLATE BINARY", column.quoted),
            _ => return None,
        };
        // Keys of other types were refused.
        let key = Column { certainty: Certainty::Proven, ..column.clone() };
        Some(Computed { sql: column.quoted.clone(), group: Some(group), column: key })
    }

    fn aggregate(&self, aggregate: &Aggregate, of: &Filtered) -> Option<Computed<Column>> {
        let computed = |sql: String, mapping: Mapping| {
            let (name, quoted) = (String::new(), String::new());
            let column = Column { name, quoted, mapping, certainty: Certainty::Proven };
            Some(Computed { sql, group: None, column })
        };
        let Some(column) = aggregate.column else {
            return computed(format!("count({})", of.rows()), Mapping::Integer);
        };
        let column = self.columns.get(column)?;
        let name = &column.quoted;
        match (aggregate.function, column.mapping) {
            (
                AggregateFunction::Count,
                Mapping::Decimal(..) | Mapping::Date | Mapping::Timestamp,
            ) => None,
            (AggregateFunction::Count, _) => {
                computed(format!("count({})", of.values(name)), Mapping::Integer)
            }
            // Its own sum is an error beyond 64 bits; the engine's is not.
            (AggregateFunction::Sum, _) => None,
            (function, Mapping::Integer) => {
                let sql = format!("{}({})", function.sql(), of.values(name));
                computed(sql, Mapping::Integer)
            }
            (function, Mapping::Text) => {
                let argument = of.values(&format!("{name} COLLATE BINARY"));
                let sql = format!("{}({argument})", function.sql());
                computed(sql, Mapping::Text)
            }
            _ => None,
        }
    }

    fn sound(&self, column: usize) -> Option<String> {
        self.refusal(self.columns.get(column)?)
    }

    fn order(&self, by: &SortBy) -> Option<String> {
        let column = self.columns.get(by.column)?;
        let side = match column.mapping {
            Mapping::Integer => column.quoted.clone(),
            Mapping::Text => format!("{} COLLATE BINARY", column.quoted),
            _ => return None,
        };
        let direction = if by.descending { "DESC" } else { "ASC" };
        let nulls = if by.nulls_first { "FIRST" } else { "LAST" };
        Some(format!("{side} {direction} NULLS {nulls}"))
    }
}
