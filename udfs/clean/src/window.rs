//! Functions of a partition as the engine knows them: how a call is read, checked and evaluated.
//!
//! A function is registered without its method. [`PlanCalls`] sees each call while it is planned, reads its literals and puts the
//! function with its [`Operation`] in the place of it, since the type of the result depends on the method.

use std::any::Any;
use std::hash::{Hash, Hasher};
use std::ops::Range;
use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::datatypes::{DataType, Field, FieldRef, IntervalUnit, TimeUnit};
use datafusion::common::{Result as DfResult, ScalarValue};
use datafusion::logical_expr::expr::{WindowFunction, WindowFunctionParams};
use datafusion::logical_expr::function::{PartitionEvaluatorArgs, WindowUDFFieldArgs};
use datafusion::logical_expr::planner::{ExprPlanner, PlannerResult, RawWindowExpr};
use datafusion::logical_expr::{
    DocSection, Documentation, Expr, PartitionEvaluator, Signature, Volatility, WindowFrame,
    WindowFrameBound, WindowFunctionDefinition, WindowUDF, WindowUDFImpl,
};
use maru_core::{Error, ErrorKind, Result, did_you_mean};

use crate::clip::common_type;
use crate::partition::{self, Fill, Score};

/// What is made of a partition.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Operation {
    /// As registered, before its call is read.
    Unread,
    /// Microseconds, or whole units of a number.
    Session(i64),
    Fill(Fill),
    Score(Score),
    Winsorize(f64, f64),
    QuantileClip(f64, f64),
}

struct Spec {
    name: &'static str,
    syntax: &'static str,
    doc: &'static str,
}

const FILL: &str = "fill_missing(x, 'mean'|'median'|'mode'|'previous'|'next'|'linear'|'constant' [, constant]) OVER (…)";

const SPECS: &[Spec] = &[
    Spec {
        name: "session_number",
        syntax: "session_number(ts, gap) OVER (PARTITION BY … ORDER BY ts)",
        doc: "Numbers the sessions of a partition from 1 on: one begins where nothing happened for longer than the gap. NULL where ts is NULL.",
    },
    Spec {
        name: "fill_missing",
        syntax: FILL,
        doc: "Puts a value in the place of NULL and NaN, as pandas does: of all rows of the partition, or of the rows before and after in its order.",
    },
    Spec {
        name: "outlier_score",
        syntax: "outlier_score(x [, 'zscore'|'mad'|'iqr']) OVER (…)",
        doc: "Tells how far out a number of the partition is: in standard deviations from the mean, in deviations from the median, or in ranges between the quartiles beyond the nearer one.",
    },
    Spec {
        name: "winsorize",
        syntax: "winsorize(x [, low [, high]]) OVER (…)",
        doc: "Puts the nearest value that stays in the place of a share of the least and of the greatest values (0.05 each), as SciPy does.",
    },
    Spec {
        name: "quantile_clip",
        syntax: "quantile_clip(x [, low [, high]]) OVER (…)",
        doc: "Keeps numbers between two quantiles of the partition (0.05 and 0.95), as pandas' clip with quantile does.",
    },
];

/// The functions before their calls are read.
pub(crate) fn unplanned() -> impl Iterator<Item = Call> {
    SPECS.iter().map(|spec| Call::new(spec, Operation::Unread))
}

pub(crate) struct Call {
    spec: &'static Spec,
    operation: Operation,
    signature: Signature,
    documentation: Documentation,
}

impl Call {
    fn new(spec: &'static Spec, operation: Operation) -> Self {
        let documentation =
            Documentation::builder(DocSection::default(), spec.doc, spec.syntax).build();
        Self {
            spec,
            operation,
            signature: Signature::user_defined(Volatility::Immutable),
            documentation,
        }
    }
}

impl std::fmt::Debug for Call {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {:?}", self.spec.name, self.operation)
    }
}

impl PartialEq for Call {
    fn eq(&self, other: &Self) -> bool {
        self.spec.name == other.spec.name && self.operation == other.operation
    }
}

impl Eq for Call {}

impl Hash for Call {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.spec.name.hash(state);
        format!("{:?}", self.operation).hash(state);
    }
}

/// Reads the calls of a statement.
#[derive(Debug)]
pub(crate) struct PlanCalls;

