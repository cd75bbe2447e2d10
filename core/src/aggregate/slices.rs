//! A series over time, in a bounded number of slices: by the second near its end, coarser with age.
//!
//! How wide a slice is follows from how old it is, and from nothing else: what is older than [`NEAR`] slices of a width is
//! merged in pairs, until a width is reached with which the whole run has at most [`MAX_SLICES`].
//! Widths are powers of two and every slice starts at a multiple of its own, so a slice only ever becomes part of a wider
//! one. Everything in it merges exactly: a coarser slice is as right as a finer one, no sample is lost, and the order in
//! which samples come does not matter.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::stats::Stats;

/// The oldest part of a run has no more slices than that, all of one width: fifteen minutes by the second, and what a
/// chart of 900 pixels can show.
pub(super) const MAX_SLICES: i64 = 900;

/// Slices are a second wide for so many seconds, then two for twice as long, and so on.
const NEAR: i64 = 64;

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
    /// The first and the last second in which there was something; none without slices.
    span: Option<(i64, i64)>,
    slices: BTreeMap<i64, T>,
}

/// The width of the oldest slices of a run that has lasted from one second to another.
pub(super) fn oldest_width(first: i64, last: i64) -> i64 {
    let seconds = last.saturating_sub(first).saturating_add(1);
    let mut width = 1;
    while seconds / width > MAX_SLICES {
        width *= 2;
    }
    width
}

/// Where the slice of this width starts that a second is in.
pub(super) fn start_of(second: i64, width: i64) -> i64 {
    second.div_euclid(width).saturating_mul(width)
}

/// Everything before this second is in slices that are wider than `width`. It is between two slices of the next width.
fn boundary(newest: i64, width: i64) -> i64 {
    start_of(newest.saturating_sub(NEAR * width), width * 2)
}

impl<T: Sliced + Clone> Slices<T> {
    pub(super) fn new() -> Self {
        Self { span: None, slices: BTreeMap::new() }
    }

    /// The first and the last second in which there was something.
    pub(super) fn span(&self) -> Option<(i64, i64)> {
        self.span
    }

    /// The slices that hold something, by rising start.
    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = (i64, &T)> {
        self.slices.iter().map(|(start, value)| (*start, value))
    }

    /// The slice that starts at `start`.
    pub(super) fn get(&self, start: i64) -> Option<&T> {
        self.slices.get(&start)
    }

    /// Seconds that the slice covers in which a second is.
    pub(super) fn width_at(&self, second: i64) -> i64 {
        let Some((first, newest)) = self.span else { return 1 };
        let oldest = oldest_width(first, newest);
        let mut width = 1;
        while width < oldest && second < boundary(newest, width) {
            width *= 2;
        }
        width
    }

    /// Adds what happened in the second `second`.
    pub(super) fn merge(&mut self, second: i64, value: &T) {
        let (first, newest) = self.span.unwrap_or((second, second));
        let span = (first.min(second), newest.max(second));
        if self.span != Some(span) {
            let before = self.span.replace(span);
            self.coarsen(before);
        }
        let start = start_of(second, self.width_at(second));
        Self::add(&mut self.slices, start, value);
    }

    /// All in slices of one width, which must be a power of two and no finer than the oldest are.
    pub(super) fn evenly(&self, width: i64) -> BTreeMap<i64, T> {
        let mut even = BTreeMap::new();
        for (start, value) in &self.slices {
            Self::add(&mut even, start_of(*start, width), value);
        }
        even
    }

