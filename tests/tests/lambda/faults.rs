//! What goes wrong in an account, done to the real functions: processes that are killed, calls that come twice or late,
//! answers that are lost. Each run ends in the right verdict, or in *invalid* with the worker named.

use std::time::{Duration, Instant};

use lambdaload_tests::{
    account::Differences,
    cli::{Folder, is_alive, signal, wait_for},
    servers::{Call, Fault, Microburst, Recorder, Toxiproxy},
};
use serde_json::{Value, json};

use crate::scene::{Scene, reasons};

/// The worker, of two, whose k6 this is: it says so by its segment.
fn worker_of(k6: u32) -> u64 {
    let line = std::fs::read(format!("/proc/{k6}/cmdline")).expect("it runs");
    let line = String::from_utf8_lossy(&line).into_owned();
    assert!(line.contains("1/2"), "{line}");
    if line.contains("0:1/2") { 1 } else { 2 }
}

/// The parent of a process.
fn parent(pid: u32) -> u32 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("the process is there");
    let fields = stat.rsplit(')').next().unwrap_or_default();
    fields.split_whitespace().nth(1).and_then(|parent| parent.parse().ok()).expect("a parent")
}

#[test]
#[ignore = "needs the servers of `cargo xtask servers`"]
fn a_worker_that_is_killed_is_named_and_stops_the_run() {
    let scene = Scene::new(&Differences::default());
    let run = scene.detached(1200, &[]);
    scene.wait_until_asked(10);
    let k6s = scene.k6s();
    assert_eq!(k6s.len(), 2, "{k6s:?}");
    let (killed, worker) = (Instant::now(), worker_of(k6s[0]));
    signal(parent(k6s[0]), "KILL");

    let verdict = scene.verdict(&run);
    assert_eq!(verdict["outcome"], "invalid", "{verdict:#}");
    let reasons = reasons(&verdict);
    assert!(reasons.contains(&("worker_lost", Some(worker))), "not worker {worker}: {verdict:#}");
    // The load would have gone on for more than a minute.
    assert!(killed.elapsed() < Duration::from_mins(1), "it took {:?}: {verdict:#}", killed.elapsed());
    scene.wait_until_no_k6();
}

#[test]
#[ignore = "needs the servers of `cargo xtask servers`"]
fn workers_that_are_called_twice_run_once() {
    let (scene, recorder) = Scene::recorded();
    recorder.make(Fault::Twice, 4, |call| call.is("lambda:InvokeFunction") && call.path.contains("-worker/"));
    let run = scene.detached(80, &[]);
    let verdict = scene.verdict(&run);
    scene.assert_passed_once(&verdict, 80);
    let calls = recorder.calls();
    let workers = calls.iter().filter(|call| call.path.contains("-worker/")).count();
    assert_eq!(workers, 2, "each of these came twice");
}

#[test]
#[ignore = "needs the servers of `cargo xtask servers`"]
#[expect(clippy::print_stdout, reason = "a figure for whoever asks for it")]
fn stop_from_elsewhere_stops_every_worker() {
    let scene = Scene::new(&Differences::default());
    let run = scene.detached(1200, &[]);
    scene.wait_until_asked(10);
    let elsewhere = Folder::new();
    let stopped = Instant::now();
    let said = scene.account.run(&elsewhere, &["stop", &run]);
    assert_eq!(said.code, Some(0), "{said:#?}");
    let mut last = (scene.asked().len(), stopped.elapsed());
    wait_for("every k6 to end", || {
        let asked = scene.asked().len();
        if asked > last.0 {
            last = (asked, stopped.elapsed());
        }
        scene.k6s().is_empty().then_some(())
    });
    println!("the last request came at most {} ms after the stop was asked for", last.1.as_millis());
    assert!(last.1 <= Duration::from_secs(8), "there was load for {:?} after the stop", last.1);
    let asked = scene.asked();

    let said = scene.account.run(&elsewhere, &["watch", &run, "--output", "json", "--quiet"]);
    let verdict: Value = serde_json::from_str(&said.stdout).unwrap_or_else(|error| panic!("{error}: {said:#?}"));
    assert_eq!((said.code, verdict["exit_code"].as_i64()), (Some(105), Some(105)), "{verdict:#}");
    assert_eq!(verdict["status"], "aborted (by user)", "{verdict:#}");
    assert_eq!(scene.asked(), asked, "there was load after every k6 had ended");
    assert!(asked.len() < 1200, "it was not stopped");
}

