//! A scan of files that leaves out files and row groups by what it learns at run time.

use std::fmt;
use std::sync::{Arc, OnceLock};

use datafusion::common::Statistics;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::error::Result as DfResult;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::Operator;
use datafusion::physical_expr::expressions::{BinaryExpr, Column, in_list, lit};
use datafusion::physical_plan::empty::EmptyExec;
use datafusion::physical_plan::statistics::{ChildStats, StatisticsArgs};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, PhysicalExpr, PlanProperties,
};
use datafusion_datasource::file_groups::FileGroup;
use datafusion_datasource::file_scan_config::FileScanConfig;
use datafusion_datasource::source::DataSourceExec;
use futures::TryStreamExt;
use tokio::sync::OnceCell;

use super::{Known, RuntimeFilter};
use crate::CompareOp;

/// Ranges that a long list of keys is told in to what prunes row groups, which reads no list of more than twenty.
const RANGES_MAX: usize = 16;

/// Waits for its filters and then reads its input, a scan of files, with fewer files and row groups.
///
/// All partitions share one narrowed scan, as they would share the scan itself.
#[derive(Debug)]
pub struct FilteredFilesExec {
    input: Arc<dyn ExecutionPlan>,
    filters: Vec<RuntimeFilter>,
    narrowed: Arc<OnceCell<Arc<dyn ExecutionPlan>>>,
    learned: Arc<OnceLock<String>>,
}

impl FilteredFilesExec {
    fn new(input: Arc<dyn ExecutionPlan>, filters: Vec<RuntimeFilter>) -> Self {
        Self { input, filters, narrowed: Arc::default(), learned: Arc::default() }
    }

    /// Adds a filter to a scan of files, which may have some already; `None` if it cannot leave anything out by it.
    pub(super) fn place(
        node: &Arc<dyn ExecutionPlan>,
        filter: &RuntimeFilter,
    ) -> Option<Arc<dyn ExecutionPlan>> {
        let (input, mut filters) = match node.downcast_ref::<Self>() {
            Some(filtered) => (&filtered.input, filtered.filters.clone()),
            None => (node, Vec::new()),
        };
        let scan = config(input)?;
        let column = table_column(scan, filter.column)?;
        let in_path = column.index() >= scan.file_schema().fields().len();
        // Only these have row groups and stripes that tell what is in them.
        if !in_path && !["parquet", "orc"].contains(&scan.file_source().file_type()) {
            return None;
        }
        filters.push(filter.clone());
        Some(Arc::new(Self::new(Arc::clone(input), filters)))
    }

    /// Returns what the scan waits for, or what it learned once it has run.
    pub fn told(&self) -> String {
        match self.learned.get() {
            Some(learned) => learned.clone(),
            None => {
                let schema = self.input.schema();
                let waits = self.filters.iter().map(|filter| {
                    let name = schema.fields().get(filter.column).map_or("?", |field| field.name());
                    format!("{name}: {filter}")
                });
                waits.collect::<Vec<_>>().join(", ")
            }
        }
    }

    fn narrow(&self, known: &[Known], context: &TaskContext) -> DfResult<Arc<dyn ExecutionPlan>> {
        let nothing = || -> DfResult<Arc<dyn ExecutionPlan>> {
            Ok(Arc::new(EmptyExec::new(self.input.schema())))
        };
        if known.contains(&Known::Nothing) {
            let _ = self.learned.set("no row can count, nothing was read".to_owned());
            return nothing();
        }
        let Some(scan) = config(&self.input) else { return Ok(Arc::clone(&self.input)) };
        let mut narrow = scan.clone();
        let mut pruning = Vec::new();
        let (n_file_columns, mut n_left_out) = (scan.file_schema().fields().len(), 0);
        let mut learned = Vec::new();
        for (filter, known) in self.filters.iter().zip(known) {
            let Some(column) = table_column(scan, filter.column) else { continue };
            learned.extend(text(column.name(), known));
            if column.index() < n_file_columns {
                pruning.extend(condition(&column, known, scan)?);
                continue;
            }
            let value = column.index() - n_file_columns;
            for group in &mut narrow.file_groups {
                let before = group.len();
                let files = group
                    .iter()
                    .filter(|file| file.partition_values.get(value).is_none_or(|v| known.allows(v)))
                    .cloned()
                    .collect::<Vec<_>>();
                n_left_out += before - files.len();
                if files.len() < before {
                    *group = FileGroup::new(files);
                }
            }
        }
        if n_left_out > 0 {
            learned.push(format!("files left out: {n_left_out}"));
        }
        let _ = self.learned.set(learned.join(", "));
        if narrow.file_groups.iter().all(|group| group.is_empty()) {
            return nothing();
        }
        if !pruning.is_empty() {
            let options = context.session_config().options();
            let pushed = narrow.file_source().try_pushdown_filters(pruning, options)?;
            if let Some(source) = pushed.updated_node {
                narrow.file_source = source;
            }
        }
        Ok(DataSourceExec::from_data_source(narrow))
    }
}

impl DisplayAs for FilteredFilesExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FilteredFilesExec: at run time=[{}]", self.told())
    }
}

