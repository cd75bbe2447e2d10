//! The aggregator's path: chunks to one aggregate.
//!
//! A chunk has 20 trend series with one window of 500 samples each, as a worker writes it each second. Cost should grow
//! with the buckets that hold something; were it to grow with the histogram's range, `wide` would cost about what
//! `narrow` does and both some hundred times more.

#![expect(clippy::expect_used, reason = "a bench has nobody to report to")]

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use lambdaload_core::{
    aggregate::Aggregate,
    chunk::{Chunk, ChunkKey, ChunkSeries, Window},
    ids::{Attempt, RunId, WorkerIndex},
    series::{Contains, Metric, MetricKind, Rollup, SeriesId},
    stats::Open,
};

const SERIES: u32 = 20;
const SAMPLES: u32 = 500;

fn chunk(worker: u32, sequence: u32, spread: f64) -> Vec<u8> {
    let series = (0..SERIES).map(|series| {
        let mut open = Open::new(MetricKind::Trend);
        for i in 0..SAMPLES {
            let scattered = f64::from((i * 7919 + series * 104_729 + worker * 31) % 1009) / 1009.0;
            open.add(10.0 * (1.0 + scattered * spread), 0);
        }
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
    Chunk { key, series: series.collect() }.encode().expect("encodes")
}

fn merge(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("merge");
    for (name, spread) in [("narrow", 0.1), ("wide", 100.0)] {
        let chunks: Vec<Vec<u8>> = (0..50).flat_map(|w| (1..=4).map(move |s| chunk(w, s, spread))).collect();
        group.throughput(Throughput::Elements(chunks.len() as u64 * u64::from(SERIES))).sample_size(20);
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let mut aggregate = Aggregate::new();
                for bytes in &chunks {
                    let chunk = Chunk::decode(bytes).expect("decodes");
                    aggregate.apply(&chunk).expect("applies");
                }
                black_box(aggregate)
            });
        });
    }
    group.finish();
}

criterion_group!(benches, merge);
criterion_main!(benches);
