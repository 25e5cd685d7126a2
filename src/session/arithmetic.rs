//! Arithmetic as PostgreSQL does it: never a wrong row.
//!
//! DataFusion computes `+`, `-` and `*` on integers modulo 2^n, PostgreSQL raises 22003. After types are settled, this rule
//! puts a checked function in the place of each such operator, and of those on floats, whose quotient by zero is 22012 there and
//! infinite underneath, as what is beyond all floats is, and whose NaN may have a sign; and `cast.rs` one in the place of casts that lose digits.
//! `date.rs` acts before, since it changes types. `conditions.rs` keeps what fails for some rows behind the conditions
//! that leave them out, `zone.rs` lets instants be seen by the session's clocks, `lists.rs` keeps lists apart that would become a wrong one,
//! and `alike.rs` lets floats of one value be found by it.

mod alike;
mod array_text;
mod branches;
mod bytes;
mod bytes_text;
mod cast;
mod conditions;
mod contained;
mod date;
mod date_text;
mod decimal_texts;
mod elements;
mod float;
mod float_range;
mod float_text;
mod frames;
mod interval;
mod interval_text;
mod lists;
mod moments;
mod numeric_text;
mod open_numeric;
mod promised;
mod quotient;
mod sides;
mod time_text;
mod unsigned;
mod zeros;
mod zone;

use std::sync::{Arc, LazyLock};

