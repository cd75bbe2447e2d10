//! The nine jobs that execution segments leave to whoever distributes k6, each done for real.
//!
//! k6's design of distributed execution names them: pass the archive, set up once, start together, notice failures, merge
//! metrics, abort everywhere, notice the end, tear down once whatever happened, and one summary.

use lambdaload_tests::{
    cli::{Folder, Running, descendants, signal},
    target::Target,
};

/// Runs until it is stopped; the hooks tell the target.
const LONG: &str = "
import http from 'k6/http';
import { sleep } from 'k6';
export const options = { scenarios: { all: { executor: 'constant-vus', vus: 6, duration: __ENV.DURATION, gracefulStop: '1s' } } };
export function setup() { http.get(`${__ENV.TARGET}/setup`); return { token: 'of setup' }; }
export default function () { http.get(`${__ENV.TARGET}/work`); sleep(0.05); }
export function teardown(data) { http.get(`${__ENV.TARGET}/teardown/${data.token.replace(' ', '-')}`); }
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
fn job_8_teardown_once_by_another_k6_if_the_first_worker_is_gone() {
    let (folder, target) = (Folder::new(), Target::start());
    let running = start(&folder, &target, "60s", &[]);
    signal(worker(&running, 1), "KILL");
    let said = running.wait();
    assert_eq!(said.code, Some(96), "{said:#?}");
    let reasons = folder.verdict()["reasons"].to_string();
    assert!(reasons.contains("worker 1 was lost while it ran"), "{reasons}");
    assert!(reasons.contains("another k6 ran teardown()"), "{reasons}");
    assert_eq!((count(&target, "/setup"), count(&target, "/teardown/of-setup")), (1, 1));
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
