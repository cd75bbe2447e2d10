//! A worker's execution segment, in k6's own words and arithmetic.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, BinaryHeap},
};

use serde::{Deserialize, Serialize};

use crate::ids::WorkerIndex;

/// Worker `index` of `count` equal parts: k6's segment `index/count:(index+1)/count`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Segment {
    index: u32,
    count: u32,
}

impl Segment {
    /// All of the work, on one worker.
    pub const WHOLE: Self = Self { index: 0, count: 1 };

    /// The segment of one worker among `count`; `None` unless `index < count`.
    pub fn new(index: WorkerIndex, count: u32) -> Option<Self> {
        (index.0 < count).then_some(Self { index: index.0, count })
    }

    /// The value of `--execution-segment`.
    pub fn argument(self) -> String {
        let edge = |i: u32| match i {
            0 => "0".to_owned(),
            i if i == self.count => "1".to_owned(),
            i => format!("{i}/{}", self.count),
        };
        format!("{}:{}", edge(self.index), edge(self.index + 1))
    }

    /// The value of `--execution-segment-sequence`, the same for all workers.
    /// Without it each k6 invents a sequence of its own and VUs are lost or doubled.
    pub fn sequence_argument(self) -> String {
        let mut sequence = String::from("0");
        for i in 1..self.count {
            sequence.push_str(&format!(",{i}/{}", self.count));
        }
        sequence + ",1"
    }

    /// How many of `total` VUs or iterations fall to this worker: with equal segments k6 deals them out in turn.
    pub fn share(self, total: u64) -> u64 {
        let (index, count) = (u64::from(self.index), u64::from(self.count));
        total.saturating_sub(index).div_ceil(count)
    }

    /// Which of all VUs is this worker's VU `own`; both are counted from 0.
    pub(crate) fn nth(self, own: u64) -> u64 {
        own.saturating_mul(u64::from(self.count)).saturating_add(u64::from(self.index))
    }
}

/// VUs up to which it is worked out in which order workers do iterations. Beyond, k6 itself has not the memory for it.
const MAX_PATTERN: u64 = 1 << 22;

/// Who does which iteration, where iterations follow VUs: k6 deals the VUs out first, and then iterations in proportion
/// to what each worker has got of them (`shared-iterations` by `vus`, arrival rates by `maxVUs`). A worker without VUs gets
/// no iteration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dealer {
    /// The workers of iterations 0, 1, 2 and so on; after the last the first follows again.
    pattern: Vec<WorkerIndex>,
}

impl Dealer {
    /// Iterations of a scenario with so many VUs on so many workers.
    pub fn new(workers: u32, vus: u64) -> Self {
        let each = vus / u64::from(workers.max(1));
        if vus.is_multiple_of(u64::from(workers.max(1))) || each == 0 || vus > MAX_PATTERN {
            let turns = u32::try_from(vus).unwrap_or(u32::MAX).min(workers);
            return Self { pattern: (0..turns).map(WorkerIndex).collect() };
        }
        // Every worker is due again once it has had less than its part of the iterations so far; of those that are due, the
        // first comes first.
        let weight = |index: u32| Segment { index, count: workers }.share(vus);
        let mut due: BTreeSet<u32> = (0..workers).collect();
        let mut later: BinaryHeap<Reverse<(u64, u32)>> = BinaryHeap::new();
        let mut taken = vec![0_u64; workers as usize];
        let mut pattern = Vec::new();
        for iteration in 0..vus {
            while let Some(Reverse((at, index))) = later.peek().copied()
                && at <= iteration
            {
                later.pop();
                due.insert(index);
            }
            let Some(index) = due.pop_first() else { continue };
            pattern.push(WorkerIndex(index));
            if let Some(taken) = taken.get_mut(index as usize) {
                *taken += 1;
                later.push(Reverse((ceil_of(*taken, vus, weight(index)), index)));
            }
        }
        Self { pattern }
    }

    /// The worker that does an iteration; iterations are counted from 0. None without VUs.
    pub fn owner(&self, iteration: u64) -> Option<WorkerIndex> {
        let place = iteration.checked_rem(self.pattern.len() as u64)?;
        self.pattern.get(usize::try_from(place).ok()?).copied()
    }