impl ExprPlanner for PlanCalls {
    fn plan_window(&self, call: RawWindowExpr) -> DfResult<PlannerResult<RawWindowExpr>> {
        let WindowFunctionDefinition::WindowUDF(function) = &call.func_def else {
            return Ok(PlannerResult::Original(call));
        };
        let Some(known) = (function.inner().as_ref() as &dyn Any).downcast_ref::<Call>() else {
            return Ok(PlannerResult::Original(call));
        };
        let spec = known.spec;
        let operation = read(spec, &call)?;
        let function = WindowUDF::from(Call::new(spec, operation));
        Ok(PlannerResult::Planned(Expr::WindowFunction(Box::new(WindowFunction {
            fun: WindowFunctionDefinition::WindowUDF(Arc::new(function)),
            params: WindowFunctionParams {
                args: call.args,
                partition_by: call.partition_by,
                order_by: call.order_by,
                window_frame: call.window_frame,
                filter: None,
                null_treatment: None,
                distinct: false,
            },
        }))))
    }
}

fn wrong(spec: &Spec, what: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidParameter, what.into())
        .with_hint(format!("Write {}.", spec.syntax))
}

fn read(spec: &Spec, call: &RawWindowExpr) -> Result<Operation> {
    let name = spec.name;
    if call.distinct || call.filter.is_some() || call.null_treatment.is_some() {
        return Err(Error::unsupported(format!(
            "{name} takes no DISTINCT, FILTER or IGNORE NULLS"
        ))
        .with_hint("Choose the rows in a subquery."));
    }
    if !is_whole(&call.window_frame, !call.order_by.is_empty()) {
        return Err(Error::unsupported(format!("{name} looks at whole partitions, not at frames"))
            .with_hint("Leave ROWS, RANGE or GROUPS out of OVER."));
    }
    let needs_order = || {
        Error::new(ErrorKind::InvalidStatement, format!("{name} needs an order of the rows"))
            .with_hint("Write ORDER BY in its OVER.")
    };
    let literal = |at: usize| call.args.get(at).map(constant);
    let operation = match name {
        "session_number" => {
            let (2, Some(Some(gap))) = (call.args.len(), literal(1)) else {
                return Err(wrong(spec, "session_number takes a time and a constant gap"));
            };
            if call.order_by.is_empty() {
                return Err(needs_order());
            }
            Operation::Session(gap_of(spec, &gap)?)
        }
        "fill_missing" => {
            let fill = fill_of(spec, call)?;
            if fill.needs_order() && call.order_by.is_empty() {
                return Err(needs_order());
            }
            Operation::Fill(fill)
        }
        "outlier_score" => {
            let method = match (call.args.len(), literal(1)) {
                (1, _) => "zscore".to_owned(),
                (2, Some(Some(value))) => text_of(&value).unwrap_or_default().to_lowercase(),
                _ => {
                    return Err(wrong(
                        spec,
                        "outlier_score takes a number and the name of a method",
                    ));
                }
            };
            Operation::Score(match method.as_str() {
                "zscore" | "z_score" => Score::Deviations,
                "mad" => Score::Mad,
                "iqr" => Score::Iqr,
                other => {
                    return Err(wrong(spec, format!("'{other}' is no method to find outliers")));
                }
            })
        }
        _ => {
            let mut shares = [None, None];
            if call.args.is_empty() || call.args.len() > 3 {
                return Err(wrong(spec, format!("{name} takes a number and two shares")));
            }
            for (at, share) in shares.iter_mut().enumerate() {
                if let Some(value) = literal(at + 1) {
                    let number = value.and_then(|value| number_of(&value));
                    let within = number.filter(|number| (0.0..=1.0).contains(number));
                    *share = Some(within.ok_or_else(|| {
                        wrong(spec, format!("the shares of {name} are constants between 0 and 1"))
                    })?);
                }
            }
            if name == "winsorize" {
                let low = shares[0].unwrap_or(0.05);
                let high = shares[1].unwrap_or(low);
                if low + high >= 1.0 {
                    return Err(wrong(spec, "the shares that winsorize changes are less than all"));
                }
                Operation::Winsorize(low, high)
            } else {
                let low = shares[0].unwrap_or(0.05);
                let high = shares[1].unwrap_or(1.0 - low);
                if low > high {
                    return Err(wrong(spec, "the lower quantile is above the upper one"));
                }
                Operation::QuantileClip(low, high)
            }
        }
    };
    Ok(operation)
}

/// Returns whether a frame is the one that stands where none is written, or all of the partition.
fn is_whole(frame: &WindowFrame, ordered: bool) -> bool {
    let usual = WindowFrame::new(ordered.then_some(false));
    let same = |a: &WindowFrame, b: &WindowFrame| {
        a.units == b.units && a.start_bound == b.start_bound && a.end_bound == b.end_bound
    };
    let unbounded = |bound: &WindowFrameBound| bound.is_unbounded();
    same(frame, &usual) || unbounded(&frame.start_bound) && unbounded(&frame.end_bound)
}

fn constant(expr: &Expr) -> Option<ScalarValue> {
    match expr {
        Expr::Literal(value, _) => Some(value.clone()),
        Expr::Alias(alias) => constant(&alias.expr),
        Expr::Negative(inner) => constant(inner)?.arithmetic_negate().ok(),
        Expr::Cast(cast) => constant(&cast.expr)?.cast_to(cast.field.data_type()).ok(),
        _ => None,
    }
}

