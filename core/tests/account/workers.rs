//! Workers whose time ends, whose lease another took, or who live on though nobody knows.

use std::time::Duration;

use lambdaload_core::{
    ids::Attempt,
    ports::Ledger,
    records::FailureKind,
    run::launch::LaunchReply,
    testing::{
        faulty::{Fault, When},
        generator::Event,
    },
    verdict::{Outcome, ReasonCode, Verdict},
};

use crate::{
    account::{Function, codes, play, told},
    test::{Test, seconds, worker},
};

fn failure_of(verdict: &Verdict, number: usize) -> Option<(FailureKind, String)> {
    verdict.workers[number - 1].failure.clone().map(|failure| (failure.kind, failure.message))
}

#[test]
fn a_worker_whose_time_is_over_says_so_and_uploads_all() {
    for (number, hangs) in [(1, false), (2, false), (1, true), (2, true)] {
        play(3, async |account| {
            account.promise_life(seconds(2_000));
            let test = Test { duration: seconds(870), ..Test::of(1, 3) }.with(number, |k6| {
                k6.lasts = seconds(2_000);
                (k6.ignores_interrupt, k6.ignores_stop) = (hangs, hangs);
            });
            // The first one waits for teardown() by then, and is slow to leave.
            let test = test.with(1, |k6| k6.ignores_interrupt |= hangs);
            account.launch(&test).await;
            let verdict = account.verdict(&test.id).await;
            assert_eq!(
                failure_of(&verdict, number).expect("failed"),
                (FailureKind::OutOfTime, "Lambda ends it after 900 s; its k6 was stopped before that".to_owned()),
                "{number} {hangs}: {}",
                told(&verdict)
            );
            assert_eq!((verdict.outcome, codes(&verdict)[0]), (Outcome::Invalid, ReasonCode::WorkerFailed));
            assert_eq!((verdict.samples.read, verdict.samples.missing.len()), (verdict.samples.merged, 0));
            assert!(told(&verdict).contains(&format!("worker {number}: Lambda ends it")), "{}", told(&verdict));
            assert_eq!(account.begun(Function::Reaper, "requestPayload").len(), 0, "nobody was cut off");
            // What was set up is torn down, by somebody who has time for it.
            let torn_down = account.when(&test.id, |event| *event == Event::Teardown);
            assert!(matches!(torn_down[..], [(_, 4)]), "{number} {hangs}: {torn_down:?}");
            account.all_over().await;
        });
    }
}

#[test]
fn a_worker_that_cannot_be_in_time_does_not_begin() {
    play(3, async |account| {
        account.promise_life(seconds(2_000));
        let test = Test::of(1, 3).lasting(seconds(880));
        account.launch(&test).await;
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
        account.launch(&test).await;
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
        account.launch(&test).await;
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
        account.launch(&test).await;
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