#[test]
#[ignore = "needs the servers of `cargo xtask servers`"]
fn an_aggregator_that_is_killed_has_a_successor() {
    let scene = Scene::new(&Differences::default());
    let run = scene.detached(240, &[]);
    scene.wait_until_asked(20);
    let aggregators = scene.processes("aggregator");
    assert!(!aggregators.is_empty(), "nobody conducts the run");
    for pid in &aggregators {
        signal(*pid, "KILL");
    }
    wait_for("a successor", || {
        scene.processes("aggregator").iter().any(|pid| is_alive(*pid) && !aggregators.contains(pid)).then_some(())
    });
    let verdict = scene.verdict(&run);
    scene.assert_passed_once(&verdict, 240);
}

#[test]
#[ignore = "needs the servers of `cargo xtask servers`"]
fn a_second_run_waits_for_room() {
    let scene = Scene::new(&Differences { parameters: &["WorkerCapacity=2"], ..Differences::default() });
    let first = scene.detached(160, &[]);
    let second = scene.detached(80, &[]);
    let third = scene.detached(80, &["--queue-timeout", "1s"]);
    let verdict = scene.verdict(&third);
    assert_eq!(verdict["outcome"], "invalid", "{verdict:#}");
    assert!(reasons(&verdict).iter().any(|(code, _)| *code == "not_started"), "{verdict:#}");
    let (first, second) = (scene.verdict(&first), scene.verdict(&second));
    assert_eq!((&first["outcome"], &second["outcome"]), (&"passed".into(), &"passed".into()), "{first:#}\n{second:#}");
    assert!(second["started_at"].as_u64() >= first["ended_at"].as_u64(), "both at one time: {first:#}\n{second:#}");
}

#[test]
#[ignore = "needs the servers of `cargo xtask servers`"]
fn uploads_that_come_twice_or_late_or_whose_answer_is_lost_count_once() {
    let (scene, recorder) = Scene::recorded();
    let is_upload = |call: &Call| {
        call.is("s3:PutObject") && ["/runs/", "/interim/"].iter().any(|folder| call.path.contains(folder))
    };
    recorder.make(Fault::Twice, 3, is_upload);
    recorder.make(Fault::AnswerLost, 3, is_upload);
    recorder.make(Fault::Lost, 2, is_upload);
    // Longer than an attempt may take: the next one overtakes it, and so do later chunks.
    recorder
        .make(Fault::Delayed(Duration::from_secs(6)), 2, move |call| is_upload(call) && call.path.contains(".chunk"));
    let run = scene.detached(120, &[]);
    let verdict = scene.verdict(&run);
    scene.assert_passed_once(&verdict, 120);
    let samples = &verdict["samples"];
    assert!(samples["read"].as_u64() > Some(0) && samples["read"] == samples["merged"], "{samples:#}");
    let uploads = recorder.calls().iter().filter(|call| is_upload(call)).count();
    assert!(uploads >= 10, "only {uploads} uploads: not every fault was made");
}

#[test]
#[ignore = "needs the servers of `cargo xtask servers`"]
fn a_run_outlives_the_command_that_started_it() {
    let scene = Scene::new(&Differences::default());
    let target = format!("TARGET={}", scene.target.url());
    let arguments = ["run", "script.js", "--workers", "2", "-e", &target, "-e", "ITERATIONS=160"];
    let command = scene.account.spawn(&scene.folder, &arguments);
    let (command, ()) = command.wait_for("the load to run", |_| (!scene.asked().is_empty()).then_some(()));
    command.signal("KILL");
    command.wait();

    let said = scene.account.run(&Folder::new(), &["runs", "list", "--output", "json"]);
    let runs: Value = serde_json::from_str(&said.stdout).unwrap_or_else(|error| panic!("{error}: {said:#?}"));
    let verdict = scene.verdict(runs[0]["run"].as_str().unwrap_or_else(|| panic!("no run: {said:#?}")));
    scene.assert_passed_once(&verdict, 160);
}

#[test]
#[ignore = "needs the servers of `cargo xtask servers`"]
fn connections_that_are_cut_for_two_seconds_change_nothing() {
    let (recorder, toxiproxy) = (Recorder::start(), Toxiproxy::start());
    let proxy = toxiproxy.before(&recorder.endpoint());
    let scene =
        Scene::new(&Differences { variables: &[("AWS_ENDPOINT_URL", proxy.endpoint())], ..Differences::default() });
    recorder.forward_to(&scene.account.endpoint());
    let run = scene.detached(160, &[]);
    scene.wait_until_asked(10);
    proxy.enable(false);
    std::thread::sleep(Duration::from_secs(2));
    proxy.enable(true);
    let verdict = scene.verdict(&run);
    scene.assert_passed_once(&verdict, 160);
}

