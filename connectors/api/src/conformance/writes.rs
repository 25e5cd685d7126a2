//! That tables are made and rows inserted where it is declared, and refused where it is not.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use maru_core::{Options, Result};

use super::{Subject, broken, ensure, reading};
use crate::{
    Attempt, NewTable, ScanRequest, SourceTable, TableChange, WriteMode, WriteRequest, batch_stream,
};

/// The table that is made, and dropped.
const NEW: &str = "maru_conformance_new";

/// Makes a table, reads it back, adds to it, and drops it; or sees that nothing of that is begun.
pub(super) async fn hold(subject: &Subject<'_>) -> Result<()> {
    let Subject { connector, source, schema, .. } = subject;
    let declared = connector.spec().capabilities.write;
    let rows = rows(&[1, 2, 3], &[Some("a"), None, Some("힣 '\"\\")])?;
    let create = || WriteMode::Create(NewTable::default());
    let begun = source.begin_write(request(subject, create(), &rows)?).await;
    if !declared {
        return match begun {
            Ok(_) => Err(broken("declared write = false, but a write was begun")),
            Err(error) if error.sqlstate() == "0A000" => Ok(()),
            Err(error) => {
                Err(broken("a write is refused by another error than 0A000").with_cause(error))
            }
        };
    }
    begun.map_err(|error| broken("declared write = true, but none is begun").with_cause(error))?;
    // A job that was dropped before its first row (`EXPLAIN`) leaves nothing.
    gone(subject, "a write that was only begun").await?;

    write(subject, create(), &rows).await?;
    same(subject, std::slice::from_ref(&rows), "a table that was made").await?;
    let more = rows.slice(1, 2);
    write(subject, WriteMode::Append, &more).await?;
    same(subject, &[rows.clone(), more], "a table that got more rows").await?;
    let again = source.begin_write(request(subject, create(), &rows)?).await;
    let state = again.err().map(|error| error.sqlstate());
    ensure(state == Some("42P07"), || format!("a table of a name that is taken: {state:?}"))?;

    let refused = request(subject, create(), &rows)?;
    let job = source.begin_write(WriteRequest { table: format!("{NEW}_2"), ..refused }).await?;
    let stream = batch_stream(futures::stream::iter([Ok(rows)]));
    Arc::clone(&job).write(stream).await?;
    job.abort().await;
    let left = source.table(schema, &format!("{NEW}_2")).await?;
    ensure(left.is_none(), || "a write that was aborted left a table".to_owned())?;

    source.change_table(schema, NEW, TableChange::Drop).await?;
    gone(subject, "a table that was dropped").await
}

fn rows(numbers: &[i64], texts: &[Option<&str>]) -> Result<RecordBatch> {
    let columns: [(&str, ArrayRef); 2] = [
        ("n", Arc::new(Int64Array::from(numbers.to_vec()))),
        ("name", Arc::new(StringArray::from(texts.to_vec()))),
    ];
    Ok(RecordBatch::try_from_iter_with_nullable(
        columns.map(|(name, values)| (name, values, true)),
    )?)
}

fn request(subject: &Subject<'_>, mode: WriteMode, rows: &RecordBatch) -> Result<WriteRequest> {
    let spec = subject.connector.spec();
    let owner = format!("connector \"{}\"", spec.name);
    Ok(WriteRequest {
        schema: subject.schema.to_owned(),
        table: NEW.to_owned(),
        mode,
        columns: rows.schema(),
        options: Options::check(&owner, spec.table_options, [])?,
        attempt: Attempt { id: attempt(), once: None },
        statement: 0,
        memory: None,
        checked: Vec::new(),
        checks: Vec::new(),
    })
}

/// Returns a name that no other try has: files of an attempt are called by it.
fn attempt() -> String {
    static N_ATTEMPTS: AtomicU64 = AtomicU64::new(0);
    let n = N_ATTEMPTS.fetch_add(1, Ordering::Relaxed);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_nanos());
    format!("conformance-{}-{now}-{n}", std::process::id())
}

async fn write(subject: &Subject<'_>, mode: WriteMode, rows: &RecordBatch) -> Result<()> {
    let job = subject.source.begin_write(request(subject, mode, rows)?).await?;
    let stream = batch_stream(futures::stream::iter([Ok(rows.clone())]));
    let written = Arc::clone(&job).write(stream).await?;
    let done = job.commit().await?;
    let n_rows = rows.num_rows() as u64;
    ensure((written.n_rows, done.n_rows) == (n_rows, n_rows), || {
        format!("{n_rows} rows were written, but {written:?} and {done:?} are told")
    })
}

async fn same(subject: &Subject<'_>, wanted: &[RecordBatch], what: &str) -> Result<()> {
    let table = subject.source.table(subject.schema, NEW).await?;
    let Some(table) = table else { return Err(broken(format!("{what} is not there"))) };
    let got = reading::read(&table, &ScanRequest::all(&table.schema())).await?;
    reading::same_rows(&got, wanted, || what.to_owned())
}

async fn gone(subject: &Subject<'_>, what: &str) -> Result<()> {
    let left: Option<SourceTable> = subject.source.table(subject.schema, NEW).await?;
    ensure(left.is_none(), || format!("{what} left a table"))
}
