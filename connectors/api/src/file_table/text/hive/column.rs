//! Columns under construction, nested to any depth.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryBuilder, BooleanBuilder, Date32Builder, Decimal128Builder, Float32Builder,
    Float64Builder, Int8Builder, Int16Builder, Int32Builder, Int64Builder, ListArray, MapArray,
    NullBufferBuilder, StringBuilder, StructArray, TimestampMicrosecondBuilder,
};
use arrow::buffer::{OffsetBuffer, ScalarBuffer};
use arrow::datatypes::{DataType, FieldRef, Fields, TimeUnit};
use maru_core::{Error, Result};

use super::value::Leaf;

/// A column that values are appended to.
pub(super) struct Column {
    data_type: DataType,
    pub(super) values: Values,
}

/// What is appended, by the kind of the type.
pub(super) enum Values {
    Leaf(LeafBuilder),
    List(ListBuilder),
    Map(MapBuilder),
    Struct(StructBuilder),
}

pub(super) enum LeafBuilder {
    Boolean(BooleanBuilder),
    Int8(Int8Builder),
    Int16(Int16Builder),
    Int32(Int32Builder),
    Int64(Int64Builder),
    Float32(Float32Builder),
    Float64(Float64Builder),
    Decimal(Decimal128Builder),
    Text(StringBuilder),
    Binary(BinaryBuilder),
    Date(Date32Builder),
    Timestamp(TimestampMicrosecondBuilder),
}

pub(super) struct ListBuilder {
    field: FieldRef,
    ends: Vec<i32>,
    valid: NullBufferBuilder,
    pub(super) items: Box<Column>,
}

pub(super) struct MapBuilder {
    entries: FieldRef,
    fields: Fields,
    ends: Vec<i32>,
    valid: NullBufferBuilder,
    pub(super) keys: Box<Column>,
    pub(super) values: Box<Column>,
}

pub(super) struct StructBuilder {
    pub(super) fields: Fields,
    valid: NullBufferBuilder,
    pub(super) columns: Vec<Column>,
}

impl Column {
    /// # Errors
    /// 0A000 for a type that text does not hold.
    pub(super) fn new(data_type: &DataType) -> Result<Self> {
        let leaf = |builder| Ok::<_, Error>(Values::Leaf(builder));
        let values = match data_type {
            DataType::Boolean => leaf(LeafBuilder::Boolean(BooleanBuilder::new())),
            DataType::Int8 => leaf(LeafBuilder::Int8(Int8Builder::new())),
            DataType::Int16 => leaf(LeafBuilder::Int16(Int16Builder::new())),
            DataType::Int32 => leaf(LeafBuilder::Int32(Int32Builder::new())),
            DataType::Int64 => leaf(LeafBuilder::Int64(Int64Builder::new())),
            DataType::Float32 => leaf(LeafBuilder::Float32(Float32Builder::new())),
            DataType::Float64 => leaf(LeafBuilder::Float64(Float64Builder::new())),
            DataType::Decimal128(..) => leaf(LeafBuilder::Decimal(
                Decimal128Builder::new().with_data_type(data_type.clone()),
            )),
            DataType::Utf8 => leaf(LeafBuilder::Text(StringBuilder::new())),
            DataType::Binary => leaf(LeafBuilder::Binary(BinaryBuilder::new())),
            DataType::Date32 => leaf(LeafBuilder::Date(Date32Builder::new())),
            DataType::Timestamp(TimeUnit::Microsecond, _) => leaf(LeafBuilder::Timestamp(
                TimestampMicrosecondBuilder::new().with_data_type(data_type.clone()),
            )),
            DataType::List(field) => Ok(Values::List(ListBuilder {
                field: Arc::clone(field),
                ends: vec![0],
                valid: NullBufferBuilder::new(0),
                items: Box::new(Self::new(field.data_type())?),
            })),
            DataType::Map(entries, _) => Ok(Values::Map(MapBuilder::new(entries)?)),
            DataType::Struct(fields) => Ok(Values::Struct(StructBuilder {
                fields: fields.clone(),
                valid: NullBufferBuilder::new(0),
                columns: fields
                    .iter()
                    .map(|field| Self::new(field.data_type()))
                    .collect::<Result<_>>()?,
            })),
            other => Err(Error::unsupported(format!("{other} cannot be read from text"))),
        }?;
        Ok(Self { data_type: data_type.clone(), values })
    }

    pub(super) fn data_type(&self) -> &DataType {
        &self.data_type
    }

    /// Returns how many values were appended.
    pub(super) fn len(&self) -> usize {
        match &self.values {
            Values::Leaf(leaf) => leaf.len(),
            Values::List(list) => list.valid.len(),
            Values::Map(map) => map.valid.len(),
            Values::Struct(fields) => fields.valid.len(),
        }
    }

    pub(super) fn append_null(&mut self) -> Result<()> {
        match &mut self.values {
            Values::Leaf(leaf) => leaf.append(None),
            Values::List(list) => list.close(false),
            Values::Map(map) => map.close(false),
            Values::Struct(fields) => {
                for column in &mut fields.columns {
                    column.append_null()?;
                }
                fields.close(false);
                Ok(())
            }
        }
    }

    /// Appends a value that is not nested.
    pub(super) fn append(&mut self, value: Option<Leaf<'_>>) -> Result<()> {
        match &mut self.values {
            Values::Leaf(leaf) => leaf.append(value),
            _ => Err(Error::internal("a nested column was given a plain value")),
        }
    }

