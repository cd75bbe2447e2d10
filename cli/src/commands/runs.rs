//! `lambdaload runs`

use std::{path::Path, time::Duration};

use jiff::tz::TimeZone;
use lambdaload_adapters::clock::TokioClock;
use lambdaload_core::{
    ids::RunId,
    live::LiveState,
    plan::words,
    ports::{Clock as _, RunSummary, keys},
    records::RunRecord,
    run::{WatchPorts, reap::reap, summarize::summarized},
    schedule::Origin,
    summary::Handled,
    verdict::{Outcome, Verdict},
};
use serde::Serialize;

use super::{download::download, present};
use crate::{
    args::{Form, RunsCommand, ShowArgs},
    error::Failure,
    exit, live,
    outputs::Outputs,
    printer::Printer,
    run_ids,
    settings::Sources,
    view::runs::render,
    wiring::{Deployment, Place},
};

/// How long the reaper of a deployment may take: it waits for a sign of life before it concludes a run.
const REAPING: Duration = Duration::from_mins(3);

/// Shows earlier runs.
pub(super) async fn runs(
    which: RunsCommand,
    sources: &Sources,
    place: &Place,
    printer: &Printer,
) -> Result<i32, Failure> {
    match which {
        RunsCommand::List { limit, form } => list(limit, sources.form(&form)?, place, printer).await,
        RunsCommand::Get(args) => {
            let ports = place.watch_ports().await?;
            let id = run_ids::find(&*ports.ledger, &args.run).await?;
            get(&ports, &id, &args.show, sources, place, printer).await
        }
        RunsCommand::Latest { show } => latest(sources, &show, place, printer).await,
        RunsCommand::Download { run, out_dir } => download(&run, out_dir, place, printer).await,
    }
}

/// One run of a list, for programs.
#[derive(Serialize)]
struct ListedRun<'r> {
    run: &'r RunId,
    /// In microseconds since the Unix epoch.
    created_at: i64,
    status: String,
    script: &'r str,
    name: &'r str,
    note: Option<&'r str>,
    tags: &'r std::collections::BTreeMap<String, String>,
    workers: u32,
    /// None of a run that no schedule has started.
    origin: Option<&'r Origin>,
    /// None without a verdict.
    outcome: Option<Outcome>,
    exit_code: Option<i32>,
}

impl<'r> ListedRun<'r> {
    fn new(run: &'r RunSummary) -> Self {
        let plan = &run.record.plan;
        Self {
            run: &run.record.id,
            created_at: run.record.created_at.0,
            status: run.record.state.status(),
            script: &plan.script,
            name: &plan.name,
            note: plan.note.as_deref(),
            tags: &plan.tags,
            workers: plan.workers,
            origin: run.record.origin.as_ref(),
            outcome: run.verdict.as_ref().map(|verdict| verdict.outcome),
            exit_code: run.verdict.as_ref().map(|verdict| verdict.exit_code),
        }
    }
}

async fn list(limit: usize, form: Form, place: &Place, printer: &Printer) -> Result<i32, Failure> {
    // A list of nothing is no error, and asking for it makes no folder.
    let runs = if place.is_empty() { Vec::new() } else { place.watch_ports().await?.ledger.latest_runs(limit).await? };
    match form {
        Form::Json => printer.result(&present::json(&runs.iter().map(ListedRun::new).collect::<Vec<_>>())?)?,
        Form::Human if runs.is_empty() => printer.talk(&format!("no runs yet in {}", place.words())),
        Form::Human => {
            let (now, zone) = (TokioClock::new().now(), TimeZone::system());
            printer.result(&render(&runs, now, &zone, printer.result_paint, printer.result_terminal_width()))?;
        }
    }
    Ok(exit::OK)
}

async fn latest(sources: &Sources, show: &ShowArgs, place: &Place, printer: &Printer) -> Result<i32, Failure> {
    let ports = place.watch_ports().await?;
    let runs = ports.ledger.latest_runs(1).await?;
    let latest = runs.first().ok_or_else(|| {
        Failure::not_valid(format!("no runs yet in {}", place.words())).hint("`lambdaload run checkout.js` makes one")
    })?;
    get(&ports, &latest.record.id, show, sources, place, printer).await
}

