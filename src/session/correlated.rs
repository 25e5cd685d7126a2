//! Subqueries that are values and look at the row around them by more than `=`: `(SELECT rate FROM rates r WHERE r.day <= o.day ORDER BY
//! r.day DESC LIMIT 1)`, `(SELECT sum(x) FROM t WHERE t.at BETWEEN o.at - 7 AND o.at)`, `(SELECT o.price * d.part FROM …)`.
//!
//! The planner has joins for keys alone (DataFusion 55.2). Here the rows are numbered and joined with those of the subquery on whatever
//! condition it has, and the aggregate is made for each number: of no row it is what it is of none, 0 for a count, NULL for others.
//! The row's own columns are grouped by as well, so that the rows need not be read twice, and in the same order, to be joined again.
//! Subqueries of more steps than these go through `dependent.rs`.

use std::cell::Cell;

use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema, JoinType};
use datafusion::error::Result as DfResult;
use datafusion::functions_window::expr_fn::row_number;
use datafusion::logical_expr::utils::{split_conjunction, split_conjunction_owned};
use datafusion::logical_expr::{
    Aggregate, BinaryExpr, Expr, ExprFunctionExt, Filter, LogicalPlan, LogicalPlanBuilder,
    Operator, Projection, Subquery, lit, when,
};

use super::dependent::{self, has_subquery, looked_up};
use super::lateral::as_unnested;
use super::outer_row::OuterRow;
use super::scalar_subqueries::is_aggregate;
use super::subqueries::{in_columns, looks_by_key, not_here};

/// The number of a row, and what tells that the subquery has one for it.
const NUMBER: &str = "number of the row";
const THERE: &str = "there is a row";

/// How deep queries may stand in queries.
const DEPTH_MAX: usize = 32;

/// Gives such subqueries a plan.
///
/// # Errors
/// 0A000 for one that the planner would answer wrongly, and what it says of the plan it is given.
pub(super) fn by_number(mut plan: LogicalPlan) -> DfResult<LogicalPlan> {
    // What stands in a subquery is settled when the subquery is gone.
    for _ in 0..DEPTH_MAX {
        let again = Cell::new(false);
        plan = settled(plan, &again)?;
        if !again.get() {
            break;
        }
        plan = in_columns(as_unnested(plan)?)?;
    }
    refuse_others(&plan)?;
    Ok(plan)
}

/// Refuses subqueries that the planner has no right joins for.
fn refuse_others(plan: &LogicalPlan) -> DfResult<()> {
    plan.apply_with_subqueries(|node| {
        let mut row = DFSchema::empty();
        for input in node.inputs() {
            row.merge(input.schema());
        }
        node.apply_expressions(|expr| {
            expr.apply(|part| {
                if let Expr::ScalarSubquery(subquery) = part
                    && !looked_up(&subquery.subquery)?.is_empty()
                    && !is_by_keys(&subquery.subquery, &row)
                    && !is_among_by_keys(&subquery.subquery)?
                {
                    return Err(not_here("a subquery that looks so at the row around it").into());
                }
                Ok(TreeNodeRecursion::Continue)
            })
        })
    })?;
    Ok(())
}

