//! A DynamoDB table as ledger.
//!
//! | pk | sk | attributes |
//! |---|---|---|
//! | `run#<id>` | `run` | `record`, `version`, `expires` |
//! | `runs` | `<id>` | `expires`; for the list |
//! | `run#<id>` | `worker#<index>` | `record`, `attempt`, `beat`, `expires` |
//! | `run#<id>` | `verdict` | `record`, or `writer` and `pieces`; `expires` |
//! | `run#<id>` | `verdict#<writer>#<number>` | `piece`, `expires` |
//!
//! Records are JSON text, whose fields are only ever added to. `expires` is when DynamoDB may delete an item. All reads are
//! consistent: a worker that read an old record of its run might leave, or start late.

use std::{
    collections::HashMap,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use async_trait::async_trait;
use aws_sdk_dynamodb::types::AttributeValue;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use lambdaload_core::{
    ids::RunId,
    ports::{Ledger, LedgerError, RunSummary, Timestamp},
    records::{RunRecord, WorkerRecord},
    verdict::Verdict,
};

use super::{
    config::Config,
    table::{Condition, Item, NOTHING_THERE, Order, Table, Written, json, key, number, number_in, record, text},
    verdicts::{self, verdict_key},
};

/// Large verdicts that are put together at once for a list.
const AT_ONCE: usize = 8;

/// How long things are kept at least. DynamoDB deletes them within days after that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Runs and their verdicts, from the beginning of the run.
    pub runs: Duration,
    /// Records of workers, from their claim.
    pub workers: Duration,
}

/// A ledger in one table, which any number of functions and people may use at once.
#[derive(Clone, Debug)]
pub struct DynamoLedger {
    table: Table,
    retention: Retention,
}

impl DynamoLedger {
    /// The ledger in this table.
    pub fn new(config: &Config, table: impl Into<String>, retention: Retention) -> Self {
        Self { table: Table::new(config, table), retention }
    }

    async fn run_item(&self, operation: &'static str, id: &RunId) -> Result<Item, LedgerError> {
        let item = self.table.get(operation, run_key(id)).await?;
        item.ok_or_else(|| LedgerError::NoSuchRun(id.clone()))
    }
}

#[async_trait]
impl Ledger for DynamoLedger {
    async fn create_run(&self, run: &RunRecord) -> Result<(), LedgerError> {
        let operation = "recording a run";
        let expires = expiry(run.created_at, self.retention.runs);
        let mut item = run_key(&run.id);
        item.insert("record".to_owned(), text(json(operation, run)?));
        item.insert("version".to_owned(), number(run.version));
        item.insert("expires".to_owned(), expires.clone());
        let mut listed = key("runs", run.id.as_str());
        listed.insert("expires".to_owned(), expires);
        let created = self.table.put_new_together(operation, vec![item, listed]).await?;
        if created { Ok(()) } else { Err(LedgerError::AlreadyExists(format!("run {}", run.id))) }
    }

    async fn run(&self, id: &RunId) -> Result<RunRecord, LedgerError> {
        let operation = "reading a run";
        record(operation, &self.run_item(operation, id).await?)
    }

    async fn replace_run(&self, run: &RunRecord) -> Result<RunRecord, LedgerError> {
        let operation = "changing a run";
        let next = RunRecord { version: run.version + 1, ..run.clone() };
        let attributes = [("record", text(json(operation, &next)?)), ("version", number(next.version))];
        let condition = Condition { expression: "version = :seen", values: vec![(":seen", number(run.version))] };
        match self.table.set(operation, run_key(&run.id), &attributes, &condition).await? {
            Written::Done => Ok(next),
            Written::Refused(Some(_)) => Err(LedgerError::Conflict(format!("run {}", run.id))),
            Written::Refused(None) => Err(LedgerError::NoSuchRun(run.id.clone())),
        }
    }

    async fn claim_worker(&self, worker: &WorkerRecord) -> Result<(), LedgerError> {
        let operation = "claiming a segment";
        let mut item = worker_key(worker);
        let record = text(json(operation, worker)?);
        item.insert("record".to_owned(), record.clone());
        item.insert("attempt".to_owned(), number(worker.attempt.0));
        item.insert("beat".to_owned(), number(worker.beat));
        item.insert("expires".to_owned(), expiry(now(), self.retention.workers));
        match self.table.put(operation, item, &NOTHING_THERE).await? {
            Written::Done => Ok(()),
            Written::Refused(Some(there)) if there.get("record") == Some(&record) => Ok(()),
            Written::Refused(_) => Err(LedgerError::AlreadyExists(name(worker))),
        }
    }

