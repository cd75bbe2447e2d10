//! A worker's duties beside its k6: upload, renew the lease, obey. None of them waits for another.

use std::{sync::atomic::Ordering, time::Duration};

use futures::{
    FutureExt, StreamExt,
    future::{self, Either},
};

use crate::{
    chunk::{Chunk, ChunkKey, ChunkSeries},
    lifecycle::{Abort, AbortCause, Phase},
    ports::{LedgerError, StoreError, keys},
    records::{Failure, FailureKind},
    run::{
        timely::{ANSWER, within},
        work::{Shared, failures::failure, lock, micros, scale::follow_scale},
    },
};

/// How often it is looked whether the runtime has said something: it gives half a minute at least.
const NOTICE: Duration = Duration::from_secs(1);

/// A signal says nothing of why.
const TOLD: &str = "it was told to end (SIGTERM): somebody stopped its task, or AWS retires the machine";
const TOLD_ON_SPOT: &str =
    "it was told to end (SIGTERM): AWS takes its Spot capacity back, or somebody stopped its task";

impl Shared<'_> {
    /// Stores what was gathered since the last chunk, if anything was; `last` includes windows that are not over.
    /// What could not be stored is kept and comes first the next time.
    pub(super) async fn flush(&self, last: bool) -> Result<(), StoreError> {
        self.send_unsent().await?;
        let ran_for = self.ran_for();
        let series = lock(&self.recorder).take_windows(last);
        if !series.is_empty() {
            self.send(series).await?;
        }
        lock(&self.record).measured_micros = ran_for.map(micros);
        Ok(())
    }

    async fn send(&self, series: Vec<ChunkSeries>) -> Result<(), StoreError> {
        let key = {
            let record = lock(&self.record);
            ChunkKey {
                run: record.run.clone(),
                worker: record.index,
                attempt: record.attempt,
                sequence: record.chunks + 1,
            }
        };
        let object = keys::chunk(&key);
        let bytes = Chunk { key, series }.encode().map_err(|error| StoreError::Unavailable {
            operation: "encode",
            key: object.clone(),
            cause: error.into(),
        })?;
        *lock(&self.unsent) = Some((object, bytes));
        self.send_unsent().await
    }

    async fn send_unsent(&self) -> Result<(), StoreError> {
        let Some((key, bytes)) = lock(&self.unsent).clone() else { return Ok(()) };
        match self.ports.store.put_new(&key, bytes).await {
            // It is there from a try whose answer was lost.
            Ok(()) | Err(StoreError::AlreadyExists(_)) => {
                *lock(&self.unsent) = None;
                lock(&self.record).chunks += 1;
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// Notes that the worker gives up its part of the run, whoever reads that.
    fn give_up(&self, message: String) -> Failure {
        let failure = Failure { log: self.log(), ..failure(FailureKind::Abandoned, message) };
        lock(&self.record).failure.get_or_insert(failure.clone());
        *lock(&self.given_up) = Some(failure.clone());
        failure
    }
}

/// Goes on until the worker must end, and says why.
pub(super) async fn keep(shared: &Shared<'_>) -> Failure {
    let lease_lost = async {
        hold_lease(shared).await;
        shared.give_up("another worker has this segment now, or the run is gone; stopped".to_owned())
    };
    let duties = [
        obey_the_run(shared).boxed(),
        upload(shared).boxed(),
        lease_lost.boxed(),
        follow_scale(shared).boxed(),
        leave_in_time(shared).boxed(),
    ];
    future::select_all(duties).await.0
}

/// Why the worker need not begin: it was told to leave, or its time is over before the test is, were everything else done
/// at once.
pub(super) fn too_late_to_begin(shared: &Shared<'_>) -> Option<Failure> {
    if shared.ports.notice.is_given() {
        return Some(failure(FailureKind::Taken, format!("{}; k6 was not started", told(shared))));
    }
    let left = shared.ports.ends_at?.saturating_sub(shared.ports.clock.monotonic());
    let needs = shared.plan(|plan| {
        let work = if shared.is_substitute { Duration::ZERO } else { plan.pace.start_lead + plan.duration };
        work + plan.deadlines.leaving()
    });
    let message = format!(
        "Lambda ends it in {} s, and its part of the run takes {} s at least; k6 was not started",
        left.as_secs(),
        needs.as_secs()
    );
    (left < needs).then(|| failure(FailureKind::OutOfTime, message))
}

/// Stops k6 in time before the runtime ends the worker, or as soon as that says that it will, so that everything it said can
/// still be uploaded. It does not stay for `teardown()`, for which somebody else has more time.
async fn leave_in_time(shared: &Shared<'_>) -> Failure {
    let deadlines = shared.deadlines();
    let (kind, message) = match future::select(out_of_time(shared).boxed(), told_to_leave(shared).boxed()).await {
        Either::Left((message, _)) => (FailureKind::OutOfTime, message),
        Either::Right((message, _)) => (FailureKind::Taken, message),
    };
    let failure = Failure { log: shared.log(), ..failure(kind, message.clone()) };
    lock(&shared.record).failure.get_or_insert(failure.clone());
    lock(&shared.given_up).get_or_insert(failure.clone());
    let abort = Abort { cause: AbortCause::Deadline, message, at_once: false };
    lock(&shared.told_to_stop).get_or_insert(abort);
    if let Some(control) = shared.control.get() {
        control.interrupt();
    }
    shared.sleep(deadlines.stop).await;
    failure
}

/// Returns when there is just time enough to leave before the runtime ends the worker; says so.
async fn out_of_time(shared: &Shared<'_>) -> String {
    let Some(ends_at) = shared.ports.ends_at else { return future::pending().await };
    let life = ends_at.saturating_sub(shared.began_at).as_secs_f64().round();
    let leave_at = ends_at.saturating_sub(shared.deadlines().leaving());
    shared.sleep(leave_at.saturating_sub(shared.ports.clock.monotonic())).await;
    format!("Lambda ends it after {life} s; its k6 was stopped before that")
}

/// Returns when the runtime has said that it ends the worker; says so.
async fn told_to_leave(shared: &Shared<'_>) -> String {
    while !shared.ports.notice.is_given() {
        shared.sleep(NOTICE).await;
    }
    format!("{}; its k6 was stopped, and what it had measured is uploaded", told(shared))
}

fn told(shared: &Shared<'_>) -> &'static str {
    if shared.plan(|plan| plan.platform.is_spot()) { TOLD_ON_SPOT } else { TOLD }
}

/// Renews the lease, which names what was stored, as soon as anything may be; returns the ledger's refusal when there is
/// nothing to renew any more.
pub(super) async fn hold_lease(shared: &Shared<'_>) -> LedgerError {
    // Uploading takes some time, or fails; the lease is held all the same.
    let limit = shared.plan(|plan| plan.pace.flush * 3 / 2);
    let mut flushed = shared.flushed.lock().await;
    loop {
        within(&*shared.ports.clock, limit, flushed.next()).await;
        if let Err(refusal @ (LedgerError::Conflict(_) | LedgerError::NoSuchRun(_))) = shared.renew(|_| {}).await {
            return refusal;
        }
    }
}

/// Uploads with every flush, and has it named, until nothing could be stored for too long.
async fn upload(shared: &Shared<'_>) -> Failure {
    let clock = &*shared.ports.clock;
    let index = lock(&shared.record).index;
    let (flush, mut pause) = shared.plan(|plan| (plan.pace.flush, plan.pace.first_flush(index, plan.workers)));
    let mut stored_at = clock.monotonic();
    loop {
        shared.sleep(pause).await;
        pause = flush;
        let outcome = shared.flush(false).await;
        let silent = clock.monotonic().saturating_sub(stored_at);
        match outcome {
            Ok(()) => {
                stored_at = clock.monotonic();
                // If it is full, the lease is about to be renewed.
                drop(lock(&shared.has_flushed).try_send(()));
            }
            Err(error) if silent > shared.patience() => {
                let message = format!("nothing could be stored for {} s: {error}", shared.patience().as_secs());
                return Failure { log: shared.log(), ..failure(FailureKind::Store, message) };
            }
            // Kept, and tried again with the next flush.
            Err(_) => {}
        }
    }
}

/// Looks at the run's record with every poll and does what it says, until there is nobody left who could say anything.
async fn obey_the_run(shared: &Shared<'_>) -> Failure {
    let clock = &*shared.ports.clock;
    let id = lock(&shared.run).id.clone();
    let poll = shared.plan(|plan| plan.pace.poll);
    let patience = shared.patience();
    let mut heard_at = clock.monotonic();
    let mut beat = None;
    loop {
        shared.sleep(poll).await;
        // No answer at all is as bad as no sign of the aggregator: nobody could stop us.
        let answer = shared.ports.ledger.run(&id).await;
        let now = clock.monotonic();
        if let Ok(run) = answer {
            if Some(run.aggregator_beat) > beat {
                beat = Some(run.aggregator_beat);
                heard_at = now;
            }
            let (phase, abort) = (run.state.phase, run.state.abort.clone());
            shared.see(run);
            // A run that is stopped is torn down all the same.
            if let Some(abort) = abort.filter(|abort| abort.at_once || !shared.is_substitute) {
                obey(shared, abort).await;
            } else if shared.told_to_stop().is_some() {
                // It is leaving.
            } else if phase == Phase::Concluded {
                give_up_and_stop(shared, "the run was concluded without this worker; stopped".to_owned()).await;
            } else if shared.is_left_out() {
                give_up_and_stop(shared, "the run went on without this worker; stopped".to_owned()).await;
            }
        }
        let silent = now.saturating_sub(heard_at);
        shared.alone.store(silent > shared.deadlines().lost, Ordering::Relaxed);
        if silent > patience && shared.told_to_stop().is_none() {
            give_up_and_stop(shared, no_sign(patience) + "; stopped").await;
        }
        if silent > patience * 2 {
            return shared.give_up(no_sign(patience * 2));
        }
    }
}

fn no_sign(silent: Duration) -> String {
    format!("no sign of the run's aggregator for {} s", silent.as_secs())
}

/// Stops k6 though the run's record does not say so. What it has measured is less than what was planned.
async fn give_up_and_stop(shared: &Shared<'_>, message: String) {
    shared.give_up(message.clone());
    obey(shared, Abort { cause: AbortCause::System, message, at_once: false }).await;
}

/// Stops k6; doing so again only hurries it.
async fn obey(shared: &Shared<'_>, abort: Abort) {
    let at_once = abort.at_once;
    let before = lock(&shared.told_to_stop).replace(abort);
    // A k6 that is still being started is stopped once it is.
    let Some(control) = shared.control.get() else { return };
    match before {
        None if at_once => control.kill(),
        None if shared.linger => {
            // It must stay for teardown; if it does not listen, it is interrupted like the others.
            let stopped = within(&*shared.ports.clock, ANSWER, control.stop_iterations()).await;
            if !matches!(stopped, Some(Ok(()))) {
                control.interrupt();
            }
        }
        None => control.interrupt(),
        Some(before) if at_once && !before.at_once => control.kill(),
        Some(_) => {}
    }
}
