//! Nothing is waited for without end: ports whose every call is answered, and trying again for a while.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use futures::future::{self, Either};

use crate::{
    ids::RunId,
    ports::{
        AggregatorTask, CallError, Cause, Clock, Functions, Ledger, LedgerError, Notifier, ObjectStore, RunSummary,
        SlotBook, StoreError, StoredTests, Timestamp,
    },
    records::{RunRecord, WorkerRecord},
    run::{AccountPorts, Ports, UpdateError, WatchPorts, fire::FireRequest, notify::Message, work::WorkPorts},
    schedule::{ScheduleName, StoredTest},
    slots::Slots,
    verdict::Verdict,
};

/// How long a store or ledger may take to answer. It is half of what makes a worker lost, and far more than any of them
/// needs for the few megabytes that a chunk may have.
pub(super) const ANSWER: Duration = Duration::from_secs(5);

/// How long somebody tries again who has nothing else to do.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// The same for who calls another function.
pub(super) const CALL_PATIENCE: Duration = Duration::from_secs(10);

/// Before the second try, and by how much each further pause is longer: whoever else asks regularly is not met at the
/// same moment again and again.
const PAUSE: Duration = Duration::from_millis(500);
const LONGER: Duration = Duration::from_millis(100);

/// The answer of a call, unless it takes longer than `limit`.
pub(super) async fn within<T>(clock: &dyn Clock, limit: Duration, call: impl Future<Output = T>) -> Option<T> {
    let timer = clock.sleep(limit);
    futures::pin_mut!(call, timer);
    match future::select(call, timer).await {
        Either::Left((answer, _)) => Some(answer),
        Either::Right(_) => None,
    }
}

/// Calls again and again, for at most `patience`, as long as the answer is an error that may pass.
pub(super) async fn persist<T, E: MayPass, F: Future<Output = Result<T, E>>>(
    clock: &dyn Clock,
    patience: Duration,
    mut call: impl FnMut() -> F,
) -> Result<T, E> {
    let deadline = clock.monotonic() + patience;
    let mut pause = PAUSE;
    loop {
        match call().await {
            Err(error) if error.may_pass() && clock.monotonic() < deadline => clock.sleep(pause).await,
            outcome => return outcome,
        }
        pause += LONGER;
    }
}

/// An error that the next try may not meet.
pub(super) trait MayPass {
    /// Whether that is so.
    fn may_pass(&self) -> bool;
}

impl MayPass for StoreError {
    fn may_pass(&self) -> bool {
        matches!(self, Self::Unavailable { .. })
    }
}

impl MayPass for LedgerError {
    fn may_pass(&self) -> bool {
        matches!(self, Self::Unavailable { .. })
    }
}

impl MayPass for UpdateError {
    fn may_pass(&self) -> bool {
        matches!(self, Self::Ledger(error) if error.may_pass())
    }
}

impl MayPass for CallError {
    fn may_pass(&self) -> bool {
        true
    }
}

impl Ports {
    /// These ports with stores and ledgers that always answer.
    pub(super) fn timely(&self) -> Self {
        let (store, ledger) = timely(&self.clock, &self.store, &self.ledger);
        Self { store, ledger, ..self.clone() }
    }
}

impl WatchPorts {
    /// These ports with stores and ledgers that always answer.
    pub(super) fn timely(&self) -> Self {
        let (store, ledger) = timely(&self.clock, &self.store, &self.ledger);
        Self { store, ledger, ..self.clone() }
    }
}

impl WorkPorts {
    /// These ports with stores and ledgers that always answer.
    pub(super) fn timely(&self) -> Self {
        let (store, ledger) = timely(&self.clock, &self.store, &self.ledger);
        Self { store, ledger, ..self.clone() }
    }
}

impl AccountPorts {
    /// These ports with stores, ledgers, slots, stored tests, functions and topics that always answer.
    pub(super) fn timely(&self) -> Self {
        let (store, ledger) = timely(&self.clock, &self.store, &self.ledger);
        let book = |port| Arc::new(Timely { port: Arc::clone(port), clock: Arc::clone(&self.clock) });
        let (slots, task_slots) = (book(&self.slots), book(&self.task_slots));
        let functions = Timely { port: Arc::clone(&self.functions), clock: Arc::clone(&self.clock) };
        let tests = Timely { port: Arc::clone(&self.tests), clock: Arc::clone(&self.clock) };
        let notifier = Timely { port: Arc::clone(&self.notifier), clock: Arc::clone(&self.clock) };
        Self {
            store,
            ledger,
            slots,
            task_slots,
            functions: Arc::new(functions),
            tests: Arc::new(tests),
            notifier: Arc::new(notifier),
            ..self.clone()
        }
    }
}

fn timely(
    clock: &Arc<dyn Clock>,
    store: &Arc<dyn ObjectStore>,
    ledger: &Arc<dyn Ledger>,
) -> (Arc<dyn ObjectStore>, Arc<dyn Ledger>) {
    let store = Timely { port: Arc::clone(store), clock: Arc::clone(clock) };
    let ledger = Timely { port: Arc::clone(ledger), clock: Arc::clone(clock) };
    (Arc::new(store), Arc::new(ledger))
}

/// A port of which a call that takes too long is one that failed. What it asked for may still happen: the answer is lost,
/// as answers may be.
struct Timely<P: ?Sized> {
    port: Arc<P>,
    clock: Arc<dyn Clock>,
}

fn no_answer() -> Cause {
    format!("no answer within {} s", ANSWER.as_secs()).into()
}

impl Timely<dyn ObjectStore> {
    async fn ask<T>(
        &self,
        operation: &'static str,
        key: &str,
        call: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let late = || StoreError::Unavailable { operation, key: key.to_owned(), cause: no_answer() };
        within(&*self.clock, ANSWER, call).await.unwrap_or_else(|| Err(late()))
    }
}

