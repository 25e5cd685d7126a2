//! Which columns of a tree of joins are equal to one another, also those of which nothing of the kind is written:
//! `a.x = b.y AND b.y = c.z` makes `a` and `c` partners too.

use super::tree::At;

/// Columns of which each two are equal, at most one of a relation, two at least.
pub(super) type Class = Vec<At>;

/// Returns the classes that equalities make. Where one has two columns of one relation, equalities stay as they are written:
/// that those two are equal would be a condition on the relation itself.
pub(super) fn classes(equal: &[(At, At)]) -> Vec<Class> {
    let mut classes: Vec<Class> = Vec::new();
    for (one, other) in equal {
        let (mut met, apart): (Vec<_>, Vec<_>) =
            classes.into_iter().partition(|class| class.contains(one) || class.contains(other));
        let mut class = met.drain(..).flatten().collect::<Class>();
        class.extend([*one, *other]);
        class.sort_unstable();
        class.dedup();
        classes = apart;
        classes.push(class);
    }
    let (whole, broken): (Vec<_>, Vec<_>) =
        classes.into_iter().partition(|class| class.windows(2).all(|two| two[0].0 != two[1].0));
    let written = equal.iter().filter(|(one, _)| broken.iter().any(|class| class.contains(one)));
    let written = written.map(|(one, other)| {
        let mut pair = vec![*one, *other];
        pair.sort_unstable();
        pair
    });
    let mut written = written.collect::<Vec<_>>();
    written.sort_unstable();
    written.dedup();
    // Of one relation only: nothing to join.
    written.retain(|pair| pair.first().map(|at| at.0) != pair.last().map(|at| at.0));
    let mut all = [whole, written].concat();
    all.sort_unstable();
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_equals_the_same_is_equal() {
        let equal = [((0, 1), (1, 0)), ((2, 3), (3, 0)), ((1, 0), (2, 3)), ((0, 0), (4, 0))];
        assert_eq!(classes(&equal), [vec![(0, 0), (4, 0)], vec![(0, 1), (1, 0), (2, 3), (3, 0)]]);
    }

    #[test]
    fn two_columns_of_one_relation_are_not_joined() {
        // a.0 = b.0 and a.1 = b.0: both stay conditions of the join.
        let equal = [((0, 0), (1, 0)), ((0, 1), (1, 0)), ((1, 1), (2, 0))];
        assert_eq!(
            classes(&equal),
            [vec![(0, 0), (1, 0)], vec![(0, 1), (1, 0)], vec![(1, 1), (2, 0)]]
        );
    }
}
