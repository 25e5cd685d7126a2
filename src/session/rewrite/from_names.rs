//! Names of what a query reads: each stands for one thing (42712). The planner finds out only when two columns meet, and says so by their names.
//!
//! And joins without `ON` and `USING`, which are none in PostgreSQL (42601). The planner makes pairs of all rows of them (DataFusion 55.2).

use maru_core::{Error, ErrorKind, Result};
use maru_sql::ast::{
    Ident, JoinConstraint, JoinOperator, ObjectName, ObjectNamePart, Select, TableFactor,
    TableWithJoins,
};

use super::folded;

/// Checks what a query reads.
///
/// # Errors
/// 42712 for a name that is there twice, 42601 for a join that does not say of which rows it is.
pub(super) fn select(select: &Select) -> Result<()> {
    select.from.iter().try_for_each(conditioned)?;
    distinct(&select.from)
}

fn conditioned(from: &TableWithJoins) -> Result<()> {
    let within = |table: &TableFactor| match table {
        TableFactor::NestedJoin { table_with_joins, .. } => conditioned(table_with_joins),
        _ => Ok(()),
    };
    within(&from.relation)?;
    for join in &from.joins {
        within(&join.relation)?;
        if let JoinOperator::Join(on)
        | JoinOperator::Inner(on)
        | JoinOperator::Left(on)
        | JoinOperator::LeftOuter(on)
        | JoinOperator::Right(on)
        | JoinOperator::RightOuter(on)
        | JoinOperator::FullOuter(on) = &join.join_operator
            && matches!(on, JoinConstraint::None)
        {
            let what = "syntax error: a join has neither ON nor USING";
            return Err(Error::new(ErrorKind::Syntax, what).with_hint(
                "Write ON and a condition behind the table, or CROSS JOIN for all pairs.",
            ));
        }
    }
    Ok(())
}

/// Returns the names of what a query reads, those of functions and queries with it.
pub(super) fn of(from: &[TableWithJoins]) -> Vec<String> {
    let mut names = Vec::new();
    // One that is there twice is refused elsewhere.
    let _ = from.iter().try_for_each(|one| of_joins(one, &mut names));
    names.into_iter().map(|(name, _)| name).collect()
}

fn distinct(from: &[TableWithJoins]) -> Result<()> {
    let mut names = Vec::new();
    from.iter().try_for_each(|one| of_joins(one, &mut names))
}

/// A name, and the whole of it for a table that has no alias.
type Name = (String, Option<String>);

fn of_joins(from: &TableWithJoins, names: &mut Vec<Name>) -> Result<()> {
    of_table(&from.relation, names)?;
    from.joins.iter().try_for_each(|join| of_table(&join.relation, names))
}

fn of_table(table: &TableFactor, names: &mut Vec<Name>) -> Result<()> {
    let aliased = |alias: &Ident| Some((folded(alias), None));
    let last = |name: &ObjectName| name.0.last().and_then(ObjectNamePart::as_ident).map(folded);
    let name = match table {
        TableFactor::NestedJoin { table_with_joins, alias: None } => {
            return of_joins(table_with_joins, names);
        }
        TableFactor::NestedJoin { table_with_joins, alias: Some(alias) } => {
            // The names inside are not seen outside.
            distinct(std::slice::from_ref(table_with_joins.as_ref()))?;
            aliased(&alias.name)
        }
        TableFactor::Table { alias: Some(alias), .. }
        | TableFactor::Function { alias: Some(alias), .. }
        | TableFactor::Derived { alias: Some(alias), .. }
        | TableFactor::UNNEST { alias: Some(alias), .. }
        | TableFactor::TableFunction { alias: Some(alias), .. } => aliased(&alias.name),
        TableFactor::Table { name, args: None, .. } => {
            last(name).map(|last| (last, Some(name.to_string())))
        }
        TableFactor::Table { name, .. } | TableFactor::Function { name, .. } => {
            last(name).map(|last| (last, None))
        }
        TableFactor::UNNEST { .. } => Some(("unnest".to_owned(), None)),
        _ => None,
    };
    let Some((name, whole)) = name else { return Ok(()) };
    // Tables of one name in two schemas are told apart by the schema.
    let is_same = |(other, other_whole): &Name| {
        *other == name && (whole.is_none() || other_whole.is_none() || *other_whole == whole)
    };
    if names.iter().any(is_same) {
        let what = format!("table name \"{name}\" specified more than once");
        return Err(Error::new(ErrorKind::DuplicateAlias, what)
            .with_hint("Give one of them an alias of its own: FROM t AS a, t AS b."));
    }
    names.push((name, whole));
    Ok(())
}