fn text_of(value: &ScalarValue) -> Option<String> {
    value.try_as_str().flatten().map(str::to_owned)
}

fn number_of(value: &ScalarValue) -> Option<f64> {
    if !value.data_type().is_numeric() {
        return None;
    }
    match value.cast_to(&DataType::Float64).ok()? {
        ScalarValue::Float64(number) => number,
        _ => None,
    }
}

fn gap_of(spec: &Spec, value: &ScalarValue) -> Result<i64> {
    let month_day_nano = DataType::Interval(IntervalUnit::MonthDayNano);
    let gap = match value {
        value if value.data_type().is_numeric() => number_of(value).map(|number| number as i64),
        ScalarValue::IntervalMonthDayNano(_)
        | ScalarValue::Utf8(_)
        | ScalarValue::Utf8View(_)
        | ScalarValue::IntervalDayTime(_)
        | ScalarValue::IntervalYearMonth(_) => match value.cast_to(&month_day_nano) {
            Ok(ScalarValue::IntervalMonthDayNano(Some(gap))) if gap.months == 0 => {
                Some(i64::from(gap.days) * 86_400_000_000 + gap.nanoseconds / 1000)
            }
            Ok(ScalarValue::IntervalMonthDayNano(Some(_))) => {
                return Err(wrong(
                    spec,
                    "the gap between sessions has no months, which are of several lengths",
                ));
            }
            _ => None,
        },
        ScalarValue::DurationMicrosecond(gap) => *gap,
        _ => None,
    };
    gap.filter(|gap| *gap >= 0).ok_or_else(|| {
        wrong(spec, "the gap between sessions is an interval such as INTERVAL '30 minutes'")
    })
}

fn fill_of(spec: &Spec, call: &RawWindowExpr) -> Result<Fill> {
    const METHODS: [&str; 7] = ["mean", "median", "mode", "previous", "next", "linear", "constant"];
    let n = call.args.len();
    if !(2..=3).contains(&n) {
        return Err(wrong(spec, "fill_missing takes a column and a method or constant"));
    }
    let value = constant(&call.args[1]).ok_or_else(|| {
        wrong(spec, "the method of fill_missing must be a constant, not a column")
    })?;
    let method = text_of(&value).map(|method| method.to_lowercase());
    let fill = match method.as_deref() {
        Some("mean") => Fill::Mean,
        Some("median") => Fill::Median,
        Some("mode" | "most_frequent") => Fill::Mode,
        Some("previous" | "ffill") => Fill::Previous,
        Some("next" | "bfill") => Fill::Next,
        Some("linear") => Fill::Linear,
        Some("constant") if n == 3 => Fill::Constant(2),
        // Anything else stands for itself.
        _ if n == 2 => return Ok(Fill::Constant(1)),
        other => {
            let other = other.unwrap_or("NULL");
            let error = wrong(spec, format!("'{other}' is no method to fill in what is missing"));
            return Err(match did_you_mean(other, METHODS) {
                Some(near) => error.with_hint(format!("Did you mean '{near}'?")),
                None => error,
            });
        }
    };
    match (fill, n) {
        (Fill::Constant(_), _) | (_, 2) => Ok(fill),
        _ => Err(wrong(spec, "only the method 'constant' takes a third argument")),
    }
}

