//! Columns of Parquet files found by name without regard to case, since Hive knows only lower case, or by the names that a
//! table keeps for them. Here old dates are recounted and values brought into other types, too: it is where a file's own columns come into an expression.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::error::Result as DfResult;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr_adapter::{
    DefaultPhysicalExprAdapterFactory, PhysicalExprAdapter, PhysicalExprAdapterFactory,
};
use maru_core::Error;

use super::fitted::Fitted;
use super::fitting::{Way, way};
use super::lengths::{TextLength, TextLengths};
use super::old_dates::{Old, Recounted};

/// Returns which name of the file each column of the table has: the very name, else the only one that differs in
/// case alone, else none.
pub(super) fn names_in_file<'a>(table: &Schema, file: &'a [&'a str]) -> Vec<Option<&'a str>> {
    let find = |wanted: &str| {
        if let Some(same) = file.iter().find(|name| **name == wanted) {
            return Some(*same);
        }
        let lower = wanted.to_lowercase();
        let mut alike = file.iter().filter(|name| name.to_lowercase() == lower);
        match (alike.next(), alike.next()) {
            (Some(only), None) => Some(*only),
            _ => None,
        }
    };
    table.fields().iter().map(|field| find(field.name())).collect()
}

/// Returns the table's schema with the names that the file uses.
pub(super) fn in_names_of_file(table: &SchemaRef, file: &[&str]) -> SchemaRef {
    let names = names_in_file(table, file);
    let same =
        |(field, name): (&Arc<Field>, &Option<&str>)| name.is_none_or(|name| name == field.name());
    if table.fields().iter().zip(&names).all(same) {
        return Arc::clone(table);
    }
    let fields = table.fields().iter().zip(names).map(|(field, name)| match name {
        Some(name) => Field::clone(field).with_name(name),
        None => Field::clone(field),
    });
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

/// What the files call each column of a table, where the table keeps such names.
pub(super) type KeptNames = HashMap<String, String>;

/// Returns which name of the file each column of the table has, by the names the table keeps.
fn kept_names<'a>(table: &Schema, file: &'a [&'a str], kept: &KeptNames) -> Vec<Option<&'a str>> {
    let find = |field: &Arc<Field>| {
        let wanted = kept.get(field.name())?;
        file.iter().find(|name| *name == wanted).copied()
    };
    table.fields().iter().map(find).collect()
}

/// Returns the table's schema with the names it keeps.
pub(super) fn in_kept_names(table: &SchemaRef, kept: &KeptNames) -> SchemaRef {
    let fields = table.fields().iter().map(|field| match kept.get(field.name()) {
        Some(name) => Field::clone(field).with_name(name),
        None => Field::clone(field).with_name(nobodys(field.name())),
    });
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

/// Returns a name that no column has. Something else in a file may have the name that a column has by now.
fn nobodys(name: &str) -> String {
    format!("\u{0}{name}")
}

/// DataFusion's own adaption of expressions to a file, after names have been brought together.
#[derive(Debug)]
pub(super) struct NamesAdapterFactory {
    pub(super) kept: Option<Arc<KeptNames>>,
    /// The columns whose texts have a length.
    pub(super) lengths: Option<Arc<TextLengths>>,
}

impl PhysicalExprAdapterFactory for NamesAdapterFactory {
    fn create(&self, table: SchemaRef, file: SchemaRef) -> DfResult<Arc<dyn PhysicalExprAdapter>> {
        let in_file = file.fields().iter().map(|field| field.name().as_str()).collect::<Vec<_>>();
        let names = match &self.kept {
            Some(kept) => kept_names(&table, &in_file, kept),
            None => names_in_file(&table, &in_file),
        };
        let renamed = file.fields().iter().map(|field| {
            let column = names.iter().position(|name| *name == Some(field.name().as_str()));
            match column {
                Some(column) if table.field(column).name() != field.name() => {
                    Field::clone(field).with_name(table.field(column).name())
                }
                None if self.kept.is_some() => Field::clone(field).with_name(nobodys(field.name())),
                _ => Field::clone(field),
            }
        });
        let renamed =
            Schema::new_with_metadata(renamed.collect::<Vec<_>>(), file.metadata().clone());
        let same = renamed.fields() == file.fields();
        let old = Old::of(&file).map(Arc::new);
        let (table, fits) = fits(&table, &renamed, self.lengths.as_deref());
        let inner = DefaultPhysicalExprAdapterFactory.create(table, Arc::new(renamed))?;
        if same && old.is_none() && fits.is_empty() {
            return Ok(inner);
        }
        Ok(Arc::new(NamesAdapter { inner, file, old, fits }))
    }
}

/// What becomes of a column of a file that Arrow's cast would not bring into the table's type: the name, the type and the length that
/// it has there, or why it cannot be read.
type Fit = Result<(String, DataType, Option<TextLength>), Error>;

/// Finds the columns of a file that are not to be cast by Arrow, by their place in it. In the schema that is returned they have the
/// file's type, so that nothing else casts them.
fn fits(
    table: &SchemaRef,
    file: &Schema,
    lengths: Option<&TextLengths>,
) -> (SchemaRef, HashMap<usize, Fit>) {
    let mut fits = HashMap::new();
    let fields = table.fields().iter().map(|field| {
        let Some((at, found)) = file.fields().find(field.name()) else { return Arc::clone(field) };
        let length = lengths.and_then(|lengths| lengths.get(field.name()));
        let fit = match way(found.data_type(), field.data_type()) {
            Ok(Way::Cast) if length.is_none() => return Arc::clone(field),
            Ok(_) => Ok((field.name().clone(), field.data_type().clone(), length)),
            Err(mismatch) => Err(mismatch.error(field.name(), "the file")),
        };
        fits.insert(at, fit);
        Arc::clone(found)
    });
    let fields = fields.collect::<Vec<_>>();
    (Arc::new(Schema::new_with_metadata(fields, table.metadata().clone())), fits)
}

#[derive(Debug)]
struct NamesAdapter {
    inner: Arc<dyn PhysicalExprAdapter>,
    file: SchemaRef,
    old: Option<Arc<Old>>,
    fits: HashMap<usize, Fit>,
}

impl PhysicalExprAdapter for NamesAdapter {
    fn rewrite(&self, expr: Arc<dyn PhysicalExpr>) -> DfResult<Arc<dyn PhysicalExpr>> {
        let expr = self.inner.rewrite(expr)?;
        let named = expr.transform(|expr| {
            let Some(column) = expr.downcast_ref::<Column>() else {
                return Ok(Transformed::no(expr));
            };
            let Some(field) = self.file.fields().get(column.index()) else {
                return Ok(Transformed::no(expr));
            };
            let named: Arc<dyn PhysicalExpr> = Arc::new(Column::new(field.name(), column.index()));
            let counted = match &self.old {
                Some(old) if old.is_in(field.name()) => Arc::new(Recounted {
                    input: named,
                    column: field.name().clone(),
                    old: Arc::clone(old),
                }),
                _ => named,
            };
            Ok(Transformed::yes(match self.fits.get(&column.index()) {
                Some(Ok((name, to, length))) => Arc::new(Fitted {
                    input: counted,
                    column: name.clone(),
                    to: to.clone(),
                    length: *length,
                }),
                Some(Err(refusal)) => return Err(refusal.clone().into()),
                None => counted,
            }))
        })?;
        Ok(named.data)
    }
}
