//! The shared vocabulary of Maru: errors, identifiers, options, secrets, limits.
//!
//! This room knows nothing of sources, statements or protocols. Everything else depends on it, so it stays
//! small and changes seldom. Start reading at [`Error`].

mod error;
pub mod fault;
mod ident;
pub mod limits;
mod options;
mod secret;
mod suggest;

pub use error::{Blame, Error, ErrorKind, Result, ResultExt, line_column};
pub use ident::{QualifiedName, quote_ident, quote_literal};
pub use options::{OptionKind, OptionSpec, OptionValue, Options};
pub use secret::Secret;
pub use suggest::did_you_mean;
