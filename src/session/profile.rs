//! `profile(TABLE t)` among the tables of a query: a row for each column of a table or query, from one reading of it.
//!
//! The columns are told apart by their types, which are known only when the query has been planned; what is asked of them is then
//! written as one query of aggregates, and its row is taken apart into as many as there are columns.

use std::fmt;

use arrow::datatypes::DataType;
use datafusion::common::{Column, UnnestOptions};
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::planner::{
    PlannedRelation, RelationPlanner, RelationPlannerContext, RelationPlanning,
};
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder};
use datafusion::sql::parser::Statement as DfStatement;
use maru_core::{Error, ErrorKind, Result, quote_literal};
use maru_sql::Statement;
use maru_sql::ast::{self, FunctionArg, FunctionArgExpr, ObjectNamePart, TableFactor};
use maru_sql::model::PROFILE;

use super::rewrite::{rewrite, shown};
use crate::system::types::sql_name;

/// A column of the result with its type, and what is asked of a column; NULL where that one's type has no answer.
type Told = (&'static str, &'static str, fn(&Asked) -> Option<String>);

const COLUMNS: &[Told] = &[
    ("column_name", "text", |column| Some(quote_literal(&column.name))),
    ("data_type", "text", |column| Some(quote_literal(&sql_name(&column.data_type)))),
    ("n_rows", "bigint", |_| Some("count(*)".to_owned())),
    ("n_nulls", "bigint", |c| Some(format!("count(*) - count({c})"))),
    ("null_percent", "double precision", |c| {
        Some(format!("100.0::double precision * (count(*) - count({c})) / nullif(count(*), 0)"))
    }),
    ("n_distinct", "bigint", |c| c.is_plain().then(|| format!("approx_distinct({c}::text)"))),
    ("min", "text", |c| c.is_ordered().then(|| format!("min({c})"))),
    ("max", "text", |c| c.is_ordered().then(|| format!("max({c})"))),
    ("mean", "double precision", |c| {
        c.data_type.is_numeric().then(|| format!("avg({c}::double precision)"))
    }),
    ("stddev", "double precision", |c| {
        c.data_type.is_numeric().then(|| format!("stddev({c}::double precision)"))
    }),
    ("p25", "text", |c| c.quantile(0.25)),
    ("median", "text", |c| c.quantile(0.5)),
    ("p75", "text", |c| c.quantile(0.75)),
    ("top_values", "", |c| c.is_plain().then(|| format!("top_values({c}::text)"))),
    ("histogram", "", |c| c.is_measured().then(|| format!("histogram({c})"))),
    ("guessed_type", "text", |c| c.is_text().then(|| format!("guess_type({c})"))),
];

/// A column of the input, which is called by its place there: names may be there twice.
struct Asked {
    name: String,
    data_type: DataType,
    place: usize,
}

impl fmt::Display for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "c{}", self.place)
    }
}

impl Asked {
    fn is_text(&self) -> bool {
        matches!(self.data_type, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View)
    }

    /// Whether its values can be told apart as text.
    fn is_plain(&self) -> bool {
        let of_bytes = matches!(
            self.data_type,
            DataType::Binary
                | DataType::LargeBinary
                | DataType::BinaryView
                | DataType::FixedSizeBinary(_)
        );
        !of_bytes && !self.data_type.is_nested() && !self.data_type.is_null()
    }

    fn is_ordered(&self) -> bool {
        self.is_plain() && self.data_type != DataType::Boolean
    }

    /// Whether its values lie on a line.
    fn is_measured(&self) -> bool {
        self.data_type.is_numeric()
            || matches!(self.data_type, DataType::Date32 | DataType::Timestamp(_, _))
    }

    fn quantile(&self, part: f64) -> Option<String> {
        let of = |values: &str| {
            format!("approx_percentile_cont({part}) WITHIN GROUP (ORDER BY {values})")
        };
        let seconds = || of(&format!("extract(epoch FROM {self})::double precision"));
        let moment =
            || format!("(TIMESTAMP '1970-01-01 00:00:00' + {} * INTERVAL '1 second')", seconds());
        match &self.data_type {
            DataType::Date32 => Some(format!("{}::date", moment())),
            DataType::Timestamp(_, None) => Some(moment()),
            DataType::Timestamp(_, Some(_)) => Some(format!("to_timestamp({})", seconds())),
            other if other.is_numeric() => Some(of(&format!("{self}::double precision"))),
            _ => None,
        }
    }
}

/// Plans the function.
#[derive(Debug)]
pub(super) struct Profiles;

