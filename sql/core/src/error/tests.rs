//! Pins how foreign errors come out, so that an upgrade of DataFusion cannot blur them unseen.

use ::datafusion::error::DataFusionError;
use arrow::error::ArrowError;

use super::*;

#[test]
fn our_error_survives_the_way_through_datafusion() {
    let ours = Error::new(ErrorKind::RemoteTableNotFound, "table \"a\" does not exist")
        .with_hint("Did you mean \"b\"?");
    let there = DataFusionError::Shared(Arc::new(DataFusionError::from(ours).context("scan")));
    let back = Error::from(there);
    assert_eq!(back.sqlstate(), "HV00R");
    assert_eq!(back.hint(), Some("Did you mean \"b\"?"));
}

#[test]
fn maps_foreign_errors_to_sqlstates() {
    let plan = |text: &str| DataFusionError::Plan(text.to_owned());
    let table: Vec<(DataFusionError, &str)> = vec![
        (ArrowError::DivideByZero.into(), "22012"),
        (ArrowError::ArithmeticOverflow("Overflow happened on: 1 + 1".into()).into(), "22003"),
        (
            ArrowError::CastError("Cannot cast string 'abc' to value of Int32 type".into()).into(),
            "22P02",
        ),
        (
            ArrowError::CastError("Cannot cast string '99999999999' to value of Int32 type".into())
                .into(),
            "22003",
        ),
        (plan("table 'maru.public.nope' not found"), "42P01"),
        (plan("Invalid function 'foo'.\nDid you mean 'floor'?"), "42883"),
        (
            DataFusionError::Execution(
                "Function 'sum' user-defined coercion failed with: External error: function sum(text) does not exist".into(),
            ),
            "42883",
        ),
        (
            plan("Cannot create filter with non-boolean predicate 'Int64(1)' returning Int64"),
            "42804",
        ),
        (plan("UNION queries have different number of columns"), "42601"),
        (plan("Incompatible inputs for Union: Previous inputs were of type Int64"), "42804"),
        (plan("Failed to coerce then (Int64) and else (Boolean) to common types"), "42804"),
        (plan("Too many columns! The subquery should only return one column: a, b"), "42601"),
        (plan("Inconsistent data length across values list: got 2 values in row 1"), "42601"),
        (plan("Inconsistent data type across values list at row 1 column 0"), "42804"),
        (plan("WITH query name \"a\" specified more than once"), "42712"),
        (plan("The window w is not defined!"), "42704"),
        (plan("Order by column out of bounds, specified: 2, max: 1"), "42P10"),
        (plan("Order by index starts at 1 for column indexes"), "42P10"),
        (
            plan("Cannot find column with position 3 in SELECT clause. Valid columns: 1 to 1"),
            "42P10",
        ),
        (plan("LIMIT must be >= 0, '-1' was provided"), "2201W"),
        (plan("OFFSET must be >=0, '-1' was provided"), "2201X"),
        (plan("Unary operator 'NOT' requires a boolean expression, got Int64"), "42804"),
        (plan("Cannot automatically convert Date32 to Boolean"), "42804"),
        (DataFusionError::NotImplemented("x".into()), "0A000"),
        (DataFusionError::ResourcesExhausted("x".into()), "53200"),
    ];
    for (error, sqlstate) in table {
        let text = error.to_string();
        assert_eq!(Error::from(error).sqlstate(), sqlstate, "{text}");
    }
}

#[test]
fn a_numeric_without_room_is_told_as_in_postgresql() {
    for (text, expected) in [
        (
            "12345.00 is too large to store in a Decimal128 of precision 4. Max is 99.99",
            "A field with precision 4, scale 2 must round to an absolute value less than 10^2.",
        ),
        (
            "-1.50 is too small to store in a Decimal128 of precision 2. Min is -0.99",
            "A field with precision 2, scale 2 must round to an absolute value less than 1.",
        ),
        (
            "12345 is too large to store in a Decimal128 of precision 4. Max is 9999.",
            "A field with precision 4, scale 0 must round to an absolute value less than 10^4.",
        ),
    ] {
        let error =
            Error::from(DataFusionError::from(ArrowError::InvalidArgumentError(text.into())));
        assert_eq!(
            (error.sqlstate(), error.message().as_str()),
            ("22003", "numeric field overflow")
        );
        assert_eq!(error.detail().as_deref(), Some(expected));
    }
}

#[test]
fn a_full_disk_is_told_apart() {
    use std::io::Write;
    // The device that is always full, where there is one.
    let full = || match std::fs::OpenOptions::new().write(true).open("/dev/full") {
        Ok(mut device) => device.write_all(b"x").expect_err("it is full"),
        Err(_) => std::io::Error::from(std::io::ErrorKind::StorageFull),
    };
    let stored =
        object_store::Error::Generic { store: "LocalFileSystem", source: Box::new(full()) };
    let errors: [DataFusionError; 4] = [
        DataFusionError::IoError(full()),
        DataFusionError::ObjectStore(Box::new(stored)),
        ArrowError::IoError("spill".into(), full()).into(),
        ::datafusion::parquet::errors::ParquetError::External(Box::new(full())).into(),
    ];
    for error in errors {
        let text = error.to_string();
        let error = Error::from(error);
        assert_eq!((error.sqlstate(), error.hint().is_some()), ("53100", true), "{text}");
    }
}

#[test]
fn position_counts_characters_of_all_lines() {
    let error = Error::new(ErrorKind::Syntax, "x").with_line_column(2, 3).locate("가나\nabc", 0);
    assert_eq!(error.position(), Some(6));
}

#[test]
fn report_reads_like_psql() {
    let error = Error::new(ErrorKind::UndefinedTable, "table \"a\" does not exist")
        .with_detail("It is gone.")
        .with_hint("Look again.");
    assert_eq!(
        error.report(),
        "ERROR:  42P01: table \"a\" does not exist\nDETAIL:  It is gone.\nHINT:  Look again."
    );
}
