//! What is to be run, and what is wrong with the world.

use std::{collections::BTreeMap, time::Duration};

use lambdaload_core::{
    ids::WorkerIndex,
    plan::Samples,
    ports::Printed,
    testing::{clock::run_virtual, fleet::Launch, generator::K6Script},
    verdict::Verdict,
};

use crate::scene::Scene;

/// The number of the k6 that tears down in a run of two workers whose first is gone.
pub(crate) const SUBSTITUTE_OF_TWO: u32 = 3;

/// Seconds of virtual time.
pub(crate) const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// The worker that people call so.
pub(crate) const fn worker(number: u32) -> WorkerIndex {
    WorkerIndex(number - 1)
}

/// What a script does to make traffic: ten requests a second, of which the slowest take 100 ms.
pub(crate) fn traffic(mut script: K6Script) -> K6Script {
    for tenth in 0..100_u32 {
        let at = Duration::from_millis(u64::from(tenth) * 100 + 50);
        let tags = format!(r#"{{"name":"page {}","status":"200","expected_response":"true"}}"#, tenth % 3);
        script = script
            .sample(at, "http_reqs", 1.0, &tags)
            .sample(at, "http_req_duration", f64::from(tenth + 1), &tags)
            .sample(at, "http_req_failed", 0.0, &tags)
            .sample(at, "iterations", 1.0, "{}");
    }
    script
}

/// What is to be run, and what is wrong with the world.
pub(crate) struct Test {
    /// What each worker's k6 does.
    pub(crate) scripts: Vec<K6Script>,
    /// The scenario's executor and VUs as JSON.
    pub(crate) executor: &'static str,
    /// The script's thresholds as JSON.
    pub(crate) thresholds: &'static str,
    /// How long the scenarios last by their options.
    pub(crate) duration: Duration,
    /// Launches that go otherwise.
    pub(crate) launches: Vec<(WorkerIndex, Launch)>,
    /// `--samples`.
    pub(crate) samples: Samples,
    /// `--min-workers`.
    pub(crate) min_workers: Option<u32>,
    /// Whether the fleet knows nothing of workers that have gone.
    pub(crate) blind: bool,
    /// Whether the ledger's first answers are out of date.
    pub(crate) stale: bool,
    /// Microseconds by which the clocks of workers are fast.
    pub(crate) fast_clocks: BTreeMap<WorkerIndex, i64>,
    /// What the k6 prints that calls the script's `handleSummary()`, and after how long; none for a script without one.
    pub(crate) handle_summary: Option<(Duration, Printed)>,
    /// When the clocks of everybody step, and by how many microseconds: all are on one machine.
    pub(crate) steps: Vec<(Duration, i64)>,
    /// Whether its plan is one for Lambda, with its pace and deadlines.
    pub(crate) on_lambda: bool,
}

impl Test {
    /// A run of so many workers, in which nothing goes wrong, without thresholds.
    pub(crate) fn of(workers: usize) -> Self {
        Self {
            scripts: vec![traffic(K6Script::default()); workers],
            executor: r#""executor":"constant-vus","vus":64"#,
            thresholds: "{}",
            duration: seconds(10),
            launches: Vec::new(),
            samples: Samples::Exact,
            blind: false,
            min_workers: None,
            stale: false,
            fast_clocks: BTreeMap::new(),
            handle_summary: None,
            steps: Vec::new(),
            on_lambda: false,
        }
    }

    /// Changes what one worker's k6 does.
    pub(crate) fn with(mut self, number: usize, change: impl FnOnce(&mut K6Script)) -> Self {
        change(&mut self.scripts[number - 1]);
        self
    }

    /// Lets a launch go otherwise.
    pub(crate) fn with_launch(mut self, number: u32, launch: Launch) -> Self {
        self.launches.push((worker(number), launch));
        self
    }

    /// Plays a scene of this test in virtual time.
    pub(crate) fn play<T>(self, scene: impl AsyncFnOnce(&Scene) -> T) -> T {
        run_virtual(|time| async move { scene(&Scene::new(self, &time)).await })
    }

    /// Runs to the verdict, and until all workers have left.
    pub(crate) fn verdict(self) -> Verdict {
        self.play(async |scene| scene.verdict().await)
    }
}
