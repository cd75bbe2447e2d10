//! k6 that ends, or does not end, as it should not.

use std::time::Duration;

use lambdaload_core::{
    k6::exit::ProcessExit,
    records::FailureKind,
    testing::generator::{Event, Moment, SampleLine},
    verdict::{Outcome, ReasonCode, Verdict},
};

use crate::{
    scene::{Scene, codes, reasons},
    script::{SUBSTITUTE_OF_TWO, Test, seconds},
};

/// The verdict is invalid because of a failure of this worker; says what kind.
fn failure_of(verdict: &Verdict, number: usize) -> FailureKind {
    assert_eq!(verdict.outcome, Outcome::Invalid, "{:?}", verdict.reasons);
    let reasons = reasons(verdict, ReasonCode::WorkerFailed);
    assert!(reasons.iter().any(|r| r.worker.map(|w| w as usize) == Some(number)), "{:?}", verdict.reasons);
    verdict.workers[number - 1].failure.as_ref().expect("failed").kind
}

fn nobody_started(scene: &Scene) {
    assert_eq!(scene.whose(&Event::Resumed), [0; 0]);
}

/// A run of an hour, so that whoever ends early was stopped.
fn long(workers: usize) -> Test {
    let test = Test { duration: seconds(3600), ..Test::of(workers) };
    (1..=workers).fold(test, |test, number| test.with(number, |k6| k6.lasts = seconds(3600)))
}

#[test]
fn samples_that_k6_could_not_write_are_missing() {
    let verdict = Test::of(3).with(2, |k6| k6.unwritten.samples = 5).with(3, |k6| k6.unwritten.samples = 2).verdict();
    assert_eq!((verdict.outcome, verdict.exit_code), (Outcome::Invalid, 96));
    assert_eq!((codes(&verdict), verdict.samples.unwritten), (vec![ReasonCode::SamplesMissing], 7));
    assert!(verdict.reasons[0].message.starts_with("k6 could not write 7 samples"), "{:?}", verdict.reasons);
}

#[test]
fn an_exception_before_k6_is_ready_has_k6s_code_and_words() {
    for number in [1, 3] {
        let death = Moment::Started(Duration::from_millis(400));
        let says = "ReferenceError: shop is not defined\n\tat file:///test.js:3:1";
        let test = Test::of(4).with(number, |k6| *k6 = k6.clone().dies(death, ProcessExit::Code(107), says));
        test.play(async |scene| {
            let verdict = scene.verdict().await;
            assert_eq!(failure_of(&verdict, number), FailureKind::K6DidNotStart);
            assert_eq!((verdict.exit_code, verdict.status.as_str()), (107, "aborted (by script)"));
            assert!(
                verdict.reasons[0].message.contains("ReferenceError: shop is not defined"),
                "{:?}",
                verdict.reasons
            );
            nobody_started(scene);
            assert!(scene.time.elapsed() < seconds(5), "{:?}", scene.time.elapsed());
        });
    }
}

#[test]
fn a_k6_that_refuses_its_command_line_is_no_exception_of_the_script() {
    let death = Moment::Started(Duration::from_millis(50));
    let test = Test::of(2).with(2, |k6| *k6 = k6.clone().dies(death, ProcessExit::Code(255), "unknown flag: --x"));
    test.play(async |scene| {
        let verdict = scene.verdict().await;
        assert_eq!(failure_of(&verdict, 2), FailureKind::K6DidNotStart);
        assert_eq!((verdict.exit_code, verdict.status.as_str()), (96, "aborted (by system)"));
        assert!(verdict.reasons[0].message.contains("unknown flag: --x"), "{:?}", verdict.reasons);
        nobody_started(scene);
    });
}

#[test]
fn a_k6_that_cannot_be_started_stops_the_run() {
    let test = Test::of(2).with(1, |k6| k6.start_error = Some("there is no k6 here".into()));
    test.play(async |scene| {
        let verdict = scene.verdict().await;
        assert_eq!(failure_of(&verdict, 1), FailureKind::K6DidNotStart);
        assert!(verdict.reasons[0].message.contains("there is no k6 here"), "{:?}", verdict.reasons);
        assert_eq!(verdict.exit_code, 96);
        nobody_started(scene);
    });
}

#[test]
fn a_k6_that_dies_while_it_waits_for_the_start_keeps_all_from_starting() {
    for exit in [ProcessExit::Signal(9), ProcessExit::Code(0), ProcessExit::Code(105)] {
        let dies = Moment::Started(seconds(3));
        let test = Test::of(3).with(2, |k6| *k6 = k6.clone().dies(dies, exit, ""));
        test.with(3, |k6| k6.ready_after = seconds(6)).play(async |scene| {
            let verdict = scene.verdict().await;
            failure_of(&verdict, 2);
            assert_eq!(verdict.exit_code, 96, "{exit}");
            nobody_started(scene);
        });
    }
}

