//! Conducting a run to its verdict: start the workers together, merge what they say, judge, stop them together.
//!
//! The aggregator looks at the ledger with every poll. Whatever it knows it has read there or from the store, so another
//! aggregator can take its place at any time and come to the same verdict. Whether a worker lives is judged by its beat
//! and the aggregator's own monotonic clock; wall clocks are only shown.

mod bear;
mod checkpoint;
mod collect;
mod conduct;
mod relay;
mod show;
mod teardown;

pub(crate) use show::skew_p99_ms;
pub(super) use {
    checkpoint::{Checkpoint, latest_checkpoint},
    relay::Relay,
};

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use crate::{
    aggregate::Aggregate,
    ids::{RunId, WorkerIndex},
    judge::{self, Evidence},
    lifecycle::{Phase, RunEvent},
    live::LiveState,
    ports::{CallError, LedgerError, keys},
    records::{Failure, FailureKind, RunRecord, WorkerPhase, WorkerRecord},
    run::{
        Ports, UpdateError, record_event,
        timely::{ANSWER, PATIENCE, persist, within},
    },
    verdict::Verdict,
};

/// Why there is no verdict.
#[derive(Debug, thiserror::Error)]
pub enum AggregateError {
    /// The ledger did not answer for too long. The run can be concluded later: everything is in ledger and store.
    #[error("the ledger did not answer for {} s: {error}", .silent.as_secs())]
    Ledger {
        /// For how long.
        silent: Duration,
        /// Its last answer.
        #[source]
        error: LedgerError,
    },
    /// The verdict could not be written.
    #[error(transparent)]
    Update(#[from] UpdateError),
}

/// Conducts a run whose workers are being launched, and returns its verdict: this one's or, if another aggregator was
/// faster, that one's. `on_live` is called about once a second.
pub async fn aggregate(
    ports: &Ports,
    id: &RunId,
    lambdaload_version: &str,
    on_live: &mut (dyn FnMut(&LiveState) + Send),
) -> Result<Verdict, AggregateError> {
    let ports = &ports.timely();
    let run = persist(&*ports.clock, PATIENCE, || ports.ledger.run(id)).await.map_err(UpdateError::from)?;
    let mut conductor = Conductor::new(ports, run);
    conductor.conduct(on_live, None).await?;
    conductor.conclude(lambdaload_version).await
}

/// How an aggregator that may be succeeded has ended.
pub(super) enum End {
    /// With the verdict.
    Concluded(Box<Verdict>),
    /// Another one conducts the run now.
    Succeeded,
    /// Its time was over, and no successor came; why not, if that is known.
    Alone(Option<CallError>),
}

/// Conducts a run as [`aggregate`] does, from where an earlier aggregator was, and hands it over in time. The ports always
/// answer.
pub(super) async fn aggregate_in_turn(
    ports: &Ports,
    run: RunRecord,
    checkpoint: Option<Checkpoint>,
    relay: &mut Relay<'_>,
    lambdaload_version: &str,
) -> Result<End, AggregateError> {
    let mut conductor = Conductor::new(ports, run);
    if let Some(checkpoint) = checkpoint {
        conductor.resume(checkpoint);
    }
    match conductor.conduct(&mut |_| {}, Some(relay)).await? {
        Outcome::Over => Ok(End::Concluded(Box::new(conductor.conclude(lambdaload_version).await?))),
        Outcome::Succeeded => Ok(End::Succeeded),
        Outcome::Alone => Ok(End::Alone(relay.error.take())),
    }
}

/// Concludes a run of which no worker was ever called.
pub(super) async fn conclude_unstarted(
    ports: &Ports,
    run: RunRecord,
    lambdaload_version: &str,
) -> Result<Verdict, AggregateError> {
    Conductor::new(ports, run).conclude(lambdaload_version).await
}

/// Concludes a run from what is in ledger and store, whatever its workers may still be doing: for the reaper.
pub(super) async fn conclude_abandoned(
    ports: &Ports,
    run: RunRecord,
    lambdaload_version: &str,
) -> Result<Verdict, AggregateError> {
    let ports = &ports.timely();
    let mut conductor = Conductor::new(ports, run);
    let looked = conductor.look().await;
    looked.map_err(|error| AggregateError::Ledger { silent: Duration::ZERO, error })?;
    let abandoned: Vec<WorkerIndex> = conductor.open_workers().collect();
    for index in abandoned {
        conductor.lose(index, FailureKind::Lost, "was still open when the run was concluded".to_owned());
    }
    conductor.aggregator_lost = true;
    conductor.conclude(lambdaload_version).await
}

/// What an aggregator knows.
struct Conductor<'a> {
    ports: &'a Ports,
    run: RunRecord,
    aggregate: Aggregate,
    workers: BTreeMap<WorkerIndex, SeenWorker>,
    /// Workers that the fleet knew to have gone when it was last asked.
    gone: BTreeSet<WorkerIndex>,
    /// Workers that will say nothing more, and why.
    lost: BTreeMap<WorkerIndex, Failure>,
    /// Whether the substitute for the first worker was launched from here.
    substitute_launched: bool,
    /// Chunks that cannot be read, with the reason; see [`judge::MAX_UNREADABLE`].
    unreadable: BTreeMap<(WorkerIndex, u32), String>,
    /// For each threshold, when it was first seen not to hold, after the start.
    first_crossed: Vec<Option<Duration>>,
    /// When the ledger was last seen to answer, by the monotonic clock.
    looked_at: Duration,
    /// Whether the ledger has not answered since.
    is_blind: bool,
    /// Since the phase began, or within it teardown passed to the substitute.
    phase_lasts: Lasting,
    /// When the start was first heard of, by the monotonic clock, and how many microseconds after T0 that was (before it if
    /// negative).
    started: Option<(Duration, i64)>,
    /// Since the run was told to stop.
    stopping: Option<Lasting>,
    /// What an earlier aggregator knew of workers' beats, and for how long each had stood still.
    known_beats: BTreeMap<WorkerIndex, (u64, Duration)>,
    aggregator_lost: bool,
}

