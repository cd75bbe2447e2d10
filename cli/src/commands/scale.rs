//! `lambdaload scale`

use lambdaload_core::{plan::plural, run::scale};

use crate::{error::Failure, exit, printer::Printer, run_ids, wiring::Place};

/// Changes the VUs of a run, and waits until all workers have followed.
pub(super) async fn scale(run: &str, vus: u64, place: &Place, printer: &Printer) -> Result<i32, Failure> {
    let ports = place.watch_ports().await?;
    let id = run_ids::find(&*ports.ledger, run).await?;
    let record = scale::scale(&ports, &id, vus).await?;
    let scenario = record.plan.controlled().map(|scenario| scenario.name.as_str()).unwrap_or_default();
    let (vus, workers) = (plural(vus, "VU"), plural(record.plan.workers.into(), "worker"));
    printer.talk(&format!("scenario {scenario} of run {id} has {vus} now, on {workers}"));
    Ok(exit::OK)
}
