use proptest::prelude::*;

use super::*;
use crate::{
    archive::Archive,
    k6::{options::Options, version::K6Version},
    plan::{LambdaStack, Plan, PlanError, Platform, Request, Workers, carrier::Carried},
    testing::stack::lambda as stack,
};

const V181: K6Version = K6Version::new(1, 8, 1);

fn plan_on(stack: &LambdaStack, options: &str, request: Request) -> Result<Plan, PlanError> {
    let options = Options::parse(options.as_bytes()).expect("reads");
    let hash = serde_json::from_str("\"ab\"").expect("a hash");
    let archive = Archive { hash, size: 41_000, files: 3, filename: "file:///a.js".into() };
    let plan = Plan::new(Request { script: "a.js".into(), ..request }, archive, V181, &options, stack.clone())?;
    plan.check()?;
    Ok(plan)
}

fn constant(vus: u64, seconds: u64, more: &str) -> String {
    format!(
        r#"{{"scenarios":{{"s":{{"executor":"constant-vus","vus":{vus},"duration":"{seconds}s","gracefulStop":"0s"}}}},
            "totalDuration":"{seconds}s","maxVUs":{vus}{more}}}"#
    )
}

fn constant_rate(rate: u64) -> String {
    format!(
        r#"{{"scenarios":{{"s":{{"executor":"constant-arrival-rate","rate":{rate},"duration":"1m","preAllocatedVUs":900}}}},
            "totalDuration":"90s","maxVUs":900}}"#
    )
}

fn with(workers: Workers) -> Request {
    Request { workers, ..Request::default() }
}

fn refused(stack: &LambdaStack, options: &str, request: Request) -> String {
    plan_on(stack, options, request).expect_err("refused").to_string()
}

#[test]
fn auto_is_what_memory_and_file_descriptors_ask_for() {
    let auto = |memory_mb, options: &str| {
        let plan = plan_on(&LambdaStack { memory_mb, ..stack() }, options, Request::default()).expect("plans");
        (plan.workers, plan.workers_reason.expect("a reason"))
    };
    let shop = constant(1_020, 60, "");
    // (2,048 · 0.9 - 151) / 5 = 338.4
    assert_eq!(
        auto(2_048, &shop),
        (4, "1,020 VUs ÷ 338 per worker (memory 1,841 of 2,048 MB; file descriptors 462 of 1,024)".into())
    );
    assert_eq!(
        auto(10_240, &shop),
        (2, "1,020 VUs ÷ 900 per worker (file descriptors 1,024 of 1,024; memory 4,651 of 10,240 MB)".into())
    );
    let (workers, reason) = auto(10_240, &constant(1, 60, ""));
    assert_eq!((workers, reason.starts_with("1 VU ÷ 900 per worker (")), (1, true));
    assert_eq!(
        auto(2_048, &constant_rate(9_000)),
        (4, "9,000 iterations/s ÷ 2,315 per worker (1.16 vCPU at 2,048 MB)".into())
    );
}

#[test]
fn an_archive_takes_memory_too() {
    let carried = |size| {
        let hash = serde_json::from_str("\"ab\"").expect("a hash");
        Carried::of(&stack().size(), &Archive { hash, size, files: 1, filename: "file:///a.js".into() }, None).vus
    };
    assert_eq!((carried(0), carried(100_000_000), carried(10_000_000_000)), (338, 278, 1));
}

#[test]
fn more_than_a_worker_carries_is_refused_with_the_least_number_that_fits() {
    let options = constant(1_020, 60, "");
    let message = refused(&stack(), &options, with(Workers::Exactly(3)));
    assert_eq!(
        message,
        "--workers 3 would put 340 VUs on each worker, and one carries 338: memory 1,841 of 2,048 MB; file descriptors 462 \
         of 1,024\nuse --workers 4 or more, or give workers more memory (parameter WorkerMemory of the stack)\n\
         --vus-per-worker N overrides the estimate"
    );
    assert_eq!(plan_on(&stack(), &options, with(Workers::Exactly(4))).expect("plans").workers, 4);
    let overridden = Request { vus_per_worker: Some(340), ..with(Workers::Exactly(3)) };
    assert_eq!(plan_on(&stack(), &options, overridden).expect("plans").workers, 3);
    let overridden = Request { vus_per_worker: Some(85), ..Request::default() };
    let plan = plan_on(&stack(), &options, overridden).expect("plans");
    assert_eq!(plan.workers_reason.as_deref(), Some("1,020 VUs ÷ 85 per worker (--vus-per-worker)"));
    assert_eq!(plan.workers, 12);
}

