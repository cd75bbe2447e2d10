//! A worker's whole life: claim a segment, run one k6 on it, upload what it says, close. The substitute for the first
//! worker lives likewise, but without a segment.
//!
//! Several things go on at one time: [`drive`] takes k6 from start to end, the pump reads what it writes, and [`keep`]
//! uploads, renews the lease and obeys the run's record. They share [`Shared`]; none of them holds a lock while it waits.

mod close;
mod drive;
mod failures;
mod hooks;
mod keep;
mod notice;
mod scale;

pub use notice::Notice;

use std::{
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, atomic::AtomicBool},
    time::Duration,
};

use futures::{
    channel::mpsc,
    future::{self, Either},
    lock::Mutex as Queue,
};

use crate::{
    ids::WorkerIndex,
    lifecycle::{Abort, AbortCause, Phase},
    plan::{Deadlines, Plan},
    ports::{
        Clock, GeneratorControl, GeneratorSpec, Ledger, LedgerError, LoadGenerator, ObjectStore, Piece, SampleStream,
        StoreError, WorkerTask, keys,
    },
    recorder::{MAX_TAG_SETS, Recorder},
    records::{Failure, FailureKind, RunRecord, WorkerRecord},
    run::{
        timely::{MayPass, PATIENCE, persist, within},
        work::failures::{failure, start_failure, store_failure},
    },
    secrets::Secrets,
    segment::Segment,
    variables,
};

/// The ports of a worker.
#[derive(Clone)]
#[expect(missing_docs, reason = "each field is the port of that name")]
pub struct WorkPorts {
    pub clock: Arc<dyn Clock>,
    pub store: Arc<dyn ObjectStore>,
    pub ledger: Arc<dyn Ledger>,
    pub generator: Arc<dyn LoadGenerator>,
    /// What the worker was told beside its task; those that the plan names must be among them.
    pub secrets: Secrets,
    /// A name that no other process has: a worker whose claim was answered with silence may claim again by it.
    pub claimant: String,
    /// When the runtime ends this process, by the clock's monotonic time; none if nobody does.
    pub ends_at: Option<Duration>,
    /// Where the runtime says that it ends this process soon.
    pub notice: Notice,
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
        index: WorkerIndex,
    },
}

/// Runs one worker to its end.
pub async fn work(ports: &WorkPorts, task: &WorkerTask) -> Result<Worked, WorkError> {
    // An archive may be larger than what is answered in time.
    let archives = Arc::clone(&ports.store);
    let ports = &ports.timely();
    let clock = &*ports.clock;
    let began_at = clock.monotonic();
    let run = persist(clock, PATIENCE, || ports.ledger.run(&task.run)).await?;
    let planned = run.plan.workers;
    let is_substitute = task.index == run.plan.substitute();
    let segment = run.plan.segment(task.index);
    if segment.is_none() && !is_substitute {
        return Err(WorkError::NoSuchWorker { planned, index: task.index });
    }
    let is_late = if is_substitute {
        run.teardown_by != Some(task.index) || run.state.phase != Phase::Finishing
    } else {
        run.state.phase > Phase::Initializing || run.state.abort.is_some()
    };
    if is_late {
        return Ok(Worked::Late);
    }
    let claimant = ports.claimant.clone();
    let record = WorkerRecord { claimant, ..WorkerRecord::claim(task.run.clone(), task.index, task.attempt) };
    match persist(clock, PATIENCE, || ports.ledger.claim_worker(&record)).await {
        Err(LedgerError::AlreadyExists(_)) => return Ok(Worked::Duplicate),
        claimed => claimed?,
    }
    let (has_flushed, flushed) = mpsc::channel(0);
    let shared = Shared {
        ports,
        began_at,
        archives: &*archives,
        linger: task.index.is_first() || is_substitute,
        is_substitute,
        control: OnceLock::new(),
        record: Mutex::new(record),
        resumed: OnceLock::new(),
        renewing: Queue::new(()),
        recorder: Mutex::new(Recorder::new(run.plan.watches(), MAX_TAG_SETS).with_secrets(ports.secrets.clone())),
        run: Mutex::new(run),
        told_to_stop: Mutex::new(None),
        alone: AtomicBool::new(false),
        given_up: Mutex::new(None),
        unsent: Mutex::new(None),
        has_flushed: Mutex::new(has_flushed),
        flushed: Queue::new(flushed),
    };
    let failure = match keep::too_late_to_begin(&shared) {
        None => run_segment(&shared, segment).await,
        failure => failure,
    };
    // The lease is held until the last word is said.
    let closing = close::close(&shared, failure);
    let lease = keep::hold_lease(&shared);
    futures::pin_mut!(closing, lease);
    match future::select(closing, lease).await {
        Either::Left((closed, _)) => closed?,
        Either::Right((refusal, _)) => return Err(refusal.into()),
    }
    Ok(Worked::Closed)
}

