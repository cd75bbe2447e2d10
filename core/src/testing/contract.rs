//! What every object store and every ledger must do, as tests.
//!
//! Each function runs a port's whole contract against one implementation and panics where it is broken. They need no
//! runtime of their own; how much really goes on at once is up to the caller's.

use std::future::Future;

use futures::future::join_all;

use crate::{
    archive::Archive,
    ids::{Attempt, RunId, WorkerIndex},
    k6::{options::Options, version::K6Version},
    lifecycle::RunEvent,
    plan::{Machine, Plan, Request, Workers},
    ports::{Ledger, LedgerError, ObjectStore, SlotBook, StoreError, StoredTests, Timestamp},
    records::{RunRecord, WorkerPhase, WorkerRecord},
    schedule::{Cron, Fired, Firing, Overlap, ScheduleName, StoredTest, Timing},
    slots::{Held, Slots, Waiting},
    testing::sample,
    verdict::Verdict,
};

/// How many try the same thing at one time.
const RIVALS: u32 = 48;

/// A run of three workers that was just recorded.
pub fn sample_run(id: &RunId) -> RunRecord {
    let options = br#"{"scenarios":{"default":{"executor":"constant-vus","vus":30,"duration":"60s"}},
        "totalDuration":"90s","maxVUs":30,"thresholds":{"http_req_duration":["p(95)<200.5"]}}"#;
    let options = Options::parse(options).unwrap_or_else(|error| panic!("{error}"));
    let request = Request {
        script: "a.js".into(),
        note: Some("with `quotes`, \"more\" and ümläuts".into()),
        workers: Workers::Exactly(3),
        ..Request::default()
    };
    let archive = Archive { filename: "file:///a.js".into(), ..sample::verdict().archive };
    let machine = Machine { cores: 2, open_files: 1024 };
    let plan = Plan::new(request, archive, K6Version::new(1, 8, 1), &options, machine);
    RunRecord::new(id.clone(), Timestamp(1_795_348_800_000_000), plan.unwrap_or_else(|error| panic!("{error}")))
}

/// An empty store, and everything below the folder `contract/` in it.
pub async fn object_store_contract(store: &dyn ObjectStore) {
    let missing = store.get("contract/missing").await;
    assert!(matches!(&missing, Err(StoreError::NotFound(key)) if key == "contract/missing"), "{missing:?}");

    // Whole bytes come back, none and many included.
    for (key, bytes) in [("contract/none", vec![]), ("contract/deep/er/many", pattern(5 * 1024 * 1024, 1))] {
        ok(store.put_new(key, bytes.clone())).await;
        assert!(ok(store.get(key)).await == bytes, "{key} comes back otherwise");
    }

    // Whether it is there can be asked.
    assert!(ok(store.has("contract/none")).await && ok(store.has("contract/deep/er/many")).await);
    assert!(!ok(store.has("contract/missing")).await);

    // What is there is refused, and stays.
    let again = store.put_new("contract/deep/er/many", vec![2]).await;
    assert!(matches!(&again, Err(StoreError::AlreadyExists(key)) if key == "contract/deep/er/many"), "{again:?}");
    assert_eq!(ok(store.get("contract/deep/er/many")).await.len(), 5 * 1024 * 1024);

    // A put stores what is new and replaces what is old, and counts as there for who wants to put something new.
    ok(store.put("contract/live", vec![1])).await;
    ok(store.put("contract/live", vec![2, 2])).await;
    assert_eq!(ok(store.get("contract/live")).await, [2, 2]);
    assert!(matches!(store.put_new("contract/live", vec![3]).await, Err(StoreError::AlreadyExists(_))));

    // Of many one wins, and its object is whole.
    let puts = (0..RIVALS).map(|rival| store.put_new("contract/race", pattern(100_000, rival)));
    let outcomes = join_all(puts).await;
    let winner = only_winner(&outcomes, |error| matches!(error, StoreError::AlreadyExists(_)));
    assert!(ok(store.get("contract/race")).await == pattern(100_000, winner), "the object is not the winner's");

    // Whoever reads while others replace sees one whole object.
    let replace = join_all((0..RIVALS).map(|rival| store.put("contract/live", pattern(200_000, rival))));
    let read = join_all((0..RIVALS).map(|_| store.get("contract/live")));
    let (replaced, found) = futures::join!(replace, read);
    assert!(replaced.iter().all(Result::is_ok), "{replaced:?}");
    for bytes in found {
        let bytes = bytes.unwrap_or_else(|error| panic!("{error}"));
        assert!(bytes == [2, 2] || (0..RIVALS).any(|rival| bytes == pattern(200_000, rival)), "a torn object");
    }
}

/// An empty ledger, and a few runs in it.
pub async fn ledger_contract(ledger: &dyn Ledger) {
    runs(ledger).await;
    workers(ledger).await;
    verdicts(ledger).await;
    lists(ledger).await;
}

