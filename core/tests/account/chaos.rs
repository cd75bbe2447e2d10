//! Whatever goes wrong at once in an account: every run ends in a verdict, what is believed is whole, nobody has room in
//! the end, and never are more workers alive than may be.

use std::time::Duration;

use lambdaload_core::{
    lifecycle::Phase,
    run::launch::LaunchReply,
    testing::{
        faulty::{Fault, Faults, When},
        generator::Event,
        ledger::MemoryLedger,
    },
    verdict::{Outcome, Reason, ReasonCode, Values, Verdict, WorkerResult},
};
use proptest::{prelude::*, test_runner::RngSeed};

use crate::{
    account::{Account, FUNCTIONS, Function, Habit, play_on},
    test::{HOLDS, Test, run_id, seconds},
};

/// Something that goes wrong with the ports of a function.
#[derive(Clone, Debug)]
struct Trouble {
    of: Function,
    port: Port,
    calls: &'static str,
    when: When,
    fault: Fault,
}

#[derive(Clone, Copy, Debug)]
enum Port {
    Store,
    Ledger,
    Slots,
}

/// Something that happens.
#[derive(Clone, Debug)]
enum Happening {
    IsKilled(Function, u32),
    WorkerIsKilled(u32, u32),
    Stop { run: u32, at_once: bool, is_reaped: bool },
    Reap(u32),
    AskAgain(u32),
}

#[derive(Clone, Debug)]
struct Run {
    workers: usize,
    min_workers: u32,
    queue: u64,
    lasts: u64,
    /// After the one before.
    after: u64,
    asks_again: bool,
}

fn function() -> impl Strategy<Value = Function> {
    prop::sample::select(FUNCTIONS.to_vec())
}

fn runs() -> impl Strategy<Value = Vec<Run>> {
    let run = (1usize..4, 1u32..4, 0u64..300, 11u64..16, 0u64..20_000, any::<bool>()).prop_map(
        |(workers, min_workers, queue, lasts, after, asks_again)| {
            let min_workers = min_workers.min(u32::try_from(workers).expect("a few"));
            Run { workers, min_workers, queue, lasts, after, asks_again }
        },
    );
    prop::collection::vec(run, 1..4)
}

fn habits() -> impl Strategy<Value = Vec<(Function, u32, Habit)>> {
    let millis = |most| (0u64..most).prop_map(Duration::from_millis);
    let habit = prop_oneof![
        millis(60_000).prop_map(Habit::Twice),
        millis(60_000).prop_map(Habit::Late),
        Just(Habit::Lost),
        Just(Habit::Throttled),
        millis(30_000).prop_map(Habit::Dies),
        millis(3_000).prop_map(Habit::Dies),
        millis(30_000).prop_map(Habit::DiesSilently),
        Just(Habit::Fails),
    ];
    // A reaper's appointments come for sure, since Lambda tries it again.
    let reliable = |(function, nth, habit): (Function, u32, Habit)| match (function, &habit) {
        (Function::Reaper, Habit::Lost | Habit::Throttled | Habit::DiesSilently(_) | Habit::Fails) => None,
        _ => Some((function, nth, habit)),
    };
    let call = (function(), 1u32..7, habit).prop_filter_map("reapers come", reliable);
    prop::collection::vec(call, 0..4)
}

fn troubles() -> impl Strategy<Value = Vec<Trouble>> {
    let calls = prop::sample::select(vec![
        (Port::Store, "get"),
        (Port::Store, "put_new"),
        (Port::Store, "put"),
        (Port::Store, ""),
        (Port::Ledger, "run"),
        (Port::Ledger, "replace_run"),
        (Port::Ledger, "create_run"),
        (Port::Ledger, "claim_worker"),
        (Port::Ledger, "replace_worker"),
        (Port::Ledger, "workers"),
        (Port::Ledger, "conclude"),
        (Port::Ledger, ""),
        (Port::Slots, "slots"),
        (Port::Slots, "replace_slots"),
        (Port::Slots, ""),
    ]);
    let when = prop_oneof![
        (1u32..20).prop_map(When::Nth),
        (2u32..5).prop_map(When::Every),
        (0u64..40, 1u64..70).prop_map(|(from, lasts)| When::Between(seconds(from), seconds(from + lasts))),
    ];
    let fault = prop_oneof![
        Just(Fault::Fails),
        Just(Fault::AnswerIsLost),
        Just(Fault::Repeats),
        Just(Fault::NeverAnswers),
        Just(Fault::Corrupts),
        (1u64..8_000).prop_map(|millis| Fault::Takes(Duration::from_millis(millis))),
    ];
    let trouble = (function(), calls, when, fault).prop_map(|(of, (port, calls), when, fault)| Trouble {
        of,
        port,
        calls,
        when,
        fault,
    });
    prop::collection::vec(trouble, 0..4)
}

