//! `SET column = value`, `SET (column, …) = (value, …)`, and rows of defaults.

use crate::MaruDialect;
use datafusion::error::DataFusionError;
use maru_core::{Error, ErrorKind, Result};
use sqlparser::ast::{self, Expr};
use sqlparser::parser::Parser;

use super::{object_name, unsupported};

/// Reads what columns are set to, one by one.
///
/// # Errors
/// 42601 for another number of values than of columns; 0A000 for queries whose columns cannot be taken one by one.
pub(super) fn assignments(given: Vec<ast::Assignment>) -> Result<Vec<(String, Expr)>> {
    let mut sets = Vec::with_capacity(given.len());
    for assignment in given {
        match &assignment.target {
            ast::AssignmentTarget::ColumnName(name) => {
                sets.push((column(name)?, assignment.value));
            }
            ast::AssignmentTarget::Tuple(names) => {
                let names = names.iter().map(column).collect::<Result<Vec<_>>>()?;
                let values = values(assignment.value, names.len())?;
                sets.extend(names.into_iter().zip(values));
            }
        }
    }
    Ok(sets)
}

/// MERGE of other dialects writes the table's name before the column's.
fn column(name: &ast::ObjectName) -> Result<String> {
    Ok(object_name(name)?.0.pop().unwrap_or_default())
}

/// Returns the values of a row.
fn values(value: Expr, width: usize) -> Result<Vec<Expr>> {
    let values = match value {
        Expr::Tuple(values) => values,
        Expr::Subquery(query) => {
            (0..width).map(|at| nth(&query, at, width)).collect::<Result<_>>()?
        }
        other => row(other)?,
    };
    if values.len() != width {
        return Err(other_width());
    }
    Ok(values)
}

fn other_width() -> Error {
    Error::new(ErrorKind::Syntax, "number of columns does not match number of values")
}

/// Reads `ROW(value, …)`.
fn row(value: Expr) -> Result<Vec<Expr>> {
    let refused = || {
        Error::unsupported(
            "source for a multiple-column UPDATE item must be a sub-SELECT or ROW() expression",
        )
    };
    let Expr::Function(function) = value else { return Err(refused()) };
    let is_row = object_name(&function.name)?.0 == ["row"];
    let ast::FunctionArguments::List(list) = function.args else { return Err(refused()) };
    if !is_row {
        return Err(refused());
    }
    let values = list.args.into_iter().map(|argument| match argument {
        ast::FunctionArg::Unnamed(ast::FunctionArgExpr::Expr(value)) => Ok(value),
        _ => Err(refused()),
    });
    values.collect()
}

/// Returns a query of one column of a query of one row. What would choose one of several rows could choose another one for
/// each column.
fn nth(query: &ast::Query, at: usize, width: usize) -> Result<Expr> {
    let refused = |what: &str| {
        unsupported(&format!("SET (column, …) = (a query with {what})"))
            .with_hint("Write UPDATE … SET column = s.column, … FROM (SELECT …) AS s.")
    };
    if query.limit_clause.is_some() || query.fetch.is_some() {
        return Err(refused("LIMIT"));
    }
    let mut query = query.clone();
    // One row has no order.
    query.order_by = None;
    let ast::SetExpr::Select(select) = query.body.as_mut() else {
        return Err(refused("UNION, VALUES or the like"));
    };
    if select.distinct.is_some() || select.top.is_some() {
        return Err(refused("DISTINCT"));
    }
    // It may count on the places of the columns.
    if !matches!(&select.group_by, ast::GroupByExpr::Expressions(by, _) if by.is_empty()) {
        return Err(refused("GROUP BY"));
    }
    let is_one = |item: &ast::SelectItem| {
        matches!(item, ast::SelectItem::UnnamedExpr(_) | ast::SelectItem::ExprWithAlias { .. })
    };
    if !select.projection.iter().all(is_one) {
        return Err(refused("*"));
    }
    if select.projection.len() != width {
        return Err(other_width());
    }
    select.projection = vec![select.projection.swap_remove(at)];
    Ok(Expr::Subquery(Box::new(query)))
}

/// Returns `VALUES (DEFAULT)`.
pub(super) fn one_default() -> Result<Box<ast::Query>> {
    let parser = Parser::new(&MaruDialect).try_with_sql("VALUES (DEFAULT)");
    let query = parser.and_then(|mut parser| parser.parse_query());
    Ok(query.map_err(DataFusionError::from)?)
}

#[cfg(test)]
mod tests {
    use crate::parse;
    use crate::statement::Statement;
    use crate::write::*;

    fn sets(set: &str) -> String {
        let sql = format!("UPDATE t SET {set}");
        let Statement::Write(write) = parse(&sql).unwrap() else { panic!("{sql}") };
        let WriteAction::Update(update) = write.action else { panic!("{sql}") };
        let sets = update.sets.iter().map(|(name, value)| format!("{name} = {value}"));
        sets.collect::<Vec<_>>().join("; ")
    }

    #[test]
    fn rows_are_set_column_by_column() {
        for (set, expected) in [
            ("(a, b) = (1, DEFAULT), c = 2", "a = 1; b = DEFAULT; c = 2"),
            ("(a, b) = ROW(1, 2)", "a = 1; b = 2"),
            (
                "(a, b) = (SELECT x, y AS z FROM u WHERE u.id = t.id ORDER BY 2)",
                "a = (SELECT x FROM u WHERE u.id = t.id); b = (SELECT y AS z FROM u WHERE u.id = t.id)",
            ),
        ] {
            assert_eq!(sets(set), expected);
        }
    }

    #[test]
    fn rows_that_are_not_clear_are_refused() {
        for (set, sqlstate) in [
            ("(a, b) = (1, 2, 3)", "42601"),
            ("(a, b) = (SELECT 1)", "42601"),
            ("(a, b) = 3", "0A000"),
            ("(a, b) = (SELECT * FROM u)", "0A000"),
            ("(a, b) = (SELECT x, y FROM u ORDER BY x LIMIT 1)", "0A000"),
            ("(a, b) = (SELECT x, count(*) FROM u GROUP BY 1)", "0A000"),
        ] {
            let sql = format!("UPDATE t SET {set}");
            assert_eq!(parse(&sql).unwrap_err().sqlstate(), sqlstate, "{sql}");
        }
    }
}
