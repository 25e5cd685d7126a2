//! Reads tables for the suite, and compares rows.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::compute::concat_batches;
use arrow::datatypes::SchemaRef;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion::common::{Column, ScalarValue};
use datafusion::logical_expr::expr::{InList, Like};
use datafusion::logical_expr::{Expr, Operator, binary_expr, lit};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::prelude::{DataFrame, SessionContext};
use futures::TryStreamExt;
use maru_core::Result;
use maru_core::limits::BATCH_ROWS;

use super::{broken, ensure};
use crate::{CompareOp, FederatedTable, FileTable, Predicate, ScanRequest, SourceTable};

/// Returns whether the suite can send `filter` to the source. Files are filtered by the engine, pruning included.
pub(super) fn pushes(table: &SourceTable, filter: &Predicate) -> bool {
    match table {
        SourceTable::Remote(remote) => remote.supports(filter),
        SourceTable::Files(_) => true,
        SourceTable::View { .. } | SourceTable::ForeignView(_) => false,
    }
}

/// Reads to the end and holds every batch against the promised schema.
pub(super) async fn read(table: &SourceTable, request: &ScanRequest) -> Result<Vec<RecordBatch>> {
    let schema = request.projected(&table.schema())?;
    let batches = match table {
        SourceTable::Remote(remote) => remote.read(request.clone()).try_collect::<Vec<_>>().await?,
        SourceTable::Files(files) => read_files(files, request).await?,
        SourceTable::View { .. } | SourceTable::ForeignView(_) => {
            return Err(broken("a view cannot be the subject"));
        }
    };
    for batch in &batches {
        // What is promised to hold NULLs need not.
        let fits = batch.schema_ref().fields().len() == schema.fields().len()
            && batch.schema_ref().fields().iter().zip(schema.fields()).all(|(came, promised)| {
                came.name() == promised.name()
                    && came.data_type() == promised.data_type()
                    && (promised.is_nullable() || !came.is_nullable())
            });
        ensure(fits, || format!("{:?} came where {:?} was promised", batch.schema(), schema))?;
        ensure(batch.num_rows() <= BATCH_ROWS, || {
            format!("a batch has {} rows, more than {BATCH_ROWS}", batch.num_rows())
        })?;
    }
    Ok(batches)
}

/// Plans a read of files as the engine does.
pub(super) async fn plan_files(
    table: &Arc<FileTable>,
    request: &ScanRequest,
    pushdown: bool,
) -> Result<Arc<dyn ExecutionPlan>> {
    let schema = table.user_schema();
    let frame = frame_of_files(table, request, pushdown)?;
    let columns = request.projection.iter().map(|i| column(*i, &schema)).collect::<Vec<_>>();
    Ok(frame.select(columns)?.create_physical_plan().await?)
}

/// Returns the rows that are asked for, with all columns.
fn frame_of_files(
    table: &Arc<FileTable>,
    request: &ScanRequest,
    pushdown: bool,
) -> Result<DataFrame> {
    let session = SessionContext::new();
    session.register_object_store(table.store_url.as_ref(), Arc::clone(&table.store));
    let schema = table.user_schema();
    let provider =
        FederatedTable::new(table.catalog.clone(), SourceTable::Files(Arc::clone(table)))
            .with_pushdown(pushdown);
    let mut frame = session.read_table(Arc::new(provider))?;
    for filter in &request.filters {
        frame = frame.filter(expression(filter, &schema))?;
    }
    if request.limit.is_some() {
        frame = frame.limit(0, request.limit)?;
    }
    Ok(frame)
}

/// Reads files as the engine does.
async fn read_files(table: &Arc<FileTable>, request: &ScanRequest) -> Result<Vec<RecordBatch>> {
    let schema = table.user_schema();
    let frame = frame_of_files(table, request, true)?;
    if request.projection.is_empty() {
        let rows = frame.count().await?;
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        let empty = request.projected(&schema)?;
        return Ok(vec![RecordBatch::try_new_with_options(empty, Vec::new(), &options)?]
            .into_iter()
            .flat_map(|batch| {
                (0..batch.num_rows())
                    .step_by(BATCH_ROWS)
                    .map(move |start| batch.slice(start, BATCH_ROWS.min(batch.num_rows() - start)))
                    .collect::<Vec<_>>()
            })
            .collect());
    }
    let columns = request.projection.iter().map(|i| column(*i, &schema)).collect::<Vec<_>>();
    Ok(frame.select(columns)?.collect().await?)
}

/// Puts all batches together, as the table's schema has it.
pub(super) fn one_batch(table: &SourceTable, batches: &[RecordBatch]) -> Result<RecordBatch> {
    Ok(concat_batches(&table.schema(), batches)?)
}

