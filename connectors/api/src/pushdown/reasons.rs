//! Why an aggregate, an order or a join of a source's rows stayed in the engine, for `EXPLAIN`.

use std::sync::Arc;

use datafusion::datasource::source_as_provider;
use datafusion::logical_expr::{Aggregate, Expr, Join, JoinType, LogicalPlan, Sort, TableScan};

use super::lower::{self, Input};
use super::{DERIVED, covered};
use crate::{FederatedTable, Predicate, RemoteTable, SourceTable, Step};

/// Returns what stayed and why, as one line, if a node stands above rows of a source that could take such a node over. Asked of a
/// plan after its rules.
pub fn why_stays(node: &LogicalPlan) -> Option<String> {
    match node {
        LogicalPlan::Aggregate(aggregate) => of_aggregate(aggregate),
        LogicalPlan::Sort(sort) => of_top_n(sort),
        LogicalPlan::Join(join) => of_join(join),
        _ => None,
    }
}

/// The scan below a node, with filters, names and expressions in between.
struct Below<'p> {
    scan: &'p TableScan,
    table: Arc<FederatedTable>,
    /// What the statement calls it, if it has a name for it.
    alias: Option<String>,
    /// A condition that the engine checks.
    filter: bool,
    /// What is computed in between.
    computed: Option<&'p Expr>,
}

impl<'p> Below<'p> {
    fn of(plan: &'p LogicalPlan) -> Option<Self> {
        match plan {
            LogicalPlan::TableScan(scan) => {
                let provider = source_as_provider(&scan.source).ok()?;
                let table = Arc::new(provider.downcast_ref::<FederatedTable>()?.clone());
                let SourceTable::Remote(remote) = table.source_table() else { return None };
                let schema = remote.schema();
                let filter = scan.filters.iter().any(|filter| {
                    Predicate::lower(filter, &schema)
                        .is_none_or(|lowered| !remote.supports(&lowered))
                });
                Some(Self { scan, table, alias: None, filter, computed: None })
            }
            LogicalPlan::SubqueryAlias(alias) => {
                let name = alias.alias.to_string();
                Some(Self { alias: Some(name), ..Self::of(&alias.input)? })
            }
            LogicalPlan::Filter(filter) => Some(Self { filter: true, ..Self::of(&filter.input)? }),
            LogicalPlan::Projection(projection) => {
                let below = Self::of(&projection.input)?;
                let computed = projection.expr.iter().find(|expr| !is_column(expr));
                Some(Self { computed: below.computed.or(computed), ..below })
            }
            _ => None,
        }
    }

    fn name(&self) -> String {
        if let Some(alias) = &self.alias {
            return alias.clone();
        }
        match self.scan.table_name.table() {
            DERIVED => self.table.catalog().to_owned(),
            _ => self.scan.table_name.to_string(),
        }
    }

    /// Returns what keeps any node above from the source.
    fn in_the_way(&self, plan: &LogicalPlan) -> Option<String> {
        if self.table.pushing_remote().is_none() {
            return Some("pushdown is off".to_owned());
        }
        if self.filter {
            return Some("filters below it are kept".to_owned());
        }
        let computed = self.computed.filter(|_| Input::of(plan).is_none())?;
        Some(format!("{} below it is computed by the engine", computed.human_display()))
    }
}

fn is_column(expr: &Expr) -> bool {
    match expr {
        Expr::Alias(alias) => is_column(&alias.expr),
        expr => matches!(expr, Expr::Column(_)),
    }
}

fn not_computed(expr: &Expr) -> String {
    format!("{} is an expression that is not sent", expr.human_display())
}

fn unknown(what: &str, expr: &Expr) -> String {
    format!("the source is not known to {what} {} as the engine does", expr.human_display())
}

