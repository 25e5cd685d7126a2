//! `DELETE`, `UPDATE`, `MERGE INTO`.

use std::ops::ControlFlow;

use crate::MaruDialect;
use datafusion::error::DataFusionError;
use maru_core::{Error, ErrorKind, Result};
use sqlparser::ast::{self, TableFactor};
use sqlparser::parser::Parser;
use sqlparser::tokenizer::{Token, TokenWithSpan};

use super::returning::lower_returning;
use super::sets::assignments;
use super::write::column_name;
use super::{fold, object_name, unsupported};
use crate::statement::Name;
use crate::write::*;

/// Stands for the column of a clause of MERGE that does nothing.
const NOTHING: &str = "$nothing";

/// Writes `DO NOTHING` of a MERGE as a change of a column that no table has: the parser underneath has no other words for it.
pub(super) fn rewrite(mut tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    let is = |token: &TokenWithSpan, word: &str| match &token.token {
        Token::Word(found) => found.quote_style.is_none() && found.value.eq_ignore_ascii_case(word),
        _ => false,
    };
    if !tokens.iter().any(|token| is(token, "merge")) {
        return tokens;
    }
    let seen = tokens.iter().enumerate();
    let seen = seen.filter(|(_, token)| !matches!(token.token, Token::Whitespace(_)));
    let seen = seen.map(|(at, _)| at).collect::<Vec<_>>();
    let follow = |from: usize, words: &[&str]| {
        let found = seen[from..].iter().zip(words).filter(|(at, word)| is(&tokens[**at], word));
        found.count() == words.len()
    };
    let mut idle = Vec::new();
    let mut inserts = false;
    for number in 0..seen.len() {
        if follow(number, &["when", "matched"]) {
            inserts = false;
        } else if follow(number, &["when", "not", "matched"]) {
            inserts = !follow(number, &["when", "not", "matched", "by", "source"]);
        } else if follow(number, &["then", "do", "nothing"]) {
            idle.push((seen[number + 1], seen[number + 2], inserts));
        }
    }
    for (from, to, inserts) in idle.into_iter().rev() {
        let span = tokens[from].span;
        let column = Token::make_word(NOTHING, Some('"'));
        let null = Token::make_keyword("NULL");
        let instead = match inserts {
            true => vec![
                Token::make_keyword("INSERT"),
                Token::LParen,
                column,
                Token::RParen,
                Token::make_keyword("VALUES"),
                Token::LParen,
                null,
                Token::RParen,
            ],
            false => vec![
                Token::make_keyword("UPDATE"),
                Token::make_keyword("SET"),
                column,
                Token::Eq,
                null,
            ],
        };
        tokens.splice(from..=to, instead.into_iter().map(|token| TokenWithSpan { token, span }));
    }
    tokens
}

/// Reads `DELETE`. Rows of `USING` that belong to a row are looked for, not joined: a row that several belong to goes once, as in
/// PostgreSQL.
pub(super) fn lower_delete(delete: ast::Delete) -> Result<Delete> {
    let strange = !delete.tables.is_empty()
        || delete.output.is_some()
        || !delete.order_by.is_empty()
        || delete.limit.is_some();
    let tables = match delete.from {
        ast::FromTable::WithFromKeyword(tables) | ast::FromTable::WithoutKeyword(tables) => tables,
    };
    let (table, alias) = match tables.as_slice() {
        [one] if one.joins.is_empty() && !strange => target(&one.relation)?,
        _ => return Err(unsupported("this form of DELETE")),
    };
    let joined = delete.using.is_some();
    let returning = lower_returning(delete.returning, &table, &alias, joined)?;
    let mut selection = delete.selection;
    if let Some(selection) = &mut selection {
        shorten(selection, &table, &alias);
    }
    if let Some(using) = delete.using {
        for relation in using.iter().flat_map(|from| {
            std::iter::once(&from.relation).chain(from.joins.iter().map(|join| &join.relation))
        }) {
            source_name(relation, &alias, "DELETE … USING")?;
        }
        if let Some(selection) = &mut selection {
            require_qualified(selection)?;
        }
        selection = Some(ast::Expr::Exists {
            subquery: Box::new(any_row(&using, selection)?),
            negated: false,
        });
    }
    Ok(Delete { table, alias, selection, returning })
}

