//! Subqueries that are values and look at the row around them by more than `=`: `(SELECT rate FROM rates r WHERE r.day <= o.day ORDER BY
//! r.day DESC LIMIT 1)`, `(SELECT sum(x) FROM t WHERE t.at BETWEEN o.at - 7 AND o.at)`, `(SELECT o.price * d.part FROM …)`.
//!
//! The planner has joins for keys alone (DataFusion 55.2). Here the rows are numbered and joined with those of the subquery on whatever
//! condition it has, and the aggregate is made for each number: of no row it is what it is of none, 0 for a count, NULL for others.
//! The row's own columns are grouped by as well, so that the rows need not be read twice, and in the same order, to be joined again.

use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::common::{Column, DFSchema, JoinType};
use datafusion::error::Result as DfResult;
use datafusion::functions_window::expr_fn::row_number;
use datafusion::logical_expr::utils::split_conjunction_owned;
use datafusion::logical_expr::{
    Aggregate, BinaryExpr, Expr, ExprFunctionExt, Filter, LogicalPlan, LogicalPlanBuilder,
    Operator, Projection, Subquery, lit,
};

use super::outer_row::OuterRow;

/// The number of a row, and what tells that the subquery has one for it.
const NUMBER: &str = "number of the row";
const THERE: &str = "there is a row";

/// Gives such subqueries a plan.
///
/// # Errors
/// What the planner says of the plan it is given.
pub(super) fn by_number(plan: LogicalPlan) -> DfResult<LogicalPlan> {
    plan.transform_up_with_subqueries(|node| match node {
        LogicalPlan::Projection(projection) => {
            let Some((input, exprs)) = taken_out(&projection.input, &projection.expr)? else {
                return Ok(Transformed::no(LogicalPlan::Projection(projection)));
            };
            let named = exprs.into_iter().zip(projection.schema.iter());
            let named = named.map(|(expr, (relation, field))| match expr {
                same @ Expr::Column(_) if projection.expr.contains(&same) => same,
                other => other.unalias().alias_qualified(relation.cloned(), field.name()),
            });
            let plan = Projection::try_new(named.collect(), input.into())?;
            Ok(Transformed::yes(LogicalPlan::Projection(plan)))
        }
        LogicalPlan::Filter(filter) => {
            let condition = std::slice::from_ref(&filter.predicate);
            let Some((input, mut exprs)) = taken_out(&filter.input, condition)? else {
                return Ok(Transformed::no(LogicalPlan::Filter(filter)));
            };
            let columns = filter.input.schema().columns();
            let Some(condition) = exprs.pop() else {
                return Ok(Transformed::no(LogicalPlan::Filter(filter)));
            };
            let kept = LogicalPlan::Filter(Filter::try_new(condition, input.into())?);
            let plan = LogicalPlanBuilder::from(kept)
                .project(columns.into_iter().map(Expr::Column))?
                .build()?;
            Ok(Transformed::yes(plan))
        }
        other => Ok(Transformed::no(other)),
    })
    .data()
}

/// Makes columns of the subqueries in expressions; `None` if there is none of the kind.
fn taken_out(input: &LogicalPlan, exprs: &[Expr]) -> DfResult<Option<(LogicalPlan, Vec<Expr>)>> {
    let mut rows: Option<LogicalPlan> = None;
    let mut n_taken = 0;
    let mut changed = Vec::with_capacity(exprs.len());
    for expr in exprs {
        let expr = expr.clone().transform_up(|part| {
            let Expr::ScalarSubquery(subquery) = &part else { return Ok(Transformed::no(part)) };
            let before = rows.as_ref().unwrap_or(input);
            let name = format!("value {n_taken} of the row");
            let Some(with) = with_value(before, subquery, &name)? else {
                return Ok(Transformed::no(part));
            };
            rows = Some(with);
            n_taken += 1;
            Ok(Transformed::yes(Expr::Column(Column::new_unqualified(name))))
        })?;
        changed.push(expr.data);
    }
    Ok(rows.map(|rows| (rows, changed)))
}

/// `SELECT of aggregates FROM (SELECT … FROM rows WHERE conditions)`, taken apart.
struct Parts<'a> {
    /// What is made of the aggregates, the last first.
    shown: Vec<&'a LogicalPlan>,
    aggregate: &'a Aggregate,
    /// What is made of the rows, the last first.
    made: Vec<&'a LogicalPlan>,
    conditions: Vec<Expr>,
    /// They do not look at the row.
    rows: &'a LogicalPlan,
}

fn taken_apart(plan: &LogicalPlan) -> Option<Parts<'_>> {
    let (mut shown, mut plan) = (Vec::new(), plan);
    let aggregate = loop {
        match plan {
            LogicalPlan::Projection(projection) => {
                shown.push(plan);
                plan = &projection.input;
            }
            LogicalPlan::Aggregate(aggregate) if aggregate.group_expr.is_empty() => {
                break aggregate;
            }
            _ => return None,
        }
    };
    let (mut made, mut plan) = (Vec::new(), aggregate.input.as_ref());
    loop {
        match plan {
            LogicalPlan::Projection(projection) => {
                made.push(plan);
                plan = &projection.input;
            }
            LogicalPlan::SubqueryAlias(alias) if !alias.input.all_out_ref_exprs().is_empty() => {
                made.push(plan);
                plan = &alias.input;
            }
            LogicalPlan::Sort(sort) if sort.fetch.is_none() => plan = &sort.input,
            _ => break,
        }
    }
    let mut conditions = Vec::new();
    while let LogicalPlan::Filter(filter) = plan {
        conditions.extend(split_conjunction_owned(filter.predicate.clone()));
        plan = &filter.input;
    }
    // A subquery in a condition would look for the row where it is not.
    let is_query = |part: &Expr| {
        matches!(part, Expr::ScalarSubquery(_) | Expr::Exists(_) | Expr::InSubquery(_))
    };
    let has_query = |expr: &Expr| expr.exists(|part| Ok(is_query(part))).unwrap_or(true);
    let fits = plan.all_out_ref_exprs().is_empty() && !conditions.iter().any(has_query);
    fits.then_some(Parts { shown, aggregate, made, conditions, rows: plan })
}

