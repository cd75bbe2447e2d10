//! Schedules that fire: once, twice, too early, too late, and what they start.

use std::time::Duration;

use lambdaload_core::{
    ids::RunId,
    ports::{StoredTests as _, Timestamp},
    run::{
        fire::FireRequest,
        launch::{LaunchReply, LaunchRequest},
    },
    schedule::{Fired, Origin, Overlap, ScheduleName, StoredTest},
    testing::{
        contract::sample_stored,
        faulty::{Fault, When},
        generator::Event,
    },
    verdict::{Outcome, ReasonCode, Verdict},
};
use serde_json::Value;

use crate::{
    account::{Account, Function, Habit, codes, play, told},
    test::{Test, seconds},
};

const TOPIC: &str = "arn:aws:sns:eu-central-1:123456789012:verdicts";

fn nightly() -> ScheduleName {
    ScheduleName::parse("nightly").expect("a name")
}

/// A minute as the Scheduler writes it.
fn text(minute: u32) -> String {
    format!("2026-11-22T12:{minute:02}:00Z")
}

fn moment(minute: u32) -> Timestamp {
    Timestamp(1_795_348_800_000_000 + i64::from(minute) * 60_000_000)
}

fn run_at(minute: u32) -> RunId {
    RunId::derived(moment(minute), "nightly")
}

fn request_at(minute: u32) -> LaunchRequest {
    LaunchRequest::Fire(FireRequest {
        version: None,
        schedule: nightly(),
        scheduled_at: Some(text(minute)),
        run: None,
        tries: 0,
    })
}

/// The Scheduler's call.
fn fires(account: &Account, minute: u32) {
    let event = serde_json::to_value(request_at(minute)).expect("JSON");
    assert!(account.call(Function::Launcher, event));
}

/// What its launcher says, which nobody hears.
async fn fired(account: &Account, minute: u32) -> LaunchReply {
    account.ask(&request_at(minute)).await.expect("an answer")
}

/// The plan of a test, which may run in these minutes.
async fn planned(account: &Account, test: &Test, minutes: u32) -> Box<lambdaload_core::plan::Plan> {
    let mut plan = None;
    for minute in 0..minutes {
        let LaunchRequest::Start { plan: of_it, .. } =
            account.request(&Test { id: run_at(minute), ..test.clone() }).await
        else {
            panic!("no start");
        };
        plan = Some(of_it);
    }
    plan.expect("a minute")
}

/// Stores a test that may fire in ten minutes.
async fn store(account: &Account, test: &Test, change: impl FnOnce(&mut StoredTest)) {
    let plan = *planned(account, test, 10).await;
    let mut stored = StoredTest { plan, notify: Some(TOPIC.into()), ..sample_stored("nightly") };
    change(&mut stored);
    account.inner.tests.create(&stored).await.expect("stored");
}

async fn stored(account: &Account) -> StoredTest {
    account.inner.tests.test(&nightly()).await.expect("answers").expect("stored")
}

async fn change(account: &Account, change: impl FnOnce(&mut StoredTest)) {
    let mut test = stored(account).await;
    change(&mut test);
    account.inner.tests.replace(&test).await.expect("replaced");
}

/// The verdict of a firing that nobody waits for.
async fn judged(account: &Account, minute: u32) -> Verdict {
    while account.ledger().peek(&run_at(minute)).is_none() {
        assert!(account.time().elapsed() < seconds(3_600), "there is no run of minute {minute}");
        account.time().sleep(seconds(1)).await;
    }
    account.verdict(&run_at(minute)).await
}

/// Why a firing came to nothing.
async fn why(account: &Account, minute: u32) -> (bool, String) {
    match stored(account).await.firing(&run_at(minute)).expect("remembered").fired.clone() {
        Fired::Skipped { why } => (true, why),
        Fired::Refused { why } => (false, why),
        Fired::Started { .. } => panic!("it was started"),
    }
}

fn subjects(account: &Account) -> Vec<String> {
    account
        .inner
        .topic
        .told()
        .into_iter()
        .map(|(topic, message)| {
            assert_eq!(topic, TOPIC);
            message.subject
        })
        .collect()
}

fn started_at(account: &Account, minute: u32) -> Option<Duration> {
    account.when(&run_at(minute), |event| *event == Event::Started).first().map(|(at, _)| *at)
}

