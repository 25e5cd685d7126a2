//! What `EXPLAIN` shows of a read: the request as if it were SQL.

use arrow::datatypes::Schema;
use datafusion::common::ScalarValue;
use maru_connect::{Predicate, ScanRequest};
use maru_core::{quote_ident, quote_literal};

/// Returns `SELECT n FROM numbers WHERE n > 5 LIMIT 3`.
pub(crate) fn request(table: &str, schema: &Schema, request: &ScanRequest) -> String {
    let columns = request.projection.iter().map(|i| name(schema, *i)).collect::<Vec<_>>();
    let mut text = format!("SELECT {} FROM {}", columns.join(", "), quote_ident(table));
    if !request.filters.is_empty() {
        let filters = request.filters.iter().map(|f| condition(schema, f)).collect::<Vec<_>>();
        text.push_str(&format!(" WHERE {}", filters.join(" AND ")));
    }
    if let Some(limit) = request.limit {
        text.push_str(&format!(" LIMIT {limit}"));
    }
    text
}

fn condition(schema: &Schema, predicate: &Predicate) -> String {
    let joined = |parts: &[Predicate], word: &str| {
        let parts = parts.iter().map(|part| condition(schema, part)).collect::<Vec<_>>();
        format!("({})", parts.join(word))
    };
    let not = |negated: bool| if negated { "NOT " } else { "" };
    match predicate {
        Predicate::Compare { column, op, value } => {
            format!("{} {} {}", name(schema, *column), op.sql(), literal(value))
        }
        Predicate::In { column, values, negated } => {
            let values = values.iter().map(literal).collect::<Vec<_>>().join(", ");
            format!("{} {}IN ({values})", name(schema, *column), not(*negated))
        }
        Predicate::IsNull { column, negated } => {
            format!("{} IS {}NULL", name(schema, *column), not(*negated))
        }
        Predicate::Like { column, pattern, negated } => {
            format!("{} {}LIKE {}", name(schema, *column), not(*negated), quote_literal(pattern))
        }
        Predicate::And(parts) => joined(parts, " AND "),
        Predicate::Or(parts) => joined(parts, " OR "),
        Predicate::Not(inner) => format!("NOT ({})", condition(schema, inner)),
    }
}

fn name(schema: &Schema, column: usize) -> String {
    quote_ident(schema.field(column).name())
}

fn literal(value: &ScalarValue) -> String {
    let plain = value.data_type().is_numeric() || matches!(value, ScalarValue::Boolean(_));
    if plain { value.to_string() } else { quote_literal(&value.to_string()) }
}