/// How long something has been so. No monotonic clock goes on from one aggregator to the next, so the time before counts
/// apart.
#[derive(Clone, Copy, Debug)]
struct Lasting {
    /// Since when this aggregator knows of it, by its monotonic clock.
    since: Duration,
    /// How long it had been so by then.
    before: Duration,
}

impl Lasting {
    fn from(since: Duration) -> Self {
        Self { since, before: Duration::ZERO }
    }

    fn until(self, now: Duration) -> Duration {
        self.before.saturating_add(now.saturating_sub(self.since))
    }
}

/// How conducting has ended.
enum Outcome {
    /// Nothing more is to be expected of any worker.
    Over,
    /// A later aggregator is at it.
    Succeeded,
    /// The time is over, and no later one has come.
    Alone,
}

/// A worker as it was last seen.
struct SeenWorker {
    record: WorkerRecord,
    /// Since its beat last changed.
    silent: Lasting,
    /// How long its k6 had run when all that it had told was merged.
    merged: Duration,
}

impl<'a> Conductor<'a> {
    fn new(ports: &'a Ports, run: RunRecord) -> Self {
        Self {
            ports,
            aggregate: Aggregate::with_thresholds(&run.plan.thresholds),
            workers: BTreeMap::new(),
            gone: BTreeSet::new(),
            lost: BTreeMap::new(),
            substitute_launched: false,
            unreadable: BTreeMap::new(),
            first_crossed: vec![None; run.plan.thresholds.len()],
            looked_at: ports.clock.monotonic(),
            is_blind: false,
            phase_lasts: Lasting::from(ports.clock.monotonic()),
            started: None,
            stopping: None,
            known_beats: BTreeMap::new(),
            aggregator_lost: false,
            run,
        }
    }

