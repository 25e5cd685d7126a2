//! The sample data: what there is of it, and how it comes to be, whole or not at all.
//!
//! ```text
//! demo/bucket/access/part-00.parquet …          web access log, as an object store would hold it
//! demo/dhp/demo/log/dt=2026-11-01/part-0.parquet …   what known customers looked at, as Hive lays it out
//! demo/dhp/demo/call/dt=2026-11-01/part-0.parquet …  customer call records, with the dirt of a real source
//! demo/crm/customers.db                          the customers, in SQLite
//! ```

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use arrow::array::RecordBatch;
use indicatif::{ProgressBar, ProgressStyle};
use maru_core::{Error, ErrorKind, Result, ResultExt};
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::file::properties::WriterProperties;
use serde::{Deserialize, Serialize};

use super::{access, calls, customers};

/// Raised when the data changes, so that an older one is made anew.
const VERSION: u32 = 1;

/// Written last, so its presence says that everything is there.
const MARKER: &str = "made.json";

/// Rows of one batch that is generated and written.
pub(super) const BATCH_ROWS: u64 = 8192;

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Made {
    version: u32,
    rows: u64,
}

/// How many rows each table gets.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sizes {
    pub(super) access: u64,
    pub(super) log: u64,
    pub(super) calls: u64,
    pub(super) customers: u64,
}

impl Sizes {
    pub(super) fn of(rows: u64) -> Self {
        Self { access: rows, log: rows / 10, calls: rows * 3 / 10, customers: (rows / 50).max(100) }
    }

    fn total(self) -> u64 {
        self.access + self.log + self.calls + self.customers
    }
}

/// One file that is written by itself.
pub(super) struct Part {
    /// From the demo directory.
    pub(super) path: PathBuf,
    pub(super) batches: Box<dyn Iterator<Item = Result<RecordBatch>> + Send>,
}

/// Returns whether this data has been made.
pub(super) fn is_there(directory: &Path, rows: u64) -> bool {
    let read = fs::read(directory.join(MARKER)).ok();
    let made = read.and_then(|text| serde_json::from_slice::<Made>(&text).ok());
    made == Some(Made { version: VERSION, rows })
}

/// Makes the data in a directory beside and puts it in place when it is whole, so that a run that was killed leaves
/// nothing behind that looks like data.
pub(super) async fn make(directory: &Path, rows: u64) -> Result<()> {
    let new = directory.with_extension("new");
    let old = directory.with_extension("old");
    for leftover in [&new, &old] {
        remove(leftover)?;
    }
    let sizes = Sizes::of(rows);
    let bar = progress(sizes.total());
    let make = {
        let (new, bar) = (new.clone(), bar.clone());
        tokio::task::spawn_blocking(move || make_files(&new, sizes, &bar))
    };
    make.await
        .or_error(ErrorKind::Internal, || "making the sample data ended early".to_owned())??;
    customers::make(&new.join("crm"), sizes.customers, &bar).await?;
    bar.finish_and_clear();

    let marker = serde_json::to_vec(&Made { version: VERSION, rows })
        .or_error(ErrorKind::Internal, || "cannot describe the sample data".to_owned())?;
    fs::write(new.join(MARKER), marker).map_err(|cause| cannot_write(&new, cause))?;
    if directory.exists() {
        fs::rename(directory, &old).map_err(|cause| cannot_write(directory, cause))?;
    }
    fs::rename(&new, directory).map_err(|cause| cannot_write(directory, cause))?;
    remove(&old)?;
    println!(
        "Made {} log lines, {} page views, {} calls and {} customers in {} ({}).\n",
        sizes.access,
        sizes.log,
        sizes.calls,
        sizes.customers,
        directory.display(),
        indicatif::HumanDuration(bar.elapsed().max(Duration::from_secs(1)))
    );
    Ok(())
}

fn remove(directory: &Path) -> Result<()> {
    match fs::remove_dir_all(directory) {
        Err(cause) if cause.kind() != std::io::ErrorKind::NotFound => {
            Err(cannot_write(directory, cause))
        }
        _ => Ok(()),
    }
}

fn progress(total: u64) -> ProgressBar {
    let style =
        ProgressStyle::with_template("{msg} {wide_bar} {human_pos}/{human_len} rows {eta:>4}")
            .unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(total).with_style(style).with_message("Making sample data")
}

