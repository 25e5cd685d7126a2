//! The few messages of ONNX's protobuf format that a model needs, written field by field.

/// A message under construction.
#[derive(Debug, Clone, Default)]
pub(super) struct Message(pub(super) Vec<u8>);

impl Message {
    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push((value as u8) | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    pub(super) fn int(mut self, field: u32, value: i64) -> Self {
        self.varint(u64::from(field) << 3);
        self.varint(value as u64);
        self
    }

    pub(super) fn bytes(mut self, field: u32, value: &[u8]) -> Self {
        self.varint(u64::from(field) << 3 | 2);
        self.varint(value.len() as u64);
        self.0.extend_from_slice(value);
        self
    }

    pub(super) fn text(self, field: u32, value: &str) -> Self {
        self.bytes(field, value.as_bytes())
    }

    pub(super) fn message(self, field: u32, value: &Self) -> Self {
        self.bytes(field, &value.0)
    }
}

/// Types of tensors.
pub(super) const INT64: i64 = 7;
pub(super) const STRING: i64 = 8;
pub(super) const BOOL: i64 = 9;
pub(super) const DOUBLE: i64 = 11;

fn tensor(name: &str, dims: &[usize], data_type: i64) -> Message {
    let message = dims.iter().fold(Message::default(), |m, dim| m.int(1, *dim as i64));
    message.int(2, data_type).text(8, name)
}

pub(super) fn doubles(name: &str, dims: &[usize], values: &[f64]) -> Message {
    let raw = values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<_>>();
    tensor(name, dims, DOUBLE).bytes(9, &raw)
}

pub(super) fn integers(name: &str, dims: &[usize], values: &[i64]) -> Message {
    let raw = values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<_>>();
    tensor(name, dims, INT64).bytes(9, &raw)
}

pub(super) fn strings<'a>(
    name: &str,
    dims: &[usize],
    values: impl Iterator<Item = &'a str>,
) -> Message {
    values.fold(tensor(name, dims, STRING), |message, value| message.text(6, value))
}

/// What an operator is told.
#[derive(Debug, Clone)]
pub(super) enum Attribute {
    Int(i64),
    Text(&'static str),
    Tensor(Message),
    Ints(Vec<i64>),
    Texts(Vec<String>),
}

pub(super) fn attribute(name: &str, value: &Attribute) -> Message {
    let message = Message::default().text(1, name);
    match value {
        Attribute::Int(value) => message.int(3, *value).int(20, 2),
        Attribute::Text(value) => message.text(4, value).int(20, 3),
        Attribute::Tensor(value) => message.message(5, value).int(20, 4),
        Attribute::Ints(values) => values.iter().fold(message, |m, v| m.int(8, *v)).int(20, 7),
        Attribute::Texts(values) => values.iter().fold(message, |m, v| m.text(9, v)).int(20, 8),
    }
}

/// The name and type of an input or output: rows by `width`, or rows alone.
pub(super) fn value_info(name: &str, data_type: i64, width: Option<usize>) -> Message {
    let rows = Message::default().text(2, "rows");
    let mut shape = Message::default().message(1, &rows);
    if let Some(width) = width {
        shape = shape.message(1, &Message::default().int(1, width as i64));
    }
    let tensor = Message::default().int(1, data_type).message(2, &shape);
    Message::default().text(1, name).message(2, &Message::default().message(1, &tensor))
}
