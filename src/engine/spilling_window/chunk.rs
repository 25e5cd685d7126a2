//! Rows of whole partitions, and the answers of functions over them.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions, UInt64Array, new_null_array};
use arrow::compute::{concat, concat_batches, partition, take};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::utils::memory::RecordBatchMemoryCounter;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::TaskContext;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::utils::collect_columns;
use datafusion::physical_expr::window::{StandardWindowExpr, WindowExpr};
use datafusion::physical_plan::metrics::SpillMetrics;
use datafusion::physical_plan::spill::SpillManager;
use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};

use crate::engine::spill_file::Spilling;

/// The functions of a window, and what they look at.
#[derive(Debug)]
pub(super) struct Functions {
    functions: Vec<Arc<dyn WindowExpr>>,
    keys: Vec<Arc<dyn PhysicalExpr>>,
    /// The input's columns, those that no function looks at without a value.
    narrow: SchemaRef,
    /// The input's columns and a value of each function.
    schema: SchemaRef,
}

impl Functions {
    /// `None` if there is no function.
    pub(super) fn new(
        functions: &[Arc<dyn WindowExpr>],
        input: &SchemaRef,
        schema: SchemaRef,
    ) -> Option<Arc<Self>> {
        let keys = functions.first()?.partition_by().to_vec();
        let looked_at = columns(functions);
        let narrow = input.fields().iter().enumerate().map(|(index, field)| match &looked_at {
            Some(looked_at) if !looked_at.contains(&index) => {
                Arc::new(Field::new(field.name(), DataType::Null, true))
            }
            _ => Arc::clone(field),
        });
        let narrow = Arc::new(Schema::new(narrow.collect::<Vec<_>>()));
        Some(Arc::new(Self { functions: functions.to_vec(), keys, narrow, schema }))
    }

    /// Returns the keys of the partitions that rows belong to.
    pub(super) fn keys(&self, batch: &RecordBatch) -> Result<Vec<ArrayRef>> {
        let n_rows = batch.num_rows();
        self.keys.iter().map(|key| key.evaluate(batch)?.into_array(n_rows)).collect()
    }

    /// Leaves what functions look at. Columns keep their places, so expressions are good for it as they are.
    fn narrowed(&self, batch: &RecordBatch) -> Result<RecordBatch> {
        let columns = self.narrow.fields().iter().zip(batch.columns());
        let columns = columns.map(|(field, column)| match field.data_type() {
            DataType::Null => new_null_array(&DataType::Null, batch.num_rows()),
            _ => Arc::clone(column),
        });
        with_rows(&self.narrow, columns.collect(), batch.num_rows())
    }

    /// Returns a value of each function for each row.
    fn values(&self, rows: &RecordBatch) -> Result<Vec<ArrayRef>> {
        let keys = self.keys(rows)?;
        let ranges = match keys.is_empty() {
            true => std::iter::once(0..rows.num_rows()).collect(),
            false => partition(&keys)?.ranges(),
        };
        let values = self.functions.iter().map(|function| {
            let of_range = |range: &std::ops::Range<usize>| {
                function.evaluate(&rows.slice(range.start, range.len()))
            };
            let values = ranges.iter().map(of_range).collect::<Result<Vec<_>>>()?;
            match &values[..] {
                [one] => Ok(Arc::clone(one)),
                many => {
                    let many = many.iter().map(AsRef::as_ref).collect::<Vec<_>>();
                    concat(&many).map_err(DataFusionError::from)
                }
            }
        });
        values.collect()
    }
}

/// Returns the columns that functions look at, or `None` if that cannot be told.
fn columns(functions: &[Arc<dyn WindowExpr>]) -> Option<BTreeSet<usize>> {
    let mut found = BTreeSet::new();
    for function in functions {
        // The FILTER of an aggregate is not among its expressions, and shows only here (DataFusion 55.2).
        let is_standard = function.as_any().is::<StandardWindowExpr>();
        if !is_standard && !format!("{function:?}").ends_with("filter: None }") {
            return None;
        }
        let all = function.all_expressions();
        let all = all.args.iter().chain(&all.partition_by_exprs).chain(&all.order_by_exprs);
        found.extend(all.flat_map(collect_columns).map(|column| column.index()));
    }
    Some(found)
}

fn with_rows(schema: &SchemaRef, columns: Vec<ArrayRef>, n_rows: usize) -> Result<RecordBatch> {
    let options = RecordBatchOptions::new().with_row_count(Some(n_rows));
    Ok(RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options)?)
}

