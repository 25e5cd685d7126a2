//! Which type the places of a plan give to the parameters that stand there: `left($1, $2)` takes a text and a number.
//!
//! Source: PostgreSQL 16, sections 10.2 to 10.5: a parameter has the type of the first place that tells one. Where none does it is
//! text.

use arrow::datatypes::DataType;
use datafusion::common::DFSchema;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::type_coercion::binary::type_union_resolution;
use datafusion::logical_expr::{Case, Expr, ExprSchemable, LogicalPlan, Operator};
use maru_core::Result;

use crate::session::{models, named_objects, quantified};

/// A parameter, and the type of one of its places.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) id: String,
    pub(super) data_type: DataType,
    /// Whether what the client has declared counts more: it is cast to this type, or compared with such an array.
    pub(super) yields: bool,
}

/// Returns the places of a plan that tell a type, in their order.
pub(super) fn of(plan: &LogicalPlan) -> Result<Vec<Place>> {
    let mut found = Vec::new();
    plan.apply_with_subqueries(|node| {
        let mut schema = DFSchema::empty();
        for input in node.inputs() {
            schema.merge(input.schema());
        }
        if node.inputs().is_empty() {
            schema.merge(node.schema());
        }
        let mut places = Places { schema: &schema, found: &mut found };
        match node {
            LogicalPlan::Filter(filter) => places.tell(&filter.predicate, Some(DataType::Boolean)),
            LogicalPlan::Limit(limit) => {
                for count in [&limit.skip, &limit.fetch].into_iter().flatten() {
                    places.tell(count, Some(DataType::Int64));
                }
            }
            _ => {}
        }
        node.apply_expressions(|expression| {
            expression.apply(|part| {
                places.look(part);
                Ok(TreeNodeRecursion::Continue)
            })
        })
    })?;
    Ok(found)
}

/// Returns the name of a parameter that has no type yet.
pub(super) fn open(expr: &Expr) -> Option<&str> {
    match expr {
        Expr::Placeholder(placeholder) if placeholder.field.is_none() => Some(&placeholder.id),
        _ => None,
    }
}

struct Places<'a> {
    schema: &'a DFSchema,
    found: &'a mut Vec<Place>,
}

