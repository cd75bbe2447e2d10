//! Having a deployment's launcher start a run.

use lambdaload_core::{
    ids::RunId,
    plan::Plan,
    ports::{CallError, LedgerError},
    run::{
        WatchPorts,
        launch::{LaunchReply, LaunchRequest},
    },
    secrets::Secrets,
};

use crate::{
    error::Failure,
    printer::Printer,
    signals::Signals,
    wiring::{Deployment, Place},
};

/// How often the launcher is asked. Asking again changes nothing, so an answer that was lost is asked for once more.
const ASKED: usize = 3;

/// One launch.
pub(super) struct Launch<'r> {
    pub(super) place: &'r Place,
    pub(super) ports: &'r WatchPorts,
    pub(super) secrets: &'r Secrets,
    pub(super) id: &'r RunId,
    pub(super) printer: &'r Printer,
}

impl Launch<'_> {
    /// Launches, and says how often a person wanted the run stopped meanwhile: once the launcher was asked there may be a
    /// run, so that only its own record can stop it.
    pub(super) async fn launch(&self, plan: Plan, signals: &mut Signals) -> Result<(LaunchReply, u32), Failure> {
        let Some(deployment) = self.place.deployment() else {
            return Err(Failure::not_valid("only a deployment has a launcher"));
        };
        if !self.secrets.is_empty() {
            deployment.secrets().put(self.id, self.secrets).await?;
        }
        let mut stops = 0;
        let mut asked = Box::pin(ask(deployment, self.id, plan));
        let outcome = loop {
            tokio::select! {
                outcome = &mut asked => break outcome,
                () = signals.next() => {
                    stops += 1;
                    if stops > 1 {
                        return Err(Failure::stopped(format!("left run {} before its launcher had answered", self.id))
                            .hint(format!("if it was started, `{}` stops it", self.place.command("stop", self.id))));
                    }
                    self.printer.talk("stopping as soon as the launcher has answered; Ctrl-C again leaves at once");
                }
            }
        };
        match outcome {
            Ok(LaunchReply::Refused { message }) => {
                self.forget_secrets(deployment).await;
                let mut lines = message.lines();
                let failure = Failure::infrastructure(lines.next().unwrap_or("the launcher refused the run"));
                Err(lines.fold(failure, Failure::detail))
            }
            Ok(reply) => Ok((reply, stops)),
            Err(error) => Err(self.unanswered(deployment, error).await),
        }
    }

    /// A launcher that gave no answer may have started the run.
    async fn unanswered(&self, deployment: &Deployment, error: CallError) -> Failure {
        let failure = Failure::from(error);
        if let Err(LedgerError::NoSuchRun(_)) = self.ports.ledger.run(self.id).await {
            self.forget_secrets(deployment).await;
            return failure.hint("the run was not started");
        }
        failure
            .hint(format!(
                "it may have been started all the same: `{}` shows it,",
                self.place.command("watch", self.id)
            ))
            .hint(format!("and `{}` stops it", self.place.command("stop", self.id)))
    }

    /// Of a run that there is not nobody else deletes them.
    async fn forget_secrets(&self, deployment: &Deployment) {
        if !self.secrets.is_empty()
            && let Err(error) = deployment.secrets().delete(self.id).await
        {
            self.printer.warning(&error.into());
        }
    }
}

async fn ask(deployment: &Deployment, id: &RunId, plan: Plan) -> Result<LaunchReply, CallError> {
    let calls = deployment.calls();
    let version = env!("CARGO_PKG_VERSION").to_owned();
    let request = LaunchRequest::Start { version, run: id.clone(), plan: Box::new(plan) };
    let mut asked = 0;
    loop {
        asked += 1;
        match calls.start(&request).await {
            Err(_) if asked < ASKED => {}
            outcome => return outcome,
        }
    }
}
