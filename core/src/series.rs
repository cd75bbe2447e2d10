//! Metrics and series: what a sample belongs to.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The four types of k6 metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum MetricKind {
    /// A sum that grows.
    Counter,
    /// The last value.
    Gauge,
    /// The share of non-zero values.
    Rate,
    /// A distribution.
    Trend,
}

/// What the values of a metric are: it decides how they are written, not how they are merged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Contains {
    /// Plain numbers.
    Default,
    /// Milliseconds.
    Time,
    /// Bytes.
    Data,
}

/// A metric as k6 declares it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Metric {
    /// Its name, for example `http_req_duration`.
    pub name: String,
    /// Its type.
    pub kind: MetricKind,
    /// What its values are.
    pub contains: Contains,
}

impl Metric {
    /// The metrics that are known without a declaration because k6 itself defines them.
    pub fn built_in(name: &str) -> Option<Self> {
        use {Contains as C, MetricKind as K};
        let (kind, contains) = match name {
            "vus" | "vus_max" => (K::Gauge, C::Default),
            "iterations"
            | "dropped_iterations"
            | "http_reqs"
            | "ws_sessions"
            | "ws_msgs_sent"
            | "ws_msgs_received"
            | "grpc_streams"
            | "grpc_streams_msgs_sent"
            | "grpc_streams_msgs_received" => (K::Counter, C::Default),
            "data_sent" | "data_received" | "browser_data_sent" | "browser_data_received" => (K::Counter, C::Data),
            "checks" | "http_req_failed" | "browser_http_req_failed" => (K::Rate, C::Default),
            "iteration_duration"
            | "group_duration"
            | "ws_ping"
            | "ws_session_duration"
            | "ws_connecting"
            | "grpc_req_duration"
            | "browser_http_req_duration" => (K::Trend, C::Time),
            "browser_web_vital_cls" => (K::Trend, C::Default),
            name if name.starts_with("http_req_") || name.starts_with("browser_web_vital_") => (K::Trend, C::Time),
            _ => return None,
        };
        Some(Self { name: name.to_owned(), kind, contains })
    }

    /// Whether the metric is a gauge whose values add up over workers: each worker counts only its own VUs.
    pub fn adds_over_workers(&self) -> bool {
        self.kind == MetricKind::Gauge && matches!(self.name.as_str(), "vus" | "vus_max")
    }
}

/// A complete tag set, sorted by key.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Tags(Vec<(String, String)>);

impl Tags {
    /// The value of one tag.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.iter().find(|(k, _)| k == key).map(|(_, v)| v.as_str())
    }

    /// All tags by rising key.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(k, v)| (k.as_str(), v.as_str()))
    }

    /// Whether there are no tags.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether every pair of `wanted` is here: k6's rule for sub-metrics.
    pub fn contains_all(&self, wanted: &Self) -> bool {
        wanted.iter().all(|(key, value)| self.get(key) == Some(value))
    }
}

impl<K: Into<String>, V: Into<String>> FromIterator<(K, V)> for Tags {
    /// Of a key that repeats, the last value stays.
    fn from_iter<I: IntoIterator<Item = (K, V)>>(pairs: I) -> Self {
        let map: std::collections::BTreeMap<String, String> =
            pairs.into_iter().map(|(k, v)| (k.into(), v.into())).collect();
        Self(map.into_iter().collect())
    }
}

/// Which samples of a metric a series gathers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Rollup {
    /// All of them: what k6 shows under the metric's own name.
    All,
    /// Those that carry the series' tags: a sub-metric named by a threshold.
    Selector,
    /// Those of one check in one group (metric `checks` only).
    Check,
    /// Those with exactly the series' tag set, in coarse windows.
    TagSet,
    /// Those whose tag sets came after the cap on tag sets was reached.
    Rest,
}

impl Rollup {
    /// Seconds that one window of such a series covers.
    pub fn window_seconds(self) -> u32 {
        match self {
            Self::All | Self::Selector | Self::Check => 1,
            Self::TagSet | Self::Rest => COARSE_WINDOW_SECONDS,
        }
    }
}

/// Width of the windows of complete tag sets: people watch parents and sub-metrics; tag sets are for later questions.
pub const COARSE_WINDOW_SECONDS: u32 = 30;

/// One series: a metric, which of its samples, and the tags that say so.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SeriesId {
    /// The metric.
    pub metric: Metric,
    /// Which of its samples.
    pub rollup: Rollup,
    /// The tags of a selector, check or tag set; empty otherwise.
    pub tags: Tags,
}

impl SeriesId {
    /// The series of all samples of `metric`.
    pub fn all(metric: Metric) -> Self {
        Self { metric, rollup: Rollup::All, tags: Tags::default() }
    }
}

impl fmt::Display for SeriesId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.metric.name)?;
        match self.rollup {
            Rollup::All => Ok(()),
            Rollup::Rest => f.write_str("{rest}"),
            Rollup::Selector | Rollup::Check | Rollup::TagSet => {
                let pairs: Vec<String> = self.tags.iter().map(|(k, v)| format!("{k}:{v}")).collect();
                write!(f, "{{{}}}", pairs.join(","))
            }
        }
    }
}
