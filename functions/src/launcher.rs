//! Starts runs: for people, for schedules, and for runs that have waited.

use lambda_runtime::tracing;
use lambdaload_core::run::launch::{LaunchReply, LaunchRequest, launch};
use serde_json::Value;

use crate::{failure::Failure, wiring::Wiring};

/// Answers whoever waits for it; of a call that nobody waits for, only an error is of use to anybody.
pub(crate) async fn handle(wiring: &Wiring, event: Value) -> Result<LaunchReply, Failure> {
    let request = match LaunchRequest::parse(event.to_string().as_bytes(), &wiring.deployment) {
        Ok(request) => request,
        Err(refusal) => return Ok(refusal),
    };
    let about = match &request {
        LaunchRequest::Start { run, .. } | LaunchRequest::Resume { run } => run.to_string(),
        LaunchRequest::Fire(request) => format!("schedule {}", request.schedule),
    };
    let reply =
        Box::pin(launch(&wiring.ports, &wiring.deployment, &request)).await.map_err(|error| Failure::of(&error))?;
    tracing::info!(about, ?reply, "launched");
    Ok(reply)
}
