//! The end of a plan that writes: a node of the logical plan, and how it becomes one of the physical plan, which is where the
//! source is told to begin.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::atomic::Ordering as Memory;
use std::sync::{Arc, Weak};

use arrow::datatypes::{Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::common::{DFSchema, DFSchemaRef, Result as DfResult};
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::{
    Expr, Extension, LogicalPlan, UserDefinedLogicalNode, UserDefinedLogicalNodeCore,
};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_planner::{ExtensionPlanner, PhysicalPlanner};
use futures::future::BoxFuture;
use maru_connect::{
    Attempt, Committed, QueryContext, SourceTable, WriteExec, WriteMode, WriteRequest, WriteWatch,
};
use maru_core::{Error, ErrorKind, Options, Result};
use parking_lot::Mutex;
use uuid::Uuid;

use super::incoming::IncomingNode;
use super::returned::{Kept, ReturnedExec, TellExec};
use super::row_check::RowCheck;
use crate::access::Object;
use crate::catalog::resolve::FILES;
use crate::catalog::{Attached, BUILTIN};
use crate::engine::Engine;
use crate::session::{Image, Session};

/// What is written where.
#[derive(Debug)]
pub(super) struct Writing {
    pub(super) session: Weak<Session>,
    pub(super) attached: Arc<Attached>,
    pub(super) schema: String,
    pub(super) table: String,
    pub(super) mode: WriteMode,
    pub(super) columns: SchemaRef,
    pub(super) options: Options,
    /// Who will own the table, if it is new.
    pub(super) owner: Option<String>,
    /// Columns that the policies look at which the rows were checked against.
    pub(super) checked: Vec<String>,
    /// Constraints that they were checked against.
    pub(super) checks: Vec<(String, String)>,
}

impl Writing {
    pub(super) fn object(&self) -> Object {
        Object::table(&self.attached.name, &self.schema, &self.table)
    }

    /// Returns what the target knows the work again by, if it is one that may be tried again.
    fn once(&self) -> Option<(String, i64)> {
        Some(self.session.upgrade()?.work()?.once())
    }

    /// Returns what the source is asked.
    pub(super) fn request(
        &self,
        statement: u64,
        memory: Arc<dyn datafusion::execution::memory_pool::MemoryPool>,
    ) -> WriteRequest {
        WriteRequest {
            schema: self.schema.clone(),
            table: self.table.clone(),
            mode: self.mode.clone(),
            columns: Arc::clone(&self.columns),
            options: self.options.clone(),
            attempt: Attempt { id: Uuid::now_v7().to_string(), once: self.once() },
            statement,
            memory: Some(memory),
            checked: self.checked.clone(),
            checks: self.checks.clone(),
        }
    }
}

/// What a write gives of its rows. Their input has it behind the columns that are written.
#[derive(Debug, Clone)]
pub(super) struct Returned {
    pub(super) schema: SchemaRef,
    /// The column that says what is done with a row, and what is done with those that are told of.
    pub(super) op: Option<(usize, i8)>,
    /// What the client was told of the rows, once it was.
    pub(super) promised: Option<SchemaRef>,
}

impl Returned {
    /// Takes the types that the rows have by now: parameters may have got theirs.
    fn typed_as(&self, input: &LogicalPlan) -> Self {
        let found = input.schema().inner();
        let before = found.fields().len().saturating_sub(self.schema.fields().len());
        let types = found.fields().iter().skip(before);
        let fields =
            self.schema.fields().iter().zip(types).map(|(told, found)| {
                told.as_ref().clone().with_data_type(found.data_type().clone())
            });
        let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        Self { schema, op: self.op, promised: self.promised.clone() }
    }
}

/// Writes the rows of its input; gives one row with their number, or what they tell of.
#[derive(Debug, Clone)]
pub(in crate::session) struct WriteNode {
    input: LogicalPlan,
    writing: Arc<Writing>,
    returned: Option<Returned>,
    schema: DFSchemaRef,
}

/// Puts a write over a plan.
pub(super) fn node(input: LogicalPlan, writing: Writing) -> Result<LogicalPlan> {
    put_over(input, writing, None)
}

/// Puts a write over a plan whose rows tell of themselves.
pub(super) fn telling(
    input: LogicalPlan,
    writing: Writing,
    returned: Returned,
) -> Result<LogicalPlan> {
    put_over(input, writing, Some(returned))
}

fn put_over(
    input: LogicalPlan,
    writing: Writing,
    returned: Option<Returned>,
) -> Result<LogicalPlan> {
    let schema = match &returned {
        None => WriteExec::count_schema(),
        Some(returned) => Arc::clone(&returned.schema),
    };
    let schema = Arc::new(DFSchema::try_from(schema)?);
    let node = WriteNode { input, writing: Arc::new(writing), returned, schema };
    Ok(LogicalPlan::Extension(Extension { node: Arc::new(node) }))
}

/// Has a plan that tells of its rows give them as the client was told, or fail before anything is written.
pub(super) fn promising(plan: LogicalPlan, told: &SchemaRef) -> LogicalPlan {
    let LogicalPlan::Extension(extension) = &plan else { return plan };
    let Some(node) = extension.node.as_any().downcast_ref::<WriteNode>() else { return plan };
    let Some(returned) = &node.returned else { return plan };
    let returned = Returned { promised: Some(Arc::clone(told)), ..returned.clone() };
    let node = WriteNode { returned: Some(returned), ..node.clone() };
    LogicalPlan::Extension(Extension { node: Arc::new(node) })
}

/// Returns whether a plan gives rows of what it writes.
pub(super) fn returns(plan: &LogicalPlan) -> bool {
    write_of(plan).is_some_and(|node| node.returned.is_some())
}

/// Returns whether a plan, or the one it explains, writes.
pub(in crate::session) fn writes(plan: &LogicalPlan) -> bool {
    write_of(plan).is_some()
}

fn write_of(plan: &LogicalPlan) -> Option<&WriteNode> {
    match plan {
        LogicalPlan::Extension(extension) => extension.node.as_any().downcast_ref(),
        // What is told of rows in the layout that the client was promised.
        LogicalPlan::Projection(projection) => write_of(&projection.input),
        _ => None,
    }
}

/// Returns what a plan writes.
pub(super) fn written(plan: &LogicalPlan) -> Option<&Writing> {
    write_of(plan).map(|node| node.writing.as_ref())
}

/// Returns what the statement is called that writes, by the tag of its answer.
pub(super) fn statement<'a>(plan: &LogicalPlan, tag: &'a str) -> &'a str {
    let writing = written(plan);
    match (tag, writing.map(|writing| &writing.mode)) {
        ("SELECT", _) | ("EXPLAIN", Some(WriteMode::Create(_))) => "CREATE TABLE AS",
        ("COPY", _) if writing.is_some_and(|writing| writing.schema == FILES) => "COPY TO",
        ("COPY", _) => "COPY FROM",
        ("INSERT 0", _) | ("EXPLAIN", Some(WriteMode::Append | WriteMode::Overwrite(_))) => {
            "INSERT"
        }
        ("EXPLAIN", Some(WriteMode::Upsert { .. })) => "INSERT",
        (tag, _) => tag,
    }
}

