//! Thresholds: k6's grammar, and its decision on merged data without the samples.
//!
//! A percentile read from a histogram is off by up to half a bucket, which could turn a verdict when the limit lies in
//! that bucket. So beside the histogram a [`LimitCount`] is kept for each limit L of a percentile: how many samples lie
//! below L and on it, and the nearest ones on both sides. k6 interpolates between two neighbouring ranks; whichever side
//! of L those two are on is then known, and where L is between them both values are known exactly.

mod aggregated;

use std::{cmp::Ordering, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{
    histogram::Rank,
    selector::{Selector, SelectorError},
    series::MetricKind,
    stats::Stats,
};

/// One threshold of the script.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Threshold {
    /// The metric or sub-metric it is on.
    pub selector: Selector,
    /// The expression as written, for example `p(95)<500`.
    pub expression: String,
    /// What of the metric is compared.
    pub aggregation: Aggregation,
    /// How it is compared.
    pub operator: Operator,
    /// With what. k6's units: milliseconds for times.
    #[serde(with = "crate::number")]
    pub limit: f64,
    /// Whether crossing it stops the run.
    pub abort_on_fail: bool,
    /// How long after the start it may first stop the run.
    #[serde(with = "crate::millis::option")]
    pub delay_abort_eval: Option<Duration>,
    /// The metric's type, where neither its name nor its thresholds tell it but k6 does.
    #[serde(default)]
    pub kind: Option<MetricKind>,
}

/// What of a metric a threshold compares.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum Aggregation {
    /// Sum of a counter.
    Count,
    /// Of a counter: its sum per second. Of a rate: its share of non-zero samples.
    Rate,
    /// Last value of a gauge.
    Value,
    /// Mean of a trend.
    Avg,
    /// Least value of a trend.
    Min,
    /// Greatest value of a trend.
    Max,
    /// A percentile of a trend, in percent; the median is the 50th.
    Percentile(f64),
}

/// How a threshold compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names are the words for the signs")]
pub enum Operator {
    LessOrEqual,
    Less,
    GreaterOrEqual,
    Greater,
    Equal,
    NotEqual,
}

/// A threshold that cannot be read. k6 refuses these itself, before anything starts; this is for archives that no k6
/// has checked.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ThresholdError {
    /// The key.
    #[error(transparent)]
    Selector(#[from] SelectorError),
    /// The expression.
    #[error("threshold `{0}` cannot be read: expected an aggregation, an operator and a number, as in p(95)<500")]
    Expression(String),
    /// The aggregation does not exist for the metric's type.
    #[error("threshold `{expression}` on {metric}: a {kind:?} has no such aggregation")]
    WrongAggregation {
        /// The threshold key.
        metric: String,
        /// The expression.
        expression: String,
        /// The metric's type.
        kind: MetricKind,
    },
}

impl Threshold {
    /// Whether it is on a sum over time, or on the share of a rate: their expressions look alike.
    pub fn is_rate(&self) -> bool {
        self.aggregation == Aggregation::Rate
    }

    /// Reads one threshold; `key` is the metric or sub-metric.
    pub fn parse(key: &str, expression: &str) -> Result<Self, ThresholdError> {
        let unreadable = || ThresholdError::Expression(expression.to_owned());
        let (left, operator, right) = split_operator(expression).ok_or_else(unreadable)?;
        Ok(Self {
            selector: Selector::parse(key)?,
            expression: expression.to_owned(),
            aggregation: parse_aggregation(left.trim()).ok_or_else(unreadable)?,
            operator,
            limit: parse_go_float(right.trim()).ok_or_else(unreadable)?,
            abort_on_fail: false,
            delay_abort_eval: None,
            kind: None,
        })
    }

    /// The limit for which samples of the series must be counted; only percentiles need that.
    pub fn counted_limit(&self) -> Option<f64> {
        matches!(self.aggregation, Aggregation::Percentile(_)).then_some(self.limit)
    }

