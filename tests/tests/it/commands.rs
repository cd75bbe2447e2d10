//! The commands beside `run`, and what a person sees.

use std::collections::BTreeSet;

use lambdaload_tests::{cli::Folder, fixture};
use serde_json::Value;

const GOOD: &str = "import { Trend } from 'k6/metrics';
export const options = { vus: 4, iterations: 8, thresholds: { iterations: ['count==8'] } };
export default () => {};";

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[test]
fn plan_starts_nothing_and_cuts_workers_down() {
    let folder = Folder::new();
    folder.write("script.js", GOOD);
    let said = folder.run(&["plan", "--workers", "9"]);
    assert_eq!(said.code, Some(0), "{said:#?}");
    assert!(said.stdout.contains("4 × local"), "{}", said.stdout);
    assert!(said.stdout.contains("9 asked for, but no scenario has more than 4 VUs to deal out"), "{}", said.stdout);
    assert!(said.stdout.contains("8 iterations shared by 4 VUs"), "{}", said.stdout);
    assert_eq!(json(&folder.run(&["runs", "list", "--output", "json"]).stdout), json("[]"));

    let plan = json(&folder.run(&["plan", "--workers", "3", "--output", "json"]).stdout);
    let text = plan.to_string();
    for segment in ["0:1/3", "1/3:2/3", "2/3:1"] {
        assert!(text.contains(segment), "{plan:#}");
    }
}

#[test]
fn the_verdict_follows_its_published_schema() {
    let folder = Folder::new();
    folder.write("script.js", GOOD);
    assert_eq!(folder.run(&["run", "--workers", "2", "--tag", "team=shop", "--note", "first"]).code, Some(0));
    let schema =
        std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/../schema/verdict.schema.json")).expect("published");
    let schema = jsonschema::validator_for(&serde_json::from_slice(&schema).expect("JSON")).expect("a schema");
    let verdict = folder.verdict();
    let errors: Vec<String> = schema.iter_errors(&verdict).map(|error| error.to_string()).collect();
    assert_eq!(errors, [""; 0], "{verdict:#}");
    assert_eq!((&verdict["tags"]["team"], &verdict["note"]), (&"shop".into(), &"first".into()));
    let mut other = verdict.clone();
    other["outcome"] = "perhaps".into();
    assert!(schema.validate(&other).is_err(), "the schema can say no");
}

#[test]
fn output_json_is_the_verdict_and_nothing_else() {
    let folder = Folder::new();
    folder.write("script.js", GOOD);
    let said = folder.run(&["run", "--workers", "2", "--output", "json"]);
    assert_eq!(said.code, Some(0), "{said:#?}");
    assert_eq!(json(&said.stdout), folder.verdict());
}

#[test]
fn quiet_says_nothing_but_the_result() {
    let folder = Folder::new();
    folder.write("script.js", GOOD);
    let said = folder.run(&["run", "--workers", "2", "--quiet"]);
    assert_eq!((said.code, said.stderr.as_str()), (Some(0), ""), "{said:#?}");
    assert!(said.stdout.contains("VERDICT  passed"));
    assert!(!said.stdout.contains('\u{1b}'), "no colour where there is no terminal");
}

#[test]
fn runs_are_listed_latest_first_and_found_by_the_start_of_their_id() {
    let folder = Folder::new();
    folder.write("script.js", GOOD);
    for name in ["first", "second"] {
        assert_eq!(folder.run(&["run", "--workers", "1", "--name", name]).code, Some(0));
    }
    let list = json(&folder.run(&["runs", "list", "--output", "json"]).stdout);
    let names: Vec<&str> = list.as_array().expect("a list").iter().filter_map(|run| run["name"].as_str()).collect();
    assert_eq!(names, ["second", "first"], "{list:#}");
    let human = folder.run(&["runs", "list"]);
    assert!(human.stdout.contains("passed") && human.stdout.contains("second"), "{}", human.stdout);

    let id = list[1]["run"].as_str().expect("an id").to_owned();
    let found = folder.run(&["runs", "get", &id.to_lowercase()]);
    assert_eq!(found.code, Some(0), "{found:#?}");
    assert!(found.stdout.contains("VERDICT  passed"), "{}", found.stdout);
    let unknown = folder.run(&["runs", "get", "7ZZZZZZZZZ"]);
    assert_ne!(unknown.code, Some(0));
    assert!(unknown.stderr.contains("runs list"), "{}", unknown.stderr);
}

#[test]
fn a_run_can_be_watched_and_stopped_from_elsewhere() {
    let folder = Folder::new();
    let running = folder.spawn(&["run", &fixture("steady.js").display().to_string(), "--workers", "2"]);
    let (running, id) = running.wait_for("a run that runs", |_| {
        let list = json(&folder.run(&["runs", "list", "--output", "json"]).stdout);
        (list[0]["status"] == "running").then(|| list[0]["run"].as_str().map(str::to_owned))?
    });
    let watching = folder.spawn(&["watch", &id]);
    let stopped = folder.run(&["stop", &id]);
    assert_eq!(stopped.code, Some(0), "{stopped:#?}");
    let (ran, watched) = (running.wait(), watching.wait());
    assert_eq!((ran.code, watched.code), (Some(105), Some(105)), "{ran:#?} {watched:#?}");
    assert!(watched.stdout.contains("stopped by a person"), "{watched:#?}");
    let again = folder.run(&["stop", &id]);
    assert_eq!(again.code, Some(0), "what is over is stopped: {again:#?}");
    assert!(again.stderr.contains("has ended already"), "{again:#?}");
}

