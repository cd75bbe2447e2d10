//! The options of a script, as `k6 inspect --execution-requirements` prints them.

use std::{collections::BTreeMap, time::Duration};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::threshold::{Threshold, ThresholdError};

/// What lambdaload needs to know of a script's options. Whatever else k6 prints is left to k6.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Options {
    /// The scenarios by name; k6 has worked out the execution shortcuts.
    #[serde(default, deserialize_with = "null_is_empty")]
    pub scenarios: BTreeMap<String, Scenario>,
    /// How long the scenarios may last at most, graceful stops included, setup and teardown not.
    #[serde(with = "go_duration")]
    pub total_duration: Duration,
    /// How many VUs there may be at one time.
    #[serde(rename = "maxVUs")]
    pub max_vus: u64,
    #[serde(default, deserialize_with = "null_is_empty")]
    thresholds: BTreeMap<String, Vec<JsonThreshold>>,
    #[serde(default)]
    summary_trend_stats: Option<Vec<String>>,
    #[serde(default)]
    summary_time_unit: Option<String>,
    #[serde(default)]
    system_tags: Option<Vec<String>>,
    #[serde(default, with = "go_duration::option")]
    setup_timeout: Option<Duration>,
    #[serde(default, with = "go_duration::option")]
    teardown_timeout: Option<Duration>,
    #[serde(default)]
    cloud: serde_json::Value,
    #[serde(default)]
    rps: Option<u64>,
}

/// One scenario, with the fields of all executors.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Scenario {
    /// The executor's name, for example `constant-vus`.
    pub executor: String,
    /// When it starts, after the start of the test.
    #[serde(with = "go_duration::option")]
    pub start_time: Option<Duration>,
    /// VUs of the executors without arrival rates.
    pub vus: Option<u64>,
    /// VUs at the start of `ramping-vus`.
    #[serde(rename = "startVUs")]
    pub start_vus: Option<u64>,
    /// How long the constant executors last.
    #[serde(with = "go_duration::option")]
    pub duration: Option<Duration>,
    /// How long the iteration executors may last.
    #[serde(with = "go_duration::option")]
    pub max_duration: Option<Duration>,
    /// Of `shared-iterations` in all, of `per-vu-iterations` per VU.
    pub iterations: Option<u64>,
    /// The ramps.
    #[serde(deserialize_with = "null_is_empty")]
    pub stages: Vec<Stage>,
    /// Iterations per time unit of `constant-arrival-rate`.
    pub rate: Option<f64>,
    /// Iterations per time unit at the start of `ramping-arrival-rate`.
    pub start_rate: Option<f64>,
    /// The unit of time of the rates; k6's default is a second.
    #[serde(with = "go_duration::option")]
    pub time_unit: Option<Duration>,
    /// VUs made before the start, of the arrival-rate executors.
    #[serde(rename = "preAllocatedVUs")]
    pub pre_allocated_vus: Option<u64>,
    /// VUs at most, of the arrival-rate executors.
    #[serde(rename = "maxVUs")]
    pub max_vus: Option<u64>,
    /// How long iterations may go on after the end; k6's default is 30 s.
    #[serde(with = "go_duration::option")]
    pub graceful_stop: Option<Duration>,
    /// How long a VU of `ramping-vus` that has to leave may finish its iteration; k6's default is 30 s.
    #[serde(with = "go_duration::option")]
    pub graceful_ramp_down: Option<Duration>,
}

/// One ramp.
#[derive(Debug, Deserialize)]
pub struct Stage {
    /// How long it takes.
    #[serde(with = "go_duration::option", default)]
    pub duration: Option<Duration>,
    /// VUs, or iterations per time unit, at its end.
    pub target: Option<f64>,
}

/// One entry of `options.cloud.distribution`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LoadZone {
    /// The label that the script gave it.
    pub label: String,
    /// Where its load would come from in Grafana Cloud, for example `amazon:us:ashburn`.
    pub load_zone: String,
    /// Its part of the load; parts count in proportion to each other.
    pub percent: f64,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum JsonThreshold {
    Plain(String),
    #[serde(rename_all = "camelCase")]
    Full {
        threshold: String,
        #[serde(default)]
        abort_on_fail: bool,
        #[serde(default, with = "go_duration::option")]
        delay_abort_eval: Option<Duration>,
    },
}

/// How the end-of-test summary is written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SummaryOptions {
    /// Which statistics of a trend, in order.
    pub trend_stats: Vec<String>,
    /// One unit for all times; k6 chooses by size otherwise.
    pub time_unit: Option<TimeUnit>,
    /// How much is shown.
    #[serde(default)]
    pub mode: SummaryMode,
    /// Whether `--summary-export` has the shape of k6's `--new-machine-readable-summary`.
    #[serde(default)]
    pub machine_readable: bool,
}

impl Default for SummaryOptions {
    fn default() -> Self {
        let trend_stats = ["avg", "min", "med", "max", "p(90)", "p(95)"].map(str::to_owned).to_vec();
        Self { trend_stats, time_unit: None, mode: SummaryMode::default(), machine_readable: false }
    }
}

