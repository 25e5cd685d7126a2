//! Rows on their way to be written, and what is asked of them: policies, and `CHECK` constraints. What was asked stands behind the columns
//! that are written, computed over a barrier: it is no filter that a rule could move or leave out.

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

use arrow::array::{Array, AsArray, BooleanArray};
use arrow::datatypes::{DataType, Int8Type, SchemaRef};
use arrow::record_batch::RecordBatch;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{DFSchema, DFSchemaRef, Result as DfResult};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{Expr, Extension, LogicalPlan, UserDefinedLogicalNodeCore};
use datafusion::physical_expr::projection::ProjectionMapping;
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, Partitioning,
    PlanProperties,
};
use futures::StreamExt;
use maru_connect::RowOp;
use maru_connect::value_text::{Zone, has_text, texts};
use maru_core::{Error, ErrorKind, Result};

/// Bytes of a value that are told of a row that is refused.
const TOLD_BYTES_MAX: usize = 64;

/// What rows have to keep to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Rule {
    /// The policies of a table, as messages name it: true is asked for.
    Policies(String),
    /// `CHECK` constraints: what is false breaks one.
    Checks {
        /// By its own name.
        relation: String,
        /// In the order of their columns.
        names: Vec<String>,
        /// Columns that must have a value, and where they stand. The write itself sees to them; a row that breaks both is told as
        /// PostgreSQL tells it.
        required: Vec<(usize, String)>,
        /// Where it stands what is done with a row; `None`: all are inserted.
        op: Option<usize>,
        /// Where the columns of the table stand that may be told of; none if none may.
        told: Vec<usize>,
        zone: String,
    },
}

impl Rule {
    fn n_asked(&self) -> usize {
        match self {
            Self::Policies(_) => 1,
            Self::Checks { names, .. } => names.len(),
        }
    }

    /// Returns the first row that an answer refuses.
    fn first_refused(&self, answers: &BooleanArray) -> Option<usize> {
        let refused = |answer: Option<bool>| match self {
            Self::Policies(_) => answer != Some(true),
            Self::Checks { .. } => answer == Some(false),
        };
        answers.iter().position(refused)
    }

    fn error(&self, broken: usize, row: usize, batch: &RecordBatch) -> Error {
        match self {
            Self::Policies(table) => Error::new(
                ErrorKind::NotAllowed,
                format!("new row violates row-level security policy for {table}"),
            ),
            Self::Checks { relation, names, .. } => {
                if let Some((row, column)) = self.missing(row, batch) {
                    let error = Error::new(
                        ErrorKind::NotNullViolation,
                        format!(
                            "null value in column \"{column}\" of relation \"{relation}\" violates not-null constraint"
                        ),
                    );
                    return self.with_row(error, row, batch);
                }
                let name = names.get(broken).map_or("", String::as_str);
                let error = Error::new(
                    ErrorKind::CheckViolation,
                    format!(
                        "new row for relation \"{relation}\" violates check constraint \"{name}\""
                    ),
                );
                self.with_row(error, row, batch)
            }
        }
    }

    /// Returns the first row up to this one that is written without a value that it must have, and its first such column.
    fn missing(&self, last: usize, batch: &RecordBatch) -> Option<(usize, &str)> {
        let Self::Checks { required, op, .. } = self else { return None };
        let ops = op.and_then(|at| batch.columns().get(at)?.as_primitive_opt::<Int8Type>());
        let is_written = |row: usize| match ops {
            None => op.is_none(),
            Some(ops) => ops.is_valid(row) && ops.value(row) != RowOp::Delete as i8,
        };
        let nulls = required.iter().filter_map(|(at, name)| {
            Some((batch.columns().get(*at)?.logical_nulls()?, name.as_str()))
        });
        let nulls = nulls.collect::<Vec<_>>();
        (0..=last).filter(|row| is_written(*row)).find_map(|row| {
            let (_, name) = nulls.iter().find(|(nulls, _)| nulls.is_null(row))?;
            Some((row, *name))
        })
    }

    /// Tells the row, if it may be told.
    fn with_row(&self, error: Error, row: usize, batch: &RecordBatch) -> Error {
        match self {
            Self::Checks { told, zone, .. } if !told.is_empty() => {
                let zone = Zone::parse(zone);
                let values = told.iter().map(|column| told_value(batch, *column, row, &zone));
                let values = values.collect::<Vec<_>>().join(", ");
                error.with_detail(format!("Failing row contains ({values})."))
            }
            _ => error,
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Policies(table) => write!(f, "policies of {table}"),
            Self::Checks { names, .. } => write!(f, "constraints {}", names.join(", ")),
        }
    }
}

