//! `CREATE INDEX` and `DROP INDEX`.

use maru_core::{Error, ErrorKind, Result};
use sqlparser::ast;
use sqlparser::tokenizer::Token;

use super::{Words, fold, object_name};
use crate::statement::Statement;
use crate::write::{CreateIndex, DropIndex};

impl Words<'_> {
    /// Reads what follows `DROP INDEX`.
    pub(super) fn drop_index(&mut self) -> Result<Statement> {
        self.take(&["concurrently"]);
        let if_exists = self.take(&["if", "exists"]);
        let mut names = vec![self.name()?];
        while self.0.parser.consume_token(&Token::Comma) {
            names.push(self.name()?);
        }
        if !self.take(&["cascade"]) {
            self.take(&["restrict"]);
        }
        Ok(Statement::DropIndex(DropIndex { names, if_exists }))
    }
}

/// Takes what an index names. How it is to be kept (its method, classes of operators, order, storage) means nothing here.
///
/// # Errors
/// 0A000 for one that promises something, or is of more than columns; 42601 for a name with a schema.
pub(super) fn lower_create(create: &ast::CreateIndex) -> Result<Statement> {
    if create.unique {
        return Err(Error::unsupported("CREATE UNIQUE INDEX is not supported")
            .with_detail("Maru keeps no indexes, so nothing would refuse the second row of a key.")
            .with_hint("Leave UNIQUE out, or make the index at the source."));
    }
    if let Some(name) = create.name.as_ref().filter(|name| name.0.len() > 1) {
        return Err(Error::new(ErrorKind::Syntax, format!("an index has no schema: {name}"))
            .with_hint("It would lie in the schema of its table."));
    }
    let columns = create.columns.iter().map(|column| match &column.column.expr {
        ast::Expr::Identifier(ident) => Some(fold(ident)),
        _ => None,
    });
    let of_columns = columns.chain(create.include.iter().map(|ident| Some(fold(ident))));
    let columns = of_columns.collect::<Option<Vec<_>>>().filter(|_| create.predicate.is_none());
    let columns = columns.ok_or_else(|| {
        Error::unsupported("an index of expressions or with a condition is not supported")
            .with_hint("Maru keeps no indexes: leave the statement out.")
    })?;
    Ok(Statement::CreateIndex(CreateIndex { table: object_name(&create.table_name)?, columns }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse;

    #[test]
    fn reads_what_an_index_names() {
        for sql in [
            "CREATE INDEX ON s.t (a, \"B\")",
            "CREATE INDEX i ON s.t (a, \"B\")",
            "CREATE INDEX CONCURRENTLY IF NOT EXISTS i ON s.t USING btree (A DESC NULLS LAST, \"B\" text_pattern_ops)",
            "CREATE INDEX i ON s.t (a) INCLUDE (\"B\") WITH (fillfactor = 70)",
        ] {
            let Statement::CreateIndex(create) = parse(sql).unwrap() else { panic!("{sql}") };
            assert_eq!(create.table.0, ["s", "t"], "{sql}");
            assert_eq!(create.columns, ["a", "B"], "{sql}");
        }
        for (sql, state) in [
            ("CREATE UNIQUE INDEX i ON t (a)", "0A000"),
            ("CREATE INDEX i ON t (lower(a))", "0A000"),
            ("CREATE INDEX i ON t (a) WHERE a > 1", "0A000"),
            ("CREATE INDEX s.i ON t (a)", "42601"),
            ("CREATE INDEX i ON t", "42601"),
        ] {
            assert_eq!(parse(sql).unwrap_err().sqlstate(), state, "{sql}");
        }
    }

    #[test]
    fn reads_indexes_to_drop() {
        for (sql, expected) in [
            ("DROP INDEX i", false),
            ("DROP INDEX CONCURRENTLY IF EXISTS i, s.j CASCADE", true),
            ("drop index if exists i restrict", true),
        ] {
            let Statement::DropIndex(drop) = parse(sql).unwrap() else { panic!("{sql}") };
            assert_eq!(drop.names[0].0, ["i"], "{sql}");
            assert_eq!(drop.if_exists, expected, "{sql}");
        }
    }
}
