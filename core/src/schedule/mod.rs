//! Tests that start by themselves: what is stored of one, when it fires, and what comes of a firing.

mod cron;
mod stored;
mod timing;

use std::fmt;

use jiff::Timestamp as Instant;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::timestamp::Timestamp;

pub use cron::{Cron, InvalidCron};
pub use stored::{Decision, Fired, Firing, MOST_FIRINGS, Overlap, StoredTest, decide};
pub use timing::{At, InvalidTime, Rate, Timing};

/// What EventBridge Scheduler puts the scheduled time in the place of.
pub const SCHEDULED_TIME: &str = "<aws.scheduler.scheduled-time>";

/// The name of a schedule, and of the test that it starts: up to 64 letters, digits, `-`, `_` and `.`, as EventBridge
/// Scheduler takes them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
pub struct ScheduleName(String);

/// What is wrong with a text that should have been the name of a schedule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no name of a schedule: expected up to 64 letters, digits, `-`, `_` and `.`")]
pub struct InvalidName(String);

impl ScheduleName {
    /// Accepts a name that EventBridge Scheduler takes.
    pub fn parse(text: &str) -> Result<Self, InvalidName> {
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        if (1..=64).contains(&text.len()) && text.bytes().all(legal) {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidName(text.to_owned()))
        }
    }

    /// The whole name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ScheduleName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl TryFrom<String> for ScheduleName {
    type Error = InvalidName;

    fn try_from(text: String) -> Result<Self, InvalidName> {
        Self::parse(&text)
    }
}

impl From<ScheduleName> for String {
    fn from(name: ScheduleName) -> Self {
        name.0
    }
}

/// Of what schedule a run is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Origin {
    /// Its name.
    pub schedule: ScheduleName,
    /// Which version of the stored test ran, from 1.
    pub version: u32,
    /// For what moment it was scheduled, in microseconds since the Unix epoch; none if a person started it.
    pub scheduled_for: Option<Timestamp>,
}

impl Origin {
    /// `nightly v3`
    pub fn short(&self) -> String {
        format!("{} v{}", self.schedule, self.version)
    }
}

/// `nightly, version 3, scheduled for 2026-11-23 02:00 UTC`
impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, version {}, ", self.schedule, self.version)?;
        match self.scheduled_for {
            Some(at) => write!(f, "scheduled for {}", utc(at)),
            None => f.write_str("started by a person"),
        }
    }
}

/// `2026-11-23 02:00 UTC`
pub fn utc(at: Timestamp) -> String {
    Instant::from_microsecond(at.0).map_or_else(|_| "?".to_owned(), |at| at.strftime("%Y-%m-%d %H:%M UTC").to_string())
}

/// The moment that EventBridge Scheduler has written into the call of a schedule.
///
/// It fires by the minute. So a call without a moment, which only an emulated Scheduler makes, is for the minute that it
/// came in.
pub fn scheduled_for(text: &str, now: Timestamp) -> Option<Timestamp> {
    if text == SCHEDULED_TIME {
        return Some(Timestamp(now.0 - now.0.rem_euclid(60_000_000)));
    }
    text.parse::<Instant>().ok().map(|at| Timestamp(at.as_microsecond()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_that_the_scheduler_takes() {
        for name in ["nightly", "a", "Soak_8h.v2-eu", &"x".repeat(64)] {
            assert_eq!(ScheduleName::parse(name).map(|name| name.to_string()), Ok(name.to_owned()));
        }
        for bad in ["", "a b", "a/b", "é", "a#b", "a\n", &"x".repeat(65)] {
            assert!(ScheduleName::parse(bad).is_err(), "{bad}");
            assert!(serde_json::from_value::<ScheduleName>(bad.into()).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_scheduled_time_is_read_or_is_the_minute_that_is_now() {
        let now = Timestamp(1_795_348_859_999_999);
        for (text, expected) in [
            ("2026-11-22T12:00:00Z", Some(1_795_348_800_000_000)),
            ("2026-11-22T13:00:00+01:00", Some(1_795_348_800_000_000)),
            (SCHEDULED_TIME, Some(1_795_348_800_000_000)),
            ("", None),
            ("yesterday", None),
            ("2026-11-22", None),
        ] {
            assert_eq!(scheduled_for(text, now), expected.map(Timestamp), "{text}");
        }
    }

    #[test]
    fn an_origin_is_told_in_words() {
        let mut origin = Origin {
            schedule: ScheduleName::parse("nightly").expect("a name"),
            version: 3,
            scheduled_for: Some(Timestamp(1_795_348_800_000_000)),
        };
        assert_eq!(origin.to_string(), "nightly, version 3, scheduled for 2026-11-22 12:00 UTC");
        origin.scheduled_for = None;
        assert_eq!(
            (origin.to_string().as_str(), origin.short().as_str()),
            ("nightly, version 3, started by a person", "nightly v3")
        );
        origin.scheduled_for = Some(Timestamp(i64::MAX));
        assert_eq!(origin.to_string(), "nightly, version 3, scheduled for ?");
    }
}
