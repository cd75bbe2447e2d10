//! One k6 from its start to its end.

use std::time::Duration;

use futures::future::{self, Either};

use crate::{
    k6::exit::{ProcessExit, code},
    ports::{GeneratorControl, GeneratorPhase, HookError, StoreError, Timestamp, keys},
    records::{Failure, FailureKind, WorkerPhase},
    run::work::{Shared, exit_failure, lock, store_failure},
};

/// How often k6's REST API is asked where it is: it answers in well under a millisecond.
const ASK: Duration = Duration::from_millis(50);

/// How often the last seen record of the run is looked at; that costs nothing.
const LOOK: Duration = Duration::from_millis(10);

/// How one step ended.
enum Step<T> {
    /// As it should.
    Done(T),
    /// k6 ended before.
    Exited(ProcessExit),
    /// Too late.
    TimedOut,
}

/// Takes k6 from its start to its end; an error says what was wrong with it. k6 has ended when this returns.
pub(super) async fn drive(shared: &Shared<'_>, control: &dyn GeneratorControl) -> Result<(), Failure> {
    let outcome = run_to_end(shared, control).await;
    // Whatever happened, k6 is gone before the worker closes.
    let stop = shared.run().plan.deadlines.stop;
    control.interrupt();
    if let Step::TimedOut = until(shared, control, stop, future::pending::<()>()).await {
        control.kill();
    }
    let exit = control.exited().await;
    let ended_at = shared.ports.clock.now();
    lock(&shared.record).ended_at.get_or_insert(ended_at);
    outcome.and_then(|interrupted| judge_exit(shared, control, exit, interrupted))
}

/// Returns whether we have told k6 to end although its iterations were over.
async fn run_to_end(shared: &Shared<'_>, control: &dyn GeneratorControl) -> Result<bool, Failure> {
    let plan = shared.run().plan;
    let ready = async {
        let told_to_stop = async {
            while shared.told_to_stop().is_none() {
                shared.sleep(LOOK).await;
            }
        };
        let paused = wait_for_phase(shared, control, GeneratorPhase::Paused);
        futures::pin_mut!(told_to_stop, paused);
        future::select(told_to_stop, paused).await;
    };
    match until(shared, control, plan.deadlines.ready, ready).await {
        Step::Done(()) => {}
        Step::Exited(exit) => return ended_early(shared, control, exit),
        Step::TimedOut => return Err(hung(shared, control, "was not ready", plan.deadlines.ready)),
    }
    if shared.told_to_stop().is_some() {
        return Ok(false);
    }
    let index = lock(&shared.record).index;
    if index.is_first() {
        run_setup(shared, control, plan.deadlines.setup).await?;
    }
    note(shared, WorkerPhase::Ready).await;

    // The aggregator has a deadline for this; without it the lease ends.
    let Some(start_at) = wait_for_start(shared, control).await else {
        return Ok(false);
    };
    if !index.is_first() {
        hand_over_setup_data(shared, control).await?;
    }
    shared.sleep(start_at.since(shared.ports.clock.now())).await;
    lock(&shared.recorder).started(shared.ports.clock.now().nanoseconds());
    control.resume().await.map_err(|error| k6_failure(control, format!("k6 could not be resumed: {error}")))?;
    let resumed_at = shared.ports.clock.now();
    {
        let mut record = lock(&shared.record);
        record.resumed_at = Some(resumed_at);
        record.skew_micros = Some(resumed_at.0 - start_at.0);
    }
    note(shared, WorkerPhase::Running).await;

    let lingers = async { if shared.linger { wait_for_end(shared, control).await } else { future::pending().await } };
    match until(shared, control, plan.deadlines.run, lingers).await {
        Step::Done(GeneratorPhase::Interrupted) if shared.told_to_stop().is_none() => {
            // The others must hear of it before this k6 has left and says why.
            let message = "the script stopped the test".to_owned();
            let failure = Failure { kind: FailureKind::ScriptAborted, message, exit: None, log: control.log() };
            lock(&shared.record).failure = Some(failure);
        }
        Step::Done(_) => {}
        Step::Exited(_) => {
            note_end(shared).await;
            return Ok(false);
        }
        Step::TimedOut => return Err(hung(shared, control, "did not end", plan.deadlines.run)),
    }
    note_end(shared).await;
    run_teardown(shared, control, plan.deadlines.teardown).await?;
    Ok(true)
}

