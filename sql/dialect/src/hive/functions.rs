//! Functions that are known to give the same in Hive, in Spark and here, by one name or another.

use maru_core::Result;
use sqlparser::ast::{
    BinaryOperator, CaseWhen, CastKind, DataType, DateTimeField, Expr, ExtractSyntax, Function,
    FunctionArg, FunctionArgExpr, FunctionArgumentList, FunctionArguments, Ident, ObjectName,
    ObjectNamePart, Value, helpers::attached_token::AttachedToken,
};

use super::meaning::{arguments, refused};

/// Functions of rows that are the same under the same name.
const ALIKE: &[&str] =
    &["abs", "coalesce", "length", "lower", "ltrim", "nullif", "replace", "rtrim", "upper"];

/// Aggregates and functions of windows. What they make of types is looked at when types are known.
const OVER_ROWS: &[&str] = &[
    "avg",
    "count",
    "dense_rank",
    "lag",
    "lead",
    "max",
    "min",
    "ntile",
    "rank",
    "row_number",
    "sum",
];

/// The same by another name.
const RENAMED: &[(&str, &str)] = &[
    ("char_length", "length"),
    ("character_length", "length"),
    ("ifnull", "coalesce"),
    ("lcase", "lower"),
    ("nvl", "coalesce"),
    ("trim", "btrim"),
    ("ucase", "upper"),
];

/// Returns what to say in place of a call, if it is not the call itself.
///
/// # Errors
/// 0A000 for every function that is not known to be the same.
pub(super) fn meant(function: &mut Function) -> Result<Option<Expr>> {
    let unknown = |function: &Function| refused(format!("function {}", function.name));
    let [ObjectNamePart::Identifier(name)] = function.name.0.as_slice() else {
        return Err(unknown(function));
    };
    let name = name.value.to_lowercase();
    let is_plain = function.filter.is_none()
        && function.null_treatment.is_none()
        && function.within_group.is_empty()
        && !function.uses_odbc_syntax
        && matches!(function.parameters, FunctionArguments::None);
    if !is_plain {
        return Err(unknown(function));
    }
    if OVER_ROWS.contains(&name.as_str()) {
        return Ok(None);
    }
    if function.over.is_some() {
        return Err(unknown(function));
    }
    let Some(mut given) = arguments(function) else { return Err(unknown(function)) };
    if ALIKE.contains(&name.as_str()) {
        return Ok(None);
    }
    if let Some((_, other)) = RENAMED.iter().find(|(known, _)| *known == name) {
        return Ok(Some(call(other, given)));
    }
    let mut take = || Box::new(given.remove(0));
    Ok(Some(match (name.as_str(), arguments(function).map_or(0, |all| all.len())) {
        // Here `concat` passes over NULL; there it gives NULL.
        ("concat", 1..) => {
            let joined = given.into_iter().map(nested);
            let joined = joined.reduce(|a, b| binary(a, BinaryOperator::StringConcat, b));
            nested(joined.ok_or_else(|| unknown(function))?)
        }
        ("isnull", 1) => nested(Expr::IsNull(Box::new(nested(*take())))),
        ("isnotnull", 1) => nested(Expr::IsNotNull(Box::new(nested(*take())))),
        ("if", 2 | 3) => {
            let (condition, result) = (*take(), *take());
            Expr::Case {
                case_token: AttachedToken::empty(),
                end_token: AttachedToken::empty(),
                operand: None,
                conditions: vec![CaseWhen { condition, result }],
                else_result: given.pop().map(Box::new),
            }
        }
        ("substr" | "substring", 2 | 3) => {
            substring_parts(given.get(1), given.get(2))?;
            call("substr", given)
        }
        ("date_add", 2) => day(*take(), BinaryOperator::Plus, *take()),
        ("date_sub", 2) => day(*take(), BinaryOperator::Minus, *take()),
        ("datediff", 2) => day(*take(), BinaryOperator::Minus, *take()),
        ("to_date", 1) => cast(*take(), DataType::Date),
        ("year", 1) => part(DateTimeField::Year, take()),
        ("quarter", 1) => part(DateTimeField::Quarter, take()),
        ("month", 1) => part(DateTimeField::Month, take()),
        ("day" | "dayofmonth", 1) => part(DateTimeField::Day, take()),
        ("hour", 1) => part(DateTimeField::Hour, take()),
        ("minute", 1) => part(DateTimeField::Minute, take()),
        _ => return Err(unknown(function)),
    }))
}

/// Counted from the first character both say the same; from the end, or from 0, they do not.
pub(super) fn substring_parts(from: Option<&Expr>, length: Option<&Expr>) -> Result<()> {
    let number = |expr: &Expr| match expr {
        Expr::Value(value) => match &value.value {
            Value::Number(text, _) => text.parse::<u32>().ok(),
            _ => None,
        },
        _ => None,
    };
    let starts = from.and_then(number).is_some_and(|from| from > 0);
    if starts && length.is_none_or(|length| number(length).is_some()) {
        return Ok(());
    }
    Err(refused("substr with other than numbers above 0"))
}

fn day(left: Expr, op: BinaryOperator, right: Expr) -> Expr {
    nested(binary(nested(left), op, nested(right)))
}

fn part(field: DateTimeField, from: Box<Expr>) -> Expr {
    let extract = Expr::Extract { field, syntax: ExtractSyntax::From, expr: from };
    cast(extract, DataType::Integer(None))
}

fn nested(expr: Expr) -> Expr {
    Expr::Nested(Box::new(expr))
}

fn binary(left: Expr, op: BinaryOperator, right: Expr) -> Expr {
    Expr::BinaryOp { left: Box::new(left), op, right: Box::new(right) }
}

fn cast(expr: Expr, data_type: DataType) -> Expr {
    Expr::Cast { kind: CastKind::Cast, expr: Box::new(expr), data_type, array: false, format: None }
}

fn call(name: &str, args: Vec<Expr>) -> Expr {
    let argument = |expr| FunctionArg::Unnamed(FunctionArgExpr::Expr(expr));
    Expr::Function(Function {
        name: ObjectName(vec![ObjectNamePart::Identifier(Ident::new(name))]),
        uses_odbc_syntax: false,
        parameters: FunctionArguments::None,
        args: FunctionArguments::List(FunctionArgumentList {
            duplicate_treatment: None,
            args: args.into_iter().map(argument).collect(),
            clauses: Vec::new(),
        }),
        filter: None,
        null_treatment: None,
        over: None,
        within_group: Vec::new(),
    })
}
