//! Runs one k6 on one segment.

use std::{sync::Arc, time::Duration};

use lambda_runtime::{LambdaEvent, tracing};
use lambdaload_core::{
    deployment::Function,
    ports::{WorkerTask, keys},
    records::RunRecord,
    run::work::{Notice, WorkPorts, work},
    secrets::Secrets,
};
use serde_json::Value;
use ulid::Ulid;

use crate::{failure::Failure, wiring::Wiring, worker_log::WorkerLog};

/// How a worker ends, if not by itself.
#[derive(Default)]
pub(crate) struct End {
    /// When the runtime ends the process, by the ports' monotonic clock.
    pub(crate) at: Option<Duration>,
    /// Where the runtime says that it ends the process soon.
    pub(crate) notice: Notice,
}

/// Returns once everything is uploaded. How it went stands in the worker's record; an invocation that fails has left none.
pub(crate) async fn handle(wiring: &Wiring, event: LambdaEvent<Value>) -> Result<(), Failure> {
    let task: WorkerTask = serde_json::from_value(event.payload).map_err(|error| Failure::event(&error))?;
    let at = Some(wiring.ends_at(&event.context, Function::Worker.timeout()));
    run(wiring, &task, &event.context.request_id, End { at, ..End::default() }).await
}

/// The same for a worker of any kind; `called` is what the service calls it.
pub(crate) async fn run(wiring: &Wiring, task: &WorkerTask, called: &str, end: End) -> Result<(), Failure> {
    let log = WorkerLog::default();
    let ports = WorkPorts {
        clock: Arc::clone(&wiring.ports.clock),
        store: Arc::clone(&wiring.ports.store),
        ledger: Arc::clone(&wiring.ports.ledger),
        generator: Arc::new(wiring.k6(log.listener())),
        secrets: secrets(wiring, task).await,
        claimant: format!("{called}/{}", Ulid::generate()),
        ends_at: end.at,
        notice: end.notice,
    };
    let key = keys::log(&task.run, task.index, task.attempt);
    let worked = tokio::select! {
        worked = work(&ports, task) => worked,
        never = log.keep(&*ports.clock, &*ports.store, &key) => match never {},
    };
    log.store(&*ports.store, &key).await;
    tracing::info!(run = %task.run, worker = task.index.number(), ?worked, "worked");
    worked.map(|_| ()).map_err(|error| Failure::of(&error))
}

/// The run's secrets, if it has any. What cannot be had is missing, and the worker says which when it needs them.
async fn secrets(wiring: &Wiring, task: &WorkerTask) -> Secrets {
    let run = wiring.ports.ledger.run(&task.run).await;
    let kept = match run {
        Ok(run) if run.plan.secrets.is_empty() => return Secrets::default(),
        // Those of a schedule are there for all its runs.
        Ok(RunRecord { origin: Some(origin), .. }) => wiring.secrets.get_scheduled(&origin.schedule).await,
        Ok(_) | Err(_) => wiring.secrets.get(&task.run).await,
    };
    match kept {
        Ok(secrets) => secrets.unwrap_or_default(),
        Err(error) => {
            tracing::error!(run = %task.run, worker = task.index.number(), %error, "no secrets");
            Secrets::default()
        }
    }
}
