//! The beat of a run: what is looked at, and what follows.

use std::time::Duration;

use crate::{
    histogram::Rank,
    ids::WorkerIndex,
    judge,
    lifecycle::{Abort, AbortCause, Illegal, Phase, RunEvent},
    live::{LiveState, WorkerCounts},
    ports::{LedgerError, keys},
    records::{Failure, FailureKind, RunRecord, WorkerPhase},
    run::{
        UpdateError,
        aggregate::{AggregateError, Conductor},
        timely::{ANSWER, within},
        update_run,
    },
};

/// One answer that was lost is not worth waiting for the next look.
const TRIES: u32 = 2;

impl Conductor<'_> {
    /// Goes on until nothing more is to be expected of any worker.
    pub(super) async fn conduct(&mut self, on_live: &mut (dyn FnMut(&LiveState) + Send)) -> Result<(), AggregateError> {
        let patience = self.run.plan.deadlines.lost * 3;
        let mut answered_at = self.ports.clock.monotonic();
        let mut shown_at: Option<Duration> = None;
        loop {
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
            let over = self.open_workers().next().is_none() || self.run.state.phase == Phase::Concluded;
            if over || shown_at.is_none_or(|at| now.saturating_sub(at) >= self.run.plan.pace.flush) {
                shown_at = Some(now);
                let crossed = self.note_crossed_thresholds();
                if let Some(abort) = crossed.filter(|_| !over) {
                    self.stop(abort).await;
                }
                let live = self.live();
                on_live(&live);
                self.store_for_people(&keys::live(&self.run.id), &live).await;
                self.give_sign_of_life().await;
            }
            if over {
                return Ok(());
            }
            self.ports.clock.sleep(self.run.plan.pace.poll).await;
        }
    }

    /// One look, and what follows from it.
    async fn step(&mut self) -> Result<(), LedgerError> {
        self.look().await?;
        self.collect().await;
        self.lose_silent_workers();
        self.check_deadlines().await;
        if let Some(abort) = self.reason_to_stop() {
            self.stop(abort).await;
        }
        let at_least = |phase| self.run.plan.worker_indices().all(|index| self.is_at_least(index, phase));
        // A stop that could not be recorded yet keeps all from starting, too.
        let may_start = self.stopping_since.is_none() && self.lost.is_empty();
        match self.run.state.phase {
            Phase::Initializing if may_start && at_least(WorkerPhase::Ready) => {
                let start_at = self.ports.clock.now().plus(self.run.plan.pace.start_lead);
                self.update(|run| {
                    run.state = run.state.next(RunEvent::Started)?;
                    // Written once: a second aggregator keeps what the first has set.
                    run.start_at.get_or_insert(start_at);
                    Ok(true)
                })
                .await;
            }
            Phase::Initializing | Phase::Running if at_least(WorkerPhase::Ended) => {
                self.update(|run| {
                    run.state = run.state.next(RunEvent::IterationsEnded)?;
                    run.teardown_wanted = true;
                    Ok(true)
                })
                .await;
            }
            _ => {}
        }
        Ok(())
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

    async fn stop(&mut self, abort: Abort) {
        self.update(|run| {
            run.state = run.state.next(RunEvent::Abort(abort.clone()))?;
            Ok(true)
        })
        .await;
        self.stopping_since.get_or_insert(self.ports.clock.monotonic());
    }

    /// Workers whose beat has stood still are lost; they stop themselves when they notice.
    fn lose_silent_workers(&mut self) {
        let lost = self.run.plan.deadlines.lost;
        // Until the last look, not until now: what took long since then was ours.
        let silent: Vec<(WorkerIndex, Duration)> = self
            .open_workers()
            .filter_map(|index| Some((index, self.looked_at.saturating_sub(self.workers.get(&index)?.beat_at))))
            .filter(|(_, silent)| *silent > lost)
            .collect();
        for (index, silent) in silent {
            self.lose(index, format!("gave no sign of life for {} s", silent.as_secs()));
        }
    }

    /// Every phase ends.
    async fn check_deadlines(&mut self) {
        let deadlines = self.run.plan.deadlines;
        let now = self.ports.clock.monotonic();
        let in_phase = now.saturating_sub(self.phase_since);
        let limit = match self.run.state.phase {
            // The first worker's setup() is part of getting ready.
            Phase::Created | Phase::Validated | Phase::Queued | Phase::Initializing => {
                deadlines.ready + deadlines.setup
            }
            Phase::Running => deadlines.run + deadlines.stop,
            Phase::Finishing | Phase::Concluded => deadlines.teardown + deadlines.stop + deadlines.lost,
        };
        let stopping_limit = deadlines.stop * 2 + deadlines.teardown + deadlines.lost;
        let stopping = self.stopping_since.map(|since| now.saturating_sub(since));
        if let Some(stopping) = stopping
            && stopping > stopping_limit
        {
            let open: Vec<WorkerIndex> = self.open_workers().collect();
            for index in open {
                self.lose(index, format!("did not end within {} s after it was told to stop", stopping.as_secs()));
            }
            within(&*self.ports.clock, ANSWER, self.ports.fleet.kill_all()).await;
        } else if stopping.is_none() && in_phase > limit {
            let open: Vec<String> = self.late_workers().map(|index| index.to_string()).collect();
            let message =
                format!("{} after {} s: {}", waiting_for(self.run.state.phase), limit.as_secs(), open.join(", "));
            self.stop(Abort { cause: AbortCause::Deadline, message, at_once: false }).await;
        }
    }

    /// The workers for which the others wait.
    fn late_workers(&self) -> impl Iterator<Item = WorkerIndex> {
        let waited_for = match self.run.state.phase {
            Phase::Running => WorkerPhase::Ended,
            Phase::Finishing | Phase::Concluded => WorkerPhase::Closed,
            _ => WorkerPhase::Ready,
        };
        self.open_workers().filter(move |index| self.workers.get(index).is_none_or(|w| w.record.phase < waited_for))
    }

    /// A worker that failed or is lost stops the run: what the others would still measure could not be believed.
    fn reason_to_stop(&self) -> Option<Abort> {
        if self.run.state.abort.is_some() || self.run.state.phase >= Phase::Finishing {
            return None;
        }
        let failed = self.workers.values().filter_map(|w| Some((w.record.index, w.record.failure.as_ref()?)));
        let lost = self.lost.iter().map(|(index, failure)| (*index, failure));
        let (index, failure) = failed.chain(lost).find(|(_, failure)| failure.kind != FailureKind::ScriptFailed)?;
        Some(Abort { cause: cause_of(failure), message: format!("{index}: {}", failure.message), at_once: false })
    }

    /// Evaluates all thresholds on what there is; returns a stop if one that asks for it does not hold.
    fn note_crossed_thresholds(&mut self) -> Option<Abort> {
        if self.run.state.phase < Phase::Running {
            return None;
        }
        let elapsed = self.elapsed();
        let mut abort = None;
        for (threshold, crossed) in self.run.plan.thresholds.iter().zip(&mut self.first_crossed) {
            if !self.aggregate.has_samples(threshold) || self.aggregate.decide(threshold, elapsed).passed {
                continue;
            }
            crossed.get_or_insert(elapsed);
            let delayed = threshold.delay_abort_eval.is_some_and(|delay| elapsed <= delay);
            if threshold.abort_on_fail && !delayed && self.run.state.phase == Phase::Running {
                let message = format!("{} {} does not hold", threshold.selector.key(), threshold.expression);
                abort.get_or_insert(Abort { cause: AbortCause::Threshold, message, at_once: false });
            }
        }
        abort.filter(|_| self.run.state.abort.is_none())
    }

    fn live(&self) -> LiveState {
        let started = self.run.start_at.filter(|start| self.ports.clock.now() >= *start);
        let elapsed = self.elapsed();
        let counter = |name| {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count")]
            let count = self.aggregate.counter(name).max(0.0) as u64;
            count
        };
        let running = self.run.state.phase == Phase::Running;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a number of VUs")]
        let vus = if running { self.aggregate.vus_now().max(0.0) as u64 } else { 0 };
        LiveState {
            run: self.run.id.clone(),
            name: self.run.plan.name.clone(),
            at: self.ports.clock.now(),
            phase: self.run.state.phase,
            status: self.run.state.status(),
            abort: self.run.state.abort.clone(),
            elapsed_ms: started.map(|_| millis(elapsed)),
            duration_ms: millis(self.run.plan.scheduled()),
            workers: self.worker_counts(),
            start_skew_p99_ms: skew_p99_ms(self.workers.values().filter_map(|w| w.record.skew_micros)),
            vus,
            iterations_per_second: self.aggregate.counter_per_second("iterations").unwrap_or(0.0),
            requests_per_second: self.aggregate.counter_per_second("http_reqs"),
            iterations: counter("iterations"),
            dropped_iterations: counter("dropped_iterations"),
            latency: self.aggregate.latency(),
            failed_rate: self.aggregate.rate("http_req_failed"),
            checks_rate: self.aggregate.rate("checks"),
            thresholds: judge::threshold_results(&self.run.plan, &self.aggregate, elapsed, &self.first_crossed),
            samples: self.aggregate.samples(),
        }
    }

    fn worker_counts(&self) -> WorkerCounts {
        let mut counts = WorkerCounts { planned: self.run.plan.workers, ..WorkerCounts::default() };
        for index in self.run.plan.worker_indices() {
            let record = self.workers.get(&index).map(|w| &w.record);
            let failed = record.is_some_and(|r| r.failure.is_some()) || self.lost.contains_key(&index);
            *match record.map(|r| r.phase) {
                _ if failed => &mut counts.lost,
                None | Some(WorkerPhase::Claimed) => &mut counts.starting,
                Some(WorkerPhase::Ready) => &mut counts.ready,
                Some(WorkerPhase::Running) => &mut counts.running,
                Some(WorkerPhase::Ended | WorkerPhase::Closed) => &mut counts.done,
            } += 1;
        }
        counts
    }
}