impl WindowUDFImpl for Call {
    fn name(&self) -> &str {
        self.spec.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn documentation(&self) -> Option<&Documentation> {
        Some(&self.documentation)
    }

    /// What does not fit is refused by [`Self::field`], whose SQLSTATE the planner keeps.
    fn coerce_types(&self, types: &[DataType]) -> DfResult<Vec<DataType>> {
        let mut types = types
            .iter()
            .map(|data_type| match data_type {
                DataType::Dictionary(_, value) => value.as_ref().clone(),
                other => other.clone(),
            })
            .collect::<Vec<_>>();
        let Some(value) = types.first().cloned() else { return Ok(types) };
        match self.operation {
            Operation::Fill(Fill::Constant(at)) if at < types.len() => {
                let constant = types[at].clone();
                let fits = value.is_numeric() == constant.is_numeric() || constant.is_null();
                if fits {
                    let common = common_type(&value, &[constant]);
                    (types[0], types[at]) = (common.clone(), common);
                }
            }
            Operation::Fill(fill) if fill.computes() => types[0] = computed(&value),
            Operation::Score(_) if value.is_numeric() => types[0] = DataType::Float64,
            Operation::QuantileClip(..) => types[0] = computed(&value),
            Operation::Session(_) => {
                types[0] = match &value {
                    DataType::Date32 | DataType::Date64 => {
                        DataType::Timestamp(TimeUnit::Microsecond, None)
                    }
                    DataType::Timestamp(_, zone) => {
                        DataType::Timestamp(TimeUnit::Microsecond, zone.clone())
                    }
                    other if other.is_integer() => DataType::Int64,
                    other => other.clone(),
                }
            }
            _ => {}
        }
        Ok(types)
    }

    fn field(&self, args: WindowUDFFieldArgs) -> DfResult<FieldRef> {
        let types = args.input_fields().iter().map(|field| field.data_type()).collect::<Vec<_>>();
        let (name, hint) = (self.spec.name, self.spec.syntax);
        let refuse = |what: &str| {
            let error = Error::new(ErrorKind::UndefinedFunction, format!("function {name} {what}"));
            error.with_hint(format!("Write {hint}."))
        };
        let Some(value) = types.first() else { return Err(refuse("takes a column").into()) };
        let number = value.is_numeric() || value.is_null();
        let result = match self.operation {
            // Without OVER, or called where no statement is read.
            Operation::Unread => return Err(refuse("is called with OVER (…)").into()),
            Operation::Session(_) => match value {
                DataType::Timestamp(..) if types.get(1).is_some_and(|gap| gap.is_numeric()) => {
                    return Err(refuse("takes the gap between times as an interval").into());
                }
                DataType::Int64 if types.get(1).is_some_and(|gap| !gap.is_numeric()) => {
                    return Err(refuse("takes the gap between numbers as a number").into());
                }
                DataType::Timestamp(..) | DataType::Int64 => DataType::Int64,
                _ => return Err(refuse("takes a date, a timestamp or an integer").into()),
            },
            Operation::Fill(Fill::Constant(at)) => {
                if types.get(at) != Some(value) {
                    return Err(refuse("takes a method, or a constant of its column's type").into());
                }
                (*value).clone()
            }
            Operation::Fill(fill) if fill.computes() => {
                if !number && !matches!(value, DataType::Date32 | DataType::Timestamp(..)) {
                    let what =
                        "takes numbers, dates and timestamps for 'mean', 'median' and 'linear'";
                    return Err(refuse(what).into());
                }
                (*value).clone()
            }
            Operation::Fill(_) => (*value).clone(),
            Operation::Score(_) if number => DataType::Float64,
            Operation::QuantileClip(..) if number => (*value).clone(),
            Operation::Winsorize(..) if number || value.is_temporal() => (*value).clone(),
            Operation::Score(_) | Operation::QuantileClip(..) => {
                return Err(refuse("takes numbers").into());
            }
            Operation::Winsorize(..) => {
                return Err(refuse("takes numbers, dates and timestamps").into());
            }
        };
        Ok(Arc::new(Field::new(args.name(), result, true)))
    }

    fn partition_evaluator(
        &self,
        _: PartitionEvaluatorArgs,
    ) -> DfResult<Box<dyn PartitionEvaluator>> {
        Ok(match self.operation {
            Operation::Session(gap) => Box::new(partition::Sessions::new(gap)),
            Operation::Fill(Fill::Previous) => Box::new(partition::Previous::default()),
            operation => Box::new(Whole(operation)),
        })
    }
}

/// The type in which means are computed.
fn computed(value: &DataType) -> DataType {
    match value {
        DataType::Decimal32(precision, scale) | DataType::Decimal64(precision, scale) => {
            DataType::Decimal128(*precision, *scale)
        }
        DataType::Date64 => DataType::Timestamp(TimeUnit::Millisecond, None),
        value if value.is_integer() || value.is_floating() || value.is_null() => DataType::Float64,
        other => other.clone(),
    }
}

/// Evaluates what needs all rows of a partition.
#[derive(Debug)]
struct Whole(Operation);

impl PartitionEvaluator for Whole {
    fn evaluate_all(&mut self, values: &[ArrayRef], n_rows: usize) -> DfResult<ArrayRef> {
        let Some(value) = values.first() else {
            return Err(Error::internal("a function of a partition has no column").into());
        };
        debug_assert_eq!(value.len(), n_rows);
        Ok(match self.0 {
            Operation::Fill(fill) => partition::fill(fill, value, values)?,
            Operation::Score(score) => partition::score(score, value)?,
            Operation::Winsorize(low, high) => partition::winsorize(value, low, high)?,
            Operation::QuantileClip(low, high) => partition::quantile_clip(value, low, high)?,
            Operation::Session(_) | Operation::Unread => {
                return Err(Error::internal("this function has an evaluator of its own").into());
            }
        })
    }

    fn evaluate(&mut self, _: &[ArrayRef], _: &Range<usize>) -> DfResult<ScalarValue> {
        Err(Error::internal("a whole partition is needed").into())
    }
}
