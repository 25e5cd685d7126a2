//! `CREATE MODEL`, `ALTER MODEL`, `DROP MODEL`, `EXPORT MODEL`, `CANCEL TRAINING JOB`.

mod gather;
mod import;
mod retrain;

pub(crate) use retrain::learns_from;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

use arrow::datatypes::DataType;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryPool};
use maru_core::{Error, ErrorKind, Result, quote_ident};
use maru_ml::columns::require_kind;
use maru_ml::manifest::Trial;
use maru_ml::{
    Collector, ImportOptions, InputType, Lowered, Progress, Request, Trained, TrainingOptions,
    lower, train,
};
use maru_ml_kernels::Task;
use maru_ml_kernels::model::Iteration;
use maru_ml_kernels::seasonal::TimeUnit;
use maru_ml_kernels::task::Claim;
use maru_ml_kernels::transform::Literal;
use maru_sql::{
    AlterModel, CreateModel, DropModel, ExportModel, ModelChange, ModelStatement, Name, ast,
};

use self::gather::gather;
use super::relation::created;
use crate::access::{Object, Privilege, Protocol};
use crate::catalog::BUILTIN;
use crate::catalog::builtin::location_url;
use crate::engine::history::micros;
use crate::engine::memory::QueryPool;
use crate::models::{Job, duplicate};
use crate::output::{Body, Output};
use crate::session::Session;
use crate::system::VIRTUAL_SCHEMAS;

pub(super) async fn execute(session: &Arc<Session>, statement: &ModelStatement) -> Result<Output> {
    match statement {
        ModelStatement::Create(create) => self::create(session, create).await,
        ModelStatement::Alter(alter) => self::alter(session, alter).await,
        ModelStatement::Drop(drop) => self::drop(session, drop).await,
        ModelStatement::Export(export) => self::export(session, export).await,
        ModelStatement::Retrain(retrain) => retrain::retrain(session, retrain).await,
        ModelStatement::CancelJob(id) => {
            let rights = session.rights();
            session
                .engine()
                .inner
                .models
                .jobs
                .cancel(*id, |job| rights.may_signal(&job.user_name))?;
            Ok(Output::command("CANCEL TRAINING JOB"))
        }
    }
}

pub(super) async fn create(session: &Arc<Session>, create: &CreateModel) -> Result<Output> {
    let import = ImportOptions::new(&create.options)?;
    let options = match (&import, &create.query) {
        (Some(_), _) => None,
        (None, Some(_)) => Some(TrainingOptions::new(&create.options)?),
        (None, None) => {
            // A wrong option is told first.
            TrainingOptions::new(&create.options)?;
            return Err(Error::new(ErrorKind::Syntax, "a model is trained on the rows of a query")
                .with_hint("CREATE MODEL … OPTIONS (…) AS SELECT …."));
        }
    };
    let (schema, name) = session.model_place(&create.name)?;
    let inner = &session.engine().inner;
    let object = Object::model(BUILTIN, &schema, &name);
    let rights = session.rights();
    let there = inner.store.schemas().await?.iter().any(|(known, _)| *known == schema);
    if VIRTUAL_SCHEMAS.contains(&schema.as_str()) {
        return Err(Error::new(
            ErrorKind::NotAllowed,
            format!("schema \"{schema}\" belongs to the engine"),
        ));
    }
    if !there || !rights.sees(&Object::schema(BUILTIN, &schema)) {
        return Err(Error::new(
            ErrorKind::UndefinedSchema,
            format!("schema \"{schema}\" does not exist"),
        )
        .with_hint(format!("CREATE SCHEMA {} makes it.", quote_ident(&schema))));
    }
    let exists = inner.models.exists(&schema, &name);
    // Who may make nothing here does not learn which names are taken.
    if !(exists && rights.owns(&object)) {
        rights.require(Privilege::Create, &Object::schema(BUILTIN, &schema))?;
    }
    match exists {
        true if create.if_not_exists => {
            return Ok(Output::command("CREATE MODEL")
                .with_notice(format!("model \"{name}\" already exists, skipping")));
        }
        true if !create.or_replace => return Err(duplicate(&name)),
        true => rights.require_owner(&object)?,
        false => {}
    }
    if let Some(import) = import {
        return import::import(session, create, import, schema, name).await;
    }
    let Some(options) = options else {
        return Err(Error::internal("a model is neither imported nor trained"));
    };
    let training = Training::new(session, create, options, schema, name).await?;
    let job = inner
        .models
        .jobs
        .start(&training.schema, &training.name, session.user(), training.request.options.n_trials)
        .await?;
    let id = job.id();
    if training.request.options.in_background {
        // The job outlives the client.
        let own = own_session(session).await?;
        tokio::spawn(async move {
            let _ = training.run(&own, &job).await;
            own.close();
        });
        return Ok(Output::command("CREATE MODEL").with_notice(format!(
            "training job {id} has begun; SELECT state FROM system.training_jobs WHERE job_id = {id} tells how it is"
        )));
    }
    let (version, remarks) = training.run(session, &job).await?;
    let mut output =
        Output::command("CREATE MODEL").with_notice(format!("version {version} is trained"));
    for remark in remarks {
        output = output.with_notice(remark);
    }
    Ok(output)
}

