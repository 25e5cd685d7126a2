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
        (plan("table 'maru.public.nope' not found"), "42P01"),
        (plan("Invalid function 'foo'.\nDid you mean 'floor'?"), "42883"),
        (DataFusionError::NotImplemented("x".into()), "0A000"),
        (DataFusionError::ResourcesExhausted("x".into()), "53200"),
    ];
    for (error, sqlstate) in table {
        let text = error.to_string();
        assert_eq!(Error::from(error).sqlstate(), sqlstate, "{text}");
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
