//! Scans as SQL: the parts that all databases share.

use arrow::datatypes::i256;
use chrono::{DateTime, Datelike, NaiveDate, NaiveDateTime, NaiveTime};
use datafusion::common::ScalarValue;
use maru_connect::{CompareOp, Predicate, ScanRequest};
use maru_core::{Error, Result};

/// Values in one `IN` that are still sent; statements have a size limit everywhere.
pub(crate) const IN_VALUES_MAX: usize = 4096;

/// How one database writes comparisons of its columns. `None` means: not proven equal to the engine's, keep it there.
pub(crate) trait Conditions {
    fn compare(&self, column: usize, op: CompareOp, value: &ScalarValue) -> Option<String>;

    /// `values` has 1 to [`IN_VALUES_MAX`] entries.
    fn within(&self, column: usize, values: &[ScalarValue], negated: bool) -> Option<String>;

    fn like(&self, column: usize, pattern: &str, negated: bool) -> Option<String>;

    fn is_null(&self, column: usize, negated: bool) -> Option<String>;

    /// Writes a whole predicate. `AND`, `OR` and `NOT` know three values everywhere.
    fn condition(&self, predicate: &Predicate) -> Option<String> {
        match predicate {
            Predicate::Compare { column, op, value } => self.compare(*column, *op, value),
            Predicate::In { column, values, negated } => (1..=IN_VALUES_MAX)
                .contains(&values.len())
                .then(|| self.within(*column, values, *negated))?,
            Predicate::IsNull { column, negated } => self.is_null(*column, *negated),
            Predicate::Like { column, pattern, negated } => self.like(*column, pattern, *negated),
            Predicate::And(parts) => joined(self.all(parts)?, " AND "),
            Predicate::Or(parts) => {
                let parts = parts.iter().map(|part| self.condition(part));
                joined(parts.collect::<Option<Vec<_>>>()?, " OR ")
            }
            Predicate::Not(inner) => self.not(inner),
        }
    }

    /// Writes the SELECT that answers a request. Without columns it counts: one row with the number of rows.
    ///
    /// # Errors
    /// XX000 for a filter that [`Conditions::condition`] would not have taken.
    fn select(&self, from: &str, columns: &[String], request: &ScanRequest) -> Result<String> {
        let mut tail = format!(" FROM {from}");
        let conditions = self
            .all(&request.filters)
            .ok_or_else(|| Error::internal("a filter was sent that is not supported"))?;
        if !conditions.is_empty() {
            tail.push_str(&format!(" WHERE {}", conditions.join(" AND ")));
        }
        if let Some(limit) = request.limit {
            tail.push_str(&format!(" LIMIT {limit}"));
        }
        Ok(match request.limit {
            _ if !columns.is_empty() => format!("SELECT {}{tail}", columns.join(", ")),
            Some(_) => format!("SELECT count(*) FROM (SELECT 1{tail}) AS counted"),
            None => format!("SELECT count(*){tail}"),
        })
    }

    fn not(&self, inner: &Predicate) -> Option<String> {
        Some(format!("NOT ({})", self.condition(inner)?))
    }

    /// Writes predicates that are all to hold.
    fn all(&self, parts: &[Predicate]) -> Option<Vec<String>> {
        parts.iter().map(|part| self.condition(part)).collect()
    }
}

fn joined(parts: Vec<String>, by: &str) -> Option<String> {
    (!parts.is_empty()).then(|| format!("({})", parts.join(by)))
}

