//! `row_number`, `rank` and `dense_rank` over sorted rows, counted batch by batch.
//!
//! DataFusion evaluates a window function for each partition by itself, which costs microseconds: where nearly each row is a
//! partition, as where duplicates are looked for (`QUALIFY row_number() OVER (PARTITION BY key …) = 1`), that is the whole
//! statement. Sorted as the rows are, it is enough to see where a row differs from the one before.

use std::fmt;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, Int64Array, RecordBatch, make_comparator};
use arrow::compute::{SortOptions, cast, partition};
use arrow::datatypes::SchemaRef;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion};
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::window::StandardWindowExpr;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::metrics::{BaselineMetrics, ExecutionPlanMetricsSet, MetricsSet};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::windows::{BoundedWindowAggExec, WindowUDFExpr};
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, InputOrderMode, PlanProperties,
};
use futures::StreamExt;

/// Puts the node in the place of the engine's where all its functions are of these.
#[derive(Debug)]
pub(super) struct NumberRows;

impl PhysicalOptimizerRule for NumberRows {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        _: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        plan.transform_up(|node| {
            let numbered = node.downcast_ref::<BoundedWindowAggExec>().and_then(NumberRowsExec::of);
            Ok(match numbered {
                Some(numbered) => Transformed::yes(Arc::new(numbered)),
                None => Transformed::no(node),
            })
        })
        .data()
    }

    fn name(&self) -> &str {
        "number_rows"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Counted {
    /// Each row is one more than the one before.
    Rows,
    /// Peers have the number of the first of them.
    Rank,
    /// Peers have one number, which is one more than that of the peers before.
    DenseRank,
}

/// Adds the numbers as columns behind those of its input, which is sorted by the partitions' keys and then by the order.
#[derive(Debug)]
struct NumberRowsExec {
    input: Arc<dyn ExecutionPlan>,
    counted: Vec<Counted>,
    /// What the functions are called, for EXPLAIN.
    names: Vec<String>,
    keys: Vec<Arc<dyn PhysicalExpr>>,
    order: Vec<Arc<dyn PhysicalExpr>>,
    schema: SchemaRef,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

impl NumberRowsExec {
    /// `None` for a node that does something else.
    fn of(node: &BoundedWindowAggExec) -> Option<Self> {
        let functions = node.window_expr();
        let first = functions.first()?;
        if node.input_order_mode != InputOrderMode::Sorted {
            return None;
        }
        let counted = functions.iter().map(|function| {
            let standard = function.as_any().downcast_ref::<StandardWindowExpr>()?;
            let of = standard.get_standard_func_expr().as_any().downcast_ref::<WindowUDFExpr>()?;
            let same = function.partition_by() == first.partition_by()
                && function.order_by() == first.order_by();
            match of.fun().name() {
                "row_number" if same => Some(Counted::Rows),
                "rank" if same => Some(Counted::Rank),
                "dense_rank" if same => Some(Counted::DenseRank),
                _ => None,
            }
        });
        Some(Self {
            counted: counted.collect::<Option<_>>()?,
            names: functions.iter().map(|function| function.name().to_owned()).collect(),
            keys: first.partition_by().to_vec(),
            order: first.order_by().iter().map(|sort| Arc::clone(&sort.expr)).collect(),
            input: Arc::clone(node.input()),
            schema: node.schema(),
            properties: Arc::clone(node.properties()),
            metrics: ExecutionPlanMetricsSet::new(),
        })
    }
}

impl DisplayAs for NumberRowsExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NumberRowsExec: {}", self.names.join(", "))
    }
}

impl ExecutionPlan for NumberRowsExec {
    fn name(&self) -> &str {
        "NumberRowsExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![true]
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let Some(input) = children.into_iter().next() else {
            return Err(DataFusionError::Internal("it has one input".to_owned()));
        };
        Ok(Arc::new(Self {
            input,
            counted: self.counted.clone(),
            names: self.names.clone(),
            keys: self.keys.clone(),
            order: self.order.clone(),
            schema: Arc::clone(&self.schema),
            properties: Arc::clone(&self.properties),
            metrics: ExecutionPlanMetricsSet::new(),
        }))
    }

