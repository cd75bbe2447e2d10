//! One aggregator after the other: a function lives shorter than a run may last.
//!
//! Whoever is to be succeeded conducts the run until it sees its successor in the run's record, so that there is no moment
//! without an aggregator, and a call that came to nothing is made again.

use std::{sync::Arc, time::Duration};

use crate::{
    ports::{AggregatorTask, CallError, Functions, ObjectStore},
    run::{
        aggregate::{Conductor, Outcome, checkpoint::leave},
        conduct::HAND_OVER,
    },
};

/// How long before the end it gives up, so that it fails with words of its own.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// A successor begins within some seconds; one that does not is called again.
const CALL_AGAIN: Duration = Duration::from_secs(12);

/// A call that failed is made again sooner.
const TRY_AGAIN: Duration = Duration::from_secs(2);

/// What an aggregator needs to hand over.
pub(in crate::run) struct Relay<'a> {
    functions: &'a dyn Functions,
    /// The store, for as long as a checkpoint takes.
    store: Arc<dyn ObjectStore>,
    /// How many aggregators came before.
    succession: u32,
    version: &'a str,
    /// When the runtime ends this one, by the monotonic clock.
    ends_at: Duration,
    is_left: bool,
    /// When the successor is to be called (again).
    call_at: Duration,
    /// Why the successor could not be called.
    pub(super) error: Option<CallError>,
}

impl<'a> Relay<'a> {
    pub(in crate::run) fn new(
        functions: &'a dyn Functions,
        store: Arc<dyn ObjectStore>,
        succession: u32,
        version: &'a str,
        ends_at: Duration,
    ) -> Self {
        let call_at = ends_at.saturating_sub(HAND_OVER);
        Self { functions, store, succession, version, ends_at, is_left: false, call_at, error: None }
    }
}

impl Conductor<'_> {
    /// Sees to the successor, if it is time for that; says how conducting has ended, if it has.
    pub(super) async fn pass_on(&mut self, relay: &mut Relay<'_>) -> Option<Outcome> {
        let clock = &self.ports.clock;
        if self.run.succession > relay.succession {
            return Some(Outcome::Succeeded);
        }
        let now = clock.monotonic();
        if now >= relay.ends_at.saturating_sub(LAST_WORDS) {
            return Some(Outcome::Alone);
        }
        if now < relay.call_at {
            return None;
        }
        let task = AggregatorTask { run: self.run.id.clone(), succession: relay.succession + 1 };
        if !std::mem::replace(&mut relay.is_left, true)
            && let Some(bytes) = self.checkpoint(relay.version)
        {
            leave(&**clock, &*relay.store, &task.run, task.succession, bytes).await;
        }
        relay.error = relay.functions.aggregate(&task).await.err();
        let pause = if relay.error.is_some() { TRY_AGAIN } else { CALL_AGAIN };
        relay.call_at = self.ports.clock.monotonic() + pause;
        None
    }
}
