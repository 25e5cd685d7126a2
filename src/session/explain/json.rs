//! A plan as `EXPLAIN (FORMAT JSON)` tells it: an array with one object, whose `Plan` is a tree as PostgreSQL's.

use std::sync::Arc;

use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::statistics::{StatisticsArgs, StatisticsContext};
use maru_connect::RemoteScanExec;
use maru_core::Result;
use serde_json::{Map, Value, json};

use super::files::{Planned, Pruned};
use super::{Report, as_written, file_scan, hidden, one_line};
use crate::engine::run::file_catalog;
use crate::session::policies::hides_rows;

impl Report<'_> {
    /// Returns the text of the whole answer.
    pub(super) fn json(&self) -> Result<String> {
        let mut answer = Map::new();
        let hides = hides_rows(self.logical);
        let plan = if hides { self.hidden() } else { self.node(self.physical, None) };
        answer.insert("Plan".to_owned(), plan);
        if hides {
            let mut sources = Vec::new();
            self.sources(self.physical, &mut sources);
            let sources = sources.iter().map(|line| json!(as_written(line.trim()))).collect();
            answer.insert("Sources".to_owned(), Value::Array(sources));
            answer.insert("Note".to_owned(), json!(hidden::NOTE));
        }
        let kept = self.stays()?;
        if !kept.is_empty() {
            let kept = kept.iter().map(|line| json!(as_written(line))).collect();
            answer.insert("Stays In Engine".to_owned(), Value::Array(kept));
        }
        answer.insert("Planning Time".to_owned(), json!(self.planned_in.as_secs_f64() * 1000.0));
        if let Some((time, _)) = self.ran {
            answer.insert("Triggers".to_owned(), json!([]));
            answer.insert("Execution Time".to_owned(), json!(time.as_secs_f64() * 1000.0));
            if !hides {
                let figures = crate::engine::run::figures(self.engine, self.physical);
                answer.insert("Peak Memory Bytes".to_owned(), json!(self.query.pool.peak_bytes()));
                answer.insert("Spilled Bytes".to_owned(), json!(figures.spilled_bytes));
            }
        }
        let whole = Value::Array(vec![Value::Object(answer)]);
        Ok(serde_json::to_string_pretty(&whole).unwrap_or_default())
    }

    /// Returns the plan of a statement over tables with policies.
    fn hidden(&self) -> Value {
        let mut node = hidden::json(self.logical);
        if let Some((_, n_rows)) = self.ran {
            node.insert("Actual Rows".to_owned(), json!(n_rows));
            node.insert("Actual Loops".to_owned(), json!(1));
        }
        Value::Object(node)
    }

    fn node(&self, plan: &Arc<dyn ExecutionPlan>, relationship: Option<&str>) -> Value {
        let mut node = Map::new();
        node.insert("Node Type".to_owned(), json!(node_type(plan)));
        if let Some(relationship) = relationship {
            node.insert("Parent Relationship".to_owned(), json!(relationship));
        }
        node.insert("Parallel Aware".to_owned(), json!(false));
        node.insert("Async Capable".to_owned(), json!(false));
        if let Some(scan) = plan.downcast_ref::<RemoteScanExec>() {
            node.insert("Catalog".to_owned(), json!(scan.catalog()));
            node.insert("Remote Statement".to_owned(), json!(as_written(&scan.sent())));
            if let Some(waits) = scan.waits_for() {
                node.insert("Added At Run Time".to_owned(), json!(as_written(&waits)));
            }
        } else if let Some(catalog) = file_catalog(self.engine, plan) {
            node.insert("Catalog".to_owned(), json!(catalog));
            if let Some(config) = file_scan(plan) {
                Planned::of(config).json(&mut node);
            }
            if let (Some(_), Some(metrics)) = (self.ran, plan.metrics()) {
                Pruned::of(&metrics).json(&mut node);
            }
        }
        let rows = StatisticsContext::new().compute(plan.as_ref(), &StatisticsArgs::new()).ok();
        if let Some(rows) = rows.and_then(|statistics| statistics.num_rows.get_value().copied()) {
            node.insert("Plan Rows".to_owned(), json!(rows));
        }
        if let (Some(_), Some(metrics)) = (self.ran, plan.metrics()) {
            if let Some(rows) = metrics.output_rows() {
                node.insert("Actual Rows".to_owned(), json!(rows));
                node.insert("Actual Loops".to_owned(), json!(1));
            }
            if let Some(nanoseconds) = metrics.elapsed_compute() {
                let time = nanoseconds as f64 / 1e6;
                node.insert("Actual Total Time".to_owned(), json!(time));
            }
        }
        let line = one_line(plan);
        node.insert("Detail".to_owned(), json!(as_written(line.trim_end())));
        let columns = plan.schema();
        let output = columns.fields().iter().map(|field| json!(as_written(field.name()))).collect();
        node.insert("Output".to_owned(), Value::Array(output));
        let children = plan.children();
        let names: &[&str] = if children.len() == 2 { &["Outer", "Inner"] } else { &["Outer"] };
        if !children.is_empty() {
            let children = children.into_iter().enumerate();
            let plans = children.map(|(i, child)| {
                let name = names.get(i).or(names.last()).copied();
                self.node(child, if names.len() == 1 && i > 0 { Some("Member") } else { name })
            });
            node.insert("Plans".to_owned(), Value::Array(plans.collect()));
        }
        Value::Object(node)
    }
}

/// PostgreSQL's name of an operator where it has one like it.
fn node_type(plan: &Arc<dyn ExecutionPlan>) -> String {
    let name = plan.name();
    match name {
        "RemoteScanExec" => "Foreign Scan",
        "DataSourceExec" | "FilteredFilesExec" => "Seq Scan",
        "HashJoinExec" => "Hash Join",
        "NestedLoopJoinExec" | "CrossJoinExec" => "Nested Loop",
        "SortMergeJoinExec" => "Merge Join",
        "AggregateExec" => "Aggregate",
        "SortExec" => "Sort",
        "SortPreservingMergeExec" => "Gather Merge",
        "CoalescePartitionsExec" => "Gather",
        "GlobalLimitExec" | "LocalLimitExec" => "Limit",
        "UnionExec" | "InterleaveExec" => "Append",
        "WindowAggExec" | "BoundedWindowAggExec" | "NumberRowsExec" => "WindowAgg",
        "ProjectionExec" | "PlaceholderRowExec" | "EmptyExec" => "Result",
        "FilterExec" => "Filter",
        _ => return name.strip_suffix("Exec").unwrap_or(name).to_owned(),
    }
    .to_owned()
}