/// Returns the predicate that is true where `predicate` is false, and the other way round, without `Not`.
pub(crate) fn negation(predicate: &Predicate) -> Predicate {
    let each = |parts: &[Predicate]| parts.iter().map(negation).collect();
    match predicate.clone() {
        Predicate::Compare { column, op, value } => {
            let op = match op {
                CompareOp::Eq => CompareOp::NotEq,
                CompareOp::NotEq => CompareOp::Eq,
                CompareOp::Lt => CompareOp::GtEq,
                CompareOp::LtEq => CompareOp::Gt,
                CompareOp::Gt => CompareOp::LtEq,
                CompareOp::GtEq => CompareOp::Lt,
            };
            Predicate::Compare { column, op, value }
        }
        Predicate::In { column, values, negated } => {
            Predicate::In { column, values, negated: !negated }
        }
        Predicate::IsNull { column, negated } => Predicate::IsNull { column, negated: !negated },
        Predicate::Like { column, pattern, negated } => {
            Predicate::Like { column, pattern, negated: !negated }
        }
        Predicate::And(parts) => Predicate::Or(each(&parts)),
        Predicate::Or(parts) => Predicate::And(each(&parts)),
        Predicate::Not(inner) => *inner,
    }
}

/// Writes the columns of a request, each by `write`.
///
/// # Errors
/// XX000 for a column that is not there.
pub(crate) fn columns<C>(
    all: &[C],
    request: &ScanRequest,
    write: impl Fn(&C) -> String,
) -> Result<Vec<String>> {
    request
        .projection
        .iter()
        .map(|index| all.get(*index).map(&write))
        .collect::<Option<_>>()
        .ok_or_else(|| Error::internal("a column was asked that is not there"))
}

/// Returns the text of any of Arrow's text values.
pub(crate) fn text_of(value: &ScalarValue) -> Option<&str> {
    match value {
        ScalarValue::Utf8(Some(text))
        | ScalarValue::LargeUtf8(Some(text))
        | ScalarValue::Utf8View(Some(text)) => Some(text),
        _ => None,
    }
}

/// Returns whole numbers of any width.
pub(crate) fn integer_of(value: &ScalarValue) -> Option<i128> {
    Some(match value {
        ScalarValue::Int8(Some(n)) => i128::from(*n),
        ScalarValue::Int16(Some(n)) => i128::from(*n),
        ScalarValue::Int32(Some(n)) => i128::from(*n),
        ScalarValue::Int64(Some(n)) => i128::from(*n),
        ScalarValue::UInt8(Some(n)) => i128::from(*n),
        ScalarValue::UInt16(Some(n)) => i128::from(*n),
        ScalarValue::UInt32(Some(n)) => i128::from(*n),
        ScalarValue::UInt64(Some(n)) => i128::from(*n),
        _ => return None,
    })
}

/// Returns the digits of a decimal, exactly: `-0.05`.
pub(crate) fn decimal_of(value: &ScalarValue) -> Option<String> {
    let (digits, scale) = match value {
        ScalarValue::Decimal128(Some(n), _, scale) => (n.to_string(), *scale),
        ScalarValue::Decimal256(Some(n), _, scale) => (i256::to_string(n), *scale),
        _ => return None,
    };
    Some(written(&digits, usize::try_from(scale).ok()?))
}

/// Returns `digits · 10^-scale`, exactly.
pub(crate) fn exact(digits: i128, scale: u8) -> String {
    written(&digits.to_string(), usize::from(scale))
}

fn written(digits: &str, scale: usize) -> String {
    let (sign, digits) = match digits.strip_prefix('-') {
        Some(digits) => ("-", digits),
        None => ("", digits),
    };
    let digits = format!("{digits:0>width$}", width = scale + 1);
    let (whole, fraction) = digits.split_at(digits.len() - scale);
    let point = if scale == 0 { "" } else { "." };
    format!("{sign}{whole}{point}{fraction}")
}

/// Returns a float as its shortest exact text, unless it is NaN, infinite or zero: zero has two signs in the engine's
/// order and one in a database's.
pub(crate) fn float_of(value: &ScalarValue) -> Option<String> {
    match value {
        ScalarValue::Float32(Some(n)) if n.is_finite() && *n != 0.0 => Some(format!("{n:e}")),
        ScalarValue::Float64(Some(n)) if n.is_finite() && *n != 0.0 => Some(format!("{n:e}")),
        _ => None,
    }
}

