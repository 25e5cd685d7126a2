//! The cheapest order: all of them for a few relations, the next best step for many.

use super::estimate::{Estimate, matching};
use super::tree::{Shape, Tree};

/// Relations of which all orders are looked at.
const ALL_ORDERS_MAX: usize = 10;

/// Rows of the side that is read first cost more: they are kept in memory.
const KEPT: f64 = 2.0;

/// Relations, and how much joining two of them filters.
#[derive(Debug)]
pub(super) struct Graph {
    rows: Vec<f64>,
    /// The share of pairs that are equal; `None` where no equality is written.
    shares: Vec<Vec<Option<f64>>>,
}

impl Graph {
    pub(super) fn new(estimates: &[Estimate], tree: &Tree) -> Self {
        let n = estimates.len();
        let mut shares = vec![vec![None; n]; n];
        for one in 0..n {
            for other in one + 1..n {
                let between = tree.equal.iter().filter_map(|(a, b)| match (a.0, b.0) {
                    (x, y) if (x, y) == (one, other) => Some((a.1, b.1)),
                    (x, y) if (x, y) == (other, one) => Some((b.1, a.1)),
                    _ => None,
                });
                let between = between.collect::<Vec<_>>();
                if !between.is_empty() {
                    let share = matching(&estimates[one], &estimates[other], &between);
                    shares[one][other] = Some(share);
                    shares[other][one] = Some(share);
                }
            }
        }
        Self { rows: estimates.iter().map(|estimate| estimate.rows).collect(), shares }
    }

    /// Returns the rows that a part gives.
    pub(super) fn rows(&self, shape: &Shape) -> f64 {
        self.rows_of(&relations(shape))
    }

    /// Returns what an order costs.
    pub(super) fn cost(&self, shape: &Shape) -> f64 {
        match shape {
            Shape::Relation(_) => 0.0,
            Shape::Join(one, other) => {
                let here = step(self.rows(one), self.rows(other), self.rows(shape));
                here + self.cost(one) + self.cost(other)
            }
        }
    }

    /// Returns the cheapest order; `None` if relations are not connected.
    pub(super) fn best(&self) -> Option<Shape> {
        if self.rows.len() <= ALL_ORDERS_MAX { self.best_of_all() } else { self.step_by_step() }
    }

    fn rows_of(&self, relations: &[usize]) -> f64 {
        let mut rows = 1.0;
        for (position, one) in relations.iter().enumerate() {
            rows *= self.rows[*one];
            for other in &relations[..position] {
                rows *= self.shares[*one][*other].unwrap_or(1.0);
            }
        }
        rows.max(1.0)
    }

    /// Sets of relations are bits. Each set is made of the two connected sets that are cheapest together.
    fn best_of_all(&self) -> Option<Shape> {
        let n = self.rows.len();
        let neighbours = (0..n).map(|one| {
            let others = (0..n).filter(|other| self.shares[one][*other].is_some());
            others.fold(0_usize, |set, other| set | 1 << other)
        });
        let neighbours = neighbours.collect::<Vec<_>>();
        let members = |set: usize| (0..n).filter(move |one| set & (1 << one) != 0);
        let around = |set: usize| members(set).fold(0, |all, one| all | neighbours[one]);
        let rows = (0..1_usize << n).map(|set| self.rows_of(&members(set).collect::<Vec<_>>()));
        let rows = rows.collect::<Vec<_>>();
        // The cost, and one of the two parts; of a single relation itself.
        let mut best: Vec<Option<(f64, usize)>> = vec![None; 1 << n];
        for one in 0..n {
            best[1 << one] = Some((0.0, 1 << one));
        }
        for set in 1..1_usize << n {
            // The part with the lowest relation, so that each pair is seen once.
            let lowest = set & set.wrapping_neg();
            let rest = set & !lowest;
            let mut some = rest;
            while some != 0 {
                let (one, other) = (set & !some, some);
                if let (Some((left, _)), Some((right, _))) = (best[one], best[other])
                    && around(one) & other != 0
                {
                    let cost = left + right + step(rows[one], rows[other], rows[set]);
                    if best[set].is_none_or(|(known, _)| cost < known) {
                        best[set] = Some((cost, one));
                    }
                }
                some = (some - 1) & rest;
            }
        }
        shape(&best, (1 << n) - 1)
    }

