//! From text to [`Statement`]: Maru's own statements by hand, the rest by DataFusion's parser in PostgreSQL's dialect.

mod access;
mod adjacent;
mod change;
mod constraint;
mod conversation;
mod copy;
mod copy_file;
mod create;
mod depth;
mod faithful;
mod frames;
mod index;
pub mod model;
mod pipeline;
mod returning;
mod sets;
mod show;
mod signs;
mod table_command;
mod trim;
pub mod versions;
mod write;

use crate::MaruDialect;
use datafusion::error::DataFusionError;
use datafusion::sql::parser::{DFParser, DFParserBuilder, Statement as DfStatement};
use maru_core::{Error, ErrorKind, Result, limits, line_column};
use sqlparser::ast::{self, Value};
use sqlparser::parser::ParserError;
use sqlparser::tokenizer::{Token, Tokenizer};

use crate::statement::*;
use crate::write::{Write, WriteAction};
pub use copy_file::READ_OPTIONS;

const AT_END: &str = "syntax error at end of input";

/// Parses one statement (see [`split`](crate::split)).
///
/// # Errors
/// 42601 with line and column inside of `sql`; 54000 for nesting deeper than `nesting_max`; 0A000 for statements of
/// PostgreSQL that Maru does not have.
pub fn parse(sql: &str) -> Result<Statement> {
    read(sql).map_err(|error| at_end(error, sql))
}

/// What is missing at the end of a text has its place there: the parser underneath tells none.
fn at_end(error: Error, sql: &str) -> Error {
    if error.has_line_column() || error.message() != AT_END {
        return error;
    }
    let (line, column) = line_column(sql, sql.chars().count());
    error.with_line_column(line, column)
}

fn read(sql: &str) -> Result<Statement> {
    let tokens = Tokenizer::new(&MaruDialect, sql)
        .tokenize_with_location()
        .map_err(|error| DataFusionError::from(ParserError::from(error)))?;
    let tokens = frames::rewrite(signs::rewrite(tokens)?)?;
    depth::check(&tokens)?;
    if let Some(statement) = pipeline::create(sql, &tokens)? {
        return Ok(statement);
    }
    let tokens = faithful::rewrite(adjacent::rewrite(tokens)?)?;
    let odd_names = faithful::odd_names(&tokens);
    let mut parser = Words(
        DFParserBuilder::new(write::rewrite(table_command::rewrite(model::rewrite(
            versions::rewrite(trim::rewrite(tokens)),
        )?)))
        .with_dialect(&MaruDialect)
        .with_recursion_limit(limits::NESTING_MAX)
        .build()?,
    );
    let own = match parser.conversation(sql)? {
        Some(statement) => Some(statement),
        None => parser.own_statement()?,
    };
    let statement = match own {
        Some(statement) => statement,
        None => lower(parser.0.parse_statement()?, sql)?,
    };
    parser.end()?;
    faithful::check_names(&statement, &odd_names)?;
    Ok(statement)
}

/// Reads the name of a type; `None` for what is none.
pub fn parse_type(name: &str) -> Option<ast::DataType> {
    let mut parser = sqlparser::parser::Parser::new(&MaruDialect).try_with_sql(name).ok()?;
    let data_type = parser.parse_data_type().ok()?;
    (parser.peek_token().token == Token::EOF).then_some(data_type)
}

/// DataFusion's parser with the few verbs that reading words needs.
struct Words<'a>(DFParser<'a>);

