//! When a pipeline runs: cron in the wall-clock time of an IANA zone.
//!
//! Clock changes as Vixie cron has them, by croner: a schedule with fixed hours runs once a day. A time that the clocks leave out
//! runs at the first moment after the gap, one that they show twice the first time only. A schedule by intervals (`*`, `*/15` in
//! minutes or hours) goes by real time: nothing in the gap, both times in the repeated hour. Every time is a moment of UTC that comes
//! after the one before; what does not is an error, never a loop.

use chrono::{DateTime, Duration, Utc};
use chrono_tz::Tz;
use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};
use maru_core::{Error, ErrorKind, Result, did_you_mean};

use super::definition::CatchUp;

/// A time that is older than this when it is seen was missed.
const LATE: Duration = Duration::seconds(60);

/// Times that are looked at in one go; more wait for the next one.
const LOOKED_AT: usize = 10_000;

/// Hours that a zone may leave out at once.
const GAP_HOURS_MAX: usize = 48;

/// When runs are due.
#[derive(Debug, Clone)]
pub(crate) struct Schedule {
    cron: Cron,
    zone: Tz,
}

/// Reads the name of a zone.
///
/// # Errors
/// 22023 with the nearest name.
pub(crate) fn zone(name: &str) -> Result<Tz> {
    name.parse::<Tz>().map_err(|_| {
        let error =
            Error::new(ErrorKind::InvalidParameter, format!("time zone \"{name}\" is not known"));
        match did_you_mean(name, chrono_tz::TZ_VARIANTS.iter().map(|zone| zone.name())) {
            Some(near) => error.with_hint(format!("Did you mean '{near}'?")),
            None => error
                .with_hint("Zones have names of the IANA database, such as 'Asia/Seoul' or 'UTC'."),
        }
    })
}

/// One run of a schedule: the moment it is due, which ends its interval.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Slot {
    pub start: DateTime<Utc>,
    pub end: DateTime<Utc>,
}

/// What a look at the clock gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Due {
    /// Runs to start, the oldest first.
    pub slots: Vec<Slot>,
    /// Times that no run is started for.
    pub missed: usize,
    /// Until when everything has been decided.
    pub cursor: DateTime<Utc>,
}

impl Schedule {
    /// # Errors
    /// 22023 for what is no cron schedule, for one that never comes, for an unknown zone.
    pub(crate) fn new(cron: &str, zone_name: &str) -> Result<Self> {
        let zone = zone(zone_name)?;
        let parser =
            CronParser::builder().seconds(Seconds::Optional).year(Year::Disallowed).build();
        let cron = parser.parse(cron).map_err(|error| {
            Error::new(ErrorKind::InvalidParameter, format!("'{cron}' is no schedule"))
                .with_cause(error)
                .with_hint("A schedule has five fields, minute hour day-of-month month day-of-week, such as '0 2 * * *'; a sixth one before them are seconds.")
        })?;
        let schedule = Self { cron, zone };
        let long_ago = (DateTime::UNIX_EPOCH + Duration::days(20_000)).with_timezone(&zone);
        if schedule.cron.find_next_occurrence(&long_ago, false).is_err() {
            let message = format!("schedule '{}' never comes", schedule.cron.as_str());
            return Err(Error::new(ErrorKind::InvalidParameter, message)
                .with_hint("No month that it names has such a day."));
        }
        Ok(schedule)
    }

    pub(crate) fn zone(&self) -> Tz {
        self.zone
    }

    /// Returns the first time after a moment.
    ///
    /// # Errors
    /// XX000 if there is none, or one that does not come after.
    pub(crate) fn next(&self, after: DateTime<Utc>) -> Result<DateTime<Utc>> {
        let mut from = after.with_timezone(&self.zone);
        let mut found = self.cron.find_next_occurrence(&from, false);
        // A day that a zone leaves out as a whole ends the search: it goes on behind it.
        for _ in 0..GAP_HOURS_MAX {
            if matches!(&found, Ok(found) if *found > after) {
                break;
            }
            from += Duration::hours(1);
            found = self.cron.find_next_occurrence(&from, true);
        }
        match found {
            Ok(found) if found > after => Ok(found.with_timezone(&Utc)),
            _ => {
                let cron = self.cron.as_str();
                Err(Error::internal(format!("schedule '{cron}' gives no next time")))
            }
        }
    }

