//! On what a verdict rests: workers, samples, the precision of percentiles.

use std::time::Duration;

use super::{FAINT, Style, drift::drift, format, wrap::wrapped};
use crate::{
    plan::{Samples, plural},
    recorder::MAX_TAG_SETS,
    records::WorkerPhase,
    verdict::{Outcome, Verdict, WorkerResult},
};

/// The lines `run`, `schedule` if one has started it, `workers`, `samples`, `percentiles`, `tag sets` if there were too many, `drift` of a run of some minutes, and `report` if one was written.
pub(super) fn facts(verdict: &Verdict, style: &Style, report: Option<&str>) -> String {
    let lasted = Duration::try_from_secs_f64(verdict.duration_ms / 1000.0).unwrap_or_default();
    let mut facts = vec![
        ("run", format!("{}, {} after {}", verdict.run, verdict.status, format::duration(lasted))),
        ("workers", workers(verdict)),
        ("samples", samples(verdict)),
        ("percentiles", percentiles(verdict)),
    ];
    if let Some(origin) = &verdict.origin {
        facts.insert(1, ("schedule", origin.to_string()));
    }
    if let Some(folded) = folded(verdict) {
        facts.push(("tag sets", folded));
    }
    if let Some(drift) = drift(verdict) {
        facts.push(("drift", drift));
    }
    if let Some(report) = report {
        facts.push(("report", report.to_owned()));
    }
    let width = facts.iter().map(|(name, _)| name.len()).max().unwrap_or(0) + 4;
    let mut text = String::new();
    for (name, value) in facts {
        // Wrapped without colour first, so that only visible characters count.
        let dots = ".".repeat(width - name.len()) + ":";
        let plain = wrapped(&format!("{name}{dots} {value}"), 4, width + 6, style);
        text += &plain.replacen(&dots, &style.paint(FAINT, &dots), 1);
    }
    text
}

/// `11 of 12 finished, start skew p99 18ms; worker 7 did not`
fn workers(verdict: &Verdict) -> String {
    let finished = |worker: &&WorkerResult| worker.phase == Some(WorkerPhase::Closed) && worker.failure.is_none();
    let count = verdict.workers.iter().filter(finished).count();
    let mut text = format!("{count} of {} finished", verdict.planned_workers);
    if let Some(skew) = verdict.start_skew_p99_ms {
        text += &format!(", start skew p99 {}", format::milliseconds(skew, None));
    }
    let others: Vec<String> =
        verdict.workers.iter().filter(|w| !finished(w)).map(|w| w.index.number().to_string()).collect();
    if !others.is_empty() {
        let (numbers, more) = (others.iter().take(10).cloned().collect::<Vec<_>>().join(", "), others.len() > 10);
        let plural = if others.len() == 1 { "" } else { "s" };
        text += &format!("; worker{plural} {numbers}{} did not", if more { " …" } else { "" });
    }
    text
}

fn samples(verdict: &Verdict) -> String {
    let samples = &verdict.samples;
    let (read, merged) = (format::grouped(samples.read), format::grouped(samples.merged));
    let mut text = if samples.read == samples.merged {
        format!("{read} read = {merged} merged")
    } else {
        let apart = format::grouped(samples.read.abs_diff(samples.merged));
        let how = if samples.read > samples.merged { "missing" } else { "more than the workers say" };
        format!("{read} read ≠ {merged} merged: {apart} {how}")
    };
    let silent: Vec<&WorkerResult> = verdict.workers.iter().filter(|w| w.samples_read.is_none()).collect();
    match silent.as_slice() {
        [] => {}
        [worker] => text += &format!("; {} never said how many it read", worker.index),
        workers => text += &format!("; {} workers never said how many they read", workers.len()),
    }
    if samples.kind == Samples::Aggregated {
        text += ", aggregated by k6 each second";
    }
    if samples.refused > 0 {
        text += &format!("; {} of k6's output could not be read", plural(samples.refused, samples.kind.unit()));
    }
    if samples.lost_batches > 0 {
        text += &format!("; batches that k6 gave up: {}", format::grouped(samples.lost_batches));
    }
    if samples.unplaced > 0 {
        let count = format::grouped(samples.unplaced);
        text += &format!("; {count} are below 0 or huge, and no percentiles of these are known");
    }
    if samples.unwritten > 0 {
        text += &format!("; {} that k6 could not write", format::grouped(samples.unwritten));
    }
    text
}