/// Opens a session like another one, for work that goes on when its client has gone.
async fn own_session(session: &Arc<Session>) -> Result<Arc<Session>> {
    let mut login = session.login().clone();
    login.protocol = Protocol::Embedded;
    let own = session.engine().session(login).await?;
    own.set_role(Some(session.role()));
    own.set("catalog", &session.catalog())?;
    for name in ["search_path", "timezone"] {
        if let Some(value) = session.setting(name) {
            own.set(name, &value)?;
        }
    }
    Ok(own)
}

/// What one `CREATE MODEL` does.
struct Training {
    schema: String,
    name: String,
    request: Request,
    /// The query that gives the columns of training.
    sql: String,
    columns: Vec<(String, maru_ml_kernels::pipeline::Kind)>,
}

impl Training {
    async fn new(
        session: &Arc<Session>,
        create: &CreateModel,
        options: TrainingOptions,
        schema: String,
        name: String,
    ) -> Result<Self> {
        let query = create.query.as_ref().map(ToString::to_string).unwrap_or_default();
        let given = session.columns_of(&query).await?;
        let names = given.fields().iter().map(|field| field.name().clone()).collect::<Vec<_>>();
        let apart = options.apart();
        for column in &apart {
            if !names.contains(column) {
                let error = Error::new(
                    ErrorKind::UndefinedColumn,
                    format!("column \"{column}\" does not exist"),
                )
                .with_detail(format!("The query gives {}.", names.join(", ")));
                return Err(
                    match options.label.as_ref() == Some(column)
                        && !options.shown.contains_key("input_label_cols")
                    {
                        true => error.with_hint(
                            "Name the column to predict: input_label_cols = ['column'].",
                        ),
                        false => error,
                    },
                );
            }
        }
        if options.time.is_some() && !(create.transform.is_empty() && create.train_where.is_none())
        {
            return Err(Error::unsupported("a time series takes no TRANSFORM and no TRAIN WHERE")
                .with_hint("Compute with ordinary SQL, in the query."));
        }
        let features = options.features(&names);
        if let Some(column) = features.iter().find(|column| !names.contains(column)) {
            return Err(Error::new(
                ErrorKind::UndefinedColumn,
                format!("column \"{column}\" does not exist"),
            )
            .with_detail(format!("The query gives {}.", names.join(", "))));
        }
        let lowered: Lowered =
            lower(&create.transform, create.train_where.as_ref(), &features, &apart)?;
        if lowered.plans.is_empty() {
            return Err(Error::new(
                ErrorKind::InvalidParameter,
                "there is no feature to learn from",
            )
            .with_hint("The query has to give columns besides the label."));
        }
        let mut items = Vec::new();
        for (index, (_, leaf)) in lowered.leaves.iter().enumerate() {
            items.push(format!("{leaf} AS __c{index}"));
        }
        for column in &apart {
            let index = items.len();
            items.push(format!("{} AS __c{index}", quote_ident(column)));
        }
        let sql = format!("SELECT {} FROM ({query}) AS __training", items.join(", "));
        let types = session.columns_of(&sql).await?;
        let mut columns = Vec::new();
        let shown = lowered.leaves.iter().map(|(name, _)| name).chain(&apart);
        for (field, name) in types.fields().iter().zip(shown) {
            columns.push((name.clone(), require_kind(name, field.data_type())?));
        }
        let label =
            options.label.as_ref().map(|_| types.field(lowered.leaves.len()).data_type().clone());
        if let (Some(DataType::Boolean), Some(place)) =
            (&label, columns.get_mut(lowered.leaves.len()))
        {
            // Classes are named true and false.
            place.1 = maru_ml_kernels::pipeline::Kind::Text;
        }
        if let (Some(data_type), Some(place)) = (&label, columns.get_mut(lowered.leaves.len()))
            && data_type.is_temporal()
        {
            place.1 = maru_ml_kernels::pipeline::Kind::Text;
        }
        let leaf_types = types.fields().iter().take(lowered.leaves.len());
        let leaf_types = leaf_types.map(|field| field.data_type().clone()).collect();
        let kinds = columns[..lowered.leaves.len()].iter().map(|(_, kind)| *kind).collect();
        let given = types.fields().iter().take(lowered.n_inputs);
        let input_types = given.map(|field| InputType::of(field.data_type())).collect();
        let time_unit = options.time.as_ref().map(|_| match types.field(0).data_type() {
            DataType::Date32 | DataType::Date64 => TimeUnit::Days,
            DataType::Timestamp(_, None) => TimeUnit::Seconds,
            DataType::Timestamp(_, Some(_)) => TimeUnit::Instants,
            _ => TimeUnit::Number,
        });
        let sources = session.tables_of(&query).await?;
        let filter = lowered.condition.as_ref().map(|condition| session.condition(condition));
        let request = Request {
            options,
            lowered,
            kinds,
            input_types,
            leaf_types,
            label_type: label,
            filter,
            time_unit,
            query,
            statement: retrain::text(create),
            sources,
            created_by: session.role(),
        };
        Ok(Self { schema, name, request, sql, columns })
    }