    /// Whether the aggregation exists for a type of metric.
    pub fn fits(&self, kind: MetricKind) -> Result<(), ThresholdError> {
        use {Aggregation as A, MetricKind as K};
        match (kind, self.aggregation) {
            (K::Counter, A::Count | A::Rate)
            | (K::Gauge, A::Value)
            | (K::Rate, A::Rate)
            | (K::Trend, A::Avg | A::Min | A::Max | A::Percentile(_)) => Ok(()),
            (kind, _) => Err(ThresholdError::WrongAggregation {
                metric: self.selector.key(),
                expression: self.expression.clone(),
                kind,
            }),
        }
    }

    /// Decides the threshold on all samples of its series so far, as k6 does at the end of a test.
    ///
    /// `limits` are the counts kept for this series. `duration` is the time the test has run, for a counter's rate.
    /// An empty series counts as zero; of an empty rate k6 knows no value and passes the threshold.
    pub fn evaluate(&self, stats: &Stats, limits: &[LimitCount], duration: Duration) -> Decision {
        let value = match (stats, self.aggregation) {
            (Stats::Rate { count: 0, .. }, _) => {
                return Decision { passed: true, value: None, exact: true, within_error: false };
            }
            (Stats::Trend { count: 0, .. }, _) => 0.0,
            (Stats::Trend { .. }, Aggregation::Percentile(percent)) => {
                return self.decide_percentile(percent, stats, limits);
            }
            (Stats::Trend { count, sum, .. }, Aggregation::Avg) => sum.value() / *count as f64,
            (Stats::Trend { min, .. }, Aggregation::Min) => *min,
            (Stats::Trend { max, .. }, Aggregation::Max) => *max,
            (Stats::Counter { sum, .. }, Aggregation::Count) => sum.value(),
            (Stats::Counter { sum, .. }, Aggregation::Rate) => per_second(sum.value(), duration),
            (Stats::Rate { count, trues }, Aggregation::Rate) => *trues as f64 / *count as f64,
            (Stats::Gauge { last, .. }, Aggregation::Value) => *last,
            // `fits` refuses these before a run starts; an answer that cannot be had is not a pass.
            _ => return Decision { passed: false, value: None, exact: false, within_error: false },
        };
        let passed = self.operator.holds(value.partial_cmp(&self.limit));
        Decision { passed, value: Some(value), exact: true, within_error: false }
    }

    fn decide_percentile(&self, percent: f64, stats: &Stats, limits: &[LimitCount]) -> Decision {
        let quantile = percent / 100.0;
        let estimate = stats.percentile(quantile);
        // Infinite samples have buckets of their own, so what comes of them is exact; k6 interpolates to NaN between them.
        if let Some(value) = estimate.filter(|value| !value.is_finite()) {
            let passed = self.operator.holds(value.partial_cmp(&self.limit));
            return Decision { passed, value: Some(value), exact: true, within_error: false };
        }
        let counted = limits.iter().find(|l| l.limit.to_bits() == self.limit.to_bits() && l.count() == stats.count());
        let Some(position) = counted.and_then(|counted| counted.position(quantile)) else {
            let passed = self.operator.holds(estimate.and_then(|value| value.partial_cmp(&self.limit)));
            return Decision { passed, value: estimate, exact: false, within_error: false };
        };
        let (ordering, value) = match position {
            Position::Known(value) => (value.partial_cmp(&self.limit), Some(value)),
            // The shown value never contradicts the decision.
            Position::Below(nearest) => (Some(Ordering::Less), estimate.map(|e| e.min(nearest))),
            Position::Above(nearest) => (Some(Ordering::Greater), estimate.map(|e| e.max(nearest))),
        };
        Decision { passed: self.operator.holds(ordering), value, exact: true, within_error: false }
    }
}

/// A sum per second, 0 for no time at all.
pub fn per_second(sum: f64, duration: Duration) -> f64 {
    if duration.is_zero() { 0.0 } else { sum / duration.as_secs_f64() }
}

