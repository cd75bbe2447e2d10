//! The end-of-test summary as k6 prints it: thresholds, checks and metrics by section.

use super::{
    BAD, BOLD, GOOD, PLAIN, Style, format, order, printable,
    table::{Cells, Row, Widths, assignment},
    trend_value,
};
use crate::{
    plan::TimeUnit,
    series::{Contains, Metric, MetricKind},
    verdict::{CheckSummary, MetricSummary, Summary, ThresholdResult, Values, Verdict},
};

/// What k6 prints at the end of a test (less the empty lines after it).
///
/// Two things differ where k6 itself is at odds: it shows no value for a threshold with `!=` or with a bare `p`; and it
/// lists checks by their first sample, which no merged result knows, where they stand here in the verdict's order.
pub fn k6_blocks(verdict: &Verdict, style: &Style) -> String {
    let mut text = "\n".to_owned();
    if !verdict.thresholds.is_empty() {
        text += &title("THRESHOLDS", style);
        text += &thresholds(verdict, style);
    }
    let results = [checks(verdict, style), sections(&verdict.summary, style)].concat();
    if !results.is_empty() {
        text += &title("TOTAL RESULTS", style);
        text += &results;
    }
    text
}

fn title(words: &str, style: &Style) -> String {
    format!("\n  █ {} \n\n", style.paint(BOLD, words))
}

fn thresholds(verdict: &Verdict, style: &Style) -> String {
    let mut sorted: Vec<&ThresholdResult> = verdict.thresholds.iter().collect();
    // Stable: several thresholds on one metric stay in the script's order.
    sorted.sort_by(|a, b| {
        order::compare(&a.metric, &b.metric)
            .then_with(|| order::compare(suffix(a.suffix.as_ref()), suffix(b.suffix.as_ref())))
    });
    let mut text = String::new();
    let mut parent = None;
    for block in sorted.chunk_by(|a, b| (&a.metric, &a.suffix) == (&b.metric, &b.suffix)) {
        let Some(first) = block.first() else { continue };
        let (metric, tags) = (printable(&first.metric), printable(suffix(first.suffix.as_ref())));
        let (heading, indent) = match &first.suffix {
            None => {
                parent = Some(&first.metric);
                (metric.into_owned(), "    ")
            }
            // A sub-metric stands below its metric if that has thresholds too.
            Some(_) if parent == Some(&first.metric) => (format!("{{{tags}}}"), "      "),
            Some(_) => (format!("{metric}{{{tags}}}"), "    "),
        };
        text += &format!("{indent}{heading}\n");
        for threshold in block {
            let mark = if threshold.passed { style.paint(GOOD, "✓") } else { style.paint(BAD, "✗") };
            let expression = format!("'{}'", printable(threshold.expression.trim()));
            let name = compared(&threshold.expression);
            let compared = assignment(name, &threshold_value(threshold, &verdict.summary), style);
            text += &format!("{indent}{mark} {} {compared}\n", style.paint(PLAIN, &expression));
        }
        text.push('\n');
    }
    text
}

/// A sub-metric's tags as k6 shows them.
fn suffix(suffix: Option<&String>) -> &str {
    suffix.map_or("", |tags| tags.trim())
}

/// The statistic that a threshold compares, as the script writes it.
fn compared(expression: &str) -> &str {
    expression.split(['<', '>', '=', '!']).next().unwrap_or_default().trim()
}

/// The value that a threshold compared, as k6 writes values of that metric.
pub fn threshold_value(threshold: &ThresholdResult, summary: &Summary) -> String {
    let declared = summary.metrics.iter().find(|m| m.name == threshold.metric).map(|m| (m.kind, m.contains));
    let built_in = || Metric::built_in(&threshold.metric).map(|m| (m.kind, m.contains));
    let (kind, contains) = declared.or_else(built_in).unwrap_or((MetricKind::Trend, Contains::Default));
    let value = threshold.value.map_or(0.0, |value| value.0);
    let written = format::value(value, contains, time_unit(summary));
    match kind {
        MetricKind::Rate => format::percent(value),
        MetricKind::Counter if compared(&threshold.expression) == "rate" => written + "/s",
        MetricKind::Counter | MetricKind::Gauge | MetricKind::Trend => written,
    }
}

fn checks(verdict: &Verdict, style: &Style) -> String {
    let all = verdict.summary.metrics.iter().find(|m| m.name == "checks" && m.suffix.is_none());
    let Some(MetricSummary { values: Values::Rate { rate, passes, fails }, .. }) = all else { return String::new() };
    let total = passes + fails;
    let seconds = verdict.duration_ms / 1000.0;
    let per_second = if seconds > 0.0 { total as f64 / seconds } else { 0.0 };
    let failed = if total == 0 { 0.0 } else { *fails as f64 / total as f64 };
    let row =
        |name: &str, value, extra| Row { name: name.to_owned(), cells: Cells::Value { value, extras: vec![extra] } };
    let rows = [
        row("checks_total", total.to_string(), format!("{}/s", format::number(per_second))),
        row("checks_succeeded", format::percent(rate.0), format!("{passes} out of {total}")),
        row("checks_failed", format::percent(failed), format!("{fails} out of {total}")),
    ];
    let widths = Widths::of(&rows);
    let mut text = String::new();
    for row in &rows {
        text += &format!("    {}\n", widths.line(row, style));
    }
    text.push('\n');
    for (name, passes, fails) in by_name(&verdict.summary.checks) {
        let name = printable(name);
        if fails == 0 {
            text += &format!("    {}\n", style.paint(GOOD, &format!("✓ {name}")));
        } else {
            let share = passes.saturating_mul(100) / (passes + fails);
            text += &format!("    {}\n", style.paint(BAD, &format!("✗ {name}")));
            text += &format!("      {}\n", style.paint(BAD, &format!("↳  {share}% — ✓ {passes} / ✗ {fails}")));
        }
    }
    text.push('\n');
    text
}

