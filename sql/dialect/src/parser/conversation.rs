//! `BEGIN …`, `PREPARE`, `EXECUTE`, `DEALLOCATE`, `DECLARE`, `FETCH`, `CLOSE`, `LISTEN`, `NOTIFY`, `EXPLAIN (…)`.

use datafusion::common::format::{ExplainFormat, ExplainStatementOptions};
use datafusion::sql::parser::ExplainStatement;
use maru_core::{Error, ErrorKind, Result};
use sqlparser::tokenizer::Token;

use super::{DfStatement, Words, lower};
use crate::conversation::*;
use crate::statement::{SetScope, SetVariable, Statement};

/// How the plan of a prepared statement is asked for, with `ANALYZE` and with `VERBOSE`.
const EXPLAIN_EXECUTE: [(&[&str], bool, bool); 4] = [
    (&["explain", "execute"], false, false),
    (&["explain", "analyze", "execute"], true, false),
    (&["explain", "verbose", "execute"], false, true),
    (&["explain", "analyze", "verbose", "execute"], true, true),
];

impl Words<'_> {
    /// Reads one of these statements; `None` leaves the text untouched.
    pub(super) fn conversation(&mut self, sql: &str) -> Result<Option<Statement>> {
        if let Some(transaction) = self.transaction()? {
            return Ok(Some(Statement::Transaction(transaction)));
        }
        let of_all = self.take(&["set", "session", "characteristics", "as", "transaction"]);
        if of_all
            || self.take(&["set", "transaction"])
            || self.take(&["set", "local", "transaction"])
        {
            let Some(read_only) = self.modes()? else {
                return Ok(Some(Statement::Discard { tag: "SET", resets: false }));
            };
            let name = match of_all {
                true => "default_transaction_read_only",
                false => "transaction_read_only",
            };
            return Ok(Some(Statement::Set(SetVariable {
                name: name.to_owned(),
                value: Some(if read_only { "on" } else { "off" }.to_owned()),
                scope: SetScope::Session,
            })));
        }
        if self.take(&["prepare"]) {
            return self.prepare(sql).map(Some);
        }
        if self.take(&["execute"]) {
            return Ok(Some(Statement::ExecutePrepared(self.execute()?)));
        }
        if self.take(&["deallocate"]) {
            if self.sees(&["prepare"]) && self.0.parser.peek_nth_token(1).token != Token::EOF {
                self.take(&["prepare"]);
            }
            let name = if self.take(&["all"]) { None } else { Some(self.ident()?) };
            return Ok(Some(Statement::Deallocate(name)));
        }
        if self.take(&["declare"]) {
            return self.declare(sql).map(Some);
        }
        for (word, moves) in [("fetch", false), ("move", true)] {
            if self.take(&[word]) {
                return self.fetch(moves).map(Some);
            }
        }
        if self.take(&["close"]) {
            let name = if self.take(&["all"]) { None } else { Some(self.ident()?) };
            return Ok(Some(Statement::CloseCursor(name)));
        }
        if let Some(channel) = self.channel()? {
            return Ok(Some(Statement::Channel(channel)));
        }
        for (words, analyze, verbose) in EXPLAIN_EXECUTE {
            if self.take(words) {
                let options = ExplainStatementOptions { analyze, verbose, ..Default::default() };
                return self.explain_execute(options).map(Some);
            }
        }
        let options = self.sees(&["explain"])
            && self.0.parser.peek_nth_token(1).token == Token::LParen
            && matches!(&self.0.parser.peek_nth_token(2).token, Token::Word(word)
                if !["select", "with", "values", "table"].contains(&word.value.to_lowercase().as_str()));
        if options {
            return self.explain().map(Some);
        }
        Ok(None)
    }

    fn channel(&mut self) -> Result<Option<Channel>> {
        if self.take(&["listen"]) {
            return Ok(Some(Channel::Listen(self.ident()?)));
        }
        if self.take(&["unlisten"]) {
            let all = self.0.parser.consume_token(&Token::Mul);
            let channel = if all { None } else { Some(self.ident()?) };
            return Ok(Some(Channel::Unlisten(channel)));
        }
        if self.take(&["notify"]) {
            let channel = self.ident()?;
            let has_text = self.0.parser.consume_token(&Token::Comma);
            let payload = if has_text { self.string()? } else { String::new() };
            return Ok(Some(Channel::Notify { channel, payload }));
        }
        Ok(None)
    }

    fn transaction(&mut self) -> Result<Option<Transaction>> {
        if self.take(&["begin"]) {
            self.work();
            let read_only = self.modes()?;
            return Ok(Some(Transaction::Begin { tag: "BEGIN", read_only }));
        }
        if self.take(&["start", "transaction"]) {
            let read_only = self.modes()?;
            return Ok(Some(Transaction::Begin { tag: "START TRANSACTION", read_only }));
        }
        if self.sees(&["commit", "prepared"]) || self.sees(&["rollback", "prepared"]) {
            return Err(two_phases());
        }
        if self.take(&["commit"]) || self.take(&["end"]) {
            self.work();
            return Ok(Some(Transaction::Commit { chain: self.chain()? }));
        }
        let rollback = self.take(&["rollback"]);
        if rollback || self.take(&["abort"]) {
            self.work();
            if rollback && self.take(&["to"]) {
                self.take(&["savepoint"]);
                return Ok(Some(Transaction::RollbackTo(self.ident()?)));
            }
            return Ok(Some(Transaction::Rollback { chain: self.chain()? }));
        }
        if self.take(&["savepoint"]) {
            return Ok(Some(Transaction::Savepoint(self.ident()?)));
        }
        if self.take(&["release"]) {
            if self.sees(&["savepoint"]) && self.0.parser.peek_nth_token(1).token != Token::EOF {
                self.take(&["savepoint"]);
            }
            return Ok(Some(Transaction::Release(self.ident()?)));
        }
        Ok(None)
    }

    fn work(&mut self) {
        if !self.take(&["work"]) {
            self.take(&["transaction"]);
        }
    }

    fn chain(&mut self) -> Result<bool> {
        if !self.take(&["and"]) {
            return Ok(false);
        }
        let chain = !self.take(&["no"]);
        self.expect(&["chain"])?;
        Ok(chain)
    }

    /// Reads the modes of a transaction, and returns whether it only reads, if they say so. The others change nothing: every
    /// statement reads what is there when it starts, and none of them locks.
    fn modes(&mut self) -> Result<Option<bool>> {
        const MODES: &[&[&str]] = &[
            &["isolation", "level", "serializable"],
            &["isolation", "level", "repeatable", "read"],
            &["isolation", "level", "read", "committed"],
            &["isolation", "level", "read", "uncommitted"],
            &["not", "deferrable"],
            &["deferrable"],
        ];
        let mut read_only = None;
        while self.0.parser.peek_token().token != Token::EOF {
            if self.take(&["read", "only"]) {
                read_only = Some(true);
            } else if self.take(&["read", "write"]) {
                read_only = Some(false);
            } else if !MODES.iter().any(|words| self.take(words)) {
                return Err(self.unexpected("ISOLATION LEVEL, READ ONLY or READ WRITE"));
            }
            let _ = self.0.parser.consume_token(&Token::Comma);
        }
        Ok(read_only)
    }

    fn prepare(&mut self, sql: &str) -> Result<Statement> {
        if matches!(self.0.parser.peek_nth_token(1).token, Token::SingleQuotedString(_))
            && self.sees(&["transaction"])
        {
            return Err(two_phases());
        }
        let name = self.ident()?;
        let mut types = Vec::new();
        if self.0.parser.consume_token(&Token::LParen) {
            loop {
                types.push(self.0.parser.parse_data_type().map_err(super::DataFusionError::from)?);
                if !self.0.parser.consume_token(&Token::Comma) {
                    break;
                }
            }
            self.token(&Token::RParen, ")")?;
        }
        self.expect(&["as"])?;
        const PREPARED: [&str; 9] =
            ["select", "values", "with", "table", "insert", "update", "delete", "merge", "show"];
        let starts = PREPARED.iter().any(|word| self.sees(&[word]))
            || self.0.parser.peek_token().token == Token::LParen;
        if !starts {
            return Err(self.unexpected("a query"));
        }
        let statement = self.rest(sql)?;
        Ok(Statement::Prepare(Prepare { name, types, statement }))
    }

    fn execute(&mut self) -> Result<ExecutePrepared> {
        let name = self.ident()?;
        let mut arguments = Vec::new();
        if self.0.parser.consume_token(&Token::LParen) {
            loop {
                arguments.push(self.0.parser.parse_expr().map_err(super::DataFusionError::from)?);
                if !self.0.parser.consume_token(&Token::Comma) {
                    break;
                }
            }
            self.token(&Token::RParen, ")")?;
        }
        Ok(ExecutePrepared { name, arguments })
    }

    fn explain_execute(&mut self, options: ExplainStatementOptions) -> Result<Statement> {
        let execute = self.execute()?;
        Ok(Statement::ExplainExecute(Box::new(ExplainExecute { options, execute })))
    }

    fn declare(&mut self, sql: &str) -> Result<Statement> {
        let name = self.ident()?;
        let (mut binary, mut scroll) = (false, false);
        while !self.take(&["cursor"]) {
            if self.take(&["binary"]) {
                binary = true;
            } else if self.take(&["no", "scroll"]) {
                scroll = false;
            } else if self.take(&["scroll"]) {
                scroll = true;
            } else if !self.take(&["insensitive"]) && !self.take(&["asensitive"]) {
                return Err(self.unexpected("CURSOR"));
            }
        }
        let hold = self.take(&["with", "hold"]);
        if !hold {
            self.take(&["without", "hold"]);
        }
        self.expect(&["for"])?;
        let query = self.rest(sql)?;
        Ok(Statement::DeclareCursor(DeclareCursor { name, binary, scroll, hold, query }))
    }

    fn fetch(&mut self, moves: bool) -> Result<Statement> {
        // A word that stands alone is the name of the cursor.
        let alone = self.0.parser.peek_nth_token(1).token == Token::EOF;
        let direction = match alone {
            true => Direction::Forward(1),
            false => self.direction()?,
        };
        if !self.take(&["from"]) {
            self.take(&["in"]);
        }
        let name = self.ident()?;
        Ok(Statement::Fetch(Fetch { name, direction, moves }))
    }

    fn direction(&mut self) -> Result<Direction> {
        if self.take(&["next"]) {
            return Ok(Direction::Forward(1));
        }
        if self.take(&["prior"]) {
            return Ok(Direction::Forward(-1));
        }
        if self.take(&["first"]) {
            return Ok(Direction::Absolute(1));
        }
        if self.take(&["last"]) {
            return Ok(Direction::Last);
        }
        if self.take(&["all"]) {
            return Ok(Direction::ForwardAll);
        }
        if self.take(&["absolute"]) {
            return self
                .count()?
                .map(Direction::Absolute)
                .ok_or_else(|| self.unexpected("a number"));
        }
        if self.take(&["relative"]) {
            return self
                .count()?
                .map(Direction::Relative)
                .ok_or_else(|| self.unexpected("a number"));
        }
        let backward = self.take(&["backward"]);
        if backward || self.take(&["forward"]) {
            if self.take(&["all"]) {
                return Ok(if backward { Direction::BackwardAll } else { Direction::ForwardAll });
            }
            let count = self.count()?.unwrap_or(1);
            return Ok(Direction::Forward(if backward { count.saturating_neg() } else { count }));
        }
        Ok(Direction::Forward(self.count()?.unwrap_or(1)))
    }

    /// Reads a whole number, if one comes next.
    fn count(&mut self) -> Result<Option<i64>> {
        let minus = self.0.parser.consume_token(&Token::Minus);
        let Token::Number(text, _) = self.0.parser.peek_token().token else {
            return if minus { Err(self.unexpected("a number")) } else { Ok(None) };
        };
        let count = text.parse::<i64>().map_err(|_| self.unexpected("a whole number"))?;
        self.0.parser.next_token();
        Ok(Some(if minus { -count } else { count }))
    }

    fn explain(&mut self) -> Result<Statement> {
        self.expect(&["explain"])?;
        self.token(&Token::LParen, "(")?;
        let mut options = ExplainStatementOptions::default();
        let mut wants_analyze = None;
        let mut format = "text".to_owned();
        loop {
            let name = self.ident()?;
            match name.as_str() {
                "format" => {
                    format = match self.string() {
                        Ok(text) => text.to_lowercase(),
                        Err(_) => self.ident()?,
                    };
                }
                "analyze" => options.analyze = self.boolean(&name)?,
                "verbose" => options.verbose = self.boolean(&name)?,
                "timing" | "wal" => {
                    if self.boolean(&name)? {
                        wants_analyze = Some(name.to_uppercase());
                    }
                }
                // What they tell is always told, or there is none of it.
                "costs" | "settings" | "buffers" | "summary" | "generic_plan" | "memory" => {
                    self.boolean(&name)?;
                }
                _ => {
                    return Err(Error::new(
                        ErrorKind::Syntax,
                        format!("unrecognized EXPLAIN option \"{name}\""),
                    ));
                }
            }
            if !self.0.parser.consume_token(&Token::Comma) {
                break;
            }
        }
        self.token(&Token::RParen, ")")?;
        match wants_analyze {
            Some(name) if !options.analyze => {
                return Err(Error::new(
                    ErrorKind::InvalidParameter,
                    format!("EXPLAIN option {name} requires ANALYZE"),
                ));
            }
            _ => {}
        }
        match format.as_str() {
            "text" => {}
            "json" => {
                options.format = Some(ExplainFormat::PostgresJSON);
                options.verbose = false;
            }
            "xml" | "yaml" => {
                return Err(Error::unsupported(format!("EXPLAIN has no format {format}"))
                    .with_hint("Use FORMAT TEXT or FORMAT JSON."));
            }
            _ => {
                return Err(Error::new(
                    ErrorKind::InvalidParameter,
                    format!("unrecognized value for EXPLAIN option \"format\": \"{format}\""),
                ));
            }
        }
        if self.take(&["execute"]) {
            return self.explain_execute(options);
        }
        let statement = Box::new(self.0.parse_statement()?);
        lower(DfStatement::Explain(ExplainStatement { options, statement }), "")
    }

    /// Reads the value of an option that is on or off; none is on.
    pub(super) fn boolean(&mut self, name: &str) -> Result<bool> {
        let token = self.0.parser.peek_token().token;
        let word = match &token {
            Token::Comma | Token::RParen => return Ok(true),
            Token::Word(word) => word.value.to_lowercase(),
            Token::Number(text, _) | Token::SingleQuotedString(text) => text.to_lowercase(),
            _ => String::new(),
        };
        let value = match word.as_str() {
            "true" | "on" | "1" => true,
            "false" | "off" | "0" => false,
            _ => {
                let message = format!("{name} requires a Boolean value");
                return Err(Error::new(ErrorKind::Syntax, message));
            }
        };
        self.0.parser.next_token();
        Ok(value)
    }

    /// Takes all that is left, as it is written in `sql`.
    fn rest(&mut self, sql: &str) -> Result<Inner> {
        let place = self.0.parser.peek_token();
        if place.token == Token::EOF {
            return Err(self.unexpected("a statement"));
        }
        let (line, column) = (place.span.start.line as usize, place.span.start.column as usize);
        let before: usize =
            sql.split_inclusive('\n').take(line.saturating_sub(1)).map(|l| l.chars().count()).sum();
        let offset = before + column.saturating_sub(1);
        while self.0.parser.next_token().token != Token::EOF {}
        Ok(Inner { text: sql.chars().skip(offset).collect(), offset })
    }
}

fn two_phases() -> Error {
    Error::unsupported("prepared transactions are not supported")
        .with_hint("PREPARE name AS query prepares a statement.")
}
