use super::*;

fn options(scenarios: &str) -> Options {
    let json = format!(r#"{{"scenarios":{scenarios},"totalDuration":"7m30s","maxVUs":1020}}"#);
    Options::parse(json.as_bytes()).expect("reads")
}

fn plan(scenarios: &str, workers: Workers) -> Result<Plan, PlanError> {
    plan_of(&options(scenarios), workers)
}

fn plan_of(options: &Options, workers: Workers) -> Result<Plan, PlanError> {
    let archive = Archive {
        hash: serde_json::from_str("\"ab\"").expect("a hash"),
        size: 1,
        files: 1,
        filename: "file:///a.js".into(),
    };
    let request = Request { script: "a.js".into(), workers, ..Request::default() };
    let machine = Machine { cores: 2, open_files: 1024 };
    Plan::new(request, archive, K6Version::new(1, 8, 1), options, machine)
}

const SHOP: &str = r#"{"browse":{"executor":"ramping-arrival-rate","startRate":0,"timeUnit":"1s","preAllocatedVUs":10,"maxVUs":900,
    "stages":[{"duration":"2m","target":400},{"duration":"5m","target":400}]},
    "buy":{"executor":"constant-vus","vus":120,"duration":"7m","startTime":"10s"}}"#;

#[test]
fn scenarios_are_put_in_words() {
    let plan = plan(SHOP, Workers::Exactly(12)).expect("plans");
    assert_eq!(plan.scenarios[0].shape, "0 → 400/s in 2m, 5m hold");
    assert_eq!(plan.scenarios[1].shape, "120 VUs, 7m, from 10s");
    assert_eq!(plan.scheduled(), Duration::from_secs(430));
    assert_eq!(plan.worker_vus(WorkerIndex(0)), 85);
    assert!((plan.worker_rate(WorkerIndex(0)).expect("has a rate") - 33.333).abs() < 0.01);
}

#[test]
fn shares_of_workers_are_the_whole() {
    let plan = plan(SHOP, Workers::Exactly(7)).expect("plans");
    assert_eq!(plan.worker_indices().map(|i| plan.worker_vus(i)).sum::<u64>(), 1020);
    let rate: f64 = plan.worker_indices().filter_map(|i| plan.worker_rate(i)).sum();
    assert!((rate - 400.0).abs() < 1e-9);
}

#[test]
fn more_workers_than_work_are_cut_down() {
    let few = r#"{"default":{"executor":"shared-iterations","vus":3,"iterations":20}}"#;
    let plan = plan(few, Workers::Exactly(8)).expect("plans");
    assert_eq!(plan.workers, 3);
    assert_eq!(plan.workers_reason.as_deref(), Some("8 asked for, but no scenario has more than 3 VUs to deal out"));
}

#[test]
fn rps_is_dealt_out_and_never_becomes_no_limit() {
    let json = r#"{"scenarios":{"s":{"executor":"constant-vus","vus":9,"duration":"1s"}},"rps":5,"totalDuration":"1s","maxVUs":9}"#;
    let shares = |workers| {
        let plan = plan_of(&Options::parse(json.as_bytes()).expect("reads"), workers).expect("plans");
        (plan.worker_indices().filter_map(|i| plan.worker_rps(i)).collect::<Vec<_>>(), plan.workers_reason)
    };
    assert_eq!(shares(Workers::Exactly(3)), (vec![2, 2, 1], None));
    let reason = "9 asked for, but the script's rps is 5, and less than one request per second cannot be dealt out";
    assert_eq!(shares(Workers::Exactly(9)), (vec![1; 5], Some(reason.to_owned())));
}

#[test]
fn auto_looks_at_the_processors_the_descriptors_and_the_work() {
    let workers = |scenarios| plan(scenarios, Workers::Auto).map(|p| (p.workers, p.workers_reason.unwrap_or_default()));
    assert_eq!(workers(SHOP).expect("plans"), (2, "one per processor (2)".into()));
    let one = r#"{"default":{"executor":"per-vu-iterations","vus":1,"iterations":20}}"#;
    assert_eq!(workers(one).expect("plans"), (1, "no scenario has more than 1 VU to deal out".into()));
}