async fn runs(ledger: &dyn Ledger) {
    let run = sample_run(&run_id("01JD8QZV3M4T5W6X7Y8Z9A0B4A"));
    no_such_run(&run.id, &ledger.run(&run.id).await);
    no_such_run(&run.id, &ledger.replace_run(&run).await);

    // One record of a run.
    let outcomes = join_all((0..RIVALS).map(|_| ledger.create_run(&run))).await;
    only_winner(&outcomes, |error| matches!(error, LedgerError::AlreadyExists(_)));
    assert_eq!(ok(ledger.run(&run.id)).await, run);

    // Of many who have seen one version one replaces it.
    let changed = |beat| RunRecord { aggregator_beat: u64::from(beat), ..run.clone() };
    let rivals: Vec<RunRecord> = (0..RIVALS).map(changed).collect();
    let outcomes = join_all(rivals.iter().map(|rival| ledger.replace_run(rival))).await;
    let winner = only_winner(&outcomes, |error| matches!(error, LedgerError::Conflict(_)));
    let stored = ok(ledger.run(&run.id)).await;
    assert_eq!(stored, RunRecord { version: 2, ..changed(winner) });
    assert_eq!(outcomes.into_iter().find_map(Result::ok), Some(stored.clone()), "the stored record is not returned");

    // Nothing else is lost on the way.
    let state = stored.state.next(RunEvent::Validated).unwrap_or_else(|error| panic!("{error}"));
    let next = RunRecord { state, start_at: Some(Timestamp(5)), teardown_by: Some(WorkerIndex::FIRST), ..stored };
    let next = ok(ledger.replace_run(&next)).await;
    assert_eq!((next.version, &ok(ledger.run(&run.id)).await), (3, &next));
    let late = ledger.replace_run(&run).await;
    assert!(matches!(late, Err(LedgerError::Conflict(_))), "{late:?}");
}

async fn workers(ledger: &dyn Ledger) {
    let run = sample_run(&run_id("01JD8QZV3M4T5W6X7Y8Z9A0B4B"));
    ok(ledger.create_run(&run)).await;
    assert_eq!(ok(ledger.workers(&run.id)).await, []);
    let claim = |index, attempt| WorkerRecord::claim(run.id.clone(), WorkerIndex(index), Attempt(attempt));

    // Nobody changes what was not claimed.
    let unclaimed = ledger.replace_worker(&claim(0, 1)).await;
    assert!(matches!(unclaimed, Err(LedgerError::Conflict(_))), "{unclaimed:?}");

    // A segment has one worker, whichever attempt it is.
    let claims: Vec<WorkerRecord> = (0..RIVALS).map(|rival| claim(0, rival + 1)).collect();
    let outcomes = join_all(claims.iter().map(|rival| ledger.claim_worker(rival))).await;
    let winner = only_winner(&outcomes, |error| matches!(error, LedgerError::AlreadyExists(_)));
    ok(ledger.claim_worker(&claim(2, 1))).await;
    ok(ledger.claim_worker(&claim(1, 1))).await;

    // Whoever got no answer claims again; another process of the same attempt does not get it.
    ok(ledger.claim_worker(&claim(0, winner + 1))).await;
    refuse(ledger, &WorkerRecord { claimant: "another".into(), ..claim(0, winner + 1) }).await;

    // It changes its record, and no other attempt does.
    let ready = WorkerRecord { phase: WorkerPhase::Ready, beat: 7, skew_micros: Some(-1), ..claim(0, winner + 1) };
    ok(ledger.replace_worker(&ready)).await;
    ok(ledger.replace_worker(&ready)).await;
    ok(ledger.replace_worker(&WorkerRecord { beat: 6, ..claim(0, winner + 1) })).await;
    refuse(ledger, &claim(0, winner + 1)).await;
    let other = ledger.replace_worker(&claim(0, winner + 2)).await;
    assert!(matches!(other, Err(LedgerError::Conflict(_))), "{other:?}");

    let mut found = ok(ledger.workers(&run.id)).await;
    found.sort_by_key(|worker| worker.index);
    assert_eq!(found, [ready, claim(1, 1), claim(2, 1)]);
    assert_eq!(ok(ledger.workers(&run_id("01JD8QZV3M4T5W6X7Y8Z9A0B4A"))).await, [], "another run's workers");
}

async fn refuse(ledger: &dyn Ledger, claim: &WorkerRecord) {
    let refused = ledger.claim_worker(claim).await;
    assert!(matches!(refused, Err(LedgerError::AlreadyExists(_))), "{refused:?}");
}

