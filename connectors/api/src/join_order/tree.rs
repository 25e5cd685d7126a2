//! Takes a tree of inner joins on equal columns apart.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion::common::{JoinSide, JoinType, NullEquality};
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::Operator;
use datafusion::physical_expr::expressions::{
    BinaryExpr, Column, InListExpr, IsNotNullExpr, IsNullExpr, LikeExpr, Literal, NotExpr,
};
use datafusion::physical_plan::execution_plan::replace_children_if_necessary;
use datafusion::physical_plan::joins::{HashJoinExec, PartitionMode};
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::{ExecutionPlan, PhysicalExpr};

use super::classes::{Class, classes};

/// A column of a relation, both by index.
pub(super) type At = (usize, usize);

/// In which order relations are joined.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Shape {
    Relation(usize),
    Join(Box<Shape>, Box<Shape>),
}

/// A condition of more than one relation that is no equality of two columns.
#[derive(Debug)]
pub(super) struct Filter {
    pub(super) expr: Arc<dyn PhysicalExpr>,
    /// The columns it is about, in the order of `schema`, which its own columns are indexes into.
    pub(super) columns: Vec<At>,
    pub(super) schema: SchemaRef,
}

/// A tree of joins in its parts.
#[derive(Debug)]
pub(super) struct Tree {
    /// In the order in which they are written.
    pub(super) relations: Vec<Arc<dyn ExecutionPlan>>,
    /// Columns that are equal where the relations are joined.
    pub(super) classes: Vec<Class>,
    pub(super) filters: Vec<Filter>,
    /// What the tree gives.
    pub(super) output: Vec<At>,
    /// What it calls them.
    pub(super) schema: SchemaRef,
    pub(super) shape: Shape,
    pub(super) mode: PartitionMode,
}

impl Tree {
    pub(super) fn of(plan: &Arc<dyn ExecutionPlan>) -> Option<Self> {
        let mut tree = Self {
            relations: Vec::new(),
            classes: Vec::new(),
            filters: Vec::new(),
            output: Vec::new(),
            schema: plan.schema(),
            shape: Shape::Relation(0),
            mode: *join_below(plan)?.partition_mode(),
        };
        let mut equal = Vec::new();
        let (shape, output) = tree.add(plan, &mut equal)?;
        (tree.shape, tree.output) = (shape, output);
        tree.classes = classes(&equal);
        Some(tree)
    }

    /// Adds a part of the plan; returns where its columns come from.
    fn add(
        &mut self,
        plan: &Arc<dyn ExecutionPlan>,
        equal: &mut Vec<(At, At)>,
    ) -> Option<(Shape, Vec<At>)> {
        if let Some(join) = plan.downcast_ref::<HashJoinExec>().filter(|join| is_free(join)) {
            let (left, lefts) = self.add(join.left(), equal)?;
            let (right, rights) = self.add(join.right(), equal)?;
            for (one, other) in join.on() {
                equal.push((*lefts.get(index(one)?)?, *rights.get(index(other)?)?));
            }
            if let Some(filter) = join.filter() {
                let columns = filter.column_indices().iter().map(|column| match column.side {
                    JoinSide::Left => lefts.get(column.index).copied(),
                    JoinSide::Right => rights.get(column.index).copied(),
                    JoinSide::None => None,
                });
                self.filters.push(Filter {
                    expr: Arc::clone(filter.expression()),
                    columns: columns.collect::<Option<Vec<_>>>()?,
                    schema: Arc::clone(filter.schema()),
                });
            }
            let both = [lefts, rights].concat();
            let output = match &join.projection {
                Some(chosen) => {
                    chosen.iter().map(|index| both.get(*index).copied()).collect::<Option<_>>()?
                }
                None => both,
            };
            return Some((Shape::Join(Box::new(left), Box::new(right)), output));
        }
        if let Some(projection) = passed(plan) {
            let (shape, below) = self.add(projection.input(), equal)?;
            let chosen = projection.expr().iter();
            let chosen = chosen.map(|column| below.get(index(&column.expr)?).copied());
            return Some((shape, chosen.collect::<Option<Vec<_>>>()?));
        }
        let relation = self.relations.len();
        self.relations.push(Arc::clone(plan));
        let columns = (0..plan.schema().fields().len()).map(|column| (relation, column));
        Some((Shape::Relation(relation), columns.collect()))
    }
}

