use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use lambdaload_adapters::aws::{DynamoLedger, DynamoSlots, S3Store};
use lambdaload_core::{
    ports::{Ledger as _, LedgerError, ObjectStore as _, SlotBook as _, StoreError},
    testing::contract::sample_run,
};
use lambdaload_tests::servers::Microburst;
use serde_json::json;
use tokio::net::TcpListener;

use crate::common::{DEADLINE, RETENTION, Stub, config, json_error, ledger, ministack, run_id, store, xml_error};

/// As AWS says it, from a proxy before an account that works.
#[tokio::test]
#[ignore = "needs the servers of `cargo xtask servers`"]
async fn what_is_throttled_for_a_moment_succeeds() {
    let (_, bucket) = store(&ministack()).await;
    let (.., table) = ledger(&ministack()).await;
    let proxy = tokio::task::spawn_blocking(|| {
        let proxy = Microburst::before(&ministack());
        proxy.set_rules(json!([
            {"service": "dynamodb", "times": 2, "error": {"code": "ProvisionedThroughputExceededException"}},
            {"service": "s3", "times": 2, "error": {"code": "SlowDown"}},
        ]));
        proxy
    });
    let proxy = proxy.await.unwrap();
    let config = config(&proxy.endpoint()).await;
    let store = S3Store::new(&config, bucket);
    store.put_new("a", vec![1, 2, 3]).await.unwrap();
    assert_eq!(store.get("a").await.unwrap(), [1, 2, 3]);
    let ledger = DynamoLedger::new(&config, table, RETENTION);
    let run = sample_run(&run_id(1));
    ledger.create_run(&run).await.unwrap();
    assert_eq!(ledger.run(&run.id).await.unwrap(), run);
    let fired = tokio::task::spawn_blocking(move || (proxy.fired_count("dynamodb"), proxy.fired_count("s3")));
    assert_eq!(fired.await.unwrap(), (2, 2), "the faults were not made");
}

/// The same, but the service is out of order for a moment; and as often as a call is tried.
#[tokio::test]
async fn what_fails_for_a_moment_succeeds() {
    let run = sample_run(&run_id(1));
    let item = json!({"Item": {"pk": {"S": "x"}, "sk": {"S": "run"},
                      "record": {"S": serde_json::to_string(&run).unwrap()}, "version": {"N": "1"}}});
    let answer = move |_, _, number| {
        let item = item.to_string();
        async move {
            match number {
                1 => json_error(500, "InternalServerError", "We encountered an internal error"),
                2 => json_error(400, "ThrottlingException", "Rate of requests exceeds the allowed throughput"),
                _ => axum::response::Response::builder().body(item.into()).unwrap(),
            }
        }
    };
    let stub = Stub::start(answer).await;
    let ledger = DynamoLedger::new(&config(&stub.endpoint).await, "runs", RETENTION);
    assert_eq!(ledger.run(&run.id).await.unwrap(), run);
    assert_eq!(stub.requests(), 3);
}

#[tokio::test]
async fn what_stays_throttled_is_said_to_be() {
    let stub = Stub::start(|_, _, _| async {
        json_error(400, "ProvisionedThroughputExceededException", "The level of configured throughput was exceeded")
    })
    .await;
    let ledger = DynamoLedger::new(&config(&stub.endpoint).await, "runs", RETENTION);
    let error = ledger.run(&run_id(1)).await.unwrap_err();
    assert!(matches!(error, LedgerError::Unavailable { .. }));
    let words = error.to_string();
    assert!(words.starts_with("reading a run: DynamoDB at http://127.0.0.1:"), "{words}");
    assert!(words.contains("takes no more calls at the moment; it was tried several times"), "{words}");
    assert_eq!(stub.requests(), 5, "the tries of one call have an end");

    let stub = Stub::start(|_, _, _| async { xml_error(503, "SlowDown", "Please reduce your request rate.") }).await;
    let store = S3Store::new(&config(&stub.endpoint).await, "bucket");
    let error = store.put_new("a", vec![1]).await.unwrap_err();
    assert!(error.to_string().contains("S3 at ") && error.to_string().contains("SlowDown: Please reduce"), "{error}");
}

/// A conflict of two uploads at one moment is no answer to who has won.
#[tokio::test]
async fn a_conflict_of_uploads_is_tried_again() {
    let stub = Stub::start(|_, _, number| async move {
        match number {
            1 | 2 => xml_error(409, "ConditionalRequestConflict", "a conflicting conditional operation is in progress"),
            _ => xml_error(412, "PreconditionFailed", "At least one of the pre-conditions did not hold"),
        }
    })
    .await;
    let store = S3Store::new(&config(&stub.endpoint).await, "bucket");
    let outcome = store.put_new("a", vec![1]).await;
    assert!(matches!(outcome, Err(StoreError::AlreadyExists(_))), "{outcome:?}");
    assert_eq!(stub.requests(), 3);

    let stub = Stub::start(|_, _, _| async { xml_error(409, "ConditionalRequestConflict", "in progress") }).await;
    let store = S3Store::new(&config(&stub.endpoint).await, "bucket");
    let outcome = store.put_new("a", vec![1]).await;
    assert!(matches!(&outcome, Err(StoreError::Unavailable { .. })), "{outcome:?}");
}

