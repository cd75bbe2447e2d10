//! `lambdaload stop`

use super::look_on::{Told, tell_to_stop};
use crate::{error::Failure, exit, printer::Printer, run_ids, wiring::Place};

/// Asks a run to stop; it ends with its own verdict, where it was started.
pub(super) async fn stop(run: &str, now: bool, place: &Place, printer: &Printer) -> Result<i32, Failure> {
    let ports = place.watch_ports().await?;
    let id = run_ids::find(&*ports.ledger, run).await?;
    match tell_to_stop(place, &ports, &id, "stopped by `lambdaload stop`".to_owned(), now).await? {
        Told::Stopping { name } => {
            printer.talk(&format!("run {id} of {name} was told to stop; what was measured is kept and judged"));
            printer.talk(&format!("`{}` shows how it ends", place.command("watch", &id)));
        }
        Told::Over => printer.talk(&format!("run {id} has ended already")),
    }
    Ok(exit::OK)
}
