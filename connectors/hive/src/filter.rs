//! Filters on partition columns in the metastore's own language.
//!
//! The metastore compares as its database does, perhaps without regard to case. So it is asked only what then gives too
//! much, never too little: whether columns of text or integers equal values. What comes back is filtered once more.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field};
use datafusion::common::ScalarValue;
use maru_connect::{CompareOp, Predicate};

/// Values that one filter may list; longer lists are no faster than names.
const VALUES_MAX: usize = 100;

/// Returns the part of `filters` that the metastore can answer; `None` if that is none.
pub(crate) fn text(filters: &[Predicate], keys: &[Arc<Field>]) -> Option<String> {
    let known = |key: &Arc<Field>| {
        matches!(key.data_type(), DataType::Utf8) || key.data_type().is_integer()
    };
    if !keys.iter().all(known) {
        return None;
    }
    let parts = filters.iter().filter_map(|filter| part(filter, keys)).collect::<Vec<_>>();
    if parts.is_empty() { None } else { Some(parts.join(" and ")) }
}

/// Returns the names of the only partitions that may satisfy `filters`, with the texts of their values, where the filters say
/// which values all columns equal, and those can be only of one form.
///
/// A column of text has its value as it is. A number may have been written in several ways.
pub(crate) fn names(
    filters: &[Predicate],
    keys: &[Arc<Field>],
) -> Option<Vec<(String, Vec<String>)>> {
    let mut found = vec![(String::new(), Vec::new())];
    for (column, key) in keys.iter().enumerate() {
        let values = filters.iter().find_map(|filter| equal(filter, column))?;
        let plain = |text: &str| {
            let is_plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
            !text.is_empty() && text.bytes().all(is_plain)
        };
        if !plain(key.name()) || found.len() * values.len() > VALUES_MAX {
            return None;
        }
        let mut more = Vec::with_capacity(found.len() * values.len());
        for (name, texts) in &found {
            for value in &values {
                let ScalarValue::Utf8(Some(text)) = value else { return None };
                // Others are escaped in names, and not by everybody alike.
                if !plain(text) {
                    return None;
                }
                let slash = if name.is_empty() { "" } else { "/" };
                let name = format!("{name}{slash}{}={text}", key.name());
                more.push((name, [texts.as_slice(), std::slice::from_ref(text)].concat()));
            }
        }
        found = more;
    }
    found.sort();
    found.dedup();
    Some(found)
}

/// Returns the values of which a column has one wherever the filter holds.
fn equal(filter: &Predicate, wanted: usize) -> Option<Vec<ScalarValue>> {
    match filter {
        Predicate::Compare { column, op: CompareOp::Eq, value } if *column == wanted => {
            Some(vec![value.clone()])
        }
        Predicate::In { column, values, negated: false } if *column == wanted => {
            Some(values.clone())
        }
        Predicate::And(all) => all.iter().find_map(|one| equal(one, wanted)),
        Predicate::Or(any) => {
            let values = any.iter().map(|one| equal(one, wanted)).collect::<Option<Vec<_>>>()?;
            Some(values.concat())
        }
        _ => None,
    }
}

/// Returns a condition that holds wherever the filter does.
fn part(filter: &Predicate, keys: &[Arc<Field>]) -> Option<String> {
    match filter {
        Predicate::Compare { column, op: CompareOp::Eq, value } => {
            Some(format!("{} = {}", name(keys.get(*column)?)?, literal(value)?))
        }
        Predicate::In { column, values, negated: false } if values.len() <= VALUES_MAX => {
            let name = name(keys.get(*column)?)?;
            let equal = |value| Some(format!("{name} = {}", literal(value)?));
            let any = values.iter().map(equal).collect::<Option<Vec<_>>>()?;
            Some(format!("({})", any.join(" or ")))
        }
        // One side of an AND is enough; an OR needs all of them.
        Predicate::And(all) => {
            let parts = all.iter().filter_map(|one| part(one, keys)).collect::<Vec<_>>();
            if parts.is_empty() { None } else { Some(parts.join(" and ")) }
        }
        Predicate::Or(any) => {
            let parts = any.iter().map(|one| part(one, keys)).collect::<Option<Vec<_>>>()?;
            Some(format!("({})", parts.join(" or ")))
        }
        _ => None,
    }
}

