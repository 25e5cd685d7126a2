//! `b <> 0 AND a / b > 1`, `t ~ '^[0-9]+$' AND t::int > 5`, `b = 0 OR a / b > 1`: what fails for some rows behind a condition that leaves them
//! out.
//!
//! PostgreSQL evaluates such conditions from left to right, and everybody writes them. The engine underneath evaluates both sides for
//! all rows of a batch (DataFusion 55.2). Here what may fail is computed of NULL where the conditions before it have decided: its result
//! does not count there. Only conditions on the same columns guard, so that all others go to their sources as they are; and none brings
//! a table into what is of another one, which would be no key of a join any more.
//!
//! `sum(a / b) FILTER (WHERE b <> 0)` likewise computes of the rows that it keeps.

use std::collections::HashSet;

use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::common::{Column, DFSchema};
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::split_binary_owned;
use datafusion::logical_expr::{BinaryExpr, Case, Expr, ExprSchemable, LogicalPlan, Operator};

use crate::engine::planners;

/// Conditions that guard one argument, the nearest. A long chain would become as long at each of its parts.
const GUARDS_MAX: usize = 32;

/// The one whose first argument does no harm.
const QUOTIENT: &str = "numeric_divide";

/// Functions that fail for some arguments.
const FUNCTIONS: &[&str] = &[
    "acos",
    "acosh",
    "asin",
    "atanh",
    "chr",
    "cos",
    "cot",
    "degrees",
    "exp",
    "ln",
    "log",
    "log10",
    "log2",
    QUOTIENT,
    "power",
    "sin",
    "sqrt",
    "tan",
    "to_date",
    "to_number",
    "to_timestamp",
];

/// A condition before others.
struct Guard {
    condition: Expr,
    columns: HashSet<Column>,
}

/// Guards what may fail in all conditions of a plan.
///
/// # Errors
/// 57014 if nobody waits for the plan any more, and those of the walk.
pub(super) fn guarded(plan: LogicalPlan) -> DfResult<LogicalPlan> {
    plan.transform_up_with_subqueries(|node| {
        planners::go_on()?;
        let mut schema = DFSchema::empty();
        for input in node.inputs() {
            schema.merge(input.schema());
        }
        let preserver = NamePreserver::new(&node);
        let changed = node.map_expressions(|expr| {
            let is_guarded = expr.exists(|part| Ok(is_chain(part) || has_filter(part)))?;
            if !is_guarded || !may_fail(&expr, &schema)? {
                return Ok(Transformed::no(expr));
            }
            let name = preserver.save(&expr);
            let expr = within(expr, &schema)?.transform_up(|part| of_kept_rows(part, &schema))?;
            Ok(Transformed::yes(name.restore(expr.data)))
        })?;
        match changed.transformed {
            true => changed.map_data(LogicalPlan::recompute_schema),
            false => Ok(changed),
        }
    })
    .data()
}

fn is_chain(expr: &Expr) -> bool {
    matches!(expr, Expr::BinaryExpr(binary) if matches!(binary.op, Operator::And | Operator::Or))
}

fn has_filter(expr: &Expr) -> bool {
    match expr {
        Expr::AggregateFunction(call) => call.params.filter.is_some(),
        Expr::WindowFunction(call) => call.params.filter.is_some(),
        _ => false,
    }
}

/// Lets an aggregate compute what may fail of the rows that its `FILTER` keeps. In groups and windows the engine underneath computes
/// arguments of all rows, and leaves some out afterwards.
fn of_kept_rows(mut expr: Expr, schema: &DFSchema) -> DfResult<Transformed<Expr>> {
    let mut changed = false;
    let arguments = match &mut expr {
        Expr::AggregateFunction(call) => {
            let params = &mut call.params;
            let orders = params.order_by.iter_mut().map(|order| &mut order.expr);
            let arguments = params.args.iter_mut().chain(orders).collect::<Vec<_>>();
            params.filter.as_deref().map(|filter| (filter, arguments))
        }
        Expr::WindowFunction(call) => {
            let params = &mut call.params;
            let arguments = params.args.iter_mut().collect::<Vec<_>>();
            params.filter.as_deref().map(|filter| (filter, arguments))
        }
        _ => None,
    };
    if let Some((filter, arguments)) = arguments
        && is_plain(filter)?
    {
        for argument in arguments {
            let is_guarded = matches!(&*argument, Expr::Case(case)
                if case.when_then_expr.iter().any(|(when, _)| **when == *filter));
            if !is_guarded && !argument.is_volatile() && may_fail(argument, schema)? {
                let branch = (Box::new(filter.clone()), Box::new(std::mem::take(argument)));
                *argument = Expr::Case(Case::new(None, vec![branch], None));
                changed = true;
            }
        }
    }
    Ok(if changed { Transformed::yes(expr) } else { Transformed::no(expr) })
}

fn may_fail(expr: &Expr, schema: &DFSchema) -> DfResult<bool> {
    expr.exists(|part| Ok(fails(part, schema)))
}

