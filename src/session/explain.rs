//! `EXPLAIN` and `EXPLAIN ANALYZE`: the plan, what each source is asked for and sends, and which conditions stay in the engine
//! and why. One column, one line a row, as in PostgreSQL; `VERBOSE` shows the planner's own account.

mod files;
mod hidden;
mod json;

use std::collections::{BTreeSet, HashMap};
use std::fmt::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::{RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::TableReference;
use datafusion::common::format::ExplainFormat;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::datasource::physical_plan::FileScanConfig;
use datafusion::datasource::source::DataSourceExec;
use datafusion::datasource::source_as_provider;
use datafusion::logical_expr::utils::split_conjunction;
use datafusion::logical_expr::{Expr, LogicalPlan, TableScan};
use datafusion::physical_plan::metrics::MetricsSet;
use datafusion::physical_plan::{ExecutionPlan, displayable};
use maru_connect::{FederatedTable, FilteredFilesExec, RemoteScanExec, root_of, why_stays};
use maru_core::{Error, Result};

use super::policies::{hides_rows, is_guard};
use super::rewrite::MARK;
use crate::catalog::resolve::NATIVE_QUERY;
use crate::engine::Engine;
use crate::engine::query::Query;
use crate::engine::run::file_catalog;

use files::{Planned, Pruned};

/// Groups of a scan, and files of a group, that the planner shows.
const FILES_SHOWN: usize = 5;

/// How the answer is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    Lines,
    Json,
}

/// Returns the plan under `EXPLAIN`, whether it is to be run, and how it is told. The planner's own account (`VERBOSE`) has
/// figures of all that is read: a statement over tables with policies is told without it.
pub(super) fn explained(plan: &LogicalPlan) -> Option<(&LogicalPlan, bool, Shape)> {
    let (plan, runs, verbose, format) = match plan {
        LogicalPlan::Explain(explain) => {
            (explain.plan.as_ref(), false, explain.verbose, &explain.explain_format)
        }
        LogicalPlan::Analyze(analyze) => {
            (analyze.input.as_ref(), true, analyze.verbose, &analyze.format)
        }
        _ => return None,
    };
    let shape = match format {
        ExplainFormat::Indent => Some(Shape::Lines),
        ExplainFormat::PostgresJSON => Some(Shape::Json),
        _ => None,
    };
    match shape.filter(|_| !verbose) {
        Some(shape) => Some((plan, runs, shape)),
        None if hides_rows(plan) => Some((plan, runs, shape.unwrap_or(Shape::Lines))),
        None => None,
    }
}

/// Returns the one column of the answer.
pub(super) fn schema(shape: Shape) -> SchemaRef {
    let column = Field::new("QUERY PLAN", DataType::Utf8, true);
    let column = match shape {
        Shape::Lines => column,
        Shape::Json => column.with_metadata(HashMap::from([(
            "ARROW:extension:name".to_owned(),
            "arrow.json".to_owned(),
        )])),
    };
    Arc::new(Schema::new(vec![column]))
}

/// What is known of an explained statement.
pub(super) struct Report<'a> {
    pub(super) engine: &'a Engine,
    pub(super) query: &'a Query,
    /// After the planner's rules.
    pub(super) logical: &'a LogicalPlan,
    pub(super) physical: &'a Arc<dyn ExecutionPlan>,
    pub(super) planned_in: Duration,
    /// Time and rows, if it was run.
    pub(super) ran: Option<(Duration, usize)>,
    pub(super) shape: Shape,
}

