//! Every type a result can have, in both formats.

use std::sync::Arc;

use super::*;
use arrow::array::*;
use arrow::buffer::NullBuffer;

#[allow(non_camel_case_types)]
type f16 = <Float16Type as ArrowPrimitiveType>::Native;

/// The values of one column as messages, `None` for NULL.
fn sent(array: ArrayRef, binary: bool) -> Vec<Option<Vec<u8>>> {
    let schema = Arc::new(Schema::new(vec![Field::new("c", array.data_type().clone(), true)]));
    let encoder = RowEncoder::new(&schema, &[i16::from(binary)], Zone::parse("Asia/Seoul"));
    let batch = RecordBatch::try_new(schema, vec![array]).unwrap();
    let columns = encoder.prepare(&batch).unwrap();
    (0..batch.num_rows())
        .map(|row| {
            let mut message = BytesMut::from("before");
            encoder.put_row(&columns, row, &mut message).unwrap();
            let message = message.strip_prefix(b"before").unwrap();
            let (header, data) = message.split_at(7);
            let told = i32::from_be_bytes(header[1..5].try_into().unwrap());
            assert_eq!((header[0], told, &header[5..]), (b'D', data.len() as i32 + 6, &[0, 1][..]));
            let (length, rest) = data.split_first_chunk::<4>().unwrap();
            let length = i32::from_be_bytes(*length);
            assert_eq!(rest.len(), length.max(0) as usize);
            (length >= 0).then(|| rest.to_vec())
        })
        .collect()
}

fn text(array: impl Array + 'static) -> Vec<String> {
    sent(Arc::new(array), false)
        .into_iter()
        .map(|value| value.map_or("NULL".to_owned(), |v| String::from_utf8(v).unwrap()))
        .collect()
}

fn binary(array: impl Array + 'static) -> Vec<Option<Vec<u8>>> {
    sent(Arc::new(array), true)
}

#[test]
fn text_of_every_type() {
    assert_eq!(text(NullArray::new(1)), ["NULL"]);
    assert_eq!(text(BooleanArray::from(vec![Some(true), Some(false), None])), ["t", "f", "NULL"]);
    assert_eq!(text(Int8Array::from(vec![-128])), ["-128"]);
    assert_eq!(text(UInt32Array::from(vec![u32::MAX])), ["4294967295"]);
    assert_eq!(text(UInt64Array::from(vec![u64::MAX])), ["18446744073709551615"]);
    assert_eq!(text(Float16Array::from(vec![f16::from_f32(1.5)])), ["1.5"]);
    assert_eq!(text(Float64Array::from(vec![0.1, f64::NAN])), ["0.1", "NaN"]);
    let wide = i128::MAX / 2;
    let decimal = Decimal128Array::from(vec![wide]).with_precision_and_scale(38, 2).unwrap();
    assert_eq!(text(decimal), ["850705917302346158658436518579420528.63"]);
    let decimal = Decimal256Array::from(vec![i256::from_i128(-1)]);
    assert_eq!(text(decimal.with_precision_and_scale(76, 3).unwrap()), ["-0.001"]);
    assert_eq!(text(StringViewArray::from(vec!["한글 😀"])), ["한글 😀"]);
    assert_eq!(text(BinaryViewArray::from(vec![&b"\x01\xff"[..]])), ["\\x01ff"]);
    let fixed = FixedSizeBinaryArray::try_from_iter([[1_u8, 2]].iter()).unwrap();
    assert_eq!(text(fixed), ["\\x0102"]);
    assert_eq!(text(Date64Array::from(vec![-86_400_000])), ["1969-12-31"]);
    assert_eq!(text(Time32SecondArray::from(vec![3_661])), ["01:01:01"]);
    assert_eq!(text(TimestampNanosecondArray::from(vec![-1])), ["1969-12-31 23:59:59.999999"]);
    let instant = TimestampSecondArray::from(vec![0]).with_timezone("UTC");
    assert_eq!(text(instant), ["1970-01-01 09:00:00+09"]);
    assert_eq!(text(IntervalYearMonthArray::from(vec![Some(13), None])), ["1 year 1 mon", "NULL"]);
    assert_eq!(text(DurationMillisecondArray::from(vec![1_500])), ["00:00:01.5"]);
    assert_eq!(text(DurationSecondArray::from(vec![90_061])), ["1 day 01:01:01"]);
    let keys: DictionaryArray<Int8Type> = vec![Some("a"), None, Some("a")].into_iter().collect();
    assert_eq!(text(keys), ["a", "NULL", "a"]);
}

#[test]
fn text_of_nested_types() {
    let list = ListArray::from_iter_primitive::<Int64Type, _, _>([
        Some(vec![Some(1), None]),
        Some(vec![]),
        None,
    ]);
    assert_eq!(text(list), ["{1,NULL}", "{}", "NULL"]);
    let mut words = ListBuilder::new(StringViewBuilder::new());
    words.append_value([Some("a b"), Some(""), Some("null"), Some("q\"\\"), Some("x")]);
    assert_eq!(text(words.finish()), [r#"{"a b","","null","q\"\\",x}"#]);
    let fixed = FixedSizeListArray::from_iter_primitive::<Float32Type, _, _>(
        [Some(vec![Some(0.5), Some(2.0)])],
        2,
    );
    assert_eq!(text(fixed), ["{0.5,2}"]);
    let one: ArrayRef = Arc::new(Int64Array::from(vec![1, 2]));
    let record = StructArray::new(
        vec![Field::new("a", DataType::Int64, true)].into(),
        vec![one],
        Some(NullBuffer::from(vec![true, false])),
    );
    assert_eq!(text(record), [r#"{"a":1}"#, "NULL"]);
}

#[test]
fn binary_values_are_postgresqls() {
    let bytes = |bytes: &[u8]| vec![Some(bytes.to_vec())];
    assert_eq!(binary(BooleanArray::from(vec![true])), bytes(&[1]));
    assert_eq!(binary(UInt16Array::from(vec![65_535])), bytes(&65_535_i32.to_be_bytes()));
    assert_eq!(binary(Float16Array::from(vec![f16::from_f32(1.5)])), bytes(&1.5_f32.to_be_bytes()));
    assert_eq!(binary(Date32Array::from(vec![10_957])), bytes(&[0; 4]));
    assert_eq!(
        binary(TimestampMillisecondArray::from(vec![946_684_800_001])),
        bytes(&1000_i64.to_be_bytes())
    );
    assert_eq!(binary(Int64Array::from(vec![None])), [None]);
    let decimal = Decimal128Array::from(vec![1_234_567]).with_precision_and_scale(10, 2).unwrap();
    // 12345.67: two groups before the point, one after, scale 2.
    assert_eq!(binary(decimal), bytes(&[0, 3, 0, 1, 0, 0, 0, 2, 0, 1, 0x09, 0x29, 0x1A, 0x2C]));
    let list = ListArray::from_iter_primitive::<Int32Type, _, _>([Some(vec![Some(7), None])]);
    let words: Vec<u8> =
        [1, 1, 23, 2, 1, 4, 7, -1].into_iter().flat_map(i32::to_be_bytes).collect();
    assert_eq!(binary(list), bytes(&words));
}
