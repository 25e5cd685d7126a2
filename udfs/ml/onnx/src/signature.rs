//! What goes into a model and what comes out: names, kinds of values, how many for each row.

use maru_core::{Error, Result};
use maru_ml_kernels::imported::{Element, Port, Shape, Signature};
use ort::session::Session;
use ort::value::{Outlet, TensorElementType, ValueType};

fn element(of: TensorElementType) -> Option<Element> {
    Some(match of {
        TensorElementType::Float32 => Element::Float,
        TensorElementType::Float64 => Element::Double,
        TensorElementType::Int32 => Element::Int,
        TensorElementType::Int64 => Element::Long,
        TensorElementType::Bool => Element::Bool,
        TensorElementType::String => Element::Text,
        _ => return None,
    })
}

/// Reads what a session takes and gives.
///
/// # Errors
/// 0A000 for values that no column holds, and for models that take a fixed number of rows.
pub(crate) fn signature(session: &Session) -> Result<Signature> {
    let mut found = Signature::default();
    for outlet in session.inputs() {
        let port = port(outlet, "input", &mut found.one_row)?;
        if port.shape == Shape::Maps {
            return Err(refused(outlet, "input"));
        }
        found.inputs.push(port);
    }
    for outlet in session.outputs() {
        let port = port(outlet, "output", &mut found.one_row)?;
        found.outputs.push(port);
    }
    if found.inputs.is_empty() || found.outputs.is_empty() {
        return Err(Error::unsupported("the ONNX model has no input or no output"));
    }
    Ok(found)
}

fn port(outlet: &Outlet, what: &str, one_row: &mut bool) -> Result<Port> {
    let name = outlet.name().to_owned();
    match outlet.dtype() {
        ValueType::Tensor { ty, shape, .. } => {
            let element = element(*ty).ok_or_else(|| refused(outlet, what))?;
            let dims = shape.iter().copied().collect::<Vec<_>>();
            let (rows, shape) = match dims.as_slice() {
                [rows] => (*rows, Shape::Row),
                [rows, width] => (*rows, Shape::Matrix(usize::try_from(*width).ok())),
                // An output whose shape the model does not tell.
                [] if what == "output" => (-1, Shape::Matrix(None)),
                _ => return Err(refused(outlet, what)),
            };
            match rows {
                ..=-1 => {}
                1 if what == "output" && !*one_row => {
                    return Err(Error::unsupported(format!(
                        "output \"{}\" of the ONNX model has one row, however many go in",
                        outlet.name()
                    ))
                    .with_hint("Every output must have the rows as its first dimension."));
                }
                1 => *one_row = true,
                n => {
                    return Err(Error::unsupported(format!(
                        "the ONNX model takes {n} rows at a time, no more and no less"
                    ))
                    .with_hint("Export it with a dynamic first dimension."));
                }
            }
            Ok(Port { name, element, shape })
        }
        ValueType::Sequence(inner) => match inner.as_ref() {
            ValueType::Map { key, value: TensorElementType::Float32 }
                if matches!(key, TensorElementType::String | TensorElementType::Int64) =>
            {
                let element = element(*key).ok_or_else(|| refused(outlet, what))?;
                Ok(Port { name, element, shape: Shape::Maps })
            }
            _ => Err(refused(outlet, what)),
        },
        _ => Err(refused(outlet, what)),
    }
}

fn refused(outlet: &Outlet, what: &str) -> Error {
    Error::unsupported(format!("{what} \"{}\" of the ONNX model cannot be a column", outlet.name()))
        .with_detail(format!(
            "It is {}. Tensors of one or two dimensions of float, double, int32, int64, bool and string can, and sequences of maps to float as outputs.",
            outlet.dtype()
        ))
}