impl Words<'_> {
    /// Reads a statement that only Maru has; `None` leaves the text untouched.
    fn own_statement(&mut self) -> Result<Option<Statement>> {
        if let Some(statement) = self.access()? {
            return Ok(Some(statement));
        }
        if let Some(statement) = self.model()? {
            return Ok(Some(statement));
        }
        if let Some(statement) = self.pipeline()? {
            return Ok(Some(statement));
        }
        if self.sees(&["create"]) {
            return self.create();
        }
        if self.take(&["alter", "catalog"]) {
            let (name, change) = self.alter_options()?;
            return Ok(Some(Statement::AlterCatalog(AlterCatalog { name, change })));
        }
        if self.take(&["alter", "resource", "group"]) {
            let (name, change) = self.alter_options()?;
            return Ok(Some(Statement::AlterResourceGroup(AlterResourceGroup { name, change })));
        }
        if self.take(&["drop", "resource", "group"]) {
            return self.drop_object(ObjectKind::ResourceGroup).map(Some);
        }
        if self.sees(&["drop", "catalog", "template"]) && self.names_after(3) {
            self.take(&["drop", "catalog", "template"]);
            return self.drop_object(ObjectKind::CatalogTemplate).map(Some);
        }
        if self.take(&["drop", "catalog"]) {
            return self.drop_object(ObjectKind::Catalog).map(Some);
        }
        if self.take(&["drop", "secret"]) {
            return self.drop_object(ObjectKind::Secret).map(Some);
        }
        if self.take(&["drop", "external", "table"]) {
            return self.drop_object(ObjectKind::Table).map(Some);
        }
        if self.take(&["drop", "index"]) {
            return self.drop_index().map(Some);
        }
        if self.take(&["comment", "on"]) {
            return self.comment_on().map(Some);
        }
        if self.take(&["cancel", "query"]) {
            return self.cancel_query().map(Some);
        }
        if self.take(&["discard"]) {
            let tags = [
                ("all", "DISCARD ALL"),
                ("plans", "DISCARD PLANS"),
                ("sequences", "DISCARD SEQUENCES"),
                ("temporary", "DISCARD TEMP"),
                ("temp", "DISCARD TEMP"),
            ];
            let tag = tags.into_iter().find(|(word, _)| self.take(&[word]));
            let (word, tag) =
                tag.ok_or_else(|| self.unexpected("ALL, PLANS, TEMP or SEQUENCES"))?;
            return Ok(Some(Statement::Discard { tag, resets: word == "all" }));
        }
        if self.take(&["reset"]) {
            let name = self.setting_name()?;
            let name = (!name.eq_ignore_ascii_case("all")).then_some(name);
            return Ok(Some(Statement::Reset(name)));
        }
        if self.take(&["copy"]) {
            return self.copy().map(Some);
        }
        if let Some(copy) = self.explain_copy()? {
            return Ok(Some(copy));
        }
        if self.take(&["optimize"]) {
            self.take(&["table"]);
            let action = WriteAction::Optimize(self.name()?);
            return Ok(Some(Statement::Write(Box::new(Write { explain: None, action }))));
        }
        if self.take(&["vacuum"]) {
            return self.vacuum().map(Some);
        }
        if self.take(&["preview"]) {
            return self.preview().map(Some);
        }
        if self.sees(&["show"]) || self.sees(&["describe"]) || self.sees(&["desc"]) {
            return self.show();
        }
        Ok(None)
    }

    fn alter_options(&mut self) -> Result<(String, CatalogChange)> {
        let name = self.ident()?;
        let change = if self.take(&["set"]) {
            CatalogChange::Set(self.option_list()?)
        } else if self.take(&["reset"]) {
            self.token(&Token::LParen, "(")?;
            let mut names = vec![self.ident()?];
            while self.0.parser.consume_token(&Token::Comma) {
                names.push(self.ident()?);
            }
            self.token(&Token::RParen, ")")?;
            CatalogChange::Reset(names)
        } else if self.take(&["rename", "to"]) {
            CatalogChange::Rename(self.ident()?)
        } else {
            return Err(self.unexpected("SET, RESET or RENAME TO"));
        };
        Ok((name, change))
    }

    fn drop_object(&mut self, kind: ObjectKind) -> Result<Statement> {
        let if_exists = self.take(&["if", "exists"]);
        let mut names = vec![self.name()?];
        while self.0.parser.consume_token(&Token::Comma) {
            names.push(self.name()?);
        }
        let cascade = self.take(&["cascade"]);
        if !cascade {
            self.take(&["restrict"]);
        }
        Ok(Statement::Drop(DropObject { kind, names, if_exists, cascade }))
    }

    fn comment_on(&mut self) -> Result<Statement> {
        if self.sees(&["catalog", "template"]) && !self.sees(&["catalog", "template", "is"]) {
            self.take(&["catalog", "template"]);
            let target = CommentTarget::Object(ObjectKind::CatalogTemplate, self.name()?);
            return self.comment_text(target);
        }
        if self.take(&["resource", "group"]) {
            let target = CommentTarget::Object(ObjectKind::ResourceGroup, self.name()?);
            return self.comment_text(target);
        }
        let kinds: [(&str, ObjectKind); 5] = [
            ("catalog", ObjectKind::Catalog),
            ("schema", ObjectKind::Schema),
            ("secret", ObjectKind::Secret),
            ("table", ObjectKind::Table),
            ("view", ObjectKind::View),
        ];
        let target = if self.take(&["column"]) {
            let mut name = self.name()?;
            let column = name.0.pop().unwrap_or_default();
            if name.0.is_empty() {
                return Err(self.unexpected("table.column"));
            }
            CommentTarget::Column(name, column)
        } else if self.take(&["model"]) {
            CommentTarget::Model(self.name()?)
        } else {
            let kind = kinds
                .into_iter()
                .find(|(word, _)| self.take(&[word]))
                .map(|(_, kind)| kind)
                .ok_or_else(|| {
                    self.unexpected("CATALOG, SCHEMA, TABLE, VIEW, SECRET, MODEL or COLUMN")
                })?;
            CommentTarget::Object(kind, self.name()?)
        };
        self.comment_text(target)
    }

    fn comment_text(&mut self, target: CommentTarget) -> Result<Statement> {
        self.expect(&["is"])?;
        let comment = if self.take(&["null"]) { None } else { Some(self.string()?) };
        Ok(Statement::CommentOn(CommentOn { target, comment }))
    }

    fn cancel_query(&mut self) -> Result<Statement> {
        let place = self.0.parser.peek_token().span.start;
        match self.0.parser.next_token().token {
            Token::Number(text, _) => text.parse().ok(),
            Token::SingleQuotedString(text) => text.trim().parse().ok(),
            _ => None,
        }
        .map(|query_id| Statement::CancelQuery(CancelQuery { query_id }))
        .ok_or_else(|| {
            Error::new(ErrorKind::Syntax, "CANCEL QUERY takes the number of a query")
                .with_hint("SELECT query_id, sql FROM system.queries WHERE state = 'running'.")
                .with_line_column(place.line as usize, place.column as usize)
        })
    }

    /// Reads `(name = value, …)`.
    fn option_list(&mut self) -> Result<OptionList> {
        let mut options = Vec::new();
        self.token(&Token::LParen, "(")?;
        if self.0.parser.consume_token(&Token::RParen) {
            return Ok(OptionList(options));
        }
        loop {
            let mut name = match self.0.parser.peek_token().token {
                Token::SingleQuotedString(_) => self.string()?,
                _ => self.ident()?,
            };
            while self.0.parser.consume_token(&Token::Period) {
                name = format!("{name}.{}", self.ident()?);
            }
            self.token(&Token::Eq, "=")?;
            options.push((name, self.option_value()?));
            if !self.0.parser.consume_token(&Token::Comma) {
                break;
            }
        }
        self.token(&Token::RParen, ")")?;
        Ok(OptionList(options))
    }

    fn option_value(&mut self) -> Result<String> {
        let minus = self.0.parser.consume_token(&Token::Minus);
        let token = self.0.parser.peek_token().token;
        let value = match token {
            Token::Number(text, _) if minus => format!("-{text}"),
            Token::Number(text, _) | Token::SingleQuotedString(text) => text,
            Token::EscapedStringLiteral(text) => text,
            Token::DollarQuotedString(text) => text.value,
            Token::Word(word) if word.quote_style.is_none() => word.value,
            _ => return Err(self.unexpected("a value: 'text', a number, true or false")),
        };
        self.0.parser.next_token();
        Ok(value)
    }

    fn setting_name(&mut self) -> Result<String> {
        if self.take(&["time", "zone"]) {
            return Ok("timezone".to_owned());
        }
        let mut parts = vec![self.ident()?];
        while self.0.parser.consume_token(&Token::Period) {
            parts.push(self.ident()?);
        }
        Ok(setting(parts))
    }

    // Words ------------------------------------------------------------------------------------------------------

    /// Returns whether a word comes after `n` tokens: a name, where one may follow.
    fn names_after(&self, n: usize) -> bool {
        matches!(self.0.parser.peek_nth_token(n).token, Token::Word(_))
    }

    /// Returns whether the next tokens are these words, in any case.
    fn sees(&self, words: &[&str]) -> bool {
        words.iter().enumerate().all(|(i, wanted)| {
            matches!(
                &self.0.parser.peek_nth_token(i).token,
                Token::Word(word) if word.quote_style.is_none() && word.value.eq_ignore_ascii_case(wanted)
            )
        })
    }

    /// Reads these words if they come next.
    fn take(&mut self, words: &[&str]) -> bool {
        let sees = self.sees(words);
        if sees {
            words.iter().for_each(|_| {
                self.0.parser.next_token();
            });
        }
        sees
    }

    fn expect(&mut self, words: &[&str]) -> Result<()> {
        if self.take(words) {
            Ok(())
        } else {
            Err(self.unexpected(&words.join(" ").to_uppercase()))
        }
    }

    fn token(&mut self, token: &Token, shown: &str) -> Result<()> {
        if self.0.parser.consume_token(token) { Ok(()) } else { Err(self.unexpected(shown)) }
    }

    fn ident(&mut self) -> Result<String> {
        match self.0.parser.peek_token().token {
            Token::Word(word) => {
                self.0.parser.next_token();
                Ok(fold(&word.to_ident(sqlparser::tokenizer::Span::empty())))
            }
            _ => Err(self.unexpected("a name")),
        }
    }

    fn name(&mut self) -> Result<Name> {
        let mut parts = vec![self.ident()?];
        while self.0.parser.consume_token(&Token::Period) {
            parts.push(self.ident()?);
        }
        Ok(Name(parts))
    }

    fn string(&mut self) -> Result<String> {
        match self.0.parser.peek_token().token {
            Token::SingleQuotedString(text) | Token::EscapedStringLiteral(text) => {
                self.0.parser.next_token();
                Ok(text)
            }
            Token::DollarQuotedString(text) => {
                self.0.parser.next_token();
                Ok(text.value)
            }
            _ => Err(self.unexpected("text in single quotes")),
        }
    }

    fn end(&mut self) -> Result<()> {
        match self.0.parser.peek_token().token {
            Token::EOF => Ok(()),
            _ => Err(self.unexpected("end of statement")),
        }
    }

    fn unexpected(&self, expected: &str) -> Error {
        let found = self.0.parser.peek_token();
        let place = found.span.start;
        let message = match found.token {
            Token::EOF => AT_END.to_owned(),
            token => format!("syntax error at or near \"{token}\""),
        };
        Error::new(ErrorKind::Syntax, message)
            .with_detail(format!("Expected {expected}."))
            .with_line_column(place.line as usize, place.column as usize)
    }
}

