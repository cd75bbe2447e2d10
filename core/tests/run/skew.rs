//! How far from T0 very many workers start.

use std::time::Duration;

use lambdaload_core::{
    testing::{
        clock::NOON,
        faulty::{Fault, When},
        generator::{Event, K6Script},
    },
    verdict::Outcome,
};

use crate::{
    scene::Scene,
    script::{Test, seconds, worker},
};

const WORKERS: u32 = 200;

/// A run of so many workers that do next to nothing.
fn crowd() -> Test {
    Test {
        scripts: vec![K6Script::default(); WORKERS as usize],
        executor: r#""executor":"constant-vus","vus":400"#,
        ..Test::of(1)
    }
}

/// Every worker's ledger takes its own time for an answer, from 5 to 500 ms.
fn spread(scene: &Scene) {
    for number in 1..=WORKERS {
        let takes = Duration::from_millis(u64::from(5 + (number * 7_919) % 496));
        scene.faults_of(number).ledger.add("", "", When::Always, Fault::Takes(takes));
    }
}

#[test]
fn two_hundred_workers_with_ledgers_of_any_speed_start_at_one_moment() {
    crowd().play(async |scene| {
        spread(scene);
        let verdict = scene.verdict().await;
        assert_eq!(verdict.outcome, Outcome::NoThresholds, "{:?}", verdict.reasons);
        let [start_at] = scene.ledger.starts()[..] else { panic!("{:?}", scene.ledger.starts()) };
        let resumed = scene.when(|event| *event == Event::Resumed);
        let late: Vec<_> = resumed.iter().filter(|(at, _)| NOON.plus(*at) != start_at).collect();
        assert_eq!((resumed.len(), late.len()), (WORKERS as usize, 0), "{late:?}");
        assert!(verdict.start_skew_p99_ms.is_some_and(|skew| skew <= 100.0), "{:?}", verdict.start_skew_p99_ms);
    });
}

#[test]
fn three_of_two_hundred_that_start_late_show_in_the_99th_percentile() {
    crowd().play(async |scene| {
        let late = [3, 50, 200];
        for (number, takes) in late.into_iter().zip([2_000, 2_200, 2_400]) {
            // They hear of T0 when it is over.
            let (meanwhile, fault) =
                (When::Between(seconds(1), seconds(5)), Fault::Takes(Duration::from_millis(takes)));
            scene.faults_of(number).ledger.add("run", "", meanwhile, fault);
        }
        let verdict = scene.verdict().await;
        let skew_of = |number| {
            let found = verdict.workers.iter().find(|of| of.index == worker(number));
            found.and_then(|of| of.skew_ms).expect("measured")
        };
        let mut skews = late.map(skew_of);
        skews.sort_by(f64::total_cmp);
        assert!(skews[0] > 100.0, "{skews:?}");
        // The second of 200 from above.
        assert_eq!(verdict.start_skew_p99_ms, Some(skews[1]), "{skews:?}");
    });
}
