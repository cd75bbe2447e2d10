use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue;
use futures::{StreamExt as _, TryStreamExt as _, future::join_all, stream};
use lambdaload_adapters::aws::DynamoLedger;
use lambdaload_core::{
    ids::{Attempt, RunId, WorkerIndex},
    ports::{Ledger as _, LedgerError},
    records::{Failure, FailureKind, WorkerPhase, WorkerRecord},
    testing::{
        contract::{ledger_contract, sample_run, slot_book_contract},
        sample,
    },
    verdict::{Reason, ReasonCode, Verdict},
};

use crate::common::{RETENTION, config, dynamodb_local, ledger, ministack, run_id};

#[tokio::test]
#[ignore = "needs the servers of `cargo xtask servers`"]
async fn it_keeps_the_contract_in_an_emulated_account() {
    ledger_contract(&ledger(&ministack()).await.0).await;
}

#[tokio::test]
#[ignore = "needs the servers of `cargo xtask servers`"]
async fn it_keeps_the_contract_with_a_strict_server() {
    ledger_contract(&ledger(&dynamodb_local()).await.0).await;
}

#[tokio::test]
#[ignore = "needs the servers of `cargo xtask servers`"]
async fn slots_keep_the_contract_in_an_emulated_account() {
    slot_book_contract(&ledger(&ministack()).await.1).await;
}

#[tokio::test]
#[ignore = "needs the servers of `cargo xtask servers`"]
async fn slots_keep_the_contract_with_a_strict_server() {
    slot_book_contract(&ledger(&dynamodb_local()).await.1).await;
}

/// A thousand workers, of which each has a long story: more than DynamoDB gives in one answer.
async fn many_workers(endpoint: &str) {
    let (ledger, ..) = ledger(endpoint).await;
    let run = run_id(1);
    let worker = |index| WorkerRecord {
        phase: WorkerPhase::Closed,
        beat: 9,
        failure: Some(Failure {
            kind: FailureKind::K6Failed,
            message: "m".repeat(1500),
            exit: None,
            log: vec!["a line of k6's log".to_owned()],
        }),
        ..WorkerRecord::claim(run.clone(), WorkerIndex(index), Attempt(1))
    };
    let claim = async |index| {
        let worker = worker(index);
        ledger.claim_worker(&WorkerRecord::claim(run.clone(), WorkerIndex(index), Attempt(1))).await?;
        ledger.replace_worker(&worker).await
    };
    stream::iter(0..1000).map(claim).buffer_unordered(32).try_collect::<()>().await.unwrap();
    let mut found = ledger.workers(&run).await.unwrap();
    found.sort_by_key(|worker| worker.index);
    assert_eq!(found.len(), 1000);
    assert!(found.iter().zip(0..).all(|(found, index)| *found == worker(index)));
    assert!(serde_json::to_string(&found).unwrap().len() > 1024 * 1024, "they would fit in one answer");
}

#[tokio::test]
#[ignore = "needs the servers of `cargo xtask servers`"]
async fn a_thousand_workers_are_all_read_from_an_emulated_account() {
    many_workers(&ministack()).await;
}

#[tokio::test]
#[ignore = "needs the servers of `cargo xtask servers`"]
async fn a_thousand_workers_are_all_read_from_a_strict_server() {
    many_workers(&dynamodb_local()).await;
}

/// A verdict of about so many bytes, which can hardly be compressed.
fn verdict(run: &RunId, size: usize, seed: u64) -> Verdict {
    let mut state = seed;
    let mut word = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        format!("{:08x}", state >> 32)
    };
    let reason = |_| Reason {
        code: ReasonCode::ThresholdCrossed,
        message: (0..120).map(|_| word()).collect(),
        worker: None,
        next_step: None,
    };
    Verdict { run: run.clone(), reasons: (0..size / 1024).map(reason).collect(), ..sample::verdict() }
}

