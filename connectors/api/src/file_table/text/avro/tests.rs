//! Avro files from the library's own writer, whole, in pieces, cut and damaged.

use arrow::array::*;
use arrow::datatypes::Int64Type;
use arrow_avro::compression::CompressionCodec;
use arrow_avro::writer::WriterBuilder;
use arrow_avro::writer::format::AvroOcfFormat;

use super::*;

const ROWS: i64 = 500;

/// A file with several blocks.
fn file(codec: Option<CompressionCodec>) -> Vec<u8> {
    let schema = Schema::new(vec![
        Field::new("id", DataType::Int64, false),
        Field::new("name", DataType::Utf8, true),
        Field::new("amount", DataType::Decimal128(12, 2), true),
        Field::new("tags", DataType::new_list(DataType::Utf8, true), true),
    ]);
    let mut writer = WriterBuilder::new(schema.clone())
        .with_compression(codec)
        .build::<_, AvroOcfFormat>(Vec::new())
        .unwrap();
    for start in (0..ROWS).step_by(50) {
        let ids = start..start + 50;
        let mut tags = ListBuilder::new(StringBuilder::new());
        for id in ids.clone() {
            if id % 3 > 0 {
                tags.values().append_value(format!("t{id}"));
            }
            tags.append(id % 5 > 0);
        }
        let amounts: Decimal128Array =
            ids.clone().map(|id| (id % 4 > 0).then_some(i128::from(id) * 101 - 9_999)).collect();
        let columns: Vec<ArrayRef> = vec![
            Arc::new(Int64Array::from_iter_values(ids.clone())),
            Arc::new(
                ids.map(|id| (id % 7 > 0).then(|| format!("이름 {id}"))).collect::<StringArray>(),
            ),
            Arc::new(amounts.with_precision_and_scale(12, 2).unwrap()),
            Arc::new(tags.finish()),
        ];
        writer.write(&RecordBatch::try_new(Arc::new(schema.clone()), columns).unwrap()).unwrap();
    }
    writer.finish().unwrap();
    writer.into_inner()
}

fn read(bytes: &[u8], piece: usize) -> Result<Vec<i64>> {
    let path = Path::from("t/a.avro");
    let mut sample = AvroSample::new(path.clone());
    let mut found = None;
    for piece in bytes.chunks(piece) {
        found = sample.push(piece, false)?;
        if found.is_some() {
            break;
        }
    }
    let schema = match found {
        Some(schema) => schema,
        None => sample.push(&[], true)?.unwrap(),
    };
    let columns = (0..schema.fields().len()).collect::<Vec<_>>();
    let mut decoder = AvroDecoder::new(&Arc::new(schema), &columns, 64, path, false).unwrap();
    let mut ids = Vec::new();
    let pieces = bytes.chunks(piece).map(|piece| (piece, false)).chain([(&[][..], true)]);
    for (piece, last) in pieces {
        for batch in decoder.push(piece, last)? {
            ids.extend(batch.column(0).as_primitive::<Int64Type>().values());
        }
    }
    Ok(ids)
}

#[test]
fn every_row_comes_once_however_the_bytes_come() {
    for codec in [
        None,
        Some(CompressionCodec::Deflate),
        Some(CompressionCodec::Snappy),
        Some(CompressionCodec::ZStandard),
        Some(CompressionCodec::Bzip2),
        Some(CompressionCodec::Xz),
    ] {
        let bytes = file(codec);
        let whole = (0..ROWS).collect::<Vec<_>>();
        for piece in [1, 7, 100, 1000, bytes.len()] {
            assert_eq!(read(&bytes, piece).unwrap(), whole, "{codec:?} in pieces of {piece}");
        }
    }
}

#[test]
fn columns_are_found_by_name_and_cast() {
    let bytes = file(None);
    let path = Path::from("t/a.avro");
    let inferred = AvroSample::new(path.clone()).push(&bytes, true).unwrap().unwrap();
    let types = inferred.fields().iter().map(|f| f.data_type().clone()).collect::<Vec<_>>();
    assert_eq!(types[..3], [DataType::Int64, DataType::Utf8, DataType::Decimal128(12, 2)]);
    let table = Arc::new(Schema::new(vec![
        Field::new("missing", DataType::Int32, true),
        Field::new("AMOUNT", DataType::Float64, true),
        Field::new("id", DataType::Utf8, true),
    ]));
    let mut decoder = AvroDecoder::new(&table, &[2, 0, 1], 8192, path, false).unwrap();
    let batch = decoder.push(&bytes, true).unwrap().remove(0);
    assert_eq!(batch.column(0).as_string::<i32>().value(1), "1");
    assert_eq!(batch.column(1).null_count(), batch.num_rows());
    let amounts = batch.column(2).as_primitive::<arrow::datatypes::Float64Type>();
    assert!((amounts.value(1) + 98.98).abs() < 1e-9);
}

#[test]
fn broken_files_are_errors_that_name_the_file() {
    let whole = (0..ROWS).collect::<Vec<_>>();
    for codec in [None, Some(CompressionCodec::Snappy)] {
        let bytes = file(codec);
        for length in (1..bytes.len()).step_by(3) {
            match read(&bytes[..length], 1000) {
                // Cut right behind a block, a file is whole.
                Ok(ids) => {
                    assert_eq!(ids, whole[..ids.len()], "{codec:?} cut at {length}");
                    assert_eq!(ids.len() % 50, 0, "{codec:?} cut at {length}");
                }
                Err(error) => {
                    assert_eq!(error.sqlstate(), "XX001", "{codec:?} cut at {length}: {error}");
                    assert!(error.to_string().contains("t/a.avro"), "{error}");
                }
            }
        }
        for at in (0..bytes.len()).step_by(7) {
            let mut flipped = bytes.clone();
            flipped[at] ^= 0x55;
            if let Err(error) = read(&flipped, 1000) {
                let state = error.sqlstate();
                assert!(["XX001", "0A000"].contains(&state), "byte {at}: {error:?}");
            }
        }
    }
    assert_eq!(read(b"Obj\x01", 4).unwrap_err().sqlstate(), "XX001");
    assert_eq!(read(b"PAR1 no avro", 12).unwrap_err().sqlstate(), "XX001");
}
