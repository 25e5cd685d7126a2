//! `WITH x AS (…) SELECT … (WITH x AS (…) SELECT … FROM x)`: the inner name hides the outer one. The planner takes it for the same name twice
//! (DataFusion 55.2); the inner one gets another name, and an alias where it is read.

use std::ops::ControlFlow;

use maru_sql::ast::{
    Ident, ObjectName, ObjectNamePart, Query, TableAlias, TableFactor, VisitMut, VisitorMut,
};

use super::folded;

/// Names of the WITH queries around the place where the walk is.
#[derive(Default)]
pub(super) struct Scopes {
    names: Vec<Vec<String>>,
    n_renamed: usize,
}

impl Scopes {
    pub(super) fn enter(&mut self, query: &Query) {
        let with = query.with.iter().flat_map(|with| &with.cte_tables);
        self.names.push(with.map(|table| folded(&table.alias.name)).collect());
    }

    /// Renames what hides a name further out. What stands in the query has been renamed before.
    pub(super) fn leave(&mut self, query: &mut Query) {
        let own = self.names.pop().unwrap_or_default();
        for (at, name) in own.iter().enumerate() {
            let hides = self.names.iter().flatten().any(|outer| outer == name);
            let is_one = own.iter().filter(|other| *other == name).count() == 1;
            if hides && is_one {
                self.n_renamed += 1;
                rename(query, at, name, format!("{name} {}", self.n_renamed));
            }
        }
    }
}

fn rename(query: &mut Query, at: usize, name: &str, new: String) {
    let Some(mut with) = query.with.take() else { return };
    let new = Ident::with_quote('"', new);
    let mut renamed = Renamed { name, new: &new };
    for (index, table) in with.cte_tables.iter_mut().enumerate() {
        // A query sees those before it, and itself and others if it says so.
        if with.recursive || index > at {
            let _ = VisitMut::visit(table.query.as_mut(), &mut renamed);
        }
    }
    let _ = VisitMut::visit(query, &mut renamed);
    if let Some(table) = with.cte_tables.get_mut(at) {
        table.alias.name = new;
    }
    query.with = Some(with);
}

struct Renamed<'a> {
    name: &'a str,
    new: &'a Ident,
}

impl VisitorMut for Renamed<'_> {
    type Break = ();

    fn pre_visit_table_factor(&mut self, table: &mut TableFactor) -> ControlFlow<()> {
        if let TableFactor::Table { name, alias, args: None, .. } = table
            && let [ObjectNamePart::Identifier(written)] = name.0.as_slice()
            && folded(written) == self.name
        {
            let called = written.clone();
            alias.get_or_insert_with(|| TableAlias {
                explicit: true,
                name: called,
                columns: Vec::new(),
                at: None,
            });
            *name = ObjectName(vec![ObjectNamePart::Identifier(self.new.clone())]);
        }
        ControlFlow::Continue(())
    }
}