/// Waits for `done`, but not longer than k6 lives or `deadline` lasts.
async fn until<T>(
    shared: &Shared<'_>,
    control: &dyn GeneratorControl,
    deadline: Duration,
    done: impl Future<Output = T>,
) -> Step<T> {
    let timer = shared.sleep(deadline);
    let exit = control.exited();
    futures::pin_mut!(done, exit, timer);
    match future::select(done, future::select(exit, timer)).await {
        Either::Left((value, _)) => Step::Done(value),
        Either::Right((Either::Left((exit, _)), _)) => Step::Exited(exit),
        Either::Right((Either::Right(_), _)) => Step::TimedOut,
    }
}

async fn wait_for_phase(shared: &Shared<'_>, control: &dyn GeneratorControl, wanted: GeneratorPhase) {
    // A k6 that does not answer is starting, or so busy that it answers later; the deadline is the judge.
    while control.phase().await.ok() != Some(wanted) {
        shared.sleep(ASK).await;
    }
}

/// Whether the iterations of a k6 that lingers ended by themselves or were stopped.
async fn wait_for_end(shared: &Shared<'_>, control: &dyn GeneratorControl) -> GeneratorPhase {
    loop {
        if let Ok(phase @ (GeneratorPhase::Ended | GeneratorPhase::Interrupted)) = control.phase().await {
            return phase;
        }
        shared.sleep(ASK).await;
    }
}

/// `None` when k6 is to stop, or has ended, before there is a start.
async fn wait_for_start(shared: &Shared<'_>, control: &dyn GeneratorControl) -> Option<Timestamp> {
    let start = async {
        loop {
            if shared.told_to_stop().is_some() {
                return None;
            }
            if let Some(start_at) = lock(&shared.run).start_at {
                return Some(start_at);
            }
            shared.sleep(LOOK).await;
        }
    };
    match until(shared, control, Duration::MAX, start).await {
        Step::Done(start_at) => start_at,
        Step::Exited(_) | Step::TimedOut => None,
    }
}

async fn run_setup(shared: &Shared<'_>, control: &dyn GeneratorControl, deadline: Duration) -> Result<(), Failure> {
    let data = match until(shared, control, deadline, control.setup()).await {
        Step::Done(Ok(data)) => data,
        Step::Done(Err(error)) => return Err(hook_failure(FailureKind::Setup, "setup()", &error, control)),
        Step::Exited(_) if shared.told_to_stop().is_some() => return Ok(()),
        Step::Exited(exit) => return Err(exit_failure(FailureKind::Setup, exit, " in setup()", control)),
        Step::TimedOut => return Err(hung(shared, control, "did not finish setup()", deadline)),
    };
    let Some(data) = data else { return Ok(()) };
    let key = keys::setup(&lock(&shared.record).run);
    match shared.ports.store.put_new(&key, data).await {
        Ok(()) | Err(StoreError::AlreadyExists(_)) => Ok(()),
        Err(error) => Err(store_failure(&error)),
    }
}

async fn hand_over_setup_data(shared: &Shared<'_>, control: &dyn GeneratorControl) -> Result<(), Failure> {
    let key = keys::setup(&lock(&shared.record).run);
    match shared.ports.store.get(&key).await {
        Ok(data) => control
            .set_setup_data(data)
            .await
            .map_err(|error| k6_failure(control, format!("k6 did not take the data of setup(): {error}"))),
        Err(StoreError::NotFound(_)) => Ok(()),
        Err(error) => Err(store_failure(&error)),
    }
}

