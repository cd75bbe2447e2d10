//! `lambdaload watch`

use lambdaload_core::{run::summarize::summarized, summary::Handled};

use super::{
    look_on::{CtrlC, look_on},
    present,
};
use crate::{
    args::ShowArgs, error::Failure, outputs::REPORT, printer::Printer, run_ids, settings::Sources, signals::Signals,
    wiring::Place,
};

/// Shows a run until it has its verdict; the exit code is that one's.
pub(super) async fn watch(
    run: &str,
    show: &ShowArgs,
    sources: &Sources,
    place: &Place,
    printer: &Printer,
) -> Result<i32, Failure> {
    let form = sources.form(&show.form)?;
    let mut signals = Signals::listen()?;
    let ports = place.watch_ports().await?;
    let id = run_ids::find(&*ports.ledger, run).await?;
    // Whether there is such a run, and whether we may read it, is said at once.
    ports.ledger.run(&id).await?;
    let verdict = look_on(place, &ports, &id, CtrlC::Leaves, printer, &mut signals).await?;
    let mode = show.summary_mode.unwrap_or(verdict.summary.mode);
    // Whoever conducts the run calls it just now; its text may not be there yet.
    let handled = summarized(&*ports.store, &id).await.unwrap_or(Handled::Nothing);
    let folder = present::folder_of_run(place.dir(), &id);
    present::show(&verdict, form, mode, &folder, &handled, printer)?;
    if place.deployment().is_some() && !folder.join(REPORT).is_file() {
        printer.talk(&format!("`{}` writes its report and all else here", place.command("runs download", &id)));
    }
    Ok(verdict.exit_code)
}
