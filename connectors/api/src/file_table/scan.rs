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
use datafusion::physical_plan::empty::EmptyExec;
use datafusion::physical_plan::union::UnionExec;
use datafusion_datasource::file::FileSource;
use datafusion_datasource::file_groups::FileGroup;
use datafusion_datasource::file_scan_config::{FileScanConfig, FileScanConfigBuilder};
use datafusion_datasource::source::DataSourceExec;
use datafusion_datasource::{PartitionedFile, TableSchema, compute_all_files_statistics};
use datafusion_datasource_parquet::ParquetRowSelection;
use futures::future::BoxFuture;
use futures::{StreamExt, stream};
use maru_core::{Error, Result};

use super::column_names::NamesAdapterFactory;
use super::details::Bounds;
use super::named_source::NamedSource;
use super::{believed, orc, parquet, text};
use crate::join_order::BelievedExec;
use crate::{
    ColumnEstimate, FileEntry, FileFormatSpec, FileLayout, FileTable, Predicate, QueryContext,
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
    limit: Option<usize>,
    /// Whether rows are dropped after the scan, so that a limit may not shorten the list of files.
    filtered_later: bool,
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
        let entries = prune(&table, &request, listed)?;
        let entries = prune_by_bounds(&table, &request, entries)?;
        let version = table.files.version_in(statement).await;
        let label = label(&table, &request, version, entries.len(), n_listed);
        let believed = match state.config().collect_statistics() {
            true => table.files.column_estimates().await,
            false => None,
        };
        let mut scans = Vec::new();
        for (layout, entries) in by_layout(entries) {
            let table = match layout {
                Some(layout) => Arc::new(table.laid_out(&layout)),
                None => Arc::clone(&table),
            };
            state
                .runtime_env()
                .register_object_store(table.store_url.as_ref(), Arc::clone(&table.store));
            let known = with_statistics(&table, &request, state, entries).await?;
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
                let none = Known { files: Vec::new(), cut: false, sample: Vec::new() };
                build(&table, &request, state, none, None, label)
            }
        }
    })
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

/// What `EXPLAIN` shows of the scan besides the list of files.
fn label(
    table: &FileTable,
    request: &FileScanRequest,
    version: Option<u64>,
    n_kept: usize,
    n_listed: usize,
) -> Arc<str> {
    let mut label = format!("catalog={}", table.catalog);
    if let Some(version) = version {
        label.push_str(&format!(", version={version}"));
    }
    if !request.partition_filters.is_empty() {
        let filters = request.partition_filters.iter().map(ToString::to_string).collect::<Vec<_>>();
        label.push_str(&format!(", partition_filters=[{}]", filters.join(", ")));
    }
    if n_kept < n_listed {
        label.push_str(&format!(", files_pruned={}", n_listed - n_kept));
    }
    Arc::from(label)
}

/// Files of one layout with what is known of them, in the order of the list.
struct Known {
    files: Vec<PartitionedFile>,
    /// Whether files were left out because those before them have rows enough.
    cut: bool,
    /// What some files told where not all were asked.
    sample: Vec<Arc<Statistics>>,
}

/// Adds what Parquet footers tell to each file. Stops early once the exact row counts reach a limit that nothing filters
/// afterwards. Of very many files only some are asked that are not known already.
async fn with_statistics(
    table: &Arc<FileTable>,
    request: &FileScanRequest,
    state: &dyn Session,
    entries: Vec<FileEntry>,
) -> Result<Known> {
    let collect =
        state.config().collect_statistics() && matches!(table.format, FileFormatSpec::Parquet);
    let limit = request.limit.filter(|_| !request.filtered_later);
    let reader = parquet::FooterReader::new(table, state);
    let concurrency = state.config_options().execution.meta_fetch_concurrency.get();
    let n_entries = entries.len();
    let mut known = Vec::with_capacity(n_entries);
    let mut n_rows = 0_usize;
    let mut footers = stream::iter(entries.into_iter().enumerate())
        .map(|(index, entry)| {
            let reader = &reader;
            let asked = limit.is_some() || believed::is_sampled(index, n_entries);
            async move {
                let footer = match reader.cached(&entry.meta) {
                    Some(cached) if collect && entry.details.is_none() => Some(cached),
                    _ => footer(reader, &entry, collect && asked).await?,
                };
                Ok::<_, Error>((entry, footer))
            }
        })
        .boxed()
        .buffered(concurrency);
    while let Some(footer) = footers.next().await {
        let (entry, footer) = footer?;
        let footer = footer.or_else(|| believed::estimated(table, &entry));
        n_rows = match footer.as_ref().map(|footer| footer.statistics.num_rows) {
            Some(Precision::Exact(rows)) => n_rows.saturating_add(rows),
            _ => n_rows,
        };
        known.push((entry, footer));
        if limit.is_some_and(|limit| n_rows >= limit) {
            break;
        }
    }
    let cut = known.len() < n_entries;
    let mut sample = Vec::new();
    if known.iter().any(|(_, footer)| footer.is_none()) {
        let told = known.iter().filter_map(|(_, footer)| footer.as_ref());
        sample = told.map(|footer| Arc::clone(&footer.statistics)).collect();
        believed::extrapolate(&table.file_schema, &mut known);
    }
    let files = known.into_iter().map(|(entry, footer)| partitioned(entry, footer));
    Ok(Known { files: files.collect::<Result<Vec<_>>>()?, cut, sample })
}