use arrow::array::{ArrayRef, Datum};
use arrow::compute::kernels::numeric;
use arrow::datatypes::{DataType, Field, FieldRef};
use arrow::error::ArrowError;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::{
    BinaryExpr, ColumnarValue, Expr, ExprSchemable, LogicalPlan, Operator, ReturnFieldArgs,
    ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use datafusion::optimizer::AnalyzerRule;
use datafusion::physical_expr_common::datum::apply;
use maru_core::{Error, ErrorKind};

use crate::engine::planners;

pub(super) use alike::BothZeros;
pub(super) use bytes_text::parse as parse_bytes;
pub(super) use cast::assigned;
pub(super) use date::keep_times;
pub(crate) use date_text::spelled;
pub(super) use float_range::beyond;
pub(super) use frames::keep_peers;
pub(crate) use interval_text::spelled as spelled_interval;
pub(super) use numeric_text::{PLACES as NUMERIC_PLACES, without_exponent};
pub(super) use open_numeric::{
    COLUMN_PLACES, FUNCTION as NUMERIC_OF, as_casts, register as register_numeric,
};
pub(super) use sides::of_one_type;
pub(crate) use time_text::in_full as time_in_full;
pub(super) use zeros::same_zeros;

/// The rule.
#[derive(Debug)]
pub(super) struct PostgresArithmetic;

impl AnalyzerRule for PostgresArithmetic {
    fn analyze(&self, plan: LogicalPlan, config: &ConfigOptions) -> DfResult<LogicalPlan> {
        let zone = config.execution.time_zone.as_deref().unwrap_or("UTC");
        let plan = conditions::guarded(plan)?;
        let plan = change_expressions(plan, |expr, schema| zone::settle(expr, schema, zone))?;
        let plan = change_expressions(plan, |expr, schema| postgres(expr, schema, zone))?;
        change_expressions(lists::settled(plan)?, alike::by_value)
    }

    fn name(&self) -> &str {
        "postgres_arithmetic"
    }
}

/// Changes the parts of all expressions of a plan. Names of columns stay: they are what a client sees.
pub(super) fn change_expressions(
    plan: LogicalPlan,
    change: impl Fn(Expr, &DFSchema) -> Transformed<Expr>,
) -> DfResult<LogicalPlan> {
    change_by(plan, change, LogicalPlan::recompute_schema)
}

/// The same where types change, which a `UNION` tells anew. The sides of each are of one type before.
fn change_types(
    plan: LogicalPlan,
    change: impl Fn(Expr, &DFSchema) -> Transformed<Expr>,
) -> DfResult<LogicalPlan> {
    change_by(plan, change, promised::told_anew)
}

fn change_by(
    plan: LogicalPlan,
    change: impl Fn(Expr, &DFSchema) -> Transformed<Expr>,
    told: fn(LogicalPlan) -> DfResult<LogicalPlan>,
) -> DfResult<LogicalPlan> {
    plan.transform_up_with_subqueries(|plan| {
        let mut schema = DFSchema::empty();
        for input in plan.inputs() {
            schema.merge(input.schema());
        }
        if plan.inputs().is_empty() {
            schema.merge(plan.schema());
        }
        let preserver = NamePreserver::new(&plan);
        plan.map_expressions(|expr| {
            let name = preserver.save(&expr);
            let rewritten = expr.transform_up(|expr| {
                planners::go_on()?;
                Ok(change(expr, &schema))
            })?;
            Ok(rewritten.update_data(|expr| name.restore(expr)))
        })?
        .map_data(told)
    })
    .data()
}

fn postgres(expr: Expr, schema: &DFSchema, zone: &str) -> Transformed<Expr> {
    match expr {
        Expr::BinaryExpr(ref sum) if sum.op.supports_propagation() => {
            interval::compare(expr, schema)
        }
        Expr::BinaryExpr(_) => check(expr, schema),
        Expr::Negative(inner) => negated(*inner, schema),
        Expr::Between(_) | Expr::InList(_) => interval::compare(expr, schema),
        Expr::Cast(_) | Expr::TryCast(_) => {
            let written = float::written(expr);
            if written.transformed {
                return written;
            }
            let written = date_text::as_iso(written.data);
            match written.transformed {
                true => written,
                false => cast::lossy(written.data, schema, zone),
            }
        }
        Expr::ScalarFunction(_) => elements::from_first(expr, schema),
        other => Transformed::no(other),
    }
}

/// Takes a float from -0, whose sign would become that of a NaN, and a whole number from 0: the least one has no other sign.
fn negated(inner: Expr, schema: &DFSchema) -> Transformed<Expr> {
    let data_type = type_of(&inner, schema).ok();
    let zero = match &data_type {
        Some(DataType::Float64) => Some((ScalarValue::Float64(Some(-0.0)), &*FLOAT_SUBTRACT)),
        Some(DataType::Float32) => Some((ScalarValue::Float32(Some(-0.0)), &*FLOAT_SUBTRACT)),
        Some(whole) if whole.is_signed_integer() => {
            ScalarValue::new_zero(whole).ok().map(|zero| (zero, &*SUBTRACT))
        }
        _ => None,
    };
    let is_plain = matches!(&inner, Expr::Literal(value, _) if value.arithmetic_negate().is_ok());
    match zero {
        Some((zero, function)) if !is_plain => {
            let operands = vec![Expr::Literal(zero, None), inner];
            let call = ScalarFunction::new_udf(Arc::clone(function), operands);
            Transformed::yes(Expr::ScalarFunction(call))
        }
        _ => Transformed::no(Expr::Negative(Box::new(inner))),
    }
}

fn check(expr: Expr, schema: &DFSchema) -> Transformed<Expr> {
    let BinaryExpr { left, op, right } = match expr {
        Expr::BinaryExpr(sum) => sum,
        other => return Transformed::no(other),
    };
    let functions = match op {
        Operator::Plus => Some((Some(&*ADD), &*FLOAT_ADD)),
        Operator::Minus => Some((Some(&*SUBTRACT), &*FLOAT_SUBTRACT)),
        Operator::Multiply => Some((Some(&*MULTIPLY), &*FLOAT_MULTIPLY)),
        Operator::Divide => Some((None, &*DIVIDE)),
        _ => None,
    };
    let function = functions.and_then(|(of_integers, of_floats)| {
        let data_type = type_of(&left, schema).ok()?;
        if type_of(&right, schema).ok()? != data_type {
            return None;
        }
        match data_type {
            DataType::Float32 | DataType::Float64 => Some(of_floats),
            data_type => of_integers.filter(|_| data_type.is_integer()),
        }
    });
    match function {
        Some(function) => {
            let call = ScalarFunction::new_udf(Arc::clone(function), vec![*left, *right]);
            Transformed::yes(Expr::ScalarFunction(call))
        }
        None => Transformed::no(Expr::BinaryExpr(BinaryExpr { left, op, right })),
    }
}

/// Returns the type of an operand: that of a checked operation is the one of its operands. Asked itself, each of them would
/// write out the names of all that is below it, and a sum of some hundred terms would take minutes.
fn type_of(operand: &Expr, schema: &DFSchema) -> DfResult<DataType> {
    let mut operand = operand;
    while let Some(first) = operation(operand).and_then(|(_, operands)| operands.first()) {
        operand = first;
    }
    operand.get_type(schema)
}

/// Returns the name and the operands of a checked operation.
fn operation(expr: &Expr) -> Option<(&str, &[Expr])> {
    let Expr::ScalarFunction(call) = expr else { return None };
    let integers = [&*ADD, &*SUBTRACT, &*MULTIPLY];
    let floats = [&*FLOAT_ADD, &*FLOAT_SUBTRACT, &*FLOAT_MULTIPLY, &*DIVIDE];
    let mut all = integers.into_iter().chain(floats);
    let is_checked = all.any(|function| Arc::ptr_eq(function, &call.func));
    is_checked.then(|| (call.func.name(), call.args.as_slice()))
}

static ADD: LazyLock<Arc<ScalarUDF>> = LazyLock::new(|| checked(Operation::Add));
static SUBTRACT: LazyLock<Arc<ScalarUDF>> = LazyLock::new(|| checked(Operation::Subtract));
static MULTIPLY: LazyLock<Arc<ScalarUDF>> = LazyLock::new(|| checked(Operation::Multiply));
static FLOAT_ADD: LazyLock<Arc<ScalarUDF>> = LazyLock::new(|| checked(Operation::FloatAdd));
static FLOAT_SUBTRACT: LazyLock<Arc<ScalarUDF>> =
    LazyLock::new(|| checked(Operation::FloatSubtract));
static FLOAT_MULTIPLY: LazyLock<Arc<ScalarUDF>> =
    LazyLock::new(|| checked(Operation::FloatMultiply));
static DIVIDE: LazyLock<Arc<ScalarUDF>> = LazyLock::new(|| checked(Operation::Divide));

fn checked(operation: Operation) -> Arc<ScalarUDF> {
    Arc::new(ScalarUDF::from(CheckedOperation {
        operation,
        signature: Signature::any(2, Volatility::Immutable),
    }))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Operation {
    Add,
    Subtract,
    Multiply,
    FloatAdd,
    FloatSubtract,
    FloatMultiply,
    /// Of floats.
    Divide,
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct CheckedOperation {
    operation: Operation,
    signature: Signature,
}

impl ScalarUDFImpl for CheckedOperation {
    fn name(&self) -> &str {
        match self.operation {
            Operation::Add => "integer_add",
            Operation::Subtract => "integer_subtract",
            Operation::Multiply => "integer_multiply",
            Operation::FloatAdd => "float_add",
            Operation::FloatSubtract => "float_subtract",
            Operation::FloatMultiply => "float_multiply",
            Operation::Divide => "float_divide",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> DfResult<DataType> {
        Ok(types.first().cloned().unwrap_or(DataType::Int64))
    }

    /// Writes the names of a long sum once, where the planner would copy what is below at each of its operations.
    fn schema_name(&self, args: &[Expr]) -> DfResult<String> {
        let mut calls = vec![(self.name(), args)];
        let mut next = args.first().and_then(operation);
        while let Some((name, args)) = next {
            calls.push((name, args));
            next = args.first().and_then(operation);
        }
        let mut text = String::new();
        for (name, _) in &calls {
            text.push_str(name);
            text.push('(');
        }
        // The first operand of all but the innermost is what has just been written.
        let mut written = 0;
        for (_, args) in calls.iter().rev() {
            for (index, arg) in args.iter().enumerate().skip(written) {
                if index > 0 {
                    text.push(',');
                }
                text.push_str(&arg.schema_name().to_string());
            }
            text.push(')');
            written = 1;
        }
        Ok(text)
    }

    /// NULL if an argument is, as for the operator.
    fn return_field_from_args(&self, args: ReturnFieldArgs) -> DfResult<FieldRef> {
        let data_type = args.arg_fields.first().map_or(DataType::Int64, |f| f.data_type().clone());
        let nullable = args.arg_fields.iter().any(|field| field.is_nullable());
        Ok(Arc::new(Field::new(self.name(), data_type, nullable)))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        let (kernel, sign): (fn(&dyn Datum, &dyn Datum) -> _, _) = match self.operation {
            Operation::Add => (numeric::add, "+"),
            Operation::Subtract => (numeric::sub, "-"),
            Operation::Multiply => (numeric::mul, "*"),
            Operation::FloatAdd => return self.on_floats(&args.args, numeric::add),
            Operation::FloatSubtract => return self.on_floats(&args.args, numeric::sub),
            Operation::FloatMultiply => return self.on_floats(&args.args, numeric::mul),
            Operation::Divide => return self.on_floats(&args.args, float::quotient),
        };
        let data_type = args.return_field.data_type().clone();
        apply(&args.args[0], &args.args[1], |a, b| kernel(a, b)).map_err(|_| {
            Error::new(
                ErrorKind::OutOfRange,
                format!("{} out of range", crate::system::types::sql_name(&data_type)),
            )
            .with_detail(format!("The result of {sign} does not fit."))
            .with_hint("CAST one side to numeric first.")
            .into()
        })
    }
}

impl CheckedOperation {
    /// Computes with floats. The processor makes a NaN of either sign.
    fn on_floats(
        &self,
        args: &[ColumnarValue],
        kernel: fn(&dyn Datum, &dyn Datum) -> Result<ArrayRef, ArrowError>,
    ) -> DfResult<ColumnarValue> {
        apply(&args[0], &args[1], |a, b| {
            let values = kernel(a, b)?;
            float_range::check(self.operation, a, b, &values)?;
            Ok(float::one_nan(&values))
        })
    }
}
