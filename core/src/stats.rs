//! What is known of a set of samples: exact count, sum, minimum and maximum, and for trends a histogram.

use serde::{Deserialize, Serialize};

use crate::{
    histogram::{Histogram, OpenHistogram},
    series::MetricKind,
    sum::ExactSum,
};

/// The samples of one series over some time, by type of metric. Merging is exact, commutative and associative.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Stats {
    /// Of a counter.
    Counter {
        /// Number of samples.
        count: u64,
        /// Sum of their values.
        sum: ExactSum,
    },
    /// Of a gauge.
    Gauge {
        /// Number of samples.
        count: u64,
        /// The value with the latest time; of several at that time the largest.
        last: f64,
        /// That time, in nanoseconds since the Unix epoch.
        last_at: i64,
        /// Least value.
        min: f64,
        /// Greatest value.
        max: f64,
    },
    /// Of a rate.
    Rate {
        /// Number of samples.
        count: u64,
        /// How many of them were not zero.
        trues: u64,
    },
    /// Of a trend.
    Trend {
        /// Number of samples.
        count: u64,
        /// Sum of their values.
        sum: ExactSum,
        /// Least value.
        min: f64,
        /// Greatest value.
        max: f64,
        /// Their distribution.
        histogram: Histogram,
    },
}

/// Two sets of samples that cannot be merged, because their series differ in type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a {found:?} cannot be merged into a {expected:?}")]
pub struct KindMismatch {
    /// The type of what is merged into.
    pub expected: MetricKind,
    /// The type of what came.
    pub found: MetricKind,
}

impl Stats {
    /// No samples yet.
    pub fn empty(kind: MetricKind) -> Self {
        Open::new(kind).take()
    }

    /// What postcard reads from the beginning of these bytes, and the rest of them; see [`Histogram::take_from_bytes`].
    pub(crate) fn take_from_bytes(bytes: &[u8]) -> Result<(Self, &[u8]), postcard::Error> {
        /// The place of `Trend` among the types above.
        const TREND: u8 = 3;
        let Some((&TREND, rest)) = bytes.split_first() else { return postcard::take_from_bytes(bytes) };
        let ((count, sum, min, max), rest) = postcard::take_from_bytes(rest)?;
        let (histogram, rest) = Histogram::take_from_bytes(rest)?;
        Ok((Self::Trend { count, sum, min, max, histogram }, rest))
    }

    /// The type of metric.
    pub fn kind(&self) -> MetricKind {
        match self {
            Self::Counter { .. } => MetricKind::Counter,
            Self::Gauge { .. } => MetricKind::Gauge,
            Self::Rate { .. } => MetricKind::Rate,
            Self::Trend { .. } => MetricKind::Trend,
        }
    }

    /// Number of samples.
    pub fn count(&self) -> u64 {
        match self {
            Self::Counter { count, .. }
            | Self::Gauge { count, .. }
            | Self::Rate { count, .. }
            | Self::Trend { count, .. } => *count,
        }
    }

    /// The distribution, of a trend.
    pub fn histogram(&self) -> Option<&Histogram> {
        match self {
            Self::Trend { histogram, .. } => Some(histogram),
            _ => None,
        }
    }

    /// The percentile `quantile` (0 to 1) of a trend, to within the histogram's error and never outside the exact
    /// minimum and maximum; `None` for other types and without samples.
    pub fn percentile(&self, quantile: f64) -> Option<f64> {
        match self {
            Self::Trend { min, max, histogram, .. } => Some(histogram.value_at(quantile)?.clamp(*min, *max)),
            _ => None,
        }
    }

    /// The same with the buckets of a trend that were kept elsewhere.
    pub(crate) fn with_buckets(&self, buckets: &Histogram) -> Self {
        let mut whole = self.clone();
        if let Self::Trend { histogram, .. } = &mut whole {
            histogram.merge(buckets);
        }
        whole
    }

    /// Adds all that `other` has.
    pub fn merge(&mut self, other: &Self) -> Result<(), KindMismatch> {
        self.merge_without_buckets(other)?;
        if let (Self::Trend { histogram, .. }, Self::Trend { histogram: others, .. }) = (self, other) {
            histogram.merge(others);
        }
        Ok(())
    }

    /// Adds all that `other` has but the buckets of a trend, which are kept elsewhere.
    pub(crate) fn merge_without_buckets(&mut self, other: &Self) -> Result<(), KindMismatch> {
        match (self, other) {
            (Self::Counter { count, sum }, Self::Counter { count: more, sum: other_sum }) => {
                *count += more;
                sum.merge(other_sum);
            }
            (
                Self::Gauge { count, last, last_at, min, max },
                Self::Gauge { count: more, last: other_last, last_at: other_at, min: other_min, max: other_max },
            ) => {
                let later = *other_at > *last_at || (*other_at == *last_at && *other_last > *last);
                if *more > 0 && (*count == 0 || later) {
                    (*last, *last_at) = (*other_last, *other_at);
                }
                *count += more;
                *min = min.min(*other_min);
                *max = max.max(*other_max);
            }
            (Self::Rate { count, trues }, Self::Rate { count: more, trues: other_trues }) => {
                *count += more;
                *trues += other_trues;
            }
            (
                Self::Trend { count, sum, min, max, .. },
                Self::Trend { count: more, sum: other_sum, min: other_min, max: other_max, .. },
            ) => {
                *count += more;
                sum.merge(other_sum);
                *min = min.min(*other_min);
                *max = max.max(*other_max);
            }
            (ours, theirs) => return Err(KindMismatch { expected: ours.kind(), found: theirs.kind() }),
        }
        Ok(())
    }
}