    /// Returns what was appended, and begins anew.
    pub(super) fn finish(&mut self) -> Result<ArrayRef> {
        Ok(match &mut self.values {
            Values::Leaf(leaf) => leaf.finish(),
            Values::List(list) => {
                let offsets = offsets(&mut list.ends);
                let items = list.items.finish()?;
                let field = Arc::clone(&list.field);
                Arc::new(ListArray::try_new(field, offsets, items, list.valid.finish())?)
            }
            Values::Map(map) => {
                let offsets = offsets(&mut map.ends);
                let columns = vec![map.keys.finish()?, map.values.finish()?];
                let entries = StructArray::try_new(map.fields.clone(), columns, None)?;
                let field = Arc::clone(&map.entries);
                Arc::new(MapArray::try_new(field, offsets, entries, map.valid.finish(), false)?)
            }
            Values::Struct(fields) => {
                let n_rows = fields.valid.len();
                let columns = fields.columns.iter_mut().map(Self::finish);
                let columns = columns.collect::<Result<Vec<_>>>()?;
                let valid = fields.valid.finish();
                let schema = fields.fields.clone();
                Arc::new(StructArray::try_new_with_length(schema, columns, valid, n_rows)?)
            }
        })
    }
}

fn offsets(ends: &mut Vec<i32>) -> OffsetBuffer<i32> {
    OffsetBuffer::new(ScalarBuffer::from(std::mem::replace(ends, vec![0])))
}

fn end_of(items: &Column) -> Result<i32> {
    i32::try_from(items.len()).map_err(|_| Error::internal("a batch has too many nested values"))
}

impl ListBuilder {
    /// Ends a list after its items; a list that is NULL has none.
    pub(super) fn close(&mut self, valid: bool) -> Result<()> {
        self.ends.push(end_of(&self.items)?);
        self.valid.append(valid);
        Ok(())
    }
}

impl MapBuilder {
    fn new(entries: &FieldRef) -> Result<Self> {
        let DataType::Struct(fields) = entries.data_type() else {
            return Err(Error::internal("a map without entries"));
        };
        let [key, value] = fields.as_ref() else {
            return Err(Error::internal("a map has keys and values"));
        };
        if key.data_type().is_nested() {
            return Err(Error::unsupported(
                "maps whose keys are arrays, maps or structs cannot be read from text",
            ));
        }
        Ok(Self {
            entries: Arc::clone(entries),
            fields: fields.clone(),
            ends: vec![0],
            valid: NullBufferBuilder::new(0),
            keys: Box::new(Column::new(key.data_type())?),
            values: Box::new(Column::new(value.data_type())?),
        })
    }

    /// Ends a map after its keys and values; a map that is NULL has none.
    pub(super) fn close(&mut self, valid: bool) -> Result<()> {
        self.ends.push(end_of(&self.keys)?);
        self.valid.append(valid);
        Ok(())
    }
}

impl StructBuilder {
    /// Ends a struct, each of whose columns was given one value.
    pub(super) fn close(&mut self, valid: bool) {
        self.valid.append(valid);
    }
}

/// Does `$body` with the builder of `$leaf`, whichever it is.
macro_rules! each_builder {
    ($leaf:expr, $builder:ident => $body:expr) => {
        match $leaf {
            LeafBuilder::Boolean($builder) => $body,
            LeafBuilder::Int8($builder) => $body,
            LeafBuilder::Int16($builder) => $body,
            LeafBuilder::Int32($builder) => $body,
            LeafBuilder::Int64($builder) => $body,
            LeafBuilder::Float32($builder) => $body,
            LeafBuilder::Float64($builder) => $body,
            LeafBuilder::Decimal($builder) => $body,
            LeafBuilder::Text($builder) => $body,
            LeafBuilder::Binary($builder) => $body,
            LeafBuilder::Date($builder) => $body,
            LeafBuilder::Timestamp($builder) => $body,
        }
    };
}

impl LeafBuilder {
    fn len(&self) -> usize {
        use arrow::array::ArrayBuilder;
        each_builder!(self, builder => builder.len())
    }

    fn finish(&mut self) -> ArrayRef {
        each_builder!(self, builder => Arc::new(builder.finish()))
    }

    fn append(&mut self, value: Option<Leaf<'_>>) -> Result<()> {
        let Some(value) = value else {
            each_builder!(self, builder => builder.append_null());
            return Ok(());
        };
        let too_wide = |_| Error::internal("an integer is wider than its column");
        match (self, value) {
            (Self::Boolean(builder), Leaf::Boolean(value)) => builder.append_value(value),
            (Self::Int8(builder), Leaf::Integer(value)) => {
                builder.append_value(i8::try_from(value).map_err(too_wide)?);
            }
            (Self::Int16(builder), Leaf::Integer(value)) => {
                builder.append_value(i16::try_from(value).map_err(too_wide)?);
            }
            (Self::Int32(builder), Leaf::Integer(value)) => {
                builder.append_value(i32::try_from(value).map_err(too_wide)?);
            }
            (Self::Int64(builder), Leaf::Integer(value)) => builder.append_value(value),
            (Self::Float32(builder), Leaf::Float32(value)) => builder.append_value(value),
            (Self::Float64(builder), Leaf::Float64(value)) => builder.append_value(value),
            (Self::Decimal(builder), Leaf::Decimal(value)) => builder.append_value(value),
            (Self::Text(builder), Leaf::Text(text)) => builder.append_value(text),
            (Self::Binary(builder), Leaf::Binary(bytes)) => builder.append_value(bytes),
            (Self::Date(builder), Leaf::Date(value)) => builder.append_value(value),
            (Self::Timestamp(builder), Leaf::Timestamp(value)) => builder.append_value(value),
            _ => return Err(Error::internal("a value of another type than its column")),
        }
        Ok(())
    }
}
