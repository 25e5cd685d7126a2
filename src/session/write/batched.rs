//! `INSERT … VALUES ($1, $2)` with many rows of parameters: one statement with the rows as its source, and so one commit.

use std::sync::Arc;

use arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion::common::Column;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::logical_expr::expr::Cast;
use datafusion::logical_expr::{Expr, ExprSchemable, LogicalPlan, LogicalPlanBuilder};
use maru_core::{Error, Result};

use super::incoming::{Incoming, Slot, leaf};
use super::node::written;
use crate::opaque::Opaque;
use crate::session::{Kind, Prepared, Session};

impl Session {
    /// Returns a prepared `INSERT` of one row of parameters as one that takes its rows from the client, `$1` first; `None` for any
    /// other statement. `given` are the types of the parameters as they are sent.
    ///
    /// # Errors
    /// 25001 in a transaction block; those of planning, if the tables have changed meanwhile.
    pub async fn batched(
        self: &Arc<Self>,
        prepared: &Prepared,
        given: &Schema,
    ) -> Result<Option<(Prepared, Incoming)>> {
        let Kind::Query { tag, .. } = &prepared.kind else { return Ok(None) };
        // Rows that are given back are those of each run.
        if !tag.starts_with("INSERT") || prepared.schema.is_some() {
            return Ok(None);
        }
        let prepared = match prepared.planned.take(self) {
            true => prepared.clone(),
            false => self.plan_again(prepared).await?,
        };
        let Kind::Query { plan, tag, .. } = &prepared.kind else { return Ok(None) };
        let Some(writing) = written(plan) else { return Ok(None) };
        let fields = given.fields().iter().enumerate();
        let fields = fields
            .map(|(i, field)| Field::new(format!("${}", i + 1), field.data_type().clone(), true));
        let schema: SchemaRef = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        let slot = Slot::default();
        let Some(plan) = with_rows(plan, &schema, &slot)? else { return Ok(None) };
        self.refuse_write(&plan, tag).await?;
        let incoming = Incoming::new(schema, writing.table.clone(), plan, tag, slot);
        let kind = Kind::Incoming(incoming.clone());
        Ok(Some((Prepared { kind, parameters: Vec::new(), ..prepared.clone() }, incoming)))
    }
}

/// Puts the rows of a client in the place of the one row of parameters; `None` if they stand elsewhere, too.
fn with_rows(plan: &LogicalPlan, schema: &SchemaRef, slot: &Slot) -> Result<Option<LogicalPlan>> {
    let mut n_replaced = 0;
    let changed = plan
        .clone()
        .transform_down(|node| {
            let LogicalPlan::Values(values) = &node else { return Ok(Transformed::no(node)) };
            let [row] = values.values.as_slice() else { return Ok(Transformed::no(node)) };
            n_replaced += 1;
            let rows = leaf(Arc::clone(schema), slot)?;
            let columns = row.iter().zip(values.schema.fields()).map(|(value, field)| {
                let value = value.clone().transform(|part| match &part {
                    Expr::Placeholder(placeholder) => {
                        let column = Column::new_unqualified(placeholder.id.clone());
                        Ok(Transformed::yes(Expr::Column(column)))
                    }
                    _ => Ok(Transformed::no(part)),
                });
                let value = value.data()?;
                let (to, is) = (field.data_type(), value.get_type(rows.schema())?);
                // A row of parameters without types has none either.
                let value = match to.is_null() || *to == is {
                    true => value,
                    false => Expr::Cast(Cast::new(Box::new(value), to.clone())),
                };
                Ok(value.alias(field.name()))
            });
            let columns = columns.collect::<datafusion::error::Result<Vec<_>>>()?;
            let built = LogicalPlanBuilder::from(rows).project(columns)?.build()?;
            Ok(Transformed::yes(built))
        })
        .data()
        .map_err(Error::from)?;
    if n_replaced != 1 || !changed.get_parameter_names()?.is_empty() {
        return Ok(None);
    }
    let changed =
        changed.transform_up(|node| node.recompute_schema().map(Transformed::yes)).data()?;
    Ok(Some(changed))
}

impl Incoming {
    fn new(
        schema: SchemaRef,
        relation: String,
        plan: LogicalPlan,
        tag: &'static str,
        slot: Slot,
    ) -> Self {
        let options = Arc::new(maru_sql::CopyOptions::binary());
        Self { schema, relation, options, plan: Opaque::new(plan), tag, slot }
    }
}
