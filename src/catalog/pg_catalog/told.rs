//! `pg_class`, `pg_attribute`, `pg_namespace` and `pg_database` with what the library does not know: owners, access control lists, row
//! level security, the length and precision of columns' types.
//!
//! The library makes the rows, and gives out the numbers of what is in them; here columns are put into the place of those that it fills
//! with zeros, and others added where PostgreSQL has them. All that it takes of a column is its name and a kind of type, so what else
//! there is to tell of one travels in its name ([`packed`]).

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Int16Array, Int32Array, ListBuilder, RecordBatch,
    StringArray, StringBuilder, new_null_array,
};
use arrow::compute::concat_batches;
use arrow::datatypes::{DataType, Field, FieldRef, Int32Type, Schema, SchemaRef};
use datafusion::error::Result as DfResult;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::common::collect;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::PartitionStream;

use super::Facts;
use super::packed::{self, Packed};
use super::typed::{oid, texts};
use crate::access::{Object, Rights, acl, role_oid};

/// Which table it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Table {
    Attribute,
    Class,
    Database,
    Namespace,
}

impl Table {
    pub(super) fn of(name: &str) -> Option<Self> {
        match name {
            "pg_attribute" => Some(Self::Attribute),
            "pg_class" => Some(Self::Class),
            "pg_database" => Some(Self::Database),
            "pg_namespace" => Some(Self::Namespace),
            _ => None,
        }
    }

    /// Returns how a column of the library is to be; `None` for one that stays.
    fn field(self, name: &str) -> Option<Field> {
        match (self, name) {
            (_, "relowner" | "nspowner" | "datdba") => Some(oid(name)),
            (_, "nspacl" | "datacl" | "attacl" | "attoptions" | "attfdwoptions") => {
                Some(texts(name))
            }
            _ => None,
        }
    }

    fn schema(self, schema: &Schema) -> Schema {
        let mut fields = Vec::<FieldRef>::new();
        for field in schema.fields() {
            if field.name() == "relpartbound" {
                fields.extend([Arc::new(texts("relacl")), Arc::new(texts("reloptions"))]);
            }
            // Not in PostgreSQL 16.
            if self == Self::Namespace && field.name() == "options" {
                continue;
            }
            fields.push(self.field(field.name()).map_or_else(|| Arc::clone(field), Arc::new));
        }
        Schema::new(fields)
    }
}

/// A table that the library makes, and what is added to it.
#[derive(Debug, Clone)]
pub(super) struct Told {
    table: Table,
    made: Arc<dyn PartitionStream>,
    /// The schemas, which tables know by their numbers.
    schemas: Arc<dyn PartitionStream>,
    facts: Facts,
    schema: SchemaRef,
}

impl Told {
    pub(super) fn new(
        table: Table,
        made: Arc<dyn PartitionStream>,
        schemas: Arc<dyn PartitionStream>,
        facts: Facts,
    ) -> Self {
        let schema = Arc::new(table.schema(made.schema()));
        Self { table, made, schemas, facts, schema }
    }

    async fn rows(self, context: Arc<TaskContext>) -> DfResult<RecordBatch> {
        let mut schemas = HashMap::new();
        if self.table == Table::Class {
            for batch in collect(self.schemas.execute(Arc::clone(&context))).await? {
                let (Some(oids), Some(names)) =
                    (batch.column_by_name("oid"), batch.column_by_name("nspname"))
                else {
                    continue;
                };
                let names = names.as_string::<i32>().iter().flatten().map(str::to_owned);
                schemas
                    .extend(oids.as_primitive::<Int32Type>().values().iter().copied().zip(names));
            }
        }
        let made = collect(self.made.execute(context)).await?;
        let batch = concat_batches(self.made.schema(), &made)?;
        let adding = Adding {
            rights: self.facts.rights(),
            catalog: self.facts.only.clone().unwrap_or_default(),
            schemas,
            packed: match self.table {
                Table::Attribute => Packed::of_column(&batch, "attname"),
                _ => Vec::new(),
            },
            batch,
        };
        let columns = self.schema.fields().iter().map(|field| adding.column(self.table, field));
        Ok(RecordBatch::try_new(Arc::clone(&self.schema), columns.collect::<DfResult<_>>()?)?)
    }
}

impl PartitionStream for Told {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, context: Arc<TaskContext>) -> SendableRecordBatchStream {
        let rows = futures::stream::once(self.clone().rows(context));
        Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&self.schema), rows))
    }
}

/// Rows that the library has made, and what there is to add to them.
struct Adding {
    batch: RecordBatch,
    rights: Option<Rights>,
    catalog: String,
    /// Names of schemas by their numbers.
    schemas: HashMap<i32, String>,
    /// What has travelled in the names of columns.
    packed: Vec<Packed>,
}

