//! An embedded database as ledger.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use async_trait::async_trait;
use lambdaload_core::{
    ids::RunId,
    ports::{Cause, Ledger, LedgerError, RunSummary},
    records::{RunRecord, WorkerRecord},
    verdict::Verdict,
};
use rusqlite::{Connection, Params, Transaction, TransactionBehavior, params};
use serde::{Serialize, de::DeserializeOwned};
use tokio::task::spawn_blocking;

use super::database::{FileError, connect, database_error, shown};

/// A ledger in one file, which any number of processes on this machine may use at once. (Not over a network: the database's
/// log needs memory that they share.)
///
/// Every method is one short transaction. Records are kept as JSON, whose fields are only ever added to.
#[derive(Clone, Debug)]
pub struct SqliteLedger {
    connection: Arc<Mutex<Connection>>,
    path: Arc<Path>,
}

impl SqliteLedger {
    /// Opens the ledger in this file, which is made if it is not there.
    pub async fn open(path: impl Into<PathBuf>) -> Result<Self, LedgerError> {
        let path: Arc<Path> = path.into().into();
        let file = Arc::clone(&path);
        let connection = in_background("opening the ledger", move || {
            connect(&file).map_err(|error| unavailable("opening the ledger", error))
        })
        .await?;
        Ok(Self { connection: Arc::new(Mutex::new(connection)), path })
    }

    /// One transaction that sees the ledger as it was at one moment.
    async fn read<T: Send + 'static>(
        &self,
        operation: &'static str,
        body: impl FnOnce(&Access<'_>) -> Result<T, LedgerError> + Send + 'static,
    ) -> Result<T, LedgerError> {
        self.transaction(operation, TransactionBehavior::Deferred, body).await
    }

    /// One transaction during which nobody else writes.
    async fn write<T: Send + 'static>(
        &self,
        operation: &'static str,
        body: impl FnOnce(&Access<'_>) -> Result<T, LedgerError> + Send + 'static,
    ) -> Result<T, LedgerError> {
        self.transaction(operation, TransactionBehavior::Immediate, body).await
    }

    async fn transaction<T: Send + 'static>(
        &self,
        operation: &'static str,
        behavior: TransactionBehavior,
        body: impl FnOnce(&Access<'_>) -> Result<T, LedgerError> + Send + 'static,
    ) -> Result<T, LedgerError> {
        let (connection, path) = (Arc::clone(&self.connection), Arc::clone(&self.path));
        in_background(operation, move || {
            let mut connection = connection.lock().unwrap_or_else(PoisonError::into_inner);
            let failed = |error| unavailable(operation, database_error(&path, error));
            let transaction = connection.transaction_with_behavior(behavior).map_err(failed)?;
            let value = body(&Access { transaction: &transaction, operation, path: &path })?;
            transaction.commit().map_err(failed)?;
            Ok(value)
        })
        .await
    }
}

/// The inside of one transaction.
struct Access<'a> {
    transaction: &'a Transaction<'a>,
    operation: &'static str,
    path: &'a Path,
}

impl Access<'_> {
    fn failed(&self, error: FileError) -> LedgerError {
        unavailable(self.operation, error)
    }

    /// Changes rows and says how many.
    fn execute(&self, sql: &str, params: impl Params) -> Result<usize, LedgerError> {
        self.transaction
            .prepare_cached(sql)
            .and_then(|mut s| s.execute(params))
            .map_err(|error| self.failed(database_error(self.path, error)))
    }

    /// The first two columns of all rows.
    fn rows(&self, sql: &str, params: impl Params) -> Result<Vec<(String, Option<String>)>, LedgerError> {
        let query = || {
            let mut statement = self.transaction.prepare_cached(sql)?;
            let rows = statement.query_map(params, |row| Ok((row.get(0)?, row.get(1)?)))?;
            rows.collect::<Result<_, _>>()
        };
        query().map_err(|error| self.failed(database_error(self.path, error)))
    }

    /// A run's record and verdict.
    fn run(&self, id: &RunId) -> Result<(String, Option<String>), LedgerError> {
        let mut rows = self.rows("SELECT record, verdict FROM runs WHERE id = ?1", [id.as_str()])?;
        rows.pop().ok_or_else(|| LedgerError::NoSuchRun(id.clone()))
    }

    fn json(&self, record: &impl Serialize) -> Result<String, LedgerError> {
        serde_json::to_string(record)
            .map_err(|source| self.failed(FileError::Record { path: shown(self.path), source }))
    }

    fn parse<T: DeserializeOwned>(&self, json: &str) -> Result<T, LedgerError> {
        serde_json::from_str(json).map_err(|source| self.failed(FileError::Record { path: shown(self.path), source }))
    }
}

