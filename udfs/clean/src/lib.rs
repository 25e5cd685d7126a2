//! The pack of cleaning: functions that make usable columns of what logs, forms and exports hold.
//!
//! `function.rs` is what all functions of one row have in common, each of the other files a family of them; `window.rs` is the
//! same for those that look at whole partitions, `profile.rs` what is told of a column. The list is [`functions`],
//! [`aggregate_functions`] and [`window_functions`], each entry with its documentation.

mod agent;
mod clip;
mod date;
mod function;
mod log;
mod mask;
mod number;
mod partition;
mod phone;
mod profile;
mod text;
mod web;
mod window;

use std::sync::Arc;

use datafusion::execution::{FunctionRegistry, SessionState};
use datafusion::logical_expr::{AggregateUDF, ScalarUDF, WindowUDF};
use maru_core::Result;

/// Every function of one row.
pub fn functions() -> Vec<ScalarUDF> {
    let families: [&[function::Spec]; 8] = [
        log::FUNCTIONS,
        web::FUNCTIONS,
        agent::FUNCTIONS,
        text::FUNCTIONS,
        phone::FUNCTIONS,
        mask::FUNCTIONS,
        number::FUNCTIONS,
        date::FUNCTIONS,
    ];
    let each = families.into_iter().flatten();
    each.map(|spec| ScalarUDF::from(function::TextFunction::new(spec)))
        .chain([ScalarUDF::from(clip::Clip::new())])
        .collect()
}

/// Every function that tells something of a column.
pub fn aggregate_functions() -> Vec<AggregateUDF> {
    profile::functions()
}

/// Every function of a partition.
pub fn window_functions() -> Vec<WindowUDF> {
    window::unplanned().map(WindowUDF::from).collect()
}

/// Puts the functions into a state.
///
/// # Errors
/// Those of the state.
pub fn register(state: &mut SessionState) -> Result<()> {
    for function in functions() {
        state.register_udf(Arc::new(function))?;
    }
    for function in aggregate_functions() {
        state.register_udaf(Arc::new(function))?;
    }
    for function in window_functions() {
        state.register_udwf(Arc::new(function))?;
    }
    state.register_expr_planner(Arc::new(window::PlanCalls))?;
    Ok(())
}
