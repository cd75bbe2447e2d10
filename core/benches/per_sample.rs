//! The per-sample path: k6's lines to windows.
//!
//! `record` is what each line costs, `record_and_take` includes folding and handing out the windows of a flush. Lines are
//! as k6 writes them: 14 for each HTTP request, 200 tag sets. An order of magnitude more per line would mean that tags
//! are read as JSON for each sample, which this design exists to avoid.

use std::{fmt::Write as _, hint::black_box};

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use lambdaload_core::recorder::{MAX_TAG_SETS, Recorder, Watch};

/// Lines of `requests` HTTP requests within some seconds.
fn lines(requests: u32) -> String {
    let mut text = String::new();
    let trends = ["duration", "blocked", "connecting", "tls_handshaking", "sending", "waiting", "receiving"];
    for i in 0..requests {
        let time = format!("2026-11-22T12:00:{:02}.{:09}Z", i / 10_000, (i % 10_000) * 100_000 + 1_234);
        let tags = format!(
            r#"{{"expected_response":"true","group":"","method":"GET","name":"http://shop.test/item/{}","proto":"HTTP/1.1","scenario":"default","status":"200","url":"http://shop.test/item/{}"}}"#,
            i % 20,
            i % 20
        );
        let mut point = |metric: &str, value: f64, tags: &str| {
            let line = writeln!(
                text,
                r#"{{"metric":"{metric}","type":"Point","data":{{"time":"{time}","value":{value},"tags":{tags}}}}}"#
            );
            assert!(line.is_ok(), "a string takes all");
        };
        point("http_reqs", 1.0, &tags);
        for (trend, scale) in trends.iter().zip(1..) {
            point(&format!("http_req_{trend}"), f64::from((i * 7919) % 10_007) / f64::from(scale * 97), &tags);
        }
        point("http_req_failed", 0.0, &tags);
        point("checks", 1.0, r#"{"check":"status is 200","group":"","scenario":"default"}"#);
        for (metric, value) in
            [("data_sent", 123.0), ("data_received", 2345.0), ("iteration_duration", 12.345), ("iterations", 1.0)]
        {
            point(metric, value, r#"{"group":"","scenario":"default"}"#);
        }
    }
    text
}

fn watches() -> Vec<Watch> {
    let tags = Some([("expected_response", "true")].into_iter().collect());
    vec![
        Watch { metric: "http_req_duration".into(), tags: None, limits: vec![50.0] },
        Watch { metric: "http_req_duration".into(), tags, limits: vec![] },
    ]
}

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
