//! Whether response times and failures changed over a run: the slope of what thresholds and people look at.

use std::time::Duration;

use crate::{
    aggregate::{
        Aggregate, OVER_TIME,
        slices::{Slices, oldest_width},
    },
    drift::{CONFIDENCE, Line, MIN_BLOCKS},
    number::Number,
    plan::words,
    records::RunRecord,
    selector::Selector,
    series::MetricKind,
    stats::Stats,
    verdict::{Drift, Slope},
};

/// Into so many blocks the time is cut.
const BLOCKS: u32 = 30;

/// A level load of less is no matter of drifts.
const MIN_LEVEL: Duration = Duration::from_mins(5);

/// So much of the level load is left out at its beginning, but at least [`MIN_WARM_UP`]: caches fill, pools grow.
const WARM_UP: f64 = 0.05;
const MIN_WARM_UP: Duration = Duration::from_secs(30);

/// A trend that changes by less of its mean does not drift, however sure that is.
const WORTH_TELLING: f64 = 0.02;

/// Likewise of a rate, itself.
const RATE_WORTH_TELLING: f64 = 0.001;

impl Aggregate {
    /// How what is kept over time changed while the load of the run was level; none for a run that was too short for it.
    pub fn drift(&self, run: &RunRecord, lasted: Duration) -> Option<Drift> {
        if lasted < MIN_LEVEL {
            return None;
        }
        let none = |message: String| Drift {
            from_ms: 0,
            until_ms: 0,
            blocks: 0,
            confidence: CONFIDENCE,
            slopes: Vec::new(),
            not_judged: Some(message),
        };
        if run.scale.is_some() {
            return Some(none("VUs were scaled while it ran".to_owned()));
        }
        let Some((level_from, level_until)) = run.plan.level_stretch() else {
            return Some(none("the load was never level".to_owned()));
        };
        let until = level_until.min(lasted);
        let level = until.saturating_sub(level_from);
        if level < MIN_LEVEL {
            return Some(none(format!("the load was level for {} at most", words(level))));
        }
        let from = level_from.saturating_add(level.mul_f64(WARM_UP).max(MIN_WARM_UP));
        let start = run.start_at?.0.div_euclid(1_000_000);
        let second = |at: Duration| start.saturating_add(i64::try_from(at.as_secs()).unwrap_or(i64::MAX));
        let (from, until) = (second(from).saturating_add(1), second(until));
        let spans = self.series.values().filter_map(|merged| merged.slices.as_ref()?.span());
        let (first, last) = spans.reduce(|(first, last), (a, b)| (first.min(a), last.max(b)))?;
        let width = oldest_width(first, last);
        // Whole slices only, cut into blocks of equal length from the end backwards.
        let (first_slice, last_slice) = (from.div_euclid(width) + 1, until.div_euclid(width));
        let each = (last_slice - first_slice) / i64::from(BLOCKS);
        if each < 1 {
            return Some(none(format!("the load was level for too small a part of the run ({})", words(level))));
        }
        let blocks = Blocks { width, each, begin: last_slice - each * i64::from(BLOCKS) };
        let mut slopes: Vec<Slope> =
            judged(run).into_iter().filter_map(|selector| self.slope(selector, &blocks)).collect();
        slopes.sort_by_key(|slope| !slope.drifts);
        let after_start = |slice: i64| u64::try_from((slice * width - start).max(0)).unwrap_or(0) * 1_000;
        Some(Drift {
            from_ms: after_start(blocks.begin),
            until_ms: after_start(last_slice),
            blocks: BLOCKS,
            confidence: CONFIDENCE,
            not_judged: slopes.is_empty().then(|| "there were samples in too small a part of the time".to_owned()),
            slopes,
        })
    }

