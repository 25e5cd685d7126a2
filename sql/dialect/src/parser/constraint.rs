//! `CHECK` and `DEFAULT`, of columns and of tables.

use maru_core::{Error, ErrorKind, Result};
use sqlparser::ast::{self, Expr};

use super::{fold, unsupported};
use crate::write::{Check, TableAlteration};

/// A column, and what it is when nothing is said of it.
type Default = (String, Expr);

/// Takes conditions and defaults out of the definitions of columns.
///
/// # Errors
/// 42601 for a second default of a column.
pub(super) fn of_columns(columns: &mut [ast::ColumnDef]) -> Result<(Vec<Check>, Vec<Default>)> {
    let (mut checks, mut defaults) = (Vec::new(), Vec::new());
    for column in columns {
        let name = fold(&column.name);
        let mut default: Option<Expr> = None;
        let mut kept = Vec::new();
        for option in std::mem::take(&mut column.options) {
            match option.option {
                ast::ColumnOption::Check(check) => {
                    checks.push(read(option.name.as_ref(), check)?);
                }
                ast::ColumnOption::Default(_) if default.is_some() => {
                    return Err(Error::new(
                        ErrorKind::Syntax,
                        format!("multiple default values specified for column \"{name}\""),
                    ));
                }
                ast::ColumnOption::Default(value) => default = Some(value),
                _ => kept.push(option),
            }
        }
        column.options = kept;
        defaults.extend(default.map(|value| (name, value)));
    }
    Ok((checks, defaults))
}

/// Reads `[CONSTRAINT name] CHECK (condition)`; `name` is one that stands outside of it.
///
/// # Errors
/// 0A000 for one that nobody keeps to.
pub(super) fn read(name: Option<&ast::Ident>, check: ast::CheckConstraint) -> Result<Check> {
    if check.enforced == Some(false) {
        return Err(unsupported("CHECK … NOT ENFORCED"));
    }
    let name = check.name.as_ref().or(name).map(fold);
    Ok(Check { name, condition: *check.expr })
}

/// Reads `ADD [CONSTRAINT name] CHECK (condition)`.
///
/// # Errors
/// 0A000 for constraints of other kinds, and for rows that would not be looked at.
pub(super) fn added(constraint: ast::TableConstraint, not_valid: bool) -> Result<TableAlteration> {
    if not_valid {
        return Err(unsupported("ADD CONSTRAINT … NOT VALID")
            .with_hint("Mend the rows first: a constraint holds for all rows of a table."));
    }
    match constraint {
        ast::TableConstraint::Check(check) => {
            Ok(TableAlteration::AddCheck(Box::new(read(None, check)?)))
        }
        other => Err(unsupported(&format!("ALTER TABLE … ADD {other}"))
            .with_hint("Only CHECK constraints are added.")),
    }
}
