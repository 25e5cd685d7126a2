//! What an expression means there and here, once its types are known.
//!
//! Hive and Spark cast where a text meets a number, divide integers to fractions, and cut off digits where PostgreSQL rounds.
//! Only what gives the same value is let through; a cast that fails is NULL there and an error here, which is no wrong row.

use arrow::datatypes::{DataType, TimeUnit};
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::error::{DataFusionError, Result as DfResult};
use datafusion::logical_expr::expr::{AggregateFunction, Cast, ScalarFunction};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::{BinaryExpr, Expr, ExprSchemable, LogicalPlan, Operator};
use maru_core::{Error, Result};

/// Checks every expression of a plan, and changes divisions.
///
/// # Errors
/// 0A000 for an expression that may have another value there.
pub(super) fn settle(plan: LogicalPlan) -> Result<LogicalPlan> {
    let settled = plan.transform_up_with_subqueries(|plan| {
        let mut schema = DFSchema::empty();
        for input in plan.inputs() {
            schema.merge(input.schema());
        }
        if plan.inputs().is_empty() {
            schema.merge(plan.schema());
        }
        node(&plan)?;
        let preserver = NamePreserver::new(&plan);
        plan.map_expressions(|expr| {
            let name = preserver.save(&expr);
            let changed = expr.transform_up(|expr| expression(expr, &schema))?;
            Ok(changed.update_data(|expr| name.restore(expr)))
        })?
        .map_data(LogicalPlan::recompute_schema)
    });
    Ok(settled.data()?)
}

/// What stands in a plan itself: the sides of a union, the keys of `USING`.
fn node(plan: &LogicalPlan) -> DfResult<()> {
    match plan {
        LogicalPlan::Union(union) => {
            let Some((first, others)) = union.inputs.split_first() else { return Ok(()) };
            for other in others {
                for (a, b) in first.schema().fields().iter().zip(other.schema().fields()) {
                    fit("UNION", &Side::of_type(a.data_type()), &Side::of_type(b.data_type()))?;
                }
            }
            Ok(())
        }
        LogicalPlan::Join(join) => join.on.iter().try_for_each(|(left, right)| {
            let left = Side::of(left, join.left.schema());
            fit("=", &left, &Side::of(right, join.right.schema()))
        }),
        _ => Ok(()),
    }
}

/// Types that behave alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    Integer,
    /// Of so many digits.
    Decimal(u8),
    Real,
    Double,
    Text,
    Boolean,
    Date,
    Time,
    Null,
    Other,
}

impl Class {
    fn of(data_type: &DataType) -> Self {
        match data_type {
            // What is summed up.
            DataType::Decimal128(_, 0) | DataType::Decimal256(_, 0) => Self::Integer,
            DataType::Decimal128(precision, _) | DataType::Decimal256(precision, _) => {
                Self::Decimal(*precision)
            }
            DataType::Float32 => Self::Real,
            DataType::Float64 => Self::Double,
            DataType::Boolean => Self::Boolean,
            DataType::Date32 => Self::Date,
            DataType::Timestamp(TimeUnit::Microsecond | TimeUnit::Nanosecond, None) => Self::Time,
            DataType::Null => Self::Null,
            other if other.is_integer() => Self::Integer,
            other if other.is_string() => Self::Text,
            _ => Self::Other,
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Integer => "an integer",
            Self::Decimal(_) => "a decimal",
            Self::Real => "a float",
            Self::Double => "a double",
            Self::Text => "a text",
            Self::Boolean => "a boolean",
            Self::Date => "a date",
            Self::Time => "a timestamp",
            Self::Null => "NULL",
            Self::Other => "a value of another type",
        }
    }
}

/// One side of an operator.
struct Side {
    class: Class,
    data_type: Option<DataType>,
    /// The text, if it is one that is written out.
    literal: Option<String>,
}

impl Side {
    fn of(expr: &Expr, schema: &DFSchema) -> Self {
        let literal = match expr {
            Expr::Literal(ScalarValue::Utf8(Some(text)), _) => Some(text.clone()),
            _ => None,
        };
        let data_type = expr.get_type(schema).ok();
        let class = data_type.as_ref().map_or(Class::Other, Class::of);
        Self { class, data_type, literal }
    }

    fn of_type(data_type: &DataType) -> Self {
        Self { class: Class::of(data_type), data_type: Some(data_type.clone()), literal: None }
    }

    fn unquoted(mut self) -> Self {
        self.literal = None;
        self
    }

