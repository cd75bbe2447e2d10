//! Keys of objects. What nobody needs for long once there is a verdict is under `interim/`, which a deployment deletes earlier
//! than the rest: it is large, as chunks are, or may be confidential, as logs and what `setup()` returned. What a kind of
//! objects is comes first, since that is what policies tell apart.

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
