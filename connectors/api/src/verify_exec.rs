//! `SET verify_pushdown`: what a source answers, held against what the engine makes of the same rows itself.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow::row::{RowConverter, SortField};
use arrow::util::pretty::pretty_format_batches;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::error::Result as DfResult;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{Distribution, EquivalenceProperties};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PhysicalExpr, PlanProperties,
};
use futures::{StreamExt, TryStreamExt};
use maru_core::{Error, ErrorKind, Result};

use crate::RemoteScanExec;

/// Bytes that an entry of the table of rows costs beside the row.
const ENTRY_BYTES: usize = 48;

/// Which rows must be there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Expected {
    /// The same ones, each as often.
    Same,
    /// So many of the engine's, or all: any rows satisfy a bare `LIMIT`.
    Some(usize),
    /// The same ones in these columns: which of the rows that an order takes for equal come first is open.
    SameIn(Vec<usize>),
}

/// Passes on the rows of `pushed` that `local` has too, and fails at the first that it has not, or at the end if some did not
/// come. So a wrong row goes no further; missing ones are told once all others have been passed on.
#[derive(Debug)]
pub struct VerifyExec {
    pushed: Arc<dyn ExecutionPlan>,
    local: Arc<dyn ExecutionPlan>,
    expected: Expected,
    properties: Arc<PlanProperties>,
}

impl VerifyExec {
    pub(crate) fn new(
        pushed: Arc<dyn ExecutionPlan>,
        local: Arc<dyn ExecutionPlan>,
        expected: Expected,
    ) -> Self {
        let properties = Arc::new(PlanProperties::new(
            EquivalenceProperties::new(pushed.schema()),
            Partitioning::UnknownPartitioning(1),
            EmissionType::Incremental,
            Boundedness::Bounded,
        ));
        Self { pushed, local, expected, properties }
    }

    /// Returns the catalog and what it is sent, below the nodes that the planner puts in between.
    fn sent(&self) -> (String, String) {
        let mut node = &self.pushed;
        loop {
            match (node.downcast_ref::<RemoteScanExec>(), node.children().as_slice()) {
                (Some(scan), _) => return (scan.catalog().to_owned(), scan.sent()),
                (None, [child]) => node = child,
                (None, _) => return (String::new(), node.name().to_owned()),
            }
        }
    }
}

impl DisplayAs for VerifyExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VerifyExec")
    }
}

impl ExecutionPlan for VerifyExec {
    fn name(&self) -> &str {
        "VerifyExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.pushed, &self.local]
    }

    fn required_input_distribution(&self) -> Vec<Distribution> {
        vec![Distribution::SinglePartition; 2]
    }

    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        vec![false; 2]
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> DfResult<Arc<dyn ExecutionPlan>> {
        let Ok([pushed, local]) = <[_; 2]>::try_from(children) else {
            return Err(Error::internal("a comparison has two inputs").into());
        };
        Ok(Arc::new(Self::new(pushed, local, self.expected.clone())))
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
        if partition != 0 {
            return Err(
                Error::internal(format!("a comparison has no partition {partition}")).into()
            );
        }
        let pushed = self.pushed.execute(0, Arc::clone(&context))?;
        let local = self.local.execute(0, Arc::clone(&context))?;
        let schema = self.pushed.schema();
        let reservation = MemoryConsumer::new("verify_pushdown").register(context.memory_pool());
        let comparison = Comparison::new(&schema, self.expected.clone(), self.sent(), reservation)?;
        let stream = futures::stream::once(comparison.of(pushed, local)).try_flatten();
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, stream)))
    }
}

/// The rows of the engine, as often as they are still expected.
struct Comparison {
    columns: Vec<usize>,
    converter: RowConverter,
    expected: Expected,
    left: HashMap<Box<[u8]>, usize>,
    n_local: usize,
    n_pushed: usize,
    catalog: String,
    sent: String,
    reservation: MemoryReservation,
}

