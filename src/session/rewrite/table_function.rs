//! The column of `generate_series(…)` and `unnest(…)`: it is called as the alias of the call, or as the function.

use maru_sql::ast::{Ident, ObjectNamePart, TableAlias, TableAliasColumnDef, TableFactor};

/// Functions of one column.
const OF_ONE_COLUMN: &[&str] = &["generate_series"];

/// Names the column, if the statement does not.
pub(super) fn table(table: &mut TableFactor) {
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
