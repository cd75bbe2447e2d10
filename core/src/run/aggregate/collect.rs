//! Fetching what workers have stored.

use std::time::Duration;

use futures::{StreamExt, stream};

use crate::{
    chunk::{Chunk, ChunkKey},
    closing::Closing,
    ids::WorkerIndex,
    ports::{StoreError, keys},
    records::WorkerPhase,
    run::aggregate::Conductor,
};

/// Objects fetched at one time: S3 answers in some 30 ms, so that is about 500 a second.
const AT_ONE_TIME: usize = 16;

/// How long the end of a run waits for objects that should be there.
const PATIENCE: Duration = Duration::from_secs(10);

/// What a chunk's object came to.
enum Fetched {
    Chunk(Box<Chunk>),
    /// Not to be had now; perhaps later.
    NotYet,
    /// There, but no use.
    Unreadable(String),
}

impl Conductor<'_> {
    /// Fetches and merges all chunks that the workers' records tell of. What the store does not give now is asked for
    /// again with the next call. Returns whether nothing is missing.
    pub(super) async fn collect(&mut self) -> bool {
        let missing = self.missing_chunks();
        let wanted = missing.into_iter().filter_map(|(worker, sequence)| {
            let attempt = self.workers.get(&worker)?.record.attempt;
            Some(ChunkKey { run: self.run.id.clone(), worker, attempt, sequence })
        });
        let requests: Vec<_> = wanted.map(|key| async { (self.fetch(&key).await, key) }).collect();
        let answers: Vec<(Fetched, ChunkKey)> = stream::iter(requests).buffer_unordered(AT_ONE_TIME).collect().await;
        let mut complete = true;
        for (outcome, key) in answers {
            let problem = match outcome {
                Fetched::Chunk(chunk) => self.aggregate.apply(&chunk).err().map(|error| error.to_string()),
                Fetched::Unreadable(problem) => Some(problem),
                Fetched::NotYet => {
                    complete = false;
                    None
                }
            };
            if let Some(problem) = problem {
                self.unreadable.insert((key.worker, key.sequence), problem);
            }
        }
        complete
    }

    async fn fetch(&self, key: &ChunkKey) -> Fetched {
        match self.ports.store.get(&keys::chunk(key)).await {
            Ok(bytes) => match Chunk::decode(&bytes) {
                Ok(chunk) if chunk.key == *key => Fetched::Chunk(Box::new(chunk)),
                Ok(_) => Fetched::Unreadable("it says it is another chunk".to_owned()),
                Err(error) => Fetched::Unreadable(error.to_string()),
            },
            Err(StoreError::NotFound(_) | StoreError::AlreadyExists(_) | StoreError::Unavailable { .. }) => {
                Fetched::NotYet
            }
        }
    }

    /// Fetches everything that is left, with patience for a store that does not answer at once. What is missing after
    /// that is missing from the verdict, which says so.
    pub(super) async fn collect_rest(&mut self) {
        let deadline = self.ports.clock.monotonic() + PATIENCE;
        while !self.collect().await && self.ports.clock.monotonic() < deadline {
            self.ports.clock.sleep(self.run.plan.pace.poll).await;
        }
    }

    /// The closing records of all workers that have closed. One that cannot be had is missing, which the verdict says.
    pub(super) async fn closings(&self) -> Vec<Closing> {
        let closed = self.workers.values().filter(|seen| seen.record.phase == WorkerPhase::Closed);
        let fetches: Vec<_> = closed.map(|seen| self.closing(seen.record.index)).collect();
        stream::iter(fetches).buffer_unordered(AT_ONE_TIME).filter_map(async |closing| closing).collect().await
    }

    async fn closing(&self, index: WorkerIndex) -> Option<Closing> {
        let record = &self.workers.get(&index)?.record;
        let key = keys::closing(&record.run, index, record.attempt);
        let deadline = self.ports.clock.monotonic() + PATIENCE;
        loop {
            match self.ports.store.get(&key).await {
                Ok(json) => {
                    let closing: Closing = serde_json::from_slice(&json).ok()?;
                    let same =
                        closing.worker == index && closing.attempt == record.attempt && closing.run == record.run;
                    return same.then_some(closing);
                }
                // A worker that was never launched has no closing record.
                Err(StoreError::NotFound(_)) => return None,
                Err(_) if self.ports.clock.monotonic() >= deadline => return None,
                Err(_) => self.ports.clock.sleep(self.run.plan.pace.poll).await,
            }
        }
    }
}