fn settled(plan: LogicalPlan, again: &Cell<bool>) -> DfResult<LogicalPlan> {
    plan.transform_up_with_subqueries(|node| match node {
        LogicalPlan::Projection(projection) => {
            let taken = taken_out(&projection.input, &projection.expr, again)?;
            let Some((input, exprs)) = taken else {
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
            let Some((input, mut exprs)) = taken_out(&filter.input, condition, again)? else {
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
fn taken_out(
    input: &LogicalPlan,
    exprs: &[Expr],
    again: &Cell<bool>,
) -> DfResult<Option<(LogicalPlan, Vec<Expr>)>> {
    let mut rows: Option<LogicalPlan> = None;
    let mut n_taken = 0;
    let mut changed = Vec::with_capacity(exprs.len());
    for expr in exprs {
        let expr = expr.clone().transform_up(|part| {
            let Expr::ScalarSubquery(subquery) = &part else { return Ok(Transformed::no(part)) };
            let before = rows.as_ref().unwrap_or(input);
            let name = format!("value {n_taken} of the row");
            let Some(with) = with_value(before, subquery, &name, again)? else {
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
    // A subquery would look for the row where it is not.
    let asks = |plan: &&LogicalPlan| plan.expressions().iter().any(has_subquery);
    let fits = looked_up(plan).is_ok_and(|looked_up| looked_up.is_empty())
        && !conditions.iter().any(has_subquery)
        && !aggregate.aggr_expr.iter().any(has_subquery)
        && !made.iter().chain(&shown).any(asks);
    fits.then_some(Parts { shown, aggregate, made, conditions, rows: plan })
}

/// Returns whether the planner has a join for a subquery as it has for keys.
pub(super) fn is_by_keys(plan: &LogicalPlan, outer: &DFSchema) -> bool {
    taken_apart(plan).is_some_and(|parts| is_of_keys(&parts, outer))
}

/// Returns whether a subquery is an aggregate of some rows among others, each chosen by keys alone: such are made of `IN`.
fn is_among_by_keys(plan: &LogicalPlan) -> DfResult<bool> {
    let looks_out =
        |exprs: &[Expr]| exprs.iter().any(|expr| expr.contains_outer() || has_subquery(expr));
    match plan {
        LogicalPlan::Projection(made) if !looks_out(&made.expr) => is_among_by_keys(&made.input),
        LogicalPlan::Aggregate(of) if of.group_expr.is_empty() && !looks_out(&of.aggr_expr) => {
            chosen_by_keys(&of.input)
        }
        _ => Ok(false),
    }
}

fn chosen_by_keys(plan: &LogicalPlan) -> DfResult<bool> {
    if looked_up(plan)?.is_empty() {
        return Ok(true);
    }
    let is_column = |expr: &Expr| matches!(expr, Expr::Column(_));
    match plan {
        LogicalPlan::Filter(filter) => {
            let by_keys = !has_subquery(&filter.predicate)
                && split_conjunction(&filter.predicate).into_iter().all(looks_by_key);
            Ok(by_keys && chosen_by_keys(&filter.input)?)
        }
        LogicalPlan::Projection(made) if made.expr.iter().all(is_column) => {
            chosen_by_keys(&made.input)
        }
        _ => Ok(false),
    }
}

/// Returns whether the planner has a join for it: it looks at the row by `=` in its conditions alone, and calls what it reads by one name. Of
/// another name the planner looks for the key among the columns that have it (DataFusion 55.2).
fn is_of_keys(parts: &Parts, outer: &DFSchema) -> bool {
    if parts.made.iter().any(|made| matches!(made, LogicalPlan::SubqueryAlias(_))) {
        return false;
    }
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
    again: &Cell<bool>,
) -> DfResult<Option<LogicalPlan>> {
    let Some(parts) = taken_apart(&subquery.subquery) else {
        if !is_aggregate(&subquery.subquery) || is_among_by_keys(&subquery.subquery)? {
            return Ok(None);
        }
        let made = dependent::with_value(input, subquery, name)?;
        again.set(again.get() || made.is_some());
        return Ok(made);
    };
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
            LogicalPlan::Projection(projection) => {
                let named = inside(&projection.expr)?.into_iter().zip(projection.schema.iter());
                let named = named.map(|(expr, (relation, field))| match expr {
                    same @ Expr::Column(_) if projection.expr.contains(&same) => same,
                    other => other.unalias().alias_qualified(relation.cloned(), field.name()),
                });
                named.collect::<Vec<_>>()
            }
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
            // Of no row it is not computed: it could fail.
            let given = std::mem::take(&mut function.params.args).into_iter();
            let given = given.map(|argument| match argument {
                plain @ (Expr::Column(_) | Expr::Literal(..)) => Ok(plain),
                other => when(column(THERE), other).end(),
            });
            function.params.args = given.collect::<DfResult<Vec<_>>>()?;
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