fn of_aggregate(node: &Aggregate) -> Option<String> {
    let below = Below::of(&node.input)?;
    let what = if node.aggr_expr.is_empty() { "DISTINCT" } else { "aggregate" };
    let why = below.in_the_way(&node.input).or_else(|| {
        let arguments = |input: &Input<'_>| lower::arguments(node, input).cloned().collect();
        let arguments: Vec<Expr> = arguments(&Input::of(&node.input)?);
        for argument in &arguments {
            let Some(input) = Input::of(&node.input) else { break };
            if input.computing([argument]).is_none() {
                return Some(not_computed(argument));
            }
        }
        let input = Input::of(&node.input)?.computing(&arguments)?;
        for call in &node.aggr_expr {
            let Some(lowered) = lower::function(call, &input) else {
                return Some(format!("{} is not among what is sent", call.human_display()));
            };
            let step = Step::Aggregate { keys: Vec::new(), aggregates: vec![lowered] };
            if input.remote.derive(&input.request, &step).is_none() {
                return Some(unknown("compute", call));
            }
        }
        let ungrouped = node.group_expr.iter().find(|key| {
            let step = Step::Aggregate {
                keys: input.column(key).into_iter().collect(),
                aggregates: Vec::new(),
            };
            input.remote.derive(&input.request, &step).is_none()
        });
        ungrouped.map(|key| unknown("group by", key))
    });
    let why = why.unwrap_or_else(|| "its result would have another type".to_owned());
    Some(format!("{what} of {}: {why}", below.name()))
}

fn of_top_n(node: &Sort) -> Option<String> {
    let fetch = node.fetch?;
    let below = Below::of(&node.input)?;
    let few = |rows: usize| rows <= fetch;
    if below.table.most_rows().is_some_and(few) || below.scan.fetch.is_some_and(few) {
        return None;
    }
    let why = below.in_the_way(&node.input).or_else(|| {
        for by in &node.expr {
            let Some(input) = Input::of(&node.input)?.computing([&by.expr]) else {
                return Some(not_computed(&by.expr));
            };
            let alone = Sort { expr: vec![by.clone()], ..node.clone() };
            let Some(lowered) = lower::sort(&alone, &input) else {
                return Some(format!("{} is an expression", by.expr.human_display()));
            };
            let step = Step::TopN { by: lowered, rows: fetch };
            if input.remote.derive(&input.request, &step).is_none() {
                return Some(unknown("order by", &by.expr));
            }
        }
        None
    });
    let why = why.unwrap_or_else(|| "the source does not take it over".to_owned());
    Some(format!("order with a limit of {}: {why}", below.name()))
}

fn of_join(node: &Join) -> Option<String> {
    let (one, other) = (Below::of(&node.left)?, Below::of(&node.right)?);
    if one.table.catalog() != other.table.catalog() {
        return None;
    }
    let in_the_way = one.in_the_way(&node.left).or_else(|| other.in_the_way(&node.right));
    let why = in_the_way.unwrap_or_else(|| {
        let inputs = Input::of(&node.left).zip(Input::of(&node.right));
        inputs.map_or_else(
            || "a limit below it is kept".to_owned(),
            |(left, right)| not_joined(node, &left, &right),
        )
    });
    Some(format!("join of {} and {}: {why}", one.name(), other.name()))
}

fn not_joined(node: &Join, left: &Input<'_>, right: &Input<'_>) -> String {
    if let Some(join) = lower::join(node, left, right) {
        let (lefts, rights): (Vec<_>, Vec<_>) = join.on.iter().copied().unzip();
        let (one, two): (&dyn RemoteTable, &dyn RemoteTable) =
            (left.remote.as_ref(), right.remote.as_ref());
        return match covered(one, &lefts) || covered(two, &rights) {
            true => "the source is not known to compare its columns as the engine does".to_owned(),
            false => "no unique key of either side is among its columns, so it may make more rows \
                      than both have"
                .to_owned(),
        };
    }
    if node.on.is_empty() {
        return "it is not on equal columns".to_owned();
    }
    if let Some(filter) = &node.filter {
        return format!("it has a condition besides equal columns, {}", filter.human_display());
    }
    for (one, two) in &node.on {
        let (Some(column), Some(partner)) = (left.column(one), right.column(two)) else {
            let computed = if left.column(one).is_none() { one } else { two };
            return format!("{} is an expression", computed.human_display());
        };
        if left.data_type(column) != right.data_type(partner) {
            return format!(
                "{} and {} have different types",
                one.human_display(),
                two.human_display()
            );
        }
    }
    match node.join_type {
        JoinType::Inner | JoinType::Left | JoinType::Right | JoinType::Full => {
            "NULL equals NULL in it".to_owned()
        }
        _ => "IN, EXISTS and their opposites are not sent".to_owned(),
    }
}
