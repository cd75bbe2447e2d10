//! Workers that go without a word.

use lambdaload_core::{
    ports::Ledger,
    records::FailureKind,
    testing::{
        faulty::{Fault, When},
        generator::{Event, Hook},
    },
    verdict::{Outcome, ReasonCode},
};

use crate::{
    scene::{codes, reasons},
    script::{Test, seconds, worker},
};

#[test]
fn a_worker_that_falls_silent_is_lost_and_the_others_are_stopped() {
    Test { blind: true, duration: seconds(60), ..Test::of(4) }.play(async |scene| {
        scene.start().await;
        let aggregator = scene.aggregator();
        scene.at(seconds(6)).await;
        scene.fleet.lose_silently(worker(3));
        let verdict = aggregator.outcome().await.expect("a verdict");
        assert_eq!((verdict.outcome, verdict.exit_code), (Outcome::Invalid, 96));
        assert_eq!((verdict.status.as_str(), codes(&verdict)), ("aborted (by system)", vec![ReasonCode::WorkerLost]));
        let reason = &verdict.reasons[0];
        assert_eq!(reason.worker, Some(3));
        assert!(
            reason.message.starts_with("worker 3 was lost while it ran: gave no sign of life for 10 s"),
            "{reason:?}"
        );
        assert!(reason.next_step.is_some());
        // What it had stored counts, and the others have told all.
        assert!(verdict.workers[2].samples_merged > 0 && verdict.workers[2].samples_read.is_none());
        assert_eq!(verdict.workers[0].samples_read, Some(verdict.workers[0].samples_merged));
        scene.fleet.all_over().await;
    });
}

#[test]
fn the_others_stop_when_one_is_lost() {
    let test = (1..=4).fold(Test { blind: true, duration: seconds(300), ..Test::of(4) }, |test, number| {
        test.with(number, |k6| k6.lasts = seconds(300))
    });
    test.play(async |scene| {
        scene.start().await;
        let aggregator = scene.aggregator();
        scene.at(seconds(6)).await;
        scene.fleet.lose_silently(worker(3));
        let verdict = aggregator.outcome().await.expect("a verdict");
        assert_eq!((verdict.outcome, verdict.exit_code), (Outcome::Invalid, 96));
        let ended = scene.when(|event| *event == Event::IterationsEnded);
        assert_eq!(ended.len(), 3);
        assert!(ended.iter().all(|(at, _)| (seconds(14)..seconds(18)).contains(at)), "{ended:?}");
        assert_eq!(scene.whose(&Event::Teardown), [1]);
    });
}

#[test]
fn a_worker_of_which_the_fleet_knows_that_it_has_gone_is_lost_at_once() {
    Test::of(4).play(async |scene| {
        scene.start().await;
        let aggregator = scene.aggregator();
        scene.at(seconds(6)).await;
        scene.fleet.lose(worker(2));
        let verdict = aggregator.outcome().await.expect("a verdict");
        assert_eq!((verdict.outcome, verdict.exit_code), (Outcome::Invalid, 96));
        assert_eq!(verdict.reasons[0].message, "worker 2 was lost while it ran: its process has ended");
        let ended = scene.when(|event| *event == Event::IterationsEnded);
        assert!(ended.iter().all(|(at, _)| *at < seconds(8)), "{ended:?}");
    });
}

#[test]
fn a_worker_that_has_begun_is_lost_whatever_the_fleet_takes_its_end_for() {
    // Of one that was launched twice, the second may never begin.
    for (kind, told) in [(FailureKind::NotLaunched, FailureKind::Lost), (FailureKind::Taken, FailureKind::Taken)] {
        Test::of(4).play(async |scene| {
            scene.start().await;
            let aggregator = scene.aggregator();
            scene.at(seconds(6)).await;
            scene.fleet.lose_as(worker(2), kind);
            let verdict = aggregator.outcome().await.expect("a verdict");
            let failures: Vec<_> =
                verdict.workers.iter().filter_map(|w| Some((w.index, w.failure.as_ref()?.kind))).collect();
            assert_eq!(failures, [(worker(2), told)]);
            assert_eq!((verdict.outcome, codes(&verdict)), (Outcome::Invalid, vec![ReasonCode::WorkerLost]));
            assert_eq!(verdict.reasons[0].message, "worker 2 was lost while it ran: its process has ended");
            let next_step = verdict.reasons[0].next_step.as_deref().unwrap_or_default();
            assert_eq!(next_step.contains("without --spot"), told == FailureKind::Taken, "{next_step}");
        });
    }
}

