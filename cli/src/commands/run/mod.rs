//! `lambdaload run`

mod every;
mod lambda;
mod launch;
mod local;

pub(super) use lambda::started;

use std::path::PathBuf;

use lambdaload_adapters::k6::K6;
use lambdaload_core::{
    ids::RunId,
    run::{WatchPorts, summarize::summarize},
    secrets::Secrets,
    summary::Handled,
    verdict::Verdict,
};

use super::present;
use crate::{
    args::Form,
    error::Failure,
    outputs::Outputs,
    printer::Printer,
    settings::{PlaceSettings, TestSettings},
    signals::Signals,
};

/// Runs a test, once or again and again; the exit code is its verdict's, of several the worst.
pub(super) async fn run(settings: TestSettings, place: &PlaceSettings, printer: &Printer) -> Result<i32, Failure> {
    let mut signals = Signals::listen()?;
    match settings.every {
        Some(every) => Box::pin(every::run(settings, every, place, printer, &mut signals)).await,
        None => Ok(run_once(settings, place, printer, &mut signals).await?.exit_code),
    }
}

/// A run that was made.
struct Ran {
    id: RunId,
    /// What the command exits with.
    exit_code: i32,
    /// None if nobody waited for it.
    verdict: Option<Verdict>,
}

impl Ran {
    fn with(verdict: Verdict) -> Self {
        Self { id: verdict.run.clone(), exit_code: verdict.exit_code, verdict: Some(verdict) }
    }
}

async fn run_once(
    settings: TestSettings,
    place: &PlaceSettings,
    printer: &Printer,
    signals: &mut Signals,
) -> Result<Ran, Failure> {
    match &place.deployment {
        None if settings.platform.detach => {
            Err(Failure::not_valid("--detach: this machine's workers end with the command that started them")
                .hint("--platform lambda runs the test in your AWS account, where it goes on without this command"))
        }
        None => Box::pin(local::run(settings, &place.dir, printer, signals)).await,
        Some(stack) => Box::pin(lambda::run(settings, stack, &place.dir, printer, signals)).await,
    }
}

/// Nothing has been spent when a person stops a run that early.
fn stopped_early() -> Failure {
    Failure::stopped("stopped before the run began; nothing was started")
}

/// What is left to do with a verdict.
struct Finish<'r> {
    ports: WatchPorts,
    generator: &'r K6,
    secrets: &'r Secrets,
    form: Form,
    folder: PathBuf,
    outputs: Outputs,
    machine_readable: bool,
    printer: &'r Printer,
}

impl Finish<'_> {
    /// Lets the script's own `handleSummary()` have its say, writes the files, shows the result.
    async fn finish(self, verdict: &Verdict, signals: &mut Signals) {
        let Self { ports, generator, secrets, form, folder, outputs, machine_readable, printer } = self;
        let handled = tokio::select! {
            handled = summarize(&ports, generator, secrets, verdict, printer.terminal()) => handled,
            () = signals.next() => Handled::Failed("stopped by Ctrl-C or a signal".to_owned()),
        };
        present::keep(verdict, machine_readable, &*ports.store, outputs, printer).await;
        present::keep_returned(&handled, &folder, printer);
        if let Err(failure) = present::show(verdict, form, verdict.summary.mode, &folder, &handled, printer) {
            printer.warning(&failure);
        }
    }
}
