//! Rows that are written under policies: none is changed or deleted that they hide, none is written that they forbid.
//!
//! What is written passes a [`RowCheck`] on its way. The condition is computed over a barrier, so that it is asked of the very
//! values that are written, and the check is no filter that a rule could move or leave out.

use std::cmp::Ordering;
use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use arrow::array::AsArray;
use arrow::datatypes::{DataType, SchemaRef};
use arrow::record_batch::RecordBatch;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, DFSchemaRef, Result as DfResult, ScalarValue};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{
    Expr, Extension, LogicalPlan, LogicalPlanBuilder, UserDefinedLogicalNodeCore, lit,
};
use datafusion::physical_expr::projection::ProjectionMapping;
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, Partitioning,
    PlanProperties,
};
use futures::StreamExt;
use maru_connect::RowOp;
use maru_core::{Error, ErrorKind, Result, quote_ident};
use maru_sql::Name;
use uuid::Uuid;

use super::condition::plan_is_volatile;
use super::target::Target;
use crate::access::{Command, Object, Policies, WritePolicies};
use crate::session::Session;
use crate::session::policies::{barrier, is_barrier};

/// A name that no column has.
const HOLDS: &str = "$holds";

/// Rows on their way, and the columns that the policies look at.
pub(super) struct Checked {
    pub(super) plan: LogicalPlan,
    pub(super) columns: Vec<String>,
}

/// Rows of a table that is changed, under names that nobody knows.
pub(super) struct Parts {
    /// Rows that may be changed.
    pub(super) seen: Name,
    /// The others, where they have to be written again.
    pub(super) hidden: Option<Name>,
    pub(super) plans: Vec<(String, LogicalPlan)>,
}

impl Session {
    /// Has rows checked that are inserted, if policies are in force.
    ///
    /// # Errors
    /// 42501 if the policies look at a column that the statement gives no value for: its source may give it one.
    pub(super) async fn check_inserted(
        self: &Arc<Self>,
        target: &Target,
        rows: LogicalPlan,
    ) -> Result<Checked> {
        match self.rights().write_policies(&target.object(), Command::Insert) {
            None => Ok(Checked { plan: rows, columns: Vec::new() }),
            Some(policies) => self.check_rows(target, rows, &policies.new, None).await,
        }
    }

    /// Has rows checked; with `op` those that have this number in column `op.0` alone.
    pub(super) async fn check_rows(
        self: &Arc<Self>,
        target: &Target,
        rows: LogicalPlan,
        condition: &str,
        op: Option<(&str, RowOp)>,
    ) -> Result<Checked> {
        let object = target.object();
        let given = Arc::clone(rows.schema().inner());
        let is_given = |name: &str| given.fields().iter().any(|field| field.name() == name);
        let columns = target.columns();
        let omitted = columns.fields().iter().filter(|field| !is_given(field.name()));
        let omitted = omitted.collect::<Vec<_>>();
        // Names are bound as in the whole table, whatever the statement gives.
        let mut exprs = rows.schema().columns().into_iter().map(Expr::Column).collect::<Vec<_>>();
        for field in &omitted {
            exprs.push(lit(ScalarValue::try_new_null(field.data_type())?).alias(field.name()));
        }
        let whole = barrier(LogicalPlanBuilder::from(rows).project(exprs)?.build()?);
        let name = unknown_name();
        let from = format!("{} AS {}", place(&object, &name), quote_ident(&target.name));
        let stand_ins = vec![(name, whole)];

        let sql = format!("SELECT ({condition}) AS x FROM {from}");
        let alone = self.plan_under(&object, &sql, stand_ins.clone()).await?;
        let looked_at = looked_at(&columns, condition, &alone)?;
        if let Some(field) = omitted.iter().find(|field| looked_at.contains(field.name())) {
            return Err(Error::new(
                ErrorKind::NotAllowed,
                format!(
                    "policies of {object} look at column \"{}\", which has no value",
                    field.name()
                ),
            )
            .with_hint(
                "Give it one in the statement: what its source fills in cannot be checked.",
            ));
        }

        let mut items =
            given.fields().iter().map(|field| quote_ident(field.name())).collect::<Vec<_>>();
        let holds = quote_ident(HOLDS);
        items.push(match op {
            None => format!("({condition}) AS {holds}"),
            Some((column, op)) => format!(
                "CASE WHEN {} = {} THEN ({condition}) ELSE TRUE END AS {holds}",
                quote_ident(column),
                op as i8
            ),
        });
        let sql = format!("SELECT {} FROM {from}", items.join(", "));
        let plan = self.plan_under(&object, &sql, stand_ins).await?;
        let types = plan.schema().fields().iter().map(|field| field.data_type());
        let wanted = given.fields().iter().map(|field| field.data_type());
        if !types.eq(wanted.chain([&DataType::Boolean])) {
            return Err(Error::internal("rows changed on their way through policies"));
        }
        let n_given = given.fields().len();
        let schema = plan.schema().inner().project(&(0..n_given).collect::<Vec<_>>())?;
        let schema = Arc::new(DFSchema::try_from(schema)?);
        let node = RowCheck { input: plan, table: object.to_string(), schema };
        Ok(Checked {
            plan: LogicalPlan::Extension(Extension { node: Arc::new(node) }),
            columns: looked_at.into_iter().collect(),
        })
    }

