//! Parameters as arguments of table functions: `FROM generate_series(1, $1)`.
//!
//! Table functions are called when they are planned. So a statement is planned with NULL in the place of such a parameter,
//! which tells its columns, and once more with the values when it runs. Of functions on models these are the named arguments
//! alone (`threshold => $1`), which are left out at first: parameters of the queries that they take stay as in any query.

use std::ops::ControlFlow;

use arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use datafusion::sql::parser::Statement as DfStatement;
use maru_core::{Error, Result};
use maru_sql::ast::{Expr, FunctionArg, FunctionArgExpr, TableFactor, Value, VisitMut, VisitorMut};

use crate::session::models;

/// Puts values, or NULL where there are none yet, in the place of parameters; returns their numbers, from zero, and the types that
/// they have unless they are declared otherwise.
///
/// # Errors
/// 0A000 for values of types that have no literal.
pub(in crate::session) fn settle(
    statement: &mut DfStatement,
    values: Option<&[ScalarValue]>,
) -> Result<Vec<(usize, DataType)>> {
    match statement {
        DfStatement::Statement(inner) => {
            let mut settler = Settler { values, found: Vec::new() };
            match VisitMut::visit(&mut **inner, &mut settler) {
                ControlFlow::Continue(()) => Ok(settler.found),
                ControlFlow::Break(error) => Err(error),
            }
        }
        DfStatement::Explain(explain) => settle(&mut explain.statement, values),
        _ => Ok(Vec::new()),
    }
}

struct Settler<'a> {
    values: Option<&'a [ScalarValue]>,
    found: Vec<(usize, DataType)>,
}

impl Settler<'_> {
    /// Notes a parameter.
    fn note(&mut self, index: usize, data_type: DataType) {
        if !self.found.iter().any(|(known, _)| *known == index) {
            self.found.push((index, data_type));
        }
    }

    /// Settles the named arguments of a function on a model. What they say changes none of its columns.
    fn named(&mut self, function: &str, args: &mut Vec<FunctionArg>) -> Result<()> {
        let mut kept = Vec::with_capacity(args.len());
        for mut arg in std::mem::take(args) {
            let asked = named_parameter(&mut arg).and_then(|(name, value)| {
                Some((models::argument_type(function, &name)?, index(value)?))
            });
            if let Some((data_type, index)) = asked {
                self.note(index, data_type);
                let Some(values) = self.values else { continue };
                let settled = values.get(index).map_or(Ok(Value::Null), literal)?;
                if let Some((_, value)) = named_parameter(&mut arg) {
                    *value = settled;
                }
            }
            kept.push(arg);
        }
        *args = kept;
        Ok(())
    }
}

/// Returns the name of an argument whose value is a parameter, and the place of the value.
fn named_parameter(arg: &mut FunctionArg) -> Option<(String, &mut Value)> {
    match arg {
        FunctionArg::Named { name, arg: FunctionArgExpr::Expr(value), .. }
        | FunctionArg::ExprNamed {
            name: Expr::Identifier(name),
            arg: FunctionArgExpr::Expr(value),
            ..
        } => Some((name.value.to_lowercase(), parameter(value)?)),
        _ => None,
    }
}

fn parameter(expr: &mut Expr) -> Option<&mut Value> {
    match expr {
        Expr::Nested(inner) => parameter(inner),
        Expr::Value(value) if matches!(value.value, Value::Placeholder(_)) => {
            Some(&mut value.value)
        }
        _ => None,
    }
}

/// Returns the number of a parameter, from zero.
fn index(value: &Value) -> Option<usize> {
    let Value::Placeholder(name) = value else { return None };
    name.trim_start_matches('$').parse::<usize>().ok()?.checked_sub(1)
}

impl VisitorMut for Settler<'_> {
    type Break = Error;

    fn pre_visit_table_factor(&mut self, table: &mut TableFactor) -> ControlFlow<Error> {
        let args = match table {
            TableFactor::Table { name, args: Some(args), .. } => match models::function_in(name) {
                Some(function) => {
                    return match self.named(function, &mut args.args) {
                        Ok(()) => ControlFlow::Continue(()),
                        Err(error) => ControlFlow::Break(error),
                    };
                }
                None => &mut args.args,
            },
            TableFactor::Function { args, .. } => args,
            _ => return ControlFlow::Continue(()),
        };
        VisitMut::visit(args, &mut Inside(self))
    }
}

