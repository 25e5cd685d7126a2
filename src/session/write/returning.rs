//! `RETURNING`: what rows tell of is computed on their way to be written, so that an error leaves nothing, from the very values that
//! are written. `returned.rs` takes it aside, and gives it when they are committed.

use std::sync::Arc;

use datafusion::common::ScalarValue;
use datafusion::common::metadata::FieldMetadata;
use datafusion::common::tree_node::TreeNode;
use datafusion::logical_expr::{
    Expr, LogicalPlan, LogicalPlanBuilder, Projection, SubqueryAlias, lit, when,
};
use maru_connect::{RowOp, SourceTable};
use maru_core::{Error, ErrorKind, Result, quote_ident};
use maru_sql::ast::{self, SelectItem};
use maru_sql::{Name, Returning};

use super::condition::has_subquery;
use super::node::Returned;
use super::policed::{name_of, unknown_name};
use super::target::Target;
use super::update::OP;
use crate::access::{Columns, Privilege, Rights};
use crate::session::Session;
use crate::session::policies::{fence, is_barrier, with_stand_ins};

impl Session {
    /// Adds to rows what they tell of; with `op` those that this is done with.
    ///
    /// # Errors
    /// 0A000 where what is written may not be what is sent; 42501 for columns that may not be read; those of the expressions.
    pub(super) async fn told(
        self: &Arc<Self>,
        target: &Target,
        rows: LogicalPlan,
        returning: Returning,
        op: Option<RowOp>,
    ) -> Result<(LogicalPlan, Returned)> {
        let (rights, object) = (self.rights(), target.object());
        if op != Some(RowOp::Delete) {
            require_kept(target)?;
        }
        if rights.policies(&object).is_some() {
            return Err(Error::unsupported(format!(
                "policies of {object} say what of its rows shows, and RETURNING does not ask them"
            ))
            .with_hint("Read the rows with a SELECT of their keys."));
        }
        let given = Arc::clone(rows.schema().inner());
        let Returning { items, alias } = returning;
        let name = unknown_name();
        let place = name_of(&object, &name);
        let query = query(&place, &alias, written_out(target, &rights, items)?)?;
        let whole = whole(target, rows)?;
        let stand_ins = vec![(name, shown(target, &rights, &whole)?)];
        let named = projection(with_stand_ins(stand_ins, self.plan_source(query)).await?)?;
        require_readable(target, &rights, &named)?;

        let fields = named.schema.fields().iter();
        let fields = fields.map(|field| field.as_ref().clone().with_nullable(true));
        let schema = Arc::new(arrow::datatypes::Schema::new(fields.collect::<Vec<_>>()));
        let input = put_below(Arc::unwrap_or_clone(named.input), whole)?;
        let columns = input.schema().columns();
        let at = given.index_of(OP).ok();
        let counts = match (op, at.and_then(|at| columns.get(at))) {
            (None, _) => None,
            (Some(op), Some(column)) => Some(Expr::Column(column.clone()).eq(lit(op as i8))),
            (Some(_), None) => {
                return Err(Error::internal("rows do not say what is done with them"));
            }
        };
        let n_given = given.fields().len();
        let mut exprs = columns.into_iter().take(n_given).map(Expr::Column).collect::<Vec<_>>();
        for (index, expr) in named.expr.into_iter().enumerate() {
            let expr = expr.unalias();
            // Rows that stay as they are must not fail.
            let expr = match &counts {
                Some(counts) if !matches!(expr, Expr::Column(_) | Expr::Literal(..)) => {
                    when(counts.clone(), expr).end()?
                }
                _ => expr,
            };
            exprs.push(expr.alias(format!("$told {index}")));
        }
        let plan = LogicalPlanBuilder::from(input).project(exprs)?.build()?;
        let op = op.and_then(|op| Some((at?, op as i8)));
        Ok((plan, Returned { schema, op, promised: None }))
    }
}

/// Writes `*` out.
///
/// # Errors
/// 42501 if nothing of the table may be read; 0A000 for subqueries.
fn written_out(
    target: &Target,
    rights: &Rights,
    items: Vec<SelectItem>,
) -> Result<Vec<SelectItem>> {
    let object = target.object();
    let Some(readable) = rights.columns(Privilege::Select, &object) else {
        return Err(rights.denied(Privilege::Select, &object));
    };
    let is_readable = |name: &String| match &readable {
        Columns::All => true,
        Columns::Some(granted) => granted.contains(name),
    };
    let table = target.columns();
    let mut written = Vec::new();
    for item in items {
        let asks = match &item {
            SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } => {
                has_subquery(expr)
            }
            _ => false,
        };
        if asks {
            return Err(no_subqueries());
        }
        if let SelectItem::Wildcard(_) = item {
            let names = table.fields().iter().map(|field| field.name());
            written.extend(names.filter(|name| is_readable(name)).map(|name| {
                let name = ast::Ident::with_quote('"', name.as_str());
                SelectItem::UnnamedExpr(ast::Expr::Identifier(name))
            }));
        } else {
            written.push(item);
        }
    }
    Ok(written)
}

/// # Errors
/// 0A000 for tables whose rows may become others than were sent.
fn require_kept(target: &Target) -> Result<()> {
    if target.keeps_what_is_given() && matches!(target.table, SourceTable::Files(_)) {
        return Ok(());
    }
    Err(Error::unsupported(format!(
        "RETURNING cannot tell what becomes of rows that are sent to {}",
        target.object()
    ))
    .with_detail("Its system may change them: by defaults, generated columns and triggers.")
    .with_hint("Read the rows with a SELECT of their keys. DELETE … RETURNING is supported."))
}