#[test]
fn a_k6_that_is_killed_while_it_runs_leaves_the_run_invalid() {
    for number in [1, 2] {
        let dies = Moment::Resumed(seconds(4));
        long(3).with(number, |k6| *k6 = k6.clone().dies(dies, ProcessExit::Signal(9), "")).play(async |scene| {
            let verdict = scene.verdict().await;
            assert_eq!(failure_of(&verdict, number), FailureKind::K6Failed);
            assert_eq!((verdict.exit_code, verdict.status.as_str()), (96, "aborted (by system)"));
            assert!(verdict.reasons[0].message.contains("killed by signal 9"), "{:?}", verdict.reasons);
            assert!(scene.time.elapsed() < seconds(12), "{:?}", scene.time.elapsed());
        });
    }
}

#[test]
fn a_k6_that_crashes_has_its_own_code() {
    let dies = Moment::Resumed(seconds(4));
    let test = long(2).with(2, |k6| *k6 = k6.clone().dies(dies, ProcessExit::Code(109), "panic: oh"));
    let verdict = test.verdict();
    assert_eq!((failure_of(&verdict, 2), verdict.exit_code), (FailureKind::K6Failed, 109));
}

#[test]
fn a_k6_that_never_gets_ready_is_ended_at_its_deadline() {
    for number in [1, 2] {
        Test::of(2).with(number, |k6| k6.ready_after = Duration::MAX).play(async |scene| {
            let verdict = scene.verdict().await;
            assert_eq!(failure_of(&verdict, number), FailureKind::K6Hung);
            assert_eq!((verdict.exit_code, verdict.status.as_str()), (96, "timed out"));
            assert!(verdict.reasons[0].message.contains("was not ready"), "{:?}", verdict.reasons);
            nobody_started(scene);
            assert!(scene.time.elapsed() < seconds(90), "{:?}", scene.time.elapsed());
        });
    }
}

#[test]
fn a_k6_that_never_ends_is_ended_at_its_deadline() {
    for number in [1, 2] {
        Test::of(2).with(number, |k6| k6.lasts = Duration::MAX).play(async |scene| {
            let verdict = scene.verdict().await;
            assert_eq!(failure_of(&verdict, number), FailureKind::K6Hung);
            assert!(verdict.reasons[0].message.contains("did not end"), "{:?}", verdict.reasons);
            assert!(scene.time.elapsed() < seconds(60), "{:?}", scene.time.elapsed());
        });
    }
}

#[test]
fn a_process_that_does_not_end_is_killed() {
    for number in [1, 2] {
        Test::of(2).with(number, |k6| k6.hangs_at_exit = true).play(async |scene| {
            let verdict = scene.verdict().await;
            assert_eq!((verdict.outcome, verdict.exit_code), (Outcome::Invalid, 96), "{:?}", verdict.reasons);
            assert!(codes(&verdict).contains(&ReasonCode::WorkerFailed));
            assert_eq!(scene.whose(&Event::Killed), [u32::try_from(number).expect("small")]);
            assert!(scene.time.elapsed() < seconds(60), "{:?}", scene.time.elapsed());
        });
    }
}

#[test]
fn a_first_k6_that_dies_before_teardown_leaves_the_run_invalid_and_torn_down() {
    for exit in [ProcessExit::Signal(9), ProcessExit::Code(0), ProcessExit::Code(105)] {
        let dies = Moment::Ended(seconds(2));
        let test = Test::of(2).with(1, |k6| *k6 = k6.clone().dies(dies, exit, ""));
        test.with(2, |k6| k6.lasts = seconds(20)).play(async |scene| {
            let verdict = scene.verdict().await;
            failure_of(&verdict, 1);
            assert_eq!(scene.whose(&Event::Teardown), [SUBSTITUTE_OF_TWO], "{exit}");
            assert!(verdict.reasons[0].message.ends_with("; another k6 ran teardown()"), "{:?}", verdict.reasons);
        });
    }
}

#[test]
fn a_first_k6_that_ends_instead_of_lingering_leaves_the_run_invalid() {
    let dies = Moment::Resumed(seconds(4));
    let verdict = Test::of(2).with(1, |k6| *k6 = k6.clone().dies(dies, ProcessExit::Code(0), "")).verdict();
    assert_eq!(failure_of(&verdict, 1), FailureKind::Teardown);
}

#[test]
fn a_line_that_cannot_be_read_leaves_the_run_invalid() {
    let junk = (seconds(3), SampleLine::Raw(r#"{"metric":"http_reqs","type":"Poi"#.into()));
    let verdict = Test::of(2).with(2, |k6| k6.samples.push(junk)).verdict();
    assert_eq!((verdict.outcome, verdict.exit_code), (Outcome::Invalid, 96));
    assert_eq!((codes(&verdict), verdict.samples.refused), (vec![ReasonCode::LinesRefused], 1));
}