/// Reads `UPDATE`. With `FROM` it is a `MERGE`: a row that several rows of the other table belong to is an error there, where
/// PostgreSQL takes any of them.
pub(super) fn lower_update(update: ast::Update) -> Result<WriteAction> {
    if update.or.is_some()
        || update.output.is_some()
        || !update.order_by.is_empty()
        || update.limit.is_some()
    {
        return Err(unsupported("this form of UPDATE"));
    }
    if !update.table.joins.is_empty() {
        return Err(unsupported("UPDATE of a join").with_hint(ONE_SOURCE));
    }
    let (table, alias) = target(&update.table.relation)?;
    let joined = update.from.is_some();
    let returning = lower_returning(update.returning, &table, &alias, joined)?;
    let mut sets = assignments(update.assignments)?;
    let mut selection = update.selection;
    for expr in sets.iter_mut().map(|(_, value)| value).chain(&mut selection) {
        shorten(expr, &table, &alias);
    }
    let from = match update.from {
        None => {
            let update = Update { table, alias, sets, selection, returning };
            return Ok(WriteAction::Update(Box::new(update)));
        }
        Some(
            ast::UpdateTableFromKind::BeforeSet(from) | ast::UpdateTableFromKind::AfterSet(from),
        ) => from,
    };
    let source = match from.as_slice() {
        [one] if one.joins.is_empty() => &one.relation,
        _ => return Err(unsupported("UPDATE … FROM several tables").with_hint(ONE_SOURCE)),
    };
    let source_alias = source_name(source, &alias, "UPDATE … FROM")?;
    Ok(WriteAction::Merge(Box::new(Merge {
        table,
        alias,
        source: source.to_string(),
        source_alias,
        on: selection.unwrap_or_else(|| ast::Expr::value(ast::Value::Boolean(true))),
        clauses: vec![MergeClause {
            when: MergeWhen::Matched,
            condition: None,
            action: MergeAction::Update(sets),
        }],
        tag: "UPDATE",
        returning,
    })))
}

const ONE_SOURCE: &str = "Write FROM (SELECT … ) AS name with the join in it.";

/// Takes what stands before a table's name off the columns that are written with it: `mart.t.id` is `t.id`.
pub(super) fn shorten(expr: &mut ast::Expr, table: &Name, alias: &str) {
    let _ = ast::visit_expressions_mut(expr, |expr| {
        if let ast::Expr::CompoundIdentifier(parts) = expr
            && let [before @ .., column] = parts.as_slice()
            && before.len() > 1
            && table.0.last().is_some_and(|own| own == alias)
            && before.len() <= table.0.len()
            && before.iter().rev().zip(table.0.iter().rev()).all(|(a, b)| fold(a) == *b)
        {
            let own = ast::Ident::with_quote('"', alias);
            *expr = ast::Expr::CompoundIdentifier(vec![own, column.clone()]);
        }
        ControlFlow::<()>::Continue(())
    });
}

