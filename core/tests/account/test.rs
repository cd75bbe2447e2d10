//! What is to be run in an account.

use std::time::Duration;

use lambdaload_core::{
    ids::{RunId, WorkerIndex},
    plan::{FargateStack, Machine, Pace, Plan, Request, Workers},
    run::prepare::{Given, Prepared, Source, prepare},
    testing::{
        clock::VirtualTime,
        generator::{K6Script, ScriptedK6},
        stack,
    },
};

/// A threshold that all tests here hold or not together.
pub(crate) const HOLDS: &str = r#"{"http_req_duration":["p(95)<98"],"http_reqs":["count>99"]}"#;

/// Seconds of virtual time.
pub(crate) const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// The worker that people call so.
pub(crate) const fn worker(number: u32) -> WorkerIndex {
    WorkerIndex(number - 1)
}

/// The run of this number.
pub(crate) fn run_id(number: u32) -> RunId {
    RunId::parse(&format!("01JD8QZV3M4T5W6X7Y8Z9A{number:04}")).expect("an id")
}

/// A run of some workers, each of which makes ten requests a second for ten seconds.
#[derive(Clone)]
pub(crate) struct Test {
    pub(crate) id: RunId,
    pub(crate) scripts: Vec<K6Script>,
    pub(crate) thresholds: &'static str,
    /// How long the scenarios last by their options.
    pub(crate) duration: Duration,
    pub(crate) min_workers: Option<u32>,
    /// `--queue-timeout`.
    pub(crate) queue: Duration,
    /// Whether its workers are tasks; `Some(true)` on Spot.
    pub(crate) on_fargate: Option<bool>,
}

impl Test {
    /// The run of this number, of so many workers.
    pub(crate) fn of(number: u32, workers: usize) -> Self {
        Self {
            id: run_id(number),
            scripts: vec![traffic(K6Script::default()); workers],
            thresholds: HOLDS,
            duration: seconds(10),
            min_workers: None,
            queue: seconds(600),
            on_fargate: None,
        }
    }

    /// One that lasts so long.
    pub(crate) fn lasting(self, duration: Duration) -> Self {
        let mut test = Self { duration, ..self };
        test.scripts.iter_mut().for_each(|script| script.lasts = duration);
        test
    }

    /// Changes what one worker's k6 does.
    pub(crate) fn with(mut self, number: usize, change: impl FnOnce(&mut K6Script)) -> Self {
        change(&mut self.scripts[number - 1]);
        self
    }

    pub(crate) fn workers(&self) -> u32 {
        u32::try_from(self.scripts.len()).expect("a few")
    }

    /// The plan, with the pace of an account, and the k6 that all its workers have.
    pub(crate) async fn prepare(&self, time: &VirtualTime) -> (Prepared, ScriptedK6) {
        let options = format!(
            r#"{{"scenarios":{{"default":{{"executor":"constant-vus","vus":64,"duration":"{0}ms"}}}},
                "thresholds":{1},"totalDuration":"{0}ms","maxVUs":64}}"#,
            self.duration.as_millis(),
            self.thresholds,
        );
        let k6 = ScriptedK6::new(time, self.scripts.clone(), &options);
        let request = Request {
            script: "test.js".into(),
            workers: Workers::Exactly(self.workers()),
            min_workers: self.min_workers,
            ..Request::default()
        };
        let source = Source::Script { path: "test.js".into(), given: Given::default() };
        let machine = Machine { cores: 4, open_files: 1024 };
        if let Some(spot) = self.on_fargate {
            let stack = FargateStack { spot, capacity: 1_000, ..stack::fargate() };
            let mut prepared = prepare(&k6, source, request, stack).await.expect("prepares");
            prepared.plan.deadlines.queue = self.queue;
            return (prepared, k6);
        }
        let Prepared { plan, archive } = prepare(&k6, source, request, machine).await.expect("prepares");
        let pace = Pace { poll: seconds(1), flush: seconds(2), start_lead: seconds(4) };
        let mut plan = Plan { pace, ..plan };
        (plan.deadlines.queue, plan.deadlines.launch) = (self.queue, seconds(5));
        (Prepared { plan, archive }, k6)
    }
}

/// Ten requests a second, of which the slowest take 100 ms.
fn traffic(mut script: K6Script) -> K6Script {
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
