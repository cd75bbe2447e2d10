//! What can be said of a run while it runs, renewed each second: for the live view and for `watch`.

use serde::{Deserialize, Serialize};

use crate::{
    ids::RunId,
    lifecycle::{Abort, Phase},
    plan::Offered,
    timestamp::Timestamp,
    verdict::ThresholdResult,
};

/// A run at one moment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LiveState {
    /// The run.
    pub run: RunId,
    /// The test's name.
    pub name: String,
    /// When this was written.
    pub at: Timestamp,
    /// How far the run is.
    pub phase: Phase,
    /// The phase in words, with the reason of a stop.
    pub status: String,
    /// Why it is being stopped, if it is.
    pub abort: Option<Abort>,
    /// Milliseconds since the start; none before it.
    pub elapsed_ms: Option<u64>,
    /// Milliseconds after which the scenarios are over by plan, without graceful stops.
    pub duration_ms: u64,
    /// The workers.
    pub workers: WorkerCounts,
    /// 99th percentile of the start skew, in milliseconds.
    pub start_skew_p99_ms: Option<f64>,
    /// VUs now.
    pub vus: u64,
    /// VUs by plan, where it can know; see [`crate::plan::Plan::vus_at`].
    #[serde(default)]
    pub planned_vus: Option<u64>,
    /// Iterations that ended, per second, over the last few seconds.
    pub iterations_per_second: f64,
    /// Iterations that arrival rates brought up over these seconds; none without.
    #[serde(default)]
    pub offered: Option<Offered>,
    /// HTTP requests per second, over the last few seconds; none before the first request.
    pub requests_per_second: Option<f64>,
    /// Iterations that ended so far.
    pub iterations: u64,
    /// Iterations that could not be started so far.
    pub dropped_iterations: u64,
    /// Response times so far: of `http_req_duration`, or of `iteration_duration` in a test without HTTP.
    pub latency: Option<Latency>,
    /// Share of failed HTTP requests so far.
    pub failed_rate: Option<f64>,
    /// Share of checks that held so far.
    pub checks_rate: Option<f64>,
    /// The thresholds as they stand on what there is.
    pub thresholds: Vec<ThresholdResult>,
    /// Samples merged so far.
    pub samples: u64,
}

/// Workers by where they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerCounts {
    /// Planned.
    pub planned: u32,
    /// Launched or claimed, not yet ready.
    pub starting: u32,
    /// Ready and waiting for the others.
    pub ready: u32,
    /// Running iterations.
    pub running: u32,
    /// Done: iterations over, or closed.
    pub done: u32,
    /// Failed or lost.
    pub lost: u32,
}

/// A distribution so far, in milliseconds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Latency {
    /// The metric.
    pub metric: String,
    /// Median.
    pub p50: f64,
    /// 95th percentile.
    pub p95: f64,
    /// 99th percentile.
    pub p99: f64,
    /// Largest relative error of these.
    pub error: f64,
    /// 95th percentile of each of the last slices of time, oldest first; 0 where there was no sample.
    pub history_p95: Vec<f64>,
}