    fn slope(&self, selector: Selector, blocks: &Blocks) -> Option<Slope> {
        let slices = self.find(&selector)?.slices.as_ref()?;
        let metric = self.metrics.get(&selector.metric)?;
        let (statistic, of): (_, fn(&Stats) -> Option<f64>) = match metric.kind {
            MetricKind::Trend => ("p(95)", |stats| stats.percentile(0.95)),
            MetricKind::Rate => ("rate", |stats| match stats {
                Stats::Rate { count: count @ 1.., trues } => Some(*trues as f64 / *count as f64),
                _ => None,
            }),
            MetricKind::Counter | MetricKind::Gauge => return None,
        };
        let line = Line::through(&blocks.points(slices, of))?;
        let change = line.slope * blocks.hours();
        let worth_telling = match metric.kind {
            MetricKind::Rate => RATE_WORTH_TELLING,
            _ => WORTH_TELLING * line.mean.abs(),
        };
        Some(Slope {
            metric: selector.metric,
            suffix: selector.suffix,
            statistic: statistic.to_owned(),
            contains: metric.contains,
            per_hour: Number(line.slope),
            low: Number(line.slope - line.half_width),
            high: Number(line.slope + line.half_width),
            mean: Number(line.mean),
            change: Number(change),
            drifts: line.is_certain() && change.abs() >= worth_telling,
        })
    }
}

/// What is judged: response times and failures, and the trends and rates that thresholds are on.
fn judged(run: &RunRecord) -> Vec<Selector> {
    let usual = OVER_TIME.map(|metric| Selector { metric: metric.to_owned(), suffix: None });
    let mut all: Vec<Selector> = Vec::new();
    for selector in usual.into_iter().chain(run.plan.thresholds.iter().map(|t| t.selector.clone())) {
        if !all.iter().any(|known| known.metric == selector.metric && known.tags() == selector.tags()) {
            all.push(selector);
        }
    }
    all
}

/// How slices are put together.
struct Blocks {
    /// Seconds of a slice.
    width: i64,
    /// Slices of a block.
    each: i64,
    /// The number of the first slice, counted from the Unix epoch.
    begin: i64,
}

impl Blocks {
    /// The blocks that hold something: each by its middle in hours, with a figure of all its samples.
    fn points(&self, slices: &Slices<Stats>, of: impl Fn(&Stats) -> Option<f64>) -> Vec<(f64, f64)> {
        let mut merged: Vec<Option<Stats>> = (0..BLOCKS).map(|_| None).collect();
        for (start, stats) in slices.iter() {
            let block = (start.div_euclid(self.width) - self.begin).div_euclid(self.each);
            let Some(place) = usize::try_from(block).ok().and_then(|block| merged.get_mut(block)) else { continue };
            match place {
                // Of one series, so of one type.
                Some(all) => drop(all.merge(stats)),
                None => *place = Some(stats.clone()),
            }
        }
        let hours = self.hours() / f64::from(BLOCKS);
        let points =
            (0..).zip(&merged).filter_map(|(block, stats)| Some((f64::from(block) * hours, of(stats.as_ref()?)?)));
        points.collect()
    }

    fn hours(&self) -> f64 {
        (self.width * self.each * i64::from(BLOCKS)) as f64 / 3_600.0
    }
}

