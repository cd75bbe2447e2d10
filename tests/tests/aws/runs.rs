//! Runs that are in a ledger and a store of an account: seen, stopped and fetched from any machine.

use std::{fs, path::Path, process::Command, time::Duration};

use lambdaload_core::{
    ids::{Attempt, RunId, WorkerIndex},
    lifecycle::RunEvent,
    plan::Plan,
    ports::{Ledger as _, ObjectStore as _, SlotBook as _, Timestamp, keys},
    records::{RunRecord, WorkerRecord},
    slots::{Slots, Waiting},
    verdict::Verdict,
};
use lambdaload_tests::cli::Running;
use serde_json::Value;

use crate::account::{Account, Deployed, VERSION};

const RUN: &str = "01JD8QZV3M4T5W6X7Y8Z9A0B4K";

const SCRIPT: &str = "export const options = { vus: 1, iterations: 2, thresholds: { iterations: ['count==2'] } };
export default function () {}";

/// A plan and a verdict as real ones are: of a run on this machine.
fn of_a_run_here(account: &Account) -> (Plan, Verdict) {
    account.folder.write("script.js", SCRIPT);
    let said = account.run(&["plan", "--platform", "local", "--workers", "1", "--output", "json"]);
    let plan: Value = serde_json::from_str(&said.stdout).unwrap_or_else(|error| panic!("{error}: {said:#?}"));
    (serde_json::from_value(plan["plan"].clone()).expect("a plan"), judged(account))
}

/// A verdict as real ones are.
pub(crate) fn judged(account: &Account) -> Verdict {
    let said = account.run(&["run", "--platform", "local", "--workers", "1", "--output", "json"]);
    let mut verdict: Value = serde_json::from_str(&said.stdout).unwrap_or_else(|error| panic!("{error}: {said:#?}"));
    verdict["run"] = RUN.into();
    serde_json::from_value(verdict).expect("a verdict")
}

fn id() -> RunId {
    RunId::parse(RUN).expect("an id")
}

/// Records a run to which all this has happened.
pub(crate) fn record(account: &Account, deployed: &Deployed, id: &RunId, plan: Plan, events: &[RunEvent]) {
    let now = std::time::SystemTime::UNIX_EPOCH.elapsed().expect("it is later");
    let mut run = RunRecord::new(id.clone(), Timestamp(0).plus(now), plan);
    for event in events {
        run.state = run.state.next(event.clone()).expect("legal");
    }
    let ledger = account.ledger(deployed);
    account.runtime.block_on(ledger.create_run(&run)).expect("is recorded");
}

const UNDER_WAY: [RunEvent; 3] = [RunEvent::Validated, RunEvent::Launched, RunEvent::Started];

#[test]
#[ignore = "needs the servers of `cargo xtask servers`"]
fn a_deployment_without_runs_has_an_empty_list() {
    let account = Account::start();
    account.deploy("lambdaload", VERSION);
    let said = account.run(&["runs", "list"]);
    assert_eq!((said.code, said.stdout.as_str()), (Some(0), ""), "{said:#?}");
    assert_eq!(said.stderr, "no runs yet in the stack `lambdaload` in eu-central-1\n");
    let said = account.run(&["runs", "list", "--output", "json"]);
    assert_eq!(said.stdout, "[]\n");
    let said = account.run(&["runs", "get", RUN]);
    assert_eq!(said.code, Some(104), "{said:#?}");
    assert!(said.stderr.contains(&format!("there is no run {RUN}")), "{said:#?}");
}

