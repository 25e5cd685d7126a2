//! Rows that a client sends along with a statement: `COPY … FROM STDIN`, `ExecuteIngest`. They are the leaf of a plan that
//! writes, so what holds for `INSERT` holds for them: one commit, rights, memory, cancel, timeout, history.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{DFSchema, DFSchemaRef, Result as DfResult};
use datafusion::error::DataFusionError;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{Expr, Extension, LogicalPlan, UserDefinedLogicalNodeCore};
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PlanProperties,
};
use futures::TryStreamExt;
use maru_connect::{BatchStream, WriteMode};
use maru_core::{Error, ErrorKind, Options, Result};
use maru_sql::{Copy, CopyOptions, CreateTable, ForceQuote, Name, OptionList};
use parking_lot::Mutex;

use super::assign;
use super::create::{new_place, writing};
use super::insert::fields_of;
use super::node::{Writing, node};
use super::target::find;
use crate::access::{Privilege, Protocol};
use crate::opaque::Opaque;
use crate::session::{Kind, Planned, Prepared, Session, StatementText};

/// Where the rows of one run wait until the plan takes them.
pub(super) type Slot = Arc<Mutex<Option<BatchStream>>>;

/// A statement that writes the rows that its client sends.
#[derive(Clone)]
pub struct Incoming {
    /// The rows that are to come.
    pub schema: SchemaRef,
    /// The table, by its own name.
    pub relation: String,
    /// How the rows are written, for `COPY`.
    pub options: Arc<CopyOptions>,
    pub(in crate::session) plan: Opaque<LogicalPlan>,
    pub(in crate::session) tag: &'static str,
    pub(super) slot: Slot,
}

impl fmt::Debug for Incoming {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Incoming").field("relation", &self.relation).finish_non_exhaustive()
    }
}

impl Incoming {
    /// Gives the rows of the next run; each batch has [`Incoming::schema`], nullability aside.
    pub fn give(&self, rows: BatchStream) {
        *self.slot.lock() = Some(rows);
    }
}

/// What becomes of rows that come in bulk.
#[derive(Debug, Clone)]
pub struct Ingest {
    pub table: Name,
    /// Of the rows.
    pub schema: SchemaRef,
    /// Whether a table that is not there is made.
    pub creates: bool,
    pub if_exists: IfExists,
    /// `WITH (…)` of a table that is made.
    pub options: Vec<(String, String)>,
    /// Whether it is a table of the session alone.
    pub temporary: bool,
}

/// What becomes of a table that is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IfExists {
    Fail,
    Append,
    Replace,
}

impl Session {
    /// Plans `COPY … FROM STDIN`.
    ///
    /// # Errors
    /// 0A000 on another door than the Postgres wire; those of `INSERT`.
    pub(in crate::session) async fn prepare_copy_in(
        self: &Arc<Self>,
        copy: Copy,
    ) -> Result<Incoming> {
        if self.login.protocol != Protocol::Postgres {
            return Err(Error::unsupported("COPY goes over the PostgreSQL wire only")
                .with_hint("Use COPY … FROM STDIN by psql or a PostgreSQL driver, or ExecuteIngest of Flight SQL."));
        }
        let Some(name) = &copy.table else {
            return Err(Error::internal("COPY FROM without a table"));
        };
        let target = find(self, name, "copy to").await?;
        let schema = target.columns();
        target.require_shown(&self.rights(), Privilege::Insert, &copy.columns)?;
        let names = match copy.columns.is_empty() {
            true => schema.fields().iter().map(|field| field.name().clone()).collect(),
            false => copy.columns,
        };
        let columns = fields_of(&target, &schema, &names)?;
        target.require_privilege(&self.rights(), Privilege::Insert, &names)?;
        let options = copy.options;
        for (forced, option) in
            [(&options.force_null, "FORCE_NULL"), (&options.force_not_null, "FORCE_NOT_NULL")]
        {
            let ForceQuote::Columns(forced) = forced else { continue };
            fields_of(&target, &schema, forced)?;
            if let Some(name) = forced.iter().find(|name| !names.contains(name)) {
                return Err(Error::new(
                    ErrorKind::UndefinedColumn,
                    format!("{option} column \"{name}\" not referenced by COPY"),
                ));
            }
        }
        let columns = Arc::new(Schema::new(columns));
        let slot = Slot::default();
        let rows = leaf(Arc::clone(&columns), &slot)?;
        let (rows, written) = self.completed(&target, rows, columns.fields().to_vec()).await?;
        let mut checked = self.check_inserted(&target, rows).await?;
        checked.plan = self.constrained(&target, checked.plan, false).await?;
        let plan = node(
            checked.plan,
            Writing {
                session: Arc::downgrade(self),
                checks: target.checks(),
                attached: target.attached,
                schema: target.schema,
                table: target.name.clone(),
                mode: WriteMode::Append,
                columns: Arc::new(Schema::new(written)),
                options: Options::default(),
                owner: None,
                checked: checked.columns,
            },
        )?;
        Ok(Incoming {
            schema: columns,
            relation: target.name,
            options: Arc::new(options),
            plan: Opaque::new(plan),
            tag: "COPY",
            slot,
        })
    }