/// Returns a value of a row that is refused, as PostgreSQL tells it.
fn told_value(batch: &RecordBatch, column: usize, row: usize, zone: &Zone) -> String {
    let Some(values) = batch.columns().get(column) else { return String::new() };
    let value = values.slice(row, 1);
    if value.is_null(0) || value.data_type().is_null() {
        return "null".to_owned();
    }
    if !has_text(value.data_type()) {
        return "...".to_owned();
    }
    let Ok(text) = texts(&value, zone, false) else { return "...".to_owned() };
    let text = text.value(0);
    if matches!(value.data_type(), DataType::Boolean) {
        return text.chars().take(1).collect();
    }
    if text.len() <= TOLD_BYTES_MAX {
        return text.to_owned();
    }
    let end = (0..=TOLD_BYTES_MAX).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    format!("{}...", text.get(..end).unwrap_or_default())
}

/// Passes rows on that keep to a rule, and fails at the first other one. The answers are the last columns of its input.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct RowCheck {
    input: LogicalPlan,
    rule: Rule,
    schema: DFSchemaRef,
}

impl PartialOrd for RowCheck {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        (self == other).then_some(Ordering::Equal)
    }
}

impl RowCheck {
    /// Puts a check over rows whose first columns have these types.
    ///
    /// # Errors
    /// XX000 for rows with other columns.
    pub(super) fn over(input: LogicalPlan, given: &SchemaRef, rule: Rule) -> Result<LogicalPlan> {
        let types = input.schema().fields().iter().map(|field| field.data_type());
        let wanted = given.fields().iter().map(|field| field.data_type());
        let answers = std::iter::repeat_n(&DataType::Boolean, rule.n_asked());
        if !types.eq(wanted.chain(answers)) {
            return Err(Error::internal("rows changed on their way through a check"));
        }
        let n_given = given.fields().len();
        let schema = input.schema().inner().project(&(0..n_given).collect::<Vec<_>>())?;
        let schema = Arc::new(DFSchema::try_from(schema)?);
        let node = Self { input, rule, schema };
        Ok(LogicalPlan::Extension(Extension { node: Arc::new(node) }))
    }

    pub(super) fn planned(&self, input: &Arc<dyn ExecutionPlan>) -> Arc<dyn ExecutionPlan> {
        let schema = Arc::clone(self.schema.inner());
        Arc::new(RowCheckExec::new(Arc::clone(input), self.rule.clone(), schema))
    }
}

impl UserDefinedLogicalNodeCore for RowCheck {
    fn name(&self) -> &str {
        "RowCheck"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.input]
    }

    fn schema(&self) -> &DFSchemaRef {
        &self.schema
    }

    fn expressions(&self) -> Vec<Expr> {
        Vec::new()
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RowCheck: {}", self.rule)
    }

    fn with_exprs_and_inputs(&self, _: Vec<Expr>, mut inputs: Vec<LogicalPlan>) -> DfResult<Self> {
        let input = inputs.pop().ok_or_else(|| Error::internal("a check without rows"))?;
        Ok(Self { input, rule: self.rule.clone(), schema: Arc::clone(&self.schema) })
    }
}

#[derive(Debug)]
struct RowCheckExec {
    input: Arc<dyn ExecutionPlan>,
    rule: Rule,
    schema: SchemaRef,
    properties: Arc<PlanProperties>,
}

impl RowCheckExec {
    fn new(input: Arc<dyn ExecutionPlan>, rule: Rule, schema: SchemaRef) -> Self {
        let n_partitions = input.output_partitioning().partition_count();
        // The order that a write asks for is made below.
        let given = (0..schema.fields().len()).collect::<Vec<_>>();
        let equivalences = match ProjectionMapping::from_indices(&given, &input.schema()) {
            Ok(mapping) => input.equivalence_properties().project(&mapping, Arc::clone(&schema)),
            Err(_) => EquivalenceProperties::new(Arc::clone(&schema)),
        };
        let properties = PlanProperties::new(
            equivalences,
            Partitioning::UnknownPartitioning(n_partitions),
            input.pipeline_behavior(),
            input.boundedness(),
        );
        Self { input, rule, schema, properties: Arc::new(properties) }
    }
}

impl DisplayAs for RowCheckExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RowCheckExec: {}", self.rule)
    }
}

impl ExecutionPlan for RowCheckExec {
    fn name(&self) -> &str {
        "RowCheckExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> DfResult<TreeNodeRecursion>,
    ) -> DfResult<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![true]
    }

    fn with_new_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> DfResult<Arc<dyn ExecutionPlan>> {
        let input = children.pop().unwrap_or_else(|| Arc::clone(&self.input));
        Ok(Arc::new(Self::new(input, self.rule.clone(), Arc::clone(&self.schema))))
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> DfResult<SendableRecordBatchStream> {
        let rows = self.input.execute(partition, context)?;
        let (rule, schema) = (self.rule.clone(), Arc::clone(&self.schema));
        let checked = rows.map(move |batch| Ok(check(&batch?, &rule, schema.fields().len())?));
        Ok(Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&self.schema), checked)))
    }
}

