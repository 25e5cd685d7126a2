//! Steps that look at many rows: they look at those of one row around at a time.

use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::error::Result as DfResult;
use datafusion::functions_window::expr_fn::row_number;
use datafusion::logical_expr::{
    Aggregate, DistinctOn, Expr, ExprFunctionExt, FetchType, Limit, LogicalPlan,
    LogicalPlanBuilder, SkipType, Window, lit, when,
};

use super::looks::looked_up;
use super::steps::shown_as;
use super::{Dependent, Step, with_window};

/// Returns whether a query has a row of no rows: there must be empty ones to make it of.
pub(super) fn has_row_of_none(query: &LogicalPlan) -> DfResult<bool> {
    if looked_up(query)?.is_empty() {
        return Ok(false);
    }
    if matches!(query, LogicalPlan::Aggregate(aggregate) if aggregate.group_expr.is_empty()) {
        return Ok(true);
    }
    for input in query.inputs() {
        if has_row_of_none(input)? {
            return Ok(true);
        }
    }
    Ok(false)
}

impl Dependent {
    pub(super) fn aggregated(&self, aggregate: &Aggregate, around: LogicalPlan) -> Step {
        let is_set = |expr: &Expr| matches!(expr, Expr::GroupingSet(_));
        if aggregate.group_expr.iter().any(is_set) {
            return Ok(None);
        }
        let Some(rows) = self.rows(&aggregate.input, around)? else { return Ok(None) };
        let mut fields = aggregate.schema.iter();
        let (mut groups, mut shown) = (Vec::new(), Vec::new());
        for (expr, (qualifier, field)) in aggregate.group_expr.iter().zip(fields.by_ref()) {
            let name = self.named(format_args!("group {}", groups.len()));
            let value = self.inside(expr.clone().unalias(), &aggregate.input)?;
            groups.push((self.of_there(value)?, name.clone()));
            shown.push(shown_as(Expr::Column(name), qualifier, field));
        }
        let mut values = Vec::new();
        for (expr, (qualifier, field)) in aggregate.aggr_expr.iter().zip(fields) {
            let value = self.inside(expr.clone().unalias(), &aggregate.input)?;
            let value = value.transform_up(|part| {
                let Expr::AggregateFunction(mut function) = part else {
                    return Ok(Transformed::no(part));
                };
                if self.pads {
                    let given = std::mem::take(&mut function.params.args).into_iter();
                    let given = given.map(|argument| self.argument(argument));
                    function.params.args = given.collect::<DfResult<Vec<_>>>()?;
                    let there = self.there().is_true();
                    function.params.filter = Some(Box::new(match function.params.filter.take() {
                        Some(filter) => there.and(*filter),
                        None => there,
                    }));
                }
                Ok(Transformed::yes(Expr::AggregateFunction(function)))
            })?;
            let name = self.named(format_args!("value {}", values.len()));
            values.push(value.data.alias(name.name.clone()));
            shown.push(shown_as(Expr::Column(name), qualifier, field));
        }
        let is_of_all = aggregate.group_expr.is_empty();
        let mut keys = if is_of_all { self.columns() } else { self.carried() };
        keys.extend(groups.iter().map(|(_, name)| Expr::Column(name.clone())));
        let named = groups.into_iter().map(|(value, name)| value.alias(name.name));
        let all = self.own(&rows).into_iter().chain(named).collect();
        let rows = LogicalPlanBuilder::from(self.with(rows, all)?).aggregate(keys, values)?;
        if !is_of_all {
            return self.with(rows.build()?, shown).map(Some);
        }
        self.exact.set(true);
        let there = lit(true).alias(self.there_name());
        let all = self.columns().into_iter().chain([there]).chain(shown).collect::<Vec<_>>();
        rows.project(all)?.build().map(Some)
    }

    /// What rows have in common that belong to one row around, and are there.
    fn parts(&self) -> Vec<Expr> {
        let there = self.pads.then(|| self.there().is_true());
        [self.number()].into_iter().chain(there).collect()
    }

