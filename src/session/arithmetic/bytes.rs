//! Bytes beside texts. A text that is written as it stands is read as PostgreSQL reads bytes, `\x61` or `a`, and no other text
//! meets bytes without a cast.
//!
//! The engine underneath takes the letters of a text for its bytes: `b = '\x61'` would find no row, and `b <> '\x61'` all of them.
//!
//! Source: PostgreSQL 16, sections 8.4 and 10.2.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field};
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::expr::Cast;
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::{
    BinaryExpr, Expr, ExprSchemable, Join, LogicalPlan, Operator, Projection, Union,
};
use maru_core::{Error, ErrorKind, Result};

use super::bytes_text::parse;
use crate::engine::planners;
use crate::system::types::sql_name;

/// Functions whose arguments have one type, which is that of the result.
const ALIKE: &[&str] = &["coalesce", "greatest", "ifnull", "least", "nullif", "nvl"];

/// Functions whose first argument is bytes.
const OF_BYTES: &[&str] = &["encode", "sha224", "sha256", "sha384", "sha512"];

/// Lets bytes of a plan meet bytes alone.
///
/// # Errors
/// 42883 and 42804 where they meet texts; 22023 and 22P02 for texts that are no bytes; 0A000 for `LIKE` and `string_agg`.
pub(super) fn settled(plan: LogicalPlan) -> DfResult<LogicalPlan> {
    plan.transform_up_with_subqueries(|node| {
        let node = match node {
            LogicalPlan::Union(union) => LogicalPlan::Union(columns(union)?),
            other => other,
        };
        if let LogicalPlan::Join(join) = &node {
            check_keys(join)?;
        }
        let mut schema = DFSchema::empty();
        for input in node.inputs() {
            schema.merge(input.schema());
        }
        if node.inputs().is_empty() {
            schema.merge(node.schema());
        }
        let preserver = NamePreserver::new(&node);
        node.map_expressions(|expr| {
            let name = preserver.save(&expr);
            let rewritten = expr.transform_up(|expr| {
                planners::go_on()?;
                settle(expr, &schema)
            })?;
            Ok(rewritten.update_data(|expr| name.restore(expr)))
        })?
        .map_data(LogicalPlan::recompute_schema)
    })
    .data()
}

fn settle(mut expr: Expr, schema: &DFSchema) -> DfResult<Transformed<Expr>> {
    let changed = match &mut expr {
        Expr::BinaryExpr(BinaryExpr { left, op, right }) if compares(*op) => {
            let sides = vec![left.as_mut(), right.as_mut()];
            alike(sides, schema, |a, b| no_operator(a, *op, b))?
        }
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::StringConcat, right }) => {
            joined(left, right, schema)? || joined(right, left, schema)?
        }
        Expr::Between(between) => {
            let sides = vec![between.expr.as_mut(), between.low.as_mut(), between.high.as_mut()];
            alike(sides, schema, |a, b| no_operator(a, Operator::GtEq, b))?
        }
        Expr::InList(list) => {
            let sides = std::iter::once(list.expr.as_mut()).chain(&mut list.list).collect();
            alike(sides, schema, |a, b| no_operator(a, Operator::Eq, b))?
        }
        Expr::InSubquery(membership) => {
            let plan = &membership.subquery.subquery;
            check_first(&membership.expr, schema, plan, Operator::Eq)?;
            false
        }
        Expr::SetComparison(comparison) => {
            let plan = &comparison.subquery.subquery;
            check_first(&comparison.expr, schema, plan, comparison.op)?;
            false
        }
        Expr::Like(like) | Expr::SimilarTo(like) => {
            if is_bytes(&like.expr, schema) || is_bytes(&like.pattern, schema) {
                return Err(Error::unsupported("LIKE of bytes is not supported")
                    .with_hint("Compare their text: encode(b, 'hex') LIKE '61%'.")
                    .into());
            }
            false
        }
        Expr::Case(case) => {
            let mut changed = false;
            if let Some(base) = case.expr.as_deref_mut() {
                let whens = case.when_then_expr.iter_mut().map(|(when, _)| when.as_mut());
                let sides = std::iter::once(base).chain(whens).collect();
                changed = alike(sides, schema, |a, b| no_operator(a, Operator::Eq, b))?;
            }
            let thens = case.when_then_expr.iter_mut().map(|(_, then)| then.as_mut());
            let branches = thens.chain(case.else_expr.as_deref_mut()).collect();
            alike(branches, schema, |a, b| unmatched("CASE", a, b))? || changed
        }
        Expr::ScalarFunction(call) if ALIKE.contains(&call.name()) => {
            let name = call.name().to_uppercase();
            let sides = call.args.iter_mut().collect();
            alike(sides, schema, |a, b| unmatched(&name, a, b))?
        }
        Expr::ScalarFunction(call) if OF_BYTES.contains(&call.name()) => {
            let first = call.args.first_mut();
            first.map_or(Ok(false), |first| read_literal(first, &DataType::Binary))?
        }
        Expr::AggregateFunction(call) if call.func.name() == "string_agg" => {
            if call.params.args.first().is_some_and(|value| is_bytes(value, schema)) {
                return Err(Error::unsupported("string_agg of bytes is not supported")
                    .with_hint("Join their text: string_agg(encode(b, 'hex'), '').")
                    .into());
            }
            false
        }
        Expr::WindowFunction(call) if matches!(call.fun.name(), "lag" | "lead") => {
            let name = call.fun.name().to_uppercase();
            let sides = call.params.args.iter_mut().step_by(2).collect();
            alike(sides, schema, |a, b| unmatched(&name, a, b))?
        }
        // Of a column the cast itself reads bytes so.
        Expr::Cast(Cast { expr: inner, field }) if field.data_type().is_binary() => {
            let target = field.data_type().clone();
            let was_literal = read_literal(inner, &target)?;
            if was_literal && is_plain(&target) {
                return Ok(Transformed::yes(std::mem::take(inner.as_mut())));
            }
            was_literal
        }
        _ => false,
    };
    Ok(if changed { Transformed::yes(expr) } else { Transformed::no(expr) })
}

