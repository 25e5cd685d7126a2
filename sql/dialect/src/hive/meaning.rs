//! What of a query means the same in Hive, in Spark and here. By allow-list: the rest is refused by name.

use std::ops::ControlFlow;

use maru_core::{Error, Result};
use sqlparser::ast::{
    BinaryOperator, CastKind, DataType, ExactNumberInfo, Expr, Function, FunctionArg,
    FunctionArgExpr, FunctionArguments, GroupByExpr, Ident, JoinConstraint, JoinOperator,
    LimitClause, ObjectName, ObjectNamePart, OrderByExpr, OrderByKind, Query, Select, SelectItem,
    SetExpr, TableFactor, TableWithJoins, UnaryOperator, Value, VisitMut, VisitorMut, WindowType,
};

use super::Writer;
use super::functions;

/// Changes the query until it means here what it meant there; returns whether `*` stands in a list of columns.
pub(super) fn settle(query: &mut Query, writer: Writer) -> Result<bool> {
    let mut visitor = Settle { writer, has_wildcard: false };
    match query.visit(&mut visitor) {
        ControlFlow::Continue(()) => Ok(visitor.has_wildcard),
        ControlFlow::Break(error) => Err(error),
    }
}

pub(super) fn refused(what: impl std::fmt::Display) -> Error {
    Error::unsupported(format!("{what} in its query cannot be read"))
}

struct Settle {
    writer: Writer,
    has_wildcard: bool,
}

impl VisitorMut for Settle {
    type Break = Error;

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<Error> {
        flow(self.query(query))
    }

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<Error> {
        flow(self.select(select))
    }

    fn pre_visit_relation(&mut self, name: &mut ObjectName) -> ControlFlow<Error> {
        flow(relation(name))
    }

    fn pre_visit_table_factor(&mut self, table: &mut TableFactor) -> ControlFlow<Error> {
        flow(table_factor(table))
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Error> {
        flow(self.expression(expr))
    }
}

fn flow(result: Result<()>) -> ControlFlow<Error> {
    match result {
        Ok(()) => ControlFlow::Continue(()),
        Err(error) => ControlFlow::Break(error),
    }
}

impl Settle {
    fn query(&self, query: &mut Query) -> Result<()> {
        if query.with.as_ref().is_some_and(|with| with.recursive) {
            return Err(refused("WITH RECURSIVE"));
        }
        if query.fetch.is_some() || !query.locks.is_empty() || !query.pipe_operators.is_empty() {
            return Err(refused("FETCH, FOR or |>"));
        }
        set_operations(&query.body)?;
        let limited = match &query.limit_clause {
            None => false,
            Some(LimitClause::LimitOffset { offset: None, limit_by, .. })
                if limit_by.is_empty() =>
            {
                true
            }
            Some(_) => return Err(refused("OFFSET")),
        };
        match query.order_by.as_mut().map(|order_by| &mut order_by.kind) {
            None => Ok(()),
            Some(OrderByKind::Expressions(keys)) => self.order(keys, limited),
            Some(OrderByKind::All(_)) => Err(refused("ORDER BY ALL")),
        }
    }

    /// Where NULLs stand by default: here they are the largest value. Spark has them as the smallest, Hive as the smallest before
    /// 4.0 and always last from then on. Without a limit the order of a view's rows decides nothing.
    fn order(&self, keys: &mut [OrderByExpr], decides: bool) -> Result<()> {
        for key in keys.iter_mut().filter(|key| key.options.nulls_first.is_none()) {
            match self.writer {
                Writer::Spark => key.options.nulls_first = Some(key.options.asc != Some(false)),
                Writer::Hive if decides => {
                    return Err(refused("ORDER BY without NULLS FIRST or NULLS LAST").with_detail(
                        "Versions of Hive differ in where NULLs stand, and here it decides which rows there are.",
                    ));
                }
                Writer::Hive => {}
            }
        }
        Ok(())
    }