    /// Returns what a statement wants its client to send, planned for one run; `None` for one that wants nothing.
    ///
    /// # Errors
    /// 25001 in a transaction block, 25006 in one that only reads; those of planning, if the tables have changed meanwhile.
    pub async fn incoming(
        self: &Arc<Self>,
        prepared: &Prepared,
    ) -> Result<Option<(Prepared, Incoming)>> {
        if !matches!(prepared.kind, Kind::Incoming(_)) {
            return Ok(None);
        }
        self.refuse_in_failed_block(false)?;
        let prepared = match prepared.planned.take(self) {
            true => prepared.clone(),
            false => self.plan_again(prepared).await?,
        };
        match &prepared.kind {
            Kind::Incoming(incoming) => {
                let incoming = incoming.clone();
                self.refuse_write(&incoming.plan, incoming.tag).await?;
                Ok(Some((prepared, incoming)))
            }
            _ => Err(Error::internal("a COPY became something else")),
        }
    }

    /// Plans rows that come in bulk; [`Session::execute`] runs it once, after [`Incoming::give`].
    ///
    /// # Errors
    /// 42P07 for a table that is there and should not be, 42P01 for one that is not; those of `INSERT` and `CREATE TABLE AS`.
    pub async fn prepare_ingest(
        self: &Arc<Self>,
        mut ingest: Ingest,
    ) -> Result<(Prepared, Incoming)> {
        self.refuse_in_failed_block(false)?;
        if ingest.temporary {
            ingest.table = self.enter_temporary(&ingest.table).await?;
        }
        let planned = Planned::now(self);
        let slot = Slot::default();
        let names = ingest.schema.fields().iter().map(|field| field.name().clone());
        let names = names.collect::<Vec<_>>();
        let rows = leaf(Arc::clone(&ingest.schema), &slot)?;
        let zone = self.setting("timezone").unwrap_or_default();
        let appends = ingest.if_exists == IfExists::Append;
        let create = CreateTable {
            name: ingest.table.clone(),
            columns: Vec::new(),
            primary_key: Vec::new(),
            checks: Vec::new(),
            defaults: Vec::new(),
            partitioned_by: Vec::new(),
            options: OptionList(ingest.options),
            query: None,
            or_replace: ingest.if_exists == IfExists::Replace,
            if_not_exists: appends,
            temporary: ingest.temporary,
        };
        let place = match ingest.creates {
            true => new_place(self, &create).await?,
            false => None,
        };
        let verb = if place.is_some() { "CREATE TABLE" } else { "INSERT INTO" };
        let (writing, rows, tag) = match place {
            Some(place) => {
                let columns = ingest.schema.fields().iter().map(|field| made_of(field));
                let columns = columns.collect::<Vec<FieldRef>>();
                let schema = Arc::new(Schema::new(columns.clone()));
                let rows = assign::assign(rows, &columns, Vec::new(), &zone)?;
                (writing(self, create, place, schema)?, rows, "SELECT")
            }
            None => {
                if !create.options.0.is_empty() {
                    let message = "options are for a table that is made, and this one is there";
                    return Err(Error::new(ErrorKind::InvalidParameter, message));
                }
                let target = find(self, &ingest.table, "insert into").await?;
                target.require_shown(&self.rights(), Privilege::Insert, &names)?;
                let columns = fields_of(&target, &target.columns(), &names)?;
                target.require_privilege(&self.rights(), Privilege::Insert, &names)?;
                let rows = assign::assign(rows, &columns, Vec::new(), &zone)?;
                let (rows, columns) = self.completed(&target, rows, columns).await?;
                let mut checked = self.check_inserted(&target, rows).await?;
                checked.plan = self.constrained(&target, checked.plan, false).await?;
                let writing = Writing {
                    session: Arc::downgrade(self),
                    checks: target.checks(),
                    attached: target.attached,
                    schema: target.schema,
                    table: target.name,
                    mode: WriteMode::Append,
                    columns: Arc::new(Schema::new(columns)),
                    options: Options::default(),
                    owner: None,
                    checked: checked.columns,
                };
                (writing, checked.plan, "INSERT 0")
            }
        };
        let relation = writing.table.clone();
        let plan = node(rows, writing)?;
        self.refuse_write(&plan, tag).await?;
        let incoming = Incoming {
            schema: ingest.schema,
            relation,
            options: Arc::new(CopyOptions::binary()),
            plan: Opaque::new(plan),
            tag,
            slot,
        };
        let quoted = names.iter().map(|name| maru_core::quote_ident(name)).collect::<Vec<_>>();
        let text = format!("{verb} {} ({}) -- ExecuteIngest", ingest.table, quoted.join(", "));
        let prepared = Prepared {
            schema: None,
            parameters: Vec::new(),
            arguments: Vec::new(),
            text: StatementText::one(text),
            notices: Vec::new(),
            kind: Kind::Incoming(incoming.clone()),
            planned,
        };
        Ok((prepared, incoming))
    }
}

