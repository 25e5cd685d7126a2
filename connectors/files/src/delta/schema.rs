//! Columns out of the log's own words for them.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Fields, TimeUnit};

use maru_core::Result;
use object_store::path::Path;
use serde_json::Value;

use super::action::Metadata;
use super::features::Mapping;
use super::{LOG, corrupt, refused};

/// The most digits of a decimal.
const DIGITS_MAX: u8 = 38;

/// One column of the table.
#[derive(Debug, Clone)]
pub(super) struct Column {
    pub(super) field: Arc<Field>,
    /// What files and partition values call it.
    pub(super) physical: String,
}

/// The columns of a table: those in the files, and those whose values the log keeps.
#[derive(Debug, Clone)]
pub(super) struct Columns {
    pub(super) in_files: Vec<Column>,
    pub(super) partitions: Vec<Column>,
    /// The columns as they are declared, as indexes into those in the files followed by the others.
    pub(super) order: Vec<usize>,
}

/// Reads the columns of a table.
///
/// # Errors
/// XX001 for a schema that is not valid, 0A000 for a type that is not read.
pub(super) fn columns(table: &Path, metadata: &Metadata, mapping: Mapping) -> Result<Columns> {
    let log = table.clone().join(LOG);
    let schema = serde_json::from_str::<Value>(&metadata.schema_string)
        .map_err(|error| corrupt(&log, format!("its schema: {error}")))?;
    let types = Types { table, log: &log, mapping };
    let mut columns = types.fields(&schema)?;
    let declared = columns.iter().map(|column| column.field.name().clone()).collect::<Vec<_>>();
    let mut partitions = Vec::new();
    for name in &metadata.partition_columns {
        let at = columns.iter().position(|column| column.field.name() == name);
        let at =
            at.ok_or_else(|| corrupt(&log, format!("no column \"{name}\" to partition by")))?;
        let column = columns.remove(at);
        let data_type = column.field.data_type();
        if data_type.is_nested() || matches!(data_type, DataType::Binary) {
            return Err(refused(table, format!("partitions by column \"{name}\" of its type")));
        }
        partitions.push(column);
    }
    // The reader of Parquet makes views of texts at the top.
    for column in &mut columns {
        let view = match column.field.data_type() {
            DataType::Utf8 => DataType::Utf8View,
            DataType::Binary => DataType::BinaryView,
            _ => continue,
        };
        column.field = Arc::new(Field::new(column.field.name(), view, true));
    }
    let place =
        |name: &String| columns.iter().chain(&partitions).position(|c| c.field.name() == name);
    let order = declared.iter().filter_map(place).collect();
    Ok(Columns { in_files: columns, partitions, order })
}

/// Returns the columns that may not be NULL.
pub(super) fn not_null(metadata: &Metadata) -> HashSet<String> {
    let schema = serde_json::from_str::<Value>(&metadata.schema_string).unwrap_or_default();
    let fields = schema.get("fields").and_then(Value::as_array);
    fields
        .into_iter()
        .flatten()
        .filter(|field| field.get("nullable").and_then(Value::as_bool) == Some(false))
        .filter_map(|field| field.get("name")?.as_str().map(str::to_owned))
        .collect()
}

/// Reads the types of one table.
struct Types<'a> {
    table: &'a Path,
    log: &'a Path,
    mapping: Mapping,
}