    fn select(&mut self, select: &mut Select) -> Result<()> {
        let absent = [
            ("LATERAL VIEW", select.lateral_views.is_empty()),
            ("CLUSTER BY", select.cluster_by.is_empty()),
            ("DISTRIBUTE BY", select.distribute_by.is_empty()),
            ("SORT BY", select.sort_by.is_empty()),
            ("WINDOW", select.named_window.is_empty()),
            ("QUALIFY", select.qualify.is_none()),
            ("CONNECT BY", select.connect_by.is_empty()),
            ("TOP", select.top.is_none()),
            ("INTO", select.into.is_none()),
        ];
        if let Some((what, _)) = absent.iter().find(|(_, is_absent)| !is_absent) {
            return Err(refused(what));
        }
        select.from.iter_mut().for_each(cross);
        self.has_wildcard |= select.projection.iter().any(|item| {
            matches!(item, SelectItem::Wildcard(_) | SelectItem::QualifiedWildcard(..))
        });
        let GroupByExpr::Expressions(keys, modifiers) = &select.group_by else {
            return Err(refused("GROUP BY ALL"));
        };
        if !modifiers.is_empty() {
            return Err(refused("GROUP BY with ROLLUP or CUBE"));
        }
        // Hive groups by the number itself, unless it is told otherwise.
        let number =
            |key: &Expr| matches!(key, Expr::Value(v) if matches!(v.value, Value::Number(..)));
        if self.writer == Writer::Hive && keys.iter().any(number) {
            return Err(refused("GROUP BY with a number"));
        }
        Ok(())
    }

    fn expression(&self, expr: &mut Expr) -> Result<()> {
        match expr {
            Expr::Identifier(name) => name_of(name),
            Expr::CompoundIdentifier(names) => names.iter().try_for_each(name_of),
            Expr::IsFalse(_)
            | Expr::IsNotFalse(_)
            | Expr::IsTrue(_)
            | Expr::IsNotTrue(_)
            | Expr::IsNull(_)
            | Expr::IsNotNull(_)
            | Expr::IsDistinctFrom(..)
            | Expr::IsNotDistinctFrom(..)
            | Expr::InList { .. }
            | Expr::InSubquery { .. }
            | Expr::Between { .. }
            | Expr::Nested(_)
            | Expr::Case { .. }
            | Expr::Exists { .. }
            | Expr::Subquery(_) => Ok(()),
            Expr::Like { any: false, escape_char: None, .. } => Ok(()),
            Expr::BinaryOp { op, .. } => operator(op),
            Expr::UnaryOp {
                op: UnaryOperator::Not | UnaryOperator::Minus | UnaryOperator::Plus,
                ..
            } => Ok(()),
            Expr::Cast {
                kind: CastKind::Cast | CastKind::DoubleColon,
                data_type,
                format: None,
                array: false,
                ..
            } => data_type_of(data_type),
            Expr::Value(value) => match &value.value {
                Value::Number(..)
                | Value::SingleQuotedString(_)
                | Value::Boolean(_)
                | Value::Null => Ok(()),
                other => Err(refused(other)),
            },
            Expr::TypedString(typed)
                if matches!(typed.data_type, DataType::Date | DataType::Timestamp(None, _)) =>
            {
                Ok(())
            }
            Expr::Trim { trim_where: None, trim_what: None, trim_characters: None, .. } => Ok(()),
            Expr::Substring { expr: text, substring_from, substring_for, .. } => {
                let from = substring_from.as_deref();
                functions::substring_parts(from, substring_for.as_deref())?;
                let _ = text;
                Ok(())
            }
            Expr::Function(function) => {
                self.windows(function)?;
                if let Some(other) = functions::meant(function)? {
                    *expr = other;
                }
                Ok(())
            }
            other => Err(refused(format!("\"{other}\""))),
        }
    }