#[test]
fn a_worker_that_is_lost_before_the_start_keeps_all_from_starting() {
    Test { blind: true, ..Test::of(3) }.with(1, |k6| k6.ready_after = seconds(30)).play(async |scene| {
        scene.start().await;
        let aggregator = scene.aggregator();
        scene.at(seconds(3)).await;
        scene.fleet.lose_silently(worker(2));
        let verdict = aggregator.outcome().await.expect("a verdict");
        assert_eq!((verdict.outcome, codes(&verdict)), (Outcome::Invalid, vec![ReasonCode::WorkerLost]));
        assert!(verdict.reasons[0].message.contains("before it started"), "{:?}", verdict.reasons);
        assert_eq!(scene.whose(&Event::Resumed), [0; 0]);
        scene.fleet.all_over().await;
    });
}

#[test]
fn a_first_worker_that_is_lost_in_teardown_leaves_the_run_invalid() {
    let test = Test { blind: true, ..Test::of(3) };
    test.with(1, |k6| k6.teardown = Hook::Returns(seconds(20), "null".into())).play(async |scene| {
        scene.start().await;
        let aggregator = scene.aggregator();
        scene.at(seconds(20)).await;
        scene.fleet.lose_silently(worker(1));
        let verdict = aggregator.outcome().await.expect("a verdict");
        assert_eq!((verdict.outcome, codes(&verdict)), (Outcome::Invalid, vec![ReasonCode::WorkerLost]));
        assert!(scene.time.elapsed() < seconds(40), "{:?}", scene.time.elapsed());
    });
}

#[test]
fn a_worker_that_gives_signs_of_life_and_never_ends_is_ended_by_the_fleet() {
    Test { blind: true, ..Test::of(3) }.play(async |scene| {
        scene.start().await;
        let aggregator = scene.aggregator();
        scene.at(seconds(6)).await;
        scene.fleet.lose_silently(worker(3));
        let (ledger, id, time) = (scene.ledger.clone(), scene.id.clone(), scene.time.clone());
        let ghost = scene.time.spawn(async move {
            let mut record = ledger.peek_worker(&id, worker(3)).expect("claimed");
            loop {
                record.beat += 1;
                ledger.replace_worker(&record).await.expect("its own");
                time.sleep(seconds(1)).await;
            }
        });
        let verdict = aggregator.outcome().await.expect("a verdict");
        assert_eq!((verdict.outcome, verdict.exit_code), (Outcome::Invalid, 96));
        assert_eq!(codes(&verdict), [ReasonCode::WorkerLost, ReasonCode::DeadlinePassed], "{:?}", verdict.reasons);
        assert!(verdict.reasons[0].message.contains("worker 3") && verdict.reasons[1].message.contains("worker 3"));
        assert_eq!((verdict.status.as_str(), scene.fleet.kills()), ("timed out", 1));
        assert!(scene.time.elapsed() < seconds(180), "{:?}", scene.time.elapsed());
        ghost.cancel();
    });
}

#[test]
fn a_worker_that_is_silent_for_a_while_is_not_lost() {
    Test { blind: true, ..Test::of(3) }.play(async |scene| {
        let silence = When::Between(seconds(4), seconds(12));
        scene.faults_of(2).ledger.add("replace_worker", "", silence, Fault::Fails);
        assert_eq!(scene.verdict().await.outcome, Outcome::NoThresholds);
    });
}

#[test]
fn a_worker_that_comes_back_after_it_was_taken_for_lost_does_not_mend_the_verdict() {
    let test = Test { blind: true, duration: seconds(60), ..Test::of(3) };
    test.with(1, |k6| k6.lasts = seconds(60)).with(2, |k6| k6.lasts = seconds(60)).play(async |scene| {
        let silence = When::Between(seconds(4), seconds(17));
        scene.faults_of(2).ledger.add("replace_worker", "", silence, Fault::Fails);
        let verdict = scene.verdict().await;
        assert_eq!((verdict.outcome, reasons(&verdict, ReasonCode::WorkerLost).len()), (Outcome::Invalid, 1));
        assert!(scene.time.elapsed() < seconds(30), "{:?}", scene.time.elapsed());
    });
}
