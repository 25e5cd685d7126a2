//! How many rows files may have where nobody has counted them all, for the order of joins. Never used to answer.

use std::sync::Arc;

use arrow::datatypes::{DataType, SchemaRef};
use datafusion::common::Statistics;
use datafusion::common::stats::Precision;

use super::parquet::Footer;
use crate::{ColumnEstimate, FileEntry, FileFormatSpec, FileTable};

/// Files whose footers are all read to plan a scan. Of more files some are read, and the others taken to be alike.
pub(super) const FOOTERS_MAX: usize = 500;

/// Footers that are read of more files than that.
const SAMPLED_FOOTERS: usize = 64;

/// How much smaller text is when it is packed.
const PACKED: usize = 5;

/// Returns whether the footer of one of `n_files` files is read to plan a scan.
pub(super) fn is_sampled(index: usize, n_files: usize) -> bool {
    n_files <= FOOTERS_MAX || index.is_multiple_of(n_files.div_ceil(SAMPLED_FOOTERS))
}

/// Gives files without a footer as many rows as those with one have for their bytes.
pub(super) fn extrapolate(schema: &SchemaRef, files: &mut [(FileEntry, Option<Footer>)]) {
    let (mut bytes, mut rows) = (0.0, 0.0);
    for (entry, footer) in files.iter() {
        let known = footer.as_ref().and_then(|footer| footer.statistics.num_rows.get_value());
        if let Some(n_rows) = known {
            bytes += entry.meta.size as f64;
            rows += *n_rows as f64;
        }
    }
    if bytes <= 0.0 {
        return;
    }
    for (entry, footer) in files.iter_mut().filter(|(_, footer)| footer.is_none()) {
        *footer = Some(of_rows(schema, (entry.meta.size as f64 * rows / bytes).ceil() as usize));
    }
}

/// Returns what is believed of a file without a footer: what a metastore says, else what its size makes likely.
pub(super) fn estimated(table: &FileTable, entry: &FileEntry) -> Option<Footer> {
    let n_rows = match entry.n_rows {
        Some(n_rows) => n_rows,
        None => by_size(table, entry)?,
    };
    Some(of_rows(&table.file_schema, n_rows))
}

fn of_rows(schema: &SchemaRef, n_rows: usize) -> Footer {
    let mut statistics = Statistics::new_unknown(schema);
    statistics.num_rows = Precision::Inexact(n_rows);
    Footer::new(Arc::new(statistics), None)
}

/// Parquet and ORC files tell themselves.
fn by_size(table: &FileTable, entry: &FileEntry) -> Option<usize> {
    let names = match table.format {
        FileFormatSpec::Parquet | FileFormatSpec::Orc => return None,
        FileFormatSpec::Json | FileFormatSpec::HiveJson { .. } => true,
        _ => false,
    };
    let name = entry.meta.location.filename().unwrap_or_default();
    let packed = [".gz", ".zst", ".bz2"].iter().any(|end| name.ends_with(end));
    let size = usize::try_from(entry.meta.size).ok()?;
    let size = if packed { size.saturating_mul(PACKED) } else { size };
    let row = table.file_schema.fields().iter().map(|field| {
        let value = match field.data_type() {
            DataType::Boolean => 4,
            kind if kind.is_integer() => 6,
            kind if kind.is_numeric() => 9,
            kind if kind.is_temporal() => 14,
            _ => 20,
        };
        // A name in quotes, a colon and a comma.
        value + if names { field.name().len() + 4 } else { 1 }
    });
    Some(size / row.sum::<usize>().max(1)).filter(|_| size > 0).map(|n_rows| n_rows.max(1))
}

/// Returns what is believed of the columns of a table, beside what all its files tell: what the table's keeper says, else what
/// the files have that were looked at.
pub(super) fn columns(
    schema: &SchemaRef,
    believed: Option<&Vec<ColumnEstimate>>,
    sample: &[Arc<Statistics>],
) -> Option<Vec<ColumnEstimate>> {
    if believed.is_none() && sample.is_empty() {
        return None;
    }
    let column = |index: usize| {
        let mut estimate: ColumnEstimate =
            believed.and_then(|all: &Vec<_>| all.get(index)).cloned().unwrap_or_default();
        let (mut min, mut max) = (None, None);
        for file in sample.iter().filter_map(|file| file.column_statistics.get(index)) {
            if let Some(low) = file.min_value.get_value()
                && min.as_ref().is_none_or(|min| low < min)
            {
                min = Some(low.clone());
            }
            if let Some(high) = file.max_value.get_value()
                && max.as_ref().is_none_or(|max| high > max)
            {
                max = Some(high.clone());
            }
        }
        estimate.min = estimate.min.or(min);
        estimate.max = estimate.max.or(max);
        estimate
    };
    Some((0..schema.fields().len()).map(column).collect())
}
