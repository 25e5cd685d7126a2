//! Texts that were declared with a length: `char(5)`, `varchar(3)`.
//!
//! Hive and Spark fill such values up with spaces, pass over spaces at their end, or cut them off, each in its own places; here
//! they are what lies in the files, but for spaces at the end of a `char`. So a view may show such a column, ask whether it is NULL and count it, and no more.

use std::sync::Arc;

use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchemaRef};
use datafusion::datasource::source_as_provider;
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::{Expr, JoinType, LogicalPlan, Subquery, TableScan};
use maru_connect::{FederatedTable, SourceTable};
use maru_core::{Error, Result};

/// Of each column of a plan the type that it was declared with, if that has a length.
type Declared = Vec<Option<String>>;

/// The columns that an expression may read.
struct Scope {
    schema: DFSchemaRef,
    declared: Declared,
}

/// Checks that no column with a length is compared, sorted or computed with.
///
/// # Errors
/// 0A000 with the column and its type.
pub(super) fn check(plan: &LogicalPlan) -> Result<()> {
    columns(plan, &[], false)?;
    Ok(())
}

/// Returns the columns of a plan. `limited` is whether the order of its rows decides which of them there are; the columns of
/// `outer` are those of the queries around it.
fn columns(plan: &LogicalPlan, outer: &[&Scope], limited: bool) -> DfResult<Declared> {
    if let LogicalPlan::TableScan(scan) = plan {
        return Ok(of_table(scan));
    }
    let limited = limited || matches!(plan, LogicalPlan::Limit(_));
    let inputs = plan.inputs().into_iter().map(|input| {
        let declared = columns(input, outer, limited)?;
        Ok(Scope { schema: Arc::clone(input.schema()), declared })
    });
    let inputs = inputs.collect::<DfResult<Vec<_>>>()?;
    if let LogicalPlan::Projection(projection) = plan {
        return projection.expr.iter().map(|expr| shown(expr, &inputs, outer)).collect();
    }
    if limited || !matches!(plan, LogicalPlan::Sort(_)) {
        plan.apply_expressions(|expr| {
            used(expr, &inputs, outer)?;
            Ok(TreeNodeRecursion::Continue)
        })?;
    }
    let n_columns = plan.schema().fields().len();
    let all =
        || inputs.iter().flat_map(|input| input.declared.iter().cloned()).collect::<Declared>();
    let of = |at: usize| inputs.get(at).map(|input| input.declared.clone()).unwrap_or_default();
    let mut declared: Declared = match plan {
        LogicalPlan::Filter(_)
        | LogicalPlan::Limit(_)
        | LogicalPlan::Sort(_)
        | LogicalPlan::Subquery(_)
        | LogicalPlan::SubqueryAlias(_)
        | LogicalPlan::Window(_) => all(),
        LogicalPlan::Join(join) => match join.join_type {
            JoinType::LeftSemi | JoinType::LeftAnti | JoinType::LeftMark => of(0),
            JoinType::RightSemi | JoinType::RightAnti | JoinType::RightMark => of(1),
            JoinType::Inner | JoinType::Left | JoinType::Right | JoinType::Full => all(),
        },
        LogicalPlan::Union(_) => {
            let column = |at: usize| {
                inputs.iter().find_map(|input| input.declared.get(at).cloned().flatten())
            };
            (0..n_columns).map(column).collect()
        }
        // What its keys and arguments are has been looked at.
        LogicalPlan::Aggregate(_) => Vec::new(),
        // DISTINCT, and what no view has.
        _ => {
            for input in &inputs {
                for (field, declared) in input.schema.fields().iter().zip(&input.declared) {
                    refuse(field.name(), declared.as_deref())?;
                }
            }
            Vec::new()
        }
    };
    declared.resize(n_columns, None);
    Ok(declared)
}

fn of_table(scan: &TableScan) -> Declared {
    let fields = scan.projected_schema.fields();
    let lengths = source_as_provider(&scan.source).ok().and_then(|provider| {
        match provider.downcast_ref::<FederatedTable>()?.source_table() {
            SourceTable::Files(table) => Some(table.files.declared_lengths()),
            _ => None,
        }
    });
    let lengths = lengths.unwrap_or_default();
    let declared = fields.iter().map(|field| {
        let known = lengths.iter().find(|(name, _)| name == field.name());
        known.map(|(_, declared)| declared.clone())
    });
    declared.collect()
}

/// Returns what a column of a list is that a query shows.
fn shown(expr: &Expr, inputs: &[Scope], outer: &[&Scope]) -> DfResult<Option<String>> {
    match expr {
        Expr::Alias(alias) => shown(&alias.expr, inputs, outer),
        Expr::Column(column) => Ok(find(column, inputs.iter()).map(str::to_owned)),
        other => used(other, inputs, outer).map(|()| None),
    }
}

/// Checks an expression whose value depends on those of its columns.
fn used(expr: &Expr, inputs: &[Scope], outer: &[&Scope]) -> DfResult<()> {
    expr.apply(|part| {
        match part {
            Expr::IsNull(of) | Expr::IsNotNull(of) if is_column(of) => {
                return Ok(TreeNodeRecursion::Jump);
            }
            Expr::AggregateFunction(call)
                if call.func.name() == "count"
                    && !call.params.distinct
                    && call.params.filter.is_none()
                    && call.params.args.iter().all(is_column) =>
            {
                return Ok(TreeNodeRecursion::Jump);
            }
            Expr::Column(column) => refuse(&column.name, find(column, inputs.iter()))?,
            Expr::OuterReferenceColumn(_, column) => {
                refuse(&column.name, find(column, outer.iter().copied()))?;
            }
            Expr::ScalarSubquery(within) => compared(within, inputs, outer)?,
            Expr::InSubquery(within) => compared(&within.subquery, inputs, outer)?,
            Expr::SetComparison(within) => compared(&within.subquery, inputs, outer)?,
            Expr::Exists(within) => {
                inner(&within.subquery, inputs, outer)?;
            }
            _ => {}
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(())
}

/// Checks a subquery whose values are compared or computed with.
fn compared(subquery: &Subquery, inputs: &[Scope], outer: &[&Scope]) -> DfResult<()> {
    let declared = inner(subquery, inputs, outer)?;
    let fields = subquery.subquery.schema().fields().iter();
    fields.zip(&declared).try_for_each(|(field, of)| refuse(field.name(), of.as_deref()))
}

fn inner(subquery: &Subquery, inputs: &[Scope], outer: &[&Scope]) -> DfResult<Declared> {
    let around = inputs.iter().chain(outer.iter().copied()).collect::<Vec<_>>();
    columns(&subquery.subquery, &around, false)
}

fn is_column(expr: &Expr) -> bool {
    matches!(expr, Expr::Column(_) | Expr::OuterReferenceColumn(..))
}

fn find<'a>(column: &Column, mut scopes: impl Iterator<Item = &'a Scope>) -> Option<&'a str> {
    scopes.find_map(|scope| {
        let at = scope.schema.maybe_index_of_column(column)?;
        scope.declared.get(at)?.as_deref()
    })
}

fn refuse(name: &str, declared: Option<&str>) -> DfResult<()> {
    let Some(declared) = declared else { return Ok(()) };
    let error = Error::unsupported(format!(
        "column \"{name}\" of type {declared} is used for more than to be shown"
    ));
    let error = error.with_detail(
        "Systems fill such a text up with spaces, pass over spaces at its end or cut it off; here it is what lies in the file, a char without spaces at its end.",
    );
    Err(error.into())
}