/// Returns what is known of a file: what the table's own log tells, else what its footer does. The footer is read to learn
/// the number of rows where some of them do not count.
async fn footer(
    reader: &parquet::FooterReader,
    entry: &FileEntry,
    collect: bool,
) -> Result<Option<parquet::Footer>> {
    let Some(details) = &entry.details else {
        return if collect { reader.read(&entry.meta).await.map(Some) } else { Ok(None) };
    };
    if let Some(statistics) = details.statistics(entry.meta.size) {
        return Ok(Some(parquet::Footer { statistics: Arc::new(statistics), ordering: None }));
    }
    if !collect && details.deleted.is_none() {
        return Ok(None);
    }
    let mut footer = reader.read(&entry.meta).await?;
    if details.deleted.is_some() {
        footer.statistics = Arc::new(details.adjust(&footer.statistics));
    }
    Ok(Some(footer))
}

/// Returns the rows to read of a file of which some do not count.
fn selection(
    entry: &FileEntry,
    footer: Option<&parquet::Footer>,
) -> Result<Option<ParquetRowSelection>> {
    let Some(details) = entry.details.as_ref().filter(|details| details.deleted.is_some()) else {
        return Ok(None);
    };
    let known = footer.map(|footer| footer.statistics.num_rows);
    let n_rows = match (details.n_rows, known) {
        (Some(n_rows), _) => n_rows,
        (None, Some(Precision::Exact(counted))) => counted.saturating_add(details.n_deleted()),
        (None, _) => return Err(Error::internal("deleted rows of a file of unknown length")),
    };
    details.selection(&entry.meta.location, n_rows)
}

fn partitioned(entry: FileEntry, footer: Option<parquet::Footer>) -> Result<PartitionedFile> {
    let selection = selection(&entry, footer.as_ref())?;
    let nulls = entry.partition_values.iter().map(ScalarValue::is_null).collect::<Vec<_>>();
    let mut file =
        PartitionedFile::new_from_meta(entry.meta).with_partition_values(entry.partition_values);
    if let Some(footer) = footer {
        file = file.with_statistics(footer.statistics).with_ordering(footer.ordering);
        // DataFusion takes partition values as never NULL; `IS NULL` would be pruned away.
        if nulls.contains(&true)
            && let Some(shared) = &file.statistics
        {
            let mut statistics = Statistics::clone(shared);
            let first = statistics.column_statistics.len() - nulls.len();
            for (index, _) in nulls.iter().enumerate().filter(|(_, null)| **null) {
                let column = &mut statistics.column_statistics[first + index];
                column.null_count = statistics.num_rows;
                column.min_value = Precision::Absent;
                column.max_value = Precision::Absent;
                column.distinct_count = Precision::Absent;
            }
            file.statistics = Some(Arc::new(statistics));
        }
    }
    if let Some(selection) = selection {
        file = file.with_extension(selection);
    }
    Ok(file)
}

fn build(
    table: &Arc<FileTable>,
    request: &FileScanRequest,
    state: &dyn Session,
    known: Known,
    believed: Option<&Vec<ColumnEstimate>>,
    label: Arc<str>,
) -> DfResult<Arc<dyn ExecutionPlan>> {
    let schema: SchemaRef = table.table_schema();
    let Known { files, cut, sample } = known;
    if files.is_empty() {
        let projected = match &request.projection {
            Some(projection) => Arc::new(schema.project(projection)?),
            None => schema,
        };
        return Ok(Arc::new(EmptyExec::new(projected)));
    }
    let n_groups = state.config().target_partitions().max(1);
    let groups = FileGroup::new(files).split_files(n_groups);
    let collect = state.config().collect_statistics();
    let believed = believed::columns(&schema, believed, &sample);
    let (groups, statistics) =
        compute_all_files_statistics(groups, Arc::clone(&schema), collect, cut)?;
    let ordering = parquet::common_ordering(&groups);
    let groups = order_groups(state, &schema, groups, ordering.as_ref(), n_groups);
    let table_schema = TableSchema::builder(Arc::clone(&table.file_schema))
        .with_table_partition_cols(table.partition_columns.clone())
        .build();
    let source: Arc<dyn FileSource> = match &table.format {
        FileFormatSpec::Parquet => Arc::new(NamedSource {
            inner: parquet::source(table, state, table_schema, request.limit.is_some()),
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