#[async_trait]
impl Ledger for SqliteLedger {
    async fn create_run(&self, run: &RunRecord) -> Result<(), LedgerError> {
        let run = run.clone();
        self.write("recording a run", move |ledger| {
            let sql = "INSERT INTO runs (id, version, record) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING";
            match ledger.execute(sql, params![run.id.as_str(), run.version, ledger.json(&run)?])? {
                0 => Err(LedgerError::AlreadyExists(format!("run {}", run.id))),
                _ => Ok(()),
            }
        })
        .await
    }

    async fn run(&self, id: &RunId) -> Result<RunRecord, LedgerError> {
        let id = id.clone();
        self.read("reading a run", move |ledger| ledger.parse(&ledger.run(&id)?.0)).await
    }

    async fn replace_run(&self, run: &RunRecord) -> Result<RunRecord, LedgerError> {
        let seen = run.version;
        let next = RunRecord { version: seen + 1, ..run.clone() };
        self.write("changing a run", move |ledger| {
            let sql = "UPDATE runs SET version = ?2, record = ?3 WHERE id = ?1 AND version = ?4";
            let json = ledger.json(&next)?;
            if ledger.execute(sql, params![next.id.as_str(), next.version, json, seen])? == 0 {
                // There is no such run, or another version of it.
                ledger.run(&next.id)?;
                return Err(LedgerError::Conflict(format!("run {}", next.id)));
            }
            Ok(next)
        })
        .await
    }

    async fn claim_worker(&self, worker: &WorkerRecord) -> Result<(), LedgerError> {
        let worker = worker.clone();
        self.write("claiming a segment", move |ledger| {
            let sql = "INSERT INTO workers (run, worker, attempt, record) VALUES (?1, ?2, ?3, ?4) \
                       ON CONFLICT DO UPDATE SET record = record WHERE record = ?4";
            let json = ledger.json(&worker)?;
            match ledger.execute(sql, params![worker.run.as_str(), worker.index.0, worker.attempt.0, json])? {
                0 => Err(LedgerError::AlreadyExists(name(&worker))),
                _ => Ok(()),
            }
        })
        .await
    }

    async fn replace_worker(&self, worker: &WorkerRecord) -> Result<(), LedgerError> {
        let worker = worker.clone();
        self.write("changing a worker", move |ledger| {
            let sql = "UPDATE workers SET record = CASE WHEN json_extract(record, '$.beat') <= ?5 THEN ?4 ELSE record END \
                       WHERE run = ?1 AND worker = ?2 AND attempt = ?3";
            let json = ledger.json(&worker)?;
            let values = params![worker.run.as_str(), worker.index.0, worker.attempt.0, json, worker.beat];
            match ledger.execute(sql, values)? {
                0 => Err(LedgerError::Conflict(name(&worker))),
                _ => Ok(()),
            }
        })
        .await
    }

    async fn workers(&self, run: &RunId) -> Result<Vec<WorkerRecord>, LedgerError> {
        let run = run.clone();
        self.read("reading the workers of a run", move |ledger| {
            let rows = ledger.rows("SELECT record, NULL FROM workers WHERE run = ?1", [run.as_str()])?;
            rows.iter().map(|(record, _)| ledger.parse(record)).collect()
        })
        .await
    }

