//! Values that PostgreSQL has and the engine does not: NaN among decimals, infinite dates, more digits than 38, `24:00`.
//!
//! To read one is an error. What PostgreSQL computes with a column could pass such values over or count them, so it is made to refuse
//! them as well: by a `CASE` that turns a text which says what is wrong into a boolean. Nothing but `CASE` is certain not to be
//! computed for other rows.

use maru_core::Error;

use super::catalog::{PgColumn, Relation};
use super::conditions::text_literal;
use super::decode::{TOO_MANY_PLACES, TOO_WIDE, infinite, not_a_number, of_24_hours};
use super::types::Kind;
use crate::values::Misfit;

/// The ends of a type's values at which there may be some that the engine cannot hold.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ends {
    pub low: bool,
    pub high: bool,
}

/// How the text begins that the server fails to take for a boolean.
const MARK: &str = "Maru has no ";

/// The last time that the engine can hold; PostgreSQL goes on for some decades.
const LAST: &str = "294247-01-10 04:00:54.775807";

impl Relation {
    /// Returns a condition together with one by which the server refuses values at these ends.
    pub(super) fn guarded(&self, column: usize, condition: String, ends: Ends) -> String {
        match self.refusal(column, ends) {
            Some(refusal) => format!("({condition} AND {refusal})"),
            None => condition,
        }
    }

    /// Returns a condition that is true, also of NULL, or refused.
    pub(super) fn refusal(&self, column: usize, ends: Ends) -> Option<String> {
        let column = self.columns.get(column)?;
        let held = held(column, ends)?;
        let (name, shown) = (&column.name, &self.shown);
        let text = format!("{MARK}{} for a value of column \"{name}\" of {shown}: ", word(column));
        Some(format!(
            "CASE WHEN ({held}) IS FALSE THEN ({} || {})::bool ELSE TRUE END",
            text_literal(&text)?,
            column.quoted
        ))
    }
}

/// Returns what is true of values that the engine can hold, as far as these ends are concerned.
fn held(column: &PgColumn, ends: Ends) -> Option<String> {
    let name = &column.quoted;
    let (low, high, places) = match column.mapping.kind {
        Kind::Numeric { precision, scale, declared } => {
            let whole = i32::from(precision) - i32::from(scale);
            // NaN is above all numbers there, and a type of fewer digits than 38 has nothing else that does not fit.
            let (low, high) = match precision {
                38.. => (Some(format!("{name} > -1e{whole}")), format!("{name} < 1e{whole}")),
                _ => (None, format!("{name} < 'NaN'")),
            };
            (low, Some(high), (!declared).then(|| format!("{name} = trunc({name}, {scale})")))
        }
        Kind::Date => {
            (Some(format!("{name} > '-infinity'")), Some(format!("{name} < 'infinity'")), None)
        }
        Kind::Timestamp => {
            (Some(format!("{name} > '-infinity'")), Some(format!("{name} <= '{LAST}'")), None)
        }
        Kind::Timestamptz => {
            (Some(format!("{name} > '-infinity'")), Some(format!("{name} <= '{LAST}+00'")), None)
        }
        Kind::Time => (None, Some(format!("{name} < '24:00'")), None),
        _ => return None,
    };
    let low = low.filter(|_| ends.low || places.is_some());
    let high = high.filter(|_| ends.high || places.is_some());
    let all = [low, high, places].into_iter().flatten().collect::<Vec<_>>();
    (!all.is_empty()).then(|| all.join(" AND "))
}

fn word(column: &PgColumn) -> String {
    match column.mapping.kind {
        Kind::Numeric { precision, scale, .. } => format!("decimal({precision},{scale})"),
        Kind::Time => "time".to_owned(),
        _ => "timestamp".to_owned(),
    }
}

/// Returns the error that reading the value would have been, if that is what the server's message is about.
pub(super) fn refused(message: &str) -> Option<Error> {
    let (_, text) = message.split_once(MARK)?;
    let (wanted, rest) = text.split_once(" for ")?;
    let (place, value) = rest.rsplit_once(": ")?;
    // Whatever the server's language quotes by.
    let value = value.trim_end_matches(|c: char| !c.is_ascii_alphanumeric());
    let misfit = match (wanted, value) {
        ("time", _) => of_24_hours(),
        ("timestamp", _) => infinite(),
        (_, "NaN") => not_a_number("NaN"),
        (_, "Infinity" | "-Infinity") => not_a_number("infinite"),
        (wanted, value) => {
            let scale = wanted.split([',', ')']).nth(1).and_then(|scale| scale.parse().ok());
            let places = value.split_once('.').map_or(0, |(_, f)| f.trim_end_matches('0').len());
            let hint = if places > scale.unwrap_or(0) { TOO_MANY_PLACES } else { TOO_WIDE };
            Misfit::out_of_range(format!("does not fit {wanted}")).with_hint(hint)
        }
    };
    Some(misfit.at(place))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_error_is_that_of_reading() {
        let message = "invalid input syntax for type boolean: \"Maru has no decimal(5,2) for a value of column \"a: b\" of s.t: NaN\"";
        let error = refused(message).unwrap();
        assert_eq!(error.sqlstate(), "22003");
        assert_eq!(
            error.primary(),
            "a value of column \"a: b\" of s.t is NaN, which a decimal cannot hold"
        );
        let message = "»Maru has no timestamp for a value of column \"a\" of s.t: infinity«";
        assert_eq!(refused(message).unwrap().sqlstate(), "22007");
        assert!(refused("invalid input syntax for type boolean: \"x\"").is_none());
    }
}
