//! From a file table to a plan over its files.
//!
//! What comes in is lowered at once ([`FileScanRequest::lower`]); then the files are listed, those whose partition
//! values cannot match are left out, statistics are gathered from Parquet footers, and the rest is a `DataSourceExec`
//! over groups of files.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch, RecordBatchOptions};
use arrow::datatypes::{Schema, SchemaRef};
use datafusion::catalog::Session;
use datafusion::common::stats::Precision;
use datafusion::common::{Column, DFSchema, ScalarValue, Statistics};
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_optimizer::pruning::PruningPredicateBuilder;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::union::UnionExec;
use datafusion_datasource::file::FileSource;
use datafusion_datasource::file_groups::FileGroup;
use datafusion_datasource::file_scan_config::{FileScanConfig, FileScanConfigBuilder};
use datafusion_datasource::source::DataSourceExec;
use datafusion_datasource::{TableSchema, compute_all_files_statistics};
use futures::future::BoxFuture;
use maru_core::{Error, Result};

use super::column_names::NamesAdapterFactory;
use super::details::Bounds;
use super::known::{Known, with_statistics};
use super::label::{Counts, Label};
use super::named_source::NamedSource;
use super::{believed, label, orc, parquet, text};
use crate::join_order::BelievedExec;
use crate::{
    ColumnEstimate, FileEntry, FileFormatSpec, FileLayout, FileTable, Predicate, QueryContext,
    root_of,
};

/// What one scan of a file table asks, lowered synchronously so that no future holds an expression.
#[derive(Debug)]
pub(crate) struct FileScanRequest {
    projection: Option<Vec<usize>>,
    /// What the lister may use to leave directories out.
    predicates: Vec<Predicate>,
    /// All filters on partition columns, evaluated on the values of every listed file.
    partition_filters: Vec<Arc<dyn PhysicalExpr>>,
    /// Filters on other columns, for files whose bounds the table's own log tells.
    bound_filters: Vec<Arc<dyn PhysicalExpr>>,
    pub(super) limit: Option<usize>,
    /// Whether rows are dropped after the scan, so that a limit may not shorten the list of files.
    pub(super) filtered_later: bool,
    pushdown: bool,
}

impl FileScanRequest {
    /// # Errors
    /// What DataFusion reports for an expression that has no physical form.
    pub(crate) fn lower(
        table: &FileTable,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
        pushdown: bool,
    ) -> DfResult<Self> {
        let schema = Schema::new(table.partition_columns.clone());
        let df_schema = DFSchema::try_from(schema.clone())?;
        let projection = match (table.files.column_order(), projection) {
            (None, projection) => projection.cloned(),
            (Some(order), None) => Some(order),
            (Some(order), Some(wanted)) => Some(wanted.iter().map(|index| order[*index]).collect()),
        };
        let mut request = Self {
            projection,
            predicates: Vec::new(),
            partition_filters: Vec::new(),
            bound_filters: Vec::new(),
            limit,
            filtered_later: false,
            pushdown,
        };
        let whole = DFSchema::try_from(table.table_schema().as_ref().clone())?;
        for filter in filters {
            if !on_partitions(table, filter) {
                request.filtered_later = true;
                if !filter.is_volatile() && !holds_subquery(filter) {
                    // One that has no such form prunes nothing.
                    let bound = state.create_physical_expr(unqualify(filter.clone())?, &whole);
                    request.bound_filters.extend(bound.ok());
                }
                continue;
            }
            let unqualified = unqualify(filter.clone())?;
            request.partition_filters.push(state.create_physical_expr(unqualified, &df_schema)?);
            request.predicates.extend(Predicate::lower(filter, &schema));
        }
        Ok(request)
    }

    /// Returns the filters that files without a wanted row may be left out by.
    pub(super) fn bounds(&self) -> &[Arc<dyn PhysicalExpr>] {
        if self.pushdown { &self.bound_filters } else { &[] }
    }
}

