//! What the merged samples say at the end: thresholds, metrics and checks as k6 has them, and conservation.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use crate::{
    aggregate::{Aggregate, Merged},
    closing::Closing,
    number::Number,
    plan::{Plan, Samples, TimeUnit, trend_percentile},
    selector::Selector,
    series::{Contains, Metric, MetricKind, Rollup, SeriesId, Tags},
    stats::Stats,
    threshold::{Aggregation, Decision, Threshold, per_second},
    verdict::{CheckSummary, Conservation, MetricSummary, MissingSamples, Summary, Values},
};

/// Percentiles that every trend's summary has, whatever was asked for: `med`, `p(90)`, `p(95)`, `p(99)`.
const USUAL_PERCENTILES: [(&str, f64); 4] = [("med", 50.0), ("p(90)", 90.0), ("p(95)", 95.0), ("p(99)", 99.0)];

/// So many missing series are named; the first few tell where to look.
const MISSING_NAMED: usize = 20;

impl Aggregate {
    /// Decides a threshold on the samples so far; `duration` is the time since the start.
    pub fn decide(&self, threshold: &Threshold, samples: Samples, duration: Duration) -> Decision {
        if let Some(merged) = self.find(&threshold.selector) {
            let current = merged.current();
            return match samples {
                Samples::Exact => threshold.evaluate(&current, &merged.limits, duration),
                Samples::Aggregated => threshold.evaluate_aggregated(&current, merged.latest(), duration),
            };
        }
        threshold.evaluate(&Stats::empty(self.kind_of(threshold)), &[], duration)
    }

    /// Whether there is a sample for a threshold to be decided on.
    pub fn has_samples(&self, threshold: &Threshold) -> bool {
        self.find(&threshold.selector).is_some()
    }

    /// The merged metrics, and the sub-metrics and metrics that thresholds name even without samples.
    pub fn summary(&self, plan: &Plan, duration: Duration) -> Summary {
        let mut selectors: BTreeMap<(String, Option<usize>), Selector> = BTreeMap::new();
        for name in self.metrics.keys() {
            selectors.insert((name.clone(), None), Selector { metric: name.clone(), suffix: None });
        }
        for threshold in plan.thresholds.iter().filter(|t| t.selector.suffix.is_none()) {
            selectors.insert((threshold.selector.metric.clone(), None), threshold.selector.clone());
        }
        for (position, selector) in plan.submetrics.iter().enumerate() {
            let named = plan.thresholds.iter().any(|t| t.selector == *selector);
            if named || self.find(selector).is_some() {
                // k6 shows the whole beside the part.
                let whole = Selector { metric: selector.metric.clone(), suffix: None };
                selectors.insert((selector.metric.clone(), None), whole);
                selectors.insert((selector.metric.clone(), Some(position)), selector.clone());
            }
        }
        let (groups, left_out) = self.groups(plan, duration);
        Summary {
            metrics: selectors.into_values().map(|s| self.metric_summary(plan, s, duration)).collect(),
            checks: self.checks(),
            trend_stats: plan.summary.trend_stats.clone(),
            time_unit: plan.summary.time_unit.map(|unit| {
                let name = match unit {
                    TimeUnit::Seconds => "s",
                    TimeUnit::Milliseconds => "ms",
                    TimeUnit::Microseconds => "us",
                };
                name.to_owned()
            }),
            mode: plan.summary.mode,
            group_paths: self.group_paths(),
            groups,
            left_out,
        }
    }

    /// Compares what the workers say they read with what was merged.
    pub fn conservation(&self, closings: &[Closing]) -> Conservation {
        let mut conservation = Conservation { merged: self.samples(), ..Conservation::default() };
        let mut folded_metrics: BTreeSet<&str> = BTreeSet::new();
        for closing in closings {
            conservation.read += closing.lines.samples;
            conservation.refused += closing.lines.refused;
            conservation.before_start += closing.lines.before_start;
            conservation.folded += closing.lines.folded;
            conservation.unwritten += closing.lines.unwritten;
            conservation.lost_batches += closing.lines.lost_batches;
            conservation.unplaced += closing.lines.unplaced;
            let rest = closing.totals.iter().filter(|(id, _)| id.rollup == Rollup::Rest);
            folded_metrics.extend(rest.map(|(id, _)| id.metric.name.as_str()));
            let said: BTreeMap<&SeriesId, u64> = closing.totals.iter().map(|(id, n)| (id, *n)).collect();
            let unsaid = self.series_of(closing.worker).filter(|id| !said.contains_key(id)).map(|id| (id, 0));
            for (series, read) in said.iter().map(|(id, n)| (*id, *n)).chain(unsaid) {
                let merged = self.samples_in(closing.worker, series);
                if read != merged && conservation.missing.len() < MISSING_NAMED {
                    let series = series.to_string();
                    conservation.missing.push(MissingSamples { worker: closing.worker, series, read, merged });
                }
            }
        }
        conservation.folded_metrics = folded_metrics.len() as u64;
        conservation
    }

