//! Values that MySQL has and the engine does not: `0000-00-00`, 30 hours, a boolean 2, decimals of more digits than 38.
//!
//! To read one is an error. What MySQL counts or joins by is not read, so it is made to refuse such values: by a sum that is out of
//! range. Nothing but `CASE` is certain not to be computed for others. Conditions leave out such dates, times and booleans.

use maru_core::{Error, ErrorKind};

use super::catalog::MyColumn;
use super::types::Kind;

/// The sum that no type holds, as the server shows it.
const MARK: &str = "18446744073709551615 + ";

/// Returns `value`, which the server refuses to compute of what the engine cannot hold. What may be NULL is certain to be computed: of
/// other values it counts the rows.
pub(super) fn sound(column: &MyColumn, value: &str) -> String {
    match held(column) {
        None => value.to_owned(),
        Some(held) => {
            format!(
                "CASE WHEN ({held}) IS FALSE THEN NULLIF({MARK}(({held}) IS FALSE), 0) ELSE {value} END"
            )
        }
    }
}

/// Returns a condition that is true, also of NULL, or refused.
pub(super) fn refusal(column: &MyColumn) -> Option<String> {
    held(column).map(|_| sound(column, "TRUE"))
}

/// Returns what is true of values that the engine can hold. Of a date that is declared NOT NULL, `IS NULL` would ask for 0000-00-00.
fn held(column: &MyColumn) -> Option<String> {
    let name = &column.quoted;
    Some(match column.mapping.kind {
        Kind::Date | Kind::Datetime | Kind::Timestamp => {
            format!("MONTH({name}) > 0 AND DAYOFMONTH({name}) > 0")
        }
        Kind::Time => format!("{name} >= TIME'00:00:00' AND {name} < TIME'24:00:00'"),
        Kind::Bool => format!("{name} IN (0, 1)"),
        Kind::Decimal { precision: 38.., scale, .. } => {
            let whole = usize::try_from(38 - i32::from(scale)).ok()?;
            format!("ABS({name}) < 1{}", "0".repeat(whole))
        }
        _ => return None,
    })
}

/// Returns the error that reading such a value would have been, if that is what the server's message is about.
pub(super) fn refused(message: &str, table: &str) -> Option<Error> {
    let (_, sum) = message.split_once(MARK)?;
    let sum = sum.to_ascii_lowercase();
    let (kind, what) = if sum.contains("month(") {
        (ErrorKind::InvalidDatetime, "0000-00-00 or the like, which is no date")
    } else if sum.contains("time'") {
        (ErrorKind::InvalidDatetime, "no time of day")
    } else if sum.contains(" in (") {
        (ErrorKind::OutOfRange, "neither 0 nor 1 where a boolean was declared")
    } else {
        (ErrorKind::OutOfRange, "a decimal of more than 38 digits")
    };
    let message = format!("a value of {table} that is compared, counted or joined by is {what}");
    Some(Error::new(kind, message).with_hint(
        "Leave such rows out in a view of the database, or turn the value into NULL there.",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_error_is_that_of_reading() {
        let state = |sum: &str| {
            let message = format!("BIGINT UNSIGNED value is out of range in '{sum}'");
            refused(&message, "s.t").map(|error| error.sqlstate())
        };
        let date =
            "18446744073709551615 + ((month(`s`.`t`.`d`) > 0 and dayofmonth(`d`) > 0) is false)";
        assert_eq!(state(date), Some("22007"));
        let time =
            "(18446744073709551615 + ((`t` >= TIME'00:00:00' and `t` < TIME'24:00:00') is false))";
        assert_eq!(state(time), Some("22007"));
        assert_eq!(state("18446744073709551615 + (`b` in (0,1) is false)"), Some("22003"));
        assert_eq!(state("18446744073709551615 + (abs(`n`) < 100 is false)"), Some("22003"));
        assert_eq!(state("`u` + 1"), None);
    }
}
