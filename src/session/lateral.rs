//! `LATERAL`: rows that are made for each row of the tables before it, by functions and expressions (`FROM t, jsonb_array_elements(t.doc)`,
//! `LEFT JOIN LATERAL … ON true`), and the first ones of an order (`first.rs`).
//!
//! The planner makes a join with a query in it that reads the left side, and cannot run it: rows that come of rows are no join. Where
//! that query makes its rows of one row with `unnest`, and passes them on, it is the left side's own rows that are unnested: the
//! query's steps are put above the left side, whose columns go along under names that nothing else has. Other queries than those, and
//! than what the planner has a join for, go through `dependent.rs`.

mod first;

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema, JoinType, NullHandling, ScalarValue};
use datafusion::error::Result as DfResult;
use datafusion::functions_nested::expr_fn::cardinality;
use datafusion::logical_expr::expr::Cast;
use datafusion::logical_expr::utils::split_conjunction;
use datafusion::logical_expr::{
    Expr, Filter, Join, LogicalPlan, LogicalPlanBuilder, Projection, lit, when,
};
use maru_core::Error;

use super::dependent::{self, has_subquery, lateral_query, looked_up};
use super::outer_row::OuterRow;
use super::subqueries::looks_by_key;
use super::{correlated, json};

/// Whether a row of a left join stands for none.
const PADDED: &str = "\u{1}padded";

/// Changes the joins of a plan.
pub(super) fn as_unnested(plan: LogicalPlan) -> DfResult<LogicalPlan> {
    plan.transform_up_with_subqueries(|plan| {
        let LogicalPlan::Join(join) = &plan else { return Ok(Transformed::no(plan)) };
        for way in [unnested, first::rows] {
            if let Some(changed) = way(join)? {
                return Ok(Transformed::yes(changed));
            }
        }
        match by_number(join)? {
            // There may be such a join in what became of it.
            Some(changed) => Ok(Transformed::yes(as_unnested(changed)?)),
            None => Ok(Transformed::no(plan)),
        }
    })
    .data()
}

/// Gives a join a plan by the numbers of its left rows; `None` if the planner's is right, or the query looks further out than the left
/// side.
fn by_number(join: &Join) -> DfResult<Option<LogicalPlan>> {
    let keeps_left = match join.join_type {
        JoinType::Inner => false,
        JoinType::Left => true,
        _ => return Ok(None),
    };
    let Some(query) = lateral_query(&join.right) else { return Ok(None) };
    if is_for_planner(query, join)? {
        return Ok(None);
    }
    let on = join.on.iter().map(|(left, right)| left.clone().eq(right.clone()));
    let is_true = |expr: &Expr| matches!(expr, Expr::Literal(ScalarValue::Boolean(Some(true)), _));
    let conditions = on.chain(join.filter.clone()).filter(|one| !is_true(one)).collect();
    dependent::joined(&join.left, query, join.right.schema(), conditions, keeps_left)
}

/// Returns whether the planner's join with a query is right: of rows that look at nothing, chosen by conditions on the left row, and their
/// aggregates by keys.
fn is_for_planner(query: &LogicalPlan, join: &Join) -> DfResult<bool> {
    let plain = Plain { keys_only: true };
    Ok(plain.has(query)? || correlated::is_by_keys(query, join.left.schema()))
}

/// Queries that show and choose rows which look at nothing: the planner's joins are made for them. What they show does not look at the row.
pub(super) struct Plain {
    /// Whether they may look at it by `=` alone.
    pub(super) keys_only: bool,
}

impl Plain {
    /// Returns whether a query is one of them.
    ///
    /// # Errors
    /// What the planner says of a plan that it is given.
    pub(super) fn has(&self, query: &LogicalPlan) -> DfResult<bool> {
        if looked_up(query)?.is_empty() {
            return Ok(true);
        }
        let is_own = |one: &Expr| !has_subquery(one) && !one.contains_outer();
        Ok(match query {
            LogicalPlan::Projection(made) => {
                made.expr.iter().all(is_own) && self.has(&made.input)?
            }
            LogicalPlan::Sort(sort) if sort.fetch.is_none() => {
                sort.expr.iter().all(|one| is_own(&one.expr)) && self.has(&sort.input)?
            }
            LogicalPlan::Filter(filter) => {
                let parts = split_conjunction(&filter.predicate);
                let is_by_keys = parts.into_iter().all(looks_by_key);
                let may_compare = !self.keys_only && !has_join(&filter.input)?;
                !has_subquery(&filter.predicate)
                    && (is_by_keys || may_compare)
                    && self.has(&filter.input)?
            }
            _ => false,
        })
    }
}