/// Who is to blame for a run that is stopped because of a failure.
fn cause_of(failure: &Failure) -> AbortCause {
    match failure.kind {
        FailureKind::Setup | FailureKind::Teardown | FailureKind::ScriptAborted | FailureKind::ScriptFailed => {
            AbortCause::Script
        }
        FailureKind::K6DidNotStart if judge::is_script_exception(failure) => AbortCause::Script,
        FailureKind::K6Hung => AbortCause::Deadline,
        _ => AbortCause::System,
    }
}

fn waiting_for(phase: Phase) -> &'static str {
    match phase {
        Phase::Running => "still running",
        Phase::Finishing | Phase::Concluded => "still closing",
        _ => "not ready",
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// The 99th percentile of how far starts were from T0, in milliseconds: nearest rank, so of up to 100 workers the
/// largest.
pub(crate) fn skew_p99_ms(skews_micros: impl Iterator<Item = i64>) -> Option<f64> {
    let mut skews: Vec<u64> = skews_micros.map(i64::unsigned_abs).collect();
    skews.sort_unstable();
    let rank = Rank::of(0.99, skews.len() as u64)?.high;
    let micros = skews.get(usize::try_from(rank).ok()?)?;
    Some(*micros as f64 / 1_000.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ports::Timestamp;

    #[test]
    fn the_skew_is_that_of_the_worst_worker_unless_there_are_many() {
        assert_eq!(skew_p99_ms([].into_iter()), None);
        assert_eq!(skew_p99_ms([1_000, -18_000, 3_000].into_iter()), Some(18.0));
        assert_eq!(skew_p99_ms((1..=1000).map(|i| i * 1_000)), Some(991.0));
    }

    #[test]
    fn timestamps_are_apart_or_not() {
        assert_eq!(Timestamp(5).since(Timestamp(3)), Duration::from_micros(2));
        assert_eq!(Timestamp(3).since(Timestamp(5)), Duration::ZERO);
    }
}
