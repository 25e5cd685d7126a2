//! Frames of windows whose order is by bytes, times of day or intervals.
//!
//! The usual frame of a window reaches `RANGE BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW`, which DataFusion refuses for types that
//! it cannot add to. Nothing is added as long as no bound has an offset: the current row then means all rows equal to it, which
//! `GROUPS` means as well, of any type.

use arrow::datatypes::DataType;
use datafusion::common::DFSchema;
use datafusion::common::tree_node::Transformed;
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::{
    Expr, ExprSchemable, LogicalPlan, WindowFrame, WindowFrameBound, WindowFrameUnits,
};

use super::change_expressions;

/// Turns such frames of a plan, before types are settled.
pub(in crate::session) fn keep_peers(plan: LogicalPlan) -> DfResult<LogicalPlan> {
    change_expressions(plan, peers)
}

fn peers(expr: Expr, schema: &DFSchema) -> Transformed<Expr> {
    let Expr::WindowFunction(mut call) = expr else { return Transformed::no(expr) };
    let frame = &call.params.window_frame;
    let free = |bound: &WindowFrameBound| match bound {
        WindowFrameBound::CurrentRow => true,
        WindowFrameBound::Preceding(offset) | WindowFrameBound::Following(offset) => {
            offset.is_null()
        }
    };
    let refused = |data_type: DataType| {
        matches!(
            data_type,
            DataType::Binary
                | DataType::LargeBinary
                | DataType::BinaryView
                | DataType::FixedSizeBinary(_)
                | DataType::Time32(_)
                | DataType::Time64(_)
                | DataType::Interval(_)
                | DataType::Duration(_)
        )
    };
    let turned = frame.units == WindowFrameUnits::Range
        && free(&frame.start_bound)
        && free(&frame.end_bound)
        && call
            .params
            .order_by
            .first()
            .is_some_and(|by| by.expr.get_type(schema).is_ok_and(refused));
    if !turned {
        return Transformed::no(Expr::WindowFunction(call));
    }
    let (start, end) = (frame.start_bound.clone(), frame.end_bound.clone());
    call.params.window_frame = WindowFrame::new_bounds(WindowFrameUnits::Groups, start, end);
    Transformed::yes(Expr::WindowFunction(call))
}
