//! The suite every connector runs in its own tests: what the engine relies on, asked of a real table.
//!
//! ```ignore
//! let context = conformance::context(&MEMORY, &[("rows", "100")], Arc::new(NoStores))?;
//! let source = MEMORY.open(context).await?;
//! let report = conformance::hold(Subject::new(&MEMORY, source, "sample", "numbers")).await?;
//! assert!(report.pushed > 0);
//! ```
//!
//! The table should have some rows (up to a few thousand: it is read some hundred times), NULLs, and texts that
//! differ only in case or by a blank at the end. Where writes are declared, a table `maru_conformance_new` is made beside it
//! and dropped again. The source is closed at the end.

mod cases;
mod files;
mod numbers;
mod reading;
mod steps;
mod writes;

use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use futures::StreamExt;
use futures::future::BoxFuture;
use maru_core::{Error, ErrorKind, Options, Result};
use url::Url;

use crate::{
    Connector, FileTable, OpenContext, OpenedStore, Predicate, RemoteTable, ScanRequest, Source,
    SourceTable, StoreOpener, evaluate,
};

/// How long closing, or noticing that a stream was dropped, may take unless the subject says otherwise.
const PATIENCE: Duration = Duration::from_secs(10);

/// Reads that are broken off: more than any source keeps connections, so that a leaked one is missed.
const BROKEN_OFF: usize = 24;

/// What the suite is run on.
#[derive(Debug, Clone)]
pub struct Subject<'a> {
    pub connector: &'a dyn Connector,
    pub source: Arc<dyn Source>,
    pub schema: &'a str,
    pub table: &'a str,
    /// Texts that must appear in nothing that is shown: passwords, keys.
    pub secrets: Vec<&'a str>,
    /// How long closing, or a first batch, may take.
    pub patience: Duration,
}

impl<'a> Subject<'a> {
    pub fn new(
        connector: &'a dyn Connector,
        source: Arc<dyn Source>,
        schema: &'a str,
        table: &'a str,
    ) -> Self {
        Self { connector, source, schema, table, secrets: Vec::new(), patience: PATIENCE }
    }

    pub fn with_secrets(mut self, secrets: &[&'a str]) -> Self {
        self.secrets = secrets.to_vec();
        self
    }

    pub fn with_patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    async fn promptly<T>(&self, what: &str, work: impl Future<Output = T>) -> Result<T> {
        let patience = self.patience;
        let late = |_| broken(format!("{what} takes longer than {patience:?}"));
        tokio::time::timeout(patience, work).await.map_err(late)
    }
}

/// What was seen, for tests to hold against what they expect.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Report {
    pub rows: usize,
    /// Predicates that the source evaluated, each with the same rows as the engine.
    pub pushed: usize,
    /// Predicates that it left to the engine.
    pub kept: usize,
}

/// Opens stores for a connector that needs none.
#[derive(Debug)]
pub struct NoStores;

impl StoreOpener for NoStores {
    fn open_store<'a>(
        &'a self,
        _: &'a str,
        url: &'a Url,
        _: &'a Options,
    ) -> BoxFuture<'a, Result<OpenedStore>> {
        let error = Error::unsupported(format!("there is no store for \"{url}\""));
        Box::pin(async { Err(error) })
    }
}

/// Returns a context as `CREATE CATALOG test USING … WITH (…)` makes it.
///
/// # Errors
/// HV00D, HV024 for options the connector does not take.
pub fn context(
    connector: &dyn Connector,
    options: &[(&str, &str)],
    stores: Arc<dyn StoreOpener>,
) -> Result<OpenContext> {
    let spec = connector.spec();
    let owner = format!("connector \"{}\"", spec.name);
    Ok(OpenContext {
        catalog: "test".to_owned(),
        instance: format!("test{}", spec.name),
        options: Options::check(&owner, spec.options, options.iter().copied())?,
        stores,
    })
}