impl ExecutionPlan for FilteredFilesExec {
    fn name(&self) -> &str {
        "FilteredFilesExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.input.properties()
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![true]
    }

    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        vec![false]
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn with_new_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> DfResult<Arc<dyn ExecutionPlan>> {
        Ok(match children.pop() {
            Some(input) => Arc::new(Self::new(input, self.filters.clone())),
            None => self,
        })
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> DfResult<TreeNodeRecursion>,
    ) -> DfResult<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> DfResult<SendableRecordBatchStream> {
        let this = Self {
            input: Arc::clone(&self.input),
            filters: self.filters.clone(),
            narrowed: Arc::clone(&self.narrowed),
            learned: Arc::clone(&self.learned),
        };
        let stream = futures::stream::once(async move {
            let narrowed = this
                .narrowed
                .get_or_try_init(|| async {
                    let mut known = Vec::with_capacity(this.filters.len());
                    for filter in &this.filters {
                        known.push(filter.known().await);
                    }
                    this.narrow(&known, &context)
                })
                .await?;
            match narrowed.downcast_ref::<EmptyExec>() {
                Some(empty) => empty.execute(0, Arc::clone(&context)),
                None => narrowed.execute(partition, Arc::clone(&context)),
            }
        })
        .try_flatten();
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.input.schema(), stream)))
    }

    fn child_stats_requests(&self, partition: Option<usize>) -> Vec<ChildStats> {
        vec![ChildStats::At(partition)]
    }

    fn statistics_from_inputs(
        &self,
        inputs: &[Arc<Statistics>],
        _: &StatisticsArgs,
    ) -> DfResult<Arc<Statistics>> {
        Ok(match inputs.first() {
            Some(input) => Arc::clone(input),
            None => Arc::new(Statistics::new_unknown(&self.schema())),
        })
    }
}

fn config(node: &Arc<dyn ExecutionPlan>) -> Option<&FileScanConfig> {
    node.downcast_ref::<DataSourceExec>()?.data_source().downcast_ref::<FileScanConfig>()
}

/// Returns the column of the table that stands at `output` in what the scan gives, if it is given as it is.
fn table_column(scan: &FileScanConfig, output: usize) -> Option<Column> {
    let schema = scan.file_source().table_schema().table_schema();
    let index = match scan.file_source().projection() {
        None => output,
        Some(projection) => {
            let column = projection.as_ref().get(output)?.expr.downcast_ref::<Column>()?;
            let there = schema.fields().get(column.index())?;
            (there.name() == column.name()).then(|| column.index())?
        }
    };
    let field = schema.fields().get(index)?;
    Some(Column::new(field.name(), index))
}

/// Writes what is known as an expression from which row groups, pages and bloom filters are pruned.
fn condition(
    column: &Column,
    known: &Known,
    scan: &FileScanConfig,
) -> DfResult<Option<Arc<dyn PhysicalExpr>>> {
    let schema = scan.file_source().table_schema().table_schema();
    let column: Arc<dyn PhysicalExpr> = Arc::new(column.clone());
    let binary = |left: &Arc<dyn PhysicalExpr>, op, right: Arc<dyn PhysicalExpr>| {
        Arc::new(BinaryExpr::new(Arc::clone(left), op, right)) as Arc<dyn PhysicalExpr>
    };
    let between = |low: &datafusion::common::ScalarValue,
                   high: &datafusion::common::ScalarValue| {
        let low = binary(&column, Operator::GtEq, lit(low.clone()));
        binary(&low, Operator::And, binary(&column, Operator::LtEq, lit(high.clone())))
    };
    Ok(match known {
        Known::Anything | Known::Nothing => None,
        Known::Between(low, high) => Some(between(low, high)),
        Known::Compared(op, value) => {
            let op = match op {
                CompareOp::Eq => Operator::Eq,
                CompareOp::NotEq => Operator::NotEq,
                CompareOp::Lt => Operator::Lt,
                CompareOp::LtEq => Operator::LtEq,
                CompareOp::Gt => Operator::Gt,
                CompareOp::GtEq => Operator::GtEq,
            };
            Some(binary(&column, op, lit(value.clone())))
        }
        Known::OneOf(values) => {
            let list = values.iter().map(|value| lit(value.clone())).collect::<Vec<_>>();
            let list = in_list(Arc::clone(&column), list, &false, schema)?;
            let size = values.len().div_ceil(RANGES_MAX).max(1);
            let ranges = values
                .chunks(size)
                .filter_map(|chunk| Some(between(chunk.first()?, chunk.last()?)))
                .reduce(|all, range| binary(&all, Operator::Or, range));
            Some(match ranges {
                Some(ranges) if size > 1 => binary(&ranges, Operator::And, list),
                _ => list,
            })
        }
    })
}

/// Says what is known of a column, for `EXPLAIN ANALYZE`.
fn text(column: &str, known: &Known) -> Option<String> {
    Some(match known {
        Known::Anything | Known::Nothing => return None,
        Known::OneOf(values) => match values.as_slice() {
            [only] => format!("{column} = {only}"),
            values => format!("{column} is one of {} keys", values.len()),
        },
        Known::Between(low, high) => format!("{column} from {low} to {high}"),
        Known::Compared(op, value) => format!("{column} {} {value}", op.sql()),
    })
}
