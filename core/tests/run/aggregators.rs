//! Aggregators that die, take over, or come second.

use std::time::Duration;

use lambdaload_core::{
    lifecycle::Phase,
    records::FailureKind,
    run::{
        reap::reap,
        watch::{WatchError, watch},
    },
    testing::{
        faulty::{Fault, When},
        generator::Event,
    },
    verdict::{Outcome, ReasonCode, ThresholdResult, Verdict},
};

use crate::{
    scene::{Scene, codes, reasons},
    script::{Test, seconds},
    usual::HOLDS,
};

/// A run of ten minutes.
fn long() -> Test {
    let test = Test { duration: seconds(600), blind: true, ..Test::of(3) };
    (1..=3).fold(test, |test, number| test.with(number, |k6| k6.lasts = seconds(600)))
}

/// The verdict without what was only seen while looking.
fn without_moments(verdict: Verdict) -> Verdict {
    let forget = |threshold: ThresholdResult| ThresholdResult { first_crossed_ms: None, ..threshold };
    Verdict { thresholds: verdict.thresholds.into_iter().map(forget).collect(), ..verdict }
}

async fn reaped(scene: &Scene) -> Option<Verdict> {
    reap(&scene.watch_ports(), &scene.id, "0.1.0").await.expect("answers")
}

#[test]
fn workers_whose_aggregator_dies_stop_themselves() {
    for at in [Duration::from_millis(500), Duration::from_millis(1_300), seconds(6)] {
        long().play(async |scene| {
            scene.start().await;
            let aggregator = scene.aggregator();
            scene.at(at).await;
            aggregator.task.cancel();
            scene.fleet.all_over().await;
            let ended = scene.when(|event| matches!(event, Event::Exited(_)));
            assert_eq!(ended.len(), 3);
            assert!(scene.time.elapsed() < at + seconds(120), "{at:?}: {:?}", scene.time.elapsed());
            let worked = scene.when(|event| *event == Event::IterationsEnded);
            assert!(worked.iter().all(|(ended_at, _)| *ended_at < at + seconds(35)), "{at:?}: {worked:?}");
            // What was set up is torn down, though nobody asks for it any more.
            assert_eq!(scene.whose(&Event::Teardown), scene.whose(&Event::Setup), "{at:?}");
        });
    }
}

#[test]
fn a_run_whose_aggregator_died_is_reaped_as_invalid() {
    long().play(async |scene| {
        scene.start().await;
        let aggregator = scene.aggregator();
        scene.at(seconds(6)).await;
        aggregator.task.cancel();
        scene.at(seconds(20)).await;
        let verdict = reaped(scene).await.expect("a verdict");
        assert_eq!((verdict.outcome, verdict.exit_code), (Outcome::Invalid, 96));
        assert_eq!(reasons(&verdict, ReasonCode::AggregatorLost).len(), 1, "{:?}", verdict.reasons);
        assert!(verdict.samples.merged > 0);
        assert_eq!(scene.run().state.phase, Phase::Concluded);
        // Whoever asks again gets the same, at once.
        let before = scene.time.elapsed();
        assert_eq!(reaped(scene).await, Some(verdict));
        assert_eq!(scene.time.elapsed(), before);
    });
}

#[test]
fn a_run_whose_aggregator_died_after_all_had_closed_keeps_all_its_samples() {
    Test::of(3).play(async |scene| {
        scene.start().await;
        let aggregator = scene.aggregator();
        while scene.when(|event| matches!(event, Event::Exited(_))).len() < 3 {
            scene.time.sleep(Duration::from_millis(10)).await;
        }
        aggregator.task.cancel();
        scene.fleet.all_over().await;
        let verdict = reaped(scene).await.expect("a verdict");
        assert_eq!((verdict.outcome, codes(&verdict)), (Outcome::Invalid, vec![ReasonCode::AggregatorLost]));
        assert_eq!((verdict.samples.read, verdict.samples.missing.len()), (verdict.samples.merged, 0));
        assert!(verdict.samples.read > 1_200);
    });
}

#[test]
fn a_run_whose_aggregator_lives_is_not_reaped() {
    long().play(async |scene| {
        scene.start().await;
        let aggregator = scene.aggregator();
        scene.at(seconds(6)).await;
        assert_eq!(reaped(scene).await, None);
        assert!(scene.time.elapsed() < seconds(9), "{:?}", scene.time.elapsed());
        aggregator.task.cancel();
    });
}

#[test]
fn workers_stop_when_their_run_was_concluded_by_somebody_else() {
    long().play(async |scene| {
        scene.start().await;
        let first = scene.aggregator();
        scene.at(seconds(6)).await;
        first.task.cancel();
        let verdict = reaped(scene).await.expect("a verdict");
        let concluded_at = scene.time.elapsed();
        // Another aggregator comes too late, and gives signs of life.
        assert_eq!(scene.aggregate().await.expect("a verdict"), verdict);
        scene.fleet.all_over().await;
        assert!(scene.time.elapsed() < concluded_at + seconds(15), "{:?}", scene.time.elapsed());
    });
}

