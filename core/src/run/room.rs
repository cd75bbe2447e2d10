//! Room in an account: giving it back, and calling those who have waited for it.

use std::time::Duration;

use crate::{
    ids::RunId,
    lifecycle::Phase,
    plan::Plan,
    ports::{CallError, LedgerError, SlotBook, Timestamp},
    records::{RunRecord, WorkerPhase, WorkerRecord},
    run::{
        AccountPorts, CONFLICTS, Deployment,
        appointments::{self, appoint},
        timely::{CALL_PATIENCE, PATIENCE, persist},
    },
    slots::Slots,
};

/// Why room was not given back, or not to the next one. Whoever tries again changes only what is still to be changed.
#[derive(Debug, thiserror::Error)]
pub enum RoomError {
    /// The ledger, or the book of slots.
    #[error("the run's room could not be given back: {0}")]
    Ledger(#[from] LedgerError),
    /// The launcher of the next run, or the reaper's appointment.
    #[error("the run's room was given back, but nobody else was told: {0}")]
    Call(#[from] CallError),
}

/// Reads the book, changes it and stores it, again and again until nobody came between.
pub(super) async fn update_slots(
    book: &dyn SlotBook,
    mut change: impl FnMut(&mut Slots),
) -> Result<Slots, LedgerError> {
    let mut conflicts = 0;
    loop {
        let before = book.slots().await?;
        let mut slots = before.clone();
        change(&mut slots);
        if slots == before {
            return Ok(slots);
        }
        match book.replace_slots(&slots).await {
            Err(LedgerError::Conflict(_)) if conflicts < CONFLICTS => conflicts += 1,
            // With many who claim at one time, it may go better a little later.
            Err(LedgerError::Conflict(cause)) => {
                return Err(LedgerError::Unavailable { operation: "changing the book of slots", cause: cause.into() });
            }
            outcome => return outcome,
        }
    }
}

/// Gives back the room of a run that is over, but for workers that may still live, and calls whoever has room now. The ports
/// always answer.
pub(super) async fn free_room(ports: &AccountPorts, deployment: &Deployment, run: &RunRecord) -> Result<(), RoomError> {
    let clock = &*ports.clock;
    let workers = persist(clock, PATIENCE, || ports.ledger.workers(&run.id)).await?;
    let open = workers.iter().filter(|worker| worker.phase < WorkerPhase::Closed).count();
    let open = u32::try_from(open).unwrap_or(u32::MAX).saturating_add(unheard(run, &workers));
    let gone_by = gone_by(&run.plan, clock.now());
    let (book, capacity) = (ports.slots_of(&run.plan), deployment.capacity_for(&run.plan));
    let settle = || update_slots(&**book, |slots| slots.settle(&run.id, open, gone_by, capacity, clock.now()));
    let slots = persist(clock, PATIENCE, settle).await?;
    if let Some(held) = slots.held.get(&run.id) {
        appoint(ports, &run.id, appointments::ROOM, held.until).await?;
    }
    call_waiting(ports, capacity, &slots).await
}

/// Workers that were launched and have not begun. An invocation that has not is none any more after a minute; a task may
/// still be on its way.
fn unheard(run: &RunRecord, heard: &[WorkerRecord]) -> u32 {
    let was_launched = run.aggregator_beat > 0 && run.plan.platform.fargate().is_some();
    let heard = heard.iter().filter(|worker| worker.index != run.plan.substitute()).count();
    let heard = u32::try_from(heard).unwrap_or(u32::MAX);
    if was_launched { run.plan.workers.saturating_sub(heard) } else { 0 }
}

/// When workers that nobody has heard of have gone in any case: they look at the run's record, stop their k6 without a sign
/// of the aggregator, and give up what they cannot store.
fn gone_by(plan: &Plan, now: Timestamp) -> Timestamp {
    let patience = plan.deadlines.lost * 3;
    // One that begins only now finds the run over.
    let begins = if plan.platform.fargate().is_some() { plan.deadlines.launch } else { Duration::ZERO };
    now.plus(begins + patience * 2 + plan.deadlines.stop * 3 + patience * 3)
}

/// Calls the launcher for all that have waited and now have room, or never will. One whose caller died is called by whoever
/// looks next.
pub(super) async fn call_waiting(ports: &AccountPorts, capacity: u32, slots: &Slots) -> Result<(), RoomError> {
    for id in slots.called(capacity) {
        if waits(ports, id).await? {
            persist(&*ports.clock, CALL_PATIENCE, || ports.functions.launch(id)).await?;
        }
    }
    Ok(())
}

async fn waits(ports: &AccountPorts, id: &RunId) -> Result<bool, LedgerError> {
    match persist(&*ports.clock, PATIENCE, || ports.ledger.run(id)).await {
        Ok(run) => Ok(run.state.phase == Phase::Queued),
        Err(LedgerError::NoSuchRun(_)) => Ok(false),
        Err(error) => Err(error),
    }
}
