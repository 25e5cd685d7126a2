//! Numbers that a source computes, held against arithmetic of whole numbers.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Decimal128Array, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DECIMAL128_MAX_PRECISION, DataType, Decimal128Type, Field, Schema};
use maru_core::Result;

use super::reading;
use crate::{ArithmeticOp, Computation, Number, RemoteTable, ScanRequest, SourceTable, Step};

/// Asks for each column of whole numbers or decimals plus, minus and times another one and literals.
pub(super) async fn hold(
    remote: &Arc<dyn RemoteTable>,
    input: &ScanRequest,
    rows: &RecordBatch,
) -> Result<usize> {
    let schema = remote.schema();
    let is_number = |data_type: &DataType| data_type.is_signed_integer() || data_type.is_decimal();
    let columns = (0..schema.fields().len()).filter(|at| is_number(schema.field(*at).data_type()));
    let columns = columns.collect::<Vec<_>>();
    let mut computed = 0;
    for (at, column) in columns.iter().enumerate() {
        let next = columns[(at + 1) % columns.len()];
        let of = |op, left: Number, right: Number| Number::Arithmetic {
            op,
            left: Box::new(left),
            right: Box::new(right),
        };
        let literal = |digits, scale| Number::Literal { digits, scale };
        let (one, other) = (Number::Column(*column), Number::Column(next));
        for number in [
            of(ArithmeticOp::Subtract, literal(0, 0), one.clone()),
            of(ArithmeticOp::Multiply, one.clone(), literal(-15, 1)),
            of(ArithmeticOp::Add, one.clone(), other.clone()),
            of(
                ArithmeticOp::Multiply,
                one.clone(),
                of(ArithmeticOp::Subtract, literal(1, 0), other.clone()),
            ),
        ] {
            let Some(wanted) = values(&number, rows)? else { continue };
            let data_type = wanted.data_type().clone();
            let step = Step::Compute { numbers: vec![Computation { number, data_type }] };
            let Some(derived) = remote.derive(input, &step) else { continue };
            computed += 1;
            let mut fields = rows.schema().fields().iter().cloned().collect::<Vec<_>>();
            fields.push(Arc::new(Field::new("number", wanted.data_type().clone(), true)));
            let arrays = rows.columns().iter().cloned().chain([wanted]).collect();
            let wanted = RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays)?;
            let derived = SourceTable::Remote(derived);
            let got = reading::read(&derived, &ScanRequest::all(&derived.schema())).await?;
            reading::same_rows(&got, &[wanted], || format!("{step:?} of {input:?}"))?;
        }
    }
    Ok(computed)
}

/// Returns the number of each row; `None` if one has no place in 38 digits.
fn values(number: &Number, rows: &RecordBatch) -> Result<Option<ArrayRef>> {
    let Some((values, scale)) = computed(number, rows)? else { return Ok(None) };
    let data_type = DataType::Decimal128(DECIMAL128_MAX_PRECISION, scale.cast_signed());
    let limit = 10_u128.pow(u32::from(DECIMAL128_MAX_PRECISION));
    if values.iter().flatten().any(|n| n.unsigned_abs() >= limit) {
        return Ok(None);
    }
    Ok(Some(Arc::new(Decimal128Array::from(values).with_data_type(data_type))))
}

type Values = Vec<Option<i128>>;

fn computed(number: &Number, rows: &RecordBatch) -> Result<Option<(Values, u8)>> {
    let (op, left, right) = match number {
        Number::Column(column) => {
            let array = rows.column(*column);
            let scale = match array.data_type() {
                DataType::Decimal128(_, scale) => *scale,
                _ => 0,
            };
            let decimals = cast(array, &DataType::Decimal128(DECIMAL128_MAX_PRECISION, scale))?;
            let values = decimals.as_primitive::<Decimal128Type>().iter().collect();
            return Ok(Some((values, scale.cast_unsigned())));
        }
        Number::Literal { digits, scale } => {
            return Ok(Some((vec![Some(*digits); rows.num_rows()], *scale)));
        }
        Number::Arithmetic { op, left, right } => (*op, left, right),
    };
    let (Some((left, left_scale)), Some((right, right_scale))) =
        (computed(left, rows)?, computed(right, rows)?)
    else {
        return Ok(None);
    };
    let scale = match op {
        ArithmeticOp::Multiply => left_scale + right_scale,
        ArithmeticOp::Add | ArithmeticOp::Subtract => left_scale.max(right_scale),
    };
    let aligned = |n: i128, from: u8| n.checked_mul(10_i128.checked_pow(u32::from(scale - from))?);
    let mut values = Vec::with_capacity(left.len());
    for pair in left.into_iter().zip(right) {
        let (Some(left), Some(right)) = pair else {
            values.push(None);
            continue;
        };
        let value = match op {
            ArithmeticOp::Multiply => left.checked_mul(right),
            ArithmeticOp::Add | ArithmeticOp::Subtract => {
                let sides = aligned(left, left_scale).zip(aligned(right, right_scale));
                sides.and_then(|(left, right)| match op {
                    ArithmeticOp::Subtract => left.checked_sub(right),
                    _ => left.checked_add(right),
                })
            }
        };
        match value {
            Some(value) => values.push(Some(value)),
            None => return Ok(None),
        }
    }
    Ok(Some((values, scale)))
}
