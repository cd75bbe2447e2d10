//! The script's own `handleSummary()`: once, with what one k6 would have given it.

use std::process::Command;

use lambdaload_tests::{
    cli::{Folder, Running, Said, descendants, is_alive, wait_for},
    fixture, k6_binary,
    target::Target,
};
use serde_json::Value;

fn run(folder: &Folder, arguments: &[&str]) -> Said {
    folder.run(&[&["run", "--out-dir", "out"], arguments].concat())
}

/// A script that does nothing but have this `handleSummary()`.
fn script(body: &str) -> String {
    format!(
        "import exec from 'k6/execution';\nexport default function () {{}}\nexport function handleSummary(data) {{ {body} }}"
    )
}

#[test]
fn three_workers_give_it_what_one_k6_gives_it() {
    let (folder, target) = (Folder::new(), Target::start());
    let script = fixture("handle-summary.js").display().to_string();
    let k6 = Command::new(k6_binary())
        .args(["run", "--quiet", "--address", "", &script])
        .env("K6_NO_USAGE_REPORT", "true")
        .current_dir(folder.path())
        .output()
        .expect("k6 runs");
    let said = run(&folder, &[&script, "--workers", "3", "-e", &format!("TARGET={}", target.url())]);
    assert_eq!((said.code, k6.status.code()), (Some(99), Some(99)), "{said:#?}");

    let requests = target.requests();
    assert_eq!((requests.get("/setup"), requests.get("/summary")), (Some(&1), Some(&1)), "{requests:?}");
    let json = |name| serde_json::from_str::<Value>(&folder.read(name)).expect("JSON");
    let (mut k6, mut ours) = (json("data.json"), json("out/data.json"));
    for data in [&mut k6, &mut ours] {
        let duration = data["state"]["testRunDurationMs"].take();
        assert!(duration.as_f64().is_some_and(|milliseconds| milliseconds > 0.0), "{duration}");
        sort_by_name(&mut data["root_group"]);
        let metrics = data["metrics"].as_object_mut().expect("metrics");
        // One run has made a request more, for us to count; gauges of VUs come with the seconds of a clock.
        metrics.retain(|name, _| !name.starts_with("http_req") && !name.starts_with("vus") || name.ends_with("none}"));
        for (name, metric) in metrics {
            let values = metric["values"].as_object_mut().expect("values");
            let is_timed = name.ends_with("_duration") || name.starts_with("data_");
            for (value, number) in values.iter_mut().filter(|(value, _)| is_timed || *value == "rate" && name != "odd")
            {
                assert!(number.take().is_number(), "{name} {value}");
            }
        }
    }
    same("", &ours, &k6);
    assert!(said.stdout.starts_with("my own summary\n\n  █ VERDICT  failed"), "{}", said.stdout);
    assert!(said.stderr.contains("handleSummary() wrote data.json in out"), "{}", said.stderr);
}

/// Groups and checks come by their first samples, of which another may be first each time.
fn sort_by_name(group: &mut Value) {
    for list in ["groups", "checks"] {
        let list = group[list].as_array_mut().expect("a list");
        list.sort_by_key(|item| item["name"].to_string());
        list.iter_mut().filter(|item| item["groups"].is_array()).for_each(sort_by_name);
    }
}

/// The same in all but the error of percentiles.
fn same(place: &str, ours: &Value, k6: &Value) {
    match (ours, k6) {
        (Value::Object(ours), Value::Object(k6)) => {
            let keys = |object: &serde_json::Map<String, Value>| object.keys().cloned().collect::<Vec<_>>();
            assert_eq!(keys(ours), keys(k6), "{place}");
            ours.iter().for_each(|(key, value)| same(&format!("{place}/{key}"), value, &k6[key]));
        }
        (Value::Array(ours), Value::Array(k6)) => {
            assert_eq!(ours.len(), k6.len(), "{place}");
            ours.iter().zip(k6).for_each(|(ours, k6)| same(&format!("{place}/"), ours, k6));
        }
        (Value::Number(ours), Value::Number(k6)) => {
            let (ours, k6) = (ours.as_f64().expect("a number"), k6.as_f64().expect("a number"));
            let is_percentile = place.ends_with("/med") || place.contains("/p(");
            let within = if is_percentile { 0.001 } else { 1e-12 };
            assert!((ours - k6).abs() <= k6.abs() * within, "{place}: {ours}, k6 says {k6}");
        }
        _ => assert_eq!(ours, k6, "{place}"),
    }
}

