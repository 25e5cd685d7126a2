//! Catalogs that are relational databases: `postgres`, `mysql` (MySQL and MariaDB) and `sqlite`, on sqlx.
//!
//! The three connectors share how options are read (`network`), how failures are told (`failure`), how a filter becomes SQL
//! (`render`), how groups, orders and joins do (`fragments`), and how rows are streamed so that dropping the stream stops the database (`stream`). What differs stands
//! in one folder each: connecting, listing, the type table, decoding values, comparing values.
//!
//! Two rules hold everywhere. A value that Arrow's type cannot hold is an error that names the column, never a NULL
//! and never rounded. A filter is sent only if the database answers it for every value as the engine would; text is
//! where databases differ, so text is compared byte by byte or not at all.

mod failure;
mod fragments;
mod mysql;
mod native;
mod network;
mod outdated;
mod outgoing;
mod pace;
mod pool;
mod postgres;
mod render;
mod sqlite;
mod stream;
mod values;
mod write;

use maru_connect::Connector;

/// The connectors of this crate, for the registry.
pub static CONNECTORS: &[&dyn Connector] =
    &[&postgres::PostgresConnector, &mysql::MySqlConnector, &sqlite::SqliteConnector];

#[cfg(test)]
mod testing;
