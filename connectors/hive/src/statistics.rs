//! What the metastore has been told of a table's columns by those who counted: Hive's `ANALYZE TABLE … FOR COLUMNS` keeps
//! it beside the table, Spark's in the table's parameters.
//!
//! Nobody keeps these figures true when files change, so they help to order joins and are never an answer.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field};
use datafusion::common::ScalarValue;
use hive_metastore::{ColumnStatisticsData, Decimal, Table};
use maru_connect::ColumnEstimate;

use crate::metastore::Metastore;

/// Partitions whose figures the metastore is asked to sum up; of more none are, it reads each of them.
const PARTITIONS_MAX: i16 = 1000;

const SPARK: &str = "spark.sql.statistics.";

fn parameter<'a>(table: &'a Table, key: &str) -> Option<&'a str> {
    table.parameters.as_ref()?.get(key).map(|text| text.as_str())
}

/// Returns how many rows somebody counted in a table or partition with these parameters; 0 and -1 mean that nobody did.
pub(crate) fn n_rows<'a>(parameter: impl Fn(&str) -> Option<&'a str>) -> Option<usize> {
    let counted = [parameter("numRows"), parameter("spark.sql.statistics.numRows")].into_iter();
    let mut counted = counted.filter_map(|text| text?.parse::<usize>().ok());
    counted.find(|n_rows| *n_rows > 0)
}

/// Returns what is believed of each of `columns`; `None` if that is nothing.
pub(crate) async fn of_table(
    metastore: &Metastore,
    table: &Table,
    columns: &[Arc<Field>],
    n_keys: usize,
) -> Option<Arc<Vec<ColumnEstimate>>> {
    let n_rows = n_rows(|key| parameter(table, key));
    let by_spark = columns.iter().map(|column| of_spark(table, column, n_rows));
    let mut estimates = by_spark.collect::<Vec<_>>();
    let in_files = &columns[..columns.len().saturating_sub(n_keys)];
    for (column, data) in of_hive(metastore, table, in_files, n_keys > 0).await {
        let Some(index) = in_files.iter().position(|field| field.name() == &column) else {
            continue;
        };
        let hive = of_data(&data, columns[index].data_type(), n_rows);
        let known = &mut estimates[index];
        known.n_distinct = hive.n_distinct.or(known.n_distinct);
        known.null_fraction = hive.null_fraction.or(known.null_fraction);
        known.min = hive.min.or(known.min.take());
        known.max = hive.max.or(known.max.take());
    }
    let nothing = ColumnEstimate::default();
    estimates.iter().any(|one| *one != nothing).then(|| Arc::new(estimates))
}

async fn of_hive(
    metastore: &Metastore,
    table: &Table,
    columns: &[Arc<Field>],
    partitioned: bool,
) -> Vec<(String, ColumnStatisticsData)> {
    // Metastores from 4.0 tell of times by something that older clients cannot read.
    let told = |field: &&Arc<Field>| {
        !field.data_type().is_nested() && !matches!(field.data_type(), DataType::Timestamp(..))
    };
    let names = columns.iter().filter(told).map(|field| field.name().clone()).collect::<Vec<_>>();
    let database = table.db_name.as_deref().unwrap_or_default();
    let name = table.table_name.as_deref().unwrap_or_default();
    if names.is_empty() {
        return Vec::new();
    }
    let found = if partitioned {
        let first = metastore.some_partition_names(database, name, PARTITIONS_MAX).await;
        match first {
            Ok(first) if !first.is_empty() && first.len() < PARTITIONS_MAX as usize => {
                metastore.partition_statistics(database, name, &names, &first).await
            }
            Ok(_) => return Vec::new(),
            Err(error) => Err(error),
        }
    } else {
        metastore.column_statistics(database, name, &names).await
    };
    // Without them joins are put in order by less.
    found.unwrap_or_default()
}

fn null_fraction(n_nulls: i64, n_rows: Option<usize>) -> Option<f64> {
    let n_rows = n_rows.filter(|n_rows| *n_rows > 0)?;
    (n_nulls >= 0).then(|| (n_nulls as f64 / n_rows as f64).min(1.0))
}

fn of_spark(table: &Table, column: &Field, n_rows: Option<usize>) -> ColumnEstimate {
    let told = |what: &str| {
        parameter(table, &format!("{SPARK}colStats.{}.{what}", column.name().to_lowercase()))
            .or_else(|| parameter(table, &format!("{SPARK}colStats.{}.{what}", column.name())))
    };
    let bound = |what| {
        let text = told(what)?.to_owned();
        ScalarValue::try_from_string(text, column.data_type()).ok().filter(|v| !v.is_null())
    };
    ColumnEstimate {
        n_distinct: told("distinctCount").and_then(|count| count.parse().ok()),
        null_fraction: told("nullCount")
            .and_then(|count| null_fraction(count.parse().ok()?, n_rows)),
        min: bound("min"),
        max: bound("max"),
    }
}

