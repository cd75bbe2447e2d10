//! Clocks on the walls of workers that are wrong.

use std::time::Duration;

use lambdaload_core::{testing::generator::Event, verdict::Outcome};

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
    });
}
