//! The use-cases: what can be done with a run. The only place where ports meet.
//!
//! One run is four parties. Whoever starts it ([`start`]) uploads, records and launches. Each worker ([`work`]) drives one
//! k6 and uploads what it says. The aggregator ([`aggregate`]) starts and stops them together, merges and judges; then the
//! script has the last word ([`summarize`]). Whoever looks on ([`watch`]) or intervenes ([`abort`], [`scale`], [`reap`]) needs nothing
//! but ledger and store.
//!
//! In an account these parties are functions, each of which lives shorter than a run may last, and comes once, twice or not
//! at all. A launcher ([`launch`]) claims [`room`] before it calls the others, aggregators follow one another ([`conduct`]),
//! and a reaper ([`reap`]) has appointments to end what nobody else ended. A schedule calls the launcher too ([`fire`]), and
//! a run may name somebody who is told its verdict ([`notify`]).

pub mod abort;
pub mod aggregate;
mod appointments;
pub mod batch;
pub mod conduct;
pub mod fire;
pub mod launch;
pub mod notify;
pub mod prepare;
pub mod reap;
pub mod room;
pub mod scale;
pub mod start;
pub mod summarize;
pub mod tasks;
mod timely;
pub mod watch;
pub mod work;

use std::{sync::Arc, time::Duration};

use crate::{
    ids::RunId,
    lifecycle::{Illegal, RunEvent},
    plan::{LONGEST_TASK, Plan, Platform},
    ports::{Clock, Fleet, Fleets, Functions, Ledger, LedgerError, Notifier, ObjectStore, SlotBook, StoredTests},
    records::RunRecord,
};

/// The ports of whoever starts and aggregates runs.
#[derive(Clone)]
#[expect(missing_docs, reason = "each field is the port of that name")]
pub struct Ports {
    pub clock: Arc<dyn Clock>,
    pub store: Arc<dyn ObjectStore>,
    pub ledger: Arc<dyn Ledger>,
    pub fleet: Arc<dyn Fleet>,
}

/// The ports of whoever looks on.
#[derive(Clone)]
#[expect(missing_docs, reason = "each field is the port of that name")]
pub struct WatchPorts {
    pub clock: Arc<dyn Clock>,
    pub store: Arc<dyn ObjectStore>,
    pub ledger: Arc<dyn Ledger>,
}

/// The ports of the functions of a deployment: launcher, aggregator and reaper.
#[derive(Clone)]
#[expect(missing_docs, reason = "each field is the port of that name")]
pub struct AccountPorts {
    pub clock: Arc<dyn Clock>,
    pub store: Arc<dyn ObjectStore>,
    pub ledger: Arc<dyn Ledger>,
    pub fleets: Arc<dyn Fleets>,
    pub slots: Arc<dyn SlotBook>,
    /// The book of workers on Fargate, whose room is another.
    pub task_slots: Arc<dyn SlotBook>,
    pub functions: Arc<dyn Functions>,
    pub tests: Arc<dyn StoredTests>,
    pub notifier: Arc<dyn Notifier>,
}

impl AccountPorts {
    /// Those among them that every run needs, for this one.
    fn for_run(&self, run: &RunRecord) -> Ports {
        let Self { clock, store, ledger, fleets, .. } = self.clone();
        Ports { clock, store, ledger, fleet: fleets.of(run) }
    }

    /// The book in which a run's room is.
    fn slots_of(&self, plan: &Plan) -> &Arc<dyn SlotBook> {
        match plan.platform {
            Platform::Fargate(_) => &self.task_slots,
            Platform::Local | Platform::Lambda(_) => &self.slots,
        }
    }
}

/// What holds for all runs of a deployment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deployment {
    /// Workers on Lambda at one time, in all runs.
    pub capacity: u32,
    /// How long a worker on Lambda may live.
    pub worker_life: Duration,
    /// Workers on Fargate at one time, in all runs; 0 without Fargate.
    pub task_capacity: u32,
    /// Which lambdaload its functions are.
    pub version: String,
}

impl Deployment {
    /// Workers at one time, in all runs that are where this one is.
    pub(crate) fn capacity_for(&self, plan: &Plan) -> u32 {
        match plan.platform {
            Platform::Fargate(_) => self.task_capacity,
            Platform::Local | Platform::Lambda(_) => self.capacity,
        }
    }

    /// How long a worker of a run may live.
    fn worker_life_for(&self, plan: &Plan) -> Duration {
        match plan.platform {
            Platform::Fargate(_) => LONGEST_TASK,
            Platform::Local | Platform::Lambda(_) => self.worker_life,
        }
    }
}

/// Why a run's record could not be changed.
#[derive(Debug, thiserror::Error)]
pub enum UpdateError {
    /// The ledger.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The run is where this cannot happen.
    #[error(transparent)]
    Illegal(#[from] Illegal),
}

/// So many parties never change one record at one moment; more conflicts in a row are a fault of the ledger.
const CONFLICTS: usize = 50;

/// Reads a run's record, changes it and stores it, again and again until nobody came between.
/// `change` returns false to leave it as it is.
async fn update_run(
    ledger: &dyn Ledger,
    id: &RunId,
    mut change: impl FnMut(&mut RunRecord) -> Result<bool, Illegal>,
) -> Result<RunRecord, UpdateError> {
    let mut conflicts = 0;
    loop {
        let mut run = ledger.run(id).await?;
        if !change(&mut run)? {
            return Ok(run);
        }
        match ledger.replace_run(&run).await {
            Err(LedgerError::Conflict(_)) if conflicts < CONFLICTS => conflicts += 1,
            outcome => return Ok(outcome?),
        }
    }
}

/// Lets an event happen to a run.
async fn record_event(ledger: &dyn Ledger, id: &RunId, event: RunEvent) -> Result<RunRecord, UpdateError> {
    update_run(ledger, id, |run| {
        let next = run.state.next(event.clone())?;
        let changed = next != run.state;
        run.state = next;
        Ok(changed)
    })
    .await
}
