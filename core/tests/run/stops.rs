//! Runs that are stopped before their time: by the script, a threshold, or a person.

use std::time::Duration;

use lambdaload_core::{
    k6::exit::ProcessExit,
    lifecycle::{Abort, AbortCause},
    run::{UpdateError, abort::abort},
    testing::{
        faulty::{Fault, When},
        generator::{Event, Hook, ScriptEnd},
    },
    verdict::{Outcome, ReasonCode},
};

use crate::{
    scene::{Scene, codes},
    script::{SUBSTITUTE_OF_TWO, Test, seconds},
    usual::HOLDS,
};

/// A run of five minutes, so that whoever ends early was stopped.
fn long(workers: usize) -> Test {
    let test = Test { duration: seconds(300), ..Test::of(workers) };
    (1..=workers).fold(test, |test, number| test.with(number, |k6| k6.lasts = seconds(300)))
}

fn all_ended_before(scene: &Scene, workers: usize, moment: Duration) {
    let ended = scene.when(|event| *event == Event::IterationsEnded);
    assert!(ended.len() == workers && ended.iter().all(|(at, _)| *at < moment), "{ended:?}");
}

#[test]
fn a_script_that_aborts_the_test_stops_all_workers() {
    for number in [1, 3] {
        let test = long(4).with(number, |k6| (k6.lasts, k6.end) = (seconds(5), ScriptEnd::Abort));
        test.play(async |scene| {
            let verdict = scene.verdict().await;
            assert_eq!((verdict.outcome, verdict.exit_code), (Outcome::Failed, 108), "{:?}", verdict.reasons);
            assert_eq!((verdict.status.as_str(), codes(&verdict)), ("aborted (by script)", vec![ReasonCode::Script]));
            assert_eq!(verdict.reasons[0].worker.map(|w| w as usize), Some(number));
            all_ended_before(scene, 4, seconds(10));
            assert_eq!(scene.whose(&Event::Teardown), [1]);
            assert_eq!(verdict.samples.read, verdict.samples.merged);
        });
    }
}

#[test]
fn a_script_that_calls_the_test_failed_lets_all_run_to_the_end() {
    for number in [1, 3] {
        let test = Test { thresholds: HOLDS, ..Test::of(4) }.with(number, |k6| k6.end = ScriptEnd::Fail);
        test.with(2, |k6| k6.lasts = seconds(15)).play(async |scene| {
            let verdict = scene.verdict().await;
            assert_eq!((verdict.outcome, verdict.exit_code), (Outcome::Failed, 110), "{:?}", verdict.reasons);
            assert_eq!((verdict.status.as_str(), codes(&verdict)), ("finished", vec![ReasonCode::Script]));
            assert_eq!(scene.when(|event| matches!(event, Event::Stopped)), []);
            let ended = scene.when(|event| *event == Event::IterationsEnded);
            assert_eq!(ended.last().map(|(_, number)| *number), Some(2));
        });
    }
}

const ABORTS: &str = r#"{"http_req_duration":[{"threshold":"max<30","abortOnFail":true}]}"#;
const ABORTS_LATER: &str = r#"{"http_req_duration":[{"threshold":"max<30","abortOnFail":true,"delayAbortEval":"8s"}]}"#;

#[test]
fn a_threshold_that_aborts_stops_all_workers() {
    Test { thresholds: ABORTS, ..long(4) }.play(async |scene| {
        let verdict = scene.verdict().await;
        assert_eq!((verdict.outcome, verdict.exit_code), (Outcome::Failed, 99), "{:?}", verdict.reasons);
        assert_eq!(verdict.status, "aborted (by threshold)");
        assert_eq!(codes(&verdict), [ReasonCode::ThresholdCrossed]);
        // It is crossed three seconds after the start at two.
        all_ended_before(scene, 4, seconds(9));
        assert_eq!(scene.whose(&Event::Teardown), [1]);
    });
}

