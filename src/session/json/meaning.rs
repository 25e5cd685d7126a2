//! What a plan means where JSON stands in it, and the planner takes it for text: casts, IN, DISTINCT FROM, order and groups.

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema};
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::expr::{Cast, InList};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::{
    BinaryExpr, Distinct, Expr, ExprSchemable, LogicalPlan, Operator, Projection, lit,
};
use maru_core::{Error, ErrorKind, Result};

use super::operators::no_order;
use super::{Style, as_jsonb, call, is_open, mark_of, no_operator, style_of, type_name};
use crate::session::quantified;
use crate::session::rewrite::shown;
use crate::system::types::regtype_name;

/// The function that a table's name became where it means the table's value.
pub(in crate::session) const ROW_VALUE: &str = "json_row_value";

/// The column of a table that holds its whole rows. Nobody types its name, and no client sees it.
pub(in crate::session) const ROW_COLUMN: &str = "\u{1}row";

/// Changes a plan before types are settled: what is a cast now was written as one.
///
/// # Errors
/// 42883, 42846 and 0A000 for what JSON cannot do.
pub(in crate::session) fn as_json_meant(plan: LogicalPlan) -> Result<LogicalPlan> {
    if !has_json(&plan)? {
        return Ok(plan);
    }
    let changed = plan.transform_up_with_subqueries(|plan| {
        let mut schema = DFSchema::empty();
        for input in plan.inputs() {
            schema.merge(input.schema());
        }
        if plan.inputs().is_empty() {
            schema.merge(plan.schema());
        }
        refuse(&plan, &schema)?;
        let plan = whole_rows(plan)?;
        let keeps_marks = matches!(plan, LogicalPlan::Projection(_));
        let preserver = NamePreserver::new(&plan);
        plan.map_expressions(|expr| {
            let name = preserver.save(&expr);
            let changed = expr.transform_up(|expr| change(expr, &schema))?;
            let changed = match keeps_marks {
                true => changed.transform_data(|expr| remember(expr, &schema))?,
                false => changed,
            };
            Ok(changed.update_data(|expr| name.restore(expr)))
        })?
        .map_data(LogicalPlan::recompute_schema)
    });
    Ok(changed.data()?)
}

