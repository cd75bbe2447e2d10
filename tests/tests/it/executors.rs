//! Every executor, on three workers and on one k6: the same iterations, each of them once, by the plan.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    process::Command,
    time::Duration,
};

use lambdaload_core::{
    archive::Archive,
    ids::WorkerIndex,
    k6::{options::Options, version::K6Version},
    plan::{Machine, Plan, Request, Workers},
    segment::Segment,
};
use lambdaload_tests::{cli::Folder, fixture, k6_binary, k6_can_be_controlled, target::Target};
use serde_json::{Value, json};

/// What one iteration has told the target.
#[derive(Debug)]
struct Ran {
    iteration: u64,
    vu: u64,
    /// The beginning of its worker's segment.
    worker: String,
    env: String,
    tag: String,
    /// Milliseconds since the epoch.
    at: i64,
}

/// What was told, by scenario; every request must have come once.
fn told(target: &Target, what: &str) -> BTreeMap<String, Vec<Ran>> {
    let mut by_scenario: BTreeMap<String, Vec<Ran>> = BTreeMap::new();
    for (path, count) in target.requests() {
        let [_, said, scenario, iteration, vu, worker, env, tag, at] = path.split('/').collect::<Vec<_>>()[..] else {
            panic!("{path}")
        };
        assert_eq!(count, 1, "{path}");
        let number = |text: &str| text.parse().unwrap_or_else(|error| panic!("{path}: {text}: {error}"));
        if said == what {
            let text = str::to_owned;
            let (worker, env, tag) = (text(worker), text(env), text(tag));
            let at = at.parse().expect("a time");
            let ran = Ran { iteration: number(iteration), vu: number(vu), worker, env, tag, at };
            by_scenario.entry(scenario.to_owned()).or_default().push(ran);
        }
    }
    by_scenario
}

/// The numbers of a scenario's iterations; none may have run twice.
fn iterations(scenario: &str, told: &BTreeMap<String, Vec<Ran>>) -> BTreeSet<u64> {
    let all = &told[scenario];
    let numbers: BTreeSet<u64> = all.iter().map(|ran| ran.iteration).collect();
    assert_eq!(numbers.len(), all.len(), "each iteration of {scenario} ran once: {all:#?}");
    numbers
}

