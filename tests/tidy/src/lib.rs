//! The house rules that no other tool checks, as tests: `cargo test -p maru-tidy`, seconds, no service.
//!
//! A rule that fails says which file breaks it and what to do. To add one, add a `#[test]` to the module it belongs to.

#![cfg(test)]

mod docs;
mod errors;
mod layers;
mod manifests;
mod scripts;
mod sources;
mod tree;
