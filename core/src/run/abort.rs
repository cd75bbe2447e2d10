//! Stopping a run.

use crate::{
    ids::RunId,
    lifecycle::{Abort, RunEvent},
    ports::Ledger,
    records::RunRecord,
    run::{UpdateError, record_event},
};

/// Asks a run to stop: one write, which workers and aggregator see within their next look. The first cause stays; a
/// later one can only hurry it. A run that is concluded gives [`UpdateError::Illegal`].
pub async fn abort(ledger: &dyn Ledger, id: &RunId, abort: Abort) -> Result<RunRecord, UpdateError> {
    record_event(ledger, id, RunEvent::Abort(abort)).await
}
