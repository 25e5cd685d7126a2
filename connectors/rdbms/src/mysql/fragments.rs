//! Which groups, orders and joins MySQL computes as the engine does.
//!
//! Text is grouped and ordered as the bytes of its UTF-8. It is not joined here: bytes have no index, and without one a join
//! reads one table for each row of the other.

use arrow::datatypes::DataType;
use maru_connect::{
    Aggregate, AggregateFunction, ArithmeticOp, Computation, Number, SortBy, TableStatistics,
};

use super::catalog::{MyColumn, Relation, quoted};
use super::conditions::bytes_of;
use super::types::{Comparison, Kind, Mapping, Selected};
use super::unheld::{refusal, sound};
use crate::fragments::{Computed, Filtered, Fragments};
use crate::render::exact;

/// Returns whether values are equal and ordered as in the engine.
fn is_exact(column: &MyColumn) -> bool {
    column.mapping.comparison == Comparison::Same
        && !matches!(column.mapping.kind, Kind::Float | Kind::Double | Kind::Year | Kind::Bool)
}

/// Digits of a decimal on the server, and how many of them stand behind the point. With more it cuts some off.
const DIGITS_MAX: u32 = 65;
const PLACES_MAX: u32 = 30;

/// A decimal as the server has it.
struct Decimal {
    sql: String,
    digits: u32,
    places: u32,
}

impl Relation {
    fn number(&self, number: &Number) -> Option<Decimal> {
        let decimal = match number {
            Number::Column(column) => {
                let column = self.columns.get(*column)?;
                let name = &column.quoted;
                let whole = |digits: u32| Decimal {
                    sql: format!("CAST({name} AS DECIMAL({digits}, 0))"),
                    digits,
                    places: 0,
                };
                match column.mapping.kind {
                    Kind::Int2 { .. } => whole(5),
                    Kind::Int4 { .. } => whole(10),
                    Kind::Int8 { .. } => whole(20),
                    Kind::Decimal { precision, scale, declared: true } => Decimal {
                        sql: name.clone(),
                        digits: precision.into(),
                        places: u32::try_from(scale).ok()?,
                    },
                    _ => return None,
                }
            }
            Number::Literal { digits, scale } => {
                let places = u32::from(*scale);
                let n_digits = u32::try_from(digits.unsigned_abs().to_string().len()).ok()?;
                // Whole ones are numbers of another kind unless they have a point.
                let point = if *scale == 0 { "." } else { "" };
                let sql = format!("({}{point})", exact(*digits, *scale));
                Decimal { sql, digits: n_digits.max(places + 1), places }
            }
            Number::Arithmetic { op, left, right } => {
                let (left, right) = (self.number(left)?, self.number(right)?);
                let (digits, places) = match op {
                    ArithmeticOp::Multiply => {
                        (left.digits + right.digits, left.places + right.places)
                    }
                    ArithmeticOp::Add | ArithmeticOp::Subtract => {
                        let places = left.places.max(right.places);
                        let whole = (left.digits - left.places).max(right.digits - right.places);
                        (whole + places + 1, places)
                    }
                };
                Decimal {
                    sql: format!("({} {} {})", left.sql, op.sql(), right.sql),
                    digits,
                    places,
                }
            }
        };
        (decimal.digits <= DIGITS_MAX && decimal.places <= PLACES_MAX).then_some(decimal)
    }
}

impl Fragments for Relation {
    type Column = MyColumn;

    fn from(&self) -> &str {
        &self.from
    }

    fn columns(&self) -> &[MyColumn] {
        &self.columns
    }

    fn statistics(&self) -> TableStatistics {
        self.statistics
    }

    fn quote(name: &str) -> String {
        quoted(name)
    }

    fn name(column: &MyColumn) -> &str {
        &column.quoted
    }

    fn renamed(column: &MyColumn, _: &str, quoted: String) -> MyColumn {
        MyColumn { quoted, ..column.clone() }
    }

    fn equal(&self, column: usize) -> Option<String> {
        self.columns.get(column).filter(|column| is_exact(column)).map(|c| c.quoted.clone())
    }

