//! The summary, in all its shapes, is that of one k6.

use std::{
    collections::{BTreeMap, BTreeSet},
    process::{Command, Output},
};

use lambdaload_tests::{cli::Folder, fixture, k6_binary};
use serde_json::Value;

fn k6(folder: &Folder, arguments: &[&str]) -> Output {
    let mut command = Command::new(k6_binary());
    command.args(arguments).env("K6_NO_USAGE_REPORT", "true").current_dir(folder.path());
    command.output().expect("k6 runs")
}

fn json(folder: &Folder, file: &str) -> Value {
    serde_json::from_str(&folder.read(file)).expect("JSON")
}

/// A block of the full summary by its title and those around it, and what it says of each metric and check.
type Blocks = BTreeMap<Vec<String>, BTreeSet<String>>;

/// What does not depend on time: names, counts, shares, and the bounds of the script's own trend.
fn blocks(text: &str) -> Blocks {
    let mut blocks = Blocks::new();
    let mut place: Vec<(usize, String)> = Vec::new();
    let k6s = text.split("█ VERDICT").next().unwrap_or_default();
    for line in k6s.lines().filter(|line| !line.trim().is_empty()) {
        let indent = line.chars().take_while(|c| *c == ' ').count();
        let words = line.trim();
        if let Some(title) = words.strip_prefix("█ ").or_else(|| words.strip_prefix("↳ GROUP")) {
            place.retain(|(around, _)| *around < indent);
            place.push((indent, title.to_owned()));
            blocks.entry(place.iter().map(|(_, title)| title.clone()).collect()).or_default();
            continue;
        }
        let said = match words.split_once(": ") {
            Some((name, values)) if name.contains("...") => {
                let name = name.trim_end_matches('.');
                // There is a gauge of VUs only if a run has lasted a second.
                if name.starts_with("vus") {
                    continue;
                }
                let timed = ["duration", "data_"].iter().any(|timed| name.contains(timed));
                let exact = values.split_whitespace().filter(|value| {
                    let percentile = ["med=", "p("].iter().any(|statistic| value.starts_with(statistic));
                    !percentile && !value.ends_with("/s")
                });
                let exact: Vec<&str> = if timed { Vec::new() } else { exact.collect() };
                format!("{name} {}", exact.join(" "))
            }
            _ => words.to_owned(),
        };
        let titles = place.iter().map(|(_, title)| title.clone()).collect();
        blocks.entry(titles).or_default().insert(said);
    }
    blocks
}

#[test]
fn groups_and_scenarios_of_three_workers_are_those_of_one_k6() {
    let folder = Folder::new();
    let script = fixture("groups.js").display().to_string();
    let one =
        k6(&folder, &["run", "-q", "--no-color", "--summary-mode", "full", "--summary-export", "k6.json", &script]);
    let said =
        folder.run(&["run", &script, "--workers", "3", "--summary-mode", "full", "--summary-export", "ours.json"]);
    assert_eq!((said.code, one.status.code()), (Some(0), Some(0)), "{said:#?} {one:#?}");
    let (ours, k6s) = (blocks(&said.stdout), blocks(&String::from_utf8_lossy(&one.stdout)));
    assert_eq!(ours.keys().collect::<Vec<_>>(), k6s.keys().collect::<Vec<_>>());
    for (block, k6s) in k6s {
        assert_eq!(ours[&block], k6s, "{block:?}");
    }
    assert!(ours.keys().any(|titles| titles.len() == 3), "a scenario, a group and a group in it: {ours:#?}");
    let (ours, k6s) = (json(&folder, "ours.json"), json(&folder, "k6.json"));
    assert_eq!(ours["root_group"], k6s["root_group"], "groups without checks included");
    assert!(k6s["root_group"]["groups"]["no checks"].is_object());

    // Whatever it was started with, a run can be shown in every mode.
    let shown = |mode| folder.run(&["runs", "latest", "--summary-mode", mode]).stdout;
    assert_eq!(folder.run(&["runs", "latest"]).stdout, said.stdout, "without a word, as it was");
    assert_eq!(shown("full"), said.stdout);
    assert!(shown("disabled").starts_with("\n  █ VERDICT"), "{}", shown("disabled"));
    let compact = shown("compact");
    assert!(compact.contains("█ TOTAL RESULTS") && !compact.contains("GROUP"), "{compact}");
}

#[test]
fn without_k6s_blocks_the_verdict_is_shown_and_everything_is_kept() {
    let folder = Folder::new();
    folder.write("lambdaload.toml", "summary-mode = \"disabled\"");
    let script = fixture("groups.js").display().to_string();
    let said = folder.run(&["run", &script, "--workers", "2", "--summary-export", "ours.json"]);
    assert_eq!(said.code, Some(0), "{said:#?}");
    assert!(said.stdout.starts_with("\n  █ VERDICT  passed"), "{}", said.stdout);
    assert_eq!(json(&folder, "ours.json")["metrics"]["items"]["count"], 256);
    let full = folder.run(&["runs", "latest", "--summary-mode", "full"]).stdout;
    assert!(full.contains("█ SCENARIO: zeta"), "{full}");
}

