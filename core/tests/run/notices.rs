//! Workers whose runtime says that it ends them soon.

use lambdaload_core::{
    records::FailureKind,
    testing::generator::Event,
    verdict::{Outcome, ReasonCode, Verdict},
};

use crate::{
    scene::{Scene, codes},
    script::{Test, seconds, worker},
};

const TOLD: &str = "it was told to end (SIGTERM): somebody stopped its task, or AWS retires the machine";

/// The verdict, if a worker is given notice when so much time has passed.
async fn told(scene: &Scene, number: u32, second: u64) -> Verdict {
    scene.start().await;
    let aggregator = scene.aggregator();
    scene.at(seconds(second)).await;
    scene.fleet.give_notice(worker(number));
    let verdict = aggregator.outcome().await.expect("a verdict");
    scene.fleet.all_over().await;
    verdict
}

#[test]
fn a_worker_that_is_told_to_end_stops_its_k6_and_uploads_all() {
    for (number, hangs) in [(1, false), (2, false), (2, true)] {
        let test = Test { duration: seconds(300), ..Test::of(3) };
        let long = (1..=3).fold(test, |test, number| test.with(number, |k6| k6.lasts = seconds(300)));
        long.with(number as usize, |k6| (k6.ignores_interrupt, k6.ignores_stop) = (hangs, hangs)).play(async |scene| {
            let verdict = told(scene, number, 60).await;
            let failure = verdict.workers[number as usize - 1].failure.clone().expect("failed");
            assert_eq!(failure.kind, FailureKind::Taken);
            assert_eq!(failure.message, format!("{TOLD}; its k6 was stopped, and what it had measured is uploaded"));
            assert_eq!((verdict.outcome, codes(&verdict)[0]), (Outcome::Invalid, ReasonCode::WorkerLost));
            // Nothing of what it had measured is missing.
            assert_eq!((verdict.samples.read, verdict.samples.missing.len()), (verdict.samples.merged, 0));
            assert!(verdict.samples.read > 0);
            // What was set up is torn down, by somebody who has time for it.
            let by = if number == 1 { 4 } else { 1 };
            assert_eq!(scene.whose(&Event::Teardown), [by], "{number} {hangs}");
            assert!(scene.time.elapsed() < seconds(120), "{:?}", scene.time.elapsed());
        });
    }
}

#[test]
fn one_that_is_told_before_it_has_begun_starts_no_k6() {
    Test::of(2).play(async |scene| {
        scene.fleet.give_notice(worker(2));
        let verdict = scene.verdict().await;
        let failure = verdict.workers[1].failure.clone().expect("failed");
        assert_eq!(failure.message, format!("{TOLD}; k6 was not started"));
        assert_eq!((verdict.outcome, scene.whose(&Event::Started)), (Outcome::Invalid, vec![1]));
    });
}

#[test]
fn a_worker_that_was_taken_is_a_loss_that_can_be_accepted() {
    let test = Test { min_workers: Some(2), ..Test::of(3) };
    test.play(async |scene| {
        let verdict = told(scene, 3, 6).await;
        assert_eq!(codes(&verdict), [ReasonCode::LossAccepted], "{:?}", verdict.reasons);
        let message = &verdict.reasons[0].message;
        assert!(message.starts_with(&format!("worker 3: {TOLD}")), "{message}");
    });
}