fn compares(op: Operator) -> bool {
    use Operator as O;
    matches!(
        op,
        O::Eq
            | O::NotEq
            | O::Lt
            | O::LtEq
            | O::Gt
            | O::GtEq
            | O::IsDistinctFrom
            | O::IsNotDistinctFrom
    )
}

/// Reads the literals among values if one of these is bytes, and tells whether there were any.
fn alike(
    sides: Vec<&mut Expr>,
    schema: &DFSchema,
    refused: impl Fn(&DataType, &DataType) -> Error,
) -> DfResult<bool> {
    let types = sides.iter().map(|side| side.get_type(schema).ok()).collect::<Vec<_>>();
    let mut known = sides
        .iter()
        .zip(&types)
        .filter_map(|(side, data_type)| data_type.as_ref().filter(|_| is_bytes(side, schema)));
    let Some(target) = known.next().cloned() else { return Ok(false) };
    let mut changed = false;
    for (at, (side, data_type)) in sides.into_iter().zip(types).enumerate() {
        let Some(data_type) = data_type.filter(is_text) else { continue };
        if !read_literal(side, &target)? {
            return Err(match at {
                0 => refused(&data_type, &target),
                _ => refused(&target, &data_type),
            }
            .into());
        }
        changed = true;
    }
    Ok(changed)
}

/// Settles what bytes are joined with: a literal is bytes, and beside another text the bytes are written as one.
///
/// # Errors
/// Those of a literal that is no bytes.
fn joined(bytes: &mut Expr, other: &mut Expr, schema: &DFSchema) -> Result<bool> {
    if !is_bytes(bytes, schema) || !other.get_type(schema).is_ok_and(|other| is_text(&other)) {
        return Ok(false);
    }
    if !read_literal(other, &DataType::Binary)? {
        let value = Box::new(std::mem::take(bytes));
        *bytes = Expr::Cast(Cast::new(value, DataType::Utf8));
    }
    Ok(true)
}

/// # Errors
/// 42883 for bytes among texts of a query, and for a text among its bytes.
fn check_first(value: &Expr, schema: &DFSchema, plan: &LogicalPlan, op: Operator) -> Result<()> {
    let Some(field) = plan.schema().fields().first() else { return Ok(()) };
    let Ok(own) = value.get_type(schema) else { return Ok(()) };
    let meets = is_bytes(value, schema) && is_text(field.data_type())
        || is_text(&own) && is_bytes_field(field);
    if meets { Err(no_operator(&own, op, field.data_type())) } else { Ok(()) }
}

/// # Errors
/// 42804 for columns of a join by name, of INTERSECT and EXCEPT.
fn check_keys(join: &Join) -> Result<()> {
    for (left, right) in &join.on {
        let types = left.get_type(join.left.schema()).ok();
        let types = types.zip(right.get_type(join.right.schema()).ok());
        let Some((a, b)) = types else { continue };
        let meets = is_bytes(left, join.left.schema()) && is_text(&b)
            || is_text(&a) && is_bytes(right, join.right.schema());
        if meets {
            return Err(unmatched("the", &a, &b));
        }
    }
    Ok(())
}

