//! `teardown()` when the first worker is gone: another k6 runs it, once.

use lambdaload_core::{
    number::Number,
    ports::{Ledger, Printed},
    testing::{
        faulty::{Fault, When},
        fleet::Launch,
        generator::{Event, Hook},
    },
    verdict::{Outcome, ReasonCode, Values, Verdict},
};

use crate::{
    scene::{Scene, codes, reasons},
    script::{Test, seconds, worker},
};

const DATA: &str = r#"{"token":"t"}"#;

/// The number of the substitute in a run of three.
const SUBSTITUTE: u32 = 4;

/// A run of three with a `setup()`, of which the fleet knows who has gone.
fn test() -> Test {
    Test::of(3).with(1, |k6| {
        k6.setup = Hook::Returns(seconds(1), DATA.into());
        k6.teardown = Hook::Returns(seconds(1), "null".into());
    })
}

/// Loses the first worker at this second.
async fn lose_first(scene: &Scene, second: u64) -> Verdict {
    scene.start().await;
    let aggregator = scene.aggregator();
    scene.at(seconds(second)).await;
    scene.fleet.lose(worker(1));
    let verdict = aggregator.outcome().await.expect("a verdict");
    scene.fleet.all_over().await;
    verdict
}

#[test]
fn a_substitute_tears_down_with_the_data_of_setup_after_all_iterations() {
    test().play(async |scene| {
        let verdict = lose_first(scene, 6).await;
        assert_eq!((verdict.outcome, codes(&verdict)), (Outcome::Invalid, vec![ReasonCode::WorkerLost]));
        let message = &verdict.reasons[0].message;
        assert!(message.ends_with("its process has ended; another k6 ran teardown()"), "{message}");
        assert_eq!(scene.whose(&Event::Teardown), [SUBSTITUTE]);
        assert!(scene.whose(&Event::TookSetupData(DATA.into())).contains(&SUBSTITUTE));
        let (torn_down, _) = scene.when(|event| *event == Event::Teardown)[0];
        let ended = scene.when(|event| matches!(event, Event::IterationsEnded));
        assert!(ended.iter().filter(|(_, number)| *number != SUBSTITUTE).all(|(at, _)| *at <= torn_down), "{ended:?}");
        assert!(!scene.whose(&Event::Resumed).contains(&SUBSTITUTE));
        // Its samples are merged like the rest, and it is none of the workers.
        assert_eq!(verdict.workers.len(), 3);
        let sent =
            verdict.summary.metrics.iter().find(|metric| metric.name == "data_sent").expect("setup and teardown");
        assert!(matches!(sent.values, Values::Counter { count: Number(2.0), .. }), "{:?}", sent.values);
    });
}

#[test]
fn a_first_worker_that_is_lost_before_the_start_is_torn_down_after() {
    test().with(3, |k6| k6.ready_after = seconds(20)).play(async |scene| {
        let verdict = lose_first(scene, 6).await;
        assert_eq!(verdict.outcome, Outcome::Invalid);
        assert_eq!((scene.whose(&Event::Resumed), scene.whose(&Event::Teardown)), (vec![], vec![SUBSTITUTE]));
    });
}

#[test]
fn what_was_not_set_up_is_not_torn_down() {
    test().with(1, |k6| k6.setup = Hook::Returns(seconds(20), DATA.into())).play(async |scene| {
        assert_eq!(lose_first(scene, 6).await.outcome, Outcome::Invalid);
        assert_eq!(scene.whose(&Event::Teardown), [0; 0]);
    });
}

#[test]
fn a_script_without_teardown_needs_no_substitute() {
    // This one only has a handleSummary().
    Test { handle_summary: Some((seconds(1), Printed::default())), ..test() }.play(async |scene| {
        let verdict = lose_first(scene, 6).await;
        assert_eq!(codes(&verdict), [ReasonCode::WorkerLost]);
        assert!(!scene.whose(&Event::Started).contains(&SUBSTITUTE));
    });
}

#[test]
fn a_teardown_that_has_begun_is_not_begun_again() {
    test().with(1, |k6| k6.teardown = Hook::Returns(seconds(20), "null".into())).play(async |scene| {
        assert_eq!(lose_first(scene, 20).await.outcome, Outcome::Invalid);
        assert_eq!(scene.whose(&Event::Teardown), [1]);
    });
}

