//! One realistic run, for the tests of whatever shows runs.
//!
//! A shop is browsed and bought from for seven and a half minutes by twelve workers; one of four thresholds is crossed.
//! All numbers follow from a few formulas, so they are the same each time.

use std::collections::BTreeMap;

use crate::{
    archive::Archive,
    ids::WorkerIndex,
    k6::{exit::ProcessExit, options::SummaryMode, version::K6Version},
    number::Number,
    ports::Timestamp,
    records::{Failure, FailureKind, WorkerPhase},
    series::{Contains, Metric, MetricKind},
    timeline::{Slice, Timeline},
    verdict::{
        CheckSummary, Conservation, FORMAT, LeftOut, MetricSummary, MissingSamples, Outcome, Reason, ReasonCode,
        Summary, ThresholdResult, Values, Verdict, WorkerResult,
    },
};

/// 2026-11-22 12:00:00 UTC.
const START: Timestamp = Timestamp(1_795_348_800_000_000);
const SECONDS: u32 = 450;
const WORKERS: u32 = 12;
const REQUESTS: u64 = 388_410;
const ITERATIONS: u64 = 64_735;

/// The verdict of the run: failed.
pub fn verdict() -> Verdict {
    Verdict {
        format: FORMAT,
        lambdaload_version: "0.1.0".into(),
        run: parsed("01JD8QZV3M4T5W6X7Y8Z9A0B4K"),
        script: "checkout.js".into(),
        name: "checkout.js".into(),
        note: Some("after cache change".into()),
        tags: BTreeMap::from([("branch".into(), "main".into())]),
        origin: None,
        archive: Archive {
            hash: parsed(&"3f9c".repeat(16)),
            size: 41_984,
            files: 3,
            filename: "file:///home/nobody/checkout.js".into(),
        },
        k6_version: K6Version::new(1, 8, 1),
        outcome: Outcome::Failed,
        status: "finished".into(),
        exit_code: 99,
        reasons: vec![Reason {
            code: ReasonCode::ThresholdCrossed,
            message: "http_req_failed rate<0.001 does not hold".into(),
            worker: None,
            next_step: None,
        }],
        abort: None,
        thresholds: thresholds(),
        planned_workers: WORKERS,
        min_workers: WORKERS,
        workers: (0..WORKERS).map(worker).collect(),
        start_skew_p99_ms: Some(18.4),
        samples: Conservation { read: 5_437_740, merged: 5_437_740, ..Conservation::default() },
        percentile_error: 0.5 / 1024.0,
        created_at: START,
        started_at: Some(START.plus(std::time::Duration::from_millis(2_310))),
        ended_at: Some(START.plus(std::time::Duration::from_millis(452_310))),
        duration_ms: f64::from(SECONDS) * 1000.0,
        drift: None,
        summary: Summary {
            metrics: metrics(),
            checks: checks(),
            trend_stats: ["avg", "min", "med", "max", "p(90)", "p(95)"].map(str::to_owned).to_vec(),
            time_unit: None,
            mode: SummaryMode::Compact,
            group_paths: ["::browse", "::buy", "::buy::cart", "::buy::pay"].map(str::to_owned).to_vec(),
            groups: Vec::new(),
            left_out: LeftOut::default(),
        },
    }
}

/// The verdict of the same run, had worker 7 been killed while it ran: invalid.
pub fn incomplete() -> Verdict {
    let failure = Failure {
        kind: FailureKind::Lost,
        message: "gave no sign of life for 10s".into(),
        exit: Some(ProcessExit::Signal(9)),
        log: vec!["runtime: out of memory: cannot allocate 4194304-byte block".into()],
    };
    let mut verdict = verdict();
    verdict.outcome = Outcome::Invalid;
    verdict.status = "aborted (by system)".into();
    verdict.exit_code = 96;
    verdict.reasons = vec![
        Reason {
            code: ReasonCode::WorkerLost,
            message: format!("worker 7 was lost while it ran: it {}", failure.message),
            worker: Some(7),
            next_step: Some("give workers more memory, and run the test again".into()),
        },
        Reason {
            code: ReasonCode::SamplesMissing,
            message: "188 of 5437740 samples that the workers read are missing".into(),
            worker: None,
            next_step: Some("look at `samples.missing` for the series, and run the test again".into()),
        },
    ];
    for threshold in &mut verdict.thresholds {
        threshold.passed = true;
        threshold.first_crossed_ms = None;
    }
    verdict.thresholds[2].value = Some(Number(0.0009));
    if let Some(lost) = verdict.workers.get_mut(6) {
        lost.phase = Some(WorkerPhase::Running);
        lost.samples_read = None;
        lost.failure = Some(failure);
    }
    verdict.samples.merged -= 188;
    verdict.samples.missing = vec![MissingSamples {
        worker: WorkerIndex(6),
        series: "http_req_duration{name:cart}".into(),
        read: 9_300,
        merged: 9_112,
    }];
    verdict
}

/// How the run went, second by second: a ramp of two minutes, a hold, and a bad half minute in it.
pub fn timeline() -> Timeline {
    Timeline { start: START, slice_seconds: 1, slices: (0..SECONDS).map(slice).collect() }
}

