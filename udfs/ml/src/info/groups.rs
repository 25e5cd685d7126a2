//! Lift and calibration, as rows.

use arrow::array::StructArray;
use maru_core::Result;

use super::Table;
use crate::manifest::ScoreGroup;
use crate::measure::What;

/// Tenths of rows: how many positive ones are found in them, or whether their probabilities are true.
pub fn groups(what: What, groups: &[ScoreGroup]) -> Result<StructArray> {
    let part = |part: u64, whole: u64| (whole > 0).then(|| part as f64 / whole as f64);
    let all = groups.iter().map(|g| g.n_rows).sum::<u64>();
    let positive = groups.iter().map(|g| g.n_positive).sum::<u64>();
    let table = Table::default();
    if what == What::Calibration {
        return table
            .number("lowest_prob", groups.iter().map(|g| Some(g.low)))
            .number("highest_prob", groups.iter().map(|g| Some(g.high)))
            .count("rows", groups.iter().map(|g| g.n_rows))
            .number("mean_prob", groups.iter().map(|g| Some(g.mean_score)))
            .number("positive_share", groups.iter().map(|g| part(g.n_positive, g.n_rows)))
            .rows();
    }
    let mut found = Vec::new();
    let (mut rows, mut positives) = (0, 0);
    for group in groups {
        (rows, positives) = (rows + group.n_rows, positives + group.n_positive);
        found.push((rows, positives));
    }
    let share = part(positive, all);
    let lift = |n_positive: u64, n: u64| Some(part(n_positive, n)? / share.filter(|s| *s > 0.0)?);
    table
        .count("tenth", (1..).take(groups.len()))
        .number("lowest_prob", groups.iter().map(|g| Some(g.low)))
        .count("rows", groups.iter().map(|g| g.n_rows))
        .count("positive_rows", groups.iter().map(|g| g.n_positive))
        .number("positive_share", groups.iter().map(|g| part(g.n_positive, g.n_rows)))
        .number("lift", groups.iter().map(|g| lift(g.n_positive, g.n_rows)))
        .number("cumulative_gain", found.iter().map(|(_, p)| part(*p, positive)))
        .number("cumulative_lift", found.iter().map(|(n, p)| lift(*p, *n)))
        .rows()
}
