//! Fetching what workers have stored.

use std::time::Duration;

use futures::{StreamExt, stream};

use crate::{
    chunk::{Chunk, ChunkKey},
    closing::Closing,
    ids::WorkerIndex,
    judge::MAX_UNREADABLE,
    ports::keys,
    records::{WorkerPhase, WorkerRecord},
    run::{
        aggregate::Conductor,
        timely::{ANSWER, persist},
    },
};

/// Objects fetched at one time: S3 answers in some 30 ms, so that is about 2,000 a second. A thousand workers write half
/// as many.
const AT_ONE_TIME: usize = 64;

/// Objects fetched before they are merged, so that a long backlog does not fill the memory.
const BATCH: usize = 256;

/// How long one look fetches; what is left then is for the next.
const ONE_LOOK: Duration = Duration::from_secs(2);

/// How long the end of a run waits for objects that should be there, after the last that came.
const PATIENCE: Duration = Duration::from_secs(10);

impl Conductor<'_> {
    /// Fetches and merges chunks that the workers' records tell of, as many as one look has time for. What the store
    /// does not give now is asked for again with the next call. Returns how many are missing.
    pub(super) async fn collect(&mut self) -> usize {
        let left = self.fetch_and_merge().await;
        for seen in self.workers.values_mut() {
            let record = &seen.record;
            if self.aggregate.missing_chunks(record.index, record.chunks).next().is_none() {
                seen.merged = record.measured_micros.map(Duration::from_micros).unwrap_or_default();
            }
        }
        left
    }

    async fn fetch_and_merge(&mut self) -> usize {
        let deadline = self.ports.clock.monotonic() + ONE_LOOK;
        loop {
            let missing = self.missing_chunks();
            let batch = &missing[..missing.len().min(BATCH)];
            let fetched = self.fetch_some(batch).await;
            let came = fetched.len();
            for (key, outcome) in fetched {
                let problem = match outcome {
                    Ok(chunk) => self.aggregate.apply(&chunk).err().map(|error| error.to_string()),
                    Err(problem) => Some(problem),
                };
                if let Some(problem) = problem {
                    self.aggregate.give_up(key.worker, key.attempt, key.sequence);
                    if self.unreadable.len() < MAX_UNREADABLE {
                        self.unreadable.insert((key.worker, key.sequence), problem);
                    }
                }
            }
            let left = missing.len() - came;
            if left == 0 || came < batch.len() || self.ports.clock.monotonic() >= deadline {
                return left;
            }
        }
    }

    /// What the store gave in time: chunks, and what is wrong with those that are no use.
    async fn fetch_some(&self, chunks: &[(WorkerIndex, u32)]) -> Vec<(ChunkKey, Result<Box<Chunk>, String>)> {
        let keys = chunks.iter().filter_map(|(worker, sequence)| {
            let attempt = self.workers.get(worker)?.record.attempt;
            Some(ChunkKey { run: self.run.id.clone(), worker: *worker, attempt, sequence: *sequence })
        });
        let fetches: Vec<_> = keys.map(|key| async { (self.fetch(&key).await, key) }).collect();
        let answers = stream::iter(fetches).buffer_unordered(AT_ONE_TIME);
        let answers = answers.take_until(self.ports.clock.sleep(ANSWER));
        answers.filter_map(async |(outcome, key)| Some((key, outcome?))).collect().await
    }

    /// `None` if it is not to be had now; perhaps it is later.
    async fn fetch(&self, key: &ChunkKey) -> Option<Result<Box<Chunk>, String>> {
        let bytes = self.ports.store.get(&keys::chunk(key)).await.ok()?;
        Some(match Chunk::decode(&bytes) {
            Ok(chunk) if chunk.key == *key => Ok(Box::new(chunk)),
            Ok(_) => Err("it says it is another chunk".to_owned()),
            Err(error) => Err(error.to_string()),
        })
    }

    /// Fetches everything that is left, with patience for a store that does not answer at once. What is missing after
    /// that is missing from the verdict, which says so.
    pub(super) async fn collect_rest(&mut self) {
        let mut least = usize::MAX;
        let mut came_at = self.ports.clock.monotonic();
        loop {
            let missing = self.collect().await;
            let now = self.ports.clock.monotonic();
            if missing < least {
                (least, came_at) = (missing, now);
            }
            if missing == 0 || now.saturating_sub(came_at) >= PATIENCE {
                return;
            }
            self.give_sign_of_life().await;
            self.ports.clock.sleep(self.run.plan.pace.look()).await;
        }
    }

    /// The closing records of all workers that have closed. One that cannot be had is missing, which the verdict says.
    pub(super) async fn closings(&self) -> Vec<Closing> {
        let deadline = self.ports.clock.monotonic() + PATIENCE;
        let closed = self.workers.values().filter(|seen| seen.record.phase == WorkerPhase::Closed);
        let fetches: Vec<_> = closed.map(|seen| self.closing(&seen.record, deadline)).collect();
        stream::iter(fetches).buffer_unordered(AT_ONE_TIME).filter_map(async |closing| closing).collect().await
    }

    async fn closing(&self, record: &WorkerRecord, deadline: Duration) -> Option<Closing> {
        let key = keys::closing(&record.run, record.index, record.attempt);
        let now = self.ports.clock.monotonic();
        let get = || self.ports.store.get(&key);
        // A worker that was never launched has no closing record.
        let json = persist(&*self.ports.clock, deadline.checked_sub(now)?, get).await.ok()?;
        let closing: Closing = serde_json::from_slice(&json).ok()?;
        let same = closing.worker == record.index && closing.attempt == record.attempt && closing.run == record.run;
        // One that tells of more is of a worker that lived on when it was taken for dead.
        (same && closing.chunks == record.chunks).then_some(closing)
    }
}
