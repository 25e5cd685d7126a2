//! Parameters of the type that the client declares: `id = $1` with a `numeric` of 1.5 is no row, and `id * $1` has a fraction.
//!
//! DataFusion gives a parameter the type of what stands beside it, which would round the value. A declared number or time is cast
//! to what it was declared as, so that both sides meet as in PostgreSQL. Declared text stays open: drivers send all kinds of values
//! as text. So does a parameter that is the whole value of a column: it is read as the column's type, to its last digit.

use std::ops::ControlFlow;

use arrow::datatypes::{DataType, IntervalUnit, TimeUnit};
use datafusion::sql::parser::Statement as DfStatement;
use datafusion::sql::sqlparser::parser::Parser;
use maru_sql::ast::{
    self, CastKind, ExactNumberInfo, Expr, FunctionArg, FunctionArgExpr, Query, SelectItem,
    SetExpr, TableFactor, TimezoneInfo, Value, VisitMut, VisitorMut,
};
use maru_sql::{MaruDialect, MergeAction, Returning, WriteAction};

use crate::session::models;

/// Begins the name of a parameter that stays as it is.
const OPEN: char = '\0';

/// Casts the parameters of a query to what they were declared as.
pub(in crate::session) fn query(statement: &mut DfStatement, declared: &[Option<DataType>]) {
    if declared.iter().all(|declared| type_name(declared.as_ref()).is_none()) {
        return;
    }
    match statement {
        DfStatement::Statement(inner) => visit(&mut **inner, declared),
        DfStatement::Explain(explain) => query(&mut explain.statement, declared),
        _ => {}
    }
}

/// Casts the parameters of a statement that writes.
pub(in crate::session) fn write(action: &mut WriteAction, declared: &[Option<DataType>]) {
    if declared.iter().all(|declared| type_name(declared.as_ref()).is_none()) {
        return;
    }
    match action {
        WriteAction::Insert(insert) => {
            visit(&mut *insert.source, declared);
            told(&mut insert.returning, declared);
        }
        WriteAction::Delete(delete) => {
            visit(&mut delete.selection, declared);
            told(&mut delete.returning, declared);
        }
        WriteAction::Update(update) => {
            for (_, value) in &mut update.sets {
                leave_open(value);
                visit(value, declared);
            }
            visit(&mut update.selection, declared);
            told(&mut update.returning, declared);
        }
        WriteAction::Merge(merge) => {
            if let Some(source) = source(&merge.source, declared) {
                merge.source = source;
            }
            visit(&mut merge.on, declared);
            for clause in &mut merge.clauses {
                visit(&mut clause.condition, declared);
                let values: Vec<&mut Expr> = match &mut clause.action {
                    MergeAction::Update(sets) => sets.iter_mut().map(|(_, value)| value).collect(),
                    MergeAction::Insert { values, .. } => values.iter_mut().collect(),
                    MergeAction::Nothing | MergeAction::Delete => Vec::new(),
                };
                for value in values {
                    leave_open(value);
                    visit(value, declared);
                }
            }
        }
        WriteAction::CreateTableAs(_)
        | WriteAction::CopyTo(_)
        | WriteAction::CopyFrom(_)
        | WriteAction::Optimize(_) => {}
    }
}

/// Does it in what rows tell of.
fn told(returning: &mut Option<Returning>, declared: &[Option<DataType>]) {
    if let Some(returning) = returning {
        items(&mut returning.items);
        visit(&mut returning.items, declared);
    }
}

fn visit(tree: &mut impl VisitMut, declared: &[Option<DataType>]) {
    let (ControlFlow::Continue(()) | ControlFlow::Break(())) =
        VisitMut::visit(tree, &mut Casts { declared, depth: 0 });
}

/// Does it in the source of a `MERGE`, which is kept as text.
fn source(text: &str, declared: &[Option<DataType>]) -> Option<String> {
    if !text.contains('$') {
        return None;
    }
    let mut source =
        Parser::new(&MaruDialect).try_with_sql(text).ok()?.parse_table_factor().ok()?;
    // Its columns are no columns of a result: their types are told by nothing else.
    let (ControlFlow::Continue(()) | ControlFlow::Break(())) =
        VisitMut::visit(&mut source, &mut Casts { declared, depth: 1 });
    Some(source.to_string())
}

struct Casts<'a> {
    declared: &'a [Option<DataType>],
    /// Queries that the walk is in.
    depth: usize,
}