fn happenings() -> impl Strategy<Value = Vec<(u64, Happening)>> {
    let run = || 1u32..4;
    let happening = prop_oneof![
        (function(), run()).prop_map(|(function, run)| Happening::IsKilled(function, run)),
        (run(), 1u32..4).prop_map(|(run, number)| Happening::WorkerIsKilled(run, number)),
        (run(), any::<bool>(), any::<bool>()).prop_map(|(run, at_once, is_reaped)| Happening::Stop {
            run,
            at_once,
            is_reaped
        }),
        run().prop_map(Happening::Reap),
        run().prop_map(Happening::AskAgain),
    ];
    prop::collection::vec((0u64..25_000, happening), 0..4)
}

fn faults(account: &Account, of: Function, port: Port) -> &Faults {
    let faults = account.faults(of);
    match port {
        Port::Store => &faults.store,
        Port::Ledger => &faults.ledger,
        Port::Slots => &faults.slots,
    }
}

async fn happen(account: &Account, tests: &[Test], happening: &Happening) {
    match happening {
        // Of a reaper that was killed, Lambda would know.
        Happening::IsKilled(Function::Reaper, _) => {}
        Happening::IsKilled(function, run) => account.kill(*function, &run_id(*run)),
        Happening::WorkerIsKilled(run, number) => account.kill_worker(&run_id(*run), *number),
        Happening::Stop { run, at_once, is_reaped } => {
            if account.stop(&run_id(*run), *at_once).await && *is_reaped {
                account.reap(&run_id(*run));
            }
        }
        Happening::Reap(run) => account.reap(&run_id(*run)),
        Happening::AskAgain(run) => {
            if let Some(test) = tests.get(*run as usize - 1) {
                drop(account.start(test).await);
            }
        }
    }
}

fn requests(verdict: &Verdict) -> f64 {
    let requests = verdict.summary.metrics.iter().find(|metric| metric.name == "http_reqs");
    match requests.map(|metric| &metric.values) {
        Some(Values::Counter { count, .. }) => count.0,
        _ => 0.0,
    }
}