#[test]
fn a_firing_is_a_run_that_says_of_what_it_is_and_is_told() {
    play(10, async |account| {
        store(account, &Test::of(1, 3), |_| {}).await;
        fires(account, 0);
        let verdict = judged(account, 0).await;
        assert_eq!(verdict.outcome, Outcome::Passed, "{}", told(&verdict));
        assert_eq!(verdict.origin, Some(Origin { schedule: nightly(), version: 1, scheduled_for: Some(moment(0)) }));
        account.all_over().await;
        assert_eq!(subjects(account), ["lambdaload: nightly passed: all 2 thresholds hold"]);
        let firings = stored(account).await.firings;
        assert_eq!((firings.len(), &firings[0].fired), (1, &Fired::Started { after: None }));
    });
}

#[test]
fn one_scheduled_time_is_one_run_however_often_it_is_delivered() {
    for later in [Duration::ZERO, Duration::from_millis(30), seconds(1), seconds(8), seconds(59), seconds(600)] {
        play(10, async |account| {
            store(account, &Test::of(1, 3), |_| {}).await;
            // Each of the ports' calls takes a while, so that both are at every step together.
            let faults = account.faults(Function::Launcher);
            for faults in [&faults.store, &faults.ledger, &faults.slots] {
                faults.add("", "", When::Always, Fault::Takes(Duration::from_millis(50)));
            }
            account.habit(Function::Launcher, "", 1, Habit::Twice(later));
            fires(account, 0);
            let verdict = judged(account, 0).await;
            assert_eq!(verdict.outcome, Outcome::Passed, "{later:?}: {}", told(&verdict));
            account.all_over().await;
            assert_eq!(account.begun(Function::Launcher, "nightly").len(), 2);
            assert_eq!((account.most_taken(), account.most_alive()), (3, 3), "{later:?}");
            assert_eq!((stored(account).await.firings.len(), subjects(account).len()), (1, 1), "{later:?}");
        });
    }
}

#[test]
fn a_firing_is_skipped_while_an_earlier_run_goes_on() {
    play(10, async |account| {
        store(account, &Test::of(1, 2).lasting(seconds(100)), |_| {}).await;
        assert_eq!(fired(account, 0).await, LaunchReply::Launched);
        account.at(seconds(60)).await;
        let expected = format!("run {} of this schedule was still under way", run_at(0));
        // Delivered again, even when the earlier run is over, it stays skipped.
        for at in [60, 200] {
            account.at(seconds(at)).await;
            assert_eq!(fired(account, 1).await, LaunchReply::Refused { message: expected.clone() });
        }
        assert_eq!(why(account, 1).await, (true, expected));
        assert!(account.ledger().peek(&run_at(1)).is_none());
        assert_eq!(fired(account, 5).await, LaunchReply::Launched);
        assert_eq!(judged(account, 5).await.outcome, Outcome::Passed);
        account.all_over().await;
    });
}

#[test]
fn a_firing_waits_for_an_earlier_run_where_it_should() {
    play(10, async |account| {
        let change = |test: &mut StoredTest| test.overlap = Overlap::Queue;
        store(account, &Test::of(1, 2).lasting(seconds(100)), change).await;
        assert_eq!(fired(account, 0).await, LaunchReply::Launched);
        for minute in [1, 2] {
            account.at(seconds(20 * u64::from(minute))).await;
            assert_eq!(fired(account, minute).await, LaunchReply::Queued { place: minute });
        }
        // A run of nobody's schedule does not wait for them.
        account.launch(&Test::of(7, 2)).await;
        for minute in 0..3 {
            let verdict = judged(account, minute).await;
            assert_eq!(verdict.outcome, Outcome::Passed, "{minute}: {}", told(&verdict));
        }
        let starts: Vec<u64> = (0..3).map(|minute| started_at(account, minute).expect("started").as_secs()).collect();
        assert!(starts[1] >= starts[0] + 100 && starts[2] >= starts[1] + 100, "{starts:?}");
        account.all_over().await;
        assert_eq!(subjects(account).len(), 3);
    });
}

#[test]
fn a_firing_waits_for_one_that_has_only_just_been_decided() {
    play(10, async |account| {
        let change = |test: &mut StoredTest| test.overlap = Overlap::Queue;
        store(account, &Test::of(1, 2).lasting(seconds(100)), change).await;
        // The first one is slow between its decision and its place in the book of slots.
        let slow = Fault::Takes(seconds(4));
        account.faults(Function::Launcher).ledger.add("create_run", "", When::Nth(1), slow);
        fires(account, 0);
        account.time().sleep(Duration::from_millis(50)).await;
        fires(account, 1);
        for minute in 0..2 {
            assert_eq!(judged(account, minute).await.outcome, Outcome::Passed);
        }
        let [first, second] = [0, 1].map(|minute| started_at(account, minute).expect("started").as_secs());
        assert!(second >= first + 100, "{first} and {second}");
        account.all_over().await;
    });
}

