//! Values that are not of the type that their column declares; SQLite keeps any.
//!
//! To read one is an error. What SQLite computes with a column could use such a value (a text is more than every number) or count it,
//! so it is made to refuse it as well: by a path of JSON that is none, but says what is wrong. Nothing but `CASE` is certain not to be
//! computed for other rows. A row that a condition rejects is not looked at.

use maru_core::{Error, ErrorKind, quote_literal};

use super::described::Certainty;
use super::table::{Column, SqliteTable};
use super::types::Mapping;
use crate::values::{Misfit, shortened};

/// How the path begins that SQLite fails to take for one.
const MARK: &str = "Maru has read ";

/// Whole numbers up to 2^53 are floats exactly.
const FLOAT_MAX: u64 = 1 << 53;

impl SqliteTable {
    /// Returns a condition together with one by which SQLite refuses values of other types. `equality` says that the condition looks
    /// for what equals values of the column's own.
    pub(super) fn guarded(&self, column: &Column, condition: String, equality: bool) -> String {
        if equality && column.certainty == Certainty::Turned {
            return condition;
        }
        match self.refusal(column) {
            Some(refusal) => format!("({condition} AND {refusal})"),
            None => condition,
        }
    }

    /// Returns a condition that is true, also of NULL, or refused.
    pub(super) fn refusal(&self, column: &Column) -> Option<String> {
        if column.certainty == Certainty::Proven {
            return None;
        }
        let name = &column.quoted;
        let (wanted, held) = match column.mapping {
            Mapping::Integer => {
                ("a whole number", format!("typeof({name}) IN ('integer', 'null')"))
            }
            Mapping::Boolean => (
                "0 or 1",
                format!(
                    "typeof({name}) = 'null' OR typeof({name}) = 'integer' AND {name} IN (0, 1)"
                ),
            ),
            Mapping::Text => ("text", format!("typeof({name}) IN ('text', 'null')")),
            Mapping::Float => (
                "a number",
                format!(
                    "typeof({name}) IN ('real', 'null') OR typeof({name}) = 'integer' \
                     AND {name} BETWEEN -{FLOAT_MAX} AND {FLOAT_MAX}"
                ),
            ),
            Mapping::Blob => ("bytes", format!("typeof({name}) IN ('blob', 'text', 'null')")),
            Mapping::Decimal(..) | Mapping::Date | Mapping::Timestamp | Mapping::AsText => {
                return None;
            }
        };
        let place = format!("a value of column \"{}\" of {}", column.name, self.name);
        let after = format!(" where {wanted} was declared for {place}");
        let (before, after) = (quote_literal(MARK), quote_literal(&after));
        Some(format!(
            "CASE WHEN {held} THEN 1 ELSE json_extract('{{}}', {before} || quote({name}) || {after}) END"
        ))
    }
}

/// Returns what reading such a value comes to.
pub(super) fn misfit(found: &str, wanted: &str) -> Misfit {
    Misfit::new(ErrorKind::InvalidText, format!("is {found} where {wanted} was declared"))
        .with_hint(
            "SQLite holds any value in any column: correct it there, or CAST it in a view there.",
        )
}

/// Returns the error that reading the value would have been, if that is what SQLite's message is about.
pub(super) fn refused(message: &str) -> Option<Error> {
    let (_, text) = message.split_once(MARK)?;
    // SQLite shows the path in quotes.
    let text = text.strip_suffix('\'')?.replace("''", "'");
    let (found, rest) = shown(&text)?;
    let (wanted, place) = rest.strip_prefix(" where ")?.split_once(" was declared for ")?;
    Some(misfit(&found, wanted).at(place))
}

/// Takes a value off, as SQLite's `quote` has written it.
fn shown(text: &str) -> Option<(String, &str)> {
    let Some(mut rest) = text.strip_prefix('\'') else {
        let (value, _) = text.split_once(' ')?;
        let rest = text.strip_prefix(value)?;
        let bytes = value.strip_prefix("X'").and_then(|hex| hex.strip_suffix('\''));
        let found = match bytes {
            Some(hex) => format!("{} bytes", hex.len() / 2),
            None => value.to_owned(),
        };
        return Some((found, rest));
    };
    let mut value = String::new();
    loop {
        let (part, after) = rest.split_once('\'')?;
        value.push_str(part);
        match after.strip_prefix('\'') {
            Some(more) => {
                value.push('\'');
                rest = more;
            }
            None => return Some((format!("\"{}\"", shortened(&value)), after)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_error_is_that_of_reading() {
        let told = |value: &str| {
            let message = format!(
                "bad JSON path: '{MARK}{value} where a whole number was declared for a value of column \"a''b\" of t'"
            );
            let error = refused(&message).unwrap();
            assert_eq!(error.sqlstate(), "22P02");
            error.primary().to_owned()
        };
        let end = "where a whole number was declared";
        for (value, wanted) in
            [(r"''a: '''' where ''", r#""a: \' where ""#), ("X''61FF''", "2 bytes"), ("1.5", "1.5")]
        {
            assert_eq!(told(value), format!("a value of column \"a'b\" of t is {wanted} {end}"));
        }
        assert!(refused("bad JSON path: 'x'").is_none());
    }
}
