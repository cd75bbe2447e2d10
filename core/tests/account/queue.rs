//! Runs that wait for room.

use std::time::Duration;

use lambdaload_core::{
    lifecycle::Phase,
    ports::Clock,
    run::launch::LaunchReply,
    testing::{
        faulty::{Fault, When},
        generator::Event,
    },
    verdict::{Outcome, ReasonCode, Verdict},
};

use crate::{
    account::{Account, Function, Habit, codes, play, play_with, told},
    test::{Test, run_id, seconds},
};

/// Starts runs of two workers each, where there is room for two.
async fn start_all(account: &Account, runs: u32) -> Vec<Test> {
    let mut tests = Vec::new();
    for number in 1..=runs {
        let test = Test::of(number, 2);
        let expected = if number == 1 { LaunchReply::Launched } else { LaunchReply::Queued { place: number - 1 } };
        assert_eq!(account.start(&test).await, Ok(expected));
        tests.push(test);
    }
    tests
}

fn started_at(account: &Account, test: &Test) -> Option<Duration> {
    account.when(&test.id, |event| *event == Event::Started).first().map(|(at, _)| *at)
}

fn no_room(verdict: &Verdict) {
    assert_eq!((verdict.outcome, codes(verdict)), (Outcome::Invalid, vec![ReasonCode::NotStarted]));
    assert_eq!((verdict.status.as_str(), verdict.exit_code), ("timed out", 96));
    assert!(told(verdict).starts_with("there was no room for 2 workers within 1m"), "{}", told(verdict));
}

#[test]
fn three_runs_go_one_after_the_other_where_there_is_room_for_one() {
    play(2, async |account| {
        let tests = start_all(account, 3).await;
        assert_eq!(account.run(&tests[1].id).state.phase, Phase::Queued);
        for test in &tests {
            assert_eq!(account.verdict(&test.id).await.outcome, Outcome::Passed);
        }
        let starts: Vec<_> = tests.iter().map(|test| started_at(account, test).expect("started")).collect();
        assert!(starts.is_sorted() && starts[1] > seconds(15) && starts[2] < seconds(60), "{starts:?}");
        assert_eq!((account.most_taken(), account.most_alive()), (2, 2));
        account.all_over().await;
    });
}

#[test]
fn a_run_waits_only_so_long() {
    play(2, async |account| {
        let long = Test::of(1, 2).lasting(seconds(300));
        account.launch(&long).await;
        let test = Test { queue: seconds(60), ..Test::of(2, 2) };
        assert_eq!(account.start(&test).await, Ok(LaunchReply::Queued { place: 1 }));
        no_room(&account.verdict(&test.id).await);
        let now = account.time().elapsed();
        assert!((seconds(60)..seconds(130)).contains(&now), "{now:?}");
        assert_eq!(started_at(account, &test), None);
        // Asking again is no second chance.
        assert_eq!(account.start(&test).await, Ok(LaunchReply::Launched));
        assert_eq!(account.slots().await.waiting, []);
        assert_eq!(account.verdict(&long.id).await.outcome, Outcome::Passed);
        account.all_over().await;
    });
}

#[test]
fn a_run_that_may_not_wait_is_refused_at_once() {
    play(2, async |account| {
        account.launch(&Test::of(1, 1)).await;
        let test = Test { queue: Duration::ZERO, ..Test::of(2, 2) };
        let reply = account.start(&test).await;
        let Ok(LaunchReply::Refused { message }) = reply else { panic!("{reply:?}") };
        assert_eq!(message, "there was no room for 2 workers now: others had it");
        let other = Test { queue: Duration::ZERO, ..Test::of(3, 1) };
        assert_eq!(account.start(&other).await, Ok(LaunchReply::Launched));
        assert_eq!(codes(&account.verdict(&test.id).await), [ReasonCode::NotStarted]);
        account.verdict(&other.id).await;
        account.all_over().await;
    });
}

#[test]
fn a_run_that_is_stopped_while_it_waits_is_concluded() {
    for is_reaped in [true, false] {
        play(2, async |account| {
            let tests = start_all(account, 3).await;
            account.at(seconds(5)).await;
            assert!(account.stop(&tests[1].id, false).await);
            if is_reaped {
                account.reap(&tests[1].id);
                account.at(seconds(6)).await;
                assert_eq!(account.run(&tests[1].id).state.phase, Phase::Concluded);
            }
            // Otherwise the launcher finds it so when its turn comes.
            let verdict = account.verdict(&tests[1].id).await;
            assert_eq!((codes(&verdict), verdict.exit_code), (vec![ReasonCode::Stopped], 105));
            assert!(told(&verdict).contains("before it started"), "{}", told(&verdict));
            assert_eq!(started_at(account, &tests[1]), None);
            assert_eq!(account.verdict(&tests[2].id).await.outcome, Outcome::Passed);
            assert!(account.time().elapsed() < seconds(60), "{:?}", account.time().elapsed());
            account.all_over().await;
        });
    }
}

