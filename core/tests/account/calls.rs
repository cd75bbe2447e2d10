//! Calls that come twice, late, or not at all, of each function.

use std::time::Duration;

use lambdaload_core::{
    run::launch::LaunchReply,
    testing::{
        faulty::{Fault, When},
        generator::Event,
    },
    verdict::{Outcome, ReasonCode},
};

use crate::{
    account::{FUNCTIONS, Function, Habit, codes, play, told},
    test::{Test, seconds},
};

#[test]
fn what_is_called_twice_is_as_good_as_once() {
    for function in FUNCTIONS {
        for later in [Duration::ZERO, Duration::from_millis(700), seconds(6), seconds(25), seconds(59)] {
            play(3, async |account| {
                (1..=4).for_each(|nth| account.habit(function, "", nth, Habit::Twice(later)));
                let verdict = account.verdict_of(&Test::of(1, 3)).await;
                assert_eq!(verdict.outcome, Outcome::Passed, "{function:?} {later:?}: {}", told(&verdict));
                assert_eq!(verdict.samples.merged, verdict.samples.read);
                assert_eq!(account.ledger().starts().len(), 1);
                assert_eq!((account.most_taken(), account.most_alive()), (3, 3), "{function:?} {later:?}");
            });
        }
    }
}

#[test]
fn an_aggregator_that_comes_late_or_is_called_again_conducts_the_run() {
    // Workers wait half a minute for it.
    for late in [1, 10, 24] {
        play(3, async |account| {
            account.habit(Function::Aggregator, "", 1, Habit::Late(seconds(late)));
            let verdict = account.verdict_of(&Test::of(1, 3)).await;
            assert_eq!(verdict.outcome, Outcome::Passed, "{late}: {}", told(&verdict));
        });
    }
    // One that is reported dead is called again before that; one whose call fails likewise.
    for habit in [Habit::Dies(Duration::ZERO), Habit::Dies(seconds(3)), Habit::Dies(seconds(12)), Habit::Fails] {
        play(3, async |account| {
            account.habit(Function::Aggregator, "", 1, habit.clone());
            let verdict = account.verdict_of(&Test::of(1, 3)).await;
            assert_eq!(verdict.outcome, Outcome::Passed, "{habit:?}: {}", told(&verdict));
            assert!(account.time().elapsed() < seconds(700));
        });
    }
}

#[test]
fn a_run_that_no_aggregator_conducts_in_time_is_invalid_and_ends() {
    for habit in [Habit::Lost, Habit::Throttled, Habit::Late(seconds(50)), Habit::DiesSilently(seconds(8))] {
        play(3, async |account| {
            account.habit(Function::Aggregator, "", 1, habit.clone());
            let test = Test::of(1, 3).lasting(seconds(120));
            account.launch(&test).await;
            let verdict = account.verdict(&test.id).await;
            assert_eq!((verdict.outcome, verdict.exit_code), (Outcome::Invalid, 96), "{habit:?}");
            assert!(
                told(&verdict).contains("no sign of the run's aggregator for 30 s"),
                "{habit:?}: {}",
                told(&verdict)
            );
            assert!(account.time().elapsed() < seconds(400), "{habit:?}: {:?}", account.time().elapsed());
            account.all_over().await;
        });
    }
}

#[test]
fn an_aggregator_that_dies_again_and_again_is_called_only_so_often() {
    play(3, async |account| {
        (1..=20).for_each(|nth| account.habit(Function::Aggregator, "", nth, Habit::Dies(seconds(7))));
        let test = Test::of(1, 3).lasting(seconds(200));
        account.launch(&test).await;
        let verdict = account.verdict(&test.id).await;
        assert_eq!(codes(&verdict).last(), Some(&ReasonCode::AggregatorLost), "{}", told(&verdict));
        assert_eq!(account.begun(Function::Aggregator, "").len(), 4);
        assert_eq!(account.run(&test.id).rescues, 3);
        account.all_over().await;
    });
}

