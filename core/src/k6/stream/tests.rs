use proptest::prelude::*;

use super::{
    encode::{message, sent},
    *,
};
use crate::stats::tests::stats;

/// What k6 1.8.1 has sent of `golden/aggregated.js`.
const OF_K6: &[u8] = include_bytes!("../../../golden/aggregated-k6-1.8.1.bin");

/// What is read of a trend with these samples.
pub(crate) fn aggregated(values: &[f64]) -> Second {
    of_trend(sent(values)).expect("reads")
}

fn find<'a>(series: &'a [TimeSeries], metric: &str) -> Vec<&'a TimeSeries> {
    series.iter().filter(|series| series.metric == metric).collect()
}

#[test]
fn what_k6_has_sent_is_read() {
    let series = read(OF_K6).expect("reads");
    let all = |metric: &str, kind: MetricKind| {
        let mut all = Stats::empty(kind);
        for second in find(&series, metric).into_iter().flat_map(|series| &series.seconds) {
            all.merge(&second.stats).expect("same kind");
        }
        all
    };
    match all("my_trend", MetricKind::Trend) {
        Stats::Trend { count, sum, min, max, histogram } => {
            assert_eq!((count, min, max, histogram.count()), (20, 0.0, 70.3, 20));
            assert!((sum.value() - 703.0).abs() < 1e-9, "{}", sum.value());
        }
        other => panic!("{other:?}"),
    }
    assert!(matches!(all("my_rate", MetricKind::Rate), Stats::Rate { count: 20, trues: 7 }));
    assert!(
        matches!(all("my_counter", MetricKind::Counter), Stats::Counter { sum, .. } if (sum.value() - 50.0).abs() < f64::EPSILON)
    );
    assert!(matches!(all("my_gauge", MetricKind::Gauge), Stats::Gauge { count: 20, min: 5.0, max: 24.0, .. }));
    let below = find(&series, "below").into_iter().flat_map(|series| &series.seconds);
    assert_eq!(below.map(|second| second.unplaced).sum::<u64>(), 20);
    let tags = &find(&series, "my_trend")[0].tags;
    assert_eq!((tags.get("scenario"), tags.get("group"), tags.get("name")), (Some("default"), Some(""), Some("é😀")));
}

#[test]
fn gauges_are_read_whichever_way_round_their_bounds_are() {
    let series = read(&message("g1", &[], 9, &[3.0, 1.0, 2.0], MetricKind::Gauge)).expect("reads");
    let expected = Stats::Gauge { count: 3, last: 2.0, last_at: 9_000_000_000, min: 1.0, max: 3.0 };
    assert_eq!(series[0].seconds, [Second { start: 9, stats: expected, unplaced: 0 }]);
}

#[test]
fn what_makes_no_sense_is_refused_with_what_was_found() {
    let refused = |change: fn(&mut wire::TrendHdrValue)| {
        let mut value = sent(&[1.0, 2.0, 500.0]);
        change(&mut value);
        of_trend(value).expect_err("refused")
    };
    assert_eq!(refused(|v| v.count = 4), "its histogram has 3 of 4 samples");
    assert_eq!(refused(|v| v.counters.push(1)), "it has more counters than buckets");
    assert_eq!(refused(|v| v.counters.truncate(2)), "it has fewer counters than buckets");
    assert_eq!(refused(|v| v.spans[0].offset = u32::MAX), "a bucket is out of range");
    assert_eq!(refused(|v| v.min_resolution = 1.0), "expected a resolution of 0.001, found 1");
    assert_eq!(refused(|v| v.min = 501.0), "its least value is 501, its greatest 500");
    let period = wire::MetricSet { aggregation_period: 3, metrics: Vec::new() }.encode_to_vec();
    let said = read(&period).expect_err("refused").to_string();
    assert_eq!(said, "a message of k6's aggregated samples: expected a period of 1 s, found 3 s");
    assert!(read(b"\x1a\xff\xff").is_err());
}

#[test]
fn what_has_no_bucket_is_counted_at_its_end() {
    let Second { stats, unplaced, .. } = aggregated(&[-3.0, -1.0, 5.0, 1e17]);
    assert_eq!((stats.count(), unplaced), (4, 2));
    assert!((stats.percentile(0.0).expect("has samples") + 3.0).abs() < 1e-9);
    assert!((stats.percentile(1.0).expect("has samples") - 1e17).abs() < 1.0);
}

proptest! {
    /// Percentiles of any values that have a bucket are within the stated error of k6's own, in one part or many.
    #[test]
    fn percentiles_are_within_the_error_of_exact_ones(
        values in prop::collection::vec(prop_oneof![0.0..0.3_f64, 0.0..60_000.0_f64, 1e6..1e12_f64], 1..300),
        parts in 1usize..5,
        quantile in 0.0..=1.0_f64,
    ) {
        let mut merged = Stats::empty(MetricKind::Trend);
        for part in values.chunks(values.len().div_ceil(parts)) {
            merged.merge(&aggregated(part).stats).expect("same kind");
        }
        let mut sorted = values.clone();
        sorted.sort_by(f64::total_cmp);
        let rank = crate::histogram::Rank::of(quantile, sorted.len() as u64).expect("has samples");
        let at = |rank: u64| sorted[usize::try_from(rank).expect("an index")];
        let exact = rank.between(at(rank.low), at(rank.high));
        let found = merged.percentile(quantile).expect("has samples");
        prop_assert!((found - exact).abs() <= (exact * RELATIVE_ERROR).max(RESOLUTION), "{} against {}", found, exact);
        let whole = stats(MetricKind::Trend, &values, 0);
        prop_assert_eq!(merged.count(), whole.count());
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let _ = read(&bytes);
    }

    #[test]
    fn no_changed_byte_makes_it_panic(at in 0usize..100_000, to in any::<u8>()) {
        let mut bytes = OF_K6.to_vec();
        let at = at % bytes.len();
        bytes[at] = to;
        let _ = read(&bytes);
    }
}
