//! `(SELECT …)` as a value: one row at most, NULL for none, and 21000 for more.
//!
//! The planner takes a subquery that looks at the row around it only if it is an aggregate: `(SELECT name FROM customers c WHERE c.id =
//! o.customer)`, which half of all reports are made of, it refuses (DataFusion 55.2). Here it becomes the first of the rows and their
//! number, by which more than one is found where a row asks for it, and not where none does. One with `LIMIT 1` is the first row of
//! its order.
//!
//! A subquery that looks at nothing is told to be never NULL if its column is not, though it may have no row; `IS NULL` of it was false
//! without being asked. Behind a function it may be NULL.

use std::sync::Arc;

use arrow::array::{Array, AsArray};
use arrow::datatypes::{DataType, Field, FieldRef, Int64Type};
use datafusion::common::Column;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::error::Result as DfResult;
use datafusion::functions::core::expr_fn::named_struct;
use datafusion::functions_aggregate::expr_fn::{count, count_distinct};
use datafusion::functions_aggregate::first_last::first_value_udaf;
use datafusion::logical_expr::expr::{AggregateFunction, Sort};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::{
    BinaryExpr, ColumnarValue, Distinct, Expr, FetchType, LogicalPlan, LogicalPlanBuilder,
    Projection, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, SkipType,
    Subquery, Volatility, lit, when,
};
use maru_core::{Error, ErrorKind};

use super::dependent::looked_up;

/// The parts of what stands for the rows of a subquery.
const VALUE: &str = "value";
const ROWS: &str = "rows";

/// What a value is called beside keys. No column has the name.
const ALONE: &str = "value of one row";

/// Gives subqueries that are values PostgreSQL's meaning.
///
/// # Errors
/// What the planner says of a subquery that has no plan.
pub(super) fn one_row(plan: LogicalPlan) -> DfResult<LogicalPlan> {
    plan.transform_up_with_subqueries(|node| {
        let preserver = NamePreserver::new(&node);
        node.map_expressions(|expr| {
            let name = preserver.save(&expr);
            let changed = expr.transform_up(|part| match part {
                Expr::ScalarSubquery(subquery) => settle(subquery),
                Expr::BinaryExpr(comparison) if comparison.op.supports_propagation() => {
                    Ok(Transformed::no(Expr::BinaryExpr(bare(comparison))))
                }
                other => Ok(Transformed::no(other)),
            })?;
            Ok(changed.update_data(|expr| name.restore(expr)))
        })?
        .map_data(LogicalPlan::recompute_schema)
    })
    .data()
}

