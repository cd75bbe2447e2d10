//! What an account does when nothing goes wrong.

use std::time::Duration;

use lambdaload_core::{
    lifecycle::Phase,
    run::launch::{LaunchReply, LaunchRequest},
    testing::generator::Event,
    verdict::{Outcome, ReasonCode},
};

use crate::{
    account::{Account, Function, codes, play, told},
    test::{Test, run_id, seconds},
};

#[test]
fn a_run_is_launched_judged_and_makes_room() {
    play(10, async |account| {
        let test = Test::of(1, 3);
        assert_eq!(account.start(&test).await, Ok(LaunchReply::Launched));
        assert_eq!(account.slots().await.taken(), 3);
        let verdict = account.verdict(&test.id).await;
        assert_eq!((verdict.outcome, verdict.exit_code), (Outcome::Passed, 0), "{:?}", verdict.reasons);
        assert_eq!((verdict.samples.read, verdict.samples.merged), (1_262, 1_262));
        // As soon as it is judged, and not when the reaper comes.
        let judged_at = account.time().elapsed();
        account.at(judged_at + seconds(1)).await;
        assert!(account.slots().await.held.is_empty());
        account.all_over().await;
        let calls = [Function::Launcher, Function::Aggregator, Function::Worker, Function::Reaper];
        assert_eq!(calls.map(|function| account.begun(function, "").len()), [1, 1, 3, 2]);
        assert_eq!((account.dead_letters(), account.most_alive()), (0, 3));
        assert_eq!(account.when(&test.id, |event| matches!(event, Event::Teardown)).len(), 1);
    });
}

#[test]
fn one_write_stops_every_k6_within_three_seconds() {
    for at_once in [false, true] {
        play(10, async |account| {
            let test = Test::of(1, 5).lasting(seconds(300));
            account.launch(&test).await;
            account.at(seconds(60)).await;
            assert!(account.stop(&test.id, at_once).await);
            let verdict = account.verdict(&test.id).await;
            let is_end = |event: &Event| matches!(event, Event::IterationsEnded | Event::Killed);
            let ended = account.when(&test.id, is_end);
            let is_in_time = |at: &Duration| (seconds(60)..=seconds(63)).contains(at);
            assert!(ended.len() == 5 && ended.iter().all(|(at, _)| is_in_time(at)), "{ended:?}");
            assert!(codes(&verdict).contains(&ReasonCode::Stopped), "{:?}", verdict.reasons);
            account.all_over().await;
        });
    }
}

#[test]
fn asking_again_is_answered_with_what_is_so_and_changes_nothing() {
    play(3, async |account| {
        let (first, second) = (Test::of(1, 3), Test::of(2, 3));
        let (first_request, second_request) = (account.request(&first).await, account.request(&second).await);
        let ask = async |request| account.ask(request).await.expect("an answer");
        for _ in 0..3 {
            assert_eq!(ask(&first_request).await, LaunchReply::Launched);
            assert_eq!(ask(&second_request).await, LaunchReply::Queued { place: 1 });
            account.time().sleep(seconds(8)).await;
        }
        assert_eq!(account.begun(Function::Worker, first.id.as_str()).len(), 3);
        assert_eq!(account.begun(Function::Aggregator, first.id.as_str()).len(), 1);
        let verdict = account.verdict(&first.id).await;
        assert_eq!(verdict.outcome, Outcome::Passed, "{:?}", verdict.reasons);
        for request in [&first_request, &LaunchRequest::Resume { run: first.id.clone() }] {
            assert_eq!(ask(request).await, LaunchReply::Launched);
        }
        assert_eq!(account.begun(Function::Worker, first.id.as_str()).len(), 3);
        assert_eq!(account.verdict(&second.id).await.outcome, Outcome::Passed);
        assert_eq!(account.most_taken(), 3);
        account.all_over().await;
    });
}

async fn refusal(account: &Account, request: &LaunchRequest) -> String {
    match account.ask(request).await {
        Ok(LaunchReply::Refused { message }) => message,
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_cannot_be_started_here_is_refused_and_leaves_nothing() {
    play(4, async |account| {
        let request = async |test: &Test| match account.request(test).await {
            LaunchRequest::Start { version, run, plan } => (version, run, plan),
            LaunchRequest::Resume { .. } | LaunchRequest::Fire(_) => panic!("no start"),
        };
        let (version, run, plan) = request(&Test::of(1, 3)).await;
        let start = |version: &str, plan| LaunchRequest::Start { version: version.into(), run: run.clone(), plan };
        let other = refusal(account, &start("0.0.9", plan.clone())).await;
        assert!(other.contains("the stack is lambdaload 0.1.0, and this command is lambdaload 0.0.9"), "{other}");
        let many = refusal(account, &account.request(&Test::of(1, 5)).await).await;
        assert!(many.starts_with("5 workers asked for, and the stack may have 4 at one time"), "{many}");
        let long = refusal(account, &account.request(&Test::of(1, 3).lasting(seconds(880))).await).await;
        assert!(long.contains("and lives 15m at most"), "{long}");
        let mut bad = plan.clone();
        bad.min_workers = 9;
        assert!(refusal(account, &start("0.1.0", bad)).await.contains("a plan of 3 workers, of which 9"));
        account.store().lose(&account.store().keys_with("archives")[0]);
        let missing = refusal(account, &start(&version, plan)).await;
        assert!(missing.contains("archive is not in the store: there is no object `archives/"), "{missing}");
        assert!(account.ledger().peek(&run_id(1)).is_none());
        assert_eq!(account.begun(Function::Worker, "").len(), 0);
        account.all_over().await;
    });
}

#[test]
fn two_runs_of_one_id_are_refused() {
    play(9, async |account| {
        account.launch(&Test::of(1, 3)).await;
        let other = refusal(account, &account.request(&Test::of(1, 2)).await).await;
        assert!(other.contains("there is another run"), "{other}");
        assert_eq!(account.verdict(&run_id(1)).await.planned_workers, 3);
        account.all_over().await;
    });
}

#[test]
fn a_request_of_another_lambdaload_is_told_so_whatever_is_in_it() {
    play(9, async |account| {
        let deployment = lambdaload_core::run::Deployment {
            capacity: 1,
            worker_life: seconds(1),
            task_capacity: 0,
            version: "0.1.0".into(),
        };
        for (event, words) in [
            (r#"{"do":"start","version":"9.0.0","run":"x","plan":{"new":1}}"#, "this command is lambdaload 9.0.0"),
            (r#"{"do":"start","version":"0.1.0","run":"x","plan":{}}"#, "does not understand"),
            ("[", "does not understand"),
        ] {
            match LaunchRequest::parse(event.as_bytes(), &deployment) {
                Err(LaunchReply::Refused { message }) => assert!(message.contains(words), "{message}"),
                other => panic!("{other:?}"),
            }
        }
        account.all_over().await;
    });
}

#[test]
fn a_run_that_fails_is_failed() {
    play(9, async |account| {
        let test = Test { thresholds: r#"{"http_req_duration":["max<30"]}"#, ..Test::of(1, 2) };
        let verdict = account.verdict_of(&test).await;
        assert_eq!((verdict.outcome, verdict.exit_code), (Outcome::Failed, 99), "{}", told(&verdict));
        assert_eq!(account.run(&test.id).state.phase, Phase::Concluded);
    });
}
