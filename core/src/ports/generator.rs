//! What a worker needs of k6.

use std::{collections::BTreeMap, path::Path};

use async_trait::async_trait;

use super::Cause;
use crate::{
    k6::{dependencies::Dependencies, exit::ProcessExit, version::K6Version},
    plan::Samples,
    secrets::Secrets,
    segment::Segment,
};

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
