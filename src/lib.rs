//! Maru: one SQL engine in front of all the data of a company.
//!
//! SQL text goes in at one door, [`engine::Engine`] and its [`session::Session`], Arrow batches come out of it. The
//! servers, the shell, the demo and the tests all use that door; everything else is a room behind it. Start reading
//! at `engine.rs`, then `registry.rs` for what is compiled in, then `docs/ARCHITECTURE.md`.

pub mod access;
pub mod catalog;
pub mod cli;
pub mod config;
pub mod demo;
pub mod engine;
mod models;
mod opaque;
pub mod output;
pub mod owner;
mod pipelines;
pub mod reference;
pub mod registry;
pub mod server;
pub mod session;
pub mod shell;
pub mod statement;
pub mod store;
pub mod system;

use maru_connect::{float_text, value_text};

/// The version of PostgreSQL whose dialect and protocol Maru speaks.
pub const POSTGRES_VERSION: &str = "16.0";
