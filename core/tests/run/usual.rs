//! Runs in which nothing goes wrong.

use std::time::Duration;

use lambdaload_core::{
    k6::exit::ProcessExit,
    lifecycle::Phase,
    ports::{Ledger, keys},
    records::WorkerPhase,
    run::watch::{Sight, watch},
    testing::{
        clock::NOON,
        faulty::{Fault, When},
        generator::{Event, Hook, K6Script},
    },
    timeline::Timeline,
    verdict::{Outcome, ReasonCode, Values},
};

use crate::{
    scene::codes,
    script::{Test, seconds, worker},
};

pub(crate) const HOLDS: &str = r#"{"http_req_duration":["p(95)<99"],"http_reqs":["count>399"]}"#;
const DOES_NOT_HOLD: &str = r#"{"http_req_duration":["p(95)<90"],"http_reqs":["count>399"]}"#;

#[test]
fn a_run_whose_thresholds_hold_has_passed() {
    let verdict = Test { thresholds: HOLDS, ..Test::of(4) }.verdict();
    assert_eq!((verdict.outcome, verdict.exit_code), (Outcome::Passed, 0), "{:?}", verdict.reasons);
    assert_eq!((verdict.status.as_str(), codes(&verdict)), ("finished", vec![]));
    assert!(verdict.thresholds.iter().all(|t| t.passed && t.exact));
}

#[test]
fn a_run_of_which_one_threshold_does_not_hold_has_failed_with_k6s_code() {
    let verdict = Test { thresholds: DOES_NOT_HOLD, ..Test::of(4) }.verdict();
    assert_eq!((verdict.outcome, verdict.exit_code), (Outcome::Failed, 99));
    assert_eq!((verdict.status.as_str(), codes(&verdict)), ("finished", vec![ReasonCode::ThresholdCrossed]));
    assert_eq!(verdict.reasons[0].message, "http_req_duration p(95)<90 does not hold");
    assert!(verdict.thresholds[0].first_crossed_ms.is_some());
}

#[test]
fn a_run_without_thresholds_says_so() {
    let verdict = Test::of(4).verdict();
    assert_eq!((verdict.outcome, verdict.exit_code), (Outcome::NoThresholds, 0), "{:?}", verdict.reasons);
}

#[test]
fn every_sample_that_was_read_is_merged() {
    let verdict = Test::of(4).verdict();
    assert_eq!(verdict.samples.read, verdict.samples.merged);
    assert_eq!(verdict.samples.missing, []);
    assert!(verdict.samples.before_start >= 8, "{:?}", verdict.samples);
    for worker in &verdict.workers {
        assert_eq!(worker.samples_read, Some(worker.samples_merged), "{worker:?}");
        assert_eq!(worker.phase, Some(WorkerPhase::Closed));
    }
    let requests = verdict.summary.metrics.iter().find(|m| m.name == "http_reqs").expect("merged");
    assert!(matches!(&requests.values, Values::Counter { count, .. } if count.0.to_bits() == 400_f64.to_bits()));
}

#[test]
fn all_workers_start_at_one_common_moment_that_is_written_once() {
    Test::of(4).play(async |scene| {
        let verdict = scene.verdict().await;
        let [start_at] = scene.ledger.starts()[..] else { panic!("{:?}", scene.ledger.starts()) };
        let resumed = scene.when(|event| *event == Event::Resumed);
        assert_eq!(resumed.len(), 4);
        assert!(resumed.iter().all(|(at, _)| NOON.plus(*at) == start_at), "{resumed:?}");
        assert_eq!(verdict.start_skew_p99_ms, Some(0.0));
        assert!(verdict.workers.iter().all(|w| w.skew_ms == Some(0.0)));
    });
}

#[test]
fn a_worker_that_starts_late_shows_in_the_skew() {
    Test::of(2).play(async |scene| {
        // Its answers come so late that T0 is over when it hears of it.
        scene.faults_of(2).ledger.add("run", "", When::Always, Fault::Takes(Duration::from_millis(900)));
        let verdict = scene.verdict().await;
        assert_eq!(verdict.outcome, Outcome::NoThresholds);
        let skew = verdict.workers[1].skew_ms.expect("measured");
        assert!(skew > 100.0, "{skew}");
        assert_eq!(verdict.start_skew_p99_ms, Some(skew));
    });
}