/// Returns the name of a column if the language takes it for one: its words are reserved.
fn name(key: &Field) -> Option<&str> {
    const WORDS: &[&str] =
        &["and", "or", "not", "like", "between", "in", "date", "timestamp", "const", "values"];
    let name = key.name();
    let plain = name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    (plain && !WORDS.contains(&name.to_ascii_lowercase().as_str())).then_some(name)
}

/// Returns a value as the language writes it. It has no escape, so a text has one kind of quote, and no backslash.
fn literal(value: &ScalarValue) -> Option<String> {
    match value {
        ScalarValue::Utf8(Some(text)) => {
            let plain = text
                .bytes()
                .all(|b| b.is_ascii_graphic() && !matches!(b, b'"' | b'\\') || b == b' ');
            (plain && !text.is_empty()).then(|| format!("\"{text}\""))
        }
        ScalarValue::Int8(Some(number)) => Some(number.to_string()),
        ScalarValue::Int16(Some(number)) => Some(number.to_string()),
        ScalarValue::Int32(Some(number)) => Some(number.to_string()),
        ScalarValue::Int64(Some(number)) => Some(number.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn equal(column: usize, value: ScalarValue) -> Predicate {
        Predicate::Compare { column, op: CompareOp::Eq, value }
    }

    fn word(text: &str) -> ScalarValue {
        ScalarValue::Utf8(Some(text.to_owned()))
    }

    #[test]
    fn asks_only_what_cannot_give_too_little() {
        let keys = [("p", DataType::Utf8), ("n", DataType::Int32), ("date", DataType::Utf8)];
        let keys = keys.map(|(name, data_type)| Arc::new(Field::new(name, data_type, true)));
        let seven = || equal(1, ScalarValue::Int32(Some(7)));
        let late = Predicate::Compare { column: 0, op: CompareOp::Gt, value: word("a") };
        let table = [
            (vec![equal(0, word("a b")), seven()], Some("p = \"a b\" and n = 7")),
            (vec![late.clone(), seven()], Some("n = 7")),
            (vec![Predicate::Or(vec![late.clone(), seven()])], None),
            (vec![Predicate::Or(vec![equal(0, word("x")), seven()])], Some("(p = \"x\" or n = 7)")),
            (vec![Predicate::And(vec![late, seven()])], Some("n = 7")),
            (vec![equal(0, word("say \"so\""))], None),
            (vec![equal(0, word("한글"))], None),
            (vec![equal(2, word("2026"))], None),
            (vec![Predicate::Not(Box::new(seven()))], None),
            (vec![], None),
        ];
        for (filters, wanted) in table {
            assert_eq!(text(&filters, &keys).as_deref(), wanted, "{filters:?}");
        }
        let day = Arc::new(Field::new("d", DataType::Date32, true));
        let region = |name: &str| Arc::new(Field::new(name, DataType::Utf8, true));
        let two = [region("p"), region("q")];
        let named = |filters: &[Predicate]| {
            let names = names(filters, &two)?;
            Some(names.into_iter().map(|(name, _)| name).collect::<Vec<_>>().join(" "))
        };
        let either = Predicate::Or(vec![equal(1, word("b")), equal(1, word("a"))]);
        let one = equal(0, word("2026-01-02"));
        let wanted = Some("p=2026-01-02/q=a p=2026-01-02/q=b".to_owned());
        assert_eq!(named(&[either.clone(), one.clone()]), wanted);
        assert_eq!(named(&[Predicate::And(vec![one.clone(), either.clone()])]), wanted);
        assert_eq!(named(&[either, equal(0, word("a b"))]), None);
        assert_eq!(named(std::slice::from_ref(&one)), None);
        assert_eq!(names(&[one, equal(1, ScalarValue::Int32(Some(7)))], &keys[..2]), None);
        assert_eq!(text(&[seven()], &[day, Arc::clone(&keys[1])]), None);
    }
}