#[test]
fn no_firing_starts_beside_one_that_goes_on_on_another_platform() {
    play(10, async |account| {
        store(account, &Test::of(1, 2).lasting(seconds(100)), |test| test.overlap = Overlap::Queue).await;
        assert_eq!(fired(account, 0).await, LaunchReply::Launched);
        let on_fargate = Test { on_fargate: Some(false), ..Test::of(1, 2) }.lasting(seconds(100));
        let plan = *planned(account, &on_fargate, 10).await;
        change(account, |test| test.plan = plan.clone()).await;
        account.at(seconds(60)).await;
        fires(account, 1);
        let verdict = judged(account, 1).await;
        assert_eq!((verdict.outcome, codes(&verdict)), (Outcome::Invalid, vec![ReasonCode::NotStarted]));
        let expected = format!("run {} of the same schedule goes on on Lambda", run_at(0));
        assert!(told(&verdict).starts_with(&expected), "{}", told(&verdict));
        assert_eq!(judged(account, 0).await.outcome, Outcome::Passed);
        fires(account, 2);
        let verdict = judged(account, 2).await;
        assert_eq!(verdict.outcome, Outcome::Passed, "{}", told(&verdict));
        account.all_over().await;
    });
}

#[test]
fn it_waits_only_so_long() {
    play(10, async |account| {
        let test = Test { queue: seconds(60), ..Test::of(1, 2).lasting(seconds(300)) };
        store(account, &test, |test| test.overlap = Overlap::Queue).await;
        fires(account, 0);
        account.at(seconds(30)).await;
        fires(account, 1);
        let verdict = judged(account, 1).await;
        assert_eq!((verdict.outcome, codes(&verdict)), (Outcome::Invalid, vec![ReasonCode::NotStarted]));
        let expected = format!("run {} of the same schedule was not over within 1m", run_at(0));
        assert!(told(&verdict).starts_with(&expected), "{}", told(&verdict));
        assert_eq!(judged(account, 0).await.outcome, Outcome::Passed);
        account.all_over().await;
        assert_eq!(
            subjects(account),
            [
                "lambdaload: nightly invalid: the measurement is not complete",
                "lambdaload: nightly passed: all 2 thresholds hold"
            ]
        );
    });
}

#[test]
fn firings_run_side_by_side_where_they_may() {
    play(10, async |account| {
        let change = |test: &mut StoredTest| test.overlap = Overlap::Allow;
        store(account, &Test::of(1, 2).lasting(seconds(100)), change).await;
        for minute in 0..3 {
            assert_eq!(fired(account, minute).await, LaunchReply::Launched);
        }
        for minute in 0..3 {
            assert_eq!(judged(account, minute).await.outcome, Outcome::Passed);
        }
        assert_eq!(account.most_alive(), 6);
        account.all_over().await;
    });
}

#[test]
fn a_paused_schedule_starts_nothing_but_what_a_person_asks_for() {
    play(10, async |account| {
        store(account, &Test::of(1, 2), |test| test.paused = true).await;
        assert!(matches!(fired(account, 0).await, LaunchReply::Refused { .. }));
        assert_eq!(why(account, 0).await, (true, "the schedule is paused".to_owned()));
        let by_hand = LaunchRequest::Fire(FireRequest {
            version: Some("0.1.0".into()),
            schedule: nightly(),
            scheduled_at: None,
            run: Some(run_at(3)),
            tries: 0,
        });
        for _ in 0..2 {
            assert_eq!(account.ask(&by_hand).await, Ok(LaunchReply::Launched));
        }
        let verdict = judged(account, 3).await;
        assert_eq!(verdict.origin, Some(Origin { schedule: nightly(), version: 1, scheduled_for: None }));
        change(account, |test| test.paused = false).await;
        assert_eq!(fired(account, 4).await, LaunchReply::Launched);
        judged(account, 4).await;
        account.all_over().await;
    });
}

#[test]
fn what_runs_is_the_version_of_that_moment() {
    play(10, async |account| {
        store(account, &Test::of(1, 2), |_| {}).await;
        let plan = *planned(account, &Test::of(1, 3), 10).await;
        assert_eq!(fired(account, 0).await, LaunchReply::Launched);
        change(account, |test| (test.plan, test.version) = (plan, 2)).await;
        // Delivered again, it is still the run that it was.
        assert_eq!(fired(account, 0).await, LaunchReply::Launched);
        let verdict = judged(account, 0).await;
        assert_eq!((verdict.planned_workers, verdict.origin.map(|origin| origin.version)), (2, Some(1)));
        account.lock().tests.remove(&run_at(6));
        planned(account, &Test::of(1, 3), 10).await;
        assert_eq!(fired(account, 6).await, LaunchReply::Launched);
        let verdict = judged(account, 6).await;
        assert_eq!((verdict.planned_workers, verdict.origin.map(|origin| origin.version)), (3, Some(2)));
        account.all_over().await;
    });
}

