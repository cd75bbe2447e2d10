//! Runs whose VUs are changed while they go on.

use std::time::Duration;

use lambdaload_core::{
    lifecycle::Phase,
    records::{RunRecord, Scaled},
    run::scale::{ScaleError, scale},
    testing::{
        faulty::{Fault, When},
        generator::Event,
    },
    verdict::Outcome,
};

use crate::{
    scene::Scene,
    script::{Test, seconds},
};

/// A minute of a scenario with 8 VUs of at most 64.
fn controlled(workers: usize) -> Test {
    let executor = r#""executor":"externally-controlled","vus":8,"maxVUs":64"#;
    let test = Test { duration: seconds(60), executor, ..Test::of(workers) };
    (1..=workers).fold(test, |test, number| test.with(number, |k6| k6.lasts = seconds(60)))
}

async fn scaled(scene: &Scene, vus: u64) -> Result<RunRecord, ScaleError> {
    scale(&scene.watch_ports(), &scene.id, vus).await
}

fn followers(scene: &Scene, vus: u64) -> Vec<u32> {
    let mut followers = scene.whose(&Event::Scaled(vus));
    followers.sort_unstable();
    followers
}

#[test]
fn all_workers_follow_each_with_its_share() {
    controlled(4).play(async |scene| {
        scene.start().await;
        let aggregator = scene.aggregator();
        scene.at(seconds(8)).await;
        let run = scaled(scene, 10).await.expect("scales");
        assert_eq!(run.scaled_vus(), Some(10));
        assert!(scene.time.elapsed() < seconds(10), "{:?}", scene.time.elapsed());
        assert_eq!(followers(scene, 10), [1, 2, 3, 4]);
        scene.at(seconds(20)).await;
        let live = aggregator.live();
        let live = live.last().expect("shown");
        assert_eq!((live.phase, live.vus, live.planned_vus), (Phase::Running, 10, Some(10)));
        scaled(scene, 0).await.expect("scales");
        let verdict = aggregator.outcome().await.expect("a verdict");
        assert_eq!(verdict.outcome, Outcome::NoThresholds, "{:?}", verdict.reasons);
        assert_eq!(followers(scene, 0), [1, 2, 3, 4]);
    });
}

#[test]
fn before_the_start_it_counts_from_the_start() {
    controlled(3).with(3, |k6| k6.ready_after = seconds(40)).play(async |scene| {
        scene.start().await;
        let aggregator = scene.aggregator();
        scene.at(Duration::from_millis(500)).await;
        scaled(scene, 20).await.expect("scales");
        assert!(scene.time.elapsed() >= seconds(40), "{:?}", scene.time.elapsed());
        assert_eq!(followers(scene, 20), [1, 2, 3]);
        let verdict = aggregator.outcome().await.expect("a verdict");
        assert_eq!(verdict.outcome, Outcome::NoThresholds, "{:?}", verdict.reasons);
        let vus = scene.when(|event| matches!(event, Event::Scaled(_)));
        let resumed = scene.when(|event| *event == Event::Resumed);
        assert!(vus.iter().all(|(at, _)| *at <= resumed[0].0), "{vus:?} {resumed:?}");
    });
}

#[test]
fn the_latest_wish_counts() {
    controlled(2).with(2, |k6| k6.deaf_to_scale_until = seconds(20)).play(async |scene| {
        scene.start().await;
        let aggregator = scene.aggregator();
        scene.at(seconds(5)).await;
        let first = scene.spawn_scale(3);
        scene.at(seconds(10)).await;
        scaled(scene, 6).await.expect("scales");
        assert!(matches!(first.lock().expect("whole").take(), Some(Err(ScaleError::Overtaken { vus: 6 }))));
        assert_eq!((followers(scene, 3), followers(scene, 6)), (vec![1], vec![1, 2]));
        drop(aggregator.outcome().await.expect("a verdict"));
    });
}

