//! The image of workers, run: real containers of it with the limits of a task, real k6, a strict S3 and a strict DynamoDB.

#![expect(clippy::expect_used, reason = "these are tests")]

mod containers;
mod needs;
mod scene;
#[path = "../servers/mod.rs"]
mod servers;

use std::time::Duration;

use lambdaload_core::{records::FailureKind, verdict::Outcome};
use lambdaload_tests::{fixture, target::Target};

use crate::{
    containers::{Containers, Limits},
    scene::{Scene, within_deadline},
};

/// The smallest that Fargate has.
const SMALLEST: Limits = Limits { cpus: "0.25", memory_mb: 512 };

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the servers of `cargo xtask servers`"]
async fn eight_containers_give_the_verdict_within_the_limits_of_a_task() {
    let Some(containers) = Containers::start(SMALLEST) else { return };
    let target = Target::start();
    let url = containers::reachable(&target.url());
    let scene = Scene::start(containers, &fixture("deterministic.js"), &[("VUS", "8"), ("TARGET", &url)], 8).await;
    let containers = &scene.containers;
    let (verdict, ()) = tokio::join!(scene.verdict(), async {
        for number in 1..=8 {
            let worker = containers.process(number).await;
            // What the image is told to be, by the kernel's word.
            assert_eq!((worker.uid.as_str(), worker.capabilities.as_str()), ("10001", "0000000000000000"));
            assert_eq!((worker.memory_limit(), worker.cpu_quota()), (512 << 20, 25_000));
        }
    });
    assert_eq!(verdict.outcome, Outcome::Passed, "{:?}\n{}", verdict.reasons, containers.said());
    assert_eq!((verdict.workers.len(), verdict.samples.missing.len()), (8, 0));
    let requests = target.requests();
    assert!(requests.len() == 200 && requests.values().all(|count| *count == 1), "{requests:?}");
    assert_eq!(containers.exit_codes(), [0; 8], "{}", containers.said());
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the servers of `cargo xtask servers`"]
async fn a_container_that_is_stopped_uploads_all_and_says_so() {
    let Some(containers) = Containers::start(SMALLEST) else { return };
    let scene = Scene::start(containers, &fixture("steady.js"), &[("DURATION", "150s")], 3).await;
    let containers = &scene.containers;
    let (verdict, ()) = tokio::join!(scene.verdict(), async {
        within_deadline("all run", scene.all_run()).await;
        containers.stop(2).await;
    });
    assert_eq!(containers.exit_codes(), [0; 3], "{}", containers.said());
    assert_eq!(verdict.outcome, Outcome::Invalid);
    let taken: Vec<_> =
        verdict.workers.iter().filter_map(|w| Some((w.index.number(), w.failure.as_ref()?.kind))).collect();
    assert_eq!(taken, [(2, FailureKind::Taken)], "{:?}", verdict.reasons);
    // All that it had measured is there.
    assert_eq!((verdict.samples.read, verdict.samples.missing.len()), (verdict.samples.merged, 0));
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the servers of `cargo xtask servers`"]
async fn a_container_that_is_killed_is_named() {
    let Some(containers) = Containers::start(SMALLEST) else { return };
    let scene = Scene::start(containers, &fixture("steady.js"), &[("DURATION", "150s")], 3).await;
    let containers = &scene.containers;
    let started = std::time::Instant::now();
    let (verdict, ()) = tokio::join!(scene.verdict(), async {
        within_deadline("all run", scene.all_run()).await;
        containers.kill(3).await;
    });
    assert_eq!(verdict.outcome, Outcome::Invalid);
    assert!(verdict.reasons.iter().any(|reason| reason.worker == Some(3)), "{:?}", verdict.reasons);
    assert!(started.elapsed() < Duration::from_secs(140), "the run was not stopped when a worker was lost");
}
