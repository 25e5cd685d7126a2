//! sqllogictest over every door. `MARU_SLT=errors` runs the files whose path holds that word; with
//! `MARU_SLT_UPDATE=1` the embedded engine rewrites them first: read what changed.

mod doors;
mod text;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use doors::{Door, Embedded, Flight, Place, Postgres};
use sqllogictest::{AsyncDB, Runner};

/// Runs every file on a door of its own data directory; says all failures, not the first.
async fn run_all<D: Door + AsyncDB>() {
    let mut failures = Vec::new();
    let mut n_files = 0;
    for file in files() {
        let place = Arc::new(Place::open().await);
        let mut runner = Runner::new(|| {
            let place = Arc::clone(&place);
            async move { Ok(D::connect(&place).await) }
        });
        runner.add_label(D::NAME);
        runner.with_column_validator(sqllogictest::strict_column_validator);
        // Asked at run time, since a test built in one clone may be run from the cache in another.
        let here = std::env::var("CARGO_MANIFEST_DIR");
        let here = here.unwrap_or_else(|_| env!("CARGO_MANIFEST_DIR").to_owned());
        runner.set_var("FIXTURES".to_owned(), here + "/tests/fixtures");
        runner.set_var("DIR".to_owned(), place.dir().display().to_string());
        if D::NAME == "embedded" && std::env::var_os("MARU_SLT_UPDATE").is_some() {
            let (validator, normalizer) =
                (sqllogictest::default_validator, sqllogictest::default_normalizer);
            let columns = sqllogictest::default_column_validator;
            runner.update_test_file(&file, " ", validator, normalizer, columns).await.unwrap();
        } else if let Err(error) = runner.run_file_async(&file).await {
            failures.push(format!("{} on {}: {}", file.display(), D::NAME, error.display(false)));
        }
        runner.shutdown_async().await;
        n_files += 1;
        place.close().await;
    }
    println!("{n_files} files on {}", D::NAME);
    assert!(failures.is_empty(), "\n{}", failures.join("\n\n"));
    assert!(n_files > 0, "no file matches");
}

fn files() -> Vec<PathBuf> {
    let wanted = std::env::var("MARU_SLT").unwrap_or_default();
    let mut found = Vec::new();
    collect(Path::new("tests/slt"), &mut found);
    found.retain(|path| path.display().to_string().contains(&wanted));
    found.sort();
    found
}

fn collect(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "slt") {
            found.push(path);
        }
    }
}

/// Stack of the program's own threads, which plan what a client sends.
const STACK_BYTES: usize = 16 << 20;

fn on_door<D: Door + AsyncDB>() {
    let mut threads = tokio::runtime::Builder::new_multi_thread();
    let threads = threads.enable_all().thread_stack_size(STACK_BYTES).build().unwrap();
    threads.block_on(run_all::<D>());
}

#[test]
fn embedded() {
    on_door::<Embedded>();
}

#[test]
fn postgres() {
    on_door::<Postgres>();
}

#[test]
fn flight() {
    on_door::<Flight>();
}
