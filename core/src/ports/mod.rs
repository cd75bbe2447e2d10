//! What a run needs of the world: five ports, in the words of the services behind them.
//!
//! Each method says what is true once it has returned. Every call may be repeated: edges are at-least-once.

use std::{collections::BTreeMap, path::Path, sync::Arc, time::Duration};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::{
    ids::{Attempt, RunId, WorkerIndex},
    k6::{dependencies::Dependencies, exit::ProcessExit, version::K6Version},
    plan::Samples,
    records::{FailureKind, RunRecord, WorkerRecord},
    run::{fire::FireRequest, notify::Message},
    schedule::{ScheduleName, StoredTest},
    secrets::Secrets,
    segment::Segment,
    slots::Slots,
    verdict::Verdict,
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
    /// [`LedgerError::AlreadyExists`] and must leave.
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

/// Why k6 did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum GeneratorError {
    /// There is no k6, or it cannot be run.
    #[error("{0}")]
    NotFound(String),
    /// k6 refused, with its exit code and what it said.
    #[error("{}", words_of(*exit, log))]
    Refused {
        /// How it ended.
        exit: ProcessExit,
        /// Its error messages, without timestamps.
        log: Vec<String>,
    },
    /// The process could not be handled.
    #[error("{operation}: {cause}")]
    Process {
        /// What was tried.
        operation: &'static str,
        /// What went wrong.
        #[source]
        cause: Cause,
    },
}

/// What k6 said when it ended, or what its end means if it said nothing.
fn words_of(exit: ProcessExit, log: &[String]) -> String {
    if log.is_empty() { format!("k6 {} and gave no reason", exit.meaning()) } else { log.join("\n") }
}

/// How k6 is started on one segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GeneratorSpec {
    /// The bytes of the archive.
    pub archive: Vec<u8>,
    /// The segment; none for a k6 that has no part of the work and only runs `teardown()`.
    pub segment: Option<Segment>,
    /// Whether it stays after its iterations until it is told to stop, so that `teardown()` can be run.
    pub linger: bool,
    /// HTTP requests per second at most; `None` for no limit.
    pub rps: Option<u64>,
    /// Variables that add to, or replace, those in the archive.
    pub env: Vec<(String, String)>,
    /// In which form it gives its samples.
    pub samples: Samples,
    /// Given to the script as variables too, and through k6's secret source. Nothing of what k6 says has any of them; only
    /// its samples do.
    pub secrets: Secrets,
}

/// What a script is given when k6 reads it, and k6 with it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScriptInputs {
    /// `-e` variables.
    pub env: Vec<(String, String)>,
    /// What k6's secret source holds.
    pub secrets: Secrets,
    /// Flags of `k6 archive` that override the script's options, each with its value: `--vus=5`.
    pub flags: Vec<String>,
    /// Whether k6 leaves thresholds alone: its `--no-thresholds`.
    pub no_thresholds: bool,
}

/// What a k6 that calls `handleSummary()` is started with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SummarySpec {
    /// The bytes of an archive that [`crate::summary::summarizing`] made.
    pub archive: Vec<u8>,
    /// Variables that add to, or replace, those in the archive.
    pub env: Vec<(String, String)>,
    /// As in [`GeneratorSpec::secrets`]; what k6 prints may have any of them.
    pub secrets: Secrets,
}

/// What a k6 printed that has ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Printed {
    /// Its standard output.
    pub stdout: Vec<u8>,
    /// Its error messages, without timestamps.
    pub log: Vec<String>,
}

/// Where a k6 process is, by its REST API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GeneratorPhase {
    /// It has not answered yet, or makes its VUs.
    Starting,
    /// It has made its VUs and waits to be resumed.
    Paused,
    /// It was resumed.
    Running,
    /// Its iterations are over; it lingers.
    Ended,
    /// Its iterations were stopped before their end, by us or by the script itself; it lingers.
    Interrupted,
}

