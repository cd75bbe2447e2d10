//! Every step may happen twice.

use lambdaload_core::{
    ids::Attempt,
    ports::{Fleet, WorkerTask},
    run::start::StartError,
    testing::faulty::{Fault, When},
    verdict::Verdict,
};

use crate::{
    scene::Scene,
    script::{Test, seconds, worker},
    usual::HOLDS,
};

fn test() -> Test {
    Test { thresholds: HOLDS, ..Test::of(3) }
}

#[test]
fn a_run_that_is_started_twice_is_one_run() {
    test().play(async |scene| {
        scene.start().await;
        let again = scene.try_to_start().await;
        assert!(matches!(again, Err(StartError::Update(_))), "{again:?}");
        let verdict = scene.aggregate().await.expect("a verdict");
        assert_eq!(verdict, test().verdict());
    });
}

#[test]
fn workers_that_are_launched_again_at_any_time_change_nothing() {
    let undisturbed = test().verdict();
    for at in [0, 1, 3, 12, 14] {
        test().play(async |scene| {
            scene.start().await;
            let aggregator = scene.aggregator();
            scene.at(seconds(at)).await;
            let again = |number| WorkerTask { run: scene.id.clone(), index: worker(number), attempt: Attempt(1) };
            assert_eq!(scene.fleet.launch(&[again(1), again(2), again(3)]).await, []);
            assert_eq!(aggregator.outcome().await.as_ref(), Ok(&undisturbed), "launched again at {at} s");
            scene.fleet.all_over().await;
        });
    }
}

/// The verdict of a run that is stopped so often.
async fn stopped(scene: &Scene, times: usize) -> Verdict {
    scene.start().await;
    let aggregator = scene.aggregator();
    scene.at(seconds(6)).await;
    for _ in 0..times {
        scene.stop(false).await;
    }
    aggregator.outcome().await.expect("a verdict")
}

#[test]
fn a_stop_that_comes_again_changes_nothing() {
    let once = test().play(async |scene| stopped(scene, 1).await);
    assert_eq!(test().play(async |scene| stopped(scene, 5).await), once);
}

#[test]
fn calls_that_are_all_repeated_change_nothing() {
    let repeated = test().play(async |scene| {
        scene.start().await;
        for faults in scene.everybodys_faults() {
            faults.store.add("", "", When::Always, Fault::Repeats);
            for calls in ["run", "replace_run", "replace_worker", "workers", "conclude", "verdict"] {
                faults.ledger.add(calls, "", When::Always, Fault::Repeats);
            }
        }
        scene.aggregate().await.expect("a verdict")
    });
    assert_eq!(repeated, test().verdict());
}