/// Returns how much of `filter` the scan takes over: all of one on partition columns, pruning of one on columns of
/// Parquet and ORC, nothing of the rest.
pub(crate) fn pushdown(table: &FileTable, filter: &Expr) -> TableProviderFilterPushDown {
    if on_partitions(table, filter) {
        TableProviderFilterPushDown::Exact
    } else if matches!(table.format, FileFormatSpec::Parquet | FileFormatSpec::Orc) {
        TableProviderFilterPushDown::Inexact
    } else {
        TableProviderFilterPushDown::Unsupported
    }
}

/// Returns whether `filter` reads partition columns only and gives the same answer each time.
fn on_partitions(table: &FileTable, filter: &Expr) -> bool {
    let columns: HashSet<&Column> = filter.column_refs();
    !columns.is_empty()
        && columns
            .iter()
            .all(|column| table.partition_columns.iter().any(|field| field.name() == column.name()))
        && !filter.is_volatile()
        && !holds_subquery(filter)
}

fn holds_subquery(filter: &Expr) -> bool {
    use datafusion::common::tree_node::TreeNode;
    filter
        .exists(|expr| {
            Ok(matches!(
                expr,
                Expr::Exists(_)
                    | Expr::InSubquery(_)
                    | Expr::ScalarSubquery(_)
                    | Expr::OuterReferenceColumn(..)
                    | Expr::Placeholder(_)
            ))
        })
        .unwrap_or(true)
}

fn unqualify(filter: Expr) -> DfResult<Expr> {
    use datafusion::common::tree_node::{Transformed, TreeNode};
    let plain = filter.transform(|expr| {
        Ok(match expr {
            Expr::Column(column) if column.relation.is_some() => {
                Transformed::yes(Expr::Column(Column::new_unqualified(column.name)))
            }
            other => Transformed::no(other),
        })
    })?;
    Ok(plain.data)
}

/// Plans the scan. Dropping the future stops the listing and the reading of footers.
pub(crate) fn plan<'a>(
    table: Arc<FileTable>,
    request: FileScanRequest,
    state: &'a dyn Session,
) -> BoxFuture<'a, DfResult<Arc<dyn ExecutionPlan>>> {
    Box::pin(async move {
        let statement = QueryContext::of(state.config()).query_id;
        let listed = table.files.list_in(statement, &request.predicates).await?;
        let n_listed = listed.len();
        let n_partitions = n_partitions(&table, &request, state, &listed).await;
        let runtime = QueryContext::runtime(state);
        let memory = label::counted(&listed, &runtime.memory_pool)?;
        let entries = prune(&table, &request, listed)?;
        let entries = prune_by_bounds(&table, &request, entries)?;
        let n_kept = entries.len();
        let version = table.files.version_in(statement).await;
        let believed = match state.config().collect_statistics() {
            true => table.files.column_estimates().await,
            false => None,
        };
        let mut told = Vec::new();
        for (layout, entries) in by_layout(entries) {
            let table = match layout {
                Some(layout) => Arc::new(table.laid_out(&layout)),
                None => Arc::clone(&table),
            };
            runtime.register_object_store(table.store_url.as_ref(), Arc::clone(&table.store));
            let known = with_statistics(&table, &request, state, entries).await?;
            told.push((table, known));
        }
        let n_pruned = told.iter().map(|(_, known)| known.n_pruned).sum::<usize>();
        let counts = Counts { n_kept: n_kept - n_pruned, n_listed, n_partitions };
        let label = Label::new(&table, &request.partition_filters, version, counts, memory);
        let label = Arc::new(label);
        let mut scans = Vec::new();
        let some_left = told.iter().any(|(_, known)| !known.files.is_empty());
        for (table, known) in told {
            if some_left && known.files.is_empty() {
                continue;
            }
            let believed = believed.as_deref();
            scans.push(build(&table, &request, state, known, believed, Arc::clone(&label))?);
        }
        match scans.pop() {
            Some(only) if scans.is_empty() => Ok(only),
            Some(last) => {
                scans.push(last);
                UnionExec::try_new(scans)
            }
            None => {
                let (url, store) = (table.store_url.as_ref(), Arc::clone(&table.store));
                runtime.register_object_store(url, store);
                build(&table, &request, state, Known::default(), None, label)
            }
        }
    })
}

