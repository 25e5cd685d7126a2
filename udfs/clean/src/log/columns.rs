//! What a line is made of: typed parts, and the columns they are collected in.

use std::borrow::Cow;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, Float64Builder, Int32Builder, Int64Builder, StringBuilder, StructArray,
    TimestampMicrosecondBuilder,
};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{DataType, Fields, TimeUnit};
use maru_core::{Error, Result};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    /// `integer`
    Short,
    /// `bigint`
    Long,
    Number,
    /// `timestamptz`
    Time,
}

impl Kind {
    pub(super) fn data_type(self) -> DataType {
        match self {
            Self::Text => DataType::Utf8,
            Self::Short => DataType::Int32,
            Self::Long => DataType::Int64,
            Self::Number => DataType::Float64,
            Self::Time => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        }
    }
}

/// A part of a line; times are microseconds since 1970.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Part<'a> {
    Null,
    Text(Cow<'a, str>),
    Integer(i64),
    Number(f64),
}

enum Builder {
    Text(StringBuilder),
    Short(Int32Builder),
    Long(Int64Builder),
    Number(Float64Builder),
    Time(TimestampMicrosecondBuilder),
}

pub(super) struct Builders {
    columns: Vec<Builder>,
    valid: Vec<bool>,
}

impl Builders {
    pub(super) fn new(columns: &[(String, Kind)], n_rows: usize) -> Self {
        let columns = columns.iter().map(|(_, kind)| match kind {
            Kind::Text => Builder::Text(StringBuilder::with_capacity(n_rows, n_rows * 16)),
            Kind::Short => Builder::Short(Int32Builder::with_capacity(n_rows)),
            Kind::Long => Builder::Long(Int64Builder::with_capacity(n_rows)),
            Kind::Number => Builder::Number(Float64Builder::with_capacity(n_rows)),
            Kind::Time => {
                let builder = TimestampMicrosecondBuilder::with_capacity(n_rows);
                Builder::Time(builder.with_timezone("UTC"))
            }
        });
        Self { columns: columns.collect(), valid: Vec::with_capacity(n_rows) }
    }

    pub(super) fn null(&mut self) {
        self.valid.push(false);
        self.columns.iter_mut().for_each(|column| column.append(Part::Null));
    }

    /// Takes the parts of a line, one for each column.
    pub(super) fn append(&mut self, parts: &mut Vec<Part<'_>>) {
        self.valid.push(true);
        for (column, part) in self.columns.iter_mut().zip(parts.drain(..)) {
            column.append(part);
        }
    }

    pub(super) fn finish(mut self, fields: Fields) -> Result<StructArray> {
        let arrays = self.columns.iter_mut().map(Builder::finish).collect();
        StructArray::try_new(fields, arrays, Some(NullBuffer::from(self.valid))).map_err(|error| {
            Error::internal("parts of lines do not fit together").with_cause(error)
        })
    }
}

impl Builder {
    fn append(&mut self, part: Part<'_>) {
        match (self, part) {
            (Self::Text(builder), Part::Text(text)) => builder.append_value(text),
            (Self::Text(builder), _) => builder.append_null(),
            (Self::Short(builder), Part::Integer(n)) => {
                builder.append_option(i32::try_from(n).ok())
            }
            (Self::Short(builder), _) => builder.append_null(),
            (Self::Long(builder), Part::Integer(n)) => builder.append_value(n),
            (Self::Long(builder), _) => builder.append_null(),
            (Self::Number(builder), Part::Number(n)) => builder.append_value(n),
            (Self::Number(builder), _) => builder.append_null(),
            (Self::Time(builder), Part::Integer(micros)) => builder.append_value(micros),
            (Self::Time(builder), _) => builder.append_null(),
        }
    }

    fn finish(&mut self) -> ArrayRef {
        match self {
            Self::Text(builder) => Arc::new(builder.finish()),
            Self::Short(builder) => Arc::new(builder.finish()),
            Self::Long(builder) => Arc::new(builder.finish()),
            Self::Number(builder) => Arc::new(builder.finish()),
            Self::Time(builder) => Arc::new(builder.finish()),
        }
    }
}
