//! Operators of JSON, settled by the types of their sides while the statement is planned.
//!
//! `json` has parts alone, `jsonb` the rest: in PostgreSQL too there is no `json = json`. A literal beside `jsonb` is `jsonb`. Text
//! counts as JSON beside an operator that nothing but JSON has.
//!
//! Source: PostgreSQL 15, tables 9.45 and 9.46; section 8.14.5 for subscripts.

use arrow::datatypes::DataType;
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::expr::Cast;
use datafusion::logical_expr::planner::{
    ExprPlanner, PlannerResult, RawBinaryExpr, RawFieldAccessExpr,
};
use datafusion::logical_expr::{BinaryExpr, Expr, ExprSchemable, GetFieldAccess, Operator, lit};
use maru_core::{Error, ErrorKind, Result};
use maru_sql::ast::BinaryOperator;

use super::{Style, as_jsonb, call, is_open, mark_of, no_operator, type_name};

/// Operators that `json` and `jsonb` have, and the functions they are.
const PARTS: &[(BinaryOperator, &str)] = &[
    (BinaryOperator::Arrow, "json_get_part"),
    (BinaryOperator::LongArrow, "json_get_part_text"),
    (BinaryOperator::HashArrow, "json_get_path"),
    (BinaryOperator::HashLongArrow, "json_get_path_text"),
];

/// Those of `jsonb` whose right side is none.
const OF_JSONB: &[(BinaryOperator, &str)] = &[
    (BinaryOperator::Question, "jsonb_exists"),
    (BinaryOperator::QuestionPipe, "jsonb_exists_any"),
    (BinaryOperator::QuestionAnd, "jsonb_exists_all"),
    (BinaryOperator::HashMinus, "jsonb_delete_path"),
    (BinaryOperator::AtQuestion, "jsonb_path_finds"),
    (BinaryOperator::AtAt, "jsonb_path_holds"),
];

/// Plans them.
#[derive(Debug)]
pub(in crate::session) struct JsonOperators;

impl ExprPlanner for JsonOperators {
    fn plan_binary_op(
        &self,
        expr: RawBinaryExpr,
        schema: &DFSchema,
    ) -> DfResult<PlannerResult<RawBinaryExpr>> {
        Ok(match planned(&expr, schema)? {
            Some(planned) => PlannerResult::Planned(planned),
            None => PlannerResult::Original(expr),
        })
    }

    /// `doc['key']['other']`, of `jsonb` alone. Numbers count from 0, as those of `->`.
    fn plan_field_access(
        &self,
        access: RawFieldAccessExpr,
        schema: &DFSchema,
    ) -> DfResult<PlannerResult<RawFieldAccessExpr>> {
        let Some(style) = mark_of(&access.expr, schema) else {
            return Ok(PlannerResult::Original(access));
        };
        if style == Style::Json {
            let what = "cannot subscript type json because it does not support subscripting";
            return Err(Error::new(ErrorKind::TypeMismatch, what)
                .with_hint("Use ->, or CAST it to jsonb.")
                .into());
        }
        let key = match access.field_access {
            GetFieldAccess::NamedStructField { name: ScalarValue::Utf8(Some(name)) } => lit(name),
            GetFieldAccess::ListIndex { key } => Expr::Cast(Cast::new(key, DataType::Utf8)),
            _ => {
                return Err(Error::unsupported("jsonb subscript does not support slices").into());
            }
        };
        let of = as_jsonb(access.expr, schema)?;
        Ok(PlannerResult::Planned(call("jsonb_extract_path", vec![of, key])?))
    }
}

