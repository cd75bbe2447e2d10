//! The tables of the page.

use std::time::Duration;

use lambdaload_core::{
    plan::TimeUnit,
    records::WorkerPhase,
    series::Contains,
    summary::{compared_value, drift, format, text},
    verdict::{CheckSummary, MetricSummary, Slope, ThresholdResult, Values, Verdict, WorkerResult},
};

/// What stands for a value that there is not.
const NOTHING: &str = "–";

/// A threshold.
pub(super) struct Threshold<'a> {
    /// The result.
    pub(super) result: &'a ThresholdResult,
    /// Its metric or sub-metric.
    pub(super) key: String,
    /// What was compared.
    pub(super) value: String,
    /// When it was first seen not to hold.
    pub(super) first_crossed: String,
}

/// How a metric changed over time.
pub(super) struct Drift {
    /// What of which metric.
    pub(super) name: String,
    /// How much in an hour, at least and at most.
    pub(super) low: String,
    pub(super) high: String,
    /// The values at the beginning and at the end.
    pub(super) from: String,
    pub(super) to: String,
    /// Whether that is a drift.
    pub(super) drifts: bool,
}

/// All metrics of one type.
pub(super) struct MetricTable {
    /// The type, in plural.
    pub(super) title: &'static str,
    /// Names of the columns.
    pub(super) columns: Vec<String>,
    /// The metrics, each sub-metric behind its metric.
    pub(super) rows: Vec<MetricRow>,
}

/// A metric.
pub(super) struct MetricRow {
    /// Its name, or the tags of a sub-metric.
    pub(super) name: String,
    /// Whether it is a sub-metric.
    pub(super) is_part: bool,
    /// Its values.
    pub(super) cells: Vec<String>,
}

/// A check.
pub(super) struct Check<'a> {
    /// The names of its groups, outermost first.
    pub(super) group: String,
    /// Its name.
    pub(super) name: &'a str,
    /// How often it held.
    pub(super) passes: String,
    /// How often it did not.
    pub(super) fails: String,
    /// Share of the times it held.
    pub(super) share: String,
    /// Whether it always held.
    pub(super) well: bool,
}

/// A worker.
pub(super) struct Worker<'a> {
    /// Its number, from 1.
    pub(super) number: u32,
    /// How far it came, in a word.
    pub(super) came: &'static str,
    /// Whether it ended in order.
    pub(super) well: bool,
    /// How far its start was from the common one.
    pub(super) skew: String,
    /// Samples that it read.
    pub(super) read: String,
    /// Samples that were merged.
    pub(super) merged: String,
    /// What went wrong, and how k6 ended.
    pub(super) message: String,
    /// k6's own messages.
    pub(super) log: &'a [String],
}

/// A series of which samples are missing.
pub(super) struct Missing<'a> {
    /// The worker's number, from 1.
    pub(super) worker: u32,
    /// The series.
    pub(super) series: &'a str,
    /// Samples that the worker says it read.
    pub(super) read: String,
    /// Samples that were merged.
    pub(super) merged: String,
}

pub(super) fn drifts(verdict: &Verdict) -> Vec<Drift> {
    let slopes = verdict.drift.iter().flat_map(|drift| &drift.slopes);
    let drift_of = |slope: &Slope| {
        let end = |value: f64| if value.is_finite() { drift::change(value, slope) } else { NOTHING.to_owned() };
        let (from, to) = drift::ends(slope);
        let (low, high) = (end(slope.low.0), end(slope.high.0));
        Drift { name: drift::name(slope), low, high, from, to, drifts: slope.drifts }
    };
    slopes.map(drift_of).collect()
}

/// The thresholds in the script's order.
pub(super) fn thresholds(verdict: &Verdict) -> Vec<Threshold<'_>> {
    let shown = |result| Threshold {
        result,
        key: result.key(),
        value: compared_value(result, verdict),
        first_crossed: result
            .first_crossed_ms
            .map_or(NOTHING.to_owned(), |ms| format::duration(Duration::from_millis(ms))),
    };
    verdict.thresholds.iter().map(shown).collect()
}

/// The trends; none where the run has none.
pub(super) fn trends(verdict: &Verdict) -> Option<MetricTable> {
    let stats = trend_stats(verdict);
    metric_table("Trends", &stats, verdict, |metric, unit| {
        let Values::Trend { count, .. } = metric.values else { return None };
        let cell = |stat: &&str| match *stat {
            "count" => format::grouped(count),
            stat => text::statistic(metric, stat, unit),
        };
        Some(stats.iter().map(cell).collect())
    })
}

