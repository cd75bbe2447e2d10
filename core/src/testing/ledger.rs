//! A ledger in memory, with the habits of the service behind the port.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;

use crate::{
    ids::{Attempt, RunId, WorkerIndex},
    ports::{Ledger, LedgerError, RunSummary, Timestamp},
    records::{RunRecord, WorkerRecord},
    verdict::Verdict,
};

/// Records in memory. Workers come in another order with each question.
#[derive(Debug, Default)]
pub struct MemoryLedger {
    state: Mutex<State>,
    /// Whether a list of workers still has a worker as it was before its last change, once.
    stale: bool,
}

#[derive(Debug, Default)]
struct State {
    runs: BTreeMap<RunId, RunRecord>,
    workers: BTreeMap<(RunId, WorkerIndex), WorkerRecord>,
    verdicts: HashMap<RunId, Verdict>,
    /// What a stale list has, once.
    workers_before: HashMap<(RunId, WorkerIndex), Option<WorkerRecord>>,
    questions: usize,
    /// Every start that was ever stored, to see that it is one.
    starts: Vec<Timestamp>,
}

impl MemoryLedger {
    /// A ledger whose list of workers is a change behind when it is first asked for.
    pub fn stale() -> Self {
        Self { stale: true, ..Self::default() }
    }

    /// A run as it is.
    pub fn peek(&self, id: &RunId) -> Option<RunRecord> {
        self.lock().runs.get(id).cloned()
    }

    /// A worker as it is.
    pub fn peek_worker(&self, id: &RunId, index: WorkerIndex) -> Option<WorkerRecord> {
        self.lock().workers.get(&(id.clone(), index)).cloned()
    }

    /// Gives a worker's segment to another attempt, as if somebody had claimed it.
    pub fn give_to(&self, id: &RunId, index: WorkerIndex, attempt: Attempt) {
        if let Some(worker) = self.lock().workers.get_mut(&(id.clone(), index)) {
            *worker = WorkerRecord::claim(id.clone(), index, attempt);
        }
    }

    /// All starts T0 that were ever stored, without repetition.
    pub fn starts(&self) -> Vec<Timestamp> {
        self.lock().starts.clone()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn existing(&self, id: &RunId) -> Result<&RunRecord, LedgerError> {
        self.runs.get(id).ok_or_else(|| LedgerError::NoSuchRun(id.clone()))
    }
}

#[async_trait]
impl Ledger for MemoryLedger {
    async fn create_run(&self, run: &RunRecord) -> Result<(), LedgerError> {
        let mut state = self.lock();
        if state.runs.contains_key(&run.id) {
            return Err(LedgerError::AlreadyExists(format!("run {}", run.id)));
        }
        state.runs.insert(run.id.clone(), run.clone());
        Ok(())
    }

    async fn run(&self, id: &RunId) -> Result<RunRecord, LedgerError> {
        self.lock().existing(id).cloned()
    }

    async fn replace_run(&self, run: &RunRecord) -> Result<RunRecord, LedgerError> {
        let mut state = self.lock();
        if state.existing(&run.id)?.version != run.version {
            return Err(LedgerError::Conflict(format!("run {}", run.id)));
        }
        let after = RunRecord { version: run.version + 1, ..run.clone() };
        state.runs.insert(run.id.clone(), after.clone());
        if let Some(start_at) = after.start_at
            && !state.starts.contains(&start_at)
        {
            state.starts.push(start_at);
        }
        Ok(after)
    }

    async fn claim_worker(&self, worker: &WorkerRecord) -> Result<(), LedgerError> {
        let mut state = self.lock();
        state.existing(&worker.run)?;
        let key = (worker.run.clone(), worker.index);
        if let Some(there) = state.workers.get(&key) {
            let again = || LedgerError::AlreadyExists(worker.index.to_string());
            return if there == worker { Ok(()) } else { Err(again()) };
        }
        state.workers.insert(key.clone(), worker.clone());
        if self.stale {
            state.workers_before.insert(key, None);
        }
        Ok(())
    }

    async fn replace_worker(&self, worker: &WorkerRecord) -> Result<(), LedgerError> {
        let mut state = self.lock();
        let key = (worker.run.clone(), worker.index);
        let before = state.workers.get(&key).filter(|claimed| claimed.attempt == worker.attempt).cloned();
        let before = before.ok_or_else(|| LedgerError::Conflict(worker.index.to_string()))?;
        if worker.beat < before.beat {
            return Ok(());
        }
        state.workers.insert(key.clone(), worker.clone());
        if self.stale {
            state.workers_before.insert(key, Some(before));
        }
        Ok(())
    }

    async fn workers(&self, run: &RunId) -> Result<Vec<WorkerRecord>, LedgerError> {
        let mut state = self.lock();
        let now: Vec<_> = state.workers.iter().filter(|((of, _), _)| of == run).collect();
        let mut now: Vec<_> = now.into_iter().map(|(key, worker)| (key.clone(), worker.clone())).collect();
        state.questions += 1;
        let turn = state.questions % now.len().max(1);
        now.rotate_left(turn);
        if state.questions.is_multiple_of(2) {
            now.reverse();
        }
        let seen = now.into_iter().filter_map(|(key, worker)| match state.workers_before.remove(&key) {
            Some(before) => before,
            None => Some(worker),
        });
        Ok(seen.collect())
    }

    async fn conclude(&self, run: &RunId, verdict: &Verdict) -> Result<Verdict, LedgerError> {
        let mut state = self.lock();
        state.existing(run)?;
        Ok(state.verdicts.entry(run.clone()).or_insert_with(|| verdict.clone()).clone())
    }

    async fn verdict(&self, run: &RunId) -> Result<Option<Verdict>, LedgerError> {
        let state = self.lock();
        state.existing(run)?;
        Ok(state.verdicts.get(run).cloned())
    }

    async fn latest_runs(&self, limit: usize) -> Result<Vec<RunSummary>, LedgerError> {
        let state = self.lock();
        let latest = state.runs.values().rev().take(limit);
        Ok(latest
            .map(|record| RunSummary { record: record.clone(), verdict: state.verdicts.get(&record.id).cloned() })
            .collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{
        clock::run_virtual,
        contract::{ledger_contract, sample_run},
    };

    #[test]
    fn it_is_a_ledger() {
        run_virtual(|_| async { ledger_contract(&MemoryLedger::default()).await });
    }

    #[test]
    fn a_stale_one_is_a_change_behind_once() {
        run_virtual(|_| async {
            let ledger = MemoryLedger::stale();
            let id = RunId::parse("01JD8QZV3M4T5W6X7Y8Z9A0B4K").expect("an id");
            ledger.create_run(&sample_run(&id)).await.expect("creates");
            let worker = WorkerRecord::claim(id.clone(), WorkerIndex(0), Attempt(1));
            ledger.claim_worker(&worker).await.expect("claims");
            assert_eq!(ledger.workers(&id).await.expect("answers"), []);
            assert_eq!(ledger.workers(&id).await.expect("answers"), std::slice::from_ref(&worker));
            let renewed = WorkerRecord { beat: 1, ..worker.clone() };
            ledger.replace_worker(&renewed).await.expect("renews");
            assert_eq!(ledger.workers(&id).await.expect("answers"), [worker]);
            assert_eq!(ledger.workers(&id).await.expect("answers"), [renewed]);
        });
    }
}
