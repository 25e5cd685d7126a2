//! Tables of one source that are written apart: joined with each other first, so that the source can do it.
//!
//! `FROM crm.a, lake.s, crm.b WHERE a.x = s.x AND a.y = b.y` is planned as it is written, `(a ⋈ s) ⋈ b`. The same rows come from
//! `(a ⋈ b) ⋈ s`, where the first join is the source's. That is done only if the source takes the join, so a unique key of `a` or
//! `b` is in it and it makes no more rows than the two have. Which of the remaining joins comes first is decided later, by cost.

use datafusion::common::{Column, JoinConstraint, JoinType, NullEquality};
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::{Expr, Join, LogicalPlan, LogicalPlanBuilder};

use super::lower::Input;

/// Returns the plan with two tables of one source joined first; `None` if there are none that were apart.
pub(super) fn joined(node: &Join) -> DfResult<Option<LogicalPlan>> {
    if !is_plain(node) {
        return Ok(None);
    }
    let sides = [(&node.left, &node.right, false), (&node.right, &node.left, true)];
    for (inner, table, swapped) in sides {
        // Pairs of an expression of the inner join and one of the table.
        let on = node.on.iter().map(|(left, right)| match swapped {
            false => (left, right),
            true => (right, left),
        });
        let on = on.collect::<Vec<_>>();
        let Some(below) = Below::of(inner) else { continue };
        let Some(one) = Input::of(table) else { continue };
        for (near, far, near_is_left) in [
            (&below.join.left, &below.join.right, true),
            (&below.join.right, &below.join.left, false),
        ] {
            let on = on.iter().map(|(inner, of_table)| {
                let column = below.column(inner)?;
                near.schema()
                    .has_column(&column)
                    .then(|| (Expr::Column(column), (*of_table).clone()))
            });
            let Some(on) = on.collect::<Option<Vec<_>>>() else { continue };
            let Some(other) = Input::of(near) else { continue };
            // Those that were neighbours already are the source's own affair.
            if one.table.catalog() != other.table.catalog()
                || Input::of(far).is_some_and(|far| far.table.catalog() == one.table.catalog())
            {
                continue;
            }
            let gathered = Join::try_new(
                (*near).clone(),
                table.clone(),
                on,
                None,
                JoinType::Inner,
                JoinConstraint::On,
                NullEquality::NullEqualsNothing,
                false,
            )?;
            let plan = LogicalPlan::Join(gathered.clone());
            let Some(pushed) = super::join(&gathered, &plan)? else { continue };
            let far_on = below.join.on.iter().map(|(left, right)| match near_is_left {
                true => (left.clone(), right.clone()),
                false => (right.clone(), left.clone()),
            });
            let rest = Join::try_new(
                pushed.into(),
                (*far).clone(),
                far_on.collect(),
                None,
                JoinType::Inner,
                JoinConstraint::On,
                NullEquality::NullEqualsNothing,
                false,
            )?;
            // The columns as they were.
            let columns = node.schema.columns().into_iter();
            let columns = columns.map(|column| match table.schema().has_column(&column) {
                true => Some(Expr::Column(column)),
                false => {
                    let from = below.column(&Expr::Column(column.clone()))?;
                    let expr = Expr::Column(from.clone());
                    Some(match from == column {
                        true => expr,
                        false => expr.alias_qualified(column.relation, column.name),
                    })
                }
            });
            let Some(columns) = columns.collect::<Option<Vec<_>>>() else { continue };
            let plan =
                LogicalPlanBuilder::from(LogicalPlan::Join(rest)).project(columns)?.build()?;
            return Ok(Some(plan));
        }
    }
    Ok(None)
}

fn is_plain(join: &Join) -> bool {
    join.join_type == JoinType::Inner
        && join.filter.is_none()
        && !join.on.is_empty()
        && join.null_equality == NullEquality::NullEqualsNothing
        && !join.null_aware
}

/// A plain join below a choice of its columns.
struct Below<'p> {
    join: &'p Join,
    /// The expressions above it, from the top, with the plan whose columns they are.
    above: Vec<(&'p LogicalPlan, &'p [Expr])>,
}

impl<'p> Below<'p> {
    fn of(plan: &'p LogicalPlan) -> Option<Self> {
        match plan {
            LogicalPlan::Join(join) if is_plain(join) => Some(Self { join, above: Vec::new() }),
            LogicalPlan::Projection(projection) => {
                let mut below = Self::of(&projection.input)?;
                below.above.insert(0, (plan, &projection.expr));
                Some(below)
            }
            _ => None,
        }
    }

    /// Returns the column of the join that a column above is.
    fn column(&self, expr: &Expr) -> Option<Column> {
        let Expr::Column(column) = expr else { return None };
        let mut column = column.clone();
        for (plan, exprs) in &self.above {
            let at = plan.schema().maybe_index_of_column(&column)?;
            let mut expr = exprs.get(at)?;
            while let Expr::Alias(alias) = expr {
                expr = &alias.expr;
            }
            let Expr::Column(below) = expr else { return None };
            column = below.clone();
        }
        Some(column)
    }
}