/// Refuses bare columns: in a query within they would be those of the tables there, where PostgreSQL finds two of the name.
fn require_qualified(expr: &mut ast::Expr) -> Result<()> {
    struct Bare(usize);
    impl ast::VisitorMut for Bare {
        type Break = String;

        fn pre_visit_query(&mut self, _: &mut ast::Query) -> ControlFlow<String> {
            self.0 += 1;
            ControlFlow::Continue(())
        }

        fn post_visit_query(&mut self, _: &mut ast::Query) -> ControlFlow<String> {
            self.0 -= 1;
            ControlFlow::Continue(())
        }

        fn pre_visit_expr(&mut self, expr: &mut ast::Expr) -> ControlFlow<String> {
            match expr {
                ast::Expr::Identifier(name) if self.0 == 0 => ControlFlow::Break(fold(name)),
                _ => ControlFlow::Continue(()),
            }
        }
    }
    match ast::VisitMut::visit(expr, &mut Bare(0)) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(name) => Err(Error::new(
            ErrorKind::AmbiguousColumn,
            format!("it is not clear whose column \"{name}\" DELETE … USING means"),
        )
        .with_hint("Write the table's name or alias before each column: t.column.")),
    }
}

/// Returns what the source of a change is called.
fn source_name(source: &TableFactor, target: &str, what: &str) -> Result<String> {
    let name = match source {
        TableFactor::Table { alias: Some(alias), .. }
        | TableFactor::Derived { alias: Some(alias), .. } => fold(&alias.name),
        TableFactor::Table { name, .. } => object_name(name)?.0.pop().unwrap_or_default(),
        _ => {
            return Err(Error::new(
                ErrorKind::Syntax,
                format!("the source of {what} needs a name"),
            )
            .with_hint("Write (query) AS name."));
        }
    };
    if name == target {
        return Err(Error::new(
            ErrorKind::DuplicateAlias,
            format!("name \"{target}\" specified more than once"),
        )
        .with_detail(format!("The name is used both as {what} target table and data source."))
        .with_hint(format!("Give the source of {what} another alias.")));
    }
    Ok(name)
}

/// Returns `SELECT 1 FROM … WHERE …`.
fn any_row(from: &[ast::TableWithJoins], selection: Option<ast::Expr>) -> Result<ast::Query> {
    let from = from.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let filter = selection.map(|selection| format!(" WHERE {selection}")).unwrap_or_default();
    let text = format!("SELECT 1 FROM {from}{filter}");
    let parser = Parser::new(&MaruDialect).try_with_sql(&text);
    let query = parser.and_then(|mut parser| parser.parse_query());
    Ok(*query.map_err(DataFusionError::from)?)
}

/// Reads a table with its alias.
fn target(factor: &TableFactor) -> Result<(Name, String)> {
    let TableFactor::Table { name, alias, args: None, version: None, sample: None, .. } = factor
    else {
        return Err(Error::new(ErrorKind::Syntax, format!("{factor} is no table to be changed")));
    };
    let table = object_name(name)?;
    let own = table.0.last().cloned().unwrap_or_default();
    match alias {
        Some(alias) if !alias.columns.is_empty() => {
            Err(unsupported("an alias with columns for a table that is changed"))
        }
        Some(alias) => Ok((table, fold(&alias.name))),
        None => Ok((table, own)),
    }
}

