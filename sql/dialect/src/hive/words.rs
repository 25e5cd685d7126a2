//! From Hive's spelling to PostgreSQL's, word by word.

use maru_core::{Error, Result};

/// Respells a text: names stand in double quotes and in small letters (Hive knows no case), texts in single quotes
/// without escapes.
///
/// # Errors
/// 0A000 for marks and numbers that have no counterpart.
pub(super) fn respell(text: &str) -> Result<String> {
    let mut reader = Reader { text, rest: text, out: String::with_capacity(text.len() + 16) };
    let mut after_text = false;
    while let Some(c) = reader.rest.chars().next() {
        let is_text = matches!(c, '\'' | '"');
        if is_text && after_text {
            return Err(refused("two texts that stand side by side"));
        }
        if c.is_whitespace() {
            reader.copy(c.len_utf8());
            continue;
        }
        match c {
            '\'' | '"' => reader.quoted_text(c)?,
            '`' => reader.quoted_name()?,
            '0'..='9' => reader.number()?,
            '.' if reader.rest[1..].starts_with(|c: char| c.is_ascii_digit())
                && !reader.ends_with_name() =>
            {
                reader.number()?;
            }
            c if c.is_alphabetic() || c == '_' => reader.word()?,
            _ => reader.mark()?,
        }
        after_text = is_text;
    }
    Ok(reader.out)
}

fn refused(what: &str) -> Error {
    Error::unsupported(format!("{what} cannot be read"))
}

struct Reader<'a> {
    text: &'a str,
    rest: &'a str,
    out: String,
}

impl Reader<'_> {
    fn copy(&mut self, length: usize) {
        self.out.push_str(&self.rest[..length]);
        self.skip(length);
    }

    fn skip(&mut self, length: usize) {
        self.rest = &self.rest[length..];
    }

    fn ends_with_name(&self) -> bool {
        self.out.ends_with(|c: char| c.is_alphanumeric() || matches!(c, '_' | '"' | ')'))
    }

    /// `a``b` is the name a`b.
    fn quoted_name(&mut self) -> Result<()> {
        self.skip(1);
        let mut name = String::new();
        loop {
            let end = self.rest.find('`').ok_or_else(|| refused("a name without an end"))?;
            name.push_str(&self.rest[..end]);
            self.skip(end + 1);
            if !self.rest.starts_with('`') {
                break;
            }
            name.push('`');
            self.skip(1);
        }
        self.out.push_str(&format!("\"{}\"", name.to_lowercase().replace('"', "\"\"")));
        Ok(())
    }

    /// Backslashes are taken away as Hive and Spark do; those before `%` and `_` stay, for LIKE.
    fn quoted_text(&mut self, quote: char) -> Result<()> {
        self.skip(1);
        let no_end = || refused("a text without an end");
        self.out.push('\'');
        loop {
            let c = self.rest.chars().next().ok_or_else(no_end)?;
            self.skip(c.len_utf8());
            match c {
                '\\' => self.escape()?,
                c if c == quote && self.rest.starts_with(quote) => {
                    return Err(refused("a doubled quote inside of a text"));
                }
                c if c == quote => break,
                '\'' => self.out.push_str("''"),
                c => self.out.push(c),
            }
        }
        self.out.push('\'');
        Ok(())
    }

    fn escape(&mut self) -> Result<()> {
        let c = self.rest.chars().next().ok_or_else(|| refused("a text without an end"))?;
        self.skip(c.len_utf8());
        match c {
            '0'..='7' | 'u' | 'U' => {
                return Err(refused(&format!("the escape \\{c} in a text")));
            }
            'n' => self.out.push('\n'),
            't' => self.out.push('\t'),
            'r' => self.out.push('\r'),
            'b' => self.out.push('\u{8}'),
            'Z' => self.out.push('\u{1a}'),
            '%' | '_' => self.out.extend(['\\', c]),
            '\'' => self.out.push_str("''"),
            c => self.out.push(c),
        }
        Ok(())
    }

    fn number(&mut self) -> Result<()> {
        let is_part = |c: char| c.is_ascii_digit() || c == '.';
        let mut end = self.rest.find(|c| !is_part(c)).unwrap_or(self.rest.len());
        let exponent = &self.rest[end..];
        if exponent.starts_with(['e', 'E']) {
            let signed = exponent[1..].trim_start_matches(['+', '-']);
            let digits = signed.find(|c: char| !c.is_ascii_digit()).unwrap_or(signed.len());
            if digits > 0 {
                end += exponent.len() - signed.len() + digits;
            }
        }
        let number = &self.rest[..end];
        let after = &self.rest[end..];
        let word = after.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(after.len());
        match &after[..word] {
            "" if number.contains(['e', 'E']) => self.out.push_str(&double(number)),
            "" => self.out.push_str(number),
            "L" | "l" if !number.contains(['.', 'e', 'E']) => self.out.push_str(number),
            "D" | "d" => self.out.push_str(&double(number)),
            _ => return Err(refused(&format!("\"{}\"", &self.rest[..end + word]))),
        }
        self.skip(end + word);
        Ok(())
    }

    fn word(&mut self) -> Result<()> {
        let end = self.rest.find(|c: char| !(c.is_alphanumeric() || c == '_'));
        let end = end.unwrap_or(self.rest.len());
        let word = &self.rest[..end];
        let is_type = ["date", "timestamp"].iter().any(|known| word.eq_ignore_ascii_case(known));
        let before_text = self.rest[end..].starts_with(['\'', '"']);
        // `r'\d'`, `X'1F'`: a text of another kind.
        if before_text && word.len() == 1 {
            return Err(refused(&format!("a text that begins with {word}'")));
        }
        self.copy(end);
        if before_text && is_type {
            self.out.push(' ');
        }
        Ok(())
    }

    fn mark(&mut self) -> Result<()> {
        const ALIKE: [&str; 5] = ["<>", "!=", "<=", ">=", "||"];
        if self.rest.starts_with("--") {
            let end = self.rest.find('\n').unwrap_or(self.rest.len());
            self.skip(end);
            self.out.push(' ');
        } else if self.rest.starts_with("/*") {
            if self.rest.starts_with("/*+") {
                return Err(refused("a hint to the planner"));
            }
            let end = self.rest.find("*/").ok_or_else(|| refused("a comment without an end"))?;
            self.skip(end + 2);
            self.out.push(' ');
        } else if self.rest.starts_with("<=>") {
            self.skip(3);
            self.out.push_str(" IS NOT DISTINCT FROM ");
        } else if self.rest.starts_with("==") {
            self.skip(2);
            self.out.push('=');
        } else if ALIKE.iter().any(|mark| self.rest.starts_with(mark)) {
            self.copy(2);
        } else if self
            .rest
            .starts_with(['(', ')', ',', '.', '+', '-', '*', '/', '%', '=', '<', '>', ';'])
        {
            self.copy(1);
        } else {
            let mark = self.rest.chars().next().unwrap_or_default();
            let at = self.text.len() - self.rest.len();
            return Err(refused(&format!("\"{mark}\" at character {}", at + 1)));
        }
        Ok(())
    }
}

fn double(number: &str) -> String {
    format!("CAST({number} AS double precision)")
}
