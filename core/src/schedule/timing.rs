//! When a schedule fires: by cron, at a rate, or once.

use std::{fmt, time::Duration};

use jiff::{
    SignedDuration, Timestamp as Instant, ToSpan as _, Zoned,
    civil::DateTime,
    tz::{AmbiguousOffset, TimeZone},
};
use serde::{Deserialize, Serialize};

use super::cron::Cron;
use crate::{
    k6::options::go_duration,
    plan::{plural, words},
};

/// How far ahead the next time is looked for: a 29th of February may be eight years away.
const HORIZON_DAYS: u32 = 366 * 9;

/// The longest that a schedule may rest, in minutes: a year.
const RAREST: u64 = 366 * 24 * 60;

/// When a schedule fires, in a time zone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Timing {
    /// By the calendar.
    Cron(Cron),
    /// Again and again.
    Rate(Rate),
    /// Once.
    At(At),
}

/// Whole minutes between two firings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Rate {
    minutes: u64,
}

/// A moment of the clock on some wall.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct At(DateTime);

/// The text is no time at which anything could fire; says what was expected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}`: {problem}")]
pub struct InvalidTime {
    text: String,
    problem: &'static str,
}

impl Rate {
    /// Reads `10m`, `1h30m`, `2d`, `10 minutes`, `rate(1 hour)`.
    pub fn parse(text: &str) -> Result<Self, InvalidTime> {
        let refused = |problem| InvalidTime { text: text.to_owned(), problem };
        let inner = text.trim();
        let inner = inner.strip_prefix("rate(").and_then(|rest| rest.strip_suffix(')')).unwrap_or(inner);
        let minutes = if let Some((number, unit)) = inner.split_once(char::is_whitespace) {
            number.parse().ok().and_then(|number| in_minutes(number, unit.trim()))
        } else {
            let is_whole = |duration: &Duration| duration.as_millis().is_multiple_of(60_000);
            // k6 would take a bare number for milliseconds, which nobody means here.
            let has_unit = inner.ends_with(|last: char| last.is_ascii_alphabetic());
            match go_duration::parse(inner).filter(|_| has_unit) {
                Some(duration) if !is_whole(&duration) => {
                    return Err(refused("expected whole minutes: EventBridge Scheduler knows no seconds"));
                }
                duration => duration.map(|duration| duration.as_secs() / 60),
            }
        };
        match minutes {
            None => Err(refused("expected a time such as 10m, 1h30m or 2d")),
            Some(0) => Err(refused("expected a minute or more")),
            Some(minutes) if minutes > RAREST => Err(refused("expected a year or less")),
            Some(minutes) => Ok(Self { minutes }),
        }
    }

    /// The time from one firing to the next.
    pub fn every(self) -> Duration {
        Duration::from_secs(self.minutes * 60)
    }

    fn expression(self) -> String {
        let (number, unit) = match self.minutes {
            minutes if minutes.is_multiple_of(24 * 60) => (minutes / (24 * 60), "day"),
            minutes if minutes.is_multiple_of(60) => (minutes / 60, "hour"),
            minutes => (minutes, "minute"),
        };
        format!("rate({})", plural(number, unit))
    }
}

fn in_minutes(number: u64, unit: &str) -> Option<u64> {
    let minutes: u64 = match unit.trim_end_matches('s') {
        "minute" => 1,
        "hour" => 60,
        "day" => 24 * 60,
        _ => return None,
    };
    number.checked_mul(minutes)
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.minutes {
            minutes if minutes.is_multiple_of(24 * 60) => write!(f, "{}d", minutes / (24 * 60)),
            _ => f.write_str(&words(self.every())),
        }
    }
}

impl TryFrom<String> for Rate {
    type Error = InvalidTime;

    fn try_from(text: String) -> Result<Self, InvalidTime> {
        Self::parse(&text)
    }
}

impl From<Rate> for String {
    fn from(rate: Rate) -> Self {
        plural(rate.minutes, "minute")
    }
}

impl At {
    /// Reads `2026-12-01T02:00`, with or without seconds, and with a space in place of the `T`.
    pub fn parse(text: &str) -> Result<Self, InvalidTime> {
        let refused = |problem| InvalidTime { text: text.to_owned(), problem };
        let inner = text.trim();
        let inner = inner.strip_prefix("at(").and_then(|rest| rest.strip_suffix(')')).unwrap_or(inner);
        let time = inner.get(10..).unwrap_or_default();
        if time.contains(['+', '-', 'Z', 'z', '[']) {
            return Err(refused("expected a time without a zone: --timezone says which"));
        }
        match inner.parse::<DateTime>() {
            Ok(at) if time.contains(':') && at.subsec_nanosecond() == 0 => Ok(Self(at)),
            _ => Err(refused("expected a date and a time such as 2026-12-01T02:00")),
        }
    }
}

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.strftime("%Y-%m-%dT%H:%M:%S"))
    }
}

impl TryFrom<String> for At {
    type Error = InvalidTime;

    fn try_from(text: String) -> Result<Self, InvalidTime> {
        Self::parse(&text)
    }
}

