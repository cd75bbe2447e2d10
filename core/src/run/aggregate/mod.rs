//! Conducting a run to its verdict: start the workers together, merge what they say, judge, stop them together.
//!
//! The aggregator looks at the ledger with every poll. Whatever it knows it has read there or from the store, so another
//! aggregator can take its place at any time and come to the same verdict. Whether a worker lives is judged by its beat
//! and the aggregator's own monotonic clock; wall clocks are only shown.

mod collect;
mod conduct;

pub(crate) use conduct::skew_p99_ms;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use crate::{
    aggregate::Aggregate,
    ids::{RunId, WorkerIndex},
    judge::{self, Evidence},
    lifecycle::RunEvent,
    live::LiveState,
    ports::{LedgerError, keys},
    records::{Failure, RunRecord, WorkerPhase, WorkerRecord},
    run::{Ports, UpdateError, record_event},
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
    let run = ports.ledger.run(id).await.map_err(UpdateError::from)?;
    let mut conductor = Conductor::new(ports, run);
    conductor.conduct(on_live).await?;
    conductor.conclude(lambdaload_version).await
}

/// Concludes a run from what is in ledger and store, whatever its workers may still be doing: for the reaper.
pub(super) async fn conclude_abandoned(
    ports: &Ports,
    run: RunRecord,
    lambdaload_version: &str,
) -> Result<Verdict, AggregateError> {
    let mut conductor = Conductor::new(ports, run);
    conductor.look().await.map_err(|error| AggregateError::Ledger { silent: Duration::ZERO, error })?;
    let abandoned: Vec<WorkerIndex> = conductor.open_workers().collect();
    for index in abandoned {
        conductor.lose(index, "was still open when the run was concluded".to_owned());
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
    /// Workers that will say nothing more, and why.
    lost: BTreeMap<WorkerIndex, Failure>,
    /// Chunks that cannot be read, with the reason.
    unreadable: BTreeMap<(WorkerIndex, u32), String>,
    /// For each threshold, when it was first seen not to hold, after the start.
    first_crossed: Vec<Option<Duration>>,
    /// When the phase began, by the monotonic clock.
    phase_since: Duration,
    /// When the run was told to stop, likewise.
    stopping_since: Option<Duration>,
    aggregator_lost: bool,
}

/// A worker as it was last seen.
struct SeenWorker {
    record: WorkerRecord,
    /// When its beat last changed, by the monotonic clock.
    beat_at: Duration,
}

impl<'a> Conductor<'a> {
    fn new(ports: &'a Ports, run: RunRecord) -> Self {
        Self {
            ports,
            aggregate: Aggregate::new(),
            workers: BTreeMap::new(),
            lost: BTreeMap::new(),
            unreadable: BTreeMap::new(),
            first_crossed: vec![None; run.plan.thresholds.len()],
            phase_since: ports.clock.monotonic(),
            stopping_since: None,
            aggregator_lost: false,
            run,
        }
    }

    /// Reads the run and its workers.
    async fn look(&mut self) -> Result<(), LedgerError> {
        // The fleet first: a worker that closes between the two questions is then seen as closed, not as lost.
        let gone = self.ports.fleet.gone().await;
        let run = self.ports.ledger.run(&self.run.id).await?;
        let now = self.ports.clock.monotonic();
        if run.state.phase != self.run.state.phase {
            self.phase_since = now;
        }
        if run.state.abort.is_some() {
            self.stopping_since.get_or_insert(now);
        }
        self.run = run;
        for record in self.ports.ledger.workers(&self.run.id).await? {
            let seen = self.workers.get(&record.index);
            let beat_at = seen.filter(|seen| seen.record.beat == record.beat).map_or(now, |seen| seen.beat_at);
            self.workers.insert(record.index, SeenWorker { record, beat_at });
        }
        for loss in gone {
            if self.open_workers().any(|index| index == loss.index) {
                self.lose(loss.index, loss.message);
            }
        }
        Ok(())
    }

    /// Workers of which something is still to be expected.
    fn open_workers(&self) -> impl Iterator<Item = WorkerIndex> {
        let closed =
            |index: &WorkerIndex| self.workers.get(index).is_some_and(|w| w.record.phase == WorkerPhase::Closed);
        self.run.plan.worker_indices().filter(move |index| !closed(index) && !self.lost.contains_key(index))
    }

    /// Notes that a worker will say nothing more.
    fn lose(&mut self, index: WorkerIndex, message: String) {
        let failure = Failure { kind: crate::records::FailureKind::Lost, message, exit: None, log: Vec::new() };
        self.lost.entry(index).or_insert(failure);
    }

    /// The time since the start, by the wall clock; nothing before it.
    fn elapsed(&self) -> Duration {
        self.run.start_at.map_or(Duration::ZERO, |start| self.ports.clock.now().since(start))
    }

    /// Gathers what is left, judges, and writes the verdict unless there is one.
    async fn conclude(mut self, lambdaload_version: &str) -> Result<Verdict, AggregateError> {
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
        let verdict = self.ports.ledger.conclude(&self.run.id, &verdict).await.map_err(UpdateError::from)?;
        record_event(&*self.ports.ledger, &self.run.id, RunEvent::Concluded).await?;
        Ok(verdict)
    }

    /// Stores what is only shown: if that fails the run goes on, and its verdict is the same.
    async fn store_for_people<T: serde::Serialize>(&self, key: &str, value: &T) {
        if let Ok(json) = serde_json::to_vec(value) {
            drop(self.ports.store.put(key, json).await);
        }
    }

    /// Chunks that are in the store, by the workers' records, and not yet merged.
    fn missing_chunks(&self) -> Vec<(WorkerIndex, u32)> {
        let unreadable: BTreeSet<_> = self.unreadable.keys().copied().collect();
        let wanted = self.workers.values().flat_map(|seen| {
            let record = &seen.record;
            (self.aggregate.merged_up_to(record.index) + 1..=record.chunks).map(|sequence| (record.index, sequence))
        });
        wanted.filter(|chunk| !unreadable.contains(chunk)).collect()
    }
}
