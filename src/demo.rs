//! `maru demo`: sample data, catalogs over it, and a tour of queries.
//!
//! The data is made once (`demo/data.rs` says what is in it); the tour is `sql/scripts/demo.sql`, run statement by
//! statement through the same door as everything else.

mod access;
mod calls;
mod customers;
mod data;
mod random;
mod tour;

use std::path::Path;
use std::time::Duration;

use maru_core::Result;

use crate::access::SUPERUSER;
use crate::config::Config;
use crate::engine::Engine;
use crate::shell::embedded::Embedded;

/// Web access log lines if nothing else is asked for.
pub const ROWS: u64 = 1_000_000;

/// The directory of the sample data in the data directory.
const DIRECTORY: &str = "demo";

/// How long the engine may take to end after the tour.
const CLOSE_GRACE: Duration = Duration::from_secs(2);

/// Makes the data if it is not there, and runs the tour.
///
/// # Errors
/// 55006 if another process owns the data directory; 58030 if the data cannot be written; whatever a statement of the
/// tour ends with.
pub async fn run(config: Config, rows: u64) -> Result<()> {
    let data_dir = config.data_dir.clone();
    let address = config.pg_listen.clone();
    // Opening the engine first makes this process the owner of the directory it is about to write to.
    let engine = Engine::open(config).await?;
    let outcome = make_and_show(&engine, &data_dir, rows).await;
    if outcome.is_ok() {
        if let Some(notice) = engine.initial_password_notice() {
            println!("{notice}\n");
        }
        say_how_to_go_on(&data_dir, &address);
    }
    engine.close(CLOSE_GRACE).await;
    outcome
}

async fn make_and_show(engine: &Engine, data_dir: &Path, rows: u64) -> Result<()> {
    let directory = data_dir.join(DIRECTORY);
    if !data::is_there(&directory, rows) {
        data::make(&directory, rows).await?;
    }
    let backend = Embedded::open(engine.clone()).await.map_err(tour::as_error)?;
    tour::run(&backend, &directory).await
}

fn say_how_to_go_on(data_dir: &Path, address: &str) {
    let flag = match data_dir == Path::new("./maru-data") {
        true => String::new(),
        false => format!(" --data-dir {}", data_dir.display()),
    };
    let maru = std::env::args_os()
        .next()
        .map_or_else(|| "maru".to_owned(), |program| program.to_string_lossy().into_owned());
    println!("Go on with:");
    println!("  {maru} sql{flag:<30}  a shell on these catalogs");
    println!("  {maru} serve{flag:<28}  a server; then, with the password in the file below:");
    println!("  psql postgres://{SUPERUSER}@{address}/maru");
    println!("  {}", data_dir.join("initial-password").display());
}
