//! The launcher of an account: what it is asked, what it says, and what it does.
//!
//! It may die between any two steps, be called twice, or late. Before anything exists the reaper has an appointment to look
//! at the run; what exists says how far the launcher came; and every step that was made is found made. So whoever comes
//! next, the launcher called again or the reaper, goes on or concludes the run.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{
    ids::{RunId, WorkerIndex},
    lifecycle::{Abort, AbortCause, Phase, RunEvent},
    plan::{Plan, Platform, plural, words},
    ports::{AggregatorTask, CallError, LedgerError, StoreError, keys},
    records::RunRecord,
    run::{
        AccountPorts, Deployment, UpdateError,
        aggregate::{AggregateError, conclude_unstarted},
        appointments::{self, LOOK_AFTER, appoint},
        fire::FireRequest,
        notify::{NotifyError, tell},
        record_event,
        room::{RoomError, call_waiting, free_room, update_slots},
        start::launch_workers,
        timely::{CALL_PATIENCE, PATIENCE, persist},
        update_run,
    },
    slots::{Standing, Waiting},
};

/// How much longer than its latest end a run keeps its room if nobody says that it is over: the reaper comes before.
const FORGOTTEN: Duration = Duration::from_mins(10);

/// What the launcher is to do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "do")]
pub enum LaunchRequest {
    /// Start a run whose archive is in the store. Asking again changes nothing.
    Start {
        /// Which lambdaload asks.
        version: String,
        /// Its id.
        run: RunId,
        /// What was decided.
        plan: Box<Plan>,
    },
    /// Start a run that has waited and has room now.
    Resume {
        /// The run.
        run: RunId,
    },
    /// Start the run of a schedule that fires.
    Fire(FireRequest),
}

/// What became of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "state")]
pub enum LaunchReply {
    /// Its workers have been called, now or before. It may be over already, which its record says.
    Launched,
    /// It waits for room.
    Queued {
        /// 1 for the next one.
        place: u32,
    },
    /// It was not started and never will be. If it was recorded, it is concluded.
    Refused {
        /// Why, and what to do, for people.
        message: String,
    },
}