/// Most plans have none, and are left as they are.
fn has_json(plan: &LogicalPlan) -> Result<bool> {
    let mut found = false;
    plan.apply_with_subqueries(|node| {
        let mut schemas = vec![node.schema()];
        schemas.extend(node.inputs().into_iter().map(LogicalPlan::schema));
        found |= schemas.iter().any(|schema| schema.fields().iter().any(|f| style_of(f).is_some()));
        if !found {
            node.apply_expressions(|expr| {
                expr.apply(|part| {
                    if let Expr::ScalarFunction(call) = part {
                        found |= call.name().starts_with("json");
                    }
                    Ok(if found { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
                })
            })?;
        }
        Ok(if found { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    })?;
    Ok(found)
}

/// Gives a column back the mark that a value of several branches has lost.
fn remember(expr: Expr, schema: &DFSchema) -> DfResult<Transformed<Expr>> {
    let (bare, alias) = match expr {
        Expr::Alias(alias) => (*alias.expr.clone(), Some(alias)),
        other => (other, None),
    };
    let known = bare.to_field(schema).ok().and_then(|(_, field)| style_of(&field));
    let marked = match (known, mark_of(&bare, schema)) {
        (None, Some(Style::Jsonb)) => as_jsonb(bare, schema)?,
        (None, Some(Style::Json)) => call("json", vec![bare])?,
        _ => {
            let whole = match alias {
                Some(alias) => Expr::Alias(alias),
                None => bare,
            };
            return Ok(Transformed::no(whole));
        }
    };
    Ok(Transformed::yes(match alias {
        Some(mut alias) => {
            alias.expr = Box::new(marked);
            Expr::Alias(alias)
        }
        None => marked,
    }))
}

fn change(expr: Expr, schema: &DFSchema) -> DfResult<Transformed<Expr>> {
    Ok(match &expr {
        Expr::Cast(Cast { expr: inner, field }) => match cast(inner, field.data_type(), schema)? {
            Some(cast) => Transformed::yes(cast),
            None => Transformed::no(expr),
        },
        Expr::InList(list) if mark_of(&list.expr, schema).is_some() => {
            Transformed::yes(in_list(list, schema)?)
        }
        Expr::BinaryExpr(BinaryExpr {
            left,
            op: op @ (Operator::IsDistinctFrom | Operator::IsNotDistinctFrom),
            right,
        }) if mark_of(left, schema).or(mark_of(right, schema)).is_some() => {
            let key = |side: &Expr| equality_key(side, schema);
            let (left, right) = (Box::new(key(left)?), Box::new(key(right)?));
            Transformed::yes(Expr::BinaryExpr(BinaryExpr::new(left, *op, right)))
        }
        Expr::Between(between) if mark_of(&between.expr, schema).is_some() => {
            return Err(match mark_of(&between.expr, schema) {
                Some(Style::Jsonb) => no_order(),
                _ => no_operator("json", ">=", &type_name(&between.low, schema)),
            }
            .into());
        }
        Expr::Like(like) | Expr::SimilarTo(like) => match mark_of(&like.expr, schema) {
            Some(style) => {
                let op = if like.case_insensitive { "~~*" } else { "~~" };
                return Err(no_operator(style.name(), op, "unknown").into());
            }
            None => Transformed::no(expr),
        },
        Expr::ScalarFunction(call) if call.name() == "pg_typeof" => {
            match call.args.first().and_then(|value| mark_of(value, schema)) {
                Some(style) => Transformed::yes(lit(style.name())),
                None => Transformed::no(expr),
            }
        }
        Expr::ScalarFunction(call) if call.name() == ROW_VALUE => {
            match call.args.as_slice() {
                // The tables around this query are not known here: `lateral.rs` looks.
                [value, _] if value.contains_outer() => Transformed::no(expr),
                [value, Expr::Literal(name, _)] => {
                    refuse_ambiguous(name.try_as_str().flatten().unwrap_or_default(), schema)?;
                    Transformed::yes(value.clone())
                }
                _ => Transformed::no(expr),
            }
        }
        Expr::ScalarFunction(call) if [quantified::ANY, quantified::ALL].contains(&call.name()) => {
            match call.args.get(1).and_then(|value| mark_of(value, schema)) {
                Some(Style::Jsonb) => {
                    let what = "ANY and ALL of values of jsonb are not supported";
                    return Err(Error::unsupported(what).with_hint("Use IN (…).").into());
                }
                Some(Style::Json) => return Err(no_operator("json", "=", "json").into()),
                None => Transformed::no(expr),
            }
        }
        Expr::ScalarFunction(call) if call.name() == "json_row_of" => match call.args.as_slice() {
            [row, Expr::Literal(name, _)] => {
                let name = name.try_as_str().flatten().unwrap_or_default();
                Transformed::yes(column_or_row(name, row, schema))
            }
            _ => Transformed::no(expr),
        },
        // A line for each row, as PostgreSQL has it.
        Expr::ScalarFunction(outer) if outer.name() == "json_element" => {
            match outer.args.as_slice() {
                [Expr::Column(column)] if column.name == ROW_COLUMN => {
                    Transformed::yes(call("json_line", outer.args.clone())?)
                }
                _ => Transformed::no(expr),
            }
        }
        Expr::AggregateFunction(aggregate) => {
            let of = aggregate.params.args.first().and_then(|value| mark_of(value, schema));
            if let (Some(style), name @ ("min" | "max" | "sum" | "avg")) =
                (of, aggregate.func.name())
            {
                let what = format!("function {name}({}) does not exist", style.name());
                return Err(Error::new(ErrorKind::UndefinedFunction, what)
                    .with_hint("Take a part of it, as text or number: (doc ->> 'n')::numeric.")
                    .into());
            }
            for key in &aggregate.params.order_by {
                refuse_order(&key.expr, schema)?;
            }
            Transformed::no(expr)
        }
        Expr::WindowFunction(window) => {
            for key in &window.params.order_by {
                refuse_order(&key.expr, schema)?;
            }
            Transformed::no(expr)
        }
        _ => Transformed::no(expr),
    })
}

/// A column of the name of a table is meant rather than the table's row.
fn column_or_row(name: &str, row: &Expr, schema: &DFSchema) -> Expr {
    let mut named = schema.iter().filter(|(_, field)| field.name() == name);
    match named.next() {
        Some((qualifier, field)) => Expr::Column(Column::new(qualifier.cloned(), field.name())),
        None => row.clone(),
    }
}

/// Makes an object of the other columns where a table's rows are asked for.
fn whole_rows(plan: LogicalPlan) -> DfResult<LogicalPlan> {
    let LogicalPlan::Projection(projection) = &plan else { return Ok(plan) };
    let is_row = |expr: &Expr| match expr {
        Expr::Alias(alias) => match alias.expr.as_ref() {
            Expr::ScalarFunction(call) => call.name() == "json_whole_row",
            _ => false,
        },
        _ => false,
    };
    if !projection.expr.iter().any(is_row) {
        return Ok(plan);
    }
    let mut parts = Vec::new();
    for expr in projection.expr.iter().filter(|expr| !is_row(expr)) {
        parts.push(lit(shown(expr.qualified_name().1.as_str())));
        parts.push(expr.clone().unalias());
    }
    let row = call("json_row", parts)?.alias(ROW_COLUMN);
    let columns = projection.expr.iter().map(|expr| match is_row(expr) {
        true => row.clone(),
        false => expr.clone(),
    });
    let input = Arc::clone(&projection.input);
    Ok(LogicalPlan::Projection(Projection::try_new(columns.collect(), input)?))
}

/// A column of the name of a table is meant rather than the table.
pub(in crate::session) fn refuse_ambiguous(name: &str, schema: &DFSchema) -> Result<()> {
    if schema.fields().iter().any(|field| field.name() == name) {
        let what = format!("\"{name}\" is a table and a column");
        return Err(Error::unsupported(what)
            .with_hint(format!("Write {name}.value for the table, or give it another name.")));
    }
    Ok(())
}

fn equality_key(side: &Expr, schema: &DFSchema) -> Result<Expr> {
    match mark_of(side, schema) {
        Some(Style::Json) => Err(no_operator("json", "=", "json")),
        None if !is_open(side) => Err(no_operator("jsonb", "=", &type_name(side, schema))),
        _ => call("jsonb_equality_key", vec![as_jsonb(side.clone(), schema)?]),
    }
}

fn in_list(list: &InList, schema: &DFSchema) -> Result<Expr> {
    let of = equality_key(&list.expr, schema)?;
    let among = list.list.iter().map(|value| equality_key(value, schema));
    Ok(Expr::InList(InList {
        expr: Box::new(of),
        list: among.collect::<Result<_>>()?,
        negated: list.negated,
    }))
}

/// JSON as text is a text; `jsonb` that is a number or a truth is that.
fn cast(inner: &Expr, to: &DataType, schema: &DFSchema) -> Result<Option<Expr>> {
    let Some(style) = mark_of(inner, schema) else { return Ok(None) };
    let name = regtype_name(to);
    let of =
        |function: &str| call(function, vec![as_jsonb(inner.clone(), schema)?, lit(name.clone())]);
    Ok(Some(match to {
        DataType::Utf8 => call("json_plain", vec![inner.clone()])?,
        to if to.is_string() => {
            Expr::Cast(Cast::new(Box::new(call("json_plain", vec![inner.clone()])?), to.clone()))
        }
        DataType::Boolean if style == Style::Jsonb => of("jsonb_truth")?,
        to if to.is_numeric() && style == Style::Jsonb => {
            Expr::Cast(Cast::new(Box::new(of("jsonb_number")?), to.clone()))
        }
        _ => {
            let what = format!("cannot cast type {} to {name}", style.name());
            return Err(Error::new(ErrorKind::CannotCast, what)
                .with_hint("Take it as text first: doc ->> 'key'."));
        }
    }))
}

fn refuse_order(key: &Expr, schema: &DFSchema) -> Result<()> {
    match mark_of(key, schema) {
        None => Ok(()),
        Some(Style::Jsonb) => Err(no_order()),
        Some(Style::Json) => Err(unidentified("an ordering")),
    }
}

fn unidentified(what: &str) -> Error {
    let what = format!("could not identify {what} operator for type json");
    Error::new(ErrorKind::UndefinedFunction, what).with_hint("CAST it to jsonb or to text.")
}

fn refuse(plan: &LogicalPlan, schema: &DFSchema) -> Result<()> {
    let is_json = |expr: &Expr| mark_of(expr, schema) == Some(Style::Json);
    match plan {
        LogicalPlan::Sort(sort) => {
            sort.expr.iter().try_for_each(|key| refuse_order(&key.expr, schema))
        }
        LogicalPlan::Aggregate(aggregate) if aggregate.group_expr.iter().any(is_json) => {
            Err(unidentified("an equality"))
        }
        LogicalPlan::Distinct(Distinct::All(input))
            if input.schema().fields().iter().any(|f| style_of(f) == Some(Style::Json)) =>
        {
            Err(unidentified("an equality"))
        }
        LogicalPlan::Distinct(Distinct::On(on)) if on.on_expr.iter().any(is_json) => {
            Err(unidentified("an equality"))
        }
        _ => Ok(()),
    }
}
