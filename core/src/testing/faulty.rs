//! Stores and ledgers that fail as services do: now and then, for a while, after having done what was asked, or by never
//! answering.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;

use crate::{
    ids::RunId,
    ports::{Ledger, LedgerError, ObjectStore, RunSummary, SlotBook, StoreError},
    records::{RunRecord, WorkerRecord},
    slots::Slots,
    testing::clock::VirtualTime,
    verdict::Verdict,
};

/// What goes wrong with a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing happens, and an error says so.
    Fails,
    /// What was asked happens, and yet there is an error.
    AnswerIsLost,
    /// It happens twice, as when a client asks again because it had no answer; the second answer is given.
    Repeats,
    /// It takes so long.
    Takes(Duration),
    /// It happens, and no answer ever comes.
    NeverAnswers,
    /// The bytes that come back are not those that were stored. Only of [`ObjectStore::get`].
    Corrupts,
}

/// With which calls it goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// With all.
    Always,
    /// With this one, counted from 1.
    Nth(u32),
    /// With those whose number, counted from 1, is a multiple of this.
    Every(u32),
    /// With those between two moments of virtual time.
    Between(Duration, Duration),
}

/// A rule by which calls go wrong.
#[derive(Clone, Debug)]
struct Rule {
    calls: &'static str,
    about: String,
    when: When,
    fault: Fault,
    seen: u32,
}

/// The rules of one faulty port. The first that fits a call is what happens to it.
#[derive(Default)]
pub struct Faults {
    rules: Mutex<Vec<Rule>>,
}

impl Faults {
    /// Adds a rule for the port's calls of the name `calls` (`get`, `replace_run` …; all if empty) whose key, or the
    /// number of whose worker, has `about` in it.
    pub fn add(&self, calls: &'static str, about: &str, when: When, fault: Fault) {
        let rule = Rule { calls, about: about.to_owned(), when, fault, seen: 0 };
        self.rules.lock().unwrap_or_else(PoisonError::into_inner).push(rule);
    }

    /// Forgets all rules: everything works again.
    pub fn clear(&self) {
        self.rules.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    fn of(&self, call: &str, about: &str, now: Duration) -> Option<Fault> {
        let mut rules = self.rules.lock().unwrap_or_else(PoisonError::into_inner);
        let mut found = None;
        for rule in rules.iter_mut().filter(|r| (r.calls.is_empty() || r.calls == call) && about.contains(&r.about)) {
            rule.seen += 1;
            let now = match rule.when {
                When::Always => true,
                When::Nth(nth) => rule.seen == nth,
                When::Every(step) => rule.seen.is_multiple_of(step),
                When::Between(from, to) => (from..to).contains(&now),
            };
            found = found.or(now.then_some(rule.fault));
        }
        found
    }
}

/// A port that sometimes goes wrong.
pub struct Faulty<P: ?Sized> {
    port: Arc<P>,
    faults: Arc<Faults>,
    time: VirtualTime,
}

impl<P: ?Sized> Faulty<P> {
    /// A port that goes wrong by these rules.
    pub fn new(port: Arc<P>, faults: Arc<Faults>, time: VirtualTime) -> Self {
        Self { port, faults, time }
    }

    fn fault(&self, call: &str, about: &str) -> Option<Fault> {
        self.faults.of(call, about, self.time.elapsed())
    }

    async fn perform<T, E, F: Future<Output = Result<T, E>>>(
        &self,
        fault: Option<Fault>,
        call: impl Fn() -> F,
        unavailable: impl FnOnce() -> E,
    ) -> Result<T, E> {
        match fault {
            None | Some(Fault::Corrupts) => call().await,
            Some(Fault::Fails) => Err(unavailable()),
            Some(Fault::AnswerIsLost) => {
                drop(call().await);
                Err(unavailable())
            }
            Some(Fault::Repeats) => {
                drop(call().await);
                call().await
            }
            Some(Fault::Takes(duration)) => {
                self.time.sleep(duration).await;
                call().await
            }
            Some(Fault::NeverAnswers) => {
                drop(call().await);
                std::future::pending().await
            }
        }
    }
}

impl Faulty<dyn Ledger> {
    async fn ledger<T, F: Future<Output = Result<T, LedgerError>>>(
        &self,
        operation: &'static str,
        about: &str,
        call: impl Fn() -> F,
    ) -> Result<T, LedgerError> {
        let unavailable = || LedgerError::Unavailable { operation, cause: CAUSE.into() };
        self.perform(self.fault(operation, about), call, unavailable).await
    }
}

impl Faulty<dyn ObjectStore> {
    async fn store<T, F: Future<Output = Result<T, StoreError>>>(
        &self,
        fault: Option<Fault>,
        operation: &'static str,
        key: &str,
        call: impl Fn() -> F,
    ) -> Result<T, StoreError> {
        let unavailable = || StoreError::Unavailable { operation, key: key.to_owned(), cause: CAUSE.into() };
        self.perform(fault, call, unavailable).await
    }
}

const CAUSE: &str = "the connection was reset";

#[async_trait]
impl ObjectStore for Faulty<dyn ObjectStore> {
    async fn put_new(&self, key: &str, bytes: Vec<u8>) -> Result<(), StoreError> {
        self.store(self.fault("put_new", key), "put_new", key, || self.port.put_new(key, bytes.clone())).await
    }

