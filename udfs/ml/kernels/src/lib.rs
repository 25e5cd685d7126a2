//! Machine learning over plain columns of numbers: transforms, models, metrics, the search for parameters.
//!
//! Nothing here knows SQL or the engine. What is learnt is a plain value with a versioned serialised form; the same data
//! and seed give the same one, whatever the order of the rows, the number of threads and the trials at once.

// A row's number indexes several columns at once.
#![allow(clippy::needless_range_loop)]

pub mod anomaly;
pub mod artifact;
pub mod evaluate;
pub mod explain;
pub mod frame;
pub mod gather;
pub mod imported;
mod linalg;
pub mod model;
pub mod onnx;
pub mod pipeline;
pub mod profile;
pub mod random;
pub mod score;
pub mod seasonal;
pub mod split;
pub mod task;
pub mod transform;
pub mod tune;

pub use frame::{Column, Frame, Matrix};
pub use task::Task;

#[cfg(test)]
mod tests;
