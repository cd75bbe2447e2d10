//! `run` and `plan` on an account, with a stand-in for its launcher.

use lambdaload_adapters::aws::RunSecrets;
use lambdaload_core::{
    archive::ArchiveHash,
    ids::RunId,
    lifecycle::RunEvent,
    ports::{Ledger as _, ObjectStore as _, keys},
};
use lambdaload_tests::cli::{Running, wait_for};
use serde_json::{Value, json};

use crate::{
    account::{Account, VERSION},
    runs::{judged, record},
    stand_in::StandIn,
};

const SCRIPT: &str = "export const options = { vus: 4, iterations: 8 };
export default function () {}";

fn account() -> Account {
    let account = Account::start();
    account.folder.write("script.js", SCRIPT);
    account
}

#[test]
#[ignore = "needs the servers of `cargo xtask servers`"]
fn a_plan_in_an_account_says_what_it_costs_and_whether_there_is_room() {
    let account = account();
    account.deploy("lambdaload", VERSION);
    let said = account.run(&["plan", "--workers", "2"]);
    assert_eq!(said.code, Some(0), "{said:#?}");
    for words in ["2 × lambda (2048 MB, arm64)", "costs ", "account       573 concurrent, 0 in use", "fits"] {
        assert!(said.stdout.contains(words), "{words}: {said:#?}");
    }
    // Nobody may take what is kept for others.
    let said = account.run(&["plan", "--workers", "2", "--reserve-concurrency", "570"]);
    assert_eq!(said.code, Some(97), "{said:#?}");
    assert!(said.stdout.contains("2 × lambda") && said.stderr.contains("no room for 2 workers"), "{said:#?}");
    assert!(said.stderr.contains("L-B99A9384"), "{said:#?}");
    let said = account.run(&["run", "--workers", "2", "--reserve-concurrency", "570"]);
    assert_eq!((said.code, said.stdout.as_str()), (Some(97), ""), "{said:#?}");
}

#[test]
#[ignore = "needs the servers of `cargo xtask servers`"]
fn who_detaches_is_given_the_run_and_leaves() {
    let account = account();
    let deployed = account.deploy("lambdaload", VERSION);
    let launcher = StandIn::new(&account, "lambdaload-launcher");
    launcher.answer(&json!({"state": "launched"}));
    account.folder.write("token", "hush-hush-hush");
    let said = account.run(&["run", "--workers", "2", "--detach", "--secret", "TOKEN=@token"]);
    assert_eq!(said.code, Some(0), "{said:#?}");
    assert_eq!(said.stdout.lines().count(), 1, "{said:#?}");
    let started: Value = serde_json::from_str(&said.stdout).expect("JSON");
    let run = RunId::parse(started["run"].as_str().expect("an id")).expect("an id");
    let expected = json!({"run": run, "state": "launched", "stack": "lambdaload", "region": "eu-central-1"});
    assert_eq!(started, expected);
    let request = launcher.event().expect("it was called");
    assert_eq!((&request["do"], &request["version"]), (&json!("start"), &json!(VERSION)));
    assert_eq!((&request["run"], &request["plan"]["workers"]), (&json!(run), &json!(2)));
    assert_eq!(request["plan"]["platform"]["kind"], "lambda");
    // What workers need is there; what is secret is where only they can read it.
    let hash: ArchiveHash = serde_json::from_value(request["plan"]["archive"]["hash"].clone()).expect("a hash");
    let (store, secrets) = (account.store(&deployed), RunSecrets::new(&account.config, "lambdaload/lambdaload/"));
    let (archive, secrets) = account.runtime.block_on(async {
        (store.get(&keys::archive(&hash)).await.expect("is stored"), secrets.get(&run).await.expect("answers"))
    });
    let has = |bytes: &[u8]| bytes.windows(9).any(|window| window == b"hush-hush");
    assert!(!has(&archive) && !has(request.to_string().as_bytes()) && !has(said.stderr.as_bytes()));
    assert_eq!(secrets.expect("are stored").iter().collect::<Vec<_>>(), [("TOKEN", "hush-hush-hush")]);
}

