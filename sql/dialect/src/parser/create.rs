//! `CREATE CATALOG`, `CREATE SECRET`, `CREATE EXTERNAL TABLE`.

use maru_core::{Error, ErrorKind, Result};
use sqlparser::tokenizer::Token;

use super::Words;
use crate::statement::*;

impl Words<'_> {
    /// Reads those `CREATE` statements that are Maru's own; `None` leaves the text untouched.
    pub(super) fn create(&mut self) -> Result<Option<Statement>> {
        let or_replace = self.sees(&["create", "or", "replace"]);
        let skipped = if or_replace { 3 } else { 1 };
        let kind = self.0.parser.peek_nth_token(skipped).token.to_string().to_lowercase();
        match kind.as_str() {
            "catalog" => {
                self.skip(skipped + 1);
                // A catalog may be named template.
                if self.sees(&["template"]) && !self.sees(&["template", "using"]) {
                    self.skip(1);
                    return self.create_catalog_template(or_replace).map(Some);
                }
                self.create_catalog(or_replace).map(Some)
            }
            "resource" => {
                self.skip(skipped + 1);
                self.expect(&["group"])?;
                let if_not_exists = self.take(&["if", "not", "exists"]);
                let name = self.ident()?;
                let options =
                    if self.take(&["with"]) { self.option_list()? } else { OptionList::default() };
                Ok(Some(Statement::CreateResourceGroup(CreateResourceGroup {
                    name,
                    options,
                    or_replace,
                    if_not_exists,
                })))
            }
            "secret" => {
                self.skip(skipped + 1);
                self.create_secret(or_replace).map(Some)
            }
            "external" => {
                self.skip(skipped + 1);
                self.expect(&["table"])?;
                self.create_external_table(or_replace).map(Some)
            }
            _ => Ok(None),
        }
    }

    fn create_catalog(&mut self, or_replace: bool) -> Result<Statement> {
        let if_not_exists = self.take(&["if", "not", "exists"]);
        let name = self.ident()?;
        self.expect(&["using"])?;
        let connector = self.ident()?;
        let options =
            if self.take(&["with"]) { self.option_list()? } else { OptionList::default() };
        Ok(Statement::CreateCatalog(CreateCatalog {
            name,
            connector,
            options,
            or_replace,
            if_not_exists,
        }))
    }

    fn create_catalog_template(&mut self, or_replace: bool) -> Result<Statement> {
        let if_not_exists = self.take(&["if", "not", "exists"]);
        let name = self.ident()?;
        self.expect(&["for", "role"])?;
        let role = self.ident()?;
        self.expect(&["using"])?;
        let connector = self.ident()?;
        let mut list = |word| match self.take(&[word]) {
            true => self.option_list(),
            false => Ok(OptionList::default()),
        };
        let (options, allow) = (list("with")?, list("allow")?);
        Ok(Statement::CreateCatalogTemplate(Box::new(CreateCatalogTemplate {
            name,
            role,
            connector,
            options,
            allow,
            or_replace,
            if_not_exists,
        })))
    }

    fn create_secret(&mut self, or_replace: bool) -> Result<Statement> {
        let if_not_exists = self.take(&["if", "not", "exists"]);
        let name = self.ident()?;
        self.expect(&["with"])?;
        let options = self.option_list()?;
        Ok(Statement::CreateSecret(CreateSecret { name, options, or_replace, if_not_exists }))
    }

    fn create_external_table(&mut self, or_replace: bool) -> Result<Statement> {
        let if_not_exists = self.take(&["if", "not", "exists"]);
        let name = self.name()?;
        let (columns, constraints) = self.0.parser.parse_columns()?;
        if let Some(constraint) = constraints.first() {
            return Err(Error::unsupported(format!(
                "external tables have no constraints: {constraint}"
            )));
        }
        let mut table = CreateExternalTable {
            name,
            columns,
            format: String::new(),
            partitioned_by: Vec::new(),
            location: String::new(),
            options: OptionList::default(),
            or_replace,
            if_not_exists,
        };
        // The clauses may come in any order, each once.
        loop {
            if table.format.is_empty() && self.take(&["stored", "as"]) {
                table.format = self.ident()?;
            } else if table.partitioned_by.is_empty() && self.take(&["partitioned", "by"]) {
                table.partitioned_by = self.partition_columns()?;
            } else if table.options.0.is_empty()
                && (self.take(&["with"]) || self.take(&["options"]))
            {
                table.options = self.option_list()?;
            } else if table.location.is_empty() && self.take(&["location"]) {
                table.location = self.string()?;
            } else {
                break;
            }
        }
        if table.format.is_empty() {
            return Err(self.unexpected("STORED AS PARQUET, ORC, AVRO, CSV or JSON"));
        }
        if table.location.is_empty() {
            return Err(Error::new(ErrorKind::Syntax, "CREATE EXTERNAL TABLE needs a LOCATION")
                .with_hint(
                    "Add LOCATION 's3://bucket/folder/' or another URL of an attached store.",
                ));
        }
        Ok(Statement::CreateExternalTable(Box::new(table)))
    }

    fn partition_columns(&mut self) -> Result<Vec<(String, Option<sqlparser::ast::DataType>)>> {
        let mut columns = Vec::new();
        self.token(&Token::LParen, "(")?;
        loop {
            let name = self.ident()?;
            let typed = !matches!(
                self.0.parser.peek_token().token,
                Token::Comma | Token::RParen | Token::EOF
            );
            let data_type = if typed { Some(self.0.parser.parse_data_type()?) } else { None };
            columns.push((name, data_type));
            if !self.0.parser.consume_token(&Token::Comma) {
                break;
            }
        }
        self.token(&Token::RParen, ")")?;
        Ok(columns)
    }

    fn skip(&mut self, n_tokens: usize) {
        (0..n_tokens).for_each(|_| {
            self.0.parser.next_token();
        });
    }
}