#[test]
fn its_files_land_beside_the_report_and_nowhere_else() {
    let folder = Folder::new();
    folder.write(
        "test.js",
        script(
            r"return {
                'summary.json': 'mine', 'junit/results.xml': '<ok/>', 'image.bin': new Uint8Array([0, 255, 10]),
                'report.html': 'not mine', '../escaped.txt': 'x', '/tmp/lambdaload-escaped.txt': 'x', stderr: 'on stderr\n',
            };",
        ),
    );
    let said = run(&folder, &["test.js", "--workers", "2"]);
    assert_eq!(said.code, Some(0), "{said:#?}");
    assert_eq!(
        (folder.read("out/summary.json").as_str(), folder.read("out/junit/results.xml").as_str()),
        ("mine", "<ok/>")
    );
    assert_eq!(std::fs::read(folder.path().join("out/image.bin")).expect("is there"), [0, 255, 10]);
    assert!(folder.read("out/report.html").contains("<html"));
    assert!(!folder.path().join("escaped.txt").exists());
    assert!(!std::path::Path::new("/tmp/lambdaload-escaped.txt").exists());
    for name in ["report.html", "../escaped.txt", "/tmp/lambdaload-escaped.txt"] {
        let warning = format!("warning: handleSummary() returned a file `{name}`, which was not written\n");
        assert!(said.stderr.contains(&warning), "{name}: {}", said.stderr);
    }
    assert!(said.stderr.contains("on stderr\n"), "{}", said.stderr);
    // Files only: k6 prints no summary then, and nor do we.
    assert!(said.stdout.starts_with("\n  █ VERDICT  no thresholds"), "{}", said.stdout);
}

#[test]
fn what_it_said_can_be_read_again() {
    let folder = Folder::new();
    folder.write("test.js", script("return { stdout: `VUs: ${typeof data.metrics.iterations.values.count}` };"));
    let said = run(&folder, &["test.js", "--workers", "2"]);
    assert!(said.stdout.starts_with("VUs: number\n\n  █ VERDICT"), "{said:#?}");
    let again = folder.run(&["runs", "latest"]);
    assert!(again.stdout.starts_with("VUs: number\n\n  █ VERDICT"), "{again:#?}");
    // A document is nothing but the document.
    let json = run(&folder, &["test.js", "--workers", "2", "--output", "json"]);
    serde_json::from_str::<Value>(&json.stdout).expect("JSON alone");
}

#[test]
fn one_that_fails_changes_no_verdict() {
    for (body, words) in [
        ("throw new Error('no template');", "Error: no template\n  \tat handleSummary (file:///"),
        ("return 5;", "handleSummary() returned Number: expected an object"),
        ("exec.test.abort('never');", "test aborted: never"),
        ("return new Promise(() => {});", "a promise that was never settled"),
    ] {
        let folder = Folder::new();
        folder.write("test.js", script(body));
        let said = run(&folder, &["test.js", "--workers", "2", "--quiet"]);
        assert_eq!(said.code, Some(0), "{said:#?}");
        let warning = "warning: the script's handleSummary() failed; the usual summary is shown instead\n";
        assert!(said.stderr.contains(warning) && said.stderr.contains(words), "{body}: {said:#?}");
        assert!(said.stdout.contains("█ TOTAL RESULTS") && said.stdout.contains("█ VERDICT"), "{said:#?}");
    }
}

#[test]
fn after_a_run_that_was_aborted_it_is_called_as_k6_calls_it() {
    let folder = Folder::new();
    let aborts = script("return { stdout: `${data.metrics.iterations ? 'some' : 'no'} iterations\\n` };").replace(
        "default function () {",
        "default function () { if (exec.scenario.iterationInTest === 3) exec.test.abort('enough');",
    );
    folder.write("test.js", format!("{aborts}\nexport const options = {{ iterations: 50, vus: 2 }};"));
    let said = run(&folder, &["test.js", "--workers", "2"]);
    assert_eq!(said.code, Some(108), "{said:#?}");
    assert!(said.stdout.starts_with("some iterations\n"), "{said:#?}");
}

#[test]
fn nothing_ran_and_nothing_is_summarized() {
    let folder = Folder::new();
    let throws = script("return { stdout: 'called' };") + "\nexport function setup() { throw new Error('no login'); }";
    folder.write("test.js", throws);
    let said = run(&folder, &["test.js", "--workers", "2"]);
    assert_eq!(said.code, Some(107), "{said:#?}");
    assert!(!said.stdout.contains("called"), "{said:#?}");
}

#[test]
fn it_sees_the_variables_of_the_test_and_none_of_ours() {
    let folder = Folder::new();
    folder.write(
        "test.js",
        script("return { stdout: [__ENV.WORD, __ENV.PATH, __ENV.LAMBDALOAD_K6].join('|') + '\\n' };"),
    );
    let said = run(&folder, &["test.js", "--workers", "1", "-e", "WORD=given"]);
    assert!(said.stdout.starts_with("given||\n"), "{said:#?}");
}

