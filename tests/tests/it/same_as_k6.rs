//! Four workers mean what one k6 means.

use std::{collections::BTreeSet, process::Command};

use lambdaload_tests::{cli::Folder, fixture, k6_binary, start_skews, target::Target};
use serde_json::Value;

/// A script whose values are functions of the iteration: the merged export of four workers is k6's own, but for what
/// depends on time.
#[test]
fn the_export_of_four_workers_is_that_of_one_k6() {
    let folder = Folder::new();
    let script = fixture("deterministic.js").display().to_string();
    let k6 = Command::new(k6_binary())
        .args(["run", "--quiet", "--summary-export", "k6.json", &script])
        .env("K6_NO_USAGE_REPORT", "true")
        .current_dir(folder.path())
        .output()
        .expect("k6 runs");
    let said = folder.run(&["run", &script, "--workers", "4", "--summary-export", "merged.json", "--quiet"]);
    assert_eq!(said.code, k6.status.code(), "{said:#?}");
    assert_eq!(said.code, Some(0), "{said:#?}");

    let json = |name| serde_json::from_str::<Value>(&folder.read(name)).expect("JSON");
    let (k6, merged) = (json("k6.json"), json("merged.json"));
    assert_eq!(merged["root_group"], k6["root_group"]);
    let names = |json: &Value| json["metrics"].as_object().expect("metrics").keys().cloned().collect::<BTreeSet<_>>();
    let timed = ["vus", "vus_max"];
    let without_vus = |json| names(json).into_iter().filter(|n| !timed.contains(&n.as_str())).collect::<BTreeSet<_>>();
    assert_eq!(without_vus(&merged), without_vus(&k6));
    for name in ["cost", "wait{kind:even}", "odd", "checks"] {
        same_numbers(name, &merged["metrics"][name], &k6["metrics"][name]);
    }
    for name in ["items", "seen", "seen{iteration:7}", "iterations"] {
        assert_eq!(merged["metrics"][name]["count"], k6["metrics"][name]["count"], "{name}");
    }
    for name in names(&k6) {
        assert_eq!(merged["metrics"][&name]["thresholds"], k6["metrics"][&name]["thresholds"], "{name}");
    }
}

fn same_numbers(name: &str, merged: &Value, k6: &Value) {
    for (key, k6) in k6.as_object().expect("values") {
        let Some(k6) = k6.as_f64() else { continue };
        let merged = merged[key].as_f64().unwrap_or_else(|| panic!("{name} {key}"));
        let within = if matches!(key.as_str(), "med" | "p(90)" | "p(95)") { 0.001 } else { 1e-12 };
        assert!((merged - k6).abs() <= k6.abs() * within, "{name} {key}: {merged}, k6 says {k6}");
    }
}

/// The server is the witness: each iteration of the whole ran once, wherever it ran.
#[test]
fn each_iteration_runs_exactly_once() {
    let (folder, target) = (Folder::new(), Target::start());
    let script = fixture("deterministic.js").display().to_string();
    let said = folder.run(&["run", &script, "--workers", "3", "-e", &format!("TARGET={}", target.url())]);
    assert_eq!(said.code, Some(0), "{said:#?}");
    let requests = target.requests();
    let iterations: Vec<(&String, &u64)> =
        requests.iter().filter(|(path, _)| path.starts_with("/iteration/")).collect();
    assert_eq!(iterations.len(), 200);
    assert!(iterations.iter().all(|(_, count)| **count == 1), "{iterations:?}");

    let verdict = folder.verdict();
    let reqs = verdict["summary"]["metrics"].as_array().expect("metrics").iter().find(|m| m["name"] == "http_reqs");
    assert_eq!(reqs.expect("http_reqs")["values"]["count"], 200.0, "the server and the summary agree");
}

#[test]
fn setup_and_teardown_run_once_and_every_worker_gets_the_data() {
    let (folder, target) = (Folder::new(), Target::start());
    let script = fixture("hooks.js").display().to_string();
    let said = folder.run(&["run", &script, "--workers", "4", "-e", &format!("TARGET={}", target.url())]);
    assert_eq!(said.code, Some(0), "{said:#?}");
    let requests = target.requests();
    assert_eq!((requests.get("/setup"), requests.get("/teardown/3")), (Some(&1), Some(&1)), "{requests:?}");
    // Their samples are part of the whole.
    let verdict = folder.verdict();
    let reqs = verdict["summary"]["metrics"].as_array().expect("metrics").iter().find(|m| m["name"] == "http_reqs");
    assert_eq!(reqs.expect("http_reqs")["values"]["count"], 2.0);
    assert_eq!(verdict["samples"]["read"], verdict["samples"]["merged"]);
}

/// k6's `rps` limits one process; the limit is dealt out, so that the whole keeps to it.
#[test]
fn rps_holds_for_all_workers_together() {
    let (folder, target) = (Folder::new(), Target::start());
    folder.write(
        "test.js",
        "import http from 'k6/http';
        export const options = { rps: 6, scenarios: { s: { executor: 'constant-vus', vus: 4, duration: '3s' } } };
        export default () => http.get(`${__ENV.TARGET}/limited`);",
    );
    let said = folder.run(&["run", "test.js", "--workers", "3", "-e", &format!("TARGET={}", target.url())]);
    assert_eq!(said.code, Some(0), "{said:#?}");
    let requests = target.requests()["/limited"];
    // Without dealing out it would be three times as many; each limiter lets one request through at once.
    assert!((1..=30).contains(&requests), "{requests} requests in 3 s at 6 per second");
}

#[test]
fn vus_add_up_and_the_start_is_common() {
    let folder = Folder::new();
    let script = fixture("steady.js").display().to_string();
    let said = folder.run(&["run", &script, "--workers", "2", "-e", "DURATION=3s"]);
    assert_eq!(said.code, Some(0), "{said:#?}");
    let verdict = folder.verdict();
    let vus = verdict["summary"]["metrics"].as_array().expect("metrics").iter().find(|m| m["name"] == "vus");
    assert_eq!(vus.expect("vus")["values"]["max"], 4.0);
    assert_eq!(start_skews(&verdict).len(), 2);
}
