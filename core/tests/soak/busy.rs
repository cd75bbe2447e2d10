//! A day of a busy test in the merged samples alone: every second has its whole distribution.

use lambdaload_core::{
    aggregate::{Aggregate, Applied},
    chunk::{Chunk, ChunkKey, ChunkSeries, Window},
    ids::{Attempt, RunId, WorkerIndex},
    series::{Metric, SeriesId},
    stats::{Open, Stats},
    threshold::Threshold,
};

use crate::{ONE_AT_A_TIME, allocated::allocated};

const HOUR: i64 = 3_600;
const START: i64 = 1_795_348_800;
const WORKERS: u32 = 2;

/// Bytes of the checkpoint, in memory, and of the timeline.
type Seen = (usize, usize, usize);

/// A second of response times between 100 and 200 ms: 700 of a worker, in nearly as many buckets.
fn second_of(metric: &Metric, shift: u64) -> Stats {
    let mut open = Open::new(metric.kind);
    (0..700_u64).for_each(|n| open.add(100.0 + ((n * 613 + shift * 31) % 997) as f64 / 10.0, 0));
    open.take()
}

#[test]
fn a_busy_day_takes_what_a_busy_hour_does() {
    let _turn = ONE_AT_A_TIME.lock();
    let thresholds = [Threshold::parse("http_req_waiting", "p(95)<500").expect("reads")];
    let metrics = ["http_req_duration", "http_req_waiting", "http_req_blocked", "http_req_failed", "http_reqs"];
    let metrics = metrics.map(|name| Metric::built_in(name).expect("is known"));
    let kinds: Vec<Vec<Stats>> =
        metrics.iter().map(|metric| (0..4).map(|shift| second_of(metric, shift)).collect()).collect();
    let run = RunId::parse("01JD8QZV3M4T5W6X7Y8Z9A0B4K").expect("an id");
    let before = allocated();
    let mut aggregate = Aggregate::with_thresholds(&thresholds);
    let mut seen = Vec::new();
    for second in 0..24 * HOUR {
        for worker in (0..WORKERS).map(WorkerIndex) {
            let series = metrics.iter().zip(&kinds).zip(0..).map(|((metric, stats), ordinal)| {
                let stats = stats[usize::try_from(second % 4).expect("small")].clone();
                let windows = vec![Window { start: START + second, stats }];
                ChunkSeries { id: SeriesId::all(metric.clone()), ordinal, windows, limits: Vec::new() }
            });
            let sequence = u32::try_from(second).expect("fits") + 1;
            let key = ChunkKey { run: run.clone(), worker, attempt: Attempt(1), sequence };
            let applied = aggregate.apply(&Chunk { key, series: series.collect() });
            assert_eq!(applied, Ok(Applied::Merged));
        }
        if second % HOUR == HOUR - 1 {
            let checkpoint = postcard::to_stdvec(&aggregate).expect("encodes").len();
            let timeline = serde_json::to_vec(&aggregate.timeline()).expect("JSON").len();
            seen.push((checkpoint, allocated() - before, timeline));
        }
    }
    print(&seen);
    assert_eq!(aggregate.samples(), 24 * 3_600 * u64::from(WORKERS) * 700 * metrics.len() as u64);
    let most =
        |hours: std::ops::Range<usize>, of: fn(&Seen) -> usize| seen[hours].iter().map(of).max().expect("has hours");
    let each: [fn(&Seen) -> usize; 3] = [|seen| seen.0, |seen| seen.1, |seen| seen.2];
    for of in each {
        let (early, late) = (most(0..2, of), most(22..24, of));
        assert!(late <= early + early / 4, "{early} bytes in the first two hours, {late} in the last two: {seen:?}");
    }
}

#[expect(clippy::print_stdout, reason = "figures for people")]
fn print(seen: &[Seen]) {
    println!("| hour | merged samples in memory | checkpoint | timeline |\n|--:|--:|--:|--:|");
    for (hour, (checkpoint, memory, timeline)) in
        (1..).zip(seen).filter(|(hour, _)| [1, 2, 4, 8, 16, 24].contains(hour))
    {
        let [memory, checkpoint] = [*memory, *checkpoint].map(|bytes| bytes as f64 / f64::from(1 << 20));
        println!("| {hour} | {memory:.1} MiB | {checkpoint:.1} MiB | {:.0} kB |", *timeline as f64 / 1e3);
    }
}
