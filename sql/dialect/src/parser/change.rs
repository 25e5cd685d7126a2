//! `DELETE`, `UPDATE`, `MERGE INTO`.

use maru_core::{Error, ErrorKind, Result};
use sqlparser::ast::{self, TableFactor};

use super::write::column_name;
use super::{fold, object_name, unsupported};
use crate::statement::Name;
use crate::write::*;

const BY_MERGE: &str = "MERGE INTO … USING … changes rows by those of another table.";

pub(super) fn lower_delete(delete: ast::Delete) -> Result<Delete> {
    if delete.using.is_some() {
        return Err(unsupported("DELETE … USING").with_hint(BY_MERGE));
    }
    if delete.returning.is_some() {
        return Err(returning());
    }
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
    Ok(Delete { table, alias, selection: delete.selection })
}

pub(super) fn lower_update(update: ast::Update) -> Result<Update> {
    if update.from.is_some() || !update.table.joins.is_empty() {
        return Err(unsupported("UPDATE … FROM").with_hint(BY_MERGE));
    }
    if update.returning.is_some() {
        return Err(returning());
    }
    if update.or.is_some()
        || update.output.is_some()
        || !update.order_by.is_empty()
        || update.limit.is_some()
    {
        return Err(unsupported("this form of UPDATE"));
    }
    let (table, alias) = target(&update.table.relation)?;
    let sets = assignments(update.assignments)?;
    Ok(Update { table, alias, sets, selection: update.selection })
}

fn returning() -> Error {
    Error::unsupported("RETURNING is not supported")
        .with_hint("Read the rows with a SELECT of their keys.")
}

fn assignments(given: Vec<ast::Assignment>) -> Result<Vec<(String, ast::Expr)>> {
    given
        .into_iter()
        .map(|assignment| match &assignment.target {
            ast::AssignmentTarget::ColumnName(name) => {
                // MERGE of other dialects writes the table's name before the column's.
                let name = object_name(name)?.0.pop().unwrap_or_default();
                if matches!(&assignment.value, ast::Expr::Identifier(ident)
                    if ident.quote_style.is_none() && ident.value.eq_ignore_ascii_case("default"))
                {
                    return Err(unsupported("SET column = DEFAULT"));
                }
                Ok((name, assignment.value))
            }
            ast::AssignmentTarget::Tuple(_) => Err(unsupported("SET (column, …) = …")),
        })
        .collect()
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
    if merge.output.is_some() {
        return Err(unsupported("MERGE … OUTPUT"));
    }
    let (table, alias) = target(&merge.table)?;
    let source_alias = match &merge.source {
        TableFactor::Table { alias: Some(alias), .. }
        | TableFactor::Derived { alias: Some(alias), .. } => fold(&alias.name),
        TableFactor::Table { name, .. } => object_name(name)?.0.pop().unwrap_or_default(),
        _ => {
            return Err(Error::new(ErrorKind::Syntax, "the source of MERGE needs a name")
                .with_hint("Write USING (query) AS name."));
        }
    };
    if source_alias == alias {
        return Err(Error::new(
            ErrorKind::DuplicateAlias,
            format!("name \"{alias}\" specified more than once"),
        )
        .with_detail("The name is used both as MERGE target table and data source.")
        .with_hint("Give the source of MERGE another alias."));
    }
    let mut clauses = Vec::new();
    for clause in merge.clauses {
        let when = match clause.clause_kind {
            ast::MergeClauseKind::Matched => MergeWhen::Matched,
            ast::MergeClauseKind::NotMatched | ast::MergeClauseKind::NotMatchedByTarget => {
                MergeWhen::NotMatchedByTarget
            }
            ast::MergeClauseKind::NotMatchedBySource => MergeWhen::NotMatchedBySource,
        };
        let action = match clause.action {
            ast::MergeAction::Delete { .. } => MergeAction::Delete,
            ast::MergeAction::Update(update) => {
                if update.update_predicate.is_some() || update.delete_predicate.is_some() {
                    return Err(unsupported("WHERE in a clause of MERGE")
                        .with_hint("Write WHEN MATCHED AND condition."));
                }
                MergeAction::Update(assignments(update.assignments)?)
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
                MergeAction::Insert { columns, values }
            }
        };
        clauses.push(MergeClause { when, condition: clause.predicate, action });
    }
    if clauses.is_empty() {
        return Err(Error::new(ErrorKind::Syntax, "MERGE needs a WHEN clause"));
    }
    Ok(Merge {
        table,
        alias,
        source: merge.source.to_string(),
        source_alias,
        on: *merge.on,
        clauses,
    })
}