/// Returns how many partitions the table has, if that is to be told and known.
async fn n_partitions(
    table: &FileTable,
    request: &FileScanRequest,
    state: &dyn Session,
    listed: &[FileEntry],
) -> Option<usize> {
    let context = QueryContext::of(state.config());
    if !context.explained || table.partition_columns.is_empty() {
        return None;
    }
    // A metastore knows of partitions without a file too.
    match table.files.n_partitions(context.query_id).await {
        None if request.predicates.is_empty() => {
            Some(label::distinct(listed.iter().map(|entry| &entry.partition_values)))
        }
        known => known,
    }
}

/// Puts files together that one scan can read, in the order in which each layout comes first.
fn by_layout(entries: Vec<FileEntry>) -> Vec<(Option<Arc<FileLayout>>, Vec<FileEntry>)> {
    let mut groups: Vec<(Option<Arc<FileLayout>>, Vec<FileEntry>)> = Vec::new();
    for entry in entries {
        let alike = |known: &Option<Arc<FileLayout>>| match (known, &entry.layout) {
            (None, None) => true,
            (Some(known), Some(layout)) => known.is_like(layout),
            _ => false,
        };
        match groups.iter_mut().find(|(known, _)| alike(known)) {
            Some((_, files)) => files.push(entry),
            None => groups.push((entry.layout.clone(), vec![entry])),
        }
    }
    groups
}

/// Drops files whose partition values do not satisfy the filters; unknown counts as no.
fn prune(
    table: &FileTable,
    request: &FileScanRequest,
    entries: Vec<FileEntry>,
) -> Result<Vec<FileEntry>> {
    if request.partition_filters.is_empty() || entries.is_empty() {
        return Ok(entries);
    }
    let schema = Arc::new(Schema::new(table.partition_columns.clone()));
    let columns = (0..schema.fields().len())
        .map(|index| {
            let values = entries.iter().map(|entry| entry.partition_values[index].clone());
            ScalarValue::iter_to_array(values)
        })
        .collect::<DfResult<Vec<_>>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(entries.len()));
    let batch = RecordBatch::try_new_with_options(Arc::clone(&schema), columns, &options)?;
    let mut keep = vec![true; entries.len()];
    for filter in &request.partition_filters {
        let answer = filter.evaluate(&batch)?.into_array(entries.len())?;
        let answer = answer
            .as_boolean_opt()
            .ok_or_else(|| Error::internal(format!("filter {filter} is not a condition")))?;
        for (row, keep) in keep.iter_mut().enumerate() {
            *keep &= answer.is_valid(row) && answer.value(row);
        }
    }
    Ok(entries.into_iter().zip(keep).filter_map(|(entry, keep)| keep.then_some(entry)).collect())
}

/// Drops files of which the table's own log tells that no row can satisfy the filters.
fn prune_by_bounds(
    table: &FileTable,
    request: &FileScanRequest,
    entries: Vec<FileEntry>,
) -> Result<Vec<FileEntry>> {
    if request.bound_filters.is_empty() || entries.iter().all(|entry| entry.details.is_none()) {
        return Ok(entries);
    }
    let schema = table.table_schema();
    let mut keep = vec![true; entries.len()];
    for filter in &request.bound_filters {
        // What cannot be decided by bounds keeps every file.
        let Ok(predicate) = PruningPredicateBuilder::new()
            .with_file_schema(Arc::clone(&schema))
            .try_build(Arc::clone(filter))
        else {
            continue;
        };
        let bounds = Bounds { files: &entries, schema: &table.file_schema };
        for (keep, may) in keep.iter_mut().zip(predicate.prune(&bounds)?) {
            *keep &= may;
        }
    }
    Ok(entries.into_iter().zip(keep).filter_map(|(entry, keep)| keep.then_some(entry)).collect())
}

