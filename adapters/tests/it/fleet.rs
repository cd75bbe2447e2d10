//! The port `Fleet` with processes of this machine.

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use lambdaload_adapters::local::{ProcessFleet, WorkerProgram};
use lambdaload_core::{
    ids::{Attempt, RunId, WorkerIndex},
    ports::{Fleet, FleetLoss, WorkerTask},
    records::FailureKind,
};

const RUN: &str = "01JD8QZV3M4T5W6X7Y8Z9A0B4K";

fn task(index: u32, attempt: u32) -> WorkerTask {
    WorkerTask { run: RunId::parse(RUN).unwrap(), index: WorkerIndex(index), attempt: Attempt(attempt) }
}

/// A fleet whose workers run this in a shell; `$1` is the worker's index, `$2` its attempt.
fn shell_fleet(script: &'static str, folder: &Path) -> ProcessFleet {
    let arguments = Box::new(move |task: &WorkerTask| {
        ["-c", script, "sh", &task.index.0.to_string(), &task.attempt.0.to_string()].map(Into::into).to_vec()
    });
    ProcessFleet::new(WorkerProgram { program: "/bin/sh".into(), arguments }, folder).unwrap()
}

fn log(folder: &Path, number: u32) -> PathBuf {
    folder.join("runs").join(RUN).join(format!("worker-{number}.log"))
}

async fn gone(fleet: &ProcessFleet, count: usize) -> Vec<FleetLoss> {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let gone = fleet.gone().await;
        if gone.len() == count {
            return gone;
        }
        assert!(Instant::now() < deadline, "{count} should be gone: {gone:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn workers_that_ended_are_told_with_their_last_words() {
    let folder = tempfile::tempdir().unwrap();
    let script =
        "case $1 in 0) exit 0;; 1) echo one; echo 'error: two' >&2; echo; exit 3;; 2) kill -9 $$;; *) sleep 600;; esac";
    let fleet = shell_fleet(script, folder.path());
    assert_eq!(fleet.launch(&[task(0, 1), task(1, 1), task(2, 1), task(3, 1)]).await, []);
    let losses = gone(&fleet, 3).await;
    assert!(losses.iter().all(|loss| loss.kind == FailureKind::Lost), "{losses:?}");
    let messages: Vec<(u32, String)> = losses.into_iter().map(|loss| (loss.index.0, loss.message)).collect();
    let log_of_2 = log(folder.path(), 2);
    assert_eq!(
        messages,
        [
            (0, "its process ended with exit code 0".to_owned()),
            (1, format!("its process ended with exit code 3; the last words in {}: error: two", log_of_2.display())),
            (2, "its process was killed by signal 9".to_owned()),
        ]
    );
    assert_eq!(fs::read_to_string(log_of_2).unwrap(), "one\nerror: two\n\n");
    fleet.kill_all().await;
    assert_eq!(fleet.gone().await.len(), 4);
}

#[tokio::test]
async fn a_later_attempt_goes_on_in_the_same_log() {
    let folder = tempfile::tempdir().unwrap();
    let fleet = shell_fleet("echo attempt $2", folder.path());
    fleet.launch(&[task(0, 1)]).await;
    gone(&fleet, 1).await;
    fleet.launch(&[task(0, 2)]).await;
    gone(&fleet, 2).await;
    assert_eq!(fs::read_to_string(log(folder.path(), 1)).unwrap(), "attempt 1\nattempt 2\n");
}

#[tokio::test]
async fn workers_see_little_of_the_environment_and_have_a_folder_for_what_is_temporary() {
    let folder = tempfile::tempdir().unwrap();
    let fleet = shell_fleet("env; touch \"$TMPDIR/left behind\"", folder.path());
    fleet.launch(&[task(0, 1)]).await;
    gone(&fleet, 1).await;
    let environment = fs::read_to_string(log(folder.path(), 1)).unwrap();
    let value = |name: &str| environment.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
    assert_eq!((value("HOME"), value("CARGO_MANIFEST_DIR")), (None, None), "{environment}");
    let temporary = PathBuf::from(value("TMPDIR").unwrap());
    assert!(temporary.join("left behind").exists());
    drop(fleet);
    assert!(!temporary.exists());
}

#[tokio::test]
async fn those_that_cannot_be_launched_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let program = WorkerProgram { program: "/nowhere/lambdaload".into(), arguments: Box::new(|_| Vec::new()) };
    let losses = ProcessFleet::new(program, folder.path()).unwrap().launch(&[task(0, 1), task(1, 1)]).await;
    assert_eq!(losses.iter().map(|loss| loss.kind).collect::<Vec<_>>(), [FailureKind::NotLaunched; 2]);
    assert!(losses[1].message.starts_with("its process could not be started (/nowhere/lambdaload): "), "{losses:?}");

    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    let losses = shell_fleet("true", &file).launch(&[task(0, 1)]).await;
    assert!(losses[0].message.contains("worker-1.log: "), "{losses:?}");
}

#[tokio::test]
async fn killing_all_takes_their_children_too_and_all_are_gone_after_it() {
    let folder = tempfile::tempdir().unwrap();
    let fleet = shell_fleet("sleep 600 & echo $!; wait", folder.path());
    fleet.launch(&[task(0, 1), task(1, 1)]).await;
    let deadline = Instant::now() + Duration::from_secs(10);
    let sleeper = loop {
        if let Ok(Ok(pid)) = fs::read_to_string(log(folder.path(), 2)).map(|text| text.trim().parse::<i32>()) {
            break rustix::process::Pid::from_raw(pid).unwrap();
        }
        assert!(Instant::now() < deadline, "the worker says nothing");
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    fleet.kill_all().await;
    let gone = fleet.gone().await;
    assert!(gone.len() == 2 && gone.iter().all(|loss| loss.message.contains("killed by signal 9")), "{gone:?}");
    // Nobody may be there to collect the dead sleeper, so it may still have an id.
    let state = || fs::read_to_string(format!("/proc/{sleeper}/stat")).unwrap_or_default();
    while !(state().is_empty() || state().contains(") Z ")) {
        assert!(Instant::now() < deadline, "{}", state());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
