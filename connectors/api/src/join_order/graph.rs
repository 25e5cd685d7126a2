//! Relations, which of them equalities connect, and how many rows some of them give together.

use super::classes::Class;
use super::estimate::{Estimate, matching};
use super::modes;
use super::tree::Shape;

#[derive(Debug)]
pub(super) struct Graph {
    estimates: Vec<Estimate>,
    /// Pairs of relations that meet, those that meet in more columns first.
    edges: Vec<Edge>,
    n_threads: usize,
}

/// Two relations, and in which classes both have a column.
#[derive(Debug)]
struct Edge {
    one: usize,
    other: usize,
    /// Class, and the column of each.
    on: Vec<(usize, usize, usize)>,
    /// The share of pairs of rows that are equal.
    share: f64,
}

impl Graph {
    pub(super) fn new(estimates: Vec<Estimate>, classes: &[Class], n_threads: usize) -> Self {
        let n = estimates.len();
        let mut edges = Vec::new();
        for one in 0..n {
            for other in one + 1..n {
                let column = |class: &Class, relation: usize| {
                    class.iter().find(|at| at.0 == relation).map(|at| at.1)
                };
                let on = classes.iter().enumerate().filter_map(|(number, class)| {
                    Some((number, column(class, one)?, column(class, other)?))
                });
                let on = on.collect::<Vec<_>>();
                if on.is_empty() {
                    continue;
                }
                let share = share(&estimates, one, other, &on);
                edges.push(Edge { one, other, on, share });
            }
        }
        // Rare pairs last: a class of three columns with 5, 10 and 20 values keeps 1/(10 · 20) of the triples.
        edges.sort_by(|a, b| b.on.len().cmp(&a.on.len()).then(b.share.total_cmp(&a.share)));
        Self { estimates, edges, n_threads }
    }

    /// Returns the number of relations.
    pub(super) fn len(&self) -> usize {
        self.estimates.len()
    }

    /// Returns whether an equality connects a relation of one part with one of the other.
    pub(super) fn meet(&self, one: &[usize], other: &[usize]) -> bool {
        self.edges.iter().any(|edge| {
            one.contains(&edge.one) && other.contains(&edge.other)
                || one.contains(&edge.other) && other.contains(&edge.one)
        })
    }

    /// Returns the relations that meet a relation.
    pub(super) fn neighbours(&self, relation: usize) -> impl Iterator<Item = usize> + '_ {
        self.edges.iter().filter_map(move |edge| match relation {
            relation if relation == edge.one => Some(edge.other),
            relation if relation == edge.other => Some(edge.one),
            _ => None,
        })
    }

    /// Returns the rows that some relations give together.
    ///
    /// Every class connects the relations that it has a column of with one another, like the edges of a tree: where they are
    /// connected already, another equality leaves out no row.
    pub(super) fn rows_of(&self, relations: &[usize]) -> f64 {
        let mut rows =
            relations.iter().map(|relation| self.estimates[*relation].rows).product::<f64>();
        // Of each class, which relations it has connected: the part's number by relation.
        let mut parts: Vec<(usize, Vec<usize>)> = Vec::new();
        for edge in &self.edges {
            if !relations.contains(&edge.one) || !relations.contains(&edge.other) {
                continue;
            }
            let mut new = Vec::new();
            for on in &edge.on {
                let known = parts.iter().position(|(class, _)| *class == on.0);
                let at = known.unwrap_or_else(|| {
                    parts.push((on.0, (0..self.len()).collect()));
                    parts.len() - 1
                });
                let part = &mut parts[at].1;
                let (one, other) = (part[edge.one], part[edge.other]);
                if one != other {
                    part.iter_mut().filter(|part| **part == other).for_each(|part| *part = one);
                    new.push(*on);
                }
            }
            if new.len() == edge.on.len() {
                rows *= edge.share;
            } else if !new.is_empty() {
                rows *= share(&self.estimates, edge.one, edge.other, &new);
            }
        }
        rows.max(1.0)
    }

    /// Returns the rows that a part gives.
    pub(super) fn rows(&self, shape: &Shape) -> f64 {
        self.rows_of(&relations(shape))
    }

    /// Returns what a join costs: of the rows it keeps, looks up and makes.
    pub(super) fn step(&self, one: f64, other: f64, made: f64) -> f64 {
        modes::cost(one.min(other), one.max(other), made, self.n_threads)
    }

    /// Returns what an order costs.
    pub(super) fn cost(&self, shape: &Shape) -> f64 {
        match shape {
            Shape::Relation(_) => 0.0,
            Shape::Join(one, other) => {
                let here = self.step(self.rows(one), self.rows(other), self.rows(shape));
                here + self.cost(one) + self.cost(other)
            }
        }
    }
}

fn share(estimates: &[Estimate], one: usize, other: usize, on: &[(usize, usize, usize)]) -> f64 {
    let columns = on.iter().map(|(_, a, b)| (*a, *b)).collect::<Vec<_>>();
    matching(&estimates[one], &estimates[other], &columns)
}

pub(super) fn relations(shape: &Shape) -> Vec<usize> {
    match shape {
        Shape::Relation(relation) => vec![*relation],
        Shape::Join(one, other) => [relations(one), relations(other)].concat(),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::Facts;
    use super::super::classes::classes;
    use super::super::tree::At;
    use super::*;

    /// Relations by their rows and the distinct values of their columns.
    pub(in super::super) fn graph(relations: &[(f64, &[f64])], equal: &[(At, At)]) -> Graph {
        let estimate = |(rows, distinct): &(f64, &[f64])| {
            Estimate::new(*rows, distinct.iter().map(|n| Facts::distinct(*n)).collect())
        };
        Graph::new(relations.iter().map(estimate).collect(), &classes(equal), 2)
    }

    fn close(one: f64, other: f64) {
        assert!((one / other - 1.0).abs() < 1e-9, "{one} is not {other}");
    }

    #[test]
    fn an_equality_that_follows_leaves_out_nothing() {
        let relations: [(f64, &[f64]); 3] = [(100.0, &[5.0]), (200.0, &[10.0]), (400.0, &[20.0])];
        let two = [((0, 0), (1, 0)), ((1, 0), (2, 0))];
        let three = [two[0], two[1], ((0, 0), (2, 0))];
        for equal in [two.as_slice(), &three] {
            let graph = graph(&relations, equal);
            close(graph.rows_of(&[0, 1, 2]), 100.0 * 200.0 * 400.0 / (10.0 * 20.0));
            close(graph.rows_of(&[0, 2]), 100.0 * 400.0 / 20.0);
            assert!(graph.meet(&[0], &[2]));
        }
    }

    #[test]
    fn columns_of_one_key_are_not_taken_for_independent() {
        // lineitem, partsupp by its key of two columns, supplier, part.
        let relations: [(f64, &[f64]); 4] = [
            (6e6, &[200_000.0, 10_000.0]),
            (8e5, &[200_000.0, 10_000.0]),
            (1e4, &[10_000.0]),
            (2e5, &[200_000.0]),
        ];
        let equal = [((0, 0), (1, 0)), ((0, 1), (1, 1)), ((2, 0), (0, 1)), ((3, 0), (0, 0))];
        let graph = graph(&relations, &equal);
        close(graph.rows_of(&[0, 1]), 6e6);
        close(graph.rows_of(&[0, 1, 2, 3]), 6e6);
        close(graph.rows_of(&[1, 2]), 8e5);
    }
}
