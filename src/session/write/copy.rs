//! `COPY … TO 'place'`, `COPY … FROM 'place'`.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, Schema};
use datafusion::logical_expr::{Expr, LogicalPlanBuilder, cast};
use maru_connect::WriteMode;
use maru_core::{Options, Result};
use maru_files::{COPY_OPTIONS, CopyTarget};
use maru_sql::{CopyTo, Insert};

use super::Outcome;
use super::node::{Writing, node};
use crate::catalog::Attached;
use crate::catalog::builtin::location_url;
use crate::catalog::resolve::FILES;
use crate::session::Session;
use crate::session::rewrite::shown;

impl Session {
    /// Plans rows on their way into files of a store, which takes `INSERT` on the catalog that serves it.
    pub(super) async fn plan_copy_to(self: &Arc<Self>, copy: CopyTo) -> Result<Outcome> {
        let given = copy.options.0.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let options = Options::check("COPY TO", COPY_OPTIONS, given)?;
        let url = location_url(&copy.path)?;
        let opened = self.catalogs().store_for_writer(&url, &self.rights()).await?;
        let plan = self.plan_source(copy.query).await?;
        let fields = plan.schema().fields().iter().map(|field| {
            // What has no type yet is text, as in PostgreSQL.
            let data_type = match field.data_type() {
                DataType::Null => DataType::Utf8,
                other => other.clone(),
            };
            Arc::new(Field::new(shown(field.name()), data_type, true))
        });
        let fields = fields.collect::<Vec<FieldRef>>();
        let named = plan.schema().columns().into_iter().zip(&fields).map(|(column, field)| {
            let value = Expr::Column(column);
            let value = match field.data_type() {
                DataType::Utf8 => cast(value, DataType::Utf8),
                _ => value,
            };
            value.alias(field.name())
        });
        let named = named.collect::<Vec<_>>();
        let plan = LogicalPlanBuilder::from(plan).project(named)?.build()?;
        let target = CopyTarget {
            opened,
            shown: copy.path.clone(),
            options,
            partition_by: copy.partition_by,
        };
        let plan = node(
            plan,
            Writing {
                session: Arc::downgrade(self),
                attached: Arc::new(Attached::passing(Arc::new(target))),
                schema: FILES.to_owned(),
                table: copy.path,
                mode: WriteMode::Append,
                columns: Arc::new(Schema::new(fields)),
                options: Options::default(),
                owner: None,
                checked: Vec::new(),
                checks: Vec::new(),
            },
        )?;
        Ok(Outcome::Plan(plan, "COPY"))
    }

    /// Plans the rows of files on their way into a table: an `INSERT` that says `COPY`.
    pub(super) async fn plan_copy_from(self: &Arc<Self>, insert: Insert) -> Result<Outcome> {
        Ok(match self.plan_insert(insert, true).await? {
            Outcome::Plan(plan, _) => Outcome::Plan(plan, "COPY"),
            done => done,
        })
    }
}
