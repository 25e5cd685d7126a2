//! Tables about a model of two classes: what a threshold gives, how much better than chance it finds, whether its probabilities
//! are true.

use super::Point;

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

/// Returns the point of a curve at each threshold from 0 to 1 in steps of a twentieth.
pub fn thresholds(points: &[Point]) -> Vec<Point> {
    let at = |step: u32| {
        let threshold = f64::from(step) / 20.0;
        // Points go down: the last one whose rows all reach the threshold.
        let last = points.iter().rev().find(|point| point.threshold >= threshold);
        last.map(|point| Point { threshold, ..*point })
    };
    (0..=20).filter_map(at).collect()
}

fn group(rows: &[(f64, bool)]) -> Group {
    let n = rows.len() as f64;
    Group {
        low: rows.iter().map(|row| row.0).fold(f64::INFINITY, f64::min),
        high: rows.iter().map(|row| row.0).fold(f64::NEG_INFINITY, f64::max),
        n_rows: rows.len() as u64,
        n_positive: rows.iter().filter(|row| row.1).count() as u64,
        mean_score: rows.iter().map(|row| row.0).sum::<f64>() / n,
    }
}

/// Returns tenths of the rows, those with the highest scores first. Rows of the same score are in an order of their own, so
/// that the positive ones among them are spread evenly.
pub fn tenths(scores: &[f64], positive: &[bool]) -> Vec<Group> {
    let mut rows = scores.iter().copied().zip(positive.iter().copied()).collect::<Vec<_>>();
    rows.sort_by(|a, b| b.0.total_cmp(&a.0));
    let mut spread = Vec::with_capacity(rows.len());
    for same in rows.chunk_by(|a, b| a.0 == b.0) {
        let n_positive = same.iter().filter(|row| row.1).count();
        let mut given = 0;
        for at in 0..same.len() {
            let due = (at + 1) * n_positive / same.len();
            spread.push((same[at].0, due > given));
            given = due;
        }
    }
    let n = spread.len();
    (0..10)
        .map(|tenth| &spread[tenth * n / 10..(tenth + 1) * n / 10])
        .filter(|rows| !rows.is_empty())
        .map(group)
        .collect()
}

/// Returns the rows whose probability lies in each tenth from 0 to 1; tenths without rows are left out.
pub fn calibration(scores: &[f64], positive: &[bool]) -> Vec<Group> {
    let mut bins = vec![Vec::new(); 10];
    for (score, positive) in scores.iter().zip(positive) {
        bins[((score * 10.0) as usize).min(9)].push((*score, *positive));
    }
    bins.iter().filter(|rows| !rows.is_empty()).map(|rows| group(rows)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluate::curve;

    #[test]
    fn tables_by_hand() {
        let scores = [0.95, 0.9, 0.7, 0.65, 0.5, 0.4, 0.35, 0.2, 0.15, 0.05];
        let positive = [true, true, true, false, true, false, false, false, false, false];
        let table = thresholds(&curve(&scores, &positive));
        assert_eq!(table.len(), 21);
        let half = table.iter().find(|point| point.threshold == 0.5).unwrap();
        assert_eq!((half.true_positives, half.false_positives), (4, 1));
        let all = table[0];
        assert_eq!((all.true_positives, all.false_positives), (4, 6));
        let lift = tenths(&scores, &positive);
        assert_eq!((lift.len(), lift[0].n_positive, lift[9].n_positive), (10, 1, 0));
        let groups = calibration(&scores, &positive);
        assert_eq!(groups.iter().map(|group| group.n_rows).sum::<u64>(), 10);
        assert_eq!(groups[groups.len() - 1].n_positive, 2);
        // Equal scores: a fifth of each part is positive.
        let equal = tenths(&[0.3; 50], &(0..50).map(|row| row < 10).collect::<Vec<_>>());
        assert!(equal.iter().all(|group| group.n_positive == 1));
    }
}
