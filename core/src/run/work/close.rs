//! A worker's last words.

use crate::{
    closing::Closing,
    ports::{StoreError, keys},
    recorder::LineCounts,
    records::{Failure, WorkerPhase},
    run::work::{Shared, WorkError, lock},
};

/// Uploads what is left, then the closing record, then says so in the ledger. Tries for as long as the aggregator would
/// wait for a sign of life.
pub(super) async fn close(shared: &Shared<'_>, failure: Option<Failure>) -> Result<(), WorkError> {
    if let Some(failure) = failure {
        // At once, since what follows may fail for the same reason.
        drop(shared.renew(|record| record.failure = Some(failure)).await);
    }
    shared.persist(|| shared.flush(true)).await?;
    let closing = {
        let lost = shared.control.get().map(|control| control.unwritten()).unwrap_or_default();
        let (record, recorder) = (lock(&shared.record), lock(&shared.recorder));
        Closing {
            run: record.run.clone(),
            worker: record.index,
            attempt: record.attempt,
            chunks: record.chunks,
            lines: LineCounts { unwritten: lost.samples, lost_batches: lost.batches, ..recorder.counts().clone() },
            totals: recorder.totals().map(|(id, total)| (id.clone(), total)).collect(),
        }
    };
    let key = keys::closing(&closing.run, closing.worker, closing.attempt);
    let json = serde_json::to_vec(&closing).map_err(|error| StoreError::Unavailable {
        operation: "encode",
        key: key.clone(),
        cause: error.into(),
    })?;
    match shared.persist(|| shared.ports.store.put_new(&key, json.clone())).await {
        // It is there from a try whose answer was lost.
        Ok(()) | Err(StoreError::AlreadyExists(_)) => {}
        Err(error) => return Err(error.into()),
    }
    Ok(shared.persist(|| shared.renew(|record| record.phase = WorkerPhase::Closed)).await?)
}