/// Why a run was not launched. It is not known how far it came; whoever asks again goes on, and so does the reaper.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The ledger, or the book of slots.
    #[error(transparent)]
    Update(#[from] UpdateError),
    /// Another function.
    #[error(transparent)]
    Call(#[from] CallError),
    /// The room of a run that will not be started.
    #[error(transparent)]
    Room(#[from] RoomError),
    /// The verdict of a run that will not be started.
    #[error(transparent)]
    Aggregate(#[from] AggregateError),
    /// Whoever wants to be told that verdict.
    #[error(transparent)]
    Notify(#[from] NotifyError),
}

impl From<LedgerError> for LaunchError {
    fn from(error: LedgerError) -> Self {
        Self::Update(error.into())
    }
}

impl LaunchRequest {
    /// Reads what the launcher was sent. What cannot be read comes from another lambdaload, and is answered.
    pub fn parse(json: &[u8], deployment: &Deployment) -> Result<Self, LaunchReply> {
        /// What every lambdaload says.
        #[derive(Deserialize)]
        struct Asker {
            version: Option<String>,
        }
        if let Ok(Asker { version: Some(version) }) = serde_json::from_slice(json) {
            check_version(&version, deployment)?;
        }
        serde_json::from_slice(json).map_err(|error| LaunchReply::Refused {
            message: format!(
                "the launcher (lambdaload {}) does not understand what it was sent: {error}",
                deployment.version
            ),
        })
    }
}

fn check_version(version: &str, deployment: &Deployment) -> Result<(), LaunchReply> {
    if version == deployment.version {
        return Ok(());
    }
    let message = format!(
        "the stack is lambdaload {}, and this command is lambdaload {version}\n\
         deploy the stack of this version (`sam build && sam deploy`), or use the command of the stack's version",
        deployment.version
    );
    Err(LaunchReply::Refused { message })
}

/// Starts a run as far as there is room, or says why not.
pub async fn launch(
    ports: &AccountPorts,
    deployment: &Deployment,
    request: &LaunchRequest,
) -> Result<LaunchReply, LaunchError> {
    let launcher = Launcher { ports: &ports.timely(), deployment };
    match request {
        LaunchRequest::Start { version, run, plan } => Box::pin(launcher.start(version, run, plan)).await,
        LaunchRequest::Resume { run } => {
            let run = persist(&*ports.clock, PATIENCE, || launcher.ports.ledger.run(run)).await?;
            Box::pin(launcher.go_on(run)).await
        }
        LaunchRequest::Fire(request) => Box::pin(launcher.fire(request)).await,
    }
}

/// A launcher with ports that always answer.
pub(super) struct Launcher<'a> {
    pub(super) ports: &'a AccountPorts,
    deployment: &'a Deployment,
}

impl Launcher<'_> {
    async fn start(&self, version: &str, id: &RunId, plan: &Plan) -> Result<LaunchReply, LaunchError> {
        let run = RunRecord::new(id.clone(), self.ports.clock.now(), plan.clone());
        match self.recorded(version, run).await? {
            Ok(run) if run.plan != *plan => {
                Ok(refused(format!("there is another run {id}; every run needs an id of its own")))
            }
            Ok(run) => Box::pin(self.go_on(run)).await,
            Err(refused) => Ok(refused),
        }
    }

    /// The run as it is in the ledger, where it is put unless it is there or cannot be started here.
    pub(super) async fn recorded(
        &self,
        version: &str,
        run: RunRecord,
    ) -> Result<Result<RunRecord, LaunchReply>, LaunchError> {
        let clock = &*self.ports.clock;
        let ledger = &self.ports.ledger;
        match persist(clock, PATIENCE, || ledger.run(&run.id)).await {
            Ok(run) => return Ok(Ok(run)),
            Err(LedgerError::NoSuchRun(_)) => {}
            Err(error) => return Err(error.into()),
        }
        if let Err(refused) = self.check(version, &run.plan).await? {
            return Ok(Err(refused));
        }
        // Before there is anything that could be forgotten.
        appoint(self.ports, &run.id, appointments::START, run.created_at.plus(LOOK_AFTER)).await?;
        match persist(clock, PATIENCE, || ledger.create_run(&run)).await {
            Ok(()) => Ok(Ok(run)),
            // The answer to an earlier try was lost, or somebody asks twice.
            Err(LedgerError::AlreadyExists(_)) => Ok(Ok(persist(clock, PATIENCE, || ledger.run(&run.id)).await?)),
            Err(error) => Err(error.into()),
        }
    }

    /// Whether a run can be started here at all.
    async fn check(&self, version: &str, plan: &Plan) -> Result<Result<(), LaunchReply>, LaunchError> {
        let (capacity, worker_life) = (self.deployment.capacity_for(plan), self.deployment.worker_life_for(plan));
        if let Err(refused) = check_version(version, self.deployment) {
            return Ok(Err(refused));
        }
        let needs = plan.worker_life();
        let problem = if plan.workers == 0 || !(1..=plan.workers).contains(&plan.min_workers) {
            format!("a plan of {}, of which {} must be there", plural(plan.workers.into(), "worker"), plan.min_workers)
        } else if plan.workers > capacity {
            beyond_capacity(plan, capacity)
        } else if needs > worker_life {
            format!(
                "a worker of this run may need {} and lives {} at most; shorten the test, or run it elsewhere",
                words(needs),
                words(worker_life)
            )
        } else {
            let key = keys::archive(&plan.archive.hash);
            if persist(&*self.ports.clock, PATIENCE, || self.ports.store.has(&key)).await? {
                return Ok(Ok(()));
            }
            format!("the script's archive is not in the store: there is no object `{key}`; upload it first")
        };
        Ok(Err(refused(problem)))
    }

    /// Goes on from wherever the run is.
    pub(super) async fn go_on(&self, run: RunRecord) -> Result<LaunchReply, LaunchError> {
        match run.state.phase {
            Phase::Created | Phase::Validated | Phase::Queued => match run.state.abort.clone() {
                Some(abort) => self.refuse(&run, abort, LaunchReply::Launched).await,
                None => Box::pin(self.claim(run)).await,
            },
            Phase::Initializing if run.state.abort.is_none() => self.call(&run).await,
            Phase::Initializing | Phase::Running | Phase::Finishing => Ok(LaunchReply::Launched),
            Phase::Concluded => {
                // Whoever concluded it may have died before that.
                free_room(self.ports, self.deployment, &run).await?;
                Ok(LaunchReply::Launched)
            }
        }
    }

    /// Claims room, or a place among those that wait.
    async fn claim(&self, run: RunRecord) -> Result<LaunchReply, LaunchError> {
        let AccountPorts { clock, ledger, .. } = self.ports;
        let (slots, capacity) = (self.ports.slots_of(&run.plan), self.deployment.capacity_for(&run.plan));
        let has_waited = run.state.phase == Phase::Queued;
        if !has_waited {
            persist(&**clock, PATIENCE, || record_event(&**ledger, &run.id, RunEvent::Validated)).await?;
            if let Some(earlier) = &run.after
                && let Some(abort) = self.let_claim(earlier, &run.plan).await?
            {
                let reply = refused(abort.message.clone());
                return self.refuse(&run, abort, reply).await;
            }
        }
        let wish = waiting(&run);
        let claim = || {
            update_slots(&**slots, |slots| {
                // Who has given up waiting does not begin anew.
                if !has_waited || slots.standing(&run.id) != Standing::Absent {
                    slots.claim(&wish, capacity, clock.now());
                }
            })
        };
        let book = persist(&**clock, PATIENCE, claim).await?;
        let reply = match book.standing(&run.id) {
            Standing::Held => self.launch(run).await?,
            Standing::Waits { .. } if wish.workers > capacity => self.no_room(&run).await?,
            Standing::Waits { place } => {
                appoint(self.ports, &run.id, appointments::QUEUE, wish.until).await?;
                persist(&**clock, PATIENCE, || record_event(&**ledger, &run.id, RunEvent::Queued)).await?;
                // Whoever gave it room before that did not see that it waits.
                let book = persist(&**clock, PATIENCE, || slots.slots()).await?;
                match book.standing(&run.id) {
                    Standing::Held => self.launch(run).await?,
                    _ => LaunchReply::Queued { place },
                }
            }
            Standing::Absent => self.no_room(&run).await?,
        };
        // Time may have made room for others. If they cannot be called now, whoever looks next calls them.
        drop(call_waiting(self.ports, capacity, &book).await);
        Ok(reply)
    }

    /// Returns when an earlier run of the same schedule is in the book of slots or over, at the latest after
    /// [`PATIENCE`]: the book takes a run that it does not know for one that is over, and both may have been asked for
    /// within milliseconds. One that is still to end on another platform is in another book, where nobody waits for it: then
    /// this run has to end.
    async fn let_claim(&self, earlier: &RunId, plan: &Plan) -> Result<Option<Abort>, LaunchError> {
        let AccountPorts { clock, ledger, .. } = self.ports;
        let deadline = clock.monotonic() + PATIENCE;
        loop {
            match persist(&**clock, PATIENCE, || ledger.run(earlier)).await {
                Ok(earlier) if earlier.state.phase == Phase::Concluded => return Ok(None),
                Ok(earlier) if earlier.plan.platform.fargate().is_some() != plan.platform.fargate().is_some() => {
                    return Ok(Some(goes_on_elsewhere(&earlier)));
                }
                Ok(_) | Err(LedgerError::NoSuchRun(_)) => {}
                Err(error) => return Err(error.into()),
            }
            let book = persist(&**clock, PATIENCE, || self.ports.slots_of(plan).slots()).await?;
            if book.standing(earlier) != Standing::Absent || clock.monotonic() >= deadline {
                return Ok(None);
            }
            clock.sleep(Duration::from_millis(250)).await;
        }
    }

    /// Concludes a run that has no room and does not wait (any more).
    async fn no_room(&self, run: &RunRecord) -> Result<LaunchReply, LaunchError> {
        let abort = no_room(run, self.deployment);
        let reply = refused(abort.message.clone());
        self.refuse(run, abort, reply).await
    }

    /// Launches a run that has room.
    async fn launch(&self, run: RunRecord) -> Result<LaunchReply, LaunchError> {
        let AccountPorts { clock, ledger, .. } = self.ports;
        let now = clock.now();
        let ends_by = now.plus(run.plan.latest_end());
        appoint(self.ports, &run.id, appointments::END, ends_by).await?;
        if run.state.phase == Phase::Queued {
            appoint(self.ports, &run.id, appointments::BEGIN, now.plus(LOOK_AFTER)).await?;
        }
        let launched = || {
            update_run(&**ledger, &run.id, |run| {
                if run.state.abort.is_some() || run.state.phase >= Phase::Initializing {
                    return Ok(false);
                }
                run.state = run.state.next(RunEvent::Launched)?;
                run.ends_by = Some(ends_by);
                Ok(true)
            })
        };
        let run = persist(&**clock, PATIENCE, launched).await?;
        match (run.state.phase, run.state.abort.clone()) {
            (Phase::Initializing, None) => self.call(&run).await,
            // Stopped, or found forgotten, at the last moment.
            (phase, Some(abort)) if phase < Phase::Initializing => {
                self.refuse(&run, abort, LaunchReply::Launched).await
            }
            (Phase::Concluded, _) => {
                free_room(self.ports, self.deployment, &run).await?;
                Ok(LaunchReply::Launched)
            }
            _ => Ok(LaunchReply::Launched),
        }
    }

    /// Calls the aggregator, then the workers that have not begun: these wait for it only so long.
    async fn call(&self, run: &RunRecord) -> Result<LaunchReply, LaunchError> {
        let AccountPorts { clock, ledger, functions, .. } = self.ports;
        if run.aggregator_beat == 0 {
            let task = AggregatorTask { run: run.id.clone(), succession: run.succession };
            if let Err(error) = persist(&**clock, CALL_PATIENCE, || functions.aggregate(&task)).await {
                let message = format!("the run's aggregator could not be called: {error}");
                let abort = Abort { cause: AbortCause::System, message: message.clone(), at_once: false };
                return self.refuse(run, abort, refused(message)).await;
            }
        }
        let begun = persist(&**clock, PATIENCE, || ledger.workers(&run.id)).await?;
        let has_begun = |index: &WorkerIndex| begun.iter().any(|worker| worker.index == *index);
        let rest = run.plan.worker_indices().filter(|index| !has_begun(index));
        launch_workers(&self.ports.for_run(run), &run.id, rest).await?;
        Ok(LaunchReply::Launched)
    }

    /// Concludes a run of which no worker was called.
    async fn refuse(&self, run: &RunRecord, abort: Abort, reply: LaunchReply) -> Result<LaunchReply, LaunchError> {
        end_unstarted(self.ports, self.deployment, run, abort).await?;
        Ok(reply)
    }
}

/// Concludes a run of which no worker was called, unless somebody calls them at this moment; whether it is concluded. The
/// ports always answer.
pub(super) async fn end_unstarted(
    ports: &AccountPorts,
    deployment: &Deployment,
    run: &RunRecord,
    abort: Abort,
) -> Result<bool, LaunchError> {
    let latest = run.state.phase.max(Phase::Queued);
    let is_unstarted = |run: &RunRecord| run.state.phase <= latest && run.aggregator_beat == 0;
    let stop = || {
        update_run(&*ports.ledger, &run.id, |run| {
            // Once there is a reason to stop, no launcher goes on.
            if !is_unstarted(run) || run.state.abort.is_some() {
                return Ok(false);
            }
            run.state = run.state.next(RunEvent::Abort(abort.clone()))?;
            Ok(true)
        })
    };
    let run = persist(&*ports.clock, PATIENCE, stop).await?;
    if !is_unstarted(&run) && run.state.phase != Phase::Concluded {
        return Ok(false);
    }
    conclude_unstarted(&ports.for_run(&run), run.clone(), &deployment.version).await?;
    free_room(ports, deployment, &run).await?;
    Box::pin(tell(ports, &run)).await?;
    Ok(true)
}

/// Why a run that has waited, or may not wait, is not started.
pub(super) fn no_room(run: &RunRecord, deployment: &Deployment) -> Abort {
    let (workers, capacity) = (run.plan.workers, deployment.capacity_for(&run.plan));
    let message = if workers > capacity {
        beyond_capacity(&run.plan, capacity)
    } else {
        let queue = run.plan.deadlines.queue;
        let within = if queue.is_zero() { "now".to_owned() } else { format!("within {}", words(queue)) };
        let earlier = run.after.as_ref();
        let earlier = earlier.map(|earlier| format!("run {earlier} of the same schedule was not over {within}, or "));
        let earlier = earlier.unwrap_or_default();
        format!("{earlier}there was no room for {} {within}: others had it", plural(workers.into(), "worker"))
    };
    Abort { cause: AbortCause::Deadline, message, at_once: false }
}

fn goes_on_elsewhere(earlier: &RunRecord) -> Abort {
    let place = if earlier.plan.platform.fargate().is_some() { "Fargate" } else { "Lambda" };
    let message = format!(
        "run {} of the same schedule goes on on {place}, and runs wait only for those of their own platform; run the \
         schedule when it is over",
        earlier.id
    );
    Abort { cause: AbortCause::Deadline, message, at_once: false }
}

fn beyond_capacity(plan: &Plan, capacity: u32) -> String {
    let workers = plural(plan.workers.into(), "worker");
    let (parameter, place) = match plan.platform {
        Platform::Fargate(_) if capacity == 0 => {
            return format!("{workers} on Fargate asked for, which the stack is without; deploy it with Fargate=true");
        }
        Platform::Fargate(_) => ("FargateCapacity", " on Fargate"),
        Platform::Local | Platform::Lambda(_) => ("WorkerCapacity", ""),
    };
    format!(
        "{workers} asked for, and the stack may have {capacity}{place} at one time in all runs; use fewer workers, or \
         deploy the stack with a larger {parameter}"
    )
}

fn refused(message: String) -> LaunchReply {
    LaunchReply::Refused { message }
}

/// What a run claims. It waits from when it was recorded, however often it is asked for.
fn waiting(run: &RunRecord) -> Waiting {
    let lasts = run.plan.latest_end().saturating_add(FORGOTTEN);
    Waiting {
        run: run.id.clone(),
        workers: run.plan.workers,
        lasts_ms: u64::try_from(lasts.as_millis()).unwrap_or(u64::MAX),
        until: run.created_at.plus(run.plan.deadlines.queue),
        after: run.after.clone(),
    }
}
