//! From a plan to launched workers.

use crate::{
    ids::{Attempt, RunId},
    lifecycle::{RunEvent, RunState},
    ports::{LedgerError, StoreError, WorkerTask, keys},
    records::{Failure, FailureKind, RunRecord, WorkerPhase, WorkerRecord},
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
    let tasks: Vec<WorkerTask> =
        plan.worker_indices().map(|index| WorkerTask { run: id.clone(), index, attempt: Attempt(1) }).collect();
    let run = RunRecord {
        id: id.clone(),
        version: 1,
        created_at: ports.clock.now(),
        state: RunState::new(),
        plan,
        start_at: None,
        teardown_wanted: false,
        scale: None,
        aggregator_beat: 0,
    };
    let ports = &ports.timely();
    ports.ledger.create_run(&run).await?;
    for event in [RunEvent::Validated, RunEvent::Launched] {
        persist(&*ports.clock, PATIENCE, || record_event(&*ports.ledger, &id, event.clone())).await?;
    }
    for loss in ports.fleet.launch(&tasks).await {
        let failure = Failure { kind: FailureKind::NotLaunched, message: loss.message, exit: None, log: Vec::new() };
        let worker = WorkerRecord {
            phase: WorkerPhase::Closed,
            failure: Some(failure),
            ..WorkerRecord::claim(id.clone(), loss.index, Attempt(1))
        };
        match persist(&*ports.clock, PATIENCE, || ports.ledger.claim_worker(&worker)).await {
            // It was launched after all, and has spoken for itself.
            Ok(()) | Err(LedgerError::AlreadyExists(_)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}