/// Runs the whole suite.
///
/// # Errors
/// XX000 for the first promise that is broken, and whatever the source fails with.
pub async fn hold(subject: Subject<'_>) -> Result<Report> {
    let source = &subject.source;
    let described = source.check().await?;
    ensure(!described.is_empty(), || "check() says nothing of the source".to_owned())?;
    names(&subject).await?;
    let table = source.table(subject.schema, subject.table).await?.ok_or_else(|| {
        broken(format!("table \"{}\".\"{}\" is not there", subject.schema, subject.table))
    })?;
    secrets(&subject, &described, &table)?;

    let all = reading::read(&table, &ScanRequest::all(&table.schema())).await?;
    let whole = reading::one_batch(&table, &all)?;
    ensure(whole.num_rows() > 2, || "the table has too few rows to prove anything".to_owned())?;
    projections(&table, &whole).await?;
    let mut report = filters(&table, &whole).await?;
    report.rows = whole.num_rows();
    limits(&table, &whole).await?;
    flags(&subject, &table, &whole, &report).await?;
    steps::hold(&subject, &table, &whole).await?;
    if let SourceTable::Files(files) = &table {
        listing(files).await?;
    }
    writes::hold(&subject).await?;
    breaking_off(&subject, &table, &whole).await?;
    closing(&subject, &table).await?;
    Ok(report)
}

fn broken(what: impl Into<String>) -> Error {
    Error::new(ErrorKind::Internal, format!("conformance: {}", what.into()))
}

fn ensure(kept: bool, what: impl FnOnce() -> String) -> Result<()> {
    if kept { Ok(()) } else { Err(broken(what())) }
}

/// Listings are stable and whole; what is not there is not an error.
async fn names(subject: &Subject<'_>) -> Result<()> {
    let Subject { source, schema, table, .. } = subject;
    let schemas = source.schemas().await?;
    ensure(schemas == source.schemas().await?, || "two listings of schemas differ".to_owned())?;
    ensure(schemas.iter().filter(|name| name == schema).count() == 1, || {
        format!("schema \"{schema}\" is not once in {schemas:?}")
    })?;
    let tables = source.tables(schema).await?;
    ensure(tables == source.tables(schema).await?, || "two listings of tables differ".to_owned())?;
    ensure(tables.iter().filter(|entry| &entry.name == table).count() == 1, || {
        format!("table \"{table}\" is not once in {tables:?}")
    })?;
    const MISSING: &str = "maru_no_such_name";
    ensure(source.table(schema, MISSING).await?.is_none(), || {
        "a table that is not there was opened".to_owned()
    })?;
    ensure(source.table(MISSING, table).await?.is_none(), || {
        "a table in a schema that is not there was opened".to_owned()
    })?;
    ensure(source.tables(MISSING).await?.is_empty(), || {
        "a schema that is not there has tables".to_owned()
    })
}

/// Nothing that a person may see holds a secret.
fn secrets(subject: &Subject<'_>, described: &str, table: &SourceTable) -> Result<()> {
    let mut shown =
        vec![described.to_owned(), format!("{:?}", subject.source), format!("{table:?}")];
    if let SourceTable::Remote(remote) = table {
        shown.push(remote.describe(&ScanRequest::all(&remote.schema())));
    }
    for secret in &subject.secrets {
        // The text itself would be a leak of its own.
        ensure(!shown.iter().any(|text| text.contains(secret)), || {
            "a secret is shown by check(), Debug or describe()".to_owned()
        })?;
    }
    Ok(())
}

/// All columns, each alone, all backwards, none.
async fn projections(table: &SourceTable, whole: &RecordBatch) -> Result<()> {
    let n_columns = whole.num_columns();
    let mut wanted = vec![Vec::new(), (0..n_columns).rev().collect()];
    wanted.extend((0..n_columns).map(|i| vec![i]));
    for projection in wanted {
        let request = ScanRequest { projection, ..ScanRequest::all(&table.schema()) };
        let got = reading::read(table, &request).await?;
        reading::same_rows(&got, &[whole.project(&request.projection)?], || {
            format!("{request:?}")
        })?;
    }
    Ok(())
}

