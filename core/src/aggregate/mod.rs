//! The merged samples of all workers.
//!
//! Chunks may come in any order and more than once; each counts once, by (worker, attempt, sequence). Memory grows with
//! the number of series, and not with the length of the run: see [`slices`] and [`sequences`].

mod drift;
mod gauges;
mod groups;
mod sequences;
mod slices;
mod summary;
mod total;
mod view;

pub use groups::MAX_GROUPS;

use std::collections::{BTreeMap, HashMap};

use hashbrown::DefaultHashBuilder;
use serde::{Deserialize, Serialize};

use crate::{
    aggregate::{gauges::WorkerGauges, sequences::Sequences, slices::Slices, total::Total},
    chunk::{Chunk, ChunkSeries},
    ids::{Attempt, WorkerIndex},
    selector::Selector,
    series::{Metric, Rollup, SeriesId, Tags},
    stats::{KindMismatch, Stats},
    threshold::{LimitCount, Threshold},
    timestamp::Timestamp,
};

/// Metrics that are kept over time, beside those that thresholds are on: what the live view, the charts and
/// [`Aggregate::drift`] are made of.
const OVER_TIME: [&str; 6] =
    ["http_req_duration", "iteration_duration", "http_req_failed", "checks", "http_reqs", "iterations"];

/// The merged samples.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Aggregate {
    /// What thresholds are on.
    thresholds: Vec<(String, Tags)>,
    series: HashMap<SeriesId, Merged, DefaultHashBuilder>,
    metrics: BTreeMap<String, Metric>,
    workers: BTreeMap<WorkerIndex, MergedWorker>,
    newest_second: i64,
}

/// One series, merged.
#[derive(Debug, Serialize, Deserialize)]
struct Merged {
    total: Total,
    /// The least that any worker gave; so the order of merging does not matter.
    ordinal: u32,
    /// Only of what is judged or shown over time; see [`OVER_TIME`].
    slices: Option<Slices<Stats>>,
    /// Only of gauges that add up over workers.
    gauges: Option<WorkerGauges>,
    limits: Vec<LimitCount>,
    /// Samples by worker, for conservation.
    by_worker: BTreeMap<WorkerIndex, u64>,
}

/// What was merged of one worker.
#[derive(Debug, Serialize, Deserialize)]
struct MergedWorker {
    attempt: Attempt,
    /// Chunks that need not be fetched any more.
    chunks: Sequences,
    samples: u64,
}

/// What became of a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Applied {
    /// It was merged.
    Merged,
    /// It had been merged before, or belongs to an attempt that does not count; nothing changed.
    Ignored,
}

impl Aggregate {
    /// Nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Nothing yet; what these thresholds are on will be kept over time.
    pub fn with_thresholds(thresholds: &[Threshold]) -> Self {
        let named = |selector: &Selector| (selector.metric.clone(), selector.tags());
        Self { thresholds: thresholds.iter().map(|threshold| named(&threshold.selector)).collect(), ..Self::default() }
    }

    /// Merges a chunk, whole or not at all.
    pub fn apply(&mut self, chunk: &Chunk) -> Result<Applied, KindMismatch> {
        for series in &chunk.series {
            let expected = series.id.metric.kind;
            if let Some(window) = series.windows.iter().find(|w| w.stats.kind() != expected) {
                return Err(KindMismatch { expected, found: window.stats.kind() });
            }
        }
        let (index, attempt) = (chunk.key.worker, chunk.key.attempt);
        let worker = self.workers.entry(index).or_insert_with(|| MergedWorker::new(attempt));
        if worker.attempt != attempt || !worker.chunks.insert(chunk.key.sequence) {
            return Ok(Applied::Ignored);
        }
        for series in &chunk.series {
            self.merge(index, series)?;
        }
        Ok(Applied::Merged)
    }

    fn merge(&mut self, index: WorkerIndex, chunk: &ChunkSeries) -> Result<(), KindMismatch> {
        let merged = if let Some(merged) = self.series.get_mut(&chunk.id) {
            merged
        } else {
            let metric = &chunk.id.metric;
            self.metrics.entry(metric.name.clone()).or_insert_with(|| metric.clone());
            let over_time = self.is_kept_over_time(&chunk.id);
            self.series.entry(chunk.id.clone()).or_insert_with(|| Merged::new(&chunk.id, over_time))
        };
        merged.ordinal = merged.ordinal.min(chunk.ordinal);
        // There are few of these, and every worker has something for them in every second.
        let is_busy = matches!(chunk.id.rollup, Rollup::All | Rollup::Selector);
        let mut samples = 0;
        for window in &chunk.windows {
            samples += window.stats.count();
            merged.total.merge(&window.stats, is_busy)?;
            if let Some(slices) = &mut merged.slices {
                slices.merge(window.start, &window.stats);
            }
            if chunk.id.rollup == Rollup::All {
                self.newest_second = self.newest_second.max(window.start);
            }
            if let Some(gauges) = &mut merged.gauges {
                gauges.merge(window.start, index, &window.stats);
            }
        }
        *merged.by_worker.entry(index).or_default() += samples;
        for limit in &chunk.limits {
            match merged.limits.iter_mut().find(|l| l.limit.to_bits() == limit.limit.to_bits()) {
                Some(known) => known.merge(limit),
                None => merged.limits.push(*limit),
            }
        }
        if chunk.id.rollup == Rollup::All
            && let Some(worker) = self.workers.get_mut(&index)
        {
            worker.samples += samples;
        }
        Ok(())
    }

