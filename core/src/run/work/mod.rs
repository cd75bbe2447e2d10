//! A worker's whole life: claim a segment, run one k6 on it, upload what it says, close.
//!
//! Three things go on at one time: [`drive`] takes k6 from start to end, the pump reads what it writes, and [`keep`]
//! uploads, renews the lease and obeys the run's record. They share [`Shared`]; none of them holds a lock while it waits.

mod drive;
mod keep;

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures::future::{self, Either};

use crate::{
    closing::Closing,
    k6::exit::ProcessExit,
    lifecycle::{Abort, Phase},
    ports::{
        Clock, GeneratorControl, GeneratorError, GeneratorSpec, Ledger, LedgerError, LoadGenerator, ObjectStore,
        SampleStream, StoreError, WorkerTask, keys,
    },
    recorder::{MAX_TAG_SETS, Recorder},
    records::{Failure, FailureKind, RunRecord, WorkerPhase, WorkerRecord},
};

/// The ports of a worker.
#[derive(Clone)]
#[expect(missing_docs, reason = "each field is the port of that name")]
pub struct WorkPorts {
    pub clock: Arc<dyn Clock>,
    pub store: Arc<dyn ObjectStore>,
    pub ledger: Arc<dyn Ledger>,
    pub generator: Arc<dyn LoadGenerator>,
}

/// What a worker did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Worked {
    /// It ran its segment, well or badly; its record says which.
    Closed,
    /// Somebody else has this segment. It did nothing.
    Duplicate,
    /// The run has started, is being stopped or is over. It did nothing.
    Late,
}

/// Why a worker ended without having closed its record. The aggregator will find it lost.
#[derive(Debug, thiserror::Error)]
pub enum WorkError {
    /// The ledger.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The plan has no such worker.
    #[error("the run has {planned} workers: there is no {index}")]
    NoSuchWorker {
        /// Workers that the run has.
        planned: u32,
        /// The worker.
        index: crate::ids::WorkerIndex,
    },
}

/// Runs one worker to its end.
pub async fn work(ports: &WorkPorts, task: &WorkerTask) -> Result<Worked, WorkError> {
    let run = ports.ledger.run(&task.run).await?;
    if run.state.phase > Phase::Initializing || run.state.abort.is_some() {
        return Ok(Worked::Late);
    }
    let planned = run.plan.workers;
    let segment = run.plan.segment(task.index).ok_or(WorkError::NoSuchWorker { planned, index: task.index })?;
    let record = WorkerRecord::claim(task.run.clone(), task.index, task.attempt);
    match ports.ledger.claim_worker(&record).await {
        Ok(()) => {}
        Err(LedgerError::AlreadyExists(_)) => return Ok(Worked::Duplicate),
        Err(error) => return Err(error.into()),
    }
    let linger = task.index.is_first();
    let started = async {
        let archive =
            ports.store.get(&keys::archive(&run.plan.archive.hash)).await.map_err(|error| store_failure(&error))?;
        check_archive(&archive, &run)?;
        let spec = GeneratorSpec { archive, segment, linger };
        ports.generator.start(spec).await.map_err(|error| start_failure(&error))
    };
    let started = started.await;
    let recorder = Recorder::new(run.plan.watches(), MAX_TAG_SETS);
    let shared = Shared {
        ports,
        linger,
        record: Mutex::new(record),
        recorder: Mutex::new(recorder),
        run: Mutex::new(run),
        told_to_stop: Mutex::new(None),
        unsent: Mutex::new(None),
    };
    let failure = match started {
        Ok(generator) => {
            let control: &dyn GeneratorControl = &*generator.control;
            let body = async {
                let (driven, pumped) =
                    future::join(drive::drive(&shared, control), pump(&shared, generator.samples)).await;
                driven.err().or(pumped.err())
            };
            let kept = keep::keep(&shared, control);
            futures::pin_mut!(body, kept);
            match future::select(body, kept).await {
                Either::Left((failure, _)) => failure,
                Either::Right((failure, body)) => {
                    control.kill();
                    // What k6 has written so far is still read.
                    body.await;
                    Some(failure)
                }
            }
        }
        Err(failure) => Some(failure),
    };
    close(&shared, failure).await?;
    Ok(Worked::Closed)
}

/// What the parties of one worker share.
struct Shared<'a> {
    ports: &'a WorkPorts,
    linger: bool,
    record: Mutex<WorkerRecord>,
    recorder: Mutex<Recorder>,
    /// The run as it was last seen.
    run: Mutex<RunRecord>,
    /// Why k6 was told to stop, once it was.
    told_to_stop: Mutex<Option<Abort>>,
    /// A chunk that could not be stored yet, with its key.
    unsent: Mutex<Option<(String, Vec<u8>)>>,
}

