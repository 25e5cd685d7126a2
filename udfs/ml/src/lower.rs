//! From the words of TRANSFORM to chains of transforms over columns that ordinary SQL gives.

use std::ops::ControlFlow;

use maru_core::{Error, ErrorKind, Result};
use maru_ml_kernels::pipeline::Plan;
use maru_ml_kernels::transform::{Arguments, Literal};
use maru_sql::ast::{
    self, Expr, FunctionArg, FunctionArgExpr, FunctionArguments, SelectItem, Value,
};

/// Chains, and the SQL expressions that they begin with.
#[derive(Debug, Clone, Default)]
pub struct Lowered {
    /// What the engine computes of the query's columns: a name and an expression.
    pub leaves: Vec<(String, Expr)>,
    /// So many leaves prediction needs; those after them only TRAIN WHERE looks at.
    pub n_inputs: usize,
    /// What training learns from: names and chains.
    pub plans: Vec<(String, Plan)>,
    /// What the condition of TRAIN WHERE looks at: names and chains.
    pub scores: Vec<(String, Plan)>,
    /// The condition, with those names in the place of chains.
    pub condition: Option<Expr>,
}

/// Returns what an identifier means, folded as PostgreSQL does.
pub fn fold(ident: &ast::Ident) -> String {
    match ident.quote_style {
        Some(_) => ident.value.clone(),
        None => ident.value.to_lowercase(),
    }
}

/// Returns the name of a column that is taken as it is.
fn column_name(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Identifier(ident) => Some(fold(ident)),
        Expr::CompoundIdentifier(parts) => parts.last().map(fold),
        Expr::Nested(inner) => column_name(inner),
        _ => None,
    }
}

/// Returns the name of a call of `ML.name(…)`, in lower case.
fn ml_call(expr: &Expr) -> Option<(String, &ast::Function)> {
    let Expr::Function(function) = expr else { return None };
    let parts = function.name.0.iter().filter_map(|part| part.as_ident()).collect::<Vec<_>>();
    match parts.as_slice() {
        [schema, name] if schema.value.eq_ignore_ascii_case("ml") => {
            Some((name.value.to_lowercase(), function))
        }
        _ => None,
    }
}

/// Returns whether a transform is called anywhere in an expression.
fn calls_ml(expr: &Expr) -> bool {
    ast::visit_expressions(expr, |inner| match ml_call(inner) {
        Some(_) => ControlFlow::Break(()),
        None => ControlFlow::Continue(()),
    })
    .is_break()
}

/// Reads TRANSFORM and TRAIN WHERE. `columns` are those of the query; without TRANSFORM each is taken as it is. Columns in
/// `apart` (the label, the weight, the split) are left out of what is learnt from.
///
/// # Errors
/// 42883 for a transform that does not exist, 0A000 for SQL around one and for a column of `apart` that is computed, 42701
/// for a name given twice.
pub fn lower(
    transform: &[SelectItem],
    train_where: Option<&Expr>,
    columns: &[String],
    apart: &[String],
) -> Result<Lowered> {
    let mut lowered = Lowered::default();
    let mut items = Vec::<(String, Expr)>::new();
    let every = |items: &mut Vec<(String, Expr)>| {
        for column in columns {
            items.push((column.clone(), Expr::Identifier(ast::Ident::with_quote('"', column))));
        }
    };
    if transform.is_empty() {
        every(&mut items);
    }
    for item in transform {
        match item {
            SelectItem::UnnamedExpr(expr) => {
                let name = column_name(expr).or_else(|| ml_call(expr).map(|(name, _)| name));
                let name = name.unwrap_or_else(|| format!("f{}", items.len()));
                items.push((name, expr.clone()));
            }
            SelectItem::ExprWithAlias { expr, alias } => items.push((fold(alias), expr.clone())),
            SelectItem::Wildcard(_) => every(&mut items),
            other => {
                return Err(Error::unsupported(format!("TRANSFORM cannot hold {other}")));
            }
        }
    }
    for (name, expr) in items {
        if apart.contains(&name) {
            // It is read from the query as it is: what TRANSFORM makes of it would be learnt by nobody.
            if column_name(&expr).as_ref() != Some(&name) {
                return Err(Error::unsupported(format!(
                    "TRANSFORM cannot compute the column \"{name}\", which is no feature"
                ))
                .with_detail("The label, the weight and the columns that split the rows are those of the query.")
                .with_hint("Compute it in the query."));
            }
            continue;
        }
        if lowered.plans.iter().any(|(known, _)| *known == name) {
            return Err(Error::new(
                ErrorKind::DuplicateColumn,
                format!("TRANSFORM gives the column \"{name}\" more than once"),
            )
            .with_hint("Name them apart with AS."));
        }
        let plan = chain(&expr, &mut lowered, false)?;
        lowered.plans.push((name, plan));
    }
    lowered.n_inputs = lowered.leaves.len();
    if let Some(condition) = train_where {
        let mut condition = condition.clone();
        replace(&mut condition, &mut lowered)?;
        lowered.condition = Some(condition);
    }
    Ok(lowered)
}

