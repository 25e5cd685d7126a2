//! From nodes of the engine's plan to the steps a source is asked.

use std::any::Any;
use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, JoinType, NullEquality};
use datafusion::datasource::source_as_provider;
use datafusion::logical_expr::expr::{AggregateFunction as Call, AggregateFunctionParams};
use datafusion::logical_expr::{self as logical, Expr, LogicalPlan, TableScan};
use maru_core::limits::BATCH_ROWS;

use super::number;
use crate::{
    Aggregate, AggregateFunction, FederatedTable, Join, JoinKind, Predicate, RemoteTable,
    ScanRequest, SortBy, Step,
};

/// The table of a source right below a node, and what is asked of it.
pub(super) struct Input<'p> {
    pub(super) table: Arc<FederatedTable>,
    pub(super) remote: Arc<dyn RemoteTable>,
    /// Its projection is what the plan's columns are, in their order.
    pub(super) request: ScanRequest,
    plan: &'p LogicalPlan,
    /// Expressions of the plan's columns that the table has computed, and where.
    numbers: Vec<(Expr, usize)>,
}

impl<'p> Input<'p> {
    /// Returns the table if nothing but renaming, choosing and arithmetic of columns stands between, and the source evaluates all
    /// filters and computes all numbers.
    pub(super) fn of(plan: &'p LogicalPlan) -> Option<Self> {
        match plan {
            LogicalPlan::TableScan(scan) => {
                let (table, remote, request) = scanned(scan)?;
                Some(Self { table, remote, request, plan, numbers: Vec::new() })
            }
            LogicalPlan::SubqueryAlias(alias) => Some(Self { plan, ..Input::of(&alias.input)? }),
            LogicalPlan::Projection(projection) => {
                let below = Input::of(&projection.input)?.computing(&projection.expr)?;
                let columns = projection
                    .expr
                    .iter()
                    .map(|expr| below.column(expr))
                    .collect::<Option<Vec<_>>>()?;
                let request = ScanRequest { projection: columns, ..below.request.clone() };
                Some(Self { plan, request, numbers: Vec::new(), ..below })
            }
            _ => None,
        }
    }

    /// Returns the same rows of a table that has computed those of `exprs` which are not its columns yet; `None` if one is nothing
    /// that a source is asked for, or that this one does not compute.
    pub(super) fn computing<'e>(self, exprs: impl IntoIterator<Item = &'e Expr>) -> Option<Self> {
        let mut wanted: Vec<&Expr> = Vec::new();
        for expr in exprs.into_iter().map(unnamed) {
            if self.column(expr).is_none() && !wanted.contains(&expr) {
                wanted.push(expr);
            }
        }
        if wanted.is_empty() {
            return Some(self);
        }
        let column = |expr: &Expr| self.column(expr);
        let lower = |expr: &&Expr| number::lower(expr, self.plan.schema(), &column);
        let numbers = wanted.iter().map(lower).collect::<Option<Vec<_>>>()?;
        let remote = self.remote.derive(&self.request, &Step::Compute { numbers })?;
        // The plan's columns come first.
        let n_columns = self.request.projection.len();
        let numbers = wanted.into_iter().enumerate();
        let numbers = numbers.map(|(at, expr)| (expr.clone(), n_columns + at)).collect();
        let projection = (0..n_columns).collect();
        let request =
            ScanRequest { projection, filters: Vec::new(), limit: None, ..self.request.clone() };
        Some(Self { remote, request, numbers, ..self })
    }

    /// Returns which column of the table an expression is.
    pub(super) fn column(&self, expr: &Expr) -> Option<usize> {
        let computed = self.numbers.iter().find(|(number, _)| number == unnamed(expr));
        if let Some((_, column)) = computed {
            return Some(*column);
        }
        match expr {
            Expr::Alias(alias) => self.column(&alias.expr),
            Expr::Column(column) => {
                let position = self.plan.schema().maybe_index_of_column(column)?;
                self.request.projection.get(position).copied()
            }
            _ => None,
        }
    }

    /// Returns an expression about the plan's columns as one about the table's, if it is a filter that the source evaluates.
    fn filter(&self, expr: &Expr) -> Option<Predicate> {
        let schema = self.remote.schema();
        let of_table = expr.clone().transform(|expr| {
            let Expr::Column(_) = &expr else { return Ok(Transformed::no(expr)) };
            let field = self.column(&expr).and_then(|column| schema.fields().get(column));
            // A name that no table has: the whole is not lowered then.
            let name = field.map_or("", |field| field.name());
            Ok(Transformed::yes(Expr::Column(Column::new_unqualified(name))))
        });
        let filter = Predicate::lower(&of_table.ok()?.data, &schema)?;
        self.remote.supports(&filter).then_some(filter)
    }

    pub(super) fn data_type(&self, column: usize) -> Option<DataType> {
        Some(self.remote.schema().fields().get(column)?.data_type().clone())
    }
}

fn scanned(scan: &TableScan) -> Option<(Arc<FederatedTable>, Arc<dyn RemoteTable>, ScanRequest)> {
    let provider: Arc<dyn Any + Send + Sync> = source_as_provider(&scan.source).ok()?;
    let table = provider.downcast::<FederatedTable>().ok()?;
    let remote = Arc::clone(table.pushing_remote()?);
    let schema = remote.schema();
    let filters = scan
        .filters
        .iter()
        .map(|filter| Predicate::lower(filter, &schema).filter(|filter| remote.supports(filter)))
        .collect::<Option<Vec<_>>>()?;
    if scan.fetch.is_some() && !remote.supports_limit() {
        return None;
    }
    let projection =
        scan.projection.clone().unwrap_or_else(|| (0..schema.fields().len()).collect());
    let request = ScanRequest { projection, filters, limit: scan.fetch, batch_rows: BATCH_ROWS };
    Some((table, remote, request))
}

