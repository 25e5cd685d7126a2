//! Access control lists as PostgreSQL writes them, `grantee=letters/grantor`, and read back.

use std::collections::BTreeMap;

use super::kinds::{KINDS, Object, Privilege};
use super::rights::Rights;

/// Who has been granted what by whom, on an object or one column of it.
pub fn granted(rights: &Rights, object: &Object, column: Option<&str>) -> Vec<String> {
    let mut by_whom: BTreeMap<(Option<&str>, &str), String> = BTreeMap::new();
    for (grant, option) in &rights.rules().grants {
        if grant.object == *object && grant.column.as_deref() == column {
            let key = (grant.grantee.as_deref(), grant.grantor.as_str());
            let letters = by_whom.entry(key).or_default();
            letters.push(grant.privilege.letter());
            letters.extend(option.then_some('*'));
        }
    }
    let line = |((grantee, grantor), letters): (&(Option<&str>, &str), &String)| {
        format!("{}={letters}/{}", name(grantee.unwrap_or_default()), name(grantor))
    };
    by_whom.iter().map(line).collect()
}

/// The list of an object that shows. Nothing where nothing has been granted: then the owner has everything, and nobody else has
/// anything.
pub fn of_object(rights: &Rights, object: &Object) -> Vec<String> {
    if !rights.sees(object) {
        return Vec::new();
    }
    let others = granted(rights, object, None);
    if others.is_empty() {
        return Vec::new();
    }
    let owner = name(rights.rules().owner(object));
    let all = KINDS.iter().find(|kind| kind.word == object.kind);
    let letters = all.into_iter().flat_map(|kind| kind.privileges.iter());
    let letters = letters.map(|privilege| privilege.letter()).collect::<String>();
    let mut lines = vec![format!("{owner}={letters}/{owner}")];
    lines.extend(others);
    lines
}

/// Names that are no plain words are in quotes.
fn name(name: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || c == '_';
    if name.chars().all(plain) {
        name.to_owned()
    } else {
        format!("\"{}\"", name.replace('"', "\"\""))
    }
}

/// One privilege of a list.
#[derive(Debug, PartialEq, Eq)]
pub struct Item {
    /// `None`: everybody.
    pub grantee: Option<String>,
    pub grantor: String,
    /// The privilege's word; a letter that is none's stands for itself.
    pub privilege: String,
    pub grantable: bool,
}

/// Reads one line of a list; `None` if it is none.
pub fn read(line: &str) -> Option<Vec<Item>> {
    let (grantee, rest) = read_name(line)?;
    let rest = rest.strip_prefix('=')?;
    let (letters, grantor) = rest.split_once('/')?;
    let (grantor, rest) = read_name(grantor)?;
    if !rest.is_empty() {
        return None;
    }
    let mut items = Vec::<Item>::new();
    for letter in letters.chars() {
        if letter == '*' {
            items.last_mut()?.grantable = true;
            continue;
        }
        let word = Privilege::ALL.iter().find(|privilege| privilege.letter() == letter);
        items.push(Item {
            grantee: (!grantee.is_empty()).then(|| grantee.clone()),
            grantor: grantor.clone(),
            privilege: word.map_or_else(|| letter.to_string(), |word| word.word().to_owned()),
            grantable: false,
        });
    }
    Some(items)
}

/// Reads a name, and returns what stands behind it.
fn read_name(text: &str) -> Option<(String, &str)> {
    let Some(mut rest) = text.strip_prefix('"') else {
        let end = text.find(['=', '/']).unwrap_or(text.len());
        return Some((text[..end].to_owned(), &text[end..]));
    };
    let mut name = String::new();
    loop {
        let (part, after) = rest.split_once('"')?;
        name.push_str(part);
        match after.strip_prefix('"') {
            Some(more) => {
                name.push('"');
                rest = more;
            }
            None => return Some((name, after)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_read_as_they_are_written() {
        let items = read("\"a \"\"b\"=r*w/maru").unwrap();
        let shown = |item: &Item| {
            (item.grantee.clone(), item.grantor.clone(), item.privilege.clone(), item.grantable)
        };
        let grantee = Some("a \"b".to_owned());
        assert_eq!(
            items.iter().map(shown).collect::<Vec<_>>(),
            [
                (grantee.clone(), "maru".to_owned(), "SELECT".to_owned(), true),
                (grantee, "maru".to_owned(), "UPDATE".to_owned(), false),
            ]
        );
        assert_eq!(read("=r/maru").unwrap()[0].grantee, None);
        for bad in ["", "a", "a=r", "\"a=r/b", "a=*/b"] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }
}
