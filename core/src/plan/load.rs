//! What the scenarios come to together: for the whole run at one moment, and for one worker at most.

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{
    ids::WorkerIndex,
    plan::{Plan, PlannedScenario, Schedule, Work},
    segment::Segment,
};

/// Iterations that arrival rates bring up.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Offered {
    /// Per second, over the time asked for.
    pub per_second: f64,
    /// Whether these are all: no other scenario adds iterations of its own in that time.
    pub is_all: bool,
}

impl Plan {
    /// VUs by plan, so long after the start; `scaled` is what somebody has wanted since of the scenario that can be
    /// controlled. None while the plan cannot know: an arrival rate takes as many as it needs, and the executors that count
    /// iterations let VUs go that have nothing left to do.
    pub fn vus_at(&self, at: Duration, scaled: Option<u64>) -> Option<u64> {
        let controlled = self.controlled().map(|scenario| &scenario.name);
        let vus = |scenario: &PlannedScenario| match (&scenario.schedule.work, scenario.schedule.vus_at(at)?) {
            (_, 0) => Some(0),
            (Work::SharedIterations { .. } | Work::PerVuIterations { .. }, _) => None,
            (Work::Controlled { .. }, vus) if controlled == Some(&scenario.name) => Some(scaled.unwrap_or(vus)),
            (_, vus) => Some(vus),
        };
        self.scenarios.iter().map(vus).sum()
    }

    /// What arrival rates offer between two moments after the start; none where there are none.
    pub fn offered(&self, from: Duration, to: Duration) -> Option<Offered> {
        let is_on = |s: &Schedule| s.starts_after < to && s.ends_after().saturating_add(s.graceful_stop) > from;
        let seconds = to.saturating_sub(from).as_secs_f64();
        let until = |s: &Schedule, at| s.offered_until(at).unwrap_or(0.0);
        let on: Vec<&Schedule> =
            self.scenarios.iter().map(|scenario| &scenario.schedule).filter(|s| is_on(s)).collect();
        let total: f64 = on.iter().map(|s| until(s, to) - until(s, from)).fold(0.0, |sum, part| sum + part);
        (total > 0.0 && seconds > 0.0)
            .then(|| Offered { per_second: total / seconds, is_all: on.iter().all(|s| s.peak_rate().is_some()) })
    }

    /// The scenario whose VUs can be changed while it runs: k6 takes the first that starts, of those by name.
    pub fn controlled(&self) -> Option<&PlannedScenario> {
        let controlled = self.scenarios.iter().filter(|s| matches!(s.schedule.work, Work::Controlled { .. }));
        controlled.min_by_key(|s| (s.schedule.starts_after, &s.name))
    }

    /// VUs that one worker has at one time, at most.
    pub fn worker_vus(&self, index: WorkerIndex) -> u64 {
        self.segment(index).map_or(0, |segment| most_vus(&self.scenarios, segment))
    }

    /// Iterations per second that one worker starts in the arrival-rate scenarios, at most: their rates are dealt out as
    /// their VUs are.
    pub fn worker_rate(&self, index: WorkerIndex) -> Option<f64> {
        most_rate(&self.scenarios, self.segment(index)?)
    }

    /// Iterations of each worker by plan; none if a scenario has VUs that loop, so that nobody can know.
    pub fn worker_iterations(&self) -> Option<BTreeMap<WorkerIndex, u64>> {
        let mut sum: BTreeMap<WorkerIndex, u64> = self.worker_indices().map(|index| (index, 0)).collect();
        for scenario in &self.scenarios {
            for (index, iterations) in scenario.schedule.iterations_by_worker(self.workers)? {
                *sum.entry(index).or_insert(0) += iterations;
            }
        }
        Some(sum)
    }
}

/// VUs that a worker of this segment has at one time, at most, as `k6 inspect --execution-requirements` says of it.
pub(super) fn most_vus(scenarios: &[PlannedScenario], segment: Segment) -> u64 {
    let mut schedules: Vec<&Schedule> = scenarios.iter().map(|scenario| &scenario.schedule).collect();
    // At one moment what began first changes first: whoever ends makes room for whoever starts.
    schedules.sort_by_key(|schedule| schedule.starts_after);
    let mut changes: Vec<(Duration, i64)> = schedules.iter().flat_map(|s| s.vu_changes(segment)).collect();
    changes.sort_by_key(|(at, _)| *at);
    let sums = changes.iter().scan(0_i64, |vus, (_, change)| {
        *vus = vus.saturating_add(*change);
        Some(*vus)
    });
    sums.max().and_then(|most| u64::try_from(most).ok()).unwrap_or(0)
}

/// Iterations per second that a worker of this segment starts in the arrival-rate scenarios, at most.
pub(super) fn most_rate(scenarios: &[PlannedScenario], segment: Segment) -> Option<f64> {
    let open: Vec<(&Schedule, f64)> = scenarios
        .iter()
        .filter(|scenario| scenario.peak_rate.is_some())
        .map(|s| (&s.schedule, segment.share(s.max_vus) as f64 / s.max_vus.max(1) as f64))
        .collect();
    let rate = |at| open.iter().filter_map(|(s, share)| Some(s.rate_at(at)? * share)).fold(0.0, |sum, rate| sum + rate);
    // Between two bends all rates are straight lines, so their sum is largest at a bend, or just before a jump.
    let bends = open.iter().flat_map(|(schedule, _)| schedule.bends());
    bends.flat_map(|at| [at, at.saturating_sub(Duration::from_nanos(1))]).map(rate).reduce(f64::max)
}
