//! `lambdaload runs`

use std::path::Path;

use jiff::tz::TimeZone;
use lambdaload_adapters::clock::TokioClock;
use lambdaload_core::{
    ids::RunId,
    live::LiveState,
    ports::{Clock as _, RunSummary, keys},
    run::{WatchPorts, reap::reap, summarize::summarized},
    summary::Handled,
    verdict::Outcome,
};
use serde::Serialize;

use super::present;
use crate::{
    args::{Form, RunsCommand, ShowArgs},
    error::Failure,
    exit, live,
    outputs::Outputs,
    printer::Printer,
    run_ids,
    settings::Sources,
    view::runs::render,
    wiring,
};

/// Shows earlier runs.
pub(super) async fn runs(which: RunsCommand, sources: &Sources, dir: &Path, printer: &Printer) -> Result<i32, Failure> {
    match which {
        RunsCommand::List { limit, form } => list(limit, sources.form(&form)?, dir, printer).await,
        RunsCommand::Get(args) => {
            let ports = wiring::watch_ports(dir).await?;
            let id = run_ids::find(&*ports.ledger, &args.run).await?;
            get(&ports, &id, &args.show, sources, dir, printer).await
        }
        RunsCommand::Latest { show } => latest(sources, &show, dir, printer).await,
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
            outcome: run.verdict.as_ref().map(|verdict| verdict.outcome),
            exit_code: run.verdict.as_ref().map(|verdict| verdict.exit_code),
        }
    }
}

async fn list(limit: usize, form: Form, dir: &Path, printer: &Printer) -> Result<i32, Failure> {
    // A list of nothing is no error, and asking for it makes no folder.
    let runs = if wiring::has_ledger(dir) {
        wiring::watch_ports(dir).await?.ledger.latest_runs(limit).await?
    } else {
        Vec::new()
    };
    match form {
        Form::Json => printer.result(&present::json(&runs.iter().map(ListedRun::new).collect::<Vec<_>>())?)?,
        Form::Human if runs.is_empty() => printer.talk(&format!("no runs yet in {}", dir.display())),
        Form::Human => {
            let (now, zone) = (TokioClock::new().now(), TimeZone::system());
            printer.result(&render(&runs, now, &zone, printer.result_paint, printer.result_terminal_width()))?;
        }
    }
    Ok(exit::OK)
}

async fn latest(sources: &Sources, show: &ShowArgs, dir: &Path, printer: &Printer) -> Result<i32, Failure> {
    let ports = wiring::watch_ports(dir).await?;
    let runs = ports.ledger.latest_runs(1).await?;
    let latest = runs.first().ok_or_else(|| {
        Failure::not_valid(format!("no runs yet in {}", dir.display())).hint("`lambdaload run checkout.js` makes one")
    })?;
    get(&ports, &latest.record.id, show, sources, dir, printer).await
}

/// Shows a run's verdict, or how far it is. A run that nobody conducts any more is concluded here.
async fn get(
    ports: &WatchPorts,
    id: &RunId,
    show: &ShowArgs,
    sources: &Sources,
    dir: &Path,
    printer: &Printer,
) -> Result<i32, Failure> {
    let form = sources.form(&show.form)?;
    let folder = present::folder_of_run(dir, id);
    let mut verdict = ports.ledger.verdict(id).await?;
    if verdict.is_none() {
        // Also says if there is no such run.
        let record = ports.ledger.run(id).await?;
        printer.talk(&format!(
            "run {id} has no verdict yet; looking for a sign of life for up to {}",
            lambdaload_core::plan::words(record.plan.deadlines.lost)
        ));
        verdict = reap(ports, id, env!("CARGO_PKG_VERSION")).await?;
        if let Some(verdict) = &verdict {
            // Whoever died before it could be judged has left no files either.
            match Outputs::open(&folder, None) {
                Ok(outputs) => {
                    let machine_readable = record.plan.summary.machine_readable;
                    present::keep(verdict, machine_readable, &*ports.store, outputs, printer).await;
                }
                Err(failure) => printer.warning(&failure),
            }
        }
    }
    match (verdict, form) {
        (Some(verdict), form) => {
            let mode = show.summary_mode.unwrap_or(verdict.summary.mode);
            let handled = summarized(&*ports.store, id).await.unwrap_or(Handled::Nothing);
            present::show(&verdict, form, mode, &folder, &handled, printer)?;
        }
        (None, Form::Human) => printer.result(&under_way(ports, id).await?)?,
        (None, Form::Json) => {
            return Err(Failure::not_valid(format!("run {id} has no verdict yet: it is under way"))
                .hint(format!("`lambdaload watch {id}` waits for it")));
        }
    }
    Ok(exit::OK)
}

async fn under_way(ports: &WatchPorts, id: &RunId) -> Result<String, Failure> {
    let record = ports.ledger.run(id).await?;
    let live: Option<LiveState> = match ports.store.get(&keys::live(id)).await {
        Ok(bytes) => serde_json::from_slice(&bytes).ok(),
        // It is only there to be looked at, and may not be there yet.
        Err(_) => None,
    };
    let state = live.map_or_else(|| record.state.status(), |live| live::line(&live));
    Ok(format!("{id}   {}\n{state}\n`lambdaload watch {id}` waits for its verdict\n", record.plan.name))
}
