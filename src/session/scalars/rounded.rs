//! `ceil`, `floor` and `trunc` of numerics, which leave no places: `ceil(4.2)` is 5, not 5.0; and `round` of floats, which rounds a
//! half to the even number: `round(2.5::float8)` is 2.
//!
//! The others of floats are DataFusion's own, and so are `round` and `trunc` to a number of places.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Decimal128Array};
use arrow::datatypes::{DataType, Decimal128Type, Field, FieldRef, Float32Type, Float64Type};
use datafusion::common::ScalarValue;
use datafusion::error::Result as DfResult;
use datafusion::execution::{FunctionRegistry, SessionState};
use datafusion::logical_expr::interval_arithmetic::Interval;
use datafusion::logical_expr::sort_properties::{ExprProperties, SortProperties};
use datafusion::logical_expr::{
    ColumnarValue, Documentation, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl,
    Signature, Volatility,
};
use maru_core::{Error, Result};

/// Puts the functions in the place of DataFusion's.
pub(super) fn register(state: &mut SessionState) -> Result<()> {
    let names = [("ceil", &["ceiling"][..]), ("floor", &[]), ("trunc", &[]), ("round", &[])];
    for (name, aliases) in names {
        let inner = state.udf(name)?;
        let aliases = aliases.iter().map(|alias| (*alias).to_owned());
        let aliases = inner.aliases().iter().cloned().chain(aliases).collect();
        let signature = Signature::user_defined(Volatility::Immutable);
        state.register_udf(Arc::new(ScalarUDF::from(Rounded { inner, aliases, signature })))?;
    }
    Ok(())
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Rounded {
    inner: Arc<ScalarUDF>,
    aliases: Vec<String>,
    signature: Signature,
}

impl Rounded {
    fn is_round(&self) -> bool {
        self.inner.name() == "round"
    }
}

impl ScalarUDFImpl for Rounded {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn aliases(&self) -> &[String] {
        &self.aliases
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.inner.documentation()
    }

    fn coerce_types(&self, types: &[DataType]) -> DfResult<Vec<DataType>> {
        if let [data_type @ DataType::Decimal128(..)] = types
            && !self.is_round()
        {
            return Ok(vec![data_type.clone()]);
        }
        let fields =
            types.iter().map(|data_type| Arc::new(Field::new("", data_type.clone(), true)));
        let fields = fields.collect::<Vec<_>>();
        let coerced = datafusion::logical_expr::type_coercion::functions::fields_with_udf(
            &fields,
            self.inner.as_ref(),
        )?;
        Ok(coerced.iter().map(|field| field.data_type().clone()).collect())
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> DfResult<FieldRef> {
        if self.is_round() {
            // Its places tell the type.
            return self.inner.return_field_from_args(args);
        }
        let types = args.arg_fields.iter().map(|field| field.data_type().clone());
        let data_type = self.return_type(&types.collect::<Vec<_>>())?;
        Ok(Arc::new(Field::new(self.name(), data_type, true)))
    }

    fn return_type(&self, types: &[DataType]) -> DfResult<DataType> {
        Ok(match types {
            _ if self.is_round() => return self.inner.return_type(types),
            // One digit more, for what is rounded away from zero.
            [DataType::Decimal128(precision, places)] if *places > 0 => {
                let whole = (i16::from(*precision) - i16::from(*places) + 1).clamp(1, 38);
                DataType::Decimal128(whole as u8, 0)
            }
            [DataType::Decimal128(precision, places)] => DataType::Decimal128(*precision, *places),
            _ => return self.inner.return_type(types),
        })
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        let [argument] = args.args.as_slice() else { return self.inner.invoke_with_args(args) };
        if self.is_round() {
            let is_float = argument.data_type().is_floating();
            return if is_float { to_even(argument) } else { self.inner.invoke_with_args(args) };
        }
        let DataType::Decimal128(_, places) = argument.data_type() else {
            return self.inner.invoke_with_args(args);
        };
        let is_scalar = matches!(argument, ColumnarValue::Scalar(_));
        let array = argument.to_array(if is_scalar { 1 } else { args.number_rows })?;
        let found = whole(self.name(), &array, places)?
            .with_data_type(args.return_field.data_type().clone());
        let found: ArrayRef = Arc::new(found);
        Ok(match is_scalar {
            true => ColumnarValue::Scalar(ScalarValue::try_from_array(&found, 0)?),
            false => ColumnarValue::Array(found),
        })
    }

    fn output_ordering(&self, input: &[ExprProperties]) -> DfResult<SortProperties> {
        self.inner.inner().output_ordering(input)
    }

    fn evaluate_bounds(&self, inputs: &[&Interval]) -> DfResult<Interval> {
        Interval::make_unbounded(
            &self.return_type(&inputs.iter().map(|input| input.data_type()).collect::<Vec<_>>())?,
        )
    }
}

/// Rounds floats, a half to the even number.
fn to_even(values: &ColumnarValue) -> DfResult<ColumnarValue> {
    let rounded = |array: &ArrayRef| -> ArrayRef {
        match array.data_type() {
            DataType::Float32 => {
                let array = array.as_primitive::<Float32Type>();
                Arc::new(array.unary::<_, Float32Type>(f32::round_ties_even))
            }
            DataType::Float64 => {
                let array = array.as_primitive::<Float64Type>();
                Arc::new(array.unary::<_, Float64Type>(f64::round_ties_even))
            }
            _ => Arc::clone(array),
        }
    };
    Ok(match values {
        ColumnarValue::Array(array) => ColumnarValue::Array(rounded(array)),
        ColumnarValue::Scalar(value) => {
            ColumnarValue::Scalar(ScalarValue::try_from_array(&rounded(&value.to_array()?), 0)?)
        }
    })
}

fn whole(name: &str, array: &ArrayRef, places: i8) -> Result<Decimal128Array> {
    let Some(power) = u32::try_from(places).ok().and_then(|places| 10_i128.checked_pow(places))
    else {
        return Err(Error::internal("a numeric has places below zero"));
    };
    let part: fn(i128, i128) -> i128 = match name {
        "ceil" => |value, power| value.div_euclid(power) + i128::from(value.rem_euclid(power) > 0),
        "floor" => |value, power| value.div_euclid(power),
        _ => |value, power| value / power,
    };
    Ok(array.as_primitive::<Decimal128Type>().unary(|value| part(value, power)))
}
