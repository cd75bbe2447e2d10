//! Stock k6 is the oracle.
//!
//! One k6 runs a script, writes its samples and sums them up itself. The same bytes go through our pipeline, dealt out to
//! 1, 3 and 7 workers and merged in another order. Counts, sums, bounds and rates must be equal, percentiles within the
//! stated error, and every threshold must be decided as k6 has decided it.

use std::{collections::BTreeMap, path::Path, process::Command, time::Duration};

use lambdaload_core::{
    aggregate::Aggregate,
    archive::Archive,
    chunk::{Chunk, ChunkKey},
    ids::{Attempt, RunId, WorkerIndex},
    k6::{options::Options, version::K6Version},
    plan::{Machine, Plan, Request, Samples, Workers},
    recorder::Recorder,
    verdict::Values,
};
use lambdaload_tests::{fixture, k6_binary, k6_can_be_controlled, target::Target};
use serde_json::Value;

/// What one k6 has said of one test.
struct Oracle {
    samples: Vec<String>,
    summary: Value,
    plan: Plan,
}

/// Percentiles that no summary shows by default are asked for too.
const TREND_STATS: &str = "avg,min,med,max,count,p(0),p(1),p(50),p(90),p(95),p(99),p(99.9),p(100)";

fn run_k6(script: &str, env: &[(&str, &str)]) -> Oracle {
    let folder = tempfile::tempdir().expect("a folder");
    let (samples, summary, archive) =
        (folder.path().join("samples.json"), folder.path().join("summary.json"), folder.path().join("archive.tar"));
    let k6 = |arguments: &[&str], file: &Path| {
        let mut command = Command::new(k6_binary());
        command.args(arguments).env("K6_NO_USAGE_REPORT", "true");
        command.args(env.iter().flat_map(|(key, value)| ["-e".to_owned(), format!("{key}={value}")]));
        command.arg(file).output().expect("k6 runs")
    };
    let (samples_out, summary_out) = (format!("json={}", samples.display()), summary.display().to_string());
    let run = k6(
        &[
            "run",
            "--quiet",
            "--out",
            &samples_out,
            "--summary-export",
            &summary_out,
            "--summary-trend-stats",
            TREND_STATS,
        ],
        &fixture(script),
    );
    // 99: thresholds that do not hold are part of the test.
    assert!(matches!(run.status.code(), Some(0 | 99)), "{}", String::from_utf8_lossy(&run.stderr));
    let archived = k6(&["archive", "-O", &archive.display().to_string()], &fixture(script));
    assert!(archived.status.success(), "{}", String::from_utf8_lossy(&archived.stderr));
    let inspected = k6(&["inspect", "--execution-requirements"], &archive);
    let options = Options::parse(&inspected.stdout).expect("options");
    let request = Request {
        script: script.to_owned(),
        workers: Workers::Exactly(1),
        trend_stats: Some(TREND_STATS.split(',').map(str::to_owned).collect()),
        ..Request::default()
    };
    let archive = Archive::read(&std::fs::read(&archive).expect("the archive")).expect("an archive");
    let machine = Machine { cores: 2, open_files: 1024 };
    let read = |path: &Path| std::fs::read_to_string(path).expect("k6 wrote it");
    Oracle {
        samples: read(&samples).lines().map(|line| format!("{line}\n")).collect(),
        summary: serde_json::from_str(&read(&summary)).expect("JSON"),
        plan: Plan::new(request, archive, K6Version::new(1, 8, 1), &options, machine).expect("a plan"),
    }
}