#[test]
fn a_worker_that_does_not_come_is_named() {
    for (habit, code, words, within) in [
        (Habit::Throttled, ReasonCode::WorkerNotLaunched, "worker 2: Lambda did not start it in time", 90),
        (Habit::Fails, ReasonCode::WorkerNotLaunched, "worker 2: rate exceeded", 30),
        (Habit::Dies(Duration::ZERO), ReasonCode::WorkerNotLaunched, "", 30),
        (Habit::Lost, ReasonCode::DeadlinePassed, "not ready after 130 s: worker 2", 150),
        (
            Habit::DiesSilently(Duration::ZERO),
            ReasonCode::WorkerLost,
            "worker 2 was lost before it started: gave no sign of life for 1",
            60,
        ),
    ] {
        play(3, async |account| {
            account.habit(Function::Worker, r#""index":1,"#, 1, habit.clone());
            let test = Test::of(1, 3);
            account.launch(&test).await;
            let verdict = account.verdict(&test.id).await;
            assert_eq!(verdict.outcome, Outcome::Invalid, "{habit:?}");
            if !words.is_empty() {
                assert!(told(&verdict).contains(words), "{habit:?}: {}", told(&verdict));
                assert_eq!(codes(&verdict)[0], code, "{habit:?}: {}", told(&verdict));
            }
            assert!(account.time().elapsed() < seconds(within), "{habit:?}: {:?}", account.time().elapsed());
            let worker_2 = verdict.reasons.iter().any(|reason| reason.worker == Some(2));
            assert!(worker_2, "{habit:?}: {}", told(&verdict));
            account.all_over().await;
        });
    }
}

#[test]
fn a_worker_that_comes_late_leaves_or_is_waited_for() {
    for (late, outcome) in [(10, Outcome::Passed), (55, Outcome::Passed), (140, Outcome::Invalid)] {
        play(3, async |account| {
            account.habit(Function::Worker, r#""index":1,"#, 1, Habit::Late(seconds(late)));
            let test = Test::of(1, 3);
            let verdict = account.verdict_of(&test).await;
            assert_eq!(verdict.outcome, outcome, "{late}: {}", told(&verdict));
            let resumed = account.when(&test.id, |event| *event == Event::Resumed).len();
            assert_eq!(resumed, if outcome == Outcome::Passed { 3 } else { 0 });
        });
    }
}

#[test]
fn a_worker_that_dies_is_named_with_what_is_known_of_it() {
    for (habit, words) in [
        (Habit::Dies(seconds(10)), "worker 2: Lambda killed it, which it does when a function needs more memory"),
        (Habit::DiesSilently(seconds(10)), "worker 2 was lost while it ran: gave no sign of life for 1"),
    ] {
        play(3, async |account| {
            account.habit(Function::Worker, r#""index":1,"#, 1, habit.clone());
            let test = Test::of(1, 3).lasting(seconds(100));
            account.launch(&test).await;
            let verdict = account.verdict(&test.id).await;
            assert_eq!((verdict.outcome, codes(&verdict)), (Outcome::Invalid, vec![ReasonCode::WorkerLost]));
            assert!(told(&verdict).starts_with(words), "{habit:?}: {}", told(&verdict));
            assert_eq!(account.when(&test.id, |event| *event == Event::Teardown).len(), 1);
            account.all_over().await;
        });
    }
}

#[test]
fn what_was_reported_of_a_second_delivery_does_no_harm_to_the_first() {
    for at in [Duration::ZERO, seconds(8)] {
        play(3, async |account| {
            let test = Test::of(1, 3).lasting(seconds(40));
            account.launch(&test).await;
            account.at(seconds(6) + at).await;
            // Two deliveries of one call: one was throttled, or crashed, while the other has the segment.
            account.report_failed(&test.id, 1, "EventAgeExceeded");
            account.report_failed(&test.id, 1, "RetriesExhausted");
            let verdict = account.verdict(&test.id).await;
            assert_eq!(verdict.outcome, Outcome::Passed, "{}", told(&verdict));
            account.all_over().await;
        });
    }
}

#[test]
fn a_launcher_that_dies_at_any_moment_leaves_a_run_that_ends() {
    // Every call of its ports takes a while, so that there are moments between them.
    for millis in (0..3_000).step_by(150) {
        for asks_again in [false, true] {
            play(2, async |account| {
                let takes = Fault::Takes(Duration::from_millis(100));
                let faults = account.faults(Function::Launcher);
                for faults in [&faults.store, &faults.ledger, &faults.slots] {
                    faults.add("", "", When::Always, takes);
                }
                account.habit(Function::Launcher, "ask", 1, Habit::DiesSilently(Duration::from_millis(millis)));
                let test = Test::of(1, 2);
                let first = account.start(&test).await;
                faults.clear();
                if asks_again {
                    assert_eq!(account.start(&test).await, Ok(LaunchReply::Launched), "{millis}");
                    let verdict = account.verdict(&test.id).await;
                    assert_eq!(verdict.outcome, Outcome::Passed, "{millis}: {}", told(&verdict));
                } else {
                    account.time().sleep(seconds(450)).await;
                    if account.ledger().peek(&test.id).is_some() {
                        let verdict = account.verdict(&test.id).await;
                        let is_ok = verdict.outcome == Outcome::Passed;
                        assert!(is_ok || verdict.outcome == Outcome::Invalid, "{millis}: {}", told(&verdict));
                    } else {
                        assert!(first.is_err(), "{millis}");
                    }
                }
                account.all_over().await;
            });
        }
    }
}

#[test]
fn a_reaper_that_fails_is_tried_again_and_the_run_ends() {
    play(3, async |account| {
        account.habit(Function::Aggregator, "", 1, Habit::DiesSilently(seconds(5)));
        account.habit(Function::Reaper, "", 1, Habit::Dies(Duration::ZERO));
        let verdict = account.verdict_of(&Test::of(1, 3)).await;
        assert_eq!(verdict.outcome, Outcome::Invalid, "{}", told(&verdict));
    });
}