/// Makes a batch of rows of values.
pub(super) fn batch_of<'a>(
    schema: &SchemaRef,
    rows: impl Iterator<Item = &'a [ScalarValue]> + Clone,
) -> Result<RecordBatch> {
    let columns = (0..schema.fields().len())
        .map(|i| ScalarValue::iter_to_array(rows.clone().map(|row| row[i].clone())))
        .collect::<Result<Vec<_>, _>>()?;
    Ok(RecordBatch::try_new(Arc::clone(schema), columns)?)
}

/// Fails unless both have the same rows, in any order.
pub(super) fn same_rows(
    got: &[RecordBatch],
    wanted: &[RecordBatch],
    what: impl FnOnce() -> String,
) -> Result<()> {
    let (got, wanted) = (rows(got)?, rows(wanted)?);
    if got == wanted {
        return Ok(());
    }
    let only = |a: &[String], b: &[String]| a.iter().find(|row| !b.contains(row)).cloned();
    Err(broken(format!("{} rows instead of {} for {}", got.len(), wanted.len(), what()))
        .with_detail(format!(
            "Only here: {:?}. Missing: {:?}.",
            only(&got, &wanted),
            only(&wanted, &got)
        )))
}

/// Fails unless every row of one is a row of the other.
pub(super) fn among(
    got: &[RecordBatch],
    all: &[RecordBatch],
    what: impl FnOnce() -> String,
) -> Result<()> {
    let all = rows(all)?.into_iter().collect::<HashSet<_>>();
    match rows(got)?.into_iter().find(|row| !all.contains(row)) {
        Some(row) => Err(broken(format!("{row:?} is no row of the table for {}", what()))),
        None => Ok(()),
    }
}

/// Returns every row as text, sorted.
fn rows(batches: &[RecordBatch]) -> Result<Vec<String>> {
    let options = FormatOptions::new().with_null("NULL");
    let mut rows = Vec::new();
    for batch in batches {
        let columns = batch
            .columns()
            .iter()
            .map(|column| ArrayFormatter::try_new(column, &options))
            .collect::<Result<Vec<_>, _>>()?;
        for row in 0..batch.num_rows() {
            let mut text = String::new();
            for (i, column) in columns.iter().enumerate() {
                // A NULL and the text "NULL" are not the same.
                let mark = if batch.column(i).is_null(row) { '-' } else { '+' };
                text.push_str(&format!("{mark}{}|", column.value(row)));
            }
            rows.push(text);
        }
    }
    rows.sort_unstable();
    Ok(rows)
}

fn column(index: usize, schema: &SchemaRef) -> Expr {
    Expr::Column(Column::new_unqualified(schema.field(index).name()))
}

/// Raises a predicate to an expression of the engine.
fn expression(predicate: &Predicate, schema: &SchemaRef) -> Expr {
    let literal = |value: &ScalarValue| Expr::Literal(value.clone(), None);
    match predicate {
        Predicate::Compare { column: index, op, value } => {
            let op = match op {
                CompareOp::Eq => Operator::Eq,
                CompareOp::NotEq => Operator::NotEq,
                CompareOp::Lt => Operator::Lt,
                CompareOp::LtEq => Operator::LtEq,
                CompareOp::Gt => Operator::Gt,
                CompareOp::GtEq => Operator::GtEq,
            };
            binary_expr(column(*index, schema), op, literal(value))
        }
        Predicate::In { column: index, values, negated } => Expr::InList(InList::new(
            Box::new(column(*index, schema)),
            values.iter().map(literal).collect(),
            *negated,
        )),
        Predicate::IsNull { column: index, negated: false } => column(*index, schema).is_null(),
        Predicate::IsNull { column: index, negated: true } => column(*index, schema).is_not_null(),
        Predicate::Like { column: index, pattern, negated } => Expr::Like(Like::new(
            *negated,
            Box::new(column(*index, schema)),
            Box::new(lit(pattern.as_str())),
            None,
            false,
        )),
        Predicate::And(parts) => all(parts, schema, Operator::And, true),
        Predicate::Or(parts) => all(parts, schema, Operator::Or, false),
        Predicate::Not(inner) => Expr::Not(Box::new(expression(inner, schema))),
    }
}

fn all(parts: &[Predicate], schema: &SchemaRef, op: Operator, empty: bool) -> Expr {
    let parts = parts.iter().map(|part| expression(part, schema));
    parts.reduce(|left, right| binary_expr(left, op, right)).unwrap_or_else(|| lit(empty))
}
