//! `format`, as C's printf for SQL: `%s`, `%I`, `%L`, `%%`, with places (`%1$s`) and widths (`%-10s`, `%*s`).
//!
//! Source: PostgreSQL 16, 9.4.1.

use std::iter::Peekable;
use std::str::Chars;

use datafusion::common::ScalarValue;
use maru_core::{Error, ErrorKind, Result};

use super::text::{quoted_literal, text, text_of};
use super::{Kind, Row, RowFunction, invalid};

pub(super) const FUNCTIONS: &[RowFunction] = &[RowFunction {
    name: "format",
    forms: &[&[Kind::Text, Kind::Any]],
    variadic: true,
    strict: false,
    compute: |row| match row.values[0].is_null() {
        true => Ok(ScalarValue::Null),
        false => formatted(row).map(text),
    },
    syntax: "format(template, value, …)",
    description: "Returns the template with values in the place of %s (as text), %I (as an identifier) and %L (as a literal).",
    ..RowFunction::BASE
}];

fn formatted(row: &Row) -> Result<String> {
    let mut out = String::new();
    let mut template = row.text(0).chars().peekable();
    // The argument that comes next; the template is the one before the first.
    let mut next = 1;
    while let Some(first) = template.next() {
        if first != '%' {
            out.push(first);
            continue;
        }
        if template.next_if_eq(&'%').is_some() {
            out.push('%');
            continue;
        }
        put(row, &mut template, &mut next, &mut out)?;
    }
    Ok(out)
}

/// Puts what one specifier asks for.
fn put(
    row: &Row,
    template: &mut Peekable<Chars>,
    next: &mut usize,
    out: &mut String,
) -> Result<()> {
    let mut number = digits(template)?;
    let mut place = None;
    if template.next_if_eq(&'$').is_some() {
        place = Some(number.unwrap_or(0));
        if place == Some(0) {
            return Err(invalid("format specifies argument 0, but arguments are numbered from 1"));
        }
        number = None;
    }
    let mut left = false;
    while number.is_none() && template.next_if_eq(&'-').is_some() {
        left = true;
    }
    let mut width = match number {
        Some(width) => width as i64,
        None if template.next_if_eq(&'*').is_some() => {
            let at = digits(template)?;
            if at.is_some() && template.next_if_eq(&'$').is_none() {
                return Err(invalid("width argument position must be ended by \"$\""));
            }
            match argument(row, at, next)? {
                value if value.is_null() => 0,
                value => match value.cast_to(&arrow::datatypes::DataType::Int64)? {
                    ScalarValue::Int64(Some(width)) => width,
                    _ => 0,
                },
            }
        }
        None => digits(template)?.unwrap_or(0) as i64,
    };
    if width < 0 {
        (left, width) = (true, -width);
    }
    let Some(kind) = template.next() else {
        return Err(invalid("unterminated format() type specifier")
            .with_hint("For a single \"%\" use \"%%\"."));
    };
    if !matches!(kind, 's' | 'I' | 'L') {
        return Err(invalid(format!("unrecognized format() type specifier \"{kind}\""))
            .with_hint("For a single \"%\" use \"%%\"."));
    }
    let value = argument(row, place, next)?;
    let shown = match (kind, value.is_null()) {
        ('s', true) => String::new(),
        ('L', true) => "NULL".to_owned(),
        (_, true) => {
            return Err(Error::new(
                ErrorKind::InvalidParameter,
                "null values cannot be formatted as an SQL identifier",
            ));
        }
        ('I', false) => maru_core::quote_ident(&text_of(value, row.zone)?),
        ('L', false) => quoted_literal(&text_of(value, row.zone)?),
        _ => text_of(value, row.zone)?,
    };
    let missing = usize::try_from(width).unwrap_or(0).saturating_sub(shown.chars().count());
    if missing > maru_core::limits::COPY_ROW_BYTES_MAX {
        return Err(invalid(format!("width {width} of format() is too large")));
    }
    let blanks = " ".repeat(missing);
    match left {
        true => out.extend([shown, blanks]),
        false => out.extend([blanks, shown]),
    }
    Ok(())
}

fn argument<'a>(row: &'a Row, place: Option<usize>, next: &mut usize) -> Result<&'a ScalarValue> {
    let at = place.unwrap_or(*next);
    *next = at + 1;
    row.values.get(at).ok_or_else(|| invalid("too few arguments for format()"))
}

fn digits(template: &mut Peekable<Chars>) -> Result<Option<usize>> {
    let mut number = None;
    while let Some(digit) = template.peek().and_then(|c| c.to_digit(10)) {
        template.next();
        let longer = number.unwrap_or(0_usize).checked_mul(10).map(|n| n + digit as usize);
        number = Some(
            longer
                .filter(|n| *n <= i32::MAX as usize)
                .ok_or_else(|| invalid("number is out of range"))?,
        );
    }
    Ok(number)
}
