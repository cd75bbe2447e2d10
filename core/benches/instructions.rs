//! The work of one path, so many times: for `cargo xtask instructions`, which counts the processor's instructions.
//!
//! `instructions PATH TIMES` prepares the same whatever `TIMES` is, so two runs differ by the path alone, and what is met
//! for the first time is not in the difference.

#![expect(clippy::expect_used, reason = "a bench has nobody to report to")]

mod input;

use std::hint::black_box;

use input::{
    samples::{lines, message, watches},
    windows::{Shape, chunk},
};
use lambdaload_core::{
    aggregate::Aggregate,
    chunk::Chunk,
    recorder::{MAX_TAG_SETS, Recorder},
};

/// HTTP requests, of 14 samples each.
const REQUESTS: u32 = 1_000;
/// Requests of which k6 aggregates the samples.
const AGGREGATED: u32 = 10_000;
/// Chunks, of 20 windows each.
const WORKERS: u32 = 50;
/// The most times that can be asked for.
const MOST: u32 = 3;

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    // `cargo test --benches` and `cargo bench` start it without a path.
    let [path, times] = &words[..] else { return };
    let times: u32 = times.parse().expect("a number of times");
    assert!((1..=MOST).contains(&times), "expected 1 to {MOST}, found {times}");
    match path.as_str() {
        "record" => record(times, false),
        "record-and-take" => record(times, true),
        "take-aggregated" => take_aggregated(times),
        "encode-narrow" => encode(times, Shape::Narrow),
        "encode-wide" => encode(times, Shape::Wide),
        "merge-narrow" => merge(times, Shape::Narrow),
        "merge-scattered" => merge(times, Shape::Scattered),
        "merge-wide" => merge(times, Shape::Wide),
        other => panic!("there is no path `{other}`"),
    }
}

fn record(times: u32, takes: bool) {
    let text = lines(REQUESTS);
    let mut recorder = Recorder::new(watches(), MAX_TAG_SETS);
    for _ in 0..times {
        text.as_bytes().chunks(256 << 10).for_each(|piece| recorder.feed(piece));
        if takes {
            black_box(recorder.take_windows(true));
        }
    }
    black_box(recorder.counts());
}

/// k6 sends what it has aggregated every three seconds; these are a second's samples.
fn take_aggregated(times: u32) {
    let message = message(AGGREGATED);
    let mut recorder = Recorder::new(watches(), MAX_TAG_SETS);
    for _ in 0..times {
        recorder.feed_aggregated(&message);
        black_box(recorder.take_windows(true));
    }
    black_box(recorder.counts());
}

fn encode(times: u32, shape: Shape) {
    let chunks: Vec<Chunk> = (0..WORKERS).map(|worker| chunk(worker, 1, shape)).collect();
    for _ in 0..times {
        chunks.iter().for_each(|chunk| drop(black_box(chunk.encode().expect("encodes"))));
    }
}

fn merge(times: u32, shape: Shape) {
    let second = |second| (0..WORKERS).map(move |worker| chunk(worker, second, shape).encode().expect("encodes"));
    let seconds: Vec<Vec<Vec<u8>>> = (1..=MOST).map(|number| second(number).collect()).collect();
    let mut aggregate = Aggregate::new();
    for bytes in seconds.iter().take(times as usize).flatten() {
        aggregate.apply(&Chunk::decode(bytes).expect("decodes")).expect("applies");
    }
    black_box(aggregate);
}
