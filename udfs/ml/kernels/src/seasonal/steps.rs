//! Times of series: what they count, how far they lie apart, which comes next.

use serde::{Deserialize, Serialize};

use super::HoltWinters;

/// What times count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TimeUnit {
    /// Dates, as days since 1970.
    Days,
    /// Timestamps, as seconds since 1970.
    Seconds,
    /// Timestamps with a time zone, the same.
    Instants,
    Number,
}

/// From one value to the next.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    Even(f64),
    /// So many months, to the same day.
    Months(u32),
    /// So many months, from last day to last day.
    MonthEnds(u32),
}

/// Days since 1970 of the first of a month, which is counted from year 0 (Howard Hinnant's).
fn first_of(month: i64) -> i64 {
    let (year, month) = (month.div_euclid(12), month.rem_euclid(12) + 1);
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year - era * 400;
    let of_year = (153 * (month + if month > 2 { -3 } else { 9 }) + 2) / 5;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// The days from the first of a month to its last.
fn last_of(month: i64) -> i64 {
    first_of(month + 1) - first_of(month) - 1
}

/// The month that a day lies in, from year 0, and the days since its first.
fn month_of(days: i64) -> (i64, i64) {
    // A guess from the mean length of a month, put right.
    let mut month = ((days + 719_528) as f64 / 30.436_875).floor() as i64;
    while first_of(month) > days {
        month -= 1;
    }
    while first_of(month + 1) <= days {
        month += 1;
    }
    (month, days - first_of(month))
}

impl Step {
    /// Finds the step of times in order: one of months, or the least distance, of which all are multiples.
    pub fn of(times: &[f64], unit: TimeUnit) -> Option<Self> {
        let gaps = times.windows(2).map(|pair| pair[1] - pair[0]).collect::<Vec<_>>();
        let least = gaps.iter().copied().reduce(f64::min)?;
        if unit != TimeUnit::Number {
            let day = if unit == TimeUnit::Days { 1.0 } else { 86_400.0 };
            let months = times.iter().map(|time| month_of((time / day).floor() as i64));
            let months = months.collect::<Vec<_>>();
            let in_order = months.windows(2).all(|pair| pair[0].0 < pair[1].0);
            let same = months.windows(2).all(|pair| pair[0].1 == pair[1].1);
            // The 30th of June and that of September are followed by the 31st of December.
            let ends = months.iter().all(|(month, since)| *since == last_of(*month));
            if in_order && (same || ends) && least >= 28.0 * day {
                let between = months.windows(2).map(|pair| pair[1].0 - pair[0].0);
                let step = between.clone().reduce(i64::min)?;
                let even = between.clone().all(|months| months % step == 0);
                let step = u32::try_from(step).ok()?;
                if even || same {
                    return even.then_some(if ends {
                        Self::MonthEnds(step)
                    } else {
                        Self::Months(step)
                    });
                }
            }
        }
        let whole = |gap: &f64| ((gap / least).round() - gap / least).abs() < 1e-6;
        (least > 0.0 && gaps.iter().all(whole)).then_some(Self::Even(least))
    }

    /// Returns how many steps lie between two times.
    pub fn between(self, from: f64, to: f64, unit: TimeUnit) -> usize {
        match self {
            Self::Even(step) => ((to - from) / step).round().max(0.0) as usize,
            Self::Months(step) | Self::MonthEnds(step) => {
                let day = if unit == TimeUnit::Days { 1.0 } else { 86_400.0 };
                let month = |time: f64| month_of((time / day).floor() as i64).0;
                usize::try_from((month(to) - month(from)) / i64::from(step)).unwrap_or(0)
            }
        }
    }

    /// Returns the time some steps after one.
    pub fn after(self, time: f64, steps: usize, unit: TimeUnit) -> f64 {
        match self {
            Self::Even(step) => time + step * steps as f64,
            Self::Months(step) | Self::MonthEnds(step) => {
                let day = if unit == TimeUnit::Days { 1.0 } else { 86_400.0 };
                let (month, since) = month_of((time / day).floor() as i64);
                let next = month + i64::from(step) * steps as i64;
                let since = match self {
                    Self::MonthEnds(_) => last_of(next),
                    // The last day of a month that is shorter.
                    _ => since.min(last_of(next)),
                };
                (first_of(next) + since) as f64 * day + time.rem_euclid(day)
            }
        }
    }

    /// Returns how many steps a season usually has.
    pub fn usual_season(self, unit: TimeUnit) -> Option<usize> {
        let seconds = match (self, unit) {
            (Self::Months(step) | Self::MonthEnds(step), _) => {
                return (step < 12 && 12 % step == 0).then_some(12 / step as usize);
            }
            (_, TimeUnit::Number) => return None,
            (Self::Even(step), TimeUnit::Days) => step * 86_400.0,
            (Self::Even(step), TimeUnit::Seconds | TimeUnit::Instants) => step,
        };
        match seconds as i64 {
            604_800 => Some(52),
            86_400 => Some(7),
            3_600 => Some(24),
            _ => None,
        }
    }
}

/// One series that has been learnt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Series {
    pub name: Option<String>,
    /// The time of its last value.
    pub last: f64,
    pub step: Step,
    pub model: HoltWinters,
}

