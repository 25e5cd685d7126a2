//! The types clients are shown: those that every version of every driver reads.
//!
//! Views, dictionaries and run-length encoding become plain arrays, and every column may be NULL, so that what was
//! advertised is always what is streamed; some drivers compare the two. A client that reads dictionaries asks for them
//! (`flight_dictionaries`).

use std::sync::Arc;

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use maru_core::{Error, Result};

/// Which columns of a result travel as dictionaries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dictionaries {
    None,
    /// Those that are dictionaries.
    Keep,
    /// Those, and all of text.
    Text,
}

/// Returns the columns as a client is sent them.
pub(super) fn outgoing(schema: &Schema, dictionaries: Dictionaries) -> SchemaRef {
    let fields = schema.fields().iter().map(|field| {
        let encoded = encoded_type(field.data_type(), dictionaries);
        let data_type = encoded.unwrap_or_else(|| outgoing_type(field.data_type()));
        outgoing_field(field).with_data_type(data_type).with_nullable(true)
    });
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

/// Returns the dictionary that a column travels as; `None` for a plain one.
fn encoded_type(data_type: &DataType, dictionaries: Dictionaries) -> Option<DataType> {
    let dictionary = |key: DataType, value| DataType::Dictionary(Box::new(key), Box::new(value));
    match (dictionaries, data_type) {
        (Dictionaries::None, _) => None,
        (Dictionaries::Keep, DataType::Dictionary(key, value)) => {
            Some(dictionary(key.as_ref().clone(), outgoing_type(value)))
        }
        (Dictionaries::Keep, _) => None,
        // One type for all of text, whatever it was here.
        (Dictionaries::Text, DataType::Dictionary(_, value)) if value.is_string() => {
            encoded_type(value, dictionaries)
        }
        (Dictionaries::Text, text) if text.is_string() => {
            Some(dictionary(DataType::Int32, DataType::Utf8))
        }
        (Dictionaries::Text, other) => encoded_type(other, Dictionaries::Keep),
    }
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
        let schema = outgoing(&batch.schema(), Dictionaries::None);
        let sent = convert(&batch, &schema).unwrap();
        assert_eq!(sent.schema(), schema);
        assert!(schema.fields().iter().all(|field| field.is_nullable()));
        assert_eq!(sent.column(1).as_string::<i32>().value(0), "x");
        assert_eq!(sent.column(0).as_list::<i32>().value(0).data_type(), &DataType::Utf8);
    }

    #[test]
    fn dictionaries_are_sent_to_whoever_asks_for_them() {
        let words: ArrayRef = Arc::new(StringArray::from(vec!["x", "y"]));
        let keys = DictionaryArray::new(Int8Array::from(vec![Some(1), None, Some(1)]), words);
        let mut views = StringViewBuilder::new();
        views.extend([Some("a"), Some("a"), None]);
        let numbers: ArrayRef = Arc::new(Int8Array::from(vec![1, 2, 3]));
        let batch = RecordBatch::try_from_iter([
            ("word", Arc::new(keys) as ArrayRef),
            ("text", Arc::new(views.finish()) as ArrayRef),
            ("number", numbers),
        ])
        .unwrap();
        let types = |dictionaries| {
            let schema = outgoing(&batch.schema(), dictionaries);
            let sent = convert(&batch, &schema).unwrap();
            assert_eq!(sent.schema(), schema);
            let plain = outgoing(&batch.schema(), Dictionaries::None);
            let read = convert(&sent, &plain).unwrap();
            assert_eq!(read, convert(&batch, &plain).unwrap());
            schema.fields().iter().map(|field| field.data_type().to_string()).collect::<Vec<_>>()
        };
        assert_eq!(types(Dictionaries::Keep), ["Dictionary(Int8, Utf8)", "Utf8", "Int8"]);
        let text = "Dictionary(Int32, Utf8)";
        assert_eq!(types(Dictionaries::Text), [text, text, "Int8"]);
    }

    #[test]
    fn rows_without_columns_are_counted() {
        let options = RecordBatchOptions::new().with_row_count(Some(3));
        let schema = Arc::new(Schema::empty());
        let batch = RecordBatch::try_new_with_options(schema.clone(), vec![], &options).unwrap();
        assert_eq!(convert(&batch, &schema).unwrap().num_rows(), 3);
    }
}
