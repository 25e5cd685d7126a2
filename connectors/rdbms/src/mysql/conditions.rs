//! Which filters MySQL is sent, and how they are written.
//!
//! MySQL's collations take `a`, `A` and `ä` for equal, and most of them `a` and `a ` too. So text is turned into the
//! bytes of its UTF-8 and compared as such, which is the engine's own order. Where the character set allows, equality
//! also asks the collation: whatever is equal byte by byte is equal there as well, and an index can find it.
//!
//! Values that are an error when read (`0000-00-00`, a time of 30 hours, a boolean 2) satisfy no condition here, nor
//! its negation: `NOT` is moved to the leaves, and each leaf leaves them out.

use datafusion::common::ScalarValue;
use maru_connect::{CompareOp, Predicate};

use super::catalog::{MyColumn, Relation};
use super::types::{Comparison, Index, Kind};
use super::unheld::refusal;
use crate::render::{
    Conditions, date_of, decimal_of, float_of, integer_of, negation, text_of, time_of, timestamp_of,
};

impl Conditions for Relation {
    fn compare(&self, column: usize, op: CompareOp, value: &ScalarValue) -> Option<String> {
        let column = self.columns.get(column)?;
        if let Comparison::Text { index } = column.mapping.comparison {
            let literal = text_literal(text_of(value)?);
            let bytewise = format!("{} {} {literal}", bytes_of(column), op.sql());
            let indexed = op == CompareOp::Eq && holds(index, value);
            return Some(match indexed {
                true => format!("({} = {literal} AND {bytewise})", column.quoted),
                false => bytewise,
            });
        }
        if column.mapping.comparison == Comparison::None {
            return None;
        }
        if column.mapping.kind == Kind::Bool {
            let ScalarValue::Boolean(Some(value)) = value else { return None };
            let wanted = match op {
                CompareOp::Eq => *value,
                CompareOp::NotEq => !*value,
                _ => return None,
            };
            return Some(format!("{} = {}", column.quoted, u8::from(wanted)));
        }
        let literal = literal(column, value)?;
        let plain = format!("{} {} {literal}", column.quoted, op.sql());
        Some(if op == CompareOp::Eq { plain } else { guarded(column, plain) })
    }

    fn within(&self, column: usize, values: &[ScalarValue], negated: bool) -> Option<String> {
        let column = self.columns.get(column)?;
        let not = if negated { "NOT " } else { "" };
        if let Comparison::Text { index } = column.mapping.comparison {
            let literals = values
                .iter()
                .map(|value| text_of(value).map(text_literal))
                .collect::<Option<Vec<_>>>()?
                .join(", ");
            let bytewise = format!("{} {not}IN ({literals})", bytes_of(column));
            let indexed = !negated && values.iter().all(|value| holds(index, value));
            return Some(match indexed {
                true => format!("({} IN ({literals}) AND {bytewise})", column.quoted),
                false => bytewise,
            });
        }
        if column.mapping.comparison == Comparison::None || column.mapping.kind == Kind::Bool {
            return None;
        }
        let literals = values
            .iter()
            .map(|value| literal(column, value))
            .collect::<Option<Vec<_>>>()?
            .join(", ");
        let plain = format!("{} {not}IN ({literals})", column.quoted);
        Some(if negated { guarded(column, plain) } else { plain })
    }

    fn like(&self, column: usize, pattern: &str, negated: bool) -> Option<String> {
        // A backslash before an ordinary character means different things.
        if pattern.contains('\\') {
            return None;
        }
        let column = self.columns.get(column)?;
        let Comparison::Text { .. } = column.mapping.comparison else { return None };
        let not = if negated { "NOT " } else { "" };
        // Character by character; LIKE knows no padding, whatever the collation.
        Some(format!(
            "CONVERT({} USING utf8mb4) COLLATE utf8mb4_bin {not}LIKE {}",
            column.quoted,
            text_literal(pattern)
        ))
    }

