//! The steps of a pipeline: what comes between `BEGIN` and `END`, loops and expectations among it.

use crate::MaruDialect;
use datafusion::error::DataFusionError;
use maru_core::{Error, Result};
use sqlparser::parser::ParserError;
use sqlparser::tokenizer::{Token, TokenWithSpan, Tokenizer};

use super::{Places, is_space, is_word, unexpected};
use crate::statement::*;

/// The variable of a loop and its values, as SQL.
type Loop = (String, Vec<String>);

/// Reads the steps between `BEGIN` and `END`.
pub(super) struct Steps<'a> {
    sql: &'a str,
    places: Places<'a>,
    /// Without white space.
    tokens: Vec<TokenWithSpan>,
    at: usize,
    /// Characters before the steps in the statement.
    offset: usize,
}

impl<'a> Steps<'a> {
    pub(super) fn new(sql: &'a str, text: &'a str, offset: usize) -> Result<Self> {
        let tokens = Tokenizer::new(&MaruDialect, text).tokenize_with_location();
        let tokens = tokens.map_err(|error| {
            Error::from(DataFusionError::from(ParserError::from(error))).of_part(sql, text, offset)
        })?;
        let tokens = tokens.into_iter().filter(|t| !is_space(&t.token) && t.token != Token::EOF);
        Ok(Self { sql, places: Places::new(text), tokens: tokens.collect(), at: 0, offset })
    }

    fn peek(&self) -> Option<&TokenWithSpan> {
        self.tokens.get(self.at)
    }

    fn place(&self) -> usize {
        self.peek().map_or(self.places.chars.len(), |token| self.places.start(token))
    }

    fn take(&mut self, words: &[&str]) -> bool {
        let sees = words.iter().enumerate().all(|(i, word)| {
            self.tokens.get(self.at + i).is_some_and(|token| is_word(token, word))
        });
        if sees {
            self.at += words.len();
        }
        sees
    }

    fn token(&mut self, wanted: &Token) -> bool {
        let sees = self.peek().is_some_and(|token| token.token == *wanted);
        self.at += usize::from(sees);
        sees
    }

    fn unexpected(&self, expected: &str) -> Error {
        let text = self.places.sql;
        unexpected(&self.places, self.peek(), expected).of_part(self.sql, text, self.offset)
    }

    fn ident(&mut self) -> Result<(String, usize)> {
        let offset = self.offset + self.place();
        let name = match self.peek().map(|token| &token.token) {
            Some(Token::Word(word)) => {
                crate::parser::fold(&word.to_ident(sqlparser::tokenizer::Span::empty()))
            }
            _ => return Err(self.unexpected("a name")),
        };
        self.at += 1;
        Ok((name, offset))
    }

    /// Reads `( query )`.
    fn query(&mut self, what: &str) -> Result<SqlPart> {
        if !self.token(&Token::LParen) {
            return Err(self.unexpected(what));
        }
        let from = self.tokens[self.at - 1].span.start;
        let from = self.places.at(from) + 1;
        let mut depth = 1_usize;
        while let Some(token) = self.peek() {
            match token.token {
                Token::LParen => depth += 1,
                Token::RParen => depth -= 1,
                _ => {}
            }
            let to = self.places.start(token);
            self.at += 1;
            if depth == 0 {
                let (text, start) = self.places.part(from, to);
                return Ok(SqlPart { text, offset: self.offset + start });
            }
        }
        Err(self.unexpected(")"))
    }

    pub(super) fn read(mut self) -> Result<Vec<PipelineStep>> {
        let mut steps = Vec::<PipelineStep>::new();
        // The names of loops, with how many steps each has become.
        let mut loops = Vec::new();
        while self.peek().is_some() {
            if self.token(&Token::SemiColon) {
                continue;
            }
            if !self.take(&["step"]) {
                return Err(self.unexpected("STEP"));
            }
            let (step, over) = self.step()?;
            match over {
                None => steps.push(step),
                Some((variable, values)) => {
                    loops.push((step.name.clone(), values.len()));
                    steps.extend(values.into_iter().enumerate().map(|(index, value)| {
                        PipelineStep {
                            name: format!("{}_{}", step.name, index + 1),
                            value: Some((variable.clone(), value)),
                            ..step.clone()
                        }
                    }));
                }
            }
            if self.peek().is_some() && !self.token(&Token::SemiColon) {
                return Err(self.unexpected(";"));
            }
        }
        for step in &mut steps {
            let after = std::mem::take(&mut step.after);
            step.after = after
                .into_iter()
                .flat_map(|(name, offset)| {
                    let turns = loops.iter().find(|(known, _)| *known == name).map(|(_, n)| *n);
                    match turns {
                        Some(n) => (1..=n).map(|turn| (format!("{name}_{turn}"), offset)).collect(),
                        None => vec![(name, offset)],
                    }
                })
                .collect();
        }
        Ok(steps)
    }

