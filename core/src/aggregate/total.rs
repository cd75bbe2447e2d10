//! All samples of one series: where the merging goes.
//!
//! Windows come by the thousand a second and the total is read once. So the buckets of a trend are added up in pages, one
//! for each power of two that holds something, where a bucket is found by its number alone: no comparing, no moving, no
//! allocation. Whoever reads gets the sorted list that it stands for.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::{
    histogram::{Bucket, Histogram},
    series::MetricKind,
    stats::{KindMismatch, Stats},
};

/// All samples of one series. It is kept as the [`Stats`] that it stands for.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(from = "Stats", into = "Stats")]
pub(super) struct Total {
    /// Without the buckets that are in `pages`.
    stats: Stats,
    /// Only of a busy series: pages take kilobytes.
    pages: Option<Pages>,
}

impl Total {
    /// No samples yet.
    pub(super) fn new(kind: MetricKind) -> Self {
        Stats::empty(kind).into()
    }

    /// Adds all that `other` has; `busy` if there is some from every worker in every second.
    pub(super) fn merge(&mut self, other: &Stats, busy: bool) -> Result<(), KindMismatch> {
        match other.histogram() {
            Some(histogram) if busy => {
                self.stats.merge_without_buckets(other)?;
                self.pages.get_or_insert_default().add(histogram.buckets());
                Ok(())
            }
            _ => self.stats.merge(other),
        }
    }

    /// How many there are.
    pub(super) fn count(&self) -> u64 {
        self.stats.count()
    }

    /// What they are.
    pub(super) fn stats(&self) -> Cow<'_, Stats> {
        match &self.pages {
            Some(pages) => Cow::Owned(self.stats.with_buckets(&pages.histogram())),
            None => Cow::Borrowed(&self.stats),
        }
    }
}

impl From<Stats> for Total {
    fn from(stats: Stats) -> Self {
        Self { stats, pages: None }
    }
}

impl From<Total> for Stats {
    fn from(total: Total) -> Self {
        total.stats().into_owned()
    }
}

/// Counts of buckets, by page.
#[derive(Clone, Debug, Default)]
struct Pages {
    /// The number of the first page.
    first: usize,
    pages: Vec<Option<Box<Page>>>,
}

type Page = [u64; Bucket::PAGE];

impl Pages {
    /// Adds buckets that rise.
    fn add(&mut self, buckets: &[(Bucket, u64)]) {
        let Some((first, _)) = buckets.first() else { return };
        let mut number = first.page();
        let mut page = self.page(number);
        for (bucket, count) in buckets {
            if bucket.page() != number {
                number = bucket.page();
                page = self.page(number);
            }
            let sum = &mut page[bucket.on_page()];
            *sum = sum.saturating_add(*count);
        }
    }

    /// The page of this number.
    fn page(&mut self, number: usize) -> &mut Page {
        if self.pages.is_empty() {
            self.first = number;
        }
        let missing = self.first.saturating_sub(number);
        if missing > 0 {
            self.pages.splice(0..0, std::iter::repeat_n(None, missing));
            self.first = number;
        }
        let place = number - self.first;
        if place >= self.pages.len() {
            self.pages.resize(place + 1, None);
        }
        self.pages[place].get_or_insert_with(|| Box::new([0; Bucket::PAGE]))
    }

    fn histogram(&self) -> Histogram {
        let pages = (self.first..).zip(&self.pages).filter_map(|(number, page)| Some((number, page.as_ref()?)));
        let buckets = pages.flat_map(|(number, page)| {
            let held = page.iter().enumerate().filter(|(_, count)| **count > 0);
            held.map(move |(place, count)| (Bucket::at(number, place), *count))
        });
        Histogram::from_buckets(buckets.collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::tests::{any_kind, merged, stats};
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_busy_series_is_what_its_windows_are(
            kind in any_kind(),
            windows in prop::collection::vec(
                prop::collection::vec(prop_oneof![-1e6..1e6_f64, 0.0..1.0_f64, 1e-9..1e-6_f64, Just(0.0)], 1..40),
                1..20,
            ),
            cut in 0usize..20,
        ) {
            let windows: Vec<Stats> = windows.iter().map(|values| stats(kind, values, 7)).collect();
            let whole = merged(&windows.iter().collect::<Vec<_>>());
            let mut total = Total::new(kind);
            for (number, window) in windows.iter().enumerate() {
                if number == cut {
                    // As by a checkpoint.
                    let bytes = postcard::to_stdvec(&total).expect("encodes");
                    total = postcard::from_bytes(&bytes).expect("decodes");
                }
                total.merge(window, number % 3 > 0).expect("same kind");
            }
            prop_assert_eq!(total.count(), whole.count());
            prop_assert_eq!(&*total.stats(), &whole);
            prop_assert_eq!(postcard::to_stdvec(&total), postcard::to_stdvec(&whole));
        }
    }

    #[test]
    fn types_do_not_mix() {
        for (ours, theirs) in [(MetricKind::Trend, MetricKind::Rate), (MetricKind::Rate, MetricKind::Trend)] {
            assert!(Total::new(ours).merge(&Stats::empty(theirs), true).is_err());
        }
    }
}