    async fn put(&self, key: &str, bytes: Vec<u8>) -> Result<(), StoreError> {
        self.store(self.fault("put", key), "put", key, || self.port.put(key, bytes.clone())).await
    }

    async fn get(&self, key: &str) -> Result<Vec<u8>, StoreError> {
        let fault = self.fault("get", key);
        let mut bytes = self.store(fault, "get", key, || self.port.get(key)).await?;
        if fault == Some(Fault::Corrupts) && !bytes.is_empty() {
            for at in [bytes.len() / 2, bytes.len() - 1] {
                bytes[at] ^= 0x55;
            }
        }
        Ok(bytes)
    }

    async fn has(&self, key: &str) -> Result<bool, StoreError> {
        self.store(self.fault("has", key), "has", key, || self.port.has(key)).await
    }
}

#[async_trait]
impl SlotBook for Faulty<dyn SlotBook> {
    async fn slots(&self) -> Result<Slots, LedgerError> {
        let unavailable = || LedgerError::Unavailable { operation: "slots", cause: CAUSE.into() };
        self.perform(self.fault("slots", ""), || self.port.slots(), unavailable).await
    }

    async fn replace_slots(&self, slots: &Slots) -> Result<Slots, LedgerError> {
        let unavailable = || LedgerError::Unavailable { operation: "replace_slots", cause: CAUSE.into() };
        self.perform(self.fault("replace_slots", ""), || self.port.replace_slots(slots), unavailable).await
    }
}

#[async_trait]
impl Ledger for Faulty<dyn Ledger> {
    async fn create_run(&self, run: &RunRecord) -> Result<(), LedgerError> {
        self.ledger("create_run", "", || self.port.create_run(run)).await
    }

    async fn run(&self, id: &RunId) -> Result<RunRecord, LedgerError> {
        self.ledger("run", "", || self.port.run(id)).await
    }

    async fn replace_run(&self, run: &RunRecord) -> Result<RunRecord, LedgerError> {
        self.ledger("replace_run", "", || self.port.replace_run(run)).await
    }

    async fn claim_worker(&self, worker: &WorkerRecord) -> Result<(), LedgerError> {
        self.ledger("claim_worker", &worker.index.to_string(), || self.port.claim_worker(worker)).await
    }

    async fn replace_worker(&self, worker: &WorkerRecord) -> Result<(), LedgerError> {
        self.ledger("replace_worker", &worker.index.to_string(), || self.port.replace_worker(worker)).await
    }

    async fn workers(&self, run: &RunId) -> Result<Vec<WorkerRecord>, LedgerError> {
        self.ledger("workers", "", || self.port.workers(run)).await
    }

    async fn conclude(&self, run: &RunId, verdict: &Verdict) -> Result<Verdict, LedgerError> {
        self.ledger("conclude", "", || self.port.conclude(run, verdict)).await
    }

    async fn verdict(&self, run: &RunId) -> Result<Option<Verdict>, LedgerError> {
        self.ledger("verdict", "", || self.port.verdict(run)).await
    }

    async fn latest_runs(&self, limit: usize) -> Result<Vec<RunSummary>, LedgerError> {
        self.ledger("latest_runs", "", || self.port.latest_runs(limit)).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{
        clock::run_virtual,
        contract::{ledger_contract, object_store_contract},
        ledger::MemoryLedger,
        store::MemoryStore,
    };

    #[test]
    fn without_faults_it_is_the_port_behind_it() {
        run_virtual(|time| async move {
            let store: Arc<dyn ObjectStore> = Arc::new(MemoryStore::default());
            object_store_contract(&Faulty::new(store, Arc::default(), time.clone())).await;
            let ledger: Arc<dyn Ledger> = Arc::new(MemoryLedger::default());
            ledger_contract(&Faulty::new(ledger, Arc::default(), time)).await;
        });
    }

    /// Puts four objects with one fault: which of them got an answer, and which are there.
    fn put_four(when: When, fault: Fault) -> (Vec<bool>, usize) {
        run_virtual(|time| async move {
            let memory = Arc::new(MemoryStore::default());
            let faults = Arc::new(Faults::default());
            faults.add("put", "key", when, fault);
            let store = Faulty::new(memory.clone() as Arc<dyn ObjectStore>, faults, time.clone());
            let mut answers = Vec::new();
            for key in ["key 1", "other", "key 2", "key 3", "key 4"] {
                answers.push(store.put(key, vec![1]).await.is_ok());
                time.sleep(Duration::from_secs(1)).await;
            }
            (answers, memory.keys_with("").len())
        })
    }

    #[test]
    fn rules_say_which_calls_go_wrong_and_how() {
        let nth = put_four(When::Nth(2), Fault::Fails);
        assert_eq!(nth, (vec![true, true, false, true, true], 4));
        let every = put_four(When::Every(2), Fault::AnswerIsLost);
        assert_eq!(every, (vec![true, true, false, true, false], 5));
        let between = When::Between(Duration::from_secs(2), Duration::from_secs(4));
        assert_eq!(put_four(between, Fault::Fails), (vec![true, true, false, false, true], 3));
        assert_eq!(put_four(When::Always, Fault::Repeats), (vec![true; 5], 5));
    }
}