/// How `setup()` or `teardown()` ended, where it did not end well.
#[derive(Debug, thiserror::Error)]
pub enum HookError {
    /// The script threw, or took longer than k6 allows; in k6's words.
    #[error("{0}")]
    Script(String),
    /// k6 did not answer.
    #[error(transparent)]
    Generator(#[from] GeneratorError),
}

/// Stock k6.
#[async_trait]
pub trait LoadGenerator: Send + Sync {
    /// Its version.
    async fn version(&self) -> Result<K6Version, GeneratorError>;
    /// What a script or archive needs beside stock k6 (`k6 deps`); only where the version
    /// [lists it](crate::k6::version::K6Version::lists_dependencies).
    async fn dependencies(&self, test: &Path) -> Result<Dependencies, GeneratorError>;
    /// The extensions that are built in: modules such as `k6/x/sql`, and their versions.
    async fn extensions(&self) -> Result<BTreeMap<String, String>, GeneratorError>;
    /// `k6 archive` of a script (or of another archive): the tar. k6 validates script and options.
    async fn archive(&self, script: &Path, inputs: &ScriptInputs) -> Result<Vec<u8>, GeneratorError>;
    /// `k6 inspect --execution-requirements` of an archive: JSON for [`crate::k6::options::Options::parse`]. Variables and
    /// flags are those of the archive.
    async fn inspect(&self, archive: &[u8], inputs: &ScriptInputs) -> Result<Vec<u8>, GeneratorError>;
    /// Starts k6 paused, without setup, teardown, thresholds and summary, writing its samples for us to read.
    async fn start(&self, spec: GeneratorSpec) -> Result<Generator, GeneratorError>;
    /// Runs k6 to its end, without setup and teardown but with its summary, whose text is returned. Dropping the future
    /// kills the process.
    async fn summarize(&self, spec: SummarySpec) -> Result<Printed, GeneratorError>;
}

/// A k6 that was started: its two ends, to be used by two parties at one time.
pub struct Generator {
    /// To talk to it.
    pub control: Box<dyn GeneratorControl>,
    /// To read from it.
    pub samples: Box<dyn SampleStream>,
}

/// The control of one k6 process. Dropping it kills the process.
#[async_trait]
pub trait GeneratorControl: Send + Sync {
    /// Where it is. An error if it does not answer: it is very busy, about to end, or has ended.
    async fn phase(&self) -> Result<GeneratorPhase, GeneratorError>;
    /// Runs `setup()` and returns its data as JSON; `None` without a `setup()` or without data.
    async fn setup(&self) -> Result<Option<Vec<u8>>, HookError>;
    /// Hands over the data of a `setup()` that ran elsewhere; must come before [`GeneratorControl::resume`].
    async fn set_setup_data(&self, json: Vec<u8>) -> Result<(), GeneratorError>;
    /// Lets it run. Doing so twice does no harm.
    async fn resume(&self) -> Result<(), GeneratorError>;
    /// Runs `teardown()`.
    async fn teardown(&self) -> Result<(), HookError>;
    /// Lets the scenario that can be controlled have so many VUs in the whole run, of which k6 takes its segment's share.
    /// Before its start it begins with these; after its end k6 never answers. Asking twice does no harm.
    async fn scale(&self, vus: u64) -> Result<(), GeneratorError>;
    /// Ends its iterations at once, through the REST API (`stopped: true`). One that lingers stays, so that `teardown()`
    /// can still be run; another one ends with exit code 103. Asking twice does no harm.
    async fn stop_iterations(&self) -> Result<(), GeneratorError>;
    /// Asks it (SIGINT) to end at once and write out what it has; it does not linger then. Asking twice does no harm.
    fn interrupt(&self);
    /// Kills it; what it had not written is lost.
    fn kill(&self);
    /// Returns when the process has ended; at once if it has.
    async fn exited(&self) -> ProcessExit;
    /// Its error messages and warnings so far, without timestamps.
    fn log(&self) -> Vec<String>;
    /// What it could not hand over, by its own word; complete once it has [exited](GeneratorControl::exited).
    fn unwritten(&self) -> Unwritten;
}

/// What one k6 process could not hand over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unwritten {
    /// Samples, of those that are handed over one by one.
    pub samples: u64,
    /// Batches of aggregated samples, of which nobody knows how many samples they had.
    pub batches: u64,
}

/// What a piece of k6's output is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece {
    /// Lines of JSON; it may begin and end within a line.
    Lines,
    /// One whole message of aggregated samples, for [`crate::k6::stream`].
    Aggregated,
}

/// What one k6 process writes. Dropping it before its end kills the process, which would hang without a reader.
#[async_trait]
pub trait SampleStream: Send {
    /// Replaces what is in `piece` by the next piece, and says what it is; `None` when the process has ended and all is
    /// read.
    async fn next(&mut self, piece: &mut Vec<u8>) -> Result<Option<Piece>, GeneratorError>;
}

/// Keys of objects. What nobody needs for long once there is a verdict is under `interim/`, which a deployment deletes earlier
/// than the rest: it is large, as chunks are, or may be confidential, as logs and what `setup()` returned. What a kind of
/// objects is comes first, since that is what policies tell apart.
pub mod keys {
    use crate::{
        archive::ArchiveHash,
        chunk::ChunkKey,
        ids::{Attempt, RunId, WorkerIndex},
    };

    /// An archive, shared by all runs of the same contents.
    pub fn archive(hash: &ArchiveHash) -> String {
        format!("archives/{hash}.tar")
    }

    /// The data that `setup()` returned.
    pub fn setup(run: &RunId) -> String {
        format!("interim/setups/{run}.json")
    }

    /// What the script's `handleSummary()` returned.
    pub fn handle_summary(run: &RunId) -> String {
        format!("runs/{run}/handle_summary.json")
    }

    /// A chunk.
    pub fn chunk(key: &ChunkKey) -> String {
        format!("interim/chunks/{}/{}/{}-{:06}.chunk", key.run, key.worker.number(), key.attempt.0, key.sequence)
    }

    /// A worker's closing record.
    pub fn closing(run: &RunId, worker: WorkerIndex, attempt: Attempt) -> String {
        format!("runs/{run}/workers/{}/{}-closing.json", worker.number(), attempt.0)
    }

    /// What an aggregator leaves to its successor.
    pub fn checkpoint(run: &RunId, succession: u32) -> String {
        format!("interim/checkpoints/{run}/{succession:03}.bin")
    }

    /// Which worker of a batch is which.
    pub fn roster(run: &RunId, first: WorkerIndex) -> String {
        format!("runs/{run}/rosters/{}.json", first.number())
    }

    /// What k6 and the script said in a worker, replaced as it grows.
    pub fn log(run: &RunId, worker: WorkerIndex, attempt: Attempt) -> String {
        format!("interim/logs/{run}/{}/{}.log", worker.number(), attempt.0)
    }

    /// The live state, replaced each second.
    pub fn live(run: &RunId) -> String {
        format!("runs/{run}/live.json")
    }

    /// How the run went over time.
    pub fn timeline(run: &RunId) -> String {
        format!("runs/{run}/timeline.json")
    }
}
