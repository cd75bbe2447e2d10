//! `lambdaload watch`

use std::path::Path;

use lambdaload_core::{
    live::LiveState,
    run::{summarize::summarized, watch},
    summary::Handled,
};
use tokio::sync::mpsc;

use super::present;
use crate::{
    args::ShowArgs, error::Failure, live::LiveView, printer::Printer, run_ids, settings::Sources, signals::Signals,
    wiring,
};

/// Shows a run until it has its verdict; the exit code is that one's.
pub(super) async fn watch(
    run: &str,
    show: &ShowArgs,
    sources: &Sources,
    dir: &Path,
    printer: &Printer,
) -> Result<i32, Failure> {
    let form = sources.form(&show.form)?;
    let mut signals = Signals::listen()?;
    let ports = wiring::watch_ports(dir).await?;
    let id = run_ids::find(&*ports.ledger, run).await?;
    let (sender, mut states) = mpsc::unbounded_channel();
    let mut on_live = move |state: &LiveState| drop(sender.send(state.clone()));
    let mut watched = Box::pin(watch::watch(&ports, &id, &mut on_live));
    let mut view = LiveView::new(printer);
    let verdict = loop {
        tokio::select! {
            verdict = &mut watched => break verdict,
            Some(state) = states.recv() => view.update(state),
            () = signals.next() => {
                view.end();
                return Err(Failure::stopped("stopped watching; the run goes on")
                    .hint(format!("`lambdaload stop {id}` stops the run")));
            }
        }
    };
    view.end();
    let verdict = verdict?;
    let mode = show.summary_mode.unwrap_or(verdict.summary.mode);
    // Whoever conducts the run calls it just now; its text may not be there yet.
    let handled = summarized(&*ports.store, &id).await.unwrap_or(Handled::Nothing);
    present::show(&verdict, form, mode, &present::folder_of_run(dir, &id), &handled, printer)?;
    Ok(verdict.exit_code)
}
