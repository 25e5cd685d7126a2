//! `LIKE pattern ESCAPE 'c'` for patterns that are no literals: the pattern is written with the escape character that is always
//! understood.

use std::sync::Arc;

use arrow::array::{AsArray, StringArray};
use arrow::compute::cast;
use arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use datafusion::error::Result as DfResult;
use datafusion::execution::{FunctionRegistry, SessionState};
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use maru_core::{Error, Result};

/// Its name: of a pattern, and of the escape character or the empty text.
pub(super) const FUNCTION: &str = "like_pattern";

pub(super) fn register(state: &mut SessionState) -> Result<()> {
    let signature = Signature::string(2, Volatility::Immutable);
    state.register_udf(Arc::new(ScalarUDF::from(LikePattern { signature })))?;
    Ok(())
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct LikePattern {
    signature: Signature,
}

impl ScalarUDFImpl for LikePattern {
    fn name(&self) -> &str {
        FUNCTION
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> DfResult<DataType> {
        Ok(DataType::Utf8)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        let [patterns, ColumnarValue::Scalar(mark)] = args.args.as_slice() else {
            return Err(Error::unsupported("an escape character is one for all rows").into());
        };
        let mark = mark.try_as_str().flatten().and_then(|text| text.chars().next());
        let is_scalar = matches!(patterns, ColumnarValue::Scalar(_));
        let patterns = patterns.to_array(if is_scalar { 1 } else { args.number_rows })?;
        let patterns = cast(&patterns, &DataType::Utf8)?;
        let written = patterns.as_string::<i32>().iter();
        let written = written.map(|pattern| pattern.map(|pattern| escaped(pattern, mark)));
        let written = written.collect::<StringArray>();
        Ok(match is_scalar {
            true => ColumnarValue::Scalar(ScalarValue::try_from_array(&written, 0)?),
            false => ColumnarValue::Array(Arc::new(written)),
        })
    }
}

/// Writes a pattern with backslashes in the place of its own escape character; `None` for a pattern that has none.
pub(super) fn escaped(pattern: &str, mark: Option<char>) -> String {
    let mut written = String::with_capacity(pattern.len() + 2);
    let mut chars = pattern.chars();
    while let Some(c) = chars.next() {
        if Some(c) == mark {
            written.push('\\');
            written.extend(chars.next());
        } else if c == '\\' {
            written.push_str("\\\\");
        } else {
            written.push(c);
        }
    }
    written
}

#[cfg(test)]
mod tests {
    use super::escaped;

    #[test]
    fn only_the_own_mark_escapes() {
        assert_eq!(escaped("pg/_%", Some('/')), "pg\\_%");
        assert_eq!(escaped("a//b\\c", Some('/')), "a\\/b\\\\c");
        assert_eq!(escaped("a\\%", None), "a\\\\%");
    }
}