fn settle(subquery: Subquery) -> DfResult<Transformed<Expr>> {
    let plan = &subquery.subquery;
    let [field] = plan.schema().fields().as_ref() else {
        return Ok(Transformed::no(Expr::ScalarSubquery(subquery)));
    };
    if looked_up(plan)?.is_empty() {
        if field.is_nullable() || has_a_row(plan) {
            return Ok(Transformed::no(Expr::ScalarSubquery(subquery)));
        }
        let function = ScalarUDF::from(OneRow::new(true));
        return Ok(Transformed::yes(function.call(vec![Expr::ScalarSubquery(subquery)])));
    }
    let with = |plan: LogicalPlan| {
        Expr::ScalarSubquery(Subquery { subquery: Arc::new(plan), ..subquery.clone() })
    };
    // The planner puts keys beside the value: one of them may have its name.
    let may_be_key = has_column(plan, field.name())?;
    if is_aggregate(plan) {
        if let (true, LogicalPlan::Projection(shown)) = (may_be_key, plan.as_ref()) {
            let value = shown.expr.iter().map(|one| one.clone().unalias().alias(ALONE)).collect();
            let shown = Projection::try_new(value, Arc::clone(&shown.input))?;
            return Ok(Transformed::yes(with(LogicalPlan::Projection(shown))));
        }
        return Ok(Transformed::no(Expr::ScalarSubquery(subquery)));
    }
    let name = if may_be_key { ALONE.to_owned() } else { field.name().clone() };
    if let Some(first) = first_of_order(plan, &name)? {
        return Ok(Transformed::yes(with(first)));
    }
    let (rows, distinct) = match plan.as_ref() {
        LogicalPlan::Distinct(Distinct::All(rows)) => (rows.as_ref(), true),
        other => (other, false),
    };
    let Some(value) = rows.schema().columns().into_iter().next().map(Expr::Column) else {
        return Ok(Transformed::no(Expr::ScalarSubquery(subquery)));
    };
    let (rows, value) = match distinct {
        // It may be a key as well, under its own name.
        true => {
            let named = LogicalPlanBuilder::from(rows.clone()).project([value.alias(ALONE)])?;
            (named.build()?, Expr::Column(Column::new_unqualified(ALONE)))
        }
        false => (rows.clone(), value),
    };
    let counts = match distinct {
        // A count leaves NULL out, which is a row as well.
        true => {
            let null = when(value.clone().is_null(), lit(1_i64)).end()?;
            vec![count_distinct(value.clone()), count_distinct(null)]
        }
        false => vec![count(lit(1_i64))],
    };
    let aggregates = std::iter::once(first(value, Vec::new())).chain(counts);
    let aggregated =
        LogicalPlanBuilder::from(rows).aggregate(Vec::<Expr>::new(), aggregates)?.build()?;
    let columns = aggregated.schema().columns();
    let mut columns = columns.into_iter().map(Expr::Column);
    let (Some(first), Some(number)) = (columns.next(), columns.reduce(|all, one| all + one)) else {
        return Ok(Transformed::no(Expr::ScalarSubquery(subquery)));
    };
    let both = named_struct(vec![lit(VALUE), first, lit(ROWS), number]);
    let both = LogicalPlanBuilder::from(aggregated).project([both.alias(name)])?.build()?;
    Ok(Transformed::yes(ScalarUDF::from(OneRow::new(false)).call(vec![with(both)])))
}

/// Returns whether a plan has a column of a name.
fn has_column(plan: &LogicalPlan, name: &str) -> DfResult<bool> {
    let is_it = |expr: &Expr| expr.column_refs().iter().any(|column| column.name == name);
    plan.exists(|node| Ok(node.expressions().iter().any(is_it)))
}

fn first(value: Expr, order: Vec<Sort>) -> Expr {
    let function =
        AggregateFunction::new_udf(first_value_udaf(), vec![value], false, None, order, None);
    Expr::AggregateFunction(function)
}

/// Returns the plan of the first row instead of `… ORDER BY … LIMIT 1`; `None` for a plan of another shape.
fn first_of_order(plan: &LogicalPlan, name: &str) -> DfResult<Option<LogicalPlan>> {
    let LogicalPlan::Limit(limit) = plan else { return Ok(None) };
    let is_one = matches!(limit.get_fetch_type()?, FetchType::Literal(Some(1)))
        && matches!(limit.get_skip_type()?, SkipType::Literal(0));
    if !is_one {
        return Ok(None);
    }
    // The columns that were asked for, if the order needed others beside them.
    let (shown, inner) = match limit.input.as_ref() {
        LogicalPlan::Projection(projection)
            if matches!(*projection.input, LogicalPlan::Sort(_)) =>
        {
            (projection.expr.first().cloned(), projection.input.as_ref())
        }
        other => (None, other),
    };
    let (order, rows) = match inner {
        LogicalPlan::Sort(sort) if sort.fetch.is_none() => (sort.expr.clone(), sort.input.as_ref()),
        LogicalPlan::Sort(_) => return Ok(None),
        other => (Vec::new(), other),
    };
    let column = || rows.schema().columns().into_iter().next().map(Expr::Column);
    let Some(value) = shown.or_else(column).map(Expr::unalias) else { return Ok(None) };
    let rows = match rows {
        // Which of the equal rows it is does not matter.
        LogicalPlan::Distinct(Distinct::All(rows)) => rows.as_ref(),
        other => other,
    };
    let aggregated = LogicalPlanBuilder::from(rows.clone())
        .aggregate(Vec::<Expr>::new(), [first(value, order)])?
        .build()?;
    let Some(column) = aggregated.schema().columns().into_iter().next() else { return Ok(None) };
    let named = Expr::Column(column).alias(name);
    Ok(Some(LogicalPlanBuilder::from(aggregated).project([named])?.build()?))
}

