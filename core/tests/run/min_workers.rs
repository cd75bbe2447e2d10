//! `--min-workers`: losses that are accepted, and said.

use lambdaload_core::{
    k6::exit::ProcessExit,
    testing::{
        fleet::Launch,
        generator::{Event, Hook, Moment, ScriptEnd},
    },
    verdict::{Outcome, ReasonCode, Verdict},
};

use crate::{
    scene::{Scene, codes, reasons},
    script::{Test, seconds, worker},
};

/// Holds however many workers there are.
const HOLDS: &str = r#"{"http_req_duration":["p(95)<101"]}"#;

/// Four workers, of which three must be there.
fn test() -> Test {
    Test { thresholds: HOLDS, min_workers: Some(3), ..Test::of(4) }
}

async fn lose(scene: &Scene, numbers: &[u32], second: u64) -> Verdict {
    scene.start().await;
    let aggregator = scene.aggregator();
    scene.at(seconds(second)).await;
    numbers.iter().for_each(|number| scene.fleet.lose_silently(worker(*number)));
    let verdict = aggregator.outcome().await.expect("a verdict");
    scene.fleet.all_over().await;
    verdict
}

#[track_caller]
fn passed_without(verdict: &Verdict, number: u32) {
    assert_eq!((verdict.outcome, verdict.exit_code), (Outcome::Passed, 0), "{:?}", verdict.reasons);
    assert_eq!((codes(verdict), verdict.reasons[0].worker), (vec![ReasonCode::LossAccepted], Some(number)));
    assert_eq!((verdict.min_workers, verdict.status.as_str()), (3, "finished"));
}

#[test]
fn one_worker_less_is_accepted_and_said() {
    for blind in [true, false] {
        Test { blind, ..test() }.play(async |scene| {
            let verdict = lose(scene, &[3], 6).await;
            passed_without(&verdict, 3);
            let message = &verdict.reasons[0].message;
            assert!(message.starts_with("worker 3 was lost while it ran"), "{message}");
            assert!(
                message.ends_with("accepted, since --min-workers is 3: the load was less than planned"),
                "{message}"
            );
            // The others have gone on to their end.
            let ended = scene.when(|event| *event == Event::IterationsEnded);
            assert!(ended.iter().filter(|(_, number)| *number != 3).all(|(at, _)| *at > seconds(11)), "{ended:?}");
            assert_eq!(scene.whose(&Event::Teardown), [1]);
        });
    }
}

#[test]
fn two_workers_less_are_not() {
    Test { blind: true, ..test() }.play(async |scene| {
        let verdict = lose(scene, &[2, 4], 6).await;
        assert_eq!((verdict.outcome, verdict.exit_code), (Outcome::Invalid, 96));
        assert_eq!(codes(&verdict), [ReasonCode::WorkerLost, ReasonCode::WorkerLost]);
    });
}

#[test]
fn the_run_starts_without_who_is_not_ready_in_time() {
    let mut test = Test { blind: true, ..test() };
    test.launches.push((worker(2), Launch::Swallowed));
    test.play(async |scene| {
        let verdict = scene.verdict().await;
        passed_without(&verdict, 2);
        assert!(verdict.reasons[0].message.contains("it was not ready 60 s after its launch"), "{:?}", verdict.reasons);
        assert_eq!(scene.whose(&Event::Resumed).len(), 3);
        let (started, _) = scene.when(|event| *event == Event::Resumed)[0];
        assert!((seconds(60)..seconds(65)).contains(&started), "{started:?}");
    });
}

#[test]
fn who_comes_after_the_start_leaves() {
    let mut test = Test { blind: true, duration: seconds(30), ..test() };
    test.launches.push((worker(2), Launch::Late(seconds(55))));
    (1..=4)
        .fold(test.with(2, |k6| k6.ready_after = seconds(15)), |test, number| {
            test.with(number, |k6| k6.lasts = seconds(30))
        })
        .play(async |scene| {
            let verdict = scene.verdict().await;
            passed_without(&verdict, 2);
            assert!(!scene.whose(&Event::Resumed).contains(&2));
            assert!(scene.whose(&Event::Started).contains(&2), "it had begun");
        });
}