impl From<At> for String {
    fn from(at: At) -> Self {
        at.to_string()
    }
}

/// As it was asked for: `0 2 * * *`, `every 10m`, `at 2026-12-01T02:00:00`.
impl fmt::Display for Timing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cron(cron) => cron.fmt(f),
            Self::Rate(rate) => write!(f, "every {rate}"),
            Self::At(at) => write!(f, "at {at}"),
        }
    }
}

impl Timing {
    /// As EventBridge Scheduler wants it.
    pub fn expression(&self) -> String {
        match self {
            Self::Cron(cron) => cron.expression(),
            Self::Rate(rate) => rate.expression(),
            Self::At(at) => format!("at({at})"),
        }
    }

    /// The next times after `now`, at most `count`. Rates count from `since`.
    ///
    /// A time that the clock leaves out when summer begins is left out, and one that it shows twice when summer ends comes
    /// once, as EventBridge Scheduler has it.
    pub fn next(&self, now: Instant, since: Instant, zone: &TimeZone, count: usize) -> Vec<Zoned> {
        let in_zone = |moment: Instant| moment.to_zoned(zone.clone());
        match self {
            Self::Cron(cron) => {
                let first = in_zone(now).date();
                let dates = (0..HORIZON_DAYS).map_while(|days| first.checked_add(i64::from(days).days()).ok());
                let moments = dates
                    .filter(|date| cron.is_on(*date))
                    .flat_map(|date| cron.times().filter_map(move |time| moment(date.to_datetime(time), zone)));
                moments.filter(|moment| *moment > now).take(count).map(in_zone).collect()
            }
            Self::Rate(rate) => {
                let every = i64::try_from(rate.minutes * 60).unwrap_or(i64::MAX);
                let passed = now.duration_since(since).as_secs().max(0) / every;
                let steps =
                    (1..).take(count).map(|step| SignedDuration::from_secs(every.saturating_mul(passed + step)));
                steps.map_while(|step| since.checked_add(step).ok()).map(in_zone).collect()
            }
            Self::At(at) => {
                moment(at.0, zone).filter(|moment| *moment > now).map(in_zone).into_iter().take(count).collect()
            }
        }
    }

    /// Whether it fires once only.
    pub fn is_once(&self) -> bool {
        matches!(self, Self::At(_))
    }
}

