//! When waiting ends, and how often things are looked at.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{k6::options::Options, millis, plan::Plan};

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
    /// Between two chunks of a worker, and two live states of the aggregator.
    #[serde(with = "millis")]
    pub flush: Duration,
    /// From writing the common start T0 until T0: long enough for every worker to see it.
    #[serde(with = "millis")]
    pub start_lead: Duration,
}

impl Deadlines {
    pub(super) fn new(options: &Options, vus_per_worker: u64) -> Self {
        // A minute for process start and init code, and 20 ms for each VU: a large init code takes about that.
        let ready = Duration::from_mins(1) + Duration::from_millis(vus_per_worker.saturating_mul(20));
        Self {
            queue: Duration::ZERO,
            launch: Duration::ZERO,
            ready,
            setup: options.setup_timeout() + Duration::from_secs(5),
            run: options.total_duration + Duration::from_secs(20),
            teardown: options.teardown_timeout() + Duration::from_secs(5),
            stop: Duration::from_secs(10),
            upload: Duration::from_secs(15),
            lost: Duration::from_secs(10),
        }
    }

    /// How long before its time ends a worker must begin to leave: k6 is asked to stop, killed if it does not, and what
    /// is left is uploaded.
    pub fn leaving(&self) -> Duration {
        self.stop + self.upload
    }
}

impl Pace {
    /// Looks are spaced so that N workers together ask the ledger a bounded number of times per second.
    pub(super) fn of(workers: u32) -> Self {
        let poll = Duration::from_millis(u64::from(workers).clamp(100, 1_000));
        Self { poll, flush: Duration::from_secs(1).max(poll), start_lead: poll * 2 + Duration::from_millis(300) }
    }
}

impl Plan {
    /// How long a worker may live, from when it runs until it has closed.
    pub fn worker_life(&self) -> Duration {
        let Deadlines { launch, ready, setup, run, teardown, stop, .. } = self.deadlines;
        // Others may be launched later, and the first worker waits for the last one's end.
        sum(&[launch, ready, setup, self.pace.start_lead, run, stop, teardown, self.deadlines.leaving()])
    }

    /// From the moment that there is room for the run until it is over in any case: no deadline of any state is left. The
    /// time for which it may wait for room comes before.
    pub fn latest_end(&self) -> Duration {
        let Deadlines { launch, ready, setup, run, teardown, stop, lost, .. } = self.deadlines;
        let teardown_by_a_substitute = sum(&[ready, teardown]);
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
