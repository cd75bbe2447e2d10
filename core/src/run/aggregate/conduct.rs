//! The beat of a run: what is looked at, and what follows.

use std::{collections::BTreeMap, time::Duration};

use crate::{
    ids::WorkerIndex,
    lifecycle::{Abort, AbortCause, Illegal, Phase, RunEvent},
    live::LiveState,
    ports::{LedgerError, keys},
    records::{FailureKind, RunRecord, WorkerPhase},
    run::{
        UpdateError,
        aggregate::{AggregateError, Conductor, Lasting, Outcome, Relay},
        timely::{ANSWER, within},
        update_run,
    },
    threshold::{Decision, Threshold},
};

/// Between two live states, unless looks are further apart.
const SHOW: Duration = Duration::from_millis(900);

/// The shortest pause between two looks is one of so many parts of the time from one to the next.
const LEAST_REST: u32 = 4;

/// One answer that was lost is not worth waiting for the next look.
const TRIES: u32 = 2;

impl Conductor<'_> {
    /// Goes on until nothing more is to be expected of any worker, or another aggregator has taken over.
    pub(super) async fn conduct(
        &mut self,
        on_live: &mut (dyn FnMut(&LiveState) + Send),
        mut relay: Option<&mut Relay<'_>>,
    ) -> Result<Outcome, AggregateError> {
        let patience = self.run.plan.deadlines.lost * 3;
        let mut answered_at = self.ports.clock.monotonic();
        let mut shown_at: Option<Duration> = None;
        let mut beaten_at: Option<Duration> = None;
        let mut closed_at: Option<Duration> = None;
        loop {
            let began = self.ports.clock.monotonic();
            let step = self.step().await;
            let now = self.ports.clock.monotonic();
            match step {
                Ok(()) => answered_at = now,
                Err(error) if now.saturating_sub(answered_at) > patience => {
                    return Err(AggregateError::Ledger { silent: patience, error });
                }
                // Asked again with the next poll.
                Err(_) => {}
            }
            let is_closed = self.open_workers().next().is_none();
            closed_at = closed_at.filter(|_| is_closed).or(is_closed.then_some(now));
            // A substitute that cannot be asked for now may be asked for soon.
            let waits = self.needs_substitute() && closed_at.is_some_and(|at| now.saturating_sub(at) <= patience);
            let over = is_closed && !waits || self.run.state.phase == Phase::Concluded;
            let is_due = |last: Option<Duration>, pause| last.is_none_or(|at| now.saturating_sub(at) >= pause);
            if over || is_due(shown_at, self.run.plan.pace.flush.min(SHOW)) {
                shown_at = Some(now);
                let crossed = self.note_crossed_thresholds();
                if let Some(abort) = crossed.filter(|_| !over) {
                    self.stop(abort).await;
                }
                let live = self.live();
                on_live(&live);
                self.store_for_people(&keys::live(&self.run.id), &live).await;
            }
            if over || is_due(beaten_at, self.run.plan.pace.flush) {
                beaten_at = Some(now);
                self.give_sign_of_life().await;
            }
            if over {
                let is_heard = |index| self.workers.contains_key(&index);
                let is_on_its_way =
                    self.run.plan.platform.fargate().is_some() && !self.run.plan.worker_indices().all(is_heard);
                if !self.lost.is_empty() || is_on_its_way {
                    // Whatever they may still be doing, or about to begin.
                    within(&*self.ports.clock, ANSWER, self.ports.fleet.kill_all()).await;
                }
                return Ok(Outcome::Over);
            }
            if let Some(relay) = relay.as_deref_mut()
                && let Some(outcome) = self.pass_on(relay).await
            {
                return Ok(outcome);
            }
            let took = self.ports.clock.monotonic().saturating_sub(began);
            self.ports.clock.sleep(until_next_look(self.run.plan.pace.look(), took)).await;
        }
    }

    /// One look, and what follows from it.
    async fn step(&mut self) -> Result<(), LedgerError> {
        self.look().await?;
        self.collect().await;
        self.lose_silent_workers();
        self.check_deadlines().await;
        let without = self.bear_losses().await;
        let at_least = |phase| self.run.plan.worker_indices().all(|index| self.is_at_least(index, phase));
        match self.run.state.phase {
            Phase::Initializing if at_least(WorkerPhase::Ready) => {
                // A stop that could not be recorded yet keeps all from starting, too.
                if let Some(without) = without.filter(|_| self.stopping.is_none()) {
                    self.start_workers(without).await;
                } else if at_least(WorkerPhase::Ended) {
                    self.end_iterations().await;
                }
            }
            Phase::Initializing | Phase::Running if at_least(WorkerPhase::Ended) => self.end_iterations().await,
            Phase::Finishing => self.tear_down().await,
            _ => {}
        }
        Ok(())
    }

    /// Sets T0 for all workers but those that the run goes on without.
    async fn start_workers(&mut self, without: BTreeMap<WorkerIndex, String>) {
        let start_at = self.ports.clock.now().plus(self.run.plan.pace.start_lead);
        self.update(|run| {
            run.state = run.state.next(RunEvent::Started)?;
            // Written once: a second aggregator keeps what the first has set.
            if run.start_at.is_none() {
                run.start_at = Some(start_at);
                run.left_out.extend(without.clone());
            }
            Ok(true)
        })
        .await;
    }

    /// Changes the run's record. An event that cannot happen any more, and a ledger that does not answer, leave it as
    /// it is: the next look will show what is so.
    pub(super) async fn update(&mut self, mut change: impl FnMut(&mut RunRecord) -> Result<bool, Illegal>) {
        for _ in 0..TRIES {
            match update_run(&*self.ports.ledger, &self.run.id, &mut change).await {
                Ok(run) => return self.see(run),
                Err(UpdateError::Illegal(_)) => return,
                Err(UpdateError::Ledger(_)) => {}
            }
        }
    }

    pub(super) async fn stop(&mut self, abort: Abort) {
        self.update(|run| {
            run.state = run.state.next(RunEvent::Abort(abort.clone()))?;
            Ok(true)
        })
        .await;
        self.stopping.get_or_insert(Lasting::from(self.ports.clock.monotonic()));
    }

    /// Workers whose beat has stood still are lost; they stop themselves when they notice.
    fn lose_silent_workers(&mut self) {
        let lost = self.run.plan.deadlines.lost;
        // Until the last look, not until now: what took long since then was ours.
        let silent: Vec<(WorkerIndex, Duration)> = self
            .open_workers()
            .filter_map(|index| Some((index, self.workers.get(&index)?.silent.until(self.looked_at))))
            .filter(|(_, silent)| *silent > lost)
            .collect();
        for (index, silent) in silent {
            self.lose(index, FailureKind::Lost, format!("gave no sign of life for {} s", silent.as_secs()));
        }
    }

    /// Every phase ends.
    async fn check_deadlines(&mut self) {
        let deadlines = self.run.plan.deadlines;
        let phase = self.run.state.phase;
        let now = self.ports.clock.monotonic();
        let in_phase = self.phase_lasts.until(now);
        if let Some(stopping) = self.stopping {
            // Each k6 is told, interrupted and killed in turn. Then there is teardown, and the rest is uploaded.
            let teardown = if phase < Phase::Finishing { Duration::ZERO } else { self.teardown_limit() };
            let limit = deadlines.stop * 3 + teardown + deadlines.lost;
            if stopping.until(now).min(in_phase) > limit {
                let waited_for = if phase < Phase::Finishing { WorkerPhase::Ended } else { WorkerPhase::Closed };
                let late: Vec<WorkerIndex> = self.late_workers(waited_for).collect();
                let message = format!("did not end within {} s after it was told to stop", limit.as_secs());
                late.into_iter().for_each(|index| self.lose(index, FailureKind::Lost, message.clone()));
            }
        }
        let (limit, waited_for) = match phase {
            // The first worker's setup() is part of getting ready.
            Phase::Created | Phase::Validated | Phase::Queued | Phase::Initializing => {
                (deadlines.begun_and_ready() + deadlines.setup, WorkerPhase::Ready)
            }
            Phase::Running => (deadlines.run + deadlines.stop, WorkerPhase::Ended),
            Phase::Finishing | Phase::Concluded => {
                (self.teardown_limit() + deadlines.stop + deadlines.lost, WorkerPhase::Closed)
            }
        };
        if phase == Phase::Initializing && in_phase > deadlines.begun_and_ready() && self.run.state.abort.is_none() {
            self.leave_out_the_late();
        }
        if self.run.state.abort.is_none() && in_phase > limit {
            let late: Vec<String> = self.late_workers(waited_for).map(|index| index.to_string()).collect();
            let message = format!("{} after {} s: {}", waiting_for(phase), limit.as_secs(), late.join(", "));
            self.stop(Abort { cause: AbortCause::Deadline, message, at_once: false }).await;
        }
    }

    /// How long `teardown()` may take; the substitute has to start a k6 of its own before.
    fn teardown_limit(&self) -> Duration {
        let deadlines = self.run.plan.deadlines;
        deadlines.teardown + if self.is_substituted() { deadlines.begun_and_ready() } else { Duration::ZERO }
    }

    /// The workers for which the others wait.
    pub(super) fn late_workers(&self, waited_for: WorkerPhase) -> impl Iterator<Item = WorkerIndex> {
        self.open_workers().filter(move |index| !self.is_at_least(*index, waited_for))
    }

    /// A threshold as it stands. What workers have measured comes later than they do so, which makes a rate over all the time
    /// too low, and one over the time that all have told of rather too high: what does not hold holds over neither.
    pub(super) fn decide(&self, threshold: &Threshold) -> Decision {
        let over = |duration| self.aggregate.decide(threshold, self.run.plan.samples, duration);
        let decision = over(self.elapsed());
        if decision.passed || !threshold.is_rate() {
            return decision;
        }
        let covered = over(self.covered().max(Duration::from_micros(1)));
        if covered.passed { covered } else { decision }
    }

    /// Evaluates all thresholds on what there is; returns a stop if one that asks for it does not hold.
    fn note_crossed_thresholds(&mut self) -> Option<Abort> {
        if self.run.state.phase < Phase::Running {
            return None;
        }
        let elapsed = self.elapsed();
        let decide = |threshold| self.aggregate.has_samples(threshold).then(|| self.decide(threshold));
        let decisions: Vec<_> = self.run.plan.thresholds.iter().map(decide).collect();
        let mut abort = None;
        for ((threshold, decision), crossed) in
            self.run.plan.thresholds.iter().zip(decisions).zip(&mut self.first_crossed)
        {
            let Some(decision) = decision.filter(|decision| !decision.passed) else { continue };
            crossed.get_or_insert(elapsed);
            let delayed = threshold.delay_abort_eval.is_some_and(|delay| elapsed <= delay);
            // What is too close to call stops nothing: that could not be taken back.
            if threshold.abort_on_fail && !decision.within_error && !delayed && self.run.state.phase == Phase::Running {
                let message = format!("{} {} does not hold", threshold.selector.key(), threshold.expression);
                abort.get_or_insert(Abort { cause: AbortCause::Threshold, message, at_once: false });
            }
        }
        abort.filter(|_| self.run.state.abort.is_none())
    }
}

/// The pause after a look that took so long. Looks begin one `look` after the other, however long each takes: what a slow
/// ledger or store adds to the age of what is live, it adds once. One that takes as long as that leaves them some rest.
fn until_next_look(look: Duration, took: Duration) -> Duration {
    look.saturating_sub(took).max(look / LEAST_REST)
}

fn waiting_for(phase: Phase) -> &'static str {
    match phase {
        Phase::Running => "still running",
        Phase::Finishing | Phase::Concluded => "still closing",
        _ => "not ready",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_begin_one_pause_after_the_other_however_long_they_take() {
        let milliseconds = Duration::from_millis;
        let pause = |took| until_next_look(milliseconds(1_000), milliseconds(took));
        assert_eq!(pause(0), milliseconds(1_000));
        assert_eq!(pause(700), milliseconds(300));
        assert_eq!([pause(800), pause(1_000), pause(9_000)], [milliseconds(250); 3]);
    }
}
