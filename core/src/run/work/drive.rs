//! One k6 from its start to its end.

use std::time::Duration;

use futures::future::{self, Either};

use crate::{
    k6::exit::{ProcessExit, code},
    plan::Deadlines,
    ports::{GeneratorControl, GeneratorPhase, Timestamp},
    records::{Failure, FailureKind, WorkerPhase},
    run::work::{
        Shared,
        failures::{exit_failure, hung, k6_failure},
        hooks::{hand_over_setup_data, run_setup, run_teardown},
        lock, micros,
    },
};

/// How often k6's REST API is asked where it is while others wait for that; and the last seen record of the run is looked at
/// for whether k6 is to stop.
const ASK: Duration = Duration::from_millis(50);

/// How often it is asked at least. Each answer takes k6, and us, a little of the processor time that is for load.
const SELDOM: Duration = Duration::from_millis(500);

/// How often the last seen record of the run is looked at for what must come at once, such as the start.
pub(super) const LOOK: Duration = Duration::from_millis(10);

/// How one step ended.
pub(super) enum Step<T> {
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
    let stop = shared.deadlines().stop;
    let ended = || until(shared, control, stop, future::pending::<()>());
    control.interrupt();
    let exit = match ended().await {
        Step::Exited(exit) => Ok(exit),
        Step::Done(()) | Step::TimedOut => {
            control.kill();
            // One that not even the system can end is not waited for.
            ended().await;
            Err(hung(shared, control, "did not leave", stop))
        }
    };
    let outcome = outcome.and_then(|interrupted| judge_exit(shared, control, exit?, interrupted));
    if let Err(failure) = &outcome {
        lock(&shared.record).failure = Some(failure.clone());
    }
    if lock(&shared.record).resumed_at.is_some() {
        note_end(shared).await;
    }
    outcome
}

/// Returns whether we have told k6 to end although its iterations were over.
async fn run_to_end(shared: &Shared<'_>, control: &dyn GeneratorControl) -> Result<bool, Failure> {
    let deadlines = shared.deadlines();
    if !get_ready(shared, control, deadlines.ready).await? {
        return Ok(false);
    }
    if shared.is_substitute {
        hand_over_setup_data(shared, control).await?;
        run_teardown(shared, control, deadlines.teardown).await?;
        return Ok(true);
    }
    let is_set_up = shared.linger && run_setup(shared, control, deadlines.setup).await?;
    if shared.told_to_stop().is_none() {
        note(shared, WorkerPhase::Ready).await;
    }
    if start_with_the_others(shared, control).await? {
        if !iterate(shared, control, deadlines).await? {
            return Ok(false);
        }
    } else if !is_set_up {
        return Ok(false);
    }
    // What was set up is torn down, even if nothing ever ran.
    note_end(shared).await;
    if !shared.linger {
        return Ok(false);
    }
    run_teardown(shared, control, deadlines.teardown).await?;
    Ok(true)
}

/// Waits for the VUs; whether k6 has them, and is not to stop.
async fn get_ready(shared: &Shared<'_>, control: &dyn GeneratorControl, deadline: Duration) -> Result<bool, Failure> {
    let paused = async {
        // A k6 that does not answer is starting, or so busy that it answers later; the deadline is the judge.
        while control.phase().await.ok() != Some(GeneratorPhase::Paused) {
            shared.sleep(ASK).await;
        }
    };
    match until(shared, control, deadline, unless_stopped(shared, paused)).await {
        Step::Done(paused) => Ok(paused.is_some()),
        Step::Exited(_) if shared.told_to_stop().is_some() => Ok(false),
        Step::Exited(exit) => Err(exit_failure(FailureKind::K6DidNotStart, exit, " before it was ready", control)),
        Step::TimedOut => Err(hung(shared, control, "was not ready", deadline)),
    }
}

