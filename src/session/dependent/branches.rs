//! `VALUES (t.a), (t.b)` and `SELECT t.a UNION ALL SELECT t.b`: some rows for each row around, by their number.

use datafusion::common::DFSchemaRef;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::expr::Case;
use datafusion::logical_expr::{Distinct, Expr, LogicalPlan, LogicalPlanBuilder, lit};

use super::steps::shown_as;
use super::{Dependent, Step, looks};

/// Rows of expressions.
type Rows = Vec<Vec<Expr>>;

impl Dependent {
    /// Returns such rows; `None` for a union of other queries.
    pub(super) fn branches(&self, query: &LogicalPlan, around: LogicalPlan) -> Step {
        let query = match query {
            LogicalPlan::Distinct(Distinct::All(input)) => input.as_ref(),
            other => other,
        };
        let Some(rows) = of_no_table(query)? else { return Ok(None) };
        let numbers = (1_i64..).zip(&rows).map(|(number, _)| vec![lit(number)]);
        let numbers = LogicalPlanBuilder::values(numbers.collect())?;
        let branch = self.named("branch");
        let number = numbers.schema().columns().into_iter().map(Expr::Column);
        let number = number.map(|number| number.alias(branch.name.clone())).collect::<Vec<_>>();
        let numbers = numbers.project(number)?.build()?;
        let plan = LogicalPlanBuilder::from(around).cross_join(numbers)?.build()?;
        let there = lit(true).alias(self.there_name());
        let mut all = self.columns();
        all.push(there);
        for (at, (qualifier, field)) in query.schema().iter().enumerate() {
            let mut choices = Vec::new();
            for (number, row) in (1_i64..).zip(&rows) {
                let Some(value) = row.get(at) else { return Ok(None) };
                let value = looks::inside(self, value.clone(), &[])?;
                let is_it = Expr::Column(branch.clone()).eq(lit(number));
                choices.push((Box::new(is_it), Box::new(value)));
            }
            let value = Expr::Case(Case { expr: None, when_then_expr: choices, else_expr: None });
            all.push(shown_as(value, qualifier, field));
        }
        LogicalPlanBuilder::from(plan).project(all)?.build().map(Some)
    }
}

/// Returns the rows of a query that reads no table.
fn of_no_table(plan: &LogicalPlan) -> DfResult<Option<Rows>> {
    Ok(match plan {
        LogicalPlan::EmptyRelation(empty) if empty.produce_one_row => Some(vec![Vec::new()]),
        LogicalPlan::Values(values) => Some(values.values.clone()),
        LogicalPlan::SubqueryAlias(alias) => of_no_table(&alias.input)?,
        LogicalPlan::Projection(made) => match of_no_table(&made.input)? {
            Some(rows) => rows
                .iter()
                .map(|row| made_of(row, &made.expr, made.input.schema()))
                .collect::<DfResult<Option<Rows>>>()?,
            None => None,
        },
        LogicalPlan::Union(union) => {
            let mut all = Vec::new();
            for input in &union.inputs {
                match of_no_table(input)? {
                    Some(rows) => all.extend(rows),
                    None => return Ok(None),
                }
            }
            Some(all)
        }
        _ => None,
    })
}

/// Returns expressions of a row with its values in the place of its columns.
fn made_of(row: &[Expr], exprs: &[Expr], schema: &DFSchemaRef) -> DfResult<Option<Vec<Expr>>> {
    // What is drawn anew would be drawn twice.
    let is_volatile = row.iter().chain(exprs).any(Expr::is_volatile);
    if is_volatile || exprs.iter().any(looks::has_subquery) {
        return Ok(None);
    }
    let mut known = true;
    let made = exprs.iter().map(|expr| {
        let made = expr.clone().unalias().transform_up(|part| {
            let Expr::Column(column) = &part else { return Ok(Transformed::no(part)) };
            let value = schema.maybe_index_of_column(column).and_then(|at| row.get(at));
            Ok(match value {
                Some(value) => Transformed::yes(value.clone()),
                None => {
                    known = false;
                    Transformed::no(part)
                }
            })
        })?;
        Ok(made.data)
    });
    let made = made.collect::<DfResult<Vec<_>>>()?;
    Ok(known.then_some(made))
}
