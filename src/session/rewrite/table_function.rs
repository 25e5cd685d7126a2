//! The column of `generate_series(…)` and `unnest(…)`: it is called as the alias of the call, or as the function. A function of one
//! value in the place of a table is a table of one row.

use datafusion::sql::sqlparser::parser::Parser;
use maru_sql::MaruDialect;
use maru_sql::ast::{Ident, ObjectNamePart, TableAlias, TableAliasColumnDef, TableFactor};

use super::set_returning::steps;

/// Functions of one column.
const OF_ONE_COLUMN: &[&str] = &["generate_series"];

/// Functions of one value that stand in the place of tables.
const OF_ONE_VALUE: &[&str] = &["current_schemas", "string_to_array"];

/// Makes `(SELECT f(…) AS name) AS name` of `f(…) AS name`.
fn of_one_value(table: &TableFactor) -> Option<TableFactor> {
    let TableFactor::Table { name, alias, args: Some(args), .. } = table else { return None };
    let function = name.0.last()?.as_ident()?.value.to_lowercase();
    if !OF_ONE_VALUE.contains(&function.as_str()) || args.settings.is_some() {
        return None;
    }
    let alias = alias.as_ref();
    let named = alias.map_or(&function, |alias| &alias.name.value);
    let column = alias.and_then(|alias| alias.columns.first()).map(|column| &column.name.value);
    let arguments = args.args.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let sql = format!(
        "(SELECT {function}({arguments}) AS {}) AS {}",
        maru_core::quote_ident(column.unwrap_or(named)),
        maru_core::quote_ident(named)
    );
    Parser::new(&MaruDialect).try_with_sql(&sql).ok()?.parse_table_factor().ok()
}

/// Names the column, if the statement does not. Names of functions are folded to small letters, as other names are.
pub(super) fn table(table: &mut TableFactor) {
    if let TableFactor::Table { name, args: Some(args), .. } = table {
        steps(&name.to_string().to_lowercase(), &mut args.args);
        for part in &mut name.0 {
            if let ObjectNamePart::Identifier(ident) = part
                && ident.quote_style.is_none()
            {
                ident.value = ident.value.to_lowercase();
            }
        }
    }
    if let Some(derived) = of_one_value(table) {
        *table = derived;
        return;
    }
    let (function, alias) = match table {
        TableFactor::Table { name, alias, args: Some(_), .. } => {
            let [ObjectNamePart::Identifier(name)] = name.0.as_slice() else { return };
            let name = name.value.to_lowercase();
            let Some(function) = OF_ONE_COLUMN.iter().find(|known| **known == name) else { return };
            (*function, alias)
        }
        TableFactor::UNNEST {
            alias,
            array_exprs,
            with_offset: false,
            with_ordinality: false,
            ..
        } if array_exprs.len() == 1 => ("unnest", alias),
        _ => return,
    };
    let alias = alias.get_or_insert_with(|| TableAlias {
        explicit: true,
        name: Ident::new(function),
        columns: Vec::new(),
        at: None,
    });
    if alias.columns.is_empty() {
        alias.columns.push(TableAliasColumnDef::from_name(alias.name.value.clone()));
        if let Some(column) = alias.columns.first_mut() {
            column.name = alias.name.clone();
        }
    }
}
