//! Runs whose workers are tasks.

use lambdaload_core::{
    ports::SlotBook,
    records::FailureKind,
    run::launch::LaunchReply,
    testing::generator::Event,
    verdict::{Outcome, ReasonCode, Verdict},
};

use crate::{
    account::{Function, codes, play, play_with, told},
    ecs::TaskHabit,
    test::{Test, run_id, seconds},
};

fn on_fargate(number: u32, workers: usize) -> Test {
    Test { on_fargate: Some(false), ..Test::of(number, workers) }
}

fn failures(verdict: &Verdict) -> Vec<(u32, FailureKind)> {
    verdict.workers.iter().filter_map(|w| Some((w.index.number(), w.failure.as_ref()?.kind))).collect()
}

#[test]
fn a_run_on_fargate_ends_in_the_verdict_of_one_on_lambda() {
    let [lambda, fargate] = [Test::of(1, 12), on_fargate(1, 12)].map(|test| {
        play(12, async |account| {
            let verdict = account.verdict_of(&test).await;
            (verdict, account.lock().ecs.calls.clone())
        })
    });
    assert_eq!((fargate.0.outcome, fargate.0.exit_code), (Outcome::Passed, 0), "{}", told(&fargate.0));
    assert_eq!(fargate.0.thresholds, lambda.0.thresholds);
    assert_eq!((fargate.0.samples.read, fargate.0.samples.merged), (lambda.0.samples.read, lambda.0.samples.merged));
    assert_eq!((fargate.1, lambda.1), (vec![10, 2], vec![]));
}

#[test]
fn an_hour_and_a_half_takes_many_aggregators_and_one_life_of_each_task() {
    play_with(4, seconds(900), async |account| {
        let test = on_fargate(1, 4).lasting(seconds(5_400));
        let verdict = account.verdict_of(&test).await;
        assert_eq!(verdict.outcome, Outcome::Passed, "{}", told(&verdict));
        assert!(account.begun(Function::Aggregator, "succession").len() >= 6);
        let started = account.when(&test.id, |event| *event == Event::Started);
        assert_eq!(started.len(), 4, "each k6 began once");
    });
}

#[test]
fn tasks_that_start_slowly_are_waited_for() {
    play(4, async |account| {
        let test = on_fargate(1, 3);
        account.task_habit(&test.id, 2, TaskHabit::Slow(seconds(200)));
        let verdict = account.verdict_of(&test).await;
        assert_eq!(verdict.outcome, Outcome::Passed, "{}", told(&verdict));
        assert!(verdict.workers.iter().all(|worker| worker.skew_ms == Some(0.0)));
    });
}

#[test]
fn tasks_that_are_not_placed_or_never_start_are_named_with_the_reason() {
    for (habit, words) in [
        (
            TaskHabit::NotPlaced("You've reached the limit on the number of vCPUs you can run concurrently"),
            "quota of Fargate vCPUs",
        ),
        (TaskHabit::NotPlaced("Capacity is unavailable at this time."), "no Fargate capacity there at the moment"),
        (TaskHabit::NeverStarts("CannotPullContainerError: not found"), "lambdaload image push"),
        (TaskHabit::NeverStartsUntold("CannotPullContainerError: not found"), "lambdaload image push"),
    ] {
        play(20, async |account| {
            let test = on_fargate(1, 12);
            account.task_habit(&test.id, 12, habit.clone());
            let verdict = account.verdict_of(&test).await;
            assert_eq!(failures(&verdict), [(12, FailureKind::NotLaunched)], "{}", told(&verdict));
            assert_eq!((verdict.outcome, codes(&verdict)[0]), (Outcome::Invalid, ReasonCode::WorkerNotLaunched));
            assert!(told(&verdict).contains(words), "{}", told(&verdict));
            let next_step = verdict.reasons[0].next_step.as_deref().unwrap_or_default();
            assert!(next_step.contains("see what kept it from starting"), "{next_step}");
            // Nobody waited until the last deadline.
            assert!(account.begun(Function::Aggregator, "").len() == 1);
        });
    }
}

