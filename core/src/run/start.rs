//! From a plan to launched workers.

use crate::{
    ids::{Attempt, RunId, WorkerIndex},
    lifecycle::RunEvent,
    ports::{LedgerError, StoreError, WorkerTask, keys},
    records::{Failure, RunRecord, WorkerPhase, WorkerRecord},
    run::{
        Ports, UpdateError,
        prepare::Prepared,
        record_event,
        timely::{PATIENCE, persist},
    },
};

/// Why a run could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The archive could not be uploaded. There is no run.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The run could not be recorded.
    #[error(transparent)]
    Update(#[from] UpdateError),
}

impl From<LedgerError> for StartError {
    fn from(error: LedgerError) -> Self {
        Self::Update(error.into())
    }
}

/// Uploads the archive, records the run and launches its workers. Workers that could not be launched are recorded as
/// such; judging that is the aggregator's part.
pub async fn start(ports: &Ports, id: RunId, prepared: Prepared) -> Result<(), StartError> {
    let Prepared { plan, archive } = prepared;
    // An archive may take longer than what is answered in time.
    match ports.store.put_new(&keys::archive(&plan.archive.hash), archive).await {
        // The key is the hash of the contents, so what is there is the same.
        Ok(()) | Err(StoreError::AlreadyExists(_)) => {}
        Err(error) => return Err(error.into()),
    }
    let indices: Vec<WorkerIndex> = plan.worker_indices().collect();
    let run = RunRecord::new(id.clone(), ports.clock.now(), plan);
    let ports = &ports.timely();
    ports.ledger.create_run(&run).await?;
    for event in [RunEvent::Validated, RunEvent::Launched] {
        persist(&*ports.clock, PATIENCE, || record_event(&*ports.ledger, &id, event.clone())).await?;
    }
    Ok(launch_workers(ports, &id, indices).await?)
}

/// Launches workers. Those that could not be launched are recorded as such. The ports always answer.
pub(super) async fn launch_workers(
    ports: &Ports,
    run: &RunId,
    indices: impl IntoIterator<Item = WorkerIndex>,
) -> Result<(), LedgerError> {
    let task = |index| WorkerTask { run: run.clone(), index, attempt: Attempt(1) };
    let tasks: Vec<WorkerTask> = indices.into_iter().map(task).collect();
    for loss in ports.fleet.launch(&tasks).await {
        let failure = Failure { kind: loss.kind, message: loss.message, exit: None, log: Vec::new() };
        // If it cannot be recorded, it was launched after all, and has spoken for itself.
        record_not_launched(ports, run, loss.index, failure).await?;
    }
    Ok(())
}

/// Records a worker that did not begin and never will, unless it has begun; whether it was recorded.
pub(super) async fn record_not_launched(
    ports: &Ports,
    run: &RunId,
    index: WorkerIndex,
    failure: Failure,
) -> Result<bool, LedgerError> {
    let worker = WorkerRecord {
        phase: WorkerPhase::Closed,
        failure: Some(failure),
        ..WorkerRecord::claim(run.clone(), index, Attempt(1))
    };
    match persist(&*ports.clock, PATIENCE, || ports.ledger.claim_worker(&worker)).await {
        Ok(()) => Ok(true),
        Err(LedgerError::AlreadyExists(_)) => Ok(false),
        Err(error) => Err(error),
    }
}
