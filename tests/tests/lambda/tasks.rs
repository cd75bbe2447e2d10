//! Runs on Fargate: the real command, launcher and aggregator, and tasks that the emulated ECS has accepted. What runs in
//! their place here are processes of the same program, with what the template and the call give a container.

use std::{
    thread,
    time::{Duration, Instant},
};

use lambdaload_tests::{
    account::{Account, Differences},
    cli::{Folder, Running, signal},
    fixture,
    target::Target,
};
use serde_json::{Value, json};

use crate::{
    played::{Containers, DEADLINE, Fate},
    scene::{assert_aggregated, failures, reasons},
};

fn run(account: &Account, folder: &Folder, arguments: &[&str]) -> Running {
    // Subnets of the emulated default VPC are found by the command itself.
    account.spawn(folder, &[&["run", "--platform", "fargate", "--output", "json", "--quiet"], arguments].concat())
}

fn verdict(said: &lambdaload_tests::cli::Said, account: &Account) -> Value {
    serde_json::from_str(&said.stdout).unwrap_or_else(|error| panic!("{error}: {said:#?}\n{}", account.said()))
}

/// Waits until so many workers run load.
fn wait_until_running(account: &Account, run: &str, count: usize) {
    let deadline = Instant::now() + DEADLINE;
    loop {
        let phases = account.ask(&format!(
            "table = [t for t in client('dynamodb').list_tables()['TableNames'] if 'Table' in t][0]\n\
             items = client('dynamodb').query(TableName=table, KeyConditionExpression='pk = :p', ConsistentRead=True,\n\
               ExpressionAttributeValues={{':p': {{'S': 'run#{run}'}}}})['Items']\n\
             print(json.dumps([json.loads(i['record']['S']).get('phase') for i in items if i['sk']['S'].startswith('worker')]))"
        ));
        let running = |phases: &Vec<Value>| phases.iter().filter(|phase| **phase == "running").count() == count;
        if phases.as_array().is_some_and(running) {
            return;
        }
        assert!(Instant::now() < deadline, "{count} workers run: {phases}\n{}", account.said());
        thread::sleep(Duration::from_millis(200));
    }
}

#[test]
#[ignore = "needs the servers of `cargo xtask servers`"]
fn twelve_tasks_give_the_verdict_of_the_local_fleet() {
    let (folder, target, account) = (Folder::new(), Target::start(), Account::deploy(&Differences::default()));
    let account = &account;
    let script = fixture("deterministic.js").display().to_string();
    let url = format!("TARGET={}", target.url());
    let arguments = [script.as_str(), "--workers", "12", "-e", &url, "-e", "VUS=12"];
    let local = folder.run(&[&["run", "--output", "json", "--quiet"], &arguments[..]].concat());
    let running = run(account, &folder, &arguments);
    let mut containers = Containers::new(account);
    containers.start_all(12, |_| Fate::Runs);
    let fargate = running.wait();
    let (local, fargate) = (verdict(&local, account), verdict(&fargate, account));
    assert_eq!(fargate["outcome"], "passed", "{fargate:#}");
    assert_eq!(fargate["thresholds"], local["thresholds"]);
    assert_eq!(fargate["summary"]["checks"], local["summary"]["checks"]);
    assert_eq!(fargate["workers"].as_array().map(Vec::len), Some(12));
    assert!(containers.ends().iter().all(|code| *code == Some(0)));
    // Each iteration was asked for once by each fleet.
    let requests = target.requests();
    let counts: Vec<u64> =
        requests.iter().filter(|(path, _)| path.starts_with("/iteration/")).map(|(_, n)| *n).collect();
    assert_eq!((counts.len(), counts.iter().all(|count| *count == 2)), (200, true), "{requests:?}");
}

/// k6 pushes them to its worker on the loopback of the task.
#[test]
#[ignore = "needs the servers of `cargo xtask servers`"]
fn aggregated_samples_of_tasks_come_to_the_same_counts() {
    let (folder, target, account) = (Folder::new(), Target::start(), Account::deploy(&Differences::default()));
    let script = fixture("deterministic.js").display().to_string();
    let url = format!("TARGET={}", target.url());
    let running = run(&account, &folder, &[&script, "--workers", "3", "-e", &url, "--samples", "aggregated"]);
    let mut containers = Containers::new(&account);
    containers.start_all(3, |_| Fate::Runs);
    assert_aggregated(&verdict(&running.wait(), &account));
    assert_eq!(target.requests().values().sum::<u64>(), 200);
    assert_eq!(containers.ends(), [Some(0); 3]);
}

#[test]
#[ignore = "needs the servers of `cargo xtask servers`"]
fn a_task_that_never_starts_one_that_is_killed_and_one_that_is_told_to_end_are_named() {
    let (folder, account) = (Folder::new(), Account::deploy(&Differences::default()));
    let account = &account;
    let script = fixture("steady.js").display().to_string();
    let running = run(account, &folder, &[&script, "--workers", "4", "--min-workers", "1", "-e", "DURATION=40s"]);
    let mut containers = Containers::new(account);
    containers.start_all(4, |worker| if worker == 3 { Fate::NeverStarts } else { Fate::Runs });
    wait_until_running(account, &containers.run, 3);
    signal(containers.pid(1), "KILL");
    signal(containers.pid(2), "TERM");
    let said = running.wait();
    let verdict = verdict(&said, account);
    // One worker is enough, by --min-workers.
    assert_eq!((said.code, &verdict["outcome"]), (Some(0), &json!("passed")), "{verdict:#}");
    let kinds = [(2, "lost"), (3, "taken"), (4, "not_launched")].map(|(number, kind)| (number, kind.to_owned()));
    assert_eq!(failures(&verdict), kinds.into(), "{verdict:#}");
    let told: String =
        verdict["reasons"].as_array().expect("reasons").iter().map(|r| r["message"].to_string()).collect();
    for words in ["lambdaload image push", "it was told to end (SIGTERM)", "was lost"] {
        assert!(told.contains(words), "{words}: {verdict:#}");
    }
    let mut ends = containers.ends();
    ends.sort_unstable();
    assert_eq!(ends, [None, Some(0), Some(0)]);
}

#[test]
#[ignore = "needs the servers of `cargo xtask servers`"]
fn a_task_that_is_killed_makes_the_measurement_invalid_unless_that_was_accepted() {
    let (folder, account) = (Folder::new(), Account::deploy(&Differences::default()));
    let account = &account;
    let script = fixture("steady.js").display().to_string();
    let running = run(account, &folder, &[&script, "--workers", "2", "-e", "DURATION=60s"]);
    let mut containers = Containers::new(account);
    containers.start_all(2, |_| Fate::Runs);
    wait_until_running(account, &containers.run, 2);
    containers.kill(1);
    let said = running.wait();
    let verdict = verdict(&said, account);
    assert_eq!((said.code, &verdict["outcome"]), (Some(96), &json!("invalid")), "{verdict:#}");
    assert_eq!(failures(&verdict), [(2, "lost".to_owned())].into(), "{verdict:#}");
    assert_eq!(reasons(&verdict)[0], ("worker_lost", Some(2)), "{verdict:#}");
    let first = verdict["reasons"][0]["message"].as_str().unwrap_or_default();
    assert!(first.contains("its task was killed (exit code 137)"), "{first}");
}
