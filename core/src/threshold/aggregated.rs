//! Thresholds on samples that k6 has aggregated: decided from its histogram, and marked where that is too coarse for it.

use std::time::Duration;

use crate::{
    histogram::Rank,
    k6::stream::{BEYOND, RELATIVE_ERROR, RESOLUTION},
    stats::Stats,
    threshold::{Aggregation, Decision, Operator, Threshold},
};

/// k6 adds the values of a second in floating point, in any order. Whole numbers stay exact; the last digits of others may
/// differ by so much of them.
const ROUNDING: f64 = 1e-12;

impl Threshold {
    /// As [`Threshold::evaluate`]. `last` is the latest part of the series that is known by itself: k6 does not say which of
    /// the values of one second came last, if they were of several workers or tag sets.
    pub fn evaluate_aggregated(&self, stats: &Stats, last: Option<&Stats>, duration: Duration) -> Decision {
        let decision = self.evaluate(stats, &[], duration);
        match (stats, self.aggregation) {
            (Stats::Trend { count: 1.., .. }, Aggregation::Percentile(percent)) => {
                Decision { exact: false, within_error: !self.is_clear(stats, percent / 100.0), ..decision }
            }
            (Stats::Trend { count: 1.., sum, .. }, Aggregation::Avg)
            | (Stats::Counter { sum, .. }, Aggregation::Count | Aggregation::Rate) => {
                let near = decision
                    .value
                    .is_some_and(|value| (value - self.limit).abs() <= value.abs().max(self.limit.abs()) * ROUNDING);
                let within_error = near && sum.value().fract().abs() > 0.0;
                Decision { exact: !within_error, within_error, ..decision }
            }
            (Stats::Gauge { .. }, Aggregation::Value) => {
                let is_clear = last.is_none_or(|last| self.is_clear_last(last));
                Decision { exact: is_clear, within_error: !is_clear, ..decision }
            }
            _ => decision,
        }
    }

    /// Whether the percentile is on the same side of the limit whatever the samples in its buckets are.
    fn is_clear(&self, stats: &Stats, quantile: f64) -> bool {
        let Stats::Trend { count, min, max, histogram, .. } = stats else { return true };
        // Least and greatest value are exact, and every percentile is between them; nothing compares with NaN.
        if self.limit.is_nan() || self.limit < *min || self.limit > *max || min.to_bits() == max.to_bits() {
            return true;
        }
        let Some(rank) = Rank::of(quantile, *count) else { return true };
        let is_placed = |rank| histogram.value_at_rank(rank).is_some_and(|value| (0.0..BEYOND).contains(&value));
        let Some(value) = stats.percentile(quantile).filter(|_| is_placed(rank.low) && is_placed(rank.high)) else {
            return false;
        };
        let error = (value.max(self.limit) * RELATIVE_ERROR).max(RESOLUTION);
        (value - self.limit).abs() > error
    }

