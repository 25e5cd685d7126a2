//! What is asked of a file before the runtime reads it: no data outside of it, no operators of others, a sane size.
//!
//! The form is that of Protocol Buffers; of `ModelProto` only those fields are looked at that can reach outside of the file.

use maru_core::{Error, ErrorKind, Result};

/// The largest file that is taken.
pub const FILE_BYTES_MAX: usize = 1 << 30;
/// Graphs within graphs: bodies of loops and branches.
const DEPTH_MAX: usize = 24;
/// Operators that ONNX Runtime itself brings.
const DOMAINS: &[&str] = &["", "ai.onnx", "ai.onnx.ml", "com.microsoft"];

/// Checks the bytes of a model.
///
/// # Errors
/// 22P04 for bytes that are no ONNX model, 0A000 for external data and operators that no runtime knows, 54000 for too many bytes.
pub fn check(bytes: &[u8]) -> Result<()> {
    if bytes.len() > FILE_BYTES_MAX {
        return Err(too_large(bytes.len() as u64));
    }
    let mut graphs = 0;
    for field in Fields(bytes) {
        match field? {
            // graph
            (7, Value::Bytes(graph)) => {
                graphs += 1;
                check_graph(graph, 0)?;
            }
            // functions: nodes beside their names
            (25, Value::Bytes(function)) => {
                for field in Fields(function) {
                    if let (7, Value::Bytes(node)) = field? {
                        check_node(node, 0)?;
                    }
                }
            }
            // training_info holds graphs that scoring never runs
            (20, _) => {
                return Err(Error::unsupported("the ONNX file holds training information")
                    .with_hint("Export the model for inference alone."));
            }
            _ => {}
        }
    }
    match graphs {
        1 => Ok(()),
        _ => Err(damaged("It has no graph.")),
    }
}

/// Returns the error for a file of so many bytes.
pub fn too_large(n_bytes: u64) -> Error {
    Error::new(ErrorKind::LimitExceeded, "the ONNX file is too large")
        .with_detail(format!("It has {n_bytes} bytes, the limit is {FILE_BYTES_MAX}."))
        .with_hint("A smaller model, or one with quantised weights, fits.")
}

fn damaged(why: &str) -> Error {
    Error::new(ErrorKind::BadFileFormat, "the file is no ONNX model, or a damaged one")
        .with_detail(why.to_owned())
}

fn check_graph(graph: &[u8], depth: usize) -> Result<()> {
    if depth > DEPTH_MAX {
        return Err(damaged("Its graphs are nested too deep."));
    }
    for field in Fields(graph) {
        match field? {
            (1, Value::Bytes(node)) => check_node(node, depth)?,
            (5, Value::Bytes(tensor)) => check_tensor(tensor)?,
            // sparse_initializer: values and indices are tensors
            (15, Value::Bytes(sparse)) => check_sparse(sparse)?,
            _ => {}
        }
    }
    Ok(())
}

fn check_node(node: &[u8], depth: usize) -> Result<()> {
    let (mut domain, mut operator) = (String::new(), String::new());
    for field in Fields(node) {
        match field? {
            (4, Value::Bytes(text)) => operator = String::from_utf8_lossy(text).into_owned(),
            (7, Value::Bytes(text)) => domain = String::from_utf8_lossy(text).into_owned(),
            (5, Value::Bytes(attribute)) => check_attribute(attribute, depth)?,
            _ => {}
        }
    }
    if DOMAINS.contains(&domain.as_str()) {
        return Ok(());
    }
    Err(Error::unsupported(format!(
        "the ONNX file uses a custom operator, \"{domain}.{operator}\""
    ))
    .with_detail("Operators of ai.onnx, ai.onnx.ml and com.microsoft can be run.")
    .with_hint("Export the model with standard operators."))
}

fn check_attribute(attribute: &[u8], depth: usize) -> Result<()> {
    for field in Fields(attribute) {
        match field? {
            // t, tensors
            (5 | 10, Value::Bytes(tensor)) => check_tensor(tensor)?,
            // g, graphs
            (6 | 11, Value::Bytes(graph)) => check_graph(graph, depth + 1)?,
            (22 | 23, Value::Bytes(sparse)) => check_sparse(sparse)?,
            _ => {}
        }
    }
    Ok(())
}

fn check_sparse(sparse: &[u8]) -> Result<()> {
    for field in Fields(sparse) {
        if let (1 | 2, Value::Bytes(tensor)) = field? {
            check_tensor(tensor)?;
        }
    }
    Ok(())
}

fn check_tensor(tensor: &[u8]) -> Result<()> {
    for field in Fields(tensor) {
        // external_data, data_location = EXTERNAL
        if let (13, Value::Bytes(_)) | (14, Value::Number(1..)) = field? {
            return Err(Error::unsupported("the ONNX file keeps weights in another file")
                .with_hint("Save it with its data inside: onnx.save(model, path, save_as_external_data=False)."));
        }
    }
    Ok(())
}

enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
    /// Of four or eight bytes; nothing here looks at those.
    Fixed,
}

/// The fields of a message: number and value.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn varint(&mut self) -> Option<u64> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = self.0.split_first()?;
            self.0 = rest;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    fn skip(&mut self, n: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(n)?;
        self.0 = rest;
        Some(taken)
    }

    fn field(&mut self) -> Option<(u64, Value<'a>)> {
        let key = self.varint()?;
        let value = match key & 7 {
            0 => Value::Number(self.varint()?),
            1 => self.skip(8).map(|_| Value::Fixed)?,
            2 => {
                let n = usize::try_from(self.varint()?).ok()?;
                Value::Bytes(self.skip(n)?)
            }
            5 => self.skip(4).map(|_| Value::Fixed)?,
            _ => return None,
        };
        (key >> 3 != 0).then_some((key >> 3, value))
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u64, Value<'a>)>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field =
            self.field().ok_or_else(|| damaged("Its bytes are cut short or not understood."));
        if field.is_err() {
            self.0 = &[];
        }
        Some(field)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(field: u8, value: &[u8]) -> Vec<u8> {
        let mut out = vec![field << 3 | 2, u8::try_from(value.len()).unwrap()];
        out.extend_from_slice(value);
        out
    }

    fn state(model: &[u8]) -> &'static str {
        check(model).map_or_else(|error| error.sqlstate(), |()| "00000")
    }

    #[test]
    fn refuses_what_reaches_outside() {
        let node = |domain: &str| [bytes(4, b"Op"), bytes(7, domain.as_bytes())].concat();
        let of_nodes = |node: &[u8]| bytes(7, &bytes(1, node));
        assert_eq!(state(&of_nodes(&node("ai.onnx.ml"))), "00000");
        assert_eq!(state(&of_nodes(&node("my.ops"))), "0A000");
        // The same in the body of a loop.
        let body = bytes(1, &node("my.ops"));
        let outer = [bytes(4, b"Loop"), bytes(5, &bytes(6, &body))].concat();
        assert_eq!(state(&of_nodes(&outer)), "0A000");
        let tensor = [vec![14 << 3, 1], bytes(13, b"x")].concat();
        assert_eq!(state(&bytes(7, &bytes(5, &tensor))), "0A000");
        assert_eq!(state(b""), "22P04");
        assert_eq!(state(b"no model at all"), "22P04");
        assert_eq!(state(&of_nodes(&node(""))[..5]), "22P04");
    }
}
