//! Texts that are declared with a length, `varchar(n)` and `char(n)`.
//!
//! Files hold any text. It is taken into such a column as PostgreSQL takes it from a file: one that is longer is an error, blanks
//! beyond the length are left out, and those at the end of a `char(n)` do not count, so that they are left out whoever filled it up.
//! What files tell of such columns (bounds, order) is told of other texts and leaves nothing out.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayAccessor, ArrayIter, ArrayRef, AsArray, LargeStringArray, RecordBatch,
    RecordBatchOptions,
};
use arrow::datatypes::{DataType, Field, Schema};
use datafusion::common::ScalarValue;
use maru_core::{Error, ErrorKind, Result};

use super::fitting;
use crate::LENGTH_KEY;

/// What the texts of a column may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct TextLength {
    /// Characters; `None` for any number.
    limit: Option<usize>,
    /// Blanks at the end do not count.
    padded: bool,
}

impl TextLength {
    /// Reads [`LENGTH_KEY`]'s `varchar:10`.
    fn parse(text: &str) -> Option<Self> {
        let (kind, limit) = text.split_once(':')?;
        let padded = match kind {
            "varchar" => false,
            "char" => true,
            _ => return None,
        };
        Some(Self { limit: Some(limit.parse().ok()?), padded })
    }

    /// Returns the text as the column has it.
    ///
    /// # Errors
    /// 22001 if it is longer.
    fn text(self, text: &str) -> Result<&str> {
        let text = if self.padded { text.trim_end_matches(' ') } else { text };
        let Some(limit) = self.limit.filter(|limit| text.len() > *limit) else { return Ok(text) };
        let Some((end, _)) = text.char_indices().nth(limit) else { return Ok(text) };
        let (kept, rest) = text.split_at(end);
        if rest.bytes().all(|byte| byte == b' ') {
            return Ok(kept);
        }
        Err(Error::new(ErrorKind::TextTooLong, format!("value too long for type {self}"))
            .with_hint("Declare the column as text, and cut it off in a view: left(column, n)."))
    }

    /// Returns texts as the column has them, whatever array they are in.
    ///
    /// # Errors
    /// 22001 for one that is longer.
    pub(super) fn fit(self, values: &ArrayRef) -> Result<ArrayRef> {
        let changed = match values.data_type() {
            DataType::Utf8 => self.texts(values.as_string::<i32>())?,
            DataType::LargeUtf8 => self.texts(values.as_string::<i64>())?,
            DataType::Utf8View => self.texts(values.as_string_view())?,
            _ => None,
        };
        match changed {
            Some(texts) => fitting::cast(&(Arc::new(texts) as ArrayRef), values.data_type()),
            None => Ok(Arc::clone(values)),
        }
    }

    /// Returns the texts if one of them is another than it was.
    fn texts<'a, A>(self, texts: A) -> Result<Option<LargeStringArray>>
    where
        A: ArrayAccessor<Item = &'a str> + Copy,
    {
        let mut is_changed = false;
        for text in ArrayIter::new(texts).flatten() {
            is_changed |= self.text(text)?.len() != text.len();
        }
        if !is_changed {
            return Ok(None);
        }
        let fitted = ArrayIter::new(texts).map(|text| text.map(|text| self.text(text)).transpose());
        fitted.collect::<Result<LargeStringArray>>().map(Some)
    }
}

impl fmt::Display for TextLength {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.padded { "character" } else { "character varying" })?;
        match self.limit {
            Some(limit) => write!(f, "({limit})"),
            None => Ok(()),
        }
    }
}

/// The columns of a table whose texts have a length, by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TextLengths(BTreeMap<String, TextLength>);

impl TextLengths {
    /// Reads the lengths of columns that are declared as fields with [`LENGTH_KEY`]; `None` if there are none.
    pub fn of<'a>(columns: impl IntoIterator<Item = (&'a str, &'a Field)>) -> Option<Arc<Self>> {
        let length = |(name, field): (&str, &Field)| {
            let told = field.metadata().get(LENGTH_KEY)?;
            Some((name.to_owned(), TextLength::parse(told)?))
        };
        Self::some(columns.into_iter().filter_map(length).collect())
    }

    /// Returns those of columns at whose texts' ends blanks do not count, however long the texts are.
    pub fn padded(columns: impl IntoIterator<Item = String>) -> Option<Arc<Self>> {
        let length = TextLength { limit: None, padded: true };
        Self::some(columns.into_iter().map(|name| (name, length)).collect())
    }

    fn some(lengths: BTreeMap<String, TextLength>) -> Option<Arc<Self>> {
        (!lengths.is_empty()).then(|| Arc::new(Self(lengths)))
    }

    /// Returns whether a column has a length.
    pub fn has(&self, column: &str) -> bool {
        self.0.contains_key(column)
    }

    /// Returns the length of a column.
    pub(super) fn get(&self, column: &str) -> Option<TextLength> {
        self.0.get(column).copied()
    }

    /// Puts the lengths back to the fields of a schema, where [`TextLengths::of`] finds them.
    pub fn told_in(&self, schema: &Schema) -> Schema {
        let fields = schema.fields().iter().map(|field| {
            let mut field = Field::clone(field);
            if let Some(TextLength { limit: Some(limit), padded }) = self.get(field.name()) {
                let kind = if padded { "char" } else { "varchar" };
                field.metadata_mut().insert(LENGTH_KEY.to_owned(), format!("{kind}:{limit}"));
            }
            field
        });
        Schema::new_with_metadata(fields.collect::<Vec<_>>(), schema.metadata().clone())
    }

    /// Returns one value of a column as the column has it.
    ///
    /// # Errors
    /// 22001 for a text that is longer.
    pub fn value(&self, column: &str, value: ScalarValue) -> Result<ScalarValue> {
        let (Some(length), Some(Some(text))) = (self.get(column), value.try_as_str()) else {
            return Ok(value);
        };
        let fitted = length.text(text).map_err(|error| error.or_context("column", column))?;
        Ok(ScalarValue::try_from_string(fitted.to_owned(), &value.data_type())?)
    }
}