#[test]
#[ignore = "needs the servers of `cargo xtask servers`"]
fn a_run_that_was_judged_is_listed_shown_and_fetched() {
    let account = Account::start();
    let deployed = account.deploy("lambdaload", VERSION);
    let (plan, verdict) = of_a_run_here(&account);
    record(&account, &deployed, &id(), plan, &UNDER_WAY);
    let (ledger, store) = (account.ledger(&deployed), account.store(&deployed));
    account.runtime.block_on(async {
        let worker = WorkerRecord::claim(id(), WorkerIndex(0), Attempt(2));
        ledger.claim_worker(&worker).await.expect("is claimed");
        ledger.conclude(&id(), &verdict).await.expect("is concluded");
        store.put(&keys::log(&id(), WorkerIndex(0), Attempt(2)), b"INFO hello\n".to_vec()).await.expect("is stored");
        store.put_new(&keys::timeline(&id()), br#"{"slices":[]}"#.to_vec()).await.expect("is stored");
    });
    let said = account.run(&["runs", "list"]);
    assert!(said.stdout.contains("01JD8Q…4K") && said.stdout.contains("passed"), "{said:#?}");
    for arguments in [["runs", "get", "01jd8q…4k"].as_slice(), &["runs", "latest"], &["watch", RUN]] {
        let said = account.run(&[arguments, &["--output", "json"]].concat());
        assert_eq!(said.code, Some(0), "{said:#?}");
        let shown: Verdict = serde_json::from_str(&said.stdout).expect("a verdict");
        assert_eq!(shown, verdict, "{arguments:?}");
    }
    let said = account.run(&["logs", RUN]);
    assert_eq!((said.code, said.stdout.as_str()), (Some(0), "worker 1   INFO hello\n"), "{said:#?}");
    let said = account.run(&["logs", RUN, "--worker", "1", "--follow"]);
    assert_eq!((said.code, said.stdout.as_str()), (Some(0), "INFO hello\n"), "{said:#?}");
    let said = account.run(&["runs", "download", RUN, "--out-dir", "got"]);
    assert_eq!((said.code, said.stdout.as_str()), (Some(0), "got\n"), "{said:#?}");
    let got = fs::read_dir(account.folder.path().join("got")).expect("a folder");
    let mut got: Vec<String> = got.map(|entry| entry.expect("a file").file_name().to_string_lossy().into()).collect();
    got.sort();
    assert_eq!(got, ["report.html", "summary.json", "timeline.json", "verdict.json", "worker-1.log"]);
    assert!(account.folder.read("got/verdict.json").contains(RUN));
    let said = account.run(&["stop", RUN]);
    assert!(said.stderr.contains("has ended already") || said.stderr.contains("was told to stop"), "{said:#?}");
}

#[test]
#[ignore = "needs the servers of `cargo xtask servers`"]
fn a_run_under_way_is_watched_and_stopped_from_elsewhere() {
    let account = Account::start();
    let deployed = account.deploy("lambdaload", VERSION);
    let (plan, verdict) = of_a_run_here(&account);
    record(&account, &deployed, &id(), plan, &UNDER_WAY);
    let said = account.run(&["runs", "get", RUN]);
    assert_eq!(said.code, Some(0), "{said:#?}");
    assert!(said.stdout.contains(&format!("`lambdaload watch {RUN} --stack lambdaload` waits")), "{said:#?}");
    let said = account.run(&["runs", "download", RUN]);
    assert_eq!(said.code, Some(104), "{said:#?}");
    let watching = Running::start(account.command(&["watch", RUN, "--output", "json"]));
    let said = account.run(&["stop", "01JD8Q"]);
    assert_eq!(said.code, Some(0), "{said:#?}");
    let ledger = account.ledger(&deployed);
    let stopped = account.runtime.block_on(ledger.run(&id())).expect("answers");
    assert_eq!(stopped.state.status(), "stopping (by user)");
    account.runtime.block_on(ledger.conclude(&id(), &verdict)).expect("is concluded");
    let said = watching.wait();
    assert_eq!(said.code, Some(0), "{said:#?}");
    assert_eq!(serde_json::from_str::<Verdict>(&said.stdout).expect("a verdict"), verdict);
}

#[test]
#[ignore = "needs the servers of `cargo xtask servers`"]
fn a_run_that_waits_shows_its_place_and_is_ended_by_the_reaper_when_it_is_stopped() {
    let account = Account::start();
    let deployed = account.deploy("lambdaload", VERSION);
    let (mut plan, verdict) = of_a_run_here(&account);
    plan.deadlines.queue = Duration::from_mins(10);
    record(&account, &deployed, &id(), plan, &[RunEvent::Validated, RunEvent::Queued]);
    let waiting = |run: &str| Waiting {
        run: RunId::parse(run).expect("an id"),
        workers: 1,
        lasts_ms: 1_000,
        until: Timestamp(i64::MAX),
        after: None,
    };
    let book = Slots { waiting: vec![waiting("01JD8QZV3M4T5W6X7Y8Z9A0B00"), waiting(RUN)], ..Slots::default() };
    account.runtime.block_on(account.slots(&deployed).replace_slots(&book)).expect("is written");
    let talk = account.folder.path().join("talk");
    let watching = talking_into(&talk, &account.command(&["watch", RUN, "--output", "json"]));
    // Nobody would read the record of a run that waits, so its end is the reaper's part, which is not there.
    let said = account.run(&["stop", RUN]);
    assert_eq!(said.code, Some(97), "{said:#?}");
    assert!(said.stderr.contains("calling the reaper") && said.stderr.contains("lambdaload-reaper"), "{said:#?}");
    let ledger = account.ledger(&deployed);
    assert!(account.runtime.block_on(ledger.run(&id())).expect("answers").state.abort.is_some());
    // Who destroys would leave it without anybody.
    let said = account.run(&["destroy", "--yes"]);
    assert_eq!(said.code, Some(104), "{said:#?}");
    assert!(said.stderr.contains("has runs under way") && said.stderr.contains(RUN), "{said:#?}");
    // It is watched until somebody has judged it.
    let place = "waiting for room in the account: place 2 of those that wait";
    let (watching, ()) = watching
        .wait_for("its place", |_| fs::read_to_string(&talk).is_ok_and(|said| said.contains(place)).then_some(()));
    account.runtime.block_on(ledger.conclude(&id(), &verdict)).expect("is concluded");
    let said = watching.wait();
    assert_eq!(said.code, Some(0), "{said:#?}");
}

/// Starts a command whose talk can be read while it runs.
fn talking_into(file: &Path, command: &Command) -> Running {
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", "talk=$1; shift; exec \"$@\" 2>\"$talk\"", "sh"]).arg(file);
    shell.arg(command.get_program()).args(command.get_args()).env_clear();
    shell.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    shell.current_dir(command.get_current_dir().expect("a folder"));
    Running::start(shell)
}