impl<P: ?Sized> Timely<P> {
    /// A call of a port to the records.
    async fn ask_ledger<T>(
        &self,
        operation: &'static str,
        call: impl Future<Output = Result<T, LedgerError>>,
    ) -> Result<T, LedgerError> {
        let late = || LedgerError::Unavailable { operation, cause: no_answer() };
        within(&*self.clock, ANSWER, call).await.unwrap_or_else(|| Err(late()))
    }

    /// A call of a service that accepts and does not answer.
    async fn call(
        &self,
        operation: &'static str,
        call: impl Future<Output = Result<(), CallError>>,
    ) -> Result<(), CallError> {
        let late = || CallError { operation, cause: no_answer() };
        within(&*self.clock, ANSWER, call).await.unwrap_or_else(|| Err(late()))
    }
}

#[async_trait]
impl StoredTests for Timely<dyn StoredTests> {
    async fn create(&self, test: &StoredTest) -> Result<(), LedgerError> {
        self.ask_ledger("storing a test", self.port.create(test)).await
    }

    async fn test(&self, name: &ScheduleName) -> Result<Option<StoredTest>, LedgerError> {
        self.ask_ledger("reading a stored test", self.port.test(name)).await
    }

    async fn replace(&self, test: &StoredTest) -> Result<StoredTest, LedgerError> {
        self.ask_ledger("changing a stored test", self.port.replace(test)).await
    }

    async fn delete(&self, name: &ScheduleName) -> Result<(), LedgerError> {
        self.ask_ledger("deleting a stored test", self.port.delete(name)).await
    }

    async fn all(&self) -> Result<Vec<StoredTest>, LedgerError> {
        self.ask_ledger("listing stored tests", self.port.all()).await
    }
}

#[async_trait]
impl Notifier for Timely<dyn Notifier> {
    async fn publish(&self, topic: &str, message: &Message) -> Result<(), CallError> {
        self.call("telling a topic", self.port.publish(topic, message)).await
    }
}

#[async_trait]
impl SlotBook for Timely<dyn SlotBook> {
    async fn slots(&self) -> Result<Slots, LedgerError> {
        self.ask_ledger("reading the book of slots", self.port.slots()).await
    }

    async fn replace_slots(&self, slots: &Slots) -> Result<Slots, LedgerError> {
        self.ask_ledger("changing the book of slots", self.port.replace_slots(slots)).await
    }
}

#[async_trait]
impl Functions for Timely<dyn Functions> {
    async fn aggregate(&self, task: &AggregatorTask) -> Result<(), CallError> {
        self.call("calling an aggregator", self.port.aggregate(task)).await
    }

    async fn launch(&self, run: &RunId) -> Result<(), CallError> {
        self.call("calling the launcher", self.port.launch(run)).await
    }

    async fn fire(&self, request: &FireRequest) -> Result<(), CallError> {
        self.call("calling the launcher", self.port.fire(request)).await
    }

    async fn reap_at(&self, run: &RunId, name: &'static str, at: Timestamp) -> Result<(), CallError> {
        self.call("making an appointment with the reaper", self.port.reap_at(run, name, at)).await
    }
}

#[async_trait]
impl ObjectStore for Timely<dyn ObjectStore> {
    async fn put_new(&self, key: &str, bytes: Vec<u8>) -> Result<(), StoreError> {
        self.ask("putting", key, self.port.put_new(key, bytes)).await
    }

    async fn put(&self, key: &str, bytes: Vec<u8>) -> Result<(), StoreError> {
        self.ask("putting", key, self.port.put(key, bytes)).await
    }

    async fn get(&self, key: &str) -> Result<Vec<u8>, StoreError> {
        self.ask("getting", key, self.port.get(key)).await
    }

    async fn has(&self, key: &str) -> Result<bool, StoreError> {
        self.ask("looking for", key, self.port.has(key)).await
    }
}

#[async_trait]
impl Ledger for Timely<dyn Ledger> {
    async fn create_run(&self, run: &RunRecord) -> Result<(), LedgerError> {
        self.ask_ledger("recording a run", self.port.create_run(run)).await
    }

    async fn run(&self, id: &RunId) -> Result<RunRecord, LedgerError> {
        self.ask_ledger("reading a run", self.port.run(id)).await
    }

    async fn replace_run(&self, run: &RunRecord) -> Result<RunRecord, LedgerError> {
        self.ask_ledger("changing a run", self.port.replace_run(run)).await
    }

    async fn claim_worker(&self, worker: &WorkerRecord) -> Result<(), LedgerError> {
        self.ask_ledger("recording a worker", self.port.claim_worker(worker)).await
    }

    async fn replace_worker(&self, worker: &WorkerRecord) -> Result<(), LedgerError> {
        self.ask_ledger("changing a worker", self.port.replace_worker(worker)).await
    }

    async fn workers(&self, run: &RunId) -> Result<Vec<WorkerRecord>, LedgerError> {
        self.ask_ledger("reading workers", self.port.workers(run)).await
    }

    async fn conclude(&self, run: &RunId, verdict: &Verdict) -> Result<Verdict, LedgerError> {
        self.ask_ledger("recording a verdict", self.port.conclude(run, verdict)).await
    }

    async fn verdict(&self, run: &RunId) -> Result<Option<Verdict>, LedgerError> {
        self.ask_ledger("reading a verdict", self.port.verdict(run)).await
    }

    async fn latest_runs(&self, limit: usize) -> Result<Vec<RunSummary>, LedgerError> {
        self.ask_ledger("listing runs", self.port.latest_runs(limit)).await
    }
}
