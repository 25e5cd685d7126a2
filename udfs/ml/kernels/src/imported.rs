//! A model that others have made: the file, and what goes into it and comes out. The pack runs it, not these kernels.

use serde::de::Visitor;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The kind of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Element {
    Float,
    Double,
    Int,
    Long,
    Bool,
    Text,
}

impl Element {
    /// Returns what SQL calls it.
    pub fn sql(self) -> &'static str {
        match self {
            Self::Float => "real",
            Self::Double => "double precision",
            Self::Int => "integer",
            Self::Long => "bigint",
            Self::Bool => "boolean",
            Self::Text => "text",
        }
    }
}

/// How many values a row has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Shape {
    /// One, in a tensor of rows.
    Row,
    /// A tensor of rows by so many; `None`: as many as there are.
    Matrix(Option<usize>),
    /// Names or numbers of classes with a number each: a sequence of maps, as scikit-learn's converter writes it.
    Maps,
}

/// An input or output.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Port {
    pub name: String,
    pub element: Element,
    pub shape: Shape,
}

impl Port {
    /// Returns whether a row has one value.
    pub fn is_single(&self) -> bool {
        matches!(self.shape, Shape::Row | Shape::Matrix(Some(1)))
    }
}

/// All inputs and outputs, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signature {
    pub inputs: Vec<Port>,
    pub outputs: Vec<Port>,
    /// Whether the model takes one row at a time.
    pub one_row: bool,
}

/// The model.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Imported {
    /// As it was found.
    #[serde(serialize_with = "write_bytes", deserialize_with = "read_bytes")]
    pub file: Vec<u8>,
    /// What computes it, as the option names it.
    pub provider: String,
    pub signature: Signature,
    /// Whether the one input is made of a column for each of its values, rather than of an array.
    pub spread: bool,
}

fn write_bytes<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_bytes(bytes)
}

fn read_bytes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    struct Bytes;
    impl<'de> Visitor<'de> for Bytes {
        type Value = Vec<u8>;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("bytes")
        }

        fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Vec<u8>, E> {
            Ok(bytes.to_vec())
        }

        fn visit_byte_buf<E>(self, bytes: Vec<u8>) -> Result<Vec<u8>, E> {
            Ok(bytes)
        }
    }
    deserializer.deserialize_byte_buf(Bytes)
}