fn slice(second: u32) -> Slice {
    let at = f64::from(second);
    let load = (at / 120.0).min(1.0);
    // A few sines whose periods do not divide each other look like noise, and are the same each time.
    let noise = |scale: f64| 1.0 + scale * ((at * 0.7).sin() + (at * 1.9 + 1.0).sin() + (at * 4.3 + 2.0).sin()) / 3.0;
    let bad = if (300..330).contains(&second) { 1.0 - (at - 315.0).abs() / 15.0 } else { 0.0 };
    let median = (60.0 + 24.0 * load + 130.0 * bad) * noise(0.06);
    Slice {
        requests_per_second: 980.0 * load * noise(0.04) * (1.0 - 0.25 * bad),
        iterations_per_second: 163.0 * load * noise(0.04) * (1.0 - 0.25 * bad),
        vus: (612.0 * load + 60.0 * bad).round(),
        failed_rate: Some(((0.0004 + 0.06 * bad) * noise(0.9)).max(0.0)),
        checks_rate: Some(1.0 - 0.02 * bad),
        p50: Some(median),
        p95: Some(median * 4.1 * noise(0.12) * (1.0 + bad)),
        p99: Some(median * 8.2 * noise(0.25) * (1.0 + 2.0 * bad)),
    }
}

fn worker(index: u32) -> WorkerResult {
    // A twelfth of all samples, a few more or less.
    let samples = 453_128 + u64::from(index % 2) * 34;
    WorkerResult {
        index: WorkerIndex(index),
        phase: Some(WorkerPhase::Closed),
        skew_ms: Some(3.1 + f64::from(index * 7 % 12) * 1.39),
        samples_read: Some(samples),
        samples_merged: samples,
        failure: None,
    }
}

fn thresholds() -> Vec<ThresholdResult> {
    let threshold =
        |metric: &str, suffix: Option<&str>, expression: &str, value, first_crossed_ms: Option<u64>| ThresholdResult {
            within_error: false,
            metric: metric.into(),
            suffix: suffix.map(str::to_owned),
            expression: expression.into(),
            passed: first_crossed_ms.is_none(),
            value: Some(Number(value)),
            exact: true,
            first_crossed_ms,
            abort_on_fail: false,
        };
    vec![
        threshold("checks", None, "rate>0.99", 129_069.0 / 129_470.0, None),
        threshold("http_req_duration", Some("name:cart"), "p(95)<600", 438.207, None),
        threshold("http_req_failed", None, "rate<0.001", 1_204.0 / REQUESTS as f64, Some(62_000)),
        threshold("iteration_duration", None, "p(99)<20000", 14_578.56, None),
    ]
}

fn metrics() -> Vec<MetricSummary> {
    let seconds = f64::from(SECONDS);
    let counter = |count: f64| Values::Counter { count: Number(count), rate: Number(count / seconds) };
    let gauge = |value, min, max| Values::Gauge { value: Number(value), min: Number(min), max: Number(max) };
    let rate = |passes: u64, total: u64| Values::Rate {
        rate: Number(passes as f64 / total as f64),
        passes,
        fails: total - passes,
    };
    let trend = |count, scale: f64| {
        let percentiles = [("med", 1.0), ("p(90)", 3.2), ("p(95)", 4.9), ("p(99)", 14.4)];
        Values::Trend {
            count,
            avg: Number(scale * 1.52),
            min: Number(scale * 0.137),
            max: Number(scale * 71.3),
            percentiles: percentiles
                .iter()
                .map(|(name, factor)| ((*name).to_owned(), Number(scale * factor)))
                .collect(),
        }
    };
    let metric = |name: &str, suffix: Option<&str>, values| {
        let declared = Metric::built_in(name);
        MetricSummary {
            name: name.into(),
            suffix: suffix.map(str::to_owned),
            kind: declared.as_ref().map_or(kind(&values), |m| m.kind),
            contains: declared.map_or(Contains::Default, |m| m.contains),
            values,
        }
    };
    vec![
        metric("basket_value", None, trend(ITERATIONS, 31.5)),
        metric("checks", None, rate(129_069, 129_470)),
        metric("data_received", None, counter(1_812_345_678.0)),
        metric("data_sent", None, counter(52_123_456.0)),
        metric("http_req_blocked", None, trend(REQUESTS, 0.0021)),
        metric("http_req_connecting", None, trend(REQUESTS, 0.0009)),
        metric("http_req_duration", None, trend(REQUESTS, 84.03)),
        metric("http_req_duration", Some("name:cart"), trend(64_735, 89.43)),
        metric("http_req_duration", Some("expected_response:true"), trend(387_206, 83.91)),
        metric("http_req_failed", None, rate(1_204, REQUESTS)),
        metric("http_req_waiting", None, trend(REQUESTS, 83.1)),
        metric("http_reqs", None, counter(REQUESTS as f64)),
        metric("iteration_duration", None, trend(ITERATIONS, 1_012.4)),
        metric("iterations", None, counter(ITERATIONS as f64)),
        metric("vus", None, gauge(612.0, 12.0, 672.0)),
        metric("vus_max", None, gauge(1020.0, 1020.0, 1020.0)),
    ]
}

fn kind(values: &Values) -> MetricKind {
    match values {
        Values::Trend { .. } => MetricKind::Trend,
        Values::Rate { .. } => MetricKind::Rate,
        Values::Gauge { .. } => MetricKind::Gauge,
        Values::Counter { .. } => MetricKind::Counter,
    }
}

fn checks() -> Vec<CheckSummary> {
    let check =
        |group: &str, name: &str, passes, fails| CheckSummary { group: group.into(), name: name.into(), passes, fails };
    vec![
        check("::browse", "list has items", 64_735, 0),
        check("::buy::cart", "cart is ok", 32_166, 201),
        check("::buy::pay", "paid", 32_168, 200),
    ]
}

/// Ids and hashes have no constructor for arbitrary text, on purpose; they are read from what was written once.
fn parsed<T: serde::de::DeserializeOwned>(text: &str) -> T {
    serde_json::from_value(text.into()).unwrap_or_else(|error| panic!("`{text}`: {error}"))
}
