//! The per-sample path: k6's lines to windows.
//!
//! `record` is what each line costs, `record_and_take` includes folding and handing out the windows of a flush. Lines are
//! as k6 writes them: 14 for each HTTP request, 200 tag sets. An order of magnitude more per line would mean that tags
//! are read as JSON for each sample, which this design exists to avoid.

mod input;

use std::hint::black_box;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use input::samples::{lines, watches};
use lambdaload_core::recorder::{MAX_TAG_SETS, Recorder};

fn per_sample(criterion: &mut Criterion) {
    let text = lines(10_000);
    let samples = text.lines().count() as u64;
    let fed = || {
        let mut recorder = Recorder::new(watches(), MAX_TAG_SETS);
        text.as_bytes().chunks(256 << 10).for_each(|piece| recorder.feed(piece));
        recorder
    };
    assert_eq!((fed().counts().samples, fed().counts().refused), (samples, 0), "declared by k6 or built in");

    let mut group = criterion.benchmark_group("per_sample");
    group.throughput(Throughput::Elements(samples)).sample_size(30);
    group.bench_function("record", |bencher| bencher.iter(|| black_box(fed())));
    group.bench_function("record_and_take", |bencher| {
        bencher.iter_batched(|| (), |()| black_box(fed().take_windows(true)), BatchSize::PerIteration);
    });
    group.finish();
}

criterion_group!(benches, per_sample);
criterion_main!(benches);