/// Returns what is joined below `plan`, in order; only `plan` itself if it is no such join.
pub(super) fn leaves(plan: &Arc<dyn ExecutionPlan>) -> Vec<Arc<dyn ExecutionPlan>> {
    match inputs(plan) {
        Some(inputs) => inputs.into_iter().flat_map(leaves).collect(),
        None => vec![Arc::clone(plan)],
    }
}

/// Returns the same joins of other relations.
pub(super) fn with_leaves(
    plan: &Arc<dyn ExecutionPlan>,
    relations: &mut impl Iterator<Item = Arc<dyn ExecutionPlan>>,
) -> DfResult<Arc<dyn ExecutionPlan>> {
    let Some(inputs) = inputs(plan) else {
        return Ok(relations.next().unwrap_or_else(|| Arc::clone(plan)));
    };
    let mut children = Vec::new();
    for input in inputs {
        children.push(with_leaves(input, relations)?);
    }
    replace_children_if_necessary(Arc::clone(plan), children)
}

fn inputs(plan: &Arc<dyn ExecutionPlan>) -> Option<Vec<&Arc<dyn ExecutionPlan>>> {
    if let Some(join) = plan.downcast_ref::<HashJoinExec>().filter(|join| is_free(join)) {
        return Some(vec![join.left(), join.right()]);
    }
    passed(plan).map(|projection| vec![projection.input()])
}

/// Returns a choice of columns of a join, which may be made after any other join as well.
fn passed(plan: &Arc<dyn ExecutionPlan>) -> Option<&ProjectionExec> {
    let projection = plan.downcast_ref::<ProjectionExec>()?;
    let plain = projection.expr().iter().all(|column| index(&column.expr).is_some());
    (plain && join_below(projection.input()).is_some()).then_some(projection)
}

/// Returns the join that `plan` is, or chooses columns of.
fn join_below(plan: &Arc<dyn ExecutionPlan>) -> Option<&HashJoinExec> {
    match plan.downcast_ref::<HashJoinExec>() {
        Some(join) => is_free(join).then_some(join),
        None => join_below(passed(plan)?.input()),
    }
}

/// Returns whether the join gives the same rows in any order with others like it.
fn is_free(join: &HashJoinExec) -> bool {
    *join.join_type() == JoinType::Inner
        && join.null_equality() == NullEquality::NullEqualsNothing
        && !join.null_aware
        && join.fetch().is_none()
        && !join.on().is_empty()
        && join.on().iter().all(|(one, other)| index(one).is_some() && index(other).is_some())
        && join.filter().is_none_or(|filter| never_fails(filter.expression()))
}

fn index(expr: &Arc<dyn PhysicalExpr>) -> Option<usize> {
    expr.downcast_ref::<Column>().map(Column::index)
}

/// Returns whether a condition has one answer for each row and no error for any: in another order it may be asked of other rows.
fn never_fails(expr: &Arc<dyn PhysicalExpr>) -> bool {
    let is = |known: bool| known && expr.children().into_iter().all(never_fails);
    if let Some(binary) = expr.downcast_ref::<BinaryExpr>() {
        return is(matches!(
            binary.op(),
            Operator::Eq
                | Operator::NotEq
                | Operator::Lt
                | Operator::LtEq
                | Operator::Gt
                | Operator::GtEq
                | Operator::IsDistinctFrom
                | Operator::IsNotDistinctFrom
                | Operator::And
                | Operator::Or
        ));
    }
    is(expr.downcast_ref::<Column>().is_some()
        || expr.downcast_ref::<Literal>().is_some()
        || expr.downcast_ref::<NotExpr>().is_some()
        || expr.downcast_ref::<IsNullExpr>().is_some()
        || expr.downcast_ref::<IsNotNullExpr>().is_some()
        || expr.downcast_ref::<InListExpr>().is_some()
        || expr.downcast_ref::<LikeExpr>().is_some())
}
