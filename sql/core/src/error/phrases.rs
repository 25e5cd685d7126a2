//! What DataFusion says of a wrong statement, by the words in it, and what PostgreSQL says. `tests.rs` pins them.

use super::{Error, ErrorKind};

/// Words, the kind, and PostgreSQL's message where DataFusion's own says less.
const PHRASES: &[(&str, ErrorKind, &str)] = &[
    (
        "Cannot create filter with non-boolean predicate",
        ErrorKind::TypeMismatch,
        "a condition must be of type boolean",
    ),
    (
        "Unary operator 'NOT' requires a boolean",
        ErrorKind::TypeMismatch,
        "argument of NOT must be type boolean",
    ),
    ("LIMIT must be >= 0", ErrorKind::InvalidLimit, "LIMIT must not be negative"),
    ("OFFSET must be >=0", ErrorKind::InvalidOffset, "OFFSET must not be negative"),
    ("queries have different number of columns", ErrorKind::Syntax, ""),
    ("Incompatible inputs for Union", ErrorKind::TypeMismatch, "UNION types cannot be matched"),
    ("Failed to coerce then", ErrorKind::TypeMismatch, "CASE types cannot be matched"),
    (
        "Failed to unify argument types of make_array",
        ErrorKind::TypeMismatch,
        "ARRAY types cannot be matched",
    ),
    (
        "Inconsistent data type across values list",
        ErrorKind::TypeMismatch,
        "VALUES types cannot be matched",
    ),
    (
        "Inconsistent data length across values list",
        ErrorKind::Syntax,
        "VALUES lists must all be the same length",
    ),
    (
        "The subquery should only return one column",
        ErrorKind::Syntax,
        "subquery must return only one column",
    ),
];

/// Returns the error for a known text; its own words become the detail where PostgreSQL's are the message.
pub(super) fn from_phrase(text: &str, line: &str) -> Option<Error> {
    if let Some(name) = between(line, "WITH query name \"", "\" specified more than once") {
        let what = format!("WITH query name \"{name}\" specified more than once");
        return Some(Error::new(ErrorKind::DuplicateAlias, what));
    }
    if let Some(name) = between(line, "The window ", " is not defined!") {
        let what = format!("window \"{name}\" does not exist");
        return Some(Error::new(ErrorKind::UndefinedObject, what));
    }
    if let Some(name) = line.strip_prefix("Invalid qualifier ") {
        let what = format!("missing FROM-clause entry for table \"{name}\"");
        return Some(Error::new(ErrorKind::UndefinedTable, what));
    }
    if let Some(error) = place_of_column(line) {
        return Some(error);
    }
    if line.contains("require unique expression names") {
        let what = match between(line, " AS ", "\" at position") {
            Some(name) => format!("column \"{}\" specified more than once", name.trim_matches('"')),
            None => "a column of the query is specified more than once".to_owned(),
        };
        let error = Error::new(ErrorKind::DuplicateColumn, what);
        return Some(error.with_hint("Give the columns different names with AS."));
    }
    let (_, kind, message) = PHRASES.iter().find(|(words, ..)| text.contains(*words))?;
    Some(match message.is_empty() {
        true => Error::new(*kind, line),
        false => Error::new(*kind, *message).with_detail(format!("{line}.")),
    })
}

/// Returns the error for a column that is named by a place where there is none.
fn place_of_column(line: &str) -> Option<Error> {
    let ordered = match line.contains("Order by index starts at 1") {
        true => Some("0"),
        false => between(line, "Order by column out of bounds, specified: ", ", max"),
    };
    let (clause, place) = match ordered {
        Some(place) => ("ORDER BY", place),
        None => {
            let place = between(line, "Cannot find column with position ", " in SELECT clause")?;
            ("GROUP BY", place)
        }
    };
    let what = format!("{clause} position {place} is not in select list");
    Some(Error::new(ErrorKind::InvalidColumnReference, what))
}

fn between<'t>(line: &'t str, before: &str, behind: &str) -> Option<&'t str> {
    let (_, rest) = line.split_once(before)?;
    rest.split_once(behind).map(|(name, _)| name)
}
