use console::measure_text_width;
use insta::assert_snapshot;
use lambdaload_core::{
    ids::RunId,
    lifecycle::{Abort, AbortCause, Phase},
    live::{Latency, WorkerCounts},
    number::Number,
    plan::Offered,
    ports::Timestamp,
    verdict::ThresholdResult,
};

use super::*;
use crate::printer::Paint;

fn threshold(
    metric: &str,
    suffix: Option<&str>,
    expression: &str,
    value: Option<f64>,
    passed: bool,
) -> ThresholdResult {
    ThresholdResult {
        within_error: false,
        metric: metric.into(),
        suffix: suffix.map(str::to_owned),
        expression: expression.into(),
        passed,
        value: value.map(Number),
        exact: true,
        first_crossed_ms: None,
        abort_on_fail: false,
    }
}

fn starting() -> LiveState {
    LiveState {
        run: RunId::parse("01JD8QZV3M4T5W6X7Y8Z9A0B4K").expect("an id"),
        name: "checkout.js".into(),
        at: Timestamp(1_000_000),
        phase: Phase::Initializing,
        status: "initializing".into(),
        abort: None,
        elapsed_ms: None,
        duration_ms: 450_000,
        workers: WorkerCounts { planned: 12, starting: 4, ready: 8, ..WorkerCounts::default() },
        start_skew_p99_ms: None,
        vus: 0,
        planned_vus: None,
        iterations_per_second: 0.0,
        offered: None,
        requests_per_second: None,
        iterations: 0,
        dropped_iterations: 0,
        latency: None,
        failed_rate: None,
        checks_rate: None,
        thresholds: vec![threshold("http_req_duration", Some("name:cart"), "p(95)<600", None, true)],
        samples: 0,
    }
}

fn running() -> LiveState {
    LiveState {
        phase: Phase::Running,
        status: "running".into(),
        elapsed_ms: Some(134_900),
        workers: WorkerCounts { planned: 12, running: 12, ..WorkerCounts::default() },
        start_skew_p99_ms: Some(18.0),
        vus: 612,
        iterations_per_second: 398.2,
        offered: Some(Offered { per_second: 400.0, is_all: true }),
        requests_per_second: Some(2_391.3),
        iterations: 51_000,
        latency: Some(Latency {
            metric: "http_req_duration".into(),
            p50: 84.0,
            p95: 412.0,
            p99: 1_210.0,
            error: 0.000_5,
            history_p95: vec![0.0, 100.0, 110.0, 210.0, 220.0, 300.0, 310.0, 412.0, 500.0, 480.0, 470.0, 450.0],
        }),
        failed_rate: Some(0.0031),
        checks_rate: Some(0.997),
        thresholds: vec![
            threshold("http_req_duration", Some("name:cart"), "p(95)<600", Some(438.0), true),
            threshold("http_req_failed", None, "rate<0.001", Some(0.0031), false),
        ],
        samples: 1_000_000,
        ..starting()
    }
}

fn block(state: &LiveState, width: usize, height: usize) -> String {
    let lines = block::render(state, Frame { width, height, paint: Paint::OFF });
    assert!(lines.iter().all(|line| measure_text_width(line) <= width), "{lines:#?}");
    assert!(lines.len() < height, "{lines:#?}");
    lines.join("\n")
}

