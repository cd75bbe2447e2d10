//! Runs by plans for Lambda: fewer looks, longer waits.

use std::time::Duration;

use lambdaload_core::{
    plan::INVOCATION,
    testing::{
        faulty::{Fault, When},
        generator::{Event, K6Script},
    },
    verdict::Outcome,
};

use crate::{
    scene::Scene,
    script::{Test, seconds},
    usual::HOLDS,
};

fn on_lambda(workers: usize) -> Test {
    Test { on_lambda: true, ..Test::of(workers) }
}

/// When the last k6 stopped making load.
fn last_end(scene: &Scene) -> Duration {
    let ended = scene.when(|event| *event == Event::IterationsEnded);
    ended.iter().map(|(at, _)| *at).max().expect("some did")
}

#[test]
fn a_run_at_the_pace_of_lambda_ends_in_the_same_verdict() {
    let [local, lambda] =
        [false, true].map(|on_lambda| Test { thresholds: HOLDS, on_lambda, ..Test::of(40) }.verdict());
    assert_eq!((lambda.outcome, lambda.exit_code), (Outcome::Passed, 0), "{:?}", lambda.reasons);
    assert_eq!(lambda.thresholds, local.thresholds);
    assert_eq!(lambda.samples.read, lambda.samples.merged);
}

#[test]
fn workers_that_are_launched_at_once_store_one_after_the_other() {
    on_lambda(40).play(async |scene| {
        scene.start().await;
        let aggregator = scene.aggregator();
        let mut stored = Vec::new();
        // From T0 + 3 s on, in tenths of the time between two chunks.
        let started_at = seconds(7);
        for tenth in 0..20_u32 {
            scene.at(started_at + Duration::from_millis(200) * tenth).await;
            stored.push(scene.store.keys_with("/chunks/").len());
        }
        let most = stored.windows(2).map(|pair| pair[1] - pair[0]).max().expect("some");
        assert!((4..=8).contains(&most), "4 of 40 in each tenth of a flush: {stored:?}");
        aggregator.outcome().await.expect("a verdict");
        // What is shown is what all have told of.
        let live = aggregator.live();
        let rates: Vec<f64> = live
            .iter()
            .filter(|state| (6_000..9_000).contains(&state.elapsed_ms.unwrap_or(0)))
            .filter_map(|state| state.requests_per_second)
            .collect();
        assert!(rates.len() >= 3 && rates.iter().all(|rate| (rate - 400.0).abs() < 8.0), "{rates:?}");
        // So it is from the first seconds on, which are fewer than rates are taken over.
        let first = live.iter().find_map(|state| state.requests_per_second.filter(|rate| *rate > 0.0));
        assert!(first.is_some_and(|rate| (rate - 400.0).abs() < 40.0), "{first:?}");
    });
}

#[test]
fn a_worker_that_is_silent_does_not_hold_the_rates_of_the_others_back() {
    on_lambda(40).play(async |scene| {
        scene.start().await;
        scene.faults_of(1).store.add("put_new", "chunks", When::Between(seconds(4), seconds(13)), Fault::Fails);
        let aggregator = scene.aggregator();
        aggregator.outcome().await.expect("a verdict");
        let at = |from: u64, until: u64| {
            let live = aggregator.live();
            let of_then = live.iter().filter(|state| (from..until).contains(&state.elapsed_ms.unwrap_or(0)));
            of_then.filter_map(|state| state.requests_per_second).collect::<Vec<f64>>()
        };
        let (silent, waiting) = (at(7_500, 8_900), at(1, 3_000));
        assert!(!silent.is_empty() && silent.iter().all(|rate| (rate - 390.0).abs() < 8.0), "{silent:?}");
        // At first it is waited for.
        assert!(waiting.iter().all(|rate| *rate == 0.0), "{waiting:?}");
    });
}

#[test]
fn what_answers_take_is_no_pause_between_two_looks() {
    on_lambda(40).play(async |scene| {
        scene.start().await;
        for (faults, operation) in
            [(&scene.aggregator_faults.ledger, "workers"), (&scene.aggregator_faults.store, "get")]
        {
            faults.add(operation, "", When::Always, Fault::Takes(Duration::from_millis(300)));
        }
        let aggregator = scene.aggregator();
        aggregator.outcome().await.expect("a verdict");
        let shown: Vec<u64> = aggregator.live().iter().filter_map(|state| state.elapsed_ms).collect();
        let pauses: Vec<u64> = shown.windows(2).map(|pair| pair[1] - pair[0]).filter(|pause| *pause > 0).collect();
        // But for the start, which waits for what it has written.
        let long = pauses.iter().skip(1).filter(|pause| **pause > 1_010).count();
        assert!(pauses.len() >= 9 && long == 0, "one live state a second, not each 1.6 s: {pauses:?}");
    });
}

#[test]
fn every_worker_sees_the_start_in_time_even_if_answers_are_slow() {
    on_lambda(40).play(async |scene| {
        for faults in scene.everybodys_faults() {
            faults.ledger.add("", "", When::Always, Fault::Takes(Duration::from_millis(900)));
        }
        let verdict = scene.verdict().await;
        assert!(verdict.workers.iter().all(|worker| worker.skew_ms == Some(0.0)), "{:?}", verdict.workers);
    });
}

#[test]
fn a_stop_is_obeyed_within_three_seconds_whenever_it_comes() {
    for tenths in 0..20_u32 {
        let long = |k6: &mut K6Script| k6.lasts = seconds(300);
        let test = Test { duration: seconds(300), ..on_lambda(3) };
        (1..=3).fold(test, |test, number| test.with(number, long)).play(async |scene| {
            scene.start().await;
            let aggregator = scene.aggregator();
            let moment = seconds(20) + Duration::from_millis(u64::from(tenths) * 100);
            scene.at(moment).await;
            scene.stop(false).await;
            let verdict = aggregator.outcome().await.expect("a verdict");
            assert_eq!(verdict.exit_code, 105, "{:?}", verdict.reasons);
            let late = last_end(scene).saturating_sub(moment);
            assert!(late <= seconds(3), "{late:?}");
        });
    }
}

#[test]
fn a_script_without_hooks_leaves_their_time_to_the_test() {
    on_lambda(2).play(async |scene| {
        let plan = scene.prepare().await.plan;
        // The fake script speaks of teardown() and not of setup().
        assert_eq!((plan.deadlines.setup, plan.deadlines.teardown), (seconds(5), seconds(65)));
        assert!(plan.worker_life() <= INVOCATION);
    });
}
