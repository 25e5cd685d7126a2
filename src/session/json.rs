//! Functions that read JSON in columns of text; `rewrite/json.rs` makes PostgreSQL's operators calls of them.

use datafusion::execution::{FunctionRegistry, SessionState};
use datafusion_functions_json::udfs;
use maru_core::Result;

/// Registers the functions.
pub(super) fn register(state: &mut SessionState) -> Result<()> {
    for function in [
        udfs::json_as_text_udf(),
        udfs::json_contains_udf(),
        udfs::json_get_bool_udf(),
        udfs::json_get_float_udf(),
        udfs::json_get_int_udf(),
        udfs::json_get_json_udf(),
        udfs::json_get_str_udf(),
        udfs::json_length_udf(),
    ] {
        state.register_udf(function)?;
    }
    Ok(())
}