/// How much of the summary is shown: k6's `--summary-mode`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum SummaryMode {
    /// The totals of the metrics that most people look at.
    #[default]
    Compact,
    /// The totals of all metrics, and each group and scenario.
    Full,
    /// Nothing of k6's; the verdict is shown all the same.
    Disabled,
}

impl SummaryMode {
    /// Reads `compact`, `full` or `disabled`; the error says what was expected.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        match text {
            "compact" => Ok(Self::Compact),
            "full" => Ok(Self::Full),
            "disabled" => Ok(Self::Disabled),
            "legacy" => Err("k6 2.0 has dropped its `legacy` summary; use compact, or full for groups and scenarios"),
            _ => Err("expected compact, full or disabled"),
        }
    }
}

/// A unit for times in the summary.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names are the units")]
pub enum TimeUnit {
    Seconds,
    Milliseconds,
    Microseconds,
}

impl TimeUnit {
    /// Reads `s`, `ms` or `us`.
    pub fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "s" => Self::Seconds,
            "ms" => Self::Milliseconds,
            "us" => Self::Microseconds,
            _ => return None,
        })
    }
}

/// Options that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum OptionsError {
    /// Not what `k6 inspect` prints.
    #[error("the options that k6 printed cannot be read: {0}")]
    Json(#[from] serde_json::Error),
    /// A threshold k6 let through but we cannot read.
    #[error(transparent)]
    Threshold(#[from] ThresholdError),
    /// A summary option with a value k6 does not know either.
    #[error("summaryTimeUnit `{0}` is none of s, ms, us")]
    TimeUnit(String),
}

impl Options {
    /// Reads what `k6 inspect --execution-requirements` printed.
    pub fn parse(json: &[u8]) -> Result<Self, OptionsError> {
        Ok(serde_json::from_slice(json)?)
    }

    /// The thresholds, by metric and then in the order of the script.
    pub fn thresholds(&self) -> Result<Vec<Threshold>, ThresholdError> {
        let each = self.thresholds.iter().flat_map(|(key, list)| list.iter().map(move |t| (key, t)));
        each.map(|(key, threshold)| match threshold {
            JsonThreshold::Plain(expression) => Threshold::parse(key, expression),
            JsonThreshold::Full { threshold, abort_on_fail, delay_abort_eval } => Ok(Threshold {
                abort_on_fail: *abort_on_fail,
                delay_abort_eval: *delay_abort_eval,
                ..Threshold::parse(key, threshold)?
            }),
        })
        .collect()
    }

    /// How the script wants its summary.
    pub fn summary(&self) -> Result<SummaryOptions, OptionsError> {
        let mut summary = SummaryOptions::default();
        if let Some(stats) = &self.summary_trend_stats {
            summary.trend_stats.clone_from(stats);
        }
        if let Some(unit) = self.summary_time_unit.as_deref().filter(|unit| !unit.is_empty()) {
            summary.time_unit = Some(TimeUnit::parse(unit).ok_or_else(|| OptionsError::TimeUnit(unit.to_owned()))?);
        }
        Ok(summary)
    }

    /// Whether samples carry a system tag; k6 switches all of these on unless told otherwise.
    pub fn has_system_tag(&self, tag: &str) -> bool {
        self.system_tags.as_ref().is_none_or(|tags| tags.iter().any(|t| t == tag))
    }

    /// How long `setup()` may take; k6's default is a minute.
    pub fn setup_timeout(&self) -> Duration {
        self.setup_timeout.unwrap_or(Duration::from_mins(1))
    }

    /// How long `teardown()` may take; k6's default is a minute.
    pub fn teardown_timeout(&self) -> Duration {
        self.teardown_timeout.unwrap_or(Duration::from_mins(1))
    }

    /// HTTP requests per second at most, over all VUs; k6 takes 0 for no limit.
    pub fn rps(&self) -> Option<u64> {
        self.rps.filter(|rps| *rps > 0)
    }

    /// `options.cloud.name`, which cloud scripts use as the name of the test.
    pub fn cloud_name(&self) -> Option<&str> {
        self.cloud.get("name")?.as_str()
    }

    /// `options.cloud.note`.
    pub fn cloud_note(&self) -> Option<&str> {
        self.cloud.get("note")?.as_str()
    }

    /// `options.cloud.distribution`, by label. Whatever in it is not as in Grafana Cloud is passed over, as k6 does.
    pub fn distribution(&self) -> Vec<LoadZone> {
        let zone = |(label, zone): (&String, &serde_json::Value)| {
            let (load_zone, percent) = (zone.get("loadZone")?.as_str()?, zone.get("percent")?.as_f64()?);
            Some(LoadZone { label: label.clone(), load_zone: load_zone.to_owned(), percent: percent.max(0.0) })
        };
        let zones = self.cloud.get("distribution").and_then(serde_json::Value::as_object);
        zones.into_iter().flatten().filter_map(zone).collect()
    }
}

fn null_is_empty<'de, T: Default + Deserialize<'de>, D: serde::Deserializer<'de>>(d: D) -> Result<T, D::Error> {
    Ok(Option::<T>::deserialize(d)?.unwrap_or_default())
}

