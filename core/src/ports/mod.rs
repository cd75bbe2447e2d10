//! What a run needs of the world: five ports, in the words of the services behind them.
//!
//! Each method says what is true once it has returned. Every call may be repeated: edges are at-least-once.

mod generator;
pub mod keys;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::{
    ids::{Attempt, RunId, WorkerIndex},
    records::{FailureKind, RunRecord, WorkerRecord},
    run::{fire::FireRequest, notify::Message},
    schedule::{ScheduleName, StoredTest},
    slots::Slots,
    verdict::Verdict,
};

pub use generator::{
    Generator, GeneratorControl, GeneratorError, GeneratorPhase, GeneratorSpec, HookError, LoadGenerator, Piece,
    Printed, SampleStream, ScriptInputs, SummarySpec, Unwritten,
};

pub use crate::timestamp::Timestamp;

/// An error of whatever stands behind a port, in its own words.
pub type Cause = Box<dyn std::error::Error + Send + Sync>;

/// Time.
#[async_trait]
pub trait Clock: Send + Sync {
    /// What the clock on the wall says; it may step.
    fn now(&self) -> Timestamp;
    /// Time since some fixed moment; it never goes back. Deadlines and leases are measured by it.
    fn monotonic(&self) -> Duration;
    /// Returns when at least `duration` has passed.
    async fn sleep(&self, duration: Duration);
}

/// Why an object could not be put or got.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// There is an object under this key already.
    #[error("there is already an object `{0}`")]
    AlreadyExists(String),
    /// There is no object under this key.
    #[error("there is no object `{0}`")]
    NotFound(String),
    /// The store did not do what it should.
    #[error("{operation} `{key}`: {cause}")]
    Unavailable {
        /// What was tried.
        operation: &'static str,
        /// The object.
        key: String,
        /// What the store said.
        #[source]
        cause: Cause,
    },
}