    async fn replace_worker(&self, worker: &WorkerRecord) -> Result<(), LedgerError> {
        let operation = "changing a worker";
        let attributes = [("record", text(json(operation, worker)?)), ("beat", number(worker.beat))];
        let condition = Condition {
            expression: "attempt = :attempt AND beat <= :beat",
            values: vec![(":attempt", number(worker.attempt.0)), (":beat", number(worker.beat))],
        };
        match self.table.set(operation, worker_key(worker), &attributes, &condition).await? {
            Written::Done => Ok(()),
            Written::Refused(there) => {
                let attempt = there.as_ref().and_then(|item| number_in(item, "attempt"));
                // Of the same attempt, so it has a later beat.
                if attempt == Some(u64::from(worker.attempt.0)) {
                    Ok(())
                } else {
                    Err(LedgerError::Conflict(name(worker)))
                }
            }
        }
    }

    async fn workers(&self, run: &RunId) -> Result<Vec<WorkerRecord>, LedgerError> {
        let operation = "reading the workers of a run";
        let partition = format!("run#{run}");
        let items = self.table.query(operation, &partition, "worker#", Order::Ascending, usize::MAX).await?;
        items.iter().map(|item| record(operation, item)).collect()
    }

    async fn conclude(&self, run: &RunId, verdict: &Verdict) -> Result<Verdict, LedgerError> {
        let operation = "writing a verdict";
        // Nothing deletes a run while it goes on, so it is still there when the verdict is.
        let record: RunRecord = record(operation, &self.run_item(operation, run).await?)?;
        let expires = expiry(record.created_at, self.retention.runs);
        match verdicts::write(&self.table, operation, run, verdict, expires).await? {
            Written::Done => Ok(verdict.clone()),
            Written::Refused(Some(earlier)) => verdicts::read(&self.table, operation, run, &earlier).await,
            Written::Refused(None) => {
                let cause = "it was refused, and there is no earlier one".into();
                Err(LedgerError::Unavailable { operation, cause })
            }
        }
    }

    async fn verdict(&self, run: &RunId) -> Result<Option<Verdict>, LedgerError> {
        let operation = "reading a verdict";
        match self.table.get(operation, verdict_key(run)).await? {
            Some(item) => verdicts::read(&self.table, operation, run, &item).await.map(Some),
            None => self.run_item(operation, run).await.map(|_| None),
        }
    }

    async fn latest_runs(&self, limit: usize) -> Result<Vec<RunSummary>, LedgerError> {
        let operation = "listing runs";
        // Ids sort by the time of their making.
        let listed = self.table.query(operation, "runs", "", Order::Descending, limit).await?;
        let ids: Vec<RunId> =
            listed.iter().filter_map(|item| RunId::parse(item.get("sk")?.as_s().ok()?).ok()).collect();
        let keys = ids.iter().flat_map(|id| [run_key(id), verdict_key(id)]).collect();
        let mut items: HashMap<(String, String), Item> = HashMap::new();
        for item in self.table.get_all(operation, keys).await? {
            let part = |name| item.get(name).and_then(|value| value.as_s().ok()).cloned().unwrap_or_default();
            items.insert((part("pk"), part("sk")), item);
        }
        let items = &items;
        let summary = |id: RunId| async move {
            let item = |sort: &str| items.get(&(format!("run#{id}"), sort.to_owned()));
            // One that expires just now has its pointer left, or its verdict.
            let Some(run) = item("run") else { return Ok(None) };
            let verdict = match item("verdict") {
                Some(item) => Some(verdicts::read(&self.table, operation, &id, item).await?),
                None => None,
            };
            Ok::<_, LedgerError>(Some(RunSummary { record: record(operation, run)?, verdict }))
        };
        let found: Vec<Option<RunSummary>> = stream::iter(ids).map(summary).buffered(AT_ONCE).try_collect().await?;
        Ok(found.into_iter().flatten().collect())
    }
}

fn run_key(id: &RunId) -> Item {
    key(format!("run#{id}"), "run")
}

fn worker_key(worker: &WorkerRecord) -> Item {
    key(format!("run#{}", worker.run), format!("worker#{:05}", worker.index.0))
}

fn name(worker: &WorkerRecord) -> String {
    format!("{} of run {}, attempt {}", worker.index, worker.run, worker.attempt.0)
}

/// When an item may go, in seconds since the Unix epoch.
fn expiry(from: Timestamp, kept: Duration) -> AttributeValue {
    number(from.plus(kept).0.unsigned_abs() / 1_000_000)
}

fn now() -> Timestamp {
    Timestamp(0).plus(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())
}