#[test]
fn one_that_takes_too_long_for_a_person_is_cut_short() {
    let (folder, target) = (Folder::new(), Target::start());
    let asks = "http.get(`${__ENV.TARGET}/summary`); while (true) {}";
    folder.write("test.js", format!("import http from 'k6/http';\n{}", script(asks)));
    let running = folder.spawn(&["run", "test.js", "--workers", "1", "-e", &format!("TARGET={}", target.url())]);
    let (running, k6) = running.wait_for("handleSummary() to be called", |running| {
        target.requests().get("/summary").map(|_| descendants(running.pid()))
    });
    assert!(!k6.is_empty(), "a k6 is calling it");
    running.signal("INT");
    let said = running.wait();
    assert_eq!(said.code, Some(0), "{said:#?}");
    assert!(said.stderr.contains("stopped by Ctrl-C or a signal"), "{said:#?}");
    assert!(said.stdout.contains("█ TOTAL RESULTS") && said.stdout.contains("█ VERDICT"), "{said:#?}");
    wait_for("its k6 to end", || k6.iter().all(|(pid, _)| !is_alive(*pid)).then_some(()));
}

/// Without a summary k6 calls it not at all.
#[test]
fn it_is_not_called_when_the_summary_is_off() {
    let folder = Folder::new();
    folder.write("script.js", script("return { 'called.txt': 'yes', stdout: 'called' };"));
    let said = run(&folder, &["script.js", "--summary-mode", "disabled"]);
    assert_eq!(said.code, Some(0), "{said:#?}");
    assert!(said.stdout.contains("█ VERDICT") && !said.stdout.contains("called"), "{}", said.stdout);
    assert!(!folder.path().join("out/called.txt").exists());
}

#[test]
fn it_gets_the_machine_readable_shape_if_that_is_asked_for() {
    let folder = Folder::new();
    folder.write("script.js", script("return { 'data.json': JSON.stringify(data) };"));
    let said = run(&folder, &["script.js", "--new-machine-readable-summary"]);
    assert_eq!(said.code, Some(0), "{said:#?}");
    let data: Value = serde_json::from_str(&folder.read("out/data.json")).expect("JSON");
    let keys: Vec<&String> = data.as_object().expect("an object").keys().collect();
    assert_eq!(keys, ["config", "metadata", "results", "version"]);
    assert_eq!(data["config"]["script"], folder.read("script.js"));
    let year_and_month = data["metadata"]["generated_at"].as_str().and_then(|at| at.get(..8));
    assert!(year_and_month.is_some_and(|at| at.starts_with("20") && at.ends_with('-')), "{}", data["metadata"]);
    let metrics = data["results"]["metrics"].as_array().expect("metrics");
    let iterations = metrics.iter().find(|metric| metric["name"] == "iterations").expect("iterations");
    assert_eq!(iterations["values"]["count"], 1);
}

/// It is given secrets and the run's id, and what it returns shows no secret.
#[test]
fn it_can_use_secrets_and_cannot_tell_them() {
    let (folder, target) = (Folder::new(), Target::start());
    folder.write(
        "script.js",
        "import http from 'k6/http'; import secrets from 'k6/secrets';
        export default function () {}
        export async function handleSummary() {
            const [token, run] = [__ENV.TOKEN, __ENV.LAMBDALOAD_RUN_ID];
            http.get(`${__ENV.TARGET}/headers`, { headers: { token, other: await secrets.get('TOKEN'), run } });
            return { stdout: `sent ${token}`, 'note.txt': `by ${token}` };
        }",
    );
    let address = format!("TARGET={}", target.url());
    let mut command = folder.command(&[
        "run",
        "script.js",
        "--out-dir",
        "out",
        "--secret",
        "TOKEN",
        "-e",
        &address,
        "--workers",
        "2",
    ]);
    command.env("TOKEN", "hunter2-hunter3");
    let said = Running::start(command).wait();
    assert_eq!(said.code, Some(0), "{said:#?}");
    let [headers] = &target.headers()[..] else { panic!("one request: {:?}", target.headers()) };
    assert_eq!((headers["token"].as_str(), headers["other"].as_str()), ("hunter2-hunter3", "hunter2-hunter3"));
    assert_eq!(Some(headers["run"].as_str()), folder.verdict()["run"].as_str());
    assert!(said.stdout.starts_with("sent ***"), "{}", said.stdout);
    assert_eq!(folder.read("out/note.txt"), "by ***");
    let again = folder.run(&["runs", "latest"]);
    assert!(again.stdout.starts_with("sent ***"), "{}", again.stdout);
}