    /// Parts the rows of a table into those that may be changed and the others. `written` is its name in the query; `identity` are the
    /// columns by which a row is found again, in its place.
    ///
    /// # Errors
    /// 0A000 for policies that read other tables or call volatile functions, where the table is written anew: both parts are asked,
    /// and have to agree, or a row would be lost or doubled.
    pub(super) async fn part_rows(
        self: &Arc<Self>,
        target: &Target,
        written: &str,
        identity: Option<&SchemaRef>,
        policies: &WritePolicies,
    ) -> Result<Parts> {
        let object = target.object();
        let schema = target.columns();
        let fields = identity.iter().flat_map(|identity| identity.fields().iter());
        let fields = fields.chain(schema.fields().iter());
        let names = fields.map(|field| field.name().clone()).collect::<Vec<_>>();
        let only = |filter: String| Policies { filter: Some(filter), masks: Default::default() };
        let old = &policies.old;
        let seen = self.plan_policies(&object, written, &names, &only(old.clone())).await?;
        let mut parts =
            Parts { seen: name_of(&object, &unknown_name()), hidden: None, plans: Vec::new() };
        if identity.is_none() {
            if n_tables(&seen)? != 1 {
                return Err(Error::unsupported(format!(
                    "policies of {object} read other tables, and its rows cannot be changed under them"
                ))
                .with_hint("Change them as its owner, or as a role with BYPASSRLS."));
            }
            if plan_is_volatile(&seen)? {
                return Err(Error::unsupported(format!(
                    "policies of {object} call a function that answers anew each time, and its rows cannot be changed under them"
                ))
                .with_hint("Change them as its owner, or as a role with BYPASSRLS."));
            }
            let rest = only(format!("({old}) IS NOT TRUE"));
            let hidden = self.plan_policies(&object, written, &names, &rest).await?;
            let name = unknown_name();
            parts.hidden = Some(name_of(&object, &name));
            parts.plans.push((name, hidden));
        }
        parts.plans.extend(parts.seen.0.last().cloned().map(|name| (name, seen)));
        Ok(parts)
    }
}

/// Returns a name that nobody can write.
pub(super) fn unknown_name() -> String {
    format!("$rows {}", Uuid::new_v4())
}

pub(super) fn name_of(object: &Object, name: &str) -> Name {
    let mut path = object.path.clone();
    path.pop();
    path.push(name.to_owned());
    Name(path)
}

fn place(object: &Object, name: &str) -> String {
    name_of(object, name).to_string()
}

