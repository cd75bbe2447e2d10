//! When waiting ends, and how often things are looked at.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{
    ids::WorkerIndex,
    k6::options::Options,
    millis,
    plan::{INVOCATION, Plan, Platform, most_vus_of_a_worker},
};

/// For process start and init code, however few VUs there are.
const START: Duration = Duration::from_mins(1);

/// The same where time is short: on Lambda, for tests that need nearly all of it.
const SHORT_START: Duration = Duration::from_secs(30);

/// How long k6 may take to say that a script has no `setup()` or `teardown()`.
const NO_HOOK: Duration = Duration::from_secs(5);

/// When waiting ends. Every state of a run has one of these and a reason to give when it passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deadlines {
    /// For room in the account; 0 where nobody waits for it.
    #[serde(default, with = "millis")]
    pub queue: Duration,
    /// From the call of a worker until it runs; 0 where workers are processes.
    #[serde(default, with = "millis")]
    pub launch: Duration,
    /// From the launch of a worker until it is ready.
    #[serde(with = "millis")]
    pub ready: Duration,
    /// For `setup()`, over k6's own limit for it.
    #[serde(with = "millis")]
    pub setup: Duration,
    /// From the start until k6's scenarios have ended: the planned duration and what a k6 that still lives may be late.
    #[serde(with = "millis")]
    pub run: Duration,
    /// For `teardown()`, over k6's own limit for it.
    #[serde(with = "millis")]
    pub teardown: Duration,
    /// From asking k6 to stop until it is killed.
    #[serde(with = "millis")]
    pub stop: Duration,
    /// For a worker's last words, once its k6 has gone.
    #[serde(default, with = "millis")]
    pub upload: Duration,
    /// A worker whose beat has not changed for so long is lost; a worker that finds no sign of its aggregator for three
    /// times as long stops its k6.
    #[serde(with = "millis")]
    pub lost: Duration,
}

/// How often things are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pace {
    /// Between two looks at the ledger.
    #[serde(with = "millis")]
    pub poll: Duration,
    /// Between two chunks of a worker.
    #[serde(with = "millis")]
    pub flush: Duration,
    /// From writing the common start T0 until T0: long enough for every worker to see it.
    #[serde(with = "millis")]
    pub start_lead: Duration,
}

impl Deadlines {
    pub(super) fn new(
        options: &Options,
        vus_per_worker: u64,
        platform: &Platform,
        queue: Duration,
        pace: &Pace,
    ) -> Self {
        let (queue, launch, late) = match platform {
            Platform::Local => (Duration::ZERO, Duration::ZERO, Duration::from_secs(20)),
            Platform::Lambda(_) => (queue, Duration::from_secs(5), Duration::from_secs(10)),
            // Each task pulls its image and gets a network interface, and of a thousand the last is begun after 45 s.
            Platform::Fargate(_) => (queue, Duration::from_mins(5), Duration::from_secs(10)),
        };
        Self {
            queue,
            launch,
            ready: ready(START, vus_per_worker),
            setup: options.setup_timeout().saturating_add(Duration::from_secs(5)),
            run: options.total_duration.saturating_add(late),
            teardown: options.teardown_timeout().saturating_add(Duration::from_secs(5)),
            stop: Duration::from_secs(10),
            upload: Duration::from_secs(15),
            // Some beats may go missing.
            lost: Duration::from_secs(10).max(pace.flush * 4),
        }
    }

    /// From the call of a worker until it is ready, wherever it is.
    pub fn begun_and_ready(&self) -> Duration {
        self.launch.saturating_add(self.ready)
    }

    /// How long before its time ends a worker must begin to leave: k6 is asked to stop, killed if it does not, and what
    /// is left is uploaded.
    pub fn leaving(&self) -> Duration {
        self.stop + self.upload
    }
}

/// A large init code takes about 20 ms for each VU.
fn ready(start: Duration, vus: u64) -> Duration {
    start.saturating_add(Duration::from_millis(vus.saturating_mul(20)))
}

/// The aggregator looks once a second at least.
const LOOK: Duration = Duration::from_secs(1);

