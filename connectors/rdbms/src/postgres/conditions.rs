//! Which filters PostgreSQL is sent, and how they are written.
//!
//! Equality of text is bytewise under every deterministic collation, its order only under `C`: an order is asked for
//! with `COLLATE "C"`, which in a UTF-8 database is the engine's own. In a database of another encoding only text
//! that is ASCII on the engine's side is compared, and only for equality.
//!
//! A condition that a value satisfies which the engine cannot hold (`infinity > '2024-01-01'`) makes the server refuse the statement
//! (`unheld`), as the engine would refuse the value. A row that does not satisfy a condition is not looked at.

use datafusion::common::ScalarValue;
use maru_connect::{CompareOp, Predicate};

use super::catalog::{PgColumn, Relation};
use super::types::{Comparison, Kind};
use super::unheld::Ends;
use crate::render::{
    Conditions, date_of, decimal_of, float_of, integer_of, negation, text_of, time_of, timestamp_of,
};

impl Relation {
    /// Returns the left side and the literals, if this kind of comparison is the same here and there.
    fn sides(
        &self,
        column: usize,
        ordered: bool,
        values: &[ScalarValue],
    ) -> Option<(String, Vec<String>)> {
        let column = self.columns.get(column)?;
        let texts = || {
            let literals = values
                .iter()
                .map(|value| text_of(value).and_then(text_literal))
                .collect::<Option<Vec<_>>>()?;
            (self.utf8 || (!ordered && literals.iter().all(|text| text.is_ascii())))
                .then_some(literals)
        };
        let plain = || column.quoted.clone();
        // Bytewise equality and order, whatever the column's own collation.
        let bytewise = |side: String| self.utf8.then(|| format!("{side} COLLATE \"C\""));
        match &column.mapping.comparison {
            Comparison::None => None,
            Comparison::Same => {
                let literals = values
                    .iter()
                    .map(|value| literal(column, value))
                    .collect::<Option<Vec<_>>>()?;
                Some((plain(), literals))
            }
            Comparison::Text { deterministic, c_order } => {
                let side = if *c_order || (*deterministic && !ordered) {
                    plain()
                } else {
                    bytewise(plain())?
                };
                Some((side, texts()?))
            }
            Comparison::Padded { deterministic } => {
                let literals = texts()?;
                if ordered {
                    return Some((bytewise(format!("{}::text", column.quoted))?, literals));
                }
                // PostgreSQL would ignore blanks at the literal's end, the engine does not.
                let trimmed = values.iter().all(|v| text_of(v).is_some_and(|t| !t.ends_with(' ')));
                (*deterministic && trimmed).then(|| (plain(), literals))
            }
            Comparison::Uuid => {
                let literals = values
                    .iter()
                    .map(|value| text_of(value).filter(|text| is_canonical_uuid(text)))
                    .map(|text| text.map(|text| format!("'{text}'::uuid")))
                    .collect::<Option<Vec<_>>>()?;
                Some((plain(), literals))
            }
            Comparison::AsText => {
                let literals = texts()?;
                Some((bytewise(format!("{}::text", column.quoted))?, literals))
            }
        }
    }
}

impl Conditions for Relation {
    fn compare(&self, column: usize, op: CompareOp, value: &ScalarValue) -> Option<String> {
        let ordered = !matches!(op, CompareOp::Eq | CompareOp::NotEq);
        let (side, literals) = self.sides(column, ordered, std::slice::from_ref(value))?;
        let plain = format!("{side} {} {}", op.sql(), literals.first()?);
        let ends = match op {
            CompareOp::Eq => return Some(plain),
            CompareOp::NotEq => Ends { low: true, high: true },
            CompareOp::Lt | CompareOp::LtEq => Ends { low: true, high: false },
            CompareOp::Gt | CompareOp::GtEq => Ends { low: false, high: true },
        };
        Some(self.guarded(column, plain, ends))
    }

    fn within(&self, column: usize, values: &[ScalarValue], negated: bool) -> Option<String> {
        let (side, literals) = self.sides(column, false, values)?;
        let literals = literals.join(", ");
        Some(match negated {
            true => {
                let plain = format!("{side} NOT IN ({literals})");
                self.guarded(column, plain, Ends { low: true, high: true })
            }
            false => format!("{side} IN ({literals})"),
        })
    }

