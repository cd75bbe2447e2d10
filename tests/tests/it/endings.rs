//! Every way in which a run that was measured whole can end, with its exit code.

use lambdaload_tests::{
    cli::{Folder, Said, descendants, is_alive, wait_for},
    fixture,
};

fn run(script: &str, more: &[&str]) -> (Folder, Said) {
    let folder = Folder::new();
    folder.write("test.js", script);
    let said = folder.run(&[&["run", "test.js", "--workers", "2"], more].concat());
    (folder, said)
}

const OPTIONS: &str = "scenarios: { s: { executor: 'per-vu-iterations', vus: 2, iterations: 3 } }";

#[test]
fn passed_is_0() {
    let (folder, said) = run(
        &format!(
            "export const options = {{ {OPTIONS}, thresholds: {{ iterations: ['count==6'] }} }}; export default () => {{}};"
        ),
        &[],
    );
    assert_eq!(said.code, Some(0), "{said:#?}");
    assert!(said.stdout.contains("█ VERDICT  passed"), "{}", said.stdout);
    assert_eq!(folder.verdict()["outcome"], "passed");
}

#[test]
fn a_crossed_threshold_is_99_and_names_value_and_limit() {
    let (folder, said) = run(
        &format!(
            "export const options = {{ {OPTIONS}, thresholds: {{ iterations: ['count>6', 'count>5'] }} }}; export default () => {{}};"
        ),
        &[],
    );
    assert_eq!(said.code, Some(99), "{said:#?}");
    assert!(said.stdout.contains("█ VERDICT  failed"), "{}", said.stdout);
    assert!(said.stdout.contains("✗ 'count>6' count=6"), "{}", said.stdout);
    assert!(said.stdout.contains("✓ 'count>5' count=6"), "{}", said.stdout);
    assert_eq!(folder.verdict()["exit_code"], 99);
}

#[test]
fn no_thresholds_is_0_and_says_so() {
    let (folder, said) = run(&format!("export const options = {{ {OPTIONS} }}; export default () => {{}};"), &[]);
    assert_eq!(said.code, Some(0), "{said:#?}");
    assert!(said.stdout.contains("█ VERDICT  no thresholds"), "{}", said.stdout);
    assert_eq!(folder.verdict()["outcome"], "no_thresholds");
}

#[test]
fn thresholds_can_be_switched_off() {
    let script = format!(
        "export const options = {{ {OPTIONS}, thresholds: {{ iterations: ['count>6'] }} }}; export default () => {{}};"
    );
    let (folder, said) = run(&script, &["--no-thresholds"]);
    assert_eq!(said.code, Some(0), "{said:#?}");
    assert_eq!(folder.verdict()["outcome"], "no_thresholds");
}

#[test]
fn an_exception_in_an_iteration_changes_nothing_as_in_k6() {
    let (folder, said) =
        run(&format!("export const options = {{ {OPTIONS} }}; export default () => {{ throw new Error('x'); }};"), &[]);
    assert_eq!(said.code, Some(0), "{said:#?}");
    assert_eq!(folder.verdict()["outcome"], "no_thresholds");
}

#[test]
fn test_abort_is_108_and_stops_all() {
    let script = "import exec from 'k6/execution'; import { sleep } from 'k6';
        export const options = { scenarios: { s: { executor: 'constant-vus', vus: 2, duration: '60s' } } };
        export default () => { if (exec.vu.idInTest === 1) exec.test.abort('enough'); sleep(0.1); };";
    let (folder, said) = run(script, &[]);
    assert_eq!(said.code, Some(108), "{said:#?}");
    let verdict = folder.verdict();
    assert_eq!((&verdict["outcome"], &verdict["status"]), (&"failed".into(), &"aborted (by script)".into()));
    assert!(verdict["duration_ms"].as_f64().expect("a duration") < 30_000.0, "the other worker did not run on");
}

#[test]
fn test_fail_is_110_and_runs_to_the_end() {
    let script = format!(
        "import exec from 'k6/execution';
        export const options = {{ {OPTIONS}, thresholds: {{ iterations: ['count==6'] }} }};
        export default () => {{ if (exec.vu.idInTest === 1) exec.test.fail('not good'); }};"
    );
    let (folder, said) = run(&script, &[]);
    assert_eq!(said.code, Some(110), "{said:#?}");
    let verdict = folder.verdict();
    assert_eq!((&verdict["outcome"], &verdict["status"]), (&"failed".into(), &"finished".into()));
    assert_eq!(verdict["thresholds"][0]["passed"], true);
}

#[test]
fn an_exception_in_setup_is_107_and_nothing_runs() {
    let script = format!(
        "export const options = {{ {OPTIONS} }};
        export function setup() {{ throw new Error('the shop is closed'); }}
        export default () => {{ console.log('ITERATION'); }};"
    );
    let (folder, said) = run(&script, &[]);
    assert_eq!(said.code, Some(107), "{said:#?}");
    let verdict = folder.verdict();
    assert_eq!(verdict["outcome"], "invalid");
    assert!(verdict["reasons"][0]["message"].as_str().expect("a reason").contains("the shop is closed"), "{verdict:#}");
    assert_eq!(verdict["started_at"], serde_json::Value::Null);
}

#[test]
fn an_exception_that_speaks_of_time_is_still_107() {
    let script = format!(
        "export const options = {{ {OPTIONS} }};
        export function setup() {{ throw new Error('the login timed out'); }}
        export default () => {{}};"
    );
    assert_eq!(run(&script, &[]).1.code, Some(107));
}

