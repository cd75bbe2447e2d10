//! What an aggregator leaves to its successor, so that this need not read everything again.
//!
//! A checkpoint is only ever a short cut: without one that can be read, a successor begins with all chunks. Times are
//! carried as durations, since no monotonic clock goes on in another process.

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{
    aggregate::Aggregate,
    ids::{RunId, WorkerIndex},
    lifecycle::Phase,
    ports::{Clock, ObjectStore, StoreError, keys},
    records::{Failure, RunRecord},
    run::{
        aggregate::{Conductor, Lasting},
        timely::{ANSWER, persist, within},
    },
    seal::Seal,
};

/// More would take too long to write and to read; a run that has gathered so much is read from its chunks.
const MAX_BYTES: usize = 512 << 20;

/// Any change of what a checkpoint holds needs a new number, or another version of lambdaload.
const SEAL: Seal = Seal { mark: *b"LLcp", format: 2, max_bytes: MAX_BYTES };

/// For some hundred megabytes.
const TRANSFER: Duration = Duration::from_secs(20);

/// What an aggregator knew.
#[derive(Debug, Serialize, Deserialize)]
pub(in crate::run) struct Checkpoint {
    /// Which lambdaload wrote it. Another one has other ideas of what is in it.
    version: String,
    run: RunId,
    aggregate: Aggregate,
    /// The beat of each worker, and for how long it had stood still.
    beats: BTreeMap<WorkerIndex, (u64, Duration)>,
    lost: BTreeMap<WorkerIndex, Failure>,
    substitute_launched: bool,
    unreadable: BTreeMap<(WorkerIndex, u32), String>,
    first_crossed: Vec<Option<Duration>>,
    phase: Phase,
    teardown_by: Option<WorkerIndex>,
    in_phase: Duration,
    /// Time since T0.
    since_start: Option<Duration>,
    stopping_for: Option<Duration>,
}

impl Conductor<'_> {
    /// The bytes of a checkpoint of now; none if there are too many of them.
    pub(super) fn checkpoint(&mut self, version: &str) -> Option<Vec<u8>> {
        let now = self.ports.clock.monotonic();
        let mut checkpoint = Checkpoint {
            version: version.to_owned(),
            run: self.run.id.clone(),
            aggregate: std::mem::take(&mut self.aggregate),
            beats: self.workers.iter().map(|(i, seen)| (*i, (seen.record.beat, seen.silent.until(now)))).collect(),
            lost: self.lost.clone(),
            substitute_launched: self.substitute_launched,
            unreadable: self.unreadable.clone(),
            first_crossed: self.first_crossed.clone(),
            phase: self.run.state.phase,
            teardown_by: self.run.teardown_by,
            in_phase: self.phase_lasts.until(now),
            since_start: self.since_start(),
            stopping_for: self.stopping.map(|stopping| stopping.until(now)),
        };
        let contents = postcard::to_stdvec(&checkpoint).ok();
        self.aggregate = std::mem::take(&mut checkpoint.aggregate);
        SEAL.seal(&contents?).ok()
    }

    /// Goes on from where another aggregator was.
    pub(super) fn resume(&mut self, checkpoint: Checkpoint) {
        let now = self.ports.clock.monotonic();
        let so_far = |before| Lasting { since: now, before };
        self.aggregate = checkpoint.aggregate;
        self.known_beats = checkpoint.beats;
        self.lost = checkpoint.lost;
        self.substitute_launched = checkpoint.substitute_launched;
        self.unreadable = checkpoint.unreadable;
        self.first_crossed = checkpoint.first_crossed;
        if (checkpoint.phase, checkpoint.teardown_by) == (self.run.state.phase, self.run.teardown_by) {
            self.phase_lasts = so_far(checkpoint.in_phase);
        }
        self.stopping = checkpoint.stopping_for.map(so_far);
        if let Some(before) = checkpoint.since_start {
            // The wall tells how much later it is now, unless it is wrong.
            let by_wall = self.run.start_at.map_or(Duration::ZERO, |start_at| self.ports.clock.now().since(start_at));
            let micros = before.max(by_wall).as_micros();
            self.started = Some((now, i64::try_from(micros).unwrap_or(i64::MAX)));
        }
    }
}

impl Checkpoint {
    fn decode(bytes: &[u8], run: &RunRecord, version: &str) -> Option<Self> {
        match postcard::take_from_bytes::<Self>(SEAL.open(bytes).ok()?) {
            Ok((checkpoint, [])) => {
                let is_ours = checkpoint.version == version
                    && checkpoint.run == run.id
                    && checkpoint.first_crossed.len() == run.plan.thresholds.len();
                is_ours.then_some(checkpoint)
            }
            Ok(_) | Err(_) => None,
        }
    }
}

/// Stores the checkpoint for an aggregator; of two that are written for one, the first stays. It is only a short cut, so
/// nothing is wrong if that fails.
pub(super) async fn leave(clock: &dyn Clock, store: &dyn ObjectStore, run: &RunId, succession: u32, bytes: Vec<u8>) {
    let key = keys::checkpoint(run, succession);
    drop(within(clock, TRANSFER, store.put_new(&key, bytes)).await);
}

/// The latest checkpoint that was left for an aggregator or one of those before it, and can be read.
pub(in crate::run) async fn latest_checkpoint(
    clock: &dyn Clock,
    store: &dyn ObjectStore,
    run: &RunRecord,
    succession: u32,
    version: &str,
) -> Option<Checkpoint> {
    for earlier in (1..=succession).rev() {
        let key = keys::checkpoint(&run.id, earlier);
        let get = || async {
            let answer = within(clock, TRANSFER, store.get(&key)).await;
            answer.unwrap_or_else(|| Err(StoreError::NotFound(key.clone())))
        };
        // The workers wait for a sign of life.
        if let Ok(bytes) = persist(clock, ANSWER, get).await
            && let Some(checkpoint) = Checkpoint::decode(&bytes, run, version)
        {
            return Some(checkpoint);
        }
    }
    None
}
