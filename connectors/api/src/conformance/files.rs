//! What plans over files show: the declared projection, limits and filters, and no filter where they are switched off.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::RecordBatch;
use datafusion::physical_plan::ExecutionPlan;
use datafusion_datasource::file_scan_config::FileScanConfig;
use datafusion_datasource::source::DataSourceExec;
use maru_core::Result;

use super::{Subject, cases, ensure, reading};
use crate::{FileFormatSpec, FileTable, ScanRequest};

/// Filters that are planned to see whether one of them leaves anything out.
const FILTERS: usize = 12;

/// Plans scans, and holds what they show against what the connector declares.
pub(super) async fn flags(
    subject: &Subject<'_>,
    table: &Arc<FileTable>,
    whole: &RecordBatch,
) -> Result<()> {
    let declared = subject.connector.spec().capabilities;
    let all = ScanRequest::all(&table.user_schema());
    let every = Scan::of(table, &all, true).await?;

    let one = ScanRequest { projection: vec![0], ..all.clone() };
    let one = Scan::of(table, &one, true).await?;
    let fewer = one.n_columns == 1;
    ensure(all.projection.len() == 1 || declared.projection == fewer, || {
        format!(
            "declared projection = {}, but a scan of one gives {}",
            declared.projection, one.n_columns
        )
    })?;

    let limited = ScanRequest { limit: Some(1), ..all.clone() };
    let limit = Scan::of(table, &limited, true).await?.limit == Some(1);
    ensure(declared.limit == limit, || {
        format!("declared limit = {}, but the plan says {limit}", declared.limit)
    })?;

    let filters = cases::predicates(whole)?;
    let step = filters.len().div_ceil(FILTERS).max(1);
    let mut seen = false;
    for filter in filters.into_iter().step_by(step) {
        let request = ScanRequest { filters: vec![filter], ..all.clone() };
        let scan = Scan::of(table, &request, true).await?;
        ensure(scan.files.is_subset(&every.files), || {
            format!("{request:?} reads files that a scan without a filter does not")
        })?;
        seen |= scan.filtered || scan.files.len() < every.files.len();
        let off = Scan::of(table, &request, false).await?;
        ensure(!off.filtered && off.files == every.files, || {
            format!("{request:?} leaves something out though pushdown is off")
        })?;
    }
    // Only partitions and these formats tell what is in a file before it is read.
    let told = !table.partition_columns.is_empty()
        || matches!(table.format, FileFormatSpec::Parquet | FileFormatSpec::Orc);
    let may = declared.filter && told;
    ensure(seen == may, || {
        format!(
            "declared filter = {}, but plans show filters = {seen} instead of {may}",
            declared.filter
        )
    })
}

/// What a plan says of its scans together.
#[derive(Debug, Default)]
struct Scan {
    files: BTreeSet<String>,
    n_columns: usize,
    /// Whether rows are left out by what files tell.
    filtered: bool,
    limit: Option<usize>,
}

impl Scan {
    async fn of(table: &Arc<FileTable>, request: &ScanRequest, pushdown: bool) -> Result<Self> {
        let plan = reading::plan_files(table, request, pushdown).await?;
        let mut scan = Self::default();
        scan.add(&plan);
        Ok(scan)
    }

    fn add(&mut self, node: &Arc<dyn ExecutionPlan>) {
        let config = node
            .downcast_ref::<DataSourceExec>()
            .and_then(|scan| scan.data_source().downcast_ref::<FileScanConfig>());
        if let Some(config) = config {
            let files = config.file_groups.iter().flat_map(|group| group.iter());
            self.files.extend(files.map(|file| file.object_meta.location.to_string()));
            self.n_columns = self.n_columns.max(node.schema().fields().len());
            self.filtered |= config.file_source().filter().is_some();
            self.limit = self.limit.max(config.limit);
        }
        for child in node.children() {
            self.add(child);
        }
    }
}
