//! When a test runs again.

use std::{path::Path, time::Duration};

use lambdaload_core::{k6::options::go_duration, plan::words};

use crate::{args::TestArgs, error::Failure};

/// More starts than that are a schedule.
pub(crate) const MAX_TIMES: i64 = 10_000;

/// The longest time between two starts.
const LONGEST: Duration = Duration::from_hours(24 * 31);

/// How often a test runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Every {
    /// From one start to the next.
    pub(crate) interval: Duration,
    /// Starts in all.
    pub(crate) times: u32,
}

impl Every {
    /// Reads both flags, which belong together; refuses what only one run can have.
    pub(super) fn read(args: &TestArgs, summary_export: Option<&Path>) -> Result<Option<Self>, Failure> {
        let every = match (args.repeat.every, args.repeat.times) {
            (None, None) => return Ok(None),
            (Some(interval), Some(times)) => Self { interval, times },
            (Some(interval), None) => {
                return Err(Failure::not_valid(format!("--every {} without --times", words(interval)))
                    .hint("--times N says how many starts there are in all"));
            }
            (None, Some(times)) => {
                return Err(Failure::not_valid(format!("--times {times} without --every"))
                    .hint("--every DURATION says how far the starts lie apart, as in --every 10m"));
            }
        };
        if args.platform.detach {
            return Err(Failure::not_valid("--every and --detach: expected one of them")
                .detail("who leaves at once cannot start the next run"));
        }
        if let Some(path) = summary_export {
            return Err(Failure::not_valid("--every and --summary-export: expected one of them")
                .detail(format!("each run would write {} over that of the one before", path.display()))
                .hint("each run has its summary.json in its own folder; --out-dir says where these are"));
        }
        Ok(Some(every))
    }
}

/// Reads the time between two starts.
pub(crate) fn parse_interval(text: &str) -> Result<Duration, String> {
    // k6 would take a bare number for milliseconds, which nobody means here.
    let has_unit = text.ends_with(|last: char| last.is_ascii_alphabetic());
    match go_duration::parse(text).filter(|_| has_unit) {
        Some(interval) if interval < Duration::from_secs(1) => Err("expected at least 1s".to_owned()),
        Some(interval) if interval > LONGEST => Err(format!("expected at most {}", words(LONGEST))),
        Some(interval) => Ok(interval),
        None => Err("expected a duration such as 10m".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{args::RepeatArgs, platform_args::PlatformArgs};

    fn args(every: Option<&str>, times: Option<u32>) -> TestArgs {
        let every = every.map(|text| parse_interval(text).expect("reads"));
        TestArgs { repeat: RepeatArgs { every, times }, ..TestArgs::default() }
    }

    #[test]
    fn both_flags_belong_together() {
        assert_eq!(Every::read(&args(None, None), None).expect("reads"), None);
        let every = Every { interval: Duration::from_mins(10), times: 6 };
        assert_eq!(Every::read(&args(Some("10m"), Some(6)), None).expect("reads"), Some(every));
        let refused =
            |args: &TestArgs| Every::read(args, args.summary_export.as_deref()).expect_err("refused").headline;
        assert_eq!(refused(&args(Some("10m"), None)), "--every 10m without --times");
        assert_eq!(refused(&args(None, Some(6))), "--times 6 without --every");
        let detached = PlatformArgs { detach: true, ..PlatformArgs::default() };
        let detached = TestArgs { platform: detached, ..args(Some("10m"), Some(6)) };
        assert_eq!(refused(&detached), "--every and --detach: expected one of them");
        let exported = TestArgs { summary_export: Some("s.json".into()), ..args(Some("10m"), Some(6)) };
        assert_eq!(refused(&exported), "--every and --summary-export: expected one of them");
    }

    #[test]
    fn intervals_have_a_unit_and_bounds() {
        for (text, expected) in [
            ("10", "expected a duration such as 10m"),
            ("soon", "expected a duration such as 10m"),
            ("0s", "expected at least 1s"),
            ("999ms", "expected at least 1s"),
            ("745h", "expected at most 744h"),
        ] {
            assert_eq!(parse_interval(text), Err(expected.to_owned()), "{text}");
        }
        assert_eq!(parse_interval("1h30m"), Ok(Duration::from_mins(90)));
    }
}
