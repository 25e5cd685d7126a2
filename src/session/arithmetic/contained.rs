//! `@>`, `<@` and `&&` of arrays with NULLs among their elements: NULL equals none, so that an array with one is contained in no other, as in
//! PostgreSQL. The engine underneath takes NULLs for equal (DataFusion 55.2).

use std::sync::{Arc, LazyLock};

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, ListArray};
use arrow::buffer::{OffsetBuffer, ScalarBuffer};
use arrow::compute::filter;
use arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use datafusion::error::Result as DfResult;
use datafusion::functions_nested::array_has::{array_has_all_udf, array_has_any_udf};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
};
use maru_core::Error;

static HAS_ALL: LazyLock<Arc<ScalarUDF>> = LazyLock::new(|| by_known(array_has_all_udf(), true));

static HAS_ANY: LazyLock<Arc<ScalarUDF>> = LazyLock::new(|| by_known(array_has_any_udf(), false));

fn by_known(inner: Arc<ScalarUDF>, all: bool) -> Arc<ScalarUDF> {
    Arc::new(ScalarUDF::from(ByKnown { inner, all }))
}

/// Puts the functions that leave NULLs out in the place of the engine's, and tells whether it did.
pub(super) fn settle(call: &mut ScalarFunction) -> bool {
    let function = match call.name() {
        "array_has_all" => &*HAS_ALL,
        "array_has_any" => &*HAS_ANY,
        _ => return false,
    };
    let changed = !Arc::ptr_eq(&call.func, function);
    if changed {
        call.func = Arc::clone(function);
    }
    changed
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct ByKnown {
    inner: Arc<ScalarUDF>,
    all: bool,
}

impl ScalarUDFImpl for ByKnown {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn aliases(&self) -> &[String] {
        self.inner.aliases()
    }

    fn signature(&self) -> &Signature {
        self.inner.signature()
    }

    fn return_type(&self, types: &[DataType]) -> DfResult<DataType> {
        self.inner.return_type(types)
    }

    fn invoke_with_args(&self, mut args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        let n_rows = args.number_rows;
        let wanted = args.args.get(1).cloned();
        let wanted = wanted.ok_or_else(|| Error::internal("two arrays are compared"))?;
        let is_one = matches!(wanted, ColumnarValue::Scalar(_));
        let lists = wanted.to_array(if is_one { 1 } else { n_rows })?;
        let known = match lists.as_list_opt::<i32>() {
            Some(lists) => without_nulls(lists)?,
            None => None,
        };
        let Some((known, lacks)) = known else { return self.inner.invoke_with_args(args) };
        let known: ArrayRef = Arc::new(known);
        if let Some(wanted) = args.args.get_mut(1) {
            *wanted = match is_one {
                true => ColumnarValue::Scalar(ScalarValue::try_from_array(&known, 0)?),
                false => ColumnarValue::Array(known),
            };
        }
        let found = self.inner.invoke_with_args(args)?;
        if !self.all {
            return Ok(found);
        }
        let is_scalar = matches!(found, ColumnarValue::Scalar(_));
        let found = found.to_array(if is_scalar { 1 } else { n_rows })?;
        let has_null = |row: usize| lacks.value(if is_one { 0 } else { row });
        let contained = found.as_boolean().iter().enumerate();
        let contained: BooleanArray =
            contained.map(|(row, found)| found.map(|found| found && !has_null(row))).collect();
        Ok(match is_scalar {
            true => ColumnarValue::Scalar(ScalarValue::try_from_array(&contained, 0)?),
            false => ColumnarValue::Array(Arc::new(contained)),
        })
    }
}

/// Returns the arrays without their NULLs, and which had some; `None` if none had.
fn without_nulls(lists: &ListArray) -> DfResult<Option<(ListArray, BooleanArray)>> {
    let nulls = lists.values().logical_nulls().filter(|nulls| nulls.null_count() > 0);
    let (Some(nulls), DataType::List(item)) = (nulls, lists.data_type()) else { return Ok(None) };
    let values = filter(lists.values(), &BooleanArray::new(nulls.inner().clone(), None))?;
    // How many there are before each place.
    let mut before = Vec::with_capacity(nulls.len() + 1);
    let mut n_known = 0;
    before.push(n_known);
    for is_known in &nulls {
        n_known += i32::from(is_known);
        before.push(n_known);
    }
    let offsets = lists.value_offsets().iter().map(|at| before[*at as usize]).collect::<Vec<_>>();
    let lengths = lists.value_offsets().windows(2).zip(offsets.windows(2));
    let lacks = lengths.map(|(old, new)| Some(old[1] - old[0] != new[1] - new[0])).collect();
    let offsets = OffsetBuffer::new(ScalarBuffer::from(offsets));
    let known = ListArray::try_new(Arc::clone(item), offsets, values, lists.nulls().cloned())?;
    Ok(Some((known, lacks)))
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::Int32Type;

    use super::*;

    #[test]
    fn nulls_are_left_out() {
        let rows = vec![
            Some(vec![Some(1), None, Some(2)]),
            None,
            Some(vec![]),
            Some(vec![None]),
            Some(vec![Some(3)]),
        ];
        let lists = ListArray::from_iter_primitive::<Int32Type, _, _>(rows);
        let row = |lists: &ListArray, at: usize| {
            lists.value(at).as_primitive::<Int32Type>().values().to_vec()
        };
        let (known, lacks) = without_nulls(&lists).unwrap().unwrap();
        assert_eq!((row(&known, 0), row(&known, 4)), (vec![1, 2], vec![3]));
        assert!(known.is_null(1) && known.value(3).is_empty());
        let expected = [true, false, false, true, false].map(Some);
        assert_eq!(lacks, BooleanArray::from(expected.to_vec()));
        let (known, lacks) = without_nulls(&lists.slice(3, 2)).unwrap().unwrap();
        assert_eq!((known.len(), lacks.value(0), lacks.value(1)), (2, true, false));
        assert_eq!(row(&known, 1), vec![3]);
    }
}