/// Returns `2024-02-29` for dates of years 1 to 9999, which every database reads alike.
pub(crate) fn date_of(value: &ScalarValue) -> Option<String> {
    let ScalarValue::Date32(Some(days)) = value else { return None };
    let date = NaiveDate::from_epoch_days(*days)?;
    (1..=9999).contains(&date.year()).then(|| date.format("%Y-%m-%d").to_string())
}

/// Returns `2024-02-29 23:59:59.000001` for years 1 to 9999.
pub(crate) fn timestamp_of(value: &ScalarValue) -> Option<String> {
    let ScalarValue::TimestampMicrosecond(Some(micros), _) = value else { return None };
    let at: NaiveDateTime = DateTime::from_timestamp_micros(*micros)?.naive_utc();
    (1..=9999).contains(&at.year()).then(|| at.format("%Y-%m-%d %H:%M:%S%.6f").to_string())
}

/// Returns `23:59:59.000001`, for whole microseconds: databases round finer ones.
pub(crate) fn time_of(value: &ScalarValue) -> Option<String> {
    let ScalarValue::Time64Nanosecond(Some(nanos)) = value else { return None };
    if nanos % 1000 != 0 {
        return None;
    }
    let seconds = u32::try_from(nanos.div_euclid(1_000_000_000)).ok()?;
    let nanos = u32::try_from(nanos.rem_euclid(1_000_000_000)).ok()?;
    let time = NaiveTime::from_num_seconds_from_midnight_opt(seconds, nanos)?;
    Some(time.format("%H:%M:%S%.6f").to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn negations_know_three_values() {
        let less =
            Predicate::Compare { column: 0, op: CompareOp::Lt, value: ScalarValue::Int32(Some(1)) };
        let null = Predicate::IsNull { column: 1, negated: false };
        let both = Predicate::And(vec![less.clone(), Predicate::Not(Box::new(null.clone()))]);
        let more = Predicate::Compare {
            column: 0,
            op: CompareOp::GtEq,
            value: ScalarValue::Int32(Some(1)),
        };
        assert_eq!(negation(&both), Predicate::Or(vec![more, null]));
    }

    #[test]
    fn writes_decimals_exactly() {
        let text = |n, s| decimal_of(&ScalarValue::Decimal128(Some(n), 38, s)).unwrap();
        assert_eq!(text(-5, 2), "-0.05");
        assert_eq!(text(12345, 2), "123.45");
        assert_eq!(text(7, 0), "7");
        assert_eq!(text(i128::pow(10, 37), 37), format!("1.{}", "0".repeat(37)));
    }

    #[test]
    fn keeps_floats_that_databases_order_differently() {
        for n in [0.0, -0.0, f64::NAN, f64::INFINITY] {
            assert_eq!(float_of(&ScalarValue::Float64(Some(n))), None);
        }
        let text = float_of(&ScalarValue::Float64(Some(0.1 + 0.2))).unwrap();
        assert_eq!(text.parse::<f64>().unwrap(), 0.1 + 0.2);
    }

    #[test]
    fn writes_times_of_ordinary_years_only() {
        let at = |micros| timestamp_of(&ScalarValue::TimestampMicrosecond(Some(micros), None));
        assert_eq!(at(1).unwrap(), "1970-01-01 00:00:00.000001");
        assert_eq!(at(-1).unwrap(), "1969-12-31 23:59:59.999999");
        assert_eq!(at(i64::MAX), None);
        assert_eq!(date_of(&ScalarValue::Date32(Some(i32::MAX))), None);
        let time = |nanos| time_of(&ScalarValue::Time64Nanosecond(Some(nanos)));
        assert_eq!(time(86_399_000_001_000).unwrap(), "23:59:59.000001");
        assert_eq!(time(1), None);
        assert_eq!(time(86_400_000_000_000), None);
    }
}
