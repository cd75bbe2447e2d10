//! Aggregators that follow one another.

use std::time::Duration;

use lambdaload_core::{
    lifecycle::AbortCause,
    live::LiveState,
    ports::keys,
    testing::{
        faulty::{Fault, When},
        generator::{Event, K6Script},
    },
    verdict::{Outcome, Verdict},
};

use crate::{
    account::{Account, Function, Habit, play_with, told},
    test::{Test, seconds},
};

/// A run of so long, with samples all the time and thresholds of every kind.
fn long(lasts: Duration) -> Test {
    let thresholds = r#"{"http_req_duration":["p(95)<90","avg<30.5","max<101"],"http_reqs":["count>10","rate>0.5"],
        "http_req_duration{name:page 1}":["med<60"],"http_req_failed":["rate<0.1"]}"#;
    let test = Test { thresholds, ..Test::of(1, 3) }.lasting(lasts);
    (1..=3).fold(test, |test, number| test.with(number, |k6| *k6 = traffic(k6.clone(), lasts, number)))
}

/// A request every two seconds.
fn traffic(mut k6: K6Script, lasts: Duration, number: usize) -> K6Script {
    k6.samples.clear();
    for n in 0..lasts.as_secs() / 2 {
        let at = seconds(n * 2) + Duration::from_millis(50 + 10 * number as u64);
        let tags = format!(r#"{{"name":"page {}"}}"#, n % 3);
        let value = ((n * 37) % 100) as f64 + number as f64 / 10.0;
        k6 = k6.sample(at, "http_reqs", 1.0, &tags).sample(at, "http_req_duration", value, &tags);
        k6 = k6.sample(at, "http_req_failed", f64::from(u32::from(n % 50 == 0)), &tags).sample(
            at,
            "iterations",
            1.0,
            "{}",
        );
    }
    k6
}

async fn verdict_of(account: &Account, test: &Test) -> Verdict {
    account.launch(test).await;
    account.verdict(&test.id).await
}

fn alone(test: &Test) -> Verdict {
    play_with(3, seconds(100_000), async |account| verdict_of(account, test).await)
}

/// Without when thresholds were first seen not to hold, which a look less or more changes.
fn without_moments(mut verdict: Verdict) -> Verdict {
    verdict.thresholds.iter_mut().for_each(|threshold| threshold.first_crossed_ms = None);
    verdict
}

fn aggregators(account: &Account) -> usize {
    account.begun(Function::Aggregator, "").len()
}

#[test]
fn after_thirty_successions_the_verdict_is_the_same() {
    let test = long(seconds(600));
    let alone = alone(&test);
    assert_eq!((alone.outcome, alone.thresholds.len()), (Outcome::Failed, 7));
    let last_crossed = alone.thresholds.iter().filter_map(|threshold| threshold.first_crossed_ms).max();
    assert!(last_crossed.is_some());
    // Each hands over after 19 seconds.
    play_with(3, seconds(79), async |account| {
        account.launch(&test).await;
        let mut shown: Vec<LiveState> = Vec::new();
        let mut beats = Vec::new();
        while account.run(&test.id).state.phase < lambdaload_core::lifecycle::Phase::Concluded {
            account.time().sleep(seconds(1)).await;
            beats.push((account.time().elapsed(), account.run(&test.id).aggregator_beat));
            let live = account.store().peek(&keys::live(&test.id));
            shown.extend(live.and_then(|json| serde_json::from_slice(&json).ok()));
        }
        let verdict = account.verdict(&test.id).await;
        assert!(aggregators(account) > 30, "{}", aggregators(account));
        assert_eq!(without_moments(verdict.clone()), without_moments(alone.clone()));
        for (ours, theirs) in verdict.thresholds.iter().zip(&alone.thresholds) {
            let (ours, theirs) = (ours.first_crossed_ms, theirs.first_crossed_ms);
            let apart = ours.zip(theirs).map(|(ours, theirs)| ours.abs_diff(theirs));
            assert!(
                ours.is_some() == theirs.is_some() && apart.is_none_or(|apart| apart <= 4_000),
                "{ours:?} {theirs:?}"
            );
        }
        // Nobody sees a seam: signs of life come all the time, and what is shown never goes back.
        beats.dedup_by_key(|(_, beat)| *beat);
        assert!(beats.windows(2).all(|pair| pair[1].0 <= pair[0].0 + seconds(6)), "{beats:?}");
        shown.dedup_by_key(|live| live.at);
        for pair in shown.windows(2) {
            assert!(pair[0].samples <= pair[1].samples && pair[0].elapsed_ms <= pair[1].elapsed_ms, "{pair:?}");
        }
        account.all_over().await;
    });
}

#[test]
fn a_successor_reads_only_what_is_new() {
    let test = long(seconds(300));
    play_with(3, seconds(160), async |account| {
        account.launch(&test).await;
        while aggregators(account) < 2 {
            account.time().sleep(seconds(1)).await;
        }
        let before = account.store().calls().get;
        account.time().sleep(seconds(3)).await;
        let read = account.store().calls().get - before;
        assert!(read < 20, "{read}");
        assert_eq!(account.store().keys_with("checkpoints").len(), 1);
        account.verdict(&test.id).await;
        account.all_over().await;
    });
}

#[test]
fn without_a_checkpoint_that_can_be_read_all_chunks_are() {
    let test = long(seconds(200));
    let alone = alone(&test);
    for fault in [Fault::Fails, Fault::Corrupts, Fault::NeverAnswers] {
        play_with(3, seconds(110), async |account| {
            account.faults(Function::Aggregator).store.add("get", "checkpoints", When::Always, fault);
            let verdict = verdict_of(account, &test).await;
            assert_eq!(without_moments(verdict), without_moments(alone.clone()), "{fault:?}");
            assert!(aggregators(account) > 3);
            account.all_over().await;
        });
    }
    // One that could not be written is no checkpoint either.
    play_with(3, seconds(110), async |account| {
        account.faults(Function::Aggregator).store.add("put_new", "checkpoints", When::Always, Fault::Fails);
        assert_eq!(without_moments(verdict_of(account, &test).await), without_moments(alone.clone()));
        account.all_over().await;
    });
}

#[test]
fn a_successor_that_dies_or_does_not_come_is_called_again() {
    let test = long(seconds(200));
    let alone = alone(&test);
    for habit in [
        Habit::Lost,
        Habit::Fails,
        Habit::Throttled,
        Habit::Late(seconds(30)),
        Habit::Twice(seconds(3)),
        Habit::Dies(Duration::ZERO),
        Habit::Dies(seconds(2)),
        Habit::Dies(seconds(9)),
    ] {
        play_with(3, seconds(110), async |account| {
            account.habit(Function::Aggregator, "", 2, habit.clone());
            let verdict = verdict_of(account, &test).await;
            assert_eq!(
                without_moments(verdict.clone()),
                without_moments(alone.clone()),
                "{habit:?}: {}",
                told(&verdict)
            );
            assert!(account.run(&test.id).rescues <= 1, "{habit:?}");
            account.all_over().await;
        });
    }
}

#[test]
fn an_aggregator_that_nobody_succeeds_fails_and_the_reaper_calls_another() {
    let test = long(seconds(200));
    play_with(3, seconds(110), async |account| {
        (2..=6).for_each(|nth| account.habit(Function::Aggregator, "", nth, Habit::Lost));
        let verdict = verdict_of(account, &test).await;
        assert_eq!((verdict.outcome, account.run(&test.id).rescues), (Outcome::Failed, 1), "{}", told(&verdict));
        account.all_over().await;
    });
}

#[test]
fn two_chains_of_aggregators_become_one() {
    let test = long(seconds(400));
    let alone = alone(&test);
    play_with(3, seconds(110), async |account| {
        account.habit(Function::Aggregator, "", 1, Habit::Twice(seconds(5)));
        account.habit(Function::Aggregator, "", 3, Habit::Twice(seconds(5)));
        assert_eq!(without_moments(verdict_of(account, &test).await), without_moments(alone.clone()));
        let starts = account.begun(Function::Aggregator, "");
        assert!((10..=14).contains(&starts.len()), "{starts:?}");
        account.all_over().await;
    });
}

#[test]
fn deadlines_are_not_prolonged_by_successions() {
    // Nobody but the aggregator knows how long a worker has been waited for that never came.
    let test = long(seconds(60));
    let stopped_at = |life| {
        play_with(3, life, async |account| {
            account.habit(Function::Worker, r#""index":1,"#, 1, Habit::Lost);
            let verdict = verdict_of(account, &test).await;
            let abort = verdict.abort.clone().expect("stopped");
            assert_eq!((verdict.outcome, abort.cause), (Outcome::Invalid, AbortCause::Deadline), "{}", told(&verdict));
            assert!(told(&verdict).contains("not ready after 130 s: worker 2"), "{}", told(&verdict));
            let now = account.time().elapsed();
            account.all_over().await;
            now
        })
    };
    let (alone, many) = (stopped_at(seconds(10_000)), stopped_at(seconds(68)));
    assert!(many.abs_diff(alone) < seconds(20), "{alone:?} {many:?}");
}

#[test]
fn a_silent_worker_is_lost_though_its_aggregators_change() {
    let test = long(seconds(400));
    let lost_at = |life| {
        play_with(3, life, async |account| {
            account.launch(&test).await;
            account.at(seconds(100)).await;
            account.kill_worker(&test.id, 2);
            let verdict = account.verdict(&test.id).await;
            let now = account.time().elapsed();
            assert!(told(&verdict).starts_with("worker 2 was lost while it ran"), "{}", told(&verdict));
            account.all_over().await;
            now
        })
    };
    // Each hands over after 4 seconds.
    let (alone, many) = (lost_at(seconds(10_000)), lost_at(seconds(64)));
    assert!(many.abs_diff(alone) < seconds(8), "{alone:?} {many:?}");
}

#[test]
fn a_run_that_ends_while_it_is_handed_over_has_one_verdict() {
    let test = long(seconds(60));
    let alone = alone(&test);
    for life in 118..=136 {
        play_with(3, seconds(life), async |account| {
            let verdict = verdict_of(account, &test).await;
            assert_eq!(without_moments(verdict), without_moments(alone.clone()), "{life}");
            let torn_down = account.when(&test.id, |event| *event == Event::Teardown).len();
            assert_eq!((torn_down, account.ledger().starts().len()), (1, 1), "{life}");
            account.all_over().await;
        });
    }
}