/// Puts names in the place of chains and of outputs.
fn replace(condition: &mut Expr, lowered: &mut Lowered) -> Result<()> {
    match ast::VisitMut::visit(condition, &mut Names(lowered)) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(error) => Err(error),
    }
}

struct Names<'a>(&'a mut Lowered);

impl ast::VisitorMut for Names<'_> {
    type Break = Error;

    /// Before its parts: what stands in a chain belongs to it.
    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Error> {
        if ml_call(expr).is_none() && !matches!(expr, Expr::Identifier(_)) {
            return ControlFlow::Continue(());
        }
        let plan = match chain(expr, self.0, true) {
            Ok(plan) => plan,
            Err(error) => return ControlFlow::Break(error),
        };
        let scores = &mut self.0.scores;
        let known = scores.iter().position(|(_, known)| *known == plan);
        let name = format!("__score{}", known.unwrap_or(scores.len()));
        if known.is_none() {
            scores.push((name.clone(), plan));
        }
        *expr = Expr::Identifier(ast::Ident::new(name));
        ControlFlow::Continue(())
    }
}

/// Reads one chain. With `outputs`, names mean what TRANSFORM has given before they mean columns of the query.
fn chain(expr: &Expr, lowered: &mut Lowered, outputs: bool) -> Result<Plan> {
    if let Expr::Nested(inner) = expr {
        return chain(inner, lowered, outputs);
    }
    let Some((name, function)) = ml_call(expr) else {
        if let (true, Expr::Identifier(ident)) = (outputs, expr) {
            let name = fold(ident);
            if let Some(index) = lowered.plans.iter().position(|(known, _)| *known == name) {
                return Ok(Plan::Output(index));
            }
        }
        if calls_ml(expr) {
            return Err(Error::unsupported(format!(
                "SQL around a transform is not supported: {expr}"
            ))
            .with_hint(
                "Compute with ordinary SQL first, in the query or inside of the transform.",
            ));
        }
        let text = expr.to_string();
        let known = lowered.leaves.iter().position(|(_, leaf)| leaf.to_string() == text);
        let index = known.unwrap_or(lowered.leaves.len());
        if known.is_none() {
            let name = match expr {
                Expr::Identifier(ident) => fold(ident),
                Expr::CompoundIdentifier(parts) => parts.last().map(fold).unwrap_or_default(),
                _ => text,
            };
            lowered.leaves.push((name, expr.clone()));
        }
        return Ok(Plan::Input(index));
    };
    maru_ml_kernels::transform::spec(&name)?;
    if name == "date_parts" {
        return date_parts(function, lowered, outputs);
    }
    if let Some(ast::WindowType::WindowSpec(window)) = &function.over
        && (!window.partition_by.is_empty() || !window.order_by.is_empty())
    {
        return Err(Error::unsupported("the OVER of a transform is empty: OVER ()")
            .with_detail("A transform learns from all rows of training."));
    }
    let FunctionArguments::List(list) = &function.args else {
        return Err(Error::new(
            ErrorKind::InvalidParameter,
            format!("ML.{} takes a column", name.to_uppercase()),
        ));
    };
    let mut inputs = Vec::new();
    let mut arguments = Arguments::default();
    for (index, argument) in list.args.iter().enumerate() {
        match argument {
            FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) if index == 0 => match expr {
                Expr::Array(array) => {
                    for element in &array.elem {
                        inputs.push(chain(element, lowered, outputs)?);
                    }
                }
                other => inputs.push(chain(other, lowered, outputs)?),
            },
            FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => {
                arguments.positional.push(literal(expr)?);
            }
            FunctionArg::Named { name, arg: FunctionArgExpr::Expr(expr), .. }
            | FunctionArg::ExprNamed {
                name: Expr::Identifier(name),
                arg: FunctionArgExpr::Expr(expr),
                ..
            } => {
                arguments.named.push((fold(name), literal(expr)?));
            }
            other => {
                return Err(Error::new(
                    ErrorKind::InvalidParameter,
                    format!("ML.{} cannot take {other}", name.to_uppercase()),
                ));
            }
        }
    }
    Ok(Plan::Call { name, arguments, inputs })
}