    /// The series of all samples that a selector names.
    pub(super) fn find(&self, selector: &Selector) -> Option<&Merged> {
        let metric = self.metrics.get(&selector.metric)?;
        let (rollup, tags) = match selector.suffix {
            None => (Rollup::All, Tags::default()),
            Some(_) => (Rollup::Selector, selector.tags()),
        };
        self.series.get(&SeriesId { metric: metric.clone(), rollup, tags })
    }

    pub(super) fn all(&self, metric: &str) -> Option<&Merged> {
        self.find(&Selector { metric: metric.to_owned(), suffix: None })
    }

    /// The type of a metric that may have no sample: k6's own metrics are known; of a custom one the threshold tells, or k6
    /// has told. Where it has not, the stricter reading of `rate` holds: a counter without samples is 0, where a rate
    /// without samples would pass.
    fn kind_of(&self, threshold: &Threshold) -> MetricKind {
        let name = &threshold.selector.metric;
        let known = self.metrics.get(name).cloned().or_else(|| Metric::built_in(name));
        match (known.map(|metric| metric.kind).or(threshold.kind), threshold.aggregation) {
            (Some(kind), _) => kind,
            (None, Aggregation::Count | Aggregation::Rate) => MetricKind::Counter,
            (None, Aggregation::Value) => MetricKind::Gauge,
            (None, Aggregation::Avg | Aggregation::Min | Aggregation::Max | Aggregation::Percentile(_)) => {
                MetricKind::Trend
            }
        }
    }

    fn metric_summary(&self, plan: &Plan, selector: Selector, duration: Duration) -> MetricSummary {
        let known = self.metrics.get(&selector.metric).cloned().or_else(|| Metric::built_in(&selector.metric));
        let metric = known.unwrap_or_else(|| {
            let threshold = plan.thresholds.iter().find(|t| t.selector.metric == selector.metric);
            let kind = threshold.map_or(MetricKind::Counter, |t| self.kind_of(t));
            Metric { name: selector.metric.clone(), kind, contains: Contains::Default }
        });
        let values = match self.find(&selector) {
            Some(merged) => merged.values(&plan.summary.trend_stats, duration),
            None => values(&Stats::empty(metric.kind), &plan.summary.trend_stats, duration),
        };
        MetricSummary {
            name: metric.name,
            suffix: selector.suffix,
            kind: metric.kind,
            contains: metric.contains,
            values,
        }
    }

    fn checks(&self) -> Vec<CheckSummary> {
        let checks = self.series.iter().filter(|(id, _)| id.rollup == Rollup::Check);
        let mut checks: Vec<(u32, CheckSummary)> = checks
            .filter_map(|(id, merged)| match *merged.total.stats() {
                Stats::Rate { count, trues } => {
                    let text = |tag| id.tags.get(tag).unwrap_or_default().to_owned();
                    let check =
                        CheckSummary { group: text("group"), name: text("check"), passes: trues, fails: count - trues };
                    Some((merged.ordinal, check))
                }
                _ => None,
            })
            .collect();
        // As k6 lists them: in the order in which they were first made.
        checks.sort_by(|(a, x), (b, y)| (a, &x.group, &x.name).cmp(&(b, &y.group, &y.name)));
        checks.into_iter().map(|(_, check)| check).collect()
    }
}

impl Merged {
    /// The latest part that is known by itself; of what adds up over workers the order does not matter.
    fn latest(&self) -> Option<&Stats> {
        let slices = self.slices.as_ref().filter(|_| self.gauges.is_none())?;
        slices.iter().next_back().map(|(_, stats)| stats)
    }

    /// The stats of all samples; of a gauge that adds up over workers with the sum as its values.
    fn current(&self) -> Stats {
        let Some(gauges) = &self.gauges else { return self.total.stats().into_owned() };
        let sums = gauges.sums();
        let values = || sums.iter().map(|(_, value)| *value);
        match sums.last() {
            Some((_, last)) => Stats::Gauge {
                count: self.total.count(),
                last: *last,
                last_at: 0,
                min: values().fold(f64::INFINITY, f64::min),
                max: values().fold(f64::NEG_INFINITY, f64::max),
            },
            None => self.total.stats().into_owned(),
        }
    }

    fn values(&self, trend_stats: &[String], duration: Duration) -> Values {
        values(&self.current(), trend_stats, duration)
    }
}