/// When the clock in a zone shows that; the first time of two, and never if it leaves that out.
fn moment(local: DateTime, zone: &TimeZone) -> Option<Instant> {
    match zone.to_ambiguous_timestamp(local).offset() {
        AmbiguousOffset::Unambiguous { offset } | AmbiguousOffset::Fold { before: offset, .. } => {
            offset.to_timestamp(local).ok()
        }
        AmbiguousOffset::Gap { .. } => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The clock of Oslo, without anybody's data.
    fn oslo() -> TimeZone {
        TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").expect("a zone")
    }

    fn next(timing: &Timing, now: &str, zone: &TimeZone) -> Vec<String> {
        let now: Instant = now.parse().expect("a time");
        let since: Instant = "2026-01-01T00:00:30Z".parse().expect("a time");
        let times = timing.next(now, since, zone, 3);
        times.iter().map(|time| time.strftime("%a %Y-%m-%d %H:%M:%S %:z").to_string()).collect()
    }

    fn cron(text: &str) -> Timing {
        Timing::Cron(Cron::parse(text).expect("reads"))
    }

    #[test]
    fn rates_are_whole_minutes() {
        for (text, expression, shown) in [
            ("1m", "rate(1 minute)", "every 1m"),
            ("10m", "rate(10 minutes)", "every 10m"),
            ("600s", "rate(10 minutes)", "every 10m"),
            ("90m", "rate(90 minutes)", "every 1h30m"),
            ("1h30m", "rate(90 minutes)", "every 1h30m"),
            ("2h", "rate(2 hours)", "every 2h"),
            ("24h", "rate(1 day)", "every 1d"),
            ("7d", "rate(7 days)", "every 7d"),
            ("1.5d", "rate(36 hours)", "every 36h"),
            ("1 minute", "rate(1 minute)", "every 1m"),
            ("rate(5 minutes)", "rate(5 minutes)", "every 5m"),
            ("3 hours", "rate(3 hours)", "every 3h"),
            ("366 days", "rate(366 days)", "every 366d"),
        ] {
            let timing = Timing::Rate(Rate::parse(text).unwrap_or_else(|error| panic!("{error}")));
            assert_eq!((timing.expression().as_str(), timing.to_string().as_str()), (expression, shown), "{text}");
            let json = serde_json::to_string(&timing).expect("writes");
            assert_eq!(serde_json::from_str::<Timing>(&json).expect("reads"), timing);
        }
        for (text, words) in [
            ("", "expected a time such as 10m"),
            ("10", "expected a time such as 10m"),
            ("0m", "expected a minute or more"),
            ("0 minutes", "expected a minute or more"),
            ("30s", "expected whole minutes"),
            ("90s", "expected whole minutes"),
            ("-5m", "expected a time such as 10m"),
            ("5 weeks", "expected a time such as 10m"),
            ("367d", "expected a year or less"),
            ("99999999999999999999d", "expected a time such as 10m"),
            ("18446744073709551615d", "expected a time such as 10m"),
        ] {
            let error = Rate::parse(text).expect_err(text).to_string();
            assert!(error.contains(words), "{error}");
        }
    }

    #[test]
    fn once_is_a_date_and_a_time_of_the_zone() {
        for (text, expression) in [
            ("2026-12-01T02:00", "at(2026-12-01T02:00:00)"),
            ("2026-12-01 02:00:30", "at(2026-12-01T02:00:30)"),
            ("at(2026-12-01T02:00:00)", "at(2026-12-01T02:00:00)"),
        ] {
            assert_eq!(Timing::At(At::parse(text).expect("reads")).expression(), expression);
        }
        for (text, words) in [
            ("2026-12-01", "expected a date and a time"),
            ("02:00", "expected a date and a time"),
            ("tomorrow", "expected a date and a time"),
            ("2026-02-30T02:00", "expected a date and a time"),
            ("2026-12-01T25:00", "expected a date and a time"),
            ("2026-12-01T02:00:00.5", "expected a date and a time"),
            ("2026-12-01T02:00Z", "without a zone: --timezone"),
            ("2026-12-01T02:00+01:00", "without a zone: --timezone"),
            ("", "expected a date and a time"),
            ("2026-12-0é", "expected a date and a time"),
        ] {
            let error = At::parse(text).expect_err(text).to_string();
            assert!(error.contains(words), "{error}");
        }
    }

    #[test]
    fn the_next_times_are_those_of_the_zone() {
        let now = "2026-11-22T12:00:00Z";
        for (text, expected) in [
            (
                "0 2 * * *",
                ["Mon 2026-11-23 02:00:00 +01:00", "Tue 2026-11-24 02:00:00 +01:00", "Wed 2026-11-25 02:00:00 +01:00"],
            ),
            (
                "0,30 13 * * *",
                ["Sun 2026-11-22 13:30:00 +01:00", "Mon 2026-11-23 13:00:00 +01:00", "Mon 2026-11-23 13:30:00 +01:00"],
            ),
            (
                "0 9 * * 1-5",
                ["Mon 2026-11-23 09:00:00 +01:00", "Tue 2026-11-24 09:00:00 +01:00", "Wed 2026-11-25 09:00:00 +01:00"],
            ),
            (
                "0 9 * * 0",
                ["Sun 2026-11-29 09:00:00 +01:00", "Sun 2026-12-06 09:00:00 +01:00", "Sun 2026-12-13 09:00:00 +01:00"],
            ),
            (
                "0 0 31 * *",
                ["Thu 2026-12-31 00:00:00 +01:00", "Sun 2027-01-31 00:00:00 +01:00", "Wed 2027-03-31 00:00:00 +02:00"],
            ),
            ("0 0 29 2 *", ["Tue 2028-02-29 00:00:00 +01:00", "Sun 2032-02-29 00:00:00 +01:00", ""]),
        ] {
            let found = next(&cron(text), now, &oslo());
            let expected: Vec<&str> = expected.into_iter().filter(|time| !time.is_empty()).collect();
            assert_eq!(found, expected, "{text}");
        }
        // Not the time that is now.
        assert_eq!(next(&cron("0 12 * * *"), now, &TimeZone::UTC)[0], "Mon 2026-11-23 12:00:00 +00:00");
        let rate = Timing::Rate(Rate::parse("1h").expect("reads"));
        assert_eq!(
            next(&rate, now, &TimeZone::UTC),
            ["Sun 2026-11-22 12:00:30 +00:00", "Sun 2026-11-22 13:00:30 +00:00", "Sun 2026-11-22 14:00:30 +00:00"]
        );
        let at = |text| Timing::At(At::parse(text).expect("reads"));
        assert_eq!(next(&at("2026-11-22T13:00:01"), now, &oslo()), ["Sun 2026-11-22 13:00:01 +01:00"]);
        assert_eq!(next(&at("2026-11-22T13:00:00"), now, &oslo()), Vec::<String>::new());
    }

    #[test]
    fn summer_begins_and_ends() {
        // 02:30 is not there on the 29th of March, and twice on the 25th of October.
        assert_eq!(
            next(&cron("30 2 * * *"), "2026-03-28T00:00:00Z", &oslo()),
            ["Sat 2026-03-28 02:30:00 +01:00", "Mon 2026-03-30 02:30:00 +02:00", "Tue 2026-03-31 02:30:00 +02:00"]
        );
        assert_eq!(
            next(&cron("30 2 * * *"), "2026-10-24T00:00:00Z", &oslo()),
            ["Sat 2026-10-24 02:30:00 +02:00", "Sun 2026-10-25 02:30:00 +02:00", "Mon 2026-10-26 02:30:00 +01:00"]
        );
        let at = Timing::At(At::parse("2026-03-29T02:30").expect("reads"));
        assert_eq!(next(&at, "2026-01-01T00:00:00Z", &oslo()), Vec::<String>::new());
    }
}