/// Objects: bytes under keys with slashes.
#[async_trait]
pub trait ObjectStore: Send + Sync {
    /// Stores a new object, whole or not at all; refuses a key that has one. Once it returns, everybody can get it.
    async fn put_new(&self, key: &str, bytes: Vec<u8>) -> Result<(), StoreError>;
    /// Stores an object, whole or not at all, in place of any before it: for what is only ever looked at live.
    async fn put(&self, key: &str, bytes: Vec<u8>) -> Result<(), StoreError>;
    /// The object's bytes.
    async fn get(&self, key: &str) -> Result<Vec<u8>, StoreError>;
    /// Whether there is such an object. Stores that can tell without reading it should.
    async fn has(&self, key: &str) -> Result<bool, StoreError> {
        match self.get(key).await {
            Ok(_) => Ok(true),
            Err(StoreError::NotFound(_)) => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// Why the ledger did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// There is no such run.
    #[error("there is no run {0}; `lambdaload runs list` shows those there are")]
    NoSuchRun(RunId),
    /// There is such a run, or worker, already.
    #[error("{0} is already there")]
    AlreadyExists(String),
    /// The record was changed by somebody else since it was read.
    #[error("{0} was changed by somebody else")]
    Conflict(String),
    /// The ledger did not do what it should.
    #[error("{operation}: {cause}")]
    Unavailable {
        /// What was tried.
        operation: &'static str,
        /// What the ledger said.
        #[source]
        cause: Cause,
    },
}

/// One line of the list of runs.
#[derive(Clone, Debug, PartialEq)]
pub struct RunSummary {
    /// The run.
    pub record: RunRecord,
    /// Its verdict, if it has one.
    pub verdict: Option<Verdict>,
}

/// Records of runs and workers.
#[async_trait]
pub trait Ledger: Send + Sync {
    /// Records a new run. From here on it exists: it can be watched, stopped and concluded.
    async fn create_run(&self, run: &RunRecord) -> Result<(), LedgerError>;
    /// The latest record of a run.
    async fn run(&self, id: &RunId) -> Result<RunRecord, LedgerError>;
    /// Replaces a run's record if the stored version is `run.version`, and stores it as `run.version + 1`, which is
    /// returned; otherwise [`LedgerError::Conflict`], and nothing has changed.
    async fn replace_run(&self, run: &RunRecord) -> Result<RunRecord, LedgerError>;
    /// Records a worker that begins. Of any number that claim one segment one gets it, the others
    /// [`LedgerError::AlreadyExists`] and must leave. The same record again is the same claim, of which the answer was lost.
    async fn claim_worker(&self, worker: &WorkerRecord) -> Result<(), LedgerError>;
    /// Replaces the record of a worker that was claimed with the same attempt; otherwise [`LedgerError::Conflict`]. A
    /// record with an older beat than the stored one comes late and changes nothing.
    async fn replace_worker(&self, worker: &WorkerRecord) -> Result<(), LedgerError>;
    /// The records of all workers that were claimed, in any order.
    async fn workers(&self, run: &RunId) -> Result<Vec<WorkerRecord>, LedgerError>;
    /// Writes the verdict if there is none, and returns the one that is there then: this or an earlier one.
    async fn conclude(&self, run: &RunId, verdict: &Verdict) -> Result<Verdict, LedgerError>;
    /// The verdict, if there is one.
    async fn verdict(&self, run: &RunId) -> Result<Option<Verdict>, LedgerError>;
    /// The latest runs, latest first, at most `limit`.
    async fn latest_runs(&self, limit: usize) -> Result<Vec<RunSummary>, LedgerError>;
}

/// The one book of slots of a deployment.
#[async_trait]
pub trait SlotBook: Send + Sync {
    /// The book as it is now; [`Slots::default`] if nothing was ever written.
    async fn slots(&self) -> Result<Slots, LedgerError>;
    /// Replaces the book if the stored version is `slots.version`, and stores it as `slots.version + 1`, which is
    /// returned; otherwise [`LedgerError::Conflict`], and nothing has changed.
    async fn replace_slots(&self, slots: &Slots) -> Result<Slots, LedgerError>;
}

/// The tests that schedules start.
#[async_trait]
pub trait StoredTests: Send + Sync {
    /// Stores a new one, under a name that has none; otherwise [`LedgerError::AlreadyExists`].
    async fn create(&self, test: &StoredTest) -> Result<(), LedgerError>;
    /// The latest revision of one; none if there is none (any more).
    async fn test(&self, name: &ScheduleName) -> Result<Option<StoredTest>, LedgerError>;
    /// Replaces a test if the stored revision is `test.revision`, and stores it as `test.revision + 1`, which is returned;
    /// otherwise, and if there is none, [`LedgerError::Conflict`], and nothing has changed.
    async fn replace(&self, test: &StoredTest) -> Result<StoredTest, LedgerError>;
    /// Deletes one. Doing so twice does no harm.
    async fn delete(&self, name: &ScheduleName) -> Result<(), LedgerError>;
    /// All of them, by name.
    async fn all(&self) -> Result<Vec<StoredTest>, LedgerError>;
}

/// What tells people.
#[async_trait]
pub trait Notifier: Send + Sync {
    /// Sends a message to a topic, which is named by its ARN.
    async fn publish(&self, topic: &str, message: &Message) -> Result<(), CallError>;
}

/// What an aggregator is told when it is called.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AggregatorTask {
    /// The run.
    pub run: RunId,
    /// How many aggregators of this run were called before.
    pub succession: u32,
}

/// One of the other functions could not be called.
#[derive(Debug, thiserror::Error)]
#[error("{operation}: {cause}")]
pub struct CallError {
    /// What was tried.
    pub operation: &'static str,
    /// What the service said.
    #[source]
    pub cause: Cause,
}

/// The other functions of a deployment. A call is accepted, not answered: what was called may come late, twice, or not at
/// all, and says so itself in the ledger.
#[async_trait]
pub trait Functions: Send + Sync {
    /// Calls an aggregator.
    async fn aggregate(&self, task: &AggregatorTask) -> Result<(), CallError>;
    /// Calls the launcher for a run that has waited and has room now.
    async fn launch(&self, run: &RunId) -> Result<(), CallError>;
    /// Calls the launcher in the place of a schedule, whose own call came to nothing.
    async fn fire(&self, request: &FireRequest) -> Result<(), CallError>;
    /// Has the reaper look at a run at some moment, to about a minute. `name` tells one appointment of a run from another;
    /// making one again leaves it as it is.
    async fn reap_at(&self, run: &RunId, name: &'static str, at: Timestamp) -> Result<(), CallError>;
}

/// Where a worker begins: all it needs to be told; the rest is in ledger and store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerTask {
    /// The run.
    pub run: RunId,
    /// Which worker.
    pub index: WorkerIndex,
    /// Its attempt.
    pub attempt: Attempt,
}

/// A worker of which the fleet knows that it will do nothing (more).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FleetLoss {
    /// Which worker.
    pub index: WorkerIndex,
    /// Whether it never began, or what its end was.
    pub kind: FailureKind,
    /// What the fleet knows, for people: `its process was killed by signal 9`.
    pub message: String,
}

/// What starts and stops workers.
#[async_trait]
pub trait Fleet: Send + Sync {
    /// Starts workers. Those that could not be started are returned; the others may have started, and say so themselves
    /// by claiming their segment.
    async fn launch(&self, tasks: &[WorkerTask]) -> Vec<FleetLoss>;
    /// Workers that the fleet knows to have gone, whatever they had done by then. A fleet that cannot know says nothing.
    async fn gone(&self) -> Vec<FleetLoss>;
    /// Ends all workers at once, as far as the fleet can. Workers that cannot be reached end themselves when they see
    /// the run's record.
    async fn kill_all(&self);
}

/// The fleets of a deployment, of which each run has one.
pub trait Fleets: Send + Sync {
    /// The one of this run, whose plan says where its workers are.
    fn of(&self, run: &RunRecord) -> Arc<dyn Fleet>;
}