impl PartialEq for WriteNode {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.writing, &other.writing) && self.input == other.input
    }
}

impl Eq for WriteNode {}

impl Hash for WriteNode {
    fn hash<H: Hasher>(&self, state: &mut H) {
        Arc::as_ptr(&self.writing).hash(state);
        self.input.hash(state);
    }
}

impl PartialOrd for WriteNode {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        (self == other).then_some(Ordering::Equal)
    }
}

impl UserDefinedLogicalNodeCore for WriteNode {
    fn name(&self) -> &str {
        "Write"
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
        write!(f, "Write: {}", self.writing.object().name())
    }

    fn with_exprs_and_inputs(&self, _: Vec<Expr>, mut inputs: Vec<LogicalPlan>) -> DfResult<Self> {
        let input = inputs.pop().ok_or_else(|| Error::internal("a write without rows"))?;
        let Some(returned) = &self.returned else { return Ok(Self { input, ..self.clone() }) };
        let returned = returned.typed_as(&input);
        let schema = Arc::new(DFSchema::try_from(Arc::clone(&returned.schema))?);
        let writing = Arc::clone(&self.writing);
        Ok(Self { input, writing, returned: Some(returned), schema })
    }
}

/// Plans writes, and the checks of what they write.
pub(in crate::session) struct Writes;

#[async_trait]
impl ExtensionPlanner for Writes {
    async fn plan_extension(
        &self,
        _: &dyn PhysicalPlanner,
        node: &dyn UserDefinedLogicalNode,
        _: &[&LogicalPlan],
        inputs: &[Arc<dyn ExecutionPlan>],
        state: &dyn datafusion::catalog::Session,
        _: &PhysicalPlanningContext,
    ) -> DfResult<Option<Arc<dyn ExecutionPlan>>> {
        if let Some(rows) = node.as_any().downcast_ref::<IncomingNode>() {
            return Ok(Some(rows.plan()?));
        }
        if let (Some(check), Some(input)) =
            (node.as_any().downcast_ref::<RowCheck>(), inputs.first())
        {
            return Ok(Some(check.planned(input)));
        }
        let (Some(node), Some(input)) = (node.as_any().downcast_ref::<WriteNode>(), inputs.first())
        else {
            return Ok(None);
        };
        let writing = &node.writing;
        let session = writing.session.upgrade();
        let session =
            session.ok_or_else(|| Error::new(ErrorKind::ShuttingDown, "the session is closed"))?;
        let statement = QueryContext::of(state.config()).query_id;
        let memory = Arc::clone(&QueryContext::runtime(state).memory_pool);
        let request = writing.request(statement, memory);
        let job = writing.attached.begin_write(request).await?;
        let watch = Watch::new(session.engine().clone(), statement, Arc::clone(writing));
        let target = writing.object().name();
        let Some(returned) = &node.returned else {
            let write = WriteExec::new(Arc::clone(input), job, Arc::new(watch), target);
            return Ok(Some(Arc::new(write)));
        };
        let kept = Arc::new(Kept::default());
        let told = TellExec::try_new(Arc::clone(input), returned.clone(), Arc::clone(&kept))?;
        let write = Arc::new(WriteExec::new(Arc::new(told), job, Arc::new(watch), target));
        Ok(Some(Arc::new(ReturnedExec::new(write, Arc::clone(&returned.schema), kept))))
    }
}

