//! Stores that fail, lose answers, hang, lose objects or damage them.

use std::time::Duration;

use lambdaload_core::{
    ids::Attempt,
    ports::{ObjectStore, keys},
    records::FailureKind,
    testing::{
        faulty::{Fault, When},
        generator::{Event, Hook},
    },
    verdict::{Outcome, ReasonCode, Values, Verdict},
};

use crate::{
    scene::{Scene, codes, reasons},
    script::{Test, seconds, worker},
    usual::HOLDS,
};

fn test() -> Test {
    let setup = Hook::Returns(seconds(1), r#"{"a":1}"#.into());
    Test { thresholds: HOLDS, ..Test::of(4) }.with(1, |k6| k6.setup = setup)
}

/// What must be the same however often the store had to be asked. (k6's gauges depend on when they fall.)
fn measured(verdict: &Verdict) -> impl PartialEq + std::fmt::Debug + use<> {
    let counted = verdict.summary.metrics.iter().filter_map(|metric| match &metric.values {
        Values::Counter { count, .. } => Some((metric.name.clone(), count.0.to_bits())),
        Values::Trend { count, .. } => Some((metric.name.clone(), *count)),
        Values::Rate { .. } | Values::Gauge { .. } => None,
    });
    let counted: Vec<_> = counted.collect();
    let thresholds: Vec<_> = verdict.thresholds.iter().map(|t| (t.passed, t.exact)).collect();
    let all_merged = verdict.samples.read == verdict.samples.merged && verdict.samples.missing.is_empty();
    (verdict.outcome, verdict.exit_code, verdict.reasons.clone(), thresholds, all_merged, counted)
}

/// Plays the run with a fault of everybody's store.
fn with_fault(calls: &'static str, about: &str, when: When, fault: Fault) -> Verdict {
    test().play(async |scene| {
        scene.everybodys_faults().for_each(|faults| faults.store.add(calls, about, when, fault));
        scene.verdict().await
    })
}

#[test]
fn what_fails_now_and_then_is_asked_again_and_nothing_is_lost() {
    let undisturbed = measured(&test().verdict());
    for (calls, about) in [
        ("put_new", "chunk"),
        ("get", "chunk"),
        ("put_new", "closing"),
        ("get", "closing"),
        ("get", "archives"),
        ("put_new", "setup"),
        ("get", "setup"),
        ("put", ""),
    ] {
        for when in [When::Nth(1), When::Nth(2)] {
            let verdict = with_fault(calls, about, when, Fault::Fails);
            assert_eq!(measured(&verdict), undisturbed, "{calls} {about} {when:?}");
        }
    }
    assert_eq!(measured(&with_fault("", "/", When::Every(2), Fault::Fails)), undisturbed);
    assert_eq!(measured(&with_fault("", "", When::Between(seconds(4), seconds(13)), Fault::Fails)), undisturbed);
}

#[test]
fn an_answer_that_is_lost_makes_no_duplicate() {
    let undisturbed = measured(&test().verdict());
    for when in [When::Nth(1), When::Every(2), When::Between(seconds(3), seconds(10))] {
        for (calls, about) in [("put_new", "runs/"), ("put_new", "interim/"), ("", "runs/"), ("", "interim/")] {
            let verdict = with_fault(calls, about, when, Fault::AnswerIsLost);
            assert_eq!(measured(&verdict), undisturbed, "{calls} {about} {when:?}");
        }
    }
}

#[test]
fn a_call_that_is_repeated_changes_nothing() {
    assert_eq!(measured(&with_fault("", "", When::Always, Fault::Repeats)), measured(&test().verdict()));
}

#[test]
fn a_worker_whose_store_is_down_at_the_end_keeps_its_lease_and_tries_on() {
    let verdict = test().play(async |scene| {
        let down = When::Between(seconds(11), seconds(30));
        scene.faults_of(3).store.add("", "", down, Fault::Fails);
        scene.verdict().await
    });
    assert_eq!(measured(&verdict), measured(&test().verdict()));
}

/// A run of ten minutes.
fn long() -> Test {
    let test = Test { duration: seconds(600), blind: true, ..Test::of(3) };
    (1..=3).fold(test, |test, number| test.with(number, |k6| k6.lasts = seconds(600)))
}

fn all_k6_have_ended_before(scene: &Scene, moment: Duration) {
    let ended = scene.when(|event| matches!(event, Event::Exited(_)));
    assert!(ended.len() == 3 && ended.iter().all(|(at, _)| *at < moment), "{ended:?}");
}

#[test]
fn a_worker_whose_store_is_down_for_good_stops_the_run_and_is_named() {
    for fault in [Fault::Fails, Fault::NeverAnswers] {
        long().play(async |scene| {
            scene.faults_of(2).store.add("", "", When::Between(seconds(6), seconds(10_000)), fault);
            let verdict = scene.verdict().await;
            assert_eq!((verdict.outcome, verdict.exit_code), (Outcome::Invalid, 96));
            assert_eq!(verdict.workers[1].failure.as_ref().map(|f| f.kind), Some(FailureKind::Store), "{fault:?}");
            let failed = reasons(&verdict, ReasonCode::WorkerFailed);
            assert!(failed[0].message.starts_with("worker 2: nothing could be stored for 30 s"), "{failed:?}");
            assert_eq!(verdict.status, "aborted (by system)");
            all_k6_have_ended_before(scene, seconds(50));
            assert!(scene.time.elapsed() < seconds(100), "{:?}", scene.time.elapsed());
        });
    }
}

#[test]
fn a_store_that_is_down_for_everybody_for_good_ends_in_an_invalid_verdict() {
    for fault in [Fault::Fails, Fault::NeverAnswers] {
        long().play(async |scene| {
            let down = When::Between(seconds(6), seconds(10_000));
            scene.everybodys_faults().for_each(|faults| faults.store.add("", "", down, fault));
            let verdict = scene.verdict().await;
            assert_eq!((verdict.outcome, verdict.exit_code), (Outcome::Invalid, 96), "{fault:?}");
            assert!(codes(&verdict).contains(&ReasonCode::WorkerFailed), "{fault:?}: {:?}", verdict.reasons);
            all_k6_have_ended_before(scene, seconds(90));
            // The substitute that is to tear down has the same patience with the store.
            assert!(scene.time.elapsed() < seconds(240), "{:?}", scene.time.elapsed());
        });
    }
}

#[test]
fn a_slow_store_makes_nobody_lost() {
    for slow in [seconds(4), seconds(12)] {
        test().play(async |scene| {
            let slowly = When::Between(seconds(5), seconds(25));
            scene.aggregator_faults.store.add("get", "", slowly, Fault::Takes(slow));
            let verdict = scene.verdict().await;
            assert_eq!(measured(&verdict), measured(&test().verdict()), "{slow:?}");
        });
    }
}

#[test]
fn an_aggregator_whose_store_never_answers_ends_in_an_invalid_verdict() {
    test().play(async |scene| {
        scene.aggregator_faults.store.add("get", "interim/", When::Always, Fault::NeverAnswers);
        let verdict = scene.verdict().await;
        assert_eq!((verdict.outcome, verdict.exit_code), (Outcome::Invalid, 96));
        assert!(codes(&verdict).contains(&ReasonCode::SamplesMissing), "{:?}", verdict.reasons);
        assert!(scene.time.elapsed() < seconds(120), "{:?}", scene.time.elapsed());
    });
}

#[test]
fn an_archive_that_takes_long_to_fetch_costs_no_lease() {
    test().play(async |scene| {
        scene.faults_of(2).store.add("get", "archives", When::Always, Fault::Takes(seconds(40)));
        assert_eq!(measured(&scene.verdict().await), measured(&test().verdict()));
    });
}

#[test]
fn an_archive_that_never_comes_is_waited_for_until_the_deadline() {
    test().play(async |scene| {
        scene.faults_of(2).store.add("get", "archives", When::Always, Fault::NeverAnswers);
        let verdict = scene.verdict().await;
        assert_eq!((verdict.outcome, verdict.exit_code), (Outcome::Invalid, 96));
        assert!(verdict.reasons[0].message.contains("could not be started within"), "{:?}", verdict.reasons);
        assert!(scene.time.elapsed() < seconds(80), "{:?}", scene.time.elapsed());
    });
}

#[test]
fn an_archive_that_is_not_the_plans_starts_nothing() {
    for fault in [Fault::Corrupts, Fault::Fails] {
        test().play(async |scene| {
            scene.faults_of(2).store.add("get", "archives", When::Always, fault);
            let verdict = scene.verdict().await;
            assert_eq!((verdict.outcome, verdict.exit_code), (Outcome::Invalid, 96));
            assert_eq!(verdict.workers[1].failure.as_ref().map(|f| f.kind), Some(FailureKind::Store));
            assert_eq!(scene.whose(&Event::Resumed), [0; 0]);
        });
    }
}

#[test]
fn a_damaged_chunk_is_named() {
    test().play(async |scene| {
        scene.aggregator_faults.store.add("get", "/3/1-000004.chunk", When::Always, Fault::Corrupts);
        let verdict = scene.verdict().await;
        assert_eq!((verdict.outcome, verdict.exit_code), (Outcome::Invalid, 96));
        assert_eq!(codes(&verdict)[0], ReasonCode::ChunkUnreadable, "{:?}", verdict.reasons);
        assert_eq!(verdict.reasons[0].worker, Some(3));
        assert!(verdict.reasons[0].message.starts_with("chunk 4 of worker 3 cannot be read"), "{:?}", verdict.reasons);
    });
}

#[test]
fn a_chunk_that_is_gone_is_missed_by_its_series_and_is_not_asked_for_again_and_again() {
    test().play(async |scene| {
        // Nobody sees it before it is lost.
        scene.aggregator_faults.store.add(
            "get",
            "/3/1-000004.chunk",
            When::Between(seconds(0), seconds(9)),
            Fault::Fails,
        );
        scene.start().await;
        let aggregator = scene.aggregator();
        scene.at(seconds(9)).await;
        assert!(scene.store.lose(&format!("interim/chunks/{}/3/1-000004.chunk", scene.id)));
        let verdict = aggregator.outcome().await.expect("a verdict");
        assert_eq!((verdict.outcome, verdict.exit_code), (Outcome::Invalid, 96));
        assert_eq!(codes(&verdict)[0], ReasonCode::SamplesMissing, "{:?}", verdict.reasons);
        assert!(verdict.samples.read > verdict.samples.merged);
        assert!(
            verdict
                .samples
                .missing
                .iter()
                .any(|m| m.worker == worker(3) && m.series == "http_reqs" && m.read > m.merged)
        );
        assert!(verdict.samples.missing.iter().all(|m| m.worker == worker(3)));
        // Some 50 chunks, and the missing one with every look; not all that came after it, too.
        assert!(scene.store.calls().get < 400, "{:?}", scene.store.calls());
    });
}

#[test]
fn a_closing_record_that_is_gone_or_damaged_leaves_the_run_invalid() {
    let slow_end = || test().with(1, |k6| k6.teardown = Hook::Returns(seconds(5), "null".into()));
    let expect = |verdict: &Verdict| {
        assert_eq!((verdict.outcome, verdict.exit_code), (Outcome::Invalid, 96));
        assert_eq!(codes(verdict), [ReasonCode::SamplesMissing], "{:?}", verdict.reasons);
        assert!(verdict.reasons[0].message.contains("closing record of worker 2"), "{:?}", verdict.reasons);
    };
    slow_end().play(async |scene| {
        scene.start().await;
        let aggregator = scene.aggregator();
        scene.at(seconds(16)).await;
        assert!(scene.store.lose(&keys::closing(&scene.id, worker(2), Attempt(1))));
        expect(&aggregator.outcome().await.expect("a verdict"));
    });
    slow_end().play(async |scene| {
        scene.aggregator_faults.store.add("get", "/2/1-closing", When::Always, Fault::Corrupts);
        expect(&scene.verdict().await);
    });
}

#[test]
fn an_archive_that_is_there_already_is_not_stored_again() {
    test().play(async |scene| {
        let prepared = scene.prepare().await;
        let key = keys::archive(&prepared.plan.archive.hash);
        scene.store.put_new(&key, prepared.archive).await.expect("stores");
        assert_eq!(scene.verdict().await.outcome, Outcome::Passed);
        assert_eq!(scene.store.keys_with("archives/"), [key]);
    });
}