    /// Joins the two parts that make the fewest rows, again and again.
    fn step_by_step(&self) -> Option<Shape> {
        let mut parts = (0..self.rows.len())
            .map(|relation| (Shape::Relation(relation), vec![relation]))
            .collect::<Vec<_>>();
        while parts.len() > 1 {
            let mut next: Option<(f64, usize, usize)> = None;
            for one in 0..parts.len() {
                for other in one + 1..parts.len() {
                    let (left, right) = (&parts[one].1, &parts[other].1);
                    let meet =
                        left.iter().any(|l| right.iter().any(|r| self.shares[*l][*r].is_some()));
                    if !meet {
                        continue;
                    }
                    let both = [left.as_slice(), right].concat();
                    let cost = step(self.rows_of(left), self.rows_of(right), self.rows_of(&both));
                    if next.is_none_or(|(known, ..)| cost < known) {
                        next = Some((cost, one, other));
                    }
                }
            }
            let (_, one, other) = next?;
            let (right, more) = parts.remove(other);
            let (left, mut members) = parts.remove(one);
            members.extend(more);
            parts.push((Shape::Join(Box::new(left), Box::new(right)), members));
        }
        parts.pop().map(|(shape, _)| shape)
    }
}

/// What a join costs: the rows it reads, those it keeps, and those it makes.
fn step(one: f64, other: f64, made: f64) -> f64 {
    KEPT * one.min(other) + one.max(other) + made
}

fn relations(shape: &Shape) -> Vec<usize> {
    match shape {
        Shape::Relation(relation) => vec![*relation],
        Shape::Join(one, other) => [relations(one), relations(other)].concat(),
    }
}

fn shape(best: &[Option<(f64, usize)>], set: usize) -> Option<Shape> {
    let (_, one) = best[set]?;
    if one == set {
        return Some(Shape::Relation(set.trailing_zeros() as usize));
    }
    let (one, other) = (shape(best, one)?, shape(best, set & !one)?);
    Some(Shape::Join(Box::new(one), Box::new(other)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn graph(rows: &[f64], edges: &[(usize, usize, f64)]) -> Graph {
        let mut shares = vec![vec![None; rows.len()]; rows.len()];
        for (one, other, share) in edges {
            shares[*one][*other] = Some(*share);
            shares[*other][*one] = Some(*share);
        }
        Graph { rows: rows.to_vec(), shares }
    }

    /// Returns whether some join in the order is of parts that no equality connects.
    fn has_product(graph: &Graph, shape: &Shape) -> bool {
        let Shape::Join(one, other) = shape else { return false };
        let (left, right) = (relations(one), relations(other));
        let meet = left.iter().any(|l| right.iter().any(|r| graph.shares[*l][*r].is_some()));
        !meet || has_product(graph, one) || has_product(graph, other)
    }

    #[test]
    fn a_small_side_comes_first() {
        // Sales with customers, then with a few days.
        let graph = graph(&[1e6, 1e5, 3.0], &[(0, 1, 1e-5), (0, 2, 1e-3)]);
        let best = graph.best().unwrap();
        let Shape::Join(one, other) = &best else { panic!("{best:?}") };
        let last = [one, other].into_iter().find(|side| matches!(***side, Shape::Relation(_)));
        assert_eq!(**last.unwrap(), Shape::Relation(1));
    }

    #[test]
    fn no_order_has_a_product() {
        // A chain whose ends are tiny.
        for n in [3_usize, 5, 10, 14] {
            let rows = (0..n).map(|i| if i == 0 || i == n - 1 { 1.0 } else { 1e6 });
            let edges = (1..n).map(|i| (i - 1, i, 1e-6)).collect::<Vec<_>>();
            let graph = graph(&rows.collect::<Vec<_>>(), &edges);
            let best = graph.best().unwrap();
            assert!(!has_product(&graph, &best), "{best:?}");
            let mut all = relations(&best);
            all.sort_unstable();
            assert_eq!(all, (0..n).collect::<Vec<_>>());
        }
    }

    #[test]
    fn relations_that_nothing_connects_have_no_order() {
        assert_eq!(graph(&[1.0, 2.0, 3.0], &[(0, 1, 0.1)]).best(), None);
        let many = vec![2.0; 12];
        assert_eq!(graph(&many, &[(0, 1, 0.1)]).best(), None);
    }
}
