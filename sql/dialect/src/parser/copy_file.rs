//! `COPY … TO 'place'`, `COPY … FROM 'place'`: files of a store.

use datafusion::common::format::ExplainStatementOptions;
use maru_core::{Error, ErrorKind, Result};
use sqlparser::ast;
use sqlparser::tokenizer::Token;

use super::{DfStatement, Words, fold, parse_query};
use crate::statement::{Name, OptionList, Statement};
use crate::write::{CopyTo, Insert, Write, WriteAction};

/// Parts a path from how its files are read: from options `name=value`, and from a part without `=`, which asks for the values of
/// text as they are written. Stands in no path.
pub const READ_OPTIONS: char = '\u{1}';

impl Words<'_> {
    /// Reads `EXPLAIN [ANALYZE] COPY …`; `None` if that does not come next.
    pub(super) fn explain_copy(&mut self) -> Result<Option<Statement>> {
        let analyze = self.sees(&["explain", "analyze", "copy"]);
        if !analyze && !self.sees(&["explain", "copy"]) {
            return Ok(None);
        }
        self.take(&["explain"]);
        self.take(&["analyze"]);
        self.take(&["copy"]);
        match self.copy()? {
            Statement::Write(mut write) => {
                let options = ExplainStatementOptions { analyze, ..Default::default() };
                write.explain = Some(Box::new(options));
                Ok(Some(Statement::Write(write)))
            }
            _ => Err(Error::unsupported("EXPLAIN of COPY over the connection")
                .with_hint("EXPLAIN the query or the INSERT itself.")),
        }
    }

    /// Reads what follows the place.
    pub(super) fn copy_file(
        &mut self,
        query: DfStatement,
        table: Option<Name>,
        from: bool,
        path: String,
    ) -> Result<Statement> {
        let (options, partition_by) = self.file_options()?;
        let query = match query {
            DfStatement::Statement(statement) => match *statement {
                ast::Statement::Query(query) => query,
                _ => return Err(Error::internal("COPY without a query")),
            },
            _ => return Err(Error::internal("COPY without a query")),
        };
        let action = match (from, table) {
            (false, _) => {
                WriteAction::CopyTo(Box::new(CopyTo { query, path, options, partition_by }))
            }
            (true, Some(table)) => WriteAction::CopyFrom(Insert {
                table,
                columns: columns_of(&query),
                source: read(&path, &options)?,
                overwrite: false,
                partition: Vec::new(),
                on_conflict: None,
                returning: None,
            }),
            (true, None) => return Err(self.unexpected("TO")),
        };
        Ok(Statement::Write(Box::new(Write { explain: None, action })))
    }

    /// Reads `[WITH] (NAME value, …)`.
    fn file_options(&mut self) -> Result<(OptionList, Vec<String>)> {
        let mut options = OptionList::default();
        let mut partition_by = Vec::new();
        self.take(&["with"]);
        if !self.0.parser.consume_token(&Token::LParen) {
            self.end()?;
            return Ok((options, partition_by));
        }
        loop {
            let name = self.ident()?;
            if options.0.iter().any(|(known, _)| *known == name) {
                return Err(Error::new(ErrorKind::Syntax, "conflicting or redundant options"));
            }
            if name == "partition_by" {
                partition_by = self.some_columns()?;
            } else {
                let value = self.file_option()?;
                options.0.push((name, value));
            }
            if !self.0.parser.consume_token(&Token::Comma) {
                break;
            }
        }
        self.token(&Token::RParen, ")")?;
        Ok((options, partition_by))
    }

    /// Reads a value; one that is left out is true.
    fn file_option(&mut self) -> Result<String> {
        if let Ok(text) = self.string() {
            return Ok(text);
        }
        match self.0.parser.peek_token().token {
            Token::Word(_) => self.ident(),
            Token::Number(text, _) => {
                self.0.parser.next_token();
                Ok(text)
            }
            Token::Comma | Token::RParen => Ok("true".to_owned()),
            _ => Err(self.unexpected("a value")),
        }
    }

    fn some_columns(&mut self) -> Result<Vec<String>> {
        if !self.0.parser.consume_token(&Token::LParen) {
            return Ok(vec![self.ident()?]);
        }
        let mut columns = vec![self.ident()?];
        while self.0.parser.consume_token(&Token::Comma) {
            columns.push(self.ident()?);
        }
        self.token(&Token::RParen, ")")?;
        Ok(columns)
    }
}

/// Returns the columns that `SELECT a, b FROM t` names.
fn columns_of(query: &ast::Query) -> Vec<String> {
    let ast::SetExpr::Select(select) = query.body.as_ref() else { return Vec::new() };
    let names = select.projection.iter().filter_map(|item| match item {
        ast::SelectItem::UnnamedExpr(ast::Expr::Identifier(name)) => Some(fold(name)),
        _ => None,
    });
    names.collect()
}

/// Returns the query that reads a place as a table.
fn read(path: &str, options: &OptionList) -> Result<Box<ast::Query>> {
    let mut place = path.to_owned();
    for (name, value) in &options.0 {
        place.push(READ_OPTIONS);
        place.push_str(&format!("{name}={value}"));
    }
    place.push(READ_OPTIONS);
    place.push_str("as_written");
    let text = format!("SELECT * FROM {}", maru_core::quote_literal(&place));
    match parse_query(&text, "COPY")? {
        Statement::Query { statement, .. } => match *statement {
            DfStatement::Statement(statement) => match *statement {
                ast::Statement::Query(query) => Ok(query),
                _ => Err(Error::internal("a place is no query")),
            },
            _ => Err(Error::internal("a place is no query")),
        },
        _ => Err(Error::internal("a place is no query")),
    }
}