    /// Chunks of a worker, up to this number, that are neither merged nor given up; rising.
    pub fn missing_chunks(&self, index: WorkerIndex, up_to: u32) -> impl Iterator<Item = u32> {
        let none = Sequences::default();
        let known = self.workers.get(&index).map(|worker| &worker.chunks);
        let missing: Vec<u32> = known.unwrap_or(&none).missing(up_to).collect();
        missing.into_iter()
    }

    /// Notes that a chunk will never be merged. Its samples are missing, which conservation will tell.
    pub fn give_up(&mut self, index: WorkerIndex, attempt: Attempt, sequence: u32) {
        self.workers.entry(index).or_insert_with(|| MergedWorker::new(attempt)).chunks.insert(sequence);
    }

    fn is_kept_over_time(&self, id: &SeriesId) -> bool {
        let name = id.metric.name.as_str();
        match id.rollup {
            Rollup::All if OVER_TIME.contains(&name) => true,
            Rollup::All | Rollup::Selector => {
                self.thresholds.iter().any(|(metric, tags)| metric == name && *tags == id.tags)
            }
            Rollup::Check | Rollup::TagSet | Rollup::Rest => false,
        }
    }

    /// The end of the second of the latest sample; none without samples.
    pub fn newest_sample(&self) -> Option<Timestamp> {
        (self.newest_second > 0).then(|| Timestamp((self.newest_second + 1).saturating_mul(1_000_000)))
    }

    /// Samples merged, each once however many series it is in.
    pub fn samples(&self) -> u64 {
        self.workers.values().map(|w| w.samples).sum()
    }

    /// Samples of one worker that were merged.
    pub fn samples_of(&self, index: WorkerIndex) -> u64 {
        self.workers.get(&index).map_or(0, |w| w.samples)
    }

    /// Samples of one worker in one series.
    pub fn samples_in(&self, index: WorkerIndex, series: &SeriesId) -> u64 {
        self.series.get(series).and_then(|m| m.by_worker.get(&index)).copied().unwrap_or(0)
    }

    /// The series in which a worker has samples.
    pub fn series_of(&self, index: WorkerIndex) -> impl Iterator<Item = &SeriesId> {
        self.series.iter().filter(move |(_, merged)| merged.by_worker.contains_key(&index)).map(|(id, _)| id)
    }
}

impl MergedWorker {
    fn new(attempt: Attempt) -> Self {
        Self { attempt, chunks: Sequences::default(), samples: 0 }
    }
}

