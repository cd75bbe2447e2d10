//! Workers that come twice, late, or not at all.

use std::time::Duration;

use lambdaload_core::{
    run::{start::StartError, work::Worked},
    testing::{
        faulty::{Fault, When},
        fleet::Launch,
        generator::Event,
    },
    verdict::{Outcome, ReasonCode, Verdict},
};

use crate::{
    scene::{codes, reasons},
    script::{Test, seconds, worker},
    usual::HOLDS,
};

fn undisturbed() -> Verdict {
    Test { thresholds: HOLDS, ..Test::of(4) }.verdict()
}

#[test]
fn of_a_worker_that_is_launched_twice_the_second_leaves() {
    for later in [Duration::ZERO, Duration::from_millis(500), seconds(5), seconds(30)] {
        let test = Test { thresholds: HOLDS, ..Test::of(4) }.with_launch(2, Launch::Twice(later));
        test.play(async |scene| {
            let verdict = scene.verdict().await;
            assert_eq!(verdict, undisturbed(), "launched again after {later:?}");
            let mut endings: Vec<_> = scene.fleet.endings().into_iter().filter(|(i, _)| *i == worker(2)).collect();
            endings.sort_by_key(|(_, ending)| *ending == Some(Ok(Worked::Closed)));
            let [(_, Some(Ok(second))), (_, Some(Ok(Worked::Closed)))] = &endings[..] else { panic!("{endings:?}") };
            let expected = if later < seconds(2) { Worked::Duplicate } else { Worked::Late };
            assert_eq!(*second, expected, "launched again after {later:?}");
        });
    }
}

#[test]
fn all_workers_launched_twice_are_as_good_as_once() {
    let launches = (1..=4).map(|number| (worker(number), Launch::Twice(Duration::from_millis(1)))).collect();
    assert_eq!(Test { thresholds: HOLDS, launches, ..Test::of(4) }.verdict(), undisturbed());
}

#[test]
fn a_run_whose_archive_cannot_be_stored_is_not_there() {
    Test::of(2).play(async |scene| {
        scene.aggregator_faults.store.add("put_new", "archives", When::Always, Fault::Fails);
        let outcome = scene.try_to_start().await;
        assert!(matches!(outcome, Err(StartError::Store(_))), "{outcome:?}");
        assert!(scene.ledger.peek(&scene.id).is_none() && scene.whose(&Event::Started).is_empty());
    });
}

#[test]
fn a_run_that_cannot_be_recorded_launches_nobody() {
    for fault in [Fault::Fails, Fault::NeverAnswers] {
        Test::of(2).play(async |scene| {
            scene.aggregator_faults.ledger.add("create_run", "", When::Always, fault);
            let outcome = scene.try_to_start().await;
            assert!(matches!(outcome, Err(StartError::Update(_))), "{outcome:?}");
            assert_eq!(scene.whose(&Event::Started), [0; 0]);
            assert!(scene.time.elapsed() < seconds(60), "{:?}", scene.time.elapsed());
        });
    }
}

#[test]
fn a_launch_is_recorded_though_the_ledger_fails_now_and_then() {
    let test = Test { blind: true, ..Test::of(3) }.with_launch(2, Launch::Refused("no capacity".into()));
    test.play(async |scene| {
        for calls in ["run", "replace_run", "claim_worker"] {
            scene.aggregator_faults.ledger.add(calls, "", When::Nth(1), Fault::Fails);
        }
        assert_eq!(codes(&scene.verdict().await), [ReasonCode::WorkerNotLaunched]);
    });
}

#[test]
fn the_others_wait_for_a_worker_that_comes_late() {
    Test::of(3).with_launch(3, Launch::Late(seconds(40))).play(async |scene| {
        let verdict = scene.verdict().await;
        assert_eq!(verdict.outcome, Outcome::NoThresholds, "{:?}", verdict.reasons);
        let resumed = scene.when(|event| *event == Event::Resumed);
        assert!(resumed.iter().all(|(at, _)| *at == resumed[0].0 && *at > seconds(40)), "{resumed:?}");
    });
}

#[test]
fn a_worker_that_comes_after_the_run_was_given_up_leaves() {
    for comes in [seconds(140), seconds(600)] {
        Test::of(3).with_launch(3, Launch::Late(comes)).play(async |scene| {
            let verdict = scene.verdict().await;
            assert_eq!((verdict.outcome, verdict.exit_code), (Outcome::Invalid, 96));
            assert!(verdict.reasons.iter().any(|r| r.message.contains("worker 3")), "{:?}", verdict.reasons);
            assert_eq!(scene.whose(&Event::Resumed), [0; 0]);
            assert_eq!(scene.fleet.endings().last(), Some(&(worker(3), Some(Ok(Worked::Late)))));
        });
    }
}

#[test]
fn a_worker_that_never_comes_is_waited_for_until_the_deadline() {
    let test = Test { blind: true, ..Test::of(3) }.with_launch(2, Launch::Swallowed);
    test.play(async |scene| {
        let verdict = scene.verdict().await;
        assert_eq!((verdict.outcome, verdict.exit_code), (Outcome::Invalid, 96));
        assert_eq!(verdict.status, "timed out");
        let deadline = reasons(&verdict, ReasonCode::DeadlinePassed);
        assert!(deadline[0].message.contains("not ready") && deadline[0].message.contains("worker 2"), "{deadline:?}");
        assert_eq!(scene.whose(&Event::Resumed), [0; 0]);
        assert!(scene.time.elapsed() < seconds(140), "{:?}", scene.time.elapsed());
    });
}

#[test]
fn a_worker_that_could_not_be_launched_stops_the_run_before_it_starts() {
    let test = Test { blind: true, ..Test::of(4) }.with_launch(2, Launch::Refused("no capacity".into()));
    test.play(async |scene| {
        let verdict = scene.verdict().await;
        assert_eq!((verdict.outcome, verdict.exit_code), (Outcome::Invalid, 96));
        assert_eq!(codes(&verdict), [ReasonCode::WorkerNotLaunched]);
        assert_eq!(
            (verdict.reasons[0].message.as_str(), verdict.reasons[0].worker),
            ("worker 2: no capacity", Some(2))
        );
        assert_eq!(verdict.status, "aborted (by system)");
        assert_eq!(scene.whose(&Event::Resumed), [0; 0]);
        assert!(scene.time.elapsed() < seconds(10), "{:?}", scene.time.elapsed());
    });
}

#[test]
fn a_fleet_that_takes_a_launched_worker_for_refused_gets_either_no_worker_or_no_failure() {
    let test = || Test::of(2).with_launch(2, Launch::RefusedInError("throttled".into()));
    test().play(async |scene| {
        let verdict = scene.verdict().await;
        assert_eq!((verdict.outcome, codes(&verdict)), (Outcome::Invalid, vec![ReasonCode::WorkerNotLaunched]));
        let second = scene.fleet.endings().into_iter().find(|(index, _)| *index == worker(2));
        assert!(matches!(second, Some((_, Some(Ok(Worked::Duplicate | Worked::Late))))), "{second:?}");
    });
    test().play(async |scene| {
        // The worker claims its segment before the launcher can.
        scene.aggregator_faults.ledger.add("claim_worker", "", When::Always, Fault::Takes(seconds(1)));
        assert_eq!(scene.verdict().await.outcome, Outcome::NoThresholds);
    });
}
