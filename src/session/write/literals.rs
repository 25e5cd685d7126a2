//! Text literals, NULL and parameters that are written as they stand take the type of the column they are for, as in
//! PostgreSQL; `DEFAULT`.

use arrow::datatypes::{DataType, FieldRef};
use maru_core::{Error, Result};
use maru_sql::ast::{self, Expr, SelectItem, SetExpr, Value};

use super::target::Target;
use crate::system::types::sql_name;

/// Brings literals to the types of the columns, as far as SQL has words for them.
pub(super) fn settle(query: &mut ast::Query, columns: &[FieldRef]) {
    let types = columns.iter().map(type_of).collect::<Vec<_>>();
    body(&mut query.body, &types);
}

/// Brings one literal to the type of a column.
pub(super) fn cast_to(value: &mut Expr, column: &FieldRef) {
    cast(value, &type_of(column));
}

fn body(expr: &mut SetExpr, types: &[Option<ast::DataType>]) {
    match expr {
        SetExpr::Values(values) => {
            for row in &mut values.rows {
                row.iter_mut().zip(types).for_each(|(value, data_type)| cast(value, data_type));
            }
        }
        SetExpr::Select(select) => {
            for (item, data_type) in select.projection.iter_mut().zip(types) {
                match item {
                    SelectItem::UnnamedExpr(value)
                    | SelectItem::ExprWithAlias { expr: value, .. } => cast(value, data_type),
                    // From here on it is not known which is which.
                    _ => return,
                }
            }
        }
        SetExpr::SetOperation { left, right, .. } => {
            body(left, types);
            body(right, types);
        }
        SetExpr::Query(query) => body(&mut query.body, types),
        _ => {}
    }
}

fn cast(value: &mut Expr, data_type: &Option<ast::DataType>) {
    let Some(data_type) = data_type else { return };
    let is_open = |value: &Expr| match value {
        Expr::Value(value) => matches!(
            value.value,
            Value::SingleQuotedString(_)
                | Value::EscapedStringLiteral(_)
                | Value::DollarQuotedString(_)
                | Value::Null
                | Value::Placeholder(_)
        ),
        _ => false,
    };
    if is_open(value) {
        *value = Expr::Cast {
            kind: ast::CastKind::Cast,
            expr: Box::new(value.clone()),
            data_type: data_type.clone(),
            array: false,
            format: None,
        };
    }
}

fn type_of(field: &FieldRef) -> Option<ast::DataType> {
    let extension = field.metadata().get("ARROW:extension:name").map(String::as_str);
    let name = match (extension, field.data_type()) {
        (Some("arrow.uuid"), _) => "uuid".to_owned(),
        (Some(_), _) => return None,
        (_, DataType::Struct(_) | DataType::Map(..) | DataType::Union(..) | DataType::Null) => {
            return None;
        }
        (_, DataType::Duration(_)) => return None,
        (_, data_type) => sql_name(data_type),
    };
    maru_sql::parse_type(&name)
}

/// Brings any value to the type of a column, as far as SQL has words for it.
pub(super) fn of_type(value: Expr, column: &FieldRef) -> Expr {
    match type_of(column) {
        None => value,
        Some(data_type) => Expr::Cast {
            kind: ast::CastKind::Cast,
            expr: Box::new(value),
            data_type,
            array: false,
            format: None,
        },
    }
}

/// Returns whether a value is the bare word `DEFAULT`.
pub(super) fn is_default(value: &Expr) -> bool {
    matches!(value, Expr::Identifier(ident)
        if ident.quote_style.is_none() && ident.value.eq_ignore_ascii_case("default"))
}

/// Returns what a column is set to.
///
/// # Errors
/// 0A000 for `DEFAULT` of a table whose source alone knows what that is.
pub(super) fn without_default(target: &Target, column: &FieldRef, value: Expr) -> Result<Expr> {
    match (is_default(&value), target.keeps_what_is_given()) {
        (false, _) => Ok(value),
        (true, true) => target.default_of(column),
        (true, false) => Err(Error::unsupported(format!(
            "columns of {} cannot be set to DEFAULT",
            target.object()
        ))
        .with_detail("Its system alone knows their defaults.")
        .with_hint("Write the value.")),
    }
}

/// Returns whether rows are one in which nothing but `DEFAULT` is said, for so many columns, or for fewer unless they are named.
pub(super) fn is_nothing(query: &ast::Query, n_columns: usize, named: bool) -> bool {
    let SetExpr::Values(values) = query.body.as_ref() else { return false };
    match values.rows.as_slice() {
        [row] => {
            let fits = row.len() == n_columns || (!named && row.len() < n_columns);
            fits && row.iter().all(is_default)
        }
        _ => false,
    }
}

/// Leaves one NULL of each row.
pub(super) fn leave_one_null(query: &mut ast::Query) {
    let SetExpr::Values(values) = query.body.as_mut() else { return };
    for row in &mut values.rows {
        row.truncate(1);
        row.iter_mut().for_each(|value| *value = Expr::value(Value::Null));
    }
}

/// Takes columns out whose value is `DEFAULT` in every row.
///
/// # Errors
/// 0A000 where it is so in some rows alone, and where no column is left.
pub(super) fn leave_out_defaults(query: &mut ast::Query, columns: &mut Vec<String>) -> Result<()> {
    let SetExpr::Values(values) = query.body.as_mut() else { return Ok(()) };
    let width = values.rows.iter().map(|row| row.len()).min().unwrap_or(0);
    for column in (0..width).rev() {
        let n_default = values.rows.iter().filter(|row| is_default(&row[column])).count();
        if n_default == 0 {
            continue;
        }
        if n_default < values.rows.len() || column >= columns.len() || width == 1 {
            return Err(Error::unsupported(
                "DEFAULT for some rows of a column, or for all columns, is not supported",
            )
            .with_hint("Insert these rows by a statement that does not name the column."));
        }
        values.rows.iter_mut().for_each(|row| {
            row.remove(column);
        });
        columns.remove(column);
    }
    Ok(())
}
