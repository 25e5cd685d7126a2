//! The steps of a query, one after the other, with the row around beside its own columns.

use std::sync::Arc;

use datafusion::common::metadata::FieldMetadata;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, JoinType, NullHandling, Spans, TableReference, UnnestOptions};
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::expr::Sort as SortExpr;
use datafusion::logical_expr::utils::{conjunction, split_conjunction_owned};
use datafusion::logical_expr::{
    Distinct, Expr, Filter, Join, LogicalPlan, LogicalPlanBuilder, Projection, Subquery, Unnest,
    lit, when,
};

use super::looks::{self, has_subquery, is_lateral, looked_up};
use super::{Dependent, Step};
use crate::session::json;
use crate::session::lateral::has_no_element;

impl Dependent {
    /// Returns the rows of a query for each row around; `None` for a step of another kind.
    pub(super) fn rows(&self, query: &LogicalPlan, around: LogicalPlan) -> Step {
        if looked_up(query)?.is_empty() {
            return self.beside(query, Vec::new(), around).map(Some);
        }
        match query {
            LogicalPlan::Filter(filter) => self.chosen(filter, around),
            LogicalPlan::Projection(made) => {
                self.next(&made.input, around, |rows| self.projected(rows, made))
            }
            LogicalPlan::Subquery(subquery) => self.rows(&subquery.subquery, around),
            LogicalPlan::SubqueryAlias(alias) => self.next(&alias.input, around, |rows| {
                let pairs = alias.input.schema().columns().into_iter().zip(alias.schema.columns());
                let named = pairs
                    .map(|(from, to)| Expr::Column(from).alias_qualified(to.relation, to.name));
                self.with(rows, named.collect())
            }),
            LogicalPlan::Sort(sort) if sort.fetch.is_none() => {
                self.next(&sort.input, around, |rows| {
                    let order = self.order(&sort.expr, &sort.input)?;
                    LogicalPlanBuilder::from(rows).sort(order)?.build()
                })
            }
            LogicalPlan::Aggregate(aggregate) => self.aggregated(aggregate, around),
            LogicalPlan::Window(window) => {
                self.next(&window.input, around, |rows| self.windows(rows, window))
            }
            LogicalPlan::Distinct(Distinct::All(input)) => {
                if let Some(rows) = self.branches(query, around.clone())? {
                    return LogicalPlanBuilder::from(rows).distinct()?.build().map(Some);
                }
                self.next(input, around, |rows| LogicalPlanBuilder::from(rows).distinct()?.build())
            }
            LogicalPlan::Distinct(Distinct::On(on)) => {
                self.next(&on.input, around, |rows| self.firsts(rows, on))
            }
            LogicalPlan::Limit(limit) => self.limited(limit, around),
            LogicalPlan::Unnest(unnest) => {
                self.next(&unnest.input, around, |rows| self.unnested(rows, unnest))
            }
            LogicalPlan::Join(join) => self.both(join, around),
            LogicalPlan::Union(_) | LogicalPlan::Values(_) => self.branches(query, around),
            _ => Ok(None),
        }
    }

    fn next(
        &self,
        input: &LogicalPlan,
        around: LogicalPlan,
        step: impl FnOnce(LogicalPlan) -> DfResult<LogicalPlan>,
    ) -> Step {
        self.rows(input, around)?.map(step).transpose()
    }

    /// Puts rows that look at nothing beside each row around.
    pub(super) fn beside(
        &self,
        rows: &LogicalPlan,
        mut conditions: Vec<Expr>,
        around: LogicalPlan,
    ) -> DfResult<LogicalPlan> {
        let there = lit(true).alias(self.there_name());
        if matches!(rows, LogicalPlan::EmptyRelation(empty) if empty.produce_one_row) {
            let all = self.columns().into_iter().chain([there]).collect::<Vec<_>>();
            let plan = LogicalPlanBuilder::from(around).project(all)?.build()?;
            return match conjunction(conditions) {
                Some(condition) => self.filtered(plan, condition),
                None => Ok(plan),
            };
        }
        if conditions.is_empty() {
            conditions.push(lit(true));
        }
        let columns = rows.schema().columns().into_iter().map(Expr::Column).collect::<Vec<_>>();
        let all = columns.iter().cloned().chain([there]).collect::<Vec<_>>();
        let rows = LogicalPlanBuilder::from(rows.clone()).project(all)?.build()?;
        let join_type = if self.pads { JoinType::Left } else { JoinType::Inner };
        let joined = LogicalPlanBuilder::from(around).join_on(rows, join_type, conditions)?;
        self.with(joined.build()?, columns)
    }

    pub(super) fn there_name(&self) -> String {
        self.named("there").name
    }

