//! The expressions of one query and not of the queries within it, where names may mean something else.

use std::ops::ControlFlow;

use maru_sql::ast::{Expr, Query, VisitMut, VisitorMut};

/// Changes each expression of a part of a query, after the expressions it is made of.
pub(super) fn outside_of_queries(part: &mut impl VisitMut, change: impl FnMut(&mut Expr)) {
    let _ = VisitMut::visit(part, &mut Outside { depth: 0, change });
}

struct Outside<F> {
    /// Queries that the walk is in.
    depth: usize,
    change: F,
}

impl<F: FnMut(&mut Expr)> VisitorMut for Outside<F> {
    type Break = ();

    fn pre_visit_query(&mut self, _: &mut Query) -> ControlFlow<()> {
        self.depth += 1;
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _: &mut Query) -> ControlFlow<()> {
        self.depth -= 1;
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if self.depth == 0 {
            (self.change)(expr);
        }
        ControlFlow::Continue(())
    }
}