#[test]
fn a_run_that_gets_ready() {
    assert_snapshot!(block(&starting(), 100, 24), @r#"
    checkout.js   01JD8Q…4K   initializing
    workers  4 starting, 8 ready
    ✓ http_req_duration{name:cart}  p(95)<600  p(95)=–
    "#);
}

#[test]
fn a_run_under_way() {
    assert_snapshot!(block(&running(), 100, 24), @r#"
    checkout.js   01JD8Q…4K   running 2m14s of 7m30s ━━━━━━━━━━━───────────────────────────  eta 5m15s
    workers  12 running   start skew p99 18 ms
    load     612 VUs   398.2 iterations/s (offered 400)   2,391 requests/s   0 dropped
    latency  p50 84 ms   p95 412 ms   p99 1.21 s   ±0.05 %    ▂▂▄▄▅▅▇████
    failed   0.31 %   checks 99.7 %
    ✓ http_req_duration{name:cart}  p(95)<600   p(95)=438 ms
    ✗ http_req_failed               rate<0.001  rate=0.0031   so far
    "#);
}

#[test]
fn a_narrow_and_low_terminal() {
    let mut state = running();
    for number in 0..20 {
        state.thresholds.push(threshold("my_trend", Some(&format!("n:{number}")), "avg<1", Some(0.5), number != 19));
    }
    assert_snapshot!(block(&state, 50, 10), @r#"
    checkout.js   01JD8Q…4K   running 2m14s of 7m30s…
    workers  12 running   start skew p99 18 ms
    load     612 VUs   398.2 iterations/s (offered 4…
    latency  p50 84 ms   p95 412 ms   p99 1.21 s   ±…
    failed   0.31 %   checks 99.7 %
    ✗ http_req_failed               rate<0.001  rate…
    ✗ my_trend{n:19}                avg<1       avg=…
    ✓ http_req_duration{name:cart}  p(95)<600   p(95…
      19 more thresholds, none crossed
    "#);
}

#[test]
fn a_test_without_http_that_is_being_stopped() {
    let mut state = running();
    state.status = "stopping (by user)".into();
    state.abort = Some(Abort { cause: AbortCause::User, message: "Ctrl-C".into(), at_once: false });
    state.workers = WorkerCounts { planned: 12, running: 8, done: 2, lost: 2, ..WorkerCounts::default() };
    state.latency = state.latency.map(|latency| Latency { metric: "iteration_duration".into(), ..latency });
    (state.requests_per_second, state.failed_rate, state.checks_rate) = (None, None, None);
    state.thresholds.clear();
    assert_snapshot!(block(&state, 100, 24), @r#"
    checkout.js   01JD8Q…4K   stopping (by user) 2m14s of 7m30s ━━━━━━━━━━━───────────────────────────
    workers  8 running, 2 done   2 lost   start skew p99 18 ms
    load     612 VUs   398.2 iterations/s (offered 400)   0 dropped
    latency  p50 84 ms   p95 412 ms   p99 1.21 s   ±0.05 %   of iteration_duration    ▂▂▄▄▅▅▇████
    "#);
}

#[test]
fn a_line_every_ten_seconds_and_at_every_change() {
    let mut log = Log::default();
    let mut lines = Vec::new();
    let mut states = vec![starting(), starting(), running()];
    for second in 2..25 {
        states.push(LiveState { at: Timestamp(second * 1_000_000), elapsed_ms: Some(134_000), ..running() });
    }
    let mut last = running();
    last.at = Timestamp(25_000_000);
    last.workers.lost = 1;
    states.push(last);
    for state in &states {
        lines.extend(log.next(state));
    }
    assert_snapshot!(lines.join("\n"), @r#"
    initializing   workers 4 starting, 8 ready
    running 2m14s of 7m30s   workers 12 running   612 VUs   398.2 iterations/s (offered 400)   2,391 requests/s   0 dropped   p95 412 ms ±0.05 %   failed 0.31 %   checks 99.7 %   thresholds 1 of 2 crossed so far
    running 2m14s of 7m30s   workers 12 running   612 VUs   398.2 iterations/s (offered 400)   2,391 requests/s   0 dropped   p95 412 ms ±0.05 %   failed 0.31 %   checks 99.7 %   thresholds 1 of 2 crossed so far
    running 2m14s of 7m30s   workers 12 running   612 VUs   398.2 iterations/s (offered 400)   2,391 requests/s   0 dropped   p95 412 ms ±0.05 %   failed 0.31 %   checks 99.7 %   thresholds 1 of 2 crossed so far
    running 2m14s of 7m30s   workers 12 running   1 lost   612 VUs   398.2 iterations/s (offered 400)   2,391 requests/s   0 dropped   p95 412 ms ±0.05 %   failed 0.31 %   checks 99.7 %   thresholds 1 of 2 crossed so far
    "#);
}

#[test]
fn what_there_should_be_stands_beside_what_there_is() {
    let load = |planned_vus, offered| words::load(&LiveState { planned_vus, offered, ..running() })[..2].join("   ");
    assert_eq!(load(Some(612), None), "612 VUs   398.2 iterations/s");
    assert_eq!(load(Some(650), None), "612 VUs (planned 650)   398.2 iterations/s");
    let some = Offered { per_second: 66.67, is_all: false };
    assert_eq!(load(None, Some(some)), "612 VUs   398.2 iterations/s (66.7 of them offered)");
}

#[test]
fn a_long_run_has_a_line_a_minute() {
    let mut log = Log::default();
    let states = (0..3_600).map(|second| LiveState {
        at: Timestamp(second * 1_000_000),
        elapsed_ms: Some(second.unsigned_abs() * 1_000),
        ..running()
    });
    let lines = states.filter_map(|state| log.next(&state)).count();
    assert_eq!(lines, 60 + 50);
}