/// What a threshold came to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Decision {
    /// Whether it holds.
    pub passed: bool,
    /// The value that was compared; `None` where k6 knows none.
    pub value: Option<f64>,
    /// Whether the decision is the one on the raw samples, not one read from a histogram.
    pub exact: bool,
    /// Whether the limit is so near to the value that the raw samples might have decided otherwise.
    pub within_error: bool,
}

impl Operator {
    /// Whether the comparison holds; `None` is the ordering of what cannot be ordered (NaN).
    fn holds(self, ordering: Option<Ordering>) -> bool {
        match self {
            Self::LessOrEqual => matches!(ordering, Some(Ordering::Less | Ordering::Equal)),
            Self::Less => ordering == Some(Ordering::Less),
            Self::GreaterOrEqual => matches!(ordering, Some(Ordering::Greater | Ordering::Equal)),
            Self::Greater => ordering == Some(Ordering::Greater),
            Self::Equal => ordering == Some(Ordering::Equal),
            Self::NotEqual => ordering != Some(Ordering::Equal),
        }
    }
}

/// Where the samples of a series lie around one limit. Merging is exact, commutative and associative.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct LimitCount {
    /// The limit.
    pub limit: f64,
    /// Samples below it.
    below: u64,
    /// Samples equal to it.
    equal: u64,
    /// Samples above it.
    above: u64,
    /// The greatest sample below it; negative infinity without one.
    greatest_below: f64,
    /// The least sample above it; infinity without one.
    least_above: f64,
}

/// Which side of a limit a percentile is on.
enum Position {
    /// The percentile itself.
    Known(f64),
    /// Below; it is not above the given sample.
    Below(f64),
    /// Above; it is not below the given sample.
    Above(f64),
}

impl LimitCount {
    /// No samples yet.
    pub fn new(limit: f64) -> Self {
        Self { limit, below: 0, equal: 0, above: 0, greatest_below: f64::NEG_INFINITY, least_above: f64::INFINITY }
    }

    /// Counts one sample.
    #[inline]
    pub fn add(&mut self, value: f64) {
        if value < self.limit {
            self.below += 1;
            self.greatest_below = self.greatest_below.max(value);
        } else if value > self.limit {
            self.above += 1;
            self.least_above = self.least_above.min(value);
        } else {
            self.equal += 1;
        }
    }

    /// Adds all that `other`, of the same limit, has counted.
    pub fn merge(&mut self, other: &Self) {
        debug_assert_eq!(self.limit.to_bits(), other.limit.to_bits());
        self.below += other.below;
        self.equal += other.equal;
        self.above += other.above;
        self.greatest_below = self.greatest_below.max(other.greatest_below);
        self.least_above = self.least_above.min(other.least_above);
    }

    /// Number of samples.
    pub fn count(&self) -> u64 {
        self.below + self.equal + self.above
    }

    /// Where the percentile lies; `None` without samples, and for a limit that nothing compares with.
    fn position(&self, quantile: f64) -> Option<Position> {
        let rank = Rank::of(quantile, self.count()).filter(|_| !self.limit.is_nan())?;
        let (first_equal, first_above) = (self.below, self.below + self.equal);
        let known = |rank: u64| match rank {
            rank if rank >= first_equal && rank < first_above => Some(self.limit),
            rank if rank + 1 == first_equal => Some(self.greatest_below),
            rank if rank == first_above => Some(self.least_above),
            _ => None,
        };
        Some(match (known(rank.low), known(rank.high)) {
            (Some(low), Some(high)) => Position::Known(rank.between(low, high)),
            // Neighbouring ranks of which one is not next to the limit are on the same side of it.
            _ if rank.high < first_equal => Position::Below(self.greatest_below),
            _ => Position::Above(self.least_above),
        })
    }
}

/// The operators in the order in which k6 looks for them.
const OPERATORS: [(&str, Operator); 7] = [
    ("<=", Operator::LessOrEqual),
    ("<", Operator::Less),
    (">=", Operator::GreaterOrEqual),
    (">", Operator::Greater),
    ("===", Operator::Equal),
    ("==", Operator::Equal),
    ("!=", Operator::NotEqual),
];

