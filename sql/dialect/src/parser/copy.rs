//! `COPY`.

use maru_core::{Error, ErrorKind, Result, quote_ident};
use sqlparser::tokenizer::Token;

use super::{DataFusionError, DfStatement, Words, parse_query};
use crate::conversation::*;
use crate::statement::{Name, Statement};

/// Options as they are written, before they are held against each other.
#[derive(Default)]
struct Given {
    format: Option<CopyFormat>,
    delimiter: Option<String>,
    null: Option<String>,
    header: Option<bool>,
    header_match: bool,
    quote: Option<String>,
    escape: Option<String>,
    force_quote: Option<ForceQuote>,
    force_null: Option<ForceQuote>,
    force_not_null: Option<ForceQuote>,
    encoding: Option<String>,
}

impl Words<'_> {
    /// Reads what follows the word `COPY`.
    pub(super) fn copy(&mut self) -> Result<Statement> {
        let mut columns = Vec::new();
        let (query, table) = if self.0.parser.consume_token(&Token::LParen) {
            let query = self.0.parser.parse_query().map_err(DataFusionError::from)?;
            self.token(&Token::RParen, ")")?;
            let query = sqlparser::ast::Statement::Query(query);
            (DfStatement::Statement(Box::new(query)), None)
        } else {
            let (query, name) = self.copied_table(&mut columns)?;
            (query, Some(name))
        };
        let from = self.take(&["from"]);
        if from && table.is_none() {
            return Err(self.unexpected("TO"));
        }
        if !from {
            self.expect(&["to"])?;
        }
        let file: Option<String> = if self.take(&["stdin"]) || self.take(&["stdout"]) {
            None
        } else if self.take(&["program"]) {
            return Err(Error::new(ErrorKind::NotAllowed, "COPY cannot run a program")
                .with_hint("Use STDOUT, and a pipe of the client."));
        } else {
            let path = self.string()?;
            return self.copy_file(query, table, from, path);
        };
        let mut given = Given::default();
        self.take(&["with"]);
        if self.0.parser.consume_token(&Token::LParen) {
            loop {
                self.copy_option(&mut given)?;
                if !self.0.parser.consume_token(&Token::Comma) {
                    break;
                }
            }
            self.token(&Token::RParen, ")")?;
            if self.sees(&["where"]) {
                self.old_copy_option(&mut given)?;
            }
        } else {
            while self.0.parser.peek_token().token != Token::EOF {
                self.old_copy_option(&mut given)?;
            }
        }
        let options = given.settle(from)?;
        let query = Box::new(query);
        Ok(Statement::Copy(Box::new(Copy { query, table, columns, from, file, options })))
    }

    /// Reads a table and `columns` of it.
    fn copied_table(&mut self, columns: &mut Vec<String>) -> Result<(DfStatement, Name)> {
        let name = self.name()?;
        if self.0.parser.consume_token(&Token::LParen) {
            loop {
                columns.push(self.ident()?);
                if !self.0.parser.consume_token(&Token::Comma) {
                    break;
                }
            }
            self.token(&Token::RParen, ")")?;
        }
        let quoted = columns.iter().map(|column| quote_ident(column)).collect::<Vec<_>>();
        let columns = if quoted.is_empty() { "*".to_owned() } else { quoted.join(", ") };
        let text = format!("SELECT {columns} FROM {name}");
        match parse_query(&text, "COPY")? {
            Statement::Query { statement, .. } => Ok((*statement, name)),
            _ => Err(Error::internal("a table is no query")),
        }
    }

    fn copy_option(&mut self, given: &mut Given) -> Result<()> {
        let name = self.ident()?;
        let twice = || Error::new(ErrorKind::Syntax, "conflicting or redundant options");
        match name.as_str() {
            "format" => {
                let word = match self.string() {
                    Ok(text) => text,
                    Err(_) => self.ident()?,
                };
                let format = match word.to_lowercase().as_str() {
                    "text" => CopyFormat::Text,
                    "csv" => CopyFormat::Csv,
                    "binary" => CopyFormat::Binary,
                    _ => {
                        let message = format!("COPY format \"{word}\" not recognized");
                        return Err(Error::new(ErrorKind::InvalidParameter, message));
                    }
                };
                if given.format.replace(format).is_some() {
                    return Err(twice());
                }
            }
            "header" => {
                given.header_match = self.take(&["match"]);
                let header = given.header_match
                    || self.boolean("header").map_err(|_| {
                        let message = "header requires a Boolean value or \"match\"";
                        Error::new(ErrorKind::Syntax, message)
                    })?;
                if given.header.replace(header).is_some() {
                    return Err(twice());
                }
            }
            "freeze" => {
                self.boolean("freeze")?;
            }
            "delimiter" | "null" | "quote" | "escape" | "encoding" => {
                let text = self.string()?;
                let slot = match name.as_str() {
                    "delimiter" => &mut given.delimiter,
                    "null" => &mut given.null,
                    "quote" => &mut given.quote,
                    "escape" => &mut given.escape,
                    _ => &mut given.encoding,
                };
                if slot.replace(text).is_some() {
                    return Err(twice());
                }
            }
            "force_quote" => {
                if given.force_quote.replace(self.quoted_columns()?).is_some() {
                    return Err(twice());
                }
            }
            "force_null" => {
                if given.force_null.replace(self.named_columns()?).is_some() {
                    return Err(twice());
                }
            }
            "force_not_null" => {
                if given.force_not_null.replace(self.named_columns()?).is_some() {
                    return Err(twice());
                }
            }
            _ => {
                let message = format!("option \"{name}\" not recognized");
                return Err(Error::new(ErrorKind::Syntax, message));
            }
        }
        Ok(())
    }

    /// Reads `(column, …)` or `*`.
    fn quoted_columns(&mut self) -> Result<ForceQuote> {
        if self.0.parser.consume_token(&Token::Mul) {
            return Ok(ForceQuote::All);
        }
        self.token(&Token::LParen, "(")?;
        let mut columns = vec![self.ident()?];
        while self.0.parser.consume_token(&Token::Comma) {
            columns.push(self.ident()?);
        }
        self.token(&Token::RParen, ")")?;
        Ok(ForceQuote::Columns(columns))
    }

    /// Reads `(column, …)`.
    fn named_columns(&mut self) -> Result<ForceQuote> {
        match self.quoted_columns()? {
            ForceQuote::All => Err(self.unexpected("names of columns in parentheses")),
            columns => Ok(columns),
        }
    }

    /// Reads an option in the words of PostgreSQL before 9.0, which `\copy` and drivers still use.
    fn old_copy_option(&mut self, given: &mut Given) -> Result<()> {
        if self.take(&["binary"]) {
            given.format = Some(CopyFormat::Binary);
        } else if self.take(&["csv"]) {
            given.format = Some(CopyFormat::Csv);
        } else if self.take(&["header"]) {
            given.header = Some(true);
        } else if self.take(&["delimiter"]) || self.take(&["delimiters"]) {
            self.take(&["as"]);
            given.delimiter = Some(self.string()?);
        } else if self.take(&["null"]) {
            self.take(&["as"]);
            given.null = Some(self.string()?);
        } else if self.take(&["quote"]) {
            self.take(&["as"]);
            given.quote = Some(self.string()?);
        } else if self.take(&["escape"]) {
            self.take(&["as"]);
            given.escape = Some(self.string()?);
        } else if self.take(&["encoding"]) {
            given.encoding = Some(self.string()?);
        } else if self.take(&["force", "quote"]) {
            given.force_quote = Some(if self.0.parser.consume_token(&Token::Mul) {
                ForceQuote::All
            } else {
                self.bare_columns()?
            });
        } else if self.take(&["force", "null"]) {
            given.force_null = Some(self.bare_columns()?);
        } else if self.take(&["force", "not", "null"]) {
            given.force_not_null = Some(self.bare_columns()?);
        } else if self.sees(&["where"]) {
            return Err(Error::unsupported("COPY FROM with WHERE is not supported")
                .with_hint("Copy into a table of its own, and INSERT from it what is wanted."));
        } else {
            return Err(self.unexpected("an option of COPY"));
        }
        Ok(())
    }

    fn bare_columns(&mut self) -> Result<ForceQuote> {
        let mut columns = vec![self.ident()?];
        while self.0.parser.consume_token(&Token::Comma) {
            columns.push(self.ident()?);
        }
        Ok(ForceQuote::Columns(columns))
    }
}

