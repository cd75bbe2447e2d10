//! The page: what is shown, in the words and numbers in which it is shown. The template only arranges it.

use anyhow::Context as _;
use askama::Template;
use jiff::Timestamp;
use lambdaload_core::{
    plan::{Samples, plural},
    ports,
    summary::{crossing, drift, error_bound, folded, format, headline, next_steps, text},
    timeline::Timeline,
    verdict::{MetricSummary, Outcome, ReasonCode, Values, Verdict},
};

use super::{
    chart::view_box,
    figure::{Figure, figures},
    tables::{
        Check, Drift, MetricTable, Missing, Threshold, Worker, checks, counted, drifts, missing, other_metrics,
        thresholds, trends, workers,
    },
};

/// Up to so many workers are shown without being asked for.
const OPEN_WORKERS: usize = 32;

/// The page.
#[derive(Template)]
#[template(path = "report.html")]
struct Page<'a> {
    verdict: &'a Verdict,
    /// A class of the style sheet: `passed`, `failed`, `none` or `invalid`.
    outcome: &'static str,
    headline: String,
    subtitle: String,
    reasons: Vec<Named>,
    next_steps: Vec<&'a str>,
    tiles: Vec<Named>,
    figures: Vec<Figure>,
    view_box: String,
    crossings: bool,
    drift: Option<String>,
    drifts: Vec<Drift>,
    thresholds: Vec<Threshold<'a>>,
    trends: Option<MetricTable>,
    others: Vec<MetricTable>,
    error_bound: String,
    checks: Vec<Check<'a>>,
    workers: Vec<Worker<'a>>,
    finished: usize,
    workers_open: bool,
    missing: Vec<Missing<'a>>,
    facts: Vec<Named>,
}

/// A value and what it is.
struct Named {
    name: String,
    value: String,
}

impl Named {
    fn new(name: impl Into<String>, value: impl Into<String>) -> Self {
        Self { name: name.into(), value: value.into() }
    }
}

/// Makes the report of a run: a page that loads nothing and runs nothing. Without slices it has no charts.
pub(crate) fn render_html(verdict: &Verdict, timeline: &Timeline) -> anyhow::Result<String> {
    let workers = workers(verdict);
    let page = Page {
        verdict,
        outcome: match verdict.outcome {
            Outcome::Passed => "passed",
            Outcome::Failed => "failed",
            Outcome::NoThresholds => "none",
            Outcome::Invalid => "invalid",
        },
        headline: headline(verdict),
        subtitle: subtitle(verdict),
        reasons: reasons(verdict),
        next_steps: next_steps(verdict),
        tiles: tiles(verdict),
        figures: figures(verdict, timeline)?,
        view_box: view_box(),
        crossings: verdict.thresholds.iter().any(|t| t.first_crossed_ms.is_some()),
        drift: drift::drift(verdict),
        drifts: drifts(verdict),
        thresholds: thresholds(verdict),
        trends: trends(verdict),
        others: other_metrics(verdict),
        error_bound: error_bound(verdict.percentile_error),
        checks: checks(verdict),
        finished: workers.iter().filter(|worker| worker.well).count(),
        workers_open: workers.len() <= OPEN_WORKERS,
        workers,
        missing: missing(verdict),
        facts: facts(verdict),
    };
    page.render().context("the page of the report cannot be made")
}

fn subtitle(verdict: &Verdict) -> String {
    let workers = plural(u64::from(verdict.planned_workers), "worker");
    let when = utc(verdict.started_at.unwrap_or(verdict.created_at));
    format!("{when} · {} · {workers} · k6 {}", lasted(verdict), verdict.k6_version)
}

fn reasons(verdict: &Verdict) -> Vec<Named> {
    // On an incomplete measurement no threshold is decided, so none is a reason.
    let crossed = verdict.thresholds.iter().filter(|t| !t.passed && verdict.outcome != Outcome::Invalid);
    let crossed = crossed.map(|t| Named::new(format!("{} {}", t.key(), t.expression.trim()), crossing(t, verdict)));
    let others = verdict.reasons.iter().filter(|r| r.code != ReasonCode::ThresholdCrossed);
    crossed.chain(others.map(|r| Named::new("", r.message.as_str()))).collect()
}