fn split_operator(expression: &str) -> Option<(&str, Operator, &str)> {
    OPERATORS.iter().find_map(|(sign, operator)| {
        let (left, right) = expression.split_once(sign)?;
        (!right.is_empty()).then_some((left, *operator, right))
    })
}

fn parse_aggregation(text: &str) -> Option<Aggregation> {
    Some(match text {
        "count" => Aggregation::Count,
        "rate" => Aggregation::Rate,
        "value" => Aggregation::Value,
        "avg" => Aggregation::Avg,
        "min" => Aggregation::Min,
        "max" => Aggregation::Max,
        "med" => Aggregation::Percentile(50.0),
        "p" => Aggregation::Percentile(0.0),
        _ => Aggregation::Percentile(parse_go_float(text.strip_prefix("p(")?.strip_suffix(')')?.trim())?),
    })
}

/// Go's `ParseFloat`: decimal and hexadecimal numbers, infinities and NaN in any case.
fn parse_go_float(text: &str) -> Option<f64> {
    let (negative, digits) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    if digits.starts_with(['+', '-']) {
        return None;
    }
    let magnitude = match digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X")) {
        Some(hexadecimal) => parse_hexadecimal(hexadecimal)?,
        // Rust reads the same decimal texts, and `inf`, `infinity` and `nan` in any case.
        None => digits.parse().ok()?,
    };
    Some(if negative { -magnitude } else { magnitude })
}

/// `mantissa p exponent`, the mantissa in hexadecimal digits with at most one point, the exponent a power of two.
fn parse_hexadecimal(text: &str) -> Option<f64> {
    let (mantissa, exponent) = text.split_once(['p', 'P'])?;
    let mut exponent: i32 = exponent.parse().ok()?;
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let mut value = 0.0;
    for digit in whole.chars().chain(fraction.chars()).filter(|c| *c != '_') {
        value = value * 16.0 + f64::from(digit.to_digit(16)?);
    }
    exponent = exponent.checked_sub(4 * i32::try_from(fraction.len()).ok()?)?;
    Some(value * f64::from(exponent).exp2())
}

#[cfg(test)]
mod tests {
    use super::{Aggregation as A, Operator as O, *};
    use crate::stats::Open;
    use proptest::prelude::*;

    fn threshold(expression: &str) -> Threshold {
        Threshold::parse("http_req_duration", expression).expect(expression)
    }

    #[test]
    fn expressions_are_read_as_k6_reads_them() {
        let read = |expression| Threshold::parse("m", expression).map(|t| (t.aggregation, t.operator, t.limit)).ok();
        assert_eq!(read("p(95)<500"), Some((A::Percentile(95.0), O::Less, 500.0)));
        assert_eq!(read("p(99.99) >= 1e3"), Some((A::Percentile(99.99), O::GreaterOrEqual, 1000.0)));
        assert_eq!(read("med===.5"), Some((A::Percentile(50.0), O::Equal, 0.5)));
        assert_eq!(read("p<1"), Some((A::Percentile(0.0), O::Less, 1.0)));
        assert_eq!(read(" rate == 0"), Some((A::Rate, O::Equal, 0.0)));
        assert_eq!(read("count!=-5"), Some((A::Count, O::NotEqual, -5.0)));
        assert_eq!(read("value<=Inf"), Some((A::Value, O::LessOrEqual, f64::INFINITY)));
        assert_eq!(read("max<0x1.8p3"), Some((A::Max, O::Less, 12.0)));
        for bad in ["", "p(95)", "p(95)<", "<5", "p(95)<5ms", "p95<5", "sum<4", "avg<--1"] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }

    #[test]
    fn aggregations_fit_their_types() {
        let fits = |expression, kind| threshold(expression).fits(kind).is_ok();
        assert!(fits("count>1", MetricKind::Counter) && fits("rate>1", MetricKind::Counter));
        assert!(fits("rate<1", MetricKind::Rate) && fits("value<1", MetricKind::Gauge));
        assert!(fits("p(90)<1", MetricKind::Trend) && fits("avg<1", MetricKind::Trend));
        assert!(!fits("count>1", MetricKind::Trend) && !fits("p(90)<1", MetricKind::Rate));
    }