/// Samples of one series that are still coming in.
///
/// Every field is kept for every type of metric: the per-sample path then has one branch, and what the type does not
/// need costs less than asking.
#[derive(Debug)]
pub struct Open {
    kind: MetricKind,
    count: u64,
    sum: ExactSum,
    min: f64,
    max: f64,
    last: f64,
    last_at: i64,
    trues: u64,
    histogram: OpenHistogram,
}

impl Open {
    /// No samples yet.
    pub fn new(kind: MetricKind) -> Self {
        Self {
            kind,
            count: 0,
            sum: ExactSum::default(),
            min: f64::INFINITY,
            max: f64::NEG_INFINITY,
            last: 0.0,
            last_at: i64::MIN,
            trues: 0,
            histogram: OpenHistogram::default(),
        }
    }

    /// Adds one sample; `at` is its time in nanoseconds since the Unix epoch (only gauges look at it).
    #[inline]
    pub fn add(&mut self, value: f64, at: i64) {
        self.count += 1;
        match self.kind {
            MetricKind::Trend => {
                self.sum.add(value);
                self.min = self.min.min(value);
                self.max = self.max.max(value);
                self.histogram.record(value);
            }
            MetricKind::Counter => self.sum.add(value),
            MetricKind::Rate => self.trues += u64::from(value != 0.0),
            MetricKind::Gauge => {
                // Of samples within one stream the later line wins, as in k6.
                if at >= self.last_at {
                    (self.last, self.last_at) = (value, at);
                }
                self.min = self.min.min(value);
                self.max = self.max.max(value);
            }
        }
    }

    /// Whether nothing was added since the last [`Open::take`].
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Hands out what was gathered and starts anew.
    pub fn take(&mut self) -> Stats {
        let count = std::mem::take(&mut self.count);
        let sum = std::mem::take(&mut self.sum);
        let min = std::mem::replace(&mut self.min, f64::INFINITY);
        let max = std::mem::replace(&mut self.max, f64::NEG_INFINITY);
        match self.kind {
            MetricKind::Counter => Stats::Counter { count, sum },
            MetricKind::Gauge => {
                let last_at = std::mem::replace(&mut self.last_at, i64::MIN);
                Stats::Gauge { count, last: std::mem::take(&mut self.last), last_at, min, max }
            }
            MetricKind::Rate => Stats::Rate { count, trues: std::mem::take(&mut self.trues) },
            MetricKind::Trend => Stats::Trend { count, sum, min, max, histogram: self.histogram.take() },
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    pub(crate) fn stats(kind: MetricKind, values: &[f64], first_at: i64) -> Stats {
        let mut open = Open::new(kind);
        for (at, value) in (first_at..).zip(values) {
            open.add(*value, at);
        }
        open.take()
    }

    pub(crate) fn merged(parts: &[&Stats]) -> Stats {
        let mut all = Stats::empty(parts[0].kind());
        for part in parts {
            all.merge(part).expect("same kind");
        }
        all
    }

    pub(crate) fn any_kind() -> impl Strategy<Value = MetricKind> {
        prop_oneof![Just(MetricKind::Counter), Just(MetricKind::Gauge), Just(MetricKind::Rate), Just(MetricKind::Trend)]
    }

    #[test]
    fn types_do_not_mix() {
        let mut counter = Stats::empty(MetricKind::Counter);
        let error = counter.merge(&Stats::empty(MetricKind::Trend)).expect_err("refused");
        assert_eq!(error.to_string(), "a Trend cannot be merged into a Counter");
    }

    #[test]
    fn a_gauge_keeps_the_last_by_time() {
        let early = stats(MetricKind::Gauge, &[9.0], 1);
        let late = stats(MetricKind::Gauge, &[3.0], 2);
        for order in [[&early, &late], [&late, &early]] {
            match merged(&order) {
                Stats::Gauge { last, min, max, count, .. } => {
                    assert_eq!((last, min, max, count), (3.0, 3.0, 9.0, 2));
                }
                other => panic!("{other:?}"),
            }
        }
    }

    proptest! {
        #[test]
        fn merge_is_commutative_associative_and_equals_recording_all(
            kind in any_kind(),
            values in prop::collection::vec(-1e6..1e6_f64, 1..300),
            cuts in (0usize..300, 0usize..300),
        ) {
            let (first, second) = (cuts.0.min(cuts.1).min(values.len()), cuts.0.max(cuts.1).min(values.len()));
            let at = |index: usize| i64::try_from(index).expect("small");
            let a = stats(kind, &values[..first], 0);
            let b = stats(kind, &values[first..second], at(first));
            let c = stats(kind, &values[second..], at(second));
            let whole = stats(kind, &values, 0);
            prop_assert_eq!(&merged(&[&a, &b, &c]), &whole);
            prop_assert_eq!(&merged(&[&c, &a, &b]), &whole);
            prop_assert_eq!(&merged(&[&a, &merged(&[&b, &c])]), &whole);
        }
    }
}