/// Returns the column that is made for values a client sends.
fn made_of(field: &Field) -> FieldRef {
    let metadata = field.metadata().iter().filter(|(key, _)| key.starts_with("ARROW:"));
    let metadata = metadata.map(|(key, value)| (key.clone(), value.clone())).collect();
    Arc::new(Field::new(field.name(), stored_type(field.data_type()), true).with_metadata(metadata))
}

/// Returns the plain type of values whose encoding is the client's own affair.
fn stored_type(data_type: &DataType) -> DataType {
    use DataType as D;
    match data_type {
        D::Null | D::LargeUtf8 | D::Utf8View => D::Utf8,
        D::LargeBinary | D::BinaryView => D::Binary,
        D::Dictionary(_, value) => stored_type(value),
        D::RunEndEncoded(_, value) => stored_type(value.data_type()),
        other => other.clone(),
    }
}

pub(super) fn leaf(schema: SchemaRef, slot: &Slot) -> Result<LogicalPlan> {
    let df_schema = Arc::new(DFSchema::try_from(Arc::clone(&schema))?);
    let node = IncomingNode { schema, df_schema, slot: Arc::clone(slot) };
    Ok(LogicalPlan::Extension(Extension { node: Arc::new(node) }))
}

/// Rows that the client sends.
#[derive(Clone)]
pub(super) struct IncomingNode {
    schema: SchemaRef,
    df_schema: DFSchemaRef,
    slot: Slot,
}

impl IncomingNode {
    /// Takes the rows that have been given.
    pub(super) fn plan(&self) -> Result<Arc<dyn ExecutionPlan>> {
        let rows = self.slot.lock().take();
        let rows = rows.ok_or_else(|| Error::internal("the rows of a statement were not given"))?;
        Ok(Arc::new(IncomingExec::new(Arc::clone(&self.schema), rows)))
    }
}

impl fmt::Debug for IncomingNode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Incoming")
    }
}

impl PartialEq for IncomingNode {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.slot, &other.slot)
    }
}

impl Eq for IncomingNode {}

impl Hash for IncomingNode {
    fn hash<H: Hasher>(&self, state: &mut H) {
        Arc::as_ptr(&self.slot).hash(state);
    }
}

impl PartialOrd for IncomingNode {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        (self == other).then_some(std::cmp::Ordering::Equal)
    }
}

impl UserDefinedLogicalNodeCore for IncomingNode {
    fn name(&self) -> &str {
        "Incoming"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        Vec::new()
    }

    fn schema(&self) -> &DFSchemaRef {
        &self.df_schema
    }

    fn expressions(&self) -> Vec<Expr> {
        Vec::new()
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Incoming: rows of the client")
    }

    fn with_exprs_and_inputs(&self, _: Vec<Expr>, _: Vec<LogicalPlan>) -> DfResult<Self> {
        Ok(self.clone())
    }
}

/// One partition with the rows of the client, to be read once.
struct IncomingExec {
    schema: SchemaRef,
    rows: Mutex<Option<BatchStream>>,
    properties: Arc<PlanProperties>,
}

impl IncomingExec {
    fn new(schema: SchemaRef, rows: BatchStream) -> Self {
        let properties = PlanProperties::new(
            EquivalenceProperties::new(Arc::clone(&schema)),
            Partitioning::UnknownPartitioning(1),
            EmissionType::Incremental,
            Boundedness::Bounded,
        );
        Self { schema, rows: Mutex::new(Some(rows)), properties: Arc::new(properties) }
    }
}

impl fmt::Debug for IncomingExec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("IncomingExec")
    }
}

impl DisplayAs for IncomingExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("IncomingExec: rows of the client")
    }
}

impl ExecutionPlan for IncomingExec {
    fn name(&self) -> &str {
        "IncomingExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        Vec::new()
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> DfResult<TreeNodeRecursion>,
    ) -> DfResult<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(
        self: Arc<Self>,
        _: Vec<Arc<dyn ExecutionPlan>>,
    ) -> DfResult<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn execute(&self, _: usize, _: Arc<TaskContext>) -> DfResult<SendableRecordBatchStream> {
        let rows = self.rows.lock().take();
        let rows = rows.ok_or_else(|| Error::internal("the rows of a client are read twice"))?;
        let rows = rows.map_err(DataFusionError::from);
        Ok(Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&self.schema), rows)))
    }
}
