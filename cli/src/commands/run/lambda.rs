//! A run whose workers are Lambda invocations in the user's account. From the launch on, nothing of it depends on this
//! command: what is here looks on, and tells the run to stop.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use lambdaload_core::{
    ids::RunId,
    plan::{Plan, account_room, words},
    ports::{CallError, ObjectStore, StoreError, keys},
    run::{
        WatchPorts,
        launch::{LaunchReply, LaunchRequest},
        prepare::Prepared,
    },
    verdict::Verdict,
};
use serde::Serialize;
use tokio::time::interval;

use super::{Finish, stopped_early};
use crate::{
    commands::{
        approve::approve,
        look_on::{Leave, look_on},
        prepare::{Ready, prepare_for},
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
    wiring::Deployment,
};

/// An archive that is larger takes a while to upload, which is said.
const LARGE: usize = 8 * 1024 * 1024;

/// Between two words about an upload that goes on.
const UPLOADING: Duration = Duration::from_secs(10);

/// How often the launcher is asked. Asking again changes nothing, so an answer that was lost is asked for once more.
const ASKED: usize = 3;

/// Runs a test; the exit code is its verdict's, or 0 with `--detach`.
pub(super) async fn run(
    settings: TestSettings,
    stack: &StackSettings,
    dir: &Path,
    printer: &Printer,
    signals: &mut Signals,
) -> Result<i32, Failure> {
    let made_ready = async {
        let deployment = Deployment::find(stack).await?;
        deployment.check_version()?;
        let ready = prepare_for(&settings, deployment.for_plan()?.into(), printer).await?;
        let account = deployment.account().await?;
        let room = account_room(ready.prepared.plan.workers, &account, settings.platform.reserve_concurrency);
        Ok::<_, Failure>((deployment, ready, room.map_err(|error| Failure::no_room(&error))?))
    };
    let (deployment, Ready { prepared, generator, .. }, room) = tokio::select! {
        ready = made_ready => ready?,
        () = signals.next() => return Err(stopped_early()),
    };
    let id = run_ids::new()?;
    let folder = settings.out_dir.clone().unwrap_or_else(|| present::folder_of_run(dir, &id));
    // Who leaves at once writes nothing; the files can be had later with `runs download`.
    let outputs =
        if settings.detach { None } else { Some(Outputs::open(&folder, settings.summary_export.as_deref())?) };
    printer.talk(&render(&prepared.plan, Some(&room), Detail::Short, printer.talk_paint));
    approve(&prepared.plan, &settings, printer)?;
    printer.talk(&format!("run           {id}\n"));
    let Prepared { plan, archive } = prepared;
    let ports = deployment.watch_ports();
    tokio::select! {
        uploaded = upload(&*ports.store, &plan, archive, printer) => uploaded?,
        () = signals.next() => return Err(stopped_early()),
    }
    let machine_readable = plan.summary.machine_readable;
    let queue = plan.deadlines.queue;
    let start = Start { deployment: &deployment, settings: &settings, stack, id: &id, printer };
    let (reply, stops) = start.launch(plan, signals).await?;
    if settings.detach {
        printer.result(&Started::line(&id, &deployment, reply)?)?;
        return Ok(exit::OK);
    }
    if let LaunchReply::Queued { .. } = reply {
        let limit = words(queue);
        printer.talk(&format!("there is no room for its workers now: it waits, for up to {limit}; Ctrl-C gives up"));
    }
    let verdict = look_on(&deployment, &ports, &id, Leave::StopsTheRun { stops }, stack, printer, signals).await?;
    if let Some(outputs) = outputs {
        let finish = Finish {
            ports,
            generator: &generator,
            secrets: &settings.secrets,
            form: settings.form,
            folder,
            outputs,
            machine_readable,
            printer,
        };
        finish.finish(&verdict, signals).await;
    }
    say_where_logs_are(&verdict, stack, printer);
    Ok(verdict.exit_code)
}

/// Puts the archive where workers find it; one of the same contents may be there from an earlier run.
async fn upload(store: &dyn ObjectStore, plan: &Plan, archive: Vec<u8>, printer: &Printer) -> Result<(), Failure> {
    let key = keys::archive(&plan.archive.hash);
    let size = archive.len();
    if size > LARGE && store.has(&key).await? {
        return Ok(());
    }
    let bytes = numbers::bytes(size as f64);
    if size > LARGE {
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
                let seconds = Duration::from_secs(began_at.elapsed().as_secs());
                printer.talk(&format!("still uploading the archive ({bytes}) after {}", words(seconds)));
            }
        }
    }
}

