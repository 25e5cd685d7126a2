//! Parameters as arguments of table functions: `FROM generate_series(1, $1)`.
//!
//! Table functions are called when they are planned. So a statement is planned with NULL in the place of such a parameter,
//! which tells its columns, and once more with the values when it runs.

use std::ops::ControlFlow;

use datafusion::common::ScalarValue;
use datafusion::sql::parser::Statement as DfStatement;
use maru_core::{Error, Result};
use maru_sql::ast::{Expr, TableFactor, Value, VisitMut, VisitorMut};

/// Puts values, or NULL where there are none yet, in the place of parameters; returns their numbers, from zero.
///
/// # Errors
/// 0A000 for values of types that have no literal.
pub(in crate::session) fn settle(
    statement: &mut DfStatement,
    values: Option<&[ScalarValue]>,
) -> Result<Vec<usize>> {
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
    found: Vec<usize>,
}

impl VisitorMut for Settler<'_> {
    type Break = Error;

    fn pre_visit_table_factor(&mut self, table: &mut TableFactor) -> ControlFlow<Error> {
        let args = match table {
            TableFactor::Table { args: Some(args), .. } => &mut args.args,
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
        let Value::Placeholder(name) = &value.value else { return ControlFlow::Continue(()) };
        let number = name.trim_start_matches('$').parse::<usize>().ok();
        let Some(index) = number.and_then(|number| number.checked_sub(1)) else {
            return ControlFlow::Continue(());
        };
        if !self.0.found.contains(&index) {
            self.0.found.push(index);
        }
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

    fn settled(sql: &str, values: Option<&[ScalarValue]>) -> (String, Vec<usize>) {
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
        assert_eq!(found, [0]);
        let values = [ScalarValue::Int64(Some(7)), ScalarValue::Int64(Some(3))];
        let (text, _) = settled(sql, Some(&values));
        assert!(text.contains("generate_series(1, 7)") && text.contains("SELECT $2"), "{text}");
        assert_eq!(settled("SELECT $1 FROM t", None).1, Vec::<usize>::new());
    }
}
