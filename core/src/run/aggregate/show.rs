//! What an aggregator shows of the run while it goes on.

use std::time::Duration;

use crate::{
    histogram::Rank,
    judge,
    lifecycle::Phase,
    live::{LiveState, WorkerCounts},
    plan::Offered,
    records::WorkerPhase,
    run::aggregate::Conductor,
    timestamp::Timestamp,
};

/// Seconds over which live rates are taken: long enough not to jump, short enough to follow.
const RATE_SECONDS: u32 = 3;

impl Conductor<'_> {
    /// The run at this moment.
    pub(super) fn live(&self) -> LiveState {
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
            elapsed_ms: self.since_start().map(millis),
            duration_ms: millis(self.run.plan.scheduled()),
            workers: self.worker_counts(),
            start_skew_p99_ms: skew_p99_ms(self.workers.values().filter_map(|w| w.record.skew_micros)),
            vus,
            planned_vus: if running { self.run.plan.vus_at(elapsed, self.run.scaled_vus()) } else { None },
            offered: self.offered().filter(|_| running),
            iterations_per_second: self.per_second("iterations").unwrap_or(0.0),
            requests_per_second: self.per_second("http_reqs"),
            iterations: counter("iterations"),
            dropped_iterations: counter("dropped_iterations"),
            latency: self.aggregate.latency(self.run.plan.samples),
            failed_rate: self.aggregate.rate("http_req_failed"),
            checks_rate: self.aggregate.rate("checks"),
            thresholds: judge::threshold_results(&self.run.plan, |t| self.decide(t), &self.first_crossed),
            samples: self.aggregate.samples(),
        }
    }

    /// A counter over the last few whole seconds; none without samples.
    fn per_second(&self, counter: &str) -> Option<f64> {
        let until = self.rates_until();
        let sum = self.aggregate.counter_over(counter, &(until - i64::from(RATE_SECONDS)..until))?;
        let since_start = self.run.start_at.map(|start| Timestamp(until * 1_000_000).since(start));
        let seconds = since_start.map_or(f64::INFINITY, |since| since.as_secs_f64()).min(f64::from(RATE_SECONDS));
        Some(if seconds > 0.0 { sum / seconds } else { 0.0 })
    }

    /// The end of the seconds over which live rates are taken, since the Unix epoch: workers tell of them one after the other,
    /// and up to there all have. One that is silent is not waited for long.
    fn rates_until(&self) -> i64 {
        let newest = self.aggregate.newest_second();
        let Some(start_at) = self.run.start_at else { return newest };
        let merged = start_at.plus(self.covered()).0.div_euclid(1_000_000);
        let patience = self.run.plan.pace.flush * 2 + self.run.plan.samples.delay();
        let patience = i64::try_from(patience.as_secs()).unwrap_or(i64::MAX);
        merged.clamp(newest.saturating_sub(patience), newest)
    }

    /// What arrival rates brought up over the same seconds over which live rates are taken.
    fn offered(&self) -> Option<Offered> {
        let until = Timestamp(self.rates_until().checked_mul(1_000_000)?).since(self.run.start_at?);
        let from = until.saturating_sub(Duration::from_secs(RATE_SECONDS.into()));
        (from < until).then(|| self.run.plan.offered(from, until))?
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