/// k6 adds up the checks of one name over all groups.
fn by_name(checks: &[CheckSummary]) -> Vec<(&str, u64, u64)> {
    let mut names: Vec<(&str, u64, u64)> = Vec::new();
    for check in checks {
        match names.iter_mut().find(|(name, ..)| *name == check.name) {
            Some((_, passes, fails)) => {
                *passes += check.passes;
                *fails += check.fails;
            }
            None => names.push((&check.name, check.passes, check.fails)),
        }
    }
    names
}

/// The sections in k6's order. A metric belongs where its name begins with one of the given texts; first match.
const SECTIONS: [(&str, &[&str]); 7] = [
    ("HTTP", &["http_req_duration", "http_req_failed", "http_reqs"]),
    ("EXECUTION", &["vus", "iterations", "iteration_duration", "dropped_iterations"]),
    ("NETWORK", &["data_sent", "data_received"]),
    ("WEB_VITALS", &["browser_web_vital_"]),
    ("BROWSER", &["browser_"]),
    ("GRPC", &["grpc_"]),
    ("WEBSOCKET", &["ws_"]),
];

/// In which order the sections are printed; [`SECTIONS`] has the narrower name first.
const PRINTED: [&str; 8] = ["CUSTOM", "HTTP", "EXECUTION", "NETWORK", "BROWSER", "WEB_VITALS", "GRPC", "WEBSOCKET"];

/// What the compact summary does not list. These are beginnings of names too, so k6 hides a `checksum` of the script's
/// own, and so do we.
const UNLISTED: [&str; 8] = [
    "checks",
    "group_duration",
    "http_req_blocked",
    "http_req_connecting",
    "http_req_receiving",
    "http_req_sending",
    "http_req_tls_handshaking",
    "http_req_waiting",
];

fn section(name: &str) -> Option<&'static str> {
    if UNLISTED.iter().any(|beginning| name.starts_with(beginning)) {
        return None;
    }
    let found = SECTIONS.iter().find(|(_, beginnings)| beginnings.iter().any(|b| name.starts_with(b)));
    Some(found.map_or("CUSTOM", |(section, _)| section))
}

fn sections(summary: &Summary, style: &Style) -> String {
    let mut metrics: Vec<&MetricSummary> = summary.metrics.iter().filter(|m| section(&m.name).is_some()).collect();
    metrics.sort_by(|a, b| {
        let by_name = order::compare(&a.name, &b.name);
        by_name.then_with(|| order::compare(suffix(a.suffix.as_ref()), suffix(b.suffix.as_ref())))
    });
    let rows: Vec<(Option<&str>, Row)> = metrics.iter().map(|m| (section(&m.name), row(m, summary))).collect();
    let widths = Widths::of(rows.iter().map(|(_, row)| row));
    let mut text = String::new();
    for name in PRINTED {
        let mut lines = rows.iter().filter(|(section, _)| *section == Some(name)).peekable();
        if lines.peek().is_none() {
            continue;
        }
        text += &format!("    {}\n", style.paint(BOLD, name));
        for (_, row) in lines {
            text += &format!("    {}\n", widths.line(row, style));
        }
        text.push('\n');
    }
    text
}

fn row(metric: &MetricSummary, summary: &Summary) -> Row {
    let unit = time_unit(summary);
    let value = |value: f64| format::value(value, metric.contains, unit);
    let cells = match &metric.values {
        Values::Trend { .. } => Cells::Statistics(
            summary.trend_stats.iter().map(|stat| (stat.clone(), statistic(metric, stat, unit))).collect(),
        ),
        Values::Counter { count, rate } => Cells::Value { value: value(count.0), extras: vec![value(rate.0) + "/s"] },
        Values::Gauge { value: last, min, max } => {
            let extras = vec![format!("min={}", value(min.0)), format!("max={}", value(max.0))];
            Cells::Value { value: value(last.0), extras }
        }
        Values::Rate { rate, passes, fails } => {
            Cells::Value { value: format::percent(rate.0), extras: vec![format!("{passes} out of {}", passes + fails)] }
        }
    };
    let name = match &metric.suffix {
        Some(tags) => format!("  {{ {} }}", printable(tags.trim())),
        None => printable(&metric.name).into_owned(),
    };
    Row { name, cells }
}

/// One statistic of a trend in k6's writing; `–` for one that the verdict does not have.
pub fn statistic(metric: &MetricSummary, stat: &str, unit: Option<TimeUnit>) -> String {
    match trend_value(&metric.values, stat) {
        Some(count) if stat == "count" => format::number(count),
        Some(value) => format::value(value, metric.contains, unit),
        None => "–".to_owned(),
    }
}

/// The unit that the script or the user wants all times in.
pub fn time_unit(summary: &Summary) -> Option<TimeUnit> {
    summary.time_unit.as_deref().and_then(TimeUnit::parse)
}
