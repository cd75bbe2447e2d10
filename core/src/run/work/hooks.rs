//! `setup()` and `teardown()`: once for the whole run, on its first worker; `teardown()` on its substitute if that is gone.

use std::{sync::atomic::Ordering, time::Duration};

use futures::future::{self, Either};

use crate::{
    lifecycle::Phase,
    ports::{GeneratorControl, StoreError, keys},
    records::{Failure, FailureKind},
    run::{
        update_run,
        work::{
            Shared,
            drive::{LOOK, Step, told_to_stop, until},
            failures::{exit_failure, failure, hook_failure, hung, k6_failure, store_failure},
            lock,
        },
    },
};

/// Runs `setup()` and stores its data; whether that was done. It is not if k6 is to stop: leaving it cancels it, and k6
/// tears down nothing then either.
pub(super) async fn run_setup(
    shared: &Shared<'_>,
    control: &dyn GeneratorControl,
    deadline: Duration,
) -> Result<bool, Failure> {
    let done = async {
        let stop = told_to_stop(shared);
        let setup = control.setup();
        futures::pin_mut!(stop, setup);
        match future::select(stop, setup).await {
            Either::Left(_) => None,
            Either::Right((outcome, _)) => Some(outcome),
        }
    };
    let data = match until(shared, control, deadline, done).await {
        Step::Done(Some(Ok(data))) => data,
        Step::Done(None) => return Ok(false),
        Step::Done(Some(Err(_))) | Step::Exited(_) if shared.told_to_stop().is_some() => return Ok(false),
        Step::Done(Some(Err(error))) => return Err(hook_failure(FailureKind::Setup, "setup()", &error, control)),
        Step::Exited(exit) => return Err(exit_failure(FailureKind::Setup, exit, " in setup()", control)),
        Step::TimedOut => return Err(hung(shared, control, "did not finish setup()", deadline)),
    };
    if let Some(data) = data {
        let key = keys::setup(&lock(&shared.record).run);
        match shared.persist(|| shared.ports.store.put_new(&key, data.clone())).await {
            // It is there from a try whose answer was lost.
            Ok(()) | Err(StoreError::AlreadyExists(_)) => {}
            Err(error) => return Err(store_failure(&error)),
        }
    }
    // The next renewal carries it, if this one does not: the worker is not ready before.
    drop(shared.renew(|record| record.set_up = true).await);
    Ok(true)
}

/// Gives k6 what `setup()` returned on the first worker, if it returned anything.
pub(super) async fn hand_over_setup_data(shared: &Shared<'_>, control: &dyn GeneratorControl) -> Result<(), Failure> {
    let key = keys::setup(&lock(&shared.record).run);
    match shared.persist(|| shared.ports.store.get(&key)).await {
        Ok(data) => match control.set_setup_data(data).await {
            Err(error) if shared.told_to_stop().is_none() => {
                Err(k6_failure(control, format!("k6 did not take the data of setup(): {error}")))
            }
            Ok(()) | Err(_) => Ok(()),
        },
        Err(StoreError::NotFound(_)) => Ok(()),
        Err(error) => Err(store_failure(&error)),
    }
}

/// Runs `teardown()` once the aggregator asks for it, or nobody will ask any more; unless somebody else does.
pub(super) async fn run_teardown(
    shared: &Shared<'_>,
    control: &dyn GeneratorControl,
    deadline: Duration,
) -> Result<(), Failure> {
    let is_wanted = || {
        // A stopped run without an aggregator: all other k6 have been told to stop too.
        let is_left_alone = shared.told_to_stop().is_some() && shared.alone.load(Ordering::Relaxed);
        let run = lock(&shared.run);
        is_left_alone
            || run.teardown_by.is_some()
            || run.state.phase == Phase::Concluded
            || lock(&shared.given_up).is_some()
    };
    // The aggregator has a deadline for this; without it, `keep` gives up.
    let wanted = async {
        while !is_wanted() {
            shared.sleep(LOOK).await;
        }
    };
    if let Step::Exited(exit) = until(shared, control, Duration::MAX, wanted).await {
        return if shared.is_killed_on_purpose() {
            Ok(())
        } else {
            Err(exit_failure(FailureKind::Teardown, exit, " before teardown()", control))
        };
    }
    if shared.is_out_of_time() {
        // Somebody else has more.
        return Ok(());
    }
    let teardown = async { Ok(if begin_teardown(shared).await? { Some(control.teardown().await) } else { None }) };
    match until(shared, control, deadline, teardown).await {
        Step::Done(Ok(None | Some(Ok(())))) => Ok(()),
        Step::Done(Err(failure)) => Err(failure),
        Step::Done(Ok(Some(Err(_)))) | Step::Exited(_) if shared.is_killed_on_purpose() => Ok(()),
        Step::Done(Ok(Some(Err(error)))) => Err(hook_failure(FailureKind::Teardown, "teardown()", &error, control)),
        Step::Exited(exit) => Err(exit_failure(FailureKind::Teardown, exit, " in teardown()", control)),
        Step::TimedOut => Err(hung(shared, control, "did not finish teardown()", deadline)),
    }
}

/// Whether this worker is the one that runs `teardown()`: of all who might, the one whose name is in the run's record
/// does. Without the ledger nobody can know, and what must run once is not run.
async fn begin_teardown(shared: &Shared<'_>) -> Result<bool, Failure> {
    let (id, me) = {
        let record = lock(&shared.record);
        (record.run.clone(), record.index)
    };
    let begin = || {
        update_run(&*shared.ports.ledger, &id, |run| {
            let is_mine = run.teardown_by.is_none_or(|by| by == me) && !run.left_out.contains_key(&me);
            let begins = run.teardown_begun.is_none() && is_mine;
            if begins {
                run.teardown_begun = Some(me);
            }
            Ok(begins)
        })
    };
    match shared.persist(begin).await {
        Ok(run) => {
            let is_mine = run.teardown_begun == Some(me);
            shared.see(run);
            Ok(is_mine)
        }
        Err(error) => {
            let message = format!("teardown() was not run, since nobody knows whether another k6 does: {error}");
            Err(failure(FailureKind::Teardown, message))
        }
    }
}