#[test]
fn what_cannot_be_planned_is_refused() {
    let refused = |scenarios, workers| plan(scenarios, workers).expect_err("refused").to_string();
    assert_eq!(refused(SHOP, Workers::Exactly(0)), "--workers 0: expected 1 or more, or `auto`");
    assert!(refused(SHOP, Workers::Exactly(1_000_000)).contains("at most 10000"));
    assert!(refused(r#"{"x":{"executor":"of-the-future"}}"#, Workers::Auto).contains("`of-the-future`"));
    let endless = r#"{"x":{"executor":"externally-controlled","vus":2,"maxVUs":9,"duration":"0s"}}"#;
    assert!(refused(endless, Workers::Auto).contains("would never end"));
}

#[test]
fn what_all_scenarios_come_to_at_one_moment() {
    let at = Duration::from_secs;
    let shop = plan(SHOP, Workers::Exactly(12)).expect("plans");
    assert_eq!((shop.vus_at(at(0), None), shop.vus_at(at(10), None)), (None, None));
    assert_eq!((shop.vus_at(at(425), None), shop.vus_at(at(431), None)), (Some(120), Some(0)));
    assert_eq!(shop.offered(at(200), at(203)), Some(Offered { per_second: 400.0, is_all: false }));
    assert_eq!(shop.offered(at(2), at(8)).map(|offered| offered.is_all), Some(true));
    assert_eq!(shop.offered(at(500), at(503)), None);

    let controlled = r#"{"b":{"executor":"externally-controlled","vus":2,"maxVUs":9,"duration":"1m"},
        "c":{"executor":"externally-controlled","vus":1,"duration":"2m"},
        "a":{"executor":"shared-iterations","vus":3,"iterations":20,"maxDuration":"10s","startTime":"90s"}}"#;
    let plan = plan(controlled, Workers::Exactly(3)).expect("plans");
    assert_eq!(plan.controlled().map(|scenario| scenario.name.as_str()), Some("b"));
    assert_eq!((plan.vus_at(at(1), None), plan.vus_at(at(1), Some(7))), (Some(3), Some(8)));
    assert_eq!((plan.vus_at(at(70), Some(7)), plan.vus_at(at(91), None)), (Some(1), None));
    assert_eq!(plan.worker_vus(WorkerIndex(0)), 3 + 1);
    assert_eq!(plan.worker_iterations(), None);
}

#[test]
fn peaks_of_rates_at_different_times_are_not_added_up() {
    let one_after_the_other = r#"{"a":{"executor":"constant-arrival-rate","rate":30,"duration":"10s","preAllocatedVUs":3},
        "b":{"executor":"ramping-arrival-rate","stages":[{"duration":"10s","target":40},{"duration":"10s","target":0}],
            "preAllocatedVUs":2,"maxVUs":4,"startTime":"5s"}}"#;
    let plan = plan(one_after_the_other, Workers::Exactly(4)).expect("plans");
    let rates: Vec<f64> = plan.worker_indices().filter_map(|index| plan.worker_rate(index)).collect();
    let expected = [10.0 + 5.0, 10.0 + 5.0, 10.0 + 5.0, 10.0];
    assert!(rates.iter().zip(expected).all(|(rate, expected)| (rate - expected).abs() < 1e-6), "{rates:?}");
    let iterations = plan.worker_iterations().expect("counted");
    assert_eq!(iterations.into_values().collect::<Vec<_>>(), [200, 200, 200, 100]);
}

#[test]
fn durations_in_words() {
    for (seconds, text) in
        [(0.0, "0s"), (0.5, "500ms"), (90.0, "1m30s"), (120.0, "2m"), (450.0, "7m30s"), (5400.0, "1h30m")]
    {
        assert_eq!(words(Duration::from_secs_f64(seconds)), text);
    }
}