    /// Reads the run and its workers.
    async fn look(&mut self) -> Result<(), LedgerError> {
        // The fleet first: a worker that closes between the two questions is then seen as closed, not as lost.
        let gone = within(&*self.ports.clock, ANSWER, self.ports.fleet.gone()).await.unwrap_or_default();
        let was_blind = std::mem::replace(&mut self.is_blind, true);
        let run = self.ports.ledger.run(&self.run.id).await?;
        let workers = self.ports.ledger.workers(&self.run.id).await?;
        self.is_blind = false;
        self.looked_at = self.ports.clock.monotonic();
        self.see(run);
        for record in workers {
            let seen = self.workers.get(&record.index);
            // A ledger that could not be asked could not be written either: silence counts from now.
            let is_alive = was_blind || seen.is_none_or(|seen| seen.record.beat < record.beat);
            // An answer from before the last one says nothing new.
            let latest =
                seen.map(|seen| &seen.record).filter(|seen| seen.beat > record.beat).unwrap_or(&record).clone();
            let silent = match seen {
                Some(seen) if !is_alive => seen.silent,
                Some(_) => Lasting::from(self.looked_at),
                None => self.silence_before(&record),
            };
            let merged = seen.map_or(Duration::ZERO, |seen| seen.merged);
            self.workers.insert(record.index, SeenWorker { record: latest, silent, merged });
        }
        // Another aggregator may have decided so.
        let left_out: Vec<_> =
            self.open_workers().filter_map(|index| Some((index, self.run.left_out.get(&index)?.clone()))).collect();
        left_out.into_iter().for_each(|(index, message)| self.lose(index, FailureKind::Lost, message));
        // A list may be older than a worker's last word, but not twice.
        let gone_before = std::mem::replace(&mut self.gone, gone.iter().map(|loss| loss.index).collect());
        for loss in gone.into_iter().filter(|loss| gone_before.contains(&loss.index)) {
            if self.open_workers().any(|index| index == loss.index) {
                // One that has told of itself did begin, whatever became of another one from the same call.
                let has_begun = self.workers.contains_key(&loss.index);
                let never_began = loss.kind == FailureKind::NotLaunched;
                let kind = if never_began && has_begun { FailureKind::Lost } else { loss.kind };
                self.lose(loss.index, kind, loss.message);
            }
        }
        Ok(())
    }

    /// The silence of a worker that is seen for the first time; an earlier aggregator may have known the same beat.
    fn silence_before(&self, record: &WorkerRecord) -> Lasting {
        let known = self.known_beats.get(&record.index).filter(|(beat, _)| *beat >= record.beat);
        Lasting { since: self.looked_at, before: known.map_or(Duration::ZERO, |(_, silent)| *silent) }
    }

    /// Takes note of the run's record, unless a later one was seen.
    fn see(&mut self, run: RunRecord) {
        if run.version < self.run.version {
            return;
        }
        let now = self.ports.clock.monotonic();
        if run.state.phase != self.run.state.phase || run.teardown_by != self.run.teardown_by {
            self.phase_lasts = Lasting::from(now);
        }
        if let Some(start_at) = run.start_at.filter(|_| self.started.is_none()) {
            // Nobody hears of it earlier than so, whatever the clock on the wall says.
            let lead = i64::try_from(run.plan.pace.start_lead.as_micros()).unwrap_or(i64::MAX);
            self.started = Some((now, self.ports.clock.now().0.saturating_sub(start_at.0).max(-lead)));
        }
        if run.state.abort.is_some() {
            self.stopping.get_or_insert(Lasting::from(now));
        }
        self.run = run;
    }

    /// Workers of which something is still to be expected.
    fn open_workers(&self) -> impl Iterator<Item = WorkerIndex> {
        let substitute = Some(self.run.plan.substitute()).filter(|_| self.is_substituted());
        let all = self.run.plan.worker_indices().chain(substitute);
        all.filter(|index| !self.is_at_least(*index, WorkerPhase::Closed))
    }

    /// Whether a worker has come so far, or will come no further.
    fn is_at_least(&self, index: WorkerIndex, phase: WorkerPhase) -> bool {
        let reached = match self.workers.get(&index) {
            Some(seen) => seen.record.phase >= phase,
            // Whoever has not claimed a segment of a run that is being stopped does not begin.
            None => self.run.state.abort.is_some() && index != self.run.plan.substitute(),
        };
        reached || self.lost.contains_key(&index)
    }

