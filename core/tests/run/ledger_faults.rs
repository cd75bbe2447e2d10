//! Ledgers that fail, lose answers, hang, or are a version behind.

use lambdaload_core::{
    ports::Ledger,
    records::FailureKind,
    testing::{
        faulty::{Fault, When},
        fleet::Launch,
        generator::Event,
    },
    verdict::{Outcome, ReasonCode, Verdict},
};

use crate::{
    scene::{Scene, codes},
    script::{Test, seconds, worker},
    usual::HOLDS,
};

fn test() -> Test {
    Test { thresholds: HOLDS, blind: true, ..Test::of(4) }
}

/// A run of ten minutes.
fn long() -> Test {
    let test = Test { duration: seconds(600), blind: true, ..Test::of(3) };
    (1..=3).fold(test, |test, number| test.with(number, |k6| k6.lasts = seconds(600)))
}

/// Plays the run with a fault of the ledger of all that come after the start.
fn with_fault(calls: &'static str, when: When, fault: Fault) -> Verdict {
    test().play(async |scene| {
        scene.start().await;
        scene.everybodys_faults().for_each(|faults| faults.ledger.add(calls, "", when, fault));
        let verdict = scene.aggregate().await.expect("a verdict");
        scene.fleet.all_over().await;
        assert_eq!(scene.ledger.starts().len(), 1, "{calls} {when:?} {fault:?}");
        verdict
    })
}

fn passed(verdict: &Verdict) {
    assert_eq!((verdict.outcome, verdict.exit_code), (Outcome::Passed, 0), "{:?}", verdict.reasons);
    assert_eq!((verdict.samples.read, &verdict.samples.missing[..]), (verdict.samples.merged, &[][..]));
}

#[test]
fn what_fails_now_and_then_is_asked_again() {
    for calls in ["run", "replace_run", "claim_worker", "replace_worker", "workers", "conclude"] {
        for when in [When::Nth(1), When::Nth(2), When::Every(2)] {
            passed(&with_fault(calls, when, Fault::Fails));
        }
    }
    passed(&with_fault("", When::Every(3), Fault::Fails));
}

#[test]
fn an_answer_that_is_lost_does_no_harm() {
    for calls in ["run", "replace_run", "replace_worker", "workers", "conclude"] {
        for when in [When::Nth(1), When::Nth(3), When::Every(2)] {
            passed(&with_fault(calls, when, Fault::AnswerIsLost));
        }
    }
}

#[test]
fn a_call_that_is_repeated_changes_nothing() {
    for calls in ["run", "replace_run", "replace_worker", "workers", "conclude"] {
        passed(&with_fault(calls, When::Always, Fault::Repeats));
    }
}

#[test]
fn a_ledger_that_is_down_for_a_while_makes_nobody_lost() {
    for (from, to) in [(4, 9), (4, 25), (11, 30)] {
        passed(&with_fault("", When::Between(seconds(from), seconds(to)), Fault::Fails));
    }
}

#[test]
fn a_ledger_that_does_not_answer_for_a_while_makes_nobody_lost() {
    passed(&with_fault("", When::Between(seconds(4), seconds(12)), Fault::NeverAnswers));
}

#[test]
fn answers_that_are_a_version_behind_do_no_harm() {
    Test { stale: true, ..test() }.play(async |scene| {
        passed(&scene.verdict().await);
        assert_eq!(scene.ledger.starts().len(), 1);
    });
}

#[test]
fn a_record_that_somebody_else_keeps_changing_is_changed_all_the_same() {
    test().play(async |scene| {
        scene.start().await;
        let (ledger, id, time) = (scene.ledger.clone(), scene.id.clone(), scene.time.clone());
        let meddler = scene.time.spawn(async move {
            loop {
                let run = ledger.run(&id).await.expect("there");
                ledger.replace_run(&run).await.ok();
                time.sleep(std::time::Duration::from_millis(7)).await;
            }
        });
        // A slow ledger gives the other time to come between.
        let slowly = Fault::Takes(std::time::Duration::from_millis(3));
        scene.everybodys_faults().for_each(|faults| faults.ledger.add("replace_run", "", When::Always, slowly));
        passed(&scene.aggregate().await.expect("a verdict"));
        meddler.cancel();
    });
}

fn all_k6_have_ended(scene: &Scene, workers: usize) {
    let ended = scene.when(|event| matches!(event, Event::Exited(_)));
    assert_eq!(ended.len(), workers, "{ended:?}");
}