#[test]
fn test_abort_in_setup_is_108() {
    let script = format!(
        "import exec from 'k6/execution';
        export const options = {{ {OPTIONS} }};
        export function setup() {{ exec.test.abort('not today'); }}
        export default () => {{}};"
    );
    let (folder, said) = run(&script, &[]);
    assert_eq!(said.code, Some(108), "{said:#?}");
    assert!(folder.verdict()["reasons"][0]["message"].as_str().expect("a reason").contains("not today"));
}

#[test]
fn a_setup_that_takes_too_long_is_100() {
    let script = format!(
        "import {{ sleep }} from 'k6';
        export const options = {{ {OPTIONS}, setupTimeout: '1s' }};
        export function setup() {{ sleep(30); }}
        export default () => {{}};"
    );
    let (_, said) = run(&script, &[]);
    assert_eq!(said.code, Some(100), "{said:#?}");
}

#[test]
fn a_teardown_that_takes_too_long_is_101() {
    let script = "import { sleep } from 'k6';
        export const options = { vus: 2, iterations: 2, teardownTimeout: '1s' };
        export default function () {}
        export function teardown() { sleep(30); }";
    let (_folder, said) = run(script, &[]);
    assert_eq!(said.code, Some(101), "{said:#?}");
}

#[test]
fn an_exception_in_teardown_is_107() {
    let script = "export const options = { vus: 2, iterations: 2 };
        export default function () {}
        export function teardown() { throw new Error('no logout'); }";
    let (_folder, said) = run(script, &[]);
    assert_eq!(said.code, Some(107), "{said:#?}");
    assert!(said.stdout.contains("no logout"), "{}", said.stdout);
}

/// While it is archived all goes well; on the workers it does not.
#[test]
fn an_exception_in_init_code_of_workers_only_is_107() {
    let script = "if (__ENV.LAMBDALOAD_WORKER === '2') throw new Error('not on this one');
        export const options = { vus: 4, iterations: 4 };
        export default function () {}";
    let (folder, said) = run(script, &[]);
    assert_eq!(said.code, Some(107), "{said:#?}");
    let reasons = folder.verdict()["reasons"].to_string();
    assert!(reasons.contains("worker 2") && reasons.contains("not on this one"), "{reasons}");
}

#[test]
fn abort_on_fail_is_99_and_stops_all() {
    let script = "import { sleep } from 'k6'; import { Rate } from 'k6/metrics';
        const bad = new Rate('bad');
        export const options = { scenarios: { s: { executor: 'constant-vus', vus: 2, duration: '60s' } },
            thresholds: { bad: [{ threshold: 'rate<0.1', abortOnFail: true }] } };
        export default () => { bad.add(true); sleep(0.1); };";
    let (folder, said) = run(script, &[]);
    assert_eq!(said.code, Some(99), "{said:#?}");
    let verdict = folder.verdict();
    assert_eq!((&verdict["outcome"], &verdict["status"]), (&"failed".into(), &"aborted (by threshold)".into()));
    assert!(verdict["thresholds"][0]["first_crossed_ms"].is_u64());
}

#[test]
fn ctrl_c_once_stops_gently_judges_what_was_measured_and_is_105() {
    let folder = Folder::new();
    let running = folder.spawn(&["run", &fixture("steady.js").display().to_string(), "--workers", "2"]);
    let (running, _) = running.wait_for("samples", |_| live_samples(&folder).filter(|samples| *samples > 0));
    running.signal("INT");
    let said = running.wait();
    assert_eq!(said.code, Some(105), "{said:#?}");
    let verdict = folder.verdict();
    assert_eq!(
        (&verdict["outcome"], &verdict["status"]),
        (&"passed".into(), &"aborted (by user)".into()),
        "{verdict:#}"
    );
    assert_eq!(verdict["samples"]["read"], verdict["samples"]["merged"]);
    assert!(said.stdout.contains("stopped by a person"), "{}", said.stdout);
}

#[test]
fn ctrl_c_twice_stops_at_once_and_leaves_nothing_behind() {
    let folder = Folder::new();
    // A teardown that would take long: the first Ctrl-C waits for it, the second does not.
    folder.write(
        "test.js",
        "import { sleep } from 'k6';
        export const options = { scenarios: { s: { executor: 'constant-vus', vus: 2, duration: '60s' } } };
        export default () => sleep(0.1);
        export function teardown() { sleep(50); }",
    );
    let running = folder.spawn(&["run", "test.js", "--workers", "2"]);
    let (running, _) = running.wait_for("samples", |_| live_samples(&folder).filter(|samples| *samples > 0));
    let below = descendants(running.pid());
    assert!(below.iter().filter(|(_, line)| line.contains("--execution-segment")).count() == 2, "{below:?}");
    running.signal("INT");
    let (running, ()) = running.wait_for("the stop", |_| live(&folder)?["abort"].is_object().then_some(()));
    running.signal("INT");
    let said = running.wait();
    assert_eq!(said.code, Some(105), "{said:#?}");
    wait_for("all processes to be gone", || below.iter().all(|(pid, _)| !is_alive(*pid)).then_some(()));
}

fn live(folder: &Folder) -> Option<serde_json::Value> {
    let mut runs = std::fs::read_dir(folder.path().join(".lambdaload/store/runs")).ok()?;
    let live = runs.find_map(|run| std::fs::read(run.ok()?.path().join("live.json")).ok())?;
    serde_json::from_slice(&live).ok()
}

fn live_samples(folder: &Folder) -> Option<u64> {
    live(folder)?["samples"].as_u64()
}