async fn large_verdicts(endpoint: &str) {
    let (ledger, _, table) = ledger(endpoint).await;
    // What fits in an item as it is, what does not fit but would if it were counted carelessly, and far too much.
    let sizes = [200 * 1024, 310 * 1024, 350 * 1024, 400 * 1024, 450 * 1024, 2300 * 1024];
    for (i, size) in sizes.into_iter().enumerate() {
        let run = sample_run(&run_id(i));
        ledger.create_run(&run).await.unwrap();
        let first = verdict(&run.id, size, 1);
        assert!(serde_json::to_string(&first).unwrap().len() > size * 9 / 10);
        assert_eq!(ledger.conclude(&run.id, &first).await.unwrap(), first, "{size}");
        assert_eq!(ledger.verdict(&run.id).await.unwrap().as_ref(), Some(&first), "{size}");
        // Whoever is second gets the first, whatever the size of its own.
        for second in [verdict(&run.id, 1024, 2), verdict(&run.id, size, 3)] {
            assert_eq!(ledger.conclude(&run.id, &second).await.unwrap(), first, "{size}");
        }
        assert_eq!(ledger.verdict(&run.id).await.unwrap(), Some(first), "{size}");
        assert!(ledger.workers(&run.id).await.unwrap().is_empty(), "pieces are no workers");
    }
    let listed = ledger.latest_runs(100).await.unwrap();
    let expected: Vec<Verdict> = (0..sizes.len()).rev().map(|i| verdict(&run_id(i), sizes[i], 1)).collect();
    assert!(listed.into_iter().map(|run| run.verdict.unwrap()).eq(expected), "the list has other verdicts");

    // Many at once.
    let run = sample_run(&run_id(99));
    ledger.create_run(&run).await.unwrap();
    let rivals: Vec<Verdict> = (0..6).map(|seed| verdict(&run.id, 700 * 1024, seed)).collect();
    let answers = join_all(rivals.iter().map(|rival| ledger.conclude(&run.id, rival))).await;
    let stored = ledger.verdict(&run.id).await.unwrap().unwrap();
    assert!(rivals.contains(&stored));
    assert!(answers.into_iter().all(|answer| answer.unwrap() == stored), "not all were given the same one");

    // One of which a piece is lost is an error, not half a verdict.
    let client = aws_sdk_dynamodb::Client::new(config(endpoint).await.sdk());
    let query = client.query().table_name(&table).key_condition_expression("pk = :pk AND begins_with(sk, :prefix)");
    let query = query.expression_attribute_values(":pk", AttributeValue::S(format!("run#{}", run.id)));
    let query = query.expression_attribute_values(":prefix", AttributeValue::S("verdict#".into()));
    let pieces: Vec<_> =
        query.projection_expression("pk, sk").into_paginator().items().send().try_collect().await.unwrap();
    for item in pieces {
        client.delete_item().table_name(&table).set_key(Some(item)).send().await.unwrap();
    }
    let error = ledger.verdict(&run.id).await.unwrap_err().to_string();
    assert!(error.contains("pieces, of which 0 are there"), "{error}");
}

#[tokio::test]
#[ignore = "needs the servers of `cargo xtask servers`"]
async fn no_verdict_is_too_large_for_an_emulated_account() {
    Box::pin(large_verdicts(&ministack())).await;
}

#[tokio::test]
#[ignore = "needs the servers of `cargo xtask servers`"]
async fn no_verdict_is_too_large_for_a_strict_server() {
    Box::pin(large_verdicts(&dynamodb_local())).await;
}

/// More runs than one call may ask for.
#[tokio::test]
#[ignore = "needs the servers of `cargo xtask servers`"]
async fn long_lists_are_whole() {
    let (ledger, ..) = ledger(&dynamodb_local()).await;
    let runs: Vec<_> = (0..120).map(|number| sample_run(&run_id(number))).collect();
    join_all(runs.iter().map(|run| ledger.create_run(run))).await.into_iter().for_each(Result::unwrap);
    let listed = ledger.latest_runs(1000).await.unwrap();
    let expected: Vec<_> = runs.iter().rev().collect();
    assert_eq!(listed.iter().map(|run| &run.record).collect::<Vec<_>>(), expected);
    let latest = ledger.latest_runs(70).await.unwrap();
    assert_eq!(latest.iter().map(|run| &run.record).collect::<Vec<_>>(), expected[..70]);
}

