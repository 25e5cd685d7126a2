//! `OVER (w ORDER BY …)` and `WINDOW v AS (w ORDER BY …)`: a window that goes on from a named one. The planner takes the name for
//! nothing and leaves out what it stands for (DataFusion 55.2).

use std::ops::ControlFlow;

use maru_core::{Error, ErrorKind, Result};
use maru_sql::ast::{
    Expr, Ident, NamedWindowExpr, Query, Select, SetExpr, VisitMut, VisitorMut, WindowSpec,
    WindowType,
};

/// Writes out the windows in the ORDER BY of a query.
///
/// # Errors
/// 42704 for a name that is none, 42601 for a part that the named window has.
pub(super) fn query(query: &mut Query) -> Result<()> {
    let (SetExpr::Select(select), Some(order)) = (query.body.as_ref(), &mut query.order_by) else {
        return Ok(());
    };
    write_out(order, &named(select)?)
}

/// Writes out the windows of a SELECT.
///
/// # Errors
/// As [`query`].
pub(super) fn select(select: &mut Select) -> Result<()> {
    let named = named(select)?;
    for definition in &mut select.named_window {
        if let NamedWindowExpr::WindowSpec(spec) = &mut definition.1
            && spec.window_name.is_some()
            && let Some((_, whole)) = named.iter().find(|(name, _)| *name == fold(&definition.0))
        {
            *spec = whole.clone();
        }
    }
    write_out(select, &named)
}

type Named = Vec<(String, WindowSpec)>;

/// Returns the named windows, each whole.
fn named(select: &Select) -> Result<Named> {
    let mut found = Named::new();
    for definition in &select.named_window {
        let whole = match &definition.1 {
            NamedWindowExpr::NamedWindow(name) => base(name, &found)?.clone(),
            NamedWindowExpr::WindowSpec(spec) => whole(spec, &found)?,
        };
        found.push((fold(&definition.0), whole));
    }
    Ok(found)
}

fn fold(name: &Ident) -> String {
    if name.quote_style.is_some() { name.value.clone() } else { name.value.to_lowercase() }
}

fn base<'a>(name: &Ident, named: &'a Named) -> Result<&'a WindowSpec> {
    let wanted = fold(name);
    let found = named.iter().find(|(known, _)| *known == wanted);
    found.map(|(_, spec)| spec).ok_or_else(|| {
        Error::new(ErrorKind::UndefinedObject, format!("window \"{wanted}\" does not exist"))
    })
}

fn whole(spec: &WindowSpec, named: &Named) -> Result<WindowSpec> {
    let Some(name) = &spec.window_name else { return Ok(spec.clone()) };
    let base = base(name, named)?;
    let refused = |what: String| Err(Error::new(ErrorKind::Syntax, what));
    if !spec.partition_by.is_empty() {
        return refused(format!("cannot override PARTITION BY clause of window \"{name}\""));
    }
    if !spec.order_by.is_empty() && !base.order_by.is_empty() {
        return refused(format!("cannot override ORDER BY clause of window \"{name}\""));
    }
    if base.window_frame.is_some() {
        return refused(format!("cannot copy window \"{name}\" because it has a frame clause"));
    }
    let order_by = if spec.order_by.is_empty() { &base.order_by } else { &spec.order_by };
    Ok(WindowSpec {
        window_name: None,
        partition_by: base.partition_by.clone(),
        order_by: order_by.clone(),
        window_frame: spec.window_frame.clone(),
    })
}

fn write_out(tree: &mut impl VisitMut, named: &Named) -> Result<()> {
    match VisitMut::visit(tree, &mut Windows { named, depth: 0 }) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(error) => Err(error),
    }
}

struct Windows<'a> {
    named: &'a Named,
    /// Queries that the walk is in: their windows have names of their own.
    depth: usize,
}

impl VisitorMut for Windows<'_> {
    type Break = Error;

    fn pre_visit_query(&mut self, _: &mut Query) -> ControlFlow<Error> {
        self.depth += 1;
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _: &mut Query) -> ControlFlow<Error> {
        self.depth -= 1;
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Error> {
        if self.depth == 0
            && let Expr::Function(function) = expr
            && let Some(WindowType::WindowSpec(spec)) = &mut function.over
            && spec.window_name.is_some()
        {
            match whole(spec, self.named) {
                Ok(whole) => *spec = whole,
                Err(error) => return ControlFlow::Break(error),
            }
        }
        ControlFlow::Continue(())
    }
}