async fn run_teardown(shared: &Shared<'_>, control: &dyn GeneratorControl, deadline: Duration) -> Result<(), Failure> {
    // The aggregator has a deadline for this; without it the lease ends, and `keep` gives up.
    let wanted = async {
        while !lock(&shared.run).teardown_wanted {
            shared.sleep(LOOK).await;
        }
    };
    match until(shared, control, Duration::MAX, wanted).await {
        Step::Done(()) => {}
        Step::Exited(_) | Step::TimedOut => return Ok(()),
    }
    match until(shared, control, deadline, control.teardown()).await {
        Step::Done(Ok(())) => Ok(()),
        Step::Done(Err(error)) => Err(hook_failure(FailureKind::Teardown, "teardown()", &error, control)),
        Step::Exited(_) if shared.told_to_stop().is_some() => Ok(()),
        Step::Exited(exit) => Err(exit_failure(FailureKind::Teardown, exit, " in teardown()", control)),
        Step::TimedOut => Err(hung(shared, control, "did not finish teardown()", deadline)),
    }
}

/// Puts the phase into the record at once: the others wait for it. If the ledger does not answer, the next renewal
/// carries it.
async fn note(shared: &Shared<'_>, phase: WorkerPhase) {
    drop(shared.renew(|record| record.phase = phase).await);
}

async fn note_end(shared: &Shared<'_>) {
    let ended_at = shared.ports.clock.now();
    lock(&shared.record).ended_at = Some(ended_at);
    note(shared, WorkerPhase::Ended).await;
}

fn ended_early(shared: &Shared<'_>, control: &dyn GeneratorControl, exit: ProcessExit) -> Result<bool, Failure> {
    if shared.told_to_stop().is_some() {
        return Ok(false);
    }
    Err(exit_failure(FailureKind::K6DidNotStart, exit, " before it was ready", control))
}

/// What k6's own end says. `interrupted`: its iterations were over and we have told it to leave.
fn judge_exit(
    shared: &Shared<'_>,
    control: &dyn GeneratorControl,
    exit: ProcessExit,
    interrupted: bool,
) -> Result<(), Failure> {
    let stopped = shared.told_to_stop();
    let fail = |kind| Err(exit_failure(kind, exit, "", control));
    match exit {
        ProcessExit::Code(code::OK) => Ok(()),
        ProcessExit::Code(code::SCRIPT_ABORTED) => fail(FailureKind::ScriptAborted),
        ProcessExit::Code(code::MARKED_AS_FAILED) => fail(FailureKind::ScriptFailed),
        ProcessExit::Code(code::EXTERNAL_ABORT | code::STOPPED_BY_REST) if stopped.is_some() || interrupted => Ok(()),
        ProcessExit::Signal(9) if stopped.is_some_and(|abort| abort.at_once) => Ok(()),
        _ => fail(FailureKind::K6Failed),
    }
}

fn hung(shared: &Shared<'_>, control: &dyn GeneratorControl, what: &str, deadline: Duration) -> Failure {
    let vus = shared.run().plan.worker_vus(lock(&shared.record).index);
    Failure {
        kind: FailureKind::K6Hung,
        message: format!("k6 {what} within {} s (with {vus} VUs) and was ended", deadline.as_secs()),
        exit: None,
        log: control.log(),
    }
}

fn hook_failure(kind: FailureKind, hook: &str, error: &HookError, control: &dyn GeneratorControl) -> Failure {
    let exit = match error {
        HookError::Script(message) if message.contains("timed out") => Some(match kind {
            FailureKind::Teardown => code::TEARDOWN_TIMEOUT,
            _ => code::SETUP_TIMEOUT,
        }),
        HookError::Script(_) => Some(code::SCRIPT_EXCEPTION),
        HookError::Generator(_) => None,
    };
    Failure { kind, message: format!("{hook} failed: {error}"), exit: exit.map(ProcessExit::Code), log: control.log() }
}

fn k6_failure(control: &dyn GeneratorControl, message: String) -> Failure {
    Failure { kind: FailureKind::K6Failed, message, exit: None, log: control.log() }
}
