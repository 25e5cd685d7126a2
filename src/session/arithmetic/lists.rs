//! `IN` and `NOT IN` of values, kept from what the engine underneath makes of two of them (DataFusion 55.2).
//!
//! Its simplifier puts `x IN (1, 2) AND x NOT IN (2, 3)` together as sets of expressions, wherever it finds the two side by side, also where a
//! filter of a view meets the filter above it. That is wrong for a NULL in a list (`NOT IN (2, NULL)` is never true), for items that are not constant
//! (`x IN (y, 1) AND x IN (z, 1)` with `y = z`), and for an `x` that is NULL where nothing is left: `x NOT IN (1) OR x NOT IN (2)` is not true of it.
//!
//! So lists keep constants alone: other items are compared one by one, and a NULL is said beside the list. Two lists whose common one would be of
//! another value for a NULL are kept apart by what is true of no value, and NULL of NULL.

use datafusion::common::ScalarValue;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRewriter};
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::expr::{InList, ScalarFunction};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::{BinaryExpr, Expr, LogicalPlan, Operator};

use crate::engine::planners;
use crate::session::quantified;

const ARRAY_HAS: &str = "array_has";

/// Changes the lists of a plan whose types are settled.
pub(super) fn settled(plan: LogicalPlan) -> DfResult<LogicalPlan> {
    plan.transform_up_with_subqueries(|node| {
        let is_filter = matches!(node, LogicalPlan::Filter(_));
        let preserver = NamePreserver::new(&node);
        node.map_expressions(|expr| {
            planners::go_on()?;
            if !expr.exists(|part| Ok(is_membership(part)))? {
                return Ok(Transformed::no(expr));
            }
            let name = preserver.save(&expr);
            let rewritten = expr.rewrite(&mut Lists { is_filter, depth: 0 })?;
            Ok(rewritten.update_data(|expr| name.restore(expr)))
        })?
        .map_data(LogicalPlan::recompute_schema)
    })
    .data()
}

/// Looks at the lists of one expression.
struct Lists {
    /// Only what is true counts: false and NULL are one.
    is_filter: bool,
    /// How many parts there are around the one that is looked at, besides AND and OR.
    depth: usize,
}

impl TreeNodeRewriter for Lists {
    type Node = Expr;

    fn f_down(&mut self, expr: Expr) -> DfResult<Transformed<Expr>> {
        if !is_junction(&expr) {
            self.depth = self.depth.saturating_add(1);
        }
        Ok(Transformed::no(expr))
    }

    fn f_up(&mut self, expr: Expr) -> DfResult<Transformed<Expr>> {
        if !is_junction(&expr) {
            self.depth = self.depth.saturating_sub(1);
        }
        let is_filter = self.is_filter && self.depth == 0;
        Ok(match expr {
            Expr::InList(list) => split(list, is_filter),
            Expr::BinaryExpr(junction) => apart(junction, is_filter),
            other => Transformed::no(other),
        })
    }
}

fn is_junction(expr: &Expr) -> bool {
    matches!(expr, Expr::BinaryExpr(BinaryExpr { op: Operator::And | Operator::Or, .. }))
}

/// Leaves constants in a list, and says the rest beside it.
fn split(list: InList, is_filter: bool) -> Transformed<Expr> {
    // What is volatile is computed once, and so is a query.
    let is_once = list.expr.is_volatile() || has_query(&list.expr);
    if is_once || list.list.iter().any(Expr::is_volatile) {
        return Transformed::no(Expr::InList(list));
    }
    if !list.list.iter().any(|item| is_null(item) || is_open(item)) {
        return Transformed::no(Expr::InList(list));
    }
    let InList { expr: value, list: items, negated } = list;
    let (nulls, items): (Vec<_>, Vec<_>) = items.into_iter().partition(is_null);
    let (open, constants): (Vec<_>, Vec<_>) = items.into_iter().partition(is_open);
    let (comparison, junction) = match negated {
        true => (Operator::NotEq, Operator::And),
        false => (Operator::Eq, Operator::Or),
    };
    let is_empty = open.is_empty() && constants.is_empty();
    let among = (!constants.is_empty())
        .then(|| Expr::InList(InList::new(value.clone(), constants, negated)));
    let singles = open.into_iter().map(|item| binary(value.as_ref().clone(), comparison, item));
    // What is true stays true beside a NULL, and what is not is not found either way.
    let is_told = !nulls.is_empty() && (negated || !is_filter || is_empty);
    let unknown = is_told.then(unknown);
    let whole = among.into_iter().chain(singles).chain(unknown);
    whole.reduce(|left, right| binary(left, junction, right)).map_or_else(
        || Transformed::no(Expr::InList(InList::new(value, Vec::new(), negated))),
        Transformed::yes,
    )
}