/// Returns whether an expression may fail by itself, for some rows and not for others.
fn fails(expr: &Expr, schema: &DFSchema) -> bool {
    match expr {
        Expr::BinaryExpr(BinaryExpr { op: Operator::Divide | Operator::Modulo, right, .. }) => {
            right.any_column_refs()
        }
        Expr::Cast(cast) => {
            !cast.field.data_type().is_string()
                && cast.expr.any_column_refs()
                && cast.expr.get_type(schema).is_ok_and(|from| from.is_string())
        }
        Expr::ScalarFunction(call) if FUNCTIONS.contains(&call.name()) => {
            call.args.iter().skip(n_harmless(call.name())).any(Expr::any_column_refs)
        }
        _ => false,
    }
}

/// How many of a function's first arguments never make it fail.
fn n_harmless(function: &str) -> usize {
    usize::from(function == QUOTIENT)
}

/// Guards what stands in chains of `AND` and of `OR`.
fn within(expr: Expr, schema: &DFSchema) -> DfResult<Expr> {
    planners::go_on()?;
    let op = match &expr {
        Expr::BinaryExpr(BinaryExpr { op: op @ (Operator::And | Operator::Or), .. }) => *op,
        _ => return expr.map_children(|child| within(child, schema).map(Transformed::yes)).data(),
    };
    let (mut before, mut parts) = (Vec::new(), Vec::new());
    for part in split_binary_owned(expr, op) {
        let part = within(part, schema)?;
        if may_fail(&part, schema)? {
            parts.push(behind(part, &before, op, schema)?);
        } else {
            if is_plain(&part)? {
                before.push(Guard { condition: part.clone(), columns: columns_of(&part) });
            }
            parts.push(part);
        }
    }
    let joined = parts.into_iter().reduce(|left, right| chained(left, op, right));
    joined.ok_or_else(|| maru_core::Error::internal("a condition of no parts").into())
}

fn chained(left: Expr, op: Operator, right: Expr) -> Expr {
    Expr::BinaryExpr(BinaryExpr::new(Box::new(left), op, Box::new(right)))
}

fn columns_of(expr: &Expr) -> HashSet<Column> {
    expr.column_refs().into_iter().cloned().collect()
}

/// Returns whether a condition may be evaluated twice.
fn is_plain(expr: &Expr) -> DfResult<bool> {
    let strange = expr.exists(|part| {
        Ok(matches!(
            part,
            Expr::Exists(_)
                | Expr::InSubquery(_)
                | Expr::SetComparison(_)
                | Expr::ScalarSubquery(_)
                | Expr::OuterReferenceColumn(..)
        ))
    })?;
    Ok(!strange && !expr.is_volatile())
}

/// Guards what fails in a part of a chain by the conditions before it.
fn behind(part: Expr, before: &[Guard], op: Operator, schema: &DFSchema) -> DfResult<Expr> {
    if before.is_empty() {
        return Ok(part);
    }
    part.transform_up(|node| {
        planners::go_on()?;
        if !fails(&node, schema) {
            return Ok(Transformed::no(node));
        }
        let columns = columns_of(&node);
        let only_there = |argument: Expr| only_where(argument, &columns, before, op);
        Ok(Transformed::yes(match node {
            Expr::BinaryExpr(mut binary) => {
                binary.right = Box::new(only_there(*binary.right));
                Expr::BinaryExpr(binary)
            }
            Expr::Cast(mut cast) => {
                cast.expr = Box::new(only_there(*cast.expr));
                Expr::Cast(cast)
            }
            Expr::ScalarFunction(mut call) => {
                let n_harmless = n_harmless(call.name());
                for argument in call.args.iter_mut().skip(n_harmless) {
                    *argument = only_there(std::mem::take(argument));
                }
                Expr::ScalarFunction(call)
            }
            other => other,
        }))
    })
    .data()
}