/// The parts of a date that are asked for where none are named.
const DATE_PARTS: &[&str] = &["year", "month", "day", "dow"];

/// Reads `ML.DATE_PARTS(when, ARRAY['month', …]) OVER ()`: the engine computes each part as a column of its own.
fn date_parts(function: &ast::Function, lowered: &mut Lowered, outputs: bool) -> Result<Plan> {
    let wrong = |why: &str| {
        Error::new(ErrorKind::InvalidParameter, format!("invalid call of ML.DATE_PARTS: {why}"))
            .with_hint(
                "ML.DATE_PARTS(column, ARRAY['year', 'month', 'day', 'dow', 'hour']) OVER ()",
            )
    };
    let given = arguments(function);
    let (when, parts) = match given.as_slice() {
        [when] => (*when, DATE_PARTS.iter().map(|part| (*part).to_owned()).collect::<Vec<_>>()),
        [when, parts] => match literal(parts)? {
            Literal::List(list) if !list.is_empty() => {
                let text = |part: Literal| match part {
                    Literal::Text(text) => Ok(text.to_lowercase()),
                    _ => Err(wrong("parts are named by text")),
                };
                (*when, list.into_iter().map(text).collect::<Result<Vec<_>>>()?)
            }
            _ => return Err(wrong("its second argument is ARRAY['part', …]")),
        },
        _ => return Err(wrong("it takes a column and ARRAY['part', …]")),
    };
    let base = match when {
        Expr::Identifier(ident) => fold(ident),
        Expr::CompoundIdentifier(parts) => parts.last().map(fold).unwrap_or_default(),
        _ => "date".to_owned(),
    };
    let mut inputs = Vec::new();
    for part in &parts {
        use ast::DateTimeField as Field;
        let field = match part.as_str() {
            "year" => Field::Year,
            "quarter" => Field::Quarter,
            "month" => Field::Month,
            "week" => Field::Week(None),
            "day" => Field::Day,
            "dow" => Field::Dow,
            "doy" => Field::Doy,
            "hour" => Field::Hour,
            "minute" => Field::Minute,
            "second" => Field::Second,
            _ => {
                return Err(wrong(&format!(
                    "'{part}' is none of year, quarter, month, week, day, dow, doy, hour, minute, second"
                )));
            }
        };
        let syntax = ast::ExtractSyntax::From;
        let expr = Expr::Extract { field, syntax, expr: Box::new(when.clone()) };
        let plan = chain(&expr, lowered, outputs)?;
        if let Plan::Input(index) = plan {
            lowered.leaves[index].0 = format!("{base}_{part}");
        }
        inputs.push(plan);
    }
    let names = Literal::List(parts.into_iter().map(Literal::Text).collect());
    let arguments = Arguments { positional: vec![names], named: Vec::new() };
    Ok(Plan::Call { name: "date_parts".to_owned(), arguments, inputs })
}

/// Reads a literal.
///
/// # Errors
/// 22023 for anything else.
pub fn literal(expr: &Expr) -> Result<Literal> {
    let wrong = || {
        Error::new(ErrorKind::InvalidParameter, format!("\"{expr}\" is no literal")).with_hint(
            "A number, a text in quotes, true, false, NULL or ARRAY[…] of these is expected.",
        )
    };
    Ok(match expr {
        Expr::Nested(inner) => literal(inner)?,
        Expr::UnaryOp { op: ast::UnaryOperator::Minus, expr } => match literal(expr)? {
            Literal::Number(number) => Literal::Number(-number),
            _ => return Err(wrong()),
        },
        Expr::Array(array) => Literal::List(array.elem.iter().map(literal).collect::<Result<_>>()?),
        Expr::Tuple(parts) => Literal::List(parts.iter().map(literal).collect::<Result<_>>()?),
        Expr::Function(function) if function.name.to_string().eq_ignore_ascii_case("row") => {
            Literal::List(arguments(function).into_iter().map(literal).collect::<Result<_>>()?)
        }
        // A number that comes with its type, as a pipeline's parameter does.
        Expr::Cast { expr, data_type, .. } if is_number(data_type) => match literal(expr)? {
            Literal::Number(number) => Literal::Number(number),
            Literal::Text(text) => match text.trim().parse::<f64>() {
                Ok(number) if number.is_finite() => Literal::Number(number),
                _ => return Err(wrong()),
            },
            Literal::Null => Literal::Null,
            _ => return Err(wrong()),
        },
        // OPTIONS (device = cpu): a bare word is text.
        Expr::Identifier(ident) => Literal::Text(fold(ident)),
        Expr::Value(value) => match &value.value {
            Value::Number(text, _) => Literal::Number(text.parse().map_err(|_| wrong())?),
            Value::SingleQuotedString(text) | Value::EscapedStringLiteral(text) => {
                Literal::Text(text.clone())
            }
            Value::DollarQuotedString(text) => Literal::Text(text.value.clone()),
            Value::Boolean(flag) => Literal::Boolean(*flag),
            Value::Null => Literal::Null,
            _ => return Err(wrong()),
        },
        _ => return Err(wrong()),
    })
}

