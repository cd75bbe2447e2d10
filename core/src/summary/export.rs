//! The document of k6's `--summary-export`, for the scripts and dashboards that read it.

use std::fmt::Write as _;

use md5::{Digest as _, Md5};
use serde_json::{Map, Value, json};

use super::trend_value;
use crate::verdict::{MetricSummary, Summary, Values, Verdict};

/// The merged result in the shape that k6 gives to `--summary-export`.
///
/// As there, the value of a threshold says whether it was *crossed*. What `setup()` returned is not in it.
pub fn summary_export(verdict: &Verdict) -> Value {
    let metrics: Map<String, Value> = verdict.summary.metrics.iter().map(|m| entry(m, verdict)).collect();
    json!({ "metrics": metrics, "root_group": root_group(&verdict.summary) })
}

fn entry(metric: &MetricSummary, verdict: &Verdict) -> (String, Value) {
    let mut values = values(metric, &verdict.summary);
    let on_it = verdict.thresholds.iter().filter(|t| t.metric == metric.name && t.suffix == metric.suffix);
    let thresholds: Map<String, Value> = on_it.map(|t| (t.expression.clone(), Value::Bool(!t.passed))).collect();
    if !thresholds.is_empty() {
        values.insert("thresholds".to_owned(), thresholds.into());
    }
    (key(metric), values.into())
}

/// A metric or sub-metric as k6's documents name it.
pub(super) fn key(metric: &MetricSummary) -> String {
    match &metric.suffix {
        Some(tags) => format!("{}{{{}}}", metric.name, tags.trim()),
        None => metric.name.clone(),
    }
}

fn values(metric: &MetricSummary, summary: &Summary) -> Map<String, Value> {
    let named = |(name, value): (&str, Option<f64>)| match (name, &metric.values) {
        ("rate", Values::Rate { .. }) => ("value".to_owned(), value.map_or(Value::Null, number)),
        _ => (name.to_owned(), value.map_or(Value::Null, number)),
    };
    numbers(metric, summary).into_iter().map(named).collect()
}

/// A metric's values under the names that k6 gives to `handleSummary()`; none for a statistic that the verdict does not
/// have.
pub(super) fn numbers<'s>(metric: &MetricSummary, summary: &'s Summary) -> Vec<(&'s str, Option<f64>)> {
    match &metric.values {
        Values::Trend { .. } => {
            summary.trend_stats.iter().map(|stat| (stat.as_str(), trend_value(&metric.values, stat))).collect()
        }
        Values::Counter { count, rate } => vec![("count", Some(count.0)), ("rate", Some(rate.0))],
        Values::Gauge { value, min, max } => {
            vec![("value", Some(value.0)), ("min", Some(min.0)), ("max", Some(max.0))]
        }
        Values::Rate { rate, passes, fails } => {
            vec![("rate", Some(rate.0)), ("passes", Some(*passes as f64)), ("fails", Some(*fails as f64))]
        }
    }
}

/// A number as JavaScript writes it: whole ones without a point. JSON has no infinity; k6 writes null.
pub(super) fn number(value: f64) -> Value {
    #[expect(clippy::cast_possible_truncation, reason = "only whole numbers that a double holds exactly")]
    if value.fract() == 0.0 && value.abs() < 9_007_199_254_740_992.0 { json!(value as i64) } else { json!(value) }
}

fn root_group(summary: &Summary) -> Value {
    let mut root = group("", "");
    for path in &summary.group_paths {
        place(&mut root, path);
    }
    for check in &summary.checks {
        let place = place(&mut root, &check.group);
        let path = format!("{}::{}", place["path"].as_str().unwrap_or_default(), check.name);
        let known = &mut place["checks"][check.name.as_str()];
        // A `group` tag of the script's own, which need not be a path, may bring two checks to one place.
        let count = |key: &str, more: u64| known[key].as_u64().unwrap_or(0) + more;
        let (passes, fails) = (count("passes", check.passes), count("fails", check.fails));
        *known = json!({ "name": check.name, "path": path, "id": id(&path), "passes": passes, "fails": fails });
    }
    root
}

/// The group of that path below `root`, which is made if it is not there.
fn place<'a>(root: &'a mut Value, path: &str) -> &'a mut Value {
    let mut own_path = String::new();
    path.split("::").skip(1).fold(root, |place, name| {
        own_path = format!("{own_path}::{name}");
        let inner = &mut place["groups"][name];
        if inner.is_null() {
            *inner = group(name, &own_path);
        }
        inner
    })
}

fn group(name: &str, path: &str) -> Value {
    json!({ "name": name, "path": path, "id": id(path), "groups": {}, "checks": {} })
}

/// k6's id of a group or check: the MD5 of its path in hexadecimal.
pub(super) fn id(path: &str) -> String {
    Md5::digest(path).iter().fold(String::new(), |mut id, byte| {
        // Writing to a string cannot fail.
        _ = write!(id, "{byte:02x}");
        id
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verdict::CheckSummary;

    #[test]
    fn groups_are_a_tree_with_k6s_ids() {
        let check = CheckSummary { group: "::outer::inner <b>".into(), name: "x".into(), passes: 1, fails: 0 };
        let summary = Summary {
            checks: vec![check],
            group_paths: vec!["::no checks".into(), "::outer::inner <b>".into()],
            ..Summary::default()
        };
        let root = root_group(&summary);
        assert_eq!(root["groups"]["no checks"], group("no checks", "::no checks"));
        assert_eq!(root["id"], "d41d8cd98f00b204e9800998ecf8427e");
        let inner = &root["groups"]["outer"]["groups"]["inner <b>"];
        assert_eq!(inner["id"], "c73726fa4bf1abb4f0b85843dad7a5c4");
        assert_eq!(inner["checks"]["x"]["path"], "::outer::inner <b>::x");
    }
}