fn has_join(plan: &LogicalPlan) -> DfResult<bool> {
    plan.exists(|node| Ok(matches!(node, LogicalPlan::Join(_))))
}

/// Refuses what is left: it would be answered wrongly, or refused without a word on what to do.
///
/// # Errors
/// 0A000.
pub(super) fn refuse_rest(plan: LogicalPlan) -> DfResult<LogicalPlan> {
    plan.apply_with_subqueries(|node| {
        if let LogicalPlan::Join(join) = node
            && let Some(query) = lateral_query(&join.right)
            && !is_for_planner(query, join)?
        {
            return Err(Error::unsupported("this query is not supported in LATERAL")
                .with_detail("It would have to be computed for each row, and no join does that here.")
                .with_hint("Supported are conditions, aggregates, windows, DISTINCT, ORDER BY and LIMIT; for a UNION write a LATERAL for each part.")
                .into());
        }
        if let LogicalPlan::Unnest(unnest) = node
            && !unnest.input.all_out_ref_exprs().is_empty()
        {
            let what = "rows made of a row of the query around this one are not supported here";
            return Err(Error::unsupported(what)
                .with_hint("Put the function into FROM of that query: FROM t, jsonb_array_elements(t.doc) AS e.")
                .into());
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(plan)
}

fn unnested(join: &Join) -> DfResult<Option<LogicalPlan>> {
    let pads = match join.join_type {
        JoinType::Inner => false,
        JoinType::Left => true,
        _ => return Ok(None),
    };
    let (alias, right) = match join.right.as_ref() {
        LogicalPlan::SubqueryAlias(alias) => (Some(alias.alias.clone()), alias.input.as_ref()),
        other => (None, other),
    };
    let LogicalPlan::Subquery(query) = right else { return Ok(None) };
    let is_true = |expr: &Expr| matches!(expr, Expr::Literal(ScalarValue::Boolean(Some(true)), _));
    if pads && !(join.on.is_empty() && join.filter.as_ref().is_none_or(is_true)) {
        return Ok(None);
    }
    let lift = Lift { left: join.left.schema(), row: OuterRow::new(join.left.schema()), pads };
    let left = lift.row.renamed(join.left.as_ref().clone())?;
    let Some(lifted) = lift.steps(&query.subquery, left)? else { return Ok(None) };
    let mut columns = lift.row.restored();
    let has_padding = lifted.schema().has_column_with_unqualified_name(PADDED);
    for (qualifier, field) in query.subquery.schema().iter() {
        let of = Expr::Column(Column::new(qualifier.cloned(), field.name()));
        let of = match has_padding {
            true => when(column(PADDED), null(field.data_type())?).otherwise(of)?,
            false => of,
        };
        let metadata = datafusion::common::metadata::FieldMetadata::from(field.metadata().clone());
        let qualifier = alias.clone().or_else(|| qualifier.cloned());
        columns.push(of.alias_qualified_with_metadata(qualifier, field.name(), Some(metadata)));
    }
    let mut plan = LogicalPlan::Projection(Projection::try_new(columns, Arc::new(lifted))?);
    for (left, right) in &join.on {
        let equal = left.clone().eq(right.clone());
        plan = LogicalPlan::Filter(Filter::try_new(equal, Arc::new(plan))?);
    }
    if let Some(filter) = join.filter.as_ref().filter(|filter| !is_true(filter)) {
        plan = LogicalPlan::Filter(Filter::try_new(filter.clone(), Arc::new(plan))?);
    }
    Ok(Some(plan))
}

fn column(name: impl Into<String>) -> Expr {
    Expr::Column(Column::new_unqualified(name))
}

fn null(data_type: &DataType) -> DfResult<Expr> {
    Ok(lit(ScalarValue::try_new_null(data_type)?))
}

struct Lift<'a> {
    left: &'a DFSchema,
    row: OuterRow<'a>,
    /// Whether a row stays for which there is none.
    pads: bool,
}

impl Lift<'_> {
    /// Puts the steps of a query above the left side; `None` for one that is more than steps.
    fn steps(&self, query: &LogicalPlan, left: LogicalPlan) -> DfResult<Option<LogicalPlan>> {
        let Some(input) = (match query {
            LogicalPlan::EmptyRelation(empty) if empty.produce_one_row => return Ok(Some(left)),
            LogicalPlan::Projection(step) => self.steps(&step.input, left)?,
            LogicalPlan::Filter(step) if !self.pads => self.steps(&step.input, left)?,
            LogicalPlan::Unnest(step) => self.steps(&step.input, left)?,
            LogicalPlan::SubqueryAlias(step) => self.steps(&step.input, left)?,
            _ => return Ok(None),
        }) else {
            return Ok(None);
        };
        Ok(match query {
            LogicalPlan::Projection(step) => {
                let mut columns = self.passed_on(&input);
                for expr in &step.expr {
                    columns.push(self.inner(expr.clone())?);
                }
                Some(LogicalPlan::Projection(Projection::try_new(columns, Arc::new(input))?))
            }
            LogicalPlan::Filter(step) => {
                let condition = self.inner(step.predicate.clone())?;
                Some(LogicalPlan::Filter(Filter::try_new(condition, Arc::new(input))?))
            }
            LogicalPlan::SubqueryAlias(step) => {
                let mut columns = self.passed_on(&input);
                for (qualifier, field) in step.input.schema().iter() {
                    let of = Expr::Column(Column::new(qualifier.cloned(), field.name()));
                    columns.push(of.alias_qualified(Some(step.alias.clone()), field.name()));
                }
                Some(LogicalPlan::Projection(Projection::try_new(columns, Arc::new(input))?))
            }
            LogicalPlan::Unnest(step) => {
                let input = if self.pads { self.padded(input, &step.exec_columns)? } else { input };
                let mut options = step.options.clone();
                if self.pads {
                    options.null_handling = NullHandling::PreserveAndExpandEmpty;
                }
                let builder = LogicalPlanBuilder::from(input);
                let builder =
                    builder.unnest_columns_with_options(step.exec_columns.clone(), options)?;
                Some(builder.build()?)
            }
            _ => None,
        })
    }

    /// The columns of the left side, and whether a row is padded, if that is known.
    fn passed_on(&self, input: &LogicalPlan) -> Vec<Expr> {
        let mut columns = self.row.columns();
        if input.schema().has_column_with_unqualified_name(PADDED) {
            columns.push(column(PADDED));
        }
        columns
    }

    /// What the query reads of the left side stands beside its own columns now.
    fn inner(&self, expr: Expr) -> DfResult<Expr> {
        expr.apply(|part| {
            if let Expr::ScalarFunction(call) = part
                && call.name() == json::ROW_VALUE
                && let Some(Expr::Literal(name, _)) = call.args.get(1)
            {
                let name = name.try_as_str().flatten().unwrap_or_default();
                json::refuse_ambiguous(name, self.left)?;
            }
            Ok(TreeNodeRecursion::Continue)
        })?;
        self.row.inside(expr)
    }

    /// Tells which rows have no elements, and stay as rows of NULLs.
    fn padded(&self, input: LogicalPlan, arrays: &[Column]) -> DfResult<LogicalPlan> {
        let fields = input.schema().iter();
        let columns = fields
            .map(|(qualifier, field)| Expr::Column(Column::new(qualifier.cloned(), field.name())));
        let mut columns = columns.collect::<Vec<_>>();
        columns.push(has_no_element(&input, arrays).alias(PADDED));
        Ok(LogicalPlan::Projection(Projection::try_new(columns, Arc::new(input))?))
    }
}

/// Tells whether all arrays of a row are empty or NULL.
pub(super) fn has_no_element(input: &LogicalPlan, arrays: &[Column]) -> Expr {
    let has_none = |name: &Column| {
        let length = cardinality(Expr::Column(name.clone()));
        let length = Expr::Cast(Cast::new(Box::new(length), DataType::Int64));
        Expr::Column(name.clone()).is_null().or(length.eq(lit(0_i64)))
    };
    let is_array = |name: &&Column| {
        let field = input.schema().qualified_field_from_column(name);
        field.is_ok_and(|(_, field)| matches!(field.data_type(), DataType::List(_)))
    };
    let all = arrays.iter().filter(is_array).map(has_none).reduce(Expr::and);
    all.unwrap_or(lit(false))
}
