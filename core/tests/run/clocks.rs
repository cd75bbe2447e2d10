//! Clocks on the walls of workers that are wrong, or step while a run goes on.

use std::time::Duration;

use lambdaload_core::{
    live::LiveState,
    ports::keys,
    testing::generator::{Event, SampleLine},
    timeline::Timeline,
    verdict::{Outcome, Values, Verdict},
};

use crate::script::{Test, seconds, worker};

const HOUR: i64 = 3_600_000_000;

#[test]
fn a_clock_that_is_a_little_wrong_shifts_its_worker_by_as_much() {
    let fast_clocks = [(worker(2), 40_000), (worker(3), -60_000)].into();
    Test { fast_clocks, ..Test::of(3) }.play(async |scene| {
        assert_eq!(scene.verdict().await.outcome, Outcome::NoThresholds);
        let mut resumed = scene.when(|event| *event == Event::Resumed);
        resumed.sort_by_key(|(_, number)| *number);
        let [(first, _), (early, _), (late, _)] = resumed[..] else { panic!("{resumed:?}") };
        assert_eq!(
            (first.checked_sub(early).unwrap(), late.checked_sub(first).unwrap()),
            (Duration::from_millis(40), Duration::from_millis(60))
        );
    });
}

#[test]
fn a_clock_that_is_an_hour_slow_keeps_nobody_waiting_and_shows_in_the_skew() {
    Test { fast_clocks: [(worker(2), -HOUR)].into(), ..Test::of(3) }.play(async |scene| {
        let verdict = scene.verdict().await;
        assert_eq!(verdict.outcome, Outcome::NoThresholds, "{:?}", verdict.reasons);
        assert!(scene.time.elapsed() < seconds(20), "{:?}", scene.time.elapsed());
        assert!(verdict.workers[1].skew_ms.is_some_and(|skew| skew < -3_500_000.0), "{:?}", verdict.workers[1]);
    });
}

#[test]
fn a_clock_that_is_an_hour_fast_loses_nothing() {
    Test { fast_clocks: [(worker(3), HOUR)].into(), ..Test::of(3) }.play(async |scene| {
        let verdict = scene.verdict().await;
        assert_eq!(verdict.outcome, Outcome::NoThresholds, "{:?}", verdict.reasons);
        assert_eq!(verdict.samples.read, verdict.samples.merged);
        assert_near(verdict.duration_ms, 10_000.0);
        assert_eq!(vus(&verdict), (6.0, 6.0), "the VUs of all workers add up, whatever their clocks show");
    });
}

/// As long as it takes: rates and VUs depend on time.
const TIMED: &str = r#"{
    "http_reqs":[{"threshold":"rate>29","abortOnFail":true,"delayAbortEval":"3s"}, "rate<31"],
    "vus":["value==6"],
    "http_req_duration":["p(95)<99"]
}"#;

fn assert_near(millis: f64, expected: f64) {
    assert!((millis - expected).abs() < 300.0, "{millis} ms, not {expected}");
}

/// The last and the greatest number of VUs.
fn vus(verdict: &Verdict) -> (f64, f64) {
    match verdict.summary.metrics.iter().find(|m| m.name == "vus").map(|m| &m.values) {
        Some(Values::Gauge { value, max, .. }) => (value.0, max.0),
        other => panic!("{other:?}"),
    }
}

/// Runs with walls that step; returns the verdict, the timeline, and how long the run took.
fn stepping(steps: &[(Duration, i64)]) -> (Verdict, Timeline, Duration) {
    Test { thresholds: TIMED, steps: steps.to_vec(), ..Test::of(3) }.play(async |scene| {
        scene.start().await;
        let aggregator = scene.aggregator();
        let verdict = aggregator.outcome().await.expect("a verdict");
        let elapsed: Vec<u64> = aggregator.live().iter().filter_map(|state: &LiveState| state.elapsed_ms).collect();
        assert!(elapsed.is_sorted() && elapsed.iter().all(|at| *at < 20_000), "{elapsed:?}");
        let timeline = serde_json::from_slice(&scene.store.peek(&keys::timeline(&scene.id)).expect("stored"));
        (verdict, timeline.expect("reads"), scene.time.elapsed())
    })
}

#[test]
fn walls_that_step_change_nothing() {
    let (still, still_timeline, took) = stepping(&[]);
    assert_eq!(still.outcome, Outcome::Passed, "{:?}", still.reasons);
    // k6 is ready after a second, and all start soon after that.
    for (when, steps) in [
        ("forward", vec![(seconds(5), HOUR)]),
        ("backward", vec![(seconds(5), -HOUR)]),
        ("there and back", vec![(seconds(4), HOUR), (seconds(6), -HOUR)]),
        ("by a few seconds", vec![(seconds(4), 5_000_000), (seconds(7), -3_000_000)]),
        ("before the start", vec![(Duration::from_millis(500), -HOUR)]),
        ("just after the start", vec![(Duration::from_millis(2_600), HOUR)]),
        ("at the end", vec![(Duration::from_millis(11_900), -HOUR)]),
    ] {
        let (verdict, timeline, stepped_took) = stepping(&steps);
        assert_eq!((verdict.outcome, verdict.exit_code), (Outcome::Passed, 0), "{when}: {:?}", verdict.reasons);
        assert_eq!(
            (verdict.samples.read, verdict.samples.merged),
            (still.samples.read, still.samples.merged),
            "{when}"
        );
        assert_eq!(verdict.samples.missing, [], "{when}");
        assert_near(verdict.duration_ms, still.duration_ms);
        assert_eq!(vus(&verdict), vus(&still), "{when}");
        assert!(timeline.slices.len() <= still_timeline.slices.len() + 1, "{when}: {}", timeline.slices.len());
        assert!(stepped_took < took + seconds(2), "{when}: {stepped_took:?}");
    }
}

/// The newest value of a gauge is the last one, also after the wall went back.
#[test]
fn a_gauge_keeps_its_last_value_over_a_step() {
    let declared = r#"{"type":"Metric","data":{"name":"level","type":"gauge","contains":"default"},"metric":"level"}"#;
    let thresholds = r#"{"level":["value==3"]}"#;
    let test = Test { thresholds, steps: vec![(seconds(6), -HOUR)], ..Test::of(1) };
    let test = test.with(1, |k6| {
        k6.samples.push((Duration::ZERO, SampleLine::Raw(declared.into())));
        *k6 = std::mem::take(k6).sample(seconds(2), "level", 7.0, "{}").sample(seconds(9), "level", 3.0, "{}");
    });
    let verdict = test.verdict();
    assert_eq!(verdict.outcome, Outcome::Passed, "{:?}", verdict.thresholds);
}