impl Pace {
    /// Looks are spaced so that N workers together ask the ledger a bounded number of times per second.
    pub(super) fn of(workers: u32, platform: &Platform) -> Self {
        let millis =
            |per_worker: u64, least, most| Duration::from_millis((u64::from(workers) * per_worker).clamp(least, most));
        match platform {
            Platform::Local => {
                let poll = millis(1, 100, 1_000);
                let start_lead = poll * 2 + Duration::from_millis(300);
                Self { poll, flush: Duration::from_secs(1).max(poll), start_lead }
            }
            // One partition of DynamoDB, which has all records of a run, takes 1,000 writes and 3,000 reads a second (of
            // 1 and 4 kB). More than 2 s between looks would be too long for a stop to be obeyed within 3 s.
            Platform::Lambda(_) | Platform::Fargate(_) => {
                let poll = millis(2, 1_000, 2_000);
                // The write of T0 may be slow, what is read may be old, and data of `setup()` is fetched before the start.
                let start_lead = poll * 2 + Duration::from_secs(2);
                Self { poll, flush: millis(4, 2_000, 60_000), start_lead }
            }
        }
    }

    /// From a worker's start until its first chunk. Each has a place of its own in the time between two chunks: what is
    /// launched within a second would else be stored, named and read within one second of every few.
    pub fn first_flush(&self, worker: WorkerIndex, workers: u32) -> Duration {
        let workers = workers.max(1);
        self.flush * (worker.0 % workers + 1) / workers
    }

    /// Between two looks of the aggregator, and two live states: there is but one, so it need not wait as long as all workers
    /// together must.
    pub fn look(&self) -> Duration {
        self.poll.min(LOOK)
    }
}

impl Plan {
    /// Takes in what is known of the script's code, which Lambda's time is too short to leave out.
    pub(crate) fn with_hooks(mut self, has_setup: bool, has_teardown: bool) -> Self {
        self.has_teardown = has_teardown;
        if self.platform.lambda().is_some() {
            let deadlines = &mut self.deadlines;
            deadlines.setup = if has_setup { deadlines.setup } else { NO_HOOK };
            deadlines.teardown = if has_teardown { deadlines.teardown } else { NO_HOOK };
            self.use_spare_time();
        }
        self
    }

    /// Workers have longer to get ready if that does not cut the test short.
    pub(super) fn use_spare_time(&mut self) {
        if self.platform.lambda().is_some() {
            let (usual, least) = (self.ready_after(START), self.ready_after(SHORT_START));
            let spare = INVOCATION.saturating_sub(self.life(least));
            self.deadlines.ready = usual.min(least + spare);
        }
    }

    fn ready_after(&self, start: Duration) -> Duration {
        ready(start, most_vus_of_a_worker(&self.scenarios, self.workers))
    }

    /// How long a worker may live, from when it runs until it has closed.
    pub fn worker_life(&self) -> Duration {
        self.life(self.deadlines.ready)
    }

    fn life(&self, ready: Duration) -> Duration {
        let Deadlines { launch, setup, run, teardown, stop, .. } = self.deadlines;
        // Others may be launched later, and the first worker waits for the last one's end.
        let parts = [launch, ready, setup, self.pace.start_lead, run, stop, teardown, self.deadlines.leaving()];
        sum(&parts)
    }

    /// How long the scenarios might last here, graceful stops included; none where there is no limit.
    pub fn longest(&self) -> Option<Duration> {
        self.platform.lambda()?;
        let rest = self.life(self.ready_after(SHORT_START)).saturating_sub(self.duration);
        Some(INVOCATION.saturating_sub(rest))
    }

    /// From the moment that there is room for the run until it is over in any case: no deadline of any state is left. The
    /// time for which it may wait for room comes before.
    pub fn latest_end(&self) -> Duration {
        let Deadlines { launch, ready, setup, run, teardown, stop, lost, .. } = self.deadlines;
        let teardown_by_a_substitute = sum(&[launch, ready, teardown]);
        let told_to_stop = sum(&[stop * 3, lost]);
        sum(&[
            launch,
            ready,
            setup,
            self.pace.start_lead,
            run,
            stop,
            // As long as it is tried to ask a substitute.
            lost * 3,
            teardown_by_a_substitute,
            stop,
            lost,
            // The last phase may end by being stopped.
            told_to_stop,
            teardown_by_a_substitute,
            // For the verdict.
            Duration::from_secs(30),
        ])
    }
}

fn sum(parts: &[Duration]) -> Duration {
    parts.iter().fold(Duration::ZERO, |sum, part| sum.saturating_add(*part))
}