impl Report<'_> {
    /// Returns the lines as rows.
    pub(super) fn batch(&self) -> Result<RecordBatch> {
        if self.shape == Shape::Json {
            return self.column(vec![self.json()?]);
        }
        let hides = hides_rows(self.logical);
        let mut lines = Vec::new();
        match hides {
            true => hidden::tree(self.logical, &mut lines),
            false => self.tree(self.physical, 0, &mut lines),
        }
        let mut sources = Vec::new();
        self.sources(self.physical, &mut sources);
        if !sources.is_empty() {
            lines.push("Sources:".to_owned());
            lines.append(&mut sources);
        }
        let kept = self.stays()?;
        if !kept.is_empty() {
            lines.push("Stays in the engine:".to_owned());
            lines.extend(kept.into_iter().map(|line| format!("  {line}")));
        }
        if hides {
            lines.push(hidden::NOTE.to_owned());
        }
        lines.push(format!("Planning Time: {}", millis(self.planned_in)));
        if let Some((time, n_rows)) = self.ran
            && hides
        {
            lines.push(format!("Execution Time: {} ({n_rows} rows)", millis(time)));
        } else if let Some((time, n_rows)) = self.ran {
            let figures = crate::engine::run::figures(self.engine, self.physical);
            lines.push(format!(
                "Execution Time: {} ({n_rows} rows, memory at most {}, spilled {})",
                millis(time),
                size(self.query.pool.peak_bytes() as u64),
                size(figures.spilled_bytes)
            ));
        }
        self.column(lines.into_iter().map(|line| as_written(&line)).collect())
    }

    /// Returns the conditions right above the tables of sources that the sources do not, or not alone, decide, and the groups,
    /// orders and joins that a source was not sent.
    fn stays(&self) -> Result<Vec<String>> {
        let mut learning = BTreeSet::new();
        learners(self.physical, &mut learning);
        let mut lines = Vec::new();
        list_what_stays(self.logical, &learning, &mut lines)?;
        Ok(lines)
    }

    fn column(&self, lines: Vec<String>) -> Result<RecordBatch> {
        let column = Arc::new(StringArray::from(lines));
        RecordBatch::try_new(schema(self.shape), vec![column])
            .map_err(|error| Error::internal("a plan is no column of text").with_cause(error))
    }

    fn tree(&self, node: &Arc<dyn ExecutionPlan>, depth: usize, lines: &mut Vec<String>) {
        let mut line = "  ".repeat(depth);
        line.push_str(one_line(node).trim_end());
        if let (Some(_), Some(metrics)) = (self.ran, node.metrics()) {
            let _ = write!(line, "  ({})", measured(&metrics));
        }
        lines.push(line);
        for child in node.children() {
            self.tree(child, depth + 1, lines);
        }
    }

    fn sources(&self, node: &Arc<dyn ExecutionPlan>, lines: &mut Vec<String>) {
        if is_guard(node) {
            hidden::sources(node, lines);
            return;
        }
        let metrics = node.metrics().filter(|_| self.ran.is_some());
        let count = |name: &str| {
            let value = metrics.as_ref().and_then(|metrics| metrics.sum_by_name(name));
            value.map_or(0, |value| value.as_usize())
        };
        if let Some(scan) = node.downcast_ref::<RemoteScanExec>() {
            lines.push(format!("  {} is sent: {}", scan.catalog(), scan.sent()));
            if let Some(waits) = scan.waits_for() {
                lines.push(format!("    added at run time: {waits}"));
            }
            if let Some(metrics) = &metrics {
                let rows = metrics.output_rows().unwrap_or_default();
                let bytes = size(count("bytes_received") as u64);
                lines.push(format!("    came back: {rows} rows, {bytes}"));
            }
        } else if let Some(catalog) = file_catalog(self.engine, node)
            && let Some(config) = file_scan(node)
        {
            let planned = Planned::of(config);
            let columns =
                node.schema().fields().iter().map(|f| f.name().clone()).collect::<Vec<_>>();
            let filter = config
                .file_source()
                .filter()
                .map_or_else(String::new, |f| format!(", pruned by {f}"));
            lines.push(format!(
                "  {catalog} is read: {} files, {}, columns [{}]{filter}",
                planned.n_files,
                size(planned.n_bytes),
                columns.join(", ")
            ));
            lines.extend(planned.partitions().map(|line| format!("    {line}")));
            if let Some(metrics) = &metrics {
                lines.extend(Pruned::of(metrics).told().map(|line| format!("    {line}")));
                let rows = metrics.output_rows().unwrap_or_default();
                let bytes = size(count("bytes_scanned") as u64);
                lines.push(format!("    came back: {rows} rows, {bytes} read"));
            }
        }
        for child in node.children() {
            self.sources(child, lines);
        }
        if let Some(files) = node.downcast_ref::<FilteredFilesExec>() {
            let what = if self.ran.is_some() { "learned" } else { "pruned" };
            lines.push(format!("    {what} at run time: {}", files.told()));
        }
    }
}

fn file_scan(node: &Arc<dyn ExecutionPlan>) -> Option<&FileScanConfig> {
    node.downcast_ref::<DataSourceExec>()?.data_source().downcast_ref::<FileScanConfig>()
}

/// Returns what a node is. The files of a scan are named as users would write them.
fn one_line(node: &Arc<dyn ExecutionPlan>) -> String {
    let line = displayable(node.as_ref()).one_line().to_string();
    let Some(scan) = file_scan(node) else { return line };
    // They stand in lists of lists, before anything that is called after columns.
    let (files, rest) = line.split_at(line.find("]]}").unwrap_or_default());
    let root = root_of(&scan.object_store_url);
    let shown = scan.file_groups.iter().take(FILES_SHOWN);
    let shown = shown.flat_map(|group| group.iter().take(FILES_SHOWN));
    let paths = shown.map(|file| &file.object_meta.location).collect::<BTreeSet<_>>();
    let whole = paths.into_iter().fold(files.to_owned(), |told, path| {
        let told = told.replace(&format!("[{path}"), &format!("[{root}{path}"));
        told.replace(&format!(", {path}"), &format!(", {root}{path}"))
    });
    whole + rest
}

