//! Days by the calendars that files are written with.
//!
//! Java's old date types count days before 15 October 1582 by the Julian calendar; what was written through them means the
//! date that was shown, which the Gregorian calendar, carried on backwards, gives another number.

/// 15 October 1582, the first day of the Gregorian calendar.
const FIRST_GREGORIAN: i64 = -141_427;
/// The day of the Julian period that is day 0 here.
const EPOCH_JULIAN_DAY: i64 = 2_440_588;

/// Returns the days since 1970 of a date of the Gregorian calendar, carried on backwards. A day that the month does not
/// have counts into the next one.
pub(in crate::file_table) fn days(year: i64, month: i64, day: i64) -> i64 {
    // Years that begin in March have their leap day at the end.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let of_years = year * 365 + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    of_years + (153 * month + 2) / 5 + day - 1 - 719_468
}

/// Turns a day counted by both calendars into the day of the same date in the Gregorian one.
pub(in crate::file_table) fn from_hybrid(number: i64) -> i64 {
    if number >= FIRST_GREGORIAN {
        return number;
    }
    let shifted = number + EPOCH_JULIAN_DAY + 32_082;
    let year = (4 * shifted + 3).div_euclid(1461);
    let day_of_year = shifted - (1461 * year).div_euclid(4);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    days(year - 4800 + month / 10, month + 3 - 12 * (month / 10), day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_the_date_that_was_shown() {
        assert_eq!(days(1970, 1, 1), 0);
        assert_eq!(from_hybrid(0), 0);
        assert_eq!(from_hybrid(FIRST_GREGORIAN), days(1582, 10, 15));
        // The day before that one was the fourth.
        assert_eq!(from_hybrid(FIRST_GREGORIAN - 1), days(1582, 10, 4));
        assert_eq!(from_hybrid(-719_164), days(1, 1, 1));
        // The Julian calendar has 29 February 1500.
        assert_eq!(from_hybrid(-171_596), days(1500, 3, 1));
    }
}