/// Waits for the common start and lets k6 run; whether it runs. It does not if it is to stop before.
async fn start_with_the_others(shared: &Shared<'_>, control: &dyn GeneratorControl) -> Result<bool, Failure> {
    let died = |exit| Err(exit_failure(FailureKind::K6DidNotStart, exit, " while it waited for the start", control));
    let is_set = async {
        loop {
            let start_at = lock(&shared.run).start_at;
            // A worker that the others start without is about to be stopped.
            if let Some(start_at) = start_at.filter(|_| !shared.is_left_out()) {
                return start_at;
            }
            shared.sleep(LOOK).await;
        }
    };
    // The aggregator has a deadline for this; without it the lease ends.
    let start_at: Timestamp = match until(shared, control, Duration::MAX, unless_stopped(shared, is_set)).await {
        Step::Done(Some(start_at)) => start_at,
        Step::Exited(exit) if shared.told_to_stop().is_none() => return died(exit),
        Step::Done(None) | Step::Exited(_) | Step::TimedOut => return Ok(false),
    };
    if !shared.linger {
        hand_over_setup_data(shared, control).await?;
    }
    // Nobody hears of the start earlier than so. A clock that shows a longer wait is wrong, which the skew will show.
    let lead = shared.plan(|plan| plan.pace.start_lead);
    let wait = start_at.since(shared.ports.clock.now()).min(lead);
    match until(shared, control, wait, told_to_stop(shared)).await {
        Step::Exited(exit) if shared.told_to_stop().is_none() => return died(exit),
        Step::Done(()) | Step::Exited(_) => return Ok(false),
        Step::TimedOut => {}
    }
    note_start(shared, start_at);
    match control.resume().await {
        Ok(()) => {}
        Err(_) if shared.told_to_stop().is_some() => return Ok(false),
        Err(error) => return Err(k6_failure(control, format!("k6 could not be resumed: {error}"))),
    }
    let resumed_at = shared.ports.clock.now();
    shared.resumed.get_or_init(|| shared.ports.clock.monotonic());
    {
        let mut record = lock(&shared.record);
        record.resumed_at = Some(resumed_at);
        record.skew_micros = Some(resumed_at.0 - start_at.0);
    }
    note(shared, WorkerPhase::Running).await;
    Ok(true)
}

/// Waits for the end of the iterations; whether k6 is still there after it.
async fn iterate(shared: &Shared<'_>, control: &dyn GeneratorControl, deadlines: Deadlines) -> Result<bool, Failure> {
    let over = async {
        if !shared.linger {
            future::pending::<()>().await;
        }
        loop {
            if let Ok(phase @ (GeneratorPhase::Ended | GeneratorPhase::Interrupted)) = control.phase().await {
                return phase;
            }
            shared.sleep(until_asked_again(shared.ran_for().unwrap_or_default())).await;
        }
    };
    let stopped = async {
        told_to_stop(shared).await;
        if shared.linger {
            // It was asked to stay for teardown; if it passes that over, it is interrupted like the others.
            shared.sleep(deadlines.stop).await;
        }
    };
    futures::pin_mut!(over, stopped);
    match until(shared, control, deadlines.run, future::select(over, stopped)).await {
        Step::Done(Either::Left((phase, _))) => {
            if phase == GeneratorPhase::Interrupted && shared.told_to_stop().is_none() {
                // The others must hear of it before this k6 has left and says why.
                let message = "the script stopped the test".to_owned();
                let failure = Failure { kind: FailureKind::ScriptAborted, message, exit: None, log: control.log() };
                lock(&shared.record).failure = Some(failure);
            }
            Ok(true)
        }
        Step::Exited(exit @ ProcessExit::Code(code::OK)) if shared.linger => {
            Err(exit_failure(FailureKind::Teardown, exit, " before teardown()", control))
        }
        Step::Done(Either::Right(_)) | Step::Exited(_) => Ok(false),
        Step::TimedOut => Err(hung(shared, control, "did not end", deadlines.run)),
    }
}

/// Until k6, which has run for so long, is asked again whether its iterations are over: a hundredth of that, so the answer
/// comes late by no more.
fn until_asked_again(ran_for: Duration) -> Duration {
    (ran_for / 100).clamp(ASK, SELDOM)
}