    #[test]
    fn empty_metrics_count_as_zero_and_empty_rates_pass() {
        let decide =
            |expression, kind| threshold(expression).evaluate(&Stats::empty(kind), &[], Duration::from_secs(1));
        assert!(!decide("p(95)>1", MetricKind::Trend).passed);
        assert!(decide("max<1", MetricKind::Trend).passed);
        assert!(!decide("count>1", MetricKind::Counter).passed);
        assert!(!decide("value>1", MetricKind::Gauge).passed);
        assert!(decide("rate<0.1", MetricKind::Rate).passed && decide("rate>0.1", MetricKind::Rate).passed);
    }

    #[test]
    fn nothing_compares_with_nan() {
        let mut open = Open::new(MetricKind::Trend);
        open.add(1.0, 0);
        let stats = open.take();
        let mut limit = LimitCount::new(f64::NAN);
        limit.add(1.0);
        for expression in ["avg<NaN", "p(95)<NaN", "p(95)>=nan"] {
            assert!(!threshold(expression).evaluate(&stats, &[limit], Duration::ZERO).passed, "{expression}");
        }
    }

    /// k6's definition on the raw samples.
    fn oracle(values: &[f64], percent: f64) -> f64 {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        if sorted.len() == 1 {
            return sorted[0];
        }
        let i = percent / 100.0 * (sorted.len() as f64 - 1.0);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an index")]
        let (j, k) = (sorted[i.floor() as usize], sorted[i.ceil() as usize]);
        j + (k - j) * (i - i.floor())
    }

    fn any_sample() -> impl Strategy<Value = f64> {
        let infinite = prop_oneof![Just(f64::INFINITY), Just(f64::NEG_INFINITY)];
        prop_oneof![20 => (0..40i32).prop_map(f64::from), 20 => 0.0..40.0_f64, 1 => infinite]
    }

    proptest! {
        /// Limits on, just above and just below the percentile, on samples, between them and anywhere.
        #[test]
        fn percentiles_are_decided_as_on_the_raw_samples(
            values in prop::collection::vec(any_sample(), 1..120),
            percent in prop_oneof![Just(95.0), Just(99.0), Just(50.0), Just(0.0), Just(100.0), 0.0..=100.0_f64],
            limit in prop_oneof![Just(None), (0..40i32).prop_map(|l| Some(f64::from(l))), (0.0..40.0_f64).prop_map(Some)],
            nudge in -1i64..=1,
            parts in 1usize..6,
        ) {
            let exact = oracle(&values, percent);
            let limit = limit.or(Some(exact)).filter(|limit| !limit.is_nan()).unwrap_or(7.0);
            let limit = if limit > 0.0 { f64::from_bits(limit.to_bits().saturating_add_signed(nudge)) } else { limit };
            let mut merged = (LimitCount::new(limit), Stats::empty(MetricKind::Trend));
            for part in values.chunks(values.len().div_ceil(parts)).rev() {
                let (mut count, mut open) = (LimitCount::new(limit), Open::new(MetricKind::Trend));
                part.iter().for_each(|v| { count.add(*v); open.add(*v, 0); });
                merged.0.merge(&count);
                merged.1.merge(&open.take()).expect("same kind");
            }
            for sign in ["<", "<=", ">", ">=", "==", "!="] {
                let threshold = threshold(&format!("p({percent}){sign}{limit}"));
                let decision = threshold.evaluate(&merged.1, &[merged.0], Duration::ZERO);
                prop_assert!(decision.exact);
                prop_assert_eq!(decision.passed, threshold.operator.holds(exact.partial_cmp(&limit)), "{} {} {}", exact, sign, limit);
                let shown = decision.value.expect("has samples");
                prop_assert_eq!(threshold.operator.holds(shown.partial_cmp(&limit)), decision.passed, "shows {}", shown);
            }
        }
    }
}
