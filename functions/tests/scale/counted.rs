//! Ports that count what is asked of them.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{SystemTime, UNIX_EPOCH},
};

use async_trait::async_trait;
use lambdaload_core::{
    ids::RunId,
    ports::{Ledger, LedgerError, ObjectStore, RunSummary, StoreError},
    records::{RunRecord, WorkerRecord},
    verdict::Verdict,
};
use serde::{Deserialize, Serialize};

/// What an item of the ledger has beside its record: keys, names, numbers.
const AROUND: usize = 130;

/// What was asked in one second.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Asked {
    pub(crate) puts: u64,
    pub(crate) gets: u64,
    /// Of DynamoDB: a unit writes 1 kB.
    pub(crate) write_units: u64,
    /// A unit reads 4 kB consistently.
    pub(crate) read_units: u64,
}

impl Asked {
    pub(crate) fn add(&mut self, other: &Self) {
        self.puts += other.puts;
        self.gets += other.gets;
        self.write_units += other.write_units;
        self.read_units += other.read_units;
    }
}

/// A chunk that went through a store, in microseconds since 1970.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Passed {
    pub(crate) key: String,
    pub(crate) began_at: i64,
    pub(crate) ended_at: i64,
}

/// What was counted.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Counts {
    /// By the second, since 1970.
    pub(crate) asked: BTreeMap<i64, Asked>,
    pub(crate) chunks: Vec<Passed>,
    /// Bytes of all chunks.
    pub(crate) bytes: u64,
    /// When the ledger last took the word of a worker.
    pub(crate) last_word: i64,
}

/// A port with all its calls counted.
pub(crate) struct Counted<P: ?Sized> {
    port: Arc<P>,
    counts: Arc<Mutex<Counts>>,
}

/// Microseconds since 1970.
pub(crate) fn micros() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    i64::try_from(now.as_micros()).expect("this side of the year 290000")
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<P: ?Sized> Counted<P> {
    pub(crate) fn new(port: Arc<P>, counts: &Arc<Mutex<Counts>>) -> Self {
        Self { port, counts: Arc::clone(counts) }
    }

    fn note(&self, note: impl FnOnce(&mut Asked)) {
        note(lock(&self.counts).asked.entry(micros() / 1_000_000).or_default());
    }

    fn passed(&self, key: &str, began_at: i64, bytes: usize) {
        if key.contains(".chunk") {
            let mut counts = lock(&self.counts);
            counts.bytes += bytes as u64;
            counts.chunks.push(Passed { key: key.to_owned(), began_at, ended_at: micros() });
        }
    }
}

#[async_trait]
impl ObjectStore for Counted<dyn ObjectStore> {
    async fn put_new(&self, key: &str, bytes: Vec<u8>) -> Result<(), StoreError> {
        self.note(|asked| asked.puts += 1);
        let (began_at, size) = (micros(), bytes.len());
        self.port.put_new(key, bytes).await?;
        self.passed(key, began_at, size);
        Ok(())
    }

    async fn put(&self, key: &str, bytes: Vec<u8>) -> Result<(), StoreError> {
        self.note(|asked| asked.puts += 1);
        self.port.put(key, bytes).await
    }

    async fn get(&self, key: &str) -> Result<Vec<u8>, StoreError> {
        self.note(|asked| asked.gets += 1);
        let began_at = micros();
        let bytes = self.port.get(key).await?;
        self.passed(key, began_at, bytes.len());
        Ok(bytes)
    }
}

fn size(record: &impl Serialize) -> usize {
    serde_json::to_vec(record).expect("JSON").len() + AROUND
}

impl Counted<dyn Ledger> {
    fn wrote(&self, record: &impl Serialize) {
        let units = size(record).div_ceil(1_000) as u64;
        self.note(|asked| asked.write_units += units);
    }

    fn read(&self, bytes: usize) {
        let units = bytes.div_ceil(4_000).max(1) as u64;
        self.note(|asked| asked.read_units += units);
    }
}

#[async_trait]
impl Ledger for Counted<dyn Ledger> {
    async fn create_run(&self, run: &RunRecord) -> Result<(), LedgerError> {
        self.wrote(run);
        self.port.create_run(run).await
    }

    async fn run(&self, id: &RunId) -> Result<RunRecord, LedgerError> {
        let run = self.port.run(id).await?;
        self.read(size(&run));
        Ok(run)
    }

    async fn replace_run(&self, run: &RunRecord) -> Result<RunRecord, LedgerError> {
        self.wrote(run);
        self.port.replace_run(run).await
    }

    async fn claim_worker(&self, worker: &WorkerRecord) -> Result<(), LedgerError> {
        self.wrote(worker);
        self.port.claim_worker(worker).await
    }

    async fn replace_worker(&self, worker: &WorkerRecord) -> Result<(), LedgerError> {
        self.wrote(worker);
        self.port.replace_worker(worker).await?;
        lock(&self.counts).last_word = micros();
        Ok(())
    }

    async fn workers(&self, run: &RunId) -> Result<Vec<WorkerRecord>, LedgerError> {
        let workers = self.port.workers(run).await?;
        self.read(workers.iter().map(size).sum());
        Ok(workers)
    }

    async fn conclude(&self, run: &RunId, verdict: &Verdict) -> Result<Verdict, LedgerError> {
        self.wrote(verdict);
        self.port.conclude(run, verdict).await
    }

    async fn verdict(&self, run: &RunId) -> Result<Option<Verdict>, LedgerError> {
        self.read(0);
        self.port.verdict(run).await
    }

    async fn latest_runs(&self, limit: usize) -> Result<Vec<RunSummary>, LedgerError> {
        self.port.latest_runs(limit).await
    }
}
