//! A run whose workers are Lambda invocations in the user's account. From the launch on, nothing of it depends on this
//! command: what is here looks on, and tells the run to stop.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use lambdaload_core::{
    ids::RunId,
    plan::{Plan, words},
    ports::{ObjectStore, StoreError, keys},
    run::{launch::LaunchReply, prepare::Prepared},
};
use serde::Serialize;
use tokio::time::interval;

use super::{Finish, Ran, launch::Launch, stopped_early};
use crate::{
    commands::{
        approve::approve,
        look_on::{CtrlC, look_on, tell_to_stop},
        prepare::{Ready, ReadyThere, prepare_there},
        present,
    },
    error::Failure,
    exit,
    outputs::Outputs,
    printer::Printer,
    run_ids,
    settings::{StackSettings, TestSettings},
    signals::Signals,
    view::{
        numbers,
        plan::{Detail, render},
    },
    wiring::{Deployment, Place},
};

/// An archive that is larger takes a while to upload, which is said.
const LARGE: usize = 8 * 1024 * 1024;

/// Between two words about an upload that goes on.
const UPLOADING: Duration = Duration::from_secs(10);

/// Runs a test; the exit code is its verdict's, or 0 with `--detach`.
pub(super) async fn run(
    settings: TestSettings,
    stack: &StackSettings,
    dir: &Path,
    printer: &Printer,
    signals: &mut Signals,
) -> Result<Ran, Failure> {
    let ReadyThere { deployment, ready, room } = tokio::select! {
        ready = prepare_there(&settings, stack, printer) => ready?,
        () = signals.next() => return Err(stopped_early()),
    };
    let Ready { prepared: Prepared { plan, archive }, generator, .. } = ready;
    let id = run_ids::new()?;
    let folder = settings.out_dir.clone().unwrap_or_else(|| present::folder_of_run(dir, &id));
    // Who leaves at once writes no files; `runs download` does later.
    let outputs =
        (!settings.platform.detach).then(|| Outputs::open(&folder, settings.summary_export.as_deref())).transpose()?;
    printer.talk(&render(&plan, room.as_deref().ok(), Detail::Short, printer.talk_paint));
    room?;
    approve(&plan, &settings.platform, printer, signals).await?;
    printer.talk(&format!("run           {id}\n"));
    let (machine_readable, queue) = (plan.summary.machine_readable, plan.deadlines.queue);
    let place = Place::Lambda(Box::new(deployment), dir.to_owned());
    let ports = place.watch_ports().await?;
    tokio::select! {
        uploaded = upload(&*ports.store, &plan, archive, printer) => uploaded?,
        () = signals.next() => return Err(stopped_early()),
    }
    let launch = Launch { place: &place, ports: &ports, secrets: &settings.secrets, id: &id, printer };
    let (reply, stops) = launch.launch(plan, signals).await?;
    let Some(outputs) = outputs else {
        if stops > 0 {
            tell_to_stop(&place, &ports, &id, "stopped by Ctrl-C or a signal".to_owned(), false).await?;
            return Err(Failure::stopped(format!("run {id} was told to stop")));
        }
        printer.result(&started(&id, &reply, place.deployment())?)?;
        return Ok(Ran { id, exit_code: exit::OK, verdict: None });
    };
    if let LaunchReply::Queued { .. } = reply {
        let most = words(queue);
        printer
            .talk(&format!("the account has no room for its workers now; it waits for up to {most}, Ctrl-C gives up"));
    }
    let verdict = look_on(&place, &ports, &id, CtrlC::Stops(stops), printer, signals).await?;
    let secrets = &settings.secrets;
    let form = settings.form;
    let finish = Finish { ports, generator: &generator, secrets, form, folder, outputs, machine_readable, printer };
    finish.finish(&verdict, signals).await;
    printer.talk(&format!("`{}` shows what k6 and the script said", place.command("logs", &id)));
    Ok(Ran::with(verdict))
}

/// Puts the archive where workers find it; one of the same contents may be there from an earlier run.
async fn upload(store: &dyn ObjectStore, plan: &Plan, archive: Vec<u8>, printer: &Printer) -> Result<(), Failure> {
    let size = archive.len();
    let bytes = numbers::bytes(size as f64);
    let key = keys::archive(&plan.archive.hash);
    if size > LARGE {
        if store.has(&key).await? {
            return Ok(());
        }
        printer.talk(&format!("uploading the archive ({bytes})"));
    }
    let began_at = Instant::now();
    let mut told = interval(UPLOADING);
    // The first one comes at once.
    told.tick().await;
    let mut uploaded = store.put_new(&key, archive);
    loop {
        tokio::select! {
            outcome = &mut uploaded => return match outcome {
                // The key is the hash of the contents, so what is there is the same.
                Ok(()) | Err(StoreError::AlreadyExists(_)) => Ok(()),
                Err(error) => Err(error.into()),
            },
            _ = told.tick() => {
                let so_long = words(Duration::from_secs(began_at.elapsed().as_secs()));
                printer.talk(&format!("still uploading the archive ({bytes}) after {so_long}"));
            }
        }
    }
}

/// What `--detach` prints, on one line.
#[derive(Serialize)]
struct Started<'r> {
    run: &'r RunId,
    /// `launched`, or `queued` with its place.
    #[serde(flatten)]
    reply: &'r LaunchReply,
    stack: Option<&'r str>,
    region: Option<&'r str>,
}

pub(in crate::commands) fn started(
    run: &RunId,
    reply: &LaunchReply,
    deployment: Option<&Deployment>,
) -> Result<String, Failure> {
    let stack = deployment.map(|deployment| &deployment.stack);
    let started = Started {
        run,
        reply,
        stack: stack.map(|stack| stack.name.as_str()),
        region: stack.map(|stack| stack.region.as_str()),
    };
    match serde_json::to_string(&started) {
        Ok(json) => Ok(json + "\n"),
        Err(error) => Err(Failure::infrastructure(format!("run {run} was started")).detail(error.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_leaves_at_once_is_told_the_run_on_one_line() {
        let id = RunId::parse("01JD8QZV3M4T5W6X7Y8Z9A0B4K").expect("an id");
        assert_eq!(
            started(&id, &LaunchReply::Queued { place: 2 }, None).expect("writes"),
            "{\"run\":\"01JD8QZV3M4T5W6X7Y8Z9A0B4K\",\"state\":\"queued\",\"place\":2,\"stack\":null,\"region\":null}\n"
        );
        let launched = started(&id, &LaunchReply::Launched, None).expect("writes");
        assert!(launched.contains("\"state\":\"launched\""), "{launched}");
    }
}