pub(super) fn cannot_write(
    path: &Path,
    cause: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> Error {
    Error::new(ErrorKind::Io, format!("cannot write \"{}\"", path.display())).with_cause(cause)
}

/// Writes all Parquet files, several at a time.
fn make_files(directory: &Path, sizes: Sizes, bar: &ProgressBar) -> Result<()> {
    let mut parts = access::parts(sizes);
    parts.extend(calls::log_parts(sizes));
    parts.extend(calls::call_parts(sizes));
    let parts: Vec<_> = parts.into_iter().map(|part| parking_lot::Mutex::new(Some(part))).collect();
    let next = AtomicUsize::new(0);
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(parts.len());
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|_| {
                scope.spawn(|| {
                    while let Some(slot) = parts.get(next.fetch_add(1, Ordering::Relaxed)) {
                        if let Some(part) = slot.lock().take() {
                            write_part(directory, part, bar)?;
                        }
                    }
                    Ok(())
                })
            })
            .collect();
        workers.into_iter().try_for_each(|worker| {
            worker
                .join()
                .unwrap_or_else(|_| Err(Error::internal("making the sample data ended early")))
        })
    })
}

fn write_part(directory: &Path, part: Part, bar: &ProgressBar) -> Result<()> {
    let path = directory.join(&part.path);
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).map_err(|cause| cannot_write(parent, cause))?;
    }
    let file = File::create(&path).map_err(|cause| cannot_write(&path, cause))?;
    let properties = WriterProperties::builder().set_compression(Compression::SNAPPY).build();
    let mut batches = part.batches;
    let Some(first) = batches.next().transpose()? else { return Ok(()) };
    let mut writer = ArrowWriter::try_new(file, first.schema(), Some(properties))
        .map_err(|cause| cannot_write(&path, cause))?;
    for batch in std::iter::once(Ok(first)).chain(batches) {
        let batch = batch?;
        writer.write(&batch).map_err(|cause| cannot_write(&path, cause))?;
        bar.inc(batch.num_rows() as u64);
    }
    writer.close().map_err(|cause| cannot_write(&path, cause))?;
    Ok(())
}

/// Returns the batches of a part as (first row, number of rows).
pub(super) fn chunks(rows: u64) -> impl Iterator<Item = (u64, u64)> {
    (0..rows.div_ceil(BATCH_ROWS)).map(move |i| {
        let start = i * BATCH_ROWS;
        (start, BATCH_ROWS.min(rows - start))
    })
}

/// Cuts rows into `parts` parts of nearly the same size: (first row, number of rows).
pub(super) fn cut(rows: u64, parts: u64) -> impl Iterator<Item = (u64, u64)> {
    (0..parts).map(move |i| (rows * i / parts, rows * (i + 1) / parts - rows * i / parts))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn files(directory: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut found = BTreeMap::new();
        let mut open = vec![directory.to_owned()];
        while let Some(next) = open.pop() {
            for entry in fs::read_dir(next).unwrap() {
                let path = entry.unwrap().path();
                match path.is_dir() {
                    true => open.push(path),
                    false => {
                        let name = path.strip_prefix(directory).unwrap().to_owned();
                        found.insert(name, fs::read(&path).unwrap());
                    }
                }
            }
        }
        found
    }

    #[tokio::test]
    async fn the_same_bytes_every_time_and_nothing_half_made() {
        let temp = tempfile::tempdir().unwrap();
        let one = temp.path().join("one");
        // What a killed run leaves behind does not matter.
        fs::create_dir_all(one.with_extension("new")).unwrap();
        fs::write(one.with_extension("new").join("junk"), "x").unwrap();
        make(&one, 2000).await.unwrap();
        assert!(is_there(&one, 2000) && !is_there(&one, 3000));
        let two = temp.path().join("two");
        make(&two, 2000).await.unwrap();
        let (one, two) = (files(&one), files(&two));
        assert!(one.len() > 20 && !one.contains_key(Path::new("junk")));
        assert_eq!(one.keys().collect::<Vec<_>>(), two.keys().collect::<Vec<_>>());
        for (name, bytes) in &one {
            assert!(two[name] == *bytes, "{} differs", name.display());
        }
    }
}
