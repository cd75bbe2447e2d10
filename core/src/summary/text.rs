//! The end-of-test summary as k6 prints it: thresholds, checks and metrics by section.

use super::{
    BAD, BOLD, GOOD, PLAIN, Style, format, groups, order, printable,
    table::{Cells, Row, Widths, assignment},
    trend_value,
};
use crate::{
    plan::{SummaryMode, TimeUnit},
    series::{Contains, Metric, MetricKind},
    verdict::{CheckSummary, MetricSummary, Summary, ThresholdResult, Values, Verdict},
};

/// What k6 prints at the end of a test (less the empty lines after it).
///
/// Two things differ where k6 itself is at odds: it shows no value for a threshold with `!=` or with a bare `p`; and it
/// lists checks by their first sample, which no merged result knows, where they stand here in the verdict's order.
pub fn k6_blocks(verdict: &Verdict, mode: SummaryMode, style: &Style) -> String {
    if mode == SummaryMode::Disabled {
        return String::new();
    }
    let mut text = "\n".to_owned();
    if !verdict.thresholds.is_empty() {
        text += &title("THRESHOLDS", style);
        text += &thresholds(verdict, style);
    }
    let whole = Part { verdict, metrics: &verdict.summary.metrics, checks: &verdict.summary.checks };
    let results = whole.results(mode, 0, style);
    if !results.is_empty() {
        text += &title("TOTAL RESULTS", style);
        text += &results;
    }
    if mode == SummaryMode::Full {
        text += &groups::blocks(verdict, style);
    }
    text
}

/// The title of a block.
pub(super) fn title(words: &str, style: &Style) -> String {
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

/// What has results of its own: the whole run, a group or a scenario.
pub(super) struct Part<'a> {
    /// Of which run.
    pub(super) verdict: &'a Verdict,
    /// Its metrics.
    pub(super) metrics: &'a [MetricSummary],
    /// Its checks.
    pub(super) checks: &'a [CheckSummary],
}

impl Part<'_> {
    /// Checks and metrics, `depth` groups deep.
    pub(super) fn results(&self, mode: SummaryMode, depth: usize, style: &Style) -> String {
        [self.checks(depth, style), self.sections(mode, depth, style)].concat()
    }

    fn checks(&self, depth: usize, style: &Style) -> String {
        let all = self.metrics.iter().find(|m| m.name == "checks" && m.suffix.is_none());
        let Some(MetricSummary { values: Values::Rate { rate, passes, fails }, .. }) = all else {
            return String::new();
        };
        let total = passes + fails;
        let seconds = self.verdict.duration_ms / 1000.0;
        let per_second = if seconds > 0.0 { total as f64 / seconds } else { 0.0 };
        let row = |name: &str, value, extra| Row {
            name: name.to_owned(),
            cells: Cells::Value { value, extras: vec![extra] },
        };
        let rows = [
            row("checks_total", total.to_string(), format!("{}/s", format::number(per_second))),
            row("checks_succeeded", format::percent(rate.0), format!("{passes} out of {total}")),
            row("checks_failed", format::percent(share(*fails, total)), format!("{fails} out of {total}")),
        ];
        let (widths, indent) = (Widths::of(&rows), indent(depth + 1));
        let mut text = String::new();
        for row in &rows {
            text += &format!("{indent}{}\n", widths.line(row, style));
        }
        text.push('\n');
        // k6 counts the depth twice here.
        let deeper = self::indent(2 * (depth + 1));
        for (name, passes, fails) in by_name(self.checks) {
            let name = printable(name);
            if fails == 0 {
                text += &format!("{indent}{}\n", style.paint(GOOD, &format!("✓ {name}")));
            } else {
                let share = passes.saturating_mul(100) / (passes + fails);
                text += &format!("{indent}{}\n", style.paint(BAD, &format!("✗ {name}")));
                let line = format!("↳  {share}% — ✓ {passes} / ✗ {fails}");
                text += &format!("{deeper}{}\n", style.paint(BAD, &line));
            }
        }
        text.push('\n');
        text
    }

    fn sections(&self, mode: SummaryMode, depth: usize, style: &Style) -> String {
        let metrics = listed(self.metrics, mode);
        let summary = &self.verdict.summary;
        let rows: Vec<(&str, Row)> = metrics.iter().map(|(section, m)| (*section, row(m, summary))).collect();
        let (widths, indent) = (Widths::of(rows.iter().map(|(_, row)| row)), indent(depth + 1));
        let mut text = String::new();
        for name in PRINTED {
            let mut lines = rows.iter().filter(|(section, _)| *section == name).peekable();
            if lines.peek().is_none() {
                continue;
            }
            text += &format!("{indent}{}\n", style.paint(BOLD, name));
            for (_, row) in lines {
                text += &format!("{indent}{}\n", widths.line(row, style));
            }
            text.push('\n');
        }
        text
    }
}