async fn verdicts(ledger: &dyn Ledger) {
    let run = sample_run(&run_id("01JD8QZV3M4T5W6X7Y8Z9A0B4C"));
    // A number that many readers of JSON get wrong in its last digit.
    let verdict = |code| Verdict {
        run: run.id.clone(),
        exit_code: code,
        duration_ms: 907.303_832_202_868_9,
        ..sample::verdict()
    };
    no_such_run(&run.id, &ledger.verdict(&run.id).await);
    no_such_run(&run.id, &ledger.conclude(&run.id, &verdict(0)).await);
    ok(ledger.create_run(&run)).await;
    assert_eq!(ok(ledger.verdict(&run.id)).await, None);

    // All who conclude are given the same one, and it stays.
    let rivals: Vec<Verdict> = (1..).take(RIVALS as usize).map(verdict).collect();
    let concluded = join_all(rivals.iter().map(|rival| ledger.conclude(&run.id, rival))).await;
    let stored = ok(ledger.verdict(&run.id)).await;
    assert!(stored.as_ref().is_some_and(|stored| rivals.contains(stored)), "{stored:?}");
    for answer in concluded {
        assert_eq!(Some(answer.unwrap_or_else(|error| panic!("{error}"))), stored);
    }

    // A verdict and a change of the record do not disturb each other.
    let next = ok(ledger.replace_run(&run)).await;
    assert_eq!((ok(ledger.run(&run.id)).await, ok(ledger.verdict(&run.id)).await), (next, stored));
}

async fn lists(ledger: &dyn Ledger) {
    let listed = async |limit| -> Vec<(char, bool)> {
        let runs = ok(ledger.latest_runs(limit)).await;
        runs.iter().map(|run| (run.record.id.as_str().chars().last().unwrap_or('?'), run.verdict.is_some())).collect()
    };
    // Recorded in another order than their ids say.
    ok(ledger.create_run(&sample_run(&run_id("01JD8QZV3M4T5W6X7Y8Z9A0B4E")))).await;
    ok(ledger.create_run(&sample_run(&run_id("01JD8QZV3M4T5W6X7Y8Z9A0B4D")))).await;
    let all = [('E', false), ('D', false), ('C', true), ('B', false), ('A', false)];
    assert_eq!(listed(100).await, all);
    assert_eq!(listed(3).await, all[..3]);
    assert_eq!(listed(0).await, []);
}

fn run_id(text: &str) -> RunId {
    RunId::parse(text).unwrap_or_else(|error| panic!("{error}"))
}

/// A book in which nothing was written.
pub async fn slot_book_contract(book: &dyn SlotBook) {
    let run = |last: u8| RunId::parse(&format!("01JD8QZV3M4T5W6X7Y8Z9A0B4{last}")).unwrap_or_else(|e| panic!("{e}"));
    let empty = ok(book.slots()).await;
    assert_eq!(empty, Slots::default());

    // What was written is read, as the next version.
    let mut slots = empty.clone();
    slots.held.insert(run(1), Held { workers: 7, until: Timestamp(5) });
    slots.waiting.push(Waiting {
        run: run(2),
        workers: 1000,
        lasts_ms: 90_000,
        until: Timestamp(i64::MAX),
        after: Some(run(1)),
    });
    let written = ok(book.replace_slots(&slots)).await;
    assert_eq!(written, Slots { version: 1, ..slots });
    assert_eq!(ok(book.slots()).await, written);

    // Whoever has not read the last version changes nothing.
    let late = book.replace_slots(&empty).await;
    assert!(matches!(&late, Err(LedgerError::Conflict(_))), "{late:?}");
    let early = book.replace_slots(&Slots { version: 2, ..empty }).await;
    assert!(matches!(&early, Err(LedgerError::Conflict(_))), "{early:?}");
    assert_eq!(ok(book.slots()).await, written);

    // Of many who have read the same, one writes.
    let outcomes = join_all((0..RIVALS).map(|n| {
        let mut mine = written.clone();
        mine.held.insert(run(3), Held { workers: n, until: Timestamp(1) });
        async move { book.replace_slots(&mine).await }
    }))
    .await;
    let won: Vec<&Slots> = outcomes.iter().filter_map(|outcome| outcome.as_ref().ok()).collect();
    assert!(outcomes.iter().all(|o| matches!(o, Ok(_) | Err(LedgerError::Conflict(_)))), "{outcomes:?}");
    assert_eq!(won.len(), 1, "{outcomes:?}");
    assert_eq!(&ok(book.slots()).await, won[0]);
}

/// A test of this name that was just stored.
pub fn sample_stored(name: &str) -> StoredTest {
    let created_at = Timestamp(1_795_348_800_000_000);
    let run = RunId::derived(created_at, name);
    StoredTest {
        name: ScheduleName::parse(name).unwrap_or_else(|error| panic!("{error}")),
        revision: 1,
        lambdaload_version: "0.1.0".into(),
        version: 1,
        plan: sample_run(&run).plan,
        timing: Timing::Cron(Cron::parse("0 2 * * *").unwrap_or_else(|error| panic!("{error}"))),
        timezone: "Europe/Oslo".into(),
        overlap: Overlap::Skip,
        notify: None,
        paused: false,
        created_at,
        updated_at: created_at,
        firings: Vec::new(),
    }
}