impl Merged {
    fn new(id: &SeriesId, over_time: bool) -> Self {
        let adds_up = matches!(id.rollup, Rollup::All | Rollup::Selector) && id.metric.adds_over_workers();
        Self {
            total: Total::new(id.metric.kind),
            ordinal: u32::MAX,
            slices: over_time.then(Slices::new),
            gauges: adds_up.then(WorkerGauges::default),
            limits: Vec::new(),
            by_worker: BTreeMap::new(),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::{
        chunk::ChunkKey,
        ids::RunId,
        recorder::{Recorder, Watch},
    };
    use proptest::prelude::*;

    pub(crate) fn sample(metric: &str, second: u32, value: f64, tags: &str) -> String {
        let (minute, second) = (second / 60, second % 60);
        format!(
            "{{\"metric\":\"{metric}\",\"type\":\"Point\",\"data\":{{\"time\":\"2026-11-22T12:{minute:02}:{second:02}.5Z\",\"value\":{value},\"tags\":{tags}}}}}\n"
        )
    }

    /// The second of `sample`'s second 0.
    pub(crate) const NOON: i64 = 1_795_348_800;

    /// One chunk for each piece of each worker's lines.
    pub(crate) fn chunks(workers: &[Vec<String>], watches: &[Watch]) -> Vec<Chunk> {
        let mut chunks = Vec::new();
        for (worker, pieces) in (0..).map(WorkerIndex).zip(workers) {
            let mut recorder = Recorder::new(watches.to_vec(), 1000);
            recorder.started(0);
            for (sequence, piece) in (1..).zip(pieces) {
                recorder.feed(piece.as_bytes());
                let run = RunId::parse("01JD8QZV3M4T5W6X7Y8Z9A0B4K").expect("an id");
                let key = ChunkKey { run, worker, attempt: Attempt(1), sequence };
                let last = usize::try_from(sequence) == Ok(pieces.len());
                chunks.push(Chunk { key, series: recorder.take_windows(last) });
            }
        }
        chunks
    }

    pub(crate) fn aggregate(chunks: &[Chunk]) -> Aggregate {
        let mut aggregate = Aggregate::new();
        for chunk in chunks {
            aggregate.apply(chunk).expect("applies");
        }
        aggregate
    }

    fn totals(aggregate: &Aggregate) -> BTreeMap<String, Stats> {
        aggregate
            .series
            .iter()
            .map(|(id, merged)| (format!("{:?}{id}", id.rollup), merged.total.stats().into_owned()))
            .collect()
    }

    #[test]
    fn a_chunk_of_another_attempt_does_not_count() {
        let mut chunks = chunks(&[vec![sample("http_reqs", 1, 1.0, "{}"), sample("http_reqs", 2, 1.0, "{}")]], &[]);
        chunks[1].key.attempt = Attempt(2);
        let mut aggregate = Aggregate::new();
        assert_eq!(aggregate.apply(&chunks[0]), Ok(Applied::Merged));
        assert_eq!(aggregate.apply(&chunks[1]), Ok(Applied::Ignored));
        assert_eq!(aggregate.samples(), 1);
    }

    #[test]
    fn a_gap_is_seen() {
        let pieces = (0..4).map(|s| sample("http_reqs", s, 1.0, "{}")).collect();
        let chunks = chunks(&[pieces], &[]);
        let missing = |aggregate: &Aggregate, worker, up_to| {
            aggregate.missing_chunks(WorkerIndex(worker), up_to).collect::<Vec<_>>()
        };
        let mut with_gap = aggregate(&[chunks[0].clone(), chunks[1].clone(), chunks[3].clone()]);
        assert_eq!((missing(&with_gap, 0, 5), missing(&with_gap, 0, 2)), (vec![3, 5], vec![]));
        assert_eq!(missing(&with_gap, 7, 2), [1, 2]);
        with_gap.give_up(WorkerIndex(0), Attempt(1), 3);
        assert_eq!(missing(&with_gap, 0, 5), [5]);
        assert_eq!(with_gap.apply(&chunks[2]), Ok(Applied::Ignored));
        assert!(missing(&aggregate(&chunks), 0, 4).is_empty());
    }

    #[test]
    fn a_chunk_that_contradicts_itself_changes_nothing() {
        let mut chunk =
            chunks(&[vec![sample("http_reqs", 1, 1.0, "{}") + &sample("vus", 1, 1.0, "{}")]], &[]).remove(0);
        for series in &mut chunk.series {
            series.id.metric.kind = crate::series::MetricKind::Rate;
        }
        let mut aggregate = Aggregate::new();
        assert!(aggregate.apply(&chunk).is_err());
        assert_eq!((aggregate.samples(), aggregate.series.len()), (0, 0));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]
        #[test]
        fn order_repetition_and_the_number_of_workers_do_not_matter(
            lines in prop::collection::vec((0u32..100, 0.0..1e4_f64, 0u8..4, 0usize..4), 1..150),
            workers in 1usize..5,
            shuffle in any::<u64>(),
        ) {
            let watches = [Watch {
                metric: "http_req_duration".into(),
                tags: Some([("name", "1")].into_iter().collect()),
                limits: vec![100.0],
            }];
            let metrics = ["http_req_duration", "http_reqs", "checks", "data_sent"];
            let text = |(second, value, tag, metric): &(u32, f64, u8, usize)| {
                sample(metrics[*metric], *second, *value, &format!(r#"{{"name":"{tag}","check":"c{tag}"}}"#))
            };
            let whole: String = lines.iter().map(text).collect();
            let one = aggregate(&chunks(&[vec![whole]], &watches));
            let dealt: Vec<Vec<String>> =
                (0..workers).map(|w| lines.iter().skip(w).step_by(workers).map(text).collect()).collect();
            let mut parts = chunks(&dealt, &watches);
            parts.extend(parts.clone());
            let mut state = shuffle;
            for i in (1..parts.len()).rev() {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                parts.swap(i, usize::try_from(state >> 33).expect("fits") % (i + 1));
            }
            let many = aggregate(&parts);
            prop_assert_eq!(totals(&many), totals(&one));
            prop_assert_eq!(many.samples(), lines.len() as u64);
            for (id, merged) in &one.series {
                prop_assert_eq!(&many.series[id].limits, &merged.limits);
                prop_assert_eq!(&many.series[id].slices, &merged.slices);
                prop_assert_eq!(merged.slices.is_some(), id.rollup == Rollup::All && OVER_TIME.contains(&id.metric.name.as_str()));
            }
        }
    }
}
