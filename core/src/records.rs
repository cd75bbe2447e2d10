//! What the ledger keeps: a record per run and a record per worker.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    ids::{Attempt, RunId, WorkerIndex},
    k6::exit::ProcessExit,
    lifecycle::RunState,
    plan::Plan,
    run::notify::Recipient,
    schedule::Origin,
    timestamp::Timestamp,
};

/// A run. Several parties change it, so it is replaced only by who has seen its latest version.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunRecord {
    /// Its id.
    pub id: RunId,
    /// Grows by one with every change; whoever replaces the record names the version that was read.
    pub version: u64,
    /// When it was recorded.
    pub created_at: Timestamp,
    /// Where it is.
    pub state: RunState,
    /// What was decided.
    pub plan: Plan,
    /// The common start T0, by wall clock; written once.
    pub start_at: Option<Timestamp>,
    /// Whom the aggregator has asked to run `teardown()`: the first worker, or its substitute
    /// ([`Plan::substitute`]) if that is gone.
    pub teardown_by: Option<WorkerIndex>,
    /// Who has begun to run `teardown()`. Of all who might, the one that could write its name here does.
    pub teardown_begun: Option<WorkerIndex>,
    /// Workers that the run goes on without, because `--min-workers` bears their loss, and what became of them, for
    /// people. They leave when they see it.
    pub left_out: BTreeMap<WorkerIndex, String>,
    /// Changes as long as the aggregator lives. Workers compare it with what they saw before, never with a clock.
    pub aggregator_beat: u64,
    /// How many VUs somebody wants of the scenario that can be controlled; none if nobody has said so yet.
    #[serde(default)]
    pub scale: Option<Scale>,
    /// How many aggregators came before the one that conducts the run now. One that sees a later one leaves.
    #[serde(default)]
    pub succession: u32,
    /// How often the reaper has called somebody again, because who had been called died.
    #[serde(default)]
    pub rescues: u32,
    /// When the run is over in any case, by wall clock; set when its workers are called.
    #[serde(default)]
    pub ends_by: Option<Timestamp>,
    /// Of what schedule it is; none if a person has started it by itself.
    #[serde(default)]
    pub origin: Option<Origin>,
    /// The run of the same schedule that has to be over before this one begins.
    #[serde(default)]
    pub after: Option<RunId>,
    /// Who is told its verdict.
    #[serde(default)]
    pub notice: Option<Recipient>,
}

impl RunRecord {
    /// VUs that somebody wants of the scenario that can be controlled.
    pub fn scaled_vus(&self) -> Option<u64> {
        self.scale.map(|scale| scale.vus)
    }
}

/// A wish for so many VUs of the scenario that can be controlled, over all workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scale {
    /// Grows by one with every wish; a worker follows the latest.
    pub revision: u64,
    /// VUs.
    pub vus: u64,
}

/// How a worker has followed a wish for VUs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scaled {
    /// Which wish.
    pub revision: u64,
    /// Why its k6 has not followed yet; none once it has.
    pub problem: Option<String>,
}

/// One worker. Only the worker itself changes its record, after it has claimed it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WorkerRecord {
    /// The run.
    pub run: RunId,
    /// Which worker.
    pub index: WorkerIndex,
    /// Its attempt.
    pub attempt: Attempt,
    /// Which process has claimed it; see [`crate::run::work::WorkPorts::claimant`].
    pub claimant: String,
    /// Where it is.
    pub phase: WorkerPhase,
    /// Grows by one with every renewal of the lease; the aggregator compares it with what it saw before.
    pub beat: u64,
    /// Whether `setup()` has run here, and its data is in the store; of the first worker only.
    pub set_up: bool,
    /// The sequence number of the last chunk that is in the store; 0 for none.
    pub chunks: u32,
    /// How long its k6 had run when the last of these was cut, by the worker's monotonic clock; in microseconds. None before
    /// its k6 was resumed.
    #[serde(default)]
    pub measured_micros: Option<u64>,
    /// The worker's clock less T0 at the moment its k6 was resumed, in microseconds.
    pub skew_micros: Option<i64>,
    /// When k6 was resumed, by the worker's clock.
    pub resumed_at: Option<Timestamp>,
    /// When its iterations were over: so long after it was resumed as its monotonic clock says.
    pub ended_at: Option<Timestamp>,
    /// What went wrong.
    pub failure: Option<Failure>,
    /// The last wish for VUs that it has heard of.
    #[serde(default)]
    pub scaled: Option<Scaled>,
    /// How long its k6 ran, from being resumed to the end of its iterations, by the worker's monotonic clock; in
    /// microseconds. The wall may have stepped in between.
    pub ran_for_micros: Option<u64>,
}

/// Where a worker is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum WorkerPhase {
    /// Has claimed its segment; k6 is being started.
    Claimed,
    /// k6 has made its VUs and waits paused; the first worker has run `setup()`.
    Ready,
    /// k6 was resumed.
    Running,
    /// The iterations are over; the first worker waits to run `teardown()`.
    Ended,
    /// Everything is uploaded, the closing record too. Nothing changes any more.
    Closed,
}

/// What went wrong with a worker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Failure {
    /// What kind of thing.
    pub kind: FailureKind,
    /// What happened, for people.
    pub message: String,
    /// How k6 ended, if it did.
    pub exit: Option<ProcessExit>,
    /// k6's own error messages.
    pub log: Vec<String>,
}

/// What kind of thing went wrong with a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    /// k6 could not be started, or ended before it was ready.
    K6DidNotStart,
    /// `setup()` failed or took too long.
    Setup,
    /// `teardown()` failed or took too long.
    Teardown,
    /// k6 ended with an exit code or signal that neither the script nor we asked for.
    K6Failed,
    /// The script ended the test: `exec.test.abort()`.
    ScriptAborted,
    /// The script called the test failed: `exec.test.fail()`.
    ScriptFailed,
    /// k6 did not end in time and was killed.
    K6Hung,
    /// The worker could not reach the store or the ledger.
    Store,
    /// The worker found no sign of its aggregator for too long, or the run went on without it, and stopped.
    Abandoned,
    /// The runtime was about to end the worker, which stopped its k6 before.
    OutOfTime,
    /// The runtime took the worker away with notice, and it stopped its k6 before: Spot capacity, a stopped task.
    Taken,
    /// The worker stopped giving signs of life, or its end was reported by whoever ran it.
    Lost,
    /// The worker could not be launched.
    NotLaunched,
}

impl RunRecord {
    /// A run that is about to be recorded.
    pub fn new(id: RunId, created_at: Timestamp, plan: Plan) -> Self {
        Self {
            id,
            version: 1,
            created_at,
            state: RunState::new(),
            plan,
            start_at: None,
            teardown_by: None,
            teardown_begun: None,
            left_out: BTreeMap::new(),
            scale: None,
            aggregator_beat: 0,
            succession: 0,
            rescues: 0,
            ends_by: None,
            origin: None,
            after: None,
            notice: None,
        }
    }
}

impl WorkerRecord {
    /// A worker that claims its segment.
    pub fn claim(run: RunId, index: WorkerIndex, attempt: Attempt) -> Self {
        Self {
            run,
            index,
            attempt,
            claimant: String::new(),
            phase: WorkerPhase::Claimed,
            beat: 0,
            set_up: false,
            chunks: 0,
            measured_micros: None,
            skew_micros: None,
            resumed_at: None,
            ended_at: None,
            failure: None,
            scaled: None,
            ran_for_micros: None,
        }
    }
}
