//! The closing record: what a worker says last, so that nothing can be missing unnoticed.

use serde::{Deserialize, Serialize};

use crate::{
    ids::{Attempt, RunId, WorkerIndex},
    recorder::LineCounts,
    series::SeriesId,
};

/// A worker's last word. It is in the store, as JSON, once all its chunks are.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Closing {
    /// The run.
    pub run: RunId,
    /// Which worker.
    pub worker: WorkerIndex,
    /// Its attempt.
    pub attempt: Attempt,
    /// Chunks that it wrote, numbered from 1.
    pub chunks: u32,
    /// What became of k6's lines.
    pub lines: LineCounts,
    /// Samples of each series.
    pub totals: Vec<(SeriesId, u64)>,
}
