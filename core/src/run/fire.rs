//! A schedule fires: its stored test becomes a run, or is left out.
//!
//! What comes of a firing is decided once, by a conditional write to the stored test; its run's id follows from schedule and
//! scheduled time. So a firing that is delivered twice is one run.

use serde::{Deserialize, Serialize};

use crate::{
    ids::RunId,
    lifecycle::Phase,
    ports::{LedgerError, Timestamp},
    records::RunRecord,
    run::{
        AccountPorts, CONFLICTS,
        appointments::LOOK_AFTER,
        launch::{LaunchError, LaunchReply, Launcher},
        notify::{Recipient, tell_of_nothing},
        timely::{PATIENCE, persist},
    },
    schedule::{Decision, Fired, Firing, Origin, ScheduleName, StoredTest, decide, scheduled_for},
};

/// The call of a schedule, or of a person in its place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FireRequest {
    /// Which lambdaload asks; the Scheduler does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// The schedule.
    pub schedule: ScheduleName,
    /// For what moment, as the Scheduler writes it; none of a person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scheduled_at: Option<String>,
    /// The run that a person wants; the Scheduler's follows from the moment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<RunId>,
    /// How often the reaper has called in the Scheduler's place, because the launcher that was called died.
    #[serde(default)]
    pub tries: u32,
}

/// A firing whose run is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Due {
    pub(super) schedule: ScheduleName,
    pub(super) scheduled_for: Option<Timestamp>,
    pub(super) run: RunId,
}

impl FireRequest {
    /// The run that this call is for; none if it names neither a run nor a moment.
    pub(super) fn due(&self, now: Timestamp) -> Option<Due> {
        let scheduled_for = self.scheduled_at.as_deref().and_then(|text| scheduled_for(text, now));
        let derived = scheduled_for.map(|at| RunId::derived(at, self.schedule.as_str()));
        let run = self.run.clone().or(derived)?;
        Some(Due { schedule: self.schedule.clone(), scheduled_for, run })
    }
}

impl Launcher<'_> {
    /// Lets a schedule fire.
    pub(super) async fn fire(&self, request: &FireRequest) -> Result<LaunchReply, LaunchError> {
        let AccountPorts { clock, ledger, .. } = self.ports;
        let refused = |message: String| Ok(LaunchReply::Refused { message });
        let Some(due) = request.due(clock.now()) else {
            return refused(format!(
                "the call of schedule `{}` says neither for what moment nor which run",
                request.schedule
            ));
        };
        match persist(&**clock, PATIENCE, || ledger.run(&due.run)).await {
            Ok(run) => return Box::pin(self.go_on(run)).await,
            Err(LedgerError::NoSuchRun(_)) => {}
            Err(error) => return Err(error.into()),
        }
        let Some((test, firing)) = decided(self.ports, &due, None).await? else {
            return refused(format!("there is no schedule `{}` (any more)", due.schedule));
        };
        let after = match &firing.fired {
            Fired::Started { after } => after.clone(),
            Fired::Skipped { why } | Fired::Refused { why } => return refused(why.clone()),
        };
        let origin = Origin { schedule: due.schedule.clone(), version: test.version, scheduled_for: due.scheduled_for };
        let run = RunRecord {
            origin: Some(origin),
            after,
            notice: test.notify.clone().map(|topic| Recipient { topic, told: false }),
            ..RunRecord::new(due.run.clone(), clock.now(), test.plan)
        };
        match self.recorded(&test.lambdaload_version, run).await? {
            Ok(run) => Box::pin(self.go_on(run)).await,
            Err(reply) => {
                if let LaunchReply::Refused { message } = &reply {
                    let why = format!("{message}; `lambdaload schedule update {}` stores it anew", due.schedule);
                    refuse(self.ports, &due, &why).await?;
                }
                Ok(reply)
            }
        }
    }
}

/// Writes down that a firing came to nothing though it should have been a run, and tells who wants to be told.
pub(super) async fn refuse(ports: &AccountPorts, due: &Due, why: &str) -> Result<(), LedgerError> {
    if let Some((test, _)) = decided(ports, due, Some(why)).await? {
        tell_of_nothing(ports, &test, due.scheduled_for, why).await;
    }
    Ok(())
}

/// The stored test, and what this firing comes to: as it was decided before, or as it is now. `refused` is why a run that was
/// to be started was not. None if there is no such test.
async fn decided(
    ports: &AccountPorts,
    due: &Due,
    refused: Option<&str>,
) -> Result<Option<(StoredTest, Firing)>, LedgerError> {
    let AccountPorts { clock, tests, .. } = ports;
    let mut conflicts = 0;
    loop {
        let Some(mut test) = persist(&**clock, PATIENCE, || tests.test(&due.schedule)).await? else { return Ok(None) };
        let fired = match (test.firing(&due.run), refused) {
            (Some(known), None) => return Ok(Some((test.clone(), known.clone()))),
            (_, Some(why)) => Fired::Refused { why: why.to_owned() },
            (None, None) => comes_to(ports, &test, due).await?,
        };
        let firing = Firing {
            run: due.run.clone(),
            version: test.version,
            scheduled_for: due.scheduled_for,
            fired_at: clock.now(),
            fired,
        };
        test.remember(firing.clone());
        match persist(&**clock, PATIENCE, || tests.replace(&test)).await {
            Ok(test) => return Ok(Some((test, firing))),
            // Deleted, changed, or fired by somebody else since it was read.
            Err(LedgerError::Conflict(_)) if conflicts < CONFLICTS => conflicts += 1,
            Err(error) => return Err(error),
        }
    }
}

async fn comes_to(ports: &AccountPorts, test: &StoredTest, due: &Due) -> Result<Fired, LedgerError> {
    // A person who asks for it knows that it is paused.
    if test.paused && due.scheduled_for.is_some() {
        return Ok(Fired::Skipped { why: "the schedule is paused".to_owned() });
    }
    Ok(match decide(test.overlap, under_way(ports, test).await?) {
        Decision::Start => Fired::Started { after: None },
        Decision::After(run) => Fired::Started { after: Some(run) },
        Decision::Skip(run) => Fired::Skipped { why: format!("run {run} of this schedule was still under way") },
    })
}

/// The latest run of a schedule that is not over.
async fn under_way(ports: &AccountPorts, test: &StoredTest) -> Result<Option<RunId>, LedgerError> {
    let AccountPorts { clock, ledger, .. } = ports;
    for firing in test.firings.iter().filter(|firing| matches!(firing.fired, Fired::Started { .. })) {
        let goes_on = match persist(&**clock, PATIENCE, || ledger.run(&firing.run)).await {
            Ok(run) => run.state.phase != Phase::Concluded,
            // Its launcher is about to record it, or has died.
            Err(LedgerError::NoSuchRun(_)) => clock.now().since(firing.fired_at) < LOOK_AFTER,
            Err(error) => return Err(error),
        };
        if goes_on {
            return Ok(Some(firing.run.clone()));
        }
    }
    Ok(None)
}