#[test]
fn the_first_worker_runs_setup_and_all_others_get_its_data_before_they_start() {
    let setup = Hook::Returns(seconds(3), r#"{"token":"x"}"#.into());
    Test::of(4).with(1, |k6| k6.setup = setup).play(async |scene| {
        let verdict = scene.verdict().await;
        assert_eq!(verdict.outcome, Outcome::NoThresholds, "{:?}", verdict.reasons);
        assert_eq!(scene.whose(&Event::Setup), [1]);
        let mut took = scene.whose(&Event::TookSetupData(r#"{"token":"x"}"#.into()));
        took.sort_unstable();
        assert_eq!(took, [2, 3, 4]);
        for number in 2..=4 {
            let events: Vec<Event> =
                scene.k6.journal().into_iter().filter(|(_, i, _)| *i == worker(number)).map(|(_, _, e)| e).collect();
            let [Event::Started, Event::TookSetupData(_), Event::Resumed, ..] = &events[..] else {
                panic!("{events:?}")
            };
        }
    });
}

#[test]
fn without_data_of_setup_nobody_is_given_any() {
    Test::of(3).play(async |scene| {
        scene.verdict().await;
        assert_eq!(scene.whose(&Event::Setup), [1]);
        assert_eq!(scene.when(|event| matches!(event, Event::TookSetupData(_))), []);
    });
}

#[test]
fn teardown_runs_once_when_all_iterations_are_over() {
    let test = Test::of(4)
        .with(1, |k6| k6.teardown = Hook::Returns(seconds(2), "null".into()))
        .with(3, |k6| k6.lasts = seconds(14));
    test.play(async |scene| {
        let verdict = scene.verdict().await;
        assert_eq!(verdict.outcome, Outcome::NoThresholds, "{:?}", verdict.reasons);
        let [(torn_down_at, 1)] = scene.when(|event| *event == Event::Teardown)[..] else { panic!("not once") };
        let ended = scene.when(|event| *event == Event::IterationsEnded);
        assert!(ended.len() == 4 && ended.iter().all(|(at, _)| *at <= torn_down_at), "{ended:?} {torn_down_at:?}");
        // What it writes counts too.
        assert!(verdict.summary.metrics.iter().any(|m| m.name == "data_sent"));
    });
}

#[test]
fn a_worker_that_has_no_work_is_no_failure() {
    let idle = K6Script { lasts: Duration::ZERO, vus: 0, ..K6Script::default() };
    Test::of(4).with(4, |k6| *k6 = idle).play(async |scene| {
        let verdict = scene.verdict().await;
        assert_eq!((verdict.outcome, verdict.exit_code), (Outcome::NoThresholds, 0), "{:?}", verdict.reasons);
        assert_eq!(verdict.workers[3].failure, None);
        let ends = scene.when(|event| matches!(event, Event::Exited(ProcessExit::Code(0))));
        assert_eq!((ends.len(), ends[0].1), (4, 4));
    });
}

#[test]
fn the_live_state_follows_the_run() {
    Test { thresholds: HOLDS, ..Test::of(4) }.play(async |scene| {
        scene.start().await;
        let aggregator = scene.aggregator();
        let verdict = aggregator.outcome().await.expect("a verdict");
        let live = aggregator.live();
        assert!(live.windows(2).all(|pair| pair[0].phase <= pair[1].phase && pair[0].samples <= pair[1].samples));
        let running: Vec<_> = live.iter().filter(|state| state.phase == Phase::Running).collect();
        assert!(running.len() >= 8, "{}", running.len());
        let middle = running[running.len() / 2];
        assert_eq!((middle.workers.running, middle.vus), (4, 8));
        assert!((middle.requests_per_second.expect("requests") - 40.0).abs() < 5.0, "{middle:?}");
        let last = live.last().expect("shown");
        assert_eq!((last.workers.done, last.samples), (4, verdict.samples.merged));
    });
}

#[test]
fn what_an_arrival_rate_offers_stands_beside_what_is_done() {
    let executor = r#""executor":"constant-arrival-rate","rate":40,"preAllocatedVUs":64"#;
    Test { executor, ..Test::of(4) }.play(async |scene| {
        scene.start().await;
        let aggregator = scene.aggregator();
        drop(aggregator.outcome().await.expect("a verdict"));
        let live = aggregator.live();
        let offered: Vec<_> = live.iter().filter_map(|state| Some((state, state.offered?))).collect();
        assert!(offered.len() >= 5, "{}", offered.len());
        for (state, offered) in offered {
            assert!(offered.is_all && (offered.per_second - 40.0).abs() < 0.001, "{offered:?}");
            assert!((state.iterations_per_second - 40.0).abs() < 5.0, "{state:?}");
        }
    });
}

#[test]
fn the_timeline_is_stored_with_the_verdict() {
    Test::of(2).play(async |scene| {
        scene.verdict().await;
        let json = scene.store.peek(&keys::timeline(&scene.id)).expect("stored");
        let timeline: Timeline = serde_json::from_slice(&json).expect("reads");
        let requests: f64 = timeline.slices.iter().map(|slice| slice.requests_per_second).sum();
        assert!((requests - 200.0).abs() < 1e-9, "{requests}");
        assert_eq!(scene.ledger.verdict(&scene.id).await.expect("answers").map(|v| v.run), Some(scene.id.clone()));
    });
}

#[test]
fn who_watches_sees_each_live_state_and_then_the_verdict() {
    Test::of(2).play(async |scene| {
        scene.start().await;
        let aggregator = scene.aggregator();
        // What fails now and then is asked again.
        scene.aggregator_faults.ledger.add("", "", When::Every(5), Fault::Fails);
        scene.aggregator_faults.store.add("get", "live", When::Every(3), Fault::Fails);
        let mut seen = Vec::new();
        let mut on_sight = |sight| match sight {
            Sight::Live(state) => seen.push(state.at),
            other => panic!("{other:?}"),
        };
        let verdict = watch(&scene.watch_ports(), None, &scene.id, &mut on_sight).await.expect("a verdict");
        assert_eq!(Ok(verdict), aggregator.outcome().await);
        assert!(seen.len() > 5 && seen.is_sorted(), "{seen:?}");
    });
}