#[test]
fn a_batch_with_a_gap_gives_everybody_else_a_segment() {
    play(20, async |account| {
        let test = Test { min_workers: Some(9), ..on_fargate(1, 10) };
        account.task_habit(&test.id, 4, TaskHabit::NotPlaced("Capacity is unavailable at this time."));
        let verdict = account.verdict_of(&test).await;
        assert_eq!(verdict.outcome, Outcome::Passed, "{}", told(&verdict));
        // ECS does not say which of ten it has not placed: the last place stays empty.
        assert_eq!(failures(&verdict), [(10, FailureKind::NotLaunched)]);
        let started: Vec<u32> = account.when(&test.id, |event| *event == Event::Started).iter().map(|e| e.1).collect();
        assert_eq!(started.len(), 9);
    });
}

#[test]
fn a_task_of_which_nothing_is_heard_is_missed_at_the_deadline_and_keeps_its_room_for_a_while() {
    play(20, async |account| {
        let test = on_fargate(1, 25);
        account.task_habit(&test.id, 3, TaskHabit::Vanishes);
        account.launch(&test).await;
        let verdict = account.verdict(&test.id).await;
        assert_eq!(verdict.outcome, Outcome::Invalid, "{}", told(&verdict));
        assert!(told(&verdict).contains("worker 3"), "{}", told(&verdict));
        assert!(account.lock().ecs.kills.contains(&test.id), "what is on its way is stopped");
        // It may still be on its way.
        account.time().sleep(seconds(1)).await;
        assert_eq!(account.inner.task_slots.slots().await.expect("answers").taken(), 1);
        account.all_over().await;
    });
}

#[test]
fn a_worker_taken_by_spot_is_named_and_no_silent_pass() {
    play(4, async |account| {
        let test = Test { on_fargate: Some(true), ..Test::of(1, 3) }.lasting(seconds(600));
        account.task_habit(&test.id, 2, TaskHabit::Spot(seconds(300)));
        let verdict = account.verdict_of(&test).await;
        assert_eq!(failures(&verdict), [(2, FailureKind::Taken)], "{}", told(&verdict));
        assert_eq!((verdict.outcome, codes(&verdict)[0]), (Outcome::Invalid, ReasonCode::WorkerLost));
        assert!(told(&verdict).contains("AWS takes its Spot capacity back"), "{}", told(&verdict));
        // It had time to upload everything.
        assert_eq!((verdict.samples.read, verdict.samples.missing.len()), (verdict.samples.merged, 0));
    });
    play(4, async |account| {
        let test = Test { on_fargate: Some(true), min_workers: Some(2), ..Test::of(1, 3) }.lasting(seconds(600));
        account.task_habit(&test.id, 2, TaskHabit::Spot(seconds(300)));
        let verdict = account.verdict_of(&test).await;
        assert_eq!((verdict.outcome, codes(&verdict)), (Outcome::Passed, vec![ReasonCode::LossAccepted]));
        assert!(told(&verdict).contains("Spot"), "{}", told(&verdict));
    });
}

#[test]
fn a_task_that_was_killed_is_a_lost_worker_with_ecs_s_reason() {
    play(4, async |account| {
        let test = on_fargate(1, 3).lasting(seconds(300));
        account.task_habit(&test.id, 3, TaskHabit::OutOfMemory(seconds(100)));
        let verdict = account.verdict_of(&test).await;
        assert_eq!(failures(&verdict), [(3, FailureKind::Lost)], "{}", told(&verdict));
        assert_eq!((verdict.outcome, codes(&verdict)[0]), (Outcome::Invalid, ReasonCode::WorkerLost));
        assert!(told(&verdict).contains("give workers more (--memory)"), "{}", told(&verdict));
    });
}