impl Oracle {
    /// Our pipeline on k6's own bytes, as if `workers` k6 processes had written them.
    fn merged(&self, workers: usize) -> Aggregate {
        let mut chunks: Vec<Vec<u8>> = Vec::new();
        for worker in 0..workers {
            let mut recorder = Recorder::new(self.plan.watches(), 10_000);
            recorder.started(0);
            // Every k6 declares its metrics; VUs are counted by process, so they stay with one.
            let mine = |(position, line): &(usize, &String)| {
                let everybodys = line.contains("\"type\":\"Metric\"");
                let vus = line.starts_with("{\"metric\":\"vus");
                if vus { worker == 0 } else { everybodys || position % workers == worker }
            };
            let lines: Vec<&String> = self.samples.iter().enumerate().filter(mine).map(|(_, line)| line).collect();
            let pieces = lines.len().div_ceil(5).max(1);
            for (sequence, piece) in (1..).zip(lines.chunks(pieces)) {
                piece.iter().for_each(|line| recorder.feed(line.as_bytes()));
                let run = RunId::parse("01JD8QZV3M4T5W6X7Y8Z9A0B4K").expect("an id");
                let worker = WorkerIndex(u32::try_from(worker).expect("few"));
                let key = ChunkKey { run, worker, attempt: Attempt(1), sequence };
                let series = recorder.take_windows(lines.len() <= usize::try_from(sequence).expect("few") * pieces);
                chunks.push(Chunk { key, series }.encode().expect("encodes"));
            }
            assert_eq!(recorder.counts().refused, 0, "{:?}", recorder.counts().first_refused);
        }
        let mut aggregate = Aggregate::new();
        // Backwards, and every other chunk twice.
        for (position, bytes) in chunks.iter().enumerate().rev() {
            let chunk = Chunk::decode(bytes).expect("decodes");
            aggregate.apply(&chunk).expect("applies");
            if position % 2 == 0 {
                aggregate.apply(&chunk).expect("applies");
            }
        }
        let points = self.samples.iter().filter(|line| line.contains("\"type\":\"Point\"")).count();
        assert_eq!(aggregate.samples(), points as u64, "every sample is merged once");
        aggregate
    }

    /// The time that k6 itself has divided by: a counter's count by its rate.
    fn duration(&self) -> Duration {
        let iterations = &self.summary["metrics"]["iterations"];
        let (count, rate) = (iterations["count"].as_f64().expect("count"), iterations["rate"].as_f64().expect("rate"));
        Duration::from_secs_f64(count / rate)
    }

    /// Compares everything k6 has said with what we say.
    fn check(&self) {
        for workers in [1, 3, 7] {
            let aggregate = self.merged(workers);
            self.check_metrics(&aggregate, workers);
            self.check_thresholds(&aggregate, workers);
            self.check_checks(&aggregate, workers);
        }
    }

    fn check_metrics(&self, aggregate: &Aggregate, workers: usize) {
        let summary = aggregate.summary(&self.plan, self.duration());
        let k6 = self.summary["metrics"].as_object().expect("metrics");
        let ours: BTreeMap<String, &Values> = summary.metrics.iter().map(|m| (m.key(), &m.values)).collect();
        assert_eq!(ours.keys().collect::<Vec<_>>(), k6.keys().collect::<Vec<_>>(), "the same metrics");
        for (name, k6) in k6 {
            let at = |what: &str| format!("{name} {what} with {workers} workers");
            let number = |key: &str| k6[key].as_f64().unwrap_or_else(|| panic!("{}: k6 says {k6}", at(key)));
            let exact = |what: &str, ours: f64, k6: f64| {
                // Sums of floats differ in the last digits with the order of adding, in k6 too.
                assert!((ours - k6).abs() <= k6.abs() * 1e-12, "{}: {ours}, k6 says {k6}", at(what));
            };
            match ours[name] {
                Values::Counter { count, rate } => {
                    exact("count", count.0, number("count"));
                    // The duration was computed from a rate, so it has an error of its own (nanoseconds).
                    assert!((rate.0 - number("rate")).abs() <= number("rate").abs() * 1e-6, "{}", at("rate"));
                }
                Values::Gauge { value, min, max } => {
                    exact("value", value.0, number("value"));
                    exact("min", min.0, number("min"));
                    exact("max", max.0, number("max"));
                }
                Values::Rate { rate, passes, fails } => {
                    exact("value", rate.0, number("value"));
                    exact("passes", *passes as f64, number("passes"));
                    exact("fails", *fails as f64, number("fails"));
                }
                Values::Trend { count, avg, min, max, percentiles } => {
                    exact("count", *count as f64, number("count"));
                    exact("min", min.0, number("min"));
                    exact("max", max.0, number("max"));
                    let mean = number("avg");
                    // A mean near zero of large values of both signs has lost digits in k6's own addition.
                    let scale = mean.abs().max(number("max").abs() * 1e-3);
                    assert!((avg.0 - mean).abs() <= scale * 1e-12, "{}: {} and {mean}", at("avg"), avg.0);
                    for (percentile, ours) in percentiles {
                        let k6 = number(percentile);
                        assert!((ours.0 - k6).abs() <= k6.abs() * 0.001, "{}: {} and {k6}", at(percentile), ours.0);
                    }
                }
            }
        }
    }

