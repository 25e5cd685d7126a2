//! Puts joins together in a given order.

use std::sync::Arc;

use arrow::datatypes::Schema;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::common::{JoinSide, JoinType};
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::Operator;
use datafusion::physical_expr::expressions::{BinaryExpr, Column};
use datafusion::physical_plan::joins::utils::{ColumnIndex, JoinFilter};
use datafusion::physical_plan::joins::{HashJoinExec, HashJoinExecBuilder};
use datafusion::physical_plan::projection::{ProjectionExec, ProjectionExpr};
use datafusion::physical_plan::{ExecutionPlan, PhysicalExpr};
use maru_core::Error;

use super::classes::Class;
use super::graph::Graph;
use super::tree::{At, Shape, Tree};

/// A part of the plan, and where its columns come from.
struct Part {
    plan: Arc<dyn ExecutionPlan>,
    columns: Vec<At>,
    relations: Vec<usize>,
}

impl Part {
    fn holds(&self, at: &At) -> bool {
        self.relations.contains(&at.0)
    }

    /// Returns the column that stands for those of a class; `None` if the part has none of it.
    fn of_class<'c>(&self, class: &'c Class) -> Option<&'c At> {
        class.iter().find(|at| self.holds(at))
    }

    fn position(&self, at: &At) -> DfResult<usize> {
        let position = self.columns.iter().position(|column| column == at);
        position.ok_or_else(|| Error::internal("a join lost a column on the way").into())
    }

    fn column(&self, at: &At) -> DfResult<Arc<dyn PhysicalExpr>> {
        let position = self.position(at)?;
        Ok(Arc::new(Column::new(self.plan.schema().field(position).name(), position)))
    }

    fn choose(self, columns: Vec<At>) -> DfResult<Self> {
        if columns == self.columns {
            return Ok(self);
        }
        let chosen = columns.iter().map(|at| {
            let name = self.plan.schema().field(self.position(at)?).name().clone();
            Ok(ProjectionExpr::new(self.column(at)?, name))
        });
        let chosen = chosen.collect::<DfResult<Vec<_>>>()?;
        let plan = Arc::new(ProjectionExec::try_new(chosen, Arc::clone(&self.plan))?);
        Ok(Self { plan, columns, relations: self.relations })
    }
}

/// Returns the joins of `tree` in the order of `shape`, with the columns that the tree gives, by the same names.
pub(super) fn build(tree: &Tree, shape: &Shape, graph: &Graph) -> DfResult<Arc<dyn ExecutionPlan>> {
    let part = part(tree, shape, graph)?;
    let named = tree.output.iter().zip(tree.schema.fields());
    let named = named.map(|(at, field)| Ok(ProjectionExpr::new(part.column(at)?, field.name())));
    let named = named.collect::<DfResult<Vec<_>>>()?;
    Ok(Arc::new(ProjectionExec::try_new(named, Arc::clone(&part.plan))?))
}

fn part(tree: &Tree, shape: &Shape, graph: &Graph) -> DfResult<Part> {
    match shape {
        Shape::Relation(relation) => {
            let plan = Arc::clone(&tree.relations[*relation]);
            let columns = (0..plan.schema().fields().len()).map(|column| (*relation, column));
            Ok(Part { columns: columns.collect(), relations: vec![*relation], plan })
        }
        Shape::Join(one, other) => {
            // The left side is read first and kept.
            let (left, right) =
                if graph.rows(one) <= graph.rows(other) { (one, other) } else { (other, one) };
            joined(tree, part(tree, left, graph)?, part(tree, right, graph)?)
        }
    }
}

fn joined(tree: &Tree, left: Part, right: Part) -> DfResult<Part> {
    // The columns that a part has of a class are equal in it already, so one of them stands for all.
    let on = tree.classes.iter().filter_map(|class| {
        let (one, other) = (left.of_class(class)?, right.of_class(class)?);
        Some(left.column(one).and_then(|one| Ok((one, right.column(other)?))))
    });
    let on = on.collect::<DfResult<Vec<_>>>()?;
    if on.is_empty() {
        return Err(Error::internal("an order of joins has a product in it").into());
    }
    let filter = filter(tree, &left, &right)?;
    let relations = [left.relations.as_slice(), &right.relations].concat();
    let columns = [left.columns.as_slice(), &right.columns].concat();
    let join: HashJoinExec = HashJoinExecBuilder::new(left.plan, right.plan, on, JoinType::Inner)
        .with_filter(filter)
        .with_partition_mode(tree.mode)
        .build()?;
    let joined = Part { plan: Arc::new(join), columns, relations };
    let wanted = joined.columns.iter().filter(|at| is_wanted(tree, &joined, at));
    let wanted = wanted.copied().collect();
    joined.choose(wanted)
}

/// Returns whether a column is needed above a part of the plan.
fn is_wanted(tree: &Tree, part: &Part, at: &At) -> bool {
    let of_equality = |class: &Class| {
        part.of_class(class) == Some(at) && !class.iter().all(|other| part.holds(other))
    };
    tree.output.contains(at)
        || tree.classes.iter().any(of_equality)
        || tree.filters.iter().any(|filter| {
            filter.columns.contains(at) && !filter.columns.iter().all(|other| part.holds(other))
        })
}

/// Returns the conditions that can be asked first where two parts meet.
fn filter(tree: &Tree, left: &Part, right: &Part) -> DfResult<Option<JoinFilter>> {
    let mut columns = Vec::new();
    let mut fields = Vec::new();
    let mut condition: Option<Arc<dyn PhysicalExpr>> = None;
    for filter in &tree.filters {
        let within = |part: &Part| filter.columns.iter().all(|at| part.holds(at));
        let asked = |part: &Part| part.relations.len() > 1 && within(part);
        let here = filter.columns.iter().all(|at| left.holds(at) || right.holds(at));
        if !here || asked(left) || asked(right) {
            continue;
        }
        let first = columns.len();
        for (at, field) in filter.columns.iter().zip(filter.schema.fields()) {
            let (part, side) =
                if left.holds(at) { (left, JoinSide::Left) } else { (right, JoinSide::Right) };
            columns.push(ColumnIndex { index: part.position(at)?, side });
            fields.push(Arc::clone(field));
        }
        let moved = Arc::clone(&filter.expr).transform(|expr| {
            Ok(match expr.downcast_ref::<Column>() {
                Some(column) => {
                    Transformed::yes(Arc::new(Column::new(column.name(), first + column.index()))
                        as Arc<dyn PhysicalExpr>)
                }
                None => Transformed::no(expr),
            })
        });
        let moved = moved.data()?;
        condition = Some(match condition {
            Some(before) => Arc::new(BinaryExpr::new(before, Operator::And, moved)),
            None => moved,
        });
    }
    Ok(condition.map(|expr| JoinFilter::new(expr, columns, Arc::new(Schema::new(fields)))))
}