/// Waits for `done`, but not longer than k6 lives or `deadline` lasts.
pub(super) async fn until<T>(
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

/// Returns when k6 is to stop.
pub(super) async fn told_to_stop(shared: &Shared<'_>) {
    while shared.told_to_stop().is_none() {
        shared.sleep(ASK).await;
    }
}

/// Waits for `done`; `None` if k6 is to stop before.
async fn unless_stopped<T>(shared: &Shared<'_>, done: impl Future<Output = T>) -> Option<T> {
    let stop = told_to_stop(shared);
    futures::pin_mut!(stop, done);
    match future::select(stop, done).await {
        Either::Left(_) => None,
        Either::Right((value, _)) => Some(value),
    }
}

/// Puts the phase into the record at once: the others wait for it. If the ledger does not answer, the next renewal
/// carries it.
async fn note(shared: &Shared<'_>, phase: WorkerPhase) {
    drop(shared.renew(|record| record.phase = phase).await);
}

/// Lets samples count from now on. A clock that is further from T0 than a worker can be late without being lost is
/// wrong; its samples are taken to begin at T0.
fn note_start(shared: &Shared<'_>, start_at: Timestamp) {
    let clock = &shared.ports.clock;
    let (now, monotonic) = (clock.now(), clock.monotonic());
    let lost = i64::try_from(shared.deadlines().lost.as_micros()).unwrap_or(i64::MAX);
    let mut recorder = lock(&shared.recorder);
    recorder.look_at_clocks(now.nanoseconds(), monotonic);
    if now.0.abs_diff(start_at.0) > lost.unsigned_abs() {
        recorder.shift_times(start_at.nanoseconds().saturating_sub(now.nanoseconds()));
    }
    recorder.started(now.nanoseconds());
}

/// Notes, once, that nothing runs any more.
async fn note_end(shared: &Shared<'_>) {
    let now = shared.ports.clock.now();
    let ran_for = shared.ran_for();
    let first = {
        let mut record = lock(&shared.record);
        let first = record.ended_at.is_none();
        // The wall may have stepped since the start.
        let by_monotonic = record.resumed_at.zip(ran_for).map(|(resumed_at, ran_for)| resumed_at.plus(ran_for));
        record.ended_at.get_or_insert(by_monotonic.unwrap_or(now));
        if first {
            record.ran_for_micros = ran_for.map(micros);
        }
        first
    };
    if first {
        note(shared, WorkerPhase::Ended).await;
    }
}

/// What k6's own end says. `interrupted`: its iterations were over and we have told it to leave.
fn judge_exit(
    shared: &Shared<'_>,
    control: &dyn GeneratorControl,
    exit: ProcessExit,
    interrupted: bool,
) -> Result<(), Failure> {
    let stopped = shared.told_to_stop().is_some();
    let fail = |kind| Err(exit_failure(kind, exit, "", control));
    match exit {
        ProcessExit::Code(code::OK) => Ok(()),
        ProcessExit::Code(code::SCRIPT_ABORTED) => fail(FailureKind::ScriptAborted),
        ProcessExit::Code(code::MARKED_AS_FAILED) => fail(FailureKind::ScriptFailed),
        ProcessExit::Code(code::EXTERNAL_ABORT | code::STOPPED_BY_REST) if stopped || interrupted => Ok(()),
        // Interrupted before it could listen for interrupts.
        ProcessExit::Signal(2) if stopped => Ok(()),
        ProcessExit::Signal(9) if shared.is_killed_on_purpose() => Ok(()),
        _ => fail(FailureKind::K6Failed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn k6_is_asked_the_less_often_the_longer_it_runs() {
        let after = |seconds| until_asked_again(Duration::from_secs(seconds)).as_millis();
        assert_eq!([0, 5, 10, 30, 50, 600].map(after), [50, 50, 100, 300, 500, 500]);
    }
}