/// Brings the texts of a batch of a table's columns to the lengths that are declared.
///
/// # Errors
/// 22001 for one that is longer, with its column.
pub(super) fn fit(lengths: Option<&TextLengths>, batch: RecordBatch) -> Result<RecordBatch> {
    let Some(lengths) = lengths else { return Ok(batch) };
    let schema = batch.schema();
    let columns = schema.fields().iter().zip(batch.columns()).map(|(field, column)| {
        let Some(length) = lengths.get(field.name()) else { return Ok(Arc::clone(column)) };
        length.fit(column).map_err(|error| error.or_context("column", field.name()))
    });
    let columns = columns.collect::<Result<Vec<_>>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    Ok(RecordBatch::try_new_with_options(schema, columns, &options)?)
}

#[cfg(test)]
mod tests {
    use arrow::array::{StringArray, StringViewArray};

    use super::*;

    fn length(text: &str) -> TextLength {
        TextLength::parse(text).unwrap()
    }

    #[test]
    fn texts_are_taken_as_postgresql_takes_them() {
        for (of, text, wanted) in [
            ("varchar:3", "abc", Some("abc")),
            ("varchar:3", "ab ", Some("ab ")),
            ("varchar:3", "abc  ", Some("abc")),
            ("varchar:3", "ab   ", Some("ab ")),
            ("varchar:3", "한글은", Some("한글은")),
            ("varchar:3", "한글은 ", Some("한글은")),
            ("varchar:3", "abcd", None),
            ("varchar:3", "abc x", None),
            ("varchar:3", "abc\t", None),
            ("char:3", "a", Some("a")),
            ("char:3", "a  ", Some("a")),
            ("char:3", "a        ", Some("a")),
            ("char:3", "a\t", Some("a\t")),
            ("char:3", "abcd", None),
        ] {
            let found = length(of).text(text);
            match (found, wanted) {
                (Ok(found), Some(wanted)) => assert_eq!(found, wanted, "{of} {text:?}"),
                (Err(error), None) => assert_eq!(error.sqlstate(), "22001", "{of} {text:?}"),
                (found, _) => panic!("{of} {text:?}: {found:?}"),
            }
        }
        let error = length("varchar:3").text("abcd").unwrap_err();
        assert_eq!(error.primary(), "value too long for type character varying(3)");
        let error = length("char:3").text("abcd").unwrap_err();
        assert_eq!(error.primary(), "value too long for type character(3)");
        for text in ["varchar", "varchar:", "text:3", "char:x"] {
            assert_eq!(TextLength::parse(text), None, "{text}");
        }
    }

    #[test]
    fn arrays_keep_their_type() {
        let plain: ArrayRef = Arc::new(StringArray::from(vec![Some("a  "), None, Some("bc")]));
        let views: ArrayRef = Arc::new(StringViewArray::from(vec![Some("a  "), None, Some("bc")]));
        for values in [plain, views] {
            let fitted = length("char:2").fit(&values).unwrap();
            assert_eq!(fitted.data_type(), values.data_type());
            let texts = fitting::cast(&fitted, &DataType::Utf8).unwrap();
            let texts = texts.as_string::<i32>().iter().collect::<Vec<_>>();
            assert_eq!(texts, [Some("a"), None, Some("bc")]);
            assert!(length("char:1").fit(&values).is_err());
        }
    }

    #[test]
    fn lengths_are_kept_with_fields() {
        let schema = Schema::new(vec![
            Field::new("a", DataType::Utf8, true),
            Field::new("b", DataType::Utf8, true),
        ]);
        let lengths = TextLengths(BTreeMap::from([("b".to_owned(), length("char:5"))]));
        let told = lengths.told_in(&schema);
        let read = TextLengths::of(
            told.fields().iter().map(|field| (field.name().as_str(), field.as_ref())),
        );
        assert_eq!(read.as_deref(), Some(&lengths));
        let none = TextLengths::of(
            schema.fields().iter().map(|field| (field.name().as_str(), field.as_ref())),
        );
        assert_eq!(none, None);
        let value = lengths.value("b", ScalarValue::Utf8(Some("x  ".to_owned()))).unwrap();
        assert_eq!(value, ScalarValue::Utf8(Some("x".to_owned())));
        let value = lengths.value("b", ScalarValue::Utf8View(Some("x  ".to_owned()))).unwrap();
        assert_eq!(value, ScalarValue::Utf8View(Some("x".to_owned())));
    }
}