    fn apply_expressions(
        &self,
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        for expr in self.keys.iter().chain(&self.order) {
            if f(expr)? == TreeNodeRecursion::Stop {
                return Ok(TreeNodeRecursion::Stop);
            }
        }
        Ok(TreeNodeRecursion::Continue)
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let metrics = BaselineMetrics::new(&self.metrics, partition);
        let mut numbers = Numbers {
            counted: self.counted.clone(),
            keys: self.keys.clone(),
            order: self.order.clone(),
            schema: Arc::clone(&self.schema),
            before: None,
        };
        let stream = self.input.execute(partition, context)?.map(move |batch| {
            let _time = metrics.elapsed_compute().timer();
            let numbered = numbers.add(&batch?)?;
            metrics.record_output(numbered.num_rows());
            Ok(numbered)
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&self.schema), stream)))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }
}

/// The numbering of one stream.
struct Numbers {
    counted: Vec<Counted>,
    keys: Vec<Arc<dyn PhysicalExpr>>,
    order: Vec<Arc<dyn PhysicalExpr>>,
    schema: SchemaRef,
    before: Option<Before>,
}

/// The last row of the batch before.
struct Before {
    /// One value for each key, and for each expression of the order.
    keys: Vec<ArrayRef>,
    order: Vec<ArrayRef>,
    at: Place,
}

/// Where a row stands in its partition, from 1.
#[derive(Clone, Copy, Default)]
struct Place {
    row: i64,
    rank: i64,
    dense_rank: i64,
}

impl Numbers {
    fn add(&mut self, batch: &RecordBatch) -> Result<RecordBatch> {
        let n_rows = batch.num_rows();
        let values = |of: &[Arc<dyn PhysicalExpr>]| {
            of.iter()
                .map(|expr| expr.evaluate(batch)?.into_array(n_rows))
                .collect::<Result<Vec<_>>>()
        };
        let keys = values(&self.keys)?;
        // Without ranks nobody asks for peers.
        let ranks = self.counted.iter().any(|counted| *counted != Counted::Rows);
        let order = if ranks { values(&self.order)? } else { Vec::new() };
        let mut columns = vec![Vec::with_capacity(n_rows); self.counted.len()];
        let mut at = Place::default();
        if n_rows > 0 {
            let (mut partition_begins, mut peers_begin) = match &self.before {
                Some(before) => {
                    at = before.at;
                    let goes_on = same(&before.keys, &keys)?;
                    (!goes_on, !goes_on || !same(&before.order, &order)?)
                }
                None => (true, true),
            };
            let of_peers = keys.iter().chain(&order).cloned().collect::<Vec<_>>();
            let (partitions, peers) = (Starts::of(&keys)?, Starts::of(&of_peers)?);
            for row in 0..n_rows {
                if row > 0 {
                    partition_begins = partitions.begins(row);
                    peers_begin = peers.begins(row);
                }
                if partition_begins {
                    at = Place::default();
                }
                at.row += 1;
                if peers_begin {
                    at.rank = at.row;
                    at.dense_rank += 1;
                }
                for (column, counted) in columns.iter_mut().zip(&self.counted) {
                    column.push(match counted {
                        Counted::Rows => at.row,
                        Counted::Rank => at.rank,
                        Counted::DenseRank => at.dense_rank,
                    });
                }
            }
            let last =
                |values: &[ArrayRef]| values.iter().map(|v| v.slice(n_rows - 1, 1)).collect();
            self.before = Some(Before { keys: last(&keys), order: last(&order), at });
        }
        let mut arrays = batch.columns().to_vec();
        for column in columns {
            let numbers: ArrayRef = Arc::new(Int64Array::from(column));
            arrays.push(cast(&numbers, self.schema.field(arrays.len()).data_type())?);
        }
        Ok(RecordBatch::try_new(Arc::clone(&self.schema), arrays)?)
    }
}

