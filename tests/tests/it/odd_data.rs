//! Data that are hard to write down: bare k6, run with the same script, is the judge.

use std::{collections::BTreeSet, path::Path, process::Command};

use lambdaload_tests::{
    cli::{Folder, Said},
    fixture, k6_binary, k6_version,
    target::Target,
};
use serde_json::Value;

/// The exit code of bare k6, and its export.
fn k6_alone(folder: &Folder, script: &Path) -> (Option<i32>, Value) {
    let k6 = Command::new(k6_binary())
        .args(["run", "--quiet", "--summary-export", "k6.json"])
        .arg(script)
        .env("K6_NO_USAGE_REPORT", "true")
        .current_dir(folder.path())
        .output()
        .expect("k6 runs");
    (k6.status.code(), json(&folder.read("k6.json")))
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

fn run(folder: &Folder, script: &Path, workers: &str) -> (Said, Value) {
    let script = script.display().to_string();
    let said = folder.run(&["run", &script, "--workers", workers, "--summary-export", "merged.json"]);
    let merged = json(&folder.read("merged.json"));
    (said, merged)
}

/// Every metric of the script itself has k6's numbers, and every threshold k6's decision.
fn same_as_k6(merged: &Value, k6: &Value) {
    let metrics = |json: &Value| json["metrics"].as_object().expect("metrics").clone();
    let names = |json: &Value| {
        let names = metrics(json).into_iter().map(|(name, _)| name);
        // k6 takes VUs once a second, and this takes less.
        names.filter(|name| name != "vus" && name != "vus_max").collect::<BTreeSet<_>>()
    };
    assert_eq!(names(merged), names(k6));
    for (name, k6) in metrics(k6) {
        let merged = &merged["metrics"][&name];
        assert_eq!(merged["thresholds"], k6["thresholds"], "{name}");
        let is_timed = ["iteration_duration", "group_duration", "data_sent", "data_received"].contains(&name.as_str());
        for (key, value) in k6.as_object().expect("values").iter().filter(|_| !is_timed) {
            let is_its_own = key == "thresholds" || (key == "rate" && k6.get("count").is_some());
            // Before 2.2 the greatest value of a gauge began at 0.
            let is_amiss = key == "max" && k6.get("value").is_some() && k6_version() < (2, 2, 0);
            if is_its_own || is_amiss || name.starts_with("vus") {
                continue;
            }
            let ours = &merged[key];
            let (Some(number), Some(ours)) = (value.as_f64(), ours.as_f64()) else {
                // Infinite values are null in both.
                assert_eq!(ours, value, "{name} {key}");
                continue;
            };
            let within = if key.starts_with("p(") || key == "med" { 0.001 } else { 1e-12 };
            assert!((ours - number).abs() <= number.abs() * within, "{name} {key}: {ours}, k6 says {number}");
        }
    }
    assert_eq!(merged["root_group"], k6["root_group"]);
}

#[test]
fn odd_values_tags_and_names_mean_what_they_mean_to_k6() {
    let folder = Folder::new();
    let script = fixture("odd-data.js");
    let (code, k6) = k6_alone(&folder, &script);
    assert_eq!(code, Some(99), "some thresholds are not to hold");
    for workers in ["1", "4"] {
        let (said, merged) = run(&folder, &script, workers);
        assert_eq!(said.code, code, "{said:#?}");
        same_as_k6(&merged, &k6);
        let verdict = folder.verdict();
        assert_eq!((&verdict["outcome"], &verdict["samples"]["refused"]), (&"failed".into(), &0.into()));
        assert_eq!(verdict["samples"]["read"], verdict["samples"]["merged"]);
    }
    let verdict = folder.verdict();
    let thresholds = verdict["thresholds"].as_array().expect("thresholds");
    let suffixes: BTreeSet<&str> = thresholds.iter().filter_map(|t| t["suffix"].as_str()).collect();
    for odd in ["odd:a\"b'c", "odd:a\nb\tc\r", "odd:😀é漢", "odd:a\\b\\n\\\"", "odd:<b>&amp;</b>"] {
        // What is trimmed is not in the key, but the key is shown as it was written.
        assert!(suffixes.contains(odd) || odd.ends_with('\r'), "{odd}: {suffixes:?}");
    }
}

const INFINITE: &str = "import { Counter, Gauge, Rate, Trend } from 'k6/metrics';
    const t = new Trend('tt'), c = new Counter('cc'), g = new Gauge('gg'), r = new Rate('rr');
    export const options = { vus: 2, iterations: 2, thresholds: {
        tt: ['max>1e308', 'min<-1e308', 'avg<1', 'p(50)==3', 'p(99)>1e308'], cc: ['count>1e308'], gg: ['value>1e308'], rr: ['rate==1'] } };
    export default () => { t.add(Infinity); t.add(-Infinity); for (let i = 0; i < 5; i++) t.add(3); c.add(Infinity); g.add(Infinity); r.add(Infinity); };";

#[test]
fn infinite_values_count_as_in_k6_or_are_missed_aloud() {
    let folder = Folder::new();
    let script = folder.write("test.js", INFINITE);
    let (code, k6) = k6_alone(&folder, &script);
    let (said, merged) = run(&folder, &script, "2");
    if k6_version() < (2, 0, 0) {
        assert_eq!((said.code, code), (Some(99), Some(99)), "{said:#?}");
        same_as_k6(&merged, &k6);
        return;
    }
    // k6's own summary has them, but its output has not: nobody can say what the verdict would be.
    assert_eq!(said.code, Some(96), "{said:#?}");
    let verdict = folder.verdict();
    assert_eq!((&verdict["outcome"], &verdict["samples"]["unwritten"]), (&"invalid".into(), &10.into()), "{verdict:#}");
    assert!(said.stdout.contains("k6 could not write 10 samples"), "{}", said.stdout);
    assert!(said.stdout.contains("infinite values out of metrics"), "{}", said.stdout);
}

/// One request to each of so many URLs, each a name of its own.
fn many_urls(count: u32, workers: &str) -> (Folder, Said, Value) {
    let (folder, target) = (Folder::new(), Target::start());
    folder.write(
        "test.js",
        format!(
            "import http from 'k6/http'; import exec from 'k6/execution';
            export const options = {{
                scenarios: {{ all: {{ executor: 'shared-iterations', vus: 8, iterations: {count}, maxDuration: '5m' }} }},
                thresholds: {{
                    http_reqs: ['count=={count}'], 'http_reqs{{status:200}}': ['count=={count}'], http_req_failed: ['rate==0'],
                    'http_req_duration{{method:GET}}': ['p(99.9)<60000', 'min>0'],
                    'http_reqs{{name:{url}/?item={last}}}': ['count==1'],
                }} }};
            export default () => http.get(`{url}/?item=${{exec.scenario.iterationInTest}}`);",
            url = target.url(),
            last = count - 1,
        ),
    );
    let said = folder.run(&["run", "test.js", "--workers", workers]);
    assert_eq!(said.code, Some(0), "{said:#?}");
    assert_eq!(target.requests()["/"], u64::from(count));
    let verdict = folder.verdict();
    assert_eq!((&verdict["outcome"], verdict["thresholds"].as_array().map(Vec::len)), (&"passed".into(), Some(6)));
    assert!(verdict["thresholds"].as_array().expect("thresholds").iter().all(|t| t["exact"] == true), "{verdict:#}");
    assert_eq!(verdict["samples"]["read"], verdict["samples"]["merged"]);
    (folder, said, verdict)
}

#[test]
fn five_hundred_urls_are_kept_apart() {
    let (_, said, verdict) = many_urls(500, "2");
    assert_eq!((&verdict["samples"]["folded"], &verdict["samples"]["folded_metrics"]), (&0.into(), &0.into()));
    assert!(!said.stdout.contains("what to do"), "{}", said.stdout);
}

#[test]
fn of_twenty_thousand_urls_the_rest_is_folded_and_names_are_advised() {
    let (folder, said, verdict) = many_urls(20_000, "2");
    let samples = &verdict["samples"];
    let without_own = samples["folded"].as_u64().expect("a count");
    // Each worker keeps 4,000 tag sets apart. Nine metrics have one for each URL; others come once, some of them late.
    assert!((180_000 - 8_000..180_000).contains(&without_own), "{samples}");
    let metrics = samples["folded_metrics"].as_u64().expect("a count");
    assert!((9..=13).contains(&metrics), "{samples}");
    let told = format!("samples of {metrics} metrics are beyond the 4,000");
    assert!(said.stdout.contains(&told), "{}", said.stdout);
    assert!(said.stdout.contains("what to do: give requests whose URLs differ one name"), "{}", said.stdout);
    let run = verdict["run"].as_str().expect("an id");
    let report = folder.read(&format!(".lambdaload/runs/{run}/report.html"));
    assert!(report.contains(&told) && report.contains("give requests whose URLs differ one name"));
}