/// Gives a literal that stands in one column of a `UNION` with bytes their type.
fn columns(union: Union) -> DfResult<Union> {
    let n_columns = union.inputs.iter().map(|side| side.schema().fields().len()).min().unwrap_or(0);
    let types = (0..n_columns).map(|at| {
        let mut fields = union.inputs.iter().map(|side| side.schema().field(at));
        fields.find(|field| is_bytes_field(field)).map(|field| field.data_type().clone())
    });
    let types = types.collect::<Vec<_>>();
    let mut changed = false;
    let mut inputs = Vec::with_capacity(union.inputs.len());
    for input in &union.inputs {
        let mut side = Arc::clone(input);
        for (at, target) in types.iter().enumerate() {
            let Some(target) = target else { continue };
            let found = side.schema().field(at).data_type().clone();
            if is_text(&found) {
                side = with_bytes(&side, at, target)?
                    .ok_or_else(|| unmatched("UNION", target, &found))?;
                changed = true;
            }
        }
        inputs.push(side);
    }
    // Its sides may have become bytes since it was planned.
    let told = union
        .schema
        .fields()
        .iter()
        .zip(&types)
        .any(|(field, target)| target.is_some() && is_text(field.data_type()));
    if changed || told { Union::try_new_with_loose_types(inputs) } else { Ok(union) }
}

/// Returns a side of a `UNION` with bytes in the place of a literal; `None` if there is none.
fn with_bytes(
    side: &LogicalPlan,
    at: usize,
    target: &DataType,
) -> DfResult<Option<Arc<LogicalPlan>>> {
    let LogicalPlan::Projection(projection) = side else { return Ok(None) };
    let mut exprs = projection.expr.clone();
    let Some(expr) = exprs.get_mut(at) else { return Ok(None) };
    let (relation, name) = expr.qualified_name();
    let mut value = expr.clone().unalias();
    if !read_literal(&mut value, target)? {
        return Ok(None);
    }
    *expr = value.alias_qualified(relation, name);
    let side = Projection::try_new(exprs, Arc::clone(&projection.input))?;
    Ok(Some(Arc::new(LogicalPlan::Projection(side))))
}

/// Puts bytes in the place of a literal text, and tells whether it was one.
fn read_literal(expr: &mut Expr, target: &DataType) -> Result<bool> {
    let Expr::Literal(value, _) = &*expr else { return Ok(false) };
    let Some(text) = value.try_as_str() else { return Ok(false) };
    let bytes = text.map(parse).transpose()?;
    let value = match target {
        DataType::LargeBinary => ScalarValue::LargeBinary(bytes),
        DataType::BinaryView => ScalarValue::BinaryView(bytes),
        _ => ScalarValue::Binary(bytes),
    };
    *expr = Expr::Literal(value, None);
    Ok(true)
}

/// Returns whether literals are of this type.
fn is_plain(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Binary | DataType::LargeBinary | DataType::BinaryView)
}

fn is_text(data_type: &DataType) -> bool {
    match data_type {
        DataType::Dictionary(_, value) => value.is_string(),
        data_type => data_type.is_string(),
    }
}

fn is_bytes(expr: &Expr, schema: &DFSchema) -> bool {
    match expr.get_type(schema) {
        // It may be a uuid.
        Ok(DataType::FixedSizeBinary(_)) => {
            expr.to_field(schema).is_ok_and(|(_, field)| is_bytes_field(&field))
        }
        Ok(data_type) => data_type.is_binary(),
        Err(_) => false,
    }
}

fn is_bytes_field(field: &Field) -> bool {
    let extension = field.metadata().get("ARROW:extension:name");
    field.data_type().is_binary() && extension.is_none_or(|name| name != "arrow.uuid")
}

fn no_operator(left: &DataType, op: Operator, right: &DataType) -> Error {
    let what = format!("operator does not exist: {} {op} {}", sql_name(left), sql_name(right));
    Error::new(ErrorKind::UndefinedFunction, what).with_hint(
        "CAST the text to bytea, or make a text of the bytes: encode(b, 'hex'), convert_from(b, 'UTF8').",
    )
}

fn unmatched(of: &str, left: &DataType, right: &DataType) -> Error {
    let what = format!("{of} types {} and {} cannot be matched", sql_name(left), sql_name(right));
    Error::new(ErrorKind::TypeMismatch, what).with_hint("CAST the text to bytea.")
}
