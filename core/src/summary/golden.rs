//! Tests against k6's own summary: what k6 1.8.1 printed and exported for the scripts in `golden/summary`.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use serde_json::Value;

use super::{Style, Terminal, handle_summary_input, k6_blocks, summary_export};
use crate::{
    k6::options::Options,
    number::Number,
    plan::{SummaryMode, TimeUnit},
    series::{Contains, Metric, MetricKind},
    testing::sample,
    threshold::{Aggregation, Threshold},
    verdict::{CheckSummary, MetricSummary, Summary, ThresholdResult, Values, Verdict},
};

#[test]
fn the_text_is_k6s_own() {
    for case in cases() {
        let printed = read(&case, "k6.txt");
        let ours = k6_blocks(&verdict(&case), SummaryMode::Compact, &Style::default());
        for (ours, printed) in ours.lines().zip(printed.lines()) {
            assert_eq!(ours, printed, "{}", case.display());
        }
        // k6 ends with two more empty lines.
        assert_eq!(ours + "\n\n", printed, "{}", case.display());
    }
}

#[test]
fn the_export_is_k6s_own() {
    for case in cases() {
        let mut exported = json(&case, "k6.json");
        let mut ours = summary_export(&verdict(&case));
        // What `setup()` returned is not ours; 1 and 1.0 are one number.
        exported.as_object_mut().expect("an object").remove("setup_data");
        numbers_are_floats(&mut exported);
        numbers_are_floats(&mut ours);
        assert_eq!(ours, exported, "{}", case.display());
    }
}

#[test]
fn the_input_of_handle_summary_is_k6s_own() {
    let case = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/summary/handle-summary");
    let mut given = json(&case, "input.json");
    // What `setup()` returned goes another way.
    given.as_object_mut().expect("an object").remove("setup_data");
    let mut verdict = verdict(&case);
    // It is in no export, and elsewhere worked out from a rate.
    verdict.duration_ms = given["state"]["testRunDurationMs"].as_f64().expect("a number");
    let mut ours = handle_summary_input(&verdict, Terminal { no_color: true, ..Terminal::default() });
    numbers_are_floats(&mut given);
    numbers_are_floats(&mut ours);
    assert_eq!(ours, given);
}

fn cases() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/summary");
    let entries = fs::read_dir(folder).expect("there are golden files");
    let mut cases: Vec<PathBuf> = entries.map(|e| e.expect("reads").path()).filter(|path| path.is_dir()).collect();
    cases.sort();
    assert!(cases.len() >= 6, "{cases:?}");
    cases
}

fn read(case: &Path, file: &str) -> String {
    fs::read_to_string(case.join(file)).expect("a golden file")
}

fn json(case: &Path, file: &str) -> Value {
    serde_json::from_str(&read(case, file)).expect("JSON")
}

/// The verdict that has the values of k6's export: no worker, no histogram, only what the summary shows.
fn verdict(case: &Path) -> Verdict {
    let exported = json(case, "k6.json");
    let options = options(case);
    let wanted = options.summary().expect("reads");
    let declared = declared(case);
    let metrics: Vec<MetricSummary> = exported["metrics"]
        .as_object()
        .expect("an object")
        .iter()
        .map(|(key, values)| metric(key, values, &declared))
        .collect();
    let thresholds = options.thresholds().expect("reads");
    let mut verdict = sample::verdict();
    verdict.thresholds = thresholds.iter().map(|t| threshold(t, &exported, &metrics)).collect();
    verdict.duration_ms = duration_ms(&metrics);
    let time_unit = wanted.time_unit.map(|unit| match unit {
        TimeUnit::Seconds => "s".to_owned(),
        TimeUnit::Milliseconds => "ms".to_owned(),
        TimeUnit::Microseconds => "us".to_owned(),
    });
    verdict.summary = Summary {
        metrics,
        checks: checks(&exported["root_group"], ""),
        trend_stats: wanted.trend_stats,
        time_unit,
        ..Summary::default()
    };
    verdict
}

fn options(case: &Path) -> Options {
    Options::parse(read(case, "options.json").as_bytes()).expect("reads")
}

fn declared(case: &Path) -> BTreeMap<String, Metric> {
    let declarations = read(case, "metrics.jsonl");
    let lines = declarations.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    let metrics = lines.map(|line| Metric {
        name: line["data"]["name"].as_str().expect("a name").to_owned(),
        kind: serde_json::from_value(line["data"]["type"].clone()).expect("a type"),
        contains: serde_json::from_value(line["data"]["contains"].clone()).expect("what it contains"),
    });
    metrics.map(|metric| (metric.name.clone(), metric)).collect()
}