/// Rows of whole partitions, or of the beginning of one.
pub(super) struct Chunk {
    functions: Arc<Functions>,
    spill: SpillManager,
    n_rows: usize,
    /// What functions look at.
    narrow: Vec<RecordBatch>,
    /// The rows as they are, as long as there is memory for them.
    rows: Vec<RecordBatch>,
    file: Spilling,
    /// Counts the buffers of `rows`, and once these are in a file those of `narrow`: batches may share them.
    counter: RecordBatchMemoryCounter,
    /// For `rows`, of which `narrow` is a part.
    of_rows: MemoryReservation,
    /// For `narrow` alone, and for values: that must be in memory.
    of_values: MemoryReservation,
}

impl Chunk {
    pub(super) fn new(
        functions: &Arc<Functions>,
        context: &TaskContext,
        schema: SchemaRef,
        metrics: SpillMetrics,
    ) -> Self {
        let spill = SpillManager::new(context.runtime_env(), metrics, schema)
            .with_compression_type(context.session_config().spill_compression());
        let pool = context.memory_pool();
        Self {
            functions: Arc::clone(functions),
            spill,
            n_rows: 0,
            narrow: Vec::new(),
            rows: Vec::new(),
            file: Spilling::default(),
            counter: RecordBatchMemoryCounter::new(),
            of_rows: MemoryConsumer::new("WindowRows").with_can_spill(true).register(pool),
            of_values: MemoryConsumer::new("Window").register(pool),
        }
    }

    pub(super) fn n_rows(&self) -> usize {
        self.n_rows
    }

    /// Adds rows behind those that there are.
    ///
    /// # Errors
    /// `ResourcesExhausted` if there is no memory for what functions look at; whatever is wrong with the disk.
    pub(super) fn push(&mut self, batch: RecordBatch) -> Result<()> {
        self.n_rows += batch.num_rows();
        let narrow = self.functions.narrowed(&batch)?;
        if !self.file.is_begun() {
            let n_bytes = self.counter.count_batch(&batch);
            self.narrow.push(narrow);
            self.rows.push(batch);
            return match self.of_rows.try_grow(n_bytes) {
                Ok(()) => Ok(()),
                Err(_) => self.write(),
            };
        }
        self.of_values.try_grow(self.counter.count_batch(&narrow))?;
        self.narrow.push(narrow);
        self.file.append(&batch, &self.spill, "Window")
    }

    /// Moves the rows into a file.
    fn write(&mut self) -> Result<()> {
        for batch in self.rows.drain(..) {
            self.file.append(&batch, &self.spill, "Window")?;
        }
        self.of_rows.free();
        self.counter = RecordBatchMemoryCounter::new();
        let n_bytes = self.narrow.iter().map(|batch| self.counter.count_batch(batch)).sum();
        self.of_values.try_grow(n_bytes)
    }

    /// Takes memory that cannot be spilled, for which rows make room.
    fn take(&mut self, n_bytes: usize) -> Result<()> {
        match self.of_values.try_grow(n_bytes) {
            Err(_) if !self.rows.is_empty() => {
                self.write()?;
                self.of_values.try_grow(n_bytes)
            }
            taken => taken,
        }
    }

    /// Returns the rows with a value of each function behind them.
    pub(super) fn answered(self) -> BoxStream<'static, Result<RecordBatch>> {
        stream::once(async { self.values() }).try_flatten().boxed()
    }

    fn values(mut self) -> Result<BoxStream<'static, Result<RecordBatch>>> {
        // One copy in one piece, and what functions make of it meanwhile, which is about as much again.
        let mut n_bytes = 0;
        for column in self.narrow.iter().flat_map(RecordBatch::columns) {
            n_bytes += column.to_data().get_slice_memory_size()?;
        }
        self.take(2 * n_bytes)?;
        let narrow = concat_batches(&self.functions.narrow, &self.narrow)?;
        self.narrow.clear();
        let values = self.functions.values(&narrow)?;
        drop(narrow);
        let held = values.iter().map(|values| values.get_array_memory_size()).sum();
        self.of_values.try_resize(held)?;
        let Self { functions, spill, rows, file, of_rows, of_values, .. } = self;
        let rows = match file.finish()? {
            Some(file) => spill.read_spill_as_stream(file, None)?.boxed(),
            None => stream::iter(rows).map(Ok).boxed(),
        };
        let mut start = 0u64;
        let rows = rows.map(move |batch| {
            let _held = (&of_rows, &of_values);
            let batch = batch?;
            let n_rows = batch.num_rows();
            let mut columns = batch.columns().to_vec();
            // Copied: who counts the memory of a slice counts all that it is a part of.
            let places = UInt64Array::from_iter_values((start..).take(n_rows));
            for values in &values {
                columns.push(take(values, &places, None)?);
            }
            start += n_rows as u64;
            with_rows(&functions.schema, columns, n_rows)
        });
        Ok(rows.boxed())
    }
}
