//! The nine jobs that execution segments leave to whoever distributes k6, each done for real.
//!
//! k6's design of distributed execution names them: pass the archive, set up once, start together, notice failures, merge
//! metrics, abort everywhere, notice the end, tear down once whatever happened, and one summary.

use std::process::Command;

use lambdaload_tests::{
    cli::{Folder, Running, descendants, signal},
    k6_binary, start_skews,
    target::Target,
};

/// Runs until it is stopped; the hooks tell the target.
const LONG: &str = "
import http from 'k6/http';
import { sleep } from 'k6';
export const options = { scenarios: { all: { executor: 'constant-vus', vus: 6, duration: __ENV.DURATION, gracefulStop: '1s' } } };
export function setup() { http.get(`${__ENV.TARGET}/setup`); return { token: 'of setup' }; }
export default function () { http.get(`${__ENV.TARGET}/work`); sleep(0.05); }
export function teardown(data) {
  http.get(`${__ENV.TARGET}/teardown/${data.token.replace(' ', '-')}`);
  http.get(`${__ENV.TARGET}/as/${__ENV.LAMBDALOAD_WORKER}`);
}
";

fn start(folder: &Folder, target: &Target, duration: &str, more: &[&str]) -> Running {
    folder.write("script.js", LONG);
    let (target_is, duration) = (format!("TARGET={}", target.url()), format!("DURATION={duration}"));
    let mut arguments = vec!["run", "script.js", "--workers", "3", "-e", &target_is, "-e", &duration];
    arguments.extend(more);
    let works = |_: &Running| (*target.requests().get("/work")? > 30).then_some(());
    folder.spawn(&arguments).wait_for("the workers to work", works).0
}

/// The process of one worker, from 1.
fn worker(running: &Running, number: u32) -> u32 {
    let index = format!("--index {}", number - 1);
    let below = descendants(running.pid());
    let found = below.iter().find(|(_, line)| line.contains(" worker ") && line.contains(&index));
    found.map(|(pid, _)| *pid).expect("a process of that worker")
}

fn count(target: &Target, path: &str) -> u64 {
    target.requests().get(path).copied().unwrap_or(0)
}