/// The values that people see of some samples; `duration` is the time since the start.
pub(super) fn values(stats: &Stats, trend_stats: &[String], duration: Duration) -> Values {
    let or_zero = |value: f64| Number(if stats.count() == 0 { 0.0 } else { value });
    match stats {
        Stats::Counter { sum, .. } => {
            Values::Counter { count: Number(sum.value()), rate: Number(per_second(sum.value(), duration)) }
        }
        Stats::Gauge { last, min, max, .. } => {
            Values::Gauge { value: or_zero(*last), min: or_zero(*min), max: or_zero(*max) }
        }
        Stats::Rate { count, trues } => Values::Rate {
            rate: Number(if *count == 0 { 0.0 } else { *trues as f64 / *count as f64 }),
            passes: *trues,
            fails: count - trues,
        },
        Stats::Trend { count, sum, min, max, .. } => {
            let asked = trend_stats.iter().filter_map(|name| Some((name.as_str(), trend_percentile(name)?)));
            let percentiles = USUAL_PERCENTILES
                .into_iter()
                .chain(asked)
                .map(|(name, percent)| (name.to_owned(), Number(stats.percentile(percent / 100.0).unwrap_or(0.0))));
            Values::Trend {
                count: *count,
                avg: or_zero(sum.value() / *count as f64),
                min: or_zero(*min),
                max: or_zero(*max),
                percentiles: percentiles.collect(),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        aggregate::tests::{aggregate, chunks, sample},
        ids::{Attempt, WorkerIndex},
        recorder::{LineCounts, Watch},
    };

    fn decide(aggregate: &Aggregate, key: &str, expression: &str) -> Decision {
        let threshold = Threshold::parse(key, expression).expect(expression);
        aggregate.decide(&threshold, Samples::Exact, Duration::from_secs(10))
    }

    #[test]
    fn vus_are_the_sum_over_workers() {
        let worker = |vus: f64| vec![sample("vus", 1, vus, "{}") + &sample("vus", 2, vus, "{}")];
        let merged = aggregate(&chunks(&[worker(2.0), worker(3.0)], &[]));
        assert!(decide(&merged, "vus", "value==5").passed);
        match merged.all("vus").expect("is there").values(&[], Duration::ZERO) {
            Values::Gauge { value, min, max } => assert_eq!((value.0, min.0, max.0), (5.0, 5.0, 5.0)),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn thresholds_on_what_has_no_samples_follow_k6() {
        let merged = aggregate(&chunks(&[vec![sample("http_reqs", 1, 1.0, "{}")]], &[]));
        assert!(!decide(&merged, "http_reqs{foo:zzz}", "count>1").passed);
        assert!(decide(&merged, "http_req_failed{foo:zzz}", "rate<0.1").passed);
        assert!(!decide(&merged, "http_req_duration{foo:zzz}", "p(95)>1").passed);
        assert!(!decide(&merged, "my_errors", "rate>0.9").passed, "the stricter reading");
    }

    #[test]
    fn a_rate_of_a_counter_is_over_the_run() {
        let merged = aggregate(&chunks(&[vec![sample("http_reqs", 1, 30.0, "{}")]], &[]));
        assert_eq!(decide(&merged, "http_reqs", "rate==3").value, Some(3.0));
    }

    #[test]
    fn a_missing_chunk_is_named() {
        let pieces = vec![
            sample("http_reqs", 1, 1.0, "{}"),
            sample("http_reqs", 2, 1.0, "{}") + &sample("data_sent", 2, 9.0, "{}"),
        ];
        let all = chunks(&[pieces], &[]);
        let closing = |aggregate: &Aggregate| Closing {
            run: all[0].key.run.clone(),
            worker: WorkerIndex(0),
            attempt: Attempt(1),
            chunks: 2,
            lines: LineCounts { samples: aggregate.samples(), ..LineCounts::default() },
            totals: aggregate.series.iter().map(|(id, m)| (id.clone(), m.total.count())).collect(),
        };
        let whole = aggregate(&all);
        let said = closing(&whole);
        assert_eq!(whole.conservation(std::slice::from_ref(&said)).missing, []);
        let part = aggregate(&all[..1]);
        let conservation = part.conservation(&[said]);
        assert_eq!((conservation.read, conservation.merged), (3, 1));
        assert!(conservation.missing.iter().any(|m| m.series == "data_sent" && m.read == 1 && m.merged == 0));
    }

    #[test]
    fn checks_are_told_apart_by_group() {
        let line = |group: &str, value| {
            sample("checks", 1, value, &format!(r#"{{"check":"is 200","group":"{group}","scenario":"default"}}"#))
        };
        let merged = aggregate(&chunks(&[vec![line("", 1.0) + &line("::a", 0.0) + &line("::a", 1.0)]], &[]));
        let found: Vec<_> = merged.checks().into_iter().map(|c| (c.group, c.passes, c.fails)).collect();
        assert_eq!(found, [(String::new(), 1, 0), ("::a".to_owned(), 1, 1)]);
    }

    #[test]
    fn sub_metrics_have_their_own_values() {
        let watch = Watch {
            metric: "http_req_duration".into(),
            tags: Some([("a", "b")].into_iter().collect()),
            limits: vec![5.0],
        };
        let merged = aggregate(&chunks(
            &[vec![sample("http_req_duration", 1, 4.0, r#"{"a":"b"}"#) + &sample("http_req_duration", 1, 100.0, "{}")]],
            &[watch],
        ));
        let decision = decide(&merged, "http_req_duration{a:b}", "p(95)<5");
        assert!(decision.passed && decision.exact);
        assert!(!decide(&merged, "http_req_duration", "max<5").passed);
    }
}
