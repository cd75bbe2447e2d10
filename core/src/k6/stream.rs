//! What k6 has gathered of its samples: one message of its `cloud` output, in version 2 of that protocol, to plain data.
//!
//! A message holds, for each series (a metric with one tag set) and each second, what k6 gathered of the samples of that
//! second: of a counter the sum, of a gauge the last, least and greatest value, of a rate two numbers, of a trend its count,
//! sum, least and greatest value and a histogram. All but the histogram is exact. Late samples open a second again, so the
//! same second of a series may come more than once; all of it adds up.
//!
//! The histogram has 128 linear buckets for each power of two of thousandths (of a millisecond, where values are times). A
//! value is read back from the middle of its bucket, so it is off by at most [`RELATIVE_ERROR`], or by [`RESOLUTION`] if that
//! is more. Values below 0 and beyond [`BEYOND`] have no bucket but are counted.

#[cfg(any(test, feature = "testing"))]
pub(crate) mod encode;

use prost::Message;

use crate::{
    histogram::{Bucket, Histogram},
    series::{MetricKind, Tags},
    stats::Stats,
    sum::ExactSum,
};

/// Largest relative error of a percentile: the width of a bucket by the least value in it. In truth about half of it, and
/// what [`crate::histogram`] adds.
pub const RELATIVE_ERROR: f64 = 1.0 / 128.0;

/// What values are rounded up to before they are counted: the error of percentiles below 0.128.
pub const RESOLUTION: f64 = 0.001;

/// From here on values have no bucket: 2⁶³ thousandths.
pub const BEYOND: f64 = 9_223_372_036_854_775.807;

/// Linear buckets for each power of two, as a power of two.
const SUB_BUCKET_BITS: u32 = 7;

/// No value has a bucket beyond that.
const MAX_BUCKET: u32 = (57 << SUB_BUCKET_BITS) + (1 << SUB_BUCKET_BITS);

/// The seconds that k6 is told to gather.
const PERIOD: u32 = 1;

const NANOSECONDS: i64 = 1_000_000_000;

/// What one series gathered in some seconds.
#[derive(Clone, Debug, PartialEq)]
pub struct TimeSeries {
    /// The metric's name.
    pub metric: String,
    /// Its type.
    pub kind: MetricKind,
    /// The tags. Two series of one message may have the same.
    pub tags: Tags,
    /// The seconds.
    pub seconds: Vec<Second>,
}

/// One of them.
#[derive(Clone, Debug, PartialEq)]
pub struct Second {
    /// Its start, in seconds since the Unix epoch.
    pub start: i64,
    /// What was gathered. Of a counter that counts as one sample, since k6 does not say how many there were.
    pub stats: Stats,
    /// Samples of a trend of which nothing is known but that they are below 0 or beyond [`BEYOND`].
    pub unplaced: u64,
}

/// A message that makes no sense.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a message of k6's aggregated samples: {0}")]
pub struct Unreadable(String);

/// Whether k6 leaves a tag out of what it aggregates: what it keeps for itself, and what differs with each iteration.
pub fn leaves_out(tag: &str) -> bool {
    tag.starts_with("__") || matches!(tag, "test_run_id" | "vu" | "iter")
}

/// Reads one message, uncompressed. Never panics, and allocates in proportion to the bytes.
pub fn read(bytes: &[u8]) -> Result<Vec<TimeSeries>, Unreadable> {
    let set = wire::MetricSet::decode(bytes).map_err(|error| Unreadable(error.to_string()))?;
    if set.aggregation_period != PERIOD {
        return Err(Unreadable(format!("expected a period of {PERIOD} s, found {} s", set.aggregation_period)));
    }
    let mut all = Vec::new();
    for metric in set.metrics {
        let unreadable = |problem: String| Unreadable(format!("metric {}: {problem}", metric.name));
        let kind = match metric.kind {
            1 => MetricKind::Counter,
            2 => MetricKind::Gauge,
            3 => MetricKind::Rate,
            4 => MetricKind::Trend,
            other => return Err(unreadable(format!("expected a type from 1 to 4, found {other}"))),
        };
        for series in metric.time_series {
            let tags = series.labels.into_iter().map(|label| (label.name, label.value)).collect();
            let seconds = seconds(series.samples).map_err(unreadable)?;
            if seconds.iter().any(|second| second.stats.kind() != kind) {
                return Err(unreadable(format!("its samples are not those of a {kind:?}")));
            }
            all.push(TimeSeries { metric: metric.name.clone(), kind, tags, seconds });
        }
    }
    Ok(all)
}