/// Folds an identifier as PostgreSQL does: lower case unless quoted.
fn fold(ident: &ast::Ident) -> String {
    match ident.quote_style {
        Some(_) => ident.value.clone(),
        None => ident.value.to_lowercase(),
    }
}

fn object_name(name: &ast::ObjectName) -> Result<Name> {
    name.0
        .iter()
        .map(|part| part.as_ident().map(fold))
        .collect::<Option<Vec<_>>>()
        .map(Name)
        .ok_or_else(|| Error::new(ErrorKind::Syntax, format!("invalid name {name}")))
}

/// Turns what DataFusion's parser read into a statement of ours.
fn lower(statement: DfStatement, sql: &str) -> Result<Statement> {
    let statement = match statement {
        DfStatement::Statement(statement) => *statement,
        DfStatement::Explain(explain) => {
            return Ok(match write::lower_explain(explain)? {
                Ok(write) => write,
                Err(explain) => Statement::Query {
                    statement: Box::new(DfStatement::Explain(explain)),
                    tag: "EXPLAIN",
                },
            });
        }
        DfStatement::CopyTo(_) => return Err(unsupported("COPY")),
        DfStatement::CreateExternalTable(_) | DfStatement::Reset(_) => {
            return Err(Error::internal("statement was read twice"));
        }
    };
    use ast::Statement as Ast;
    let statement = match write::lower_write(statement, None)? {
        Ok(write) => return Ok(write),
        Err(statement) => *statement,
    };
    Ok(match statement {
        Ast::Truncate(truncate) => write::lower_truncate(truncate)?,
        Ast::Query(_) => query(statement, "SELECT"),
        Ast::Explain { .. } | Ast::ExplainTable { .. } => query(statement, "EXPLAIN"),
        Ast::CreateSchema { schema_name, if_not_exists, .. } => {
            let name = match &schema_name {
                ast::SchemaName::Simple(name) => object_name(name)?,
                other => return Err(unsupported(&format!("CREATE SCHEMA {other}"))),
            };
            Statement::CreateSchema(CreateSchema { name, if_not_exists })
        }
        Ast::CreateView(view) => {
            if view.materialized {
                return Err(unsupported("CREATE MATERIALIZED VIEW"));
            }
            Statement::CreateView(Box::new(CreateView {
                name: object_name(&view.name)?,
                columns: view.columns.iter().map(|column| fold(&column.name)).collect(),
                query: view.query,
                or_replace: view.or_replace,
                if_not_exists: view.if_not_exists,
                temporary: view.temporary,
            }))
        }
        Ast::CreateIndex(create) => index::lower_create(&create)?,
        Ast::Drop { object_type, if_exists, names, cascade, .. } => {
            let kind = match object_type {
                ast::ObjectType::Table => ObjectKind::Table,
                ast::ObjectType::View => ObjectKind::View,
                ast::ObjectType::Schema => ObjectKind::Schema,
                other => return Err(unsupported(&format!("DROP {other}"))),
            };
            let names = names.iter().map(object_name).collect::<Result<_>>()?;
            Statement::Drop(DropObject { kind, names, if_exists, cascade })
        }
        Ast::Set(set) => lower_set(set, sql)?,
        other => {
            let text = other.to_string();
            let mut words = text.split_whitespace();
            let first = words.next().unwrap_or_default().to_uppercase();
            let second = words.next().unwrap_or_default().to_uppercase();
            let shown = match first.as_str() {
                "CREATE" | "DROP" | "ALTER" => format!("{first} {second}"),
                _ => first,
            };
            return Err(unsupported(&shown));
        }
    })
}