impl RelationPlanner for Profiles {
    fn plan_relation(
        &self,
        relation: TableFactor,
        context: &mut dyn RelationPlannerContext,
    ) -> DfResult<RelationPlanning> {
        let TableFactor::Table { name, args: Some(arguments), alias, .. } = &relation else {
            return Ok(RelationPlanning::Original(Box::new(relation)));
        };
        let [ObjectNamePart::Identifier(name)] = name.0.as_slice() else {
            return Ok(RelationPlanning::Original(Box::new(relation)));
        };
        if name.value != PROFILE {
            return Ok(RelationPlanning::Original(Box::new(relation)));
        }
        let [FunctionArg::Unnamed(FunctionArgExpr::Expr(ast::Expr::Subquery(query)))] =
            arguments.args.as_slice()
        else {
            return Err(Error::new(ErrorKind::Syntax, "invalid call of profile")
                .with_hint("Write profile(TABLE table) or profile((SELECT …)).")
                .into());
        };
        let plan = profile(query, context)?;
        Ok(RelationPlanning::Planned(Box::new(PlannedRelation::new(plan, alias.clone()))))
    }
}

/// Plans one query that asks all of each column, and makes a row of what is told of each.
fn profile(query: &ast::Query, context: &mut dyn RelationPlannerContext) -> Result<LogicalPlan> {
    let derived = |query: ast::Query| TableFactor::Derived {
        lateral: false,
        subquery: Box::new(query),
        alias: None,
        sample: None,
    };
    let input = context.plan(derived(query.clone()))?;
    let fields = input.schema().fields().iter().enumerate();
    let asked = fields.map(|(place, field)| Asked {
        name: shown(field.name()).to_owned(),
        data_type: field.data_type().clone(),
        place,
    });
    let asked = asked.collect::<Vec<_>>();
    if asked.is_empty() {
        return Err(Error::new(ErrorKind::InvalidParameter, "there is no column to look at"));
    }
    let mut plan = LogicalPlanBuilder::from(context.plan(derived(asking(query, &asked)?))?);
    let lists = COLUMNS.iter().map(|(name, ..)| Column::new_unqualified(*name)).collect();
    plan = plan.unnest_columns_with_options(lists, UnnestOptions::default())?;
    let taken = COLUMNS.iter().map(|(name, ..)| Expr::Column(Column::new_unqualified(*name)));
    Ok(plan.project(taken.collect::<Vec<_>>())?.build()?)
}

/// Writes a query with one row: for each column of the result the list of what it holds.
fn asking(query: &ast::Query, asked: &[Asked]) -> Result<ast::Query> {
    let cell =
        |column: &Asked, data_type: &str, ask: fn(&Asked) -> Option<String>| match ask(column) {
            Some(asked) if data_type.is_empty() => asked,
            Some(asked) => format!("({asked})::{data_type}"),
            None if data_type.is_empty() => String::new(),
            None => format!("NULL::{data_type}"),
        };
    // What has a type without a name is NULL by an aggregate that sees nothing.
    let nothing = |name: &str| match name {
        "histogram" => "histogram(NULL::bigint)",
        _ => "top_values(NULL::text)",
    };
    let (mut cells, mut lists) = (Vec::new(), Vec::new());
    for (number, (name, data_type, ask)) in COLUMNS.iter().enumerate() {
        let mut list = Vec::new();
        for column in asked {
            let mut told = cell(column, data_type, *ask);
            if told.is_empty() {
                told = nothing(name).to_owned();
            }
            let place = format!("r{number}_{}", column.place);
            cells.push(format!("{told} AS {place}"));
            list.push(place);
        }
        lists.push(format!("make_array({}) AS {name}", list.join(", ")));
    }
    let names = asked.iter().map(ToString::to_string).collect::<Vec<_>>();
    let sql = format!(
        "SELECT {} FROM (SELECT {} FROM (SELECT 1) AS input ({})) AS told",
        lists.join(", "),
        cells.join(", "),
        names.join(", ")
    );
    let Statement::Query { mut statement, .. } = maru_sql::parse(&sql)? else {
        return Err(Error::internal("what is asked of columns is no query"));
    };
    rewrite(&mut statement)?;
    let DfStatement::Statement(inner) = *statement else {
        return Err(Error::internal("what is asked of columns is no query"));
    };
    let ast::Statement::Query(mut asking) = *inner else {
        return Err(Error::internal("what is asked of columns is no query"));
    };
    let input = inner_query(&mut asking).and_then(inner_query);
    let input = input.ok_or_else(|| Error::internal("what is asked of columns has no input"))?;
    *input = query.clone();
    Ok(*asking)
}

/// Returns the query that a query reads from.
fn inner_query(query: &mut ast::Query) -> Option<&mut ast::Query> {
    let ast::SetExpr::Select(select) = query.body.as_mut() else { return None };
    match &mut select.from.first_mut()?.relation {
        TableFactor::Derived { subquery, .. } => Some(subquery.as_mut()),
        _ => None,
    }
}
