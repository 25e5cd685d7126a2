//! Batches that clients send, as the engine counts on values: one NaN, and NULL of a dictionary told by its keys.

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, RecordBatchOptions, make_array};
use maru_core::Result;

/// Brings the values of a client to the engine's form; the types stay.
///
/// # Errors
/// Those of Arrow, of a dictionary whose keys point nowhere.
pub(super) fn plain(batch: RecordBatch) -> Result<RecordBatch> {
    let batch = maru_connect::one_nan(batch)?;
    if !batch.columns().iter().any(has_null_among_values) {
        return Ok(batch);
    }
    let columns = batch.columns().iter().map(|column| match has_null_among_values(column) {
        true => null_by_key(column),
        false => Ok(ArrayRef::clone(column)),
    });
    let columns = columns.collect::<Result<Vec<_>>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    Ok(RecordBatch::try_new_with_options(batch.schema(), columns, &options)?)
}

fn has_null_among_values(column: &ArrayRef) -> bool {
    column
        .as_any_dictionary_opt()
        .is_some_and(|dictionary| dictionary.values().logical_null_count() > 0)
}

/// Arrow allows a key of a value that is NULL, but some of its casts look at the keys alone and make an empty text of it.
fn null_by_key(dictionary: &ArrayRef) -> Result<ArrayRef> {
    let data = dictionary.to_data().into_builder().nulls(dictionary.logical_nulls()).build()?;
    Ok(make_array(data))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{
        DictionaryArray, FixedSizeListArray, Float64Array, StringArray, UInt8Array,
    };
    use arrow::compute::cast;
    use arrow::datatypes::{DataType, Float64Type};

    use super::*;

    #[test]
    fn null_among_the_values_of_a_dictionary_is_null() {
        let keys = UInt8Array::from(vec![Some(0), None, Some(1)]);
        let values = Arc::new(StringArray::from(vec![Some("x"), None]));
        let dictionary: ArrayRef = Arc::new(DictionaryArray::new(keys, values));
        let floats: ArrayRef = Arc::new(Float64Array::from(vec![-f64::NAN, -0.0, 1.5]));
        let batch = RecordBatch::try_from_iter_with_nullable([
            ("d", dictionary, true),
            ("f", floats, true),
        ]);
        let plain = plain(batch.unwrap()).unwrap();
        assert_eq!(plain.column(0).null_count(), 2);
        let texts = cast(plain.column(0), &DataType::Utf8View).unwrap();
        assert_eq!(texts.as_string_view().iter().collect::<Vec<_>>(), [Some("x"), None, None]);
        let floats = plain.column(1).as_primitive::<Float64Type>();
        assert_eq!(floats.value(0).to_bits(), f64::NAN.to_bits());
        assert_eq!(floats.value(1).to_bits(), (-0.0_f64).to_bits());
    }

    #[test]
    fn nan_among_the_values_of_a_dictionary_and_of_fixed_lists_is_one() {
        let nan = -f64::NAN;
        let values = Arc::new(Float64Array::from(vec![Some(nan), None]));
        let keys = UInt8Array::from(vec![Some(0), None, Some(1)]);
        let dictionary: ArrayRef = Arc::new(DictionaryArray::new(keys, values));
        let pair = |item: Option<f64>| Some(vec![item, Some(1.0)]);
        let lists = FixedSizeListArray::from_iter_primitive::<Float64Type, _, _>(
            [pair(Some(1.0)), None, pair(Some(nan)), pair(None)],
            2,
        );
        let lists: ArrayRef = Arc::new(lists.slice(1, 3));
        let columns = [("d", dictionary, true), ("l", lists, true)];
        let batch = RecordBatch::try_from_iter_with_nullable(columns).unwrap();
        let plain = plain(batch).unwrap();
        let floats = cast(plain.column(0), &DataType::Float64).unwrap();
        let floats = floats.as_primitive::<Float64Type>();
        assert_eq!((floats.null_count(), floats.value(0).to_bits()), (2, f64::NAN.to_bits()));
        let lists = plain.column(1).as_fixed_size_list();
        assert_eq!((lists.len(), lists.is_null(0), lists.is_null(1)), (3, true, false));
        let (second, third) = (lists.value(1), lists.value(2));
        let second = second.as_primitive::<Float64Type>();
        assert_eq!((second.value(0).to_bits(), second.value(1)), (f64::NAN.to_bits(), 1.0));
        assert!(third.is_null(0) && !third.is_null(1));
    }
}