    /// Waits for a place, reads, trains, keeps the version. However it ends, the job says so.
    ///
    /// # Cancel
    /// By the job, and by dropping the future; the thread that trains ends within milliseconds.
    async fn run(self, session: &Arc<Session>, job: &Arc<Job>) -> Result<(i64, Vec<String>)> {
        let jobs = &session.engine().inner.models.jobs;
        let unfinished = Unfinished { session: Arc::clone(session), job: Some(Arc::clone(job)) };
        let result = tokio::select! {
            biased;
            () = job.token.cancelled() => Err(Error::cancelled()),
            result = self.work(session, job) => result,
        };
        unfinished.over();
        let version = result.as_ref().map(|(version, _)| *version).map_err(Clone::clone);
        jobs.end(job, &version).await?;
        result
    }

    async fn work(self, session: &Arc<Session>, job: &Arc<Job>) -> Result<(i64, Vec<String>)> {
        let inner = &session.engine().inner;
        let _place = inner.models.jobs.enter().await?;
        job.set_state("reading");
        let limit = session.memory_limit();
        let pool: Arc<dyn MemoryPool> = QueryPool::new(Arc::clone(&inner.governor), limit);
        let reservation = MemoryConsumer::new("training").register(&pool);
        let too_much = |error: datafusion::error::DataFusionError| {
            Error::from(error).with_hint(
                "Train on a sample (AS SELECT … WHERE random() < 0.1), or raise query_memory_limit.",
            )
        };
        let reserve = |bytes: usize| reservation.try_resize(bytes).map_err(too_much);
        let (_, output) = session.read(&self.sql).await?;
        let Body::Rows(rows) = output.body else {
            return Err(Error::internal("a query gave no rows"));
        };
        let n_threads = inner.config.target_partitions.max(1);
        let collector = gather(rows, self.columns, n_threads, reserve).await?;
        // What transforms and the model take is known when they come to it: columns for categories, classes.
        let more = parking_lot::Mutex::new(MemoryConsumer::new("training, more").register(&pool));
        let claim: Claim = Arc::new(move |bytes| more.lock().try_grow(bytes).map_err(too_much));
        job.set_state("training");
        let set_default = self.request.options.set_default;
        let mut trained =
            in_thread(self.request, collector, n_threads, claim, Arc::clone(job)).await?;
        trained.manifest.created_us = micros(SystemTime::now());
        let remarks = trained.manifest.remarks.clone();
        job.set_state("publishing");
        let version = publish(session, &self.schema, &self.name, trained, set_default).await?;
        Ok((version, remarks))
    }
}

