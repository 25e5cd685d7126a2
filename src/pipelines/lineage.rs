//! Which columns a column is made of, read off a plan: those that its value is computed from, not those that choose its rows.

use std::collections::{BTreeSet, HashMap};

use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, JoinType};
use datafusion::logical_expr::{Distinct, Expr, LogicalPlan};
use serde::{Deserialize, Serialize};

/// A column of a table: the table as the plan names it, and the column; or a version of a model, without a column.
type Source = (String, String);

/// One column that is written, and what it is made of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Made {
    pub column: String,
    pub of: BTreeSet<Source>,
}

/// Returns what the columns are made of that a plan writes, or gives.
pub(super) fn columns(plan: &LogicalPlan) -> Vec<Made> {
    let rows = match plan {
        LogicalPlan::Extension(extension) => extension.node.inputs().into_iter().next(),
        other => Some(other),
    };
    let Some(rows) = rows else { return Vec::new() };
    let mut tracer = Tracer::default();
    let fields = rows.schema().fields().iter().enumerate();
    // What a write needs besides the columns begins with a sign that no name of a column does.
    let fields = fields.filter(|(_, field)| !field.name().starts_with('$'));
    fields
        .map(|(index, field)| Made { column: field.name().clone(), of: tracer.column(rows, index) })
        .collect()
}

#[derive(Default)]
struct Tracer {
    /// By node and column: plans that use a column several times are not walked as often.
    known: HashMap<(*const LogicalPlan, usize), BTreeSet<Source>>,
}

impl Tracer {
    fn column(&mut self, plan: &LogicalPlan, index: usize) -> BTreeSet<Source> {
        let key = (std::ptr::from_ref(plan), index);
        if let Some(found) = self.known.get(&key) {
            return found.clone();
        }
        let found = self.look(plan, index);
        self.known.insert(key, found.clone());
        found
    }

    fn look(&mut self, plan: &LogicalPlan, index: usize) -> BTreeSet<Source> {
        match plan {
            LogicalPlan::TableScan(scan) => {
                let column = scan.projected_schema.fields().get(index);
                let table = scan.table_name.to_string();
                column.map(|column| (table, column.name().clone())).into_iter().collect()
            }
            LogicalPlan::Projection(projection) => {
                self.expression(projection.expr.get(index), &projection.input)
            }
            LogicalPlan::Aggregate(aggregate) => {
                let n_groups = aggregate.group_expr.len();
                let grouping_sets =
                    aggregate.group_expr.iter().any(|expr| matches!(expr, Expr::GroupingSet(_)));
                if grouping_sets {
                    return self.all(plan);
                }
                let expr = aggregate.group_expr.get(index);
                let expr = expr.or_else(|| aggregate.aggr_expr.get(index.checked_sub(n_groups)?));
                self.expression(expr, &aggregate.input)
            }
            LogicalPlan::Window(window) => {
                let n_columns = window.input.schema().fields().len();
                match index.checked_sub(n_columns) {
                    None => self.column(&window.input, index),
                    Some(index) => self.expression(window.window_expr.get(index), &window.input),
                }
            }
            LogicalPlan::Join(join) => {
                let n_left = join.left.schema().fields().len();
                let right_only =
                    matches!(join.join_type, JoinType::RightSemi | JoinType::RightAnti);
                match index.checked_sub(n_left) {
                    _ if right_only => self.column(&join.right, index),
                    None => self.column(&join.left, index),
                    // A mark is made of nothing.
                    Some(index) if index < join.right.schema().fields().len() => {
                        self.column(&join.right, index)
                    }
                    Some(_) => BTreeSet::new(),
                }
            }
            LogicalPlan::Union(union) => {
                union.inputs.iter().flat_map(|input| self.column(input, index)).collect()
            }
            LogicalPlan::Distinct(Distinct::On(on)) => {
                self.expression(on.select_expr.get(index), &on.input)
            }
            LogicalPlan::Distinct(Distinct::All(input)) => self.column(input, index),
            LogicalPlan::SubqueryAlias(alias) => self.column(&alias.input, index),
            LogicalPlan::Filter(filter) => self.column(&filter.input, index),
            LogicalPlan::Sort(sort) => self.column(&sort.input, index),
            LogicalPlan::Limit(limit) => self.column(&limit.input, index),
            LogicalPlan::Repartition(repartition) => self.column(&repartition.input, index),
            LogicalPlan::Subquery(subquery) => self.column(&subquery.subquery, index),
            LogicalPlan::EmptyRelation(_) | LogicalPlan::Values(_) => BTreeSet::new(),
            // What is not known in detail may be of everything.
            other => self.all(other),
        }
    }