impl Adding {
    fn text(&self, column: &str, row: usize) -> Option<&str> {
        let texts = self.batch.column_by_name(column)?.as_string_opt::<i32>()?;
        texts.is_valid(row).then(|| texts.value(row))
    }

    /// Returns the object that a row tells of.
    fn object(&self, table: Table, row: usize) -> Option<Object> {
        match table {
            Table::Class => {
                let schemas = self.batch.column_by_name("relnamespace")?;
                let schemas = schemas.as_primitive_opt::<Int32Type>()?;
                let schema = self.schemas.get(&schemas.value(row))?;
                Some(Object::table(&self.catalog, schema, self.text("relname", row)?))
            }
            Table::Namespace => Some(Object::schema(&self.catalog, self.text("nspname", row)?)),
            Table::Database => Some(Object::catalog(self.text("datname", row)?)),
            Table::Attribute => None,
        }
    }

    fn column(&self, table: Table, field: &Field) -> DfResult<ArrayRef> {
        let n_rows = self.batch.num_rows();
        let of_object = |tell: fn(&Rights, &Object) -> Option<i32>| {
            let number = |row| tell(self.rights.as_ref()?, &self.object(table, row)?);
            (0..n_rows).map(number).collect::<Int32Array>()
        };
        let secured = |is_forced: bool| {
            let holds = |row| {
                let (rights, object) = (self.rights.as_ref()?, self.object(table, row)?);
                let security = rights.rules().row_security.get(&object)?;
                Some(security.forced || !is_forced)
            };
            (0..n_rows).map(|row| Some(holds(row).unwrap_or(false))).collect::<BooleanArray>()
        };
        Ok(match field.name().as_str() {
            "relowner" | "nspowner" | "datdba" => {
                Arc::new(of_object(|rights, object| Some(role_oid(rights.rules().owner(object)))))
            }
            "relacl" | "nspacl" | "datacl" => {
                lists((0..n_rows).map(|row| {
                    Some(acl::of_object(self.rights.as_ref()?, &self.object(table, row)?))
                }))
            }
            "relrowsecurity" => Arc::new(secured(false)),
            "relforcerowsecurity" => Arc::new(secured(true)),
            "relpartbound" | "reloptions" | "attoptions" | "attfdwoptions" => {
                new_null_array(field.data_type(), n_rows)
            }
            "attname" => {
                Arc::new(self.packed.iter().map(|one| Some(one.name())).collect::<StringArray>())
            }
            "attacl" => lists(self.packed.iter().map(|one| Some(one.acl()))),
            "atttypid" => self.typed(field, |told| told.type_oid)?,
            "atttypmod" => self.typed(field, |told| Some(told.modifier))?,
            "attndims" => self.typed(field, |told| Some(told.dimensions))?,
            "attlen" => {
                let lengths = self.packed.iter().map(|one| one.length());
                let own = self.own(field)?;
                let own = own.as_primitive::<arrow::datatypes::Int16Type>();
                let lengths =
                    lengths.zip(own.values().iter()).map(|(told, own)| told.unwrap_or(*own));
                Arc::new(lengths.map(Some).collect::<Int16Array>())
            }
            _ => self.own(field)?,
        })
    }

    /// Returns a column of numbers as what has travelled tells it, or else as the library does.
    fn typed(
        &self,
        field: &Field,
        tell: impl Fn(&packed::Typed) -> Option<i32>,
    ) -> DfResult<ArrayRef> {
        let own = self.own(field)?;
        let own = own.as_primitive::<Int32Type>();
        let told = self.packed.iter().map(|one| one.typed().as_ref().and_then(&tell));
        let numbers = told.zip(own.values().iter()).map(|(told, own)| Some(told.unwrap_or(*own)));
        Ok(Arc::new(numbers.collect::<Int32Array>()))
    }

    fn own(&self, field: &Field) -> DfResult<ArrayRef> {
        let column = self.batch.column_by_name(field.name()).cloned();
        Ok(column.unwrap_or_else(|| new_null_array(field.data_type(), self.batch.num_rows())))
    }
}

/// Makes lists of texts; those without any are NULL.
fn lists(of: impl Iterator<Item = Option<Vec<String>>>) -> ArrayRef {
    let mut lists = ListBuilder::new(StringBuilder::new())
        .with_field(Field::new_list_field(DataType::Utf8, true));
    for list in of {
        match list.filter(|list| !list.is_empty()) {
            Some(list) => lists.append_value(list.into_iter().map(Some)),
            None => lists.append_null(),
        }
    }
    Arc::new(lists.finish())
}
