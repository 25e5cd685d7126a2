//! `OPTIMIZE`: the rows of small files, read and written as they are.

use std::sync::Arc;

use datafusion::datasource::provider_as_source;
use datafusion::logical_expr::LogicalPlanBuilder;
use maru_connect::{FederatedTable, WriteMode};
use maru_core::{Options, Result};
use maru_sql::Name;

use super::Outcome;
use super::node::{Writing, node};
use super::target::find;
use crate::session::Session;

impl Session {
    pub(super) async fn plan_optimize(self: &Arc<Self>, name: Name) -> Result<Outcome> {
        let target = find(self, &name, "optimize").await?;
        self.rights().require_owner(&target.object())?;
        let source = target.attached.opened().await?;
        let table = source.scattered(&target.schema, &target.name).await?;
        let columns = table.schema();
        let table = Arc::new(FederatedTable::new(&target.attached.name, table));
        let plan = LogicalPlanBuilder::scan(target.name.as_str(), provider_as_source(table), None)?;
        let plan = node(
            plan.build()?,
            Writing {
                session: Arc::downgrade(self),
                attached: target.attached,
                schema: target.schema,
                table: target.name,
                mode: WriteMode::Compact,
                columns,
                options: Options::default(),
                owner: None,
                checked: Vec::new(),
                checks: Vec::new(),
            },
        )?;
        Ok(Outcome::Plan(plan, "OPTIMIZE"))
    }
}
