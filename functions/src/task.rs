//! A worker as a task of ECS: the same work without a function's runtime. The task ends when the process does.

use std::io;

use lambda_runtime::tracing;
use lambdaload_adapters::aws::task_name;
use lambdaload_core::{
    ports::WorkerTask,
    run::{
        batch::{Order, own_part},
        work::Notice,
    },
};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::{
    failure::Failure,
    settings::TaskSettings,
    wiring::Wiring,
    worker::{self, End},
};

/// Listens from now on for what ECS says when it ends a task, half a minute or two before it does. The first process of a
/// container that does not listen is not told at all.
pub(crate) fn listen() -> io::Result<Notice> {
    let (notice, signal) = (Notice::default(), signal(SignalKind::terminate())?);
    tokio::spawn(hear(signal, notice.clone()));
    Ok(notice)
}

async fn hear(mut signal: Signal, notice: Notice) {
    while signal.recv().await.is_some() {
        tracing::warn!("told to end (SIGTERM)");
        notice.give();
    }
}

/// Returns once everything is uploaded.
pub(crate) async fn run(wiring: &Wiring, settings: &TaskSettings, notice: Notice) -> Result<(), Failure> {
    let (name, task) = match &settings.order {
        Order::Worker(task) => ("task".to_owned(), Some(task.clone())),
        Order::Batch(batch) => {
            let name = task_name(&settings.metadata).await.map_err(|error| Failure::of(&error))?;
            let (clock, store) = (&*wiring.ports.clock, &*wiring.ports.store);
            let part: Option<WorkerTask> =
                own_part(clock, store, &notice, batch, &name).await.map_err(|error| Failure::of(&error))?;
            (name, part)
        }
    };
    let Some(task) = task else {
        tracing::info!(name, "there is nothing to do: this task is one too many, or was told to end");
        return Ok(());
    };
    worker::run(wiring, &task, &name, End { at: None, notice }).await
}