/// With a filter pushed, the same rows as with the filter evaluated here.
async fn filters(table: &SourceTable, whole: &RecordBatch) -> Result<Report> {
    let mut report = Report::default();
    let mut pushed = Vec::new();
    // Files are filtered by the engine's own reader, and each read lists them anew: a part of the cases will do.
    let step = if matches!(table, SourceTable::Files(_)) { 4 } else { 1 };
    for filter in cases::predicates(whole)?.into_iter().step_by(step) {
        if !reading::pushes(table, &filter) {
            report.kept += 1;
            continue;
        }
        same_filtered(table, whole, vec![filter.clone()]).await?;
        report.pushed += 1;
        pushed.push(filter);
    }
    // Several at once, of different columns where there are some.
    for pair in pushed.chunks(2).step_by(7).filter(|pair| pair.len() == 2) {
        same_filtered(table, whole, pair.to_vec()).await?;
    }
    for (first, last) in pushed.iter().zip(pushed.iter().rev()).step_by(11) {
        same_filtered(table, whole, vec![first.clone(), last.clone()]).await?;
    }
    Ok(report)
}

/// Reads all columns, and then only one that the filters may not be about.
async fn same_filtered(
    table: &SourceTable,
    whole: &RecordBatch,
    filters: Vec<Predicate>,
) -> Result<()> {
    let mut expected = whole.clone();
    for filter in &filters {
        let keep = evaluate::rows(filter, &expected)?;
        expected = arrow::compute::filter_record_batch(&expected, &keep)?;
    }
    let request = ScanRequest { filters, ..ScanRequest::all(&table.schema()) };
    let got = reading::read(table, &request).await?;
    reading::same_rows(&got, std::slice::from_ref(&expected), || format!("{request:?}"))?;
    let last = whole.num_columns() - 1;
    let request = ScanRequest { projection: vec![last], ..request };
    let got = reading::read(table, &request).await?;
    reading::same_rows(&got, &[expected.project(&[last])?], || format!("{request:?}"))
}

/// A limit is the number of rows, no more and no fewer.
async fn limits(table: &SourceTable, whole: &RecordBatch) -> Result<()> {
    if matches!(table, SourceTable::Remote(remote) if !remote.supports_limit()) {
        return Ok(());
    }
    let n_rows = whole.num_rows();
    for limit in [0, 1, 2, n_rows - 1, n_rows, n_rows + 7] {
        let request = ScanRequest { limit: Some(limit), ..ScanRequest::all(&table.schema()) };
        let got = reading::read(table, &request).await?;
        let rows = got.iter().map(RecordBatch::num_rows).sum::<usize>();
        ensure(rows == limit.min(n_rows), || {
            format!("{rows} of {n_rows} rows came for {request:?}")
        })?;
    }
    Ok(())
}

/// The declared capabilities are what was seen.
async fn flags(
    subject: &Subject<'_>,
    table: &SourceTable,
    whole: &RecordBatch,
    report: &Report,
) -> Result<()> {
    let declared = subject.connector.spec().capabilities;
    let files = matches!(table, SourceTable::Files(_));
    ensure(declared.files == files, || {
        format!("declared files = {}, found {files}", declared.files)
    })?;
    let remote = match table {
        SourceTable::Remote(remote) => remote,
        SourceTable::Files(table) => return files::flags(subject, table, whole).await,
        SourceTable::View { .. } | SourceTable::ForeignView(_) => return Ok(()),
    };
    ensure(declared.filter == (report.pushed > 0), || {
        format!("declared filter = {}, pushed {} filters", declared.filter, report.pushed)
    })?;
    ensure(declared.limit == remote.supports_limit(), || {
        format!("declared limit = {}, the table says {}", declared.limit, !declared.limit)
    })?;
    let all = ScanRequest::all(&remote.schema());
    if all.projection.len() > 1 {
        // What is sent says whether fewer columns travel.
        let one = ScanRequest { projection: vec![0], ..all.clone() };
        let travels = remote.describe(&one) != remote.describe(&all);
        ensure(declared.projection == travels, || {
            format!("declared projection = {}, but describe() says {travels}", declared.projection)
        })?;
    }
    Ok(())
}