fn query(statement: ast::Statement, tag: &'static str) -> Statement {
    Statement::Query { statement: Box::new(DfStatement::Statement(Box::new(statement))), tag }
}

fn unsupported(statement: &str) -> Error {
    Error::unsupported(format!("{statement} is not supported yet"))
        .with_hint("Run SHOW STATEMENTS to list the statements Maru has.")
}

/// Returns the name of a setting. Quotes keep no letters apart in it, as in PostgreSQL, but in the name of the catalog that it is
/// for: `"Crm".pushdown`.
fn setting(mut parts: Vec<String>) -> String {
    if let Some(last) = parts.last_mut() {
        *last = last.to_lowercase();
    }
    parts.join(".")
}

pub(crate) fn lower_set(set: ast::Set, sql: &str) -> Result<Statement> {
    let text = |expr: &ast::Expr| -> String {
        match expr {
            ast::Expr::Value(value) => match &value.value {
                Value::SingleQuotedString(text) | Value::EscapedStringLiteral(text) => text.clone(),
                other => other.to_string(),
            },
            ast::Expr::Identifier(ident) => fold(ident),
            other => other.to_string(),
        }
    };
    let variable = match set {
        ast::Set::SingleAssignment { scope, variable, values, .. } => {
            let name = setting(object_name(&variable)?.0);
            let value = values.iter().map(text).collect::<Vec<_>>().join(", ");
            let value = (!value.eq_ignore_ascii_case("default")).then_some(value);
            let local = matches!(scope, Some(ast::ContextModifier::Local));
            let scope = if local { SetScope::Local } else { SetScope::Session };
            SetVariable { name, value, scope }
        }
        ast::Set::SetTimeZone { value, .. } => {
            let value = text(&value);
            let value = (!value.eq_ignore_ascii_case("default")
                && !value.eq_ignore_ascii_case("local"))
            .then_some(value);
            SetVariable { name: "timezone".to_owned(), value, scope: SetScope::Session }
        }
        ast::Set::SetNames { charset_name, .. } => SetVariable {
            name: "client_encoding".to_owned(),
            value: Some(fold(&charset_name)),
            scope: SetScope::Session,
        },
        ast::Set::SetTransaction { .. } => {
            return Ok(Statement::Discard { tag: "SET", resets: false });
        }
        _ => return Err(unsupported(sql)),
    };
    Ok(Statement::Set(variable))
}

/// Reads a `SELECT` that Maru itself wrote.
fn parse_query(sql: &str, tag: &'static str) -> Result<Statement> {
    let mut statements = DFParser::parse_sql_with_dialect(sql, &MaruDialect)?;
    match statements.pop_front() {
        Some(statement) => Ok(Statement::Query { statement: Box::new(statement), tag }),
        None => Err(ParserError::ParserError("empty statement".to_owned()).into()),
    }
}

#[cfg(test)]
mod tests;
