//! Paths of SQL/JSON read from their text.

use maru_core::{Error, ErrorKind, Result};
use regex::{Regex, RegexBuilder};

use super::super::Json;
use super::tokens::{Token, syntax, tokens};

/// Parts in parts beyond this are refused.
const DEPTH_MAX: usize = 200;

/// A path that is ready to be followed.
#[derive(Debug)]
pub(super) struct Path {
    pub(super) strict: bool,
    pub(super) root: Node,
}

#[derive(Debug)]
pub(super) enum Node {
    /// `$`
    Root,
    /// `@`
    Current,
    /// `last`
    Last,
    Variable(String),
    Literal(Json),
    Steps(Box<Self>, Vec<Step>),
    Sign {
        negative: bool,
        of: Box<Self>,
    },
    Sum(Arithmetic, Box<Self>, Box<Self>),
    Compare(Comparison, Box<Self>, Box<Self>),
    And(Box<Self>, Box<Self>),
    Or(Box<Self>, Box<Self>),
    Not(Box<Self>),
    IsUnknown(Box<Self>),
    Exists(Box<Self>),
    StartsWith(Box<Self>, Box<Self>),
    Like(Box<Self>, Regex),
}

impl Node {
    pub(super) fn is_predicate(&self) -> bool {
        matches!(
            self,
            Self::Compare(..)
                | Self::And(..)
                | Self::Or(..)
                | Self::Not(_)
                | Self::IsUnknown(_)
                | Self::Exists(_)
                | Self::StartsWith(..)
                | Self::Like(..)
        )
    }
}

