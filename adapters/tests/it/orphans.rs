//! What becomes of processes whose starter was killed: nothing of theirs may go on.
//!
//! The tests run this very program again as a worker and as the owner of a fleet; those roles are the ignored tests.

use std::{
    env, fs,
    io::{self, BufRead as _, BufReader, Write as _},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use lambdaload_adapters::{
    k6::K6,
    local::{ProcessFleet, WorkerProgram},
};
use lambdaload_core::{
    ids::{Attempt, RunId, WorkerIndex},
    ports::{Fleet as _, Generator, GeneratorPhase, WorkerTask},
};

use crate::common::{k6_path, reach, start};

const WORKERS: u32 = 2;

/// Where the roles find k6, and the folder whose name their environments carry.
const K6_VARIABLE: &str = "ORPHANS_K6";
const FOLDER_VARIABLE: &str = "ORPHANS_FOLDER";

/// This program in one of its roles.
fn role(name: &str) -> [String; 5] {
    let program = env::current_exe().expect("a path").display().to_string();
    [program, "--exact".into(), name.into(), "--ignored".into(), "--nocapture".into()]
}

fn variables(folder: &Path) -> [String; 3] {
    let k6 = env::var_os(K6_VARIABLE).map_or_else(k6_path, PathBuf::from);
    let folder = folder.display();
    // Whatever they leave behind goes with the folder.
    [format!("{K6_VARIABLE}={}", k6.display()), format!("{FOLDER_VARIABLE}={folder}"), format!("TMPDIR={folder}")]
}

#[test]
#[ignore = "a program that the other tests run: a worker with a k6 that runs for a minute"]
fn worker() {
    let Some(k6) = env::var_os(K6_VARIABLE) else { return };
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    // The thread that starts k6 ends; that must not be taken for the end of the worker.
    let started = thread::spawn(move || {
        let runtime = runtime();
        let script = b"import { sleep } from 'k6'; export const options = { duration: '60s' };
            export default function () { sleep(0.1); }";
        let generator = runtime.block_on(start(&K6::new(k6), script.to_vec(), false));
        (runtime, generator)
    });
    let (runtime, Generator { control, mut samples }) = started.join().expect("starts");
    runtime.block_on(async {
        tokio::spawn(async move { while let Ok(Some(_)) = samples.next(&mut Vec::new()).await {} });
        reach(&*control, GeneratorPhase::Paused).await;
        control.resume().await.expect("resumes");
        tokio::time::sleep(Duration::from_millis(200)).await;
        reach(&*control, GeneratorPhase::Running).await;
        say("k6 runs");
        tokio::time::sleep(Duration::from_mins(5)).await;
    });
}

#[test]
#[ignore = "a program that the other tests run: the owner of a fleet"]
fn owner() {
    let Some(folder) = env::var_os(FOLDER_VARIABLE).map(PathBuf::from) else { return };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let _fleet = fleet(&folder).await;
        say("workers run");
        tokio::time::sleep(Duration::from_mins(5)).await;
    });
}

fn say(what: &str) {
    // Not println: a test's output is captured, and this is meant for another process.
    let _ = writeln!(io::stdout(), "\n{what}");
}

/// A fleet whose workers all run k6.
async fn fleet(folder: &Path) -> ProcessFleet {
    let variables = variables(folder);
    let arguments = Box::new(move |_: &WorkerTask| {
        variables.iter().cloned().chain(role("orphans::worker")).map(Into::into).collect()
    });
    let fleet =
        ProcessFleet::new(WorkerProgram { program: "/usr/bin/env".into(), arguments }, folder).expect("a fleet");
    let run = RunId::parse("01JD8QZV3M4T5W6X7Y8Z9A0B4K").expect("an id");
    let task = |index| WorkerTask { run: run.clone(), index: WorkerIndex(index), attempt: Attempt(1) };
    let losses = fleet.launch(&(0..WORKERS).map(task).collect::<Vec<_>>()).await;
    assert_eq!(losses, []);
    for number in 1..=WORKERS {
        let log = folder.join(format!("runs/{run}/worker-{number}.log"));
        let runs = || fs::read_to_string(&log).is_ok_and(|text| text.contains("k6 runs"));
        eventually("k6 runs in each worker", runs, || fs::read_to_string(&log).unwrap_or_default()).await;
    }
    fleet
}

/// Starts a role and returns when it has said that it is where it should be.
fn start_role(name: &str, ready: &str, folder: &Path) -> Child {
    let mut command = Command::new("/usr/bin/env");
    command.args(variables(folder)).args(role(name)).stdout(Stdio::piped());
    let mut child = command.spawn().expect("starts");
    let lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
    assert!(lines.map_while(Result::ok).any(|line| line == ready), "{name} has ended before it said `{ready}`");
    child
}

/// The names of processes that live and whose environment names the folder: all roles and their k6.
fn living(folder: &Path) -> Vec<String> {
    let folder = folder.display().to_string();
    let name = |entry: io::Result<fs::DirEntry>| {
        let process = entry.ok()?.path();
        // Of the dead that nobody has collected yet, and of other users' processes, nothing can be read.
        let environment = fs::read(process.join("environ")).ok()?;
        let is_ours = String::from_utf8_lossy(&environment).contains(&folder);
        is_ours.then(|| fs::read_to_string(process.join("comm")).unwrap_or_default().trim().to_owned())
    };
    fs::read_dir("/proc").expect("/proc").filter_map(name).collect()
}

fn living_k6(folder: &Path) -> usize {
    living(folder).iter().filter(|name| *name == "k6").count()
}

async fn eventually(what: &str, mut is_so: impl FnMut() -> bool, found: impl Fn() -> String) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !is_so() {
        assert!(Instant::now() < deadline, "{what}: {}", found());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Nothing of a folder's roles lives any more.
async fn all_end(folder: &Path) {
    eventually("all have ended", || living(folder).is_empty(), || format!("{:?}", living(folder))).await;
}

#[tokio::test]
async fn k6_does_not_outlive_a_worker_that_was_killed() {
    let folder = tempfile::tempdir().unwrap();
    let mut worker = start_role("orphans::worker", "k6 runs", folder.path());
    assert_eq!((living_k6(folder.path()), living(folder.path()).len()), (1, 2));
    worker.kill().unwrap();
    worker.wait().unwrap();
    all_end(folder.path()).await;
}

#[tokio::test]
async fn nothing_outlives_the_owner_of_a_fleet_that_was_killed() {
    let folder = tempfile::tempdir().unwrap();
    let mut owner = start_role("orphans::owner", "workers run", folder.path());
    assert_eq!((living_k6(folder.path()), living(folder.path()).len()), (2, 5));
    owner.kill().unwrap();
    owner.wait().unwrap();
    all_end(folder.path()).await;
}

#[tokio::test]
async fn killing_all_workers_ends_their_k6() {
    let folder = tempfile::tempdir().unwrap();
    let fleet = fleet(folder.path()).await;
    assert_eq!(living_k6(folder.path()), 2);
    fleet.kill_all().await;
    assert_eq!(fleet.gone().await.len(), 2);
    all_end(folder.path()).await;
}

#[tokio::test]
async fn dropping_the_fleet_ends_all() {
    let folder = tempfile::tempdir().unwrap();
    let fleet = fleet(folder.path()).await;
    assert_eq!(living_k6(folder.path()), 2);
    drop(fleet);
    all_end(folder.path()).await;
}
