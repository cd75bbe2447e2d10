//! A k6 that does as it is told: a scripted [`LoadGenerator`] with the habits of k6 1.8.

mod life;
mod process;

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;

use crate::{
    ids::WorkerIndex,
    k6::{
        dependencies::Dependencies,
        exit::{ProcessExit, code},
        version::K6Version,
    },
    ports::{
        Clock, Generator, GeneratorError, GeneratorSpec, LoadGenerator, Printed, ScriptInputs, SummarySpec, Unwritten,
    },
    segment::Segment,
    testing::{
        clock::{VirtualClock, VirtualTime},
        generator::process::Process,
    },
};

/// What one k6 does.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is one habit of a fake")]
pub struct K6Script {
    /// How long it makes VUs; [`Duration::MAX`] for one that never gets ready.
    pub ready_after: Duration,
    /// VUs that it has while it runs.
    pub vus: u32,
    /// Its samples, by the time after it was resumed.
    pub samples: Vec<(Duration, SampleLine)>,
    /// More samples for each second of a long run: the whole seconds since it was resumed come to samples, each with the
    /// part of that second after which it comes up.
    pub traffic: Option<Traffic>,
    /// How long its iterations last, from being resumed; [`Duration::MAX`] for one that does not end by itself.
    pub lasts: Duration,
    /// How its iterations end then.
    pub end: ScriptEnd,
    /// What `setup()` does.
    pub setup: Hook,
    /// What `teardown()` does.
    pub teardown: Hook,
    /// How it dies before its time.
    pub death: Option<Death>,
    /// Why its process cannot be started, if it cannot.
    pub start_error: Option<String>,
    /// Whether it passes over SIGINT.
    pub ignores_interrupt: bool,
    /// Whether it passes over being stopped through its REST API.
    pub ignores_stop: bool,
    /// Whether its process does not end, though its iterations have.
    pub hangs_at_exit: bool,
    /// Whether a line is cut when it is killed.
    pub is_cut_when_killed: bool,
    /// Until when it does not answer when it is to be scaled, after its process was started.
    pub deaf_to_scale_until: Duration,
    /// What it says it could not hand over.
    pub unwritten: Unwritten,
}

/// The samples of one second of a run, each with the part of that second after which it comes up.
pub type Traffic = fn(u64) -> Vec<(Duration, SampleLine)>;

/// One line of its output.
#[derive(Clone, Debug, PartialEq)]
pub enum SampleLine {
    /// A sample with the time of its own clock.
    Sample {
        /// The metric; one that k6 itself defines.
        metric: String,
        /// The value.
        value: f64,
        /// The tags as JSON.
        tags: String,
    },
    /// This, as it is.
    Raw(String),
}

/// How the iterations of a script end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScriptEnd {
    /// They are over.
    Over,
    /// `exec.test.abort()`.
    Abort,
    /// They are over, and there was an `exec.test.fail()`.
    Fail,
}

/// What `setup()` or `teardown()` does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hook {
    /// There is none, or it returns nothing.
    Nothing,
    /// It returns this JSON after so long.
    Returns(Duration, String),
    /// It throws, or takes too long for k6, in these words of k6's after so long.
    Fails(Duration, String),
}

/// How a k6 dies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Death {
    /// When.
    pub moment: Moment,
    /// How its process ends.
    pub exit: ProcessExit,
    /// What it says before.
    pub log: String,
}

/// A moment in the life of a k6.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// So long after the process was started.
    Started(Duration),
    /// So long after it was resumed.
    Resumed(Duration),
    /// So long after its iterations were over.
    Ended(Duration),
}

/// Something that happened to a k6.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The process was started.
    Started,
    /// `setup()` was called.
    Setup,
    /// It was given this data of a `setup()` that ran elsewhere.
    TookSetupData(String),
    /// It was scaled to so many VUs of the whole.
    Scaled(u64),
    /// It was resumed.
    Resumed,
    /// Its iterations were over.
    IterationsEnded,
    /// Its iterations were asked to stop, through the REST API.
    Stopped,
    /// It was interrupted.
    Interrupted,
    /// `teardown()` was called.
    Teardown,
    /// It was killed.
    Killed,
    /// The process has ended.
    Exited(ProcessExit),
}

impl Default for K6Script {
    /// A k6 that is ready after a second, runs for ten without a sample, and does nothing wrong.
    fn default() -> Self {
        Self {
            ready_after: Duration::from_secs(1),
            vus: 2,
            samples: Vec::new(),
            traffic: None,
            lasts: Duration::from_secs(10),
            end: ScriptEnd::Over,
            setup: Hook::Nothing,
            teardown: Hook::Nothing,
            death: None,
            start_error: None,
            ignores_interrupt: false,
            ignores_stop: false,
            hangs_at_exit: false,
            is_cut_when_killed: false,
            deaf_to_scale_until: Duration::ZERO,
            unwritten: Unwritten::default(),
        }
    }
}

impl K6Script {
    /// Adds a sample, so long after the start.
    #[must_use]
    pub fn sample(mut self, after: Duration, metric: &str, value: f64, tags: &str) -> Self {
        let line = SampleLine::Sample { metric: metric.to_owned(), value, tags: tags.to_owned() };
        self.samples.push((after, line));
        self
    }

