//! Functions and operators that go by another name underneath, or do something else under the same one.

use maru_core::{Error, ErrorKind, Result};
use maru_sql::ast::{
    BinaryOperator, CastKind, DataType, Expr, Function, FunctionArg, FunctionArgExpr,
    FunctionArguments, Ident, ObjectName, ObjectNamePart, TimezoneInfo, UnaryOperator, Value,
};

use super::literal;
use super::literals::call;
use crate::session::open_texts::are_left_alone;
use crate::session::{epoch, seconds};

/// PostgreSQL's name and the one underneath. That of arrays replaces all elements, not only the first.
const NAMES: &[(&str, &str)] = &[
    ("array_replace", "array_replace_all"),
    ("every", "bool_and"),
    ("gen_random_uuid", "uuid"),
    ("sign", "signum"),
    ("variance", "var_samp"),
];

/// Functions that give int4 in PostgreSQL, and a number without sign underneath.
const INTEGERS: &[&str] = &["array_length", "array_ndims", "array_position", "cardinality"];

/// Changes one call.
pub(super) fn expression(expr: &mut Expr) -> Result<()> {
    match expr {
        Expr::Function(function) => {
            let [ObjectNamePart::Identifier(name)] = function.name.0.as_slice() else {
                return Ok(());
            };
            let name = name.value.to_lowercase();
            if let Some((_, other)) = NAMES.iter().find(|(known, _)| *known == name) {
                function.name = ObjectName(vec![ObjectNamePart::Identifier(Ident::new(*other))]);
            } else if INTEGERS.contains(&name.as_str()) {
                let mut number = expr.clone();
                if name == "array_length" {
                    // An empty array has no dimension that could have a length.
                    let zero = Expr::value(Value::Number("0".to_owned(), false));
                    number = call("nullif", vec![cast(number, DataType::BigInt(None)), zero]);
                }
                *expr = cast(number, DataType::Int(None));
            } else if let ("mod", [left, right]) = (name.as_str(), arguments(function).as_slice()) {
                *expr = binary(left.clone(), BinaryOperator::Modulo, right.clone());
            } else if let ("date_part", [field, from]) =
                (name.as_str(), arguments(function).as_slice())
                && let Some(step) = literal(field).and_then(step_of)
            {
                *expr = cast(fraction(from.clone(), step), DataType::DoublePrecision);
            } else if let ("date_part", [field, from]) =
                (name.as_str(), arguments(function).as_slice())
                && let Some(part) = literal(field).and_then(calendar_part)
            {
                *expr = of_calendar(part, from.clone());
            } else if let ("age", [from]) = (name.as_str(), arguments(function).as_slice()) {
                *expr = call("age", vec![call("current_date", Vec::new()), from.clone()]);
            } else if let ("date_trunc", [field, moment, zone]) =
                (name.as_str(), arguments(function).as_slice())
            {
                let wall = call("timezone", vec![zone.clone(), moment.clone()]);
                let cut = call("date_trunc", vec![field.clone(), wall]);
                *expr = call("timezone", vec![zone.clone(), cut]);
            } else if name == "make_timestamptz" {
                let mut parts = arguments(function);
                let zone = if parts.len() == 7 { parts.pop() } else { None };
                let wall = call("make_timestamp", parts);
                *expr = match zone {
                    Some(zone) => call("timezone", vec![zone, wall]),
                    None => cast(wall, timestamp(TimezoneInfo::Tz)),
                };
            } else if let ("current_timestamp" | "now", [digits]) =
                (name.as_str(), arguments(function).as_slice())
            {
                *expr = cast(call("now", Vec::new()), rounded(digits, TimezoneInfo::Tz)?);
            } else if let ("localtimestamp", digits) =
                (name.as_str(), arguments(function).as_slice())
            {
                let to = match digits {
                    [digits] => rounded(digits, TimezoneInfo::None)?,
                    _ => timestamp(TimezoneInfo::None),
                };
                *expr = cast(call("now", Vec::new()), to);
            } else if name == "localtime" {
                let wall = cast(call("now", Vec::new()), timestamp(TimezoneInfo::None));
                *expr = cast(wall, DataType::Time(None, TimezoneInfo::None));
            } else if let ("nth_value", [_, place]) =
                (name.as_str(), arguments(function).as_slice())
                && is_before_first(place)
            {
                let what = "argument of nth_value must be greater than zero";
                return Err(Error::new(ErrorKind::InvalidParameter, what));
            } else if name == "regexp_replace" && is_replaced_otherwise(&arguments(function)) {
                let function_name = Ident::new("regexp_replace_from");
                function.name = ObjectName(vec![ObjectNamePart::Identifier(function_name)]);
            } else if name == "make_interval" {
                *expr = call("make_interval", parts_of_interval(function)?);
            }
        }
        // A word of SQL, and no column unless it is quoted.
        Expr::Identifier(Ident { value, quote_style: None, .. })
            if value.eq_ignore_ascii_case("current_schema") =>
        {
            *expr = call("current_schema", Vec::new());
        }
        Expr::Extract { field, expr: from, .. } => {
            // Other systems take a date for its midnight here too.
            if !are_left_alone() {
                refuse_clock_of_date(&field.to_string(), from)?;
            }
            if let Some(step) = step_of(&field.to_string()) {
                *expr = fraction((**from).clone(), step);
            } else if field.to_string().eq_ignore_ascii_case("epoch") {
                *expr = call(epoch::FUNCTION, vec![(**from).clone()]);
            } else if let Some(part) = calendar_part(&field.to_string()) {
                *expr = of_calendar(part, (**from).clone());
            }
        }
        Expr::Substring { expr: of, substring_from: Some(from), substring_for: None, .. }
            if literal(from).is_some() =>
        {
            *expr = call("substring_of_pattern", vec![(**of).clone(), (**from).clone()]);
        }
        Expr::AtTimeZone { timestamp, time_zone } => {
            *expr = call("timezone", vec![(**time_zone).clone(), (**timestamp).clone()]);
        }
        _ => {}
    }
    Ok(())
}