    /// Whether it decides the same, whichever of these values was the last.
    fn is_clear_last(&self, last: &Stats) -> bool {
        let Stats::Gauge { min, max, .. } = last else { return true };
        let holds = |value: f64| self.operator.holds(value.partial_cmp(&self.limit));
        let is_between = *min <= self.limit && self.limit <= *max;
        match self.operator {
            Operator::Equal | Operator::NotEqual => min.to_bits() == max.to_bits() || !is_between,
            _ => holds(*min) == holds(*max),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::k6::stream::tests::aggregated;
    use proptest::prelude::*;

    fn threshold(expression: &str) -> Threshold {
        Threshold::parse("t1", expression).expect(expression)
    }

    /// k6's definition on the raw samples.
    fn raw(values: &[f64], percent: f64) -> f64 {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let rank = Rank::of(percent / 100.0, sorted.len() as u64).expect("has samples");
        let at = |rank: u64| sorted[usize::try_from(rank).expect("an index")];
        rank.between(at(rank.low), at(rank.high))
    }

    proptest! {
        /// What is not marked is decided as on the raw samples, wherever they and the limit are.
        #[test]
        fn a_threshold_is_marked_wherever_it_might_be_wrong(
            values in prop::collection::vec(
                prop_oneof![20 => 0.0..40.0_f64, 20 => 0.0..0.3_f64, 5 => 1e3..1e6_f64, 2 => -5.0..0.0_f64, 1 => 1e15..1e17_f64],
                1..120,
            ),
            parts in 1usize..5,
            percent in prop_oneof![Just(95.0), Just(50.0), Just(0.0), Just(100.0), 0.0..=100.0_f64],
            away in prop_oneof![Just(1.0), 0.985..1.015_f64, 0.5..2.0_f64],
        ) {
            let exact = raw(&values, percent);
            let limit = exact * away;
            let mut merged = Stats::empty(crate::series::MetricKind::Trend);
            for part in values.chunks(values.len().div_ceil(parts)) {
                merged.merge(&aggregated(part).stats).expect("same kind");
            }
            for sign in ["<", "<=", ">", ">=", "==", "!="] {
                let threshold = threshold(&format!("p({percent}){sign}{limit}"));
                let decision = threshold.evaluate_aggregated(&merged, None, Duration::ZERO);
                let right = threshold.operator.holds(exact.partial_cmp(&limit));
                prop_assert!(decision.within_error || decision.passed == right, "{} {} {} {:?}", exact, sign, limit, decision);
                prop_assert!(!decision.exact);
            }
        }
    }

    #[test]
    fn what_is_far_enough_away_is_not_marked() {
        let stats = aggregated(&[100.0, 200.0, 300.0]).stats;
        let marked =
            |expression: &str| threshold(expression).evaluate_aggregated(&stats, None, Duration::ZERO).within_error;
        assert!(marked("med<201") && marked("med<199") && marked("p(100)<300"));
        assert!(!marked("med<202") && !marked("med<198") && !marked("p(100)<300.1") && !marked("p(0)<99"));
        assert!(!marked("avg<200") && !marked("max<300") && !marked("med<NaN"));
        let below = aggregated(&[-3.0, -2.0, 5.0]).stats;
        assert!(threshold("med<-1").evaluate_aggregated(&below, None, Duration::ZERO).within_error);
        assert!(!threshold("med<6").evaluate_aggregated(&below, None, Duration::ZERO).within_error);
    }

    #[test]
    fn a_mean_is_marked_only_where_the_last_digits_of_a_sum_decide() {
        let marked = |values: &[f64], expression: &str| {
            let stats = aggregated(values).stats;
            threshold(expression).evaluate_aggregated(&stats, None, Duration::ZERO).within_error
        };
        assert!(marked(&[0.1, 0.2], "avg<0.15") && marked(&[0.1, 0.2], "avg>0.1500000000000001"));
        assert!(!marked(&[0.1, 0.2], "avg<0.151") && !marked(&[1.0, 2.0, 6.0], "avg<3"), "whole numbers are exact");
    }

    #[test]
    fn a_sum_is_marked_where_its_last_digits_decide() {
        let marked = |values: &[f64], expression: &str| {
            let sum = crate::stats::tests::stats(crate::series::MetricKind::Counter, values, 0);
            threshold(expression).evaluate_aggregated(&sum, None, Duration::from_secs(2)).within_error
        };
        assert!(marked(&[0.1, 0.2], "count<0.3") && marked(&[0.1, 0.2], "count>0.30000000000000004"));
        assert!(marked(&[0.1, 0.2], "rate<0.15") && !marked(&[0.1, 0.2], "rate<0.2"));
        assert!(!marked(&[0.1, 0.2], "count<0.301") && !marked(&[1.0, 2.0], "count<3"), "whole numbers are exact");
    }

    #[test]
    fn a_gauge_is_marked_if_its_last_second_had_values_on_both_sides() {
        let last = Stats::Gauge { count: 2, last: 5.0, last_at: 7, min: 3.0, max: 5.0 };
        let marked = |expression: &str| {
            threshold(expression).evaluate_aggregated(&last, Some(&last), Duration::ZERO).within_error
        };
        assert!(marked("value<4") && marked("value==4") && marked("value!=5"));
        assert!(!marked("value<6") && !marked("value>6") && !marked("value==6"));
    }
}
