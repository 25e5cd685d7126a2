//! `parse_access_log`: lines of web servers into columns.
//!
//! `format.rs` turns the name of a format, a `log_format` or `LogFormat` of a server, the fields of IIS or a regular expression
//! into a [`format::Reader`]; `columns.rs` collects what it reads.

mod columns;
mod format;

use std::sync::Arc;

use arrow::datatypes::DataType;
use maru_core::{Error, ErrorKind, Result};

use crate::function::{Spec, Texts, not_constant};
use columns::Builders;
use format::Reader;

pub(crate) const FUNCTIONS: &[Spec] = &[Spec {
    name: "parse_access_log",
    syntax: "parse_access_log(line [, format [, 'null'|'fail']])",
    doc: "Takes a line of a web server's log apart. The format is 'combined' (if none is named), 'common', 'nginx', 'iis', a log_format of nginx ($remote_addr …), a LogFormat of Apache (%h %l …), the '#Fields:' of IIS, or a regular expression with named groups. A line of another form is NULL, or with 'fail' an error.",
    takes: (1, 3),
    gives: |constants| {
        let format = match constants.get(1) {
            None => Reader::new("combined")?,
            Some(Some(format)) => Reader::new(format)?,
            Some(None) => return Err(not_constant("the format of a log")),
        };
        Ok(DataType::Struct(format.fields()))
    },
    run: parse,
}];

fn parse(texts: &Texts) -> Result<arrow::array::ArrayRef> {
    let format = texts.constant(1, "the format of a log")?.unwrap_or("combined");
    let reader = Reader::new(format)?;
    let fail = match texts.constant(2, "what becomes of other lines")? {
        None | Some("null") => false,
        Some("fail") => true,
        Some(other) => {
            return Err(Error::new(
                ErrorKind::InvalidParameter,
                format!("'{other}' does not say what becomes of lines of another form"),
            )
            .with_hint("'null' gives NULL for them, 'fail' is an error."));
        }
    };
    let mut builders = Builders::new(reader.columns(), texts.n_rows);
    let mut parts = Vec::new();
    for row in 0..texts.n_rows {
        let Some(line) = texts.get(0, row) else {
            builders.null();
            continue;
        };
        let line = line.trim_end_matches(['\n', '\r']);
        match reader.read(line, &mut parts) {
            true => builders.append(&mut parts),
            false if fail && !reader.is_remark(line) => {
                let shown = line.chars().take(200).collect::<String>();
                return Err(Error::new(
                    ErrorKind::InvalidText,
                    format!("a line of the log is not of the format '{format}'"),
                )
                .with_detail(format!("The line begins with: {shown}"))
                .with_hint("Leave the third argument out to get NULL for such lines."));
            }
            false => builders.null(),
        }
    }
    Ok(Arc::new(builders.finish(reader.fields())?))
}
