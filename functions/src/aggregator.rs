//! Conducts a run to its verdict, or to its successor.

use lambda_runtime::{LambdaEvent, tracing};
use lambdaload_core::{
    deployment::Function,
    ports::AggregatorTask,
    run::conduct::{Conducted, conduct},
};
use serde_json::Value;

use crate::{failure::Failure, wiring::Wiring};

/// Returns once there is a verdict, or a successor was called.
pub(crate) async fn handle(wiring: &Wiring, event: LambdaEvent<Value>) -> Result<(), Failure> {
    let task: AggregatorTask = serde_json::from_value(event.payload).map_err(|error| Failure::event(&error))?;
    let ends_at = wiring.ends_at(&event.context, Function::Aggregator.timeout());
    let conducted = conduct(&wiring.ports, &wiring.deployment, &task, ends_at).await;
    match conducted.map_err(|error| Failure::of(&error))? {
        Conducted::Concluded(verdict) => {
            tracing::info!(run = %task.run, outcome = ?verdict.outcome, "concluded");
            wiring.forget_secrets(&task.run).await;
        }
        Conducted::HandedOver => tracing::info!(run = %task.run, succession = task.succession, "handed over"),
    }
    Ok(())
}
