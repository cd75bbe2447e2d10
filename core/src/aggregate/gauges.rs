//! Gauges that add up over workers: each k6 counts its own VUs, and together they are the test's.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    aggregate::slices::{Sliced, Slices},
    ids::WorkerIndex,
    stats::Stats,
};

/// k6 writes its VUs once a second, now and then twice in one second and not in the next; so long a value stands for
/// the seconds after it. A worker that is silent for longer has ended.
const STANDS_FOR_SECONDS: i64 = 3;

/// The last value of each worker in each slice.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct WorkerGauges {
    slices: Slices<LastByWorker>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct LastByWorker(BTreeMap<WorkerIndex, Last>);

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct Last {
    at: i64,
    value: f64,
}

impl Sliced for LastByWorker {
    fn absorb(&mut self, other: &Self) {
        for (worker, theirs) in &other.0 {
            let ours = self.0.entry(*worker).or_insert(*theirs);
            if (theirs.at, theirs.value) > (ours.at, ours.value) {
                *ours = *theirs;
            }
        }
    }
}

impl Default for WorkerGauges {
    fn default() -> Self {
        Self { slices: Slices::new() }
    }
}

impl WorkerGauges {
    /// Adds what a worker reported in the second `second`.
    pub(super) fn merge(&mut self, second: i64, worker: WorkerIndex, stats: &Stats) {
        if let Stats::Gauge { count: 1.., last, last_at, .. } = stats {
            let last = LastByWorker(BTreeMap::from([(worker, Last { at: *last_at, value: *last })]));
            self.slices.merge(second, &last);
        }
    }

    /// The sum over workers in each slice, by rising start, from the first slice in which all workers that ever report
    /// have reported: before that the sum would be of some.
    pub(super) fn sums(&self) -> Vec<(i64, f64)> {
        let mut first_seen: BTreeMap<WorkerIndex, i64> = BTreeMap::new();
        for (start, slice) in self.slices.iter() {
            for worker in slice.0.keys() {
                first_seen.entry(*worker).or_insert(start);
            }
        }
        let Some(complete_from) = first_seen.values().max().copied() else { return Vec::new() };
        let mut standing: BTreeMap<WorkerIndex, (i64, f64)> = BTreeMap::new();
        let mut sums = Vec::new();
        for (start, slice) in self.slices.iter() {
            let until = start.saturating_add(STANDS_FOR_SECONDS.max(self.slices.width_at(start)));
            standing.extend(slice.0.iter().map(|(worker, last)| (*worker, (until, last.value))));
            standing.retain(|_, (until, _)| start < *until);
            if start >= complete_from {
                sums.push((start, standing.values().map(|(_, value)| value).sum()));
            }
        }
        sums
    }

    /// The sum over workers of what each reported last.
    pub(super) fn now(&self) -> f64 {
        let mut latest = LastByWorker::default();
        for (_, slice) in self.slices.iter().rev().take(usize::try_from(STANDS_FOR_SECONDS).unwrap_or(1)) {
            latest.absorb(slice);
        }
        latest.0.values().map(|last| last.value).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{series::MetricKind, stats::tests::stats};

    fn gauges(reports: &[(i64, u32, f64)]) -> WorkerGauges {
        let mut gauges = WorkerGauges::default();
        for (second, worker, value) in reports {
            gauges.merge(*second, WorkerIndex(*worker), &stats(MetricKind::Gauge, &[*value], second * 1_000_000_000));
        }
        gauges
    }

    #[test]
    fn vus_add_up_over_workers() {
        let gauges = gauges(&[(1, 0, 2.0), (1, 1, 3.0), (2, 0, 4.0), (2, 1, 6.0)]);
        assert_eq!(gauges.sums(), [(1, 5.0), (2, 10.0)]);
        assert!((gauges.now() - 10.0).abs() < f64::EPSILON);
    }

    #[test]
    fn a_second_without_a_report_keeps_the_value_and_a_worker_that_ended_does_not() {
        let gauges = gauges(&[
            (1, 0, 2.0),
            (1, 1, 3.0),
            (2, 0, 2.0),
            (3, 0, 2.0),
            (3, 1, 3.0),
            (4, 0, 2.0),
            (5, 0, 2.0),
            (6, 0, 2.0),
        ]);
        assert_eq!(gauges.sums(), [(1, 5.0), (2, 5.0), (3, 5.0), (4, 5.0), (5, 5.0), (6, 2.0)]);
    }

    #[test]
    fn the_sum_begins_when_all_have_reported() {
        assert_eq!(gauges(&[(1, 0, 2.0), (2, 0, 2.0), (2, 1, 2.0)]).sums(), [(2, 4.0)]);
        assert_eq!(gauges(&[]).sums(), []);
    }
}
