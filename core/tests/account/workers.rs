//! Workers whose time ends, whose lease another took, or who live on though nobody knows.

use std::time::Duration;

use lambdaload_core::{
    ids::Attempt,
    ports::Ledger,
    records::FailureKind,
    run::launch::{LaunchReply, LaunchRequest},
    testing::{
        faulty::{Fault, When},
        generator::{Event, Hook},
    },
    verdict::{Outcome, ReasonCode, Verdict},
};

use crate::{
    account::{Account, Function, codes, play, told},
    test::{Test, seconds, worker},
};

fn failure_of(verdict: &Verdict, number: usize) -> Option<(FailureKind, String)> {
    verdict.workers[number - 1].failure.clone().map(|failure| (failure.kind, failure.message))
}

/// Starts a run whose workers may need more time than they have, as no launcher would.
async fn start_too_long(account: &Account, test: &Test) {
    let LaunchRequest::Start { version, run, mut plan } = account.request(test).await else { panic!("no start") };
    plan.deadlines.setup = seconds(5);
    plan.deadlines.teardown = seconds(5);
    plan.deadlines.run = plan.duration;
    plan.deadlines.ready = seconds(5);
    let request = LaunchRequest::Start { version, run, plan };
    assert_eq!(account.ask(&request).await, Ok(LaunchReply::Launched));
}

#[test]
fn a_worker_stops_its_k6_before_lambda_ends_it() {
    for number in [1, 2] {
        play(3, async |account| {
            // By its plan the test is over in time; this k6 is not.
            let test = Test { duration: seconds(800), ..Test::of(1, 3) };
            let test = test.with(number, |k6| k6.lasts = seconds(2_000));
            start_too_long(account, &test).await;
            // The launcher was told of a shorter test.
            let verdict = account.verdict(&test.id).await;
            let now = account.time().elapsed();
            assert_eq!(verdict.outcome, Outcome::Invalid);
            assert!(now < seconds(900), "{now:?}");
            let ended = account.when(&test.id, |event| *event == Event::IterationsEnded);
            assert_eq!(ended.len(), 3);
            assert_eq!(
                (verdict.samples.read, verdict.samples.missing.len()),
                (verdict.samples.merged, 0),
                "{}",
                told(&verdict)
            );
            account.all_over().await;
        });
    }
}

#[test]
fn a_worker_whose_time_is_over_says_so_and_uploads_all() {
    for (number, hangs) in [(1, false), (2, false), (1, true), (2, true)] {
        play(3, async |account| {
            let test = Test { duration: seconds(845), ..Test::of(1, 3) };
            let test = test.with(number, |k6| {
                (k6.lasts, k6.setup) = (seconds(2_000), Hook::Returns(seconds(1), "{}".into()));
                (k6.ignores_interrupt, k6.ignores_stop) = (hangs, hangs);
            });
            let LaunchRequest::Start { version, run, mut plan } = account.request(&test).await else { panic!() };
            (plan.deadlines.setup, plan.deadlines.teardown, plan.deadlines.ready) =
                (seconds(1), seconds(1), seconds(1));
            (plan.deadlines.launch, plan.deadlines.stop, plan.deadlines.upload) = (seconds(0), seconds(5), seconds(10));
            // What the launcher looks at is shorter than what the aggregator bears.
            plan.deadlines.run = seconds(868);
            let request = LaunchRequest::Start { version, run, plan };
            assert_eq!(account.ask(&request).await, Ok(LaunchReply::Launched));
            let verdict = account.verdict(&test.id).await;
            let (kind, message) = failure_of(&verdict, number as usize).expect("failed");
            assert_eq!(
                (kind, message.as_str()),
                (FailureKind::OutOfTime, "Lambda ends it after 900 s; its k6 was stopped before that"),
                "{number} {hangs}: {}",
                told(&verdict)
            );
            assert_eq!(verdict.outcome, Outcome::Invalid);
            assert_eq!((verdict.samples.read, verdict.samples.missing.len()), (verdict.samples.merged, 0));
            assert!(told(&verdict).starts_with(&format!("worker {number}: Lambda ends it")), "{}", told(&verdict));
            assert_eq!(account.begun(Function::Reaper, "requestPayload").len(), 0, "nobody was cut off");
            // What was set up is torn down, if need be by somebody else.
            let torn_down = account.when(&test.id, |event| *event == Event::Teardown);
            assert_eq!(torn_down.len(), 1, "{number} {hangs}: {torn_down:?}");
            account.all_over().await;
        });
    }
}

