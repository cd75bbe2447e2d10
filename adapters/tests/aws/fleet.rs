use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use axum::{body::Bytes, http::request::Parts, response::Response};
use lambdaload_adapters::aws::LambdaFleet;
use lambdaload_core::{
    ids::{Attempt, WorkerIndex},
    ports::{Fleet as _, WorkerTask},
    records::FailureKind,
};

use crate::common::{Stub, config, json_error, run_id};

fn tasks(count: u32) -> Vec<WorkerTask> {
    (0..count).map(|index| WorkerTask { run: run_id(1), index: WorkerIndex(index), attempt: Attempt(1) }).collect()
}

fn accepted() -> Response {
    Response::builder().status(202).body("".into()).unwrap()
}

fn throttled() -> Response {
    json_error(429, "TooManyRequestsException", "Rate Exceeded.")
}

fn index(body: &Bytes) -> u32 {
    serde_json::from_slice::<WorkerTask>(body).unwrap().index.0
}

#[tokio::test]
async fn a_thousand_workers_are_invoked_some_at_once() {
    let (told, mut heard) = tokio::sync::mpsc::unbounded_channel();
    let lambda = move |head: Parts, body: Bytes, _| {
        let told = told.clone();
        async move {
            assert_eq!(head.uri.path(), "/2015-03-31/functions/worker/invocations");
            // As long as AWS takes, so that they meet.
            tokio::time::sleep(Duration::from_millis(20)).await;
            told.send(index(&body)).unwrap();
            accepted()
        }
    };
    let stub = Stub::start(lambda).await;
    let fleet = LambdaFleet::new(&config(&stub.endpoint).await, "worker");
    assert_eq!(fleet.launch(&tasks(1000)).await, []);
    let mut invoked: Vec<u32> = std::iter::from_fn(|| heard.try_recv().ok()).collect();
    invoked.sort_unstable();
    assert_eq!(invoked, (0..1000).collect::<Vec<_>>());
    assert!((10..=50).contains(&stub.most_at_once()), "{} at once", stub.most_at_once());
    assert_eq!(fleet.gone().await, []);
}

/// Its figures are in BENCHMARKS.md, under «Fan-out».
#[tokio::test]
#[expect(clippy::print_stdout, reason = "figures for people")]
async fn a_thousand_workers_are_launched_once_each_though_lambda_throttles_a_tenth_of_them() {
    let accepts = Arc::new(Mutex::new(Vec::new()));
    let throttles = Arc::new(Mutex::new(BTreeSet::new()));
    let accepted_there = accepts.clone();
    let lambda = move |_, body: Bytes, _| {
        let (accepts, throttles) = (accepted_there.clone(), throttles.clone());
        async move {
            tokio::time::sleep(Duration::from_millis(20)).await;
            let index = index(&body);
            if index % 10 == 3 && throttles.lock().unwrap().insert(index) {
                return throttled();
            }
            accepts.lock().unwrap().push(index);
            accepted()
        }
    };
    let stub = Stub::start(lambda).await;
    let fleet = LambdaFleet::new(&config(&stub.endpoint).await, "worker");
    let began_at = Instant::now();
    assert_eq!(fleet.launch(&tasks(1_000)).await, []);
    let took = began_at.elapsed();
    let mut launched = accepts.lock().unwrap().clone();
    launched.sort_unstable();
    assert_eq!(launched, (0..1_000).collect::<Vec<_>>(), "each once");
    assert_eq!(stub.requests(), 1_100);
    println!("1,000 workers, 100 of them throttled once, 20 ms a call: {} requests in {took:.2?}", stub.requests());
}

#[tokio::test]
async fn throttled_invocations_are_tried_again() {
    let stub = Stub::start(|_, _, number| async move { if number <= 120 { throttled() } else { accepted() } }).await;
    let fleet = LambdaFleet::new(&config(&stub.endpoint).await, "worker");
    assert_eq!(fleet.launch(&tasks(40)).await, []);
    assert_eq!(stub.requests(), 160);
}

#[tokio::test]
async fn workers_that_stay_throttled_are_named_and_the_others_run() {
    let lambda = |_, body: Bytes, _| async move { if index(&body) % 10 == 3 { throttled() } else { accepted() } };
    let stub = Stub::start(lambda).await;
    let fleet = LambdaFleet::new(&config(&stub.endpoint).await, "worker");
    let mut losses = fleet.launch(&tasks(30)).await;
    losses.sort_by_key(|loss| loss.index);
    assert_eq!(losses.iter().map(|loss| loss.index.0).collect::<Vec<_>>(), [3, 13, 23]);
    assert!(losses.iter().all(|loss| loss.kind == FailureKind::NotLaunched), "{losses:?}");
    let expected = "it could not be invoked: Lambda at http://127.0.0.1:";
    let words = &losses[0].message;
    assert!(words.starts_with(expected) && words.contains("takes no more calls at the moment"), "{words}");
    assert!(words.contains("TooManyRequestsException: Rate Exceeded., request 0f1e2d3c"), "{words}");
}

#[tokio::test]
async fn what_will_not_pass_is_not_tried_again() {
    let lambda = |_, _, _| async {
        let arn = "arn:aws:lambda:eu-central-1:123456789012:function:worker";
        let said = format!(
            "User: arn:aws:iam::123456789012:user/ci is not authorized to perform: lambda:InvokeFunction on resource: \
             {arn} because no identity-based policy allows the lambda:InvokeFunction action"
        );
        json_error(403, "AccessDeniedException", &said)
    };
    let stub = Stub::start(lambda).await;
    let fleet = LambdaFleet::new(&config(&stub.endpoint).await, "worker");
    let losses = fleet.launch(&tasks(3)).await;
    assert_eq!(losses.len(), 3);
    assert_eq!(stub.requests(), 3);
    let expected = "it could not be invoked: arn:aws:iam::123456789012:user/ci may not do lambda:InvokeFunction on \
                    arn:aws:lambda:eu-central-1:123456789012:function:worker (no identity-based policy allows the \
                    lambda:InvokeFunction action). Add to its policy: ";
    assert!(losses[0].message.starts_with(expected), "{}", losses[0].message);

    let missing = |_, _, _| async { json_error(404, "ResourceNotFoundException", "Function not found: worker") };
    let stub = Stub::start(missing).await;
    let fleet = LambdaFleet::new(&config(&stub.endpoint).await, "worker");
    let words = &fleet.launch(&tasks(1)).await[0].message;
    assert!(words.contains("there is no function `worker` in eu-central-1: was the stack deployed"), "{words}");
}
