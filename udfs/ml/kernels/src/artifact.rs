//! A trained model as it is kept: transforms, model, classes, in a form with a version and a checksum.

use maru_core::{Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};

use crate::frame::{Column, Frame};
use crate::model::{Model, Prediction, Problem};
use crate::pipeline::Pipeline;
use crate::random::{hash_with, mix};
use crate::task::Task;

const MAGIC: &[u8; 8] = b"MARUML\0\x01";

/// All that prediction needs.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Artifact {
    /// As in `model_type`.
    pub model_type: String,
    pub problem: Problem,
    /// The name of the label, if there is one.
    pub label: Option<String>,
    /// The classes, in order: numbers by size, text by its bytes.
    pub classes: Vec<String>,
    pub pipeline: Pipeline,
    /// The names of the matrix's columns.
    pub features: Vec<String>,
    pub model: Model,
    /// From which probability on the second of two classes is predicted, or from which score on a row is an outlier.
    pub threshold: f64,
}

fn checksum(bytes: &[u8]) -> u64 {
    let mut hash = mix(bytes.len() as u64);
    for chunk in bytes.chunks(8) {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        hash = hash_with(hash, u64::from_le_bytes(word));
    }
    hash
}

impl Artifact {
    /// Writes the form that is kept.
    pub fn encode(&self) -> Result<Vec<u8>> {
        let body = rmp_serde::to_vec_named(self)
            .map_err(|error| Error::internal("could not write a model").with_cause(error))?;
        let mut bytes = Vec::with_capacity(body.len() + 16);
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&checksum(&body).to_le_bytes());
        bytes.extend_from_slice(&body);
        Ok(bytes)
    }

    /// Reads it again.
    ///
    /// # Errors
    /// XX001 for bytes that are no model, were damaged, or come from another version.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let damaged = |why: &str| {
            Error::new(ErrorKind::DataCorrupted, "could not read a model file")
                .with_detail(why.to_owned())
        };
        let Some((head, rest)) = bytes.split_first_chunk::<8>() else {
            return Err(damaged("It is too short."));
        };
        if head != MAGIC {
            return Err(damaged(match head.starts_with(b"MARUML\0") {
                true => "Another version of Maru has written it.",
                false => "It is no model file.",
            }));
        }
        let Some((sum, body)) = rest.split_first_chunk::<8>() else {
            return Err(damaged("It is too short."));
        };
        if checksum(body) != u64::from_le_bytes(*sum) {
            return Err(damaged("Its checksum is wrong: it was damaged or cut short."));
        }
        rmp_serde::from_slice(body)
            .map_err(|error| damaged("Its contents are not understood.").with_cause(error))
    }

    /// Says what the model makes of rows, whose columns are those of [`Pipeline::inputs`].
    pub fn predict(&self, input: &Frame, task: &Task) -> Result<Prediction> {
        let matrix = self.pipeline.matrix(input, task)?;
        self.model.predict(&matrix, task)
    }

    /// Makes columns fit for the pipeline: text where it learnt text.
    pub fn coerce(&self, mut input: Frame) -> Frame {
        for ((_, kind), (_, column)) in self.pipeline.inputs.iter().zip(&mut input.columns) {
            if let (crate::pipeline::Kind::Text, Column::Number(_)) = (kind, &*column) {
                let texts = (0..column.len()).map(|row| column.text(row).map(|t| t.into_owned()));
                *column = Column::Text(texts.collect());
            }
        }
        input
    }
}