/// Files are listed alike twice, with fitting partition values, and pruning drops only what cannot match.
async fn listing(table: &FileTable) -> Result<()> {
    let names = |entries: &[crate::FileEntry]| {
        let mut names = entries.iter().map(|e| e.meta.location.to_string()).collect::<Vec<_>>();
        names.sort();
        names
    };
    let all = table.files.list(&[]).await?;
    ensure(names(&all) == names(&table.files.list(&[]).await?), || {
        "two listings of files differ".to_owned()
    })?;
    let schema = Arc::new(arrow::datatypes::Schema::new(table.partition_columns.clone()));
    for entry in &all {
        let types = entry.partition_values.iter().map(|value| value.data_type());
        ensure(types.eq(schema.fields().iter().map(|field| field.data_type().clone())), || {
            format!("{} has partition values {:?}", entry.meta.location, entry.partition_values)
        })?;
    }
    if schema.fields().is_empty() {
        return Ok(());
    }
    let rows = all.iter().map(|entry| entry.partition_values.as_slice());
    for filter in cases::predicates(&reading::batch_of(&schema, rows)?)? {
        let kept = names(&table.files.list(std::slice::from_ref(&filter)).await?);
        for entry in &all {
            let wanted = evaluate::holds(&filter, &schema, &entry.partition_values)?;
            ensure(!wanted || kept.contains(&entry.meta.location.to_string()), || {
                format!("{filter:?} lost {}", entry.meta.location)
            })?;
        }
    }
    Ok(())
}

/// Reads that are dropped half way leave nothing behind that would be missed.
async fn breaking_off(
    subject: &Subject<'_>,
    table: &SourceTable,
    whole: &RecordBatch,
) -> Result<()> {
    let request = ScanRequest { batch_rows: 1, ..ScanRequest::all(&table.schema()) };
    if let SourceTable::Remote(remote) = table {
        for _ in 0..BROKEN_OFF {
            let mut stream = remote.read(request.clone());
            let first = subject.promptly("the first batch", stream.next()).await?;
            ensure(first.is_some(), || "a read ended before its first batch".to_owned())?;
            first.transpose()?;
            drop(stream);
            // Dropped before it did anything at all.
            drop(remote.read(request.clone()));
        }
    }
    let all = ScanRequest::all(&table.schema());
    let again = subject.promptly("a read after broken ones", reading::read(table, &all)).await??;
    reading::same_rows(&again, std::slice::from_ref(whole), || {
        "a read after broken ones".to_owned()
    })
}

/// Closing is prompt with a read open, and ends that read.
async fn closing(subject: &Subject<'_>, table: &SourceTable) -> Result<()> {
    let mut open = match table {
        SourceTable::Remote(remote) => Some(open_read(subject, remote.as_ref()).await?),
        _ => None,
    };
    subject.promptly("close()", subject.source.close()).await?;
    if let Some(stream) = &mut open {
        let rest = async { while let Some(Ok(_)) = stream.next().await {} };
        subject.promptly("a read whose source was closed", rest).await?;
    }
    subject.promptly("close() once more", subject.source.close()).await
}

async fn open_read(subject: &Subject<'_>, remote: &dyn RemoteTable) -> Result<crate::BatchStream> {
    let request = ScanRequest { batch_rows: 1, ..ScanRequest::all(&remote.schema()) };
    let mut stream = remote.read(request);
    subject.promptly("the first batch", stream.next()).await?.transpose()?;
    Ok(stream)
}