    /// All columns of all inputs.
    fn all(&mut self, plan: &LogicalPlan) -> BTreeSet<Source> {
        let mut found = BTreeSet::new();
        for input in plan.inputs() {
            for index in 0..input.schema().fields().len() {
                found.extend(self.column(input, index));
            }
        }
        found
    }

    fn expression(&mut self, expr: Option<&Expr>, input: &LogicalPlan) -> BTreeSet<Source> {
        let mut found = BTreeSet::new();
        let Some(expr) = expr else { return found };
        let walked = expr.apply(|part| {
            match part {
                Expr::Column(column) => found.extend(self.of_input(column, input)),
                // What a model says is made of the model, too.
                Expr::ScalarFunction(call) => {
                    let function = call.func.inner().as_ref() as &dyn std::any::Any;
                    let score = function.downcast_ref::<maru_ml::score::Score>();
                    let model = score.map(maru_ml::score::Score::model);
                    // `ml_predict` stands as it was written until the plan is optimised.
                    let model = model.or_else(|| crate::session::asked_version(part));
                    found.extend(model.map(|model| (model, String::new())));
                }
                Expr::ScalarSubquery(query) => found.extend(self.column(&query.subquery, 0)),
                _ => {}
            }
            Ok(TreeNodeRecursion::Continue)
        });
        debug_assert!(walked.is_ok());
        found
    }

    fn of_input(&mut self, column: &Column, input: &LogicalPlan) -> BTreeSet<Source> {
        match input.schema().index_of_column(column) {
            Ok(index) => self.column(input, index),
            Err(_) => BTreeSet::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::datatypes::{DataType, Field, Schema};
    use datafusion::datasource::empty::EmptyTable;
    use datafusion::prelude::SessionContext;

    use super::*;

    async fn made(sql: &str) -> Vec<String> {
        let context = SessionContext::new();
        let fields = ["a", "b", "c"].map(|name| Field::new(name, DataType::Int64, true));
        let schema = Arc::new(Schema::new(fields.to_vec()));
        for name in ["t", "u"] {
            let table = Arc::new(EmptyTable::new(Arc::clone(&schema)));
            context.register_table(name, table).unwrap();
        }
        let plan = context.state().create_logical_plan(sql).await.unwrap();
        let shown = |made: Made| {
            let of = made.of.iter().map(|(table, column)| format!("{table}.{column}"));
            format!("{}<{}", made.column, of.collect::<Vec<_>>().join(","))
        };
        columns(&plan).into_iter().map(shown).collect()
    }

    #[tokio::test]
    async fn columns_are_followed_through_plans() {
        for (sql, expected) in [
            ("SELECT a + b AS x, 1 AS y FROM t WHERE c > 0", vec!["x<t.a,t.b", "y<"]),
            (
                "SELECT k.a AS g, sum(u.b) AS s FROM t AS k JOIN u ON u.a = k.a GROUP BY k.a",
                vec!["g<t.a", "s<u.b"],
            ),
            (
                "WITH w AS (SELECT a, row_number() OVER (ORDER BY b) AS n FROM t) SELECT n, a FROM w",
                vec!["n<t.b", "a<t.a"],
            ),
            ("SELECT a FROM t UNION ALL SELECT b FROM u", vec!["a<t.a,u.b"]),
            ("SELECT DISTINCT c AS z FROM (SELECT b, c FROM u) AS v", vec!["z<u.c"]),
            ("SELECT (SELECT max(b) FROM u) AS m, c FROM t", vec!["m<u.b", "c<t.c"]),
        ] {
            assert_eq!(made(sql).await, expected, "{sql}");
        }
    }
}