#[test]
#[ignore = "needs the servers of `cargo xtask servers`"]
fn what_the_launcher_refuses_leaves_no_secrets() {
    let account = account();
    account.deploy("lambdaload", VERSION);
    let launcher = StandIn::new(&account, "lambdaload-launcher");
    launcher.answer(&json!({"state": "refused", "message": "no room\nwait, or use fewer workers"}));
    account.folder.write("token", "hush-hush-hush");
    let said = account.run(&["run", "--workers", "2", "--secret", "TOKEN=@token"]);
    assert_eq!((said.code, said.stdout.as_str()), (Some(97), ""), "{said:#?}");
    assert!(said.stderr.contains("error: no room\n  wait, or use fewer workers\n"), "{said:#?}");
    let run: RunId = serde_json::from_value(launcher.event().expect("called")["run"].clone()).expect("an id");
    let secrets = RunSecrets::new(&account.config, "lambdaload/lambdaload/");
    assert!(account.runtime.block_on(secrets.get(&run)).expect("answers").is_none());
}

#[test]
#[ignore = "needs the servers of `cargo xtask servers`"]
fn without_a_launcher_the_run_was_not_started() {
    let account = account();
    account.deploy("lambdaload", VERSION);
    let said = account.run(&["run", "--workers", "2"]);
    assert_eq!((said.code, said.stdout.as_str()), (Some(97), ""), "{said:#?}");
    assert!(said.stderr.contains("calling the launcher") && said.stderr.contains("lambdaload-launcher"), "{said:#?}");
    assert!(said.stderr.contains("the run was not started"), "{said:#?}");
}

#[test]
#[ignore = "needs the servers of `cargo xtask servers`"]
fn ctrl_c_stops_a_run_that_waits_and_its_verdict_is_shown() {
    let account = account();
    let deployed = account.deploy("lambdaload", VERSION);
    let launcher = StandIn::new(&account, "lambdaload-launcher");
    let reaper = StandIn::new(&account, "lambdaload-reaper");
    reaper.answer(&Value::Null);
    let verdict = judged(&account);
    let arguments = ["run", "--workers", "2", "--queue-timeout", "5m", "--output", "json"];
    let running = Running::start(account.command(&arguments));
    let (running, request) = running.wait_for("the launcher to be called", |_| launcher.event());
    let run: RunId = serde_json::from_value(request["run"].clone()).expect("an id");
    let plan = serde_json::from_value(request["plan"].clone()).expect("a plan");
    record(&account, &deployed, &run, plan, &[RunEvent::Validated, RunEvent::Queued]);
    launcher.answer(&json!({"state": "queued", "place": 1}));
    running.signal("INT");
    let (running, called) = running.wait_for("the reaper to be called", |_| reaper.event());
    assert_eq!(called, json!({ "run": run }));
    let ledger = account.ledger(&deployed);
    let stopped = account.runtime.block_on(ledger.run(&run)).expect("answers");
    assert_eq!(stopped.state.status(), "stopping (by user)");
    let verdict = lambdaload_core::verdict::Verdict { run: run.clone(), exit_code: 105, ..verdict };
    account.runtime.block_on(ledger.conclude(&run, &verdict)).expect("is concluded");
    let said = running.wait();
    assert_eq!(said.code, Some(105), "{said:#?}");
    assert!(said.stderr.contains("no room for its workers now; it waits for up to 5m"), "{said:#?}");
    let shown: Value = serde_json::from_str(&said.stdout).expect("a verdict");
    assert_eq!(shown["run"], json!(run));
    let files = account.folder.path().join(".lambdaload/runs").join(run.as_str());
    wait_for("the report", || files.join("report.html").is_file().then_some(()));
}
