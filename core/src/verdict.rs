//! What a run means: the one answer that is kept.
//!
//! These types are the published form (`runs get --output json`, the ledger); their JSON schema is checked in as
//! `schema/verdict.schema.json`. Fields are added, never renamed; a change of meaning needs a new [`FORMAT`].

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    archive::Archive,
    ids::{RunId, WorkerIndex},
    k6::{options::SummaryMode, version::K6Version},
    lifecycle::Abort,
    number::Number,
    plan::Samples,
    records::{Failure, WorkerPhase},
    schedule::Origin,
    series::{Contains, MetricKind},
    timestamp::Timestamp,
};

/// The format of [`Verdict`].
pub const FORMAT: u32 = 1;

/// The conclusion of one run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Verdict {
    /// The format of this document: 1.
    pub format: u32,
    /// The version of lambdaload that judged.
    pub lambdaload_version: String,
    /// The run.
    pub run: RunId,
    /// The script's file name.
    pub script: String,
    /// The test's name.
    pub name: String,
    /// What the user wrote about the run.
    pub note: Option<String>,
    /// The run's labels.
    pub tags: BTreeMap<String, String>,
    /// Of what schedule the run is, if a schedule or a person in its place has started it.
    #[serde(default)]
    pub origin: Option<Origin>,
    /// What ran.
    pub archive: Archive,
    /// On which k6.
    pub k6_version: K6Version,
    /// The answer.
    pub outcome: Outcome,
    /// How the run ended: `finished`, `aborted (by user)`, `timed out` …
    pub status: String,
    /// What the command exits with: k6's code, or lambdaload's 96 for an invalid measurement.
    pub exit_code: i32,
    /// Why the outcome is what it is, most important first.
    pub reasons: Vec<Reason>,
    /// Why the run was stopped before its time, if it was.
    pub abort: Option<Abort>,
    /// The script's thresholds, by metric.
    pub thresholds: Vec<ThresholdResult>,
    /// Workers that were planned.
    pub planned_workers: u32,
    /// Workers without which the measurement would not have been believed: all, or `--min-workers`.
    #[serde(default)]
    pub min_workers: u32,
    /// Each worker that was heard of.
    pub workers: Vec<WorkerResult>,
    /// 99th percentile over workers of how far each real start was from T0, in milliseconds; of up to 100 workers the
    /// largest.
    pub start_skew_p99_ms: Option<f64>,
    /// Whether everything that was read was merged.
    pub samples: Conservation,
    /// Largest relative error of the percentiles in `summary`; of aggregated samples 0.001 if that is more. Thresholds on exact
    /// samples do not suffer from it; see [`ThresholdResult::exact`] and [`ThresholdResult::within_error`].
    pub percentile_error: f64,
    /// When the run was recorded, in microseconds since the Unix epoch.
    pub created_at: Timestamp,
    /// When the first worker started, likewise.
    pub started_at: Option<Timestamp>,
    /// When the last worker's iterations ended, likewise.
    pub ended_at: Option<Timestamp>,
    /// How long the longest worker ran, in milliseconds; rates of counters refer to it.
    pub duration_ms: f64,
    /// Whether response times and failures changed while the load was level; none for a run of some minutes. It informs:
    /// the outcome does not depend on it.
    #[serde(default)]
    pub drift: Option<Drift>,
    /// The merged metrics.
    pub summary: Summary,
}

/// How response times and failures changed over a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Drift {
    /// From when on it was looked at, in milliseconds after the start: the load is level, and has been for some time.
    pub from_ms: u64,
    /// Until when.
    pub until_ms: u64,
    /// Blocks of equal length that were compared, each with the percentile of all its samples.
    pub blocks: u32,
    /// With which confidence the intervals hold: 0.99.
    pub confidence: f64,
    /// The slopes, those that drift first.
    pub slopes: Vec<Slope>,
    /// Why nothing can be said, if so.
    pub not_judged: Option<String>,
}

/// A straight line through a metric over time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Slope {
    /// The metric's name.
    pub metric: String,
    /// The tags of a sub-metric as the script writes them.
    pub suffix: Option<String>,
    /// What of it: `p(95)` of a trend, `rate` of a rate.
    pub statistic: String,
    /// What its values are.
    pub contains: Contains,
    /// How much it changes in an hour.
    pub per_hour: Number,
    /// The lower end of that figure's confidence interval.
    pub low: Number,
    /// The upper end.
    pub high: Number,
    /// The mean over the blocks.
    pub mean: Number,
    /// How much it changed from the beginning to the end of what was looked at.
    pub change: Number,
    /// Whether it drifts: the confidence interval does not reach 0, and the change is one to speak of (2 % of the mean; of
    /// a rate 0.001).
    pub drifts: bool,
}

