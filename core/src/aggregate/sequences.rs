//! Which chunks of a worker were merged, as ranges: as many as there are gaps, however many chunks.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Numbers from 1 on.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Sequences {
    /// The last of each range by its first; between two ranges something is missing.
    ranges: BTreeMap<u32, u32>,
}

impl Sequences {
    /// Whether a number is among them.
    pub(super) fn contains(&self, number: u32) -> bool {
        self.ranges.range(..=number).next_back().is_some_and(|(_, last)| number <= *last)
    }

    /// Adds a number; whether it is new.
    pub(super) fn insert(&mut self, number: u32) -> bool {
        if self.contains(number) {
            return false;
        }
        let after = number.checked_add(1).and_then(|next| self.ranges.remove(&next)).unwrap_or(number);
        match self.ranges.range_mut(..number).next_back() {
            Some((_, last)) if last.checked_add(1) == Some(number) => *last = after,
            _ => drop(self.ranges.insert(number, after)),
        }
        true
    }

    /// The numbers from 1 to `up_to` that are not among them, rising.
    pub(super) fn missing(&self, up_to: u32) -> impl Iterator<Item = u32> {
        let starts = std::iter::once(1).chain(self.ranges.values().map(|last| last.saturating_add(1)));
        let ends = self.ranges.keys().map(|first| first.saturating_sub(1)).chain([up_to]);
        starts.zip(ends).flat_map(move |(from, to)| from..=to.min(up_to))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    #[test]
    fn a_day_of_chunks_is_one_range() {
        let mut numbers = Sequences::default();
        assert!((1..=43_200).filter(|n| n % 7 != 3).all(|n| numbers.insert(n)));
        assert!((1..=43_200).filter(|n| n % 7 == 3).all(|n| numbers.insert(n)));
        assert_eq!((numbers.ranges.len(), numbers.missing(43_201).collect::<Vec<_>>()), (1, vec![43_201]));
        assert!(numbers.insert(u32::MAX) && !numbers.insert(u32::MAX));
    }

    proptest! {
        #[test]
        fn they_are_a_set(numbers in prop::collection::vec(1u32..60, 0..80)) {
            let (mut ours, mut theirs) = (Sequences::default(), BTreeSet::new());
            for number in numbers {
                prop_assert_eq!(ours.insert(number), theirs.insert(number));
            }
            for up_to in 0..70 {
                let missing: Vec<u32> = (1..=up_to).filter(|n| !theirs.contains(n)).collect();
                prop_assert_eq!(ours.missing(up_to).collect::<Vec<_>>(), missing);
                prop_assert_eq!(ours.contains(up_to), theirs.contains(&up_to));
            }
        }
    }
}