/// Durations as Go writes them, for example `1m30.5s`.
pub mod go_duration {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, de::Error};

    /// Reads one: numbers with units `h`, `m`, `s`, `ms`, `us`, `ns`, and k6's `d`; a bare number is milliseconds.
    pub fn parse(text: &str) -> Option<Duration> {
        let mut rest = text.trim();
        if let Ok(milliseconds) = rest.parse::<f64>() {
            return Duration::try_from_secs_f64(milliseconds / 1e3).ok();
        }
        let mut seconds = 0.0;
        while !rest.is_empty() {
            let number_end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
            let (number, after) = rest.split_at(number_end);
            let unit_end = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
            let (unit, after) = after.split_at(unit_end);
            let unit_seconds = match unit {
                "d" => 86_400.0,
                "h" => 3_600.0,
                "m" => 60.0,
                "s" => 1.0,
                "ms" => 1e-3,
                "us" | "µs" => 1e-6,
                "ns" => 1e-9,
                _ => return None,
            };
            seconds += number.parse::<f64>().ok()? * unit_seconds;
            rest = after;
        }
        if text.trim().is_empty() { None } else { Duration::try_from_secs_f64(seconds).ok() }
    }

    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Json {
        Text(String),
        Milliseconds(f64),
    }

    fn read<E: Error>(json: &Json) -> Result<Duration, E> {
        let duration = match json {
            Json::Text(text) => parse(text),
            Json::Milliseconds(milliseconds) => Duration::try_from_secs_f64(milliseconds / 1e3).ok(),
        };
        duration.ok_or_else(|| E::custom("expected a duration such as 1m30s"))
    }

    /// Reads a duration.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        read(&Json::deserialize(deserializer)?)
    }

    /// The same for a duration that may be absent.
    pub mod option {
        use super::{Deserialize, Deserializer, Duration, Json, read};

        /// Reads a duration or null.
        pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
            Option::<Json>::deserialize(deserializer)?.as_ref().map(read).transpose()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_as_go_writes_them() {
        for (text, milliseconds) in [
            ("33s", 33_000),
            ("10m30s", 630_000),
            ("1h0m0.5s", 3_600_500),
            ("150ms", 150),
            ("0s", 0),
            ("2000", 2_000),
            ("1d", 86_400_000),
        ] {
            assert_eq!(go_duration::parse(text), Some(Duration::from_millis(milliseconds)), "{text}");
        }
        for bad in ["", "soon", "5x", "s"] {
            assert_eq!(go_duration::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn options_as_k6_prints_them() {
        let json = br#"{"paused":null,"scenarios":{"buy":{"executor":"constant-vus","startTime":null,"vus":2,"duration":"2s"}},
            "thresholds":{"checks":["rate\u003e0.9"],"http_req_duration":[{"threshold":"avg<1","abortOnFail":true,"delayAbortEval":"10s"}]},
            "summaryTrendStats":["avg","p(99)"],"summaryTimeUnit":"ms","systemTags":["name"],"cloud":{"name":"shop"},
            "totalDuration":"32s","maxVUs":2}"#;
        let options = Options::parse(json).expect("reads");
        assert_eq!(options.total_duration, Duration::from_secs(32));
        assert_eq!(options.scenarios["buy"].vus, Some(2));
        let thresholds = options.thresholds().expect("reads");
        assert_eq!(thresholds.len(), 2);
        assert!(thresholds[1].abort_on_fail);
        assert_eq!(thresholds[1].delay_abort_eval, Some(Duration::from_secs(10)));
        assert_eq!(options.summary().expect("reads").trend_stats, ["avg", "p(99)"]);
        assert!(options.has_system_tag("name") && !options.has_system_tag("expected_response"));
        assert_eq!(options.cloud_name(), Some("shop"));
    }

    #[test]
    fn whatever_is_in_cloud_is_tolerated() {
        let cloud = |json: &str| {
            let text = format!(r#"{{"cloud":{json},"totalDuration":"1s","maxVUs":1}}"#);
            Options::parse(text.as_bytes()).expect("reads")
        };
        let options = cloud(
            r#"{"name":5,"note":"n","projectID":1,"staticIPs":true,"distribution":{
                "b":{"loadZone":"amazon:ie:dublin","percent":40},"a":{"loadZone":"amazon:us:ashburn","percent":60},"c":1}}"#,
        );
        assert_eq!((options.cloud_name(), options.cloud_note()), (None, Some("n")));
        let zones = options.distribution();
        assert_eq!(
            zones.iter().map(|zone| (&*zone.label, zone.percent)).collect::<Vec<_>>(),
            [("a", 60.0), ("b", 40.0)]
        );
        for odd in ["null", "[]", "\"x\"", r#"{"distribution":[1]}"#] {
            assert_eq!((cloud(odd).cloud_name(), cloud(odd).distribution()), (None, vec![]));
        }
    }
}
