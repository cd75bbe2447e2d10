//! The script's own `handleSummary()`: once for the whole run, on the merged data.
//!
//! It changes nothing about the verdict, which is there before. Whatever goes wrong here is told in words.

use std::time::Duration;

use crate::{
    archive::{Archive, ArchiveError, mentions},
    ids::{RunId, WorkerIndex},
    plan::SummaryMode,
    ports::{GeneratorError, LedgerError, LoadGenerator, ObjectStore, StoreError, SummarySpec, keys},
    run::{
        WatchPorts,
        timely::{PATIENCE, persist, within},
    },
    secrets::Secrets,
    summary::{Handled, Terminal, handle_summary_input, machine_readable, summarizing},
    variables,
    verdict::Verdict,
};

/// k6's own limit for `handleSummary()`, unless the script sets another.
const LIMIT: Duration = Duration::from_mins(2);

/// Why `handleSummary()` could not be called.
#[derive(Debug, thiserror::Error)]
enum Obstacle {
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the script's archive: {0}")]
    Archive(#[from] ArchiveError),
    #[error(transparent)]
    Generator(#[from] GeneratorError),
}

/// Calls the script's `handleSummary()`, if it has one, and keeps what it returned; whoever comes second gets that.
///
/// It is called whatever the verdict is, as k6 does after aborted tests too; but not if nothing ran, the summary is
/// switched off, or a person would not wait for the end (Ctrl-C twice, `stop --now`).
///
/// The function is given the script's `secrets`, and nothing that it returns has any of them.
pub async fn summarize(
    ports: &WatchPorts,
    generator: &dyn LoadGenerator,
    secrets: &Secrets,
    verdict: &Verdict,
    terminal: Terminal,
) -> Handled {
    let ports = &ports.timely();
    let is_killed = verdict.abort.as_ref().is_some_and(|abort| abort.at_once);
    if verdict.started_at.is_none() || is_killed || verdict.summary.mode == SummaryMode::Disabled {
        return Handled::Nothing;
    }
    if let Some(earlier) = summarized(&*ports.store, &verdict.run).await {
        return earlier;
    }
    let handled = match call(ports, generator, secrets, verdict, terminal).await {
        Ok(Handled::Nothing) => return Handled::Nothing,
        Ok(handled) => handled.redacted(secrets),
        Err(obstacle) => return Handled::Failed(format!("handleSummary() could not be called: {obstacle}")),
    };
    let key = keys::handle_summary(&verdict.run);
    let document = handled.to_json();
    match persist(&*ports.clock, PATIENCE, || ports.store.put_new(&key, document.clone())).await {
        Err(StoreError::AlreadyExists(_)) => summarized(&*ports.store, &verdict.run).await.unwrap_or(handled),
        // What cannot be kept for later can be shown now.
        Ok(()) | Err(StoreError::NotFound(_) | StoreError::Unavailable { .. }) => handled,
    }
}

/// What `handleSummary()` returned at the end of an earlier run; none if it is not known (any more), has not been called,
/// or there is none.
pub async fn summarized(store: &dyn ObjectStore, run: &RunId) -> Option<Handled> {
    Handled::read(&store.get(&keys::handle_summary(run)).await.ok()?)
}

async fn call(
    ports: &WatchPorts,
    generator: &dyn LoadGenerator,
    secrets: &Secrets,
    verdict: &Verdict,
    terminal: Terminal,
) -> Result<Handled, Obstacle> {
    let get = async |key: String| persist(&*ports.clock, PATIENCE, || ports.store.get(&key)).await;
    let archive = get(keys::archive(&verdict.archive.hash)).await?;
    // Most scripts have none. One that does contains the word, were it in a module that it re-exports.
    if !mentions(&archive, "handleSummary")? {
        return Ok(Handled::Nothing);
    }
    let setup_data = match get(keys::setup(&verdict.run)).await {
        Ok(data) => Some(data),
        Err(StoreError::NotFound(_)) => None,
        Err(error) => return Err(error.into()),
    };
    let run = persist(&*ports.clock, PATIENCE, || ports.ledger.run(&verdict.run)).await?;
    let input = if run.plan.summary.machine_readable {
        machine_readable(verdict, &Archive::main_script(&archive)?, "")
    } else {
        handle_summary_input(verdict, terminal)
    };
    let wrapped = summarizing(&archive, &input, setup_data.as_deref())?;
    let limit = run.plan.deadlines.ready.saturating_add(wrapped.summary_timeout.unwrap_or(LIMIT));
    let env = variables::of_worker(&run.id, WorkerIndex::FIRST, &run.plan);
    let summarizing = generator.summarize(SummarySpec { archive: wrapped.tar, env, secrets: secrets.clone() });
    let printed = match within(&*ports.clock, limit, summarizing).await {
        Some(printed) => printed?,
        None => return Ok(Handled::Failed(format!("handleSummary() did not end within {} s", limit.as_secs()))),
    };
    // Without a document k6 has stopped our script: because it took too long, or `exec.test.abort()` was called. If it
    // said nothing, a promise was returned that nobody will ever keep.
    Ok(Handled::read(&printed.stdout).unwrap_or_else(|| match printed.log.as_slice() {
        [] => Handled::Failed("handleSummary() returned a promise that was never settled".to_owned()),
        log => Handled::Failed(log.join("\n")),
    }))
}