/// No stored tests, and any number of them.
pub async fn stored_tests_contract(tests: &dyn StoredTests) {
    assert_eq!(ok(tests.all()).await, []);
    let nightly = sample_stored("nightly");
    assert_eq!(ok(tests.test(&nightly.name)).await, None);
    ok(tests.delete(&nightly.name)).await;
    let early = tests.replace(&nightly).await;
    assert!(matches!(&early, Err(LedgerError::Conflict(_))), "{early:?}");

    // What was stored is read, and there is one of a name.
    ok(tests.create(&nightly)).await;
    assert_eq!(ok(tests.test(&nightly.name)).await, Some(nightly.clone()));
    let again = tests.create(&StoredTest { paused: true, ..nightly.clone() }).await;
    assert!(matches!(&again, Err(LedgerError::AlreadyExists(_))), "{again:?}");
    ok(tests.create(&sample_stored("Alpha_1.2"))).await;
    let names = async || ok(tests.all()).await.into_iter().map(|test| test.name.to_string()).collect::<Vec<_>>();
    assert_eq!(names().await, ["Alpha_1.2", "nightly"]);

    // Whoever has not read the last revision changes nothing.
    let firing = |n: u32| Firing {
        run: RunId::derived(Timestamp(n.into()), "x"),
        version: 1,
        scheduled_for: Some(Timestamp(n.into())),
        fired_at: Timestamp(n.into()),
        fired: Fired::Skipped { why: "\"ümläut\"".into() },
    };
    let mut fired = nightly.clone();
    fired.remember(firing(1));
    let stored = ok(tests.replace(&fired)).await;
    assert_eq!(stored, StoredTest { revision: 2, ..fired.clone() });
    let late = tests.replace(&fired).await;
    assert!(matches!(&late, Err(LedgerError::Conflict(_))), "{late:?}");
    assert_eq!(ok(tests.test(&nightly.name)).await, Some(stored.clone()));

    // Of many who have read the same, one writes.
    let outcomes = join_all((2..2 + RIVALS).map(|n| {
        let mut mine = stored.clone();
        mine.remember(firing(n));
        async move { tests.replace(&mine).await }
    }))
    .await;
    let won: Vec<&StoredTest> = outcomes.iter().filter_map(|outcome| outcome.as_ref().ok()).collect();
    assert!(outcomes.iter().all(|o| matches!(o, Ok(_) | Err(LedgerError::Conflict(_)))), "{outcomes:?}");
    assert_eq!(won.len(), 1, "{outcomes:?}");
    assert_eq!(ok(tests.test(&nightly.name)).await.as_ref(), Some(won[0]));

    // What is deleted is gone, and may be stored anew.
    ok(tests.delete(&nightly.name)).await;
    ok(tests.delete(&nightly.name)).await;
    assert_eq!(names().await, ["Alpha_1.2"]);
    let gone = tests.replace(won[0]).await;
    assert!(matches!(&gone, Err(LedgerError::Conflict(_))), "{gone:?}");
    ok(tests.create(&nightly)).await;
    assert_eq!(ok(tests.test(&nightly.name)).await, Some(nightly));
}

/// Bytes that tell their writer and their length.
fn pattern(length: usize, writer: u32) -> Vec<u8> {
    writer.to_be_bytes().into_iter().cycle().take(length).collect()
}

async fn ok<T, E: std::error::Error>(outcome: impl Future<Output = Result<T, E>>) -> T {
    outcome.await.unwrap_or_else(|error| panic!("{error}"))
}

fn no_such_run<T: std::fmt::Debug>(id: &RunId, outcome: &Result<T, LedgerError>) {
    assert!(matches!(&outcome, Err(LedgerError::NoSuchRun(found)) if found == id), "{outcome:?}");
}

/// Which one of many succeeded; all others must have failed as those who come second do.
fn only_winner<T, E: std::fmt::Debug>(outcomes: &[Result<T, E>], is_second: impl Fn(&E) -> bool) -> u32 {
    let winners: Vec<u32> = (0..).zip(outcomes).filter(|(_, outcome)| outcome.is_ok()).map(|(i, _)| i).collect();
    for error in outcomes.iter().filter_map(|outcome| outcome.as_ref().err()) {
        assert!(is_second(error), "{error:?}");
    }
    match winners[..] {
        [winner] => winner,
        _ => panic!("{} of {} have won", winners.len(), outcomes.len()),
    }
}