#[test]
fn an_aggregator_that_takes_over_comes_to_the_same_verdict() {
    let thresholds = r#"{"http_req_duration":["p(95)<90","avg<60"],"http_reqs":["count>399","rate>1"]}"#;
    let test = || Test { thresholds, ..Test::of(4) };
    let alone = without_moments(test().verdict());
    for at in [100, 1_200, 1_700, 5_000, 12_100, 12_600] {
        for gap in [Duration::ZERO, seconds(8), seconds(20)] {
            // A run that waits for its aggregator starts, or ends, later.
            test().play(async |scene| {
                scene.start().await;
                let first = scene.aggregator();
                scene.at(Duration::from_millis(at)).await;
                first.task.cancel();
                scene.time.sleep(gap).await;
                let verdict = without_moments(scene.aggregate().await.expect("a verdict"));
                assert_eq!(scene.ledger.starts().len(), 1, "{at} {gap:?}");
                assert_eq!(verdict.outcome, alone.outcome, "{at} {gap:?}: {:?}", verdict.reasons);
                assert_eq!(verdict.exit_code, alone.exit_code);
                if gap.is_zero() {
                    assert_eq!(verdict.thresholds, alone.thresholds, "{at}");
                }
                assert_eq!(scene.whose(&Event::Teardown), [1], "{at} {gap:?}");
            });
        }
    }
}

#[test]
fn a_backlog_that_takes_long_costs_nobody_the_aggregator() {
    let test = || {
        let test = Test { duration: seconds(60), ..Test::of(20) };
        (1..=20).fold(test, |test, number| test.with(number, |k6| k6.lasts = seconds(60)))
    };
    test().play(async |scene| {
        scene.start().await;
        let first = scene.aggregator();
        scene.at(seconds(40)).await;
        first.task.cancel();
        // By now there are hundreds of chunks, and more come each second than are read.
        scene.aggregator_faults.store.add("get", "", When::Always, Fault::Takes(seconds(4)));
        let verdict = scene.aggregate().await.expect("a verdict");
        assert_eq!(verdict.outcome, Outcome::NoThresholds, "{:?}", verdict.reasons);
        assert_eq!(verdict.samples.read, verdict.samples.merged);
        assert!(scene.time.elapsed() > seconds(100), "{:?}", scene.time.elapsed());
    });
}

#[test]
fn two_aggregators_at_once_start_once_and_agree() {
    Test { thresholds: HOLDS, ..Test::of(4) }.play(async |scene| {
        scene.start().await;
        let (first, second) = (scene.aggregator(), scene.aggregator());
        let verdict = first.outcome().await.expect("a verdict");
        assert_eq!((verdict.outcome, verdict.exit_code), (Outcome::Passed, 0), "{:?}", verdict.reasons);
        assert_eq!(second.outcome().await.as_ref(), Ok(&verdict));
        assert_eq!(scene.ledger.starts().len(), 1);
        assert_eq!(scene.whose(&Event::Teardown), [1]);
    });
}

#[test]
fn an_aggregator_that_takes_over_too_late_finds_a_run_that_cannot_be_believed() {
    Test { thresholds: r#"{"http_reqs":["count>1"]}"#, ..long() }.play(async |scene| {
        scene.start().await;
        let first = scene.aggregator();
        scene.at(seconds(6)).await;
        first.task.cancel();
        // By now the workers have stopped themselves.
        scene.at(seconds(45)).await;
        let verdict = scene.aggregate().await.expect("a verdict");
        assert_eq!((verdict.outcome, verdict.exit_code), (Outcome::Invalid, 96), "{:?}", verdict.reasons);
        let kinds = verdict.workers.iter().map(|w| w.failure.as_ref().map(|f| f.kind));
        assert!(kinds.clone().any(|kind| kind == Some(FailureKind::Abandoned)), "{:?}", kinds.collect::<Vec<_>>());
        scene.fleet.all_over().await;
        assert!(scene.time.elapsed() < seconds(80), "{:?}", scene.time.elapsed());
    });
}

#[test]
fn concluding_again_gives_the_first_verdict() {
    Test { thresholds: HOLDS, ..Test::of(2) }.play(async |scene| {
        let verdict = scene.verdict().await;
        assert_eq!(verdict.outcome, Outcome::Failed);
        // Even when by now the samples are gone.
        for key in scene.store.keys_with("chunk") {
            scene.store.lose(&key);
        }
        let before = scene.time.elapsed();
        assert_eq!(scene.aggregate().await.expect("a verdict"), verdict);
        assert!(
            scene.time.elapsed().saturating_sub(before) < seconds(1),
            "{:?}",
            scene.time.elapsed().saturating_sub(before)
        );
        assert_eq!(reaped(scene).await, Some(verdict));
    });
}

#[test]
fn who_watches_is_told_when_the_aggregator_is_silent() {
    long().play(async |scene| {
        scene.start().await;
        let aggregator = scene.aggregator();
        scene.at(seconds(6)).await;
        aggregator.task.cancel();
        let error = watch(&scene.watch_ports(), None, &scene.id, &mut |_| {}).await.expect_err("nobody aggregates");
        assert!(matches!(&error, WatchError::AggregatorSilent { silent, .. } if *silent >= seconds(30)), "{error}");
    });
}