    /// Whether a text that is written out means the same date or number to everybody.
    fn is_plain_literal(&self, class: Class) -> bool {
        let Some(text) = &self.literal else { return false };
        let digits = |text: &str, n: std::ops::RangeInclusive<usize>| {
            n.contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit())
        };
        let is_date = |text: &str| {
            let parts = text.split('-').collect::<Vec<_>>();
            matches!(parts.as_slice(), [y, m, d] if digits(y, 4..=4) && digits(m, 2..=2) && digits(d, 2..=2))
        };
        let is_time = |text: &str| {
            let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
            let parts = whole.split(':').collect::<Vec<_>>();
            parts.len() == 3
                && parts.iter().all(|part| digits(part, 2..=2))
                && digits(fraction, 1..=6)
        };
        match class {
            Class::Date => is_date(text),
            Class::Time => {
                is_date(text) || text.split_once(' ').is_some_and(|(d, t)| is_date(d) && is_time(t))
            }
            Class::Integer => digits(text.strip_prefix('-').unwrap_or(text), 1..=18),
            _ => false,
        }
    }
}

fn refused(what: impl Into<String>) -> DataFusionError {
    Error::unsupported(what).into()
}

/// Checks that two values are compared (or put in one column) as they are there.
fn fit(what: &str, a: &Side, b: &Side) -> DfResult<()> {
    use Class::{Date, Decimal, Double, Integer, Null, Text, Time};
    let same = match (a.class, b.class) {
        (Class::Other, Class::Other) => a.data_type.is_some() && a.data_type == b.data_type,
        (Decimal(_), Decimal(_)) | (Null, _) | (_, Null) => true,
        (Integer, Decimal(_) | Double) | (Decimal(_) | Double, Integer) => true,
        // Up to so many digits a decimal is a double, too.
        (Decimal(digits), Double) | (Double, Decimal(digits)) => digits <= 15,
        (Date, Time) | (Time, Date) => true,
        (Text, other @ (Date | Time | Integer)) => a.is_plain_literal(other),
        (other @ (Date | Time | Integer), Text) => b.is_plain_literal(other),
        (a, b) => a == b,
    };
    if same {
        return Ok(());
    }
    Err(refused(format!(
        "{what} with {} and {} has no meaning that all systems share",
        a.class.word(),
        b.class.word()
    )))
}

fn expression(expr: Expr, schema: &DFSchema) -> DfResult<Transformed<Expr>> {
    let side = |expr: &Expr| Side::of(expr, schema);
    match &expr {
        Expr::BinaryExpr(operation) => return binary(operation.clone(), schema),
        Expr::Like(like) => both_text("LIKE", &side(&like.expr), &side(&like.pattern))?,
        Expr::Between(between) => {
            let value = side(&between.expr);
            fit("BETWEEN", &value, &side(&between.low))?;
            fit("BETWEEN", &value, &side(&between.high))?;
        }
        Expr::InList(list) => {
            let value = side(&list.expr);
            list.list.iter().try_for_each(|one| fit("IN", &value, &side(one)))?;
        }
        Expr::InSubquery(within) => {
            let given = within.subquery.subquery.schema().field(0).data_type();
            fit("IN", &side(&within.expr), &Side::of_type(given))?;
        }
        Expr::Case(case) => {
            let results = case.when_then_expr.iter().map(|(_, then)| then);
            let results = results.chain(&case.else_expr).map(|then| side(then).unquoted());
            alike("CASE", &results.collect::<Vec<_>>())?;
            if let Some(operand) = &case.expr {
                let operand = side(operand);
                case.when_then_expr
                    .iter()
                    .try_for_each(|(when, _)| fit("CASE", &operand, &side(when)))?;
            }
        }
        Expr::Cast(cast) => {
            let given = side(&cast.expr);
            let target = cast.field.data_type();
            if !given.is_plain_literal(Class::of(target)) {
                let given = given.data_type.unwrap_or(DataType::Null);
                check_cast(&given, target)?;
            }
        }
        Expr::ScalarFunction(call) => function(call, schema)?,
        Expr::AggregateFunction(call) => aggregate(call, schema)?,
        Expr::WindowFunction(window) if matches!(window.fun.name(), "sum" | "avg") => {
            let argument = window.params.args.first().map(side);
            sums(window.fun.name(), argument)?;
        }
        _ => {}
    }
    Ok(Transformed::no(expr))
}

fn both_text(what: &str, a: &Side, b: &Side) -> DfResult<()> {
    let is_text = |side: &Side| matches!(side.class, Class::Text | Class::Null);
    if is_text(a) && is_text(b) {
        Ok(())
    } else {
        Err(refused(format!("{what} of other than texts")))
    }
}

fn alike(what: &str, sides: &[Side]) -> DfResult<()> {
    let known = sides.iter().filter(|side| side.class != Class::Null).collect::<Vec<_>>();
    let Some((first, others)) = known.split_first() else { return Ok(()) };
    others.iter().try_for_each(|other| fit(what, first, other))
}