/// Which samples are in every metric and sub-metric, but in no tag set of their own; none if all are in one.
pub fn folded(verdict: &Verdict) -> Option<String> {
    let samples = &verdict.samples;
    let count = format::grouped(samples.folded);
    let metrics = plural(samples.folded_metrics, "metric");
    let cap = format::grouped(MAX_TAG_SETS as u64);
    (samples.folded > 0).then(|| {
        format!("{count} samples of {metrics} are beyond the {cap} that a worker keeps apart; metrics are whole")
    })
}

/// What keeps tag sets few. Each URL is a tag set of nine metrics.
pub(super) const NAME_TAG_ADVICE: &str =
    "give requests whose URLs differ one name, as in http.get(url, { tags: { name: 'item' } })";

fn percentiles(verdict: &Verdict) -> String {
    let mut text = format!("±{}", error_bound(verdict.percentile_error));
    let inexact: Vec<String> = verdict
        .thresholds
        .iter()
        .filter(|t| !t.exact)
        .map(|t| format!("{} {}", t.key(), t.expression.trim()))
        .collect();
    // On an incomplete measurement nothing is decided.
    if verdict.outcome == Outcome::Invalid || verdict.thresholds.is_empty() {
        return text;
    }
    if verdict.samples.kind == Samples::Aggregated {
        return text + &too_close(verdict);
    }
    text += &match inexact.as_slice() {
        [] => "; thresholds decided exactly".to_owned(),
        some => format!("; not decided exactly: {}", some.join(", ")),
    };
    text
}

/// Of aggregated samples: which thresholds are too near to their limit.
fn too_close(verdict: &Verdict) -> String {
    let close = verdict.thresholds.iter().filter(|t| t.within_error);
    let close: Vec<String> = close.map(|t| format!("{} {}", t.key(), t.expression.trim())).collect();
    match close.as_slice() {
        [] => "; no threshold is that near to its limit".to_owned(),
        some => format!("; too close to call: {}", some.join(", ")),
    }
}

/// A relative error in percent, with two decimals: `0.05 %`.
pub fn error_bound(error: f64) -> String {
    format!("{:.2} %", error * 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::sample;

    #[test]
    fn samples_beyond_the_cap_are_told_with_the_number_of_their_metrics() {
        let mut verdict = sample::verdict();
        assert_eq!(folded(&verdict), None);
        (verdict.samples.folded, verdict.samples.folded_metrics) = (144_018, 9);
        let words = "144,018 samples of 9 metrics are beyond the 4,000 that a worker keeps apart; metrics are whole";
        assert_eq!(folded(&verdict).as_deref(), Some(words));
        assert!(facts(&verdict, &Style::default(), None).contains("tag sets.......: 144,018 samples of 9 metrics"));
    }

    #[test]
    fn aggregated_samples_say_what_they_cannot_tell() {
        let mut verdict = sample::verdict();
        verdict.samples.kind = Samples::Aggregated;
        verdict.percentile_error = Samples::Aggregated.percentile_error();
        verdict.thresholds.iter_mut().for_each(|threshold| threshold.exact = false);
        assert_eq!(percentiles(&verdict), "±0.78 %; no threshold is that near to its limit");
        verdict.thresholds[1].within_error = true;
        assert_eq!(percentiles(&verdict), "±0.78 %; too close to call: http_req_duration{name:cart} p(95)<600");
        (verdict.samples.unplaced, verdict.samples.lost_batches) = (1_204, 2);
        let words = "5,437,740 read = 5,437,740 merged, aggregated by k6 each second; batches that k6 gave up: 2; 1,204 are \
                     below 0 or huge, and no percentiles of these are known";
        assert_eq!(samples(&verdict), words);
    }

    #[test]
    fn a_threshold_that_is_not_decided_exactly_is_named() {
        let mut verdict = sample::verdict();
        verdict.thresholds[1].exact = false;
        assert_eq!(percentiles(&verdict), "±0.05 %; not decided exactly: http_req_duration{name:cart} p(95)<600");
    }
}
