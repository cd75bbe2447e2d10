//! Everything that is decided before anything is spent.

mod account;
mod carrier;
mod deadlines;
mod fargate;
mod lambda;
mod level;
mod load;
mod platform;
mod ramps;
mod samples;
mod scenario;
mod schedule;
mod traffic;
mod words;
mod workers;

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{
    archive::Archive,
    cost::{Assumptions, Estimate, Prices},
    ids::WorkerIndex,
    k6::{
        options::{Options, OptionsError},
        version::K6Version,
    },
    millis,
    recorder::Watch,
    segment::Segment,
    selector::Selector,
    threshold::{Threshold, ThresholdError},
};

pub use crate::k6::options::{LoadZone, SummaryMode, SummaryOptions, TimeUnit};
pub use account::{Account, NoRoom, TaskAccount, account_room, task_room};
pub use carrier::CarrierError;
pub use deadlines::{Deadlines, Pace};
pub use fargate::{
    DEFAULT_SIZE as DEFAULT_TASK_SIZE, FILES as TASK_FILES, FargateError, LONGEST_LIFE as LONGEST_TASK, MAX_TASKS,
    quota as task_quota,
};
pub use lambda::{INVOCATION, LambdaError};
pub use load::Offered;
pub use platform::{Architecture, FargateStack, Host, LambdaStack, Network, Platform};
pub use ramps::Ramp;
pub use samples::{AggregatedError, Samples};
pub use scenario::PlannedScenario;
pub use schedule::{Schedule, Work};
pub use traffic::Traffic;
pub use words::{plural, words};
pub use workers::{MAX_WORKERS, Machine, Workers};

use scenario::planned;

/// The decided run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// The script as the user named it, without folders.
    pub script: String,
    /// The test's name: `--name`, else `options.cloud.name`, else the script.
    pub name: String,
    /// What the user wrote about this run.
    pub note: Option<String>,
    /// Labels of the run. They are never handed to k6, whose `--tag` would delete the script's own tags.
    pub tags: BTreeMap<String, String>,
    /// What the workers run.
    pub archive: Archive,
    /// Names of the variables that the user gave the script. Their values are in the archive.
    pub env: Vec<String>,
    /// Names of the secrets that the script is given. Their values are nowhere but with the workers.
    pub secrets: Vec<String>,
    /// Load zones of Grafana Cloud that the workers stand for, in proportion; see [`crate::variables`].
    pub distribution: Vec<LoadZone>,
    /// Where the workers are.
    #[serde(default)]
    pub platform: Platform,
    /// Why there, where that was not simply asked for.
    #[serde(default)]
    pub platform_reason: Option<String>,
    /// Which k6 the workers have.
    pub k6_version: K6Version,
    /// Which k6 has made the archive, if that is another one.
    #[serde(default)]
    pub archived_by: Option<K6Version>,
    /// How many workers.
    pub workers: u32,
    /// Why that many, where it is not simply what was asked for.
    pub workers_reason: Option<String>,
    /// How many of them must be there from start to end for the measurement to be believed: all, unless
    /// `--min-workers` bears the loss of some.
    pub min_workers: u32,
    /// Whether the script may have a `teardown()`.
    pub has_teardown: bool,
    /// The work, by scenario.
    pub scenarios: Vec<PlannedScenario>,
    /// VUs at one time, at most, over all workers.
    pub max_vus: u64,
    /// HTTP requests per second at most, over all workers: k6's `rps`, which it knows of one process only.
    pub rps: Option<u64>,
    /// How long the scenarios last at most, graceful stops included.
    #[serde(with = "millis")]
    pub duration: Duration,
    /// What decides; empty with `--no-thresholds`.
    pub thresholds: Vec<Threshold>,
    /// Sub-metrics that are shown: those of the thresholds, and k6's own `http_req_duration{expected_response:true}`.
    pub submetrics: Vec<Selector>,
    /// How the summary is written.
    pub summary: SummaryOptions,
    /// When waiting ends.
    pub deadlines: Deadlines,
    /// How often things are looked at.
    pub pace: Pace,
    /// What it is expected to cost; none where nothing costs anything.
    #[serde(default)]
    pub cost: Option<Estimate>,
    /// How workers read their k6.
    #[serde(default)]
    pub samples: Samples,
}