const _: () = assert!(BLOCKS as usize >= MIN_BLOCKS);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        archive::Archive,
        chunk::{Chunk, ChunkKey, ChunkSeries, Window},
        ids::{Attempt, RunId, WorkerIndex},
        k6::{options::Options, version::K6Version},
        plan::{Machine, Plan, Request},
        series::{Metric, SeriesId},
        stats::Open,
        timestamp::Timestamp,
    };

    const START: i64 = 1_795_348_800;

    fn run(scenario: &str) -> RunRecord {
        let options = format!(
            r#"{{"scenarios":{{"a":{scenario}}},"totalDuration":"24h","maxVUs":50,"thresholds":{{"mine":["avg<500"]}}}}"#
        );
        let hash = serde_json::from_str("\"ab\"").expect("a hash");
        let archive = Archive { hash, size: 1, files: 1, filename: "file:///a.js".into() };
        let request = Request { script: "a.js".into(), ..Request::default() };
        let options = Options::parse(options.as_bytes()).expect("reads");
        let machine = Machine { cores: 1, open_files: 1_024 };
        let plan = Plan::new(request, archive, K6Version::new(1, 8, 1), &options, machine).expect("plans");
        let id = RunId::parse("01JD8QZV3M4T5W6X7Y8Z9A0B4K").expect("an id");
        RunRecord { start_at: Some(Timestamp(START * 1_000_000)), ..RunRecord::new(id, Timestamp(0), plan) }
    }

    /// Two samples a second of each trend, of which the slow one is as given, and a hundred requests of which so many have
    /// failed; for so many seconds.
    fn aggregate(seconds: i64, run: &RunRecord, of: impl Fn(i64) -> (f64, u32)) -> Aggregate {
        let mut aggregate = Aggregate::with_thresholds(&run.plan.thresholds);
        let mine = Metric { name: "mine".into(), ..Metric::built_in("ws_ping").expect("is known") };
        let metrics = [
            Metric::built_in("http_req_duration").expect("is known"),
            Metric::built_in("http_req_failed").expect("is known"),
            mine,
        ];
        for second in 0..seconds {
            let (slow, failed) = of(second);
            let series = metrics.iter().zip([slow, 0.0, 40.0]).zip(0..).map(|((metric, slow), ordinal)| {
                let mut open = Open::new(metric.kind);
                if metric.kind == MetricKind::Rate {
                    (0..100).for_each(|request| open.add(f64::from(u32::from(request < failed)), 0));
                } else {
                    [slow, 10.0 + (second % 7) as f64].into_iter().for_each(|value| open.add(value, 0));
                }
                let windows = vec![Window { start: START + second, stats: open.take() }];
                ChunkSeries { id: SeriesId::all(metric.clone()), ordinal, windows, limits: Vec::new() }
            });
            let sequence = u32::try_from(second).expect("fits") + 1;
            let key = ChunkKey { run: run.id.clone(), worker: WorkerIndex(0), attempt: Attempt(1), sequence };
            aggregate.apply(&Chunk { key, series: series.collect() }).expect("applies");
        }
        aggregate
    }

    fn drift(seconds: i64, run: &RunRecord, of: impl Fn(i64) -> (f64, u32)) -> Option<Drift> {
        aggregate(seconds, run, of).drift(run, Duration::from_secs(seconds.unsigned_abs()))
    }

    /// How many of a second's hundred requests fail if that many percent do at first, and so many more at the end.
    fn failed(second: i64, seconds: i64, first: f64, more: f64) -> u32 {
        let so_far = |second: i64| first * second as f64 + more / 2.0 * (second * second) as f64 / seconds as f64;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a few")]
        let whole = |value: f64| value.floor() as u32;
        whole(so_far(second + 1)) - whole(so_far(second))
    }

    fn constant(lasts: &str) -> String {
        format!(r#"{{"executor":"constant-vus","vus":3,"duration":"{lasts}"}}"#)
    }

    #[test]
    fn a_leak_of_ten_milliseconds_an_hour_is_found_to_the_tenth() {
        let wobble = |second: i64| ((second * 7_919) % 97) as f64 / 10.0;
        let of = |second: i64| (100.0 + wobble(second) + second as f64 / 360.0, failed(second, 14_400, 2.0, 2.0));
        let drift = drift(4 * 3_600, &run(&constant("4h")), of).expect("is judged");
        assert_eq!((drift.blocks, drift.not_judged), (30, None));
        assert!((720_000..1_500_000).contains(&drift.from_ms) && drift.until_ms > 14_300_000, "{}", drift.from_ms);
        let found: Vec<_> = drift.slopes.iter().map(|s| (s.metric.as_str(), s.drifts)).collect();
        assert_eq!(found, [("http_req_duration", true), ("http_req_failed", true), ("mine", false)]);
        let duration = &drift.slopes[0];
        assert!((duration.per_hour.0 - 10.0).abs() < 0.2, "{duration:?}");
        assert!(duration.low.0 > 9.5 && duration.high.0 < 10.5 && duration.low.0 < duration.high.0, "{duration:?}");
        assert_eq!((duration.statistic.as_str(), drift.slopes[1].statistic.as_str()), ("p(95)", "rate"));
    }

    #[test]
    fn what_changes_a_little_is_no_drift_however_sure_it_is() {
        let seen = |percent: f64, points: f64| {
            let of = |second: i64| {
                let slow = 100.0 * (1.0 + percent / 100.0 * second as f64 / 3_600.0);
                (slow + (second % 7) as f64 / 100.0, failed(second, 3_600, 2.0, points))
            };
            let slopes = drift(3_600, &run(&constant("1h")), of).expect("is judged").slopes;
            ["http_req_duration", "http_req_failed"].map(|metric| {
                let slope = slopes.iter().find(|slope| slope.metric == metric).expect("is judged");
                assert!(slope.low.0 > 0.0, "not sure: {slope:?}");
                (slope.change.0, slope.drifts)
            })
        };
        // A twentieth of the time is left out, and so of the change.
        let little = seen(1.0, 0.09);
        assert!(!little[0].1 && !little[1].1 && little[0].0 > 0.9 && little[1].0 > 0.000_8, "{little:?}");
        let more = seen(3.0, 0.12);
        assert!(more[0].1 && more[1].1 && more[0].0 < 3.0 && more[1].0 < 0.001_2, "{more:?}");
    }

    #[test]
    fn warm_up_and_ramps_are_no_drift() {
        let run = run(r#"{"executor":"ramping-vus","startVUs":0,"stages":[
            {"duration":"10m","target":30},{"duration":"40m","target":30},{"duration":"10m","target":0}]}"#);
        // Slower the more VUs there are, and for a minute longer until the caches are full.
        let of = |second: i64| {
            let vus = (second as f64 / 600.0).min(1.0).min((3_600 - second) as f64 / 600.0);
            let cold = if second < 660 { 300.0 } else { 0.0 };
            (100.0 + 200.0 * vus + cold + (second % 11) as f64, 0)
        };
        let drift = drift(3_600, &run, of).expect("is judged");
        assert!(drift.from_ms >= 720_000 && drift.until_ms <= 3_000_000, "{drift:?}");
        assert!(drift.slopes.iter().all(|slope| !slope.drifts), "{:?}", drift.slopes);
    }

    #[test]
    fn what_cannot_be_judged_says_why() {
        let flat = |_| (100.0, 0);
        assert_eq!(drift(299, &run(&constant("5m")), flat), None);
        let why = |drift: Option<Drift>| drift.and_then(|drift| drift.not_judged);
        let ramping = r#"{"executor":"ramping-vus","startVUs":0,"stages":[{"duration":"10m","target":30}]}"#;
        assert_eq!(why(drift(600, &run(ramping), flat)).as_deref(), Some("the load was never level"));
        let short = r#"{"executor":"ramping-vus","startVUs":0,"stages":[
            {"duration":"10m","target":30},{"duration":"2m","target":30}]}"#;
        assert_eq!(why(drift(720, &run(short), flat)).as_deref(), Some("the load was level for 2m at most"));
        let mut scaled = run(&constant("10m"));
        scaled.scale = Some(crate::records::Scale { revision: 1, vus: 5 });
        assert_eq!(why(drift(600, &scaled, flat)).as_deref(), Some("VUs were scaled while it ran"));
        // One that was stopped is judged on what there is.
        assert!(drift(900, &run(&constant("4h")), flat).is_some_and(|drift| drift.slopes.len() == 3));
        let silent = |run: &RunRecord| aggregate(10, run, flat).drift(run, Duration::from_mins(20));
        assert!(why(silent(&run(&constant("20m")))).is_some());
    }
}