    pub(super) fn windows(&self, mut rows: LogicalPlan, window: &Window) -> DfResult<LogicalPlan> {
        let input = window.input.schema();
        let named = window.window_expr.iter().zip(window.schema.iter().skip(input.fields().len()));
        let mut shown = input.columns().into_iter().map(Expr::Column).collect::<Vec<_>>();
        for (at, (expr, (qualifier, field))) in named.enumerate() {
            let expr = self.inside(expr.clone().unalias(), &window.input)?;
            let parted = expr.transform_up(|part| {
                let Expr::WindowFunction(mut function) = part else {
                    return Ok(Transformed::no(part));
                };
                let before = std::mem::take(&mut function.params.partition_by);
                function.params.partition_by = self.parts().into_iter().chain(before).collect();
                Ok(Transformed::yes(Expr::WindowFunction(function)))
            })?;
            let name = self.named(format_args!("window {at}"));
            rows = with_window(rows, parted.data, &name.name)?;
            let value = match self.pads {
                true => when(self.there().is_true(), Expr::Column(name)).end()?,
                false => Expr::Column(name),
            };
            shown.push(shown_as(value, qualifier, field));
        }
        self.with(rows, shown)
    }

    /// The first row of each group of equal ones.
    pub(super) fn firsts(&self, rows: LogicalPlan, on: &DistinctOn) -> DfResult<LogicalPlan> {
        let groups = on.on_expr.iter().map(|expr| self.inside(expr.clone(), &on.input));
        let groups = groups.collect::<DfResult<Vec<_>>>()?;
        let order = self.order(on.sort_expr.as_deref().unwrap_or_default(), &on.input)?;
        let parts = self.parts().into_iter().chain(groups).collect::<Vec<_>>();
        let mut number = row_number().partition_by(parts);
        if !order.is_empty() {
            number = number.order_by(order);
        }
        let name = self.named("first of its group");
        let rows = with_window(rows, number.build()?, &name.name)?;
        let rows = self.filtered(rows, Expr::Column(name).eq(lit(1_i64)))?;
        let named =
            on.select_expr.iter().zip(on.schema.iter()).map(|(expr, (qualifier, field))| {
                let value = self.inside(expr.clone().unalias(), &on.input)?;
                Ok(shown_as(self.of_there(value)?, qualifier, field))
            });
        let named = named.collect::<DfResult<Vec<_>>>()?;
        self.with(rows, named)
    }

    pub(super) fn limited(&self, limit: &Limit, around: LogicalPlan) -> Step {
        let (SkipType::Literal(skip), FetchType::Literal(fetch)) =
            (limit.get_skip_type()?, limit.get_fetch_type()?)
        else {
            return Ok(None);
        };
        let (made, inner) = match limit.input.as_ref() {
            LogicalPlan::Projection(made) if matches!(*made.input, LogicalPlan::Sort(_)) => {
                (Some(made), made.input.as_ref())
            }
            other => (None, other),
        };
        let (order, input) = match inner {
            LogicalPlan::Sort(sort) if sort.fetch.is_none() => {
                (sort.expr.as_slice(), sort.input.as_ref())
            }
            other => (&[][..], other),
        };
        if order.is_empty() && is_ordered(input) {
            return Ok(None);
        }
        let Some(rows) = self.rows(input, around)? else { return Ok(None) };
        let mut number = row_number().partition_by(self.parts());
        if !order.is_empty() {
            number = number.order_by(self.order(order, input)?);
        }
        let name = self.named("place");
        let rows = with_window(rows, number.build()?, &name.name)?;
        let place = Expr::Column(name);
        let skip = i64::try_from(skip).unwrap_or(i64::MAX);
        let mut wanted = place.clone().gt(lit(skip));
        if let Some(fetch) = fetch {
            let fetch = i64::try_from(fetch).unwrap_or(i64::MAX);
            wanted = wanted.and(place.lt_eq(lit(skip.saturating_add(fetch))));
        }
        let rows = self.filtered(rows, wanted)?;
        let rows = match made {
            Some(made) => self.projected(rows, made)?,
            None => {
                self.with(rows, input.schema().columns().into_iter().map(Expr::Column).collect())?
            }
        };
        Ok(Some(rows))
    }
}

/// Returns whether a query has an order further down, which the numbers of rows would not keep.
fn is_ordered(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Sort(_) => true,
        LogicalPlan::Projection(made) => is_ordered(&made.input),
        LogicalPlan::SubqueryAlias(alias) => is_ordered(&alias.input),
        LogicalPlan::Subquery(subquery) => is_ordered(&subquery.subquery),
        LogicalPlan::Filter(filter) => is_ordered(&filter.input),
        _ => false,
    }
}
