//! From the old count to the one that everything else has.

use std::sync::Arc;

use arrow::array::timezone::Tz;
use arrow::array::{
    Array, ArrayRef, ArrowPrimitiveType, AsArray, Date32Array, ListArray, MapArray, PrimitiveArray,
    StructArray,
};
use arrow::datatypes::{
    DataType, Date32Type, TimeUnit, TimestampMicrosecondType, TimestampMillisecondType,
};
use chrono::{DateTime, Duration, MappedLocalTime, NaiveDate, NaiveDateTime, Offset, TimeZone};
use maru_core::{Error, Result};

use super::{FIRST_GREGORIAN, Old, Rule, SECONDS_OF_DAY, YEAR_1900, below};
use crate::file_table::calendar;

/// The year whose standard time Java's old calendar has before 1900, in the tables that Spark counts by.
const STANDARD_YEAR: i32 = 2018;

/// Zones that had no other clock in those tables than the standard one.
const UNCHANGED: &[(&str, &str)] = &[
    ("CET", "+01:00"),
    ("CST6CDT", "-06:00"),
    ("EET", "+02:00"),
    ("EST5EDT", "-05:00"),
    ("MET", "+01:00"),
    ("MST7MDT", "-07:00"),
    ("PST8PDT", "-08:00"),
    ("WET", "+00:00"),
];

/// Zones whose history was written anew since those tables were made.
const REWRITTEN: &[&str] = &[
    "Africa/Blantyre",
    "Africa/Bujumbura",
    "Africa/Gaborone",
    "Africa/Harare",
    "Africa/Juba",
    "Africa/Kigali",
    "Africa/Lubumbashi",
    "Africa/Lusaka",
    "Africa/Maputo",
    "Africa/Sao_Tome",
    "America/Dawson",
    "America/Grand_Turk",
    "America/Matamoros",
    "America/Nipigon",
    "America/Rainy_River",
    "America/Thunder_Bay",
    "America/Whitehorse",
    "America/Yellowknife",
    "Antarctica/Casey",
    "Antarctica/Vostok",
    "Asia/Choibalsan",
    "Asia/Manila",
    "Asia/Pyongyang",
    "Asia/Qyzylorda",
    "Canada/Yukon",
    "Europe/Uzhgorod",
    "Europe/Zaporozhye",
];

impl Old {
    /// Recounts the values of a column, or of a part of one, that stands at `path`.
    ///
    /// # Errors
    /// 0A000 for an old value of which nobody knows how it was counted.
    pub(super) fn recount(&self, values: &ArrayRef, path: &str) -> Result<ArrayRef> {
        match values.data_type() {
            DataType::Struct(fields) => {
                let structs = values.as_struct();
                let parts = fields.iter().zip(structs.columns());
                let parts =
                    parts.map(|(field, part)| self.recount(part, &below(path, field.name())));
                let (parts, nulls) = (parts.collect::<Result<_>>()?, structs.nulls().cloned());
                let n_rows = structs.len();
                Ok(Arc::new(StructArray::try_new_with_length(
                    fields.clone(),
                    parts,
                    nulls,
                    n_rows,
                )?))
            }
            DataType::List(item) => {
                let list = values.as_list::<i32>();
                let items = self.recount(list.values(), &below(path, "*"))?;
                let (offsets, nulls) = (list.offsets().clone(), list.nulls().cloned());
                Ok(Arc::new(ListArray::try_new(Arc::clone(item), offsets, items, nulls)?))
            }
            DataType::Map(entries, sorted) => {
                let map = values.as_map();
                let parts = [(map.keys(), "k"), (map.values(), "v")].into_iter();
                let parts = parts.map(|(part, name)| self.recount(part, &below(path, name)));
                let parts = parts.collect::<Result<Vec<_>>>()?;
                let inner = StructArray::try_new(map.entries().fields().clone(), parts, None)?;
                let (offsets, nulls) = (map.offsets().clone(), map.nulls().cloned());
                let entries = Arc::clone(entries);
                Ok(Arc::new(MapArray::try_new(entries, offsets, inner, nulls, *sorted)?))
            }
            _ => match self.columns.get(path) {
                Some(rule) => self.leaf(*rule, values, path),
                None if values.data_type().is_nested() && self.is_in(path) => Err(Error::internal(
                    format!("old dates in a column of type {}", values.data_type()),
                )),
                None => Ok(Arc::clone(values)),
            },
        }
    }

    fn leaf(&self, rule: Rule, values: &ArrayRef, path: &str) -> Result<ArrayRef> {
        match values.data_type() {
            DataType::Date32 => {
                let days = values.as_primitive::<Date32Type>();
                if days.iter().flatten().all(|day| i64::from(day) >= FIRST_GREGORIAN) {
                    return Ok(Arc::clone(values));
                }
                if rule == Rule::Refuse {
                    return Err(unknown(path));
                }
                let days: Date32Array = days.unary(|day| {
                    // A date that moves by days stays in the range of its type.
                    i32::try_from(calendar::from_hybrid(day.into())).unwrap_or(day)
                });
                Ok(Arc::new(days))
            }
            DataType::Timestamp(TimeUnit::Millisecond, _) => {
                self.times::<TimestampMillisecondType>(rule, values, path, 1_000)
            }
            DataType::Timestamp(TimeUnit::Microsecond, _) => {
                self.times::<TimestampMicrosecondType>(rule, values, path, 1_000_000)
            }
            other => Err(Error::internal(format!("old dates in a column of type {other}"))),
        }
    }

