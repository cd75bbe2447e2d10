//! Looking on.

use std::time::Duration;

use crate::{
    ids::RunId,
    live::LiveState,
    ports::{LedgerError, StoreError, keys},
    run::{
        WatchPorts,
        timely::{PATIENCE, persist},
    },
    verdict::Verdict,
};

/// Why nothing more can be seen of a run.
#[derive(Debug, thiserror::Error)]
pub enum WatchError {
    /// The ledger.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The aggregator has shown no sign of life for so long.
    #[error("the run's aggregator has not been heard of for {} s; `lambdaload runs get {run}` concludes the run", .silent.as_secs())]
    AggregatorSilent {
        /// The run.
        run: RunId,
        /// For how long.
        silent: Duration,
    },
}

/// Calls back with each new live state until the run has a verdict, which is returned.
pub async fn watch(
    ports: &WatchPorts,
    id: &RunId,
    on_live: &mut (dyn FnMut(&LiveState) + Send),
) -> Result<Verdict, WatchError> {
    let ports = &ports.timely();
    let mut beat = None;
    let mut beat_at = ports.clock.monotonic();
    let mut shown = None;
    loop {
        let run = persist(&*ports.clock, PATIENCE, || ports.ledger.run(id)).await?;
        if let Some(verdict) = persist(&*ports.clock, PATIENCE, || ports.ledger.verdict(id)).await? {
            return Ok(verdict);
        }
        if Some(run.aggregator_beat) > beat {
            beat = Some(run.aggregator_beat);
            beat_at = ports.clock.monotonic();
        }
        let silent = ports.clock.monotonic().saturating_sub(beat_at);
        if silent > run.plan.deadlines.lost * 3 {
            return Err(WatchError::AggregatorSilent { run: id.clone(), silent });
        }
        // What is only looked at may be missing or half a second old; that is no reason to stop looking.
        if let Some(live) = live_state(ports, id).await
            && shown != Some(live.at)
        {
            shown = Some(live.at);
            on_live(&live);
        }
        ports.clock.sleep(run.plan.pace.poll).await;
    }
}

async fn live_state(ports: &WatchPorts, id: &RunId) -> Option<LiveState> {
    match ports.store.get(&keys::live(id)).await {
        Ok(bytes) => serde_json::from_slice(&bytes).ok(),
        Err(StoreError::NotFound(_) | StoreError::AlreadyExists(_) | StoreError::Unavailable { .. }) => None,
    }
}