/// What expires says when: workers before their run.
#[tokio::test]
#[ignore = "needs the servers of `cargo xtask servers`"]
async fn everything_has_its_time() {
    let (ledger, _, table) = ledger(&dynamodb_local()).await;
    let run = sample_run(&run_id(1));
    ledger.create_run(&run).await.unwrap();
    ledger.claim_worker(&WorkerRecord::claim(run.id.clone(), WorkerIndex(0), Attempt(1))).await.unwrap();
    ledger.conclude(&run.id, &verdict(&run.id, 400 * 1024, 1)).await.unwrap();
    // Changes leave it as it is.
    ledger.replace_run(&run).await.unwrap();
    let beat = WorkerRecord { beat: 1, ..WorkerRecord::claim(run.id.clone(), WorkerIndex(0), Attempt(1)) };
    ledger.replace_worker(&beat).await.unwrap();

    let client = aws_sdk_dynamodb::Client::new(config(&dynamodb_local()).await.sdk());
    let items = client.scan().table_name(&table).send().await.unwrap().items.unwrap();
    let kept = (run.created_at.0 / 1_000_000).unsigned_abs() + RETENTION.runs.as_secs();
    let today = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let mut seen = Vec::new();
    for item in items {
        let sort = item["sk"].as_s().unwrap().split('#').next().unwrap().to_owned();
        let expires: u64 = item["expires"].as_n().unwrap().parse().unwrap();
        if sort == "worker" {
            let left = Duration::from_secs(expires).checked_sub(today).unwrap();
            assert!(RETENTION.workers.checked_sub(left).is_some_and(|gone| gone < Duration::from_hours(1)), "{left:?}");
        } else {
            assert_eq!(expires, kept, "{sort}");
        }
        seen.push(sort);
    }
    seen.sort();
    assert_eq!(seen, [run.id.as_str(), "run", "verdict", "verdict", "worker"]);
}

#[tokio::test]
#[ignore = "needs the servers of `cargo xtask servers`"]
async fn a_record_that_is_no_record_is_named() {
    let (ledger, _, table) = ledger(&dynamodb_local()).await;
    let client = aws_sdk_dynamodb::Client::new(config(&dynamodb_local()).await.sdk());
    let text = |text: &str| AttributeValue::S(text.to_owned());
    let item = client.put_item().table_name(&table).item("pk", text(&format!("run#{}", run_id(1))));
    item.item("sk", text("run")).item("record", text("{}")).send().await.unwrap();
    let error = ledger.run(&run_id(1)).await.unwrap_err().to_string();
    let expected = format!("reading a run: the item `run#{}` `run` cannot be read: missing field", run_id(1));
    assert!(error.starts_with(&expected), "{error}");
}

#[tokio::test]
#[ignore = "needs the servers of `cargo xtask servers`"]
async fn a_record_that_is_too_large_is_refused_in_words() {
    let (ledger, ..) = ledger(&dynamodb_local()).await;
    let run = run_id(1);
    let worker = WorkerRecord::claim(run, WorkerIndex(0), Attempt(1));
    ledger.claim_worker(&worker).await.unwrap();
    let failure = Failure { kind: FailureKind::K6Failed, message: "m".repeat(500_000), exit: None, log: Vec::new() };
    let error = ledger.replace_worker(&WorkerRecord { failure: Some(failure), ..worker }).await.unwrap_err();
    assert!(matches!(error, LedgerError::Unavailable { .. }));
    assert!(error.to_string().starts_with("changing a worker: it is larger than DynamoDB's 400 kB"), "{error}");
}

#[tokio::test]
#[ignore = "needs the servers of `cargo xtask servers`"]
async fn a_table_that_is_not_there_is_named() {
    let ledger = DynamoLedger::new(&config(&dynamodb_local()).await, "nothing", RETENTION);
    let error = ledger.run(&run_id(1)).await.unwrap_err().to_string();
    let expected = "reading a run: there is no table `nothing` in eu-central-1: was the stack deployed";
    assert!(error.starts_with(expected), "{error}");
}
