//! A worker's duties beside its k6: upload, renew the lease, obey.

use std::time::Duration;

use crate::{
    chunk::{Chunk, ChunkKey},
    lifecycle::{Abort, AbortCause},
    ports::{GeneratorControl, LedgerError, StoreError, keys},
    records::{Failure, FailureKind, RunRecord},
    run::work::{Shared, lock},
};

impl Shared<'_> {
    /// Stores what was gathered since the last chunk, if anything was; `last` includes windows that are not over.
    /// What could not be stored is kept and comes first the next time.
    pub(super) async fn flush(&self, last: bool) -> Result<(), StoreError> {
        self.send_unsent().await?;
        let series = lock(&self.recorder).take_windows(last);
        if series.is_empty() {
            return Ok(());
        }
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
}

/// Goes on until the worker must give up, and says why. Until then it uploads and renews with every flush, and looks at
/// the run's record with every poll.
pub(super) async fn keep(shared: &Shared<'_>, control: &dyn GeneratorControl) -> Failure {
    let clock = &*shared.ports.clock;
    let RunRecord { id, plan, .. } = shared.run();
    let patience = plan.deadlines.lost * 3;
    let mut flushed_at = clock.monotonic();
    let mut heard_at = clock.monotonic();
    let mut stored_at = clock.monotonic();
    let mut beat = None;
    loop {
        shared.sleep(plan.pace.poll).await;
        let now = clock.monotonic();
        // A look at the run. No answer at all is as bad as no sign of the aggregator: nobody could stop us.
        if let Ok(run) = shared.ports.ledger.run(&id).await {
            if beat != Some(run.aggregator_beat) {
                beat = Some(run.aggregator_beat);
                heard_at = now;
            }
            let abort = run.state.abort.clone();
            *lock(&shared.run) = run;
            if let Some(abort) = abort {
                obey(shared, control, abort).await;
            }
        }
        if now.saturating_sub(heard_at) > patience && shared.told_to_stop().is_none() {
            let message = format!("no sign of the run's aggregator for {} s; stopped", seconds(patience));
            obey(shared, control, Abort { cause: AbortCause::System, message, at_once: false }).await;
        }
        if now.saturating_sub(heard_at) > patience * 2 {
            let message = format!("no sign of the run's aggregator for {} s", seconds(patience * 2));
            return Failure { kind: FailureKind::Abandoned, message, exit: None, log: control.log() };
        }
        if now.saturating_sub(flushed_at) < plan.pace.flush {
            continue;
        }
        flushed_at = now;
        match shared.flush(false).await {
            Ok(()) => stored_at = now,
            Err(error) if now.saturating_sub(stored_at) > patience => {
                let message = format!("nothing could be stored for {} s: {error}", seconds(patience));
                return Failure { kind: FailureKind::Store, message, exit: None, log: control.log() };
            }
            // Kept, and tried again with the next flush.
            Err(_) => {}
        }
        if let Err(LedgerError::Conflict(_) | LedgerError::NoSuchRun(_)) = shared.renew(|_| {}).await {
            let message = "another worker has this segment now, or the run is gone; stopped".to_owned();
            return Failure { kind: FailureKind::Abandoned, message, exit: None, log: control.log() };
        }
    }
}

/// Stops k6 as the run's record says; doing so again only hurries it.
async fn obey(shared: &Shared<'_>, control: &dyn GeneratorControl, abort: Abort) {
    let before = lock(&shared.told_to_stop).replace(abort.clone());
    match before {
        None if abort.at_once => control.kill(),
        None if shared.linger => {
            // It must stay for teardown; if it does not listen, it is interrupted like the others.
            if control.stop_iterations().await.is_err() {
                control.interrupt();
            }
        }
        None => control.interrupt(),
        Some(before) if abort.at_once && !before.at_once => control.kill(),
        Some(_) => {}
    }
}

fn seconds(duration: Duration) -> u64 {
    duration.as_secs()
}