/// Keeps a version, of a model that may be new.
async fn publish(
    session: &Arc<Session>,
    schema: &str,
    name: &str,
    trained: Trained,
    set_default: bool,
) -> Result<i64> {
    let inner = &session.engine().inner;
    if !inner.store.schemas().await?.iter().any(|(known, _)| known == schema) {
        return Err(Error::new(
            ErrorKind::UndefinedSchema,
            format!("schema \"{schema}\" was dropped while the model was made"),
        ));
    }
    let object = Object::model(BUILTIN, schema, name);
    match inner.models.exists(schema, name) {
        // Training takes its time: another one of that name may have been made meanwhile.
        true => session.rights().require_owner(&object)?,
        false => created(session, object).await?,
    }
    let version = inner.models.publish(schema, name, trained, set_default).await?;
    inner.commands.fetch_add(1, Ordering::Relaxed);
    Ok(version)
}

/// Ends a job whose statement was dropped.
struct Unfinished {
    session: Arc<Session>,
    job: Option<Arc<Job>>,
}

impl Unfinished {
    fn over(mut self) {
        self.job = None;
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if let Some(job) = self.job.take() {
            let engine = self.session.engine().clone();
            tokio::spawn(async move {
                let _ = engine.inner.models.jobs.end(&job, &Err(Error::cancelled())).await;
            });
        }
    }
}

struct Told(Arc<Job>);

impl Progress for Told {
    fn trial(&self, _: &Trial, done: usize, _: usize) {
        self.0.trial_done(done);
    }
}

/// Stops the thread when nobody waits for it any more.
struct StopOnDrop(Arc<AtomicBool>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Trains on a thread of its own: it computes for minutes without a pause.
async fn in_thread(
    request: Request,
    collector: Collector,
    n_threads: usize,
    claim: Claim,
    job: Arc<Job>,
) -> Result<Trained> {
    let stop = Arc::new(AtomicBool::new(false));
    let _guard = StopOnDrop(Arc::clone(&stop));
    let (sender, receiver) = tokio::sync::oneshot::channel();
    let work = move || {
        let told = Arc::clone(&job);
        let task = Task::new(stop, n_threads)
            .with_claim(claim)
            .with_watch(Arc::new(move |step: &Iteration| told.note(step)));
        let trained = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            train(&request, collector.finish(&task)?, &task, &Told(job))
        }));
        let result = trained.unwrap_or_else(|panic| {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            Err(Error::internal("training broke off")
                .with_detail(format!("It said: {}.", text.unwrap_or_default())))
        });
        let _ = sender.send(result);
    };
    std::thread::Builder::new().name("maru-training".to_owned()).spawn(work).map_err(|error| {
        Error::new(ErrorKind::Io, "could not start a thread for training").with_cause(error)
    })?;
    receiver.await.unwrap_or_else(|_| Err(Error::internal("training gave no result")))
}

/// Writes a version to a file, whole or not at all, as the store puts it.
async fn export(session: &Arc<Session>, export: &ExportModel) -> Result<Output> {
    use object_store::ObjectStoreExt;
    let (schema, name, object) = session.require_model(&export.name)?;
    let rights = session.rights();
    rights.require(Privilege::Execute, &object)?;
    let models = &session.engine().inner.models;
    let which = export.version.map(|version| version.to_string());
    let version = models.version(&schema, &name, which.as_deref())?;
    let native = || models.file(&schema, &name, version.version);
    let by_name = if export.location.ends_with(".maruml") { "native" } else { "onnx" };
    let bytes = match export.format.as_deref().unwrap_or(by_name) {
        "onnx" => match &version.runtime {
            Some(runtime) => runtime.model().to_vec(),
            None => maru_ml_kernels::onnx::export(&version.artifact, &name)?,
        },
        "native" => native()?,
        other => {
            return Err(Error::new(
                ErrorKind::InvalidParameter,
                format!("EXPORT MODEL has no format '{other}'"),
            )
            .with_hint("The formats are 'onnx' and 'native'."));
        }
    };
    let url = location_url(&export.location)?;
    let opened = session.catalogs().store_for_writer(&url, &rights).await?;
    let n_bytes = bytes.len();
    opened.store.put(&opened.path, bytes.into()).await.map_err(|error| {
        Error::new(ErrorKind::RemoteFailed, format!("could not write {}", export.location))
            .with_cause(error)
    })?;
    Ok(Output::command("EXPORT MODEL")
        .with_notice(format!("version {} of model \"{name}\" is {n_bytes} bytes", version.version)))
}