impl Places<'_> {
    fn tell(&mut self, expr: &Expr, data_type: Option<DataType>) {
        if let (Some(id), Some(data_type)) = (open(expr), data_type) {
            self.found.push(Place { id: id.to_owned(), data_type, yields: false });
        }
    }

    fn known(&self, expr: &Expr) -> Option<DataType> {
        expr.get_type(self.schema).ok().filter(|data_type| !data_type.is_null())
    }

    fn first_known<'e>(&self, among: impl IntoIterator<Item = &'e Expr>) -> Option<DataType> {
        among.into_iter().find_map(|expr| self.known(expr))
    }

    /// Returns the type that several values have together.
    fn common<'e>(&self, among: impl IntoIterator<Item = &'e Expr>) -> Option<DataType> {
        let types = among.into_iter().filter_map(|expr| self.known(expr)).collect::<Vec<_>>();
        type_union_resolution(&types).or_else(|| types.first().cloned())
    }

    fn look(&mut self, part: &Expr) {
        match part {
            Expr::Placeholder(placeholder) => {
                if let Some(field) = &placeholder.field {
                    let (id, data_type) = (placeholder.id.clone(), field.data_type().clone());
                    self.found.push(Place { id, data_type, yields: false });
                }
            }
            Expr::Cast(cast) => {
                if let Some(id) = open(&cast.expr) {
                    let (id, data_type) = (id.to_owned(), cast.field.data_type().clone());
                    self.found.push(Place { id, data_type, yields: true });
                }
            }
            Expr::Not(inner) => self.tell(inner, Some(DataType::Boolean)),
            Expr::BinaryExpr(binary) if matches!(binary.op, Operator::And | Operator::Or) => {
                self.tell(&binary.left, Some(DataType::Boolean));
                self.tell(&binary.right, Some(DataType::Boolean));
            }
            Expr::Between(between) => {
                let ends = self.first_known([between.low.as_ref(), between.high.as_ref()]);
                self.tell(&between.expr, ends);
            }
            Expr::InList(list) => {
                let items = self.first_known(&list.list);
                self.tell(&list.expr, items);
            }
            Expr::Case(case) => self.look_at_case(case),
            Expr::ScalarFunction(call) => {
                if let (named_objects::OIDS, [argument]) = (call.name(), call.args.as_slice())
                    && let Some(id) = open(argument)
                {
                    let (id, data_type) = (id.to_owned(), named_objects::oids());
                    self.found.push(Place { id, data_type, yields: true });
                }
                if let Some((id, data_type)) = quantified::parameter_type(call, self.schema) {
                    self.found.push(Place { id, data_type, yields: true });
                }
                for (id, data_type) in models::parameters_of(call) {
                    self.found.push(Place { id, data_type, yields: true });
                }
                self.look_at_arguments(call.name(), &call.args);
            }
            Expr::AggregateFunction(call) => {
                self.look_at_arguments(call.func.name(), &call.params.args);
                if let Some(filter) = &call.params.filter {
                    self.tell(filter, Some(DataType::Boolean));
                }
            }
            Expr::WindowFunction(call) => {
                self.look_at_arguments(call.fun.name(), &call.params.args);
                if let Some(filter) = &call.params.filter {
                    self.tell(filter, Some(DataType::Boolean));
                }
            }
            _ => {}
        }
    }

    fn look_at_case(&mut self, case: &Case) {
        let of_when = match case.expr.as_deref() {
            Some(base) => self.known(base),
            None => Some(DataType::Boolean),
        };
        let whens = case.when_then_expr.iter().map(|(when, _)| when.as_ref());
        if let Some(base) = case.expr.as_deref() {
            let of_base = self.first_known(whens.clone());
            self.tell(base, of_base);
        }
        for when in whens {
            self.tell(when, of_when.clone());
        }
        let thens = case.when_then_expr.iter().map(|(_, then)| then.as_ref());
        let branches = thens.chain(case.else_expr.as_deref());
        let common = self.common(branches.clone());
        for branch in branches {
            self.tell(branch, common.clone());
        }
    }

    fn look_at_arguments(&mut self, function: &str, arguments: &[Expr]) {
        for (at, argument) in arguments.iter().enumerate() {
            if open(argument).is_none() {
                continue;
            }
            let data_type = match takes(function, at, arguments.len()) {
                Some(Takes::Type(data_type)) => Some(data_type),
                Some(Takes::Same) => self.common(arguments),
                Some(Takes::Item(array)) => {
                    let array = arguments.get(array).and_then(|array| self.known(array));
                    array.as_ref().and_then(item_of)
                }
                None => None,
            };
            self.tell(argument, data_type);
        }
    }
}

fn item_of(array: &DataType) -> Option<DataType> {
    match array {
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            Some(item.data_type().clone())
        }
        _ => None,
    }
}

/// What a function takes for an argument.
enum Takes {
    Type(DataType),
    /// The type that all arguments have together.
    Same,
    /// An item of the array that is the argument of this number.
    Item(usize),
}

/// Returns what a function takes for the argument of a number, from zero, if it is no text.
fn takes(function: &str, at: usize, count: usize) -> Option<Takes> {
    Some(match (function, at) {
        (
            "left" | "right" | "repeat" | "lpad" | "rpad" | "substr" | "array_element"
            | "array_length" | "lag" | "lead" | "nth_value",
            1,
        )
        | ("substr" | "split_part", 2)
        | ("round" | "trunc", 1)
        | ("chr" | "ntile" | "pg_cancel_backend" | "pg_terminate_backend", 0)
        | ("make_date", _) => Takes::Type(DataType::Int32),
        ("round" | "trunc", 0) if count == 2 => Takes::Type(DataType::Decimal128(38, 10)),
        (
            "abs" | "round" | "trunc" | "ceil" | "floor" | "signum" | "sqrt" | "cbrt" | "exp"
            | "ln" | "log" | "log10" | "power" | "sin" | "cos" | "tan" | "asin" | "acos" | "atan"
            | "degrees" | "radians" | "pg_sleep",
            _,
        )
        | ("percentile_cont" | "percentile_disc", 1) => Takes::Type(DataType::Float64),
        ("to_timestamp", 0) if count == 1 => Takes::Type(DataType::Float64),
        ("coalesce" | "nullif" | "greatest" | "least" | "make_array", _) => Takes::Same,
        ("array_append" | "array_position" | "array_positions" | "array_remove", 1) => {
            Takes::Item(0)
        }
        ("array_prepend", 0) => Takes::Item(1),
        // One number of eight bytes, or two of four.
        (lock, _) if lock.starts_with("pg_") && lock.contains("advisory") => match count {
            1 => Takes::Type(DataType::Int64),
            _ => Takes::Type(DataType::Int32),
        },
        _ => return None,
    })
}