    fn is_null(&self, column: usize, negated: bool) -> Option<String> {
        let column = self.columns.get(column)?;
        // Of a date declared NOT NULL, `IS NULL` asks for 0000-00-00.
        if column.may_be_no_date() && !column.nullable {
            return None;
        }
        let not = if negated { "NOT " } else { "" };
        Some(format!("{} IS {not}NULL", column.quoted))
    }

    fn not(&self, inner: &Predicate) -> Option<String> {
        self.condition(&negation(inner))
    }
}

/// Returns the bytes of a text's UTF-8. Blanks at the end of `CHAR` are gone, as they are when it is read.
pub(super) fn bytes_of(column: &MyColumn) -> String {
    format!("CAST(CONVERT({} USING utf8mb4) AS BINARY)", column.quoted)
}

fn holds(index: Index, value: &ScalarValue) -> bool {
    match index {
        Index::Any => true,
        Index::Ascii => text_of(value).is_some_and(str::is_ascii),
        Index::Never => false,
    }
}

/// Leaves out the dates and times that cannot be read, and refuses decimals that are too long.
fn guarded(column: &MyColumn, condition: String) -> String {
    let name = &column.quoted;
    if column.may_be_no_date() {
        return format!("({condition} AND MONTH({name}) > 0 AND DAYOFMONTH({name}) > 0)");
    }
    match column.mapping.kind {
        Kind::Time => {
            format!("({condition} AND {name} >= TIME'00:00:00' AND {name} < TIME'24:00:00')")
        }
        Kind::Decimal { .. } => match refusal(column) {
            Some(refusal) => format!("({condition} AND {refusal})"),
            None => condition,
        },
        _ => condition,
    }
}

/// Writes a value of a type that compares as in Arrow, if the column's type holds it.
fn literal(column: &MyColumn, value: &ScalarValue) -> Option<String> {
    let within = |least: i128, most: i128| {
        let n = integer_of(value)?;
        (least..=most).contains(&n).then(|| n.to_string())
    };
    match column.mapping.kind {
        Kind::Int2 { unsigned: true } | Kind::Int4 { unsigned: true } => within(0, u32::MAX.into()),
        Kind::Int2 { .. } | Kind::Int4 { .. } | Kind::Int8 { unsigned: false } => {
            within(i64::MIN.into(), i64::MAX.into())
        }
        Kind::Int8 { unsigned: true } => {
            let digits = decimal_of(value)?;
            digits.parse::<u64>().ok().map(|n| n.to_string())
        }
        // Below 1901 stands 0000, and smaller numbers mean years of two digits.
        Kind::Year => within(1901, 2155),
        Kind::Double => {
            let ScalarValue::Float64(Some(n)) = value else { return None };
            n.is_normal().then(|| float_of(value))?
        }
        Kind::Decimal { .. } => decimal_of(value),
        Kind::Date => Some(format!("DATE'{}'", date_of(value)?)),
        Kind::Time => Some(format!("TIME'{}'", time_of(value)?)),
        Kind::Datetime => Some(format!("TIMESTAMP'{}'", timestamp_of(value)?)),
        Kind::Timestamp => {
            let text = timestamp_of(value)?;
            // What a timestamp can hold at all; text of one form compares as the times do.
            let held = ("1970-01-02".."2038-01-19").contains(&text.as_str());
            held.then(|| format!("TIMESTAMP'{text}'"))
        }
        _ => None,
    }
}

/// Writes text in one line. The session's `sql_mode` has neither `NO_BACKSLASH_ESCAPES` nor `ANSI_QUOTES`.
pub(crate) fn text_literal(text: &str) -> String {
    let mut literal = String::with_capacity(text.len() + 2);
    literal.push('\'');
    for c in text.chars() {
        match c {
            '\'' => literal.push_str("''"),
            '\\' => literal.push_str("\\\\"),
            '\0' => literal.push_str("\\0"),
            '\n' => literal.push_str("\\n"),
            '\r' => literal.push_str("\\r"),
            '\x1a' => literal.push_str("\\Z"),
            c => literal.push(c),
        }
    }
    literal.push('\'');
    literal
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_quoted_in_one_line() {
        assert_eq!(text_literal("it's \\ \n\0힣"), "'it''s \\\\ \\n\\0힣'");
    }
}