/// Shows a run's verdict, or how far it is. A run that nobody conducts any more is concluded.
async fn get(
    ports: &WatchPorts,
    id: &RunId,
    show: &ShowArgs,
    sources: &Sources,
    place: &Place,
    printer: &Printer,
) -> Result<i32, Failure> {
    let form = sources.form(&show.form)?;
    let folder = present::folder_of_run(place.dir(), id);
    let mut verdict = ports.ledger.verdict(id).await?;
    if verdict.is_none() {
        // Also says if there is no such run.
        let record = ports.ledger.run(id).await?;
        verdict = match place {
            Place::Local(_) => conclude_here(ports, &record, &folder, printer).await?,
            Place::Lambda(deployment, _) => conclude_there(ports, deployment, &record, printer).await?,
        };
    }
    match (verdict, form) {
        (Some(verdict), form) => {
            let mode = show.summary_mode.unwrap_or(verdict.summary.mode);
            let handled = summarized(&*ports.store, id).await.unwrap_or(Handled::Nothing);
            present::show(&verdict, form, mode, &folder, &handled, printer)?;
        }
        (None, Form::Human) => printer.result(&under_way(ports, id, place).await?)?,
        (None, Form::Json) => {
            return Err(Failure::not_valid(format!("run {id} has no verdict yet: it is under way"))
                .hint(format!("`{}` waits for it", place.command("watch", id))));
        }
    }
    Ok(exit::OK)
}

/// The verdict of a run of this machine whose aggregator has died; none while that lives.
async fn conclude_here(
    ports: &WatchPorts,
    record: &RunRecord,
    folder: &Path,
    printer: &Printer,
) -> Result<Option<Verdict>, Failure> {
    let id = &record.id;
    printer.talk(&format!(
        "run {id} has no verdict yet; looking for a sign of life for up to {}",
        words(record.plan.deadlines.lost)
    ));
    let verdict = reap(ports, id, env!("CARGO_PKG_VERSION")).await?;
    if let Some(verdict) = &verdict {
        // Whoever died before it could be judged has left no files either.
        match Outputs::open(folder, None) {
            Ok(outputs) => {
                let machine_readable = record.plan.summary.machine_readable;
                present::keep(verdict, machine_readable, &*ports.store, outputs, printer).await;
            }
            Err(failure) => printer.warning(&failure),
        }
    }
    Ok(verdict)
}

/// The verdict of a run of a deployment that should have ended. That is its reaper's part, which may have been called in
/// vain; so it is called once more.
async fn conclude_there(
    ports: &WatchPorts,
    deployment: &Deployment,
    record: &RunRecord,
    printer: &Printer,
) -> Result<Option<Verdict>, Failure> {
    let lasts = record.plan.deadlines.queue + record.plan.latest_end();
    if ports.clock.now() < record.created_at.plus(lasts) {
        return Ok(None);
    }
    printer.talk(&format!("run {} should have ended by now; the deployment's reaper is called", record.id));
    deployment.calls().reap(&record.id).await?;
    let deadline = ports.clock.monotonic() + REAPING;
    while ports.clock.monotonic() < deadline {
        ports.clock.sleep(record.plan.pace.poll).await;
        let verdict = ports.ledger.verdict(&record.id).await?;
        if verdict.is_some() {
            return Ok(verdict);
        }
    }
    let function = &deployment.stack.reaper_function;
    Err(Failure::infrastructure(format!("run {} still has no verdict {} later", record.id, words(REAPING)))
        .hint(format!("what the reaper said is in CloudWatch Logs: /aws/lambda/{function}")))
}

async fn under_way(ports: &WatchPorts, id: &RunId, place: &Place) -> Result<String, Failure> {
    let record = ports.ledger.run(id).await?;
    let live: Option<LiveState> = match ports.store.get(&keys::live(id)).await {
        Ok(bytes) => serde_json::from_slice(&bytes).ok(),
        // It is only there to be looked at, and may not be there yet.
        Err(_) => None,
    };
    let state = live.map_or_else(|| record.state.status(), |live| live::line(&live));
    let watch = place.command("watch", id);
    Ok(format!("{id}   {}\n{state}\n`{watch}` waits for its verdict\n", record.plan.name))
}