/// The numbers that people ask for first.
fn tiles(verdict: &Verdict) -> Vec<Named> {
    let unit = text::time_unit(&verdict.summary);
    let find = |name: &str| verdict.summary.metrics.iter().find(|m| m.name == name && m.suffix.is_none());
    let mut tiles = Vec::new();
    let latency = find("http_req_duration").map(|m| (m, "response time"));
    if let Some((metric, what)) = latency.or_else(|| find("iteration_duration").map(|m| (m, "iteration time"))) {
        tiles.push(Named::new(format!("{what} p50"), text::statistic(metric, "med", unit)));
        tiles.push(Named::new(format!("{what} p95"), text::statistic(metric, "p(95)", unit)));
    }
    for (name, things) in [("http_reqs", "requests"), ("iterations", "iterations")] {
        if let Some(MetricSummary { values: Values::Counter { count, rate }, .. }) = find(name) {
            let per_second = format::number((rate.0 * 10.0).round() / 10.0);
            tiles.push(Named::new(format!("{things}, {per_second}/s"), counted(count.0)));
        }
    }
    for (name, what) in [("http_req_failed", "requests failed"), ("checks", "checks held")] {
        if let Some(MetricSummary { values: Values::Rate { rate, .. }, .. }) = find(name) {
            tiles.push(Named::new(what, format::percent(rate.0)));
        }
    }
    if let Some(MetricSummary { values: Values::Gauge { max, .. }, .. }) = find("vus") {
        tiles.push(Named::new("VUs at most", counted(max.0)));
    }
    tiles
}

fn facts(verdict: &Verdict) -> Vec<Named> {
    let samples = &verdict.samples;
    let mut facts = vec![
        Named::new("run", verdict.run.as_str()),
        Named::new("status", format!("{}, exit code {}", verdict.status, verdict.exit_code)),
        Named::new("script", verdict.script.as_str()),
    ];
    if let Some(note) = &verdict.note {
        facts.push(Named::new("note", note.as_str()));
    }
    if !verdict.tags.is_empty() {
        let tags: Vec<String> = verdict.tags.iter().map(|(key, value)| format!("{key}={value}")).collect();
        facts.push(Named::new("tags", tags.join(", ")));
    }
    let (size, files) = (format::bytes(verdict.archive.size as f64), plural(u64::from(verdict.archive.files), "file"));
    facts.push(Named::new("archive", format!("{} ({size}, {files})", verdict.archive.hash)));
    facts.push(Named::new("recorded", utc(verdict.created_at)));
    facts.extend(verdict.started_at.map(|at| Named::new("started", utc(at))));
    facts.extend(verdict.ended_at.map(|at| Named::new("ended", utc(at))));
    facts.push(Named::new("lasted", lasted(verdict)));
    let (read, merged) = (format::grouped(samples.read), format::grouped(samples.merged));
    let how = if samples.kind == Samples::Aggregated { ", aggregated by k6 each second" } else { "" };
    facts.push(Named::new("samples", format!("{read} read by the workers, {merged} merged{how}")));
    let unread = format!("{}s of k6's output could not be read", samples.kind.unit());
    for (count, what) in [
        (samples.refused, unread.as_str()),
        (samples.before_start, "VU gauges from before the start left out, as a single k6 would not have written them"),
        (samples.unwritten, "samples that k6 says it could not write"),
        (samples.lost_batches, "batches of aggregated samples that k6 gave up"),
        (samples.unplaced, "aggregated samples below 0 or huge, of which no percentiles are known"),
    ] {
        if count > 0 {
            facts.push(Named::new("", format!("{} {what}", format::grouped(count))));
        }
    }
    facts.extend(folded(verdict).map(|folded| Named::new("tag sets", folded)));
    if let Some(skew) = verdict.start_skew_p99_ms {
        facts.push(Named::new("start skew", format!("p99 {} over workers", format::milliseconds(skew, None))));
    }
    facts.push(Named::new("k6", verdict.k6_version.to_string()));
    facts.push(Named::new("lambdaload", verdict.lambdaload_version.as_str()));
    facts
}

fn lasted(verdict: &Verdict) -> String {
    format::milliseconds(verdict.duration_ms, None)
}

fn utc(at: ports::Timestamp) -> String {
    let time = Timestamp::from_microsecond(at.0).map(|time| time.strftime("%Y-%m-%d %H:%M:%S UTC").to_string());
    time.unwrap_or_else(|_| "at no time".to_owned())
}