fn seconds(samples: Option<wire::Samples>) -> Result<Vec<Second>, String> {
    use wire::Samples as S;
    let placed = |time: Option<wire::Timestamp>, stats| Second { start: start(time), stats, unplaced: 0 };
    Ok(match samples {
        None => Vec::new(),
        Some(S::Counter(counter)) => {
            let each = counter.values.into_iter();
            each.map(|v| placed(v.time, Stats::Counter { count: 1, sum: sum(v.value) })).collect()
        }
        Some(S::Gauge(gauge)) => gauge.values.into_iter().map(|v| placed(v.time.clone(), of_gauge(&v))).collect(),
        Some(S::Rate(rate)) => {
            let each = rate.values.into_iter();
            let stats = |v: &wire::RateValue| Stats::Rate { count: v.total.into(), trues: v.nonzero.into() };
            let seconds: Vec<Second> = each.map(|v| placed(v.time.clone(), stats(&v))).collect();
            let is_odd = |s: &Second| matches!(s.stats, Stats::Rate { count, trues } if trues > count);
            if seconds.iter().any(is_odd) {
                return Err("it has more non-zero samples than samples".to_owned());
            }
            seconds
        }
        Some(S::Trend(trend)) => trend.values.into_iter().map(of_trend).collect::<Result<_, _>>()?,
    })
}

fn start(time: Option<wire::Timestamp>) -> i64 {
    time.map_or(0, |time| time.seconds)
}

fn sum(value: f64) -> ExactSum {
    let mut sum = ExactSum::default();
    sum.add(value);
    sum
}

/// Up to k6 1.7.1 the least and the greatest value stood in each other's place; sorted they are what they are.
fn of_gauge(value: &wire::GaugeValue) -> Stats {
    let (min, max) = (value.min.min(value.max), value.min.max(value.max));
    let last_at = start(value.time.clone()).saturating_mul(NANOSECONDS);
    Stats::Gauge { count: value.count.into(), last: value.last, last_at, min, max }
}

fn of_trend(value: wire::TrendHdrValue) -> Result<Second, String> {
    if (value.min_resolution - RESOLUTION).abs() > f64::EPSILON {
        return Err(format!("expected a resolution of {RESOLUTION}, found {}", value.min_resolution));
    }
    if value.min.is_nan() || value.max.is_nan() || value.min > value.max {
        return Err(format!("its least value is {}, its greatest {}", value.min, value.max));
    }
    let count = u64::from(value.count);
    let (low, high) = (u64::from(value.extra_low), u64::from(value.extra_high));
    let buckets = buckets(&value)?;
    let counted: u64 = buckets.iter().map(|(_, count)| count).sum();
    if counted != count {
        return Err(format!("its histogram has {counted} of {count} samples"));
    }
    Ok(Second {
        start: start(value.time),
        stats: Stats::Trend {
            count,
            sum: sum(value.sum),
            min: value.min,
            max: value.max,
            histogram: Histogram::from_buckets(buckets),
        },
        // A single one is the least, or the greatest; and all are alike if these are.
        unplaced: [low, high]
            .into_iter()
            .filter(|extra| *extra > 1 && value.min.to_bits() != value.max.to_bits())
            .sum(),
    })
}

/// Our own buckets for k6's. What has none of k6's is put to the end on which it is.
fn buckets(value: &wire::TrendHdrValue) -> Result<Vec<(Bucket, u64)>, String> {
    let mut counters = value.counters.iter();
    let mut buckets = Vec::with_capacity(value.counters.len() + 2);
    let mut next = 0u32;
    for span in &value.spans {
        next = next.checked_add(span.offset).ok_or("a bucket is out of range")?;
        for _ in 0..span.length {
            let count = counters.next().ok_or("it has fewer counters than buckets")?;
            if next > MAX_BUCKET {
                return Err("a bucket is out of range".to_owned());
            }
            let middle = middle(next).max(value.min).min(value.max);
            buckets.push((Bucket::of(middle), u64::from(*count)));
            next += 1;
        }
    }
    if counters.next().is_some() {
        return Err("it has more counters than buckets".to_owned());
    }
    buckets.push((Bucket::of(value.min), value.extra_low.into()));
    buckets.push((Bucket::of(value.max), value.extra_high.into()));
    Ok(buckets)
}

/// The middle of one of k6's buckets. It has the values that begin with the same eight bits once they are rounded up to
/// whole thousandths, so it begins and ends a thousandth earlier than these; below 256 thousandths each has its own.
fn middle(bucket: u32) -> f64 {
    let power = (bucket >> SUB_BUCKET_BITS).saturating_sub(1);
    let width = f64::from(power).exp2();
    let least = f64::from(bucket - (power << SUB_BUCKET_BITS)) * width;
    // Nothing but 0 is rounded up to 0.
    if bucket == 0 { 0.0 } else { (least + width / 2.0 - 1.0) * RESOLUTION }
}

/// The messages, by their field numbers. Reserved names and fields that are not asked for are passed over.
mod wire {
    use prost::{Message, Oneof};

