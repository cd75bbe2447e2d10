//! The functions of lambdaload in an AWS account. It is one program, built once; the variable `LAMBDALOAD_FUNCTION` says
//! which of the four it is, or that it is a worker that no function is, but a task of ECS.
//!
//! A handler turns an event into plain data, calls a use-case of core, and answers. An error becomes the invocation's
//! failure, which Lambda hands to the reaper.

mod aggregator;
mod failure;
mod launcher;
mod reaper;
mod settings;
mod task;
mod wiring;
mod worker;
mod worker_log;

use lambda_runtime::{Diagnostic, Error, LambdaEvent, run, service_fn, tracing};
use lambdaload_core::deployment::Function;
use serde_json::Value;

use crate::{settings::Settings, wiring::Wiring};

#[tokio::main]
async fn main() -> Result<(), Error> {
    tracing::init_default_subscriber();
    let settings = Settings::of_environment()?;
    // Before anything that takes time.
    let notice = if settings.task.is_some() { Some(task::listen()?) } else { None };
    let wiring = &Wiring::new(&settings).await?;
    if let Some((task, notice)) = settings.task.as_ref().zip(notice) {
        return task::run(wiring, task, notice).await.map_err(|failure| Diagnostic::from(failure).error_message.into());
    }
    match settings.function {
        Function::Launcher => {
            run(service_fn(async |event: LambdaEvent<Value>| launcher::handle(wiring, event.payload).await)).await
        }
        Function::Worker => {
            run(service_fn(async |event: LambdaEvent<Value>| worker::handle(wiring, event).await)).await
        }
        Function::Aggregator => {
            run(service_fn(async |event: LambdaEvent<Value>| Box::pin(aggregator::handle(wiring, event)).await)).await
        }
        Function::Reaper => {
            run(service_fn(async |event: LambdaEvent<Value>| reaper::handle(wiring, event.payload).await)).await
        }
    }
}