#[test]
#[ignore = "needs the servers of `cargo xtask servers`"]
fn a_worker_without_concurrency_is_named_and_never_starts() {
    let scene = Scene::new(&Differences::default());
    let url = format!("{}/2017-10-31/functions/lambdaload-worker/concurrency", scene.account.endpoint());
    let set = ureq::put(&url).content_type("application/json").send(r#"{"ReservedConcurrentExecutions": 1}"#);
    assert_eq!(set.expect("the account takes it").status(), 200);
    let run = scene.detached(80, &[]);
    let verdict = scene.verdict(&run);
    assert_eq!(verdict["outcome"], "invalid", "{verdict:#}");
    assert!(reasons(&verdict).iter().any(|(_, worker)| worker.is_some()), "{verdict:#}");
    assert!(scene.asked().is_empty(), "half of the load is no load: {:?}", scene.asked());
    scene.wait_until_no_k6();
}

#[test]
#[ignore = "needs the servers of `cargo xtask servers`"]
fn throttled_stores_change_nothing() {
    let recorder = Recorder::start();
    let faults = Microburst::before(&recorder.endpoint());
    let scene =
        Scene::new(&Differences { variables: &[("AWS_ENDPOINT_URL", &faults.endpoint())], ..Differences::default() });
    recorder.forward_to(&scene.account.endpoint());
    let run = scene.detached(160, &[]);
    scene.wait_until_asked(10);
    faults.set_rules(json!([
        {"service": "s3", "operation": "PutObject", "times": 4, "error": {"code": "SlowDown"}},
        {"service": "dynamodb", "operation": "GetItem", "times": 6,
         "error": {"code": "ProvisionedThroughputExceededException"}},
        {"service": "dynamodb", "operation": "UpdateItem", "times": 6, "error": {"code": "ThrottlingException"}},
    ]));
    let verdict = scene.verdict(&run);
    scene.assert_passed_once(&verdict, 160);
    let fired = (faults.fired_count("s3"), faults.fired_count("dynamodb"));
    assert!(fired.0 > 0 && fired.1 > 0, "no faults were made: {fired:?}");
}

#[test]
#[ignore = "needs the servers of `cargo xtask servers`"]
fn a_worker_that_is_called_late_does_nothing() {
    let (scene, recorder) = Scene::recorded();
    let is_call = |call: &Call| call.is("lambda:InvokeFunction") && call.path.contains("-worker/");
    // Longer than a worker may take to get ready.
    recorder.make(Fault::Queued(Duration::from_secs(80)), 1, is_call);
    let run = scene.detached(80, &[]);
    let verdict = scene.verdict(&run);
    assert_eq!(verdict["outcome"], "invalid", "{verdict:#}");
    assert!(verdict["reasons"][0]["message"].as_str().is_some_and(|said| said.contains(": worker ")), "{verdict:#}");
    let came =
        |recorder: &Recorder| recorder.calls().iter().filter(|call| is_call(call)).all(|call| call.status.is_some());
    assert!(!came(&recorder), "the late call came in time");
    scene.wait_until_no_k6();
    wait_for("the late call", || came(&recorder).then_some(()));
    wait_for("the late worker to leave", || scene.account.said_all().contains("Ok(Late)").then_some(()));
    assert_eq!(scene.k6s(), [0_u32; 0], "it started k6");
    assert!(scene.asked().is_empty(), "half of the load is no load: {:?}", scene.asked());
}

#[test]
#[ignore = "needs the servers of `cargo xtask servers`"]
fn a_second_aggregator_at_the_same_time_changes_nothing() {
    let scene = Scene::new(&Differences::default());
    let run = scene.detached(160, &[]);
    scene.wait_until_asked(10);
    let task = json!({ "run": run, "succession": 0 }).to_string();
    let call = format!(
        "answer = client('lambda').invoke(FunctionName='lambdaload-aggregator', InvocationType='Event', Payload='{task}')\n\
         print(answer['StatusCode'])"
    );
    assert_eq!(scene.account.ask(&call), 202);
    wait_for("two aggregators", || (scene.processes("aggregator").len() == 2).then_some(()));
    let verdict = scene.verdict(&run);
    scene.assert_passed_once(&verdict, 160);
}
