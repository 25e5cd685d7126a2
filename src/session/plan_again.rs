//! Planning a prepared statement once more: the client was told its columns, and they must still be these.

use std::sync::Arc;

use arrow::datatypes::{DataType, Schema};
use datafusion::common::{Column, ScalarValue};
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, cast};
use futures::FutureExt;
use futures::future::BoxFuture;
use maru_core::{Error, ErrorKind, Result};

use super::plan::{ARGUMENTS, locate};
use super::planning::is_large_text;
use super::{Kind, Prepared, Session};
use crate::opaque::Opaque;

impl Session {
    /// Plans a prepared query again, on a thread of its own if it is large.
    ///
    /// # Errors
    /// 0A000 if it has other columns now than the client was told; whatever is wrong with the statement by now.
    pub(super) fn plan_again(
        self: &Arc<Self>,
        prepared: &Prepared,
    ) -> BoxFuture<'static, Result<Prepared>> {
        let (session, prepared) = (Arc::clone(self), prepared.clone());
        async move {
            let is_large = is_large_text(&prepared.text);
            let work = {
                let session = Arc::clone(&session);
                async move { session.plan_once_more(&prepared).await }
            };
            session.planned(is_large, work.boxed()).await
        }
        .boxed()
    }

    /// Plans a statement with the values of its parameters, some of which are arguments of table functions.
    ///
    /// # Errors
    /// As [`Session::plan_again`].
    pub(super) fn plan_with(
        self: &Arc<Self>,
        prepared: &Prepared,
        values: &[ScalarValue],
    ) -> BoxFuture<'static, Result<Prepared>> {
        let (session, prepared, values) = (Arc::clone(self), prepared.clone(), values.to_vec());
        async move {
            let is_large = is_large_text(&prepared.text);
            let work = {
                let session = Arc::clone(&session);
                async move { session.plan_once_with(&prepared, &values).await }
            };
            session.planned(is_large, work.boxed()).await
        }
        .boxed()
    }

    async fn plan_once_more(self: &Arc<Self>, prepared: &Prepared) -> Result<Prepared> {
        let text = &prepared.text;
        let again = self.prepare_boxed(text.clone(), prepared.parameters.clone()).await;
        let again = again.map_err(|e| locate(self.suggest_function(e), &text.text))?;
        with_columns_of(prepared, again)
    }

    async fn plan_once_with(
        self: &Arc<Self>,
        prepared: &Prepared,
        values: &[ScalarValue],
    ) -> Result<Prepared> {
        let text = &prepared.text;
        let parsed = self.parse(&text.text)?;
        let again = Box::pin(self.prepare_statement(parsed, text, &prepared.parameters));
        let again = ARGUMENTS.scope(values.into(), again).await;
        let again = again.map_err(|e| locate(self.suggest_function(e), &text.text))?;
        with_columns_of(prepared, again)
    }
}

/// Gives a statement that was planned again the columns that the client was told. A table that was made anew may hold its
/// text in another of Arrow's layouts, which is no other type to whoever asks.
fn with_columns_of(prepared: &Prepared, mut again: Prepared) -> Result<Prepared> {
    let (Some(told), Some(found)) = (&prepared.schema, &again.schema) else {
        return match prepared.schema.is_none() && again.schema.is_none() {
            true => Ok(again),
            false => Err(changed()),
        };
    };
    let same = |(told, found): (&DataType, &DataType)| told == found;
    if columns(told, found, same) {
        return Ok(again);
    }
    if let Kind::Query { plan, .. } = &mut again.kind
        && columns(told, found, |(told, found)| same_value(told, found))
    {
        *plan = Opaque::new(laid_out(plan, told)?);
        again.schema = Some(Arc::clone(told));
        return Ok(again);
    }
    Err(changed())
}

/// Returns whether two results have columns of the same names, and of types that are alike in some sense.
fn columns(told: &Schema, found: &Schema, alike: impl Fn((&DataType, &DataType)) -> bool) -> bool {
    told.fields().len() == found.fields().len()
        && told.fields().iter().zip(found.fields()).all(|(told, found)| {
            told.name() == found.name() && alike((told.data_type(), found.data_type()))
        })
}

/// Returns whether two types differ only in how Arrow keeps their values, or in the zone that moments are shown in.
fn same_value(told: &DataType, found: &DataType) -> bool {
    use DataType::{Binary, BinaryView, LargeBinary, LargeUtf8, Timestamp, Utf8, Utf8View};
    match (told, found) {
        (Utf8 | LargeUtf8 | Utf8View, Utf8 | LargeUtf8 | Utf8View)
        | (Binary | LargeBinary | BinaryView, Binary | LargeBinary | BinaryView) => true,
        (Timestamp(told, Some(_)), Timestamp(found, Some(_))) => told == found,
        (told, found) => told == found,
    }
}

/// Puts the columns into the layout that the client was told.
fn laid_out(plan: &LogicalPlan, told: &Schema) -> Result<LogicalPlan> {
    let columns = plan.schema().iter().zip(told.fields()).map(|((of, found), told)| {
        let column = Expr::Column(Column::new(of.cloned(), found.name()));
        match found.data_type() == told.data_type() {
            true => column,
            false => cast(column, told.data_type().clone())
                .alias_qualified(of.cloned(), found.name().as_str()),
        }
    });
    let columns: Vec<_> = columns.collect();
    Ok(LogicalPlanBuilder::from(plan.clone()).project(columns)?.build()?)
}

fn changed() -> Error {
    Error::new(ErrorKind::Unsupported, "cached plan must not change result type")
        .with_detail("Tables of the statement have changed since it was prepared.")
        .with_hint("Prepare it again.")
}