/// Returns the first `n_given` columns.
///
/// # Errors
/// 42501, 23514 for the first row that is refused, by the first rule that it breaks.
fn check(batch: &RecordBatch, rule: &Rule, n_given: usize) -> Result<RecordBatch> {
    let answers = batch.columns().iter().skip(n_given).map(|column| column.as_boolean_opt());
    let answers = answers.collect::<Option<Vec<_>>>().unwrap_or_default();
    if answers.len() != rule.n_asked() {
        return Err(Error::internal("rows are checked without a condition"));
    }
    let refused = answers.iter().enumerate();
    let refused = refused.filter_map(|(at, answers)| Some((rule.first_refused(answers)?, at)));
    if let Some((row, broken)) = refused.min() {
        return Err(rule.error(broken, row, batch));
    }
    Ok(batch.project(&(0..n_given).collect::<Vec<_>>())?)
}

#[cfg(test)]
mod tests {
    use arrow::array::{ArrayRef, Int32Array, StringArray};

    use super::*;

    fn batch(holds: Vec<Option<bool>>, fits: Vec<Option<bool>>) -> RecordBatch {
        let columns: [(&str, ArrayRef); 4] = [
            ("b", Arc::new(StringArray::from(vec![Some("x"), None, Some("가")]))),
            ("a", Arc::new(Int32Array::from(vec![1, 2, 3]))),
            ("$holds 0", Arc::new(BooleanArray::from(holds))),
            ("$holds 1", Arc::new(BooleanArray::from(fits))),
        ];
        RecordBatch::try_from_iter_with_nullable(columns.map(|(name, c)| (name, c, true))).unwrap()
    }

    fn rule(told: Vec<usize>) -> Rule {
        let names = vec!["first".to_owned(), "second".to_owned()];
        let required = vec![(0, "b".to_owned())];
        let (relation, zone) = ("t".to_owned(), "UTC".to_owned());
        Rule::Checks { relation, names, required, op: None, told, zone }
    }

    #[test]
    fn the_first_row_is_told_with_the_first_constraint_that_it_breaks() {
        let (yes, no) = (Some(true), Some(false));
        let kept = check(&batch(vec![yes, None, yes], vec![None, yes, yes]), &rule(vec![]), 2);
        assert_eq!(kept.unwrap().num_columns(), 2);
        let broken = batch(vec![no, None, no], vec![no, yes, no]);
        let error = check(&broken, &rule(vec![1, 0]), 2).unwrap_err();
        assert_eq!(error.sqlstate(), "23514");
        assert!(error.message().ends_with("violates check constraint \"first\""));
        assert_eq!(error.detail().as_deref(), Some("Failing row contains (1, x)."));
        let error = check(&broken, &rule(vec![]), 2).unwrap_err();
        assert_eq!(error.detail().as_deref(), None);
    }

    #[test]
    fn a_row_without_a_value_that_it_must_have_is_told_as_such() {
        let (yes, no) = (Some(true), Some(false));
        let broken = batch(vec![yes, yes, yes], vec![yes, yes, no]);
        let error = check(&broken, &rule(vec![1, 0]), 2).unwrap_err();
        assert_eq!(error.sqlstate(), "23502");
        assert!(error.message().starts_with("null value in column \"b\" of relation \"t\""));
        assert_eq!(error.detail().as_deref(), Some("Failing row contains (2, null)."));
    }

    #[test]
    fn values_that_are_told_are_short_and_whole_characters() {
        let text = "가".repeat(30);
        let columns: [(&str, ArrayRef); 2] = [
            ("a", Arc::new(StringArray::from(vec![text.as_str()]))),
            ("b", Arc::new(BooleanArray::from(vec![true]))),
        ];
        let batch = RecordBatch::try_from_iter(columns).unwrap();
        let zone = Zone::parse("UTC");
        assert_eq!(told_value(&batch, 0, 0, &zone), format!("{}...", "가".repeat(21)));
        assert_eq!(told_value(&batch, 1, 0, &zone), "t");
    }

    #[test]
    fn policies_ask_for_true() {
        let holds = BooleanArray::from(vec![Some(true), None]);
        assert_eq!(Rule::Policies("t".to_owned()).first_refused(&holds), Some(1));
        assert_eq!(rule(vec![]).first_refused(&holds), None);
    }
}
