//! The charts of a run.

use lambdaload_core::{
    timeline::{Slice, Timeline},
    verdict::Verdict,
};

use super::{
    axis::Unit,
    chart::{Chart, Line, TimeAxis},
};

/// A chart with what is said about it.
pub(super) struct Figure {
    /// What it shows.
    pub(super) title: &'static str,
    /// Where it is highest.
    pub(super) peak: String,
    /// Names of its lines; none where the title says it.
    pub(super) lines: Vec<&'static str>,
    /// The drawing. It is made of numbers and fixed words only, so the page takes it as it is.
    pub(super) svg: String,
}

/// All charts that have something to show.
pub(super) fn figures(verdict: &Verdict, timeline: &Timeline) -> anyhow::Result<Vec<Figure>> {
    let time = TimeAxis {
        slice_seconds: f64::from(timeline.slice_seconds.max(1)),
        slices: timeline.slices.len(),
        marks: verdict.thresholds.iter().filter_map(|t| t.first_crossed_ms).map(|ms| ms as f64 / 1000.0).collect(),
    };
    let charts = charts(verdict, timeline).into_iter().filter(Chart::has_values);
    let figures = charts.map(|chart| {
        let lines = if chart.lines.len() > 1 { chart.lines.iter().map(|line| line.name).collect() } else { Vec::new() };
        let peak = chart.peak(&time).unwrap_or_default();
        Ok(Figure { title: chart.title, peak, lines, svg: chart.draw(&time)? })
    });
    figures.collect()
}

fn charts(verdict: &Verdict, timeline: &Timeline) -> Vec<Chart> {
    let line = |name, value: fn(&Slice) -> Option<f64>| {
        let finite = |slice| value(slice).filter(|value| value.is_finite());
        Line { name, values: timeline.slices.iter().map(finite).collect() }
    };
    let chart = |title, unit, lines| Chart { title, unit, lines };
    let http = verdict.summary.metrics.iter().any(|m| m.name == "http_req_duration");
    let latency = vec![line("p50", |s| s.p50), line("p95", |s| s.p95), line("p99", |s| s.p99)];
    let mut charts = vec![chart(if http { "Response time" } else { "Iteration time" }, Unit::Milliseconds, latency)];
    if http {
        charts.push(chart("Requests per second", Unit::PerSecond, vec![line("", |s| Some(s.requests_per_second))]));
        charts.push(chart("Failed requests", Unit::Percent, vec![line("", |s| Some(s.failed_rate? * 100.0))]));
    }
    charts.push(chart("Failed checks", Unit::Percent, vec![line("", |s| Some((1.0 - s.checks_rate?) * 100.0))]));
    charts.push(chart("Iterations per second", Unit::PerSecond, vec![line("", |s| Some(s.iterations_per_second))]));
    charts.push(chart("Virtual users", Unit::Things, vec![line("", |s| Some(s.vus))]));
    charts
}
