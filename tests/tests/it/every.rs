//! `run --every`: one run after the other, by the clock.

use std::time::{Duration, SystemTime};

use lambdaload_tests::cli::{Folder, Said};
use serde_json::Value;

/// Iterations that take as long as is said, and a threshold that holds unless it is told otherwise.
const SCRIPT: &str = r"
import { sleep } from 'k6';
import { Trend } from 'k6/metrics';
const took = new Trend('took');
export const options = { vus: 1, iterations: 1, thresholds: { took: ['max<5'] } };
export default function () { sleep(Number(__ENV.LASTS || '0.1')); took.add(Number(__ENV.TOOK || '1')); }
";

fn folder() -> Folder {
    let folder = Folder::new();
    folder.write("script.js", SCRIPT);
    folder
}

/// The runs in the order of their starts, with the moments of these in milliseconds.
fn verdicts(folder: &Folder, out: &str) -> Vec<(String, i64, Value)> {
    let entries = std::fs::read_dir(folder.path().join(out)).expect("a folder");
    let mut names: Vec<String> =
        entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    let verdicts = names.into_iter().map(|name| {
        let verdict: Value = serde_json::from_str(&folder.read(&format!("{out}/{name}/verdict.json"))).expect("JSON");
        let at = verdict["created_at"].as_i64().expect("a moment") / 1_000;
        (name, at, verdict)
    });
    verdicts.collect()
}

fn table(said: &Said) -> Vec<String> {
    let lines: Vec<&str> = said.stdout.lines().collect();
    let head = lines.iter().position(|line| line.contains("started") && line.contains("exit code"));
    lines[head.unwrap_or_else(|| panic!("no table: {said:#?}")) + 1..].iter().map(|line| (*line).to_owned()).collect()
}

#[test]
fn each_run_has_its_own_verdict_and_starts_by_the_clock() {
    let folder = folder();
    let said =
        folder.run(&["run", "--workers", "1", "--every", "6s", "--times", "3", "--out-dir", "out", "--no-color"]);
    assert_eq!(said.code, Some(0), "{said:#?}");
    let verdicts = verdicts(&folder, "out");
    let names: Vec<&str> = verdicts.iter().map(|(name, ..)| name.as_str()).collect();
    assert_eq!(names, ["run-1", "run-2", "run-3"]);
    assert!(verdicts.iter().all(|(.., verdict)| verdict["outcome"] == "passed"), "{verdicts:?}");
    let ids: std::collections::BTreeSet<&str> =
        verdicts.iter().filter_map(|(.., verdict)| verdict["run"].as_str()).collect();
    assert_eq!(ids.len(), 3);
    // No earlier than two intervals after the first, whatever each run took.
    assert!(verdicts[2].1 - verdicts[0].1 > 10_000, "{:?}", verdicts.iter().map(|v| v.1).collect::<Vec<_>>());
    let rows = table(&said);
    assert_eq!(rows.len(), 3, "{said:#?}");
    for (row, id) in rows.iter().zip(verdicts.iter().filter_map(|(.., verdict)| verdict["run"].as_str())) {
        assert!(row.contains(id) && row.contains("passed"), "{row}");
    }
}

#[test]
fn an_overlap_is_skipped_and_said_and_the_worst_run_counts() {
    let folder = folder();
    let arguments = ["run", "--workers", "1", "--every", "2s", "--times", "3", "-e", "LASTS=5", "-e", "TOOK=9", "-q"];
    let said = folder.run(&arguments);
    assert_eq!(said.code, Some(99), "{said:#?}");
    let rows = table(&said);
    assert!(rows[0].contains("failed") && rows[1].contains("skipped"), "{rows:#?}");
    assert!(rows[1].ends_with("the run before was still going on"), "{rows:#?}");
}

#[test]
fn ctrl_c_stops_the_run_and_the_loop() {
    let folder = folder();
    let running = folder.spawn(&["run", "--workers", "1", "--every", "1h", "--times", "5", "-e", "LASTS=60"]);
    let (running, ()) = running.wait_for("the first run to run", |_| {
        let said = folder.run(&["runs", "list"]);
        said.stdout.contains("running").then_some(())
    });
    let at = SystemTime::now();
    running.signal("INT");
    let said = running.wait();
    assert_eq!(said.code, Some(105), "{said:#?}");
    assert!(at.elapsed().expect("later") < Duration::from_mins(1), "it waited for the next run");
    let rows = table(&said);
    assert!(rows[0].starts_with("1 of 5") && rows[1] == "4 runs not started", "{rows:#?}");
}

#[test]
fn ctrl_c_between_two_runs_ends_the_loop() {
    let folder = folder();
    let running = folder.spawn(&["run", "--workers", "1", "--every", "1h", "--times", "2"]);
    let (running, ()) = running.wait_for("the first run's verdict", |_| {
        // Its report is the last thing of it.
        let said = folder.run(&["runs", "list"]);
        said.stdout.contains("passed").then_some(())
    });
    running.signal("TERM");
    let said = running.wait();
    assert_eq!(said.code, Some(105), "{said:#?}");
    assert!(table(&said)[0].contains("passed"), "{said:#?}");
}

#[test]
fn documents_stay_alone_on_stdout() {
    let folder = folder();
    let said = folder.run(&["run", "--workers", "1", "--every", "3s", "--times", "2", "--output", "json"]);
    assert_eq!(said.code, Some(0), "{said:#?}");
    let documents: Vec<Value> = serde_json::Deserializer::from_str(&said.stdout)
        .into_iter()
        .collect::<Result<_, _>>()
        .unwrap_or_else(|error| panic!("{error}: {said:#?}"));
    assert_eq!(documents.len(), 2);
    assert!(said.stderr.contains("2 of 2") && said.stderr.contains("exit code"), "{said:#?}");
}

#[test]
fn what_cannot_be_meant_is_refused_before_anything_starts() {
    let folder = folder();
    let refused = |arguments: &[&str]| {
        let said = folder.run(&[&["run", "--workers", "1"], arguments].concat());
        assert!(said.code == Some(104) || said.code == Some(2), "{said:#?}");
        said.stderr
    };
    assert!(refused(&["--every", "10m"]).contains("--every 10m without --times"));
    assert!(refused(&["--times", "3"]).contains("--times 3 without --every"));
    assert!(refused(&["--every", "10", "--times", "3"]).contains("expected a duration such as 10m"));
    let exported = refused(&["--every", "10m", "--times", "3", "--summary-export", "s.json"]);
    assert!(exported.contains("--every and --summary-export: expected one of them"), "{exported}");
    // A script that is not valid will not be valid at the next start.
    folder.write("script.js", "export default function () {");
    let said = folder.run(&["run", "--workers", "1", "--every", "1h", "--times", "3"]);
    assert_eq!(said.code, Some(107), "{said:#?}");
    assert!(!folder.path().join(".lambdaload/runs").exists());
}
