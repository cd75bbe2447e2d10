//! `lambdaload stop`

use std::path::Path;

use lambdaload_core::{
    lifecycle::{Abort, AbortCause},
    run::{UpdateError, abort::abort},
};

use crate::{error::Failure, exit, printer::Printer, run_ids, wiring};

/// Asks a run to stop; it ends with its own verdict, where it was started.
pub(super) async fn stop(run: &str, now: bool, dir: &Path, printer: &Printer) -> Result<i32, Failure> {
    let ports = wiring::watch_ports(dir).await?;
    let id = run_ids::find(&*ports.ledger, run).await?;
    let message = "stopped by `lambdaload stop`".to_owned();
    match abort(&*ports.ledger, &id, Abort { cause: AbortCause::User, message, at_once: now }).await {
        Ok(record) => {
            printer.talk(&format!(
                "run {id} of {} was told to stop; what was measured is kept and judged",
                record.plan.name
            ));
            printer.talk(&format!("`lambdaload watch {id}` shows how it ends"));
        }
        Err(UpdateError::Illegal(_)) => printer.talk(&format!("run {id} has ended already")),
        Err(error) => return Err(error.into()),
    }
    Ok(exit::OK)
}