    /// Whether the substitute for the first worker was asked to run `teardown()`.
    fn is_substituted(&self) -> bool {
        self.run.teardown_by == Some(self.run.plan.substitute())
    }

    /// Notes that a worker will say nothing more.
    fn lose(&mut self, index: WorkerIndex, kind: FailureKind, message: String) {
        let failure = Failure { kind, message, exit: None, log: Vec::new() };
        self.lost.entry(index).or_insert(failure);
    }

    /// The time since the start; none before it. By the monotonic clock from when the start was heard of, since the wall
    /// may step.
    fn since_start(&self) -> Option<Duration> {
        let (heard, after) = self.started?;
        let since = self.ports.clock.monotonic().saturating_sub(heard);
        let micros = i64::try_from(since.as_micros()).unwrap_or(i64::MAX).saturating_add(after);
        u64::try_from(micros).ok().map(Duration::from_micros)
    }

    /// The time since the start; nothing before it.
    fn elapsed(&self) -> Duration {
        self.since_start().unwrap_or_default()
    }

    /// So much of the time since the start is merged of every worker at least. Over all of that time rates would be too low.
    fn covered(&self) -> Duration {
        let planned = |index: &WorkerIndex| *index != self.run.plan.substitute();
        let merged = |index| self.workers.get(&index).map_or(Duration::ZERO, |seen| seen.merged);
        if let Some(least) = self.open_workers().filter(planned).map(merged).min() {
            return least.saturating_sub(self.run.plan.samples.delay());
        }
        // It is over, and time still goes on.
        let ran_for = |seen: &SeenWorker| seen.record.ran_for_micros.map(Duration::from_micros);
        self.workers.values().filter_map(ran_for).max().unwrap_or(self.elapsed())
    }

    /// Gathers what is left, judges, and writes the verdict unless there is one.
    async fn conclude(mut self, lambdaload_version: &str) -> Result<Verdict, AggregateError> {
        let Ports { clock, ledger, .. } = self.ports;
        if self.run.state.phase == Phase::Concluded {
            let verdict = persist(&**clock, PATIENCE, || ledger.verdict(&self.run.id)).await;
            if let Some(verdict) = verdict.map_err(UpdateError::from)? {
                return Ok(verdict);
            }
        }
        self.collect_rest().await;
        let closings = self.closings().await;
        let verdict = judge::judge(&Evidence {
            run: &self.run,
            workers: self.workers.values().map(|seen| &seen.record).collect(),
            lost: &self.lost,
            closings: &closings,
            unreadable: &self.unreadable,
            aggregate: &self.aggregate,
            first_crossed: &self.first_crossed,
            aggregator_lost: self.aggregator_lost,
            lambdaload_version,
        });
        self.store_for_people(&keys::timeline(&self.run.id), &self.aggregate.timeline()).await;
        let id = &self.run.id;
        let verdict = persist(&**clock, PATIENCE, || ledger.conclude(id, &verdict)).await.map_err(UpdateError::from)?;
        persist(&**clock, PATIENCE, || record_event(&**ledger, id, RunEvent::Concluded)).await?;
        Ok(verdict)
    }

    /// Stores what is only shown: if that fails the run goes on, and its verdict is the same.
    async fn store_for_people<T: serde::Serialize>(&self, key: &str, value: &T) {
        if let Ok(json) = serde_json::to_vec(value) {
            drop(self.ports.store.put(key, json).await);
        }
    }

    /// A sign of life for workers and watchers.
    async fn give_sign_of_life(&mut self) {
        self.update(|run| {
            run.aggregator_beat += 1;
            Ok(true)
        })
        .await;
    }

    /// Chunks that are in the store, by the workers' records, and not yet merged; the oldest first.
    fn missing_chunks(&self) -> Vec<(WorkerIndex, u32)> {
        let wanted = self.workers.values().flat_map(|SeenWorker { record, .. }| {
            let missing = self.aggregate.missing_chunks(record.index, record.chunks);
            missing.map(|sequence| (record.index, sequence))
        });
        let mut missing: Vec<_> = wanted.collect();
        missing.sort_unstable_by_key(|(index, sequence)| (*sequence, *index));
        missing
    }
}