#[test]
fn a_ledger_that_is_down_for_good_ends_the_aggregator_with_an_error_and_all_k6() {
    for fault in [Fault::Fails, Fault::NeverAnswers] {
        long().play(async |scene| {
            let down = When::Between(seconds(6), seconds(100_000));
            scene.everybodys_faults().for_each(|faults| faults.ledger.add("", "", down, fault));
            scene.start().await;
            let error = scene.aggregate().await.expect_err("no verdict");
            assert!(error.to_string().starts_with("the ledger did not answer for 30 s"), "{error}");
            assert!(scene.time.elapsed() < seconds(50), "{:?}", scene.time.elapsed());
            scene.fleet.all_over().await;
            all_k6_have_ended(scene, 3);
            let ended = scene.when(|event| *event == Event::IterationsEnded);
            assert!(ended.iter().all(|(at, _)| *at < seconds(50)), "{fault:?} {ended:?}");
            assert!(scene.time.elapsed() < seconds(150), "{:?}", scene.time.elapsed());
        });
    }
}

#[test]
fn a_ledger_that_can_be_read_but_not_written_ends_all_k6() {
    long().play(async |scene| {
        let down = When::Between(seconds(6), seconds(100_000));
        for calls in ["replace_run", "replace_worker", "conclude"] {
            scene.everybodys_faults().for_each(|faults| faults.ledger.add(calls, "", down, Fault::Fails));
        }
        scene.start().await;
        scene.aggregate().await.expect_err("no verdict can be written");
        scene.fleet.all_over().await;
        all_k6_have_ended(scene, 3);
        assert!(scene.time.elapsed() < seconds(300), "{:?}", scene.time.elapsed());
    });
}

#[test]
fn a_worker_that_cannot_reach_the_ledger_stops_its_own_k6() {
    // Of what is never answered the aggregator sees at least the signs of life.
    for (fault, code) in [(Fault::Fails, ReasonCode::WorkerLost), (Fault::NeverAnswers, ReasonCode::WorkerFailed)] {
        long().play(async |scene| {
            scene.faults_of(2).ledger.add("", "", When::Between(seconds(6), seconds(100_000)), fault);
            let verdict = scene.verdict().await;
            assert_eq!((verdict.outcome, codes(&verdict)), (Outcome::Invalid, vec![code]), "{:?}", verdict.reasons);
            let ended = scene.when(|event| *event == Event::IterationsEnded);
            assert!(ended.iter().all(|(at, _)| *at < seconds(45)), "{ended:?}");
            all_k6_have_ended(scene, 3);
        });
    }
}

#[test]
fn a_worker_that_cannot_read_the_run_stops_its_own_k6_and_the_run_does_not_pass() {
    for fault in [Fault::Fails, Fault::NeverAnswers] {
        Test { thresholds: r#"{"http_reqs":["count>1"]}"#, ..long() }.play(async |scene| {
            scene.faults_of(2).ledger.add("run", "", When::Between(seconds(6), seconds(100_000)), fault);
            let verdict = scene.verdict().await;
            assert_eq!((verdict.outcome, verdict.exit_code), (Outcome::Invalid, 96), "{:?}", verdict.reasons);
            assert_eq!(verdict.workers[1].failure.as_ref().map(|f| f.kind), Some(FailureKind::Abandoned));
            let ended = scene.when(|event| *event == Event::IterationsEnded);
            assert!(ended.iter().all(|(at, _)| *at < seconds(50)), "{ended:?}");
        });
    }
}

#[test]
fn a_worker_whose_claim_has_no_answer_knows_its_own() {
    test().play(async |scene| {
        let faults = &scene.faults_of(2).ledger;
        faults.add("claim_worker", "", When::Nth(1), Fault::AnswerIsLost);
        // A thousand of them that each read the records of all would be the end of the ledger.
        faults.add("workers", "", When::Always, Fault::Fails);
        let verdict = scene.verdict().await;
        passed(&verdict);
        assert_eq!(scene.whose(&Event::Resumed).len(), 4);
    });
}

#[test]
fn a_worker_whose_claim_has_no_answer_leaves_a_segment_that_somebody_else_has() {
    let mut test = test();
    test.launches.push((worker(2), Launch::Twice(seconds(0))));
    test.play(async |scene| {
        scene.faults_of(2).ledger.add("claim_worker", "", When::Nth(2), Fault::AnswerIsLost);
        passed(&scene.verdict().await);
        assert_eq!(scene.whose(&Event::Started).len(), 4);
    });
}
