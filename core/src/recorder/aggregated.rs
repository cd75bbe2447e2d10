//! The other entrance: what k6 has gathered of its samples, second by second.

use std::borrow::Cow;

use crate::{
    k6::stream::{self, Second, TimeSeries},
    recorder::{Leaf, NANOSECONDS, Recorder},
    series::{Contains, Metric, Tags},
    stats::Stats,
};

/// k6 sends a second's samples one to three seconds after its end.
const USUAL_AGE: i64 = 3 * NANOSECONDS;

impl Recorder {
    /// Takes a whole message of k6's aggregated samples, uncompressed. What comes again adds up: k6 opens a second again for
    /// samples that are late.
    pub fn feed_aggregated(&mut self, message: &[u8]) {
        match stream::read(message) {
            Ok(series) => series.into_iter().for_each(|series| self.series_of_k6(series)),
            Err(error) => self.refuse(error.to_string().as_bytes()),
        }
    }

    fn series_of_k6(&mut self, series: TimeSeries) {
        let TimeSeries { metric, kind, tags, seconds } = series;
        let bytes = bytes_of(&tags);
        let index = self.find(metric.as_bytes(), &bytes).unwrap_or_else(|| {
            // k6 does not say what the values of a script's own metrics are.
            let contains = Metric::built_in(&metric).map_or(Contains::Default, |known| known.contains);
            self.intern(Metric { name: metric, kind, contains }, &bytes, &tags)
        });
        seconds.into_iter().for_each(|second| self.second(index, second));
    }

    fn second(&mut self, index: usize, Second { start, mut stats, unplaced }: Second) {
        let Some(leaf) = self.leaves.get(index) else { return };
        let at = self.steps.straighten(start.saturating_mul(NANOSECONDS), USUAL_AGE);
        if leaf.only_after_start && is_before_start(at, self.started_at, &stats) {
            self.counts.before_start += stats.count();
            return;
        }
        if let Stats::Gauge { last_at, .. } = &mut stats {
            *last_at = at;
        }
        let second = at.div_euclid(NANOSECONDS);
        self.newest_second = self.newest_second.max(second);
        let Leaf { rollups, own, rest, .. } = leaf;
        self.counts.samples += stats.count();
        self.counts.folded += if *rest { stats.count() } else { 0 };
        self.counts.unplaced += unplaced;
        for series in rollups {
            self.series[*series].fold(second, Cow::Borrowed(&stats));
        }
        self.series[*own].fold(second, Cow::Owned(stats));
    }
}

/// Whether gauges of VUs are of before the start. Of the second in which k6 was resumed it is not known; before that there
/// were no VUs, so a second that has seen none counts as before.
fn is_before_start(at: i64, started_at: i64, stats: &Stats) -> bool {
    let none = matches!(stats, Stats::Gauge { min, .. } if *min <= 0.0);
    at.saturating_add(NANOSECONDS) <= started_at || (at < started_at && none)
}

