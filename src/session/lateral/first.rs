//! `LEFT JOIN LATERAL (SELECT … WHERE o.customer = c.id ORDER BY … LIMIT 3)`: the first rows of each key.
//!
//! They become numbers of rows among those with the same key, which a join can ask for.

use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::common::{Column, DFSchema};
use datafusion::error::Result as DfResult;
use datafusion::functions_window::expr_fn::row_number;
use datafusion::logical_expr::expr::Sort as SortExpr;
use datafusion::logical_expr::utils::split_conjunction_owned;
use datafusion::logical_expr::{
    BinaryExpr, Expr, ExprFunctionExt, FetchType, Join, Limit, LogicalPlan, LogicalPlanBuilder,
    Operator, SkipType, lit,
};

/// `… WHERE key = row.key … ORDER BY … LIMIT n`, taken apart.
struct First<'a> {
    skip: i64,
    fetch: Option<i64>,
    /// What is shown of `columns`; all of them if nothing is said.
    shown: Option<&'a [Expr]>,
    order: Vec<SortExpr>,
    columns: &'a [Expr],
    /// What is asked of the rows themselves.
    conditions: Vec<Expr>,
    /// Equal pairs: of the rows, of the row they are for.
    keys: Vec<(Expr, Expr)>,
    rows: &'a LogicalPlan,
}

/// Numbers the rows of each key and joins those that are asked for; `None` for a join of another kind.
///
/// # Errors
/// What the planner says of the plan it is given.
pub(super) fn rows(join: &Join) -> DfResult<Option<LogicalPlan>> {
    let mut subquery = join.right.as_ref();
    while let LogicalPlan::SubqueryAlias(alias) = subquery {
        subquery = &alias.input;
    }
    let LogicalPlan::Subquery(subquery) = subquery else { return Ok(None) };
    let LogicalPlan::Limit(limit) = subquery.subquery.as_ref() else { return Ok(None) };
    let Some(first) = taken_apart(limit, join.left.schema())? else { return Ok(None) };
    let mut rows = LogicalPlanBuilder::from(first.rows.clone());
    for condition in first.conditions {
        rows = rows.filter(condition)?;
    }
    let key = |at: usize| Column::new_unqualified(format!("key {at} of the row"));
    let keys = || (0..first.keys.len()).map(|at| Expr::Column(key(at)));
    let named =
        first.keys.iter().enumerate().map(|(at, (of_rows, _))| of_rows.clone().alias(key(at).name));
    let rows = rows.project(first.columns.iter().cloned().chain(named))?.build()?;
    let columns = rows.schema().columns();
    let mut number = row_number().partition_by(keys().collect());
    if !first.order.is_empty() {
        number = number.order_by(first.order);
    }
    let rows = LogicalPlanBuilder::from(rows).window([number.build()?])?.build()?;
    let number = rows.schema().columns().into_iter().find(|column| !columns.contains(column));
    let Some(number) = number.map(Expr::Column) else { return Ok(None) };
    let mut wanted = number.clone().gt(lit(first.skip));
    if let Some(fetch) = first.fetch {
        wanted = wanted.and(number.lt_eq(lit(first.skip.saturating_add(fetch))));
    }
    let shown = match first.shown {
        Some(shown) => shown.to_vec(),
        None => columns.iter().take(first.columns.len()).cloned().map(Expr::Column).collect(),
    };
    let rows =
        LogicalPlanBuilder::from(rows).filter(wanted)?.project(shown.into_iter().chain(keys()))?;
    let rows = rows.build()?;
    let to = join.right.schema().columns();
    let named = rows
        .schema()
        .columns()
        .into_iter()
        .zip(&to)
        .map(|(from, to)| Expr::Column(from).alias_qualified(to.relation.clone(), &to.name));
    let named = named.chain(keys()).collect::<Vec<_>>();
    let rows = LogicalPlanBuilder::from(rows).project(named)?.build()?;
    let pairs = first
        .keys
        .iter()
        .enumerate()
        .map(|(at, (_, of_row))| of_row.clone().eq(Expr::Column(key(at))));
    let on = join.on.iter().map(|(left, right)| left.clone().eq(right.clone()));
    let conditions = pairs.chain(on).chain(join.filter.clone()).collect::<Vec<_>>();
    let all = join.left.schema().columns().into_iter().chain(to).map(Expr::Column);
    LogicalPlanBuilder::from(join.left.as_ref().clone())
        .join_on(rows, join.join_type, conditions)?
        .project(all)?
        .build()
        .map(Some)
}

fn taken_apart<'a>(limit: &'a Limit, row: &DFSchema) -> DfResult<Option<First<'a>>> {
    let (SkipType::Literal(skip), FetchType::Literal(fetch)) =
        (limit.get_skip_type()?, limit.get_fetch_type()?)
    else {
        return Ok(None);
    };
    let (shown, inner) = match limit.input.as_ref() {
        LogicalPlan::Projection(projection)
            if matches!(*projection.input, LogicalPlan::Sort(_)) =>
        {
            (Some(projection.expr.as_slice()), projection.input.as_ref())
        }
        other => (None, other),
    };
    let (order, inner) = match inner {
        LogicalPlan::Sort(sort) if sort.fetch.is_none() => (sort.expr.clone(), sort.input.as_ref()),
        other => (Vec::new(), other),
    };
    let LogicalPlan::Projection(projection) = inner else { return Ok(None) };
    let mut rows = projection.input.as_ref();
    let (mut conditions, mut keys) = (Vec::new(), Vec::new());
    while let LogicalPlan::Filter(filter) = rows {
        for condition in split_conjunction_owned(filter.predicate.clone()) {
            if !condition.contains_outer() {
                conditions.push(condition);
                continue;
            }
            let Some(key) = key(condition, row)? else { return Ok(None) };
            keys.push(key);
        }
        rows = &filter.input;
    }
    let looks_out = order.iter().any(|sort| sort.expr.contains_outer())
        || shown.unwrap_or_default().iter().any(Expr::contains_outer)
        || projection.expr.iter().any(Expr::contains_outer)
        || !rows.all_out_ref_exprs().is_empty();
    if looks_out || keys.is_empty() {
        return Ok(None);
    }
    let columns = projection.expr.as_slice();
    let (skip, fetch) = (skip as i64, fetch.map(|fetch| fetch as i64));
    Ok(Some(First { skip, fetch, shown, order, columns, conditions, keys, rows }))
}

/// Returns the sides of `column = row.column`, that of the rows first; `None` for another condition.
fn key(condition: Expr, row: &DFSchema) -> DfResult<Option<(Expr, Expr)>> {
    let Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq, right }) = condition else {
        return Ok(None);
    };
    let (of_rows, of_row) = match (left.contains_outer(), right.contains_outer()) {
        (false, true) => (*left, *right),
        (true, false) => (*right, *left),
        _ => return Ok(None),
    };
    if !of_row.column_refs().is_empty() {
        return Ok(None);
    }
    let mut known = true;
    let of_row = of_row
        .transform_up(|part| {
            Ok(match part {
                Expr::OuterReferenceColumn(_, column) => {
                    known &= row.maybe_index_of_column(&column).is_some();
                    Transformed::yes(Expr::Column(column))
                }
                other => Transformed::no(other),
            })
        })
        .data()?;
    Ok(known.then_some((of_rows, of_row)))
}
