//! The cheapest order: all of them for a few relations, the next best step for many.

use super::graph::Graph;
use super::tree::Shape;

/// Relations of which all orders are looked at.
const ALL_ORDERS_MAX: usize = 10;

impl Graph {
    /// Returns the cheapest order; `None` if relations are not connected.
    pub(super) fn best(&self) -> Option<Shape> {
        if self.len() <= ALL_ORDERS_MAX { self.best_of_all() } else { self.step_by_step() }
    }

    /// Sets of relations are bits. Each set is made of the two connected sets that are cheapest together.
    fn best_of_all(&self) -> Option<Shape> {
        let n = self.len();
        let neighbours =
            (0..n).map(|one| self.neighbours(one).fold(0_usize, |set, other| set | 1 << other));
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
                    let cost = left + right + self.step(rows[one], rows[other], rows[set]);
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
        let mut parts = (0..self.len())
            .map(|relation| (Shape::Relation(relation), vec![relation]))
            .collect::<Vec<_>>();
        while parts.len() > 1 {
            let mut next: Option<(f64, usize, usize)> = None;
            for one in 0..parts.len() {
                for other in one + 1..parts.len() {
                    let (left, right) = (&parts[one].1, &parts[other].1);
                    if !self.meet(left, right) {
                        continue;
                    }
                    let both = [left.as_slice(), right].concat();
                    let cost =
                        self.step(self.rows_of(left), self.rows_of(right), self.rows_of(&both));
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
    use super::super::graph::relations;
    use super::super::graph::tests::graph;
    use super::*;

    /// Returns whether some join in the order is of parts that no equality connects.
    fn has_product(graph: &Graph, shape: &Shape) -> bool {
        let Shape::Join(one, other) = shape else { return false };
        let (left, right) = (relations(one), relations(other));
        !graph.meet(&left, &right) || has_product(graph, one) || has_product(graph, other)
    }

    #[test]
    fn a_small_side_comes_first() {
        // Sales with customers, then with a few days.
        let parts: [(f64, &[f64]); 3] = [(1e6, &[1e5, 1e3]), (1e5, &[1e5]), (3.0, &[1e3])];
        let graph = graph(&parts, &[((0, 0), (1, 0)), ((0, 1), (2, 0))]);
        let best = graph.best().unwrap();
        let Shape::Join(one, other) = &best else { panic!("{best:?}") };
        let last = [one, other].into_iter().find(|side| matches!(***side, Shape::Relation(_)));
        assert_eq!(**last.unwrap(), Shape::Relation(1));
    }

    #[test]
    fn partsmeet_by_what_follows() {
        // The tiny one is written to equal the last one, which equals the first one: those two are joined first.
        let parts: [(f64, &[f64]); 3] = [(1e6, &[25.0, 1e6]), (1.0, &[1.0]), (1e6, &[25.0, 1e6])];
        let equal = [((0, 0), (2, 0)), ((2, 0), (1, 0)), ((0, 1), (2, 1))];
        let graph = graph(&parts, &equal);
        let best = graph.best().unwrap();
        assert!(!has_product(&graph, &best), "{best:?}");
        let Shape::Join(one, other) = &best else { panic!("{best:?}") };
        assert!(relations(one).len() == 1 || relations(other).len() == 1);
    }

    #[test]
    fn no_order_has_a_product() {
        // A chain whose ends are tiny.
        for n in [3_usize, 5, 10, 14] {
            let rows = (0..n).map(|i| if i == 0 || i == n - 1 { 1.0 } else { 1e6 });
            let columns = [1e6, 1e6];
            let all = rows.map(|rows| (rows, columns.as_slice())).collect::<Vec<_>>();
            let edges = (1..n).map(|i| ((i - 1, 1), (i, 0))).collect::<Vec<_>>();
            let graph = graph(&all, &edges);
            let best = graph.best().unwrap();
            assert!(!has_product(&graph, &best), "{best:?}");
            let mut all = relations(&best);
            all.sort_unstable();
            assert_eq!(all, (0..n).collect::<Vec<_>>());
        }
    }

    #[test]
    fn partsthat_nothing_connects_have_no_order() {
        let two: (f64, &[f64]) = (2.0, &[2.0]);
        assert_eq!(graph(&[two; 3], &[((0, 0), (1, 0))]).best(), None);
        assert_eq!(graph(&[two; 12], &[((0, 0), (1, 0))]).best(), None);
    }
}
