//! The rows of a query for each row of others, whatever the query is: `LATERAL (SELECT DISTINCT … WHERE v > t.low)`, `EXISTS (SELECT … GROUP
//! BY … HAVING …)` of a row, the value of a query of windows and limits.
//!
//! The planner has joins for keys, and takes some of the other queries for queries of keys (DataFusion 55.2): one window over the rows of all
//! outer rows, what is distinct among pairs. Here the rows around are numbered and go through the query's steps beside its own
//! columns; each step works for one number at a time. Where a row of which the query has none must stay, a column tells what is there,
//! and steps that take rows away leave empty ones.
//!
//! `looks.rs` tells what a query looks up, `steps.rs` goes through it, with `groups.rs` for what looks at many rows and `branches.rs` for rows
//! that are written down.

mod branches;
mod groups;
mod looks;
mod steps;

use std::cell::Cell;
use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema, DFSchemaRef};
use datafusion::error::Result as DfResult;
use datafusion::functions_window::expr_fn::row_number;
use datafusion::logical_expr::expr::Sort as SortExpr;
use datafusion::logical_expr::{
    Expr, ExprFunctionExt, LogicalPlan, LogicalPlanBuilder, Subquery, lit,
};

use looks::all_of;
pub(super) use looks::{Names, has_subquery, inside, is_lateral, looked_up, subquery_of};

/// What a step makes; `None` for one of another kind.
type Step = DfResult<Option<LogicalPlan>>;

/// Rows that a query is asked for.
pub(super) struct Dependent {
    row: DFSchemaRef,
    /// Tells the columns of this row from those of other such rows in the query.
    level: usize,
    /// Whether rows stay for which the query has none.
    pads: bool,
    /// Whether each row has either rows that are there or a single empty one.
    exact: Cell<bool>,
}

impl Names for Dependent {
    fn renamed(&self, column: &Column) -> Option<Column> {
        self.row.maybe_index_of_column(column).map(|at| self.carried_column(at))
    }
}

/// Returns left rows beside the rows of a query for each, under the names of `to`; `None` for a query that is made of other steps, or
/// looks at rows further out.
///
/// # Errors
/// What the planner says of the plan it is given.
pub(super) fn joined(
    left: &LogicalPlan,
    query: &LogicalPlan,
    to: &DFSchema,
    conditions: Vec<Expr>,
    keeps_left: bool,
) -> DfResult<Option<LogicalPlan>> {
    let looked_up = looked_up(query)?;
    let pads = keeps_left || groups::has_row_of_none(query)?;
    let rows = Dependent::new(left.schema(), &[query, left], pads)?;
    if !all_of(&looked_up, &rows.row) {
        return Ok(None);
    }
    let conditions =
        conditions.into_iter().map(|one| rows.of_left(one, to)).collect::<DfResult<Vec<_>>>()?;
    let around = rows.numbered(left.clone())?;
    // What needs no subquery is the join's own condition, where the query is rows of a table.
    let (own, rest) = match looked_up.is_empty() {
        true => conditions.into_iter().partition::<Vec<_>, _>(|one| !has_subquery(one)),
        false => (Vec::new(), conditions),
    };
    let made = match own.is_empty() {
        true => rows.rows(query, around)?,
        false => {
            let from = query.schema().columns();
            let own = own.into_iter().map(|one| renamed_to(one, to, &from));
            let own = own.collect::<DfResult<Vec<_>>>()?;
            Some(rows.beside(query, own, around)?)
        }
    };
    let Some(made) = made else { return Ok(None) };
    let pairs = query.schema().iter().zip(to.iter());
    let named = pairs.map(|((from, field), (qualifier, named))| {
        let of = Expr::Column(Column::new(from.cloned(), field.name()));
        of.alias_qualified(qualifier.cloned(), named.name())
    });
    let named = rows.carried().into_iter().chain(named).collect::<Vec<_>>();
    let mut made = LogicalPlanBuilder::from(made).project(named)?.build()?;
    for condition in rest {
        made = rows.filtered(made, condition)?;
    }
    if keeps_left {
        made = rows.one_empty(made)?;
    } else if rows.pads {
        made = LogicalPlanBuilder::from(made).filter(rows.there().is_true())?.build()?;
    }
    let right = to.columns().into_iter().map(Expr::Column);
    let all = rows.restored().into_iter().chain(right).collect::<Vec<_>>();
    LogicalPlanBuilder::from(made).project(all)?.build().map(Some)
}

/// Adds the value of a query that has one row at most to each row; `None` as for [`joined`].
///
/// # Errors
/// What the planner says of the plan it is given.
pub(super) fn with_value(
    input: &LogicalPlan,
    subquery: &Subquery,
    name: &str,
) -> DfResult<Option<LogicalPlan>> {
    let query = subquery.subquery.as_ref();
    let rows = Dependent::new(input.schema(), &[query, input], true)?;
    let looked_up = looked_up(query)?;
    if looked_up.is_empty() || !all_of(&looked_up, &rows.row) {
        return Ok(None);
    }
    let around = rows.numbered(input.clone())?;
    let Some(made) = rows.rows(query, around)? else { return Ok(None) };
    let made = rows.one_empty(made)?;
    let Some(value) = query.schema().columns().pop() else { return Ok(None) };
    let value = Expr::Column(value).alias(name);
    let all = rows.restored().into_iter().chain([value]).collect::<Vec<_>>();
    LogicalPlanBuilder::from(made).project(all)?.build().map(Some)
}