/// The space before a line of a block, or of what is `depth` deep in it.
pub(super) fn indent(depth: usize) -> String {
    "  ".repeat(depth + 1)
}

/// A share of a whole; 0 of nothing.
pub(super) fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

/// k6 adds up the checks of one name over all groups.
pub(super) fn by_name(checks: &[CheckSummary]) -> Vec<(&str, u64, u64)> {
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

/// The sections. A metric belongs where its name begins with one of the given texts; first match.
const SECTIONS: [(&str, &[&str]); 7] = [
    (
        "HTTP",
        &[
            "http_reqs",
            "http_req_failed",
            "http_req_duration",
            "http_req_blocked",
            "http_req_connecting",
            "http_req_tls_handshaking",
            "http_req_sending",
            "http_req_waiting",
            "http_req_receiving",
        ],
    ),
    ("EXECUTION", &["vus", "iterations", "iteration_duration", "dropped_iterations"]),
    ("NETWORK", &["data_sent", "data_received"]),
    ("WEB_VITALS", &["browser_web_vital_"]),
    ("BROWSER", &["browser_"]),
    ("GRPC", &["grpc_"]),
    ("WEBSOCKET", &["ws_"]),
];

/// In which order the sections are printed; [`SECTIONS`] has the narrower name first.
const PRINTED: [&str; 8] = ["CUSTOM", "HTTP", "EXECUTION", "NETWORK", "BROWSER", "WEB_VITALS", "GRPC", "WEBSOCKET"];

/// What no summary lists. These are beginnings of names too, so k6 hides a `checksum` of the script's own, and so do we.
const UNLISTED: [&str; 2] = ["checks", "group_duration"];

/// What only the full summary lists; likewise beginnings.
const ONLY_IN_FULL: [&str; 6] = [
    "http_req_blocked",
    "http_req_connecting",
    "http_req_receiving",
    "http_req_sending",
    "http_req_tls_handshaking",
    "http_req_waiting",
];

fn section(name: &str, mode: SummaryMode) -> Option<&'static str> {
    let begins_with = |beginnings: &[&str]| beginnings.iter().any(|b| name.starts_with(b));
    if begins_with(&UNLISTED) || (mode != SummaryMode::Full && begins_with(&ONLY_IN_FULL)) {
        return None;
    }
    Some(SECTIONS.iter().find(|(_, beginnings)| begins_with(beginnings)).map_or("CUSTOM", |(section, _)| section))
}

/// The metrics that a mode lists, each with its section, in k6's order of names.
pub(super) fn listed(metrics: &[MetricSummary], mode: SummaryMode) -> Vec<(&'static str, &MetricSummary)> {
    let mut listed: Vec<_> = metrics.iter().filter_map(|m| Some((section(&m.name, mode)?, m))).collect();
    listed.sort_by(|(_, a), (_, b)| {
        let by_name = order::compare(&a.name, &b.name);
        by_name.then_with(|| order::compare(suffix(a.suffix.as_ref()), suffix(b.suffix.as_ref())))
    });
    listed
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