fn binary(operation: BinaryExpr, schema: &DFSchema) -> DfResult<Transformed<Expr>> {
    use Class::{Date, Decimal, Double, Integer, Null, Real, Text};
    let (a, b) = (Side::of(&operation.left, schema), Side::of(&operation.right, schema));
    let op = operation.op;
    match op {
        Operator::And | Operator::Or => {}
        Operator::StringConcat => {
            let is_text = |side: &Side| matches!(side.class, Text | Integer | Null);
            if !is_text(&a) || !is_text(&b) {
                let text = format!("joining {} and {} to a text", a.class.word(), b.class.word());
                return Err(refused(format!("{text} may write them otherwise")));
            }
        }
        Operator::Plus | Operator::Minus if a.class == Date => match (op, b.class) {
            (_, Integer) | (Operator::Minus, Date) => {}
            _ => return Err(refused(format!("{op} with a date and {}", b.class.word()))),
        },
        Operator::Plus | Operator::Minus | Operator::Multiply | Operator::Modulo => {
            let (a, b) = (a.unquoted(), b.unquoted());
            for side in [&a, &b] {
                if !matches!(side.class, Integer | Decimal(_) | Real | Double | Null) {
                    return Err(refused(format!("{op} with {}", side.class.word())));
                }
            }
            fit(&op.to_string(), &a, &b)?;
        }
        Operator::Divide => {
            let double = |expr| Box::new(Expr::Cast(Cast::new(expr, DataType::Float64)));
            return match (a.class, b.class) {
                (Double, Double | Integer) | (Integer, Double) => {
                    Ok(Transformed::no(Expr::BinaryExpr(operation)))
                }
                // There it has a fraction.
                (Integer, Integer) => {
                    let (left, right) = (double(operation.left), double(operation.right));
                    Ok(Transformed::yes(Expr::BinaryExpr(BinaryExpr { left, op, right })))
                }
                (a, b) => Err(refused(format!(
                    "/ with {} and {} has digits that systems choose differently",
                    a.word(),
                    b.word()
                ))),
            };
        }
        other => fit(&other.to_string(), &a, &b)?,
    }
    Ok(Transformed::no(Expr::BinaryExpr(operation)))
}

fn function(call: &ScalarFunction, schema: &DFSchema) -> DfResult<()> {
    let sides = call.args.iter().map(|arg| Side::of(arg, schema)).collect::<Vec<_>>();
    let is =
        |side: &Side, classes: &[Class]| side.class == Class::Null || classes.contains(&side.class);
    let fits = match call.name() {
        "upper" | "lower" | "btrim" | "ltrim" | "rtrim" | "character_length" | "length"
        | "replace" => sides.iter().all(|side| is(side, &[Class::Text])),
        "substr" => sides.first().is_none_or(|side| is(side, &[Class::Text])),
        "date_part" => sides.get(1).is_none_or(|side| is(side, &[Class::Date, Class::Time])),
        "coalesce" | "nullif" => {
            let sides = sides.into_iter().map(Side::unquoted).collect::<Vec<_>>();
            return alike(call.name(), &sides);
        }
        _ => true,
    };
    if fits {
        return Ok(());
    }
    let given = sides.iter().map(|side| side.class.word()).collect::<Vec<_>>().join(", ");
    Err(refused(format!("{} of {given}", call.name())))
}

fn aggregate(call: &AggregateFunction, schema: &DFSchema) -> DfResult<()> {
    sums(call.func.name(), call.params.args.first().map(|arg| Side::of(arg, schema)))
}

/// The average of decimals has digits of its own in every system, the sum of floats its own precision.
fn sums(name: &str, argument: Option<Side>) -> DfResult<()> {
    let Some(argument) = argument else { return Ok(()) };
    let fits = match (name, argument.class) {
        ("sum", Class::Integer | Class::Decimal(_) | Class::Double) => true,
        ("avg", Class::Integer | Class::Double) => true,
        ("sum" | "avg", _) => false,
        _ => true,
    };
    if fits { Ok(()) } else { Err(refused(format!("{name} of {}", argument.class.word()))) }
}

/// Checks that a cast gives the same value there, where it gives one.
///
/// # Errors
/// 0A000 for a cast that cuts off or writes digits otherwise, or reads other texts.
pub(super) fn check_cast(from: &DataType, to: &DataType) -> Result<()> {
    use Class::{Boolean, Date, Decimal, Double, Integer, Null, Real, Text, Time};
    let same = match (Class::of(from), Class::of(to)) {
        _ if from == to => true,
        (Null, _) | (Text, Text | Integer) => true,
        (Integer, Integer | Double | Real | Decimal(_) | Text | Boolean) => true,
        (Boolean, Integer) => true,
        (Decimal(_), Decimal(_) | Text) => true,
        (Decimal(digits), Double) => digits <= 15,
        (Real, Double) | (Double, Real) => true,
        (Date, Text | Time) | (Time, Date | Time) => true,
        _ => false,
    };
    if same {
        return Ok(());
    }
    let (from, to) = (Class::of(from).word(), Class::of(to).word());
    Err(Error::unsupported(format!("the cast of {from} to {to} may give another value here")))
}