    /// How many of the first `total` iterations each worker does; those that are not in it do none.
    pub fn shares(&self, total: u64) -> BTreeMap<WorkerIndex, u64> {
        let length = self.pattern.len() as u64;
        let (rounds, rest) = (total.checked_div(length).unwrap_or(0), total.checked_rem(length).unwrap_or(0));
        let mut shares = BTreeMap::new();
        for (place, index) in (0..length).zip(&self.pattern) {
            *shares.entry(*index).or_insert(0) += rounds + u64::from(place < rest);
        }
        shares
    }
}

/// `value` · `by` ÷ `of`, rounded up.
fn ceil_of(value: u64, by: u64, of: u64) -> u64 {
    let exact = (u128::from(value) * u128::from(by)).div_ceil(u128::from(of.max(1)));
    u64::try_from(exact).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn segment(index: u32, count: u32) -> Segment {
        Segment::new(WorkerIndex(index), count).expect("in range")
    }

    #[test]
    fn arguments_are_k6s() {
        assert_eq!(segment(0, 1).argument(), "0:1");
        assert_eq!(segment(0, 1).sequence_argument(), "0,1");
        assert_eq!(segment(0, 4).argument(), "0:1/4");
        assert_eq!(segment(3, 4).argument(), "3/4:1");
        assert_eq!(segment(1, 3).sequence_argument(), "0,1/3,2/3,1");
        assert_eq!(Segment::new(WorkerIndex(4), 4), None);
        assert_eq!(Segment::new(WorkerIndex(0), 0), None);
    }

    #[test]
    fn the_first_workers_get_the_remainder() {
        let shares: Vec<u64> = (0..4).map(|i| segment(i, 4).share(6)).collect();
        assert_eq!(shares, [2, 2, 1, 1]);
    }

    proptest! {
        #[test]
        fn shares_add_up(total in 0u64..100_000, count in 1u32..300) {
            prop_assert_eq!((0..count).map(|i| segment(i, count).share(total)).sum::<u64>(), total);
        }
    }

    /// The same by going through all places: each goes to the first worker, those with more VUs first, that has got less
    /// than its part of the places so far.
    fn dealt_one_by_one(workers: u32, vus: u64) -> Vec<u32> {
        let weights: Vec<u64> = (0..workers).map(|i| segment(i, workers).share(vus)).collect();
        let mut taken = vec![0; weights.len()];
        let places = (0..vus).map(|place| {
            let due = |i: &usize| weights[*i] > 0 && taken[*i] * vus <= place * weights[*i];
            // Equal segments with more VUs come first anyway.
            let worker = (0..weights.len()).find(due).expect("somebody is due");
            taken[worker] += 1;
            u32::try_from(worker).expect("few")
        });
        places.collect()
    }

    #[test]
    fn iterations_follow_vus() {
        let owners =
            |workers, vus, n| (0..n).map(|k| Dealer::new(workers, vus).owner(k).map(|i| i.0)).collect::<Vec<_>>();
        assert_eq!(owners(4, 2, 5), [0, 1, 0, 1, 0].map(Some));
        assert_eq!(owners(3, 6, 4), [0, 1, 2, 0].map(Some));
        assert_eq!(owners(2, 3, 6), [0, 1, 0, 0, 1, 0].map(Some));
        assert_eq!(owners(3, 0, 1), [None]);
        assert_eq!(Dealer::new(3, 0).shares(9), BTreeMap::new());
    }

    proptest! {
        #[test]
        fn every_iteration_is_dealt_as_one_by_one(workers in 1u32..40, vus in 1u64..200, total in 0u64..1000) {
            let dealer = Dealer::new(workers, vus);
            let pattern = dealt_one_by_one(workers, vus);
            let mut counts = vec![0; workers as usize];
            for iteration in 0..total {
                let owner = dealer.owner(iteration).expect("there are VUs").0;
                prop_assert_eq!(owner, pattern[usize::try_from(iteration % vus).expect("small")], "{}", iteration);
                counts[owner as usize] += 1;
            }
            for index in 0..workers {
                let share = dealer.shares(total).get(&WorkerIndex(index)).copied().unwrap_or(0);
                prop_assert_eq!(share, counts[index as usize], "worker {}", index);
            }
        }
    }
}