    /// Merges what has become older since the span was another one.
    fn coarsen(&mut self, before: Option<(i64, i64)>) {
        let (Some((first, newest)), Some((old_first, old_newest))) = (self.span, before) else { return };
        let (oldest, old_oldest) = (oldest_width(first, newest), oldest_width(old_first, old_newest));
        let mut width = 1;
        while width < oldest {
            let until = boundary(newest, width);
            // What was merged to twice this width before stays so.
            let from = if width < old_oldest { boundary(old_newest, width) } else { i64::MIN };
            let ripe: Vec<i64> = if from < until {
                self.slices.range(from..until).map(|(start, _)| *start).collect()
            } else {
                Vec::new()
            };
            for start in ripe {
                let wider = start_of(start, width * 2);
                if wider != start
                    && let Some(value) = self.slices.remove(&start)
                {
                    Self::add(&mut self.slices, wider, &value);
                }
            }
            width *= 2;
        }
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
    use proptest::prelude::*;

    /// How many there are, for widths alone.
    #[derive(Debug, Clone, PartialEq)]
    struct Count(u64);

    impl Sliced for Count {
        fn absorb(&mut self, other: &Self) {
            self.0 += other.0;
        }
    }

    fn of(seconds: impl IntoIterator<Item = i64>) -> Slices<Count> {
        let mut slices = Slices::new();
        seconds.into_iter().for_each(|second| slices.merge(second, &Count(1)));
        slices
    }

    const HOUR: i64 = 3_600;

    #[test]
    fn a_run_of_a_day_costs_what_one_of_half_an_hour_does() {
        let bound = 1_300;
        for (seconds, oldest) in [(60, 1), (900, 1), (1_800, 2), (8 * HOUR, 32), (24 * HOUR, 128), (168 * HOUR, 1_024)]
        {
            let slices = of(0..seconds);
            assert_eq!(slices.width_at(0), oldest, "{seconds}");
            assert!(slices.iter().count() <= bound, "{seconds}: {}", slices.iter().count());
            assert_eq!(slices.iter().map(|(_, count)| count.0).sum::<u64>(), seconds.unsigned_abs());
            // The last minute is there by the second, however long the run.
            assert!((seconds - 60..seconds).all(|second| slices.get(second) == Some(&Count(1))), "{seconds}");
        }
        assert!(of(0..24 * HOUR).iter().count().abs_diff(of(0..8 * HOUR).iter().count()) < 250);
    }

    #[test]
    fn slices_are_wider_the_older_they_are_and_have_no_gaps() {
        for seconds in [899, 901, 5_000, 40_000, 100_003] {
            let slices = of(1_000_000_007..1_000_000_007 + seconds);
            let starts: Vec<i64> = slices.iter().map(|(start, _)| start).collect();
            let widths: Vec<i64> = starts.iter().map(|start| slices.width_at(*start)).collect();
            assert!(widths.windows(2).all(|pair| pair[0] >= pair[1]), "{widths:?}");
            assert!(starts.windows(2).zip(&widths).all(|(pair, width)| pair[0] + width == pair[1]), "{starts:?}");
        }
    }

    #[test]
    fn percentiles_of_coarse_slices_are_those_of_all_their_samples() {
        let mut slices = Slices::new();
        for second in 0..10_000 {
            slices.merge(second, &stats(MetricKind::Trend, &[(second % 128) as f64], second));
        }
        let whole = stats(MetricKind::Trend, &(0..16).map(f64::from).collect::<Vec<_>>(), 0);
        assert_eq!(slices.get(0).and_then(|slice| slice.percentile(0.95)), whole.percentile(0.95));
        let even = slices.evenly(128);
        assert!(even.values().take(70).all(|slice| slice.count() == 128));
    }

    #[test]
    fn samples_that_lie_years_apart_are_few_slices() {
        let slices = of((0..5_000).chain(1_795_348_800..1_795_353_800).chain([-5, i64::MAX / 2]));
        assert!(slices.iter().count() < 1_000);
        assert_eq!(slices.iter().map(|(_, count)| count.0).sum::<u64>(), 10_002);
    }

    proptest! {
        #[test]
        fn the_order_does_not_matter(
            mut seconds in prop::collection::vec(prop_oneof![0i64..200, 0i64..20_000, -300_000i64..3_000_000], 1..400),
            shuffle in any::<u64>(),
        ) {
            let one = of(seconds.iter().copied());
            seconds.sort_unstable();
            let in_order = of(seconds.iter().copied());
            prop_assert_eq!(&one, &in_order);
            let mut state = shuffle;
            for i in (1..seconds.len()).rev() {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                seconds.swap(i, usize::try_from(state >> 33).expect("fits") % (i + 1));
            }
            prop_assert_eq!(&one, &of(seconds.iter().copied()));
            let width = one.span().map(|(first, last)| oldest_width(first, last)).expect("has some");
            prop_assert_eq!(one.evenly(width).values().map(|count| count.0).sum::<u64>(), seconds.len() as u64);
            for (start, _) in one.iter() {
                prop_assert_eq!(start, start_of(start, one.width_at(start)));
            }
        }
    }
}