    fn key(&self, column: usize) -> Option<Computed<MyColumn>> {
        let column = self.columns.get(column)?;
        let name = &column.quoted;
        if let Comparison::Text { .. } = column.mapping.comparison {
            let bytes = bytes_of(column);
            let mapping = Mapping::derived_text();
            return Some(Computed {
                sql: format!("CONVERT({bytes} USING utf8mb4)"),
                group: Some(bytes),
                column: MyColumn { mapping, ..column.clone() },
            });
        }
        let exact = is_exact(column);
        exact.then(|| Computed { sql: name.clone(), group: None, column: column.clone() })
    }

    fn aggregate(&self, aggregate: &Aggregate, of: &Filtered) -> Option<Computed<MyColumn>> {
        let computed = |sql: String, kind: Kind| {
            let mapping = Mapping { kind, selected: Selected::Plain, comparison: Comparison::Same };
            let column = MyColumn { quoted: String::new(), nullable: true, mapping };
            Some(Computed { sql, group: None, column })
        };
        let Some(column) = aggregate.column else {
            return computed(format!("count({})", of.rows()), Kind::Int8 { unsigned: false });
        };
        let column = self.columns.get(column)?;
        let name = of.values(&column.quoted);
        match aggregate.function {
            AggregateFunction::Count => {
                let counted = of.values(&sound(column, &column.quoted));
                computed(format!("count({counted})"), Kind::Int8 { unsigned: false })
            }
            AggregateFunction::Sum => match column.mapping.kind {
                Kind::Int2 { .. } | Kind::Int4 { unsigned: false } => {
                    // A sum of whole numbers is a decimal there.
                    let sql = format!("CAST(sum({name}) AS SIGNED)");
                    computed(sql, Kind::Int8 { unsigned: false })
                }
                Kind::Int4 { unsigned: true } | Kind::Int8 { .. } => {
                    let kind = Kind::Decimal { precision: 30, scale: 0, declared: true };
                    computed(format!("sum({name})"), kind)
                }
                Kind::Decimal { precision, scale, declared } => {
                    let precision = (precision + 10).min(38);
                    computed(format!("sum({name})"), Kind::Decimal { precision, scale, declared })
                }
                _ => None,
            },
            AggregateFunction::Min | AggregateFunction::Max => {
                // CASE gives small whole numbers and TIMESTAMP another type, which differs between servers.
                let kept = matches!(
                    column.mapping.kind,
                    Kind::Int8 { unsigned: false }
                        | Kind::Decimal { .. }
                        | Kind::Date
                        | Kind::Datetime
                );
                if !of.is_everything() && !kept {
                    return None;
                }
                let sql = format!("{}({name})", aggregate.function.sql());
                is_exact(column).then(|| computed(sql, column.mapping.kind))?
            }
        }
    }

    /// As decimals, with room for every digit on the way.
    fn computation(&self, computation: &Computation) -> Option<Computed<MyColumn>> {
        let Decimal { sql, .. } = self.number(&computation.number)?;
        let (sql, kind) = match computation.data_type {
            DataType::Int64 => (format!("CAST({sql} AS SIGNED)"), Kind::Int8 { unsigned: false }),
            DataType::Decimal128(precision, scale) => {
                (sql, Kind::Decimal { precision, scale, declared: true })
            }
            _ => return None,
        };
        let mapping = Mapping { kind, selected: Selected::Plain, comparison: Comparison::Same };
        let column = MyColumn { quoted: String::new(), nullable: true, mapping };
        Some(Computed { sql, group: None, column })
    }

    fn unique(&self) -> &[Vec<usize>] {
        &self.unique
    }

    fn sound_key(&self, column: usize) -> Option<String> {
        refusal(self.columns.get(column)?)
    }

    /// NULL comes first there unless it is said; the order of a boolean that is neither true nor false is nobody's.
    fn order(&self, by: &SortBy) -> Option<String> {
        let column = self.columns.get(by.column)?;
        let name = &column.quoted;
        let side = match column.mapping.comparison {
            Comparison::Text { .. } => bytes_of(column),
            _ if is_exact(column) => name.clone(),
            _ => return None,
        };
        let direction = if by.descending { "DESC" } else { "ASC" };
        let nulls = if by.nulls_first { "DESC" } else { "ASC" };
        // Of a date that is declared NOT NULL, `IS NULL` asks for 0000-00-00.
        Some(match column.nullable {
            true => format!("{name} IS NULL {nulls}, {side} {direction}"),
            false => format!("{side} {direction}"),
        })
    }
}