/// Returns what an expression is, whatever it is called.
fn unnamed(expr: &Expr) -> &Expr {
    match expr {
        Expr::Alias(alias) => unnamed(&alias.expr),
        other => other,
    }
}

/// Returns the expressions that a source has to have as columns before it can group and aggregate.
pub(super) fn arguments<'n>(
    node: &'n logical::Aggregate,
    input: &Input<'_>,
) -> impl Iterator<Item = &'n Expr> {
    let calls = node.aggr_expr.iter().filter_map(|call| argument(call, input));
    node.group_expr.iter().chain(calls)
}

/// Returns the argument of a call, unless it is rows that are counted or a column that is widened for a sum.
pub(super) fn argument<'n>(call: &'n Expr, input: &Input<'_>) -> Option<&'n Expr> {
    let Expr::AggregateFunction(call) = unnamed(call) else { return None };
    let argument = unnamed(call.params.args.first()?);
    let ready = matches!(argument, Expr::Literal(..)) || widened(argument, input).is_some();
    (!ready).then_some(argument)
}

/// Returns the column of whole numbers that is widened before it is summed, which a source does by itself.
fn widened(argument: &Expr, input: &Input<'_>) -> Option<usize> {
    let Expr::Cast(cast) = unnamed(argument) else { return None };
    let column = input.column(&cast.expr)?;
    let by_itself = match input.data_type(column)? {
        DataType::Int8 | DataType::Int16 | DataType::Int32 => DataType::Int64,
        DataType::Int64 => DataType::Decimal128(20, 0),
        _ => return None,
    };
    (*cast.field.data_type() == by_itself).then_some(column)
}

/// Lowers `GROUP BY` and `DISTINCT`.
pub(super) fn aggregate(node: &logical::Aggregate, input: &Input<'_>) -> Option<Step> {
    let keys = node.group_expr.iter().map(|key| input.column(key)).collect::<Option<Vec<_>>>()?;
    let aggregates =
        node.aggr_expr.iter().map(|call| function(call, input)).collect::<Option<Vec<_>>>()?;
    Some(Step::Aggregate { keys, aggregates })
}

/// Lowers a call of an aggregate.
pub(super) fn function(expr: &Expr, input: &Input<'_>) -> Option<Aggregate> {
    let call = match expr {
        Expr::Alias(alias) => return function(&alias.expr, input),
        Expr::AggregateFunction(call) => call,
        _ => return None,
    };
    let Call { func, params } = call;
    let AggregateFunctionParams { args, distinct, filter, order_by, null_treatment } = params;
    if *distinct || !order_by.is_empty() || null_treatment.is_some() {
        return None;
    }
    let filter = match filter {
        Some(filter) => Some(input.filter(filter)?),
        None => None,
    };
    // The engine's functions of these names mean what PostgreSQL's do; nobody can register others.
    let function = match func.name() {
        "count" => AggregateFunction::Count,
        "sum" => AggregateFunction::Sum,
        "min" => AggregateFunction::Min,
        "max" => AggregateFunction::Max,
        _ => return None,
    };
    let [argument] = args.as_slice() else { return None };
    let column = match unnamed(argument) {
        Expr::Literal(value, _) => {
            let counts_rows = function == AggregateFunction::Count && !value.is_null();
            return counts_rows.then_some(Aggregate { function, column: None, filter });
        }
        other => match widened(other, input) {
            Some(column) if function == AggregateFunction::Sum => column,
            _ => input.column(other)?,
        },
    };
    Some(Aggregate { function, column: Some(column), filter })
}

/// Lowers `ORDER BY`.
pub(super) fn sort(node: &logical::Sort, input: &Input<'_>) -> Option<Vec<SortBy>> {
    node.expr
        .iter()
        .map(|by| {
            let column = input.column(&by.expr)?;
            Some(SortBy { column, descending: !by.asc, nulls_first: by.nulls_first })
        })
        .collect()
}

/// Lowers a join on equal columns.
pub(super) fn join(node: &logical::Join, left: &Input<'_>, right: &Input<'_>) -> Option<Join> {
    let kind = match node.join_type {
        JoinType::Inner => JoinKind::Inner,
        JoinType::Left => JoinKind::Left,
        JoinType::Right => JoinKind::Right,
        JoinType::Full => JoinKind::Full,
        JoinType::LeftSemi => JoinKind::Semi,
        JoinType::LeftAnti => JoinKind::Anti,
        _ => return None,
    };
    // A `NOT IN` of which NULLs matter is not ordinary.
    let ordinary = node.null_equality == NullEquality::NullEqualsNothing && !node.null_aware;
    if !ordinary || node.filter.is_some() || node.on.is_empty() {
        return None;
    }
    let on = node
        .on
        .iter()
        .map(|(one, other)| {
            let (one, other) = (left.column(one)?, right.column(other)?);
            (left.data_type(one)? == right.data_type(other)?).then_some((one, other))
        })
        .collect::<Option<Vec<_>>>()?;
    Some(Join { kind, on })
}