#[test]
fn a_threshold_aborts_only_after_its_delay() {
    Test { thresholds: ABORTS_LATER, ..long(2) }.play(async |scene| {
        let verdict = scene.verdict().await;
        assert_eq!((verdict.outcome, verdict.exit_code), (Outcome::Failed, 99));
        assert!(verdict.thresholds[0].first_crossed_ms.is_some_and(|ms| ms < 6_000));
        let [(resumed_at, _), ..] = scene.when(|event| *event == Event::Resumed)[..] else { panic!("not resumed") };
        let [(ended_at, _), ..] = scene.when(|event| *event == Event::IterationsEnded)[..] else { panic!("not ended") };
        assert!(
            (seconds(8)..seconds(11)).contains(&ended_at.checked_sub(resumed_at).unwrap()),
            "{resumed_at:?} {ended_at:?}"
        );
    });
}

/// Three workers make 30 requests a second.
const RATE: &str = r#"{"http_reqs":[{"threshold":"rate>28","abortOnFail":true,"delayAbortEval":"1s"}]}"#;

/// A rate would be too low, were it taken over a time of which not all has come in yet.
#[test]
fn a_rate_stops_no_run_whose_samples_come_late() {
    for on_lambda in [false, true] {
        for late in [None, Some(2)] {
            Test { thresholds: RATE, on_lambda, ..Test::of(3) }.play(async |scene| {
                if let Some(worker) = late {
                    let slow = When::Between(seconds(3), seconds(9));
                    scene.faults_of(worker).store.add("put_new", "chunk", slow, Fault::Fails);
                }
                scene.start().await;
                let aggregator = scene.aggregator();
                let verdict = aggregator.outcome().await.expect("a verdict");
                scene.fleet.all_over().await;
                assert_eq!(verdict.outcome, Outcome::Passed, "{on_lambda} {late:?} {:?}", verdict.reasons);
                assert_eq!(verdict.thresholds[0].first_crossed_ms, None);
                let shown: Vec<bool> = aggregator.live().iter().map(|live| live.thresholds[0].passed).collect();
                let first = shown.iter().position(|passed| *passed).expect("shown as held");
                assert!(shown[first..].iter().all(|passed| *passed), "{on_lambda} {late:?} {shown:?}");
            });
        }
    }
}

#[test]
fn a_rate_that_is_too_low_stops_the_run_before_its_end() {
    let too_low = r#"{"http_reqs":[{"threshold":"rate>40","abortOnFail":true,"delayAbortEval":"3s"}]}"#;
    for on_lambda in [false, true] {
        Test { thresholds: too_low, on_lambda, ..Test::of(3) }.play(async |scene| {
            let verdict = scene.verdict().await;
            assert_eq!((verdict.outcome, verdict.exit_code), (Outcome::Failed, 99), "{:?}", verdict.reasons);
            let crossed = verdict.thresholds[0].first_crossed_ms.expect("a time");
            assert!((3_000..9_000).contains(&crossed), "{on_lambda} {crossed}");
            assert!(verdict.duration_ms < 10_000.0, "{on_lambda} {}", verdict.duration_ms);
        });
    }
}

#[test]
fn a_run_that_a_threshold_has_stopped_stays_failed_though_the_threshold_holds_in_the_end() {
    let high_then_low = r#"{"http_req_waiting":[{"threshold":"avg<50","abortOnFail":true}]}"#;
    let test = Test { thresholds: high_then_low, ..long(2) }.with(1, |k6| {
        // The mean falls with what comes in after the decision, since this k6 is slow to stop.
        k6.ignores_stop = true;
        *k6 = (0..4_000_u32).fold(k6.clone(), |k6, i| {
            let (at, value) = if i < 100 { (1_000, 1_000.0) } else { (5_000 + i, 0.0) };
            k6.sample(Duration::from_millis(at.into()), "http_req_waiting", value, "{}")
        });
    });
    let verdict = test.verdict();
    assert!(verdict.thresholds[0].passed, "{:?}", verdict.thresholds);
    assert_eq!((verdict.outcome, verdict.exit_code), (Outcome::Failed, 99));
    assert_eq!(codes(&verdict), [ReasonCode::ThresholdCrossed]);
}

