//! Figures that the metastore keeps of a table or a partition: from some of them Hive answers without looking at a file.

use hive_metastore::Table;
use pilota::{AHashMap, FastStr};

use super::job::{Counts, Done};

pub(super) type Parameters = AHashMap<FastStr, FastStr>;

/// Returns rows, files and bytes, where the rows are known.
pub(super) fn known_rows(parameters: Option<&Parameters>) -> Option<(u64, u64, u64)> {
    let number = |key: &str| parameters?.get(key)?.parse::<u64>().ok();
    Some((number("numRows")?, number("numFiles").unwrap_or(0), number("totalSize").unwrap_or(0)))
}

/// Removes figures that do not hold any more; returns whether there were some that others answer from.
pub(super) fn forget_figures(parameters: &mut Parameters) -> bool {
    let accurate = parameters.contains_key("COLUMN_STATS_ACCURATE");
    let of_spark = parameters.keys().any(|key| key.starts_with("spark.sql.statistics."));
    parameters.retain(|key, _| {
        !key.starts_with("spark.sql.statistics.")
            && !matches!(
                key.as_str(),
                "COLUMN_STATS_ACCURATE"
                    | "numRows"
                    | "rawDataSize"
                    | "numFiles"
                    | "totalSize"
                    | "numFilesErasureCoded"
            )
    });
    accurate || of_spark
}

pub(super) fn tell_figures(parameters: &mut Parameters, counts: &Counts) {
    let figures =
        [("numRows", counts.n_rows), ("numFiles", counts.n_files), ("totalSize", counts.n_bytes)];
    for (key, value) in figures {
        parameters.insert(FastStr::new(key), FastStr::new(value.to_string()));
    }
}

/// Tells the figures of a table that is made.
pub(super) fn tell_new(table: &mut Table, done: &Done) {
    let counts = done.partitions.values().next().copied().unwrap_or_default();
    tell_figures(table.parameters.get_or_insert_default(), &counts);
}