#[test]
fn job_1_the_archive_is_all_that_workers_need() {
    let (folder, target) = (Folder::new(), Target::start());
    std::fs::create_dir(folder.path().join("lib")).expect("a folder");
    folder.write("lib/paths.js", "export const path = (name) => `/${name}`;");
    folder.write("names.json", r#"["of-a-file"]"#);
    folder.write(
        "script.js",
        "import http from 'k6/http'; import { path } from './lib/paths.js';
        const [name] = JSON.parse(open('./names.json'));
        export const options = { scenarios: { all: { executor: 'per-vu-iterations', vus: 3, iterations: 1 } } };
        export default function () { http.get(`${__ENV.TARGET}${path(name)}`); }",
    );
    let archived = Command::new(k6_binary())
        .args(["archive", "-O", "test.tar", "script.js"])
        .current_dir(folder.path())
        .output()
        .expect("k6 runs");
    assert!(archived.status.success(), "{archived:?}");
    for name in ["script.js", "lib/paths.js", "names.json"] {
        std::fs::remove_file(folder.path().join(name)).expect("was there");
    }
    let said = folder.run(&["run", "test.tar", "--workers", "3", "-e", &format!("TARGET={}", target.url())]);
    assert_eq!(said.code, Some(0), "{said:#?}");
    assert_eq!(count(&target, "/of-a-file"), 3);
}

/// Any JSON value, large ones too; each VU of each worker compares it with what `setup()` returned.
#[test]
fn job_2_setup_once_and_its_data_for_all() {
    for value in
        ["null", "undefined", "false", "0", "''", "[]", "{ a: { b: ['\u{1f600}', '<&>', -1e-9] } }", "'x'.repeat(5e6)"]
    {
        let (folder, target) = (Folder::new(), Target::start());
        let script = format!(
            "import http from 'k6/http'; import {{ Counter }} from 'k6/metrics';
            const right = new Counter('right'); const value = {value};
            export const options = {{ setupTimeout: '60s', thresholds: {{ right: ['count==6'] }},
                scenarios: {{ all: {{ executor: 'per-vu-iterations', vus: 6, iterations: 1 }} }} }};
            export function setup() {{ http.get(`${{__ENV.TARGET}}/setup`); return value; }}
            const same = (a, b) => JSON.stringify(a) === JSON.stringify(b);
            export default function (data) {{ if (same(data, value)) right.add(1); }}
            export function teardown(data) {{ http.get(`${{__ENV.TARGET}}/teardown/${{same(data, value)}}`); }}"
        );
        folder.write("script.js", script);
        let said = folder.run(&["run", "script.js", "--workers", "3", "-e", &format!("TARGET={}", target.url())]);
        assert_eq!(said.code, Some(0), "{value}: {said:#?}");
        assert_eq!((count(&target, "/setup"), count(&target, "/teardown/true")), (1, 1), "{value}");
    }
}

/// The second worker takes longer to get ready; nobody begins before it is.
#[test]
fn job_3_all_start_together_once_all_are_ready() {
    let (folder, target) = (Folder::new(), Target::start());
    folder.write(
        "script.js",
        "import http from 'k6/http';
        const begun = Date.now();
        while (__ENV.LAMBDALOAD_WORKER === '2' && Date.now() < begun + 500) {}
        const ready = Date.now();
        export const options = { scenarios: { all: { executor: 'per-vu-iterations', vus: 6, iterations: 1 } } };
        export default function () { http.get(`${__ENV.TARGET}/first/${ready}/${Date.now()}`); }",
    );
    let said = folder.run(&["run", "script.js", "--workers", "3", "-e", &format!("TARGET={}", target.url())]);
    assert_eq!(said.code, Some(0), "{said:#?}");
    let requests = target.requests();
    let moments: Vec<Vec<u64>> = requests
        .keys()
        .filter_map(|path| path.strip_prefix("/first/"))
        .map(|path| path.split('/').map(|moment| moment.parse().expect("a moment")).collect())
        .collect();
    let (last_ready, first_start) = (moments.iter().map(|m| m[0]).max(), moments.iter().map(|m| m[1]).min());
    assert!(last_ready <= first_start && last_ready.is_some(), "{moments:?}");
    let skews = start_skews(&folder.verdict());
    assert!(skews.len() == 3 && skews.iter().any(|skew| skew.to_bits() != skews[0].to_bits()), "measured? {skews:?}");
}

#[test]
fn job_4_a_failure_is_noticed_and_named() {
    let (folder, target) = (Folder::new(), Target::start());
    let running = start(&folder, &target, "60s", &[]);
    signal(worker(&running, 2), "KILL");
    let said = running.wait();
    assert_eq!(said.code, Some(96), "{said:#?}");
    let reasons = folder.verdict()["reasons"].to_string();
    assert!(reasons.contains("worker 2 was lost while it ran: its process was killed by signal 9"), "{reasons}");
    assert_eq!(count(&target, "/teardown/of-setup"), 1);
}

/// The target counts for itself; setup and teardown are in the sum.
#[test]
fn job_5_metrics_are_merged_without_loss() {
    let (folder, target) = (Folder::new(), Target::start());
    folder.write("script.js", LONG);
    let (target_is, duration) = (format!("TARGET={}", target.url()), "DURATION=3s");
    let said = folder.run(&["run", "script.js", "--workers", "3", "-e", &target_is, "-e", duration]);
    assert_eq!(said.code, Some(0), "{said:#?}");
    let verdict = folder.verdict();
    assert_eq!(verdict["samples"]["read"], verdict["samples"]["merged"]);
    let metrics = verdict["summary"]["metrics"].as_array().expect("metrics");
    let requests = metrics.iter().find(|m| m["name"] == "http_reqs").expect("requests");
    let counted: u64 = target.requests().values().sum();
    assert_eq!(requests["values"]["count"].as_f64(), Some(counted as f64), "{requests:#}");
}

#[test]
fn job_6_an_abort_is_one_for_all() {
    for (aborts, code) in [
        ("if (exec.vu.idInTest === 2 && exec.vu.iterationInScenario === 3) exec.test.abort('enough');", 108),
        ("bad.add(exec.vu.idInTest === 2);", 99),
    ] {
        let (folder, target) = (Folder::new(), Target::start());
        let script = format!(
            "import http from 'k6/http'; import {{ sleep }} from 'k6'; import exec from 'k6/execution';
            import {{ Rate }} from 'k6/metrics';
            const bad = new Rate('bad');
            export const options = {{
                scenarios: {{ all: {{ executor: 'constant-vus', vus: 6, duration: '120s' }} }},
                thresholds: {{ bad: [{{ threshold: 'rate<0.1', abortOnFail: true }}] }} }};
            export default function () {{ {aborts} sleep(0.1); }}
            export function teardown() {{ http.get(`${{__ENV.TARGET}}/teardown`); }}"
        );
        folder.write("script.js", script);
        let said = folder.run(&["run", "script.js", "--workers", "3", "-e", &format!("TARGET={}", target.url())]);
        assert_eq!(said.code, Some(code), "{said:#?}");
        let verdict = folder.verdict();
        assert!(verdict["duration_ms"].as_f64().expect("a duration") < 60_000.0, "{verdict:#}");
        let workers = verdict["workers"].as_array().expect("workers");
        assert!(workers.iter().all(|worker| worker["phase"] == "closed"), "{workers:#?}");
        assert_eq!(count(&target, "/teardown"), 1);
    }
}

/// Iterations that are over end the run, though it might have lasted ten minutes; one worker has more to do.
#[test]
fn job_7_the_end_is_noticed_when_the_last_worker_has_ended() {
    let (folder, target) = (Folder::new(), Target::start());
    folder.write(
        "script.js",
        "import http from 'k6/http'; import { sleep } from 'k6'; import exec from 'k6/execution';
        export const options = { scenarios: { all: { executor: 'per-vu-iterations', vus: 3, iterations: 2 } } };
        export default function () { sleep(exec.vu.idInTest); http.get(`${__ENV.TARGET}/work`); }
        export function teardown() { http.get(`${__ENV.TARGET}/teardown`); }",
    );
    let said = folder.run(&["run", "script.js", "--workers", "3", "-e", &format!("TARGET={}", target.url())]);
    assert_eq!(said.code, Some(0), "{said:#?}");
    assert_eq!((count(&target, "/work"), count(&target, "/teardown")), (6, 1));
    let verdict = folder.verdict();
    assert_eq!(verdict["status"], "finished");
    assert!(verdict["duration_ms"].as_f64().expect("a duration") < 60_000.0, "{verdict:#}");
}

#[test]
fn job_8_teardown_once_by_another_k6_if_the_first_worker_is_gone() {
    let (folder, target) = (Folder::new(), Target::start());
    let running = start(&folder, &target, "60s", &[]);
    signal(worker(&running, 1), "KILL");
    let said = running.wait();
    assert_eq!(said.code, Some(96), "{said:#?}");
    let reasons = folder.verdict()["reasons"].to_string();
    assert!(reasons.contains("worker 1 was lost while it ran"), "{reasons}");
    assert!(reasons.contains("another k6 ran teardown()"), "{reasons}");
    assert_eq!(count(&target, "/as/1"), 1, "it stands for the first worker: {:?}", target.requests());
    assert_eq!((count(&target, "/setup"), count(&target, "/teardown/of-setup")), (1, 1));
}

#[test]
fn job_9_one_summary_and_handle_summary_once() {
    let (folder, target) = (Folder::new(), Target::start());
    let script = "import http from 'k6/http'; import { check } from 'k6';
        export const options = { scenarios: { all: { executor: 'shared-iterations', vus: 6, iterations: 30 } } };
        export default function () { check(null, { 'all is well': () => true }); }";
    let own = "\nexport function handleSummary(data) {
            const { iterations, checks } = data.metrics;
            http.get(`${__ENV.TARGET}/summary/${iterations.values.count}/${checks.values.passes}`);
            return { stdout: 'the script says so', 'own.txt': data.root_group.checks[0].name };
        }";
    let target_is = format!("TARGET={}", target.url());
    folder.write("script.js", script);
    let said = folder.run(&["run", "script.js", "--workers", "3"]);
    assert_eq!((said.code, said.stdout.matches("checks_succeeded...: 100.00% 30 out of 30").count()), (Some(0), 1));
    folder.write("script.js", format!("{script}{own}"));
    let said = folder.run(&["run", "script.js", "--workers", "3", "-e", &target_is, "--out-dir", "out"]);
    assert_eq!(said.code, Some(0), "{said:#?}");
    assert!(said.stdout.starts_with("the script says so"), "{}", said.stdout);
    assert!(!said.stdout.contains("checks_succeeded") && said.stdout.contains("█ VERDICT"), "{}", said.stdout);
    assert_eq!(folder.read("out/own.txt"), "all is well");
    assert_eq!(target.requests(), [("/summary/30/30".to_owned(), 1)].into());
}

