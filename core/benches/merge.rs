//! The aggregator's path: chunks to one aggregate, against what everybody else would do.
//!
//! A chunk has 20 trend series with one window of 500 samples each, as a worker writes it each second. The other way is
//! the `hdrhistogram` crate with the same three digits: one V2 serialization for each window, deserialized and added.
//! That it is only compared by histogram alone, without checksums, exact sums, names of series and conservation, is in
//! its favour. Both read the same samples in turn, and of each pair of rounds the ratio is taken, so that whatever else
//! the machine does is in both.

#![expect(clippy::expect_used, clippy::print_stdout, reason = "a bench has nobody to report to but people")]

mod input;

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use criterion::{Criterion, Throughput, criterion_group};
use hdrhistogram::{
    Histogram as Other,
    serialization::{Deserializer, Serializer, V2Serializer},
};
use input::windows::{HOUR, SERIES, Shape, chunk};
use lambdaload_core::{aggregate::Aggregate, chunk::Chunk};

const WORKERS: u32 = 50;
const SECONDS: u32 = 4;

/// Pairs of rounds.
const ROUNDS: usize = 15;

/// What all workers store in some seconds.
fn chunks(shape: Shape) -> Vec<Vec<u8>> {
    let all = (1..=SECONDS).flat_map(|sequence| (0..WORKERS).map(move |worker| chunk(worker, sequence, shape)));
    all.map(|chunk| chunk.encode().expect("encodes")).collect()
}

fn merged(chunks: &[Vec<u8>]) -> Aggregate {
    let mut aggregate = Aggregate::new();
    for bytes in chunks {
        let chunk = Chunk::decode(bytes).expect("decodes");
        aggregate.apply(&chunk).expect("applies");
    }
    aggregate
}

/// The same windows as the other crate writes them: the series of each, and its bytes.
fn others(shape: Shape) -> Vec<(usize, Vec<u8>)> {
    let mut serializer = V2Serializer::new();
    let mut all = Vec::new();
    for (sequence, worker) in (1..=SECONDS).flat_map(|sequence| (0..WORKERS).map(move |worker| (sequence, worker))) {
        for series in 0..SERIES {
            let mut histogram = Other::<u64>::new(3).expect("three digits");
            for value in shape.values(worker, sequence, series) {
                #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "from 1 to an hour")]
                histogram.record((value * 1_000.0).round() as u64).expect("grows");
            }
            let mut bytes = Vec::new();
            serializer.serialize(&histogram, &mut bytes).expect("serializes");
            all.push((series as usize, bytes));
        }
    }
    all
}

fn others_merged(windows: &[(usize, Vec<u8>)]) -> Vec<Other<u64>> {
    let empty = || Other::<u64>::new_with_bounds(1, HOUR, 3).expect("bounds");
    let mut merged: Vec<_> = (0..SERIES).map(|_| empty()).collect();
    let mut deserializer = Deserializer::new();
    for (series, bytes) in windows {
        let window: Other<u64> = deserializer.deserialize(&mut bytes.as_slice()).expect("deserializes");
        merged[*series].add(&window).expect("fits");
    }
    merged
}

fn merge(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("merge");
    for (name, shape) in Shape::ALL {
        let chunks = chunks(shape);
        group.throughput(Throughput::Elements(chunks.len() as u64 * u64::from(SERIES))).sample_size(20);
        group.bench_function(name, |bencher| bencher.iter(|| black_box(merged(&chunks))));
    }
    group.finish();
}

fn lasts<T>(work: impl FnOnce() -> T) -> Duration {
    let began_at = Instant::now();
    black_box(work());
    began_at.elapsed()
}

/// Both ways in turn, as a table.
fn compare() {
    println!(
        "| windows | buckets | bytes | ours | hdrhistogram's bytes | hdrhistogram | ratio |\n|--|--:|--:|--:|--:|--:|--:|"
    );
    for (name, shape) in Shape::ALL {
        let (ours, others) = (chunks(shape), others(shape));
        let windows = others.len();
        let first = chunk(1, 1, shape);
        let held = first.series.iter().filter_map(|series| Some(series.windows[0].stats.histogram()?.buckets().len()));
        let buckets = held.sum::<usize>() / SERIES as usize;
        let mut rounds: Vec<(Duration, Duration)> =
            (0..ROUNDS).map(|_| (lasts(|| merged(&ours)), lasts(|| others_merged(&others)))).collect();
        let ratio = |(ours, other): &(Duration, Duration)| other.as_secs_f64() / ours.as_secs_f64();
        rounds.sort_by(|a, b| ratio(a).total_cmp(&ratio(b)));
        let median = rounds[ROUNDS / 2];
        let micros = |duration: Duration| duration.as_secs_f64() * 1e6 / windows as f64;
        let size = |bytes: usize| bytes / windows;
        println!(
            "| {name} | {buckets} | {} | {:.2} µs | {} | {:.2} µs | {:.1} |",
            size(ours.iter().map(Vec::len).sum()),
            micros(median.0),
            size(others.iter().map(|(_, bytes)| bytes.len()).sum()),
            micros(median.1),
            ratio(&median)
        );
    }
}

criterion_group!(benches, merge);

fn main() {
    // `cargo test --benches` only wants to know whether it runs.
    if std::env::args().any(|argument| argument == "--bench") {
        compare();
    }
    benches();
    Criterion::default().configure_from_args().final_summary();
}