impl Given {
    fn settle(self, from: bool) -> Result<CopyOptions> {
        let format = self.format.unwrap_or(CopyFormat::Text);
        let csv = format == CopyFormat::Csv;
        let unsupported = |message: &str| Err(Error::new(ErrorKind::Unsupported, message));
        let invalid = |message: &str| Err(Error::new(ErrorKind::InvalidParameter, message));
        if format == CopyFormat::Binary {
            for (given, name) in
                [(self.delimiter.is_some(), "DELIMITER"), (self.null.is_some(), "NULL")]
            {
                if given {
                    let message = format!("cannot specify {name} in BINARY mode");
                    return Err(Error::new(ErrorKind::Syntax, message));
                }
            }
        }
        if format == CopyFormat::Binary && self.header == Some(true) {
            return unsupported("cannot specify HEADER in BINARY mode");
        }
        if let Some(encoding) = &self.encoding {
            let plain = encoding.to_lowercase().replace(['-', '_'], "");
            if !["utf8", "unicode"].contains(&plain.as_str()) {
                let error = Error::unsupported(format!("COPY has no encoding \"{encoding}\""));
                return Err(error.with_hint("Text is always UTF8."));
            }
        }
        if !csv && self.quote.is_some() {
            return unsupported("COPY quote available only in CSV mode");
        }
        if !csv && self.escape.is_some() {
            return unsupported("COPY escape available only in CSV mode");
        }
        if !csv && self.force_quote.is_some() {
            return unsupported("COPY force quote available only in CSV mode");
        }
        for (given, name) in [(&self.force_not_null, "not null"), (&self.force_null, "null")] {
            if given.is_some() && !csv {
                return unsupported(&format!("COPY force {name} available only in CSV mode"));
            }
            if given.is_some() && !from {
                return unsupported(&format!("COPY force {name} only available using COPY FROM"));
            }
        }
        if self.force_quote.is_some() && from {
            return unsupported("COPY force quote only available using COPY TO");
        }
        if self.header_match && !from {
            return unsupported("cannot use \"match\" with HEADER in COPY TO");
        }
        let byte = |text: Option<String>, default: u8, what: &str| match text.as_deref() {
            None => Ok(default),
            Some(text) => match text.as_bytes() {
                [byte] => Ok(*byte),
                _ => {
                    let message = format!("COPY {what} must be a single one-byte character");
                    Err(Error::new(ErrorKind::Unsupported, message))
                }
            },
        };
        let delimiter = byte(self.delimiter, if csv { b',' } else { b'\t' }, "delimiter")?;
        let quote = byte(self.quote, b'"', "quote")?;
        let escape = byte(self.escape, quote, "escape")?;
        let null = self.null.unwrap_or_else(|| if csv { "" } else { "\\N" }.to_owned());
        if matches!(delimiter, b'\n' | b'\r') {
            return invalid("COPY delimiter cannot be newline or carriage return");
        }
        if null.contains(['\n', '\r']) {
            return invalid("COPY null representation cannot use newline or carriage return");
        }
        if !csv && b"\\.abcdefghijklmnopqrstuvwxyz0123456789".contains(&delimiter) {
            let shown = char::from(delimiter);
            return invalid(&format!("COPY delimiter cannot be \"{shown}\""));
        }
        if csv && delimiter == quote {
            return invalid("COPY delimiter and quote must be different");
        }
        if null.as_bytes().contains(&delimiter) {
            return unsupported("COPY delimiter must not appear in the NULL specification");
        }
        if csv && null.as_bytes().contains(&quote) {
            return unsupported("CSV quote character must not appear in the NULL specification");
        }
        Ok(CopyOptions {
            format,
            delimiter,
            null,
            header: self.header.unwrap_or(false),
            header_match: self.header_match,
            quote,
            escape,
            force_quote: self.force_quote.unwrap_or_default(),
            force_null: self.force_null.unwrap_or_default(),
            force_not_null: self.force_not_null.unwrap_or_default(),
        })
    }
}