fn is_number(data_type: &ast::DataType) -> bool {
    use ast::DataType as Type;
    matches!(
        data_type,
        Type::Real
            | Type::Float(_)
            | Type::Float4
            | Type::Float8
            | Type::Double(_)
            | Type::DoublePrecision
            | Type::Numeric(_)
            | Type::Decimal(_)
    )
}

/// Returns the unnamed arguments of a call.
pub(crate) fn arguments(function: &ast::Function) -> Vec<&Expr> {
    let FunctionArguments::List(list) = &function.args else { return Vec::new() };
    let unnamed = |argument: &'_ FunctionArg| {
        matches!(argument, FunctionArg::Unnamed(FunctionArgExpr::Expr(_)))
    };
    let exprs =
        list.args.iter().filter(|argument| unnamed(argument)).filter_map(
            |argument| match argument {
                FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(expr),
                _ => None,
            },
        );
    exprs.collect()
}

#[cfg(test)]
mod tests {
    use maru_sql::Statement;

    use super::*;

    fn lowered(transform: &str, condition: Option<&str>) -> Result<Lowered> {
        let condition = condition.map(|text| format!(" TRAIN WHERE {text}")).unwrap_or_default();
        let sql = format!(
            "CREATE MODEL m TRANSFORM ({transform}){condition} OPTIONS (model_type = 'linear_reg') AS SELECT 1 AS a"
        );
        let Statement::Model(statement) = maru_sql::parse(&sql)? else {
            panic!("no statement of models: {sql}")
        };
        let maru_sql::ModelStatement::Create(create) = *statement else {
            panic!("no CREATE MODEL: {sql}")
        };
        let columns = ["a", "b", "y", "w"].map(str::to_owned);
        let apart = ["y", "w"].map(str::to_owned);
        lower(&create.transform, create.train_where.as_ref(), &columns, &apart)
    }

    #[test]
    fn the_label_is_not_computed() {
        for transform in ["a, y", "a, t.y, w", "*", "a, (y)", "a, Y"] {
            assert!(!lowered(transform, None).unwrap().plans.is_empty(), "{transform}");
        }
        for transform in ["a, ln(y) AS y", "a, b AS y", "a, y, ML.STANDARD_SCALER(w) OVER () AS w"]
        {
            let error = lowered(transform, None).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unsupported, "{transform}");
        }
    }

    #[test]
    fn numbers_may_come_with_their_type() {
        for (value, expected) in [
            ("CAST('0.5' AS DOUBLE PRECISION)", Some(Literal::Number(0.5))),
            ("CAST('2' AS NUMERIC(5,2))", Some(Literal::Number(2.0))),
            ("CAST(NULL AS REAL)", Some(Literal::Null)),
            ("CAST('x' AS REAL)", None),
            ("CAST('NaN' AS REAL)", None),
            ("CAST('1' AS TEXT)", None),
        ] {
            let sql = format!("CREATE MODEL m OPTIONS (l2_reg = {value}) AS SELECT 1 AS a");
            let Ok(Statement::Model(statement)) = maru_sql::parse(&sql) else {
                panic!("no statement of models: {sql}")
            };
            let maru_sql::ModelStatement::Create(create) = *statement else {
                panic!("no CREATE MODEL: {sql}")
            };
            assert_eq!(literal(&create.options[0].1).ok(), expected, "{value}");
        }
    }

    #[test]
    fn what_only_the_condition_looks_at_is_no_input() {
        let lowered = lowered(
            "ML.STANDARD_SCALER(b) OVER () AS s, y",
            Some("y < 5 AND b > 1 AND s > 0 AND a > 0"),
        );
        let lowered = lowered.unwrap();
        let names = lowered.leaves.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>();
        assert_eq!(names, ["b", "y", "a"]);
        assert_eq!(lowered.n_inputs, 1);
    }
}