/// A transaction that met another one is no answer either.
#[tokio::test]
async fn a_conflict_of_transactions_is_tried_again() {
    let stub = Stub::start(|_, _, number| async move {
        let reason = if number <= 2 { "TransactionConflict" } else { "ConditionalCheckFailed" };
        let body = json!({
            "__type": "com.amazonaws.dynamodb.v20120810#TransactionCanceledException",
            "Message": "Transaction cancelled",
            "CancellationReasons": [{"Code": "None"}, {"Code": reason, "Message": "..."}],
        });
        axum::response::Response::builder().status(400).body(body.to_string().into()).unwrap()
    })
    .await;
    let ledger = DynamoLedger::new(&config(&stub.endpoint).await, "runs", RETENTION);
    let outcome = ledger.create_run(&sample_run(&run_id(1))).await;
    assert!(matches!(outcome, Err(LedgerError::AlreadyExists(_))), "{outcome:?}");
    assert_eq!(stub.requests(), 3);

    // And for writes that met one.
    let stub = Stub::start(|_, _, number| async move {
        match number {
            1 => json_error(400, "TransactionConflictException", "Transaction is ongoing for the item"),
            _ => axum::response::Response::builder().body("{}".into()).unwrap(),
        }
    })
    .await;
    let slots = DynamoSlots::new(&config(&stub.endpoint).await, "runs");
    assert_eq!(slots.replace_slots(&lambdaload_core::slots::Slots::default()).await.unwrap().version, 1);
    assert_eq!(stub.requests(), 2);
}

/// DynamoDB may do a part of what it was asked.
#[tokio::test]
async fn what_was_left_out_of_an_answer_is_asked_for_again() {
    let stub = Stub::start(|_, body: axum::body::Bytes, number| async move {
        let asked: serde_json::Value = serde_json::from_slice(&body).unwrap();
        let answer = match number {
            1 => json!({"Items": [{"pk": {"S": "runs"}, "sk": {"S": run_id(1).to_string()}}]}),
            // Nothing at first, then one of two, then the rest.
            2 => json!({"Responses": {}, "UnprocessedKeys": asked["RequestItems"]}),
            _ => {
                let keys = asked["RequestItems"]["runs"]["Keys"].as_array().unwrap().clone();
                let mut item = keys[0].clone();
                let record = if item["sk"]["S"] == "run" {
                    serde_json::to_string(&sample_run(&run_id(1))).unwrap()
                } else {
                    serde_json::to_string(&lambdaload_core::testing::sample::verdict()).unwrap()
                };
                item["record"] = json!({"S": record});
                let rest = &keys[1..];
                let unprocessed = if rest.is_empty() { json!({}) } else { json!({"runs": {"Keys": rest}}) };
                json!({"Responses": {"runs": [item]}, "UnprocessedKeys": unprocessed})
            }
        };
        axum::response::Response::builder().body(answer.to_string().into()).unwrap()
    })
    .await;
    let ledger = DynamoLedger::new(&config(&stub.endpoint).await, "runs", RETENTION);
    let listed = ledger.latest_runs(10).await.unwrap();
    assert_eq!(listed.len(), 1);
    assert!(listed[0].verdict.is_some());
    assert_eq!(stub.requests(), 4);
}

/// Connections open, and nothing is ever answered.
#[tokio::test]
async fn a_server_that_hangs_is_given_up_in_words() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let connections = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&connections);
    let hanging = tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((connection, _)) = listener.accept().await {
            counted.fetch_add(1, Ordering::SeqCst);
            held.push(connection);
        }
    });
    let config = config(&endpoint).await;
    let (ledger, store) = (DynamoLedger::new(&config, "runs", RETENTION), S3Store::new(&config, "bucket"));
    let run = run_id(1);
    let asked = async { futures::join!(ledger.run(&run), store.get("a"), store.put_new("a", vec![1; 1000])) };
    let (run, got, put) = tokio::time::timeout(DEADLINE, asked).await.expect("each call has an end");
    for (service, words) in [
        ("DynamoDB", run.unwrap_err().to_string()),
        ("S3", got.unwrap_err().to_string()),
        ("S3", put.unwrap_err().to_string()),
    ] {
        assert!(words.contains(&format!("{service} at {endpoint} did not answer in time")), "{words}");
    }
    assert!(connections.load(Ordering::SeqCst) >= 6, "no call was tried again on another connection");
    hanging.abort();
}

#[tokio::test]
async fn an_endpoint_where_nobody_is_is_named() {
    // A port that was free a moment ago.
    let endpoint = format!("http://{}", TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap());
    let config = config(&endpoint).await;
    let error = DynamoLedger::new(&config, "runs", RETENTION).run(&run_id(1)).await.unwrap_err().to_string();
    let expected = format!(
        "reading a run: DynamoDB at {endpoint} could not be reached: look at the network, the proxy, the region and \
         AWS_ENDPOINT_URL (Connection refused (os error 111))"
    );
    assert_eq!(error, expected);
}

#[tokio::test]
async fn an_answer_of_something_else_is_no_answer_of_aws() {
    let page = |_, _, _| async {
        axum::response::Response::builder().status(502).body("<html>Bad Gateway</html>".into()).unwrap()
    };
    let stub = Stub::start(page).await;
    let config = config(&stub.endpoint).await;
    for words in [
        DynamoLedger::new(&config, "runs", RETENTION).run(&run_id(1)).await.unwrap_err().to_string(),
        S3Store::new(&config, "bucket").get("a").await.unwrap_err().to_string(),
    ] {
        assert!(words.contains(&stub.endpoint), "{words}");
    }
}
