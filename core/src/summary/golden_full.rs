//! Tests against k6's full mode: what k6 1.8.1 printed and exported, with all its samples, in `golden/summary-full`.
//!
//! The samples go through our pipeline, as those of one worker. Percentiles must be within the stated error; then the
//! exact ones, taken from the samples by the rules that k6's documentation gives, are put in their place, and every
//! byte of the text must be k6's.

use std::{collections::BTreeMap, fs, path::PathBuf, time::Duration};

use serde_json::Value;

use super::{Style, k6_blocks, machine_readable};
use crate::{
    aggregate::Aggregate,
    chunk::{Chunk, ChunkKey},
    histogram::RELATIVE_ERROR,
    ids::{Attempt, RunId, WorkerIndex},
    judge::threshold_results,
    k6::{options::Options, version::K6Version},
    number::Number,
    plan::{Machine, Plan, Request, SummaryMode, Workers, trend_percentile},
    recorder::Recorder,
    selector::Selector,
    testing::sample,
    threshold::Threshold,
    verdict::{MetricSummary, Values, Verdict},
};

#[test]
fn the_text_is_k6s_own() {
    for case in cases() {
        let printed = case.read("k6.txt");
        let ours = k6_blocks(&case.verdict(), SummaryMode::Full, &Style::default());
        for (number, (ours, printed)) in ours.lines().zip(printed.lines()).enumerate() {
            assert_eq!(ours, printed, "{} line {}", case.name, number + 1);
        }
        // k6 ends with two more empty lines.
        assert_eq!(ours + "\n\n", printed, "{}", case.name);
    }
}

#[test]
fn the_machine_readable_summary_is_k6s_own() {
    for case in cases() {
        let mut k6s = case.json("k6.json");
        let generated_at = k6s["metadata"]["generated_at"].as_str().expect("a time").to_owned();
        let mut ours = machine_readable(&case.verdict(), &case.read("script.js"), &generated_at);
        for document in [&mut k6s, &mut ours] {
            // k6's order is random.
            document["results"]["metrics"]
                .as_array_mut()
                .expect("metrics")
                .sort_by_key(|metric| metric["name"].as_str().expect("a name").to_owned());
        }
        same(&ours, &k6s, &case.name);
    }
}

/// One folder of golden files.
struct Case {
    name: String,
    folder: PathBuf,
}

/// One sample, as k6 wrote it.
struct Sample {
    metric: String,
    value: f64,
    tags: BTreeMap<String, String>,
}

fn cases() -> Vec<Case> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("golden/summary-full");
    let entries = fs::read_dir(folder).expect("there are golden files").map(|entry| entry.expect("reads"));
    let cases: Vec<Case> = entries
        .filter(|entry| entry.path().is_dir())
        .map(|entry| Case { name: entry.file_name().to_string_lossy().into_owned(), folder: entry.path() })
        .collect();
    assert!(cases.len() >= 3);
    cases
}

impl Case {
    fn read(&self, file: &str) -> String {
        fs::read_to_string(self.folder.join(file)).expect("a golden file")
    }

    fn json(&self, file: &str) -> Value {
        serde_json::from_str(&self.read(file)).expect("JSON")
    }

    fn samples(&self) -> Vec<Sample> {
        let lines = self.read("samples.jsonl");
        let lines = lines.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
        lines
            .filter(|line| line["type"] == "Point")
            .map(|line| Sample {
                metric: line["metric"].as_str().expect("a name").to_owned(),
                value: line["data"]["value"].as_f64().expect("a number"),
                tags: serde_json::from_value(line["data"]["tags"].clone()).expect("tags"),
            })
            .collect()
    }

    fn plan(&self) -> Plan {
        let options = Options::parse(self.read("options.json").as_bytes()).expect("reads");
        let request = Request {
            script: "script.js".into(),
            workers: Workers::Exactly(1),
            summary_mode: SummaryMode::Full,
            machine_readable_summary: true,
            ..Request::default()
        };
        let archive = sample::verdict().archive;
        let machine = Machine { cores: 1, open_files: 1024 };
        Plan::new(request, archive, K6Version::new(1, 8, 1), &options, machine).expect("plans")
    }