    /// An expression of the rows of `input`, as it is written beside the row around.
    pub(super) fn inside(&self, expr: Expr, input: &LogicalPlan) -> DfResult<Expr> {
        expr.apply(|part| {
            if let Expr::ScalarFunction(call) = part
                && call.name() == json::ROW_VALUE
                && let Some(Expr::Literal(name, _)) = call.args.get(1)
            {
                json::refuse_ambiguous(name.try_as_str().flatten().unwrap_or_default(), &self.row)?;
            }
            Ok(TreeNodeRecursion::Continue)
        })?;
        looks::inside(self, expr, &[Arc::clone(input.schema())])
    }

    pub(super) fn order(&self, order: &[SortExpr], input: &LogicalPlan) -> DfResult<Vec<SortExpr>> {
        let inside = order.iter().map(|sort| {
            let expr = self.inside(sort.expr.clone(), input)?;
            Ok(SortExpr::new(expr, sort.asc, sort.nulls_first))
        });
        inside.collect()
    }

    /// Shows columns beside those that go along.
    pub(super) fn with(&self, rows: LogicalPlan, columns: Vec<Expr>) -> DfResult<LogicalPlan> {
        let all = self.carried().into_iter().chain(columns).collect::<Vec<_>>();
        LogicalPlanBuilder::from(rows).project(all)?.build()
    }

    /// The columns of rows that do not only go along.
    pub(super) fn own(&self, rows: &LogicalPlan) -> Vec<Expr> {
        let carried = self.carried();
        let all = rows.schema().columns().into_iter().map(Expr::Column);
        all.filter(|column| !carried.contains(column)).collect()
    }

    /// A value of rows that are there; NULL of an empty one, as the query's own columns are.
    pub(super) fn of_there(&self, expr: Expr) -> DfResult<Expr> {
        let is_own = matches!(expr, Expr::Column(_)) && !self.columns().contains(&expr);
        match self.pads && !is_own {
            true => when(self.there().is_true(), expr).end(),
            false => Ok(expr),
        }
    }

    /// What an aggregate is made of: an empty row is not asked, since it could fail.
    pub(super) fn argument(&self, expr: Expr) -> DfResult<Expr> {
        match expr {
            literal @ Expr::Literal(..) => Ok(literal),
            other => self.of_there(other),
        }
    }

    pub(super) fn projected(&self, rows: LogicalPlan, made: &Projection) -> DfResult<LogicalPlan> {
        let named = made.expr.iter().zip(made.schema.iter()).map(|(expr, (qualifier, field))| {
            let expr = self.inside(expr.clone().unalias(), &made.input)?;
            Ok(shown_as(self.of_there(expr)?, qualifier, field))
        });
        let named = named.collect::<DfResult<Vec<_>>>()?;
        self.with(rows, named)
    }

    fn chosen(&self, filter: &Filter, around: LogicalPlan) -> Step {
        let parts = split_conjunction_owned(filter.predicate.clone());
        if !looked_up(&filter.input)?.is_empty() {
            let condition = self.inside(filter.predicate.clone(), &filter.input)?;
            return self.next(&filter.input, around, |rows| self.filtered(rows, condition));
        }
        // Of rows that look at nothing they are conditions of the join, if they look at the row, …
        let (own, rest): (Vec<_>, Vec<_>) = parts.into_iter().partition(|part| !has_subquery(part));
        let (keys, plain): (Vec<_>, Vec<_>) = own.into_iter().partition(Expr::contains_outer);
        let keys = keys.into_iter().map(|key| self.inside(key, &filter.input));
        let keys = keys.collect::<DfResult<Vec<_>>>()?;
        // … and otherwise of the rows themselves.
        let rows = match conjunction(plain) {
            Some(plain) => {
                LogicalPlanBuilder::from(Arc::clone(&filter.input)).filter(plain)?.build()?
            }
            None => filter.input.as_ref().clone(),
        };
        let rows = self.beside(&rows, keys, around)?;
        match conjunction(rest) {
            Some(rest) => self.filtered(rows, self.inside(rest, &filter.input)?).map(Some),
            None => Ok(Some(rows)),
        }
    }

    /// Keeps the rows for which a condition holds.
    pub(super) fn filtered(&self, rows: LogicalPlan, condition: Expr) -> DfResult<LogicalPlan> {
        if !self.pads {
            return LogicalPlanBuilder::from(rows).filter(condition)?.build();
        }
        self.exact.set(false);
        let own = self.own(&rows);
        // An empty row is asked nothing.
        let holds = when(self.there().is_true(), condition).end()?.is_true();
        let holds = holds.alias(self.there_name());
        let all = self.columns().into_iter().chain([holds]).chain(own);
        let rows = LogicalPlanBuilder::from(rows).project(all.collect::<Vec<_>>())?.build()?;
        let carried = self.carried();
        let mut emptied = Vec::new();
        for (qualifier, field) in rows.schema().iter() {
            let column = Expr::Column(Column::new(qualifier.cloned(), field.name()));
            if !carried.contains(&column) {
                emptied.push(shown_as(when(self.there(), column).end()?, qualifier, field));
            }
        }
        self.with(rows, emptied)
    }