/// Collects the catalogs of which a scan learns more at run time.
fn learners(node: &Arc<dyn ExecutionPlan>, found: &mut BTreeSet<String>) {
    if let Some(scan) = node.downcast_ref::<RemoteScanExec>().filter(|scan| scan.learns()) {
        found.insert(scan.catalog().to_owned());
    }
    node.children().into_iter().for_each(|child| learners(child, found));
}

/// Names that the planner makes are told as the user wrote them: columns of one name by it, queries in a source's own language
/// as such.
fn as_written(line: &str) -> String {
    let mut told = String::with_capacity(line.len());
    let mut letters = line.chars().peekable();
    while let Some(letter) = letters.next() {
        if letter != MARK {
            told.push(letter);
            continue;
        }
        while letters.next_if(char::is_ascii_digit).is_some() {}
    }
    told
}

/// Returns what a statement calls a table.
fn shown(table: &TableReference) -> String {
    match (table.catalog(), table.schema()) {
        (Some(catalog), Some(NATIVE_QUERY)) => {
            let text = table.table().split_whitespace().collect::<Vec<_>>().join(" ");
            let start = text.chars().take(40).collect::<String>();
            let more = if start.len() < text.len() { "…" } else { "" };
            format!("{catalog}.query($$ {start}{more} $$)")
        }
        _ => table.to_string(),
    }
}

/// Adds what [`Report::stays`] returns; `learning` are the catalogs that are sent more at run time.
fn list_what_stays(
    plan: &LogicalPlan,
    learning: &BTreeSet<String>,
    lines: &mut Vec<String>,
) -> Result<()> {
    plan.apply_with_subqueries(|node| {
        if let LogicalPlan::Filter(filter) = node
            && let Some(scan) = scan_below(&filter.input)
            && let Ok(provider) = source_as_provider(&scan.source)
            && let Some(table) = provider.downcast_ref::<FederatedTable>()
        {
            for condition in split_conjunction(&filter.predicate) {
                let Some(why) = table.why_kept(condition) else { continue };
                let asks = condition
                    .exists(|part| Ok(matches!(part, Expr::ScalarSubquery(_))))
                    .unwrap_or_default();
                let why = match asks && learning.contains(table.catalog()) {
                    true => {
                        "checked for each row; what the subquery gives is sent once it is known"
                    }
                    false => why,
                };
                let table = shown(&scan.table_name);
                let mut condition = condition.human_display().to_string();
                if scan.table_name.schema() == Some(NATIVE_QUERY) {
                    condition = condition.replace(&format!("{}.", scan.table_name), "");
                }
                lines.push(format!("{table}: {condition} ({why})"));
            }
        }
        lines.extend(why_stays(node));
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(())
}

fn scan_below(plan: &LogicalPlan) -> Option<&TableScan> {
    match plan {
        LogicalPlan::TableScan(scan) => Some(scan),
        LogicalPlan::SubqueryAlias(alias) => scan_below(&alias.input),
        LogicalPlan::Projection(projection) => scan_below(&projection.input),
        _ => None,
    }
}

fn measured(metrics: &MetricsSet) -> String {
    let mut text = match metrics.output_rows() {
        Some(rows) => format!("rows={rows}"),
        None => String::new(),
    };
    if let Some(nanoseconds) = metrics.elapsed_compute() {
        let time = millis(Duration::from_nanos(nanoseconds as u64));
        let _ = write!(text, "{}compute={time}", if text.is_empty() { "" } else { " " });
    }
    if let Some(bytes) = metrics.spilled_bytes().filter(|bytes| *bytes > 0) {
        let _ = write!(text, " spilled={}", size(bytes as u64));
    }
    text
}

fn millis(time: Duration) -> String {
    format!("{:.3} ms", time.as_secs_f64() * 1000.0)
}

fn size(bytes: u64) -> String {
    indicatif::HumanBytes(bytes).to_string()
}

/// Runs a plan to its end and throws the rows away. Returns the time it took and how many there were.
pub(super) async fn run(
    plan: &Arc<dyn ExecutionPlan>,
    context: Arc<datafusion::execution::TaskContext>,
) -> Result<(Duration, usize)> {
    use futures::StreamExt;
    let start = Instant::now();
    let mut stream = datafusion::physical_plan::execute_stream(Arc::clone(plan), context)?;
    let mut n_rows = 0;
    while let Some(batch) = stream.next().await {
        n_rows += batch?.num_rows();
    }
    Ok((start.elapsed(), n_rows))
}