fn of_data(
    data: &ColumnStatisticsData,
    data_type: &DataType,
    n_rows: Option<usize>,
) -> ColumnEstimate {
    let value = |value: Option<ScalarValue>| {
        value?.cast_to(data_type).ok().filter(|value| !value.is_null())
    };
    let estimate = |n_distinct: i64, n_nulls: i64, min, max| ColumnEstimate {
        n_distinct: usize::try_from(n_distinct).ok().filter(|count| *count > 0),
        null_fraction: null_fraction(n_nulls, n_rows),
        min: value(min),
        max: value(max),
    };
    match data {
        ColumnStatisticsData::BooleanStats(told) => {
            let n_distinct = i64::from(told.num_trues > 0) + i64::from(told.num_falses > 0);
            estimate(n_distinct, told.num_nulls, None, None)
        }
        ColumnStatisticsData::LongStats(told) => {
            let value = |bound: Option<i64>| Some(ScalarValue::from(bound?));
            let (min, max) = (value(told.low_value), value(told.high_value));
            estimate(told.num_d_vs, told.num_nulls, min, max)
        }
        ColumnStatisticsData::DoubleStats(told) => {
            let value = |bound: Option<f64>| Some(ScalarValue::from(bound?));
            let (min, max) = (value(told.low_value), value(told.high_value));
            estimate(told.num_d_vs, told.num_nulls, min, max)
        }
        ColumnStatisticsData::StringStats(told) => {
            estimate(told.num_d_vs, told.num_nulls, None, None)
        }
        ColumnStatisticsData::BinaryStats(told) => estimate(0, told.num_nulls, None, None),
        ColumnStatisticsData::DecimalStats(told) => {
            let (min, max) = (decimal(told.low_value.as_ref()), decimal(told.high_value.as_ref()));
            estimate(told.num_d_vs, told.num_nulls, min, max)
        }
        ColumnStatisticsData::DateStats(told) => {
            let day =
                |days: i64| i32::try_from(days).ok().map(|day| ScalarValue::Date32(Some(day)));
            let min = told.low_value.as_ref().and_then(|date| day(date.days_since_epoch));
            let max = told.high_value.as_ref().and_then(|date| day(date.days_since_epoch));
            estimate(told.num_d_vs, told.num_nulls, min, max)
        }
    }
}

/// Reads a decimal as the metastore has it: big-endian, with its sign.
fn decimal(told: Option<&Decimal>) -> Option<ScalarValue> {
    let told = told?;
    let bytes = told.unscaled.as_ref();
    let first = *bytes.first().filter(|_| bytes.len() <= 16)?;
    let mut whole = [if first & 0x80 == 0 { 0 } else { 0xff }; 16];
    whole[16 - bytes.len()..].copy_from_slice(bytes);
    let scale = i8::try_from(told.scale).ok().filter(|scale| (0..=38).contains(scale))?;
    Some(ScalarValue::Decimal128(Some(i128::from_be_bytes(whole)), 38, scale))
}

#[cfg(test)]
mod tests {
    use hive_metastore::{DecimalColumnStatsData, LongColumnStatsData};

    use super::*;

    #[test]
    fn takes_the_figures_of_spark() {
        let parameters = [
            ("spark.sql.statistics.numRows", "200"),
            ("spark.sql.statistics.colStats.day.distinctCount", "7"),
            ("spark.sql.statistics.colStats.day.nullCount", "50"),
            ("spark.sql.statistics.colStats.day.min", "2026-01-02"),
            ("spark.sql.statistics.colStats.day.max", "some day"),
        ];
        let pairs = parameters.iter().map(|(key, value)| ((*key).into(), (*value).into()));
        let table = Table { parameters: Some(pairs.collect()), ..Table::default() };
        let n_rows = n_rows(|key| parameter(&table, key));
        assert_eq!(n_rows, Some(200));
        let day = Field::new("day", DataType::Date32, true);
        let wanted = ColumnEstimate {
            n_distinct: Some(7),
            null_fraction: Some(0.25),
            min: Some(ScalarValue::Date32(Some(20_455))),
            max: None,
        };
        assert_eq!(of_spark(&table, &day, n_rows), wanted);
        let other = Field::new("other", DataType::Date32, true);
        assert_eq!(of_spark(&table, &other, n_rows), ColumnEstimate::default());
    }

    #[test]
    fn takes_the_figures_of_hive() {
        let told = LongColumnStatsData {
            low_value: Some(-3),
            high_value: Some(1 << 40),
            num_nulls: 5,
            num_d_vs: 9,
            bit_vectors: None,
        };
        let found = of_data(&ColumnStatisticsData::LongStats(told), &DataType::Int32, Some(10));
        let wanted = ColumnEstimate {
            n_distinct: Some(9),
            null_fraction: Some(0.5),
            min: Some(ScalarValue::Int32(Some(-3))),
            max: None,
        };
        assert_eq!(found, wanted);
        let told = DecimalColumnStatsData {
            low_value: Some(Decimal { unscaled: vec![0xff, 0x6a].into(), scale: 2 }),
            ..DecimalColumnStatsData::default()
        };
        let found =
            of_data(&ColumnStatisticsData::DecimalStats(told), &DataType::Decimal128(5, 2), None);
        assert_eq!(found.min, Some(ScalarValue::Decimal128(Some(-150), 5, 2)));
        assert_eq!((found.max, found.n_distinct, found.null_fraction), (None, None, None));
    }
}