/// What a launch needs.
struct Start<'r> {
    deployment: &'r Deployment,
    settings: &'r TestSettings,
    stack: &'r StackSettings,
    id: &'r RunId,
    printer: &'r Printer,
}

impl Start<'_> {
    /// Has the launcher start the run, and says how often a person wanted it stopped meanwhile: once it was asked there may
    /// be a run, so that only its own record can stop it.
    async fn launch(&self, plan: Plan, signals: &mut Signals) -> Result<(LaunchReply, u32), Failure> {
        let secrets = self.deployment.secrets();
        if !self.settings.secrets.is_empty() {
            secrets.put(self.id, &self.settings.secrets).await?;
        }
        let mut stops = 0;
        let outcome = {
            let mut asked = Box::pin(self.ask(plan));
            loop {
                tokio::select! {
                    outcome = &mut asked => break outcome,
                    () = signals.next() => {
                        stops += 1;
                        if stops > 1 {
                            return Err(Failure::stopped(format!("left run {} before the launcher has answered", self.id))
                                .hint(format!("if it was started, `{}` stops it", self.command("stop"))));
                        }
                        self.printer.talk("stopping as soon as the launcher has answered; Ctrl-C again to leave");
                    }
                }
            }
        };
        let failure = match outcome {
            Ok(LaunchReply::Refused { message }) => {
                let mut lines = message.lines();
                let failure = Failure::not_valid(lines.next().unwrap_or("the launcher refused the run"));
                lines.fold(failure, Failure::detail)
            }
            Ok(reply) => return Ok((reply, stops)),
            Err(error) => Failure::from(error)
                .hint(format!("it may have been started all the same; `{}` says so", self.command("runs get"))),
        };
        // Of a run that was not started nobody else deletes them. If one was, it has read them or fails and says so.
        if !self.settings.secrets.is_empty()
            && let Err(error) = secrets.delete(self.id).await
        {
            self.printer.warning(&error.into());
        }
        Err(failure)
    }

    async fn ask(&self, plan: Plan) -> Result<LaunchReply, CallError> {
        let calls = self.deployment.calls();
        let version = env!("CARGO_PKG_VERSION").to_owned();
        let request = LaunchRequest::Start { version, run: self.id.clone(), plan: Box::new(plan) };
        let mut asked = 0;
        loop {
            asked += 1;
            match calls.start(&request).await {
                Err(_) if asked < ASKED => {}
                outcome => return outcome,
            }
        }
    }

    fn command(&self, name: &str) -> String {
        format!("lambdaload {name} {}{}", self.id, self.stack.flags())
    }
}

/// What `--detach` prints.
#[derive(Serialize)]
struct Started<'r> {
    run: &'r RunId,
    /// `launched` or `queued`, with its place.
    #[serde(flatten)]
    reply: LaunchReply,
    stack: &'r str,
    region: &'r str,
}

impl Started<'_> {
    fn line(run: &RunId, deployment: &Deployment, reply: LaunchReply) -> Result<String, Failure> {
        let started = Started { run, reply, stack: &deployment.stack.name, region: &deployment.stack.region };
        let json = serde_json::to_string(&started);
        let json = json.map_err(|error| Failure::infrastructure(format!("run {run} was started")).detail(error.to_string()))?;
        Ok(json + "\n")
    }
}

fn say_where_logs_are(verdict: &Verdict, stack: &StackSettings, printer: &Printer) {
    printer.talk(&format!("what k6 and the script said: `lambdaload logs {}{}`", verdict.run, stack.flags()));
}
