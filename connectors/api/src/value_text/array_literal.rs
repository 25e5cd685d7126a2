//! PostgreSQL's text of arrays, read: `{1,NULL,"a \"b\""}`, `{{1,2},{3,4}}`.

use maru_core::{Error, ErrorKind, Result};

/// As many as in PostgreSQL.
const DIMENSIONS_MAX: usize = 6;

/// What stands between two commas.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item {
    Null,
    Text(String),
    Array(Vec<Self>),
}

/// Reads the text of an array. Quotes and backslashes are taken away, so that `"NULL"` is a text and `NULL` is none.
///
/// # Errors
/// 22P02 for what is no such text, 54000 for one of too many dimensions, 0A000 for one that does not count from 1.
pub fn parse_array(text: &str) -> Result<Vec<Item>> {
    let mut reader = Reader { text, rest: text };
    reader.skip_space();
    let promised = reader.bounds()?;
    let items = reader.array(1)?;
    reader.skip_space();
    if !reader.rest.is_empty() {
        return Err(reader.malformed("There is text after the closing brace."));
    }
    match promised {
        Some(lengths) if !has_lengths(&items, &lengths) => {
            Err(reader.malformed("The array has other dimensions than the text says."))
        }
        _ => Ok(items),
    }
}

fn has_lengths(items: &[Item], lengths: &[usize]) -> bool {
    let Some((length, inner)) = lengths.split_first() else { return false };
    items.len() == *length
        && items.iter().all(|item| match item {
            Item::Array(items) => has_lengths(items, inner),
            _ => inner.is_empty(),
        })
}

struct Reader<'a> {
    text: &'a str,
    rest: &'a str,
}

impl Reader<'_> {
    fn malformed(&self, detail: &str) -> Error {
        let message = format!("malformed array literal: \"{}\"", self.text);
        Error::new(ErrorKind::InvalidText, message).with_detail(detail)
    }

    fn skip_space(&mut self) {
        self.rest = self.rest.trim_start_matches(is_space);
    }

    fn next_if(&mut self, wanted: char) -> bool {
        let rest = self.rest.strip_prefix(wanted);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    fn next(&mut self) -> Result<char> {
        let mut chars = self.rest.chars();
        let next = chars.next();
        self.rest = chars.as_str();
        next.ok_or_else(|| self.malformed("It ends before the array does."))
    }

    /// Reads `[1:3][1:2]=`; returns the lengths.
    fn bounds(&mut self) -> Result<Option<Vec<usize>>> {
        if !self.rest.starts_with('[') {
            return Ok(None);
        }
        let bad = || self.malformed("Bounds are written [1:2]= before the opening brace.");
        let (bounds, rest) = self.rest.split_once('=').ok_or_else(bad)?;
        let mut lengths = Vec::new();
        for bound in bounds.trim_end_matches(is_space).split_inclusive(']') {
            let pair = bound.strip_prefix('[').and_then(|bound| bound.strip_suffix(']'));
            let (low, high) = pair.and_then(|pair| pair.split_once(':')).ok_or_else(bad)?;
            let low = low.parse::<i32>().map_err(|_| bad())?;
            let high = high.parse::<i32>().map_err(|_| bad())?;
            if low != 1 {
                return Err(Error::unsupported("arrays whose bounds do not begin at 1")
                    .with_hint("Leave the bounds out."));
            }
            lengths.push(usize::try_from(high).map_err(|_| bad())?);
        }
        self.rest = rest;
        self.skip_space();
        Ok(Some(lengths))
    }

    fn array(&mut self, depth: usize) -> Result<Vec<Item>> {
        if depth > DIMENSIONS_MAX {
            let message = "number of array dimensions exceeds the maximum allowed";
            return Err(Error::new(ErrorKind::LimitExceeded, message)
                .with_detail(format!("The limit is {DIMENSIONS_MAX}.")));
        }
        if !self.next_if('{') {
            return Err(self.malformed("An array value begins with { or with its bounds."));
        }
        let mut items = Vec::new();
        self.skip_space();
        if self.next_if('}') {
            return Ok(items);
        }
        loop {
            self.skip_space();
            let item = if self.rest.starts_with('{') {
                Item::Array(self.array(depth + 1)?)
            } else if self.next_if('"') {
                self.quoted()?
            } else {
                self.bare()?
            };
            let is_array = |item: &Item| matches!(item, Item::Array(_));
            if items.first().is_some_and(|first| is_array(first) != is_array(&item)) {
                return Err(self.malformed("Arrays and values stand beside one another."));
            }
            items.push(item);
            self.skip_space();
            match self.next()? {
                ',' => {}
                '}' => return Ok(items),
                _ => return Err(self.malformed("After an element there is a comma or a brace.")),
            }
        }
    }

    fn quoted(&mut self) -> Result<Item> {
        let mut item = String::new();
        loop {
            match self.next()? {
                '"' => return Ok(Item::Text(item)),
                '\\' => item.push(self.next()?),
                other => item.push(other),
            }
        }
    }

    /// Reads up to a comma or a brace; space inside counts, space at the end does not unless it is escaped.
    fn bare(&mut self) -> Result<Item> {
        let mut item = String::new();
        let mut kept = 0;
        let mut escaped = false;
        while let Some(next) = self.rest.chars().next().filter(|next| !matches!(next, ',' | '}')) {
            self.rest = &self.rest[next.len_utf8()..];
            match next {
                '"' | '{' => return Err(self.malformed("A quote or a brace stands in an element.")),
                '\\' => {
                    item.push(self.next()?);
                    escaped = true;
                    kept = item.len();
                }
                other => {
                    item.push(other);
                    if !is_space(other) {
                        kept = item.len();
                    }
                }
            }
        }
        item.truncate(kept);
        match item {
            item if item.is_empty() => Err(self.malformed("An element is missing.")),
            item if !escaped && item.eq_ignore_ascii_case("null") => Ok(Item::Null),
            item => Ok(Item::Text(item)),
        }
    }
}

fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\n' | '\r' | '\u{b}' | '\u{c}')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        fn show(item: &Item) -> String {
            match item {
                Item::Null => "-".to_owned(),
                Item::Text(text) => format!("<{text}>"),
                Item::Array(items) => {
                    format!("[{}]", items.iter().map(show).collect::<Vec<_>>().join(" "))
                }
            }
        }
        match parse_array(text) {
            Ok(items) => show(&Item::Array(items)),
            Err(error) => error.kind().sqlstate().to_owned(),
        }
    }

    #[test]
    fn arrays_are_read_as_postgresql_reads_them() {
        for (text, read) in [
            ("{v,r}", "[<v> <r>]"),
            (" { v , r } ", "[<v> <r>]"),
            ("{}", "[]"),
            ("{ }", "[]"),
            ("{a b ,\" c \"}", "[<a b> < c >]"),
            (r#"{"a,\"b\"",c\,d,"\\"}"#, r#"[<a,"b"> <c,d> <\>]"#),
            (r"{a\ }", "[<a >]"),
            ("{NULL,null,\"NULL\",n\\ull}", "[- - <NULL> <null>]"),
            ("{\"\"}", "[<>]"),
            ("{{1,2},{3,4}}", "[[<1> <2>] [<3> <4>]]"),
            ("{{},{}}", "[[] []]"),
            ("[1:2]={7,8}", "[<7> <8>]"),
            ("[1:2][1:1]={{7},{8}}", "[[<7>] [<8>]]"),
            ("{한글,🙂}", "[<한글> <🙂>]"),
            ("[0:1]={7,8}", "0A000"),
            ("[1:3]={7,8}", "22P02"),
            ("{{{{{{{1}}}}}}}", "54000"),
        ] {
            assert_eq!(shown(text), read, "{text}");
        }
        for text in
            ["", "a", "{", "{a", "{a,}", "{,a}", "{a}b", "{\"a}", "{a\"b\"}", "{\"a\"b}", "{a}}"]
        {
            assert_eq!(shown(text), "22P02", "{text}");
        }
        for text in ["{1,{2}}", "{{1},2}", "{a\\", "[1:2]", "[x:2]={1,2}", "{{1}"] {
            assert_eq!(shown(text), "22P02", "{text}");
        }
    }
}