/// A comparison does not tell NULL from what it is never asked: there the subquery stands as it is, so that its value can be a filter
/// of the other side's source.
fn bare(mut comparison: BinaryExpr) -> BinaryExpr {
    for side in [&mut comparison.left, &mut comparison.right] {
        if let Expr::ScalarFunction(call) = side.as_mut()
            && call.func.name() == OneRow::MAY_BE_NULL
            && let Some(subquery) = call.args.pop()
        {
            **side = subquery;
        }
    }
    comparison
}

/// What the planner itself takes for one row: an aggregate of all rows, behind columns, orders and conditions.
pub(super) fn is_aggregate(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Aggregate(aggregate) => aggregate.group_expr.is_empty(),
        LogicalPlan::Projection(projection) => is_aggregate(&projection.input),
        LogicalPlan::SubqueryAlias(alias) => is_aggregate(&alias.input),
        LogicalPlan::Sort(sort) => is_aggregate(&sort.input),
        LogicalPlan::Limit(limit) => is_aggregate(&limit.input),
        LogicalPlan::Filter(filter) => is_aggregate(&filter.input),
        _ => false,
    }
}

/// Returns whether a plan has a row for certain.
fn has_a_row(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Aggregate(aggregate) => aggregate.group_expr.is_empty(),
        LogicalPlan::Projection(projection) => has_a_row(&projection.input),
        LogicalPlan::SubqueryAlias(alias) => has_a_row(&alias.input),
        LogicalPlan::Sort(sort) => sort.fetch != Some(0) && has_a_row(&sort.input),
        LogicalPlan::EmptyRelation(empty) => empty.produce_one_row,
        LogicalPlan::Values(values) => !values.values.is_empty(),
        _ => false,
    }
}

/// What stands around a subquery: it hands on its value.
#[derive(Debug, PartialEq, Eq, Hash)]
struct OneRow {
    /// The value itself, and not the rows it is of.
    plain: bool,
    signature: Signature,
}

impl OneRow {
    const MAY_BE_NULL: &'static str = "value_or_null";

    fn new(plain: bool) -> Self {
        Self { plain, signature: Signature::any(1, Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for OneRow {
    fn name(&self) -> &str {
        if self.plain { Self::MAY_BE_NULL } else { "value_of_one_row" }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> DfResult<DataType> {
        match types {
            [data_type] if self.plain => Ok(data_type.clone()),
            [DataType::Struct(fields)] if !fields.is_empty() => Ok(fields[0].data_type().clone()),
            _ => Err(Error::internal("the rows of a subquery have no value").into()),
        }
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> DfResult<FieldRef> {
        let field = match args.arg_fields {
            [field] if self.plain => field.as_ref().clone(),
            [field] => match field.data_type() {
                DataType::Struct(fields) if !fields.is_empty() => fields[0].as_ref().clone(),
                other => Field::new("", self.return_type(std::slice::from_ref(other))?, true),
            },
            _ => return Err(Error::internal("a subquery is one value").into()),
        };
        Ok(Arc::new(field.with_name(self.name()).with_nullable(true)))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        let [rows] = args.args.as_slice() else {
            return Err(Error::internal("a subquery is one value").into());
        };
        if self.plain {
            return Ok(rows.clone());
        }
        let rows = rows.to_array(args.number_rows)?;
        let parts = rows.as_struct();
        let (value, number) = (parts.column(0), parts.column(1).as_primitive::<Int64Type>());
        let is_many = |row| parts.is_valid(row) && number.is_valid(row) && number.value(row) > 1;
        if (0..parts.len()).any(is_many) {
            return Err(more_than_one_row().into());
        }
        // Where no row was found the parts may be anything.
        let found = arrow::compute::is_not_null(parts)?;
        let value = arrow::compute::nullif(value, &arrow::compute::not(&found)?)?;
        Ok(ColumnarValue::Array(value))
    }
}

/// PostgreSQL's text.
fn more_than_one_row() -> Error {
    Error::new(
        ErrorKind::Cardinality,
        "more than one row returned by a subquery used as an expression",
    )
    .with_hint("Take one of them: LIMIT 1 with an ORDER BY, or an aggregate such as max().")
}