    /// Reads `variable IN (literal, …)`.
    fn over(&mut self) -> Result<Loop> {
        let (variable, _) = self.ident()?;
        if !self.take(&["in"]) {
            return Err(self.unexpected("IN and a list of values"));
        }
        if !self.token(&Token::LParen) {
            return Err(self.unexpected("( and a list of values"));
        }
        let mut values = Vec::new();
        loop {
            values.push(self.literal()?);
            if self.token(&Token::RParen) {
                return Ok((variable, values));
            }
            if !self.token(&Token::Comma) {
                return Err(self.unexpected(", or )"));
            }
        }
    }

    /// Reads a number, a text, or `DATE '…'` and the like, as SQL.
    fn literal(&mut self) -> Result<String> {
        let from = self.place();
        let negative = self.token(&Token::Minus);
        let word = match self.peek().map(|token| &token.token) {
            Some(Token::Word(word)) if !negative => {
                let known = ["date", "timestamp", "timestamptz", "time", "interval"];
                let is_type = known.iter().any(|known| word.value.eq_ignore_ascii_case(known));
                let alone = ["true", "false", "null"];
                let alone = alone.iter().any(|known| word.value.eq_ignore_ascii_case(known));
                if !is_type && !alone {
                    return Err(self.unexpected("a literal"));
                }
                self.at += 1;
                Some(alone)
            }
            _ => None,
        };
        if word != Some(true) {
            match self.peek().map(|token| &token.token) {
                Some(Token::SingleQuotedString(_)) if !negative => {}
                Some(Token::Number(..)) if word.is_none() => {}
                _ => return Err(self.unexpected("a literal")),
            }
            self.at += 1;
        }
        let (text, _) = self.places.part(from, self.places_end());
        Ok(if negative { format!("({text})") } else { text })
    }

    /// Where the last token that was read ends.
    fn places_end(&self) -> usize {
        let last = self.at.checked_sub(1).and_then(|at| self.tokens.get(at));
        last.map_or(0, |token| self.places.at(token.span.end))
    }

    /// Reads a step, and what it is to be repeated for.
    fn step(&mut self) -> Result<(PipelineStep, Option<Loop>)> {
        let (name, offset) = self.ident()?;
        let mut after = Vec::new();
        let mut when = None;
        let mut over = None;
        loop {
            if over.is_none() && self.take(&["for"]) {
                over = Some(self.over()?);
            } else if after.is_empty() && self.take(&["after"]) {
                after.push(self.ident()?);
                while self.token(&Token::Comma) {
                    after.push(self.ident()?);
                }
            } else if when.is_none() && self.take(&["when"]) {
                when = Some(self.query("( and a query that gives a boolean")?);
            } else {
                break;
            }
        }
        let body = if self.take(&["expect"]) {
            let name = match self.peek().map(|token| token.token.clone()) {
                Some(Token::SingleQuotedString(name)) => name,
                _ => return Err(self.unexpected("the name of the rule in single quotes")),
            };
            self.at += 1;
            let query = self.query("( and a query that gives a boolean")?;
            let (mut fails, mut retries) = (true, false);
            if self.take(&["on", "violation"]) {
                retries = self.take(&["retry"]);
                fails = retries || self.take(&["fail"]);
                if !fails && !self.take(&["warn"]) {
                    return Err(self.unexpected("FAIL, WARN or RETRY"));
                }
            }
            StepBody::Expect { name, query, fails, retries }
        } else if self.take(&["as"]) {
            let from = self.place();
            while self.peek().is_some_and(|token| token.token != Token::SemiColon) {
                self.at += 1;
            }
            let (text, start) = self.places.part(from, self.place());
            if text.is_empty() {
                return Err(self.unexpected("a statement"));
            }
            StepBody::Statement(SqlPart { text, offset: self.offset + start })
        } else {
            return Err(self.unexpected("FOR, AFTER, WHEN, AS or EXPECT"));
        };
        Ok((PipelineStep { name, offset, value: None, after, when, body }, over))
    }
}