    fn times<T: ArrowPrimitiveType<Native = i64>>(
        &self,
        rule: Rule,
        values: &ArrayRef,
        path: &str,
        per_second: i64,
    ) -> Result<ArrayRef> {
        let times = values.as_primitive::<T>();
        let first_day = if rule == Rule::Recount { YEAR_1900 } else { FIRST_GREGORIAN };
        let first = first_day * SECONDS_OF_DAY * per_second;
        if times.iter().flatten().all(|time| time >= first) {
            return Ok(Arc::clone(values));
        }
        if rule == Rule::Refuse {
            return Err(unknown(path));
        }
        let clock = Clock::of(&self.zone)?;
        let times: PrimitiveArray<T> = times.unary(|time| {
            if time >= first {
                return time;
            }
            let second = time.div_euclid(per_second);
            clock
                .recount(second)
                .saturating_mul(per_second)
                .saturating_add(time.rem_euclid(per_second))
        });
        Ok(Arc::new(times.with_data_type(values.data_type().clone())))
    }
}

fn unknown(path: &str) -> Error {
    let column = path.split('\0').next().unwrap_or_default();
    Error::unsupported("the file has old dates and does not say by which calendar they are counted")
        .with_detail(format!("Column \"{column}\" has dates before 15 October 1582."))
        .with_hint(
            "Write the file again with Spark 3 (spark.sql.parquet.datetimeRebaseModeInWrite = CORRECTED) or Hive 4.",
        )
}

/// A zone's clock before 1900: as Java's old calendar has it, and as it was.
struct Clock {
    zone: Tz,
    /// Java's, which never changed, in seconds.
    standard: i64,
}

impl Clock {
    /// # Errors
    /// 0A000 for a zone of which it is not known what Java's clock was.
    fn of(name: &str) -> Result<Self> {
        // `GMT+8`, `UTC+08:00` and `Z` are Java's, too.
        let plain = ["UTC", "GMT", "UT"].iter().find_map(|prefix| {
            name.strip_prefix(prefix).filter(|rest| rest.starts_with(['+', '-']))
        });
        let plain = match plain.unwrap_or(name) {
            "Z" => "UTC".to_owned(),
            short if short.len() == 2 && short.starts_with(['+', '-']) => {
                format!("{}0{}:00", &short[..1], &short[1..])
            }
            other => UNCHANGED
                .iter()
                .find_map(|(name, offset)| (*name == other).then_some(*offset))
                .unwrap_or(other)
                .to_owned(),
        };
        let zone = plain.parse::<Tz>().ok().filter(|_| !REWRITTEN.contains(&name));
        let zone = zone.ok_or_else(|| {
            Error::unsupported(format!("old times in time zone \"{name}\" cannot be read")).with_hint(
                "Write the file again with Spark 3 (spark.sql.parquet.datetimeRebaseModeInWrite = CORRECTED).",
            )
        })?;
        let offset = |month| {
            let day = NaiveDate::from_ymd_opt(STANDARD_YEAR, month, 15).unwrap_or_default();
            let offset = zone.offset_from_utc_datetime(&day.into()).fix();
            i64::from(offset.local_minus_utc())
        };
        // In summer it is later, if there is a summer time.
        let standard = offset(1).min(offset(7));
        Ok(Self { zone, standard })
    }

    /// Returns the second since 1970 at which a clock of the zone showed what Java's showed at `second`.
    fn recount(&self, second: i64) -> i64 {
        let shown = second.saturating_add(self.standard);
        let day = shown.div_euclid(SECONDS_OF_DAY);
        let shown = calendar::from_hybrid(day)
            .saturating_mul(SECONDS_OF_DAY)
            .saturating_add(shown.rem_euclid(SECONDS_OF_DAY));
        match DateTime::from_timestamp(shown, 0) {
            Some(time) => shown - self.offset_at(&time.naive_utc()),
            // Beyond the years that zones have a history for.
            None => shown - self.standard,
        }
    }

    fn offset_at(&self, shown: &NaiveDateTime) -> i64 {
        let offset = match self.zone.offset_from_local_datetime(shown) {
            MappedLocalTime::Single(offset) => offset,
            // Shown twice: it was the second time, since no summer time was ever that old.
            MappedLocalTime::Ambiguous(_, later) => later,
            // Never shown: it goes by the clock that was before.
            MappedLocalTime::None => {
                let before = shown.checked_sub_signed(Duration::days(1)).unwrap_or(*shown);
                self.zone.offset_from_utc_datetime(&before)
            }
        };
        i64::from(offset.fix().local_minus_utc())
    }
}