    /// Returns the last time before one of its times.
    ///
    /// # Errors
    /// As [`Schedule::next`].
    pub(crate) fn before(&self, time: DateTime<Utc>) -> Result<DateTime<Utc>> {
        // By going forward, so that both directions tell the same times.
        let mut window = Duration::minutes(2);
        while window < Duration::days(366 * 40) {
            let mut at = self.next(time - window - Duration::seconds(1))?;
            let mut last = None;
            while at < time {
                last = Some(at);
                at = self.next(at)?;
            }
            if let Some(last) = last {
                return Ok(last);
            }
            window = window * 8;
        }
        Err(Error::internal(format!("schedule '{}' has no time before", self.cron.as_str())))
    }

    /// Returns the interval that ends at one of its times.
    pub(crate) fn slot(&self, end: DateTime<Utc>) -> Result<Slot> {
        Ok(Slot { start: self.before(end)?, end })
    }

    /// Returns the last interval that has ended by a moment.
    pub(crate) fn last_slot(&self, now: DateTime<Utc>) -> Result<Slot> {
        let end = self.before(self.next(now)?)?;
        self.slot(end)
    }

    /// Returns the intervals that begin in a range, both ends included.
    ///
    /// # Errors
    /// 54000 for more than `limit`.
    pub(crate) fn slots_from(
        &self,
        from: DateTime<Utc>,
        to: DateTime<Utc>,
        limit: usize,
    ) -> Result<Vec<Slot>> {
        let mut slots = Vec::new();
        let mut start = self.next(from - Duration::seconds(1))?;
        while start <= to {
            let end = self.next(start)?;
            slots.push(Slot { start, end });
            if slots.len() > limit {
                return Err(Error::new(
                    ErrorKind::LimitExceeded,
                    format!("more than {limit} runs in one backfill"),
                )
                .with_hint("Name a shorter range."));
            }
            start = end;
        }
        Ok(slots)
    }