/// Returns the rows with NULL for the columns that the statement gives no values for.
fn whole(target: &Target, rows: LogicalPlan) -> Result<LogicalPlan> {
    let table = target.columns();
    let columns = rows.schema().columns();
    let mut exprs = Vec::with_capacity(columns.len().max(table.fields().len()));
    for column in columns {
        let name = column.name.clone();
        // JSON and the like are known by what stands beside the type.
        let metadata = table.field_with_name(&name).ok().map(|field| field.metadata());
        let column = Expr::Column(column);
        exprs.push(match metadata.filter(|metadata| !metadata.is_empty()) {
            Some(metadata) => column.alias_with_metadata(name, Some(FieldMetadata::from(metadata))),
            None => column,
        });
    }
    for field in table.fields() {
        if rows.schema().inner().field_with_name(field.name()).is_err() {
            let null = lit(ScalarValue::try_new_null(field.data_type())?);
            exprs.push(null.alias_with_metadata(
                field.name().as_str(),
                Some(FieldMetadata::from(field.metadata())),
            ));
        }
    }
    Ok(fence(LogicalPlanBuilder::from(rows).project(exprs)?.build()?))
}

/// Returns the columns that names may mean. No message tells of others: neither what does not show to the role, nor what the rows
/// have beside those of the table.
fn shown(target: &Target, rights: &Rights, whole: &LogicalPlan) -> Result<LogicalPlan> {
    let (table, object) = (target.columns(), target.object());
    let columns = whole.schema().columns().into_iter().filter(|column| {
        table.field_with_name(&column.name).is_ok() && rights.sees_column(&object, &column.name)
    });
    let columns = columns.map(Expr::Column).collect::<Vec<_>>();
    Ok(fence(LogicalPlanBuilder::from(whole.clone()).project(columns)?.build()?))
}

/// Puts the whole rows under the names that the columns were found by.
fn put_below(plan: LogicalPlan, whole: LogicalPlan) -> Result<LogicalPlan> {
    match plan {
        LogicalPlan::SubqueryAlias(named) => {
            let below = put_below(Arc::unwrap_or_clone(named.input), whole)?;
            Ok(LogicalPlan::SubqueryAlias(SubqueryAlias::try_new(Arc::new(below), named.alias)?))
        }
        plan if is_barrier(&plan) => Ok(whole),
        _ => Err(Error::internal("RETURNING lost its rows")),
    }
}

fn query(place: &Name, alias: &str, items: Vec<SelectItem>) -> Result<Box<ast::Query>> {
    let lost = || Error::internal("RETURNING lost its way");
    let sql = format!("SELECT 1 FROM {place} AS {}", quote_ident(alias));
    let maru_sql::Statement::Query { statement, .. } = maru_sql::parse(&sql)? else {
        return Err(lost());
    };
    let datafusion::sql::parser::Statement::Statement(statement) = *statement else {
        return Err(lost());
    };
    let ast::Statement::Query(mut query) = *statement else { return Err(lost()) };
    let ast::SetExpr::Select(select) = query.body.as_mut() else { return Err(lost()) };
    select.projection = items;
    Ok(query)
}

/// Returns expressions over the rows alone.
///
/// # Errors
/// 42803 and 0A000, as PostgreSQL words them.
fn projection(plan: LogicalPlan) -> Result<Projection> {
    let projection = match plan {
        LogicalPlan::Projection(projection) => projection,
        other => return Err(misplaced(&other)),
    };
    let mut asks = false;
    for expr in &projection.expr {
        asks |= expr.exists(|part| Ok(is_subquery(part)))?;
    }
    match projection.input.as_ref() {
        LogicalPlan::SubqueryAlias(_) if asks => Err(no_subqueries()),
        LogicalPlan::SubqueryAlias(_) => Ok(projection),
        other => Err(misplaced(other)),
    }
}

fn is_subquery(expr: &Expr) -> bool {
    matches!(
        expr,
        Expr::ScalarSubquery(_)
            | Expr::Exists(_)
            | Expr::InSubquery(_)
            | Expr::SetComparison(_)
            | Expr::OuterReferenceColumn(..)
    )
}

fn no_subqueries() -> Error {
    Error::unsupported("RETURNING takes no subqueries")
        .with_hint("Read the rows with a SELECT of their keys.")
}

fn misplaced(plan: &LogicalPlan) -> Error {
    match plan {
        LogicalPlan::Aggregate(_) => {
            Error::new(ErrorKind::Grouping, "aggregate functions are not allowed in RETURNING")
        }
        LogicalPlan::Window(_) => {
            Error::unsupported("window functions are not allowed in RETURNING")
        }
        LogicalPlan::Unnest(_) => {
            Error::unsupported("set-returning functions are not allowed in RETURNING")
        }
        _ => Error::unsupported("RETURNING takes expressions of the row alone"),
    }
}

/// # Errors
/// 42703 for columns that do not show, 42501 for others that may not be read.
fn require_readable(target: &Target, rights: &Rights, named: &Projection) -> Result<()> {
    let table = target.columns();
    let used = named.expr.iter().flat_map(Expr::column_refs).map(|column| column.name.clone());
    let used = used.filter(|name| table.field_with_name(name).is_ok()).collect::<Vec<_>>();
    target.require_shown(rights, Privilege::Select, &used)?;
    target.require_privilege(rights, Privilege::Select, &used)
}