fn n_tables(plan: &LogicalPlan) -> Result<usize> {
    let mut n_tables = 0;
    plan.apply_with_subqueries(|node| {
        n_tables += usize::from(matches!(node, LogicalPlan::TableScan(_)));
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(n_tables)
}

/// Returns the columns that a condition may look at: those it names, and those its plan does.
fn looked_at(columns: &SchemaRef, condition: &str, plan: &LogicalPlan) -> Result<HashSet<String>> {
    let mut found = HashSet::new();
    plan.apply_with_subqueries(|node| {
        if is_barrier(node) {
            return Ok(TreeNodeRecursion::Jump);
        }
        node.apply_expressions(|expr| {
            expr.apply(|part| {
                if let Expr::Column(column) | Expr::OuterReferenceColumn(_, column) = part {
                    found.insert(column.name.clone());
                }
                Ok(TreeNodeRecursion::Continue)
            })
        })
    })?;
    let text = condition.to_lowercase();
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    let words = text.split(|c| !is_part(c)).collect::<HashSet<_>>();
    let is_named = |name: &str| {
        let name = name.to_lowercase();
        match name.chars().all(is_part) {
            true => words.contains(name.as_str()),
            false => text.contains(&name) || text.contains(&name.replace('"', "\"\"")),
        }
    };
    let names = columns.fields().iter().map(|field| field.name());
    Ok(names.filter(|name| found.contains(*name) || is_named(name)).cloned().collect())
}

/// Passes rows on for which the last column is true, and fails at the first other one.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct RowCheck {
    input: LogicalPlan,
    /// As messages name it.
    table: String,
    schema: DFSchemaRef,
}

impl PartialOrd for RowCheck {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        self.table.partial_cmp(&other.table).filter(|order| order.is_ne())
    }
}

impl RowCheck {
    pub(super) fn planned(&self, input: &Arc<dyn ExecutionPlan>) -> Arc<dyn ExecutionPlan> {
        let schema = Arc::clone(self.schema.inner());
        Arc::new(RowCheckExec::new(Arc::clone(input), self.table.clone(), schema))
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
        write!(f, "RowCheck: policies of {}", self.table)
    }

    fn with_exprs_and_inputs(&self, _: Vec<Expr>, mut inputs: Vec<LogicalPlan>) -> DfResult<Self> {
        let input = inputs.pop().ok_or_else(|| Error::internal("a check without rows"))?;
        Ok(Self { input, table: self.table.clone(), schema: Arc::clone(&self.schema) })
    }
}

#[derive(Debug)]
struct RowCheckExec {
    input: Arc<dyn ExecutionPlan>,
    table: String,
    schema: SchemaRef,
    properties: Arc<PlanProperties>,
}

impl RowCheckExec {
    fn new(input: Arc<dyn ExecutionPlan>, table: String, schema: SchemaRef) -> Self {
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
        Self { input, table, schema, properties: Arc::new(properties) }
    }
}

impl DisplayAs for RowCheckExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RowCheckExec: policies of {}", self.table)
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
        Ok(Arc::new(Self::new(input, self.table.clone(), Arc::clone(&self.schema))))
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> DfResult<SendableRecordBatchStream> {
        let rows = self.input.execute(partition, context)?;
        let (table, schema) = (self.table.clone(), Arc::clone(&self.schema));
        let checked = rows.map(move |batch| Ok(check(&batch?, &table, &schema)?));
        Ok(Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&self.schema), checked)))
    }
}

/// # Errors
/// 42501 for a row for which the last column is not true.
fn check(batch: &RecordBatch, table: &str, schema: &SchemaRef) -> Result<RecordBatch> {
    let n_columns = schema.fields().len();
    let holds = match batch.columns() {
        [given @ .., holds] if given.len() == n_columns => holds.as_boolean_opt(),
        _ => None,
    };
    let holds = holds.ok_or_else(|| Error::internal("rows are checked without a condition"))?;
    if holds.true_count() < batch.num_rows() {
        return Err(Error::new(
            ErrorKind::NotAllowed,
            format!("new row violates row-level security policy for {table}"),
        ));
    }
    Ok(batch.project(&(0..n_columns).collect::<Vec<_>>())?)
}