    /// The verdict that our pipeline comes to on k6's samples, with exact percentiles.
    fn verdict(&self) -> Verdict {
        let (plan, samples) = (self.plan(), self.samples());
        let mut recorder = Recorder::new(plan.watches(), 1_000);
        recorder.started(0);
        recorder.feed(self.read("samples.jsonl").as_bytes());
        let key = ChunkKey {
            run: RunId::parse("01JD8QZV3M4T5W6X7Y8Z9A0B4K").expect("an id"),
            worker: WorkerIndex(0),
            attempt: Attempt(1),
            sequence: 1,
        };
        let mut aggregate = Aggregate::new();
        aggregate.apply(&Chunk { key, series: recorder.take_windows(true) }).expect("applies");
        assert_eq!(aggregate.samples(), samples.len() as u64, "{}", self.name);

        let seconds = self.json("k6.json")["config"]["duration"].as_f64().expect("a duration");
        let duration = Duration::from_secs_f64(seconds);
        let mut summary = aggregate.summary(&plan, duration);
        for metric in &mut summary.metrics {
            let suffix = metric.suffix.clone();
            let wanted = Selector { metric: metric.name.clone(), suffix }.tags();
            let has_all = |s: &Sample| wanted.iter().all(|(k, v)| s.tags.get(k).is_some_and(|found| found == v));
            put_exact_percentiles(metric, &samples, has_all);
        }
        for group in &mut summary.groups {
            let is_in = |tag: &Option<String>, wanted: &Option<String>| wanted.is_none() || tag == wanted;
            for metric in &mut group.metrics {
                put_exact_percentiles(metric, &samples, |s| {
                    let scenario = s.tags.get("scenario").filter(|name| *name != "default").cloned();
                    scenario == group.scenario && is_in(&s.tags.get("group").cloned(), &group.group)
                });
            }
        }
        let decide = |threshold: &Threshold| aggregate.decide(threshold, plan.samples, duration);
        let mut thresholds = threshold_results(&plan, decide, &[]);
        for threshold in &mut thresholds {
            let stat = threshold.expression.split('<').next().unwrap_or_default();
            let mut metrics = summary.metrics.iter().filter(|m| m.key() == threshold.key());
            if let Some(Values::Trend { percentiles, .. }) = metrics.next().map(|m| &m.values)
                && let Some(exact) = percentiles.get(stat)
            {
                threshold.value = Some(*exact);
            }
        }
        Verdict { summary, thresholds, duration_ms: seconds * 1e3, ..sample::verdict() }
    }
}

fn put_exact_percentiles(metric: &mut MetricSummary, samples: &[Sample], belongs: impl Fn(&Sample) -> bool) {
    let key = metric.key();
    let Values::Trend { percentiles, count, .. } = &mut metric.values else { return };
    let of_metric = samples.iter().filter(|s| s.metric == metric.name && belongs(s));
    let mut values: Vec<f64> = of_metric.map(|s| s.value).collect();
    values.sort_by(f64::total_cmp);
    assert_eq!(values.len() as u64, *count, "{key}");
    for (name, ours) in percentiles {
        let percent = if name == "med" { 50.0 } else { trend_percentile(name).expect("a percentile") };
        let exact = interpolated(&values, percent / 100.0);
        assert!((ours.0 - exact).abs() <= exact.abs() * RELATIVE_ERROR, "{key} {name}: {} and {exact}", ours.0);
        *ours = Number(exact);
    }
}

/// Between the two samples around the place, in proportion.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a place among a few samples")]
fn interpolated(values: &[f64], share: f64) -> f64 {
    let place = share * (values.len().saturating_sub(1)) as f64;
    match (values.get(place.floor() as usize), values.get(place.ceil() as usize)) {
        (Some(below), Some(above)) => below + (above - below) * (place - place.floor()),
        _ => 0.0,
    }
}

/// The same keys, types and values; sums of floating-point numbers may differ in their last digit.
fn same(ours: &Value, k6s: &Value, at: &str) {
    match (ours, k6s) {
        (Value::Object(ours), Value::Object(k6s)) => {
            assert_eq!(ours.keys().collect::<Vec<_>>(), k6s.keys().collect::<Vec<_>>(), "{at}");
            k6s.iter().for_each(|(key, k6s)| same(&ours[key], k6s, &format!("{at} {key}")));
        }
        (Value::Array(ours), Value::Array(k6s)) => {
            assert_eq!(ours.len(), k6s.len(), "{at}");
            ours.iter().zip(k6s).enumerate().for_each(|(n, (ours, k6s))| same(ours, k6s, &format!("{at} {n}")));
        }
        (Value::Number(ours), Value::Number(k6s)) => {
            let (ours, k6s) = (ours.as_f64().expect("a number"), k6s.as_f64().expect("a number"));
            assert!((ours - k6s).abs() <= k6s.abs() * 1e-12, "{at}: {ours} and {k6s}");
        }
        _ => assert_eq!(ours, k6s, "{at}"),
    }
}