    /// Lets it die.
    #[must_use]
    pub fn dies(mut self, moment: Moment, exit: ProcessExit, log: &str) -> Self {
        self.death = Some(Death { moment, exit, log: log.to_owned() });
        self
    }
}

impl ScriptEnd {
    fn exit_code(self) -> i32 {
        match self {
            Self::Over => code::OK,
            Self::Abort => code::SCRIPT_ABORTED,
            Self::Fail => code::MARKED_AS_FAILED,
        }
    }
}

/// What has happened to all k6 of a test, in order, with the virtual time.
pub type Journal = Arc<Mutex<Vec<(Duration, WorkerIndex, Event)>>>;

/// The k6 of all workers of a run, each with a script of its own.
#[derive(Clone)]
pub struct ScriptedK6 {
    time: VirtualTime,
    clock: Arc<VirtualClock>,
    scripts: Arc<[K6Script]>,
    journal: Journal,
    archive: Vec<u8>,
    options: String,
    /// How long it takes to summarize, and what it prints then.
    summary: (Duration, Printed),
    summarized: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl ScriptedK6 {
    /// The k6 of as many workers as there are scripts; `options` is what `k6 inspect` prints.
    pub fn new(time: &VirtualTime, scripts: Vec<K6Script>, options: &str) -> Self {
        Self {
            time: time.clone(),
            clock: time.clock(),
            scripts: scripts.into(),
            journal: Journal::default(),
            archive: tar_of(&[
                ("metadata.json", br#"{"type":"js","filename":"file:///test.js"}"#),
                ("data", b"export function teardown() {}"),
            ]),
            options: options.to_owned(),
            summary: (Duration::ZERO, Printed::default()),
            summarized: Arc::default(),
        }
    }

    /// The same k6 with a script that has a `handleSummary()`, which prints this after so long; [`Duration::MAX`] for one
    /// that hangs.
    #[must_use]
    pub fn with_handle_summary(mut self, after: Duration, printed: Printed) -> Self {
        let script = b"export function handleSummary() {}";
        self.archive = tar_of(&[("metadata.json", br#"{"type":"js","filename":"file:///test.js"}"#), ("data", script)]);
        self.summary = (after, printed);
        self
    }

    /// The archives with which it was to summarize.
    pub fn summarized(&self) -> Vec<Vec<u8>> {
        self.summarized.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The same k6 on a machine with this clock.
    #[must_use]
    pub fn on(&self, clock: Arc<VirtualClock>) -> Self {
        Self { clock, ..self.clone() }
    }

    /// What has happened so far.
    pub fn journal(&self) -> Vec<(Duration, WorkerIndex, Event)> {
        self.journal.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[async_trait]
impl LoadGenerator for ScriptedK6 {
    async fn version(&self) -> Result<K6Version, GeneratorError> {
        Ok(K6Version::new(1, 8, 1))
    }

    async fn archive(&self, _: &Path, _: &ScriptInputs) -> Result<Vec<u8>, GeneratorError> {
        Ok(self.archive.clone())
    }

    async fn inspect(&self, _: &[u8], _: &ScriptInputs) -> Result<Vec<u8>, GeneratorError> {
        Ok(self.options.clone().into_bytes())
    }

    async fn dependencies(&self, _: &Path) -> Result<Dependencies, GeneratorError> {
        Ok(Dependencies::default())
    }

    async fn extensions(&self) -> Result<BTreeMap<String, String>, GeneratorError> {
        Ok(BTreeMap::new())
    }

    async fn start(&self, spec: GeneratorSpec) -> Result<Generator, GeneratorError> {
        let workers = u32::try_from(self.scripts.len()).unwrap_or(u32::MAX);
        let found = match spec.segment {
            Some(segment) => {
                let is_its = |index: &u32| Segment::new(WorkerIndex(*index), workers) == Some(segment);
                (0..workers).find(is_its).and_then(|index| Some((index, self.scripts.get(index as usize)?)))
            }
            // The script of the first worker is that of all; without a segment there is nothing to do in it.
            None => self.scripts.first().map(|script| (workers, script)),
        };
        let Some((index, script)) = found else {
            return Err(GeneratorError::NotFound(format!("no script for the segment {:?}", spec.segment)));
        };
        if let Some(message) = &script.start_error {
            return Err(GeneratorError::NotFound(message.clone()));
        }
        let (control, samples) = Process::start(self, WorkerIndex(index), script.clone(), &spec);
        Ok(Generator { control, samples })
    }

    async fn summarize(&self, spec: SummarySpec) -> Result<Printed, GeneratorError> {
        self.summarized.lock().unwrap_or_else(PoisonError::into_inner).push(spec.archive);
        let (after, printed) = &self.summary;
        self.clock.sleep(*after).await;
        Ok(printed.clone())
    }
}

/// A tar as `k6 archive` makes them.
fn tar_of(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, bytes) in entries {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        builder.append_data(&mut header, name, *bytes).unwrap_or_else(|error| panic!("{error}"));
    }
    builder.into_inner().unwrap_or_else(|error| panic!("{error}"))
}