#[test]
fn the_next_one_begins_though_the_one_that_should_make_room_dies() {
    play(2, async |account| {
        // It has written the verdict, and then cannot reach the book.
        account.faults(Function::Aggregator).slots.add("", "", When::Always, Fault::Fails);
        let tests = start_all(account, 2).await;
        account.verdict(&tests[0].id).await;
        let judged_at = account.time().elapsed();
        // It tries for half a minute, and then the reaper hears of it.
        account.faults(Function::Launcher).slots.clear();
        while started_at(account, &tests[1]).is_none() {
            account.time().sleep(seconds(1)).await;
        }
        assert!(account.time().elapsed() < judged_at + seconds(40), "{:?}", account.time().elapsed());
        account.faults(Function::Aggregator).clear();
        assert_eq!(account.verdict(&tests[1].id).await.outcome, Outcome::Passed);
        account.all_over().await;
    });
}

#[test]
fn a_next_one_whose_call_is_lost_is_called_again() {
    for habit in
        [Habit::Lost, Habit::Throttled, Habit::Dies(Duration::ZERO), Habit::DiesSilently(Duration::from_millis(1))]
    {
        play(2, async |account| {
            account.habit(Function::Launcher, "resume", 1, habit.clone());
            let tests = start_all(account, 2).await;
            let verdict = account.verdict(&tests[1].id).await;
            assert_eq!(verdict.outcome, Outcome::Passed, "{habit:?}: {}", told(&verdict));
            account.all_over().await;
        });
    }
}

#[test]
fn a_run_that_gets_room_before_it_is_known_to_wait_begins() {
    for second in 15..25 {
        play(2, async |account| {
            account.launch(&Test::of(1, 2)).await;
            account.at(seconds(second)).await;
            // Its launcher takes long to record that it waits; meanwhile the first run ends.
            let slow = Fault::Takes(seconds(4));
            account.faults(Function::Launcher).ledger.add("replace_run", "", When::Always, slow);
            let test = Test::of(2, 2);
            account.start(&test).await.expect("an answer");
            assert_eq!(account.verdict(&test.id).await.outcome, Outcome::Passed);
            assert!(account.time().elapsed() < seconds(90), "{second}: {:?}", account.time().elapsed());
            account.all_over().await;
        });
    }
}

#[test]
fn of_many_launchers_at_once_none_gives_more_room_than_there_is() {
    play(7, async |account| {
        let tests: Vec<Test> = (1..=12).map(|number| Test::of(number, 2 + number as usize % 2)).collect();
        let mut requests = Vec::new();
        for test in &tests {
            requests.push(account.request(test).await);
        }
        for function in [Function::Launcher, Function::Aggregator] {
            account.faults(function).slots.add("", "", When::Every(3), Fault::Takes(Duration::from_millis(300)));
            account.faults(function).slots.add("", "", When::Every(7), Fault::AnswerIsLost);
        }
        let replies = futures::future::join_all(requests.iter().map(|request| account.ask(request))).await;
        let launched = replies.iter().filter(|reply| **reply == Ok(LaunchReply::Launched)).count();
        assert!((2..=3).contains(&launched), "{replies:?}");
        for test in &tests {
            let verdict = account.verdict(&test.id).await;
            assert_eq!(verdict.outcome, Outcome::Passed, "{}", told(&verdict));
        }
        assert!(account.most_taken() <= 7 && account.most_alive() <= 7);
        account.all_over().await;
    });
}

#[test]
fn a_run_that_no_longer_fits_holds_up_nobody() {
    // What an aggregator knows of the deployment is as old as itself; this one lives for six seconds.
    play_with(4, seconds(66), async |account| {
        account.launch(&Test::of(1, 4).lasting(seconds(20))).await;
        assert_eq!(account.start(&Test::of(2, 3)).await, Ok(LaunchReply::Queued { place: 1 }));
        assert_eq!(account.start(&Test::of(3, 2)).await, Ok(LaunchReply::Queued { place: 2 }));
        account.resize(2);
        assert_eq!(account.verdict(&run_id(3)).await.outcome, Outcome::Passed);
        let verdict = account.verdict(&run_id(2)).await;
        assert_eq!(codes(&verdict), [ReasonCode::NotStarted]);
        assert!(told(&verdict).starts_with("3 workers asked for, and the stack may have 2"), "{}", told(&verdict));
        assert!(account.time().elapsed() < seconds(60), "{:?}", account.time().elapsed());
        account.all_over().await;
    });
}

#[test]
fn a_run_that_everybody_forgot_loses_its_room() {
    play(2, async |account| {
        let test = Test::of(1, 2);
        account.launch(&test).await;
        account.kill(Function::Aggregator, &test.id);
        // All appointments are missed.
        account.kill(Function::Reaper, &test.id);
        let until = account.slots().await.held[&test.id].until;
        let second = Test { queue: seconds(3_000), ..Test::of(2, 2) };
        assert_eq!(account.start(&second).await, Ok(LaunchReply::Queued { place: 1 }));
        account.time().sleep(until.since(account.time().clock().now()) + seconds(1)).await;
        assert_eq!(account.start(&second).await, Ok(LaunchReply::Launched));
        assert_eq!(account.verdict(&second.id).await.outcome, Outcome::Passed);
    });
}
