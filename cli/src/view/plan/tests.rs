use insta::assert_snapshot;
use lambdaload_core::{
    archive::Archive,
    k6::{options::Options, version::K6Version},
    plan::{Host, LambdaStack, Machine, Request, Workers},
    testing::stack::lambda as stack,
};

use super::*;

pub(crate) const SHOP: &str = r#"{"browse":{"executor":"ramping-arrival-rate","startRate":0,"timeUnit":"1s","preAllocatedVUs":10,"maxVUs":900,
    "stages":[{"duration":"2m","target":400},{"duration":"5m","target":400}]},
    "buy":{"executor":"constant-vus","vus":120,"duration":"7m"}}"#;
const THRESHOLDS: &str =
    r#"{"http_req_duration":["p(95)<600",{"threshold":"p(99)<2000","abortOnFail":true}],"checks":["rate>0.9"]}"#;

/// A plan of these scenarios and thresholds, in JSON as k6 prints them.
pub(crate) fn plan(scenarios: &str, thresholds: &str, workers: Workers) -> Plan {
    plan_on(Machine { cores: 12, open_files: 1024 }, scenarios, thresholds, workers)
}

/// The same for a stack with workers of 2,048 MB.
pub(crate) fn on_lambda(scenarios: &str, workers: Workers) -> Plan {
    plan_on(stack(), scenarios, THRESHOLDS, workers)
}