#[test]
fn the_run_starts_at_once_without_who_could_not_be_launched() {
    let mut test = test();
    test.launches.push((worker(4), Launch::Refused("no room".into())));
    test.play(async |scene| {
        let verdict = scene.verdict().await;
        passed_without(&verdict, 4);
        assert!(scene.time.elapsed() < seconds(20), "{:?}", scene.time.elapsed());
    });
}

#[test]
fn a_k6_that_dies_is_accepted_and_its_exit_code_is_not_the_runs() {
    let dies = Moment::Resumed(seconds(3));
    let test = test().with(2, |k6| *k6 = k6.clone().dies(dies, ProcessExit::Code(109), "panic"));
    passed_without(&test.verdict(), 2);
}

#[test]
fn the_first_worker_is_accepted_once_it_has_set_up_and_a_substitute_tears_down() {
    let test = test().with(1, |k6| k6.setup = Hook::Returns(seconds(1), "1".into()));
    test.play(async |scene| {
        let verdict = lose(scene, &[1], 6).await;
        passed_without(&verdict, 1);
        assert_eq!(scene.whose(&Event::Teardown), [5]);
    });
}

#[test]
fn without_setup_nobody_starts() {
    let test = test().with(1, |k6| k6.setup = Hook::Returns(seconds(20), "1".into()));
    test.play(async |scene| {
        let verdict = lose(scene, &[1], 6).await;
        assert_eq!((verdict.outcome, codes(&verdict)), (Outcome::Invalid, vec![ReasonCode::WorkerLost]));
        assert_eq!(scene.whose(&Event::Resumed), [0; 0]);
    });
}

#[test]
fn what_the_script_does_stops_all_as_ever() {
    let verdict = test().with(2, |k6| (k6.lasts, k6.end) = (seconds(4), ScriptEnd::Abort)).verdict();
    assert_eq!((verdict.outcome, verdict.exit_code), (Outcome::Failed, 108));
    assert_eq!(reasons(&verdict, ReasonCode::LossAccepted).len(), 0);
}

#[test]
fn a_threshold_that_does_not_hold_fails_the_run_whoever_is_missing() {
    let never = r#"{"http_req_duration":["p(95)<1"]}"#;
    Test { thresholds: never, blind: true, ..test() }.play(async |scene| {
        let verdict = lose(scene, &[3], 6).await;
        assert_eq!((verdict.outcome, verdict.exit_code), (Outcome::Failed, 99));
        assert!(codes(&verdict).contains(&ReasonCode::LossAccepted), "{:?}", verdict.reasons);
    });
}

#[test]
fn a_later_aggregator_knows_who_was_left_out() {
    let mut test = Test { blind: true, ..test() };
    test.launches.push((worker(2), Launch::Swallowed));
    test.play(async |scene| {
        scene.start().await;
        let first = scene.aggregator();
        while scene.run().start_at.is_none() {
            scene.time.sleep(seconds(1)).await;
        }
        first.task.cancel();
        scene.time.sleep(seconds(2)).await;
        let verdict = scene.aggregator().outcome().await.expect("a verdict");
        passed_without(&verdict, 2);
        assert!(verdict.reasons[0].message.contains("it was not ready 60 s after its launch"), "{:?}", verdict.reasons);
        assert!(scene.time.elapsed() < seconds(90), "{:?}", scene.time.elapsed());
    });
}

#[test]
fn a_script_that_aborted_is_not_accepted_as_a_loss_though_its_worker_was_left_alone() {
    let test = Test { thresholds: "{}", min_workers: Some(1), ..Test::of(3) };
    let test = (2..=3).fold(test, |test, number| test.with(number, |k6| k6.lasts = seconds(11)));
    test.with(1, |k6| (k6.lasts, k6.end) = (seconds(11), ScriptEnd::Abort)).play(async |scene| {
        scene.start().await;
        let first = scene.aggregator();
        scene.at(seconds(2)).await;
        first.task.cancel();
        scene.at(seconds(32)).await;
        let verdict = scene.aggregator().outcome().await.expect("a verdict");
        assert_eq!((verdict.outcome, verdict.exit_code), (Outcome::Failed, 108), "{:?}", verdict.reasons);
    });
}
