//! The version of a table as a part of its name, on the way through the planner.

use arrow::array::timezone::Tz;
use arrow::compute::kernels::cast_utils::string_to_datetime;
use maru_connect::TableVersion;
use maru_core::{Error, ErrorKind, Result};

const NUMBER: &str = " VERSION AS OF ";
const MOMENT: &str = " TIMESTAMP AS OF ";
/// Not a version: the table with the columns by which its source finds a row again.
const IDENTIFIED: &str = " WITH ROW IDENTITY";

/// Returns what is added to the name of a table that is read in a version.
pub fn suffix_of_number(number: u64) -> String {
    format!("{NUMBER}{number}")
}

/// Returns what is added to the name of a table that is read as it was at a moment.
pub fn suffix_of_moment(text: &str) -> String {
    format!("{MOMENT}{text}")
}

/// Returns the name of a table whose rows are to be found again.
pub fn identified(name: &str) -> String {
    format!("{name}{IDENTIFIED}")
}

/// Returns whether a name is such a one.
pub fn is_identified(name: &str) -> bool {
    name.ends_with(IDENTIFIED)
}

/// Returns the table's own name.
pub fn plain_name(name: &str) -> &str {
    let end = [NUMBER, MOMENT, IDENTIFIED].iter().filter_map(|mark| name.find(mark)).min();
    &name[..end.unwrap_or(name.len())]
}

/// Takes a name and its version apart. A moment without a zone is one of the session's.
///
/// # Errors
/// 22007 for a text that is no moment.
pub fn split<'a>(name: &'a str, zone: &str) -> Result<(&'a str, Option<TableVersion>)> {
    let plain = plain_name(name);
    if is_identified(name) {
        return Ok((plain, None));
    }
    let rest = &name[plain.len()..];
    if let Some(number) = rest.strip_prefix(NUMBER).and_then(|text| text.parse().ok()) {
        return Ok((plain, Some(TableVersion::Number(number))));
    }
    let Some(text) = rest.strip_prefix(MOMENT) else { return Ok((name, None)) };
    let invalid = || {
        Error::new(
            ErrorKind::InvalidDatetime,
            format!("invalid input syntax for type timestamp: \"{text}\""),
        )
        .with_hint("Write TIMESTAMP AS OF '2026-11-25 12:00:00+00'.")
    };
    let zone = zone.parse::<Tz>().or_else(|_| "UTC".parse::<Tz>()).map_err(|_| invalid())?;
    let time = string_to_datetime(&zone, text.trim()).map_err(|_| invalid())?;
    Ok((plain, Some(TableVersion::Time(time.timestamp_micros()))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_names_apart() {
        let split = |name| split(name, "Asia/Seoul").unwrap();
        assert_eq!(split("t"), ("t", None));
        assert_eq!(split("t VERSION AS OF 3"), ("t", Some(TableVersion::Number(3))));
        let nine = Some(TableVersion::Time(1_764_028_800_000_000));
        assert_eq!(split("t TIMESTAMP AS OF 2025-11-25 09:00:00"), ("t", nine));
        assert_eq!(split("t TIMESTAMP AS OF 2025-11-25 00:00:00+00"), ("t", nine));
        assert_eq!(super::split("t TIMESTAMP AS OF noon", "UTC").unwrap_err().sqlstate(), "22007");
    }
}