fn metric(key: &str, values: &Value, declared: &BTreeMap<String, Metric>) -> MetricSummary {
    let (name, suffix) = match key.split_once('{') {
        Some((name, rest)) => (name, rest.strip_suffix('}').map(str::to_owned)),
        None => (key, None),
    };
    // A metric without samples is declared nowhere; all in these scripts tell their type by their values.
    let found = declared.get(name).cloned().or_else(|| Metric::built_in(name)).unwrap_or_else(|| Metric {
        name: name.to_owned(),
        kind: if values.get("passes").is_some() { MetricKind::Rate } else { MetricKind::Counter },
        contains: Contains::Default,
    });
    let number = |name: &str| Number(values[name].as_f64().unwrap_or_default());
    let count = |name: &str| values[name].as_u64().expect("a count");
    let values = match found.kind {
        MetricKind::Counter => Values::Counter { count: number("count"), rate: number("rate") },
        MetricKind::Gauge => Values::Gauge { value: number("value"), min: number("min"), max: number("max") },
        MetricKind::Rate => Values::Rate { rate: number("value"), passes: count("passes"), fails: count("fails") },
        MetricKind::Trend => {
            let stats = values.as_object().expect("an object").iter();
            let percentiles = stats.filter(|(name, _)| name.starts_with("p(") || *name == "med");
            Values::Trend {
                count: values["count"].as_u64().unwrap_or_default(),
                avg: number("avg"),
                min: number("min"),
                max: number("max"),
                percentiles: percentiles.map(|(name, _)| (name.clone(), number(name))).collect(),
            }
        }
    };
    MetricSummary { name: name.to_owned(), suffix, kind: found.kind, contains: found.contains, values }
}

fn threshold(threshold: &Threshold, exported: &Value, metrics: &[MetricSummary]) -> ThresholdResult {
    let (metric, suffix) = (threshold.selector.metric.clone(), threshold.selector.suffix.clone());
    // k6 trims the tags of a sub-metric.
    let suffix = suffix.map(|tags| tags.trim().to_owned());
    let found = metrics.iter().find(|m| m.name == metric && m.suffix == suffix).expect("exported");
    let stats = &exported["metrics"][&found.key()];
    let stat = match threshold.aggregation {
        Aggregation::Count => "count".to_owned(),
        Aggregation::Rate if found.kind == MetricKind::Rate => "value".to_owned(),
        Aggregation::Rate => "rate".to_owned(),
        Aggregation::Value => "value".to_owned(),
        Aggregation::Avg => "avg".to_owned(),
        Aggregation::Min => "min".to_owned(),
        Aggregation::Max => "max".to_owned(),
        Aggregation::Percentile(_) if threshold.expression.trim().starts_with("med") => "med".to_owned(),
        Aggregation::Percentile(percent) => format!("p({percent})"),
    };
    ThresholdResult {
        within_error: false,
        metric,
        suffix,
        passed: stats["thresholds"][&threshold.expression] == Value::Bool(false),
        expression: threshold.expression.clone(),
        value: Some(Number(stats[&stat].as_f64().expect("in the export"))),
        exact: true,
        first_crossed_ms: None,
        abort_on_fail: threshold.abort_on_fail,
    }
}

/// k6 exports no duration; it is what a counter's rate was made with.
fn duration_ms(metrics: &[MetricSummary]) -> f64 {
    let rates = metrics.iter().filter(|m| m.name == "iterations").map(|m| &m.values);
    let mut durations = rates.filter_map(|values| match values {
        Values::Counter { count, rate } => Some(count.0 / rate.0 * 1000.0),
        _ => None,
    });
    durations.next().expect("there were iterations")
}

fn checks(group: &Value, path: &str) -> Vec<CheckSummary> {
    let own = group["checks"].as_object().expect("an object").values().map(|check| CheckSummary {
        group: path.to_owned(),
        name: check["name"].as_str().expect("a name").to_owned(),
        passes: check["passes"].as_u64().expect("a count"),
        fails: check["fails"].as_u64().expect("a count"),
    });
    let inner = group["groups"].as_object().expect("an object").values();
    own.chain(inner.flat_map(|group| checks(group, group["path"].as_str().expect("a path")))).collect()
}

fn numbers_are_floats(value: &mut Value) {
    match value {
        Value::Number(number) => *value = number.as_f64().into(),
        Value::Array(items) => items.iter_mut().for_each(numbers_are_floats),
        Value::Object(fields) => fields.values_mut().for_each(numbers_are_floats),
        _ => {}
    }
}
