//! The types clients are shown: those that every version of every driver reads.
//!
//! Views, dictionaries and run-length encoding become plain arrays, and every column may be NULL, so that what was
//! advertised is always what is streamed; some drivers compare the two.

use std::sync::Arc;

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use maru_core::{Error, Result};

pub(super) fn outgoing(schema: &Schema) -> SchemaRef {
    let fields = schema.fields().iter().map(|field| outgoing_field(field).with_nullable(true));
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

fn outgoing_field(field: &Field) -> Field {
    Field::new(field.name(), outgoing_type(field.data_type()), field.is_nullable())
        .with_metadata(field.metadata().clone())
}

pub(super) fn outgoing_type(data_type: &DataType) -> DataType {
    let item = |field: &FieldRef| Arc::new(outgoing_field(field));
    match data_type {
        DataType::Utf8View => DataType::Utf8,
        DataType::BinaryView => DataType::Binary,
        DataType::Dictionary(_, value) => outgoing_type(value),
        DataType::RunEndEncoded(_, value) => outgoing_type(value.data_type()),
        DataType::List(field) | DataType::ListView(field) => DataType::List(item(field)),
        DataType::LargeList(field) | DataType::LargeListView(field) => {
            DataType::LargeList(item(field))
        }
        DataType::FixedSizeList(field, length) => DataType::FixedSizeList(item(field), *length),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(item).collect()),
        DataType::Map(entries, sorted) => DataType::Map(item(entries), *sorted),
        other => other.clone(),
    }
}

/// Brings a batch to the schema that was advertised.
pub(super) fn convert(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
    if batch.num_columns() != schema.fields().len() {
        return Err(Error::internal(format!(
            "the result has {} columns but was described with {}",
            batch.num_columns(),
            schema.fields().len()
        )));
    }
    let options = CastOptions { safe: false, ..Default::default() };
    let columns = schema.fields().iter().zip(batch.columns()).map(|(field, column)| {
        if column.data_type() == field.data_type() {
            return Ok(column.clone());
        }
        cast_with_options(column, field.data_type(), &options).map_err(Error::from)
    });
    let columns = columns.collect::<Result<Vec<_>>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(schema.clone(), columns, &options).map_err(Error::from)
}

#[cfg(test)]
mod tests {
    use arrow::array::{ArrayRef, AsArray, Int8Array, ListBuilder, StringViewBuilder};
    use arrow::array::{DictionaryArray, StringArray};

    use super::*;

    #[test]
    fn what_is_advertised_is_what_is_sent() {
        let mut list = ListBuilder::new(StringViewBuilder::new());
        list.append_value([Some("a"), None]);
        let words: ArrayRef = Arc::new(StringArray::from(vec!["x"]));
        let keys = DictionaryArray::new(Int8Array::from(vec![0]), words);
        let batch = RecordBatch::try_from_iter([
            ("list", Arc::new(list.finish()) as ArrayRef),
            ("word", Arc::new(keys) as ArrayRef),
        ])
        .unwrap();
        let schema = outgoing(&batch.schema());
        let sent = convert(&batch, &schema).unwrap();
        assert_eq!(sent.schema(), schema);
        assert!(schema.fields().iter().all(|field| field.is_nullable()));
        assert_eq!(sent.column(1).as_string::<i32>().value(0), "x");
        assert_eq!(sent.column(0).as_list::<i32>().value(0).data_type(), &DataType::Utf8);
    }

    #[test]
    fn rows_without_columns_are_counted() {
        let options = RecordBatchOptions::new().with_row_count(Some(3));
        let schema = Arc::new(Schema::empty());
        let batch = RecordBatch::try_new_with_options(schema.clone(), vec![], &options).unwrap();
        assert_eq!(convert(&batch, &schema).unwrap().num_rows(), 3);
    }
}