/// Gives the columns of `to` in an expression the names that they come from.
fn renamed_to(expr: Expr, to: &DFSchema, from: &[Column]) -> DfResult<Expr> {
    expr.transform_up(|part| {
        Ok(match part {
            Expr::Column(column) => {
                match to.maybe_index_of_column(&column).and_then(|at| from.get(at)) {
                    Some(from) => Transformed::yes(Expr::Column(from.clone())),
                    None => Transformed::no(Expr::Column(column)),
                }
            }
            other => Transformed::no(other),
        })
    })
    .data()
}

/// Follows the number of a column in its name.
const AT: &str = " of the row at ";

/// Returns a level that no column in plans has.
fn free_level(plans: &[&LogicalPlan]) -> DfResult<usize> {
    let mut level = 0;
    for plan in plans {
        plan.apply_with_subqueries(|node| {
            for field in node.schema().fields() {
                let at = field.name().rsplit_once(AT).and_then(|(_, at)| at.parse::<usize>().ok());
                level = at.map_or(level, |at| level.max(at + 1));
            }
            Ok(TreeNodeRecursion::Continue)
        })?;
    }
    Ok(level)
}

impl Dependent {
    fn new(row: &DFSchemaRef, plans: &[&LogicalPlan], pads: bool) -> DfResult<Self> {
        let level = free_level(plans)?;
        Ok(Self { row: Arc::clone(row), level, pads, exact: Cell::new(true) })
    }

    fn named(&self, what: impl std::fmt::Display) -> Column {
        Column::new_unqualified(format!("{what}{AT}{}", self.level))
    }

    fn carried_column(&self, at: usize) -> Column {
        self.named(format_args!("column {at}"))
    }

    /// The number of the row.
    fn number(&self) -> Expr {
        Expr::Column(self.named("number"))
    }

    /// Tells that the query has this row; not true, or NULL, of an empty one.
    fn there(&self) -> Expr {
        Expr::Column(self.named("there"))
    }

    fn columns(&self) -> Vec<Expr> {
        let columns = (0..self.row.fields().len()).map(|at| Expr::Column(self.carried_column(at)));
        columns.chain([self.number()]).collect()
    }

    /// What goes along with each row of the query.
    fn carried(&self) -> Vec<Expr> {
        self.columns().into_iter().chain([self.there()]).collect()
    }

    /// The columns of the row under their own names.
    fn restored(&self) -> Vec<Expr> {
        let columns = self.row.columns().into_iter().enumerate();
        let restored = columns.map(|(at, column)| {
            Expr::Column(self.carried_column(at)).alias_qualified(column.relation, column.name)
        });
        restored.collect()
    }

    /// The rows around under the names that go along, numbered.
    fn numbered(&self, rows: LogicalPlan) -> DfResult<LogicalPlan> {
        let columns = self.row.columns().into_iter().enumerate();
        let named =
            columns.map(|(at, column)| Expr::Column(column).alias(self.carried_column(at).name));
        let rows = LogicalPlanBuilder::from(rows).project(named.collect::<Vec<_>>())?.build()?;
        let number = row_number().partition_by(Vec::new()).build()?;
        with_window(rows, number, &self.named("number").name)
    }

    /// Takes the columns of the row in the condition of a join, whose right side is `right`, from those that go along.
    fn of_left(&self, expr: Expr, right: &DFSchema) -> DfResult<Expr> {
        let expr = expr.transform_up(|part| {
            Ok(match part {
                Expr::Column(column) if right.maybe_index_of_column(&column).is_none() => {
                    match self.renamed(&column) {
                        Some(renamed) => Transformed::yes(Expr::Column(renamed)),
                        None => Transformed::no(Expr::Column(column)),
                    }
                }
                other => Transformed::no(other),
            })
        })?;
        looks::inside(self, expr.data, &[Arc::new(right.clone())])
    }

    /// Takes the empty rows away that a row has beside others.
    fn one_empty(&self, rows: LogicalPlan) -> DfResult<LogicalPlan> {
        if self.exact.get() {
            return Ok(rows);
        }
        let order = SortExpr::new(self.there().is_true(), false, false);
        let first = row_number().partition_by(vec![self.number()]).order_by(vec![order]).build()?;
        let name = self.named("first");
        let rows = with_window(rows, first, &name.name)?;
        let kept = self.there().is_true().or(Expr::Column(name).eq(lit(1_i64)));
        LogicalPlanBuilder::from(rows).filter(kept)?.build()
    }
}

/// Adds the value of a window to rows.
fn with_window(rows: LogicalPlan, window: Expr, name: &str) -> DfResult<LogicalPlan> {
    let columns = rows.schema().columns();
    let rows = LogicalPlanBuilder::from(rows).window([window])?.build()?;
    let value = rows.schema().columns().into_iter().filter(|column| !columns.contains(column));
    let value = value.map(|column| Expr::Column(column).alias(name)).collect::<Vec<_>>();
    let all = columns.iter().cloned().map(Expr::Column).chain(value).collect::<Vec<_>>();
    LogicalPlanBuilder::from(rows).project(all)?.build()
}

/// Returns the query on the right side of a join that is made for each row of the left one.
pub(super) fn lateral_query(right: &LogicalPlan) -> Option<&LogicalPlan> {
    match right {
        LogicalPlan::Subquery(subquery) => Some(&subquery.subquery),
        LogicalPlan::SubqueryAlias(alias) if is_lateral(&alias.input) => {
            lateral_query(&alias.input)
        }
        _ => None,
    }
}