/// Bytes that stand for a tag set and for no other.
fn bytes_of(tags: &Tags) -> Vec<u8> {
    let mut bytes = Vec::new();
    for text in tags.iter().flat_map(|(name, value)| [name, value]) {
        bytes.extend_from_slice(&(text.len() as u64).to_le_bytes());
        bytes.extend_from_slice(text.as_bytes());
    }
    bytes
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        aggregate::{Aggregate, tests::NOON},
        chunk::{Chunk, ChunkKey},
        ids::{Attempt, RunId, WorkerIndex},
        k6::stream::encode::message,
        plan::Samples,
        recorder::Watch,
        series::{MetricKind, Rollup},
        threshold::Threshold,
    };

    const METRICS: [(&str, MetricKind); 4] = [
        ("http_req_duration", MetricKind::Trend),
        ("http_reqs", MetricKind::Counter),
        ("checks", MetricKind::Rate),
        ("my_gauge", MetricKind::Gauge),
    ];

    fn watches() -> Vec<Watch> {
        let tags = Some([("name", "1")].into_iter().collect());
        vec![Watch { metric: "http_req_duration".into(), tags, limits: Vec::new() }]
    }

    fn merged(mut recorder: Recorder) -> Aggregate {
        let run = RunId::parse("01JD8QZV3M4T5W6X7Y8Z9A0B4K").expect("an id");
        let key = ChunkKey { run, worker: WorkerIndex(0), attempt: Attempt(1), sequence: 1 };
        let mut aggregate = Aggregate::new();
        aggregate.apply(&Chunk { key, series: recorder.take_windows(true) }).expect("applies");
        aggregate
    }

    fn line(metric: &str, second: i64, value: f64, tag: &str) -> String {
        let tags = format!(r#"{{"check":"c{tag}","group":"","name":"{tag}"}}"#);
        crate::aggregate::tests::sample(metric, u32::try_from(second).expect("small"), value, &tags)
    }

    #[test]
    fn vus_count_from_the_second_of_the_start_on() {
        let mut recorder = Recorder::new(Vec::new(), 10);
        let start = NOON * NANOSECONDS + NANOSECONDS / 2;
        recorder.started(start);
        for (second, vus) in [(-1, 0.0), (0, 0.0), (1, 5.0)] {
            recorder.feed_aggregated(&message("vus", &[], NOON + second, &[vus], MetricKind::Gauge));
        }
        assert_eq!((recorder.counts().samples, recorder.counts().before_start), (1, 2));
        recorder.feed_aggregated(&message("vus", &[], NOON, &[5.0], MetricKind::Gauge));
        assert_eq!(recorder.counts().samples, 2, "what has VUs is of after the start");
    }

    #[test]
    fn tag_sets_beyond_the_cap_are_folded_and_counted() {
        let mut recorder = Recorder::new(Vec::new(), 1);
        for name in ["a", "b", "c"] {
            recorder.feed_aggregated(&message("tt", &[("name", name)], NOON, &[1.0, 2.0], MetricKind::Trend));
        }
        assert_eq!((recorder.counts().samples, recorder.counts().folded), (6, 4));
        let rest = recorder.totals().find(|(id, _)| id.rollup == Rollup::Rest).expect("is there").1;
        assert_eq!(rest, 4);
    }

    #[test]
    fn nonsense_is_refused_and_told() {
        let mut recorder = Recorder::new(Vec::new(), 10);
        recorder.feed_aggregated(b"hello, world");
        assert_eq!((recorder.counts().refused, recorder.counts().samples), (1, 0));
        let said = recorder.counts().first_refused.clone().expect("is told");
        assert!(said.starts_with("a message of k6's aggregated samples: "), "{said}");
    }

    #[test]
    fn a_clock_that_was_wrong_is_put_right() {
        let mut recorder = Recorder::new(Vec::new(), 10);
        let wall = NOON * NANOSECONDS + 3_600 * NANOSECONDS;
        recorder.look_at_clocks(wall, std::time::Duration::from_secs(1));
        recorder.shift_times(-3_600 * NANOSECONDS);
        recorder.feed_aggregated(&message("tt", &[], NOON + 3_600, &[1.0], MetricKind::Trend));
        let window = recorder.take_windows(true).remove(0).windows.remove(0);
        assert_eq!(window.start, NOON);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(60))]
        /// The same samples by both entrances, the aggregated ones in any number of messages.
        #[test]
        fn both_entrances_come_to_the_same(
            samples in prop::collection::vec((0i64..50, 0u8..200, 0u8..3, 0usize..3), 1..120),
            pieces in 1usize..4,
        ) {
            let (mut exact, mut aggregated) = (Recorder::new(watches(), 100), Recorder::new(watches(), 100));
            let tag = |tag: u8| tag.to_string();
            for (second, value, t, metric) in &samples {
                exact.feed(line(METRICS[*metric].0, *second, f64::from(*value), &tag(*t)).as_bytes());
            }
            for part in samples.chunks(samples.len().div_ceil(pieces)) {
                let mut gathered = std::collections::BTreeMap::<_, Vec<f64>>::new();
                for (second, value, t, metric) in part {
                    gathered.entry((*second, *t, *metric)).or_default().push(f64::from(*value));
                }
                for ((second, t, metric), values) in gathered {
                    let (name, kind) = METRICS[metric];
                    let (check, tag) = (format!("c{t}"), tag(t));
                    let tags = [("name", tag.as_str()), ("group", ""), ("check", check.as_str())];
                    aggregated.feed_aggregated(&message(name, &tags, NOON + second, &values, kind));
                }
            }
            let (exact, aggregated) = (merged(exact), merged(aggregated));
            let duration = std::time::Duration::from_secs(50);
            for expression in [
                ("http_req_duration", "avg<5"), ("http_req_duration{name:1}", "max<150"), ("http_req_duration", "min<5"),
                ("http_reqs", "count>5"), ("http_reqs", "rate>1"), ("checks", "rate>0.5"),
            ] {
                let threshold = Threshold::parse(expression.0, expression.1).expect("reads");
                let one = exact.decide(&threshold, Samples::Exact, duration);
                prop_assert_eq!(one, aggregated.decide(&threshold, Samples::Aggregated, duration), "{:?}", expression);
            }
            let percentile = Threshold::parse("http_req_duration{name:1}", "p(90)<70").expect("reads");
            let one = exact.decide(&percentile, Samples::Exact, duration).value.unwrap_or_default();
            let other = aggregated.decide(&percentile, Samples::Aggregated, duration).value.unwrap_or_default();
            prop_assert!((one - other).abs() <= (one * stream::RELATIVE_ERROR).max(stream::RESOLUTION), "{} {}", one, other);
        }
    }
}
