//! Ends what nobody else ended.

use lambda_runtime::tracing;
use lambdaload_core::run::reap::{Reaped, ReaperEvent, reap_event};
use serde_json::Value;

use crate::{failure::Failure, wiring::Wiring};

/// Looks at one run, because of an appointment, a person's wish, or a call that failed.
pub(crate) async fn handle(wiring: &Wiring, event: Value) -> Result<(), Failure> {
    let event = ReaperEvent::parse(event.to_string().as_bytes()).map_err(|error| Failure::event(&error))?;
    let reaped = Box::pin(reap_event(&wiring.ports, &wiring.deployment, &event)).await;
    let reaped = reaped.map_err(|error| Failure::of(&error))?;
    tracing::info!(?event, ?reaped, "looked");
    if let Reaped::Concluded(run) = reaped {
        wiring.forget_secrets(&run).await;
    }
    Ok(())
}
