//! `$1` in the arguments of `RUN PIPELINE` and in the range of `BACKFILL PIPELINE`: values that come beside the statement, as drivers send them.

use arrow::array::RecordBatch;
use datafusion::scalar::ScalarValue;
use maru_core::{Error, ErrorKind, Result, quote_literal};
use maru_sql::tokenizer::{Token, Tokenizer};
use maru_sql::{MaruDialect, PipelineStatement, RangeEnd, Statement};

use crate::shell::text;

/// Values that one statement may have.
const VALUES_MAX: usize = 65_535;

/// Returns how many values a statement wants beside it, if it runs a pipeline.
///
/// # Errors
/// 42P02 for a number that no value can have.
pub(crate) fn n_values(statement: &Statement) -> Result<usize> {
    let mut most = 0;
    for written in placeholders(statement) {
        let number = number_of(&written).filter(|n| (1..=VALUES_MAX).contains(n));
        let number = number.ok_or_else(|| {
            let message = format!("there is no parameter {written}");
            Error::new(ErrorKind::UndefinedParameter, message)
        })?;
        most = most.max(number);
    }
    Ok(most)
}

/// Returns the places of values in a statement, as they are written.
fn placeholders(statement: &Statement) -> Vec<String> {
    let Statement::Pipeline(pipeline) = statement else { return Vec::new() };
    match pipeline.as_ref() {
        PipelineStatement::Run(run) => {
            let tokens = run.arguments.iter().flat_map(|(_, expression)| tokens(expression));
            let written = tokens.filter_map(|token| match token {
                Token::Placeholder(written) => Some(written),
                _ => None,
            });
            written.collect()
        }
        PipelineStatement::Backfill(backfill) => {
            let written = [&backfill.from, &backfill.to].into_iter().filter_map(|end| match end {
                RangeEnd::Value(written) => Some(written.clone()),
                RangeEnd::Text(_) => None,
            });
            written.collect()
        }
        _ => Vec::new(),
    }
}

/// Returns the statement with literals in the places of its values; `None` if it has none.
///
/// # Errors
/// 08P01 for fewer values than it wants, 22004 for NULL where a time must be.
pub(crate) fn with_values(
    statement: &Statement,
    values: &[ScalarValue],
) -> Result<Option<Statement>> {
    let wanted = n_values(statement)?;
    let Statement::Pipeline(pipeline) = statement else { return Ok(None) };
    if wanted == 0 {
        return Ok(None);
    }
    if values.len() < wanted {
        let message = format!("statement needs {wanted} parameters, {} are given", values.len());
        return Err(Error::new(ErrorKind::ProtocolViolation, message));
    }
    let texts = values.iter().map(text_of).collect::<Result<Vec<_>>>()?;
    let value =
        |written: &str| number_of(written).and_then(|n| texts.get(n.checked_sub(1)?)).cloned();
    let mut bound = pipeline.clone();
    match bound.as_mut() {
        PipelineStatement::Run(run) => {
            for (_, expression) in &mut run.arguments {
                let filled = tokens(expression).into_iter().map(|token| {
                    let value = match &token {
                        Token::Placeholder(written) => value(written),
                        _ => None,
                    };
                    value.map_or_else(|| token.to_string(), literal)
                });
                *expression = filled.collect();
            }
        }
        PipelineStatement::Backfill(backfill) => {
            for end in [&mut backfill.from, &mut backfill.to] {
                let RangeEnd::Value(written) = end else { continue };
                let Some(text) = value(written).flatten() else {
                    let message = "an end of the range of a backfill cannot be null";
                    return Err(Error::new(ErrorKind::NullNotAllowed, message));
                };
                *end = RangeEnd::Text(text);
            }
        }
        _ => {}
    }
    Ok(Some(Statement::Pipeline(bound)))
}

/// Cuts an expression so that its parts, put together, are it again.
fn tokens(expression: &str) -> Vec<Token> {
    let tokens = Tokenizer::new(&MaruDialect, expression).with_unescape(false).tokenize();
    tokens.unwrap_or_default()
}

fn number_of(placeholder: &str) -> Option<usize> {
    placeholder.strip_prefix('$')?.parse().ok()
}

/// Returns a value as text; `None` is NULL.
fn text_of(value: &ScalarValue) -> Result<Option<String>> {
    let batch = RecordBatch::try_from_iter([("value", value.to_array()?)])?;
    let row = text::rows(&batch)?.into_iter().next().unwrap_or_default();
    Ok(row.into_iter().next().flatten())
}

/// Returns a value in quotes: what it stands for says the type.
fn literal(value: Option<String>) -> String {
    value.map_or_else(|| "NULL".to_owned(), |text| quote_literal(&text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(sql: &str, values: &[ScalarValue]) -> Vec<String> {
        let statement = maru_sql::parse(sql).unwrap();
        let bound = with_values(&statement, values).unwrap().unwrap();
        let Statement::Pipeline(bound) = bound else { panic!("a pipeline") };
        match *bound {
            PipelineStatement::Run(run) => run.arguments.into_iter().map(|(_, v)| v).collect(),
            PipelineStatement::Backfill(backfill) => {
                let texts = [backfill.from, backfill.to].map(|end| match end {
                    RangeEnd::Text(text) => text,
                    RangeEnd::Value(written) => panic!("{written}"),
                });
                texts.to_vec()
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn values_are_literals() {
        let values = [
            ScalarValue::from("it's"),
            ScalarValue::Date32(Some(20_000)),
            ScalarValue::Int64(None),
        ];
        let found =
            arguments("RUN PIPELINE p (a => $1, b => $2, c => $3, d => 'a''b $1')", &values);
        assert_eq!(found, ["'it''s'", "'2024-10-04'", "NULL", "'a''b $1'"]);
        let statement = maru_sql::parse("RUN PIPELINE p (a => $2)").unwrap();
        assert_eq!(n_values(&statement).unwrap(), 2);
        assert_eq!(with_values(&statement, &values[..1]).unwrap_err().sqlstate(), "08P01");
        let statement = maru_sql::parse("RUN PIPELINE p (a => $70000)").unwrap();
        assert_eq!(n_values(&statement).unwrap_err().sqlstate(), "42P02");
        let found = arguments("BACKFILL PIPELINE p FROM $2 TO '2026-01-31'", &values);
        assert_eq!(found, ["2024-10-04", "2026-01-31"]);
        let statement = maru_sql::parse("BACKFILL PIPELINE p FROM '2026-01-01' TO $3").unwrap();
        assert_eq!(with_values(&statement, &values).unwrap_err().sqlstate(), "22004");
        let statement = maru_sql::parse("RUN PIPELINE p (a => 1)").unwrap();
        assert!(with_values(&statement, &values).unwrap().is_none());
    }
}