impl Types<'_> {
    fn fields(&self, schema: &Value) -> Result<Vec<Column>> {
        let fields = schema.get("fields").and_then(Value::as_array);
        let fields = fields.ok_or_else(|| self.invalid("a structure without fields"))?;
        fields.iter().map(|field| self.column(field)).collect()
    }

    fn column(&self, field: &Value) -> Result<Column> {
        let name = field.get("name").and_then(Value::as_str);
        let name = name.ok_or_else(|| self.invalid("a column without a name"))?;
        let data_type = field.get("type").ok_or_else(|| self.invalid("a column without a type"))?;
        let physical = match self.mapping {
            Mapping::None => name,
            Mapping::Name => field
                .get("metadata")
                .and_then(|metadata| metadata.get("delta.columnMapping.physicalName"))
                .and_then(Value::as_str)
                .ok_or_else(|| self.invalid("a column without a physical name"))?,
        };
        // Writers keep a column that may not be NULL free of it; files are read the same either way.
        let field = Field::new(name, self.data_type(data_type)?, true);
        Ok(Column { field: Arc::new(field), physical: physical.to_owned() })
    }

    fn data_type(&self, described: &Value) -> Result<DataType> {
        if let Some(name) = described.as_str() {
            return self.plain(name);
        }
        let part = |key| described.get(key).ok_or_else(|| self.invalid("a type without its parts"));
        match described.get("type").and_then(Value::as_str) {
            Some("struct") => {
                let columns = self.fields(described)?;
                // Structures are read by the names inside of them, and files know the physical ones.
                if let Some(column) = columns.iter().find(|c| c.field.name() != &c.physical) {
                    let what =
                        format!("column mapping of \"{}\" in a structure", column.field.name());
                    return Err(refused(self.table, what));
                }
                Ok(DataType::Struct(columns.into_iter().map(|column| column.field).collect()))
            }
            Some("array") => {
                let element = self.data_type(part("elementType")?)?;
                Ok(DataType::List(Arc::new(Field::new("element", element, true))))
            }
            Some("map") => {
                let key = self.data_type(part("keyType")?)?;
                let value = self.data_type(part("valueType")?)?;
                let entries = Fields::from(vec![
                    Field::new("key", key, false),
                    Field::new("value", value, true),
                ]);
                let entries = Field::new("key_value", DataType::Struct(entries), false);
                Ok(DataType::Map(Arc::new(entries), false))
            }
            _ => Err(self.invalid("a type that is none")),
        }
    }

    fn plain(&self, name: &str) -> Result<DataType> {
        Ok(match name {
            "string" => DataType::Utf8,
            "long" => DataType::Int64,
            "integer" => DataType::Int32,
            "short" => DataType::Int16,
            "byte" => DataType::Int8,
            "float" => DataType::Float32,
            "double" => DataType::Float64,
            "boolean" => DataType::Boolean,
            "binary" => DataType::Binary,
            "date" => DataType::Date32,
            "timestamp" => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
            "timestamp_ntz" => DataType::Timestamp(TimeUnit::Microsecond, None),
            "decimal" => DataType::Decimal128(10, 0),
            other => match decimal(other) {
                Some((precision, scale)) => DataType::Decimal128(precision, scale),
                None => return Err(refused(self.table, format!("type \"{other}\""))),
            },
        })
    }

    fn invalid(&self, what: &str) -> maru_core::Error {
        corrupt(self.log, format!("its schema has {what}"))
    }
}

fn decimal(text: &str) -> Option<(u8, i8)> {
    let (precision, scale) = text.strip_prefix("decimal(")?.strip_suffix(')')?.split_once(',')?;
    let (precision, scale) = (precision.trim().parse().ok()?, scale.trim().parse().ok()?);
    let fits = (1..=DIGITS_MAX).contains(&precision)
        && scale >= 0
        && u8::try_from(scale).is_ok_and(|scale: u8| scale <= precision);
    fits.then_some((precision, scale))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(schema: Value, partitions: &[&str], mapping: Mapping) -> Result<Columns> {
        let metadata = serde_json::from_value(serde_json::json!({
            "schemaString": schema.to_string(), "partitionColumns": partitions
        }));
        columns(&Path::from("t"), &metadata.unwrap(), mapping)
    }

    fn field(name: &str, data_type: Value, physical: &str) -> Value {
        let metadata = serde_json::json!({"delta.columnMapping.physicalName": physical});
        serde_json::json!({"name": name, "type": data_type, "nullable": true, "metadata": metadata})
    }

    #[test]
    fn keeps_partitions_apart_and_knows_physical_names() {
        let schema = serde_json::json!({"type": "struct", "fields": [
            field("day", "date".into(), "col-1"),
            field("price", "decimal(12,2)".into(), "col-2"),
            field("tags", serde_json::json!({"type": "array", "elementType": "string"}), "col-3"),
        ]});
        let columns = read(schema, &["day"], Mapping::Name).unwrap();
        assert_eq!(columns.partitions[0].field.data_type(), &DataType::Date32);
        assert_eq!(columns.partitions[0].physical, "col-1");
        assert_eq!(columns.in_files[0].field.data_type(), &DataType::Decimal128(12, 2));
        assert_eq!(columns.in_files[1].physical, "col-3");
        assert_eq!(columns.order, [2, 0, 1]);
    }

    #[test]
    fn knows_what_may_not_be_null() {
        let mut id = field("id", "long".into(), "col-1");
        id["nullable"] = false.into();
        let schema = serde_json::json!({"type": "struct", "fields": [id, field("b", "long".into(), "col-2")]});
        let metadata =
            serde_json::json!({"schemaString": schema.to_string(), "partitionColumns": []});
        let metadata = serde_json::from_value::<Metadata>(metadata).unwrap();
        assert_eq!(not_null(&metadata), HashSet::from(["id".to_owned()]));
    }

    #[test]
    fn refuses_what_it_does_not_read() {
        let inside =
            serde_json::json!({"type": "struct", "fields": [field("b", "long".into(), "col-9")]});
        for (schema, state) in [
            (field("a", "variant".into(), "a"), "0A000"),
            (field("a", inside, "a"), "0A000"),
            (field("a", "decimal(40,2)".into(), "a"), "0A000"),
            (serde_json::json!({"name": "a"}), "XX001"),
        ] {
            let schema = serde_json::json!({"type": "struct", "fields": [schema]});
            assert_eq!(read(schema, &[], Mapping::Name).unwrap_err().sqlstate(), state);
        }
        let error = read(serde_json::json!({}), &[], Mapping::None).unwrap_err();
        assert_eq!(error.sqlstate(), "XX001");
    }
}