pub(super) fn lower_merge(merge: ast::Merge) -> Result<Merge> {
    match merge.output {
        None => {}
        Some(ast::OutputClause::Returning { .. }) => {
            return Err(unsupported("MERGE … RETURNING")
                .with_hint("UPDATE … FROM … RETURNING tells of the rows that it changes."));
        }
        Some(_) => return Err(unsupported("MERGE … OUTPUT")),
    }
    let (table, alias) = target(&merge.table)?;
    let source_alias = source_name(&merge.source, &alias, "MERGE")?;
    let mut clauses = Vec::new();
    let mut settled = Vec::new();
    for clause in merge.clauses {
        let when = match clause.clause_kind {
            ast::MergeClauseKind::Matched => MergeWhen::Matched,
            ast::MergeClauseKind::NotMatched | ast::MergeClauseKind::NotMatchedByTarget => {
                MergeWhen::NotMatchedByTarget
            }
            ast::MergeClauseKind::NotMatchedBySource => MergeWhen::NotMatchedBySource,
        };
        if settled.contains(&when) {
            return Err(Error::new(
                ErrorKind::Syntax,
                "unreachable WHEN clause specified after unconditional WHEN clause",
            ));
        }
        if clause.predicate.is_none() {
            settled.push(when);
        }
        let action = match clause.action {
            ast::MergeAction::Delete { .. } => MergeAction::Delete,
            ast::MergeAction::Update(update) => {
                if update.update_predicate.is_some() || update.delete_predicate.is_some() {
                    return Err(unsupported("WHERE in a clause of MERGE")
                        .with_hint("Write WHEN MATCHED AND condition."));
                }
                let sets = assignments(update.assignments)?;
                match sets.as_slice() {
                    [(column, _)] if column == NOTHING => MergeAction::Nothing,
                    _ => MergeAction::Update(sets),
                }
            }
            ast::MergeAction::Insert(insert) => {
                let ast::MergeInsertKind::Values(mut values) = insert.kind else {
                    return Err(unsupported("INSERT ROW"));
                };
                if insert.insert_predicate.is_some() || values.rows.len() != 1 {
                    return Err(unsupported("this form of INSERT in MERGE"));
                }
                let columns = insert.columns.iter().map(column_name).collect::<Result<Vec<_>>>()?;
                let values = values.rows.pop().map(|row| row.to_vec()).unwrap_or_default();
                match columns.as_slice() {
                    [column] if column == NOTHING => MergeAction::Nothing,
                    _ => MergeAction::Insert { columns, values },
                }
            }
        };
        clauses.push(MergeClause { when, condition: clause.predicate, action });
    }
    if clauses.is_empty() {
        return Err(Error::new(ErrorKind::Syntax, "MERGE needs a WHEN clause"));
    }
    let mut on = *merge.on;
    shorten(&mut on, &table, &alias);
    let source = merge.source.to_string();
    Ok(Merge { table, alias, source, source_alias, on, clauses, tag: "MERGE", returning: None })
}

#[cfg(test)]
mod tests {
    use crate::parse;
    use crate::statement::Statement;
    use crate::write::*;

    fn actions(clauses: &str) -> Vec<MergeAction> {
        let sql = format!("MERGE INTO t USING s ON t.id = s.id {clauses}");
        let Statement::Write(write) = parse(&sql).unwrap() else { panic!("{sql}") };
        let WriteAction::Merge(merge) = write.action else { panic!("{sql}") };
        merge.clauses.into_iter().map(|clause| clause.action).collect()
    }

    #[test]
    fn clauses_of_merge_may_do_nothing() {
        let found = actions(
            "WHEN MATCHED AND CASE WHEN s.a THEN s.b ELSE s.c END THEN DO NOTHING WHEN MATCHED THEN DELETE \
             WHEN NOT MATCHED BY SOURCE THEN do /* so */ nothing WHEN NOT MATCHED BY TARGET AND s.a THEN DO NOTHING \
             WHEN NOT MATCHED THEN INSERT (id) VALUES (s.id)",
        );
        let nothing = found.iter().map(|action| matches!(action, MergeAction::Nothing));
        assert_eq!(nothing.collect::<Vec<_>>(), [true, false, true, true, false]);
    }

    #[test]
    fn clauses_of_merge_that_nothing_reaches_are_refused() {
        for (first, second) in [
            ("WHEN MATCHED THEN DELETE", "WHEN MATCHED AND s.a THEN DO NOTHING"),
            ("WHEN NOT MATCHED THEN DO NOTHING", "WHEN NOT MATCHED BY TARGET THEN DO NOTHING"),
        ] {
            let sql = format!("MERGE INTO t USING s ON t.id = s.id {first} {second}");
            assert_eq!(parse(&sql).unwrap_err().sqlstate(), "42601", "{sql}");
        }
        actions("WHEN MATCHED THEN DELETE WHEN NOT MATCHED BY SOURCE THEN DELETE");
    }
}
