//! `ON CONFLICT … DO UPDATE SET column = expression`: what a database computes of the row that is there and the one that came. Few
//! expressions are taken: those that mean in every database that is asked what they mean here.

use maru_connect::Computed;
use maru_core::{Error, ErrorKind, Result};
use maru_sql::ast::{self, BinaryOperator, Expr, UnaryOperator, Value};

/// What expressions may name.
pub(super) struct Rows<'a> {
    /// What they call the row that is there.
    pub(super) alias: &'a str,
    /// Columns of the table.
    pub(super) table: &'a arrow::datatypes::Schema,
    /// Columns that are inserted.
    pub(super) given: &'a [String],
    /// Columns of the row that is there, as they are met.
    pub(super) read: Vec<String>,
}

impl Rows<'_> {
    /// Reads an expression.
    ///
    /// # Errors
    /// 42702, 42703 and 42P01 for columns that are not clear or not there, 0A000 for other expressions.
    pub(super) fn computed(&mut self, expr: &Expr) -> Result<Computed> {
        Ok(match expr {
            Expr::Nested(inner) => self.computed(inner)?,
            Expr::CompoundIdentifier(parts) => match parts.as_slice() {
                [.., table, column] => self.column(&folded(table), folded(column))?,
                _ => return Err(refused(expr)),
            },
            Expr::Identifier(name)
                if name.quote_style.is_some() || !name.value.eq_ignore_ascii_case("default") =>
            {
                let what = format!("column reference \"{}\" is ambiguous", folded(name));
                return Err(Error::new(ErrorKind::AmbiguousColumn, what).with_hint(format!(
                    "Write {}.{name} for the row that is there, EXCLUDED.{name} for the new one.",
                    self.alias
                )));
            }
            Expr::Value(value) => match &value.value {
                Value::Number(digits, _) => Computed::Number(number(digits, expr)?),
                Value::SingleQuotedString(text) | Value::EscapedStringLiteral(text) => {
                    Computed::Text(text.clone())
                }
                Value::Null => Computed::Null,
                _ => return Err(refused(expr)),
            },
            Expr::UnaryOp { op: UnaryOperator::Minus, expr: inner } => {
                match self.computed(inner)? {
                    Computed::Number(digits) => match digits.strip_prefix('-') {
                        Some(plain) => Computed::Number(plain.to_owned()),
                        None => Computed::Number(format!("-{digits}")),
                    },
                    _ => return Err(refused(expr)),
                }
            }
            Expr::BinaryOp { left, op, right } => {
                let op = match op {
                    BinaryOperator::Plus => "+",
                    BinaryOperator::Minus => "-",
                    BinaryOperator::Multiply => "*",
                    BinaryOperator::StringConcat => "||",
                    _ => return Err(refused(expr)),
                };
                let (left, right) = (self.computed(left)?, self.computed(right)?);
                Computed::Binary(Box::new(left), op, Box::new(right))
            }
            Expr::Function(function) => {
                let name = match function.name.to_string().to_lowercase().as_str() {
                    "coalesce" => "coalesce",
                    "greatest" => "greatest",
                    "least" => "least",
                    _ => return Err(refused(expr)),
                };
                let ast::FunctionArguments::List(list) = &function.args else {
                    return Err(refused(expr));
                };
                let has_more = function.filter.is_some()
                    || function.over.is_some()
                    || list.duplicate_treatment.is_some()
                    || !list.clauses.is_empty();
                if has_more {
                    return Err(refused(expr));
                }
                let values = list.args.iter().map(|argument| match argument {
                    ast::FunctionArg::Unnamed(ast::FunctionArgExpr::Expr(value)) => {
                        self.computed(value)
                    }
                    _ => Err(refused(expr)),
                });
                Computed::Call(name, values.collect::<Result<Vec<_>>>()?)
            }
            _ => return Err(refused(expr)),
        })
    }

    fn column(&mut self, table: &str, column: String) -> Result<Computed> {
        let missing = |what: String| Err(Error::new(ErrorKind::UndefinedColumn, what));
        if table == "excluded" {
            return match self.given.contains(&column) {
                true => Ok(Computed::New(column)),
                false => missing(format!(
                    "column \"{column}\" of ON CONFLICT is not among those that are inserted"
                )),
            };
        }
        if table != self.alias {
            let what = format!("missing FROM-clause entry for table \"{table}\"");
            return Err(Error::new(ErrorKind::UndefinedTable, what));
        }
        if self.table.field_with_name(&column).is_err() {
            return missing(format!("column {table}.{column} does not exist"));
        }
        self.read.push(column.clone());
        Ok(Computed::Old(column))
    }
}

fn number(digits: &str, expr: &Expr) -> Result<String> {
    let is_plain = |c: char| c.is_ascii_digit() || ['.', 'e', 'E', '+', '-'].contains(&c);
    match digits.chars().all(is_plain) {
        true => Ok(digits.to_owned()),
        false => Err(refused(expr)),
    }
}

fn folded(name: &ast::Ident) -> String {
    match name.quote_style {
        Some(_) => name.value.clone(),
        None => name.value.to_lowercase(),
    }
}

fn refused(expr: &Expr) -> Error {
    Error::unsupported(format!("ON CONFLICT DO UPDATE SET column = {expr} is not supported"))
        .with_detail(
            "It takes columns of both rows, literals, + - * ||, coalesce, greatest and least.",
        )
        .with_hint("Use MERGE INTO.")
}