/// Runs k6 on the segment, if there is one, with all duties beside it, until k6 has ended; returns what went wrong.
async fn run_segment(shared: &Shared<'_>, segment: Option<Segment>) -> Option<Failure> {
    let body = run_k6(shared, segment);
    let kept = keep::keep(shared);
    futures::pin_mut!(body, kept);
    match future::select(body, kept).await {
        Either::Left((Err(failure), _)) if failure.kind == FailureKind::ScriptAborted => Some(failure),
        // What it gave up before has made it end as it did.
        Either::Left((outcome, _)) => lock(&shared.given_up).take().or(outcome.err()),
        Either::Right((failure, body)) => {
            lock(&shared.record).failure = Some(failure.clone());
            let message = failure.message.clone();
            *lock(&shared.told_to_stop) = Some(Abort { cause: AbortCause::System, message, at_once: true });
            // A k6 that is only being started is dropped with its start.
            if let Some(control) = shared.control.get() {
                control.kill();
                // What it has written so far is still read.
                drop(body.await);
            }
            Some(failure)
        }
    }
}

/// Starts k6, drives it to its end and reads all that it writes.
async fn run_k6(shared: &Shared<'_>, segment: Option<Segment>) -> Result<(), Failure> {
    let deadlines = shared.deadlines();
    let clock = &*shared.ports.clock;
    let started = async {
        let secrets = shared.plan(|plan| shared.ports.secrets.only(&plan.secrets)).map_err(|missing| {
            let message = format!("k6 was not started: this worker was not given the secrets {}", missing.join(", "));
            failure(FailureKind::K6DidNotStart, message)
        })?;
        let key = keys::archive(&shared.plan(|plan| plan.archive.hash.clone()));
        let archive = shared.persist(|| shared.archives.get(&key)).await.map_err(|error| store_failure(&error))?;
        shared.plan(|plan| check_archive(&archive, plan))?;
        let index = lock(&shared.record).index;
        let rps = shared.plan(|plan| plan.worker_rps(index));
        let run = lock(&shared.run).id.clone();
        // The substitute stands for the first worker.
        let index = if shared.is_substitute { WorkerIndex::FIRST } else { index };
        let env = shared.plan(|plan| variables::of_worker(&run, index, plan));
        let samples = shared.plan(|plan| plan.samples);
        let spec = GeneratorSpec { archive, segment, linger: shared.linger, rps, env, samples, secrets };
        shared.ports.generator.start(spec).await.map_err(|error| start_failure(&error))
    };
    let started = within(clock, deadlines.ready, started).await.unwrap_or_else(|| {
        let message = format!("k6 could not be started within {} s", deadlines.ready.as_secs());
        Err(failure(FailureKind::K6Hung, message))
    });
    let generator = started?;
    let control = &**shared.control.get_or_init(|| generator.control);
    let (driven, pumped) = (drive::drive(shared, control), pump(shared, generator.samples));
    futures::pin_mut!(driven, pumped);
    match future::select(driven, pumped).await {
        Either::Left((driven, pumped)) => {
            let read = within(clock, deadlines.stop, pumped).await.unwrap_or_else(|| {
                Err(failure(FailureKind::K6Failed, "what k6 wrote could not be read to its end".to_owned()))
            });
            driven.and(read)
        }
        Either::Right((Ok(()), driven)) => driven.await,
        Either::Right((Err(unread), driven)) => {
            // Without a reader it would never end.
            control.kill();
            drop(driven.await);
            Err(unread)
        }
    }
}