#[test]
fn a_first_worker_that_only_seemed_lost_leaves_teardown_to_the_substitute() {
    let test = Test { blind: true, ..test() };
    test.play(async |scene| {
        scene.start().await;
        let aggregator = scene.aggregator();
        scene.at(seconds(6)).await;
        // It can read and cannot write: it lives, and nobody knows.
        let mute = When::Between(seconds(6), seconds(10_000));
        scene.faults_of(1).ledger.add("replace_worker", "", mute, Fault::Fails);
        let verdict = aggregator.outcome().await.expect("a verdict");
        assert_eq!(verdict.outcome, Outcome::Invalid);
        assert_eq!(scene.whose(&Event::Teardown).len(), 1);
    });
}

#[test]
fn a_stop_at_once_tears_down_nothing() {
    let test = Test { duration: seconds(60), ..test() };
    (1..=3).fold(test, |test, number| test.with(number, |k6| k6.lasts = seconds(60))).play(async |scene| {
        scene.start().await;
        let aggregator = scene.aggregator();
        scene.at(seconds(6)).await;
        scene.stop(true).await;
        let verdict = aggregator.outcome().await.expect("a verdict");
        assert_eq!(verdict.exit_code, 105);
        assert_eq!(scene.whose(&Event::Teardown), [0; 0]);
    });
}

#[test]
fn a_substitute_that_cannot_be_launched_or_never_comes_is_named() {
    for launch in [Launch::Refused("no room".into()), Launch::Swallowed] {
        let mut test = test();
        test.launches.push((worker(SUBSTITUTE), launch.clone()));
        test.play(async |scene| {
            let verdict = lose_first(scene, 6).await;
            assert_eq!(verdict.outcome, Outcome::Invalid, "{launch:?}");
            let lost = reasons(&verdict, ReasonCode::WorkerLost);
            let named = lost.iter().any(|reason| reason.message.starts_with("teardown() was not finished"));
            assert!(named, "{launch:?}: {lost:?}");
            assert!(scene.time.elapsed() < seconds(240), "{:?}", scene.time.elapsed());
        });
    }
}

#[test]
fn a_substitute_that_comes_twice_tears_down_once() {
    let mut test = test();
    test.launches.push((worker(SUBSTITUTE), Launch::Twice(seconds(1))));
    test.play(async |scene| {
        lose_first(scene, 6).await;
        assert_eq!(scene.whose(&Event::Teardown), [SUBSTITUTE]);
    });
}

#[test]
fn an_aggregator_that_comes_later_finds_the_substitute() {
    test().with(1, |k6| k6.teardown = Hook::Returns(seconds(5), "null".into())).play(async |scene| {
        scene.start().await;
        let first = scene.aggregator();
        scene.at(seconds(6)).await;
        scene.fleet.lose(worker(1));
        while scene.whose(&Event::Teardown).is_empty() {
            scene.time.sleep(seconds(1) / 20).await;
        }
        first.task.cancel();
        scene.time.sleep(seconds(1)).await;
        let verdict = scene.aggregator().outcome().await.expect("a verdict");
        assert_eq!((verdict.outcome, scene.whose(&Event::Teardown)), (Outcome::Invalid, vec![SUBSTITUTE]));
        assert_eq!(codes(&verdict), [ReasonCode::WorkerLost]);
    });
}

#[test]
fn nobody_else_becomes_a_substitute() {
    test().play(async |scene| {
        let verdict = scene.verdict().await;
        assert_eq!((verdict.outcome, scene.whose(&Event::Teardown)), (Outcome::NoThresholds, vec![1]));
        assert_eq!(scene.ledger.workers(&scene.id).await.expect("answers").len(), 3);
    });
}

#[test]
fn a_ledger_that_cannot_be_written_when_all_have_ended_only_delays_it() {
    let test = Test { min_workers: Some(1), ..test() };
    test.play(async |scene| {
        let mute = When::Between(seconds(7), seconds(30));
        scene.aggregator_faults.ledger.add("replace_run", "", mute, Fault::Fails);
        let verdict = lose_first(scene, 6).await;
        assert_eq!(scene.whose(&Event::Teardown), [SUBSTITUTE], "{:?}", verdict.reasons);
    });
}

#[test]
fn what_was_set_up_and_not_torn_down_is_not_passed_over() {
    let test = Test { min_workers: Some(1), ..test() };
    test.play(async |scene| {
        let mute = When::Between(seconds(7), seconds(10_000));
        scene.aggregator_faults.ledger.add("replace_run", "", mute, Fault::Fails);
        scene.start().await;
        let aggregator = scene.aggregator();
        scene.at(seconds(6)).await;
        scene.fleet.lose(worker(1));
        scene.at(seconds(65)).await;
        scene.aggregator_faults.clear();
        let verdict = aggregator.outcome().await.expect("a verdict");
        assert_eq!(verdict.outcome, Outcome::Invalid);
        assert!(codes(&verdict).contains(&ReasonCode::TeardownMissing), "{:?}", verdict.reasons);
    });
}