/// A panic elsewhere does not make what is under the lock worse: it is plain data.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared<'_> {
    fn run(&self) -> RunRecord {
        lock(&self.run).clone()
    }

    /// Changes the worker's record and stores it, with a new beat.
    async fn renew(&self, change: impl FnOnce(&mut WorkerRecord)) -> Result<(), LedgerError> {
        let record = {
            let mut record = lock(&self.record);
            change(&mut record);
            record.beat += 1;
            record.clone()
        };
        self.ports.ledger.replace_worker(&record).await
    }

    fn told_to_stop(&self) -> Option<Abort> {
        lock(&self.told_to_stop).clone()
    }

    async fn sleep(&self, duration: Duration) {
        self.ports.clock.sleep(duration).await;
    }
}

/// Reads k6's output to its end.
async fn pump(shared: &Shared<'_>, mut samples: Box<dyn SampleStream>) -> Result<(), Failure> {
    let mut piece = Vec::new();
    while let Some(()) = samples.next(&mut piece).await.map_err(|error| Failure {
        kind: FailureKind::K6Failed,
        message: format!("what k6 writes could not be read any more: {error}"),
        exit: None,
        log: Vec::new(),
    })? {
        lock(&shared.recorder).feed(&piece);
    }
    lock(&shared.recorder).finish();
    Ok(())
}

/// Uploads what is left, then the closing record, then says so in the ledger. Tries for as long as the aggregator would
/// wait.
async fn close(shared: &Shared<'_>, failure: Option<Failure>) -> Result<(), WorkError> {
    let deadline = shared.ports.clock.monotonic() + shared.run().plan.deadlines.lost * 3;
    let retry = |error: WorkError| async {
        if shared.ports.clock.monotonic() >= deadline {
            return Err(error);
        }
        shared.sleep(Duration::from_millis(500)).await;
        Ok(())
    };
    while let Err(error) = shared.flush(true).await {
        retry(error.into()).await?;
    }
    let closing = {
        let (record, recorder) = (lock(&shared.record), lock(&shared.recorder));
        Closing {
            run: record.run.clone(),
            worker: record.index,
            attempt: record.attempt,
            chunks: record.chunks,
            lines: recorder.counts().clone(),
            totals: recorder.totals().map(|(id, total)| (id.clone(), total)).collect(),
        }
    };
    let key = keys::closing(&closing.run, closing.worker, closing.attempt);
    let json = serde_json::to_vec(&closing).map_err(|error| StoreError::Unavailable {
        operation: "encode",
        key: key.clone(),
        cause: error.into(),
    })?;
    loop {
        match shared.ports.store.put_new(&key, json.clone()).await {
            // It is there from a try whose answer was lost.
            Ok(()) | Err(StoreError::AlreadyExists(_)) => break,
            Err(error) => retry(error.into()).await?,
        }
    }
    loop {
        let failure = failure.clone();
        match shared.renew(|record| (record.phase, record.failure) = (WorkerPhase::Closed, failure)).await {
            Ok(()) => return Ok(()),
            Err(error) => retry(error.into()).await?,
        }
    }
}

fn check_archive(bytes: &[u8], run: &RunRecord) -> Result<(), Failure> {
    let wanted = &run.plan.archive.hash;
    let problem = match crate::archive::Archive::read(bytes) {
        Ok(archive) if archive.hash == *wanted => return Ok(()),
        Ok(archive) => format!("its contents have the hash {}, not {}", archive.hash.short(), wanted.short()),
        Err(error) => error.to_string(),
    };
    Err(Failure {
        kind: FailureKind::Store,
        message: format!("the archive in the store is not the one of the plan: {problem}"),
        exit: None,
        log: Vec::new(),
    })
}

fn store_failure(error: &StoreError) -> Failure {
    Failure { kind: FailureKind::Store, message: error.to_string(), exit: None, log: Vec::new() }
}

fn start_failure(error: &GeneratorError) -> Failure {
    let (exit, log) = match error {
        GeneratorError::Refused { exit, log } => (Some(*exit), log.clone()),
        _ => (None, Vec::new()),
    };
    Failure { kind: FailureKind::K6DidNotStart, message: format!("k6 could not be started: {error}"), exit, log }
}

/// A failure of k6 itself, told from how it ended.
fn exit_failure(kind: FailureKind, exit: ProcessExit, when: &str, control: &dyn GeneratorControl) -> Failure {
    let message = format!("k6 {}{when} ({exit})", exit.meaning());
    Failure { kind, message, exit: Some(exit), log: control.log() }
}