/// Returns whether the planner has a join for it: it looks at the row by `=` in its conditions alone.
fn is_of_keys(parts: &Parts, outer: &DFSchema) -> bool {
    let looks_out = |plan: &&LogicalPlan| plan.expressions().iter().any(Expr::contains_outer);
    let is_key = |condition: &Expr| match condition {
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq, right }) => {
            let is_row = |side: &Expr| {
                let Expr::OuterReferenceColumn(_, column) = side else { return false };
                outer.maybe_index_of_column(column).is_some()
            };
            let is_other = |side: &Expr| !side.contains_outer();
            (is_row(left) && is_other(right))
                || (is_row(right) && is_other(left))
                || is_other(condition)
        }
        other => !other.contains_outer(),
    };
    parts.conditions.iter().all(is_key)
        && !parts.aggregate.aggr_expr.iter().any(Expr::contains_outer)
        && !parts.made.iter().chain(&parts.shown).any(looks_out)
}

/// Adds the value of a subquery to rows.
fn with_value(
    input: &LogicalPlan,
    subquery: &Subquery,
    name: &str,
) -> DfResult<Option<LogicalPlan>> {
    let Some(parts) = taken_apart(&subquery.subquery) else { return Ok(None) };
    let schema = input.schema();
    let is_of_row = |expr: &Expr| match expr {
        Expr::OuterReferenceColumn(_, column) => schema.maybe_index_of_column(column).is_some(),
        _ => false,
    };
    let outer = subquery.subquery.all_out_ref_exprs();
    if outer.is_empty() || is_of_keys(&parts, schema) || !outer.iter().all(is_of_row) {
        return Ok(None);
    }
    let row = OuterRow::new(schema);
    let inside = |exprs: &[Expr]| {
        exprs.iter().map(|expr| row.inside(expr.clone())).collect::<DfResult<Vec<_>>>()
    };
    let column = |name: &str| Expr::Column(Column::new_unqualified(name));
    let carried = || row.columns().into_iter().chain([column(NUMBER)]);
    let rows = numbered(row.renamed(input.clone())?)?;
    let among = parts.rows.schema().columns().into_iter().map(Expr::Column);
    let among = LogicalPlanBuilder::from(parts.rows.clone())
        .project(among.chain([lit(true).alias(THERE)]))?
        .build()?;
    let mut conditions = inside(&parts.conditions)?;
    if conditions.is_empty() {
        conditions.push(lit(true));
    }
    let mut plan = LogicalPlanBuilder::from(rows).join_on(among, JoinType::Left, conditions)?;
    for made in parts.made.into_iter().rev() {
        let exprs = match made {
            LogicalPlan::Projection(projection) => inside(&projection.expr)?,
            LogicalPlan::SubqueryAlias(alias) => {
                let pairs = alias.input.schema().columns().into_iter().zip(alias.schema.columns());
                let named = pairs
                    .map(|(from, to)| Expr::Column(from).alias_qualified(to.relation, to.name));
                named.collect()
            }
            _ => return Ok(None),
        };
        plan = plan.project(carried().chain([column(THERE)]).chain(exprs))?;
    }
    let aggregates = inside(&parts.aggregate.aggr_expr)?.into_iter();
    let aggregates = aggregates.zip(parts.aggregate.schema.fields()).map(|(aggregate, field)| {
        let of_rows = aggregate.transform_up(|part| {
            let Expr::AggregateFunction(mut function) = part else {
                return Ok(Transformed::no(part));
            };
            let there = column(THERE);
            function.params.filter = Some(Box::new(match function.params.filter.take() {
                Some(filter) => there.and(*filter),
                None => there,
            }));
            Ok(Transformed::yes(Expr::AggregateFunction(function)))
        })?;
        Ok(of_rows.data.unalias().alias(field.name()))
    });
    let aggregates = aggregates.collect::<DfResult<Vec<_>>>()?;
    plan = plan.aggregate(carried().collect::<Vec<_>>(), aggregates)?;
    for shown in parts.shown.into_iter().rev() {
        let LogicalPlan::Projection(projection) = shown else { return Ok(None) };
        plan = plan.project(carried().chain(inside(&projection.expr)?))?;
    }
    let Some(value) = plan.schema().columns().pop() else { return Ok(None) };
    let value = Expr::Column(value).alias(name);
    plan.project(row.restored().into_iter().chain([value]))?.build().map(Some)
}

fn numbered(rows: LogicalPlan) -> DfResult<LogicalPlan> {
    let columns = rows.schema().columns();
    let number = row_number().partition_by(Vec::new()).build()?;
    let numbered = LogicalPlanBuilder::from(rows).window([number])?.build()?;
    let number = numbered.schema().columns().into_iter().filter(|c| !columns.contains(c));
    let number = number.map(|number| Expr::Column(number).alias(NUMBER)).collect::<Vec<_>>();
    let all = columns.iter().cloned().map(Expr::Column).chain(number);
    LogicalPlanBuilder::from(numbered).project(all)?.build()
}