    #[derive(Clone, PartialEq, Message)]
    pub(super) struct MetricSet {
        #[prost(uint32, tag = "2")]
        pub(super) aggregation_period: u32,
        #[prost(message, repeated, tag = "3")]
        pub(super) metrics: Vec<Metric>,
    }

    #[derive(Clone, PartialEq, Message)]
    pub(super) struct Metric {
        #[prost(string, tag = "1")]
        pub(super) name: String,
        #[prost(int32, tag = "2")]
        pub(super) kind: i32,
        #[prost(message, repeated, tag = "3")]
        pub(super) time_series: Vec<Series>,
    }

    #[derive(Clone, PartialEq, Message)]
    pub(super) struct Series {
        #[prost(message, repeated, tag = "1")]
        pub(super) labels: Vec<Label>,
        #[prost(oneof = "Samples", tags = "2, 3, 4, 5")]
        pub(super) samples: Option<Samples>,
    }

    #[derive(Clone, PartialEq, Message)]
    pub(super) struct Label {
        #[prost(string, tag = "1")]
        pub(super) name: String,
        #[prost(string, tag = "2")]
        pub(super) value: String,
    }

    #[derive(Clone, PartialEq, Oneof)]
    pub(super) enum Samples {
        #[prost(message, tag = "2")]
        Counter(CounterSamples),
        #[prost(message, tag = "3")]
        Gauge(GaugeSamples),
        #[prost(message, tag = "4")]
        Rate(RateSamples),
        #[prost(message, tag = "5")]
        Trend(TrendSamples),
    }

    #[derive(Clone, PartialEq, Message)]
    pub(super) struct CounterSamples {
        #[prost(message, repeated, tag = "1")]
        pub(super) values: Vec<CounterValue>,
    }

    #[derive(Clone, PartialEq, Message)]
    pub(super) struct GaugeSamples {
        #[prost(message, repeated, tag = "1")]
        pub(super) values: Vec<GaugeValue>,
    }

    #[derive(Clone, PartialEq, Message)]
    pub(super) struct RateSamples {
        #[prost(message, repeated, tag = "1")]
        pub(super) values: Vec<RateValue>,
    }

    #[derive(Clone, PartialEq, Message)]
    pub(super) struct TrendSamples {
        #[prost(message, repeated, tag = "1")]
        pub(super) values: Vec<TrendHdrValue>,
    }

    #[derive(Clone, PartialEq, Message)]
    pub(super) struct Timestamp {
        #[prost(int64, tag = "1")]
        pub(super) seconds: i64,
    }

    #[derive(Clone, PartialEq, Message)]
    pub(super) struct CounterValue {
        #[prost(message, optional, tag = "1")]
        pub(super) time: Option<Timestamp>,
        #[prost(double, tag = "2")]
        pub(super) value: f64,
    }

    #[derive(Clone, PartialEq, Message)]
    pub(super) struct GaugeValue {
        #[prost(message, optional, tag = "1")]
        pub(super) time: Option<Timestamp>,
        #[prost(double, tag = "2")]
        pub(super) last: f64,
        #[prost(uint32, tag = "3")]
        pub(super) count: u32,
        #[prost(double, tag = "4")]
        pub(super) min: f64,
        #[prost(double, tag = "5")]
        pub(super) max: f64,
    }

    #[derive(Clone, PartialEq, Message)]
    pub(super) struct RateValue {
        #[prost(message, optional, tag = "1")]
        pub(super) time: Option<Timestamp>,
        #[prost(uint32, tag = "2")]
        pub(super) nonzero: u32,
        #[prost(uint32, tag = "3")]
        pub(super) total: u32,
    }

    #[derive(Clone, PartialEq, Message)]
    pub(super) struct TrendHdrValue {
        #[prost(message, optional, tag = "1")]
        pub(super) time: Option<Timestamp>,
        #[prost(uint32, repeated, tag = "2")]
        pub(super) counters: Vec<u32>,
        #[prost(message, repeated, tag = "3")]
        pub(super) spans: Vec<Span>,
        #[prost(double, tag = "5")]
        pub(super) sum: f64,
        #[prost(uint32, tag = "6")]
        pub(super) count: u32,
        #[prost(double, tag = "7")]
        pub(super) min: f64,
        #[prost(double, tag = "8")]
        pub(super) max: f64,
        #[prost(uint32, tag = "9")]
        pub(super) extra_low: u32,
        #[prost(uint32, tag = "10")]
        pub(super) extra_high: u32,
        #[prost(double, tag = "11")]
        pub(super) min_resolution: f64,
    }

    #[derive(Clone, PartialEq, Message)]
    pub(super) struct Span {
        #[prost(uint32, tag = "1")]
        pub(super) offset: u32,
        #[prost(uint32, tag = "2")]
        pub(super) length: u32,
    }
}

#[cfg(test)]
pub(crate) mod tests;
