//! What can go wrong with a worker, done for real: never a hang, never a pass, always a name.

use std::{os::unix::fs::PermissionsExt as _, path::PathBuf};

use lambdaload_tests::{
    cli::{Folder, Running, Said, descendants, is_alive, signal, wait_for},
    fixture, k6_binary,
};
use serde_json::Value;

/// The reasons of a verdict that must be invalid, with exit code 96 unless said otherwise.
fn invalid(folder: &Folder, said: &Said, code: i32) -> String {
    assert_eq!(said.code, Some(code), "{said:#?}");
    assert!(said.stdout.contains("█ VERDICT  invalid"), "{}", said.stdout);
    let verdict = folder.verdict();
    assert_eq!(verdict["outcome"], "invalid", "{verdict:#}");
    assert_eq!(verdict["exit_code"], code);
    let reasons = verdict["reasons"].as_array().expect("reasons");
    let texts: Vec<&str> = reasons.iter().filter_map(|reason| reason["message"].as_str()).collect();
    texts.join("\n")
}

fn steady(folder: &Folder) -> Running {
    steady_for(folder, "60s")
}

fn steady_for(folder: &Folder, duration: &str) -> Running {
    let (script, duration) = (fixture("steady.js").display().to_string(), format!("DURATION={duration}"));
    let running = folder.spawn(&["run", &script, "--workers", "3", "-e", &duration]);
    running.wait_for("three k6 that run", |running| (k6s(running).len() == 3 && samples(folder)? > 0).then_some(())).0
}

fn k6s(running: &Running) -> Vec<u32> {
    let below = descendants(running.pid());
    below.into_iter().filter(|(_, line)| line.contains("--execution-segment ")).map(|(pid, _)| pid).collect()
}

fn workers(running: &Running) -> Vec<u32> {
    let below = descendants(running.pid());
    below.into_iter().filter(|(_, line)| line.contains(" worker ")).map(|(pid, _)| pid).collect()
}

fn samples(folder: &Folder) -> Option<u64> {
    let mut runs = std::fs::read_dir(folder.path().join(".lambdaload/store/runs")).ok()?;
    let live = runs.find_map(|run| std::fs::read(run.ok()?.path().join("live.json")).ok())?;
    serde_json::from_slice::<Value>(&live).ok()?["samples"].as_u64()
}

#[test]
fn a_k6_that_is_killed() {
    let folder = Folder::new();
    let running = steady(&folder);
    signal(k6s(&running)[1], "KILL");
    let reasons = invalid(&folder, &running.wait(), 96);
    assert!(reasons.contains("killed by signal 9"), "{reasons}");
    assert!(reasons.contains("worker "), "{reasons}");
}

/// Its worker lives and says so, so only the deadline of the run can tell.
#[test]
fn a_k6_that_hangs_is_ended_and_named() {
    let folder = Folder::new();
    let running = steady_for(&folder, "8s");
    let hung = k6s(&running)[1];
    signal(hung, "STOP");
    let reasons = invalid(&folder, &running.wait(), 96);
    assert!(reasons.contains("did not end within"), "{reasons}");
    wait_for("the k6 that hung to be gone", || (!is_alive(hung)).then_some(()));
}

#[test]
fn a_worker_that_is_killed_takes_its_k6_with_it_and_the_others_are_stopped() {
    let folder = Folder::new();
    let running = steady(&folder);
    let (workers, k6s) = (workers(&running), k6s(&running));
    assert_eq!(workers.len(), 3);
    signal(workers[2], "KILL");
    let reasons = invalid(&folder, &running.wait(), 96);
    assert!(reasons.contains("its process was killed by signal 9"), "{reasons}");
    wait_for("every k6 to be gone", || k6s.iter().all(|pid| !is_alive(*pid)).then_some(()));
}

#[test]
fn a_worker_that_is_frozen_is_lost() {
    let folder = Folder::new();
    let running = steady(&folder);
    let frozen = workers(&running)[0];
    signal(frozen, "STOP");
    let reasons = invalid(&folder, &running.wait(), 96);
    assert!(reasons.contains("gave no sign of life for"), "{reasons}");
    wait_for("the frozen worker to be gone", || (!is_alive(frozen)).then_some(()));
}