#[test]
fn a_schedule_of_a_test_that_is_gone_starts_nothing() {
    play(10, async |account| {
        let reply = fired(account, 0).await;
        assert_eq!(reply, LaunchReply::Refused { message: "there is no schedule `nightly` (any more)".into() });
        store(account, &Test::of(1, 2), |_| {}).await;
        account.inner.tests.delete(&nightly()).await.expect("deleted");
        fires(account, 1);
        account.all_over().await;
        assert!(account.ledger().peek(&run_at(1)).is_none());
        assert_eq!(account.begun(Function::Reaper, "").len(), 0);
    });
}

#[test]
fn what_cannot_be_started_is_remembered_and_told() {
    play(10, async |account| {
        store(account, &Test::of(1, 2), |_| {}).await;
        account.store().lose(&account.store().keys_with("archives")[0]);
        for _ in 0..2 {
            assert!(matches!(fired(account, 0).await, LaunchReply::Refused { .. }));
        }
        let (skipped, words) = why(account, 0).await;
        assert!(!skipped && words.contains("archive is not in the store"), "{words}");
        assert!(words.ends_with("`lambdaload schedule update nightly` stores it anew"), "{words}");
        change(account, |test| test.lambdaload_version = "0.0.9".into()).await;
        fires(account, 1);
        account.all_over().await;
        assert!(why(account, 1).await.1.contains("the stack is lambdaload 0.1.0"));
        assert_eq!(subjects(account), vec!["lambdaload: nightly did not run"; 2]);
        assert!(account.ledger().peek(&run_at(0)).is_none() && account.ledger().peek(&run_at(1)).is_none());
    });
}

#[test]
fn a_call_without_a_moment_is_refused() {
    play(10, async |account| {
        store(account, &Test::of(1, 2), |_| {}).await;
        let mut event: Value = serde_json::to_value(request_at(0)).expect("JSON");
        event["scheduled_at"] = "soon".into();
        let request = serde_json::from_value(event).expect("a request");
        let LaunchReply::Refused { message } =
            lambdaload_core::run::launch::launch(&account.ports(Function::Launcher), &account.deployment(), &request)
                .await
                .expect("an answer")
        else {
            panic!("not refused");
        };
        assert!(message.contains("neither for what moment nor which run"), "{message}");
    });
}

#[test]
fn a_launcher_that_dies_is_called_again() {
    for millis in (0..2_000).step_by(50) {
        play(10, async |account| {
            let faults = account.faults(Function::Launcher);
            for faults in [&faults.store, &faults.ledger, &faults.slots] {
                faults.add("", "", When::Always, Fault::Takes(Duration::from_millis(100)));
            }
            account.habit(Function::Launcher, "nightly", 1, Habit::Dies(Duration::from_millis(millis)));
            store(account, &Test::of(1, 2), |_| {}).await;
            fires(account, 0);
            let verdict = judged(account, 0).await;
            // Once it was recorded, the reaper's other rules hold: it may end it, but it says so.
            let words = told(&verdict);
            let is_told = verdict.outcome == Outcome::Passed || words.contains("the run was not launched");
            assert!(is_told, "{millis}: {words}");
            account.all_over().await;
            assert_eq!(subjects(account).len(), 1, "{millis}");
        });
    }
}

#[test]
fn a_launcher_that_always_dies_is_called_only_so_often() {
    for habit in [Habit::Dies(Duration::ZERO), Habit::Throttled] {
        play(10, async |account| {
            // It dies before it has recorded anything.
            account.faults(Function::Launcher).ledger.add(
                "",
                "",
                When::Always,
                Fault::Takes(Duration::from_millis(100)),
            );
            (1..=20).for_each(|nth| account.habit(Function::Launcher, "nightly", nth, habit.clone()));
            store(account, &Test::of(1, 2), |_| {}).await;
            fires(account, 0);
            account.all_over().await;
            let (skipped, words) = why(account, 0).await;
            assert!(!skipped && words.starts_with("the launcher could not start it: Lambda "), "{words}");
            assert_eq!(subjects(account), ["lambdaload: nightly did not run"]);
            assert_eq!(account.begun(Function::Reaper, "").len(), 4);
        });
    }
}
