//! The reaper of an account. It looks at a run, sees who should be at it and is not, and calls somebody or concludes it.
//!
//! It has no memory: what it decides follows from ledger, slots and clock, so it may be called twice, late, or two at a
//! time. Only so often does it call somebody again; then the run is concluded from what is there.

use std::time::Duration;

use crate::{
    ids::RunId,
    lifecycle::{Abort, AbortCause, Phase, RunEvent},
    ports::{AggregatorTask, CallError, LedgerError, StoreError, WorkerTask},
    records::{FailureKind, RunRecord, WorkerPhase, WorkerRecord},
    run::{
        AccountPorts, Deployment, UpdateError, WatchPorts,
        aggregate::AggregateError,
        appointments::{self, LOOK_AFTER, LOOKS, TOLERANCE, appoint},
        batch::Order,
        fire::{FireRequest, refuse},
        launch::{LaunchError, end_unstarted, no_room},
        notify::{NotifyError, tell},
        reap::{CallEnd, Called, FailedCall, ReapError, ReaperEvent, StoppedTask, conclude, has_beaten},
        record_event,
        room::{RoomError, call_waiting, free_room},
        start::record_not_launched,
        timely::{CALL_PATIENCE, PATIENCE, persist},
        update_run,
    },
    slots::Standing,
};

/// How often somebody is called again for one run, because who had been called died or never came.
#[expect(clippy::cast_possible_truncation, reason = "a few")]
pub const MAX_RESCUES: u32 = LOOKS.len() as u32;

/// No worker renews its lease so often; with a beat that is so much later, a record stays though its worker still lives.
const LAST_BEAT: u64 = 1 << 32;

/// What the reaper has found or done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reaped {
    /// The run is over, has its verdict, and has given back its room.
    Concluded(RunId),
    /// Somebody is at it, or was called, or it waits for room.
    GoesOn(RunId),
    /// There is no such run.
    Nothing,
}

