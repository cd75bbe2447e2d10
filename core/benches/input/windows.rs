//! Windows as workers upload them: 20 trends, each with one of 500 samples.

use lambdaload_core::{
    chunk::{Chunk, ChunkKey, ChunkSeries, Window},
    ids::{Attempt, RunId, WorkerIndex},
    series::{Contains, Metric, MetricKind, Rollup, SeriesId},
    stats::Open,
};

pub(crate) const SERIES: u32 = 20;

const SAMPLES: u32 = 500;

/// An hour in microseconds, the usual upper end of such histograms.
pub(crate) const HOUR: u64 = 3_600_000_000;

/// Samples that come in windows, in milliseconds.
#[derive(Clone, Copy)]
pub(crate) enum Shape {
    /// All within a tenth of the least: few buckets, of one power of two.
    Narrow,
    /// A hundred different values from a microsecond to an hour: as few buckets, over the whole range.
    Scattered,
    /// From 10 ms to a second, so that hardly two fall into one bucket.
    Wide,
}

impl Shape {
    pub(crate) const ALL: [(&'static str, Self); 3] =
        [("narrow", Self::Narrow), ("scattered", Self::Scattered), ("wide", Self::Wide)];

    pub(crate) fn values(self, worker: u32, sequence: u32, series: u32) -> impl Iterator<Item = f64> {
        (0..SAMPLES).map(move |i| {
            let scattered = f64::from((i * 7919 + series * 104_729 + worker * 31 + sequence * 17) % 1009) / 1009.0;
            let micros = match self {
                Self::Narrow => 10_000.0 * (1.0 + scattered * 0.1),
                Self::Scattered => (HOUR as f64).powf((scattered * 100.0).floor() / 100.0),
                Self::Wide => 10_000.0 * (1.0 + scattered * 100.0),
            };
            micros.round() / 1_000.0
        })
    }
}

pub(crate) fn chunk(worker: u32, sequence: u32, shape: Shape) -> Chunk {
    let series = (0..SERIES).map(|series| {
        let mut open = Open::new(MetricKind::Trend);
        shape.values(worker, sequence, series).for_each(|value| open.add(value, 0));
        let metric = Metric { name: format!("trend_{series}"), kind: MetricKind::Trend, contains: Contains::Time };
        ChunkSeries {
            id: SeriesId { metric, rollup: Rollup::All, tags: [("", ""); 0].into_iter().collect() },
            ordinal: series,
            windows: vec![Window { start: i64::from(sequence), stats: open.take() }],
            limits: Vec::new(),
        }
    });
    let run = RunId::parse("01JD8QZV3M4T5W6X7Y8Z9A0B4K").expect("an id");
    let key = ChunkKey { run, worker: WorkerIndex(worker), attempt: Attempt(1), sequence };
    Chunk { key, series: series.collect() }
}
