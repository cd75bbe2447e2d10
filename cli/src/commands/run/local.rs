//! A run whose workers are processes of this machine.

use std::{fs::DirEntry, path::Path, time::Duration};

use lambdaload_core::{
    ids::RunId,
    lifecycle::{Abort, AbortCause},
    live::LiveState,
    plan::plural,
    run::{Ports, UpdateError, WatchPorts, abort::abort, aggregate::aggregate, start::start},
    verdict::Verdict,
};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep_until},
};

use super::{Finish, Ran, stopped_early};
use crate::{
    commands::{
        prepare::{Ready, prepare},
        present,
    },
    error::Failure,
    live::LiveView,
    machine,
    outputs::Outputs,
    printer::Printer,
    run_ids,
    settings::TestSettings,
    signals::Signals,
    view::plan::{Detail, render},
    wiring,
};

/// Workers that are to stop at once kill their k6 and upload what it had said. Those that have not done so after this
/// time are killed themselves.
const GRACE: Duration = Duration::from_secs(2);

/// Runs a test; the exit code is its verdict's.
pub(super) async fn run(
    settings: TestSettings,
    dir: &Path,
    printer: &Printer,
    signals: &mut Signals,
) -> Result<Ran, Failure> {
    let Ready { prepared, k6, generator } = tokio::select! {
        ready = prepare(&settings, machine::machine().into(), printer) => ready?,
        () = signals.next() => return Err(stopped_early()),
    };
    let id = run_ids::new()?;
    let ports = wiring::ports(dir, &k6, &settings.secrets).await?;
    let folder = settings.out_dir.unwrap_or_else(|| present::folder_of_run(dir, &id));
    let outputs = Outputs::open(&folder, settings.summary_export.as_deref())?;
    printer.talk(&render(&prepared.plan, None, Detail::Short, printer.talk_paint));
    printer.talk(&format!("run           {id}\n"));
    let machine_readable = prepared.plan.summary.machine_readable;
    if let Err(error) = start(&ports, id.clone(), prepared).await {
        // Workers that were launched already would wait for an aggregator that never comes.
        ports.fleet.kill_all().await;
        return Err(error.into());
    }
    let verdict = conduct(&ports, &id, printer, signals).await?;
    let Ports { clock, store, ledger, .. } = ports;
    let finish = Finish {
        ports: WatchPorts { clock, store, ledger },
        generator: &generator,
        secrets: &settings.secrets,
        form: settings.form,
        folder,
        outputs,
        machine_readable,
        printer,
    };
    finish.finish(&verdict, signals).await;
    if let Some(logs) = logs(&present::folder_of_run(dir, &id)) {
        printer.talk(&logs);
    }
    Ok(Ran::with(verdict))
}

/// Where to read what the script and k6 said, if they said something.
fn logs(folder: &Path) -> Option<String> {
    let entries = std::fs::read_dir(folder).ok()?;
    let is_log = |entry: &DirEntry| {
        let name = entry.file_name();
        name.to_string_lossy().ends_with(".log") && entry.metadata().is_ok_and(|metadata| metadata.len() > 0)
    };
    let count = entries.filter_map(Result::ok).filter(is_log).count();
    let logs = plural(count as u64, "worker");
    (count > 0).then(|| format!("what k6 and the script said is in {}/*.log ({logs})", folder.display()))
}

/// Aggregates the run, shows how it goes, and stops it when a person says so.
async fn conduct(ports: &Ports, id: &RunId, printer: &Printer, signals: &mut Signals) -> Result<Verdict, Failure> {
    let (sender, mut states) = mpsc::unbounded_channel();
    let mut on_live = move |state: &LiveState| drop(sender.send(state.clone()));
    let mut aggregated = Box::pin(aggregate(ports, id, env!("CARGO_PKG_VERSION"), &mut on_live));
    let mut view = LiveView::new(printer);
    let mut stops = 0;
    let mut kill_at = None;
    let verdict = loop {
        tokio::select! {
            verdict = &mut aggregated => break verdict,
            Some(state) = states.recv() => view.update(state),
            () = sleep_until(kill_at.unwrap_or_else(Instant::now)), if kill_at.is_some() => {
                kill_at = None;
                ports.fleet.kill_all().await;
            }
            () = signals.next() => {
                stops += 1;
                if stops > 2 {
                    view.end();
                    return Err(Failure::stopped(format!("left run {id} without a verdict"))
                        .hint(format!("`lambdaload runs get {id}` concludes it from what was measured")));
                }
                stop(ports, id, stops == 2, &mut view).await;
                kill_at = (stops == 2).then(|| Instant::now() + GRACE);
            }
        }
    };
    view.end();
    match verdict {
        Ok(verdict) => Ok(verdict),
        Err(error) => {
            // Nobody conducts these workers any more.
            ports.fleet.kill_all().await;
            Err(Failure::from(error).hint(format!("`lambdaload runs get {id}` concludes it from what was measured")))
        }
    }
}

/// Asks the run to stop. What was measured is kept and judged either way.
async fn stop(ports: &Ports, id: &RunId, at_once: bool, view: &mut LiveView) {
    view.say(if at_once { "stopping at once" } else { "stopping; Ctrl-C again to stop at once" });
    let message = "stopped by Ctrl-C or a signal".to_owned();
    match abort(&*ports.ledger, id, Abort { cause: AbortCause::User, message, at_once }).await {
        // It has just ended by itself.
        Ok(_) | Err(UpdateError::Illegal(_)) => {}
        Err(error) => view.say(&format!("the run could not be told to stop: {error}")),
    }
}