/// Rates, counters and gauges, as far as the run has them.
pub(super) fn other_metrics(verdict: &Verdict) -> Vec<MetricTable> {
    let rates = metric_table("Rates", &["share", "non-zero"], verdict, |metric, _| match metric.values {
        Values::Rate { rate, passes, fails } => {
            let of_all = format!("{} of {}", format::grouped(passes), format::grouped(passes + fails));
            Some(vec![format::percent(rate.0), of_all])
        }
        _ => None,
    });
    let counters = metric_table("Counters", &["sum", "per second"], verdict, |metric, unit| match metric.values {
        Values::Counter { count, rate } if metric.contains == Contains::Default => {
            Some(vec![counted(count.0), format!("{}/s", format::number(rate.0))])
        }
        Values::Counter { count, rate } => {
            let value = |value| format::value(value, metric.contains, unit);
            Some(vec![value(count.0), format!("{}/s", value(rate.0))])
        }
        _ => None,
    });
    let gauges = metric_table("Gauges", &["last", "min", "max"], verdict, |metric, unit| match metric.values {
        Values::Gauge { value, min, max } => {
            Some([value, min, max].map(|value| format::value(value.0, metric.contains, unit)).to_vec())
        }
        _ => None,
    });
    [rates, counters, gauges].into_iter().flatten().collect()
}

/// The metrics for which there are `cells`.
fn metric_table(
    title: &'static str,
    columns: &[&str],
    verdict: &Verdict,
    cells: impl Fn(&MetricSummary, Option<TimeUnit>) -> Option<Vec<String>>,
) -> Option<MetricTable> {
    let unit = text::time_unit(&verdict.summary);
    let row = |metric: &MetricSummary| {
        let name = metric.suffix.as_ref().map_or_else(|| metric.name.clone(), |tags| format!("{{ {} }}", tags.trim()));
        Some(MetricRow { name, is_part: metric.suffix.is_some(), cells: cells(metric, unit)? })
    };
    let rows: Vec<MetricRow> = verdict.summary.metrics.iter().filter_map(row).collect();
    let columns = columns.iter().map(|name| (*name).to_owned()).collect();
    (!rows.is_empty()).then_some(MetricTable { title, columns, rows })
}

/// A sum: whole ones with their thousands apart.
pub(super) fn counted(sum: f64) -> String {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "whole, positive and below 2^53")]
    if sum.fract() == 0.0 && (0.0..9e15).contains(&sum) { format::grouped(sum as u64) } else { format::number(sum) }
}

/// What the script asked for, and the count and the 99th percentile whether it did or not.
fn trend_stats(verdict: &Verdict) -> Vec<&str> {
    let asked = verdict.summary.trend_stats.iter().map(String::as_str).filter(|stat| *stat != "count");
    let mut stats: Vec<&str> = ["count"].into_iter().chain(asked).collect();
    if !stats.contains(&"p(99)") {
        stats.push("p(99)");
    }
    stats
}

/// The checks by group.
pub(super) fn checks(verdict: &Verdict) -> Vec<Check<'_>> {
    verdict.summary.checks.iter().map(check).collect()
}

fn check(check: &CheckSummary) -> Check<'_> {
    let total = check.passes + check.fails;
    let share = if total == 0 { 0.0 } else { check.passes as f64 / total as f64 };
    Check {
        group: check.group.split("::").skip(1).collect::<Vec<_>>().join(" › "),
        name: &check.name,
        passes: format::grouped(check.passes),
        fails: format::grouped(check.fails),
        share: format::percent(share),
        well: check.fails == 0,
    }
}

/// The workers by number.
pub(super) fn workers(verdict: &Verdict) -> Vec<Worker<'_>> {
    verdict.workers.iter().map(worker).collect()
}

fn worker(worker: &WorkerResult) -> Worker<'_> {
    let failure = worker.failure.as_ref();
    let well = failure.is_none() && worker.phase == Some(WorkerPhase::Closed);
    let message = failure.map_or_else(String::new, |failure| match failure.exit {
        Some(exit) => format!("{}; k6 {}", failure.message, exit.meaning()),
        None => failure.message.clone(),
    });
    Worker {
        number: worker.index.number(),
        came: match worker.phase {
            Some(WorkerPhase::Closed) if well => "finished",
            Some(WorkerPhase::Closed) => "failed",
            Some(WorkerPhase::Ended) => "lost at its end",
            Some(WorkerPhase::Running) => "lost while it ran",
            Some(WorkerPhase::Claimed | WorkerPhase::Ready) => "never started",
            None => "never came",
        },
        well,
        skew: worker.skew_ms.map_or(NOTHING.to_owned(), |skew| format::milliseconds(skew, None)),
        read: worker.samples_read.map_or(NOTHING.to_owned(), format::grouped),
        merged: format::grouped(worker.samples_merged),
        message,
        log: failure.map_or(&[], |failure| failure.log.as_slice()),
    }
}

/// The series with missing samples that the verdict names.
pub(super) fn missing(verdict: &Verdict) -> Vec<Missing<'_>> {
    let shown = verdict.samples.missing.iter().map(|series| Missing {
        worker: series.worker.number(),
        series: &series.series,
        read: format::grouped(series.read),
        merged: format::grouped(series.merged),
    });
    shown.collect()
}
