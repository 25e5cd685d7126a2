//! `LATERAL (SELECT i.v, t.name FROM i …) x`: what is shown of the row around has its column's name, `x.name`. The planner calls it
//! `outer_ref(t.name)` (DataFusion 55.2).

use maru_sql::ast::{Expr, Select, SelectItem, SetExpr, TableFactor};

use super::columns::name_of;
use super::{folded, from_names};

/// Names such columns.
pub(super) fn table(table: &mut TableFactor) {
    if let TableFactor::Derived { lateral: true, subquery, .. } = table {
        first(&mut subquery.body);
    }
}

/// The first query of a set operation names its columns.
fn first(body: &mut SetExpr) {
    match body {
        SetExpr::Query(query) => first(&mut query.body),
        SetExpr::SetOperation { left, .. } => first(left),
        SetExpr::Select(select) => named(select),
        _ => {}
    }
}

fn named(select: &mut Select) {
    let own = from_names::of(&select.from);
    let mut names = Vec::with_capacity(select.projection.len());
    for item in &select.projection {
        names.push(match item {
            SelectItem::UnnamedExpr(expr) => name_of(expr).to_lowercase(),
            SelectItem::ExprWithAlias { alias, .. } => alias.value.to_lowercase(),
            // A star may hold a column of any name.
            _ => return,
        });
    }
    for (item, name) in select.projection.iter_mut().zip(&names) {
        if let SelectItem::UnnamedExpr(Expr::CompoundIdentifier(parts)) = item
            && let [.., table, column] = parts.as_slice()
            && !own.contains(&folded(table))
            && names.iter().filter(|other| *other == name).count() == 1
        {
            let (expr, alias) = (Expr::CompoundIdentifier(parts.clone()), column.clone());
            *item = SelectItem::ExprWithAlias { expr, alias };
        }
    }
}
