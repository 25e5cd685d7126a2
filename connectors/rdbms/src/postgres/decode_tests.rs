//! Decoding of PostgreSQL's binary values, byte by byte.

use arrow::array::{Array, AsArray};
use arrow::datatypes::{DataType, Int32Type, Schema};

use super::*;

fn numeric_bytes(groups: &[i16], weight: i16, sign: u16) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend((groups.len() as i16).to_be_bytes());
    bytes.extend(weight.to_be_bytes());
    bytes.extend(sign.to_be_bytes());
    bytes.extend(0_i16.to_be_bytes());
    groups.iter().for_each(|group| bytes.extend(group.to_be_bytes()));
    bytes
}

#[test]
fn numeric_is_exact_or_an_error() {
    assert_eq!(numeric(&numeric_bytes(&[12, 3400], 0, 0), 10, 2), Ok(1234));
    assert_eq!(numeric(&numeric_bytes(&[1], 1, 0x4000), 10, 0), Ok(-10_000));
    assert_eq!(numeric(&numeric_bytes(&[], 0, 0), 10, 2), Ok(0));
    assert_eq!(numeric(&numeric_bytes(&[5], -1, 0), 10, 4), Ok(5));
    assert!(numeric(&numeric_bytes(&[5], -1, 0), 10, 3).is_err());
    assert!(numeric(&numeric_bytes(&[1], 1, 0), 4, 0).is_err());
    // 38 nines, which take ten groups.
    let groups = [99, 9999, 9999, 9999, 9999, 9999, 9999, 9999, 9999, 9999];
    assert_eq!(numeric(&numeric_bytes(&groups, 9, 0), 38, 0), Ok(10_i128.pow(38) - 1));
    assert!(numeric(&numeric_bytes(&groups, -1, 0), 38, 38).is_err());
    for sign in [0xC000, 0xD000, 0xF000] {
        assert_eq!(
            numeric(&numeric_bytes(&[], 0, sign), 38, 0).unwrap_err().kind,
            ErrorKind::OutOfRange
        );
    }
}

fn stream(rows: &[Option<i32>]) -> Vec<u8> {
    let mut bytes = SIGNATURE.to_vec();
    bytes.extend([0; 8]);
    for row in rows {
        bytes.extend(1_i16.to_be_bytes());
        match row {
            Some(n) => {
                bytes.extend(4_i32.to_be_bytes());
                bytes.extend(n.to_be_bytes());
            }
            None => bytes.extend((-1_i32).to_be_bytes()),
        }
    }
    bytes.extend((-1_i16).to_be_bytes());
    bytes
}

fn decoder(nullable: bool) -> Decoder {
    let schema = Schema::new(vec![Field::new("n", DataType::Int32, nullable)]);
    Decoder::new(Arc::new(schema), "public.t".into(), std::iter::once(Kind::Int4), 2)
}

#[test]
fn rows_may_be_cut_anywhere() {
    let bytes = stream(&[Some(1), None, Some(3)]);
    for cut in 0..bytes.len() {
        let mut decoder = decoder(true);
        let mut batches = decoder.take(&bytes[..cut]).unwrap();
        batches.extend(decoder.take(&bytes[cut..]).unwrap());
        batches.extend(decoder.finish().unwrap());
        let values = batches
            .iter()
            .flat_map(|batch| batch.column(0).as_primitive::<Int32Type>().iter())
            .collect::<Vec<_>>();
        assert_eq!(values, [Some(1), None, Some(3)], "cut at {cut}");
        assert_eq!(batches[0].column(0).len(), 2);
    }
}

#[test]
fn a_stream_without_its_end_is_an_error() {
    let bytes = stream(&[Some(1), Some(2)]);
    for cut in 0..bytes.len() {
        let mut decoder = decoder(true);
        decoder.take(&bytes[..cut]).unwrap();
        assert_eq!(decoder.finish().unwrap_err().sqlstate(), "HV00N", "cut at {cut}");
    }
}

#[test]
fn null_where_none_may_be_is_an_error_with_the_column() {
    let error = decoder(false).take(&stream(&[None])).unwrap_err();
    assert!(error.primary().contains("\"n\" of public.t"), "{error:?}");
}

#[test]
fn a_value_of_another_type_is_an_error() {
    let schema = Schema::new(vec![Field::new("n", DataType::Int64, true)]);
    let mut decoder =
        Decoder::new(Arc::new(schema), "public.t".into(), std::iter::once(Kind::Int8), 2);
    assert_eq!(decoder.take(&stream(&[Some(1)])).unwrap_err().sqlstate(), "22P02");
}

#[test]
fn arrays_begin_at_one() {
    let array = |dimensions: i32, bounds: &[i32]| {
        let mut bytes = Vec::new();
        [dimensions, 0, 23].iter().chain(bounds).for_each(|n| bytes.extend(n.to_be_bytes()));
        bytes.extend([4_i32, 7].iter().flat_map(|n| n.to_be_bytes()));
        bytes
    };
    let read = |bytes: &[u8]| Builder::new(&Kind::List(Box::new(Kind::Int4)), 1).append(bytes);
    assert!(read(&array(1, &[1, 1])).is_ok());
    for (bytes, words) in [
        (array(1, &[1, 0]), "begins at 0"),
        (array(1, &[1, -3]), "begins at -3"),
        (array(2, &[1, 1, 1, 1]), "2 dimensions"),
    ] {
        let misfit = read(&bytes).unwrap_err();
        assert_eq!(misfit.kind, ErrorKind::RemoteTypeUnsupported);
        assert!(misfit.reason.contains(words), "{}", misfit.reason);
    }
}

#[test]
fn special_times_are_errors() {
    for (kind, bytes) in [
        (Kind::Date, i32::MAX.to_be_bytes().to_vec()),
        (Kind::Timestamp, i64::MIN.to_be_bytes().to_vec()),
        (Kind::Timestamptz, i64::MAX.to_be_bytes().to_vec()),
        (Kind::Time, 86_400_000_000_i64.to_be_bytes().to_vec()),
    ] {
        let misfit = Builder::new(&kind, 1).append(&bytes).unwrap_err();
        assert_eq!(misfit.kind, ErrorKind::InvalidDatetime, "{kind:?}");
    }
}
