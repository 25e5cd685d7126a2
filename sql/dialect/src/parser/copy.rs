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
    quote: Option<String>,
    escape: Option<String>,
    force_quote: Option<ForceQuote>,
    force_null: bool,
    encoding: Option<String>,
}

impl Words<'_> {
    /// Reads what follows the word `COPY`.
    pub(super) fn copy(&mut self) -> Result<Statement> {
        let (query, table) = if self.0.parser.consume_token(&Token::LParen) {
            let query = self.0.parser.parse_query().map_err(DataFusionError::from)?;
            self.token(&Token::RParen, ")")?;
            let query = sqlparser::ast::Statement::Query(query);
            (DfStatement::Statement(Box::new(query)), None)
        } else {
            let (query, name) = self.copied_table()?;
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
        } else {
            while self.0.parser.peek_token().token != Token::EOF {
                self.old_copy_option(&mut given)?;
            }
        }
        let options = given.settle(from)?;
        let query = Box::new(query);
        Ok(Statement::Copy(Box::new(Copy { query, table, from, file, options })))
    }

    fn copied_table(&mut self) -> Result<(DfStatement, Name)> {
        let name = self.name()?;
        let mut columns = Vec::new();
        if self.0.parser.consume_token(&Token::LParen) {
            loop {
                columns.push(quote_ident(&self.ident()?));
                if !self.0.parser.consume_token(&Token::Comma) {
                    break;
                }
            }
            self.token(&Token::RParen, ")")?;
        }
        let columns = if columns.is_empty() { "*".to_owned() } else { columns.join(", ") };
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
                if self.take(&["match"]) {
                    let message = "cannot use \"match\" with HEADER in COPY TO";
                    return Err(Error::new(ErrorKind::Unsupported, message));
                }
                let header = self.boolean("header").map_err(|_| {
                    Error::new(ErrorKind::Syntax, "header requires a Boolean value or \"match\"")
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
            "force_null" | "force_not_null" => {
                self.quoted_columns()?;
                given.force_null = true;
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
                let mut columns = vec![self.ident()?];
                while self.0.parser.consume_token(&Token::Comma) {
                    columns.push(self.ident()?);
                }
                ForceQuote::Columns(columns)
            });
        } else {
            return Err(self.unexpected("an option of COPY"));
        }
        Ok(())
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
        if self.force_null && !from {
            return unsupported("COPY force null only available using COPY FROM");
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
            quote,
            escape,
            force_quote: self.force_quote.unwrap_or(ForceQuote::Columns(Vec::new())),
        })
    }
}