/// Returns whether a place that is written is zero, or counts from the end.
fn is_before_first(place: &Expr) -> bool {
    match place {
        Expr::Nested(inner) => is_before_first(inner),
        Expr::UnaryOp { op: UnaryOperator::Minus, .. } => true,
        Expr::Value(value) => {
            matches!(&value.value, Value::Number(digits, _) if digits.bytes().all(|b| b == b'0'))
        }
        _ => false,
    }
}

/// Returns whether the engine underneath would replace something else: from a place on, or by a text in which it reads another
/// escape than `\\1`. What it can replace it does many rows at a time.
fn is_replaced_otherwise(arguments: &[Expr]) -> bool {
    let plain = |text: &str| {
        let mut after = text.split('\\');
        let digits = |part: &str| part.chars().take_while(char::is_ascii_digit).count();
        !text.contains('$')
            && after.next().is_some()
            && after.all(|part| digits(part) == 1 && !part.starts_with('0'))
    };
    let replacement = arguments.get(2).and_then(literal);
    is_from_a_place(arguments) || arguments.len() > 2 && !replacement.is_some_and(plain)
}

/// Returns whether the fourth argument of `regexp_replace` is a number, and not its flags.
fn is_from_a_place(arguments: &[Expr]) -> bool {
    match arguments {
        [_, _, _, Expr::Value(value)] => matches!(value.value, Value::Number(..)),
        arguments => arguments.len() > 4,
    }
}

fn timestamp(zone: TimezoneInfo) -> DataType {
    DataType::Timestamp(Some(6), zone)
}

/// The type of `current_timestamp(digits)`.
///
/// # Errors
/// 0A000 for digits that timestamps cannot have.
fn rounded(digits: &Expr, zone: TimezoneInfo) -> Result<DataType> {
    let known = match digits {
        Expr::Value(value) => match &value.value {
            Value::Number(digits, _) => digits.parse().ok(),
            _ => None,
        },
        _ => None,
    };
    match known.filter(|digits| [0, 3, 6].contains(digits)) {
        Some(digits) => Ok(DataType::Timestamp(Some(digits), zone)),
        None => Err(Error::unsupported(format!("timestamps have no {digits} digits"))
            .with_hint("A second has 0, 3 or 6 of them.")),
    }
}

