//! How a run went over time, in slices: for the charts of the report.

use serde::{Deserialize, Serialize};

use crate::timestamp::Timestamp;

/// A run in slices of equal length.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Timeline {
    /// The start of the first slice.
    pub start: Timestamp,
    /// Seconds that a slice covers: 1, and doubled as often as it takes to bound the number of slices.
    pub slice_seconds: u32,
    /// The slices without gaps.
    pub slices: Vec<Slice>,
}

/// One slice.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Slice {
    /// HTTP requests per second.
    pub requests_per_second: f64,
    /// Iterations per second.
    pub iterations_per_second: f64,
    /// VUs at its end, over all workers.
    pub vus: f64,
    /// Share of failed HTTP requests; none without requests.
    pub failed_rate: Option<f64>,
    /// Share of checks that held; none without checks.
    pub checks_rate: Option<f64>,
    /// Median response time in milliseconds; none without samples. See [`crate::live::LiveState::latency`] for of what.
    pub p50: Option<f64>,
    /// 95th percentile, likewise.
    pub p95: Option<f64>,
    /// 99th percentile, likewise.
    pub p99: Option<f64>,
}
