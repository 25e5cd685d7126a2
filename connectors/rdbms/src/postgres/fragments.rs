//! Which groups, orders and joins PostgreSQL computes as the engine does.
//!
//! Whole numbers, decimals, dates, times and booleans are equal and ordered alike. Text is where it is compared under `C`, which
//! is said each time its column's own collation is not known to come to the same. Floats are left alone: their zeros and NaNs
//! are ordered otherwise, and their sums depend on the order of rows.

use arrow::datatypes::DataType;
use maru_connect::{Aggregate, AggregateFunction, Computation, Number, SortBy, TableStatistics};

use super::catalog::{PgColumn, Relation, quoted};
use super::types::{Comparison, Kind, Mapping};
use super::unheld::Ends;
use crate::fragments::{Computed, Filtered, Fragments};
use crate::render::exact;

const C_TEXT: Comparison = Comparison::Text { deterministic: true, c_order: true };

impl Relation {
    /// Returns the column so that its values are equal and ordered as the engine has them.
    fn exact(&self, column: &PgColumn, ordered: bool) -> Option<(String, Mapping)> {
        let mapping = column.mapping.clone();
        let as_text = |side: &str| {
            let text = Mapping { kind: Kind::Text, cast: "", comparison: C_TEXT };
            self.utf8.then(|| (format!("{side} COLLATE \"C\""), text))
        };
        match mapping.comparison {
            Comparison::Same if matches!(mapping.kind, Kind::Float4 | Kind::Float8) => None,
            Comparison::Same | Comparison::Uuid => Some((column.quoted.clone(), mapping)),
            Comparison::Text { c_order: true, .. } => Some((column.quoted.clone(), mapping)),
            Comparison::Text { deterministic: true, .. } if !ordered => {
                Some((column.quoted.clone(), mapping))
            }
            Comparison::Text { .. } => as_text(&column.quoted),
            Comparison::Padded { .. } | Comparison::AsText => {
                as_text(&format!("{}::text", column.quoted))
            }
            Comparison::None => None,
        }
    }
}

/// A column that is not one of a table.
fn computed(sql: String, kind: Kind) -> Computed<PgColumn> {
    let column = PgColumn {
        name: String::new(),
        quoted: String::new(),
        number: 0,
        type_oid: 0,
        typmod: -1,
        collation: 0,
        not_null: false,
        mapping: Mapping { kind, cast: "", comparison: Comparison::Same },
    };
    Computed { sql, group: None, column }
}

impl Relation {
    fn number(&self, number: &Number) -> Option<String> {
        Some(match number {
            Number::Column(column) => {
                let column = self.columns.get(*column)?;
                match column.mapping.kind {
                    Kind::Int2 | Kind::Int4 | Kind::Int8 => format!("{}::numeric", column.quoted),
                    Kind::Numeric { .. } => column.quoted.clone(),
                    _ => return None,
                }
            }
            Number::Literal { digits, scale } => {
                format!("({}::numeric)", exact(*digits, *scale))
            }
            Number::Arithmetic { op, left, right } => {
                format!("({} {} {})", self.number(left)?, op.sql(), self.number(right)?)
            }
        })
    }
}

impl Fragments for Relation {
    type Column = PgColumn;

    fn from(&self) -> &str {
        &self.from
    }

    fn columns(&self) -> &[PgColumn] {
        &self.columns
    }

    fn statistics(&self) -> TableStatistics {
        self.statistics
    }

    fn quote(name: &str) -> String {
        quoted(name)
    }

    fn name(column: &PgColumn) -> &str {
        &column.quoted
    }

    fn renamed(column: &PgColumn, name: &str, quoted: String) -> PgColumn {
        PgColumn { name: name.to_owned(), quoted, ..column.clone() }
    }

    /// Text of two collations can be compared only if one is said, and other types that are text in the engine are not text.
    fn equal(&self, column: usize) -> Option<String> {
        let column = self.columns.get(column)?;
        match column.mapping.comparison {
            Comparison::Same if column.mapping.kind == Kind::Oid => None,
            Comparison::Uuid => self.utf8.then(|| format!("{}::text COLLATE \"C\"", column.quoted)),
            Comparison::Text { .. } => {
                self.utf8.then(|| format!("{} COLLATE \"C\"", column.quoted))
            }
            _ => self.exact(column, false).map(|(sql, _)| sql),
        }
    }

    fn key(&self, column: usize) -> Option<Computed<PgColumn>> {
        let column = self.columns.get(column)?;
        let (sql, mapping) = self.exact(column, false)?;
        Some(Computed { sql, group: None, column: PgColumn { mapping, ..column.clone() } })
    }

    fn aggregate(&self, aggregate: &Aggregate, of: &Filtered) -> Option<Computed<PgColumn>> {
        let Some(column) = aggregate.column else {
            return Some(computed(format!("count({})", of.rows()), Kind::Int8));
        };
        let column = self.columns.get(column)?;
        let name = &column.quoted;
        match aggregate.function {
            AggregateFunction::Count => {
                let argument = of.values(&format!("{name}{}", column.mapping.cast));
                Some(computed(format!("count({argument})"), Kind::Int8))
            }
            AggregateFunction::Sum => {
                let kind = match column.mapping.kind {
                    Kind::Int2 | Kind::Int4 => Kind::Int8,
                    Kind::Int8 => Kind::Numeric { precision: 30, scale: 0, declared: true },
                    Kind::Numeric { precision, scale, declared } => {
                        Kind::Numeric { precision: (precision + 10).min(38), scale, declared }
                    }
                    _ => return None,
                };
                Some(computed(format!("sum({})", of.values(name)), kind))
            }
            AggregateFunction::Min | AggregateFunction::Max => {
                // There is no least boolean or UUID.
                if matches!(column.mapping.kind, Kind::Bool | Kind::Uuid) {
                    return None;
                }
                let (side, mapping) = self.exact(column, true)?;
                let sql = format!("{}({})", aggregate.function.sql(), of.values(&side));
                let mut least = computed(sql, mapping.kind);
                least.column.mapping.comparison = mapping.comparison;
                Some(least)
            }
        }
    }

    /// As numerics, which have room for everything on the way.
    fn computation(&self, computation: &Computation) -> Option<Computed<PgColumn>> {
        let number = self.number(&computation.number)?;
        let (sql, kind) = match computation.data_type {
            DataType::Int16 => (format!("({number})::int2"), Kind::Int2),
            DataType::Int32 => (format!("({number})::int4"), Kind::Int4),
            DataType::Int64 => (format!("({number})::int8"), Kind::Int8),
            DataType::Decimal128(precision, scale) => {
                (number, Kind::Numeric { precision, scale, declared: true })
            }
            _ => return None,
        };
        Some(computed(sql, kind))
    }

    fn unique(&self) -> &[Vec<usize>] {
        &self.unique
    }

    fn sound(&self, column: usize) -> Option<String> {
        self.refusal(column, Ends { low: true, high: true })
    }

    fn order(&self, by: &SortBy) -> Option<String> {
        let (side, _) = self.exact(self.columns.get(by.column)?, true)?;
        let direction = if by.descending { "DESC" } else { "ASC" };
        let nulls = if by.nulls_first { "FIRST" } else { "LAST" };
        Some(format!("{side} {direction} NULLS {nulls}"))
    }
}