#[test]
fn a_run_that_a_person_stops_is_judged_on_what_was_measured() {
    for (thresholds, outcome) in [
        ("{}", Outcome::NoThresholds),
        (r#"{"http_reqs":["count>10"]}"#, Outcome::Passed),
        (r#"{"http_reqs":["count>399"]}"#, Outcome::Failed),
    ] {
        Test { thresholds, ..long(4) }.play(async |scene| {
            scene.start().await;
            let aggregator = scene.aggregator();
            scene.at(seconds(6)).await;
            scene.stop(false).await;
            let verdict = aggregator.outcome().await.expect("a verdict");
            scene.fleet.all_over().await;
            assert_eq!((verdict.outcome, verdict.exit_code), (outcome, 105), "{:?}", verdict.reasons);
            assert_eq!(verdict.status, "aborted (by user)");
            assert_eq!(verdict.reasons[0].code, ReasonCode::Stopped);
            assert!(verdict.reasons[0].message.contains("after 4s of 5m"), "{:?}", verdict.reasons);
            assert!(verdict.workers.iter().all(|w| w.failure.is_none()));
            assert_eq!(verdict.samples.read, verdict.samples.merged);
            all_ended_before(scene, 4, seconds(9));
            assert_eq!(scene.whose(&Event::Teardown), [1]);
        });
    }
}

#[test]
fn a_run_that_is_stopped_at_once_is_killed() {
    for cut in [false, true] {
        let test = (1..=3).fold(long(3), |test, number| test.with(number, |k6| k6.is_cut_when_killed = cut));
        test.play(async |scene| {
            scene.start().await;
            let aggregator = scene.aggregator();
            scene.at(seconds(6)).await;
            scene.stop(true).await;
            let verdict = aggregator.outcome().await.expect("a verdict");
            scene.fleet.all_over().await;
            assert_eq!((verdict.outcome, verdict.exit_code), (Outcome::NoThresholds, 105), "{:?}", verdict.reasons);
            let mut killed = scene.whose(&Event::Killed);
            killed.sort_unstable();
            assert_eq!(killed, [1, 2, 3]);
            assert_eq!(scene.whose(&Event::Teardown), [0; 0]);
            assert!(scene.time.elapsed() < seconds(9), "{:?}", scene.time.elapsed());
        });
    }
}

#[test]
fn a_second_stop_hurries_the_first() {
    let teardown = Hook::Returns(seconds(50), "null".into());
    long(2).with(1, |k6| k6.teardown = teardown).play(async |scene| {
        scene.start().await;
        let aggregator = scene.aggregator();
        scene.at(seconds(6)).await;
        scene.stop(false).await;
        scene.at(seconds(10)).await;
        assert_eq!(scene.whose(&Event::Killed), [0; 0]);
        scene.stop(true).await;
        let verdict = aggregator.outcome().await.expect("a verdict");
        assert_eq!((verdict.outcome, verdict.exit_code), (Outcome::NoThresholds, 105), "{:?}", verdict.reasons);
        assert_eq!(scene.whose(&Event::Killed), [1]);
        assert!(scene.time.elapsed() < seconds(13), "{:?}", scene.time.elapsed());
    });
}

#[test]
fn a_k6_that_does_not_stop_when_it_is_told_to_is_killed() {
    for number in [1, 2] {
        let test = long(2).with(number, |k6| (k6.ignores_interrupt, k6.ignores_stop) = (true, true));
        test.play(async |scene| {
            scene.start().await;
            let aggregator = scene.aggregator();
            scene.at(seconds(6)).await;
            scene.stop(false).await;
            let verdict = aggregator.outcome().await.expect("a verdict");
            scene.fleet.all_over().await;
            assert_eq!((verdict.outcome, verdict.exit_code), (Outcome::Invalid, 105), "{:?}", verdict.reasons);
            // The k6 that tears down for the first worker has the same bad habits.
            let killed = if number == 1 { vec![1, SUBSTITUTE_OF_TWO] } else { vec![2] };
            assert_eq!(scene.whose(&Event::Killed), killed);
            assert!(scene.time.elapsed() < seconds(45), "{:?}", scene.time.elapsed());
        });
    }
}

#[test]
fn a_first_k6_that_does_not_stop_through_rest_is_interrupted() {
    long(2).with(1, |k6| k6.ignores_stop = true).play(async |scene| {
        scene.start().await;
        let aggregator = scene.aggregator();
        scene.at(seconds(6)).await;
        scene.stop(false).await;
        let verdict = aggregator.outcome().await.expect("a verdict");
        assert_eq!(verdict.exit_code, 105);
        // It does not linger then, so another k6 tears down.
        assert_eq!(scene.whose(&Event::Exited(ProcessExit::Code(105))), [2, 1, SUBSTITUTE_OF_TWO]);
        assert_eq!(scene.whose(&Event::Teardown), [SUBSTITUTE_OF_TWO]);
        assert!(scene.time.elapsed() < seconds(20), "{:?}", scene.time.elapsed());
    });
}

#[test]
fn the_first_cause_stays() {
    let test = long(3).with(2, |k6| (k6.lasts, k6.end) = (seconds(5), ScriptEnd::Abort));
    test.with(1, |k6| k6.teardown = Hook::Returns(seconds(5), "null".into())).play(async |scene| {
        scene.start().await;
        let aggregator = scene.aggregator();
        scene.at(seconds(9)).await;
        scene.stop(false).await;
        let verdict = aggregator.outcome().await.expect("a verdict");
        assert_eq!((verdict.outcome, verdict.exit_code), (Outcome::Failed, 108));
        assert_eq!(verdict.status, "aborted (by script)");
    });
}

#[test]
fn a_run_that_is_stopped_before_its_start_measures_nothing_and_never_passes() {
    // Before workers have claimed, while they get ready, and between the writing of T0 and T0.
    for at in [0, 500, 1_250, 1_350] {
        Test { thresholds: r#"{"http_req_duration":["p(95)<99"]}"#, ..Test::of(3) }.play(async |scene| {
            scene.start().await;
            let aggregator = scene.aggregator();
            scene.at(Duration::from_millis(at)).await;
            scene.stop(false).await;
            let verdict = aggregator.outcome().await.expect("a verdict");
            scene.fleet.all_over().await;
            assert_eq!((verdict.outcome, verdict.exit_code), (Outcome::Invalid, 105), "{at}: {:?}", verdict.reasons);
            assert_eq!(
                (verdict.status.as_str(), codes(&verdict)),
                ("aborted (by user)", vec![ReasonCode::Stopped]),
                "{at}: {:?}",
                verdict.reasons
            );
            assert_eq!(scene.whose(&Event::Resumed), [0; 0], "{at}");
            assert!(scene.time.elapsed() < seconds(5), "{at}: {:?}", scene.time.elapsed());
        });
    }
}

#[test]
fn a_run_that_is_stopped_while_it_tears_down_ends_as_it_would_have() {
    let teardown = Hook::Returns(seconds(8), "null".into());
    Test { thresholds: HOLDS, ..Test::of(4) }.with(1, |k6| k6.teardown = teardown).play(async |scene| {
        scene.start().await;
        let aggregator = scene.aggregator();
        scene.at(seconds(16)).await;
        scene.stop(false).await;
        let verdict = aggregator.outcome().await.expect("a verdict");
        assert_eq!((verdict.outcome, verdict.exit_code), (Outcome::Passed, 105), "{:?}", verdict.reasons);
        assert_eq!(scene.whose(&Event::Teardown), [1]);
    });
}

#[test]
fn a_run_that_is_concluded_cannot_be_stopped() {
    Test::of(2).play(async |scene| {
        let verdict = scene.verdict().await;
        let by_user = Abort { cause: AbortCause::User, message: "late".into(), at_once: true };
        let outcome = abort(&*scene.ports.ledger, &scene.id, by_user).await;
        assert!(matches!(outcome, Err(UpdateError::Illegal(_))), "{outcome:?}");
        assert_eq!(scene.aggregate().await.expect("the same"), verdict);
    });
}
