//! Eight hours of k6's lines in the part of a worker that reads them.

use std::time::{Duration, Instant};

use lambdaload_core::{
    chunk::{Chunk, ChunkKey},
    ids::{Attempt, RunId, WorkerIndex},
    recorder::{MAX_TAG_SETS, Recorder, Watch},
};

use crate::{ONE_AT_A_TIME, allocated::allocated};

const HOUR: u32 = 3_600;
const METRICS: [&str; 8] =
    ["duration", "blocked", "connecting", "tls_handshaking", "sending", "waiting", "receiving", "failed"];
/// Of 25 tag sets in eight metrics.
const SERIES: u32 = 200;
const LINES_A_SECOND: u32 = 50;

/// Ten times what it was once seen to take without optimisation beside several builds: what does not grow stays below.
const LONGEST: Duration = Duration::from_millis(500);

/// A second of lines as k6 writes them.
fn second_of(second: u32) -> String {
    use std::fmt::Write as _;
    let (hour, minute, rest) = (second / HOUR, second / 60 % 60, second % 60);
    let mut text = String::new();
    for line in 0..LINES_A_SECOND {
        let n = second.wrapping_mul(LINES_A_SECOND).wrapping_add(line);
        let (metric, item) = (METRICS[n as usize % METRICS.len()], n / 8 % (SERIES / 8));
        let value = if metric == "failed" { 0.0 } else { f64::from(n.wrapping_mul(7_919) % 10_007) / 97.0 };
        let written = writeln!(
            text,
            r#"{{"metric":"http_req_{metric}","type":"Point","data":{{"time":"2026-11-22T{hour:02}:{minute:02}:{rest:02}.{:09}Z","value":{value},"tags":{{"group":"","method":"GET","name":"http://shop.test/item/{item}","scenario":"default","status":"200"}}}}}}"#,
            line * 19_000_000
        );
        assert!(written.is_ok(), "a string takes all");
    }
    text
}

#[test]
fn eight_hours_of_samples_take_what_one_does() {
    let _turn = ONE_AT_A_TIME.lock();
    let run = RunId::parse("01JD8QZV3M4T5W6X7Y8Z9A0B4K").expect("an id");
    let before = allocated();
    let watches = vec![Watch { metric: "http_req_duration".into(), tags: None, limits: vec![50.0] }];
    let mut recorder = Recorder::new(watches, MAX_TAG_SETS);
    let (mut in_use, mut longest) = (Vec::new(), Duration::ZERO);
    for second in 0..8 * HOUR {
        recorder.feed(second_of(second).as_bytes());
        let began_at = Instant::now();
        let series = recorder.take_windows(false);
        let key = ChunkKey { run: run.clone(), worker: WorkerIndex(0), attempt: Attempt(1), sequence: second + 1 };
        drop(Chunk { key, series }.encode().expect("encodes"));
        longest = longest.max(began_at.elapsed());
        if second % HOUR == HOUR - 1 {
            in_use.push(allocated() - before);
        }
    }
    print(&in_use, longest);
    assert_eq!(recorder.counts().samples, u64::from(8 * HOUR * LINES_A_SECOND));
    assert!(longest < LONGEST, "reading would pause for {longest:?} while a second is handed out and encoded");
    let (first, last) = (in_use[0], in_use[7]);
    assert!(last <= first + first / 10, "{first} bytes after the first hour, {last} after the last");
}

#[expect(clippy::print_stdout, reason = "figures for people")]
fn print(in_use: &[usize], longest: Duration) {
    println!("longest pause of reading for what is handed out and encoded: {:.1} ms", longest.as_secs_f64() * 1e3);
    println!("| hour | in use |\n|--:|--:|");
    for (hour, bytes) in (1..).zip(in_use) {
        println!("| {hour} | {:.0} kB |", *bytes as f64 / 1e3);
    }
}