async fn alter(session: &Arc<Session>, alter: &AlterModel) -> Result<Output> {
    let (schema, name, object) = match session.require_model(&alter.name) {
        Err(error) if alter.if_exists && error.kind() == ErrorKind::UndefinedObject => {
            return Ok(Output::command("ALTER MODEL")
                .with_notice(format!("model \"{}\" does not exist, skipping", alter.name)));
        }
        found => found?,
    };
    session.rights().require_owner(&object)?;
    let models = &session.engine().inner.models;
    match &alter.change {
        ModelChange::Default(version) => models.set_default(&schema, &name, *version).await?,
        ModelChange::Rollback => models.rollback(&schema, &name).await?,
        ModelChange::Alias(alias, version) => {
            models.set_alias(&schema, &name, alias, Some(*version)).await?
        }
        ModelChange::DropAlias(alias) => models.set_alias(&schema, &name, alias, None).await?,
        ModelChange::Comment(comment) => {
            models.set_comment(&schema, &name, comment.clone()).await?
        }
        ModelChange::Options(options) => {
            if let Some(description) = description(&alter.name, options)? {
                models.set_comment(&schema, &name, description).await?;
            }
        }
        ModelChange::Rename(new) => {
            models.rename(&schema, &name, new).await?;
            let new = Object::model(BUILTIN, &schema, new);
            let authority = &session.engine().inner.authority;
            authority
                .change(|rules| {
                    rules.rename_object(&object, &new);
                    Ok(())
                })
                .await?;
        }
    }
    Ok(Output::command("ALTER MODEL"))
}

/// `COMMENT ON MODEL`, which says the same as `ALTER MODEL … SET COMMENT`.
pub(super) async fn comment(session: &Arc<Session>, name: &Name, text: Option<&str>) -> Result<()> {
    let (schema, name, object) = session.require_model(name)?;
    session.rights().require_owner(&object)?;
    let models = &session.engine().inner.models;
    models.set_comment(&schema, &name, text.map(str::to_owned)).await
}

/// Reads what `SET OPTIONS` may change: the description, which is the comment.
///
/// # Errors
/// 0A000 for all that a version was trained with.
fn description(model: &Name, options: &[(String, ast::Expr)]) -> Result<Option<Option<String>>> {
    let mut description = None;
    for (name, value) in options {
        if name != "description" {
            return Err(Error::unsupported(format!("option {name} of a model cannot be changed"))
                .with_detail("A version stays as it was trained; description is what can be set.")
                .with_hint(format!(
                    "RETRAIN MODEL {model} WITH ({name} = {value}) trains a new version with it."
                )));
        }
        description = Some(match maru_ml::lower::literal(value)? {
            Literal::Null => None,
            Literal::Text(text) => Some(text),
            _ => {
                return Err(Error::new(
                    ErrorKind::InvalidParameter,
                    "invalid value of option description",
                )
                .with_detail("It takes text, or NULL."));
            }
        });
    }
    Ok(description)
}

async fn drop(session: &Arc<Session>, drop: &DropModel) -> Result<Output> {
    let (schema, name, object) = match session.require_model(&drop.name) {
        Err(error) if drop.if_exists && error.kind() == ErrorKind::UndefinedObject => {
            return Ok(Output::command("DROP MODEL")
                .with_notice(format!("model \"{}\" does not exist, skipping", drop.name)));
        }
        found => found?,
    };
    session.rights().require_owner(&object)?;
    let inner = &session.engine().inner;
    match drop.version {
        Some(version) => inner.models.drop_version(&schema, &name, version).await?,
        None => {
            inner.models.drop_model(&schema, &name).await?;
            inner
                .authority
                .change(|rules| {
                    rules.forget(&object);
                    Ok(())
                })
                .await?;
        }
    }
    Ok(Output::command("DROP MODEL"))
}