impl Slope {
    /// The metric or sub-metric as k6 writes it.
    pub fn key(&self) -> String {
        match &self.suffix {
            Some(suffix) => format!("{}{{{suffix}}}", self.metric),
            None => self.metric.clone(),
        }
    }
}

/// The answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// All thresholds hold on all samples.
    Passed,
    /// A threshold does not hold, or the script called the test failed.
    Failed,
    /// The measurement is complete; the script has no thresholds.
    NoThresholds,
    /// The measurement cannot be believed.
    Invalid,
}

impl Outcome {
    /// The word that people see.
    pub fn word(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Failed => "failed",
            Self::NoThresholds => "no thresholds",
            Self::Invalid => "invalid",
        }
    }
}

/// One reason for the outcome.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Reason {
    /// A stable name for programs.
    pub code: ReasonCode,
    /// What happened, for people.
    pub message: String,
    /// The worker it is about, numbered from 1.
    pub worker: Option<u32>,
    /// What to do about it.
    pub next_step: Option<String>,
}

/// Reasons by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ReasonCode {
    /// A threshold does not hold.
    ThresholdCrossed,
    /// The script called the test failed, or ended it.
    Script,
    /// The run was stopped by a person.
    Stopped,
    /// A worker went without saying how it ended.
    WorkerLost,
    /// A worker's k6 ended badly.
    WorkerFailed,
    /// A worker could not be launched.
    WorkerNotLaunched,
    /// The run was never started: there was no room for it in time, or nobody could start it.
    NotStarted,
    /// `setup()` was run and `teardown()` was not.
    TeardownMissing,
    /// A worker was lost, which `--min-workers` accepts.
    LossAccepted,
    /// Samples that a worker read are missing from the merged result.
    SamplesMissing,
    /// k6 wrote lines that could not be read.
    LinesRefused,
    /// A deadline passed.
    DeadlinePassed,
    /// The run's aggregator died; the run was concluded from what it left.
    AggregatorLost,
    /// A chunk in the store could not be read.
    ChunkUnreadable,
}

/// One threshold's result.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[expect(clippy::struct_excessive_bools, reason = "each is an answer of its own to whoever reads the document")]
pub struct ThresholdResult {
    /// The metric's name.
    pub metric: String,
    /// The tags of a sub-metric as the script writes them.
    pub suffix: Option<String>,
    /// The expression.
    pub expression: String,
    /// Whether it holds.
    pub passed: bool,
    /// The value that was compared; none where k6 knows none (a rate without samples).
    pub value: Option<Number>,
    /// Whether the decision is the one on the raw samples.
    pub exact: bool,
    /// Whether the limit is so near to the value that this measurement is too coarse to call it: within
    /// [`Verdict::percentile_error`], of a gauge within what came in its last second, of a mean within the rounding of sums.
    /// Only of aggregated samples.
    #[serde(default)]
    pub within_error: bool,
    /// Of one that does not hold: when that was first seen, in milliseconds after the start.
    pub first_crossed_ms: Option<u64>,
    /// Whether it is one that stops the run.
    pub abort_on_fail: bool,
}

impl ThresholdResult {
    /// The metric or sub-metric as k6 writes it.
    pub fn key(&self) -> String {
        match &self.suffix {
            Some(suffix) => format!("{}{{{suffix}}}", self.metric),
            None => self.metric.clone(),
        }
    }
}

/// One worker's part in the run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct WorkerResult {
    /// Which worker, from 0.
    pub index: WorkerIndex,
    /// How far it came; `closed` when it ended in order. None if it never came at all.
    pub phase: Option<WorkerPhase>,
    /// How far its real start was from T0, in milliseconds.
    pub skew_ms: Option<f64>,
    /// Samples that it read, by its closing record.
    pub samples_read: Option<u64>,
    /// Samples of its that were merged.
    pub samples_merged: u64,
    /// What went wrong.
    pub failure: Option<Failure>,
}

/// Whether everything that was read was merged.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Conservation {
    /// How workers read their k6: each sample, or what k6 gathered of them in each second. Of the
    /// latter a second of a counter counts as one sample below.
    #[serde(default)]
    pub kind: Samples,
    /// Samples that the workers say they read.
    pub read: u64,
    /// Samples in the merged result.
    pub merged: u64,
    /// Lines of k6's output that could not be read.
    pub refused: u64,
    /// VU gauges from before the start, which a single k6 would not have written; in no series.
    pub before_start: u64,
    /// Samples of tag sets beyond the cap: in every metric and sub-metric, but in no tag set of their own.
    pub folded: u64,
    /// Metrics that those samples are of.
    #[serde(default)]
    pub folded_metrics: u64,
    /// Samples that k6 says it could not write: infinite ones, from 2.0 on. They are in nothing.
    #[serde(default)]
    pub unwritten: u64,
    /// Batches of aggregated samples that k6 says it gave up. They are in nothing.
    #[serde(default)]
    pub lost_batches: u64,
    /// Aggregated samples of trends below 0 or beyond 9.2e15, which k6 counts and does not place: of these only the least and
    /// the greatest are known, and percentiles among them are not.
    #[serde(default)]
    pub unplaced: u64,
    /// Series of which a worker read another number than was merged; at most 20.
    pub missing: Vec<MissingSamples>,
}