/// Walks the arguments of one table function.
struct Inside<'a, 'b>(&'a mut Settler<'b>);

impl VisitorMut for Inside<'_, '_> {
    type Break = Error;

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Error> {
        let Expr::Value(value) = expr else { return ControlFlow::Continue(()) };
        let Some(index) = index(&value.value) else { return ControlFlow::Continue(()) };
        self.0.note(index, DataType::Int64);
        match self.0.values.and_then(|values| values.get(index)).map_or(Ok(Value::Null), literal) {
            Ok(literal) => {
                value.value = literal;
                ControlFlow::Continue(())
            }
            Err(error) => ControlFlow::Break(error),
        }
    }
}

fn literal(value: &ScalarValue) -> Result<Value> {
    use ScalarValue as S;
    Ok(match value {
        value if value.is_null() => Value::Null,
        S::Boolean(Some(value)) => Value::Boolean(*value),
        S::Int8(_)
        | S::Int16(_)
        | S::Int32(_)
        | S::Int64(_)
        | S::UInt8(_)
        | S::UInt16(_)
        | S::UInt32(_)
        | S::UInt64(_) => Value::Number(value.to_string(), false),
        S::Float64(Some(number)) if number.is_finite() => Value::Number(number.to_string(), false),
        S::Float32(Some(number)) if number.is_finite() => Value::Number(number.to_string(), false),
        S::Decimal128(..) => {
            let text = arrow::util::display::array_value_to_string(&value.to_array()?, 0)?;
            Value::Number(text, false)
        }
        S::Utf8(Some(text)) | S::LargeUtf8(Some(text)) | S::Utf8View(Some(text)) => {
            Value::SingleQuotedString(text.clone())
        }
        S::Date32(_) | S::TimestampMicrosecond(..) => {
            let text = arrow::util::display::array_value_to_string(&value.to_array()?, 0)?;
            Value::SingleQuotedString(text)
        }
        other => {
            return Err(Error::unsupported(format!(
                "a parameter of type {} cannot be an argument of a table function",
                other.data_type()
            )));
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settled(sql: &str, values: Option<&[ScalarValue]>) -> (String, Vec<(usize, DataType)>) {
        let maru_sql::Statement::Query { mut statement, .. } = maru_sql::parse(sql).unwrap() else {
            panic!("{sql} is no query");
        };
        let found = settle(&mut statement, values).unwrap();
        (statement.to_string(), found)
    }

    #[test]
    fn only_arguments_of_table_functions_are_settled() {
        let sql = "SELECT $2 FROM generate_series(1, $1) AS t (n) WHERE n > $2";
        let (text, found) = settled(sql, None);
        assert!(text.contains("generate_series(1, NULL)") && text.contains("n > $2"), "{text}");
        assert_eq!(found, [(0, DataType::Int64)]);
        let values = [ScalarValue::Int64(Some(7)), ScalarValue::Int64(Some(3))];
        let (text, _) = settled(sql, Some(&values));
        assert!(text.contains("generate_series(1, 7)") && text.contains("SELECT $2"), "{text}");
        assert!(settled("SELECT $1 FROM t", None).1.is_empty());
    }

    #[test]
    fn functions_on_models_have_parameters_by_name() {
        let sql = "SELECT $2 FROM ML.PREDICT(MODEL m, (SELECT * FROM t WHERE a = $1), threshold => $2, on_null => ($3), odd => $4) p";
        let (text, found) = settled(sql, None);
        assert!(text.contains("a = $1") && !text.contains("threshold"), "{text}");
        assert!(text.contains("odd => $4"), "{text}");
        assert_eq!(found, [(1, DataType::Float64), (2, DataType::Utf8)]);
        let values = [
            ScalarValue::Utf8(Some("x".into())),
            ScalarValue::Float64(Some(0.25)),
            ScalarValue::Utf8(Some("null".into())),
        ];
        let (text, _) = settled(sql, Some(&values));
        assert!(text.contains("threshold => 0.25, on_null => ('null')"), "{text}");
        assert!(text.contains("SELECT $2") && text.contains("a = $1"), "{text}");
    }
}
