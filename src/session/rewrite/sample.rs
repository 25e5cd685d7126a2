//! `FROM t TABLESAMPLE BERNOULLI (10)`, which the planner would read past: every row is taken with that probability.
//!
//! `SYSTEM` takes rows alike: whole pages, which it means in PostgreSQL, there are none of. A source's own way of sampling is
//! had by `query($$ … $$)`.

use std::mem;

use maru_core::{Error, ErrorKind, Result};
use maru_sql::Statement;
use maru_sql::ast::{
    Expr, SetExpr, Statement as Ast, TableFactor, TableSampleKind, TableSampleMethod,
};

/// Makes `(SELECT * FROM t WHERE random() * 100 < p) AS t` of a sample of `t`.
///
/// # Errors
/// 2202H for a share that is not between 0 and 100; 0A000 for REPEATABLE and the forms of other databases.
pub(super) fn table(table: &mut TableFactor) -> Result<()> {
    let (sample, alias) = match table {
        TableFactor::Table { sample, alias, .. } | TableFactor::Derived { sample, alias, .. } => {
            let Some(kind) = sample.take() else { return Ok(()) };
            (kind, alias.take())
        }
        _ => return Ok(()),
    };
    let (TableSampleKind::BeforeTableAlias(sample) | TableSampleKind::AfterTableAlias(sample)) =
        sample;
    if sample.seed.is_some() {
        return Err(Error::unsupported("TABLESAMPLE … REPEATABLE is not supported")
            .with_detail("Rows come in no fixed order that a seed could choose from.")
            .with_hint("Choose by a key: WHERE id % 100 < 10."));
    }
    let method =
        matches!(sample.name, Some(TableSampleMethod::Bernoulli | TableSampleMethod::System));
    let share = match sample.quantity {
        Some(quantity) if method && quantity.unit.is_none() => quantity.value,
        _ => {
            return Err(Error::unsupported("this form of TABLESAMPLE is not supported")
                .with_hint("Write TABLESAMPLE BERNOULLI (10) for one row in ten."));
        }
    };
    if let Some(share) = number(&share)
        && !(0.0..=100.0).contains(&share)
    {
        return Err(Error::new(
            ErrorKind::InvalidSampleSize,
            "sample percentage must be between 0 and 100",
        ));
    }
    let named = alias.or_else(|| match &*table {
        TableFactor::Table { name, .. } => {
            let ident = name.0.last()?.as_ident()?.clone();
            Some(maru_sql::ast::TableAlias {
                explicit: true,
                name: ident,
                columns: Vec::new(),
                at: None,
            })
        }
        _ => None,
    });
    let template = format!("SELECT * FROM x WHERE random() * 100 < ({share})");
    let Statement::Query { statement, .. } = maru_sql::parse(&template)? else {
        return Err(Error::internal("a sample is no query"));
    };
    let datafusion::sql::parser::Statement::Statement(statement) = *statement else {
        return Err(Error::internal("a sample is no statement"));
    };
    let Ast::Query(mut query) = *statement else {
        return Err(Error::internal("a sample is no query"));
    };
    let SetExpr::Select(select) = query.body.as_mut() else {
        return Err(Error::internal("a sample is no SELECT"));
    };
    let Some(from) = select.from.first_mut() else {
        return Err(Error::internal("a sample is of nothing"));
    };
    mem::swap(&mut from.relation, table);
    *table = TableFactor::Derived { lateral: false, subquery: query, alias: named, sample: None };
    Ok(())
}

/// Returns the number that is written.
fn number(expr: &Expr) -> Option<f64> {
    expr.to_string().parse().ok()
}