    /// Decides what of the times after `cursor` up to `now` is run. `places`: runs that may be started. Where there is none, nothing is
    /// decided yet.
    ///
    /// # Errors
    /// As [`Schedule::next`].
    pub(crate) fn due(
        &self,
        cursor: DateTime<Utc>,
        now: DateTime<Utc>,
        policy: CatchUp,
        places: usize,
    ) -> Result<Due> {
        let mut due = Due { slots: Vec::new(), missed: 0, cursor };
        if places == 0 {
            return Ok(due);
        }
        let mut times = Vec::new();
        let mut time = self.next(cursor)?;
        while time <= now {
            times.push(time);
            if times.len() >= LOOKED_AT {
                break;
            }
            time = self.next(time)?;
        }
        let n_times = times.len();
        let chosen = match policy {
            CatchUp::All => times.into_iter().take(places).collect(),
            // An hour ago is missed: somebody must want it to be made up for.
            CatchUp::None => {
                let late = now - LATE;
                times.into_iter().rfind(|time| *time >= late).into_iter().collect()
            }
            // Of more than can be looked at once, the last one is not there yet.
            CatchUp::Last if n_times >= LOOKED_AT => Vec::new(),
            CatchUp::Last => times.last().copied().into_iter().collect::<Vec<_>>(),
        };
        let seen_to = match policy {
            CatchUp::All => chosen.last().copied(),
            _ if n_times >= LOOKED_AT => {
                let mut last = cursor;
                for _ in 0..n_times {
                    last = self.next(last)?;
                }
                Some(last)
            }
            _ => Some(now),
        };
        due.cursor = seen_to.unwrap_or(cursor).max(cursor);
        due.missed = match policy {
            CatchUp::All => 0,
            _ => n_times - chosen.len(),
        };
        due.slots = chosen.into_iter().map(|end| self.slot(end)).collect::<Result<_>>()?;
        Ok(due)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> DateTime<Utc> {
        DateTime::parse_from_rfc3339(text).unwrap().with_timezone(&Utc)
    }

    /// The first `n` times after a moment, as the clocks of the zone show them.
    fn times(cron: &str, zone: &str, from: &str, n: usize) -> Vec<String> {
        let schedule = Schedule::new(cron, zone).unwrap();
        let mut time = at(from);
        let mut found = Vec::new();
        for _ in 0..n {
            let next = schedule.next(time).unwrap();
            assert!(next > time);
            let shown = next.with_timezone(&schedule.zone).format("%m-%d %H:%M %Z").to_string();
            found.push(shown);
            time = next;
        }
        found
    }

    #[test]
    fn a_time_that_the_clocks_leave_out_runs_once_behind_the_gap() {
        // New York: 02:00 to 03:00 of 8 March 2026 is left out.
        let found = times("30 2 * * *", "America/New_York", "2026-03-07T08:00:00Z", 3);
        assert_eq!(found, ["03-08 03:00 EDT", "03-09 02:30 EDT", "03-10 02:30 EDT"]);
        // By intervals there is nothing in the gap.
        let found = times("*/30 * * * *", "America/New_York", "2026-03-08T06:15:00Z", 3);
        assert_eq!(found, ["03-08 01:30 EST", "03-08 03:00 EDT", "03-08 03:30 EDT"]);
    }

    #[test]
    fn a_time_that_the_clocks_show_twice_runs_once() {
        // New York: 01:00 to 02:00 of 1 November 2026 comes twice.
        let found = times("30 1 * * *", "America/New_York", "2026-10-31T12:00:00Z", 2);
        assert_eq!(found, ["11-01 01:30 EDT", "11-02 01:30 EST"]);
        let found = times("30 * * * *", "America/New_York", "2026-11-01T04:45:00Z", 3);
        assert_eq!(found, ["11-01 01:30 EDT", "11-01 01:30 EST", "11-01 02:30 EST"]);
    }

    #[test]
    fn odd_changes_of_clocks_do_not_hold_it_up() {
        // Half an hour at Lord Howe; a day left out on Samoa; midnight left out in Cairo and Santiago.
        for (cron, zone, from) in [
            ("15 2 * * *", "Australia/Lord_Howe", "2026-10-02T00:00:00Z"),
            ("0 0 * * *", "Pacific/Apia", "2011-12-28T00:00:00Z"),
            ("0 0 * * *", "Africa/Cairo", "2026-04-22T00:00:00Z"),
            ("0 0 * * *", "America/Santiago", "2026-09-03T00:00:00Z"),
            ("59 23 31 12 *", "Asia/Seoul", "2026-01-01T00:00:00Z"),
        ] {
            assert_eq!(times(cron, zone, from, 8).len(), 8, "{zone}");
            let schedule = Schedule::new(cron, zone).unwrap();
            let mut time = schedule.next(at(from)).unwrap();
            for _ in 0..8 {
                let next = schedule.next(time).unwrap();
                assert_eq!(schedule.before(next).unwrap(), time, "{zone}");
                time = next;
            }
        }
    }

    #[test]
    fn every_day_of_twenty_years_has_one_run() {
        for zone in ["America/New_York", "Europe/Berlin", "Asia/Seoul", "America/Santiago"] {
            for cron in ["30 2 * * *", "0 0 * * *"] {
                let schedule = Schedule::new(cron, zone).unwrap();
                let mut time = at("2000-01-01T12:00:00Z");
                let mut day: Option<chrono::NaiveDate> = None;
                for _ in 0..365 * 20 {
                    time = schedule.next(time).unwrap();
                    let today = time.with_timezone(&schedule.zone).date_naive();
                    if let Some(day) = day {
                        let passed = today.signed_duration_since(day).num_days();
                        assert_eq!(passed, 1, "{zone} {cron} {today}");
                    }
                    day = Some(today);
                }
            }
        }
    }

    #[test]
    fn schedules_that_never_come_are_refused() {
        for cron in ["0 0 30 2 *", "0 0 31 4,6 *"] {
            let error = Schedule::new(cron, "UTC").unwrap_err();
            assert!(error.primary().contains("never comes"), "{error:?}");
        }
        for cron in ["", "0 2 * *", "61 * * * *", "x * * * *", "0 0 1 1 * 2026 1"] {
            assert_eq!(Schedule::new(cron, "UTC").unwrap_err().sqlstate(), "22023", "{cron}");
        }
        assert_eq!(zone("Asia/Soul").unwrap_err().hint(), Some("Did you mean 'Asia/Seoul'?"));
        assert!(Schedule::new("0 0 29 2 *", "UTC").is_ok());
    }

    #[test]
    fn missed_times_are_made_up_for_as_the_policy_says() {
        let daily = Schedule::new("0 2 * * *", "Asia/Seoul").unwrap();
        // Looked at last on the 1st; now it is noon of the 4th.
        let (cursor, now) = (at("2026-11-01T00:00:00Z"), at("2026-11-04T03:00:00Z"));
        let ends = |policy, places| {
            let due = daily.due(cursor, now, policy, places).unwrap();
            (due.slots.iter().map(|slot| slot.end.to_rfc3339()).collect::<Vec<_>>(), due)
        };
        let (none, due) = ends(CatchUp::None, 1);
        assert!(none.is_empty() && due.missed == 3 && due.cursor == now);
        let (last, due) = ends(CatchUp::Last, 1);
        assert_eq!(last, ["2026-11-03T17:00:00+00:00"]);
        assert_eq!(due.slots[0].start, at("2026-11-02T17:00:00Z"));
        assert!(due.missed == 2 && due.cursor == now);
        let (all, due) = ends(CatchUp::All, 2);
        assert_eq!(all.len(), 2);
        assert_eq!(due.cursor, at("2026-11-02T17:00:00Z"));
        assert_eq!(daily.due(due.cursor, now, CatchUp::All, 5).unwrap().slots.len(), 1);
        // Without a place nothing is decided, and nothing lost.
        assert_eq!(daily.due(cursor, now, CatchUp::Last, 0).unwrap().cursor, cursor);
        // On time is not missed.
        let due = daily.due(cursor, at("2026-11-01T17:00:01Z"), CatchUp::None, 1).unwrap();
        assert_eq!((due.slots.len(), due.missed), (1, 0));
        // A clock that is put back starts nothing again.
        let due = daily.due(now, at("2026-11-01T17:00:01Z"), CatchUp::All, 5).unwrap();
        assert_eq!((due.slots.len(), due.cursor), (0, now));
    }

    #[test]
    fn intervals_are_found_for_a_range() {
        let daily = Schedule::new("0 2 * * *", "Asia/Seoul").unwrap();
        let (from, to) = (at("2026-10-31T15:00:00Z"), at("2026-11-20T14:59:59Z"));
        let slots = daily.slots_from(from, to, 100).unwrap();
        assert_eq!((slots.len(), slots[0].start), (20, at("2026-10-31T17:00:00Z")));
        assert_eq!(daily.slots_from(from, to, 3).unwrap_err().sqlstate(), "54000");
        let last = daily.last_slot(at("2026-11-20T17:00:00Z")).unwrap();
        assert_eq!(
            (last.start, last.end),
            (at("2026-11-19T17:00:00Z"), at("2026-11-20T17:00:00Z"))
        );
    }
}