#[test]
fn the_legacy_mode_is_refused_with_what_to_use() {
    let folder = Folder::new();
    let said = folder.run(&["run", "a.js", "--summary-mode", "legacy"]);
    assert_eq!(said.code, Some(2), "{said:#?}");
    assert!(said.stderr.contains("k6 2.0 has dropped its `legacy` summary; use compact, or full"), "{}", said.stderr);
    folder.write("lambdaload.toml", "summary-mode = \"legacy\"");
    let said = folder.run(&["run", "a.js"]);
    assert_eq!(said.code, Some(104), "{said:#?}");
    assert!(said.stderr.contains("summary-mode = legacy: k6 2.0 has dropped"), "{}", said.stderr);
}

/// Keys and types are equal everywhere; values are, but for what depends on time.
#[test]
fn the_machine_readable_summary_of_three_workers_is_that_of_one_k6() {
    let folder = Folder::new();
    let flag = "--new-machine-readable-summary";
    let script = fixture("groups.js").display().to_string();
    let said = folder.run(&["run", &script, "--workers", "3", flag, "--summary-export", "ours.json"]);
    assert_eq!(said.code, Some(0), "{said:#?}");
    let ours = json(&folder, "ours.json");
    assert_eq!(ours["config"]["script"], Value::from(std::fs::read_to_string(&script).expect("the script")));
    let one = k6(&folder, &["run", "-q", flag, "--summary-export", "k6.json", &script]);
    let k6_version = ours["metadata"]["k6_version"].as_str().expect("a version");
    // Before 1.5 k6 has no such summary to compare with; ours is there all the same.
    if ["1.0.", "1.1.", "1.2.", "1.3.", "1.4."].iter().any(|old| k6_version.starts_with(old)) {
        assert!(String::from_utf8_lossy(&one.stderr).contains("unknown flag"), "{one:#?}");
        assert_eq!(ours["version"], "1.0.0");
    } else {
        assert_eq!(one.status.code(), Some(0), "{one:#?}");
        same(&by_name(ours), &by_name(json(&folder, "k6.json")), "");
    }

    // An archive has the same script in it.
    let archived = k6(&folder, &["archive", "-O", "groups.tar", &script]);
    assert!(archived.status.success(), "{archived:#?}");
    let said = folder.run(&["run", "groups.tar", "--workers", "2", flag, "--summary-export", "ours.json"]);
    assert_eq!(said.code, Some(0), "{said:#?}");
    let source = std::fs::read_to_string(&script).expect("the script");
    assert_eq!(json(&folder, "ours.json")["config"]["script"], Value::from(source));
}

/// The list of metrics, which k6 writes in a random order, as an object. `vus` is there if a run saw its first second
/// through, so it is left out.
fn by_name(mut document: Value) -> Value {
    let Value::Array(metrics) = document["results"]["metrics"].take() else { panic!("{document:#}") };
    let named = metrics.into_iter().map(|m| (m["name"].as_str().expect("a name").to_owned(), m));
    document["results"]["metrics"] =
        named.filter(|(name, _)| !name.starts_with("vus")).collect::<serde_json::Map<_, _>>().into();
    document
}

fn same(ours: &Value, k6s: &Value, at: &str) {
    match (ours, k6s) {
        (Value::Object(ours), Value::Object(k6s)) => {
            assert_eq!(ours.keys().collect::<Vec<_>>(), k6s.keys().collect::<Vec<_>>(), "{at}");
            k6s.iter().for_each(|(key, k6s)| same(&ours[key], k6s, &format!("{at}/{key}")));
        }
        // Checks are listed by their first sample, and which VU comes first is chance.
        (Value::Array(ours), Value::Array(k6s)) => {
            let sorted = |list: &[Value]| {
                let mut list = list.to_vec();
                list.sort_by_key(|item| item["name"].to_string());
                list
            };
            assert_eq!(ours.len(), k6s.len(), "{at}");
            sorted(ours).iter().zip(&sorted(k6s)).for_each(|(ours, k6s)| same(ours, k6s, &format!("{at}[]")));
        }
        (Value::Number(ours), Value::Number(k6s)) => {
            let timed = ["/config/duration", "duration/values"].iter().any(|timed| at.contains(timed));
            let (ours, k6s) = (ours.as_f64().expect("a number"), k6s.as_f64().expect("a number"));
            let within = if at.ends_with("/med") || at.contains("/p9") { 0.001 } else { 1e-12 };
            assert!(timed || (ours - k6s).abs() <= k6s.abs() * within, "{at}: {ours}, k6 says {k6s}");
        }
        _ if at.ends_with("/generated_at") => {
            let time = |value: &Value| value.as_str().is_some_and(|t| t.starts_with("20") && t.ends_with('Z'));
            assert!(time(ours) && time(k6s), "{ours} and {k6s}");
        }
        _ => assert_eq!(ours, k6s, "{at}"),
    }
}