#[test]
fn a_lost_worker_is_accepted_with_min_workers() {
    let (folder, target) = (Folder::new(), Target::start());
    let running = start(&folder, &target, "8s", &["--min-workers", "2"]);
    signal(worker(&running, 1), "KILL");
    let said = running.wait();
    assert_eq!(said.code, Some(0), "{said:#?}");
    assert!(said.stdout.contains("the script has no thresholds, with 2 of 3 workers"), "{}", said.stdout);
    assert_eq!((count(&target, "/setup"), count(&target, "/teardown/of-setup")), (1, 1));
    let verdict = folder.verdict();
    assert_eq!((verdict["min_workers"].as_u64(), verdict["status"].as_str()), (Some(2), Some("finished")));
}

#[test]
fn min_workers_has_to_fit_the_workers() {
    let folder = Folder::new();
    folder.write("script.js", "export default function () {}\nexport const options = { vus: 4, iterations: 4 };");
    for (least, workers) in [("0", "2"), ("3", "2")] {
        let said = folder.run(&["plan", "script.js", "--workers", workers, "--min-workers", least]);
        assert_eq!(said.code, Some(104), "{said:#?}");
        let expected = format!("--min-workers {least}: expected 1 to 2, the number of workers of this run");
        assert!(said.stderr.contains(&expected), "{}", said.stderr);
    }
}
