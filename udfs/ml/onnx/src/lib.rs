//! Models that others have made, as ONNX files: checked, loaded and run by ONNX Runtime.
//!
//! `check.rs` reads a file before the runtime sees it, `library.rs` loads the runtime, which is no part of the program,
//! `signature.rs` says what goes into a model and what comes out, `session.rs` runs it over plain columns.

mod check;
mod library;
mod session;
mod signature;

pub use check::{FILE_BYTES_MAX, check, too_large};
pub use library::{Library, PROVIDERS};
pub use session::{Runtime, Values};
