//! What `EXPLAIN` tells of a statement over tables with policies: what is asked for, but not how much is read for it. How many files
//! a condition leaves, how many rows a source sends, and over how many threads they go would tell of rows that do not show.

use std::sync::Arc;

use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::ExecutionPlan;
use maru_connect::RemoteScanExec;
use serde_json::{Map, Value, json};

use super::as_written;

/// Stands where the figures would.
pub(super) const NOTE: &str = "How much is read is not told: policies or masks hide a part of it.";

/// Adds the plan as it is before tables are looked into.
pub(super) fn tree(plan: &LogicalPlan, lines: &mut Vec<String>) {
    lines.extend(plan.display_indent().to_string().lines().map(str::to_owned));
}

/// Adds what sources under policies are sent as far as it is known before anything is read.
pub(super) fn sources(node: &Arc<dyn ExecutionPlan>, lines: &mut Vec<String>) {
    if let Some(scan) = node.downcast_ref::<RemoteScanExec>() {
        lines.push(format!("  {} is sent: {}", scan.catalog(), scan.planned()));
    }
    node.children().into_iter().for_each(|child| sources(child, lines));
}

/// Returns a plan as a tree of objects.
pub(super) fn json(plan: &LogicalPlan) -> Map<String, Value> {
    let mut node = Map::new();
    let line = plan.display().to_string();
    node.insert("Node Type".to_owned(), json!(node_type(&line)));
    node.insert("Parallel Aware".to_owned(), json!(false));
    node.insert("Async Capable".to_owned(), json!(false));
    node.insert("Detail".to_owned(), json!(as_written(line.trim_end())));
    let fields = plan.schema().fields();
    let output = fields.iter().map(|field| json!(as_written(field.name()))).collect();
    node.insert("Output".to_owned(), Value::Array(output));
    let inputs = plan.inputs();
    if !inputs.is_empty() {
        let relationship = |i: usize| match (i, inputs.len()) {
            (0, _) => "Outer",
            (1, 2) => "Inner",
            _ => "Member",
        };
        let plans = inputs.iter().enumerate().map(|(i, input)| {
            let mut below = json(input);
            below.insert("Parent Relationship".to_owned(), json!(relationship(i)));
            Value::Object(below)
        });
        let plans = plans.collect();
        node.insert("Plans".to_owned(), Value::Array(plans));
    }
    node
}

/// PostgreSQL's name of an operator where it has one like it.
fn node_type(line: &str) -> &str {
    let name = line.split([':', ' ']).next().unwrap_or(line);
    match name {
        "TableScan" => "Seq Scan",
        "SubqueryAlias" => "Subquery Scan",
        "Projection" | "EmptyRelation" => "Result",
        "WindowAggr" => "WindowAgg",
        "Union" => "Append",
        "Distinct" => "Unique",
        "Inner" | "Left" | "Right" | "Full" | "LeftSemi" | "LeftAnti" | "LeftMark" | "Cross" => {
            "Join"
        }
        _ => name,
    }
}