/// Why the reaper could not do what is to be done. It can be called again.
#[derive(Debug, thiserror::Error)]
pub enum ReapEventError {
    /// The run could not be looked at or concluded.
    #[error(transparent)]
    Reap(#[from] ReapError),
    /// A run that was never started could not be concluded.
    #[error(transparent)]
    Launch(#[from] LaunchError),
    /// Its room.
    #[error(transparent)]
    Room(#[from] RoomError),
    /// Whoever wants to be told its verdict.
    #[error(transparent)]
    Notify(#[from] NotifyError),
    /// Another function, or the next appointment.
    #[error(transparent)]
    Call(#[from] CallError),
    /// Which worker a task was.
    #[error(transparent)]
    Roster(StoreError),
}

impl From<LedgerError> for ReapEventError {
    fn from(error: LedgerError) -> Self {
        Self::Reap(error.into())
    }
}

impl From<UpdateError> for ReapEventError {
    fn from(error: UpdateError) -> Self {
        Self::Reap(error.into())
    }
}

impl From<AggregateError> for ReapEventError {
    fn from(error: AggregateError) -> Self {
        Self::Reap(error.into())
    }
}

/// Does whatever an event asks for.
pub async fn reap_event(
    ports: &AccountPorts,
    deployment: &Deployment,
    event: &ReaperEvent,
) -> Result<Reaped, ReapEventError> {
    let reaper = Reaper { ports: &ports.timely(), deployment };
    match event {
        ReaperEvent::Look { run } => reaper.look(run, None).await,
        ReaperEvent::Failed(FailedCall { called: Called::Worker(task), end }) => reaper.worker_failed(task, end).await,
        ReaperEvent::Failed(failed) => {
            let found = match failed.called.run(reaper.ports.clock.now()) {
                Some(run) => reaper.look(&run, Some(failed)).await?,
                None => Reaped::Nothing,
            };
            match (&failed.called, found) {
                (Called::Schedule(request), Reaped::Nothing) => reaper.firing_failed(request, &failed.end).await,
                (_, found) => Ok(found),
            }
        }
        ReaperEvent::Stopped(task) => reaper.task_stopped(task).await,
    }
}

/// A reaper with ports that always answer.
struct Reaper<'a> {
    ports: &'a AccountPorts,
    deployment: &'a Deployment,
}

impl Reaper<'_> {
    /// Looks at a run, perhaps because somebody failed.
    async fn look(&self, id: &RunId, failed: Option<&FailedCall>) -> Result<Reaped, ReapEventError> {
        let Some(run) = self.run(id).await? else { return Ok(Reaped::Nothing) };
        if self.verdict_is_written(&run).await? {
            free_room(self.ports, self.deployment, &run).await?;
            Box::pin(tell(self.ports, &run)).await?;
            return Ok(Reaped::Concluded(run.id));
        }
        match run.state.phase {
            Phase::Created | Phase::Validated | Phase::Queued => self.look_at_unstarted(run, failed).await,
            _ => self.look_at_started(run, failed).await,
        }
    }

    async fn run(&self, id: &RunId) -> Result<Option<RunRecord>, LedgerError> {
        match persist(&*self.ports.clock, PATIENCE, || self.ports.ledger.run(id)).await {
            Ok(run) => Ok(Some(run)),
            Err(LedgerError::NoSuchRun(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Whether the run is over. Whoever wrote its verdict may have died before it said so in the run's record.
    async fn verdict_is_written(&self, run: &RunRecord) -> Result<bool, UpdateError> {
        let AccountPorts { clock, ledger, .. } = self.ports;
        if run.state.phase == Phase::Concluded {
            return Ok(true);
        }
        let is_written = persist(&**clock, PATIENCE, || ledger.verdict(&run.id)).await?.is_some();
        if is_written {
            persist(&**clock, PATIENCE, || record_event(&**ledger, &run.id, RunEvent::Concluded)).await?;
        }
        Ok(is_written)
    }

    /// A run whose workers were not called.
    async fn look_at_unstarted(&self, run: RunRecord, failed: Option<&FailedCall>) -> Result<Reaped, ReapEventError> {
        let AccountPorts { clock, .. } = self.ports;
        let (slots, capacity) = (self.ports.slots_of(&run.plan), self.deployment.capacity_for(&run.plan));
        if let Some(abort) = run.state.abort.clone() {
            return self.end_unstarted(&run, abort).await;
        }
        let now = clock.now();
        if run.state.phase < Phase::Queued {
            // Whoever asked was told that it failed, or nothing at all.
            return match failed {
                Some(failed) => self.end_unstarted(&run, launcher_failed(&failed.end.words())).await,
                None if now.since(run.created_at) >= LOOK_AFTER => {
                    self.end_unstarted(&run, launcher_failed("it ended before it had launched the run")).await
                }
                None => Ok(Reaped::GoesOn(run.id)),
            };
        }
        let book = persist(&**clock, PATIENCE, || slots.slots()).await?;
        // Whoever had given others room may have died before they were called.
        match book.standing(&run.id) {
            Standing::Held if run.rescues < MAX_RESCUES => self.call_again(&run).await,
            Standing::Held => {
                let why = failed.map_or_else(|| "it never came".to_owned(), |failed| failed.end.words());
                self.end_unstarted(&run, launcher_failed(&why)).await
            }
            Standing::Waits { .. } => {
                let until = run.created_at.plus(run.plan.deadlines.queue);
                if now.plus(TOLERANCE) >= until || run.plan.workers > capacity {
                    return self.end_unstarted(&run, no_room(&run, self.deployment)).await;
                }
                appoint(self.ports, &run.id, appointments::QUEUE, until).await?;
                call_waiting(self.ports, capacity, &book).await?;
                Ok(Reaped::GoesOn(run.id))
            }
            Standing::Absent => self.end_unstarted(&run, no_room(&run, self.deployment)).await,
        }
    }

    async fn end_unstarted(&self, run: &RunRecord, abort: Abort) -> Result<Reaped, ReapEventError> {
        let id = run.id.clone();
        let is_over = end_unstarted(self.ports, self.deployment, run, abort).await?;
        Ok(if is_over { Reaped::Concluded(id) } else { Reaped::GoesOn(id) })
    }

    /// A run whose workers were called, or were about to be.
    async fn look_at_started(&self, run: RunRecord, failed: Option<&FailedCall>) -> Result<Reaped, ReapEventError> {
        let AccountPorts { clock, ledger, .. } = self.ports;
        let deadlines = run.plan.deadlines;
        // Who was reported dead need not be waited for, unless two were called and the other one lives.
        let patience = if failed.is_some() { run.plan.pace.flush * 3 } else { deadlines.lost * 3 };
        let is_alive = has_beaten(&**clock, &**ledger, &run, patience).await?;
        let late_by = run.ends_by.map(|ends_by| clock.now().plus(TOLERANCE).since(ends_by));
        let is_past_end = late_by.is_some_and(|late_by| late_by > Duration::ZERO);
        let is_launcher = matches!(failed, Some(FailedCall { called: Called::Launcher(_) | Called::Schedule(_), .. }));
        if is_alive && is_launcher && run.rescues < MAX_RESCUES {
            // Perhaps not all workers were called.
            return self.call_again(&RunRecord { aggregator_beat: 0, ..run }).await;
        }
        if is_alive && !is_past_end {
            return Ok(Reaped::GoesOn(run.id));
        }
        if is_alive && late_by.is_some_and(|late_by| late_by < LOOK_AFTER) {
            let message = "it should have been over by now, whatever happened".to_owned();
            let abort = Abort { cause: AbortCause::Deadline, message, at_once: true };
            let event = RunEvent::Abort(abort);
            match persist(&**clock, PATIENCE, || record_event(&**ledger, &run.id, event.clone())).await {
                Ok(_) | Err(UpdateError::Illegal(_)) => {}
                Err(error) => return Err(error.into()),
            }
            appoint(self.ports, &run.id, appointments::LATE, clock.now().plus(LOOK_AFTER)).await?;
            return Ok(Reaped::GoesOn(run.id));
        }
        // Its last sign of life may have been the verdict.
        let is_over = self.verdict_is_written(&run).await?;
        let never_conducted = run.aggregator_beat == 0 && run.state.abort.is_some();
        if !is_over && !is_past_end && !never_conducted && run.rescues < MAX_RESCUES {
            return self.call_again(&run).await;
        }
        if !is_over {
            let AccountPorts { clock, store, ledger, .. } = self.ports.clone();
            conclude(&WatchPorts { clock, store, ledger }, &run.id, &self.deployment.version).await?;
        }
        free_room(self.ports, self.deployment, &run).await?;
        Box::pin(tell(self.ports, &run)).await?;
        Ok(Reaped::Concluded(run.id))
    }

    /// A schedule's launcher died before there was a run: it is called again, a few times; then the firing has come to nothing.
    async fn firing_failed(&self, request: &FireRequest, end: &CallEnd) -> Result<Reaped, ReapEventError> {
        let AccountPorts { clock, functions, .. } = self.ports;
        if request.tries < MAX_RESCUES {
            let again = FireRequest { tries: request.tries + 1, ..request.clone() };
            persist(&**clock, CALL_PATIENCE, || functions.fire(&again)).await?;
        } else if let Some(due) = request.due(clock.now()) {
            refuse(self.ports, &due, &format!("the launcher could not start it: {}", end.words())).await?;
        }
        Ok(Reaped::Nothing)
    }

    /// Calls whoever is missing, and looks again a little later: an aggregator where there was one, otherwise the launcher.
    async fn call_again(&self, run: &RunRecord) -> Result<Reaped, ReapEventError> {
        let AccountPorts { clock, ledger, functions, .. } = self.ports;
        let count = || {
            update_run(&**ledger, &run.id, |run| {
                let goes_on = run.state.phase != Phase::Concluded;
                run.rescues += u32::from(goes_on);
                Ok(goes_on)
            })
        };
        let counted = persist(&**clock, PATIENCE, count).await?;
        if let Some(name) = LOOKS.get(run.rescues as usize) {
            appoint(self.ports, &run.id, name, clock.now().plus(LOOK_AFTER)).await?;
        }
        if run.aggregator_beat == 0 {
            persist(&**clock, CALL_PATIENCE, || functions.launch(&run.id)).await?;
        } else {
            let task = AggregatorTask { run: run.id.clone(), succession: counted.succession + 1 };
            persist(&**clock, CALL_PATIENCE, || functions.aggregate(&task)).await?;
        }
        Ok(Reaped::GoesOn(run.id.clone()))
    }

    /// A task that ECS has stopped, whatever it had done by then.
    async fn task_stopped(&self, stopped: &StoppedTask) -> Result<Reaped, ReapEventError> {
        // Who ends so has said all there was to say.
        let Some(end) = stopped.end.as_ref() else { return Ok(Reaped::Nothing) };
        let task = match &stopped.order {
            Order::Worker(task) => Some(task.clone()),
            Order::Batch(batch) => {
                let AccountPorts { clock, store, .. } = self.ports;
                match persist(&**clock, PATIENCE, || batch.find(&**store, &stopped.name)).await {
                    Ok(task) => task,
                    // Its launcher died before it knew who is who. Another one is called in time.
                    Err(StoreError::NotFound(_)) => None,
                    Err(error) => return Err(ReapEventError::Roster(error)),
                }
            }
        };
        match task {
            Some(task) => self.worker_failed(&task, end).await,
            // One too many.
            None => Ok(Reaped::Nothing),
        }
    }

    /// Records what became of a worker, so that nobody has to wait until its lease ends, and the verdict can say why.
    async fn worker_failed(&self, task: &WorkerTask, end: &CallEnd) -> Result<Reaped, ReapEventError> {
        let Some(run) = self.run(&task.run).await? else { return Ok(Reaped::Nothing) };
        if run.state.phase == Phase::Concluded {
            return self.look(&task.run, None).await;
        }
        let is_planned = run.plan.segment(task.index).is_some() || task.index == run.plan.substitute();
        let failure = end.failure();
        if is_planned
            && !record_not_launched(&self.ports.for_run(&run), &run.id, task.index, failure.clone()).await?
            // One that never began does not know of another one that did, from the same call.
            && failure.kind != FailureKind::NotLaunched
            && let Some(worker) = self.silent_worker(task, &run).await?
        {
            let lost = WorkerRecord {
                beat: worker.beat.saturating_add(LAST_BEAT),
                phase: WorkerPhase::Closed,
                failure: Some(worker.failure.clone().unwrap_or(failure)),
                ..worker
            };
            match persist(&*self.ports.clock, PATIENCE, || self.ports.ledger.replace_worker(&lost)).await {
                Ok(()) | Err(LedgerError::Conflict(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(Reaped::GoesOn(run.id))
    }

    /// The record of a worker that has not closed, unless it renews its lease: calls may be delivered twice, and of two
    /// workers one may fail while the other has the segment.
    async fn silent_worker(&self, task: &WorkerTask, run: &RunRecord) -> Result<Option<WorkerRecord>, LedgerError> {
        let clock = &*self.ports.clock;
        let read = async || {
            let workers = persist(clock, PATIENCE, || self.ports.ledger.workers(&run.id)).await?;
            let is_it = |worker: &WorkerRecord| (worker.index, worker.attempt) == (task.index, task.attempt);
            let is_open = |worker: &WorkerRecord| worker.phase < WorkerPhase::Closed;
            Ok::<_, LedgerError>(workers.into_iter().find(is_it).filter(is_open))
        };
        let Some(before) = read().await? else { return Ok(None) };
        clock.sleep(run.plan.pace.flush * 3).await;
        Ok(read().await?.filter(|worker| worker.beat == before.beat))
    }
}

fn launcher_failed(why: &str) -> Abort {
    Abort { cause: AbortCause::System, message: format!("the run was not launched: {why}"), at_once: false }
}
