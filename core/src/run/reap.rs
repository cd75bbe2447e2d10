//! Ending what nobody else ended: a run whose aggregator died.

use std::sync::Arc;

use async_trait::async_trait;

use crate::{
    ids::RunId,
    ports::{Fleet, FleetLoss, WorkerTask},
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

/// The run's verdict. If it has none, watches for a sign of its aggregator for as long as a worker would, and without
/// one concludes the run from what is in ledger and store; `None` if the aggregator lives.
pub async fn reap(ports: &WatchPorts, id: &RunId, lambdaload_version: &str) -> Result<Option<Verdict>, ReapError> {
    let ports = &ports.timely();
    let read_run = || async {
        let run = persist(&*ports.clock, PATIENCE, || ports.ledger.run(id)).await;
        run.map_err(UpdateError::from)
    };
    let verdict = persist(&*ports.clock, PATIENCE, || ports.ledger.verdict(id)).await.map_err(UpdateError::from)?;
    if verdict.is_some() {
        return Ok(verdict);
    }
    let run = read_run().await?;
    let beat = run.aggregator_beat;
    let deadline = ports.clock.monotonic() + run.plan.deadlines.lost * 3;
    while ports.clock.monotonic() < deadline {
        ports.clock.sleep(run.plan.pace.poll).await;
        if read_run().await?.aggregator_beat > beat {
            return Ok(None);
        }
    }
    let run = read_run().await?;
    let ports = Ports {
        clock: ports.clock.clone(),
        store: ports.store.clone(),
        ledger: ports.ledger.clone(),
        fleet: Arc::new(NoFleet),
    };
    Ok(Some(aggregate::conclude_abandoned(&ports, run, lambdaload_version).await?))
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