fn planned(expr: &RawBinaryExpr, schema: &DFSchema) -> Result<Option<Expr>> {
    let (left, right) = (&expr.left, &expr.right);
    let function_of = |table: &[(BinaryOperator, &'static str)]| {
        table.iter().find(|(op, _)| *op == expr.op).map(|(_, function)| *function)
    };
    if let Some(function) = function_of(PARTS) {
        if !is_text(left, schema) {
            return Ok(None);
        }
        let function = match (mark_of(left, schema), function) {
            (Some(Style::Jsonb), "json_get_part") => "jsonb_get_part",
            (Some(Style::Jsonb), "json_get_part_text") => "jsonb_get_part_text",
            _ => function,
        };
        return call(function, vec![settled(left, schema)?, right.clone()]).map(Some);
    }
    if let Some(function) = function_of(OF_JSONB) {
        if !is_text(left, schema) {
            return Ok(None);
        }
        refuse_json(expr, schema)?;
        return call(function, vec![as_jsonb(left.clone(), schema)?, right.clone()]).map(Some);
    }
    match &expr.op {
        op @ (BinaryOperator::AtArrow | BinaryOperator::ArrowAt) => {
            if !is_text(left, schema) || !is_text(right, schema) {
                return Ok(None);
            }
            refuse_json(expr, schema)?;
            let contains = *op == BinaryOperator::AtArrow;
            let function = if contains { "jsonb_contains" } else { "jsonb_contained" };
            call(function, sides(expr, schema)?).map(Some)
        }
        BinaryOperator::StringConcat => concat(expr, schema),
        BinaryOperator::Minus => match mark_of(left, schema) {
            None => Ok(None),
            Some(Style::Json) => Err(missing(expr, schema)),
            Some(Style::Jsonb) => {
                let left = as_jsonb(left.clone(), schema)?;
                call("jsonb_delete", vec![left, right.clone()]).map(Some)
            }
        },
        BinaryOperator::Eq => equal(expr, Operator::Eq, schema),
        BinaryOperator::NotEq => equal(expr, Operator::NotEq, schema),
        BinaryOperator::Lt | BinaryOperator::LtEq | BinaryOperator::Gt | BinaryOperator::GtEq => {
            match comparable(expr, schema)? {
                false => Ok(None),
                true => Err(no_order()),
            }
        }
        _ => Ok(None),
    }
}

/// 0A000: PostgreSQL orders `jsonb` by kind, size and parts.
pub(super) fn no_order() -> Error {
    Error::unsupported("values of jsonb have no order here")
        .with_hint("Order by a part of them, as text or number: (doc ->> 'n')::numeric.")
}

fn missing(expr: &RawBinaryExpr, schema: &DFSchema) -> Error {
    let (left, right) = (type_name(&expr.left, schema), type_name(&expr.right, schema));
    no_operator(&left, &expr.op.to_string(), &right)
}

fn refuse_json(expr: &RawBinaryExpr, schema: &DFSchema) -> Result<()> {
    let is_json = |side: &Expr| mark_of(side, schema) == Some(Style::Json);
    match is_json(&expr.left) || is_json(&expr.right) {
        true => Err(missing(expr, schema)),
        false => Ok(()),
    }
}

fn is_text(expr: &Expr, schema: &DFSchema) -> bool {
    is_open(expr)
        || expr.get_type(schema).is_ok_and(|data_type| match data_type {
            DataType::Dictionary(_, value) => value.is_string(),
            data_type => data_type.is_string() || data_type.is_null(),
        })
}

/// Gives a value of several branches the mark that the planner forgot.
fn settled(expr: &Expr, schema: &DFSchema) -> Result<Expr> {
    let known = expr.to_field(schema).ok().and_then(|(_, f)| super::style_of(&f));
    match (known, mark_of(expr, schema)) {
        (None, Some(Style::Jsonb)) => as_jsonb(expr.clone(), schema),
        (None, Some(Style::Json)) => call("json", vec![expr.clone()]),
        _ => Ok(expr.clone()),
    }
}

fn sides(expr: &RawBinaryExpr, schema: &DFSchema) -> Result<Vec<Expr>> {
    Ok(vec![as_jsonb(expr.left.clone(), schema)?, as_jsonb(expr.right.clone(), schema)?])
}

/// Two of `jsonb`, or one and a literal, are joined; beside a text it is text.
fn concat(expr: &RawBinaryExpr, schema: &DFSchema) -> Result<Option<Expr>> {
    let (left, right) = (mark_of(&expr.left, schema), mark_of(&expr.right, schema));
    let is_jsonb = |mark: Option<Style>, side: &Expr| {
        mark == Some(Style::Jsonb) || (mark.is_none() && is_open(side))
    };
    match (left, right) {
        (None, None) => Ok(None),
        (Some(Style::Json), Some(_)) | (Some(_), Some(Style::Json)) => Err(missing(expr, schema)),
        (Some(Style::Jsonb), _) | (_, Some(Style::Jsonb))
            if is_jsonb(left, &expr.left) && is_jsonb(right, &expr.right) =>
        {
            call("jsonb_concat", sides(expr, schema)?).map(Some)
        }
        _ => {
            let plain = |mark: Option<Style>, side: &Expr| match mark {
                Some(_) => call("json_plain", vec![side.clone()]),
                None => Ok(side.clone()),
            };
            Ok(Some(Expr::BinaryExpr(BinaryExpr::new(
                Box::new(plain(left, &expr.left)?),
                Operator::StringConcat,
                Box::new(plain(right, &expr.right)?),
            ))))
        }
    }
}

/// Returns whether both sides are `jsonb`, or one and a literal; false if none is JSON.
///
/// # Errors
/// 42883 for `json`, and for `jsonb` beside another type.
fn comparable(expr: &RawBinaryExpr, schema: &DFSchema) -> Result<bool> {
    let fits = |side: &Expr, mark: Option<Style>| {
        mark == Some(Style::Jsonb) || (mark.is_none() && is_open(side))
    };
    let (left, right) = (mark_of(&expr.left, schema), mark_of(&expr.right, schema));
    if left.is_none() && right.is_none() {
        return Ok(false);
    }
    match fits(&expr.left, left) && fits(&expr.right, right) {
        true => Ok(true),
        false => Err(missing(expr, schema)),
    }
}

fn equal(expr: &RawBinaryExpr, op: Operator, schema: &DFSchema) -> Result<Option<Expr>> {
    if !comparable(expr, schema)? {
        return Ok(None);
    }
    let key = |side: &Expr| call("jsonb_equality_key", vec![as_jsonb(side.clone(), schema)?]);
    let (left, right) = (Box::new(key(&expr.left)?), Box::new(key(&expr.right)?));
    Ok(Some(Expr::BinaryExpr(BinaryExpr::new(left, op, right))))
}
