//! Tables about a model of two classes: what a threshold gives, how much better than chance it finds, whether its probabilities
//! are true.

use super::{Point, Ranked};

/// Rows of one tenth of the scores, or of one tenth of the probabilities.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Group {
    /// The least and the greatest score in it.
    pub low: f64,
    pub high: f64,
    pub n_rows: u64,
    pub n_positive: u64,
    pub mean_score: f64,
}

impl Group {
    const EMPTY: Self = Self {
        low: f64::INFINITY,
        high: f64::NEG_INFINITY,
        n_rows: 0,
        n_positive: 0,
        mean_score: 0.0,
    };

    /// Until it is [`Self::finished`], the mean is a sum.
    fn add(&mut self, score: f64, positive: bool) {
        self.low = self.low.min(score);
        self.high = self.high.max(score);
        self.n_rows += 1;
        self.n_positive += u64::from(positive);
        self.mean_score += score;
    }

    fn finished(groups: impl IntoIterator<Item = Self>) -> Vec<Self> {
        let some = groups.into_iter().filter(|group| group.n_rows > 0);
        some.map(|g| Self { mean_score: g.mean_score / g.n_rows as f64, ..g }).collect()
    }
}

/// Returns the point of the curve at each threshold from 0 to 1 in steps of a twentieth.
pub fn thresholds(ranked: &Ranked) -> Vec<Point> {
    const STEPS: usize = 20;
    let mut found = Vec::with_capacity(STEPS + 1);
    let mut points = ranked.points();
    let Some(mut last) = points.next() else { return found };
    // Points go down, as the steps do here: of a step it is the last point whose rows all reach the threshold.
    let mut next = points.next();
    for step in (0..=STEPS).rev() {
        let threshold = step as f64 / STEPS as f64;
        while let Some(point) = next.filter(|point| point.threshold >= threshold) {
            last = point;
            next = points.next();
        }
        found.push(Point { threshold, ..last });
    }
    found.reverse();
    found
}

/// Returns tenths of the rows, those with the highest scores first. Rows of the same score are in an order of their own, so
/// that the positive ones among them are spread evenly.
pub fn tenths(ranked: &Ranked) -> Vec<Group> {
    let n = ranked.n_rows();
    let mut groups = [Group::EMPTY; 10];
    let (mut row, mut tenth) = (0, 0);
    for same in ranked.scores() {
        let mut given = 0;
        for at in 0..same.n_rows {
            let due = (at + 1) * same.n_positive / same.n_rows;
            while tenth < 9 && row >= (tenth + 1) * n / 10 {
                tenth += 1;
            }
            groups[tenth].add(same.score, due > given);
            (given, row) = (due, row + 1);
        }
    }
    Group::finished(groups)
}

/// Returns the rows whose probability lies in each tenth from 0 to 1; tenths without rows are left out.
pub fn calibration(scores: &[f64], positive: impl Fn(usize) -> bool) -> Vec<Group> {
    let mut groups = [Group::EMPTY; 10];
    for (row, score) in scores.iter().enumerate() {
        groups[((score * 10.0) as usize).min(9)].add(*score, positive(row));
    }
    Group::finished(groups)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_by_hand() {
        let scores = [0.95, 0.9, 0.7, 0.65, 0.5, 0.4, 0.35, 0.2, 0.15, 0.05];
        let positive = [true, true, true, false, true, false, false, false, false, false];
        let ranked = Ranked::new(&scores, |row| positive[row]);
        let table = thresholds(&ranked);
        assert_eq!(table.len(), 21);
        let half = table.iter().find(|point| point.threshold == 0.5).unwrap();
        assert_eq!((half.true_positives, half.false_positives), (4, 1));
        let all = table[0];
        assert_eq!((all.true_positives, all.false_positives), (4, 6));
        let lift = tenths(&ranked);
        assert_eq!((lift.len(), lift[0].n_positive, lift[9].n_positive), (10, 1, 0));
        let groups = calibration(&scores, |row| positive[row]);
        assert_eq!(groups.iter().map(|group| group.n_rows).sum::<u64>(), 10);
        assert_eq!(groups[groups.len() - 1].n_positive, 2);
        // Equal scores: a fifth of each part is positive.
        let equal = tenths(&Ranked::new(&[0.3; 50], |row| row < 10));
        assert!(equal.iter().all(|group| group.n_positive == 1));
    }
}
