//! The pack of machine learning: from the words of `CREATE MODEL` to a trained version, from a version to columns of a query.
//!
//! `lower.rs` reads TRANSFORM, `options.rs` OPTIONS; `train.rs` learns; `score.rs` is the function behind `ML.PREDICT`,
//! `imported.rs` runs models of others, `measure.rs` the aggregate behind `ML.EVALUATE` of a query, `info.rs` what versions tell of themselves. The program keeps
//! versions and asks for rights; the algorithms stand in `kernels/`.

// A row's number indexes several columns at once.
#![allow(clippy::needless_range_loop)]

pub mod columns;
mod explain;
pub mod imported;
pub mod info;
pub mod lower;
pub mod manifest;
pub mod measure;
pub mod options;
pub mod policy;
pub mod profile;
pub mod score;
pub mod taken;
pub mod train;

pub use columns::Collector;
pub use imported::{ImportOptions, import};
pub use lower::{Lowered, lower};
pub use manifest::{InputType, LabelType, Manifest, Version};
pub use maru_ml_onnx::Library;
pub use options::TrainingOptions;
pub use policy::{Policy, Treatment};
pub use train::{Filter, Progress, Request, Trained, train};