/// What must hold of one run that is over.
fn check(account: &Account, test: &Test, verdict: &Verdict) -> Result<(), TestCaseError> {
    let count = |is_it: fn(&Event) -> bool| account.when(&test.id, is_it).len();
    prop_assert_eq!(count(|e| matches!(e, Event::Started)), count(|e| matches!(e, Event::Exited(_))));
    prop_assert!(count(|e| matches!(e, Event::Setup)) <= 1 && count(|e| matches!(e, Event::Teardown)) <= 1);
    let mut started: Vec<u32> = account.when(&test.id, |e| *e == Event::Started).into_iter().map(|(_, n)| n).collect();
    started.sort_unstable();
    prop_assert!(started.is_sorted_by(|a, b| a < b), "{started:?}");

    let is_accepted = |number| {
        let is_it = |reason: &&Reason| reason.code == ReasonCode::LossAccepted;
        verdict.reasons.iter().filter(is_it).any(|reason| reason.worker == Some(number))
    };
    let accepted = verdict.workers.iter().filter(|w| is_accepted(w.index.number())).count();
    prop_assert!(accepted <= test.scripts.len() - test.min_workers.expect("set") as usize);
    if verdict.outcome != Outcome::Invalid {
        let whole = |w: &WorkerResult| w.samples_read == Some(w.samples_merged);
        prop_assert!(verdict.workers.iter().filter(|w| !is_accepted(w.index.number())).all(whole), "{verdict:?}");
        if accepted == 0 {
            prop_assert_eq!(verdict.samples.read, verdict.samples.merged);
        }
        if accepted == 0 && verdict.abort.is_none() {
            let all = 100.0 * f64::from(test.workers());
            prop_assert_eq!(requests(verdict).to_bits(), all.to_bits(), "{:?}", verdict.reasons);
        }
    }
    let is_ok = verdict.outcome == Outcome::Passed && verdict.abort.is_none();
    prop_assert_eq!(verdict.exit_code == 0, is_ok, "{:?} {:?}", verdict.outcome, verdict.reasons);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: std::env::var("ACCOUNT_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(300),
        rng_seed: RngSeed::Fixed(1),
        failure_persistence: None,
        max_shrink_iters: 1_000,
        ..ProptestConfig::default()
    })]

    #[test]
    fn every_run_ends_in_a_verdict_and_makes_room(
        runs in runs(),
        habits in habits(),
        troubles in troubles(),
        happenings in happenings(),
        capacity in 3u32..6,
        aggregator_life in prop_oneof![Just(900u64), 66u64..110],
        stale in any::<bool>(),
    ) {
        let ledger = if stale { MemoryLedger::stale() } else { MemoryLedger::default() };
        play_on(ledger, capacity, seconds(aggregator_life), async |account| {
            for (function, nth, habit) in &habits {
                account.habit(*function, "", *nth, habit.clone());
            }
            for Trouble { of, port, calls, when, fault } in &troubles {
                faults(account, *of, *port).add(calls, "", *when, *fault);
            }
            let mut tests: Vec<Test> = Vec::new();
            for (number, run) in (1..).zip(&runs) {
                let mut test = Test {
                    thresholds: HOLDS,
                    min_workers: Some(run.min_workers),
                    queue: seconds(run.queue),
                    ..Test::of(number, run.workers)
                };
                test.scripts.iter_mut().for_each(|k6| k6.lasts = seconds(run.lasts));
                tests.push(test);
            }
            let asked = async {
                for (run, test) in runs.iter().zip(&tests) {
                    account.time().sleep(Duration::from_millis(run.after)).await;
                    if account.start(test).await.is_err() && run.asks_again {
                        drop(account.start(test).await);
                    }
                }
            };
            let happened = async {
                for (after, happening) in &happenings {
                    account.time().sleep(Duration::from_millis(*after)).await;
                    happen(account, &tests, happening).await;
                }
            };
            futures::join!(asked, happened);
            account.all_quiet().await;
            prop_assert!(account.time().elapsed() < seconds(3_000), "{:?}", account.time().elapsed());

            // Where even a reaper that was tried three times could do nothing, a person is told, and it is called again.
            let slots = account.slots().await;
            let mut is_over = slots.held.is_empty() && slots.waiting.is_empty();
            for test in &tests {
                let Some(run) = account.ledger().peek(&test.id) else { continue };
                is_over &= run.state.phase == Phase::Concluded;
            }
            if !is_over {
                prop_assert!(account.dead_letters() > 0, "{:?}", account.slots().await);
                FUNCTIONS.iter().for_each(|function| account.faults(*function).clear());
                for test in &tests {
                    account.reap(&test.id);
                    account.all_quiet().await;
                }
            }
            account.all_over().await;
            for test in &tests {
                if let Some(run) = account.ledger().peek(&test.id) {
                    prop_assert_eq!(run.state.phase, Phase::Concluded, "{:?}", run);
                    let verdict = account.verdict(&test.id).await;
                    check(account, test, &verdict)?;
                    // There is one verdict, and it stays, whoever comes again.
                    FUNCTIONS.iter().for_each(|function| account.faults(*function).clear());
                    let reply = account.start(test).await;
                    prop_assert!(matches!(reply, Ok(LaunchReply::Launched)), "{reply:?}");
                    prop_assert_eq!(&account.verdict(&test.id).await, &verdict);
                }
            }
            prop_assert!(account.ledger().starts().len() <= tests.len());
            prop_assert!(account.most_taken() <= capacity, "{}", account.most_taken());
            prop_assert!(account.most_alive() <= capacity as usize, "{}", account.most_alive());
            Ok(())
        })?;
    }
}