#[test]
fn a_worker_that_cannot_be_in_time_does_not_begin() {
    play(3, async |account| {
        let test = Test::of(1, 3).lasting(seconds(880));
        let LaunchRequest::Start { version, run, mut plan } = account.request(&test).await else { panic!() };
        let deadlines = &mut plan.deadlines;
        (deadlines.run, deadlines.setup, deadlines.teardown) = (seconds(700), seconds(1), seconds(1));
        let request = LaunchRequest::Start { version, run, plan };
        assert_eq!(account.ask(&request).await, Ok(LaunchReply::Launched));
        let verdict = account.verdict(&test.id).await;
        let (kind, message) = failure_of(&verdict, 1).expect("failed");
        assert_eq!(kind, FailureKind::OutOfTime);
        assert_eq!(
            message,
            "Lambda ends it in 900 s, and its part of the run takes 909 s at least; k6 was not started"
        );
        assert_eq!(account.when(&test.id, |event| *event == Event::Started), []);
        assert!(account.time().elapsed() < seconds(20), "{:?}", account.time().elapsed());
        account.all_over().await;
    });
}

#[test]
fn a_worker_whose_lease_another_took_leaves_and_the_run_is_invalid() {
    play(3, async |account| {
        let test = Test::of(1, 3).lasting(seconds(100));
        account.start(&test).await.expect("launched");
        account.at(seconds(20)).await;
        account.ledger().give_to(&test.id, worker(2), Attempt(2));
        let verdict = account.verdict(&test.id).await;
        let ended = account.when(&test.id, |event| matches!(event, Event::Exited(_)));
        let second = ended.iter().find(|(_, number)| *number == 2).expect("ended").0;
        assert!(second < seconds(24), "{ended:?}");
        assert_eq!((verdict.outcome, codes(&verdict)), (Outcome::Invalid, vec![ReasonCode::WorkerLost]));
        assert!(told(&verdict).starts_with("worker 2"), "{}", told(&verdict));
        account.all_over().await;
    });
}

#[test]
fn room_of_workers_that_may_still_live_is_given_to_nobody_before_they_have_gone() {
    play(3, async |account| {
        let test = Test::of(1, 3).lasting(seconds(200));
        account.start(&test).await.expect("launched");
        assert_eq!(account.start(&Test::of(2, 3)).await, Ok(LaunchReply::Queued { place: 1 }));
        account.at(seconds(10)).await;
        // Nobody can read or write the records of the workers any more, themselves included.
        account.faults(Function::Worker).ledger.add("", "", When::Between(seconds(10), seconds(120)), Fault::Fails);
        let verdict = account.verdict(&test.id).await;
        assert_eq!(verdict.outcome, Outcome::Invalid);
        let judged_at = account.time().elapsed();
        let last = |events: Vec<(Duration, u32)>| events.into_iter().map(|(at, _)| at).max().expect("one");
        assert_eq!(account.verdict(&Test::of(2, 3).id).await.outcome, Outcome::Passed);
        let left = last(account.when(&test.id, |event| matches!(event, Event::Exited(_))));
        let (begun, _) = account.when(&Test::of(2, 3).id, |event| *event == Event::Started)[0];
        assert!(left < begun, "{judged_at:?} {left:?} {begun:?}");
        assert_eq!((account.most_taken(), account.most_alive()), (3, 3));
        account.all_over().await;
    });
}

#[test]
fn a_reported_worker_that_lives_on_is_out() {
    play(3, async |account| {
        let test = Test { min_workers: Some(2), ..Test::of(1, 3) }.lasting(seconds(100));
        account.start(&test).await.expect("launched");
        account.at(seconds(20)).await;
        // For a while it cannot renew its lease, and meanwhile it is said to have failed.
        account.faults(Function::Worker).ledger.add(
            "replace_worker",
            "worker 2",
            When::Between(seconds(20), seconds(29)),
            Fault::Fails,
        );
        account.report_failed(&test.id, 1, "RetriesExhausted");
        let verdict = account.verdict(&test.id).await;
        assert_eq!(codes(&verdict), [ReasonCode::LossAccepted], "{}", told(&verdict));
        let ended = account.when(&test.id, |event| matches!(event, Event::Exited(_)));
        assert!(ended.iter().any(|(at, number)| *number == 2 && *at < seconds(45)), "{ended:?}");
        account.all_over().await;
        assert_eq!(account.ledger().workers(&test.id).await.expect("answers").len(), 3);
    });
}