#[derive(Debug)]
pub(super) enum Step {
    Key(String),
    AnyKey,
    AnyElement,
    Elements(Vec<(Node, Option<Node>)>),
    /// `.**{from to to}`; `None`: the last level.
    Levels(Option<u32>, Option<u32>),
    Filter(Node),
    Method(Method),
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Method {
    Type,
    Size,
    Double,
    Ceiling,
    Floor,
    Abs,
    KeyValue,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Arithmetic {
    Add,
    Subtract,
    Multiply,
    Divide,
    Modulo,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// Reads a path.
///
/// # Errors
/// 42601 for what is none, 22P02 for an empty text, 0A000 for what is not supported.
pub(super) fn parse(text: &str) -> Result<Path> {
    let tokens = tokens(text)?;
    if tokens.is_empty() {
        let what = format!("invalid input syntax for type jsonpath: \"{text}\"");
        return Err(Error::new(ErrorKind::InvalidText, what));
    }
    let mut parser = Parser { tokens, at: 0, depth: 0, in_filter: false, in_subscript: false };
    let strict = match parser.peek() {
        Some(Token::Word(word)) if word == "strict" || word == "lax" => {
            let strict = word == "strict";
            parser.at += 1;
            strict
        }
        _ => false,
    };
    let root = parser.or()?;
    match parser.at == parser.tokens.len() {
        true => Ok(Path { strict, root }),
        false => Err(parser.unexpected()),
    }
}

struct Parser {
    tokens: Vec<Token>,
    at: usize,
    depth: usize,
    in_filter: bool,
    in_subscript: bool,
}

impl Parser {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at)
    }

    fn unexpected(&self) -> Error {
        match self.peek() {
            Some(token) => syntax(format!("{token:?} is not expected.")),
            None => syntax("The path ends too early."),
        }
    }

    fn is_sign(&self, sign: &str) -> bool {
        matches!(self.peek(), Some(Token::Sign(found)) if *found == sign)
    }

    fn is_word(&self, word: &str) -> bool {
        matches!(self.peek(), Some(Token::Word(found)) if found == word)
    }

    fn takes(&mut self, sign: &str) -> bool {
        let taken = self.is_sign(sign);
        self.at += usize::from(taken);
        taken
    }

    fn takes_word(&mut self, word: &str) -> bool {
        let taken = self.is_word(word);
        self.at += usize::from(taken);
        taken
    }

    fn expect(&mut self, sign: &str) -> Result<()> {
        if self.takes(sign) { Ok(()) } else { Err(self.unexpected()) }
    }

    fn or(&mut self) -> Result<Node> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(Error::new(ErrorKind::LimitExceeded, "a path is nested too deeply"));
        }
        let mut left = self.and()?;
        while self.takes("||") {
            left = Node::Or(predicate(left)?, predicate(self.and()?)?);
        }
        self.depth -= 1;
        Ok(left)
    }

    fn and(&mut self) -> Result<Node> {
        let mut left = self.comparison()?;
        while self.takes("&&") {
            left = Node::And(predicate(left)?, predicate(self.comparison()?)?);
        }
        Ok(left)
    }

    fn comparison(&mut self) -> Result<Node> {
        if self.takes("!") {
            let of = if self.is_word("exists") { self.primary()? } else { self.group()? };
            return Ok(Node::Not(predicate(of)?));
        }
        let left = self.sum()?;
        let comparison = match self.peek() {
            Some(Token::Sign("==" | "=")) => Comparison::Equal,
            Some(Token::Sign("!=" | "<>")) => Comparison::NotEqual,
            Some(Token::Sign("<")) => Comparison::Less,
            Some(Token::Sign("<=")) => Comparison::LessOrEqual,
            Some(Token::Sign(">")) => Comparison::Greater,
            Some(Token::Sign(">=")) => Comparison::GreaterOrEqual,
            Some(Token::Word(word)) if word == "starts" => {
                self.at += 1;
                if !self.takes_word("with") {
                    return Err(self.unexpected());
                }
                let start = match self.peek().cloned() {
                    Some(Token::Quoted(text)) => Node::Literal(Json::String(text)),
                    Some(Token::Variable(name)) => Node::Variable(name),
                    _ => return Err(self.unexpected()),
                };
                self.at += 1;
                return Ok(Node::StartsWith(value(left)?, Box::new(start)));
            }
            Some(Token::Word(word)) if word == "like_regex" => {
                self.at += 1;
                let regex = self.regex()?;
                return Ok(Node::Like(value(left)?, regex));
            }
            _ => return Ok(left),
        };
        self.at += 1;
        Ok(Node::Compare(comparison, value(left)?, value(self.sum()?)?))
    }

    /// A condition in parentheses.
    fn group(&mut self) -> Result<Node> {
        self.expect("(")?;
        let inner = self.or()?;
        self.expect(")")?;
        Ok(inner)
    }

    fn regex(&mut self) -> Result<Regex> {
        let Some(Token::Quoted(pattern)) = self.peek().cloned() else {
            return Err(self.unexpected());
        };
        self.at += 1;
        let mut flags = String::new();
        if self.takes_word("flag") {
            let Some(Token::Quoted(given)) = self.peek().cloned() else {
                return Err(self.unexpected());
            };
            self.at += 1;
            flags = given;
        }
        let has = |flag: char| flags.contains(flag);
        if let Some(flag) = flags.chars().find(|flag| !"ismxq".contains(*flag)) {
            return Err(syntax(format!(
                "Unrecognized flag character \"{flag}\" in LIKE_REGEX predicate."
            )));
        }
        if has('x') && !has('q') {
            return Err(Error::unsupported(
                "XQuery \"x\" flag (expanded regular expressions) is not implemented",
            ));
        }
        let pattern = if has('q') { regex::escape(&pattern) } else { pattern };
        RegexBuilder::new(&pattern)
            .case_insensitive(has('i'))
            .dot_matches_new_line(has('s'))
            .multi_line(has('m'))
            .build()
            .map_err(|error| {
                Error::unsupported("a regular expression of a path is not supported")
                    .with_detail(error.to_string())
            })
    }

    fn sum(&mut self) -> Result<Node> {
        let mut left = self.product()?;
        loop {
            let operation = match self.peek() {
                Some(Token::Sign("+")) => Arithmetic::Add,
                Some(Token::Sign("-")) => Arithmetic::Subtract,
                _ => return Ok(left),
            };
            self.at += 1;
            left = Node::Sum(operation, value(left)?, value(self.product()?)?);
        }
    }

    fn product(&mut self) -> Result<Node> {
        let mut left = self.signed()?;
        loop {
            let operation = match self.peek() {
                Some(Token::Sign("*")) => Arithmetic::Multiply,
                Some(Token::Sign("/")) => Arithmetic::Divide,
                Some(Token::Sign("%")) => Arithmetic::Modulo,
                _ => return Ok(left),
            };
            self.at += 1;
            left = Node::Sum(operation, value(left)?, value(self.signed()?)?);
        }
    }

    fn signed(&mut self) -> Result<Node> {
        let mut signs = Vec::new();
        while self.is_sign("-") || self.is_sign("+") {
            signs.push(self.is_sign("-"));
            self.at += 1;
        }
        let mut of = self.primary()?;
        for negative in signs.into_iter().rev() {
            of = Node::Sign { negative, of: value(of)? };
        }
        Ok(of)
    }

    fn primary(&mut self) -> Result<Node> {
        let Some(token) = self.peek().cloned() else { return Err(self.unexpected()) };
        self.at += 1;
        let start = match token {
            Token::Sign("$") => Node::Root,
            Token::Sign("@") if self.in_filter => Node::Current,
            Token::Sign("@") => {
                return Err(Error::new(ErrorKind::Syntax, "@ is not allowed in root expressions"));
            }
            Token::Sign("(") => {
                let inner = self.or()?;
                self.expect(")")?;
                if inner.is_predicate() {
                    if self.is_word("is") {
                        self.at += 1;
                        if !self.takes_word("unknown") {
                            return Err(self.unexpected());
                        }
                        return Ok(Node::IsUnknown(Box::new(inner)));
                    }
                    if !self.begins_step() {
                        return Ok(inner);
                    }
                }
                inner
            }
            Token::Variable(name) => Node::Variable(name),
            Token::Number(number) => Node::Literal(Json::Number(number)),
            Token::Quoted(text) => Node::Literal(Json::String(text)),
            Token::Word(word) => match word.as_str() {
                "true" => Node::Literal(Json::Boolean(true)),
                "false" => Node::Literal(Json::Boolean(false)),
                "null" => Node::Literal(Json::Null),
                "last" if self.in_subscript => Node::Last,
                "last" => {
                    let what = "LAST is allowed only in array subscripts";
                    return Err(Error::new(ErrorKind::Syntax, what));
                }
                "exists" => {
                    self.expect("(")?;
                    let inner = self.sum()?;
                    self.expect(")")?;
                    return Ok(Node::Exists(value(inner)?));
                }
                _ => {
                    self.at -= 1;
                    return Err(self.unexpected());
                }
            },
            Token::Sign(_) => {
                self.at -= 1;
                return Err(self.unexpected());
            }
        };
        let mut steps = Vec::new();
        while self.begins_step() {
            steps.push(self.step()?);
        }
        Ok(if steps.is_empty() { start } else { Node::Steps(Box::new(start), steps) })
    }

    fn begins_step(&self) -> bool {
        self.is_sign(".") || self.is_sign("[") || self.is_sign("?")
    }

    fn step(&mut self) -> Result<Step> {
        if self.takes("?") {
            let outer = std::mem::replace(&mut self.in_filter, true);
            let condition = self.group();
            self.in_filter = outer;
            return Ok(Step::Filter(*predicate(condition?)?));
        }
        if self.takes("[") {
            if self.is_sign("*") && self.tokens.get(self.at + 1) == Some(&Token::Sign("]")) {
                self.at += 2;
                return Ok(Step::AnyElement);
            }
            let outer = std::mem::replace(&mut self.in_subscript, true);
            let elements = self.subscripts();
            self.in_subscript = outer;
            return elements.map(Step::Elements);
        }
        self.expect(".")?;
        if self.takes("*") {
            return Ok(Step::AnyKey);
        }
        if self.takes("**") {
            return self.levels();
        }
        let (name, is_word) = match self.peek().cloned() {
            Some(Token::Word(word)) => (word, true),
            Some(Token::Quoted(name)) => (name, false),
            _ => return Err(self.unexpected()),
        };
        self.at += 1;
        if !is_word || !self.is_sign("(") {
            return Ok(Step::Key(name));
        }
        let method = match name.as_str() {
            "type" => Method::Type,
            "size" => Method::Size,
            "double" => Method::Double,
            "ceiling" => Method::Ceiling,
            "floor" => Method::Floor,
            "abs" => Method::Abs,
            "keyvalue" => Method::KeyValue,
            "datetime" => {
                return Err(Error::unsupported(".datetime() is not supported in a path")
                    .with_hint("Compare dates in SQL: CAST(doc ->> 'day' AS date)."));
            }
            _ => return Err(self.unexpected()),
        };
        self.at += 1;
        self.expect(")")?;
        Ok(Step::Method(method))
    }

    fn subscripts(&mut self) -> Result<Vec<(Node, Option<Node>)>> {
        let mut found = Vec::new();
        loop {
            let from = self.sum()?;
            let to = if self.takes_word("to") { Some(self.sum()?) } else { None };
            found.push((from, to));
            if !self.takes(",") {
                break;
            }
        }
        self.expect("]")?;
        Ok(found)
    }

    fn levels(&mut self) -> Result<Step> {
        if !self.takes("{") {
            return Ok(Step::Levels(Some(0), None));
        }
        let from = self.level()?;
        let to = if self.takes_word("to") { self.level()? } else { from };
        self.expect("}")?;
        Ok(Step::Levels(from, to))
    }

    fn level(&mut self) -> Result<Option<u32>> {
        if self.takes_word("last") {
            return Ok(None);
        }
        match self.peek() {
            Some(Token::Number(number)) => {
                let level = number.parse().map_err(|_| self.unexpected())?;
                self.at += 1;
                Ok(Some(level))
            }
            _ => Err(self.unexpected()),
        }
    }
}

fn predicate(node: Node) -> Result<Box<Node>> {
    match node.is_predicate() {
        true => Ok(Box::new(node)),
        false => Err(syntax("A condition is expected.")),
    }
}

fn value(node: Node) -> Result<Box<Node>> {
    match node.is_predicate() {
        false => Ok(Box::new(node)),
        true => Err(syntax("A value is expected, and no condition.")),
    }
}
