//! What ANALYZE has found of a table's columns.

use std::cmp::Ordering;

use datafusion::common::ScalarValue;
use maru_connect::ColumnEstimate;
use sqlx::{PgConnection, Row};

use super::catalog::PgColumn;

/// Fetches pg_stats of a table of about `n_rows` rows: one estimate for each column.
pub(super) async fn fetch(
    connection: &mut PgConnection,
    oid: u32,
    columns: &[PgColumn],
    n_rows: usize,
) -> sqlx::Result<Vec<ColumnEstimate>> {
    // Values only of numbers, dates and times; the rows of a whole tree of tables come after those of its root alone.
    let rows = sqlx::query(
        "SELECT a.attnum, s.n_distinct::float8, s.null_frac::float8,
                CASE WHEN a.atttypid IN (20, 21, 23, 26, 700, 701, 1082, 1114, 1184, 1700)
                     THEN array_cat(s.most_common_vals::text::text[], s.histogram_bounds::text::text[]) END
         FROM pg_class c
         JOIN pg_namespace n ON n.oid = c.relnamespace
         JOIN pg_attribute a ON a.attrelid = c.oid
         JOIN pg_stats s ON s.schemaname = n.nspname AND s.tablename = c.relname AND s.attname = a.attname
         WHERE c.oid = $1::int8::oid
         ORDER BY s.inherited",
    )
    .bind(i64::from(oid))
    .persistent(false)
    .fetch_all(connection)
    .await;
    let rows = match rows {
        Ok(rows) => rows,
        // A server that only speaks the protocol may have none of this.
        Err(sqlx::Error::Database(_)) => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut estimates = vec![ColumnEstimate::default(); columns.len()];
    for row in rows {
        let number: i16 = row.try_get(0)?;
        let Some(position) = columns.iter().position(|column| column.number == number) else {
            continue;
        };
        let values: Option<Vec<Option<String>>> = row.try_get(3)?;
        let data_type = columns[position].mapping.kind.arrow();
        let values = values.unwrap_or_default().into_iter().flatten();
        let values = values
            .filter_map(|text| ScalarValue::try_from_string(text, &data_type).ok())
            .collect::<Vec<_>>();
        let order = |one: &&ScalarValue, other: &&ScalarValue| {
            one.partial_cmp(other).unwrap_or(Ordering::Equal)
        };
        estimates[position] = ColumnEstimate {
            n_distinct: n_distinct(row.try_get(1)?, n_rows),
            null_fraction: Some(row.try_get(2)?),
            min: values.iter().min_by(order).cloned(),
            max: values.iter().max_by(order).cloned(),
        };
    }
    Ok(estimates)
}

/// A number below zero is a share of the rows; zero is none.
fn n_distinct(told: f64, n_rows: usize) -> Option<usize> {
    let n_distinct = if told < 0.0 { -told * n_rows as f64 } else { told };
    (n_distinct >= 1.0).then_some(n_distinct as usize)
}

#[cfg(test)]
mod tests {
    use super::n_distinct;

    #[test]
    fn a_share_is_of_the_rows() {
        assert_eq!(n_distinct(-0.25, 1000), Some(250));
        assert_eq!(n_distinct(7.0, 1000), Some(7));
        assert_eq!(n_distinct(0.0, 1000), None);
    }
}
