//! The live view's pieces of text, the same for terminals and for logs.

use lambdaload_core::{
    live::{Latency, LiveState, WorkerCounts},
    plan::words,
    series::{Contains, Metric},
    verdict::ThresholdResult,
};
use std::time::Duration;

use crate::view::numbers;

/// `running 2m14s of 7m30s`; the phase alone before the start.
pub(super) fn progress(state: &LiveState) -> String {
    match state.elapsed_ms {
        Some(elapsed) => {
            let duration = Duration::from_millis(state.duration_ms);
            // A run is late when k6 itself is: more than all is not shown.
            let elapsed = Duration::from_secs(elapsed / 1_000).min(duration);
            format!("{} {} of {}", state.status, words(elapsed), words(duration))
        }
        None => state.status.clone(),
    }
}

/// Time left at most, while iterations run.
pub(super) fn left(state: &LiveState) -> Option<Duration> {
    let left = state.duration_ms.saturating_sub(state.elapsed_ms?);
    (state.abort.is_none() && left >= 1_000).then(|| Duration::from_secs(left / 1_000))
}

/// Workers by where they are, without the lost.
pub(super) fn workers(counts: &WorkerCounts) -> String {
    let by_phase =
        [(counts.starting, "starting"), (counts.ready, "ready"), (counts.running, "running"), (counts.done, "done")];
    let parts: Vec<String> =
        by_phase.into_iter().filter(|(count, _)| *count > 0).map(|(count, phase)| format!("{count} {phase}")).collect();
    if parts.is_empty() { format!("{} planned", counts.planned) } else { parts.join(", ") }
}

/// Workers that failed or are lost, if any.
pub(super) fn lost(counts: &WorkerCounts) -> Option<String> {
    (counts.lost > 0).then(|| format!("{} lost", counts.lost))
}

/// VUs, iterations, requests and what could not be started; beside them what there should be by plan.
pub(super) fn load(state: &LiveState) -> Vec<String> {
    let requests = state.requests_per_second.map(|rate| format!("{} requests/s", numbers::rate(rate)));
    let vus = if state.vus == 1 { "1 VU".to_owned() } else { format!("{} VUs", numbers::count(state.vus)) };
    let planned = state.planned_vus.filter(|planned| *planned != state.vus);
    let planned = planned.map(|planned| format!(" (planned {})", numbers::count(planned))).unwrap_or_default();
    let offered = state.offered.map(|offered| {
        let rate = numbers::rate(offered.per_second);
        if offered.is_all { format!(" (offered {rate})") } else { format!(" ({rate} of them offered)") }
    });
    let iterations = numbers::rate(state.iterations_per_second);
    let mut parts =
        vec![format!("{vus}{planned}"), format!("{iterations} iterations/s{}", offered.unwrap_or_default())];
    parts.extend(requests);
    parts.push(format!("{} dropped", numbers::count(state.dropped_iterations)));
    parts
}

/// The percentiles.
pub(super) fn latency(latency: &Latency) -> Vec<String> {
    let named = [("p50", latency.p50), ("p95", latency.p95), ("p99", latency.p99)];
    let mut parts: Vec<String> =
        named.into_iter().map(|(name, value)| format!("{name} {}", numbers::milliseconds(value))).collect();
    parts.push(error_bound(latency));
    // A test without HTTP has no other time than its iterations'.
    if latency.metric != "http_req_duration" {
        parts.push(format!("of {}", latency.metric));
    }
    parts
}

/// How far a percentile may be off.
pub(super) fn error_bound(latency: &Latency) -> String {
    format!("±{}", numbers::percent(latency.error))
}

/// Failed requests and checks.
pub(super) fn failed(state: &LiveState) -> Option<String> {
    state.failed_rate.map(numbers::percent)
}

/// Checks that held.
pub(super) fn checks(state: &LiveState) -> Option<String> {
    state.checks_rate.map(|rate| format!("checks {}", numbers::percent(rate)))
}

/// A threshold's value as it stands: `p(95)=438 ms`.
pub(super) fn threshold_value(threshold: &ThresholdResult) -> String {
    let aggregation = threshold.expression.split(['<', '>', '=', '!']).next().unwrap_or_default().trim();
    let contains = match (aggregation, Metric::built_in(&threshold.metric)) {
        // A count or a rate is a number, whatever the metric's values are.
        ("count" | "rate", _) | (_, None) => Contains::Default,
        (_, Some(metric)) => metric.contains,
    };
    let value = threshold.value.map_or_else(|| "–".to_owned(), |value| numbers::value(value.0, contains));
    format!("{aggregation}={value}")
}

/// Eight heights from nothing to the largest.
pub(super) fn sparkline(values: &[f64]) -> String {
    const HEIGHTS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let largest = values.iter().copied().fold(0.0, f64::max);
    let height = |value: f64| {
        // Nothing was measured in that time.
        if value <= 0.0 {
            return ' ';
        }
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and 8")]
        let height = (value / largest * 8.0).ceil() as usize;
        HEIGHTS[height.clamp(1, 8) - 1]
    };
    values.iter().map(|value| height(*value)).collect()
}