    fn check_thresholds(&self, aggregate: &Aggregate, workers: usize) {
        let mut compared = 0;
        for threshold in &self.plan.thresholds {
            let key = threshold.selector.key();
            // In this export true means that the threshold was crossed.
            let crossed = self.summary["metrics"][&key]["thresholds"][&threshold.expression].as_bool();
            let crossed = crossed.unwrap_or_else(|| panic!("k6 has decided {key} {}", threshold.expression));
            let decision = aggregate.decide(threshold, Samples::Exact, self.duration());
            let what = format!("{key} {} with {workers} workers: {decision:?}", threshold.expression);
            assert_eq!(decision.passed, !crossed, "{what}");
            assert!(decision.exact, "{what}");
            compared += 1;
        }
        assert_eq!(compared, self.plan.thresholds.len());
    }

    fn check_checks(&self, aggregate: &Aggregate, workers: usize) {
        let mut k6 = Vec::new();
        flatten_checks(&self.summary["root_group"], &mut k6);
        k6.sort();
        let summary = aggregate.summary(&self.plan, self.duration());
        let mut ours: Vec<_> = summary.checks.into_iter().map(|c| (c.group, c.name, c.passes, c.fails)).collect();
        ours.sort();
        assert_eq!(ours, k6, "checks with {workers} workers");
    }
}

fn flatten_checks(group: &Value, into: &mut Vec<(String, String, u64, u64)>) {
    let text = |value: &Value| value.as_str().expect("text").to_owned();
    let path = text(&group["path"]);
    for check in group["checks"].as_object().expect("checks").values() {
        let count = |key: &str| check[key].as_u64().expect("a count");
        into.push((path.clone(), text(&check["name"]), count("passes"), count("fails")));
    }
    group["groups"].as_object().expect("groups").values().for_each(|inner| flatten_checks(inner, into));
}

/// Values are functions of the iteration, so a second run has the very same samples: its limits lie on the percentiles
/// of the first, one step of floating point above and one below.
#[test]
fn every_metric_and_limits_on_just_above_and_just_below_percentiles() {
    let first = run_k6("every-metric.js", &[]);
    first.check();

    let mut thresholds: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for metric in ["a_time", "a_size", "a_signed", "a_tiny", "a_constant", "a_few"] {
        for percentile in ["p(0)", "p(1)", "p(50)", "p(90)", "p(95)", "p(99)", "p(99.9)", "p(100)"] {
            let value = first.summary["metrics"][metric][percentile].as_f64().expect("a percentile");
            for limit in [value, value.next_up(), value.next_down()] {
                for operator in ["<", "<=", ">", ">=", "==", "!="] {
                    // 17 digits tell every double from its neighbours.
                    thresholds.entry(metric.into()).or_default().push(format!("{percentile}{operator}{limit:e}"));
                }
            }
        }
        for expression in ["avg>0", "min<0", "max>1000", "med<500"] {
            thresholds.entry(metric.into()).or_default().push(expression.into());
        }
    }
    let more = [
        ("a_time{kind:third}", "p(95)<300"),
        ("a_time{ kind : 'other' }", "p(95)<300"),
        ("a_time{kind:nobody}", "p(95)<300"),
        ("a_rate", "rate==0.75"),
        ("a_rate{kind:third}", "rate>0.7"),
        ("a_counter", "count==800"),
        ("a_fraction", "count>39.99"),
        ("a_gauge", "value==7"),
        ("checks{check:is even}", "rate==0.5"),
        ("checks{group:::outer::inner}", "rate>0.5"),
        ("never_used", "p(95)<1"),
        ("never_used", "max>1"),
        ("iterations", "count==400"),
        ("group_duration{group:::outer}", "max<60000"),
        ("a_time", "p(95) < 0x1p4"),
        ("a_time", "avg<Inf"),
        ("a_time", "max<NaN"),
    ];
    more.iter().for_each(|(key, expression)| {
        thresholds.entry((*key).to_owned()).or_default().push((*expression).to_owned());
    });
    let json = serde_json::to_string(&thresholds).expect("JSON");
    let second = run_k6("every-metric.js", &[("THRESHOLDS", &json)]);
    let wanted: usize = thresholds.values().map(Vec::len).sum();
    assert_eq!(second.plan.thresholds.len(), wanted, "k6 has kept every threshold");
    second.check();
}

#[test]
fn every_executor_against_a_real_server() {
    let (target, controlled) = (Target::start(), k6_can_be_controlled());
    let url = target.url();
    let env = [("TARGET", url.as_str()), ("CONTROLLED", "1")];
    run_k6("every-executor.js", &env[..if controlled { 2 } else { 1 }]).check();
}

/// Iterations that are dropped and cut off, and scenarios with functions, variables and tags of their own.
#[test]
fn every_executor_with_all_that_a_scenario_can_have() {
    let target = Target::start();
    run_k6("combination.js", &[("TARGET", &target.url())]).check();
}