#[test]
fn a_launch_that_is_repeated_starts_no_task_again() {
    play(4, async |account| {
        let test = on_fargate(1, 11);
        account.task_habit(&run_id(1), 1, TaskHabit::AnsweredTwice);
        // The command asks twice, since an answer may be lost, and the calls of the first launch are repeated.
        account.launch(&test).await;
        account.launch(&test).await;
        let verdict = account.verdict(&test.id).await;
        account.all_over().await;
        assert_eq!(verdict.outcome, Outcome::Passed, "{}", told(&verdict));
        assert_eq!(account.lock().ecs.calls, [10, 1], "no call was made twice");
    });
}

#[test]
fn room_on_fargate_is_not_that_on_lambda_and_is_waited_for() {
    play(2, async |account| {
        let (first, second, lambda) = (on_fargate(1, 25), on_fargate(2, 10), Test::of(3, 2));
        account.launch(&first).await;
        assert_eq!(account.start(&second).await, Ok(LaunchReply::Queued { place: 1 }));
        account.launch(&lambda).await;
        for test in [&first, &second, &lambda] {
            let verdict = account.verdict(&test.id).await;
            assert_eq!(verdict.outcome, Outcome::Passed, "{}", told(&verdict));
        }
        account.all_over().await;
    });
    play(50, async |account| {
        let refused = account.start(&on_fargate(1, 31)).await;
        let Ok(LaunchReply::Refused { message }) = refused else { panic!("{refused:?}") };
        assert!(
            message.contains("may have 30 on Fargate at one time") && message.contains("FargateCapacity"),
            "{message}"
        );
    });
}

#[test]
fn a_stop_at_once_is_obeyed_by_every_task() {
    play(4, async |account| {
        let test = on_fargate(1, 3).lasting(seconds(600));
        account.launch(&test).await;
        account.at(seconds(200)).await;
        assert!(account.stop(&test.id, true).await);
        let verdict = account.verdict(&test.id).await;
        assert_eq!(verdict.exit_code, 105, "{}", told(&verdict));
        account.all_over().await;
        let ended = account.when(&test.id, |event| matches!(event, Event::Exited(_)));
        assert!(ended.len() == 3 && ended.iter().all(|(at, _)| *at < seconds(205)), "{ended:?}");
        assert!(!account.lock().ecs.kills.contains(&test.id), "all have ended by themselves");
    });
}

#[test]
fn a_stop_while_tasks_start_stops_those_that_are_on_their_way() {
    play(4, async |account| {
        let test = on_fargate(1, 3).lasting(seconds(600));
        for number in 1..=3 {
            account.task_habit(&test.id, number, TaskHabit::Slow(seconds(400)));
        }
        account.launch(&test).await;
        account.at(seconds(20)).await;
        assert!(account.stop(&test.id, true).await);
        let verdict = account.verdict(&test.id).await;
        assert_eq!(verdict.exit_code, 105, "{}", told(&verdict));
        assert!(account.lock().ecs.kills.contains(&test.id), "what is on its way is stopped");
        assert!(account.time().elapsed() < seconds(100), "{:?}", account.time().elapsed());
        account.at(seconds(900)).await;
        account.all_over().await;
        assert_eq!(account.when(&test.id, |event| *event == Event::Started), []);
    });
}

#[test]
fn the_first_worker_s_teardown_is_run_by_a_task_of_its_own() {
    play(4, async |account| {
        let test = Test { on_fargate: Some(true), ..Test::of(1, 3) }.lasting(seconds(600));
        account.task_habit(&test.id, 1, TaskHabit::Spot(seconds(300)));
        let verdict = account.verdict_of(&test).await;
        assert_eq!(failures(&verdict), [(1, FailureKind::Taken)], "{}", told(&verdict));
        let torn_down = account.when(&test.id, |event| *event == Event::Teardown);
        assert!(matches!(torn_down[..], [(_, 4)]), "{torn_down:?}");
        assert_eq!(account.lock().ecs.calls, [3, 1]);
    });
}