/// What the engine does around a commit: cancelling ends, the new table gets its owner, what was remembered is forgotten.
pub(super) struct Watch {
    pub(super) engine: Engine,
    pub(super) statement: u64,
    pub(super) writing: Arc<Writing>,
    /// What there was before a table is made in a transaction.
    before: Mutex<Option<Image>>,
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch").field("statement", &self.statement).finish_non_exhaustive()
    }
}

impl Watch {
    pub(super) fn new(engine: Engine, statement: u64, writing: Arc<Writing>) -> Self {
        Self { engine, statement, writing, before: Mutex::new(None) }
    }

    /// Returns the session, if the table is one that its transaction may have to undo.
    fn undoing(&self) -> Option<Arc<Session>> {
        let is_own = self.writing.owner.is_some() && self.writing.attached.name == BUILTIN;
        self.writing.session.upgrade().filter(|session| is_own && session.in_transaction())
    }

    /// Returns whether the table that is to be made is there.
    async fn is_there(&self) -> bool {
        let Writing { attached, schema, table, .. } = self.writing.as_ref();
        let Ok(source) = attached.source() else { return false };
        match source.table(schema, table).await {
            // Files without a log may be those of this very statement.
            Ok(Some(SourceTable::Files(files))) => files.files.version_in(0).await.is_some(),
            Ok(found) => found.is_some(),
            Err(_) => false,
        }
    }
}

impl WriteWatch for Watch {
    fn committing(&self) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            if let Some(query) = self.engine.inner.queries.get(self.statement) {
                query.begin_commit()?;
            }
            let Some(owner) = &self.writing.owner else { return Ok(()) };
            let object = self.writing.object();
            if !self.engine.inner.making.lock().insert(object.clone()) {
                return Err(Error::new(
                    ErrorKind::DuplicateTable,
                    format!("{object} is being made by another statement"),
                ));
            }
            if self.is_there().await {
                self.engine.inner.making.lock().remove(&object);
                let message = format!("{object} already exists");
                return Err(Error::new(ErrorKind::DuplicateTable, message));
            }
            if self.undoing().is_some() {
                let before = Image::take(&self.engine).await;
                if before.is_err() {
                    self.engine.inner.making.lock().remove(&object);
                }
                *self.before.lock() = Some(before?);
            }
            // Before it is there: what was granted on an earlier one of its name must not hold for it.
            let change = self.engine.inner.authority.change(|rules| {
                rules.created(&object, owner);
                Ok(())
            });
            let changed = change.await;
            if changed.is_err() {
                self.engine.inner.making.lock().remove(&object);
            }
            changed
        })
    }

    fn committed<'a>(&'a self, outcome: &'a Result<Committed>) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            let Writing { attached, schema, table, .. } = self.writing.as_ref();
            attached.forget(schema, table);
            if outcome.as_ref().is_ok_and(|committed| committed.already)
                && let Some(work) =
                    self.writing.session.upgrade().and_then(|session| session.work())
            {
                work.was_done();
            }
            self.engine.inner.commands.fetch_add(1, Memory::Relaxed);
            if self.writing.owner.is_none() {
                return;
            }
            let object = self.writing.object();
            let before = self.before.lock().take();
            if let (true, Some(session), Some(before)) = (outcome.is_ok(), self.undoing(), before)
                && let Err(error) = session.remember_made(&before, schema, table).await
            {
                tracing::warn!(%error, "a table that was made in a transaction stays if it is rolled back");
            }
            if outcome.is_err() {
                let change = self.engine.inner.authority.change(|rules| {
                    rules.forget(&object);
                    Ok(())
                });
                if let Err(error) = change.await {
                    tracing::warn!(%error, "could not forget the owner of a table that was not made");
                }
            }
            self.engine.inner.making.lock().remove(&object);
        })
    }
}
