//! Runs a model: a session for each thread that scores, made when it is first wanted.

use std::sync::Arc;

use maru_core::{Error, ErrorKind, Result};
use maru_ml_kernels::imported::{Element, Port, Shape, Signature};
use ort::session::{Session, SessionInputValue};
use ort::value::{DynMapValueType, DynValue, Tensor};
use parking_lot::Mutex;

use crate::library::{Library, missing, provider};
use crate::signature::signature;

/// Values of rows, one row after the other.
#[derive(Debug, Clone, PartialEq)]
pub enum Values {
    Floats(Vec<f32>),
    Doubles(Vec<f64>),
    Ints(Vec<i32>),
    Longs(Vec<i64>),
    Bools(Vec<bool>),
    Texts(Vec<String>),
    /// For each row its classes and their numbers; a class that is a number is written as text.
    Maps(Vec<Vec<(String, f32)>>),
}

impl Values {
    pub fn len(&self) -> usize {
        match self {
            Self::Floats(values) => values.len(),
            Self::Doubles(values) => values.len(),
            Self::Ints(values) => values.len(),
            Self::Longs(values) => values.len(),
            Self::Bools(values) => values.len(),
            Self::Texts(values) => values.len(),
            Self::Maps(values) => values.len(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A model that can be run.
pub struct Runtime {
    library: Arc<Library>,
    model: Arc<[u8]>,
    provider: String,
    idle: Mutex<Vec<Session>>,
}

impl std::fmt::Debug for Runtime {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Runtime").field("provider", &self.provider).finish_non_exhaustive()
    }
}

/// What the runtime says, as an error of ours.
fn said(kind: ErrorKind, what: &str, error: &impl std::fmt::Display) -> Error {
    // It begins with where in its source it comes from; the last part is what a reader can use.
    let text = error.to_string();
    Error::new(kind, what.to_owned()).with_detail(format!("ONNX Runtime says: {}", text.trim()))
}

impl Runtime {
    /// The library is not loaded before the model is run, or [`Self::open`] is called.
    pub fn new(library: Arc<Library>, model: Arc<[u8]>, provider: &str) -> Self {
        Self { library, model, provider: provider.to_owned(), idle: Mutex::default() }
    }

    /// Returns the file.
    pub fn model(&self) -> &[u8] {
        &self.model
    }

    /// Makes sure that the model can be run; returns what it takes and gives.
    ///
    /// # Errors
    /// 58P01 without the library, 0A000 for a provider that it lacks or values that no column holds, 22P04 for a model that it refuses.
    pub fn open(&self) -> Result<Signature> {
        let session = self.take()?;
        let signature = signature(&session);
        self.idle.lock().push(session);
        signature
    }

    fn take(&self) -> Result<Session> {
        if let Some(session) = self.idle.lock().pop() {
            return Ok(session);
        }
        let environment = self.library.environment()?;
        let provider = provider(&self.provider)?;
        let refused = |error: &dyn std::fmt::Display| {
            said(ErrorKind::BadFileFormat, "ONNX Runtime refuses the model", &error)
        };
        let builder = Session::builder(&environment).map_err(|error| refused(&error))?;
        // Partitions of a statement run beside one another: each session keeps to its own thread, and never waits busily.
        let builder = builder.with_intra_threads(1).map_err(|error| refused(&error))?;
        let builder = builder.with_inter_threads(1).map_err(|error| refused(&error))?;
        let builder = builder.with_intra_op_spinning(false).map_err(|error| refused(&error))?;
        let builder = builder.with_memory_pattern(false).map_err(|error| refused(&error))?;
        let mut builder = match provider {
            None => builder,
            Some(provider) => builder.with_execution_providers([provider]).map_err(|error| {
                missing(&self.provider).with_detail(format!("ONNX Runtime says: {error}"))
            })?,
        };
        builder.commit_from_memory(&self.model).map_err(|error| refused(&error))
    }

    /// Runs the model on rows. `inputs` are those of the signature, in order; so are the outputs.
    ///
    /// # Errors
    /// 22023 with what the runtime says of these rows; XX000 for another number of values than the signature tells.
    pub fn run(
        &self,
        signature: &Signature,
        inputs: Vec<Values>,
        n_rows: usize,
    ) -> Result<Vec<(Values, usize)>> {
        let mut session = self.take()?;
        let outputs = run(&mut session, signature, inputs, n_rows);
        self.idle.lock().push(session);
        outputs
    }
}

fn tensor(values: Values, port: &Port, n_rows: usize) -> Result<SessionInputValue<'static>> {
    let shape = match port.shape {
        Shape::Row => vec![n_rows],
        _ => vec![n_rows, values.len() / n_rows.max(1)],
    };
    let wrong = |error: ort::Error| {
        said(
            ErrorKind::InvalidParameter,
            &format!("input \"{}\" of the ONNX model cannot take these values", port.name),
            &error,
        )
    };
    Ok(match values {
        Values::Floats(values) => Tensor::from_array((shape, values)).map_err(wrong)?.into(),
        Values::Doubles(values) => Tensor::from_array((shape, values)).map_err(wrong)?.into(),
        Values::Ints(values) => Tensor::from_array((shape, values)).map_err(wrong)?.into(),
        Values::Longs(values) => Tensor::from_array((shape, values)).map_err(wrong)?.into(),
        Values::Bools(values) => Tensor::from_array((shape, values)).map_err(wrong)?.into(),
        Values::Texts(values) => {
            Tensor::from_string_array((shape, values.as_slice())).map_err(wrong)?.into()
        }
        Values::Maps(_) => return Err(Error::internal("a map goes into a model")),
    })
}

fn run(
    session: &mut Session,
    signature: &Signature,
    inputs: Vec<Values>,
    n_rows: usize,
) -> Result<Vec<(Values, usize)>> {
    let mut feeds = Vec::with_capacity(inputs.len());
    for (values, port) in inputs.into_iter().zip(&signature.inputs) {
        feeds.push((port.name.clone(), tensor(values, port, n_rows)?));
    }
    let failed = |error: &dyn std::fmt::Display| {
        said(ErrorKind::InvalidParameter, "the ONNX model failed on these rows", &error)
    };
    let given = session.run(feeds).map_err(|error| failed(&error))?;
    let mut outputs = Vec::with_capacity(signature.outputs.len());
    for port in &signature.outputs {
        let value = given.get(&port.name).ok_or_else(|| {
            Error::new(
                ErrorKind::InvalidParameter,
                format!("the ONNX model gave no \"{}\"", port.name),
            )
        })?;
        let values = extract(value, port).map_err(|error| failed(&error))?;
        let width = values.len() / n_rows.max(1);
        // As many values in each row: all else would be a wrong row.
        let fits = match port.shape {
            Shape::Row | Shape::Maps => values.len() == n_rows,
            Shape::Matrix(Some(width)) => values.len() == n_rows * width,
            Shape::Matrix(None) => values.len() == n_rows * width && width > 0,
        };
        let led = rows_of(value).is_none_or(|rows| rows == n_rows);
        if n_rows > 0 && !(fits && led) {
            return Err(Error::new(
                ErrorKind::InvalidParameter,
                format!("output \"{}\" of the ONNX model does not belong to the rows", port.name),
            )
            .with_detail(format!("{n_rows} rows went in, {} values came out.", values.len()))
            .with_hint("Every output must have the rows as its first dimension."));
        }
        outputs.push((values, width));
    }
    Ok(outputs)
}

fn rows_of(value: &DynValue) -> Option<usize> {
    let shape = value.dtype().tensor_shape()?;
    shape.first().and_then(|rows| usize::try_from(*rows).ok())
}

fn extract(value: &DynValue, port: &Port) -> ort::Result<Values> {
    if port.shape == Shape::Maps {
        let maps = value.try_extract_sequence::<DynMapValueType>()?;
        let rows = maps.iter().map(|map| {
            let mut pairs = match port.element {
                Element::Text => map.try_extract_key_values::<String, f32>()?,
                _ => {
                    let mut pairs = map.try_extract_key_values::<i64, f32>()?;
                    pairs.sort_by_key(|(key, _)| *key);
                    return Ok(pairs.into_iter().map(|(key, v)| (key.to_string(), v)).collect());
                }
            };
            pairs.sort_by(|a, b| a.0.cmp(&b.0));
            Ok(pairs)
        });
        return Ok(Values::Maps(rows.collect::<ort::Result<_>>()?));
    }
    Ok(match port.element {
        Element::Float => Values::Floats(value.try_extract_tensor::<f32>()?.1.to_vec()),
        Element::Double => Values::Doubles(value.try_extract_tensor::<f64>()?.1.to_vec()),
        Element::Int => Values::Ints(value.try_extract_tensor::<i32>()?.1.to_vec()),
        Element::Long => Values::Longs(value.try_extract_tensor::<i64>()?.1.to_vec()),
        Element::Bool => Values::Bools(value.try_extract_tensor::<bool>()?.1.to_vec()),
        Element::Text => Values::Texts(value.try_extract_strings()?.1),
    })
}
