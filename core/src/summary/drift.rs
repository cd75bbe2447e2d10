//! Drift in words.

use std::time::Duration;

use super::format;
use crate::{
    plan::words,
    series::Contains,
    verdict::{Drift, Slope, Verdict},
};

/// Slopes that are told in the text; the verdict and the report have all.
const TOLD: usize = 3;

/// What can be said of drift; none of a run that was too short for it.
pub fn drift(verdict: &Verdict) -> Option<String> {
    let drift = verdict.drift.as_ref()?;
    if let Some(why) = &drift.not_judged {
        return Some(format!("not judged, because {why}"));
    }
    let drifting: Vec<String> = drift.slopes.iter().filter(|slope| slope.drifts).map(drifts).collect();
    let time = judged_time(drift);
    if drifting.is_empty() {
        let first = drift.slopes.first().map(|slope| format!("; {} {}", name(slope), interval(slope)));
        return Some(format!("none {time}{}", first.unwrap_or_default()));
    }
    let more = drifting.len().saturating_sub(TOLD);
    let told = drifting.into_iter().take(TOLD).collect::<Vec<_>>().join("; ");
    let more = if more == 0 { String::new() } else { format!("; and {more} more") };
    Some(format!("{told}{more}; {time}"))
}

/// `from 3m to 20m, at 99 %`
pub fn judged_time(drift: &Drift) -> String {
    let at = |millis| words(Duration::from_secs(millis / 1_000));
    let percent = format::number(drift.confidence * 100.0);
    format!("from {} to {} of the run, at {percent} % confidence", at(drift.from_ms), at(drift.until_ms))
}

/// `http_req_duration p(95)`
pub fn name(slope: &Slope) -> String {
    if slope.statistic == "rate" { slope.key() } else { format!("{} {}", slope.key(), slope.statistic) }
}

/// `rises by 12.3ms an hour (8.1ms to 16.5ms): from 120.1ms to 161.2ms`
fn drifts(slope: &Slope) -> String {
    let way = if slope.per_hour.0 < 0.0 { "falls" } else { "rises" };
    let sign = if slope.per_hour.0 < 0.0 { -1.0 } else { 1.0 };
    let (low, high) = (slope.low.0 * sign, slope.high.0 * sign);
    let (low, high) = (change(low.min(high), slope), change(low.max(high), slope));
    let (from, to) = ends(slope);
    format!(
        "{} {way} by {} an hour ({low} to {high}): from {from} to {to}",
        name(slope),
        change(slope.per_hour.0 * sign, slope)
    )
}

/// `changes by -0.4ms to 0.6ms an hour`
pub fn interval(slope: &Slope) -> String {
    if slope.low.0.is_finite() && slope.high.0.is_finite() {
        format!("changes by {} to {} an hour", change(slope.low.0, slope), change(slope.high.0, slope))
    } else {
        "changes too slowly up and down for a slope to be told".to_owned()
    }
}

/// The values at both ends of the line.
pub fn ends(slope: &Slope) -> (String, String) {
    let half = slope.change.0 / 2.0;
    let value = |value: f64| if is_rate(slope) { percent(value.clamp(0.0, 1.0)) } else { of(value, slope.contains) };
    (value(slope.mean.0 - half), value(slope.mean.0 + half))
}

/// A change: of a rate in percentage points.
pub fn change(by: f64, slope: &Slope) -> String {
    if is_rate(slope) { format!("{} points", three_digits(by * 100.0)) } else { of(by, slope.contains) }
}

fn is_rate(slope: &Slope) -> bool {
    slope.statistic == "rate"
}

fn percent(share: f64) -> String {
    format!("{} %", three_digits(share * 100.0))
}

fn of(value: f64, contains: Contains) -> String {
    let size = match contains {
        Contains::Default => three_digits(value.abs()),
        Contains::Time | Contains::Data => format::value(value.abs(), contains, None),
    };
    if value < 0.0 { format!("-{size}") } else { size }
}

/// A slope has no more than three digits that mean something.
fn three_digits(value: f64) -> String {
    if value == 0.0 || !value.is_finite() {
        return format::number(value);
    }
    #[expect(clippy::cast_possible_truncation, reason = "the size of a number of the size of a float")]
    let scale = 10_f64.powi(2 - value.abs().log10().floor() as i32);
    format::number((value * scale).round() / scale)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{number::Number, testing::sample};

    fn slope(metric: &str, statistic: &str, per_hour: f64, half: f64, mean: f64, drifts: bool) -> Slope {
        Slope {
            metric: metric.into(),
            suffix: None,
            statistic: statistic.into(),
            contains: if statistic == "rate" { Contains::Default } else { Contains::Time },
            per_hour: Number(per_hour),
            low: Number(per_hour - half),
            high: Number(per_hour + half),
            mean: Number(mean),
            change: Number(per_hour * 2.0),
            drifts,
        }
    }

    fn told(slopes: Vec<Slope>) -> String {
        let drift =
            Drift { from_ms: 432_000, until_ms: 8_640_000, blocks: 30, confidence: 0.99, slopes, not_judged: None };
        super::drift(&Verdict { drift: Some(drift), ..sample::verdict() }).expect("is judged")
    }

    #[test]
    fn what_drifts_is_told_with_how_much_and_how_sure() {
        assert_eq!(
            told(vec![
                slope("http_req_duration", "p(95)", 12.25, 4.0, 140.0, true),
                slope("http_req_failed", "rate", 0.001_5, 0.000_512, 0.003, true),
                slope("checks", "rate", -0.01, 0.002, 0.97, true),
            ]),
            "http_req_duration p(95) rises by 12.25ms an hour (8.25ms to 16.25ms): from 127.75ms to 152.25ms; \
             http_req_failed rises by 0.15 points an hour (0.0988 points to 0.201 points): from 0.15 % to 0.45 %; \
             checks falls by 1 points an hour (0.8 points to 1.2 points): from 98 % to 96 %; \
             from 7m12s to 2h24m of the run, at 99 % confidence"
        );
    }

    #[test]
    fn where_nothing_drifts_it_is_told_how_little_could_be_seen() {
        let flat = slope("http_req_duration", "p(95)", 0.1, 0.5, 140.0, false);
        assert_eq!(
            told(vec![flat.clone()]),
            "none from 7m12s to 2h24m of the run, at 99 % confidence; http_req_duration p(95) changes by -400µs to 600µs an hour"
        );
        let unsure = Slope { low: Number(f64::NEG_INFINITY), high: Number(f64::INFINITY), ..flat };
        assert!(told(vec![unsure]).ends_with("changes too slowly up and down for a slope to be told"));
    }

    #[test]
    fn a_run_that_cannot_be_judged_says_why_and_a_short_one_nothing() {
        assert_eq!(super::drift(&sample::verdict()), None);
        let drift = Drift {
            from_ms: 0,
            until_ms: 0,
            blocks: 0,
            confidence: 0.99,
            slopes: Vec::new(),
            not_judged: Some("the load was never level".into()),
        };
        let verdict = Verdict { drift: Some(drift), ..sample::verdict() };
        assert_eq!(super::drift(&verdict).as_deref(), Some("not judged, because the load was never level"));
    }
}