/// What `k6 inspect --execution-requirements` says of a script.
fn inspect(script: &Path, arguments: &[&str]) -> Options {
    let output = Command::new(k6_binary())
        .args(["inspect", "--execution-requirements"])
        .args(arguments)
        .arg(script)
        .output()
        .expect("k6 runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Options::parse(&output.stdout).expect("options")
}

fn plan(options: &Options, workers: u32) -> Plan {
    let request = Request { script: "test.js".into(), workers: Workers::Exactly(workers), ..Request::default() };
    let archive = Archive {
        hash: serde_json::from_str("\"ab\"").expect("a hash"),
        size: 1,
        files: 1,
        filename: "file:///test.js".into(),
    };
    let machine = Machine { cores: 2, open_files: 1024 };
    Plan::new(request, archive, K6Version::new(1, 8, 1), options, machine).expect("plans")
}

/// The count of a metric of one scenario, 0 without samples.
fn count(verdict: &Value, metric: &str, scenario: &str) -> u64 {
    let tag = format!("scenario:{scenario}");
    let metrics = verdict["summary"]["metrics"].as_array().expect("metrics");
    let found = metrics.iter().find(|m| m["name"] == metric && m["suffix"] == tag.as_str());
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count")]
    let count = found.and_then(|m| m["values"]["count"].as_f64()).unwrap_or(0.0) as u64;
    count
}

/// The common start, in milliseconds since the Unix epoch. No k6 is resumed before it; when each has answered is later.
fn t0(verdict: &Value) -> f64 {
    let skews = verdict["workers"].as_array().expect("workers").iter().map(|worker| worker["skew_ms"].as_f64());
    let least = skews.map(|skew| skew.expect("a skew")).reduce(f64::min).expect("a worker");
    let first_answer = verdict["started_at"].as_f64().expect("a start") / 1_000.0;
    first_answer - least
}

#[test]
fn every_executor_in_one_test_on_three_workers() {
    let (folder, target) = (Folder::new(), Target::start());
    let script = fixture("combination.js");
    let address = format!("TARGET={}", target.url());
    let said = folder.run(&["run", &script.display().to_string(), "--workers", "3", "-e", &address]);
    assert_eq!(said.code, Some(0), "{said:#?}");
    let verdict = folder.verdict();
    assert_eq!((&verdict["outcome"], &verdict["reasons"]), (&"passed".into(), &json!([])), "{verdict:#}");
    let plan = plan(&inspect(&script, &["-e", &address]), 3);
    let told_by_three = told(&target, "ran");
    let names: Vec<&str> = plan.scenarios.iter().map(|scenario| scenario.name.as_str()).collect();
    assert_eq!(told_by_three.keys().map(String::as_str).collect::<Vec<_>>(), names, "all scenarios ran");
    let index = |ran: &Ran| match ran.worker.as_str() {
        "0" => WorkerIndex(0),
        "1of3" => WorkerIndex(1),
        "2of3" => WorkerIndex(2),
        other => panic!("no such worker: {other}"),
    };

    // VUs belong to one worker each, whichever scenario uses them.
    let mut owners: BTreeMap<u64, BTreeSet<&str>> = BTreeMap::new();
    for ran in told_by_three.values().flatten() {
        owners.entry(ran.vu).or_default().insert(&ran.worker);
    }
    assert!(owners.values().all(|workers| workers.len() == 1), "{owners:?}");

    let t0 = t0(&verdict);
    let facts = [
        ("looping", "l", "red"),
        ("ramping", "r", "red"),
        ("shared", "s", "blue"),
        ("per_vu", "p", "blue"),
        ("constant", "c", "green"),
        ("rising", "i", "green"),
        ("starved", "v", "green"),
        ("patient", "f", "grey"),
        ("impatient", "x", "grey"),
    ];
    for (name, env, tag) in facts {
        let scenario = plan.scenarios.iter().find(|scenario| scenario.name == name).expect("planned");
        let schedule = &scenario.schedule;
        let all = &told_by_three[name];
        iterations(name, &told_by_three);
        assert!(all.iter().all(|ran| ran.env == env && ran.tag == tag), "{name}: {all:#?}");
        // Clocks of one machine; k6's time in the script has whole milliseconds.
        let earliest = t0 + schedule.starts_after.as_secs_f64() * 1e3 - 2.0;
        assert!(all.iter().all(|ran| ran.at as f64 >= earliest), "{name} starts no earlier than {earliest}: {all:#?}");
        let vus: BTreeSet<u64> = all.iter().map(|ran| ran.vu).collect();
        assert!(vus.len() as u64 <= schedule.max_vus(), "{name}: {vus:?}");

        if let Some(dealer) = schedule.dealer(3) {
            for ran in all {
                assert_eq!(dealer.owner(ran.iteration), Some(index(ran)), "{name}: {ran:?}");
            }
        }
        // An iteration that was dropped leaves its number to the next, so none is early.
        for (number, at) in (0..).zip(schedule.arrivals()) {
            let Some(ran) = all.iter().find(|ran| ran.iteration == number) else { continue };
            let planned = t0 + at.as_secs_f64() * 1e3 - 2.0;
            assert!(ran.at as f64 >= planned, "{name}: iteration {number} is not to start before {planned}: {ran:?}");
        }
        let (done, dropped) = (count(&verdict, "iterations", name), count(&verdict, "dropped_iterations", name));
        if let Some(iterations) = schedule.iterations() {
            assert_eq!(done + dropped, iterations, "{name}: {done} done, {dropped} dropped");
            assert_eq!(done, all.len() as u64, "{name}");
        }
    }
    assert_eq!(told_by_three["looping"].iter().map(|ran| ran.vu).collect::<BTreeSet<_>>().len(), 4);
    assert!(count(&verdict, "dropped_iterations", "starved") > 10);
    // Three VUs with one iteration each; only those that may finish count.
    assert_eq!((count(&verdict, "iterations", "patient"), count(&verdict, "iterations", "impatient")), (3, 0));
    let finished = told(&target, "finished");
    assert_eq!(finished.keys().collect::<Vec<_>>(), ["patient"]);

    // One k6 does the same.
    let target = Target::start();
    let one = Command::new(k6_binary())
        .args(["run", "--quiet", "--no-usage-report", "-e", &format!("TARGET={}", target.url())])
        .arg(&script)
        .output()
        .expect("k6 runs");
    assert!(one.status.success(), "{}", String::from_utf8_lossy(&one.stderr));
    let told_by_one = told(&target, "ran");
    for name in ["shared", "patient", "impatient"] {
        assert_eq!(iterations(name, &told_by_three), iterations(name, &told_by_one), "{name}");
    }
    // k6 numbers the iterations of a segment in steps of three here, however many its VUs have.
    let per_vu = plan.scenarios.iter().find(|scenario| scenario.name == "per_vu").expect("planned");
    let by_worker = per_vu.schedule.iterations_by_worker(3).expect("counted");
    let numbers = by_worker.iter().flat_map(|(index, all)| (0..*all).map(|own| own * 3 + u64::from(index.0)));
    assert_eq!(iterations("per_vu", &told_by_three), numbers.collect());
    assert_eq!(iterations("per_vu", &told_by_one), (0..12).collect());
    for told in [&told_by_three, &told_by_one] {
        let mut of_vus: BTreeMap<u64, u32> = BTreeMap::new();
        told["per_vu"].iter().for_each(|ran| *of_vus.entry(ran.vu).or_default() += 1);
        assert_eq!(of_vus.into_values().collect::<Vec<_>>(), [3; 4]);
    }
    assert_eq!(told(&target, "finished").keys().collect::<Vec<_>>(), ["patient"]);
}

/// Stock k6 works out for each segment how many VUs it needs at most; so does the plan.
#[test]
fn vus_of_every_worker_are_those_that_k6_needs_for_its_segment() {
    let loops = |vus: u32, start: &str, stop: &str| json!({"executor": "constant-vus", "vus": vus, "duration": "10s", "startTime": start, "gracefulStop": stop});
    let ramps = |down: &str, stages: Value| json!({"executor": "ramping-vus", "startVUs": 3, "gracefulRampDown": down, "gracefulStop": "5s", "stages": stages});
    let up_and_down = json!([
        {"duration": "7s", "target": 13}, {"duration": "0s", "target": 6}, {"duration": "3s", "target": 6},
        {"duration": "11s", "target": 0}, {"duration": "1s", "target": 8}
    ]);
    let mut tests = vec![
        json!({"a": loops(7, "0s", "0s"), "b": loops(5, "10s", "0s")}),
        json!({"a": loops(7, "0s", "5s"), "b": loops(5, "12s", "0s"), "c": loops(11, "15s", "0s")}),
        json!({"a": ramps("0s", up_and_down.clone())}),
        json!({"a": ramps("2s", up_and_down.clone()), "b": loops(10, "9s", "1s"), "c": loops(4, "20s", "1s")}),
        json!({"a": ramps("30s", up_and_down), "b": loops(10, "9s", "1s")}),
        json!({
            "a": {"executor": "shared-iterations", "vus": 5, "iterations": 23, "maxDuration": "20s"},
            "b": {"executor": "per-vu-iterations", "vus": 4, "iterations": 3, "startTime": "55s"},
            "c": {"executor": "constant-arrival-rate", "rate": 5, "duration": "9s", "preAllocatedVUs": 2, "maxVUs": 7},
            "d": {"executor": "ramping-arrival-rate", "stages": [{"duration": "9s", "target": 5}], "preAllocatedVUs": 6,
                "startTime": "39s"}
        }),
    ];
    if k6_can_be_controlled() {
        tests.push(json!({"a": loops(3, "4s", "0s"),
            "b": {"executor": "externally-controlled", "vus": 2, "maxVUs": 7, "duration": "5s"}}));
    }
    let folder = Folder::new();
    for (number, scenarios) in tests.iter().enumerate() {
        for workers in [1, 2, 3, 5] {
            let of = |segment: &str| {
                let options = format!("{{ scenarios: {scenarios}, {segment} }}");
                let script = folder
                    .write("test.js", format!("export const options = {options}; export default function () {{}}"));
                inspect(&script, &[])
            };
            let plan = plan(&of(""), workers);
            for index in plan.worker_indices() {
                let segment = Segment::new(index, workers).expect("one of them");
                let (part, sequence) = (segment.argument(), segment.sequence_argument());
                let options = of(&format!("executionSegment: '{part}', executionSegmentSequence: '{sequence}'"));
                let what = format!("test {number}, {index} of {workers}: {scenarios}");
                assert_eq!(plan.worker_vus(index), options.max_vus, "{what}");
            }
            assert!(plan.duration >= Duration::from_secs(1));
        }
    }
}

/// With 42 VUs on ten workers, two have one VU more, and k6 deals iterations out in a pattern of 42.
#[test]
fn uneven_shares_are_dealt_as_k6_deals_them() {
    let folder = Folder::new();
    let script = folder.write(
        "test.js",
        "import exec from 'k6/execution';
        export const options = { scenarios: { s: { executor: 'shared-iterations', vus: 42, iterations: 150 } } };
        export default () => console.log(`iteration ${exec.scenario.iterationInTest}.`);",
    );
    let schedule = plan(&inspect(&script, &[]), 10).scenarios[0].schedule.clone();
    let (dealer, shares) = (schedule.dealer(10).expect("numbers decide"), schedule.iterations_by_worker(10));
    let mut seen = BTreeSet::new();
    for index in (0..10).map(WorkerIndex) {
        let segment = Segment::new(index, 10).expect("one of them");
        let one = Command::new(k6_binary())
            .args(["run", "--quiet", "--no-usage-report", "--address", ""])
            .args(["--execution-segment", &segment.argument()])
            .args(["--execution-segment-sequence", &segment.sequence_argument()])
            .arg(&script)
            .output()
            .expect("k6 runs");
        let log = String::from_utf8_lossy(&one.stderr);
        let numbers = log.split("iteration ").skip(1).filter_map(|rest| rest.split('.').next()?.parse().ok());
        let numbers: Vec<u64> = numbers.collect();
        assert_eq!(shares.as_ref().and_then(|shares| shares.get(&index)), Some(&(numbers.len() as u64)), "{log}");
        for number in numbers {
            assert_eq!(dealer.owner(number), Some(index), "iteration {number}");
            assert!(seen.insert(number), "iteration {number} ran twice");
        }
    }
    assert_eq!(seen, (0..150).collect());
}
