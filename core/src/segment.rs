//! A worker's execution segment, in k6's own words and arithmetic.

use serde::{Deserialize, Serialize};

use crate::ids::WorkerIndex;

/// Worker `index` of `count` equal parts: k6's segment `index/count:(index+1)/count`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Segment {
    index: u32,
    count: u32,
}

impl Segment {
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
        (total + count - 1 - index) / count
    }
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
}