fn build(
    table: &Arc<FileTable>,
    request: &FileScanRequest,
    state: &dyn Session,
    known: Known,
    believed: Option<&Vec<ColumnEstimate>>,
    label: Arc<Label>,
) -> DfResult<Arc<dyn ExecutionPlan>> {
    let schema: SchemaRef = table.table_schema();
    let Known { files, cut, sample, .. } = known;
    let is_empty = files.is_empty();
    let n_groups = state.config().target_partitions().max(1);
    let groups = FileGroup::new(files).split_files(n_groups);
    let collect = state.config().collect_statistics();
    let believed = believed::columns(&schema, believed, &sample);
    let (groups, statistics) = match is_empty {
        // One group without files: a scan that `EXPLAIN` can tell of, and of which all is known.
        true => (vec![FileGroup::default()], nothing(&schema)),
        false => compute_all_files_statistics(groups, Arc::clone(&schema), collect, cut)?,
    };
    let ordering = parquet::common_ordering(&groups);
    let groups = order_groups(state, &schema, groups, ordering.as_ref(), n_groups);
    let table_schema = TableSchema::builder(Arc::clone(&table.file_schema))
        .with_table_partition_cols(table.partition_columns.clone())
        .build();
    let source: Arc<dyn FileSource> = match &table.format {
        FileFormatSpec::Parquet => Arc::new(NamedSource {
            inner: parquet::source(table, state, &table_schema, request.limit.is_some()),
            schema: table_schema,
            root: root_of(&table.store_url).into(),
            label,
            pushdown: request.pushdown,
        }),
        FileFormatSpec::Orc => orc::source(table, state, table_schema, label, request.pushdown),
        _ => text::source(table, table_schema, label)?,
    };
    let config = FileScanConfigBuilder::new(table.store_url.clone(), source)
        .with_file_groups(groups)
        .with_statistics(statistics)
        .with_projection_indices(request.projection.clone())?
        .with_limit(request.limit)
        .with_output_ordering(ordering.into_iter().collect())
        .with_expr_adapter(Some(Arc::new(NamesAdapterFactory {
            kept: table.files.names_in_files(),
            lengths: table.files.text_lengths(),
        })))
        .build();
    let scan = DataSourceExec::from_data_source(config);
    Ok(match believed {
        Some(columns) => {
            let projection = request.projection.clone();
            let projection = projection.unwrap_or_else(|| (0..columns.len()).collect());
            let of = |index: &usize| columns.get(*index).cloned().unwrap_or_default();
            Arc::new(BelievedExec::new(scan, projection.iter().map(of).collect()))
        }
        None => scan,
    })
}

fn nothing(schema: &Schema) -> Statistics {
    Statistics {
        num_rows: Precision::Exact(0),
        total_byte_size: Precision::Exact(0),
        column_statistics: Statistics::unknown_column(schema),
    }
}

/// Regroups files so that a common order of their rows survives within each group, where the session asks for it.
fn order_groups(
    state: &dyn Session,
    schema: &SchemaRef,
    groups: Vec<FileGroup>,
    ordering: Option<&datafusion::physical_expr::LexOrdering>,
    n_groups: usize,
) -> Vec<FileGroup> {
    let Some(ordering) = ordering else { return groups };
    if !state.config_options().execution.split_file_groups_by_statistics {
        return groups;
    }
    match FileScanConfig::split_groups_by_statistics_with_target_partitions(
        schema, &groups, ordering, n_groups,
    ) {
        Ok(ordered) if ordered.len() <= n_groups => ordered,
        _ => groups,
    }
}
