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

use crate::{error::Failure, live::LiveView, printer::Printer, signals::Signals, wiring::Place};

/// What Ctrl-C means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CtrlC {
    /// Looking on ends; the run goes on.
    Leaves,
    /// The run is to stop; it was pressed so often already. The second time stops at once, and the third leaves.
    Stops(u32),
}

/// Shows a run until it has its verdict.
pub(super) async fn look_on(
    place: &Place,
    ports: &WatchPorts,
    id: &RunId,
    ctrl_c: CtrlC,
    printer: &Printer,
    signals: &mut Signals,
) -> Result<Verdict, Failure> {
    let (sender, mut sights) = mpsc::unbounded_channel();
    let mut on_sight = move |sight: Sight| drop(sender.send(sight));
    let book = place.slots();
    let mut watched = Box::pin(watch(ports, book.as_deref(), id, &mut on_sight));
    let mut view = LiveView::new(printer);
    let mut stops = 0;
    if let CtrlC::Stops(so_often @ 1..) = ctrl_c {
        stops = so_often;
        stop(place, ports, id, stops > 1, &mut view).await;
    }
    let verdict = loop {
        tokio::select! {
            verdict = &mut watched => break verdict,
            Some(sight) = sights.recv() => show(sight, &mut view),
            () = signals.next() => {
                stops += 1;
                if ctrl_c == CtrlC::Leaves || stops > 2 {
                    view.end();
                    return Err(left(id, ctrl_c, place));
                }
                stop(place, ports, id, stops == 2, &mut view).await;
            }
        }
    };
    view.end();
    verdict.map_err(|error| {
        let failure = Failure::from(error);
        match place {
            Place::Local(_) => failure,
            Place::Lambda(..) => failure.hint(format!(
                "the run does not need this command; `{}` looks on again, from any machine",
                place.command("watch", id)
            )),
        }
    })
}

/// Who looks on no more.
fn left(id: &RunId, ctrl_c: CtrlC, place: &Place) -> Failure {
    match ctrl_c {
        CtrlC::Leaves => Failure::stopped("stopped watching; the run goes on")
            .hint(format!("`{}` stops the run", place.command("stop", id))),
        CtrlC::Stops(_) => Failure::stopped(format!("left run {id} before it had its verdict"))
            .detail("it was told to stop, and is judged all the same")
            .hint(format!("`{}` waits for its verdict", place.command("watch", id))),
    }
}

fn show(sight: Sight, view: &mut LiveView) {
    match sight {
        Sight::Live(state) => view.update(*state),
        Sight::Queued { place } => {
            let ahead = match place {
                1 => "it is the next one".to_owned(),
                place => format!("place {place} of those that wait"),
            };
            view.say(&format!("waiting for room in the account: {ahead}"));
        }
        Sight::Silent { silent } => {
            let silent = words(std::time::Duration::from_secs(silent.as_secs()));
            view.say(&format!(
                "no sign of the run's aggregator for {silent}: the deployment is calling another one or concludes the run; looking on"
            ));
        }
    }
}

/// Asks the run to stop. What was measured is kept and judged either way.
async fn stop(place: &Place, ports: &WatchPorts, id: &RunId, at_once: bool, view: &mut LiveView) {
    view.say(if at_once { "stopping at once" } else { "stopping; Ctrl-C again to stop at once" });
    let message = "stopped by Ctrl-C or a signal".to_owned();
    match tell_to_stop(place, ports, id, message, at_once).await {
        // Otherwise it has just ended by itself.
        Ok(Told::Stopping { .. } | Told::Over) => {}
        Err(failure) => view.say(&format!("the run could not be told to stop: {}", failure.headline)),
    }
}

/// What became of telling a run to stop.
pub(super) enum Told {
    /// It will stop.
    Stopping {
        /// The test's name.
        name: String,
    },
    /// It has ended before.
    Over,
}

/// One write to the run's record. A run that still waits for room has nobody who would read it, so the deployment's reaper
/// is called.
pub(super) async fn tell_to_stop(
    place: &Place,
    ports: &WatchPorts,
    id: &RunId,
    message: String,
    at_once: bool,
) -> Result<Told, Failure> {
    match abort(&*ports.ledger, id, Abort { cause: AbortCause::User, message, at_once }).await {
        Ok(run) => {
            if let Some(deployment) = place.deployment().filter(|_| run.state.phase < Phase::Initializing) {
                deployment.calls().reap(id).await?;
            }
            Ok(Told::Stopping { name: run.plan.name })
        }
        Err(UpdateError::Illegal(_)) => Ok(Told::Over),
        Err(error) => Err(error.into()),
    }
}
