//! A series over time, in a bounded number of slices.
//!
//! Slices are a second wide until there are too many; then neighbours are merged and all are twice as wide. Everything
//! in a slice merges exactly, so a coarser slice is as right as a finer one, and a run of a day costs what a run of half
//! an hour does.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize, de::Error as _};

use crate::stats::Stats;

/// More slices than that are merged in pairs: fifteen minutes by the second, and what a chart of 900 pixels can show.
pub(super) const MAX_SLICES: usize = 900;

/// What can be in a slice.
pub(super) trait Sliced: Sized {
    /// Adds what is in a later or earlier part of the same slice.
    fn absorb(&mut self, other: &Self);
}

impl Sliced for Stats {
    fn absorb(&mut self, other: &Self) {
        // One series has one type: a chunk whose windows say otherwise is refused before it gets here.
        let merged = self.merge(other);
        debug_assert!(merged.is_ok(), "{merged:?}");
    }
}

/// The slices by their start, in seconds since the Unix epoch.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Slices<T> {
    #[serde(deserialize_with = "positive")]
    width: i64,
    slices: BTreeMap<i64, T>,
}

/// Nothing is divided by a width of 0.
fn positive<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i64, D::Error> {
    let width = i64::deserialize(deserializer)?;
    if width > 0 { Ok(width) } else { Err(D::Error::custom("a width of slices that is not positive")) }
}

impl<T: Sliced + Clone> Slices<T> {
    pub(super) fn new() -> Self {
        Self { width: 1, slices: BTreeMap::new() }
    }

    /// Seconds that a slice covers.
    pub(super) fn width(&self) -> i64 {
        self.width
    }

    /// The slices that hold something, by rising start.
    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = (i64, &T)> {
        self.slices.iter().map(|(start, value)| (*start, value))
    }

    /// The slice that starts at `start`.
    pub(super) fn get(&self, start: i64) -> Option<&T> {
        self.slices.get(&start)
    }

    /// Adds what happened in the second `second`.
    pub(super) fn merge(&mut self, second: i64, value: &T) {
        Self::add(&mut self.slices, second.div_euclid(self.width) * self.width, value);
        while self.slices.len() > MAX_SLICES {
            self.widen(self.width * 2);
        }
    }

    /// Makes slices at least `width` wide; `width` is a power of two.
    pub(super) fn widen(&mut self, width: i64) {
        if width <= self.width {
            return;
        }
        self.width = width;
        let mut wider = BTreeMap::new();
        for (start, value) in &self.slices {
            Self::add(&mut wider, start.div_euclid(width) * width, value);
        }
        self.slices = wider;
    }

    fn add(slices: &mut BTreeMap<i64, T>, start: i64, value: &T) {
        match slices.get_mut(&start) {
            Some(slice) => slice.absorb(value),
            None => drop(slices.insert(start, value.clone())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{series::MetricKind, stats::tests::stats};

    #[test]
    fn a_long_run_has_fewer_and_wider_slices_and_loses_nothing() {
        let mut slices = Slices::new();
        for second in 0..10_000 {
            slices.merge(second, &stats(MetricKind::Trend, &[second as f64], second));
        }
        assert_eq!(slices.width(), 16);
        assert!(slices.iter().count() <= MAX_SLICES);
        assert_eq!(slices.iter().map(|(_, s)| s.count()).sum::<u64>(), 10_000);
        assert_eq!(slices.get(16).map(Stats::count), Some(16));
    }
}