#[test]
fn two_runs_at_once_in_one_folder_do_not_disturb_each_other() {
    let folder = Folder::new();
    let script = fixture("deterministic.js").display().to_string();
    let both = [folder.spawn(&["run", &script, "--workers", "2"]), folder.spawn(&["run", &script, "--workers", "3"])];
    for running in both {
        let said = running.wait();
        assert_eq!(said.code, Some(0), "{said:#?}");
    }
    let list = json(&folder.run(&["runs", "list", "--output", "json"]).stdout);
    let ids: BTreeSet<&str> = list.as_array().expect("a list").iter().filter_map(|run| run["run"].as_str()).collect();
    assert_eq!(ids.len(), 2);
}

#[test]
fn an_archive_and_typescript_run_like_a_script() {
    let folder = Folder::new();
    folder.write("test.ts", "export const options = { vus: 2, iterations: 4, thresholds: { iterations: ['count==4'] } };
        interface Shop { name: string }
        export default (): void => { const shop: Shop = { name: __ENV.NAME }; if (shop.name !== 'x') { throw new Error(shop.name); } };");
    let said = folder.run(&["run", "test.ts", "--workers", "2", "-e", "NAME=x"]);
    assert_eq!(said.code, Some(0), "{said:#?}");
    let archive = std::process::Command::new(lambdaload_tests::k6_binary())
        .args(["archive", "-e", "NAME=x", "-O", "test.tar", "test.ts"])
        .current_dir(folder.path())
        .status();
    assert!(archive.expect("k6 runs").success());
    let said = folder.run(&["run", "test.tar", "--workers", "2"]);
    assert_eq!(said.code, Some(0), "{said:#?}");
}

#[test]
fn the_script_sees_the_variables_it_was_given_and_none_of_the_host() {
    let folder = Folder::new();
    folder.write(
        "script.js",
        "import { Counter } from 'k6/metrics'; const names = new Counter('names');
        export const options = { vus: 2, iterations: 2, thresholds: { 'names{name:GIVEN}': ['count>0'] } };
        export default () => { for (const name of Object.keys(__ENV)) names.add(1, { name }); };",
    );
    let mut command = folder.command(&["run", "--workers", "2", "-e", "GIVEN=1", "--output", "json"]);
    command.env("AWS_SECRET_ACCESS_KEY", "hidden").env("MY_PASSWORD", "hidden");
    let said = lambdaload_tests::cli::Running::start(command).wait();
    assert_eq!(said.code, Some(0), "{said:#?}");
    let everything = format!("{}{}", said.stdout, said.stderr);
    assert!(!everything.contains("hidden"));
    let names = json(&said.stdout);
    let counted = names["summary"]["metrics"].as_array().expect("metrics").iter().find(|m| m["name"] == "names");
    let count = &counted.expect("names")["values"]["count"];
    assert_eq!(count, 16.0, "one variable and seven of lambdaload's, seen by two iterations: {names:#}");
}

#[test]
fn flags_win_over_environment_and_environment_over_the_file() {
    let folder = Folder::new();
    folder.write("script.js", GOOD);
    folder.write("lambdaload.toml", "workers = 3\nname = \"from the file\"\n");
    let name_and_workers = |environment: &[(&str, &str)], arguments: &[&str]| {
        let mut command = folder.command(&[&["plan", "--output", "json"], arguments].concat());
        command.envs(environment.iter().copied());
        let plan = json(&lambdaload_tests::cli::Running::start(command).wait().stdout);
        plan["workers"].as_u64().or_else(|| plan["workers"].as_array().map(|w| w.len() as u64)).expect("workers")
    };
    assert_eq!(name_and_workers(&[], &[]), 3);
    assert_eq!(name_and_workers(&[("LAMBDALOAD_WORKERS", "2")], &[]), 2);
    assert_eq!(name_and_workers(&[("LAMBDALOAD_WORKERS", "2")], &["--workers", "1"]), 1);
}

#[test]
fn the_report_stands_alone_and_the_export_is_k6s() {
    let folder = Folder::new();
    let script = fixture("deterministic.js").display().to_string();
    let said =
        folder.run(&["run", &script, "--workers", "2", "--out-dir", "results", "--summary-export", "summary.json"]);
    assert_eq!(said.code, Some(0), "{said:#?}");
    let report = folder.read("results/report.html");
    assert!(report.starts_with("<!doctype html>") || report.starts_with("<!DOCTYPE html>"));
    assert!(report.contains("<svg") && report.contains("passed"));
    for outside in ["src=\"http", "href=\"http", "url(http", "<script src"] {
        assert!(!report.contains(outside), "{outside}");
    }
    assert_eq!(json(&folder.read("summary.json"))["metrics"]["items"]["count"], 400.0);
    let ignore = folder.read(".lambdaload/.gitignore");
    assert_eq!(ignore.trim(), "*");
}

#[test]
fn doctor_names_what_is_missing() {
    let folder = Folder::new();
    let well = folder.run(&["doctor"]);
    assert_eq!(well.code, Some(0), "{well:#?}");
    assert!(well.stdout.contains("k6"), "{}", well.stdout);
    let ill = folder.run(&["doctor", "--k6", "no-such-k6"]);
    assert_eq!(ill.code, Some(97), "{ill:#?}");
}

#[test]
fn completions_and_version() {
    let folder = Folder::new();
    let completions = folder.run(&["completions", "bash"]);
    assert!(completions.stdout.contains("lambdaload"), "{completions:#?}");
    let version = folder.run(&["--version"]);
    assert_eq!(version.stdout, format!("lambdaload {}\n", env!("CARGO_PKG_VERSION")));
}