/// A date has no time of day; `date_part`, which takes it for its midnight, says zero.
///
/// # Errors
/// 0A000 where the text tells that it is a date.
fn refuse_clock_of_date(field: &str, from: &Expr) -> Result<()> {
    const FIELDS: [&str; 5] = ["hour", "minute", "second", "millisecond", "microsecond"];
    let field = field.to_lowercase();
    let is_clock = FIELDS.contains(&field.strip_suffix('s').unwrap_or(&field));
    match is_clock && is_date(from) {
        true => Err(Error::unsupported(format!("unit \"{field}\" not supported for type date"))
            .with_hint("CAST it to timestamp for the time of its midnight.")),
        false => Ok(()),
    }
}

/// Returns whether an expression is written as a date.
fn is_date(expr: &Expr) -> bool {
    match expr {
        Expr::Nested(inner) => is_date(inner),
        Expr::TypedString(text) => text.data_type == DataType::Date,
        Expr::Cast { data_type, .. } => *data_type == DataType::Date,
        Expr::Function(function) => function.name.to_string().eq_ignore_ascii_case("current_date"),
        _ => false,
    }
}

/// Parts of the calendar that the engine underneath does not know.
fn calendar_part(field: &str) -> Option<&'static str> {
    const PARTS: [&str; 7] = [
        "century",
        "decade",
        "julian",
        "millennium",
        "timezone",
        "timezone_hour",
        "timezone_minute",
    ];
    PARTS.into_iter().find(|part| part.eq_ignore_ascii_case(field))
}

fn of_calendar(part: &str, from: Expr) -> Expr {
    let part = Expr::value(Value::SingleQuotedString(part.to_owned()));
    call("calendar_part", vec![part, from])
}

/// Returns the seven parts of `make_interval`, those that are not written as zeros.
///
/// # Errors
/// 42883 for a name that is none of them, or too many.
fn parts_of_interval(function: &Function) -> Result<Vec<Expr>> {
    const NAMES: [&str; 7] = ["years", "months", "weeks", "days", "hours", "mins", "secs"];
    let mut parts = vec![Expr::value(Value::Number("0".to_owned(), false)); NAMES.len()];
    let FunctionArguments::List(list) = &function.args else { return Ok(parts) };
    for (at, argument) in list.args.iter().enumerate() {
        let named = |name: &str| NAMES.iter().position(|known| name.eq_ignore_ascii_case(known));
        let (at, value) = match argument {
            FunctionArg::Unnamed(FunctionArgExpr::Expr(value)) => (Some(at), Some(value)),
            FunctionArg::Named { name, arg: FunctionArgExpr::Expr(value), .. } => {
                (named(&name.value), Some(value))
            }
            FunctionArg::ExprNamed {
                name: Expr::Identifier(name),
                arg: FunctionArgExpr::Expr(value),
                ..
            } => (named(&name.value), Some(value)),
            _ => (None, None),
        };
        let (part, value) = at.and_then(|at| parts.get_mut(at)).zip(value).ok_or_else(|| {
            Error::new(ErrorKind::UndefinedFunction, "make_interval has no such argument")
                .with_hint(format!("Its arguments are {}.", NAMES.join(", ")))
        })?;
        *part = value.clone();
    }
    Ok(parts)
}

/// A part of the minute, and what to multiply microseconds by to have it.
fn step_of(field: &str) -> Option<&'static str> {
    match field.to_lowercase().as_str() {
        "second" | "seconds" => Some("0.000001"),
        "millisecond" | "milliseconds" => Some("0.001"),
        "microsecond" | "microseconds" => Some("1"),
        _ => None,
    }
}

fn fraction(from: Expr, step: &str) -> Expr {
    let microseconds = call(seconds::FUNCTION, vec![from]);
    let step = Expr::value(Value::Number(step.to_owned(), false));
    binary(microseconds, BinaryOperator::Multiply, step)
}

fn binary(left: Expr, op: BinaryOperator, right: Expr) -> Expr {
    let nested = |expr| Box::new(Expr::Nested(Box::new(expr)));
    Expr::Nested(Box::new(Expr::BinaryOp { left: nested(left), op, right: nested(right) }))
}

fn cast(expr: Expr, data_type: DataType) -> Expr {
    Expr::Cast { kind: CastKind::Cast, expr: Box::new(expr), data_type, array: false, format: None }
}

fn arguments(function: &Function) -> Vec<Expr> {
    let FunctionArguments::List(list) = &function.args else { return Vec::new() };
    let expr = |argument: &FunctionArg| match argument {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(expr.clone()),
        _ => None,
    };
    list.args.iter().map(expr).collect::<Option<Vec<_>>>().unwrap_or_default()
}