/// Makes an argument NULL where the conditions before it have decided: those on columns of the whole operation, and on no table that
/// the argument is not on.
fn only_where(argument: Expr, columns: &HashSet<Column>, before: &[Guard], op: Operator) -> Expr {
    let condition = {
        let own = argument.column_refs();
        let relations = own.iter().map(|column| column.relation.as_ref()).collect::<HashSet<_>>();
        let guards = before.iter().rev().filter(|guard| {
            !guard.columns.is_disjoint(columns)
                && guard.columns.iter().all(|column| relations.contains(&column.relation.as_ref()))
        });
        let guards = guards.take(GUARDS_MAX).map(|guard| guard.condition.clone());
        guards.reduce(|right, left| chained(left, op, right))
    };
    let Some(condition) = condition else { return argument };
    // What is not known yet is for the other side to decide.
    let condition = match op {
        Operator::Or => condition.is_not_true(),
        _ => condition.is_not_false(),
    };
    match argument {
        // Guarded already.
        Expr::Case(case) if case.when_then_expr.iter().any(|(when, _)| **when == condition) => {
            Expr::Case(case)
        }
        other => {
            let branch = (Box::new(condition), Box::new(other));
            Expr::Case(Case::new(None, vec![branch], None))
        }
    }
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::{DataType, Field, Schema};
    use datafusion::common::{JoinType, ScalarValue};
    use datafusion::functions_aggregate::expr_fn::sum;
    use datafusion::logical_expr::{
        ExprFunctionExt, LogicalPlanBuilder, cast, col, lit, table_scan,
    };

    use super::super::quotient;
    use super::*;

    fn table(name: &str) -> LogicalPlanBuilder {
        let a = Field::new("a", DataType::Int32, true);
        let b = Field::new("b", DataType::Int32, true);
        let t = Field::new("t", DataType::Utf8, true);
        table_scan(Some(name), &Schema::new(vec![a, b, t]), None).unwrap()
    }

    /// How a condition on `t` is written once it is guarded.
    fn guarded_condition(condition: Expr) -> String {
        let plan = table("t").filter(condition).unwrap().build().unwrap();
        let LogicalPlan::Filter(filter) = guarded(plan).unwrap() else { panic!("no filter") };
        filter.predicate.to_string()
    }

    #[test]
    fn what_may_fail_is_computed_where_the_conditions_before_it_let_it() {
        let quotient = (lit(10) / col("t.b")).gt(lit(1));
        let text = guarded_condition(col("t.b").not_eq(lit(0)).and(quotient.clone()));
        assert!(text.contains("/ CASE WHEN t.b != Int32(0) IS NOT FALSE THEN t.b END"), "{text}");
        let text = guarded_condition(col("t.b").eq(lit(0)).or(quotient.clone()));
        assert!(text.contains("/ CASE WHEN t.b = Int32(0) IS NOT TRUE THEN t.b END"), "{text}");
        // A condition on other columns guards nothing.
        let text = guarded_condition(col("t.a").not_eq(lit(0)).and(quotient));
        assert!(!text.contains("CASE"), "{text}");
    }

    #[test]
    fn aggregates_compute_of_the_rows_that_they_keep() {
        let argument = |expr: Expr| {
            let call = sum(expr).filter(col("t.b").not_eq(lit(0))).build().unwrap();
            let plan = table("t").aggregate(vec![col("t.a")], vec![call]).unwrap().build().unwrap();
            let LogicalPlan::Aggregate(aggregate) = guarded(plan).unwrap() else { panic!("none") };
            aggregate.aggr_expr.first().unwrap().to_string()
        };
        let text = argument(lit(10) / col("t.b"));
        assert!(text.contains("CASE WHEN t.b != Int32(0) THEN Int32(10) / t.b END"), "{text}");
        let text = argument(col("t.a"));
        assert!(!text.contains("CASE"), "{text}");
    }

    #[test]
    fn constants_stay_as_they_are() {
        let divisors = [lit(2), cast(lit(2_i64), DataType::Int32)];
        for divisor in divisors {
            let quotient = (col("t.a") / divisor.clone()).gt(lit(1));
            let rest = (col("t.a") % divisor).eq(lit(1));
            let text = guarded_condition(col("t.a").gt(lit(0)).and(quotient).and(rest));
            assert!(!text.contains("CASE"), "{text}");
        }
    }

    #[test]
    fn of_a_quotient_of_numerics_the_divisor_is_guarded() {
        let rows = table("t").build().unwrap();
        let two = || Expr::Literal(ScalarValue::Decimal128(Some(20), 2, 1), None);
        let more = |quotient: Expr| quotient::settle(quotient, rows.schema()).data.gt(two());
        let text = guarded_condition(col("t.a").gt(lit(0)).and(more(col("t.a") / two())));
        assert!(text.contains("numeric_divide") && !text.contains("CASE"), "{text}");
        let text = guarded_condition(col("t.b").not_eq(lit(0)).and(more(two() / col("t.b"))));
        assert!(text.contains("CASE WHEN t.b != Int32(0) IS NOT FALSE THEN t.b END"), "{text}");
        assert_eq!(text.matches("CASE").count(), 1, "{text}");
    }

    #[test]
    fn a_guard_brings_no_table_into_a_key_of_a_join() {
        let on = [
            col("o.a").gt_eq(lit(5)),
            col("o.a").eq(cast(col("l.t"), DataType::Int32)),
            col("l.t").not_eq(lit("")),
            col("o.b").eq(cast(col("l.t"), DataType::Int32)),
        ];
        let right = table("l").build().unwrap();
        let plan = table("o").join_on(right, JoinType::Inner, on).unwrap().build().unwrap();
        let LogicalPlan::Join(join) = guarded(plan).unwrap() else { panic!("no join") };
        let text = join.filter.unwrap().to_string();
        assert!(text.contains("o.a = CAST(l.t AS Int32)"), "{text}");
        assert!(text.contains("o.b = CAST(CASE WHEN l.t != Utf8(\"\") "), "{text}");
    }

    /// Each part was guarded by all before it, in memory that grew with the square of their number.
    #[test]
    fn long_chains_stay_short() {
        let length = |n: i32| {
            let before = (0..n).map(|i| col("t.b").not_eq(lit(i)));
            let behind = (0..n).map(|i| (lit(i) / col("t.b")).gt(lit(0)));
            guarded_condition(before.chain(behind).reduce(Expr::and).unwrap()).len()
        };
        assert!(length(800) < 5 * length(200));
    }
}