#[test]
fn work_that_cannot_be_dealt_out_finely_enough_is_refused() {
    let scenarios: Vec<String> = (0..7)
        .map(|i| format!(r#""s{i}":{{"executor":"per-vu-iterations","vus":2,"iterations":1,"maxDuration":"1m"}}"#))
        .collect();
    let options = format!(r#"{{"scenarios":{{{}}},"totalDuration":"90s","maxVUs":14}}"#, scenarios.join(","));
    let request = || Request { vus_per_worker: Some(6), ..Request::default() };
    let message = refused(&stack(), &options, request());
    assert!(
        message.starts_with("each worker would have 7 VUs at least, and one carries 6: --vus-per-worker\n"),
        "{message}"
    );
    assert!(message.contains("more than 2 workers: no scenario has more than 2 VUs to deal out"), "{message}");
    let request = Request { vus_per_worker: Some(7), ..Request::default() };
    assert_eq!(plan_on(&stack(), &options, request).expect("plans").workers, 2);
}

#[test]
fn a_stack_has_its_capacity() {
    let options = constant(1_020, 60, "");
    let small = LambdaStack { capacity: 3, ..stack() };
    for workers in [Workers::Auto, Workers::Exactly(4)] {
        let message = refused(&small, &options, with(workers));
        assert!(message.starts_with("4 workers are needed, and this stack may have 3 at one time\n"), "{message}");
        assert!(message.contains("WorkerCapacity=4") && message.contains("L-B99A9384"), "{message}");
    }
    assert!(plan_on(&LambdaStack { capacity: 4, ..stack() }, &options, with(Workers::Exactly(4))).is_ok());
    // What processors are thought to be good for is no reason to refuse.
    let plan = plan_on(&small, &constant_rate(9_000), Request::default()).expect("plans");
    assert_eq!(plan.workers, 3);
    assert!(plan.account_warnings()[0].starts_with("a worker would start 3,000 iterations/s, and 1.16 vCPU are good"));
    // A plan that was changed on its way is refused as well.
    let changed = Plan { workers: 201, ..plan };
    assert!(changed.check().expect_err("refused").to_string().contains("201 workers are needed"));
}

#[test]
fn lambda_s_time_is_used_to_the_second() {
    let with_hooks = |seconds, setup, teardown| {
        let options = Options::parse(constant(85, seconds, "").as_bytes()).expect("reads");
        let hash = serde_json::from_str("\"ab\"").expect("a hash");
        let archive = Archive { hash, size: 1, files: 1, filename: "file:///a.js".into() };
        let request = Request { script: "a.js".into(), ..Request::default() };
        Plan::new(request, archive, V181, &options, stack()).expect("plans").with_hooks(setup, teardown)
    };
    for (hooks, longest) in [((false, false), 804_300), ((true, false), 744_300), ((true, true), 684_300)] {
        let plan = with_hooks(60, hooks.0, hooks.1);
        assert_eq!(plan.longest(), Some(Duration::from_millis(longest)), "{hooks:?}");
        let seconds = longest / 1_000;
        let plan = with_hooks(seconds, hooks.0, hooks.1);
        plan.check().expect("fits");
        assert!(plan.worker_life() <= INVOCATION && plan.worker_life() + Duration::from_secs(1) > INVOCATION);
        let refusal = with_hooks(seconds + 1, hooks.0, hooks.1).check().expect_err("refused").to_string();
        let allows = format!("and Lambda allows {} for them", words(Duration::from_millis(longest)));
        assert!(refusal.contains(&allows) && refusal.contains("--platform fargate"), "{refusal}");
    }
    assert_eq!(with_hooks(60, false, false).deadlines.ready, Duration::from_millis(61_700));
    assert_eq!(with_hooks(804, false, false).deadlines.ready, Duration::from_secs(32));
}

#[test]
fn long_hooks_leave_no_time() {
    let message =
        refused(&stack(), &constant(1, 1, r#","setupTimeout":"10m","teardownTimeout":"10m""#), with(Workers::Auto));
    assert!(message.contains("setup() (10m5s) and teardown() (10m5s)"), "{message}");
    assert!(message.contains("lower setupTimeout"), "{message}");
}

#[test]
fn the_archive_s_k6_is_not_newer_than_the_workers() {
    let plan_with =
        |k6_version| plan_on(&LambdaStack { k6_version, ..stack() }, &constant(1, 1, ""), Request::default());
    for version in [K6Version::new(1, 7, 9), K6Version::new(2, 8, 1), K6Version::new(0, 9, 0)] {
        let message = plan_with(version).expect_err("refused").to_string();
        assert!(
            message.contains(&format!("the workers of this stack have v{version}"))
                || message.contains(&version.to_string()),
            "{message}"
        );
    }
    for version in [K6Version::new(1, 8, 0), K6Version::new(1, 9, 0)] {
        let plan = plan_with(version).expect("plans");
        assert_eq!((plan.k6_version, plan.archived_by), (version, Some(V181)));
        let warnings = plan.account_warnings();
        assert!(warnings[0].contains("1.8.1") && warnings[0].contains(&version.to_string()), "{warnings:?}");
    }
    assert_eq!(plan_with(V181).expect("plans").account_warnings(), Vec::<String>::new());
}

#[test]
fn connections_may_become_few() {
    let request = Request { vus_per_worker: Some(2_000), ..Request::default() };
    let plan = plan_on(&stack(), &constant(451, 60, ""), request).expect("plans");
    assert_eq!(
        plan.account_warnings(),
        ["451 VUs on a worker share 900 connections: too few if a VU talks to several hosts or uses http.batch()"]
    );
    let request = Request { vus_per_worker: Some(2_000), ..Request::default() };
    assert!(plan_on(&stack(), &constant(450, 60, ""), request).expect("plans").account_warnings().is_empty());
}

#[test]
fn the_ledger_bears_the_pace_and_a_stop_is_seen_in_time() {
    for workers in [1, 200, 1_000, 10_000] {
        let plan = plan_on(
            &LambdaStack { capacity: 10_000, ..stack() },
            &constant(10_000, 60, ""),
            Request { vus_per_worker: Some(10_000), ..with(Workers::Exactly(workers)) },
        )
        .expect("plans");
        let (pace, deadlines) = (plan.pace, plan.deadlines);
        assert!(pace.poll <= Duration::from_secs(2), "{pace:?}");
        // Two units for each write of a worker's record.
        assert!(f64::from(workers) / pace.flush.as_secs_f64() * 2.0 <= 1_000.0, "{pace:?}");
        assert!(
            pace.start_lead >= pace.poll * 2 + Duration::from_secs(1) && deadlines.lost >= pace.flush * 4,
            "{pace:?}"
        );
    }
    let usual = plan_on(&stack(), &constant(400, 60, ""), with(Workers::Exactly(200))).expect("plans").pace;
    assert_eq!((usual.poll, usual.flush), (Duration::from_secs(1), Duration::from_secs(2)));
}

#[test]
fn records_without_a_platform_are_of_local_runs() {
    let plan = plan_on(&stack(), &constant(3, 60, ""), Request::default()).expect("plans");
    let mut json = serde_json::to_value(&plan).expect("writes");
    assert_eq!(serde_json::from_value::<Plan>(json.clone()).expect("reads"), plan);
    assert_eq!(json["platform"]["kind"], "lambda");
    for field in ["platform", "archived_by", "cost"] {
        json.as_object_mut().expect("an object").remove(field).expect("was there");
    }
    for field in ["queue", "launch", "upload"] {
        json["deadlines"].as_object_mut().expect("an object").remove(field).expect("was there");
    }
    let old: Plan = serde_json::from_value(json).expect("reads");
    assert_eq!((old.platform, old.cost, old.deadlines.queue), (Platform::Local, None, Duration::ZERO));
}

proptest! {
    /// Whatever the options: a plan that is accepted fits into an invocation, and one that is not would not.
    #[test]
    fn an_accepted_plan_fits_into_an_invocation(
        vus in 1_u64..20_000, seconds in 0_u64..1_000, setup in 0_u64..200, teardown in 0_u64..200,
        workers in prop::option::of(1_u32..300), has_setup: bool, has_teardown: bool, each in prop::option::of(1_u64..2_000),
        memory_mb in 512_u32..10_240,
    ) {
        let hooks = format!(r#","setupTimeout":"{setup}s","teardownTimeout":"{teardown}s""#);
        let options = Options::parse(constant(vus, seconds, &hooks).as_bytes()).expect("reads");
        let hash = serde_json::from_str("\"ab\"").expect("a hash");
        let archive = Archive { hash, size: 1, files: 1, filename: "file:///a.js".into() };
        let workers = workers.map_or(Workers::Auto, Workers::Exactly);
        let request = Request { script: "a.js".into(), workers, vus_per_worker: each, ..Request::default() };
        let stack = LambdaStack { memory_mb, capacity: 300, ..stack() };
        let Ok(plan) = Plan::new(request, archive, V181, &options, stack.clone()) else { return Ok(()) };
        let plan = plan.with_hooks(has_setup, has_teardown);
        let longest = plan.longest().expect("is limited");
        prop_assert_eq!(plan.check().is_ok(), plan.duration <= longest && plan.worker_life() <= INVOCATION);
        prop_assert!(plan.deadlines.ready >= Duration::from_secs(30));
        prop_assert!(plan.latest_end() > plan.worker_life());
        if plan.check().is_ok() {
            prop_assert!(plan.workers <= 300);
            let carried = Carried::of(&stack.size(), &plan.archive, each).vus;
            prop_assert!(plan.worker_indices().all(|index| plan.worker_vus(index) <= carried));
            // Each of the steps in turn at its worst, and the last words.
            let d = plan.deadlines;
            let worst = d.launch + d.ready + d.setup + plan.pace.start_lead + d.run + d.stop + d.teardown + d.leaving();
            prop_assert!(worst <= INVOCATION, "{worst:?}");
        } else {
            prop_assert!(plan.duration > longest);
        }
    }
}
