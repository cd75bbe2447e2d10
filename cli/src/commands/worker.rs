//! `lambdaload worker`: one worker of a run, started by the local fleet.

use std::path::Path;

use lambdaload_core::{
    ids::{Attempt, RunId, WorkerIndex},
    lifecycle::{Abort, AbortCause},
    ports::WorkerTask,
    run::{
        abort::abort,
        work::{Worked, work},
    },
};

use crate::{args::WorkerArgs, error::Failure, exit, printer::Printer, signals::Signals, wiring};

/// Runs one worker. How it went stands in its record; the exit code only says whether it could be written.
///
/// A worker that is told to end stops the whole run: without this worker the measurement is not complete, and all can
/// still upload what they have. Being told again changes nothing: when whoever started the worker dies, the kernel
/// tells it once for each of the dead process's threads. What is to end at once has to be killed.
pub(super) async fn worker(args: WorkerArgs, dir: &Path, printer: &Printer) -> Result<i32, Failure> {
    let mut signals = Signals::listen()?;
    let run = RunId::parse(&args.run).map_err(|error| Failure::not_valid(error.to_string()))?;
    let task = WorkerTask { run, index: WorkerIndex(args.index), attempt: Attempt(args.attempt) };
    let ports = wiring::work_ports(dir, &args.k6, printer).await?;
    let mut working = Box::pin(work(&ports, &task));
    let worked = tokio::select! {
        worked = &mut working => worked,
        () = signals.next() => {
            let message = format!("{} was told to end by a signal", task.index);
            printer.talk(&message);
            let told = abort(&*ports.ledger, &task.run, Abort { cause: AbortCause::System, message, at_once: false });
            let (told, worked) = tokio::join!(told, working);
            if let Err(error) = told {
                printer.talk(&format!("the run could not be told to stop: {error}"));
            }
            worked
        }
    };
    match worked? {
        Worked::Closed => {}
        Worked::Duplicate => printer.talk("another worker has this segment; did nothing"),
        Worked::Late => printer.talk("the run has started, is being stopped or is over; did nothing"),
    }
    Ok(exit::OK)
}