    fn like(&self, column: usize, pattern: &str, negated: bool) -> Option<String> {
        // A backslash before an ordinary character means different things, and at the end it is an error.
        if pattern.contains('\\') || !self.utf8 {
            return None;
        }
        let column = self.columns.get(column)?;
        let side = match &column.mapping.comparison {
            Comparison::Text { deterministic: true, .. } => column.quoted.clone(),
            Comparison::Text { .. } => format!("{} COLLATE \"C\"", column.quoted),
            Comparison::Padded { .. } | Comparison::AsText => {
                format!("{}::text COLLATE \"C\"", column.quoted)
            }
            _ => return None,
        };
        let not = if negated { "NOT " } else { "" };
        Some(format!("{side} {not}LIKE {}", text_literal(pattern)?))
    }

    fn is_null(&self, column: usize, negated: bool) -> Option<String> {
        let column = self.columns.get(column)?;
        // `IS NULL` of a row value looks at its fields; a composite is asked as the text it is delivered as.
        let cast = if column.mapping.cast == "::text" { "::text" } else { "" };
        let not = if negated { "NOT " } else { "" };
        Some(format!("{}{cast} IS {not}NULL", column.quoted))
    }

    fn not(&self, inner: &Predicate) -> Option<String> {
        self.condition(&negation(inner))
    }

    /// Between two bounds there is nothing that the engine could not hold, but for numbers of more places than it keeps.
    fn all(&self, parts: &[Predicate]) -> Option<Vec<String>> {
        let is_bound = |column: usize, low: bool| {
            parts.iter().any(|part| match part {
                Predicate::Compare { column: of, op, .. } if *of == column => match op {
                    CompareOp::Eq => true,
                    CompareOp::Gt | CompareOp::GtEq => low,
                    CompareOp::Lt | CompareOp::LtEq => !low,
                    CompareOp::NotEq => false,
                },
                Predicate::In { column: of, negated: false, .. } => *of == column,
                _ => false,
            })
        };
        let write = |part: &Predicate| match part {
            Predicate::Compare { column, op, value }
                if is_bound(*column, true)
                    && is_bound(*column, false)
                    && !matches!(
                        self.columns.get(*column)?.mapping.kind,
                        Kind::Numeric { declared: false, .. }
                    ) =>
            {
                let ordered = !matches!(op, CompareOp::Eq | CompareOp::NotEq);
                let (side, literals) = self.sides(*column, ordered, std::slice::from_ref(value))?;
                Some(format!("{side} {} {}", op.sql(), literals.first()?))
            }
            part => self.condition(part),
        };
        parts.iter().map(write).collect()
    }
}

/// Writes a value of a type that compares as in Arrow.
fn literal(column: &PgColumn, value: &ScalarValue) -> Option<String> {
    match column.mapping.kind {
        Kind::Bool => match value {
            ScalarValue::Boolean(Some(true)) => Some("TRUE".to_owned()),
            ScalarValue::Boolean(Some(false)) => Some("FALSE".to_owned()),
            _ => None,
        },
        Kind::Int2 | Kind::Int4 | Kind::Int8 => {
            let n = integer_of(value)?;
            // The digits of the least bigint alone are not a bigint yet.
            let least = n == i128::from(i64::MIN);
            Some(if least { format!("'{n}'::int8") } else { n.to_string() })
        }
        Kind::Oid => {
            let n = u32::try_from(integer_of(value)?).ok()?;
            Some(format!("'{n}'::oid"))
        }
        Kind::Float4 => Some(format!("'{}'::float4", float_of(value)?)),
        Kind::Float8 => Some(format!("'{}'::float8", float_of(value)?)),
        Kind::Numeric { .. } => decimal_of(value),
        Kind::Date => Some(format!("'{}'::date", date_of(value)?)),
        Kind::Time => Some(format!("'{}'::time", time_of(value)?)),
        Kind::Timestamp => Some(format!("'{}'::timestamp", timestamp_of(value)?)),
        Kind::Timestamptz => Some(format!("'{}+00'::timestamptz", timestamp_of(value)?)),
        _ => None,
    }
}

/// Writes text so that it reads the same whatever `standard_conforming_strings` says, in one line. PostgreSQL cannot
/// store a zero byte, so there is no literal for one.
pub(crate) fn text_literal(text: &str) -> Option<String> {
    if text.contains('\0') {
        return None;
    }
    let quoted = text.replace('\'', "''");
    if !quoted.chars().any(|c| c == '\\' || c.is_ascii_control()) {
        return Some(format!("'{quoted}'"));
    }
    let mut literal = String::from("E'");
    for c in quoted.chars() {
        match c {
            '\\' => literal.push_str("\\\\"),
            c if c.is_ascii_control() => literal.push_str(&format!("\\x{:02X}", u32::from(c))),
            c => literal.push(c),
        }
    }
    literal.push('\'');
    Some(literal)
}

fn is_canonical_uuid(text: &str) -> bool {
    uuid::Uuid::try_parse(text).is_ok_and(|uuid| uuid.hyphenated().to_string() == text)
}