#[test]
fn a_killed_command_leaves_nothing_running_and_its_run_is_concluded_later() {
    let folder = Folder::new();
    let running = steady(&folder);
    let below = descendants(running.pid());
    assert!(below.len() >= 6, "{below:?}");
    running.signal("KILL");
    drop(running.wait());
    wait_for("all processes to be gone", || below.iter().all(|(pid, _)| !is_alive(*pid)).then_some(()));
    let verdict = folder.verdict();
    assert_eq!(verdict["outcome"], "invalid", "{verdict:#}");
    let reasons = verdict["reasons"].to_string();
    assert!(reasons.contains("aggregator_lost"), "{reasons}");
}

/// A program in k6's place: k6 itself, but for `k6 run` of the worker on the first segment.
fn k6_that(folder: &Folder, does: &str) -> PathBuf {
    let script = format!(
        "#!/bin/sh\ncase \"$*\" in\n  run*--execution-segment\\ 0:1/2*) {does} ;;\nesac\nexec {} \"$@\"\n",
        k6_binary().display()
    );
    let path = folder.write("k6", script);
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("executable");
    path
}

fn run_with(folder: &Folder, does: &str) -> Said {
    let k6 = k6_that(folder, does).display().to_string();
    folder.write("test.js", "export const options = { vus: 2, iterations: 4 }; export default () => {};");
    folder.run(&["run", "test.js", "--workers", "2", "--k6", &k6])
}

#[test]
fn a_k6_that_dies_before_it_opens_its_output() {
    let folder = Folder::new();
    let said = run_with(&folder, "exit 255");
    let reasons = invalid(&folder, &said, 96);
    assert!(reasons.contains("worker 1") && reasons.contains("exit code 255"), "{reasons}");
}

#[test]
fn a_k6_that_meets_an_exception_on_one_worker_only() {
    let folder = Folder::new();
    let said =
        run_with(&folder, r#"echo '{"level":"error","msg":"ReferenceError: shop is not defined"}' >&2; exit 107"#);
    let reasons = invalid(&folder, &said, 107);
    assert!(reasons.contains("worker 1") && reasons.contains("exception"), "{reasons}");
    assert!(reasons.contains("shop is not defined"), "{reasons}");
}

#[test]
fn a_k6_that_writes_what_nobody_understands() {
    let folder = Folder::new();
    // The real k6 runs, and something else writes into its output.
    let does = "for a in \"$@\"; do case \"$a\" in json=*) echo 'not what k6 writes' > \"${a#json=}\" ;; esac; done";
    let said = run_with(&folder, does);
    let reasons = invalid(&folder, &said, 96);
    assert!(
        reasons.contains("1 line of k6's output could not be read") && reasons.contains("not what k6 writes"),
        "{reasons}"
    );
}

#[test]
fn a_script_that_throws_only_on_a_worker() {
    let folder = Folder::new();
    folder.write(
        "test.js",
        "import exec from 'k6/execution';
        export const options = { vus: 2, iterations: 4 };
        export default () => {};
        export function setup() {}
        if (__ENV.NOT_THERE === undefined && open('./data.txt') === 'x') { throw new Error('x'); }",
    );
    let said = folder.run(&["run", "test.js", "--workers", "2"]);
    assert_eq!(said.code, Some(107), "{said:#?}");
    assert!(said.stderr.contains("data.txt"), "{}", said.stderr);
}

#[test]
fn a_full_disk() {
    let folder = Folder::new();
    let (script, binary) = (fixture("steady.js"), lambdaload_tests::cli::binary("lambdaload"));
    std::fs::create_dir(folder.path().join("small")).expect("a folder");
    // In a mount namespace of its own: what is mounted goes with the process.
    let line = format!(
        "mount -t tmpfs -o size=300k tmpfs small && exec {} run {} --workers 2 --dir small/.lambdaload",
        binary.display(),
        script.display()
    );
    let mut command = std::process::Command::new("/usr/bin/unshare");
    command
        .args(["--map-root-user", "--mount", "/bin/sh", "-c", &line])
        .current_dir(folder.path())
        .env("LAMBDALOAD_K6", k6_binary());
    let said = Running::start(command).wait();
    assert!(matches!(said.code, Some(96 | 97)), "{said:#?}");
    let text = format!("{}{}", said.stdout, said.stderr);
    assert!(text.contains("No space left on device") || text.contains("disk is full"), "{said:#?}");
}
