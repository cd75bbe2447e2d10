//! What the script's own `handleSummary()` is given, and the script that calls it in a stock k6.

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::export::{id, key, number, numbers};
use crate::{
    archive::{ArchiveError, Wrapped, wrap},
    verdict::{CheckSummary, MetricSummary, Outcome, Summary, Verdict},
};

/// What `handleSummary()` is told of where its text will be shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Terminal {
    /// Whether nobody wants colours.
    pub no_color: bool,
    /// Whether standard output is a terminal.
    pub stdout: bool,
    /// Whether standard error is one.
    pub stderr: bool,
}

/// The archive of a k6 that calls the script's `handleSummary()` with `input`, and prints what
/// [`Handled::read`](super::Handled::read) reads. `setup_data` is the JSON that `setup()` returned, if it returned
/// anything.
pub fn summarizing(archive: &[u8], input: &Value, setup_data: Option<&[u8]>) -> Result<Wrapped, ArchiveError> {
    let data = literal(&input.to_string());
    let setup_data = setup_data.map_or("null".to_owned(), |json| literal(&String::from_utf8_lossy(json)));
    wrap(archive, |script, own| {
        format!(
            "import * as script from {};\nconst own = {};\nconst data = {data};\nconst setupData = {setup_data};\n{}",
            literal(script),
            literal(own),
            include_str!("handle_summary.js"),
        )
    })
}

/// A text as JavaScript's source has it.
fn literal(text: &str) -> String {
    // In JSON all line ends but these two are escaped.
    Value::from(text).to_string().replace('\u{2028}', "\\u2028").replace('\u{2029}', "\\u2029")
}

/// The merged result in the shape that k6 gives to `handleSummary()`, but for `setup_data`.
///
/// Of a measurement that cannot be believed no threshold is `ok`: k6's shape has no third answer, and what a script
/// makes of it must not read as a pass.
pub fn handle_summary_input(verdict: &Verdict, terminal: Terminal) -> Value {
    let summary = &verdict.summary;
    let metrics: Map<String, Value> = summary.metrics.iter().map(|m| (key(m), metric(m, verdict))).collect();
    json!({
        "root_group": root_group(summary),
        "options": {
            "summaryTrendStats": summary.trend_stats,
            "summaryTimeUnit": summary.time_unit.as_deref().unwrap_or_default(),
            "noColor": terminal.no_color,
        },
        "state": {
            "isStdOutTTY": terminal.stdout,
            "isStdErrTTY": terminal.stderr,
            "testRunDurationMs": verdict.duration_ms,
        },
        "metrics": metrics,
    })
}

fn metric(metric: &MetricSummary, verdict: &Verdict) -> Value {
    let mut entry = json!({
        "type": metric.kind,
        "contains": metric.contains,
        "values": values(metric, &verdict.summary),
    });
    let believed = verdict.outcome != Outcome::Invalid;
    let on_it = verdict.thresholds.iter().filter(|t| t.metric == metric.name && t.suffix == metric.suffix);
    let thresholds: Map<String, Value> =
        on_it.map(|t| (t.expression.clone(), json!({ "ok": t.passed && believed }))).collect();
    if !thresholds.is_empty() {
        entry["thresholds"] = thresholds.into();
    }
    entry
}

/// Numbers; those that JSON does not have in JavaScript's words.
fn values(metric: &MetricSummary, summary: &Summary) -> Map<String, Value> {
    let number = |value: f64| match value {
        value if value.is_finite() => number(value),
        value if value.is_nan() => "NaN".into(),
        value if value > 0.0 => "Infinity".into(),
        _ => "-Infinity".into(),
    };
    let known = numbers(metric, summary).into_iter().filter_map(|(name, value)| Some((name, value?)));
    known.map(|(name, value)| (name.to_owned(), number(value))).collect()
}

/// A group with its id, and lists in the order in which things were first seen.
#[derive(Serialize)]
struct Group {
    name: String,
    path: String,
    id: String,
    groups: Vec<Group>,
    checks: Vec<Check>,
}

#[derive(Serialize)]
struct Check {
    name: String,
    path: String,
    id: String,
    passes: u64,
    fails: u64,
}

impl Group {
    fn new(name: &str, path: String) -> Self {
        Self { name: name.to_owned(), id: id(&path), path, groups: Vec::new(), checks: Vec::new() }
    }

    /// The group of that path below this one, which is made if it is not there.
    fn place(&mut self, path: &str) -> &mut Self {
        path.split("::").skip(1).fold(self, |group, name| {
            let found = group.groups.iter().position(|inner| inner.name == name);
            let position = found.unwrap_or(group.groups.len());
            if found.is_none() {
                group.groups.push(Self::new(name, format!("{}::{name}", group.path)));
            }
            &mut group.groups[position]
        })
    }
}

fn root_group(summary: &Summary) -> Group {
    let mut root = Group::new("", String::new());
    for path in &summary.group_paths {
        root.place(path);
    }
    for CheckSummary { group, name, passes, fails } in &summary.checks {
        let place = root.place(group);
        let path = format!("{}::{name}", place.path);
        place.checks.push(Check { name: name.clone(), id: id(&path), path, passes: *passes, fails: *fails });
    }
    root
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{number::Number, testing::sample, verdict::Values};

    #[test]
    fn an_unbelievable_threshold_is_not_ok() {
        let believed = |verdict: &Verdict| {
            let input = handle_summary_input(verdict, Terminal::default());
            let thresholds = input["metrics"]["http_req_duration{name:cart}"]["thresholds"].as_object().cloned();
            thresholds.expect("has thresholds").values().all(|threshold| threshold["ok"] == true)
        };
        assert!(believed(&sample::verdict()));
        assert!(sample::incomplete().thresholds.iter().all(|t| t.passed));
        assert!(!believed(&sample::incomplete()));
    }

    #[test]
    fn infinities_are_words_that_javascript_reads() {
        let mut verdict = sample::verdict();
        let metric = &mut verdict.summary.metrics[0];
        let (name, values) = (key(metric), Values::Counter { count: Number(f64::NEG_INFINITY), rate: Number(1.5) });
        metric.values = values;
        let input = handle_summary_input(&verdict, Terminal::default());
        assert_eq!(input["metrics"][name]["values"], json!({ "count": "-Infinity", "rate": 1.5 }));
    }

    #[test]
    fn no_text_ends_its_literal() {
        assert_eq!(literal("a\"b\\\n\u{2028}</script>"), r#""a\"b\\\n\u2028</script>""#);
    }
}