fn plan_on(host: impl Into<Host>, scenarios: &str, thresholds: &str, workers: Workers) -> Plan {
    let json =
        format!(r#"{{"scenarios":{scenarios},"thresholds":{thresholds},"totalDuration":"7m30s","maxVUs":1020}}"#);
    let options = Options::parse(json.as_bytes()).expect("reads");
    let hash = serde_json::from_str(&format!("\"3f9c{}e1\"", "0".repeat(58))).expect("a hash");
    let archive = Archive { hash, size: 41_000, files: 3, filename: "file:///checkout.js".into() };
    let request = Request {
        script: "checkout.js".into(),
        workers,
        queue: std::time::Duration::from_mins(10),
        ..Request::default()
    };
    Plan::new(request, archive, K6Version::new(1, 8, 1), &options, host).expect("plans")
}

#[test]
fn a_plan_in_full() {
    assert_snapshot!(render(&plan(SHOP, THRESHOLDS, Workers::Auto), None, Detail::Full, Paint::OFF), @r#"
    checkout.js   k6 v1.8.1   archive 3f9c…e1 (41 kB, 3 files)
    scenarios     browse  ramping-arrival-rate  0 → 400/s in 2m, 5m hold  maxVUs 900
                  buy     constant-vus          120 VUs, 7m
    thresholds    3 on 2 metrics, 1 stops the run
    workers       12 × local   85 VUs each, 33.3 iterations/s each
                  why 12: one per processor (12)
    segments      worker 1  0:1/12     85 VUs  33.3 iterations/s
                  worker 2  1/12:2/12  85 VUs  33.3 iterations/s
                  worker 3  2/12:3/12  85 VUs  33.3 iterations/s
                  worker 4  3/12:4/12  85 VUs  33.3 iterations/s
                  worker 5  4/12:5/12  85 VUs  33.3 iterations/s
                  worker 6  5/12:6/12  85 VUs  33.3 iterations/s
                  worker 7  6/12:7/12  85 VUs  33.3 iterations/s
                  worker 8  7/12:8/12  85 VUs  33.3 iterations/s
                  … and 4 more (all of them with --output json)
    lasts         7m30s at most
    deadlines     ready 1m1s, setup 1m5s, run 7m50s, teardown 1m5s, stop 10s
    warnings      buy is a closed model: a slow target gets less load
    "#);
}

#[test]
fn above_a_run_it_is_short() {
    assert_snapshot!(render(&plan(SHOP, THRESHOLDS, Workers::Exactly(7)), None, Detail::Short, Paint::OFF), @r#"
    checkout.js   k6 v1.8.1   archive 3f9c…e1 (41 kB, 3 files)
    scenarios     browse  ramping-arrival-rate  0 → 400/s in 2m, 5m hold  maxVUs 900
                  buy     constant-vus          120 VUs, 7m
    thresholds    3 on 2 metrics, 1 stops the run
    workers       7 × local   145 to 147 VUs each, 56.9 to 57.3 iterations/s each
    lasts         7m30s at most
    warnings      buy is a closed model: a slow target gets less load
    "#);
}

#[test]
fn one_worker_and_no_thresholds() {
    let one = r#"{"default":{"executor":"per-vu-iterations","vus":1,"iterations":20}}"#;
    assert_snapshot!(render(&plan(one, "{}", Workers::Exactly(4)), None, Detail::Full, Paint::OFF), @r#"
    checkout.js   k6 v1.8.1   archive 3f9c…e1 (41 kB, 3 files)
    scenarios     default  per-vu-iterations  20 iterations for each of 1 VU
    thresholds    none
    workers       1 × local   1 VU
                  why 1: 4 asked for, but no scenario has more than 1 VU to deal out
    segments      worker 1  0:1  1 VU  20 iterations
    lasts         7m30s at most
    deadlines     ready 1m, setup 1m5s, run 7m50s, teardown 1m5s, stop 10s
    warnings      no thresholds: this run can neither pass nor fail
    "#);
}

#[test]
fn what_may_surprise_is_said() {
    let two_knobs = r#"{"a":{"executor":"externally-controlled","vus":2,"maxVUs":9,"duration":"1m"},
        "b":{"executor":"externally-controlled","vus":2,"duration":"1m"},
        "each":{"executor":"per-vu-iterations","vus":4,"iterations":3}}"#;
    let plan = plan(two_knobs, r#"{"checks":["rate>0.9"]}"#, Workers::Exactly(3));
    assert_eq!(plan.scenarios[0].shape, "2 VUs until `lambdaload scale` changes that, at most 9, 1m");
    assert_snapshot!(warnings(&plan).join("\n"), @r#"
    b keeps its VUs: k6 lets only its first externally-controlled scenario be scaled
    each: numbers of iterations (iterationInTest) have gaps, because its 4 VUs cannot be dealt out evenly
    "#);
}

#[test]
fn programs_get_every_worker() {
    let plan = plan(SHOP, THRESHOLDS, Workers::Exactly(200));
    let document = serde_json::to_value(Document::new(&plan, None)).expect("writes");
    assert_eq!(document["workers"].as_array().map(Vec::len), Some(200));
    assert_eq!(document["workers"][199]["segment"], "199/200:1");
    assert_eq!(document["workers"][0]["max_vus"], 6);
    assert_eq!(document["plan"]["workers"], 200);
    let text = render(&plan, None, Detail::Full, Paint::OFF);
    assert!(text.contains("worker 8") && !text.contains("worker 9 ") && text.contains("… and 192 more"), "{text}");
}

#[test]
fn on_lambda_time_and_money_are_shown_too() {
    let plan = on_lambda(SHOP, Workers::Exactly(12));
    let account = Some("1,000 concurrent, 37 in use, 100 kept for your own functions: fits");
    assert_snapshot!(render(&plan, account, Detail::Full, Paint::OFF), @r#"
    checkout.js   k6 v1.8.1   archive 3f9c…e1 (41 kB, 3 files)
    scenarios     browse  ramping-arrival-rate  0 → 400/s in 2m, 5m hold  maxVUs 900
                  buy     constant-vus          120 VUs, 7m
    thresholds    3 on 2 metrics, 1 stops the run
    workers       12 × lambda (2048 MB, arm64)   85 VUs each, 33.3 iterations/s each
    segments      worker 1  0:1/12     85 VUs  33.3 iterations/s
                  worker 2  1/12:2/12  85 VUs  33.3 iterations/s
                  worker 3  2/12:3/12  85 VUs  33.3 iterations/s
                  worker 4  3/12:4/12  85 VUs  33.3 iterations/s
                  worker 5  4/12:5/12  85 VUs  33.3 iterations/s
                  worker 6  5/12:6/12  85 VUs  33.3 iterations/s
                  worker 7  6/12:7/12  85 VUs  33.3 iterations/s
                  worker 8  7/12:8/12  85 VUs  33.3 iterations/s
                  … and 4 more (all of them with --output json)
    lasts         7m30s at most, of 11m24s that Lambda allows
    deadlines     room 10m, ready 1m1s, setup 1m5s, run 7m40s, teardown 1m5s, stop 10s
    costs         about $0.20 (workers $0.15, requests $0.02, rest $0.01, egress $0.02 for an assumed 1.2 kB a request)
                  assumed 194,400 requests: one for each iteration, and where VUs loop one for each VU and second
                  us-east-1 list prices of November 2026, no free tier
    account       1,000 concurrent, 37 in use, 100 kept for your own functions: fits
    warnings      buy is a closed model: a slow target gets less load
    "#);
    assert_snapshot!(render(&on_lambda(SHOP, Workers::Auto), account, Detail::Short, Paint::OFF), @r#"
    checkout.js   k6 v1.8.1   archive 3f9c…e1 (41 kB, 3 files)
    scenarios     browse  ramping-arrival-rate  0 → 400/s in 2m, 5m hold  maxVUs 900
                  buy     constant-vus          120 VUs, 7m
    thresholds    3 on 2 metrics, 1 stops the run
    workers       4 × lambda (2048 MB, arm64)   255 VUs each, 100 iterations/s each
                  why 4: 1,020 VUs ÷ 338 per worker (memory 1,841 of 2,048 MB; file descriptors 462 of 1,024)
    lasts         7m30s at most, of 11m20s that Lambda allows
    costs         about $0.09 (workers $0.05, requests $0.01, rest $0.01, egress $0.02 for an assumed 1.2 kB a request)
    account       1,000 concurrent, 37 in use, 100 kept for your own functions: fits
    warnings      buy is a closed model: a slow target gets less load
    "#);
}

#[test]
fn what_lambda_may_not_like_is_said() {
    let far = LambdaStack { region: "eu-central-1".into(), capacity: 1_000, memory_mb: 3_008, ..stack() };
    let heavy = r#"{"rate":{"executor":"constant-arrival-rate","rate":3000000,"duration":"7m","preAllocatedVUs":400}}"#;
    let plan = Plan { archived_by: Some(K6Version::new(1, 8, 0)), ..plan_on(far, heavy, "{}", Workers::Exactly(300)) };
    assert_snapshot!(render(&plan, None, Detail::Short, Paint::OFF), @r#"
    checkout.js   k6 v1.8.1   archive 3f9c…e1 (41 kB, 3 files)
    scenarios     rate  constant-arrival-rate  3000000/s, 7m  maxVUs 400
    thresholds    none
    workers       300 × lambda (3008 MB, arm64)   1 to 2 VUs each, 7,500 to 15,000 iterations/s each
    lasts         7m30s at most, of 11m25s that Lambda allows
    costs         about $142.29 (workers $5.46, requests $0.45, rest $0.16, egress $136.22 for an assumed 1.2 kB a request)
    warnings      the script was read by k6 1.8.0, and the workers have 1.8.1
                  a worker would start 15,000 iterations/s, and 1.70 vCPU are good for about 3,401: take more workers
                  up to 28.8 Gbps are sent (3,000,000 requests/s of 1,200 bytes); AWS may slow down more than 25 Gbps: https://aws.amazon.com/ec2/testing/
                  no thresholds: this run can neither pass nor fail
    "#);
    let basis = plan.cost.as_ref().map(|estimate| cost::basis(estimate, &plan)).expect("costs something");
    assert_eq!(basis[0], "assumed 1,261,260,961 requests: one for each iteration");
    assert_eq!(basis[1], "us-east-1 list prices of November 2026; eu-central-1 may differ, no free tier");
    let document = serde_json::to_value(Document::new(&plan, Some("fits"))).expect("writes");
    assert_eq!(
        (&document["account"], &document["plan"]["platform"]["region"]),
        (&"fits".into(), &"eu-central-1".into())
    );
    assert_eq!(document["plan"]["cost"]["parts"][0]["what"], "workers");
}
