//! What `EXPLAIN` tells of a scan of files: files, partitions, and once it has run row groups, pages and stripes.

use std::collections::HashSet;

use datafusion::datasource::physical_plan::FileScanConfig;
use datafusion::physical_plan::metrics::{MetricValue, MetricsSet};
use maru_connect::{PartitionsRead, partitions_read};
use serde_json::{Map, Value, json};

/// What a scan is planned to read.
pub(super) struct Planned {
    pub(super) n_files: usize,
    pub(super) n_bytes: u64,
    /// `None` for a table without partitions.
    partitions: Option<PartitionsRead>,
}

impl Planned {
    pub(super) fn of(scan: &FileScanConfig) -> Self {
        let files = scan.file_groups.iter().flat_map(|group| group.iter()).collect::<Vec<_>>();
        // A large file is read in several ranges.
        let names = files.iter().map(|file| &file.object_meta.location).collect::<HashSet<_>>();
        let bytes = files.iter().map(|file| match &file.range {
            Some(range) => (range.end - range.start) as u64,
            None => file.object_meta.size,
        });
        Self { n_files: names.len(), n_bytes: bytes.sum(), partitions: partitions_read(scan) }
    }

    /// Returns a line, if the table has partitions.
    pub(super) fn partitions(&self) -> Option<String> {
        self.partitions.map(|PartitionsRead { n_read, n_all }| match n_all {
            Some(n_all) => format!("partitions: {n_read} of {n_all}"),
            None => format!("partitions: {n_read} (how many there are was not listed)"),
        })
    }

    pub(super) fn json(&self, node: &mut Map<String, Value>) {
        node.insert("Files".to_owned(), json!(self.n_files));
        node.insert("File Bytes".to_owned(), json!(self.n_bytes));
        if let Some(partitions) = self.partitions {
            node.insert("Partitions".to_owned(), json!(partitions.n_read));
            node.insert("Partitions Total".to_owned(), json!(partitions.n_all));
        }
    }
}

/// What of the files that were opened was read.
#[derive(Default)]
pub(super) struct Pruned {
    /// Of Parquet.
    row_groups: Parts,
    pages: Parts,
    /// Of ORC.
    stripes: Parts,
}

/// Parts of files, and why others were left out.
#[derive(Default)]
struct Parts {
    n_all: usize,
    by: Vec<(&'static str, usize)>,
}

impl Parts {
    fn leave_out(&mut self, why: &'static str, n: usize) {
        if n == 0 {
            return;
        }
        match self.by.iter_mut().find(|(known, _)| *known == why) {
            Some((_, all)) => *all += n,
            None => self.by.push((why, n)),
        }
    }

    fn n_read(&self) -> usize {
        self.n_all.saturating_sub(self.by.iter().map(|(_, n)| n).sum())
    }

    fn told(&self, what: &str) -> Option<String> {
        if self.n_all == 0 {
            return None;
        }
        let by = self.by.iter().map(|(why, n)| format!("{n} by {why}")).collect::<Vec<_>>();
        let by = match by.is_empty() {
            true => String::new(),
            false => format!(" (left out: {})", by.join(", ")),
        };
        Some(format!("{what}: {} of {}{by}", self.n_read(), self.n_all))
    }

    fn json(&self, what: &str, node: &mut Map<String, Value>) {
        if self.n_all > 0 {
            node.insert(what.to_owned(), json!(self.n_read()));
            node.insert(format!("{what} Total"), json!(self.n_all));
            let by = self.by.iter().map(|(why, n)| ((*why).to_owned(), json!(n)));
            node.insert(format!("{what} Left Out"), Value::Object(by.collect()));
        }
    }
}

impl Pruned {
    pub(super) fn of(metrics: &MetricsSet) -> Self {
        let mut pruned = Self::default();
        let Self { row_groups, pages, stripes } = &mut pruned;
        for metric in metrics.iter() {
            match metric.value() {
                MetricValue::PruningMetrics { name, pruning_metrics } => {
                    let (n_pruned, n_matched) =
                        (pruning_metrics.pruned(), pruning_metrics.matched());
                    match name.as_ref() {
                        // The first that looks at a row group; the others see what it leaves.
                        "row_groups_pruned_statistics" => {
                            row_groups.n_all += n_pruned + n_matched;
                            row_groups.leave_out("statistics", n_pruned);
                        }
                        "row_groups_pruned_bloom_filter" => {
                            row_groups.leave_out("bloom filters", n_pruned);
                        }
                        "limit_pruned_row_groups" => row_groups.leave_out("the limit", n_pruned),
                        "page_index_pages_pruned" => {
                            pages.n_all += n_pruned + n_matched;
                            pages.leave_out("the page index", n_pruned);
                        }
                        _ => {}
                    }
                }
                MetricValue::Count { name, count } => match name.as_ref() {
                    "row_groups_pruned_dynamic_filter" => {
                        row_groups.leave_out("what was learned", count.value());
                    }
                    "stripes" => stripes.n_all += count.value(),
                    "stripes_pruned" => {
                        stripes.n_all += count.value();
                        stripes.leave_out("statistics", count.value());
                    }
                    _ => {}
                },
                _ => {}
            }
        }
        pruned
    }

    /// Returns a line, if the format has such parts and some were looked at.
    pub(super) fn told(&self) -> Option<String> {
        let parts = [
            self.row_groups.told("row groups"),
            self.pages.told("pages"),
            self.stripes.told("stripes"),
        ];
        let parts = parts.into_iter().flatten().collect::<Vec<_>>();
        (!parts.is_empty()).then(|| parts.join(", "))
    }

    pub(super) fn json(&self, node: &mut Map<String, Value>) {
        self.row_groups.json("Row Groups", node);
        self.pages.json("Pages", node);
        self.stripes.json("Stripes", node);
    }
}
