//! Whatever goes wrong at once: nothing hangs, nothing is left running, and a run that lost anything is not believed.

use std::time::Duration;

use lambdaload_core::{
    k6::exit::ProcessExit,
    run::reap::reap,
    testing::{
        faulty::{Fault, When},
        generator::{Event, Hook, Moment, ScriptEnd},
    },
    verdict::{Outcome, ReasonCode, Values, Verdict, WorkerResult},
};
use proptest::{prelude::*, test_runner::RngSeed};

use crate::{
    scene::{Aggregator, PortFaults, Scene, reasons},
    script::{Test, seconds, worker},
    usual::HOLDS,
};

const WORKERS: u32 = 3;

/// Something that goes wrong with a port.
#[derive(Clone, Debug)]
struct Trouble {
    /// Of which worker; of everybody if 0, of the aggregator if there is no worker of that number.
    of: u32,
    calls: (bool, &'static str),
    when: When,
    fault: Fault,
}

/// Something that happens.
#[derive(Clone, Debug)]
enum Happening {
    WorkerIsKilled { number: u32, silently: bool },
    AggregatorIsKilled { back_after: u64 },
    AnotherAggregatorComes,
    Stop { at_once: bool },
}

/// What is wrong with a k6.
#[derive(Clone, Debug)]
enum Habit {
    Dies(u64, ProcessExit),
    HangsAtExit,
    IgnoresStops,
    IsSlowToStart(u64),
    HasSlowHooks(u64, u64),
    EndsTheTest(ScriptEnd),
}

fn troubles() -> impl Strategy<Value = Vec<Trouble>> {
    let calls = prop::sample::select(vec![
        (true, "get"),
        (true, "put_new"),
        (true, "put"),
        (true, ""),
        (false, "run"),
        (false, "replace_run"),
        (false, "claim_worker"),
        (false, "replace_worker"),
        (false, "workers"),
        (false, "conclude"),
        (false, ""),
    ]);
    let when = prop_oneof![
        (1u32..20).prop_map(When::Nth),
        (2u32..5).prop_map(When::Every),
        (0u64..20, 1u64..50).prop_map(|(from, lasts)| When::Between(seconds(from), seconds(from + lasts))),
    ];
    let fault = prop_oneof![
        Just(Fault::Fails),
        Just(Fault::AnswerIsLost),
        Just(Fault::Repeats),
        Just(Fault::NeverAnswers),
        Just(Fault::Corrupts),
        (1u64..8_000).prop_map(|millis| Fault::Takes(Duration::from_millis(millis))),
    ];
    let trouble = (0..=WORKERS + 1, calls, when, fault);
    prop::collection::vec(trouble.prop_map(|(of, calls, when, fault)| Trouble { of, calls, when, fault }), 0..5)
}

fn happenings() -> impl Strategy<Value = Vec<(u64, Happening)>> {
    let happening = prop_oneof![
        (1..=WORKERS, any::<bool>()).prop_map(|(number, silently)| Happening::WorkerIsKilled { number, silently }),
        (0u64..60).prop_map(|back_after| Happening::AggregatorIsKilled { back_after }),
        Just(Happening::AnotherAggregatorComes),
        any::<bool>().prop_map(|at_once| Happening::Stop { at_once }),
    ];
    prop::collection::vec((0u64..8_000, happening), 0..3)
}

fn habits() -> impl Strategy<Value = Vec<(usize, Habit)>> {
    let exit = prop_oneof![
        Just(ProcessExit::Signal(9)),
        prop::sample::select(vec![1, 105, 107, 109, 255]).prop_map(ProcessExit::Code),
    ];
    let habit = prop_oneof![
        (0u64..15_000, exit).prop_map(|(at, exit)| Habit::Dies(at, exit)),
        Just(Habit::HangsAtExit),
        Just(Habit::IgnoresStops),
        (0u64..40_000).prop_map(Habit::IsSlowToStart),
        (0u64..20, 0u64..20).prop_map(|(setup, teardown)| Habit::HasSlowHooks(setup, teardown)),
        prop::sample::select(vec![ScriptEnd::Abort, ScriptEnd::Fail]).prop_map(Habit::EndsTheTest),
    ];
    prop::collection::vec((1..=WORKERS as usize, habit), 0..2)
}

fn with_habit(test: Test, number: usize, habit: &Habit) -> Test {
    test.with(number, |k6| match habit {
        Habit::Dies(at, exit) => *k6 = k6.clone().dies(Moment::Started(Duration::from_millis(*at)), *exit, "oh"),
        Habit::HangsAtExit => k6.hangs_at_exit = true,
        Habit::IgnoresStops => (k6.ignores_interrupt, k6.ignores_stop) = (true, true),
        Habit::IsSlowToStart(millis) => k6.ready_after = Duration::from_millis(*millis),
        Habit::HasSlowHooks(setup, teardown) => {
            k6.setup = Hook::Returns(seconds(*setup), "{}".into());
            k6.teardown = Hook::Returns(seconds(*teardown), "null".into());
        }
        Habit::EndsTheTest(end) => k6.end = *end,
    })
}

/// Plays the run to its verdict, by whichever way is left.
async fn verdict_of(scene: &Scene, troubles: &[Trouble], happenings: &[(u64, Happening)]) -> Verdict {
    scene.start().await;
    for Trouble { of, calls: (is_store, calls), when, fault } in troubles {
        let everybody: Vec<&PortFaults> = scene.everybodys_faults().collect();
        let whose = if *of == 0 { &everybody[..] } else { &everybody[*of as usize - 1..*of as usize] };
        for faults in whose {
            let faults = if *is_store { &faults.store } else { &faults.ledger };
            faults.add(calls, "", *when, *fault);
        }
    }
    let mut aggregator = scene.aggregator();
    let mut others = Vec::new();
    for (after, happening) in happenings {
        scene.time.sleep(Duration::from_millis(*after)).await;
        match happening {
            Happening::WorkerIsKilled { number, silently: true } => scene.fleet.lose_silently(worker(*number)),
            Happening::WorkerIsKilled { number, silently: false } => scene.fleet.lose(worker(*number)),
            Happening::AggregatorIsKilled { back_after } => {
                aggregator.task.cancel();
                scene.time.sleep(seconds(*back_after)).await;
                aggregator = scene.aggregator();
            }
            Happening::AnotherAggregatorComes => others.push(scene.aggregator()),
            Happening::Stop { at_once } => scene.try_to_stop(*at_once).await,
        }
    }
    if let Ok(verdict) = aggregator.outcome().await {
        return verdict;
    }
    others.iter().for_each(|other: &Aggregator| other.task.cancel());
    scene.everybodys_faults().for_each(PortFaults::clear);
    let reaped = reap(&scene.watch_ports(), &scene.id, "0.1.0").await.expect("answers");
    reaped.expect("nobody else is left")
}

fn requests(verdict: &Verdict) -> f64 {
    let requests = verdict.summary.metrics.iter().find(|metric| metric.name == "http_reqs");
    match requests.map(|metric| &metric.values) {
        Some(Values::Counter { count, .. }) => count.0,
        _ => 0.0,
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 400,
        rng_seed: RngSeed::Fixed(1),
        failure_persistence: None,
        max_shrink_iters: 2_000,
        ..ProptestConfig::default()
    })]

    #[test]
    fn nothing_hangs_and_nothing_is_believed_that_is_not_whole(
        troubles in troubles(),
        happenings in happenings(),
        habits in habits(),
        blind in any::<bool>(),
        stale in any::<bool>(),
        min_workers in 1..=WORKERS,
        lasts in prop::collection::vec(11u64..16, 3),
    ) {
        let mut test = Test { thresholds: HOLDS, blind, stale, min_workers: Some(min_workers), ..Test::of(3) };
        for (script, lasts) in test.scripts.iter_mut().zip(lasts) {
            script.lasts = seconds(lasts);
            let more = script.samples.clone().into_iter().map(|(at, sample)| (at + Duration::from_millis(7), sample));
            script.samples.extend(more.take(160));
        }
        for (number, habit) in &habits {
            test = with_habit(test, *number, habit);
        }
        test.play(async |scene| {
            let verdict = verdict_of(scene, &troubles, &happenings).await;
            scene.everybodys_faults().for_each(PortFaults::clear);
            scene.fleet.all_over().await;
            prop_assert!(scene.time.elapsed() < seconds(500), "{:?}", scene.time.elapsed());

            // Every k6 that was started has ended, and what runs once has run once.
            let count = |is_it: fn(&Event) -> bool| scene.when(is_it).len();
            prop_assert_eq!(count(|e| matches!(e, Event::Started)), count(|e| matches!(e, Event::Exited(_))));
            // The substitute that tears down has no segment.
            let mut started = scene.whose(&Event::Started);
            started.sort_unstable();
            prop_assert!(started.is_sorted_by(|a, b| a < b) && started.iter().all(|number| *number <= WORKERS + 1));
            prop_assert!(!scene.whose(&Event::Resumed).contains(&(WORKERS + 1)));
            prop_assert!(count(|e| matches!(e, Event::Setup)) <= 1 && count(|e| matches!(e, Event::Teardown)) <= 1);
            prop_assert!(scene.ledger.starts().len() <= 1);

            // There is one verdict, and it stays.
            prop_assert_eq!(&scene.aggregate().await.expect("the verdict"), &verdict);

            // What is believed is whole, but for what was accepted.
            let accepted: Vec<u32> =
                reasons(&verdict, ReasonCode::LossAccepted).iter().filter_map(|reason| reason.worker).collect();
            prop_assert!(accepted.len() <= (WORKERS - min_workers) as usize);
            if verdict.outcome != Outcome::Invalid {
                let whole = |w: &WorkerResult| w.samples_read == Some(w.samples_merged);
                let mut counted = verdict.workers.iter().filter(|w| !accepted.contains(&w.index.number()));
                prop_assert!(counted.all(whole), "{:?}", verdict.workers);
                if accepted.is_empty() {
                    prop_assert_eq!(verdict.samples.read, verdict.samples.merged);
                }
                if verdict.abort.is_none() && accepted.is_empty() {
                    prop_assert_eq!(requests(&verdict).to_bits(), 420_f64.to_bits(), "{:?}", verdict.reasons);
                }
            }
            // Somebody who is stopped and left alone by the aggregator does not wait for the others.
            let left_alone = happenings.iter().any(|(_, h)| matches!(h, Happening::AggregatorIsKilled { .. }));
            let killed = verdict.abort.as_ref().is_some_and(|abort| abort.at_once);
            if verdict.outcome != Outcome::Invalid && !killed && !left_alone {
                let last = |is_it: fn(&Event) -> bool| {
                    let of_segments = scene.when(is_it).into_iter().filter(|(_, number)| *number <= WORKERS);
                    of_segments.filter(|(_, number)| !accepted.contains(number)).map(|(at, _)| at).max()
                };
                let torn_down_at = scene.when(|e| matches!(e, Event::Teardown)).first().map(|(at, _)| *at);
                prop_assert!(torn_down_at.is_some() && torn_down_at >= last(|e| matches!(e, Event::IterationsEnded)));
            }
            let is_ok = verdict.outcome == Outcome::Passed && verdict.abort.is_none();
            prop_assert_eq!(verdict.exit_code == 0, is_ok, "{:?} {:?} {:?}", verdict.outcome, verdict.abort, verdict.reasons);
            Ok(())
        })?;
    }
}