/// What the parties of one worker share.
struct Shared<'a> {
    ports: &'a WorkPorts,
    /// When it began, by the monotonic clock.
    began_at: Duration,
    /// The store, for as long as an archive takes.
    archives: &'a dyn ObjectStore,
    /// Whether k6 stays after its iterations, for `teardown()`.
    linger: bool,
    /// Whether it has no segment and only runs `teardown()`.
    is_substitute: bool,
    /// k6, once it was started.
    control: OnceLock<Box<dyn GeneratorControl>>,
    record: Mutex<WorkerRecord>,
    /// When k6 was resumed, by the monotonic clock.
    resumed: OnceLock<Duration>,
    /// Renewals come one after the other, so that an older record never replaces a newer one.
    renewing: Queue<()>,
    recorder: Mutex<Recorder>,
    /// The run as it was last seen.
    run: Mutex<RunRecord>,
    /// Why k6 was told to stop, once it was.
    told_to_stop: Mutex<Option<Abort>>,
    /// Whether there was no sign of the aggregator for so long that nobody may be left to ask for `teardown()`.
    alone: AtomicBool,
    /// Why the worker stopped k6 though the run goes on, if it did.
    given_up: Mutex<Option<Failure>>,
    /// A chunk that could not be stored yet, with its key.
    unsent: Mutex<Option<(String, Vec<u8>)>>,
    /// By which who uploads tells who holds the lease that there may be something new to name.
    has_flushed: Mutex<mpsc::Sender<()>>,
    flushed: Queue<mpsc::Receiver<()>>,
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// A panic elsewhere does not make what is under the lock worse: it is plain data.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared<'_> {
    fn plan<T>(&self, of: impl FnOnce(&Plan) -> T) -> T {
        of(&lock(&self.run).plan)
    }

    fn deadlines(&self) -> Deadlines {
        self.plan(|plan| plan.deadlines)
    }

    /// How long the worker goes on without store, ledger or aggregator.
    fn patience(&self) -> Duration {
        self.deadlines().lost * 3
    }

    /// How long ago k6 was resumed, if it was.
    fn ran_for(&self) -> Option<Duration> {
        self.resumed.get().map(|since| self.ports.clock.monotonic().saturating_sub(*since))
    }

    /// Takes note of the run's record, unless a later one was seen.
    fn see(&self, run: RunRecord) {
        let mut seen = lock(&self.run);
        if run.version >= seen.version {
            *seen = run;
        }
    }

    /// Changes the worker's record and stores it, with a new beat.
    async fn renew(&self, change: impl FnOnce(&mut WorkerRecord)) -> Result<(), LedgerError> {
        // Even if it has to wait: whoever comes first carries it.
        change(&mut lock(&self.record));
        let _turn = self.renewing.lock().await;
        let record = {
            let mut record = lock(&self.record);
            record.beat += 1;
            record.clone()
        };
        self.ports.ledger.replace_worker(&record).await
    }

    /// Tries again what store or ledger did not do, as long as the worker's patience lasts.
    async fn persist<T, E: MayPass, F: Future<Output = Result<T, E>>>(&self, call: impl FnMut() -> F) -> Result<T, E> {
        persist(&*self.ports.clock, self.patience(), call).await
    }

    /// Whether the run goes on without this worker.
    fn is_left_out(&self) -> bool {
        let index = lock(&self.record).index;
        lock(&self.run).left_out.contains_key(&index)
    }

    fn told_to_stop(&self) -> Option<Abort> {
        lock(&self.told_to_stop).clone()
    }

    /// Whether somebody wanted k6 to be killed.
    fn is_killed_on_purpose(&self) -> bool {
        self.told_to_stop().is_some_and(|abort| abort.at_once)
    }

    /// Whether k6 was stopped because the runtime is about to end the worker.
    fn is_out_of_time(&self) -> bool {
        let is_it = |failure: &Failure| matches!(failure.kind, FailureKind::OutOfTime | FailureKind::Taken);
        lock(&self.given_up).as_ref().is_some_and(is_it)
    }

    /// What k6 has said, if it was started.
    fn log(&self) -> Vec<String> {
        self.control.get().map(|control| control.log()).unwrap_or_default()
    }

    async fn sleep(&self, duration: Duration) {
        self.ports.clock.sleep(duration).await;
    }
}

/// Reads k6's output to its end.
async fn pump(shared: &Shared<'_>, mut samples: Box<dyn SampleStream>) -> Result<(), Failure> {
    let mut piece = Vec::new();
    while let Some(kind) = samples.next(&mut piece).await.map_err(|error| {
        failure(FailureKind::K6Failed, format!("what k6 writes could not be read any more: {error}"))
    })? {
        let clock = &shared.ports.clock;
        let (wall, monotonic) = (clock.now().nanoseconds(), clock.monotonic());
        let mut recorder = lock(&shared.recorder);
        recorder.look_at_clocks(wall, monotonic);
        match kind {
            Piece::Lines => recorder.feed(&piece),
            Piece::Aggregated => recorder.feed_aggregated(&piece),
        }
    }
    let mut recorder = lock(&shared.recorder);
    if shared.is_killed_on_purpose() {
        recorder.forget_cut_line();
    }
    recorder.finish();
    Ok(())
}

fn check_archive(bytes: &[u8], plan: &Plan) -> Result<(), Failure> {
    let wanted = &plan.archive.hash;
    let problem = match crate::archive::Archive::read(bytes) {
        Ok(archive) if archive.hash == *wanted => return Ok(()),
        Ok(archive) => format!("its contents have the hash {}, not {}", archive.hash.short(), wanted.short()),
        Err(error) => error.to_string(),
    };
    Err(failure(FailureKind::Store, format!("the archive in the store is not the one of the plan: {problem}")))
}