    fn unnested(&self, rows: LogicalPlan, unnest: &Unnest) -> DfResult<LogicalPlan> {
        let columns = unnest.exec_columns.clone();
        if !self.pads {
            let builder = LogicalPlanBuilder::from(rows);
            return builder.unnest_columns_with_options(columns, unnest.options.clone())?.build();
        }
        self.exact.set(false);
        let has_none = has_no_element(&rows, &columns);
        let there = self.there().is_true().and(!has_none).alias(self.there_name());
        let own = self.own(&rows);
        let all = self.columns().into_iter().chain([there]).chain(own).collect::<Vec<_>>();
        let options = UnnestOptions {
            null_handling: NullHandling::PreserveAndExpandEmpty,
            ..unnest.options.clone()
        };
        LogicalPlanBuilder::from(rows)
            .project(all)?
            .unnest_columns_with_options(columns, options)?
            .build()
    }

    /// A join whose sides look at the row. What looks on the second looks at what the first side has come to.
    fn both(&self, join: &Join, around: LogicalPlan) -> Step {
        let takes = join.join_type == JoinType::Inner;
        if !takes && join.join_type != JoinType::Left {
            return Ok(None);
        }
        // The side that looks at the row comes first: there are fewer rows of it for each.
        let swaps = takes && !is_lateral(&join.right) && looked_up(&join.left)?.is_empty();
        let (first, second) = match swaps {
            true => (&join.right, &join.left),
            false => (&join.left, &join.right),
        };
        let Some(rows) = self.rows(first, around)? else { return Ok(None) };
        let schemas = [Arc::clone(first.schema()), Arc::clone(second.schema())];
        let on = join.on.iter().map(|(left, right)| left.clone().eq(right.clone()));
        let conditions = on.chain(join.filter.clone());
        let conditions = conditions.map(|one| looks::inside(self, one, &schemas));
        let mut conditions = conditions.collect::<DfResult<Vec<_>>>()?;
        if self.pads || conditions.is_empty() {
            conditions.push(if self.pads { self.there().is_true() } else { lit(true) });
        }
        // Tells whether the second side has a row.
        let has = self.named("there beside");
        let columns = second.schema().columns().into_iter().map(Expr::Column);
        let columns = columns.collect::<Vec<_>>();
        let mark = lit(true).alias(has.name.clone());
        let all = columns.iter().cloned().chain([mark]).collect::<Vec<_>>();
        // What is made of the first side's rows takes its columns before those of the row.
        let between: &[_] = if is_lateral(second) { &schemas[..1] } else { &[] };
        let side = looks::renamed(self, second.as_ref().clone(), between)?;
        let is_query = is_lateral(&side) || !looked_up(&side)?.is_empty();
        let mut side = LogicalPlanBuilder::from(side).project(all)?.build()?;
        if is_query {
            let plan = unmarked(side)?;
            let (outer_ref_columns, spans) = (looked_up(&plan)?, Spans::new());
            side = LogicalPlan::Subquery(Subquery {
                subquery: Arc::new(plan),
                outer_ref_columns,
                spans,
            });
        }
        let join_type = if takes && !self.pads { JoinType::Inner } else { JoinType::Left };
        let rows = LogicalPlanBuilder::from(rows).join_on(side, join_type, conditions)?.build()?;
        let own = first.schema().columns().into_iter().map(Expr::Column).chain(columns);
        let own = own.collect::<Vec<_>>();
        if !(takes && self.pads) {
            return self.with(rows, own).map(Some);
        }
        let rows =
            self.with(rows, own.iter().cloned().chain([Expr::Column(has.clone())]).collect())?;
        let rows = self.filtered(rows, Expr::Column(has))?;
        self.with(rows, own).map(Some)
    }
}

/// A value under the name of a column that was there before.
pub(super) fn shown_as(
    value: Expr,
    qualifier: Option<&TableReference>,
    field: &arrow::datatypes::FieldRef,
) -> Expr {
    let metadata = FieldMetadata::from(field.metadata().clone());
    value.alias_qualified_with_metadata(qualifier.cloned(), field.name(), Some(metadata))
}

/// Takes the mark of a query for each row from beneath columns and aliases: it goes above them.
fn unmarked(plan: LogicalPlan) -> DfResult<LogicalPlan> {
    let changed = plan.transform_down(|node| {
        Ok(match node {
            LogicalPlan::Subquery(subquery) => {
                let plan = subquery.subquery.as_ref().clone();
                Transformed::new(plan, true, TreeNodeRecursion::Jump)
            }
            LogicalPlan::Projection(_) | LogicalPlan::SubqueryAlias(_) => Transformed::no(node),
            other => Transformed::new(other, false, TreeNodeRecursion::Jump),
        })
    })?;
    Ok(changed.data)
}
