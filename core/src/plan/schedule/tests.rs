use proptest::prelude::*;

use super::*;
use crate::{
    k6::options::Stage,
    plan::{load::most_vus, scenario::planned},
};

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn segments(workers: u32) -> impl Iterator<Item = Segment> {
    (0..workers).filter_map(move |index| Segment::new(WorkerIndex(index), workers))
}

fn stages(list: &[(u64, u64)]) -> Vec<Stage> {
    let stage = |(ms, target): &(u64, u64)| Stage { duration: Some(millis(*ms)), target: Some(*target as f64) };
    list.iter().map(stage).collect()
}

fn schedule(executor: &str, scenario: Scenario) -> Schedule {
    Schedule::of(&Scenario { executor: executor.into(), ..scenario }).expect("known")
}

/// VUs that a worker keeps at a moment.
fn kept(schedule: &Schedule, segment: Segment, at: Duration) -> i64 {
    schedule.vu_changes(segment).iter().filter(|(when, _)| *when <= at).map(|(_, change)| change).sum()
}

/// A scenario of any executor; `graces` are its graceful stop and ramp-down.
fn any_scenario(graces: impl Strategy<Value = u64> + Clone + 'static) -> impl Strategy<Value = Schedule> {
    let executors = prop::sample::select(vec![
        "constant-vus",
        "ramping-vus",
        "shared-iterations",
        "per-vu-iterations",
        "constant-arrival-rate",
        "ramping-arrival-rate",
        "externally-controlled",
    ]);
    let numbers = (1u64..60, 0u64..200, 1u64..60, 0u64..60, 0u64..30);
    let times = (0u64..5_000, 1_000u64..20_000, prop::sample::select(vec![100u64, 1_000, 7_000, 60_000]));
    let ramps = prop::collection::vec((prop::sample::select(vec![0u64, 1, 700, 1_000, 3_333, 10_000]), 0u64..60), 1..6);
    (executors, numbers, times, ramps, (graces.clone(), graces)).prop_map(
        |(executor, (vus, iterations, rate, start, spare), (starts, lasts, unit), ramps, (stop, down))| {
            schedule(
                executor,
                Scenario {
                    start_time: Some(millis(starts)),
                    vus: Some(vus),
                    start_vus: Some(start),
                    duration: Some(millis(lasts)),
                    max_duration: Some(millis(lasts)),
                    iterations: Some(vus + iterations),
                    stages: stages(&ramps),
                    rate: Some(rate as f64),
                    start_rate: Some(start as f64),
                    time_unit: Some(millis(unit)),
                    pre_allocated_vus: Some(vus),
                    max_vus: Some(vus + spare),
                    graceful_stop: Some(millis(stop)),
                    graceful_ramp_down: Some(millis(down)),
                    ..Scenario::default()
                },
            )
        },
    )
}

proptest! {
    /// Every worker follows its own steps; together they make those of one k6, and what is said of one moment is so.
    #[test]
    fn vus_of_all_workers_are_those_of_one_at_each_second(schedule in any_scenario(Just(0)), workers in 1u32..40) {
        let whole = Segment::new(WorkerIndex(0), 1).expect("one");
        for second in 0..=schedule.ends_after().as_secs() + 1 {
            let at = seconds(second);
            let one = kept(&schedule, whole, at);
            prop_assert_eq!(segments(workers).map(|segment| kept(&schedule, segment, at)).sum::<i64>(), one);
            if let (Some(vus), Work::Looping { .. }) = (schedule.vus_at(at), &schedule.work) {
                prop_assert_eq!(i64::try_from(vus).expect("few"), one, "{:?} at {:?}", schedule, at);
                for segment in segments(workers) {
                    prop_assert_eq!(i64::try_from(segment.share(vus)).expect("few"), kept(&schedule, segment, at));
                }
            }
        }
    }

    /// Graceful or not: nobody keeps more than its part of the largest number, and all have gone in the end.
    #[test]
    fn vus_that_are_kept_longer_are_still_those_of_the_worker(schedule in any_scenario(0u64..9_000), workers in 1u32..40) {
        let end = schedule.ends_after() + schedule.graceful_stop;
        for segment in segments(workers) {
            prop_assert_eq!(kept(&schedule, segment, end), 0);
            let all = schedule.vu_changes(segment);
            prop_assert!(all.is_sorted_by_key(|(at, _)| *at));
            let most = all.iter().scan(0, |sum, (_, change)| { *sum += change; Some(*sum) }).max();
            prop_assert_eq!(most, Some(i64::try_from(segment.share(schedule.max_vus())).expect("few")), "{:?}", schedule);
        }
    }

    #[test]
    fn iterations_of_all_workers_are_those_of_one(schedule in any_scenario(Just(0)), workers in 1u32..40) {
        let Some(by_worker) = schedule.iterations_by_worker(workers) else {
            prop_assert!(schedule.iterations().is_none());
            return Ok(());
        };
        prop_assert_eq!(Some(by_worker.values().sum::<u64>()), schedule.iterations());
        prop_assert!(by_worker.keys().all(|index| index.0 < workers));
        let has_vus = |index| Segment::new(index, workers).is_some_and(|s| s.share(schedule.max_vus()) > 0);
        prop_assert!(by_worker.iter().all(|(index, iterations)| *iterations == 0 || has_vus(*index)));
    }

    /// The timetable is one; each of its lines has one owner, and together they are the whole.
    #[test]
    fn arrivals_of_all_workers_are_those_of_one(schedule in any_scenario(Just(0)), workers in 1u32..40) {
        let times: Vec<Duration> = schedule.arrivals().collect();
        prop_assert!(times.is_sorted());
        let Some(dealer) = schedule.peak_rate().and_then(|_| schedule.dealer(workers)) else {
            prop_assert_eq!(times.len(), 0);
            return Ok(());
        };
        prop_assert_eq!(Some(times.len() as u64), schedule.iterations());
        prop_assert!(times.iter().all(|at| *at >= schedule.starts_after && *at <= schedule.ends_after() + millis(1)));
        let mut owned: BTreeMap<WorkerIndex, Vec<Duration>> = BTreeMap::new();
        for (iteration, at) in (0..).zip(&times) {
            owned.entry(dealer.owner(iteration).expect("somebody")).or_default().push(*at);
        }
        let by_worker = schedule.iterations_by_worker(workers).expect("arrivals");
        for (index, own) in &owned {
            prop_assert_eq!(Some(&(own.len() as u64)), by_worker.get(index), "{}", index);
        }
        let mut together: Vec<Duration> = owned.into_values().flatten().collect();
        together.sort();
        prop_assert_eq!(together, times);
    }

    /// What is shown as offered is what the timetable brings.
    #[test]
    fn what_is_offered_is_the_timetable(schedule in any_scenario(Just(0)), at in 0u64..40_000) {
        if schedule.peak_rate().is_some() {
            let came = schedule.arrivals().filter(|arrival| *arrival < millis(at)).count() as f64;
            let offered = schedule.offered_until(millis(at)).expect("arrivals");
            prop_assert!((offered - came).abs() <= 1.01, "{} offered, {} came: {:?}", offered, came, schedule);
        }
    }
}