#[test]
fn a_ledger_that_fails_now_and_then_delays_it_and_no_more() {
    controlled(4).play(async |scene| {
        scene.start().await;
        let aggregator = scene.aggregator();
        scene.at(seconds(8)).await;
        // Whoever scales has the same ports as the aggregator here.
        scene.aggregator_faults.ledger.add("", "", When::Every(7), Fault::Fails);
        scene.aggregator_faults.ledger.add("replace_run", "", When::Every(2), Fault::AnswerIsLost);
        scene.faults_of(2).ledger.add("replace_worker", "", When::Between(seconds(8), seconds(14)), Fault::Fails);
        scene.faults_of(3).ledger.add("run", "", When::Every(2), Fault::Takes(Duration::from_millis(900)));
        scaled(scene, 12).await.expect("scales");
        assert!(scene.time.elapsed() >= seconds(14), "it waits for the word of worker 2");
        let mut last =
            scene.when(|event| matches!(event, Event::Scaled(12))).into_iter().map(|(_, n)| n).collect::<Vec<_>>();
        last.sort_unstable();
        last.dedup();
        assert_eq!(last, [1, 2, 3, 4]);
        let verdict = aggregator.outcome().await.expect("a verdict");
        assert_eq!(verdict.outcome, Outcome::NoThresholds, "{:?}", verdict.reasons);
    });
}

#[test]
fn a_k6_that_does_not_follow_is_named_and_asked_again() {
    controlled(3).with(2, |k6| k6.deaf_to_scale_until = seconds(46)).play(async |scene| {
        scene.start().await;
        let aggregator = scene.aggregator();
        scene.at(seconds(5)).await;
        let error = scaled(scene, 12).await.expect_err("worker 2 does not answer").to_string();
        assert_eq!(
            error,
            "1 of 3 workers had not followed after 30 s, and go on trying\nworker 2: k6 did not answer within 5 s"
        );
        assert_eq!(followers(scene, 12), [1, 3]);
        scene.at(seconds(55)).await;
        assert_eq!(followers(scene, 12), [1, 2, 3]);
        let verdict = aggregator.outcome().await.expect("a verdict");
        assert_eq!(verdict.outcome, Outcome::NoThresholds, "{:?}", verdict.reasons);
        let workers = scene.workers().await;
        assert!(workers.iter().all(|w| w.scaled == Some(Scaled { revision: 1, problem: None })), "{workers:?}");
    });
}

#[test]
fn a_k6_that_does_not_follow_still_obeys_a_stop() {
    controlled(3).with(2, |k6| k6.deaf_to_scale_until = seconds(300)).play(async |scene| {
        scene.start().await;
        let aggregator = scene.aggregator();
        scene.at(seconds(8)).await;
        let scaling = scene.spawn_scale(12);
        scene.at(seconds(10)).await;
        scene.stop(false).await;
        let verdict = aggregator.outcome().await.expect("a verdict");
        assert_eq!(verdict.exit_code, 105, "{:?}", verdict.reasons);
        let ended = scene.when(|event| *event == Event::IterationsEnded);
        assert!(ended.len() == 3 && ended.iter().all(|(at, _)| *at < seconds(12)), "{ended:?}");
        let refused = scaling.lock().expect("whole").take().expect("has ended").expect_err("stopped").to_string();
        assert_eq!(refused, "nothing is left to scale: the run is stopping (by user)");
    });
}

#[test]
fn what_cannot_be_scaled_is_refused_and_nothing_is_recorded() {
    let refused = async |scene: &Scene, vus| scaled(scene, vus).await.expect_err("refused").to_string();
    Test::of(2).play(async |scene| {
        scene.start().await;
        assert!(refused(scene, 1).await.starts_with("none of the scenarios of this run is externally-controlled"));
        assert_eq!(scene.run().scale, None);
    });
    // The run lasts ten seconds longer than the scenario by plan.
    let late = controlled(2).with(1, |k6| k6.lasts = seconds(70)).with(2, |k6| k6.lasts = seconds(70));
    late.play(async |scene| {
        scene.start().await;
        let aggregator = scene.aggregator();
        scene.at(seconds(5)).await;
        let many = "65 VUs are too many: the script allows scenario `default` at most 64 (its maxVUs)";
        assert_eq!(refused(scene, 65).await, many);
        scene.at(seconds(65)).await;
        assert_eq!(refused(scene, 5).await, "nothing is left to scale: scenario `default` is over");
        drop(aggregator.outcome().await.expect("a verdict"));
        assert_eq!(refused(scene, 5).await, "nothing is left to scale: the run is finished");
        assert_eq!(scene.run().scale, None);
        assert_eq!(scene.when(|event| matches!(event, Event::Scaled(_))), []);
    });
}
