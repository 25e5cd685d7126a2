//! Words for moments: `'epoch'::timestamp`, `date 'today'`, `'now'::timestamptz`.

use maru_core::{Error, Result};
use maru_sql::ast::{BinaryOperator, CastKind, DataType, Expr, TimezoneInfo, Value};

use super::literal;
use super::literals::call;

/// Writes the moment that a word means. PostgreSQL takes it when it reads the text, here it is that of each run.
///
/// # Errors
/// 0A000 for `'infinity'`, which there is no value for.
pub(super) fn expression(expr: &mut Expr) -> Result<()> {
    let (text, data_type) = match &*expr {
        Expr::TypedString(typed) => match &typed.value.value {
            Value::SingleQuotedString(text) => (text.as_str(), &typed.data_type),
            _ => return Ok(()),
        },
        Expr::Cast { expr: inner, data_type, array: false, .. } => match literal(inner) {
            Some(text) => (text, data_type),
            None => return Ok(()),
        },
        _ => return Ok(()),
    };
    let is_date = matches!(data_type, DataType::Date);
    if !is_date && !matches!(data_type, DataType::Timestamp(..)) {
        return Ok(());
    }
    let today = |days: i32| {
        let date = call("current_date", Vec::new());
        let moved = |op, by: &str| Expr::BinaryOp {
            left: Box::new(date.clone()),
            op,
            right: Box::new(Expr::value(Value::Number(by.to_owned(), false))),
        };
        match days {
            0 => date.clone(),
            1 => moved(BinaryOperator::Plus, "1"),
            _ => moved(BinaryOperator::Minus, "1"),
        }
    };
    let moment = match text.trim().to_ascii_lowercase().as_str() {
        "epoch" => {
            let zone = match data_type {
                DataType::Timestamp(_, TimezoneInfo::WithTimeZone | TimezoneInfo::Tz) => "+00",
                _ => "",
            };
            let epoch = if is_date {
                "1970-01-01".to_owned()
            } else {
                format!("1970-01-01 00:00:00{zone}")
            };
            Expr::value(Value::SingleQuotedString(epoch))
        }
        "now" => call("now", Vec::new()),
        "today" => today(0),
        "tomorrow" => today(1),
        "yesterday" => today(-1),
        "infinity" | "-infinity" => {
            return Err(Error::unsupported("infinite dates and timestamps are not supported")
                .with_hint("Take a moment beyond all others, or NULL."));
        }
        _ => return Ok(()),
    };
    *expr = Expr::Cast {
        kind: CastKind::Cast,
        expr: Box::new(moment),
        data_type: data_type.clone(),
        array: false,
        format: None,
    };
    Ok(())
}
