//! Arithmetic as PostgreSQL does it: never a wrong row.
//!
//! DataFusion computes `+`, `-` and `*` on integers modulo 2^n, PostgreSQL raises 22003. After types are settled, this rule
//! puts a checked function in the place of each such operator, and of `/` on floats, whose quotient by zero is 22012 there and
//! infinite underneath; and `cast.rs` one in the place of casts that lose digits.
//! `date.rs` acts before, since it changes types. `conditions.rs` keeps what fails for some rows behind the conditions
//! that leave them out, and `zone.rs` lets instants be seen by the session's clocks.

mod array_text;
mod branches;
mod cast;
mod conditions;
mod date;
mod date_text;
mod float;
mod frames;
mod interval;
mod moments;
mod numeric_text;
mod promised;
mod quotient;
mod zeros;
mod zone;

use std::sync::{Arc, LazyLock};

use arrow::compute::kernels::numeric;
use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::DFSchema;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
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

pub(super) use cast::assigned;
pub(super) use date::keep_times;
pub(crate) use date_text::spelled;
pub(super) use frames::keep_peers;
pub(super) use zeros::same_zeros;

/// The rule.
#[derive(Debug)]
pub(super) struct PostgresArithmetic;

impl AnalyzerRule for PostgresArithmetic {
    fn analyze(&self, plan: LogicalPlan, config: &ConfigOptions) -> DfResult<LogicalPlan> {
        let zone = config.execution.time_zone.as_deref().unwrap_or("UTC");
        let plan = conditions::guarded(plan)?;
        let plan = change_expressions(plan, |expr, schema| zone::settle(expr, schema, zone))?;
        change_expressions(plan, |expr, schema| postgres(expr, schema, zone))
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
        .map_data(LogicalPlan::recompute_schema)
    })
    .data()
}

fn postgres(expr: Expr, schema: &DFSchema, zone: &str) -> Transformed<Expr> {
    match expr {
        Expr::BinaryExpr(ref sum) if sum.op.supports_propagation() => {
            interval::compare(expr, schema)
        }
        Expr::BinaryExpr(_) => check(expr, schema),
        Expr::Between(_) | Expr::InList(_) => interval::compare(expr, schema),
        Expr::Cast(_) | Expr::TryCast(_) => {
            let written = date_text::as_iso(expr);
            match written.transformed {
                true => written,
                false => cast::lossy(written.data, schema, zone),
            }
        }
        other => Transformed::no(other),
    }
}

fn check(expr: Expr, schema: &DFSchema) -> Transformed<Expr> {
    let BinaryExpr { left, op, right } = match expr {
        Expr::BinaryExpr(sum) => sum,
        other => return Transformed::no(other),
    };
    let function = match op {
        Operator::Plus => Some(&*ADD),
        Operator::Minus => Some(&*SUBTRACT),
        Operator::Multiply => Some(&*MULTIPLY),
        Operator::Divide => Some(&*DIVIDE),
        _ => None,
    };
    let divides = op == Operator::Divide;
    let is_meant = |data_type: &DataType| match data_type {
        DataType::Float32 | DataType::Float64 => divides,
        data_type => data_type.is_integer() && !divides,
    };
    let function = function.filter(|_| match (type_of(&left, schema), type_of(&right, schema)) {
        (Ok(a), Ok(b)) => a == b && is_meant(&a),
        _ => false,
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
    let all = [&*ADD, &*SUBTRACT, &*MULTIPLY, &*DIVIDE];
    let is_checked = all.into_iter().any(|function| Arc::ptr_eq(function, &call.func));
    is_checked.then(|| (call.func.name(), call.args.as_slice()))
}

static ADD: LazyLock<Arc<ScalarUDF>> = LazyLock::new(|| checked(Operation::Add));
static SUBTRACT: LazyLock<Arc<ScalarUDF>> = LazyLock::new(|| checked(Operation::Subtract));
static MULTIPLY: LazyLock<Arc<ScalarUDF>> = LazyLock::new(|| checked(Operation::Multiply));
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
        if self.operation == Operation::Divide {
            return apply(&args.args[0], &args.args[1], float::quotient);
        }
        let (kernel, sign): (fn(&dyn arrow::array::Datum, &dyn arrow::array::Datum) -> _, _) =
            match self.operation {
                Operation::Add => (numeric::add, "+"),
                Operation::Subtract => (numeric::sub, "-"),
                Operation::Multiply => (numeric::mul, "*"),
                Operation::Divide => (numeric::div, "/"),
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
