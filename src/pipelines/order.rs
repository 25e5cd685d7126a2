//! Which step comes after which: what `AFTER` says, and for all other pairs what their tables say.

use std::collections::{BTreeMap, BTreeSet};

use maru_core::{Error, ErrorKind, Result};

/// A step, as far as its order is concerned.
#[derive(Debug, Clone, Default)]
pub(crate) struct Node {
    pub name: String,
    pub after: Vec<String>,
    pub reads: BTreeSet<String>,
    pub writes: BTreeSet<String>,
    /// What it empties or drops.
    pub removes: BTreeSet<String>,
    /// It looks at tables for others: who reads them later waits for it.
    pub checks: bool,
}

/// Returns for each step, in an order in which they can run, the names of those it waits for.
///
/// A step waits for those that write what it reads, wherever they stand. Two that write the same table, and all that have to do with
/// one from which rows or the table itself are taken away, keep the order of the text. `AFTER` comes first: what it puts in order is not
/// asked again.
///
/// # Errors
/// 42000 for a circle, with the steps that it goes through.
pub(crate) fn order(nodes: &[Node]) -> Result<Vec<(usize, Vec<String>)>> {
    let places = nodes.iter().enumerate().map(|(at, node)| (node.name.as_str(), at));
    let places = places.collect::<BTreeMap<_, _>>();
    let mut edges = vec![BTreeSet::new(); nodes.len()];
    for (at, node) in nodes.iter().enumerate() {
        edges[at].extend(node.after.iter().filter_map(|name| places.get(name.as_str()).copied()));
    }
    sorted(nodes, &edges)?;
    let said = edges.clone();
    for late in 0..nodes.len() {
        for early in 0..late {
            if comes_after(&said, late, early) || comes_after(&said, early, late) {
                continue;
            }
            let (first, second) = (&nodes[early], &nodes[late]);
            let feeds = |from: &Node, to: &Node| !from.writes.is_disjoint(&to.reads);
            let uses = |node: &Node, tables: &BTreeSet<String>| {
                [&node.reads, &node.writes, &node.removes].iter().any(|of| !of.is_disjoint(tables))
            };
            let both_write = !first.writes.is_disjoint(&second.writes)
                || uses(first, &second.removes)
                || uses(second, &first.removes);
            let checked = first.checks && !first.reads.is_disjoint(&second.reads);
            if feeds(first, second) || both_write || checked {
                edges[late].insert(early);
            }
            if feeds(second, first) && !both_write {
                edges[early].insert(late);
            }
        }
    }
    let order = sorted(nodes, &edges)?;
    let names = |at: usize| edges[at].iter().map(|before| nodes[*before].name.clone()).collect();
    Ok(order.into_iter().map(|at| (at, names(at))).collect())
}

fn comes_after(edges: &[BTreeSet<usize>], step: usize, wanted: usize) -> bool {
    let mut open = vec![step];
    let mut seen = BTreeSet::new();
    while let Some(at) = open.pop() {
        for before in &edges[at] {
            if *before == wanted {
                return true;
            }
            if seen.insert(*before) {
                open.push(*before);
            }
        }
    }
    false
}

/// Returns the steps so that each comes after those it waits for, else as in the text.
fn sorted(nodes: &[Node], edges: &[BTreeSet<usize>]) -> Result<Vec<usize>> {
    let mut done = Vec::with_capacity(nodes.len());
    while done.len() < nodes.len() {
        let next = (0..nodes.len())
            .find(|at| !done.contains(at) && edges[*at].iter().all(|before| done.contains(before)));
        let Some(next) = next else { return Err(circle(nodes, edges, &done)) };
        done.push(next);
    }
    Ok(done)
}

fn circle(nodes: &[Node], edges: &[BTreeSet<usize>], done: &[usize]) -> Error {
    // Every step that is left waits for another one that is: going on from one to the next comes back.
    let mut path = Vec::new();
    let mut at = (0..nodes.len()).find(|at| !done.contains(at));
    while let Some(step) = at {
        if let Some(start) = path.iter().position(|seen| *seen == step) {
            path.drain(..start);
            path.push(step);
            break;
        }
        path.push(step);
        at = edges[step].iter().copied().find(|before| !done.contains(before));
    }
    let names = path.iter().map(|at| nodes[*at].name.as_str()).collect::<Vec<_>>();
    Error::new(ErrorKind::InvalidStatement, "the steps wait for one another in a circle")
        .with_detail(format!("{}.", names.join(" waits for ")))
        .with_hint("AFTER says which of two steps that write for one another comes first.")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(name: &str, after: &[&str], reads: &[&str], writes: &[&str]) -> Node {
        let set = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let after = after.iter().map(|name| (*name).to_owned()).collect();
        let (reads, writes) = (set(reads), set(writes));
        Node { name: name.to_owned(), after, reads, writes, ..Node::default() }
    }

    fn shown(nodes: &[Node]) -> Vec<String> {
        let order = order(nodes).unwrap().into_iter();
        order.map(|(at, after)| format!("{}<{}", nodes[at].name, after.join(","))).collect()
    }

    #[test]
    fn who_reads_waits_for_who_writes() {
        let nodes = [
            node("load", &[], &["clean"], &["mart"]),
            node("clean", &[], &["raw"], &["clean"]),
            node("other", &[], &["raw"], &["x"]),
        ];
        assert_eq!(shown(&nodes), ["clean<", "load<clean", "other<"]);
    }

    #[test]
    fn who_writes_the_same_keeps_the_order_of_the_text() {
        let nodes = [
            node("a", &[], &[], &["t"]),
            node("b", &[], &["t"], &["t"]),
            node("c", &[], &["t"], &["u"]),
        ];
        assert_eq!(shown(&nodes), ["a<", "b<a", "c<a,b"]);
    }

    #[test]
    fn what_is_emptied_stays_where_it_stands() {
        let mut empty = node("empty", &[], &[], &[]);
        empty.removes.insert("t".to_owned());
        let nodes = [node("a", &[], &["t"], &["u"]), empty.clone()];
        assert_eq!(shown(&nodes), ["a<", "empty<a"]);
        let nodes = [empty, node("b", &[], &["x"], &["t"]), node("c", &[], &["t"], &["u"])];
        assert_eq!(shown(&nodes), ["empty<", "b<empty", "c<empty,b"]);
    }

    #[test]
    fn a_check_holds_back_those_that_read_later() {
        let mut check = node("check", &[], &["t"], &[]);
        check.checks = true;
        let nodes = [node("a", &[], &[], &["t"]), check, node("c", &[], &["t"], &["u"])];
        assert_eq!(shown(&nodes), ["a<", "check<a", "c<a,check"]);
    }

    #[test]
    fn circles_are_errors_that_name_the_steps() {
        let nodes = [node("a", &[], &["x"], &["y"]), node("b", &[], &["y"], &["x"])];
        let error = order(&nodes).unwrap_err();
        assert_eq!(error.detail().as_deref(), Some("a waits for b waits for a."));
        // AFTER decides.
        let nodes = [node("a", &[], &["x"], &["y"]), node("b", &["a"], &["y"], &["x"])];
        assert_eq!(shown(&nodes), ["a<", "b<a"]);
        let nodes = [node("a", &["b"], &[], &[]), node("b", &["a"], &[], &[])];
        assert_eq!(order(&nodes).unwrap_err().sqlstate(), "42000");
    }
}
