//! Ending what nobody else ended: a run whose aggregator died.

mod event;
mod reaper;

pub use event::{CallEnd, Called, FailedCall, ReaperEvent, StoppedTask, UnknownEvent};
pub use reaper::{MAX_RESCUES, ReapEventError, Reaped, reap_event};

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;

use crate::{
    ids::RunId,
    ports::{Clock, Fleet, FleetLoss, Ledger, LedgerError, WorkerTask},
    records::RunRecord,
    run::{
        Ports, UpdateError, WatchPorts, aggregate,
        timely::{PATIENCE, persist},
    },
    verdict::Verdict,
};

/// Why a run could not be reaped.
#[derive(Debug, thiserror::Error)]
pub enum ReapError {
    /// The ledger.
    #[error(transparent)]
    Update(#[from] UpdateError),
    /// The verdict could not be made or written.
    #[error(transparent)]
    Aggregate(#[from] aggregate::AggregateError),
}

impl From<LedgerError> for ReapError {
    fn from(error: LedgerError) -> Self {
        Self::Update(error.into())
    }
}

/// The run's verdict. If it has none, watches for a sign of its aggregator for as long as a worker would, and without
/// one concludes the run from what is in ledger and store; `None` if the aggregator lives.
pub async fn reap(ports: &WatchPorts, id: &RunId, lambdaload_version: &str) -> Result<Option<Verdict>, ReapError> {
    let ports = &ports.timely();
    let verdict = persist(&*ports.clock, PATIENCE, || ports.ledger.verdict(id)).await?;
    if verdict.is_some() {
        return Ok(verdict);
    }
    let run = persist(&*ports.clock, PATIENCE, || ports.ledger.run(id)).await?;
    let patience = run.plan.deadlines.lost * 3;
    if has_beaten(&*ports.clock, &*ports.ledger, &run, patience).await? {
        return Ok(None);
    }
    Ok(Some(conclude(ports, id, lambdaload_version).await?))
}

/// Whether the run's aggregator gives a sign of life, or concludes the run, within this time.
async fn has_beaten(
    clock: &dyn Clock,
    ledger: &dyn Ledger,
    run: &RunRecord,
    patience: Duration,
) -> Result<bool, LedgerError> {
    let deadline = clock.monotonic() + patience;
    while clock.monotonic() < deadline {
        clock.sleep(run.plan.pace.poll).await;
        if persist(clock, PATIENCE, || ledger.run(&run.id)).await?.aggregator_beat > run.aggregator_beat {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Concludes a run that has no aggregator.
async fn conclude(ports: &WatchPorts, id: &RunId, lambdaload_version: &str) -> Result<Verdict, ReapError> {
    let WatchPorts { clock, store, ledger } = ports.clone();
    let run = persist(&*clock, PATIENCE, || ledger.run(id)).await?;
    let ports = Ports { clock, store, ledger, fleet: Arc::new(NoFleet) };
    Ok(aggregate::conclude_abandoned(&ports, run, lambdaload_version).await?)
}

/// The reaper has launched nothing and can stop nothing: workers without an aggregator stop themselves.
struct NoFleet;

#[async_trait]
impl Fleet for NoFleet {
    async fn launch(&self, _: &[WorkerTask]) -> Vec<FleetLoss> {
        Vec::new()
    }

    async fn gone(&self) -> Vec<FleetLoss> {
        Vec::new()
    }

    async fn kill_all(&self) {}
}