/// What the user asked for.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// The script's file name.
    pub script: String,
    /// `--name`.
    pub name: Option<String>,
    /// `--note`.
    pub note: Option<String>,
    /// `--tag`.
    pub tags: BTreeMap<String, String>,
    /// `--workers`.
    pub workers: Workers,
    /// `--min-workers`; none needs them all.
    pub min_workers: Option<u32>,
    /// `--no-thresholds`.
    pub no_thresholds: bool,
    /// `--summary-trend-stats`.
    pub trend_stats: Option<Vec<String>>,
    /// `--summary-time-unit`.
    pub time_unit: Option<TimeUnit>,
    /// `--summary-mode`.
    pub summary_mode: SummaryMode,
    /// `--new-machine-readable-summary`.
    pub machine_readable_summary: bool,
    /// `--vus-per-worker`, over what we think a worker can carry.
    pub vus_per_worker: Option<u64>,
    /// `--samples`.
    pub samples: Samples,
    /// `--queue-timeout`: how long the run may wait for room.
    pub queue: Duration,
    /// What only a run would show, for the estimate of its cost.
    pub assumed: Assumptions,
    /// What things cost.
    pub prices: Prices,
}

/// Why there is no plan. Nothing has been started.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// The options.
    #[error(transparent)]
    Options(#[from] OptionsError),
    /// A threshold.
    #[error(transparent)]
    Threshold(#[from] ThresholdError),
    /// `--workers 0`.
    #[error("--workers 0: expected 1 or more, or `auto`")]
    NoWorkers,
    /// `--min-workers` 0, or more than there are.
    #[error("--min-workers {wanted}: expected 1 to {workers}, the number of workers of this run")]
    MinWorkers {
        /// What was asked for.
        wanted: u32,
        /// Workers of the run.
        workers: u32,
    },
    /// More workers than a run may have.
    #[error("--workers {0}: a run has at most {MAX_WORKERS} workers")]
    TooManyWorkers(u32),
    /// An executor that cannot be spread.
    #[error("scenario `{scenario}` uses the executor `{executor}`, which lambdaload cannot run yet")]
    Executor {
        /// The scenario.
        scenario: String,
        /// Its executor.
        executor: String,
    },
    /// A run that would never end by itself.
    #[error(
        "scenario `{scenario}` has the duration 0 and would never end; every run needs an end\n\
         give it the longest time that it may take, for example duration: '1h', and end it before with `lambdaload stop`"
    )]
    Endless {
        /// The scenario.
        scenario: String,
    },
    /// A name of a statistic that k6 does not know.
    #[error("--summary-trend-stats: `{0}` is none of avg, min, med, max, count and p(N)")]
    TrendStat(String),
    /// What one worker cannot carry.
    #[error(transparent)]
    Carrier(#[from] CarrierError),
    /// What Lambda cannot do.
    #[error(transparent)]
    Lambda(#[from] LambdaError),
    /// What Fargate cannot do.
    #[error(transparent)]
    Fargate(#[from] FargateError),
    /// What k6 does not aggregate.
    #[error(transparent)]
    Aggregated(#[from] AggregatedError),
}

impl Plan {
    /// Decides the run, with what is known of the script's code, and refuses what cannot be carried out. Where there is a
    /// choice, workers are on Lambda if the run fits there.
    pub fn decide(
        request: Request,
        archive: Archive,
        k6_version: K6Version,
        options: &Options,
        (has_setup, has_teardown): (bool, bool),
        host: Host,
    ) -> Result<Self, PlanError> {
        let decide = |request, archive, host| {
            let plan = Self::new(request, archive, k6_version, options, host)?.with_hooks(has_setup, has_teardown);
            plan.check()?;
            Ok::<_, PlanError>(plan)
        };
        let Host::Either(lambda, fargate) = host else { return decide(request, archive, host) };
        match decide(request.clone(), archive.clone(), Host::Lambda(lambda)) {
            Ok(plan) => {
                let longest = plan.longest().unwrap_or_default();
                let reason = format!("it lasts {} at most, and Lambda allows {}", words(plan.duration), words(longest));
                Ok(Self { platform_reason: Some(reason), ..plan })
            }
            Err(refusal @ (PlanError::Lambda(_) | PlanError::Carrier(_))) => {
                let refusal = refusal.to_string();
                let reason = format!("not on lambda: {}", refusal.lines().next().unwrap_or_default());
                let plan = decide(request, archive, Host::Fargate(fargate))?;
                Ok(Self { platform_reason: Some(reason), ..plan })
            }
            Err(error) => Err(error),
        }
    }

    /// Decides the run from what was asked, what the script wants and what its workers can take. The script is given
    /// neither variables nor secrets; see [`crate::run::prepare`].
    pub fn new(
        request: Request,
        archive: Archive,
        k6_version: K6Version,
        options: &Options,
        host: impl Into<Host>,
    ) -> Result<Self, PlanError> {
        let scenarios = options.scenarios.iter().map(planned).collect::<Result<Vec<_>, _>>()?;
        let (platform, (workers, workers_reason)) = match host.into() {
            Host::Machine(machine) => (Platform::Local, workers::on_machine(&request, &scenarios, options, machine)?),
            // What does not fit there is another plan; see `decide`.
            Host::Lambda(stack) | Host::Either(stack, _) => {
                carrier::check_k6(k6_version, stack.k6_version)?;
                let workers = carrier::workers(&request, &scenarios, options, &archive, &stack.size())?;
                stack.check_capacity(workers.0)?;
                (Platform::Lambda(stack), workers)
            }
            Host::Fargate(stack) => {
                carrier::check_k6(k6_version, stack.k6_version)?;
                stack.check_size()?;
                let workers = carrier::workers(&request, &scenarios, options, &archive, &stack.size())?;
                (Platform::Fargate(stack), workers)
            }
        };
        let workers_k6 = platform.k6_version().unwrap_or(k6_version);
        let min_workers = request.min_workers.unwrap_or(workers);
        if !(1..=workers).contains(&min_workers) {
            return Err(PlanError::MinWorkers { wanted: min_workers, workers });
        }
        let thresholds = if request.no_thresholds { Vec::new() } else { options.thresholds()? };
        request.samples.check(options, &thresholds)?;
        let mut summary = options.summary()?;
        if let Some(stats) = request.trend_stats {
            summary.trend_stats = stats;
        }
        if let Some(bad) = summary.trend_stats.iter().find(|stat| !is_trend_stat(stat)) {
            return Err(PlanError::TrendStat(bad.clone()));
        }
        summary.time_unit = request.time_unit.or(summary.time_unit);
        summary.mode = request.summary_mode;
        summary.machine_readable = request.machine_readable_summary;
        let vus_per_worker = most_vus_of_a_worker(&scenarios, workers);
        let pace = Pace::of(workers, &platform);
        let mut plan = Self {
            name: request.name.or_else(|| options.cloud_name().map(str::to_owned)).unwrap_or(request.script.clone()),
            note: request.note.or_else(|| options.cloud_note().map(str::to_owned)),
            script: request.script,
            tags: request.tags,
            archive,
            env: Vec::new(),
            secrets: Vec::new(),
            distribution: options.distribution(),
            k6_version: workers_k6,
            archived_by: (workers_k6 != k6_version).then_some(k6_version),
            workers,
            workers_reason,
            min_workers,
            has_teardown: true,
            submetrics: submetrics(&thresholds, options),
            scenarios,
            max_vus: options.max_vus,
            rps: options.rps(),
            duration: options.total_duration,
            thresholds,
            summary,
            deadlines: Deadlines::new(options, vus_per_worker, &platform, request.queue, &pace),
            pace,
            platform,
            platform_reason: None,
            cost: None,
            samples: request.samples,
        };
        plan.use_spare_time();
        plan.cost = Estimate::of(&plan, request.assumed, &request.prices);
        Ok(plan)
    }

    /// The segment of one worker; `None` for a worker the plan does not have.
    pub fn segment(&self, index: WorkerIndex) -> Option<Segment> {
        Segment::new(index, self.workers)
    }

    /// What a worker's recorder keeps apart: sub-metrics, and metrics with limits to count around.
    pub fn watches(&self) -> Vec<Watch> {
        let whole = self.thresholds.iter().map(|t| &t.selector).filter(|s| s.suffix.is_none());
        let mut watches: Vec<Watch> = Vec::new();
        for selector in self.submetrics.iter().chain(whole) {
            let tags = selector.suffix.is_some().then(|| selector.tags());
            if !watches.iter().any(|w| w.metric == selector.metric && w.tags == tags) {
                watches.push(Watch { metric: selector.metric.clone(), tags, limits: self.counted_limits(selector) });
            }
        }
        watches
    }

    fn counted_limits(&self, of: &Selector) -> Vec<f64> {
        if self.samples == Samples::Aggregated {
            return Vec::new();
        }
        let same = |t: &&Threshold| t.selector.metric == of.metric && t.selector.tags() == of.tags();
        let mut limits: Vec<f64> = Vec::new();
        for limit in self.thresholds.iter().filter(same).filter_map(Threshold::counted_limit) {
            if !limits.iter().any(|known| known.to_bits() == limit.to_bits()) {
                limits.push(limit);
            }
        }
        limits
    }

    /// When all scenarios are over by plan, after the start and without graceful stops: what progress is shown against.
    pub fn scheduled(&self) -> Duration {
        self.scenarios.iter().map(|scenario| scenario.ends_after).max().unwrap_or(self.duration)
    }

    /// All workers.
    pub fn worker_indices(&self) -> impl Iterator<Item = WorkerIndex> + use<> {
        (0..self.workers).map(WorkerIndex)
    }

    /// A worker without a segment: it only runs `teardown()`, if the first worker is gone.
    pub fn substitute(&self) -> WorkerIndex {
        WorkerIndex(self.workers)
    }

    /// The part of [`Plan::rps`] that falls to one worker.
    pub fn worker_rps(&self, index: WorkerIndex) -> Option<u64> {
        Some(self.segment(index)?.share(self.rps?))
    }
}

/// Segments deal out in turn, so the first worker has most.
fn most_vus_of_a_worker(scenarios: &[PlannedScenario], workers: u32) -> u64 {
    Segment::new(WorkerIndex::FIRST, workers).map_or(0, |segment| load::most_vus(scenarios, segment))
}

fn submetrics(thresholds: &[Threshold], options: &Options) -> Vec<Selector> {
    let implicit = Selector { metric: "http_req_duration".into(), suffix: Some("expected_response:true".into()) };
    let implicit = options.has_system_tag("expected_response").then_some(implicit);
    let named = thresholds.iter().map(|t| t.selector.clone()).filter(|s| s.suffix.is_some());
    let mut all: Vec<Selector> = Vec::new();
    for selector in named.chain(implicit) {
        // Two texts with the same tags are one sub-metric; the first is what people see.
        if !all.iter().any(|s| s.metric == selector.metric && s.tags() == selector.tags()) {
            all.push(selector);
        }
    }
    all
}

fn is_trend_stat(stat: &str) -> bool {
    matches!(stat, "avg" | "min" | "med" | "max" | "count") || trend_percentile(stat).is_some()
}

/// The N of `p(N)`.
pub fn trend_percentile(stat: &str) -> Option<f64> {
    let percent: f64 = stat.strip_prefix("p(")?.strip_suffix(')')?.parse().ok()?;
    (0.0..=100.0).contains(&percent).then_some(percent)
}

#[cfg(test)]
mod tests;
