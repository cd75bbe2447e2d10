//! Workers that are launched several at a time. All of a batch are told the same; which of them has which segment says a
//! roster in the store, written by whoever launched them, with the names that the service has given them.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{
    ids::{Attempt, RunId, WorkerIndex},
    plan::Plan,
    ports::{Clock, ObjectStore, StoreError, WorkerTask, keys},
    run::{
        timely::{PATIENCE, persist},
        work::Notice,
    },
};

/// How long a worker waits for the roster. It is written as soon as the service has answered, and a worker takes longer than
/// that to start; without one, whoever launched it has died, and its run is looked after by the reaper.
const ROSTER: Duration = Duration::from_mins(2);

/// Between two looks at the store.
const LOOK: Duration = Duration::from_secs(1);

/// Workers with consecutive numbers that are launched by one call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Batch {
    /// The run.
    pub run: RunId,
    /// The first of them.
    pub first: WorkerIndex,
    /// How many.
    pub count: u32,
    /// Their attempt.
    pub attempt: Attempt,
}

/// What one worker is told when it begins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Order {
    /// Its part.
    Worker(WorkerTask),
    /// The batch that it is one of.
    Batch(Batch),
}

/// Who is who in a batch: the service's name of each worker, in the order of their numbers. Fewer than planned if the
/// service did not start them all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Roster {
    /// The names.
    pub names: Vec<String>,
}

/// How many workers one call launches at most: what ECS takes.
pub const LARGEST: u32 = 10;

/// The batches in which these workers of a run are launched. Which worker is in which does not depend on who else is to be
/// launched, so that a launch that is repeated repeats the same calls.
pub fn batches(plan: &Plan, tasks: &[WorkerTask]) -> Vec<Batch> {
    let mut batches: Vec<Batch> = Vec::new();
    for WorkerTask { run, index, attempt } in tasks {
        // The substitute stands alone.
        let first = if index.0 >= plan.workers { index.0 } else { index.0 / LARGEST * LARGEST };
        let count = plan.workers.saturating_sub(first).clamp(1, LARGEST);
        let batch = Batch { run: run.clone(), first: WorkerIndex(first), count, attempt: *attempt };
        if !batches.contains(&batch) {
            batches.push(batch);
        }
    }
    batches
}

impl Batch {
    /// The worker at a place of the roster; none beyond the batch.
    pub fn worker(&self, place: usize) -> Option<WorkerTask> {
        let place = u32::try_from(place).ok().filter(|place| *place < self.count)?;
        let index = WorkerIndex(self.first.0.checked_add(place)?);
        Some(WorkerTask { run: self.run.clone(), index, attempt: self.attempt })
    }

    /// All its workers.
    pub fn workers(&self) -> impl Iterator<Item = WorkerTask> {
        (0..self.count).filter_map(|place| self.worker(place as usize))
    }

    /// The key of its roster.
    pub fn roster(&self) -> String {
        keys::roster(&self.run, self.first)
    }

    /// Writes who is who, unless somebody has: the same launch may be made twice. What counts is returned.
    pub async fn enrol(&self, store: &dyn ObjectStore, roster: &Roster) -> Result<Roster, StoreError> {
        let key = self.roster();
        let json = serde_json::to_vec(roster).map_err(|error| unreadable(&key, error))?;
        match store.put_new(&key, json).await {
            Ok(()) => Ok(roster.clone()),
            Err(StoreError::AlreadyExists(_)) => self.read(store).await,
            Err(error) => Err(error),
        }
    }

    /// Who is who.
    pub async fn read(&self, store: &dyn ObjectStore) -> Result<Roster, StoreError> {
        let key = self.roster();
        serde_json::from_slice(&store.get(&key).await?).map_err(|error| unreadable(&key, error))
    }

    /// The part of the worker that the service calls `name`; none if it is one too many.
    pub async fn find(&self, store: &dyn ObjectStore, name: &str) -> Result<Option<WorkerTask>, StoreError> {
        let roster = self.read(store).await?;
        Ok(roster.names.iter().position(|known| known == name).and_then(|place| self.worker(place)))
    }
}

/// The part of the worker that the service calls `name`, as soon as it is known. None if it is one too many, or was told to
/// leave before.
pub async fn own_part(
    clock: &dyn Clock,
    store: &dyn ObjectStore,
    notice: &Notice,
    batch: &Batch,
    name: &str,
) -> Result<Option<WorkerTask>, StoreError> {
    let deadline = clock.monotonic() + ROSTER;
    while !notice.is_given() {
        match persist(clock, PATIENCE, || batch.find(store, name)).await {
            Err(StoreError::NotFound(_)) if clock.monotonic() < deadline => clock.sleep(LOOK).await,
            found => return found,
        }
    }
    Ok(None)
}

fn unreadable(key: &str, cause: serde_json::Error) -> StoreError {
    StoreError::Unavailable { operation: "reading the roster", key: key.to_owned(), cause: cause.into() }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::testing::{clock::run_virtual, store::MemoryStore};

    const RUN: &str = "01JD8QZV3M4T5W6X7Y8Z9A0B4K";

    fn batch() -> Batch {
        Batch { run: RunId::parse(RUN).expect("an id"), first: WorkerIndex(10), count: 3, attempt: Attempt(1) }
    }

    fn roster(names: &[&str]) -> Roster {
        Roster { names: names.iter().map(|name| (*name).to_owned()).collect() }
    }

    #[test]
    fn orders_are_told_apart() {
        let worker = batch().worker(2).expect("a worker");
        assert_eq!(worker.index, WorkerIndex(12));
        for order in [Order::Worker(worker), Order::Batch(batch())] {
            let json = serde_json::to_string(&order).expect("JSON");
            assert_eq!(serde_json::from_str::<Order>(&json).expect("reads"), order);
        }
    }

    #[test]
    fn each_finds_its_part_once_it_is_known_and_the_first_roster_counts() {
        run_virtual(|time| async move {
            let (clock, store, notice) = (time.clock(), Arc::new(MemoryStore::default()), Notice::default());
            let late = Arc::clone(&store);
            let writing = time.clone();
            time.spawn(async move {
                writing.sleep(Duration::from_secs(20)).await;
                batch().enrol(&*late, &roster(&["a", "b"])).await.expect("stores");
                let again = batch().enrol(&*late, &roster(&["c"])).await.expect("reads");
                assert_eq!(again, roster(&["a", "b"]));
            });
            let part = async |name| own_part(&*clock, &*store, &notice, &batch(), name).await.expect("answers");
            assert_eq!(part("b").await.map(|task| task.index), Some(WorkerIndex(11)));
            assert_eq!(part("c").await, None);
        });
    }

    #[test]
    fn nobody_waits_for_ever() {
        run_virtual(|time| async move {
            let (clock, store, notice) = (time.clock(), MemoryStore::default(), Notice::default());
            let waited = own_part(&*clock, &store, &notice, &batch(), "a").await;
            assert!(matches!(waited, Err(StoreError::NotFound(_))), "{waited:?}");
            assert!(time.elapsed() < Duration::from_mins(3), "{:?}", time.elapsed());
            notice.give();
            assert_eq!(own_part(&*clock, &store, &notice, &batch(), "a").await.expect("leaves"), None);
        });
    }
}