impl VisitorMut for Casts<'_> {
    type Break = ();

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        self.depth += 1;
        // Numbers of rows have one type, and must be literals.
        open_within(&mut query.limit_clause);
        open_within(&mut query.fetch);
        match query.body.as_mut() {
            SetExpr::Values(values) => {
                values.rows.iter_mut().flat_map(|row| row.iter_mut()).for_each(leave_open);
            }
            SetExpr::Select(select) if self.depth == 1 => items(&mut select.projection),
            _ => {}
        }
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _: &mut Query) -> ControlFlow<()> {
        self.depth -= 1;
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, table: &mut TableFactor) -> ControlFlow<()> {
        // Arguments of table functions have to be literals when they are planned.
        match table {
            // Queries among them are planned as any others.
            TableFactor::Table { name, args: Some(args), .. }
                if models::function_in(name).is_some() =>
            {
                for arg in args.args.iter_mut().filter(|arg| !is_query(arg)) {
                    open_within(arg);
                }
            }
            TableFactor::Table { args: Some(args), .. } => open_within(&mut args.args),
            TableFactor::Function { args, .. } => open_within(args),
            _ => {}
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        // It is cast already.
        if let Expr::Cast { expr, .. } = expr {
            leave_open(expr);
        }
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        let Some(name) = parameter(expr) else { return ControlFlow::Continue(()) };
        if name.starts_with(OPEN) {
            name.remove(0);
            return ControlFlow::Continue(());
        }
        let index = name.trim_start_matches('$').parse::<usize>().unwrap_or(0).wrapping_sub(1);
        if let Some(data_type) = type_name(self.declared.get(index).and_then(Option::as_ref)) {
            *expr = Expr::Cast {
                kind: CastKind::DoubleColon,
                expr: Box::new(expr.clone()),
                data_type,
                array: false,
                format: None,
            };
        }
        ControlFlow::Continue(())
    }
}

/// Leaves those open that are a column of the result and nothing else: their type is found with the result's.
fn items(items: &mut [SelectItem]) {
    for item in items {
        if let SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } = item {
            leave_open(expr);
        }
    }
}

fn is_query(arg: &FunctionArg) -> bool {
    matches!(arg, FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::Subquery(_))))
}

fn parameter(expr: &mut Expr) -> Option<&mut String> {
    match expr {
        Expr::Value(value) => match &mut value.value {
            Value::Placeholder(name) => Some(name),
            _ => None,
        },
        _ => None,
    }
}

fn leave_open(expr: &mut Expr) {
    match expr {
        Expr::Nested(inner) => leave_open(inner),
        other => {
            if let Some(name) = parameter(other).filter(|name| !name.starts_with(OPEN)) {
                name.insert(0, OPEN);
            }
        }
    }
}

fn open_within(tree: &mut impl VisitMut) {
    struct Open;
    impl VisitorMut for Open {
        type Break = ();

        fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
            leave_open(expr);
            ControlFlow::Continue(())
        }
    }
    let (ControlFlow::Continue(()) | ControlFlow::Break(())) = VisitMut::visit(tree, &mut Open);
}

/// Returns the name of a declared type whose values are cast.
fn type_name(declared: Option<&DataType>) -> Option<ast::DataType> {
    Some(match declared? {
        DataType::Int16 => ast::DataType::SmallInt(None),
        DataType::Int32 => ast::DataType::Integer(None),
        DataType::Int64 => ast::DataType::BigInt(None),
        DataType::Float32 => ast::DataType::Real,
        DataType::Float64 => ast::DataType::DoublePrecision,
        DataType::Decimal128(precision, scale) => {
            let digits = (u64::from(*precision), i64::from(*scale));
            ast::DataType::Numeric(ExactNumberInfo::PrecisionAndScale(digits.0, digits.1))
        }
        DataType::Date32 => ast::DataType::Date,
        DataType::Timestamp(TimeUnit::Microsecond, None) => {
            ast::DataType::Timestamp(None, TimezoneInfo::None)
        }
        DataType::Timestamp(TimeUnit::Microsecond, Some(_)) => {
            ast::DataType::Timestamp(None, TimezoneInfo::WithTimeZone)
        }
        DataType::Interval(IntervalUnit::MonthDayNano) => {
            ast::DataType::Interval { fields: None, precision: None }
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cast(sql: &str, declared: &[Option<DataType>]) -> String {
        let maru_sql::Statement::Query { mut statement, .. } = maru_sql::parse(sql).unwrap() else {
            panic!("{sql} is no query");
        };
        query(&mut statement, declared);
        statement.to_string()
    }

    #[test]
    fn numbers_and_times_are_what_they_were_declared_as() {
        let declared = [Some(DataType::Float64), Some(DataType::Int16), Some(DataType::Utf8), None];
        for (sql, expected) in [
            ("SELECT a * $1 FROM t", "SELECT a * $1::DOUBLE PRECISION FROM t"),
            (
                "SELECT $1 FROM t WHERE id IN ($1, $2)",
                "SELECT $1 FROM t WHERE id IN ($1::DOUBLE PRECISION, $2::SMALLINT)",
            ),
            ("SELECT 1 FROM t WHERE a = $3 AND b = $4", "SELECT 1 FROM t WHERE a = $3 AND b = $4"),
            ("SELECT a + $1::numeric FROM t LIMIT $2", "SELECT a + $1::NUMERIC FROM t LIMIT $2"),
            (
                "SELECT n + $2 FROM generate_series(1, $2) AS t (n)",
                "SELECT n + $2::SMALLINT FROM generate_series(1, $2) AS t (n)",
            ),
            ("SELECT (SELECT $2) + 1", "SELECT (SELECT $2::SMALLINT) + 1"),
            (
                "SELECT 1 FROM ML.PREDICT(MODEL m, (SELECT a FROM t WHERE a < $2), threshold => $1)",
                "SELECT 1 FROM ml_predict('m', (SELECT a FROM t WHERE a < $2::SMALLINT), threshold => $1)",
            ),
        ] {
            assert_eq!(cast(sql, &declared), expected);
        }
    }
}