    fn windows(&self, function: &mut Function) -> Result<()> {
        match &mut function.over {
            None => Ok(()),
            Some(WindowType::WindowSpec(window)) if window.window_name.is_none() => {
                self.order(&mut window.order_by, true)
            }
            Some(_) => Err(refused("a named window")),
        }
    }
}

fn name_of(name: &Ident) -> Result<()> {
    match name.quote_style {
        None | Some('"') => Ok(()),
        Some(_) => Err(refused(name)),
    }
}

/// `INTERSECT` binds closer than `UNION` in Spark, and not in all versions of Hive.
fn set_operations(body: &SetExpr) -> Result<()> {
    match body {
        SetExpr::Select(_) | SetExpr::Query(_) => Ok(()),
        SetExpr::SetOperation { left, op, right, .. } => {
            for side in [left, right] {
                if let SetExpr::SetOperation { op: inner, .. } = side.as_ref()
                    && inner != op
                {
                    return Err(refused(format!("{op} beside {inner} without parentheses")));
                }
                set_operations(side)?;
            }
            Ok(())
        }
        other => Err(refused(format!("\"{other}\""))),
    }
}

/// Keeps a name of one or two parts: a third is Spark's or Hive's own name of the catalog that this is.
fn relation(name: &mut ObjectName) -> Result<()> {
    let is_plain = |part: &ObjectNamePart| matches!(part, ObjectNamePart::Identifier(name) if name_of(name).is_ok());
    if !name.0.iter().all(is_plain) {
        return Err(refused(format!("table \"{name}\"")));
    }
    let is_ours = |part: &ObjectNamePart| {
        matches!(part, ObjectNamePart::Identifier(name)
            if ["spark_catalog", "hive"].contains(&name.value.to_lowercase().as_str()))
    };
    match name.0.len() {
        1 | 2 => Ok(()),
        3 if is_ours(&name.0[0]) => {
            name.0.remove(0);
            Ok(())
        }
        _ => Err(refused(format!("table {name} of another catalog"))),
    }
}

/// A join without a condition is of all pairs of rows there, and is none here.
fn cross(from: &mut TableWithJoins) {
    let within = |table: &mut TableFactor| {
        if let TableFactor::NestedJoin { table_with_joins, .. } = table {
            cross(table_with_joins);
        }
    };
    within(&mut from.relation);
    for join in &mut from.joins {
        within(&mut join.relation);
        if let JoinOperator::Join(JoinConstraint::None)
        | JoinOperator::Inner(JoinConstraint::None) = &join.join_operator
        {
            join.join_operator = JoinOperator::CrossJoin(JoinConstraint::None);
        }
    }
}

fn table_factor(table: &TableFactor) -> Result<()> {
    match table {
        TableFactor::Table {
            args: None,
            version: None,
            sample: None,
            with_ordinality: false,
            json_path: None,
            with_hints,
            partitions,
            index_hints,
            ..
        } if with_hints.is_empty() && partitions.is_empty() && index_hints.is_empty() => Ok(()),
        TableFactor::Derived { lateral: false, sample: None, .. }
        | TableFactor::NestedJoin { .. } => Ok(()),
        other => Err(refused(format!("\"{other}\""))),
    }
}

/// `^`, `&` and `|` bind otherwise there, `/` is looked at when types are known.
fn operator(op: &BinaryOperator) -> Result<()> {
    use BinaryOperator::{
        And, Divide, Eq, Gt, GtEq, Lt, LtEq, Minus, Modulo, Multiply, NotEq, Or, Plus, StringConcat,
    };
    match op {
        And | Or | Eq | NotEq | Lt | LtEq | Gt | GtEq | Plus | Minus | Multiply | Divide
        | Modulo | StringConcat => Ok(()),
        other => Err(refused(format!("operator {other}"))),
    }
}

/// Gives a type the name that means it here.
fn data_type_of(data_type: &mut DataType) -> Result<()> {
    let meant = match data_type {
        DataType::String(None) | DataType::Text => DataType::Text,
        DataType::Boolean => DataType::Boolean,
        DataType::TinyInt(None) | DataType::SmallInt(None) => DataType::SmallInt(None),
        DataType::Int(None) | DataType::Integer(None) => DataType::Integer(None),
        DataType::BigInt(None) => DataType::BigInt(None),
        DataType::Float(ExactNumberInfo::None) | DataType::Real => DataType::Real,
        DataType::Double(ExactNumberInfo::None) | DataType::DoublePrecision => {
            DataType::DoublePrecision
        }
        DataType::Decimal(info) | DataType::Numeric(info) | DataType::Dec(info) => {
            DataType::Decimal(match *info {
                ExactNumberInfo::None => ExactNumberInfo::PrecisionAndScale(10, 0),
                ExactNumberInfo::Precision(digits) => ExactNumberInfo::PrecisionAndScale(digits, 0),
                known => known,
            })
        }
        DataType::Date => DataType::Date,
        DataType::Timestamp(None, zone) => DataType::Timestamp(None, *zone),
        other => return Err(refused(format!("a cast to {other}"))),
    };
    *data_type = meant;
    Ok(())
}

/// Returns the arguments of a call that has nothing but expressions between its parentheses.
pub(super) fn arguments(function: &Function) -> Option<Vec<Expr>> {
    let FunctionArguments::List(list) = &function.args else { return None };
    if list.duplicate_treatment.is_some() || !list.clauses.is_empty() {
        return None;
    }
    let expr = |argument: &FunctionArg| match argument {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(expr.clone()),
        _ => None,
    };
    list.args.iter().map(expr).collect()
}