/// Series side by side.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Forecasts {
    pub unit: TimeUnit,
    pub series: Vec<Series>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn months_keep_their_day_and_years_their_leap() {
        // 2024-01-31, and the months after it.
        let start = 19_753.0;
        let after = |steps| Step::Months(1).after(start, steps, TimeUnit::Days);
        assert_eq!([after(1), after(2), after(13)], [19_782.0, 19_813.0, 20_147.0]);
        assert_eq!(month_of(0), (1970 * 12, 0));
        assert_eq!(month_of(-1), (1969 * 12 + 11, 30));
        let firsts = [19_723.0, 19_754.0, 19_783.0, 19_844.0];
        let step = Step::of(&firsts, TimeUnit::Days).unwrap();
        assert_eq!(step, Step::Months(1));
        assert_eq!(step.between(firsts[2], firsts[3], TimeUnit::Days), 2);
        assert_eq!(step.usual_season(TimeUnit::Days), Some(12));
        assert_eq!(Step::of(&[1.0, 2.0, 4.0], TimeUnit::Days), Some(Step::Even(1.0)));
        assert_eq!(Step::of(&[1.0, 2.0, 4.5], TimeUnit::Days), None);
    }

    #[test]
    fn last_days_of_months_are_followed_by_last_days() {
        // 2024-01-31, 02-29, 03-31, 04-30, 05-31.
        let ends = [19_753.0, 19_782.0, 19_813.0, 19_843.0, 19_874.0];
        let step = Step::of(&ends[..3], TimeUnit::Days).unwrap();
        assert_eq!(step, Step::MonthEnds(1));
        assert_eq!(step.usual_season(TimeUnit::Days), Some(12));
        for (at, end) in ends.iter().enumerate() {
            assert_eq!(step.after(ends[0], at, TimeUnit::Days), *end);
            assert_eq!(step.between(ends[0], *end, TimeUnit::Days), at);
        }
        assert_eq!(step.after(ends[1], 2, TimeUnit::Days), ends[3]);
        // With a gap; at an hour of the day.
        let seconds = ends.map(|day| day * 86_400.0 + 3_600.0);
        let times = [seconds[0], seconds[1], seconds[3]];
        let step = Step::of(&times, TimeUnit::Instants).unwrap();
        assert_eq!(step, Step::MonthEnds(1));
        assert_eq!(step.between(times[1], times[2], TimeUnit::Instants), 2);
        assert_eq!(step.after(times[1], 1, TimeUnit::Instants), seconds[2]);
        // Quarters: 2024-06-30, 09-30, 12-31, 2025-03-31.
        let step = Step::of(&[19_904.0, 19_996.0], TimeUnit::Days).unwrap();
        assert_eq!(step, Step::MonthEnds(3));
        let after = |steps| step.after(19_996.0, steps, TimeUnit::Days);
        assert_eq!([after(1), after(2)], [20_088.0, 20_178.0]);
        // Thirty days from the 30th of January is the 29th of February; what is not always a last day is none.
        let thirty = [19_752.0, 19_782.0, 19_812.0];
        assert_eq!(Step::of(&thirty, TimeUnit::Days), Some(Step::Even(30.0)));
    }
}
