//! `lambdaload runs download`

use std::path::{Path, PathBuf};

use lambdaload_core::{
    ports::{StoreError, keys},
    run::summarize::summarized,
    summary::Handled,
};

use super::{logs, present};
use crate::{
    error::Failure,
    exit,
    outputs::{Outputs, replace},
    printer::Printer,
    run_ids,
    wiring::Place,
};

/// Writes all files of a run that has its verdict, as the command that started it would have.
pub(super) async fn download(
    run: &str,
    out_dir: Option<PathBuf>,
    place: &Place,
    printer: &Printer,
) -> Result<i32, Failure> {
    let ports = place.watch_ports().await?;
    let id = run_ids::find(&*ports.ledger, run).await?;
    let record = ports.ledger.run(&id).await?;
    let Some(verdict) = ports.ledger.verdict(&id).await? else {
        return Err(Failure::not_valid(format!("run {id} has no verdict yet: it is {}", record.state.status()))
            .hint(format!("`lambdaload watch {id}` waits for it")));
    };
    let folder = out_dir.unwrap_or_else(|| present::folder_of_run(place.dir(), &id));
    let outputs = Outputs::open(&folder, None)?;
    present::keep(&verdict, record.plan.summary.machine_readable, &*ports.store, outputs, printer).await;
    match ports.store.get(&keys::timeline(&id)).await {
        Ok(timeline) => write(&folder, "timeline.json", &timeline)?,
        // A run that never started has none.
        Err(StoreError::NotFound(_)) => {}
        Err(error) => return Err(error.into()),
    }
    let handled = summarized(&*ports.store, &id).await.unwrap_or(Handled::Nothing);
    present::keep_files(&handled, &folder, printer);
    let workers = logs::all_workers(&ports, &id).await?;
    for (worker, log) in logs::read(&ports, place, &id, workers).await? {
        write(&folder, &format!("worker-{}.log", worker.number()), &log)?;
    }
    printer.result(&format!("{}\n", folder.display()))?;
    Ok(exit::OK)
}

fn write(folder: &Path, name: &str, contents: &[u8]) -> Result<(), Failure> {
    let path = folder.join(name);
    replace(&path, contents).map_err(|error| Failure::file("write", &path, &error))
}
