//! The one integration binary: Maru from outside.
//!
//! `slt` runs the same text files on every door: the embedded engine, the Postgres wire, Flight SQL. Rows must be the
//! same, so a protocol's mistake shows as a difference between doors.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "all of it is a test")]

mod slt;
