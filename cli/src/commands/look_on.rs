//! Looking on at a run that does not depend on this command.

use lambdaload_core::{
    ids::RunId,
    lifecycle::{Abort, AbortCause, Phase},
    plan::words,
    run::{
        UpdateError, WatchPorts,
        abort::abort,
        watch::{Sight, watch},
    },
    verdict::Verdict,
};
use tokio::sync::mpsc;

use crate::{
    error::Failure, live::LiveView, printer::Printer, settings::StackSettings, signals::Signals, wiring::Deployment,
};