impl Comparison {
    fn new(
        schema: &SchemaRef,
        expected: Expected,
        (catalog, sent): (String, String),
        reservation: MemoryReservation,
    ) -> Result<Self> {
        let mut columns = match &expected {
            Expected::SameIn(columns) => columns.clone(),
            Expected::Same | Expected::Some(_) => (0..schema.fields().len()).collect(),
        };
        let field = |index: usize| SortField::new(schema.field(index).data_type().clone());
        // Maps have no order and so no row form; they are never computed by a source, only delivered.
        columns.retain(|index| RowConverter::supports_fields(&[field(*index)]));
        let converter = RowConverter::new(columns.iter().map(|index| field(*index)).collect())?;
        Ok(Self {
            columns,
            converter,
            expected,
            left: HashMap::new(),
            n_local: 0,
            n_pushed: 0,
            catalog,
            sent,
            reservation,
        })
    }

    async fn of(
        mut self,
        pushed: SendableRecordBatchStream,
        mut local: SendableRecordBatchStream,
    ) -> DfResult<impl futures::Stream<Item = DfResult<RecordBatch>>> {
        while let Some(batch) = local.next().await {
            self.expect(&batch?)?;
        }
        Ok(futures::stream::try_unfold((self, pushed), |(mut this, mut pushed)| async move {
            match pushed.next().await.transpose()? {
                Some(batch) => {
                    this.check(&batch)?;
                    Ok(Some((batch, (this, pushed))))
                }
                None => {
                    this.finish()?;
                    Ok(None)
                }
            }
        }))
    }

    fn rows(&self, batch: &RecordBatch) -> DfResult<Vec<Box<[u8]>>> {
        if self.columns.is_empty() {
            return Ok(vec![Box::default(); batch.num_rows()]);
        }
        let columns = batch.project(&self.columns)?;
        let rows = self.converter.convert_columns(columns.columns())?;
        Ok(rows.iter().map(|row| row.as_ref().into()).collect())
    }

    fn expect(&mut self, batch: &RecordBatch) -> DfResult<()> {
        self.n_local += batch.num_rows();
        for row in self.rows(batch)? {
            let bytes = row.len() + ENTRY_BYTES;
            let count = self.left.entry(row).or_insert(0);
            if *count == 0 {
                self.reservation.try_grow(bytes)?;
            }
            *count += 1;
        }
        Ok(())
    }

    fn check(&mut self, batch: &RecordBatch) -> DfResult<()> {
        self.n_pushed += batch.num_rows();
        for (position, row) in self.rows(batch)?.into_iter().enumerate() {
            match self.left.get_mut(&row) {
                Some(count) if *count > 0 => *count -= 1,
                _ => return Err(self.wrong("has", &batch.slice(position, 1)).into()),
            }
        }
        Ok(())
    }

    fn finish(&self) -> DfResult<()> {
        let wanted = match self.expected {
            Expected::Some(limit) => self.n_local.min(limit),
            Expected::Same | Expected::SameIn(_) => self.n_local,
        };
        if self.n_pushed == wanted {
            return Ok(());
        }
        let missing = self.left.iter().find(|(_, count)| **count > 0).map(|(row, _)| row);
        let parser = self.converter.parser();
        let fields = missing.and_then(|row| {
            let row = parser.parse(row);
            self.converter.convert_rows([row]).ok()
        });
        let shown = fields.map_or_else(String::new, |columns| {
            let named =
                columns.into_iter().enumerate().map(|(i, c)| (format!("column {}", i + 1), c));
            RecordBatch::try_from_iter(named).map(|batch| table(&batch)).unwrap_or_default()
        });
        Err(self
            .error(format!(
                "The source sent {} rows, the engine finds {wanted}. Missing is:\n{shown}",
                self.n_pushed
            ))
            .into())
    }

    fn wrong(&self, verb: &str, row: &RecordBatch) -> Error {
        self.error(format!(
            "The source {verb} a row that the engine does not find:\n{}",
            table(row)
        ))
    }

    fn error(&self, detail: String) -> Error {
        let what = format!("source \"{}\" does not answer as the engine does", self.catalog);
        Error::new(ErrorKind::PushdownDiffers, what)
            .with_detail(format!("It was sent: {}\n{detail}", self.sent))
            .with_hint(format!(
                "Data that changes meanwhile differs too: try again. If it stays, SET {}.pushdown = off and report it.",
                self.catalog
            ))
    }
}

fn table(batch: &RecordBatch) -> String {
    pretty_format_batches(std::slice::from_ref(batch)).map(|t| t.to_string()).unwrap_or_default()
}