#[test]
fn an_arrival_rate_begins_at_once_and_a_ramp_when_the_first_iteration_is_due() {
    let constant = Scenario {
        rate: Some(4.0),
        duration: Some(seconds(1)),
        pre_allocated_vus: Some(3),
        start_time: Some(seconds(2)),
        ..Scenario::default()
    };
    let times: Vec<Duration> = schedule("constant-arrival-rate", constant).arrivals().collect();
    assert_eq!(times, [2_000, 2_250, 2_500, 2_750].map(millis));
    let ramping = Scenario {
        start_rate: Some(2.0),
        stages: stages(&[(5_000, 2), (5_000, 3)]),
        pre_allocated_vus: Some(3),
        ..Scenario::default()
    };
    let ramping = schedule("ramping-arrival-rate", ramping);
    let times: Vec<Duration> = ramping.arrivals().collect();
    assert_eq!((times[0], times[9], ramping.iterations()), (millis(500), seconds(5), Some(22)));
    // 2 x + 0.1 x² = 1
    assert!(times[10].abs_diff(Duration::from_secs_f64(5.488_088_482)) < Duration::from_micros(1), "{:?}", times[10]);
    assert_eq!(ramping.rate_at(millis(7_500)), Some(2.5));
}

#[test]
fn a_vu_that_leaves_is_kept_until_its_time_is_over_and_taken_up_if_it_is_wanted_before() {
    let ramping = |grace| {
        let stages = stages(&[(0, 2), (1_000, 0), (2_000, 0), (0, 1), (1_000, 1)]);
        let (stop, down) = (Some(Duration::ZERO), Some(millis(grace)));
        schedule(
            "ramping-vus",
            Scenario {
                start_vus: Some(0),
                stages,
                graceful_stop: stop,
                graceful_ramp_down: down,
                ..Scenario::default()
            },
        )
    };
    let one = Segment::new(WorkerIndex(0), 1).expect("one");
    let kept_each_half_second =
        |grace| (0..9).map(|half| kept(&ramping(grace), one, millis(half * 500))).collect::<Vec<_>>();
    assert_eq!(kept_each_half_second(0), [2, 1, 0, 0, 0, 0, 1, 1, 0]);
    assert_eq!(kept_each_half_second(1_000), [2, 2, 2, 1, 0, 0, 1, 1, 0]);
    // The second VU leaves after 0.5 s and is gone after 2.5 s; the first would be gone after 3 s, when it is wanted again.
    assert_eq!(kept_each_half_second(2_000), [2, 2, 2, 2, 2, 1, 1, 1, 0]);
}

#[test]
fn scenarios_that_follow_each_other_use_the_same_vus() {
    let scenario = |start, stop| Scenario {
        executor: "constant-vus".into(),
        vus: Some(5),
        duration: Some(seconds(10)),
        start_time: Some(seconds(start)),
        graceful_stop: Some(seconds(stop)),
        ..Scenario::default()
    };
    let most = |stop, start| {
        let both = [("a".to_owned(), scenario(0, stop)), ("b".to_owned(), scenario(start, 0))];
        let both: Vec<_> = both.iter().map(|(name, s)| planned((name, s)).expect("plans")).collect();
        segments(3).map(|segment| most_vus(&both, segment)).collect::<Vec<_>>()
    };
    assert_eq!(most(0, 10), [2, 2, 1]);
    assert_eq!(most(5, 10), [4, 4, 2]);
    assert_eq!(most(5, 15), [2, 2, 1]);
}