    async fn conclude(&self, run: &RunId, verdict: &Verdict) -> Result<Verdict, LedgerError> {
        let (run, verdict) = (run.clone(), verdict.clone());
        self.write("writing a verdict", move |ledger| {
            if let (_, Some(earlier)) = ledger.run(&run)? {
                return ledger.parse(&earlier);
            }
            let json = ledger.json(&verdict)?;
            ledger.execute("UPDATE runs SET verdict = ?2 WHERE id = ?1", params![run.as_str(), json])?;
            Ok(verdict)
        })
        .await
    }

    async fn verdict(&self, run: &RunId) -> Result<Option<Verdict>, LedgerError> {
        let run = run.clone();
        self.read("reading a verdict", move |ledger| {
            ledger.run(&run)?.1.map(|verdict| ledger.parse(&verdict)).transpose()
        })
        .await
    }

    async fn latest_runs(&self, limit: usize) -> Result<Vec<RunSummary>, LedgerError> {
        self.read("listing runs", move |ledger| {
            let limit = i64::try_from(limit).unwrap_or(i64::MAX);
            // Ids sort by the time of their making.
            let rows = ledger.rows("SELECT record, verdict FROM runs ORDER BY id DESC LIMIT ?1", [limit])?;
            let summary = |(record, verdict): (String, Option<String>)| {
                let verdict = verdict.map(|verdict| ledger.parse(&verdict)).transpose()?;
                Ok(RunSummary { record: ledger.parse(&record)?, verdict })
            };
            rows.into_iter().map(summary).collect()
        })
        .await
    }
}

fn name(worker: &WorkerRecord) -> String {
    format!("{} of run {}, attempt {}", worker.index, worker.run, worker.attempt.0)
}

fn unavailable(operation: &'static str, cause: impl Into<Cause>) -> LedgerError {
    LedgerError::Unavailable { operation, cause: cause.into() }
}

async fn in_background<T: Send + 'static>(
    operation: &'static str,
    body: impl FnOnce() -> Result<T, LedgerError> + Send + 'static,
) -> Result<T, LedgerError> {
    spawn_blocking(body).await.map_err(|error| unavailable(operation, error))?
}

#[cfg(test)]
mod tests {
    use futures::future::join_all;
    use lambdaload_core::testing::contract::{ledger_contract, sample_run};

    use super::*;

    const ID: &str = "01JD8QZV3M4T5W6X7Y8Z9A0B4K";

    #[tokio::test]
    async fn it_keeps_the_contract() {
        let folder = tempfile::tempdir().unwrap();
        ledger_contract(&SqliteLedger::open(folder.path().join("new/ledger.db")).await.unwrap()).await;
    }

    #[tokio::test]
    async fn many_may_open_a_new_one_at_once_and_share_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ledger.db");
        let ledgers = join_all((0..24).map(|_| SqliteLedger::open(path.clone()))).await;
        let ledgers: Vec<SqliteLedger> = ledgers.into_iter().map(Result::unwrap).collect();
        let run = sample_run(&RunId::parse(ID).unwrap());
        let created = join_all(ledgers.iter().map(|ledger| ledger.create_run(&run))).await;
        assert_eq!(created.iter().filter(|outcome| outcome.is_ok()).count(), 1);
        for ledger in &ledgers {
            assert_eq!(ledger.run(&run.id).await.unwrap(), run);
        }
    }

    #[tokio::test]
    async fn a_ledger_that_is_damaged_later_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ledger.db");
        let ledger = SqliteLedger::open(path.clone()).await.unwrap();
        ledger.create_run(&sample_run(&RunId::parse(ID).unwrap())).await.unwrap();
        drop(ledger);
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[4096..].fill(0xa5);
        std::fs::write(&path, bytes).unwrap();
        let ledger = SqliteLedger::open(path).await.unwrap();
        let message = ledger.run(&RunId::parse(ID).unwrap()).await.unwrap_err().to_string();
        assert!(message.starts_with("reading a run: ") && message.contains("move it away"), "{message}");
    }
}
