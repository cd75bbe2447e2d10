//! Looking on.

use std::time::Duration;

use crate::{
    ids::RunId,
    lifecycle::Phase,
    live::LiveState,
    ports::{LedgerError, SlotBook, StoreError, keys},
    run::{
        WatchPorts,
        timely::{PATIENCE, persist, within},
    },
    timestamp::Timestamp,
    verdict::Verdict,
};

/// How long a deployment may take, after the latest end of a run, until its reaper has concluded it.
const REAPING: Duration = Duration::from_mins(5);

/// What is new about a run.
#[derive(Clone, Debug, PartialEq)]
pub enum Sight {
    /// How it goes.
    Live(Box<LiveState>),
    /// It waits for room; 1 for the next one.
    Queued {
        /// Its place among those that wait.
        place: usize,
    },
    /// Its aggregator has not been heard of for so long, and the deployment's reaper will see to that.
    Silent {
        /// For how long.
        silent: Duration,
    },
}

/// Why nothing more can be seen of a run.
#[derive(Debug, thiserror::Error)]
pub enum WatchError {
    /// The ledger.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The aggregator has shown no sign of life for so long.
    #[error("the run's aggregator has not been heard of for {} s; `lambdaload runs get {run}` concludes the run", .silent.as_secs())]
    AggregatorSilent {
        /// The run.
        run: RunId,
        /// For how long.
        silent: Duration,
    },
    /// A run of a deployment that should have ended, and nobody has concluded it.
    #[error(
        "run {run} has no verdict long after its latest end; `lambdaload runs get {run}` has the deployment conclude it"
    )]
    Unended {
        /// The run.
        run: RunId,
    },
}

/// Calls back with whatever is new until the run has a verdict, which is returned.
///
/// `book` is that of the deployment which keeps the run. A deployment calls another aggregator if one dies, so watching
/// goes on until the run's latest end; elsewhere an aggregator that is silent for long is the end.
pub async fn watch(
    ports: &WatchPorts,
    book: Option<&dyn SlotBook>,
    id: &RunId,
    on_sight: &mut (dyn FnMut(Sight) + Send),
) -> Result<Verdict, WatchError> {
    let ports = &ports.timely();
    let began_at = ports.clock.monotonic();
    let mut seen = Seen { room_at: began_at, beat_at: began_at, ..Seen::default() };
    loop {
        let run = persist(&*ports.clock, PATIENCE, || ports.ledger.run(id)).await?;
        if let Some(verdict) = persist(&*ports.clock, PATIENCE, || ports.ledger.verdict(id)).await? {
            return Ok(verdict);
        }
        let now = ports.clock.monotonic();
        if Some(run.aggregator_beat) > seen.beat {
            (seen.beat, seen.beat_at, seen.silent) = (Some(run.aggregator_beat), now, Duration::ZERO);
        }
        let silent = now.saturating_sub(seen.beat_at);
        let lost = run.plan.deadlines.lost * 3;
        match book {
            // Nobody conducts it yet.
            Some(book) if run.state.phase < Phase::Initializing => {
                (seen.room_at, seen.beat_at) = (now, now);
                let place = match within(&*ports.clock, run.plan.deadlines.lost, book.slots()).await {
                    Some(Ok(slots)) => {
                        slots.waiting.iter().position(|waiting| waiting.run == *id).map(|ahead| ahead + 1)
                    }
                    // It is only there to be looked at.
                    Some(Err(_)) | None => None,
                };
                if place != seen.place {
                    seen.place = place;
                    place.into_iter().for_each(|place| on_sight(Sight::Queued { place }));
                }
                if now.saturating_sub(began_at) > run.plan.deadlines.queue + REAPING {
                    return Err(WatchError::Unended { run: id.clone() });
                }
            }
            Some(_) if now.saturating_sub(seen.room_at) > run.plan.latest_end() + REAPING => {
                return Err(WatchError::Unended { run: id.clone() });
            }
            Some(_) if silent > seen.silent + lost => {
                seen.silent = silent;
                on_sight(Sight::Silent { silent });
            }
            None if silent > lost => return Err(WatchError::AggregatorSilent { run: id.clone(), silent }),
            _ => {}
        }
        // What is only looked at may be missing or half a second old; that is no reason to stop looking.
        if let Some(live) = live_state(ports, id).await
            && seen.live != Some(live.at)
        {
            seen.live = Some(live.at);
            on_sight(Sight::Live(Box::new(live)));
        }
        ports.clock.sleep(run.plan.pace.poll).await;
    }
}

/// What was seen so far; times are monotonic.
#[derive(Default)]
struct Seen {
    /// The latest moment at which it had no room yet.
    room_at: Duration,
    /// The aggregator's latest beat.
    beat: Option<u64>,
    /// When that was new.
    beat_at: Duration,
    /// The silence that was told of since then.
    silent: Duration,
    /// The place that was told.
    place: Option<usize>,
    /// The live state that was shown.
    live: Option<Timestamp>,
}

async fn live_state(ports: &WatchPorts, id: &RunId) -> Option<LiveState> {
    match ports.store.get(&keys::live(id)).await {
        Ok(bytes) => serde_json::from_slice(&bytes).ok(),
        Err(StoreError::NotFound(_) | StoreError::AlreadyExists(_) | StoreError::Unavailable { .. }) => None,
    }
}
