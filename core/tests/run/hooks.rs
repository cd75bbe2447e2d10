//! `setup()` and `teardown()` that fail, take long, or are stopped.

use lambdaload_core::{
    records::FailureKind,
    testing::generator::{Event, Hook},
    verdict::{Outcome, ReasonCode, Verdict},
};

use crate::{
    scene::{Scene, codes},
    script::{Test, seconds},
};

fn failing(number_of_seconds: u64, message: &str) -> Hook {
    Hook::Fails(seconds(number_of_seconds), message.to_owned())
}

fn failed(verdict: &Verdict, kind: FailureKind) {
    assert_eq!((verdict.outcome, codes(verdict)), (Outcome::Invalid, vec![ReasonCode::WorkerFailed]));
    assert_eq!(verdict.workers[0].failure.as_ref().map(|f| f.kind), Some(kind));
    assert_eq!(verdict.reasons[0].worker, Some(1));
}

#[test]
fn a_setup_that_throws_keeps_all_from_starting() {
    Test::of(3).with(1, |k6| k6.setup = failing(1, "Error: no login\n\tat setup")).play(async |scene| {
        let verdict = scene.verdict().await;
        failed(&verdict, FailureKind::Setup);
        assert_eq!((verdict.exit_code, verdict.status.as_str()), (107, "aborted (by script)"));
        assert!(verdict.reasons[0].message.contains("setup() failed: Error: no login"), "{:?}", verdict.reasons);
        assert_eq!(scene.when(|event| matches!(event, Event::Resumed | Event::Teardown)), []);
        assert!(scene.time.elapsed() < seconds(6), "{:?}", scene.time.elapsed());
    });
}

#[test]
fn a_setup_that_takes_too_long_has_k6s_code_for_it() {
    let hook = failing(60, "setup() execution timed out after 60 seconds");
    let verdict = Test::of(3).with(1, |k6| k6.setup = hook).verdict();
    failed(&verdict, FailureKind::Setup);
    assert_eq!(verdict.exit_code, 100);
}

#[test]
fn a_setup_that_never_ends_is_ended_at_its_deadline() {
    Test::of(3).with(1, |k6| k6.setup = failing(86_400, "")).play(async |scene| {
        let verdict = scene.verdict().await;
        failed(&verdict, FailureKind::K6Hung);
        assert!(scene.time.elapsed() < seconds(80), "{:?}", scene.time.elapsed());
    });
}

#[test]
fn a_setup_that_takes_long_is_waited_for() {
    let hook = Hook::Returns(seconds(55), "[1]".into());
    assert_eq!(Test::of(3).with(1, |k6| k6.setup = hook).verdict().outcome, Outcome::NoThresholds);
}

#[test]
fn a_teardown_that_throws_has_k6s_code() {
    let verdict = Test::of(3).with(1, |k6| k6.teardown = failing(1, "Error: no logout")).verdict();
    failed(&verdict, FailureKind::Teardown);
    assert_eq!((verdict.exit_code, verdict.status.as_str()), (107, "finished"));
}

#[test]
fn a_teardown_that_takes_too_long_has_k6s_code_for_it() {
    let hook = failing(60, "teardown() execution timed out after 60 seconds");
    let verdict = Test::of(3).with(1, |k6| k6.teardown = hook).verdict();
    failed(&verdict, FailureKind::Teardown);
    assert_eq!(verdict.exit_code, 101);
}

#[test]
fn a_teardown_that_never_ends_is_ended_at_its_deadline() {
    Test::of(3).with(1, |k6| k6.teardown = failing(86_400, "")).play(async |scene| {
        failed(&scene.verdict().await, FailureKind::K6Hung);
        assert!(scene.time.elapsed() < seconds(95), "{:?}", scene.time.elapsed());
    });
}

/// A run with a setup that takes so long, which a person stops after six seconds.
async fn stopped_at_six(scene: &Scene) -> Verdict {
    scene.start().await;
    let aggregator = scene.aggregator();
    scene.at(seconds(6)).await;
    scene.stop(false).await;
    let verdict = aggregator.outcome().await.expect("a verdict");
    scene.fleet.all_over().await;
    assert_eq!((verdict.exit_code, verdict.status.as_str()), (105, "aborted (by user)"));
    assert_eq!(scene.whose(&Event::Resumed), [0; 0]);
    verdict
}

#[test]
fn a_setup_is_left_when_the_run_is_stopped() {
    let hook = Hook::Returns(seconds(50), "1".into());
    Test::of(3).with(1, |k6| k6.setup = hook).play(async |scene| {
        stopped_at_six(scene).await;
        // What did not set up needs no tearing down.
        assert_eq!(scene.whose(&Event::Teardown), [0; 0]);
        assert!(scene.time.elapsed() < seconds(10), "{:?}", scene.time.elapsed());
    });
}

#[test]
fn what_was_set_up_is_torn_down_though_the_run_never_starts() {
    let test = Test::of(3).with(1, |k6| k6.setup = Hook::Returns(seconds(1), "1".into()));
    test.with(3, |k6| k6.ready_after = seconds(50)).play(async |scene| {
        stopped_at_six(scene).await;
        assert_eq!(scene.whose(&Event::Teardown), [1]);
        assert!(scene.time.elapsed() < seconds(10), "{:?}", scene.time.elapsed());
    });
}
