//! `to_number`: a number out of a text by a template.
//!
//! Source: PostgreSQL 16, 9.8.

use arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use maru_core::{Error, ErrorKind, Result};

use super::{Kind, Row, RowFunction};

/// Places of the result where the template is not known while the statement is planned.
const PLACES: i8 = 10;

pub(super) const FUNCTIONS: &[RowFunction] = &[RowFunction {
    name: "to_number",
    forms: &[&[Kind::Text, Kind::Text]],
    returns: |_| DataType::Decimal128(38, PLACES),
    returns_of: Some(|arguments| {
        DataType::Decimal128(
            38,
            match arguments {
                [_, Some(ScalarValue::Utf8(Some(template)))] => places_of(template),
                _ => PLACES,
            },
        )
    }),
    compute,
    syntax: "to_number(text, template)",
    description: "Returns a text as a number by a template such as '99G999D99'. The result has the places of a template that is a literal, else ten.",
    ..RowFunction::BASE
}];

/// Digits of a template behind its point or its V.
fn places_of(template: &str) -> i8 {
    let upper = template.to_uppercase();
    let behind = upper.split_once(['.', 'D', 'V']).map_or("", |(_, behind)| behind);
    let n = behind.chars().filter(|c| matches!(c, '0' | '9')).count();
    i8::try_from(n).unwrap_or(38).min(38)
}

fn compute(row: &Row) -> Result<ScalarValue> {
    let (text, template) = (row.text(0), row.text(1));
    let DataType::Decimal128(_, n_places) = *row.returns else {
        return Err(Error::internal("to_number returns a numeric"));
    };
    let wrong = || {
        Error::new(
            ErrorKind::InvalidText,
            format!("invalid input syntax for type numeric: \"{text}\""),
        )
    };
    let upper = template.to_uppercase();
    if upper.contains("RN") || upper.contains("EEEE") {
        return Err(Error::unsupported("to_number reads neither RN nor EEEE"));
    }
    // Groups, blanks, and texts of the template go; digits, point and sign stay. A V says where the point is.
    let has_group = upper.contains(',') || upper.contains('G');
    let places_of_v = upper
        .split_once('V')
        .map(|(_, behind)| behind.chars().filter(|c| matches!(c, '0' | '9')).count());
    let has_point = upper.contains('.') || upper.contains('D');
    let room = upper
        .split(['.', 'D'])
        .next()
        .unwrap_or("")
        .chars()
        .filter(|c| matches!(c, '0' | '9'))
        .count();
    let (mut negative, mut number, mut places, mut behind, mut n_digits, mut n_before) =
        (false, 0_i128, 0_i8, false, 0, 0);
    for c in text.chars() {
        match c {
            '0'..='9' => {
                n_digits += 1;
                if behind {
                    if places == n_places {
                        continue;
                    }
                    places += 1;
                } else {
                    n_before += 1;
                    // More digits than the template has are not read.
                    if n_before > room {
                        continue;
                    }
                }
                let digit = i128::from(c as u32 - '0' as u32);
                number =
                    number.checked_mul(10).and_then(|n| n.checked_add(digit)).ok_or_else(wrong)?;
            }
            '-' => negative = true,
            '<' if upper.contains("PR") => negative = true,
            '>' if upper.contains("PR") => {}
            '+' | ' ' => {}
            '.' if behind => return Err(wrong()),
            '.' => {
                if !has_point {
                    break;
                }
                behind = true;
            }
            ',' if has_group => {}
            _ if upper.contains('L') && !c.is_ascii_alphanumeric() => {}
            _ => return Err(wrong()),
        }
    }
    if n_digits == 0 {
        return Err(wrong());
    }
    let shift = i32::from(n_places) - i32::from(places) - places_of_v.map_or(0, |n| n as i32);
    let power = 10_i128.checked_pow(shift.unsigned_abs()).ok_or_else(wrong)?;
    let scaled = if shift >= 0 { number.checked_mul(power) } else { Some(number / power) };
    let scaled = scaled
        .filter(|n| n.unsigned_abs() < 10_u128.pow(38))
        .ok_or_else(|| Error::new(ErrorKind::OutOfRange, "numeric out of range"))?;
    Ok(ScalarValue::Decimal128(Some(if negative { -scaled } else { scaled }), 38, n_places))
}
