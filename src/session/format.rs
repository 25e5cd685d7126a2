//! `format('%s of %I', …)`, PostgreSQL's.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, StringArray};
use arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use datafusion::error::Result as DfResult;
use datafusion::execution::{FunctionRegistry, SessionState};
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use maru_core::{Error, ErrorKind, Result, quote_literal};

use crate::value_text::{Zone, has_text, texts};

pub(super) fn register(state: &mut SessionState) -> Result<()> {
    let signature = Signature::variadic_any(Volatility::Immutable);
    state.register_udf(Arc::new(ScalarUDF::from(Format { signature })))?;
    Ok(())
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Format {
    signature: Signature,
}

impl ScalarUDFImpl for Format {
    fn name(&self) -> &str {
        "format"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> DfResult<DataType> {
        match types.iter().find(|data_type| !has_text(data_type)) {
            None => Ok(DataType::Utf8),
            Some(other) => {
                let name = crate::system::types::sql_name(other);
                Err(Error::unsupported(format!("format does not write {name}")).into())
            }
        }
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        let is_scalar = args.args.iter().all(|arg| matches!(arg, ColumnarValue::Scalar(_)));
        let n_rows = if is_scalar { 1 } else { args.number_rows };
        let zone = args.config_options.execution.time_zone.as_deref().unwrap_or("UTC");
        let zone = Zone::parse(zone);
        let columns = args.args.iter().map(|arg| {
            let array: ArrayRef = arg.to_array(n_rows)?;
            Ok(texts(&array, &zone, false)?)
        });
        let columns = columns.collect::<DfResult<Vec<StringArray>>>()?;
        let Some((formats, values)) = columns.split_first() else {
            return Err(Error::internal("format of nothing").into());
        };
        let line = |row: usize| {
            if formats.is_null(row) {
                return Ok(None);
            }
            let value = |at: usize| {
                values.get(at).map(|column| column.is_valid(row).then(|| column.value(row)))
            };
            formatted(formats.value(row), value).map(Some)
        };
        let lines = (0..n_rows).map(line).collect::<Result<StringArray>>()?;
        Ok(match is_scalar {
            true => ColumnarValue::Scalar(ScalarValue::try_from_array(&lines, 0)?),
            false => ColumnarValue::Array(Arc::new(lines)),
        })
    }
}

/// Writes a format with its values; NULL is the empty text as `%s` and the word as `%L`.
///
/// # Errors
/// 22023 for what is no format, has too few values, or has NULL for a name.
fn formatted<'a>(format: &str, value: impl Fn(usize) -> Option<Option<&'a str>>) -> Result<String> {
    let invalid = |message: String| Error::new(ErrorKind::InvalidParameter, message);
    let mut out = String::with_capacity(format.len());
    let mut next = 0;
    let mut rest = format;
    while let Some((before, after)) = rest.split_once('%') {
        out.push_str(before);
        if let Some(after) = after.strip_prefix('%') {
            out.push('%');
            rest = after;
            continue;
        }
        let figures = after.len() - after.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (mut spec, mut place) = (after, None);
        if let (Ok(number), Some(after)) =
            (after[..figures].parse::<usize>(), after[figures..].strip_prefix('$'))
        {
            place = Some(number);
            spec = after;
        }
        let left = spec.starts_with('-');
        let spec = spec.trim_start_matches('-');
        let figures = spec.len() - spec.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let width = spec[..figures].parse::<usize>().unwrap_or(0);
        let mut chars = spec[figures..].chars();
        let kind = chars
            .next()
            .ok_or_else(|| invalid("unterminated format() type specifier".to_owned()))?;
        rest = chars.as_str();
        if !matches!(kind, 's' | 'I' | 'L') {
            return Err(invalid(format!("unrecognized format() type specifier \"{kind}\""))
                .with_hint("For a single \"%\" use \"%%\"."));
        }
        if width > 10_000 {
            return Err(invalid(format!("a width of {width} is too great")));
        }
        let at = match place {
            Some(0) => {
                return Err(invalid(
                    "format specifies argument 0, but arguments are numbered from 1".to_owned(),
                ));
            }
            Some(number) => number - 1,
            None => next,
        };
        next = at + 1;
        let value =
            value(at).ok_or_else(|| invalid("too few arguments for format()".to_owned()))?;
        let text = match (kind, value) {
            ('I', None) => {
                return Err(invalid(
                    "null values cannot be formatted as an SQL identifier".to_owned(),
                ));
            }
            ('I', Some(name)) => maru_core::quote_ident(name),
            ('L', None) => "NULL".to_owned(),
            ('L', Some(text)) => quote_literal(text),
            (_, text) => text.unwrap_or_default().to_owned(),
        };
        let space = " ".repeat(width.saturating_sub(text.chars().count()));
        match left {
            true => out.extend([text, space]),
            false => out.extend([space, text]),
        }
    }
    out.push_str(rest);
    Ok(out)
}
