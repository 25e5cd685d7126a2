//! Functions of PostgreSQL that give one answer for everything here.

use std::sync::{Arc, LazyLock};
use std::time::SystemTime;

use arrow::datatypes::{DataType, TimeUnit};
use datafusion::common::ScalarValue;
use datafusion::error::Result as DfResult;
use datafusion::execution::{FunctionRegistry, SessionState};
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use maru_core::Result;

use crate::engine::history::micros;

/// As many arguments as there are.
const SOME: usize = usize::MAX;

/// Names, numbers of arguments, and the answer: whatever shows can be named, there are no defaults, partition keys, sequences, triggers,
/// rules and tablespaces.
const FUNCTIONS: &[(&str, usize, Answer)] = &[
    ("pg_collation_is_visible", 1, Answer::Yes),
    ("pg_conf_load_time", 0, Answer::Start),
    ("pg_conversion_is_visible", 1, Answer::Yes),
    ("pg_function_is_visible", 1, Answer::Yes),
    ("pg_get_expr", SOME, Answer::Nothing),
    ("pg_get_functiondef", 1, Answer::Nothing),
    ("pg_get_indexdef", SOME, Answer::Nothing),
    ("pg_get_partkeydef", 1, Answer::Nothing),
    ("pg_get_ruledef", SOME, Answer::Nothing),
    ("pg_get_serial_sequence", 2, Answer::Nothing),
    ("pg_get_triggerdef", SOME, Answer::Nothing),
    ("pg_is_in_recovery", 0, Answer::No),
    ("pg_my_temp_schema", 0, Answer::Zero),
    ("pg_opclass_is_visible", 1, Answer::Yes),
    ("pg_operator_is_visible", 1, Answer::Yes),
    ("pg_opfamily_is_visible", 1, Answer::Yes),
    ("pg_postmaster_start_time", 0, Answer::Start),
    ("pg_statistics_obj_is_visible", 1, Answer::Yes),
    ("pg_tablespace_location", 1, Answer::Empty),
    ("pg_ts_config_is_visible", 1, Answer::Yes),
    ("pg_type_is_visible", 1, Answer::Yes),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Answer {
    Yes,
    No,
    /// An OID of nothing.
    Zero,
    /// NULL, as text.
    Nothing,
    /// The empty text.
    Empty,
    /// When the process began.
    Start,
}

/// Microseconds since 1970 UTC at which the functions were registered, which is done once, as the engine starts.
static START: LazyLock<i64> = LazyLock::new(|| micros(SystemTime::now()));

/// Registers them.
pub(super) fn register(state: &mut SessionState) -> Result<()> {
    LazyLock::force(&START);
    for (name, arguments, answer) in FUNCTIONS {
        let signature = match arguments {
            0 => Signature::nullary(Volatility::Stable),
            &SOME => Signature::variadic_any(Volatility::Stable),
            n => Signature::any(*n, Volatility::Stable),
        };
        let function = Always { name, answer: *answer, signature };
        state.register_udf(Arc::new(ScalarUDF::from(function)))?;
    }
    Ok(())
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Always {
    name: &'static str,
    answer: Answer,
    signature: Signature,
}

impl ScalarUDFImpl for Always {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> DfResult<DataType> {
        Ok(match self.answer {
            Answer::Yes | Answer::No => DataType::Boolean,
            Answer::Zero => DataType::Int32,
            Answer::Nothing | Answer::Empty => DataType::Utf8,
            Answer::Start => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        })
    }

    fn invoke_with_args(&self, _: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        Ok(ColumnarValue::Scalar(match self.answer {
            Answer::Yes => ScalarValue::Boolean(Some(true)),
            Answer::No => ScalarValue::Boolean(Some(false)),
            Answer::Zero => ScalarValue::Int32(Some(0)),
            Answer::Nothing => ScalarValue::Utf8(None),
            Answer::Empty => ScalarValue::Utf8(Some(String::new())),
            Answer::Start => ScalarValue::TimestampMicrosecond(Some(*START), Some("UTC".into())),
        }))
    }
}