/// The rows of a batch that differ from the one before.
struct Starts(Vec<bool>);

impl Starts {
    fn of(values: &[ArrayRef]) -> Result<Self> {
        let Some(first) = values.first() else { return Ok(Self(Vec::new())) };
        let mut starts = vec![false; first.len()];
        for range in partition(values)?.ranges() {
            starts[range.start] = true;
        }
        Ok(Self(starts))
    }

    fn begins(&self, row: usize) -> bool {
        self.0.get(row).copied().unwrap_or(false)
    }
}

/// Returns whether the first rows are the same: NULLs are, as in a sort.
fn same(before: &[ArrayRef], now: &[ArrayRef]) -> Result<bool> {
    for (before, now) in before.iter().zip(now) {
        if make_comparator(before, now, SortOptions::default())?(0, 0).is_ne() {
            return Ok(false);
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use arrow::array::{AsArray, StringArray};
    use arrow::datatypes::{DataType, Field, Int64Type, Schema};
    use datafusion::physical_expr::expressions::col;

    use super::*;

    fn numbered(batches: &[&[(Option<&str>, Option<&str>)]], keyed: bool) -> Vec<[i64; 3]> {
        let text = |name| Field::new(name, DataType::Utf8, true);
        let given = Schema::new(vec![text("key"), text("by")]);
        let number = |name| Field::new(name, DataType::Int64, false);
        let all = given.fields().iter().map(|field| field.as_ref().clone());
        let all = all.chain([number("n"), number("r"), number("d")]).collect::<Vec<_>>();
        let keys = if keyed { vec![col("key", &given).unwrap()] } else { Vec::new() };
        let mut numbers = Numbers {
            counted: vec![Counted::Rows, Counted::Rank, Counted::DenseRank],
            keys,
            order: vec![col("by", &given).unwrap()],
            schema: Arc::new(Schema::new(all)),
            before: None,
        };
        let mut found = Vec::new();
        for rows in batches {
            let keys: ArrayRef = Arc::new(rows.iter().map(|row| row.0).collect::<StringArray>());
            let by: ArrayRef = Arc::new(rows.iter().map(|row| row.1).collect::<StringArray>());
            let batch = RecordBatch::try_new(Arc::new(given.clone()), vec![keys, by]).unwrap();
            let batch = numbers.add(&batch).unwrap();
            let column = |at: usize| batch.column(at).as_primitive::<Int64Type>();
            found
                .extend((0..batch.num_rows()).map(|row| [2, 3, 4].map(|at| column(at).value(row))));
        }
        found
    }

    #[test]
    fn partitions_and_peers_go_on_over_batches() {
        let (a, b, x, y) = (Some("a"), Some("b"), Some("x"), Some("y"));
        let batches: &[&[_]] = &[
            &[(a, x), (a, x)],
            &[],
            &[(a, x), (a, y)],
            &[(a, y), (b, y), (None, None)],
            &[(None, None)],
        ];
        let expected = [
            [1, 1, 1],
            [2, 1, 1],
            [3, 1, 1],
            [4, 4, 2],
            [5, 4, 2],
            [1, 1, 1],
            [1, 1, 1],
            [2, 1, 1],
        ];
        assert_eq!(numbered(batches, true), expected);
    }

    #[test]
    fn without_keys_all_rows_are_one_partition() {
        let batches: &[&[_]] = &[&[(None, Some("x"))], &[(None, Some("x")), (None, Some("y"))]];
        assert_eq!(numbered(batches, false), [[1, 1, 1], [2, 1, 1], [3, 3, 2]]);
    }
}