/// Keeps two lists apart that would be one of another value.
fn apart(junction: BinaryExpr, is_filter: bool) -> Transformed<Expr> {
    let BinaryExpr { left, op, right } = junction;
    let value = match (tested(&left), tested(&right)) {
        (Some((one, one_negated)), Some((other, other_negated))) if one == other => {
            let both_negated = one_negated && other_negated;
            let changes = match op {
                Operator::And => !is_filter && !both_negated,
                Operator::Or => both_negated,
                _ => false,
            };
            changes.then(|| other.clone())
        }
        _ => None,
    };
    let Some(value) = value else {
        return Transformed::no(Expr::BinaryExpr(BinaryExpr { left, op, right }));
    };
    let of_null = binary(Expr::IsNull(Box::new(value)), Operator::And, unknown());
    Transformed::yes(binary(*left, op, binary(*right, Operator::Or, of_null)))
}

/// Returns what a list, or what may become one, looks for, and whether it is `NOT IN`.
fn tested(expr: &Expr) -> Option<(&Expr, bool)> {
    match expr {
        Expr::InList(list) => Some((list.expr.as_ref(), list.negated)),
        Expr::ScalarFunction(call) => in_array(call),
        Expr::Not(inner) => tested(inner).map(|(value, negated)| (value, !negated)),
        Expr::BinaryExpr(BinaryExpr { op: Operator::Or, right, .. }) => {
            tested(right).or_else(|| compared(right)).filter(|(_, negated)| !negated)
        }
        Expr::BinaryExpr(BinaryExpr { op: Operator::And, right, .. }) => {
            tested(right).filter(|(_, negated)| *negated)
        }
        _ => None,
    }
}

/// The same of `x = ANY (array)`, `x <> ALL (array)` and `array_has(array, x)`, which become lists if the array is constant.
fn in_array(call: &ScalarFunction) -> Option<(&Expr, bool)> {
    let of = |op: &Expr, wanted: &str| match op {
        Expr::Literal(op, _) => op.try_as_str().flatten() == Some(wanted),
        _ => false,
    };
    match (call.name(), call.args.as_slice()) {
        (quantified::ANY, [op, value, ..]) if of(op, "=") => Some((value, false)),
        (quantified::ALL, [op, value, ..]) if of(op, "<>") => Some((value, true)),
        (ARRAY_HAS, [_, value]) => Some((value, false)),
        _ => None,
    }
}

fn is_membership(expr: &Expr) -> bool {
    match expr {
        Expr::InList(_) => true,
        Expr::ScalarFunction(call) => in_array(call).is_some(),
        _ => false,
    }
}

/// Returns the column of `x = 1`, of which several beside OR become a list.
fn compared(expr: &Expr) -> Option<(&Expr, bool)> {
    match expr {
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq, right }) => {
            let sides = [left.as_ref(), right.as_ref()];
            let column = sides.into_iter().find(|side| matches!(side, Expr::Column(_)));
            column.map(|column| (column, false))
        }
        _ => None,
    }
}

fn is_null(expr: &Expr) -> bool {
    match expr {
        Expr::Literal(value, _) => value.is_null(),
        Expr::Cast(cast) => is_null(&cast.expr),
        Expr::TryCast(cast) => is_null(&cast.expr),
        _ => false,
    }
}

/// Returns whether an expression is of another value from row to row, or not known before the statement runs.
fn is_open(expr: &Expr) -> bool {
    let is_column = |part: &Expr| {
        matches!(part, Expr::Column(_) | Expr::OuterReferenceColumn(..) | Expr::Placeholder(_))
    };
    has_query(expr) || expr.exists(|part| Ok(is_column(part))).unwrap_or(true)
}

fn has_query(expr: &Expr) -> bool {
    let is_query = |part: &Expr| {
        matches!(part, Expr::ScalarSubquery(_) | Expr::InSubquery(_) | Expr::Exists(_))
    };
    expr.exists(|part| Ok(is_query(part))).unwrap_or(true)
}

fn unknown() -> Expr {
    Expr::Literal(ScalarValue::Boolean(None), None)
}

fn binary(left: Expr, op: Operator, right: Expr) -> Expr {
    Expr::BinaryExpr(BinaryExpr::new(Box::new(left), op, Box::new(right)))
}