/// A series of which a worker read another number than was merged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MissingSamples {
    /// The worker, from 0.
    pub worker: WorkerIndex,
    /// The series.
    pub series: String,
    /// Samples that the worker says it read.
    pub read: u64,
    /// Samples that were merged.
    pub merged: u64,
}

/// The merged metrics, as k6's summary has them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Summary {
    /// All metrics with samples, and those that thresholds name, by name; each sub-metric behind its metric.
    pub metrics: Vec<MetricSummary>,
    /// All checks, in the order in which the script first made them.
    pub checks: Vec<CheckSummary>,
    /// Which statistics of trends the script or the user asked for, in order.
    pub trend_stats: Vec<String>,
    /// One unit for all times: `s`, `ms` or `us`; none lets the size choose.
    pub time_unit: Option<String>,
    /// How much of this was asked to be shown.
    #[serde(default)]
    pub mode: SummaryMode,
    /// The paths of all groups that k6 timed or that have checks, as `::outer::inner`, in the order of the first samples.
    #[serde(default)]
    pub group_paths: Vec<String>,
    /// What was measured in each group and in each scenario, in the order of the first samples.
    #[serde(default)]
    pub groups: Vec<GroupSummary>,
    /// What `groups` lacks because it is not known for certain, or for size.
    #[serde(default)]
    pub left_out: LeftOut,
}

/// What was measured in one group, or in one scenario as a whole, from complete tag sets.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct GroupSummary {
    /// The scenario; none for the scenario `default`, whose groups k6 shows on their own, and outside of all.
    pub scenario: Option<String>,
    /// The group's path as k6 writes it, without the groups in it; none for the scenario as a whole.
    pub group: Option<String>,
    /// Its metrics by name, without sub-metrics.
    pub metrics: Vec<MetricSummary>,
    /// Its checks, in the order in which the script first made them.
    pub checks: Vec<CheckSummary>,
}

/// What [`Summary::groups`] lacks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LeftOut {
    /// Metrics of which not every sample arrived with its tags, so that no figure of a group would be right.
    pub metrics: Vec<String>,
    /// Groups and scenarios beyond those that are kept.
    pub groups: u64,
}

/// One metric or sub-metric.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct MetricSummary {
    /// The metric's name.
    pub name: String,
    /// The tags of a sub-metric as the script writes them.
    pub suffix: Option<String>,
    /// Its type.
    #[serde(rename = "type")]
    pub kind: MetricKind,
    /// What its values are.
    pub contains: Contains,
    /// The values.
    pub values: Values,
}

impl MetricSummary {
    /// The metric or sub-metric as k6 writes it.
    pub fn key(&self) -> String {
        match &self.suffix {
            Some(suffix) => format!("{}{{{suffix}}}", self.name),
            None => self.name.clone(),
        }
    }
}

/// A metric's values, by its type. Times are in milliseconds, data in bytes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Values {
    /// Of a trend.
    Trend {
        /// Number of samples.
        count: u64,
        /// Mean; exact.
        avg: Number,
        /// Least value; exact.
        min: Number,
        /// Greatest value; exact.
        max: Number,
        /// Median and percentiles by k6's names (`med`, `p(95)`), to within the verdict's `percentile_error`. Always has
        /// `med`, `p(90)`, `p(95)` and `p(99)`, and whatever the script or the user asked for.
        percentiles: BTreeMap<String, Number>,
    },
    /// Of a rate.
    Rate {
        /// Share of non-zero samples, 0 without samples.
        rate: Number,
        /// Non-zero samples.
        passes: u64,
        /// Zero samples.
        fails: u64,
    },
    /// Of a gauge.
    Gauge {
        /// Last value; of VUs the sum over workers.
        value: Number,
        /// Least value.
        min: Number,
        /// Greatest value.
        max: Number,
    },
    /// Of a counter.
    Counter {
        /// Sum.
        count: Number,
        /// Sum per second of the run.
        rate: Number,
    },
}

/// One check in one group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CheckSummary {
    /// The group's path as k6 writes it: empty for the root, else `::outer::inner`.
    pub group: String,
    /// The check's name.
    pub name: String,
    /// How often it held.
    pub passes: u64,
    /// How often it did not.
    pub fails: u64,
}
